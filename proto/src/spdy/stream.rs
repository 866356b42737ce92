//! One stream: a message in each direction, and the windows between.
//!
//! ```text
//! receiving:  Head -> Body -> Complete
//! sending:    Waiting -> Length | Open -> Complete
//! ```
//!
//! A server's stream begins with its request received, a client's with its request sent. Of a pushed response one
//! direction is complete from the start. What is sent waits here until the peer's windows and the outbound rope have room.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;

use bytes::Bytes;

use super::head::Promise;
use crate::http::AddedField;
use crate::rope::{self, Rope};
use crate::time::Instant;

/// How far the message that is received has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Receiving {
    /// The response is awaited.
    Head,
    /// More of a body may come.
    Body,
    /// It is complete.
    Complete,
}

/// How far the message that is sent has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sending {
    /// The response's head is to come.
    Waiting,
    /// A body of which this many bytes are to come.
    Length(u64),
    /// A body whose end the sender tells.
    Open,
    /// Nothing more may be sent; something may still wait.
    Complete,
}

pub(super) struct Stream {
    pub(super) id: u32,
    /// 0 first.
    pub(super) priority: u8,
    pub(super) receiving: Receiving,
    pub(super) sending: Sending,
    /// The end of what is sent is in the outbound rope.
    pub(super) end_written: bool,
    /// It stands in the list of those that have something to write and a window for it.
    pub(super) is_listed: bool,
    /// What is received is a request: when it is answered, the rest of it is nobody's.
    pub(super) is_asked: bool,
    pub(super) is_head: bool,
    pub(super) wants_html: bool,
    /// Of a pushed response: the stream whose request it belongs to. Else 0.
    pub(super) associated: u32,
    /// Of a pushed response: what it answers, until the client was told.
    pub(super) promise: Option<Box<Promise>>,
    /// For the final response.
    pub(super) added: Option<Arc<AddedField>>,
    queue: VecDeque<Bytes>,
    queued: usize,
    /// Bytes that the peer takes. Below zero if it has taken some back.
    pub(super) send_window: i64,
    /// Bytes that the peer may send.
    pub(super) receive_window: i64,
    /// Bytes released of which the peer does not know.
    pub(super) released: usize,
    /// Body bytes that were given out and not released.
    pub(super) unreleased: usize,
    /// Body bytes that have come, or will with the frame that has begun.
    pub(super) body_begun: u64,
    /// Body bytes that may still come.
    pub(super) body_room: u64,
    /// Body bytes that have to come, if the head said.
    pub(super) length_left: Option<u64>,
    /// Bytes that waited and have left, not reported yet.
    pub(super) freed: usize,
    /// For the next piece of the body that is received.
    pub(super) body_deadline: Option<Instant>,
    /// For the window to let something through.
    pub(super) stall_deadline: Option<Instant>,
}

impl Stream {
    pub(super) fn new(id: u32, priority: u8, receiving: Receiving, sending: Sending) -> Self {
        Self {
            id,
            priority,
            receiving,
            sending,
            end_written: false,
            is_listed: false,
            is_asked: false,
            is_head: false,
            wants_html: false,
            associated: 0,
            promise: None,
            added: None,
            queue: VecDeque::new(),
            queued: 0,
            send_window: 0,
            receive_window: 0,
            released: 0,
            unreleased: 0,
            body_begun: 0,
            body_room: u64::MAX,
            length_left: None,
            freed: 0,
            body_deadline: None,
            stall_deadline: None,
        }
    }

    /// Bytes that wait.
    pub(super) fn queued(&self) -> usize {
        self.queued
    }

    /// Takes a piece of the message, which is not empty.
    pub(super) fn push(&mut self, piece: Bytes) {
        self.queued += piece.len();
        rope::gather(&mut self.queue, piece);
    }

    /// Moves the first `n` bytes that wait to `out`.
    pub(super) fn write(&mut self, mut n: usize, out: &mut Rope) {
        self.queued -= n;
        while n > 0 {
            let Some(piece) = self.queue.front_mut() else { return };
            let taken = if piece.len() > n { piece.split_to(n) } else { self.queue.pop_front().unwrap_or_default() };
            n -= taken.len();
            out.push(taken);
        }
        if self.queue.is_empty() {
            self.queue = VecDeque::new();
        }
    }

    /// The answer is given, and its request is not: what comes of it is thrown away.
    pub(super) fn is_discarding(&self) -> bool {
        self.is_asked && self.sending == Sending::Complete && self.receiving == Receiving::Body
    }

    /// Both directions are through.
    pub(super) fn is_over(&self) -> bool {
        self.receiving == Receiving::Complete && self.end_written
    }
}
