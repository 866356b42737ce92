//! What goes to and fro once the handshake is complete.

use super::browser::{Browser, GET, SITE, Site, TLS12, TLS13};
use super::hosts::http2_request;
use super::*;
use std::io::Write;

#[test]
fn a_request_travels_to_a_node_and_its_answer_back() {
    for (versions, step) in [(TLS12, usize::MAX), (TLS13, usize::MAX), (TLS12, 1), (TLS13, 1)] {
        let mut site = Site::new(SITE);
        let mut node = Node::connect(&mut site.world, "one");
        let mut browser = site.browser(versions);
        browser.step = step;
        browser.run(&mut site.world);
        for _ in 0..2 {
            browser.send(&mut site.world, GET.as_bytes());
            let sid = node.receive(&mut site.world).into_iter().find(|(_, kind, _)| kind == "uwsgi").unwrap().0;
            node.send(&mut site.world, &sid, "headers", HEAD);
            node.send(&mut site.world, &sid, "body", b"Hello");
            assert_eq!(browser.text(&mut site.world), "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nHello");
        }
        assert!(site.world.reports.iter().all(|report| report.level() < Level::Warn), "{:?}", site.world.reports);
    }
}

#[test]
fn a_large_answer_arrives_as_it_was_sent() {
    for versions in [TLS12, TLS13] {
        let mut site = Site::new(SITE);
        let mut node = Node::connect(&mut site.world, "one");
        let mut browser = site.established(versions);
        browser.send(&mut site.world, GET.as_bytes());
        let sid = node.request(&mut site.world);
        let body: Vec<u8> = (0..1_000_000_u32).map(|at| (at % 251) as u8).collect();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        node.send(&mut site.world, &sid, "headers", head.as_bytes());
        // Pieces of all sizes: such as share a record, and such as need many.
        let (mut rest, mut size) = (&body[..], 1);
        while !rest.is_empty() {
            let piece;
            (piece, rest) = rest.split_at(size.min(rest.len()));
            node.send(&mut site.world, &sid, "body", piece);
            size = size * 7 / 2 + 1;
            size = if size > 200_000 { 3 } else { size };
        }
        browser.run(&mut site.world);
        assert_eq!(browser.received.len(), head.len() + body.len());
        assert!(browser.received.ends_with(&body));
    }
}

#[test]
fn a_client_that_reads_slowly_makes_nobody_forget_it() {
    let ini = SITE.replace("[blastbeat]", "[blastbeat]\ncredit = 200000");
    let mut site = Site::new(&ini);
    let mut node = Node::connect(&mut site.world, "one");
    node.send(&mut site.world, b"", "pong", b"credit");
    let mut browser = site.established(TLS13);
    browser.send(&mut site.world, GET.as_bytes());
    let messages = node.receive(&mut site.world);
    let sid = messages[0].0.clone();
    let granted = |messages: &[(Vec<u8>, String, Bytes)]| -> usize {
        let credits = messages.iter().filter(|(_, kind, _)| kind == "credit");
        credits.map(|(.., body)| String::from_utf8_lossy(body).parse::<usize>().unwrap()).sum()
    };
    let mut credit = granted(&messages);
    assert!(credit > 0);
    let total = 2_000_000;
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {total}\r\n\r\n");
    node.send(&mut site.world, &sid, "headers", head.as_bytes());
    credit -= head.len();
    let mut sent = 0;
    while sent < total {
        let n = credit.min(total - sent);
        assert!(n > 0, "somebody is waited for who waits");
        node.send(&mut site.world, &sid, "body", &vec![b'x'; n]);
        sent += n;
        credit -= n;
        browser.run(&mut site.world);
        credit += granted(&node.receive(&mut site.world));
    }
    assert_eq!(browser.text(&mut site.world).len(), head.len() + total);
    assert_eq!(site.world.engine.stats().of(Cause::CreditExceeded), 0);
}

