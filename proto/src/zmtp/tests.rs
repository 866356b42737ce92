//! Conversations of two connections in memory, and what a hostile peer can try.

use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use super::*;
use crate::error::Cause;
use crate::time::Instant;

const SECOND: Duration = Duration::from_secs(1);

fn at(seconds: u64) -> Instant {
    Instant::from_millis(1000 * seconds)
}

fn settings(role: Role) -> Settings {
    Settings { heartbeat: Some(SECOND * 10), handshake_timeout: SECOND * 5, ..Settings::new(role, &Limits::DEFAULT) }
}

fn credentials() -> Credentials {
    Credentials { username: "admin".into(), password: "secret".into() }
}

/// A connection with its caller: keeps what is not consumed, and answers what asks for an answer.
struct Side {
    link: Connection,
    kept: Vec<u8>,
    log: Vec<Event>,
    /// Whether to answer by itself.
    obliging: bool,
}

impl Side {
    fn new(settings: Settings) -> Self {
        Self { link: Connection::new(Arc::new(settings), at(0)), kept: vec![], log: vec![], obliging: true }
    }

    fn feed(&mut self, bytes: &[u8], now: Instant) {
        self.kept.extend_from_slice(bytes);
        loop {
            let used = self.link.receive(&self.kept, now);
            assert!(used <= self.kept.len());
            self.kept.drain(..used);
            let Some(event) = self.link.poll_event() else { return };
            assert_eq!(self.link.poll_event(), None, "one event at a time");
            match &event {
                Event::Hello(_) if self.obliging => self.link.welcome(now).unwrap(),
                Event::Peer { .. } if self.obliging && self.link.is_held() => self.link.accept(now).unwrap(),
                Event::Hello(_) | Event::Peer { .. } | Event::Message(_) => {}
            }
            self.log.push(event);
        }
    }

    fn out(&mut self) -> Vec<u8> {
        self.link.outbound().take()
    }

    fn messages(&self) -> Vec<Vec<Vec<u8>>> {
        let frames = |message: &Message| message.frames().map(<[u8]>::to_vec).collect();
        let each = |event: &Event| match event {
            Event::Message(message) => Some(frames(message)),
            Event::Hello(_) | Event::Peer { .. } => None,
        };
        self.log.iter().filter_map(each).collect()
    }
}

/// Carries bytes to and fro, `step` at a time, until both sides are silent.
fn talk(a: &mut Side, b: &mut Side, step: usize, now: Instant) {
    loop {
        let (from_a, from_b) = (a.out(), b.out());
        if from_a.is_empty() && from_b.is_empty() {
            return;
        }
        from_a.chunks(step).for_each(|chunk| b.feed(chunk, now));
        from_b.chunks(step).for_each(|chunk| a.feed(chunk, now));
    }
}

fn pair(router: Settings, dealer: Settings) -> (Side, Side) {
    let (mut router, mut dealer) = (Side::new(router), Side::new(dealer));
    talk(&mut router, &mut dealer, usize::MAX, at(0));
    (router, dealer)
}

fn connected() -> (Side, Side) {
    let (router, dealer) = pair(settings(Role::Router), settings(Role::Dealer));
    assert!(router.link.is_up() && dealer.link.is_up());
    (router, dealer)
}

fn plain_pair(shown: Credentials) -> (Side, Side) {
    let router = Settings { mechanism: Mechanism::PlainServer, ..settings(Role::Router) };
    let dealer = Settings { mechanism: Mechanism::PlainClient(shown), ..settings(Role::Dealer) };
    (Side::new(router), Side::new(dealer))
}

