//! TLS as an operator sets it: certificates, who must show one, and what is said to those who come in clear text.
//!
//! ```text
//! lines --> Given (of all, and of each host) --> check: who is reached by TLS, and has what it takes --> Config, Host
//! ```

use core::fmt;

use super::draft::Draft;
use super::problem::Notes;
use super::{CLIENT_AUTH, Config, File, Host, Listener, Serves, value};
use crate::address::BindAddr;

/// A certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The certificate and those that vouch for it, in this order, as PEM (`certificate`).
    pub certificate: File,
    /// Its private key, as PEM (`key`).
    pub key: File,
}

/// Whether clients show a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ClientAuth {
    /// They are not asked.
    #[default]
    Off,
    /// They are asked; one that shows a certificate which is not valid is refused.
    Optional,
    /// One without a valid certificate is refused.
    Required,
}

/// What browsers are told of a host that wants to be reached by TLS alone (RFC 6797).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hsts {
    /// For how long they remember it, in seconds; 0: they forget it.
    pub seconds: u64,
    /// All names below the host's are meant too.
    pub subdomains: bool,
    /// The host asks to be in the lists that come with browsers.
    pub preload: bool,
}

impl Hsts {
    /// The value of the field Strict-Transport-Security (RFC 6797, 6.1). It belongs into responses over TLS only.
    pub fn field_value(&self) -> String {
        let subdomains = if self.subdomains { "; includeSubDomains" } else { "" };
        let preload = if self.preload { "; preload" } else { "" };
        format!("max-age={}{subdomains}{preload}", self.seconds)
    }
}

impl fmt::Display for Hsts {
    /// As the configuration writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let subdomains = if self.subdomains { " includeSubDomains" } else { "" };
        let preload = if self.preload { " preload" } else { "" };
        write!(f, "{}{subdomains}{preload}", self.seconds)
    }
}

/// What browsers remember for at least as long to be taken into their lists (hstspreload.org).
const PRELOAD_SECONDS_MIN: u64 = 31_536_000;

/// The longest time for `hsts`; more is a slip of the pen.
const HSTS_SECONDS_MAX: u64 = 1_000_000_000;

/// The sessions that can be remembered at most: their table is made at once.
const SESSIONS_MAX: u64 = 1 << 20;

/// What the lines of one section say of TLS, each with its line.
#[derive(Default)]
pub(super) struct Given {
    pub(super) certificate: Option<(usize, File)>,
    pub(super) key: Option<(usize, File)>,
    pub(super) ocsp: Option<(usize, File)>,
    pub(super) client_ca: Option<(usize, File)>,
    pub(super) client_auth: Option<(usize, ClientAuth)>,
    pub(super) https_redirect: Option<(usize, Option<u16>)>,
    pub(super) hsts: Option<(usize, Option<Hsts>)>,
}

/// Reads a `tls-sessions`.
pub(super) fn sessions(text: &str) -> Result<usize, String> {
    value::count(text, 0, SESSIONS_MAX).map(|count| count as usize)
}

/// Reads an `https-redirect`: whether, or with which status. 308 is for all methods, and for good.
pub(super) fn https_redirect(text: &str) -> Result<Option<u16>, String> {
    match text {
        "on" => Ok(Some(308)),
        "off" => Ok(None),
        "301" | "302" | "307" | "308" => Ok(text.parse().ok()),
        _ => Err(format!("{text:?} is not a choice here; write on or off or 301 or 302 or 307 or 308")),
    }
}

/// Reads an `hsts`: `off`, or `SECONDS [includeSubDomains] [preload]`.
pub(super) fn hsts(text: &str) -> Result<Option<Hsts>, String> {
    if text == "off" {
        return Ok(None);
    }
    let (seconds, options) = value::first_word(text);
    let mut hsts = Hsts { seconds: value::count(seconds, 0, HSTS_SECONDS_MAX)?, subdomains: false, preload: false };
    for option in value::words(options) {
        if option.eq_ignore_ascii_case("includeSubDomains") {
            hsts.subdomains = true;
        } else if option.eq_ignore_ascii_case("preload") {
            hsts.preload = true;
        } else {
            return Err(format!("{option:?} is not an option; write includeSubDomains, or preload"));
        }
    }
    Ok(Some(hsts))
}

