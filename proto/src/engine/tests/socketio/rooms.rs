//! Groups of clients of every kind.

use super::*;

#[test]
fn an_event_for_a_group_reaches_every_generation_and_transport() {
    let (mut world, mut node) = world(INI, b"");
    let targets = [FIVE, "/socket.io/?EIO=3&transport=websocket"];
    let mut sids = Vec::new();
    let mut links = Vec::new();
    for target in targets {
        links.push(world.client(&open(target)));
        sids.push(node.request(&mut world));
    }
    world.receive(links[0], &text("40"));
    let poll = world.client(&get(FIVE_POLLING));
    sids.push(node.request(&mut world));
    let id = id_of(&answer(&mut world, poll).1);
    let link = world.client(&post(&format!("{FIVE_POLLING}&sid={id}"), "40"));
    assert_eq!(answer(&mut world, link).0, 200);
    let link = world.client(&get(&format!("{FIVE_POLLING}&sid={id}")));
    answer(&mut world, link);
    let poll = world.client(&get(&format!("{FIVE_POLLING}&sid={id}")));
    let old = world.client(&get("/socket.io/1/"));
    sids.push(node.request(&mut world));
    let line = answer(&mut world, old).1;
    let old = world.client(&open(&format!("/socket.io/1/websocket/{}", line.split(':').next().unwrap())));
    for link in links.iter().chain([&old]) {
        texts(&mut world, *link);
    }
    for sid in &sids {
        node.send(&mut world, sid, "join", b"room");
    }
    node.send(&mut world, &sids[0], "room:socket.io/event", br#"{"name":"all","args":["x"]}"#);
    for link in &links {
        assert_eq!(texts(&mut world, *link), [r#"42["all","x"]"#]);
    }
    assert_eq!(answer(&mut world, poll), (200, r#"42["all","x"]"#.into()));
    assert_eq!(texts(&mut world, old), [r#"5:::{"name":"all","args":["x"]}"#]);
    assert_eq!(world.engine.stats().deliveries, 4);
}

#[test]
fn who_is_not_in_the_namespace_is_passed_over() {
    let (mut world, mut node) = world(INI, KNOWS);
    let (link, sid) = connected(&mut world, &mut node);
    node.send(&mut world, &sid, "join", b"room");
    node.send(&mut world, &sid, "room:socket.io/event", br#"/chat,["all"]"#);
    assert_eq!(texts(&mut world, link), [""; 0]);
    assert_eq!(world.engine.stats().of(Cause::MessageUnfit), 1);
    node.send(&mut world, &sid, "room:websocket", b"raw");
    assert_eq!(frames(&mut world, link), []);
}
