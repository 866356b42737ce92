//! A kit for nodes that block: one thread, one link to a server, reconnected by itself.
//!
//! ```no_run
//! use blastbeat_mio::node::{Capabilities, Kind, Node};
//!
//! let mut node = Node::connect("tcp://127.0.0.1:5000", "FOO", Capabilities::default())?;
//! loop {
//!     let message = node.recv()?;
//!     if let (Some(sid), Kind::Uwsgi) = (message.sid, message.kind) {
//!         node.send(sid, Kind::Headers, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello\n")?;
//!         node.send(sid, Kind::End, "")?;
//!     }
//! }
//! # #[allow(unreachable_code)]
//! # Ok::<(), std::io::Error>(())
//! ```

use std::io::{self, ErrorKind, IoSlice};
use std::net::ToSocketAddrs;
use std::os::fd::AsRawFd;
use std::time;

use blastbeat_proto::address::Address;
use blastbeat_proto::dealer::SendError;
pub use blastbeat_proto::message::{Capabilities, Kind, Message, Route, Sid};
use blastbeat_proto::time::Instant;
use blastbeat_runtime::driver::{READ_BYTES, SLICES};
use blastbeat_runtime::net::{self, Endpoint, Stream};
use blastbeat_runtime::node::Core;
use bytes::Bytes;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

/// Queued bytes above which [`Node::send`] writes without waiting for [`Node::recv`].
const FLUSH_BYTES: usize = 64 * 1024;

/// A node.
///
/// Pings are answered inside [`recv`](Self::recv) (and inside a `send` that has to wait), so a node that works for long
/// without calling it gets no new requests meanwhile.
pub struct Node {
    core: Core,
    stream: Option<Stream>,
    /// The connection is not established yet.
    is_connecting: bool,
    is_readable: bool,
    is_writable: bool,
    /// The end of the stream is in the socket, and may have come in one event with the bytes before it.
    is_hung_up: bool,
    /// Which of the addresses of a name is next.
    attempts: usize,
    poll: Poll,
    events: Events,
    buffer: Vec<u8>,
    start: time::Instant,
}

impl Node {
    /// Makes a node named `identity` for the server at `tcp://HOST:PORT` or `ipc://PATH`, which need not run yet: the
    /// connection is opened, and opened again whenever it broke, by [`recv`](Self::recv).
    ///
    /// # Errors
    ///
    /// `InvalidInput` if the endpoint or the identity is malformed; or what the system says.
    pub fn connect(endpoint: &str, identity: &str, capabilities: Capabilities) -> io::Result<Self> {
        Ok(Self {
            core: Core::new(endpoint, identity, capabilities)?,
            stream: None,
            is_connecting: false,
            is_readable: false,
            is_writable: false,
            is_hung_up: false,
            attempts: 0,
            poll: Poll::new()?,
            events: Events::with_capacity(8),
            buffer: vec![0; READ_BYTES],
            start: time::Instant::now(),
        })
    }

    /// Waits for the next message. What was sent before leaves first.
    ///
    /// Two messages have no session: [`Kind::Spawn`] (fill the caches) and [`Kind::End`] (the link broke, and every
    /// session of it is over).
    ///
    /// # Errors
    ///
    /// `PermissionDenied` if the server refused this node for good; or what the system says.
    pub fn recv(&mut self) -> io::Result<Message> {
        loop {
            if let Some(message) = self.core.next_message() {
                return Ok(message);
            }
            self.turn()?;
        }
    }

    /// Sends a message of a session; `false` if the session is over, and the message dropped. It leaves with the next
    /// [`recv`](Self::recv) or [`flush`](Self::flush), at the latest when 64 KiB have come together. Waits while the
    /// session's client, or the server, is behind by more than may be queued.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv).
    pub fn send(&mut self, sid: Sid, kind: Kind, body: impl Into<Bytes>) -> io::Result<bool> {
        self.send_by(body.into(), |core, body| core.send(sid, kind, body))
    }

    /// Sends a message to a group of the session's virtual host, or to another session there, as
    /// [`send`](Self::send) does to its own client. Without a session the node speaks for itself, to the group in
    /// every virtual host that it serves; `false` then means that the link is down.
    ///
    /// With the capability `credit` the message stays behind what waits for the session's own client; the node's own
    /// waits for nobody's.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv); `InvalidInput` if the type takes no route ([`Kind::is_routable`]), or no group may be
    /// called so.
    pub fn send_routed(
        &mut self,
        sid: Option<Sid>,
        route: Route<'_>,
        kind: Kind,
        body: impl Into<Bytes>,
    ) -> io::Result<bool> {
        self.send_by(body.into(), |core, body| core.send_routed(sid, route, kind, body))
    }

    /// Bytes that [`send`](Self::send) takes for this session without waiting, for a node that would rather leave out a
    /// message than keep everybody waiting for one client; none if the session is over or the link is down.
    pub fn writable(&self, sid: Sid) -> usize {
        self.core.writable(sid)
    }

