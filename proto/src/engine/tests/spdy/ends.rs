//! How connections, streams and sessions end, and what bounds them.

use super::*;
use crate::http::Request;

#[test]
fn streams_are_balanced_one_by_one_and_answered_in_any_order() {
    for version in Version::ALL {
        let mut world = world(version, "", "");
        let mut nodes = ["one", "two"].map(|name| Node::connect(&mut world, name));
        let mut client = Peer::new(&mut world, version);
        let streams = [(); 4].map(|()| client.get(&mut world, "/"));
        let sids = nodes.each_mut().map(|node| requests(node, &mut world));
        assert_eq!((sids[0].len(), sids[1].len()), (2, 2));
        for (node, place) in [(1, 1), (0, 1), (0, 0), (1, 0)] {
            nodes[node].send(&mut world, &sids[node][place], "body", &[HEAD, b"Hello"].concat());
        }
        for stream in streams {
            assert_eq!(client.answer(&mut world, stream), Some((200, &b"Hello"[..], true)));
        }
        let ends = nodes.each_mut().map(|node| node.receive(&mut world)).concat();
        assert!(ends.len() == 4 && ends.iter().all(|(_, kind, _)| kind == "end"), "{ends:?}");
    }
}

#[test]
fn a_stream_that_is_reset_ends_its_session_alone() {
    for version in Version::ALL {
        let (mut world, mut node, mut client) = stage(version, "", "");
        node.send(&mut world, b"", "pong", b"end-reason");
        let streams = [(); 2].map(|()| client.get(&mut world, "/"));
        let sids = requests(&mut node, &mut world);
        client.reset(&mut world, streams[0]);
        assert_eq!(node.receive(&mut world), [(sids[0].clone(), "end".into(), Bytes::from_static(b"stream-reset"))]);
        node.send(&mut world, &sids[0], "headers", HEAD);
        node.send(&mut world, &sids[1], "body", b"HTTP/1.1 204 No Content\r\n\r\n");
        assert_eq!(client.answer(&mut world, streams[0]), None);
        assert_eq!(client.answer(&mut world, streams[1]), Some((204, &b""[..], true)));
        assert_eq!(world.engine.stats().of(Cause::StreamReset), 1);
    }
}

#[test]
fn a_connection_that_goes_ends_all_its_sessions() {
    for (version, how) in Version::ALL.into_iter().flat_map(|version| (0..4).map(move |how| (version, how))) {
        let (mut world, mut node, mut client) = stage(version, "", "");
        client.get(&mut world, "/");
        let upload = client.post(&mut world, BodySize::Chunked);
        client.send(&mut world, upload, b"abc");
        assert_eq!(node.receive(&mut world).iter().filter(|(_, kind, _)| kind == "uwsgi").count(), 2);
        let link = client.link;
        match how {
            0 => world.engine.handle(Input::Eof { link }, world.now),
            1 => world.engine.handle(Input::Failed { link, why: std::io::ErrorKind::ConnectionReset }, world.now),
            2 => client.raw(&mut world, b"\0\0\0\0\0\0\0\x01x"),
            _ => client.raw(&mut world, b"\x80\x04\0\x06\0\0\0\x04\0\0\0\x01"),
        }
        world.run();
        let ends = node.receive(&mut world);
        assert!(ends.len() == 2 && ends.iter().all(|(_, kind, _)| kind == "end"), "{ends:?}");
        assert_eq!(world.engine.snapshot().sessions, 0);
        world.pass(Duration::from_secs(10));
        assert_eq!((world.engine.snapshot().connections, world.engine.snapshot().memory), (0, 0), "{version}, {how}");
    }
}

#[test]
fn a_drain_answers_what_is_under_way() {
    for version in Version::ALL {
        let (mut world, mut node, mut client) = stage(version, "", "");
        let idle = Peer::new(&mut world, version);
        let stream = client.get(&mut world, "/");
        let sid = node.request(&mut world);
        world.engine.handle(Input::Control(Control::Drain), world.now);
        world.run();
        client.run(&mut world);
        assert!(world.shut.contains_key(&idle.link), "who has said nothing is not waited for");
        let late = Request::builder("GET", "/", "example.org").build().unwrap();
        assert!(client.conn.open(&late, false, Default::default(), world.now).is_err(), "it was told to go");
        node.send(&mut world, &sid, "body", &[HEAD, b"Hello"].concat());
        assert_eq!(client.answer(&mut world, stream), Some((200, &b"Hello"[..], true)));
        world.pass(Duration::from_secs(5));
        assert!(world.shut.contains_key(&client.link));
        assert_eq!(world.reports.last(), Some(&Report::Stopped));
    }
}

