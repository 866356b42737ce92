//! Groups of clients of socket.io: of each generation and transport, slow ones among them.

use blastbeat_proto::error::Cause;
use blastbeat_tests::socketio::{Packet, Speaks};
use blastbeat_tests::socketio_stage::{Guest, Road};
use blastbeat_tests::stage::{Node, Stage};

use super::{bulk, http2, ini};

mod stamped {
    blastbeat_tests::scenarios! {
        a_room_has_members_of_every_generation_and_transport
        messages_and_attachments_reach_everybody_as_it_takes_them
        namespaces_part_a_room
        what_a_node_said_before_it_went_reaches_everybody
        what_a_node_said_before_its_link_broke_reaches_everybody
    }
}

mod in_bulk {
    blastbeat_tests::scenarios! { bulk:
        a_large_room_gets_all_in_order_over_many_turns
        a_slow_member_is_ended_alone
        who_polls_no_more_is_ended_when_too_much_waits
    }
}

/// A guest and its session.
type Member = (Guest, Vec<u8>);

fn join(stage: &mut Stage, node: Node, members: &[Member], room: &str) {
    for (_, sid) in members {
        stage.tell(node, sid, "join", room);
    }
}

/// Members of every kind, some of them on streams of HTTP/2.
fn everybody(stage: &mut Stage, node: Node, knows: bool) -> Vec<Member> {
    let mut members = Vec::new();
    for speaks in Speaks::ALL {
        for is_websocket in [false, true] {
            members.push(Guest::with(stage, node, speaks, is_websocket, knows));
        }
        let road = Road::streams(stage);
        let mut guest = Guest::polling_on(stage, speaks, "/socket.io/", road);
        let sid = guest.settle(stage, node, knows);
        members.push((guest, sid));
    }
    members
}

