//! The sending half: events in, frames out.

use alloc::sync::Arc;

use ::http::Response as Head;
use bytes::Bytes;

use super::frame::ErrorCode;
use super::head;
use super::stream::{Responder, Sending, Stream};
use super::{Connection, Progress, SendError};
use crate::error::{Cause, Violation};
use crate::http::{AddedField, Event, Framing, Request, Response, StreamId};
use crate::time::Instant;

impl Connection {
    /// Sends a part of a response.
    ///
    /// Fields of one hop are left out (Connection and those that it names, Transfer-Encoding, Upgrade, Keep-Alive), the
    /// status line says no more than its number. The length is kept and counted against. The answer to an extended
    /// CONNECT is 200; a 101 is sent so, without its Sec-WebSocket-Accept. The body of a response that has none (to
    /// HEAD; 204, 304) is not to be sent: the head completes it. What does not fit into the client's window waits.
    ///
    /// [`Progress::Complete`] says that nothing more may be sent, though some of it may still wait; of that stream nothing
    /// more is told, but for events that wait already, and for a client that never
    /// takes it. An [`Event::End`] after a message that is complete by its length changes nothing.
    ///
    /// # Errors
    /// See [`SendError`]; for one that is too short the stream is reset. A response that cannot be said in HTTP/2 is
    /// [`SendError::Unsupported`].
    pub fn send(&mut self, stream: StreamId, event: Event, now: Instant) -> Result<Progress, SendError> {
        self.now = now;
        let at = self.find(stream.0);
        let at = match (&event, at) {
            (Event::End, None) => return Ok(Progress::Complete),
            (_, None) => return Err(SendError::OutOfOrder),
            (_, Some(at)) => at,
        };
        match event {
            Event::Request(_) => Err(SendError::OutOfOrder),
            Event::Response(response) => self.send_response(at, &response),
            Event::Body(piece) => self.send_body(at, piece),
            Event::End => self.send_end(at),
        }
    }

    /// Asks the client for the body it holds back, if it does and the final response has not begun.
    pub fn send_continue(&mut self, stream: StreamId, now: Instant) {
        self.now = now;
        let Some(at) = self.find(stream.0) else { return };
        let stream = &mut self.streams[at];
        if !stream.waits_for_continue || stream.sending != Sending::Waiting {
            return;
        }
        stream.waits_for_continue = false;
        let mut head = Head::new(());
        *head.status_mut() = ::http::StatusCode::CONTINUE;
        // It fails for a stream that is gone, which an event tells.
        let _ = stream.send_interim(head);
        self.is_dirty = true;
        self.arm_body(at);
    }

    /// Bounds the body of a request; call it right after its head. A body announced larger is for the caller to refuse;
    /// one that grows larger is answered with 413, or its stream reset, and [`Event::Cut`](super::Event::Cut) tells.
    /// Without this call [`Limits::body_bytes`](crate::limits::Limits::body_bytes) holds.
    ///
    /// # Errors
    /// What came with the head is larger already: the answer is queued, and no event tells more of the stream.
    pub fn limit_body(&mut self, stream: StreamId, max: u64, now: Instant) -> Result<(), Violation> {
        self.now = now;
        let Some(at) = self.find(stream.0) else { return Ok(()) };
        match max.checked_sub(self.streams[at].body_read) {
            Some(room) => {
                self.streams[at].body_room = room;
                Ok(())
            }
            None => {
                self.events.retain(|(other, _)| *other != stream);
                self.send_page(stream.0, Cause::BodyTooLarge, Cause::BodyTooLarge.status());
                Err(Cause::BodyTooLarge.into())
            }
        }
    }

    /// Adds a field to the final response of a stream, an error page included, unless that has one of its name. Call it
    /// right after the request's head; the last call holds.
    pub fn add_field(&mut self, stream: StreamId, field: Arc<AddedField>) {
        if let Some(at) = self.find(stream.0) {
            self.streams[at].added = Some(field);
        }
    }

    /// Ends a stream for `cause`: with an error page if no byte of its final response was queued (then it returns
    /// `true`), else by a reset (`false`). Nothing more may be sent, and no event tells more of it.
    pub fn fail(&mut self, stream: StreamId, cause: Cause, now: Instant) -> bool {
        self.fail_with(stream, cause, cause.status(), now)
    }

    /// As [`fail`](Self::fail), with a status (200 to 999) other than the cause's own.
    pub fn fail_with(&mut self, stream: StreamId, cause: Cause, status: u16, now: Instant) -> bool {
        self.now = now;
        let Some(at) = self.find(stream.0) else { return false };
        match self.streams[at].sending {
            Sending::Waiting => {
                self.send_page(stream.0, cause, status);
                true
            }
            Sending::Length(_) | Sending::Open => {
                self.reset(stream, ErrorCode::INTERNAL_ERROR, now);
                false
            }
            // The answer was given, and only waits for the client.
            Sending::Complete => false,
        }
    }

    /// Ends a stream at once; what waits in it is dropped.
    pub fn reset(&mut self, stream: StreamId, code: ErrorCode, now: Instant) {
        self.now = now;
        if let Some(at) = self.find(stream.0) {
            self.streams[at].reset(code);
            self.remove(at);
            self.is_dirty = true;
        }
    }