impl Draft {
    /// Who is reached by TLS must have what it takes, and what is said of TLS must mean something.
    pub(super) fn check_tls(&mut self, notes: &mut Notes<'_>) {
        let ways = self.lines_of_tls();
        let read = |key: &str| !self.unread.contains(key);
        let behind_proxy = !self.config.trusted_proxies.is_empty();
        self.config.identity = identity(core::mem::take(&mut self.given), notes, read);
        for (draft, way) in self.hosts.iter_mut().zip(&ways) {
            let Given { certificate, key, ocsp, client_ca, client_auth, https_redirect, hsts } =
                core::mem::take(&mut draft.given);
            let is_missed = certificate.is_none() && key.is_none() && self.config.identity.is_none();
            if way.is_none() && read("bind-ssl") {
                let asked = client_auth.filter(|(_, auth)| *auth != ClientAuth::Off).map(|(line, _)| line);
                let redirect = line_of_some(&https_redirect).filter(|_| !behind_proxy);
                let promised = line_of_some(&hsts).filter(|_| !behind_proxy);
                let wanted = [
                    ("client-ca", line_of(&client_ca)),
                    ("client-auth", asked),
                    ("https-redirect", redirect),
                    ("hsts", promised),
                ];
                for (key, line) in wanted.into_iter().filter_map(|(key, line)| Some((key, line?))) {
                    notes.problem(line, key, format!("cannot be had: {NO_WAY}"));
                }
            }
            let host = &mut draft.host;
            if let (Some(way), true) = (way, is_missed && !self.certificates_follow)
                && read("certificate")
                && read("key")
            {
                let message = format!(
                    "is reached by TLS (line {way}) and has no certificate; write certificate = PATH and key = PATH, \
                     here or in [blastbeat]"
                );
                notes.problem(draft.line, format!("[blastbeat:{}]", host.name), message);
            }
            let given = Given { certificate, key, ..Given::default() };
            host.identity = identity(given, notes, read);
            let by_default = if client_ca.is_some() { ClientAuth::Required } else { ClientAuth::Off };
            host.client_auth = client_auth.map_or(by_default, |(_, auth)| auth);
            if let Some((line, _)) = client_auth.filter(|(_, auth)| *auth != ClientAuth::Off)
                && client_ca.is_none()
                && read("client-ca")
            {
                notes.problem(line, "client-auth", "nobody vouches for the certificates; write client-ca = PATH");
            }
            host.ocsp = ocsp.map(|(_, file)| file);
            host.client_ca = client_ca.map(|(_, file)| file);
            host.https_redirect = https_redirect.and_then(|(_, status)| status);
            host.hsts = hsts.and_then(|(_, hsts)| hsts);
        }
    }

    /// For each host the line of a `bind-ssl` that leads to it.
    fn lines_of_tls(&self) -> Vec<Option<usize>> {
        let tls = || self.listeners.iter().filter(|listener| listener.serves.is_tls());
        let shared = tls().find(|listener| listener.reach.shared).map(|listener| listener.line);
        let owners = self.owners(Serves::is_http);
        let way = |host: usize| {
            let own = tls().find(|listener| listener.reach.hosts.contains(&host)).map(|listener| listener.line);
            own.or(shared.filter(|_| !owners.contains(&host)))
        };
        (0..self.hosts.len()).map(way).collect()
    }
}

const NO_WAY: &str = "no bind-ssl leads to this host; write one, such as bind-ssl = *:443";

/// A certificate and a key make an identity; one without the other makes a problem.
fn identity(given: Given, notes: &mut Notes<'_>, read: impl Fn(&str) -> bool) -> Option<Identity> {
    match (given.certificate, given.key) {
        (Some((_, certificate)), Some((_, key))) => return Some(Identity { certificate, key }),
        (Some((line, _)), None) if read("key") => {
            notes.problem(line, "certificate", "has no key beside it; write key = PATH in the same section");
        }
        (None, Some((line, _))) if read("certificate") => {
            notes.problem(line, "key", "has no certificate beside it; write certificate = PATH in the same section");
        }
        (Some(_), None) | (None, Some(_) | None) => {}
    }
    None
}

fn line_of<T>(given: &Option<(usize, T)>) -> Option<usize> {
    given.as_ref().map(|(line, _)| *line)
}

/// The line, unless it says `off`.
fn line_of_some<T>(given: &Option<(usize, Option<T>)>) -> Option<usize> {
    given.as_ref().filter(|(_, value)| value.is_some()).map(|(line, _)| *line)
}

impl Config {
    /// The certificate of a host (a place in [`hosts`](Self::hosts)): its own, or that of all.
    pub fn identity_of(&self, host: usize) -> Option<&Identity> {
        self.hosts.get(host)?.identity.as_ref().or(self.identity.as_ref())
    }

