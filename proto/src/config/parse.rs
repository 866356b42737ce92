//! From an ini file to a checked [`Config`]: first every line is understood by itself, then `check` sees whether the
//! whole makes sense. All problems are collected, so that one look at the output is enough to mend the file.

use std::collections::BTreeMap;

use super::draft::{Draft, HostDraft, Whose};
use super::ini::{self, Line};
use super::keys::{self, Field, Global, GlobalKey, HostKey, LimitKey};
use super::problem::{Mode, Notes, Problem};
use super::{BUILT_IN_APPS, Config, File, NodeName, Password, Serves, Spdy};
use super::{CLIENT_AUTH, LOG_FORMATS, LOG_LEVELS, NODE_LOSS, ON_OFF, REDISPATCH, SLOW_CLIENT, WEBSOCKET_DEFLATE};
use super::{origin, tls, value};
use crate::address::{BindAddr, Cidr, split_port};

/// The longest name of a node: a ZeroMQ identity has no more bytes.
const NODE_NAME_MAX: usize = 255;

/// The longest password: PLAIN has one byte for its length (RFC 24).
const PASSWORD_MAX: usize = 255;

/// The largest size and count that can be set: sums of them still fit into a word.
pub(super) const NUMBER_MAX: u64 = if usize::BITS < 64 { (usize::MAX / 4) as u64 } else { 1 << 48 };

/// Stands for a section that could not be read, among keys.
pub(super) const SECTION: &str = "[]";

impl Config {
    /// Reads an ini file; `file` is its name for messages.
    ///
    /// The configuration comes with warnings: things that are likely not meant so, and, when `mode` is lenient,
    /// what was left out. Otherwise *all* problems are returned, in the order of their lines.
    ///
    /// Files that it names (error pages, certificates) are not read: fill them in by [`files_mut`](Self::files_mut).
    pub fn parse(text: &[u8], file: &str, mode: Mode) -> Result<(Self, Vec<Problem>), Vec<Problem>> {
        Self::read(text, file, mode, false)
    }

    /// As [`parse`](Self::parse), but virtual hosts that are reached by TLS may lack a certificate. Give them one
    /// before the configuration is used.
    pub fn parse_uncertified(text: &[u8], file: &str, mode: Mode) -> Result<(Self, Vec<Problem>), Vec<Problem>> {
        Self::read(text, file, mode, true)
    }

    fn read(
        text: &[u8],
        file: &str,
        mode: Mode,
        certificates_follow: bool,
    ) -> Result<(Self, Vec<Problem>), Vec<Problem>> {
        let draft = Draft::new(certificates_follow);
        let mut parser = Parser { notes: Notes::new(file, mode), draft, seen: BTreeMap::new() };
        parser.read(text);
        let Parser { mut notes, draft, .. } = parser;
        let config = draft.check(&mut notes);
        let (problems, warnings) = notes.into_parts();
        if problems.is_empty() { Ok((config, warnings)) } else { Err(problems) }
    }
}

/// The section that the current line stands in.
#[derive(Clone, Copy)]
enum Section<'a> {
    /// Before the first one.
    None,
    /// `[blastbeat]`
    Global,
    /// `[blastbeat:NAME]`, with the line it stands on and whether a key followed.
    Host { name: &'a str, line: usize, used: bool },
    /// Somebody else's, or one with a name that cannot be.
    Other,
}

struct Parser<'a> {
    notes: Notes<'a>,
    draft: Draft,
    /// Line of each key that is given once, by its host (if any) and name.
    seen: BTreeMap<(Whose, String), usize>,
}