    /// Promises the client the answer to a request that it has not made, with `stream`'s answer, and returns the stream
    /// that the answer is to be sent on (RFC 9113, 8.4).
    ///
    /// # Errors
    /// [`SendError::Unsupported`] if the client takes no pushes (few do), has as many open as it may have requests, or the
    /// request is not one that can be pushed: a 103 with a Link field, before the final response, is what it may use instead. [`SendError::OutOfOrder`] if the
    /// stream is over or itself pushed.
    pub fn push(
        &mut self,
        stream: StreamId,
        request: &Request,
        https: bool,
        now: Instant,
    ) -> Result<StreamId, SendError> {
        self.now = now;
        let at = self.find(stream.0).ok_or(SendError::OutOfOrder)?;
        if self.streams.len() >= self.settings.limits.h2_streams.saturating_mul(2) {
            return Err(SendError::Unsupported);
        }
        let head = head::pushed_head(request, https).ok_or(SendError::Unsupported)?;
        let Responder::Asked(asked) = self.streams[at].responder() else { return Err(SendError::OutOfOrder) };
        let pushed = asked.push_request(head).map_err(|_| SendError::Unsupported)?;
        let id = u32::from(pushed.stream_id());
        let mut stream = Stream::new(id, Responder::Pushed(pushed), None);
        stream.is_head = request.is_head();
        self.insert(stream);
        self.tally.pushes += 1;
        self.is_dirty = true;
        Ok(StreamId(id))
    }

    /// Whether a stream is under way. One that is not, and of whose end nothing was said, is told of by an event that
    /// waits.
    pub fn has(&self, stream: StreamId) -> bool {
        self.find(stream.0).is_some()
    }

    /// Whether a byte of a stream's final response was queued; `true` for one that is over.
    pub fn response_begun(&self, stream: StreamId) -> bool {
        self.find(stream.0).is_none_or(|at| self.streams[at].sending != Sending::Waiting)
    }

    /// Queues an error page as a stream's answer, which is complete then.
    pub(super) fn send_page(&mut self, stream: u32, cause: Cause, status: u16) {
        let Some(at) = self.find(stream) else { return };
        let accept = self.streams[at].wants_html.then_some(&b"text/html"[..]);
        let (response, body) = self.settings.pages.render(cause, status, accept);
        self.streams[at].is_tunnel = false;
        if let Ok(Progress::Open) = self.send_response(at, &response) {
            // The page is as long as its head says.
            let _ = self.send_body(at, body);
        }
    }

    fn send_response(&mut self, at: usize, response: &Response) -> Result<Progress, SendError> {
        let stream = &mut self.streams[at];
        if stream.sending != Sending::Waiting {
            return Err(SendError::OutOfOrder);
        }
        let status = match response.status {
            101 if stream.is_tunnel => 200,
            101 => return Err(SendError::Unsupported),
            100 => {
                let id = StreamId(stream.id);
                self.send_continue(id, self.now);
                return Ok(Progress::Open);
            }
            status => status,
        };
        let mut head = head::response_head(response, status).ok_or(SendError::Unsupported)?;
        if let Some(field) = stream.added.as_deref().filter(|_| status >= 200) {
            head::add_field(&mut head, field);
        }
        self.is_dirty = true;
        if status < 200 {
            // It fails for a stream that is gone, which an event tells.
            let _ = stream.send_interim(head);
            return Ok(Progress::Open);
        }
        let opens_tunnel = stream.is_tunnel && status < 300;
        stream.sending = match response.framing {
            _ if stream.is_head || response.never_has_body() && !opens_tunnel => Sending::Complete,
            Framing::Length(0) if !opens_tunnel => Sending::Complete,
            Framing::Length(length) if !opens_tunnel => Sending::Length(length),
            Framing::Length(_) | Framing::Chunked | Framing::Unframed => Sending::Open,
        };
        let is_last = stream.sending == Sending::Complete;
        if stream.send_head(head, is_last).is_err() {
            let id = stream.id;
            stream.sending = Sending::Waiting;
            self.cut(id, self.cause_of_reset(id), None);
            return Err(SendError::OutOfOrder);
        }
        if is_last {
            self.remove(at);
            return Ok(Progress::Complete);
        }
        Ok(Progress::Open)
    }

    fn send_body(&mut self, at: usize, mut piece: Bytes) -> Result<Progress, SendError> {
        let stream = &mut self.streams[at];
        let mut result = Ok(());
        match stream.sending {
            Sending::Waiting | Sending::Complete => return Err(SendError::OutOfOrder),
            Sending::Open => {}
            Sending::Length(left) => {
                if piece.len() as u64 > left {
                    // The length is less than that of the piece, so it fits into a usize.
                    piece.truncate(left as usize);
                    result = Err(SendError::TooLong);
                }
                let left = left - piece.len() as u64;
                stream.sending = if left == 0 { Sending::Complete } else { Sending::Length(left) };
            }
        }
        self.queued += piece.len();
        stream.push(piece);
        self.list(at);
        result.map(|()| self.progress(at))
    }

    fn send_end(&mut self, at: usize) -> Result<Progress, SendError> {
        match self.streams[at].sending {
            Sending::Waiting => return Err(SendError::OutOfOrder),
            Sending::Complete => return Ok(Progress::Complete),
            Sending::Length(_) => {
                let id = StreamId(self.streams[at].id);
                self.reset(id, ErrorCode::INTERNAL_ERROR, self.now);
                return Err(SendError::TooShort);
            }
            Sending::Open => {}
        }
        self.streams[at].sending = Sending::Complete;
        self.list(at);
        Ok(Progress::Complete)
    }

    fn progress(&self, at: usize) -> Progress {
        match self.streams[at].sending {
            Sending::Complete => Progress::Complete,
            Sending::Waiting | Sending::Length(_) | Sending::Open => Progress::Open,
        }
    }
}
