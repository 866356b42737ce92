//! The frame layer as far as it is ours (RFC 9113, 4 and 6): headers of nine bytes, found in a stream of them however it
//! is cut, the first bytes of some payloads, and the one frame that we write ourselves.

use alloc::vec::Vec;
use core::fmt;

/// What a client's first bytes are (RFC 9113, 3.4).
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Length of a frame's header.
pub(super) const HEADER: usize = 9;

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PUSH_PROMISE: u8 = 5;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const END_STREAM: u8 = 0x1;
pub(super) const END_HEADERS: u8 = 0x4;
pub(super) const PADDED: u8 = 0x8;

/// Bytes of a payload that are looked at, at most.
const TAKE_MAX: usize = 8;

/// Why a stream or a connection ends (RFC 9113, 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ErrorCode(pub u32);

impl ErrorCode {
    /// Nothing went wrong.
    pub const NO_ERROR: Self = Self(0x0);
    /// The peer broke the protocol.
    pub const PROTOCOL_ERROR: Self = Self(0x1);
    /// Something failed on our side.
    pub const INTERNAL_ERROR: Self = Self(0x2);
    /// The peer sent more than its window.
    pub const FLOW_CONTROL_ERROR: Self = Self(0x3);
    /// A frame came for a stream that is closed.
    pub const STREAM_CLOSED: Self = Self(0x5);
    /// A frame has a wrong size.
    pub const FRAME_SIZE_ERROR: Self = Self(0x6);
    /// The request was not looked at: it may be sent again.
    pub const REFUSED_STREAM: Self = Self(0x7);
    /// The stream is not needed any more.
    pub const CANCEL: Self = Self(0x8);
    /// A head cannot be decompressed.
    pub const COMPRESSION_ERROR: Self = Self(0x9);
    /// The connection behind a CONNECT broke.
    pub const CONNECT_ERROR: Self = Self(0xa);
    /// The peer asks for too much.
    pub const ENHANCE_YOUR_CALM: Self = Self(0xb);
    /// The request must be made over HTTP/1.1.
    pub const HTTP_1_1_REQUIRED: Self = Self(0xd);

    /// Whether a stream reset with this code is the doing of the peer.
    pub(super) fn blames_peer(self) -> bool {
        matches!(self, Self::PROTOCOL_ERROR | Self::FLOW_CONTROL_ERROR | Self::FRAME_SIZE_ERROR | Self::REFUSED_STREAM)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// The header of a frame (RFC 9113, 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Length of the payload.
    pub(super) len: u32,
    pub(super) kind: u8,
    pub(super) flags: u8,
    /// Zero for the connection.
    pub(super) stream: u32,
}

impl Head {
    fn read(bytes: &[u8; HEADER]) -> Self {
        let [len0, len1, len2, kind, flags, id0, id1, id2, id3] = *bytes;
        Self {
            len: u32::from_be_bytes([0, len0, len1, len2]),
            kind,
            flags,
            stream: u32::from_be_bytes([id0 & 0x7f, id1, id2, id3]),
        }
    }

    pub(super) fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    pub(super) fn bytes(self) -> [u8; HEADER] {
        let ([_, len0, len1, len2], [id0, id1, id2, id3]) = (self.len.to_be_bytes(), self.stream.to_be_bytes());
        [len0, len1, len2, self.kind, self.flags, id0, id1, id2, id3]
    }

    /// How many bytes of the payload are looked at.
    fn taken(self) -> usize {
        let wanted = match self.kind {
            RST_STREAM => 4,
            GOAWAY => 8,
            DATA if self.has(PADDED) => 1,
            _ => 0,
        };
        wanted.min(self.len as usize)
    }
}

/// What [`Frames::scan`] finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen<'a> {
    /// A frame begins: its header ends at this place of the data.
    Head(Head, usize),
    /// The first bytes of the payload of a RST_STREAM, GOAWAY or padded DATA frame: as many as it has of 4, 8 or 1.
    Payload(Head, &'a [u8]),
}

/// Finds frames in bytes that come in any pieces.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frames {
    /// The header, and then the first bytes of the payload.
    kept: [u8; HEADER],
    kept_len: u8,
    /// The frame whose payload this is.
    head: Head,
    /// Payload bytes still to come, of which `take` more are kept.
    left: u32,
    take: u8,
}

impl Frames {
    pub(super) const fn new() -> Self {
        let head = Head { len: 0, kind: DATA, flags: 0, stream: 0 };
        Self { kept: [0; HEADER], kept_len: 0, head, left: 0, take: 0 }
    }

    /// Whether no frame has begun.
    #[cfg(test)]
    fn is_between(&self) -> bool {
        self.left == 0 && self.kept_len == 0
    }

    /// How many bytes of a header have come that is not whole.
    pub(super) fn partial_head(&self) -> usize {
        if self.left == 0 { usize::from(self.kept_len) } else { 0 }
    }

    /// The frame of which a part of the payload is missing.
    pub(super) fn inside(&self) -> Option<Head> {
        (self.left > 0).then_some(self.head)
    }

