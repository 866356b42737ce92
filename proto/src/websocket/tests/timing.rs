//! Pings, and the time that a close may take.

use super::*;

const PING: Duration = Duration::from_secs(30);
const CLOSE: Duration = Duration::from_secs(5);

/// Jumps to the next deadline and lets it take effect.
#[track_caller]
fn wait(connection: &mut Connection) -> Instant {
    let at = connection.poll_timeout().expect("there is a deadline");
    connection.handle_timeout(at);
    at
}

fn hear(connection: &mut Connection, now: Instant) {
    let frame = masked(0x81, b"x");
    assert_eq!(connection.receive(&frame, now), frame.len());
    assert_eq!(connection.poll_event(), Some(text("x")));
}

#[test]
fn a_silent_peer_is_pinged_and_then_cut() {
    let mut server = server();
    assert_eq!(wait(&mut server), NOW + PING);
    assert_eq!(written(&mut server), unmasked(0x89, b""));
    assert_eq!(wait(&mut server), NOW + PING + PING);
    assert_eq!(server.is_closing(), Some(Cause::PingTimeout));
    assert_eq!(written(&mut server), farewell(Cause::PingTimeout));
    assert_eq!((server.violation(), server.poll_timeout()), (None, None));
}

#[test]
fn anything_that_comes_is_a_sign_of_life() {
    let mut server = server();
    let mut now = NOW;
    for _ in 0..5 {
        now += Duration::from_secs(20);
        hear(&mut server, now);
        while server.poll_timeout().is_some_and(|at| at < now + PING) {
            wait(&mut server);
        }
        assert_eq!(server.queued(), 0);
    }
    assert_eq!(wait(&mut server), now + PING);
    assert_eq!(written(&mut server), unmasked(0x89, b""));
    // Part of a frame will do as well as the pong.
    assert_eq!(server.receive(&masked(0x82, b"xyz")[..7], now + PING + PING / 2), 7);
    wait(&mut server);
    assert_eq!((server.is_closing(), server.queued()), (None, 0));
}

#[test]
fn what_is_offered_again_is_no_sign_of_life() {
    let mut server = server();
    let frame = masked(0x89, b"ping");
    let (half, more) = (&frame[..3], &frame[..5]);
    assert_eq!(server.receive(half, NOW), 0);
    let pinged = wait(&mut server);
    assert_eq!(written(&mut server), unmasked(0x89, b""));
    let soon = pinged + Duration::from_secs(1);
    assert_eq!((server.receive(half, soon), server.receive(half, soon)), (0, 0));
    assert_eq!(server.receive(more, soon), 0, "one byte is");
    wait(&mut server);
    assert_eq!(server.is_closing(), None);
    let pinged = wait(&mut server);
    assert_eq!(written(&mut server), unmasked(0x89, b""));
    assert_eq!(server.receive(more, pinged + Duration::from_secs(1)), 0);
    wait(&mut server);
    assert_eq!(server.is_closing(), Some(Cause::PingTimeout));
}

#[test]
fn early_calls_change_nothing() {
    let mut server = server();
    let deadline = server.poll_timeout();
    for millis in [0, 1, 29_999] {
        server.handle_timeout(NOW + Duration::from_millis(millis));
        assert_eq!((server.poll_timeout(), server.queued()), (deadline, 0));
    }
}

#[test]
fn pings_can_be_turned_off() {
    let server = server_with(Settings { ping: Duration::ZERO, ..settings() }, None);
    assert_eq!(server.poll_timeout(), None);
}

#[test]
fn silence_says_nothing_while_bytes_wait_to_be_written() {
    let mut server = server();
    server.send(text("take this"), NOW).unwrap();
    for _ in 0..10 {
        wait(&mut server);
    }
    assert_eq!((server.is_closing(), written(&mut server)), (None, unmasked(0x81, b"take this")));
    let at = wait(&mut server);
    assert_eq!(written(&mut server), unmasked(0x89, b""));
    assert_eq!(wait(&mut server), at + PING);
    assert_eq!(server.is_closing(), Some(Cause::PingTimeout));
}

