//! Routing: messages of a session, a node or a client to other sessions.
//!
//! ```text
//!  a node's `GROUP:type` ──┐                      ┌──▶ each member in the order of the joins
//!  an app's to_group ──────┼──▶ a fan-out, first ─┤
//!  a client, by a pipe ────┘    come first served └──▶ the sender, last
//! ```
//!
//! One input brings about a bounded number of deliveries. A fan-out that is not through then goes on at the next
//! [`Input::Timeout`](super::Input::Timeout), which is due at once, so that what was delivered is written in between;
//! whoever sent it is not read meanwhile, so nothing overtakes it.

use alloc::boxed::Box;

use bytes::Bytes;

use super::Engine;
use super::app::{AppInput, Routed};
use super::contract::LinkId;
use super::pipe::Destination;
use super::session::{Answer, Found, Membership, Server};
use crate::error::Cause;
use crate::http::{Event, Framing};
use crate::message::{Kind, Route, Sid, is_group_name};
use crate::socketio;
use crate::time::Instant;
use crate::websocket::{self, Prepared};

/// What is delivered to other sessions.
pub(super) enum Parcel {
    WebSocket(Prepared),
    SocketIo(Box<socketio::Prepared>),
    Close(websocket::Close),
    Body(Bytes),
    Chunk(Bytes),
    Msg(Bytes),
    End,
}

/// A message on its way to the members of a group.
pub(super) struct FanOut {
    parcel: Parcel,
    group: usize,
    /// The next member is the first that joined at this join or later.
    next: u64,
    /// Whoever joins at this join or later came after the message.
    until: u64,
    /// The session that it comes from.
    sender: Option<Sid>,
    /// The link that is not read until this is through.
    source: Option<LinkId>,
}

impl FanOut {
    /// Whether this link waits for it.
    pub fn comes_from(&self, link: LinkId) -> bool {
        self.source == Some(link)
    }
}

impl Engine {
    pub(super) fn parcel_from_app(&mut self, what: Routed) -> Parcel {
        match what {
            Routed::WebSocket(message) => Parcel::WebSocket(Prepared::with_ledger(&message, &self.shared)),
            Routed::SocketIo(packet) => self.parcel_of(packet),
            Routed::Body(bytes) => Parcel::Body(bytes),
            Routed::Msg(bytes) => Parcel::Msg(bytes),
            Routed::End => Parcel::End,
        }
    }

    /// A node's message with a route.
    pub(super) fn on_routed(&mut self, node: usize, sid: &[u8], name: &[u8], body: Bytes, now: Instant) {
        let outcome = match Route::split(name) {
            Some((route, kind)) => self.route(node, sid, route, kind, body, now),
            None => Err(Cause::TypeUnknown),
        };
        if let Err(cause) = outcome {
            self.complain(node, sid, name, cause);
            self.drop_message(node, cause, name);
        }
    }

    fn route(
        &mut self,
        node: usize,
        sid: &[u8],
        route: &[u8],
        kind: &[u8],
        body: Bytes,
        now: Instant,
    ) -> Result<(), Cause> {
        let kind = Kind::from_frame(kind).ok_or(Cause::TypeUnknown)?;
        if !kind.is_routable() {
            return Err(Cause::RouteUnsupported);
        }
        let to = match Route::parse(route) {
            Some(to) => to,
            None if route.first() == Some(&b'@') => return Err(Cause::RouteMalformed),
            None => return Err(Cause::GroupMalformed),
        };
        if sid.is_empty() {
            self.on_alive(node, now);
            return self.route_from_node(node, to, kind, body, now);
        }
        let sender = self.session_of_node(node, sid)?;
        self.on_alive(node, now);
        let Some(slot) = sender else {
            // It crossed our `end`: nothing is wrong with it.
            self.stats.count(Cause::SessionStale);
            return Ok(());
        };
        let Some(host) = self.sessions.at(slot).map(|session| session.host) else { return Ok(()) };
        let mut parcel = self.pack(kind, body)?;
        match to {
            Route::Session(target) => self.deliver_to(target, host..host + 1, &mut parcel, now),
            Route::Group(name) => {
                let source = self.nodes.list[node].link.map(|link| self.links.id_of(link));
                self.fan_out(host, name, Some(slot), parcel, source, now);
                Ok(())
            }
        }
    }

