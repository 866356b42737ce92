//! DATA frames: pieces of bodies, handed on as they come, and those that nobody wants any more.

use core::mem;

use bytes::Bytes;

use super::frame::{FIN, StatusCode};
use super::receive::Reading;
use super::stream::{Receiving, Sending};
use super::{Connection, Event};
use crate::error::Cause;
use crate::http;
use crate::rope::SHARE_MIN;

impl Connection {
    pub(super) fn on_data_head(&mut self, id: u32, flags: u8, len: usize) -> Result<(), Cause> {
        if self.version.has_connection_window() {
            self.receive_window -= len as i64;
            if self.receive_window < 0 && self.has_sure_window() {
                return Err(Cause::WindowExceeded);
            }
        }
        let is_last = flags & FIN != 0;
        if len == 0 && !is_last {
            self.on_empty()?;
        }
        self.reading = if len > 0 { Reading::Skip { left: len, counts: true } } else { Reading::Head };
        let Some(at) = self.find(id) else {
            return match self.is_closed(id) {
                true => Ok(()),
                false => self.stream_error(id, Cause::FramingMalformed, StatusCode::INVALID_STREAM),
            };
        };
        let has_windows = self.version.has_windows();
        let stream = &mut self.streams[at];
        let (cause, code) = match stream.receiving {
            Receiving::Head => (Cause::FramingMalformed, StatusCode::PROTOCOL_ERROR),
            Receiving::Complete => (Cause::FramingMalformed, StatusCode::STREAM_ALREADY_CLOSED),
            Receiving::Body if has_windows && len as i64 > stream.receive_window => {
                (Cause::WindowExceeded, StatusCode::FLOW_CONTROL_ERROR)
            }
            // Compressed, in an early form of SPDY/2.
            Receiving::Body if flags & !FIN != 0 => (Cause::FramingMalformed, StatusCode::PROTOCOL_ERROR),
            Receiving::Body => {
                stream.receive_window -= len as i64;
                return self.expect_data(at, len, is_last);
            }
        };
        self.stream_error(id, cause, code)
    }

    /// A frame of data has begun that its stream has a window for.
    fn expect_data(&mut self, at: usize, len: usize, is_last: bool) -> Result<(), Cause> {
        let stream = &mut self.streams[at];
        let id = stream.id;
        let is_wanted = !stream.is_discarding();
        if is_wanted {
            let cause = match stream.length_left {
                _ if len as u64 > stream.body_room => Some(Cause::BodyTooLarge),
                // The sum has to be the one that was announced (draft 3, 3.2.1).
                Some(left) if len as u64 > left || is_last && len as u64 != left => Some(Cause::LengthWrong),
                Some(_) | None => None,
            };
            if let Some(cause) = cause {
                self.give_up(id, cause);
                if let Some(at) = self.find(id).filter(|_| is_last) {
                    self.complete(at);
                }
                return Ok(());
            }
            stream.body_room -= len as u64;
            stream.body_begun += len as u64;
            stream.length_left = stream.length_left.map(|left| left - len as u64);
        }
        self.reading = if len > 0 { Reading::Data { stream: id, is_last, left: len } } else { Reading::Head };
        if len == 0 && is_last {
            self.on_data_end(id);
        }
        Ok(())
    }

    /// Ends a request whose body is not what it should be: with a page where an answer still has its place. What comes
    /// of it is thrown away.
    pub(super) fn give_up(&mut self, id: u32, cause: Cause) {
        let Some(at) = self.find(id) else { return };
        self.push_gathered();
        let is_body = |event: &Event| matches!(event, Event::Part(http::Event::Body(_)));
        self.events.retain(|(stream, event)| stream.0 != id || !is_body(event));
        if self.streams[at].sending != Sending::Waiting {
            return self.cut(id, cause, Some(StatusCode::CANCEL));
        }
        self.send_page(id, cause, cause.status());
        self.push_event(id, Event::Cut(cause));
    }

    pub(super) fn on_data(&mut self, id: u32, bytes: &[u8]) {
        let Some(at) = self.find(id) else { return self.give_back(bytes.len()) };
        let n = bytes.len();
        let stream = &mut self.streams[at];
        if stream.is_discarding() {
            self.give_back(n);
            return self.throw_away(at, n);
        }
        stream.unreleased += n;
        self.unreleased += n;
        // Small pieces would cost a message each.
        if self.gathered.0 != id || self.gathered.1.len() >= SHARE_MIN {
            self.push_gathered();
            self.gathered = (id, Vec::with_capacity(n));
        }
        self.gathered.1.extend_from_slice(bytes);
        self.arm_body(at);
    }

    /// The peer has sent its last bytes on a stream.
    pub(super) fn on_data_end(&mut self, id: u32) {
        let Some(at) = self.find(id) else { return };
        self.push_gathered();
        let stream = &mut self.streams[at];
        let is_wanted = !stream.is_discarding();
        if is_wanted && stream.length_left.is_some_and(|left| left > 0) {
            self.give_up(id, Cause::LengthWrong);
            let Some(at) = self.find(id) else { return };
            return self.complete(at);
        }
        if is_wanted {
            self.push_event(id, Event::Part(http::Event::End));
        }
        self.complete(at);
    }

    /// The message that a stream receives is complete.
    pub(super) fn complete(&mut self, at: usize) {
        let stream = &mut self.streams[at];
        stream.receiving = Receiving::Complete;
        stream.body_deadline = None;
        if stream.is_over() {
            self.remove(at);
        }
    }

    /// Bytes of a request came that is answered already: it may go on for a while, so that its client comes to reading.
    fn throw_away(&mut self, at: usize, n: usize) {
        let limits = &self.settings.limits;
        let stream = &mut self.streams[at];
        // From here on counted against what is thrown away at most.
        stream.body_room = stream.body_room.min(limits.drain_bytes as u64).saturating_sub(n as u64);
        let id = stream.id;
        if stream.body_room == 0 && stream.end_written {
            return self.cut(id, Cause::Complete, Some(StatusCode::CANCEL));
        }
        self.open_window(at, n);
    }

    /// Makes an event of the pieces that were gathered.
    pub(super) fn push_gathered(&mut self) {
        let (id, bytes) = mem::take(&mut self.gathered);
        if !bytes.is_empty() {
            self.event_bytes += bytes.len();
            self.push_event(id, Event::Part(http::Event::Body(Bytes::from(bytes))));
        }
    }
}
