//! What the machine does, as conversations: a server with a small application, spoken to in the protocol's own texts.

mod bounds;
mod engineio;
mod fan;
mod laws;
mod one;
mod pair;
mod recovery;
mod socketio;
mod two;
mod upgrade;

use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::Bytes;

use super::super::{
    Connection, Encoding, Event, Generation, Id, Layer, Outlook, Packet, PacketKind, Prepared, Probe, SendError,
    Settings, Transport,
};
use super::Fanned;
use crate::error::Cause;
use crate::limits::Limits;
use crate::time::{Duration, Instant};
use crate::websocket::{Kind, Message};

const INTERVAL: Duration = Duration::from_millis(300);
const TIMEOUT: Duration = Duration::from_millis(200);
const SID: Id = Id(*b"engine.io itself");
const PRIVATE: Id = Id(*b"of the connectio");

fn settings() -> Settings {
    Settings {
        ping_interval: INTERVAL,
        ping_timeout: TIMEOUT,
        connect_timeout: Duration::from_millis(450),
        ..Settings::new(&Limits::DEFAULT)
    }
}

fn recoverable() -> Settings {
    Settings { recovery: Duration::from_secs(60), ..settings() }
}

/// A server and its application.
struct Server {
    connection: Connection,
    now: Instant,
    settings: Settings,
    /// Sockets are numbered.
    sockets: u8,
    /// What the application has seen, in order.
    seen: Vec<String>,
    /// Events as they came, for applications that the test is.
    events: VecDeque<Event>,
    /// The application answers as those of the protocols' suites do.
    answers: bool,
}

impl Server {
    fn new(generation: Generation, layer: Layer, transport: Transport, settings: Settings) -> Self {
        Self::with_base64(generation, layer, transport, settings, generation == Generation::Five)
    }

    fn with_base64(
        generation: Generation,
        layer: Layer,
        transport: Transport,
        settings: Settings,
        base64: bool,
    ) -> Self {
        let now = Instant::from_millis(1000);
        let shared = Arc::new(settings.clone());
        let connection = Connection::server(shared, generation, layer, transport, base64, SID, PRIVATE, now);
        let mut server = Self::of(connection, now, settings);
        server.answers = true;
        server.serve();
        server
    }

    /// One of socket.io 5 that has just come, by another connection than those with [`PRIVATE`]; nobody answers it.
    fn newcomer(transport: Transport, now: Instant) -> Self {
        let (shared, private) = (Arc::new(recoverable()), Id(*b"of the newcomer "));
        let (generation, layer) = (Generation::Five, Layer::SocketIo);
        let connection = Connection::server(shared, generation, layer, transport, true, SID, private, now);
        Self::of(connection, now, recoverable())
    }

    fn of(connection: Connection, now: Instant, settings: Settings) -> Self {
        let (seen, events) = (Vec::new(), VecDeque::new());
        Self { connection, now, settings, sockets: 0, seen, events, answers: false }
    }

    /// One of socket.io 5 on a WebSocket that has its main namespace.
    fn connected(settings: Settings) -> Self {
        let mut server = Self::new(Generation::Five, Layer::SocketIo, Transport::WebSocket, settings);
        server.says("40");
        server.sent();
        server.seen.clear();
        server
    }

    /// Lets the application see what was received.
    fn serve(&mut self) {
        while let Some(event) = self.connection.poll_event() {
            match &event {
                Event::Message(message) => {
                    self.seen.push(show(message));
                    if self.answers {
                        self.connection.send(event.clone(), self.now).unwrap();
                    }
                }
                Event::Packet(packet) => {
                    self.seen.push(show_packet(packet));
                    if self.answers {
                        self.answer(packet);
                    }
                }
                Event::Recover { packet, private, offset } => {
                    self.seen.push(format!("recover {private} {offset:?} {}", show_packet(packet)));
                }
            }
            self.events.push_back(event);
        }
    }

    fn answer(&mut self, packet: &Packet) {
        let json = packet.json();
        let is_legacy = self.connection.generation() == Generation::One;
        match packet.kind() {
            PacketKind::Connect if matches!(packet.namespace(), "/" | "/custom") => {
                let auth = if json.is_empty() { Bytes::from_static(b"{}") } else { json };
                let id = self.next_socket();
                self.connection.accept(packet.namespace(), id, self.now).unwrap();
                if !is_legacy {
                    self.emit(packet.namespace(), None, &[&b"[\"auth\","[..], &auth, b"]"].concat(), Vec::new());
                }
            }
            PacketKind::Connect => {
                let refusal =
                    self.packet(PacketKind::Refuse, packet.namespace(), b"{\"message\":\"Invalid namespace\"}");
                self.connection.send(Event::Packet(refusal), self.now).unwrap();
            }
            PacketKind::Event if json.starts_with(b"[\"message\",") => {
                let arguments = &json[b"[\"message\"".len()..];
                let json = [&b"[\"message-back\""[..], arguments].concat();
                self.emit(packet.namespace(), None, &json, packet.attachments().to_vec());
            }
            PacketKind::Event if json.starts_with(b"[\"message-with-ack\",") => {
                let json = [b"[", &json[b"[\"message-with-ack\",".len()..]].concat();
                let attachments = packet.attachments().to_vec();
                let ack =
                    Packet::new(PacketKind::Ack, packet.namespace(), packet.id(), &json, attachments, &self.settings);
                self.connection.send(Event::Packet(ack.unwrap()), self.now).unwrap();
            }
            PacketKind::Event | PacketKind::Ack | PacketKind::Disconnect | PacketKind::Refuse => {}
        }
    }

