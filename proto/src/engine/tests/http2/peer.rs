//! A client of HTTP/2 that counts windows: frames of its own, no table for heads.

use super::*;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend_from_slice(&[kind, flags]);
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            assert!(text.len() < 127);
            block.push(text.len() as u8);
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// The status of a head whose table is empty: an indexed field, or one with digits in the code of RFC 7541, appendix B.
fn status(block: &[u8]) -> u16 {
    let block = if block[0] >> 5 == 1 { &block[1..] } else { block };
    if block[0] & 0x80 != 0 {
        return [200, 204, 206, 304, 400, 404, 500][usize::from(block[0] & 0x7f) - 8];
    }
    assert_eq!((block[0] & 0x0f, block[1] & 0x80), (8, 0x80), "{block:x?}");
    let bits = block[2..5].iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << 8;
    let (mut at, mut status) = (0, 0);
    for _ in 0..3 {
        let five = (bits << at) >> 27;
        let digit = if five < 3 { five } else { ((bits << at) >> 26) - 0b011001 + 3 };
        at += if five < 3 { 5 } else { 6 };
        status = status * 10 + digit as u16;
    }
    status
}

/// What a client lets the server send.
pub(super) enum Window {
    /// As much as it likes.
    Wide,
    /// This many bytes on each stream.
    Narrow(u32),
}

#[derive(Default)]
struct Heard {
    status: Option<u16>,
    interim: Vec<u16>,
    data: Vec<u8>,
    has_ended: bool,
    reset: Option<u32>,
    window: i64,
}

pub(super) struct Peer {
    pub link: LinkId,
    streams: BTreeMap<u32, Heard>,
    unread: Vec<u8>,
    /// What may be sent on the connection.
    pub window: i64,
    stream_window: i64,
    pub is_told_to_go: bool,
    /// Streams in the order of their ends.
    pub ends: Vec<u32>,
}

impl Peer {
    pub fn new(world: &mut World) -> Self {
        Self::with_window(world, Window::Wide)
    }

    pub fn with_window(world: &mut World, window: Window) -> Self {
        let link = world.accept(0);
        let bytes = match window {
            Window::Wide => 1 << 30,
            Window::Narrow(bytes) => bytes,
        };
        // No table, no pushes.
        let mut settings = [0, 1, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 4].to_vec();
        settings.extend_from_slice(&bytes.to_be_bytes());
        let greeting = [
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            &frame(SETTINGS, 0, 0, &settings)[..],
            &frame(SETTINGS, 1, 0, b""),
            &frame(WINDOW_UPDATE, 0, 0, &(1_u32 << 30).to_be_bytes()),
        ];
        world.receive(link, &greeting.concat());
        let mut peer = Self {
            link,
            streams: BTreeMap::new(),
            unread: Vec::new(),
            window: 65_535,
            stream_window: 65_535,
            is_told_to_go: false,
            ends: Vec::new(),
        };
        peer.read(world);
        peer
    }

    pub fn ask(&mut self, world: &mut World, stream: u32, fields: &[(&str, &str)], is_whole: bool) {
        self.streams.insert(stream, Heard { window: self.stream_window, ..Heard::default() });
        let flags = if is_whole { END_STREAM | END_HEADERS } else { END_HEADERS };
        world.receive(self.link, &frame(HEADERS, flags, stream, &block(fields)));
    }

