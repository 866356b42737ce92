//! Clients of socket.io whose connections break, and that come back.

use blastbeat_proto::error::Cause;
use blastbeat_proto::time::Duration;
use blastbeat_tests::socketio::{Packet, Speaks};
use blastbeat_tests::socketio_stage::{Guest, Road};
use blastbeat_tests::stage::{Node, Stage};

use super::{http2, ini};

mod stamped {
    blastbeat_tests::scenarios! {
        a_client_that_comes_back_has_its_session_and_what_it_missed
        it_may_come_back_by_another_transport
        who_missed_too_much_begins_anew
        who_stays_away_is_gone
        who_comes_back_before_it_was_missed_is_the_same
        who_is_away_when_its_node_goes_is_another_nodes
        namespaces_are_taken_up_one_by_one
        who_leaves_of_its_own_will_does_not_come_back
    }
}

const RECOVERY: &str = "socketio-recovery = 30";

/// A client that may come back.
struct Traveller {
    guest: Guest,
    sid: Vec<u8>,
    /// What it calls its socket.
    socket: String,
    /// What it shows when it comes back.
    private: String,
    /// The last event that it has seen.
    offset: String,
}

fn field(text: &str, name: &str) -> String {
    let found = text.split(&format!("\"{name}\":\"")).nth(1).unwrap_or_else(|| panic!("no {name} in {text}"));
    found.split('"').next().expect("a value").to_owned()
}

impl Traveller {
    fn new(stage: &mut Stage, node: Node, is_websocket: bool) -> Self {
        let road = Road::plain(stage);
        Self::by(stage, node, is_websocket, road)
    }

    fn by(stage: &mut Stage, node: Node, is_websocket: bool, road: Road) -> Self {
        let mut guest = arrive(stage, is_websocket, road);
        stage.expect_no_message(node);
        guest.say(stage, "40");
        let sid = stage.request(node).sid;
        stage.expect_message(node, &sid, "socket.io/connect", "");
        stage.tell(node, &sid, "socket.io/connect", "");
        let accepted = guest.hear_text(stage);
        Self { guest, sid, socket: field(&accepted, "sid"), private: field(&accepted, "pid"), offset: String::new() }
    }

    /// Hears an event, and remembers its offset.
    fn expect_event(&mut self, stage: &mut Stage, name: &str) {
        let text = self.guest.hear_text(stage);
        let start = format!("42[\"{name}\",");
        let offset = text.strip_prefix(&start).and_then(|rest| rest.strip_suffix(']'));
        self.offset =
            offset.unwrap_or_else(|| panic!("{name} should come with an offset: {text}")).trim_matches('"').into();
    }

    /// The connection of its WebSocket breaks.
    fn break_off(&mut self, stage: &mut Stage) {
        stage.reset(self.guest.line());
        stage.settle();
    }

    fn greeting(&self) -> String {
        match &self.offset[..] {
            "" => format!("40{{\"pid\":\"{}\"}}", self.private),
            offset => format!("40{{\"pid\":\"{}\",\"offset\":\"{offset}\"}}", self.private),
        }
    }

    /// Comes back by new connections, and is known.
    fn come_back(&mut self, stage: &mut Stage, is_websocket: bool, road: Road) {
        self.guest = arrive(stage, is_websocket, road);
        let greeting = self.greeting();
        self.guest.say(stage, &greeting);
        let accepted = self.guest.hear_text(stage);
        assert_eq!((field(&accepted, "sid"), field(&accepted, "pid")), (self.socket.clone(), self.private.clone()));
    }
}

fn arrive(stage: &mut Stage, is_websocket: bool, road: Road) -> Guest {
    match is_websocket {
        true => Guest::websocket_on(stage, Speaks::Five, "/socket.io/", road),
        false => Guest::polling_on(stage, Speaks::Five, "/socket.io/", road),
    }
}

