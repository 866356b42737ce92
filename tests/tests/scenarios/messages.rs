//! Messages that do not fit, and flow control.

use blastbeat_proto::engine::Report;
use blastbeat_proto::error::Cause;
use blastbeat_tests::packet;
use blastbeat_tests::stage::Stage;

use super::{NO_CONTENT, get, ini};

mod stamped {
    blastbeat_tests::scenarios! {
        multiparts_of_a_wrong_length_never_reach_a_session
        another_nodes_session_is_not_obeyed
        ids_that_are_nobodys_are_counted
        an_unknown_capability_spoils_the_whole_list_and_is_told_once
        capabilities_hold_for_sessions_that_start_afterwards
        a_message_too_large_ends_the_link
        a_message_of_too_many_frames_ends_the_link
        the_packet_is_exactly_this
        credit_bounds_what_a_node_may_send
        credit_that_is_exceeded_ends_the_session
        a_request_that_its_node_lost_takes_its_body_along
        heads_that_come_in_two_messages_are_refused
    }
}

fn multiparts_of_a_wrong_length_never_reach_a_session(stage: &mut Stage) {
    stage.start(&ini(""));
    let node = stage.node("n1");
    let client = stage.client_sends(get("/"));
    let sid = stage.request(node).sid;
    let head = NO_CONTENT.as_bytes();
    stage.tell_raw(node, &[&sid]);
    stage.tell_raw(node, &[&sid, b"headers"]);
    stage.tell_raw(node, &[&sid, b"headers", head, b""]);
    stage.tell_raw(node, &[b"", &sid, b"headers", head]);
    stage.tell_raw(node, &[b"n2", &sid, b"headers", head, b"n2", &sid, b"headers", head]);
    for _ in 0..5 {
        stage.dropped("n1", Cause::PartsWrong);
    }
    stage.expect_nothing(client);
    stage.counted(Cause::PartsWrong, 5);
    stage.tell(node, &sid, "headers", head);
    stage.expect(client, NO_CONTENT);
    stage.expect_end(node, &sid);
}

fn another_nodes_session_is_not_obeyed(stage: &mut Stage) {
    stage.start(&ini(""));
    let (one, two) = (stage.node("n1"), stage.node("n2"));
    let client = stage.client_sends(get("/"));
    let sid = stage.request(one).sid;
    for kind in ["headers", "body", "chunk", "end", "retry", "uwsgi"] {
        stage.tell_raw(two, &[&sid, kind.as_bytes(), NO_CONTENT.as_bytes()]);
        stage.dropped("n2", Cause::SessionForeign);
    }
    stage.expect_nothing(client);
    stage.expect_no_message(one);
    stage.tell(one, &sid, "headers", NO_CONTENT);
    stage.expect(client, NO_CONTENT);
    stage.expect_end(one, &sid);
}

fn ids_that_are_nobodys_are_counted(stage: &mut Stage) {
    stage.start(&ini(""));
    let node = stage.node("n1");
    let client = stage.client_sends(get("/"));
    let sid = stage.request(node).sid;
    let mut guessed = sid.clone();
    guessed[15] ^= 1;
    for wrong in [&guessed[..], &sid[..15], &[&sid[..], b"x"].concat(), b"", &[0xff; 16]] {
        stage.tell_raw(node, &[wrong, b"headers", NO_CONTENT.as_bytes()]);
    }
    stage.counted(Cause::SessionUnknown, 5);
    stage.expect_nothing(client);
    stage.tell(node, &sid, "headers", NO_CONTENT);
    stage.expect(client, NO_CONTENT);
    stage.expect_end(node, &sid);
    stage.tell(node, &sid, "body", "late");
    stage.counted(Cause::SessionStale, 1);
}

