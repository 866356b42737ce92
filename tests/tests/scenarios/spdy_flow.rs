//! Bodies by SPDY: what waits for windows where there are any, and for the connection where there are none; and whose turn it
//! is.

use std::collections::BTreeMap;
use std::time::Duration;

use blastbeat_proto::error::Cause;
use blastbeat_proto::spdy::{StatusCode, Version};
use blastbeat_tests::spdy_stage::Spdy;
use blastbeat_tests::stage::{Node, Stage};

use super::spdy::ini;

mod large {
    blastbeat_tests::scenarios! { bulk:
        bodies_travel_both_ways_side_by_side
        bodies_travel_though_nobody_has_said_which_version_it_is
        an_upload_waits_for_its_node_alone
        without_windows_the_connection_waits_for_the_node
        a_long_answer_comes_whole_to_who_reads_slowly
        of_two_answers_the_urgent_one_is_written_first
        answers_of_one_priority_take_turns
        a_slow_client_loses_that_stream_alone
        a_window_that_stays_shut_ends_its_stream
    }
}

const MEBIBYTE: usize = 1024 * 1024;

/// What a stream's window is, and in SPDY/3.1 the connection's, for clients that say nothing of it.
const WINDOW: usize = 65_536;

fn pattern(size: usize, start: usize) -> Vec<u8> {
    (0..size).map(|place| ((place + start) / 7) as u8).collect()
}

/// Takes `size` bytes of a request's body at its node.
fn upload(stage: &mut Stage, spdy: &mut Spdy, node: Node, sid: &[u8], size: usize) -> Vec<u8> {
    let mut came = Vec::new();
    while came.len() < size {
        let message = stage.until("a part of the body".to_owned(), |stage| {
            spdy.exchange(stage);
            stage.next_message(node)
        });
        assert_eq!((&message.sid[..], &message.kind[..]), (sid, "body"));
        came.extend_from_slice(&message.body);
    }
    came
}

