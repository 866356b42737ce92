//! A node that answers every request with what it was asked for, echoes what comes by WebSocket, and on the path `/chat`
//! passes it on to everybody there; on the async kit.
//!
//!     cargo run -p blastbeat-smol --example smol-node

use std::collections::BTreeSet;
use std::io;

use blastbeat_proto::uwsgi;
use blastbeat_smol::node::{Capabilities, Kind, Message, Node, Route};

fn main() -> io::Result<()> {
    async_io::block_on(run())
}

async fn run() -> io::Result<()> {
    let mut args = std::env::args().skip(1);
    let endpoint = args.next().unwrap_or_else(|| "tcp://127.0.0.1:5000".to_owned());
    let identity = args.next().unwrap_or_else(|| "hello".to_owned());
    // Without `credit` it is the server that deals with clients who read too slowly (`slow-client`): no `send` waits here
    // for one of them while the others wait too.
    let capabilities = Capabilities { binary: true, quiet: true, ..Capabilities::default() };
    let mut node = Node::connect(&endpoint, &identity, capabilities)?;
    let mut chatting = BTreeSet::new();
    loop {
        let Message { sid, kind, body } = node.recv().await?;
        let Some(sid) = sid else {
            if kind == Kind::End {
                // The link broke, and every session with it.
                chatting.clear();
            }
            continue;
        };
        if kind == Kind::Uwsgi && !variable(&body, "HTTP_UPGRADE").eq_ignore_ascii_case(b"websocket") {
            let target = String::from_utf8_lossy(variable(&body, "REQUEST_URI"));
            let text = format!("{identity} was asked for {target}\n");
            let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n", text.len());
            node.send(sid, Kind::Headers, head + &text).await?;
        } else if kind == Kind::Uwsgi && variable(&body, "PATH_INFO") == b"/chat" {
            // The server opens the WebSocket by itself.
            node.send(sid, Kind::Join, "chat").await?;
            chatting.insert(sid);
        } else if matches!(kind, Kind::WebSocketText | Kind::WebSocketBinary) {
            if chatting.contains(&sid) {
                node.send_routed(Some(sid), Route::Group(b"chat"), kind, body).await?;
            } else {
                node.send(sid, kind, body).await?;
            }
        } else if kind == Kind::End {
            chatting.remove(&sid);
        }
    }
}

/// A variable of a request; empty if it has none of that name.
fn variable<'a>(packet: &'a [u8], name: &str) -> &'a [u8] {
    let found = uwsgi::pairs(packet).flatten().find(|(other, _)| *other == name.as_bytes());
    found.map_or(&[], |(_, value)| value)
}
