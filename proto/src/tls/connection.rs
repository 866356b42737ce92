//! The server's side of one TLS connection.
//!
//! ```text
//! Waiting ── first byte ──> Hello ── name, entry ──> Handshake ── Finished ──> Up
//!    └─────────────────────────┴─ violation, alert, deadline, end, close ──────┴──> closing
//! ```

use alloc::boxed::Box;
use alloc::string::ToString;
use alloc::sync::Arc;
use core::mem;
use std::io::{BufRead, IoSlice, Read, Write};

use rustls::server::{Accepted, AcceptedAlert, Acceptor};
use rustls::{Error, PeerIncompatible, ServerConnection};

use super::facts::Facts;
use super::failure::Failure;
use super::pipes::{Nothing, Outbound};
use super::records::Records;
use super::{Event, Settings};
use crate::error::{Cause, Misuse, Violation};
use crate::rope::Rope;
use crate::time::Instant;

/// Plaintext that is encrypted at a time: four full records.
pub const SEND_MAX: usize = 64 * 1024;

/// Memory that an established connection takes while nothing waits in it, the cryptographic library's included: what to
/// charge for one. It is measured.
pub const IDLE_BYTES: usize = 9 * 1024;

/// Slices of a rope that are encrypted at a time.
const SLICES_MAX: usize = 64;

/// What the library's buffer never goes below once it was used.
const BUFFER_MIN: usize = 4096;

/// A record of one fatal alert, in clear, but for the alert's number (RFC 8446, 6).
const ALERT: [u8; 6] = [21, 3, 3, 0, 2, 2];
const HANDSHAKE_FAILURE: u8 = 40;
const DECODE_ERROR: u8 = 50;
const PROTOCOL_VERSION: u8 = 70;
const UNRECOGNIZED_NAME: u8 = 112;

const NOT_ESTABLISHED: Misuse = Misuse("plaintext is sent on a connection that is established");

/// The server's side of one TLS connection, from the first byte to the end.
///
/// Until a byte comes it owns no memory.
pub struct Connection {
    settings: Arc<Settings>,
    stage: Stage,
    deadline: Option<Instant>,
    outbound: Rope,
    records: Records,
    /// The library's buffer has grown past what it needs for small records.
    has_grown: bool,
    established: Option<Box<Facts>>,
    end: End,
    closing: Option<Cause>,
    failure: Option<Box<str>>,
}

enum Stage {
    Waiting,
    Hello(Box<Acceptor>),
    Handshake { connection: Box<ServerConnection>, entry: usize },
    Up(Box<ServerConnection>),
}

/// The end of what the peer sends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    NotYet,
    Untold { is_clean: bool },
    Told,
}

impl Connection {
    /// Starts a connection that shows a certificate of `settings`.
    pub fn new(settings: Arc<Settings>, now: Instant) -> Self {
        Self {
            deadline: Some(now + settings.handshake_timeout),
            settings,
            stage: Stage::Waiting,
            outbound: Rope::new(),
            records: Records::new(now),
            has_grown: false,
            established: None,
            end: End::NotYet,
            closing: None,
            failure: None,
        }
    }

    /// Takes bytes from the peer and returns how many were consumed: a few records at most, and none while an event or
    /// plaintext waits. The caller keeps the rest and offers it again, followed by newer bytes, once it has drained
    /// [`poll_event`](Self::poll_event) and [`plain`](Self::plain). Parts of records are consumed too.
    #[must_use]
    pub fn receive(&mut self, bytes: &[u8], now: Instant) -> usize {
        if self.closing.is_some() || self.end != End::NotYet {
            return bytes.len();
        }
        if bytes.is_empty() || self.established.is_some() || !self.plain().is_empty() {
            return 0;
        }
        let was_up = self.is_established();
        let taken = self.records.take(bytes);
        match self.feed(&bytes[..taken.bytes]) {
            Ok(plain) if was_up && !self.records.account(taken.records, plain, now) => {
                self.fail(Failure { cause: Cause::TlsFlood, words: "records without data".to_string() });
            }
            Ok(_) => self.shrink(taken.bytes),
            Err(failure) => self.fail(failure),
        }
        if self.closing.is_some() { bytes.len() } else { taken.bytes }
    }

