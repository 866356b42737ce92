//! The sending half: parts of messages in, frames out. Heads go at once, since each is compressed with what went before.

use alloc::boxed::Box;
use alloc::sync::Arc;

use bytes::Bytes;

use super::block::BlockWriter;
use super::deflate::Deflater;
use super::frame::{
    FIN, HEADERS, MAX_31, SYN_REPLY, SYN_STREAM, SYN_STREAM_FIXED, StatusCode, UNIDIRECTIONAL, Version,
};
use super::head::{self, Promise};
use super::stream::{Receiving, Sending};
use super::{Connection, Progress, SendError};
use crate::error::{Cause, Violation};
use crate::http::{AddedField, BodySize, Event, Framing, Request, Response, StreamId};
use crate::time::Instant;

/// How soon a request that a client sends is to be answered: from 0, which is first, to 7; SPDY/2 knows half as many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Priority(pub u8);

impl Connection {
    /// Sends a part of a message: of a response, by a server; of the body of a request that was [opened](Self::open), by a
    /// client.
    ///
    /// Fields of one hop are left out (Connection and those that it names, Transfer-Encoding, Upgrade, Keep-Alive), and so
    /// are interim responses; fields of one name become one. SPDY/2 cannot say fields without a value, nor those that are
    /// called like a part of the first line (Status, Version, ...): they are left out too. The length is kept and counted
    /// against. The body of a response that has none (to HEAD; 204, 304) is not to be sent: the head completes it. What
    /// does not fit into the peer's window waits.
    ///
    /// [`Progress::Complete`] says that nothing more may be sent, though some of it may still wait; a server is told no
    /// more of that stream, but for events that wait already, and for a client that never takes it. An [`Event::End`] after
    /// a message that is complete by its length changes nothing.
    ///
    /// # Errors
    /// See [`SendError`]; for one that is too short the stream is reset. A response that cannot be said in SPDY, or not in
    /// this version of it, is [`SendError::Unsupported`].
    pub fn send(&mut self, stream: StreamId, event: Event, now: Instant) -> Result<Progress, SendError> {
        self.now = now;
        let at = match (&event, self.find(stream.0)) {
            (Event::End, None) => return Ok(Progress::Complete),
            (_, None) => return Err(SendError::OutOfOrder),
            (_, Some(at)) => at,
        };
        let result = match event {
            Event::Request(_) => Err(SendError::OutOfOrder),
            Event::Response(response) => self.send_response(at, &response),
            Event::Body(piece) => self.send_body(at, piece),
            Event::End => self.send_end(at),
        };
        if result != Ok(Progress::Open) {
            self.release_rest(stream.0);
        }
        self.check_books();
        result
    }

