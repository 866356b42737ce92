//! The opening handshake (RFC 6455, 4) and what it agrees on (RFC 7692, 5 and 7.1), by section.

use super::*;
use crate::http::{Request, RequestBuilder, Response};
use crate::websocket::handshake::{self, Offer};

const LINES: &[&str] = &[
    "Host: server.example.com",
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version: 13",
];

/// The request of the RFC's example, with `more` lines.
fn asked(more: &[&str]) -> Request {
    request("GET /chat HTTP/1.1", &[LINES, more].concat())
}

fn request(line: &str, fields: &[&str]) -> Request {
    let head = [&[line], fields, &["", ""]].concat().join("\r\n");
    Request::parse(head.as_bytes(), &Limits::DEFAULT).unwrap()
}

/// The example's request with the line that begins with `name` replaced by `line`, or left out if that is empty.
fn changed(name: &str, line: &str) -> Request {
    let lines: Vec<&str> = LINES.iter().map(|old| if old.starts_with(name) { line } else { old }).collect();
    let lines: Vec<&str> = lines.into_iter().filter(|line| !line.is_empty()).collect();
    request("GET /chat HTTP/1.1", &lines)
}

#[track_caller]
fn is_refused(request: &Request, cause: Cause, status: u16) {
    assert_eq!(handshake::read(request).map(|_| ()), Err(cause), "{request:?}");
    assert_eq!(cause.status(), status);
}

/// 1.3 and 4.2.2: the example of a handshake.
#[test]
fn section_4_2_2_the_key_of_the_rfc_gets_the_answer_of_the_rfc() {
    let request = asked(&["Origin: http://example.com", "Sec-WebSocket-Protocol: chat, superchat"]);
    assert!(handshake::is_requested(&request));
    let offer = handshake::read(&request).unwrap();
    assert_eq!(offer.origin(), Some(&b"http://example.com"[..]));
    let response = handshake::accept(&offer, Some(b"chat"), None, None).unwrap();
    assert_eq!(
        &response.text()[..],
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: chat\r\n\r\n"
    );
}

/// 4.2.1: Upgrade and Connection are lists of tokens, whatever their case.
#[test]
fn section_4_2_1_an_upgrade_is_asked_for_among_other_tokens() {
    assert!(handshake::read(&changed("Upgrade", "Upgrade: h2c, WebSocket")).is_ok());
    assert!(handshake::read(&changed("Connection", "Connection: keep-alive, UPGRADE")).is_ok());
    for (request, is_requested) in [
        (changed("Upgrade", ""), false),
        (changed("Upgrade", "Upgrade: h2c"), false),
        (changed("Upgrade", "Upgrade: websocket2"), false),
        (changed("Connection", ""), true),
        (changed("Connection", "Connection: close"), true),
    ] {
        assert_eq!(handshake::is_requested(&request), is_requested);
        is_refused(&request, Cause::WebSocketHandshake, 400);
    }
}

/// 4.1: "The method of the request MUST be GET, and the HTTP version MUST be at least 1.1."
#[test]
fn section_4_1_the_request_is_a_get_of_http_1_1_without_a_body() {
    for method in ["POST", "HEAD", "PUT"] {
        is_refused(&request(&[method, " / HTTP/1.1"].concat(), LINES), Cause::WebSocketMethod, 405);
    }
    is_refused(&request("GET / HTTP/1.0", LINES), Cause::WebSocketHandshake, 400);
    is_refused(&asked(&["Content-Length: 1"]), Cause::WebSocketHandshake, 400);
    is_refused(&asked(&["Transfer-Encoding: chunked"]), Cause::WebSocketHandshake, 400);
    assert!(handshake::read(&asked(&["Content-Length: 0"])).is_ok());
}

/// 4.2.2 and 4.4: another version gets 426, which tells the right one.
#[test]
fn section_4_4_another_version_is_refused() {
    for line in ["", "Sec-WebSocket-Version: 8", "Sec-WebSocket-Version: 13, 8", "Sec-WebSocket-Version: 013"] {
        is_refused(&changed("Sec-WebSocket-Version", line), Cause::WebSocketVersion, 426);
    }
    is_refused(&asked(&["Sec-WebSocket-Version: 13"]), Cause::WebSocketHandshake, 400);
}