    /// The listener by which browsers reach a host over TLS, for redirects: the first on port 443, else the first. Its
    /// port is not known before it is open if it is 0.
    pub fn https_listener(&self, host: usize) -> Option<usize> {
        let leads = |(_, listener): &(usize, &Listener)| listener.is_tls() && self.reached_by(listener).contains(&host);
        let is_usual =
            |listener: &Listener| matches!(listener.address, BindAddr::Tcp(address) if address.port() == 443);
        let all = || self.listeners.iter().enumerate().filter(leads);
        all().find(|(_, listener)| is_usual(listener)).or_else(|| all().next()).map(|(number, _)| number)
    }

    /// Adds a listener at the place that it would have if it stood in the file: behind others of the same hosts.
    pub fn add_listener(&mut self, listener: Listener) {
        self.listeners.push(listener);
        self.sort_listeners();
    }

    pub(super) fn sort_listeners(&mut self) {
        // As a file in canonical order would have them: those for all, then host by host.
        self.listeners.sort_by_key(|listener| listener.hosts.first().copied());
    }

    pub(super) fn warn_of_tls(&self, warnings: &mut Vec<String>) {
        let without = "since no bind-ssl leads there; write one, such as bind-ssl = *:443";
        if let (Some(Identity { certificate, .. }), None) =
            (&self.identity, self.listeners.iter().find(|way| way.is_tls()))
        {
            warnings.push(format!("certificate = {} has no effect, {without}", certificate.path.display()));
        }
        for (index, host) in self.hosts.iter().enumerate() {
            if self.https_listener(index).is_none() {
                let certificate = host.identity.as_ref().map(|identity| ("certificate", &identity.certificate));
                for (key, file) in certificate.into_iter().chain(host.ocsp.as_ref().map(|file| ("ocsp", file))) {
                    let path = file.path.display();
                    warnings.push(format!("{key} = {path} of {} has no effect, {without}", host.name));
                }
            }
            let mut plain = self.listeners.iter().filter(|listener| listener.serves.is_http() && !listener.is_tls());
            if host.client_auth == ClientAuth::Required
                && host.https_redirect.is_none()
                && let Some(open) = plain.find(|listener| self.reached_by(listener).contains(&index))
            {
                warnings.push(format!(
                    "{} asks for certificates, but by bind = {} anybody reaches it without one; add https-redirect = on, \
                     or give it a bind-ssl of its own",
                    host.name,
                    open.endpoint()
                ));
            }
            if let Some(hsts) = host.hsts
                && hsts.preload
                && (!hsts.subdomains || hsts.seconds < PRELOAD_SECONDS_MIN)
            {
                warnings.push(format!(
                    "hsts = {hsts} of {} is not taken into the lists of browsers; write at least \
                     {PRELOAD_SECONDS_MIN} includeSubDomains preload",
                    host.name
                ));
            }
        }
    }
}

impl Listener {
    /// Whether its connections begin with a TLS handshake.
    pub const fn is_tls(&self) -> bool {
        self.serves.is_tls()
    }
}

impl Serves {
    /// Whether clients come by it.
    pub const fn is_http(self) -> bool {
        matches!(self, Self::Http { .. })
    }

    /// Whether its connections begin with a TLS handshake, behind the PROXY protocol header if there is one.
    pub const fn is_tls(self) -> bool {
        matches!(self, Self::Http { tls: true, .. })
    }
}

impl Host {
    /// Writes what it says of TLS.
    pub(super) fn write_tls(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_identity(f, self.identity.as_ref())?;
        if let Some(ocsp) = &self.ocsp {
            writeln!(f, "ocsp = {}", ocsp.path.display())?;
        }
        if let Some(ca) = &self.client_ca {
            writeln!(f, "client-ca = {}", ca.path.display())?;
            writeln!(f, "client-auth = {}", value::chosen(&self.client_auth, CLIENT_AUTH))?;
        }
        if let Some(status) = self.https_redirect {
            writeln!(f, "https-redirect = {status}")?;
        }
        self.hsts.map_or(Ok(()), |hsts| writeln!(f, "hsts = {hsts}"))
    }
}

pub(super) fn write_identity(f: &mut fmt::Formatter<'_>, identity: Option<&Identity>) -> fmt::Result {
    let Some(Identity { certificate, key }) = identity else { return Ok(()) };
    writeln!(f, "certificate = {}", certificate.path.display())?;
    writeln!(f, "key = {}", key.path.display())
}