    /// Waits until all that was sent has left, except what waits for its client.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv).
    pub fn flush(&mut self) -> io::Result<()> {
        if self.write().is_err() {
            self.lose()?;
        }
        while self.core.is_up() && self.core.queued() > 0 {
            self.turn()?;
        }
        Ok(())
    }

    /// Says that the response of a session is complete. Needed with both capabilities `credit` and `quiet`, if no
    /// `end` is sent: what is known of the session is dropped once all of it has left.
    pub fn forget(&mut self, sid: Sid) {
        self.core.forget(sid);
    }

    fn send_by(
        &mut self,
        mut body: Bytes,
        send: impl Fn(&mut Core, Bytes) -> Result<(), SendError>,
    ) -> io::Result<bool> {
        loop {
            match send(&mut self.core, body) {
                Ok(()) => break,
                Err(SendError::Down | SendError::Ended) => return Ok(false),
                Err(SendError::Full(refused)) => body = refused,
                Err(error @ SendError::Unroutable) => return Err(io::Error::new(ErrorKind::InvalidInput, error)),
            }
            self.turn()?;
        }
        if self.core.queued() > FLUSH_BYTES && self.write().is_err() {
            self.lose()?;
        }
        Ok(true)
    }

    fn now(&self) -> Instant {
        Instant::from_epoch(self.start.elapsed())
    }

    /// Writes what is queued, waits for something to happen, and takes it in.
    fn turn(&mut self) -> io::Result<()> {
        if self.core.is_dial_due(self.now()) && self.dial().is_err() {
            self.lose()?;
        }
        if self.write().is_err() {
            self.lose()?;
        }
        // What could be read and written was, so that readiness comes as an event.
        let timeout = if self.is_readable { Some(Instant::ZERO) } else { self.core.poll_timeout() };
        let timeout = timeout.map(|at| at.since(self.now()));
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            result => result?,
        }
        for event in &self.events {
            self.is_hung_up |= event.is_read_closed() || event.is_error();
            self.is_readable |= event.is_readable() || self.is_hung_up;
            self.is_writable |= event.is_writable() || event.is_error();
        }
        let now = self.now();
        let result = self.establish().and_then(|()| self.read(now)).and_then(|()| self.write());
        self.core.handle_timeout(now);
        if result.is_err() || self.core.is_over() { self.lose() } else { Ok(()) }
    }

    fn dial(&mut self) -> io::Result<()> {
        self.core.begin(self.now());
        let endpoint = match self.core.address() {
            Address::Unix(path) => Endpoint::Unix(path.clone()),
            Address::Tcp { host, port } => {
                let addresses: Vec<_> = (host.as_str(), *port).to_socket_addrs()?.collect();
                let turn = self.attempts % addresses.len().max(1);
                Endpoint::Tcp(*addresses.get(turn).ok_or(ErrorKind::NotFound)?)
            }
        };
        self.attempts = self.attempts.wrapping_add(1);
        let stream = net::connect(&endpoint)?;
        let both = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut SourceFd(&stream.as_raw_fd()), Token(0), both)?;
        self.is_connecting = true;
        self.stream = Some(stream);
        Ok(())
    }

    fn establish(&mut self) -> io::Result<()> {
        match &self.stream {
            Some(stream) if self.is_connecting && self.is_writable => {
                self.is_connecting = false;
                stream.connected()
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Reads what is there; the end of the stream is an error.
    fn read(&mut self, now: Instant) -> io::Result<()> {
        let Some(stream) = &self.stream else { return Ok(()) };
        if !self.is_readable || self.is_connecting {
            return Ok(());
        }
        match stream.read(&mut self.buffer) {
            Ok(0) => {
                self.is_readable = false;
                Err(ErrorKind::UnexpectedEof.into())
            }
            Ok(n) => {
                // A short read has emptied the socket: what comes later is a new event.
                self.is_readable = n == self.buffer.len() || self.is_hung_up;
                self.core.receive(&self.buffer[..n], now);
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.is_readable = false;
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn write(&mut self) -> io::Result<()> {
        let Some(stream) = &self.stream else { return Ok(()) };
        while self.is_writable && !self.is_connecting {
            let Some(outbound) = self.core.outbound().filter(|outbound| !outbound.is_empty()) else { break };
            let mut slices = [IoSlice::new(&[]); SLICES];
            let count = outbound.slices(&mut slices);
            match stream.write_vectored(&slices[..count]) {
                Ok(n) => outbound.advance(n),
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.is_writable = false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The connection is gone, or was never there.
    fn lose(&mut self) -> io::Result<()> {
        if let Some(stream) = self.stream.take() {
            self.poll.registry().deregister(&mut SourceFd(&stream.as_raw_fd()))?;
        }
        (self.is_connecting, self.is_readable, self.is_writable, self.is_hung_up) = (false, false, false, false);
        self.core.lost(self.now())
    }
}
