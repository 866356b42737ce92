//! The app that serves when nothing else is configured: a page that says what this is and how to attach a node, with
//! WebSockets and clients of socket.io that echo and chat.
//!
//! | what clients of socket.io emit | what they get |
//! |---|---|
//! | `echo`, arguments | the same event, and the same arguments as an answer if they wait for one |
//! | `join` | the chat, which is that of the WebSockets: `message` with each line, `refused` with the reason for none |
//! | `message`, text | a line of the chat for everybody in it |

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use bytes::Bytes;

use super::app::{App, AppInput, Replies, Routed};
use crate::error::Cause;
use crate::http::{BodySize, Framing, Request, Response};
use crate::limits::Limits;
use crate::message::Sid;
use crate::socketio::{self, Content, Packet, PacketKind, json_string};
use crate::time::Instant;
use crate::websocket::{Close, Kind, Message, handshake};

/// A node in ten lines of Python, for the server as it is without a configuration. It runs as it stands.
pub const NODE_EXAMPLE: &str = r#"import zmq
node = zmq.Context().socket(zmq.DEALER)
node.setsockopt(zmq.IDENTITY, b"hello")
node.connect("tcp://127.0.0.1:5000")
node.send_multipart([b"", b"pong", b""])
while True:
    sid, kind, body = node.recv_multipart()
    if kind == b"ping":
        node.send_multipart([sid, b"pong", b""])
    elif kind == b"uwsgi":
        node.send_multipart([sid, b"headers", b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n"])
        node.send_multipart([sid, b"body", b"Hello from a node\n"])
        node.send_multipart([sid, b"end", b""])
"#;

/// The page; `@NODE@` stands for [`NODE_EXAMPLE`].
const PAGE: &str = include_str!("page.html");

/// What a line of the chat may have.
const LINE_MAX: usize = 4000;

/// The WebSockets of the chat.
const CHAT: &[u8] = b"chat";

/// Its clients of socket.io. What goes to a group is of one kind, so that each kind has a group of its own.
const CHAT_IO: &[u8] = b"chat by socket.io";

const NAMESPACE_UNKNOWN: &[u8] = br#"{"message":"Invalid namespace"}"#;
const LINE_REFUSED: &[u8] = br#"["refused","too long a line"]"#;

/// The app. Make one for each engine.
pub struct Welcome {
    page: (Response, Bytes),
    missing: (Response, Bytes),
    refused: (Response, Bytes),
    not_upgraded: (Response, Bytes),
    /// Requests whose bodies are still coming. They are answered when all is said: who answers before that leaves it
    /// to the protocol to break off what nobody wants.
    uploading: BTreeMap<Sid, Page>,
    /// WebSockets that chat; all others echo.
    chatting: BTreeSet<Sid>,
    /// Clients of socket.io that chat.
    chatting_io: BTreeSet<Sid>,
    /// Bounds of packets that are made here.
    settings: socketio::Settings,
}

#[derive(Clone, Copy)]
enum Page {
    Home,
    Missing,
    Refused,
    NotUpgraded,
}

impl Welcome {
    /// The name by which a virtual host asks for it: `node = app:welcome`.
    pub const NAME: &'static str = "welcome";

    /// The app with its pages made.
    pub fn new() -> Self {
        let page = PAGE.replace("@NODE@", &NODE_EXAMPLE.replace('&', "&amp;").replace('<', "&lt;"));
        let plain = "text/plain; charset=utf-8";
        Self {
            page: answer(200, "text/html; charset=utf-8", &[], page),
            missing: answer(404, plain, &[], "There is only one page here: /\n".into()),
            refused: answer(405, plain, &[("Allow", "GET, HEAD")], "This page can only be read.\n".into()),
            not_upgraded: answer(
                426,
                plain,
                &[("Upgrade", "websocket"), ("Connection", "Upgrade")],
                "This is the address of a WebSocket.\n".into(),
            ),
            uploading: BTreeMap::new(),
            chatting: BTreeSet::new(),
            chatting_io: BTreeSet::new(),
            settings: socketio::Settings::new(&Limits::DEFAULT),
        }
    }

    fn on_request(&mut self, sid: Sid, request: &Request, replies: &mut Replies) {
        let page = match (request.method(), request.path()) {
            (b"GET", b"/echo") if handshake::is_requested(request) => return replies.open(sid),
            (b"GET", b"/chat") if handshake::is_requested(request) => return self.enter(sid, replies),
            (b"GET" | b"HEAD", b"/echo" | b"/chat") => Page::NotUpgraded,
            (b"GET" | b"HEAD", b"/") => Page::Home,
            (b"GET" | b"HEAD", _) => Page::Missing,
            _ => Page::Refused,
        };
        if request.body == BodySize::None {
            self.respond(sid, page, replies);
        } else {
            self.uploading.insert(sid, page);
        }
    }

    fn respond(&self, sid: Sid, page: Page, replies: &mut Replies) {
        let (head, body) = match page {
            Page::Home => &self.page,
            Page::Missing => &self.missing,
            Page::Refused => &self.refused,
            Page::NotUpgraded => &self.not_upgraded,
        };
        replies.respond(sid, head.clone(), body.clone());
    }

    fn enter(&mut self, sid: Sid, replies: &mut Replies) {
        self.chatting.insert(sid);
        replies.open(sid);
        replies.join(sid, CHAT);
        self.welcome(sid, replies);
    }

    fn welcome(&self, sid: Sid, replies: &mut Replies) {
        let people = self.chatting.len() + self.chatting_io.len();
        self.say(sid, format!("* somebody has come: {people} here").into(), replies);
    }

    /// Sends a line to everybody in the chat.
    fn say(&self, sid: Sid, line: Bytes, replies: &mut Replies) {
        if !self.chatting_io.is_empty()
            && let Ok(packet) = Packet::from_content(Content::Text, &line, &self.settings)
        {
            replies.to_group(sid, CHAT_IO, Routed::SocketIo(packet));
        }
        if !self.chatting.is_empty() {
            replies.to_group(sid, CHAT, Routed::WebSocket(Message { kind: Kind::Text, payload: line }));
        }
    }

    fn on_message(&mut self, sid: Sid, message: Message, replies: &mut Replies) {
        if !self.chatting.contains(&sid) {
            return replies.websocket(sid, message);
        }
        let refused = match message.kind {
            Kind::Binary => (1003, &b"this is a chat of words"[..]),
            Kind::Text if message.payload.len() > LINE_MAX => (1009, &b"too long a line"[..]),
            Kind::Text => return self.say(sid, message.payload, replies),
        };
        replies.close(sid, Close { code: Some(refused.0), reason: Bytes::from_static(refused.1) });
    }

    fn on_packet(&mut self, sid: Sid, packet: Packet, replies: &mut Replies) {
        match packet.kind() {
            PacketKind::Connect if packet.namespace() == "/" => replies.accept(sid, "/"),
            PacketKind::Connect => {
                let refusal = Packet::new(
                    PacketKind::Refuse,
                    packet.namespace(),
                    None,
                    NAMESPACE_UNKNOWN,
                    Vec::new(),
                    &self.settings,
                );
                send(sid, refusal, replies);
            }
            PacketKind::Event => self.on_event(sid, packet, replies),
            PacketKind::Disconnect => {
                self.chatting_io.remove(&sid);
                replies.leave(sid, CHAT_IO);
            }
            PacketKind::Ack | PacketKind::Refuse => {}
        }
    }

    /// An event; one whose name means nothing here is nobody's.
    fn on_event(&mut self, sid: Sid, packet: Packet, replies: &mut Replies) {
        let json = packet.json();
        if let Some(rest) = json.strip_prefix(br#"["echo""#) {
            return self.echo(sid, &packet, rest, replies);
        }
        if json.starts_with(br#"["join""#) {
            if self.chatting_io.insert(sid) {
                replies.join(sid, CHAT_IO);
                self.welcome(sid, replies);
            }
            return;
        }
        let mut said = packet.elements();
        let is_message = said.next() == Some(br#""message""#);
        let line = said.next().filter(|_| is_message).and_then(json_string);
        match line {
            Some(line) if self.chatting_io.contains(&sid) => {
                if line.len() <= LINE_MAX {
                    return self.say(sid, Bytes::copy_from_slice(line.as_bytes()), replies);
                }
                let refusal = Packet::new(PacketKind::Event, "/", None, LINE_REFUSED, Vec::new(), &self.settings);
                send(sid, refusal, replies);
            }
            Some(_) | None => {}
        }
    }

    /// Sends an event back, behind its answer if its client waits for one; `rest` is its JSON behind the name.
    fn echo(&self, sid: Sid, packet: &Packet, rest: &[u8], replies: &mut Replies) {
        let new =
            |kind, id, json: &[u8]| Packet::new(kind, "/", id, json, packet.attachments().to_vec(), &self.settings);
        if let Some(id) = packet.id() {
            let arguments = rest.strip_prefix(b",").unwrap_or(rest);
            send(sid, new(PacketKind::Ack, Some(id), &[b"[", arguments].concat()), replies);
        }
        send(sid, new(PacketKind::Event, None, &packet.json()), replies);
    }
}

/// Sends a packet that was made here. A host's bounds may be wider than those that are used here: what is beyond these
/// stays without an answer.
fn send(sid: Sid, packet: Result<Packet, Cause>, replies: &mut Replies) {
    if let Ok(packet) = packet {
        replies.socketio(sid, packet);
    }
}

impl Default for Welcome {
    fn default() -> Self {
        Self::new()
    }
}

fn answer(status: u16, kind: &str, fields: &[(&str, &str)], body: String) -> (Response, Bytes) {
    let head = Response::builder(status).field("Content-Type", kind).framing(Framing::Length(body.len() as u64));
    let head = fields.iter().fold(head, |head, (name, value)| head.field(name, value));
    (head.build().expect("these fields are constants without line breaks"), Bytes::from(body))
}

impl App for Welcome {
    fn handle(&mut self, input: AppInput<'_>, replies: &mut Replies, _now: Instant) {
        match input {
            AppInput::Request { socketio: Some(_), .. } => {}
            AppInput::Request { sid, request, .. } => self.on_request(sid, request, replies),
            AppInput::WebSocket { sid, message } => self.on_message(sid, message, replies),
            AppInput::SocketIo { sid, packet } => self.on_packet(sid, packet, replies),
            AppInput::BodyEnd { sid } => {
                if let Some(page) = self.uploading.remove(&sid) {
                    self.respond(sid, page, replies);
                }
            }
            AppInput::End { sid, .. } => {
                self.uploading.remove(&sid);
                self.chatting.remove(&sid);
                self.chatting_io.remove(&sid);
            }
            AppInput::Body { .. }
            | AppInput::Close { .. }
            | AppInput::Msg { .. }
            | AppInput::Room { .. }
            | AppInput::Wake
            | AppInput::Timeout => {}
        }
    }
}
