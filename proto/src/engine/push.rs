//! Push: answers to requests that a client has not made (RFC 9113, 8.4; SPDY, draft 3, 3.3).
//!
//! ```text
//!  push ──▶ the client takes it: a stream of its own ──▶ body, chunk: its payload ──▶ end
//!    └────▶ it does not: 103 with a Link (RFC 8297) ──▶ body, chunk: nobody's     ──▶ end
//! ```
//!
//! Between a `push` and its `end` a node speaks of the pushed answer. Pushes nest: the innermost is meant.

use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;

use super::Engine;
use super::carrier::Carrier;
use crate::error::Cause;
use crate::http::{Event, Framing, Request, Response, StreamId};
use crate::http1::{ChunkDecoder, Piece};
use crate::message::Kind;
use crate::time::Instant;

/// Pushes of one session that are not at their end.
const PUSHES_MAX: usize = 8;

/// An answer that is being pushed.
pub(super) struct Push {
    /// Its stream; none where the client takes no pushes, or has refused this one.
    stream: Option<StreamId>,
    framing: PushFraming,
}

/// How the node cuts the payload up.
enum PushFraming {
    /// Not at all, or by `chunk`.
    Plain,
    /// The head announced chunks, and nothing came yet.
    Chunked,
    /// The node frames the chunks itself.
    Framed(ChunkDecoder),
}

/// Whose answer a pushed head is, as the node wrote it: `Url`, or the names of SPDY for its parts.
#[derive(Default, Debug, PartialEq, Eq)]
struct Promised {
    scheme: Option<String>,
    host: Option<String>,
    path: String,
}

impl Engine {
    /// A node's `push`: a head with the URL that it answers, and perhaps the beginning of its body.
    pub(super) fn on_push(&mut self, slot: usize, head: &Bytes, now: Instant) -> Result<(), Cause> {
        let Some(session) = self.sessions.at_mut(slot) else { return Ok(()) };
        if session.is_open() {
            return Err(Cause::MessageUnfit);
        }
        if session.bonds().pushes.len() >= PUSHES_MAX {
            self.fail(slot, Cause::PushesMax, now);
            return Ok(());
        }
        let pushed = self.push_head(slot, head, now);
        if pushed.is_err()
            && let Some(session) = self.sessions.at_mut(slot)
        {
            // What follows is still not of the response that the client asked for.
            session.bonds().pushes.push(Push { stream: None, framing: PushFraming::Plain });
        }
        let body = pushed?;
        if body.is_empty() { Ok(()) } else { self.on_pushed(slot, Kind::Body, body, now) }
    }

    fn push_head(&mut self, slot: usize, head: &Bytes, now: Instant) -> Result<Bytes, Cause> {
        let (promised, text) = Promised::take_from(head).ok_or(Cause::PushMalformed)?;
        let (response, body) = Response::parse(text.into(), &self.config.limits).map_err(|_| Cause::PushMalformed)?;
        self.push(slot, &promised, response, now).map(|()| body)
    }

    /// An app's push, whole.
    pub(super) fn push_whole(
        &mut self,
        slot: usize,
        url: &str,
        head: Response,
        body: Bytes,
        now: Instant,
    ) -> Result<(), Cause> {
        let promised = Promised::of_url(url).ok_or(Cause::PushMalformed)?;
        self.push(slot, &promised, head, now)?;
        if !body.is_empty() {
            self.on_pushed(slot, Kind::Chunk, body, now)?;
        }
        self.on_pushed(slot, Kind::End, Bytes::new(), now)
    }

    fn push(&mut self, slot: usize, promised: &Promised, response: Response, now: Instant) -> Result<(), Cause> {
        let Some(session) = self.sessions.at(slot) else { return Ok(()) };
        if session.is_open() {
            return Err(Cause::MessageUnfit);
        }
        if response.is_interim() {
            return Err(Cause::PushMalformed);
        }
        let (carrier, https, is_answered) = (session.carrier, session.https, session.is_answered());
        let own = String::from_utf8_lossy(session.request.host()).into_owned();
        let host = promised.host.as_deref().unwrap_or(&own);
        let scheme = if https { "https" } else { "http" };
        // Only what the client would have asked of this virtual host itself may be answered for it.
        let listener = self.links.at(carrier.link).and_then(|link| link.client()).map(|(listener, _)| listener);
        let is_ours = listener.and_then(|listener| self.hosts.find(listener, host.as_bytes())) == Some(session.host);
        if !is_ours || promised.scheme.as_deref().is_some_and(|other| other != scheme) {
            return Err(Cause::PushForeign);
        }
        let request = Request::builder("GET", &promised.path, host).build().map_err(|_| Cause::PushMalformed)?;
        let framing = match response.framing {
            Framing::Chunked => PushFraming::Chunked,
            Framing::Length(_) | Framing::Unframed => PushFraming::Plain,
        };
        let mut stream = None;
        if let (Some(of), Some(mux)) = (carrier.stream, self.links.at_mut(carrier.link).and_then(|link| link.mux())) {
            stream = mux.conn.push(of, &request, https, now).ok();
            if let Some(pushed) = stream
                && mux.conn.send(pushed, Event::Response(response), now).is_err()
            {
                mux.conn.cancel(pushed, now);
                stream = None;
            }
        }
        if stream.is_none() && !is_answered {
            self.hint(slot, scheme, promised, now);
        }
        if let Some(session) = self.sessions.at_mut(slot) {
            session.bonds().pushes.push(Push { stream, framing });
        }
        self.touch_carrier(carrier);
        Ok(())
    }

