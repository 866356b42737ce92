//! What the node kits of both programs share: a dealer that is made anew for each connection, and what outlives it.
//!
//! ```text
//!   waiting ── deadline ──> dial ── begin() ──> link ── up ──> messages
//!      └───────────── lost(): longer each time in vain ───────────┘
//! ```

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::PathBuf;

use blastbeat_proto::address::Address;
use blastbeat_proto::dealer::{Dealer, Event, SendError, Settings};
use blastbeat_proto::error::Cause;
use blastbeat_proto::limits::Limits;
use blastbeat_proto::message::{Capabilities, Kind, Message, Route, Sid};
use blastbeat_proto::rope::Rope;
use blastbeat_proto::time::{Duration, Instant};
use bytes::Bytes;

/// The first pause before another attempt; it doubles with each that fails, up to [`PAUSE_MAX`], give or take a fifth.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Bytes of messages that wait for the node, with what each costs besides its body. A node that leaves more than this
/// lying, while it waits for room to send, loses its link: the server gives its sessions to others.
const INBOX_BYTES: usize = 64 * 1024 * 1024;
const MESSAGE_COST: usize = 64;

/// A node without its socket: call [`begin`](Self::begin) when one is being opened and [`lost`](Self::lost) when that
/// failed or it broke.
pub struct Core {
    address: Address,
    settings: Settings,
    link: Option<Dealer>,
    /// What the link did not take yet.
    kept: Vec<u8>,
    inbox: VecDeque<Message>,
    inbox_bytes: usize,
    was_up: bool,
    /// Attempts in vain since the link was last up.
    failures: u32,
    retry_at: Instant,
}

impl Core {
    /// A node named `identity` that connects to `tcp://HOST:PORT` or `ipc://PATH`.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if the endpoint or the identity is malformed.
    pub fn new(endpoint: &str, identity: &str, capabilities: Capabilities) -> io::Result<Self> {
        let address = parse_endpoint(endpoint)
            .ok_or_else(|| invalid(format!("{endpoint:?} is neither tcp://HOST:PORT nor ipc://PATH")))?;
        if identity.len() > 255 || identity.starts_with('\0') {
            return Err(invalid("an identity has at most 255 bytes and does not begin with NUL".into()));
        }
        let settings = Settings::new(identity.to_owned().into(), capabilities, &Limits::DEFAULT);
        Ok(Self {
            address,
            settings,
            link: None,
            kept: Vec::new(),
            inbox: VecDeque::new(),
            inbox_bytes: 0,
            was_up: false,
            failures: 0,
            retry_at: Instant::ZERO,
        })
    }

    /// Where to connect.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// A connection is being opened. The deadline of the handshake runs from now on.
    pub fn begin(&mut self, now: Instant) {
        self.link = Some(Dealer::new(self.settings.clone(), now));
    }

