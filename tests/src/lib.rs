//! The server as its peers see it: scenarios and dialogues that run on three hosts.
//!
//! A [`Host`](host::Host) carries bytes between an engine and its peers: [`Sim`](sim::Sim) in memory and in virtual
//! time, the two drivers over loopback sockets in real time. A [`Stage`](stage::Stage) stands on a host and speaks
//! for the peers: clients as plain bytes, nodes through a ZMTP codec of its own ([`node_link`]), so that the server's
//! codec is not judged by itself. A scenario is a function over a stage, written once and stamped on every host by
//! [`scenarios!`](crate::scenarios); a [dialogue] is the same as a text file.
//!
//! Nothing here sleeps. A scenario waits for the thing it expects; in virtual time that is over when nothing moves
//! any more, in real time after [`PATIENCE`](host::PATIENCE).

pub mod chat;
pub mod dialogue;
pub mod frames;
pub mod host;
pub mod http2;
pub mod http2_stage;
pub mod load;
pub mod node_link;
pub mod packet;
pub mod recording;
pub mod secure;
pub mod shadow;
pub mod sim;
pub mod simulation;
pub mod socketio;
pub mod socketio_stage;
pub mod sockets;
pub mod spdy_frames;
pub mod spdy_stage;
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

/// Stamps scenarios (functions that take a `&mut Stage`) on every host, each as a test of its own.
///
/// `scenarios!` plays them in memory, a byte at a time, and on both drivers with and without chaos;
/// `scenarios!(bulk: ...)` leaves out the hosts that move single bytes, for scenarios that move many.
#[macro_export]
macro_rules! scenarios {
    (bulk: $($name:ident)+) => {
        $(mod $name {
            $crate::scenarios!(@host $name in_memory $crate::sim::Sim::new());
            $crate::scenarios!(@host $name on_mio $crate::sockets::Sockets::mio());
            $crate::scenarios!(@host $name on_smol $crate::sockets::Sockets::smol());
        })+
    };
    (@host $name:ident $on:ident $host:expr) => {
        #[test]
        fn $on() {
            let mut stage = $crate::stage::Stage::new(Box::new($host));
            super::super::$name(&mut stage);
            stage.finish();
        }
    };
    ($($name:ident)+) => {
        $(mod $name {
            $crate::scenarios!(@host $name in_memory $crate::sim::Sim::new());
            $crate::scenarios!(@host $name in_memory_byte_by_byte $crate::sim::Sim::in_chunks(1));
            $crate::scenarios!(@host $name on_mio $crate::sockets::Sockets::mio());
            $crate::scenarios!(@host $name on_smol $crate::sockets::Sockets::smol());
            $crate::scenarios!(@host $name on_mio_in_chaos $crate::sockets::Sockets::mio().with_chaos(11));
            $crate::scenarios!(@host $name on_smol_in_chaos $crate::sockets::Sockets::smol().with_chaos(12));
        })+
    };
}

/// Compiles the Rust of the README.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
mod readme {}
