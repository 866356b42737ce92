//! Apps: nodes that live in the process. The vocabulary of the node protocol, typed and without a wire.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;

use crate::address::PeerAddr;
use crate::error::Cause;
use crate::http::{Request, Response};
use crate::message::Sid;
use crate::socketio::{Generation, Packet};
use crate::time::Instant;
use crate::tls;
use crate::websocket;

/// An application inside the server.
///
/// It serves the virtual hosts that name it (`node = app:NAME`). It is called with one input at a time and answers
/// through `replies`, at once or in a later call. It must not block: the whole server waits for it.
pub trait App {
    /// Takes one input.
    fn handle(&mut self, input: AppInput<'_>, replies: &mut Replies, now: Instant);

    /// When it wants an [`AppInput::Timeout`].
    fn poll_timeout(&self) -> Option<Instant> {
        None
    }
}

/// What an app is told.
#[derive(Debug)]
#[non_exhaustive]
pub enum AppInput<'a> {
    /// A request has come (`uwsgi`).
    Request {
        /// Its session.
        sid: Sid,
        /// Its head.
        request: &'a Request,
        /// Who sent it.
        client: PeerAddr,
        /// It came by TLS, to here or to a proxy that is trusted.
        https: bool,
        /// What the client's handshake with this server has agreed on. The certificate in it was asked for by the virtual
        /// host that the handshake was for, which is this one if this one asks for certificates.
        tls: Option<&'a tls::Facts>,
        /// It is the handshake of a client of socket.io, which the server answers; what follows comes as
        /// [`SocketIo`](Self::SocketIo), or of Engine.IO alone as [`WebSocket`](Self::WebSocket).
        socketio: Option<Generation>,
    },
    /// A piece of the request's body (`body`).
    Body {
        /// Its session.
        sid: Sid,
        /// The piece.
        bytes: Bytes,
    },
    /// The request's body is complete. Not said of requests without one.
    BodyEnd {
        /// Its session.
        sid: Sid,
    },
    /// A message of the client's WebSocket (`websocket`).
    WebSocket {
        /// Its session.
        sid: Sid,
        /// The message.
        message: websocket::Message,
    },
    /// A packet of a client of socket.io (`socket.io/event` and so on): a namespace that it asks for, to be
    /// [accepted](Replies::accept) or refused with a packet of the kind [`Refuse`](crate::socketio::PacketKind::Refuse);
    /// an event, an answer to one; the end of a namespace.
    SocketIo {
        /// Its session.
        sid: Sid,
        /// The packet.
        packet: Packet,
    },
    /// The client closed its WebSocket (`websocket/close`); [`End`](Self::End) follows.
    Close {
        /// Its session.
        sid: Sid,
        /// Why, as the client says.
        close: websocket::Close,
    },
    /// A message from another session (`msg`).
    Msg {
        /// The session that it is for.
        sid: Sid,
        /// The message.
        bytes: Bytes,
    },
    /// The session is over (`end`).
    End {
        /// The session.
        sid: Sid,
        /// Why.
        cause: Cause,
    },
    /// The client's queue has room again, after [`Replies::wait_for_room`].
    Room {
        /// The session.
        sid: Sid,
    },
    /// Another thread asked for it.
    Wake,
    /// The time that [`App::poll_timeout`] named has come.
    Timeout,
}

/// Where an app puts its answers. They are obeyed when the call returns, in order.
#[derive(Default)]
pub struct Replies {
    pub(super) list: Vec<(Sid, Reply)>,
}

pub(super) enum Reply {
    Head(Response),
    Body(Bytes),
    Open,
    WebSocket(websocket::Message),
    Close(websocket::Close),
    SocketIo(Packet),
    Accept(String),
    Join(Bytes),
    Leave(Bytes),
    Echo { group: Bytes, on: bool },
    ToGroup(Bytes, Routed),
    ToSession(Sid, Routed),
    Push { url: String, head: Response, body: Bytes },
    End,
    Retry,
    GoAway,
    Room,
}

/// What can be sent to other sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Routed {
    /// A message for WebSockets.
    WebSocket(websocket::Message),
    /// A packet for clients of socket.io that are connected to its namespace.
    SocketIo(Packet),
    /// A piece of the responses that have begun.
    Body(Bytes),
    /// A message for those who serve the sessions.
    Msg(Bytes),
    /// The end of the sessions.
    End,
}

