//! What a head has to look like, beyond its grammar: framing, host, target, method, version (RFC 9112, RFC 9110).

use alloc::vec::Vec;
use core::mem::MaybeUninit;
use core::net::Ipv6Addr;

use bytes::Bytes;

use super::head::{BodySize, Field, Fields, Framing, Request, Response, Span, Version};
use super::scan::HeadScan;
use crate::error::{Cause, Violation};
use crate::limits::Limits;

/// What a request line may have besides its target: method, spaces, version, line end.
pub const REQUEST_LINE_SLACK: usize = 64;

/// More fields than this are refused whatever [`Limits::fields`] says: it is what the parser has room for.
const FIELDS_MAX: usize = 256;

type Parsed<'h> = [MaybeUninit<httparse::Header<'h>>; FIELDS_MAX];

/// Reads a request head and keeps a copy of it.
pub(super) fn read_request(head: &[u8], limits: &Limits) -> Result<Request, Violation> {
    let mut request = check_request(head, limits)?;
    request.fields.set_text(Bytes::copy_from_slice(head));
    Ok(request)
}

/// Reads a request head and keeps it.
pub(super) fn read_request_text(text: Bytes, limits: &Limits) -> Result<Request, Violation> {
    let mut request = check_request(&text, limits)?;
    request.fields.set_text(text);
    Ok(request)
}

/// The request in `head`, its text still missing.
fn check_request(head: &[u8], limits: &Limits) -> Result<Request, Violation> {
    let mut room: Parsed<'_> = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let mut parsed = httparse::Request::new(&mut []);
    let room = &mut room[..limits.fields.min(FIELDS_MAX)];
    match httparse::ParserConfig::default().parse_request_with_uninit_headers(&mut parsed, head, room) {
        Ok(httparse::Status::Complete(n)) if n == head.len() => {}
        Ok(_) => return Err(Cause::HeadMalformed.into()),
        Err(error) => return Err(explain(head, error).into()),
    }
    let (Some(method), Some(target), Some(minor)) = (parsed.method, parsed.path, parsed.version) else {
        return Err(Cause::HeadMalformed.into());
    };
    if target.len() > limits.target_bytes {
        return Err(Cause::TargetTooLong.into());
    }
    if !is_method(method.as_bytes()) {
        return Err(Cause::MethodUnsupported.into());
    }
    let version = if minor == 1 { Version::Http11 } else { Version::Http10 };
    let target = target.as_bytes();
    let parts = split_target(method.as_bytes(), target).ok_or(Cause::TargetMalformed)?;

    let mut spans = Vec::with_capacity(parsed.headers.len());
    let mut framing = FramingFields::default();
    let mut connection = Connection::default();
    let (mut host, mut upgrade, mut accept, mut expect) = (None, None, None, false);
    for header in parsed.headers.iter() {
        let (name, value) = (header.name.as_bytes(), trim(header.value));
        spans.push(Field { name: Span::of(head, name), value: Span::of(head, value) });
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => {
                if host.is_some() || split_authority(value).is_none() {
                    return Err(Cause::HostMalformed.into());
                }
                host = Some(value);
            }
            6 if name.eq_ignore_ascii_case(b"accept") => accept = accept.or(Some(Span::of(head, value))),
            6 if name.eq_ignore_ascii_case(b"expect") => {
                if !value.eq_ignore_ascii_case(b"100-continue") {
                    return Err(Cause::ExpectationUnknown.into());
                }
                expect = true;
            }
            7 if name.eq_ignore_ascii_case(b"upgrade") => upgrade = upgrade.or(Some(Span::of(head, value))),
            10 if name.eq_ignore_ascii_case(b"connection") => connection.read(value),
            14 if name.eq_ignore_ascii_case(b"content-length") => framing.length(value)?,
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => framing.encoding(value),
            _ => {}
        }
    }
    if host.is_none() && version == Version::Http11 {
        return Err(Cause::HostMissing.into());
    }
    let body = match framing.settle()? {
        Framing::Unframed => BodySize::None,
        Framing::Length(length) => BodySize::Length(length),
        // RFC 9112, 6.1: nobody who speaks HTTP/1.0 knows this field, so somebody on the way overlooked it.
        Framing::Chunked if version == Version::Http10 => {
            return Err(Violation { status: 400, what: Cause::EncodingUnsupported });
        }
        Framing::Chunked => BodySize::Chunked,
    };
    let has_body = !matches!(body, BodySize::None | BodySize::Length(0));
    Ok(Request {
        fields: Fields::new(Bytes::new(), spans),
        version,
        body,
        keep_alive: !connection.close && (version == Version::Http11 || connection.keep_alive),
        expect_continue: expect && has_body && version == Version::Http11,
        method: Span::of(head, method.as_bytes()),
        target: Span::of(head, target),
        path: Span::of(head, parts.path),
        query: Span::of(head, parts.query),
        host: Span::of(head, parts.authority.or(host).unwrap_or_default()),
        upgrade,
        is_upgrade_asked: connection.upgrade,
        accept,
    })
}

