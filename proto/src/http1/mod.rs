//! HTTP/1.1 and 1.0 (RFC 9112), both roles, without a socket.
//!
//! A [`Connection`] takes the bytes that were read and yields [`Event`]s; the same events, sent, become bytes in its
//! outbound rope. It has one exchange at a time, so answers are in order by construction: while a complete request
//! waits for its answer, pipelined bytes stay with the caller.
//!
//! ```text
//! server, reading:  Idle -> Head -> Length | Chunked -> Complete -> Idle ...
//! server, writing:  Idle -> Waiting -> Length | Chunked | UntilClose -> Complete -> Idle ...
//! client, writing:  Idle -> Length | Chunked -> Complete -> Idle ...
//! client, reading:  Idle -> Head [-> Idle: interim] -> Length | Chunked | UntilEof -> Complete -> Idle ...
//! ```
//!
//! Both halves return to Idle together, when both are Complete, or the connection closes: reading is then Closed.

mod body;
mod deadline;
mod parse;
#[cfg(test)]
mod tests;
mod write;

use alloc::sync::Arc;
use core::fmt;

pub use body::{ChunkDecoder, Decoded, Piece};

use crate::error::{Cause, Violation};
use crate::http::{AddedField, Event, HeadScan, Settings, Version};
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
///
/// The machine does not hold requests back while its outbound rope is long: a caller that answers pipelined requests
/// at once looks at the rope's length before it offers more bytes.
pub struct Connection {
    settings: Arc<Settings>,
    outbound: Rope,
    event: Option<Event>,
    reading: Reading,
    writing: Writing,
    exchange: Exchange,
    /// For the final response of this exchange.
    added: Option<Arc<AddedField>>,
    /// Body bytes that may still come.
    body_room: u64,
    /// After an early answer: body bytes that may still be thrown away.
    discarding: Option<usize>,
    deadline: Option<Instant>,
    closing: Option<Cause>,
    violation: Option<Violation>,
    is_server: bool,
    /// An [`Event::End`] is to be polled after `event`.
    end_due: bool,
    /// The peer has ended its direction.
    eof: bool,
    /// The caller does not read: the body's deadline rests.
    paused: bool,
    /// A message head was received.
    kept: bool,
    /// The current exchange is the last, as its heads say.
    last: bool,
    /// The current exchange, or the next, is the last, as the caller wants.
    going_away: bool,
    /// The body that was sent last ends with the connection.
    until_close: bool,
    /// When reading was closed the message was complete: no more of it is on its way.
    ended_complete: bool,
}

/// What is received.
#[derive(Clone, Debug)]
enum Reading {
    /// Between two messages, or before the final response.
    Idle {
        /// Empty lines skipped.
        blanks: u8,
    },
    /// Inside a head.
    Head(HeadScan),
    /// A body of which this many bytes are to come.
    Length(u64),
    /// A chunked body.
    Chunked(ChunkDecoder),
    /// A body that ends with the connection.
    UntilEof,
    /// The message is complete.
    Complete,
    /// Nothing more is read.
    Closed,
}

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writing {
    /// There is nothing to answer; a client may send a request.
    Idle,
    /// A request waits for its final response.
    Waiting,
    /// A body of which this many bytes are to come.
    Length(u64),
    /// A chunked body.
    Chunked,
    /// A body that ends with the connection.
    UntilClose,
    /// The message is complete.
    Complete,
}

/// What has to be remembered of a request until it is answered.
#[derive(Clone, Copy, Debug)]
struct Exchange {
    version: Version,
    keep_alive: bool,
    waits_for_continue: bool,
    is_head: bool,
    wants_html: bool,
}

impl Exchange {
    /// A request of which nothing is known: its answer closes the connection.
    const UNKNOWN: Self = Self {
        version: Version::Http11,
        keep_alive: false,
        waits_for_continue: false,
        is_head: false,
        wants_html: false,
    };
}

impl Connection {
    /// The server's side of a connection that was accepted at `now`.
    pub fn server(settings: Arc<Settings>, now: Instant) -> Self {
        let mut connection = Self::new(settings, true);
        connection.arm(connection.settings.limits.head_timeout, now);
        connection
    }

    /// The client's side. It has no deadlines of its own.
    pub fn client(settings: Arc<Settings>, _now: Instant) -> Self {
        Self::new(settings, false)
    }

