//! Chunked bodies (RFC 9112, 7.1), byte for byte:
//!
//! ```text
//! Size -> [Blank] -> [Extension] -> SizeLf -> Data -> DataCr -> DataLf -> Size ...
//!                                         \-> LineStart -> EndLf -> (End)              after the size 0
//!                                               \-> Name -> Value -> LineLf -> LineStart    each trailer
//! ```
//!
//! Two readers that disagree about one byte of this see two different requests. So nothing is tolerated that the
//! grammar does not have: no white space around the size but in front of an extension, no sign, no `0x`, no line end
//! other than CRLF.

use core::ops::Range;

use crate::error::Cause;
use crate::limits::Limits;

/// Sixteen hexadecimal digits are 64 bits; leading zeros count, so a size has one spelling less to hide in.
const SIZE_DIGITS_MAX: u32 = 16;

/// What [`ChunkDecoder::decode`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// Bytes of the input that are done with, the piece included; at least one, unless the input is empty.
    pub used: usize,
    /// A piece of the body, or its end; `None` if the used bytes were framing alone.
    pub piece: Option<Piece>,
}

/// A piece of a chunked body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// The bytes of the input in this range belong to the body; it is not empty.
    Data(Range<usize>),
    /// The body is complete, its trailers read and dropped. The decoder is ready for another body.
    End,
}

/// Takes the framing off a chunked body, strictly, without memory of its own.
#[derive(Clone, Debug)]
pub struct ChunkDecoder {
    state: State,
    /// Data bytes of the current chunk that are still to come.
    left: u64,
    /// Bytes of the size line, or of the trailers, so far.
    line: u32,
    line_max: u32,
    trailer_max: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Size,
    Blank,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    LineStart,
    Name,
    Value,
    LineLf,
    EndLf,
    Failed(Cause),
}

impl ChunkDecoder {
    /// A decoder at the start of a body.
    pub fn new(limits: &Limits) -> Self {
        Self {
            state: State::Size,
            left: 0,
            line: 0,
            line_max: u32::try_from(limits.chunk_line_bytes).unwrap_or(u32::MAX),
            trailer_max: u32::try_from(limits.trailer_bytes).unwrap_or(u32::MAX),
        }
    }

    /// Looks at the next bytes and returns after at most one piece, and before the data of a chunk, so that
    /// [`announced`](Self::announced) can be asked. Call it again with what follows the used bytes.
    ///
    /// # Errors
    /// [`Cause::ChunkMalformed`], or [`Cause::BareLineBreak`], [`Cause::LineFolding`], [`Cause::NulByte`] where that
    /// says more; every later call returns the same error.
    pub fn decode(&mut self, input: &[u8]) -> Result<Decoded, Cause> {
        if let State::Failed(cause) = self.state {
            return Err(cause);
        }
        let mut used = 0;
        while let Some(&byte) = input.get(used) {
            if self.state == State::Data {
                let n = (input.len() - used).min(usize::try_from(self.left).unwrap_or(usize::MAX));
                self.left -= n as u64;
                if self.left == 0 {
                    self.state = State::DataCr;
                }
                return Ok(Decoded { used: used + n, piece: Some(Piece::Data(used..used + n)) });
            }
            let ended = self.step(byte).inspect_err(|cause| self.state = State::Failed(*cause))?;
            used += 1;
            if ended {
                return Ok(Decoded { used, piece: Some(Piece::End) });
            }
            if self.state == State::Data {
                break;
            }
        }
        Ok(Decoded { used, piece: None })
    }

    /// Data bytes of the current chunk that are announced and still to come.
    pub fn announced(&self) -> u64 {
        match self.state {
            State::Data => self.left,
            State::Size
            | State::Blank
            | State::Extension
            | State::SizeLf
            | State::DataCr
            | State::DataLf
            | State::LineStart
            | State::Name
            | State::Value
            | State::LineLf
            | State::EndLf
            | State::Failed(_) => 0,
        }
    }

