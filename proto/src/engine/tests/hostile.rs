//! WebSocket clients that want more than their share.

use super::super::carrier::Carrier;
use super::*;

/// A frame of a client whose mask is zero: its payload shows as it is.
pub(super) fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(payload.len()).unwrap();
    let mut frame = if len < 126 { vec![first, 0x80 | len as u8] } else { vec![first, 0xfe] };
    if len >= 126 {
        frame.extend(len.to_be_bytes());
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

#[test]
fn a_header_that_stays_a_half_is_no_sign_of_life() {
    let mut world = World::new(INI);
    let mut node = Node::connect(&mut world, "one");
    let client = world.client(HANDSHAKE);
    world.receive(client, &masked(0x81, b"hello")[..1]);
    for _ in 0..61 {
        world.pass(Duration::from_secs(1));
        node.send(&mut world, b"", "pong", b"");
        node.receive(&mut world);
    }
    assert_eq!(world.engine.stats().of(Cause::PingTimeout), 1);
}

#[test]
fn where_memory_is_used_up_half_messages_grow_no_further() {
    let mut world = World::new(&INI.replace("[blastbeat:*]", "memory = 1\nwritequeue-high = 64k\n[blastbeat:*]"));
    let mut node = Node::connect(&mut world, "one");
    let clients: Vec<LinkId> = (0..8).map(|_| world.client(HANDSHAKE)).collect();
    node.receive(&mut world);
    for round in 0..6 {
        for client in &clients {
            world.receive(*client, &masked(if round == 0 { 0x02 } else { 0 }, &[b'x'; 60_000]));
        }
    }
    assert!(world.engine.snapshot().memory <= 2 * 1024 * 1024, "{}", world.engine.snapshot().memory);
    let refused = world.engine.stats().of(Cause::MemoryMax);
    assert!((1..8).contains(&refused), "{refused}: there is room for some");
    let farewell = b"\x88\x0c\x03\xf5memory-max";
    let told = clients.iter().filter(|client| world.written[client].ends_with(farewell)).count();
    assert_eq!(told as u64, refused);
}

#[test]
fn a_client_of_the_chat_waits_until_its_message_is_through() {
    let ini = "[blastbeat]\nbind = 127.0.0.1:80\nmax-deliveries = 2\n[blastbeat:*]\nnode = app:welcome\n";
    let mut world = World::new(ini);
    world.engine.add_app(Welcome::NAME, Box::new(Welcome::new()));
    let request = HANDSHAKE.replace("/ws", "/chat");
    let clients: Vec<LinkId> = (0..5).map(|_| world.client(&request)).collect();
    world.pass(Duration::ZERO);
    let flood = masked(0x81, b"hello").repeat(100);
    world.receive(clients[0], &flood);
    assert_eq!(world.engine.fan_outs.len(), 1, "the second message is not read before the first is through");
    world.pass(Duration::ZERO);
    for client in &clients {
        let got = world.written[client].windows(5).filter(|bytes| bytes == b"hello").count();
        assert_eq!(got, 100);
    }
}

#[test]
fn a_client_that_waits_for_a_node_is_not_woken_by_one_that_it_left() {
    let mut world = World::new(&INI.replace("[blastbeat:*]", "node-loss = move\n[blastbeat:*]"));
    let one = Node::connect(&mut world, "one");
    let client = world.client(HANDSHAKE);
    let mut two = Node::connect(&mut world, "two");
    two.send(&mut world, b"", "pong", b"capacity=1");
    world.client(GET);
    two.request(&mut world);
    world.engine.handle(Input::Eof { link: one.link }, world.now);
    world.run();
    let place = world.engine.nodes.find(b"two").unwrap();
    // As if somebody had been there before whose messages waited for this node.
    world.engine.nodes.list[place].paused.push(Carrier::link(client.slot()));
    world.engine.resume_clients_of(place, world.now);
    assert!(!world.engine.interest(client).read, "its messages would have nobody to go to");
    assert!(world.engine.nodes.list[place].paused.is_empty());
}
