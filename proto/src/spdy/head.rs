//! Heads, from SPDY's to ours and back (draft 3, 3.2).
//!
//! A request becomes the text of an HTTP/1.1 head, which is read by the rules that hold for all requests: whoever looks
//! at it later, a node above all, sees no difference.

use alloc::vec::Vec;

use super::block::{BlockWriter, Pair};
use super::frame::Version;
use crate::error::{Cause, Violation};
use crate::http::{AddedField, BodySize, Fields, Request, Response, reason, tokens};
use crate::limits::Limits;

/// Names that are no field's: of a request's line, its scheme and its host.
pub(super) const SPECIAL: usize = 5;

/// How a version calls what HTTP/1.1 has in its first line and in Host.
struct Names {
    method: &'static [u8],
    target: &'static [u8],
    version: &'static [u8],
    host: &'static [u8],
    scheme: &'static [u8],
    status: &'static [u8],
}

const fn names(version: Version) -> Names {
    match version {
        Version::V2 => Names {
            method: b"method",
            target: b"url",
            version: b"version",
            host: b"host",
            scheme: b"scheme",
            status: b"status",
        },
        Version::V3 | Version::V31 => Names {
            method: b":method",
            target: b":path",
            version: b":version",
            host: b":host",
            scheme: b":scheme",
            status: b":status",
        },
    }
}

/// The names of a head, taken together.
pub(super) struct Head<'p> {
    pairs: &'p [Pair<'p>],
    version: Version,
}

