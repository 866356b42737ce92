//! Frames and messages (RFC 37, "Framing").
//!
//! ```text
//! frame   = flags (1 octet) size (1 octet, or 8 with the LONG flag) body
//! message = *frame-with-MORE frame-without-MORE
//! ```

use alloc::vec::Vec;
use core::fmt;
use core::iter::FusedIterator;
use core::mem;

use bytes::{Buf, Bytes};

use crate::error::Cause;

pub(super) const MORE: u8 = 0b001;
pub(super) const LONG: u8 = 0b010;
pub(super) const COMMAND: u8 = 0b100;

/// The longest frame header: flags and eight octets of size.
pub(super) const HEADER_MAX: usize = 9;

/// A message of one or more frames, kept as it stands on the wire: one shared allocation whatever the number of
/// frames, and ready to be sent on.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    /// Whole frames with their headers, all but the last with the MORE flag; checked before a message is made.
    wire: Bytes,
    frames: u32,
}

impl Message {
    /// Makes a message of `parts`; `None` if there are none.
    pub fn from_parts(parts: &[&[u8]]) -> Option<Self> {
        if parts.is_empty() {
            return None;
        }
        let mut wire = Vec::with_capacity(wire_len(parts));
        write_frames(&mut wire, parts, false);
        Some(Self { wire: wire.into(), frames: parts.len() as u32 })
    }

    /// `wire` must be checked: exactly `frames` whole frames that form one message.
    pub(super) fn from_checked(wire: Bytes, frames: u32) -> Self {
        debug_assert!(frames > 0 && !wire.is_empty(), "a message has a frame");
        Self { wire, frames }
    }

    /// How many frames there are, at least one.
    pub fn frame_count(&self) -> usize {
        self.frames as usize
    }

    /// The message as it stands on the wire.
    pub fn wire(&self) -> &Bytes {
        &self.wire
    }

    /// The bodies of the frames, in order.
    pub fn frames(&self) -> Frames<'_> {
        Frames { rest: &self.wire }
    }

    /// The body of the frame at `index`.
    pub fn frame(&self, index: usize) -> Option<&[u8]> {
        self.frames().nth(index)
    }

    /// The body of the frame at `index`, shared with the message.
    pub fn frame_bytes(&self, index: usize) -> Option<Bytes> {
        self.frame(index).map(|frame| self.wire.slice_ref(frame))
    }

    /// The body of the last frame. Allocates nothing.
    pub fn into_last(mut self) -> Bytes {
        let last = self.frames().last().map_or(0, <[u8]>::len);
        self.wire.advance(self.wire.len() - last);
        self.wire
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.frames().map(|frame| format!("{}", frame.escape_ascii()))).finish()
    }
}

/// The bodies of a message's frames.
#[derive(Clone, Debug)]
pub struct Frames<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Frames<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let header = Header::parse(self.rest).ok()??;
        let (frame, rest) = self.rest.split_at_checked(header.len + header.body as usize)?;
        self.rest = rest;
        Some(&frame[header.len..])
    }
}

impl FusedIterator for Frames<'_> {}

/// What stands before a frame's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) flags: u8,
    /// Octets of the header itself.
    pub(super) len: usize,
    /// Octets of the body.
    pub(super) body: u64,
}

impl Header {
    /// Reads a header; `None` if it is not there in full. Reserved flags and a command with MORE are malformed.
    #[inline]
    pub(super) fn parse(bytes: &[u8]) -> Result<Option<Self>, Cause> {
        let Some((&flags, rest)) = bytes.split_first() else { return Ok(None) };
        if flags & !(MORE | LONG | COMMAND) != 0 || flags & (MORE | COMMAND) == MORE | COMMAND {
            return Err(Cause::FrameMalformed);
        }
        if flags & LONG == 0 {
            return Ok(rest.first().map(|&size| Self { flags, len: 2, body: size.into() }));
        }
        let Some(&size) = rest.first_chunk::<8>() else { return Ok(None) };
        Ok(Some(Self { flags, len: HEADER_MAX, body: u64::from_be_bytes(size) }))
    }

    pub(super) fn is_command(self) -> bool {
        self.flags & COMMAND != 0
    }

    pub(super) fn has_more(self) -> bool {
        self.flags & MORE != 0
    }
}

/// What the start of some bytes holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scan {
    /// A whole message.
    Message { len: usize, frames: u32 },
    /// Something else: part of a message, or a command.
    Other,
}

