//! The handshakes of the security mechanisms, from the greeting to the end of the metadata.
//!
//! ```text
//! NULL          Ready ── READY ──> PeerShown ── accept: READY ──> up        (a DEALER sends its READY at once)
//! PLAIN server  Hello ── HELLO ──> HelloShown ── welcome: WELCOME ──> Initiate ── INITIATE ──> PeerShown
//!               ── accept: READY ──> up
//! PLAIN client  HELLO ──> Welcome ── WELCOME: INITIATE ──> Reply ── READY ──> PeerShown ── accept ──> up
//! ```
//!
//! Another mechanism adds its states here, its commands next door, and its name to [`Mechanism`].

use core::mem;

use bytes::Bytes;

use super::command::{self, Command, Metadata};
use super::{Credentials, Event, Mechanism, Role, Settings, SocketType};
use crate::error::{Cause, Misuse};
use crate::rope::Rope;

/// A handshake under way.
#[derive(Clone, Debug)]
pub(super) struct Handshake {
    state: State,
    /// Who was welcomed (PLAIN server).
    username: Option<Bytes>,
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// NULL: the peer's READY.
    Ready,
    /// PLAIN server: the peer's HELLO.
    Hello,
    /// PLAIN server: our caller's word on the credentials.
    HelloShown,
    /// PLAIN server: the peer's INITIATE.
    Initiate,
    /// PLAIN client: the server's WELCOME.
    Welcome,
    /// PLAIN client: the server's READY.
    Reply,
    /// Our caller's word on the peer.
    PeerShown,
}

impl Handshake {
    /// Starts when the greetings are exchanged, and queues what we have to say first.
    pub(super) fn new(settings: &Settings, out: &mut Rope) -> Self {
        let state = match &settings.mechanism {
            Mechanism::Null => {
                if settings.role == Role::Dealer {
                    send_ready(settings, out);
                }
                State::Ready
            }
            Mechanism::PlainServer => State::Hello,
            Mechanism::PlainClient(credentials) => {
                command::send_hello(credentials, out);
                State::Welcome
            }
        };
        Self { state, username: None }
    }

    /// Whether nothing goes on before our caller answers.
    pub(super) fn is_held(&self) -> bool {
        matches!(self.state, State::HelloShown | State::PeerShown)
    }

    /// Takes a command, which the peer may send only when it is its turn.
    pub(super) fn handle(
        &mut self,
        command: Command<'_>,
        settings: &Settings,
        out: &mut Rope,
    ) -> Result<Option<Event>, Cause> {
        match (self.state, command) {
            (State::Hello, Command::Hello { username, password }) => {
                let username = Bytes::copy_from_slice(username);
                self.username = Some(username.clone());
                self.state = State::HelloShown;
                let password = Bytes::copy_from_slice(password);
                Ok(Some(Event::Hello(Credentials { username, password })))
            }
            (State::Welcome, Command::Welcome) => {
                command::send_metadata("INITIATE", settings.role.into(), &settings.identity, out);
                self.state = State::Reply;
                Ok(None)
            }
            (State::Ready | State::Reply, Command::Ready(metadata))
            | (State::Initiate, Command::Initiate(metadata)) => self.show_peer(metadata, settings).map(Some),
            // RFC 24 lets only the server say it; RFC 37, for NULL, both.
            (State::Ready | State::Welcome | State::Reply, Command::Error) => Err(Cause::PeerRefused),
            (
                State::Ready
                | State::Hello
                | State::HelloShown
                | State::Initiate
                | State::Welcome
                | State::Reply
                | State::PeerShown,
                _,
            ) => Err(Cause::CommandMalformed),
        }
    }

    /// Our caller likes the credentials.
    pub(super) fn welcome(&mut self, out: &mut Rope) -> Result<(), Misuse> {
        if self.state != State::HelloShown {
            return Err(Misuse("welcome answers Event::Hello"));
        }
        command::send_welcome(out);
        self.state = State::Initiate;
        Ok(())
    }

    /// Our caller likes the peer: what is left to say is queued, and the link is up.
    pub(super) fn accept(&self, settings: &Settings, out: &mut Rope) -> Result<(), Misuse> {
        if self.state != State::PeerShown {
            return Err(Misuse("accept answers Event::Peer"));
        }
        match (&settings.mechanism, settings.role) {
            (Mechanism::Null, Role::Router) | (Mechanism::PlainServer, Role::Router | Role::Dealer) => {
                send_ready(settings, out);
            }
            (Mechanism::Null, Role::Dealer) | (Mechanism::PlainClient(_), Role::Router | Role::Dealer) => {}
        }
        Ok(())
    }

    fn show_peer(&mut self, metadata: Metadata<'_>, settings: &Settings) -> Result<Event, Cause> {
        let socket_type = metadata
            .socket_type
            .and_then(SocketType::from_property)
            .filter(|peer| settings.role.talks_to(*peer))
            .ok_or(Cause::SocketTypeMismatch)?;
        self.state = State::PeerShown;
        let identity = Bytes::copy_from_slice(metadata.identity);
        Ok(Event::Peer { identity, socket_type, username: mem::take(&mut self.username) })
    }
}

impl Mechanism {
    /// The name in the greeting.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Null => "NULL",
            Self::PlainServer | Self::PlainClient(_) => "PLAIN",
        }
    }

    /// Whether we check the other side.
    pub(super) const fn is_server(&self) -> bool {
        match self {
            Self::PlainServer => true,
            Self::Null | Self::PlainClient(_) => false,
        }
    }

    /// Whether the mechanism lets us say ERROR.
    pub(super) const fn has_error(&self) -> bool {
        match self {
            Self::Null | Self::PlainServer => true,
            Self::PlainClient(_) => false,
        }
    }
}

impl Role {
    /// The legal combinations of RFC 37, "The Socket-Type Property".
    fn talks_to(self, peer: SocketType) -> bool {
        match (self, peer) {
            (Self::Router, SocketType::Rep) | (Self::Dealer, SocketType::Req) => false,
            (Self::Router, SocketType::Dealer | SocketType::Req | SocketType::Router)
            | (Self::Dealer, SocketType::Dealer | SocketType::Rep | SocketType::Router) => true,
        }
    }
}

impl From<Role> for SocketType {
    fn from(role: Role) -> Self {
        match role {
            Role::Router => Self::Router,
            Role::Dealer => Self::Dealer,
        }
    }
}

fn send_ready(settings: &Settings, out: &mut Rope) {
    command::send_metadata("READY", settings.role.into(), &settings.identity, out);
}
