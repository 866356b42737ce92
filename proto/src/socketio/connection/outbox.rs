//! What waits for the peer: the messages that a WebSocket would carry, whatever carries them in the end.

use core::mem::size_of;

use bytes::Bytes;

use super::queue::Queue;
use crate::rope::SHARE_MIN;
use crate::socketio::Encoding;
use crate::socketio::payload::PayloadWriter;
use crate::websocket::{Kind, Message};

struct Entry {
    payload: Bytes,
    kind: Kind,
    /// Its bytes are counted elsewhere, once for all who wait for them.
    is_shared: bool,
}

impl Entry {
    fn into_message(self) -> Message {
        Message { kind: self.kind, payload: self.payload }
    }
}

pub(super) struct Outbox {
    entries: Queue<Entry>,
    /// Bytes of the payloads.
    bytes: usize,
    /// Those of them that are shared.
    shared: usize,
}

/// What a message is charged with beyond its payload.
const ENTRY_BYTES: usize = size_of::<Entry>();

impl Outbox {
    pub(super) const fn new() -> Self {
        Self { entries: Queue::new(), bytes: 0, shared: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes that wait.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of memory that it owns.
    pub(super) fn held(&self) -> usize {
        self.entries.held() + self.bytes - self.shared
    }

    /// Whether as many bytes more may wait. One packet may, whatever its size.
    pub(super) fn has_room(&self, more: usize, max: usize) -> bool {
        self.is_empty() || self.bytes + self.entries.held() + more + ENTRY_BYTES <= max
    }

    pub(super) fn push(&mut self, message: Message) {
        self.bytes += message.payload.len();
        self.entries.push(Entry { payload: message.payload, kind: message.kind, is_shared: false });
    }

    /// As [`push`](Self::push), for a message that many wait for: it is charged to nobody, unless it is so small that
    /// it is not counted for all of them either.
    pub(super) fn push_shared(&mut self, message: Message) {
        let is_shared = message.payload.len() >= SHARE_MIN;
        self.bytes += message.payload.len();
        self.shared += if is_shared { message.payload.len() } else { 0 };
        self.entries.push(Entry { payload: message.payload, kind: message.kind, is_shared });
    }

    /// Puts a message before all others.
    pub(super) fn push_front(&mut self, message: Message) {
        self.bytes += message.payload.len();
        self.entries.push_front(Entry { payload: message.payload, kind: message.kind, is_shared: false });
    }

    pub(super) fn pop(&mut self) -> Option<Message> {
        let entry = self.entries.pop()?;
        self.bytes -= entry.payload.len();
        if entry.is_shared {
            self.shared -= entry.payload.len();
        }
        Some(entry.into_message())
    }

    pub(super) fn clear(&mut self) {
        *self = Self::new();
    }

    /// Takes as many messages as a body of `max` bytes has room for, at least one.
    pub(super) fn take_payload(&mut self, mut writer: PayloadWriter, max: usize) -> (Bytes, Encoding) {
        while let Some(entry) = self.entries.front() {
            let is_first = writer.len() == 0;
            // Clients that hear of the end at once miss what came with it: it goes alone.
            let is_end = entry.payload == END;
            if !is_first && (is_end || writer.len() + FRAMING_MAX + written_len(entry) > max) {
                break;
            }
            let Some(message) = self.pop() else { break };
            writer.push(message);
        }
        writer.finish()
    }
}

/// The packet of Engine.IO that closes a connection.
const END: &[u8] = b"1";

/// What stands before or between the packets of a body, at most.
const FRAMING_MAX: usize = 16;

/// Bytes of a message in a body, at most.
fn written_len(entry: &Entry) -> usize {
    match entry.kind {
        Kind::Text => entry.payload.len(),
        Kind::Binary => entry.payload.len().div_ceil(3) * 4,
    }
}
