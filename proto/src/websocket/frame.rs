//! Frames (RFC 6455, 5.2): headers and masks.
//!
//! tungstenite's codec takes a header apart and puts one together; what it leaves open is checked here: reserved bits,
//! the direction of masking, lengths in more bytes than they need, control frames.

use alloc::vec::Vec;
use std::io::Cursor;

use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use super::Kind;
use crate::error::Cause;

/// The longest header: two bytes, eight of length, four of mask.
pub(super) const HEADER_MAX: usize = 14;

/// The longest payload of a control frame (RFC 6455, 5.5).
pub(super) const CONTROL_MAX: usize = 125;

/// Payloads of this size and more are copied and unmasked in one go.
const ONE_PASS_MIN: usize = 1024;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opcode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

impl Opcode {
    pub(super) fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }

    fn code(self) -> OpCode {
        match self {
            Self::Continuation => OpCode::Data(Data::Continue),
            Self::Text => OpCode::Data(Data::Text),
            Self::Binary => OpCode::Data(Data::Binary),
            Self::Close => OpCode::Control(Control::Close),
            Self::Ping => OpCode::Control(Control::Ping),
            Self::Pong => OpCode::Control(Control::Pong),
        }
    }

    fn from_code(code: OpCode) -> Option<Self> {
        match code {
            OpCode::Data(Data::Continue) => Some(Self::Continuation),
            OpCode::Data(Data::Text) => Some(Self::Text),
            OpCode::Data(Data::Binary) => Some(Self::Binary),
            OpCode::Control(Control::Close) => Some(Self::Close),
            OpCode::Control(Control::Ping) => Some(Self::Ping),
            OpCode::Control(Control::Pong) => Some(Self::Pong),
            OpCode::Data(Data::Reserved(_)) | OpCode::Control(Control::Reserved(_)) => None,
        }
    }
}

impl Kind {
    /// The opcode of a message's first frame.
    pub(super) fn opcode(self) -> Opcode {
        match self {
            Self::Text => Opcode::Text,
            Self::Binary => Opcode::Binary,
        }
    }
}

/// A header, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) opcode: Opcode,
    pub(super) is_final: bool,
    /// RSV1: the message that begins here is compressed (RFC 7692, 6).
    pub(super) compressed: bool,
    pub(super) mask: Mask,
    /// Bytes of the header itself.
    pub(super) len: usize,
    /// Bytes of the payload.
    pub(super) payload: u64,
}

impl Header {
    /// Reads a header; `None` if it is not there in full. `masked` says whether frames have to be masked (RFC 6455,
    /// 5.1), `deflate` whether permessage-deflate was agreed on.
    #[inline]
    pub(super) fn parse(bytes: &[u8], masked: bool, deflate: bool) -> Result<Option<Self>, Cause> {
        let mut cursor = Cursor::new(bytes);
        // The codec reads from memory, so its only error is a reserved opcode.
        let Some((header, payload)) = FrameHeader::parse(&mut cursor).map_err(|_| Cause::FrameMalformed)? else {
            return Ok(None);
        };
        let len = cursor.position() as usize;
        let opcode = Opcode::from_code(header.opcode).ok_or(Cause::FrameMalformed)?;
        let may_compress = deflate && matches!(opcode, Opcode::Text | Opcode::Binary);
        if header.rsv2 || header.rsv3 || (header.rsv1 && !may_compress) {
            return Err(Cause::FrameMalformed);
        }
        if header.mask.is_some() != masked {
            return Err(Cause::MaskWrong);
        }
        if opcode.is_control() && (!header.is_final || payload > CONTROL_MAX as u64) {
            return Err(Cause::ControlFrameMalformed);
        }
        // RFC 6455, 5.2: the minimal number of bytes, and the most significant bit is zero.
        if len != header.len(payload) || payload > i64::MAX as u64 {
            return Err(Cause::FrameMalformed);
        }
        Ok(Some(Self {
            opcode,
            is_final: header.is_final,
            compressed: header.rsv1,
            mask: Mask(header.mask.map_or(0, u32::from_le_bytes)),
            len,
            payload,
        }))
    }
}

/// Appends the header of an unfragmented frame.
#[inline]
pub(super) fn push_header(out: &mut Vec<u8>, opcode: Opcode, compressed: bool, payload: usize, mask: Option<Mask>) {
    let header = FrameHeader {
        is_final: true,
        rsv1: compressed,
        rsv2: false,
        rsv3: false,
        opcode: opcode.code(),
        mask: mask.map(|mask| mask.0.to_le_bytes()),
    };
    header.format(payload as u64, out).expect("a vector takes all that is written to it");
}

