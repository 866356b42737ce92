//! A kit for nodes that are futures: one link to a server, reconnected by itself.
//!
//! ```no_run
//! use blastbeat_smol::node::{Capabilities, Kind, Node};
//!
//! async_io::block_on(async {
//!     let mut node = Node::connect("tcp://127.0.0.1:5000", "FOO", Capabilities::default())?;
//!     loop {
//!         let message = node.recv().await?;
//!         if let (Some(sid), Kind::Uwsgi) = (message.sid, message.kind) {
//!             node.send(sid, Kind::Headers, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello\n").await?;
//!             node.send(sid, Kind::End, "").await?;
//!         }
//!     }
//!     # #[allow(unreachable_code)]
//!     # Ok::<(), std::io::Error>(())
//! });
//! ```

use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time;

use async_io::{Async, Timer};
use blastbeat_proto::dealer::SendError;
pub use blastbeat_proto::message::{Capabilities, Kind, Message, Route, Sid};
use blastbeat_proto::time::Instant;
use blastbeat_runtime::driver::{READ_BYTES, SLICES};
use blastbeat_runtime::net::{self, Endpoint, Stream};
use blastbeat_runtime::node::Core;
use blastbeat_runtime::resolve::Resolver;
use bytes::Bytes;

/// Queued bytes above which [`Node::send`] writes without waiting for [`Node::recv`].
const FLUSH_BYTES: usize = 64 * 1024;

/// A node.
///
/// Pings are answered inside [`recv`](Self::recv) (and inside a `send` that has to wait), so a node that does not await
/// it for long gets no new requests meanwhile. Any future of this type can be dropped: nothing that was received is
/// lost. A message whose `send` is dropped while it waits is not sent.
pub struct Node {
    core: Core,
    stream: Option<Async<Stream>>,
    /// The connection is not established yet.
    is_connecting: bool,
    attempts: u64,
    resolver: Resolver<u64>,
    /// Who waits for the resolver.
    waker: Arc<Mutex<Option<Waker>>>,
    timer: Timer,
    armed: Option<Instant>,
    buffer: Vec<u8>,
    start: time::Instant,
}