fn an_unknown_capability_spoils_the_whole_list_and_is_told_once(stage: &mut Stage) {
    stage.start(&ini(""));
    let node = stage.node_with("n1", "body-end frobnicate");
    stage.dropped("n1", Cause::CapabilityUnknown);
    let client = stage.client_sends("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
    let sid = stage.request(node).sid;
    stage.expect_body(node, &sid, "hi");
    stage.expect_no_message(node);
    stage.tell(node, b"", "pong", "body-end frobnicate");
    stage.tell(node, b"", "pong", "body-end frobnicate");
    stage.tell(node, &sid, "headers", NO_CONTENT);
    stage.expect(client, NO_CONTENT);
    stage.expect_end(node, &sid);
    stage.settle();
    let again = stage.host().reports().iter().any(|report| matches!(report, Report::MessageDropped { .. }));
    assert!(!again, "it is reported once");
}

fn capabilities_hold_for_sessions_that_start_afterwards(stage: &mut Stage) {
    stage.start(&ini(""));
    let node = stage.node("n1");
    let post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n";
    let client = stage.client_sends(format!("{post}hi"));
    let sid = stage.request(node).sid;
    stage.expect_body(node, &sid, "hi");
    stage.tell(node, b"", "pong", "body-end end-reason");
    stage.settle();
    stage.send(client, "ya");
    stage.expect_body(node, &sid, "ya");
    stage.tell(node, &sid, "headers", NO_CONTENT);
    stage.expect(client, NO_CONTENT);
    stage.expect_end(node, &sid);
    stage.send(client, format!("{post}hiya"));
    let sid = stage.request(node).sid;
    stage.expect_body(node, &sid, "hiya");
    stage.expect_message(node, &sid, "body", "");
    stage.tell(node, &sid, "headers", NO_CONTENT);
    stage.expect(client, NO_CONTENT);
    stage.expect_message(node, &sid, "end", "complete");
}

fn a_message_too_large_ends_the_link(stage: &mut Stage) {
    stage.start(&ini("max-message = 1000"));
    let node = stage.node("n1");
    let client = stage.client_sends("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
    let sid = stage.request(node).sid;
    stage.expect_body(node, &sid, "hi");
    // Refused by what its header announces; none of it has to come.
    stage.tell_bytes(node, &[2, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff]);
    assert_eq!(stage.lost("n1"), Cause::MessageTooLarge);
    stage.expect_page(client, Cause::NodeLost);
    stage.expect_link_closed(node);
}

fn a_message_of_too_many_frames_ends_the_link(stage: &mut Stage) {
    stage.start(&ini("max-frames = 10"));
    let node = stage.node("n1");
    stage.up(node);
    stage.tell_bytes(node, &[1, 0].repeat(11));
    assert_eq!(stage.lost("n1"), Cause::FramesTooMany);
    stage.expect_link_closed(node);
}

fn the_packet_is_exactly_this(stage: &mut Stage) {
    stage.start(&ini(""));
    let node = stage.node("n1");
    let client = stage.client_sends(
        "POST /a%20b?c=d HTTP/1.1\r\nHost: a:81\r\nContent-Type: text/x\r\nContent-Length: 0\r\nX-One: 1\r\nx-ONE: 2\r\n\
         Bad_Name: 3\r\nProxy: 4\r\nX-Forwarded-For: 9.9.9.9\r\n\r\n",
    );
    let request = stage.request(node);
    let shown: Vec<(&str, &str)> = request
        .variables
        .iter()
        .map(|(name, value)| (&name[..], std::str::from_utf8(value).expect("an ASCII value")))
        .filter(|(name, _)| !matches!(*name, "REMOTE_PORT" | "REQUEST_ID" | "SERVER_PORT"))
        .collect();
    let expected = [
        ("REQUEST_METHOD", "POST"),
        ("SCRIPT_NAME", ""),
        ("PATH_INFO", "/a%20b"),
        ("QUERY_STRING", "c=d"),
        ("CONTENT_TYPE", "text/x"),
        ("CONTENT_LENGTH", "0"),
        ("SERVER_NAME", "a"),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
        ("REMOTE_ADDR", "127.0.0.1"),
        ("HTTP_HOST", "a:81"),
        ("HTTP_CONTENT_TYPE", "text/x"),
        ("HTTP_CONTENT_LENGTH", "0"),
        ("HTTP_X_ONE", "1"),
        ("HTTP_X_ONE", "2"),
        ("HTTP_X_FORWARDED_FOR", "9.9.9.9"),
        ("REQUEST_URI", "/a%20b?c=d"),
        ("REQUEST_SCHEME", "http"),
    ];
    assert_eq!(shown, expected);
    let id = request.get("REQUEST_ID").expect("every packet has one");
    assert!(id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    stage.tell(node, &request.sid, "uwsgi", packet::encode(&[("STATUS", "204 No Content"), ("X", "y")]));
    stage.expect(client, "HTTP/1.1 204 No Content\r\nX: y\r\n\r\n");
    stage.expect_end(node, &request.sid);
}

fn credit_bounds_what_a_node_may_send(stage: &mut Stage) {
    stage.start(&ini("credit = 10000"));
    let node = stage.node_with("n1", "credit");
    let client = stage.client_sends(get("/"));
    let sid = stage.request(node).sid;
    let total = 100_000;
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {total}\r\n\r\n");
    let mut credit = credit_of(&stage.message(node), &sid);
    assert_eq!(credit, 10_000, "the first credit comes with the request");
    stage.tell(node, &sid, "headers", &head);
    credit -= head.len();
    let mut left = total;
    while left > 0 {
        while credit == 0 {
            credit += credit_of(&stage.message(node), &sid);
            assert!(credit <= 10_000, "more credit than there may be");
        }
        let piece = credit.min(left).min(3000);
        stage.tell(node, &sid, "body", vec![b'x'; piece]);
        credit -= piece;
        left -= piece;
    }
    stage.expect(client, head);
    assert_eq!(stage.read(client, total), vec![b'x'; total]);
    loop {
        let message = stage.message(node);
        if message.kind == "end" {
            break;
        }
        credit_of(&message, &sid);
    }
}

fn credit_of(message: &blastbeat_tests::stage::Message, sid: &[u8]) -> usize {
    assert_eq!((&message.sid[..], &message.kind[..]), (sid, "credit"), "{message:?}");
    std::str::from_utf8(&message.body).expect("ASCII").parse().expect("a number")
}

fn credit_that_is_exceeded_ends_the_session(stage: &mut Stage) {
    stage.start(&ini("credit = 1000"));
    let node = stage.node_with("n1", "credit end-reason");
    let client = stage.client_sends(get("/"));
    let sid = stage.request(node).sid;
    assert_eq!(credit_of(&stage.message(node), &sid), 1000);
    // A head that is larger than the credit goes out whole; a body is not allowed to be.
    let client_two = stage.client_sends(get("/body"));
    let two = stage.request(node).sid;
    assert_eq!(credit_of(&stage.message(node), &two), 1000);
    stage.tell(node, &two, "body", format!("HTTP/1.1 200 OK\r\nContent-Length: 1100\r\n\r\n{}", "y".repeat(1100)));
    stage.expect_message(node, &two, "end", "credit-exceeded");
    stage.expect_page(client_two, Cause::CreditExceeded);
    stage.tell(node, &sid, "headers", NO_CONTENT);
    stage.expect(client, NO_CONTENT);
    stage.expect_message(node, &sid, "end", "complete");
}

fn a_request_that_its_node_lost_takes_its_body_along(stage: &mut Stage) {
    stage.start(&ini(""));
    let one = stage.node("n1");
    let client = stage.client_sends("PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
    let sid = stage.request(one).sid;
    stage.expect_body(one, &sid, "hello");
    let two = stage.node_with("n2", "body-end");
    let link = stage.as_client(one);
    stage.close(link);
    let again = stage.request(two);
    assert_eq!((&again.sid, again.get("REDISPATCHED")), (&sid, Some("1")));
    stage.expect_body(two, &sid, "hello");
    stage.send(client, "6\r\n world\r\n0\r\n\r\n");
    stage.expect_body(two, &sid, " world");
    stage.expect_message(two, &sid, "body", "");
    stage.tell(two, &sid, "headers", NO_CONTENT);
    stage.expect(client, NO_CONTENT);
    stage.expect_end(two, &sid);
}

fn heads_that_come_in_two_messages_are_refused(stage: &mut Stage) {
    stage.start(&ini(""));
    let node = stage.node("n1");
    let client = stage.client_sends(get("/"));
    let sid = stage.request(node).sid;
    stage.tell(node, &sid, "headers", "HTTP/1.1 200 OK\r\nContent-");
    stage.tell(node, &sid, "headers", "Length: 0\r\n\r\n");
    stage.expect_page(client, Cause::ResponseMalformed);
    stage.expect_end(node, &sid);
    stage.counted(Cause::SessionStale, 1);
}