/// 4.2.1: "a base64-encoded value that, when decoded, is 16 bytes in length", once.
#[test]
fn section_4_2_1_the_key_is_16_bytes() {
    for key in [
        "",
        "dGhlIHNhbXBsZSBub25jZQ=",
        "dGhlIHNhbXBsZSBub25jZQ",
        "dGhlIHNhbXBsZSBub25j!Q==",
        "AAAA",
        "dGhlIHNhbXBsZSBub25jZQQ==",
    ] {
        let line = ["Sec-WebSocket-Key: ", key].concat();
        is_refused(&changed("Sec-WebSocket-Key", &line), Cause::WebSocketKey, 400);
    }
    is_refused(&changed("Sec-WebSocket-Key", ""), Cause::WebSocketKey, 400);
    is_refused(&asked(&[LINES[3]]), Cause::WebSocketKey, 400);
}

#[test]
fn an_origin_comes_once() {
    is_refused(&asked(&["Origin: https://a", "Origin: https://b"]), Cause::WebSocketHandshake, 400);
    assert_eq!(handshake::read(&asked(&[])).unwrap().origin(), None);
}

/// 11.3.4: Sec-WebSocket-Protocol "MAY appear multiple times in an HTTP request (which is logically the same as a
/// single field that contains all values)".
#[test]
fn section_11_3_4_sub_protocols_may_come_in_several_fields() {
    let request = asked(&["Sec-WebSocket-Protocol: one,two ,", "Sec-WebSocket-Protocol: three"]);
    let offer = handshake::read(&request).unwrap();
    assert_eq!(offer.protocols().collect::<Vec<_>>(), [b"one".as_slice(), b"two", b"three"]);
    let ours = ["three", "two", "four"].map(Into::into);
    assert_eq!(offer.choose_protocol(&ours), Some("two"));
    assert_eq!(offer.choose_protocol(&ours[2..]), None);
    for wrong in ["one two", "a/b", "\"a\"", "a;b"] {
        let line = ["Sec-WebSocket-Protocol: ", wrong].concat();
        is_refused(&asked(&[&line]), Cause::WebSocketHandshake, 400);
    }
}

fn shaped(text: &'static str) -> Response {
    Response::parse(Bytes::from_static(text.as_bytes()), &Limits::DEFAULT).unwrap().0
}

#[test]
fn a_shaped_101_keeps_its_fields_but_for_those_of_the_handshake() {
    let request = asked(&["Sec-WebSocket-Protocol: chat, other"]);
    let offer = handshake::read(&request).unwrap();
    let theirs = shaped(
        "HTTP/1.1 101 Go\r\nSet-Cookie: a=b\r\nUpgrade: x\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\n\
        Sec-WebSocket-Accept: wrong\r\nSec-WebSocket-Extensions: wrong\r\nSec-WebSocket-Version: 8\r\n\
        Content-Length: 5\r\nKeep-Alive: 5\r\nSec-WebSocket-Protocol: other\r\nSet-Cookie: c=d\r\n\r\n",
    );
    let response = handshake::accept(&offer, Some(b"chat"), Some(Deflate::default()), Some(&theirs)).unwrap();
    let fields: Vec<_> = response.fields.iter().map(|(name, value)| [name, b": ", value].concat()).collect();
    let expected: &[&[u8]] = &[
        b"Upgrade: websocket",
        b"Connection: Upgrade",
        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
        b"Set-Cookie: a=b",
        b"Set-Cookie: c=d",
        b"Sec-WebSocket-Protocol: other",
        b"Sec-WebSocket-Extensions: permessage-deflate",
    ];
    assert_eq!(fields, expected);
}

/// 4.2.2: a sub-protocol that was not offered must not be chosen.
#[test]
fn section_4_2_2_a_sub_protocol_is_one_of_those_offered() {
    let request = asked(&["Sec-WebSocket-Protocol: chat"]);
    let offer = handshake::read(&request).unwrap();
    let malformed = Err(Cause::ResponseMalformed);
    assert_eq!(handshake::accept(&offer, Some(b"Chat"), None, None), malformed);
    for head in [
        "HTTP/1.1 101 Go\r\nSec-WebSocket-Protocol: other\r\n\r\n",
        "HTTP/1.1 101 Go\r\nSec-WebSocket-Protocol: chat, other\r\n\r\n",
        "HTTP/1.1 101 Go\r\nSec-WebSocket-Protocol: chat\r\nSec-WebSocket-Protocol: chat\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\n",
    ] {
        assert_eq!(handshake::accept(&offer, None, None, Some(&shaped(head))), malformed, "{head}");
    }
    let plain = shaped("HTTP/1.1 101 Go\r\n\r\n");
    let response = handshake::accept(&offer, Some(b"chat"), None, Some(&plain)).unwrap();
    assert_eq!(response.fields.find("sec-websocket-protocol"), Some(&b"chat"[..]));
}

