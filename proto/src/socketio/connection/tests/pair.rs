//! A client and a server, in memory, by every transport of every generation.

use super::*;
use crate::socketio::Generation::{Five, One, Two};
use crate::socketio::Layer::{Plain, SocketIo};
use crate::socketio::Transport::{Polling, WebSocket};

/// How a client moves its packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Poll,
    Socket,
    Upgrade,
}

struct Pair {
    client: Connection,
    server: Connection,
    now: Instant,
    settings: Settings,
    from_client: Vec<Event>,
    from_server: Vec<Event>,
}

impl Pair {
    fn new(generation: Generation, layer: Layer, way: Way) -> Self {
        let (settings, now) = (settings(), Instant::from_millis(1000));
        let shared = Arc::new(settings.clone());
        let transport = if way == Way::Socket { WebSocket } else { Polling };
        let base64 = generation == Five;
        let server = Connection::server(Arc::clone(&shared), generation, layer, transport, base64, SID, PRIVATE, now);
        let client = Connection::client(shared, generation, layer, transport, now);
        let mut pair = Self { client, server, now, settings, from_client: Vec::new(), from_server: Vec::new() };
        pair.run();
        if way == Way::Upgrade {
            pair.upgrade();
        }
        pair
    }

    fn upgrade(&mut self) {
        assert!(self.client.begin_probe(self.now) && self.server.begin_probe(self.now));
        if self.client.generation() == One {
            return;
        }
        let greeting = Connection::greeting(self.client.generation());
        let Probe::Answer(answer) = self.server.receive_probe(greeting, self.now) else { panic!("no answer") };
        assert_eq!(self.client.receive_probe(answer, self.now), Probe::Upgraded);
        assert_eq!(self.client.poll_message(), None, "a poll is under way");
        self.poll();
        let over = self.client.poll_message().unwrap();
        assert_eq!(self.server.receive_probe(over, self.now), Probe::Upgraded);
        assert_eq!((self.client.transport(), self.server.transport()), (WebSocket, WebSocket));
    }

    fn poll(&mut self) {
        if self.server.has_payload() {
            let (body, encoding) = self.server.take_payload(self.settings.payload_bytes, self.now);
            self.client.receive_payload(body, encoding, self.now).unwrap();
        }
    }

    /// Moves everything that can be moved, now.
    fn run(&mut self) {
        for _ in 0..20 {
            self.poll();
            while self.client.has_payload() {
                let (body, encoding) = self.client.take_payload(self.settings.payload_bytes, self.now);
                self.server.receive_payload(body, encoding, self.now).unwrap();
            }
            while let Some(message) = self.client.poll_message() {
                self.server.receive_message(message, self.now);
            }
            while let Some(message) = self.server.poll_message() {
                self.client.receive_message(message, self.now);
            }
            self.from_client.extend(core::iter::from_fn(|| self.server.poll_event()));
            self.from_server.extend(core::iter::from_fn(|| self.client.poll_event()));
            let polls = self.client.transport() == Polling && self.client.is_closing().is_none();
            if polls && self.server.is_closing().is_none() && !self.client.is_polling() {
                self.client.set_polling(true, self.now);
                self.server.set_polling(true, self.now);
            }
        }
    }

    /// Time passes.
    fn pass(&mut self, millis: u64) {
        let until = self.now + Duration::from_millis(millis);
        loop {
            let next = crate::time::earliest(self.client.poll_timeout(), self.server.poll_timeout());
            let Some(next) = next.filter(|next| *next <= until) else { break };
            self.now = next;
            self.client.handle_timeout(next);
            self.server.handle_timeout(next);
            self.run();
        }
        self.now = until;
    }

    fn packet(&self, kind: PacketKind, namespace: &str, id: Option<u64>, json: &str, attachments: Vec<Bytes>) -> Event {
        let packet = Packet::new(kind, namespace, id, json.as_bytes(), attachments, &self.settings);
        Event::Packet(packet.unwrap())
    }

