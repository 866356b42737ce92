//! Requests as uwsgi packets, and responses read from them: how a node that prefers dictionaries sees HTTP.
//!
//! A packet is a modifier (0), the size of what follows as a little-endian number of 16 bits, a second modifier (0),
//! and then pairs of strings, each string with its length in front, again in 16 bits.

use core::net::IpAddr;
use std::io::Write;

use bytes::Bytes;

use crate::address::{PeerAddr, split_port};
use crate::error::Cause;
use crate::http::{Request, Response, Version, has_token, push_decimal, tokens};
use crate::limits::Limits;

/// Bytes in front of the pairs.
const HEADER: usize = 4;

/// Room for all pairs but the HTTP_* ones, without the target.
const FIXED_PAIRS: usize = 448;

/// The most bytes of pairs that a packet can carry.
pub const PACKET_MAX: usize = u16::MAX as usize;

/// What a node learns of a request beside its head.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The name of the virtual host's section, with a port or without. If it begins with `*`, SERVER_NAME is the
    /// name that the client asked for.
    pub section: &'a str,
    /// The listener's port (80 where it has none), for sections without one.
    pub port: u16,
    /// Who sent the request; as a trusted proxy said, where there is one.
    pub remote: PeerAddr,
    /// Whether the client speaks TLS, to us or to a trusted proxy.
    pub https: bool,
    /// The number of the request in logs.
    pub request_id: u64,
    /// Whether another node may have seen the request before: it was lost, or refused it.
    pub redispatched: bool,
    /// More, by name: what is known of the client's TLS.
    pub variables: &'a [(&'a str, &'a str)],
}

/// Appends a whole packet for `request`.
///
/// # Errors
/// [`Cause::PacketTooLarge`] if it does not fit; nothing is appended then.
pub fn encode_request(out: &mut Vec<u8>, request: &Request, context: &Context<'_>) -> Result<(), Cause> {
    let start = out.len();
    // Each field grows by its prefix and two lengths, but loses a colon, a space and a line end; the rest is fixed.
    out.reserve(FIXED_PAIRS + 2 * request.target().len() + request.text().len() + 8 * request.fields.len());
    out.extend_from_slice(&[0; HEADER]);
    put_request(out, request, context);
    finish(out, start)
}

/// Appends a whole packet of `pairs`.
///
/// # Errors
/// [`Cause::PacketTooLarge`] if it does not fit; nothing is appended then.
pub fn encode_pairs<'a>(out: &mut Vec<u8>, pairs: impl IntoIterator<Item = (&'a [u8], &'a [u8])>) -> Result<(), Cause> {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER]);
    for (name, value) in pairs {
        put(out, name, value);
        // One string alone can be too long for its length to be true.
        if out.len() - start - HEADER > PACKET_MAX {
            break;
        }
    }
    finish(out, start)
}

/// Takes a packet apart. The size may count the four bytes in front, as the original server's did.
///
/// # Errors
/// [`Malformed`], once and as the last item, if the size is not that of the packet, a modifier is not 0, a name is
/// empty or a string is cut.
pub fn pairs(packet: &[u8]) -> Pairs<'_> {
    let rest = match packet {
        [0, low, high, 0, rest @ ..] => {
            let size = usize::from(u16::from_le_bytes([*low, *high]));
            (size == rest.len() || size == packet.len()).then_some(rest)
        }
        _ => None,
    };
    Pairs { state: rest.map_or(PairsState::Malformed, PairsState::Open) }
}

/// Reads a response: `STATUS` (such as `200 OK`), then the names and values of its fields. They go through the same
/// checks as a raw head.
///
/// # Errors
/// [`Cause::ResponseMalformed`].
pub fn decode_response(packet: &[u8], limits: &Limits) -> Result<Response, Cause> {
    let text = response_text(packet).ok_or(Cause::ResponseMalformed)?;
    let (response, rest) = Response::parse(Bytes::from(text), limits)?;
    if rest.is_empty() { Ok(response) } else { Err(Cause::ResponseMalformed) }
}

/// The pairs of a packet; see [`pairs`].
#[derive(Clone, Debug)]
pub struct Pairs<'a> {
    state: PairsState<'a>,
}

#[derive(Clone, Debug)]
enum PairsState<'a> {
    Open(&'a [u8]),
    Malformed,
    Ended,
}

/// The packet cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl core::fmt::Display for Malformed {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("malformed uwsgi packet")
    }
}

impl core::error::Error for Malformed {}

impl<'a> Iterator for Pairs<'a> {
    type Item = Result<(&'a [u8], &'a [u8]), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut rest = match core::mem::replace(&mut self.state, PairsState::Ended) {
            PairsState::Open([]) => return None,
            PairsState::Open(rest) => rest,
            PairsState::Malformed => return Some(Err(Malformed)),
            PairsState::Ended => return None,
        };
        let (Some(name), Some(value)) = (take_string(&mut rest), take_string(&mut rest)) else {
            return Some(Err(Malformed));
        };
        if name.is_empty() {
            return Some(Err(Malformed));
        }
        self.state = PairsState::Open(rest);
        Some(Ok((name, value)))
    }
}

