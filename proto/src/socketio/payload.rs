//! Packets of Engine.IO: as messages of a WebSocket, and gathered in the bodies of requests.
//!
//! A packet on its way out is kept as the message that a WebSocket would carry ([`encode_message`],
//! `Packet::encode_message`); a [`PayloadWriter`] gathers such messages in a body.
//!
//! | generation | text | binary packets |
//! |---|---|---|
//! | Five | packets with the byte 0x1e between them | `b`, base64 |
//! | Two | `LEN:PACKET...`, LEN counts UTF-16 code units | `b4`, base64 |
//! | Two, binary | 0 for text and 1 for binary, the digits of the bytes that follow, 255, PACKET | byte 4 in front |
//! | One | one packet, or `\u{fffd}LEN\u{fffd}PACKET...`, LEN counts UTF-16 code units | none |
//!
//! The clients 1.x of generation Two write UTF-8 into texts byte by byte, each byte as a character, and want to read it
//! so, where those of 2.x do neither; nothing else tells them apart. Hence text that makes sense as such bytes is read
//! so, and what is sent to clients of this generation is ASCII (JSON has escapes), or binary, where both agree.

mod legacy;
#[cfg(test)]
mod tests;

use alloc::borrow::Cow;
use alloc::string::ToString;
use alloc::vec::Vec;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;

pub(super) use legacy::decode_legacy_payload;

use super::{Encoding, Generation, Layer, Settings, json};
use crate::error::Cause;
use crate::websocket::{Kind, Message};

/// Stands between packets of generation Five.
const SEPARATOR: u8 = 0x1e;

/// Digits of a length.
const LENGTH_DIGITS: usize = 9;

/// Clients write padding or leave it out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// The type of a packet of Engine.IO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FrameKind {
    /// The server's first word: JSON.
    Open,
    /// The end.
    Close,
    /// A heartbeat.
    Ping,
    /// The answer to one.
    Pong,
    /// What the layer above says.
    Message,
    /// From now on by this transport.
    Upgrade,
    /// Nothing.
    Noop,
}

/// A packet of Engine.IO.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub kind: FrameKind,
    /// UTF-8, unless it is binary.
    pub data: Bytes,
    pub is_binary: bool,
}

impl FrameKind {
    fn from_digit(digit: u8) -> Option<Self> {
        match digit {
            b'0' => Some(Self::Open),
            b'1' => Some(Self::Close),
            b'2' => Some(Self::Ping),
            b'3' => Some(Self::Pong),
            b'4' => Some(Self::Message),
            b'5' => Some(Self::Upgrade),
            b'6' => Some(Self::Noop),
            _ => None,
        }
    }

    fn digit(self) -> u8 {
        match self {
            Self::Open => b'0',
            Self::Close => b'1',
            Self::Ping => b'2',
            Self::Pong => b'3',
            Self::Message => b'4',
            Self::Upgrade => b'5',
            Self::Noop => b'6',
        }
    }
}

/// Reads the body of a request or answer of the generations Five and Two. The data of its packets are slices of it,
/// except for base64.
pub(super) fn decode_payload(
    generation: Generation,
    encoding: Encoding,
    body: Bytes,
    settings: &Settings,
) -> Result<Vec<Frame>, Cause> {
    match (generation, encoding) {
        (Generation::Two, Encoding::Binary) => decode_binary(body, settings),
        (Generation::Two, Encoding::Text) => decode_lengths(body, settings),
        (Generation::Five | Generation::One, _) => decode_separated(body, settings),
    }
}

fn decode_separated(body: Bytes, settings: &Settings) -> Result<Vec<Frame>, Cause> {
    check_utf8(&body)?;
    let mut frames = Vec::with_capacity(1);
    let mut start = 0;
    for end in memchr::memchr_iter(SEPARATOR, &body).chain([body.len()]) {
        push(&mut frames, text_frame(Generation::Five, body.slice(start..end))?, settings)?;
        start = end + 1;
    }
    Ok(frames)
}