    /// The client has a namespace.
    fn connect(&mut self, namespace: &str, auth: &str) {
        let comes_by_itself = namespace == "/" && self.client.generation() != Five;
        if !comes_by_itself {
            let ask = self.packet(PacketKind::Connect, namespace, None, auth, Vec::new());
            self.client.send(ask, self.now).unwrap();
            self.run();
        }
        let asked = self.from_client.pop();
        assert!(matches!(&asked, Some(Event::Packet(packet)) if packet.kind() == PacketKind::Connect), "{asked:?}");
        self.server.accept(namespace, socket(1), self.now).unwrap();
        self.run();
        let accepted = self.from_server.pop();
        assert!(
            matches!(&accepted, Some(Event::Packet(packet)) if packet.kind() == PacketKind::Connect),
            "{accepted:?}"
        );
        assert!(self.client.is_connected(namespace) && self.server.is_connected(namespace));
    }

    /// What one side sends the other receives.
    fn exchange(&mut self, event: &Event) {
        self.client.send(event.clone(), self.now).unwrap();
        self.server.send(event.clone(), self.now).unwrap();
        self.run();
        let context = (self.client.generation(), self.client.transport());
        assert_eq!(core::mem::take(&mut self.from_client), core::slice::from_ref(event), "{context:?}");
        assert_eq!(core::mem::take(&mut self.from_server), core::slice::from_ref(event), "{context:?}");
    }
}

const WAYS: [Way; 3] = [Way::Poll, Way::Socket, Way::Upgrade];

#[test]
fn packets_come_as_they_were_sent() {
    for generation in [Five, Two, One] {
        for way in WAYS {
            let mut pair = Pair::new(generation, SocketIo, way);
            pair.connect("/", "{\"token\":1}");
            pair.connect("/chat", "");
            for namespace in ["/", "/chat"] {
                // Payloads of generation Two, whose lengths clients count in different ways, escape what is not ASCII.
                let sign = if generation == Two { "a" } else { "\u{1f600}" };
                let texts = [&*format!("[\"name\",1,\"{sign}\\u2028\",{{\"a\":[null]}}]"), "[\"none\"]"];
                for json in texts {
                    let event = pair.packet(PacketKind::Event, namespace, None, json, Vec::new());
                    pair.exchange(&event);
                }
                let event = pair.packet(PacketKind::Event, namespace, Some(12), "[\"name\",1]", Vec::new());
                pair.exchange(&event);
                let ack = pair.packet(PacketKind::Ack, namespace, Some(12), "[1,\"2\"]", Vec::new());
                pair.exchange(&ack);
                if generation != One {
                    let json = "[\"name\",{\"_placeholder\":true,\"num\":0},{\"_placeholder\":true,\"num\":1}]";
                    let attachments = [Bytes::from_static(&[0, 255, 30]), Bytes::from_static(b"text")].into();
                    let event = pair.packet(PacketKind::Event, namespace, Some(3), json, attachments);
                    pair.exchange(&event);
                }
            }
        }
    }
}

#[test]
fn messages_come_as_they_were_sent() {
    for generation in [Five, Two] {
        for way in WAYS {
            let mut pair = Pair::new(generation, Plain, way);
            for event in [message("text \u{1f600}"), message(""), binary(&[0, 1, 255]), binary(&[])] {
                pair.exchange(&Event::Message(event));
            }
        }
    }
}

#[test]
fn heartbeats_keep_it_alive() {
    for generation in [Five, Two, One] {
        for way in WAYS {
            let mut pair = Pair::new(generation, SocketIo, way);
            pair.connect("/", "");
            pair.pass(60_000);
            assert_eq!((pair.client.is_closing(), pair.server.is_closing()), (None, None), "{generation:?} {way:?}");
        }
    }
}

