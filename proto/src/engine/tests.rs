//! The engine between a client and a node in memory: time is a number, sockets are queues.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddr;
use std::io::IoSlice;

use bytes::Bytes;

mod goaway;
mod hostile;
mod http2;
mod nodes;
mod socketio;
mod spdy;
mod tls;
mod welcome;
mod world;

use super::*;
use crate::config::Mode;
use crate::entropy::SeededEntropy;
use crate::error::Cause;
use crate::message::Sid;
use crate::zmtp;
use world::{Node, World};

const INI: &str =
    "[blastbeat]\nbind = 127.0.0.1:80\nzmq = tcp://127.0.0.1:5000\n\n[blastbeat:*]\nnode = one\nnode = two\n";

const GET: &str = "GET /a?b HTTP/1.1\r\nHost: example.org\r\n\r\n";
const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";

#[test]
fn a_request_travels_to_a_node_and_its_answer_back() {
    let mut world = World::new(INI);
    let mut node = Node::connect(&mut world, "one");
    let client = world.client(GET);
    let sid = node.request(&mut world);
    node.send(&mut world, &sid, "headers", HEAD);
    node.send(&mut world, &sid, "body", b"Hello");
    assert_eq!(world.read(client), "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nHello");
    let [(ended, kind, _)] = &node.receive(&mut world)[..] else { panic!("an end") };
    assert_eq!((ended, kind.as_str()), (&sid, "end"));
    // The connection lives on, with a new session.
    world.receive(client, GET.as_bytes());
    let second = node.request(&mut world);
    assert_ne!(second, sid);
    node.send(&mut world, &second, "body", b"HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(world.read(client), "HTTP/1.1 204 No Content\r\n\r\n");
}

#[test]
fn without_a_node_the_client_hears_so_at_once() {
    let mut world = World::new(INI);
    let client = world.client(GET);
    assert!(world.read(client).starts_with("HTTP/1.1 503 "));
    assert_eq!(world.engine.stats().of(Cause::NodeMissing), 1);
}

#[test]
fn a_request_moves_on_when_its_node_dies() {
    let mut world = World::new(INI);
    let one = Node::connect(&mut world, "one");
    let client = world.client(GET);
    let mut two = Node::connect(&mut world, "two");
    world.engine.handle(Input::Eof { link: one.link }, world.now);
    world.run();
    let sid = two.request(&mut world);
    two.send(&mut world, &sid, "body", b"HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(world.read(client), "HTTP/1.1 204 No Content\r\n\r\n");
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let mut world = World::new(INI);
    let mut node = Node::connect(&mut world, "one");
    let client = world.client(&GET.repeat(3));
    for body in [b"first", b"secnd", b"third"] {
        let sid = node.receive(&mut world).into_iter().find(|(_, kind, _)| kind == "uwsgi").unwrap().0;
        node.send(&mut world, &sid, "headers", HEAD);
        node.send(&mut world, &sid, "body", body);
    }
    let text = world.read(client);
    let bodies: Vec<&str> = text.split("\r\n\r\n").skip(1).map(|rest| &rest[..5]).collect();
    assert_eq!(bodies, ["first", "secnd", "third"]);
}

#[test]
fn a_request_under_way_at_the_drain_deadline_is_told_so() {
    let mut world = World::new(INI);
    let mut node = Node::connect(&mut world, "one");
    let client = world.client(GET);
    let sid = node.request(&mut world);
    world.engine.handle(Input::Control(Control::Drain), world.now);
    world.run();
    world.pass(Duration::from_secs(9));
    assert_eq!(world.read(client), "");
    world.pass(Duration::from_secs(1));
    let page = world.read(client);
    assert!(page.starts_with("HTTP/1.1 503 ") && page.contains("Connection: close"), "{page}");
    let ends: Vec<_> = node.receive(&mut world).into_iter().filter(|(_, kind, _)| kind == "end").collect();
    assert_eq!(ends[0].0, sid);
    world.pass(Duration::from_secs(5));
    assert_eq!(world.reports.last(), Some(&Report::Stopped));
}

#[test]
fn a_drain_finishes_what_is_under_way_and_then_says_so() {
    let mut world = World::new(INI);
    let mut node = Node::connect(&mut world, "one");
    let client = world.client(GET);
    let idle = world.accept(0);
    let sid = node.request(&mut world);
    world.engine.handle(Input::Control(Control::Drain), world.now);
    world.run();
    assert_eq!(world.shut.get(&idle), Some(&Shut::Close));
    node.send(&mut world, &sid, "headers", HEAD);
    node.send(&mut world, &sid, "body", b"Hello");
    assert_eq!(world.read(client), "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nHello");
    world.pass(Duration::from_secs(3));
    assert_eq!(world.reports.last(), Some(&Report::Stopped));
}

#[test]
fn a_client_whose_upload_never_found_a_node_can_go_on() {
    let mut world = World::new(&INI.replace("[blastbeat:*]", "retry-buffer = 4\n[blastbeat:*]\nnode-capacity = 1"));
    let mut node = Node::connect(&mut world, "one");
    world.client(GET);
    let waiting = world.client("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nHello");
    assert!(!world.engine.interest(waiting).read);
    world.pass(Duration::from_secs(10));
    node.receive(&mut world);
    assert!(world.read(waiting).starts_with("HTTP/1.1 503 "));
    assert!(world.engine.interest(waiting).read);
}

#[test]
fn an_upload_flows_again_whatever_the_high_water_mark() {
    let mut world = World::new(&INI.replace("[blastbeat:*]", "node-queue-high = 1\n[blastbeat:*]"));
    let mut node = Node::connect(&mut world, "one");
    let client = world.client("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nHel");
    assert!(world.engine.interest(client).read);
    world.receive(client, b"lo");
    let body: Vec<u8> = node.receive(&mut world).into_iter().skip(1).flat_map(|(_, _, body)| body).collect();
    assert_eq!(body, b"Hello");
}

#[test]
fn a_message_that_fills_the_queue_of_a_node_makes_others_wait_for_it_to_leave() {
    let mut world = World::new(&INI.replace("[blastbeat:*]", "node-queue-buffer = 3000\n[blastbeat:*]"));
    let mut node = Node::connect(&mut world, "one");
    let (large, small) = (world.accept(0), world.accept(0));
    let body = "a".repeat(5000);
    let upload = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    world.engine.handle(Input::Received { link: large, bytes: upload.as_bytes() }, world.now);
    world.engine.handle(Input::Received { link: small, bytes: GET.as_bytes() }, world.now);
    assert_eq!(world.engine.hosts.list[0].waiting.len(), 1, "nothing was written to the node yet");
    world.run();
    let kinds: Vec<String> = node.receive(&mut world).into_iter().map(|(_, kind, _)| kind).collect();
    assert_eq!(kinds, ["uwsgi", "body", "uwsgi"]);
    assert_eq!(world.read(small), "");
}

#[test]
fn an_end_mark_needs_no_credit() {
    let mut world = World::new(&INI.replace("[blastbeat:*]", "credit = 64\n[blastbeat:*]"));
    let mut node = Node::connect(&mut world, "one");
    node.send(&mut world, b"", "pong", b"credit");
    let client = world.client(GET);
    let sid = node.receive(&mut world).remove(0).0;
    // A head may be larger than the credit; what follows has no bytes to pay for.
    let head = format!("HTTP/1.1 200 OK\r\nX-Long: {}\r\nTransfer-Encoding: chunked\r\n\r\n", "a".repeat(13));
    node.conn.send(&[&sid, b"headers", head.as_bytes()]).unwrap();
    node.send(&mut world, &sid, "chunk", b"");
    assert_eq!(world.read(client), format!("{head}0\r\n\r\n"));
    assert_eq!(world.engine.stats().of(Cause::CreditExceeded), 0);
}

#[test]
fn what_makes_no_bytes_for_the_client_is_credited_at_once() {
    let mut world = World::new(&INI.replace("[blastbeat:*]", "credit = 64\n[blastbeat:*]"));
    let mut node = Node::connect(&mut world, "one");
    node.send(&mut world, b"", "pong", b"credit");
    let client = world.client(GET);
    let sid = node.receive(&mut world).remove(0).0;
    for _ in 0..10 {
        node.send(&mut world, &sid, "headers", b"HTTP/1.1 100 Continue\r\n\r\n");
    }
    node.send(&mut world, &sid, "headers", b"HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(world.read(client), "HTTP/1.1 204 No Content\r\n\r\n");
}

#[test]
fn a_listener_that_had_no_descriptors_does_not_open_at_the_cap() {
    let mut world = World::new(&INI.replace("[blastbeat:*]", "connections = 1\n[blastbeat:*]"));
    let client = world.accept(0);
    world.engine.handle(Input::AcceptFailed { on: ListenerId(0), why: std::io::ErrorKind::Other }, world.now);
    world.pass(Duration::from_secs(1));
    assert_eq!(world.engine.listeners[0].held, Some(None));
    world.engine.handle(Input::Failed { link: client, why: std::io::ErrorKind::ConnectionReset }, world.now);
    assert_eq!(world.engine.listeners[0].held, None);
}

#[test]
fn with_half_close_what_was_asked_before_the_end_is_answered() {
    let mut world = World::new(&INI.replace("[blastbeat:*]", "half-close = on\n[blastbeat:*]"));
    let mut node = Node::connect(&mut world, "one");
    let client = world.client(&GET.repeat(2));
    world.engine.handle(Input::Eof { link: client }, world.now);
    world.run();
    for _ in 0..2 {
        let sid = node.receive(&mut world).into_iter().find(|(_, kind, _)| kind == "uwsgi").unwrap().0;
        node.send(&mut world, &sid, "body", b"HTTP/1.1 204 No Content\r\n\r\n");
    }
    let answers = "HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
    assert_eq!(world.read(client), answers);
    assert_eq!(world.shut.get(&client), Some(&Shut::Close));
}

#[test]
fn a_client_that_does_not_take_an_error_page_is_counted() {
    let mut world = World::new(INI);
    let peer = PeerAddr::Ip(SocketAddr::from(([127, 0, 0, 1], 40_000)));
    let client = world.engine.accept(ListenerId(0), peer, world.now).unwrap();
    world.engine.handle(Input::Received { link: client, bytes: GET.as_bytes() }, world.now);
    world.now += world.engine.config().limits.write_stall;
    world.engine.handle(Input::Timeout, world.now);
    world.run();
    assert_eq!(world.engine.stats().of(Cause::WriteStall), 1);
    assert!(world.reports.contains(&Report::ClientRefused { peer, cause: Cause::WriteStall, why: None }));
}

#[test]
fn when_memory_runs_out_those_who_do_not_read_are_cut() {
    // Sessions that began while there was room.
    let mut world = World::new(&INI.replace("[blastbeat]", "[blastbeat]\nmemory = 2"));
    let mut node = Node::connect(&mut world, "one");
    for _ in 0..10 {
        world.client(GET);
    }
    let sids: Vec<_> = node.receive(&mut world).into_iter().map(|(sid, ..)| sid).collect();
    let answer = [b"HTTP/1.1 200 OK\r\n\r\n", &[b'x'; 512 * 1024][..]].concat();
    for sid in &sids {
        node.conn.send(&[sid, b"body", &answer]).unwrap();
        let bytes = node.conn.outbound().take();
        // The sockets take nothing.
        world.engine.handle(Input::Received { link: node.link, bytes: &bytes }, world.now);
    }
    let memory = world.engine.snapshot().memory;
    assert!((2 << 20..3 << 20).contains(&memory), "{memory}");
    assert_eq!(world.engine.stats().of(Cause::MemoryMax), 6);
    assert_eq!(world.engine.snapshot().sessions, 4);
    world.run();
}

#[test]
fn when_memory_runs_out_no_body_is_kept_for_another_node() {
    let mut world = World::new(&INI.replace("[blastbeat]", "[blastbeat]\nmemory = 2"));
    let mut node = Node::connect(&mut world, "one");
    let uploads: Vec<_> =
        (0..10).map(|_| world.client("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9000000\r\n\r\n")).collect();
    for _ in 0..12 {
        for upload in &uploads {
            world.receive(*upload, &[b'x'; 60_000]);
        }
        assert!(!node.receive(&mut world).is_empty());
    }
    let memory = world.engine.snapshot().memory;
    assert!(memory < 3 << 20, "{memory}");
    assert_eq!(world.engine.snapshot().sessions, 10);
}

#[test]
fn an_answer_that_is_the_last_is_not_eaten_by_a_reset() {
    let mut world = World::new(INI);
    let mut node = Node::connect(&mut world, "one");
    let client = world.client(GET);
    let sid = node.request(&mut world);
    node.send(&mut world, &sid, "body", b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nHello");
    assert!(world.read(client).ends_with("Hello"));
    // It does not know yet that this was the last answer, and asks again.
    assert_eq!(world.shut.remove(&client), Some(Shut::Write));
    assert!(world.engine.interest(client).read);
    world.receive(client, GET.as_bytes());
    assert_eq!(world.shut.remove(&client), None);
    world.engine.handle(Input::Eof { link: client }, world.now);
    world.run();
    assert_eq!(world.shut.remove(&client), Some(Shut::Close));
    assert!(node.receive(&mut world).iter().all(|(_, kind, _)| kind == "end"));
    // Who has said so itself has nothing more to say.
    let client = world.client(&GET.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n"));
    let sid = node.request(&mut world);
    node.send(&mut world, &sid, "body", b"HTTP/1.1 204 No Content\r\n\r\n");
    assert!(world.read(client).starts_with("HTTP/1.1 204 "));
    assert_eq!(world.shut.remove(&client), Some(Shut::Close));
}

#[test]
fn an_answer_that_ends_with_the_connection_is_cut_by_a_reset() {
    let request = "GET / HTTP/1.0\r\nHost: example.org\r\n\r\n";
    for (is_ended, is_written) in [(false, true), (true, false)] {
        let mut world = World::new(INI);
        let mut node = Node::connect(&mut world, "one");
        let client = world.client(request);
        let sid = node.request(&mut world);
        node.conn.send(&[&sid, b"headers", b"HTTP/1.1 200 OK\r\n\r\n"]).unwrap();
        node.conn.send(&[&sid, b"body", &[b'a'; 5000]]).unwrap();
        if is_ended {
            node.conn.send(&[&sid, b"end", b""]).unwrap();
        }
        let bytes = node.conn.outbound().take();
        world.engine.handle(Input::Received { link: node.link, bytes: &bytes }, world.now);
        if is_written {
            world.run();
        }
        world.engine.handle(Input::Control(Control::Stop), world.now);
        world.run();
        assert_eq!(world.shut[&client], Shut::Abort, "ended {is_ended}");
    }
}

#[test]
fn the_log_tells_the_status_of_a_page_that_a_stalled_upload_got() {
    let mut world = World::new(INI);
    let _node = Node::connect(&mut world, "one");
    let client = world.client("POST / HTTP/1.1\r\nHost: example.org\r\nContent-Length: 5\r\n\r\n");
    world.pass(Duration::from_secs(31));
    assert!(world.read(client).starts_with("HTTP/1.1 408 "));
    let access = world.reports.iter().find_map(|report| {
        let Report::Access(access) = report else { return None };
        Some((access.cause, access.status))
    });
    assert_eq!(access, Some((Cause::BodyTimeout, 408)));
}

#[test]
fn a_beginning_that_might_be_of_any_protocol_is_answered_in_time() {
    let ini = INI.replacen("bind = 127.0.0.1:80", "bind = 127.0.0.1:80 h2c spdy=2,3.1", 1);
    for (begun, answer) in [("", ""), ("PRI * H", "HTTP/1.1 408 "), ("G", "HTTP/1.1 408 ")] {
        let mut world = World::new(&ini);
        let client = world.client(begun);
        world.pass(Duration::from_secs(31));
        assert!(world.read(client).starts_with(answer), "{begun}");
        let refused = world.reports.iter().filter(|report| matches!(report, Report::ClientRefused { .. })).count();
        assert_eq!(
            (refused, world.engine.stats().of(Cause::HeadTimeout)),
            (usize::from(!begun.is_empty()), 1),
            "{begun}"
        );
    }
}

const HANDSHAKE: &str = "GET /ws HTTP/1.1\r\nHost: example.org\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

#[test]
fn a_websocket_whose_client_goes_in_the_middle_of_a_header_is_over_at_once() {
    let mut world = World::new(INI);
    let mut node = Node::connect(&mut world, "one");
    let client = world.client(HANDSHAKE);
    let sid = node.request(&mut world);
    world.receive(client, b"\x81");
    world.engine.handle(Input::Eof { link: client }, world.now);
    world.run();
    assert!(world.shut.contains_key(&client));
    let messages = node.receive(&mut world);
    assert_eq!(messages, [(sid, "end".into(), Bytes::new())]);
    assert_eq!(world.engine.stats().of(Cause::ClientGone), 1);
}

#[test]
fn a_message_to_more_members_than_one_turn_takes_reaches_all_before_the_next() {
    let mut world = World::new(&INI.replace("zmq", "max-deliveries = 2\nzmq"));
    let mut node = Node::connect(&mut world, "one");
    let clients: Vec<LinkId> = (0..5).map(|_| world.client(HANDSHAKE)).collect();
    let sids: Vec<Vec<u8>> = node.receive(&mut world).into_iter().map(|(sid, ..)| sid).collect();
    for (sid, client) in sids.iter().zip(&clients) {
        node.send(&mut world, sid, "join", b"g");
        world.written.remove(client);
    }
    node.send(&mut world, b"", "g:websocket", b"1");
    node.send(&mut world, &sids[0], "g:websocket", b"2");
    let took = |world: &World, client| world.written.get(client).map_or(0, |bytes: &Vec<u8>| bytes.len());
    let delivered: usize = clients.iter().map(|client| took(&world, client)).sum();
    assert_eq!(delivered, 2 * 3, "one turn's share");
    let mut turns = 0;
    while world.engine.poll_timeout().is_some_and(|wake| wake.at <= world.now) {
        world.engine.handle(Input::Timeout, world.now);
        world.run();
        turns += 1;
    }
    assert_eq!(turns, 4, "seven deliveries are left, and the sender's own, which is not counted");
    for client in &clients {
        assert_eq!(world.written[client], b"\x81\x011\x81\x012");
    }
}
