//! HTTP/2 (RFC 9113), the server's role, without a socket.
//!
//! A [`Connection`] takes the bytes that were read and yields [`Event`]s, each with its stream; a response, sent as the
//! same events that HTTP/1 takes, becomes bytes in its outbound rope. Requests show themselves as HTTP/1.1 would write
//! them: `:authority` is the Host field, crumbs of a cookie are one field, and so are the elements of a list. An extended
//! CONNECT for a WebSocket (RFC 8441) shows itself as a GET with an Upgrade field.
//!
//! ```text
//! bytes in -> guard (floods, resets) -> pipe -> the h2 crate -> events
//! sends -> a queue for each stream, as far as its window lets -> the h2 crate -> pipe (notes) -> bytes out
//! ```
//!
//! Frames, compression, windows and the life of streams are the work of the h2 crate, which runs here without a
//! runtime: it reads and writes memory and is polled by hand after each input and before each output. The guard counts
//! frames in front of it, since it tells of most of them to nobody, and notes are taken of what it writes by itself.
//!
//! Trailers of requests are dropped and counted, as HTTP/1 drops them; responses have none. Priorities are ignored (RFC
//! 9113, 5.3): streams take turns.

mod deadline;
mod drive;
mod frame;
mod guard;
mod head;
mod pipe;
mod send;
mod stream;
#[cfg(test)]
mod tests;

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;

pub use crate::http::{StreamEvent as Event, Tally};
pub use crate::http1::{Progress, SendError};
pub use frame::{ErrorCode, PREFACE};

use crate::error::{Cause, Violation};
use crate::http::{Settings, StreamId};
use crate::rope::Rope;
use crate::time::Instant;
use deadline::Phase;
use drive::Driver;
use guard::Guard;
use pipe::Pipe;
use stream::{Ready, Stream};

/// Input that is given to the protocol's machine at a time: what it makes of it is bounded by this.
const STEP: usize = 16 * 1024;

/// What a connection costs beside what is queued: buffers and tables of the protocol's machine.
const HELD_BY_CONNECTION: usize = 32 * 1024;

/// What a stream costs beside what is queued. The protocol's machine keeps the places of its streams for the next ones.
const HELD_BY_STREAM: usize = 1700;

/// One connection.
///
/// Give what was read to [`receive`](Self::receive), and drain [`poll_event`](Self::poll_event) to `None` after that
/// and after each write. Write from [`outbound`](Self::outbound) while [`has_outbound`](Self::has_outbound) says so, and
/// call [`handle_timeout`](Self::handle_timeout) when [`poll_timeout`](Self::poll_timeout) says. Once
/// [`is_closing`](Self::is_closing) names a cause all streams are over: close the connection when the outbound rope is
/// empty.
///
/// It needs the system's clock in one place, where the h2 crate forgets streams that were reset a second ago; nothing
/// else depends on it.
pub struct Connection {
    settings: Arc<Settings>,
    outbound: Rope,
    pipe: Pipe,
    driver: Driver,
    guard: Guard,
    /// Ascending by number.
    streams: VecDeque<Stream>,
    events: VecDeque<(StreamId, Event)>,
    /// Streams to look at.
    ready: Vec<u32>,
    woken: Arc<Ready>,
    /// Streams that the client has reset, until the protocol's machine has read of it.
    client_resets: Vec<(u32, ErrorCode)>,
    /// The highest stream that was accepted.
    last_accepted: u32,
    /// The most streams that were ever under way at a time.
    streams_most: usize,
    /// Bytes waiting in all streams.
    queued: usize,
    /// Bytes given out and not released, of all streams.
    unreleased: usize,
    tally: Tally,
    phase: Phase,
    phase_deadline: Option<Instant>,
    drain_deadline: Option<Instant>,
    /// Not later than the earliest deadline of a stream.
    stream_deadline: Option<Instant>,
    now: Instant,
    closing: Option<Cause>,
    violation: Option<Violation>,
    /// Something was sent, released or ended since the protocol's machine was polled.
    is_dirty: bool,
    /// The protocol's machine waits for the outbound rope to be drained.
    is_full: bool,
    /// The caller wants no further requests.
    is_draining: bool,
}