/// What a peer of ZMTP 3.`minor` says up to the end of a NULL handshake.
fn opening(minor: u8, socket_type: &str, identity: &str) -> Vec<u8> {
    let greeting = greeting::Greeting { minor, ..greeting::Greeting::new("NULL", false) };
    let mut bytes = greeting.to_bytes().to_vec();
    let mut ready = b"\x05READY\x0bSocket-Type\0\0\0".to_vec();
    ready.push(socket_type.len() as u8);
    ready.extend_from_slice(socket_type.as_bytes());
    ready.extend_from_slice(b"\x08Identity\0\0\0");
    ready.push(identity.len() as u8);
    ready.extend_from_slice(identity.as_bytes());
    bytes.extend_from_slice(&[4, ready.len() as u8]);
    bytes.extend_from_slice(&ready);
    bytes
}

/// A ROUTER that has heard `bytes` after a good opening.
fn router_after(bytes: &[u8]) -> Side {
    let mut side = Side::new(settings(Role::Router));
    side.feed(&opening(1, "DEALER", "FOO"), at(0));
    side.out();
    side.feed(bytes, at(1));
    side
}

#[test]
fn a_router_and_a_dealer_come_up_and_exchange_messages() {
    for step in [1, 7, usize::MAX] {
        let mut router = Side::new(Settings { identity: "front".into(), ..settings(Role::Router) });
        let mut dealer = Side::new(Settings { identity: "node".into(), ..settings(Role::Dealer) });
        talk(&mut router, &mut dealer, step, at(0));
        dealer.link.send(&[b"sid", b"type", &[b'x'; 300]]).unwrap();
        dealer.link.send_with_body(&[b"sid", b"body"], vec![b'y'; 100_000].into()).unwrap();
        dealer.link.send_with_body(&[], "small".into()).unwrap();
        router.link.send(&[b""]).unwrap();
        router.link.send_message(&Message::from_parts(&[b"a", b"b"]).unwrap()).unwrap();
        router.link.send_message(&Message::from_parts(&[&[b'z'; 5000], b""]).unwrap()).unwrap();
        talk(&mut router, &mut dealer, step, at(0));
        assert_eq!(
            router.log[0],
            Event::Peer { identity: "node".into(), socket_type: SocketType::Dealer, username: None }
        );
        assert_eq!(
            dealer.log[0],
            Event::Peer { identity: "front".into(), socket_type: SocketType::Router, username: None }
        );
        let long: &[u8] = &[b'x'; 300];
        assert_eq!(
            router.messages(),
            [
                vec![b"sid".to_vec(), b"type".to_vec(), long.to_vec()],
                vec![b"sid".to_vec(), b"body".to_vec(), vec![b'y'; 100_000]],
                vec![b"small".to_vec()],
            ]
        );
        assert_eq!(
            dealer.messages(),
            [vec![vec![]], vec![b"a".to_vec(), b"b".to_vec()], vec![vec![b'z'; 5000], vec![]]]
        );
        assert_eq!((router.link.peer_version(), dealer.link.peer_version()), (Some(1), Some(1)));
        assert_eq!(router.link.is_closing(), None);
    }
}

#[test]
fn any_chunking_gives_the_same_events_and_the_same_output() {
    let mut script = opening(1, "DEALER", "FOO");
    script.extend_from_slice(b"\x01\x03sid\x00\x04body");
    script.extend_from_slice(b"\x04\x09\x04PING\0\x1eab");
    script.extend_from_slice(b"\x01\x03sid\x04\x07\x04PING\0\0\x01\x00\x04\x06\x05OTHER\x00\x05tail!");
    script.extend_from_slice(Message::from_parts(&[&[b'x'; 70_000], b"", &[b'y'; 255]]).unwrap().wire());
    script.extend_from_slice(b"\x02\0\0\0\0\0\0\0\x02ok");
    script.extend_from_slice(b"\x88\x00 trailing bytes are ignored after a violation");
    let run = |step| {
        let mut side = Side::new(settings(Role::Router));
        let mut out = Vec::new();
        for chunk in script.chunks(step) {
            side.feed(chunk, at(0));
            assert!(side.kept.len() <= command::COMMAND_BYTES_MAX + frame::HEADER_MAX);
            out.extend(side.out());
        }
        assert_eq!(side.kept.len(), 0);
        (side.log, out, side.link.violation())
    };
    let whole = run(usize::MAX);
    assert_eq!(whole.2, Some(Cause::FrameMalformed.into()));
    assert_eq!(whole.0.len(), 5);
    assert!(whole.1.ends_with(b"\x04\x07\x04PONGab\x04\x05\x04PONG"));
    for step in [1, 2, 3, 7, 64, 100, 4096] {
        assert!(run(step) == whole, "chunks of {step}");
    }
}

