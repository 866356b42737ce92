//! WebSockets: frames, compression, the handshake.

use std::sync::Arc;

use blastbeat_proto::entropy::SeededEntropy;
use blastbeat_proto::error::{Cause, Violation};
use blastbeat_proto::http::Request;
use blastbeat_proto::limits::Limits;
use blastbeat_proto::time::{Duration, Instant};
use blastbeat_proto::websocket::{
    Close, Connection, Deflate, DeflatePolicy, Event, Kind, Message, Prepared, SendError, Settings, handshake,
};
use bytes::Bytes;

const MESSAGE_MAX: usize = 2000;
const QUEUE_MAX: usize = 100_000;

/// What a connection may hold at most: a message, and the states of compression.
const HELD_MAX: usize = 2 * MESSAGE_MAX + 512 + 345 * 1024;

// Invariant: cut in any way, the same bytes give the same events and the same output; messages keep to their bounds and
// text is UTF-8; after a violation nothing comes out but one farewell, and all input is ignored; whatever one side
// sends, under any agreement, the other receives, each kind in its order, except for what was dropped for a slow
// peer; queues and memory stay bounded; an accepted handshake is one that a client accepts; nothing panics.
/// Runs one input: the first byte says how it is used, the second what was agreed on.
pub fn body(data: &[u8]) {
    let Some((&[choice, agreement], data)) = data.split_first_chunk() else { return };
    let step = usize::from(choice >> 3) + 1;
    match choice & 7 {
        0..=2 => same(data, step, || server(agreement)),
        3 => same(data, step, || client(agreement)),
        4 => handshake(data),
        _ => converse(data, agreement),
    }
}

/// Three bits for each side: whether it keeps its context, and its window.
fn deflate(agreement: u8) -> Option<Deflate> {
    let bits = |choice: u8| [None, Some(9), Some(12), Some(15)][usize::from(choice & 3)];
    (agreement & 1 == 1).then(|| Deflate {
        server_no_context_takeover: agreement & 2 == 2,
        client_no_context_takeover: agreement & 4 == 4,
        server_max_window_bits: bits(agreement >> 3),
        client_max_window_bits: bits(agreement >> 5),
    })
}

fn settings(agreement: u8) -> Arc<Settings> {
    Arc::new(Settings {
        message_bytes: MESSAGE_MAX,
        frames: 6,
        ping: Duration::from_secs(30),
        close_timeout: Duration::from_secs(5),
        farewell_delay: Duration::ZERO,
        queue_bytes: QUEUE_MAX,
        drop_oldest: agreement & 128 == 128,
    })
}

fn server(agreement: u8) -> Connection {
    Connection::server(settings(agreement), deflate(agreement), Instant::ZERO)
}

fn client(agreement: u8) -> Connection {
    let masks = Box::new(SeededEntropy::from_number(1));
    Connection::client(settings(agreement), deflate(agreement), masks, Instant::ZERO)
}

#[derive(Debug, PartialEq)]
struct Seen {
    events: Vec<Event>,
    out: Vec<u8>,
    closing: Option<Cause>,
    violation: Option<Violation>,
}

fn same(data: &[u8], step: usize, machine: impl Fn() -> Connection) {
    let whole = play(machine(), data, usize::MAX);
    assert_eq!(play(machine(), data, step), whole);
    assert_eq!(play(machine(), data, 1), whole);
}

fn play(mut connection: Connection, data: &[u8], step: usize) -> Seen {
    let mut events = Vec::new();
    let mut kept = Vec::new();
    for piece in data.chunks(step) {
        kept.extend_from_slice(piece);
        hear(&mut connection, &mut kept, &mut events);
        assert!(kept.len() < 14 + 125);
        let deadline = connection.poll_timeout();
        connection.handle_timeout(Instant::ZERO);
        assert_eq!(connection.poll_timeout(), deadline, "a spurious timeout changes nothing");
    }
    let (closing, violation) = (connection.is_closing(), connection.violation());
    let out = written(&mut connection);
    if violation.is_some() {
        assert_eq!(closing, violation.map(|violation| violation.what));
        assert_eq!((connection.receive(data, Instant::ZERO), connection.poll_event()), (data.len(), None));
        assert_eq!((connection.queued(), connection.held()), (0, 0));
    }
    Seen { events, out, closing, violation }
}

/// Offers what is kept, and takes all that comes of it.
fn hear(connection: &mut Connection, kept: &mut Vec<u8>, events: &mut Vec<Event>) {
    loop {
        let used = connection.receive(kept, Instant::ZERO);
        kept.drain(..used);
        assert!(connection.held() <= HELD_MAX, "{} held", connection.held());
        let event = connection.poll_event();
        if used == 0 && event.is_none() {
            return;
        }
        events.extend(event.inspect(check));
    }
}

fn check(event: &Event) {
    match event {
        Event::Message(message) => {
            assert!(message.payload.len() <= MESSAGE_MAX);
            assert!(message.kind == Kind::Binary || std::str::from_utf8(&message.payload).is_ok());
        }
        Event::Ping(payload) | Event::Pong(payload) => assert!(payload.len() <= 125),
        Event::Close(close) => {
            assert!(close.reason.len() <= 123 && std::str::from_utf8(&close.reason).is_ok());
            assert!(close.code.is_some() || close.reason.is_empty());
        }
    }
}

fn written(connection: &mut Connection) -> Vec<u8> {
    let mut bytes = Vec::new();
    while connection.queued() > 0 {
        bytes.extend(connection.outbound().take());
    }
    bytes
}

