//! The sending half: events in, bytes out.
//!
//! A response head leaves as it came, but for what the client or the connection cannot do with: see
//! [`Connection::send`]. Most heads are copied in one piece.

use alloc::vec::Vec;

use bytes::Bytes;

use super::{Connection, Progress, Reading, SendError, Writing};
use crate::error::{Cause, Violation};
use crate::http::{AddedField, BodySize, Event, Framing, Request, Response, Version, has_token, tokens};
use crate::rope::{Rope, SHARE_MIN};
use crate::time::Instant;

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
const CLOSE: &[u8] = b"Connection: close\r\n";
const KEEP_ALIVE: &[u8] = b"Connection: keep-alive\r\n";
const CHUNKED: &[u8] = b"Transfer-Encoding: chunked\r\n";
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Room for the fields that may be appended to a head.
const APPENDED_MAX: usize = CLOSE.len() + KEEP_ALIVE.len() + CHUNKED.len();

/// What happens to a head on its way out.
#[derive(Clone, Copy, Default)]
struct Changes {
    minor_version: u8,
    drop_encoding: bool,
    drop_length: bool,
    add_encoding: bool,
    /// `close` is to be the whole of the Connection fields' word on persistence.
    force_close: bool,
    add_close: bool,
    add_keep_alive: bool,
    /// The caller's own field is to be added.
    add_field: bool,
}

impl Connection {
    /// Sends a part of a message.
    ///
    /// A server sends a response's text as it is, except for the version, which becomes the client's;
    /// Transfer-Encoding, which is added to a response without framing for HTTP/1.1 and left out for HTTP/1.0; the
    /// Connection field, which says truly whether the connection persists; and framing in 1xx and 204, which have
    /// none; and the field that the caller [adds](Self::add_field). Interim responses are dropped for HTTP/1.0, and a 100 unless the client waits for one. The body of a
    /// response that has none (to HEAD; 204, 304) is not to be sent: the head completes it.
    ///
    /// An [`Event::End`] after a message that is complete by its length changes nothing.
    ///
    /// # Errors
    /// See [`SendError`].
    pub fn send(&mut self, event: Event, now: Instant) -> Result<Progress, SendError> {
        if self.closing.is_some() {
            return Err(SendError::OutOfOrder);
        }
        match event {
            Event::Request(request) if !self.is_server => self.send_request(&request, now),
            Event::Response(response) if self.is_server => self.send_response(&response, now),
            Event::Request(_) | Event::Response(_) => Err(SendError::OutOfOrder),
            Event::Body(piece) => self.send_body(piece, now),
            Event::End => self.send_end(now),
        }
    }

    /// Asks the client for the body it holds back, if it does and neither body nor final response has begun.
    pub fn send_continue(&mut self, now: Instant) {
        if self.writing != Writing::Waiting || !self.exchange.waits_for_continue || self.closing.is_some() {
            return;
        }
        if matches!(self.reading, Reading::Length(length) if length > self.body_room) {
            return self.violate(Violation::from(Cause::BodyTooLarge), now);
        }
        self.exchange.waits_for_continue = false;
        self.outbound.push_copy(CONTINUE);
        self.arm_body(now);
    }

    /// Answers the current request, which must be complete, with `response`, a 101, and gives the connection up. What is
    /// queued, the response last, is the caller's; so are the bytes that this machine has not taken: another machine
    /// goes on with them (RFC 9110, 15.2.2).
    ///
    /// # Errors
    /// [`SendError::OutOfOrder`] if no complete request waits for its answer.
    pub fn upgrade(&mut self, response: &Response) -> Result<Rope, SendError> {
        if self.closing.is_some() || self.writing != Writing::Waiting || !self.request_complete() {
            return Err(SendError::OutOfOrder);
        }
        match self.field_for(response) {
            None => self.outbound.push_copy(response.text()),
            Some(_) => {
                self.write_head(response, Changes { minor_version: b'1', add_field: true, ..Changes::default() }, 0)
            }
        }
        self.writing = Writing::Complete;
        self.drop_events();
        self.close(Cause::Complete);
        Ok(core::mem::take(&mut self.outbound))
    }

