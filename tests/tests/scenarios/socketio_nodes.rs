//! Clients of socket.io whose nodes go, come and do not listen; and the end of the server.

use blastbeat_proto::engine::Control;
use blastbeat_proto::error::Cause;
use blastbeat_proto::time::Duration;
use blastbeat_tests::socketio::{Packet, Speaks};
use blastbeat_tests::socketio_stage::Guest;
use blastbeat_tests::stage::{Node, Stage};

use super::{bulk, flood_until_somebody_goes, get, ini};

mod stamped {
    blastbeat_tests::scenarios! {
        another_node_takes_over_at_once
        without_a_node_clients_sleep_until_one_comes
        who_has_something_to_say_waits_for_a_node_but_not_for_ever
        who_says_nothing_sleeps_as_long_as_it_takes
        a_node_that_has_no_room_is_waited_for
        a_drain_tells_everybody
        a_stop_ends_all
        heartbeats_keep_clients_and_find_those_that_are_gone
        the_clients_heartbeats_of_the_second_generation_are_answered
        who_asks_for_nothing_is_ended
        requests_of_clients_are_never_too_many
        a_farewell_waits_for_the_next_poll_but_not_for_ever
    }
}

mod in_bulk {
    blastbeat_tests::scenarios! { bulk:
        a_client_that_floods_a_node_that_does_not_read_is_held_back
        memory_is_bounded_over_all_clients
    }
}

/// A client of each kind at a node, with its session.
fn everybody(stage: &mut Stage, node: Node, knows: bool) -> Vec<(Guest, Vec<u8>)> {
    let kinds = Speaks::ALL.into_iter().flat_map(|speaks| [(speaks, false), (speaks, true)]);
    kinds.map(|(speaks, is_websocket)| Guest::with(stage, node, speaks, is_websocket, knows)).collect()
}

fn kill(stage: &mut Stage, node: Node, name: &str) {
    let link = stage.as_client(node);
    stage.reset(link);
    stage.lost(name);
}

fn another_node_takes_over_at_once(stage: &mut Stage) {
    stage.start(&ini(""));
    let mut names = ["n1", "n2"].into_iter().cycle();
    let name = names.next().expect("a name");
    let mut node = stage.node_with(name, "socket.io");
    let mut dying = name;
    let mut guests = everybody(stage, node, true);
    for (guest, _) in guests.iter_mut().step_by(4) {
        guest.poll(stage);
    }
    for round in 0..3 {
        let name = names.next().expect("a name");
        let next = stage.node_with(name, "socket.io");
        kill(stage, node, dying);
        (node, dying) = (next, name);
        for _ in 0..guests.len() {
            let request = stage.request(node);
            assert!(guests.iter().any(|(_, sid)| *sid == request.sid), "{request:?}");
            assert_eq!(request.get("REDISPATCHED"), Some("1"));
        }
        for (guest, sid) in &mut guests {
            stage.tell(node, sid, "socket.io/event", format!("[\"down\",{round}]"));
            guest.emit(stage, &format!("[\"up\",{round}]"));
            stage.expect_message(node, sid, "socket.io/event", format!("[\"up\",{round}]"));
            guest.expect_event(stage, &format!("[\"down\",{round}]"));
        }
    }
    assert_eq!(stage.snapshot().sessions, guests.len());
    stage.counted(Cause::SessionUnknown, 0);
}