#[test]
fn a_router_says_ready_only_when_the_peer_is_accepted() {
    let mut router = Side::new(settings(Role::Router));
    router.obliging = false;
    router.feed(&opening(1, "DEALER", "FOO"), at(0));
    assert_eq!(router.out().len(), greeting::LEN);
    assert!(router.link.is_held() && !router.link.is_up());
    assert!(router.link.send(&[b"early"]).is_err());
    router.feed(b"\x00\x05early", at(1));
    assert_eq!(router.kept, b"\x00\x05early");
    router.link.accept(at(1)).unwrap();
    assert!(router.link.is_up() && !router.link.is_held());
    assert!(router.out().starts_with(b"\x04\x29\x05READY"));
    router.feed(b"", at(1));
    router.feed(b"\x00\x04late", at(1));
    assert_eq!(router.messages(), [vec![b"early".to_vec()], vec![b"late".to_vec()]]);
    assert!(router.link.accept(at(1)).is_err());
    assert!(router.link.refuse(Cause::IdentityUnknown, at(1)).is_err());
}

#[test]
fn a_refused_peer_gets_an_error_and_knows_it() {
    let mut router = Side::new(settings(Role::Router));
    router.obliging = false;
    let mut dealer = Side::new(settings(Role::Dealer));
    talk(&mut router, &mut dealer, usize::MAX, at(0));
    router.link.refuse(Cause::IdentityUnknown, at(0)).unwrap();
    talk(&mut router, &mut dealer, usize::MAX, at(0));
    assert_eq!(router.link.is_closing(), Some(Cause::IdentityUnknown));
    assert_eq!(router.link.violation(), None);
    assert_eq!(dealer.link.is_closing(), Some(Cause::PeerRefused));
    assert!(router.link.accept(at(0)).is_err());
    assert_eq!(router.link.poll_timeout(), None);
}

#[test]
fn plain_lets_in_who_is_welcome() {
    for step in [1, usize::MAX] {
        let (mut router, mut dealer) = plain_pair(credentials());
        talk(&mut router, &mut dealer, step, at(0));
        dealer.link.send(&[b"hello"]).unwrap();
        talk(&mut router, &mut dealer, step, at(0));
        assert_eq!(router.log[0], Event::Hello(credentials()));
        let peer = Event::Peer { identity: "".into(), socket_type: SocketType::Dealer, username: Some("admin".into()) };
        assert_eq!(router.log[1], peer);
        assert_eq!(router.messages(), [vec![b"hello".to_vec()]]);
    }
}

#[test]
fn plain_tells_who_is_not_welcome() {
    let (mut router, mut dealer) = plain_pair(Credentials { password: "wrong".into(), ..credentials() });
    router.obliging = false;
    talk(&mut router, &mut dealer, usize::MAX, at(0));
    assert!(router.link.accept(at(0)).is_err());
    router.link.refuse(Cause::CredentialsRefused, at(0)).unwrap();
    assert!(router.link.welcome(at(0)).is_err());
    let farewell = router.out();
    assert_eq!(farewell, b"\x04\x0a\x05ERROR\x03400");
    dealer.feed(&farewell, at(0));
    assert_eq!(dealer.link.is_closing(), Some(Cause::PeerRefused));
    assert_eq!(dealer.link.violation(), None);
}

