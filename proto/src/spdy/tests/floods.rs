//! Attacks, by their scripts: each ends the connection with its cause, and memory stays flat until then.

use super::*;

/// More than this a connection that is flooded never holds.
const HELD_MAX: usize = 400 * 1024;

/// Sends what `attack` gives, by its number, until the connection closes; returns why and after how many.
fn attack(version: Version, script: impl FnMut(&mut Peer, u32) -> Vec<u8>) -> (Cause, u32) {
    attack_with(version, Limits::DEFAULT, script)
}

fn attack_with(version: Version, limits: Limits, mut attack: impl FnMut(&mut Peer, u32) -> Vec<u8>) -> (Cause, u32) {
    let (mut server, mut peer) = server_with(version, limits);
    for n in 0..20_000 {
        for (stream, event) in feed(&mut server, &attack(&mut peer, n)) {
            if let Event::Part(http::Event::Body(piece)) = event {
                server.release(StreamId(stream), piece.len(), NOW);
            }
        }
        assert!(server.held() < HELD_MAX, "{} after {n}", server.held());
        let frames = written(&mut server);
        if let Some(cause) = server.is_closing() {
            assert_eq!(server.violation(), Some(cause.into()));
            farewell(&frames);
            return (cause, n);
        }
    }
    panic!("20,000 were borne");
}

fn stream(n: u32) -> u32 {
    2 * n + 1
}

#[test]
fn frames_that_ask_for_answers_or_say_nothing() {
    for version in Version::ALL {
        assert_eq!(attack(version, |_, _| numbers(version, PING, &[1])), (Cause::PingFlood, 600));
        assert_eq!(attack(version, |_, _| numbers(version, SETTINGS, &[0])), (Cause::SettingsFlood, 100));
        assert_eq!(attack(version, |_, _| control(version, 99, 0, b"")), (Cause::EmptyFrameFlood, 500));
        let updates = |_: &mut Peer, _| numbers(version, WINDOW_UPDATE, &[1, 1]);
        assert_eq!(attack(version, updates), (Cause::WindowUpdateFlood, 2000));
        let resets = |_: &mut Peer, _| numbers(version, RST_STREAM, &[1, 5]);
        assert_eq!(attack(version, resets), (Cause::RapidReset, 1000));
        let empty = |peer: &mut Peer, n| if n == 0 { peer.post(1, &[]) } else { data(1, 0, b"") };
        assert_eq!(attack(version, empty), (Cause::EmptyFrameFlood, 501));
        let headers = |peer: &mut Peer, n| if n == 0 { peer.post(1, &[]) } else { peer.headers(1, 0, &[]) };
        assert_eq!(attack(version, headers), (Cause::EmptyFrameFlood, 501));
    }
    assert_eq!(attack(Version::V2, |_, _| control(Version::V2, NOOP, 0, b"")), (Cause::EmptyFrameFlood, 500));
}

#[test]
fn requests_taken_back_again_and_again() {
    for version in Version::ALL {
        let script =
            |peer: &mut Peer, n| [peer.get(stream(n), "/"), numbers(version, RST_STREAM, &[stream(n), 5])].concat();
        assert_eq!(attack(version, script), (Cause::RapidReset, 1000));
    }
}

#[test]
fn streams_that_the_server_is_made_to_reset() {
    for version in Version::ALL {
        let malformed = |peer: &mut Peer, n| peer.syn(stream(n), FIN, &[("", "x")]);
        assert_eq!(attack(version, malformed), (Cause::StreamErrors, 200));
        let nowhere = |peer: &mut Peer, n| if n == 0 { peer.get(1, "/") } else { data(stream(n), 0, b"x") };
        assert_eq!(attack(version, nowhere), (Cause::StreamErrors, 201));
        let too_many = |peer: &mut Peer, n| peer.get(stream(n), "/");
        assert_eq!(attack(version, too_many), (Cause::StreamErrors, 300));
    }
}

#[test]
fn a_visitor_who_leaves_pages_while_they_load_is_no_attacker() {
    let (mut server, mut peer) = server(Version::V31);
    let mut n = 0;
    for minute in 0..5 {
        for _ in 0..900 {
            let now = NOW + Duration::from_secs(60 * minute);
            let reset = numbers(Version::V31, RST_STREAM, &[stream(n), 5]);
            feed_at(&mut server, &[peer.get(stream(n), "/"), reset].concat(), now);
            n += 1;
        }
    }
    assert_eq!((server.is_closing(), server.take_tally().taken_back), (None, 4500));
}

