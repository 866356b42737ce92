//! A client of HTTP/2: bytes in, bytes out, with frames of its own, a foreign compression of heads, and windows that it
//! counts itself.

use std::collections::BTreeMap;

use bytes::BytesMut;
use httlib_hpack::{Decoder, Encoder};

/// What a client says before its first frame.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

/// The frame that carries this.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend_from_slice(&[kind, flags]);
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// The head of a response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Its status.
    pub status: u16,
    /// Its fields, in order.
    pub fields: Vec<(String, String)>,
}

impl Head {
    /// The value of a field.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(other, _)| other == name).map(|(_, value)| &value[..])
    }
}

/// One request, and its answer as far as it has come.
#[derive(Debug, Default)]
pub struct Stream {
    /// Heads before the final one.
    pub interim: Vec<Head>,
    /// The final head.
    pub head: Option<Head>,
    /// Bytes of the body that nobody has taken yet.
    pub body: Vec<u8>,
    /// The answer is whole.
    pub has_ended: bool,
    /// The code with which the server reset the stream.
    pub reset: Option<u32>,
    /// What the server may still be sent.
    pub window: i64,
    /// Bytes of the request's body that wait for a window.
    pub unsent: BytesMut,
    ends: bool,
    has_sent_end: bool,
}

/// One connection.
pub struct Http2 {
    /// Bytes for the server.
    pub outgoing: Vec<u8>,
    /// All requests.
    pub streams: BTreeMap<u32, Stream>,
    /// What the server may still be sent on all streams.
    pub window: i64,
    /// Windows are opened again for what has come.
    pub reads: bool,
    /// The code and the last stream of the server's farewell.
    pub farewell: Option<(u32, u32)>,
    unread: Vec<u8>,
    encoder: Encoder<'static>,
    decoder: Decoder<'static>,
    stream_window: i64,
    next: u32,
    /// A head that is not whole: its stream, its flags, what has come.
    block: Option<(u32, u8, Vec<u8>)>,
}

impl Http2 {
    /// A client that lets the server send `window` bytes on each stream, and opens that again as they come.
    pub fn new(window: u32) -> Self {
        let mut settings = [0, 2, 0, 0, 0, 0, 0, 4].to_vec();
        settings.extend_from_slice(&window.to_be_bytes());
        let mut outgoing = PREFACE.to_vec();
        outgoing.extend(frame(SETTINGS, 0, 0, &settings));
        // What all may take together is not what this is about.
        outgoing.extend(frame(WINDOW_UPDATE, 0, 0, &(1_u32 << 30).to_be_bytes()));
        Self {
            outgoing,
            streams: BTreeMap::new(),
            window: 65_535,
            reads: true,
            farewell: None,
            unread: Vec::new(),
            encoder: Encoder::default(),
            decoder: Decoder::default(),
            stream_window: 65_535,
            next: 1,
            block: None,
        }
    }

    /// Sends a request with these fields; its body follows unless it `is_whole`.
    ///
    /// # Panics
    /// If the fields cannot be encoded.
    pub fn request(&mut self, fields: &[(&str, &str)], is_whole: bool) -> u32 {
        let stream = self.next;
        self.next += 2;
        let mut block = Vec::new();
        for (name, value) in fields {
            let how = Encoder::HUFFMAN_VALUE | Encoder::WITH_INDEXING | Encoder::BEST_FORMAT;
            let field = (name.as_bytes().to_vec(), value.as_bytes().to_vec(), how);
            self.encoder.encode(field, &mut block).expect("fields of a request");
        }
        let flags = if is_whole { END_HEADERS | END_STREAM } else { END_HEADERS };
        self.outgoing.extend(frame(HEADERS, flags, stream, &block));
        let state = Stream { window: self.stream_window, has_sent_end: is_whole, ..Stream::default() };
        self.streams.insert(stream, state);
        stream
    }

    /// Sends a GET.
    pub fn get(&mut self, path: &str) -> u32 {
        self.ask("GET", path, true)
    }

    /// Sends the head of any request to the host `a`.
    pub fn ask(&mut self, method: &str, path: &str, is_whole: bool) -> u32 {
        let fields = [(":method", method), (":scheme", "http"), (":authority", "a"), (":path", path)];
        self.request(&fields, is_whole)
    }

    /// Asks for a WebSocket (RFC 8441).
    pub fn open(&mut self, path: &str) -> u32 {
        let fields = [
            (":method", "CONNECT"),
            (":protocol", "websocket"),
            (":scheme", "http"),
            (":authority", "a"),
            (":path", path),
            ("sec-websocket-version", "13"),
        ];
        self.request(&fields, false)
    }

    /// Sends a part of a body, as far as the windows let, and the rest when they do.
    ///
    /// # Panics
    /// If there is no such stream.
    pub fn send(&mut self, stream: u32, bytes: impl AsRef<[u8]>, is_last: bool) {
        let state = self.streams.get_mut(&stream).expect("a stream");
        state.unsent.extend_from_slice(bytes.as_ref());
        state.ends |= is_last;
        self.flush(stream);
    }

    /// Takes a request back.
    pub fn reset(&mut self, stream: u32) {
        self.streams.remove(&stream);
        self.outgoing.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
    }

    /// Lets the server send more on a stream.
    pub fn widen(&mut self, stream: u32, by: u32) {
        self.outgoing.extend(frame(WINDOW_UPDATE, 0, stream, &by.to_be_bytes()));
    }