#[test]
fn a_dealer_can_ask_for_credentials_and_a_router_can_show_them() {
    let dealer = Settings { mechanism: Mechanism::PlainServer, ..settings(Role::Dealer) };
    let router = Settings { mechanism: Mechanism::PlainClient(credentials()), ..settings(Role::Router) };
    let (mut router, mut dealer) = (Side::new(router), Side::new(dealer));
    talk(&mut router, &mut dealer, usize::MAX, at(0));
    assert!(router.link.is_up() && dealer.link.is_up());
    assert_eq!((router.log.len(), dealer.log.len()), (1, 2));
}

#[test]
fn passwords_do_not_show_in_debug_output() {
    let event = Event::Hello(credentials());
    let mechanism = Mechanism::PlainClient(credentials());
    assert!(!format!("{event:?}{mechanism:?}").contains("secret"));
    assert!(format!("{event:?}{mechanism:?}").contains("admin"));
}

#[test]
fn mechanisms_must_agree() {
    let plain = Settings { mechanism: Mechanism::PlainClient(credentials()), ..settings(Role::Dealer) };
    let (router, dealer) = pair(settings(Role::Router), plain);
    assert_eq!(router.link.violation(), Some(Cause::MechanismMismatch.into()));
    assert_eq!(dealer.link.violation(), Some(Cause::MechanismMismatch.into()));

    let server = |role| Settings { mechanism: Mechanism::PlainServer, ..settings(role) };
    let (router, dealer) = pair(server(Role::Router), server(Role::Dealer));
    assert_eq!(router.link.violation(), Some(Cause::MechanismMismatch.into()));
    assert_eq!(dealer.link.violation(), Some(Cause::MechanismMismatch.into()));
}

#[test]
fn socket_types_must_fit() {
    let result = |role, theirs: &str| {
        let mut side = Side::new(settings(role));
        side.feed(&opening(1, theirs, ""), at(0));
        (side.link.is_up(), side.link.is_closing(), side.out().windows(6).any(|window| window == b"\x05ERROR"))
    };
    for (role, theirs) in [
        (Role::Router, "DEALER"),
        (Role::Router, "REQ"),
        (Role::Router, "ROUTER"),
        (Role::Dealer, "ROUTER"),
        (Role::Dealer, "REP"),
        (Role::Dealer, "DEALER"),
    ] {
        assert_eq!(result(role, theirs), (true, None, false), "{role:?} {theirs}");
    }
    for (role, theirs) in
        [(Role::Router, "REP"), (Role::Dealer, "REQ"), (Role::Router, "PUB"), (Role::Router, ""), (Role::Dealer, "x")]
    {
        assert_eq!(result(role, theirs), (false, Some(Cause::SocketTypeMismatch), true), "{role:?} {theirs}");
    }
}

#[test]
fn violations_of_the_handshake_have_their_cause_and_their_farewell() {
    let null = greeting::Greeting::new("NULL", false).to_bytes();
    let cases: [(&[u8], Cause, bool); 9] = [
        (b"\x04\x07\x04PING\0\0", Cause::CommandMalformed, true),
        (b"\x04\x06\x05HELLO", Cause::CommandMalformed, true),
        (b"\x04\x09\x08INITIATE", Cause::CommandMalformed, true),
        (b"\x00\x05hello", Cause::CommandMalformed, true),
        (b"\x04\x01\x05", Cause::CommandMalformed, true),
        (b"\x06\0\0\0\0\0\x01\0\0", Cause::CommandMalformed, true),
        (b"\x05\x06\x05READY", Cause::FrameMalformed, true),
        (b"\x04\x06\x05READY", Cause::SocketTypeMismatch, true),
        (b"\x04\x07\x05ERROR\0", Cause::PeerRefused, false),
    ];
    for (bytes, cause, is_told) in cases {
        for step in [1, usize::MAX] {
            let mut side = Side::new(settings(Role::Router));
            side.feed(&null, at(0));
            side.out();
            bytes.chunks(step).for_each(|chunk| side.feed(chunk, at(0)));
            assert_eq!(side.link.is_closing(), Some(cause), "{}", bytes.escape_ascii());
            assert_eq!(side.link.violation().is_some(), is_told);
            assert_eq!(side.out().windows(6).any(|window| window == b"\x05ERROR"), is_told);
            side.feed(&opening(1, "DEALER", "FOO"), at(0));
            assert_eq!((side.log.len(), side.kept.len(), side.out().len()), (0, 0, 0));
        }
    }
}

