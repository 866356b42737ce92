//! A node that answers every request with what it was asked for, on the blocking kit.
//!
//!     cargo run -p blastbeat-mio --example mio-node

use std::io;

use blastbeat_mio::node::{Capabilities, Kind, Node};
use blastbeat_proto::uwsgi;

fn main() -> io::Result<()> {
    let mut args = std::env::args().skip(1);
    let endpoint = args.next().unwrap_or_else(|| "tcp://127.0.0.1:5000".to_owned());
    let identity = args.next().unwrap_or_else(|| "hello".to_owned());
    let capabilities = Capabilities { credit: true, quiet: true, ..Capabilities::default() };
    let mut node = Node::connect(&endpoint, &identity, capabilities)?;
    loop {
        let message = node.recv()?;
        let (Some(sid), Kind::Uwsgi) = (message.sid, message.kind) else { continue };
        let target = uwsgi::pairs(&message.body).flatten().find(|(name, _)| *name == b"REQUEST_URI");
        let target = target.map_or(&b"?"[..], |(_, value)| value);
        let text = format!("{identity} was asked for {}\n", String::from_utf8_lossy(target));
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n", text.len());
        node.send(sid, Kind::Headers, head + &text)?;
        node.forget(sid);
    }
}
