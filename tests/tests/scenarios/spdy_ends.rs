//! How streams of SPDY end before their time, and connections.

use std::time::Duration;

use blastbeat_proto::engine::Control;
use blastbeat_proto::error::Cause;
use blastbeat_proto::spdy::{StatusCode, Version};
use blastbeat_tests::spdy_frames::{FIN, Heads};
use blastbeat_tests::spdy_stage::Spdy;
use blastbeat_tests::stage::Stage;

use super::spdy::ini;

mod stamped {
    blastbeat_tests::scenarios! {
        a_client_takes_requests_back
        a_client_that_goes_leaves_nothing_behind
        the_node_dies_under_its_streams
        a_drain_answers_what_is_under_way
        a_node_sends_its_client_away
        an_idle_connection_is_closed
    }
}

fn a_client_takes_requests_back(stage: &mut Stage) {
    stage.start(&ini(""));
    let node = stage.node_with("n1", "end-reason");
    for version in Version::ALL {
        let mut spdy = Spdy::new(stage, version);
        let streams = [spdy.get(stage, "/1"), spdy.get(stage, "/2"), spdy.post(stage, "/3", "part", false)];
        let sids = [(); 3].map(|()| stage.request(node).sid);
        stage.expect_body(node, &sids[2], "part");
        for number in [2, 0] {
            spdy.reset(stage, streams[number]);
            stage.expect_message(node, &sids[number], "end", "stream-reset");
        }
        // It crosses the end.
        stage.answer(node, &sids[0], "nobody");
        stage.answer(node, &sids[1], "somebody");
        spdy.expect(stage, streams[1], 200, "somebody");
        stage.expect_message(node, &sids[1], "end", "complete");
        assert_eq!(stage.access("/3").cause, Cause::StreamReset);
    }
}

fn a_client_that_goes_leaves_nothing_behind(stage: &mut Stage) {
    stage.start(&ini(""));
    let node = stage.node_with("n1", "end-reason");
    for version in Version::ALL {
        let mut spdy = Spdy::new(stage, version);
        let begun = spdy.get(stage, "/begun");
        spdy.post(stage, "/upload", "part", false);
        let sids = [(); 2].map(|()| stage.request(node).sid);
        stage.expect_body(node, &sids[1], "part");
        stage.tell(node, &sids[0], "headers", "HTTP/1.1 200 OK\r\n\r\n");
        spdy.head(stage, begun);
        stage.half_close(spdy.client);
        let mut ends = [(); 2].map(|()| stage.message(node));
        ends.sort_by_key(|end| end.sid != sids[0]);
        for (end, sid) in ends.iter().zip(&sids) {
            assert_eq!((&end.sid, &end.kind[..], &end.body[..]), (sid, "end", &b"client-gone"[..]));
        }
        spdy.expect_end(stage);
        stage.close(spdy.client);
    }
    let snapshot = stage.snapshot();
    assert_eq!((snapshot.sessions, snapshot.memory), (0, 0));
}

fn the_node_dies_under_its_streams(stage: &mut Stage) {
    stage.start(&ini(""));
    for version in Version::ALL {
        let one = stage.node("n1");
        let mut spdy = Spdy::new(stage, version);
        let untouched = spdy.get(stage, "/untouched");
        let begun = spdy.get(stage, "/begun");
        let unsafe_one = spdy.post(stage, "/unsafe", "body", true);
        let sids = [(); 3].map(|()| stage.request(one).sid);
        stage.expect_body(one, &sids[2], "body");
        stage.tell(one, &sids[1], "headers", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n");
        spdy.head(stage, begun);
        let two = stage.node("n2");
        stage.close(stage.as_client(one));
        spdy.expect_reset(stage, begun, StatusCode::INTERNAL_ERROR);
        spdy.expect_page(stage, unsafe_one, Cause::NodeLost);
        let request = stage.request(two);
        assert_eq!((&request.line()[..], request.get("REDISPATCHED")), ("GET /untouched", Some("1")));
        stage.answer(two, &request.sid, "second");
        spdy.expect(stage, untouched, 200, "second");
        stage.expect_end(two, &request.sid);
        stage.close(stage.as_client(two));
        stage.lost("n2");
    }
}

fn a_drain_answers_what_is_under_way(stage: &mut Stage) {
    stage.start(&ini("drain-timeout = 5"));
    let node = stage.node("n1");
    let mut clients = Version::ALL.map(|version| {
        let mut spdy = Spdy::new(stage, version);
        let stream = spdy.get(stage, "/");
        let sid = stage.request(node).sid;
        (spdy, stream, sid)
    });
    stage.control(Control::Drain);
    for (spdy, stream, sid) in &mut clients {
        let farewell = spdy.until(stage, "a farewell", |spdy| spdy.farewell);
        assert_eq!(farewell, (0, *stream));
        stage.answer(node, sid, "last");
        spdy.expect(stage, *stream, 200, "last");
        stage.expect_end(node, sid);
        spdy.expect_closed(stage, *stream);
        stage.close(spdy.client);
    }
    stage.expect_link_closed(node);
}

fn a_node_sends_its_client_away(stage: &mut Stage) {
    stage.start(&ini(""));
    let node = stage.node("n1");
    for version in Version::ALL {
        let mut spdy = Spdy::silent(stage, version, 0);
        let begins = spdy.take_outgoing();
        stage.send(spdy.client, begins);
        let mut heads = Heads::new(version);
        for stream in [1, 3] {
            spdy.get_unsaid("/");
            let head = heads.ask(stream, FIN, "GET", "/", &[]);
            stage.send(spdy.client, head);
        }
        let sids = [(); 2].map(|()| stage.request(node).sid);
        stage.tell(node, &sids[0], "goaway", "");
        let farewell = spdy.until(stage, "a farewell", |spdy| spdy.farewell);
        assert_eq!(farewell, (0, 3));
        // This one crosses the farewell, and may be sent again elsewhere.
        let late = heads.ask(5, FIN, "GET", "/late", &[]);
        stage.send(spdy.client, late);
        spdy.until(stage, "a refusal", |spdy| spdy.streams.get(&5)?.reset.filter(|code| *code == 3));
        for (sid, stream) in sids.iter().zip([1, 3]) {
            stage.answer(node, sid, "last");
            spdy.expect(stage, stream, 200, "last");
            stage.expect_end(node, sid);
        }
        spdy.expect_closed(stage, 3);
        stage.close(spdy.client);
    }
    stage.expect_no_message(node);
}

fn an_idle_connection_is_closed(stage: &mut Stage) {
    stage.start(&ini("keep-alive-timeout = 0.3"));
    let node = stage.node("n1");
    for version in Version::ALL {
        let mut spdy = Spdy::new(stage, version);
        let stream = spdy.get(stage, "/");
        let sid = stage.request(node).sid;
        // As long as a request is under way it is not idle.
        stage.advance(Duration::from_millis(500));
        stage.answer(node, &sid, "late");
        spdy.expect(stage, stream, 200, "late");
        stage.expect_end(node, &sid);
        stage.advance(Duration::from_millis(200));
        stage.advance(Duration::from_millis(200));
        spdy.expect_closed(stage, stream);
        stage.close(spdy.client);
    }
}
