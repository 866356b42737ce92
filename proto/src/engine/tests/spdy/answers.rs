//! Answers in all their forms, and what is told of them.

use super::*;
use crate::http::{self, Request};
use alloc::string::ToString;

/// The status, the body, and whether that is whole.
type Answer = (u16, Vec<u8>, bool);

/// Asks by `method` and lets the node say all of it; returns what the client heard.
fn answered(version: Version, method: &str, says: &[(&str, &[u8])]) -> (Option<Answer>, Option<Cause>) {
    let (mut world, mut node, mut client) = stage(version, "", "");
    let stream = client.open(&mut world, &Request::builder(method, "/", "example.org").build().unwrap());
    let sid = node.request(&mut world);
    for (kind, body) in says {
        node.send(&mut world, &sid, kind, body);
    }
    let answer = client.answer(&mut world, stream).map(|(status, body, whole)| (status, body.to_vec(), whole));
    let cut = client.cut(stream);
    assert_eq!(world.engine.snapshot().sessions, 0, "{says:?}");
    // The connection goes on.
    let next = client.get(&mut world, "/");
    let messages = node.receive(&mut world);
    let (sid, ..) = messages.iter().find(|(_, kind, _)| kind == "uwsgi").unwrap();
    node.send(&mut world, sid, "body", b"HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(client.answer(&mut world, next), Some((204, &b""[..], true)));
    (answer, cut)
}

const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

#[test]
fn a_node_may_answer_in_any_form() {
    for version in Version::ALL {
        let hello = |method: &str, says: &[(&str, &[u8])]| {
            assert_eq!(answered(version, method, says), (Some((200, b"Hello".to_vec(), true)), None), "{says:?}");
        };
        hello("GET", &[("headers", HEAD), ("body", b"Hello")]);
        hello("GET", &[("headers", HEAD), ("body", b"Hel"), ("body", b"lo")]);
        hello("GET", &[("body", &[HEAD, b"Hello"].concat())]);
        hello("GET", &[("headers", b"HTTP/1.1 200 OK\r\n\r\n"), ("body", b"Hello"), ("end", b"")]);
        hello("GET", &[("headers", b"HTTP/1.1 200 OK\r\n\r\n"), ("body", b"Hello"), ("body", b"")]);
        hello("GET", &[("headers", b"HTTP/1.0 200 OK\r\nConnection: x\r\n\r\n"), ("chunk", b"Hello"), ("chunk", b"")]);
        hello("GET", &[("headers", CHUNKED), ("chunk", b"Hel"), ("chunk", b"lo"), ("chunk", b"")]);
        hello("GET", &[("body", &[CHUNKED, b"5\r\nHello\r\n0\r\n\r\n"].concat())]);
        hello("GET", &[("headers", CHUNKED), ("body", b"3\r\nHel\r\n2\r"), ("body", b"\nlo\r\n0\r\n\r\n")]);
        hello(
            "GET",
            &[("headers", b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"), ("body", &[HEAD, b"Hello"].concat())],
        );
        let none = |method: &str, status, says: &[(&str, &[u8])]| {
            assert_eq!(answered(version, method, says), (Some((status, Vec::new(), true)), None), "{says:?}");
        };
        none("HEAD", 200, &[("headers", HEAD)]);
        none("GET", 204, &[("headers", b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n")]);
        none("GET", 304, &[("headers", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n")]);
        none("GET", 200, &[("headers", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")]);
        none("GET", 200, &[("headers", b"HTTP/1.1 200 OK\r\n\r\n"), ("end", b"")]);
    }
}

#[test]
fn an_answer_that_is_cut_short_is_no_whole_one() {
    for version in Version::ALL {
        let cut = |says: &[(&str, &[u8])]| {
            let (answer, cut) = answered(version, "GET", says);
            assert_eq!((answer.unwrap(), cut), ((200, b"Hel".to_vec(), false), Some(Cause::StreamReset)), "{says:?}");
        };
        cut(&[("headers", HEAD), ("body", b"Hel"), ("end", b"")]);
        cut(&[("headers", CHUNKED), ("chunk", b"Hel"), ("end", b"")]);
        cut(&[("headers", CHUNKED), ("body", b"3\r\nHel\r\nnonsense\r\n")]);
        for says in [&[("end", &b""[..])][..], &[("body", b"nonsense")], &[("headers", b"HTTP/1.1 101 X\r\n\r\n")]] {
            let (answer, cut) = answered(version, "GET", says);
            let (status, _, is_whole) = answer.unwrap();
            assert_eq!((status, is_whole, cut), (502, true, None), "{says:?}");
        }
    }
}

#[test]
fn a_head_that_spdy2_cannot_say_is_the_nodes_fault() {
    let head = alloc::format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: {}\r\n\r\n", "x".repeat(66_000));
    for (version, status) in [(Version::V2, 502), (Version::V3, 200), (Version::V31, 200)] {
        let (mut world, mut node, mut client) = stage(version, "max-head = 100k", "");
        client.conn = Peer::wide(version, world.now);
        let stream = client.get(&mut world, "/");
        let sid = node.request(&mut world);
        node.send(&mut world, &sid, "headers", head.as_bytes());
        assert_eq!(client.answer(&mut world, stream).map(|(status, _, whole)| (status, whole)), Some((status, true)));
    }
}

#[test]
fn nodes_logs_and_stats_know_the_version() {
    for version in Version::ALL {
        let (mut world, mut node, mut client) = stage(version, "access-log = on", "");
        client.get(&mut world, "/a?b");
        let messages = node.receive(&mut world);
        let vars = messages[0].2.escape_ascii().to_string();
        let number = version.alpn().trim_start_matches("spdy/");
        assert!(vars.contains(&alloc::format!("\\x0c\\x00SPDY_VERSION\\x{:02x}\\x00{number}", number.len())), "{vars}");
        node.send(&mut world, &messages[0].0, "body", &[HEAD, b"Hello"].concat());
        client.run(&mut world);
        let access = accesses(&world).next().unwrap();
        assert_eq!((access.protocol, access.status, access.bytes_out), (http::Version::from(version), 200, 5));
        assert!(access.protocol.name().ends_with(number), "{}", access.protocol.name());
        assert_eq!(world.engine.stats().requests, 1);
    }
}

#[test]
fn pushes_nest_and_end_on_streams_of_their_own() {
    for version in Version::ALL {
        let (mut world, mut node, mut client) = stage(version, "", "");
        let stream = client.get(&mut world, "/");
        let sid = node.request(&mut world);
        node.send(&mut world, &sid, "headers", HEAD);
        let url = |path: &str| alloc::format!("HTTP/1.1 200 OK\r\nUrl: {path}\r\nContent-Type: x\r\n\r\n").into_bytes();
        node.send(&mut world, &sid, "push", &url("/outer"));
        node.send(&mut world, &sid, "body", b"out");
        node.send(&mut world, &sid, "push", &[&url("/inner")[..], b"in"].concat());
        node.send(&mut world, &sid, "body", b"ner");
        node.send(&mut world, &sid, "end", b"");
        node.send(&mut world, &sid, "body", b"er");
        node.send(&mut world, &sid, "end", b"");
        node.send(&mut world, &sid, "body", b"Hello");
        assert_eq!(client.answer(&mut world, stream), Some((200, &b"Hello"[..], true)));
        for (pushed, path, body) in [(2, "/outer", &b"outer"[..]), (4, "/inner", b"inner")] {
            let pushed = StreamId(pushed);
            assert_eq!(client.answer(&mut world, pushed), Some((200, body, true)), "{version}: {path}");
            assert_eq!(client.heard[&pushed].promise.as_ref().unwrap().target(), path.as_bytes());
        }
        assert_eq!(world.engine.stats().pushes, 2);
        assert!(client.conn.is_idle());
        assert_eq!(world.engine.snapshot().sessions, 0);
    }
}

#[test]
fn a_push_that_the_client_refuses_is_nobodys() {
    for version in Version::ALL {
        let (mut world, mut node, mut client) = stage(version, "", "");
        let stream = client.get(&mut world, "/");
        let sid = node.request(&mut world);
        node.send(&mut world, &sid, "push", b"HTTP/1.1 200 OK\r\nUrl: /x\r\n\r\npush");
        client.run(&mut world);
        client.reset(&mut world, StreamId(2));
        node.send(&mut world, &sid, "body", b"nobody's");
        node.send(&mut world, &sid, "end", b"");
        node.send(&mut world, &sid, "headers", HEAD);
        // One that never ends goes with its session.
        node.send(&mut world, &sid, "push", b"HTTP/1.1 200 OK\r\nUrl: /y\r\n\r\npush");
        client.run(&mut world);
        client.reset(&mut world, stream);
        assert!(client.conn.is_idle() && client.heard[&StreamId(4)].cut.is_some(), "{version}");
        assert_eq!(world.engine.snapshot().sessions, 0);
    }
}
#[test]
fn clear_text_is_sent_to_tls_and_what_came_by_it_has_hsts() {
    for version in Version::ALL {
        let global = "bind-ssl = 127.0.0.1:443\ntrusted-proxy = 127.0.0.0/8";
        let host = "certificate = a.pem\nkey = a.key\nhttps-redirect = on\nhsts = 3600";
        let (mut world, mut node, mut client) = stage(version, global, host);
        let stream = client.get(&mut world, "/a?b");
        assert_eq!(client.answer(&mut world, stream).map(|(status, _, whole)| (status, whole)), Some((308, true)));
        assert_eq!(client.field(stream, "location").as_deref(), Some("https://example.org/a?b"));
        let request = Request::builder("GET", "/", "example.org").field("X-Forwarded-Proto", "https").build().unwrap();
        let stream = client.open(&mut world, &request);
        let sid = node.request(&mut world);
        node.send(&mut world, &sid, "body", &[HEAD, b"Hello"].concat());
        assert_eq!(client.answer(&mut world, stream), Some((200, &b"Hello"[..], true)));
        assert_eq!(client.field(stream, "strict-transport-security").as_deref(), Some("max-age=3600"));
    }
}

#[test]
fn credit_comes_back_when_what_was_in_its_way_has_left() {
    for version in Version::ALL {
        let mut world = world(version, "credit = 40000", "");
        let (mut one, mut two) = (Node::connect(&mut world, "one"), Node::connect(&mut world, "two"));
        one.send(&mut world, b"", "pong", b"credit");
        let mut client = Peer::new(&mut world, version);
        let streams = [(); 2].map(|()| client.get(&mut world, "/"));
        let (mine, others) = (one.receive(&mut world).remove(0).0, two.request(&mut world));
        // The others' bytes fill what is written next, before anything is.
        for (node, sid, len) in [(&mut two, others, 100_000), (&mut one, mine.clone(), 39_900)] {
            node.conn.send(&[&sid, b"headers", b"HTTP/1.1 200 OK\r\n\r\n"]).unwrap();
            node.conn.send(&[&sid, b"body", &alloc::vec![b'x'; len]]).unwrap();
            let out = node.conn.outbound().take();
            world.engine.handle(Input::Received { link: node.link, bytes: &out }, world.now);
        }
        world.run();
        client.run(&mut world);
        assert_eq!(client.heard[&streams[0]].data.len(), 39_900);
        let messages = one.receive(&mut world);
        assert!(messages.iter().any(|(sid, kind, _)| *sid == mine && kind == "credit"), "{version}: {messages:?}");
    }
}

#[test]
fn pushes_that_nobody_takes_have_no_more_room_than_answers() {
    let (mut world, mut node, mut client) = stage(Version::V3, "writequeue-buffer = 2000\nwritequeue-high = 500", "");
    client.run(&mut world);
    // Its windows are shut.
    client.raw(&mut world, b"\x80\x03\0\x04\0\0\0\x0c\0\0\0\x01\0\0\0\x07\0\0\0\0");
    client.get(&mut world, "/");
    let sid = node.request(&mut world);
    for path in 0..6 {
        let head = alloc::format!("HTTP/1.1 200 OK\r\nUrl: /{path}\r\n\r\n");
        node.send(&mut world, &sid, "push", head.as_bytes());
        node.send(&mut world, &sid, "body", &[b'x'; 1900]);
        node.send(&mut world, &sid, "end", b"");
    }
    client.run(&mut world);
    let cut: Vec<u32> = client.heard.iter().filter(|(_, heard)| heard.cut.is_some()).map(|(id, _)| id.0).collect();
    assert_eq!((cut, world.engine.stats().of(Cause::SlowClient)), (alloc::vec![10, 12], 2), "all have four shares");
}