    /// Takes note that the peer will send no more. Before the connection is established that closes it; afterwards
    /// [`Event::Ended`] tells whether the peer had said so.
    pub fn receive_eof(&mut self, _now: Instant) {
        if self.closing.is_some() || self.end != End::NotYet {
            return;
        }
        match self.stage {
            Stage::Up(_) => self.end = End::Untold { is_clean: false },
            Stage::Waiting | Stage::Hello(_) | Stage::Handshake { .. } => self.finish(Cause::ConnectionFailed),
        }
    }

    /// Takes the next event. Drain to `None` after each input, and again after plaintext was taken.
    #[must_use]
    pub fn poll_event(&mut self) -> Option<Event> {
        if let Some(facts) = self.established.take() {
            return Some(Event::Established(facts));
        }
        let end = self.end;
        match end {
            End::Untold { is_clean } if self.closing.is_none() && self.plain().is_empty() => {
                self.end = End::Told;
                Some(Event::Ended { is_clean })
            }
            End::Untold { .. } | End::NotYet | End::Told => None,
        }
    }

    /// Lends plaintext that waits: at most one record, 16 KiB. Say with [`consume_plain`](Self::consume_plain) how much
    /// of it was used. What came before a violation can still be taken after it.
    #[must_use]
    pub fn plain(&mut self) -> &[u8] {
        let Some(connection) = self.stage.connection() else { return &[] };
        // An error says that nothing waits, or that the peer has ended, which is known already.
        connection.reader().into_first_chunk().unwrap_or_default()
    }

    /// Drops the first `n` bytes of [`plain`](Self::plain).
    ///
    /// # Panics
    /// If it has fewer.
    pub fn consume_plain(&mut self, n: usize) {
        assert!(n <= self.plain().len(), "more is consumed than there is");
        if let Some(connection) = self.stage.connection() {
            connection.reader().consume(n);
        }
    }

    /// Copies plaintext that waits into `into`, from several records if there are, and returns how much it was.
    pub fn poll_plain(&mut self, into: &mut [u8]) -> usize {
        let Some(connection) = self.stage.connection() else { return 0 };
        connection.reader().read(into).unwrap_or(0)
    }

    /// Encrypts `plain` into the outbound queue. The caller bounds that queue by sending less when it grows.
    pub fn send_plain(&mut self, plain: &[u8]) -> Result<(), Misuse> {
        self.encrypt(&[IoSlice::new(plain)]).map(drop)
    }

    /// Encrypts bytes from the front of `plain`, as many as are [`fitting`](Self::fitting), which are gone from it then;
    /// returns how many they were. Small pieces share a record.
    pub fn send_from(&mut self, plain: &mut Rope) -> Result<usize, Misuse> {
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let mut count = 0;
        for (slice, piece) in slices.iter_mut().zip(front(plain)) {
            *slice = IoSlice::new(piece);
            count += 1;
        }
        let sent = self.encrypt(&slices[..count])?;
        plain.advance(sent);
        Ok(sent)
    }

    /// How many bytes [`send_from`](Self::send_from) takes from the front of `plain`: [`SEND_MAX`], or less if they
    /// are in many pieces.
    pub fn fitting(plain: &Rope) -> usize {
        front(plain).map(<[u8]>::len).sum()
    }

    /// Bytes to be written. The caller writes from the front and calls [`Rope::advance`]; it must not append.
    pub fn outbound(&mut self) -> &mut Rope {
        &mut self.outbound
    }

    /// The number of bytes to be written.
    pub fn queued(&self) -> usize {
        self.outbound.len()
    }

    /// Says goodbye (close_notify) behind what was sent: the connection is closing.
    pub fn close(&mut self, _now: Instant) {
        if self.closing.is_none() {
            self.say_goodbye();
            self.finish(Cause::Complete);
        }
    }