/// Where the head at the start of a node's text ends.
pub(super) fn find_head_end(text: &[u8], limits: &Limits) -> Result<usize, Cause> {
    match HeadScan::default().find(text, limits) {
        Ok(Some(end)) => Ok(end),
        Ok(None) | Err(_) => Err(Cause::ResponseMalformed),
    }
}

/// Reads a response head and keeps it.
pub(super) fn read_response(head: Bytes, limits: &Limits) -> Result<Response, Cause> {
    let mut response = check_response(&head, limits).ok_or(Cause::ResponseMalformed)?;
    response.fields.set_text(head);
    Ok(response)
}

/// The response in `head`, its text still missing.
fn check_response(head: &[u8], limits: &Limits) -> Option<Response> {
    let mut room: Parsed<'_> = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let mut parsed = httparse::Response::new(&mut []);
    let room = &mut room[..limits.fields.min(FIELDS_MAX)];
    let result = httparse::ParserConfig::default().parse_response_with_uninit_headers(&mut parsed, head, room);
    if result != Ok(httparse::Status::Complete(head.len())) {
        return None;
    }
    let status = parsed.code.filter(|code| *code >= 100)?;
    let mut spans = Vec::with_capacity(parsed.headers.len());
    let mut framing = FramingFields::default();
    let mut connection = Connection::default();
    for header in parsed.headers.iter() {
        let (name, value) = (header.name.as_bytes(), trim(header.value));
        spans.push(Field { name: Span::of(head, name), value: Span::of(head, value) });
        match name.len() {
            10 if name.eq_ignore_ascii_case(b"connection") => connection.read(value),
            14 if name.eq_ignore_ascii_case(b"content-length") => framing.length(value).ok()?,
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => framing.encoding(value),
            _ => {}
        }
    }
    Some(Response {
        fields: Fields::new(Bytes::new(), spans),
        status,
        version: if parsed.version == Some(1) { Version::Http11 } else { Version::Http10 },
        framing: framing.settle().ok()?,
        close: connection.close,
        keep_alive: connection.keep_alive,
    })
}

/// Names what is wrong with a head that the parser refused.
fn explain(head: &[u8], error: httparse::Error) -> Cause {
    if memchr::memchr(0, head).is_some() {
        Cause::NulByte
    } else if error == httparse::Error::TooManyHeaders {
        Cause::FieldsTooMany
    } else if error == httparse::Error::Version && names_a_version(head) {
        Cause::VersionUnsupported
    } else if memchr::memchr_iter(b'\r', head).any(|at| head.get(at + 1) != Some(&b'\n')) {
        Cause::BareLineBreak
    } else if memchr::memchr_iter(b'\n', head).any(|at| matches!(head.get(at + 1), Some(b' ' | b'\t'))) {
        Cause::LineFolding
    } else {
        Cause::HeadMalformed
    }
}