#[test]
fn a_goaway_of_the_node_moves_what_it_has_not_answered() {
    for version in Version::ALL {
        let (mut world, mut one, mut client) = stage(version, "", "");
        let stream = client.get(&mut world, "/");
        let sid = one.request(&mut world);
        one.send(&mut world, &sid, "goaway", b"");
        client.run(&mut world);
        one.send(&mut world, &sid, "body", &[HEAD, b"Hello"].concat());
        assert_eq!(client.answer(&mut world, stream), Some((200, &b"Hello"[..], true)));
        world.pass(Duration::from_secs(5));
        assert!(world.shut.contains_key(&client.link), "{version}: the client was told to go");
    }
}

#[test]
fn limits_hold_for_streams_as_for_connections() {
    for version in Version::ALL {
        let (mut world, mut node, mut client) = stage(version, "sessions = 2\naccess-log = on", "");
        let streams = [(); 3].map(|()| client.get(&mut world, "/"));
        assert_eq!(requests(&mut node, &mut world).len(), 2);
        assert_eq!(client.answer(&mut world, streams[2]).map(|(status, _, whole)| (status, whole)), Some((503, true)));
        assert_eq!(world.engine.stats().of(Cause::SessionsMax), 1);
        let (mut world, mut node, mut client) = stage(version, "h2-streams = 2", "");
        let request = Request::builder("GET", "/", "example.org").build().unwrap();
        // As many as it likes, since it has not read how many it may.
        let mut wild = crate::spdy::Connection::client(version, Default::default(), world.now);
        for _ in 0..3 {
            wild.open(&request, false, Default::default(), world.now).unwrap();
        }
        let bytes = wild.outbound().take();
        world.receive(client.link, &bytes);
        assert_eq!(requests(&mut node, &mut world).len(), 2);
        assert_eq!(world.engine.stats().of(Cause::StreamsMax), 1);
        client.run(&mut world);
    }
}

#[test]
fn a_node_that_does_not_answer_costs_a_504() {
    for version in Version::ALL {
        let (mut world, mut node, mut client) = stage(version, "", "");
        let stream = client.get(&mut world, "/");
        node.request(&mut world);
        for _ in 0..60 {
            world.pass(Duration::from_secs(1));
            node.send(&mut world, b"", "pong", b"");
        }
        assert_eq!(client.answer(&mut world, stream).map(|(status, _, whole)| (status, whole)), Some((504, true)));
    }
}

#[test]
fn whoever_takes_nothing_is_cut() {
    for version in [Version::V3, Version::V31] {
        let (mut world, mut node, mut client) = stage(version, "", "");
        client.takes = false;
        let stream = client.get(&mut world, "/");
        let sid = node.request(&mut world);
        node.send(&mut world, &sid, "headers", b"HTTP/1.1 200 OK\r\n\r\n");
        node.send(&mut world, &sid, "body", &[b'x'; 400_000]);
        client.run(&mut world);
        for _ in 0..61 {
            world.pass(Duration::from_secs(1));
            node.send(&mut world, b"", "pong", b"");
        }
        client.run(&mut world);
        assert_eq!(client.cut(stream), Some(Cause::StreamReset), "{version}");
        assert_eq!(world.engine.stats().of(Cause::WindowStall), 1);
        assert_eq!(world.engine.snapshot().sessions, 0);
    }
}

#[test]
fn a_first_byte_that_nothing_follows_is_not_waited_for() {
    for version in Version::ALL {
        let mut world = world(version, "", "");
        let link = world.accept(0);
        world.receive(link, &version.first_bytes()[..1]);
        world.pass(Duration::from_secs(30));
        assert!(world.shut.contains_key(&link), "{version}");
        let link = world.accept(0);
        for byte in [&version.first_bytes()[..], b"\0\x06\0\0\0\x04\0\0\0\x01"].concat() {
            world.receive(link, &[byte]);
        }
        assert!(world.written[&link].ends_with(b"\0\x06\0\0\0\x04\0\0\0\x01"), "a PING is answered");
    }
}
