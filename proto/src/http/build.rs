//! Heads of our own: for the client's role, for pages, and for whoever answers without a node.

use alloc::vec::Vec;

use bytes::Bytes;

use super::head::{BodySize, Framing, Request, Response};
use super::rules;
use crate::error::Misuse;
use crate::limits::Limits;

impl Request {
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
}

impl Response {
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
