//! Nodes come, live and go.

use std::time::Duration;

use blastbeat_proto::engine::Report;
use blastbeat_proto::error::Cause;
use blastbeat_tests::stage::{Casting, Stage};

use super::{NO_CONTENT, get, ini};

mod stamped {
    blastbeat_tests::scenarios! {
        a_node_is_pinged_at_once_and_told_to_spawn_once
        a_silent_node_gets_no_new_requests_but_keeps_its_own
        an_unknown_identity_is_held_and_closed
        a_duplicate_of_a_live_node_is_held_and_closed
        a_node_that_does_not_answer_is_taken_over
        no_more_nodes_than_allowed
        a_pattern_admits_a_pool_but_no_name_that_is_written_out
        a_password_opens_and_a_wrong_one_does_not
        a_password_is_for_the_links_it_is_configured_for
        a_node_of_zmtp_3_0_serves
        heartbeats_find_a_dead_peer
        a_handshake_that_does_not_end_is_ended
        the_server_dials_and_dials_again
        an_endpoint_that_refuses_is_tried_again
        a_virtual_hosts_own_node_port_is_for_its_nodes
    }
}

fn a_node_is_pinged_at_once_and_told_to_spawn_once(stage: &mut Stage) {
    stage.start(&ini("ping-freq = 0.2"));
    let node = stage.cast(Casting { name: "n1", silent: true, ..Casting::default() });
    stage.up(node);
    // That ping comes first, and spawn once in the server's life, the stage checks by itself.
    stage.until("spawn".to_owned(), |stage| (stage.spawned("n1") == 1 && stage.pings(node) > 0).then_some(()));
    stage.advance(Duration::from_millis(300));
    stage.until("a further ping".to_owned(), |stage| (stage.pings(node) > 1).then_some(()));
    stage.tell(node, b"", "pong", "");
    stage.available("n1");
    let link = stage.as_client(node);
    stage.close(link);
    stage.lost("n1");
    let again = stage.node("n1");
    let client = stage.client_sends(get("/"));
    let request = stage.request(again);
    stage.tell(again, &request.sid, "headers", NO_CONTENT);
    stage.expect(client, NO_CONTENT);
    stage.expect_end(again, &request.sid);
    assert_eq!(stage.spawned("n1"), 1);
}

fn a_silent_node_gets_no_new_requests_but_keeps_its_own(stage: &mut Stage) {
    stage.start(&ini("ping-freq = 0.1"));
    let node = stage.node("n1");
    let kept = stage.client_sends(get("/kept"));
    let request = stage.request(node);
    stage.silence(node, true);
    stage.advance(Duration::from_millis(450));
    stage.report("silent", |report| matches!(report, Report::NodeSilent { node } if node == "n1").then_some(()));
    let refused = stage.client_sends(get("/refused"));
    stage.expect_page(refused, Cause::NodeMissing);
    // Any message that is accepted says that it lives.
    stage.silence(node, false);
    stage.tell(node, &request.sid, "headers", NO_CONTENT);
    stage.expect(kept, NO_CONTENT);
    stage.expect_end(node, &request.sid);
    stage.available("n1");
    stage.send(refused, get("/served"));
    let request = stage.request(node);
    stage.tell(node, &request.sid, "headers", NO_CONTENT);
    stage.expect(refused, NO_CONTENT);
    stage.expect_end(node, &request.sid);
}

fn an_unknown_identity_is_held_and_closed(stage: &mut Stage) {
    stage.start(&ini(""));
    let stranger = stage.cast(Casting { name: "stranger", ..Casting::default() });
    stage.refusal("stranger", Cause::IdentityUnknown);
    stage.advance(Duration::from_millis(900));
    if stage.is_virtual() {
        let link = stage.as_client(stranger);
        assert!(stage.host().peer(link.id()).ended.is_none(), "it is held for a second at least");
    }
    stage.advance(Duration::from_secs(5));
    stage.expect_link_closed(stranger);
    assert!(!stage.is_up(stranger));
    assert_eq!(stage.refused(stranger), None, "an ERROR would keep libzmq from ever coming back");
    stage.counted(Cause::IdentityUnknown, 1);
}