fn decode_lengths(body: Bytes, settings: &Settings) -> Result<Vec<Frame>, Cause> {
    check_utf8(&body)?;
    if body.is_empty() {
        return Err(Cause::PacketMalformed);
    }
    let (body, units) = match undouble(&body) {
        Some(bytes) => (bytes.into(), Units::Bytes),
        None if body.is_ascii() => (body, Units::Bytes),
        None => (body, Units::Utf16),
    };
    let mut frames = Vec::with_capacity(1);
    let mut at = 0;
    while at < body.len() {
        let head = &body[at..body.len().min(at + LENGTH_DIGITS + 1)];
        let digits = head.iter().position(|&byte| byte == b':').ok_or(Cause::PacketMalformed)?;
        let count = number(head[..digits].iter().map(|digit| digit.wrapping_sub(b'0')))?;
        at += digits + 1;
        let end = at + units.span(&body[at..], count).ok_or(Cause::PacketMalformed)?;
        // No packets at all are written as one of no length.
        if end > at {
            push(&mut frames, text_frame(Generation::Two, body.slice(at..end))?, settings)?;
        }
        at = end;
    }
    Ok(frames)
}

fn decode_binary(body: Bytes, settings: &Settings) -> Result<Vec<Frame>, Cause> {
    let mut frames = Vec::with_capacity(1);
    let mut at = 0;
    while at < body.len() {
        let is_binary = match body[at] {
            0 => false,
            1 => true,
            _ => return Err(Cause::PacketMalformed),
        };
        let head = &body[at + 1..body.len().min(at + LENGTH_DIGITS + 2)];
        let digits = head.iter().position(|&byte| byte == 255).ok_or(Cause::PacketMalformed)?;
        let count = number(head[..digits].iter().copied())?;
        at += digits + 2;
        let end = at.checked_add(count).filter(|&end| end <= body.len()).ok_or(Cause::PacketMalformed)?;
        let data = body.slice(at..end);
        at = end;
        if is_binary {
            push(&mut frames, binary_frame(data)?, settings)?;
        } else {
            check_utf8(&data)?;
            push(&mut frames, text_frame(Generation::Two, data)?, settings)?;
        }
    }
    Ok(frames)
}

fn push(frames: &mut Vec<Frame>, frame: Frame, settings: &Settings) -> Result<(), Cause> {
    if frames.len() >= settings.packets {
        return Err(Cause::PacketsTooMany);
    }
    frames.push(frame);
    Ok(())
}

fn text_frame(generation: Generation, text: Bytes) -> Result<Frame, Cause> {
    let digit = *text.first().ok_or(Cause::PacketMalformed)?;
    if let Some(kind) = FrameKind::from_digit(digit) {
        return Ok(Frame { kind, data: text.slice(1..), is_binary: false });
    }
    let data = match (digit, generation) {
        (b'b', Generation::Five) => BASE64.decode(&text[1..]),
        (b'b', _) if text.get(1) == Some(&b'4') => BASE64.decode(&text[2..]),
        (_, _) => return Err(Cause::PacketMalformed),
    };
    let data = data.map_err(|_| Cause::PacketMalformed)?.into();
    Ok(Frame { kind: FrameKind::Message, data, is_binary: true })
}

/// A binary packet of generation Two, with its type in front.
fn binary_frame(data: Bytes) -> Result<Frame, Cause> {
    match data.first() {
        Some(4) => Ok(Frame { kind: FrameKind::Message, data: data.slice(1..), is_binary: true }),
        Some(_) | None => Err(Cause::PacketMalformed),
    }
}

fn number(mut digits: impl Iterator<Item = u8>) -> Result<usize, Cause> {
    let add = |number: usize, digit: u8| (digit < 10).then(|| number * 10 + usize::from(digit));
    let first = digits.next().ok_or(Cause::PacketMalformed)?;
    add(0, first).and_then(|first| digits.try_fold(first, add)).ok_or(Cause::PacketMalformed)
}

