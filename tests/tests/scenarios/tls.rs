//! Clients that speak TLS.

use blastbeat_proto::error::Cause;
use blastbeat_tests::frames::{self, Frame, TEXT};
use blastbeat_tests::secure::Version;
use blastbeat_tests::stage::Stage;

use super::NO_CONTENT;

mod stamped {
    blastbeat_tests::scenarios! {
        answers_travel_back
        names_choose_certificates
        new_certificates_are_for_new_connections
        frames_travel_both_ways
        who_is_refused_hears_why_and_goodbye
        who_does_not_speak_it_is_told_so
        the_proxy_protocol_comes_before_it
        a_client_says_goodbye
    }
}

mod large {
    blastbeat_tests::scenarios! {
        bulk: bodies_travel_both_ways answers_wait_for_those_who_do_not_read
    }
}

/// Virtual hosts `a` and `b` with the node `n1`; `options` stand behind the address, `global` in the global section.
fn ini(options: &str, global: &str) -> String {
    let host = |name: &str| format!("[blastbeat:{name}]\nnode = n1\ncertificate = {name}.pem\nkey = {name}.key\n");
    let listeners = format!("bind-ssl = 127.0.0.1:0 {options}\nzmq = tcp://127.0.0.1:0\n");
    format!("[blastbeat]\n{listeners}{global}\n{}{}", host("a"), host("b"))
}

fn get(host: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")
}

fn answers_travel_back(stage: &mut Stage) {
    stage.start_secure(&ini("", ""));
    let node = stage.node("n1");
    for version in [Version::Tls12, Version::Tls13] {
        let client = stage.secure_client("a", version);
        for _ in 0..2 {
            stage.send(client, get("a"));
            let request = stage.request(node);
            assert_eq!(request.get("HTTPS"), Some("on"));
            stage.tell(node, &request.sid, "body", NO_CONTENT);
            stage.expect(client, NO_CONTENT);
            stage.expect_end(node, &request.sid);
        }
    }
}

fn names_choose_certificates(stage: &mut Stage) {
    stage.start_secure(&ini("", ""));
    let [a, b] = ["a", "b"].map(|name| {
        let client = stage.secure_client(name, Version::Tls13);
        stage.secured(client);
        stage.tunnel(client).certificate().expect("it was shown")
    });
    assert_ne!(a, b);
    // Nobody vouches for this name.
    let stranger = stage.secure_client("c", Version::Tls13);
    stage.counted(Cause::TlsAlert, 1);
    assert!(stage.tunnel(stranger).error.is_some());
}

fn new_certificates_are_for_new_connections(stage: &mut Stage) {
    stage.start_secure(&ini("", ""));
    let node = stage.node("n1");
    let before = stage.secure_client("a", Version::Tls13);
    stage.secured(before);
    stage.renew_certificates();
    let after = stage.secure_client("a", Version::Tls13);
    stage.secured(after);
    assert_ne!(stage.tunnel(before).certificate(), stage.tunnel(after).certificate());
    for client in [before, after] {
        stage.send(client, get("a"));
        let sid = stage.request(node).sid;
        stage.tell(node, &sid, "body", NO_CONTENT);
        stage.expect(client, NO_CONTENT);
        stage.expect_end(node, &sid);
    }
}

fn frames_travel_both_ways(stage: &mut Stage) {
    stage.start_secure(&ini("", ""));
    let node = stage.node("n1");
    let client = stage.secure_client("a", Version::Tls13);
    stage.send(client, frames::request("/ws", ""));
    let sid = stage.request(node).sid;
    stage.expect(client, frames::SWITCHING);
    stage.send_frame(client, &Frame::new(TEXT, "hello"));
    stage.expect_message(node, &sid, "websocket", "hello");
    stage.tell(node, &sid, "websocket", "world");
    stage.expect_frame(client, &Frame::new(TEXT, "world"));
    stage.send_frame(client, &Frame::close(1000, ""));
    stage.expect_frame(client, &Frame::close(1000, ""));
    stage.expect_goodbye(client);
    stage.expect_end(node, &sid);
}

fn who_is_refused_hears_why_and_goodbye(stage: &mut Stage) {
    stage.start_secure(&ini("", ""));
    let client = stage.secure_client("a", Version::Tls13);
    stage.secured(client);
    // More is under way when the server closes: a reset would eat its last words.
    stage.send(client, format!("GET / HTTP/1.1\r\nHost : a\r\n\r\n{}", "x".repeat(40_000)));
    stage.expect_page(client, Cause::HeadMalformed);
    stage.expect_goodbye(client);
}

fn who_does_not_speak_it_is_told_so(stage: &mut Stage) {
    stage.start_secure(&ini("", ""));
    let client = stage.client_sends(get("a").repeat(100));
    stage.expect(client, [21, 3, 3, 0, 2, 2, 50]);
    stage.expect_closed(client);
    stage.counted(Cause::NotTls, 1);
}

fn the_proxy_protocol_comes_before_it(stage: &mut Stage) {
    stage.start_secure(&ini("proxy", ""));
    let node = stage.node("n1");
    let client = stage.client_sends("PROXY TCP4 192.0.2.7 192.0.2.8 4711 443\r\n");
    stage.secure(client, "b", Version::Tls12, &[]);
    stage.send(client, get("b"));
    let request = stage.request(node);
    assert_eq!((request.get("REMOTE_ADDR"), request.get("HTTPS")), (Some("192.0.2.7"), Some("on")));
    stage.tell(node, &request.sid, "body", NO_CONTENT);
    stage.expect(client, NO_CONTENT);
    stage.expect_end(node, &request.sid);
}

fn a_client_says_goodbye(stage: &mut Stage) {
    stage.start_secure(&ini("", ""));
    let client = stage.secure_client("a", Version::Tls13);
    stage.secured(client);
    stage.tunnel(client).say_goodbye();
    stage.expect_goodbye(client);
}

fn bodies_travel_both_ways(stage: &mut Stage) {
    const LENGTH: usize = 3_000_000;
    stage.start_secure(&ini("", ""));
    let node = stage.node("n1");
    let body: Vec<u8> = (0..LENGTH).map(|at| (at % 251) as u8).collect();
    let client = stage.secure_client("a", Version::Tls13);
    stage.send(client, format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {LENGTH}\r\n\r\n"));
    stage.send(client, &body);
    let sid = stage.request(node).sid;
    stage.expect_body(node, &sid, &body);
    stage.tell(node, &sid, "headers", format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n"));
    for piece in body.chunks(100_000) {
        stage.tell(node, &sid, "body", piece);
    }
    let (_, came) = stage.response(client);
    assert!(came == body, "what was answered has come");
    stage.expect_end(node, &sid);
}

fn answers_wait_for_those_who_do_not_read(stage: &mut Stage) {
    const REQUESTS: usize = 6_000;
    stage.start_secure(&ini("", "write-stall = 100"));
    let client = stage.secure_client("a", Version::Tls13);
    stage.secured(client);
    stage.pause(client, true);
    // No node: every request is answered with a page by the server itself.
    stage.send(client, get("a").repeat(REQUESTS));
    stage.settle();
    let memory = stage.snapshot().memory;
    assert!(memory < 2 << 20, "the server holds {memory} bytes");
    stage.pause(client, false);
    for _ in 0..REQUESTS {
        stage.expect_page(client, Cause::NodeMissing);
    }
}
