//! WebSockets on streams of HTTP/2 (RFC 8441), alone and in groups with those of HTTP/1.

use std::time::Duration;

use blastbeat_proto::engine::Control;
use blastbeat_proto::error::Cause;
use blastbeat_tests::frames::{BINARY, Frame, PING, PONG, TEXT};
use blastbeat_tests::http2_stage::Browser;
use blastbeat_tests::stage::{Node, Stage};

use super::http2::ini;

const KIBIBYTE: usize = 1024;
const MEBIBYTE: usize = 1024 * 1024;
const CANCEL: u32 = 8;

mod stamped {
    blastbeat_tests::scenarios! {
        messages_go_both_ways_until_the_node_ends
        the_client_closes
        the_client_resets_its_stream
        the_client_ends_its_stream
        rules_that_are_broken_close_one_websocket
        handshakes_are_refused_as_answers
        a_node_shapes_the_handshake
        a_group_of_both_protocols
        the_node_is_lost
        a_websocket_moves_to_another_node
        a_drain_closes_websockets_and_answers_requests
        credit_counts_messages
        whoever_does_not_answer_a_close_is_left
    }
}

mod large {
    blastbeat_tests::scenarios! { bulk:
        sixteen_mebibytes_both_ways
        a_slow_member_loses_the_oldest_messages_and_no_others
        a_slow_member_is_cut_alone
        a_pipe_from_one_protocol_to_the_other
        a_client_that_floods_a_node_that_does_not_read_is_held_back
    }
}

fn text(payload: impl AsRef<[u8]>) -> Frame {
    Frame::new(TEXT, payload.as_ref())
}

/// An open WebSocket on a stream, and its session.
fn socket(stage: &mut Stage, browser: &mut Browser, node: Node) -> (u32, Vec<u8>) {
    let stream = browser.opens(stage, "/socket");
    let request = stage.request(node);
    assert_eq!((request.get("HTTP_UPGRADE"), request.get("REQUEST_METHOD")), (Some("websocket"), Some("GET")));
    browser.opened(stage, stream);
    (stream, request.sid)
}

/// Both sides' close frames, and the end of the stream.
fn closes(stage: &mut Stage, browser: &mut Browser, stream: u32, code: u16, reason: &str) {
    browser.expect_frame(stage, stream, &Frame::close(code, reason));
    browser.send_frame(stage, stream, &Frame::close(code, ""));
    browser.expect_end(stage, stream);
}

fn messages_go_both_ways_until_the_node_ends(stage: &mut Stage) {
    stage.start(&ini(""));
    let node = stage.node("n1");
    let mut browser = Browser::new(stage);
    let (stream, sid) = socket(stage, &mut browser, node);
    for message in ["one", "two", ""] {
        browser.send_frame(stage, stream, &text(message));
        stage.expect_message(node, &sid, "websocket", message);
        stage.tell(node, &sid, "websocket", message);
        browser.expect_frame(stage, stream, &text(message));
    }
    browser.send_frame(stage, stream, &Frame::new(PING, "are you there"));
    browser.expect_frame(stage, stream, &Frame::new(PONG, "are you there"));
    stage.tell(node, &sid, "websocket", [0xff, 0]);
    browser.expect_frame(stage, stream, &Frame::new(BINARY, [0xff, 0]));
    stage.tell(node, &sid, "end", "");
    closes(stage, &mut browser, stream, 1000, "");
    stage.expect_end(node, &sid);
    let access = stage.access("/socket");
    assert_eq!((access.cause, access.status), (Cause::Complete, 200));
    // The connection lives on.
    let stream = browser.get(stage, "/");
    let sid = stage.request(node).sid;
    stage.answer(node, &sid, "yes");
    browser.expect(stage, stream, 200, "yes");
    stage.expect_end(node, &sid);
}

fn the_client_closes(stage: &mut Stage) {
    stage.start(&ini(""));
    let node = stage.node_with("n1", "close");
    let mut browser = Browser::new(stage);
    let (stream, sid) = socket(stage, &mut browser, node);
    browser.send_frame(stage, stream, &Frame::close(4000, "bye"));
    stage.expect_message(node, &sid, "websocket/close", b"\x0f\xa0bye");
    stage.expect_end(node, &sid);
    browser.expect_frame(stage, stream, &Frame::close(4000, ""));
    browser.expect_end(stage, stream);
}

