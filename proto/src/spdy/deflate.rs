//! Compression of header blocks (RFC 1950, RFC 1951).
//!
//! All blocks of one direction are one zlib stream, flushed to a byte's end behind each, so both sides keep their state as
//! long as the connection lives. Decompression is flate2's. Compression is ours: a general compressor keeps some 300 KiB
//! for each connection and builds tables for blocks of a few hundred bytes; this one keeps [`WINDOW`] bytes twice over and
//! looks in one place for what a response has in common with the last one, or with the dictionary.
//!
//! How short a block becomes tells what it has in common with others: who may choose a part of a head can guess at the rest
//! by it (the attack CRIME, 2012). A block with a secret in it is written as it is, and nothing refers into it, or across.

use alloc::boxed::Box;
use alloc::vec::Vec;

use flate2::{Decompress, FlushDecompress, Status};

use super::dictionary::dictionary;
use super::frame::Version;
use crate::error::Cause;

/// How far back a compressed block refers. The dictionary and two or three heads fit in.
const WINDOW: usize = 1 << WINDOW_BITS;
const WINDOW_BITS: u8 = 12;

/// Places that are remembered, by what stands there.
const PLACES: usize = 1 << PLACES_BITS;
const PLACES_BITS: u32 = 10;

const MATCH_MIN: usize = 4;
const MATCH_MAX: usize = 258;

/// What ends a block and brings the stream to a byte's end: an empty stored block (RFC 1951, 3.2.4).
const FLUSH_END: [u8; 4] = [0, 0, 0xff, 0xff];

/// Compresses the header blocks that one side sends.
pub(super) struct Deflater {
    /// What was compressed last, the dictionary before it; behind it the block that is being written.
    history: Vec<u8>,
    /// Where the block begins.
    start: usize,
    /// By a hash of four bytes: one behind where they stood last; 0 for nowhere.
    places: Box<[u32; PLACES]>,
    /// The stream's own head, as long as it was not written.
    head: Option<[u8; 6]>,
}

impl Deflater {
    pub(super) fn new(version: Version) -> Self {
        let (words, sum) = dictionary(version);
        let mut history = Vec::with_capacity(WINDOW);
        history.extend_from_slice(words);
        let mut deflater =
            Self { start: history.len(), history, places: Box::new([0; PLACES]), head: Some(stream_head(sum)) };
        for at in 0..words.len() - MATCH_MIN {
            deflater.note(at);
        }
        deflater
    }

    /// What a compressor is charged with, in bytes.
    pub(super) fn held(&self) -> usize {
        size_of::<[u32; PLACES]>() + self.history.capacity()
    }

    /// Where the next block is written, in clear: appended.
    pub(super) fn block(&mut self) -> &mut Vec<u8> {
        &mut self.history
    }

    /// Appends the block to `out`, compressed unless it `is_secret`.
    pub(super) fn finish_block(&mut self, out: &mut Vec<u8>, is_secret: bool) {
        if let Some(head) = self.head.take() {
            out.extend_from_slice(&head);
        }
        let mut bits = Bits { out, held: 0, count: 0 };
        // Not the last block; fixed codes.
        bits.push(0b010, 3);
        let mut at = self.start;
        let end = self.history.len();
        if is_secret {
            self.history[at..].iter().for_each(|byte| bits.literal(*byte));
            self.places.fill(0);
            at = end;
        }
        while at + MATCH_MIN <= end {
            let candidate = self.note(at);
            let length = candidate.map_or(0, |earlier| self.matching(earlier, at));
            let Some(earlier) = candidate.filter(|_| length >= MATCH_MIN) else {
                bits.literal(self.history[at]);
                at += 1;
                continue;
            };
            bits.copy(length, at - earlier);
            // What comes again may begin anywhere inside.
            for inside in at + 1..at + length {
                self.note(inside);
            }
            at += length;
        }
        for byte in &self.history[at..] {
            bits.literal(*byte);
        }
        // The end of the block, and an empty stored one.
        bits.push(0, 7);
        bits.push(0, 3);
        bits.fill_byte();
        bits.out.extend_from_slice(&FLUSH_END);
        self.slide();
    }

