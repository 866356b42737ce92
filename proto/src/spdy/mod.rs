//! SPDY/2, SPDY/3 and SPDY/3.1 (the drafts of Chromium's SPDY project), both roles, without a socket.
//!
//! A [`Connection`] takes the bytes that were read and yields [`Event`]s, each with its stream; what is sent, as the same
//! parts of messages that HTTP/1 takes, becomes bytes in its outbound rope. Requests show themselves as HTTP/1.1 would write
//! them: the host is the Host field, values that a NUL joins are a list, crumbs of a cookie are one field.
//!
//! ```text
//! bytes in -> frames -> header blocks, decompressed -> heads and pieces of bodies -> events
//! sends -> heads at once; bodies in a queue for each stream -> by priority, as far as the windows let -> bytes out
//! ```
//!
//! Streams of one priority take turns; a higher one goes first (draft 3, 2.3.3). SPDY/2 has no windows, and SPDY/3 none for
//! the connection: there reading pauses while as much was given out and not released as the connection's window would be,
//! see [`room`](Connection::room).
//!
//! Nothing but the connection's window tells SPDY/3 from SPDY/3.1: [`Connection::server_in_doubt`] is for clients that have
//! not negotiated it.
//!
//! Interim responses have no place in SPDY and are left out. Trailers of requests are dropped and counted, as HTTP/1 drops
//! them. Settings that a peer asks to keep are not kept, and those that it brings back are ignored. Certificates within
//! SPDY/3 (CREDENTIAL) are refused.
//!
//! # What a connection costs
//!
//! Both header compressors live as long as their connection: the protocol has no way to start them anew. Each is made when
//! it is first needed. Compressing takes 8 to 12 KiB, more only while it works on a large head; decompressing 46 KiB: whoever
//! serves 10,000 clients of SPDY needs half a gigabyte for them.

mod block;
mod books;
mod data;
mod deadline;
mod deflate;
mod dictionary;
mod doubt;
mod end;
mod flow;
mod frame;
mod head;
mod receive;
mod schedule;
mod send;
mod stream;
mod syn;
#[cfg(test)]
mod tests;

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;

pub use crate::http::{StreamEvent as Event, Tally};
pub use crate::http1::{Progress, SendError};
pub use frame::{StatusCode, Version};
pub use send::Priority;

use crate::error::{Cause, Violation};
use crate::http::{Settings, StreamId};
use crate::rope::Rope;
use crate::time::{Duration, Instant};
use deadline::Phase;
use deflate::{Deflater, INFLATER_BYTES, Inflater};
use doubt::Doubt;
use frame::{INITIAL_WINDOW_SIZE, MAX_31, MAX_CONCURRENT_STREAMS, WINDOW, Writer};
use receive::{Guard, Reading};
use stream::{Receiving, Stream};

/// Input that is worked on at a time.
const STEP: usize = 16 * 1024;

/// The outbound rope is filled up to this from the streams' queues: what is in it is not overtaken any more.
const OUT_TARGET: usize = 64 * 1024;

/// With this much in the outbound rope nothing is read that could ask for more.
const OUT_HIGH: usize = 2 * OUT_TARGET;

/// What a stream costs beside what is queued.
const HELD_BY_STREAM: usize = size_of::<Stream>();

/// One connection.
///
/// Give what was read to [`receive`](Self::receive), and drain [`poll_event`](Self::poll_event) to `None` after that
/// and after each write. Write from [`outbound`](Self::outbound) while [`has_outbound`](Self::has_outbound) says so, and
/// call [`handle_timeout`](Self::handle_timeout) when [`poll_timeout`](Self::poll_timeout) says. Once
/// [`is_closing`](Self::is_closing) names a cause all streams are over: close the connection when the outbound rope is
/// empty.
pub struct Connection {
    settings: Arc<Settings>,
    version: Version,
    doubt: Doubt,
    is_server: bool,
    outbound: Rope,
    inflater: Option<Inflater>,
    deflater: Option<Deflater>,
    guard: Guard,
    reading: Reading,
    /// A header block, as far as it is decompressed.
    block: Vec<u8>,
    /// How many blocks have begun.
    blocks: u32,
    /// Bytes of the block that were too many, and are not kept.
    block_over: usize,
    /// Pieces of a body that came one behind the other, and their stream.
    gathered: (u32, Vec<u8>),
    /// Ascending by number.
    streams: VecDeque<Stream>,
    events: VecDeque<(StreamId, Event)>,
    /// Bytes of heads and bodies in the events that one call has made.
    event_bytes: usize,
    /// Streams with something to write, by priority, and in turns within it.
    ready: VecDeque<(u8, u32)>,
    /// The highest stream that the peer has opened.
    last_opened: u32,
    /// The highest of them that was looked at.
    last_accepted: u32,
    /// The next stream of ours.
    next_stream: u32,
    /// Streams that we may have open.
    peer_streams: u32,
    /// What the peer's windows begin with.
    peer_window: i64,
    /// Bytes that the peer takes on the connection, in SPDY/3.1.
    send_window: i64,
    /// Bytes that the peer may send on the connection, in SPDY/3.1.
    receive_window: i64,
    /// Bytes released of which the peer does not know.
    released: usize,
    /// Bytes waiting in all streams.
    queued: usize,
    /// Bytes given out and not released, of all streams.
    unreleased: usize,
    /// Pushed responses of which the client was not told yet.
    promises: usize,
    tally: Tally,
    /// Our PING that was not answered.
    pinged: Option<(u32, Instant)>,
    next_ping: u32,
    round_trip: Option<Duration>,
    phase: Phase,
    phase_deadline: Option<Instant>,
    /// When a piece of any stream's message left last.
    data_written_at: Instant,
    /// Not later than the earliest deadline of a stream.
    stream_deadline: Option<Instant>,
    now: Instant,
    closing: Option<Cause>,
    violation: Option<Violation>,
    /// The peer has sent a frame.
    is_greeted: bool,
    /// The caller wants no further streams.
    is_draining: bool,
    /// The peer wants none.
    is_left: bool,
}