fn the_client_resets_its_stream(stage: &mut Stage) {
    stage.start(&ini(""));
    let node = stage.node_with("n1", "end-reason");
    let mut browser = Browser::new(stage);
    let (gone, gone_sid) = socket(stage, &mut browser, node);
    let (stays, stays_sid) = socket(stage, &mut browser, node);
    for sid in [&gone_sid, &stays_sid] {
        stage.tell(node, sid, "join", "room");
    }
    browser.reset(stage, gone);
    stage.expect_message(node, &gone_sid, "end", "stream-reset");
    stage.tell(node, &stays_sid, "room:websocket", "alone");
    browser.expect_frame(stage, stays, &text("alone"));
}

fn the_client_ends_its_stream(stage: &mut Stage) {
    stage.start(&ini(""));
    let node = stage.node_with("n1", "end-reason");
    let mut browser = Browser::new(stage);
    let (stream, sid) = socket(stage, &mut browser, node);
    // What it said before is heard.
    browser.send(stage, stream, text("last").masked(), true);
    stage.expect_message(node, &sid, "websocket", "last");
    stage.expect_message(node, &sid, "end", "client-gone");
    browser.expect_end(stage, stream);
}

fn rules_that_are_broken_close_one_websocket(stage: &mut Stage) {
    stage.start(&ini("websocket-max-message = 100\nwebsocket-farewell-delay = 0"));
    let node = stage.node_with("n1", "end-reason");
    let mut browser = Browser::new(stage);
    let (stays, stays_sid) = socket(stage, &mut browser, node);
    let broken: [(Vec<u8>, u16, Cause); 3] = [
        (text("not masked").unmasked(), 1002, Cause::MaskWrong),
        (text([0xff]).masked(), 1007, Cause::Utf8Invalid),
        (text([b'x'; 101]).masked(), 1009, Cause::MessageTooLarge),
    ];
    for (bytes, code, cause) in broken {
        let (stream, sid) = socket(stage, &mut browser, node);
        browser.send(stage, stream, bytes, false);
        browser.expect_frame(stage, stream, &Frame::close(code, cause.name()));
        stage.expect_message(node, &sid, "end", cause.name());
        browser.expect_end(stage, stream);
    }
    browser.send_frame(stage, stays, &text("still here"));
    stage.expect_message(node, &stays_sid, "websocket", "still here");
}

fn handshakes_are_refused_as_answers(stage: &mut Stage) {
    stage.start(&ini(""));
    let mut browser = Browser::new(stage);
    let stream = browser.opens(stage, "/");
    browser.expect_page(stage, stream, Cause::NodeMissing);
    let fields = |protocol: &'static str, version: &'static str| {
        [
            (":method", "CONNECT"),
            (":protocol", protocol),
            (":scheme", "http"),
            (":authority", "a"),
            (":path", "/"),
            ("sec-websocket-version", version),
        ]
    };
    let stream = browser.http.request(&fields("websocket", "12"), false);
    browser.expect_page(stage, stream, Cause::WebSocketVersion);
    let stream = browser.http.request(&fields("connect-udp", "13"), false);
    browser.expect_page(stage, stream, Cause::ProtocolUnsupported);
}

