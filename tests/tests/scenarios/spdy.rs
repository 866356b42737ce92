//! Clients that speak SPDY in clear text, in each of its versions: each stream is a request of its own.

use blastbeat_proto::error::Cause;
use blastbeat_proto::http::BodySize;
use blastbeat_proto::spdy::{StatusCode, Version};
use blastbeat_tests::spdy_frames::{FIN, Heads, data};
use blastbeat_tests::spdy_stage::{Spdy, listeners, request};
use blastbeat_tests::stage::Stage;

use super::NO_CONTENT;

mod stamped {
    blastbeat_tests::scenarios! {
        streams_are_balanced_one_by_one_and_answered_in_any_order
        a_node_sees_a_request_as_any_other
        answers_of_all_kinds
        answers_that_are_cut_reset_their_stream
        pages_are_for_one_stream
        sessions_past_a_limit_are_refused_alone
        streams_past_a_limit_are_refused_alone
        what_waits_for_a_node_is_bounded
        a_node_passes_requests_on
        a_client_of_socket_io_polls_by_streams
    }
}

/// One virtual host `a` with the nodes `n1`, `n2` and `n3`, whose listeners speak SPDY in all versions.
pub fn ini(global: &str) -> String {
    super::ini(global).replacen("bind = 127.0.0.1:0", &listeners(""), 1)
}

fn streams_are_balanced_one_by_one_and_answered_in_any_order(stage: &mut Stage) {
    stage.start(&ini(""));
    let nodes = [stage.node("n1"), stage.node("n2")];
    for version in Version::ALL {
        let mut spdy = Spdy::new(stage, version);
        let streams: Vec<u32> = (0..8).map(|number| spdy.get(stage, &format!("/{number}"))).collect();
        let mut got = Vec::new();
        for node in nodes {
            for _ in 0..4 {
                let request = stage.request(node);
                let number: usize = request.get("REQUEST_URI").expect("a target")[1..].parse().expect("a number");
                got.push((number, node, request.sid));
            }
        }
        for (number, node, sid) in got.iter().rev() {
            stage.answer(*node, sid, &format!("answer {number}"));
            spdy.expect(stage, streams[*number], 200, format!("answer {number}"));
            stage.expect_end(*node, sid);
        }
        assert_eq!(stage.snapshot().sessions, 0);
    }
}

fn a_node_sees_a_request_as_any_other(stage: &mut Stage) {
    stage.start(&ini(""));
    let node = stage.node_with("n1", "body-end");
    for (version, number) in Version::ALL.into_iter().zip(["2", "3", "3.1"]) {
        let mut spdy = Spdy::silent(stage, version, 0);
        let (mut heads, mut begins) = (Heads::new(version), spdy.take_outgoing());
        let fields = [
            ("content-type", "text/plain"),
            ("content-length", "4"),
            ("cookie", "a=1\0b=2"),
            ("x-list", "one\0two"),
            ("x_posing", "no"),
            ("te", "trailers"),
            ("upgrade", "websocket"),
        ];
        begins.extend(heads.ask(1, 0, "POST", "/path%20x?query", &fields));
        stage.send(spdy.client, &begins);
        let seen = stage.request(node);
        stage.send(spdy.client, data(1, FIN, b"body"));
        let expected = [
            ("REQUEST_METHOD", "POST"),
            ("SCRIPT_NAME", ""),
            ("PATH_INFO", "/path%20x"),
            ("QUERY_STRING", "query"),
            ("CONTENT_TYPE", "text/plain"),
            ("CONTENT_LENGTH", "4"),
            ("SERVER_NAME", "a"),
            ("SERVER_PROTOCOL", "HTTP/1.1"),
            ("REMOTE_ADDR", "127.0.0.1"),
            ("HTTP_HOST", "a"),
            ("HTTP_CONTENT_TYPE", "text/plain"),
            ("HTTP_CONTENT_LENGTH", "4"),
            ("HTTP_COOKIE", "a=1; b=2"),
            ("HTTP_X_LIST", "one, two"),
            ("REQUEST_URI", "/path%20x?query"),
            ("REQUEST_SCHEME", "http"),
            ("HTTP_SCHEME", "http"),
            ("SERVER_SCHEME", "http"),
            ("SPDY_VERSION", number),
        ];
        let of_the_connection = ["SERVER_PORT", "REMOTE_PORT", "REQUEST_ID"];
        let mut got = seen.variables.iter().filter(|(name, _)| !of_the_connection.contains(&name.as_str()));
        for (name, value) in expected {
            let (came, with) = got.next().expect("a variable");
            assert_eq!((&came[..], with.escape_ascii().to_string()), (name, value.to_owned()), "{seen:?}");
        }
        assert_eq!(got.next(), None, "{seen:?}");
        stage.expect_body(node, &seen.sid, "body");
        stage.expect_message(node, &seen.sid, "body", "");
        stage.tell(node, &seen.sid, "headers", NO_CONTENT);
        stage.expect_end(node, &seen.sid);
    }
}

/// Types and bodies of messages.
type Says = &'static [(&'static str, &'static str)];

