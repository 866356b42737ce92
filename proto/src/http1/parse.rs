//! The receiving half: bytes in, events out.

use alloc::vec::Vec;

use bytes::Bytes;

use super::body::{ChunkDecoder, Piece, is_token};
use super::{Connection, Exchange, Reading, Writing};
use crate::error::{Cause, Violation};
use crate::http::pages::prefers_html;
use crate::http::{BodySize, Event, Framing, HeadScan, Request, Response, Version};
use crate::time::Instant;

/// Empty lines that may come before a request line: some clients end a body with one (RFC 9112, 2.2).
const BLANKS_MAX: u8 = 4;

impl Connection {
    /// Takes the next bytes as far as one step goes; 0 if it needs more of them. An event may have come of it.
    pub(super) fn read_step(&mut self, data: &[u8], now: Instant) -> Result<usize, Violation> {
        match self.reading {
            Reading::Idle { blanks } if self.is_server => self.read_request_start(blanks, data, now),
            Reading::Idle { .. } => self.read_response_start(data, now),
            Reading::Head(scan) => self.read_head(scan, data, now),
            Reading::Length(left) => self.read_length(left, data, now),
            Reading::Chunked(_) => self.read_chunked(data, now),
            Reading::UntilEof => Ok(self.read_until_eof(data)),
            Reading::Complete | Reading::Closed => Ok(0),
        }
    }

    /// The peer has ended its direction and nothing more comes of what it sent.
    pub(super) fn conclude_eof(&mut self, now: Instant) {
        match self.reading {
            Reading::Idle { .. } if self.is_server || self.writing == Writing::Idle => self.close(Cause::Complete),
            Reading::Length(_) | Reading::Chunked(_) if self.discarding.is_some() => self.close(Cause::Complete),
            Reading::Idle { .. } | Reading::Head(_) | Reading::Length(_) | Reading::Chunked(_) => {
                self.close(Cause::MessageCut);
            }
            Reading::UntilEof => self.finish_reading(now),
            Reading::Complete | Reading::Closed => {}
        }
    }

    fn read_request_start(&mut self, blanks: u8, data: &[u8], now: Instant) -> Result<usize, Violation> {
        match data {
            [] | [b'\r'] => Ok(0),
            [b'\r', b'\n', ..] if blanks < BLANKS_MAX => {
                self.reading = Reading::Idle { blanks: blanks + 1 };
                Ok(2)
            }
            [b'\r', b'\n', ..] => Err(Cause::HeadMalformed.into()),
            [b'\r' | b'\n', ..] => Err(Cause::BareLineBreak.into()),
            [0, ..] => Err(Cause::NulByte.into()),
            // Refused at once rather than at the end of the line: a TLS greeting has none.
            [first, ..] if !is_token(*first) => Err(Cause::HeadMalformed.into()),
            [..] => {
                // The first head's time runs from the start of the connection.
                if self.kept {
                    self.arm(self.settings.limits.head_timeout, now);
                }
                self.read_head(HeadScan::default(), data, now)
            }
        }
    }

    fn read_response_start(&mut self, data: &[u8], now: Instant) -> Result<usize, Violation> {
        if data.is_empty() {
            return Ok(0);
        }
        if self.writing == Writing::Idle {
            return Err(Cause::BytesUnexpected.into());
        }
        self.read_head(HeadScan::default(), data, now)
    }

    fn read_head(&mut self, mut scan: HeadScan, data: &[u8], now: Instant) -> Result<usize, Violation> {
        let found = scan.find(data, &self.settings.limits);
        match found {
            Ok(None) => {
                self.reading = Reading::Head(scan);
                Ok(0)
            }
            Ok(Some(end)) if self.is_server => self.take_request(&data[..end], now),
            Ok(Some(end)) => self.take_response(&data[..end], now),
            Err(cause) if self.is_server => Err(cause.into()),
            Err(_) => Err(Cause::ResponseMalformed.into()),
        }
    }

    fn take_request(&mut self, head: &[u8], now: Instant) -> Result<usize, Violation> {
        let limits = &self.settings.limits;
        let request = Request::parse(head, limits)?;
        self.exchange = Exchange {
            version: request.version,
            keep_alive: request.keep_alive,
            waits_for_continue: request.expect_continue,
            is_head: request.is_head(),
            wants_html: request.accept().is_some_and(prefers_html),
        };
        self.kept = true;
        self.writing = Writing::Waiting;
        self.body_room = limits.body_bytes;
        self.reading = match request.body {
            BodySize::None | BodySize::Length(0) => Reading::Complete,
            BodySize::Length(length) => Reading::Length(length),
            BodySize::Chunked => Reading::Chunked(ChunkDecoder::new(limits)),
        };
        self.event = Some(Event::Request(request));
        self.deadline = None;
        if matches!(self.reading, Reading::Complete) {
            self.end_due = true;
        } else {
            self.arm_body(now);
        }
        Ok(head.len())
    }