    pub fn get(&mut self, world: &mut World, stream: u32, path: &str) {
        let fields = [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", path)];
        self.ask(world, stream, &fields, true);
    }

    /// A request with the beginning of its body, or all of it, in one piece.
    pub fn post(&mut self, world: &mut World, stream: u32, path: &str, body: &[u8], is_whole: bool) {
        let fields = [(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", path)];
        self.streams.insert(stream, Heard { window: self.stream_window, ..Heard::default() });
        let head = frame(HEADERS, END_HEADERS, stream, &block(&fields));
        let data = self.data_frames(stream, body, is_whole);
        world.receive(self.link, &[head, data].concat());
    }

    /// Asks for a WebSocket.
    pub fn open(&mut self, world: &mut World, stream: u32) {
        let fields = [
            (":method", "CONNECT"),
            (":protocol", "websocket"),
            (":scheme", "http"),
            (":authority", "a"),
            (":path", "/ws"),
            ("sec-websocket-version", "13"),
        ];
        self.ask(world, stream, &fields, false);
    }

    pub fn data_frames(&mut self, stream: u32, data: &[u8], is_last: bool) -> Vec<u8> {
        let heard = self.streams.get_mut(&stream).unwrap();
        self.window -= data.len() as i64;
        heard.window -= data.len() as i64;
        assert!(self.window >= 0 && heard.window >= 0, "{} {}", self.window, heard.window);
        let mut bytes = Vec::new();
        let last = data.len().saturating_sub(1) / 16_384;
        for (n, piece) in data.chunks(16_384).enumerate() {
            bytes.extend(frame(DATA, u8::from(is_last && n == last), stream, piece));
        }
        if data.is_empty() && is_last {
            bytes.extend(frame(DATA, END_STREAM, stream, b""));
        }
        bytes
    }

    /// Sends a part of a body, as far as the windows are known to be open.
    pub fn send_data(&mut self, world: &mut World, stream: u32, data: &[u8], is_last: bool) {
        let bytes = self.data_frames(stream, data, is_last);
        world.receive(self.link, &bytes);
    }

    /// How much may be sent on a stream.
    pub fn room(&self, stream: u32) -> usize {
        self.window.min(self.streams[&stream].window).max(0) as usize
    }

    pub fn websocket(&mut self, world: &mut World, stream: u32, frames: &[u8]) {
        self.send_data(world, stream, frames, false);
    }

    pub fn reset(&mut self, world: &mut World, stream: u32) {
        self.streams.remove(&stream);
        world.receive(self.link, &frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
    }

    pub fn widen(&mut self, world: &mut World, stream: u32, by: u32) {
        world.receive(self.link, &frame(WINDOW_UPDATE, 0, stream, &by.to_be_bytes()));
    }

    /// Reads what has come.
    pub fn read(&mut self, world: &mut World) {
        self.unread.extend(world.written.remove(&self.link).unwrap_or_default());
        let bytes = core::mem::take(&mut self.unread);
        let mut rest = &bytes[..];
        while rest.len() >= 9 {
            let len = u32::from_be_bytes([0, rest[0], rest[1], rest[2]]) as usize;
            if rest.len() < 9 + len {
                break;
            }
            let stream = u32::from_be_bytes(*rest[5..].first_chunk().unwrap());
            self.hear(rest[3], rest[4], stream, &rest[9..9 + len]);
            rest = &rest[9 + len..];
        }
        self.unread = rest.to_vec();
    }

    fn hear(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let word = |at: usize| u32::from_be_bytes(*payload[at..].first_chunk().unwrap());
        match kind {
            SETTINGS if flags == 0 => {
                for setting in payload.chunks(6).filter(|setting| setting[..2] == [0, 4]) {
                    self.stream_window = i64::from(u32::from_be_bytes(*setting[2..].first_chunk().unwrap()));
                }
            }
            WINDOW_UPDATE if stream == 0 => self.window += i64::from(word(0)),
            GOAWAY => {
                self.is_told_to_go = true;
                assert_eq!(word(4), 0, "{}", payload[8..].escape_ascii());
            }
            _ => {}
        }
        let Some(heard) = self.streams.get_mut(&stream) else { return };
        match kind {
            HEADERS => match status(payload) {
                interim @ 100..200 => heard.interim.push(interim),
                last => assert_eq!(heard.status.replace(last), None),
            },
            DATA => heard.data.extend_from_slice(payload),
            WINDOW_UPDATE => heard.window += i64::from(word(0)),
            RST_STREAM => heard.reset = Some(word(0)),
            _ => {}
        }
        let has_ended = matches!(kind, HEADERS | DATA) && flags & END_STREAM != 0;
        if has_ended {
            assert!(!core::mem::replace(&mut heard.has_ended, true));
            self.ends.push(stream);
        }
    }

    /// The status, the body so far, and whether it is whole.
    pub fn answer(&self, stream: u32) -> Option<(u16, &[u8], bool)> {
        let heard = self.streams.get(&stream)?;
        Some((heard.status?, &heard.data, heard.has_ended))
    }

    pub fn data(&self, stream: u32) -> &[u8] {
        &self.streams[&stream].data
    }

    pub fn has_ended(&self, stream: u32) -> bool {
        self.streams[&stream].has_ended
    }

    pub fn reset_code(&self, stream: u32) -> Option<u32> {
        self.streams[&stream].reset
    }
}