    /// Remembers what stands at a place, and returns where the same may have stood before.
    fn note(&mut self, at: usize) -> Option<usize> {
        let four = self.history[at..].first_chunk::<4>()?;
        // Multiplicative hashing, by the golden ratio.
        let hash = u32::from_le_bytes(*four).wrapping_mul(0x9e37_79b1) >> (32 - PLACES_BITS);
        // A header block is far below 4 GiB.
        let earlier = core::mem::replace(&mut self.places[hash as usize], at as u32 + 1);
        (earlier as usize).checked_sub(1).filter(|earlier| at - earlier <= WINDOW)
    }

    fn matching(&self, earlier: usize, at: usize) -> usize {
        let most = MATCH_MAX.min(self.history.len() - at);
        let (before, now) = (&self.history[earlier..][..most], &self.history[at..][..most]);
        before.iter().zip(now).position(|(before, now)| before != now).unwrap_or(most)
    }

    /// Forgets what no later block can refer to, when it is as much as what can.
    fn slide(&mut self) {
        if self.history.len() >= 2 * WINDOW {
            let gone = self.history.len() - WINDOW;
            // Afresh, so that a large block leaves nothing behind.
            self.history = self.history.split_off(gone);
            for place in self.places.iter_mut() {
                *place = place.saturating_sub(gone as u32);
            }
        }
        self.start = self.history.len();
    }
}

/// The head of a zlib stream with a dictionary (RFC 1950, 2.2).
fn stream_head(sum: u32) -> [u8; 6] {
    let method = (WINDOW_BITS - 8) << 4 | 8;
    let flags = 0x20;
    let check = 31 - (u16::from_be_bytes([method, flags]) % 31) as u8;
    let [a, b, c, d] = sum.to_be_bytes();
    [method, flags + check % 31, a, b, c, d]
}

/// Bits on their way into bytes, lowest first.
struct Bits<'o> {
    out: &'o mut Vec<u8>,
    held: u64,
    count: u32,
}

impl Bits<'_> {
    fn push(&mut self, bits: u32, count: u32) {
        self.held |= u64::from(bits) << self.count;
        self.count += count;
        if self.count >= 32 {
            self.out.extend_from_slice(&(self.held as u32).to_le_bytes());
            self.held >>= 32;
            self.count -= 32;
        }
    }

    fn fill_byte(&mut self) {
        let bytes = self.count.div_ceil(8) as usize;
        self.out.extend_from_slice(&self.held.to_le_bytes()[..bytes]);
        (self.held, self.count) = (0, 0);
    }

    fn literal(&mut self, byte: u8) {
        let (code, count) = LITERALS[usize::from(byte)];
        self.push(code.into(), count.into());
    }

    /// A copy of `length` bytes, 3 to 258, from `distance` bytes back, 1 to 32,768.
    fn copy(&mut self, length: usize, distance: usize) {
        let length = LENGTHS[length - MATCH_MIN];
        self.push(length.bits, length.count);
        let distance = distance as u32 - 1;
        // RFC 1951, 3.2.5: two codes for each number of bits, from four on.
        let (code, extra_count) = if distance < 4 {
            (distance, 0)
        } else {
            let extra_count = 30 - distance.leading_zeros();
            (2 * extra_count + (distance >> extra_count), extra_count)
        };
        let extra = distance & ((1 << extra_count) - 1);
        self.push(reversed(code, 5) | extra << 5, 5 + extra_count);
    }
}

/// The fixed codes of literals (RFC 1951, 3.2.6), as they are pushed, and their bits.
const LITERALS: [(u16, u8); 256] = {
    let mut codes = [(0, 0); 256];
    let mut byte = 0;
    while byte < 256 {
        codes[byte] = match byte as u32 {
            byte @ 0..144 => (reversed(0x30 + byte, 8) as u16, 8),
            byte => (reversed(0x190 + byte - 144, 9) as u16, 9),
        };
        byte += 1;
    }
    codes
};

#[derive(Clone, Copy)]
struct Length {
    bits: u32,
    count: u32,
}