impl Connection {
    /// The server's side of a connection that was accepted at `now`. Its SETTINGS are in the outbound rope.
    pub fn server(settings: Arc<Settings>, now: Instant) -> Self {
        let pipe = Pipe::new();
        let driver = Driver::new(&settings.limits, pipe.clone());
        let mut connection = Self {
            phase_deadline: Some(now + settings.limits.head_timeout),
            settings,
            outbound: Rope::new(),
            pipe,
            driver,
            guard: Guard::new(),
            streams: VecDeque::new(),
            events: VecDeque::new(),
            ready: Vec::new(),
            woken: Arc::new(Ready::default()),
            client_resets: Vec::new(),
            last_accepted: 0,
            streams_most: 0,
            queued: 0,
            unreleased: 0,
            tally: Tally::default(),
            phase: Phase::Preface,
            drain_deadline: None,
            stream_deadline: None,
            now,
            closing: None,
            violation: None,
            is_dirty: false,
            is_full: false,
            is_draining: false,
        };
        connection.pump();
        connection
    }

    /// Takes bytes that the peer sent and returns how many; the caller keeps the rest and offers it again, followed
    /// by newer bytes. Takes nothing while [`room`](Self::room) is zero; takes and ignores everything once the
    /// connection is closing.
    pub fn receive(&mut self, data: &[u8], now: Instant) -> usize {
        self.now = now;
        let mut used = 0;
        while used < data.len() && self.closing.is_none() {
            let step = self.room().min(data.len() - used);
            if step == 0 {
                return used;
            }
            let piece = &data[used..used + step];
            used += step;
            let inspected = self.guard.inspect(piece, self.pipe.ends().inbound(), &self.settings.limits, now);
            self.client_resets.append(&mut self.guard.take_resets());
            self.pump();
            if let (Err(cause), None) = (inspected, self.closing) {
                self.violate(cause);
            }
        }
        if self.closing.is_some() { data.len() } else { used }
    }

    /// The peer has ended its sending direction: it has gone, and the connection closes.
    pub fn receive_eof(&mut self, now: Instant) {
        self.now = now;
        if self.closing.is_none() {
            let cause = if self.streams.is_empty() { Cause::Complete } else { Cause::ClientGone };
            self.close(cause);
        }
    }

    /// What happened.
    #[must_use]
    pub fn poll_event(&mut self) -> Option<(StreamId, Event)> {
        let event = self.events.pop_front();
        if self.events.is_empty() {
            self.events = VecDeque::new();
        }
        event
    }

    /// How many bytes are welcome: zero while events wait, or while the peer does not take what it is sent.
    pub fn room(&self) -> usize {
        if self.closing.is_some() {
            return STEP;
        }
        let waits = !self.events.is_empty() || self.is_held_back();
        if waits { 0 } else { STEP }
    }

    /// Whether nothing may be read for the sake of what has to be written first.
    fn is_held_back(&self) -> bool {
        self.outbound.len() >= pipe::OUT_HIGH || self.is_full
    }

    /// How many bytes of a stream's response are welcome: what its queue, and that of the connection, have room for.
    /// [`Event::Freed`] tells when there is more. Zero for a stream that is over.
    ///
    /// [`send`](Self::send) takes more than that, and keeps it: a source that cannot be asked to pause is cut by its
    /// caller, by [`stream_queued`](Self::stream_queued).
    pub fn stream_room(&self, stream: StreamId) -> usize {
        let Some(at) = self.find(stream.0) else { return 0 };
        let limits = &self.settings.limits;
        let of_stream = limits.h2_stream_queue.saturating_sub(self.streams[at].queued());
        of_stream.min(limits.write_queue_bytes.saturating_sub(self.queued))
    }

    /// Whether the connection as a whole has room for more of any stream's response. No event tells of it.
    pub fn has_room(&self) -> bool {
        self.queued < self.settings.limits.write_queue_bytes
    }

    /// Bytes of a stream's response that wait for the client's window.
    pub fn stream_queued(&self, stream: StreamId) -> usize {
        self.find(stream.0).map_or(0, |at| self.streams[at].queued())
    }

    /// Whether more of a stream's request is to come.
    pub fn is_receiving(&self, stream: StreamId) -> bool {
        self.find(stream.0).is_some_and(|at| self.streams[at].is_receiving())
    }

