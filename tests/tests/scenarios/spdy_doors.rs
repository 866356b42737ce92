//! How clients of SPDY come in: by their first bytes, behind a proxy, by TLS, beside those of other protocols; and how those
//! are sent away who say what SPDY does not have.

use blastbeat_proto::error::Cause;
use blastbeat_proto::spdy::Version;
use blastbeat_tests::http2_stage::Browser;
use blastbeat_tests::secure;
use blastbeat_tests::spdy_frames::{FIN, Heads, PING, SYN_STREAM, control, data};
use blastbeat_tests::spdy_stage::{Spdy, listeners};
use blastbeat_tests::stage::{Node, Stage};

use super::spdy::ini;
use super::{NO_CONTENT, get};

mod stamped {
    blastbeat_tests::scenarios! {
        first_bytes_may_come_one_by_one
        all_protocols_on_one_listener
        who_speaks_it_where_nobody_does_is_refused
        the_proxy_protocol_comes_before_it
        a_client_chooses_it_by_tls
        who_comes_in_clear_text_is_sent_to_tls
        a_client_that_breaks_the_rules_is_told_and_closed
        fields_that_spdy_does_not_have_are_refused_alone
    }
}

/// A request by SPDY and its answer.
fn converse(stage: &mut Stage, node: Node, spdy: &mut Spdy) {
    let stream = spdy.get(stage, "/spdy");
    let request = stage.request(node);
    let number = request.get("SPDY_VERSION");
    assert_eq!((number, request.get("HTTP2")), (Some(&spdy.version().alpn()[5..]), None), "{request:?}");
    stage.answer(node, &request.sid, "by streams");
    spdy.expect(stage, stream, 200, "by streams");
    stage.expect_end(node, &request.sid);
}

fn first_bytes_may_come_one_by_one(stage: &mut Stage) {
    stage.start(&ini(""));
    let node = stage.node("n1");
    for version in Version::ALL {
        let mut spdy = Spdy::silent(stage, version, 0);
        for byte in spdy.take_outgoing() {
            stage.send(spdy.client, [byte]);
            stage.settle();
        }
        converse(stage, node, &mut spdy);
    }
    // What begins like SPDY, and is not, is nobody's request either.
    let client = stage.client_sends(b"\x80");
    stage.expect_nothing(client);
    stage.send(client, b"G");
    let (head, _) = stage.response(client);
    assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
    stage.expect_closed(client);
}

fn all_protocols_on_one_listener(stage: &mut Stage) {
    stage.start(&super::ini("").replacen("bind = 127.0.0.1:0", "bind = 127.0.0.1:0 h2c spdy=2,3,3.1", 1));
    let node = stage.node("n1");
    let old = stage.client_sends(get("/old"));
    let old_sid = stage.request(node).sid;
    let mut browser = Browser::new(stage);
    let new = browser.get(stage, "/new");
    let new_sid = stage.request(node).sid;
    for version in Version::ALL {
        let client = stage.client();
        let mut spdy = Spdy::on(stage, client, version, 0);
        let stream = spdy.get(stage, "/");
        let request = stage.request(node);
        // Which of both it is that begin alike nobody has said yet.
        let number = if version == Version::V2 { "2" } else { "3.1" };
        assert_eq!(request.get("SPDY_VERSION"), Some(number));
        stage.answer(node, &request.sid, "by streams");
        spdy.expect(stage, stream, 200, "by streams");
        stage.expect_end(node, &request.sid);
    }
    stage.answer(node, &new_sid, "new");
    browser.expect(stage, new, 200, "new");
    stage.expect_end(node, &new_sid);
    stage.answer(node, &old_sid, "old");
    stage.expect(old, Stage::answered("old"));
    stage.expect_end(node, &old_sid);
}

/// A request in this version, by bytes.
fn asks(version: Version) -> Vec<u8> {
    Heads::new(version).ask(1, FIN, "GET", "/", &[])
}

fn who_speaks_it_where_nobody_does_is_refused(stage: &mut Stage) {
    stage.start(&super::ini("").replacen("bind = 127.0.0.1:0", "bind = 127.0.0.1:0\nbind = 127.0.0.1:0 h2c spdy=2", 1));
    let node = stage.node("n1");
    let refused: [(usize, Version); 4] = [(0, Version::V2), (0, Version::V3), (0, Version::V31), (1, Version::V31)];
    for (listener, version) in refused {
        let client = stage.client_on(listener);
        // Their first byte is no part of a method; behind it nothing is read, not even the end of a line.
        stage.send(client, asks(version));
        stage.send(client, "\r\n\r\n");
        if listener == 0 {
            let (head, _) = stage.response(client);
            assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
        } else {
            stage.read_to_end(client);
        }
        stage.forgive(client);
    }
    let client = stage.client_on(1);
    let mut spdy = Spdy::on(stage, client, Version::V2, 0);
    converse(stage, node, &mut spdy);
}

