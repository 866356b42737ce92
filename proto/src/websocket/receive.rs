//! The receiving half: bytes in, events out.
//!
//! A control frame is taken when it is there in full, and so is the header of any frame. A message in one frame that
//! lies in the input in full is copied once, and unmasked and checked in that copy. Of all others what is there is
//! taken, unmasked and checked as it comes: memory grows with what arrives, never with what is announced.

use alloc::vec::Vec;
use core::mem;

use bytes::Bytes;

use super::deflate::{Decoded, Decoder, FLUSH_END};
use super::frame::{Header, Mask, Opcode};
use super::{Close, Connection, Event, Kind, Message};
use crate::error::Cause;

/// A message that is arriving.
#[derive(Default)]
pub(super) struct Incoming {
    frame: Option<Frame>,
    message: Option<Begun>,
    /// What is there of the message.
    buffer: Vec<u8>,
    /// How much of it is known to be UTF-8.
    checked: usize,
    /// Bytes of the message announced by frames so far, as they are on the wire.
    wire: u64,
    /// Frames of the message.
    frames: usize,
}

/// The data frame whose payload is arriving.
#[derive(Clone, Copy)]
struct Frame {
    left: u64,
    mask: Mask,
    is_final: bool,
}

/// What the first frame of a message says of it.
#[derive(Clone, Copy)]
struct Begun {
    kind: Kind,
    compressed: bool,
}

/// A compressed message may be longer on the wire than it is: by this much, and by a part in so many.
const DEFLATE_SLACK: u64 = 1024;

/// Room that is made at least for what is decompressed.
const INFLATE_ROOM: usize = 256;

/// Compressed bytes are unmasked in pieces of this size.
const PIECE: usize = 4096;

impl Incoming {
    pub(super) fn held(&self) -> usize {
        self.buffer.capacity()
    }

    /// Lets go of what is there of a message: no more of it is wanted.
    pub(super) fn discard(&mut self) {
        self.buffer = Vec::new();
        self.checked = 0;
    }

    /// Appends a part of the message and checks it.
    fn append(&mut self, payload: &[u8], kind: Kind, frame: Frame) -> Result<(), Cause> {
        let before = self.buffer.len();
        if self.buffer.capacity() - before < payload.len() {
            if frame.is_final {
                // Doubles, but not past the end of the message, which is known now.
                let end = usize::try_from(frame.left).unwrap_or(usize::MAX);
                self.buffer.reserve_exact(end.min(payload.len().max(before)));
            } else {
                self.buffer.reserve(payload.len());
            }
        }
        self.buffer.extend_from_slice(payload);
        frame.mask.apply(&mut self.buffer[before..]);
        self.check(kind)
    }

    /// Appends a part of a compressed message, and checks what it says. The checks come in the same order however the
    /// bytes come: characters up to the first byte too many, the size, the compression.
    fn inflate(&mut self, decoder: &mut Decoder, mut piece: &[u8], kind: Kind, max: usize) -> Result<(), Cause> {
        loop {
            if self.buffer.len() == self.buffer.capacity() {
                let wanted = self.buffer.len().max(piece.len() * 4).max(INFLATE_ROOM);
                self.buffer.reserve_exact(wanted.min((max - self.buffer.len()).saturating_add(1)));
            }
            let (used, result) = decoder.decode(piece, &mut self.buffer);
            piece = &piece[used..];
            let too_large = self.buffer.len() > max;
            self.buffer.truncate(max.saturating_add(1));
            self.check(kind)?;
            if too_large {
                return Err(Cause::MessageTooLarge);
            }
            if result? == Decoded::All {
                return Ok(());
            }
        }
    }

    /// Checks what is new; a character that is not complete waits for its rest.
    fn check(&mut self, kind: Kind) -> Result<(), Cause> {
        if kind == Kind::Text {
            self.checked += utf8_so_far(&self.buffer[self.checked..])?;
        }
        Ok(())
    }

    fn finish(&mut self, kind: Kind) -> Result<Message, Cause> {
        if kind == Kind::Text && self.checked < self.buffer.len() {
            return Err(Cause::Utf8Invalid);
        }
        if self.buffer.capacity() / 2 > self.buffer.len() {
            self.buffer.shrink_to_fit();
        }
        let payload = Bytes::from(mem::take(&mut self.buffer));
        *self = Self::default();
        Ok(Message { kind, payload })
    }
}