    /// A node speaks for itself, to all virtual hosts that it serves.
    fn route_from_node(
        &mut self,
        node: usize,
        to: Route<'_>,
        kind: Kind,
        body: Bytes,
        now: Instant,
    ) -> Result<(), Cause> {
        let source = self.nodes.list[node].link.map(|link| self.links.id_of(link));
        match to {
            Route::Session(target) => {
                let Found::Here(slot) = self.sessions.find(target) else { return Err(Cause::RouteUnknown) };
                let host = self.sessions.at(slot).map_or(0, |session| session.host);
                if !self.nodes.list[node].hosts.contains(&host) {
                    return Err(Cause::RouteForeign);
                }
                let mut parcel = self.pack(kind, body)?;
                self.deliver_to(target, host..host + 1, &mut parcel, now)
            }
            Route::Group(name) => {
                for place in 0..self.nodes.list[node].hosts.len() {
                    let host = self.nodes.list[node].hosts[place];
                    if self.groups.find(host, name).is_some() {
                        let parcel = self.pack(kind, body.clone())?;
                        self.fan_out(host, name, None, parcel, source, now);
                    }
                }
                Ok(())
            }
        }
    }

    /// The session that a node speaks for; `None` if it has ended.
    fn session_of_node(&self, node: usize, sid: &[u8]) -> Result<Option<usize>, Cause> {
        match Sid::from_frame(sid).map_or(Found::Unknown, |sid| self.sessions.find(sid)) {
            Found::Here(slot) if self.sessions.at(slot).and_then(|session| session.node()) == Some(node) => {
                Ok(Some(slot))
            }
            Found::Here(_) => Err(Cause::SessionForeign),
            Found::Ended => Ok(None),
            Found::Unknown => Err(Cause::SessionUnknown),
        }
    }

    fn pack(&mut self, kind: Kind, body: Bytes) -> Result<Parcel, Cause> {
        match kind {
            Kind::WebSocket | Kind::WebSocketText | Kind::WebSocketBinary => {
                let message = super::websocket::message_of(kind, body)?;
                Ok(Parcel::WebSocket(Prepared::with_ledger(&message, &self.shared)))
            }
            Kind::WebSocketClose => super::websocket::close_of(&body).map(Parcel::Close),
            Kind::Body => Ok(Parcel::Body(body)),
            Kind::Chunk => Ok(Parcel::Chunk(body)),
            Kind::Msg => Ok(Parcel::Msg(body)),
            Kind::End | Kind::SocketIoEnd => Ok(Parcel::End),
            Kind::SocketIoEvent
            | Kind::SocketIoAck
            | Kind::SocketIoDisconnect
            | Kind::SocketIoMsg
            | Kind::SocketIoJson => self.pack_packet(kind, body),
            Kind::Headers
            | Kind::Uwsgi
            | Kind::Ping
            | Kind::Pong
            | Kind::Spawn
            | Kind::Retry
            | Kind::Error
            | Kind::Credit
            | Kind::Join
            | Kind::Leave
            | Kind::Echo
            | Kind::NoEcho
            | Kind::Pipe
            | Kind::Unpipe
            | Kind::Push
            | Kind::SocketIoConnect
            | Kind::SocketIoRefuse
            | Kind::GoAway => Err(Cause::RouteUnsupported),
        }
    }

    /// Delivers to one session, if it is of one of these virtual hosts.
    pub(super) fn deliver_to(
        &mut self,
        target: Sid,
        hosts: core::ops::Range<usize>,
        parcel: &mut Parcel,
        now: Instant,
    ) -> Result<(), Cause> {
        match self.sessions.find(target) {
            Found::Here(slot) if self.sessions.at(slot).is_some_and(|session| hosts.contains(&session.host)) => {
                self.stats.deliveries += 1;
                self.deliver_parcel(slot, parcel, now);
                Ok(())
            }
            Found::Here(_) => Err(Cause::RouteForeign),
            Found::Ended => {
                self.stats.count(Cause::SessionStale);
                Ok(())
            }
            Found::Unknown => Err(Cause::RouteUnknown),
        }
    }