impl Replies {
    /// Starts the response, or sends a 1xx head.
    pub fn head(&mut self, sid: Sid, response: Response) {
        self.list.push((sid, Reply::Head(response)));
    }

    /// Sends a piece of the response's body. Without a Content-Length, finish with [`end`](Self::end).
    pub fn body(&mut self, sid: Sid, bytes: Bytes) {
        self.list.push((sid, Reply::Body(bytes)));
    }

    /// Sends a whole response, whose head must carry the Content-Length of `body`.
    pub fn respond(&mut self, sid: Sid, response: Response, body: Bytes) {
        self.head(sid, response);
        self.body(sid, body);
    }

    /// Opens the WebSocket that the request asks for. [`head`](Self::head) with a 101 does the same and adds the fields
    /// of its own, such as the sub-protocol; with any other status it refuses.
    pub fn open(&mut self, sid: Sid) {
        self.list.push((sid, Reply::Open));
    }

    /// Sends a WebSocket message.
    pub fn websocket(&mut self, sid: Sid, message: websocket::Message) {
        self.list.push((sid, Reply::WebSocket(message)));
    }

    /// Closes the WebSocket; the session is over.
    pub fn close(&mut self, sid: Sid, close: websocket::Close) {
        self.list.push((sid, Reply::Close(close)));
    }

    /// Sends a packet to a client of socket.io: an event, an answer, a refusal, the end of a namespace.
    pub fn socketio(&mut self, sid: Sid, packet: Packet) {
        self.list.push((sid, Reply::SocketIo(packet)));
    }

    /// Lets a client of socket.io have a namespace that it asked for.
    pub fn accept(&mut self, sid: Sid, namespace: impl Into<String>) {
        self.list.push((sid, Reply::Accept(namespace.into())));
    }

    /// Lets the session enter a group of its virtual host: 1 to 64 bytes, the first no `@`.
    pub fn join(&mut self, sid: Sid, group: impl Into<Bytes>) {
        self.list.push((sid, Reply::Join(group.into())));
    }

    /// Lets the session leave a group. All are left when it ends.
    pub fn leave(&mut self, sid: Sid, group: impl Into<Bytes>) {
        self.list.push((sid, Reply::Leave(group.into())));
    }

    /// Whether the session gets its own messages to a group, as it does without a word; for an empty name: to groups
    /// that it joins later.
    pub fn set_echo(&mut self, sid: Sid, group: impl Into<Bytes>, on: bool) {
        self.list.push((sid, Reply::Echo { group: group.into(), on }));
    }

    /// Sends something from a session to everybody in a group of its virtual host, in the order in which they joined; to
    /// itself last.
    pub fn to_group(&mut self, from: Sid, group: impl Into<Bytes>, what: Routed) {
        self.list.push((from, Reply::ToGroup(group.into(), what)));
    }

    /// Sends something from a session to another one of its virtual host.
    pub fn to_session(&mut self, from: Sid, to: Sid, what: Routed) {
        self.list.push((from, Reply::ToSession(to, what)));
    }

    /// Sends the answer to a request for `url` (a path, or a whole URL of the same virtual host) that the client has not
    /// made: by a push of HTTP/2 or SPDY if it takes that, else it is told by a 103 that it will need it. Before the
    /// response to what it has asked for, or while that is under way.
    pub fn push(&mut self, sid: Sid, url: impl Into<String>, head: Response, body: Bytes) {
        self.list.push((sid, Reply::Push { url: url.into(), head, body }));
    }

    /// Ends the session.
    pub fn end(&mut self, sid: Sid) {
        self.list.push((sid, Reply::End));
    }

    /// Passes the request on to a node.
    pub fn retry(&mut self, sid: Sid) {
        self.list.push((sid, Reply::Retry));
    }

    /// Lets the client's connection take no more requests: it closes when those under way are answered. Say it before the
    /// session's answer is complete. A WebSocket closes at once, with 1001, and alone.
    pub fn go_away(&mut self, sid: Sid) {
        self.list.push((sid, Reply::GoAway));
    }

    /// Asks for [`AppInput::Room`] when less than half of what may be queued for the client is.
    pub fn wait_for_room(&mut self, sid: Sid) {
        self.list.push((sid, Reply::Room));
    }
}

/// An app and what the engine knows of it.
pub(super) struct AppSlot {
    pub name: &'static str,
    /// Absent while it is being called.
    pub app: Option<Box<dyn App + Send>>,
    pub load: usize,
}
