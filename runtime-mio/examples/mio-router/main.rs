//! A ROUTER made of `blastbeat_proto::zmtp` and mio, and nothing else: what one hop between the server and a node costs.
//!
//!     cargo run --release -p blastbeat-mio --example mio-router -- tcp://127.0.0.1:5000

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for the command line")]

mod app;

use std::fs;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::os::unix::fs::FileTypeExt;
use std::time;

use app::{Endpoint, Options, Peer, Work};
use blastbeat_proto::time::Instant;
use blastbeat_proto::timers::Timers;
use mio::event::Source;
use mio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use mio::{Events, Interest, Poll, Registry, Token};

const LISTENER: Token = Token(usize::MAX);

fn main() -> io::Result<()> {
    let options = Options::read("mio-router");
    match &options.endpoint {
        Endpoint::Tcp(address) => {
            let address = address.parse().map_err(|_| io::Error::other("an IP address and a port are needed"))?;
            let listener = TcpListener::bind(address)?;
            Router::new(listener, options)?.run(|listener| {
                let (stream, _) = listener.accept()?;
                stream.set_nodelay(true)?;
                Ok(stream)
            })
        }
        Endpoint::Ipc(path) => {
            // A socket that was left behind would be in the way.
            if fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket()) {
                fs::remove_file(path)?;
            }
            let listener = UnixListener::bind(path)?;
            Router::new(listener, options)?.run(|listener: &UnixListener| Ok(listener.accept()?.0))
        }
    }
}

/// What both kinds of streams can do.
trait Stream: Source + Read + Write {}

impl Stream for TcpStream {}
impl Stream for UnixStream {}

struct Router<L> {
    listener: L,
    poll: Poll,
    options: Options,
    start: time::Instant,
    timers: Timers,
}

struct Client<S> {
    stream: S,
    peer: Peer,
    readable: bool,
    writable: bool,
    /// The end of the stream is in the socket, and may have come in one event with the bytes before it.
    hung_up: bool,
}

impl<L: Source> Router<L> {
    fn new(mut listener: L, options: Options) -> io::Result<Self> {
        let poll = Poll::new()?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        Ok(Self { listener, poll, options, start: time::Instant::now(), timers: Timers::new() })
    }

    fn now(&self) -> Instant {
        Instant::from_epoch(self.start.elapsed())
    }

    fn run<S: Stream>(mut self, accept: impl Fn(&L) -> io::Result<S>) -> io::Result<()> {
        let mut events = Events::with_capacity(256);
        let mut clients: Vec<Option<Client<S>>> = Vec::new();
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let timeout = self.timers.poll_timeout().map(|at| at.since(self.now()));
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                result => result?,
            }
            let now = self.now();
            for event in &events {
                if event.token() == LISTENER {
                    self.accept_all(&accept, &mut clients, now)?;
                    continue;
                }
                let slot = event.token().0;
                if let Some(client) = &mut clients[slot] {
                    client.hung_up |= event.is_read_closed() || event.is_error();
                    client.readable |= event.is_readable() || client.hung_up;
                    client.writable |= event.is_writable();
                    let is_open = client.serve(&mut buffer, now, &mut self.options.work).unwrap_or(false);
                    self.settle(&mut clients[slot], slot, is_open)?;
                }
            }
            while let Some(slot) = self.timers.pop_due(now) {
                if let Some(client) = &mut clients[slot] {
                    client.peer.link.handle_timeout(now);
                    let is_open = client.serve(&mut buffer, now, &mut self.options.work).unwrap_or(false);
                    self.settle(&mut clients[slot], slot, is_open)?;
                }
            }
            if let Work::Measure(hop) = &self.options.work
                && hop.is_done()
            {
                return Ok(());
            }
        }
    }

    fn accept_all<S: Stream>(
        &mut self,
        accept: &impl Fn(&L) -> io::Result<S>,
        clients: &mut Vec<Option<Client<S>>>,
        now: Instant,
    ) -> io::Result<()> {
        loop {
            let mut stream = match accept(&self.listener) {
                Ok(stream) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(error),
            };
            let slot = clients.iter().position(Option::is_none).unwrap_or(clients.len());
            let registry: &Registry = self.poll.registry();
            registry.register(&mut stream, Token(slot), Interest::READABLE | Interest::WRITABLE)?;
            let peer = Peer::new(&self.options.settings, now);
            self.timers.set(slot, peer.link.poll_timeout());
            let client = Some(Client { stream, peer, readable: false, writable: false, hung_up: false });
            if slot == clients.len() { clients.push(client) } else { clients[slot] = client }
        }
    }

    /// Sets the deadline of a client, or drops it.
    fn settle<S: Stream>(&mut self, client: &mut Option<Client<S>>, slot: usize, is_open: bool) -> io::Result<()> {
        if let Some(open) = client {
            self.timers.set(slot, if is_open { open.peer.link.poll_timeout() } else { None });
            if !is_open {
                self.poll.registry().deregister(&mut open.stream)?;
                *client = None;
            }
        }
        Ok(())
    }
}

impl<S: Stream> Client<S> {
    /// Reads what is there, answers it, writes the answers. Says whether the client is to be kept.
    fn serve(&mut self, buffer: &mut [u8], now: Instant, work: &mut Work) -> io::Result<bool> {
        loop {
            while self.readable && self.peer.wants_input() {
                match self.stream.read(buffer) {
                    Ok(0) => return Ok(false),
                    Ok(n) => {
                        // A short read has emptied the socket: what comes later is a new event.
                        self.readable = n == buffer.len() || self.hung_up;
                        self.peer.receive(&buffer[..n], now, work);
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => self.readable = false,
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            self.flush()?;
            if !(self.readable && self.peer.wants_input()) {
                return Ok(self.peer.link.is_closing().is_none() || self.peer.link.queued() > 0);
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        while self.writable && !self.peer.link.outbound().is_empty() {
            let outbound = self.peer.link.outbound();
            let mut slices = [IoSlice::new(&[]); 16];
            let count = outbound.slices(&mut slices);
            match self.stream.write_vectored(&slices[..count]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(n) => outbound.advance(n),
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.writable = false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
