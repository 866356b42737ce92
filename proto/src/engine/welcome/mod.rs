//! The app that serves when nothing else is configured: a page that says what this is and how to attach a node, with a
//! WebSocket that echoes and one that chats.

use alloc::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::app::{App, AppInput, Replies, Routed};
use crate::http::{BodySize, Framing, Request, Response};
use crate::message::Sid;
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

const CHAT: &[u8] = b"chat";

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
        let people = self.chatting.len();
        let notice = Message { kind: Kind::Text, payload: format!("* somebody has come: {people} here").into() };
        replies.to_group(sid, CHAT, Routed::WebSocket(notice));
    }

    fn on_message(&mut self, sid: Sid, message: Message, replies: &mut Replies) {
        if !self.chatting.contains(&sid) {
            return replies.websocket(sid, message);
        }
        let refused = match message.kind {
            Kind::Binary => (1003, &b"this is a chat of words"[..]),
            Kind::Text if message.payload.len() > LINE_MAX => (1009, &b"too long a line"[..]),
            Kind::Text => return replies.to_group(sid, CHAT, Routed::WebSocket(message)),
        };
        replies.close(sid, Close { code: Some(refused.0), reason: Bytes::from_static(refused.1) });
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
            AppInput::BodyEnd { sid } => {
                if let Some(page) = self.uploading.remove(&sid) {
                    self.respond(sid, page, replies);
                }
            }
            AppInput::End { sid, .. } => {
                self.uploading.remove(&sid);
                self.chatting.remove(&sid);
            }
            AppInput::Body { .. }
            | AppInput::Close { .. }
            | AppInput::SocketIo { .. }
            | AppInput::Msg { .. }
            | AppInput::Room { .. }
            | AppInput::Wake
            | AppInput::Timeout => {}
        }
    }
}
