//! Clients of socket.io: whole conversations, with breaks and returns.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use blastbeat_proto::error::Cause;
use blastbeat_proto::limits::Limits;
use blastbeat_proto::socketio::{
    Connection, Encoding, Event, Fanned, Generation, Id, Layer, Outlook, Packet, PacketKind, Prepared, Probe,
    SendError, Settings, Transport,
};
use blastbeat_proto::time::{Duration, Instant};
use blastbeat_proto::websocket::{Kind, Message};
use bytes::Bytes;

const PAYLOAD_MAX: usize = 1000;
const QUEUE_MAX: usize = 4096;

/// What a connection may hold at most: what waits, what is kept, the attachments of one packet, and the packets of one
/// payload that nobody has taken.
const HELD_MAX: usize = 2 * QUEUE_MAX + 4096 + 11 * PAYLOAD_MAX + 16 * 1024;

const OLD: Id = Id(*b"the old one's id");
const NEW: Id = Id(*b"the new one's id");

// Invariant: whatever a client says, in any order and by any transport, with breaks and returns: nothing panics, what is
// held and what waits is bounded, and deadlines that have come are dealt with; packets that are yielded are such as
// nodes can be told; whatever the server says its client understands; a connection that is closing yields nothing, takes
// nothing, and names no deadline; a client that comes back gets no event twice, and none of those that it can recover is
// left out.
/// Runs one input: the first byte says who speaks what, then come a byte for each thing that happens and what it needs.
pub fn body(data: &[u8]) {
    let Some((&choice, mut rest)) = data.split_first() else { return };
    let mut talk = Talk::new(choice);
    while let Some((&op, after)) = rest.split_first() {
        let len = after.first().map_or(0, |&len| usize::from(len)).min(after.len().saturating_sub(1));
        let (needs, more) = match op & 31 {
            0..=11 | 16..=19 => (&after[after.len().min(1)..][..len], &after[after.len().min(1) + len..]),
            _ => (&after[..0], after),
        };
        rest = more;
        talk.happen(op & 31, needs);
        talk.check();
    }
}

struct Talk {
    settings: Arc<Settings>,
    generation: Generation,
    layer: Layer,
    server: Connection,
    /// Hears all that the server says.
    client: Connection,
    now: Instant,
    /// What the client has asked for and nobody has answered.
    asked: VecDeque<String>,
    /// Numbers of the events that were sent to the main namespace, and of those that the client has heard.
    sent: Vec<u64>,
    heard: Vec<u64>,
    count: u64,
    /// The last offset that the client was told.
    offset: String,
    was_closing: bool,
}

impl Talk {
    fn new(choice: u8) -> Self {
        let generation =
            [Generation::Five, Generation::Five, Generation::Two, Generation::One][usize::from(choice & 3)];
        let is_plain = choice & 4 == 4 && generation != Generation::One;
        let layer = if is_plain { Layer::Plain } else { Layer::SocketIo };
        let transport = if choice & 8 == 8 { Transport::WebSocket } else { Transport::Polling };
        let recovery = if choice & 16 == 16 { Duration::from_secs(60) } else { Duration::ZERO };
        let settings = Arc::new(Settings {
            payload_bytes: PAYLOAD_MAX,
            packets: 20,
            attachments: 4,
            depth: 8,
            namespaces: 4,
            recovery,
            recovery_bytes: 2048,
            queue_bytes: QUEUE_MAX,
            ..Settings::new(&Limits::DEFAULT)
        });
        let now = Instant::from_millis(1000);
        let base64 = generation == Generation::Five || choice & 32 == 32;
        let server = Connection::server(Arc::clone(&settings), generation, layer, transport, base64, NEW, OLD, now);
        let client = Connection::client(Arc::clone(&settings), generation, layer, transport, now);
        let mut talk = Self {
            settings,
            generation,
            layer,
            server,
            client,
            now,
            asked: VecDeque::new(),
            sent: Vec::new(),
            heard: Vec::new(),
            count: 0,
            offset: String::new(),
            was_closing: false,
        };
        talk.settle();
        talk
    }

