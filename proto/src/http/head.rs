//! Message heads: the text as it came, and where its parts stand in it.

use alloc::vec::Vec;
use core::fmt;

use bytes::Bytes;

use super::rules;
use crate::error::{Cause, Violation};
use crate::limits::Limits;

/// A version of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
    /// HTTP/2.
    Http2,
    /// SPDY/2.
    Spdy2,
    /// SPDY/3.
    Spdy3,
    /// SPDY/3.1.
    Spdy31,
}

impl Version {
    /// As logs write it: `HTTP/1.1`, `HTTP/2`, `SPDY/3.1`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
            Self::Spdy2 => "SPDY/2",
            Self::Spdy3 => "SPDY/3",
            Self::Spdy31 => "SPDY/3.1",
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How the body of a request is delimited (RFC 9112, 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodySize {
    /// There is none.
    None,
    /// This many bytes, as Content-Length says.
    Length(u64),
    /// Known when it ends: chunked, or a stream without Content-Length.
    Chunked,
}

/// How the body of a response is delimited by its head alone; a response to HEAD has none in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// This many bytes.
    Length(u64),
    /// Chunked.
    Chunked,
    /// The head does not say: it ends with the connection, or as the sender adds.
    Unframed,
}

/// A run of bytes in a head's text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Span {
    start: u32,
    len: u32,
}

impl Span {
    /// The place of `part` in `text`, of which it must be a subslice.
    pub(super) fn of(text: &[u8], part: &[u8]) -> Self {
        let start = (part.as_ptr() as usize).wrapping_sub(text.as_ptr() as usize);
        debug_assert!(part.is_empty() || start + part.len() <= text.len(), "a part of the text");
        Self { start: if part.is_empty() { 0 } else { start as u32 }, len: part.len() as u32 }
    }

    fn start(self) -> usize {
        self.start as usize
    }

    fn in_text(self, text: &[u8]) -> &[u8] {
        &text[self.start as usize..][..self.len as usize]
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) name: Span,
    pub(super) value: Span,
}

/// The fields of a head, in the order in which they came.
#[derive(Clone, PartialEq, Eq)]
pub struct Fields {
    text: Bytes,
    spans: Vec<Field>,
}

impl Fields {
    pub(super) fn new(text: Bytes, spans: Vec<Field>) -> Self {
        Self { text, spans }
    }

    pub(super) fn set_text(&mut self, text: Bytes) {
        self.text = text;
    }

    /// Names and values, white space around the values removed.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&[u8], &[u8])> {
        self.spans.iter().map(|field| (field.name.in_text(&self.text), field.value.in_text(&self.text)))
    }

    /// The value of the first field of this name, whatever its case.
    pub fn find(&self, name: &str) -> Option<&[u8]> {
        self.iter().find(|(found, _)| found.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value)
    }

    /// The values of all fields of this name, whatever its case.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.iter().filter(move |(found, _)| found.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value)
    }

    /// How many fields there are.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// The whole lines of the fields, CRLF included, each with its name and value.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (&[u8], &[u8], &[u8])> {
        let ends = self.spans[1.min(self.spans.len())..].iter().map(|next| next.name.start());
        let last = self.text.len().saturating_sub(2);
        self.spans.iter().zip(ends.chain(Some(last))).map(|(field, end)| {
            let line = &self.text[field.name.start()..end];
            (line, field.name.in_text(&self.text), field.value.in_text(&self.text))
        })
    }

    /// Where the first field line starts in the text.
    pub(crate) fn start(&self) -> usize {
        self.spans.first().map_or(self.text.len().saturating_sub(2), |field| field.name.start())
    }
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = f.debug_map();
        for (name, value) in self.iter() {
            map.entry(&format_args!("{}", name.escape_ascii()), &format_args!("{}", value.escape_ascii()));
        }
        map.finish()
    }
}

/// The head of a request, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The fields, hop-by-hop ones included.
    pub fields: Fields,
    /// The version of the request line.
    pub version: Version,
    /// How the body is delimited.
    pub body: BodySize,
    /// The client will take a further response on this connection (RFC 9112, 9.3).
    pub keep_alive: bool,
    /// The client waits for `100 Continue` before it sends the body (RFC 9110, 10.1.1).
    pub expect_continue: bool,
    pub(super) method: Span,
    pub(super) target: Span,
    pub(super) path: Span,
    pub(super) query: Span,
    pub(super) host: Span,
    pub(super) upgrade: Option<Span>,
    pub(super) is_upgrade_asked: bool,
    pub(super) accept: Option<Span>,
}

impl Request {
    /// Reads a head: the request line, the fields and the blank line, nothing before or behind them.
    ///
    /// # Errors
    /// What the peer did wrong, and the status that tells it so.
    pub fn parse(head: &[u8], limits: &Limits) -> Result<Self, Violation> {
        rules::read_request(head, limits)
    }