    /// The caller is done with `n` bytes of a request's body: the client may send as many more.
    pub fn release(&mut self, stream: StreamId, n: usize, now: Instant) {
        self.now = now;
        let Some(at) = self.find(stream.0) else { return };
        let stream = &mut self.streams[at];
        let before = stream.unreleased;
        stream.release(n);
        self.unreleased -= before - stream.unreleased;
        self.is_dirty = true;
        self.arm_body(at);
    }

    /// Lets no further request in; the connection closes when those under way are answered. Requests that the client
    /// has sent before it learns of this are still served (RFC 9113, 6.8).
    pub fn close_after_responses(&mut self, now: Instant) {
        self.now = now;
        if self.closing.is_some() || self.is_draining {
            return;
        }
        self.is_draining = true;
        self.is_dirty = true;
        self.drain_deadline = Some(now + self.settings.limits.drain_timeout);
    }

    /// Closes the connection for `cause`, with a GOAWAY that tells the client which requests were looked at. Streams
    /// under way are cut.
    pub fn close_now(&mut self, cause: Cause, now: Instant) {
        self.now = now;
        if self.closing.is_none() {
            self.say_farewell(cause, ErrorCode::NO_ERROR);
        }
    }

    /// Bytes to be written, brought up to date. Call [`Rope::advance`] for what was.
    pub fn outbound(&mut self) -> &mut Rope {
        if self.is_due() {
            self.pump();
        }
        &mut self.outbound
    }

    /// Whether [`outbound`](Self::outbound) is worth a call: bytes wait, or something may become bytes.
    pub fn has_outbound(&self) -> bool {
        !self.outbound.is_empty() || self.is_due()
    }

    /// Bytes waiting to be written, those included that wait for the client's windows.
    pub fn queued(&self) -> usize {
        self.outbound.len() + self.queued
    }

    /// Memory that the connection holds, about: queued bytes, streams, and the tables of the protocol.
    pub fn held(&self) -> usize {
        match self.closing {
            Some(_) => self.outbound.len(),
            None => HELD_BY_CONNECTION + self.streams_most * HELD_BY_STREAM + self.queued() + self.unreleased,
        }
    }

    /// Streams under way.
    pub fn streams(&self) -> usize {
        self.streams.len()
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

    /// Whether no stream is under way and no event waits.
    pub fn is_idle(&self) -> bool {
        self.streams.is_empty() && self.events.is_empty()
    }

    /// What no event tells, since the last call.
    pub fn take_tally(&mut self) -> Tally {
        core::mem::take(&mut self.tally)
    }

    /// Whether everything that was sent or released has become bytes, as far as it can.
    #[cfg(feature = "engine")]
    pub(crate) fn is_settled(&self) -> bool {
        self.closing.is_some() || !self.is_dirty
    }

    fn is_due(&self) -> bool {
        self.closing.is_none() && (self.is_dirty || (self.is_full && self.outbound.len() < pipe::OUT_HIGH / 2))
    }

    fn find(&self, stream: u32) -> Option<usize> {
        self.streams.binary_search_by_key(&stream, |stream| stream.id).ok()
    }

    /// Says farewell to a peer that broke the protocol.
    fn violate(&mut self, cause: Cause) {
        let violation = Violation::from(cause);
        self.violation = Some(violation);
        self.events = VecDeque::new();
        self.say_farewell(cause, deadline::error_code(cause));
    }

    /// Queues a GOAWAY, behind whatever is there: that ends with a whole frame.
    fn say_farewell(&mut self, cause: Cause, code: ErrorCode) {
        let debug = if code == ErrorCode::NO_ERROR { "" } else { cause.name() };
        let last = self.last_accepted;
        self.outbound.push_with(64, |out| frame::push_go_away(out, last, code, debug));
        self.close(cause);
    }

    fn close(&mut self, cause: Cause) {
        self.closing.get_or_insert(cause);
        self.driver = Driver::Closed;
        self.pipe = Pipe::new();
        self.streams = VecDeque::new();
        self.ready = Vec::new();
        self.client_resets = Vec::new();
        (self.queued, self.unreleased) = (0, 0);
        (self.phase_deadline, self.drain_deadline, self.stream_deadline) = (None, None, None);
    }
}
