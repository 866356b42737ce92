//! A node's end of a ZMTP link, written for the tests alone.
//!
//! It speaks ZMTP 3.1 as a DEALER with NULL or PLAIN and keeps what it gets. It checks what the server sends as
//! strictly as it can and panics on the first fault: a test then fails at the byte that is wrong.
//!
//! greeting -> [PLAIN: HELLO -> WELCOME -> INITIATE | NULL: READY] -> READY of the server -> traffic

use std::collections::VecDeque;

use bytes::{Buf, BytesMut};

/// One message: its frames.
pub type Frames = Vec<Vec<u8>>;

const GREETING: usize = 64;
const MORE: u8 = 1;
const LONG: u8 = 2;
const COMMAND: u8 = 4;

/// How far a link is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Greeting,
    Welcome,
    Ready,
    Up,
}

/// A node's end of a link, without a socket.
pub struct NodeLink {
    identity: Vec<u8>,
    password: Option<Vec<u8>>,
    minor: u8,
    state: State,
    unread: BytesMut,
    partial: Frames,
    messages: VecDeque<Frames>,
    /// Bytes to be sent.
    pub outgoing: Vec<u8>,
    /// The reason of an ERROR command, if one came.
    pub refused: Option<Vec<u8>>,
    /// ZMTP PINGs that came; they are answered.
    pub heartbeats: usize,
}

impl NodeLink {
    /// A link without security, or with PLAIN if there is a password (the identity is the user name).
    pub fn new(identity: impl Into<Vec<u8>>, password: Option<&str>) -> Self {
        let mut link = Self {
            identity: identity.into(),
            password: password.map(|text| text.as_bytes().to_vec()),
            minor: 1,
            state: State::Greeting,
            unread: BytesMut::new(),
            partial: Vec::new(),
            messages: VecDeque::new(),
            outgoing: Vec::new(),
            refused: None,
            heartbeats: 0,
        };
        link.outgoing = greeting(if link.password.is_some() { b"PLAIN" } else { b"NULL" }, link.minor);
        link
    }

    /// The same as a peer of ZMTP 3.0. To be called before anything is sent.
    pub fn of_zmtp_3_0(mut self) -> Self {
        self.minor = 0;
        self.outgoing[11] = 0;
        self
    }

    /// Whether the handshake is complete.
    pub fn is_up(&self) -> bool {
        self.state == State::Up
    }

    /// Takes bytes from the server.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.unread.extend_from_slice(bytes);
        if self.state == State::Greeting && !self.receive_greeting() {
            return;
        }
        while let Some((flags, body)) = self.take_frame() {
            if flags & COMMAND != 0 {
                self.receive_command(&body);
                continue;
            }
            assert_eq!(self.state, State::Up, "a message before READY");
            self.partial.push(body);
            if flags & MORE == 0 {
                self.messages.push_back(std::mem::take(&mut self.partial));
            }
        }
    }

    /// Takes the oldest message.
    pub fn poll_message(&mut self) -> Option<Frames> {
        self.messages.pop_front()
    }

    /// Sends a message.
    pub fn send(&mut self, frames: &[&[u8]]) {
        assert_eq!(self.state, State::Up, "the link is not up");
        self.outgoing.extend(message(frames));
    }

    fn receive_greeting(&mut self) -> bool {
        if self.unread.len() < GREETING {
            return false;
        }
        let theirs = self.unread.split_to(GREETING);
        let mechanism = if self.password.is_some() { &b"PLAIN"[..] } else { b"NULL" };
        let mut expected = greeting(mechanism, 1);
        expected[32] = u8::from(self.password.is_some());
        assert_eq!(theirs.escape_ascii().to_string(), expected.escape_ascii().to_string(), "the server's greeting");
        match self.password.clone() {
            Some(password) => {
                self.state = State::Welcome;
                self.outgoing.extend(command("HELLO", &[&short(&self.identity)[..], &short(&password)].concat()));
            }
            None => {
                self.state = State::Ready;
                let body = self.metadata();
                self.outgoing.extend(command("READY", &body));
            }
        }
        true
    }

    fn receive_command(&mut self, body: &[u8]) {
        let (name, body) = body[1..].split_at(body[0].into());
        match (self.state, name) {
            (State::Welcome, b"WELCOME") => {
                assert_eq!(body, b"");
                self.state = State::Ready;
                let metadata = self.metadata();
                self.outgoing.extend(command("INITIATE", &metadata));
            }
            (State::Ready, b"READY") => {
                let properties = properties(body);
                let socket = properties.iter().find(|(name, _)| name.eq_ignore_ascii_case("Socket-Type"));
                assert_eq!(socket.map(|(_, value)| &value[..]), Some(&b"ROUTER"[..]), "{properties:?}");
                self.state = State::Up;
            }
            (State::Welcome | State::Ready, b"ERROR") => {
                assert_eq!(body.len(), 1 + usize::from(body[0]));
                self.refused = Some(body[1..].to_vec());
            }
            (State::Up, b"PING") => {
                self.heartbeats += 1;
                self.outgoing.extend(command("PONG", &body[2..]));
            }
            (State::Up, b"PONG") => {}
            _ => panic!("command {} in {:?}", name.escape_ascii(), self.state),
        }
    }

    fn take_frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let (&flags, rest) = self.unread.split_first()?;
        assert_eq!(flags & !(MORE | LONG | COMMAND), 0, "reserved flags {flags:#x}");
        assert!(flags & (MORE | COMMAND) != MORE | COMMAND, "a command is never followed by more");
        let (header, length) = match flags & LONG {
            0 => (2, usize::from(*rest.first()?)),
            _ => {
                let length = u64::from_be_bytes(rest.get(..8)?.try_into().expect("eight bytes"));
                assert!(length > 255, "a long frame of {length} bytes");
                (9, length as usize)
            }
        };
        let body = self.unread.get(header..header + length)?.to_vec();
        self.unread.advance(header + length);
        Some((flags, body))
    }

    fn metadata(&self) -> Vec<u8> {
        [property("Socket-Type", b"DEALER"), property("Identity", &self.identity)].concat()
    }
}

