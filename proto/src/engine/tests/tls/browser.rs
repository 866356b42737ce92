//! The foreign client, and an engine that shows it certificates.

use std::io::{Read, Write};
use std::sync::Mutex;

use rcgen::{CertificateParams, KeyPair};
use rustls::client::ClientConnection;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion, version};

use super::*;
use crate::config::{FileUse, Stores};
use crate::tape::{Recorder, replay};
use crate::tls::WallClock;

pub(super) const NOW: Duration = Duration::from_secs(1_800_000_000);

pub(super) const TLS12: &[&SupportedProtocolVersion] = &[&version::TLS12];
pub(super) const TLS13: &[&SupportedProtocolVersion] = &[&version::TLS13];

/// Listener 0 is of TLS, listener 1 of nodes, listener 2 of TLS behind the PROXY protocol, for hosts `a.test` and `*`.
pub(super) const SITE: &str = "[blastbeat]\nbind-ssl = 127.0.0.1:443\nzmq = tcp://127.0.0.1:5000\n\
    bind-ssl = 127.0.0.1:444 proxy\n\n\
    [blastbeat:a.test]\nnode = one\ncertificate = a.pem\nkey = a.key\n\n\
    [blastbeat:*]\nnode = one\ncertificate = b.pem\nkey = b.key\n";

pub(super) const GET: &str = "GET /a?b HTTP/1.1\r\nHost: a.test\r\n\r\n";

/// An engine that shows certificates, and who trusts it.
///
/// All that happens is recorded, and replayed when it is dropped: the tape must be equal.
pub(super) struct Site {
    pub(super) world: World,
    tape: Tape,
    config: Config,
    roots: RootCertStore,
    stores: Stores,
    /// Whom hosts with a `client-ca` know.
    pub(super) ann: Person,
}

/// Somebody with a certificate.
pub(super) struct Person {
    pub(super) certificate: String,
    key: KeyPair,
}

impl Person {
    pub(super) fn new(name: &str) -> Self {
        let key = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let mut certificate = CertificateParams::default();
        certificate.distinguished_name = rcgen::DistinguishedName::new();
        certificate.distinguished_name.push(rcgen::DnType::CommonName, name);
        certificate.serial_number = Some(rcgen::SerialNumber::from(vec![0x0a, 0xbc]));
        Self { certificate: certificate.self_signed(&key).unwrap().pem(), key }
    }
}

impl Site {
    pub(super) fn new(ini: &str) -> Self {
        let (mut config, warnings) = Config::parse(ini.as_bytes(), "test.ini", Mode::Strict).unwrap();
        assert!(warnings.is_empty(), "{warnings:?}");
        let mut roots = RootCertStore::empty();
        fill(&mut config, &mut roots);
        let ann = Person::new("Ann");
        for (usage, file) in config.files_mut() {
            if matches!(usage, FileUse::ClientCa(_)) {
                file.body = ann.certificate.clone().into();
            }
        }
        let stores = Stores::new(&config, &WallClock::new(NOW)).unwrap();
        let entropy = Box::new(SeededEntropy::new([7; 32]));
        let mut engine = Engine::new(Arc::new(config.clone()), entropy, Instant::ZERO);
        let tape = Tape::default();
        let recorder = Recorder::new(Box::new(tape.clone()), u64::MAX, [7; 32], &config, Instant::ZERO);
        engine.record(recorder.unwrap());
        let (written, shut) = (BTreeMap::new(), BTreeMap::new());
        let mut world = World { engine, now: Instant::ZERO, written, shut, reports: Vec::new() };
        world.run();
        let mut site = Self { world, tape, config, roots, stores, ann };
        site.show();
        site
    }

    fn show(&mut self) {
        self.world.control(Control::Certificates(self.stores.clone()));
    }

    /// Shows other certificates from now on, which browsers that come after this trust as well.
    pub(super) fn renew(&mut self) {
        fill(&mut self.config, &mut self.roots);
        self.stores = self.stores.renew(&self.config).unwrap();
        self.show();
    }

