//! Clients that mean no good once the handshake is complete.

use super::browser::{GET, SITE, Site, TLS12, TLS13};
use super::*;

#[test]
fn records_without_data_are_not_taken_without_bound() {
    let mut site = Site::new(SITE);
    let _node = Node::connect(&mut site.world, "one");
    let mut browser = site.established(TLS13);
    browser.send(&mut site.world, b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 100000\r\n\r\n");
    let mut rounds = 0;
    while !site.world.shut.contains_key(&browser.link) {
        browser.client.refresh_traffic_keys().unwrap();
        browser.send(&mut site.world, b"x");
        rounds += 1;
        assert!(rounds < 10_000);
    }
    assert!(rounds > 1000, "{rounds}");
    assert_eq!(site.world.engine.stats().of(Cause::TlsFlood), 1);
    browser.run(&mut site.world);
    assert_eq!(site.world.shut[&browser.link], Shut::Write, "it may still hear why");
}

#[test]
fn what_was_touched_on_its_way_ends_the_session() {
    for versions in [TLS12, TLS13] {
        let mut site = Site::new(SITE);
        let mut node = Node::connect(&mut site.world, "one");
        let mut browser = site.established(versions);
        browser.send(&mut site.world, GET.as_bytes());
        let sid = node.request(&mut site.world);
        node.send(&mut site.world, &sid, "headers", HEAD);
        assert!(browser.text(&mut site.world).starts_with("HTTP/1.1 200 OK"));
        std::io::Write::write_all(&mut browser.client.writer(), GET.as_bytes()).unwrap();
        let mut bytes = browser.bytes();
        *bytes.last_mut().unwrap() ^= 1;
        browser.give(&mut site.world, &bytes);
        // What its node still has to say cannot be told to anybody.
        node.send(&mut site.world, &sid, "body", b"Hello");
        browser.run(&mut site.world);
        assert!(browser.error.is_some() && browser.received.is_empty(), "an alert, not an end");
        assert_eq!(site.world.engine.stats().of(Cause::TlsMalformed), 1);
        let ends = node.receive(&mut site.world).into_iter().filter(|(_, kind, _)| kind == "end");
        assert_eq!(ends.map(|(ended, ..)| ended).collect::<Vec<_>>(), [sid]);
    }
}

#[test]
fn an_answer_that_is_queued_does_not_outlive_its_connection() {
    let mut site = Site::new(SITE);
    let mut node = Node::connect(&mut site.world, "one");
    let mut browser = site.established(TLS13);
    browser.send(&mut site.world, GET.as_bytes());
    let sid = node.request(&mut site.world);
    node.conn.send(&[&sid, b"body", &[b"HTTP/1.1 200 OK\r\n\r\n", &[b'x'; 300_000][..]].concat()]).unwrap();
    let bytes = node.conn.outbound().take();
    site.receive_but(node.link, &bytes, browser.link);
    site.receive_but(browser.link, b"nonsense that is no record", browser.link);
    assert!(site.world.engine.snapshot().memory < 20_000);
    site.world.write(browser.link);
    site.world.run();
    browser.run(&mut site.world);
    assert!(browser.error.is_some());
    assert_eq!(site.world.shut[&browser.link], Shut::Write);
}

#[test]
fn connections_that_wait_are_charged_for() {
    let mut site = Site::new(SITE);
    let mut browser = site.browser(TLS13);
    assert_eq!(site.world.engine.snapshot().memory, 0);
    browser.run(&mut site.world);
    assert_eq!(site.world.engine.snapshot().memory, crate::tls::IDLE_BYTES);
    site.world.eof(browser.link);
    browser.run(&mut site.world);
    assert_eq!(site.world.engine.snapshot().memory, 0);
}

#[test]
fn a_tape_that_is_damaged_does_no_harm() {
    let mut site = Site::new(SITE);
    let mut node = Node::connect(&mut site.world, "one");
    let mut browser = site.established(TLS13);
    browser.send(&mut site.world, GET.as_bytes());
    let sid = node.request(&mut site.world);
    node.send(&mut site.world, &sid, "headers", HEAD);
    node.send(&mut site.world, &sid, "body", b"Hello");
    browser.client.send_close_notify();
    browser.run(&mut site.world);
    let tape = site.tape();
    let replay = |tape: &[u8]| crate::tape::replay(&mut &tape[..], |_| {}, &mut |_, _| {});
    let whole = replay(&tape).unwrap();
    assert!(whole.difference.is_none() && whole.bytes > 0);
    let begin = tape.windows(6).rposition(|bytes| bytes == b"b.key\n").unwrap() + 7;
    let mut found = 0;
    for at in begin..tape.len() {
        let cut = replay(&tape[..at]).unwrap();
        assert_eq!(cut.difference, None, "what is there is right");
        for flip in [1, 0xff] {
            let mut tape = tape.clone();
            tape[at] ^= flip;
            found += usize::from(!replay(&tape).is_ok_and(|verdict| verdict.difference.is_none()));
        }
    }
    assert!(found > tape.len() - begin, "{found}: most damage shows");
}

#[test]
fn tapes_of_other_versions_are_refused_by_name() {
    let mut tape = Site::new(SITE).tape();
    let at = tape.iter().position(|byte| *byte == b'2').unwrap();
    tape[at] = b'1';
    let refused = crate::tape::replay(&mut &tape[..], |_| {}, &mut |_, _| {}).unwrap_err();
    assert_eq!(refused.to_string(), "not a tape: it is of another version of this program");
}