impl Parser<'_> {
    fn read(&mut self, text: &[u8]) {
        let mut section = Section::None;
        for (line, content) in ini::read(text) {
            match content {
                Err(fault) => self.notes.problem(line, "", fault.message()),
                Ok(Line::Section(name)) => {
                    self.leave(section);
                    section = self.enter(line, name);
                }
                Ok(Line::Entry { key, value }) => match &mut section {
                    Section::None => {
                        self.notes.warning(
                            line,
                            key,
                            "stands before any section and is ignored; put it into [blastbeat]",
                        );
                    }
                    Section::Other => {}
                    Section::Global => self.entry(line, Whose::Everybody, key, value),
                    Section::Host { name, line: start, used } => {
                        *used = true;
                        let host = self.draft.host(name, *start);
                        self.entry(line, Whose::Host(host), key, value);
                    }
                },
            }
        }
        self.leave(section);
    }

    fn enter<'t>(&mut self, line: usize, name: &'t str) -> Section<'t> {
        if name == "blastbeat" {
            return Section::Global;
        }
        let Some(host) = name.strip_prefix("blastbeat:") else { return Section::Other };
        match check_host_name(host) {
            Ok(()) => Section::Host { name: host, line, used: false },
            Err(message) => {
                self.draft.unread.insert(SECTION.to_owned());
                self.notes.problem(line, format!("[{name}]"), message);
                Section::Other
            }
        }
    }

    fn leave(&mut self, section: Section<'_>) {
        if let Section::Host { name, line, used: false } = section {
            let message = "has no keys and is ignored; name at least a node";
            self.notes.warning(line, format!("[blastbeat:{name}]"), message);
        }
    }

    fn entry(&mut self, line: usize, whose: Whose, key: &str, value: &str) {
        if keys::is_unserved(key) {
            return self.unserved(line, key, value);
        }
        let result = match whose {
            Whose::Everybody => match Global::from_name(key) {
                None => return self.unknown(line, whose, key),
                Some(_) if value.is_empty() => Err(MISSING.to_owned()),
                Some(Global::Limit(limit)) => {
                    self.once(line, whose, key);
                    self.draft.limits_set.push(limit.name);
                    set_limit(limit, &mut self.draft.config, value)
                }
                Some(Global::Key(known)) => {
                    if !known.is_repeatable() {
                        self.once(line, whose, key);
                    }
                    self.global(line, known, value)
                }
            },
            Whose::Host(host) => match HostKey::from_name(key) {
                None => return self.unknown(line, whose, key),
                Some(_) if value.is_empty() => Err(MISSING.to_owned()),
                Some(known) => {
                    if !known.is_repeatable() {
                        self.once(line, whose, key);
                    }
                    self.host(line, host, known, value)
                }
            },
        };
        if let Err(message) = result {
            self.draft.unread.insert(key.to_owned());
            self.notes.problem(line, key, message);
        }
    }

    /// Notes that a key which holds one value was given, and warns if it had been given before.
    fn once(&mut self, line: usize, whose: Whose, key: &str) {
        if let Some(before) = self.seen.insert((whose, key.to_owned()), line) {
            let message = format!("is given again and replaces the value of line {before}; keep one of them");
            self.notes.warning(line, key, message);
        }
    }

    fn unknown(&mut self, line: usize, whose: Whose, key: &str) {
        let in_host = whose != Whose::Everybody;
        let message = match (keys::belongs_elsewhere(key, in_host), keys::nearest(key, in_host)) {
            (true, _) if in_host => "holds for the whole server; move it to [blastbeat]".to_owned(),
            (true, _) => "belongs to a virtual host; move it to a section [blastbeat:HOST]".to_owned(),
            (false, Some(nearest)) => format!("there is no such key; did you mean {nearest}?"),
            (false, None) => "there is no such key; remove it, or see the table of keys in the README".to_owned(),
        };
        self.notes.unknown(line, key, message);
    }

    fn unserved(&mut self, line: usize, key: &str, value: &str) {
        if key == "workers" && value == "1" {
            return;
        }
        let message = "this version does not serve it; remove the line, or start with --lenient to ignore it";
        self.notes.unknown(line, key, message);
    }

    fn global(&mut self, line: usize, key: GlobalKey, value: &str) -> Result<(), String> {
        let config = &mut self.draft.config;
        match key {
            GlobalKey::Bind => self.bind(line, Whose::Everybody, value, false)?,
            GlobalKey::BindSsl => self.bind(line, Whose::Everybody, value, true)?,
            GlobalKey::Zmq => self.zmq(line, Whose::Everybody, value)?,
            GlobalKey::ZmqConnect => self.draft.dial(line, Whose::Everybody, value::dial_endpoint(value)?)?,
            GlobalKey::NodePassword => {
                let password = new_password(&config.passwords, value)?;
                self.draft.password_lines.push((line, Whose::Everybody, password.node.clone()));
                config.passwords.push(password);
            }
            GlobalKey::NodeCapacity => self.draft.node_capacity = capacity(value)?,
            GlobalKey::Redispatch => config.redispatch = value::choice(value, REDISPATCH)?,
            GlobalKey::SlowClient => config.slow_client = value::choice(value, SLOW_CLIENT)?,
            GlobalKey::NodeLoss => config.node_loss = value::choice(value, NODE_LOSS)?,
            GlobalKey::WebSocketDeflate => config.websocket_deflate = value::choice(value, WEBSOCKET_DEFLATE)?,
            GlobalKey::SocketIo => self.draft.socketio.add(line, false, value)?,
            GlobalKey::EngineIo => self.draft.socketio.add(line, true, value)?,
            GlobalKey::Certificate => self.draft.given.certificate = Some((line, File::new(value))),
            GlobalKey::Key => self.draft.given.key = Some((line, File::new(value))),
            GlobalKey::SniStrict => config.sni_strict = value::choice(value, ON_OFF)?,
            GlobalKey::TlsTickets => config.tls_tickets = value::choice(value, ON_OFF)?,
            GlobalKey::TlsSessions => config.tls_sessions = tls::sessions(value)?,
            GlobalKey::PingFreq => config.ping_freq = value::seconds(value, false)?,
            GlobalKey::StatsFreq => config.stats_freq = value::seconds(value, true)?,
            GlobalKey::DrainTimeout => config.drain_timeout = value::seconds(value, true)?,
            GlobalKey::HalfClose => config.half_close = value::choice(value, ON_OFF)?,
            GlobalKey::TrustedProxy => {
                let network = Cidr::parse(value).ok_or_else(|| {
                    format!("{value:?} is not a network; write an address and a length, such as 10.0.0.0/8")
                })?;
                if !config.trusted_proxies.contains(&network) {
                    config.trusted_proxies.push(network);
                }
            }
            GlobalKey::ErrorPage => {
                let (status, path) = value::first_word(value);
                let status = value::count(status, 400, 599)? as u16;
                if path.is_empty() {
                    return Err("the file is missing; write the status and the path, such as 503 /etc/busy.html".into());
                }
                if config.error_pages.insert(status, File::new(path)).is_some() {
                    return Err(format!("there is a page for {status} already; keep one of them"));
                }
            }
            GlobalKey::Uid => config.privileges.user = Some(value.to_owned()),
            GlobalKey::Gid => config.privileges.group = Some(value.to_owned()),
            GlobalKey::AccessLog => config.access_log = value::choice(value, ON_OFF)?,
            GlobalKey::LogFormat => config.log.json = value::choice(value, LOG_FORMATS)?,
            GlobalKey::LogLevel => config.log.level = value::choice(value, LOG_LEVELS)?,
        }
        Ok(())
    }

    fn host(&mut self, line: usize, index: usize, key: HostKey, value: &str) -> Result<(), String> {
        let whose = Whose::Host(index);
        let HostDraft { host, node_line, capacity_set, given, socketio, .. } = &mut self.draft.hosts[index];
        match key {
            HostKey::Node => {
                let node = node_name(value)?;
                if let NodeName::App(app) = &node
                    && !BUILT_IN_APPS.contains(&app.as_str())
                {
                    let message = format!("no app is called {app:?}; there is {}", BUILT_IN_APPS.join(", "));
                    self.notes.unknown(line, "node", message);
                }
                if node_line.is_none() && !matches!(node, NodeName::App(_)) {
                    *node_line = Some(line);
                }
                if !host.nodes.contains(&node) {
                    host.nodes.push(node);
                }
            }
            HostKey::Alias => {
                check_host_name(value)?;
                self.draft.alias(line, index, value);
            }
            HostKey::Bind => self.bind(line, whose, value, false)?,
            HostKey::BindSsl => self.bind(line, whose, value, true)?,
            HostKey::Zmq => self.zmq(line, whose, value)?,
            HostKey::ZmqConnect => self.draft.dial(line, whose, value::dial_endpoint(value)?)?,
            HostKey::NodePassword => {
                let password = new_password(&host.passwords, value)?;
                self.draft.password_lines.push((line, whose, password.node.clone()));
                host.passwords.push(password);
            }
            HostKey::NodeCapacity => {
                *capacity_set = true;
                host.node_capacity = capacity(value)?;
            }
            // As with the original server, 0 means that the server's value holds.
            HostKey::NodeTimeout => {
                host.node_timeout = Some(value::seconds(value, true)?).filter(|time| !time.is_zero());
            }
            HostKey::Sessions => {
                host.sessions = Some(value::count(value, 0, NUMBER_MAX)? as usize).filter(|count| *count > 0);
            }
            HostKey::Timeout => {
                host.session_timeout = Some(value::seconds(value, true)?).filter(|time| !time.is_zero());
            }
            HostKey::MaxBody => host.body_bytes = Some(value::size(value, 0, NUMBER_MAX)?),
            HostKey::Redispatch => host.redispatch = Some(value::choice(value, REDISPATCH)?),
            HostKey::SlowClient => host.slow_client = Some(value::choice(value, SLOW_CLIENT)?),
            HostKey::NodeLoss => host.node_loss = Some(value::choice(value, NODE_LOSS)?),
            HostKey::WebSocketDeflate => host.websocket_deflate = Some(value::choice(value, WEBSOCKET_DEFLATE)?),
            HostKey::WebSocketOrigin => {
                let origin = origin::read(value)?;
                if !host.websocket_origins.contains(&origin) {
                    host.websocket_origins.push(origin);
                }
            }
            HostKey::WebSocketProtocol => {
                for protocol in value::words(value) {
                    let protocol = value::token(protocol)?;
                    if !host.websocket_protocols.iter().any(|known| known == protocol) {
                        host.websocket_protocols.push(protocol.to_owned());
                    }
                }
            }
            HostKey::SocketIo => socketio.add(line, false, value)?,
            HostKey::EngineIo => socketio.add(line, true, value)?,
            HostKey::Certificate => given.certificate = Some((line, File::new(value))),
            HostKey::Key => given.key = Some((line, File::new(value))),
            HostKey::Ocsp => given.ocsp = Some((line, File::new(value))),
            HostKey::ClientCa => given.client_ca = Some((line, File::new(value))),
            HostKey::ClientAuth => given.client_auth = Some((line, value::choice(value, CLIENT_AUTH)?)),
            HostKey::HttpsRedirect => given.https_redirect = Some((line, tls::https_redirect(value)?)),
            HostKey::Hsts => given.hsts = Some((line, tls::hsts(value)?)),
        }
        Ok(())
    }

    /// `ADDR:PORT [PRIORITY] [proxy] [h2c] [http1] [spdy=…]`, in clear text or by TLS
    fn bind(&mut self, line: usize, whose: Whose, value: &str, tls: bool) -> Result<(), String> {
        let (address, options) = value::first_word(value);
        let address = value::bind_address(address)?;
        let (mut proxy, mut http2, mut spdy, mut priority) = (false, tls, Spdy::NONE, 1);
        for option in value::words(options) {
            if option == "proxy" {
                proxy = true;
            } else if option == "h2c" && !tls {
                http2 = true;
            } else if option == "http1" && tls {
                http2 = false;
            } else if let Some(versions) = option.strip_prefix("spdy=") {
                spdy = Spdy::parse(versions)?;
            } else {
                let choice = match tls {
                    true => "a priority, proxy, http1, or spdy=VERSIONS",
                    false => "a priority, proxy, h2c, or spdy=VERSIONS",
                };
                priority = priority_of(option, choice)?;
            }
        }
        self.draft.listener(line, whose, address, Serves::Http { proxy, tls, http2, spdy }, priority)
    }

    /// `tcp://ADDR:PORT [PRIORITY]` or `ipc://PATH [PRIORITY]`
    fn zmq(&mut self, line: usize, whose: Whose, value: &str) -> Result<(), String> {
        let (endpoint, options) = value::first_word(value);
        let address: BindAddr = value::zmq_endpoint(endpoint)?;
        let mut priority = 1;
        for option in value::words(options) {
            priority = priority_of(option, "a priority")?;
        }
        self.draft.listener(line, whose, address, Serves::Zmq, priority)
    }
}