impl Connection {
    /// The server's side of a connection that was accepted at `now`. Its SETTINGS are in the outbound rope.
    pub fn server(version: Version, settings: Arc<Settings>, now: Instant) -> Self {
        let head_timeout = settings.limits.head_timeout;
        let mut connection = Self::new(version, settings, true, now);
        connection.phase_deadline = Some(now + head_timeout);
        connection
    }

    /// The client's side. Its SETTINGS are in the outbound rope. It has no deadlines of its own but for windows that stay
    /// shut.
    pub fn client(version: Version, settings: Arc<Settings>, now: Instant) -> Self {
        Self::new(version, settings, false, now)
    }

    fn new(version: Version, settings: Arc<Settings>, is_server: bool, now: Instant) -> Self {
        let mut connection = Self {
            version,
            doubt: Doubt::Settled,
            is_server,
            outbound: Rope::new(),
            inflater: None,
            deflater: None,
            guard: Guard::default(),
            reading: Reading::Head,
            block: Vec::new(),
            blocks: 0,
            block_over: 0,
            gathered: (0, Vec::new()),
            streams: VecDeque::new(),
            events: VecDeque::new(),
            event_bytes: 0,
            ready: VecDeque::new(),
            last_opened: 0,
            last_accepted: 0,
            next_stream: if is_server { 2 } else { 1 },
            peer_streams: u32::MAX,
            peer_window: WINDOW as i64,
            send_window: WINDOW as i64,
            receive_window: WINDOW as i64,
            released: 0,
            queued: 0,
            unreleased: 0,
            promises: 0,
            tally: Tally::default(),
            pinged: None,
            next_ping: if is_server { 2 } else { 1 },
            round_trip: None,
            phase: Phase::Greeting,
            phase_deadline: None,
            data_written_at: now,
            stream_deadline: None,
            now,
            closing: None,
            violation: None,
            is_greeted: false,
            is_draining: false,
            is_left: false,
            settings,
        };
        connection.greet();
        connection
    }

    /// Tells the peer how many streams it may open and how large their windows are.
    fn greet(&mut self) {
        let (writer, window) = (self.writer(), self.window());
        let streams = (MAX_CONCURRENT_STREAMS, u32::try_from(self.settings.limits.h2_streams).unwrap_or(u32::MAX));
        let settings = [streams, (INITIAL_WINDOW_SIZE, window as u32)];
        let settings = if self.version.has_windows() { &settings[..] } else { &settings[..1] };
        let more = (self.connection_window() - WINDOW) as u32;
        let has_more = self.version.has_connection_window() && more > 0;
        self.outbound.push_with(64, |out| {
            writer.settings(out, settings);
            if has_more {
                writer.window_update(out, 0, more);
            }
        });
        if has_more {
            self.receive_window += i64::from(more);
        }
    }

    /// A stream's window. A peer that has not read our SETTINGS takes 64 KiB for granted.
    fn window(&self) -> usize {
        self.settings.limits.h2_stream_window.clamp(WINDOW, MAX_31 as usize)
    }

    /// What all streams together may have given out and not released.
    fn connection_window(&self) -> usize {
        self.settings.limits.h2_connection_window.clamp(WINDOW, MAX_31 as usize)
    }

