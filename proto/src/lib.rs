//! The protocol machines and the engine of BlastBeat, without sockets, clocks or threads.
//!
//! # What it does for you
//!
//! * [`engine`]: a whole front server as one state machine: give it what was read, write what it queues.
//! * [`http1`]: one HTTP/1.1 connection, as server or client; [`http`]: its heads, rules and error pages.
//! * [`http2`]: one HTTP/2 connection, as server.
//! * [`spdy`]: one connection of SPDY/2, SPDY/3 or SPDY/3.1, as server or client.
//! * [`websocket`]: one WebSocket, as server or client, with its handshake.
//! * [`socketio`]: one client of socket.io, or of Engine.IO alone, as server or client, whatever moves its packets.
//! * [`zmtp`]: one ZMTP 3 connection, ROUTER or DEALER; [`dealer`]: a node of this server on top of it.
//! * [`uwsgi`]: requests and responses as uwsgi packets; [`message`]: the words that nodes and server use.
//! * [`proxy`]: the PROXY protocol in front of a connection.
//! * `tls`: the server's side of one TLS connection, and the certificates of many names.
//! * [`config`]: an ini file, read and checked; [`tape`]: recordings of an engine.
//!
//! # What you must do
//!
//! Read the clock once per wake-up and pass [`time::Instant`]s in. Give a machine what was read with `receive`, keep
//! what it did not take and offer it again with newer bytes behind it, drain `poll_event` after each call, write from
//! `outbound` and `advance` it, and call `handle_timeout` when `poll_timeout` says. Events that are received are the
//! commands that can be sent: both roles are one type, so two machines can talk in memory.
//!
//! A [`Violation`](error::Violation) is a peer's fault, and its farewell is queued already; a
//! [`Misuse`](error::Misuse) is a bug of the caller. No machine panics on what a peer sends.
//!
//! # Features
//!
//! | feature | module | needs |
//! |---|---|---|
//! | `http1` | [`http`], [`http1`] | |
//! | `http2` | [`http2`] | `http1` |
//! | `spdy` | [`spdy`] | `http1` |
//! | `websocket` | [`websocket`] | `http1` |
//! | `socketio` | [`socketio`] | `websocket` |
//! | `uwsgi` | [`uwsgi`] | `http1` |
//! | `zmtp` | [`zmtp`] | |
//! | `message` | [`message`] | |
//! | `proxy` | [`proxy`] | |
//! | `dealer` | [`dealer`] | `zmtp`, `message`, `uwsgi` |
//! | `config` | [`config`] | |
//! | `tls`, `tls-ring` | `tls` | |
//! | `engine` (default) | [`engine`], [`tape`] | all of them |

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
#[cfg(feature = "http2")]
pub mod http2;
#[cfg(feature = "message")]
pub mod message;
#[cfg(feature = "proxy")]
pub mod proxy;
#[cfg(feature = "socketio")]
pub mod socketio;
#[cfg(feature = "spdy")]
pub mod spdy;
#[cfg(feature = "engine")]
pub mod tape;
#[cfg(feature = "__tls")]
pub mod tls;
#[cfg(feature = "uwsgi")]
pub mod uwsgi;
#[cfg(feature = "websocket")]
pub mod websocket;
#[cfg(feature = "zmtp")]
pub mod zmtp;
