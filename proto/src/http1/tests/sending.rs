//! What becomes of what is sent.

use super::*;

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const OLD: &str = "GET / HTTP/1.0\r\nHost: a\r\n\r\n";
const OLD_KEPT: &str = "GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n";
const LAST: &str = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
const HEAD: &str = "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n";

/// Sends a whole response and returns the text, how far it came, and whether the connection closes.
fn answer(request: &str, events: Vec<Event>) -> (String, Result<Progress, SendError>, Option<Cause>) {
    let mut server = asked(request);
    let mut last = Ok(Progress::Open);
    for event in events {
        last = server.send(event, NOW);
    }
    (written(&mut server), last, server.is_closing())
}

#[test]
fn a_head_leaves_as_it_came_but_for_framing_and_persistence() {
    let sized = "HTTP/1.1 200 Fine\r\nx-a:  b \r\nContent-Length: 2\r\n";
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nA: b\r\n";
    let unframed = "HTTP/1.0 200 OK\r\nA: b\r\n";
    let kept = "HTTP/1.1 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 2\r\n";
    let several =
        "HTTP/1.1 200 OK\r\nConnection: x-a, keep-alive\r\nx-a: b\r\nConnection: keep-alive\r\nContent-Length: 2\r\n";
    let closing = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n";
    for (request, head, expected, closes) in [
        (GET, sized, "HTTP/1.1 200 Fine\r\nx-a:  b \r\nContent-Length: 2\r\n\r\nhi", false),
        (LAST, sized, "HTTP/1.1 200 Fine\r\nx-a:  b \r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi", true),
        (OLD, sized, "HTTP/1.0 200 Fine\r\nx-a:  b \r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi", true),
        (
            OLD_KEPT,
            sized,
            "HTTP/1.0 200 Fine\r\nx-a:  b \r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nhi",
            false,
        ),
        (GET, chunked, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nA: b\r\n\r\n2\r\nhi\r\n0\r\n\r\n", false),
        (OLD, chunked, "HTTP/1.0 200 OK\r\nA: b\r\nConnection: close\r\n\r\nhi", true),
        (OLD_KEPT, chunked, "HTTP/1.0 200 OK\r\nA: b\r\nConnection: close\r\n\r\nhi", true),
        (GET, unframed, "HTTP/1.1 200 OK\r\nA: b\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", false),
        (OLD, unframed, "HTTP/1.0 200 OK\r\nA: b\r\nConnection: close\r\n\r\nhi", true),
        (GET, kept, "HTTP/1.1 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 2\r\n\r\nhi", false),
        (OLD_KEPT, kept, "HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 2\r\n\r\nhi", false),
        (LAST, kept, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi", true),
        (LAST, several, "HTTP/1.1 200 OK\r\nConnection: close, x-a\r\nx-a: b\r\nContent-Length: 2\r\n\r\nhi", true),
        (GET, closing, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi", true),
        (OLD_KEPT, closing, "HTTP/1.0 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi", true),
    ] {
        let head = alloc::format!("{head}\r\n").leak();
        let (text, progress, closing) = answer(request, alloc::vec![response(head), body("hi"), Event::End]);
        assert_eq!(text, expected, "{request:?} {head:?}");
        let close_is_seen_by_the_end =
            if closes && head.contains("Length") { Err(SendError::OutOfOrder) } else { Ok(Progress::Complete) };
        assert_eq!(
            (progress, closing),
            (close_is_seen_by_the_end, closes.then_some(Cause::Complete)),
            "{request:?} {head:?}"
        );
    }
}

#[test]
fn responses_without_a_body_are_complete_with_their_head() {
    for (request, head, expected) in [
        (HEAD, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
        (HEAD, "HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n"),
        (GET, "HTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.1 204 No Content\r\n\r\n"),
        (
            GET,
            "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
        ),
        (GET, "HTTP/1.1 204 No\r\nContent-Length: 5\r\nA: b\r\n\r\n", "HTTP/1.1 204 No\r\nA: b\r\n\r\n"),
        (GET, "HTTP/1.1 204 No\r\nA: b\r\nTransfer-Encoding: chunked\r\n\r\n", "HTTP/1.1 204 No\r\nA: b\r\n\r\n"),
        (GET, "HTTP/1.1 304 Same\r\nContent-Length: 5\r\n\r\n", "HTTP/1.1 304 Same\r\nContent-Length: 5\r\n\r\n"),
        (GET, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ] {
        let (text, progress, closing) = answer(request, alloc::vec![response(head)]);
        assert_eq!((&text[..], progress, closing), (expected, Ok(Progress::Complete), None));
        let (text, progress, _) = answer(request, alloc::vec![response(head), body("hello")]);
        assert_eq!((&text[..], progress), (expected, Err(SendError::OutOfOrder)));
    }
}

#[test]
fn interim_responses_come_before_the_final_one() {
    let hints = "HTTP/1.0 103 Early Hints\r\nLink: </a>\r\nContent-Length: 3\r\n\r\n";
    let fine = "HTTP/1.1 204 No Content\r\n\r\n";
    let (text, ..) = answer(GET, alloc::vec![response(hints), response(fine)]);
    assert_eq!(text, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n");
    let (text, ..) = answer(OLD_KEPT, alloc::vec![response(hints), response(fine)]);
    assert_eq!(text, "HTTP/1.0 204 No Content\r\nConnection: keep-alive\r\n\r\n");
    let switching = response("HTTP/1.1 101 Switching Protocols\r\n\r\n");
    let (text, progress, closing) = answer(GET, alloc::vec![switching]);
    assert_eq!((&text[..], progress, closing), ("", Err(SendError::Unsupported), None));
}

#[test]
fn parts_out_of_order_are_refused_and_change_nothing() {
    let fine = response("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n");
    let mut idle = server();
    assert_eq!(idle.send(fine.clone(), NOW), Err(SendError::OutOfOrder));
    assert_eq!(idle.send(body("x"), NOW), Err(SendError::OutOfOrder));
    let mut waiting = asked(GET);
    assert_eq!(waiting.send(body("x"), NOW), Err(SendError::OutOfOrder));
    assert_eq!(waiting.send(Event::End, NOW), Err(SendError::OutOfOrder));
    assert_eq!(written(&mut waiting), "");
    assert_eq!(waiting.send(fine.clone(), NOW), Ok(Progress::Open));
    assert_eq!(waiting.send(fine, NOW), Err(SendError::OutOfOrder));
    assert_eq!(waiting.send(body("hi"), NOW), Ok(Progress::Complete));
    assert!(written(&mut waiting).ends_with("\r\n\r\nhi"));
}

#[test]
fn a_length_that_is_not_kept_ends_the_connection() {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n";
    let (text, progress, closing) = answer(GET, alloc::vec![response(head), body("ab"), body("cd")]);
    assert!(text.ends_with("\r\n\r\nabc"));
    assert_eq!((progress, closing), (Err(SendError::TooLong), Some(Cause::ResponseTooLong)));
    let (text, progress, closing) = answer(GET, alloc::vec![response(head), body("ab"), Event::End]);
    assert!(text.ends_with("\r\n\r\nab"));
    assert_eq!((progress, closing), (Err(SendError::TooShort), Some(Cause::NodeEnded)));
}

#[test]
fn large_pieces_are_shared_and_small_ones_copied_together() {
    let large = Bytes::from(alloc::vec![b'x'; 5000]);
    let mut server = asked(GET);
    server.send(response("HTTP/1.1 200 OK\r\n\r\n"), NOW).unwrap();
    server.send(Event::Body(large.clone()), NOW).unwrap();
    server.send(body(""), NOW).unwrap();
    server.send(body("0123456789abcdef"), NOW).unwrap();
    server.send(Event::End, NOW).unwrap();
    let pieces: Vec<_> = server.outbound().iter().collect();
    assert_eq!(pieces.len(), 3);
    assert!(pieces[0].ends_with(b"\r\n\r\n1388\r\n"));
    assert_eq!(pieces[1].as_ptr(), large.as_ptr());
    assert_eq!(pieces[2], b"\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n");

    let mut server = asked(GET);
    server.send(response("HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n"), NOW).unwrap();
    server.send(body("Hello, world!"), NOW).unwrap();
    assert_eq!(server.outbound().iter().count(), 1);
}

#[test]
fn continue_is_said_once_and_only_while_it_is_awaited() {
    let expecting = "PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 2\r\n\r\n";
    let mut server = asked(expecting);
    server.send_continue(NOW);
    server.send_continue(NOW);
    assert_eq!(written(&mut server), "HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(feed(&mut server, b"ab"), [body("ab"), Event::End]);

    let mut from_the_node = asked(expecting);
    let go_on = response("HTTP/1.1 100 Continue\r\nA: b\r\n\r\n");
    assert_eq!(from_the_node.send(go_on.clone(), NOW), Ok(Progress::Open));
    assert_eq!(from_the_node.send(go_on, NOW), Ok(Progress::Open));
    assert_eq!(written(&mut from_the_node), "HTTP/1.1 100 Continue\r\n\r\n");

    let mut impatient = asked(expecting);
    feed(&mut impatient, b"a");
    impatient.send_continue(NOW);
    assert_eq!(written(&mut impatient), "");

    for request in [GET, "PUT / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"] {
        let mut unasked = asked(request);
        unasked.send_continue(NOW);
        assert_eq!(written(&mut unasked), "");
    }
}

#[test]
fn a_refusal_before_continue_closes_since_the_body_may_or_may_not_come() {
    let mut server = asked("PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    let progress = server.send(response("HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n"), NOW);
    assert_eq!(progress, Ok(Progress::Complete));
    assert_eq!(written(&mut server), "HTTP/1.1 403 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    assert_eq!(server.is_closing(), Some(Cause::Complete));
}

#[test]
fn after_an_early_answer_the_rest_of_the_body_is_thrown_away() {
    let limits = Limits { drain_bytes: 10, ..Limits::DEFAULT };
    let early = |head: &str, rest: &[u8]| {
        let mut server = server_with(limits.clone());
        let events = feed(&mut server, head.as_bytes());
        assert!(matches!(events[..], [Event::Request(_), ..]));
        assert_eq!(server.send(response("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), NOW), Ok(Progress::Complete));
        let events = feed(&mut server, rest);
        (server.is_closing(), server.violation(), events)
    };
    let (closing, _, events) = early(
        "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n\r\nab",
        b"0123456789GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    );
    assert_eq!(closing, None);
    assert!(matches!(&events[..], [Event::Request(next), Event::End] if next.method() == b"GET"), "{events:?}");
    let (closing, violation, events) = early("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 13\r\n\r\nab", b"");
    assert_eq!((closing, violation, events), (Some(Cause::Complete), None, Vec::new()));
    let chunked = "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx";
    let (closing, _, events) = early(chunked, b"\r\na\r\n0123456789\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(closing, None);
    assert!(matches!(&events[..], [Event::Request(_), Event::End]), "{events:?}");
    let (closing, violation, events) =
        early(chunked, b"\r\nb\r\n0123456789a\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!((closing, violation, events), (Some(Cause::Complete), None, Vec::new()));
}

#[test]
fn a_failed_exchange_is_answered_with_a_page_if_it_still_can_be() {
    let mut server = asked("GET / HTTP/1.1\r\nHost: a\r\nAccept: text/html\r\n\r\n");
    assert!(server.fail(Cause::NodeMissing, NOW));
    let page = written(&mut server);
    assert!(page.starts_with("HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/html"), "{page}");
    assert!(!page.contains("Connection"), "{page}");
    assert!(server.is_idle());

    let mut head = asked(HEAD);
    assert!(head.fail_with(Cause::HostUnknown, 421, NOW));
    let page = written(&mut head);
    assert!(page.starts_with("HTTP/1.1 421 Misdirected Request\r\n") && page.ends_with("\r\n\r\n"), "{page}");

    let mut uploading = asked("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab");
    assert!(uploading.fail(Cause::NodeLost, NOW));
    assert!(written(&mut uploading).contains("\r\nConnection: close\r\n"));
    assert_eq!(uploading.is_closing(), Some(Cause::NodeLost));
    assert!(!uploading.request_complete());

    let mut begun = asked(GET);
    begun.send(response("HTTP/1.1 200 OK\r\n\r\n"), NOW).unwrap();
    begun.send(body("x"), NOW).unwrap();
    assert!(begun.response_begun());
    assert!(!begun.fail(Cause::NodeLost, NOW));
    assert!(written(&mut begun).ends_with("\r\n\r\n1\r\nx\r\n"));
    assert_eq!((begun.is_closing(), begun.violation()), (Some(Cause::NodeLost), None));
}

#[test]
fn the_last_response_says_so() {
    let fine = || response("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n");
    let mut idle = server();
    idle.close_after_response(NOW);
    assert_eq!(idle.is_closing(), Some(Cause::Complete));

    let mut waiting = asked(GET);
    waiting.close_after_response(NOW);
    assert_eq!(waiting.is_closing(), None);
    waiting.send(fine(), NOW).unwrap();
    waiting.send(body("hi"), NOW).unwrap();
    assert!(written(&mut waiting).contains("\r\nConnection: close\r\n"));
    assert_eq!(waiting.is_closing(), Some(Cause::Complete));
    assert!(waiting.request_complete());

    let mut begun = asked(GET);
    begun.send(fine(), NOW).unwrap();
    begun.close_after_response(NOW);
    assert_eq!(begun.send(body("hi"), NOW), Ok(Progress::Complete));
    assert_eq!(begun.is_closing(), Some(Cause::Complete));

    let mut partial = server();
    offer(&mut partial, b"GET / HTTP/1.1\r\n");
    partial.close_after_response(NOW);
    assert_eq!(partial.is_closing(), None);
}

#[test]
fn the_field_that_is_added_is_in_one_final_response_alone() {
    let field = |connection: &mut Connection| {
        connection.add_field(AddedField::new("Strict-Transport-Security", b"max-age=1").unwrap().into());
    };
    let answered = |request: &str, head: &'static str| {
        let mut server = asked(request);
        field(&mut server);
        server.send(response("HTTP/1.1 103 Early Hints\r\n\r\n"), NOW).unwrap();
        server.send(response(head), NOW).unwrap();
        written(&mut server).replace("HTTP/1.1 103 Early Hints\r\n\r\n", "")
    };
    let added = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nStrict-Transport-Security: max-age=1\r\n\r\n";
    assert_eq!(answered(GET, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"), added);
    let own = "HTTP/1.1 200 OK\r\nstrict-transport-security: max-age=2\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(answered(GET, own), own);
    let last = answered(OLD, "HTTP/1.0 204 Gone\r\nConnection: keep-alive, x\r\n\r\n");
    let expected = "HTTP/1.0 204 Gone\r\nConnection: close, x\r\nStrict-Transport-Security: max-age=1\r\n\r\n";
    assert_eq!(last, expected);

    let mut server = asked(GET);
    field(&mut server);
    server.fail(Cause::NodeMissing, NOW);
    assert!(written(&mut server).contains("\r\nStrict-Transport-Security: max-age=1\r\n"));
    feed(&mut server, GET.as_bytes());
    server.fail(Cause::NodeMissing, NOW);
    assert!(!written(&mut server).contains("Strict"), "the next request has its own");

    let mut server = asked(GET);
    field(&mut server);
    let Event::Response(switching) = response("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n") else {
        panic!()
    };
    let text = String::from_utf8(server.upgrade(&switching).unwrap().take()).unwrap();
    let expected = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nStrict-Transport-Security: max-age=1\r\n\r\n";
    assert_eq!(text, expected);
}
