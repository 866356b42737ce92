//! A TLS server that hears arbitrary bytes, before and after a client's handshake.

use std::io::Write;
use std::sync::{Arc, LazyLock};

use blastbeat_proto::error::Cause;
use blastbeat_proto::time::{Duration, Instant};
use blastbeat_proto::tls::{Certificates, ClientAuth, Connection, Entry, Event, Resumption, Settings, WallClock};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, ClientConnection, RootCertStore, version};

/// Events, plaintext, outcome and the length of the output are the same however the bytes are cut; what was drained
/// takes everything; a client that is not disturbed is heard to the last byte; the output is bounded by the input; after
/// the end everything is consumed and nothing happens; a time-out that is not due changes nothing.
///
/// The first byte chooses the version and what the rest is: bytes instead of a handshake, bytes behind one, plaintext of
/// a client, or changes to what a client sends. The second is how the input is cut.
pub fn body(data: &[u8]) {
    let (mode, step, data) = match data {
        [mode, step, rest @ ..] => (*mode, usize::from(*step).max(1), rest),
        [] | [_] => return,
    };
    let is_old = mode & 4 != 0;
    let run = |step: usize| match mode & 3 {
        0 => Run::new(step).give(data),
        1 => Run::new(step).after_handshake(is_old, &[]).0.give(data),
        2 => {
            let (mut run, mut client) = Run::new(step).after_handshake(is_old, &[]);
            for piece in data.chunks(step.max(8)) {
                client.writer().write_all(piece).expect("room for small pieces");
                run = run.give(&ciphertext(&mut client));
            }
            assert_eq!((&run.plain[..], run.server.is_closing()), (data, None));
            run
        }
        _ => Run::new(step).after_handshake(is_old, data).0,
    };
    let (whole, pieces) = (run(data.len().max(8)), run(step));
    // What was changed in a client's words depends on its random numbers.
    if mode & 3 != 3 {
        assert_eq!(whole.events, pieces.events);
        assert_eq!(whole.plain, pieces.plain);
        assert_eq!(whole.server.is_closing(), pieces.server.is_closing());
        if mode & 3 != 2 {
            assert_eq!(whole.sent, pieces.sent);
        }
    }
    whole.check(data.len());
    pieces.check(data.len());
}

/// A handshake of the server's, its ticket and an alert are shorter than this together.
const OUTPUT_FIXED: usize = 4096;

struct Run {
    server: Connection,
    step: usize,
    kept: Vec<u8>,
    /// Kinds of events: whether it was established, and whether the end was clean.
    events: Vec<Option<bool>>,
    plain: Vec<u8>,
    sent: usize,
}

impl Run {
    fn new(step: usize) -> Self {
        let server = Connection::new(SETTINGS.clone(), Instant::ZERO);
        Self { server, step, kept: Vec::new(), events: Vec::new(), plain: Vec::new(), sent: 0 }
    }

    /// Has a client shake hands; `changes` are places (two bytes) and values (one) in what it sends.
    fn after_handshake(mut self, is_old: bool, changes: &[u8]) -> (Self, ClientConnection) {
        let mut client = client(is_old);
        for _ in 0..3 {
            let mut bytes = ciphertext(&mut client);
            let len = bytes.len();
            for change in changes.chunks_exact(3).filter(|_| len > 0) {
                let at = usize::from(u16::from_be_bytes([change[0], change[1]])) % len;
                bytes[at] = change[2];
            }
            self = self.give(&bytes);
            let answer = self.server.outbound().take();
            self.sent += answer.len();
            let mut rest = &answer[..];
            while !rest.is_empty() {
                if client.read_tls(&mut rest).is_err() || client.process_new_packets().is_err() {
                    break;
                }
            }
        }
        assert!(!changes.is_empty() || self.server.is_established());
        (self, client)
    }

