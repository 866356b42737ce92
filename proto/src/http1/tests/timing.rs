//! Deadlines.

use super::*;

const LIMITS: Limits = Limits {
    head_timeout: Duration::from_secs(1),
    body_timeout: Duration::from_secs(2),
    keep_alive_timeout: Duration::from_secs(3),
    drain_timeout: Duration::from_secs(4),
    drain_bytes: 100,
    ..Limits::DEFAULT
};
const PUT: &[u8] = b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n";
const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

fn after(seconds: u64) -> Instant {
    NOW + Duration::from_secs(seconds)
}

/// Lets the deadline pass, which must be `at`; returns the cause of the end and the first line of the farewell.
fn expire(server: &mut Connection, at: Instant) -> (Option<Cause>, String) {
    server.outbound().clear();
    assert_eq!(server.poll_timeout(), Some(at));
    server.handle_timeout(Instant::from_epoch(at.since_epoch() - Duration::from_nanos(1)));
    assert_eq!((server.is_closing(), server.outbound().len()), (None, 0), "too early");
    server.handle_timeout(at);
    let line = written(server).lines().next().unwrap_or_default().into();
    assert_eq!(server.poll_timeout(), None);
    (server.is_closing(), line)
}

fn answered() -> Connection {
    let mut server = server_with(LIMITS);
    feed(&mut server, GET);
    server.send(response("HTTP/1.1 204 No Content\r\n\r\n"), after(10)).unwrap();
    server.outbound().clear();
    server
}

#[test]
fn a_silent_connection_is_closed_without_a_word() {
    let mut server = server_with(LIMITS);
    assert_eq!(expire(&mut server, after(1)), (Some(Cause::HeadTimeout), String::new()));
    assert_eq!(expire(&mut answered(), after(13)), (Some(Cause::KeepAliveTimeout), String::new()));
}

#[test]
fn a_slow_head_is_answered_with_408() {
    let mut server = server_with(LIMITS);
    server.receive(b"GET", after(0));
    server.receive(b"GET /", after(0) + Duration::from_millis(900));
    let farewell = (Some(Cause::HeadTimeout), "HTTP/1.1 408 Request Timeout".into());
    assert_eq!(expire(&mut server, after(1)), farewell);

    let mut kept = answered();
    kept.receive(b"G", after(12));
    assert_eq!(expire(&mut kept, after(13)), farewell);
}

#[test]
fn a_body_may_take_long_if_it_keeps_coming() {
    let mut server = server_with(LIMITS);
    feed(&mut server, PUT);
    assert_eq!(server.poll_timeout(), Some(after(2)));
    server.receive(b"a", after(1));
    assert_eq!(server.poll_event(), Some(body("a")));
    assert_eq!(expire(&mut server, after(3)), (Some(Cause::BodyTimeout), "HTTP/1.1 408 Request Timeout".into()));
}

#[test]
fn a_body_is_not_awaited_while_the_server_itself_waits() {
    let mut server = server_with(LIMITS);
    feed(&mut server, PUT);
    server.set_reading(false, after(1));
    assert_eq!(server.poll_timeout(), None);
    server.set_reading(true, after(5));
    assert_eq!(server.poll_timeout(), Some(after(7)));

    let mut expecting = server_with(LIMITS);
    feed(&mut expecting, b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(expecting.poll_timeout(), None);
    expecting.send_continue(after(5));
    assert_eq!(expecting.poll_timeout(), Some(after(7)));
}

#[test]
fn a_body_that_stops_after_the_response_began_cuts_it() {
    let mut server = server_with(LIMITS);
    feed(&mut server, PUT);
    server.send(response("HTTP/1.1 200 OK\r\n\r\n"), NOW).unwrap();
    assert_eq!(expire(&mut server, after(2)), (Some(Cause::BodyTimeout), String::new()));
}

#[test]
fn the_rest_of_a_body_is_thrown_away_for_a_while() {
    let mut server = server_with(LIMITS);
    feed(&mut server, PUT);
    server.send(response("HTTP/1.1 204 No Content\r\n\r\n"), after(1)).unwrap();
    assert_eq!(server.receive(b"ab", after(2)), 2);
    assert_eq!(expire(&mut server, after(5)), (Some(Cause::Complete), String::new()));
}

#[test]
fn a_complete_request_waits_without_a_deadline_of_the_machine() {
    let mut server = server_with(LIMITS);
    feed(&mut server, GET);
    assert_eq!(server.poll_timeout(), None);
}

#[test]
fn a_client_that_is_still_taking_its_response_is_not_idle() {
    let mut server = server_with(LIMITS);
    feed(&mut server, GET);
    server.send(response("HTTP/1.1 204 No Content\r\n\r\n"), after(10)).unwrap();
    server.handle_timeout(after(13));
    assert_eq!((server.is_closing(), server.poll_timeout()), (None, Some(after(16))));
}

#[test]
fn spurious_timeouts_change_nothing() {
    let mut server = server_with(LIMITS);
    for byte in PUT.iter().chain(b"ab") {
        server.handle_timeout(NOW);
        let _ = offer(&mut server, &[*byte]);
    }
    assert_eq!((server.is_closing(), server.outbound().len()), (None, 0));
}