fn bodies_travel_both_ways_side_by_side(stage: &mut Stage) {
    // More than any window.
    const SIZE: usize = 400_000;
    stage.start(&ini(""));
    let node = stage.node("n1");
    for version in Version::ALL {
        let mut spdy = Spdy::new(stage, version);
        let streams: Vec<(u32, Vec<u8>)> = (0..3)
            .map(|number| {
                let body = pattern(SIZE, number);
                (spdy.post(stage, &format!("/{number}"), &body, true), body)
            })
            .collect();
        let mut bodies = BTreeMap::new();
        while bodies.values().map(|(_, body): &(usize, Vec<u8>)| body.len()).sum::<usize>() < 3 * SIZE {
            let message = stage.until("a part of a body".to_owned(), |stage| {
                spdy.exchange(stage);
                stage.next_message(node)
            });
            match &message.kind[..] {
                "uwsgi" => {
                    let number = bodies.len();
                    bodies.insert(message.sid, (number, Vec::new()));
                }
                "body" => bodies.get_mut(&message.sid).expect("a session").1.extend_from_slice(&message.body),
                _ => panic!("{message:?}"),
            }
        }
        for (sid, (number, body)) in &bodies {
            assert!(*body == streams[*number].1, "body {number} came changed");
            stage.tell(node, sid, "headers", format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n"));
            for piece in body.chunks(300_000) {
                stage.tell(node, sid, "body", piece);
            }
        }
        for (stream, body) in &streams {
            spdy.expect(stage, *stream, 200, body);
        }
        for _ in &streams {
            assert_eq!(stage.message(node).kind, "end");
        }
    }
}

fn bodies_travel_though_nobody_has_said_which_version_it_is(stage: &mut Stage) {
    // More than the windows of a connection, either way.
    const DOWN: usize = 200_000;
    const UP: usize = 1_500_000;
    stage.start(&super::ini("").replacen("bind = 127.0.0.1:0", "bind = 127.0.0.1:0 spdy=3,3.1", 1));
    let node = stage.node("n1");
    for version in [Version::V3, Version::V31] {
        let client = stage.client();
        let mut spdy = Spdy::on(stage, client, version, 0);
        let streams = [(); 3].map(|()| spdy.get(stage, "/down"));
        for stream in streams {
            let sid = stage.request(node).sid;
            stage.tell(node, &sid, "headers", format!("HTTP/1.1 200 OK\r\nContent-Length: {DOWN}\r\n\r\n"));
            stage.tell(node, &sid, "body", pattern(DOWN, stream as usize));
        }
        for stream in streams {
            spdy.expect(stage, stream, 200, pattern(DOWN, stream as usize));
        }
        for _ in streams {
            assert_eq!(stage.message(node).kind, "end");
        }
        let body = pattern(UP, 0);
        let stream = spdy.post(stage, "/up", &body, true);
        let sid = stage.request(node).sid;
        let came = upload(stage, &mut spdy, node, &sid, UP);
        assert!(came == body, "{version}: the body came changed");
        stage.answer(node, &sid, "whole");
        spdy.expect(stage, stream, 200, "whole");
        stage.expect_end(node, &sid);
    }
}

const SMALL_QUEUES: &str = "node-queue-high = 300000\nnode-queue-buffer = 600000\nwrite-stall = 100";

fn an_upload_waits_for_its_node_alone(stage: &mut Stage) {
    stage.start(&ini(SMALL_QUEUES));
    let (one, two) = (stage.node("n1"), stage.node("n2"));
    let link = stage.as_client(one);
    for version in [Version::V3, Version::V31] {
        let mut spdy = Spdy::new(stage, version);
        // The systems between keep some of it.
        let body = pattern(if stage.is_virtual() { 2 } else { 12 } * MEBIBYTE, 0);
        stage.pause(link, true);
        let stream = spdy.post(stage, "/up", &body, true);
        spdy.settle(stage);
        let unsent = spdy.unsent(stream);
        assert!(unsent > 0, "{version}: the window is shut: {unsent} bytes wait");
        let memory = stage.snapshot().memory;
        assert!(memory < 3 * MEBIBYTE, "{version}: the server holds {memory} bytes");
        // The other node serves the same client all the while, with bodies too.
        let quick = spdy.post(stage, "/quick", "small", true);
        let sid = stage.request(two).sid;
        stage.expect_body(two, &sid, "small");
        stage.answer(two, &sid, "quick");
        spdy.expect(stage, quick, 200, "quick");
        stage.expect_end(two, &sid);
        stage.pause(link, false);
        let sid = stage.request(one).sid;
        let came = upload(stage, &mut spdy, one, &sid, body.len());
        assert!(came == body, "{version}: the body came changed");
        stage.answer(one, &sid, "whole");
        spdy.expect(stage, stream, 200, "whole");
        stage.expect_end(one, &sid);
    }
}

fn without_windows_the_connection_waits_for_the_node(stage: &mut Stage) {
    // In SPDY/3 two streams are more than the connection may hold.
    stage.start(&ini(&format!("{SMALL_QUEUES}\nh2-connection-window = 300000")));
    let (one, two) = (stage.node("n1"), stage.node("n2"));
    let link = stage.as_client(one);
    for (version, uploads) in [(Version::V2, 1), (Version::V3, 2)] {
        let mut spdy = Spdy::new(stage, version);
        let size = if stage.is_virtual() { 2 } else { 12 / uploads } * MEBIBYTE;
        stage.pause(link, true);
        let mut streams: Vec<(u32, Vec<u8>)> = Vec::new();
        let mut idle = Vec::new();
        for number in 0..uploads {
            let body = pattern(size, number);
            streams.push((spdy.post(stage, &format!("/{number}"), &body, true), body));
            if number + 1 < uploads {
                // The node in between keeps the next one from the other.
                stage.settle();
                idle.push(spdy.get(stage, "/between"));
            }
        }
        spdy.settle(stage);
        let memory = stage.snapshot().memory;
        assert!(memory < 3 * MEBIBYTE, "{version}: the server holds {memory} bytes");
        let waits: usize = streams.iter().map(|(stream, _)| spdy.unsent(*stream)).sum();
        assert!(waits + stage.unsent(spdy.client) > 0, "{version}: all was taken");
        // The server does not read what comes behind, but others have their answers.
        let mut other = Spdy::new(stage, version);
        let quick = other.post(stage, "/quick", "small", true);
        let mut sids = BTreeMap::new();
        loop {
            let request = stage.request(two);
            let line = request.line();
            sids.insert(line.clone(), request.sid);
            if line == "POST /quick" {
                break;
            }
        }
        stage.expect_body(two, &sids["POST /quick"], "small");
        stage.answer(two, &sids["POST /quick"], "quick");
        other.expect(stage, quick, 200, "quick");
        stage.expect_end(two, &sids["POST /quick"]);
        for stream in idle {
            let sid = &sids["GET /between"];
            stage.answer(two, sid, "between");
            spdy.expect(stage, stream, 200, "between");
            stage.expect_end(two, sid);
        }
        stage.pause(link, false);
        let mut bodies: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        let mut order = Vec::new();
        while bodies.values().map(Vec::len).sum::<usize>() < uploads * size {
            let message = stage.until("a part of a body".to_owned(), |stage| {
                spdy.exchange(stage);
                stage.next_message(one)
            });
            match &message.kind[..] {
                "uwsgi" => order.push(message.sid),
                "body" => bodies.entry(message.sid).or_default().extend_from_slice(&message.body),
                _ => panic!("{message:?}"),
            }
        }
        for (sid, (stream, body)) in order.iter().zip(&streams) {
            assert!(bodies[sid] == *body, "{version}: a body came changed");
            stage.answer(one, sid, "whole");
            spdy.expect(stage, *stream, 200, "whole");
            stage.expect_end(one, sid);
        }
    }
}

fn a_long_answer_comes_whole_to_who_reads_slowly(stage: &mut Stage) {
    stage.start(&ini("credit = 300000\nwrite-stall = 100"));
    let node = stage.node_with("n1", "credit");
    for (version, size) in Version::ALL.into_iter().zip([3 * MEBIBYTE, 2 * MEBIBYTE, 10 * MEBIBYTE]) {
        let body = pattern(size, 0);
        let mut spdy = Spdy::new(stage, version);
        spdy.reads = false;
        let stream = spdy.get(stage, "/");
        let sid = stage.request(node).sid;
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n");
        stage.tell(node, &sid, "headers", &head);
        let (mut credit, mut sent, mut came, mut has_ended) = (0, 0, Vec::new(), false);
        while came.len() < size {
            stage.pause(spdy.client, true);
            while let Some(message) = stage.next_message(node) {
                if message.kind == "end" && sent == size {
                    has_ended = true;
                    continue;
                }
                assert_eq!((&message.sid, &message.kind[..]), (&sid, "credit"));
                credit += String::from_utf8_lossy(&message.body).parse::<usize>().expect("a number");
            }
            let until = size.min(credit.saturating_sub(head.len()));
            if until > sent {
                stage.tell(node, &sid, "body", &body[sent..until]);
                sent = until;
            }
            let memory = stage.snapshot().memory;
            assert!(memory < MEBIBYTE, "{version}: the server holds {memory} bytes");
            stage.pause(spdy.client, false);
            let piece = spdy.until(stage, "more of the answer", |spdy| {
                let body = &mut spdy.streams.get_mut(&stream)?.body;
                (!body.is_empty()).then(|| std::mem::take(body))
            });
            assert!(version == Version::V2 || piece.len() <= WINDOW, "{version}: {} bytes", piece.len());
            came.extend(piece);
            spdy.release(stream);
            spdy.settle(stage);
        }
        assert!(came == body, "{version}: the answer came changed");
        spdy.expect(stage, stream, 200, "");
        while !has_ended {
            has_ended = stage.message(node).kind == "end";
        }
    }
}

/// Two requests whose answers, of this length, come one behind the other while nothing can be written.
fn two_answers_wait(stage: &mut Stage, spdy: &mut Spdy, node: Node, urgencies: [u8; 2], len: usize) -> [u32; 2] {
    // What shuts the connection: its window, or what is written for a client that does not read.
    let has_window = spdy.version() == Version::V31;
    let (fillers, full) = if has_window { (1, WINDOW + 1) } else { (6, WINDOW) };
    let fillers: Vec<u32> = (0..fillers).map(|_| spdy.get_urgently(stage, "/fills", 0)).collect();
    let streams = urgencies.map(|urgency| spdy.get_urgently(stage, "/waits", urgency));
    spdy.reads = false;
    stage.pause(spdy.client, !has_window);
    let lens = fillers.iter().map(|_| full).chain([len, len]);
    let waiting: Vec<(usize, Vec<u8>)> = lens.map(|len| (len, stage.request(node).sid)).collect();
    for (len, sid) in waiting {
        stage.tell(node, &sid, "headers", format!("HTTP/1.1 200 OK\r\nContent-Length: {len}\r\n\r\n"));
        stage.tell(node, &sid, "body", vec![b'x'; len]);
        stage.expect_end(node, &sid);
    }
    if has_window {
        spdy.expect_nothing(stage, streams[1]);
    }
    stage.pause(spdy.client, false);
    spdy.reads = true;
    for stream in &fillers {
        spdy.release(*stream);
    }
    for stream in streams {
        let (head, body) = spdy.answer(stage, stream);
        assert_eq!((head.status, body.len()), (200, len));
    }
    for stream in fillers {
        spdy.answer(stage, stream);
    }
    streams
}

/// The places of a stream's frames of data among all that came.
fn places(spdy: &Spdy, stream: u32) -> Vec<usize> {
    let frames = spdy.frames.iter().enumerate();
    frames.filter(|(_, frame)| frame.is_data_of(stream)).map(|(place, _)| place).collect()
}

fn of_two_answers_the_urgent_one_is_written_first(stage: &mut Stage) {
    stage.start(&ini(""));
    let node = stage.node("n1");
    // Without a window of the connection systems between may take all that waits.
    let versions = if stage.is_virtual() { &Version::ALL[..] } else { &[Version::V31] };
    for version in versions {
        let mut spdy = Spdy::new(stage, *version);
        let [patient, urgent] = two_answers_wait(stage, &mut spdy, node, [7, 1], 50_000);
        let (patient, urgent) = (places(&spdy, patient), places(&spdy, urgent));
        assert!(patient.len() > 1 && urgent.len() > 1, "they are cut into frames");
        assert!(urgent.last() < patient.first(), "{version}: {patient:?}, {urgent:?}");
    }
}

fn answers_of_one_priority_take_turns(stage: &mut Stage) {
    stage.start(&ini(""));
    let node = stage.node("n1");
    let mut spdy = Spdy::new(stage, Version::V31);
    let streams = two_answers_wait(stage, &mut spdy, node, [3, 3], 60_000);
    let [one, other] = streams.map(|stream| places(&spdy, stream));
    assert!(
        one.first() < other.first() && other.first() < one.get(1) && one.get(1) < other.get(1),
        "{one:?} {other:?}"
    );
}

fn a_slow_client_loses_that_stream_alone(stage: &mut Stage) {
    stage.start(&ini("writequeue-buffer = 1000000"));
    let node = stage.node_with("n1", "end-reason");
    for version in [Version::V3, Version::V31] {
        let mut spdy = Spdy::new(stage, version);
        let quick = spdy.get(stage, "/quick");
        let quick_sid = stage.request(node).sid;
        spdy.reads = false;
        let slow = spdy.get(stage, "/slow");
        let slow_sid = stage.request(node).sid;
        stage.tell(node, &slow_sid, "headers", "HTTP/1.1 200 OK\r\n\r\n");
        for _ in 0..8 {
            stage.tell(node, &slow_sid, "body", vec![b'x'; MEBIBYTE / 4]);
        }
        stage.expect_message(node, &slow_sid, "end", "slow-client");
        spdy.expect_reset(stage, slow, StatusCode::CANCEL);
        // What it had in the connection's window is free again.
        spdy.reads = true;
        spdy.release(slow);
        stage.answer(node, &quick_sid, "quick");
        spdy.expect(stage, quick, 200, "quick");
        stage.expect_message(node, &quick_sid, "end", "complete");
        assert_eq!(stage.access("/slow").cause, Cause::SlowClient);
        let memory = stage.snapshot().memory;
        assert!(memory < 200_000, "{version}: the server holds {memory} bytes");
    }
}

fn a_window_that_stays_shut_ends_its_stream(stage: &mut Stage) {
    stage.start(&ini("write-stall = 0.4"));
    let node = stage.node_with("n1", "end-reason");
    for version in [Version::V3, Version::V31] {
        let mut spdy = Spdy::new(stage, version);
        spdy.reads = false;
        let stream = spdy.get(stage, "/");
        let sid = stage.request(node).sid;
        stage.tell(node, &sid, "headers", "HTTP/1.1 200 OK\r\n\r\n");
        stage.tell(node, &sid, "body", vec![b'x'; WINDOW + 1]);
        spdy.until(stage, "a window full", |spdy| (spdy.streams[&stream].body.len() == WINDOW).then_some(()));
        stage.advance(Duration::from_millis(500));
        spdy.expect_reset(stage, stream, StatusCode::CANCEL);
        stage.expect_message(node, &sid, "end", "window-stall");
        spdy.reads = true;
        spdy.release(stream);
        let other = spdy.get(stage, "/other");
        let sid = stage.request(node).sid;
        stage.answer(node, &sid, "here");
        spdy.expect(stage, other, 200, "here");
        stage.expect_message(node, &sid, "end", "complete");
    }
}
