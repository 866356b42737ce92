//! The node's side of a link: what a node kit needs besides a socket.
//!
//! ```text
//! link up ── pong with capabilities ──> Event::Up
//!   ping      answered here
//!   spawn     Event::Spawn
//!   credit    moves what waits in the session's queue
//!   others    Event::Message; `uwsgi` begins a session, `end` (either way) and forget end it
//! ```
//!
//! With the capability `credit` a session may send response bytes and WebSocket messages as far as its credit goes; what
//! exceeds it waits here, in order and bounded, with all that the session says behind it, and leaves as the server grants
//! more. Without it there is no state per session.

mod session;
#[cfg(test)]
mod tests;

use alloc::collections::BTreeMap;
use alloc::string::ToString;
use alloc::sync::Arc;
use core::fmt;

use bytes::Bytes;

use crate::error::{Cause, Misuse};
use crate::limits::Limits;
use crate::message::{Capabilities, Kind, Message, Route, Sid};
use crate::rope::Rope;
use crate::time::Instant;
use crate::zmtp;
use session::{Outgoing, Session};

/// A `pong` waits while more than this is queued, so that pings alone never make a queue grow.
const PONG_BACKLOG: usize = 64 * 1024;

/// What a node wants.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The link, as a DEALER with the node's identity.
    pub link: Arc<zmtp::Settings>,
    /// What every `pong` asks for.
    pub capabilities: Capabilities,
    /// Bytes queued for one session before [`Dealer::send`] takes no more; only with the capability `credit`.
    pub session_bytes: usize,
    /// Bytes queued in all, those on their way out included.
    pub queue_bytes: usize,
    /// Sessions at a time; only with the capability `credit`. Requests beyond them are passed on with `retry`.
    pub sessions: usize,
}

impl Settings {
    /// A node named `identity`, without security; bounds and deadlines are taken from `limits`.
    pub fn new(identity: Bytes, capabilities: Capabilities, limits: &Limits) -> Self {
        Self {
            link: Arc::new(zmtp::Settings { identity, ..zmtp::Settings::new(zmtp::Role::Dealer, limits) }),
            capabilities,
            session_bytes: limits.write_queue_high,
            queue_bytes: limits.node_queue_bytes,
            sessions: limits.sessions,
        }
    }
}

/// What a dealer tells its caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The link is up and the server is told that the node is alive.
    Up,
    /// The server has not seen this node before: fill the caches.
    Spawn,
    /// A message of a session, or an `error` about the node itself (without session).
    Message(Message),
}

/// Why a message was not sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SendError {
    /// The link is not up.
    Down,
    /// The session is over.
    Ended,
    /// As much as allowed is queued: come again with this body when [`Dealer::writable`] says so.
    Full(Bytes),
    /// The type takes no route, or no group may be called so.
    Unroutable,
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Down => "the link is down",
            Self::Ended => "the session is over",
            Self::Full(_) => "the queue is full",
            Self::Unroutable => "the type or the group cannot be routed",
        })
    }
}

impl core::error::Error for SendError {}

/// One link of a node to a server. After the link has ended, make a new one: sessions do not outlive it.
pub struct Dealer {
    settings: Settings,
    link: zmtp::Connection,
    /// The body of every `pong`.
    pong: Bytes,
    is_pong_owed: bool,
    event: Option<Event>,
    /// Only with the capability `credit`.
    sessions: BTreeMap<Sid, Session>,
    /// What the queues of all sessions hold.
    queued: usize,
    dropped: u64,
}

impl Dealer {
    /// Starts a link.
    pub fn new(settings: Settings, now: Instant) -> Self {
        Self {
            link: zmtp::Connection::new(settings.link.clone(), now),
            pong: settings.capabilities.to_string().into(),
            is_pong_owed: false,
            settings,
            event: None,
            sessions: BTreeMap::new(),
            queued: 0,
            dropped: 0,
        }
    }

    /// Takes bytes from the server and returns how many were consumed. The caller keeps the rest and offers it again,
    /// followed by newer bytes, once the events are polled.
    #[must_use]
    pub fn receive(&mut self, bytes: &[u8], now: Instant) -> usize {
        let mut used = 0;
        while self.event.is_none() {
            used += self.link.receive(&bytes[used..], now);
            let Some(event) = self.link.poll_event() else { break };
            self.event = self.handle_event(event, now);
        }
        used
    }

    /// Takes note that the server will send no more.
    pub fn receive_eof(&mut self, now: Instant) {
        self.link.receive_eof(now);
    }

