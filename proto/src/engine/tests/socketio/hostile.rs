//! Clients and nodes that want too much, or do things at the wrong time.

use super::*;

fn lose(world: &mut World, link: LinkId) {
    world.engine.handle(Input::Failed { link, why: std::io::ErrorKind::ConnectionReset }, world.now);
    world.run();
}

#[test]
fn a_connection_whose_post_waited_for_a_node_that_was_lost_is_read_again() {
    let ini = INI.replace("zmq", "node-queue-high = 1000\nzmq");
    let (mut world, mut one) = world(&ini, b"");
    let first = world.client(&get(FIVE_POLLING));
    one.request(&mut world);
    let id = id_of(&answer(&mut world, first).1);
    let target = format!("{FIVE_POLLING}&sid={id}");
    let link = world.client(&post(&target, "40"));
    assert_eq!(answer(&mut world, link), (200, "ok".into()));
    let mut two = knowing(&mut world, "two", b"");
    // Nothing is written to its node meanwhile.
    let event = format!("42[\"{}\"]", "x".repeat(2000));
    world.engine.handle(Input::Received { link, bytes: post(&target, &event).as_bytes() }, world.now);
    lose(&mut world, one.link);
    assert_eq!(answer(&mut world, link), (200, "ok".into()));
    two.receive(&mut world);
    assert!(world.engine.interest(link).read, "its next request is read");
    world.receive(link, post(&target, r#"42["next"]"#).as_bytes());
    assert_eq!(answer(&mut world, link), (200, "ok".into()));
    assert_eq!(heard(&mut world, &mut two), [said("socket.io/event", r#"{"name":"next","args":[]}"#)]);
}

#[test]
fn a_client_of_engine_io_alone_has_a_node_before_it_says_anything() {
    let ini = INI.replace("zmq", "engineio = /engine.io/ 4 3\nsocketio-recovery = 60\nzmq");
    let (mut world, mut node) = world(&ini, b"");
    for target in ["/engine.io/?EIO=4&transport=websocket", "/engine.io/?EIO=3&transport=websocket"] {
        let link = world.client(&open(target));
        let sid = node.request(&mut world);
        node.send(&mut world, &sid, "websocket", b"welcome");
        assert_eq!(frames(&mut world, link).last().unwrap(), &(1, b"4welcome".to_vec()), "{target}");
    }
}

#[test]
fn attachments_that_never_end_are_bounded_by_the_memory_of_all() {
    let ini = INI.replace("zmq", "memory = 2\nzmq");
    let (mut world, mut node) = world(&ini, KNOWS);
    let clients: Vec<_> = (0..3).map(|_| connected(&mut world, &mut node).0).collect();
    let places: String = (0..99).map(|number| format!(r#",{{"_placeholder":true,"num":{number}}}"#)).collect();
    for link in &clients {
        world.receive(*link, &text(&format!(r#"4599-["b"{places}]"#)));
    }
    let piece = frame(2, &[b'x'; 60_000]);
    for _ in 0..98 {
        for link in clients.iter().filter(|link| !world.shut.contains_key(link)).copied().collect::<Vec<_>>() {
            world.receive(link, &piece);
        }
        let memory = world.engine.snapshot().memory;
        assert!(memory < 4 * 1024 * 1024, "{memory} bytes are held");
    }
}

#[test]
fn a_client_that_does_not_poll_does_not_hold_up_a_drain() {
    let (mut world, mut node) = world(INI, b"");
    let link = world.client(&get(FIVE_POLLING));
    node.request(&mut world);
    answer(&mut world, link);
    let before = world.now;
    world.engine.handle(Input::Control(Control::Drain), world.now);
    world.run();
    // Its connection was idle, and is closed; there are no listeners for another.
    while world.engine.snapshot().sessions > 0 {
        world.pass(Duration::from_millis(500));
        assert!(world.now.since(before) < Duration::from_secs(2), "it can be told nothing any more");
    }
}

#[test]
fn handshakes_that_nobody_goes_on_with_leave_nothing_behind() {
    let ini = INI.replace("zmq", "socketio-recovery = 60\nzmq");
    let (mut world, mut node) = world(&ini, b"");
    for round in 0..100 {
        let targets = [FIVE_POLLING, "/socket.io/?EIO=3&transport=polling&j=0", "/socket.io/1/"];
        let link = world.client(&get(targets[round % 3]));
        lose(&mut world, link);
        let link = world.client(&open(FIVE));
        if round % 2 == 0 {
            world.receive(link, &text("40"));
        }
        lose(&mut world, link);
    }
    node.receive(&mut world);
    for _ in 0..120 {
        world.pass(Duration::from_secs(1));
        node.send(&mut world, b"", "pong", b"");
    }
    node.receive(&mut world);
    let snapshot = world.engine.snapshot();
    assert_eq!((snapshot.sessions, world.engine.socketio.errands()), (0, 0));
    let charged = world.engine.links.iter().map(|(_, link)| link.charged).sum::<usize>();
    assert_eq!(snapshot.memory, charged, "nothing but the node's link holds any");
}

#[test]
fn clients_that_come_and_go_without_a_node_leave_nothing_behind() {
    let ini = INI.replace("zmq", "socketio-recovery = 60\nzmq");
    let mut world = World::new(&ini);
    for _ in 0..1000 {
        let link = world.client(&open(FIVE));
        world.receive(link, &text("40"));
        lose(&mut world, link);
    }
    assert_eq!(world.engine.snapshot().sessions, 0);
    assert!(world.engine.hosts.list[0].asleep.len() < 20, "{} sleep", world.engine.hosts.list[0].asleep.len());
}

#[test]
fn a_poll_of_a_client_that_is_away_is_answered() {
    let ini = INI.replace("zmq", "socketio-recovery = 60\nzmq");
    let (mut world, mut node) = world(&ini, KNOWS);
    let first = world.client(&get(FIVE_POLLING));
    let id = id_of(&answer(&mut world, first).1);
    let target = format!("{FIVE_POLLING}&sid={id}");
    let link = world.client(&post(&target, "40"));
    let sid = node.receive(&mut world)[0].0.clone();
    node.send(&mut world, &sid, "socket.io/connect", b"");
    answer(&mut world, link);
    for _ in 0..50 {
        world.pass(Duration::from_secs(1));
        node.send(&mut world, b"", "pong", b"");
    }
    assert_eq!(world.engine.snapshot().sessions, 1, "it may come back");
    for request in [get(&target), post(&target, "42[\"a\"]")] {
        let link = world.client(&request);
        let (status, _) = answer(&mut world, link);
        assert_eq!(status, 400, "what it says is not heard, and it is told so");
    }
}

#[test]
fn requests_that_are_sent_again_and_again_are_answered_each() {
    let (mut world, mut node) = world(INI, b"");
    let first = world.client(&get(FIVE_POLLING));
    node.request(&mut world);
    let id = id_of(&answer(&mut world, first).1);
    let target = format!("{FIVE_POLLING}&sid={id}");
    // The first half of a POST holds its place; a second ends the client, and both are answered.
    let whole = post(&target, "42[\"a\"]");
    let half = world.client(&whole[..whole.len() - 3]);
    let second = world.client(&whole);
    let poll = world.client(&get(&target));
    assert_eq!(answer(&mut world, second).0, 400);
    assert_eq!(answer(&mut world, poll).0, 400);
    assert_eq!(answer(&mut world, half).0, 400);
    assert_eq!(world.engine.snapshot().sessions, 0);
    world.receive(half, &whole.as_bytes()[whole.len() - 3..]);
    let heard = heard(&mut world, &mut node);
    assert_eq!(heard.last().map(|(kind, _)| kind.as_str()), Some("end"));
    assert!(heard.iter().all(|(kind, _)| kind != "socket.io/event"), "{heard:?}");
}

#[test]
fn a_farewell_outlasts_the_inactivity_of_its_session() {
    let (mut world, mut node) = world(INI, KNOWS);
    let link = world.client(&get(FIVE_POLLING));
    let sid = node.request(&mut world);
    let id = id_of(&answer(&mut world, link).1);
    world.client(&post(&format!("{FIVE_POLLING}&sid={id}"), "40"));
    node.send(&mut world, &sid, "socket.io/connect", b"");
    node.send(&mut world, &sid, "timeout", b"1");
    node.send(&mut world, &sid, "socket.io/end", b"");
    for _ in 0..3 {
        world.pass(Duration::from_secs(1));
        assert!(world.engine.poll_timeout().is_none_or(|wake| wake.at > world.now), "what is over is over");
        node.send(&mut world, b"", "pong", b"");
    }
    let link = world.client(&get(&format!("{FIVE_POLLING}&sid={id}")));
    assert_eq!(answer(&mut world, link).0, 200, "it is told");
}
