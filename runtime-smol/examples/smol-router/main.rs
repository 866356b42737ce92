//! A ROUTER made of `blastbeat_proto::zmtp` and async-io, and nothing else: what one hop between the server and a node
//! costs.
//!
//!     cargo run --release -p blastbeat-smol --example smol-router -- tcp://127.0.0.1:5000

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for the command line")]

// The work is the same whatever carries the bytes.
#[path = "../../../runtime-mio/examples/mio-router/app.rs"]
mod app;

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixListener;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::{fs, process, time};

use app::{Endpoint, Options, Peer, Work};
use async_executor::LocalExecutor;
use async_io::{Async, Timer};
use blastbeat_proto::time::Instant;
use blastbeat_proto::zmtp::Settings;

fn main() -> io::Result<()> {
    let options = Options::read("smol-router");
    let shared = Rc::new(Shared {
        start: time::Instant::now(),
        buffer: RefCell::new(vec![0; 64 * 1024]),
        work: RefCell::new(options.work),
    });
    let executor = Rc::new(LocalExecutor::new());
    // A task of its own: the future that is given to `run` is polled at every turn, and would ask for connections then.
    let accepting = executor.spawn(accept(executor.clone(), options.endpoint, options.settings, shared));
    async_io::block_on(executor.run(accepting))
}

async fn accept(
    executor: Rc<LocalExecutor<'static>>,
    endpoint: Endpoint,
    settings: Arc<Settings>,
    shared: Rc<Shared>,
) -> io::Result<()> {
    match endpoint {
        Endpoint::Tcp(address) => {
            let address: SocketAddr =
                address.parse().map_err(|_| io::Error::other("an IP address and a port are needed"))?;
            let listener = Async::<TcpListener>::bind(address)?;
            loop {
                let Some((stream, _)) = accepted(listener.accept().await)? else { continue };
                stream.get_ref().set_nodelay(true)?;
                let peer = Peer::new(&settings, shared.now());
                executor.spawn(shared.clone().serve(stream, peer)).detach();
            }
        }
        Endpoint::Ipc(path) => {
            // A socket that was left behind would be in the way.
            if fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.file_type().is_socket()) {
                fs::remove_file(&path)?;
            }
            let listener = Async::<UnixListener>::bind(path)?;
            loop {
                let Some((stream, _)) = accepted(listener.accept().await)? else { continue };
                let peer = Peer::new(&settings, shared.now());
                executor.spawn(shared.clone().serve(stream, peer)).detach();
            }
        }
    }
}

/// A connection that broke before it was accepted is no failure.
fn accepted<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(accepted) => Ok(Some(accepted)),
        Err(error) if error.kind() == ErrorKind::ConnectionAborted => Ok(None),
        Err(error) => Err(error),
    }
}

/// What all connections of the one thread share. Nothing is borrowed while a task waits.
struct Shared {
    start: time::Instant,
    buffer: RefCell<Vec<u8>>,
    work: RefCell<Work>,
}

impl Shared {
    fn now(&self) -> Instant {
        Instant::from_epoch(self.start.elapsed())
    }

    /// Carries one connection to its end.
    async fn serve<S>(self: Rc<Self>, stream: Async<S>, mut peer: Peer)
    where
        for<'a> &'a S: Read + Write,
    {
        let (mut timer, mut armed) = (Timer::never(), None);
        // Any failure of the stream is the end of the connection, and there is nobody to tell.
        while let Ok(true) = self.turn(stream.get_ref(), &mut peer) {
            let deadline = peer.link.poll_timeout();
            if deadline != armed {
                timer = deadline.map_or_else(Timer::never, |at| Timer::at(self.start + at.since_epoch()));
                armed = deadline;
            }
            let is_due = poll_fn(|context| {
                if Pin::new(&mut timer).poll(context).is_ready() {
                    return Poll::Ready(true);
                }
                let reads = peer.wants_input() && stream.poll_readable(context).is_ready();
                let writes = peer.link.queued() > 0 && stream.poll_writable(context).is_ready();
                if reads || writes { Poll::Ready(false) } else { Poll::Pending }
            });
            if is_due.await {
                armed = None;
                peer.link.handle_timeout(self.now());
            }
        }
    }

    /// Reads what is there, answers it, writes the answers. Says whether the connection is to be kept.
    fn turn<S>(&self, stream: &S, peer: &mut Peer) -> io::Result<bool>
    where
        for<'a> &'a S: Read + Write,
    {
        let buffer = &mut *self.buffer.borrow_mut();
        let work = &mut *self.work.borrow_mut();
        let mut is_readable = true;
        loop {
            while is_readable && peer.wants_input() {
                match (&*stream).read(buffer) {
                    Ok(0) => return Ok(false),
                    Ok(n) => {
                        is_readable = n == buffer.len();
                        peer.receive(&buffer[..n], self.now(), work);
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => is_readable = false,
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            let is_blocked = flush(stream, peer)?;
            if let Work::Measure(hop) = work
                && hop.is_done()
            {
                process::exit(0);
            }
            if is_blocked || !(is_readable && peer.wants_input()) {
                return Ok(peer.link.is_closing().is_none() || peer.link.queued() > 0);
            }
        }
    }
}

/// Writes what is queued. Says whether the stream took less than that.
fn flush<S>(stream: &S, peer: &mut Peer) -> io::Result<bool>
where
    for<'a> &'a S: Write,
{
    while !peer.link.outbound().is_empty() {
        let outbound = peer.link.outbound();
        let mut slices = [IoSlice::new(&[]); 16];
        let count = outbound.slices(&mut slices);
        match (&*stream).write_vectored(&slices[..count]) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(n) => outbound.advance(n),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}