    fn new(settings: Arc<Settings>, is_server: bool) -> Self {
        Self {
            settings,
            outbound: Rope::new(),
            event: None,
            reading: Reading::Idle { blanks: 0 },
            writing: Writing::Idle,
            exchange: Exchange::UNKNOWN,
            added: None,
            body_room: u64::MAX,
            discarding: None,
            deadline: None,
            closing: None,
            violation: None,
            is_server,
            end_due: false,
            eof: false,
            paused: false,
            kept: false,
            last: false,
            going_away: false,
            until_close: false,
            ended_complete: false,
        }
    }

    /// Takes bytes that the peer sent and returns how many; the caller keeps the rest and offers it again, followed
    /// by newer bytes. Takes nothing while an event waits or [`room`](Self::room) is zero; takes and ignores
    /// everything once the connection is closing.
    pub fn receive(&mut self, data: &[u8], now: Instant) -> usize {
        let mut used = 0;
        while !self.event_waits() && self.closing.is_none() {
            match self.read_step(&data[used..], now) {
                Ok(0) => {
                    if self.eof {
                        self.conclude_eof(now);
                    }
                    break;
                }
                Ok(n) => used += n,
                Err(violation) => self.violate(violation, now),
            }
        }
        if self.closing.is_some() { data.len() } else { used }
    }

    /// The peer has ended its sending direction; call it when everything before that was offered.
    ///
    /// Where a request waits for its answer this is only remembered: the caller goes on offering what it has kept,
    /// the empty rest too, after each complete exchange, and the connection closes when nothing more can come of it.
    pub fn receive_eof(&mut self, now: Instant) {
        self.eof = true;
        if !self.event_waits() && self.closing.is_none() {
            self.conclude_eof(now);
        }
    }

    /// What was received.
    #[must_use]
    pub fn poll_event(&mut self) -> Option<Event> {
        if let Some(event) = self.event.take() {
            return Some(event);
        }
        core::mem::take(&mut self.end_due).then_some(Event::End)
    }

    /// How many bytes are welcome: zero while an event waits, or while a complete request waits for its answer.
    pub fn room(&self) -> usize {
        if self.event_waits() && self.closing.is_none() {
            return 0;
        }
        match self.reading {
            Reading::Complete => 0,
            Reading::Idle { .. }
            | Reading::Head(_)
            | Reading::Length(_)
            | Reading::Chunked(_)
            | Reading::UntilEof
            | Reading::Closed => self.settings.limits.head_bytes,
        }
    }

    /// Bounds the body of the current request; call it right after its head. A body announced larger is answered
    /// with 413 at once. Without this call [`Limits::body_bytes`](crate::limits::Limits::body_bytes) holds.
    ///
    /// # Errors
    /// The body is announced larger; the answer is in the outbound rope.
    pub fn limit_body(&mut self, max: u64, now: Instant) -> Result<(), Violation> {
        self.body_room = max;
        match self.reading {
            Reading::Length(length) if length > max => {
                let violation = Violation::from(Cause::BodyTooLarge);
                self.violate(violation, now);
                Err(violation)
            }
            Reading::Idle { .. }
            | Reading::Head(_)
            | Reading::Length(_)
            | Reading::Chunked(_)
            | Reading::UntilEof
            | Reading::Complete
            | Reading::Closed => Ok(()),
        }
    }

    /// Adds a field to the final response of the current exchange, an error page or a 101 included, unless that has one
    /// of its name. Call it right after the request's head; the last call holds.
    pub fn add_field(&mut self, field: Arc<AddedField>) {
        self.added = Some(field);
    }

    /// Ends the current exchange for `cause`: with an error page if no byte of the final response was queued (then it
    /// returns `true`, and the connection lives on if the request was complete), else by closing without an end mark
    /// (`false`).
    pub fn fail(&mut self, cause: Cause, now: Instant) -> bool {
        self.fail_with(cause, cause.status(), now)
    }

    /// As [`fail`](Self::fail), with a status (200 to 999) other than the cause's own.
    pub fn fail_with(&mut self, cause: Cause, status: u16, now: Instant) -> bool {
        if self.closing.is_some() {
            return false;
        }
        if self.writing != Writing::Waiting {
            self.close(cause);
            return false;
        }
        let is_last = !matches!(self.reading, Reading::Complete);
        self.send_page(cause, status, is_last);
        if is_last {
            self.drop_events();
            self.close(cause);
        } else {
            self.finish_writing(now);
        }
        true
    }

    /// Lets the current response be the last, or the next if a request is on its way; an idle connection closes now.
    pub fn close_after_response(&mut self, _now: Instant) {
        if self.is_idle() {
            self.close(Cause::Complete);
        } else {
            self.going_away = true;
        }
    }