/// A greeting of ZMTP 3 (RFC 37, greeting), not as a server.
pub fn greeting(mechanism: &[u8], minor: u8) -> Vec<u8> {
    let mut bytes = vec![0; GREETING];
    bytes[0] = 0xff;
    bytes[9] = 0x7f;
    bytes[10] = 3;
    bytes[11] = minor;
    bytes[12..12 + mechanism.len()].copy_from_slice(mechanism);
    bytes
}

/// A command frame.
pub fn command(name: &str, body: &[u8]) -> Vec<u8> {
    frame(COMMAND, &[&short(name.as_bytes())[..], body].concat())
}

/// A property of READY or INITIATE.
pub fn property(name: &str, value: &[u8]) -> Vec<u8> {
    [&short(name.as_bytes())[..], &(value.len() as u32).to_be_bytes(), value].concat()
}

/// A message on the wire.
pub fn message(frames: &[&[u8]]) -> Vec<u8> {
    let last = frames.len() - 1;
    frames.iter().enumerate().flat_map(|(place, body)| frame(if place < last { MORE } else { 0 }, body)).collect()
}

/// One frame.
pub fn frame(flags: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = match u8::try_from(body.len()) {
        Ok(length) => vec![flags, length],
        Err(_) => [&[flags | LONG][..], &(body.len() as u64).to_be_bytes()].concat(),
    };
    bytes.extend_from_slice(body);
    bytes
}

fn short(bytes: &[u8]) -> Vec<u8> {
    let length = u8::try_from(bytes.len()).expect("at most 255 bytes");
    [&[length][..], bytes].concat()
}

fn properties(mut bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    while let Some((&length, rest)) = bytes.split_first() {
        let (name, rest) = rest.split_at(length.into());
        let (length, rest) = rest.split_at(4);
        let length = u32::from_be_bytes(length.try_into().expect("four bytes")) as usize;
        found.push((String::from_utf8(name.to_vec()).expect("an ASCII name"), rest[..length].to_vec()));
        bytes = &rest[length..];
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A greeting as a ROUTER and its READY, as libzmq sends them.
    fn router_hello() -> Vec<u8> {
        [greeting(b"NULL", 1), command("READY", &property("Socket-Type", b"ROUTER"))].concat()
    }

    #[test]
    fn a_handshake_and_messages_survive_any_chunking() {
        let long = vec![7; 300];
        let bytes = [router_hello(), message(&[b"", b"ping", b""]), message(&[&long, b"", b"z"])].concat();
        for size in [1, 7, bytes.len()] {
            let mut link = NodeLink::new("n1", None);
            bytes.chunks(size).for_each(|chunk| link.receive(chunk));
            assert!(link.is_up());
            assert_eq!(link.poll_message(), Some(vec![vec![], b"ping".to_vec(), vec![]]));
            assert_eq!(link.poll_message(), Some(vec![long.clone(), vec![], b"z".to_vec()]));
            assert_eq!(link.poll_message(), None);
        }
    }

    #[test]
    #[should_panic(expected = "a long frame of 2 bytes")]
    fn frames_that_are_longer_than_need_be_are_noticed() {
        let mut link = NodeLink::new("n1", None);
        link.receive(&router_hello());
        link.receive(&[LONG, 0, 0, 0, 0, 0, 0, 0, 2, b'h', b'i']);
    }
}
