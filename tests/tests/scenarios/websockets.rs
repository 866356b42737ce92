//! WebSockets and groups under load: slow members, floods, large messages, members that go while others are served.

use blastbeat_proto::error::Cause;
use blastbeat_proto::time::Duration;
use blastbeat_tests::frames::{BINARY, Frame, TEXT};
use blastbeat_tests::stage::{Client, Node, Stage};

use super::{flood_until_somebody_goes, ini};

const KIBIBYTE: usize = 1024;
const MEBIBYTE: usize = 1024 * 1024;

mod stamped {
    blastbeat_tests::scenarios! {
        credit_counts_messages_and_lets_them_out_whole
    }
}

mod in_bulk {
    blastbeat_tests::scenarios! { bulk:
        credit_that_is_exceeded_ends_the_websocket
        sixteen_mebibytes_both_ways
        a_slow_member_is_disconnected_alone
        a_slow_member_loses_the_oldest_messages_and_no_others
        a_slow_viewer_of_a_pipe_holds_nobody_back
        half_of_a_large_group_goes_in_the_middle_of_its_messages
        a_node_that_floods_a_group_costs_bounded_memory
        memory_is_bounded_over_all_members
        a_client_that_floods_a_node_that_does_not_read_is_held_back
    }
}

/// A message that tells its number: of `size` bytes.
fn numbered(number: usize, size: usize) -> Vec<u8> {
    let mut payload = vec![b'x'; size];
    let text = format!("{number:08}");
    payload[..8].copy_from_slice(text.as_bytes());
    payload
}

fn number_of(frame: &Frame) -> usize {
    assert!(frame.last && frame.reserved == 0 && frame.opcode == TEXT, "{} bytes", frame.payload.len());
    let digits = std::str::from_utf8(&frame.payload[..8]).expect("digits");
    digits.parse().expect("a number")
}

/// Those who read keep up, so that nothing of theirs is ever queued for long.
fn expect_number(stage: &mut Stage, clients: &[Client], number: usize) {
    for client in clients {
        assert_eq!(number_of(&stage.frame(*client)), number, "to those who read, in order");
    }
}

/// WebSockets whose sessions are in `room`.
fn members(stage: &mut Stage, node: Node, count: usize) -> Vec<(Client, Vec<u8>)> {
    let clients: Vec<Client> = (0..count).map(|number| stage.opens(&format!("/{number}"))).collect();
    let mut sids = vec![Vec::new(); count];
    for _ in 0..count {
        let request = stage.request(node);
        let number: usize = request.get("REQUEST_URI").expect("a target")[1..].parse().expect("a number");
        sids[number] = request.sid;
    }
    for (client, sid) in clients.iter().zip(&sids) {
        stage.expect(*client, blastbeat_tests::frames::SWITCHING);
        stage.tell(node, sid, "join", "room");
    }
    clients.into_iter().zip(sids).collect()
}

fn sixteen_mebibytes_both_ways(stage: &mut Stage) {
    stage.start(&ini("writequeue-buffer = 20m\nnode-queue-buffer = 40m"));
    let node = stage.node_with("n1", "binary");
    let (client, sid) = stage.websocket(node, "/");
    let payload: Vec<u8> = (0..16 * MEBIBYTE).map(|place| (place / 7) as u8).collect();
    stage.send_frame(client, &Frame::new(BINARY, payload.clone()));
    let message = stage.message(node);
    assert!(message.kind == "websocket/binary" && message.body == payload, "the message came changed");
    stage.tell(node, &sid, "websocket/binary", &payload);
    let frame = stage.frame(client);
    assert!(frame == Frame::new(BINARY, payload), "the message came back changed");
    // One byte more is too much.
    stage.send_frame(client, &Frame::new(BINARY, vec![0; 16 * MEBIBYTE + 1]));
    // The farewell waits for an answer to the message before.
    stage.advance(Duration::from_millis(100));
    assert_eq!(stage.frame(client), Frame::close(1009, "message-too-large"));
    stage.expect_end(node, &sid);
    stage.forgive(client);
}