fn the_proxy_protocol_comes_before_it(stage: &mut Stage) {
    stage.start(&super::ini("").replacen("bind = 127.0.0.1:0", &listeners("proxy"), 1));
    let node = stage.node("n1");
    for version in Version::ALL {
        let client = stage.client_on(usize::from(version == Version::V3));
        stage.send(client, "PROXY TCP4 192.0.2.7 192.0.2.1 5000 80\r\n");
        let mut spdy = Spdy::on(stage, client, version, 0);
        let stream = spdy.get(stage, "/");
        let request = stage.request(node);
        assert_eq!(request.get("REMOTE_ADDR"), Some("192.0.2.7"));
        stage.answer(node, &request.sid, "for you");
        spdy.expect(stage, stream, 200, "for you");
        stage.expect_end(node, &request.sid);
    }
}

/// A virtual host `a` that is reached by TLS, and in clear text.
fn secure(more: &str) -> String {
    format!(
        "[blastbeat]\nbind-ssl = 127.0.0.1:0 spdy=2,3,3.1\n{}\nzmq = tcp://127.0.0.1:0\n\
         [blastbeat:a]\nnode = n1\ncertificate = a.pem\nkey = a.key\n{more}\n",
        listeners("")
    )
}

fn a_client_chooses_it_by_tls(stage: &mut Stage) {
    stage.start_secure(&secure("hsts = 60"));
    let node = stage.node("n1");
    let choose = |stage: &mut Stage, how, offers: &[&[u8]]| {
        let client = stage.client();
        stage.secure(client, "a", how, offers);
        stage.secured(client);
        (client, stage.tunnel(client).protocol().map(<[u8]>::to_vec))
    };
    for version in Version::ALL {
        for how in [secure::Version::Tls12, secure::Version::Tls13] {
            let name = version.alpn().as_bytes();
            let (client, chosen) = choose(stage, how, &[b"http/1.1", name]);
            assert_eq!(chosen.as_deref(), Some(name));
            let mut spdy = Spdy::on(stage, client, version, 0);
            let stream = spdy.get(stage, "/");
            let request = stage.request(node);
            for (variable, value) in
                [("HTTPS", "on"), ("REQUEST_SCHEME", "https"), ("SPDY_VERSION", &version.alpn()[5..])]
            {
                assert_eq!(request.get(variable), Some(value), "{request:?}");
            }
            stage.answer(node, &request.sid, "in private");
            let head = spdy.expect(stage, stream, 200, "in private");
            assert_eq!(head.field("strict-transport-security"), Some("max-age=60"));
            stage.expect_end(node, &request.sid);
        }
    }
    // The newest that both know.
    let orders: [(&[&[u8]], &[u8]); 3] = [
        (&[b"spdy/2", b"spdy/3", b"spdy/3.1", b"http/1.1"], b"spdy/3.1"),
        (&[b"spdy/2", b"spdy/3"], b"spdy/3"),
        (&[b"spdy/3.1", b"h2"], b"h2"),
    ];
    for (offers, chosen) in orders {
        let (client, got) = choose(stage, secure::Version::Tls13, offers);
        assert_eq!(got.as_deref(), Some(chosen));
        stage.forgive(client);
    }
}

fn who_comes_in_clear_text_is_sent_to_tls(stage: &mut Stage) {
    stage.start_secure(&secure("https-redirect = 301"));
    let node = stage.node("n1");
    for (version, nth) in [(Version::V2, 1), (Version::V3, 2), (Version::V31, 1)] {
        let client = stage.client_on(nth);
        let mut spdy = Spdy::on(stage, client, version, 0);
        let stream = spdy.get(stage, "/x?y");
        let (head, page) = spdy.answer(stage, stream);
        let location = head.field("location").expect("a location");
        assert!(location.starts_with("https://a") && location.ends_with("/x?y"), "{head:?}");
        assert_eq!((head.status, head.field("strict-transport-security")), (301, None));
        assert!(String::from_utf8_lossy(&page).contains(Cause::HttpsNeeded.name()));
        let stream = spdy.post(stage, "/", "a body", true);
        assert_eq!(spdy.answer(stage, stream).0.status, 301);
    }
    stage.expect_no_message(node);
}

