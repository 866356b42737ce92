//! Bodies of requests: they flow as their nodes take them.

use super::*;
use crate::http::{self, Request};

fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n / 7) as u8).collect()
}

#[test]
fn a_large_upload_arrives_whole_at_a_node_that_pauses_it() {
    for version in Version::ALL {
        let (mut world, mut node, mut client) = stage(version, "node-queue-high = 20000", "");
        let body = bytes(3_000_000);
        let stream = client.post(&mut world, BodySize::Length(body.len() as u64));
        let sid = node.request(&mut world);
        client.send(&mut world, stream, &body);
        let mut came = Vec::new();
        while came.len() < body.len() {
            let before = came.len();
            came.append(&mut body_of(&node.receive(&mut world), &sid));
            client.run(&mut world);
            assert!(came.len() > before, "{version}: {before} of {}", body.len());
        }
        assert!(came == body, "{version}: the same bytes");
        node.send(&mut world, &sid, "body", &[HEAD, b"Hello"].concat());
        assert_eq!(client.answer(&mut world, stream), Some((200, &b"Hello"[..], true)));
    }
}

#[test]
fn what_comes_back_while_it_goes_up_flows_too() {
    for version in Version::ALL {
        let (mut world, mut node, mut client) = stage(version, "node-queue-high = 20000", "");
        let body = bytes(600_000);
        let stream = client.post(&mut world, BodySize::Chunked);
        let sid = node.request(&mut world);
        node.send(&mut world, &sid, "headers", b"HTTP/1.1 200 OK\r\n\r\n");
        for piece in body.chunks(50_000) {
            client.send(&mut world, stream, piece);
            let came = body_of(&node.receive(&mut world), &sid);
            node.send(&mut world, &sid, "body", &came);
        }
        client.end(&mut world, stream);
        let rest = body_of(&node.receive(&mut world), &sid);
        node.send(&mut world, &sid, "body", &rest);
        node.send(&mut world, &sid, "end", b"");
        let (_, data, is_whole) = client.answer(&mut world, stream).unwrap();
        assert!(is_whole && data == body, "{version}: {} bytes", data.len());
    }
}

#[test]
fn others_go_on_when_a_node_that_did_not_read_does() {
    for version in Version::ALL {
        let (mut world, mut node, mut client) = stage(version, "node-queue-high = 20000", "");
        let upload = client.post(&mut world, BodySize::Chunked);
        let sid = node.request(&mut world);
        // The node takes nothing while all of this comes.
        let mut sent = 0;
        while world.engine.interest(client.link).read && sent < 4_000_000 {
            client.conn.send(upload, http::Event::Body(bytes(10_000).into()), world.now).unwrap();
            let out = client.conn.outbound().take();
            if out.is_empty() {
                break;
            }
            world.engine.handle(Input::Received { link: client.link, bytes: &out }, world.now);
            sent += 10_000;
        }
        assert!((200_000..1_500_000).contains(&sent), "{version}: {sent}");
        let memory = world.engine.snapshot().memory;
        assert!(memory < 3 << 20, "{version}: {memory}");
        world.run();
        let mut messages = node.receive(&mut world);
        let get = client.get(&mut world, "/");
        messages.append(&mut node.receive(&mut world));
        let (other, ..) = messages.iter().find(|(of, kind, _)| *of != sid && kind == "uwsgi").unwrap().clone();
        node.send(&mut world, &other, "body", &[HEAD, b"Hello"].concat());
        assert_eq!(client.answer(&mut world, get), Some((200, &b"Hello"[..], true)));
        client.end(&mut world, upload);
        messages.append(&mut node.receive(&mut world));
        assert!(body_of(&messages, &sid).len() >= sent - 10_000, "{version}");
    }
}

