//! The tungstenite crate as a client: `tungstenite_client URL`, before an echo node.
//!
//! Sends text, binary, a mebibyte, fragments and a ping, and closes. Ends with an error at the first surprise.

use std::error::Error;

use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tungstenite::{Message, WebSocket, connect};

fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::args().nth(1).ok_or("usage: tungstenite_client URL")?;
    let (mut socket, response) = connect(url)?;
    expect(response.status().as_u16() == 101, "the handshake")?;
    for size in [0, 1, 125, 126, 65_535, 65_536, 1024 * 1024] {
        let text = Message::text("x".repeat(size));
        let binary = Message::binary(vec![0xff; size]);
        for message in [text, binary] {
            socket.send(message.clone())?;
            expect(next(&mut socket)? == message, "an echo")?;
        }
    }
    for (piece, code, last) in [("Hel", Data::Text, false), ("", Data::Continue, false), ("lo", Data::Continue, true)] {
        socket.send(Message::Frame(Frame::message(piece, OpCode::Data(code), last)))?;
    }
    expect(next(&mut socket)? == Message::text("Hello"), "fragments put together")?;
    socket.send(Message::Ping("here?".into()))?;
    expect(socket.read()? == Message::Pong("here?".into()), "a pong")?;
    socket.close(Some(CloseFrame { code: CloseCode::Library(4000), reason: "done".into() }))?;
    let Message::Close(Some(close)) = socket.read()? else { return Err("the close frame did not come back".into()) };
    expect(close.code == CloseCode::Library(4000), "the code")?;
    match socket.read() {
        Err(tungstenite::Error::ConnectionClosed) => Ok(()),
        other => Err(format!("not closed in good order: {other:?}").into()),
    }
}

/// The next message that is no ping.
fn next<S: std::io::Read + std::io::Write>(socket: &mut WebSocket<S>) -> Result<Message, tungstenite::Error> {
    loop {
        let message = socket.read()?;
        if !message.is_ping() {
            return Ok(message);
        }
    }
}

fn expect(right: bool, what: &str) -> Result<(), String> {
    if right { Ok(()) } else { Err(format!("{what} is not as it should be")) }
}