fn a_client_that_comes_back_has_its_session_and_what_it_missed(stage: &mut Stage) {
    stage.start(&ini(RECOVERY));
    let node = stage.node_with("n1", "socket.io");
    let mut traveller = Traveller::new(stage, node, true);
    let other = Traveller::new(stage, node, true);
    let sid = traveller.sid.clone();
    stage.tell(node, &sid, "join", "room");
    stage.tell(node, &sid, "socket.io/event", r#"["one"]"#);
    traveller.expect_event(stage, "one");
    for round in 0..2 {
        traveller.break_off(stage);
        stage.tell(node, &sid, "socket.io/event", r#"["two"]"#);
        stage.tell(node, &other.sid, "room:socket.io/event", r#"["three"]"#);
        let binary = b"1-[\"four\",{\"_placeholder\":true,\"num\":0}]\x07";
        stage.tell(node, &sid, "socket.io/event", binary);
        stage.settle();
        stage.advance(Duration::from_secs(1));
        let road = Road::plain(stage);
        traveller.come_back(stage, true, road);
        traveller.expect_event(stage, "two");
        traveller.expect_event(stage, "three");
        let text = traveller.guest.hear_text(stage);
        assert!(text.starts_with(r#"451-["four",{"_placeholder":true,"num":0},"#), "{text}");
        assert_eq!(traveller.guest.hear(stage), Packet::Binary(vec![7]));
        stage.tell(node, &sid, "socket.io/event", r#"["five"]"#);
        traveller.expect_event(stage, "five");
        // Its node has noticed nothing.
        stage.expect_no_message(node);
        traveller.guest.say(stage, &format!("42[\"back\",{round}]"));
        stage.expect_message(node, &sid, "socket.io/event", format!("[\"back\",{round}]"));
    }
    let snapshot = stage.snapshot();
    assert_eq!((snapshot.sessions, snapshot.stats.recovered), (2, 2));
}

fn it_may_come_back_by_another_transport(stage: &mut Stage) {
    stage.start(&http2::ini(RECOVERY));
    let node = stage.node_with("n1", "socket.io");
    let mut traveller = Traveller::new(stage, node, true);
    let sid = traveller.sid.clone();
    stage.tell(node, &sid, "socket.io/event", r#"["one"]"#);
    traveller.expect_event(stage, "one");
    traveller.break_off(stage);
    stage.tell(node, &sid, "socket.io/event", r#"["two"]"#);
    // By requests, then on to a WebSocket; on HTTP/1, then on HTTP/2.
    for round in 0..2 {
        let road = if round == 0 { Road::plain(stage) } else { Road::streams(stage) };
        traveller.come_back(stage, false, road);
        if round == 0 {
            traveller.expect_event(stage, "two");
        } else {
            traveller.expect_event(stage, "three");
        }
        traveller.guest.emit(stage, r#"["posted"]"#);
        stage.expect_message(node, &sid, "socket.io/event", r#"["posted"]"#);
        traveller.guest.poll(stage);
        traveller.guest.probe(stage);
        traveller.guest.upgrade(stage);
        traveller.guest.emit(stage, r#"["sent"]"#);
        stage.expect_message(node, &sid, "socket.io/event", r#"["sent"]"#);
        if round == 0 {
            traveller.break_off(stage);
            stage.tell(node, &sid, "socket.io/event", r#"["three"]"#);
        }
    }
    assert_eq!(stage.snapshot().sessions, 1);
}

fn who_missed_too_much_begins_anew(stage: &mut Stage) {
    stage.start(&ini("socketio-recovery = 30\nsocketio-recovery-buffer = 2000"));
    let node = stage.node_with("n1", "socket.io end-reason");
    let mut traveller = Traveller::new(stage, node, true);
    let sid = traveller.sid.clone();
    stage.tell(node, &sid, "socket.io/event", r#"["one"]"#);
    traveller.expect_event(stage, "one");
    traveller.break_off(stage);
    let memory = stage.snapshot().memory;
    for _ in 0..100 {
        stage.tell(node, &sid, "socket.io/event", format!("[\"{}\"]", "x".repeat(100)));
    }
    stage.settle();
    let grown = stage.snapshot().memory - memory;
    assert!(grown < 4000, "{grown} bytes are kept");
    let greeting = traveller.greeting();
    let mut guest = Guest::websocket(stage, Speaks::Five);
    guest.say(stage, &greeting);
    stage.expect_message(node, &sid, "end", "recovery-buffer-full");
    let new = stage.request(node).sid;
    assert_ne!(new, sid);
    let asked = stage.message(node);
    assert_eq!((&asked.sid, &asked.kind[..]), (&new, "socket.io/connect"));
    stage.tell(node, &new, "socket.io/connect", "");
    let accepted = guest.hear_text(stage);
    assert_ne!(field(&accepted, "pid"), traveller.private);
    assert_eq!(stage.snapshot().sessions, 1);
}

fn who_stays_away_is_gone(stage: &mut Stage) {
    stage.start(&ini("socketio-recovery = 0.5"));
    let node = stage.node_with("n1", "socket.io end-reason");
    let mut traveller = Traveller::new(stage, node, true);
    let sid = traveller.sid.clone();
    traveller.break_off(stage);
    stage.tell(node, &sid, "socket.io/event", r#"["missed"]"#);
    stage.advance(Duration::from_secs(1));
    stage.expect_message(node, &sid, "end", "recovery-timeout");
    assert_eq!(stage.snapshot().sessions, 0);
    assert_eq!(stage.snapshot().memory, 0);
    let mut guest = Guest::websocket(stage, Speaks::Five);
    guest.say(stage, &traveller.greeting());
    assert_ne!(stage.request(node).sid, sid);
    stage.message(node);
}

fn who_comes_back_before_it_was_missed_is_the_same(stage: &mut Stage) {
    stage.start(&ini(RECOVERY));
    let node = stage.node_with("n1", "socket.io");
    for is_websocket in [true, false] {
        let mut traveller = Traveller::new(stage, node, is_websocket);
        let sid = traveller.sid.clone();
        stage.tell(node, &sid, "socket.io/event", r#"["one"]"#);
        traveller.expect_event(stage, "one");
        // Its network is gone without a word, and the server has not noticed.
        let (old, post) = (traveller.guest.line(), traveller.guest.post_line());
        let road = Road::plain(stage);
        traveller.come_back(stage, true, road);
        stage.tell(node, &sid, "socket.io/event", r#"["two"]"#);
        traveller.expect_event(stage, "two");
        traveller.guest.emit(stage, r#"["back"]"#);
        stage.expect_message(node, &sid, "socket.io/event", r#"["back"]"#);
        stage.close(old);
        stage.close(post);
        stage.settle();
        stage.tell(node, &sid, "socket.io/event", r#"["three"]"#);
        traveller.expect_event(stage, "three");
        stage.expect_no_message(node);
    }
    assert_eq!(stage.snapshot().sessions, 2);
}

fn who_is_away_when_its_node_goes_is_another_nodes(stage: &mut Stage) {
    stage.start(&ini(RECOVERY));
    let one = stage.node_with("n1", "socket.io");
    let mut travellers = [0; 2].map(|_| Traveller::new(stage, one, true));
    travellers.iter_mut().for_each(|traveller| traveller.break_off(stage));
    let two = stage.node_with("n2", "socket.io");
    for (name, node) in [("n1", one), ("n2", two)] {
        let link = stage.as_client(node);
        stage.reset(link);
        stage.lost(name);
        if name == "n1" {
            for _ in 0..2 {
                stage.request(two);
            }
            stage.tell(two, &travellers[0].sid, "socket.io/event", r#"["from two"]"#);
            stage.settle();
        }
    }
    // Nobody serves them, and one comes back before anybody does.
    let road = Road::plain(stage);
    travellers[0].come_back(stage, true, road);
    travellers[0].expect_event(stage, "from two");
    let three = stage.node_with("n3", "socket.io");
    for _ in 0..2 {
        stage.request(three);
    }
    let road = Road::plain(stage);
    travellers[1].come_back(stage, false, road);
    for traveller in &mut travellers {
        traveller.guest.emit(stage, r#"["on"]"#);
        stage.expect_message(three, &traveller.sid, "socket.io/event", r#"["on"]"#);
    }
    assert_eq!(stage.snapshot().stats.recovered, 2);
}

fn namespaces_are_taken_up_one_by_one(stage: &mut Stage) {
    stage.start(&ini("socketio-recovery = 30\nsocketio-connect-timeout = 0.5"));
    let node = stage.node_with("n1", "socket.io");
    let mut traveller = Traveller::new(stage, node, true);
    let sid = traveller.sid.clone();
    for namespace in ["/chat", "/news"] {
        traveller.guest.say(stage, &format!("40{namespace},"));
        stage.expect_message(node, &sid, "socket.io/connect", format!("{namespace},"));
        stage.tell(node, &sid, "socket.io/connect", namespace);
        let accepted = traveller.guest.hear_text(stage);
        assert!(accepted.starts_with(&format!("40{namespace},")), "{accepted}");
    }
    traveller.break_off(stage);
    stage.tell(node, &sid, "socket.io/event", r#"/chat,["in chat"]"#);
    stage.tell(node, &sid, "socket.io/event", r#"["in main"]"#);
    stage.settle();
    let mut guest = Guest::websocket(stage, Speaks::Five);
    guest.say(stage, &format!("40/chat,{{\"pid\":\"{}\"}}", traveller.private));
    let accepted = guest.hear_text(stage);
    assert!(accepted.starts_with("40/chat,"), "{accepted}");
    let missed = guest.hear_text(stage);
    assert!(missed.starts_with(r#"42/chat,["in chat","#), "{missed}");
    guest.say(stage, &format!("40{{\"pid\":\"{}\"}}", traveller.private));
    let accepted = guest.hear_text(stage);
    assert!(accepted.starts_with("40{"), "{accepted}");
    let missed = guest.hear_text(stage);
    assert!(missed.starts_with(r#"42["in main","#), "{missed}");
    stage.expect_no_message(node);
    // The third it does not want any more.
    stage.advance(Duration::from_secs(1));
    let left = stage.message(node);
    assert_eq!((&left.sid, &left.kind[..]), (&sid, "socket.io/disconnect"));
    assert!(left.body.starts_with(b"/news,"), "{left:?}");
}

fn who_leaves_of_its_own_will_does_not_come_back(stage: &mut Stage) {
    stage.start(&ini(RECOVERY));
    let node = stage.node_with("n1", "socket.io end-reason");
    for word in ["1", "41"] {
        let mut traveller = Traveller::new(stage, node, true);
        let sid = traveller.sid.clone();
        traveller.guest.say(stage, word);
        if word == "41" {
            stage.expect_message(node, &sid, "socket.io/disconnect", r#""client namespace disconnect""#);
            stage.close(traveller.guest.line());
        }
        assert_eq!(stage.message(node).kind, "end");
        stage.forgive(traveller.guest.line());
    }
    // Nor does one that its node has sent away.
    let mut traveller = Traveller::new(stage, node, true);
    let sid = traveller.sid.clone();
    stage.tell(node, &sid, "socket.io/end", "");
    traveller.guest.expect(stage, "41");
    traveller.guest.expect_close(stage, 1000);
    stage.expect_message(node, &sid, "end", "complete");
    stage.counted(Cause::RecoveryTimeout, 0);
    assert_eq!(stage.snapshot().sessions, 0);
}
