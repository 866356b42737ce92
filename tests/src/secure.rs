//! Clients that speak TLS, by a library of others, and the certificates that they trust.

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

use blastbeat_proto::config::{Config, FileUse, Stores};
use blastbeat_proto::tls::WallClock;
use rcgen::{CertificateParams, KeyPair};
use rustls::client::ClientConnection;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion, version};

/// The time of day of every stage.
const NOW: Duration = Duration::from_secs(1_800_000_000);

/// A version of TLS that a client insists on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// TLS 1.2.
    Tls12,
    /// TLS 1.3.
    Tls13,
}

/// The certificates of a server, and those who trust them.
pub struct Site {
    config: Config,
    stores: Stores,
    roots: RootCertStore,
}

impl Site {
    /// Fills in the certificates that `config` names: each virtual host gets one for its name and its aliases.
    ///
    /// # Panics
    /// If a name cannot be in a certificate.
    pub fn new(config: &mut Config) -> Self {
        let mut roots = RootCertStore::empty();
        fill(config, &mut roots);
        let stores = Stores::new(config, &WallClock::new(NOW)).expect("good certificates");
        Self { config: config.clone(), stores, roots }
    }

    /// What the server is to show.
    pub fn stores(&self) -> &Stores {
        &self.stores
    }

    /// Makes other certificates for the same names. Clients that come after this trust them too.
    ///
    /// # Panics
    /// Never.
    pub fn renew(&mut self) {
        fill(&mut self.config, &mut self.roots);
        self.stores = self.stores.renew(&self.config).expect("good certificates");
    }

    /// A client that asks for `name`, and offers `protocols` by ALPN.
    ///
    /// # Panics
    /// If `name` is none.
    pub fn client(&self, name: &str, version: Version, protocols: &[&[u8]]) -> Tunnel {
        let versions: &[&SupportedProtocolVersion] = match version {
            Version::Tls12 => &[&version::TLS12],
            Version::Tls13 => &[&version::TLS13],
        };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_details(provider, Arc::new(WallClock::new(NOW)))
            .with_protocol_versions(versions)
            .expect("known versions")
            .with_root_certificates(self.roots.clone())
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        let mut connection = ClientConnection::new(Arc::new(config), name).expect("a good configuration");
        connection.set_buffer_limit(None);
        Tunnel { connection, incoming: Vec::new(), has_heard_goodbye: false, error: None }
    }
}

fn fill(config: &mut Config, roots: &mut RootCertStore) {
    for host in 0..config.hosts.len() {
        let known = std::iter::once(&config.hosts[host].name).chain(&config.hosts[host].aliases);
        let names: Vec<_> = known.filter(|name| *name != "*").cloned().collect();
        let key = KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("randomness");
        let certificate = CertificateParams::new(names).and_then(|params| params.self_signed(&key));
        let certificate = certificate.expect("names that a certificate can have");
        roots.add(certificate.der().clone()).expect("a good certificate");
        for (usage, file) in config.files_mut() {
            if usage == FileUse::Certificate(Some(host)) {
                file.body = certificate.pem().into();
            } else if usage == FileUse::Key(Some(host)) {
                file.body = key.serialize_pem().into();
            }
        }
    }
}

/// One client's TLS.
pub struct Tunnel {
    connection: ClientConnection,
    /// The plaintext that has come and that nobody has looked at yet.
    pub incoming: Vec<u8>,
    /// The server has said that nothing follows.
    pub has_heard_goodbye: bool,
    /// What is wrong with what came.
    pub error: Option<rustls::Error>,
}

impl Tunnel {
    /// Sends plaintext, once there is a connection.
    pub fn send(&mut self, plain: &[u8]) {
        self.connection.writer().write_all(plain).expect("there is no limit");
    }

    /// Says that nothing follows.
    pub fn say_goodbye(&mut self) {
        self.connection.send_close_notify();
    }

    /// Takes ciphertext from the server.
    ///
    /// # Panics
    /// If anything follows its goodbye.
    pub fn receive(&mut self, mut ciphertext: &[u8]) {
        while !ciphertext.is_empty() && self.error.is_none() {
            assert!(!self.has_heard_goodbye, "nothing follows a goodbye");
            self.connection.read_tls(&mut ciphertext).expect("what was read is taken at once");
            match self.connection.process_new_packets() {
                Ok(state) => {
                    self.has_heard_goodbye = state.peer_has_closed();
                    // It says that there is no more, or that there is no more yet.
                    let _ = self.connection.reader().read_to_end(&mut self.incoming);
                }
                Err(error) => self.error = Some(error),
            }
        }
    }

    /// Whether the handshake is complete.
    pub fn is_established(&self) -> bool {
        !self.connection.is_handshaking()
    }

    /// Takes ciphertext for the server.
    pub fn outgoing(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while self.connection.wants_write() {
            self.connection.write_tls(&mut bytes).expect("memory takes all that is written");
        }
        bytes
    }

    /// The server's certificate, once it was shown.
    pub fn certificate(&self) -> Option<CertificateDer<'static>> {
        Some(self.connection.peer_certificates()?.first()?.clone().into_owned())
    }

    /// The protocol that was agreed on by ALPN.
    pub fn protocol(&self) -> Option<&[u8]> {
        self.connection.alpn_protocol()
    }
}
