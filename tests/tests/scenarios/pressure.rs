//! Peers that do not read, and peers that send more than the others take.

use std::time::Duration;

use blastbeat_proto::error::Cause;
use blastbeat_tests::stage::{Client, Node, Stage};

use super::{NO_CONTENT, get, ini};

const MEBIBYTE: usize = 1024 * 1024;

mod stamped {
    blastbeat_tests::scenarios! { bulk:
        a_large_exchange_in_both_directions
        a_slow_client_is_cut_alone
        a_client_that_takes_nothing_is_cut_in_time
        a_node_that_stops_reading_holds_its_clients_back_and_no_one_else
        a_node_that_stops_reading_gets_no_more_past_the_bound
        a_node_that_never_reads_again_is_given_up
        pipelined_floods_stay_with_the_client
        answers_that_nobody_reads_hold_further_requests_back
    }
}

fn a_large_exchange_in_both_directions(stage: &mut Stage) {
    stage.start(&ini(""));
    let node = stage.node("n1");
    let size = 5 * MEBIBYTE;
    let body: Vec<u8> = (0..size).map(|place| (place / 7) as u8).collect();
    let client = stage.client_sends(format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n"));
    stage.send(client, &body);
    let sid = stage.request(node).sid;
    stage.expect_body(node, &sid, &body);
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n");
    stage.tell(node, &sid, "headers", &head);
    for piece in body.chunks(700_000) {
        stage.tell(node, &sid, "body", piece);
    }
    stage.expect(client, &head);
    assert!(stage.read(client, size) == body, "the body came back changed");
    stage.expect_end(node, &sid);
}

fn a_slow_client_is_cut_alone(stage: &mut Stage) {
    stage.start(&ini("writequeue-buffer = 1000000"));
    let node = stage.node_with("n1", "end-reason");
    let slow = stage.client_sends(get("/slow"));
    let slow_sid = stage.request(node).sid;
    let quick = stage.client_sends(get("/quick"));
    let quick_sid = stage.request(node).sid;
    stage.pause(slow, true);
    let total = 64 * MEBIBYTE;
    stage.tell(node, &slow_sid, "headers", format!("HTTP/1.1 200 OK\r\nContent-Length: {total}\r\n\r\n"));
    for _ in 0..total / MEBIBYTE * 2 {
        stage.tell(node, &slow_sid, "body", vec![b'x'; MEBIBYTE / 2]);
    }
    // Behind all of that on the same link, and served nevertheless.
    stage.answer(node, &quick_sid, "quick");
    stage.expect(quick, Stage::answered("quick"));
    stage.expect_message(node, &slow_sid, "end", "slow-client");
    stage.expect_message(node, &quick_sid, "end", "complete");
    assert_eq!(stage.access("/slow").cause, Cause::SlowClient);
    stage.pause(slow, false);
    let got = stage.read_to_end(slow);
    assert!(got.len() < total, "it was cut");
}

fn a_client_that_takes_nothing_is_cut_in_time(stage: &mut Stage) {
    stage.start(&ini("write-stall = 0.4\nwritequeue-buffer = 64m"));
    let node = stage.node_with("n1", "end-reason");
    let client = stage.client_sends(get("/"));
    let sid = stage.request(node).sid;
    stage.pause(client, true);
    stage.tell(node, &sid, "headers", "HTTP/1.1 200 OK\r\n\r\n");
    for _ in 0..32 {
        stage.tell(node, &sid, "body", vec![b'x'; MEBIBYTE]);
    }
    stage.advance(Duration::from_millis(900));
    stage.expect_message(node, &sid, "end", "write-stall");
    stage.forgive(client);
    assert_eq!(stage.snapshot().memory, 0);
}

fn a_node_that_stops_reading_holds_its_clients_back_and_no_one_else(stage: &mut Stage) {
    stage.start(&ini("node-queue-high = 300000\nnode-queue-buffer = 600000\nwrite-stall = 100"));
    let (one, two) = (stage.node("n1"), stage.node("n2"));
    let size = 48 * MEBIBYTE;
    let upload = stage.client_sends(format!("PUT /up HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n"));
    let sid = stage.request(one).sid;
    let link = stage.as_client(one);
    stage.pause(link, true);
    stage.send(upload, vec![b'x'; size]);
    stage.settle();
    assert!(stage.unsent(upload) > 0, "the client is held back");
    let memory = stage.snapshot().memory;
    assert!(memory < 4 * MEBIBYTE, "the server holds {memory} bytes");
    // The other node serves all the while.
    let quick = stage.client_sends(get("/quick"));
    let other = stage.request(two).sid;
    stage.tell(two, &other, "headers", NO_CONTENT);
    stage.expect(quick, NO_CONTENT);
    stage.expect_end(two, &other);
    // And when the first reads on, nothing is missing.
    stage.pause(link, false);
    stage.expect_body(one, &sid, vec![b'x'; size]);
    stage.tell(one, &sid, "headers", NO_CONTENT);
    stage.expect(upload, NO_CONTENT);
    stage.expect_end(one, &sid);
}

/// No node is given up for being slow, unless `more` says so.
fn patient(more: &str) -> String {
    ini(&format!("node-queue-high = 100000\nnode-queue-buffer = 200000\nping-freq = 100\nheartbeat = 100\n{more}"))
}

/// A client whose upload fills all that is between it and a node that does not read.
fn fill_up(stage: &mut Stage, node: Node) -> Client {
    let link = stage.as_client(node);
    stage.pause(link, true);
    let size = 48 * MEBIBYTE;
    let upload = stage.client_sends(format!("POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n"));
    stage.send(upload, vec![b'x'; size]);
    stage.settle();
    stage.forgive(link);
    stage.forgive(upload);
    upload
}

fn a_node_that_stops_reading_gets_no_more_past_the_bound(stage: &mut Stage) {
    stage.start(&patient("write-stall = 100\nqueue = 10"));
    let node = stage.node("n1");
    let upload = fill_up(stage, node);
    assert!(stage.unsent(upload) > 0, "the client is held back");
    // Heads are not held back: they fill the node's queue to its bound, then some wait for it.
    let mut refused = 0;
    let fields = format!("X: {}\r\n", "y".repeat(60_000));
    for n in 0..50 {
        let client = stage.client_sends(format!("POST /{n} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n{fields}\r\n"));
        stage.settle();
        if !stage.host().peer(client.id()).incoming.is_empty() {
            stage.expect_page(client, Cause::QueueFull);
            refused += 1;
        } else {
            stage.forgive(client);
        }
    }
    assert!(refused > 20, "past both bounds there is 503 at once: {refused}");
}

fn a_node_that_never_reads_again_is_given_up(stage: &mut Stage) {
    stage.start(&patient("write-stall = 0.5"));
    let node = stage.node("n1");
    let upload = fill_up(stage, node);
    stage.advance(Duration::from_secs(2));
    assert_eq!(stage.lost("n1"), Cause::NodeStalled);
    stage.read_to_end(upload);
    assert_eq!(stage.access("/up").cause, Cause::NodeLost);
}

fn pipelined_floods_stay_with_the_client(stage: &mut Stage) {
    stage.start(&ini(""));
    let node = stage.node("n1");
    let flood = get("/").repeat(MEBIBYTE);
    let client = stage.client_sends(&flood);
    let sid = stage.request(node).sid;
    stage.expect_no_message(node);
    assert!(stage.unsent(client) > 0, "the client is held back");
    let memory = stage.snapshot().memory;
    assert!(memory < MEBIBYTE, "the server holds {memory} bytes");
    // While it is not read from, its end goes unseen; it is noticed when it is written to.
    stage.reset(client);
    stage.settle();
    stage.answer(node, &sid, "too late");
    stage.expect_end(node, &sid);
    stage.settle();
    stage.forgive(stage.as_client(node));
}

fn answers_that_nobody_reads_hold_further_requests_back(stage: &mut Stage) {
    stage.start(&ini("write-stall = 100"));
    // No node: every request is answered with a page by the server itself.
    let client = stage.client();
    stage.pause(client, true);
    stage.send(client, get("/").repeat(600_000));
    stage.settle();
    assert!(stage.unsent(client) > 0, "the client is held back");
    let memory = stage.snapshot().memory;
    assert!(memory < 2 * MEBIBYTE, "the server holds {memory} bytes");
    stage.reset(client);
    stage.settle();
}
