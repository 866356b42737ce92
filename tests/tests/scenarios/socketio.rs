//! Clients of socket.io: what they and nodes say to each other, by each generation and transport.

use blastbeat_proto::error::Cause;
use blastbeat_proto::time::Duration;
use blastbeat_tests::socketio::{Packet, Speaks};
use blastbeat_tests::socketio_stage::{Guest, Road};
use blastbeat_tests::stage::Stage;

use super::ini;

mod stamped {
    blastbeat_tests::scenarios! {
        events_and_answers_travel_both_ways
        a_node_that_knows_no_packets_hears_and_says_events_as_objects
        attachments_travel_by_each_transport
        a_node_gives_and_refuses_namespaces
        who_polls_by_http2_has_all_that_others_have
        who_comes_by_tls_has_all_that_others_have
        engine_io_alone_is_a_websocket_to_nodes
        what_waits_comes_with_one_poll
        a_poll_that_breaks_takes_nothing_with_it
        a_poll_on_a_poll_ends_the_client
        what_fits_nothing_is_refused_in_the_protocols_words
        a_body_over_the_limit_is_refused_and_the_client_lives
        clients_leave_namespaces_and_the_server
    }
}

const PACKETS: &str = "socket.io end-reason errors";

/// Every generation, by requests and by a WebSocket.
fn kinds() -> impl Iterator<Item = (Speaks, bool)> {
    Speaks::ALL.into_iter().flat_map(|speaks| [(speaks, false), (speaks, true)])
}

