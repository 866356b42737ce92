//! tungstenite's own WebSocket at the other end.

use alloc::collections::VecDeque;
use std::io::{self, Read, Write};

use tungstenite::handshake::HandshakeError;
use tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tungstenite::protocol::frame::{CloseFrame, Frame};
use tungstenite::protocol::{Role, WebSocket};
use tungstenite::{Error, Message as Theirs};

use super::*;
use crate::entropy::Entropy;
use crate::http::{Request, Response};
use crate::websocket::handshake;

/// A stream in memory: what is in `inbox` is read, what is written goes to `outbox`.
#[derive(Debug, Default)]
struct Pipe {
    inbox: VecDeque<u8>,
    outbox: Vec<u8>,
}

impl Read for Pipe {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.inbox.is_empty() { Err(io::ErrorKind::WouldBlock.into()) } else { self.inbox.read(into) }
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.outbox.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn theirs(role: Role) -> WebSocket<Pipe> {
    WebSocket::from_raw_socket(Pipe::default(), role, None)
}

/// Lets them read what we said.
fn hear(theirs: &mut WebSocket<Pipe>, ours: &mut Connection) -> Vec<Theirs> {
    theirs.get_mut().inbox.extend(written(ours));
    let mut messages = Vec::new();
    loop {
        match theirs.read() {
            Ok(message) => messages.push(message),
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => return messages,
            Err(Error::ConnectionClosed) => return messages,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Lets us read what they said.
fn tell(theirs: &mut WebSocket<Pipe>, ours: &mut Connection) -> Vec<Event> {
    match theirs.flush() {
        Ok(()) | Err(Error::ConnectionClosed) => {}
        Err(error) => panic!("{error}"),
    }
    let said = core::mem::take(&mut theirs.get_mut().outbox);
    feed(ours, &said)
}

/// Ours as a server with theirs as a client, and the other way round.
fn pairs() -> [(Connection, WebSocket<Pipe>); 2] {
    [(server(), theirs(Role::Client)), (client(), theirs(Role::Server))]
}

fn as_theirs(event: &Event) -> Theirs {
    match event {
        Event::Message(Message { kind: Kind::Text, payload }) => {
            Theirs::text(core::str::from_utf8(payload).unwrap().to_string())
        }
        Event::Message(Message { kind: Kind::Binary, payload }) => Theirs::Binary(payload.clone()),
        Event::Ping(payload) => Theirs::Ping(payload.clone()),
        Event::Pong(payload) => Theirs::Pong(payload.clone()),
        Event::Close(_) => Theirs::Close(None),
    }
}

#[test]
fn messages_pass_both_ways() {
    let mut entropy = SeededEntropy::from_number(28);
    for (mut ours, mut theirs) in pairs() {
        for round in 0..48 {
            let mut payload = vec![0; [0, 1, 125, 126, 1000, 65_535, 65_536, 200_000][round % 8]];
            entropy.fill(&mut payload);
            let event = if round % 3 == 0 {
                text(&payload.iter().map(|byte| char::from(*byte)).collect::<alloc::string::String>())
            } else {
                binary(&payload)
            };
            ours.send(event.clone(), NOW).unwrap();
            assert_eq!(hear(&mut theirs, &mut ours), [as_theirs(&event)]);
            theirs.write(as_theirs(&event)).unwrap();
            assert_eq!(tell(&mut theirs, &mut ours), [event]);
        }
    }
}

#[test]
fn fragments_and_pings_of_theirs_are_read() {
    for (mut ours, mut theirs) in pairs() {
        let piece = |text: &'static str, opcode, last| Theirs::Frame(Frame::message(text, OpCode::Data(opcode), last));
        theirs.write(piece("Grüße", Data::Text, false)).unwrap();
        theirs.write(Theirs::Ping(Bytes::from_static(b"now"))).unwrap();
        theirs.write(piece(" aus", Data::Continue, false)).unwrap();
        theirs.write(piece(" Köln", Data::Continue, true)).unwrap();
        assert_eq!(tell(&mut theirs, &mut ours), [Event::Ping(Bytes::from_static(b"now")), text("Grüße aus Köln")]);
        assert_eq!(hear(&mut theirs, &mut ours), [Theirs::Pong(Bytes::from_static(b"now"))]);
        // And theirs answers ours.
        ours.send(Event::Ping(Bytes::from_static(b"you?")), NOW).unwrap();
        assert_eq!(hear(&mut theirs, &mut ours), [Theirs::Ping(Bytes::from_static(b"you?"))]);
        assert_eq!(tell(&mut theirs, &mut ours), [Event::Pong(Bytes::from_static(b"you?"))]);
    }
}

#[test]
fn they_close_and_we_answer() {
    for (mut ours, mut theirs) in pairs() {
        theirs.close(Some(CloseFrame { code: CloseCode::Away, reason: "leaving".into() })).unwrap();
        assert_eq!(tell(&mut theirs, &mut ours), [close(1001, "leaving")]);
        assert_eq!(ours.is_closing(), Some(Cause::ClientClosed));
        let answer = Theirs::Close(Some(CloseFrame { code: CloseCode::Away, reason: "".into() }));
        assert_eq!(hear(&mut theirs, &mut ours), [answer]);
        assert!(!theirs.can_read() && !theirs.can_write());
    }
}

#[test]
fn we_close_and_they_answer() {
    for (mut ours, mut theirs) in pairs() {
        ours.fail(Cause::NodeLost, NOW);
        let frame = CloseFrame { code: CloseCode::Restart, reason: "node-lost".into() };
        assert_eq!(hear(&mut theirs, &mut ours), [Theirs::Close(Some(frame))]);
        assert_eq!(tell(&mut theirs, &mut ours), [close(1012, "node-lost")]);
        assert_eq!(ours.is_closing(), Some(Cause::NodeLost));
    }
}

#[test]
fn their_client_shakes_hands_with_our_server() {
    let interrupted = tungstenite::client("ws://example.com/chat", Pipe::default());
    let Err(HandshakeError::Interrupted(mut waiting)) = interrupted else { panic!("{interrupted:?}") };
    let pipe = waiting.get_mut().get_mut();
    let request = Request::parse(&core::mem::take(&mut pipe.outbox), &Limits::DEFAULT).unwrap();
    assert!(handshake::is_requested(&request));
    let offer = handshake::read(&request).unwrap();
    let response = handshake::accept(&offer, None, None, None).unwrap();
    pipe.inbox.extend(&response.text()[..]);
    let (mut theirs, _) = waiting.handshake().unwrap();
    let mut ours = server();
    theirs.write(Theirs::text("hello")).unwrap();
    assert_eq!(tell(&mut theirs, &mut ours), [text("hello")]);
}

#[test]
fn our_client_shakes_hands_with_their_server() {
    let (builder, key) = handshake::request("/chat", "example.com", &[], None, &mut SeededEntropy::from_number(9));
    let mut pipe = Pipe::default();
    pipe.inbox.extend(&builder.build().unwrap().text()[..]);
    let mut theirs = tungstenite::accept(pipe).unwrap();
    let said = Bytes::from(core::mem::take(&mut theirs.get_mut().outbox));
    let (response, rest) = Response::parse(said, &Limits::DEFAULT).unwrap();
    assert_eq!((handshake::check(&response, &key, &[], None), rest.len()), (Ok(None), 0));
    let mut ours = client();
    ours.send(text("hello"), NOW).unwrap();
    assert_eq!(hear(&mut theirs, &mut ours), [Theirs::text("hello")]);
}