/// What breaks a rule, on a connection with these heads.
type Breaks<'a> = &'a dyn Fn(&mut Heads) -> Vec<u8>;

fn a_client_that_breaks_the_rules_is_told_and_closed(stage: &mut Stage) {
    stage.start(&ini(""));
    let node = stage.node("n1");
    for version in Version::ALL {
        let other = if version == Version::V2 { Version::V3 } else { Version::V2 };
        // What no head may be, a stream of zlib, least of all.
        let garbage = [0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 7, 7, 7, 7];
        let breaks: [(Breaks<'_>, Cause); 4] = [
            (&|_| control(other, PING, 0, &[0, 0, 0, 1]), Cause::VersionUnsupported),
            // A stream that only a server may open.
            (&|heads| heads.ask(2, FIN, "GET", "/", &[]), Cause::FramingMalformed),
            (&|_| control(version, SYN_STREAM, FIN, &garbage), Cause::CompressionMalformed),
            (&|_| control(version, PING, 0, b"three"), Cause::FrameSizeWrong),
        ];
        for (breaks, cause) in breaks {
            let mut spdy = Spdy::silent(stage, version, 0);
            let (mut heads, mut says) = (Heads::new(version), spdy.take_outgoing());
            spdy.get_unsaid("/");
            says.extend(heads.ask(1, 0, "POST", "/", &[]));
            stage.send(spdy.client, says);
            let sid = stage.request(node).sid;
            let before = stage.snapshot().stats.of(cause);
            stage.send(spdy.client, breaks(&mut heads));
            let farewell = spdy.until(stage, "a farewell", |spdy| spdy.farewell);
            // SPDY/2 has no place for the reason.
            assert_eq!(farewell, (if version == Version::V2 { 0 } else { 1 }, 1), "{cause}");
            stage.expect_end(node, &sid);
            spdy.expect_end(stage);
            assert!(spdy.streams[&1].head.is_none());
            stage.close(spdy.client);
            stage.counted(cause, before + 1);
        }
    }
}

fn fields_that_spdy_does_not_have_are_refused_alone(stage: &mut Stage) {
    stage.start(&ini(""));
    let node = stage.node("n1");
    for version in Version::ALL {
        // A handshake of a WebSocket, above all.
        for name in ["connection", "transfer-encoding", "keep-alive", "proxy-connection"] {
            let mut spdy = Spdy::silent(stage, version, 0);
            let mut says = spdy.take_outgoing();
            spdy.get_unsaid("/");
            let fields = [("upgrade", "websocket"), (name, "Upgrade")];
            says.extend(Heads::new(version).ask(1, FIN, "GET", "/", &fields));
            stage.send(spdy.client, says);
            // SPDY/2 has its servers ignore most of them.
            if version == Version::V2 && name != "transfer-encoding" {
                let request = stage.request(node);
                let of_one_hop = |name: &str| ["UPGRADE", "CONNECTION", "ALIVE"].iter().any(|end| name.ends_with(end));
                assert!(!request.variables.iter().any(|(name, _)| of_one_hop(name)), "{request:?}");
                stage.tell(node, &request.sid, "headers", NO_CONTENT);
                spdy.expect(stage, 1, 204, "");
                stage.expect_end(node, &request.sid);
            } else {
                assert_eq!(spdy.answer(stage, 1).0.status, 400, "{version} {name}");
            }
            assert_eq!(spdy.farewell, None);
            stage.close(spdy.client);
        }
        // What a body may not be shorter than.
        let mut spdy = Spdy::silent(stage, version, 0);
        let mut says = spdy.take_outgoing();
        spdy.get_unsaid("/");
        says.extend(Heads::new(version).ask(1, 0, "POST", "/", &[("content-length", "9")]));
        says.extend(data(1, FIN, b"less"));
        stage.send(spdy.client, says);
        let sid = stage.request(node).sid;
        while stage.message(node).kind != "end" {}
        spdy.settle(stage);
        let of = &spdy.streams[&1];
        assert!(of.reset.is_some() || of.head.as_ref().is_some_and(|head| head.status == 400), "{of:?}");
        stage.tell(node, &sid, "headers", NO_CONTENT);
        stage.counted(Cause::SessionStale, 1 + version as u64);
    }
}