#[test]
fn an_upload_that_is_answered_early_holds_up_nobody() {
    for version in Version::ALL {
        let (mut world, mut node, mut client) = stage(version, "node-queue-high = 20000", "");
        for _ in 0..3 {
            let upload = client.post(&mut world, BodySize::Chunked);
            let (sid, ..) = node.receive(&mut world).into_iter().find(|(_, kind, _)| kind == "uwsgi").unwrap();
            client.conn.send(upload, http::Event::Body(bytes(200_000).into()), world.now).unwrap();
            while client.conn.has_outbound() {
                let out = client.conn.outbound().take();
                world.engine.handle(Input::Received { link: client.link, bytes: &out }, world.now);
            }
            // More than its window, while the node has not read what came.
            let answer = [b"HTTP/1.1 200 OK\r\nContent-Length: 150000\r\n\r\n", &bytes(150_000)[..]].concat();
            node.conn.send(&[&sid, b"body", &answer]).unwrap();
            let out = node.conn.outbound().take();
            world.receive(node.link, &out);
            client.end(&mut world, upload);
            let (status, data, is_whole) = client.answer(&mut world, upload).unwrap();
            assert_eq!((status, data.len(), is_whole), (200, 150_000, true), "{version}");
        }
        assert!(client.conn.is_idle());
        assert_eq!(world.engine.snapshot().sessions, 0);
    }
}

#[test]
fn a_body_larger_than_allowed_is_answered_with_413() {
    for version in Version::ALL {
        let (mut world, mut node, mut client) = stage(version, "", "max-body = 20000");
        let unknown = client.post(&mut world, BodySize::Chunked);
        let sid = node.request(&mut world);
        client.send(&mut world, unknown, &bytes(15_000));
        client.send(&mut world, unknown, &bytes(15_000));
        assert_eq!(client.answer(&mut world, unknown).map(|(status, _, whole)| (status, whole)), Some((413, true)));
        let messages = node.receive(&mut world);
        assert_eq!(messages.last().map(|(of, kind, _)| (of, kind.as_str())), Some((&sid, "end")));
        client.end(&mut world, unknown);
        assert!(client.conn.is_idle());
        let announced = client.post(&mut world, BodySize::Length(20_001));
        assert_eq!(client.answer(&mut world, announced).map(|(status, _, whole)| (status, whole)), Some((413, true)));
        assert_eq!(node.receive(&mut world), [], "no node hears of it");
    }
}

#[test]
fn a_request_moves_on_with_its_body_when_its_node_dies() {
    for version in Version::ALL {
        let (mut world, mut one, mut client) = stage(version, "", "");
        let put = Request::builder("PUT", "/", "example.org").body(BodySize::Length(8)).build().unwrap();
        let stream = client.open(&mut world, &put);
        client.send(&mut world, stream, b"four");
        let sid = one.receive(&mut world).remove(0).0;
        let mut two = Node::connect(&mut world, "two");
        world.engine.handle(Input::Eof { link: one.link }, world.now);
        world.run();
        client.send(&mut world, stream, b"more");
        let messages = two.receive(&mut world);
        let moved = messages[0].0.clone();
        assert_eq!((messages[0].1.as_str(), body_of(&messages, &moved)), ("uwsgi", b"fourmore".to_vec()), "{sid:?}");
        two.send(&mut world, &moved, "body", &[HEAD, b"Hello"].concat());
        assert_eq!(client.answer(&mut world, stream), Some((200, &b"Hello"[..], true)));
    }
}

#[test]
fn a_body_of_another_length_than_announced_is_logged_as_it_is_answered() {
    for version in Version::ALL {
        let (mut world, mut node, mut client) = stage(version, "access-log = on", "");
        let stream = client.post(&mut world, BodySize::Length(8));
        node.request(&mut world);
        client.raw(&mut world, b"\0\0\0\x01\x01\0\0\x04four");
        assert_eq!(client.answer(&mut world, stream).map(|(status, ..)| status), Some(400));
        let access = accesses(&world).next().unwrap();
        assert_eq!((access.cause, access.status), (Cause::LengthWrong, 400), "{version}");
    }
}