    /// Sends to all members of a group, at once or, behind what is under way, soon.
    pub(super) fn fan_out(
        &mut self,
        host: usize,
        name: &[u8],
        sender: Option<usize>,
        parcel: Parcel,
        source: Option<LinkId>,
        now: Instant,
    ) {
        let Some(group) = self.groups.find(host, name) else { return };
        let sender = sender.and_then(|slot| self.sessions.at(slot)).map(|session| session.sid);
        let until = self.groups.joins();
        let mut fan_out = FanOut { parcel, group, next: 0, until, sender, source };
        if self.fan_outs.is_empty() && self.advance_fan_out(&mut fan_out, now) {
            return;
        }
        if let Some(slot) = source.and_then(|id| self.links.slot_of(id))
            && let Some(link) = self.links.at_mut(slot)
        {
            link.blocked += 1;
        }
        self.fan_outs.push_back(fan_out);
    }

    /// Goes on with what waits, as far as this turn allows.
    pub(super) fn advance_fan_outs(&mut self, now: Instant) {
        while let Some(mut fan_out) = self.fan_outs.pop_front() {
            if !self.advance_fan_out(&mut fan_out, now) {
                return self.fan_outs.push_front(fan_out);
            }
            if let Some(slot) = fan_out.source.and_then(|id| self.links.slot_of(id)) {
                if let Some(link) = self.links.at_mut(slot) {
                    link.blocked -= 1;
                    if let Some(mux) = link.mux() {
                        mux.list_unread();
                    }
                }
                self.touch(slot);
            }
        }
    }

    /// Whether it is through.
    fn advance_fan_out(&mut self, fan_out: &mut FanOut, now: Instant) -> bool {
        let sender = fan_out.sender.map_or(Found::Unknown, |sid| self.sessions.find(sid));
        let sender = if let Found::Here(slot) = sender { Some(slot) } else { None };
        let mut place = self.groups.place_from(fan_out.group, fan_out.next);
        while let Some((at, join, session)) = self.groups.member_from(fan_out.group, place) {
            if join >= fan_out.until {
                break;
            }
            if self.deliveries_left == 0 {
                fan_out.next = join;
                return false;
            }
            place = at + 1;
            if sender != Some(session) {
                self.deliveries_left -= 1;
                self.stats.deliveries += 1;
                self.deliver_parcel(session, &mut fan_out.parcel, now);
            }
        }
        if let Some(slot) = sender
            && self.wants_own(slot, fan_out)
        {
            self.stats.deliveries += 1;
            self.deliver_parcel(slot, &mut fan_out.parcel, now);
        }
        true
    }

    fn wants_own(&self, slot: usize, fan_out: &FanOut) -> bool {
        let membership = self.sessions.at(slot).and_then(|session| session.membership(fan_out.group));
        membership.is_some_and(|membership| !membership.noecho && membership.join < fan_out.until)
    }

    /// Sends what a client sent to where its pipes lead; false if none takes it.
    pub(super) fn pipe(
        &mut self,
        slot: usize,
        to: &[Destination],
        mut parcel: impl FnMut(&Self) -> Parcel,
        now: Instant,
    ) {
        for destination in to {
            let Some(session) = self.sessions.at(slot) else { return };
            let (host, link) = (session.host, self.links.id_at(session.carrier.link));
            let mut parcel = parcel(self);
            match destination {
                Destination::Group(name) => self.fan_out(host, name, Some(slot), parcel, link, now),
                Destination::Session(target) => {
                    if let Err(cause) = self.deliver_to(*target, host..host + 1, &mut parcel, now) {
                        self.stats.count(cause);
                    }
                }
            }
        }
    }

