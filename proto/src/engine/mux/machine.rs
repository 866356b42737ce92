//! The machine of a connection with streams: HTTP/2, or SPDY. They mean the same by the same names.

use alloc::boxed::Box;
use alloc::sync::Arc;

use crate::error::{Cause, Violation};
use crate::http::{AddedField, Event, Request, StreamEvent, StreamId, Tally};
use crate::http1::{Progress, SendError};
use crate::rope::Rope;
use crate::time::Instant;
use crate::{http2, spdy};

/// A client's connection, whichever it speaks.
pub(in crate::engine) enum Machine {
    Http2(http2::Connection),
    /// The few that there are do not make the others larger.
    Spdy(Box<spdy::Connection>),
}

/// Asks either machine the same.
macro_rules! either {
    ($machine:expr, $conn:ident => $call:expr) => {
        match $machine {
            Machine::Http2($conn) => $call,
            Machine::Spdy($conn) => $call,
        }
    };
}

impl Machine {
    pub fn receive(&mut self, data: &[u8], now: Instant) -> usize {
        either!(self, conn => conn.receive(data, now))
    }

    pub fn receive_eof(&mut self, now: Instant) {
        either!(self, conn => conn.receive_eof(now));
    }

    pub fn poll_event(&mut self) -> Option<(StreamId, StreamEvent)> {
        either!(self, conn => conn.poll_event())
    }

    pub fn room(&self) -> usize {
        either!(self, conn => conn.room())
    }

    pub fn stream_room(&self, stream: StreamId) -> usize {
        either!(self, conn => conn.stream_room(stream))
    }

    pub fn has_room(&self) -> bool {
        either!(self, conn => conn.has_room())
    }

    pub fn stream_queued(&self, stream: StreamId) -> usize {
        either!(self, conn => conn.stream_queued(stream))
    }

    pub fn release(&mut self, stream: StreamId, n: usize, now: Instant) {
        either!(self, conn => conn.release(stream, n, now));
    }

    pub fn send(&mut self, stream: StreamId, event: Event, now: Instant) -> Result<Progress, SendError> {
        either!(self, conn => conn.send(stream, event, now))
    }

    /// Asks for a body that is held back; in SPDY nobody holds one back.
    pub fn send_continue(&mut self, stream: StreamId, now: Instant) {
        match self {
            Self::Http2(conn) => conn.send_continue(stream, now),
            Self::Spdy(_) => {}
        }
    }

    pub fn limit_body(&mut self, stream: StreamId, max: u64, now: Instant) -> Result<(), Violation> {
        either!(self, conn => conn.limit_body(stream, max, now))
    }

    pub fn add_field(&mut self, stream: StreamId, field: Arc<AddedField>) {
        either!(self, conn => conn.add_field(stream, field));
    }

    pub fn fail_with(&mut self, stream: StreamId, cause: Cause, status: u16, now: Instant) {
        either!(self, conn => conn.fail_with(stream, cause, status, now));
    }

    /// Ends a stream that nobody wants to go on with.
    pub fn cancel(&mut self, stream: StreamId, now: Instant) {
        match self {
            Self::Http2(conn) => conn.reset(stream, http2::ErrorCode::CANCEL, now),
            Self::Spdy(conn) => conn.reset(stream, spdy::StatusCode::CANCEL, now),
        }
    }

    pub fn push(&mut self, of: StreamId, request: &Request, https: bool, now: Instant) -> Result<StreamId, SendError> {
        either!(self, conn => conn.push(of, request, https, now))
    }

    pub fn has(&self, stream: StreamId) -> bool {
        either!(self, conn => conn.has(stream))
    }

    pub fn close_after_responses(&mut self, now: Instant) {
        either!(self, conn => conn.close_after_responses(now));
    }

    pub fn outbound(&mut self) -> &mut Rope {
        either!(self, conn => conn.outbound())
    }

    pub fn has_outbound(&self) -> bool {
        either!(self, conn => conn.has_outbound())
    }

    pub fn queued(&self) -> usize {
        either!(self, conn => conn.queued())
    }

    pub fn held(&self) -> usize {
        either!(self, conn => conn.held())
    }

    pub fn is_closing(&self) -> Option<Cause> {
        either!(self, conn => conn.is_closing())
    }

    pub fn violation(&self) -> Option<Violation> {
        either!(self, conn => conn.violation())
    }

    pub fn take_tally(&mut self) -> Tally {
        either!(self, conn => conn.take_tally())
    }

    pub fn is_settled(&self) -> bool {
        either!(self, conn => conn.is_settled())
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        either!(self, conn => conn.poll_timeout())
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        either!(self, conn => conn.handle_timeout(now));
    }
}
