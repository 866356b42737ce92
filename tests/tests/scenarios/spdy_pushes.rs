//! Answers that clients of SPDY have not asked for, and those who want none.

use blastbeat_proto::error::Cause;
use blastbeat_proto::spdy::{StatusCode, Version};
use blastbeat_tests::spdy_frames::SYN_STREAM;
use blastbeat_tests::spdy_stage::Spdy;
use blastbeat_tests::stage::Stage;

use super::NO_CONTENT;
use super::spdy::ini;

mod stamped {
    blastbeat_tests::scenarios! {
        pushed_answers_come_with_what_they_belong_to
        pushes_nest
        a_pushed_answer_that_is_refused_is_nobodys
        who_allows_no_streams_is_pushed_nothing
        who_takes_a_request_back_takes_its_pushes_back
        pushes_of_a_lost_node_are_reset
        what_is_no_push_is_reported_and_swallowed
    }
}

/// The head of a pushed answer of this length.
fn head(path: &str, len: usize) -> String {
    format!("HTTP/1.1 200 OK\r\nUrl: {path}\r\nContent-Length: {len}\r\n\r\n")
}

fn pushed_answers_come_with_what_they_belong_to(stage: &mut Stage) {
    stage.start(&ini(""));
    let node = stage.node("n1");
    for version in Version::ALL {
        let mut spdy = Spdy::new(stage, version);
        let stream = spdy.get(stage, "/");
        let sid = stage.request(node).sid;
        // All in one piece, without a length, and in chunks.
        stage.tell(node, &sid, "push", head("/whole", 5) + "whole");
        stage.tell(node, &sid, "end", "");
        stage.tell(node, &sid, "push", "HTTP/1.1 200 OK\r\nUrl: /open\r\nContent-Type: text/css\r\n\r\n");
        stage.tell(node, &sid, "body", "op");
        stage.tell(node, &sid, "body", "en");
        stage.tell(node, &sid, "end", "");
        let parts = "HTTP/1.1 404 Not Found\r\n:scheme: http\r\n:host: a\r\n:path: /parts\r\n\
                     Transfer-Encoding: chunked\r\n\r\n";
        stage.tell(node, &sid, "push", parts);
        stage.tell(node, &sid, "chunk", "chu");
        stage.tell(node, &sid, "chunk", "nked");
        stage.tell(node, &sid, "chunk", "");
        stage.tell(node, &sid, "end", "");
        stage.answer(node, &sid, "asked for");
        for (path, number, status, body) in
            [("/whole", 2, 200, "whole"), ("/open", 4, 200, "open"), ("/parts", 6, 404, "chunked")]
        {
            let pushed = spdy.pushed(stage, path);
            assert_eq!(pushed, number);
            let head = spdy.expect(stage, pushed, status, body);
            for name in ["url", ":scheme", ":host", ":path", "transfer-encoding"] {
                assert_eq!(head.field(name), None, "{head:?}");
            }
            // Nobody answers them, and each belongs to what was asked for (draft 3, 3.3.1).
            let opened = spdy.frames.iter().find(|frame| frame.kind == Some(SYN_STREAM) && frame.number == number);
            let opened = opened.expect("it was opened");
            assert_eq!((opened.flags & 2, opened.second), (2, Some(stream)), "{opened:?}");
        }
        spdy.expect(stage, stream, 200, "asked for");
        stage.expect_end(node, &sid);
        let snapshot = stage.snapshot();
        assert_eq!(snapshot.sessions, 0);
    }
    assert_eq!(stage.snapshot().stats.pushes, 9);
}

