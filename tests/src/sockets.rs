//! The hosts with sockets: a driver in a thread of its own, peers on loopback, real time.
//!
//! All peers are moved by one loop on the scenario's thread, so that a peer that does not read really leaves its
//! bytes in the system's buffers.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use blastbeat_proto::address::BindAddr;
use blastbeat_proto::config::{Config, Serves};
use blastbeat_proto::engine::{Control, Engine, Report};
use blastbeat_runtime::driver::{Chaos, Handle, Options};
use bytes::Buf;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};

use crate::host::{Ended, Finish, Host, PATIENCE, Peer, PeerId, Remains};
use crate::recording::{self, Recording};

/// The system's buffer for what a peer has not read: small, so that a peer that stops is noticed soon.
const RECEIVE_BUFFER: usize = 64 * 1024;

/// Times that the server's figures have to be the same before it counts as having dealt with everything: when it has
/// read all that was sent, and when it has not (it may not want to, or chaos may keep it from it for a while).
const SAME_FIGURES: [usize; 2] = [2, 60];

const NEWS: Token = Token(usize::MAX);
const ENDPOINT: Token = Token(usize::MAX - 1);

type Run = fn(Engine, Options, &mut dyn FnMut(Report)) -> io::Result<()>;

/// A driver on loopback sockets.
pub struct Sockets {
    name: &'static str,
    run: Run,
    chaos: Option<Chaos>,
    poll: Poll,
    events: Events,
    waker: Arc<Waker>,
    server: Option<Server>,
    listening: Vec<BindAddr>,
    reports: Vec<Report>,
    peers: Vec<Wire>,
    endpoint: Option<TcpListener>,
    dialed: VecDeque<PeerId>,
    /// Bytes that all peers have sent.
    sent: u64,
}

struct Server {
    over: Arc<AtomicBool>,
    handle: Handle,
    news: Receiver<Report>,
    thread: JoinHandle<io::Result<()>>,
    recording: Recording,
}

/// Says that the driver's thread is over, even if it panics.
struct Farewell {
    over: Arc<AtomicBool>,
    waker: Arc<Waker>,
}

impl Drop for Farewell {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        // A scenario that is over does not listen any more.
        let _ = self.waker.wake();
    }
}

struct Wire {
    peer: Peer,
    stream: Option<Stream>,
    shut: bool,
}

enum Stream {
    Tcp(TcpStream),
    Unix(mio::net::UnixStream),
}

impl Sockets {
    /// The mio driver.
    pub fn mio() -> Self {
        Self::new("the mio driver", blastbeat_mio::run)
    }

    /// The smol driver.
    pub fn smol() -> Self {
        Self::new("the smol driver", blastbeat_smol::run)
    }

    /// The same with short reads and writes, spurious readiness and interrupted calls.
    pub fn with_chaos(mut self, seed: u64) -> Self {
        self.chaos = Some(Chaos::new(seed));
        self
    }

    /// Where a listener is, by its place in the configuration.
    pub fn address(&self, listener: usize) -> &BindAddr {
        &self.listening[listener]
    }

    fn new(name: &'static str, run: Run) -> Self {
        let poll = Poll::new().expect("the system has a selector");
        let waker = Waker::new(poll.registry(), NEWS).expect("a selector has a waker");
        Self {
            name,
            run,
            chaos: None,
            poll,
            events: Events::with_capacity(64),
            waker: Arc::new(waker),
            server: None,
            listening: Vec::new(),
            reports: Vec::new(),
            peers: Vec::new(),
            endpoint: None,
            dialed: VecDeque::new(),
            sent: 0,
        }
    }

    fn add(&mut self, mut stream: Stream) -> PeerId {
        let id = PeerId(self.peers.len());
        stream.register(&self.poll, Token(id.0)).expect("a fresh socket can be watched");
        self.peers.push(Wire { peer: Peer::default(), stream: Some(stream), shut: false });
        id
    }

    /// Takes reports that have come; `false` when there were none.
    fn hear(&mut self) -> bool {
        let Some(server) = &self.server else { return false };
        let before = self.reports.len();
        loop {
            match server.news.try_recv() {
                Ok(report) => self.reports.push(report),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => return self.reports.len() > before,
            }
        }
    }

    /// Moves what can be moved without waiting; `false` when nothing could.
    fn turn(&mut self) -> bool {
        let mut moved = self.hear();
        while let Some(endpoint) = &self.endpoint {
            let Ok((stream, _)) = endpoint.accept() else { break };
            let id = self.add(Stream::Tcp(stream));
            self.dialed.push_back(id);
            moved = true;
        }
        for wire in &mut self.peers {
            moved |= wire.write(&mut self.sent) | wire.read();
        }
        moved
    }

    /// Steps until `done`, within the hosts' patience.
    fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        while !done(self) {
            assert!(self.step(), "on {}: {what} never came; reports: {:?}", self.name, self.reports);
        }
    }
}

