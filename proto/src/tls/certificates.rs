//! Certificates by name.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, DnsName, PrivateKeyDer};
use rustls::server::{ParsedCertificate, ProducesTickets, StoresServerSessions, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{Error, InconsistentKeys, RootCertStore, ServerConfig, version};

use super::clock::WallClock;
use super::library;
use super::problem::{EntryError, Problem};
use super::resumption::{Resumption, Sessions, Ticketer, no_tickets};
use super::x509;

/// A certificate with all that belongs to it, as it was read from files. Its debug output shows no key.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// What the entry is called in errors.
    pub label: String,
    /// The names that it is for: host names, `*.example.com` for all names with one label more, and `*` for clients that
    /// ask for a name that no entry has, or for none. Without a `*` these are refused. IP addresses are allowed and mean
    /// nothing, since clients do not ask for them.
    pub names: Vec<String>,
    /// The certificate and those that vouch for it, in this order, as PEM.
    pub chain: Vec<u8>,
    /// The first private key in this PEM is the certificate's: RSA (PKCS#1, PKCS#8), ECDSA (SEC1, PKCS#8) or Ed25519
    /// (PKCS#8).
    pub key: Vec<u8>,
    /// The answer of the certificate's OCSP server, in DER, to be stapled to it.
    pub ocsp: Option<Vec<u8>>,
    /// Whether clients show a certificate.
    pub client_auth: ClientAuth,
    /// Protocols that clients may choose from by ALPN, the most welcome first. Empty: none is spoken about. Otherwise a
    /// client that offers only others is refused (RFC 7301, 3.2).
    pub protocols: Vec<Vec<u8>>,
}

/// Whether clients show a certificate, and who vouches for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ClientAuth {
    /// They are not asked.
    #[default]
    None,
    /// They are asked; one that shows a certificate which is not valid is refused.
    Optional {
        /// Certificates that vouch for them, as PEM.
        ca: Vec<u8>,
    },
    /// One without a valid certificate is refused.
    Required {
        /// Certificates that vouch for them, as PEM.
        ca: Vec<u8>,
    },
}

/// Certificates by name, checked and ready for use.
///
/// A store is never changed: make another ([`renew`](Self::renew)) and give it to the connections that come. Those
/// that are open go on as they began.
pub struct Certificates {
    configs: Vec<Arc<ServerConfig>>,
    exact: BTreeMap<String, usize>,
    /// By what stands behind `*.`.
    wild: BTreeMap<String, usize>,
    default: Option<usize>,
    /// By client authentication: who was let in by one must not be known to another.
    pools: Vec<Pool>,
    resumption: Resumption,
    clock: WallClock,
}

/// Where the sessions of entries with the same client authentication are kept.
#[derive(Clone)]
struct Pool {
    client_auth: ClientAuth,
    ticketer: Arc<dyn ProducesTickets>,
    sessions: Arc<dyn StoresServerSessions>,
}

impl Certificates {
    /// Checks `entries`. Every problem is told at once.
    pub fn new(entries: &[Entry], resumption: Resumption, clock: &WallClock) -> Result<Self, Vec<EntryError>> {
        let clock = clock.clone();
        let (exact, wild) = (BTreeMap::new(), BTreeMap::new());
        let empty = Self { configs: Vec::new(), exact, wild, default: None, pools: Vec::new(), resumption, clock };
        empty.renew(entries)
    }

    /// Checks `entries` and makes a store of them that keeps the sessions and ticket keys of this one: clients of before
    /// can go on where they were.
    pub fn renew(&self, entries: &[Entry]) -> Result<Self, Vec<EntryError>> {
        let mut new = Self {
            configs: Vec::with_capacity(entries.len()),
            exact: BTreeMap::new(),
            wild: BTreeMap::new(),
            default: None,
            pools: Vec::new(),
            resumption: self.resumption,
            clock: self.clock.clone(),
        };
        let (provider, mut problems) = (library::provider(), Vec::new());
        for (place, entry) in entries.iter().enumerate() {
            let mut blame = |problem| problems.push(EntryError { entry: entry.label.clone(), problem });
            for name in &entry.names {
                if let Err(problem) = new.add_name(name, place, entries) {
                    blame(problem);
                }
            }
            match new.config(entry, &provider, &self.pools) {
                Ok(config) => new.configs.push(Arc::new(config)),
                Err(problem) => blame(problem),
            }
        }
        if problems.is_empty() { Ok(new) } else { Err(problems) }
    }

    /// The place of the entry for a name: the one that has exactly this name, else the one with the wildcard for it,
    /// else the default. Case and a dot at the end do not matter.
    pub fn find(&self, name: Option<&str>) -> Option<usize> {
        let Some(name) = name else { return self.default };
        let name = normal(name);
        let wild = || name.split_once('.').and_then(|(_, parent)| self.wild.get(parent));
        self.exact.get(&name).or_else(wild).copied().or(self.default)
    }

    pub(super) fn config_at(&self, place: usize) -> &Arc<ServerConfig> {
        &self.configs[place]
    }

    /// The time of day, in seconds.
    pub(super) fn now(&self) -> u64 {
        self.clock.seconds()
    }

