//! Bodies of requests: the windows of the client come back, in whatever way a session ends.

use super::*;

/// Sends as much as the windows let, while the node takes nothing.
fn fill(world: &mut World, client: &mut Peer, stream: u32) -> usize {
    let mut sent = 0;
    loop {
        let n = client.room(stream).min(10_000);
        if n == 0 {
            return sent;
        }
        let bytes = client.data_frames(stream, &alloc::vec![b'x'; n], false);
        world.engine.handle(Input::Received { link: client.link, bytes: &bytes }, world.now);
        sent += n;
        assert!(sent < 2_000_000, "the window closes");
    }
}

#[test]
fn a_node_that_does_not_read_closes_the_window_until_it_does() {
    let mut world = World::new(&with("node-queue-high = 20000"));
    let mut node = Node::connect(&mut world, "one");
    let mut client = Peer::new(&mut world);
    client.post(&mut world, 1, "/", b"", false);
    let sid = node.request(&mut world);
    let sent = fill(&mut world, &mut client, 1);
    assert!((256 << 10..400 << 10).contains(&sent), "{sent}");
    let memory = world.engine.snapshot().memory;
    assert!(memory < 1 << 20, "{memory}");
    world.run();
    let messages = node.receive(&mut world);
    let came: usize = messages.iter().filter(|(of, kind, _)| *of == sid && kind == "body").map(|(.., b)| b.len()).sum();
    assert_eq!(came, sent);
    client.read(&mut world);
    assert!(client.room(1) > 200_000, "{}", client.room(1));
    client.send_data(&mut world, 1, b"end", true);
    assert_eq!(node.receive(&mut world), [(sid.clone(), "body".into(), Bytes::from_static(b"end"))]);
    node.send(&mut world, &sid, "headers", HEAD);
    node.send(&mut world, &sid, "body", b"Hello");
    client.read(&mut world);
    assert_eq!(client.answer(1), Some((200, &b"Hello"[..], true)));
}

#[test]
fn many_small_pieces_for_a_node_that_does_not_read_cost_little() {
    let mut world = World::new(&with("node-queue-high = 10"));
    let mut node = Node::connect(&mut world, "one");
    let mut client = Peer::new(&mut world);
    client.post(&mut world, 1, "/", b"", false);
    node.request(&mut world);
    for _ in 0..1000 {
        let bytes = client.data_frames(1, b"x", false);
        world.engine.handle(Input::Received { link: client.link, bytes: &bytes }, world.now);
    }
    assert_eq!(world.engine.nodes.list[0].paused.len(), 1);
    world.run();
    assert!(world.engine.nodes.list[0].paused.is_empty());
}

#[test]
fn the_window_of_the_connection_comes_back_however_a_session_ends() {
    for how in 0..8 {
        let mut world = World::new(&with("node-queue-high = 10\nredispatch = none\nh2-resets = 100000"));
        let mut client = Peer::new(&mut world);
        let mut stream = 1;
        // More than the window of the connection in all.
        for _ in 0..40 {
            let mut node = Node::greet(&mut world, "one");
            node.receive(&mut world);
            node.send(&mut world, b"", "pong", b"");
            match how {
                6 | 7 => {
                    node.send(&mut world, b"", "pong", b"handshake");
                    client.open(&mut world, stream);
                }
                _ => client.post(&mut world, stream, "/", b"", false),
            }
            let sid = node.request(&mut world);
            let room = client.room(stream).min(100_000);
            assert!(room > 50_000, "case {how}: {room} left at stream {stream}");
            let data = alloc::vec![b'x'; room];
            let bytes = client.data_frames(stream, &data, false);
            // The node does not read, so that the stream is paused.
            world.engine.handle(Input::Received { link: client.link, bytes: &bytes }, world.now);
            let node_says = |world: &mut World, node: &mut Node, kind: &str, body: &[u8]| {
                node.conn.send(&[&sid, kind.as_bytes(), body]).unwrap();
                let bytes = node.conn.outbound().take();
                world.engine.handle(Input::Received { link: node.link, bytes: &bytes }, world.now);
            };
            match how {
                0 => client.reset(&mut world, stream),
                1 => node_says(&mut world, &mut node, "body", b"HTTP/1.1 204 No Content\r\n\r\n"),
                2 => node_says(&mut world, &mut node, "headers", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"),
                3 => node_says(&mut world, &mut node, "end", b""),
                4 => {
                    node_says(&mut world, &mut node, "headers", b"HTTP/1.1 200 OK\r\n\r\n");
                    node_says(&mut world, &mut node, "body", &[b'x'; 1000]);
                    node_says(&mut world, &mut node, "retry", b"");
                    node_says(&mut world, &mut node, "end", b"");
                }
                5 => {}
                6 => {
                    node_says(&mut world, &mut node, "headers", b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
                }
                _ => client.reset(&mut world, stream),
            }
            // If it is not over yet, the loss of the node is its end.
            world.engine.handle(Input::Eof { link: node.link }, world.now);
            world.run();
            client.read(&mut world);
            assert_eq!(world.engine.snapshot().sessions, 0, "case {how}");
            stream += 2;
        }
    }
}

#[test]
fn a_bound_of_the_virtual_host_holds_for_what_came_with_the_head_too() {
    let mut world = World::new(&H2C.replace("node = two", "node = two\nmax-body = 10"));
    let mut node = Node::connect(&mut world, "one");
    let mut client = Peer::new(&mut world);
    client.post(&mut world, 1, "/", b"01234567890", true);
    client.post(&mut world, 3, "/", b"01234567890", false);
    client.post(&mut world, 5, "/", b"0123456789", true);
    // Announced, it is not waited for.
    let fields =
        [(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", "/"), ("content-length", "11")];
    client.ask(&mut world, 7, &fields, false);
    client.read(&mut world);
    for stream in [1, 3, 7] {
        assert_eq!(client.answer(stream).map(|(status, _, end)| (status, end)), Some((413, true)), "{stream}");
    }
    let messages = node.receive(&mut world);
    assert_eq!(messages.len(), 2, "{messages:?}");
    assert_eq!(messages[1].2, b"0123456789"[..]);
    assert_eq!(accesses(&world), [(Cause::BodyTooLarge, 413); 3]);
    assert_eq!(world.engine.stats().of(Cause::BodyTooLarge), 3);
}