    /// Queues an error page as the answer to the current request.
    pub(super) fn send_page(&mut self, cause: Cause, status: u16, is_last: bool) {
        let accept = self.exchange.wants_html.then_some(&b"text/html"[..]);
        let (response, body) = self.settings.pages.render(cause, status, accept);
        self.last |= is_last;
        self.begin_response(&response);
        if matches!(self.writing, Writing::Length(_)) {
            self.outbound.push(body);
        }
    }

    fn send_request(&mut self, request: &Request, now: Instant) -> Result<Progress, SendError> {
        if self.writing != Writing::Idle || self.event_waits() || !matches!(self.reading, Reading::Idle { .. }) {
            return Err(SendError::OutOfOrder);
        }
        self.exchange.is_head = request.is_head();
        self.last = !request.keep_alive;
        self.outbound.push_with(request.text().len(), |text| text.extend_from_slice(request.text()));
        self.writing = match request.body {
            BodySize::None | BodySize::Length(0) => Writing::Complete,
            BodySize::Length(length) => Writing::Length(length),
            BodySize::Chunked => Writing::Chunked,
        };
        Ok(self.progress(now))
    }

    fn send_response(&mut self, response: &Response, now: Instant) -> Result<Progress, SendError> {
        if self.writing != Writing::Waiting {
            return Err(SendError::OutOfOrder);
        }
        match response.status {
            101 => return Err(SendError::Unsupported),
            100 => {
                self.send_continue(now);
                return Ok(Progress::Open);
            }
            _ if response.is_interim() => {
                if self.exchange.version != Version::Http10 {
                    let drop =
                        Changes { minor_version: b'1', drop_encoding: true, drop_length: true, ..Changes::default() };
                    self.write_head(response, drop, 0);
                }
                return Ok(Progress::Open);
            }
            _ => {}
        }
        self.begin_response(response);
        Ok(self.progress(now))
    }

    /// Decides how the final response is framed and queues its head.
    fn begin_response(&mut self, response: &Response) {
        let is_old = self.exchange.version == Version::Http10;
        let bodiless = self.exchange.is_head || response.never_has_body();
        self.writing = match response.framing {
            _ if bodiless => Writing::Complete,
            Framing::Length(0) => Writing::Complete,
            Framing::Length(length) => Writing::Length(length),
            Framing::Chunked | Framing::Unframed if is_old => Writing::UntilClose,
            Framing::Chunked | Framing::Unframed => Writing::Chunked,
        };
        self.until_close = self.writing == Writing::UntilClose;
        // A client that still holds its body back may or may not send it after this answer: nobody could tell the
        // body from the next request (RFC 9110, 10.1.1).
        self.last |= !self.exchange.keep_alive
            || response.close
            || self.going_away
            || self.writing == Writing::UntilClose
            || self.exchange.waits_for_continue;
        let changes = Changes {
            minor_version: if is_old { b'0' } else { b'1' },
            drop_encoding: response.framing == Framing::Chunked && (is_old || response.status == 204),
            drop_length: response.status == 204 && matches!(response.framing, Framing::Length(1..)),
            add_encoding: self.writing == Writing::Chunked && response.framing == Framing::Unframed,
            force_close: self.last && response.keep_alive,
            add_close: self.last && !response.close && !response.keep_alive,
            add_keep_alive: !self.last && is_old && !response.keep_alive,
            add_field: self.field_for(response).is_some(),
        };
        let body_hint = match self.writing {
            Writing::Length(length) => usize::try_from(length).map_or(0, |length| length.min(SHARE_MIN)),
            Writing::Idle | Writing::Waiting | Writing::Chunked | Writing::UntilClose | Writing::Complete => 0,
        };
        self.write_head(response, changes, body_hint);
    }

    /// The caller's own field, if this response has none of its name.
    fn field_for(&self, response: &Response) -> Option<&AddedField> {
        self.added.as_deref().filter(|field| !field.is_in(&response.fields))
    }

    fn write_head(&mut self, response: &Response, changes: Changes, body_hint: usize) {
        let head = response.text();
        let field = self.added.as_deref().filter(|_| changes.add_field).map_or(&b""[..], AddedField::line);
        self.outbound.push_with(head.len() + APPENDED_MAX + field.len() + body_hint, |text| {
            let version_at = text.len() + b"HTTP/1.".len();
            if changes.drop_encoding || changes.drop_length || changes.force_close {
                write_some_fields(text, response, changes);
            } else {
                text.extend_from_slice(&head[..head.len() - 2]);
            }
            text[version_at] = changes.minor_version;
            text.extend_from_slice(field);
            for (add, line) in
                [(changes.add_encoding, CHUNKED), (changes.add_close, CLOSE), (changes.add_keep_alive, KEEP_ALIVE)]
            {
                if add {
                    text.extend_from_slice(line);
                }
            }
            text.extend_from_slice(b"\r\n");
        });
    }