    fn next_socket(&mut self) -> Id {
        self.sockets += 1;
        socket(self.sockets)
    }

    fn packet(&self, kind: PacketKind, namespace: &str, json: &[u8]) -> Packet {
        Packet::new(kind, namespace, None, json, Vec::new(), &self.settings).unwrap()
    }

    fn emit(&mut self, namespace: &str, id: Option<u64>, json: &[u8], attachments: Vec<Bytes>) {
        let event = Packet::new(PacketKind::Event, namespace, id, json, attachments, &self.settings).unwrap();
        self.connection.send(Event::Packet(event), self.now).unwrap();
    }

    fn event(&self, json: &str) -> Event {
        Event::Packet(self.packet(PacketKind::Event, "/", json.as_bytes()))
    }

    /// A GET comes; its answer, if it need not wait.
    fn get(&mut self) -> Option<String> {
        self.connection.set_polling(true, self.now);
        self.answer_to_get()
    }

    fn answer_to_get(&mut self) -> Option<String> {
        let (body, encoding) = self.payload()?;
        assert_eq!(encoding, Encoding::Text, "{}", body.escape_ascii());
        Some(String::from_utf8(body.to_vec()).unwrap())
    }

    fn payload(&mut self) -> Option<(Bytes, Encoding)> {
        if !self.connection.has_payload() {
            return None;
        }
        let payload = self.connection.take_payload(self.settings.payload_bytes, self.now);
        self.connection.set_polling(false, self.now);
        Some(payload)
    }

    /// A POST comes.
    fn post(&mut self, body: &str) -> Result<(), Cause> {
        self.post_bytes(body.as_bytes(), Encoding::Text)
    }

    fn post_bytes(&mut self, body: &[u8], encoding: Encoding) -> Result<(), Cause> {
        let result = self.connection.receive_payload(Bytes::copy_from_slice(body), encoding, self.now);
        self.serve();
        result.map_err(|violation| violation.what)
    }

    /// A text message comes.
    fn says(&mut self, text: &str) {
        self.connection.receive_message(message(text), self.now);
        self.serve();
    }

    /// A binary message comes.
    fn says_bytes(&mut self, bytes: &[u8]) {
        self.connection.receive_message(binary(bytes), self.now);
        self.serve();
    }

    /// What the WebSocket has to bring, shown.
    fn sent(&mut self) -> Vec<String> {
        core::iter::from_fn(|| self.connection.poll_message()).map(|message| show(&message)).collect()
    }

    /// Time passes; deadlines come when they come.
    fn pass(&mut self, millis: u64) {
        let until = self.now + Duration::from_millis(millis);
        while let Some(deadline) = self.connection.poll_timeout().filter(|deadline| *deadline <= until) {
            assert!(deadline >= self.now, "a deadline that has passed is not named again");
            self.now = deadline;
            self.connection.handle_timeout(deadline);
            assert!(self.connection.poll_timeout().is_none_or(|next| next > deadline), "a deadline is dealt with");
            self.serve();
        }
        self.now = until;
    }

    fn closing(&self) -> Option<Cause> {
        self.connection.is_closing()
    }
}

fn socket(number: u8) -> Id {
    let mut id = *b"socket number ..";
    id[15] = number;
    Id(id)
}

fn message(text: &str) -> Message {
    Message { kind: Kind::Text, payload: Bytes::copy_from_slice(text.as_bytes()) }
}

fn binary(bytes: &[u8]) -> Message {
    Message { kind: Kind::Binary, payload: Bytes::copy_from_slice(bytes) }
}

/// Texts as they are, binary messages in brackets.
fn show(message: &Message) -> String {
    match message.kind {
        Kind::Text => String::from_utf8(message.payload.to_vec()).unwrap(),
        Kind::Binary => format!("{:?}", &message.payload[..]),
    }
}

fn show_packet(packet: &Packet) -> String {
    let name = match packet.kind() {
        PacketKind::Connect => "connect",
        PacketKind::Disconnect => "disconnect",
        PacketKind::Event => "event",
        PacketKind::Ack => "ack",
        PacketKind::Refuse => "refuse",
    };
    let id = packet.id().map_or(String::new(), |id| format!(" #{id}"));
    let json = String::from_utf8(packet.json().to_vec()).unwrap();
    let attachments: String = packet.attachments().iter().map(|bytes| format!(" {:?}", &bytes[..])).collect();
    format!("{name} {}{id} {json}{attachments}", packet.namespace()).trim_end().to_string()
}

/// The first packet of a server, as it stands in a test's settings.
fn hello(upgrades: &str) -> String {
    format!(
        "0{{\"sid\":\"{SID}\",\"upgrades\":[{upgrades}],\"pingInterval\":300,\"pingTimeout\":200,\"maxPayload\":1000000}}"
    )
}