/// The fixed codes of lengths with their extra bits, from [`MATCH_MIN`] on.
const LENGTHS: [Length; MATCH_MAX - MATCH_MIN + 1] = {
    let mut codes = [Length { bits: 0, count: 0 }; MATCH_MAX - MATCH_MIN + 1];
    let mut length = MATCH_MIN;
    while length <= MATCH_MAX {
        // RFC 1951, 3.2.5: four codes for each number of extra bits, from 11 on; 258 has one of its own.
        let over = length as u32 - 3;
        let (symbol, extra, extra_count) = if length == MATCH_MAX {
            (285, 0, 0)
        } else if over < 8 {
            (257 + over, 0, 0)
        } else {
            let extra_count = 29 - over.leading_zeros();
            (257 + 4 * extra_count + (over >> extra_count), over & ((1 << extra_count) - 1), extra_count)
        };
        let (code, count) = if symbol < 280 { (symbol - 256, 7) } else { (0xc0 + symbol - 280, 8) };
        codes[length - MATCH_MIN] = Length { bits: reversed(code, count) | extra << count, count: count + extra_count };
        length += 1;
    }
    codes
};

/// The lowest `count` bits in reverse: Huffman codes go out highest bit first.
const fn reversed(bits: u32, count: u32) -> u32 {
    bits.reverse_bits() >> (32 - count)
}

/// What a decompressor is charged with, in bytes: its tables, and the largest window whatever the peer's is.
pub(super) const INFLATER_BYTES: usize = 46 * 1024;

/// Decompresses the header blocks that one side receives.
pub(super) struct Inflater {
    inflate: Decompress,
    version: Version,
}

impl Inflater {
    pub(super) fn new(version: Version) -> Self {
        Self { inflate: Decompress::new(true), version }
    }