fn take_string<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, behind) = rest.split_first_chunk::<2>()?;
    let (string, behind) = behind.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
    *rest = behind;
    Some(string)
}

fn put_request(out: &mut Vec<u8>, request: &Request, context: &Context<'_>) {
    let fields = &request.fields;
    put(out, b"REQUEST_METHOD", request.method());
    put(out, b"SCRIPT_NAME", b"");
    put(out, b"PATH_INFO", request.path());
    put(out, b"QUERY_STRING", request.query());
    let (mut content_type, mut content_length, mut host_given) = (None, None, false);
    let (mut asks_for_http2, mut asks_for_websocket) = (false, false);
    for (name, value) in fields.iter() {
        // The length tells most names apart before their letters are looked at.
        match name.len() {
            12 if name.eq_ignore_ascii_case(b"content-type") => content_type = content_type.or(Some(value)),
            14 if name.eq_ignore_ascii_case(b"content-length") => content_length = content_length.or(Some(value)),
            4 if name.eq_ignore_ascii_case(b"host") => host_given = true,
            7 if name.eq_ignore_ascii_case(b"upgrade") => {
                asks_for_http2 |= has_token(value, "h2c");
                asks_for_websocket |= has_token(value, "websocket");
            }
            _ => {}
        }
    }
    put_some(out, b"CONTENT_TYPE", content_type);
    put_some(out, b"CONTENT_LENGTH", content_length);
    put_server(out, request, context);
    // Nodes echo it, so it names a version whose grammar their answers have.
    let protocol: &[u8] = match request.version {
        Version::Http10 => b"HTTP/1.0",
        Version::Http11 | Version::Http2 | Version::Spdy2 | Version::Spdy3 | Version::Spdy31 => b"HTTP/1.1",
    };
    put(out, b"SERVER_PROTOCOL", protocol);
    put_remote(out, context.remote);
    for (name, value) in fields.iter() {
        // The authority of an absolute target replaces Host (RFC 9112, 3.2.2).
        let is_host = name.len() == 4 && name.eq_ignore_ascii_case(b"host");
        if asks_for_http2 && !asks_for_websocket {
            put_field_without_http2(out, name, if is_host { request.host() } else { value });
        } else {
            put_field(out, name, if is_host { request.host() } else { value });
        }
    }
    if !host_given && !request.host().is_empty() {
        put(out, b"HTTP_HOST", request.host());
    }
    put_uri(out, request);
    let scheme: &[u8] = if context.https { b"https" } else { b"http" };
    put(out, b"REQUEST_SCHEME", scheme);
    put_with(out, b"REQUEST_ID", |out| put_hex(out, context.request_id));
    if context.https {
        put(out, b"HTTPS", b"on");
    }
    match request.version {
        Version::Http10 | Version::Http11 => {}
        Version::Http2 => put(out, b"HTTP2", b"on"),
        Version::Spdy2 => put_spdy(out, b"2", scheme),
        Version::Spdy3 => put_spdy(out, b"3", scheme),
        Version::Spdy31 => put_spdy(out, b"3.1", scheme),
    }
    if context.redispatched {
        put(out, b"REDISPATCHED", b"1");
    }
    for (name, value) in context.variables {
        put(out, name.as_bytes(), value.as_bytes());
    }
}

fn put_server(out: &mut Vec<u8>, request: &Request, context: &Context<'_>) {
    let (name, port) = split_port(context.section);
    match name {
        name if name.starts_with('*') && !request.hostname().is_empty() => put(out, b"SERVER_NAME", request.hostname()),
        name => put(out, b"SERVER_NAME", name.as_bytes()),
    }
    match port {
        Some(port) => put(out, b"SERVER_PORT", port.as_bytes()),
        None => put_with(out, b"SERVER_PORT", |out| push_decimal(out, context.port.into())),
    }
}

fn put_remote(out: &mut Vec<u8>, remote: PeerAddr) {
    match remote {
        PeerAddr::Ip(address) => {
            put_with(out, b"REMOTE_ADDR", |out| put_ip(out, address.ip().to_canonical()));
            put_with(out, b"REMOTE_PORT", |out| push_decimal(out, address.port().into()));
        }
        PeerAddr::Unix => {
            put(out, b"REMOTE_ADDR", b"unix:");
            put(out, b"REMOTE_PORT", b"0");
        }
    }
}

fn put_ip(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => {
            let [first, rest @ ..] = address.octets();
            push_decimal(out, first.into());
            for octet in rest {
                out.push(b'.');
                push_decimal(out, octet.into());
            }
        }
        IpAddr::V6(address) => write!(out, "{address}").expect("writing to a vector cannot fail"),
    }
}

