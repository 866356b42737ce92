//! What only SPDY/2 does.

use super::*;
use crate::http::AddedField;
use alloc::sync::Arc;

const V2: Version = Version::V2;

/// The only request of a client's SYN_STREAM with these fields, or what became of it.
fn asked_with(fields: &[(&str, &str)]) -> Vec<(u32, Event)> {
    let (mut server, mut peer) = server(V2);
    feed(&mut server, &peer.syn(1, FIN, fields))
}

#[test]
fn fields_that_are_called_like_parts_of_the_first_line_are_left_out() {
    let (mut server, mut peer) = asked(V2);
    let head = "HTTP/1.1 200 OK\r\nStatus: 404 Not Found\r\nVersion: 7\r\nurl: x\r\nMethod: PUT\r\nHost: a\r\nScheme: s\r\n\
        X-Status: kept\r\nContent-Length: 0\r\n\r\n";
    server.send(StreamId(1), response(head), NOW).unwrap();
    let expected = [("status", "200 OK"), ("version", "HTTP/1.1"), ("x-status", "kept"), ("content-length", "0")];
    let expected = expected.map(|(name, value)| (String::from(name), String::from(value)));
    assert_eq!(peer.fields(&written(&mut server)[0]), expected);

    let mut client = Connection::client(V2, Settings::with_limits(Limits::DEFAULT), NOW);
    written(&mut client);
    let request = Request::builder("GET", "/", "a").field("Version", "7").field("X", "y").build().unwrap();
    client.open(&request, true, Priority(0), NOW).unwrap();
    let names: Vec<String> = Peer::new(V2).fields(&written(&mut client)[0]).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["method", "url", "version", "host", "scheme", "x"]);
}

#[test]
fn fields_without_a_value_cannot_be_sent_but_are_taken() {
    let (mut server, mut peer) = asked(V2);
    let head = "HTTP/1.1 200 OK\r\nX-Empty:\r\nX-None:\r\nX-None:\r\nX: y\r\nContent-Length: 0\r\n\r\n";
    server.send(StreamId(1), response(head), NOW).unwrap();
    let names: Vec<String> = peer.fields(&written(&mut server)[0]).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["status", "version", "x", "content-length"]);
    let events = asked_with(&head_of_get(&[("x-empty", "")]));
    assert!(request(&events).text().ends_with(b"\r\nx-empty: \r\n\r\n"));
}

#[test]
fn fields_of_one_hop_are_ignored() {
    let more = [("connection", "x-hop"), ("keep-alive", "5"), ("proxy-connection", "close"), ("x", "y")];
    let events = asked_with(&head_of_get(&more));
    assert_eq!(request(&events).text(), &b"GET / HTTP/1.1\r\nhost: example.com\r\nx: y\r\n\r\n"[..]);
}

#[test]
fn a_url_may_be_absolute_and_names_the_host_then() {
    for (url, target) in [("http://other:80/p?q", "/p?q"), ("https://other:80", "/"), ("https://other:80/", "/")] {
        let mut fields = head_of_get(&[]);
        fields[1].1 = url;
        let events = asked_with(&fields);
        assert_eq!((request(&events).host(), request(&events).target()), (&b"other:80"[..], target.as_bytes()));
        fields.retain(|(name, _)| *name != "host");
        assert_eq!(request(&asked_with(&fields)).host(), b"other:80");
    }
    for url in ["ftp://other/", "http:///", "http://a b/"] {
        let mut fields = head_of_get(&[]);
        fields[1].1 = url;
        assert!(matches!(asked_with(&fields)[..], [(1, Event::Refused(_))]), "{url}");
    }
}

#[test]
fn an_added_field_that_cannot_be_said_ends_its_stream_alone() {
    for (len, is_said) in [(65_000, true), (65_536, false)] {
        let (mut server, mut peer) = asked(V2);
        let field = AddedField::new("Location", &alloc::vec![b'x'; len]).unwrap();
        server.add_field(StreamId(1), Arc::new(field));
        server.fail_with(StreamId(1), Cause::HttpsNeeded, 308, NOW);
        let frames = written(&mut server);
        if is_said {
            assert!(peer.fields(&frames[0]).iter().any(|(name, value)| name == "location" && value.len() == len));
        } else {
            assert_eq!(resets(&frames), [(1, StatusCode::INTERNAL_ERROR)]);
        }
        assert!(server.is_idle(), "{len}");
        feed(&mut server, &peer.get(3, "/"));
        answer(&mut server, 3);
        assert_eq!(peer.fields(&written(&mut server)[0])[0].1, "200 OK");
    }
}

fn head_of_get<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    head(V2, "GET", "/", more)
}
