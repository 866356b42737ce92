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

pub mod host;
pub mod load;
pub mod node_link;
pub mod packet;
