//! SPDY by TLS: negotiated by its names, and not by its first bytes.

use super::browser::{Browser, SITE, Site, TLS13};
use super::*;
use crate::http::{self, BodySize, Request, Settings, StreamId};
use crate::limits::Limits;
use crate::spdy::{Connection, Event, Priority, Version};

/// What a client and the engine say to each other, until both rest; returns what the client was told.
fn converse(site: &mut Site, browser: &mut Browser, client: &mut Connection) -> Vec<(StreamId, Event)> {
    let (mut told, mut unread) = (Vec::new(), Vec::new());
    loop {
        let mut out = Vec::new();
        while client.has_outbound() {
            out.append(&mut client.outbound().take());
        }
        for piece in out.chunks(16_000) {
            browser.send(&mut site.world, piece);
        }
        browser.run(&mut site.world);
        unread.append(&mut browser.received);
        let mut rests = true;
        while let Some((stream, event)) = client.poll_event() {
            rests = false;
            if let Event::Part(http::Event::Body(piece)) = &event {
                client.release(stream, piece.len(), site.world.now);
            }
            if !matches!(event, Event::Freed(_)) {
                told.push((stream, event));
            }
        }
        let used = client.receive(&unread, site.world.now);
        unread.drain(..used);
        if rests && used == 0 && !client.has_outbound() {
            return told;
        }
    }
}

#[test]
fn each_version_is_negotiated_and_served() {
    for version in Version::ALL {
        let mut site = Site::new(&SITE.replacen(":443", ":443 spdy=2,3,3.1", 1));
        let mut node = Node::connect(&mut site.world, "one");
        let link = site.world.accept(0);
        let mut browser = site.browser_of(None, link, TLS13, "a.test", &[version.alpn(), "http/1.1"]);
        browser.run(&mut site.world);
        assert_eq!(browser.client.alpn_protocol(), Some(version.alpn().as_bytes()));
        let mut client = Connection::client(version, Settings::with_limits(Limits::DEFAULT), site.world.now);
        let body = alloc::vec![b'x'; 300_000];
        let request = Request::builder("POST", "/", "a.test").body(BodySize::Chunked).build().unwrap();
        let stream = client.open(&request, true, Priority(0), site.world.now).unwrap();
        client.send(stream, http::Event::Body(body.clone().into()), site.world.now).unwrap();
        client.send(stream, http::Event::End, site.world.now).unwrap();
        let mut messages = Vec::new();
        // As the node takes it, its windows open.
        loop {
            let before = messages.len();
            assert_eq!(converse(&mut site, &mut browser, &mut client), []);
            messages.append(&mut node.receive(&mut site.world));
            if messages.len() == before {
                break;
            }
        }
        let sid = messages[0].0.clone();
        assert!(messages[0].2.windows(11).any(|text| text == b"HTTP_SCHEME"), "{version}");
        let came: Vec<u8> = messages[1..].iter().flat_map(|(.., body)| body.to_vec()).collect();
        assert!(came == body, "{version}: {}", came.len());
        node.send(&mut site.world, &sid, "body", &[b"HTTP/1.1 200 OK\r\n\r\n", &body[..]].concat());
        node.send(&mut site.world, &sid, "end", b"");
        let told = converse(&mut site, &mut browser, &mut client);
        let bytes = told
            .iter()
            .map(|(_, event)| if let Event::Part(http::Event::Body(piece)) = event { piece.len() } else { 0 });
        assert_eq!(bytes.sum::<usize>(), body.len(), "{version}");
        assert_eq!(told.last(), Some(&(stream, Event::Part(http::Event::End))));
    }
}

#[test]
fn the_newest_version_is_chosen_behind_http2_and_only_where_it_is_allowed() {
    for (line, offered, chosen) in [
        (" spdy=2,3,3.1", &["http/1.1", "spdy/2", "spdy/3", "spdy/3.1", "h2"][..], "h2"),
        (" spdy=2,3,3.1", &["http/1.1", "spdy/2", "spdy/3", "spdy/3.1"], "spdy/3.1"),
        (" spdy=2,3", &["http/1.1", "spdy/2", "spdy/3.1", "spdy/3"], "spdy/3"),
        (" spdy=2", &["spdy/3.1", "http/1.1", "spdy/2"], "spdy/2"),
        (" spdy=2 http1", &["h2", "http/1.1", "spdy/3.1"], "http/1.1"),
        ("", &["spdy/3.1", "http/1.1"], "http/1.1"),
    ] {
        let mut site = Site::new(&SITE.replacen(":443", &alloc::format!(":443{line}"), 1));
        let link = site.world.accept(0);
        let mut browser = site.browser_of(None, link, TLS13, "a.test", offered);
        browser.run(&mut site.world);
        assert_eq!(browser.client.alpn_protocol(), Some(chosen.as_bytes()), "{line}: {offered:?}");
    }
}

#[test]
fn its_first_bytes_are_nothing_to_a_client_that_has_chosen_http1() {
    let mut site = Site::new(&SITE.replacen(":443", ":443 spdy=2,3,3.1", 1));
    let mut browser = site.established(TLS13);
    browser.send(&mut site.world, b"\x80\x03\0\x06\0\0\0\x04\0\0\0\x01\r\n\r\n");
    assert!(browser.text(&mut site.world).starts_with("HTTP/1.1 400 "));
}