fn events_and_answers_travel_both_ways(stage: &mut Stage) {
    stage.start(&ini(""));
    let node = stage.node_with("n1", PACKETS);
    for (speaks, is_websocket) in kinds() {
        let (mut guest, sid) = Guest::with(stage, node, speaks, is_websocket, true);
        guest.emit(stage, r#"["one",1]"#);
        stage.expect_message(node, &sid, "socket.io/event", r#"["one",1]"#);
        // It wants an answer, and so does the node.
        let (asked, answered, asks, answers) = match speaks.is_one() {
            true => (
                r#"5:7+::{"name":"ask","args":["x"]}"#,
                r#"6:::7+[true,"é"]"#,
                r#"5:3+::{"name":"tell","args":[{"a":[]}]}"#,
                "6:::3+[null]",
            ),
            false => (r#"427["ask","x"]"#, r#"437[true,"é"]"#, r#"423["tell",{"a":[]}]"#, "433[null]"),
        };
        guest.say(stage, asked);
        stage.expect_message(node, &sid, "socket.io/event", r#"7["ask","x"]"#);
        stage.tell(node, &sid, "socket.io/ack", r#"7[true,"é"]"#);
        stage.tell(node, &sid, "socket.io/event", r#"3["tell",{"a":[]}]"#);
        let answer = guest.hear_text(stage);
        // Clients of generation Two may read text byte by byte, so that theirs is ASCII.
        let escaped = answered.replace('é', "\\u00e9");
        assert!(answer == answered || speaks.is_two() && answer == escaped, "{answer}");
        guest.expect(stage, asks);
        guest.say(stage, answers);
        stage.expect_message(node, &sid, "socket.io/ack", "3[null]");
        stage.tell(node, &sid, "socket.io/msg", "a \"text\"");
        stage.tell(node, &sid, "socket.io/json", r#"{"b":2}"#);
        if speaks.is_one() {
            guest.expect(stage, "3:::a \"text\"");
            guest.expect(stage, r#"4:::{"b":2}"#);
            guest.say_all(stage, &[Packet::text("3:::hi"), Packet::text("4:::[1]")]);
            stage.expect_message(node, &sid, "socket.io/event", r#"["message","hi"]"#);
            stage.expect_message(node, &sid, "socket.io/event", r#"["message",[1]]"#);
        } else {
            guest.expect(stage, r#"42["message","a \"text\""]"#);
            guest.expect(stage, r#"42["message",{"b":2}]"#);
        }
        stage.tell(node, &sid, "socket.io/end", "");
        guest.expect_farewell(stage);
        stage.expect_message(node, &sid, "end", "complete");
    }
}

fn a_node_that_knows_no_packets_hears_and_says_events_as_objects(stage: &mut Stage) {
    stage.start(&ini(""));
    let node = stage.node("n1");
    for (speaks, is_websocket) in kinds() {
        let (mut guest, sid) = Guest::with(stage, node, speaks, is_websocket, false);
        guest.emit(stage, r#"["say","it",{"a":1}]"#);
        stage.expect_message(node, &sid, "socket.io/event", r#"{"name":"say","args":["it",{"a":1}]}"#);
        stage.tell(node, &sid, "socket.io/event", r#"{"name":"back","args":[1,"x"]}"#);
        guest.expect_event(stage, r#"["back",1,"x"]"#);
        stage.tell(node, &sid, "socket.io/event", r#"["array"]"#);
        guest.expect_event(stage, r#"["array"]"#);
        if speaks.is_one() {
            guest.say_all(stage, &[Packet::text("3:::hi"), Packet::text("4:::[1]")]);
            stage.expect_message(node, &sid, "socket.io/msg", "hi");
            stage.expect_message(node, &sid, "socket.io/json", "[1]");
        }
        if speaks == Speaks::Five {
            guest.say(stage, "40/other");
            guest.expect(stage, r#"44/other,{"message":"Invalid namespace"}"#);
        }
        stage.tell(node, &sid, "end", "");
        guest.expect_farewell(stage);
        stage.expect_end(node, &sid);
    }
}

fn attachments_travel_by_each_transport(stage: &mut Stage) {
    stage.start(&ini(""));
    let node = stage.node_with("n1", PACKETS);
    let text = r#"51-["b",{"_placeholder":true,"num":0}]"#;
    let body = b"3-[\"b\",{\"_placeholder\":true,\"num\":0}]\x01\x00\xff";
    let attachment = Packet::Binary(vec![1, 0, 255]);
    for (speaks, is_websocket) in kinds().filter(|(speaks, _)| !speaks.is_one()) {
        let (mut guest, sid) = Guest::with(stage, node, speaks, is_websocket, true);
        // As the clients do it: text and attachments in one request.
        guest.say_all(stage, &[Packet::text(format!("4{text}")), attachment.clone()]);
        stage.expect_message(node, &sid, "socket.io/event", body);
        stage.tell(node, &sid, "socket.io/event", body);
        stage.tell(node, &sid, "socket.io/event", r#"["after"]"#);
        guest.expect(stage, &format!("4{text}"));
        assert_eq!(guest.hear(stage), attachment);
        guest.expect_event(stage, r#"["after"]"#);
        // In two requests, and two attachments of one event, one of them empty.
        let text = r#"452-["c",{"_placeholder":true,"num":1},{"_placeholder":true,"num":0}]"#;
        guest.say(stage, text);
        guest.say_all(stage, &[Packet::Binary(vec![7]), Packet::Binary(Vec::new())]);
        let body = b"1,0-[\"c\",{\"_placeholder\":true,\"num\":1},{\"_placeholder\":true,\"num\":0}]\x07";
        stage.expect_message(node, &sid, "socket.io/event", body);
        stage.expect_no_message(node);
        guest.expect_nothing(stage);
    }
    // Who has no binary gets them within the JSON.
    let (mut guest, sid) = Guest::with(stage, node, Speaks::One, true, true);
    stage.tell(node, &sid, "socket.io/event", body);
    guest.expect(stage, r#"5:::{"name":"b","args":[{"base64":true,"data":"AQD/"}]}"#);
}

fn a_node_gives_and_refuses_namespaces(stage: &mut Stage) {
    stage.start(&ini("socketio-max-namespaces = 3"));
    let node = stage.node_with("n1", PACKETS);
    for is_websocket in [true, false] {
        let (mut guest, sid) = Guest::with(stage, node, Speaks::Five, is_websocket, true);
        guest.say(stage, r#"40/chat,{"token":"x"}"#);
        stage.expect_message(node, &sid, "socket.io/connect", r#"/chat,{"token":"x"}"#);
        guest.say(stage, "40/staff");
        stage.expect_message(node, &sid, "socket.io/connect", "/staff,");
        stage.tell(node, &sid, "socket.io/refuse", r#"/staff,{"message":"no"}"#);
        stage.tell(node, &sid, "socket.io/connect", "/chat");
        guest.expect(stage, r#"44/staff,{"message":"no"}"#);
        let accepted = guest.hear_text(stage);
        assert!(accepted.starts_with("40/chat,{\"sid\":\""), "{accepted}");
        guest.say(stage, r#"42/chat,5["in",1]"#);
        stage.expect_message(node, &sid, "socket.io/event", r#"/chat,5["in",1]"#);
        stage.tell(node, &sid, "socket.io/event", r#"/chat,["out"]"#);
        stage.tell(node, &sid, "socket.io/ack", "/chat,5[2]");
        guest.expect(stage, r#"42/chat,["out"]"#);
        guest.expect(stage, "43/chat,5[2]");
        // One that it does not have.
        stage.tell(node, &sid, "socket.io/event", r#"/staff,["out"]"#);
        let complaint = stage.message(node);
        assert_eq!(complaint.kind, "error", "{complaint:?}");
        guest.say(stage, "41/chat,");
        stage.expect_message(node, &sid, "socket.io/disconnect", r#"/chat,"client namespace disconnect""#);
        guest.emit(stage, r#"["still"]"#);
        stage.expect_message(node, &sid, "socket.io/event", r#"["still"]"#);
        stage.tell(node, &sid, "socket.io/disconnect", "");
        guest.expect(stage, "41");
        guest.expect_nothing(stage);
    }
}

/// A few events each way, and one with an attachment.
fn converse(stage: &mut Stage, node: blastbeat_tests::stage::Node, guest: &mut Guest, sid: &[u8]) {
    for number in 0..3 {
        guest.emit(stage, &format!(r#"["up",{number}]"#));
        stage.expect_message(node, sid, "socket.io/event", format!(r#"["up",{number}]"#));
        stage.tell(node, sid, "socket.io/event", format!(r#"["down",{number}]"#));
        guest.expect_event(stage, &format!(r#"["down",{number}]"#));
    }
    if !guest.speaks.is_one() {
        let text = r#"451-["b",{"_placeholder":true,"num":0}]"#;
        guest.say_all(stage, &[Packet::text(text), Packet::Binary(vec![9])]);
        let body = b"1-[\"b\",{\"_placeholder\":true,\"num\":0}]\x09";
        stage.expect_message(node, sid, "socket.io/event", body);
        stage.tell(node, sid, "socket.io/event", body);
        guest.expect(stage, text);
        assert_eq!(guest.hear(stage), Packet::Binary(vec![9]));
    }
}

fn who_polls_by_http2_has_all_that_others_have(stage: &mut Stage) {
    stage.start(&ini("").replace("bind = 127.0.0.1:0", "bind = 127.0.0.1:0 h2c"));
    let node = stage.node_with("n1", PACKETS);
    for speaks in [Speaks::Five, Speaks::TwoBinary, Speaks::One] {
        let road = Road::streams(stage);
        let mut guest = Guest::polling_on(stage, speaks, "/socket.io/", road);
        let sid = guest.settle(stage, node, true);
        converse(stage, node, &mut guest, &sid);
        // A WebSocket on a stream of the same connection.
        guest.poll(stage);
        guest.probe(stage);
        if !speaks.is_one() {
            guest.upgrade(stage);
        }
        converse(stage, node, &mut guest, &sid);
        stage.tell(node, &sid, "socket.io/end", "");
        stage.expect_message(node, &sid, "end", "complete");
        let road = Road::streams(stage);
        let mut guest = Guest::websocket_on(stage, speaks, "/socket.io/", road);
        let sid = guest.settle(stage, node, true);
        converse(stage, node, &mut guest, &sid);
        stage.close(guest.line());
        stage.expect_message(node, &sid, "end", "client-gone");
    }
}

fn who_comes_by_tls_has_all_that_others_have(stage: &mut Stage) {
    let listener = "bind-ssl = 127.0.0.1:0";
    stage.start_secure(&(ini("").replace("bind = 127.0.0.1:0", listener) + "certificate = c\nkey = k\n"));
    let node = stage.node_with("n1", PACKETS);
    for speaks in [Speaks::Five, Speaks::Two] {
        let road = Road::secure(stage);
        let mut guest = Guest::polling_on(stage, speaks, "/socket.io/", road);
        let request = stage.request(node);
        assert_eq!(request.get("HTTPS"), Some("on"));
        guest.enter(stage, node, &request.sid, true);
        converse(stage, node, &mut guest, &request.sid);
        guest.poll(stage);
        guest.probe(stage);
        guest.upgrade(stage);
        converse(stage, node, &mut guest, &request.sid);
    }
}

fn engine_io_alone_is_a_websocket_to_nodes(stage: &mut Stage) {
    stage.start(&ini("engineio = /engine.io/ 4 3"));
    let node = stage.node_with("n1", "binary");
    let road = Road::plain(stage);
    let mut polling = Guest::polling_on(stage, Speaks::Five, "/engine.io/", road);
    let first = stage.request(node).sid;
    let road = Road::plain(stage);
    let mut old = Guest::websocket_on(stage, Speaks::Two, "/engine.io/", road);
    let second = stage.request(node).sid;
    for (guest, sid) in [(&mut polling, &first), (&mut old, &second)] {
        stage.tell(node, sid, "join", "room");
        guest.say_all(stage, &[Packet::text("4hello"), Packet::Binary(vec![0, 255])]);
        stage.expect_message(node, sid, "websocket/text", "hello");
        stage.expect_message(node, sid, "websocket/binary", [0, 255]);
        stage.tell(node, sid, "websocket/text", "back");
        stage.tell(node, sid, "websocket/binary", [1]);
        guest.expect(stage, "4back");
        assert_eq!(guest.hear(stage), Packet::Binary(vec![1]));
    }
    stage.tell(node, &first, "room:websocket/text", "to all");
    polling.expect(stage, "4to all");
    old.expect(stage, "4to all");
    polling.poll(stage);
    polling.probe(stage);
    polling.upgrade(stage);
    stage.tell(node, &first, "websocket/text", "after all");
    polling.expect(stage, "4after all");
    stage.tell(node, &second, "end", "");
    old.expect_close(stage, 1000);
    stage.expect_end(node, &second);
    polling.say(stage, "1");
    stage.expect_end(node, &first);
    stage.forgive(polling.line());
}

fn what_waits_comes_with_one_poll(stage: &mut Stage) {
    stage.start(&ini(""));
    let node = stage.node_with("n1", PACKETS);
    for speaks in Speaks::ALL {
        let (mut guest, sid) = Guest::with(stage, node, speaks, false, true);
        for number in 0..5 {
            stage.tell(node, &sid, "socket.io/event", format!("[\"n\",{number}]"));
        }
        stage.settle();
        guest.poll(stage);
        let answer = guest.polled(stage);
        let texts = (0..5).map(|number| Packet::text(speaks.event(&format!("[\"n\",{number}]"))));
        assert_eq!(speaks.packets(&answer.body, false), texts.collect::<Vec<_>>());
        let kind = if speaks.is_by_scripts() { "text/javascript" } else { "text/plain" };
        assert!(answer.head.contains(&format!("content-type: {kind}")), "{answer:?}");
        guest.poll(stage);
        guest.expect_nothing(stage);
        // Several in one request too.
        let events: Vec<_> = (0..3).map(|number| Packet::text(speaks.event(&format!("[\"u\",{number}]")))).collect();
        guest.say_all(stage, &events);
        for number in 0..3 {
            stage.expect_message(node, &sid, "socket.io/event", format!("[\"u\",{number}]"));
        }
        stage.tell(node, &sid, "socket.io/event", r#"["late"]"#);
        guest.expect_event(stage, r#"["late"]"#);
    }
    assert_eq!(stage.snapshot().sessions, 6);
}

fn a_poll_that_breaks_takes_nothing_with_it(stage: &mut Stage) {
    stage.start(&ini(""));
    let node = stage.node_with("n1", PACKETS);
    for speaks in [Speaks::Five, Speaks::Two, Speaks::One] {
        let (mut guest, sid) = Guest::with(stage, node, speaks, false, true);
        guest.poll(stage);
        stage.settle();
        guest.lose_poll(stage);
        stage.settle();
        stage.tell(node, &sid, "socket.io/event", r#"["kept"]"#);
        guest.expect_event(stage, r#"["kept"]"#);
        // A POST whose connection breaks in its middle is not heard.
        let target = guest.target("polling");
        let cut = stage.client_sends(format!("POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: 20\r\n\r\n42[\"cu"));
        stage.settle();
        stage.reset(cut);
        stage.settle();
        guest.emit(stage, r#"["whole"]"#);
        stage.expect_message(node, &sid, "socket.io/event", r#"["whole"]"#);
    }
    stage.expect_no_message(node);
}

fn a_poll_on_a_poll_ends_the_client(stage: &mut Stage) {
    stage.start(&ini(""));
    let node = stage.node_with("n1", PACKETS);
    let (mut guest, sid) = Guest::with(stage, node, Speaks::Five, false, true);
    guest.poll(stage);
    stage.settle();
    let second = stage.client_sends(super::get(&guest.target("polling")));
    let (head, body) = stage.response(second);
    assert!(head.starts_with("HTTP/1.1 400 ") && body == br#"{"code":3,"message":"Bad request"}"#, "{head}");
    assert_eq!(guest.polled(stage).text(), "1");
    stage.expect_message(node, &sid, "end", "request-overlap");
    stage.send(second, super::get(&guest.target("polling")));
    let (head, body) = stage.response(second);
    assert!(head.starts_with("HTTP/1.1 400 ") && body == br#"{"code":1,"message":"Session ID unknown"}"#, "{head}");
    stage.counted(Cause::SessionUnknown, 1);
}

fn what_fits_nothing_is_refused_in_the_protocols_words(stage: &mut Stage) {
    stage.start(&(ini("socketio = /socket.io/ 5") + "websocket-origin = https://good.example\n"));
    let node = stage.node_with("n1", PACKETS);
    let client = stage.client();
    for (target, code, message) in [
        ("/socket.io/?EIO=4&transport=pigeon", 0, "Transport unknown"),
        ("/socket.io/?EIO=3&transport=polling", 5, "Unsupported protocol version"),
        ("/socket.io/?EIO=4&transport=polling&sid=AAAAAAAAAAAAAAAAAAAAAA", 1, "Session ID unknown"),
        ("/socket.io/?EIO=4&transport=websocket", 3, "Bad request"),
    ] {
        stage.send(client, super::get(target));
        let (head, body) = stage.response(client);
        assert!(head.starts_with("HTTP/1.1 400 ") && head.contains("application/json"), "{target}: {head}");
        let body = String::from_utf8(body).expect("text");
        assert_eq!(body, format!("{{\"code\":{code},\"message\":\"{message}\"}}"), "{target}");
    }
    stage.send(client, "POST /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n40");
    assert!(stage.response(client).1.starts_with(br#"{"code":2,"#));
    let target = "/socket.io/?EIO=4&transport=polling";
    stage.send(client, format!("GET {target} HTTP/1.1\r\nHost: a\r\nOrigin: https://bad.example\r\n\r\n"));
    let (head, body) = stage.response(client);
    assert!(head.starts_with("HTTP/1.1 403 ") && body.starts_with(br#"{"code":4,"#), "{head}");
    stage.send(client, format!("OPTIONS {target} HTTP/1.1\r\nHost: a\r\nOrigin: https://good.example\r\n\r\n"));
    let head = String::from_utf8(stage.read_until(client, "\r\n\r\n")).expect("text");
    assert!(head.starts_with("HTTP/1.1 204 ") && head.contains("Allow-Origin: https://good.example"), "{head}");
    // What is off is the node's.
    stage.send(client, super::get("/socket.io/1/"));
    let request = stage.request(node);
    stage.answer(node, &request.sid, "mine");
    stage.expect(client, Stage::answered("mine"));
    stage.expect_message(node, &request.sid, "end", "complete");
    assert_eq!(stage.snapshot().sessions, 0);
}

fn a_body_over_the_limit_is_refused_and_the_client_lives(stage: &mut Stage) {
    stage.start(&ini("socketio-max-payload = 300"));
    let node = stage.node_with("n1", PACKETS);
    let (mut guest, sid) = Guest::with(stage, node, Speaks::Five, false, true);
    let large = format!("42[\"{}\"]", "x".repeat(300));
    guest.post(stage, &[Packet::text(large.clone())]);
    assert_eq!(guest.posted(stage).status, 413);
    // Its connection is closed after that.
    let post = guest.post_line();
    stage.expect_closed(post);
    let Road::Lines { post, .. } = &mut guest.road else { panic!("by HTTP/1") };
    *post = stage.client();
    guest.emit(stage, r#"["small"]"#);
    stage.expect_message(node, &sid, "socket.io/event", r#"["small"]"#);
    // What goes to the client is not bounded by that.
    stage.tell(node, &sid, "socket.io/event", format!("[\"{}\"]", "x".repeat(1000)));
    stage.tell(node, &sid, "socket.io/event", r#"["next"]"#);
    guest.expect_event(stage, &format!("[\"{}\"]", "x".repeat(1000)));
    guest.expect_event(stage, r#"["next"]"#);
    let (mut guest, sid) = Guest::with(stage, node, Speaks::Five, true, true);
    guest.say(stage, &large);
    stage.advance(Duration::from_millis(100));
    guest.expect_close(stage, 1009);
    stage.expect_message(node, &sid, "end", "message-too-large");
}

fn clients_leave_namespaces_and_the_server(stage: &mut Stage) {
    stage.start(&ini(""));
    let node = stage.node_with("n1", PACKETS);
    for (speaks, is_websocket) in kinds() {
        let (mut guest, sid) = Guest::with(stage, node, speaks, is_websocket, true);
        if !is_websocket {
            guest.poll(stage);
            stage.settle();
        }
        guest.say(stage, if speaks.is_one() { "0::" } else { "1" });
        if is_websocket {
            stage.forgive(guest.line());
        } else {
            let answer = guest.polled(stage);
            let packets = speaks.packets(&answer.body, false);
            let nothing = if speaks.is_one() { "8::" } else { "6" };
            assert_eq!(packets, [Packet::text(nothing)], "{speaks:?}");
        }
        stage.expect_message(node, &sid, "end", "client-closed");
    }
    // By a request of its own, which the 0.9 clients send when their page is left.
    let (guest, sid) = Guest::with(stage, node, Speaks::One, false, true);
    let client = stage.client_sends(super::get(&format!("/socket.io/1/xhr-polling/{}?disconnect=1", guest.id)));
    assert!(stage.response(client).0.starts_with("HTTP/1.1 200 "));
    stage.expect_message(node, &sid, "end", "client-closed");
    assert_eq!(stage.snapshot().sessions, 0);
}