const MISSING: &str = "the value is missing; write it behind an equals sign";

fn set_limit(key: &LimitKey, config: &mut Config, text: &str) -> Result<(), String> {
    match (key.field)(&mut config.limits) {
        Field::Size(field) => *field = value::size(text, key.min, key.max)? as usize,
        Field::LongSize(field) => *field = value::size(text, key.min, key.max)?,
        Field::Memory(field) => *field = value::memory(text, key.min, key.max)? as usize,
        Field::Count(field) => *field = value::count(text, key.min, key.max)? as usize,
        Field::ShortCount(field) => *field = value::count(text, key.min, key.max.min(u32::MAX.into()))? as u32,
        Field::Time(field) => *field = value::seconds(text, false)?,
        Field::TimeOrNever(field) => *field = value::seconds(text, true)?,
    }
    Ok(())
}

fn priority_of(option: &str, expected: &str) -> Result<u32, String> {
    let priority = value::count(option, 0, u32::MAX.into());
    priority.map(|priority| priority as u32).map_err(|_| format!("{option:?} is not an option; write {expected}"))
}

/// 0 means without bound.
fn capacity(text: &str) -> Result<Option<u32>, String> {
    Ok(Some(value::count(text, 0, u32::MAX.into())? as u32).filter(|count| *count > 0))
}

