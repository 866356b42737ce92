//! Clients whose node is lost.

use super::*;

fn lose(world: &mut World, node: &Node) {
    world.engine.handle(Input::Failed { link: node.link, why: std::io::ErrorKind::ConnectionReset }, world.now);
    world.run();
}

#[test]
fn another_node_has_it_at_once() {
    let (mut world, mut one) = world(INI, KNOWS);
    let (link, sid) = connected(&mut world, &mut one);
    let mut two = knowing(&mut world, "two", KNOWS);
    lose(&mut world, &one);
    let told = two.receive(&mut world);
    assert_eq!((told[0].0.clone(), told[0].1.as_str()), (sid.clone(), "uwsgi"));
    assert!(told[0].2.windows(12).any(|word| word == b"REDISPATCHED"));
    world.receive(link, &text(r#"42["still"]"#));
    assert_eq!(heard(&mut world, &mut two), [said("socket.io/event", r#"["still"]"#)]);
    two.send(&mut world, &sid, "socket.io/event", br#"["here"]"#);
    assert_eq!(texts(&mut world, link), [r#"42["here"]"#]);
}

#[test]
fn without_another_it_sleeps_until_one_comes() {
    let (mut world, mut one) = world(INI, KNOWS);
    let (link, sid) = connected(&mut world, &mut one);
    lose(&mut world, &one);
    assert_eq!(texts(&mut world, link), [""; 0]);
    world.receive(link, &text(r#"42["first"]"#));
    world.receive(link, &text(r#"42["second"]"#));
    world.pass(Duration::from_secs(5));
    let mut two = knowing(&mut world, "two", KNOWS);
    let told = two.receive(&mut world);
    assert_eq!(
        told.iter().map(|(_, kind, _)| kind.as_str()).collect::<Vec<_>>(),
        ["uwsgi", "socket.io/event", "socket.io/event"]
    );
    two.send(&mut world, &sid, "socket.io/event", br#"["here"]"#);
    assert_eq!(texts(&mut world, link), [r#"42["here"]"#]);
    world.receive(link, &text(r#"42["third"]"#));
    assert_eq!(heard(&mut world, &mut two), [said("socket.io/event", r#"["third"]"#)]);
}

#[test]
fn what_it_says_waits_for_a_node_but_not_for_ever() {
    let (mut world, mut one) = world(INI, KNOWS);
    let (link, _) = connected(&mut world, &mut one);
    lose(&mut world, &one);
    world.receive(link, &text(r#"42["first"]"#));
    world.pass(Duration::from_secs(11));
    assert_eq!(frames(&mut world, link).last().unwrap().0, 8);
    assert_eq!(world.engine.snapshot().sessions, 0);
}

#[test]
fn a_post_is_answered_when_its_packets_have_a_node() {
    let (mut world, mut one) = world(INI, b"");
    let first = world.client(&get(FIVE_POLLING));
    one.request(&mut world);
    let id = id_of(&answer(&mut world, first).1);
    let link = world.client(&post(&format!("{FIVE_POLLING}&sid={id}"), "40"));
    assert_eq!(answer(&mut world, link), (200, "ok".into()));
    lose(&mut world, &one);
    let link = world.client(&post(&format!("{FIVE_POLLING}&sid={id}"), "42[\"a\"]\u{1e}42[\"b\"]"));
    assert_eq!(world.read(link), "");
    let mut two = knowing(&mut world, "two", b"");
    assert_eq!(answer(&mut world, link), (200, "ok".into()));
    let told = two.receive(&mut world);
    assert_eq!(
        told.iter().map(|(_, kind, _)| kind.as_str()).collect::<Vec<_>>(),
        ["uwsgi", "socket.io/event", "socket.io/event"]
    );
}

#[test]
fn a_namespace_that_was_asked_for_is_asked_of_the_next_node() {
    let (mut world, mut one) = world(INI, KNOWS);
    let link = world.client(&open(FIVE));
    let sid = one.request(&mut world);
    world.receive(link, &text(r#"40/chat,{"token":"x"}"#));
    assert_eq!(heard(&mut world, &mut one), [said("socket.io/connect", r#"/chat,{"token":"x"}"#)]);
    let mut two = knowing(&mut world, "two", KNOWS);
    lose(&mut world, &one);
    let told = heard(&mut world, &mut two);
    assert_eq!((told[0].0.as_str(), &told[1..]), ("uwsgi", &[said("socket.io/connect", r#"/chat,{"token":"x"}"#)][..]));
    two.send(&mut world, &sid, "socket.io/connect", b"/chat,");
    assert!(texts(&mut world, link)[1].starts_with("40/chat,{"));
    lose(&mut world, &two);
    let mut three = knowing(&mut world, "one", KNOWS);
    assert_eq!(three.receive(&mut world).len(), 1, "it was answered");
}
