//! What always holds between two calls, checked where debugging is on: sums are right, and whatever waits has its deadline.

use super::Connection;
use super::stream::{Receiving, Sending, Stream};

impl Connection {
    /// # Panics
    /// If the books are wrong.
    pub(super) fn check_books(&self) {
        if !cfg!(debug_assertions) {
            return;
        }
        assert!(self.gathered.1.is_empty(), "pieces become events before the caller looks");
        assert_eq!(self.queued, self.streams.iter().map(Stream::queued).sum::<usize>(), "what waits");
        assert_eq!(
            self.unreleased,
            self.streams.iter().map(|stream| stream.unreleased).sum::<usize>(),
            "what was given out"
        );
        let untold = self.streams.iter().filter(|stream| stream.promise.is_some()).count();
        assert_eq!(self.promises, untold, "promises that were not told");
        assert!(self.streams.iter().is_sorted_by(|one, other| one.id < other.id), "streams ascend");
        assert!(self.ready.iter().is_sorted_by_key(|(priority, _)| *priority), "the most urgent is first");
        let listed = self.streams.iter().filter(|stream| stream.is_listed).count();
        assert_eq!(self.ready.len(), listed, "each that is listed stands there once");
        for (priority, id) in &self.ready {
            let stream = self.find(*id).map(|at| &self.streams[at]);
            assert!(stream.is_some_and(|stream| stream.is_listed && stream.priority == *priority), "{id} is there");
        }
        for at in 0..self.streams.len() {
            self.check_stream(at);
        }
        if self.closing.is_some() {
            assert!(self.streams.is_empty() && self.poll_timeout().is_none(), "all is over");
        } else if self.is_server {
            assert!(
                !self.streams.is_empty() || self.phase_deadline.is_some(),
                "a client is not waited for without end"
            );
        }
    }

    fn check_stream(&self, at: usize) {
        let stream = &self.streams[at];
        let id = stream.id;
        assert!(!stream.is_over(), "{id} is under way");
        let waits = stream.queued() > 0;
        assert!(
            !stream.end_written || !waits && stream.sending == Sending::Complete,
            "nothing is behind the end of {id}"
        );
        assert!(waits || !stream.is_listed, "{id} has something to write");
        let has_window = !self.version.has_windows() || stream.send_window > 0;
        assert!(!waits || !has_window || stream.is_listed, "{id} is listed");
        // One that is listed, and whose window was taken back, is found at its turn.
        let is_shut = self.is_bound() && self.send_window <= 0;
        let has_turn = stream.is_listed && !is_shut;
        assert!(!waits || has_turn || stream.stall_deadline.is_some(), "{id} has a deadline for its window");
        let drains = stream.is_discarding() && stream.end_written;
        let is_awaited = stream.receiving == Receiving::Body && !stream.is_discarding() && stream.unreleased == 0;
        let has_deadline = stream.body_deadline.is_some();
        assert!(!self.is_server || has_deadline == (drains || is_awaited), "{id} has a deadline for its body");
        for deadline in [stream.stall_deadline, stream.body_deadline].into_iter().flatten() {
            assert!(self.stream_deadline.is_some_and(|earliest| earliest <= deadline), "{id} is not forgotten");
        }
    }
}
