//! Frames: data frames with a stream's number, control frames with a version and a type (draft 3, 2.2; 8 bytes of head
//! in all versions), and the codes they carry.

use alloc::vec::Vec;
use core::fmt;

use crate::http;

/// Length of a frame's head.
pub(super) const HEADER: usize = 8;

pub(super) const SYN_STREAM: u16 = 1;
pub(super) const SYN_REPLY: u16 = 2;
pub(super) const RST_STREAM: u16 = 3;
pub(super) const SETTINGS: u16 = 4;
/// SPDY/2 alone has it, and it does nothing.
pub(super) const NOOP: u16 = 5;
pub(super) const PING: u16 = 6;
pub(super) const GOAWAY: u16 = 7;
pub(super) const HEADERS: u16 = 8;
pub(super) const WINDOW_UPDATE: u16 = 9;
/// SPDY/3 alone has it: 3.1 took it back.
pub(super) const CREDENTIAL: u16 = 10;

pub(super) const FIN: u8 = 0x1;
pub(super) const UNIDIRECTIONAL: u8 = 0x2;

pub(super) const MAX_CONCURRENT_STREAMS: u32 = 4;
pub(super) const INITIAL_WINDOW_SIZE: u32 = 7;
/// A setting that the peer had been asked to keep, and brings back.
pub(super) const PERSISTED: u8 = 0x2;

/// What a window is until somebody says otherwise (draft 3, 2.6.8).
pub(super) const WINDOW: usize = 64 * 1024;

/// The largest window, and the largest number of a stream.
pub(super) const MAX_31: u32 = 0x7fff_ffff;

/// Bytes between the head of a SYN_STREAM frame and its header block.
pub(super) const SYN_STREAM_FIXED: usize = 10;

const CONTROL: u8 = 0x80;

/// A version of SPDY.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// SPDY/2: no flow control.
    V2,
    /// SPDY/3: a window for each stream.
    V3,
    /// SPDY/3.1: a window for the connection too.
    V31,
}

impl Version {
    /// Every version, oldest first.
    pub const ALL: [Self; 3] = [Self::V2, Self::V3, Self::V31];

    /// The name by which TLS negotiates it (ALPN).
    pub const fn alpn(self) -> &'static str {
        match self {
            Self::V2 => "spdy/2",
            Self::V3 => "spdy/3",
            Self::V31 => "spdy/3.1",
        }
    }

    /// The version that TLS has negotiated.
    pub fn from_alpn(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|version| version.alpn().as_bytes() == name)
    }

    /// What every control frame begins with, and so every connection: no request of HTTP/1 or HTTP/2, and no TLS, does.
    /// [`V3`](Self::V3) and [`V31`](Self::V31) begin alike: see
    /// [`server_in_doubt`](super::Connection::server_in_doubt).
    pub const fn first_bytes(self) -> [u8; 2] {
        [CONTROL, self.number()]
    }

    /// The number in control frames.
    const fn number(self) -> u8 {
        match self {
            Self::V2 => 2,
            Self::V3 | Self::V31 => 3,
        }
    }

    /// Whether streams have windows.
    pub(super) const fn has_windows(self) -> bool {
        match self {
            Self::V2 => false,
            Self::V3 | Self::V31 => true,
        }
    }

    /// Whether the connection has a window.
    pub(super) const fn has_connection_window(self) -> bool {
        match self {
            Self::V2 | Self::V3 => false,
            Self::V31 => true,
        }
    }

    /// Bytes between the head of a SYN_REPLY or HEADERS frame and its header block.
    pub(super) const fn reply_fixed(self) -> usize {
        match self {
            Self::V2 => 6,
            Self::V3 | Self::V31 => 4,
        }
    }

    /// Bits that a priority is moved by in its byte: there are four of them in SPDY/2, else eight.
    pub(super) const fn priority_shift(self) -> u8 {
        match self {
            Self::V2 => 6,
            Self::V3 | Self::V31 => 5,
        }
    }

    /// The lowest priority; 0 is the highest. The text of draft 2 has them the other way round, which no peer followed.
    pub(super) const fn priority_max(self) -> u8 {
        u8::MAX >> self.priority_shift()
    }
}