fn a_room_has_members_of_every_generation_and_transport(stage: &mut Stage) {
    stage.start(&http2::ini("max-deliveries = 4"));
    let node = stage.node_with("n1", "socket.io");
    let mut members = everybody(stage, node, true);
    join(stage, node, &members, "room");
    // Half of those that poll wait for it.
    for (guest, _) in members.iter_mut().step_by(6) {
        guest.poll(stage);
    }
    stage.settle();
    let speaker = members[4].1.clone();
    for number in 0..5 {
        stage.tell(node, &speaker, "room:socket.io/event", format!(r#"["all",{number}]"#));
    }
    stage.tell(node, &speaker, "noecho", "room");
    stage.tell(node, &speaker, "room:socket.io/event", r#"["others"]"#);
    for (place, (guest, sid)) in members.iter_mut().enumerate() {
        for number in 0..5 {
            guest.expect_event(stage, &format!(r#"["all",{number}]"#));
        }
        if place != 4 {
            guest.expect_event(stage, r#"["others"]"#);
        }
        guest.emit(stage, r#"["heard"]"#);
        stage.expect_message(node, sid, "socket.io/event", r#"["heard"]"#);
        guest.expect_nothing(stage);
    }
    assert_eq!(stage.snapshot().stats.deliveries, 6 * members.len() as u64 - 1);
}

fn messages_and_attachments_reach_everybody_as_it_takes_them(stage: &mut Stage) {
    stage.start(&http2::ini(""));
    let node = stage.node("n1");
    let mut members = everybody(stage, node, false);
    join(stage, node, &members, "room");
    let speaker = members[0].1.clone();
    stage.tell(node, &speaker, "room:socket.io/msg", "a \"text\"");
    stage.tell(node, &speaker, "room:socket.io/json", r#"{"a":1}"#);
    let body = b"2-[\"b\",{\"_placeholder\":true,\"num\":0}]\x00\xff";
    stage.tell(node, &speaker, "room:socket.io/event", body);
    for (guest, _) in &mut members {
        if guest.speaks.is_one() {
            guest.expect(stage, "3:::a \"text\"");
            guest.expect(stage, r#"4:::{"a":1}"#);
            guest.expect(stage, r#"5:::{"name":"b","args":[{"base64":true,"data":"AP8="}]}"#);
        } else {
            guest.expect(stage, r#"42["message","a \"text\""]"#);
            guest.expect(stage, r#"42["message",{"a":1}]"#);
            guest.expect(stage, r#"451-["b",{"_placeholder":true,"num":0}]"#);
            assert_eq!(guest.hear(stage), Packet::Binary(vec![0, 255]));
        }
    }
    stage.tell(node, &speaker, "room:socket.io/end", "");
    for (guest, _) in &mut members {
        guest.expect_farewell(stage);
    }
    let mut ended: Vec<_> = (0..members.len()).map(|_| stage.message(node)).collect();
    ended.sort_by(|a, b| a.sid.cmp(&b.sid));
    let mut sids: Vec<_> = members.iter().map(|(_, sid)| sid.clone()).collect();
    sids.sort();
    assert_eq!(ended.iter().map(|message| message.sid.clone()).collect::<Vec<_>>(), sids);
    assert!(ended.iter().all(|message| message.kind == "end"), "{ended:?}");
}

fn namespaces_part_a_room(stage: &mut Stage) {
    stage.start(&ini(""));
    let node = stage.node_with("n1", "socket.io");
    let mut members: Vec<Member> =
        [(Speaks::Five, false), (Speaks::Two, true), (Speaks::One, true), (Speaks::Five, true)]
            .map(|(speaks, is_websocket)| Guest::with(stage, node, speaks, is_websocket, true))
            .into();
    join(stage, node, &members, "room");
    // All but the last go to the chat.
    for (guest, sid) in &mut members[..3] {
        let (asks, has) = match guest.speaks.is_one() {
            true => ("1::/chat", "1::/chat"),
            false => ("40/chat", "40/chat"),
        };
        guest.say(stage, asks);
        let asked = stage.message(node);
        assert_eq!((&asked.kind[..], &asked.sid), ("socket.io/connect", &*sid));
        stage.tell(node, sid, "socket.io/connect", "/chat");
        let accepted = guest.hear_text(stage);
        assert!(accepted.starts_with(has), "{accepted}");
    }
    let speaker = members[3].1.clone();
    stage.tell(node, &speaker, "room:socket.io/event", r#"/chat,["chat"]"#);
    stage.tell(node, &speaker, "room:socket.io/event", r#"["main"]"#);
    for (guest, _) in &mut members[..3] {
        guest.expect(
            stage,
            if guest.speaks.is_one() { r#"5::/chat:{"name":"chat","args":[]}"# } else { r#"42/chat,["chat"]"# },
        );
        guest.expect_event(stage, r#"["main"]"#);
    }
    members[3].0.expect_event(stage, r#"["main"]"#);
    stage.counted(Cause::MessageUnfit, 1);
    // Who leaves it has the rest.
    stage.tell(node, &speaker, "room:socket.io/disconnect", "/chat,");
    for (guest, _) in &mut members[..3] {
        guest.expect(stage, if guest.speaks.is_one() { "0::/chat" } else { "41/chat," });
        guest.expect_nothing(stage);
    }
}

/// A node says things to many, and goes before all of it is out.
fn last_words(stage: &mut Stage, breaks: bool) {
    stage.start(&ini("max-deliveries = 1"));
    let node = stage.node_with("n1", "socket.io");
    let kinds = [(Speaks::Five, true), (Speaks::Two, false), (Speaks::One, true)];
    let mut members: Vec<Member> = (0..12)
        .map(|number| {
            let (speaks, is_websocket) = kinds[number % 3];
            Guest::with(stage, node, speaks, is_websocket, true)
        })
        .collect();
    join(stage, node, &members, "room");
    let other = stage.node_with("n2", "socket.io");
    for number in 0..20 {
        let speaker = members[number % members.len()].1.clone();
        stage.tell(node, &speaker, "room:socket.io/event", format!(r#"["all",{number}]"#));
        stage.tell(node, &speaker, "socket.io/event", format!(r#"["alone",{number}]"#));
    }
    let link = stage.as_client(node);
    if breaks {
        // What is on its way arrives before the reset does; what is not is lost with it.
        stage.until("all is sent".to_owned(), |stage| (stage.unsent(link) == 0).then_some(()));
        stage.settle();
        stage.reset(link);
    } else {
        stage.close(link);
    }
    let count = members.len();
    for (place, (guest, _)) in members.iter_mut().enumerate() {
        for number in 0..20 {
            guest.expect_event(stage, &format!(r#"["all",{number}]"#));
            if number % count == place {
                guest.expect_event(stage, &format!(r#"["alone",{number}]"#));
            }
        }
    }
    stage.lost("n1");
    for _ in 0..count {
        let request = stage.request(other);
        assert!(members.iter().any(|(_, sid)| *sid == request.sid));
        assert_eq!(request.get("REDISPATCHED"), Some("1"));
    }
    for (guest, sid) in &mut members {
        guest.emit(stage, r#"["on"]"#);
        stage.expect_message(other, sid, "socket.io/event", r#"["on"]"#);
    }
}

fn what_a_node_said_before_it_went_reaches_everybody(stage: &mut Stage) {
    last_words(stage, false);
}

fn what_a_node_said_before_its_link_broke_reaches_everybody(stage: &mut Stage) {
    last_words(stage, true);
}

fn a_large_room_gets_all_in_order_over_many_turns(stage: &mut Stage) {
    let count = if stage.is_virtual() { 120 } else { 300 };
    stage.start(&bulk("max-deliveries = 7\nsessions = 2000\nconnections = 2000\nping-freq = 100\nheartbeat = 100"));
    let node = stage.node("n1");
    let kinds = [(Speaks::Five, true), (Speaks::Two, true), (Speaks::Five, false), (Speaks::One, true)];
    let mut members: Vec<Member> = (0..count)
        .map(|number| {
            let (speaks, is_websocket) = kinds[number % 4];
            Guest::with(stage, node, speaks, is_websocket, false)
        })
        .collect();
    join(stage, node, &members, "room");
    let speaker = members[0].1.clone();
    for (number, (_, member)) in members.iter().take(20).enumerate() {
        stage.tell(node, &speaker, "room:socket.io/event", format!(r#"["n",{number}]"#));
        stage.tell(node, member, "socket.io/event", r#"["yours"]"#);
    }
    for (place, (guest, _)) in members.iter_mut().enumerate() {
        for number in 0..20 {
            guest.expect_event(stage, &format!(r#"["n",{number}]"#));
            if place == number {
                guest.expect_event(stage, r#"["yours"]"#);
            }
        }
    }
    let snapshot = stage.snapshot();
    assert_eq!(snapshot.stats.deliveries, 20 * count as u64);
    assert_eq!(snapshot.sessions, count);
}

fn a_slow_member_is_ended_alone(stage: &mut Stage) {
    stage.start(&bulk("writequeue-buffer = 300000\nslow-client = disconnect"));
    let node = stage.node_with("n1", "end-reason");
    for speaks in [Speaks::Five, Speaks::One] {
        let kinds = [(Speaks::Five, true), (Speaks::Two, false), (speaks, true), (Speaks::One, false)];
        let mut members: Vec<Member> =
            kinds.map(|(speaks, is_websocket)| Guest::with(stage, node, speaks, is_websocket, false)).into();
        join(stage, node, &members, "room");
        let slow = members[2].0.line();
        stage.forgive(slow);
        stage.pause(slow, true);
        let filling = "x".repeat(32 * 1024);
        let speaker = members[0].1.clone();
        for number in 0..300 {
            let event = format!("[\"{filling}\",{number}]");
            stage.tell(node, &speaker, "room:socket.io/event", &event);
            for place in [0, 1, 3] {
                members[place].0.expect_event(stage, &event);
            }
        }
        stage.expect_message(node, &members[2].1, "end", "slow-client");
        stage.pause(slow, false);
        for place in [0, 1, 3] {
            members[place].0.emit(stage, r#"["here"]"#);
            stage.message(node);
        }
        for (guest, sid) in &members {
            stage.tell(node, sid, "leave", "room");
            stage.forgive(guest.line());
        }
    }
}

fn who_polls_no_more_is_ended_when_too_much_waits(stage: &mut Stage) {
    stage.start(&bulk("writequeue-buffer = 300000"));
    let node = stage.node_with("n1", "end-reason");
    for speaks in [Speaks::Five, Speaks::TwoBinary, Speaks::One] {
        let (mut guest, sid) = Guest::with(stage, node, Speaks::Five, true, false);
        let memory = stage.snapshot().memory;
        let (away, away_sid) = Guest::with(stage, node, speaks, false, false);
        stage.tell(node, &sid, "join", "room");
        stage.tell(node, &away_sid, "join", "room");
        let filling = "x".repeat(32 * 1024);
        for number in 0..40 {
            let event = format!("[\"{filling}\",{number}]");
            stage.tell(node, &sid, "room:socket.io/event", &event);
            guest.expect_event(stage, &event);
        }
        stage.expect_message(node, &away_sid, "end", "slow-client");
        let late = stage.client_sends(super::get(&away.target("polling")));
        let (head, body) = stage.response(late);
        assert!(head.starts_with("HTTP/1.1 400 ") && body.starts_with(br#"{"code":1,"#), "{head}");
        stage.tell(node, &sid, "leave", "room");
        guest.expect_nothing(stage);
        assert_eq!(stage.snapshot().memory, memory);
        guest.say(stage, if guest.speaks.is_one() { "0::" } else { "1" });
        stage.expect_message(node, &sid, "end", "client-closed");
        stage.forgive(guest.line());
    }
}