    fn add_name(&mut self, name: &str, place: usize, entries: &[Entry]) -> Result<(), Problem> {
        let normal = normal(name);
        let other = if normal == "*" {
            self.default.replace(place)
        } else if let Some(parent) = normal.strip_prefix("*.") {
            check_name(parent).ok_or_else(|| Problem::NameMalformed(name.to_string()))?;
            self.wild.insert(parent.to_string(), place)
        } else if normal.parse::<IpAddr>().is_ok() {
            None
        } else {
            check_name(&normal).ok_or_else(|| Problem::NameMalformed(name.to_string()))?;
            self.exact.insert(normal, place)
        };
        match other {
            Some(other) if other != place => {
                Err(Problem::NameTaken { name: name.to_string(), by: entries[other].label.clone() })
            }
            Some(_) | None => Ok(()),
        }
    }

    fn config(&mut self, entry: &Entry, provider: &Arc<CryptoProvider>, old: &[Pool]) -> Result<ServerConfig, Problem> {
        let unusable = |error: Error| Problem::Unusable(error.to_string());
        let certified = certified_key(entry, provider)?;
        if entry.protocols.iter().any(|name| !(1..=255).contains(&name.len())) {
            return Err(Problem::ProtocolMalformed);
        }
        let builder = ServerConfig::builder_with_details(provider.clone(), Arc::new(self.clock.clone()))
            .with_protocol_versions(&[&version::TLS13, &version::TLS12])
            .map_err(unusable)?;
        let verified = match &entry.client_auth {
            ClientAuth::None => builder.with_no_client_auth(),
            ClientAuth::Optional { ca } | ClientAuth::Required { ca } => {
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(ca)?), provider.clone());
                let verifier = match entry.client_auth {
                    ClientAuth::Optional { .. } => verifier.allow_unauthenticated(),
                    ClientAuth::None | ClientAuth::Required { .. } => verifier,
                };
                let verifier = verifier.build().map_err(|error| Problem::ClientCaMalformed(error.to_string()))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = verified.with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        let pool = self.pool(&entry.client_auth, old);
        config.ticketer = pool.ticketer;
        config.session_storage = pool.sessions;
        // A ticket is good for one connection; a browser opens few at a time, and each brings the next.
        config.send_tls13_tickets = 1;
        config.ignore_client_order = true;
        config.alpn_protocols = entry.protocols.clone();
        Ok(config)
    }

    fn pool(&mut self, client_auth: &ClientAuth, old: &[Pool]) -> Pool {
        if let Some(pool) = self.pools.iter().find(|pool| pool.client_auth == *client_auth) {
            return pool.clone();
        }
        let kept = old.iter().find(|pool| pool.client_auth == *client_auth).cloned();
        let pool = kept.unwrap_or_else(|| Pool {
            client_auth: client_auth.clone(),
            ticketer: if self.resumption.tickets { Ticketer::new(self.clock.clone()) } else { no_tickets() },
            sessions: Sessions::store(self.resumption.sessions, self.clock.clone()),
        });
        self.pools.push(pool.clone());
        pool
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificates({} entries, {} names)", self.configs.len(), self.exact.len() + self.wild.len())
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Entry({}, for {})", self.label, self.names.join(", "))
    }
}

fn normal(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

fn check_name(name: &str) -> Option<()> {
    DnsName::try_from(name).ok().map(drop)
}

fn certified_key(entry: &Entry, provider: &CryptoProvider) -> Result<CertifiedKey, Problem> {
    let chain = certificates(&entry.chain).map_err(|error| Problem::ChainMalformed(error.to_string()))?;
    if chain.is_empty() {
        return Err(Problem::ChainEmpty);
    }
    for (at, certificate) in chain.iter().enumerate() {
        if ParsedCertificate::try_from(certificate).is_err() {
            return Err(Problem::CertificateMalformed { number: at + 1 });
        }
    }
    let key = PrivateKeyDer::from_pem_slice(&entry.key).map_err(|error| {
        if matches!(error, pem::Error::NoItemsFound) {
            Problem::KeyMissing
        } else {
            Problem::KeyMalformed(error.to_string())
        }
    })?;
    let key = provider.key_provider.load_private_key(key);
    let key = key.map_err(|error| Problem::KeyUnsupported(error.to_string()))?;
    let mut certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        Ok(()) => {}
        Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => return Err(Problem::KeyMismatch),
        Err(error) => return Err(Problem::Unusable(error.to_string())),
    }
    if entry.ocsp.as_deref().is_some_and(|response| !x509::is_ocsp_answer(response)) {
        return Err(Problem::OcspMalformed);
    }
    certified.ocsp = entry.ocsp.clone();
    Ok(certified)
}

fn roots(ca: &[u8]) -> Result<RootCertStore, Problem> {
    let malformed = |error: &dyn fmt::Display| Problem::ClientCaMalformed(error.to_string());
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca).map_err(|error| malformed(&error))? {
        roots.add(certificate).map_err(|error| malformed(&error))?;
    }
    if roots.is_empty() { Err(Problem::ClientCaEmpty) } else { Ok(roots) }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, pem::Error> {
    CertificateDer::pem_slice_iter(pem).collect()
}