fn a_duplicate_of_a_live_node_is_held_and_closed(stage: &mut Stage) {
    stage.start(&ini("ping-freq = 1"));
    let first = stage.node("n1");
    let second = stage.cast(Casting { name: "n1", ..Casting::default() });
    stage.refusal("n1", Cause::IdentityDuplicate);
    stage.advance(Duration::from_secs(6));
    stage.expect_link_closed(second);
    assert!(!stage.is_up(second));
    assert_eq!(stage.refused(second), None);
    let client = stage.client_sends(get("/"));
    let request = stage.request(first);
    stage.tell(first, &request.sid, "headers", NO_CONTENT);
    stage.expect(client, NO_CONTENT);
    stage.expect_end(first, &request.sid);
}

fn a_node_that_does_not_answer_is_taken_over(stage: &mut Stage) {
    stage.start(&ini("ping-freq = 0.3"));
    let first = stage.node("n1");
    let client = stage.client_sends(get("/lost"));
    stage.request(first);
    // Not even its ZeroMQ answers any more.
    let link = stage.as_client(first);
    stage.pause(link, true);
    let second = stage.cast(Casting { name: "n1", ..Casting::default() });
    stage.advance(Duration::from_millis(400));
    assert_eq!(stage.lost("n1"), Cause::IdentityTakenOver);
    stage.pause(link, false);
    stage.expect_link_closed(first);
    stage.forgive(link);
    // When the old link went nobody was available; the successor is as soon as it has said so.
    stage.expect_page(client, Cause::NodeMissing);
    stage.available("n1");
    stage.send(client, get("/next"));
    let request = stage.request(second);
    stage.tell(second, &request.sid, "headers", NO_CONTENT);
    stage.expect(client, NO_CONTENT);
    stage.expect_end(second, &request.sid);
}

fn no_more_nodes_than_allowed(stage: &mut Stage) {
    stage.start(&ini("max-nodes = 1").replace("node = n1\nnode = n2\nnode = n3", "node = pool-*"));
    let first = stage.node("pool-1");
    stage.report("accept-paused", |report| matches!(report, Report::AcceptPaused { .. }).then_some(()));
    let second = stage.cast(Casting { name: "pool-2", ..Casting::default() });
    stage.advance(Duration::from_millis(300));
    assert!(!stage.is_up(second), "it waits in the system's queue");
    let link = stage.as_client(first);
    stage.close(link);
    stage.up(second);
}

fn a_pattern_admits_a_pool_but_no_name_that_is_written_out(stage: &mut Stage) {
    stage
        .start(&(ini("").replace("node = n1\nnode = n2\nnode = n3", "node = web-*") + "[blastbeat:b]\nnode = web-b\n"));
    let (one, two, other) = (stage.node("web-1"), stage.node("web-2"), stage.node("web-b"));
    let first = stage.client_sends(get("/1"));
    let at_one = stage.request(one);
    let second = stage.client_sends(get("/2"));
    let at_two = stage.request(two);
    let third = stage.client_sends("GET /3 HTTP/1.1\r\nHost: b\r\n\r\n");
    let at_other = stage.request(other);
    for (node, request, client) in [(one, at_one, first), (two, at_two, second), (other, at_other, third)] {
        stage.tell(node, &request.sid, "headers", NO_CONTENT);
        stage.expect(client, NO_CONTENT);
        stage.expect_end(node, &request.sid);
    }
}

fn a_password_opens_and_a_wrong_one_does_not(stage: &mut Stage) {
    stage.start(&ini("node-password = n1 secret\nnode-password = n2 other"));
    let wrong = stage.cast(Casting { name: "n2", password: Some("secret"), ..Casting::default() });
    stage.refusal("n2", Cause::CredentialsRefused);
    stage.expect_link_closed(wrong);
    assert!(stage.refused(wrong).is_some(), "retrying cannot mend this: ERROR");
    let right = stage.cast(Casting { name: "n1", password: Some("secret"), ..Casting::default() });
    stage.available("n1");
    let client = stage.client_sends(get("/"));
    let request = stage.request(right);
    stage.tell(right, &request.sid, "headers", NO_CONTENT);
    stage.expect(client, NO_CONTENT);
    stage.expect_end(right, &request.sid);
}

fn a_password_is_for_the_links_it_is_configured_for(stage: &mut Stage) {
    stage.start(&ini("node-password = n1 secret"));
    let null = stage.raw_node();
    stage.send(null, blastbeat_tests::node_link::greeting(b"NULL", 1));
    let greeting = stage.read(null, 64);
    assert_eq!(&greeting[12..17], b"PLAIN");
    stage.expect_closed(null);
    stage.counted(Cause::MechanismMismatch, 1);
}

