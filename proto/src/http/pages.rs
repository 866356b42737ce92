//! Error pages: small, in text or HTML as the client likes, with the cause.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;

use bytes::Bytes;

use super::build::reason;
use super::head::{Framing, Response};
use super::rules::tokens;
use crate::error::Cause;

/// The operator's own pages by status; every other status gets a page made here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pages(BTreeMap<u16, Bytes>);

impl Pages {
    /// Pages whose bodies are given by status. A body that starts with `<` is HTML, any other plain text.
    pub fn new(bodies: BTreeMap<u16, Bytes>) -> Self {
        Self(bodies)
    }

    /// The answer that tells a client of `cause`, and its body. `accept` is the request's Accept field; without one,
    /// or where it leaves the choice open, the page is plain text (RFC 9110, 12.5.1). A status that is none of a
    /// final response's, 200 to 999, is taken for 500.
    pub fn render(&self, cause: Cause, status: u16, accept: Option<&[u8]>) -> (Response, Bytes) {
        let status = if (200..1000).contains(&status) { status } else { 500 };
        let (html, body) = match self.0.get(&status) {
            Some(body) => (body.trim_ascii_start().starts_with(b"<"), body.clone()),
            None => {
                let html = accept.is_some_and(prefers_html);
                (html, Bytes::from(if html { html_page(cause, status) } else { text_page(cause, status) }))
            }
        };
        let kind = if html { "text/html; charset=utf-8" } else { "text/plain; charset=utf-8" };
        let mut head =
            Response::builder(status).field("Content-Type", kind).framing(Framing::Length(body.len() as u64));
        for (name, value) in hints(cause, status) {
            head = head.field(name, value);
        }
        let head = head.build().expect("a status of three digits and fields without line breaks make a sound head");
        (head, body)
    }
}

/// Fields that tell a client what would do better.
fn hints(cause: Cause, status: u16) -> &'static [(&'static str, &'static str)] {
    match (cause, status) {
        (_, 503) => &[("Retry-After", "1")],
        // RFC 9110, 15.5.6.
        (Cause::WebSocketMethod, 405) => &[("Allow", "GET")],
        // RFC 6455, 4.4; RFC 9110, 15.5.22.
        (Cause::WebSocketVersion, 426) => {
            &[("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Version", "13")]
        }
        _ => &[],
    }
}

fn text_page(cause: Cause, status: u16) -> String {
    format!("{status} {}\n{cause}: {}\n", reason(status), cause.explain())
}

fn html_page(cause: Cause, status: u16) -> String {
    let reason = reason(status);
    let explanation = cause.explain();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<title>{status} {reason}</title>\n<h1>{status} {reason}</h1>\n\
         <p>{explanation}</p>\n<p><code>{cause}</code></p>\n</html>\n"
    )
}

/// Whether an Accept field wants HTML more than plain text.
pub(crate) fn prefers_html(accept: &[u8]) -> bool {
    let (mut html, mut text) = (Quality::default(), Quality::default());
    for range in tokens(accept) {
        let mut parts = range.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let media = parts.next().unwrap_or_default();
        let weight = parts.find_map(quality).unwrap_or(1000);
        if media.eq_ignore_ascii_case(b"text/html") {
            html.offer(3, weight);
        } else if media.eq_ignore_ascii_case(b"text/plain") {
            text.offer(3, weight);
        } else if media.eq_ignore_ascii_case(b"text/*") {
            html.offer(2, weight);
            text.offer(2, weight);
        } else if media == b"*/*" {
            html.offer(1, weight);
            text.offer(1, weight);
        }
    }
    html.weight > text.weight
}

/// The weight of a media type, from the most specific range that covers it.
#[derive(Default)]
struct Quality {
    rank: u8,
    weight: u32,
}

impl Quality {
    fn offer(&mut self, rank: u8, weight: u32) {
        if rank > self.rank {
            *self = Self { rank, weight };
        }
    }
}

