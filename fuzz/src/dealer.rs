//! The node's side of a link, with a server that says anything or keeps to the protocol.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use blastbeat_proto::dealer::{Dealer, Event, SendError, Settings};
use blastbeat_proto::error::Cause;
use blastbeat_proto::limits::Limits;
use blastbeat_proto::message::{Capabilities, Kind, Route, Sid};
use blastbeat_proto::time::Instant;
use blastbeat_proto::zmtp;
use bytes::Bytes;

const NOW: Instant = Instant::ZERO;
const SESSIONS: usize = 3;
const SESSION_BYTES: usize = 500;
const QUEUE_BYTES: usize = 1000;

// Invariants: bytes cut in any way give the same events, the same output and the same end. What a session sends arrives
// unchanged, in order, and with flow control never more of it than was granted: heads and WebSocket messages whole, as
// long as any credit is left, and what is not for its client at no charge. Nothing waits that could leave, and nothing
// arrives of a session after its end. Sessions are bounded, and what waits for them is given back when they end.
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
    /// What the node says for itself, and is not yet at the server.
    own: VecDeque<Said>,
    next: u8,
}

/// A message as the node sent it, or what has not arrived of it.
struct Said {
    /// The type frame.
    frame: Vec<u8>,
    body: Vec<u8>,
}

/// What must come of a session.
#[derive(Default)]
struct Session {
    /// Taken from the caller, and not yet at the server.
    under_way: VecDeque<Said>,
    /// What the server let through, and what it got, of that which counts.
    granted: u64,
    arrived: u64,
    is_over: bool,
}

impl Talk {
    fn new(settings: Settings) -> Self {
        let has_credit = settings.capabilities.credit;
        let node = Dealer::new(settings, NOW);
        let mut talk =
            Self { server: router(), node, has_credit, sessions: BTreeMap::new(), own: VecDeque::new(), next: 0 };
        talk.pass();
        assert!(talk.node.is_up() && talk.server.is_up());
        talk
    }

