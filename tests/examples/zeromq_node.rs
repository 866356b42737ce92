//! A node on the `zeromq` crate, which shares no code with this project's own ZMTP.
//!
//! `zeromq_node ENDPOINT IDENTITY` answers every request with its name and the request's method and target.

use std::error::Error;

use blastbeat_tests::packet;
use zeromq::util::PeerIdentity;
use zeromq::{DealerSocket, Socket, SocketOptions, SocketRecv, SocketSend, ZmqMessage};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(endpoint), Some(identity)) = (arguments.next(), arguments.next()) else {
        return Err("usage: zeromq_node ENDPOINT IDENTITY".into());
    };
    let mut options = SocketOptions::default();
    options.peer_identity(PeerIdentity::try_from(identity.clone().into_bytes())?);
    let mut socket = DealerSocket::with_options(options);
    socket.connect(&endpoint).await?;
    send(&mut socket, b"", b"pong", b"").await?;
    loop {
        let message = socket.recv().await?.into_vec();
        let [sid, kind, body] = &message[..] else { return Err(format!("{} frames", message.len()).into()) };
        match &kind[..] {
            b"ping" => send(&mut socket, b"", b"pong", b"").await?,
            b"uwsgi" => {
                let variables = packet::variables(body);
                let get = |name: &str| {
                    let found = variables.iter().find(|(other, _)| other == name);
                    found.map_or(String::new(), |(_, value)| String::from_utf8_lossy(value).into_owned())
                };
                let text = format!("{identity} {} {}", get("REQUEST_METHOD"), get("REQUEST_URI"));
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", text.len());
                send(&mut socket, sid, b"headers", head.as_bytes()).await?;
                send(&mut socket, sid, b"body", text.as_bytes()).await?;
            }
            _ => {}
        }
    }
}

async fn send(socket: &mut DealerSocket, sid: &[u8], kind: &[u8], body: &[u8]) -> Result<(), Box<dyn Error>> {
    let mut message = ZmqMessage::from(sid.to_vec());
    message.push_back(kind.to_vec().into());
    message.push_back(body.to_vec().into());
    Ok(socket.send(message).await?)
}