    /// Delivers to one session. What does not fit it, or finds it too slow, is its own affair: nobody else notices.
    fn deliver_parcel(&mut self, slot: usize, parcel: &mut Parcel, now: Instant) {
        let Some(session) = self.sessions.at(slot) else { return };
        // Where the node frames its chunks itself, or has promised a length, others must not meddle.
        let is_open = matches!(session.answer, Answer::Begun { framing: Framing::Unframed | Framing::Chunked });
        match (parcel, &session.answer) {
            (Parcel::WebSocket(prepared), Answer::WebSocket) => self.send_prepared(slot, prepared, now),
            (Parcel::WebSocket(prepared), Answer::SocketIo) => {
                if let Err(cause) = self.send_plain(slot, prepared.message(), now) {
                    self.stats.count(cause);
                }
            }
            (Parcel::SocketIo(prepared), Answer::SocketIo) => {
                if let Err(cause) = self.send_to_many(slot, prepared, now) {
                    self.stats.count(cause);
                }
            }
            (Parcel::Close(_), Answer::SocketIo) => self.end_socketio(slot, Cause::Complete, now),
            (Parcel::Close(close), Answer::WebSocket) => drop(self.close_websocket(slot, close.clone(), now)),
            (Parcel::Body(bytes), _) if is_open && !bytes.is_empty() => {
                self.deliver(slot, Event::Body(bytes.clone()), now);
            }
            (Parcel::Body(bytes), _) if is_open && bytes.is_empty() => {}
            (Parcel::Chunk(bytes), answer) if is_open || matches!(answer, Answer::Chunked) => {
                self.on_chunk(slot, bytes.clone(), now);
            }
            (Parcel::Msg(bytes), _) => self.tell_msg(slot, bytes.clone(), now),
            (Parcel::End, _) => self.on_end(slot, now),
            (
                Parcel::WebSocket(_) | Parcel::SocketIo(_) | Parcel::Close(_) | Parcel::Body(_) | Parcel::Chunk(_),
                Answer::None | Answer::Begun { .. } | Answer::Chunked | Answer::Framed(_),
            )
            | (Parcel::SocketIo(_) | Parcel::Body(_) | Parcel::Chunk(_), Answer::WebSocket)
            | (Parcel::Body(_) | Parcel::Chunk(_), Answer::SocketIo) => self.stats.count(Cause::MessageUnfit),
        }
    }

    /// Hands a message from another session to whoever serves this one.
    fn tell_msg(&mut self, slot: usize, bytes: Bytes, now: Instant) {
        let Some(session) = self.sessions.at(slot) else { return };
        let sid = session.sid;
        match session.server {
            Some(Server::Node(node)) if self.node_queue(node) < self.config.limits.node_queue_bytes => {
                self.tell_bytes(node, sid, Kind::Msg, bytes);
            }
            Some(Server::Node(_)) => self.stats.count(Cause::NodeStalled),
            Some(Server::App(app)) => self.call_app(app, AppInput::Msg { sid, bytes }, now),
            Some(Server::Front) | None => self.stats.count(Cause::MessageUnfit),
        }
    }

    // ---- membership ----

    pub(super) fn on_join(&mut self, slot: usize, name: &[u8]) -> Result<(), Cause> {
        if !is_group_name(name) {
            return Err(Cause::GroupMalformed);
        }
        let groups_max = self.config.limits.groups;
        let Some(session) = self.sessions.at_mut(slot) else { return Ok(()) };
        let host = session.host;
        if let Some(group) = self.groups.find(host, name)
            && session.membership(group).is_some()
        {
            return Ok(());
        }
        let bonds = session.bonds();
        if bonds.memberships.len() >= groups_max {
            return Err(Cause::GroupsMax);
        }
        bonds.memberships.push(self.groups.join(host, name, slot, bonds.noecho));
        Ok(())
    }

    pub(super) fn on_leave(&mut self, slot: usize, name: &[u8]) -> Result<(), Cause> {
        if !is_group_name(name) {
            return Err(Cause::GroupMalformed);
        }
        let Some(session) = self.sessions.at_mut(slot) else { return Ok(()) };
        let Some(group) = self.groups.find(session.host, name) else { return Ok(()) };
        let memberships = &mut session.bonds().memberships;
        if let Some(place) = memberships.iter().position(|membership| membership.group == group) {
            self.groups.leave(memberships.remove(place));
        }
        Ok(())
    }

    /// `echo` and `noecho`: for a group, or with an empty name for groups joined later.
    pub(super) fn on_echo(&mut self, slot: usize, name: &[u8], echo: bool) -> Result<(), Cause> {
        let Some(session) = self.sessions.at_mut(slot) else { return Ok(()) };
        if name.is_empty() {
            session.bonds().noecho = !echo;
            return Ok(());
        }
        if !is_group_name(name) {
            return Err(Cause::GroupMalformed);
        }
        let Some(group) = self.groups.find(session.host, name) else { return Ok(()) };
        let mut memberships = session.bonds().memberships.iter_mut();
        if let Some(membership) = memberships.find(|membership| membership.group == group) {
            membership.noecho = !echo;
        }
        Ok(())
    }

    /// A session ends: it leaves its groups.
    pub(super) fn leave_all(&mut self, memberships: &[Membership]) {
        for membership in memberships {
            self.groups.leave(*membership);
        }
    }
}