    /// Decompresses as much of `input` as fits into the spare capacity of `out`, which must have some; returns how much
    /// was taken, and whether that is all there is to be had.
    pub(super) fn inflate(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<(usize, bool), Cause> {
        let mut used = 0;
        loop {
            let before = self.inflate.total_in();
            let status = self.inflate.decompress_vec(&input[used..], out, FlushDecompress::Sync);
            used += (self.inflate.total_in() - before) as usize;
            match status {
                Ok(Status::Ok | Status::BufError) if out.len() == out.capacity() => return Ok((used, false)),
                Ok(Status::Ok | Status::BufError) if used == input.len() => return Ok((used, true)),
                // It took less than it could, or the stream has ended, which it never does in a connection.
                Ok(Status::Ok | Status::BufError | Status::StreamEnd) => return Err(Cause::CompressionMalformed),
                Err(error) => {
                    let (words, sum) = dictionary(self.version);
                    if error.needs_dictionary() != Some(sum) || self.inflate.set_dictionary(words).is_err() {
                        return Err(Cause::CompressionMalformed);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::{Entropy, SeededEntropy};
    use alloc::vec;
    use flate2::{Compress, Compression, FlushCompress};

    fn inflated(inflater: &mut Inflater, input: &[u8], step: usize) -> Vec<u8> {
        let mut out = Vec::new();
        for piece in input.chunks(step) {
            let mut rest = piece;
            loop {
                out.reserve_exact(7);
                let (used, is_all) = inflater.inflate(rest, &mut out).unwrap();
                rest = &rest[used..];
                if is_all {
                    break;
                }
            }
        }
        out
    }

    #[test]
    fn what_is_compressed_comes_out_again() {
        let mut entropy = SeededEntropy::from_number(1951);
        for version in Version::ALL {
            let mut deflater = Deflater::new(version);
            let mut inflater = None;
            for round in 0..300_u64 {
                let mut block = b"\0\0\0\x07:status\0\0\0\x06200 OK\0\0\0\x0ccontent-type".to_vec();
                // Every byte, long runs, what came before, and now and then more than the window.
                let len = if round % 50 == 49 { 20_000 } else { entropy.below(700) };
                for _ in 0..len {
                    let byte = entropy.below(1 << (round % 9)) as u8;
                    block.push(byte);
                }
                block.extend_from_slice(&vec![b'a' + (round % 20) as u8; entropy.below(600) as usize]);
                deflater.block().extend_from_slice(&block);
                let mut out = Vec::new();
                deflater.finish_block(&mut out, round % 7 == 5);
                let inflater = inflater.get_or_insert_with(|| Inflater::new(version));
                assert_eq!(inflated(inflater, &out, 1 + round as usize), block, "{version}, {round}");
                assert!(deflater.held() < 40_000);
            }
        }
    }

    #[test]
    fn a_head_like_the_last_one_shrinks_to_little() {
        let mut deflater = Deflater::new(Version::V3);
        let block =
            b"\0\0\0\x03\0\0\0\x0ccontent-type\0\0\0\x18text/plain;charset=utf-8\0\0\0\x07:status\0\0\0\x06200 OK\
            \0\0\0\x08:version\0\0\0\x08HTTP/1.1";
        let sizes: Vec<usize> = (0..3)
            .map(|_| {
                let mut out = Vec::new();
                deflater.block().extend_from_slice(block);
                deflater.finish_block(&mut out, false);
                out.len()
            })
            .collect();
        assert!(sizes[0] < block.len() * 3 / 4 && sizes[1] < 16 && sizes[2] < 16, "{sizes:?}");
    }

    #[test]
    fn no_length_tells_what_a_secret_block_has_in_common_with_others() {
        let guesses = ["sid=0123456789abcdef", "sid=fedcba9876543210"];
        // The guess before the secret, in one block with it, and behind it.
        let lengths = guesses.map(|guess| {
            let guess = [b"location\0\0\0\x17", guess.as_bytes(), b"/x/"].concat();
            let secret = b"set-cookie\0\0\0\x14sid=0123456789abcdef";
            let mut deflater = Deflater::new(Version::V3);
            [(&guess[..], false), (secret, true), (&[&guess[..], secret].concat(), true), (&guess, false)].map(
                |(block, is_secret)| {
                    let mut out = Vec::new();
                    deflater.block().extend_from_slice(block);
                    deflater.finish_block(&mut out, is_secret);
                    out.len()
                },
            )
        });
        assert_eq!(lengths[0], lengths[1]);
    }

    #[test]
    fn streams_of_the_usual_compressor_are_read() {
        for (version, window_bits) in [(Version::V2, 15), (Version::V3, 11), (Version::V31, 9)] {
            let mut compress = Compress::new_with_window_bits(Compression::best(), true, window_bits);
            assert_eq!(compress.set_dictionary(dictionary(version).0).unwrap(), dictionary(version).1);
            let mut inflater = None;
            for round in 0..20 {
                let block = [&b"content-type text/html "[..], &[round; 400], b"set-cookie"].concat();
                let mut out = Vec::with_capacity(1000);
                compress.compress_vec(&block, &mut out, FlushCompress::Sync).unwrap();
                let inflater = inflater.get_or_insert_with(|| Inflater::new(version));
                assert_eq!(inflated(inflater, &out, 5), block);
            }
        }
    }

    #[test]
    fn another_dictionary_is_refused_and_none_is_taken() {
        let mut out = Vec::new();
        let mut deflater = Deflater::new(Version::V2);
        deflater.block().extend_from_slice(b"anything");
        deflater.finish_block(&mut out, false);
        let refused = Err(Cause::CompressionMalformed);
        assert_eq!(Inflater::new(Version::V3).inflate(&out, &mut Vec::with_capacity(100)), refused);
        assert_eq!(Inflater::new(Version::V3).inflate(b"\x78\x9c\xff\xff", &mut Vec::with_capacity(100)), refused);
        assert_eq!(Inflater::new(Version::V3).inflate(b"GET /", &mut Vec::with_capacity(100)), refused);
        let mut plain = Vec::with_capacity(100);
        Compress::new(Compression::fast(), true).compress_vec(b"anything", &mut plain, FlushCompress::Sync).unwrap();
        assert_eq!(inflated(&mut Inflater::new(Version::V3), &plain, 3), b"anything");
    }
}
