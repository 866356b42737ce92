//! Clients of socket.io on their way from polling to a WebSocket.

use blastbeat_proto::error::Cause;
use blastbeat_proto::time::Duration;
use blastbeat_tests::frames::{self, CLOSE, Frame, TEXT};
use blastbeat_tests::socketio::{Packet, Speaks};
use blastbeat_tests::socketio_stage::{Guest, Road};
use blastbeat_tests::stage::{Node, Stage};

use super::{get, http2, ini};

mod stamped {
    blastbeat_tests::scenarios! {
        events_on_their_way_are_neither_lost_nor_doubled
        the_same_on_streams_of_one_connection
        a_probe_and_the_upgrade_may_come_together
        a_probe_that_breaks_leaves_the_polls_as_they_were
        a_probe_that_does_nothing_is_closed_in_time
        requests_of_who_has_a_websocket_are_refused
        who_has_upgraded_goes_with_its_websocket
        the_first_generation_may_change_its_transport_at_any_time
    }
}

/// Both directions of a conversation, whose events are numbered.
struct Talk {
    node: Node,
    sid: Vec<u8>,
    said: usize,
    told: usize,
}

impl Talk {
    fn new(stage: &mut Stage, node: Node, guest: &mut Guest) -> Self {
        let sid = guest.settle(stage, node, true);
        Self { node, sid, said: 0, told: 0 }
    }

    /// The guest says its next.
    fn say(&mut self, stage: &mut Stage, guest: &mut Guest) {
        self.said += 1;
        guest.emit(stage, &format!("[\"n\",{}]", self.said));
    }

    /// The node tells the guest its next.
    fn tell(&mut self, stage: &mut Stage) {
        self.told += 1;
        stage.tell(self.node, &self.sid, "socket.io/event", format!("[\"n\",{}]", self.told));
    }

    /// All has come, once and in order.
    fn check(&mut self, stage: &mut Stage, guest: &mut Guest) {
        for number in 1..=self.said {
            stage.expect_message(self.node, &self.sid, "socket.io/event", format!("[\"n\",{number}]"));
        }
        for number in 1..=self.told {
            guest.expect_event(stage, &format!("[\"n\",{number}]"));
        }
        guest.expect_nothing(stage);
        stage.expect_no_message(self.node);
    }
}

fn upgrade_in_the_middle(stage: &mut Stage, node: Node, guest: &mut Guest) {
    let mut talk = Talk::new(stage, node, guest);
    talk.tell(stage);
    talk.say(stage, guest);
    guest.poll(stage);
    // A POST is under way while the WebSocket opens.
    talk.said += 1;
    let event = guest.speaks.event(&format!("[\"n\",{}]", talk.said));
    guest.post(stage, &[Packet::text(event)]);
    guest.probe(stage);
    guest.expect_posted(stage);
    for _ in 0..3 {
        // No events go by polling any more, but requests still bring what the client has said.
        talk.tell(stage);
        talk.say(stage, guest);
    }
    talk.tell(stage);
    guest.upgrade(stage);
    for _ in 0..3 {
        talk.tell(stage);
        talk.say(stage, guest);
    }
    talk.check(stage, guest);
}

fn events_on_their_way_are_neither_lost_nor_doubled(stage: &mut Stage) {
    stage.start(&ini(""));
    let node = stage.node_with("n1", "socket.io");
    for speaks in [Speaks::Five, Speaks::Two, Speaks::TwoBinary, Speaks::TwoScripts] {
        let mut guest = Guest::polling(stage, speaks);
        upgrade_in_the_middle(stage, node, &mut guest);
    }
    assert_eq!(stage.snapshot().sessions, 4);
}

fn the_same_on_streams_of_one_connection(stage: &mut Stage) {
    stage.start(&http2::ini(""));
    let node = stage.node_with("n1", "socket.io");
    for speaks in [Speaks::Five, Speaks::TwoBinary] {
        let road = Road::streams(stage);
        let mut guest = Guest::polling_on(stage, speaks, "/socket.io/", road);
        upgrade_in_the_middle(stage, node, &mut guest);
    }
    assert_eq!(stage.snapshot().sessions, 2);
}

