//! SPDY/3 or SPDY/3.1, where nothing has negotiated which: they begin alike, and differ by the connection's window alone.
//!
//! ```text
//! Open ──window used up──▶ Asked ──PING is back──▶ AskedAgain ──PING is back──▶ Guessed: SPDY/3
//!   │                        │                         │                           │
//!   └────────────────────────┴──────── the window opens: SPDY/3.1, Settled ────────┘
//! ```
//!
//! Before the guess a peer is sent no more than SPDY/3.1 allows. It is told of the connection's window, which SPDY/3 has it
//! ignore, and is not held to it. A peer that has taken all that filled its window, and says nothing of it, has none; it is
//! asked twice, since some answer a PING before what came ahead of it. The books of the window go on behind the guess:
//! whoever opens it after all is bound by them again.

use alloc::sync::Arc;

use super::frame::Version;
use super::{Connection, Settings};
use crate::time::Instant;

/// Whether it is known which of both the peer speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doubt {
    /// It is.
    Settled,
    /// Nothing has shown it yet.
    Open,
    /// A PING of this number stands behind all that has used up the window.
    Asked(u32),
    /// The peer has answered that, and is asked once more.
    AskedAgain(u32),
    /// It is taken for SPDY/3.
    Guessed,
}

impl Connection {
    /// As [`server`](Self::server), for a client that may speak SPDY/3 or SPDY/3.1, and has told nobody which: both begin
    /// with the same [`first_bytes`](Version::first_bytes). It is taken for SPDY/3.1, in its requests too, until it has
    /// left 64 KiB of answers, and two PINGs behind them, without a word of the connection's window. A client of SPDY/3.1
    /// that does so because nobody reads those answers is mistaken, and may be sent more than it allows.
    pub fn server_in_doubt(settings: Arc<Settings>, now: Instant) -> Self {
        let mut connection = Self::server(Version::V31, settings, now);
        connection.doubt = Doubt::Open;
        connection
    }

    /// Whether the peer is sent no more than the connection's window lets.
    pub(super) fn is_bound(&self) -> bool {
        self.version.has_connection_window() && self.doubt != Doubt::Guessed
    }

    /// Whether the peer is held to the connection's window.
    pub(super) fn has_sure_window(&self) -> bool {
        self.version.has_connection_window() && self.doubt == Doubt::Settled
    }

    /// The connection's window is used up.
    pub(super) fn ask_version(&mut self) {
        if self.doubt == Doubt::Open {
            self.doubt = Doubt::Asked(self.write_ping());
        }
    }

    /// A PING of ours came back.
    pub(super) fn on_asked(&mut self, id: u32) {
        if self.doubt == Doubt::Asked(id) {
            self.doubt = Doubt::AskedAgain(self.write_ping());
        } else if self.doubt == Doubt::AskedAgain(id) {
            self.doubt = Doubt::Guessed;
        }
    }
}
