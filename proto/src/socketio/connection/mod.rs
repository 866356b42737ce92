//! One client of socket.io.
//!
//! ```text
//!            bodies of POST, messages                                   Event
//!   client ───────────────────────────> channel ──> hear ──> sockets ──────────> owner
//!          <─────────────────────────── outbox <─── speak <─────────────────────
//!            bodies for GET, messages                └──> recovery
//! ```
//!
//! The channel is what the transport needs: it is given up when the transport breaks, and a client that comes back
//! brings a new one. Namespaces and what is kept for recovery stay.

mod channel;
mod clock;
mod comeback;
mod hear;
mod outbox;
mod queue;
mod recovery;
mod sockets;
mod speak;
#[cfg(test)]
mod tests;

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use core::mem::size_of;

use bytes::Bytes;

use super::payload::FrameKind;
use super::{Encoding, Event, Generation, Id, Layer, Packet, PacketKind, Prepared, SendError, Settings, Transport};
use crate::error::{Cause, Violation};
use crate::time::{Instant, earliest};
use crate::websocket::{self, Message};

use channel::Channel;
use clock::Tick;
use hear::Partial;
use queue::Queue;
use recovery::Recovery;
use sockets::{Sockets, State};

/// One client of socket.io, or one connection to a server of it.
///
/// As a server: give the bodies of POST requests to [`receive_payload`](Self::receive_payload) and the messages of the
/// WebSocket that is its transport to [`receive_message`](Self::receive_message); after each drain
/// [`poll_event`](Self::poll_event). Answer a GET that waits with [`take_payload`](Self::take_payload) as soon as
/// [`has_payload`](Self::has_payload) says so, and send what [`poll_message`](Self::poll_message) yields on the
/// WebSocket. Call [`handle_timeout`](Self::handle_timeout) when [`poll_timeout`](Self::poll_timeout) says. Once
/// [`is_closing`](Self::is_closing) names a cause, bring out what still waits and let go of it; once
/// [`is_parked`](Self::is_parked), let go of the transport.
///
/// As a client the same, with the roles of GET and POST exchanged: [`set_polling`](Self::set_polling) when a GET is
/// sent, its answer to [`receive_payload`](Self::receive_payload), and a POST of [`take_payload`](Self::take_payload)
/// as soon as [`has_payload`](Self::has_payload) says so. To take over with a WebSocket, call
/// [`begin_probe`](Self::begin_probe) while no POST is under way and send [`greeting`](Self::greeting) on it.
pub struct Connection {
    settings: Arc<Settings>,
    channel: Channel,
    sockets: Sockets,
    events: Queue<Event>,
    /// A packet whose attachments are under way.
    partial: Option<Box<Partial>>,
    recovery: Option<Box<Recovery>>,
    /// The last offset that was given to an event for this client alone, less [`recovery::OWN_OFFSETS`].
    own_offset: u64,
    private: Id,
    is_parked: bool,
    /// Packets that were dropped since the owner last asked.
    dropped: u32,
    /// Parked: it must have come back. Else the first namespace must have been asked for, or those that it had before.
    deadline: Option<Instant>,
    closing: Option<Cause>,
    violated: Option<Cause>,
}

/// What becomes of a message on a WebSocket that is not the transport yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// This is to be sent on it.
    Answer(Message),
    /// It is the transport from now on.
    Upgraded,
    /// Nothing more can come of it: it is to be closed. The connection goes on as it was.
    Refused(Cause),
}

/// Where a packet for many goes.
pub enum Fanned<'a> {
    /// It waits with what waited already, or is kept for a client that is away.
    Queued,
    /// These are to be sent on the WebSocket now, in their order.
    Frames(&'a mut [websocket::Prepared]),
}

/// Whether a connection whose transport has broken can be taken up again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outlook {
    /// It waits for its client to come back, or for its deadline.
    Parked,
    /// It is closing.
    Lost,
}

impl Connection {
    /// The server's side for a client that has just come by `transport`. What it is told first waits to be sent. `base64`:
    /// it takes no binary payloads. `private` is told to clients that may come back, and to nobody else.
    #[expect(clippy::too_many_arguments, reason = "all of them are facts of one request, of as many types")]
    pub fn server(
        settings: Arc<Settings>,
        generation: Generation,
        layer: Layer,
        transport: Transport,
        base64: bool,
        id: Id,
        private: Id,
        now: Instant,
    ) -> Self {
        let channel = Channel::new(generation, layer, false, transport, base64, &settings, now);
        let mut connection = Self::new(settings, channel, private);
        let hello = connection.hello(id);
        match generation {
            Generation::Five | Generation::Two => connection.channel.push_frame(FrameKind::Open, hello.into()),
            Generation::One => {}
        }
        match (layer, generation) {
            (Layer::SocketIo, Generation::Five) => {
                connection.deadline = Some(now + connection.settings.connect_timeout);
            }
            // These clients have the main namespace without asking for it.
            (Layer::SocketIo, Generation::Two | Generation::One) => connection.ask_for_main(),
            (Layer::Plain, _) => {}
        }
        connection
    }

