//! What the server does for its clients, nodes and operators, on every host.

use std::collections::VecDeque;

use blastbeat_tests::stage::{Node, Stage};

#[path = "scenarios/capacity.rs"]
mod capacity;
#[path = "scenarios/clients.rs"]
mod clients;
#[path = "scenarios/http2.rs"]
mod http2;
#[path = "scenarios/http2_websockets.rs"]
mod http2_websockets;
#[path = "scenarios/links.rs"]
mod links;
#[path = "scenarios/messages.rs"]
mod messages;
#[path = "scenarios/operator.rs"]
mod operator;
#[path = "scenarios/pressure.rs"]
mod pressure;
#[path = "scenarios/socketio.rs"]
mod socketio;
#[path = "scenarios/socketio_nodes.rs"]
mod socketio_nodes;
#[path = "scenarios/socketio_recovery.rs"]
mod socketio_recovery;
#[path = "scenarios/socketio_rooms.rs"]
mod socketio_rooms;
#[path = "scenarios/socketio_upgrade.rs"]
mod socketio_upgrade;
#[path = "scenarios/spdy.rs"]
mod spdy;
#[path = "scenarios/spdy_doors.rs"]
mod spdy_doors;
#[path = "scenarios/spdy_ends.rs"]
mod spdy_ends;
#[path = "scenarios/spdy_flow.rs"]
mod spdy_flow;
#[path = "scenarios/spdy_pushes.rs"]
mod spdy_pushes;
#[path = "scenarios/tls.rs"]
mod tls;
#[path = "scenarios/websockets.rs"]
mod websockets;

/// Lets a node send by `send` until the server, which may keep 4 MiB in all, ends somebody for it.
fn flood_until_somebody_goes(stage: &mut Stage, node: Node, mut send: impl FnMut(&mut Stage, usize)) {
    let mut ends = VecDeque::new();
    for number in 0..1000 {
        send(stage, number);
        if number % 10 == 9 {
            let memory = stage.snapshot().memory;
            assert!(memory < 5 * 1024 * 1024, "the server holds {memory} bytes");
            ends = stage.take_messages(node);
        }
        if !ends.is_empty() {
            break;
        }
    }
    assert!(!ends.is_empty(), "somebody has to go");
    for end in &ends {
        assert_eq!((&end.kind[..], &end.body[..]), ("end", &b"memory-max"[..]));
    }
}

/// One virtual host `a` with the nodes `n1`, `n2` and `n3`; `global` stands in the global section.
fn ini(global: &str) -> String {
    format!(
        "[blastbeat]\nbind = 127.0.0.1:0\nzmq = tcp://127.0.0.1:0\n{global}\n[blastbeat:a]\nnode = n1\nnode = n2\nnode = n3\n"
    )
}

/// The same for scenarios of socket.io that move so much that a heartbeat may fall into them.
fn bulk(global: &str) -> String {
    ini(&format!("socketio-ping-interval = 1000\n{global}"))
}

/// A GET without a body.
fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")
}

/// The answer to a request that a node answers with 204.
const NO_CONTENT: &str = "HTTP/1.1 204 No Content\r\n\r\n";