fn a_probe_and_the_upgrade_may_come_together(stage: &mut Stage) {
    stage.start(&ini(""));
    let node = stage.node_with("n1", "socket.io");
    let (mut guest, sid) = Guest::with(stage, node, Speaks::Five, false, true);
    guest.poll(stage);
    stage.settle();
    // All at once, and an event behind it.
    let texts = ["2probe", "5", "42[\"first\"]"];
    let all = texts.map(|text| Frame::new(TEXT, text).masked()).concat();
    let request = frames::request(&guest.target("websocket"), "");
    let client = stage.client_sends([request.as_bytes(), &all].concat());
    stage.expect(client, frames::SWITCHING);
    stage.expect_frame(client, &Frame::new(TEXT, "3probe"));
    assert_eq!(guest.polled(stage).text(), "6");
    stage.expect_message(node, &sid, "socket.io/event", r#"["first"]"#);
    stage.tell(node, &sid, "socket.io/event", r#"["back"]"#);
    stage.expect_frame(client, &Frame::new(TEXT, r#"42["back"]"#));
}

fn a_probe_that_breaks_leaves_the_polls_as_they_were(stage: &mut Stage) {
    stage.start(&ini(""));
    let node = stage.node_with("n1", "socket.io");
    let (mut guest, sid) = Guest::with(stage, node, Speaks::Five, false, true);
    for round in 0..3 {
        guest.poll(stage);
        guest.probe(stage);
        assert_eq!(guest.polled(stage).text(), "6");
        let line = guest.probe_line();
        stage.tell(node, &sid, "socket.io/event", r#"["kept"]"#);
        match round {
            0 => stage.reset(line),
            1 => stage.close(line),
            _ => {
                // What it says makes no sense.
                stage.send_frame(line, &Frame::new(TEXT, "4nonsense"));
                let close = stage.frame(line);
                assert_eq!(close.opcode, CLOSE, "{close:?}");
                stage.close(line);
            }
        }
        stage.settle();
        guest.emit(stage, r#"["here"]"#);
        stage.expect_message(node, &sid, "socket.io/event", r#"["here"]"#);
        guest.expect_event(stage, r#"["kept"]"#);
    }
    // One at a time.
    guest.probe(stage);
    let second = stage.opens(&guest.target("websocket"));
    stage.expect(second, frames::SWITCHING);
    assert_eq!(stage.frame(second).opcode, CLOSE, "opened, and closed at once");
    stage.close(second);
    guest.upgrade(stage);
    stage.tell(node, &sid, "socket.io/event", r#"["at last"]"#);
    guest.expect_event(stage, r#"["at last"]"#);
    assert_eq!(stage.snapshot().sessions, 1);
}

fn a_probe_that_does_nothing_is_closed_in_time(stage: &mut Stage) {
    stage.start(&ini("socketio-upgrade-timeout = 0.3"));
    let node = stage.node_with("n1", "socket.io");
    let (mut guest, sid) = Guest::with(stage, node, Speaks::Five, false, true);
    let silent = stage.opens(&guest.target("websocket"));
    stage.expect(silent, frames::SWITCHING);
    stage.advance(Duration::from_millis(400));
    let close = stage.frame(silent);
    assert_eq!(close.opcode, CLOSE, "{close:?}");
    stage.close(silent);
    stage.counted(Cause::UpgradeTimeout, 1);
    guest.probe(stage);
    let probed = guest.probe_line();
    stage.tell(node, &sid, "socket.io/event", r#"["kept"]"#);
    stage.advance(Duration::from_millis(400));
    assert_eq!(stage.frame(probed).opcode, CLOSE);
    stage.close(probed);
    guest.expect_event(stage, r#"["kept"]"#);
    stage.counted(Cause::UpgradeTimeout, 2);
    stage.settle();
    guest.probe(stage);
    guest.upgrade(stage);
    stage.tell(node, &sid, "socket.io/event", r#"["at last"]"#);
    guest.expect_event(stage, r#"["at last"]"#);
}

fn requests_of_who_has_a_websocket_are_refused(stage: &mut Stage) {
    stage.start(&ini(""));
    let node = stage.node_with("n1", "socket.io");
    for speaks in [Speaks::Five, Speaks::Two] {
        let (mut guest, sid) = Guest::with(stage, node, speaks, true, true);
        guest.poll(stage);
        let answer = guest.polled(stage);
        assert_eq!((answer.status, answer.text()), (400, r#"{"code":3,"message":"Bad request"}"#));
        guest.post(stage, &[Packet::text("42[\"late\"]")]);
        assert_eq!(guest.posted(stage).status, 400);
        let second = stage.opens(&guest.target("websocket"));
        stage.expect(second, frames::SWITCHING);
        assert_eq!(stage.frame(second).opcode, CLOSE, "opened, and closed at once");
        stage.close(second);
        guest.emit(stage, r#"["only"]"#);
        stage.expect_message(node, &sid, "socket.io/event", r#"["only"]"#);
    }
    stage.expect_no_message(node);
}

fn who_has_upgraded_goes_with_its_websocket(stage: &mut Stage) {
    stage.start(&ini(""));
    let node = stage.node_with("n1", "socket.io end-reason");
    for breaks in [true, false] {
        let (mut guest, sid) = Guest::with(stage, node, Speaks::Five, false, true);
        guest.probe(stage);
        guest.upgrade(stage);
        guest.emit(stage, r#"["last"]"#);
        stage.expect_message(node, &sid, "socket.io/event", r#"["last"]"#);
        let line = guest.line();
        if breaks {
            stage.reset(line)
        } else {
            stage.close(line)
        }
        stage.expect_message(node, &sid, "end", "client-gone");
        let late = stage.client_sends(get(&guest.target("polling")));
        let (head, body) = stage.response(late);
        assert!(head.starts_with("HTTP/1.1 400 ") && body.starts_with(br#"{"code":1,"#), "{head}");
    }
}

fn the_first_generation_may_change_its_transport_at_any_time(stage: &mut Stage) {
    stage.start(&ini(""));
    let node = stage.node_with("n1", "socket.io");
    let mut guest = Guest::polling(stage, Speaks::One);
    let mut talk = Talk::new(stage, node, &mut guest);
    talk.say(stage, &mut guest);
    talk.tell(stage);
    guest.poll(stage);
    stage.settle();
    guest.expect_event(stage, "[\"n\",1]");
    talk.told = 0;
    guest.probe(stage);
    stage.tell(node, &talk.sid, "socket.io/event", r#"["by its WebSocket"]"#);
    guest.expect_event(stage, r#"["by its WebSocket"]"#);
    talk.say(stage, &mut guest);
    talk.check(stage, &mut guest);
}
