//! The server's configuration, drawn from the seed, and what it promises.

use std::fmt::Write as _;
use std::time::Duration;

use blastbeat_proto::config::{Config, Redispatch};

use super::dice::Dice;
use crate::config;

/// What the configuration promises.
pub struct Rules {
    pub config: Config,
    /// Requests at one node, by the server's own configuration.
    pub capacity: Option<u32>,
    /// Identities of the nodes.
    pub identities: Vec<String>,
    /// The server dials this node.
    pub dialed: Option<usize>,
}

impl Rules {
    pub fn draw(dice: &mut Dice) -> Self {
        let count = dice.between(1, 4);
        let identities: Vec<String> = (0..count).map(|place| format!("node-{place}")).collect();
        let dialed = dice.chance(20).then(|| dice.below(count));
        let capacity = dice.chance(25).then(|| dice.between(1, 3) as u32);
        let mut ini = String::from("[blastbeat]\nbind = 127.0.0.1:80\nzmq = tcp://127.0.0.1:5000\nstats-freq = 0\n");
        let mut line = |text: &str| {
            let written = writeln!(ini, "{text}");
            debug_assert!(written.is_ok(), "a string takes everything");
        };
        if dialed.is_some() {
            line("zmq-connect = tcp://127.0.0.1:7000");
        }
        let mut sometimes = |key: &str, values: &[&str]| {
            if dice.chance(35) {
                line(&format!("{key} = {}", dice.pick(values)));
            }
        };
        sometimes("redispatch", &["safe", "all", "none"]);
        sometimes("ping-freq", &["1", "3", "10"]);
        sometimes("heartbeat", &["2", "5", "30"]);
        sometimes("node-timeout", &["8", "20"]);
        sometimes("queue", &["0", "1", "3"]);
        sometimes("queue-timeout", &["1", "4"]);
        sometimes("max-hops", &["0", "1", "2"]);
        sometimes("retry-buffer", &["0", "100", "5k", "50k"]);
        sometimes("credit", &["100", "4k", "64k"]);
        sometimes("writequeue-buffer", &["20k", "200k"]);
        sometimes("writequeue-high", &["500", "10k"]);
        sometimes("pipeline-buffer", &["1", "300", "5k"]);
        sometimes("node-queue-high", &["1", "2k", "30k"]);
        sometimes("half-close", &["on"]);
        sometimes("connections", &["1", "3"]);
        sometimes("write-stall", &["10", "30"]);
        sometimes("drain-timeout", &["0", "2", "30"]);
        sometimes("linger-timeout", &["0.1", "1"]);
        let pattern = dice.chance(30);
        ini.push_str("[blastbeat:*]\n");
        if pattern {
            ini.push_str("node = node-*\n");
        } else {
            identities.iter().for_each(|name| ini.push_str(&format!("node = {name}\n")));
        }
        if let Some(capacity) = capacity {
            ini.push_str(&format!("node-capacity = {capacity}\n"));
        }
        let mut config = config(&ini);
        // Some linger for less than an upload.
        config.limits.drain_bytes = dice.pick(&[2000, 262_144]);
        Self { config, capacity, identities, dialed }
    }

    /// Whether a request that was lost with its node goes to another.
    pub fn redispatches(&self, is_idempotent: bool) -> bool {
        match self.config.redispatch {
            Redispatch::All => true,
            Redispatch::Safe => is_idempotent,
            Redispatch::None => false,
        }
    }

    /// More than any healthy deadline of the configuration that is not about the peer's own speed.
    pub fn patience(&self) -> Duration {
        self.config.ping_freq * 3 + Duration::from_secs(2)
    }
}