    pub(super) fn browser(&mut self, versions: &[&'static SupportedProtocolVersion]) -> Browser {
        let link = self.world.accept(0);
        self.browser_on(link, versions, "a.test")
    }

    pub(super) fn browser_on(
        &self,
        link: LinkId,
        versions: &[&'static SupportedProtocolVersion],
        name: &str,
    ) -> Browser {
        self.browser_of(None, link, versions, name, &[])
    }

    /// A browser that shows a certificate, and offers protocols.
    pub(super) fn browser_of(
        &self,
        person: Option<&Person>,
        link: LinkId,
        versions: &[&'static SupportedProtocolVersion],
        name: &str,
        protocols: &[&str],
    ) -> Browser {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_details(provider, Arc::new(WallClock::new(NOW)))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(self.roots.clone());
        let mut config = match person {
            None => config.with_no_client_auth(),
            Some(Person { certificate, key }) => {
                let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
                let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
                config.with_client_auth_cert(vec![certificate], key).unwrap()
            }
        };
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        let name = ServerName::try_from(name.to_string()).unwrap();
        let client = ClientConnection::new(Arc::new(config), name).unwrap();
        Browser { link, client, step: usize::MAX, received: Vec::new(), error: None, has_heard_goodbye: false }
    }

    /// A browser after its handshake.
    pub(super) fn established(&mut self, versions: &[&'static SupportedProtocolVersion]) -> Browser {
        let mut browser = self.browser(versions);
        browser.run(&mut self.world);
        assert_eq!(browser.error, None);
        assert!(!browser.client.is_handshaking());
        browser
    }
}

/// What was recorded.
#[derive(Clone, Default)]
struct Tape(Arc<Mutex<Vec<u8>>>);

impl Write for Tape {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Site {
    /// What was recorded so far.
    pub(super) fn tape(&self) -> Vec<u8> {
        self.tape.0.lock().unwrap().clone()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        self.world.control(Control::Stats);
        let mut last = None;
        let verdict = replay(&mut &self.tape()[..], |_| {}, &mut |_, output| {
            if let Output::Report(report @ Report::Stats(_)) = output {
                last = Some(report.clone());
            }
        });
        let verdict = verdict.unwrap();
        assert!(verdict.difference.is_none() && !verdict.cut, "{verdict}");
        assert_eq!(last.as_ref(), self.world.reports.last(), "the figures are those of before");
    }
}

fn fill(config: &mut Config, roots: &mut RootCertStore) {
    for host in 0..config.hosts.len() {
        let key = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let names = vec![if host == 0 { "a.test" } else { "b.test" }.to_string()];
        let pem = CertificateParams::new(names).unwrap().self_signed(&key).unwrap().pem();
        roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
        for (usage, file) in config.files_mut() {
            if usage == FileUse::Certificate(Some(host)) {
                file.body = pem.clone().into();
            } else if usage == FileUse::Key(Some(host)) {
                file.body = key.serialize_pem().into();
            }
        }
    }
}

impl World {
    pub(super) fn eof(&mut self, link: LinkId) {
        self.engine.handle(Input::Eof { link }, self.now);
        self.run();
    }

    pub(super) fn control(&mut self, control: Control) {
        self.engine.handle(Input::Control(control), self.now);
        self.run();
    }
}

/// A client.
pub(super) struct Browser {
    pub(super) link: LinkId,
    pub(super) client: ClientConnection,
    /// Bytes that arrive at the engine at a time.
    pub(super) step: usize,
    /// The plaintext that came.
    pub(super) received: Vec<u8>,
    pub(super) error: Option<rustls::Error>,
    pub(super) has_heard_goodbye: bool,
}

impl Site {
    /// Gives bytes to the engine and carries out its outputs, but for what is written to `deaf`.
    pub(super) fn receive_but(&mut self, link: LinkId, bytes: &[u8], deaf: LinkId) {
        self.world.engine.handle(Input::Received { link, bytes }, self.world.now);
        self.world.engine.check_invariants();
        while let Some(output) = self.world.engine.poll_output() {
            match output {
                Output::Attend(link) if link != deaf => self.world.write(link),
                Output::Report(report) => self.world.reports.push(report),
                Output::Attend(_)
                | Output::Shut(..)
                | Output::Dial(..)
                | Output::Listen(..)
                | Output::Unlisten(_)
                | Output::Hold(..)
                | Output::Finished => {}
            }
        }
    }
}

impl Browser {
    /// What it has to send.
    pub(super) fn bytes(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while self.client.wants_write() {
            self.client.write_tls(&mut bytes).unwrap();
        }
        bytes
    }

    /// Gives bytes to the engine.
    pub(super) fn give(&self, world: &mut World, bytes: &[u8]) {
        for piece in bytes.chunks(self.step) {
            world.receive(self.link, piece);
        }
    }

    /// Reads what the engine has written.
    pub(super) fn read(&mut self, world: &mut World) {
        let bytes = world.written.remove(&self.link).unwrap_or_default();
        let mut bytes = &bytes[..];
        while !bytes.is_empty() && self.error.is_none() {
            assert!(!self.has_heard_goodbye, "nothing follows the goodbye");
            self.client.read_tls(&mut bytes).unwrap();
            match self.client.process_new_packets() {
                Ok(state) => {
                    self.has_heard_goodbye = state.peer_has_closed();
                    let _ = self.client.reader().read_to_end(&mut self.received);
                }
                Err(error) => self.error = Some(error),
            }
        }
    }

    /// Passes bytes to and fro until both are silent.
    pub(super) fn run(&mut self, world: &mut World) {
        loop {
            self.read(world);
            let bytes = self.bytes();
            if bytes.is_empty() {
                return;
            }
            self.give(world, &bytes);
        }
    }

    pub(super) fn send(&mut self, world: &mut World, plain: &[u8]) {
        self.client.writer().write_all(plain).unwrap();
        self.run(world);
    }

    /// The plaintext that has come since the last time.
    pub(super) fn text(&mut self, world: &mut World) -> String {
        self.run(world);
        String::from_utf8(core::mem::take(&mut self.received)).unwrap()
    }
}
