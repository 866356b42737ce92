//! SPDY under the engine: each stream is the carrier of a session, in all three versions.

mod answers;
mod ends;
mod peer;
mod uploads;

use super::*;
use crate::http::{BodySize, StreamId};
use crate::spdy::Version;
use peer::Peer;

/// Listener 0 speaks this version in clear text. `global` is more for the global section, `host` for that of the host.
fn world(version: Version, global: &str, host: &str) -> World {
    let number = version.alpn().trim_start_matches("spdy/");
    World::new(&alloc::format!(
        "[blastbeat]\nbind = 127.0.0.1:80 spdy={number}\nzmq = tcp://127.0.0.1:5000\n{global}\n\n\
         [blastbeat:*]\nnode = one\nnode = two\n{host}\n"
    ))
}

/// A world with one node and one client.
fn stage(version: Version, global: &str, host: &str) -> (World, Node, Peer) {
    let mut world = world(version, global, host);
    let node = Node::connect(&mut world, "one");
    let client = Peer::new(&mut world, version);
    (world, node, client)
}

/// The sessions of all requests that came, and nothing else that did.
fn requests(node: &mut Node, world: &mut World) -> Vec<Vec<u8>> {
    let messages = node.receive(world);
    assert!(messages.iter().all(|(_, kind, _)| kind == "uwsgi"), "{messages:?}");
    messages.into_iter().map(|(sid, ..)| sid).collect()
}

fn accesses(world: &World) -> impl Iterator<Item = &report::Access> {
    world.reports.iter().filter_map(|report| if let Report::Access(access) = report { Some(&**access) } else { None })
}

/// The bytes of the body that came for a session.
fn body_of(messages: &[(Vec<u8>, String, Bytes)], sid: &[u8]) -> Vec<u8> {
    messages.iter().filter(|(of, kind, _)| of == sid && kind == "body").flat_map(|(.., body)| body.to_vec()).collect()
}