#[test]
fn silence_says_nothing_while_the_caller_does_not_read() {
    let mut server = server();
    server.set_reading(false, NOW);
    let mut now = NOW;
    for _ in 0..5 {
        now = wait(&mut server);
    }
    assert_eq!((server.is_closing(), server.queued()), (None, 0));
    server.set_reading(true, now);
    assert_eq!(wait(&mut server), now + PING);
    assert_eq!(written(&mut server), unmasked(0x89, b""));
}

#[test]
fn an_answer_to_a_close_frame_comes_in_time_or_not_at_all() {
    let mut server = server();
    server.fail(Cause::NodeEnded, NOW);
    written(&mut server);
    hear_nothing(&mut server, NOW + Duration::from_secs(1));
    assert_eq!(wait(&mut server), NOW + CLOSE);
    assert_eq!(server.is_closing(), Some(Cause::CloseTimeout));
    assert!(server.violation().is_none() && written(&mut server).is_empty());
}

/// After our close frame messages are no longer heard, nor do they give more time.
fn hear_nothing(connection: &mut Connection, now: Instant) {
    let frame = masked(0x81, b"x");
    assert_eq!(connection.receive(&frame, now), frame.len());
    assert_eq!(connection.poll_event(), None);
}

#[test]
fn a_peer_that_takes_what_is_queued_before_the_close_frame_has_its_time() {
    let mut server = server();
    server.send(binary(&[1; 100_000]), NOW).unwrap();
    server.send(close(1000, ""), NOW).unwrap();
    for _ in 0..4 {
        server.outbound().advance(10_000);
        wait(&mut server);
        assert_eq!(server.is_closing(), None);
    }
    wait(&mut server);
    assert_eq!(server.is_closing(), Some(Cause::CloseTimeout));
}

#[test]
fn who_breaks_the_protocol_gets_the_answers_to_what_came_before() {
    let delay = Duration::from_millis(100);
    let rude = || {
        let mut server = server_with(Settings { farewell_delay: delay, ..settings() }, None);
        hear(&mut server, NOW);
        let bytes = [masked(0xc2, b"reserved bit"), masked(0x81, b"too late")].concat();
        let later = NOW + Duration::from_millis(40);
        assert_eq!(server.receive(&bytes, later), bytes.len());
        assert_eq!((server.poll_event(), server.is_closing()), (None, None));
        assert_eq!(server.violation().map(|violation| violation.what), Some(Cause::FrameMalformed));
        (server, later)
    };

    let (mut server, later) = rude();
    server.send(text("answer"), later).expect("it may still be answered");
    assert_eq!(wait(&mut server), NOW + delay);
    assert_eq!(server.is_closing(), Some(Cause::FrameMalformed));
    let expected = [unmasked(0x81, b"answer"), farewell(Cause::FrameMalformed)].concat();
    assert_eq!(written(&mut server), expected);

    let (mut server, later) = rude();
    server.receive_eof(later);
    assert_eq!((server.is_closing(), server.queued()), (Some(Cause::FrameMalformed), 0));

    let (mut server, later) = rude();
    server.fail(Cause::Stopping, later);
    assert_eq!(server.is_closing(), Some(Cause::FrameMalformed));
    assert_eq!(written(&mut server), farewell(Cause::Stopping));
}

#[test]
fn who_breaks_the_protocol_out_of_the_blue_is_told_at_once() {
    let delay = Duration::from_millis(100);
    for heard in [false, true] {
        let mut server = server_with(Settings { farewell_delay: delay, ..settings() }, None);
        if heard {
            hear(&mut server, NOW);
        }
        let bytes = masked(0xc2, b"x");
        assert_eq!(server.receive(&bytes, NOW + delay), bytes.len());
        assert_eq!(server.is_closing(), Some(Cause::FrameMalformed));
    }
}