impl<'p> Head<'p> {
    pub(super) fn new(pairs: &'p [Pair<'p>], version: Version) -> Self {
        Self { pairs, version }
    }

    pub(super) fn find(&self, name: &[u8]) -> Option<&'p [u8]> {
        self.pairs.iter().find(|pair| pair.name == name).map(|pair| pair.value)
    }

    pub(super) fn method(&self) -> Option<&'p [u8]> {
        self.find(names(self.version).method)
    }

    pub(super) fn has_status(&self) -> bool {
        self.find(names(self.version).status).is_some()
    }

    /// The request that this head and a stream that has `ended`, or not, make together.
    pub(super) fn read_request(&self, ended: bool, limits: &Limits) -> Result<Request, Violation> {
        let names = names(self.version);
        let find = |name| self.find(name).ok_or(Cause::HeadMalformed);
        let method = find(names.method)?;
        let (host, target) = self.host_and_target()?;
        if !matches!(find(names.scheme)?, b"http" | b"https") {
            return Err(Cause::TargetMalformed.into());
        }
        if !matches!(find(names.version)?, b"HTTP/1.1" | b"HTTP/1.0") {
            return Err(Cause::VersionUnsupported.into());
        }
        self.request(method, target, host, ended, limits)
    }

    /// The request that a server answers without having been asked.
    pub(super) fn read_promise(&self, limits: &Limits) -> Result<Request, Violation> {
        let (host, target) = self.host_and_target()?;
        let mut text = request_line(b"GET", target, host, 0)?;
        text.extend_from_slice(b"\r\n");
        Request::from_stream(text.into(), true, self.version.into(), limits)
    }

    /// In SPDY/2 a URL may name the host too, which no field overrides then (draft 2, "Request"): those of pushed responses
    /// do, and those that some clients ask for.
    fn host_and_target(&self) -> Result<(&'p [u8], &'p [u8]), Cause> {
        let names = names(self.version);
        let target = self.find(names.target).ok_or(Cause::HeadMalformed)?;
        let after = |scheme: &[u8]| target.strip_prefix(scheme);
        let absolute = after(b"http://").or_else(|| after(b"https://"));
        match absolute.filter(|_| self.version == Version::V2) {
            Some(rest) => match memchr::memchr(b'/', rest) {
                Some(at) => Ok(rest.split_at(at)),
                None => Ok((rest, b"/")),
            },
            None => Ok((self.find(names.host).ok_or(Cause::HostMissing)?, target)),
        }
    }

    fn request(
        &self,
        method: &[u8],
        target: &[u8],
        host: &[u8],
        ended: bool,
        limits: &Limits,
    ) -> Result<Request, Violation> {
        let mut text = request_line(method, target, host, self.size())?;
        for pair in self.pairs {
            if self.is_special(pair.name) {
                continue;
            }
            if self.is_forbidden(pair.name) || pair.name == b"host" {
                return Err(Cause::FieldForbidden.into());
            }
            if is_of_one_hop(pair.name) {
                continue;
            }
            if pair.name.starts_with(b":") {
                return Err(Cause::HeadMalformed.into());
            }
            text.extend_from_slice(pair.name);
            let mut joint: &[u8] = b": ";
            for value in pair.values() {
                text.extend_from_slice(joint);
                text.extend_from_slice(value);
                joint = if pair.name == b"cookie" { b"; " } else { b", " };
            }
            text.extend_from_slice(b"\r\n");
        }
        text.extend_from_slice(b"\r\n");
        let mut request = Request::from_stream(text.into(), false, self.version.into(), limits)?;
        if ended {
            // A length that nothing comes up to is a wrong one (draft 3, 3.2.1).
            if matches!(request.body, BodySize::Length(length) if length > 0) {
                return Err(Cause::LengthWrong.into());
            }
            request.body = BodySize::None;
        }
        // There is nothing to say it with: a client that expects it sends its body all the same.
        request.expect_continue = false;
        Ok(request)
    }

    /// The response of this head.
    pub(super) fn read_response(&self, limits: &Limits) -> Result<Response, Cause> {
        let names = names(self.version);
        let status = self.find(names.status).ok_or(Cause::ResponseMalformed)?;
        self.find(names.version).ok_or(Cause::ResponseMalformed)?;
        let (digits, rest) = status.split_at_checked(3).ok_or(Cause::ResponseMalformed)?;
        let is_sound = rest.is_empty() || rest[0] == b' ' && rest.iter().all(|byte| (b' '..=b'~').contains(byte));
        if !is_sound || !digits.iter().all(u8::is_ascii_digit) {
            return Err(Cause::ResponseMalformed);
        }
        let mut text = Vec::with_capacity(32 + self.size());
        text.extend_from_slice(b"HTTP/1.1 ");
        text.extend_from_slice(if rest.is_empty() { digits } else { status });
        text.extend_from_slice(b"\r\n");
        for pair in self.pairs {
            // Those of a pushed response name what it answers.
            if self.is_special(pair.name) || pair.name == names.status {
                continue;
            }
            if self.is_forbidden(pair.name) || pair.name.starts_with(b":") {
                return Err(Cause::ResponseMalformed);
            }
            if is_of_one_hop(pair.name) {
                continue;
            }
            for value in pair.values() {
                text.extend_from_slice(pair.name);
                text.extend_from_slice(b": ");
                text.extend_from_slice(value);
                text.extend_from_slice(b"\r\n");
            }
        }
        text.extend_from_slice(b"\r\n");
        if text.len() > limits.head_bytes {
            return Err(Cause::ResponseMalformed);
        }
        let mut response = Response::from_head(text.into(), limits)?;
        response.version = self.version.into();
        Ok(response)
    }

    /// Whether a field may not be sent (draft 3, 3.2.1). SPDY/2 has most of them ignored (draft 2, "Request").
    fn is_forbidden(&self, name: &[u8]) -> bool {
        match self.version {
            Version::V2 => name == b"transfer-encoding",
            Version::V3 | Version::V31 => is_never_sent(name),
        }
    }

    fn is_special(&self, name: &[u8]) -> bool {
        let names = names(self.version);
        [names.method, names.target, names.version, names.host, names.scheme].contains(&name)
    }

    /// What the fields take as text, but for what joins the values of one.
    fn size(&self) -> usize {
        self.pairs.iter().map(|pair| pair.name.len() + pair.value.len() + 4).sum()
    }
}

/// The start of a request's text: the line, and Host.
fn request_line(method: &[u8], target: &[u8], host: &[u8], more: usize) -> Result<Vec<u8>, Cause> {
    // Whatever could pass for more than one part of the line.
    let is_one_part = |part: &[u8]| part.iter().all(u8::is_ascii_graphic);
    if !is_one_part(method) || !is_one_part(target) || !(target.starts_with(b"/") || target == b"*") {
        return Err(Cause::TargetMalformed);
    }
    if !is_one_part(host) {
        return Err(Cause::HostMalformed);
    }
    let mut text = Vec::with_capacity(method.len() + target.len() + host.len() + more + 32);
    for part in [method, b" ", target, b" HTTP/1.1\r\nhost: ", host, b"\r\n"] {
        text.extend_from_slice(part);
    }
    Ok(text)
}

/// What a pushed response answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Promise {
    pub(super) request: Request,
    pub(super) https: bool,
}