    /// Tells a client that takes no pushes what it will need.
    fn hint(&mut self, slot: usize, scheme: &str, promised: &Promised, now: Instant) {
        let link = match &promised.host {
            Some(host) => format!("<{scheme}://{host}{}>; rel=preload", promised.path),
            None => format!("<{}>; rel=preload", promised.path),
        };
        if let Ok(hints) = Response::builder(103).field("Link", link).build() {
            self.deliver(slot, Event::Response(hints), now);
        }
    }

    /// Whether a session's node speaks of a pushed answer now.
    pub(super) fn is_pushing(&self, slot: usize) -> bool {
        let bonds = self.sessions.at(slot).and_then(|session| session.bonds.as_ref());
        bonds.is_some_and(|bonds| !bonds.pushes.is_empty())
    }

    /// A message that is for the innermost push.
    pub(super) fn on_pushed(&mut self, slot: usize, kind: Kind, body: Bytes, now: Instant) -> Result<(), Cause> {
        let Some(session) = self.sessions.at_mut(slot) else { return Ok(()) };
        let carrier = session.carrier;
        let pushes = &mut session.bonds().pushes;
        let Some(push) = pushes.last_mut() else { return Ok(()) };
        let mut payload = Vec::new();
        let mut is_end = false;
        match (kind, &mut push.framing) {
            (Kind::End, _) => is_end = true,
            (Kind::Chunk, framing @ PushFraming::Chunked) => {
                *framing = PushFraming::Plain;
                payload.push(body);
            }
            (Kind::Chunk | Kind::Body, PushFraming::Plain) => payload.push(body),
            (Kind::Chunk, PushFraming::Framed(_)) => return Err(Cause::ResponseOutOfOrder),
            (Kind::Body, framing) => {
                if let PushFraming::Chunked = framing {
                    *framing = PushFraming::Framed(ChunkDecoder::new(&self.config.limits));
                }
                if let PushFraming::Framed(decoder) = framing
                    && !unchunk(decoder, body, &mut payload)
                {
                    self.give_up_push(slot, now);
                    return Err(Cause::ResponseMalformed);
                }
            }
            _ => return Err(Cause::MessageUnfit),
        }
        let stream = push.stream;
        if is_end {
            pushes.pop();
        }
        let Some(stream) = stream else { return Ok(()) };
        let Some(mux) = self.links.at_mut(carrier.link).and_then(|link| link.mux()) else { return Ok(()) };
        let mut sent = Ok(());
        for piece in payload {
            // An empty one ends the message.
            let event = if piece.is_empty() { Event::End } else { Event::Body(piece) };
            sent = sent.and(mux.conn.send(stream, event, now).map(drop));
        }
        if is_end {
            sent = sent.and(mux.conn.send(stream, Event::End, now).map(drop));
        }
        let queued = mux.conn.stream_queued(stream);
        let excess = self.excess_on(Carrier::stream(carrier.link, stream), queued);
        if let Some(cause) = excess {
            self.stats.count(cause);
        }
        // The client may have refused it meanwhile, or take it too slowly: it has not asked for it.
        if sent.is_err() || excess.is_some() {
            self.cut_pushes(carrier, [stream], now);
            if !is_end
                && let Some(push) = self.sessions.at_mut(slot).and_then(|session| session.bonds().pushes.last_mut())
            {
                push.stream = None;
            }
        }
        self.touch_carrier(carrier);
        Ok(())
    }

    fn give_up_push(&mut self, slot: usize, now: Instant) {
        let Some(session) = self.sessions.at_mut(slot) else { return };
        let carrier = session.carrier;
        let stream = session.bonds().pushes.last_mut().and_then(|push| push.stream.take());
        self.cut_pushes(carrier, stream, now);
    }

