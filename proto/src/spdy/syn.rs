//! Streams that begin: SYN_STREAM, SYN_REPLY and HEADERS frames, decompressed.

use super::block::{self, Pair};
use super::frame::{FIN, StatusCode, UNIDIRECTIONAL, Version};
use super::head::{Head, SPECIAL};
use super::receive::Block;
use super::stream::{Receiving, Sending, Stream};
use super::{Connection, Event};
use crate::error::{Cause, Violation};
use crate::http::{self, BodySize, pages};
use crate::limits::Limits;

impl Connection {
    /// A client's request. `text` is missing if it is too large.
    pub(super) fn on_syn_stream(&mut self, of: Block, text: Option<&[u8]>) -> Result<(), Cause> {
        let id = of.stream;
        if id.is_multiple_of(2) || id < self.last_opened {
            return Err(Cause::FramingMalformed);
        }
        if id == self.last_opened {
            return self.stream_error(id, Cause::FramingMalformed, StatusCode::PROTOCOL_ERROR);
        }
        self.last_opened = id;
        if self.is_draining {
            return self.stream_error(id, Cause::StreamRefused, StatusCode::REFUSED_STREAM);
        }
        self.tally.requests += 1;
        let settings = alloc::sync::Arc::clone(&self.settings);
        let limits = &settings.limits;
        let is_full = self.streams.len() >= limits.h2_streams;
        if is_full && self.streams.len() - self.pushes() >= limits.h2_streams {
            return self.turn_away(id, Cause::StreamsMax, StatusCode::REFUSED_STREAM);
        }
        if of.flags & UNIDIRECTIONAL != 0 {
            return self.turn_away(id, Cause::FramingMalformed, StatusCode::PROTOCOL_ERROR);
        }
        if of.slot != 0 && self.version() == Version::V3 {
            return self.turn_away(id, Cause::CredentialUnsupported, StatusCode::INVALID_CREDENTIALS);
        }
        let pairs = text.map(|text| block::read(text, self.version, limits.fields.saturating_add(SPECIAL)));
        let pairs = match pairs.transpose() {
            Err(Cause::BlockMalformed) => {
                return self.turn_away(id, Cause::BlockMalformed, StatusCode::PROTOCOL_ERROR);
            }
            Ok(pairs) => pairs.ok_or(Cause::HeadTooLarge),
            Err(cause) => Err(cause),
        };
        self.begin(of, pairs.as_deref().map_err(|cause| *cause), limits);
        Ok(())
    }