/// Writes the URL that a pushed response answers. Some clients look for a method there too.
pub(super) fn write_promise(writer: &mut BlockWriter<'_>, promise: &Promise, version: Version) {
    let names = names(version);
    let scheme: &[u8] = if promise.https { b"https" } else { b"http" };
    let (host, target) = (promise.request.host(), promise.request.target());
    writer.field(names.method, promise.request.method());
    match version {
        Version::V2 => writer.field_of(names.target, &[scheme, b"://", host, target]),
        Version::V3 | Version::V31 => writer.field(names.target, target),
    }
    writer.field(names.host, host);
    writer.field(names.scheme, scheme);
}

/// Writes a response's head: without the fields of one hop, and without a length where there is no body.
pub(super) fn write_response(
    writer: &mut BlockWriter<'_>,
    response: &Response,
    added: Option<&AddedField>,
    version: Version,
) {
    let names = names(version);
    let status = [100, 10, 1].map(|place| b'0' + (response.status / place % 10) as u8);
    match reason(response.status) {
        "Unknown" => writer.field(names.status, &status),
        phrase => writer.field_of(names.status, &[&status, b" ", phrase.as_bytes()]),
    }
    writer.field(names.version, b"HTTP/1.1");
    let drops_length = response.status == 204;
    let is_left_out = |name: &[u8]| drops_length && name.eq_ignore_ascii_case(b"content-length");
    write_fields(writer, &response.fields, version, is_left_out);
    if let Some(field) = added.filter(|field| !field.is_in(&response.fields)) {
        writer.field(field.name(), &field.value());
    }
}

/// Writes a request's head.
pub(super) fn write_request(writer: &mut BlockWriter<'_>, request: &Request, https: bool, version: Version) {
    let names = names(version);
    writer.field(names.method, request.method());
    writer.field(names.target, request.target());
    writer.field(names.version, b"HTTP/1.1");
    writer.field(names.host, request.host());
    writer.field(names.scheme, if https { b"https" } else { b"http" });
    write_fields(writer, &request.fields, version, |name| name.eq_ignore_ascii_case(b"host"));
}

/// Whether a request can be said: its target has to begin with the path.
pub(super) fn is_sayable(request: &Request) -> bool {
    let target = request.target();
    (target.starts_with(b"/") || target == b"*") && !request.host().is_empty()
}

fn write_fields(writer: &mut BlockWriter<'_>, fields: &Fields, version: Version, is_left_out: impl Fn(&[u8]) -> bool) {
    let connection = fields.find("connection").is_some();
    let is_named = |name: &[u8]| {
        let named = || fields.all("connection").flat_map(tokens).any(|token| token.eq_ignore_ascii_case(name));
        connection && named()
    };
    for (place, (name, value)) in fields.iter().enumerate() {
        if is_of_one_hop(name) || is_left_out(name) || is_named(name) || is_unsayable(name, version) {
            continue;
        }
        let is_alike = |other: &[u8]| other.len() == name.len() && other.eq_ignore_ascii_case(name);
        let is_empty = value.is_empty() && !fields.iter().any(|(other, value)| !value.is_empty() && is_alike(other));
        // SPDY/2 has no empty values (draft 2, "Name/Value header block format").
        if is_empty && version == Version::V2 {
            continue;
        }
        // No name may come twice: its values are together where it stood first.
        if fields.iter().take(place).any(|(other, _)| is_alike(other)) {
            continue;
        }
        if fields.iter().skip(place + 1).any(|(other, _)| is_alike(other)) {
            writer.field_joined(name, fields.iter().filter(|(other, _)| is_alike(other)).map(|(_, value)| value));
        } else {
            writer.field(name, value);
        }
    }
}

/// Whether a field would pass for a part of the first line: in SPDY/2 nothing tells them apart.
fn is_unsayable(name: &[u8], version: Version) -> bool {
    let parts: [&[u8]; 6] = [b"method", b"url", b"version", b"host", b"scheme", b"status"];
    version == Version::V2 && parts.iter().any(|part| part.eq_ignore_ascii_case(name))
}

/// Fields that may not be sent, whatever their case.
fn is_never_sent(name: &[u8]) -> bool {
    match name.len() {
        10 => name.eq_ignore_ascii_case(b"connection") || name.eq_ignore_ascii_case(b"keep-alive"),
        16 => name.eq_ignore_ascii_case(b"proxy-connection"),
        17 => name.eq_ignore_ascii_case(b"transfer-encoding"),
        _ => false,
    }
}

/// Those, and the fields that mean nothing behind this connection.
fn is_of_one_hop(name: &[u8]) -> bool {
    is_never_sent(name) || name.eq_ignore_ascii_case(b"te") || name.eq_ignore_ascii_case(b"upgrade")
}
