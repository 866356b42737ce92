//! Who waits for room is told of it, however little was queued.

use super::*;

fn credits(messages: &[(Vec<u8>, String, Bytes)]) -> usize {
    let credits = messages.iter().filter(|(_, kind, _)| kind == "credit");
    credits.map(|(.., body)| core::str::from_utf8(body).unwrap().parse::<usize>().unwrap()).sum()
}

#[test]
fn a_small_credit_comes_back_when_its_bytes_have_left() {
    let mut world = World::new(&with("credit = 1000"));
    let mut node = Node::connect(&mut world, "one");
    node.send(&mut world, b"", "pong", b"credit");
    let mut client = Peer::new(&mut world);
    client.get(&mut world, 1, "/");
    let messages = node.receive(&mut world);
    let (sid, mut credit) = (messages[0].0.clone(), credits(&messages));
    let head = b"HTTP/1.1 200 OK\r\n\r\n";
    node.send(&mut world, &sid, "headers", head);
    credit -= head.len();
    for _ in 0..10 {
        assert!(credit > 0);
        node.send(&mut world, &sid, "body", &alloc::vec![b'x'; credit]);
        credit = credits(&node.receive(&mut world));
    }
    client.read(&mut world);
    assert!(client.data(1).len() > 9000);
    assert_eq!(world.engine.stats().of(Cause::CreditExceeded), 0);
}

#[test]
fn a_small_credit_comes_back_as_messages_leave() {
    let mut world = World::new(&with("credit = 1000"));
    let mut node = Node::connect(&mut world, "one");
    node.send(&mut world, b"", "pong", b"credit");
    let mut client = Peer::new(&mut world);
    client.open(&mut world, 1);
    let messages = node.receive(&mut world);
    let sid = messages[0].0.clone();
    assert_eq!(credits(&messages), 1000);
    for _ in 0..10 {
        node.send(&mut world, &sid, "websocket", &[b'x'; 1000]);
        assert_eq!(credits(&node.receive(&mut world)), 1000);
    }
    client.read(&mut world);
    assert_eq!(client.data(1).len(), 10 * 1004);
}

#[test]
fn credit_waits_for_the_window_of_the_client() {
    let mut world = World::new(&with("credit = 1000"));
    let mut node = Node::connect(&mut world, "one");
    node.send(&mut world, b"", "pong", b"credit");
    let mut client = Peer::with_window(&mut world, Window::Narrow(100));
    client.get(&mut world, 1, "/");
    let sid = node.receive(&mut world)[0].0.clone();
    node.send(&mut world, &sid, "body", &[b"HTTP/1.1 200 OK\r\n\r\n", &[b'x'; 900][..]].concat());
    assert_eq!(credits(&node.receive(&mut world)), 0, "100 bytes have left, and they are not worth a word");
    client.widen(&mut world, 1, 300);
    assert_eq!(credits(&node.receive(&mut world)), 419, "what has left, and the head");
    client.widen(&mut world, 1, 500);
    assert_eq!(credits(&node.receive(&mut world)), 500);
    client.read(&mut world);
    assert_eq!(client.data(1), [b'x'; 900]);
}

/// An app that sends when there is room.
struct Crowd {
    rooms: Arc<core::sync::atomic::AtomicUsize>,
}

impl App for Crowd {
    fn handle(&mut self, input: AppInput<'_>, replies: &mut Replies, _now: Instant) {
        match input {
            AppInput::Request { sid, .. } => {
                let head = Bytes::from_static(b"HTTP/1.1 200 OK\r\n\r\n");
                let (head, _) = crate::http::Response::parse(head, &crate::limits::Limits::DEFAULT).unwrap();
                replies.head(sid, head);
                replies.body(sid, Bytes::from(alloc::vec![b'x'; 1000]));
                replies.wait_for_room(sid);
            }
            AppInput::Room { sid } => {
                let rooms = self.rooms.fetch_add(1, Ordering::Relaxed);
                replies.body(sid, Bytes::from(alloc::vec![b'x'; 1000]));
                if rooms < 10 { replies.wait_for_room(sid) } else { replies.end(sid) }
            }
            AppInput::Body { .. }
            | AppInput::BodyEnd { .. }
            | AppInput::WebSocket { .. }
            | AppInput::SocketIo { .. }
            | AppInput::Close { .. }
            | AppInput::Msg { .. }
            | AppInput::End { .. }
            | AppInput::Wake
            | AppInput::Timeout => {}
        }
    }
}