    /// When to call [`handle_timeout`](Self::handle_timeout).
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadline
    }

    /// Gives up a peer whose handshake is late. Early calls are harmless.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            self.say_goodbye();
            self.finish(Cause::HandshakeTimeout);
        }
    }

    /// Whether plaintext can be sent.
    pub fn is_established(&self) -> bool {
        matches!(self.stage, Stage::Up(_)) && self.closing.is_none()
    }

    /// Why the connection is over, if it is: write what is queued, then close. All further input is ignored.
    pub fn is_closing(&self) -> Option<Cause> {
        self.closing
    }

    /// What the peer did wrong, if that is why the connection is over.
    pub fn violation(&self) -> Option<Violation> {
        let is_blameless = |cause: &Cause| {
            matches!(cause, Cause::Complete | Cause::ConnectionFailed | Cause::TlsAlert | Cause::TlsFailed)
        };
        self.closing.filter(|cause| !is_blameless(cause)).map(Violation::from)
    }

    /// More about [`is_closing`](Self::is_closing) for a person, in the TLS library's words: which alert came, what was
    /// wrong with a certificate.
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// Hands `bytes` to the library; returns how much plaintext waits.
    fn feed(&mut self, mut bytes: &[u8]) -> Result<usize, Failure> {
        let mut waiting = 0;
        while !bytes.is_empty() && self.end == End::NotYet {
            match &mut self.stage {
                Stage::Waiting => self.stage = Stage::Hello(Box::default()),
                Stage::Hello(acceptor) => {
                    // The only error is that of a full buffer.
                    acceptor.read_tls(&mut bytes).map_err(Failure::too_large)?;
                    match acceptor.accept() {
                        Ok(None) => {}
                        Ok(Some(accepted)) => {
                            self.answer_hello(accepted)?;
                            waiting = self.process()?;
                        }
                        Err((error, alert)) => return Err(self.refuse(error, alert)),
                    }
                }
                Stage::Handshake { connection, .. } | Stage::Up(connection) => {
                    connection.read_tls(&mut bytes).map_err(Failure::too_large)?;
                    waiting = self.process()?;
                }
            }
        }
        Ok(waiting)
    }

    /// Chooses what to show to a client that has said whom it looks for.
    fn answer_hello(&mut self, accepted: Accepted) -> Result<(), Failure> {
        let certificates = &self.settings.certificates;
        let hello = accepted.client_hello();
        let Some(entry) = certificates.find(hello.server_name()) else {
            let words = hello.server_name().unwrap_or("no name").to_string();
            self.send_clear_alert(UNRECOGNIZED_NAME);
            return Err(Failure { cause: Cause::TlsNameUnknown, words });
        };
        match accepted.into_connection(certificates.config_at(entry).clone()) {
            Ok(mut connection) => {
                // What is encrypted goes to our own queue at once.
                connection.set_buffer_limit(None);
                self.stage = Stage::Handshake { connection: Box::new(connection), entry };
                Ok(())
            }
            Err((error, alert)) => Err(self.refuse(error, alert)),
        }
    }

    /// Has the library look at what it holds; returns how much plaintext waits.
    fn process(&mut self) -> Result<usize, Failure> {
        let Some(connection) = self.stage.connection() else { return Ok(0) };
        let result = connection.process_new_packets();
        let is_handshaking = connection.is_handshaking();
        self.collect();
        // A handshake that was completed is one, whatever came right behind it.
        if !is_handshaking {
            self.establish()?;
        }
        let state = result.map_err(Failure::from)?;
        if state.peer_has_closed() && !is_handshaking {
            self.end = End::Untold { is_clean: true };
        }
        Ok(state.plaintext_bytes_to_read())
    }

    fn establish(&mut self) -> Result<(), Failure> {
        match mem::replace(&mut self.stage, Stage::Waiting) {
            Stage::Handshake { connection, entry } => {
                let facts = Facts::read(&connection, entry, self.settings.certificates.now());
                self.stage = Stage::Up(connection);
                self.deadline = None;
                let facts = facts.ok_or_else(|| Failure {
                    cause: Cause::TlsCertificateRefused,
                    words: "the client's certificate has expired or cannot be read".to_string(),
                })?;
                self.established = Some(Box::new(facts));
            }
            other @ (Stage::Waiting | Stage::Hello(_) | Stage::Up(_)) => self.stage = other,
        }
        Ok(())
    }

    fn encrypt(&mut self, slices: &[IoSlice<'_>]) -> Result<usize, Misuse> {
        if self.closing.is_some() {
            return Err(NOT_ESTABLISHED);
        }
        let Stage::Up(connection) = &mut self.stage else { return Err(NOT_ESTABLISHED) };
        // Without a limit on its buffer the library takes all, and it has not failed, or we would be closing.
        let sent = connection.writer().write_vectored(slices).map_err(|_| NOT_ESTABLISHED)?;
        debug_assert_eq!(sent, slices.iter().map(|slice| slice.len()).sum::<usize>());
        self.collect();
        Ok(sent)
    }

    /// Moves what the library wants to send into our queue.
    fn collect(&mut self) {
        let Some(connection) = self.stage.connection() else { return };
        while connection.wants_write() {
            let written = connection.write_tls(&mut Outbound(&mut self.outbound));
            debug_assert!(written.is_ok(), "a rope takes everything");
        }
    }

    /// The library's buffer grows with what is read into it, and it gives the memory back only before it reads again:
    /// once it is empty, have it try to.
    fn shrink(&mut self, read: usize) {
        self.has_grown |= read > BUFFER_MIN || !self.records.is_between();
        if self.has_grown
            && self.records.is_between()
            && self.end == End::NotYet
            && let Some(connection) = self.stage.connection()
        {
            let result = connection.read_tls(&mut Nothing);
            debug_assert!(result.is_err(), "there is nothing to read");
            self.has_grown = false;
        }
    }

    /// The library refuses what a client says first.
    fn refuse(&mut self, error: Error, mut alert: AcceptedAlert) -> Failure {
        // Only those who know nothing newer than TLS 1.1 leave it out (RFC 5246, E.1; RFC 9155).
        if error == Error::PeerIncompatible(PeerIncompatible::SignatureAlgorithmsExtensionRequired) {
            self.send_clear_alert(PROTOCOL_VERSION);
        } else {
            let written = alert.write_all(&mut Outbound(&mut self.outbound));
            debug_assert!(written.is_ok(), "a rope takes everything");
        }
        Failure::at_hello(error)
    }

    fn fail(&mut self, failure: Failure) {
        // After a fatal alert of theirs there is nobody left to talk to.
        if failure.cause != Cause::TlsAlert {
            match self.stage {
                Stage::Waiting | Stage::Hello(_) if self.outbound.is_empty() => {
                    let is_choosy = failure.cause == Cause::TlsNegotiation;
                    self.send_clear_alert(if is_choosy { HANDSHAKE_FAILURE } else { DECODE_ERROR });
                }
                Stage::Waiting | Stage::Hello(_) => {}
                // The library has queued an alert for most errors; this does nothing then.
                Stage::Handshake { .. } | Stage::Up(_) => self.say_goodbye(),
            }
        }
        self.failure = Some(failure.words.into());
        self.finish(failure.cause);
    }

    fn say_goodbye(&mut self) {
        if let Some(connection) = self.stage.connection() {
            connection.send_close_notify();
            self.collect();
        }
    }

    fn send_clear_alert(&mut self, number: u8) {
        self.outbound.push_copy(&ALERT);
        self.outbound.push_copy(&[number]);
    }

    fn finish(&mut self, cause: Cause) {
        self.closing = Some(cause);
        self.deadline = None;
    }
}

/// What is encrypted at a time.
fn front(plain: &Rope) -> impl Iterator<Item = &[u8]> {
    let mut room = SEND_MAX;
    plain.iter().take(SLICES_MAX).map_while(move |piece| {
        let piece = &piece[..piece.len().min(room)];
        room -= piece.len();
        (!piece.is_empty()).then_some(piece)
    })
}

impl Stage {
    fn connection(&mut self) -> Option<&mut ServerConnection> {
        match self {
            Self::Handshake { connection, .. } | Self::Up(connection) => Some(connection),
            Self::Waiting | Self::Hello(_) => None,
        }
    }
}