/// A mask, turned to the byte of the payload that comes next. Zero changes nothing, as a frame without a mask wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct Mask(u32);

impl Mask {
    pub(super) fn new(key: u32) -> Self {
        Self(key)
    }

    /// Unmasks a payload into a copy. Long ones are read once, which may leave the vector a few bytes to spare.
    #[inline]
    pub(super) fn copy(self, masked: &[u8]) -> Vec<u8> {
        if masked.len() < ONE_PASS_MIN || self.0 == 0 {
            let mut clear = masked.to_vec();
            self.apply(&mut clear);
            return clear;
        }
        let wide = self.wide();
        let (words, rest) = masked.as_chunks::<8>();
        let mut clear = Vec::with_capacity(masked.len().div_ceil(8));
        clear.extend(words.iter().map(|word| (u64::from_le_bytes(*word) ^ wide).to_le_bytes()));
        let mut clear = clear.into_flattened();
        clear.extend(rest.iter().zip(wide.to_le_bytes()).map(|(byte, key)| byte ^ key));
        clear
    }

    fn wide(self) -> u64 {
        u64::from(self.0) << 32 | u64::from(self.0)
    }

    /// Masks or unmasks the next bytes of a payload, eight at a time.
    #[inline]
    pub(super) fn apply(self, bytes: &mut [u8]) {
        if self.0 == 0 {
            return;
        }
        let wide = self.wide();
        let (words, rest) = bytes.as_chunks_mut::<8>();
        for word in words {
            *word = (u64::from_le_bytes(*word) ^ wide).to_le_bytes();
        }
        for (byte, key) in rest.iter_mut().zip(wide.to_le_bytes()) {
            *byte ^= key;
        }
    }

    /// The mask for what follows the next `n` bytes.
    #[inline]
    pub(super) fn after(self, n: usize) -> Self {
        Self(self.0.rotate_right(8 * (n % 4) as u32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn a_payload_is_unmasked_the_same_however_it_is_cut() {
        let key = [0x37, 0xfa, 0x21, 0x3d];
        for len in 0..40 {
            let clear: Vec<u8> = (0..len).map(|i| i as u8 ^ 0x5a).collect();
            let masked: Vec<u8> = clear.iter().enumerate().map(|(i, byte)| byte ^ key[i % 4]).collect();
            for cut in 0..=len {
                let mut bytes = masked.clone();
                let mask = Mask::new(u32::from_le_bytes(key));
                mask.apply(&mut bytes[..cut]);
                mask.after(cut).apply(&mut bytes[cut..]);
                assert_eq!(bytes, clear, "{len} cut at {cut}");
            }
        }
    }

    #[test]
    fn a_copy_is_what_unmasking_in_place_gives() {
        for len in (0..40).chain(ONE_PASS_MIN - 9..ONE_PASS_MIN + 17) {
            for key in [0, 0x3d21_fa37] {
                let masked: Vec<u8> = (0..len).map(|i| (i * 7) as u8).collect();
                let mut clear = masked.clone();
                Mask::new(key).apply(&mut clear);
                assert_eq!(Mask::new(key).copy(&masked), clear, "{len}");
            }
        }
    }

    #[test]
    fn a_header_is_read_as_it_was_written() {
        for payload in [0, 1, 125, 126, 127, 65_535, 65_536, 1 << 32] {
            for mask in [None, Some(Mask::new(0x0102_0304))] {
                for (opcode, compressed) in
                    [(Opcode::Text, true), (Opcode::Binary, false), (Opcode::Continuation, false)]
                {
                    let mut bytes = vec![];
                    push_header(&mut bytes, opcode, compressed, payload, mask);
                    assert!(bytes.len() <= HEADER_MAX);
                    let expected = Header {
                        opcode,
                        is_final: true,
                        compressed,
                        mask: mask.unwrap_or_default(),
                        len: bytes.len(),
                        payload: payload as u64,
                    };
                    assert_eq!(Header::parse(&bytes, mask.is_some(), true), Ok(Some(expected)));
                    for n in 0..bytes.len() {
                        assert_eq!(Header::parse(&bytes[..n], mask.is_some(), true), Ok(None));
                    }
                }
            }
        }
    }
}
