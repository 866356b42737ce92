//! The opening handshake (RFC 6455, 4): an HTTP/1.1 request that asks for an upgrade, and its 101.

use alloc::string::String;
use alloc::vec::Vec;

use tungstenite::handshake::derive_accept_key;

pub use super::negotiate::{Deflate, DeflatePolicy};

use super::negotiate;
use crate::entropy::Entropy;
use crate::error::Cause;
use crate::http::{BodySize, Request, RequestBuilder, Response, ResponseBuilder, Version, has_token, tokens};

const VERSION: &str = "13";

/// Whether a request asks for a WebSocket; [`read`] says whether it does so rightly.
pub fn is_requested(request: &Request) -> bool {
    request.has_upgrade() && request.fields.all("upgrade").any(|value| has_token(value, "websocket"))
}

/// Reads a request that [`is_requested`].
///
/// # Errors
/// What is wrong with it, whose [`status`](Cause::status) is the answer: [`Cause::WebSocketMethod`],
/// [`Cause::WebSocketVersion`], [`Cause::WebSocketKey`], [`Cause::WebSocketHandshake`].
pub fn read(request: &Request) -> Result<Offer<'_>, Cause> {
    if request.method() != b"GET" {
        return Err(Cause::WebSocketMethod);
    }
    // A stream of HTTP/2 is asked for by an extended CONNECT (RFC 8441, 5), whose body is the WebSocket, without a key.
    let is_stream = request.version == Version::Http2;
    let has_body = !is_stream && !matches!(request.body, BodySize::None | BodySize::Length(0));
    let can_upgrade = is_stream || request.version == Version::Http11;
    if !can_upgrade || has_body || request.upgrade().is_none() || !is_requested(request) {
        return Err(Cause::WebSocketHandshake);
    }
    if single(request, "sec-websocket-version")? != Some(VERSION.as_bytes()) {
        return Err(Cause::WebSocketVersion);
    }
    let key = single(request, "sec-websocket-key").ok().flatten().filter(|key| is_key(key));
    if key.is_none() && !is_stream {
        return Err(Cause::WebSocketKey);
    }
    let offer = Offer { request, key, origin: single(request, "origin")? };
    let extensions_are_sound = negotiate::is_sound(request.fields.all("sec-websocket-extensions"));
    if !offer.protocols().all(negotiate::is_token) || !extensions_are_sound {
        return Err(Cause::WebSocketHandshake);
    }
    Ok(offer)
}

/// A sound request for a WebSocket.
#[derive(Clone, Copy, Debug)]
pub struct Offer<'a> {
    request: &'a Request,
    /// None on a stream of HTTP/2.
    key: Option<&'a [u8]>,
    origin: Option<&'a [u8]>,
}

impl<'a> Offer<'a> {
    /// The sub-protocols that the client speaks, the one it likes best first.
    pub fn protocols(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.request.fields.all("sec-websocket-protocol").flat_map(tokens)
    }

    /// The first of the client's sub-protocols that is among `ours`.
    pub fn choose_protocol<'o>(&self, ours: &'o [String]) -> Option<&'o str> {
        self.protocols().find_map(|theirs| ours.iter().find(|own| own.as_bytes() == theirs)).map(String::as_str)
    }

    /// Where the page comes from that opens the WebSocket; programs other than browsers need not say.
    pub fn origin(&self) -> Option<&'a [u8]> {
        self.origin
    }

    /// What is agreed on for compression, if the client offers it: the first of its offers that can be accepted.
    pub fn deflate(&self, policy: DeflatePolicy) -> Option<Deflate> {
        negotiate::choose(self.request.fields.all("sec-websocket-extensions"), policy)
    }
}

/// Makes the 101 that accepts an offer, with the sub-protocol chosen, if any, and what [`Offer::deflate`] said.
///
/// `shaped` is a 101 that somebody else made: its fields are kept, except for those that belong to this handshake or
/// to one hop. Its Sec-WebSocket-Protocol, if it has one, is taken instead of `protocol`.
///
/// # Errors
/// [`Cause::ResponseMalformed`] if `shaped` is not a 101, or the sub-protocol is not a single one of those offered.
pub fn accept(
    offer: &Offer<'_>,
    protocol: Option<&[u8]>,
    deflate: Option<Deflate>,
    shaped: Option<&Response>,
) -> Result<Response, Cause> {
    let mut head = Response::builder(101).field("Upgrade", "websocket").field("Connection", "Upgrade");
    if let Some(key) = offer.key {
        head = head.field("Sec-WebSocket-Accept", derive_accept_key(key));
    }
    let mut protocol = protocol;
    if let Some(shaped) = shaped {
        if shaped.status != 101 {
            return Err(Cause::ResponseMalformed);
        }
        let mut theirs = shaped.fields.all("sec-websocket-protocol");
        protocol = theirs.next().or(protocol);
        if theirs.next().is_some() {
            return Err(Cause::ResponseMalformed);
        }
        head = keep_fields(head, shaped)?;
    }
    if let Some(protocol) = protocol {
        if !offer.protocols().any(|offered| offered == protocol) {
            return Err(Cause::ResponseMalformed);
        }
        head = head.field("Sec-WebSocket-Protocol", protocol);
    }
    if let Some(deflate) = deflate {
        head = head.field("Sec-WebSocket-Extensions", deflate.answer());
    }
    head.build().map_err(|_| Cause::ResponseMalformed)
}

