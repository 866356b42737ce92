//! The sending half: events in, bytes out.
//!
//! The outbound rope holds what is committed, 64 KiB and one message at most. What exceeds that waits as whole
//! messages, so that the oldest can be dropped; only what is committed is compressed, so that nothing that is dropped
//! was. Control frames need not wait for messages that are not committed; a close frame is the last of all.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use bytes::Bytes;

use super::deflate::{Encoder, encode_alone};
use super::frame::{CONTROL_MAX, HEADER_MAX, Mask, Opcode, push_header};
use super::negotiate::WINDOW_BITS_MAX;
use super::receive::may_be_sent;
use super::{Close, Connection, Event, Kind, Message, Prepared, Queued, SendError};
use crate::error::Cause;
use crate::rope::{Rope, SHARE_MIN};
use crate::time::Instant;

/// Messages are committed while less than this is.
const COMMITTED_MIN: usize = 64 * 1024;

/// Payloads up to this size are copied behind their header: below it a copy is cheaper than pieces of their own.
const COPY_MAX: usize = 2 * 1024;

/// What waits behind the outbound rope.
#[derive(Default)]
pub(super) struct Backlog {
    messages: VecDeque<Waiting>,
    /// Bytes of them.
    bytes: usize,
    /// Those that are shared with other connections.
    shared: usize,
    /// The answer to the last ping that could not be answered at once (RFC 6455, 5.5.3).
    pong: Option<Bytes>,
    close: Option<Close>,
}

enum Waiting {
    Message(Message),
    /// A frame, ready to go out.
    Frame(Bytes),
}

impl Waiting {
    fn len(&self) -> usize {
        match self {
            Self::Message(message) => message.payload.len() + HEADER_MAX,
            Self::Frame(frame) => frame.len(),
        }
    }

    fn shared(&self) -> usize {
        match self {
            Self::Frame(frame) if frame.len() >= SHARE_MIN => frame.len(),
            Self::Frame(_) | Self::Message(_) => 0,
        }
    }
}

impl Backlog {
    /// Bytes that wait.
    pub(super) fn len(&self) -> usize {
        let pong = self.pong.as_ref().map_or(0, |payload| payload.len() + HEADER_MAX);
        let close = self.close.as_ref().map_or(0, |close| close.reason.len() + HEADER_MAX);
        self.bytes + pong + close
    }

    /// Bytes that wait here and in other connections.
    pub(super) fn shared(&self) -> usize {
        self.shared
    }

    fn push(&mut self, waiting: Waiting) {
        self.bytes += waiting.len();
        self.shared += waiting.shared();
        self.messages.push_back(waiting);
    }

    fn pop(&mut self) -> Option<Waiting> {
        let waiting = self.messages.pop_front()?;
        self.bytes -= waiting.len();
        self.shared -= waiting.shared();
        Some(waiting)
    }
}

impl Connection {
    /// Sends an event.
    ///
    /// A message is queued if nothing waits, or if what waits and it are no more than
    /// [`Settings::queue_bytes`](super::Settings::queue_bytes); with
    /// [`Settings::drop_oldest`](super::Settings::drop_oldest) as many of the oldest messages that are not yet begun
    /// are dropped as it takes. After a [`Event::Close`], which goes out behind all that is queued, the peer has
    /// [`Settings::close_timeout`](super::Settings::close_timeout) to answer it.
    ///
    /// # Errors
    /// See [`SendError`]. Nothing was queued.
    pub fn send(&mut self, event: Event, now: Instant) -> Result<Queued, SendError> {
        self.check_open()?;
        match event {
            Event::Message(message) => {
                if message.kind == Kind::Text && simdutf8::basic::from_utf8(&message.payload).is_err() {
                    return Err(SendError::Invalid);
                }
                let queued = self.admit(message.payload.len() + HEADER_MAX)?;
                self.queue(Waiting::Message(message));
                Ok(queued)
            }
            Event::Ping(payload) => self.send_control(Opcode::Ping, &payload),
            Event::Pong(payload) => self.send_control(Opcode::Pong, &payload),
            Event::Close(close) => {
                if !close.may_be_sent() {
                    return Err(SendError::Invalid);
                }
                self.queue_close(close, Cause::Complete, now);
                if let Some(violated) = self.violated {
                    self.close(violated);
                }
                Ok(Queued::default())
            }
        }
    }