    fn happen(&mut self, op: u8, needs: &[u8]) {
        let now = self.now;
        let text = String::from_utf8_lossy(needs);
        let message = Message { kind: Kind::Text, payload: text.as_bytes().to_vec().into() };
        match op {
            0 | 1 => {
                let result = self.server.receive_payload(message.payload, Encoding::Text, now);
                assert_eq!(result.err(), self.server.violation().filter(|_| result.is_err()));
            }
            2 => drop(self.server.receive_payload(Bytes::copy_from_slice(needs), Encoding::Binary, now)),
            3 | 4 => self.server.receive_message(message, now),
            5 => {
                let payload = Bytes::copy_from_slice(needs);
                self.server.receive_message(Message { kind: Kind::Binary, payload }, now);
            }
            6 => match self.server.receive_probe(message, now) {
                Probe::Answer(_) => assert!(self.server.is_probing()),
                Probe::Upgraded => assert!(self.server.transport() == Transport::WebSocket),
                Probe::Refused(_) => assert!(self.server.is_closing().is_some() || !self.server.is_probing()),
            },
            7 => self.node_says(PacketKind::Event, needs),
            8 => self.node_says(PacketKind::Ack, needs),
            9 => self.node_says(PacketKind::Disconnect, needs),
            10 => self.many(needs),
            11 => drop(self.server.send(Event::Message(message), now)),
            12 | 13 => self.accept(),
            14 => self.refuse(),
            15 => self.number(),
            16..=18 => self.come_back(&text),
            19 => {
                self.server.begin_probe(now);
            }
            20 => self.server.set_polling(true, now),
            21 => self.server.set_polling(false, now),
            22 => self.server.end_probe(now),
            23 => {
                self.server.lose_transport(Cause::ClientGone, now);
            }
            24 => self.server.close(Cause::Complete, now),
            25 => self.server.close(Cause::Stopping, now),
            26 => self.pass(100),
            27 => self.pass(20_000),
            28 => self.poll(),
            29 => self.pass(3_000),
            _ => {
                self.poll();
                self.bring();
            }
        }
        self.settle();
    }

    fn node_says(&mut self, kind: PacketKind, body: &[u8]) {
        if let Ok(packet) = Packet::from_node(kind, Bytes::copy_from_slice(body), &self.settings) {
            let result = self.server.send(Event::Packet(packet), self.now);
            assert!(result != Err(SendError::Unfit) || self.layer == Layer::Plain);
        }
    }

    /// An event of a node for many, of which this client is one.
    fn many(&mut self, body: &[u8]) {
        let Ok(packet) = Packet::from_node(PacketKind::Event, Bytes::copy_from_slice(body), &self.settings) else {
            return;
        };
        self.count += 1;
        let mut prepared = Prepared::new(packet, self.count, &Arc::new(AtomicUsize::new(0)));
        let is_direct = self.server.transport() == Transport::WebSocket && self.server.queued() == 0;
        match self.server.send_prepared(&mut prepared, self.now) {
            Ok(Fanned::Frames(frames)) => {
                assert!(is_direct && !self.server.is_parked());
                frames.iter().for_each(|frame| self.client.receive_message(frame.message(), self.now));
            }
            Ok(Fanned::Queued) | Err(_) => {}
        }
    }

    /// An event that the client can tell from all others.
    fn number(&mut self) {
        self.count += 1;
        let json = format!("[\"numbered\",{}]", self.count);
        let packet = Packet::new(PacketKind::Event, "/", None, json.as_bytes(), Vec::new(), &self.settings);
        let packet = packet.expect("it is an event");
        if self.server.send(Event::Packet(packet), self.now).is_ok() {
            self.sent.push(self.count);
        }
    }

    fn accept(&mut self) {
        if let Some(namespace) = self.asked.pop_front() {
            let result = self.server.accept(&namespace, NEW, self.now);
            assert!(result.is_err() || self.server.is_connected(&namespace));
        }
    }

    fn refuse(&mut self) {
        if let Some(namespace) = self.asked.pop_front() {
            let refusal = Packet::new(PacketKind::Refuse, &namespace, None, b"\"no\"", Vec::new(), &self.settings);
            let refusal = Event::Packet(refusal.expect("it is a refusal"));
            if self.server.send(refusal, self.now).is_ok() {
                assert!(!self.server.is_connected(&namespace));
            }
        }
    }

    /// The client comes by a new WebSocket, and shows what it was told.
    fn come_back(&mut self, also: &str) {
        if self.generation != Generation::Five || self.layer == Layer::Plain || self.settings.recovery.is_zero() {
            return;
        }
        let (settings, now) = (Arc::clone(&self.settings), self.now);
        let (generation, layer, transport) = (self.generation, self.layer, Transport::WebSocket);
        let mut newcomer = Connection::server(settings, generation, layer, transport, true, NEW, NEW, now);
        let offset = if self.offset.is_empty() { String::new() } else { format!(",\"offset\":\"{}\"", self.offset) };
        let asks = format!("40{{\"pid\":\"{OLD}\"{offset}}}");
        newcomer.receive_message(Message { kind: Kind::Text, payload: asks.into() }, now);
        let Some(Event::Recover { packet, private, offset }) = newcomer.poll_event() else {
            panic!("it shows what it was told");
        };
        assert_eq!((packet.namespace(), private, &*offset), ("/", OLD, self.offset.as_str()));
        assert!(packet.json().is_empty());
        newcomer.receive_message(Message { kind: Kind::Text, payload: also.as_bytes().to_vec().into() }, now);
        if self.server.can_recover("/", &offset) {
            let outlook = self.server.lose_transport(Cause::ClientGone, now);
            assert!(outlook == Outlook::Parked && self.server.is_parked());
            assert!(self.server.can_recover("/", &offset), "nothing of it depends on the transport");
            self.restart_client();
            self.server.adopt(newcomer, now);
            self.server.recover("/", &offset, now);
            self.settle();
            if self.server.is_closing().is_none() {
                assert!(!self.server.is_parked());
                assert_eq!(self.heard, self.sent, "all that it has missed, and nothing twice");
            }
        }
    }