fn a_slow_member_is_disconnected_alone(stage: &mut Stage) {
    stage.start(&ini("writequeue-buffer = 1000000\nslow-client = disconnect"));
    let node = stage.node_with("n1", "end-reason");
    let room = members(stage, node, 3);
    let (slow, slow_sid) = &room[1];
    stage.pause(*slow, true);
    let (count, size) = (256, 96 * KIBIBYTE);
    for number in 0..count {
        stage.tell(node, &room[0].1, "room:websocket", numbered(number, size));
        expect_number(stage, &[room[0].0, room[2].0], number);
    }
    stage.expect_message(node, slow_sid, "end", "slow-client");
    assert_eq!(stage.access("/1").cause, Cause::SlowClient);
    stage.pause(*slow, false);
    assert!(stage.read_to_end(*slow).len() < count * size, "it was cut");
    stage.tell(node, &room[2].1, "room:websocket", "after all");
    for (client, _) in [&room[0], &room[2]] {
        stage.expect_frame(*client, &Frame::new(TEXT, "after all"));
    }
}

fn a_slow_member_loses_the_oldest_messages_and_no_others(stage: &mut Stage) {
    stage.start(&ini("writequeue-buffer = 1000000\nslow-client = drop-oldest"));
    let node = stage.node("n1");
    let room = members(stage, node, 3);
    let slow = room[1].0;
    stage.pause(slow, true);
    let (count, size) = (256, 96 * KIBIBYTE);
    for number in 0..count {
        stage.tell(node, &room[0].1, "room:websocket", numbered(number, size));
        expect_number(stage, &[room[0].0, room[2].0], number);
    }
    stage.settle();
    let dropped = stage.snapshot().stats.of(Cause::OldestDropped) as usize;
    assert!(dropped > count / 4 && dropped < count, "{dropped} were dropped");
    stage.pause(slow, false);
    let mut got = Vec::new();
    while got.last() != Some(&(count - 1)) {
        got.push(number_of(&stage.frame(slow)));
    }
    assert_eq!(got.len(), count - dropped, "all but those that were counted");
    assert!(got.is_sorted_by(|a, b| a < b), "in order");
    let gaps = got.windows(2).filter(|pair| pair[1] != pair[0] + 1).count();
    assert!(gaps <= 1 && got[0] == 0, "what waited longest is what is gone: {got:?}");
    // It is a member as before.
    stage.tell(node, &room[1].1, "room:websocket", "after all");
    for (client, _) in &room {
        stage.expect_frame(*client, &Frame::new(TEXT, "after all"));
    }
    stage.counted(Cause::OldestDropped, dropped as u64);
}

fn a_slow_viewer_of_a_pipe_holds_nobody_back(stage: &mut Stage) {
    stage.start(&ini("writequeue-buffer = 1000000\nslow-client = drop-oldest"));
    let node = stage.node("n1");
    let room = members(stage, node, 3);
    let (camera, camera_sid) = &room[0];
    stage.tell(node, camera_sid, "noecho", "room");
    stage.tell(node, camera_sid, "pipe", "room:websocket");
    stage.settle();
    let (slow, quick) = (room[1].0, room[2].0);
    stage.pause(slow, true);
    let count = 256;
    for number in 0..count {
        stage.send_frame(*camera, &Frame::new(TEXT, numbered(number, 96 * KIBIBYTE)));
        expect_number(stage, &[quick], number);
    }
    stage.expect_no_message(node);
    let dropped = stage.snapshot().stats.of(Cause::OldestDropped) as usize;
    assert!(dropped > count / 4, "{dropped} were dropped");
    stage.pause(slow, false);
    let mut got = 0;
    loop {
        got += 1;
        if number_of(&stage.frame(slow)) == count - 1 {
            break;
        }
    }
    assert_eq!(got, count - dropped, "all but those that were counted");
}

