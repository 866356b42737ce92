//! Clients that speak HTTP/2 in clear text: each stream is a request of its own.

use std::time::Duration;

use blastbeat_proto::engine::Control;
use blastbeat_proto::error::Cause;
use blastbeat_tests::host::Ended;
use blastbeat_tests::http2_stage::Browser;
use blastbeat_tests::stage::Stage;

use super::{NO_CONTENT, get};

mod stamped {
    blastbeat_tests::scenarios! {
        many_requests_are_answered_out_of_order
        answers_of_all_kinds
        answers_that_are_cut_reset_their_stream
        pages_are_for_one_stream
        a_client_takes_requests_back
        the_node_dies_under_its_streams
        a_node_passes_requests_on
        a_body_is_asked_for
        a_drain_answers_what_is_under_way
        an_idle_connection_is_closed
        the_proxy_protocol_comes_before_it
        both_protocols_on_one_listener
        a_client_that_breaks_the_rules_is_told_and_closed
    }
}

mod large {
    blastbeat_tests::scenarios! { bulk:
        bodies_travel_both_ways_side_by_side
        an_upload_waits_for_its_node_alone
        a_download_follows_its_window
        a_slow_client_loses_that_stream_alone
        a_window_that_stays_shut_ends_its_stream
    }
}

/// One virtual host `a` with the nodes `n1`, `n2` and `n3`, whose listener speaks HTTP/2 too.
pub fn ini(global: &str) -> String {
    super::ini(global).replacen("bind = 127.0.0.1:0", "bind = 127.0.0.1:0 h2c", 1)
}

const INTERNAL_ERROR: u32 = 2;
const CANCEL: u32 = 8;

fn many_requests_are_answered_out_of_order(stage: &mut Stage) {
    stage.start(&ini(""));
    let nodes = [stage.node("n1"), stage.node("n2")];
    let mut browser = Browser::new(stage);
    let streams: Vec<u32> = (0..20).map(|number| browser.get(stage, &format!("/{number}"))).collect();
    let mut got = Vec::new();
    for node in nodes {
        for _ in 0..10 {
            let request = stage.request(node);
            assert_eq!(request.get("HTTP2"), Some("on"), "{request:?}");
            let number: usize = request.get("REQUEST_URI").expect("a target")[1..].parse().expect("a number");
            got.push((number, node, request.sid));
        }
    }
    for (number, node, sid) in got.iter().rev() {
        stage.answer(*node, sid, &format!("answer {number}"));
        browser.expect(stage, streams[*number], 200, format!("answer {number}"));
        stage.expect_end(*node, sid);
    }
    assert_eq!(stage.snapshot().sessions, 0);
}

/// Types and bodies of messages.
type Says = &'static [(&'static str, &'static str)];

