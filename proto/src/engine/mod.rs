//! The engine: all state of one shard, without sockets.

mod contract;
mod report;
mod stats;

pub use crate::address::{Address, BindAddr, PeerAddr};
pub use contract::{AppId, Control, Input, Interest, LinkId, ListenerId, Output, Shut, Wake};
pub use report::{Access, Level, Report, Value};
pub use stats::{Snapshot, Stats};
