//! One connection of the load generator.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use blastbeat_proto::http::{Event, Request, Settings};
use blastbeat_proto::http1::Connection;
use blastbeat_proto::time::Instant as Time;
use bytes::Bytes;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

/// What became of a connection when it was attended.
pub(super) enum Outcome {
    /// Nothing yet.
    Pending,
    /// The request was answered.
    Answered { status: u16, due: Instant, open: bool },
    /// The connection is over.
    Over { why: String },
}

/// One connection, with at most one request.
pub(super) struct Client {
    stream: TcpStream,
    http: Connection,
    unread: Vec<u8>,
    due: Option<Instant>,
    status: u16,
    ended: bool,
}

impl Client {
    pub(super) fn open(to: SocketAddr, settings: Arc<Settings>, registry: &Registry, token: Token) -> io::Result<Self> {
        let mut stream = TcpStream::connect(to)?;
        stream.set_nodelay(true)?;
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        // The client role has no deadlines: its time stands still.
        let http = Connection::client(settings, Time::ZERO);
        Ok(Self { stream, http, unread: Vec::new(), due: None, status: 0, ended: false })
    }

    pub(super) fn is_busy(&self) -> bool {
        self.due.is_some()
    }

    pub(super) fn begin(&mut self, request: &Request, body: &Bytes, due: Instant) {
        self.due = Some(due);
        let mut events = vec![Event::Request(request.clone())];
        if !body.is_empty() {
            events.push(Event::Body(body.clone()));
        }
        events.push(Event::End);
        for event in events {
            // A connection that is closing refuses; attending it tells why.
            let _ = self.http.send(event, Time::ZERO);
        }
    }

    /// Writes what is to be written and reads what is there.
    pub(super) fn attend(&mut self, bytes: &mut u64) -> Outcome {
        match self.exchange(bytes) {
            Ok(Some(outcome)) => outcome,
            Ok(None) => Outcome::Pending,
            Err(error) => Outcome::Over { why: error.kind().to_string() },
        }
    }

    fn exchange(&mut self, bytes: &mut u64) -> io::Result<Option<Outcome>> {
        self.write()?;
        let mut buffer = [0; 64 * 1024];
        loop {
            if let Some(outcome) = self.take_events() {
                return Ok(Some(outcome));
            }
            if self.ended {
                let why = self.http.is_closing().map_or("closed early", |cause| cause.name());
                return Ok(Some(Outcome::Over { why: why.to_owned() }));
            }
            match self.stream.read(&mut buffer) {
                Ok(0) => {
                    self.ended = true;
                    self.http.receive_eof(Time::ZERO);
                }
                Ok(n) => {
                    *bytes += n as u64;
                    if self.unread.is_empty() {
                        // The usual case: nothing is kept between reads.
                        let used = self.feed(&buffer[..n]);
                        if let Some(outcome) = used.1 {
                            self.unread.extend_from_slice(&buffer[used.0..n]);
                            return Ok(Some(outcome));
                        }
                        self.unread.extend_from_slice(&buffer[used.0..n]);
                    } else {
                        self.unread.extend_from_slice(&buffer[..n]);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn write(&mut self) -> io::Result<()> {
        while !self.http.outbound().is_empty() {
            let mut slices = [IoSlice::new(&[]); 16];
            let count = self.http.outbound().slices(&mut slices);
            match self.stream.write_vectored(&slices[..count]) {
                Ok(n) => self.http.outbound().advance(n),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Gives bytes to the machine: how many it took, and an outcome if there is one.
    fn feed(&mut self, bytes: &[u8]) -> (usize, Option<Outcome>) {
        let mut used = 0;
        loop {
            let taken = self.http.receive(&bytes[used..], Time::ZERO);
            used += taken;
            let mut any = false;
            while let Some(event) = self.http.poll_event() {
                any = true;
                if let Some(outcome) = self.hear(event) {
                    return (used, Some(outcome));
                }
            }
            if taken == 0 && !any {
                return (used, None);
            }
        }
    }

    fn take_events(&mut self) -> Option<Outcome> {
        let unread = std::mem::take(&mut self.unread);
        let (used, outcome) = self.feed(&unread);
        self.unread = unread;
        self.unread.drain(..used);
        outcome
    }

    fn hear(&mut self, event: Event) -> Option<Outcome> {
        match event {
            Event::Response(response) if !response.is_interim() => self.status = response.status,
            Event::Response(_) | Event::Request(_) | Event::Body(_) => {}
            Event::End => {
                let due = self.due.take()?;
                let open = self.http.is_closing().is_none() && !self.ended;
                return Some(Outcome::Answered { status: self.status, due, open });
            }
        }
        None
    }
}
