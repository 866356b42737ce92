//! What TLS costs the server: handshakes, small messages, bulk. Only its own calls are timed, many in a row, and the best
//! round of all counts: on one thread that is CPU time, whatever else the machine does.
//!
//!     cargo bench -p blastbeat-proto --no-default-features --features tls --bench tls

#![allow(clippy::print_stdout, reason = "a program for the command line")]
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "a benchmark needs a clock")]

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::{self, Duration};

use blastbeat_proto::rope::Rope;
use blastbeat_proto::time::Instant;
use blastbeat_proto::tls::{
    Certificates, ClientAuth, Connection, Entry, Event, Resumption, SEND_MAX, Settings, WallClock,
};
use bytes::Bytes;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, NamedGroup, RootCertStore, SupportedProtocolVersion, version};

const RUN: Duration = Duration::from_millis(1500);
const ROUND: usize = 8;
const TLS12: &[&SupportedProtocolVersion] = &[&version::TLS12];
const TLS13: &[&SupportedProtocolVersion] = &[&version::TLS13];

fn main() {
    for (name, algorithm) in [("P-256", &rcgen::PKCS_ECDSA_P256_SHA256), ("RSA 2048", &rcgen::PKCS_RSA_SHA256)] {
        let server = Server::new(algorithm);
        let classic = Some(NamedGroup::X25519);
        handshakes(&format!("full, {name}, TLS 1.3"), &server, || server.client(TLS13, classic));
        handshakes(&format!("full, {name}, TLS 1.3, post-quantum"), &server, || server.client(TLS13, None));
        handshakes(&format!("full, {name}, TLS 1.2"), &server, || server.client(TLS12, classic));
    }
    let server = Server::new(&rcgen::PKCS_ECDSA_P256_SHA256);
    for (name, versions) in [("TLS 1.3", TLS13), ("TLS 1.2", TLS12)] {
        let client = server.client(versions, Some(NamedGroup::X25519));
        handshakes(&format!("resumed, {name}"), &server, || client.clone());
    }
    messages(&server);
    download(&server);
    upload(&server);
}

struct Server {
    settings: Arc<Settings>,
    roots: RootCertStore,
}

impl Server {
    fn new(algorithm: &'static rcgen::SignatureAlgorithm) -> Self {
        let key = rcgen::KeyPair::generate_for(algorithm).expect("a key");
        let params = rcgen::CertificateParams::new(["a.test".to_string()]).expect("a name");
        let certificate = params.self_signed(&key).expect("a certificate");
        let entry = Entry {
            label: "a.test".to_string(),
            names: vec!["a.test".to_string()],
            chain: certificate.pem().into_bytes(),
            key: key.serialize_pem().into_bytes(),
            ocsp: None,
            client_auth: ClientAuth::None,
            protocols: vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        };
        let clock = WallClock::new(Duration::from_secs(1_800_000_000));
        let certificates = Certificates::new(&[entry], Resumption::default(), &clock).expect("a good certificate");
        let handshake_timeout = Duration::from_secs(10);
        let settings = Arc::new(Settings { certificates: Arc::new(certificates), handshake_timeout });
        let mut roots = RootCertStore::empty();
        roots.add(certificate.der().clone()).expect("a good certificate");
        Self { settings, roots }
    }

    fn client(&self, versions: &[&'static SupportedProtocolVersion], group: Option<NamedGroup>) -> Arc<ClientConfig> {
        let mut provider = provider();
        if let Some(group) = group {
            provider.kx_groups.retain(|offered| offered.name() == group);
        }
        let config = ClientConfig::builder_with_provider(Arc::new(provider)).with_protocol_versions(versions);
        let mut config = config.expect("versions").with_root_certificates(self.roots.clone()).with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Arc::new(config)
    }

    fn pair(&self, client: Arc<ClientConfig>) -> Pair {
        let name = ServerName::try_from("a.test").expect("a name");
        let client = ClientConnection::new(client, name).expect("a client");
        let server = Connection::new(self.settings.clone(), Instant::ZERO);
        Pair { server, client, up: Vec::new(), is_established: false }
    }

    fn established(&self) -> Pair {
        let mut pair = self.pair(self.client(TLS13, None));
        while !pair.is_established || !pair.server.outbound().is_empty() {
            pair.client_turn();
            pair.server_turn();
            pair.is_established |= pair.server.is_established();
        }
        pair.client_turn();
        pair
    }
}

#[cfg(feature = "tls")]
fn provider() -> CryptoProvider {
    rustls::crypto::aws_lc_rs::default_provider()
}

#[cfg(not(feature = "tls"))]
fn provider() -> CryptoProvider {
    rustls::crypto::ring::default_provider()
}

struct Pair {
    server: Connection,
    client: ClientConnection,
    /// On its way to the server.
    up: Vec<u8>,
    is_established: bool,
}

impl Pair {
    /// Passes on what the server sent, and keeps what the client answers.
    fn client_turn(&mut self) -> usize {
        let bytes = self.server.outbound().take();
        let (mut bytes, mut plain, mut into) = (&bytes[..], 0, vec![0; 1 << 16]);
        while !bytes.is_empty() {
            self.client.read_tls(&mut bytes).expect("room");
            self.client.process_new_packets().expect("a good server");
            plain += self.client.reader().read(&mut into).unwrap_or(0);
        }
        while self.client.wants_write() {
            self.client.write_tls(&mut self.up).expect("memory");
        }
        plain
    }