/// Whether the request line has three words, and the third is a version of HTTP.
fn names_a_version(head: &[u8]) -> bool {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let mut words = line.split(|byte| *byte == b' ');
    let (_, _, Some(version), None) = (words.next(), words.next(), words.next(), words.next()) else { return false };
    matches!(version, [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
        if major.is_ascii_digit() && minor.is_ascii_digit())
}

/// What the framing fields of a head say together (RFC 9112, 6.3).
#[derive(Default)]
struct FramingFields<'h> {
    length: Option<(&'h [u8], u64)>,
    encodings: u32,
    other_encoding: bool,
}

impl<'h> FramingFields<'h> {
    /// A Content-Length field. Several may say the same in the same digits; lists in one field are refused.
    fn length(&mut self, value: &'h [u8]) -> Result<(), Cause> {
        let number = decimal(value).ok_or(Cause::LengthMalformed)?;
        match self.length {
            Some((digits, _)) if digits != value => return Err(Cause::LengthConflict),
            Some(_) => {}
            None => self.length = Some((value, number)),
        }
        Ok(())
    }

    /// A Transfer-Encoding field.
    fn encoding(&mut self, value: &[u8]) {
        self.encodings += 1;
        self.other_encoding |= !value.eq_ignore_ascii_case(b"chunked");
    }

    fn settle(&self) -> Result<Framing, Cause> {
        match (self.length, self.encodings) {
            (None, 0) => Ok(Framing::Unframed),
            (Some((_, length)), 0) => Ok(Framing::Length(length)),
            (Some(_), _) => Err(Cause::LengthWithEncoding),
            (None, 1) if !self.other_encoding => Ok(Framing::Chunked),
            (None, _) => Err(Cause::EncodingUnsupported),
        }
    }
}

/// What the Connection fields of a head say together.
#[derive(Default)]
struct Connection {
    close: bool,
    keep_alive: bool,
    upgrade: bool,
}

impl Connection {
    fn read(&mut self, value: &[u8]) {
        for token in tokens(value) {
            self.close |= token.eq_ignore_ascii_case(b"close");
            self.keep_alive |= token.eq_ignore_ascii_case(b"keep-alive");
            self.upgrade |= token.eq_ignore_ascii_case(b"upgrade");
        }
    }
}

#[derive(Default)]
struct Target<'h> {
    authority: Option<&'h [u8]>,
    path: &'h [u8],
    query: &'h [u8],
}

/// Takes a target apart: origin form, absolute form of http and https, and `OPTIONS *` (RFC 9112, 3.2). A fragment
/// never belongs into a target.
fn split_target<'h>(method: &[u8], target: &'h [u8]) -> Option<Target<'h>> {
    // The parser has refused white space and control bytes already.
    if !target.is_ascii() || memchr::memchr(b'#', target).is_some() {
        return None;
    }
    if target.first() == Some(&b'/') {
        let (path, query) = split_query(target);
        return Some(Target { authority: None, path, query });
    }
    if target == b"*" {
        return (method == b"OPTIONS").then_some(Target { path: target, ..Target::default() });
    }
    let after = |scheme: &[u8]| match target.split_at_checked(scheme.len()) {
        Some((start, rest)) if start.eq_ignore_ascii_case(scheme) => Some(rest),
        Some(_) | None => None,
    };
    let rest = after(b"http://").or_else(|| after(b"https://"))?;
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(end);
    split_authority(authority)?;
    let (path, query) = split_query(rest);
    Some(Target { authority: Some(authority), path, query })
}

fn split_query(target: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memchr(b'?', target) {
        Some(at) => (&target[..at], &target[at + 1..]),
        None => (target, b""),
    }
}

