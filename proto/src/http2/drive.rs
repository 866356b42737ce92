//! Driving the protocol's machine: it is polled after each input and before each output, until nothing moves.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use core::future::Future;
use core::mem;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};

use ::http::Request;
use bytes::{Bytes, BytesMut};
use h2::RecvStream;
use h2::server::{self, Builder, SendResponse};

use super::frame::ErrorCode;
use super::head::{self, FIELD_OVERHEAD};
use super::pipe::{Note, Pipe};
use super::stream::{Handed, Read, Responder, Sending, Stream};
use super::{Connection, Event};
use crate::error::{Cause, Violation};
use crate::http::{self, BodySize, StreamId, pages};
use crate::limits::Limits;
use crate::rope::SHARE_MIN;

/// The largest window there is (RFC 9113, 6.9.1).
const WINDOW_MAX: usize = (1 << 31) - 1;

/// Bytes of one stream that the protocol's machine keeps.
const BUFFER: usize = 64 * 1024;

/// Streams that were reset and are remembered for a second, so that what was on its way is ignored.
const RESET_STREAMS: usize = 200;

/// The protocol's machine.
pub(super) enum Driver {
    /// Waiting for the preface.
    Handshake(Box<server::Handshake<Pipe, Bytes>>),
    Open(Box<server::Connection<Pipe, Bytes>>),
    Closed,
}

/// How a poll of the protocol's machine ended.
enum Polled {
    Accepted(Request<RecvStream>, SendResponse<Bytes>),
    Pending,
    /// Well or not: if not, it has said why in a GOAWAY.
    Ended,
}

impl Driver {
    pub(super) fn new(limits: &Limits, pipe: Pipe) -> Self {
        let window = |bytes: usize| bytes.min(WINDOW_MAX) as u32;
        let head_list = limits.head_bytes.saturating_add(limits.fields.saturating_mul(FIELD_OVERHEAD));
        let mut builder = Builder::new();
        builder
            .max_concurrent_streams(u32::try_from(limits.h2_streams).unwrap_or(u32::MAX))
            .max_header_list_size(window(head_list))
            .initial_window_size(window(limits.h2_stream_window))
            .initial_connection_window_size(window(limits.h2_connection_window))
            .max_send_buffer_size(BUFFER)
            .max_concurrent_reset_streams(RESET_STREAMS)
            .enable_connect_protocol()
            // Counted by the guard, which forgives with time; these would punish late frames of a patient client.
            .max_pending_accept_reset_streams(usize::MAX)
            .max_local_error_reset_streams(None)
            .data_frame_budget(usize::MAX);
        Self::Handshake(Box::new(builder.handshake(pipe)))
    }

    /// Says that no further requests are wanted; once is enough, more do nothing.
    fn go_away_gracefully(&mut self) {
        match self {
            Self::Open(connection) => connection.graceful_shutdown(),
            Self::Handshake(_) | Self::Closed => {}
        }
    }

    /// Goes on with the handshake, if it is not complete.
    fn shake_hands(&mut self) -> Result<(), h2::Error> {
        if let Self::Handshake(handshake) = self
            && let Poll::Ready(result) = Pin::new(handshake.as_mut()).poll(&mut Context::from_waker(Waker::noop()))
        {
            *self = Self::Open(Box::new(result?));
        }
        Ok(())
    }

    fn poll(&mut self) -> Polled {
        let Self::Open(connection) = self else { return Polled::Pending };
        match connection.poll_accept(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Some(Ok((request, responder)))) => Polled::Accepted(request, responder),
            Poll::Ready(Some(Err(_)) | None) => Polled::Ended,
            Poll::Pending => Polled::Pending,
        }
    }
}