/// What a length counts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Units {
    /// Bytes, which must not cut a character.
    Bytes,
    /// UTF-16 code units, as JavaScript does.
    Utf16,
}

impl Units {
    /// Bytes of the first `count` units of a text in UTF-8; `None` if there are fewer, or a character is cut.
    fn span(self, text: &[u8], count: usize) -> Option<usize> {
        let mut end = 0;
        match self {
            Self::Bytes => end = count,
            Self::Utf16 => {
                let mut left = count;
                while left > 0 {
                    let (bytes, units) = match *text.get(end)? {
                        0..0x80 => (1, 1),
                        0x80..0xe0 => (2, 1),
                        0xe0..0xf0 => (3, 1),
                        0xf0.. => (4, 2),
                    };
                    left = left.checked_sub(units)?;
                    end += bytes;
                }
            }
        }
        let is_whole = end == text.len() || text.get(end).is_some_and(|byte| byte & 0xc0 != 0x80);
        is_whole.then_some(end)
    }

    fn count(self, text: &[u8]) -> usize {
        match self {
            Self::Bytes => text.len(),
            Self::Utf16 => text.iter().map(|byte| usize::from(byte & 0xc0 != 0x80) + usize::from(*byte >= 0xf0)).sum(),
        }
    }
}

/// The UTF-8 that a text spells byte by byte, each byte a character; `None` if it does not, or is ASCII.
fn undouble(text: &[u8]) -> Option<Vec<u8>> {
    if text.is_ascii() || text.iter().any(|&byte| byte > 0xc3) {
        return None;
    }
    let bytes: Option<Vec<u8>> = core::str::from_utf8(text).ok()?.chars().map(|char| u8::try_from(char).ok()).collect();
    bytes.filter(|bytes| simdutf8::basic::from_utf8(bytes).is_ok())
}

/// Reads a message of a WebSocket of the generations Five and Two.
pub(super) fn decode_message(generation: Generation, message: Message) -> Result<Frame, Cause> {
    match (message.kind, generation) {
        (Kind::Text, _) => text_frame(generation, message.payload),
        (Kind::Binary, Generation::Five) => {
            Ok(Frame { kind: FrameKind::Message, data: message.payload, is_binary: true })
        }
        (Kind::Binary, Generation::Two | Generation::One) => binary_frame(message.payload),
    }
}

/// Writes a packet as a message of a WebSocket of the generations Five and Two. Only messages can be binary.
pub(super) fn encode_message(generation: Generation, frame: &Frame) -> Message {
    if frame.is_binary {
        return encode_attachment(generation, &frame.data);
    }
    let mut payload = Vec::with_capacity(1 + frame.data.len());
    payload.push(frame.kind.digit());
    payload.extend_from_slice(&frame.data);
    Message { kind: Kind::Text, payload: payload.into() }
}

/// Writes an attachment, or another binary message, as a message of a WebSocket.
pub(super) fn encode_attachment(generation: Generation, data: &Bytes) -> Message {
    let payload = match generation {
        Generation::Five => data.clone(),
        Generation::Two | Generation::One => [b"\x04", &data[..]].concat().into(),
    };
    Message { kind: Kind::Binary, payload }
}

/// Gathers messages, as a WebSocket of the generation would carry them, in one body.
pub(super) struct PayloadWriter {
    generation: Generation,
    layer: Layer,
    base64_only: bool,
    messages: Vec<Message>,
    len: usize,
}

impl PayloadWriter {
    /// `base64_only`: the client takes no binary payloads.
    pub fn new(generation: Generation, layer: Layer, base64_only: bool) -> Self {
        Self { generation, layer, base64_only, messages: Vec::new(), len: 0 }
    }

    /// Adds one.
    pub fn push(&mut self, message: Message) {
        self.len += match message.kind {
            Kind::Text => message.payload.len(),
            Kind::Binary => base64_len(message.payload.len()),
        };
        self.len += HEAD_LEN;
        self.messages.push(message);
    }