    fn flush(&mut self, stream: u32) {
        let Some(state) = self.streams.get_mut(&stream) else { return };
        if state.has_sent_end || state.reset.is_some() {
            return;
        }
        loop {
            let room = self.window.min(state.window).clamp(0, 16_384) as usize;
            let n = room.min(state.unsent.len());
            let is_last = state.ends && n == state.unsent.len();
            if n == 0 && !is_last {
                return;
            }
            let piece = state.unsent.split_to(n);
            self.window -= n as i64;
            state.window -= n as i64;
            self.outgoing.extend(frame(DATA, if is_last { END_STREAM } else { 0 }, stream, &piece));
            if is_last {
                state.has_sent_end = true;
                return;
            }
        }
    }

    /// Takes bytes of the server.
    ///
    /// # Panics
    /// If they are not what a server may send.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.unread.extend_from_slice(bytes);
        let bytes = std::mem::take(&mut self.unread);
        let mut rest = &bytes[..];
        while let Some(head) = rest.first_chunk::<9>() {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            assert!(length <= 16_384, "a frame of {length} bytes");
            if rest.len() < 9 + length {
                break;
            }
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            self.hear(head[3], head[4], stream, &rest[9..9 + length]);
            rest = &rest[9 + length..];
        }
        self.unread = rest.to_vec();
    }

    fn hear(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let word = |at: usize| u32::from_be_bytes(*payload[at..].first_chunk().expect("a whole frame"));
        assert_eq!(self.block.is_some(), kind == CONTINUATION, "a head is not interrupted");
        match (kind, stream) {
            (SETTINGS, 0) if flags & ACK == 0 => self.agree(payload),
            (SETTINGS, 0) => {}
            (PING, 0) if flags & ACK == 0 => self.outgoing.extend(frame(PING, ACK, 0, payload)),
            (PING, 0) => {}
            (GOAWAY, 0) => self.farewell = Some((word(4), word(0))),
            (WINDOW_UPDATE, 0) => self.window += i64::from(word(0)),
            (WINDOW_UPDATE, _) => {
                if let Some(state) = self.streams.get_mut(&stream) {
                    state.window += i64::from(word(0));
                }
            }
            (HEADERS, _) => self.block = Some((stream, flags, payload.to_vec())),
            (CONTINUATION, _) => {
                let (of, first, mut block) = self.block.take().expect("a head that goes on");
                assert_eq!(of, stream);
                block.extend_from_slice(payload);
                self.block = Some((stream, first | flags, block));
            }
            (DATA, _) => self.hear_data(stream, payload, flags & END_STREAM != 0),
            (RST_STREAM, _) => {
                if let Some(state) = self.streams.get_mut(&stream) {
                    state.reset = Some(word(0));
                }
            }
            (PUSH_PROMISE, _) => panic!("pushes were not wanted"),
            _ => panic!("a frame of type {kind} on stream {stream}"),
        }
        if let Some((_, flags, _)) = self.block
            && flags & END_HEADERS != 0
        {
            self.hear_head();
        }
        let streams: Vec<u32> = self.streams.keys().copied().collect();
        if kind == WINDOW_UPDATE || kind == SETTINGS {
            streams.into_iter().for_each(|stream| self.flush(stream));
        }
    }

    fn agree(&mut self, settings: &[u8]) {
        for setting in settings.chunks_exact(6) {
            let value = i64::from(u32::from_be_bytes([setting[2], setting[3], setting[4], setting[5]]));
            if setting[..2] == [0, 4] {
                let more = value - self.stream_window;
                self.stream_window = value;
                self.streams.values_mut().for_each(|stream| stream.window += more);
            }
        }
        self.outgoing.extend(frame(SETTINGS, ACK, 0, b""));
    }

    fn hear_head(&mut self) {
        let (stream, flags, mut block) = self.block.take().expect("a whole head");
        let mut decoded = Vec::new();
        self.decoder.decode(&mut block, &mut decoded).expect("a head that can be decoded");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("an ASCII head");
        let mut fields: Vec<_> = decoded.into_iter().map(|(name, value, _)| (text(name), text(value))).collect();
        let (name, status) = fields.remove(0);
        assert_eq!(name, ":status", "the status comes first");
        let head = Head { status: status.parse().expect("a number"), fields };
        // What crossed our reset is not looked at.
        let Some(state) = self.streams.get_mut(&stream) else { return };
        assert!(state.head.is_none() && state.reset.is_none() && !state.has_ended, "stream {stream}: {head:?}");
        state.has_ended = flags & END_STREAM != 0;
        if head.status < 200 {
            assert!(!state.has_ended, "an interim head ends nothing");
            state.interim.push(head);
        } else {
            state.head = Some(head);
        }
    }

    fn hear_data(&mut self, stream: u32, payload: &[u8], is_last: bool) {
        if self.reads && !payload.is_empty() {
            self.widen(0, payload.len() as u32);
            self.widen(stream, payload.len() as u32);
        }
        let Some(state) = self.streams.get_mut(&stream) else { return };
        assert!(state.head.is_some() && state.reset.is_none() && !state.has_ended, "stream {stream} has data");
        state.body.extend_from_slice(payload);
        state.has_ended = is_last;
    }
}