    /// Takes one byte outside of chunk data; `true` if the body ends with it.
    fn step(&mut self, byte: u8) -> Result<bool, Cause> {
        self.state = match self.state {
            State::Size => match byte {
                b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F' if self.line < SIZE_DIGITS_MAX => {
                    self.left = self.left << 4 | u64::from(hex_value(byte));
                    self.count(self.line_max)?;
                    State::Size
                }
                _ if self.line == 0 => return Err(unexpected(byte)),
                b'\r' => State::SizeLf,
                b';' => State::Extension,
                b' ' | b'\t' => State::Blank,
                _ => return Err(unexpected(byte)),
            },
            State::Blank => {
                self.count(self.line_max)?;
                match byte {
                    b';' => State::Extension,
                    b' ' | b'\t' => State::Blank,
                    _ => return Err(unexpected(byte)),
                }
            }
            State::Extension => {
                self.count(self.line_max)?;
                match byte {
                    b'\r' => State::SizeLf,
                    byte if is_text(byte) => State::Extension,
                    _ => return Err(unexpected(byte)),
                }
            }
            State::SizeLf => {
                expect_lf(byte)?;
                self.line = 0;
                if self.left == 0 { State::LineStart } else { State::Data }
            }
            State::DataCr => match byte {
                b'\r' => State::DataLf,
                _ => return Err(unexpected(byte)),
            },
            State::DataLf => {
                expect_lf(byte)?;
                State::Size
            }
            State::LineStart => match byte {
                b'\r' => State::EndLf,
                b' ' | b'\t' => return Err(Cause::LineFolding),
                byte if is_token(byte) => {
                    self.count(self.trailer_max)?;
                    State::Name
                }
                _ => return Err(unexpected(byte)),
            },
            State::Name => {
                self.count(self.trailer_max)?;
                match byte {
                    b':' => State::Value,
                    byte if is_token(byte) => State::Name,
                    _ => return Err(unexpected(byte)),
                }
            }
            State::Value => {
                self.count(self.trailer_max)?;
                match byte {
                    b'\r' => State::LineLf,
                    byte if is_text(byte) => State::Value,
                    _ => return Err(unexpected(byte)),
                }
            }
            State::LineLf => {
                expect_lf(byte)?;
                State::LineStart
            }
            State::EndLf => {
                expect_lf(byte)?;
                self.line = 0;
                self.state = State::Size;
                return Ok(true);
            }
            // `decode` takes data in runs, and never comes here after a failure.
            State::Data | State::Failed(_) => return Err(Cause::ChunkMalformed),
        };
        Ok(false)
    }

    fn count(&mut self, max: u32) -> Result<(), Cause> {
        self.line += 1;
        if self.line > max { Err(Cause::ChunkMalformed) } else { Ok(()) }
    }
}

fn expect_lf(byte: u8) -> Result<(), Cause> {
    if byte == b'\n' { Ok(()) } else { Err(Cause::BareLineBreak) }
}

/// Names a byte that has no place where it stands.
fn unexpected(byte: u8) -> Cause {
    match byte {
        b'\n' => Cause::BareLineBreak,
        0 => Cause::NulByte,
        _ => Cause::ChunkMalformed,
    }
}

