//! Clients that poll.

use super::*;

/// A client that polls, with the main namespace: its id and its node's.
fn polling(world: &mut World, node: &mut Node) -> (String, Vec<u8>) {
    let link = world.client(&get(FIVE_POLLING));
    let sid = node.request(world);
    let (status, opening) = answer(world, link);
    assert_eq!(status, 200);
    let id = id_of(&opening);
    let link = world.client(&post(&with(&id), "40"));
    node.receive(world);
    assert_eq!(answer(world, link), (200, "ok".into()));
    node.send(world, &sid, "socket.io/connect", b"");
    let link = world.client(&get(&with(&id)));
    let (_, accepted) = answer(world, link);
    assert!(accepted.starts_with("40{"), "{accepted}");
    (id, sid)
}

fn with(id: &str) -> String {
    format!("{FIVE_POLLING}&sid={id}")
}

#[test]
fn what_waits_comes_with_one_poll_and_a_poll_waits_for_what_comes() {
    let (mut world, mut node) = world(INI, KNOWS);
    let (id, sid) = polling(&mut world, &mut node);
    node.send(&mut world, &sid, "socket.io/event", br#"["a"]"#);
    node.send(&mut world, &sid, "socket.io/event", br#"["b"]"#);
    let link = world.client(&get(&with(&id)));
    assert_eq!(answer(&mut world, link), (200, "42[\"a\"]\u{1e}42[\"b\"]".into()));
    let link = world.client(&get(&with(&id)));
    assert_eq!(world.read(link), "");
    node.send(&mut world, &sid, "socket.io/event", br#"["c"]"#);
    assert_eq!(answer(&mut world, link), (200, r#"42["c"]"#.into()));
    assert_eq!(world.engine.snapshot().sessions, 1);
}

#[test]
fn a_poll_whose_client_hangs_up_is_no_end() {
    let (mut world, mut node) = world(INI, KNOWS);
    let (id, sid) = polling(&mut world, &mut node);
    let link = world.client(&get(&with(&id)));
    world.engine.handle(Input::Failed { link, why: std::io::ErrorKind::ConnectionReset }, world.now);
    world.run();
    node.send(&mut world, &sid, "socket.io/event", br#"["c"]"#);
    let link = world.client(&get(&with(&id)));
    assert_eq!(answer(&mut world, link), (200, r#"42["c"]"#.into()));
}

#[test]
fn a_poll_on_top_of_a_poll_ends_the_client() {
    let (mut world, mut node) = world(INI, KNOWS);
    let (id, _) = polling(&mut world, &mut node);
    let first = world.client(&get(&with(&id)));
    let second = world.client(&get(&with(&id)));
    assert_eq!(answer(&mut world, first), (200, "1".into()));
    assert_eq!(answer(&mut world, second).0, 400);
    assert_eq!(heard(&mut world, &mut node), [said("end", "request-overlap")]);
    let third = world.client(&get(&with(&id)));
    assert_eq!(answer(&mut world, third), (400, r#"{"code":1,"message":"Session ID unknown"}"#.into()));
}

#[test]
fn a_node_that_ends_the_session_is_heard_with_the_next_poll() {
    let (mut world, mut node) = world(INI, KNOWS);
    let (id, sid) = polling(&mut world, &mut node);
    node.send(&mut world, &sid, "socket.io/end", b"");
    let link = world.client(&get(&with(&id)));
    let (status, last) = answer(&mut world, link);
    assert_eq!((status, last.as_str()), (200, "41"));
    let link = world.client(&get(&with(&id)));
    assert_eq!(answer(&mut world, link), (200, "1".into()), "its client closes before it hears this, as a rule");
    assert_eq!(heard(&mut world, &mut node), [said("end", "complete")]);
    assert_eq!(world.engine.snapshot().sessions, 0);
}

#[test]
fn who_polls_no_more_is_missed_in_time() {
    let (mut world, mut node) = world(INI, KNOWS);
    let (id, _) = polling(&mut world, &mut node);
    for _ in 0..46 {
        world.pass(Duration::from_secs(1));
        node.send(&mut world, b"", "pong", b"");
    }
    let heard = heard(&mut world, &mut node);
    assert!(heard.contains(&said("end", "ping-timeout")), "{heard:?}");
    let link = world.client(&get(&with(&id)));
    assert_eq!(answer(&mut world, link).0, 400);
}

#[test]
fn a_body_over_the_limit_is_refused_and_the_client_lives() {
    let ini = INI.replace("zmq", "socketio-max-payload = 1000\nzmq");
    let (mut world, mut node) = world(&ini, KNOWS);
    let (id, _) = polling(&mut world, &mut node);
    let link = world.client(&post(&with(&id), &"x".repeat(1001)));
    assert_eq!(answer(&mut world, link).0, 413);
    let link = world.client(&post(&with(&id), r#"42["a"]"#));
    assert_eq!(answer(&mut world, link), (200, "ok".into()));
    assert_eq!(heard(&mut world, &mut node), [said("socket.io/event", r#"["a"]"#)]);
}

#[test]
fn what_is_no_packet_ends_the_client() {
    let (mut world, mut node) = world(INI, KNOWS);
    let (id, _) = polling(&mut world, &mut node);
    let link = world.client(&post(&with(&id), "abc"));
    assert_eq!(answer(&mut world, link), (400, r#"{"code":3,"message":"Bad request"}"#.into()));
    assert_eq!(heard(&mut world, &mut node), [said("end", "packet-malformed")]);
}

#[test]
fn the_first_generation_has_its_handshake_and_its_transports() {
    let (mut world, mut node) = world(INI, b"");
    let link = world.client(&get("/socket.io/1/?t=1"));
    let sid = node.request(&mut world);
    let (status, line) = answer(&mut world, link);
    assert_eq!(status, 200);
    let id = line.split(':').next().unwrap().to_owned();
    let target = format!("/socket.io/1/xhr-polling/{id}?t=2");
    let link = world.client(&get(&target));
    assert_eq!(answer(&mut world, link), (200, "1::".into()));
    let link = world.client(&post(&target, r#"5:::{"name":"say","args":["it"]}"#));
    assert_eq!(answer(&mut world, link), (200, "1".into()));
    let link = world.client(&post(&target, "3:::a text"));
    assert_eq!(answer(&mut world, link), (200, "1".into()));
    let came = heard(&mut world, &mut node);
    let event = said("socket.io/event", r#"{"name":"say","args":["it"]}"#);
    assert_eq!(came, [event, said("socket.io/msg", "a text")]);
    let link = world.client(&get(&target));
    node.send(&mut world, &sid, "socket.io/event", br#"{"name":"back","args":[1]}"#);
    assert_eq!(answer(&mut world, link), (200, r#"5:::{"name":"back","args":[1]}"#.into()));
    let link = world.client(&get(&format!("/socket.io/1/xhr-polling/{id}?disconnect=1")));
    assert_eq!(answer(&mut world, link).0, 200);
    assert_eq!(heard(&mut world, &mut node), [said("end", "")]);
}

#[test]
fn a_last_poll_that_the_farewell_has_overtaken_is_answered() {
    let (mut world, mut node) = world(INI, KNOWS);
    let (id, _) = polling(&mut world, &mut node);
    let link = world.client(&post(&with(&id), "1"));
    assert_eq!(answer(&mut world, link), (200, "ok".into()));
    let link = world.client(&get(&with(&id)));
    assert_eq!(answer(&mut world, link), (200, "6".into()));
    assert_eq!(heard(&mut world, &mut node), [said("end", "client-closed")]);
    let link = world.client(&get(&with(&id)));
    assert_eq!(answer(&mut world, link).0, 400);
}
