//! Nodes that come, go, keep silent, go mad or do not read.

use super::*;

#[test]
fn a_node_that_does_not_answer_costs_a_504() {
    let mut world = World::new(INI);
    let mut node = Node::connect(&mut world, "one");
    let client = world.client(GET);
    let sid = node.request(&mut world);
    for _ in 0..60 {
        world.pass(Duration::from_secs(1));
        node.send(&mut world, b"", "pong", b"");
    }
    assert!(world.read(client).starts_with("HTTP/1.1 504 "));
    let ends: Vec<_> = node.receive(&mut world).into_iter().filter(|(_, kind, _)| kind == "end").collect();
    assert_eq!(ends[0].0, sid);
}

#[test]
fn a_node_is_silent_only_to_a_server_that_asks() {
    let mut world = World::new(INI);
    let mut node = Node::connect(&mut world, "one");
    // The whole server stands still for an hour.
    world.now += Duration::from_secs(3600);
    world.engine.handle(Input::Timeout, world.now);
    world.run();
    world.client(GET);
    let kinds: Vec<_> = node.receive(&mut world).into_iter().map(|(_, kind, _)| kind).collect();
    assert_eq!(kinds, ["ping", "uwsgi"]);
    let silent = |world: &World| world.reports.iter().any(|report| matches!(report, Report::NodeSilent { .. }));
    world.pass(Duration::from_millis(5999));
    assert!(!silent(&world));
    world.pass(Duration::from_millis(1));
    assert!(silent(&world));
}