    fn give(mut self, data: &[u8]) -> Self {
        for chunk in data.chunks(self.step) {
            self.kept.extend_from_slice(chunk);
            self.drain();
            assert!(self.kept.is_empty());
            let deadline = self.server.poll_timeout();
            let closing = self.server.is_closing();
            self.server.handle_timeout(Instant::ZERO + Duration::from_nanos(1));
            assert_eq!((self.server.poll_timeout(), self.server.is_closing()), (deadline, closing));
        }
        self
    }

    fn drain(&mut self) {
        loop {
            let used = self.server.receive(&self.kept, Instant::ZERO);
            self.kept.drain(..used);
            let len = self.server.plain().len();
            self.drain_events();
            self.plain.extend_from_slice(self.server.plain());
            self.server.consume_plain(len);
            self.drain_events();
            if used == 0 && len == 0 {
                return;
            }
        }
    }

    fn drain_events(&mut self) {
        while let Some(event) = self.server.poll_event() {
            self.events.push(match event {
                Event::Established(_) => None,
                Event::Ended { is_clean } => Some(is_clean),
            });
        }
    }

    fn check(mut self, input: usize) {
        assert!(self.sent + self.server.outbound().len() <= OUTPUT_FIXED + input);
        assert!(self.events.len() <= 2);
        assert_eq!(
            self.server.violation().is_some(),
            self.server.is_closing().is_some_and(|cause| cause != Cause::TlsAlert)
        );
        if self.server.is_closing().is_some() {
            let queued = self.server.outbound().len();
            assert_eq!(self.server.receive(&[22; 100], Instant::ZERO), 100);
            self.server.receive_eof(Instant::ZERO);
            self.server.close(Instant::ZERO);
            assert!(self.server.poll_event().is_none() && self.server.poll_timeout().is_none());
            assert_eq!((self.server.outbound().len(), self.server.plain().len()), (queued, 0));
        }
    }
}

/// A client, of TLS 1.2 if it `is_old`.
pub(crate) fn client(is_old: bool) -> ClientConnection {
    let config = if is_old { &CLIENTS.1 } else { &CLIENTS.0 };
    let name = ServerName::try_from("a.test").expect("a name");
    ClientConnection::new(config.clone(), name).expect("a client")
}

pub(crate) fn ciphertext(client: &mut ClientConnection) -> Vec<u8> {
    let mut bytes = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut bytes).expect("memory");
    }
    bytes
}

pub(crate) const CERTIFICATE: &[u8] = include_bytes!("tls/certificate.pem");
pub(crate) const KEY: &[u8] = include_bytes!("tls/key.pem");
pub(crate) const NOW: Duration = Duration::from_secs(1_800_000_000);

static SETTINGS: LazyLock<Arc<Settings>> = LazyLock::new(|| {
    let entry = Entry {
        label: "a.test".to_string(),
        names: vec!["a.test".to_string()],
        chain: CERTIFICATE.to_vec(),
        key: KEY.to_vec(),
        ocsp: None,
        client_auth: ClientAuth::None,
        protocols: Vec::new(),
    };
    let certificates = Certificates::new(&[entry], Resumption::default(), &WallClock::new(NOW));
    let certificates = Arc::new(certificates.expect("a good certificate"));
    Arc::new(Settings { certificates, handshake_timeout: Duration::from_secs(10) })
});

/// Clients of TLS 1.3 and 1.2.
static CLIENTS: LazyLock<(Arc<ClientConfig>, Arc<ClientConfig>)> = LazyLock::new(|| {
    let client = |version| {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(CERTIFICATE).expect("PEM")).expect("a good certificate");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_details(provider, Arc::new(Always)).with_protocol_versions(&[version]);
        let mut config = config.expect("a version").with_root_certificates(roots).with_no_client_auth();
        // One session must not depend on another.
        config.resumption = rustls::client::Resumption::disabled();
        Arc::new(config)
    };
    (client(&version::TLS13), client(&version::TLS12))
});

#[derive(Debug)]
struct Always;

impl TimeProvider for Always {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(NOW))
    }
}
