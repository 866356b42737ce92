//! A server for one node at a time: blocking sockets around the ZMTP machine.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;

use blastbeat_proto::error::Cause;
use blastbeat_proto::limits::Limits;
use blastbeat_proto::time::Instant;
use blastbeat_proto::zmtp::{Connection, Event, Message, Role, Settings};

pub const SID: [u8; 16] = *b"0123456789abcdef";
pub const OTHER: [u8; 16] = *b"fedcba9876543210";

pub enum Server {
    Tcp(TcpListener),
    Unix(UnixListener),
}

trait Stream: Read + Write + Send {}

impl<S: Read + Write + Send> Stream for S {}

/// A link to a node.
pub struct Link {
    stream: Box<dyn Stream>,
    link: Connection,
    kept: Vec<u8>,
}

impl Server {
    pub fn tcp() -> Self {
        Self::Tcp(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    pub fn unix(path: &Path) -> Self {
        Self::Unix(UnixListener::bind(path).unwrap())
    }

    pub fn endpoint(&self) -> String {
        match self {
            Self::Tcp(listener) => format!("tcp://{}", listener.local_addr().unwrap()),
            Self::Unix(listener) => {
                format!("ipc://{}", listener.local_addr().unwrap().as_pathname().unwrap().display())
            }
        }
    }

    /// Takes a node in, up to its first `pong`.
    pub fn accept(&self) -> Link {
        let mut link = self.open();
        let Some(Event::Peer { identity, .. }) = link.event() else { panic!("a node says who it is") };
        assert_eq!(identity, "FOO");
        link.link.accept(Instant::ZERO).unwrap();
        link.flush();
        assert_eq!(link.recv()[1], b"pong");
        link
    }

    /// Turns a node away for good.
    pub fn refuse(&self) {
        let mut link = self.open();
        assert!(matches!(link.event(), Some(Event::Peer { .. })));
        link.link.refuse(Cause::IdentityUnknown, Instant::ZERO).unwrap();
        link.flush();
    }

    fn open(&self) -> Link {
        let stream: Box<dyn Stream> = match self {
            Self::Tcp(listener) => Box::new(listener.accept().unwrap().0),
            Self::Unix(listener) => Box::new(listener.accept().unwrap().0),
        };
        let settings = Settings::new(Role::Router, &Limits::DEFAULT);
        let mut link = Link { stream, link: Connection::new(Arc::new(settings), Instant::ZERO), kept: Vec::new() };
        link.flush();
        link
    }
}

impl Link {
    pub fn send(&mut self, sid: &[u8], kind: &str, body: &[u8]) {
        self.link.send(&[sid, kind.as_bytes(), body]).unwrap();
        self.flush();
    }

    /// The frames of the next message.
    pub fn recv(&mut self) -> Vec<Vec<u8>> {
        let frames = |message: Message| message.frames().map(<[u8]>::to_vec).collect();
        match self.event() {
            Some(Event::Message(message)) => frames(message),
            other => panic!("{other:?}"),
        }
    }

    /// The next event; `None` at the end of the stream.
    pub fn event(&mut self) -> Option<Event> {
        let mut buffer = [0; 16 * 1024];
        loop {
            let used = self.link.receive(&self.kept, Instant::ZERO);
            self.kept.drain(..used);
            if let Some(event) = self.link.poll_event() {
                return Some(event);
            }
            let n = self.stream.read(&mut buffer).unwrap();
            if n == 0 {
                return None;
            }
            self.kept.extend_from_slice(&buffer[..n]);
        }
    }

    fn flush(&mut self) {
        self.stream.write_all(&self.link.outbound().take()).unwrap();
    }
}
