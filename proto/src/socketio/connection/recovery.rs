//! What is kept for a client that may come back: events that it may not have seen.
//!
//! An event is kept from the moment it is queued until the client has answered a ping that was sent after it. When too
//! much is kept the oldest go, and a client that has missed one of those cannot take up where it was.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use core::mem::size_of;

use bytes::Bytes;

use super::sockets::{Place, Sockets};
use crate::rope::SHARE_MIN;
use crate::websocket::{Kind, Message};

/// Offsets of events for one client alone begin here, those of events for many are smaller: they are counted by
/// somebody else.
pub(super) const OWN_OFFSETS: u64 = 1 << 50;

struct Entry {
    payload: Bytes,
    kind: Kind,
    is_shared: bool,
    /// The first of the messages that make an event; its attachments follow.
    is_head: bool,
    place: Place,
    /// Events with an id have none.
    offset: Option<u64>,
}

const ENTRY_BYTES: usize = size_of::<Entry>();

#[derive(Default)]
pub(super) struct Recovery {
    entries: VecDeque<Entry>,
    /// Bytes of the payloads.
    bytes: usize,
    shared: usize,
    /// How many of the entries were queued before the last ping.
    pinged: usize,
}

/// Keeps a message. The buffer is made if it is not there.
pub(super) fn keep(
    recovery: &mut Option<Box<Recovery>>,
    message: &Message,
    place: Place,
    offset: Option<u64>,
    is_head: bool,
    is_shared: bool,
) {
    let recovery = recovery.get_or_insert_default();
    let is_shared = is_shared && message.payload.len() >= SHARE_MIN;
    recovery.bytes += message.payload.len();
    if is_shared {
        recovery.shared += message.payload.len();
    }
    let payload = message.payload.clone();
    recovery.entries.push_back(Entry { payload, kind: message.kind, is_shared, is_head, place, offset });
}

impl Recovery {
    /// Lets the oldest events go until no more than `max` bytes are kept.
    pub(super) fn shrink(&mut self, max: usize, sockets: &mut Sockets) {
        while self.bytes + self.entries.len() * ENTRY_BYTES > max && self.drop_oldest(sockets, true) {}
    }

    /// A ping is sent: the client that answers it has seen all that was queued before.
    pub(super) fn note_ping(&mut self) {
        self.pinged = self.entries.len();
    }

    /// The client that was pinged is gone.
    pub(super) fn forget_ping(&mut self) {
        self.pinged = 0;
    }

    /// The client has answered a ping.
    pub(super) fn note_pong(&mut self, sockets: &mut Sockets) {
        while self.pinged > 0 && self.drop_oldest(sockets, false) {}
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Drops what is kept of a namespace.
    pub(super) fn forget(&mut self, place: Place) {
        self.drop_those(|entry| entry.place == place);
    }

    /// Drops those events of a namespace that have no offset: the client has them now, and could not say so.
    pub(super) fn forget_nameless(&mut self, place: Place) {
        self.drop_those(|entry| entry.place == place && entry.offset.is_none());
    }

    fn drop_those(&mut self, goes: impl Fn(&Entry) -> bool) {
        let Self { entries, bytes, shared, pinged } = self;
        let (mut index, before_ping) = (0, *pinged);
        entries.retain(|entry| {
            let goes = goes(entry);
            if goes {
                *bytes -= entry.payload.len();
                *shared -= if entry.is_shared { entry.payload.len() } else { 0 };
                *pinged -= usize::from(index < before_ping);
            }
            index += 1;
            !goes
        });
    }

    /// Whether an event of this namespace with this offset is kept, so that all that followed it are.
    pub(super) fn contains(&self, place: Place, offset: u64) -> bool {
        self.position(place, offset).is_some()
    }

    fn position(&self, place: Place, offset: u64) -> Option<usize> {
        self.entries.iter().position(|entry| entry.place == place && entry.offset == Some(offset))
    }

    /// What was queued for a namespace after the event of this offset; all that is kept if there is none.
    pub(super) fn missed(&self, place: Place, offset: Option<u64>) -> impl Iterator<Item = (Message, bool)> {
        let seen = offset.and_then(|offset| self.position(place, offset));
        let mut entries = self.entries.iter().skip(seen.map_or(0, |seen| seen + 1)).peekable();
        // The attachments of the event that was seen.
        if seen.is_some() {
            while entries.next_if(|entry| !entry.is_head).is_some() {}
        }
        entries
            .filter(move |entry| entry.place == place)
            .map(|entry| (Message { kind: entry.kind, payload: entry.payload.clone() }, entry.is_shared))
    }

    /// Bytes of memory that it owns.
    pub(super) fn held(&self) -> usize {
        size_of::<Self>() + self.entries.capacity() * ENTRY_BYTES + self.bytes - self.shared
    }

    /// Drops the oldest event with its attachments; false if there is none. `is_lost`: the client has not seen it.
    fn drop_oldest(&mut self, sockets: &mut Sockets, is_lost: bool) -> bool {
        let Some(head) = self.entries.pop_front() else { return false };
        if head.offset.is_some() || is_lost {
            // No client names the offset of an event that has none.
            sockets.at_mut(head.place).dropped = Some(head.offset.unwrap_or(u64::MAX));
        }
        self.discharge(&head);
        while self.entries.front().is_some_and(|entry| !entry.is_head) {
            if let Some(attachment) = self.entries.pop_front() {
                self.discharge(&attachment);
            }
        }
        true
    }

    fn discharge(&mut self, entry: &Entry) {
        self.bytes -= entry.payload.len();
        self.shared -= if entry.is_shared { entry.payload.len() } else { 0 };
        self.pinged = self.pinged.saturating_sub(1);
    }
}