impl From<Version> for http::Version {
    fn from(version: Version) -> Self {
        match version {
            Version::V2 => Self::Spdy2,
            Version::V3 => Self::Spdy3,
            Version::V31 => Self::Spdy31,
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(http::Version::from(*self).name())
    }
}

/// Why a stream ends before its time (draft 3, 2.6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StatusCode(pub u32);

impl StatusCode {
    /// The peer broke the protocol.
    pub const PROTOCOL_ERROR: Self = Self(1);
    /// A frame came for a stream that is not there.
    pub const INVALID_STREAM: Self = Self(2);
    /// The request was not looked at: it may be sent again.
    pub const REFUSED_STREAM: Self = Self(3);
    /// The stream was opened in another version of SPDY.
    pub const UNSUPPORTED_VERSION: Self = Self(4);
    /// The stream is not needed any more.
    pub const CANCEL: Self = Self(5);
    /// Something failed on our side.
    pub const INTERNAL_ERROR: Self = Self(6);
    /// The peer sent more than its window.
    pub const FLOW_CONTROL_ERROR: Self = Self(7);
    /// A stream was answered twice. Not in SPDY/2.
    pub const STREAM_IN_USE: Self = Self(8);
    /// A frame came behind the end of its half of the stream. Not in SPDY/2.
    pub const STREAM_ALREADY_CLOSED: Self = Self(9);
    /// The request names a certificate that is not there. Not in SPDY/2.
    pub const INVALID_CREDENTIALS: Self = Self(10);

    /// The code as a version can say it.
    fn in_version(self, version: Version) -> Self {
        if version == Version::V2 && self > Self::FLOW_CONTROL_ERROR { Self::PROTOCOL_ERROR } else { self }
    }
}

impl fmt::Display for StatusCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Why a connection ends (draft 3, 2.6.6). SPDY/2 does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Farewell {
    Ok = 0,
    ProtocolError = 1,
}

/// The head of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Head {
    Data { stream: u32, flags: u8, len: u32 },
    Control { version: u16, kind: u16, flags: u8, len: u32 },
}

impl Head {
    pub(super) fn read(bytes: &[u8; HEADER]) -> Self {
        let [a, b, c, d, flags, len0, len1, len2] = *bytes;
        let len = u32::from_be_bytes([0, len0, len1, len2]);
        if a & CONTROL == 0 {
            return Self::Data { stream: u32::from_be_bytes([a, b, c, d]), flags, len };
        }
        let version = u16::from_be_bytes([a & !CONTROL, b]);
        Self::Control { version, kind: u16::from_be_bytes([c, d]), flags, len }
    }

    pub(super) fn is_of(found: u16, version: Version) -> bool {
        found == u16::from(version.number())
    }
}

/// The number at the start of `bytes`, without its highest bit, which is reserved; 0 if there are too few.
pub(super) fn number_31(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes) & MAX_31)
}

/// Writes control frames.
#[derive(Clone, Copy, Debug)]
pub(super) struct Writer {
    pub(super) version: Version,
}

impl Writer {
    /// Appends the head of a control frame. `len` bytes have to follow: fewer than 16 MiB, which nothing we write
    /// comes near.
    pub(super) fn head(self, out: &mut Vec<u8>, kind: u16, flags: u8, len: usize) {
        let [first, second] = self.version.first_bytes();
        let ([kind0, kind1], [_, len0, len1, len2]) = (kind.to_be_bytes(), (len as u32).to_be_bytes());
        out.extend_from_slice(&[first, second, kind0, kind1, flags, len0, len1, len2]);
    }