#[test]
fn an_app_that_waits_for_room_goes_on() {
    let ini = with("writequeue-high = 100").replace("node = one", "node = app:welcome");
    let mut world = World::new(&ini);
    let rooms = Arc::default();
    world.engine.add_app("welcome", Box::new(Crowd { rooms: Arc::clone(&rooms) }));
    let mut client = Peer::new(&mut world);
    client.get(&mut world, 1, "/");
    client.read(&mut world);
    assert_eq!(rooms.load(Ordering::Relaxed), 11);
    assert_eq!(client.answer(1), Some((200, &[b'x'; 12_000][..], true)));
}

#[test]
fn whose_queue_others_have_filled_is_written_when_they_have_gone() {
    let mut world = World::new(&with("writequeue-buffer = 300000\nh2-stream-queue = 200000\nwebsocket-ping = 0"));
    let mut node = Node::connect(&mut world, "one");
    let mut client = Peer::with_window(&mut world, Window::Narrow(0));
    for stream in [1, 3, 5] {
        client.open(&mut world, stream);
    }
    let sids = requests(&mut node, &mut world);
    for sid in &sids[..2] {
        node.send(&mut world, sid, "websocket", &[b'x'; 200_000]);
    }
    node.send(&mut world, &sids[2], "websocket", b"hello");
    client.widen(&mut world, 5, 1000);
    client.read(&mut world);
    assert_eq!(client.data(5), b"");
    // One goes, so that there is room.
    client.reset(&mut world, 1);
    client.read(&mut world);
    assert_eq!(client.data(5), b"\x81\x05hello");
    client.widen(&mut world, 3, 300_000);
    client.read(&mut world);
    assert_eq!(client.data(3).len(), 200_010);
}

#[test]
fn all_streams_of_a_connection_have_four_shares() {
    let mut world = World::new(&with("writequeue-buffer = 2000\nwritequeue-high = 500"));
    let mut node = Node::connect(&mut world, "one");
    let mut client = Peer::with_window(&mut world, Window::Narrow(0));
    let streams = [1, 3, 5, 7, 9, 11];
    for stream in streams {
        client.get(&mut world, stream, "/");
    }
    let sids: Vec<Vec<u8>> = node.receive(&mut world).into_iter().map(|(sid, ..)| sid).collect();
    let answer = |len: usize| [b"HTTP/1.1 200 OK\r\n\r\n", &alloc::vec![b'x'; len][..]].concat();
    for (place, sid) in sids.iter().enumerate() {
        node.send(&mut world, sid, "body", &answer(if place == 5 { 400 } else { 1900 }));
    }
    client.read(&mut world);
    let cut: Vec<u32> = streams.into_iter().filter(|stream| client.reset_code(*stream).is_some()).collect();
    assert_eq!(cut, [9], "whoever has little is let be");
    assert_eq!(world.engine.stats().of(Cause::SlowClient), 1);
}

#[test]
fn a_request_that_waited_for_its_node_leaves_nothing_to_settle() {
    let mut world = World::new(&with("credit = 1000"));
    let mut node = Node::connect(&mut world, "one");
    node.send(&mut world, b"", "pong", b"credit capacity=1");
    let (mut first, mut second) = (Peer::new(&mut world), Peer::new(&mut world));
    first.get(&mut world, 1, "/");
    second.get(&mut world, 1, "/");
    let sid = node.receive(&mut world).remove(0).0;
    // Nothing but this happens to the second; that all is at rest is checked after each step.
    node.send(&mut world, &sid, "headers", b"HTTP/1.1 204 No Content\r\n\r\n");
    let kinds: Vec<String> = node.receive(&mut world).into_iter().map(|(_, kind, _)| kind).collect();
    assert_eq!(kinds, ["end", "uwsgi", "credit"]);
}