    /// The client's side. The server's first packet tells its id and its timeouts; a connection of generation
    /// [`One`](Generation::One) begins after the handshake, which tells them.
    pub fn client(
        settings: Arc<Settings>,
        generation: Generation,
        layer: Layer,
        transport: Transport,
        now: Instant,
    ) -> Self {
        let channel = Channel::new(generation, layer, true, transport, true, &settings, now);
        Self::new(settings, channel, Id([0; 16]))
    }

    fn new(settings: Arc<Settings>, channel: Channel, private: Id) -> Self {
        Self {
            settings,
            channel,
            sockets: Sockets::default(),
            events: Queue::new(),
            partial: None,
            recovery: None,
            own_offset: 0,
            private,
            is_parked: false,
            dropped: 0,
            deadline: None,
            closing: None,
            violated: None,
        }
    }

    /// What it speaks.
    pub fn generation(&self) -> Generation {
        self.channel.generation
    }

    /// What its messages carry.
    pub fn layer(&self) -> Layer {
        self.channel.layer
    }

    /// What moves its packets now.
    pub fn transport(&self) -> Transport {
        self.channel.transport
    }

    /// The id that the server gave the connection; only clients have it, and only once the server has said it.
    pub fn sid(&self) -> Option<&str> {
        self.channel.hello.as_ref().map(|hello| &*hello.sid)
    }

    /// Takes the body of a POST (of a client: of the answer to a GET). After a violation the connection is closing, and
    /// whatever comes is ignored.
    pub fn receive_payload(&mut self, body: Bytes, encoding: Encoding, now: Instant) -> Result<(), Violation> {
        if self.is_deaf() {
            return Ok(());
        }
        if self.channel.is_client {
            self.channel.end_poll();
        }
        self.hear_payload(body, encoding, now).map_err(|cause| self.violate(cause))
    }

    /// Takes a message of the WebSocket that is its transport.
    pub fn receive_message(&mut self, message: Message, now: Instant) {
        if self.is_deaf() {
            return;
        }
        if let Err(cause) = self.hear_websocket(message, now) {
            self.violate(cause);
        }
    }

    /// A WebSocket that is not its transport has opened: it has [`Settings::upgrade_timeout`] to become it. False if it may
    /// not: there is one already, or one that tries. Of generation [`One`](Generation::One) it is the transport at once,
    /// and takes the place of one that was before.
    pub fn begin_probe(&mut self, now: Instant) -> bool {
        !self.is_deaf() && self.channel.begin_probe(&self.settings, now)
    }

    /// Whether a WebSocket tries to become the transport. When that is over without [`Probe::Upgraded`], as after its
    /// time, that WebSocket is to be closed.
    pub fn is_probing(&self) -> bool {
        self.channel.is_probing()
    }

    /// What a client says first on a WebSocket that is to take over.
    pub fn greeting(generation: Generation) -> Message {
        channel::greeting(generation)
    }

    /// Takes a message of that WebSocket.
    pub fn receive_probe(&mut self, message: Message, _now: Instant) -> Probe {
        match self.closing {
            Some(cause) => Probe::Refused(cause),
            None => self.channel.receive_probe(message),
        }
    }

    /// That WebSocket has gone, or has failed to become the transport.
    pub fn end_probe(&mut self, _now: Instant) {
        self.channel.end_probe();
    }

    /// A GET has come (of the server's role) and waits: `true`; it was answered or has gone: `false`. One that comes
    /// while another waits is a violation ([`Cause::RequestOverlap`]); the other one is answered with the farewell.
    pub fn set_polling(&mut self, waits: bool, now: Instant) {
        if !waits {
            return self.channel.end_poll();
        }
        let is_first = self.channel.begin_poll();
        if self.is_deaf() {
            return;
        }
        if !is_first {
            self.violate(Cause::RequestOverlap);
        } else if self.channel.generation == Generation::One {
            self.channel.hear(false, &self.settings, now);
        }
    }