    /// Reads the head of a stream's request, put into the words of HTTP/1.1: its body is delimited by the stream,
    /// which has `ended` already if there is none.
    #[cfg(any(feature = "http2", feature = "spdy"))]
    pub(crate) fn from_stream(text: Bytes, ended: bool, version: Version, limits: &Limits) -> Result<Self, Violation> {
        if text.len() > limits.head_bytes {
            return Err(Cause::HeadTooLarge.into());
        }
        let mut request = rules::read_request_text(text, limits)?;
        request.version = version;
        if ended {
            request.body = BodySize::None;
        } else if request.body == BodySize::None {
            request.body = BodySize::Chunked;
        }
        request.expect_continue = !ended && request.fields.find("expect").is_some();
        Ok(request)
    }

    /// The head's text as HTTP/1 writes it, blank line included.
    pub fn text(&self) -> &Bytes {
        &self.fields.text
    }

    /// The method.
    pub fn method(&self) -> &[u8] {
        self.method.in_text(&self.fields.text)
    }

    /// The target, exactly as it was sent.
    pub fn target(&self) -> &[u8] {
        self.target.in_text(&self.fields.text)
    }

    /// The target's path, not decoded: `/` where an absolute form has none, `*` for the asterisk form.
    pub fn path(&self) -> &[u8] {
        match self.path.len {
            0 => b"/",
            _ => self.path.in_text(&self.fields.text),
        }
    }

    /// What follows the first `?` of the target; empty if there is none.
    pub fn query(&self) -> &[u8] {
        self.query.in_text(&self.fields.text)
    }

    /// Host and port as the client named them: the authority of a target in absolute form, else the Host field.
    /// Empty only for HTTP/1.0 without either.
    pub fn host(&self) -> &[u8] {
        self.host.in_text(&self.fields.text)
    }

    /// [`host`](Self::host) without a port; an IPv6 address keeps its brackets.
    pub fn hostname(&self) -> &[u8] {
        rules::split_authority(self.host()).map_or(b"", |(name, _)| name)
    }

    /// The protocol of the Upgrade field, if the Connection field asks for an upgrade (RFC 9110, 7.8).
    pub fn upgrade(&self) -> Option<&[u8]> {
        self.upgrade.filter(|_| self.is_upgrade_asked).map(|span| span.in_text(&self.fields.text))
    }

    /// Whether there is an Upgrade field, asked for or not.
    #[cfg(feature = "websocket")]
    pub(crate) fn has_upgrade(&self) -> bool {
        self.upgrade.is_some()
    }

    /// The first Accept field.
    pub fn accept(&self) -> Option<&[u8]> {
        self.accept.map(|span| span.in_text(&self.fields.text))
    }

    /// The request line without the fields, for whoever keeps it long: a copy of its own.
    #[cfg(feature = "engine")]
    pub(crate) fn line_alone(&self) -> Self {
        let line = self.fields.start();
        let text = Bytes::from([&self.fields.text[..line], b"\r\n"].concat());
        let host = if self.host.start() < line { self.host } else { Span::default() };
        Self { fields: Fields::new(text, Vec::new()), host, upgrade: None, accept: None, ..*self }
    }

    /// Whether the method is HEAD.
    pub fn is_head(&self) -> bool {
        self.method() == b"HEAD"
    }

    /// Whether the method asks for nothing to be changed (RFC 9110, 9.2.1).
    pub fn is_safe(&self) -> bool {
        rules::is_safe(self.method())
    }

    /// Whether the request may be repeated without further effect (RFC 9110, 9.2.2).
    pub fn is_idempotent(&self) -> bool {
        rules::is_idempotent(self.method())
    }
}

/// The head of a response, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The fields, hop-by-hop ones included.
    pub fields: Fields,
    /// The status code, 100 to 999.
    pub status: u16,
    /// The version of the status line.
    pub version: Version,
    /// How the body is delimited.
    pub framing: Framing,
    /// The Connection field has `close`.
    pub close: bool,
    /// The Connection field has `keep-alive`.
    pub keep_alive: bool,
}

impl Response {
    /// Reads the head at the start of `text` and returns it with what follows the blank line. The text is kept: it
    /// is not copied.
    ///
    /// # Errors
    /// [`Cause::ResponseMalformed`] for a head that is incomplete, larger than [`Limits::head_bytes`], outside the
    /// grammar, or unsound in its framing: Content-Length with Transfer-Encoding, differing or malformed
    /// Content-Lengths, a Transfer-Encoding other than `chunked`.
    pub fn parse(text: Bytes, limits: &Limits) -> Result<(Self, Bytes), Cause> {
        let end = rules::find_head_end(&text, limits)?;
        let mut head = text;
        let rest = head.split_off(end);
        Ok((rules::read_response(head, limits)?, rest))
    }

    /// Reads a head that is complete and alone in `head`.
    pub(crate) fn from_head(head: Bytes, limits: &Limits) -> Result<Self, Cause> {
        rules::read_response(head, limits)
    }

    /// The head's text as it came, blank line included.
    pub fn text(&self) -> &Bytes {
        &self.fields.text
    }

    /// Whether this is an interim response: the final one is still to come.
    pub fn is_interim(&self) -> bool {
        self.status < 200
    }

    /// Whether no body follows in answer to a request of this method, whatever the fields say (RFC 9112, 6.3).
    pub fn is_bodiless(&self, request_method: &[u8]) -> bool {
        request_method == b"HEAD" || self.never_has_body()
    }

    pub(crate) fn never_has_body(&self) -> bool {
        self.status < 200 || self.status == 204 || self.status == 304
    }
}
