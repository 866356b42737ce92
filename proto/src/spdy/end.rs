//! How streams and connections end.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::frame::{Farewell, StatusCode};
use super::stream::{Receiving, Sending, Stream};
use super::{Connection, Event};
use crate::error::Cause;
use crate::time::Instant;

impl Connection {
    /// The peer has ended its sending direction: it has gone, and the connection closes.
    pub fn receive_eof(&mut self, now: Instant) {
        self.now = now;
        if self.closing.is_none() {
            let cause = if self.streams.is_empty() { Cause::Complete } else { Cause::ClientGone };
            self.close(cause);
        }
    }

    /// Lets no further stream in; the connection closes when those under way are through. The peer is told at once which
    /// of its streams are served, so it may safely repeat those that it sends before it learns of this: they are refused.
    pub fn close_after_responses(&mut self, now: Instant) {
        self.now = now;
        if self.closing.is_some() || self.is_draining {
            return;
        }
        self.is_draining = true;
        let (writer, last_good) = (self.writer(), self.last_accepted);
        self.outbound.push_with(16, |out| writer.go_away(out, last_good, Farewell::Ok));
        if self.streams.is_empty() {
            self.close(Cause::Complete);
        }
    }

    /// Closes the connection for `cause`, with a GOAWAY that tells the peer which of its streams were looked at. Streams
    /// under way are cut.
    pub fn close_now(&mut self, cause: Cause, now: Instant) {
        self.now = now;
        if self.closing.is_none() {
            self.say_farewell(cause, Farewell::Ok);
        }
    }

    /// Ends a stream before its time, and says so if what the caller waits for was not complete, or never will be taken;
    /// `code` is for the peer, where it does not know.
    pub(super) fn cut(&mut self, stream: u32, cause: Cause, code: Option<StatusCode>) {
        let Some(at) = self.find(stream) else { return };
        if let Some(code) = code {
            self.tell_end(at, code);
        }
        let stream = &self.streams[at];
        let is_awaited =
            if self.is_server { stream.sending != Sending::Complete } else { stream.receiving != Receiving::Complete };
        if is_awaited || cause == Cause::WindowStall {
            self.push_gathered();
            self.push_event(self.streams[at].id, Event::Cut(cause));
        }
        self.remove(at);
    }

    /// Tells the peer that a stream is over: behind the promises that belong to it, which its end would shut out, and not
    /// if it is a promise of which the peer has not heard.
    pub(super) fn tell_end(&mut self, at: usize, code: StatusCode) {
        let Stream { id, promise, .. } = &self.streams[at];
        if promise.is_none() {
            let id = *id;
            self.tell_promises(Some(id));
            self.write_reset(id, code);
        }
    }

    pub(super) fn write_reset(&mut self, stream: u32, code: StatusCode) {
        let writer = self.writer();
        self.outbound.push_with(16, |out| writer.reset(out, stream, code));
    }

    /// Forgets a stream. What the caller holds of it no longer counts against the connection's window.
    pub(super) fn remove(&mut self, at: usize) {
        let Some(stream) = self.streams.remove(at) else { return };
        self.queued -= stream.queued();
        self.unreleased -= stream.unreleased;
        self.promises -= usize::from(stream.promise.is_some());
        if stream.is_listed {
            self.ready.retain(|(_, id)| *id != stream.id);
        }
        self.give_back(stream.unreleased);
        if self.streams.is_empty() {
            self.streams = VecDeque::new();
            self.ready = VecDeque::new();
            self.stream_deadline = None;
            if self.open_block().is_none() {
                self.block = Vec::new();
            }
            if self.is_draining || self.is_left {
                return self.close(Cause::Complete);
            }
        }
        self.update_phase();
    }

    /// Says farewell to a peer that broke the protocol.
    pub(super) fn violate(&mut self, cause: Cause) {
        self.violation = Some(cause.into());
        self.events = VecDeque::new();
        self.say_farewell(cause, Farewell::ProtocolError);
    }

    /// Queues a GOAWAY, behind whatever is there: that ends with a whole frame.
    pub(super) fn say_farewell(&mut self, cause: Cause, why: Farewell) {
        let (writer, last_good) = (self.writer(), self.last_accepted);
        self.outbound.push_with(16, |out| writer.go_away(out, last_good, why));
        self.close(cause);
    }

    pub(super) fn close(&mut self, cause: Cause) {
        self.closing.get_or_insert(cause);
        (self.inflater, self.deflater) = (None, None);
        (self.block, self.gathered) = (Vec::new(), (0, Vec::new()));
        (self.streams, self.ready) = (VecDeque::new(), VecDeque::new());
        (self.queued, self.unreleased, self.promises) = (0, 0, 0);
        (self.phase_deadline, self.stream_deadline) = (None, None);
    }
}
