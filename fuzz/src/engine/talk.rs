//! A client's WebSocket: says messages that tell whose they are, and frames that nobody may say.

use std::collections::BTreeMap;
use std::sync::Arc;

use blastbeat_proto::entropy::SeededEntropy;
use blastbeat_proto::http::Response;
use blastbeat_proto::limits::Limits;
use blastbeat_proto::time::{Duration, Instant};
use blastbeat_proto::websocket::{Close, Connection, Deflate, Event, Kind, Message, Settings};
use bytes::Bytes;

use super::script::Script;

/// The sample of RFC 6455, 1.3.
pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &[u8] = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// Sizes of messages: empty, of each length of a header, and larger than what is committed at once.
const SIZES: &[usize] = &[0, 1, 100, 300, 5000, 70_000];

pub struct Talk {
    conn: Connection,
    unread: Vec<u8>,
    heard: Heard,
    is_over: bool,
}

/// The last message of each speaker.
#[derive(Default)]
pub struct Heard(BTreeMap<String, u32>);

impl Heard {
    /// Checks that what one speaker says comes in order, and `once` or, by several pipes, more than once in a row.
    pub fn hear(&mut self, payload: &[u8], once: bool) {
        let mut words = payload.splitn(3, |byte| *byte == b' ').filter_map(|word| std::str::from_utf8(word).ok());
        let (Some(who), Some(Ok(count)), Some(_)) = (words.next(), words.next().map(str::parse), words.next()) else {
            return;
        };
        if let Some(last) = self.0.insert(who.into(), count) {
            assert!(last < count || (last == count && !once), "{who} says {count} after {last}");
        }
    }
}

/// A message that tells whose it is, and which.
pub fn message(who: char, number: usize, count: &mut u32, script: &mut Script<'_>) -> Vec<u8> {
    *count += 1;
    let mut text = format!("{who}{number} {count} ").into_bytes();
    let size = text.len() + script.pick(SIZES);
    text.resize(size, b'.');
    text
}

/// The fields of a handshake, most of them sound.
pub fn fields(script: &mut Script<'_>) -> String {
    let version = script.pick(&["13", "13", "13", "13", "13", "13", "12", "13, 8"]);
    let key = script.pick(&[KEY, KEY, KEY, KEY, KEY, KEY, "short", ""]);
    let more = script.pick(&[
        "",
        "",
        "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n",
        "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; server_max_window_bits=9\r\n",
        "Sec-WebSocket-Protocol: chat, other\r\nOrigin: https://a.example.org\r\n",
        "Origin: https://evil.example\r\nSec-WebSocket-Protocol: other\r\n",
        "Sec-WebSocket-Extensions: permessage-deflate; ;\r\n",
        "Content-Length: 0\r\n",
    ]);
    format!(
        "Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\nSec-WebSocket-Key: {key}\r\n\
         Sec-WebSocket-Version: {version}\r\n{more}"
    )
}

/// A frame with a mask that changes nothing.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        n @ 0..126 => frame.push(0x80 | n as u8),
        n @ 126..65_536 => {
            frame.push(0xfe);
            frame.extend((n as u16).to_be_bytes());
        }
        n => {
            frame.push(0xff);
            frame.extend((n as u64).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

impl Talk {
    /// The handshake is complete.
    pub fn new(response: &Response, number: usize) -> Self {
        assert_eq!(response.fields.find("sec-websocket-accept"), Some(ACCEPT));
        let answer = response.fields.find("sec-websocket-extensions");
        let answer = answer.map(|text| String::from_utf8_lossy(text).into_owned());
        let deflate = answer.map(|text| Deflate {
            server_no_context_takeover: text.contains("server_no_context"),
            client_no_context_takeover: text.contains("client_no_context"),
            server_max_window_bits: text.contains("window_bits=9").then_some(9),
            client_max_window_bits: None,
        });
        let settings = Settings { ping: Duration::ZERO, ..Settings::new(&Limits::DEFAULT) };
        let masks = Box::new(SeededEntropy::from_number(number as u64));
        let conn = Connection::client(Arc::new(settings), deflate, masks, Instant::ZERO);
        Self { conn, unread: Vec::new(), heard: Heard::default(), is_over: false }
    }

    /// Says a message, or something else; returns the bytes.
    pub fn speak(&mut self, name: char, number: usize, count: &mut u32, script: &mut Script<'_>) -> Vec<u8> {
        let payload = message(name, number, count, script);
        let event = match script.byte() % 16 {
            0..4 => Event::Message(Message { kind: Kind::Text, payload: payload.into() }),
            4 | 5 => Event::Message(Message { kind: Kind::Binary, payload: payload.into() }),
            6 => Event::Ping(Bytes::from_static(b"!")),
            7 => Event::Pong(Bytes::new()),
            8 => Event::Close(Close { code: None, reason: Bytes::new() }),
            9 => Event::Close(Close { code: Some(4000), reason: Bytes::from_static(b"bye") }),
            10 | 11 => {
                let (first, rest) = payload.split_at(usize::from(script.byte()).min(payload.len()));
                let (middle, last) = rest.split_at(usize::from(script.byte()).min(rest.len()));
                return [frame(1, first), frame(0x89, b"?"), frame(0, middle), frame(0x80, last)].concat();
            }
            12 => return bad(script).to_vec(),
            13 => return frame(script.byte(), script.bytes()),
            14 => return frame(0x82, &[0xff; 300])[..usize::from(script.byte())].to_vec(),
            _ => {
                return frame(script.pick(&[0x81, 0xc1, 1, 0x88]), script.pick(&[&[0xff][..], &[3, 0xe8, 0xc3], &[0]]));
            }
        };
        // Whoever has said good-bye says no more.
        let _ = self.conn.send(event, Instant::ZERO);
        self.said()
    }

    fn said(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while !self.conn.outbound().is_empty() {
            bytes.extend(self.conn.outbound().take());
        }
        bytes
    }

    /// Reads what the server sent; returns what is answered to it.
    pub fn receive(&mut self, bytes: &[u8]) -> Vec<u8> {
        assert!(bytes.is_empty() || !self.is_over, "nothing follows a close frame: {}", bytes.escape_ascii());
        self.unread.extend_from_slice(bytes);
        loop {
            let used = self.conn.receive(&self.unread, Instant::ZERO);
            self.unread.drain(..used);
            match self.conn.poll_event() {
                Some(Event::Message(message)) => self.heard.hear(&message.payload, message.payload.starts_with(b"n")),
                Some(Event::Close(_)) => self.is_over = true,
                Some(Event::Ping(_) | Event::Pong(_)) => {}
                None if used == 0 => break,
                None => {}
            }
        }
        assert_eq!(self.conn.violation(), None, "frames are sound");
        self.said()
    }
}

/// What a client may not send.
fn bad(script: &mut Script<'_>) -> &'static [u8] {
    script.pick(&[
        b"\x81\x01a",
        b"\x83\x80\0\0\0\0",
        b"\x89\xfe\0\x7e\0\0\0\0",
        b"\x09\x80\0\0\0\0",
        b"\x80\x80\0\0\0\0",
        b"\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0",
        b"\xf1\x80\0\0\0\0",
        b"\x88\x81\0\0\0\0\x03",
    ])
}
