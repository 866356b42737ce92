//! A server of ours and a client of rustls, in memory.

mod ends;
mod handshake;
mod hostile;
mod peer;
mod resumption;
mod store;
mod traffic;