/// One side of a conversation.
struct Side {
    connection: Connection,
    /// What it has not taken yet.
    kept: Vec<u8>,
    heard: Vec<Event>,
    /// What the other side sent to it.
    expected: Vec<Event>,
    dropped: usize,
}

impl Side {
    fn new(connection: Connection) -> Self {
        Self { connection, kept: Vec::new(), heard: Vec::new(), expected: Vec::new(), dropped: 0 }
    }

    /// `self` sends an event to `other`.
    fn send(&mut self, other: &mut Side, event: Event, prepared: bool) {
        let before = self.connection.queued();
        let result = match &event {
            Event::Message(message) if prepared => {
                self.connection.send_prepared(&mut Prepared::new(message), Instant::ZERO)
            }
            Event::Message(_) | Event::Ping(_) | Event::Pong(_) | Event::Close(_) => {
                self.connection.send(event.clone(), Instant::ZERO)
            }
        };
        match result {
            Ok(queued) => {
                other.expected.push(event);
                other.dropped += queued.dropped;
            }
            Err(SendError::Full) => assert!(before > QUEUE_MAX - 80_000),
            Err(SendError::Closed) => assert!(self.connection.has_sent_close()),
            Err(error) => panic!("{error}: {event:?}"),
        }
        assert!(self.connection.queued() <= QUEUE_MAX + 80_000, "{} queued", self.connection.queued());
    }

    /// Some of what `self` has to say reaches `other`.
    fn write(&mut self, other: &mut Side, n: usize) {
        let rope = self.connection.outbound();
        let n = n.min(rope.len());
        other.kept.extend(rope.iter().flatten().take(n));
        rope.advance(n);
        hear(&mut other.connection, &mut other.kept, &mut other.heard);
    }

    /// What was sent was heard, but for answers that came unasked and what was dropped.
    fn settle(&self) {
        assert_eq!(self.connection.violation(), None);
        let messages = |events: &[Event]| -> Vec<Event> {
            events.iter().filter(|event| matches!(event, Event::Message(_))).cloned().collect()
        };
        let (heard, expected) = (messages(&self.heard), messages(&self.expected));
        let mut rest = expected.iter();
        assert!(heard.iter().all(|event| rest.any(|sent| sent == event)), "in order, and nothing else");
        if !self.connection.has_sent_close() {
            assert_eq!(heard.len() + self.dropped, expected.len());
        }
    }
}

/// Each byte is an operation: who does it, and what.
fn converse(data: &[u8], agreement: u8) {
    let (mut server, mut client) = (Side::new(server(agreement)), Side::new(client(agreement)));
    for (at, &op) in data.iter().take(200).enumerate() {
        let (one, other) = if op & 1 == 0 { (&mut server, &mut client) } else { (&mut client, &mut server) };
        let size = usize::from(op >> 4);
        match op >> 1 & 7 {
            0 => one.write(other, 1 + size),
            1 => one.write(other, 100_000),
            2 => one.send(other, message(Kind::Text, size * 9, at), false),
            3 => one.send(other, message(Kind::Text, size * 130, at), true),
            4 => one.send(other, message(Kind::Binary, size * 130, at), false),
            5 => one.send(other, Event::Ping(Bytes::from(vec![op; size * 8])), false),
            6 if size == 15 => {
                one.send(other, Event::Close(Close { code: Some(1000), reason: Bytes::new() }), false);
            }
            6 => one.send(other, message(Kind::Binary, MESSAGE_MAX, at), true),
            // Ten large messages in a row make a peer slow.
            _ => (0..size).for_each(|n| one.send(other, message(Kind::Binary, MESSAGE_MAX - n, at), false)),
        }
    }
    for _ in 0..4 {
        while server.connection.queued() > 0 {
            server.write(&mut client, 100_000);
        }
        while client.connection.queued() > 0 {
            client.write(&mut server, 100_000);
        }
    }
    server.settle();
    client.settle();
    assert_eq!(server.connection.is_closing().is_some(), client.connection.is_closing().is_some());
}

/// A message that compresses a little, or not at all.
fn message(kind: Kind, size: usize, at: usize) -> Event {
    let payload: Vec<u8> = match kind {
        Kind::Text => (0..size).map(|i| b'a' + ((i * i + at) % 17) as u8).collect(),
        Kind::Binary => (0..size).map(|i| ((i + at).wrapping_mul(0x9e37_79b9) >> 13) as u8).collect(),
    };
    Event::Message(Message { kind, payload: payload.into() })
}

fn handshake(data: &[u8]) {
    let Ok(request) = Request::parse(data, &Limits::DEFAULT) else { return };
    let Ok(offer) = handshake::read(&request) else { return };
    assert!(handshake::is_requested(&request));
    let protocol = offer.protocols().last();
    for policy in [DeflatePolicy::Off, DeflatePolicy::PerMessage, DeflatePolicy::Context] {
        let deflate = offer.deflate(policy);
        let response = handshake::accept(&offer, protocol, deflate, None).expect("an offered sub-protocol is accepted");
        assert_eq!(response.status, 101);
        let shaped = handshake::accept(&offer, None, deflate, Some(&response)).expect("our own answer is sound");
        assert_eq!(shaped.fields.find("sec-websocket-protocol"), protocol);
        if let Some(deflate) = deflate {
            assert!(deflate.server_max_window_bits.is_none_or(|bits| (9..=15).contains(&bits)));
        }
    }
}