fn a_node_of_zmtp_3_0_serves(stage: &mut Stage) {
    stage.start(&ini("heartbeat = 0.1"));
    let node = stage.cast(Casting { name: "n1", old: true, ..Casting::default() });
    stage.available("n1");
    let client = stage.client_sends(get("/1"));
    let request = stage.request(node);
    stage.advance(Duration::from_secs(1));
    assert_eq!(stage.heartbeats(node), 0, "ZMTP 3.0 knows no PING");
    stage.tell(node, &request.sid, "headers", NO_CONTENT);
    stage.expect(client, NO_CONTENT);
    stage.expect_end(node, &request.sid);
}

fn heartbeats_find_a_dead_peer(stage: &mut Stage) {
    stage.start(&ini("heartbeat = 0.2\nping-freq = 100"));
    let node = stage.node("n1");
    stage.advance(Duration::from_millis(250));
    stage.until("a heartbeat".to_owned(), |stage| (stage.heartbeats(node) > 0).then_some(()));
    let link = stage.as_client(node);
    stage.pause(link, true);
    stage.advance(Duration::from_millis(900));
    assert_eq!(stage.lost("n1"), Cause::HeartbeatTimeout);
    stage.forgive(link);
}

fn a_handshake_that_does_not_end_is_ended(stage: &mut Stage) {
    stage.start(&ini("handshake-timeout = 0.3"));
    let mute = stage.raw_node();
    let slow = stage.raw_node();
    stage.send(slow, &blastbeat_tests::node_link::greeting(b"NULL", 1)[..20]);
    stage.advance(Duration::from_millis(400));
    stage.read(mute, 64);
    stage.read(slow, 64);
    stage.expect_closed(mute);
    stage.expect_closed(slow);
    stage.counted(Cause::HandshakeTimeout, 2);
}

fn the_server_dials_and_dials_again(stage: &mut Stage) {
    let endpoint = stage.host().listen();
    stage.start(&ini("").replace("zmq = tcp://127.0.0.1:0", &format!("zmq-connect = {endpoint}")));
    for target in ["/1", "/2"] {
        let node = stage.cast_dialed(Casting { name: "n1", ..Casting::default() });
        stage.available("n1");
        let client = stage.client_sends(get(target));
        let request = stage.request(node);
        assert_eq!(request.line(), format!("GET {target}"));
        stage.tell(node, &request.sid, "headers", NO_CONTENT);
        stage.expect(client, NO_CONTENT);
        stage.expect_end(node, &request.sid);
        let link = stage.as_client(node);
        stage.close(link);
        stage.lost("n1");
        stage.advance(Duration::from_secs(1));
    }
    let last = stage.cast_dialed(Casting { name: "n1", ..Casting::default() });
    stage.up(last);
}

fn an_endpoint_that_refuses_is_tried_again(stage: &mut Stage) {
    stage.start(&ini("").replace("zmq = tcp://127.0.0.1:0", "zmq-connect = tcp://127.0.0.1:1"));
    let mut pauses = Vec::new();
    for _ in 0..3 {
        pauses.push(stage.report("dial failed", |report| {
            let Report::DialFailed { retry_in, .. } = report else { return None };
            Some(*retry_in)
        }));
        stage.advance(pauses[pauses.len() - 1]);
    }
    assert!(pauses.is_sorted() && pauses[0] < pauses[2], "the pauses grow: {pauses:?}");
    assert!(pauses[0] < Duration::from_secs(1), "the first try again comes soon: {pauses:?}");
}

fn a_virtual_hosts_own_node_port_is_for_its_nodes(stage: &mut Stage) {
    stage.start(&(ini("") + "[blastbeat:b]\nzmq = tcp://127.0.0.2:0\nnode = nb\n"));
    let stranger = stage.cast(Casting { name: "nb", ..Casting::default() });
    stage.refusal("nb", Cause::IdentityUnknown);
    let other = stage.cast(Casting { name: "n1", listener: 1, ..Casting::default() });
    stage.refusal("n1", Cause::IdentityUnknown);
    let node = stage.cast(Casting { name: "nb", listener: 1, ..Casting::default() });
    stage.available("nb");
    let client = stage.client_sends("GET / HTTP/1.1\r\nHost: b\r\n\r\n");
    let request = stage.request(node);
    stage.tell(node, &request.sid, "headers", NO_CONTENT);
    stage.expect(client, NO_CONTENT);
    stage.expect_end(node, &request.sid);
    assert!(!stage.is_up(stranger) && !stage.is_up(other));
}