fn node_name(text: &str) -> Result<NodeName, String> {
    if let Some(app) = text.strip_prefix("app:") {
        return match app {
            "" => Err("the name of the app is missing; write it behind the colon, such as app:welcome".into()),
            app => Ok(NodeName::App(app.to_owned())),
        };
    }
    if text.len() > NODE_NAME_MAX {
        return Err(format!("a node's name has at most {NODE_NAME_MAX} bytes; this one has {}", text.len()));
    }
    let name = text.to_owned();
    Ok(if text.contains('*') { NodeName::Pattern(name) } else { NodeName::Exact(name) })
}

/// `NAME PASSWORD`. The message never shows the password.
fn new_password(passwords: &[Password], text: &str) -> Result<Password, String> {
    let (node, password) = value::first_word(text);
    if password.is_empty() {
        return Err("the password is missing; write the node's name, a space and the password".into());
    }
    if node.len() > NODE_NAME_MAX || password.len() > PASSWORD_MAX {
        return Err(format!("the name and the password have at most {PASSWORD_MAX} bytes each; shorten them"));
    }
    if passwords.iter().any(|password| password.node == node) {
        return Err(format!("{node:?} has a password already; keep one of them"));
    }
    Ok(Password { node: node.to_owned(), password: password.to_owned() })
}

