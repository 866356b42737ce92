//! The server as its peers see it: scenarios and dialogues that run on three hosts.
//!
//! A [`Host`](host::Host) carries bytes between an engine and its peers: [`Sim`](sim::Sim) in memory and in virtual
//! time, the two drivers over loopback sockets in real time. A [`Stage`](stage::Stage) stands on a host and speaks
//! for the peers: clients as plain bytes, nodes through a ZMTP codec of its own ([`node_link`]), so that the server's
//! codec is not judged by itself. A scenario is a function over a stage, written once and stamped on every host by
//! [`scenarios!`](crate::scenarios); a [dialogue](dialogue) is the same as a text file.
//!
//! Nothing here sleeps. A scenario waits for the thing it expects; in virtual time that is over when nothing moves
//! any more, in real time after [`PATIENCE`](host::PATIENCE).

pub mod dialogue;
pub mod host;
pub mod load;
pub mod node_link;
pub mod packet;
pub mod recording;
pub mod sim;
pub mod sockets;
pub mod stage;

use std::sync::Arc;

use blastbeat_proto::config::{Config, Mode};
use blastbeat_proto::engine::{Engine, Welcome};
use blastbeat_proto::entropy::SeededEntropy;
use blastbeat_proto::time::Instant;

/// Reads a scenario's configuration.
///
/// # Panics
/// If it has a problem.
pub fn config(ini: &str) -> Config {
    match Config::parse(ini.as_bytes(), "scenario", Mode::Strict) {
        Ok((config, _)) => config,
        Err(problems) => panic!("{}", problems.iter().map(|problem| format!("{problem}\n")).collect::<String>()),
    }
}

/// An engine as the programs make it, from a seed.
pub fn engine(config: Config, seed: [u8; 32], now: Instant) -> Engine {
    let mut engine = Engine::new(Arc::new(config), Box::new(SeededEntropy::new(seed)), now);
    engine.add_app(Welcome::NAME, Box::new(Welcome::new()));
    engine
}