    fn run(mut self, data: &[u8]) {
        for operation in data.chunks_exact(3) {
            let [kind, place, size] = *operation else { return };
            let sid = Sid([place % 5; Sid::LEN]);
            match kind % 14 {
                0 => self.tell(sid, "uwsgi", b""),
                1 => self.tell(sid, "credit", (u32::from(size) * 7).to_string().as_bytes()),
                2 => self.tell(sid, "end", b""),
                3 => self
                    .server
                    .send(&[b"", [&b"ping"[..], b"spawn", b"body", b"error"][usize::from(size) % 4], b""])
                    .expect("the link is up"),
                4 => self.tell(sid, ["credit", "body", "nonsense", "credit"][usize::from(size) % 4], b"-1"),
                5 | 6 => self.say(Some(sid), None, Kind::Body, usize::from(size) * 3),
                7 => {
                    let kind = [Kind::Headers, Kind::Chunk, Kind::End, Kind::Retry][usize::from(size) % 4];
                    self.say(Some(sid), None, kind, 20);
                }
                8 => self.forget(sid),
                9 => self.pass(),
                10 => {
                    let kinds = [Kind::WebSocket, Kind::WebSocketText, Kind::WebSocketBinary];
                    self.say(Some(sid), None, kinds[usize::from(size) % 3], usize::from(size) * 2);
                }
                // Whatever it is, it has its place.
                11 => {
                    let kind = Kind::ALL[usize::from(size) % Kind::ALL.len()];
                    self.say(Some(sid), None, kind, usize::from(size) / 16);
                }
                12 => self.route(Some(sid), place, size),
                _ => self.route(None, place, size),
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

    fn route(&mut self, sid: Option<Sid>, place: u8, size: u8) {
        let kind = Kind::ALL[usize::from(size) % Kind::ALL.len()];
        let name = vec![place; usize::from(place) / 3];
        let route = if place.is_multiple_of(2) { Route::Session(Sid([place; Sid::LEN])) } else { Route::Group(&name) };
        self.say(sid, Some(route), kind, usize::from(size) * 2);
    }

    fn say(&mut self, sid: Option<Sid>, route: Option<Route<'_>>, kind: Kind, size: usize) {
        let body: Vec<u8> = (0..size).map(|at| self.next.wrapping_add(at as u8)).collect();
        self.next = self.next.wrapping_add(31);
        let bytes = Bytes::copy_from_slice(&body);
        let (result, frame) = match (sid, route) {
            (_, Some(route)) => {
                let frame = route.type_frame(kind).map_or(Vec::new(), |frame| frame.to_vec());
                (self.node.send_routed(sid, route, kind, bytes), frame)
            }
            (Some(sid), None) => (self.node.send(sid, kind, bytes), kind.name().as_bytes().to_vec()),
            (None, None) => return,
        };
        let session = sid.and_then(|sid| self.sessions.get(&sid));
        match (result, sid) {
            (Ok(()), None) => self.own.push_back(Said { frame, body }),
            (Ok(()), Some(sid)) => {
                // Without flow control nothing is known of sessions.
                let session = self.sessions.entry(sid).or_default();
                assert!(!self.has_credit || !session.is_over, "nothing is taken after the end");
                session.under_way.push_back(Said { frame, body });
                session.is_over |= route.is_none() && matches!(kind, Kind::End | Kind::Retry);
            }
            (Err(SendError::Full(back)), _) => assert_eq!(back, body, "what is not taken is given back"),
            (Err(SendError::Ended), _) => {
                assert!(self.has_credit && sid.is_some() && session.is_none_or(|session| session.is_over));
            }
            (Err(SendError::Unroutable), _) => assert!(route.is_some() && frame.is_empty()),
            (Err(SendError::Down), _) => panic!("the link is up"),
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
                return self.check_waiting();
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
        let [sid, frame, body] = frames[..] else { panic!("messages have three frames") };
        let Some(sid) = Sid::from_frame(sid) else {
            assert_eq!(sid, b"");
            if frame != b"pong" {
                let said = self.own.pop_front().expect("only what was sent arrives");
                assert_eq!((&said.frame[..], &said.body[..]), (frame, body), "in order");
            }
            return;
        };
        let Some(session) = self.sessions.get_mut(&sid) else {
            return assert!(frame == b"retry" || !self.has_credit, "{} of no session", frame.escape_ascii());
        };
        // The node itself passes on what is too much for it, when nothing else of that session is under way.
        let Some(said) = session.under_way.front_mut() else { return assert_eq!(frame, b"retry") };
        assert_eq!(said.frame, frame, "what was sent arrives, in order");
        let counts = weight(frame);
        let is_whole = said.body == body;
        assert!(is_whole || (self.has_credit && counts == Weight::Bytes && !body.is_empty()), "it is not cut");
        assert!(said.body.starts_with(body), "nothing is changed");
        said.body.drain(..body.len());
        if is_whole {
            session.under_way.pop_front();
        }
        let before = session.arrived;
        if counts != Weight::None {
            session.arrived += body.len() as u64;
        }
        let is_allowed = match counts {
            Weight::None => true,
            Weight::Whole => body.is_empty() || before < session.granted,
            Weight::Bytes => body.is_empty() || session.arrived <= session.granted,
        };
        assert!(is_allowed || !self.has_credit, "credit is kept to");
    }

    /// When nothing moves any more, all that is left waits for credit.
    fn check_waiting(&self) {
        assert!(self.own.is_empty());
        for session in self.sessions.values() {
            let Some(said) = session.under_way.front() else { continue };
            assert!(self.has_credit && weight(&said.frame) != Weight::None && !said.body.is_empty());
            assert!(session.arrived >= session.granted, "it could leave");
        }
    }
}

/// How a message counts against the credit.
#[derive(Clone, Copy, PartialEq)]
enum Weight {
    None,
    Whole,
    Bytes,
}

fn weight(frame: &[u8]) -> Weight {
    match frame {
        b"headers" | b"uwsgi" | b"websocket" | b"websocket/text" | b"websocket/binary" => Weight::Whole,
        b"body" | b"chunk" => Weight::Bytes,
        _ => Weight::None,
    }
}
