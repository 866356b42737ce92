//! From polling to a WebSocket.

use super::*;

#[test]
fn a_websocket_takes_over_with_what_waited() {
    let (mut world, mut node) = world(INI, b"");
    let first = world.client(&get(FIVE_POLLING));
    let sid = node.request(&mut world);
    let id = id_of(&answer(&mut world, first).1);
    let link = world.client(&post(&format!("{FIVE_POLLING}&sid={id}"), "40"));
    assert_eq!(answer(&mut world, link).0, 200);
    let poll = world.client(&get(&format!("{FIVE_POLLING}&sid={id}")));
    assert!(answer(&mut world, poll).1.starts_with("40{"));
    let poll = world.client(&get(&format!("{FIVE_POLLING}&sid={id}")));
    let socket = world.client(&open(&format!("{FIVE}&sid={id}")));
    world.receive(socket, &text("2probe"));
    assert_eq!(texts(&mut world, socket), ["3probe"]);
    assert_eq!(answer(&mut world, poll), (200, "6".into()));
    node.send(&mut world, &sid, "socket.io/event", br#"{"name":"late","args":[]}"#);
    assert_eq!(texts(&mut world, socket), [""; 0]);
    world.receive(socket, &text("5"));
    assert_eq!(texts(&mut world, socket), [r#"42["late"]"#]);
    world.receive(socket, &text(r#"42["hello"]"#));
    assert_eq!(heard(&mut world, &mut node), [said("socket.io/event", r#"{"name":"hello","args":[]}"#)]);
    let poll = world.client(&get(&format!("{FIVE_POLLING}&sid={id}")));
    assert_eq!(answer(&mut world, poll), (400, r#"{"code":3,"message":"Bad request"}"#.into()));
    let again = world.client(&open(&format!("{FIVE}&sid={id}")));
    assert_eq!(frames(&mut world, again)[0].0, 8);
    assert_eq!(world.engine.snapshot().sessions, 1);
    world.engine.handle(Input::Eof { link: socket }, world.now);
    world.run();
    assert_eq!(heard(&mut world, &mut node), [said("end", "")]);
    assert_eq!(world.engine.snapshot().sessions, 0);
}

#[test]
fn a_websocket_that_does_not_take_over_goes_and_polling_goes_on() {
    let (mut world, mut node) = world(INI, KNOWS);
    let first = world.client(&get(FIVE_POLLING));
    node.request(&mut world);
    let id = id_of(&answer(&mut world, first).1);
    let socket = world.client(&open(&format!("{FIVE}&sid={id}")));
    let second = world.client(&open(&format!("{FIVE}&sid={id}")));
    assert_eq!(frames(&mut world, second)[0].0, 8, "one at a time");
    world.receive(socket, &text("2probe"));
    for _ in 0..11 {
        world.pass(Duration::from_secs(1));
        node.send(&mut world, b"", "pong", b"");
    }
    assert_eq!(frames(&mut world, socket).last().unwrap().0, 8, "it had its time");
    assert_eq!(world.engine.stats().of(Cause::UpgradeTimeout), 1);
    let link = world.client(&post(&format!("{FIVE_POLLING}&sid={id}"), "40"));
    assert_eq!(answer(&mut world, link).0, 200);
    assert_eq!(world.engine.snapshot().sessions, 1);
}