#[test]
fn a_second_hello_or_an_early_initiate_is_out_of_order() {
    let hello = b"\x04\x08\x05HELLO\0\0";
    for second in [hello.as_slice(), b"\x04\x06\x05READY"] {
        let mut side = plain_pair(credentials()).0;
        side.feed(&greeting::Greeting::new("PLAIN", false).to_bytes(), at(0));
        side.feed(hello, at(0));
        side.feed(second, at(0));
        assert_eq!(side.link.violation(), Some(Cause::CommandMalformed.into()));
    }
    let mut side = plain_pair(credentials()).0;
    side.feed(&greeting::Greeting::new("PLAIN", false).to_bytes(), at(0));
    side.feed(b"\x04\x09\x08INITIATE", at(0));
    assert_eq!(side.link.violation(), Some(Cause::CommandMalformed.into()));
}

#[test]
fn violations_in_traffic_have_their_cause() {
    let cases: [(&[u8], Cause); 7] = [
        (b"\x08\x00", Cause::FrameMalformed),
        (b"\x05\x07\x04PING\0\0", Cause::FrameMalformed),
        (b"\x02\x7f\xff\xff\xff\xff\xff\xff\xff", Cause::MessageTooLarge),
        (b"\x02\xff\xff\xff\xff\xff\xff\xff\xff", Cause::MessageTooLarge),
        (b"\x04\x06\x04PING\0", Cause::CommandMalformed),
        (b"\x06\x00\x00\x00\x00\x00\x01\x00\x00", Cause::CommandMalformed),
        (&[b"\x01\x00".repeat(1024), b"\x00\x00".to_vec()].concat(), Cause::FramesTooMany),
    ];
    for (bytes, cause) in cases {
        for step in [1, usize::MAX] {
            let mut side = router_after(b"");
            bytes.chunks(step).for_each(|chunk| side.feed(chunk, at(1)));
            assert_eq!(side.link.violation(), Some(cause.into()), "{}", bytes.escape_ascii());
            assert!(!side.link.is_up() && side.link.send(&[b"x"]).is_err());
            side.feed(b"\x00\x02no", at(1));
            assert_eq!((side.messages().len(), side.kept.len(), side.out().len()), (0, 0, 0));
        }
    }
}

#[test]
fn a_message_may_be_as_large_and_as_many_as_allowed() {
    let small = Settings { message_bytes: 20, frames: 3, ..settings(Role::Router) };
    for (parts, cause) in [
        (vec![b"0123456789012345".as_slice(), b""], None),
        (vec![b"01234567890123456", b""], Some(Cause::MessageTooLarge)),
        (vec![b"", b"", b""], None),
        (vec![b"", b"", b"", b""], Some(Cause::FramesTooMany)),
    ] {
        for step in [1, usize::MAX] {
            let mut side = Side::new(small.clone());
            side.feed(&opening(1, "DEALER", "FOO"), at(0));
            let message = Message::from_parts(&parts).unwrap();
            message.wire().chunks(step).for_each(|chunk| side.feed(chunk, at(0)));
            assert_eq!(side.link.is_closing(), cause, "{message:?}");
            assert_eq!(side.messages().len(), usize::from(cause.is_none()));
        }
    }
}

