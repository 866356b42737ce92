//! One ZMTP connection.
//!
//! ```text
//! Greeting ── 64 octets ──> Handshake ── READY both ways ──> Up
//!     └───────────────────────────┴─ violation, refusal, end ─┴──> closing
//! ```

use alloc::boxed::Box;
use alloc::sync::Arc;

use bytes::Bytes;
use core::time::Duration;

use super::command::{self, Command, Context};
use super::frame::{self, Assembly, Header, Message, Scan};
use super::greeting::{self, Greeting};
use super::liveness::{Due, Liveness};
use super::mechanism::Handshake;
use super::{Event, Role, Settings};
use crate::error::{Cause, Misuse, Violation};
use crate::rope::{Rope, SHARE_MIN};
use crate::time::Instant;

/// A PONG waits while more than this is queued: a peer that sends PINGs and reads nothing gets one answer, not a queue
/// without end, and one that reads hears us anyway.
const PONG_BACKLOG: usize = 64 * 1024;

const NOT_UP: Misuse = Misuse("messages are sent on a link that is up");

/// One ZMTP connection, from the greeting to the end.
pub struct Connection {
    settings: Arc<Settings>,
    stage: Stage,
    outbound: Rope,
    /// A waiting event of the handshake; at most one of this and `message` waits.
    event: Option<Box<Event>>,
    /// A waiting message, not wrapped into an event until it is taken: moving the larger enum about cost more than all
    /// the rest.
    message: Option<Message>,
    assembly: Assembly,
    liveness: Liveness,
    /// What a PING is still owed.
    pong: Option<Context>,
    closing: Option<Closing>,
    /// The minor version of the peer's ZMTP 3.
    minor: Option<u8>,
    /// Bytes that were offered and not taken: they are offered again, and are no news then.
    left: usize,
}

enum Stage {
    Greeting { deadline: Instant },
    Handshake { deadline: Instant, handshake: Handshake },
    Up,
}

#[derive(Clone, Copy)]
struct Closing {
    cause: Cause,
    /// Whether the peer is to blame.
    is_violation: bool,
}

impl Connection {
    /// Starts a connection: the greeting is queued.
    pub fn new(settings: Arc<Settings>, now: Instant) -> Self {
        let mut outbound = Rope::new();
        let mechanism = &settings.mechanism;
        outbound.push_copy(&Greeting::new(mechanism.name(), mechanism.is_server()).to_bytes());
        Self {
            stage: Stage::Greeting { deadline: now + settings.handshake_timeout },
            settings,
            outbound,
            event: None,
            message: None,
            assembly: Assembly::default(),
            liveness: Liveness::new(now),
            pong: None,
            closing: None,
            minor: None,
            left: 0,
        }
    }

    /// Takes bytes from the peer and returns how many were consumed. The caller keeps the rest and offers it again,
    /// followed by newer bytes, once the event is polled and answered. Without an event waiting the rest is at most one
    /// greeting or one command, never more than 4 KiB and a few bytes.
    #[must_use]
    pub fn receive(&mut self, bytes: &[u8], now: Instant) -> usize {
        if self.closing.is_some() {
            return bytes.len();
        }
        if bytes.len() > self.left {
            self.liveness.hear(now);
        }
        self.left = bytes.len();
        if bytes.is_empty() || self.message.is_some() || self.event.is_some() {
            return 0;
        }
        let result = match self.stage {
            Stage::Up => self.receive_traffic(bytes),
            Stage::Greeting { .. } | Stage::Handshake { .. } => self.receive_handshake(bytes, now),
        };
        let used = match result {
            Ok(used) => used,
            Err(cause) => {
                self.fail(cause);
                bytes.len()
            }
        };
        self.left = bytes.len() - used;
        used
    }

    /// Takes note that the peer will send no more: the connection is closing.
    pub fn receive_eof(&mut self, _now: Instant) {
        let cause = match self.stage {
            Stage::Greeting { .. } | Stage::Handshake { .. } => Cause::ConnectionFailed,
            Stage::Up if self.assembly.is_idle() => Cause::Complete,
            Stage::Up => Cause::MessageCut,
        };
        self.close(cause, false);
    }

