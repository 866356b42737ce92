//! HTTP/2 under the engine: each stream is the carrier of a session.

mod peer;
mod room;
mod tunnels;
mod uploads;

use super::*;
use peer::{Peer, Window};

/// Listener 0 speaks HTTP/2 in clear text.
const H2C: &str =
    "[blastbeat]\nbind = 127.0.0.1:80 h2c\nzmq = tcp://127.0.0.1:5000\n\n[blastbeat:*]\nnode = one\nnode = two\n";

/// The same, with more in the global section.
fn with(global: &str) -> String {
    H2C.replace("\n\n", &alloc::format!("\n{global}\n\n"))
}

/// The sessions of all requests that came, and nothing else that did.
fn requests(node: &mut Node, world: &mut World) -> Vec<Vec<u8>> {
    let messages = node.receive(world);
    assert!(messages.iter().all(|(_, kind, _)| kind == "uwsgi"), "{messages:?}");
    messages.into_iter().map(|(sid, ..)| sid).collect()
}

/// The cause and the status of each access that was reported.
fn accesses(world: &World) -> Vec<(Cause, u16)> {
    let told = world.reports.iter().filter_map(|report| {
        let Report::Access(access) = report else { return None };
        Some((access.cause, access.status))
    });
    told.collect()
}

#[test]
fn streams_are_balanced_one_by_one_and_answered_in_any_order() {
    let mut world = World::new(H2C);
    let mut nodes = ["one", "two"].map(|name| Node::connect(&mut world, name));
    let mut client = Peer::new(&mut world);
    for stream in [1, 3, 5, 7] {
        client.get(&mut world, stream, "/");
    }
    let sids = nodes.each_mut().map(|node| requests(node, &mut world));
    assert_eq!((sids[0].len(), sids[1].len()), (2, 2));
    for (node, place) in [(1, 1), (0, 1), (0, 0), (1, 0)] {
        nodes[node].send(&mut world, &sids[node][place], "headers", HEAD);
        nodes[node].send(&mut world, &sids[node][place], "body", b"Hello");
    }
    client.read(&mut world);
    for stream in [1, 3, 5, 7] {
        assert_eq!(client.answer(stream), Some((200, &b"Hello"[..], true)));
    }
    assert_eq!(client.ends, [7, 5, 1, 3]);
    let ends = nodes.each_mut().map(|node| node.receive(&mut world)).concat();
    assert!(ends.len() == 4 && ends.iter().all(|(_, kind, _)| kind == "end"), "{ends:?}");
}

#[test]
fn a_stream_that_is_reset_ends_its_session_alone() {
    let mut world = World::new(H2C);
    let mut node = Node::connect(&mut world, "one");
    node.send(&mut world, b"", "pong", b"end-reason");
    let mut client = Peer::new(&mut world);
    client.get(&mut world, 1, "/");
    client.get(&mut world, 3, "/");
    let sids = requests(&mut node, &mut world);
    client.reset(&mut world, 1);
    assert_eq!(node.receive(&mut world), [(sids[0].clone(), "end".into(), Bytes::from_static(b"stream-reset"))]);
    node.send(&mut world, &sids[0], "headers", HEAD);
    node.send(&mut world, &sids[1], "body", b"HTTP/1.1 204 No Content\r\n\r\n");
    client.read(&mut world);
    assert_eq!((client.answer(1), client.answer(3)), (None, Some((204, &b""[..], true))));
    assert_eq!(world.engine.stats().of(Cause::StreamReset), 1);
    assert_eq!(world.engine.stats().of(Cause::SessionStale), 1);
}

#[test]
fn a_connection_that_goes_ends_all_its_sessions() {
    for how in 0..3 {
        let mut world = World::new(H2C);
        let mut node = Node::connect(&mut world, "one");
        let mut client = Peer::new(&mut world);
        client.get(&mut world, 1, "/");
        client.open(&mut world, 3);
        client.post(&mut world, 5, "/", b"abc", false);
        let messages = node.receive(&mut world);
        assert_eq!(messages.iter().filter(|(_, kind, _)| kind == "uwsgi").count(), 3);
        let link = client.link;
        match how {
            0 => world.engine.handle(Input::Eof { link }, world.now),
            1 => world.engine.handle(Input::Failed { link, why: std::io::ErrorKind::ConnectionReset }, world.now),
            // A frame on a stream that nobody has opened.
            _ => world.receive(link, &peer::frame(0, 0, 99, b"data")),
        }
        world.run();
        let ends: Vec<_> = node.receive(&mut world);
        assert!(ends.len() == 3 && ends.iter().all(|(_, kind, _)| kind == "end"), "{ends:?}");
        assert_eq!(world.engine.snapshot().sessions, 0);
        world.pass(Duration::from_secs(10));
        assert_eq!((world.engine.snapshot().connections, world.engine.snapshot().memory), (0, 0));
    }
}

#[test]
fn a_drain_answers_what_is_under_way_and_closes_websockets() {
    let mut world = World::new(H2C);
    let mut node = Node::connect(&mut world, "one");
    let mut client = Peer::new(&mut world);
    client.get(&mut world, 1, "/");
    client.open(&mut world, 3);
    let sids = requests(&mut node, &mut world);
    world.engine.handle(Input::Control(Control::Drain), world.now);
    world.run();
    client.read(&mut world);
    assert_eq!(client.data(3), b"\x88\x0a\x03\xe9stopping");
    assert!(client.is_told_to_go);
    client.websocket(&mut world, 3, b"\x88\x82\0\0\0\0\x03\xe9");
    node.receive(&mut world);
    node.send(&mut world, &sids[0], "headers", HEAD);
    node.send(&mut world, &sids[0], "body", b"Hello");
    client.read(&mut world);
    assert_eq!(client.answer(1), Some((200, &b"Hello"[..], true)));
    assert!(client.has_ended(3));
    world.pass(Duration::from_secs(5));
    assert_eq!(world.reports.last(), Some(&Report::Stopped));
}

#[test]
fn the_log_tells_the_status_of_a_page_about_a_body() {
    let mut world = World::new(&with("max-body = 20000"));
    let mut node = Node::connect(&mut world, "one");
    let mut client = Peer::new(&mut world);
    client.post(&mut world, 1, "/", &[b'x'; 15_000], false);
    client.send_data(&mut world, 1, &[b'x'; 15_000], false);
    client.post(&mut world, 3, "/", b"x", false);
    node.receive(&mut world);
    world.pass(Duration::from_secs(31));
    client.read(&mut world);
    assert_eq!(
        [1, 3].map(|stream| client.answer(stream).map(|(status, _, end)| (status, end))),
        [Some((413, true)), Some((408, true))]
    );
    assert_eq!(accesses(&world), [(Cause::BodyTooLarge, 413), (Cause::BodyTimeout, 408)]);
}
