//! What machines tell whose connections carry many streams, HTTP/2 and SPDY alike.

use super::Event;
use crate::error::{Cause, Violation};

/// Something that happened on a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamEvent {
    /// A part of a request: its head, a piece of its body, its end.
    Part(Event),
    /// This many bytes have left that had to wait for the client's window, used up much of the stream's room, or were the
    /// last that waited for their turn: its machine tells how much there is now.
    Freed(usize),
    /// The stream is over before its time: the client reset it, broke a rule, or passed a limit or deadline. What there
    /// is to answer is queued; nothing more may be sent. Of an answer that was sent to its end only one such end is
    /// reported, [`Cause::WindowStall`].
    Cut(Cause),
    /// A request was refused without being shown; its answer is queued.
    Refused(Violation),
}

/// What a connection has seen that no event tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Requests, refused ones included.
    pub requests: u64,
    /// Requests that were taken back before they were shown.
    pub taken_back: u64,
    /// Requests whose trailers were dropped: nodes have no place for them.
    pub trailers_dropped: u64,
    /// Pushed requests.
    pub pushes: u64,
}
