//! The foreign client, and what both sides need.

use alloc::sync::Arc;
use alloc::vec::Vec;
use std::io::{Read, Write};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SignatureAlgorithm};
use rustls::client::ClientConnection;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion, version};

use super::super::{
    Certificates, ClientAuth, Connection, Entry, Event, Facts, Resumption, Settings, WallClock, library,
};
use crate::error::Cause;
use crate::limits::Limits;
use crate::time::{Duration, Instant};

pub(super) const NOW: Duration = Duration::from_secs(1_800_000_000);

pub(super) fn clock() -> WallClock {
    WallClock::new(NOW)
}

/// A certificate and its key, both as PEM.
#[derive(Clone)]
pub(super) struct Certified {
    pub(super) chain: String,
    pub(super) key: String,
}

impl Certified {
    pub(super) fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.chain.as_bytes()).unwrap()
    }
}

/// A certificate for `names` that vouches for itself.
pub(super) fn self_signed(algorithm: &'static SignatureAlgorithm, names: &[&str]) -> Certified {
    let key = KeyPair::generate_for(algorithm).unwrap();
    let params = CertificateParams::new(names.iter().map(|name| name.to_string()).collect::<Vec<_>>()).unwrap();
    Certified { chain: params.self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
}

pub(super) fn ed25519(names: &[&str]) -> Certified {
    self_signed(&rcgen::PKCS_ED25519, names)
}

/// Somebody who vouches for clients.
pub(super) struct Authority {
    pub(super) pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(super) fn new(name: &str) -> Self {
        let key = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    pub(super) fn certify(&self, change: impl FnOnce(&mut CertificateParams)) -> Certified {
        let key = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "ann");
        params.distinguished_name.push(DnType::OrganizationName, "Fish, Chips & Co");
        params.serial_number = Some(0x00ab_cdef_u64.into());
        change(&mut params);
        let chain = params.signed_by(&key, &self.issuer).unwrap().pem();
        Certified { chain, key: key.serialize_pem() }
    }
}

pub(super) fn entry(names: &[&str], certified: &Certified) -> Entry {
    Entry {
        label: names.first().copied().unwrap_or("nameless").to_string(),
        names: names.iter().map(|name| name.to_string()).collect(),
        chain: certified.chain.clone().into_bytes(),
        key: certified.key.clone().into_bytes(),
        ocsp: None,
        client_auth: ClientAuth::None,
        protocols: Vec::new(),
    }
}

pub(super) fn store(entries: &[Entry]) -> Arc<Certificates> {
    Arc::new(Certificates::new(entries, Resumption::default(), &clock()).unwrap())
}

pub(super) fn settings(certificates: &Arc<Certificates>) -> Arc<Settings> {
    Arc::new(Settings::new(certificates.clone(), &Limits::DEFAULT))
}

/// A store with one certificate for `a.test`, and a client configuration that trusts it.
pub(super) fn simple() -> (Arc<Certificates>, ClientConfig) {
    let certified = ed25519(&["a.test"]);
    (store(&[entry(&["a.test"], &certified)]), trusting(&[&certified], TLS13))
}

pub(super) const TLS12: &[&SupportedProtocolVersion] = &[&version::TLS12];
pub(super) const TLS13: &[&SupportedProtocolVersion] = &[&version::TLS13];

pub(super) fn trusting(servers: &[&Certified], versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
    client_config(servers, versions, None)
}

pub(super) fn showing(servers: &[&Certified], own: &Certified) -> ClientConfig {
    client_config(servers, TLS13, Some(own))
}

pub(super) fn client_config(
    servers: &[&Certified],
    versions: &[&'static SupportedProtocolVersion],
    own: Option<&Certified>,
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    for server in servers {
        roots.add(server.der()).unwrap();
    }
    let builder = ClientConfig::builder_with_details(library::provider(), Arc::new(clock()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots);
    match own {
        None => builder.with_no_client_auth(),
        Some(own) => {
            let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).unwrap();
            builder.with_client_auth_cert(vec![own.der()], key).unwrap()
        }
    }
}

/// A client and a server in memory.
pub(super) struct Pair {
    pub(super) server: Connection,
    pub(super) client: ClientConnection,
    /// What the server was told.
    pub(super) events: Vec<Event>,
    /// The plaintext that it got.
    pub(super) received: Vec<u8>,
    /// What the client got, and what it thinks is wrong.
    pub(super) client_received: Vec<u8>,
    pub(super) client_error: Option<rustls::Error>,
    /// Bytes that the server reads at a time.
    step: usize,
    kept: Vec<u8>,
}

impl Pair {
    pub(super) fn new(certificates: &Arc<Certificates>, client: ClientConfig, name: &str) -> Self {
        Self::with(Arc::new(client), name, Connection::new(settings(certificates), Instant::ZERO))
    }

    pub(super) fn with(client: Arc<ClientConfig>, name: &str, server: Connection) -> Self {
        let client = ClientConnection::new(client, ServerName::try_from(name.to_string()).unwrap()).unwrap();
        Self {
            server,
            client,
            events: Vec::new(),
            received: Vec::new(),
            client_received: Vec::new(),
            client_error: None,
            step: 64 * 1024,
            kept: Vec::new(),
        }
    }

    pub(super) fn in_steps_of(mut self, step: usize) -> Self {
        self.step = step;
        self
    }

    /// A pair after its handshake.
    pub(super) fn established(certificates: &Arc<Certificates>, client: ClientConfig) -> Self {
        let mut pair = Self::new(certificates, client, "a.test");
        pair.run();
        assert!(pair.server.is_established(), "{:?}, {:?}", pair.server.failure(), pair.client_error);
        pair.events.clear();
        pair
    }

    /// What the client has to send.
    pub(super) fn client_bytes(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while self.client.wants_write() {
            self.client.write_tls(&mut bytes).unwrap();
        }
        bytes
    }

    /// Gives `bytes` to the server and takes all that comes of it.
    pub(super) fn give(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(self.step) {
            self.kept.extend_from_slice(chunk);
            self.drain();
            assert!(self.kept.is_empty(), "what was drained takes everything");
        }
    }

    fn drain(&mut self) {
        loop {
            let used = self.server.receive(&self.kept, Instant::ZERO);
            self.kept.drain(..used);
            self.events.extend(core::iter::from_fn(|| self.server.poll_event()));
            let plain = self.server.plain().to_vec();
            if plain.is_empty() && used == 0 {
                return;
            }
            self.server.consume_plain(plain.len());
            self.received.extend(plain);
            self.events.extend(core::iter::from_fn(|| self.server.poll_event()));
        }
    }

    pub(super) fn give_eof(&mut self) {
        self.server.receive_eof(Instant::ZERO);
        self.drain();
    }

    /// Gives what the server has to send to the client.
    pub(super) fn answer(&mut self) {
        let bytes = self.server.outbound().take();
        let mut bytes = &bytes[..];
        while !bytes.is_empty() && self.client_error.is_none() {
            if self.client.read_tls(&mut bytes).unwrap() == 0 {
                return; // it has heard the server's farewell
            }
            match self.client.process_new_packets() {
                Ok(_) => drop(self.client.reader().read_to_end(&mut self.client_received)),
                Err(error) => self.client_error = Some(error),
            }
        }
    }

    /// Passes bytes to and fro until both are silent.
    pub(super) fn run(&mut self) {
        loop {
            let bytes = self.client_bytes();
            if bytes.is_empty() && self.server.outbound().is_empty() {
                return;
            }
            self.give(&bytes);
            self.answer();
        }
    }

    pub(super) fn client_sends(&mut self, plain: &[u8]) {
        self.client.writer().write_all(plain).unwrap();
        self.run();
    }

    /// The handshake's facts, which must be the only event.
    pub(super) fn facts(&self) -> &Facts {
        match &self.events[..] {
            [Event::Established(facts)] => facts,
            other => panic!("{other:?}, {:?}, {:?}", self.server.failure(), self.client_error),
        }
    }

    /// The server has closed for this cause, and told nobody of a handshake.
    pub(super) fn assert_refused(&self, cause: Cause) {
        assert_eq!(self.server.is_closing(), Some(cause), "{:?}", self.server.failure());
        assert_eq!(self.server.poll_timeout(), None);
        assert_eq!(self.events, []);
    }
}

/// Does a handshake that must succeed.
pub(super) fn handshake(certificates: &Arc<Certificates>, client: ClientConfig, name: &str) -> Pair {
    let mut pair = Pair::new(certificates, client, name);
    pair.run();
    assert_eq!(pair.client_error, None);
    pair.facts();
    pair
}