    /// What the server does with what has come; returns how much plaintext that was.
    fn server_turn(&mut self) -> usize {
        let (mut rest, mut plain) = (&self.up[..], 0);
        loop {
            let used = self.server.receive(rest, Instant::ZERO);
            rest = &rest[used..];
            if let Some(Event::Established(_)) = self.server.poll_event() {
                self.is_established = true;
            }
            let len = self.server.plain().len();
            self.server.consume_plain(len);
            plain += len;
            if used == 0 && len == 0 {
                break;
            }
        }
        self.up.clear();
        plain
    }
}

fn handshakes(name: &str, server: &Server, client: impl Fn() -> Arc<ClientConfig>) {
    // One before, for those that resume.
    let mut first = server.pair(client());
    turns(core::slice::from_mut(&mut first));
    let (start, mut best) = (time::Instant::now(), Duration::MAX);
    while start.elapsed() < RUN {
        let mut pairs: Vec<Pair> = (0..ROUND).map(|_| server.pair(client())).collect();
        best = best.min(turns(&mut pairs));
    }
    println!("tls handshake, {name}: {:.1} us", best.as_nanos() as f64 / 1000.0 / ROUND as f64);
}

/// Completes the handshakes; returns the time that the servers took.
fn turns(pairs: &mut [Pair]) -> Duration {
    let mut servers = Duration::ZERO;
    while pairs.iter().any(|pair| !pair.is_established) {
        for pair in &mut *pairs {
            pair.client_turn();
        }
        let start = time::Instant::now();
        for pair in &mut *pairs {
            pair.server_turn();
        }
        servers += start.elapsed();
    }
    for pair in &mut *pairs {
        pair.client_turn();
    }
    servers
}

/// A request of 300 bytes, and an answer of 150.
fn messages(server: &Server) {
    let mut pair = server.established();
    let (start, mut best) = (time::Instant::now(), Duration::MAX);
    while start.elapsed() < RUN {
        let mut servers = Duration::ZERO;
        for _ in 0..ROUND {
            pair.client.writer().write_all(&[b'x'; 300]).expect("room");
            pair.client_turn();
            let start = time::Instant::now();
            pair.server_turn();
            pair.server.send_plain(&[b'x'; 150]).expect("it is established");
            servers += start.elapsed();
        }
        best = best.min(servers);
    }
    println!("tls request of 300 bytes and answer of 150: {:.2} us", best.as_nanos() as f64 / 1000.0 / ROUND as f64);
}

fn download(server: &Server) {
    let mut pair = server.established();
    let body = Bytes::from(vec![b'x'; 1 << 20]);
    let (start, mut best) = (time::Instant::now(), Duration::MAX);
    while start.elapsed() < RUN {
        let mut plain = Rope::new();
        plain.push(body.clone());
        let mut servers = Duration::ZERO;
        while !plain.is_empty() {
            let start = time::Instant::now();
            pair.server.send_from(&mut plain).expect("it is established");
            servers += start.elapsed();
            pair.client_turn();
        }
        best = best.min(servers);
    }
    println!("tls bulk, down: {:.0} MB/s", body.len() as f64 / 1e6 / best.as_secs_f64());
}

fn upload(server: &Server) {
    let mut pair = server.established();
    let (start, mut best) = (time::Instant::now(), Duration::MAX);
    while start.elapsed() < RUN {
        let mut servers = Duration::ZERO;
        for _ in 0..16 {
            pair.client.writer().write_all(&[b'x'; SEND_MAX]).expect("room");
            pair.client_turn();
            let start = time::Instant::now();
            assert_eq!(pair.server_turn(), SEND_MAX);
            servers += start.elapsed();
        }
        best = best.min(servers);
    }
    println!("tls bulk, up: {:.0} MB/s", 16.0 * SEND_MAX as f64 / 1e6 / best.as_secs_f64());
}