fn answers_of_all_kinds(stage: &mut Stage) {
    stage.start(&ini(""));
    let node = stage.node("n1");
    let mut browser = Browser::new(stage);
    // (method, what the node says, status, body)
    let answers: [(&str, Says, u16, &str); 7] = [
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
    ];
    for (method, says, status, body) in answers {
        let stream = browser.ask(stage, method, "/");
        let sid = stage.request(node).sid;
        for (kind, text) in says {
            stage.tell(node, &sid, kind, text);
        }
        let head = browser.expect(stage, stream, status, body);
        for hop in ["transfer-encoding", "connection", "x-hop"] {
            assert_eq!(head.field(hop), None, "{head:?}");
        }
        stage.expect_end(node, &sid);
    }
    let stream = browser.get(stage, "/");
    let sid = stage.request(node).sid;
    stage.tell(node, &sid, "headers", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n");
    browser.expect(stage, stream, 204, "");
    let interim = &browser.http.streams[&stream].interim;
    assert_eq!((interim.len(), interim[0].status, interim[0].field("link")), (1, 103, Some("</a>")));
    stage.expect_end(node, &sid);
}

fn answers_that_are_cut_reset_their_stream(stage: &mut Stage) {
    stage.start(&ini(""));
    let node = stage.node_with("n1", "end-reason");
    let mut browser = Browser::new(stage);
    let cut =
        ["HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"];
    for head in cut {
        let stream = browser.get(stage, "/");
        let sid = stage.request(node).sid;
        stage.tell(node, &sid, "headers", head);
        browser.head(stage, stream);
        stage.tell(node, &sid, "end", "");
        browser.expect_reset(stage, stream, INTERNAL_ERROR);
        stage.expect_message(node, &sid, "end", "node-ended");
    }
    let stream = browser.get(stage, "/");
    let sid = stage.request(node).sid;
    stage.answer(node, &sid, "well");
    browser.expect(stage, stream, 200, "well");
    stage.expect_message(node, &sid, "end", "complete");
}

fn pages_are_for_one_stream(stage: &mut Stage) {
    stage.start(&ini("max-body = 10"));
    let mut browser = Browser::new(stage);
    let stream = browser.get(stage, "/");
    browser.expect_page(stage, stream, Cause::NodeMissing);
    let node = stage.node("n1");
    let fields = [(":method", "GET"), (":scheme", "http"), (":authority", "nobody"), (":path", "/")];
    let stream = browser.http.request(&fields, true);
    // Another connection may reach it (RFC 9110, 15.5.20).
    browser.expect_page_as(stage, stream, Cause::HostUnknown, 421);
    let stream = browser.post(stage, "/", "01234567890", true);
    browser.expect_page(stage, stream, Cause::BodyTooLarge);
    // How much of it the node sees is a matter of how it came.
    stage.request(node);
    while stage.message(node).kind == "body" {}
    let stream = browser.post(stage, "/", "0123456", false);
    let sid = stage.request(node).sid;
    stage.expect_body(node, &sid, "0123456");
    browser.send(stage, stream, "7890", false);
    browser.expect_page(stage, stream, Cause::BodyTooLarge);
    while stage.message(node).kind == "body" {}
    let stream = browser.get(stage, "/");
    let sid = stage.request(node).sid;
    stage.tell(node, &sid, "body", "no head");
    browser.expect_page(stage, stream, Cause::ResponseOutOfOrder);
    stage.expect_end(node, &sid);
    assert_eq!(browser.http.farewell, None);
}

fn a_client_takes_requests_back(stage: &mut Stage) {
    stage.start(&ini(""));
    let node = stage.node_with("n1", "end-reason");
    let mut browser = Browser::new(stage);
    let streams = [browser.get(stage, "/1"), browser.get(stage, "/2"), browser.post(stage, "/3", "part", false)];
    let sids = [(); 3].map(|()| stage.request(node).sid);
    stage.expect_body(node, &sids[2], "part");
    for number in [2, 0] {
        browser.reset(stage, streams[number]);
        stage.expect_message(node, &sids[number], "end", "stream-reset");
    }
    // It crosses the end.
    stage.answer(node, &sids[0], "nobody");
    stage.answer(node, &sids[1], "somebody");
    browser.expect(stage, streams[1], 200, "somebody");
    stage.expect_message(node, &sids[1], "end", "complete");
    assert_eq!(stage.access("/3").cause, Cause::StreamReset);
}

fn the_node_dies_under_its_streams(stage: &mut Stage) {
    stage.start(&ini(""));
    let one = stage.node("n1");
    let mut browser = Browser::new(stage);
    let untouched = browser.get(stage, "/untouched");
    let begun = browser.get(stage, "/begun");
    let unsafe_one = browser.post(stage, "/unsafe", "body", true);
    let sids = [(); 3].map(|()| stage.request(one).sid);
    stage.expect_body(one, &sids[2], "body");
    stage.tell(one, &sids[1], "headers", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n");
    browser.head(stage, begun);
    let two = stage.node("n2");
    stage.close(stage.as_client(one));
    browser.expect_reset(stage, begun, INTERNAL_ERROR);
    browser.expect_page(stage, unsafe_one, Cause::NodeLost);
    let request = stage.request(two);
    assert_eq!((&request.line()[..], request.get("REDISPATCHED")), ("GET /untouched", Some("1")));
    stage.answer(two, &request.sid, "second");
    browser.expect(stage, untouched, 200, "second");
    stage.expect_end(two, &request.sid);
}

fn a_node_passes_requests_on(stage: &mut Stage) {
    stage.start(&ini(""));
    let (one, two) = (stage.node("n1"), stage.node("n2"));
    let mut browser = Browser::new(stage);
    let stream = browser.post(stage, "/", "the body", true);
    let sid = stage.request(one).sid;
    stage.expect_body(one, &sid, "the body");
    stage.tell(one, &sid, "retry", "");
    let again = stage.request(two).sid;
    stage.expect_body(two, &again, "the body");
    stage.answer(two, &again, "done");
    browser.expect(stage, stream, 200, "done");
    stage.expect_end(two, &again);
}

fn a_body_is_asked_for(stage: &mut Stage) {
    stage.start(&ini(""));
    let node = stage.node("n1");
    let mut browser = Browser::new(stage);
    let fields =
        [(":method", "PUT"), (":scheme", "http"), (":authority", "a"), (":path", "/"), ("expect", "100-continue")];
    let stream = browser.http.request(&fields, false);
    browser.until(stage, "a 100", |http| {
        http.streams[&stream].interim.first().filter(|head| head.status == 100).map(drop)
    });
    let sid = stage.request(node).sid;
    browser.send(stage, stream, "body", true);
    stage.expect_body(node, &sid, "body");
    stage.answer(node, &sid, "done");
    browser.expect(stage, stream, 200, "done");
    stage.expect_end(node, &sid);
}

fn a_drain_answers_what_is_under_way(stage: &mut Stage) {
    stage.start(&ini("drain-timeout = 5"));
    let node = stage.node("n1");
    let mut browser = Browser::new(stage);
    let stream = browser.get(stage, "/");
    let sid = stage.request(node).sid;
    stage.control(Control::Drain);
    browser.until(stage, "a first farewell", |http| http.farewell.filter(|(code, _)| *code == 0));
    stage.answer(node, &sid, "last");
    browser.expect(stage, stream, 200, "last");
    stage.expect_end(node, &sid);
    browser.expect_closed(stage);
    stage.close(browser.client);
    stage.expect_link_closed(node);
}

fn an_idle_connection_is_closed(stage: &mut Stage) {
    stage.start(&ini("keep-alive-timeout = 0.3"));
    let node = stage.node("n1");
    let mut browser = Browser::new(stage);
    let stream = browser.get(stage, "/");
    let sid = stage.request(node).sid;
    // As long as a request is under way it is not idle.
    stage.advance(Duration::from_millis(500));
    stage.answer(node, &sid, "late");
    browser.expect(stage, stream, 200, "late");
    stage.expect_end(node, &sid);
    stage.advance(Duration::from_millis(200));
    stage.advance(Duration::from_millis(200));
    browser.expect_closed(stage);
}

fn the_proxy_protocol_comes_before_it(stage: &mut Stage) {
    stage.start(&ini("").replace("h2c", "proxy h2c"));
    let node = stage.node("n1");
    let client = stage.client_sends("PROXY TCP4 192.0.2.7 192.0.2.1 5000 80\r\n");
    let mut browser = Browser::on(stage, client, 1000);
    let stream = browser.get(stage, "/");
    let request = stage.request(node);
    assert_eq!(request.get("REMOTE_ADDR"), Some("192.0.2.7"));
    stage.answer(node, &request.sid, "for you");
    browser.expect(stage, stream, 200, "for you");
    stage.expect_end(node, &request.sid);
}

fn both_protocols_on_one_listener(stage: &mut Stage) {
    stage.start(&ini(""));
    let node = stage.node("n1");
    let old = stage.client_sends(get("/old"));
    let mut browser = Browser::new(stage);
    let old_sid = stage.request(node).sid;
    let stream = browser.get(stage, "/new");
    let new_sid = stage.request(node).sid;
    stage.answer(node, &new_sid, "new");
    stage.answer(node, &old_sid, "old");
    stage.expect(old, Stage::answered("old"));
    browser.expect(stage, stream, 200, "new");
    stage.expect_end(node, &new_sid);
    stage.expect_end(node, &old_sid);
}

fn a_client_that_breaks_the_rules_is_told_and_closed(stage: &mut Stage) {
    stage.start(&ini(""));
    let node = stage.node("n1");
    let mut browser = Browser::new(stage);
    let stream = browser.get(stage, "/");
    let socket = browser.opens(stage, "/socket");
    let sids = [(); 2].map(|()| stage.request(node).sid);
    browser.opened(stage, socket);
    // DATA on a stream that nobody has opened.
    browser.http.outgoing.extend(blastbeat_tests::http2::frame(0, 0, 99, b"data"));
    let (code, last) = browser.until(stage, "a farewell", |http| http.farewell);
    assert_eq!((code, last), (1, socket));
    for sid in sids {
        stage.expect_end(node, &sid);
    }
    stage.until("the end".to_owned(), |stage| {
        browser.exchange(stage);
        stage.host().peer(browser.client.id()).ended.filter(|ended| *ended == Ended::Eof)
    });
    assert!(browser.http.streams[&stream].head.is_none());
}

const MEBIBYTE: usize = 1024 * 1024;

fn pattern(size: usize, start: usize) -> Vec<u8> {
    (0..size).map(|place| ((place + start) / 7) as u8).collect()
}

/// More than any window.
const SIZE: usize = 400_000;

fn bodies_travel_both_ways_side_by_side(stage: &mut Stage) {
    stage.start(&ini(""));
    let node = stage.node("n1");
    let mut browser = Browser::with_window(stage, 100_000);
    let streams: Vec<(u32, Vec<u8>)> = (0..5)
        .map(|number| {
            let body = pattern(SIZE, number);
            (browser.post(stage, &format!("/{number}"), &body, true), body)
        })
        .collect();
    let mut bodies = std::collections::BTreeMap::new();
    while bodies.values().map(|(_, body): &(usize, Vec<u8>)| body.len()).sum::<usize>() < 5 * SIZE {
        let message = stage.until("a part of a body".to_owned(), |stage| {
            browser.exchange(stage);
            stage.next_message(node)
        });
        match &message.kind[..] {
            "uwsgi" => {
                let number = bodies.len();
                bodies.insert(message.sid, (number, Vec::new()));
            }
            "body" => bodies.get_mut(&message.sid).expect("a session").1.extend_from_slice(&message.body),
            _ => panic!("{message:?}"),
        }
    }
    for (sid, (number, body)) in &bodies {
        assert!(*body == streams[*number].1, "body {number} came changed");
        stage.tell(node, sid, "headers", format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n"));
        for piece in body.chunks(300_000) {
            stage.tell(node, sid, "body", piece);
        }
    }
    for (stream, body) in &streams {
        browser.expect(stage, *stream, 200, body);
    }
    for _ in &streams {
        assert_eq!(stage.message(node).kind, "end");
    }
}

fn an_upload_waits_for_its_node_alone(stage: &mut Stage) {
    stage.start(&ini("node-queue-high = 300000\nnode-queue-buffer = 600000\nwrite-stall = 100"));
    let (one, two) = (stage.node("n1"), stage.node("n2"));
    let mut browser = Browser::new(stage);
    // The systems between keep some of it.
    let body = pattern(if stage.is_virtual() { 2 } else { 12 } * MEBIBYTE, 0);
    let link = stage.as_client(one);
    stage.pause(link, true);
    let upload = browser.post(stage, "/up", &body, true);
    browser.settle(stage);
    let unsent = browser.http.streams[&upload].unsent.len();
    assert!(unsent > 0, "the window is shut: {unsent} bytes wait");
    let memory = stage.snapshot().memory;
    assert!(memory < 3 * MEBIBYTE, "the server holds {memory} bytes");
    // The other node serves the same client all the while, with bodies too.
    let quick = browser.post(stage, "/quick", "small", true);
    let sid = stage.request(two).sid;
    stage.expect_body(two, &sid, "small");
    stage.answer(two, &sid, "quick");
    browser.expect(stage, quick, 200, "quick");
    stage.expect_end(two, &sid);
    stage.pause(link, false);
    let mut came = Vec::new();
    let sid = stage.request(one).sid;
    while came.len() < body.len() {
        let message = stage.until("a part of the body".to_owned(), |stage| {
            browser.exchange(stage);
            stage.next_message(one)
        });
        assert_eq!((&message.sid, &message.kind[..]), (&sid, "body"));
        came.extend_from_slice(&message.body);
    }
    assert!(came == body, "the body came changed");
    stage.answer(one, &sid, "whole");
    browser.expect(stage, upload, 200, "whole");
    stage.expect_end(one, &sid);
}

fn a_download_follows_its_window(stage: &mut Stage) {
    stage.start(&ini("credit = 1000\nwrite-stall = 100"));
    let node = stage.node_with("n1", "credit");
    let mut browser = Browser::with_window(stage, 0);
    browser.http.reads = false;
    let stream = browser.get(stage, "/");
    let other = browser.get(stage, "/other");
    let sids = [(); 2].map(|()| {
        let sid = stage.request(node).sid;
        stage.expect_message(node, &sid, "credit", "1000");
        sid
    });
    stage.tell(node, &sids[0], "headers", "HTTP/1.1 200 OK\r\n\r\n");
    let mut sent = 1000 - 19;
    stage.tell(node, &sids[0], "body", vec![b'x'; sent]);
    browser.head(stage, stream);
    browser.expect_nothing(stage, stream);
    // Nothing is credited that has not left, and everything that has.
    stage.expect_no_message(node);
    for n in 0..500 {
        browser.http.widen(stream, 1);
        browser.until(stage, "a byte", |http| (http.streams[&stream].body.len() > n).then_some(()));
        assert_eq!(browser.http.streams[&stream].body.len(), n + 1);
    }
    for message in stage.take_messages(node) {
        assert_eq!((&message.sid, &message.kind[..]), (&sids[0], "credit"));
        let more: usize = String::from_utf8(message.body).expect("text").parse().expect("a number");
        stage.tell(node, &sids[0], "body", vec![b'x'; more]);
        sent += more;
    }
    assert!(sent > 1400, "{sent}");
    stage.tell(node, &sids[0], "end", "");
    stage.tell(node, &sids[1], "headers", NO_CONTENT);
    browser.expect(stage, other, 204, "");
    browser.http.widen(stream, 100_000);
    let (_, body) = browser.answer(stage, stream);
    assert_eq!(body.len(), sent);
    stage.forgive(stage.as_client(node));
}

fn a_slow_client_loses_that_stream_alone(stage: &mut Stage) {
    stage.start(&ini("writequeue-buffer = 1000000"));
    let node = stage.node_with("n1", "end-reason");
    let mut browser = Browser::with_window(stage, 10_000);
    browser.http.reads = false;
    let (slow, quick) = (browser.get(stage, "/slow"), browser.get(stage, "/quick"));
    let sids = [(); 2].map(|()| stage.request(node).sid);
    stage.tell(node, &sids[0], "headers", "HTTP/1.1 200 OK\r\n\r\n");
    for _ in 0..8 {
        stage.tell(node, &sids[0], "body", vec![b'x'; MEBIBYTE / 4]);
    }
    stage.expect_message(node, &sids[0], "end", "slow-client");
    browser.expect_reset(stage, slow, CANCEL);
    stage.answer(node, &sids[1], "quick");
    browser.expect(stage, quick, 200, "quick");
    stage.expect_message(node, &sids[1], "end", "complete");
    assert_eq!(stage.access("/slow").cause, Cause::SlowClient);
    let memory = stage.snapshot().memory;
    assert!(memory < 100_000, "the server holds {memory} bytes");
}

fn a_window_that_stays_shut_ends_its_stream(stage: &mut Stage) {
    stage.start(&ini("write-stall = 0.4"));
    let node = stage.node_with("n1", "end-reason");
    let mut browser = Browser::with_window(stage, 100);
    browser.http.reads = false;
    let stream = browser.get(stage, "/");
    let sid = stage.request(node).sid;
    stage.tell(node, &sid, "headers", "HTTP/1.1 200 OK\r\n\r\n");
    stage.tell(node, &sid, "body", vec![b'x'; 1000]);
    browser.head(stage, stream);
    stage.advance(Duration::from_millis(500));
    browser.expect_reset(stage, stream, CANCEL);
    stage.expect_message(node, &sid, "end", "window-stall");
    let other = browser.get(stage, "/other");
    let sid = stage.request(node).sid;
    stage.answer(node, &sid, "here");
    browser.expect(stage, other, 200, "here");
    stage.expect_message(node, &sid, "end", "complete");
}
