//! Fuzz bodies: each takes any bytes and panics if its invariant, its first comment, does not hold.
//!
//! `cargo +nightly fuzz run --features targets NAME` searches; `cargo test` in this folder replays the corpus and some
//! thousand mutations of it. To add a body, write a module, give it a line in [`BODIES`], a target of three lines in
//! `fuzz_targets/` with its entry in `Cargo.toml`, and a few files in `corpus/NAME/`.

pub mod config;
pub mod conversation;
pub mod dealer;
pub mod engine;
pub mod http1;
pub mod http2;
pub mod proxy;
pub mod socketio;
pub mod spdy;
pub mod tls;
pub mod uwsgi;
pub mod websocket;
pub mod zmtp;

/// A body: what it is called, and what it does with an input.
pub struct Body {
    /// Name of its target and of its folder in the corpus.
    pub name: &'static str,
    /// Panics if the invariant does not hold for this input.
    pub run: fn(&[u8]),
}

/// Every body.
pub const BODIES: &[Body] = &[
    Body { name: "config", run: config::body },
    Body { name: "conversation", run: conversation::body },
    Body { name: "dealer", run: dealer::body },
    Body { name: "engine", run: engine::body },
    Body { name: "http1", run: http1::body },
    Body { name: "http2", run: http2::body },
    Body { name: "proxy", run: proxy::body },
    Body { name: "socketio", run: socketio::body },
    Body { name: "spdy", run: spdy::body },
    Body { name: "tls", run: tls::body },
    Body { name: "uwsgi", run: uwsgi::body },
    Body { name: "websocket", run: websocket::body },
    Body { name: "zmtp", run: zmtp::body },
];