/// A field as `HTTP_NAME`. `Proxy` would become a variable that HTTP clients in the node believe, and a name with `_`
/// could pose as the one with `-`.
fn put_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    if name.contains(&b'_') || (name.len() == 5 && name.eq_ignore_ascii_case(b"proxy")) {
        return;
    }
    put_length(out, b"HTTP_".len() + name.len());
    out.extend_from_slice(b"HTTP_");
    out.extend(name.iter().map(|byte| if *byte == b'-' { b'_' } else { byte.to_ascii_uppercase() }));
    put_length(out, value.len());
    out.extend_from_slice(value);
}

/// A field of a request that would rather go on in HTTP/2, which is nobody's business but ours (RFC 9113, 3.1): a node that
/// obeyed would break the connection.
fn put_field_without_http2(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
    if is("upgrade") || is("http2-settings") {
        return;
    }
    if !is("connection") {
        return put_field(out, name, value);
    }
    let asks = |token: &&[u8]| token.eq_ignore_ascii_case(b"upgrade") || token.eq_ignore_ascii_case(b"http2-settings");
    let rest: Vec<&[u8]> = tokens(value).filter(|token| !asks(token)).collect();
    if !rest.is_empty() {
        put_field(out, name, &rest.join(&b", "[..]));
    }
}

/// What nodes know SPDY by. The schemes are the original server's, which made fields of all that stands in a head; behind
/// the client's fields, so that none of these can pose as one.
fn put_spdy(out: &mut Vec<u8>, version: &[u8], scheme: &[u8]) {
    put(out, b"HTTP_SCHEME", scheme);
    put(out, b"SERVER_SCHEME", scheme);
    put(out, b"SPDY_VERSION", version);
}

/// The target as it was sent; of an absolute one what follows the authority, which is HTTP_HOST.
fn put_uri(out: &mut Vec<u8>, request: &Request) {
    let target = request.target();
    if matches!(target.first(), Some(b'/' | b'*')) {
        return put(out, b"REQUEST_URI", target);
    }
    put_with(out, b"REQUEST_URI", |out| {
        out.extend_from_slice(request.path());
        if !request.query().is_empty() {
            out.push(b'?');
            out.extend_from_slice(request.query());
        }
    });
}

fn put(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    put_length(out, name.len());
    out.extend_from_slice(name);
    put_length(out, value.len());
    out.extend_from_slice(value);
}

fn put_some(out: &mut Vec<u8>, name: &[u8], value: Option<&[u8]>) {
    if let Some(value) = value {
        put(out, name, value);
    }
}

/// A pair whose value is written in place; its length is filled in behind.
fn put_with(out: &mut Vec<u8>, name: &[u8], write: impl FnOnce(&mut Vec<u8>)) {
    put_length(out, name.len());
    out.extend_from_slice(name);
    let start = out.len();
    put_length(out, 0);
    write(out);
    let length = (out.len() - start - 2) as u16;
    out[start..start + 2].copy_from_slice(&length.to_le_bytes());
}

/// A length that does not fit is cut short here and refused by [`finish`], since the packet is then too large as well.
fn put_length(out: &mut Vec<u8>, length: usize) {
    out.extend_from_slice(&(length as u16).to_le_bytes());
}

fn put_hex(out: &mut Vec<u8>, number: u64) {
    for shift in (0..16).rev() {
        out.push(b"0123456789abcdef"[(number >> (4 * shift)) as usize & 15]);
    }
}

/// Fills in the size of the packet that begins at `start`, or takes it back.
fn finish(out: &mut Vec<u8>, start: usize) -> Result<(), Cause> {
    let Ok(size) = u16::try_from(out.len() - start - HEADER) else {
        out.truncate(start);
        return Err(Cause::PacketTooLarge);
    };
    out[start + 1..start + 3].copy_from_slice(&size.to_le_bytes());
    Ok(())
}

/// The raw head that says the same as the packet. Bytes that would end a line or a name early are refused here; the
/// rest is the head parser's business.
fn response_text(packet: &[u8]) -> Option<Vec<u8>> {
    let mut pairs = pairs(packet);
    let (b"STATUS", status) = pairs.next()?.ok()? else { return None };
    let [a, b, c, reason @ ..] = status else { return None };
    let is_code = [a, b, c].iter().all(|digit| digit.is_ascii_digit());
    if !is_code || !matches!(reason, [] | [b' ', ..]) || !is_line(status) {
        return None;
    }
    let mut text = Vec::with_capacity(packet.len() + 32);
    text.extend_from_slice(b"HTTP/1.1 ");
    text.extend_from_slice(status);
    if reason.is_empty() {
        text.push(b' ');
    }
    text.extend_from_slice(b"\r\n");
    for pair in pairs {
        let (name, value) = pair.ok()?;
        if !is_line(name) || name.contains(&b':') || !is_line(value) {
            return None;
        }
        text.extend_from_slice(name);
        text.extend_from_slice(b": ");
        text.extend_from_slice(value);
        text.extend_from_slice(b"\r\n");
    }
    text.extend_from_slice(b"\r\n");
    Some(text)
}

fn is_line(text: &[u8]) -> bool {
    !text.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0))
}

#[cfg(test)]
mod tests;