    /// Takes the next event. Drain to `None` after each input.
    #[must_use]
    #[inline]
    pub fn poll_event(&mut self) -> Option<Event> {
        match self.message.take() {
            Some(message) => Some(Event::Message(message)),
            None => self.event.take().map(|event| *event),
        }
    }

    /// Answers [`Event::Hello`]: its credentials are good. [`Event::Peer`] follows.
    pub fn welcome(&mut self, _now: Instant) -> Result<(), Misuse> {
        match &mut self.stage {
            Stage::Handshake { handshake, .. } if self.closing.is_none() => handshake.welcome(&mut self.outbound),
            Stage::Greeting { .. } | Stage::Handshake { .. } | Stage::Up => Err(Misuse("welcome answers Event::Hello")),
        }
    }

    /// Answers [`Event::Peer`] as a ROUTER: the link is up.
    pub fn accept(&mut self, now: Instant) -> Result<(), Misuse> {
        match &self.stage {
            Stage::Handshake { handshake, .. } if self.closing.is_none() => {
                handshake.accept(&self.settings, &mut self.outbound)?;
            }
            Stage::Greeting { .. } | Stage::Handshake { .. } | Stage::Up => {
                return Err(Misuse("accept answers Event::Peer"));
            }
        }
        self.stage = Stage::Up;
        if let (Some(interval), Some(1..)) = (self.settings.heartbeat, self.minor) {
            self.liveness.start(interval, now);
        }
        Ok(())
    }

    /// Answers [`Event::Hello`] or [`Event::Peer`] with an ERROR command (where the mechanism has it): the connection is
    /// closing. A libzmq peer does not come back after an ERROR, so this is for what a new attempt would not mend.
    pub fn refuse(&mut self, cause: Cause, _now: Instant) -> Result<(), Misuse> {
        match &self.stage {
            Stage::Handshake { handshake, .. } if handshake.is_held() && self.closing.is_none() => {
                self.send_error(cause);
                self.close(cause, false);
                Ok(())
            }
            Stage::Greeting { .. } | Stage::Handshake { .. } | Stage::Up => {
                Err(Misuse("refuse answers Event::Hello or Event::Peer"))
            }
        }
    }

    /// Queues a message of copied `parts`, at least one.
    pub fn send(&mut self, parts: &[&[u8]]) -> Result<(), Misuse> {
        if parts.is_empty() {
            return Err(Misuse("a message has a frame"));
        }
        if !self.is_up() {
            return Err(NOT_UP);
        }
        self.outbound.push_with(frame::wire_len(parts), |tail| frame::write_frames(tail, parts, false));
        Ok(())
    }

    /// Queues a message of copied `head` parts and a last frame `body`, which is shared when large.
    pub fn send_with_body(&mut self, head: &[&[u8]], body: Bytes) -> Result<(), Misuse> {
        if !self.is_up() {
            return Err(NOT_UP);
        }
        let copied = if body.len() < SHARE_MIN { body.len() } else { 0 };
        let expected = frame::wire_len(head) + frame::header_len(body.len()) + copied;
        self.outbound.push_with(expected, |tail| {
            frame::write_frames(tail, head, true);
            frame::write_header(tail, 0, body.len());
            tail.extend_from_slice(&body[..copied]);
        });
        if copied < body.len() {
            self.outbound.push(body);
        }
        Ok(())
    }

    /// Queues a message as it stands; shared when large.
    pub fn send_message(&mut self, message: &Message) -> Result<(), Misuse> {
        if !self.is_up() {
            return Err(NOT_UP);
        }
        let wire = message.wire();
        // The first clone of what came in one piece allocates, so small messages do not ask for it.
        if wire.len() < SHARE_MIN {
            self.outbound.push_copy(wire)
        } else {
            self.outbound.push(wire.clone())
        }
        Ok(())
    }