    /// Bytes to be written. Call [`Rope::advance`] for what was.
    pub fn outbound(&mut self) -> &mut Rope {
        &mut self.outbound
    }

    /// Bytes waiting to be written.
    pub fn queued(&self) -> usize {
        self.outbound.len()
    }

    /// Why nothing more will be read, or queued: close when the outbound rope is empty. [`Cause::Complete`] is the
    /// clean end.
    pub fn is_closing(&self) -> Option<Cause> {
        self.closing
    }

    /// What the peer did wrong, if that is why the connection is closing.
    pub fn violation(&self) -> Option<Violation> {
        self.violation
    }

    /// Whether the connection is between two exchanges, with no byte of the next.
    pub fn is_idle(&self) -> bool {
        matches!(self.reading, Reading::Idle { .. }) && self.writing == Writing::Idle && !self.event_waits()
    }

    /// Whether a byte of the current exchange's final response was queued.
    pub fn response_begun(&self) -> bool {
        match self.writing {
            Writing::Length(_) | Writing::Chunked | Writing::UntilClose | Writing::Complete => true,
            Writing::Idle | Writing::Waiting => false,
        }
    }

    /// Whether the connection closes inside a body that the close itself would seem to complete (RFC 9112, 8): only a
    /// reset can tell the peer that something is missing.
    pub fn is_cut(&self) -> bool {
        self.closing.is_some() && self.writing == Writing::UntilClose
    }

    /// Whether the peer may be sending another request behind the current one: it has neither ended its direction nor
    /// said that this request is its last. Closing a socket with such bytes unread resets it, and the reset eats what
    /// the peer has not taken yet (RFC 9112, 9.6).
    pub fn peer_may_send(&self) -> bool {
        !self.eof && self.exchange.keep_alive
    }

    /// Whether a close now would seem to complete a body of which something is still to come or to be written
    /// (RFC 9112, 8): only a reset tells the peer.
    pub fn is_cut_by_close(&self) -> bool {
        self.until_close && (self.writing == Writing::UntilClose || !self.outbound.is_empty())
    }

    /// Whether the current request was received to its end; still true when the connection closes after it.
    pub fn request_complete(&self) -> bool {
        match self.reading {
            Reading::Complete => true,
            Reading::Closed => self.ended_complete,
            Reading::Idle { .. } | Reading::Head(_) | Reading::Length(_) | Reading::Chunked(_) | Reading::UntilEof => {
                false
            }
        }
    }

    fn event_waits(&self) -> bool {
        self.event.is_some() || self.end_due
    }

    fn drop_events(&mut self) {
        self.event = None;
        self.end_due = false;
    }

    /// Says farewell to a peer that broke the protocol: with a page where an answer still has its place.
    fn violate(&mut self, violation: Violation, _now: Instant) {
        self.violation = Some(violation);
        self.drop_events();
        if self.is_server && !self.response_begun() {
            self.send_page(violation.what, violation.status, true);
        }
        self.close(violation.what);
    }

    fn close(&mut self, cause: Cause) {
        self.closing.get_or_insert(cause);
        self.ended_complete = self.request_complete();
        self.reading = Reading::Closed;
        self.deadline = None;
    }

    /// The message that is being sent is complete.
    fn finish_writing(&mut self, now: Instant) {
        self.writing = Writing::Complete;
        if !self.is_server {
            return;
        }
        self.drop_events();
        if self.last || self.going_away {
            return self.close(Cause::Complete);
        }
        let drain_bytes = self.settings.limits.drain_bytes;
        match self.reading {
            Reading::Complete => self.finish_exchange(now),
            Reading::Length(left) if left > drain_bytes as u64 => self.close(Cause::Complete),
            Reading::Length(_) | Reading::Chunked(_) => {
                self.discarding = Some(drain_bytes);
                self.arm(self.settings.limits.drain_timeout, now);
            }
            Reading::Idle { .. } | Reading::Head(_) | Reading::UntilEof | Reading::Closed => {}
        }
    }

    /// Both messages are complete: on to the next exchange.
    fn finish_exchange(&mut self, now: Instant) {
        if self.last || self.going_away {
            return self.close(Cause::Complete);
        }
        self.reading = Reading::Idle { blanks: 0 };
        self.writing = Writing::Idle;
        self.exchange = Exchange::UNKNOWN;
        self.added = None;
        self.discarding = None;
        self.paused = false;
        self.arm(self.settings.limits.keep_alive_timeout, now);
    }
}