impl Connection {
    /// Lets everything move that can: sends, input, output.
    pub(super) fn pump(&mut self) {
        self.is_dirty = false;
        {
            let mut ends = self.pipe.ends();
            ends.outbound = mem::take(&mut self.outbound);
            ends.is_full = false;
        }
        let has_ended = loop {
            self.serve_streams();
            if self.drive() {
                break true;
            }
            self.woken.take(&mut self.ready);
            if self.ready.is_empty() {
                break false;
            }
        };
        let mut ends = self.pipe.ends();
        self.outbound = mem::take(&mut ends.outbound);
        self.is_full = ends.is_full;
        let notes = mem::take(&mut ends.notes);
        let data_frames = mem::take(&mut ends.data_frames);
        let is_read = ends.unread() == 0;
        if self.streams.is_empty() {
            ends.take_back();
        }
        drop(ends);
        self.guard.sent_data(data_frames, &self.settings.limits);
        if has_ended {
            return self.end(&notes);
        }
        self.take_notes(&notes);
        if is_read && !self.client_resets.is_empty() {
            for (stream, _) in mem::take(&mut self.client_resets) {
                self.cut(stream, Cause::StreamReset, None);
            }
        }
        if self.closing.is_none() {
            self.update_phase();
        }
    }

    /// Polls the protocol's machine until it waits; returns whether it has ended.
    fn drive(&mut self) -> bool {
        if self.driver.shake_hands().is_err() {
            return true;
        }
        if self.is_draining {
            self.driver.go_away_gracefully();
        }
        if self.streams.is_empty() {
            // Both grow from nothing, and most requests come in bursts and have no body.
            self.streams.reserve(self.guard.opened());
            self.events.reserve(2 * self.guard.opened());
        }
        loop {
            match self.driver.poll() {
                Polled::Accepted(request, responder) => self.accept(request, responder),
                Polled::Pending => return false,
                Polled::Ended => return true,
            }
        }
    }

    fn accept(&mut self, request: Request<RecvStream>, responder: SendResponse<Bytes>) {
        let id = u32::from(responder.stream_id());
        self.guard.settle(id);
        self.last_accepted = self.last_accepted.max(id);
        self.tally.requests += 1;
        if self.client_resets.iter().any(|(stream, _)| *stream == id) {
            self.tally.taken_back += 1;
            return;
        }
        let (parts, body) = request.into_parts();
        let ended = body.is_end_stream();
        let result = head::read_request(&parts, ended, &self.settings.limits);
        let mut stream = Stream::new(id, Responder::Asked(responder), (!ended).then_some(body));
        stream.is_head = parts.method == ::http::Method::HEAD;
        stream.is_tunnel = head::is_extended_connect(&parts);
        stream.body_room = if stream.is_tunnel { u64::MAX } else { self.settings.limits.body_bytes };
        let at = self.insert(stream);
        let id = StreamId(id);
        // Whoever is refused may like its page in HTML too.
        let accept = match &result {
            Ok(request) => request.accept(),
            Err(_) => parts.headers.get(::http::header::ACCEPT).map(|accept| accept.as_bytes()),
        };
        self.streams[at].wants_html = accept.is_some_and(pages::prefers_html);
        match result {
            Ok(request) => {
                let too_large = matches!(request.body, BodySize::Length(n) if n > self.streams[at].body_room);
                if too_large {
                    return self.refuse(id, Cause::BodyTooLarge.into());
                }
                self.streams[at].waits_for_continue = request.expect_continue;
                self.events.push_back((id, Event::Part(http::Event::Request(request))));
                if ended {
                    self.events.push_back((id, Event::Part(http::Event::End)));
                } else {
                    self.arm_body(at);
                    self.list(at);
                }
            }
            Err(violation) => self.refuse(id, violation),
        }
    }

    pub(super) fn insert(&mut self, stream: Stream) -> usize {
        let at = self.streams.partition_point(|other| other.id < stream.id);
        self.streams.insert(at, stream);
        self.streams_most = self.streams_most.max(self.streams.len());
        at
    }

    /// Answers a request that is not shown to anybody.
    fn refuse(&mut self, stream: StreamId, violation: Violation) {
        self.send_page(stream.0, violation.what, violation.status);
        self.events.push_back((stream, Event::Refused(violation)));
    }

    /// Notes that a stream is to be looked at.
    pub(super) fn list(&mut self, at: usize) {
        let stream = &mut self.streams[at];
        if !stream.is_listed {
            stream.is_listed = true;
            self.ready.push(stream.id);
        }
        self.is_dirty = true;
    }

