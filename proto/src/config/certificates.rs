//! From the files of a configuration to certificates that are ready for use, listener by listener.
//!
//! Each listener that speaks TLS has a store of its own: which host a name means depends on the hosts that the listener
//! leads to, and so does who is shown to clients that ask for none of them.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use core::iter;

use super::{ClientAuth, Config, File, FileUse, Identity, Listener, Problem, Serves};
use crate::address::{BindAddr, split_port};
use crate::tls::{self, Certificates, Entry, EntryError, Resumption, WallClock};

/// The certificates that each listener shows, ready for use. Clones are cheap.
///
/// A store is never changed: when files have changed, read them into the configuration, [`renew`](Self::renew), and
/// use what comes of it for the connections that come.
#[derive(Clone, Debug)]
pub struct Stores {
    by_listener: Arc<[Option<Arc<Certificates>>]>,
    /// A store without entries, of which those of new listeners are made.
    empty: Arc<Certificates>,
}

/// Two are equal if one is a clone of the other.
impl PartialEq for Stores {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.by_listener, &other.by_listener)
    }
}

impl Eq for Stores {}

/// What is wrong with the certificate of a virtual host, or with what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateProblem {
    /// The host, a place in [`Config::hosts`].
    pub host: usize,
    /// The file that is to blame, if it is one.
    pub file: Option<FileUse>,
    /// What is wrong.
    pub problem: tls::Problem,
}

impl Stores {
    /// Checks the certificates of `config`, whose files have been filled in; `clock` is the time that they go by.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with them.
    pub fn new(config: &Config, clock: &WallClock) -> Result<Self, Vec<CertificateProblem>> {
        let resumption = Resumption { tickets: config.tls_tickets, sessions: config.tls_sessions };
        let empty = Certificates::new(&[], resumption, clock).expect("nothing to be wrong with");
        Self { by_listener: Arc::new([]), empty: Arc::new(empty) }.renew(config)
    }

    /// Stores for no listener at all.
    pub(crate) fn empty() -> Self {
        let empty = Certificates::new(&[], Resumption::default(), &WallClock::new(Default::default()));
        Self { by_listener: Arc::new([]), empty: Arc::new(empty.expect("nothing to be wrong with")) }
    }

    /// Checks the certificates of `config`, which is the one of before but for the contents of its files. Sessions and
    /// the keys of tickets are kept: clients of before can go on where they were.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with them.
    pub fn renew(&self, config: &Config) -> Result<Self, Vec<CertificateProblem>> {
        let mut made: Vec<(Vec<Entry>, Arc<Certificates>)> = Vec::new();
        let (mut by_listener, mut problems) = (Vec::new(), Vec::new());
        for (number, listener) in config.listeners.iter().enumerate() {
            if !listener.is_tls() {
                by_listener.push(None);
                continue;
            }
            let entries = config.tls_entries(number);
            // Listeners that lead to the same hosts share their sessions.
            if let Some((_, store)) = made.iter().find(|(known, _)| *known == entries) {
                by_listener.push(Some(store.clone()));
                continue;
            }
            match self.certificates(number).unwrap_or(&self.empty).renew(&entries) {
                Ok(store) => {
                    let store = Arc::new(store);
                    by_listener.push(Some(store.clone()));
                    made.push((entries, store));
                }
                Err(errors) => {
                    for problem in errors.into_iter().filter_map(|error| CertificateProblem::of(config, error)) {
                        if !problems.contains(&problem) {
                            problems.push(problem);
                        }
                    }
                }
            }
        }
        if problems.is_empty() {
            Ok(Self { by_listener: by_listener.into(), empty: self.empty.clone() })
        } else {
            Err(problems)
        }
    }

    /// What a listener (a place in [`Config::listeners`]) shows; `None` if it does not speak TLS. The entries of the
    /// store are the hosts that [`Config::reached_by`] gives, in the same order.
    pub fn certificates(&self, listener: usize) -> Option<&Arc<Certificates>> {
        self.by_listener.get(listener)?.as_ref()
    }
}

impl CertificateProblem {
    fn of(config: &Config, error: EntryError) -> Option<Self> {
        use tls::Problem as P;
        let host = config.hosts.iter().position(|host| label(&host.name) == error.entry)?;
        let own = config.hosts[host].identity.as_ref().map(|_| host);
        let file = match &error.problem {
            P::NameMalformed(_) | P::NameTaken { .. } | P::ProtocolMalformed => None,
            P::ChainMalformed(_) | P::ChainEmpty | P::CertificateMalformed { .. } | P::Unusable(_) => {
                Some(FileUse::Certificate(own))
            }
            P::KeyMalformed(_) | P::KeyMissing | P::KeyUnsupported(_) | P::KeyMismatch => Some(FileUse::Key(own)),
            P::OcspMalformed => Some(FileUse::Ocsp(host)),
            P::ClientCaMalformed(_) | P::ClientCaEmpty => Some(FileUse::ClientCa(host)),
        };
        Some(Self { host, file, problem: error.problem })
    }

