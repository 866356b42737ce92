//! Frames of SPDY, byte by byte: for clients that say what the machine would not, and to see what came.

use blastbeat_proto::spdy::Version;

/// A control frame that opens a stream.
pub const SYN_STREAM: u16 = 1;
/// A control frame that answers on a stream.
pub const SYN_REPLY: u16 = 2;
/// A control frame that ends a stream before its time.
pub const RST_STREAM: u16 = 3;
/// A control frame that says how much the peer may do.
pub const SETTINGS: u16 = 4;
/// A control frame that wants an answer.
pub const PING: u16 = 6;
/// A control frame after which no stream is taken.
pub const GOAWAY: u16 = 7;
/// A control frame that opens a window.
pub const WINDOW_UPDATE: u16 = 9;

/// The flag of a stream's last frame.
pub const FIN: u8 = 1;

/// Bytes before the payload.
const HEAD: usize = 8;

/// A frame that has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The type of a control frame; none of data.
    pub kind: Option<u16>,
    /// The version of a control frame.
    version: u8,
    /// Its flags.
    pub flags: u8,
    /// The stream that it belongs to, or whatever number it begins with.
    pub number: u32,
    /// The number behind that, if there is one.
    pub second: Option<u32>,
    /// Bytes of its payload.
    pub len: usize,
}

impl Frame {
    /// Reads a frame, and says how long it was.
    pub fn read(bytes: &[u8]) -> Option<(Self, usize)> {
        let [a, b, c, d, flags, x, y, z] = *bytes.first_chunk::<HEAD>()?;
        let len = u32::from_be_bytes([0, x, y, z]) as usize;
        let payload = bytes.get(HEAD..HEAD + len)?;
        let word = |at: usize| Some(u32::from_be_bytes(*payload.get(at..)?.first_chunk()?));
        let is_control = a & 0x80 != 0;
        let frame = Self {
            kind: is_control.then(|| u16::from_be_bytes([c, d])),
            version: if is_control { b } else { 0 },
            flags,
            number: if is_control { word(0).unwrap_or(0) } else { u32::from_be_bytes([a, b, c, d]) },
            second: word(4).filter(|_| is_control),
            len,
        };
        Some((frame, HEAD + len))
    }

    /// Whether it has a part of a body.
    pub fn is_data(&self) -> bool {
        self.kind.is_none()
    }

    /// Whether a control frame is of this version.
    pub fn is_of(&self, version: Version) -> bool {
        self.version == version.first_bytes()[1]
    }

    /// Whether it has a part of this stream's body.
    pub fn is_data_of(&self, stream: u32) -> bool {
        self.is_data() && self.number == stream
    }
}

/// A control frame.
pub fn control(version: Version, kind: u16, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = version.first_bytes().to_vec();
    bytes.extend_from_slice(&kind.to_be_bytes());
    bytes.push(flags);
    bytes.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
    bytes.extend_from_slice(payload);
    bytes
}

/// A part of a body.
pub fn data(stream: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = stream.to_be_bytes().to_vec();
    bytes.push(flags);
    bytes.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
    bytes.extend_from_slice(payload);
    bytes
}

/// The heads of one connection, as zlib stores what it does not compress.
pub struct Heads {
    version: Version,
    is_begun: bool,
}

impl Heads {
    /// Before the first head.
    pub fn new(version: Version) -> Self {
        Self { version, is_begun: false }
    }

    /// Opens a stream with these names and values, as they are.
    pub fn open(&mut self, stream: u32, flags: u8, pairs: &[(&str, &str)]) -> Vec<u8> {
        let mut payload = stream.to_be_bytes().to_vec();
        payload.extend_from_slice(&[0; 6]);
        payload.extend(self.block(pairs));
        control(self.version, SYN_STREAM, flags, &payload)
    }

    /// Opens a stream with a GET, or another request, to the host `a`.
    pub fn ask(&mut self, stream: u32, flags: u8, method: &str, path: &str, fields: &[(&str, &str)]) -> Vec<u8> {
        let names = match self.version {
            Version::V2 => ["method", "url", "version", "host", "scheme"],
            Version::V3 | Version::V31 => [":method", ":path", ":version", ":host", ":scheme"],
        };
        let mut pairs: Vec<_> = names.into_iter().zip([method, path, "HTTP/1.1", "a", "http"]).collect();
        pairs.extend_from_slice(fields);
        self.open(stream, flags, &pairs)
    }

    fn block(&mut self, pairs: &[(&str, &str)]) -> Vec<u8> {
        let width = if self.version == Version::V2 { 2 } else { 4 };
        let number = |number: usize| (number as u32).to_be_bytes()[4 - width..].to_vec();
        let mut block = number(pairs.len());
        for text in pairs.iter().flat_map(|(name, value)| [name, value]) {
            block.extend(number(text.len()));
            block.extend_from_slice(text.as_bytes());
        }
        let mut stored = Vec::new();
        if !std::mem::replace(&mut self.is_begun, true) {
            // What zlib calls the dictionary of each version (RFC 1950, 2.2).
            let dictionary: u32 = if self.version == Version::V2 { 0xdfa2_51b2 } else { 0xe3c6_a7c2 };
            stored.extend_from_slice(&[0x78, 0xbb]);
            stored.extend_from_slice(&dictionary.to_be_bytes());
        }
        let len = block.len() as u16;
        stored.push(0);
        stored.extend_from_slice(&len.to_le_bytes());
        stored.extend_from_slice(&(!len).to_le_bytes());
        stored.extend(block);
        stored
    }
}
