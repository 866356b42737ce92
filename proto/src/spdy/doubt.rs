//! SPDY/3 or SPDY/3.1, where nothing has negotiated which: they begin alike, and differ by the connection's window alone.
//!
//! ```text
//! Open --the window is used up--> Asked --the PING comes back--> SPDY/3
//!   \------------------------------- \--the window opens---------> SPDY/3.1
//! ```
//!
//! Until then a peer is sent no more than SPDY/3.1 allows, is told of the connection's window, which SPDY/3 has it ignore,
//! and is not held to it. A peer that has taken all that filled its window, and says nothing of it, has none.

use super::frame::Version;
use super::{Connection, Settings};
use crate::time::Instant;
use alloc::sync::Arc;

/// Whether it is known which of both the peer speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doubt {
    /// It is.
    Settled,
    /// Nothing has shown it yet.
    Open,
    /// A PING of this number stands behind all that has used up the window.
    Asked(u32),
}

impl Connection {
    /// As [`server`](Self::server), for a client that may speak SPDY/3 or SPDY/3.1, and has told nobody which: both begin
    /// with the same [`first_bytes`](Version::first_bytes). It is taken for SPDY/3.1, in its requests too, until 64 KiB
    /// of answers that it says nothing of show that it is not.
    pub fn server_in_doubt(settings: Arc<Settings>, now: Instant) -> Self {
        let mut connection = Self::server(Version::V31, settings, now);
        connection.doubt = Doubt::Open;
        connection
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
            (self.doubt, self.version) = (Doubt::Settled, Version::V3);
        }
    }
}
