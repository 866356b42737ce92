//! Counters and gauges.

use crate::engine::report::Value;
use crate::error::Cause;

/// What the server has done and holds. Counters only grow; gauges show the present.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stats {
    /// Requests whose head was complete.
    pub requests: u64,
    /// Client connections accepted.
    pub accepted: u64,
    /// Bytes received from all peers.
    pub bytes_in: u64,
    /// Bytes written to all peers.
    pub bytes_out: u64,
    /// Messages to nodes and apps.
    pub messages_out: u64,
    /// Messages from nodes and apps.
    pub messages_in: u64,
    /// Requests handed to a node or an app, each time counted.
    pub handed_over: u64,
    /// Requests that went to another node because theirs was lost.
    pub redispatched: u64,
    /// WebSockets opened.
    pub websockets: u64,
    /// Clients of socket.io that have begun.
    pub socketio: u64,
    /// Clients of socket.io that took up where they were.
    pub recovered: u64,
    /// Messages delivered to sessions by a route, each receiver counted.
    pub deliveries: u64,
    /// Answers pushed to clients that take them.
    pub pushes: u64,
    causes: [u64; Cause::ALL.len()],
}

impl Default for Stats {
    fn default() -> Self {
        Self {
            requests: 0,
            accepted: 0,
            bytes_in: 0,
            bytes_out: 0,
            messages_out: 0,
            messages_in: 0,
            handed_over: 0,
            redispatched: 0,
            websockets: 0,
            socketio: 0,
            recovered: 0,
            deliveries: 0,
            pushes: 0,
            causes: [0; Cause::ALL.len()],
        }
    }
}

impl Stats {
    /// Counts one event of `cause`.
    pub(crate) fn count(&mut self, cause: Cause) {
        self.causes[cause as usize] += 1;
    }

    /// Counts `events` events of `cause`.
    pub(crate) fn count_many(&mut self, cause: Cause, events: u64) {
        self.causes[cause as usize] += events;
    }

    /// Events of `cause` so far.
    pub fn of(&self, cause: Cause) -> u64 {
        self.causes[cause as usize]
    }

    /// Causes that have happened, with their counts.
    pub fn causes(&self) -> impl Iterator<Item = (Cause, u64)> {
        Cause::ALL.iter().map(|cause| (*cause, self.of(*cause))).filter(|(_, count)| *count > 0)
    }
}

/// The figures of one moment.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Snapshot {
    /// Counters.
    pub stats: Stats,
    /// Open client connections.
    pub connections: usize,
    /// Open sessions.
    pub sessions: usize,
    /// Connected nodes.
    pub nodes: usize,
    /// Groups with members.
    pub groups: usize,
    /// Bytes queued.
    pub memory: usize,
}

impl Snapshot {
    pub(super) fn fields(&self, each: &mut dyn FnMut(&'static str, Value<'_>)) {
        let stats = &self.stats;
        for (name, value) in [
            ("connections", self.connections as u64),
            ("sessions", self.sessions as u64),
            ("nodes", self.nodes as u64),
            ("groups", self.groups as u64),
            ("memory", self.memory as u64),
            ("requests", stats.requests),
            ("accepted", stats.accepted),
            ("bytes-in", stats.bytes_in),
            ("bytes-out", stats.bytes_out),
            ("messages-in", stats.messages_in),
            ("messages-out", stats.messages_out),
            ("handed-over", stats.handed_over),
            ("redispatched", stats.redispatched),
            ("websockets", stats.websockets),
            ("socketio", stats.socketio),
            ("recovered", stats.recovered),
            ("deliveries", stats.deliveries),
            ("pushes", stats.pushes),
        ] {
            each(name, Value::Number(value));
        }
        for (cause, count) in stats.causes() {
            each(cause.name(), Value::Number(count));
        }
    }
}