    /// The version that is spoken, as far as it is known.
    pub fn version(&self) -> Version {
        if self.doubt == Doubt::Guessed { Version::V3 } else { self.version }
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

    /// How many bytes are welcome: zero while events wait, while the peer does not take what it is sent, and, where the
    /// connection has no window, while too much was given out that is not [released](Self::release): offer the rest again
    /// behind the call that changes one of these.
    pub fn room(&self) -> usize {
        if self.closing.is_some() {
            return STEP;
        }
        if self.events.is_empty() && !self.is_held_back() { STEP } else { 0 }
    }

    /// Whether nothing may be read for the sake of what has to be written, or released, first.
    fn is_held_back(&self) -> bool {
        self.outbound.len() >= OUT_HIGH || self.is_hoarding()
    }

    /// Whether as much was given out, and not released, as a connection's window would let.
    fn is_hoarding(&self) -> bool {
        !self.has_sure_window() && self.unreleased >= self.connection_window()
    }

    /// How many bytes of a stream's message are welcome: what its queue, and that of the connection, have room for.
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

    /// Whether the connection as a whole has room for more of any stream's message. No event tells of it.
    pub fn has_room(&self) -> bool {
        self.queued < self.settings.limits.write_queue_bytes
    }

    /// Bytes of a stream's message that wait for the peer's window, or their turn.
    pub fn stream_queued(&self, stream: StreamId) -> usize {
        self.find(stream.0).map_or(0, |at| self.streams[at].queued())
    }

    /// Whether more of a stream's message is to come from the peer.
    pub fn is_receiving(&self, stream: StreamId) -> bool {
        self.find(stream.0).is_some_and(|at| self.streams[at].receiving != Receiving::Complete)
    }

    /// Bytes to be written, brought up to date. Call [`Rope::advance`] for what was.
    pub fn outbound(&mut self) -> &mut Rope {
        if self.is_due() {
            self.top_up();
            self.check_books();
        }
        &mut self.outbound
    }

    /// Whether [`outbound`](Self::outbound) is worth a call: bytes wait, or something may become bytes.
    pub fn has_outbound(&self) -> bool {
        !self.outbound.is_empty() || self.is_due()
    }

    /// Bytes waiting to be written, those included that wait for the peer's windows.
    pub fn queued(&self) -> usize {
        self.outbound.len() + self.queued
    }

    /// Memory that the connection holds, about: queued bytes, streams, and both header compressors.
    pub fn held(&self) -> usize {
        let inflater = self.inflater.as_ref().map_or(0, |_| INFLATER_BYTES);
        let compressors = inflater + self.deflater.as_ref().map_or(0, Deflater::held);
        compressors + self.block.capacity() + self.streams.len() * HELD_BY_STREAM + self.queued() + self.unreleased
    }

    /// Streams under way.
    pub fn streams(&self) -> usize {
        self.streams.len()
    }

    /// The stream whose request a pushed response belongs to; none for any other stream.
    pub fn associated(&self, stream: StreamId) -> Option<StreamId> {
        let associated = self.streams[self.find(stream.0)?].associated;
        (associated != 0).then_some(StreamId(associated))
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

    /// Asks the peer for a sign of life, unless it was asked and has not answered.
    pub fn ping(&mut self, now: Instant) {
        self.now = now;
        if self.closing.is_some() || self.pinged.is_some() {
            return;
        }
        self.pinged = Some((self.write_ping(), now));
    }

    fn write_ping(&mut self) -> u32 {
        let (writer, id) = (self.writer(), self.next_ping);
        // The side of a PING is told by its lowest bit (draft 3, 2.6.5).
        self.next_ping = self.next_ping.wrapping_add(2);
        self.outbound.push_with(16, |out| writer.ping(out, id));
        id
    }

    /// How long the peer took for the last [`ping`](Self::ping) that it answered.
    pub fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }

    /// Whether everything that was sent or released has become bytes, as far as it can.
    pub fn is_settled(&self) -> bool {
        !self.is_due()
    }

    /// Whether the queue of a stream may go on into the outbound rope.
    fn is_due(&self) -> bool {
        let has_window = !self.is_bound() || self.send_window > 0;
        has_window && !self.ready.is_empty() && self.outbound.len() < OUT_TARGET
    }

    fn writer(&self) -> Writer {
        Writer { version: self.version }
    }

    fn find(&self, stream: u32) -> Option<usize> {
        self.streams.binary_search_by_key(&stream, |stream| stream.id).ok()
    }

    fn insert(&mut self, stream: Stream) -> usize {
        let at = self.streams.partition_point(|other| other.id < stream.id);
        self.streams.insert(at, stream);
        at
    }

    fn push_event(&mut self, stream: u32, event: Event) {
        self.events.push_back((StreamId(stream), event));
    }
}
