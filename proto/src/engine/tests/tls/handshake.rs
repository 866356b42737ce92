//! From the first byte to the first request, or not so far.

use super::browser::{Browser, GET, SITE, Site, TLS12, TLS13};
use super::*;

/// What the first bytes of the engine on a link say: a fatal alert, in clear.
fn alert(world: &mut World, link: LinkId) -> Option<u8> {
    match world.written.remove(&link)?[..] {
        [21, 3, 3, 0, 2, 2, alert] => Some(alert),
        _ => None,
    }
}

#[test]
fn who_does_not_speak_tls_is_told_so() {
    let mut site = Site::new(SITE);
    let client = site.world.accept(0);
    site.world.receive(client, GET.as_bytes());
    assert_eq!(alert(&mut site.world, client), Some(50));
    assert_eq!(site.world.shut[&client], Shut::Write);
    assert_eq!(site.world.engine.stats().of(Cause::NotTls), 1);
    let refused = |report: &&Report| matches!(report, Report::ClientRefused { cause: Cause::NotTls, why: Some(_), .. });
    assert_eq!(site.world.reports.iter().filter(refused).count(), 1);
    site.world.receive(client, GET.as_bytes());
    site.world.pass(Duration::from_secs(10));
    assert_eq!(site.world.shut[&client], Shut::Close);
    assert_eq!(site.world.engine.snapshot().connections, 0);
}

#[test]
fn a_handshake_has_its_own_time_and_the_first_request_all_of_its_own() {
    let limits = crate::limits::Limits::DEFAULT;
    let mut site = Site::new(SITE);
    let mut browser = site.browser(TLS13);
    let hello = browser.bytes();
    browser.give(&mut site.world, &hello[..10]);
    site.world.pass(limits.handshake_timeout - Duration::from_millis(1));
    browser.give(&mut site.world, &hello[10..]);
    browser.run(&mut site.world);
    assert!(!browser.client.is_handshaking());
    site.world.pass(limits.head_timeout - Duration::from_millis(1));
    browser.send(&mut site.world, GET.as_bytes());
    assert!(browser.text(&mut site.world).starts_with("HTTP/1.1 503 "), "it came in time");
}

#[test]
fn a_handshake_that_is_late_is_given_up() {
    for sent in [0, 10, usize::MAX] {
        let mut site = Site::new(SITE);
        let mut browser = site.browser(TLS13);
        let hello = browser.bytes();
        browser.give(&mut site.world, &hello[..sent.min(hello.len())]);
        site.world.pass(crate::limits::Limits::DEFAULT.handshake_timeout + Duration::from_secs(10));
        assert_eq!(site.world.engine.stats().of(Cause::HandshakeTimeout), 1);
        assert_eq!(site.world.shut[&browser.link], Shut::Close);
        assert_eq!(site.world.engine.snapshot().connections, 0);
    }
}

#[test]
fn a_handshake_may_end_in_the_middle() {
    for sent in [0, 10, usize::MAX] {
        let mut site = Site::new(SITE);
        let mut browser = site.browser(TLS12);
        let hello = browser.bytes();
        browser.give(&mut site.world, &hello[..sent.min(hello.len())]);
        site.world.eof(browser.link);
        assert_eq!(site.world.engine.stats().of(Cause::ClientGone), 1);
        assert_eq!(site.world.shut[&browser.link], Shut::Close);
        assert_eq!(site.world.engine.snapshot().memory, 0);
    }
}

#[test]
fn a_server_that_stops_waits_for_no_handshake() {
    let mut site = Site::new(SITE);
    let mut browser = site.browser(TLS13);
    let hello = browser.bytes();
    browser.give(&mut site.world, &hello);
    site.world.control(Control::Drain);
    assert_eq!(site.world.shut[&browser.link], Shut::Close);
    assert!(site.world.reports.contains(&Report::Stopped));
}

#[test]
fn a_client_that_does_not_trust_us_is_heard() {
    let (mut site, stranger) = (Site::new(SITE), Site::new(SITE));
    let link = site.world.accept(0);
    let mut browser = stranger.browser_on(link, TLS13, "a.test");
    browser.run(&mut site.world);
    assert!(browser.error.is_some());
    let bytes = browser.bytes();
    browser.give(&mut site.world, &bytes);
    assert_eq!(site.world.engine.stats().of(Cause::TlsAlert), 1);
    assert!(site.world.shut.contains_key(&link));
}

#[test]
fn the_header_of_the_proxy_protocol_comes_in_clear() {
    for step in [usize::MAX, 1, 7] {
        let mut site = Site::new(SITE);
        let mut node = Node::connect(&mut site.world, "one");
        let link = site.world.accept(2);
        let mut browser = site.browser_on(link, TLS13, "b.test");
        browser.step = step;
        let mut bytes = b"PROXY TCP4 192.0.2.7 192.0.2.8 4711 443\r\n".to_vec();
        bytes.extend(browser.bytes());
        browser.give(&mut site.world, &bytes);
        browser.send(&mut site.world, GET.as_bytes());
        let [(_, kind, body)] = &node.receive(&mut site.world)[..] else { panic!("a request") };
        assert_eq!(kind, "uwsgi");
        let has = |text: &[u8]| body.windows(text.len()).any(|bytes| bytes == text);
        assert!(has(b"192.0.2.7") && has(b"https"), "{}", body.escape_ascii());
    }
}

#[test]
fn new_certificates_are_for_new_connections() {
    let mut site = Site::new(SITE);
    let mut node = Node::connect(&mut site.world, "one");
    let mut before = site.established(TLS13);
    let half = site.browser(TLS13);
    site.renew();
    let mut after = site.established(TLS13);
    assert_ne!(before.client.peer_certificates(), after.client.peer_certificates());
    let mut half = Browser { step: 5, ..half };
    half.run(&mut site.world);
    assert_eq!(half.client.peer_certificates(), before.client.peer_certificates());
    for browser in [&mut before, &mut after, &mut half] {
        browser.send(&mut site.world, GET.as_bytes());
        let sid = node.receive(&mut site.world).into_iter().find(|(_, kind, _)| kind == "uwsgi").unwrap().0;
        node.send(&mut site.world, &sid, "body", b"HTTP/1.1 204 No Content\r\n\r\n");
        assert_eq!(browser.text(&mut site.world), "HTTP/1.1 204 No Content\r\n\r\n");
    }
}

#[test]
fn without_certificates_nobody_is_let_in() {
    let (config, _) = Config::parse(SITE.as_bytes(), "test.ini", Mode::Strict).unwrap();
    let mut engine = Engine::new(Arc::new(config), Box::new(SeededEntropy::from_number(7)), Instant::ZERO);
    assert_eq!(engine.accept(ListenerId(0), PeerAddr::Unix, Instant::ZERO), None);
    assert_eq!(engine.snapshot().connections, 0);
}