#[test]
fn a_client_that_takes_nothing_is_cut() {
    let mut site = Site::new(SITE);
    let mut node = Node::connect(&mut site.world, "one");
    let mut browser = site.established(TLS13);
    browser.send(&mut site.world, GET.as_bytes());
    let sid = node.request(&mut site.world);
    node.conn.send(&[&sid, b"body", &[b"HTTP/1.1 200 OK\r\n\r\n", &[b'x'; 300_000][..]].concat()]).unwrap();
    let bytes = node.conn.outbound().take();
    site.receive_but(node.link, &bytes, browser.link);
    let mut slices = [IoSlice::new(&[]); 8];
    let lent = |slices: &[IoSlice<'_>]| slices.iter().map(|slice| slice.len()).sum::<usize>();
    for _ in 0..3 {
        let count = site.world.engine.outbound(browser.link, &mut slices, site.world.now);
        let lent = lent(&slices[..count]);
        assert!((64 << 10..96 << 10).contains(&lent), "{lent}: no more is encrypted than a write takes");
        slices = [IoSlice::new(&[]); 8];
    }
    site.world.engine.check_invariants();
    let memory = site.world.engine.snapshot().memory;
    assert!((300_000..330_000).contains(&memory), "{memory}: in clear or not");
    site.world.now += site.world.engine.config().limits.write_stall;
    site.world.engine.handle(Input::Timeout, site.world.now);
    site.world.run();
    assert_eq!(site.world.shut[&browser.link], Shut::Abort);
    assert_eq!(site.world.engine.stats().of(Cause::WriteStall), 1);
    browser.run(&mut site.world);
    assert!(!browser.has_heard_goodbye);
}

#[test]
fn pipelined_requests_wait_in_clear() {
    for step in [usize::MAX, 1, 1000] {
        let mut site = Site::new(SITE);
        let mut node = Node::connect(&mut site.world, "one");
        let mut browser = site.established(TLS13);
        browser.step = step;
        browser.send(&mut site.world, GET.repeat(100).as_bytes());
        for _ in 0..100 {
            let sid = node.receive(&mut site.world).into_iter().find(|(_, kind, _)| kind == "uwsgi").unwrap().0;
            node.send(&mut site.world, &sid, "headers", HEAD);
            node.send(&mut site.world, &sid, "body", b"Hello");
        }
        assert_eq!(browser.text(&mut site.world).matches("\r\n\r\nHello").count(), 100);
    }
}

#[test]
fn an_upload_that_nobody_takes_stops_the_client() {
    let mut site = Site::new(SITE);
    let mut browser = site.established(TLS13);
    let node = Node::connect(&mut site.world, "one");
    let limit = site.world.engine.config().limits.node_queue_high;
    let size = 4 * limit;
    let head = format!("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: {size}\r\n\r\n");
    browser.client.set_buffer_limit(None);
    browser.client.writer().write_all(head.as_bytes()).unwrap();
    browser.client.writer().write_all(&vec![b'x'; size]).unwrap();
    let bytes = browser.bytes();
    let mut rest = &bytes[..];
    while site.world.engine.interest(browser.link).read {
        let piece;
        (piece, rest) = rest.split_at(rest.len().min(64 * 1024));
        assert!(!piece.is_empty(), "it stops before the end");
        site.receive_but(browser.link, piece, node.link);
    }
    let memory = site.world.engine.snapshot().memory;
    assert!(memory < 2 * limit + (256 << 10), "{memory}");
    site.world.write(node.link);
    site.world.run();
    let mut node = node;
    node.receive(&mut site.world);
    assert!(site.world.engine.interest(browser.link).read, "it goes on once there is room");
    while !rest.is_empty() {
        let piece;
        (piece, rest) = rest.split_at(rest.len().min(64 * 1024));
        site.world.receive(browser.link, piece);
        node.receive(&mut site.world);
    }
    assert!(node.receive(&mut site.world).is_empty(), "all has come");
}

#[test]
fn frames_of_a_websocket_go_both_ways() {
    for (versions, step) in [(TLS12, 1), (TLS13, usize::MAX)] {
        let mut site = Site::new(SITE);
        let mut node = Node::connect(&mut site.world, "one");
        let mut browser = site.established(versions);
        browser.step = step;
        browser.send(&mut site.world, HANDSHAKE.replace("example.org", "a.test").as_bytes());
        let sid = node.request(&mut site.world);
        assert!(browser.text(&mut site.world).starts_with("HTTP/1.1 101 "));
        browser.send(&mut site.world, b"\x81\x85\0\0\0\0Hello");
        let messages = node.receive(&mut site.world);
        assert_eq!(messages, [(sid.clone(), "websocket".to_string(), Bytes::from_static(b"Hello"))]);
        for _ in 0..1000 {
            node.conn.send(&[&sid, b"websocket", b"world"]).unwrap();
        }
        let bytes = node.conn.outbound().take();
        site.world.receive(node.link, &bytes);
        browser.run(&mut site.world);
        assert_eq!(core::mem::take(&mut browser.received), b"\x81\x05world".repeat(1000));
        browser.send(&mut site.world, b"\x88\x80\0\0\0\0");
        browser.run(&mut site.world);
        assert!(browser.has_heard_goodbye);
    }
}

/// Takes the frames of HTTP/2 that have come: their types and payloads.
fn frames(browser: &mut Browser) -> Vec<(u8, Vec<u8>)> {
    let (mut frames, mut rest) = (Vec::new(), &browser.received[..]);
    while let Some((head, after)) = rest.split_first_chunk::<9>() {
        let len = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        frames.push((head[3], after[..len].to_vec()));
        rest = &after[len..];
    }
    assert!(rest.is_empty(), "frames come whole");
    browser.received.clear();
    frames
}

#[test]
fn answers_of_http2_go_on_where_a_window_opens_and_end_with_goodbye() {
    const TOTAL: usize = 400_000;
    for step in [usize::MAX, 3] {
        let mut site = Site::new(SITE);
        let mut node = Node::connect(&mut site.world, "one");
        let link = site.world.accept(0);
        let mut browser = site.browser_of(None, link, TLS13, "a.test", &["h2", "http/1.1"]);
        browser.step = step;
        browser.run(&mut site.world);
        browser.send(&mut site.world, &http2_request("a.test"));
        let sid = node.request(&mut site.world);
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {TOTAL}\r\n\r\n");
        node.send(&mut site.world, &sid, "headers", head.as_bytes());
        node.send(&mut site.world, &sid, "body", &vec![b'x'; TOTAL]);
        let mut got = 0;
        while got < TOTAL {
            browser.run(&mut site.world);
            let data: usize =
                frames(&mut browser).iter().filter(|(kind, _)| *kind == 0).map(|(_, data)| data.len()).sum();
            assert!((1..=65_535).contains(&data), "{data}: as much as the window has");
            got += data;
            let mut updates = Vec::new();
            for stream in [0, 1] {
                updates.extend([0, 0, 4, 8, 0, 0, 0, 0, stream]);
                updates.extend((data as u32).to_be_bytes());
            }
            browser.send(&mut site.world, &updates);
        }
        site.world.control(Control::Drain);
        browser.run(&mut site.world);
        let said = frames(&mut browser);
        assert!(said.iter().any(|(kind, _)| *kind == 7), "GOAWAY");
        // It closes once it knows that this was heard.
        for (_, ping) in said.iter().filter(|(kind, _)| *kind == 6) {
            let pong = [&[0, 0, 8, 6, 1, 0, 0, 0, 0], &ping[..]].concat();
            browser.send(&mut site.world, &pong);
        }
        assert!(browser.has_heard_goodbye);
        assert_eq!(site.world.shut[&link], Shut::Write);
        site.world.eof(link);
        assert_eq!(site.world.shut[&link], Shut::Close);
    }
}