fn a_node_shapes_the_handshake(stage: &mut Stage) {
    stage.start(&ini(""));
    let node = stage.node_with("n1", "handshake");
    let mut browser = Browser::new(stage);
    let stream = browser.opens(stage, "/");
    browser.send_frame(stage, stream, &text("early"));
    let sid = stage.request(node).sid;
    stage.expect_no_message(node);
    stage.tell(node, &sid, "headers", "HTTP/1.1 101 Switching Protocols\r\nSet-Cookie: a=b\r\n\r\n");
    let head = browser.head(stage, stream);
    assert_eq!((head.status, head.field("set-cookie"), head.field("upgrade")), (200, Some("a=b"), None));
    stage.expect_message(node, &sid, "websocket", "early");
    stage.tell(node, &sid, "end", "");
    closes(stage, &mut browser, stream, 1000, "");
    stage.expect_end(node, &sid);
    let stream = browser.opens(stage, "/");
    let sid = stage.request(node).sid;
    stage.tell(node, &sid, "headers", "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
    browser.expect(stage, stream, 403, "no");
    stage.expect_end(node, &sid);
    let stream = browser.opens(stage, "/");
    let sid = stage.request(node).sid;
    stage.tell(node, &sid, "headers", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n");
    browser.expect_page(stage, stream, Cause::ResponseOutOfOrder);
    stage.expect_end(node, &sid);
}

fn a_group_of_both_protocols(stage: &mut Stage) {
    stage.start(&ini(""));
    let node = stage.node("n1");
    let mut browser = Browser::new(stage);
    let (old, old_sid) = stage.websocket(node, "/old");
    let (first, first_sid) = socket(stage, &mut browser, node);
    let (second, second_sid) = socket(stage, &mut browser, node);
    for sid in [&old_sid, &first_sid, &second_sid] {
        stage.tell(node, sid, "join", "room");
    }
    for (sid, message) in [(&old_sid, "from the old"), (&first_sid, "from the first"), (&Vec::new(), "from the node")] {
        stage.tell(node, sid, "room:websocket", message);
        stage.expect_frame(old, &text(message));
        for stream in [first, second] {
            browser.expect_frame(stage, stream, &text(message));
        }
    }
    stage.tell(node, &first_sid, "noecho", "room");
    stage.tell(node, &first_sid, "room:websocket", "to others");
    stage.expect_frame(old, &text("to others"));
    browser.expect_frame(stage, second, &text("to others"));
    browser.expect_nothing(stage, first);
    stage.tell(node, &old_sid, "room:end", "");
    stage.expect_frame(old, &Frame::close(1000, ""));
    for stream in [first, second] {
        closes(stage, &mut browser, stream, 1000, "");
    }
    let mut ends: Vec<_> = (0..3).map(|_| stage.message(node)).collect();
    ends.sort_by_key(|message| message.sid.clone());
    assert!(ends.iter().all(|message| message.kind == "end"), "{ends:?}");
    stage.send_frame(old, &Frame::close(1000, ""));
    stage.expect_closed(old);
}

fn the_node_is_lost(stage: &mut Stage) {
    stage.start(&ini(""));
    let node = stage.node("n1");
    let mut browser = Browser::new(stage);
    let (stream, _) = socket(stage, &mut browser, node);
    stage.close(stage.as_client(node));
    closes(stage, &mut browser, stream, 1012, "node-lost");
}

fn a_websocket_moves_to_another_node(stage: &mut Stage) {
    stage.start(&ini("").replace("[blastbeat:a]", "[blastbeat:a]\nnode-loss = move"));
    let one = stage.node("n1");
    let mut browser = Browser::new(stage);
    let (stream, _) = socket(stage, &mut browser, one);
    let two = stage.node("n2");
    stage.close(stage.as_client(one));
    let request = stage.request(two);
    assert_eq!((request.get("REDISPATCHED"), request.get("HTTP_UPGRADE")), (Some("1"), Some("websocket")));
    browser.send_frame(stage, stream, &text("to the next"));
    stage.expect_message(two, &request.sid, "websocket", "to the next");
    stage.tell(two, &request.sid, "websocket", "from the next");
    browser.expect_frame(stage, stream, &text("from the next"));
}

fn a_drain_closes_websockets_and_answers_requests(stage: &mut Stage) {
    stage.start(&ini("drain-timeout = 5"));
    let node = stage.node_with("n1", "end-reason");
    let mut browser = Browser::new(stage);
    let (stream, sid) = socket(stage, &mut browser, node);
    let request = browser.get(stage, "/");
    let request_sid = stage.request(node).sid;
    stage.control(Control::Drain);
    stage.expect_message(node, &sid, "end", "stopping");
    closes(stage, &mut browser, stream, 1001, "stopping");
    stage.answer(node, &request_sid, "last");
    browser.expect(stage, request, 200, "last");
    stage.expect_message(node, &request_sid, "end", "complete");
    browser.expect_closed(stage);
    stage.close(browser.client);
    stage.expect_link_closed(node);
}

fn credit_counts_messages(stage: &mut Stage) {
    stage.start(&ini("credit = 1000"));
    let node = stage.node_with("n1", "credit");
    let mut browser = Browser::new(stage);
    let stream = browser.opens(stage, "/");
    let sid = stage.request(node).sid;
    stage.expect_message(node, &sid, "credit", "1000");
    browser.opened(stage, stream);
    for _ in 0..5 {
        stage.tell(node, &sid, "websocket", [b'x'; 1000]);
        browser.expect_frame(stage, stream, &text([b'x'; 1000]));
        stage.expect_message(node, &sid, "credit", "1000");
    }
}

fn whoever_does_not_answer_a_close_is_left(stage: &mut Stage) {
    stage.start(&ini("websocket-close-timeout = 0.3"));
    let node = stage.node("n1");
    let mut browser = Browser::new(stage);
    let (stream, sid) = socket(stage, &mut browser, node);
    stage.tell(node, &sid, "end", "");
    browser.expect_frame(stage, stream, &Frame::close(1000, ""));
    stage.expect_end(node, &sid);
    stage.advance(Duration::from_millis(400));
    browser.expect_end(stage, stream);
    stage.counted(Cause::CloseTimeout, 1);
}

/// A message that tells its number: of `size` bytes.
fn numbered(number: usize, size: usize) -> Vec<u8> {
    let mut payload = vec![b'x'; size];
    payload[..8].copy_from_slice(format!("{number:08}").as_bytes());
    payload
}

fn number_of(frame: &Frame) -> usize {
    assert!(frame.last && frame.reserved == 0 && frame.opcode == TEXT, "{} bytes", frame.payload.len());
    std::str::from_utf8(&frame.payload[..8]).expect("digits").parse().expect("a number")
}

fn sixteen_mebibytes_both_ways(stage: &mut Stage) {
    stage.start(&ini("writequeue-buffer = 20m\nnode-queue-buffer = 40m"));
    let node = stage.node_with("n1", "binary");
    let mut browser = Browser::with_window(stage, 1_000_000);
    let (stream, sid) = socket(stage, &mut browser, node);
    let payload: Vec<u8> = (0..16 * MEBIBYTE).map(|place| (place / 7) as u8).collect();
    browser.send_frame(stage, stream, &Frame::new(BINARY, payload.clone()));
    let message = browser_message(stage, &mut browser, node);
    assert!(message.kind == "websocket/binary" && message.body == payload, "the message came changed");
    stage.tell(node, &sid, "websocket/binary", &payload);
    let frame = browser.frame(stage, stream);
    assert!(frame == Frame::new(BINARY, payload), "the message came back changed");
}

/// A node's next message, while the client's windows are kept open.
fn browser_message(stage: &mut Stage, browser: &mut Browser, node: Node) -> blastbeat_tests::stage::Message {
    stage.until("a message".to_owned(), |stage| {
        browser.exchange(stage);
        stage.next_message(node)
    })
}

/// A room of a slow client on a stream, a quick one on another stream, and a quick one of HTTP/1.
fn members_with_a_slow_one(
    stage: &mut Stage,
    node: Node,
) -> (Browser, [(u32, Vec<u8>); 2], blastbeat_tests::stage::Client) {
    let mut browser = Browser::with_window(stage, 50_000);
    browser.http.reads = false;
    let slow = socket(stage, &mut browser, node);
    let quick = socket(stage, &mut browser, node);
    let (old, old_sid) = stage.websocket(node, "/old");
    for sid in [&slow.1, &quick.1, &old_sid] {
        stage.tell(node, sid, "join", "room");
    }
    (browser, [slow, quick], old)
}

fn a_slow_member_loses_the_oldest_messages_and_no_others(stage: &mut Stage) {
    stage.start(&ini("writequeue-buffer = 1000000\nslow-client = drop-oldest\nwrite-stall = 100"));
    let node = stage.node("n1");
    let (mut browser, [slow, quick], old) = members_with_a_slow_one(stage, node);
    let (count, size) = (100, 96 * KIBIBYTE);
    for number in 0..count {
        stage.tell(node, b"", "room:websocket", numbered(number, size));
        browser.http.widen(quick.0, size as u32 + 10);
        assert_eq!(number_of(&browser.frame(stage, quick.0)), number);
        assert_eq!(number_of(&stage.frame(old)), number);
    }
    let dropped = stage.snapshot().stats.of(Cause::OldestDropped) as usize;
    assert!(dropped > count / 4 && dropped < count, "{dropped} were dropped");
    let mut got = Vec::new();
    browser.http.widen(slow.0, 1 << 29);
    while got.last() != Some(&(count - 1)) {
        got.push(number_of(&browser.frame(stage, slow.0)));
    }
    assert_eq!(got.len(), count - dropped, "all but those that were counted");
    assert!(got.is_sorted_by(|a, b| a < b) && got[0] == 0, "in order: {got:?}");
}

fn a_slow_member_is_cut_alone(stage: &mut Stage) {
    stage.start(&ini("writequeue-buffer = 1000000"));
    let node = stage.node_with("n1", "end-reason");
    let (mut browser, [slow, quick], old) = members_with_a_slow_one(stage, node);
    let size = 96 * KIBIBYTE;
    for number in 0..30 {
        stage.tell(node, b"", "room:websocket", numbered(number, size));
        browser.http.widen(quick.0, size as u32 + 10);
        assert_eq!(number_of(&browser.frame(stage, quick.0)), number);
        assert_eq!(number_of(&stage.frame(old)), number);
    }
    stage.expect_message(node, &slow.1, "end", "slow-client");
    browser.expect_reset(stage, slow.0, CANCEL);
    stage.counted(Cause::SlowClient, 1);
}

fn a_pipe_from_one_protocol_to_the_other(stage: &mut Stage) {
    stage.start(&ini("max-deliveries = 3"));
    let node = stage.node("n1");
    let mut browser = Browser::new(stage);
    let (camera, camera_sid) = socket(stage, &mut browser, node);
    let viewers: Vec<_> = (0..4).map(|_| stage.websocket(node, "/viewer")).collect();
    let (screen, screen_sid) = socket(stage, &mut browser, node);
    for sid in viewers.iter().map(|(_, sid)| sid).chain([&screen_sid]) {
        stage.tell(node, sid, "join", "video");
    }
    stage.tell(node, &camera_sid, "pipe", "video:websocket");
    stage.settle();
    let count = 50;
    for number in 0..count {
        browser.http.send(camera, text(numbered(number, 10_000)).masked(), false);
    }
    for number in 0..count {
        assert_eq!(number_of(&browser.frame(stage, screen)), number);
        for (viewer, _) in &viewers {
            assert_eq!(number_of(&stage.frame(*viewer)), number);
        }
    }
    stage.expect_no_message(node);
}

fn a_client_that_floods_a_node_that_does_not_read_is_held_back(stage: &mut Stage) {
    let slow =
        "node-queue-high = 300000\nnode-queue-buffer = 600000\nwrite-stall = 100\nping-freq = 100\nheartbeat = 100";
    stage.start(&ini(slow));
    let node = stage.node("n1");
    let mut browser = Browser::new(stage);
    let (stream, sid) = socket(stage, &mut browser, node);
    let link = stage.as_client(node);
    stage.pause(link, true);
    let (count, size) = (if stage.is_virtual() { 32 } else { 192 }, 64 * KIBIBYTE);
    for number in 0..count {
        browser.http.send(stream, text(numbered(number, size)).masked(), false);
    }
    browser.settle(stage);
    assert!(!browser.http.streams[&stream].unsent.is_empty(), "the client is held back");
    let memory = stage.snapshot().memory;
    assert!(memory < 4 * MEBIBYTE, "the server holds {memory} bytes");
    // The other direction of this WebSocket is open all the while.
    stage.tell(node, &sid, "websocket", "I hear you");
    browser.expect_frame(stage, stream, &text("I hear you"));
    stage.pause(link, false);
    for number in 0..count {
        let message = browser_message(stage, &mut browser, node);
        assert!(message.kind == "websocket" && message.body == numbered(number, size), "message {number}");
    }
}
