//! A node that answers every request with what it was asked for, on the async kit.
//!
//!     cargo run -p blastbeat-smol --example smol-node

use std::io;

use blastbeat_proto::uwsgi;
use blastbeat_smol::node::{Capabilities, Kind, Node};

fn main() -> io::Result<()> {
    async_io::block_on(run())
}

async fn run() -> io::Result<()> {
    let mut args = std::env::args().skip(1);
    let endpoint = args.next().unwrap_or_else(|| "tcp://127.0.0.1:5000".to_owned());
    let identity = args.next().unwrap_or_else(|| "hello".to_owned());
    let capabilities = Capabilities { credit: true, quiet: true, ..Capabilities::default() };
    let mut node = Node::connect(&endpoint, &identity, capabilities)?;
    loop {
        let message = node.recv().await?;
        let (Some(sid), Kind::Uwsgi) = (message.sid, message.kind) else { continue };
        let target = uwsgi::pairs(&message.body).flatten().find(|(name, _)| *name == b"REQUEST_URI");
        let target = target.map_or(&b"?"[..], |(_, value)| value);
        let text = format!("{identity} was asked for {}\n", String::from_utf8_lossy(target));
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n", text.len());
        node.send(sid, Kind::Headers, head + &text).await?;
        node.forget(sid);
    }
}