impl Connection {
    /// Takes one frame, or what is there of it; zero bytes if nothing can be taken yet.
    pub(super) fn read_step(&mut self, data: &[u8]) -> Result<usize, Cause> {
        if let Some(frame) = self.incoming.frame {
            return self.take_payload(frame, data);
        }
        let Some(header) = Header::parse(data, !self.is_client(), self.deflate.is_some())? else { return Ok(0) };
        let rest = &data[header.len..];
        if header.opcode.is_control() {
            // The length is 125 at most.
            let Some(payload) = rest.get(..header.payload as usize) else { return Ok(0) };
            let mut payload = payload.to_vec();
            header.mask.apply(&mut payload);
            self.take_control(header.opcode, payload.into())?;
            return Ok(header.len + header.payload as usize);
        }
        if let Some(kind) = self.lies_alone(&header)
            && let Some(payload) = rest.get(..header.payload as usize)
        {
            let payload = header.mask.copy(payload);
            if kind == Kind::Text && simdutf8::basic::from_utf8(&payload).is_err() {
                return Err(Cause::Utf8Invalid);
            }
            self.event = Some(Event::Message(Message { kind, payload: payload.into() }));
            return Ok(header.len + header.payload as usize);
        }
        self.begin_frame(&header)?;
        let frame = Frame { left: header.payload, mask: header.mask, is_final: header.is_final };
        Ok(header.len + self.take_payload(frame, rest)?)
    }

    /// Whether a frame is a whole message, sound and not compressed, of which nothing has to be remembered.
    #[inline]
    fn lies_alone(&self, header: &Header) -> Option<Kind> {
        let alone = header.is_final
            && !header.compressed
            && header.payload <= self.settings.message_bytes as u64
            && self.incoming.message.is_none()
            && self.close_sent.is_none()
            && self.settings.frames > 0;
        match header.opcode {
            Opcode::Text if alone => Some(Kind::Text),
            Opcode::Binary if alone => Some(Kind::Binary),
            Opcode::Text | Opcode::Binary | Opcode::Continuation | Opcode::Close | Opcode::Ping | Opcode::Pong => None,
        }
    }

    /// Checks that a data frame fits here, and within the bounds, before any byte of it is taken.
    fn begin_frame(&mut self, header: &Header) -> Result<(), Cause> {
        let kind = match header.opcode {
            Opcode::Text => Some(Kind::Text),
            Opcode::Binary => Some(Kind::Binary),
            Opcode::Continuation | Opcode::Close | Opcode::Ping | Opcode::Pong => None,
        };
        let incoming = &mut self.incoming;
        let begun = match (kind, incoming.message) {
            (Some(kind), None) => Begun { kind, compressed: header.compressed },
            (None, Some(begun)) => begun,
            (Some(_), Some(_)) | (None, None) => return Err(Cause::FragmentUnexpected),
        };
        incoming.message = Some(begun);
        // What comes after our close frame is dropped, so it has no bounds but time.
        if self.close_sent.is_none() {
            incoming.wire = incoming.wire.saturating_add(header.payload);
            incoming.frames += 1;
            let mut max = self.settings.message_bytes as u64;
            if begun.compressed {
                max = max.saturating_add(max / DEFLATE_SLACK + DEFLATE_SLACK);
            }
            if incoming.wire > max {
                return Err(Cause::MessageTooLarge);
            }
            if incoming.frames > self.settings.frames {
                return Err(Cause::FramesTooMany);
            }
        }
        Ok(())
    }

