//! WebSocket frames, written and read for the tests alone (RFC 6455, 5.2).
//!
//! What a client may not send can be written too: no mask, reserved bits, unknown opcodes. What the server sends is
//! read as strictly as it can be, and the first fault panics.

/// The key of every handshake that a test opens, of RFC 6455, 1.3.
pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// The fields that ask for a WebSocket, as [`request`] writes them.
pub const FIELDS: [(&str, &str); 4] =
    [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Key", KEY), ("Sec-WebSocket-Version", "13")];

/// The answer to [`request`] where nothing was negotiated.
pub const SWITCHING: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                             Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// The mask of every frame of a client.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A continuation of a message.
pub const CONTINUATION: u8 = 0;
/// A text message, or the start of one.
pub const TEXT: u8 = 1;
/// A binary message, or the start of one.
pub const BINARY: u8 = 2;
/// The end.
pub const CLOSE: u8 = 8;
/// Are you there?
pub const PING: u8 = 9;
/// I am.
pub const PONG: u8 = 10;

const NAMES: [(u8, &str); 6] = [
    (CONTINUATION, "continuation"),
    (TEXT, "text"),
    (BINARY, "binary"),
    (CLOSE, "close"),
    (PING, "ping"),
    (PONG, "pong"),
];

/// One frame, unmasked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// It is the last of its message.
    pub last: bool,
    /// The three reserved bits: RSV1 is 4, RSV3 is 1.
    pub reserved: u8,
    /// The opcode, four bits.
    pub opcode: u8,
    /// The payload.
    pub payload: Vec<u8>,
}

impl Frame {
    /// A whole message, or a control frame.
    pub fn new(opcode: u8, payload: impl Into<Vec<u8>>) -> Self {
        Self { last: true, reserved: 0, opcode, payload: payload.into() }
    }

    /// A close frame with a code.
    pub fn close(code: u16, reason: &str) -> Self {
        Self::new(CLOSE, [&code.to_be_bytes()[..], reason.as_bytes()].concat())
    }

    /// The frame as a client sends it.
    pub fn masked(&self) -> Vec<u8> {
        let mut bytes = self.header(0x80);
        bytes.extend_from_slice(&MASK);
        bytes.extend(self.payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        bytes
    }

    /// The frame as a server sends it.
    pub fn unmasked(&self) -> Vec<u8> {
        let mut bytes = self.header(0);
        bytes.extend_from_slice(&self.payload);
        bytes
    }

    fn header(&self, mask: u8) -> Vec<u8> {
        let first = u8::from(self.last) << 7 | self.reserved << 4 | self.opcode;
        let length = self.payload.len();
        match (u8::try_from(length), u16::try_from(length)) {
            (Ok(length @ 0..=125), _) => vec![first, mask | length],
            (_, Ok(length)) => [&[first, mask | 126][..], &length.to_be_bytes()].concat(),
            _ => [&[first, mask | 127][..], &(length as u64).to_be_bytes()].concat(),
        }
    }

    /// Reads a frame of the server: the frame and its bytes on the wire. `None` while it is not complete.
    ///
    /// # Panics
    /// If it is masked, or its length is written in more bytes than it needs.
    pub fn read(bytes: &[u8]) -> Option<(Self, usize)> {
        let (&[first, second], rest) = bytes.split_first_chunk()?;
        assert_eq!(second & 0x80, 0, "the server's frames are not masked: {}", crate::stage::show(bytes));
        let (length, header) = match second {
            0..=125 => (usize::from(second), 2),
            126 => {
                let length = usize::from(u16::from_be_bytes(*rest.first_chunk()?));
                assert!(length > 125, "{length} is written in two bytes");
                (length, 4)
            }
            _ => {
                let length = u64::from_be_bytes(*rest.first_chunk()?);
                assert!(length > 0xffff, "{length} is written in eight bytes");
                (usize::try_from(length).expect("a length that fits into memory"), 10)
            }
        };
        let payload = bytes.get(header..header + length)?.to_vec();
        let frame = Self { last: first & 0x80 != 0, reserved: first >> 4 & 7, opcode: first & 15, payload };
        Some((frame, header + length))
    }

    /// The opcode's name.
    pub fn name(&self) -> String {
        let known = NAMES.iter().find(|(opcode, _)| *opcode == self.opcode);
        known.map_or_else(|| format!("opcode-{}", self.opcode), |(_, name)| (*name).to_owned())
    }

    /// What [`name`](Self::name) has written.
    pub fn opcode_of(name: &str) -> Option<u8> {
        let known = NAMES.iter().find(|(_, other)| *other == name).map(|(opcode, _)| *opcode);
        known.or_else(|| name.strip_prefix("opcode-")?.parse().ok().filter(|opcode| *opcode < 16))
    }
}

/// A request for a WebSocket with further fields, each of which ends with CR LF.
pub fn request(target: &str, more: &str) -> String {
    let fields: String = FIELDS.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("GET {target} HTTP/1.1\r\nHost: a\r\n{fields}{more}\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back_and_are_not_read_before_their_end() {
        for length in [0, 1, 125, 126, 0xffff, 0x1_0000] {
            let frame = Frame { last: length % 2 == 0, ..Frame::new(BINARY, vec![7; length]) };
            let bytes = frame.unmasked();
            assert_eq!(Frame::read(&[&bytes[..], b"more"].concat()), Some((frame, bytes.len())));
            for cut in [0, 1, 2, 3, 9, bytes.len() - 1] {
                assert_eq!(Frame::read(&bytes[..cut.min(bytes.len() - 1)]), None);
            }
        }
    }

    #[test]
    fn a_masked_frame_is_the_one_of_rfc_6455() {
        let hello = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
        assert_eq!(Frame::new(TEXT, "Hello").masked(), hello);
    }

    #[test]
    #[should_panic(expected = "not masked")]
    fn a_masked_frame_of_the_server_is_noticed() {
        Frame::read(&Frame::new(TEXT, "Hello").masked());
    }

    #[test]
    fn opcodes_have_names() {
        for opcode in 0..16 {
            assert_eq!(Frame::opcode_of(&Frame::new(opcode, "").name()), Some(opcode));
        }
    }
}