    /// A client that knows what it knew, by a new transport.
    fn restart_client(&mut self) {
        let settings = Arc::clone(&self.settings);
        self.client = Connection::client(settings, self.generation, self.layer, Transport::WebSocket, self.now);
    }

    fn poll(&mut self) {
        self.server.set_polling(true, self.now);
        if self.server.has_payload() {
            let (body, encoding) = self.server.take_payload(PAYLOAD_MAX, self.now);
            assert!(!body.is_empty());
            let result = self.client.receive_payload(body.clone(), encoding, self.now);
            assert!(result.is_ok(), "the client understands {}: {result:?}", body.escape_ascii());
        }
    }

    /// The WebSocket brings what waits.
    fn bring(&mut self) {
        while let Some(message) = self.server.poll_message() {
            self.client.receive_message(message.clone(), self.now);
            let violation = self.client.violation();
            assert!(violation.is_none(), "the client understands {}: {violation:?}", message.payload.escape_ascii());
        }
    }

    fn pass(&mut self, millis: u64) {
        self.now += Duration::from_millis(millis);
        for _ in 0..8 {
            let Some(deadline) = self.server.poll_timeout().filter(|deadline| *deadline <= self.now) else { return };
            self.server.handle_timeout(self.now);
            assert_ne!(self.server.poll_timeout(), Some(deadline), "it is dealt with");
        }
    }

    /// Both sides take what they have received.
    fn settle(&mut self) {
        while let Some(event) = self.server.poll_event() {
            assert!(!self.was_closing, "it has ended");
            match event {
                Event::Packet(packet) | Event::Recover { packet, .. } => {
                    let again = Packet::from_node(packet.kind(), packet.to_node(), &self.settings);
                    assert_eq!(again.map(|packet| packet.to_node()), Ok(packet.to_node()), "a node can be told");
                    if packet.kind() == PacketKind::Connect {
                        assert!(!self.server.is_connected(packet.namespace()) || self.generation == Generation::Five);
                        self.asked.push_back(packet.namespace().to_string());
                    }
                }
                Event::Message(_) => assert_eq!(self.layer, Layer::Plain),
            }
        }
        // The machine that hears has to have asked, or it would not listen.
        for namespace in self.asked.iter().map(String::as_str).chain(["/"]) {
            let ask = Packet::new(PacketKind::Connect, namespace, None, b"", Vec::new(), &self.settings);
            let _ = self.client.send(Event::Packet(ask.expect("it is a request")), self.now);
        }
        if self.server.transport() == Transport::WebSocket {
            self.bring();
        }
        while let Some(event) = self.client.poll_event() {
            if let Event::Packet(packet) = event {
                self.hear(&packet);
            }
        }
        while self.client.has_payload() {
            self.client.take_payload(PAYLOAD_MAX, self.now);
        }
        while self.client.poll_message().is_some() {}
    }

    /// Takes note of an event that has come to the client.
    fn hear(&mut self, packet: &Packet) {
        let json = packet.json();
        let is_recoverable = self.generation == Generation::Five && !self.settings.recovery.is_zero();
        if packet.kind() != PacketKind::Event || packet.namespace() != "/" {
            return;
        }
        let text = std::str::from_utf8(&json).expect("JSON is UTF-8");
        if is_recoverable && packet.id().is_none() {
            let offset = text.rsplit('"').nth(1).expect("it has an offset");
            assert!(offset.bytes().all(|digit| digit.is_ascii_digit()));
            self.offset = offset.to_string();
        }
        if let Some(number) = text.strip_prefix("[\"numbered\",") {
            let digits = number.split([',', ']']).next().unwrap_or_default();
            let number = digits.parse().ok().filter(|number| self.sent.contains(number));
            self.heard.extend(number);
        }
    }

    fn check(&mut self) {
        assert!(self.server.held() <= HELD_MAX, "{} held", self.server.held());
        assert!(self.server.queued() <= QUEUE_MAX + 11 * PAYLOAD_MAX, "{} queued", self.server.queued());
        assert_eq!(self.client.violation(), None, "the client understands");
        if self.server.is_closing().is_some() {
            self.was_closing = true;
            assert_eq!(self.server.poll_timeout(), None);
            assert!(!self.server.can_recover("/", ""));
            assert_eq!(self.server.accept("/", NEW, self.now), Err(SendError::Closed));
        } else {
            assert_eq!(self.server.violation(), None);
        }
    }
}
