//! What both programs share and the core may not do: sockets, names, signals, files, the log, privileges.

#![deny(unsafe_code)]

pub mod driver;
pub mod fdlimit;
pub mod flags;
pub mod log;
pub mod net;
pub mod privileges;
pub mod resolve;
pub mod signal;
pub mod systemd;
pub mod tape_file;

#[cfg(test)]
mod scratch;
