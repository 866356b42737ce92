//! Who gets which request, and what happens when there is no room.

use std::time::Duration;

use blastbeat_proto::error::Cause;
use blastbeat_tests::stage::{Client, Node, Stage};

use super::{NO_CONTENT, get, ini};

mod stamped {
    blastbeat_tests::scenarios! {
        the_node_with_the_fewest_requests_gets_the_next
        a_waiting_request_brings_its_upload_when_there_is_room
        a_client_that_goes_while_it_waits_leaves_the_queue
        a_lost_node_sends_the_waiting_to_the_others
        sessions_are_bounded_in_all_and_by_virtual_host
        connections_are_bounded_and_wait_outside
        a_built_in_app_serves_until_a_node_is_there
        retry_goes_on_waiting_for_a_node_that_is_full
    }
}

fn release(stage: &mut Stage, node: Node, sid: &[u8], client: Client) {
    stage.tell(node, sid, "headers", NO_CONTENT);
    stage.expect(client, NO_CONTENT);
    stage.expect_end(node, sid);
}

fn the_node_with_the_fewest_requests_gets_the_next(stage: &mut Stage) {
    stage.start(&ini(""));
    let nodes = [stage.node("n1"), stage.node("n2"), stage.node("n3")];
    let mut held = Vec::new();
    for round in 0..3 {
        for node in nodes {
            let client = stage.client_sends(get(&format!("/{round}")));
            held.push((node, stage.request(node).sid, client));
        }
    }
    // n2 gets two less, n1 one less: the next go to n2, then to n1 and n2, in the order of the file.
    for place in [1, 4, 0] {
        let (node, sid, client) = held[place].clone();
        release(stage, node, &sid, client);
    }
    for expected in [nodes[1], nodes[0], nodes[1]] {
        let client = stage.client_sends(get("/next"));
        let sid = stage.request(expected).sid;
        held.push((expected, sid, client));
    }
    for place in [2, 3, 5, 6, 7, 8, 9, 10, 11] {
        let (node, sid, client) = held[place].clone();
        release(stage, node, &sid, client);
    }
}

fn a_waiting_request_brings_its_upload_when_there_is_room(stage: &mut Stage) {
    stage.start(&(ini("") + "node-capacity = 1\n"));
    let node = stage.node_with("n1", "body-end");
    let first = stage.client_sends(get("/first"));
    let sid = stage.request(node).sid;
    let second = stage.client_sends("POST /second HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello");
    stage.settle();
    stage.send(second, "world");
    let third = stage.client_sends(get("/third"));
    stage.expect_no_message(node);
    release(stage, node, &sid, first);
    let request = stage.request(node);
    assert_eq!(request.line(), "POST /second", "the oldest first");
    stage.expect_body(node, &request.sid, "helloworld");
    stage.expect_message(node, &request.sid, "body", "");
    release(stage, node, &request.sid, second);
    let request = stage.request(node);
    release(stage, node, &request.sid, third);
}

fn a_client_that_goes_while_it_waits_leaves_the_queue(stage: &mut Stage) {
    stage.start(&(ini("queue = 1") + "node-capacity = 1\n"));
    let node = stage.node("n1");
    let first = stage.client_sends(get("/first"));
    let sid = stage.request(node).sid;
    let second = stage.client_sends(get("/second"));
    stage.settle();
    stage.reset(second);
    assert_eq!(stage.access("/second").cause, Cause::ClientGone);
    let third = stage.client_sends(get("/third"));
    stage.expect_nothing(third);
    release(stage, node, &sid, first);
    let request = stage.request(node);
    assert_eq!(request.line(), "GET /third");
    release(stage, node, &request.sid, third);
}

fn a_lost_node_sends_the_waiting_to_the_others(stage: &mut Stage) {
    stage.start(&(ini("") + "node-capacity = 1\n"));
    let one = stage.node("n1");
    let first = stage.client_sends(get("/first"));
    stage.request(one);
    let second = stage.client_sends(get("/second"));
    stage.expect_no_message(one);
    let link = stage.as_client(one);
    stage.reset(link);
    // The only node has gone: there is nobody to repeat the one to, or for the other to wait for.
    stage.expect_page(first, Cause::NodeMissing);
    stage.expect_page(second, Cause::NodeMissing);
}

fn sessions_are_bounded_in_all_and_by_virtual_host(stage: &mut Stage) {
    stage.start(&(ini("sessions = 2") + "sessions = 1\n[blastbeat:b]\nnode = nb\n"));
    let (node, other) = (stage.node("n1"), stage.node("nb"));
    let first = stage.client_sends(get("/"));
    let one = stage.request(node).sid;
    let refused = stage.client_sends(get("/"));
    stage.expect_page(refused, Cause::HostSessionsMax);
    let second = stage.client_sends("GET / HTTP/1.1\r\nHost: b\r\n\r\n");
    let two = stage.request(other).sid;
    stage.send(refused, "GET / HTTP/1.1\r\nHost: b\r\n\r\n");
    stage.expect_page(refused, Cause::SessionsMax);
    release(stage, node, &one, first);
    release(stage, other, &two, second);
}

fn connections_are_bounded_and_wait_outside(stage: &mut Stage) {
    stage.start(&ini("connections = 2\nsessions = 2"));
    let node = stage.node("n1");
    let first = stage.client_sends(get("/1"));
    let one = stage.request(node).sid;
    let second = stage.client_sends(get("/2"));
    let two = stage.request(node).sid;
    let third = stage.client_sends(get("/3"));
    stage.expect_no_message(node);
    stage.close(first);
    stage.expect_end(node, &one);
    let three = stage.request(node).sid;
    release(stage, node, &two, second);
    release(stage, node, &three, third);
}

fn a_built_in_app_serves_until_a_node_is_there(stage: &mut Stage) {
    stage.start(&ini("").replace("node = n1", "node = app:welcome\nnode = n1"));
    let client = stage.client_sends(get("/"));
    let (head, body) = stage.response(client);
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains("text/html"), "{head}");
    assert!(String::from_utf8_lossy(&body).contains("zmq.DEALER"));
    let node = stage.node("n1");
    stage.send(client, get("/now"));
    let request = stage.request(node);
    assert_eq!(request.line(), "GET /now");
    release(stage, node, &request.sid, client);
    let link = stage.as_client(node);
    stage.close(link);
    stage.lost("n1");
    stage.send(client, get("/"));
    assert_eq!(stage.response(client).1, body);
}

fn retry_goes_on_waiting_for_a_node_that_is_full(stage: &mut Stage) {
    stage.start(&(ini("queue-timeout = 5") + "node-capacity = 1\n"));
    let (one, two) = (stage.node("n1"), stage.node("n2"));
    let busy = stage.client_sends(get("/busy"));
    let at_one = stage.request(one).sid;
    let refused = stage.client_sends(get("/refused"));
    let at_two = stage.request(two).sid;
    stage.tell(two, &at_two, "retry", "");
    stage.expect_no_message(one);
    stage.advance(Duration::from_secs(1));
    release(stage, one, &at_one, busy);
    let request = stage.request(one);
    assert_eq!((request.line(), &request.sid), ("GET /refused".to_owned(), &at_two));
    release(stage, one, &request.sid, refused);
}