/// Moves the deadlines away that no scenario waits for in real time, for only a slow machine would meet them. Those of
/// socket.io's heartbeats stay, since its clients are told of them.
fn unhurried(mut config: Config) -> Config {
    let limits = &mut config.limits;
    let deadlines = [
        &mut limits.head_timeout,
        &mut limits.body_timeout,
        &mut limits.keep_alive_timeout,
        &mut limits.write_stall,
        &mut limits.node_timeout,
        &mut limits.queue_timeout,
        &mut limits.websocket_ping,
        &mut limits.socketio_connect_timeout,
        &mut limits.socketio_upgrade_timeout,
        &mut limits.handshake_timeout,
        &mut limits.heartbeat,
        &mut config.drain_timeout,
    ];
    for deadline in deadlines.into_iter().filter(|deadline| **deadline >= Duration::from_secs(10)) {
        *deadline *= 10;
    }
    config
}

impl Host for Sockets {
    fn name(&self) -> &'static str {
        self.name
    }

    fn is_virtual(&self) -> bool {
        false
    }

    fn start(&mut self, config: Config) {
        let wanted: Vec<_> =
            config.listeners.iter().map(|listener| (listener.serves, listener.address.clone())).collect();
        let (seed, now) = (recording::seed(1), blastbeat_proto::time::Instant::ZERO);
        let mut engine = crate::engine(unhurried(config), seed, now);
        let recording = Recording::start(&mut engine, seed, now);
        let handle = Handle::new();
        let (sender, news) = mpsc::channel();
        let (run, waker, chaos, driver_handle) = (self.run, Arc::clone(&self.waker), self.chaos.take(), handle.clone());
        let over = Arc::new(AtomicBool::new(false));
        let farewell = Farewell { over: Arc::clone(&over), waker: Arc::clone(&waker) };
        let thread = std::thread::spawn(move || {
            let _farewell = farewell;
            let options = Options { handle: driver_handle, chaos, ..Options::default() };
            run(engine, options, &mut |report| {
                // A scenario that is over does not listen any more.
                let _ = sender.send(report);
                let _ = waker.wake();
            })
        });
        self.server = Some(Server { over, handle, news, thread, recording });
        for (serves, address) in wanted {
            self.until("a listener", |host| {
                let Some(at) = host.reports.iter().position(|report| is_listener(report, serves, &address)) else {
                    return false;
                };
                if let Report::Listening { address, .. } = host.reports.remove(at) {
                    host.listening.push(address);
                }
                true
            });
        }
    }

    fn connect(&mut self, listener: usize) -> PeerId {
        let stream = match &self.listening[listener] {
            BindAddr::Tcp(address) => connect(*address).map(Stream::Tcp),
            BindAddr::Unix(path) => UnixStream::connect(path).and_then(|stream| {
                stream.set_nonblocking(true)?;
                Ok(Stream::Unix(mio::net::UnixStream::from_std(stream)))
            }),
        };
        match stream {
            Ok(stream) => self.add(stream),
            Err(_) => {
                let peer = Peer { ended: Some(Ended::Reset), ..Peer::default() };
                self.peers.push(Wire { peer, stream: None, shut: true });
                PeerId(self.peers.len() - 1)
            }
        }
    }

    fn listen(&mut self) -> String {
        let mut endpoint = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("loopback has a free port");
        self.poll.registry().register(&mut endpoint, ENDPOINT, Interest::READABLE).expect("a listener can be watched");
        let address = endpoint.local_addr().expect("a bound socket has an address");
        self.endpoint = Some(endpoint);
        format!("tcp://{address}")
    }

    fn dialed(&mut self) -> Option<PeerId> {
        self.dialed.pop_front()
    }

    fn peer(&mut self, id: PeerId) -> &mut Peer {
        &mut self.peers[id.0].peer
    }

    fn step(&mut self) -> bool {
        let deadline = Instant::now() + PATIENCE;
        while !self.turn() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            match self.poll.poll(&mut self.events, Some(left)) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => panic!("the selector failed: {error}"),
            }
            if self.events.iter().any(|event| event.token() == NEWS) {
                self.turn();
                return true;
            }
        }
        true
    }

    fn advance(&mut self, _by: Duration) {}

    fn settle(&mut self) {
        // What was sent is in the server's socket buffers, but a driver in chaos takes it byte by byte, and any driver
        // may answer the mailbox before the sockets: ask until the figures stand still.
        let (mut last, mut same) = (None, 0);
        loop {
            while self.turn() {}
            let Some(server) = self.server.as_ref().filter(|server| !server.is_over()) else { break };
            server.handle.control(Control::Stats);
            let mut figures = None;
            self.until("an answer of the server", |host| {
                let before = host.reports.len();
                host.reports.retain(|report| {
                    let Report::Stats(snapshot) = report else { return true };
                    figures = Some(snapshot.clone());
                    false
                });
                host.server.as_ref().is_none_or(Server::is_over) || host.reports.len() < before
            });
            same = if figures == last { same + 1 } else { 0 };
            let all_read = figures.as_ref().is_some_and(|figures| figures.stats.bytes_in == self.sent);
            last = figures;
            if same >= SAME_FIGURES[usize::from(!all_read)] {
                break;
            }
        }
        while self.turn() {}
    }

    fn control(&mut self, control: Control) {
        if let Some(server) = &self.server {
            server.handle.control(control);
        }
    }

    fn reports(&mut self) -> &mut Vec<Report> {
        self.hear();
        &mut self.reports
    }

    fn stop(&mut self) -> Remains {
        self.control(Control::Stop);
        self.until("the driver's end", |host| host.server.as_ref().is_none_or(Server::is_over));
        let server = self.server.take().expect("the server was started");
        let outcome = server.thread.join().expect("the driver does not panic");
        outcome.expect("the driver ends well");
        Remains { tape: server.recording.take() }
    }
}

