//! How connections of TLS end.

use super::browser::{GET, SITE, Site, TLS12, TLS13};
use super::*;

#[test]
fn goodbye_is_said_before_the_connection_is_closed() {
    for versions in [TLS12, TLS13] {
        let mut site = Site::new(SITE);
        let mut browser = site.established(versions);
        let request = "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
        browser.send(&mut site.world, request.as_bytes());
        assert!(browser.text(&mut site.world).starts_with("HTTP/1.1 503 "));
        assert!(browser.has_heard_goodbye);
        assert_eq!(site.world.shut[&browser.link], Shut::Close);
    }
}

#[test]
fn an_idle_connection_hears_goodbye_where_the_server_stops() {
    let mut site = Site::new(SITE);
    let mut browser = site.established(TLS13);
    site.world.control(Control::Drain);
    browser.run(&mut site.world);
    assert!(browser.has_heard_goodbye);
    assert_eq!(site.world.shut[&browser.link], Shut::Close);
}

#[test]
fn an_answer_that_is_cut_looks_cut() {
    let mut site = Site::new(SITE);
    let mut node = Node::connect(&mut site.world, "one");
    let mut browser = site.established(TLS13);
    browser.send(&mut site.world, b"GET / HTTP/1.0\r\nHost: a.test\r\n\r\n");
    let sid = node.request(&mut site.world);
    node.send(&mut site.world, &sid, "headers", b"HTTP/1.1 200 OK\r\n\r\n");
    node.send(&mut site.world, &sid, "body", b"half");
    assert!(browser.text(&mut site.world).ends_with("half"));
    site.world.engine.handle(Input::Eof { link: node.link }, site.world.now);
    site.world.run();
    browser.run(&mut site.world);
    assert!(!browser.has_heard_goodbye);
    assert_eq!(site.world.shut[&browser.link], Shut::Abort);
}

#[test]
fn a_client_that_says_goodbye_has_ended_as_one_that_hangs_up() {
    for says_goodbye in [true, false] {
        let mut site = Site::new(SITE);
        let mut node = Node::connect(&mut site.world, "one");
        let mut browser = site.established(TLS13);
        browser.send(&mut site.world, GET.as_bytes());
        let sid = node.request(&mut site.world);
        if says_goodbye {
            browser.client.send_close_notify();
            browser.run(&mut site.world);
        } else {
            site.world.eof(browser.link);
        }
        assert_eq!(site.world.engine.stats().of(Cause::ClientGone), 1);
        let [(ended, kind, _)] = &node.receive(&mut site.world)[..] else { panic!("an end") };
        assert_eq!((ended, kind.as_str()), (&sid, "end"));
    }
}

#[test]
fn an_idle_client_that_says_goodbye_is_told_the_same() {
    let mut site = Site::new(SITE);
    let mut browser = site.established(TLS12);
    browser.client.send_close_notify();
    browser.run(&mut site.world);
    assert!(browser.has_heard_goodbye);
    assert_eq!(site.world.shut[&browser.link], Shut::Close);
}