    fn send_body(&mut self, piece: Bytes, now: Instant) -> Result<Progress, SendError> {
        match self.writing {
            Writing::Idle | Writing::Waiting | Writing::Complete => return Err(SendError::OutOfOrder),
            Writing::Length(left) if piece.len() as u64 > left => {
                // The length is less than that of the piece, so it fits into a usize.
                self.outbound.push(piece.slice(..left as usize));
                self.writing = Writing::Complete;
                self.close(Cause::ResponseTooLong);
                return Err(SendError::TooLong);
            }
            Writing::Length(left) => {
                let left = left - piece.len() as u64;
                self.writing = if left == 0 { Writing::Complete } else { Writing::Length(left) };
                self.outbound.push(piece);
            }
            Writing::Chunked if piece.is_empty() => {}
            Writing::Chunked => self.write_chunk(piece),
            Writing::UntilClose => self.outbound.push(piece),
        }
        Ok(self.progress(now))
    }

    fn write_chunk(&mut self, piece: Bytes) {
        if piece.len() < SHARE_MIN {
            self.outbound.push_with(piece.len() + 20, |text| {
                push_chunk_size(text, piece.len());
                text.extend_from_slice(&piece);
                text.extend_from_slice(b"\r\n");
            });
        } else {
            self.outbound.push_with(20, |text| push_chunk_size(text, piece.len()));
            self.outbound.push(piece);
            self.outbound.push_copy(b"\r\n");
        }
    }

    fn send_end(&mut self, now: Instant) -> Result<Progress, SendError> {
        match self.writing {
            Writing::Waiting => return Err(SendError::OutOfOrder),
            Writing::Idle | Writing::Complete => return Ok(Progress::Complete),
            Writing::Length(_) => {
                self.close(Cause::NodeEnded);
                return Err(SendError::TooShort);
            }
            Writing::Chunked => self.outbound.push_copy(LAST_CHUNK),
            Writing::UntilClose => {}
        }
        self.writing = Writing::Complete;
        Ok(self.progress(now))
    }

    /// What has come of sending a part, and what follows if it was the last.
    fn progress(&mut self, now: Instant) -> Progress {
        if self.writing != Writing::Complete {
            return Progress::Open;
        }
        self.finish_writing(now);
        Progress::Complete
    }
}

/// Appends status line and fields of a head, without those that are not to leave.
fn write_some_fields(text: &mut Vec<u8>, response: &Response, changes: Changes) {
    text.extend_from_slice(&response.text()[..response.fields.start()]);
    let mut close_is_out = !changes.force_close;
    for (line, name, value) in response.fields.lines() {
        let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
        if (changes.drop_encoding && is("transfer-encoding")) || (changes.drop_length && is("content-length")) {
            continue;
        }
        if !(changes.force_close && is("connection") && has_token(value, "keep-alive")) {
            text.extend_from_slice(line);
            continue;
        }
        // Further tokens name fields of this hop, so they stay.
        let mut comma: &[u8] = b"Connection: ";
        if !close_is_out {
            text.extend_from_slice(b"Connection: close");
            comma = b", ";
            close_is_out = true;
        }
        let persistence =
            |token: &&[u8]| !token.eq_ignore_ascii_case(b"keep-alive") && !token.eq_ignore_ascii_case(b"close");
        for token in tokens(value).filter(persistence) {
            text.extend_from_slice(comma);
            text.extend_from_slice(token);
            comma = b", ";
        }
        if comma == b", " {
            text.extend_from_slice(b"\r\n");
        }
    }
}

fn push_chunk_size(text: &mut Vec<u8>, size: usize) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = (usize::BITS - size.leading_zeros()).div_ceil(4).max(1);
    for place in (0..digits).rev() {
        text.push(DIGITS[size >> (4 * place) & 0xf]);
    }
    text.extend_from_slice(b"\r\n");
}
