//! Heads, from HTTP/2's to ours and back (RFC 9113, 8.2 and 8.3).
//!
//! A request becomes the text of an HTTP/1.1 head, which is read by the rules that hold for all requests: whoever looks
//! at it later, a node above all, sees no difference.

use alloc::vec::Vec;

use ::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use ::http::request::Parts;
use ::http::{Method, StatusCode};
use bytes::Bytes;

use crate::error::{Cause, Violation};
use crate::http::{AddedField, Fields, Request, Response, Version, tokens};
use crate::limits::Limits;

/// Room for a request line and a Host field beside their values, and for an upgrade.
const FIXED: usize = 96;

/// A header list that the protocol's machine takes is counted with this much for each field (RFC 9113, 6.5.2).
pub(super) const FIELD_OVERHEAD: usize = 32;

/// The request that `parts` and a stream that has `ended`, or not, make together.
pub(super) fn read_request(parts: &Parts, ended: bool, limits: &Limits) -> Result<Request, Violation> {
    let text = request_text(parts)?;
    Request::from_stream(Bytes::from(text), ended, Version::Http2, limits)
}

/// Whether the request asks for an extended CONNECT (RFC 8441).
pub(super) fn is_extended_connect(parts: &Parts) -> bool {
    parts.extensions.get::<h2::ext::Protocol>().is_some()
}

fn request_text(parts: &Parts) -> Result<Vec<u8>, Cause> {
    let protocol = parts.extensions.get::<h2::ext::Protocol>();
    let method = match protocol {
        Some(protocol) if protocol.as_str() != "websocket" => return Err(Cause::ProtocolUnsupported),
        Some(_) => Method::GET.as_str(),
        None if parts.method == Method::CONNECT => return Err(Cause::MethodUnsupported),
        None => parts.method.as_str(),
    };
    let target = parts.uri.path_and_query().map_or("", |target| target.as_str());
    // In absolute form it would stand for the authority too (RFC 9113, 8.3.1: a path, or an asterisk).
    if !target.starts_with('/') && target != "*" {
        return Err(Cause::TargetMalformed);
    }
    if parts.uri.scheme_str().is_some_and(|scheme| scheme != "http" && scheme != "https") {
        return Err(Cause::TargetMalformed);
    }
    let fields = &parts.headers;
    let size = fields.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum::<usize>();
    let authority = parts.uri.authority().map(|authority| authority.as_str());
    let mut text = Vec::with_capacity(FIXED + target.len() + authority.map_or(0, str::len) + size);
    for part in [method, " ", target, " HTTP/1.1\r\n"] {
        text.extend_from_slice(part.as_bytes());
    }
    if let Some(authority) = authority {
        push_field(&mut text, "host", authority.as_bytes());
    }
    if protocol.is_some() {
        text.extend_from_slice(b"connection: Upgrade\r\nupgrade: websocket\r\n");
    }
    // All values of a name come together.
    let mut last = None;
    for (name, value) in fields {
        if let Some(authority) = authority.filter(|_| *name == header::HOST) {
            if !value.as_bytes().eq_ignore_ascii_case(authority.as_bytes()) {
                return Err(Cause::HostMalformed);
            }
        } else if last == Some(name) {
            join_value(&mut text, name, value.as_bytes());
        } else {
            push_field(&mut text, name.as_str(), value.as_bytes());
        }
        last = Some(name);
    }
    text.extend_from_slice(b"\r\n");
    Ok(text)
}

fn push_field(text: &mut Vec<u8>, name: &str, value: &[u8]) {
    text.extend_from_slice(name.as_bytes());
    text.extend_from_slice(b": ");
    text.extend_from_slice(value);
    text.extend_from_slice(b"\r\n");
}

/// Appends a further value to the field that was pushed last: the crumb of a cookie (RFC 9113, 8.2.3) or the element of a
/// list.
fn join_value(text: &mut Vec<u8>, name: &HeaderName, value: &[u8]) {
    // Several lengths are known to be equal: the protocol's machine has compared them.
    if *name == header::CONTENT_LENGTH {
        return;
    }
    text.truncate(text.len() - 2);
    text.extend_from_slice(if *name == header::COOKIE { b"; " } else { b", " });
    text.extend_from_slice(value);
    text.extend_from_slice(b"\r\n");
}

/// The head of a response as HTTP/2 has it: without the fields of one hop (RFC 9113, 8.2.2), and without a length where
/// there is no body. `status` may differ from the response's own.
///
/// Returns `None` for one that cannot be said in HTTP/2.
pub(super) fn response_head(response: &Response, status: u16) -> Option<::http::Response<()>> {
    let mut head = ::http::Response::new(());
    *head.status_mut() = StatusCode::from_u16(status).ok()?;
    let answers_upgrade = status != response.status;
    let drop_length = status < 200 || status == 204 || answers_upgrade;
    let fields = head.headers_mut();
    fields.reserve(response.fields.len());
    push_fields(fields, &response.fields, response.text(), |name| {
        (drop_length && *name == header::CONTENT_LENGTH) || (answers_upgrade && *name == header::SEC_WEBSOCKET_ACCEPT)
    })?;
    Some(head)
}

/// Adds a field to a head that has none of its name.
pub(super) fn add_field(head: &mut ::http::Response<()>, field: &AddedField) {
    let (name, value) = (HeaderName::from_bytes(field.name()), HeaderValue::from_maybe_shared(field.value()));
    if let (Ok(name), Ok(value)) = (name, value)
        && !head.headers().contains_key(&name)
    {
        // It fails where there are too many fields for one more.
        let _ = head.headers_mut().try_append(name, value);
    }
}

/// The head of a request that is pushed.
pub(super) fn pushed_head(request: &Request, https: bool) -> Option<::http::Request<()>> {
    let (host, target) = (core::str::from_utf8(request.host()).ok()?, core::str::from_utf8(request.target()).ok()?);
    let uri = ::http::Uri::builder().scheme(if https { "https" } else { "http" }).authority(host);
    let mut head = ::http::Request::new(());
    *head.method_mut() = Method::from_bytes(request.method()).ok()?;
    *head.uri_mut() = uri.path_and_query(target).build().ok()?;
    push_fields(head.headers_mut(), &request.fields, request.text(), |name| *name == header::HOST)?;
    Some(head)
}

fn push_fields(
    into: &mut HeaderMap,
    fields: &Fields,
    text: &Bytes,
    mut leave_out: impl FnMut(&HeaderName) -> bool,
) -> Option<()> {
    let mut named: Vec<&[u8]> = Vec::new();
    for (name, value) in fields.iter() {
        let name = HeaderName::from_bytes(name).ok()?;
        if name == header::CONNECTION {
            named.extend(tokens(value));
            continue;
        }
        if is_of_one_hop(&name) || leave_out(&name) {
            continue;
        }
        let value = if value.is_empty() { Bytes::new() } else { text.slice_ref(value) };
        into.try_append(name, HeaderValue::from_maybe_shared(value).ok()?).ok()?;
    }
    for name in named {
        if let Ok(name) = HeaderName::from_bytes(name) {
            into.remove(name);
        }
    }
    Some(())
}

fn is_of_one_hop(name: &HeaderName) -> bool {
    *name == header::TRANSFER_ENCODING
        || *name == header::UPGRADE
        || *name == header::TE
        || matches!(name.as_str(), "keep-alive" | "proxy-connection" | "http2-settings")
}
