//! What both programs share and the core may not do: the command line, files, certificates, the log, signals, privileges, sockets.
//!
//! A program is a name and a driver: its `main` is [`main`] with a [`Program`]. A driver finds here what it needs
//! besides readiness: sockets ([`net`]), names ([`resolve`]), and what it is run with ([`driver`]).

#![deny(unsafe_code)]

pub mod certificates;
pub mod driver;
mod fdlimit;
mod flags;
mod load;
mod log;
mod memory;
pub mod net;
pub mod node;
mod privileges;
mod program;
pub mod resolve;
mod self_signed;
mod serve;
mod signal;
mod systemd;
mod tape_file;

pub use program::{Program, Run, main};

#[cfg(test)]
mod scratch;
