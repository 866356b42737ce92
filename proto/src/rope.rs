//! Bytes on their way out: a queue of pieces, written with one vectored write.
//!
//! Small pieces are copied together into one flat tail; large ones are shared and chained. An empty rope owns no
//! memory, so a connection with nothing to say costs nothing.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::mem;
use std::io::IoSlice;

use bytes::Bytes;

/// Pieces up to this size are copied into the tail: below it a copy is cheaper than a reference count and an iovec.
pub const SHARE_MIN: usize = 1024;

/// The tail is closed and chained when it passes this size, so that appending never moves much memory.
const TAIL_MAX: usize = 64 * 1024;

/// First allocation of a tail.
const TAIL_MIN: usize = 256;

/// A queue of bytes to be written.
#[derive(Default)]
pub struct Rope {
    /// Closed pieces, oldest first; none is empty.
    pieces: VecDeque<Piece>,
    /// Copied bytes behind the last piece; those before `tail_start` are gone (only while there are no pieces).
    tail: Vec<u8>,
    tail_start: usize,
    len: usize,
    shared: usize,
}

struct Piece {
    bytes: Bytes,
    /// It waits in other ropes too.
    is_shared: bool,
}

impl Rope {
    /// An empty rope, without memory of its own.
    pub const fn new() -> Self {
        Self { pieces: VecDeque::new(), tail: Vec::new(), tail_start: 0, len: 0, shared: 0 }
    }

    /// Bytes waiting.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Bytes waiting that were pushed as shared: they are not this rope's alone.
    pub fn shared(&self) -> usize {
        self.shared
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends a copy of `bytes`.
    pub fn push_copy(&mut self, bytes: &[u8]) {
        self.tail_for(bytes.len()).extend_from_slice(bytes);
        self.len += bytes.len();
    }

    /// Appends `bytes`: shared when large, copied when small.
    pub fn push(&mut self, bytes: Bytes) {
        if bytes.len() < SHARE_MIN {
            return self.push_copy(&bytes);
        }
        self.close_tail();
        self.len += bytes.len();
        self.pieces.push_back(Piece { bytes, is_shared: false });
    }

    /// As [`push`](Self::push), for bytes that are pushed to many ropes: where they are not copied,
    /// [`shared`](Self::shared) counts them.
    pub fn push_shared(&mut self, bytes: Bytes) {
        if bytes.len() < SHARE_MIN {
            return self.push_copy(&bytes);
        }
        self.close_tail();
        self.len += bytes.len();
        self.shared += bytes.len();
        self.pieces.push_back(Piece { bytes, is_shared: true });
    }

    /// Appends what `write` appends to the vector it is given. It must only append.
    pub fn push_with(&mut self, expected: usize, write: impl FnOnce(&mut Vec<u8>)) {
        let tail = self.tail_for(expected);
        let before = tail.len();
        write(tail);
        debug_assert!(tail.len() >= before, "push_with only appends");
        let added = tail.len() - before;
        self.len += added;
    }

    /// Appends everything in `other`, which is left empty.
    pub fn append(&mut self, other: &mut Rope) {
        if self.is_empty() {
            mem::swap(self, other);
            return;
        }
        other.close_tail();
        for piece in mem::take(&mut other.pieces) {
            if piece.is_shared { self.push_shared(piece.bytes) } else { self.push(piece.bytes) }
        }
        *other = Rope::new();
    }

    /// Lends the first bytes as slices, for a vectored write; returns how many slices were filled in.
    pub fn slices<'a>(&'a self, into: &mut [IoSlice<'a>]) -> usize {
        let mut count = 0;
        for (slot, piece) in into.iter_mut().zip(self.iter()) {
            *slot = IoSlice::new(piece);
            count += 1;
        }
        count
    }

    /// The pieces in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let tail = &self.tail[self.tail_start..];
        self.pieces.iter().map(|piece| &piece.bytes[..]).chain((!tail.is_empty()).then_some(tail))
    }

    /// Drops the first `n` bytes: they have been written.
    ///
    /// # Panics
    /// If fewer than `n` bytes wait.
    pub fn advance(&mut self, mut n: usize) {
        assert!(n <= self.len, "advance past the end");
        self.len -= n;
        if self.len == 0 {
            *self = Rope::new();
            return;
        }
        while let Some(piece) = self.pieces.front_mut() {
            let gone = n.min(piece.bytes.len());
            if piece.is_shared {
                self.shared -= gone;
            }
            if gone < piece.bytes.len() {
                piece.bytes = piece.bytes.slice(gone..);
                return;
            }
            n -= gone;
            self.pieces.pop_front();
        }
        self.tail_start += n;
    }

    /// Takes the first piece out, or `max` bytes of it if it is longer: shared where it was, and not copied where it is
    /// all there is. Empty if nothing waits.
    pub fn take_piece(&mut self, max: usize) -> Bytes {
        let piece = match self.pieces.front() {
            Some(piece) => piece.bytes.slice(..piece.bytes.len().min(max)),
            None if self.tail_start == 0 && self.len <= max => {
                let tail = mem::take(&mut self.tail);
                *self = Rope::new();
                return tail.into();
            }
            None => {
                let end = self.tail.len().min(self.tail_start.saturating_add(max));
                Bytes::copy_from_slice(&self.tail[self.tail_start..end])
            }
        };
        self.advance(piece.len());
        piece
    }

    /// Takes all bytes out as one vector; for tests and small ropes.
    pub fn take(&mut self) -> Vec<u8> {
        let all = self.iter().flatten().copied().collect();
        *self = Rope::new();
        all
    }