/// Looks for a whole message at the start of `bytes`, within the bounds.
pub(super) fn scan(bytes: &[u8], bytes_max: usize, frames_max: u32) -> Result<Scan, Cause> {
    let (mut len, mut frames) = (0, 0);
    loop {
        let Some(header) = Header::parse(&bytes[len..])? else { return Ok(Scan::Other) };
        if header.is_command() {
            return Ok(Scan::Other);
        }
        frames += 1;
        check_bounds(header, len, frames, bytes_max, frames_max)?;
        // The bound has been checked, so the sum is small.
        len += header.len + header.body as usize;
        if len > bytes.len() {
            return Ok(Scan::Other);
        }
        if !header.has_more() {
            return Ok(Scan::Message { len, frames });
        }
    }
}

/// Checks the frame of `header`, the `frames`-th of a message of which `before` octets came already.
#[inline]
pub(super) fn check_bounds(
    header: Header,
    before: usize,
    frames: u32,
    bytes_max: usize,
    frames_max: u32,
) -> Result<(), Cause> {
    let room = bytes_max.saturating_sub(before + header.len);
    if header.body > room as u64 || before + header.len > bytes_max {
        return Err(Cause::MessageTooLarge);
    }
    if frames > frames_max {
        return Err(Cause::FramesTooMany);
    }
    Ok(())
}

/// A message that arrives in pieces.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    wire: Vec<u8>,
    /// Frames begun.
    frames: u32,
    /// Octets of the last of them that are still to come.
    left: usize,
    /// Whether another follows.
    more: bool,
}

/// What is set aside for a frame when its header comes; beyond it only what arrives takes memory.
const RESERVE_MAX: usize = 16 * 1024;

impl Assembly {
    /// Whether no message has begun.
    pub(super) fn is_idle(&self) -> bool {
        self.frames == 0
    }

    /// Begins a frame, whose header is `bytes`.
    pub(super) fn begin(
        &mut self,
        header: Header,
        bytes: &[u8],
        bytes_max: usize,
        frames_max: u32,
    ) -> Result<(), Cause> {
        debug_assert!(self.left == 0 && !header.is_command(), "frames come one after the other");
        check_bounds(header, self.wire.len(), self.frames + 1, bytes_max, frames_max)?;
        self.frames += 1;
        self.left = header.body as usize;
        self.more = header.has_more();
        let expected = bytes.len() + self.left.min(RESERVE_MAX);
        if self.more {
            self.wire.reserve(expected)
        } else {
            self.wire.reserve_exact(expected)
        }
        self.wire.extend_from_slice(bytes);
        Ok(())
    }

    /// Takes what belongs to the frame begun and returns how much that was.
    pub(super) fn take(&mut self, bytes: &[u8]) -> usize {
        let taken = &bytes[..self.left.min(bytes.len())];
        if taken.is_empty() {
            return 0;
        }
        if self.wire.capacity() - self.wire.len() < taken.len() && !self.more {
            // Doubles, but not past the end of the message, which is known now.
            self.wire.reserve_exact(self.left.min(taken.len().max(self.wire.len())));
        }
        self.wire.extend_from_slice(taken);
        self.left -= taken.len();
        taken.len()
    }

    /// Bytes of memory that it holds.
    pub(super) fn capacity(&self) -> usize {
        self.wire.capacity()
    }

    /// The message, if it is whole.
    pub(super) fn finish(&mut self) -> Option<Message> {
        if self.is_idle() || self.left > 0 || self.more {
            return None;
        }
        let Self { wire, frames, .. } = mem::take(self);
        Some(Message::from_checked(wire.into(), frames))
    }
}

/// Octets that `parts` take on the wire.
pub(super) fn wire_len(parts: &[&[u8]]) -> usize {
    parts.iter().map(|part| header_len(part.len()) + part.len()).sum()
}

/// Octets of the header before a body of `body` octets.
pub(super) fn header_len(body: usize) -> usize {
    if body < 256 { 2 } else { HEADER_MAX }
}

/// Writes `parts` as frames; the last has the MORE flag if `more` follows.
pub(super) fn write_frames(into: &mut Vec<u8>, parts: &[&[u8]], more: bool) {
    let Some((last, parts)) = parts.split_last() else { return };
    for part in parts {
        write_header(into, MORE, part.len());
        into.extend_from_slice(part);
    }
    write_header(into, if more { MORE } else { 0 }, last.len());
    into.extend_from_slice(last);
}