impl Server {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }
}

impl Wire {
    fn write(&mut self, sent: &mut u64) -> bool {
        let Some(stream) = &mut self.stream else { return false };
        if self.peer.finish == Finish::Reset {
            stream.reset();
            self.stream = None;
            self.peer.ended = Some(Ended::Reset);
            return true;
        }
        let mut moved = false;
        while !self.shut && !self.peer.outgoing.is_empty() {
            match stream.write(&self.peer.outgoing) {
                Ok(n) => {
                    self.peer.outgoing.advance(n);
                    *sent += n as u64;
                    moved = true;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return moved,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => {
                    // The server no longer takes anything; what it had to say may still be there to read.
                    self.shut = true;
                }
            }
        }
        if self.shut {
            return moved;
        }
        match self.peer.finish {
            Finish::StayOpen | Finish::Reset => moved,
            Finish::HalfClose => {
                self.shut = true;
                stream.shutdown();
                true
            }
            Finish::Close => {
                self.stream = None;
                self.peer.ended = Some(Ended::Eof);
                true
            }
        }
    }

    fn read(&mut self) -> bool {
        let Some(stream) = &mut self.stream else { return false };
        if self.peer.paused || self.peer.ended.is_some() {
            return false;
        }
        let mut moved = false;
        let mut buffer = [0; 64 * 1024];
        loop {
            match stream.read(&mut buffer) {
                Ok(0) => {
                    self.peer.ended = Some(Ended::Eof);
                    return true;
                }
                Ok(n) => {
                    self.peer.incoming.extend_from_slice(&buffer[..n]);
                    moved = true;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return moved,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => {
                    self.peer.ended = Some(Ended::Reset);
                    return true;
                }
            }
        }
    }
}

impl Stream {
    fn register(&mut self, poll: &Poll, token: Token) -> io::Result<()> {
        let both = Interest::READABLE | Interest::WRITABLE;
        match self {
            Self::Tcp(stream) => poll.registry().register(stream, token, both),
            Self::Unix(stream) => poll.registry().register(stream, token, both),
        }
    }

    /// A peer that is already gone cannot be told; that is not the scenario's concern.
    fn shutdown(&mut self) {
        let _ = match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Self::Unix(stream) => stream.shutdown(Shutdown::Write),
        };
    }

    /// Makes closing it a reset.
    fn reset(&mut self) {
        if let Self::Tcp(stream) = self {
            rustix::net::sockopt::set_socket_linger(stream.as_fd(), Some(Duration::ZERO)).expect("sockets can linger");
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
        }
    }
}

/// Opens a connection whose receive buffer is small.
fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    use rustix::net::{self, AddressFamily, SocketType, sockopt};
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket: OwnedFd = net::socket(family, SocketType::STREAM, None)?;
    sockopt::set_socket_recv_buffer_size(&socket, RECEIVE_BUFFER)?;
    sockopt::set_tcp_nodelay(&socket, true)?;
    net::connect(&socket, &address)?;
    let stream = std::net::TcpStream::from(socket);
    stream.set_nonblocking(true)?;
    Ok(TcpStream::from_std(stream))
}

fn is_listener(report: &Report, wanted: Serves, at: &BindAddr) -> bool {
    let Report::Listening { serves, address } = report else { return false };
    let wanted = match wanted {
        Serves::Zmq => "zmq",
        Serves::Http { .. } if wanted.is_tls() => "https",
        Serves::Http { .. } => "http",
    };
    let same_kind = *serves == wanted;
    let same_place = match (address, at) {
        (BindAddr::Tcp(bound), BindAddr::Tcp(asked)) => {
            bound.ip() == asked.ip() && (asked.port() == 0 || asked.port() == bound.port())
        }
        (BindAddr::Unix(bound), BindAddr::Unix(asked)) => bound == asked,
        (BindAddr::Tcp(_), BindAddr::Unix(_)) | (BindAddr::Unix(_), BindAddr::Tcp(_)) => false,
    };
    same_kind && same_place
}