    pub(super) fn reset(self, out: &mut Vec<u8>, stream: u32, code: StatusCode) {
        self.head(out, RST_STREAM, 0, 8);
        out.extend_from_slice(&stream.to_be_bytes());
        out.extend_from_slice(&code.in_version(self.version).0.to_be_bytes());
    }

    /// Flags are left out: nobody is asked to keep anything.
    pub(super) fn settings(self, out: &mut Vec<u8>, settings: &[(u32, u32)]) {
        self.head(out, SETTINGS, 0, 4 + 8 * settings.len());
        out.extend_from_slice(&(settings.len() as u32).to_be_bytes());
        for (id, value) in settings {
            // In SPDY/2 the number of a setting goes the other way round: its first server wrote it so.
            let id = if self.version == Version::V2 { id.to_le_bytes() } else { id.to_be_bytes() };
            out.extend_from_slice(&id);
            out.extend_from_slice(&value.to_be_bytes());
        }
    }

    pub(super) fn ping(self, out: &mut Vec<u8>, id: u32) {
        self.head(out, PING, 0, 4);
        out.extend_from_slice(&id.to_be_bytes());
    }

    pub(super) fn go_away(self, out: &mut Vec<u8>, last_good: u32, why: Farewell) {
        self.head(out, GOAWAY, 0, if self.version == Version::V2 { 4 } else { 8 });
        out.extend_from_slice(&last_good.to_be_bytes());
        if self.version != Version::V2 {
            out.extend_from_slice(&(why as u32).to_be_bytes());
        }
    }

    pub(super) fn window_update(self, out: &mut Vec<u8>, stream: u32, delta: u32) {
        self.head(out, WINDOW_UPDATE, 0, 8);
        out.extend_from_slice(&stream.to_be_bytes());
        out.extend_from_slice(&delta.to_be_bytes());
    }

    pub(super) fn data_head(self, out: &mut Vec<u8>, stream: u32, is_last: bool, len: usize) {
        let [_, len0, len1, len2] = (len as u32).to_be_bytes();
        out.extend_from_slice(&stream.to_be_bytes());
        out.extend_from_slice(&[if is_last { FIN } else { 0 }, len0, len1, len2]);
    }
}

