//! The node's side of a link, with a server that says anything or keeps to the protocol.

use std::collections::BTreeMap;
use std::sync::Arc;

use blastbeat_proto::dealer::{Dealer, Event, SendError, Settings};
use blastbeat_proto::error::Cause;
use blastbeat_proto::limits::Limits;
use blastbeat_proto::message::{Capabilities, Kind, Sid};
use blastbeat_proto::time::Instant;
use blastbeat_proto::zmtp;
use bytes::Bytes;

const NOW: Instant = Instant::ZERO;
const SESSIONS: usize = 3;
const SESSION_BYTES: usize = 500;
const QUEUE_BYTES: usize = 1000;

// Invariants: bytes cut in any way give the same events, the same output and the same end. What a session sends arrives
// unchanged, in order, and with flow control never more of it than was granted; nothing of it arrives after its end.
// Sessions are bounded, and what waits for them is given back when they end.
/// Runs one input: the first byte says how, and what the node asks for.
pub fn body(data: &[u8]) {
    let Some((&choice, data)) = data.split_first() else { return };
    let settings = settings(choice >> 1);
    if choice & 1 == 0 { noise(&settings, data) } else { Talk::new(settings).run(data) }
}

fn settings(choice: u8) -> Settings {
    let capabilities = Capabilities { credit: choice & 1 != 0, quiet: choice & 2 != 0, ..Capabilities::default() };
    let mut settings = Settings::new(Bytes::from_static(b"node"), capabilities, &Limits::DEFAULT);
    let link = zmtp::Settings::new(zmtp::Role::Dealer, &Limits { message_bytes: 300, ..Limits::DEFAULT });
    settings.link = Arc::new(zmtp::Settings { identity: Bytes::from_static(b"node"), ..link });
    settings.session_bytes = SESSION_BYTES;
    settings.queue_bytes = QUEUE_BYTES;
    settings.sessions = SESSIONS;
    settings
}

fn router() -> zmtp::Connection {
    zmtp::Connection::new(Arc::new(zmtp::Settings::new(zmtp::Role::Router, &Limits::DEFAULT)), NOW)
}

// ---- any bytes ----

#[derive(Debug, PartialEq)]
struct Seen {
    events: Vec<Event>,
    output: Vec<u8>,
    closing: Option<Cause>,
    dropped: u64,
}

fn noise(settings: &Settings, data: &[u8]) {
    let (step, data) = data.split_first().map_or((1, data), |(step, rest)| (usize::from(*step).max(1), rest));
    // Half of the inputs begin when the link is up.
    let mut bytes = Vec::new();
    if step % 2 == 0 {
        let mut server = router();
        let mut node = Dealer::new(settings.clone(), NOW);
        bytes.extend(server.outbound().take());
        assert_eq!(node.receive(&bytes, NOW), bytes.len());
        let said = node.outbound().take();
        assert_eq!(server.receive(&said, NOW), said.len());
        assert!(matches!(server.poll_event(), Some(zmtp::Event::Peer { .. })));
        server.accept(NOW).expect("it waits for that");
        bytes.extend(server.outbound().take());
    }
    bytes.extend_from_slice(data);
    let whole = listen(settings, &bytes, usize::MAX);
    assert_eq!(listen(settings, &bytes, step), whole);
    assert_eq!(listen(settings, &bytes, 1), whole);
}

fn listen(settings: &Settings, data: &[u8], step: usize) -> Seen {
    let mut node = Dealer::new(settings.clone(), NOW);
    let mut seen = Seen { events: Vec::new(), output: Vec::new(), closing: None, dropped: 0 };
    let mut kept = Vec::new();
    for piece in data.chunks(step) {
        kept.extend_from_slice(piece);
        loop {
            let used = node.receive(&kept, NOW);
            kept.drain(..used);
            let event = node.poll_event();
            let is_done = used == 0 && event.is_none();
            seen.events.extend(event);
            seen.output.extend(node.outbound().take());
            assert!(node.session_count() <= SESSIONS);
            if is_done {
                break;
            }
        }
    }
    seen.closing = node.is_closing();
    seen.dropped = node.dropped();
    seen
}

// ---- operations ----

struct Talk {
    server: zmtp::Connection,
    node: Dealer,
    has_credit: bool,
    sessions: BTreeMap<Sid, Session>,
    next: u8,
}

/// What must come of a session.
#[derive(Default)]
struct Session {
    /// Taken from the caller, and not yet at the server.
    under_way: Vec<u8>,
    granted: u64,
    arrived: u64,
    is_over: bool,
}

impl Talk {
    fn new(settings: Settings) -> Self {
        let has_credit = settings.capabilities.credit;
        let node = Dealer::new(settings, NOW);
        let mut talk = Self { server: router(), node, has_credit, sessions: BTreeMap::new(), next: 0 };
        talk.pass();
        assert!(talk.node.is_up() && talk.server.is_up());
        talk
    }

