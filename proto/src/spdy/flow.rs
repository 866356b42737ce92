//! Windows: how much each side may send, for a stream and, in SPDY/3.1, for the connection (draft 3, 2.6.8).

use core::mem;

use super::Connection;
use super::doubt::Doubt;
use super::frame::{MAX_31, StatusCode};
use super::stream::{Receiving, Sending};
use crate::error::Cause;
use crate::http::StreamId;
use crate::time::Instant;

/// Whether a window is larger than any may be.
fn is_too_large(window: i64) -> bool {
    window > i64::from(MAX_31)
}

impl Connection {
    /// All streams' windows move by as much (draft 3, 2.6.8).
    pub(super) fn on_initial_window(&mut self, value: u32) -> Result<(), Cause> {
        let moved = i64::from(value) - self.peer_window;
        self.peer_window = i64::from(value);
        if is_too_large(self.peer_window) {
            return Err(Cause::WindowExceeded);
        }
        for at in 0..self.streams.len() {
            self.streams[at].send_window += moved;
            if is_too_large(self.streams[at].send_window) {
                return Err(Cause::WindowExceeded);
            }
            self.list(at);
        }
        Ok(())
    }

    pub(super) fn on_window_update(&mut self, id: u32, delta: u32) -> Result<(), Cause> {
        if !self.version.has_windows() {
            return Ok(());
        }
        if id == 0 {
            if !self.version.has_connection_window() {
                return Ok(());
            }
            let was_bound = self.is_bound();
            self.doubt = Doubt::Settled;
            self.send_window += i64::from(delta);
            if !was_bound && self.send_window <= 0 {
                self.arm_ready();
            }
            return match delta {
                0 => Err(Cause::FramingMalformed),
                _ if is_too_large(self.send_window) => Err(Cause::WindowExceeded),
                _ => Ok(()),
            };
        }
        // Of a stream that is over it is to be ignored.
        let Some(at) = self.find(id) else { return Ok(()) };
        let stream = &mut self.streams[at];
        stream.send_window += i64::from(delta);
        if delta == 0 {
            return self.stream_error(id, Cause::FramingMalformed, StatusCode::PROTOCOL_ERROR);
        }
        if is_too_large(stream.send_window) {
            return self.stream_error(id, Cause::WindowExceeded, StatusCode::FLOW_CONTROL_ERROR);
        }
        self.list(at);
        Ok(())
    }

    /// The caller is done with `n` bytes of a stream's body: the peer may send as many more.
    pub fn release(&mut self, stream: StreamId, n: usize, now: Instant) {
        self.now = now;
        let Some(at) = self.find(stream.0) else { return };
        let stream = &mut self.streams[at];
        let n = n.min(stream.unreleased);
        stream.unreleased -= n;
        self.unreleased -= n;
        self.give_back(n);
        self.open_window(at, n);
        self.arm_body(at);
        self.check_books();
    }

    /// The answer is given: nobody will release what came of its request, which must not hold anything back, and until all
    /// of it is written nobody waits for the rest.
    pub(super) fn release_rest(&mut self, id: u32) {
        let Some(at) = self.find(id) else { return };
        let stream = &mut self.streams[at];
        if !stream.is_asked || stream.sending != Sending::Complete {
            return;
        }
        if !stream.end_written {
            stream.body_deadline = None;
        }
        let unreleased = stream.unreleased;
        if unreleased > 0 {
            self.release(StreamId(id), unreleased, self.now);
        }
    }

    /// The peer may send `n` more bytes on a stream; it is told when they are worth a frame.
    pub(super) fn open_window(&mut self, at: usize, n: usize) {
        let (window, writer) = (self.window(), self.writer());
        let stream = &mut self.streams[at];
        if !self.version.has_windows() || stream.receiving != Receiving::Body {
            return;
        }
        stream.released += n;
        if stream.released < window / 2 {
            return;
        }
        let delta = mem::take(&mut stream.released);
        stream.receive_window += delta as i64;
        let id = stream.id;
        self.outbound.push_with(16, |out| writer.window_update(out, id, delta as u32));
    }

    /// The peer may send `n` more bytes on the connection.
    pub(super) fn give_back(&mut self, n: usize) {
        if !self.version.has_connection_window() || self.closing.is_some() {
            return;
        }
        self.released += n;
        if self.released >= self.connection_window() / 2 {
            let (writer, delta) = (self.writer(), mem::take(&mut self.released));
            self.receive_window += delta as i64;
            self.outbound.push_with(16, |out| writer.window_update(out, 0, delta as u32));
        }
    }
}