    /// Takes what is there of a data frame's payload.
    fn take_payload(&mut self, frame: Frame, data: &[u8]) -> Result<usize, Cause> {
        let n = usize::try_from(frame.left).map_or(data.len(), |left| left.min(data.len()));
        let Some(begun) = self.incoming.message else { return Err(Cause::FragmentUnexpected) };
        let drop = self.close_sent.is_some();
        if drop || n == 0 {
            // There is nothing to take, or nobody who wants it.
        } else if begun.compressed {
            self.take_compressed(frame, &data[..n], begun.kind)?;
        } else {
            self.incoming.append(&data[..n], begun.kind, frame)?;
        }
        let incoming = &mut self.incoming;
        let left = frame.left - n as u64;
        if left > 0 {
            incoming.frame = Some(Frame { left, mask: frame.mask.after(n), ..frame });
            return Ok(n);
        }
        incoming.frame = None;
        if frame.is_final {
            if drop {
                *incoming = Incoming::default();
            } else {
                if begun.compressed {
                    self.end_compressed(begun.kind)?;
                }
                self.event = Some(Event::Message(self.incoming.finish(begun.kind)?));
            }
        }
        Ok(n)
    }

    /// Decompresses what is there of a compressed message.
    fn take_compressed(&mut self, frame: Frame, data: &[u8], kind: Kind) -> Result<(), Cause> {
        let max = self.settings.message_bytes;
        let mut mask = frame.mask;
        let mut piece = [0; PIECE];
        for masked in data.chunks(PIECE) {
            let piece = &mut piece[..masked.len()];
            piece.copy_from_slice(masked);
            mask.apply(piece);
            mask = mask.after(masked.len());
            let decoder = self.codec.get_or_insert_default().decoder.get_or_insert_with(Decoder::new);
            self.incoming.inflate(decoder, piece, kind, max)?;
        }
        Ok(())
    }

    /// The last frame of a compressed message is complete: what its sender left out is put back (RFC 7692, 7.2.2).
    fn end_compressed(&mut self, kind: Kind) -> Result<(), Cause> {
        let max = self.settings.message_bytes;
        let decoder = self.codec.get_or_insert_default().decoder.get_or_insert_with(Decoder::new);
        // No byte at all is not what an empty message looks like, but what else could it mean?
        if !decoder.has_ended() && self.incoming.wire > 0 {
            self.incoming.inflate(decoder, &FLUSH_END, kind, max)?;
        }
        let keeps_no_context = self.deflate.is_none_or(|deflate| {
            if self.is_client() { deflate.server_no_context_takeover } else { deflate.client_no_context_takeover }
        });
        if keeps_no_context {
            self.drop_decoder();
        }
        Ok(())
    }

    /// Lets go of the decompressor.
    pub(super) fn drop_decoder(&mut self) {
        if let Some(codec) = &mut self.codec {
            codec.decoder = None;
            if codec.encoder.is_none() {
                self.codec = None;
            }
        }
    }

    fn take_control(&mut self, opcode: Opcode, payload: Bytes) -> Result<(), Cause> {
        if opcode == Opcode::Close {
            let close = read_close(payload)?;
            self.answer_close(&close);
            self.event = Some(Event::Close(close));
            return Ok(());
        }
        // Whoever is about to close neither answers nor listens.
        if self.close_sent.is_none() {
            if opcode == Opcode::Ping {
                self.put_pong(payload.clone());
                self.event = Some(Event::Ping(payload));
            } else {
                self.event = Some(Event::Pong(payload));
            }
        }
        Ok(())
    }
}

/// How much of `bytes` is UTF-8, if what is behind may still become the rest of a character.
fn utf8_so_far(bytes: &[u8]) -> Result<usize, Cause> {
    match simdutf8::compat::from_utf8(bytes) {
        Ok(_) => Ok(bytes.len()),
        Err(error) if error.error_len().is_none() => Ok(error.valid_up_to()),
        Err(_) => Err(Cause::Utf8Invalid),
    }
}

/// Reads the payload of a close frame (RFC 6455, 5.5.1).
fn read_close(payload: Bytes) -> Result<Close, Cause> {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return if payload.is_empty() {
            Ok(Close { code: None, reason: Bytes::new() })
        } else {
            Err(Cause::CloseMalformed)
        };
    };
    let code = u16::from_be_bytes(*code);
    if !may_be_sent(code) || simdutf8::basic::from_utf8(reason).is_err() {
        return Err(Cause::CloseMalformed);
    }
    Ok(Close { code: Some(code), reason: payload.slice(2..) })
}

/// Whether a code may stand in a close frame (RFC 6455, 7.4, and the registry of IANA): 1004 to 1006 and 1015 may not,
/// 1016 to 2999 mean nothing yet.
pub(super) fn may_be_sent(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}