    fn take_response(&mut self, head: &[u8], now: Instant) -> Result<usize, Violation> {
        let limits = &self.settings.limits;
        let response = Response::from_head(Bytes::copy_from_slice(head), limits)?;
        if response.is_interim() {
            // What follows a 101 is not HTTP, and nothing here asks for one.
            if response.status == 101 {
                return Err(Cause::ResponseMalformed.into());
            }
            self.reading = Reading::Idle { blanks: 0 };
            self.event = Some(Event::Response(response));
            return Ok(head.len());
        }
        let persistent = response.version == Version::Http11 || response.keep_alive;
        self.last |= response.close || !persistent;
        let bodiless = self.exchange.is_head || response.never_has_body();
        self.body_room = u64::MAX;
        self.reading = match response.framing {
            Framing::Length(length) if !bodiless && length > 0 => Reading::Length(length),
            Framing::Chunked if !bodiless => Reading::Chunked(ChunkDecoder::new(limits)),
            Framing::Unframed if !bodiless => Reading::UntilEof,
            Framing::Length(_) | Framing::Chunked | Framing::Unframed => Reading::Complete,
        };
        self.last |= matches!(self.reading, Reading::UntilEof);
        self.event = Some(Event::Response(response));
        if matches!(self.reading, Reading::Complete) {
            self.finish_reading(now);
        }
        Ok(head.len())
    }

    fn read_length(&mut self, left: u64, data: &[u8], now: Instant) -> Result<usize, Violation> {
        if left > self.body_room {
            return Err(Cause::BodyTooLarge.into());
        }
        let n = data.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        if n == 0 {
            return Ok(0);
        }
        self.reading = Reading::Length(left - n as u64);
        self.body_room -= n as u64;
        if self.discarding.is_none() {
            self.event = Some(Event::Body(Bytes::copy_from_slice(&data[..n])));
        } else {
            self.discard(n);
        }
        self.body_moved(left == n as u64, now);
        Ok(n)
    }

    /// Decodes all chunks at hand into one piece: a peer that sends a chunk for each byte does not get to make a
    /// message of each.
    fn read_chunked(&mut self, data: &[u8], now: Instant) -> Result<usize, Violation> {
        let Reading::Chunked(decoder) = &mut self.reading else { return Ok(0) };
        let mut used = 0;
        let mut first: &[u8] = &[];
        let mut joined = Vec::new();
        let mut ended = false;
        let mut bytes = 0;
        let fault = loop {
            if decoder.announced() > self.body_room {
                break Some(Cause::BodyTooLarge);
            }
            let window = &data[used..];
            if window.is_empty() {
                break None;
            }
            let decoded = match decoder.decode(window) {
                Ok(decoded) => decoded,
                Err(cause) => break Some(cause),
            };
            used += decoded.used;
            match decoded.piece {
                None => {}
                Some(Piece::End) => {
                    ended = true;
                    break None;
                }
                Some(Piece::Data(range)) => {
                    let piece = &window[range];
                    self.body_room -= piece.len() as u64;
                    bytes += piece.len();
                    if self.discarding.is_some() {
                        continue;
                    }
                    if first.is_empty() {
                        first = piece;
                    } else {
                        if joined.is_empty() {
                            joined.reserve(data.len());
                            joined.extend_from_slice(first);
                        }
                        joined.extend_from_slice(piece);
                    }
                }
            }
        };
        // A fault waits until what came before it is out; the decoder remembers its own, and the bound stays crossed.
        if let (Some(cause), 0) = (fault, bytes) {
            return Err(cause.into());
        }
        if self.discarding.is_some() {
            self.discard(bytes);
        } else if bytes > 0 {
            // Tiny chunks between long extensions must not hold on to a buffer of the input's size.
            if joined.capacity() / 2 > joined.len() {
                joined.shrink_to_fit();
            }
            let piece = if joined.is_empty() { Bytes::copy_from_slice(first) } else { Bytes::from(joined) };
            self.event = Some(Event::Body(piece));
        }
        if used > 0 {
            self.body_moved(ended, now);
        }
        Ok(used)
    }

    fn read_until_eof(&mut self, data: &[u8]) -> usize {
        if !data.is_empty() {
            self.event = Some(Event::Body(Bytes::copy_from_slice(data)));
        }
        data.len()
    }

    /// Body bytes came.
    fn body_moved(&mut self, ended: bool, now: Instant) {
        self.exchange.waits_for_continue = false;
        if matches!(self.reading, Reading::Closed) {
            return;
        }
        if ended {
            self.finish_reading(now);
        } else if self.discarding.is_none() {
            self.arm_body(now);
        }
    }

    /// Throws body bytes away that nobody waits for, as far as that is worth it.
    fn discard(&mut self, bytes: usize) {
        let Some(left) = &mut self.discarding else { return };
        match left.checked_sub(bytes) {
            Some(rest) => *left = rest,
            None => self.close(Cause::Complete),
        }
    }

    /// The message that is being received is complete.
    fn finish_reading(&mut self, now: Instant) {
        self.reading = Reading::Complete;
        self.deadline = None;
        self.end_due = self.discarding.is_none();
        if self.writing == Writing::Complete {
            self.finish_exchange(now);
        } else if !self.is_server {
            // The answer came before the request was sent: what follows could not be told from it.
            self.close(Cause::Complete);
        }
    }
}