    /// Looks at the streams that can go on.
    fn serve_streams(&mut self) {
        let mut ready = mem::take(&mut self.ready);
        for id in ready.drain(..) {
            let Some(at) = self.find(id) else { continue };
            self.streams[at].unlist();
            if self.read_stream(at) {
                self.write_stream(at);
            }
        }
        // Those that wait for their next turn are listed again; else the room for the list is kept.
        if self.ready.is_empty() {
            self.ready = ready;
        }
        self.is_dirty = false;
    }

    /// Reads what there is of a request's body; returns whether the stream is still there.
    fn read_stream(&mut self, at: usize) -> bool {
        if !self.streams[at].is_receiving() {
            return true;
        }
        if self.streams[at].sending == Sending::Complete {
            self.throw_away(at);
            return true;
        }
        let id = StreamId(self.streams[at].id);
        let before = self.streams[at].unreleased;
        let mut small = BytesMut::new();
        let mut end = Read::Nothing;
        let mut read = 0;
        while let Some(stream) = self.streams.get_mut(at) {
            match stream.read(&self.woken) {
                Read::Piece(piece) => {
                    read += piece.len() as u64;
                    // Small pieces would each hold on to the buffer that they came in, and cost a message each.
                    if piece.len() >= SHARE_MIN {
                        push_body(&mut self.events, id, &mut small);
                        self.events.push_back((id, Event::Part(http::Event::Body(piece))));
                    } else {
                        small.extend_from_slice(&piece);
                    }
                }
                Read::Nothing => break,
                last @ (Read::End { .. } | Read::Broken(_)) => {
                    end = last;
                    break;
                }
            }
        }
        push_body(&mut self.events, id, &mut small);
        let stream = &mut self.streams[at];
        self.unreleased += stream.unreleased - before;
        if read > stream.body_room {
            let waits = stream.sending == Sending::Waiting;
            self.events.retain(|(stream, event)| *stream != id || !matches!(event, Event::Part(http::Event::Body(_))));
            if waits {
                self.send_page(id.0, Cause::BodyTooLarge, Cause::BodyTooLarge.status());
                self.events.push_back((id, Event::Cut(Cause::BodyTooLarge)));
            } else {
                self.cut(id.0, Cause::BodyTooLarge, Some(ErrorCode::CANCEL));
            }
            return self.find(id.0).is_some();
        }
        stream.body_room -= read;
        stream.body_read += read;
        match end {
            Read::End { trailers } => {
                stream.finish_body();
                self.tally.trailers_dropped += u64::from(trailers);
                self.events.push_back((id, Event::Part(http::Event::End)));
            }
            Read::Broken(code) => {
                self.cut(id.0, code.map_or(Cause::StreamReset, cause_of), None);
                return false;
            }
            Read::Piece(_) | Read::Nothing if read > 0 => self.arm_body(at),
            Read::Piece(_) | Read::Nothing => {}
        }
        true
    }

    /// Reads what there is of a body that nobody wants any more, since its answer is complete and only waits.
    fn throw_away(&mut self, at: usize) {
        let stream = &mut self.streams[at];
        let before = stream.unreleased;
        loop {
            match stream.read(&self.woken) {
                Read::Piece(piece) => stream.release(piece.len()),
                Read::End { .. } => stream.finish_body(),
                Read::Nothing | Read::Broken(_) => break,
            }
        }
        debug_assert_eq!(before, stream.unreleased, "everything read is released");
    }

    /// Hands over what waits in a stream, and forgets the stream if that was all.
    fn write_stream(&mut self, at: usize) {
        let stream = &mut self.streams[at];
        if !stream.has_to_send() {
            return;
        }
        let before = stream.queued();
        let had_waited = stream.stall_deadline.is_some();
        let takes_turns = self.queued > before;
        let handed = stream.hand_over(takes_turns, &self.woken, &mut self.pipe.ends());
        let moved = before - stream.queued();
        self.queued -= moved;
        // Without having waited it is worth a word only if it had used up much of its room.
        if had_waited || before > self.settings.limits.h2_stream_queue / 2 {
            stream.freed += moved;
        }
        match handed {
            Handed::Broken => {
                let id = stream.id;
                return self.cut(id, self.cause_of_reset(id), None);
            }
            Handed::Waits if moved > 0 || !had_waited => self.arm_stall(at),
            Handed::Waits => {}
            Handed::More => {
                stream.stall_deadline = None;
                self.list(at);
            }
            Handed::All | Handed::End => stream.stall_deadline = None,
        }
        let stream = &mut self.streams[at];
        let freed = mem::take(&mut stream.freed);
        if freed > 0 && stream.sending != Sending::Complete {
            self.events.push_back((StreamId(stream.id), Event::Freed(freed)));
        }
        if handed == Handed::End {
            self.remove(at);
        }
    }

