//! TLS 1.2 and 1.3 (RFC 5246, RFC 8446), the server's side, without sockets.
//!
//! [`Certificates`] holds what the server can show, by name; a [`Connection`] is one client. Hand it what was read,
//! drain its events, take the plaintext out, give it plaintext to send, and write what is in its outbound queue:
//!
//! ```
//! use std::sync::Arc;
//! use blastbeat_proto::limits::Limits;
//! use blastbeat_proto::time::{Duration, Instant};
//! use blastbeat_proto::tls::{Certificates, Connection, Event, Resumption, Settings, WallClock};
//!
//! # fn answer(_: &[u8]) -> &'static [u8] { b"" }
//! fn serve(connection: &mut Connection, mut read: &[u8], now: Instant) {
//!     loop {
//!         let used = connection.receive(read, now);
//!         read = &read[used..];
//!         while let Some(event) = connection.poll_event() {
//!             if let Event::Established(facts) = event {
//!                 println!("{:?} over {}", facts.server_name, facts.version);
//!             }
//!         }
//!         let plain = connection.plain();
//!         if plain.is_empty() && used == 0 {
//!             return; // what is left waits for more to come
//!         }
//!         let (len, answer) = (plain.len(), answer(plain));
//!         connection.consume_plain(len);
//!         if connection.is_established() {
//!             connection.send_plain(answer).expect("it is established");
//!         }
//!     }
//! }
//!
//! let clock = WallClock::new(Duration::from_secs(1_800_000_000));
//! let certificates = Certificates::new(&[], Resumption::default(), &clock).expect("nothing to be wrong");
//! let settings = Arc::new(Settings::new(Arc::new(certificates), &Limits::DEFAULT));
//! let mut connection = Connection::new(settings, Instant::ZERO);
//! serve(&mut connection, b"GET / HTTP/1.1\r\n\r\n", Instant::ZERO);
//! assert_eq!(connection.is_closing().map(|cause| cause.name()), Some("not-tls"));
//! assert_eq!(connection.outbound().take(), [21, 3, 3, 0, 2, 2, 50]); // a fatal alert: decode_error
//! ```
//!
//! The work is done by rustls, with the cryptography of aws-lc or ring; none of their types is seen outside. Time comes
//! from the caller ([`WallClock`] and `now`). Randomness is the one exception to purity: it is the cryptographic
//! library's own, so two runs never put the same bytes on the wire.
//!
//! There is no renegotiation, no compression and no early data (0-RTT), and nothing below TLS 1.2.

mod certificates;
mod clock;
mod connection;
mod facts;
mod failure;
mod library;
mod pipes;
mod problem;
mod records;
mod resumption;
#[cfg(test)]
mod tests;
mod x509;

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::time::Duration;

pub use certificates::{Certificates, ClientAuth, Entry};
pub use clock::WallClock;
pub use connection::{Connection, IDLE_BYTES, SEND_MAX};
pub use facts::{ClientCertificate, Facts, Version, fingerprint};
pub use problem::{EntryError, Problem};
pub use resumption::Resumption;

use crate::limits::Limits;

/// What connections of one listener have in common.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What the server can show.
    pub certificates: Arc<Certificates>,
    /// From the start of a connection until it is established.
    pub handshake_timeout: Duration,
}

impl Settings {
    /// Settings with the deadline of `limits`.
    pub fn new(certificates: Arc<Certificates>, limits: &Limits) -> Self {
        Self { certificates, handshake_timeout: limits.handshake_timeout }
    }
}

/// What a connection tells its caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The handshake is complete: plaintext can be sent, and will come.
    Established(Box<Facts>),
    /// The client sends no more, and all that it sent was taken. It may still read.
    Ended {
        /// It has said so. Otherwise anybody on the way can have cut its words short (RFC 8446, 6.1): a message without
        /// a length of its own is not complete.
        is_clean: bool,
    },
}