    /// The same with its place: `text` is what `config` was read from, and `file` its name.
    pub fn located(&self, config: &Config, text: &[u8], file: &str) -> Problem {
        let (line, key, message) = match self.file {
            None => {
                let section = config.hosts.get(self.host).map_or_else(String::new, |host| label(&host.name));
                let message = format!("{}; write a name that a certificate can have", self.problem);
                (config.line_of_host(self.host, text), section, message)
            }
            Some(usage) => {
                let path = config.file(usage).map(|file| file.path.display().to_string()).unwrap_or_default();
                let message = format!("{path}: {}; {}", self.problem, usage.advice());
                (usage.line(config, text), usage.key().to_owned(), message)
            }
        };
        Problem { file: file.to_owned(), line, key, message }
    }
}

impl Config {
    /// The certificates of a listener (a place in [`listeners`](Self::listeners)): one entry for each host that
    /// [`reached_by`](Self::reached_by) gives, in the same order, with the host's names; none if it does not speak TLS.
    ///
    /// Clients ask for names without ports. Where two hosts differ by their ports alone, the one with the listener's
    /// port is meant, else the one without a port, else the first. Unless `sni-strict` is on, the host `*` is for
    /// everybody else, and where there is none the first.
    pub fn tls_entries(&self, listener: usize) -> Vec<Entry> {
        let Some(listener) = self.listeners.get(listener).filter(|listener| listener.is_tls()) else {
            return Vec::new();
        };
        let reached = self.reached_by(listener);
        let protocols = listener.protocols();
        let mut entries: Vec<_> = reached.iter().map(|host| self.tls_entry(*host, &protocols)).collect();
        for (name, place) in self.names_of_hosts(listener, &reached) {
            entries[place].names.push(name);
        }
        let default = reached.iter().position(|host| self.hosts[*host].name == "*").unwrap_or(0);
        if let (Some(entry), false) = (entries.get_mut(default), self.sni_strict) {
            entry.names.push("*".to_owned());
        }
        entries
    }

    /// The names by which clients ask for the hosts in `reached`, each with the place of its host there.
    fn names_of_hosts(&self, listener: &Listener, reached: &[usize]) -> impl Iterator<Item = (String, usize)> {
        let listens_on = match &listener.address {
            BindAddr::Tcp(address) => Some(address.port()),
            BindAddr::Unix(_) => None,
        };
        let mut names: BTreeMap<String, (u8, usize)> = BTreeMap::new();
        for (place, host) in reached.iter().enumerate() {
            let host = &self.hosts[*host];
            for name in iter::once(&host.name).chain(&host.aliases).filter(|name| *name != "*") {
                let (bare, port) = split_port(name);
                let bare = bare.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
                let rank = match port {
                    Some(port) if port.parse().ok() == listens_on => 0,
                    None => 1,
                    Some(_) => 2,
                };
                let best = names.entry(bare).or_insert((rank, place));
                if rank < best.0 {
                    *best = (rank, place);
                }
            }
        }
        names.into_iter().map(|(name, (_, place))| (name, place))
    }

    fn tls_entry(&self, host: usize, protocols: &[Vec<u8>]) -> Entry {
        let body = |file: &File| file.body.to_vec();
        let identity = self.identity_of(host);
        let host = &self.hosts[host];
        let ca = host.client_ca.as_ref().map(body).unwrap_or_default();
        Entry {
            label: label(&host.name),
            names: Vec::new(),
            chain: identity.map(|Identity { certificate, .. }| body(certificate)).unwrap_or_default(),
            key: identity.map(|Identity { key, .. }| body(key)).unwrap_or_default(),
            ocsp: host.ocsp.as_ref().map(body),
            client_auth: match host.client_auth {
                ClientAuth::Off => tls::ClientAuth::None,
                ClientAuth::Optional => tls::ClientAuth::Optional { ca },
                ClientAuth::Required => tls::ClientAuth::Required { ca },
            },
            protocols: protocols.to_vec(),
        }
    }
}

impl Listener {
    /// Protocols that clients may choose from by ALPN (RFC 7301, 6), the most welcome first.
    fn protocols(&self) -> Vec<Vec<u8>> {
        let Serves::Http { http2, spdy, .. } = self.serves else { return Vec::new() };
        let http2 = http2.then(|| b"h2".to_vec());
        let spdy = spdy.versions().map(|version| format!("spdy/{version}").into_bytes());
        http2.into_iter().chain(spdy).chain([b"http/1.1".to_vec(), b"http/1.0".to_vec()]).collect()
    }
}

/// What a host is called in errors: its section.
fn label(name: &str) -> String {
    format!("[blastbeat:{name}]")
}