#[test]
fn a_sid_works_only_for_its_own_node() {
    let mut world = World::new(INI);
    let mut one = Node::connect(&mut world, "one");
    let client = world.client(GET);
    let sid = one.request(&mut world);
    let mut two = Node::connect(&mut world, "two");
    two.send(&mut world, &sid, "body", b"HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(world.read(client), "");
    assert_eq!(world.engine.stats().of(Cause::SessionForeign), 1);
    two.send(&mut world, &Sid([9; 16]).0, "end", b"");
    assert_eq!(world.engine.stats().of(Cause::SessionUnknown), 1);
}

#[test]
fn a_node_that_hangs_up_in_its_handshake_is_reported() {
    let mut world = World::new(INI);
    let link = world.accept(1);
    world.receive(link, b"\xff\0\0\0\0\0\0\0\x01\x7f");
    world.engine.handle(Input::Eof { link }, world.now);
    world.run();
    let told = |report: &Report| matches!(report, Report::NodeRefused { cause: Cause::LinkClosed, .. });
    assert!(world.reports.iter().any(told), "{:?}", world.reports);
    assert_eq!(world.engine.stats().of(Cause::LinkClosed), 1);
}

#[test]
fn nodes_past_the_cap_wait_in_the_queue_of_the_system() {
    let mut world = World::new(&INI.replace("[blastbeat:*]", "max-nodes = 1\n[blastbeat:*]"));
    let node = Node::connect(&mut world, "one");
    let paused = |world: &World| world.reports.iter().filter(|r| matches!(r, Report::AcceptPaused { .. })).count();
    assert_eq!(paused(&world), 1);
    assert!(world.engine.accept(ListenerId(1), PeerAddr::Unix, world.now).is_none());
    world.engine.handle(Input::Eof { link: node.link }, world.now);
    world.run();
    Node::greet(&mut world, "two");
    assert_eq!(paused(&world), 2);
}

#[test]
fn a_node_gone_mad_does_not_fill_the_log() {
    let mut world = World::new(INI);
    let mut node = Node::connect(&mut world, "one");
    for _ in 0..1000 {
        node.send(&mut world, b"", "nonsense", b"");
    }
    let reported =
        |world: &World| world.reports.iter().filter(|report| matches!(report, Report::MessageDropped { .. })).count();
    assert_eq!(reported(&world), 100);
    assert_eq!(world.engine.stats().of(Cause::TypeUnknown), 1000);
    world.engine.handle(Input::Control(Control::Stats), world.now);
    node.send(&mut world, b"", "nonsense", b"");
    assert_eq!(reported(&world), 101);
}

#[test]
fn a_stranger_is_held_and_closed_without_a_word() {
    let mut world = World::new(INI);
    let mut stranger = Node::greet(&mut world, "stranger");
    stranger.receive(&mut world);
    assert!(!stranger.conn.is_up());
    assert_eq!(world.engine.stats().of(Cause::IdentityUnknown), 1);
    assert!(world.shut.is_empty());
    world.pass(Duration::from_secs(5));
    assert_eq!(world.shut.get(&stranger.link), Some(&Shut::Close));
}

#[test]
fn a_second_node_of_the_same_name_takes_over_only_from_a_dead_one() {
    let mut world = World::new(INI);
    let mut first = Node::connect(&mut world, "one");
    let mut second = Node::greet(&mut world, "one");
    second.receive(&mut world);
    first.send(&mut world, b"", "pong", b"");
    assert_eq!(world.engine.stats().of(Cause::IdentityDuplicate), 1);
    assert!(!second.conn.is_up());
    let mut third = Node::greet(&mut world, "one");
    third.receive(&mut world);
    world.pass(Duration::from_secs(4));
    third.receive(&mut world);
    assert!(third.conn.is_up());
    assert_eq!(world.shut.get(&first.link), Some(&Shut::Close));
}

#[test]
fn a_node_that_reads_nothing_is_told_only_so_much() {
    let mut world = World::new(&INI.replace("[blastbeat:*]", "node-queue-high = 1000\n[blastbeat:*]"));
    let mut node = Node::connect(&mut world, "one");
    node.send(&mut world, b"", "pong", b"errors");
    for _ in 0..1000 {
        node.conn.send(&[b"", b"nonsense", b""]).unwrap();
    }
    let bytes = node.conn.outbound().take();
    world.engine.handle(Input::Received { link: node.link, bytes: &bytes }, world.now);
    assert_eq!(world.engine.stats().of(Cause::TypeUnknown), 1000);
    assert!((1000..1100).contains(&world.engine.snapshot().memory), "{}", world.engine.snapshot().memory);
}

#[test]
fn the_beginning_of_a_command_does_not_stop_the_reading() {
    let mut world = World::new(&INI.replace("[blastbeat:*]", "pipeline-buffer = 1\nmax-head = 256\n[blastbeat:*]"));
    let mut node = Node::greet(&mut world, "one");
    let greeting = node.conn.outbound().take();
    world.receive(node.link, &greeting);
    let mut ready = alloc::vec![4 | 2, 0, 0, 0, 0, 0, 0, 0x0f, 0];
    ready.extend_from_slice(b"\x05READY");
    ready.resize(600, 0);
    world.receive(node.link, &ready);
    assert!(world.engine.interest(node.link).read);
}

#[test]
fn a_stop_tells_nodes_of_the_requests_that_it_cuts() {
    let mut world = World::new(INI);
    let mut node = Node::connect(&mut world, "one");
    let client = world.client(GET);
    let sid = node.request(&mut world);
    world.engine.handle(Input::Control(Control::Stop), world.now);
    world.run();
    assert_eq!(world.shut.get(&client), Some(&Shut::Close));
    let [(ended, kind, _)] = &node.receive(&mut world)[..] else { panic!("an end") };
    assert_eq!((ended, kind.as_str()), (&sid, "end"));
    assert_eq!(world.reports.last(), Some(&Report::Stopped));
}

#[test]
fn a_node_that_is_given_up_hears_of_no_request_that_others_get() {
    let mut world = World::new(INI);
    let mut one = Node::connect(&mut world, "one");
    let client = world.accept(0);
    // The request waits to be written when its node breaks the rules.
    world.engine.handle(Input::Received { link: client, bytes: GET.as_bytes() }, world.now);
    world.engine.handle(Input::Received { link: one.link, bytes: b"\xff" }, world.now);
    world.run();
    assert_eq!(one.receive(&mut world), []);
    assert_eq!(world.shut.get(&one.link), Some(&Shut::Close));
    assert!(world.read(client).starts_with("HTTP/1.1 503 "));
}

#[test]
fn whoever_may_not_go_to_a_free_node_does_not_keep_others_from_it() {
    let ini = INI.replace("[blastbeat]", "[blastbeat]\nnode-capacity = 1");
    let mut world = World::new(&ini);
    let (mut one, mut two) = (Node::connect(&mut world, "one"), Node::connect(&mut world, "two"));
    world.client(GET);
    world.client(GET);
    let (first, second) = (one.request(&mut world), two.request(&mut world));
    world.client(GET);
    one.send(&mut world, &first, "retry", b"");
    let third = one.request(&mut world);
    // The first waits for the second node only; the fourth would take either.
    world.client(GET);
    one.send(&mut world, &third, "body", b"HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(one.receive(&mut world).len(), 2, "the end of the third, and the fourth");
    two.send(&mut world, &second, "body", b"HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(two.receive(&mut world).len(), 2, "the end of the second, and the first again");
}

#[test]
fn rare_pings_do_not_keep_a_node_from_taking_over_from_a_dead_one() {
    let mut world = World::new(&INI.replace("[blastbeat]", "[blastbeat]\nping-freq = 60"));
    let first = Node::connect(&mut world, "one");
    let mut second = Node::greet(&mut world, "one");
    second.receive(&mut world);
    world.pass(Duration::from_secs(9));
    second.receive(&mut world);
    assert!(second.conn.is_up());
    assert_eq!(world.shut.get(&first.link), Some(&Shut::Close));
}
