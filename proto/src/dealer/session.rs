//! What waits for a session's credit.

use alloc::boxed::Box;
use alloc::collections::VecDeque;

use bytes::Bytes;

use crate::message::Kind;

/// What a queued message is charged besides its body, so that empty ones are bounded too.
const MESSAGE_COST: usize = 64;

/// A message on its way to the server.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Outgoing {
    pub(super) kind: Kind,
    /// The whole type frame, if it has a route: the message is not for this session's client.
    pub(super) routed: Option<Box<[u8]>>,
    pub(super) body: Bytes,
}

impl Outgoing {
    fn cost(&self) -> usize {
        MESSAGE_COST + self.routed.as_ref().map_or(0, |frame| frame.len()) + self.body.len()
    }
}

/// A session of a node with flow control.
#[derive(Debug, Default)]
pub(super) struct Session {
    /// Bytes for the client that may leave now; below zero after a message that left whole and was larger.
    credit: i64,
    queue: VecDeque<Outgoing>,
    queued: usize,
    /// Pushed answers whose ends are to come.
    pushes: u32,
    is_over: bool,
}

impl Session {
    /// Whether nothing more is taken: the message that ends it has been queued, or nobody wants to know of it any more.
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// What the queue is charged.
    pub(super) fn queued(&self) -> usize {
        self.queued
    }

    pub(super) fn room(&self, max: usize) -> usize {
        max.saturating_sub(self.queued)
    }

    /// Whether the queue takes `body`: it fits, or nothing is in its way.
    pub(super) fn takes(&self, body: &Bytes, max: usize) -> bool {
        self.is_empty() || body.len() <= self.room(max)
    }

    /// Takes note of a message that is about to leave and says whether it may do so now: nothing waits before it, and
    /// the credit lets all of it pass. Otherwise [`push`](Self::push) it.
    pub(super) fn passes(&mut self, kind: Kind, is_routed: bool, len: usize) -> bool {
        let passes = self.is_empty() && self.allowance(kind, is_routed, len) == Some(len);
        if passes {
            self.spend(kind, is_routed, len);
            self.note(kind, is_routed);
        }
        passes
    }

    /// Queues a message and returns what it is charged.
    pub(super) fn push(&mut self, message: Outgoing) -> usize {
        self.note(message.kind, message.routed.is_some());
        let cost = message.cost();
        self.queued += cost;
        self.queue.push_back(message);
        cost
    }

    /// Takes note of what a message says of the session. No `end` comes in answer to a `retry`.
    fn note(&mut self, kind: Kind, is_routed: bool) {
        if is_routed {
            return;
        }
        if kind == Kind::Push {
            self.pushes += 1;
        } else if kind == Kind::End && self.pushes > 0 {
            self.pushes -= 1;
        } else if matches!(kind, Kind::End | Kind::SocketIoEnd | Kind::Retry) {
            self.is_over = true;
        }
    }

    pub(super) fn finish(&mut self) {
        self.is_over = true;
    }

    pub(super) fn grant(&mut self, bytes: u64) {
        self.credit = self.credit.saturating_add(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// Takes the next message, or as much of it as the credit allows, and what the queue is charged less.
    pub(super) fn pop(&mut self) -> Option<(Outgoing, usize)> {
        let next = self.queue.front()?;
        let (kind, is_routed, len) = (next.kind, next.routed.is_some(), next.body.len());
        let allowed = self.allowance(kind, is_routed, len)?;
        self.spend(kind, is_routed, allowed);
        if allowed < len {
            let body = self.queue.front_mut()?.body.split_to(allowed);
            self.queued -= allowed;
            return Some((Outgoing { kind, routed: None, body }, allowed));
        }
        let message = self.queue.pop_front()?;
        let cost = message.cost();
        self.queued -= cost;
        Some((message, cost))
    }

    /// How much of a message of `len` bytes may leave now; `None` if it has to wait.
    fn allowance(&self, kind: Kind, is_routed: bool, len: usize) -> Option<usize> {
        let may_pass = len == 0 || self.credit > 0;
        match weight(kind, is_routed) {
            Weight::None => Some(len),
            Weight::Whole => may_pass.then_some(len),
            Weight::Bytes => may_pass.then(|| usize::try_from(self.credit).map_or(0, |credit| credit.min(len))),
        }
    }

    fn spend(&mut self, kind: Kind, is_routed: bool, len: usize) {
        match weight(kind, is_routed) {
            Weight::None => {}
            Weight::Whole | Weight::Bytes => self.credit = self.credit.saturating_sub_unsigned(len as u64),
        }
    }
}

/// How a message counts against the credit.
enum Weight {
    /// Not at all.
    None,
    /// Its body counts, and leaves whole as long as any credit is left: it is of no use in halves.
    Whole,
    /// Its body counts, and can be cut anywhere.
    Bytes,
}

/// What goes to others has no weight: it is not this session's client that must take it.
fn weight(kind: Kind, is_routed: bool) -> Weight {
    if is_routed {
        return Weight::None;
    }
    match kind {
        Kind::Headers | Kind::Uwsgi | Kind::Push => Weight::Whole,
        Kind::WebSocket | Kind::WebSocketText | Kind::WebSocketBinary => Weight::Whole,
        Kind::SocketIoEvent | Kind::SocketIoAck | Kind::SocketIoMsg | Kind::SocketIoJson => Weight::Whole,
        Kind::Body | Kind::Chunk => Weight::Bytes,
        Kind::End
        | Kind::Ping
        | Kind::Pong
        | Kind::Spawn
        | Kind::Retry
        | Kind::Error
        | Kind::Credit
        | Kind::WebSocketClose
        | Kind::SocketIoConnect
        | Kind::SocketIoRefuse
        | Kind::SocketIoDisconnect
        | Kind::SocketIoEnd
        | Kind::Msg
        | Kind::Join
        | Kind::Leave
        | Kind::Echo
        | Kind::NoEcho
        | Kind::Pipe
        | Kind::Unpipe
        | Kind::GoAway => Weight::None,
    }
}