    fn run(mut self, data: &[u8]) {
        for operation in data.chunks_exact(3) {
            let [kind, place, size] = *operation else { return };
            let sid = Sid([place % 5; Sid::LEN]);
            match kind % 10 {
                0 => self.tell(sid, "uwsgi", b""),
                1 => self.tell(sid, "credit", (u32::from(size) * 7).to_string().as_bytes()),
                2 => self.tell(sid, "end", b""),
                3 => self
                    .server
                    .send(&[b"", [&b"ping"[..], b"spawn", b"body", b"error"][usize::from(size) % 4], b""])
                    .expect("the link is up"),
                4 => self.tell(sid, ["credit", "body", "nonsense", "credit"][usize::from(size) % 4], b"-1"),
                5 | 6 => self.say(sid, Kind::Body, usize::from(size) * 3),
                7 => self.say(sid, [Kind::Headers, Kind::Chunk, Kind::End, Kind::Retry][usize::from(size) % 4], 20),
                8 => self.forget(sid),
                _ => self.pass(),
            }
            assert!(self.node.session_count() <= SESSIONS);
            assert!(self.node.writable(sid) <= self.node.room());
        }
        self.pass();
        for place in 0..5 {
            self.tell(Sid([place; Sid::LEN]), "end", b"");
        }
        self.pass();
        assert_eq!((self.node.session_count(), self.node.room()), (0, QUEUE_BYTES), "all is given back");
    }

    /// The server says something about a session. The node hears it at once, so that both know the same.
    fn tell(&mut self, sid: Sid, kind: &str, body: &[u8]) {
        self.pass();
        self.server.send(&[&sid.0, kind.as_bytes(), body]).expect("the link is up");
        let granted = std::str::from_utf8(body).ok().and_then(|text| text.parse::<u64>().ok());
        let is_known = self.sessions.get(&sid).is_some_and(|session| !session.is_over || !session.under_way.is_empty());
        match kind {
            "uwsgi" if self.has_credit && !is_known && self.node.session_count() >= SESSIONS => {}
            "uwsgi" => drop(self.sessions.insert(sid, Session::default())),
            "end" => drop(self.sessions.remove(&sid)),
            _ => {
                if let (Some(session), Some(bytes), "credit") = (self.sessions.get_mut(&sid), granted, kind) {
                    session.granted += bytes;
                }
            }
        }
        self.pass();
    }

    fn say(&mut self, sid: Sid, kind: Kind, size: usize) {
        let body: Vec<u8> = (0..size).map(|at| self.next.wrapping_add(at as u8)).collect();
        self.next = self.next.wrapping_add(31);
        match self.node.send(sid, kind, Bytes::copy_from_slice(&body)) {
            Ok(()) => {
                let session = self.sessions.entry(sid);
                // Without flow control nothing is known of sessions.
                let session = session.or_default();
                assert!(!self.has_credit || !session.is_over, "nothing is taken after the end");
                session.under_way.extend_from_slice(&body);
                session.is_over |= kind == Kind::End;
            }
            Err(SendError::Full(back)) => assert_eq!(back, body, "what is not taken is given back"),
            Err(SendError::Ended) => {
                assert!(self.has_credit && self.sessions.get(&sid).is_none_or(|session| session.is_over));
            }
            Err(SendError::Down) => panic!("the link is up"),
        }
    }

    fn forget(&mut self, sid: Sid) {
        self.node.forget(sid);
        if let Some(session) = self.sessions.get_mut(&sid) {
            session.is_over = true;
        }
    }

    /// Passes bytes both ways until nobody has any.
    fn pass(&mut self) {
        loop {
            let (said, told) = (self.node.outbound().take(), self.server.outbound().take());
            if said.is_empty() && told.is_empty() {
                return;
            }
            let mut rest = &told[..];
            loop {
                let used = self.node.receive(rest, NOW);
                rest = &rest[used..];
                if self.node.poll_event().is_none() && (used == 0 || rest.is_empty()) {
                    break;
                }
            }
            let mut rest = &said[..];
            loop {
                let used = self.server.receive(rest, NOW);
                rest = &rest[used..];
                match self.server.poll_event() {
                    Some(zmtp::Event::Peer { .. }) => self.server.accept(NOW).expect("it waits for that"),
                    Some(zmtp::Event::Message(message)) => self.arrive(&message),
                    Some(zmtp::Event::Hello(_)) => panic!("nobody asked for a password"),
                    None if used == 0 || rest.is_empty() => break,
                    None => {}
                }
            }
            assert_eq!((self.server.violation(), self.node.is_closing()), (None, None));
        }
    }

    /// A message of the node.
    fn arrive(&mut self, message: &zmtp::Message) {
        let frames: Vec<&[u8]> = message.frames().collect();
        let [sid, kind, body] = frames[..] else { panic!("messages have three frames") };
        let kind = Kind::from_frame(kind).expect("types are known");
        let Some(sid) = Sid::from_frame(sid) else { return assert_eq!(kind, Kind::Pong) };
        let Some(session) = self.sessions.get_mut(&sid) else {
            return assert!(kind == Kind::Retry || !self.has_credit, "{kind} of no session");
        };
        assert!(session.under_way.starts_with(body), "what was sent arrives, in order");
        session.under_way.drain(..body.len());
        // A head goes out whole as long as any credit is left.
        if matches!(kind, Kind::Body | Kind::Chunk) {
            session.arrived += body.len() as u64;
            assert!(!self.has_credit || session.arrived <= session.granted, "credit is kept to");
        }
    }
}