    /// Begins the stream of a request, whose head is sound or not.
    fn begin(&mut self, of: Block, pairs: Result<&[Pair<'_>], Cause>, limits: &Limits) {
        let id = of.stream;
        self.last_accepted = id;
        let ended = of.flags & FIN != 0;
        let receiving = if ended { Receiving::Complete } else { Receiving::Body };
        let mut stream = self.new_stream(id, of.priority, receiving, Sending::Waiting);
        stream.body_room = limits.body_bytes;
        let result = pairs.map_err(Violation::from).and_then(|pairs| {
            let head = Head::new(pairs, self.version());
            stream.is_head = head.method() == Some(b"HEAD");
            // Whoever is refused may like its page in HTML too.
            stream.wants_html = head.find(b"accept").is_some_and(pages::prefers_html);
            head.read_request(ended, limits)
        });
        let length = result.as_ref().ok().and_then(|request| match request.body {
            BodySize::Length(length) => Some(length),
            BodySize::None | BodySize::Chunked => None,
        });
        stream.length_left = length;
        let at = self.insert(stream);
        match result {
            Ok(_) if length.is_some_and(|length| length > limits.body_bytes) => {
                self.refuse(id, Cause::BodyTooLarge.into());
            }
            Ok(request) => {
                self.push_event(id, Event::Part(http::Event::Request(request)));
                if ended {
                    self.push_event(id, Event::Part(http::Event::End));
                } else {
                    self.arm_body(at);
                }
            }
            Err(violation) => self.refuse(id, violation),
        }
    }

    /// Answers a request that is not shown to anybody.
    fn refuse(&mut self, id: u32, violation: Violation) {
        self.send_page(id, violation.what, violation.status);
        self.push_event(id, Event::Refused(violation));
    }

    /// Resets a stream that is not shown to anybody.
    fn turn_away(&mut self, id: u32, cause: Cause, code: StatusCode) -> Result<(), Cause> {
        self.push_event(id, Event::Refused(cause.into()));
        self.stream_error(id, cause, code)
    }

    fn new_stream(&self, id: u32, priority: u8, receiving: Receiving, sending: Sending) -> Stream {
        let mut stream = Stream::new(id, priority, receiving, sending);
        stream.send_window = self.peer_window;
        stream.receive_window = self.window() as i64;
        stream.is_asked = self.is_server;
        stream
    }

    /// A stream of ours.
    pub(super) fn own_stream(&mut self, priority: u8, receiving: Receiving, sending: Sending) -> Stream {
        let stream = self.new_stream(self.next_stream, priority, receiving, sending);
        self.next_stream += 2;
        stream
    }

    /// Pushed responses under way.
    pub(super) fn pushes(&self) -> usize {
        self.streams.iter().filter(|stream| stream.associated != 0).count()
    }

    /// A response that a server has not been asked for.
    pub(super) fn on_pushed(&mut self, of: Block, text: Option<&[u8]>) -> Result<(), Cause> {
        let id = of.stream;
        if id == 0 || id % 2 == 1 || id < self.last_opened || of.associated == 0 {
            return Err(Cause::FramingMalformed);
        }
        if id == self.last_opened {
            return self.stream_error(id, Cause::FramingMalformed, StatusCode::PROTOCOL_ERROR);
        }
        self.last_opened = id;
        if self.is_draining || self.pushes() >= self.settings.limits.h2_streams {
            return self.stream_error(id, Cause::StreamRefused, StatusCode::REFUSED_STREAM);
        }
        if self.find(of.associated).is_none() || of.associated.is_multiple_of(2) {
            return self.stream_error(id, Cause::FramingMalformed, StatusCode::INVALID_STREAM);
        }
        let settings = alloc::sync::Arc::clone(&self.settings);
        let limits = &settings.limits;
        let Some(Ok(pairs)) = text.map(|text| block::read(text, self.version, limits.fields.saturating_add(SPECIAL)))
        else {
            return self.stream_error(id, Cause::BlockMalformed, StatusCode::PROTOCOL_ERROR);
        };
        let head = Head::new(&pairs, self.version);
        let Ok(request) = head.read_promise(limits) else {
            return self.stream_error(id, Cause::HeadMalformed, StatusCode::PROTOCOL_ERROR);
        };
        self.last_accepted = id;
        self.tally.pushes += 1;
        let mut stream = self.new_stream(id, of.priority, Receiving::Head, Sending::Complete);
        stream.end_written = true;
        stream.associated = of.associated;
        let at = self.insert(stream);
        self.push_event(id, Event::Part(http::Event::Request(request)));
        match head.has_status() {
            true => self.on_response(at, &head, of.flags & FIN != 0),
            false => Ok(()),
        }
    }

    pub(super) fn on_syn_reply(&mut self, of: Block, text: Option<&[u8]>) -> Result<(), Cause> {
        let Some(at) = self.find(of.stream) else {
            return match self.is_closed(of.stream) {
                true => self.on_empty(),
                false => self.stream_error(of.stream, Cause::FramingMalformed, StatusCode::INVALID_STREAM),
            };
        };
        if self.is_server || self.streams[at].associated != 0 {
            return self.stream_error(of.stream, Cause::FramingMalformed, StatusCode::PROTOCOL_ERROR);
        }
        if self.streams[at].receiving != Receiving::Head {
            return self.stream_error(of.stream, Cause::FramingMalformed, StatusCode::STREAM_IN_USE);
        }
        self.on_response_block(at, of, text)
    }

    /// More of a head: the rest of a pushed response's, or trailers.
    pub(super) fn on_headers(&mut self, of: Block, text: Option<&[u8]>) -> Result<(), Cause> {
        let Some(at) = self.find(of.stream) else {
            return match self.is_closed(of.stream) {
                true => self.on_empty(),
                false => self.stream_error(of.stream, Cause::FramingMalformed, StatusCode::INVALID_STREAM),
            };
        };
        match self.streams[at].receiving {
            Receiving::Head if self.streams[at].associated != 0 => return self.on_response_block(at, of, text),
            Receiving::Head => {
                return self.stream_error(of.stream, Cause::FramingMalformed, StatusCode::PROTOCOL_ERROR);
            }
            Receiving::Complete => {
                return self.stream_error(of.stream, Cause::FramingMalformed, StatusCode::STREAM_ALREADY_CLOSED);
            }
            Receiving::Body => {}
        }
        let fields = self.settings.limits.fields;
        if text.is_some_and(|text| block::read(text, self.version, fields) == Err(Cause::BlockMalformed)) {
            return self.stream_error(of.stream, Cause::BlockMalformed, StatusCode::PROTOCOL_ERROR);
        }
        self.tally.trailers_dropped += 1;
        if of.flags & FIN == 0 {
            return self.on_empty();
        }
        self.on_data_end(of.stream);
        Ok(())
    }

    fn on_response_block(&mut self, at: usize, of: Block, text: Option<&[u8]>) -> Result<(), Cause> {
        let most = self.settings.limits.fields.saturating_add(SPECIAL);
        let Some(Ok(pairs)) = text.map(|text| block::read(text, self.version, most)) else {
            return self.stream_error(of.stream, Cause::BlockMalformed, StatusCode::PROTOCOL_ERROR);
        };
        self.on_response(at, &Head::new(&pairs, self.version), of.flags & FIN != 0)
    }

    fn on_response(&mut self, at: usize, head: &Head<'_>, ended: bool) -> Result<(), Cause> {
        let id = self.streams[at].id;
        // An interim one has no place here, but does no harm, as long as another follows.
        let response = match head.read_response(&self.settings.limits) {
            Ok(response) if !(response.is_interim() && ended) => response,
            Ok(_) | Err(_) => return self.stream_error(id, Cause::ResponseMalformed, StatusCode::PROTOCOL_ERROR),
        };
        if !response.is_interim() {
            self.streams[at].receiving = Receiving::Body;
        }
        self.push_event(id, Event::Part(http::Event::Response(response)));
        if ended {
            self.on_data_end(id);
        }
        Ok(())
    }
}