fn hex_value(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

/// Whether a byte may stand in a field value or a chunk extension.
fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

/// Whether a byte may stand in a token (RFC 9110, 5.6.2).
pub(super) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    /// Decodes one body: its bytes, and how many bytes of the input it took.
    fn decode(input: &[u8], step: usize) -> Result<(Vec<u8>, Option<usize>), Cause> {
        let limits = Limits { chunk_line_bytes: 32, trailer_bytes: 32, ..Limits::DEFAULT };
        let mut decoder = ChunkDecoder::new(&limits);
        let mut body = Vec::new();
        let mut at = 0;
        while at < input.len() {
            let window = &input[at..input.len().min(at.saturating_add(step))];
            let decoded = decoder.decode(window)?;
            at += decoded.used;
            match decoded.piece {
                Some(Piece::Data(range)) => body.extend_from_slice(&window[range]),
                Some(Piece::End) => return Ok((body, Some(at))),
                None => assert!(decoded.used > 0),
            }
        }
        Ok((body, None))
    }

    fn all_ways(input: &[u8]) -> Result<(Vec<u8>, Option<usize>), Cause> {
        let whole = decode(input, usize::MAX);
        for step in [1, 2, 7] {
            assert_eq!(decode(input, step), whole, "{} by {step}", input.escape_ascii());
        }
        whole
    }

    #[test]
    fn bodies_come_out_without_their_framing() {
        for (input, body) in [
            (&b"5\r\nhello\r\n0\r\n\r\n"[..], &b"hello"[..]),
            (b"5\r\nhello\r\nA\r\n 123456789\r\n000\r\n\r\n", b"hello 123456789"),
            (b"0\r\n\r\n", b""),
            (b"1;a=b;c=\"d e\"\r\nx\r\n0;last\r\n\r\n", b"x"),
            (b"1 \t;a\r\nx\r\n0\r\n\r\n", b"x"),
            (b"0000000000000001\r\n\n\r\n0\r\n\r\n", b"\n"),
            (b"0\r\nA: b\r\nC-D:\r\n\r\n", b""),
        ] {
            assert_eq!(all_ways(input), Ok((body.to_vec(), Some(input.len()))), "{}", input.escape_ascii());
        }
    }

    #[test]
    fn what_follows_the_body_is_left_alone() {
        assert_eq!(all_ways(b"1\r\nx\r\n0\r\n\r\nGET /"), Ok((b"x".to_vec(), Some(11))));
    }

    #[test]
    fn an_unfinished_body_is_no_error() {
        assert_eq!(all_ways(b"5\r\nhel"), Ok((b"hel".to_vec(), None)));
        assert_eq!(all_ways(b"ffffffffffffffff\r\nx"), Ok((b"x".to_vec(), None)));
    }

    #[test]
    fn every_deviation_from_the_grammar_is_refused() {
        use Cause::{BareLineBreak, ChunkMalformed, LineFolding, NulByte};
        for (input, cause) in [
            (&b"\r\n"[..], ChunkMalformed),
            (b";a\r\n", ChunkMalformed),
            (b" 5\r\n", ChunkMalformed),
            (b"5 \r\n", ChunkMalformed),
            (b"+5\r\n", ChunkMalformed),
            (b"-1\r\n", ChunkMalformed),
            (b"0x5\r\n", ChunkMalformed),
            (b"5_\r\n", ChunkMalformed),
            (b"g\r\n", ChunkMalformed),
            (b"5\x0b\r\n", ChunkMalformed),
            (b"00000000000000001\r\n", ChunkMalformed),
            (b"10000000000000005\r\nhello", ChunkMalformed),
            (b"5\nhello", BareLineBreak),
            (b"5\rhello", BareLineBreak),
            (b"5;a\nhello", BareLineBreak),
            (b"5;a\rhello", BareLineBreak),
            (b"5;\0\r\n", NulByte),
            (b"5;\x7f\r\n", ChunkMalformed),
            (b"5;aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", ChunkMalformed),
            (b"5                                    ;", ChunkMalformed),
            (b"5\r\nhelloX", ChunkMalformed),
            (b"5\r\nhello\n0\r\n\r\n", BareLineBreak),
            (b"5\r\nhello\r0", BareLineBreak),
            (b"5\r\nhello0\r\n\r\n", ChunkMalformed),
            (b"0\r\n\n", BareLineBreak),
            (b"0\r\n\rx", BareLineBreak),
            (b"0\r\n folded\r\n\r\n", LineFolding),
            (b"0\r\nA b: c\r\n\r\n", ChunkMalformed),
            (b"0\r\nA : c\r\n\r\n", ChunkMalformed),
            (b"0\r\n: c\r\n\r\n", ChunkMalformed),
            (b"0\r\nno colon\r\n\r\n", ChunkMalformed),
            (b"0\r\nA: b\nC: d\r\n\r\n", BareLineBreak),
            (b"0\r\nA: b\rC: d\r\n\r\n", BareLineBreak),
            (b"0\r\nA: \0\r\n\r\n", NulByte),
            (b"0\r\nA: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\nE: 5\r\nF: 6\r\nG: 7\r\nH: 8\r\n\r\n", ChunkMalformed),
        ] {
            assert_eq!(all_ways(input), Err(cause), "{}", input.escape_ascii());
        }
    }

    #[test]
    fn an_error_stays() {
        let mut decoder = ChunkDecoder::new(&Limits::DEFAULT);
        assert_eq!(decoder.decode(b"x"), Err(Cause::ChunkMalformed));
        assert_eq!(decoder.decode(b"0\r\n\r\n"), Err(Cause::ChunkMalformed));
        assert_eq!(decoder.decode(b""), Err(Cause::ChunkMalformed));
    }

    #[test]
    fn a_decoder_is_ready_for_another_body_after_an_end() {
        let mut decoder = ChunkDecoder::new(&Limits::DEFAULT);
        assert_eq!(decoder.decode(b"0\r\nA: b\r\n\r\n"), Ok(Decoded { used: 11, piece: Some(Piece::End) }));
        assert_eq!(decoder.decode(b"1\r\nx"), Ok(Decoded { used: 3, piece: None }));
        assert_eq!(decoder.announced(), 1);
        assert_eq!(decoder.decode(b"x"), Ok(Decoded { used: 1, piece: Some(Piece::Data(0..1)) }));
        assert_eq!(decoder.announced(), 0);
    }
}
