//! Frames and messages (RFC 37, "Framing").
//!
//! ```text
//! frame   = flags (1 octet) size (1 octet, or 8 with the LONG flag) body
//! message = *frame-with-MORE frame-without-MORE
//! ```

use alloc::vec::Vec;
use core::fmt;
use core::iter::FusedIterator;

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
