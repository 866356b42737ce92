//! Byte strings that two lax readers see as different requests. Each must come out as the requests that a strict
//! reading has (RFC 9112, 11.2), never one more.

use super::*;

/// The targets of all requests that come out of `bytes`, each answered at once, and whether the connection goes on.
fn targets(bytes: &[u8]) -> (Vec<String>, bool) {
    let mut server = server();
    let mut targets = Vec::new();
    let mut rest = bytes;
    loop {
        let (events, left) = offer(&mut server, rest);
        for event in &events {
            if let Event::Request(request) = event {
                targets.push(String::from_utf8(request.target().to_vec()).unwrap());
            }
        }
        let progress = server.send(response("HTTP/1.1 204 No Content\r\n\r\n"), NOW).is_ok();
        if !progress && left.len() == rest.len() {
            return (targets, server.is_closing().is_none());
        }
        rest = left;
    }
}

/// A second request, hidden behind `head`.
fn hidden_behind(head: &str) -> Vec<u8> {
    alloc::format!("{head}GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes()
}

#[test]
fn a_head_that_two_readers_could_frame_differently_ends_the_connection() {
    for fields in [
        "Content-Length: 0\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 0",
        "Content-Length: 6\r\nTransfer-Encoding: chunked",
        "Content-Length: 0\r\nContent-Length: 44",
        "Content-Length: 44\r\nContent-Length: 0",
        "Content-Length: 0, 44",
        "Content-Length: 0,0",
        "Content-Length: 0\r\n Content-Length: 44",
        "Content-Length : 44",
        "Content-Length\t: 44",
        "Content-Length: 4 4",
        "Content-Length: +44",
        "Content-Length: 44e0",
        "Content-Length: 0x2c",
        "Content-Length: 44\x0b",
        "Content-Length: \x0c44",
        "Content-Length:\n 44",
        "Content-Length: 44\0",
        "Content-Length: \u{a0}44",
        "Content-Length: 18446744073709551660",
        "Content-Length: 99999999999999999999999999",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding:\x0bchunked",
        "Transfer-Encoding: \x0cchunked",
        "Transfer-Encoding: chunked\x0b",
        "Transfer-Encoding: chunked\0",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunkedx",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: identity, chunked",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: x",
        "Transfer-Encoding: x\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding: chunked;foo=bar",
        "Transfer-Encoding: ,chunked",
        "Transfer-Encoding: \u{212a}chunked",
        "Transfer-Encoding:\r\n chunked",
        "Transfer-Encoding\r\n: chunked",
        " Transfer-Encoding: chunked",
        "X: y\rTransfer-Encoding: chunked",
        "X: y\nTransfer-Encoding: chunked",
        "X: y\n\r\n",
        "X: y\r\r\n",
        "X\0: y",
        "Host: b",
        ": y",
        "X: y\r\n\n",
    ] {
        let bytes = hidden_behind(&alloc::format!("POST /shown HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n0\r\n\r\n"));
        assert_eq!(targets(&bytes), (Vec::new(), false), "{fields:?}");
    }
}

#[test]
fn a_body_that_two_readers_could_frame_differently_ends_the_connection() {
    for chunks in [
        "0\n\r\n",
        "0\r\n\n",
        "0\r\r\n\r\n",
        "0 \r\n\r\n",
        " 0\r\n\r\n",
        "+0\r\n\r\n",
        "-0\r\n\r\n",
        "0x0\r\n\r\n",
        "00000000000000000\r\n\r\n",
        "10000000000000000\r\n\r\n",
        "0;\n\r\n",
        "0;a\rb\r\n\r\n",
        "0;\0\r\n\r\n",
        "1\r\na0\r\n\r\n",
        "1\r\nab\r\n0\r\n\r\n",
        "1\r\na\n0\r\n\r\n",
        "1\r\na\r0\r\n\r\n",
        "1\na\r\n0\r\n\r\n",
        "\r\n0\r\n\r\n",
        "0\r\nX : y\r\n\r\n",
        "0\r\n X: y\r\n\r\n",
        "0\r\nX: y\n\r\n",
        "0\r\nX: y\rZ: z\r\n\r\n",
        "g\r\n\r\n",
        ";\r\n\r\n",
    ] {
        let head = "POST /shown HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        let bytes = hidden_behind(&alloc::format!("{head}{chunks}"));
        let (mut waiting, mut requests) = (server(), 0);
        let (events, _) = offer(&mut waiting, &bytes);
        requests += events.iter().filter(|event| matches!(event, Event::Request(_))).count();
        assert_eq!(requests, 1, "{chunks:?}");
        assert!(waiting.violation().is_some() && !events.contains(&Event::End), "{chunks:?}");
    }
}

#[test]
fn a_body_is_never_read_as_a_request() {
    let shown = |fields: &str, text: &str| {
        alloc::format!("POST /shown HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n{text}").into_bytes()
    };
    let hidden = "GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n";
    let length = alloc::format!("Content-Length: {}", hidden.len());
    let chunk = alloc::format!("{:x}\r\n{hidden}\r\n0\r\n\r\n", hidden.len());
    for bytes in [
        shown(&length, hidden),
        shown("Transfer-Encoding: chunked", &chunk),
        shown("Transfer-Encoding: chunked", &alloc::format!("0;{}\r\n\r\n", "GET /hidden HTTP/1.1")),
        shown("Transfer-Encoding: chunked", "0\r\nGET-hidden: HTTP/1.1\r\n\r\n"),
    ] {
        assert_eq!(targets(&bytes), (alloc::vec!["/shown".into()], true), "{}", bytes.escape_ascii());
    }
}

#[test]
fn two_requests_in_a_strict_reading_are_two() {
    for first in [
        "GET /shown HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST /shown HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab",
        "POST /shown HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab\r\n",
        "POST /shown HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
        "POST /shown HTTP/1.1\r\nHost: a\r\nTransfer_Encoding: chunked\r\nContent_Length: 9\r\n\r\n",
    ] {
        assert_eq!(targets(&hidden_behind(first)), (alloc::vec!["/shown".into(), "/hidden".into()], true), "{first:?}");
    }
}

#[test]
fn nothing_follows_a_request_that_was_the_last() {
    for first in ["GET /shown HTTP/1.0\r\n\r\n", "GET /shown HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"] {
        assert_eq!(targets(&hidden_behind(first)), (alloc::vec!["/shown".into()], false), "{first:?}");
    }
}