    /// The connection could not be opened, or is gone. If it was up, what waited of it is dropped and an `end` without
    /// session tells the node that all its sessions are over.
    ///
    /// # Errors
    ///
    /// `PermissionDenied` if the server said that it will not have this node: trying again would not help.
    pub fn lost(&mut self, now: Instant) -> io::Result<()> {
        let cause = self.link.take().and_then(|link| link.is_closing());
        self.kept = Vec::new();
        if self.was_up {
            self.was_up = false;
            self.inbox.clear();
            self.inbox_bytes = 0;
            self.push(Message { sid: None, kind: Kind::End, body: Bytes::new() });
        }
        let pause = (PAUSE_MIN * 2_u32.saturating_pow(self.failures)).min(PAUSE_MAX);
        self.failures = self.failures.saturating_add(1);
        // Nodes that lost their server together shall not all come back together.
        let spread = RandomState::new().hash_one(self.failures) % 400;
        self.retry_at = now + pause * (800 + spread as u32) / 1000;
        match cause {
            Some(Cause::PeerRefused) => {
                Err(io::Error::new(io::ErrorKind::PermissionDenied, "the server refused this node"))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Whether a connection should be opened now.
    pub fn is_dial_due(&self, now: Instant) -> bool {
        self.link.is_none() && self.retry_at <= now
    }

    /// Whether the connection should be closed: the link has ended and nothing is left to say.
    pub fn is_over(&self) -> bool {
        self.link.as_ref().is_some_and(|link| link.is_closing().is_some() && link.queued() == 0)
            || self.inbox_bytes > INBOX_BYTES
    }

    /// Whether messages can be sent.
    pub fn is_up(&self) -> bool {
        self.link.as_ref().is_some_and(Dealer::is_up)
    }

    /// Takes what was read.
    pub fn receive(&mut self, bytes: &[u8], now: Instant) {
        let mut kept = std::mem::take(&mut self.kept);
        let mut rest = if kept.is_empty() {
            bytes
        } else {
            kept.extend_from_slice(bytes);
            &kept
        };
        let Some(mut link) = self.link.take() else { return };
        loop {
            rest = &rest[link.receive(rest, now)..];
            match link.poll_event() {
                Some(Event::Up) => (self.was_up, self.failures) = (true, 0),
                Some(Event::Spawn) => self.push(Message { sid: None, kind: Kind::Spawn, body: Bytes::new() }),
                Some(Event::Message(message)) => self.push(message),
                None => break,
            }
        }
        self.kept = rest.to_vec();
        self.link = Some(link);
    }

    /// The next message for the node.
    pub fn next_message(&mut self) -> Option<Message> {
        let message = self.inbox.pop_front()?;
        self.inbox_bytes -= MESSAGE_COST + message.body.len();
        Some(message)
    }

    /// Queues a message.
    ///
    /// # Errors
    ///
    /// As [`Dealer::send`].
    pub fn send(&mut self, sid: Sid, kind: Kind, body: Bytes) -> Result<(), SendError> {
        self.link.as_mut().map_or(Err(SendError::Down), |link| link.send(sid, kind, body))
    }

    /// Queues a message to a group or to another session, from a session or from the node itself.
    ///
    /// # Errors
    ///
    /// As [`Dealer::send_routed`].
    pub fn send_routed(
        &mut self,
        sid: Option<Sid>,
        route: Route<'_>,
        kind: Kind,
        body: Bytes,
    ) -> Result<(), SendError> {
        self.link.as_mut().map_or(Err(SendError::Down), |link| link.send_routed(sid, route, kind, body))
    }

    /// Bytes that [`send`](Self::send) takes now, as [`Dealer::writable`].
    pub fn writable(&self, sid: Sid) -> usize {
        self.link.as_ref().map_or(0, |link| link.writable(sid))
    }

    /// Drops what is known of a session, as [`Dealer::forget`].
    pub fn forget(&mut self, sid: Sid) {
        if let Some(link) = &mut self.link {
            link.forget(sid);
        }
    }

    /// Bytes to be written, while there is a link.
    pub fn outbound(&mut self) -> Option<&mut Rope> {
        self.link.as_mut().map(Dealer::outbound)
    }

    /// How many they are.
    pub fn queued(&self) -> usize {
        self.link.as_ref().map_or(0, Dealer::queued)
    }

    /// When to call [`handle_timeout`](Self::handle_timeout), or to dial.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.link.as_ref().map_or(Some(self.retry_at), Dealer::poll_timeout)
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        if let Some(link) = &mut self.link {
            link.handle_timeout(now);
        }
    }

    fn push(&mut self, message: Message) {
        self.inbox_bytes += MESSAGE_COST + message.body.len();
        self.inbox.push_back(message);
    }
}

fn invalid(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

fn parse_endpoint(text: &str) -> Option<Address> {
    if let Some(path) = text.strip_prefix("ipc://") {
        return (!path.is_empty()).then(|| Address::Unix(PathBuf::from(path)));
    }
    let (host, port) = text.strip_prefix("tcp://")?.rsplit_once(':')?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let port = port.parse().ok().filter(|port| *port > 0)?;
    (!host.is_empty()).then(|| Address::Tcp { host: host.to_owned(), port })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn core() -> Core {
        Core::new("tcp://127.0.0.1:5000", "FOO", Capabilities::default()).unwrap()
    }

    #[test]
    fn endpoints_are_tcp_or_ipc() {
        let tcp = |host: &str| Some(Address::Tcp { host: host.to_owned(), port: 5000 });
        assert_eq!(parse_endpoint("tcp://front.example:5000"), tcp("front.example"));
        assert_eq!(parse_endpoint("tcp://[::1]:5000"), tcp("::1"));
        assert_eq!(parse_endpoint("ipc:///run/front"), Some(Address::Unix("/run/front".into())));
        for malformed in ["", "tcp://", "tcp://host", "tcp://:5000", "tcp://host:0", "ipc://", "udp://host:1"] {
            assert_eq!(parse_endpoint(malformed), None, "{malformed}");
        }
    }

    #[test]
    fn pauses_grow_and_are_bounded() {
        let mut core = core();
        assert!(core.is_dial_due(Instant::ZERO));
        let mut pauses = Vec::new();
        for _ in 0..40 {
            core.begin(Instant::ZERO);
            core.lost(Instant::ZERO).unwrap();
            assert!(!core.is_dial_due(Instant::ZERO));
            pauses.push(core.poll_timeout().unwrap().since_epoch());
        }
        assert!(pauses[0] >= PAUSE_MIN * 8 / 10 && pauses[0] <= PAUSE_MIN * 12 / 10, "{pauses:?}");
        assert!(pauses[3] > pauses[0]);
        assert!(pauses.iter().all(|pause| *pause <= PAUSE_MAX * 12 / 10));
    }

    #[test]
    fn nothing_is_told_of_a_link_that_was_never_up() {
        let mut core = core();
        core.begin(Instant::ZERO);
        core.lost(Instant::ZERO).unwrap();
        assert_eq!(core.next_message(), None);
        assert_eq!(core.send(Sid([0; 16]), Kind::Body, Bytes::new()), Err(SendError::Down));
        assert_eq!(core.writable(Sid([0; 16])), 0);
        assert_eq!(core.send_routed(None, Route::Group(b"g"), Kind::Body, Bytes::new()), Err(SendError::Down));
    }
}
