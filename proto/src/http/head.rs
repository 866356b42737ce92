//! Message heads: the text as it came, and where its parts stand in it.

use alloc::vec::Vec;
use core::fmt;

use bytes::Bytes;

use super::rules;
use crate::error::{Cause, Misuse, Violation};
use crate::limits::Limits;

/// A version of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
    /// HTTP/2, and SPDY, which shares its semantics.
    Http2,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
        })
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

    /// Starts a request of our own, HTTP/1.1. `host` becomes the Host field.
    pub fn builder(method: &str, target: &str, host: &str) -> RequestBuilder {
        let mut text = TextBuilder::default();
        text.word(method);
        text.raw(b" ");
        text.word(target);
        text.raw(b" HTTP/1.1\r\n");
        text.field("Host", host.as_bytes());
        RequestBuilder { text, body: BodySize::None }
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
        self.upgrade.map(|span| span.in_text(&self.fields.text))
    }

    /// The first Accept field.
    pub fn accept(&self) -> Option<&[u8]> {
        self.accept.map(|span| span.in_text(&self.fields.text))
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

    /// Starts a response of our own, HTTP/1.1 with the usual reason phrase.
    pub fn builder(status: u16) -> ResponseBuilder {
        let mut text = TextBuilder::default();
        text.raw(b"HTTP/1.1 ");
        text.number(u64::from(status));
        text.raw(b" ");
        text.raw(reason(status).as_bytes());
        text.raw(b"\r\n");
        ResponseBuilder { text, framing: Framing::Unframed }
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

/// Makes a [`Request`].
#[derive(Clone, Debug)]
#[must_use]
pub struct RequestBuilder {
    text: TextBuilder,
    body: BodySize,
}

impl RequestBuilder {
    /// Adds a field.
    pub fn field(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.text.field(name, value.as_ref());
        self
    }

    /// Announces a body; the fitting Content-Length or Transfer-Encoding field is added.
    pub fn body(mut self, body: BodySize) -> Self {
        self.body = body;
        self
    }

    /// The request.
    ///
    /// # Errors
    /// [`Misuse`] if a part has bytes that would change the meaning of the head (CR, LF, NUL, white space in names)
    /// or the whole is not a request that [`Request::parse`] takes.
    pub fn build(mut self) -> Result<Request, Misuse> {
        match self.body {
            BodySize::None => {}
            BodySize::Length(length) => self.text.length(length),
            BodySize::Chunked => self.text.chunked(),
        }
        let text = self.text.finish()?;
        let limits = Limits { head_bytes: text.len(), target_bytes: text.len(), ..Limits::DEFAULT };
        rules::read_request_text(text, &limits).map_err(|_| Misuse("the request is not one that a server takes"))
    }
}

/// Makes a [`Response`].
#[derive(Clone, Debug)]
#[must_use]
pub struct ResponseBuilder {
    text: TextBuilder,
    framing: Framing,
}

impl ResponseBuilder {
    /// Adds a field.
    pub fn field(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.text.field(name, value.as_ref());
        self
    }

    /// Announces how the body is delimited; the fitting Content-Length or Transfer-Encoding field is added.
    pub fn framing(mut self, framing: Framing) -> Self {
        self.framing = framing;
        self
    }

    /// The response.
    ///
    /// # Errors
    /// [`Misuse`] if a part has bytes that would change the meaning of the head (CR, LF, NUL, white space in names)
    /// or the whole is not a response that [`Response::parse`] takes.
    pub fn build(mut self) -> Result<Response, Misuse> {
        match self.framing {
            Framing::Unframed => {}
            Framing::Length(length) => self.text.length(length),
            Framing::Chunked => self.text.chunked(),
        }
        let text = self.text.finish()?;
        let limits = Limits { head_bytes: text.len(), ..Limits::DEFAULT };
        rules::read_response(text, &limits).map_err(|_| Misuse("the response is not one that a client takes"))
    }
}

/// The text of a head in the making.
#[derive(Clone, Debug, Default)]
struct TextBuilder {
    text: Vec<u8>,
    unsound: bool,
}

impl TextBuilder {
    fn raw(&mut self, bytes: &[u8]) {
        self.text.extend_from_slice(bytes);
    }

    fn number(&mut self, number: u64) {
        super::push_decimal(&mut self.text, number);
    }

    /// A method, target or name: something without any white space in it.
    fn word(&mut self, word: &str) {
        self.unsound |= word.is_empty() || !word.bytes().all(|byte| byte.is_ascii_graphic());
        self.raw(word.as_bytes());
    }

    fn field(&mut self, name: &str, value: &[u8]) {
        self.word(name);
        self.unsound |= name.contains(':') || value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0));
        self.raw(b": ");
        self.raw(value);
        self.raw(b"\r\n");
    }

    fn length(&mut self, length: u64) {
        self.raw(b"Content-Length: ");
        self.number(length);
        self.raw(b"\r\n");
    }

    fn chunked(&mut self) {
        self.raw(b"Transfer-Encoding: chunked\r\n");
    }

    fn finish(mut self) -> Result<Bytes, Misuse> {
        if self.unsound {
            return Err(Misuse("a part of the head has bytes that would change its meaning"));
        }
        self.raw(b"\r\n");
        Ok(Bytes::from(self.text))
    }
}

/// The usual reason phrase of a status (RFC 9110, 15); `Unknown` for one that has none.
pub fn reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        103 => "Early Hints",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        203 => "Non-Authoritative Information",
        204 => "No Content",
        205 => "Reset Content",
        206 => "Partial Content",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        426 => "Upgrade Required",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        511 => "Network Authentication Required",
        _ => "Unknown",
    }
}