/// Writes a frame header.
#[inline]
pub(super) fn write_header(into: &mut Vec<u8>, flags: u8, body: usize) {
    match u8::try_from(body) {
        Ok(size) => into.extend_from_slice(&[flags, size]),
        Err(_) => {
            into.push(flags | LONG);
            into.extend_from_slice(&(body as u64).to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn scan_all(bytes: &[u8]) -> Result<Scan, Cause> {
        scan(bytes, 1 << 20, 16)
    }

    #[test]
    fn frames_round_trip_with_short_and_long_headers() {
        for len in [0, 1, 255, 256, 70_000] {
            let body = vec![b'x'; len];
            let message = Message::from_parts(&[b"", &body, b"tail"]).unwrap();
            assert_eq!(message.wire().len(), wire_len(&[b"", &body, b"tail"]));
            assert_eq!(scan_all(message.wire()), Ok(Scan::Message { len: message.wire().len(), frames: 3 }));
            assert!(message.frames().eq([b"".as_slice(), &body, b"tail"]));
            assert_eq!(message.frame_count(), 3);
            assert_eq!(message.frame(1), Some(&body[..]));
            assert_eq!(message.frame_bytes(2).as_deref(), Some(b"tail".as_slice()));
            assert_eq!(message.frame(3), None);
            assert_eq!(message.into_last(), "tail");
        }
    }

    #[test]
    fn the_last_frame_may_be_empty() {
        let message = Message::from_parts(&[b"sid", b""]).unwrap();
        assert_eq!(message.frame_bytes(1).as_deref(), Some(b"".as_slice()));
        assert_eq!(message.into_last(), "");
        assert_eq!(Message::from_parts(&[]), None);
    }

    #[test]
    fn every_prefix_of_a_message_is_part_of_one() {
        let message = Message::from_parts(&[b"one", &[0; 300], b"three"]).unwrap();
        for len in 0..message.wire().len() {
            assert_eq!(scan_all(&message.wire()[..len]), Ok(Scan::Other), "{len} octets");
        }
    }

    #[test]
    fn reserved_flags_and_commands_with_more_are_malformed() {
        for flags in [0b1000, 0x80, COMMAND | MORE, COMMAND | MORE | LONG] {
            assert_eq!(Header::parse(&[flags, 0]), Err(Cause::FrameMalformed), "{flags:08b}");
        }
        assert_eq!(Header::parse(&[]), Ok(None));
        assert_eq!(Header::parse(&[LONG, 0, 0, 0, 0, 0, 0, 0]), Ok(None));
    }

    #[test]
    fn bounds_hold_before_anything_of_the_frame_is_there() {
        let huge = [LONG, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
        assert_eq!(scan_all(&huge), Err(Cause::MessageTooLarge));
        let parts: &[&[u8]] = &[b"ab", b"cd"];
        let message = Message::from_parts(parts).unwrap();
        let wire = message.wire();
        assert_eq!(scan(wire, 8, 2), Ok(Scan::Message { len: 8, frames: 2 }));
        assert_eq!(scan(wire, 7, 2), Err(Cause::MessageTooLarge));
        assert_eq!(scan(wire, 8, 1), Err(Cause::FramesTooMany));
        assert_eq!(scan(&wire[..6], 7, 2), Err(Cause::MessageTooLarge));
        assert_eq!(scan(wire, 0, 2), Err(Cause::MessageTooLarge));
    }

    #[test]
    fn an_announced_size_takes_no_memory_before_it_arrives() {
        let mut assembly = Assembly::default();
        let bytes = [LONG, 0, 0, 0, 0, 0x40, 0, 0, 0];
        let header = Header::parse(&bytes).unwrap().unwrap();
        assembly.begin(header, &bytes, 2 << 30, 1).unwrap();
        assert!(assembly.wire.capacity() <= RESERVE_MAX + HEADER_MAX);
        assert_eq!(assembly.take(&[0; 100_000]), 100_000);
        assert!(assembly.wire.capacity() <= 200_100, "{}", assembly.wire.capacity());
    }

    #[test]
    fn an_assembled_message_has_no_spare_capacity() {
        let body = vec![7; 1_000_000];
        let wire = Message::from_parts(&[&body]).unwrap().wire().clone();
        let header = Header::parse(&wire).unwrap().unwrap();
        let mut assembly = Assembly::default();
        assembly.begin(header, &wire[..header.len], 2 << 20, 1).unwrap();
        for piece in wire[header.len..].chunks(60_000) {
            assert!(assembly.finish().is_none());
            assert_eq!(assembly.take(piece), piece.len());
        }
        assert_eq!(assembly.wire.capacity(), wire.len());
        assert_eq!(assembly.finish().unwrap().wire(), &wire);
        assert!(assembly.is_idle());
    }
}