    /// Takes the next event. Drain to `None` after each input.
    #[must_use]
    pub fn poll_event(&mut self) -> Option<Event> {
        self.event.take()
    }

    /// Sends a message of a session to its client, or to the server about it.
    ///
    /// Of a response that exceeds the session's credit a part may leave at once and the rest later; a head and a
    /// WebSocket message leave whole. Nothing is taken after an `end` or a `retry`.
    pub fn send(&mut self, sid: Sid, kind: Kind, body: Bytes) -> Result<(), SendError> {
        self.queue(sid, kind, None, body)
    }

    /// Sends a message to a group or to another session, from session `sid` or, without one, from the node itself: that
    /// reaches the group in every virtual host that the node serves.
    ///
    /// What a session sends stays in order. So its message to others waits, at no charge to its credit, behind those
    /// that wait for its own client; the node's own never does.
    ///
    /// # Errors
    ///
    /// Besides those of [`send`](Self::send), [`SendError::Unroutable`].
    pub fn send_routed(
        &mut self,
        sid: Option<Sid>,
        route: Route<'_>,
        kind: Kind,
        body: Bytes,
    ) -> Result<(), SendError> {
        let frame = route.type_frame(kind).ok_or(SendError::Unroutable)?;
        if let Some(sid) = sid {
            return self.queue(sid, kind, Some(&frame), body);
        }
        if !self.link.is_up() {
            return Err(SendError::Down);
        }
        if !self.has_room(body.len()) {
            return Err(SendError::Full(body));
        }
        self.link.send_with_body(&[b"", &frame], body).map_err(|_| SendError::Down)
    }

    /// Bytes that [`send`](Self::send) takes for this session now; none if it is over. A body larger than that is taken
    /// when nothing else is queued.
    pub fn writable(&self, sid: Sid) -> usize {
        match self.sessions.get(&sid) {
            _ if !self.settings.capabilities.credit => self.room(),
            Some(session) if !session.is_over() => session.room(self.settings.session_bytes).min(self.room()),
            Some(_) | None => 0,
        }
    }

    /// Bytes that can be queued in all.
    pub fn room(&self) -> usize {
        self.settings.queue_bytes.saturating_sub(self.queued + self.link.queued())
    }

    /// Drops what is known of a session once its queue has left. With the capability `quiet` no `end` comes after a
    /// complete response, so the caller says when that was.
    pub fn forget(&mut self, sid: Sid) {
        if let Some(session) = self.sessions.get_mut(&sid) {
            session.finish();
            self.flush(sid);
        }
    }

    /// Sessions that are known; always none without the capability `credit`.
    pub fn session_count(&self) -> usize {
        self.sessions.len()
    }

    /// Messages of the server that were dropped, because they do not follow the node protocol or are of an unknown type.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Bytes to be written. The caller writes from the front and calls [`Rope::advance`].
    pub fn outbound(&mut self) -> &mut Rope {
        if self.is_pong_owed && self.link.queued() < PONG_BACKLOG {
            self.send_pong();
        }
        self.link.outbound()
    }