/// A `q=` parameter in thousandths; anything malformed counts as zero.
fn quality(parameter: &[u8]) -> Option<u32> {
    let value = match parameter {
        [b'q' | b'Q', b'=', value @ ..] => value,
        _ => return None,
    };
    let (whole, fraction) = match value {
        [whole] => (whole, &[][..]),
        [whole, b'.', fraction @ ..] if fraction.len() <= 3 => (whole, fraction),
        _ => return Some(0),
    };
    if !whole.is_ascii_digit() || !fraction.iter().all(u8::is_ascii_digit) {
        return Some(0);
    }
    let mut thousandths = u32::from(whole - b'0') * 1000;
    let mut unit = 100;
    for digit in fraction {
        thousandths += u32::from(digit - b'0') * unit;
        unit /= 10;
    }
    Some(thousandths.min(1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn html_is_for_those_who_want_it_more_than_text() {
        let browser = b"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
        for (accept, html) in [
            (&browser[..], true),
            (b"text/html", true),
            (b"TEXT/HTML;level=1;q=0.5", true),
            (b"text/html;q=0.5, text/plain;q=0.4", true),
            (b"*/*", false),
            (b"text/*", false),
            (b"text/html;q=0, */*", false),
            (b"text/html;q=0.3, text/plain", false),
            (b"text/html, text/plain", false),
            (b"text/html;q=x", false),
            (b"application/json", false),
            (b"", false),
        ] {
            assert_eq!(prefers_html(accept), html, "{}", accept.escape_ascii());
        }
    }

    #[test]
    fn a_page_names_its_cause() {
        let pages = Pages::default();
        let (head, body) = pages.render(Cause::NodeMissing, 503, None);
        assert_eq!((head.status, head.framing), (503, Framing::Length(body.len() as u64)));
        assert_eq!(head.fields.find("retry-after"), Some(&b"1"[..]));
        assert_eq!(head.fields.find("content-type"), Some(&b"text/plain; charset=utf-8"[..]));
        assert_eq!(&body[..], b"503 Service Unavailable\nnode-missing: No node of this virtual host is available.\n");
        let (head, body) = pages.render(Cause::HostUnknown, 404, Some(b"text/html"));
        assert_eq!(head.fields.find("content-type"), Some(&b"text/html; charset=utf-8"[..]));
        assert!(body.starts_with(b"<!doctype html>") && body.ends_with(b"</html>\n"));
        assert_eq!(head.fields.find("retry-after"), None);
    }

    #[test]
    fn a_refused_websocket_is_told_what_would_be_accepted() {
        let fields = |cause: Cause, names: &[&str]| {
            let (head, _) = Pages::default().render(cause, cause.status(), None);
            assert!(!head.keep_alive && !head.close);
            names.iter().map(|name| head.fields.find(name).unwrap_or_default().to_vec()).collect::<alloc::vec::Vec<_>>()
        };
        assert_eq!(fields(Cause::WebSocketMethod, &["allow"]), [b"GET"]);
        let names = ["upgrade", "connection", "sec-websocket-version"];
        assert_eq!(fields(Cause::WebSocketVersion, &names), [&b"websocket"[..], b"Upgrade", b"13"]);
        assert_eq!(fields(Cause::WebSocketKey, &["allow", "upgrade"]), [b"", b""]);
    }

    #[test]
    fn every_cause_has_a_page() {
        for cause in Cause::ALL {
            for accept in [None, Some(&b"text/html"[..])] {
                let (head, body) = Pages::default().render(*cause, cause.status(), accept);
                assert_eq!(head.framing, Framing::Length(body.len() as u64));
            }
        }
    }

    #[test]
    fn the_operators_page_comes_first() {
        let text = Bytes::from_static(b"gone fishing");
        let html = Bytes::from_static(b" \n<p>gone fishing");
        let pages = Pages::new(BTreeMap::from([(503, text.clone()), (502, html.clone())]));
        let (head, body) = pages.render(Cause::NodeMissing, 503, Some(b"text/html"));
        assert_eq!((head.fields.find("content-type"), body), (Some(&b"text/plain; charset=utf-8"[..]), text));
        let (head, body) = pages.render(Cause::NodeLost, 502, None);
        assert_eq!((head.fields.find("content-type"), body), (Some(&b"text/html; charset=utf-8"[..]), html));
    }
}