#[test]
fn a_side_that_hears_nothing_gives_up() {
    for generation in [Five, Two, One] {
        let mut pair = Pair::new(generation, SocketIo, Way::Socket);
        for _ in 0..10 {
            pair.now += Duration::from_millis(100);
            pair.client.handle_timeout(pair.now);
        }
        assert_eq!(pair.client.is_closing(), Some(Cause::PingTimeout), "{generation:?}");
    }
}

#[test]
fn the_server_tells_its_id() {
    for (generation, sid) in [(Five, Some(SID)), (Two, Some(SID)), (One, None)] {
        let pair = Pair::new(generation, SocketIo, Way::Poll);
        assert_eq!(pair.client.sid().map(str::to_string), sid.map(|sid| sid.to_string()));
        assert_eq!(pair.server.sid(), None);
    }
}

#[test]
fn namespaces_are_refused_and_left() {
    for generation in [Five, Two, One] {
        for way in WAYS {
            let mut pair = Pair::new(generation, SocketIo, way);
            pair.connect("/", "");
            let ask = pair.packet(PacketKind::Connect, "/secret", None, "", Vec::new());
            pair.client.send(ask, pair.now).unwrap();
            pair.run();
            let json = "{\"message\":\"no\"}";
            let refusal = pair.packet(PacketKind::Refuse, "/secret", None, json, Vec::new());
            pair.server.send(refusal, pair.now).unwrap();
            pair.run();
            let refused = pair.from_server.pop();
            assert!(
                matches!(&refused, Some(Event::Packet(packet)) if packet.kind() == PacketKind::Refuse),
                "{refused:?}"
            );
            assert!(!pair.client.is_connected("/secret"));
            pair.from_client.clear();
            pair.connect("/chat", "");
            let leave = pair.packet(PacketKind::Disconnect, "/chat", None, "", Vec::new());
            pair.client.send(leave.clone(), pair.now).unwrap();
            pair.run();
            let left = pair.from_client.pop();
            assert!(
                matches!(&left, Some(Event::Packet(packet)) if packet.kind() == PacketKind::Disconnect),
                "{left:?}"
            );
            pair.connect("/chat", "");
            pair.server.send(leave, pair.now).unwrap();
            pair.run();
            assert!(!pair.client.is_connected("/chat") && pair.client.is_connected("/"));
        }
    }
}

#[test]
fn either_side_ends_it() {
    for generation in [Five, Two, One] {
        for way in WAYS {
            let mut pair = Pair::new(generation, SocketIo, way);
            pair.connect("/", "");
            pair.client.close(Cause::Complete, pair.now);
            pair.run();
            let left = pair.from_client.pop().is_some();
            let ended = pair.server.is_closing() == Some(Cause::ClientClosed);
            assert!(left || ended, "{generation:?} {way:?}");
            let mut pair = Pair::new(generation, SocketIo, way);
            pair.connect("/", "");
            pair.server.close(Cause::Complete, pair.now);
            pair.run();
            let left = pair.from_server.pop().is_some();
            let ended = pair.client.is_closing() == Some(Cause::ClientClosed);
            assert!(left || ended, "{generation:?} {way:?}");
        }
    }
}

#[test]
fn what_a_client_cannot_send_is_unfit() {
    let mut pair = Pair::new(Five, SocketIo, Way::Socket);
    let refuse = pair.packet(PacketKind::Refuse, "/", None, "{\"message\":\"\"}", Vec::new());
    assert_eq!(pair.client.send(refuse, pair.now), Err(SendError::Unfit));
    assert_eq!(pair.client.accept("/", socket(1), pair.now), Err(SendError::Unfit));
    let event = pair.packet(PacketKind::Event, "/", None, "[\"a\"]", Vec::new());
    assert_eq!(pair.client.send(event, pair.now), Err(SendError::NotConnected));
    assert!(!pair.client.begin_probe(pair.now), "it has its WebSocket");
}