/// Takes an authority apart: host name, IPv4 address or IPv6 address in brackets, and the port if there is one.
/// `None` if it is none of these, or has user information (RFC 9110, 4.2.4 calls that an error).
pub fn split_authority(authority: &[u8]) -> Option<(&[u8], Option<u16>)> {
    let name_end = match authority.first()? {
        b'[' => memchr::memchr(b']', authority)? + 1,
        _ => memchr::memchr(b':', authority).unwrap_or(authority.len()),
    };
    let (name, rest) = authority.split_at(name_end);
    let port = match rest {
        [] | [b':'] => None,
        [b':', digits @ ..] if digits.len() <= 5 => Some(decimal(digits)?.try_into().ok()?),
        _ => return None,
    };
    let sound = match name {
        [b'[', address @ .., b']'] => core::str::from_utf8(address).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok()),
        [] => false,
        name => is_reg_name(name),
    };
    sound.then_some((name, port))
}

/// Whether `name` is a reg-name (RFC 3986, 3.2.2); an IPv4 address is one too.
fn is_reg_name(name: &[u8]) -> bool {
    if !name.iter().all(|byte| REG_NAME[usize::from(*byte)]) {
        return false;
    }
    memchr::memchr_iter(b'%', name)
        .all(|at| name.get(at + 1..at + 3).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)))
}

/// Bytes of a reg-name: unreserved, sub-delims, and the percent sign, which two hexadecimal digits have to follow.
const REG_NAME: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let others = b"-._~!$&'()*+,;=%";
    let mut i = 0;
    while i < others.len() {
        table[others[i] as usize] = true;
        i += 1;
    }
    table
};

/// Whether a method is registered with IANA and passed on. CONNECT asks for a tunnel, PRI opens HTTP/2: neither is.
fn is_method(method: &[u8]) -> bool {
    // The common ones first: the compiler compares lengths before bytes.
    matches!(method, b"GET" | b"POST" | b"HEAD" | b"PUT" | b"DELETE" | b"OPTIONS" | b"PATCH")
        || matches!(
            method,
            b"ACL"
                | b"BASELINE-CONTROL"
                | b"BIND"
                | b"CHECKIN"
                | b"CHECKOUT"
                | b"COPY"
                | b"LABEL"
                | b"LINK"
                | b"LOCK"
                | b"MERGE"
                | b"MKACTIVITY"
                | b"MKCALENDAR"
                | b"MKCOL"
                | b"MKREDIRECTREF"
                | b"MKWORKSPACE"
                | b"MOVE"
                | b"ORDERPATCH"
                | b"PROPFIND"
                | b"PROPPATCH"
                | b"REBIND"
                | b"REPORT"
                | b"SEARCH"
                | b"TRACE"
                | b"UNBIND"
                | b"UNCHECKOUT"
                | b"UNLINK"
                | b"UNLOCK"
                | b"UPDATE"
                | b"UPDATEREDIRECTREF"
                | b"VERSION-CONTROL"
        )
}

/// Whether a method asks for nothing to be changed (RFC 9110, 9.2.1; WebDAV's by the IANA registry).
pub fn is_safe(method: &[u8]) -> bool {
    matches!(method, b"GET" | b"HEAD" | b"OPTIONS" | b"TRACE" | b"PROPFIND" | b"REPORT" | b"SEARCH")
}

/// Whether a request of this method may be repeated without further effect (RFC 9110, 9.2.2).
pub fn is_idempotent(method: &[u8]) -> bool {
    is_safe(method) || matches!(method, b"PUT" | b"DELETE")
}

/// The elements of a comma-separated list, empty ones left out (RFC 9110, 5.6.1).
pub fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(trim).filter(|token| !token.is_empty())
}

/// Whether a comma-separated list has this token, whatever its case.
pub fn has_token(value: &[u8], token: &str) -> bool {
    tokens(value).any(|found| found.eq_ignore_ascii_case(token.as_bytes()))
}

/// A run of digits as a number; `None` for anything else and for more than 64 bits hold.
fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

/// Appends a number in decimal digits.
pub(crate) fn push_decimal(text: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    text.extend_from_slice(&digits[start..]);
}

/// Without the optional white space around it: spaces and tabs only.
fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}
