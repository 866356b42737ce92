//! HTTP/1.1 and 1.0 (RFC 9112), both roles, without a socket.
//!
//! A [`Connection`] takes the bytes that were read and yields [`Event`]s; the same events, sent, become bytes in its
//! outbound rope. It has one exchange at a time, so answers are in order by construction: while a complete request
//! waits for its answer, pipelined bytes stay with the caller.

mod body;

use alloc::sync::Arc;
use core::fmt;

pub use body::{ChunkDecoder, Decoded, Piece};

use crate::error::{Cause, Violation};
use crate::http::{Event, Settings};
use crate::rope::Rope;
use crate::time::Instant;

/// How far the message that is being sent has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// More of it may follow.
    Open,
    /// It is complete: nothing more of it may be sent.
    Complete,
}

/// Why a part of a message was not sent as it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError {
    /// It does not fit here: no request waits for it, the head is missing or was sent before, or the connection is
    /// closing. Nothing was sent.
    OutOfOrder,
    /// It exceeds the announced length. What fits was sent; the connection closes.
    TooLong,
    /// It ends before the announced length. The connection is cut.
    TooShort,
    /// This machine cannot send it: a 101, which needs a machine for what follows. Nothing was sent.
    Unsupported,
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OutOfOrder => "out of order",
            Self::TooLong => "longer than announced",
            Self::TooShort => "shorter than announced",
            Self::Unsupported => "not supported",
        })
    }
}

impl core::error::Error for SendError {}

/// One connection.
///
/// Give what was read to [`receive`](Self::receive), after each call drain [`poll_event`](Self::poll_event) to
/// `None`, and call it again with what it left until it takes nothing and yields nothing. Write from
/// [`outbound`](Self::outbound), and call [`handle_timeout`](Self::handle_timeout) when
/// [`poll_timeout`](Self::poll_timeout) says. Once [`is_closing`](Self::is_closing) names a cause, close the
/// connection when the outbound rope is empty.
pub struct Connection {
    settings: Arc<Settings>,
    outbound: Rope,
}

impl Connection {
    /// The server's side of a connection that was accepted at `now`.
    pub fn server(settings: Arc<Settings>, _now: Instant) -> Self {
        Self { settings, outbound: Rope::new() }
    }

    /// The client's side. It has no deadlines of its own.
    pub fn client(settings: Arc<Settings>, _now: Instant) -> Self {
        Self { settings, outbound: Rope::new() }
    }

    /// Takes bytes that the peer sent and returns how many; the caller keeps the rest and offers it again, followed
    /// by newer bytes. Takes nothing while an event waits or [`room`](Self::room) is zero; takes and ignores
    /// everything once the connection is closing.
    pub fn receive(&mut self, data: &[u8], _now: Instant) -> usize {
        data.len().min(self.settings.limits.head_bytes)
    }

    /// The peer has ended its sending direction.
    ///
    /// The caller goes on offering what it has kept, and offers the empty rest too after each complete exchange: the
    /// connection closes when nothing more can come of it.
    pub fn receive_eof(&mut self, _now: Instant) {}

    /// What was received.
    #[must_use]
    pub fn poll_event(&mut self) -> Option<Event> {
        None
    }

    /// How many bytes are welcome: zero while an event waits, or while a complete request waits for its answer.
    pub fn room(&self) -> usize {
        0
    }

    /// Sends a part of a message.
    ///
    /// # Errors
    /// See [`SendError`].
    pub fn send(&mut self, _event: Event, _now: Instant) -> Result<Progress, SendError> {
        Err(SendError::OutOfOrder)
    }

    /// Asks the client for the body it holds back, if it does and neither body nor final response has begun.
    pub fn send_continue(&mut self, _now: Instant) {}

    /// Bounds the body of the current request; call it right after its head. A body announced larger is answered
    /// with 413 at once. Without this call [`Limits::body_bytes`](crate::limits::Limits::body_bytes) holds.
    ///
    /// # Errors
    /// The body is announced larger; the answer is in the outbound rope.
    pub fn limit_body(&mut self, _max: u64, _now: Instant) -> Result<(), Violation> {
        Ok(())
    }

    /// Whether body bytes are being waited for: while the caller does not read, for reasons of its own, it says
    /// `false`, and the body's deadline rests.
    pub fn set_reading(&mut self, _reading: bool, _now: Instant) {}

    /// Ends the current exchange for `cause`: with an error page if no byte of the final response was queued (then it
    /// returns `true`, and the connection lives on if the request was complete), else by closing without an end mark
    /// (`false`).
    pub fn fail(&mut self, cause: Cause, now: Instant) -> bool {
        self.fail_with(cause, cause.status(), now)
    }

    /// As [`fail`](Self::fail), with a status other than the cause's own.
    pub fn fail_with(&mut self, _cause: Cause, _status: u16, _now: Instant) -> bool {
        false
    }

    /// Lets the current response be the last, or the next if a request is on its way; an idle connection closes now.
    pub fn close_after_response(&mut self, _now: Instant) {}

    /// Bytes to be written.
    pub fn outbound(&mut self) -> &mut Rope {
        &mut self.outbound
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// Deadlines that have come take effect; earlier calls change nothing.
    pub fn handle_timeout(&mut self, _now: Instant) {}

    /// Why nothing more will be read, or queued: close when the outbound rope is empty. [`Cause::Complete`] is the
    /// clean end.
    pub fn is_closing(&self) -> Option<Cause> {
        None
    }

    /// What the peer did wrong, if that is why the connection is closing.
    pub fn violation(&self) -> Option<Violation> {
        None
    }

    /// Whether the connection is between two exchanges, with no byte of the next.
    pub fn is_idle(&self) -> bool {
        false
    }

    /// Whether a byte of the current exchange's final response was queued.
    pub fn response_begun(&self) -> bool {
        false
    }

    /// Whether the current request was received to its end.
    pub fn request_complete(&self) -> bool {
        false
    }
}

impl Connection {
    /// Bytes waiting to be written.
    pub fn queued(&self) -> usize {
        self.outbound.len()
    }
}