    /// Bytes that wait to be written; those that wait for credit are not among them.
    pub fn queued(&self) -> usize {
        self.link.queued()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout).
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.link.poll_timeout()
    }

    /// Does what is due. Early calls are harmless.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.link.handle_timeout(now);
    }

    /// Whether messages can be sent.
    pub fn is_up(&self) -> bool {
        self.link.is_up()
    }

    /// Why the link is over, if it is: write what is queued, then close.
    pub fn is_closing(&self) -> Option<Cause> {
        self.link.is_closing()
    }

    /// Sends a message, with a type frame of its own if it is `routed`, or puts it where it waits for credit.
    fn queue(&mut self, sid: Sid, kind: Kind, routed: Option<&[u8]>, body: Bytes) -> Result<(), SendError> {
        if !self.link.is_up() {
            return Err(SendError::Down);
        }
        if !self.has_room(body.len()) {
            return Err(SendError::Full(body));
        }
        if !self.settings.capabilities.credit {
            return send(&mut self.link, sid, kind, routed, body).map_err(|_| SendError::Down);
        }
        let session = self.sessions.get_mut(&sid).filter(|session| !session.is_over()).ok_or(SendError::Ended)?;
        if session.passes(kind, routed.is_some(), body.len()) {
            if session.is_over() {
                self.sessions.remove(&sid);
            }
            return send(&mut self.link, sid, kind, routed, body).map_err(|_| SendError::Down);
        }
        if !session.takes(&body, self.settings.session_bytes) {
            return Err(SendError::Full(body));
        }
        self.queued += session.push(Outgoing { kind, routed: routed.map(Into::into), body });
        self.flush(sid);
        Ok(())
    }

    /// Whether a body of `len` bytes can be queued: it fits, or nothing is in its way.
    fn has_room(&self, len: usize) -> bool {
        let waiting = self.queued + self.link.queued();
        waiting == 0 || waiting + len <= self.settings.queue_bytes
    }

    fn handle_event(&mut self, event: zmtp::Event, now: Instant) -> Option<Event> {
        let result = match event {
            // A node checks nobody: settings that make it the one who does let nobody in.
            zmtp::Event::Hello(_) => self.link.refuse(Cause::CredentialsRefused, now).map(|()| None),
            zmtp::Event::Peer { .. } => {
                let accepted = if self.link.is_held() { self.link.accept(now) } else { Ok(()) };
                self.send_pong();
                accepted.map(|()| Some(Event::Up))
            }
            zmtp::Event::Message(message) => return self.handle_message(message),
        };
        debug_assert!(result.is_ok(), "an event can be answered when it comes");
        result.unwrap_or(None)
    }

    fn handle_message(&mut self, message: zmtp::Message) -> Option<Event> {
        let Some((sid, kind)) = read_head(&message) else {
            self.dropped += 1;
            return None;
        };
        match (kind, sid) {
            (Kind::Ping, None) => {
                self.is_pong_owed = true;
                if self.link.queued() < PONG_BACKLOG {
                    self.send_pong();
                }
                return None;
            }
            (Kind::Spawn, None) => return Some(Event::Spawn),
            (Kind::Credit, Some(sid)) => {
                self.handle_credit(sid, &message.into_last());
                return None;
            }
            (Kind::Uwsgi, Some(sid)) if self.settings.capabilities.credit => {
                if self.sessions.len() >= self.settings.sessions && !self.sessions.contains_key(&sid) {
                    self.dropped += 1;
                    let passed_on = send(&mut self.link, sid, Kind::Retry, None, Bytes::new());
                    debug_assert!(passed_on.is_ok(), "a link that received a message is up");
                    return None;
                }
                self.remove(sid);
                self.sessions.insert(sid, Session::default());
            }
            (Kind::End, Some(sid)) => self.remove(sid),
            (_, Some(_)) | (Kind::Error, None) => {}
            (_, None) => {
                self.dropped += 1;
                return None;
            }
        }
        Some(Event::Message(Message { sid, kind, body: message.into_last() }))
    }

    /// Credit for a session that has ended comes late and means nothing.
    fn handle_credit(&mut self, sid: Sid, body: &[u8]) {
        let granted = core::str::from_utf8(body).ok().and_then(|text| text.parse::<u64>().ok());
        match (granted, self.sessions.get_mut(&sid)) {
            (Some(bytes), Some(session)) => {
                session.grant(bytes);
                self.flush(sid);
            }
            (Some(_), None) => {}
            (None, _) => self.dropped += 1,
        }
    }

    /// Sends what the session's credit allows, and drops the session if that was all.
    fn flush(&mut self, sid: Sid) {
        let Some(session) = self.sessions.get_mut(&sid) else { return };
        while let Some((Outgoing { kind, routed, body }, freed)) = session.pop() {
            self.queued -= freed;
            if send(&mut self.link, sid, kind, routed.as_deref(), body).is_err() {
                // The link has just gone, and the sessions with it.
                break;
            }
        }
        if session.is_over() && session.is_empty() {
            self.sessions.remove(&sid);
        }
    }

    fn remove(&mut self, sid: Sid) {
        if let Some(session) = self.sessions.remove(&sid) {
            self.queued -= session.queued();
        }
    }

    fn send_pong(&mut self) {
        self.is_pong_owed = self.link.send(&[b"", Kind::Pong.name().as_bytes(), &self.pong]).is_err();
    }
}

fn send(link: &mut zmtp::Connection, sid: Sid, kind: Kind, routed: Option<&[u8]>, body: Bytes) -> Result<(), Misuse> {
    link.send_with_body(&[&sid.0, routed.unwrap_or(kind.name().as_bytes())], body)
}

/// Reads the first two of three frames.
fn read_head(message: &zmtp::Message) -> Option<(Option<Sid>, Kind)> {
    let mut frames = message.frames();
    let (sid, kind) = (frames.next()?, frames.next()?);
    if message.frame_count() != 3 {
        return None;
    }
    let sid = if sid.is_empty() { None } else { Some(Sid::from_frame(sid)?) };
    Some((sid, Kind::from_frame(kind)?))
}
