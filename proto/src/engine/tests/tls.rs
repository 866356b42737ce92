//! Clients that speak TLS, by a library of others, and the engine.

mod browser;
mod ends;
mod handshake;
mod hostile;
mod hosts;
mod spdy;
mod traffic;

use super::*;