/// A host name or address with an optional port, as the Host field of a request has it (RFC 9110, 7.2); a name may have
/// `*` for its first label. Or `*` alone.
fn check_host_name(name: &str) -> Result<(), String> {
    const FORMS: &str = "write a host name, with a port if it matters, or * for all other hosts";
    if name.is_empty() {
        return Err(format!("the name of the virtual host is missing; {FORMS}"));
    }
    if name == "*" {
        return Ok(());
    }
    if !name.is_ascii() {
        return Err(format!("{name:?} is not ASCII; write the name as browsers send it, beginning with xn--"));
    }
    let (whole, port) = split_port(name);
    let host = whole.strip_prefix("*.").unwrap_or(whole);
    if host.contains('*') {
        return Err(format!("{name:?} has a * in another place than before the first dot; {FORMS}"));
    }
    let inside = whole.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let valid = match inside {
        Some(address) => address.parse::<core::net::Ipv6Addr>().is_ok(),
        None => host.len() <= 253 && !host.is_empty() && host.bytes().all(is_host_byte),
    };
    let port_valid = port.is_none_or(|port| value::count(port, 1, 65_535).is_ok());
    if valid && port_valid { Ok(()) } else { Err(format!("{name:?} is not a host; {FORMS}")) }
}

fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()+,;=".contains(&byte)
}
