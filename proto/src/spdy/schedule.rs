//! Whose turn it is to write: the highest priority first, streams of one priority in turns (draft 3, 2.3.3), each as far as
//! its window and the connection's let it.

use core::mem;

use bytes::Bytes;

use super::stream::{Receiving, Sending};
use super::{Connection, Event, OUT_TARGET};

/// Bytes that a stream writes before others of its priority have their turn.
const SHARE: usize = 16 * 1024;

impl Connection {
    /// Takes a piece of a stream's message, and writes it at once if nothing is in its way.
    pub(super) fn queue(&mut self, at: usize, piece: Bytes) {
        self.queued += piece.len();
        let stream = &mut self.streams[at];
        stream.push(piece);
        if self.ready.is_empty() && self.outbound.len() < OUT_TARGET && self.window_of(at) > 0 {
            return self.write_some(at, false);
        }
        self.list(at);
        if self.window_of(at) == 0 && self.streams[at].stall_deadline.is_none() {
            self.arm_stall(at);
        }
    }

    /// Notes that a stream has something to write, if it has, and a window for it.
    pub(super) fn list(&mut self, at: usize) {
        let has_windows = self.version.has_windows();
        let stream = &mut self.streams[at];
        if stream.is_listed || stream.queued() == 0 || has_windows && stream.send_window <= 0 {
            return;
        }
        stream.is_listed = true;
        let entry = (stream.priority, stream.id);
        let place = self.ready.partition_point(|(priority, _)| *priority <= entry.0);
        self.ready.insert(place, entry);
    }

    /// Fills the outbound rope from the streams' queues.
    pub(super) fn top_up(&mut self) {
        while self.is_due() {
            let Some((_, id)) = self.ready.pop_front() else { return };
            let Some(at) = self.find(id) else { continue };
            self.streams[at].is_listed = false;
            self.write_some(at, true);
        }
    }

    /// Bytes that a stream may send now.
    fn window_of(&self, at: usize) -> usize {
        let mut window = i64::MAX;
        if self.version.has_windows() {
            window = window.min(self.streams[at].send_window);
        }
        if self.is_bound() {
            window = window.min(self.send_window);
        }
        usize::try_from(window).unwrap_or(0)
    }

    /// Writes a share of what waits in a stream, in one frame; `in_turn` if it stood in the list.
    fn write_some(&mut self, at: usize, in_turn: bool) {
        let writer = self.writer();
        let window = self.window_of(at);
        let stream = &mut self.streams[at];
        let before = stream.queued();
        let n = before.min(window).min(SHARE);
        let is_last = n == before && stream.sending == Sending::Complete;
        let id = stream.id;
        if is_last && self.promises > 0 {
            self.tell_promises(Some(id));
        }
        let stream = &mut self.streams[at];
        if n > 0 {
            self.outbound.push_with(8, |out| writer.data_head(out, id, is_last, n));
            stream.write(n, &mut self.outbound);
            stream.send_window -= n as i64;
            self.send_window -= if self.version.has_connection_window() { n as i64 } else { 0 };
            self.queued -= n;
            self.guard.sent_data(&self.settings.limits);
            self.data_written_at = self.now;
        }
        let had_waited = stream.stall_deadline.is_some();
        // Without having waited for the window it is worth a word only if it had used up much of its room, or if what stood
        // behind others is all written: nothing later would tell.
        let is_done = in_turn && n == before;
        if had_waited || is_done || before > self.settings.limits.h2_stream_queue / 2 {
            stream.freed += n;
        }
        let freed = mem::take(&mut stream.freed);
        if freed > 0 && stream.sending != Sending::Complete {
            self.push_event(id, Event::Freed(freed));
        }
        if self.is_bound() && self.send_window <= 0 {
            self.ask_version();
        }
        if is_last {
            return self.end_is_written(at);
        }
        if n > 0 {
            self.streams[at].stall_deadline = None;
        }
        self.list(at);
        if n < before && self.window_of(at) == 0 && self.streams[at].stall_deadline.is_none() {
            self.arm_stall(at);
        }
        if self.is_bound() && self.send_window <= 0 {
            self.arm_ready();
        }
    }

    /// The connection's window is shut: all wait for it who have something to write.
    pub(super) fn arm_ready(&mut self) {
        for place in 0..self.ready.len() {
            let at = self.find(self.ready[place].1);
            if let Some(at) = at.filter(|at| self.streams[*at].stall_deadline.is_none()) {
                self.arm_stall(at);
            }
        }
    }

    /// The end of a stream's message is in the outbound rope. A request that is not complete by now may go on for a while,
    /// for nobody.
    pub(super) fn end_is_written(&mut self, at: usize) {
        let stream = &mut self.streams[at];
        stream.end_written = true;
        stream.stall_deadline = None;
        if stream.is_over() {
            return self.remove(at);
        }
        if self.is_server && stream.receiving == Receiving::Body {
            self.arm_drain(at);
        }
    }
}