fn half_of_a_large_group_goes_in_the_middle_of_its_messages(stage: &mut Stage) {
    let count = if stage.is_virtual() { 500 } else { 3000 };
    stage.start(&ini("sessions = 4000\nconnections = 4000\nping-freq = 100\nheartbeat = 100"));
    let node = stage.node_with("n1", "end-reason");
    let room = members(stage, node, count);
    let messages = 40;
    let size = 300;
    for number in 0..messages / 2 {
        stage.tell(node, &room[0].1, "room:websocket", numbered(number, size));
    }
    // As soon as the first has come to somebody, every other goes: some in good order, some not.
    let first = room[1].0;
    stage.until("the first message".to_owned(), |stage| {
        let came = !stage.host().peer(first.id()).incoming.is_empty();
        came.then_some(())
    });
    for (place, (client, _)) in room.iter().enumerate().filter(|(place, _)| place % 2 == 1) {
        match place % 4 {
            1 => stage.close(*client),
            _ => stage.reset(*client),
        }
    }
    for number in messages / 2..messages {
        stage.tell(node, &room[0].1, "room:websocket", numbered(number, size));
    }
    let mut all = Vec::new();
    for number in 0..messages {
        all.extend(Frame::new(TEXT, numbered(number, size)).unmasked());
    }
    for (client, _) in room.iter().step_by(2) {
        assert!(stage.read(*client, all.len()) == all, "every message, in order");
    }
    let mut gone: Vec<Vec<u8>> = room.iter().skip(1).step_by(2).map(|(_, sid)| sid.clone()).collect();
    for _ in 0..gone.len() {
        let message = stage.message(node);
        assert_eq!(message.kind, "end");
        let place = gone.iter().position(|sid| *sid == message.sid).expect("the end of one that has gone, once");
        gone.swap_remove(place);
    }
    assert_eq!(stage.snapshot().sessions, count / 2);
    stage.tell(node, &room[0].1, "room:websocket", "after all");
    for (client, _) in room.iter().step_by(2) {
        stage.expect_frame(*client, &Frame::new(TEXT, "after all"));
    }
}

fn a_node_that_floods_a_group_costs_bounded_memory(stage: &mut Stage) {
    stage.start(&ini("writequeue-buffer = 300000\nslow-client = drop-oldest"));
    let node = stage.node("n1");
    let room = members(stage, node, 5);
    let other = stage.node("n2");
    for (client, _) in &room[1..] {
        stage.pause(*client, true);
    }
    let count = 200;
    for number in 0..count {
        // From the node itself, to the group wherever it is.
        stage.tell(node, b"", "room:websocket", numbered(number, 64 * KIBIBYTE));
        expect_number(stage, &[room[0].0], number);
        if number % 50 == 0 {
            let memory = stage.snapshot().memory;
            assert!(memory < 5 * 300_000 + MEBIBYTE, "the server holds {memory} bytes");
        }
    }
    let (client, sid) = stage.websocket(other, "/other");
    stage.tell(other, &sid, "websocket", "quiet here");
    stage.expect_frame(client, &Frame::new(TEXT, "quiet here"));
    for (client, _) in &room[1..] {
        stage.pause(*client, false);
        while number_of(&stage.frame(*client)) != count - 1 {}
    }
    assert_eq!(stage.snapshot().memory, 0);
}

fn memory_is_bounded_over_all_members(stage: &mut Stage) {
    stage.start(&ini("memory = 4\nwritequeue-buffer = 64m\nwritequeue-high = 100000\nwrite-stall = 100"));
    let node = stage.node_with("n1", "end-reason");
    let room = members(stage, node, 6);
    for (client, _) in &room[2..] {
        stage.pause(*client, true);
        stage.forgive(*client);
    }
    // Each has a message of its own, so that nothing is shared, until somebody has to go.
    flood_until_somebody_goes(stage, node, |stage, number| {
        for (_, sid) in &room[2..] {
            stage.tell(node, sid, "websocket", numbered(number, 64 * KIBIBYTE));
        }
    });
    // Whoever reads goes on.
    stage.tell(node, &room[0].1, "room:websocket", "still here");
    for (client, _) in &room[..2] {
        stage.expect_frame(*client, &Frame::new(TEXT, "still here"));
    }
    stage.forgive(stage.as_client(node));
}

