//! Who the client is, where it comes in, and what it is told.

use blastbeat_proto::engine::Report;
use blastbeat_proto::error::Cause;
use blastbeat_tests::stage::Stage;

use super::{NO_CONTENT, get, ini};

mod stamped {
    blastbeat_tests::scenarios! {
        the_proxy_protocol_names_the_client
        a_connection_without_its_proxy_header_is_refused
        forwarded_fields_are_believed_of_trusted_proxies
        forwarded_fields_are_not_believed_of_others
        a_virtual_host_with_its_own_listener_is_reached_by_no_other
        the_access_line_tells_the_whole_exchange
        a_thousand_pipelined_requests_are_answered_in_order
        the_operators_own_pages_take_the_place_of_ours
    }
}

fn answer_one(stage: &mut Stage, node: blastbeat_tests::stage::Node) -> blastbeat_tests::stage::Request {
    let request = stage.request(node);
    stage.tell(node, &request.sid, "headers", NO_CONTENT);
    stage.expect_end(node, &request.sid);
    request
}

fn the_proxy_protocol_names_the_client(stage: &mut Stage) {
    stage.start(&ini("").replace("bind = 127.0.0.1:0", "bind = 127.0.0.1:0 proxy"));
    let node = stage.node("n1");
    let one = stage.client_sends(format!("PROXY TCP4 192.0.2.7 192.0.2.1 4711 80\r\n{}", get("/v1")));
    let request = answer_one(stage, node);
    assert_eq!((request.get("REMOTE_ADDR"), request.get("REMOTE_PORT")), (Some("192.0.2.7"), Some("4711")));
    stage.expect(one, NO_CONTENT);

    let mut two = b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24".to_vec();
    two.extend_from_slice(&[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9]);
    two.extend_from_slice(&[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    two.extend_from_slice(&[0x12, 0x67, 0, 80]);
    two.extend_from_slice(get("/v2").as_bytes());
    let two = stage.client_sends(two);
    let request = answer_one(stage, node);
    assert_eq!((request.get("REMOTE_ADDR"), request.get("REMOTE_PORT")), (Some("2001:db8::9"), Some("4711")));
    stage.expect(two, NO_CONTENT);

    // A health check of the proxy itself has no source: the connection's own address counts.
    let local = stage.client_sends([&b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"[..], get("/local").as_bytes()].concat());
    assert_eq!(answer_one(stage, node).get("REMOTE_ADDR"), Some("127.0.0.1"));
    stage.expect(local, NO_CONTENT);
}

fn a_connection_without_its_proxy_header_is_refused(stage: &mut Stage) {
    stage.start(&ini("").replace("bind = 127.0.0.1:0", "bind = 127.0.0.1:0 proxy"));
    let node = stage.node("n1");
    let client = stage.client_sends(get("/"));
    stage.read_to_end(client);
    stage.report("refused", |report| {
        matches!(report, Report::ClientRefused { cause: Cause::ProxyMalformed, .. }).then_some(())
    });
    stage.expect_no_message(node);
    stage.counted(Cause::ProxyMalformed, 1);
}

const FORWARDED: &str = "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 203.0.113.9, 198.51.100.4, 10.1.2.3\r\n\
                         X-Forwarded-Proto: https\r\n\r\n";

fn forwarded_fields_are_believed_of_trusted_proxies(stage: &mut Stage) {
    stage.start(&ini("trusted-proxy = 127.0.0.0/8\ntrusted-proxy = 10.0.0.0/8"));
    let node = stage.node("n1");
    let client = stage.client_sends(FORWARDED);
    let request = answer_one(stage, node);
    // The last address that is not a trusted proxy's; what stands before it anybody may have written.
    assert_eq!(request.get("REMOTE_ADDR"), Some("198.51.100.4"));
    assert_eq!((request.get("REQUEST_SCHEME"), request.get("HTTPS")), (Some("https"), Some("on")));
    stage.expect(client, NO_CONTENT);
}

fn forwarded_fields_are_not_believed_of_others(stage: &mut Stage) {
    stage.start(&ini("trusted-proxy = 192.0.2.0/24"));
    let node = stage.node("n1");
    let client = stage.client_sends(FORWARDED);
    let request = answer_one(stage, node);
    assert_eq!(request.get("REMOTE_ADDR"), Some("127.0.0.1"));
    assert_eq!((request.get("REQUEST_SCHEME"), request.get("HTTPS")), (Some("http"), None));
    stage.expect(client, NO_CONTENT);
}

fn a_virtual_host_with_its_own_listener_is_reached_by_no_other(stage: &mut Stage) {
    stage.start(&(ini("") + "[blastbeat:b]\nbind = 127.0.0.2:0\nnode = nb\n"));
    let (node, other) = (stage.node("n1"), stage.node("nb"));
    let shared = stage.client_on(0);
    stage.send(shared, "GET / HTTP/1.1\r\nHost: b\r\n\r\n");
    stage.expect_page(shared, Cause::HostUnknown);
    let own = stage.client_on(1);
    stage.send(own, get("/"));
    stage.expect_page(own, Cause::HostUnknown);
    stage.send(own, "GET / HTTP/1.1\r\nHost: b\r\n\r\n");
    answer_one(stage, other);
    stage.expect(own, NO_CONTENT);
    stage.send(shared, get("/"));
    answer_one(stage, node);
    stage.expect(shared, NO_CONTENT);
}

fn the_access_line_tells_the_whole_exchange(stage: &mut Stage) {
    stage.start(&ini(""));
    let (one, two) = (stage.node("n1"), stage.node("n2"));
    let client = stage.client_sends("POST /told?x HTTP/1.1\r\nHost: A:80\r\nContent-Length: 5\r\n\r\nhello");
    let sid = stage.request(one).sid;
    stage.expect_body(one, &sid, "hello");
    stage.tell(one, &sid, "retry", "");
    let request = stage.request(two);
    stage.expect_body(two, &sid, "hello");
    stage.answer(two, &sid, "thirteen byte");
    stage.expect(client, Stage::answered("thirteen byte"));
    stage.expect_end(two, &sid);
    let access = stage.access("/told?x");
    assert_eq!((&access.host[..], &access.method[..], access.status), ("a", &b"POST"[..], 200));
    assert_eq!((access.bytes_in, access.bytes_out), (5, 13));
    assert_eq!((access.node.as_deref(), access.hops, access.cause), (Some("n2"), 1, Cause::Complete));
    assert_eq!(access.sid.map(|sid| sid.0.to_vec()), Some(sid));
    assert_eq!(Some(&format!("{:016x}", access.request_id)[..]), request.get("REQUEST_ID"));
    assert!(access.waited + access.node_took <= access.took);
}

fn a_thousand_pipelined_requests_are_answered_in_order(stage: &mut Stage) {
    stage.start(&ini(""));
    let node = stage.node("n1");
    let all: String = (0..1000).map(|n| get(&format!("/{n}"))).collect();
    let client = stage.client_sends(&all);
    for n in 0..1000 {
        let request = stage.request(node);
        assert_eq!(request.line(), format!("GET /{n}"));
        if n % 250 == 0 {
            stage.expect_no_message(node);
        }
        stage.answer(node, &request.sid, &n.to_string());
        stage.expect(client, Stage::answered(&n.to_string()));
        stage.expect_end(node, &request.sid);
    }
}

fn the_operators_own_pages_take_the_place_of_ours(stage: &mut Stage) {
    let mut config = blastbeat_tests::config(&ini("error-page = 503 /busy.html\nerror-page = 404 /none.txt"));
    let pages = [(503, " <h1>Busy</h1>"), (404, "None here.")];
    for (status, text) in pages {
        config.error_pages.get_mut(&status).expect("it is configured").body = text.into();
    }
    stage.start_with(config);
    let client = stage.client_sends("GET / HTTP/1.1\r\nHost: a\r\nAccept: text/plain\r\n\r\n");
    let (head, body) = stage.response(client);
    assert!(head.starts_with("HTTP/1.1 503 ") && head.contains("Content-Type: text/html"), "{head}");
    assert_eq!(body, b" <h1>Busy</h1>");
    stage.send(client, "GET / HTTP/1.1\r\nHost: b\r\n\r\n");
    let (head, body) = stage.response(client);
    assert!(head.starts_with("HTTP/1.1 404 ") && head.contains("Content-Type: text/plain"), "{head}");
    assert_eq!(body, b"None here.");
    stage.send(client, "GET / HTTP/1.1\r\n\r\n");
    stage.expect_page(client, Cause::HostMissing);
    stage.expect_closed(client);
}