fn pushes_nest(stage: &mut Stage) {
    stage.start(&ini(""));
    let node = stage.node("n1");
    for version in Version::ALL {
        let mut spdy = Spdy::new(stage, version);
        let stream = spdy.get(stage, "/");
        let sid = stage.request(node).sid;
        stage.tell(node, &sid, "headers", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n");
        stage.tell(node, &sid, "body", "asked");
        stage.tell(node, &sid, "push", head("/outer", 10));
        stage.tell(node, &sid, "body", "outer");
        stage.tell(node, &sid, "push", head("/inner", 5));
        stage.tell(node, &sid, "body", "inner");
        stage.tell(node, &sid, "end", "");
        stage.tell(node, &sid, "body", "OUTER");
        stage.tell(node, &sid, "end", "");
        stage.tell(node, &sid, "body", "ASKED");
        for (path, body) in [("/outer", "outerOUTER"), ("/inner", "inner")] {
            let pushed = spdy.pushed(stage, path);
            spdy.expect(stage, pushed, 200, body);
        }
        spdy.expect(stage, stream, 200, "askedASKED");
        stage.expect_end(node, &sid);
    }
}

fn a_pushed_answer_that_is_refused_is_nobodys(stage: &mut Stage) {
    stage.start(&ini(""));
    let node = stage.node("n1");
    for version in Version::ALL {
        let mut spdy = Spdy::new(stage, version);
        spdy.refuses = true;
        let stream = spdy.get(stage, "/");
        let sid = stage.request(node).sid;
        stage.tell(node, &sid, "push", head("/refused", 10));
        let pushed = spdy.pushed(stage, "/refused");
        spdy.settle(stage);
        stage.tell(node, &sid, "body", "in vain");
        stage.tell(node, &sid, "push", head("/within", 3));
        stage.tell(node, &sid, "body", "too");
        stage.tell(node, &sid, "end", "");
        stage.tell(node, &sid, "body", "...");
        stage.tell(node, &sid, "end", "");
        stage.answer(node, &sid, "asked for");
        spdy.expect(stage, stream, 200, "asked for");
        stage.expect_end(node, &sid);
        spdy.settle(stage);
        assert!(!spdy.frames.iter().any(|frame| frame.is_data_of(pushed)), "{:?}", spdy.frames);
        assert_eq!((spdy.farewell, stage.snapshot().sessions), (None, 0));
    }
}

fn who_allows_no_streams_is_pushed_nothing(stage: &mut Stage) {
    stage.start(&ini(""));
    let node = stage.node("n1");
    for version in Version::ALL {
        let client = stage.client_on(usize::from(version == Version::V3));
        let mut spdy = Spdy::on(stage, client, version, 0);
        spdy.exchange(stage);
        let stream = spdy.get(stage, "/");
        let sid = stage.request(node).sid;
        stage.tell(node, &sid, "push", head("/unwanted", 5));
        stage.tell(node, &sid, "body", "in vain");
        stage.tell(node, &sid, "end", "");
        stage.answer(node, &sid, "asked for");
        spdy.expect(stage, stream, 200, "asked for");
        stage.expect_end(node, &sid);
        // Interim responses have no place in SPDY: nor has the hint of one.
        let opened = spdy.frames.iter().filter(|frame| frame.kind == Some(SYN_STREAM)).count();
        assert_eq!((opened, spdy.streams.len()), (0, 1));
    }
    assert_eq!(stage.snapshot().stats.pushes, 0);
}

fn who_takes_a_request_back_takes_its_pushes_back(stage: &mut Stage) {
    stage.start(&ini(""));
    let node = stage.node_with("n1", "end-reason");
    for version in Version::ALL {
        let mut spdy = Spdy::new(stage, version);
        let stream = spdy.get(stage, "/");
        let other = spdy.get(stage, "/other");
        let sids = [(); 2].map(|()| stage.request(node).sid);
        stage.tell(node, &sids[0], "push", head("/begun", 10) + "begun");
        let pushed = spdy.pushed(stage, "/begun");
        spdy.head(stage, pushed);
        spdy.reset(stage, stream);
        stage.expect_message(node, &sids[0], "end", "stream-reset");
        spdy.expect_reset(stage, pushed, StatusCode::CANCEL);
        // It crosses the end.
        stage.tell(node, &sids[0], "body", "nobody's");
        stage.tell(node, &sids[1], "headers", NO_CONTENT);
        spdy.expect(stage, other, 204, "");
        stage.expect_message(node, &sids[1], "end", "complete");
    }
    stage.counted(Cause::SessionStale, 3);
}

fn pushes_of_a_lost_node_are_reset(stage: &mut Stage) {
    stage.start(&ini(""));
    for version in Version::ALL {
        let node = stage.node("n1");
        let mut spdy = Spdy::new(stage, version);
        let stream = spdy.get(stage, "/");
        let sid = stage.request(node).sid;
        stage.tell(node, &sid, "headers", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n");
        stage.tell(node, &sid, "push", head("/begun", 10) + "begun");
        let pushed = spdy.pushed(stage, "/begun");
        spdy.head(stage, pushed);
        spdy.head(stage, stream);
        stage.close(stage.as_client(node));
        spdy.expect_reset(stage, pushed, StatusCode::CANCEL);
        spdy.expect_reset(stage, stream, StatusCode::INTERNAL_ERROR);
        stage.lost("n1");
    }
    assert_eq!(stage.snapshot().sessions, 0);
}

fn what_is_no_push_is_reported_and_swallowed(stage: &mut Stage) {
    stage.start(&ini(""));
    let node = stage.node_with("n1", "errors");
    for version in Version::ALL {
        let mut spdy = Spdy::new(stage, version);
        let stream = spdy.get(stage, "/");
        let sid = stage.request(node).sid;
        for (text, error) in [
            ("HTTP/1.1 200 OK\r\n\r\n", "push: push-malformed"),
            ("HTTP/1.1 200 OK\r\nUrl: http://b/\r\n\r\n", "push: push-foreign"),
            ("HTTP/1.1 200 OK\r\nUrl: https://a/\r\n\r\n", "push: push-foreign"),
        ] {
            stage.tell(node, &sid, "push", text);
            stage.expect_message(node, &sid, "error", error);
            stage.tell(node, &sid, "body", "nobody's");
            stage.tell(node, &sid, "end", "");
        }
        stage.answer(node, &sid, "asked for");
        spdy.expect(stage, stream, 200, "asked for");
        stage.expect_end(node, &sid);
        assert_eq!(spdy.streams.len(), 1);
    }
}
