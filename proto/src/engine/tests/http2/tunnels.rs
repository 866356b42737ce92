//! WebSockets on streams.

use super::*;

/// A short text, masked with zeros.
fn text(payload: &[u8]) -> Vec<u8> {
    [&[0x81, 0x80 | payload.len() as u8, 0, 0, 0, 0], payload].concat()
}

#[test]
fn messages_go_both_ways_and_a_close_ends_the_stream() {
    let mut world = World::new(H2C);
    let mut node = Node::connect(&mut world, "one");
    let mut client = Peer::new(&mut world);
    client.open(&mut world, 1);
    let sid = node.request(&mut world);
    client.websocket(&mut world, 1, &text(b"hello"));
    assert_eq!(node.receive(&mut world), [(sid.clone(), "websocket".into(), Bytes::from_static(b"hello"))]);
    node.send(&mut world, &sid, "websocket", b"there");
    node.send(&mut world, &sid, "end", b"");
    client.read(&mut world);
    assert_eq!(client.answer(1), Some((200, &b"\x81\x05there\x88\x02\x03\xe8"[..], false)));
    client.websocket(&mut world, 1, b"\x88\x82\0\0\0\0\x03\xe8");
    client.read(&mut world);
    assert!(client.has_ended(1));
    assert_eq!(accesses(&world), [(Cause::Complete, 200)]);
    assert_eq!(node.receive(&mut world).len(), 1);
}

#[test]
fn what_a_client_sends_before_its_answer_waits_for_it() {
    let mut world = World::new(H2C);
    let mut node = Node::connect(&mut world, "one");
    node.send(&mut world, b"", "pong", b"handshake");
    let mut client = Peer::new(&mut world);
    client.open(&mut world, 1);
    client.websocket(&mut world, 1, &text(b"early"));
    let sid = node.request(&mut world);
    assert_eq!(node.receive(&mut world), []);
    node.send(&mut world, &sid, "headers", b"HTTP/1.1 101 Switching Protocols\r\n\r\n");
    assert_eq!(node.receive(&mut world), [(sid, "websocket".into(), Bytes::from_static(b"early"))]);
    client.read(&mut world);
    assert_eq!(client.answer(1), Some((200, &b""[..], false)));
}

#[test]
fn an_answer_that_does_not_open_the_websocket_does_not_seem_to() {
    for (head, status) in [("HTTP/1.1 200 OK", 502), ("HTTP/1.1 204 No Content", 502), ("HTTP/1.1 403 Forbidden", 403)]
    {
        let mut world = World::new(H2C);
        let mut node = Node::connect(&mut world, "one");
        node.send(&mut world, b"", "pong", b"handshake");
        let mut client = Peer::new(&mut world);
        client.open(&mut world, 1);
        client.websocket(&mut world, 1, &text(b"early"));
        let sid = node.request(&mut world);
        let head = alloc::format!("{head}\r\nContent-Length: 0\r\n\r\n");
        node.send(&mut world, &sid, "headers", head.as_bytes());
        client.read(&mut world);
        let (got, _, is_whole) = client.answer(1).unwrap();
        assert_eq!((got, is_whole), (status, true), "{head}");
        assert_eq!(accesses(&world)[0].1, status);
        assert_eq!(world.engine.snapshot().sessions, 0);
    }
}

#[test]
fn a_client_that_hangs_up_in_the_handshake_has_gone() {
    let mut world = World::new(H2C);
    let mut node = Node::connect(&mut world, "one");
    node.send(&mut world, b"", "pong", b"handshake");
    let mut client = Peer::new(&mut world);
    client.open(&mut world, 1);
    let sid = node.request(&mut world);
    client.send_data(&mut world, 1, b"", true);
    assert_eq!(node.receive(&mut world), [(sid, "end".into(), Bytes::new())]);
    assert_eq!(accesses(&world), [(Cause::ClientGone, 0)]);
}