/// Fields of a response that are made here, or that mean one hop only (RFC 9110, 7.6.1).
const DROPPED: &[&str] = &[
    "upgrade",
    "connection",
    "sec-websocket-accept",
    "sec-websocket-extensions",
    "sec-websocket-key",
    "sec-websocket-protocol",
    "sec-websocket-version",
    "content-length",
    "transfer-encoding",
    "trailer",
    "te",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
];

fn keep_fields(mut head: ResponseBuilder, shaped: &Response) -> Result<ResponseBuilder, Cause> {
    let is_named = |name: &str| shaped.fields.all("connection").any(|value| has_token(value, name));
    for (name, value) in shaped.fields.iter() {
        let name = core::str::from_utf8(name).map_err(|_| Cause::ResponseMalformed)?;
        if !DROPPED.iter().any(|dropped| dropped.eq_ignore_ascii_case(name)) && !is_named(name) {
            head = head.field(name, value);
        }
    }
    Ok(head)
}

/// What a client sends in Sec-WebSocket-Key: a number of its choice, by which it knows the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key(String);

/// Starts a client's request, to which more fields may be added: `protocols` are offered as sub-protocols, and `deflate`
/// as compression. The key is for [`check`].
pub fn request(
    target: &str,
    host: &str,
    protocols: &[&str],
    deflate: Option<Deflate>,
    entropy: &mut dyn Entropy,
) -> (RequestBuilder, Key) {
    let mut nonce = [0; 16];
    entropy.fill(&mut nonce);
    let key = Key(base64(&nonce));
    let mut request = Request::builder("GET", target, host)
        .field("Upgrade", "websocket")
        .field("Connection", "Upgrade")
        .field("Sec-WebSocket-Key", &key.0)
        .field("Sec-WebSocket-Version", VERSION);
    if !protocols.is_empty() {
        request = request.field("Sec-WebSocket-Protocol", protocols.join(", "));
    }
    if let Some(deflate) = deflate {
        request = request.field("Sec-WebSocket-Extensions", deflate.offer());
    }
    (request, key)
}

/// Checks the answer to a [`request`] with the same `protocols` and `deflate`, and returns what was agreed on for
/// compression (RFC 6455, 4.1).
///
/// # Errors
/// [`Cause::PeerRefused`] for a status other than 101, [`Cause::WebSocketKey`] for a wrong Sec-WebSocket-Accept,
/// [`Cause::WebSocketHandshake`] for any other answer that does not fit the request.
pub fn check(
    response: &Response,
    key: &Key,
    protocols: &[&str],
    deflate: Option<Deflate>,
) -> Result<Option<Deflate>, Cause> {
    if response.status != 101 {
        return Err(Cause::PeerRefused);
    }
    let fields = &response.fields;
    let upgrades = fields.all("upgrade").any(|value| has_token(value, "websocket"))
        && fields.all("connection").any(|value| has_token(value, "upgrade"));
    if !upgrades {
        return Err(Cause::WebSocketHandshake);
    }
    let accepts: Vec<&[u8]> = fields.all("sec-websocket-accept").collect();
    if accepts != [derive_accept_key(key.0.as_bytes()).as_bytes()] {
        return Err(Cause::WebSocketKey);
    }
    let mut chosen = fields.all("sec-websocket-protocol");
    let protocol_fits = chosen.next().is_none_or(|chosen| protocols.iter().any(|offered| offered.as_bytes() == chosen));
    if !protocol_fits || chosen.next().is_some() {
        return Err(Cause::WebSocketHandshake);
    }
    negotiate::settle(fields.all("sec-websocket-extensions"), deflate).ok_or(Cause::WebSocketHandshake)
}

/// The value of a field that may come once at most.
fn single<'a>(request: &'a Request, name: &'a str) -> Result<Option<&'a [u8]>, Cause> {
    let mut values = request.fields.all(name);
    let first = values.next();
    if values.next().is_some() { Err(Cause::WebSocketHandshake) } else { Ok(first) }
}

/// Whether this is 16 bytes in base64 (RFC 6455, 4.2.1). The bits that are left over in the last digit may be anything.
fn is_key(key: &[u8]) -> bool {
    matches!(key.strip_suffix(b"=="), Some(digits)
        if digits.len() == 22 && digits.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/')))
}

fn base64(bytes: &[u8; 16]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(24);
    // Two bytes of zeros complete the last group of three; their digits are written as padding.
    let mut padded = [0; 18];
    padded[..16].copy_from_slice(bytes);
    for group in padded.as_chunks::<3>().0 {
        let bits = u32::from(group[0]) << 16 | u32::from(group[1]) << 8 | u32::from(group[2]);
        for place in [18, 12, 6, 0] {
            text.push(char::from(DIGITS[(bits >> place & 63) as usize]));
        }
    }
    text.truncate(22);
    text.push_str("==");
    text
}
