//! What every input ends with: everything that it changed is brought to rest.

use super::Engine;
use super::contract::{Output, Shut};
use super::link::{Protocol, Stage, Then};
use crate::error::Cause;
use crate::time::{Instant, earliest};

impl Engine {
    /// Puts a link on the list of those to settle.
    pub(super) fn touch(&mut self, slot: usize) {
        if let Some(link) = self.links.at_mut(slot)
            && !link.touched
        {
            link.touched = true;
            self.touched.push(slot);
        }
    }

    /// Brings everything that an input changed to rest: replies of apps, queues of hosts, then each touched link.
    pub(super) fn settle(&mut self, now: Instant) {
        loop {
            self.settle_links(now);
            for dial in core::mem::take(&mut self.redial) {
                self.forget_dial(dial, now);
            }
            if self.is_draining() {
                self.advance_drain(now);
            }
            // What a drain cuts has consequences of its own: nodes hear of it, apps reply.
            if self.deliveries_left > 0 && !self.fan_outs.is_empty() {
                self.advance_fan_outs(now);
            }
            let rests = self.touched.is_empty() && self.pumped.is_empty() && self.redial.is_empty();
            if rests && self.replies.list.is_empty() {
                return;
            }
        }
    }

    fn settle_links(&mut self, now: Instant) {
        let mut next = 0;
        loop {
            self.obey_replies(now);
            if let Some(host) = self.pumped.pop() {
                self.pump(host, now);
            } else if let Some(&slot) = self.touched.get(next) {
                next += 1;
                self.settle_link(slot, now);
            } else {
                break;
            }
        }
        self.touched.clear();
    }

    fn settle_link(&mut self, slot: usize, now: Instant) {
        let Some(link) = self.links.at_mut(slot) else { return };
        link.touched = false;
        // Lets the machine queue what it owes.
        link.outbound();
        if link.stage == Stage::Open {
            self.settle_streams(slot, now);
        }
        if self.links.at(slot).is_some_and(|link| link.stage == Stage::Open) {
            // What is taken in may be released at once, which is for the client to know, and makes room for more.
            let mut before = usize::MAX;
            while let Some(waiting) = self.offerable(slot).filter(|waiting| *waiting < before) {
                before = waiting;
                self.offer_inbox(slot, now);
                self.settle_streams(slot, now);
            }
            self.conclude_eof(slot, now);
            self.notice_close(slot, now);
        }
        let Some(link) = self.links.at_mut(slot) else { return };
        if let Stage::Flushing { then } = link.stage
            && !link.has_unwritten()
        {
            match then {
                Then::Abort => return self.remove_and_shut(slot, Shut::Abort),
                Then::Close => return self.remove_and_shut(slot, Shut::Close),
                Then::Drain if link.eof => return self.remove_and_shut(slot, Shut::Close),
                Then::Drain => {}
            }
            let limits = &self.config.limits;
            link.stage = Stage::Draining { until: now + limits.drain_timeout, left: limits.drain_bytes };
            let id = self.links.id_of(slot);
            self.outputs.push_back(Output::Shut(id, Shut::Write));
        }
        self.book(slot, now);
    }

    /// How many bytes wait for the machine of a link that can take some.
    fn offerable(&self, slot: usize) -> Option<usize> {
        let link = self.links.at(slot).filter(|link| link.stage == Stage::Open && link.blocked == 0)?;
        let is_ready = match &link.protocol {
            Protocol::Http(http) => !link.paused && http.conn.room() > 0,
            Protocol::Mux(mux) => mux.conn.room() > 0,
            Protocol::WebSocket(_) => !link.paused,
            Protocol::Node(_) | Protocol::Proxy(_) => true,
        };
        (is_ready && !link.inbox.is_empty()).then(|| link.inbox.len())
    }

    /// Tells a client's machine that nothing follows what it was given.
    fn conclude_eof(&mut self, slot: usize, now: Instant) {
        let write_queue_high = self.config.limits.write_queue_high;
        let Some(link) = self.links.at_mut(slot).filter(|link| link.eof && link.stage == Stage::Open) else { return };
        if link.paused || link.blocked > 0 {
            return;
        }
        let is_empty = link.inbox.is_empty();
        if let Some(websocket) = link.websocket() {
            // A frame that is cut off stays unread for ever, one that was held back does not.
            if is_empty || websocket.conn.queued() <= write_queue_high {
                websocket.conn.receive_eof(now);
            }
            return;
        }
        if !link.is_client() {
            return self.close_link(slot, Cause::LinkClosed, Shut::Close, now);
        }
        let Some(http) = link.http() else { return };
        if http.conn.room() == 0 {
            if is_empty {
                http.conn.close_after_response(now);
            }
        } else if is_empty || http.conn.queued() <= write_queue_high {
            // A head that is cut off stays unread for ever, one that was held back does not.
            http.conn.receive_eof(now);
        }
    }

    /// Brings the ledger up to date for a link.
    pub(super) fn charge(&mut self, slot: usize) {
        let Some(link) = self.links.at_mut(slot) else { return };
        let holds = link.held();
        self.memory = self.memory + holds - link.charged;
        link.charged = holds;
    }

    /// Brings the ledger, the deadline and the driver's knowledge of a link up to date.
    fn book(&mut self, slot: usize, now: Instant) {
        let id = self.links.id_of(slot);
        let interest = self.interest(id);
        let write_stall = self.config.limits.write_stall;
        self.charge(slot);
        let Some(link) = self.links.at_mut(slot) else { return };
        // What waits for a client's window has a deadline of its machine's own.
        if !link.has_unwritten() {
            link.stall = None;
        } else if link.stall.is_none() {
            link.stall = Some(now + write_stall);
        }
        let machine = match &link.protocol {
            Protocol::Http(http) => http.conn.poll_timeout(),
            Protocol::Mux(mux) => mux.poll_timeout(),
            Protocol::WebSocket(websocket) => websocket.conn.poll_timeout(),
            Protocol::Node(node) => node.conn.poll_timeout(),
            Protocol::Proxy(waiting) => Some(waiting.until),
        };
        let deadline = match link.stage {
            Stage::Dialing => None,
            Stage::Open if link.is_handshaking() => earliest(link.transport.handshake_until(), link.stall),
            Stage::Open => earliest(machine, link.stall),
            Stage::Held { until } | Stage::Draining { until, .. } => Some(until),
            Stage::Flushing { .. } => link.stall,
        };
        let news = interest.write || interest.read != link.told.read;
        if news && !link.attended {
            link.attended = true;
            self.outputs.push_back(Output::Attend(id));
        }
        self.link_timers.set(slot, deadline);
    }
}