#[test]
fn the_messages_behind_one_to_many_members_are_read_when_it_is_through() {
    let mut world = World::new(&with("max-deliveries = 2"));
    let mut node = Node::connect(&mut world, "one");
    let mut client = Peer::new(&mut world);
    let streams = [1, 3, 5, 7, 9];
    for stream in streams {
        client.open(&mut world, stream);
    }
    let sids = requests(&mut node, &mut world);
    for sid in &sids {
        node.send(&mut world, sid, "join", b"g");
    }
    node.send(&mut world, &sids[0], "noecho", b"g");
    node.send(&mut world, &sids[0], "pipe", b"g:websocket");
    client.websocket(&mut world, 1, &[text(b"1"), text(b"2"), text(b"3")].concat());
    while world.engine.poll_timeout().is_some_and(|wake| wake.at <= world.now) {
        world.engine.handle(Input::Timeout, world.now);
        world.run();
    }
    client.read(&mut world);
    for stream in &streams[1..] {
        assert_eq!(client.data(*stream), b"\x81\x011\x81\x012\x81\x013", "{stream}");
    }
    assert_eq!(client.data(1), b"");
}

#[test]
fn whoever_sends_and_does_not_read_is_read_when_it_does() {
    let mut world = World::new(&with("writequeue-high = 100\nwebsocket-ping = 0"));
    let mut node = Node::connect(&mut world, "one");
    let mut client = Peer::new(&mut world);
    client.open(&mut world, 1);
    let sid = node.request(&mut world);
    // The answers to its pings are enough to hold back what follows.
    let ping = [&[0x89, 0x80 | 120, 0, 0, 0, 0][..], &[b'p'; 120]].concat();
    client.websocket(&mut world, 1, &[ping.repeat(3), text(b"hello")].concat());
    client.read(&mut world);
    assert_eq!(client.data(1).len(), 122 * 3);
    assert_eq!(node.receive(&mut world), [(sid, "websocket".into(), Bytes::from_static(b"hello"))]);
}

#[test]
fn a_ping_is_answered_on_the_stream_and_a_silent_client_is_asked() {
    let mut world = World::new(&with("websocket-ping = 5"));
    let mut node = Node::connect(&mut world, "one");
    let mut client = Peer::new(&mut world);
    client.open(&mut world, 1);
    node.request(&mut world);
    client.websocket(&mut world, 1, b"\x89\x81\0\0\0\0p");
    client.read(&mut world);
    assert_eq!(client.data(1), b"\x8a\x01p");
    world.pass(Duration::from_secs(6));
    client.read(&mut world);
    assert_eq!(client.data(1).get(3), Some(&0x89));
    world.pass(Duration::from_secs(6));
    assert_eq!(accesses(&world)[0].0.close_code(), Cause::PingTimeout.close_code());
    world.pass(Duration::from_secs(6));
    client.read(&mut world);
    assert!(client.has_ended(1) || client.reset_code(1).is_some());
    assert_eq!(world.engine.snapshot().memory, world.engine.links.iter().map(|(_, link)| link.charged).sum::<usize>());
}

#[test]
fn what_waits_for_a_node_is_read_on_when_the_node_has_room() {
    let mut world = World::new(&with("node-queue-high = 1000"));
    let mut node = Node::connect(&mut world, "one");
    let mut client = Peer::new(&mut world);
    client.open(&mut world, 1);
    let sid = node.request(&mut world);
    // The node takes nothing while all of this comes.
    let mut sent = 0;
    let message = [&[0x82, 0xfe, 0x03, 0xe8, 0, 0, 0, 0], &[b'x'; 1000][..]].concat();
    while client.room(1) >= message.len() {
        let bytes = client.data_frames(1, &message, false);
        world.engine.handle(Input::Received { link: client.link, bytes: &bytes }, world.now);
        sent += 1;
        assert!(sent < 1000, "the window closes");
    }
    let queued = world.engine.node_queue(0);
    assert!(queued < 4000, "{queued}");
    world.run();
    let messages = node.receive(&mut world);
    assert_eq!(messages.iter().filter(|(of, kind, _)| *of == sid && kind == "websocket").count(), sent);
    client.read(&mut world);
    assert!(client.room(1) > 100_000, "{}", client.room(1));
}
