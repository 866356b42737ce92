//! Clients that come back.

use super::*;

fn ini() -> String {
    INI.replace("zmq", "socketio-recovery = 60\nzmq")
}

/// A client with the main namespace: its link, its node's id for it, its own id, and what it shows when it comes back.
fn recoverable(world: &mut World, node: &mut Node) -> (LinkId, Vec<u8>, String, String) {
    let link = world.client(&open(FIVE));
    assert_eq!(heard(world, node), [], "whether it is new is not known yet");
    world.receive(link, &text("40"));
    let told = node.receive(world);
    assert_eq!(told.iter().map(|(_, kind, _)| kind.as_str()).collect::<Vec<_>>(), ["uwsgi", "socket.io/connect"]);
    let sid = told[0].0.clone();
    node.send(world, &sid, "socket.io/connect", b"");
    let said = texts(world, link);
    let private = said[1].split("\"pid\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    (link, sid, id_of(&said[1]), private)
}

/// The offset of an event: its last argument.
fn offset(event: &str) -> String {
    event.rsplit(',').next().unwrap().trim_matches(|c: char| !c.is_ascii_digit()).to_owned()
}

fn cut(world: &mut World, link: LinkId) {
    world.engine.handle(Input::Failed { link, why: std::io::ErrorKind::ConnectionReset }, world.now);
    world.run();
}

#[test]
fn a_client_that_comes_back_has_its_session_and_what_it_missed() {
    let (mut world, mut node) = world(&ini(), KNOWS);
    let (link, sid, socket, private) = recoverable(&mut world, &mut node);
    node.send(&mut world, &sid, "join", b"room");
    node.send(&mut world, &sid, "socket.io/event", br#"["one"]"#);
    let seen = offset(&texts(&mut world, link)[0]);
    cut(&mut world, link);
    node.send(&mut world, &sid, "socket.io/event", br#"["two"]"#);
    node.send(&mut world, &sid, "room:socket.io/event", br#"["three"]"#);
    world.pass(Duration::from_secs(2));
    let link = world.client(&open(FIVE));
    world.receive(link, &text(&format!(r#"40{{"pid":"{private}","offset":"{seen}"}}"#)));
    let said = texts(&mut world, link);
    assert_eq!(id_of(&said[1]), socket, "{said:?}");
    assert!(said[2].starts_with(r#"42["two","#) && said[3].starts_with(r#"42["three","#), "{said:?}");
    assert_eq!(heard(&mut world, &mut node), [], "its node has noticed nothing");
    world.receive(link, &text(r#"42["back"]"#));
    assert_eq!(node.receive(&mut world)[0].0, sid);
    assert_eq!(world.engine.snapshot().sessions, 1);
    assert_eq!(world.engine.stats().recovered, 1);
}

#[test]
fn a_client_may_come_back_before_it_is_missed() {
    let (mut world, mut node) = world(&ini(), KNOWS);
    let (link, sid, socket, private) = recoverable(&mut world, &mut node);
    node.send(&mut world, &sid, "socket.io/event", br#"["one"]"#);
    let again = world.client(&open(FIVE));
    world.receive(again, &text(&format!(r#"40{{"pid":"{private}","offset":""}}"#)));
    let said = texts(&mut world, again);
    assert_eq!(id_of(&said[1]), socket, "{said:?}");
    assert!(said[2].starts_with(r#"42["one","#), "{said:?}");
    assert_eq!(frames(&mut world, link).last().unwrap().0, 8, "the old one is closed");
    world.engine.handle(Input::Eof { link }, world.now);
    world.run();
    world.receive(again, &text(r#"42["back"]"#));
    assert_eq!(heard(&mut world, &mut node), [self::said("socket.io/event", r#"["back"]"#)]);
    assert_eq!(world.engine.snapshot().sessions, 1);
}

#[test]
fn who_shows_what_nobody_was_given_is_new() {
    let (mut world, mut node) = world(&ini(), KNOWS);
    let link = world.client(&open(FIVE));
    world.receive(link, &text(r#"40{"pid":"AAAAAAAAAAAAAAAAAAAAAA","offset":"1"}"#));
    assert_eq!(
        heard(&mut world, &mut node).iter().map(|(kind, _)| kind.as_str()).collect::<Vec<_>>(),
        ["uwsgi", "socket.io/connect"]
    );
}

#[test]
fn who_does_not_come_back_is_gone() {
    let (mut world, mut node) = world(&ini(), KNOWS);
    let (link, sid, _, private) = recoverable(&mut world, &mut node);
    cut(&mut world, link);
    for _ in 0..61 {
        world.pass(Duration::from_secs(1));
        node.send(&mut world, b"", "pong", b"");
    }
    let ended = node.receive(&mut world).into_iter().find(|(_, kind, _)| kind == "end").unwrap();
    assert_eq!((ended.0, &ended.2[..]), (sid.clone(), &b"recovery-timeout"[..]));
    assert_eq!(world.engine.snapshot().sessions, 0);
    let link = world.client(&open(FIVE));
    world.receive(link, &text(&format!(r#"40{{"pid":"{private}","offset":""}}"#)));
    let told = node.receive(&mut world);
    assert_ne!(told[0].0, sid);
}

#[test]
fn who_leaves_of_its_own_will_does_not_come_back() {
    let (mut world, mut node) = world(&ini(), KNOWS);
    let (link, ..) = recoverable(&mut world, &mut node);
    world.receive(link, &text("1"));
    assert_eq!(heard(&mut world, &mut node).last(), Some(&said("end", "client-closed")));
}