    /// Why a stream is found to be gone.
    pub(super) fn cause_of_reset(&self, id: u32) -> Cause {
        let by_client = self.client_resets.iter().any(|(stream, _)| *stream == id);
        if by_client { Cause::StreamReset } else { Cause::FramingMalformed }
    }

    /// Ends a stream before its time, and says so if its answer was not complete, or never will be taken; `code` is for
    /// the client, where it does not know.
    pub(super) fn cut(&mut self, stream: u32, cause: Cause, code: Option<ErrorCode>) {
        let Some(at) = self.find(stream) else { return };
        if let Some(code) = code {
            self.streams[at].reset(code);
            self.is_dirty = true;
        }
        if self.streams[at].sending != Sending::Complete || cause == Cause::WindowStall {
            self.events.push_back((StreamId(stream), Event::Cut(cause)));
        }
        self.remove(at);
    }

    /// Forgets a stream. If its request is not complete the client is told that the rest is not needed.
    pub(super) fn remove(&mut self, at: usize) {
        let Some(stream) = self.streams.remove(at) else { return };
        self.queued -= stream.queued();
        self.unreleased -= stream.unreleased;
        self.is_dirty |= stream.is_receiving() || stream.unreleased > 0 || self.is_draining;
        if self.streams.is_empty() {
            self.streams = VecDeque::new();
        }
    }

    /// What the protocol's machine did by itself.
    fn take_notes(&mut self, notes: &[Note]) {
        for note in notes {
            match *note {
                Note::Answered(stream) => {
                    if self.guard.settle(stream) {
                        self.tally.requests += 1;
                        let refused = Event::Refused(Cause::HeadTooLarge.into());
                        self.events.push_back((StreamId(stream), refused));
                    }
                }
                Note::Reset(stream, code) => {
                    if self.guard.settle(stream) {
                        self.tally.requests += 1;
                        let cause = match code {
                            ErrorCode::REFUSED_STREAM => Cause::StreamsMax,
                            _ => Cause::FramingMalformed,
                        };
                        self.events.push_back((StreamId(stream), Event::Refused(cause.into())));
                    }
                    self.cut(stream, cause_of(code), None);
                    if code.blames_peer()
                        && let Err(cause) = self.guard.sent_error(&self.settings.limits, self.now)
                    {
                        return self.violate(cause);
                    }
                }
                Note::GoAway(_) => {}
            }
        }
    }

    /// The protocol's machine has ended; a GOAWAY for what it did not like is queued.
    fn end(&mut self, notes: &[Note]) {
        let said = notes.iter().rev().find_map(|note| match *note {
            Note::GoAway(code) => Some(code),
            Note::Answered(_) | Note::Reset(..) => None,
        });
        if let Some(code) = said.filter(|code| *code != ErrorCode::NO_ERROR) {
            let cause = cause_of(code);
            self.violation = Some(cause.into());
            self.events = VecDeque::new();
            return self.close(cause);
        }
        self.close(if self.streams.is_empty() { Cause::Complete } else { Cause::ClientGone });
    }
}

fn push_body(events: &mut VecDeque<(StreamId, Event)>, stream: StreamId, small: &mut BytesMut) {
    if !small.is_empty() {
        events.push_back((stream, Event::Part(http::Event::Body(mem::take(small).freeze()))));
    }
}

/// What the peer did to earn a code that the protocol's machine chose.
fn cause_of(code: ErrorCode) -> Cause {
    match code {
        ErrorCode::FLOW_CONTROL_ERROR => Cause::WindowExceeded,
        ErrorCode::FRAME_SIZE_ERROR => Cause::FrameSizeWrong,
        ErrorCode::COMPRESSION_ERROR => Cause::CompressionMalformed,
        ErrorCode::ENHANCE_YOUR_CALM => Cause::HeaderBomb,
        _ => Cause::FramingMalformed,
    }
}