fn without_a_node_clients_sleep_until_one_comes(stage: &mut Stage) {
    stage.start(&ini(""));
    let mut node = stage.node("n1");
    let mut guests = everybody(stage, node, false);
    for round in 0..2 {
        stage.tell(node, &guests[0].1, "socket.io/event", r#"["last"]"#);
        stage.settle();
        kill(stage, node, "n1");
        // Some say something meanwhile, and some of those poll.
        for (guest, _) in guests.iter_mut().step_by(3) {
            let events = [0, 1].map(|number| Packet::text(guest.speaks.event(&format!("[\"n\",{number}]"))));
            if guest.is_by_requests() {
                guest.post(stage, &events);
            } else {
                guest.say_all(stage, &events);
            }
        }
        stage.settle();
        if round == 0 {
            stage.advance(Duration::from_secs(3));
        }
        // No new ones meanwhile.
        let client = stage.client_sends(get("/socket.io/?EIO=4&transport=polling"));
        stage.expect_page(client, Cause::NodeMissing);
        node = stage.node("n1");
        let mut heard: Vec<_> = (0..guests.len() + 2 * guests.len().div_ceil(3)).map(|_| stage.message(node)).collect();
        for (place, (guest, sid)) in guests.iter_mut().enumerate() {
            let mine: Vec<_> = heard.extract_if(.., |message| message.sid == *sid).collect();
            let kinds: Vec<_> = mine.iter().map(|message| &message.kind[..]).collect();
            if place % 3 == 0 {
                assert_eq!(kinds, ["uwsgi", "socket.io/event", "socket.io/event"], "{place}: {mine:?}");
                assert_eq!(mine[1].body, br#"{"name":"n","args":[0]}"#);
                assert_eq!(mine[2].body, br#"{"name":"n","args":[1]}"#);
                if guest.is_by_requests() {
                    guest.expect_posted(stage);
                }
            } else {
                assert_eq!(kinds, ["uwsgi"], "{place}: {mine:?}");
            }
            stage.tell(node, sid, "socket.io/event", r#"["here"]"#);
        }
        for (place, (guest, _)) in guests.iter_mut().enumerate() {
            if place == 0 {
                guest.expect_event(stage, r#"["last"]"#);
            }
            guest.expect_event(stage, r#"["here"]"#);
        }
    }
    assert_eq!(stage.snapshot().sessions, guests.len());
}

fn who_has_something_to_say_waits_for_a_node_but_not_for_ever(stage: &mut Stage) {
    stage.start(&ini("queue-timeout = 0.5"));
    let node = stage.node("n1");
    let (mut polling, _) = Guest::with(stage, node, Speaks::Five, false, false);
    let (mut websocket, _) = Guest::with(stage, node, Speaks::Two, true, false);
    let (mut silent, silent_sid) = Guest::with(stage, node, Speaks::Five, true, false);
    kill(stage, node, "n1");
    polling.post(stage, &[Packet::text("42[\"a\"]")]);
    websocket.emit(stage, r#"["b"]"#);
    stage.advance(Duration::from_secs(1));
    polling.posted(stage);
    websocket.expect_close(stage, 1013);
    stage.until("two have gone".to_owned(), |stage| (stage.snapshot().sessions == 1).then_some(()));
    polling.poll(stage);
    assert_eq!(polling.polled(stage).text(), r#"{"code":1,"message":"Session ID unknown"}"#);
    let node = stage.node("n1");
    assert_eq!(stage.request(node).sid, silent_sid);
    silent.emit(stage, r#"["c"]"#);
    stage.expect_message(node, &silent_sid, "socket.io/event", r#"{"name":"c","args":[]}"#);
}

fn who_says_nothing_sleeps_as_long_as_it_takes(stage: &mut Stage) {
    stage.start(&ini("queue-timeout = 0.2\nnode-timeout = 0.2\ntimeout = 100"));
    let node = stage.node("n1");
    let mut guests = everybody(stage, node, false);
    kill(stage, node, "n1");
    stage.advance(Duration::from_secs(2));
    let node = stage.node("n1");
    for _ in 0..guests.len() {
        stage.request(node);
    }
    for (guest, sid) in &mut guests {
        guest.emit(stage, r#"["on"]"#);
        stage.expect_message(node, sid, "socket.io/event", r#"{"name":"on","args":[]}"#);
    }
}

fn a_node_that_has_no_room_is_waited_for(stage: &mut Stage) {
    stage.start(&ini(""));
    let one = stage.node_with("n1", "capacity=1");
    let (mut guest, sid) = Guest::with(stage, one, Speaks::Five, true, false);
    // The only room is taken by a request.
    let client = stage.client_sends(get("/slow"));
    let slow = stage.request(one).sid;
    let two = stage.node("n2");
    let (mut other, other_sid) = Guest::with(stage, two, Speaks::Five, false, false);
    kill(stage, two, "n2");
    other.post(stage, &[Packet::text("42[\"a\"]")]);
    stage.expect_no_message(one);
    stage.answer(one, &slow, "done");
    stage.expect(client, Stage::answered("done"));
    stage.expect_end(one, &slow);
    assert_eq!(stage.request(one).sid, other_sid);
    stage.expect_message(one, &other_sid, "socket.io/event", r#"{"name":"a","args":[]}"#);
    other.expect_posted(stage);
    guest.emit(stage, r#"["b"]"#);
    stage.expect_message(one, &sid, "socket.io/event", r#"{"name":"b","args":[]}"#);
}

fn a_drain_tells_everybody(stage: &mut Stage) {
    stage.start(&ini("drain-timeout = 20"));
    let node = stage.node_with("n1", "end-reason");
    let mut guests = everybody(stage, node, false);
    for (guest, _) in guests.iter_mut().filter(|(guest, _)| guest.is_by_requests()) {
        guest.poll(stage);
    }
    stage.settle();
    stage.control(Control::Drain);
    for (guest, _) in &mut guests {
        if !guest.is_by_requests() {
            if guest.speaks.is_one() {
                guest.expect(stage, "7:::1+0");
            }
            guest.expect_close(stage, 1001);
        } else {
            let packet = guest.hear_text(stage);
            assert_eq!(packet, if guest.speaks.is_one() { "7:::1+0" } else { "1" });
        }
        stage.forgive(guest.line());
    }
    let mut ended: Vec<_> = (0..guests.len()).map(|_| stage.message(node)).collect();
    ended.sort_by(|a, b| a.sid.cmp(&b.sid));
    for message in &ended {
        assert_eq!((&message.kind[..], &message.body[..]), ("end", &b"stopping"[..]), "{message:?}");
    }
    ended.dedup_by(|a, b| a.sid == b.sid);
    assert_eq!(ended.len(), guests.len());
}

fn a_stop_ends_all(stage: &mut Stage) {
    stage.start(&ini(""));
    let node = stage.node("n1");
    let mut guests = everybody(stage, node, false);
    for (guest, _) in guests.iter_mut().step_by(4) {
        guest.poll(stage);
    }
    stage.settle();
    for (guest, _) in &guests {
        stage.forgive(guest.line());
        stage.forgive(guest.post_line());
    }
    stage.forgive(stage.as_client(node));
    stage.control(Control::Stop);
    for (guest, _) in &guests {
        stage.read_to_end(guest.line());
    }
}

fn heartbeats_keep_clients_and_find_those_that_are_gone(stage: &mut Stage) {
    stage.start(&ini("socketio-ping-interval = 0.4\nsocketio-ping-timeout = 0.5"));
    let node = stage.node_with("n1", "end-reason");
    for speaks in [Speaks::Five, Speaks::One] {
        for is_websocket in [true, false] {
            let (mut guest, sid) = Guest::with(stage, node, speaks, is_websocket, false);
            let ping = if speaks.is_one() { "2::" } else { "2" };
            for _ in 0..4 {
                if !is_websocket {
                    guest.poll(stage);
                }
                stage.advance(Duration::from_millis(400));
                let packet = guest.hear_any(stage);
                assert_eq!(packet, Packet::text(ping));
                guest.say(stage, if speaks.is_one() { "2::" } else { "3" });
            }
            // From now on it is silent.
            stage.advance(Duration::from_millis(1000));
            stage.expect_message(node, &sid, "end", "ping-timeout");
            if is_websocket {
                assert_eq!(guest.hear_any(stage), Packet::text(ping));
                stage.forgive(guest.line());
                stage.read_until(guest.line(), "ping-timeout");
            }
        }
    }
    stage.until("all have gone".to_owned(), |stage| (stage.snapshot().sessions == 0).then_some(()));
}

fn the_clients_heartbeats_of_the_second_generation_are_answered(stage: &mut Stage) {
    stage.start(&ini("socketio-ping-interval = 0.4\nsocketio-ping-timeout = 0.5"));
    let node = stage.node_with("n1", "end-reason");
    for is_websocket in [true, false] {
        let (mut guest, sid) = Guest::with(stage, node, Speaks::Two, is_websocket, false);
        for _ in 0..4 {
            stage.advance(Duration::from_millis(400));
            guest.say(stage, "2");
            assert_eq!(guest.hear_any(stage), Packet::text("3"));
        }
        stage.advance(Duration::from_millis(1000));
        stage.expect_message(node, &sid, "end", "ping-timeout");
        stage.forgive(guest.line());
    }
}

fn who_asks_for_nothing_is_ended(stage: &mut Stage) {
    stage.start(&ini("socketio-connect-timeout = 0.3"));
    let node = stage.node_with("n1", "end-reason");
    let websocket = Guest::websocket(stage, Speaks::Five);
    let first = stage.request(node).sid;
    let polling = Guest::polling(stage, Speaks::Five);
    let second = stage.request(node).sid;
    stage.advance(Duration::from_millis(400));
    stage.expect_message(node, &first, "end", "connect-timeout");
    stage.expect_message(node, &second, "end", "connect-timeout");
    stage.read_until(websocket.line(), "connect-timeout");
    stage.close(websocket.line());
    let late = stage.client_sends(get(&polling.target("polling")));
    assert!(stage.response(late).0.starts_with("HTTP/1.1 400 "));
}

fn requests_of_clients_are_never_too_many(stage: &mut Stage) {
    stage.start(&(ini("sessions = 3") + "sessions = 2\n"));
    let node = stage.node("n1");
    let mut guests: Vec<_> =
        [Speaks::Five, Speaks::One].map(|speaks| Guest::with(stage, node, speaks, false, false)).into();
    let third = stage.client_sends(get("/socket.io/?EIO=4&transport=polling"));
    stage.expect_page(third, Cause::HostSessionsMax);
    // A GET, a POST and a WebSocket of each at once.
    for (guest, sid) in &mut guests {
        guest.poll(stage);
        guest.post(stage, &[Packet::text(guest.speaks.event(r#"["a"]"#))]);
        guest.expect_posted(stage);
        stage.expect_message(node, sid, "socket.io/event", r#"{"name":"a","args":[]}"#);
        if guest.speaks == Speaks::Five {
            guest.probe(stage);
            guest.emit(stage, r#"["b"]"#);
            stage.expect_message(node, sid, "socket.io/event", r#"{"name":"b","args":[]}"#);
            guest.upgrade(stage);
        }
        guest.emit(stage, r#"["c"]"#);
        stage.expect_message(node, sid, "socket.io/event", r#"{"name":"c","args":[]}"#);
    }
    stage.tell(node, &guests[1].1, "socket.io/event", r#"["d"]"#);
    guests[1].0.expect_event(stage, r#"["d"]"#);
    assert_eq!(stage.snapshot().sessions, 2);
    stage.send(third, get("/"));
    stage.expect_page(third, Cause::HostSessionsMax);
}

fn a_farewell_waits_for_the_next_poll_but_not_for_ever(stage: &mut Stage) {
    stage.start(&ini("socketio-ping-timeout = 0.5"));
    let node = stage.node_with("n1", "end-reason");
    let (_, sid) = Guest::with(stage, node, Speaks::Five, false, false);
    stage.tell(node, &sid, "socket.io/end", "");
    stage.advance(Duration::from_secs(1));
    stage.expect_message(node, &sid, "end", "complete");
    // What it says meanwhile is not heard any more.
    let (mut guest, sid) = Guest::with(stage, node, Speaks::Two, false, false);
    stage.tell(node, &sid, "socket.io/event", r#"["before"]"#);
    stage.tell(node, &sid, "socket.io/end", "");
    stage.settle();
    guest.post(stage, &[Packet::text("42[\"late\"]")]);
    guest.posted(stage);
    guest.expect_event(stage, r#"["before"]"#);
    guest.expect_farewell(stage);
    stage.expect_message(node, &sid, "end", "complete");
    // Its node may go meanwhile.
    let (mut guest, sid) = Guest::with(stage, node, Speaks::Five, false, false);
    stage.tell(node, &sid, "socket.io/end", "");
    stage.settle();
    kill(stage, node, "n1");
    let other = stage.node("n2");
    guest.expect_farewell(stage);
    stage.expect_no_message(other);
    assert_eq!(stage.snapshot().sessions, 0);
}

fn a_client_that_floods_a_node_that_does_not_read_is_held_back(stage: &mut Stage) {
    stage.start(&bulk(
        "node-queue-high = 300000\nnode-queue-buffer = 900000\nwrite-stall = 100\nping-freq = 100\nheartbeat = 100",
    ));
    let node = stage.node("n1");
    let (mut websocket, websocket_sid) = Guest::with(stage, node, Speaks::Five, true, false);
    let (mut polling, polling_sid) = Guest::with(stage, node, Speaks::Two, false, false);
    let link = stage.as_client(node);
    stage.pause(link, true);
    let (count, filling) = (384, "x".repeat(64 * 1024));
    for number in 0..count {
        websocket.say(stage, &format!("42[\"{filling}\",{number}]"));
    }
    // Until the system's buffers are full, and the queue is too.
    let mut stalled = 0;
    for _ in 0..1000 {
        let memory = stage.snapshot().memory;
        let is_held_back = stage.unsent(websocket.line()) > 0 && memory > 300_000;
        stalled = if is_held_back { stalled + 1 } else { 0 };
        if stalled == 5 {
            break;
        }
    }
    assert_eq!(stalled, 5, "its WebSocket is not read");
    polling.post(stage, &[Packet::text(format!("42[\"{filling}\"]"))]);
    stage.expect_nothing(polling.post_line());
    let memory = stage.snapshot().memory;
    assert!(memory < 4_000_000, "the server holds {memory} bytes");
    // What goes to the clients goes.
    for (guest, sid) in [(&mut websocket, &websocket_sid), (&mut polling, &polling_sid)] {
        stage.tell(node, sid, "socket.io/event", r#"["down"]"#);
        guest.expect_event(stage, r#"["down"]"#);
    }
    stage.pause(link, false);
    let mut next = 0;
    for _ in 0..=count {
        let message = stage.message(node);
        if message.sid == websocket_sid {
            assert_eq!(message.body, format!("{{\"name\":\"{filling}\",\"args\":[{next}]}}").as_bytes());
            next += 1;
        } else {
            assert_eq!((&message.sid, next > 0), (&polling_sid, true));
        }
    }
    polling.expect_posted(stage);
}

fn memory_is_bounded_over_all_clients(stage: &mut Stage) {
    stage.start(&bulk("memory = 4\nwritequeue-buffer = 64m\nwritequeue-high = 100000\nwrite-stall = 100"));
    let node = stage.node_with("n1", "end-reason");
    let mut guests: Vec<_> = (0..6).map(|number| Guest::with(stage, node, Speaks::Five, number < 4, false)).collect();
    for (guest, _) in &guests[2..] {
        stage.pause(guest.line(), true);
        stage.forgive(guest.line());
    }
    let filling = "x".repeat(64 * 1024);
    flood_until_somebody_goes(stage, node, |stage, number| {
        for (_, sid) in &guests[2..] {
            stage.tell(node, sid, "socket.io/event", format!("[\"{filling}\",{number}]"));
        }
    });
    for (guest, sid) in &mut guests[..2] {
        stage.tell(node, sid, "socket.io/event", r#"["still"]"#);
        guest.expect_event(stage, r#"["still"]"#);
    }
    stage.forgive(stage.as_client(node));
}
