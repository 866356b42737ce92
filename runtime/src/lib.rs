//! What both programs share and the core may not do: sockets, names, signals, files, the log, privileges.

pub mod log;
pub mod net;
pub mod resolve;

#[cfg(test)]
mod scratch;