#[test]
fn unknown_commands_are_passed_over_in_traffic() {
    let mut side = router_after(b"\x04\x0e\x09SUBSCRIBEtest\x04\x07\x06CANCEL\x04\x06\x05ERROR");
    assert_eq!(side.link.is_closing(), Some(Cause::CommandMalformed), "an ERROR has a reason");
    side = router_after(b"\x04\x0e\x09SUBSCRIBEtest\x04\x07\x06CANCEL\x04\x07\x05ERROR\0\x00\x02hi");
    assert_eq!(side.messages(), [vec![b"hi".to_vec()]]);
    assert_eq!(side.out(), b"");
}

#[test]
fn a_ping_is_answered_with_its_context_even_to_a_peer_of_zmtp_3_0() {
    for minor in [0, 1, 9] {
        let mut side = Side::new(settings(Role::Router));
        side.feed(&opening(minor, "DEALER", "FOO"), at(0));
        side.out();
        side.feed(b"\x04\x17\x04PING\0\0\x000123456789abcde", at(1));
        assert_eq!(side.out(), b"\x04\x15\x04PONG\x000123456789abcde");
    }
}

#[test]
fn a_peer_that_pings_and_does_not_read_gets_one_answer_later() {
    let mut side = router_after(b"");
    side.link.send(&[&[0; 100_000]]).unwrap();
    for i in 0..1000_u16 {
        side.feed(&[b"\x04\x09\x04PING\0\0".as_slice(), &i.to_be_bytes()].concat(), at(1));
    }
    assert_eq!(side.link.outbound().len(), 100_009);
    side.link.outbound().advance(100_009);
    assert_eq!(side.out(), b"\x04\x07\x04PONG\x03\xe7");
    assert_eq!(side.out(), b"");
}

#[test]
fn pings_go_to_peers_that_know_them_and_silence_ends_the_link() {
    let (mut router, mut dealer) = connected();
    assert_eq!(router.link.poll_timeout(), Some(at(10)));
    router.link.handle_timeout(at(9));
    assert_eq!(router.link.outbound().len(), 0);
    router.link.handle_timeout(at(10));
    let ping = router.out();
    assert_eq!(ping, b"\x04\x07\x04PING\x01\x2c");
    dealer.feed(&ping, at(10));
    let pong = dealer.out();
    assert_eq!(pong, b"\x04\x05\x04PONG");
    router.feed(&pong, at(11));
    assert_eq!(router.link.last_heard(), at(11));
    for seconds in [20, 30, 40] {
        router.link.handle_timeout(at(seconds));
        assert_eq!(router.link.is_closing(), None);
    }
    router.link.handle_timeout(at(41));
    assert_eq!(router.link.violation(), Some(Cause::HeartbeatTimeout.into()));
    // The dealer was told to hear something every 30 seconds.
    dealer.link.handle_timeout(at(39));
    assert_eq!(dealer.link.is_closing(), None);
    dealer.link.handle_timeout(at(40));
    assert_eq!(dealer.link.violation(), Some(Cause::HeartbeatTimeout.into()));
}

#[test]
fn what_is_offered_again_is_no_sign_of_life() {
    let (mut router, _) = connected();
    let heard = router.link.last_heard();
    let half = b"\x04\x07\x04PI";
    assert_eq!(router.link.receive(half, at(5)), 0);
    assert_eq!(router.link.last_heard(), at(5));
    assert!(heard < at(5));
    assert_eq!(router.link.receive(half, at(6)), 0);
    assert_eq!(router.link.last_heard(), at(5));
    assert_eq!(router.link.receive(b"\x04\x07\x04PIN", at(7)), 0);
    assert_eq!(router.link.last_heard(), at(7));
}

#[test]
fn a_peer_of_zmtp_3_0_is_neither_pinged_nor_given_up() {
    let mut side = Side::new(settings(Role::Router));
    side.feed(&opening(0, "DEALER", "FOO"), at(0));
    side.out();
    assert_eq!(side.link.poll_timeout(), None);
    side.link.handle_timeout(at(3600));
    assert_eq!((side.link.is_closing(), side.out().len()), (None, 0));
}