impl Node {
    /// Makes a node named `identity` for the server at `tcp://HOST:PORT` or `ipc://PATH`, which need not run yet: the
    /// connection is opened, and opened again whenever it broke, by [`recv`](Self::recv).
    ///
    /// # Errors
    ///
    /// `InvalidInput` if the endpoint or the identity is malformed.
    pub fn connect(endpoint: &str, identity: &str, capabilities: Capabilities) -> io::Result<Self> {
        let waker = Arc::new(Mutex::new(None::<Waker>));
        let waiting = waker.clone();
        let wake = move || {
            let waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
            waiting.into_iter().for_each(Waker::wake);
        };
        Ok(Self {
            core: Core::new(endpoint, identity, capabilities)?,
            stream: None,
            is_connecting: false,
            attempts: 0,
            resolver: Resolver::new(Box::new(wake)),
            waker,
            timer: Timer::never(),
            armed: None,
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
    /// `PermissionDenied` if the server refused this node for good.
    pub async fn recv(&mut self) -> io::Result<Message> {
        loop {
            if let Some(message) = self.core.next_message() {
                return Ok(message);
            }
            self.turn().await?;
        }
    }

    /// Sends a message of a session; `false` if the session is over, and the message dropped. It leaves with the next
    /// [`recv`](Self::recv) or [`flush`](Self::flush), at the latest when 64 KiB have come together. Waits while the
    /// session's client, or the server, is behind by more than may be queued.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv).
    pub async fn send(&mut self, sid: Sid, kind: Kind, body: impl Into<Bytes>) -> io::Result<bool> {
        self.send_by(body.into(), |core, body| core.send(sid, kind, body)).await
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
    pub async fn send_routed(
        &mut self,
        sid: Option<Sid>,
        route: Route<'_>,
        kind: Kind,
        body: impl Into<Bytes>,
    ) -> io::Result<bool> {
        self.send_by(body.into(), |core, body| core.send_routed(sid, route, kind, body)).await
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
    pub async fn flush(&mut self) -> io::Result<()> {
        if self.write().is_err() {
            self.lose()?;
        }
        while self.core.is_up() && self.core.queued() > 0 {
            self.turn().await?;
        }
        Ok(())
    }

    /// Says that the response of a session is complete. Needed with both capabilities `credit` and `quiet`, if no
    /// `end` is sent: what is known of the session is dropped once all of it has left.
    pub fn forget(&mut self, sid: Sid) {
        self.core.forget(sid);
    }

    async fn send_by(
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
            self.turn().await?;
        }
        if self.core.queued() > FLUSH_BYTES && self.write().is_err() {
            self.lose()?;
        }
        Ok(true)
    }

    fn now(&self) -> Instant {
        Instant::from_epoch(self.start.elapsed())
    }

    /// Writes what is queued and takes in what is there, or waits for something to happen.
    async fn turn(&mut self) -> io::Result<()> {
        if self.core.is_dial_due(self.now()) && self.dial().await.is_err() {
            self.lose()?;
        }
        let result = self.write().and_then(|()| self.read());
        if matches!(result, Ok(false)) && !self.core.is_over() {
            let is_due = poll_fn(|context| self.poll_event(context)).await;
            if is_due {
                self.armed = None;
                self.core.handle_timeout(self.now());
            } else if self.establish().is_err() {
                return self.lose();
            }
        }
        if result.is_err() || self.core.is_over() { self.lose() } else { Ok(()) }
    }

    /// Ready when the stream is, or, with `true`, when the deadline has come.
    fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        let deadline = self.core.poll_timeout();
        if deadline != self.armed {
            self.timer = deadline.map_or_else(Timer::never, |at| Timer::at(self.start + at.since_epoch()));
            self.armed = deadline;
        }
        if Pin::new(&mut self.timer).poll(context).is_ready() {
            return Poll::Ready(true);
        }
        let Some(stream) = &self.stream else { return Poll::Pending };
        let wants_write = self.is_connecting || self.core.queued() > 0;
        let writes = wants_write && stream.poll_writable(context).is_ready();
        let reads = !self.is_connecting && stream.poll_readable(context).is_ready();
        if reads || writes { Poll::Ready(false) } else { Poll::Pending }
    }

    async fn dial(&mut self) -> io::Result<()> {
        self.core.begin(self.now());
        self.attempts += 1;
        self.resolver.resolve(self.attempts, self.core.address().clone());
        let endpoint = poll_fn(|context| self.poll_endpoint(context)).await?;
        self.is_connecting = true;
        self.stream = Some(Async::new_nonblocking(net::connect(&endpoint)?)?);
        Ok(())
    }

    /// The endpoint of this attempt; answers to earlier ones are passed over.
    fn poll_endpoint(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Endpoint>> {
        *self.waker.lock().unwrap_or_else(PoisonError::into_inner) = Some(context.waker().clone());
        while let Some((attempt, endpoint)) = self.resolver.poll() {
            if attempt == self.attempts {
                return Poll::Ready(endpoint);
            }
        }
        Poll::Pending
    }

    fn establish(&mut self) -> io::Result<()> {
        match &self.stream {
            Some(stream) if self.is_connecting => {
                self.is_connecting = false;
                stream.get_ref().connected()
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Reads what is there, and says whether that was anything; the end of the stream is an error.
    fn read(&mut self) -> io::Result<bool> {
        let now = self.now();
        let Some(stream) = self.stream.as_ref().filter(|_| !self.is_connecting) else { return Ok(false) };
        match stream.get_ref().read(&mut self.buffer) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(n) => {
                self.core.receive(&self.buffer[..n], now);
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(true),
            Err(error) => Err(error),
        }
    }

    fn write(&mut self) -> io::Result<()> {
        let Some(stream) = self.stream.as_ref().filter(|_| !self.is_connecting) else { return Ok(()) };
        while let Some(outbound) = self.core.outbound().filter(|outbound| !outbound.is_empty()) {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let count = outbound.slices(&mut slices);
            match stream.get_ref().write_vectored(&slices[..count]) {
                Ok(n) => outbound.advance(n),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The connection is gone, or was never there.
    fn lose(&mut self) -> io::Result<()> {
        self.stream = None;
        self.is_connecting = false;
        self.core.lost(self.now())
    }
}
