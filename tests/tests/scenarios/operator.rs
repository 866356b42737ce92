//! Stopping, draining, and what the operator is told.

use std::time::Duration;

use blastbeat_proto::engine::{Control, Report};
use blastbeat_proto::error::Cause;
use blastbeat_tests::host::Ended;
use blastbeat_tests::stage::Stage;

use super::{NO_CONTENT, get, ini};

mod stamped {
    blastbeat_tests::scenarios! {
        a_drain_closes_idle_connections_and_listeners_at_once
        a_drain_has_a_deadline
        a_drain_without_anything_under_way_ends_at_once
        a_new_request_on_a_kept_connection_is_served_while_draining
        statistics_count_what_happened
    }
}

fn stopped(stage: &mut Stage) {
    stage.report("stopped", |report| matches!(report, Report::Stopped).then_some(()));
}

fn a_drain_closes_idle_connections_and_listeners_at_once(stage: &mut Stage) {
    stage.start(&ini(""));
    let node = stage.node("n1");
    let idle = stage.client_sends(get("/idle"));
    let sid = stage.request(node).sid;
    stage.tell(node, &sid, "headers", NO_CONTENT);
    stage.expect(idle, NO_CONTENT);
    stage.expect_end(node, &sid);
    let busy = stage.client_sends(get("/busy"));
    let sid = stage.request(node).sid;
    stage.control(Control::Drain);
    stage.report("draining", |report| matches!(report, Report::Draining { sessions: 1, .. }).then_some(()));
    stage.expect_closed(idle);
    stage.close(idle);
    stage.settle();
    let late = stage.client();
    stage.until("the end of a late client".to_owned(), |stage| stage.host().peer(late.id()).ended);
    stage.answer(node, &sid, "done");
    stage.expect(busy, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\ndone");
    stage.expect_end(node, &sid);
    stage.expect_closed(busy);
    stage.close(busy);
    stopped(stage);
    stage.expect_link_closed(node);
}

fn a_drain_has_a_deadline(stage: &mut Stage) {
    stage.start(&ini("drain-timeout = 0.3"));
    let node = stage.node_with("n1", "end-reason");
    let client = stage.client_sends(get("/"));
    let sid = stage.request(node).sid;
    stage.control(Control::Drain);
    stage.settle();
    assert_eq!(stage.host().peer(client.id()).ended, None, "there is time left");
    stage.advance(Duration::from_millis(400));
    stage.expect_message(node, &sid, "end", "stopping");
    stage.until("the client's end".to_owned(), |stage| stage.host().peer(client.id()).ended);
    stage.forgive(client);
    stage.close(client);
    stage.advance(Duration::from_secs(3));
    stopped(stage);
}

fn a_drain_without_anything_under_way_ends_at_once(stage: &mut Stage) {
    stage.start(&ini(""));
    let node = stage.node("n1");
    stage.control(Control::Drain);
    stage.expect_link_closed(node);
    stopped(stage);
}

fn a_new_request_on_a_kept_connection_is_served_while_draining(stage: &mut Stage) {
    stage.start(&ini(""));
    let node = stage.node("n1");
    let client = stage.client_sends("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe");
    let sid = stage.request(node).sid;
    stage.expect_body(node, &sid, "he");
    stage.control(Control::Drain);
    stage.settle();
    stage.send(client, "llo");
    stage.expect_body(node, &sid, "llo");
    stage.tell(node, &sid, "headers", NO_CONTENT);
    stage.expect_end(node, &sid);
    stage.expect(client, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
    assert_eq!(stage.read_end(client), Ended::Eof);
    stage.close(client);
    stopped(stage);
}

fn statistics_count_what_happened(stage: &mut Stage) {
    stage.start(&ini(""));
    let node = stage.node("n1");
    let before = stage.snapshot();
    assert_eq!((before.connections, before.sessions, before.nodes), (0, 0, 1));
    let client = stage.client_sends(get("/"));
    let sid = stage.request(node).sid;
    let during = stage.snapshot();
    assert_eq!((during.connections, during.sessions, during.stats.requests), (1, 1, 1));
    assert_eq!(during.stats.messages_out, before.stats.messages_out + 1);
    assert_eq!(during.stats.bytes_in, before.stats.bytes_in + get("/").len() as u64);
    stage.answer(node, &sid, "hello");
    stage.expect(client, Stage::answered("hello"));
    stage.expect_end(node, &sid);
    let broken = stage.client_sends("nonsense\r\n\r\n");
    stage.expect_page(broken, Cause::HeadMalformed);
    stage.expect_closed(broken);
    stage.close(broken);
    stage.close(client);
    let after = stage.snapshot();
    assert_eq!((after.sessions, after.stats.accepted, after.memory), (0, before.stats.accepted + 2, 0));
    assert_eq!(after.stats.causes().collect::<Vec<_>>(), [(Cause::HeadMalformed, 1)], "and nothing else");
    assert_eq!(after.stats.messages_in, during.stats.messages_in + 2);
}