/// What a server answers to Sec-WebSocket-Extensions, and what it takes that for.
fn answer(extensions: &[&str], policy: DeflatePolicy) -> Option<alloc::string::String> {
    let lines: Vec<_> = extensions.iter().map(|value| ["Sec-WebSocket-Extensions: ", value].concat()).collect();
    let request = asked(&lines.iter().map(|line| &line[..]).collect::<Vec<_>>());
    let offer: Offer<'_> = handshake::read(&request).unwrap();
    let deflate = offer.deflate(policy);
    let response = handshake::accept(&offer, None, deflate, None).unwrap();
    let value = response.fields.find("sec-websocket-extensions").map(|value| value.escape_ascii().to_string());
    assert_eq!(deflate.is_some(), value.is_some());
    value
}

/// RFC 7692, 5 and 7.1: offers and what is answered to them.
#[test]
fn section_7_1_the_first_offer_that_can_be_accepted_is() {
    let context = |offers: &[&str]| answer(offers, DeflatePolicy::Context);
    for (offer, expected) in [
        ("permessage-deflate", Some("permessage-deflate")),
        ("Permessage-Deflate ; client_max_window_bits", Some("permessage-deflate")),
        ("x-webkit-deflate-frame, permessage-deflate", Some("permessage-deflate")),
        ("permessage-deflate;server_no_context_takeover", Some("permessage-deflate; server_no_context_takeover")),
        ("permessage-deflate;client_no_context_takeover", Some("permessage-deflate; client_no_context_takeover")),
        ("permessage-deflate;server_max_window_bits=10", Some("permessage-deflate; server_max_window_bits=10")),
        ("permessage-deflate;server_max_window_bits=\"15\"", Some("permessage-deflate; server_max_window_bits=15")),
        ("permessage-deflate;client_max_window_bits=8", Some("permessage-deflate")),
        ("permessage-deflate;server_max_window_bits=8", None),
        ("permessage-deflate;server_max_window_bits=8, permessage-deflate", Some("permessage-deflate")),
        (
            "permessage-deflate;unknown, permessage-deflate; server_max_window_bits=9",
            Some("permessage-deflate; server_max_window_bits=9"),
        ),
        ("permessage-deflate;unknown", None),
        ("permessage-deflate;server_max_window_bits", None),
        ("permessage-deflate;server_max_window_bits=16", None),
        ("permessage-deflate;server_max_window_bits=7", None),
        ("permessage-deflate;server_max_window_bits=010", None),
        ("permessage-deflate;client_max_window_bits=16", None),
        ("permessage-deflate;server_no_context_takeover=1", None),
        ("permessage-deflate;server_no_context_takeover;server_no_context_takeover", None),
        ("permessage-deflate;server_max_window_bits=9;server_max_window_bits=9", None),
        ("permessage-deflate;client_max_window_bits;client_max_window_bits=9", None),
        ("permessage-bzip2", None),
    ] {
        assert_eq!(context(&[offer]).as_deref(), expected, "{offer}");
    }
    assert_eq!(context(&[]), None);
    assert_eq!(context(&["permessage-deflate;x", "permessage-deflate"]).as_deref(), Some("permessage-deflate"));
}

#[test]
fn a_server_that_keeps_no_context_says_so_and_one_that_does_not_compress_answers_nothing() {
    let both = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    for offer in ["permessage-deflate", "permessage-deflate; client_no_context_takeover; client_max_window_bits"] {
        assert_eq!(answer(&[offer], DeflatePolicy::PerMessage).as_deref(), Some(both));
        assert_eq!(answer(&[offer], DeflatePolicy::Off), None);
    }
}

/// 9.1: an extension field outside the grammar fails the connection.
#[test]
fn section_9_1_malformed_extensions_are_refused() {
    for wrong in [
        "permessage-deflate;",
        "permessage-deflate; =1",
        "permessage-deflate; a=",
        "a b",
        "a; b=\"c",
        "a; b=\"c d\"",
        ";",
    ] {
        let line = ["Sec-WebSocket-Extensions: ", wrong].concat();
        is_refused(&asked(&[&line]), Cause::WebSocketHandshake, 400);
    }
}