    /// About as many bytes as the body will have; zero if nothing was added.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The body. Of generation Two it is binary if the client takes that and there is anything but ASCII in it.
    pub fn finish(self) -> (Bytes, Encoding) {
        let mut out = Vec::with_capacity(self.len);
        match self.generation {
            Generation::Five => self.write_separated(&mut out),
            Generation::Two if !self.base64_only && !self.is_ascii() => {
                self.write_binary(&mut out);
                return (out.into(), Encoding::Binary);
            }
            Generation::Two => self.write_lengths(&mut out),
            Generation::One => legacy::write(&mut out, &self.messages),
        }
        (out.into(), Encoding::Text)
    }

    fn is_ascii(&self) -> bool {
        self.messages.iter().all(|message| message.kind == Kind::Text && message.payload.is_ascii())
    }

    fn write_separated(&self, out: &mut Vec<u8>) {
        for (index, message) in self.messages.iter().enumerate() {
            if index > 0 {
                out.push(SEPARATOR);
            }
            match message.kind {
                Kind::Text => out.extend_from_slice(&message.payload),
                Kind::Binary => {
                    out.push(b'b');
                    write_base64(out, &message.payload);
                }
            }
        }
    }

    fn write_lengths(&self, out: &mut Vec<u8>) {
        if self.messages.is_empty() {
            out.extend_from_slice(b"0:");
        }
        for message in &self.messages {
            if message.kind == Kind::Binary {
                let data = message.payload.get(1..).unwrap_or_default();
                write_length(out, 2 + base64_len(data.len()));
                out.extend_from_slice(b"b4");
                write_base64(out, data);
                continue;
            }
            let text = match self.layer {
                Layer::SocketIo => ascii(&message.payload),
                Layer::Plain => Cow::Borrowed(&message.payload[..]),
            };
            write_length(out, Units::Utf16.count(&text));
            out.extend_from_slice(&text);
        }
    }

    fn write_binary(&self, out: &mut Vec<u8>) {
        for message in &self.messages {
            out.push(match message.kind {
                Kind::Text => 0,
                Kind::Binary => 1,
            });
            out.extend(message.payload.len().to_string().bytes().map(|digit| digit - b'0'));
            out.push(255);
            out.extend_from_slice(&message.payload);
        }
    }
}

/// Bytes in front of a packet, about.
const HEAD_LEN: usize = 8;

fn write_length(out: &mut Vec<u8>, len: usize) {
    out.extend_from_slice(len.to_string().as_bytes());
    out.push(b':');
}

/// A packet of socket.io in ASCII, except for its namespace.
fn ascii(text: &[u8]) -> Cow<'_, [u8]> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    let address = text.iter().position(|byte| !byte.is_ascii_digit() && *byte != b'-').unwrap_or(text.len());
    let json_at = match text.get(address) {
        Some(b'/') => memchr::memchr(b',', text).unwrap_or(text.len()),
        Some(_) | None => address,
    };
    let mut out = Vec::with_capacity(2 * text.len());
    out.extend_from_slice(&text[..json_at]);
    match core::str::from_utf8(&text[json_at..]) {
        Ok(json) => json::write_ascii(&mut out, json),
        Err(_) => out.extend_from_slice(&text[json_at..]),
    }
    Cow::Owned(out)
}

fn base64_len(len: usize) -> usize {
    len.div_ceil(3) * 4
}

/// Appends bytes in base64.
pub(super) fn write_base64(out: &mut Vec<u8>, data: &[u8]) {
    let at = out.len();
    out.resize(at + base64_len(data.len()), 0);
    let written = BASE64.encode_slice(data, &mut out[at..]).unwrap_or_default();
    debug_assert_eq!(written, out.len() - at, "there is room for all of it, and no more");
}

fn check_utf8(text: &[u8]) -> Result<(), Cause> {
    simdutf8::basic::from_utf8(text).map(|_| ()).map_err(|_| Cause::Utf8Invalid)
}