#[test]
fn a_small_block_that_decompresses_to_a_huge_one() {
    for version in Version::ALL {
        let zeros = alloc::vec![0; 512 * 1024];
        let script = |peer: &mut Peer, n: u32| {
            let mut block = peer.compress(&zeros);
            let mut payload = stream(n).to_be_bytes().to_vec();
            payload.extend_from_slice(&[0; 6]);
            payload.append(&mut block);
            assert!(payload.len() < 8000, "a bomb is small");
            control(version, SYN_STREAM, FIN, &payload)
        };
        assert_eq!(attack(version, script), (Cause::HeaderBomb, 0));
    }
}

#[test]
fn a_head_too_large_but_not_absurd_is_answered_and_what_follows_is_read() {
    let (mut server, mut peer) = server(Version::V3);
    let long = "x".repeat(150_000);
    let fields = head(Version::V3, "GET", "/", &[("x-long", &long)]);
    assert_eq!(feed(&mut server, &peer.syn(1, FIN, &fields)), [(1, refused(Cause::HeadTooLarge))]);
    assert_eq!(feed(&mut server, &peer.get(3, "/")).len(), 2);
    assert!(server.held() < HELD_MAX, "{}", server.held());
}

#[test]
fn heads_too_large_again_and_again() {
    for version in Version::ALL {
        let limits = Limits { head_bytes: 300, fields: 10, ..Limits::DEFAULT };
        let zeros = "0".repeat(500);
        let more = [("x-a", &zeros[..])];
        let script = |peer: &mut Peer, n| {
            let fields = head(version, "GET", "/", &more);
            peer.syn(stream(n), FIN, &fields)
        };
        assert_eq!(attack_with(version, limits.clone(), script), (Cause::StreamErrors, 200));
        // Wherever such a block stands.
        let script = |peer: &mut Peer, n| {
            if n == 0 { peer.post(1, &[]) } else { peer.headers(1, 0, &more) }
        };
        assert_eq!(attack_with(version, limits, script), (Cause::StreamErrors, 201));
    }
}

#[test]
fn blocks_for_nobody() {
    for version in Version::ALL {
        let gone = |peer: &mut Peer, n| match n {
            0 => [peer.get(1, "/"), numbers(version, RST_STREAM, &[1, 5])].concat(),
            _ => peer.headers(1, 0, &[("x", "y")]),
        };
        assert_eq!(attack(version, gone), (Cause::EmptyFrameFlood, 501));
        let gone = |peer: &mut Peer, n| match n {
            0 => [peer.get(1, "/"), numbers(version, RST_STREAM, &[1, 5])].concat(),
            _ => {
                let headers = peer.headers(1, 0, &[("x", "y")]);
                control(version, SYN_REPLY, 0, &headers[HEADER..])
            }
        };
        assert_eq!(attack(version, gone), (Cause::EmptyFrameFlood, 501));
    }
}

#[test]
fn requests_on_a_connection_that_ends() {
    for version in Version::ALL {
        let (mut server, mut peer) = asked(version);
        server.close_after_responses(NOW);
        written(&mut server);
        for n in 1..=200 {
            assert_eq!(feed(&mut server, &peer.get(stream(n), "/")), []);
            assert_eq!(resets(&written(&mut server)), [(stream(n), StatusCode::REFUSED_STREAM)]);
        }
        assert_eq!(violation(&mut server, &peer.get(stream(201), "/")), Cause::StreamErrors);
    }
}

#[test]
fn many_large_heads_at_once_are_shown_a_few_at_a_time() {
    let (mut server, mut peer) = server(Version::V3);
    let long = "x".repeat(40_000);
    let fields = head(Version::V3, "GET", "/", &[("x-long", &long)]);
    let input: Vec<u8> = (0..20).flat_map(|n| peer.syn(stream(n), FIN, &fields)).collect();
    assert!(input.len() < 100_000, "{}", input.len());
    let (mut used, mut seen) = (0, 0);
    while used < input.len() {
        used += server.receive(&input[used..], NOW);
        let mut held = 0;
        while let Some((_, event)) = server.poll_event() {
            if let Event::Part(http::Event::Request(request)) = event {
                held += request.text().len();
                seen += 1;
            }
        }
        assert!(held < 120_000, "{held}");
    }
    assert_eq!(seen, 20);
}

#[test]
fn data_for_nobody_does_not_shut_the_connections_window() {
    let (mut server, mut peer) = server(Version::V31);
    let mut sent: usize = 0;
    for n in 0..100 {
        feed(&mut server, &[peer.post(stream(n), &[]), data(stream(n), 0, &[0; 50_000])].concat());
        server.reset(StreamId(stream(n)), StatusCode::CANCEL, NOW);
        feed(&mut server, &data(stream(n), 0, &[0; 50_000]));
        sent += 100_000;
    }
    let given: u32 = of_kind(&written(&mut server), WINDOW_UPDATE).iter().map(|frame| frame.number(4)).sum();
    assert_eq!(server.is_closing(), None);
    assert!(given as usize > sent - 600_000, "{given} of {sent}");
}