/// A client's request, an answer to it, and what the client makes of that.
fn checked(
    offered: Option<Deflate>,
    change: impl FnOnce(&Offer<'_>) -> Result<Response, Cause>,
) -> Result<Option<Deflate>, Cause> {
    let mut entropy = SeededEntropy::from_number(4);
    let protocols = ["chat", "news"];
    let (builder, key): (RequestBuilder, _) = handshake::request("/", "example.com", &protocols, offered, &mut entropy);
    let request = builder.field("Origin", "https://example.com").build().unwrap();
    let offer = handshake::read(&request).expect("what a client asks, a server reads");
    assert_eq!(offer.protocols().collect::<Vec<_>>(), [b"chat", b"news"]);
    handshake::check(&change(&offer)?, &key, &protocols, offered)
}

/// 4.1: what a client accepts as an answer.
#[test]
fn section_4_1_a_client_takes_the_answers_of_a_server() {
    assert_eq!(checked(None, |offer| handshake::accept(offer, None, None, None)), Ok(None));
    assert_eq!(checked(None, |offer| handshake::accept(offer, Some(b"news"), None, None)), Ok(None));
    for policy in [DeflatePolicy::Off, DeflatePolicy::PerMessage, DeflatePolicy::Context] {
        for flags in 0..4 {
            for bits in [None, Some(9), Some(12), Some(15)] {
                let offered = Deflate {
                    server_no_context_takeover: flags & 1 == 1,
                    client_no_context_takeover: flags & 2 == 2,
                    server_max_window_bits: bits,
                    client_max_window_bits: bits,
                };
                let mut agreed = None;
                let result = checked(Some(offered), |offer| {
                    agreed = offer.deflate(policy);
                    handshake::accept(offer, None, agreed, None)
                });
                assert_eq!(result, Ok(agreed));
                assert_eq!(agreed.is_some(), policy != DeflatePolicy::Off);
            }
        }
    }
}

/// 4.1: "the client MUST _Fail the WebSocket Connection_" for any other answer.
#[test]
fn section_4_1_a_client_refuses_answers_that_do_not_fit() {
    let with = |deflate: Option<Deflate>, lines: &'static str| {
        checked(deflate, move |offer| {
            let good = handshake::accept(offer, None, None, None).unwrap();
            let text = alloc::string::String::from_utf8(good.text().to_vec()).unwrap();
            let (mut text, mut lines) = (text, lines);
            if let Some((old, new)) = lines.split_once(" => ") {
                assert!(text.contains(old));
                text = text.replace(old, new);
                lines = "";
            }
            let text = text.replace("\r\n\r\n", &["\r\n", lines, "\r\n"].concat());
            Ok(Response::parse(Bytes::from(text), &Limits::DEFAULT).unwrap().0)
        })
    };
    let wrong = Err(Cause::WebSocketHandshake);
    assert_eq!(with(None, ""), Ok(None));
    assert_eq!(with(None, "101 Switching => 200 Fine"), Err(Cause::PeerRefused));
    assert_eq!(with(None, "Upgrade: websocket => Upgrade: other"), wrong);
    assert_eq!(with(None, "Connection: Upgrade => Connection: close"), wrong);
    assert_eq!(with(None, "Sec-WebSocket-Accept: => Sec-WebSocket-Accept: x"), Err(Cause::WebSocketKey));
    assert_eq!(with(None, "Sec-WebSocket-Accept: => X-Accept:"), Err(Cause::WebSocketKey));
    assert_eq!(with(None, "Sec-WebSocket-Protocol: other\r\n"), wrong);
    assert_eq!(with(None, "Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Protocol: news\r\n"), wrong);
    assert_eq!(with(None, "Sec-WebSocket-Extensions: permessage-deflate\r\n"), wrong);
    let plain = Some(Deflate::default());
    for extensions in [
        "Sec-WebSocket-Extensions: other\r\n",
        "Sec-WebSocket-Extensions: permessage-deflate, permessage-deflate\r\n",
        "Sec-WebSocket-Extensions: permessage-deflate; unknown\r\n",
        "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=15\r\n",
        "Sec-WebSocket-Extensions: permessage-deflate;\r\n",
    ] {
        assert_eq!(with(plain, extensions), wrong, "{extensions}");
    }
    let bounded =
        Some(Deflate { server_max_window_bits: Some(10), client_max_window_bits: Some(12), ..Deflate::default() });
    for (extensions, agreed) in [
        ("Sec-WebSocket-Extensions: permessage-deflate\r\n", None),
        ("Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=11\r\n", None),
        ("Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=9; client_max_window_bits=13\r\n", None),
        ("Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=9; client_max_window_bits=8\r\n", None),
        ("Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=9; client_max_window_bits\r\n", None),
        (
            "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=8; client_max_window_bits=9\r\n",
            Some((8, 9)),
        ),
    ] {
        let expected = match agreed {
            None => wrong,
            Some((server, client)) => Ok(Some(Deflate {
                server_max_window_bits: Some(server),
                client_max_window_bits: Some(client),
                ..Deflate::default()
            })),
        };
        assert_eq!(with(bounded, extensions), expected, "{extensions}");
    }
}