    /// Cuts pushed answers that will not be completed.
    pub(super) fn cut_pushes(&mut self, carrier: Carrier, streams: impl IntoIterator<Item = StreamId>, now: Instant) {
        let Some(mux) = self.links.at_mut(carrier.link).and_then(|link| link.mux()) else { return };
        for stream in streams {
            mux.conn.cancel(stream, now);
        }
        self.touch(carrier.link);
    }
}

impl Push {
    pub fn stream(&self) -> Option<StreamId> {
        self.stream
    }
}

/// Takes chunks apart; false if they are malformed.
fn unchunk(decoder: &mut ChunkDecoder, mut bytes: Bytes, into: &mut Vec<Bytes>) -> bool {
    while !bytes.is_empty() {
        let Ok(decoded) = decoder.decode(&bytes) else { return false };
        let mut taken = bytes.split_off(decoded.used);
        core::mem::swap(&mut taken, &mut bytes);
        match decoded.piece {
            Some(Piece::Data(range)) => into.push(taken.slice(range)),
            Some(Piece::End) => {
                into.push(Bytes::new());
                return true;
            }
            None if decoded.used == 0 => return true,
            None => {}
        }
    }
    true
}

impl Promised {
    /// Takes the lines that name the URL out of a head.
    fn take_from(head: &[u8]) -> Option<(Self, Vec<u8>)> {
        let mut promised = Self::default();
        let mut text = Vec::with_capacity(head.len());
        let mut rest = head;
        let mut is_named = false;
        while !rest.is_empty() {
            let end = rest.windows(2).position(|pair| pair == b"\r\n")? + 2;
            let (line, after) = rest.split_at(end);
            rest = after;
            let value = |name: &str| field_value(line, name);
            if line == b"\r\n" {
                text.extend_from_slice(line);
                break;
            } else if let Some(url) = value("url") {
                promised = Self::of_url(url)?;
                is_named = true;
            } else if let Some(scheme) = value(":scheme") {
                promised.scheme = Some(scheme.to_ascii_lowercase());
            } else if let Some(host) = value(":host") {
                promised.host = Some(host.into());
            } else if let Some(path) = value(":path") {
                promised.path = path.into();
                is_named = true;
            } else {
                text.extend_from_slice(line);
            }
        }
        text.extend_from_slice(rest);
        (is_named && promised.is_sound()).then_some((promised, text))
    }

    /// Reads a URL: a whole one, or a path of the host that is being answered.
    fn of_url(url: &str) -> Option<Self> {
        let promised = match url.split_once("://") {
            Some((scheme, rest)) if !scheme.starts_with('/') => {
                let at = rest.find('/').unwrap_or(rest.len());
                let (host, path) = rest.split_at(at);
                let path = if path.is_empty() { "/" } else { path };
                Self { scheme: Some(scheme.to_ascii_lowercase()), host: Some(host.into()), path: path.into() }
            }
            Some(_) | None => Self { path: url.into(), ..Self::default() },
        };
        promised.is_sound().then_some(promised)
    }

    /// Nothing in it can be taken for something else where it is written: in a head, or in a Link field.
    fn is_sound(&self) -> bool {
        let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic() && !b"<>\"".contains(&byte));
        let host = self.host.as_deref().unwrap_or("host");
        self.path.starts_with('/') && is_plain(&self.path) && is_plain(host) && !host.is_empty()
    }
}

/// The value of a line that is this field.
fn field_value<'a>(line: &'a [u8], name: &str) -> Option<&'a str> {
    let (start, value) = line.split_at_checked(name.len())?;
    let value = value.strip_prefix(b":").filter(|_| start.eq_ignore_ascii_case(name.as_bytes()))?;
    core::str::from_utf8(value.trim_ascii()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pushed_head_names_what_it_answers() {
        let (promised, text) =
            Promised::take_from(b"HTTP/1.1 200 OK\r\nUrl: /style.css?v=2\r\nA: b\r\n\r\nrest").unwrap();
        assert_eq!(promised, Promised { path: "/style.css?v=2".into(), ..Promised::default() });
        assert_eq!(text, b"HTTP/1.1 200 OK\r\nA: b\r\n\r\nrest");
        let (promised, _) =
            Promised::take_from(b"HTTP/1.1 200 OK\r\n:scheme: https\r\n:host: a.b:8\r\n:path: /\r\n\r\n").unwrap();
        let whole = Promised { scheme: Some("https".into()), host: Some("a.b:8".into()), path: "/".into() };
        assert_eq!(promised, whole);
        assert_eq!(Promised::of_url("HTTPS://a.b:8"), Some(whole));
        for head in [
            &b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n"[..],
            b"HTTP/1.1 200 OK\r\nUrl: style.css\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nUrl: /a>; rel=x\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nUrl: https:///\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n:host: a\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nUrl: /",
            b"",
        ] {
            assert_eq!(Promised::take_from(head), None, "{}", head.escape_ascii());
        }
    }
}