/// The settings of a frame's payload that count: of each the first, and none that was kept from another connection.
pub(super) fn read_settings(payload: &[u8], version: Version) -> Option<impl Iterator<Item = (u32, u32)>> {
    let (count, entries) = payload.split_first_chunk::<4>()?;
    if entries.len() % 8 != 0 || entries.len() / 8 != u32::from_be_bytes(*count) as usize {
        return None;
    }
    let mut seen = 0_u32;
    Some(entries.chunks_exact(8).filter_map(move |entry| {
        let (flags, id) = match (version, entry) {
            (Version::V2, [a, b, c, flags, ..]) => (*flags, u32::from_be_bytes([0, *c, *b, *a])),
            (Version::V3 | Version::V31, [flags, a, b, c, ..]) => (*flags, u32::from_be_bytes([0, *a, *b, *c])),
            (_, _) => return None,
        };
        if flags & PERSISTED != 0 || id >= 32 || seen & 1 << id != 0 {
            return None;
        }
        seen |= 1 << id;
        Some((id, u32::from_be_bytes(*entry.last_chunk()?)))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(version: Version, write: impl FnOnce(Writer, &mut Vec<u8>)) -> Vec<u8> {
        let mut out = Vec::new();
        write(Writer { version }, &mut out);
        out
    }

    #[test]
    fn frames_are_as_the_drafts_draw_them() {
        let reset = written(Version::V3, |writer, out| writer.reset(out, 5, StatusCode::STREAM_ALREADY_CLOSED));
        assert_eq!(reset, b"\x80\x03\0\x03\0\0\0\x08\0\0\0\x05\0\0\0\x09");
        let reset = written(Version::V2, |writer, out| writer.reset(out, 5, StatusCode::STREAM_ALREADY_CLOSED));
        assert_eq!(reset, b"\x80\x02\0\x03\0\0\0\x08\0\0\0\x05\0\0\0\x01");
        let settings = written(Version::V31, |writer, out| writer.settings(out, &[(4, 100), (7, 65536)]));
        assert_eq!(settings, b"\x80\x03\0\x04\0\0\0\x14\0\0\0\x02\0\0\0\x04\0\0\0\x64\0\0\0\x07\0\x01\0\0");
        let settings = written(Version::V2, |writer, out| writer.settings(out, &[(4, 100)]));
        assert_eq!(settings, b"\x80\x02\0\x04\0\0\0\x0c\0\0\0\x01\x04\0\0\0\0\0\0\x64");
        assert_eq!(written(Version::V3, |writer, out| writer.ping(out, 2)), b"\x80\x03\0\x06\0\0\0\x04\0\0\0\x02");
        let go_away = |version| written(version, |writer, out| writer.go_away(out, 7, Farewell::ProtocolError));
        assert_eq!(go_away(Version::V2), b"\x80\x02\0\x07\0\0\0\x04\0\0\0\x07");
        assert_eq!(go_away(Version::V3), b"\x80\x03\0\x07\0\0\0\x08\0\0\0\x07\0\0\0\x01");
        let update = written(Version::V31, |writer, out| writer.window_update(out, 0, MAX_31));
        assert_eq!(update, b"\x80\x03\0\x09\0\0\0\x08\0\0\0\0\x7f\xff\xff\xff");
        let data = written(Version::V3, |writer, out| writer.data_head(out, 1, true, 0x1_02_03));
        assert_eq!(data, b"\0\0\0\x01\x01\x01\x02\x03");
    }

    #[test]
    fn heads_are_read_as_they_are_written() {
        for version in Version::ALL {
            let bytes = written(version, |writer, out| writer.head(out, PING, 0, 4));
            let head = Head::read(bytes.first_chunk().unwrap());
            let Head::Control { version: found, kind: PING, flags: 0, len: 4 } = head else { panic!("{head:?}") };
            assert!(Head::is_of(found, version) && !Head::is_of(found + 1, version));
            assert_eq!(bytes[..2], version.first_bytes());
            let bytes = written(version, |writer, out| writer.data_head(out, MAX_31, true, 9));
            let head = Head::read(bytes.first_chunk().unwrap());
            assert_eq!(head, Head::Data { stream: MAX_31, flags: FIN, len: 9 });
        }
    }

    #[test]
    fn settings_count_once_and_not_if_they_were_kept() {
        for version in Version::ALL {
            let bytes = written(version, |writer, out| writer.settings(out, &[(4, 100), (4, 7), (7, 9), (77, 1)]));
            let read: Vec<_> = read_settings(&bytes[HEADER..], version).unwrap().collect();
            assert_eq!(read, [(4, 100), (7, 9)]);
            let flags = if version == Version::V2 { 3 } else { 0 };
            let mut kept = bytes[HEADER..].to_vec();
            kept[4 + flags] |= PERSISTED;
            assert_eq!(read_settings(&kept, version).unwrap().collect::<Vec<_>>(), [(4, 7), (7, 9)]);
            assert!(read_settings(&kept[..kept.len() - 1], version).is_none());
            kept[3] += 1;
            assert!(read_settings(&kept, version).is_none());
        }
        assert!(read_settings(b"\0\0", Version::V3).is_none());
    }

    #[test]
    fn versions_are_told_by_their_names() {
        for version in Version::ALL {
            assert_eq!(Version::from_alpn(version.alpn().as_bytes()), Some(version));
        }
        assert_eq!(Version::from_alpn(b"spdy/1"), None);
        assert_eq!((Version::V2.priority_max(), Version::V31.priority_max()), (3, 7));
    }
}