#[test]
fn a_handshake_that_takes_too_long_ends_without_an_error_command() {
    let whole = opening(1, "DEALER", "FOO");
    for len in [0, 5, 63, 64, 70, whole.len() - 1] {
        let mut side = Side::new(settings(Role::Router));
        side.feed(&whole[..len], at(1));
        side.out();
        assert_eq!(side.link.poll_timeout(), Some(at(5)));
        side.link.handle_timeout(at(4));
        assert_eq!(side.link.is_closing(), None);
        side.link.handle_timeout(at(5));
        assert_eq!(side.link.violation(), Some(Cause::HandshakeTimeout.into()));
        assert_eq!(side.out(), b"");
    }
}

#[test]
fn spurious_timeouts_change_nothing() {
    let (mut router, mut dealer) = connected();
    for _ in 0..10 {
        router.link.handle_timeout(at(3));
        dealer.link.handle_timeout(at(3));
    }
    assert_eq!((router.out(), dealer.out()), (vec![], vec![]));
    assert_eq!((router.link.poll_timeout(), dealer.link.poll_timeout()), (Some(at(10)), Some(at(10))));
}

#[test]
fn the_end_of_the_stream_says_where_it_came() {
    let cause_after = |bytes: &[u8]| {
        let mut side = Side::new(settings(Role::Router));
        side.feed(bytes, at(0));
        side.link.receive_eof(at(1));
        assert_eq!(side.link.violation(), None);
        side.link.is_closing().unwrap()
    };
    let opening = opening(1, "DEALER", "FOO");
    assert_eq!(cause_after(b""), Cause::ConnectionFailed);
    assert_eq!(cause_after(&opening[..70]), Cause::ConnectionFailed);
    assert_eq!(cause_after(&opening), Cause::Complete);
    assert_eq!(cause_after(&[&opening[..], b"\x00\x05he"].concat()), Cause::MessageCut);
    assert_eq!(cause_after(&[&opening[..], b"\x00\x02he"].concat()), Cause::Complete);
}

#[test]
fn messages_are_sent_on_a_link_that_is_up_and_have_a_frame() {
    let (mut router, mut early) = (connected().0, Side::new(settings(Role::Dealer)));
    assert!(router.link.send(&[]).is_err());
    assert!(early.link.send(&[b"x"]).is_err());
    assert!(early.link.send_with_body(&[], "x".into()).is_err());
    assert!(early.link.send_message(&Message::from_parts(&[b"x"]).unwrap()).is_err());
    assert_eq!(early.out().len(), greeting::LEN);
}

#[test]
fn an_idle_connection_owns_no_buffers() {
    let (mut router, mut dealer) = connected();
    dealer.link.send(&[&[b'x'; 50_000]]).unwrap();
    talk(&mut router, &mut dealer, 1000, at(1));
    assert_eq!(router.messages().len(), 1);
    assert_eq!(router.link.buffered(), 0);
    assert!(size_of::<Connection>() <= 384, "{}", size_of::<Connection>());
}

#[test]
fn arbitrary_bytes_never_panic() {
    use crate::entropy::{Entropy, SeededEntropy};
    let mut entropy = SeededEntropy::from_number(7);
    for round in 0..2000 {
        let mut side = if round % 2 == 0 { router_after(b"") } else { Side::new(settings(Role::Router)) };
        let mut bytes = [0; 200];
        entropy.fill(&mut bytes);
        if round % 4 == 0 {
            // Mostly sound flags, so that more than the first octet is looked at.
            bytes.iter_mut().step_by(3).for_each(|byte| *byte &= 7);
        }
        side.feed(&bytes, at(1));
        side.link.handle_timeout(at(2));
        assert!(side.link.outbound().len() < 10_000);
    }
}
