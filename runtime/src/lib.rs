//! What both programs share and the core may not do: sockets, names, signals, files, the log, privileges.

#![deny(unsafe_code)]

pub mod fdlimit;
pub mod log;
pub mod net;
pub mod privileges;
pub mod resolve;
pub mod signal;
pub mod systemd;

#[cfg(test)]
mod scratch;