    /// Opens a stream with a request, which names `http` or `https` as its scheme, and returns its number. The body, if
    /// there is one, is to be [sent](Self::send).
    ///
    /// # Errors
    /// [`SendError::OutOfOrder`] for a server, and for a connection that one of both sides wants to end.
    /// [`SendError::Unsupported`] if the server allows no more streams, the numbers of streams are used up, or the request
    /// cannot be said: its target has to be a path.
    pub fn open(
        &mut self,
        request: &Request,
        https: bool,
        priority: Priority,
        now: Instant,
    ) -> Result<StreamId, SendError> {
        self.now = now;
        if self.is_server || self.closing.is_some() || self.is_draining || self.is_left {
            return Err(SendError::OutOfOrder);
        }
        let open = self.streams.len() - self.pushes();
        let is_sayable = head::is_sayable(request) && BlockWriter::has_room_for(self.version, request.text().len());
        if open >= self.peer_streams as usize || self.next_stream > MAX_31 || !is_sayable {
            return Err(SendError::Unsupported);
        }
        let sending = match request.body {
            BodySize::None | BodySize::Length(0) => Sending::Complete,
            BodySize::Length(length) => Sending::Length(length),
            BodySize::Chunked => Sending::Open,
        };
        let priority = match self.version {
            Version::V2 => (priority.0 / 2).min(self.version.priority_max()),
            Version::V3 | Version::V31 => priority.0.min(self.version.priority_max()),
        };
        let mut stream = self.own_stream(priority, Receiving::Head, sending);
        stream.is_head = request.is_head();
        stream.end_written = sending == Sending::Complete;
        let (id, version) = (stream.id, self.version);
        let flags = if stream.end_written { FIN } else { 0 };
        self.insert(stream);
        self.write_block(SYN_STREAM, flags, id, [0, priority.into()], |writer| {
            head::write_request(writer, request, https, version);
        });
        Ok(StreamId(id))
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
        match max.checked_sub(self.streams[at].body_begun) {
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

    /// Ends a stream for `cause`: with an error page if no byte of its response was queued (then it returns `true`), else
    /// by a reset (`false`). Nothing more may be sent, and no event tells more of it.
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
                self.reset(stream, StatusCode::INTERNAL_ERROR, now);
                false
            }
            // The answer was given, and only waits for the client.
            Sending::Complete => false,
        }
    }

    /// Ends a stream at once; what waits in it is dropped.
    pub fn reset(&mut self, stream: StreamId, code: StatusCode, now: Instant) {
        self.now = now;
        let Some(at) = self.find(stream.0) else { return };
        self.tell_end(at, code);
        self.remove(at);
    }

    /// Promises the client the answer to a request that it has not made, with `stream`'s answer, and returns the stream
    /// that the answer is to be sent on (draft 3, 3.3). The client hears of both together; pushed answers may be pushed
    /// within each other as long as each belongs to a stream that the client has opened.
    ///
    /// # Errors
    /// [`SendError::Unsupported`] if the client allows no more streams, or goes, or the request cannot be said.
    /// [`SendError::OutOfOrder`] if the stream is over, its answer complete, or itself pushed; and for a client.
    pub fn push(
        &mut self,
        stream: StreamId,
        request: &Request,
        https: bool,
        now: Instant,
    ) -> Result<StreamId, SendError> {
        self.now = now;
        let at = self.find(stream.0).filter(|_| self.is_server).ok_or(SendError::OutOfOrder)?;
        let (associated, priority) = (self.streams[at].id, self.streams[at].priority);
        if self.streams[at].sending == Sending::Complete || self.streams[at].associated != 0 {
            return Err(SendError::OutOfOrder);
        }
        let pushes = self.pushes();
        let is_full = pushes >= self.settings.limits.h2_streams || pushes >= self.peer_streams as usize;
        let is_sayable =
            head::is_sayable(request) && BlockWriter::has_room_for(self.version, request.text().len() + 16);
        if is_full || self.is_left || self.next_stream > MAX_31 || !is_sayable {
            return Err(SendError::Unsupported);
        }
        // Numbers must not come later than higher ones.
        self.tell_promises(None);
        let mut pushed = self.own_stream(priority, Receiving::Complete, Sending::Waiting);
        let id = pushed.id;
        pushed.associated = associated;
        pushed.is_head = request.is_head();
        pushed.promise = Some(Box::new(Promise { request: request.clone(), https }));
        self.insert(pushed);
        self.promises += 1;
        self.tally.pushes += 1;
        Ok(StreamId(id))
    }

    /// Whether a stream is under way. One that is not, and of whose end nothing was said, is told of by an event that
    /// waits.
    pub fn has(&self, stream: StreamId) -> bool {
        self.find(stream.0).is_some()
    }

    /// Whether a byte of a stream's response was queued; `true` for one that is over.
    pub fn response_begun(&self, stream: StreamId) -> bool {
        self.find(stream.0).is_none_or(|at| self.streams[at].sending != Sending::Waiting)
    }

    /// Queues an error page as a stream's answer, which is complete then.
    pub(super) fn send_page(&mut self, stream: u32, cause: Cause, status: u16) {
        let Some(at) = self.find(stream).filter(|at| self.streams[*at].sending == Sending::Waiting) else { return };
        let accept = self.streams[at].wants_html.then_some(&b"text/html"[..]);
        let (response, body) = self.settings.pages.render(cause, status, accept);
        match self.send_response(at, &response) {
            Ok(Progress::Complete) => {}
            Ok(Progress::Open) => {
                // The page is as long as its head says.
                let _ = self.send_body(at, body);
            }
            // The field that was to be added to it cannot be said.
            Err(_) => self.reset(StreamId(stream), StatusCode::INTERNAL_ERROR, self.now),
        }
        self.release_rest(stream);
    }

    fn send_response(&mut self, at: usize, response: &Response) -> Result<Progress, SendError> {
        let stream = &mut self.streams[at];
        if stream.sending != Sending::Waiting {
            return Err(SendError::OutOfOrder);
        }
        let added = stream.added.as_ref().map_or(0, |field| field.line().len());
        let has_room = |text: usize| BlockWriter::has_room_for(self.version, text);
        if response.status == 101 || !has_room(response.text().len()) || !has_room(added) {
            return Err(SendError::Unsupported);
        }
        if response.is_interim() {
            return Ok(Progress::Open);
        }
        stream.sending = match response.framing {
            _ if stream.is_head || response.never_has_body() => Sending::Complete,
            Framing::Length(0) => Sending::Complete,
            Framing::Length(length) => Sending::Length(length),
            Framing::Chunked | Framing::Unframed => Sending::Open,
        };
        let is_last = stream.sending == Sending::Complete;
        let (id, associated, priority, version) = (stream.id, stream.associated, stream.priority, self.version);
        let (promise, added) = (stream.promise.take(), stream.added.take());
        let flags = if is_last { FIN } else { 0 };
        if let Some(promise) = promise {
            self.promises -= 1;
            self.write_block(SYN_STREAM, flags | UNIDIRECTIONAL, id, [associated, priority.into()], |writer| {
                head::write_promise(writer, &promise, version);
                head::write_response(writer, response, added.as_deref(), version);
            });
        } else {
            if is_last {
                self.tell_promises(Some(id));
            }
            let kind = if associated == 0 { SYN_REPLY } else { HEADERS };
            self.write_block(kind, flags, id, [0; 2], |writer| {
                head::write_response(writer, response, added.as_deref(), version);
            });
        }
        if !is_last {
            return Ok(Progress::Open);
        }
        self.end_is_written(at);
        Ok(Progress::Complete)
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
        let progress = match stream.sending {
            Sending::Complete => Progress::Complete,
            Sending::Waiting | Sending::Length(_) | Sending::Open => Progress::Open,
        };
        if !piece.is_empty() {
            self.queue(at, piece);
        }
        result.map(|()| progress)
    }

    fn send_end(&mut self, at: usize) -> Result<Progress, SendError> {
        let id = self.streams[at].id;
        match self.streams[at].sending {
            Sending::Waiting => return Err(SendError::OutOfOrder),
            Sending::Complete => return Ok(Progress::Complete),
            Sending::Length(_) => {
                self.reset(StreamId(id), StatusCode::INTERNAL_ERROR, self.now);
                return Err(SendError::TooShort);
            }
            Sending::Open => {}
        }
        self.streams[at].sending = Sending::Complete;
        if self.streams[at].queued() == 0 {
            self.tell_promises(Some(id));
            let writer = self.writer();
            self.outbound.push_with(8, |out| writer.data_head(out, id, true, 0));
            self.end_is_written(at);
        }
        Ok(Progress::Complete)
    }

    /// Tells the client of promises whose answers have not begun: of all, or of those of one stream, which ends.
    pub(super) fn tell_promises(&mut self, associated: Option<u32>) {
        while self.promises > 0 {
            let is_meant = |of: u32| associated.is_none_or(|associated| associated == of);
            let told = self.streams.iter_mut().find(|stream| stream.promise.is_some() && is_meant(stream.associated));
            let Some(stream) = told else { return };
            let (id, associated, priority, version) = (stream.id, stream.associated, stream.priority, self.version);
            let Some(promise) = stream.promise.take() else { return };
            self.promises -= 1;
            self.write_block(SYN_STREAM, UNIDIRECTIONAL, id, [associated, priority.into()], |writer| {
                head::write_promise(writer, &promise, version);
            });
        }
    }

    /// Queues a frame with a header block. A SYN_STREAM has two numbers before it, its associated stream and its priority.
    fn write_block(
        &mut self,
        kind: u16,
        flags: u8,
        stream: u32,
        [associated, priority]: [u32; 2],
        write: impl FnOnce(&mut BlockWriter<'_>),
    ) {
        let (version, writer) = (self.version, self.writer());
        let deflater = self.deflater.get_or_insert_with(|| Deflater::new(version));
        let mut block = BlockWriter::new(deflater.block(), version);
        write(&mut block);
        let is_secret = block.finish();
        let fixed = if kind == SYN_STREAM { SYN_STREAM_FIXED } else { version.reply_fixed() };
        self.outbound.push_with(256, |out| {
            let start = out.len();
            writer.head(out, kind, flags, 0);
            let fields = out.len();
            out.extend_from_slice(&stream.to_be_bytes());
            if kind == SYN_STREAM {
                out.extend_from_slice(&associated.to_be_bytes());
                // No more than its bits.
                out.push((priority as u8) << version.priority_shift());
            }
            out.resize(fields + fixed, 0);
            deflater.finish_block(out, is_secret);
            let len = (out.len() - fields) as u32;
            out[start + 5..start + 8].copy_from_slice(&len.to_be_bytes()[1..]);
        });
    }
}

impl core::fmt::Debug for Connection {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self { version, is_server, closing, .. } = self;
        write!(f, "Connection({version}, server: {is_server}, {} streams, {closing:?})", self.streams.len())
    }
}