    /// Sends a message that is encoded already, or will be once for all the connections that it is sent to. A client
    /// masks it, and a connection whose compression depends on what came before compresses it, so both gain nothing.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_prepared(&mut self, message: &mut Prepared, _now: Instant) -> Result<Queued, SendError> {
        self.check_open()?;
        if self.is_client() {
            let queued = self.admit(message.payload().len() + HEADER_MAX)?;
            self.queue(Waiting::Message(message.message()));
            return Ok(queued);
        }
        let frame = match self.deflate {
            Some(deflate) if !message.payload().is_empty() => {
                if !deflate.server_no_context_takeover {
                    let queued = self.admit(message.payload().len() + HEADER_MAX)?;
                    self.queue(Waiting::Message(message.message()));
                    return Ok(queued);
                }
                message.compressed(deflate.server_max_window_bits.unwrap_or(WINDOW_BITS_MAX))
            }
            Some(_) | None => message.frame(),
        };
        let queued = self.admit(frame.len())?;
        if self.may_commit() {
            if frame.len() < SHARE_MIN {
                self.outbound.push_copy(frame)
            } else {
                self.outbound.push_shared(frame.clone())
            }
        } else {
            self.backlog().push(Waiting::Frame(frame.clone()));
        }
        Ok(queued)
    }

    /// Bytes to be written; call [`Rope::advance`] for what was, and this again for what waits behind them.
    pub fn outbound(&mut self) -> &mut Rope {
        if self.backlog.is_some() && self.outbound.len() < COMMITTED_MIN {
            self.top_up();
        }
        &mut self.outbound
    }

    /// Queues a close frame for `cause`; nothing may be sent after it.
    pub(super) fn say_farewell(&mut self, cause: Cause, now: Instant) {
        let reason = Bytes::from_static(cause.name().as_bytes());
        self.queue_close(Close { code: Some(cause.close_code()), reason }, cause, now);
    }

    /// The peer's close frame came: it is answered, unless it is the answer itself (RFC 6455, 5.5.1).
    pub(super) fn answer_close(&mut self, close: &Close) {
        let cause = match self.close_sent {
            Some(cause) => cause,
            None => {
                self.close_sent = Some(Cause::ClientClosed);
                self.put_close(Close { code: close.code, reason: Bytes::new() });
                Cause::ClientClosed
            }
        };
        self.close(cause);
    }

    /// Answers a ping, at once unless much is committed already: then only the last one that waits is.
    pub(super) fn put_pong(&mut self, payload: Bytes) {
        if self.outbound.len() < COMMITTED_MIN {
            if let Some(backlog) = &mut self.backlog {
                backlog.pong = None;
            }
            self.commit(Opcode::Pong, &payload);
        } else {
            self.backlog().pong = Some(payload);
        }
    }

    pub(super) fn put_ping(&mut self, payload: Bytes) {
        self.commit(Opcode::Ping, &payload);
    }

    fn check_open(&self) -> Result<(), SendError> {
        if self.close_sent.is_some() || self.closing.is_some() { Err(SendError::Closed) } else { Ok(()) }
    }

    /// Makes room for `bytes` more, if it may.
    fn admit(&mut self, bytes: usize) -> Result<Queued, SendError> {
        let mut waiting = self.queued();
        let max = self.settings.queue_bytes;
        if waiting == 0 || waiting + bytes <= max {
            return Ok(Queued::default());
        }
        if !self.settings.drop_oldest {
            return Err(SendError::Full);
        }
        let mut dropped = 0;
        while waiting + bytes > max
            && let Some(oldest) = self.backlog.as_mut().and_then(|backlog| backlog.pop())
        {
            waiting -= oldest.len();
            dropped += 1;
        }
        Ok(Queued { dropped })
    }

    /// Whether a message may go out behind what is committed.
    fn may_commit(&self) -> bool {
        self.outbound.len() < COMMITTED_MIN && self.backlog.is_none()
    }

    fn backlog(&mut self) -> &mut Backlog {
        self.backlog.get_or_insert_default()
    }

    fn queue(&mut self, waiting: Waiting) {
        if self.may_commit() {
            self.commit_waiting(waiting);
        } else {
            self.backlog().push(waiting);
        }
    }

    fn send_control(&mut self, opcode: Opcode, payload: &[u8]) -> Result<Queued, SendError> {
        if payload.len() > CONTROL_MAX {
            return Err(SendError::Invalid);
        }
        if self.queued() > 0 && self.queued() + payload.len() + HEADER_MAX > self.settings.queue_bytes {
            return Err(SendError::Full);
        }
        self.commit(opcode, payload);
        Ok(Queued::default())
    }

    fn queue_close(&mut self, close: Close, cause: Cause, now: Instant) {
        self.close_sent = Some(cause);
        self.put_close(close);
        let (timeout, queued) = (self.settings.close_timeout, self.queued());
        self.clock.wait_for_close(timeout, queued, now);
        // Of a message that is arriving no more is wanted.
        self.incoming.discard();
    }

    fn put_close(&mut self, close: Close) {
        if self.may_commit() {
            self.commit_close(&close);
        } else {
            self.backlog().close = Some(close);
        }
    }

    /// Commits what waits, as far as there is room.
    fn top_up(&mut self) {
        let Some(mut backlog) = self.backlog.take() else { return };
        if let Some(payload) = backlog.pong.take() {
            self.commit(Opcode::Pong, &payload);
        }
        while self.outbound.len() < COMMITTED_MIN {
            if let Some(waiting) = backlog.pop() {
                self.commit_waiting(waiting);
            } else {
                if let Some(close) = backlog.close.take() {
                    self.commit_close(&close);
                }
                return;
            }
        }
        self.backlog = Some(backlog);
    }

    fn commit_waiting(&mut self, waiting: Waiting) {
        match waiting {
            Waiting::Message(Message { kind, payload }) => {
                self.commit_data(kind, payload);
            }
            Waiting::Frame(frame) => self.outbound.push_shared(frame),
        }
    }

    fn commit_close(&mut self, close: &Close) {
        let mut payload = Vec::with_capacity(CONTROL_MAX);
        if let Some(code) = close.code {
            payload.extend_from_slice(&code.to_be_bytes());
            payload.extend_from_slice(&close.reason);
        }
        self.commit(Opcode::Close, &payload);
        // Nothing is compressed any more.
        if let Some(codec) = &mut self.codec {
            codec.encoder = None;
        }
    }

    fn commit_data(&mut self, kind: Kind, payload: Bytes) {
        let opcode = kind.opcode();
        match self.compress(&payload) {
            Some(compressed) => self.commit_frame(opcode, true, compressed.into()),
            None => self.commit_frame(opcode, false, payload),
        }
    }

    /// Compresses a payload, if that was agreed on and there is any. Short ones too: peers exist that take a message for
    /// something else if it is not compressed where it could be.
    fn compress(&mut self, payload: &[u8]) -> Option<Vec<u8>> {
        let deflate = self.deflate.filter(|_| !payload.is_empty())?;
        let (window_bits, keeps_no_context) = if self.is_client() {
            (deflate.client_max_window_bits, deflate.client_no_context_takeover)
        } else {
            (deflate.server_max_window_bits, deflate.server_no_context_takeover)
        };
        let window_bits = window_bits.unwrap_or(WINDOW_BITS_MAX);
        if keeps_no_context {
            return Some(encode_alone(payload, window_bits));
        }
        // What went through the compressor is part of the context, so it has to be sent as it came out.
        Some(self.codec().encoder.get_or_insert_with(|| Encoder::new(window_bits)).encode(payload))
    }

    fn commit_frame(&mut self, opcode: Opcode, compressed: bool, payload: Bytes) {
        if payload.len() <= COPY_MAX {
            self.commit_copy(opcode, compressed, &payload);
        } else if let Some(mask) = self.next_mask() {
            let mut frame = Vec::with_capacity(HEADER_MAX + payload.len());
            write_frame(&mut frame, opcode, compressed, &payload, Some(mask));
            self.outbound.push(frame.into());
        } else {
            self.outbound.push_with(HEADER_MAX, |out| push_header(out, opcode, compressed, payload.len(), None));
            self.outbound.push(payload);
        }
    }

    /// Puts a control frame into the outbound rope.
    fn commit(&mut self, opcode: Opcode, payload: &[u8]) {
        self.commit_copy(opcode, false, payload);
    }

    fn commit_copy(&mut self, opcode: Opcode, compressed: bool, payload: &[u8]) {
        let mask = self.next_mask();
        let expected = HEADER_MAX + payload.len();
        self.outbound.push_with(expected, |out| write_frame(out, opcode, compressed, payload, mask));
    }

    fn next_mask(&mut self) -> Option<Mask> {
        let masks = self.masks.as_mut()?;
        let mut key = [0; 4];
        masks.fill(&mut key);
        Some(Mask::new(u32::from_le_bytes(key)))
    }
}

/// Appends a whole frame.
pub(super) fn write_frame(out: &mut Vec<u8>, opcode: Opcode, compressed: bool, payload: &[u8], mask: Option<Mask>) {
    push_header(out, opcode, compressed, payload.len(), mask);
    let start = out.len();
    out.extend_from_slice(payload);
    if let Some(mask) = mask {
        mask.apply(&mut out[start..]);
    }
}

impl Close {
    /// Whether it can be sent (RFC 6455, 5.5.1): a code that may stand in a close frame, with a reason in UTF-8 of at
    /// most 123 bytes, or nothing at all.
    pub fn may_be_sent(&self) -> bool {
        match self.code {
            None => self.reason.is_empty(),
            Some(code) => {
                may_be_sent(code)
                    && self.reason.len() <= CONTROL_MAX - 2
                    && simdutf8::basic::from_utf8(&self.reason).is_ok()
            }
        }
    }
}