    /// Whether a GET waits.
    pub fn is_polling(&self) -> bool {
        self.channel.waits
    }

    /// How many packets were dropped since the last call: for namespaces that the client does not have, or no longer has
    /// and did not know so, and answers for a client that was away.
    pub fn take_dropped(&mut self) -> u32 {
        core::mem::take(&mut self.dropped)
    }

    /// Whether [`poll_event`](Self::poll_event) has something.
    pub fn has_event(&self) -> bool {
        !self.events.is_empty()
    }

    /// What was received.
    #[must_use]
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop()
    }

    /// Queues an event. A client asks so for a namespace; a server gives it with [`accept`](Self::accept). While the client
    /// is away events are kept for it, and acknowledgements dropped: it no longer waits for them.
    ///
    /// # Errors
    /// [`SendError::NotConnected`] also for a refusal of what was not asked for; [`SendError::Unfit`] also for a text
    /// message with U+001E, which would end a packet, to a client of generation [`Five`](Generation::Five) that polls.
    pub fn send(&mut self, event: Event, now: Instant) -> Result<(), SendError> {
        if self.closing.is_some() {
            return Err(SendError::Closed);
        }
        match (event, self.channel.layer) {
            (Event::Packet(packet), Layer::SocketIo) => self.send_packet(&packet, now),
            (Event::Message(message), Layer::Plain) => self.send_message(message),
            (Event::Packet(_) | Event::Recover { .. }, Layer::Plain)
            | (Event::Message(_) | Event::Recover { .. }, Layer::SocketIo) => Err(SendError::Unfit),
        }
    }

    /// Lets a client have the namespace that it asked for; `socket` is the id of its socket there.
    ///
    /// # Errors
    /// [`SendError::NotConnected`] if the client does not ask for it (any more).
    pub fn accept(&mut self, namespace: &str, socket: Id, _now: Instant) -> Result<(), SendError> {
        if self.closing.is_some() {
            return Err(SendError::Closed);
        }
        if self.channel.is_client {
            return Err(SendError::Unfit);
        }
        self.send_accept(namespace, socket)
    }

    /// Whether the client may have events of this namespace. While it is away, those it had.
    pub fn is_connected(&self, namespace: &str) -> bool {
        match self.sockets.state(namespace) {
            Some(State::Connected | State::Away | State::Returning) => self.closing.is_none(),
            Some(State::Asked | State::Left) | None => false,
        }
    }

    /// Queues a packet that is for many, as [`send`](Self::send) does; an event on a WebSocket the caller sends.
    pub fn send_prepared<'a>(&mut self, prepared: &'a mut Prepared, now: Instant) -> Result<Fanned<'a>, SendError> {
        match (self.closing, self.channel.layer) {
            (Some(_), _) => Err(SendError::Closed),
            (None, Layer::Plain) => Err(SendError::Unfit),
            (None, Layer::SocketIo) => self.fan(prepared, now),
        }
    }

    /// Ends the connection: the client is told, as far as its generation has words for it. With [`Cause::Complete`] it is
    /// told that its server wants it to stay away; with [`Cause::ClientClosed`] nothing, for it has ended it itself; of any
    /// other cause, that its connection is over.
    pub fn close(&mut self, cause: Cause, _now: Instant) {
        if self.closing.is_none() {
            self.say_farewell(cause);
        }
    }

    /// The transport has gone without a word. Call it also before [`adopt`](Self::adopt), for a client that has come back
    /// before its old transport was found broken.
    pub fn lose_transport(&mut self, cause: Cause, now: Instant) -> Outlook {
        if self.closing.is_some() {
            return Outlook::Lost;
        }
        if self.park(cause, now) {
            return Outlook::Parked;
        }
        self.closing = Some(cause);
        self.channel.shut();
        Outlook::Lost
    }

    /// Whether it waits for its client to come back. It may have come to that without
    /// [`lose_transport`](Self::lose_transport), by a ping that was not answered: the transport is to be closed then.
    pub fn is_parked(&self) -> bool {
        self.is_parked
    }

    /// Whether what a client that comes back has missed of a namespace is all there.
    pub fn can_recover(&self, namespace: &str, offset: &str) -> bool {
        self.has_all_since(namespace, offset)
    }

    /// Goes on by the transport of `newcomer`, which the same client has made; what that has received is received now.
    /// Namespaces that the client does not ask for again within [`Settings::connect_timeout`] are left.
    pub fn adopt(&mut self, newcomer: Self, now: Instant) {
        self.park(Cause::IdentityTakenOver, now);
        self.is_parked = false;
        self.take_over(newcomer, now);
    }

    /// Gives a namespace back to the client, with what it has missed.
    pub fn recover(&mut self, namespace: &str, offset: &str, _now: Instant) {
        self.send_recovered(namespace, offset);
    }

    /// Whether a GET can be answered: one waits, and something for it or a reason to end it. Of a client: whether there
    /// is something to POST.
    pub fn has_payload(&self) -> bool {
        self.channel.has_payload()
    }

    /// The body of the answer to a GET, which no longer waits then: all that waits for the client, up to `max` bytes, or
    /// one packet if that has more. If nothing waits it is a packet that says nothing.
    pub fn take_payload(&mut self, max: usize, _now: Instant) -> (Bytes, Encoding) {
        self.channel.take_payload(max)
    }

    /// What is to be sent on the WebSocket that is its transport.
    #[must_use]
    pub fn poll_message(&mut self) -> Option<Message> {
        self.channel.poll_message()
    }

    /// Why nothing more will be received: what waits can still be taken.
    pub fn is_closing(&self) -> Option<Cause> {
        self.closing
    }

    /// What the client did wrong, if that is why.
    pub fn violation(&self) -> Option<Violation> {
        self.violated.map(violation)
    }

    /// Bytes that wait for the client.
    pub fn queued(&self) -> usize {
        self.channel.outbox.bytes()
    }

    /// Bytes of memory that it holds beyond itself, those that wait included; not those that many wait for.
    pub fn held(&self) -> usize {
        let partial = self.partial.as_ref().map_or(0, |partial| size_of::<Partial>() + partial.packet.held());
        let recovery = self.recovery.as_ref().map_or(0, |recovery| recovery.held());
        let events = self.events.held() + self.events.iter().map(event_held).sum::<usize>();
        self.channel.held() + self.sockets.held() + partial + recovery + events
    }

    /// When it wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.closing.is_some() { None } else { earliest(self.channel.poll_timeout(), self.deadline) }
    }

    /// A deadline has come. It may be closing then, or parked.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.closing.is_some() {
            return;
        }
        self.channel.handle_timeout(now);
        match self.channel.tick(&self.settings, now) {
            Some(Tick::Beat) => self.send_heartbeat(),
            Some(Tick::Silence) if self.park(Cause::PingTimeout, now) => {}
            Some(Tick::Silence) => self.say_farewell(Cause::PingTimeout),
            None => {}
        }
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            self.deadline = None;
            self.handle_deadline();
        }
    }

    fn handle_deadline(&mut self) {
        if self.is_parked {
            self.say_farewell(Cause::RecoveryTimeout);
        } else if self.sockets.has(State::Away) {
            self.leave_away();
        } else {
            self.say_farewell(Cause::ConnectTimeout);
        }
    }

    /// Whether nothing that comes is of interest any more.
    fn is_deaf(&self) -> bool {
        self.closing.is_some() || self.is_parked
    }

    fn violate(&mut self, cause: Cause) -> Violation {
        self.violated = Some(cause);
        self.say_farewell(cause);
        violation(cause)
    }

    /// What a client is told first.
    fn hello(&self, id: Id) -> String {
        let upgrades = match self.channel.transport {
            Transport::Polling => "\"websocket\"",
            Transport::WebSocket => "",
        };
        let Settings { ping_interval, ping_timeout, payload_bytes, .. } = &*self.settings;
        let (interval, timeout) = (ping_interval.as_millis(), ping_timeout.as_millis());
        alloc::format!(
            "{{\"sid\":\"{id}\",\"upgrades\":[{upgrades}],\"pingInterval\":{interval},\"pingTimeout\":{timeout},\
             \"maxPayload\":{payload_bytes}}}"
        )
    }
}

fn violation(what: Cause) -> Violation {
    Violation { status: 400, what }
}

/// Bytes of memory of an event that waits to be taken.
fn event_held(event: &Event) -> usize {
    match event {
        Event::Packet(packet) => packet.held(),
        Event::Recover { packet, offset, .. } => packet.held() + offset.len(),
        Event::Message(message) => message.payload.len(),
    }
}

/// A packet without JSON, or with JSON of our own.
fn packet(kind: PacketKind, namespace: &str, json: &[u8], settings: &Settings) -> Option<Packet> {
    Packet::new(kind, namespace, None, json, alloc::vec::Vec::new(), settings).ok()
}