fn answers_of_all_kinds(stage: &mut Stage) {
    stage.start(&ini(""));
    let node = stage.node("n1");
    // (method, what the node says, status, body)
    let answers: [(&str, Says, u16, &str); 8] = [
        ("HEAD", &[("headers", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")], 200, ""),
        ("GET", &[("headers", NO_CONTENT)], 204, ""),
        ("GET", &[("headers", "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n")], 304, ""),
        ("GET", &[("headers", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")], 200, ""),
        ("GET", &[("headers", "HTTP/1.1 200 OK\r\n\r\n"), ("body", "by"), ("body", "te"), ("end", "")], 200, "byte"),
        (
            "GET",
            &[
                ("headers", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x\r\n\r\n"),
                ("body", "3\r\nfra\r\n3\r\nmed\r\n0\r\nX: y\r\n\r\n"),
            ],
            200,
            "framed",
        ),
        (
            "GET",
            &[
                ("headers", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: x-hop\r\nX-Hop: 1\r\n\r\n"),
                ("chunk", "chunk"),
                ("chunk", "ed"),
                ("chunk", ""),
            ],
            200,
            "chunked",
        ),
        // What comes before an answer has no place in SPDY.
        ("GET", &[("headers", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"), ("headers", NO_CONTENT)], 204, ""),
    ];
    for version in Version::ALL {
        let mut spdy = Spdy::new(stage, version);
        for (method, says, status, body) in answers {
            let stream = spdy.ask(stage, method, "/");
            let sid = stage.request(node).sid;
            for (kind, text) in says {
                stage.tell(node, &sid, kind, text);
            }
            let head = spdy.expect(stage, stream, status, body);
            for hop in ["transfer-encoding", "connection", "x-hop"] {
                assert_eq!(head.field(hop), None, "{head:?}");
            }
            stage.expect_end(node, &sid);
        }
    }
}

fn answers_that_are_cut_reset_their_stream(stage: &mut Stage) {
    stage.start(&ini(""));
    let node = stage.node_with("n1", "end-reason");
    let cut =
        ["HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"];
    for version in Version::ALL {
        let mut spdy = Spdy::new(stage, version);
        for head in cut {
            let stream = spdy.get(stage, "/");
            let sid = stage.request(node).sid;
            stage.tell(node, &sid, "headers", head);
            spdy.head(stage, stream);
            stage.tell(node, &sid, "end", "");
            spdy.expect_reset(stage, stream, StatusCode::INTERNAL_ERROR);
            stage.expect_message(node, &sid, "end", "node-ended");
        }
        let stream = spdy.get(stage, "/");
        let sid = stage.request(node).sid;
        stage.answer(node, &sid, "well");
        spdy.expect(stage, stream, 200, "well");
        stage.expect_message(node, &sid, "end", "complete");
    }
}

fn pages_are_for_one_stream(stage: &mut Stage) {
    stage.start(&ini("max-body = 10"));
    let mut clients = Version::ALL.map(|version| Spdy::new(stage, version));
    for spdy in &mut clients {
        let stream = spdy.get(stage, "/");
        spdy.expect_page(stage, stream, Cause::NodeMissing);
    }
    let node = stage.node("n1");
    for spdy in &mut clients {
        // Another connection may reach it (RFC 9110, 15.5.20).
        let stream = spdy.open(stage, &request("GET", "/", "nobody", BodySize::None), 0);
        spdy.expect_page_as(stage, stream, Cause::HostUnknown, 421);
        let stream = spdy.open(stage, &request("POST", "/", "a", BodySize::Length(11)), 0);
        spdy.expect_page(stage, stream, Cause::BodyTooLarge);
        let stream = spdy.post(stage, "/", "0123456", false);
        let sid = stage.request(node).sid;
        stage.expect_body(node, &sid, "0123456");
        spdy.send(stage, stream, "7890", false);
        spdy.expect_page(stage, stream, Cause::BodyTooLarge);
        while stage.message(node).kind == "body" {}
        let stream = spdy.get(stage, "/");
        let sid = stage.request(node).sid;
        stage.tell(node, &sid, "body", "no head");
        spdy.expect_page(stage, stream, Cause::ResponseOutOfOrder);
        stage.expect_end(node, &sid);
        assert_eq!(spdy.farewell, None);
    }
}

fn sessions_past_a_limit_are_refused_alone(stage: &mut Stage) {
    stage.start(&(ini("") + "sessions = 2\n"));
    let node = stage.node("n1");
    for version in Version::ALL {
        let mut spdy = Spdy::new(stage, version);
        let streams = [spdy.get(stage, "/1"), spdy.get(stage, "/2")];
        let sids = [(); 2].map(|()| stage.request(node).sid);
        let third = spdy.get(stage, "/3");
        spdy.expect_page(stage, third, Cause::HostSessionsMax);
        for (stream, sid) in streams.into_iter().zip(&sids) {
            stage.answer(node, sid, "in time");
            spdy.expect(stage, stream, 200, "in time");
            stage.expect_end(node, sid);
        }
    }
}

fn streams_past_a_limit_are_refused_alone(stage: &mut Stage) {
    stage.start(&ini("h2-streams = 3"));
    let node = stage.node("n1");
    for (place, version) in Version::ALL.into_iter().enumerate() {
        let mut spdy = Spdy::silent(stage, version, 0);
        let mut says = spdy.take_outgoing();
        let mut heads = Heads::new(version);
        for stream in [1, 3, 5, 7] {
            spdy.get_unsaid("/");
            says.extend(heads.ask(stream, FIN, "GET", "/", &[]));
        }
        // It has not heard yet how many it may have.
        stage.send(spdy.client, says);
        spdy.expect_reset(stage, 7, StatusCode::REFUSED_STREAM);
        stage.counted(Cause::StreamsMax, place as u64 + 1);
        let sids = [(); 3].map(|()| stage.request(node).sid);
        for (stream, sid) in [1, 3, 5].into_iter().zip(&sids) {
            stage.answer(node, sid, "in time");
            spdy.expect(stage, stream, 200, "in time");
            stage.expect_end(node, sid);
        }
        // There is room again.
        spdy.get_unsaid("/");
        stage.send(spdy.client, heads.ask(9, FIN, "GET", "/", &[]));
        let sid = stage.request(node).sid;
        stage.answer(node, &sid, "again");
        spdy.expect(stage, 9, 200, "again");
        stage.expect_end(node, &sid);
    }
}

fn what_waits_for_a_node_is_bounded(stage: &mut Stage) {
    stage.start(&(ini("queue = 1") + "node-capacity = 1\n"));
    let node = stage.node("n1");
    for version in Version::ALL {
        let mut spdy = Spdy::new(stage, version);
        let first = spdy.get(stage, "/first");
        let sid = stage.request(node).sid;
        let second = spdy.get(stage, "/second");
        let third = spdy.get(stage, "/third");
        spdy.expect_page(stage, third, Cause::QueueFull);
        stage.answer(node, &sid, "one");
        spdy.expect(stage, first, 200, "one");
        stage.expect_end(node, &sid);
        let request = stage.request(node);
        assert_eq!(request.line(), "GET /second");
        stage.answer(node, &request.sid, "two");
        spdy.expect(stage, second, 200, "two");
        stage.expect_end(node, &request.sid);
    }
}

fn a_node_passes_requests_on(stage: &mut Stage) {
    stage.start(&ini(""));
    let (one, two) = (stage.node("n1"), stage.node("n2"));
    for version in Version::ALL {
        let mut spdy = Spdy::new(stage, version);
        let stream = spdy.post(stage, "/", "the body", true);
        let sid = stage.request(one).sid;
        stage.expect_body(one, &sid, "the body");
        stage.tell(one, &sid, "retry", "");
        let again = stage.request(two).sid;
        stage.expect_body(two, &again, "the body");
        stage.answer(two, &again, "done");
        spdy.expect(stage, stream, 200, "done");
        stage.expect_end(two, &again);
    }
}

fn a_client_of_socket_io_polls_by_streams(stage: &mut Stage) {
    stage.start(&ini(""));
    let node = stage.node_with("n1", "socket.io end-reason");
    for version in Version::ALL {
        let mut spdy = Spdy::new(stage, version);
        let stream = spdy.get(stage, "/socket.io/?EIO=4&transport=polling");
        let (head, opening) = spdy.answer(stage, stream);
        let opening = String::from_utf8(opening).expect("text");
        assert!(head.status == 200 && opening.starts_with("0{\"sid\":\""), "{opening}");
        let id = opening.split('"').nth(3).expect("an id");
        let target = format!("/socket.io/?EIO=4&transport=polling&sid={id}");
        let request = stage.request(node);
        assert_eq!(request.get("HTTP_HOST"), Some("a"));
        let poll = spdy.get(stage, &target);
        let post = spdy.post(stage, &target, "40", true);
        spdy.expect(stage, post, 200, "ok");
        stage.expect_message(node, &request.sid, "socket.io/connect", "");
        stage.tell(node, &request.sid, "socket.io/connect", "");
        let (_, accepted) = spdy.answer(stage, poll);
        assert!(accepted.starts_with(b"40{\"sid\":\""), "{}", accepted.escape_ascii());
        let poll = spdy.get(stage, &target);
        let post = spdy.post(stage, &target, r#"42["up",1]"#, true);
        spdy.expect(stage, post, 200, "ok");
        stage.expect_message(node, &request.sid, "socket.io/event", r#"["up",1]"#);
        stage.tell(node, &request.sid, "socket.io/event", r#"["down",1]"#);
        spdy.expect(stage, poll, 200, r#"42["down",1]"#);
        let poll = spdy.get(stage, &target);
        stage.tell(node, &request.sid, "socket.io/end", "");
        spdy.expect(stage, poll, 200, "41");
        let poll = spdy.get(stage, &target);
        spdy.answer(stage, poll);
        stage.expect_message(node, &request.sid, "end", "complete");
    }
}
