//! Apps: nodes that live in the process. The vocabulary of the node protocol, typed and without a wire.

use alloc::boxed::Box;
use alloc::vec::Vec;

use bytes::Bytes;

use crate::address::PeerAddr;
use crate::error::Cause;
use crate::http::{Request, Response};
use crate::message::Sid;
use crate::time::Instant;

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
    End,
    Retry,
    Room,
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

    /// Ends the session.
    pub fn end(&mut self, sid: Sid) {
        self.list.push((sid, Reply::End));
    }

    /// Passes the request on to a node.
    pub fn retry(&mut self, sid: Sid) {
        self.list.push((sid, Reply::Retry));
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