    /// Goes through `data`, which follows what was scanned before.
    pub(super) fn scan<E>(&mut self, whole: &[u8], mut each: impl FnMut(Seen<'_>) -> Result<(), E>) -> Result<(), E> {
        let mut data = whole;
        while !data.is_empty() {
            if self.left > 0 {
                self.pass_payload(&mut data, &mut each)?;
                continue;
            }
            let head = match data.first_chunk::<HEADER>() {
                Some(bytes) if self.kept_len == 0 => {
                    data = &data[HEADER..];
                    Head::read(bytes)
                }
                _ => {
                    self.keep(HEADER - usize::from(self.kept_len), &mut data);
                    if usize::from(self.kept_len) < HEADER {
                        return Ok(());
                    }
                    self.kept_len = 0;
                    Head::read(&self.kept)
                }
            };
            self.head = head;
            self.left = head.len;
            self.take = head.taken() as u8;
            each(Seen::Head(head, whole.len() - data.len()))?;
        }
        Ok(())
    }

    fn pass_payload<E>(&mut self, data: &mut &[u8], each: &mut impl FnMut(Seen<'_>) -> Result<(), E>) -> Result<(), E> {
        if self.take > 0 {
            let taken = self.keep(usize::from(self.take), data);
            self.take -= taken as u8;
            self.left -= taken as u32;
            if self.take == 0 {
                let len = usize::from(core::mem::take(&mut self.kept_len));
                let kept = self.kept;
                each(Seen::Payload(self.head, &kept[..len]))?;
            }
            return Ok(());
        }
        let passed = data.len().min(self.left as usize);
        *data = &data[passed..];
        self.left -= passed as u32;
        Ok(())
    }

    fn keep(&mut self, most: usize, data: &mut &[u8]) -> usize {
        let n = most.min(data.len());
        let start = usize::from(self.kept_len);
        self.kept[start..start + n].copy_from_slice(&data[..n]);
        self.kept_len += n as u8;
        *data = &data[n..];
        n
    }
}

/// Appends a GOAWAY frame; `debug` tells the peer's log more (RFC 9113, 6.8).
pub(super) fn push_go_away(out: &mut Vec<u8>, last_stream: u32, code: ErrorCode, debug: &str) {
    let len = TAKE_MAX as u32 + debug.len() as u32;
    out.extend_from_slice(&len.to_be_bytes()[1..]);
    out.extend_from_slice(&[GOAWAY, 0, 0, 0, 0, 0]);
    out.extend_from_slice(&last_stream.to_be_bytes());
    out.extend_from_slice(&code.0.to_be_bytes());
    out.extend_from_slice(debug.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::convert::Infallible;

    type Found = (Head, Option<Vec<u8>>);

    fn scanned(data: &[u8], step: usize) -> (Vec<Found>, bool) {
        let mut frames = Frames::new();
        let mut seen = Vec::new();
        for piece in data.chunks(step) {
            let Ok(()) = frames.scan(piece, |found| {
                seen.push(match found {
                    Seen::Head(head, _) => {
                        assert_eq!(Head::read(&head.bytes()), head);
                        (head, None)
                    }
                    Seen::Payload(head, bytes) => (head, Some(bytes.to_vec())),
                });
                Ok::<(), Infallible>(())
            });
        }
        (seen, frames.is_between())
    }

    #[test]
    fn frames_are_found_however_they_are_cut() {
        let data = b"\0\0\0\x04\x01\0\0\0\0\0\0\x05\x00\x08\x80\0\0\x03\x02ab\0\0\0\0\x04\x03\0\0\0\0\x07\0\0\0\x08\
            \0\0\x02\x03\0\0\0\0\x09xy\0\0\x03\x63\0\0\0\0\x0babc\0\0";
        let head = |len, kind, flags, stream| Head { len, kind, flags, stream };
        let expected = alloc::vec![
            (head(0, SETTINGS, 1, 0), None),
            (head(5, DATA, PADDED, 3), None),
            (head(5, DATA, PADDED, 3), Some(b"\x02".to_vec())),
            (head(4, RST_STREAM, 0, 7), None),
            (head(4, RST_STREAM, 0, 7), Some(b"\0\0\0\x08".to_vec())),
            (head(2, RST_STREAM, 0, 9), None),
            (head(2, RST_STREAM, 0, 9), Some(b"xy".to_vec())),
            (head(3, 0x63, 0, 11), None),
        ];
        for step in [1, 2, 3, 7, 9, 10, data.len()] {
            assert_eq!(scanned(data, step), (expected.clone(), false), "by {step}");
        }
        assert!(scanned(&data[..data.len() - 2], 4).1);
    }

    #[test]
    fn a_goaway_is_a_frame() {
        let mut out = Vec::new();
        push_go_away(&mut out, 5, ErrorCode::ENHANCE_YOUR_CALM, "why");
        assert_eq!(out, b"\0\0\x0b\x07\0\0\0\0\0\0\0\0\x05\0\0\0\x0bwhy");
        let (seen, between) = scanned(&out, 4);
        assert_eq!((seen.len(), between), (2, true));
        assert_eq!(seen[1].1.as_deref(), Some(&b"\0\0\0\x05\0\0\0\x0b"[..]));
    }
}
