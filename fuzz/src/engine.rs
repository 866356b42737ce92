//! A whole engine, between clients and nodes that do what the input says.

mod client;
mod guest;
mod node;
mod script;
mod setup;
mod spdy;
mod streams;
mod talk;
mod tunnel;
mod world;

use blastbeat_proto::engine::Control;
use blastbeat_proto::time::Duration;

use script::Script;
use world::World;

/// Operations of one run.
const OPERATIONS: usize = 200;

// Invariants: nothing panics, and the engine's books add up after every input. What a client gets is a sequence of
// sound responses, each to the oldest request that has no final one, as long as the client only sent requests. A node
// hears of a session once, gets body bytes only between its `uwsgi` and its `end`, and exactly one `end`, unless it
// passed the request on or waived it. What one client or node says on WebSockets reaches each that it is for in order,
// and nothing follows a close frame. A client of socket.io whose connections are gone is missed in time. No link is spoken of after its end. A timeout that was obeyed is over. When all
// links are gone nothing is in the ledger; what was recorded of connections of TLS is replayed alike; a server that is stopped ends by itself, whatever its peers do.
/// Runs one input: the first byte chooses the configuration, the second the beginning and the end, the rest are
/// operations and what they need.
pub fn body(data: &[u8]) {
    let mut script = Script::new(data);
    let mut world = World::new(script.byte());
    let ending = script.byte();
    if ending & 4 != 0 {
        warm_up(&mut world, ending >> 3);
    }
    for _ in 0..OPERATIONS {
        if script.is_empty() {
            break;
        }
        operate(&mut world, &mut script);
        world.settle();
    }
    conclude(&mut world, ending);
}

/// Two nodes that are alive, and two clients.
fn warm_up(world: &mut World, capabilities: u8) {
    let operations: [&[u8]; 7] = [
        &[12, 0, 1, 0, 0],
        &[1, 0, 0, 0],
        &[1, 0, 1, 0],
        &[15, 0, capabilities],
        &[15, 1, capabilities],
        &[0, 0, 0, 1],
        &[0, 0, 1, 0],
    ];
    for operation in operations {
        operate(world, &mut Script::new(operation));
        world.settle();
    }
}

fn operate(world: &mut World, script: &mut Script<'_>) {
    let operation = script.byte();
    if operation >= 232 {
        return world.with_client(script, |client, script, _| client.browse(script));
    }
    if operation >= 208 {
        return operate_guests(operation % 8, world, script);
    }
    if operation >= 160 {
        return operate_websockets(operation % 8, world, script);
    }
    match operation % 16 {
        0 => world.accept_client(script),
        1 => world.accept_node(script),
        2 => world.with_client(script, |client, script, _| client.ask(script)),
        3 => world.with_client(script, |client, script, _| client.mumble(script)),
        4 => world.with_client(script, |client, script, _| client.wire.pace(script)),
        5 => world.end_client(script),
        6 => world.with_node(script, |node, script, sids| node.say(script, sids)),
        7 => world.with_node(script, |node, script, _| node.mumble(script)),
        8 => world.with_node(script, |node, script, _| node.wire.pace(script)),
        9 => world.end_node(script),
        10 => world.pass(script),
        11 => world.control(match script.byte() {
            0..128 => Control::Stats,
            128..240 => Control::Drain,
            240.. => Control::Stop,
        }),
        12 => world.dialed(script),
        13 => world.disturb(script),
        14 => world.with_node(script, |node, script, _| node.answer(script)),
        _ => world.with_node(script, |node, script, _| node.pong(script)),
    }
}

fn operate_websockets(operation: u8, world: &mut World, script: &mut Script<'_>) {
    match operation {
        0 => world.with_client(script, |client, script, _| client.shake_hands(script)),
        1 | 2 => world.with_client(script, |client, script, _| client.speak(script)),
        3 | 4 => world.with_node(script, |node, script, sids| node.talk(script, sids)),
        5 => match script.byte() % 4 {
            0 => world.with_node(script, |node, script, _| node.shake_hands(script)),
            1 => world.with_node(script, |node, script, sids| node.burst(script, sids)),
            _ => world.with_node(script, |node, script, _| node.gather(script)),
        },
        6 => world.crowd(script),
        _ => world.with_node(script, |node, script, sids| node.burst(script, sids)),
    }
}

fn operate_guests(operation: u8, world: &mut World, script: &mut Script<'_>) {
    match operation {
        0..4 => world.visit(script),
        4 | 5 => world.with_node(script, |node, script, sids| node.pack(script, sids)),
        6 => world.with_node(script, |node, script, _| node.welcome(script)),
        _ => match script.byte() % 4 {
            0 => world.with_node(script, |node, script, _| node.gather(script)),
            1 => world.end_client(script),
            2 => world.end_node(script),
            _ => world.pass(script),
        },
    }
}

/// The end of a run: everybody reads again, then the links go, or the server.
fn conclude(world: &mut World, ending: u8) {
    world.everybody_reads();
    world.settle();
    match ending % 4 {
        0 => {
            world.lose_clients();
            world.settle();
            world.check_ends();
            world.lose_nodes();
            world.settle();
        }
        1 => world.stop(Control::Stop),
        _ => {
            world.stop(Control::Drain);
            world.skip(Duration::from_secs(1));
        }
    }
    world.check_empty();
    world.check_tape();
}