    /// Drops everything.
    pub fn clear(&mut self) {
        *self = Rope::new();
    }

    fn tail_for(&mut self, more: usize) -> &mut Vec<u8> {
        if self.tail.len() + more > self.tail.capacity() {
            if self.tail.len() >= TAIL_MAX {
                self.close_tail();
            }
            if self.tail.capacity() == 0 {
                self.tail.reserve(more.max(TAIL_MIN));
            }
        }
        &mut self.tail
    }

    fn close_tail(&mut self) {
        if self.tail_start == self.tail.len() {
            self.tail.clear();
            self.tail_start = 0;
            return;
        }
        let mut tail = Bytes::from(mem::take(&mut self.tail));
        if self.tail_start > 0 {
            tail = tail.slice(self.tail_start..);
            self.tail_start = 0;
        }
        self.pieces.push_back(Piece { bytes: tail, is_shared: false });
    }
}

/// Adds a piece to those that wait. Small ones are copied together: what holds one may be many times as large as it is,
/// and many of them would be more than is counted.
#[cfg(any(feature = "http2", feature = "spdy"))]
pub(crate) fn gather(pieces: &mut VecDeque<Bytes>, piece: Bytes) {
    match pieces.back_mut() {
        Some(last) if last.len() + piece.len() <= SHARE_MIN => *last = [&last[..], &piece[..]].concat().into(),
        Some(_) | None => pieces.push_back(piece),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn small_and_large_pieces_keep_their_order() {
        let mut rope = Rope::new();
        let large = Bytes::from(vec![b'x'; SHARE_MIN]);
        rope.push_copy(b"one ");
        rope.push(Bytes::from_static(b"two "));
        rope.push(large.clone());
        rope.push_copy(b"three");
        assert_eq!(rope.len(), 8 + SHARE_MIN + 5);
        let mut slices = [IoSlice::new(&[]); 8];
        assert_eq!(rope.slices(&mut slices), 3);
        let mut expected = b"one two ".to_vec();
        expected.extend_from_slice(&large);
        expected.extend_from_slice(b"three");
        assert_eq!(rope.take(), expected);
        assert!(rope.is_empty());
    }

    #[test]
    fn any_partial_writes_drain_the_same_bytes() {
        for step in [1, 3, 7, 1000, 5000] {
            let mut rope = Rope::new();
            let mut expected = vec![];
            for i in 0..200_u32 {
                let piece = vec![i as u8; (i as usize * 37) % 3000];
                expected.extend_from_slice(&piece);
                if i % 2 == 0 { rope.push(piece.into()) } else { rope.push_copy(&piece) }
            }
            let mut drained: Vec<u8> = vec![];
            while !rope.is_empty() {
                let n = step.min(rope.len());
                drained.extend(rope.iter().flatten().take(n));
                rope.advance(n);
                rope.push_copy(b"");
            }
            assert_eq!(drained, expected, "step {step}");
            assert_eq!(rope.tail.capacity() + rope.pieces.capacity(), 0);
        }
    }

    #[test]
    fn what_is_shared_is_counted_until_it_has_left() {
        let mut rope = Rope::new();
        rope.push_copy(b"own");
        rope.push_shared(Bytes::from(vec![b's'; 2000]));
        rope.push_shared(Bytes::from_static(b"small, so copied"));
        assert_eq!(rope.shared(), 2000);
        rope.advance(503);
        assert_eq!(rope.shared(), 1500);
        let mut other = Rope::new();
        other.push_copy(b"first");
        other.append(&mut rope);
        assert_eq!((other.shared(), rope.shared()), (1500, 0));
        other.advance(other.len());
        assert_eq!(other.shared(), 0);
    }

    #[test]
    fn appending_a_rope_moves_its_bytes() {
        let (mut a, mut b) = (Rope::new(), Rope::new());
        a.push_copy(b"ab");
        b.push_copy(b"cd");
        b.push(Bytes::from(vec![b'e'; 2000]));
        a.append(&mut b);
        assert!(b.is_empty());
        assert_eq!(a.len(), 2004);
        assert_eq!(&a.take()[..5], b"abcde");
    }

    #[test]
    fn pieces_are_taken_as_they_lie_there() {
        let mut rope = Rope::new();
        let large = Bytes::from(vec![b'a'; 2 * SHARE_MIN]);
        rope.push_shared(large.clone());
        rope.push_copy(b"hello");
        assert_eq!(rope.take_piece(SHARE_MIN), large[..SHARE_MIN]);
        assert_eq!(rope.shared(), SHARE_MIN);
        assert_eq!(rope.take_piece(usize::MAX), large[SHARE_MIN..]);
        assert_eq!((rope.take_piece(2), rope.take_piece(9)), (Bytes::from_static(b"he"), Bytes::from_static(b"llo")));
        assert_eq!((rope.take_piece(9), rope.len(), rope.shared()), (Bytes::new(), 0, 0));
    }

    #[cfg(any(feature = "http2", feature = "spdy"))]
    #[test]
    fn small_pieces_that_wait_become_larger_ones() {
        let mut pieces = VecDeque::new();
        let sizes = [1, 1000, 23, 1, 5000, 7, 600, 600];
        for (n, size) in sizes.into_iter().enumerate() {
            gather(&mut pieces, vec![n as u8; size].into());
        }
        assert_eq!(pieces.iter().map(Bytes::len).collect::<Vec<_>>(), [1024, 1, 5000, 607, 600]);
        let expected: Vec<u8> = sizes.into_iter().enumerate().flat_map(|(n, size)| vec![n as u8; size]).collect();
        assert_eq!(pieces.into_iter().flatten().collect::<Vec<u8>>(), expected);
    }
}