    /// Bytes to be written. The caller writes from the front and calls [`Rope::advance`]; it must not append, and it
    /// bounds the queue by sending less when it grows.
    #[inline]
    pub fn outbound(&mut self) -> &mut Rope {
        if self.pong.is_some() {
            self.send_pong();
        }
        &mut self.outbound
    }

    /// Bytes that wait to be written.
    #[inline]
    pub fn queued(&self) -> usize {
        self.outbound.len()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout).
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.closing.is_some() {
            return None;
        }
        match self.stage {
            Stage::Greeting { deadline } | Stage::Handshake { deadline, .. } => Some(deadline),
            Stage::Up => self.liveness.poll_timeout(),
        }
    }

    /// Does what is due: sends a PING, or gives the peer up. Early calls are harmless. A caller that stops reading for
    /// longer than the heartbeat must not call this meanwhile, since it would not have heard the peer.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.closing.is_some() {
            return;
        }
        match self.stage {
            Stage::Greeting { deadline } | Stage::Handshake { deadline, .. } => {
                if deadline <= now {
                    self.fail(Cause::HandshakeTimeout);
                }
            }
            Stage::Up => match self.liveness.handle_timeout(now) {
                Due::Nothing => {}
                Due::Ping(ttl) => command::send_ping(ttl, &mut self.outbound),
                Due::GiveUp => self.fail(Cause::HeartbeatTimeout),
            },
        }
    }

    /// Whether [`Event::Hello`] or [`Event::Peer`] waits for an answer. Nothing is consumed meanwhile, so a caller that
    /// holds a peer in this state stops reading from it.
    pub fn is_held(&self) -> bool {
        matches!(&self.stage, Stage::Handshake { handshake, .. } if handshake.is_held()) && self.closing.is_none()
    }

    /// Whether messages can be sent.
    #[inline]
    pub fn is_up(&self) -> bool {
        matches!(self.stage, Stage::Up) && self.closing.is_none()
    }

    /// Why the connection is over, if it is: write what is queued, then close. All further input is ignored.
    pub fn is_closing(&self) -> Option<Cause> {
        self.closing.map(|closing| closing.cause)
    }

    /// What the peer did wrong, if that is why the connection is over.
    pub fn violation(&self) -> Option<Violation> {
        self.closing.filter(|closing| closing.is_violation).map(|closing| closing.cause.into())
    }

    /// The minor version of the peer's ZMTP 3, once its greeting is in.
    pub fn peer_version(&self) -> Option<u8> {
        self.minor
    }

    /// Sends a PING now, if the peer knows them (ZMTP 3.1): its answer shows in [`last_heard`](Self::last_heard).
    pub fn ping(&mut self) {
        if self.is_up() && self.minor.is_some_and(|minor| minor >= 1) {
            command::send_ping(Duration::ZERO, &mut self.outbound);
        }
    }

    /// When the peer was last heard.
    pub fn last_heard(&self) -> Instant {
        self.liveness.heard()
    }

    /// Bytes held of a message that has not come whole yet.
    pub fn held(&self) -> usize {
        self.assembly.capacity()
    }

    #[cfg(test)]
    pub(super) fn buffered(&self) -> usize {
        self.held() + self.outbound.len()
    }

    fn receive_handshake(&mut self, bytes: &[u8], now: Instant) -> Result<usize, Cause> {
        let mut used = 0;
        while self.event.is_none() {
            let rest = &bytes[used..];
            match &mut self.stage {
                Stage::Greeting { deadline } => {
                    let deadline = *deadline;
                    let Some(greeting) = Greeting::parse(rest)? else { break };
                    self.check_mechanism(greeting)?;
                    used += greeting::LEN;
                    self.minor = Some(greeting.minor);
                    let handshake = Handshake::new(&self.settings, &mut self.outbound);
                    self.stage = Stage::Handshake { deadline, handshake };
                }
                Stage::Handshake { handshake, .. } if !handshake.is_held() => {
                    let Some(header) = Header::parse(rest)? else { break };
                    if !header.is_command() {
                        return Err(Cause::CommandMalformed);
                    }
                    let Some(body) = Command::body(rest, header)? else { break };
                    used += header.len + body.len();
                    let event = handshake.handle(Command::parse(body)?, &self.settings, &mut self.outbound)?;
                    self.event = event.map(Box::new);
                }
                Stage::Handshake { .. } | Stage::Up => break,
            }
        }
        if let (Role::Dealer, Some(Event::Peer { .. })) = (self.settings.role, self.event.as_deref()) {
            let accepted = self.accept(now);
            debug_assert!(accepted.is_ok(), "a peer that was just shown can be accepted");
        }
        Ok(used)
    }

    /// The mechanism must be the same (RFC 37), and somebody has to be asked where it asks.
    fn check_mechanism(&self, theirs: Greeting) -> Result<(), Cause> {
        let mechanism = &self.settings.mechanism;
        let ours = Greeting::new(mechanism.name(), mechanism.is_server());
        // Libzmq never sets the bit, so that a server is not told by it; but two that set it are two servers.
        if ours.mechanism != theirs.mechanism || (ours.as_server && theirs.as_server) {
            return Err(Cause::MechanismMismatch);
        }
        Ok(())
    }

    fn receive_traffic(&mut self, bytes: &[u8]) -> Result<usize, Cause> {
        let (bytes_max, frames_max) = self.bounds();
        let mut used = 0;
        loop {
            let rest = &bytes[used..];
            if self.assembly.is_idle()
                && let Scan::Message { len, frames } = frame::scan(rest, bytes_max, frames_max)?
            {
                let wire = Bytes::copy_from_slice(&rest[..len]);
                self.liveness.hear_other();
                self.message = Some(Message::from_checked(wire, frames));
                return Ok(used + len);
            }
            used += self.assembly.take(rest);
            if let Some(message) = self.assembly.finish() {
                self.message = Some(message);
                return Ok(used);
            }
            let rest = &bytes[used..];
            let Some(header) = Header::parse(rest)? else { return Ok(used) };
            if header.is_command() {
                // Commands may stand between the frames of a message.
                let Some(body) = Command::body(rest, header)? else { return Ok(used) };
                self.handle_command(Command::parse(body)?);
                used += header.len + body.len();
            } else {
                self.liveness.hear_other();
                self.assembly.begin(header, &rest[..header.len], bytes_max, frames_max)?;
                used += header.len;
            }
        }
    }

    /// Commands other than heartbeats mean nothing between our kinds of sockets; like libzmq we pass over them.
    fn handle_command(&mut self, command: Command<'_>) {
        match command {
            Command::Ping { ttl, context } => {
                self.liveness.hear_ping(ttl);
                self.pong = Some(context);
                self.send_pong();
            }
            Command::Pong
            | Command::Ready(_)
            | Command::Error
            | Command::Hello { .. }
            | Command::Welcome
            | Command::Initiate(_)
            | Command::Other => self.liveness.hear_other(),
        }
    }

    fn send_pong(&mut self) {
        if self.outbound.len() < PONG_BACKLOG
            && let Some(context) = self.pong.take()
        {
            command::send_pong(context, &mut self.outbound);
        }
    }

    fn bounds(&self) -> (usize, u32) {
        (self.settings.message_bytes, u32::try_from(self.settings.frames).unwrap_or(u32::MAX))
    }

    /// The peer broke the rules: it is told so where there is a place for it.
    fn fail(&mut self, cause: Cause) {
        // Being late may mend itself, and after an ERROR a peer does not come back.
        if !matches!(cause, Cause::PeerRefused | Cause::HandshakeTimeout) {
            self.send_error(cause);
        }
        self.close(cause, cause != Cause::PeerRefused);
    }

    fn send_error(&mut self, cause: Cause) {
        if matches!(self.stage, Stage::Handshake { .. }) && self.settings.mechanism.has_error() {
            command::send_error(cause, &mut self.outbound);
        }
    }

    fn close(&mut self, cause: Cause, is_violation: bool) {
        if self.closing.is_none() {
            self.closing = Some(Closing { cause, is_violation });
            self.assembly = Assembly::default();
            self.pong = None;
        }
    }
}
