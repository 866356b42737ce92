//! The protocol machines and the engine of BlastBeat, without sockets, clocks or threads.

#![forbid(unsafe_code)]

extern crate alloc;

pub mod address;
pub mod entropy;
pub mod error;
pub mod limits;
pub mod rope;
pub mod time;
pub mod timers;

#[cfg(feature = "config")]
pub mod config;
#[cfg(feature = "dealer")]
pub mod dealer;
#[cfg(feature = "engine")]
pub mod engine;
#[cfg(feature = "http1")]
pub mod http;
#[cfg(feature = "http1")]
pub mod http1;
#[cfg(feature = "message")]
pub mod message;
#[cfg(feature = "proxy")]
pub mod proxy;
#[cfg(feature = "engine")]
pub mod tape;
#[cfg(feature = "uwsgi")]
pub mod uwsgi;
#[cfg(feature = "zmtp")]
pub mod zmtp;