fn a_client_that_floods_a_node_that_does_not_read_is_held_back(stage: &mut Stage) {
    stage.start(&ini(
        "node-queue-high = 300000\nnode-queue-buffer = 600000\nwrite-stall = 100\nping-freq = 100\nheartbeat = 100",
    ));
    let node = stage.node("n1");
    let (client, sid) = stage.websocket(node, "/");
    let link = stage.as_client(node);
    stage.pause(link, true);
    let (count, size) = (384, 64 * KIBIBYTE);
    for number in 0..count {
        stage.send_frame(client, &Frame::new(TEXT, numbered(number, size)));
    }
    stage.settle();
    assert!(stage.unsent(client) > 0, "the client is held back");
    let memory = stage.snapshot().memory;
    assert!(memory < 4 * MEBIBYTE, "the server holds {memory} bytes");
    // The other direction of this WebSocket is open all the while.
    stage.tell(node, &sid, "websocket", "I hear you");
    stage.expect_frame(client, &Frame::new(TEXT, "I hear you"));
    stage.pause(link, false);
    for number in 0..count {
        let message = stage.message(node);
        assert!(message.kind == "websocket" && message.body == numbered(number, size), "message {number}");
    }
}

fn credit_of(stage: &mut Stage, node: Node, sid: &[u8]) -> usize {
    let message = stage.message(node);
    assert_eq!((&message.sid[..], &message.kind[..]), (sid, "credit"), "{message:?}");
    std::str::from_utf8(&message.body).expect("text").parse().expect("a number")
}

fn credit_counts_messages_and_lets_them_out_whole(stage: &mut Stage) {
    stage.start(&ini("credit = 1000"));
    let node = stage.node_with("n1", "credit");
    let client = stage.opens("/");
    let sid = stage.request(node).sid;
    let mut credit = credit_of(stage, node, &sid);
    assert_eq!(credit, 1000, "the first credit comes with the request");
    stage.expect(client, blastbeat_tests::frames::SWITCHING);
    // The last byte of credit lets a whole message out; what it was too much is made good before there is more.
    let mut owed = 0;
    for size in [400, 599, 5000, 300, 3000, 1] {
        while credit == 0 {
            let more = credit_of(stage, node, &sid);
            let paid = more.min(owed);
            owed -= paid;
            credit += more - paid;
        }
        stage.tell(node, &sid, "websocket", numbered(size, size.max(8)));
        let size_sent = size.max(8);
        owed += size_sent.saturating_sub(credit);
        credit = credit.saturating_sub(size_sent);
        assert_eq!(stage.frame(client), Frame::new(TEXT, numbered(size, size_sent)));
    }
    stage.forgive(stage.as_client(node));
}

fn credit_that_is_exceeded_ends_the_websocket(stage: &mut Stage) {
    stage.start(&ini("credit = 1000"));
    let node = stage.node_with("n1", "credit end-reason");
    let client = stage.opens("/");
    let sid = stage.request(node).sid;
    assert_eq!(credit_of(stage, node, &sid), 1000);
    stage.expect(client, blastbeat_tests::frames::SWITCHING);
    stage.settle();
    // All in one piece, so that no byte can leave in between.
    let message = blastbeat_tests::node_link::message(&[&sid, b"websocket", &[b'x'; 600]]);
    stage.tell_bytes(node, &message.repeat(3));
    let end = loop {
        let message = stage.message(node);
        if message.kind != "credit" {
            break message;
        }
    };
    assert_eq!((&end.kind[..], &end.body[..]), ("end", &b"credit-exceeded"[..]));
    for _ in 0..2 {
        stage.expect_frame(client, &Frame::new(TEXT, [b'x'; 600]));
    }
    stage.expect_frame(client, &Frame::close(1011, "credit-exceeded"));
    stage.send_frame(client, &Frame::close(1011, ""));
    stage.expect_closed(client);
    stage.counted(Cause::CreditExceeded, 1);
}
