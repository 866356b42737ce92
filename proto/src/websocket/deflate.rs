//! Compression of messages (RFC 7692, 7.2), on flate2.
//!
//! The payload of a compressed message is a raw DEFLATE stream, flushed to a byte's end; the flush always ends in the
//! same four bytes, which are not sent.

use alloc::vec::Vec;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::negotiate::WINDOW_BITS_MAX;
use crate::error::Cause;

/// What a flush ends in.
pub(super) const FLUSH_END: [u8; 4] = [0, 0, 0xff, 0xff];

/// More room than a flush needs, so that it is never cut in two and repeated.
const FLUSH_ROOM: usize = 16;

/// What a compressor is charged with, in bytes: hash tables, window and pending output.
const ENCODER_BYTES: usize = 300 * 1024;

/// What a decompressor is charged with, in bytes: its window and tables.
const DECODER_BYTES: usize = 45 * 1024;

/// The states of compression of one connection, made when they are needed.
#[derive(Default)]
pub(super) struct Codec {
    pub(super) encoder: Option<Encoder>,
    pub(super) decoder: Option<Decoder>,
}

impl Codec {
    pub(super) fn held(&self) -> usize {
        let encoder = self.encoder.as_ref().map_or(0, |_| ENCODER_BYTES);
        let decoder = self.decoder.as_ref().map_or(0, |_| DECODER_BYTES);
        encoder + decoder
    }
}

/// Compresses messages, one after the other.
pub(super) struct Encoder(Compress);

impl Encoder {
    /// A compressor with a window of `2^window_bits` bytes, 9 to 15. The level is the fastest that stores what it cannot
    /// make shorter.
    pub(super) fn new(window_bits: u8) -> Self {
        Self(Compress::new_with_window_bits(Compression::new(2), false, window_bits))
    }

    /// Compresses a message; it may come out a few bytes longer than it was.
    pub(super) fn encode(&mut self, mut payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(payload.len() / 2 + FLUSH_ROOM);
        loop {
            let before = self.0.total_in();
            let status = self.0.compress_vec(payload, &mut out, FlushCompress::Sync);
            status.expect("a compressor fails only when it was finished, which this one never is");
            payload = &payload[(self.0.total_in() - before) as usize..];
            // Room to spare says that the flush is complete.
            if out.len() < out.capacity() {
                break;
            }
            out.reserve(payload.len() / 2 + FLUSH_ROOM);
        }
        debug_assert!(payload.is_empty() && out.ends_with(&FLUSH_END), "a flush is complete");
        out.truncate(out.len() - FLUSH_END.len());
        out
    }
}

/// Compresses a message by itself.
pub(super) fn encode_alone(payload: &[u8], window_bits: u8) -> Vec<u8> {
    Encoder::new(window_bits).encode(payload)
}

/// Decompresses messages, one after the other.
///
/// The window is the largest whatever was agreed on: with a smaller one it would depend on how the bytes come which of
/// the distances that are too large are noticed.
pub(super) struct Decoder {
    inflate: Decompress,
    /// The stream has ended with a final block. That loses the context, as it does for the peer's zlib; what follows is
    /// a new stream (RFC 7692, 7.2.3.4).
    ended: bool,
}

/// How far a [`Decoder`] came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decoded {
    /// All input was taken, and all that can be said of it is out.
    All,
    /// There may be more to say than there was room for.
    More,
}

impl Decoder {
    pub(super) fn new() -> Self {
        Self { inflate: Decompress::new_with_window_bits(false, WINDOW_BITS_MAX), ended: false }
    }

    /// Whether nothing came after a final block.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Decompresses as much of `input` as fits into the spare capacity of `out`, which must have some; returns how much
    /// was taken. What came before an error is in `out`.
    pub(super) fn decode(&mut self, input: &[u8], out: &mut Vec<u8>) -> (usize, Result<Decoded, Cause>) {
        if self.ended && !input.is_empty() {
            self.inflate.reset(false);
            self.ended = false;
        }
        let before = self.inflate.total_in();
        let status = self.inflate.decompress_vec(input, out, FlushDecompress::None);
        let used = (self.inflate.total_in() - before) as usize;
        let result = match status {
            Err(_) => Err(Cause::DeflateMalformed),
            Ok(Status::StreamEnd) => {
                self.ended = true;
                Ok(if used == input.len() { Decoded::All } else { Decoded::More })
            }
            Ok(Status::Ok | Status::BufError) if out.len() == out.capacity() => Ok(Decoded::More),
            Ok(Status::Ok | Status::BufError) if used < input.len() => Err(Cause::DeflateMalformed),
            Ok(Status::Ok | Status::BufError) => Ok(Decoded::All),
        };
        (used, result)
    }
}
