//! What the lines of a file gathered, and whether it makes sense as a whole.

use std::collections::{BTreeMap, BTreeSet};

use super::parse::{NUMBER_MAX, SECTION};
use super::problem::Notes;
use super::socketio::Paths;
use super::tls::Given;
use super::{Config, Dial, Host, Listener, Serves};
use crate::address::{Address, BindAddr};
use crate::limits::Limits;

/// Whom a line is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Whose {
    /// It stands in the global section.
    Everybody,
    /// It stands in the section of this virtual host.
    Host(usize),
}

/// A configuration in the making.
#[derive(Default)]
pub(super) struct Draft {
    pub(super) config: Config,
    /// Virtual hosts, in the order of their sections.
    pub(super) hosts: Vec<HostDraft>,
    /// Keys of limits that were given, which others are derived from.
    pub(super) limits_set: Vec<&'static str>,
    /// Keys with a line that could not be read: what they should have brought is not missed.
    pub(super) unread: BTreeSet<String>,
    /// The global `node-capacity`.
    pub(super) node_capacity: Option<u32>,
    /// Where each password stands, whose it is and which node it is for.
    pub(super) password_lines: Vec<(usize, Whose, String)>,
    /// What the global section says of TLS.
    pub(super) given: Given,
    /// What it says of socket.io.
    pub(super) socketio: Paths,
    /// Hosts that lack a certificate get one later.
    pub(super) certificates_follow: bool,
    pub(super) listeners: Vec<ListenerDraft>,
    /// Places in `listeners`.
    by_address: BTreeMap<BindAddr, usize>,
    dials: Vec<DialDraft>,
    /// Names in lower case, with their host and line.
    names: BTreeMap<String, (usize, usize)>,
    aliases: Vec<(usize, usize, String)>,
}

/// A virtual host in the making.
pub(super) struct HostDraft {
    pub(super) host: Host,
    /// Its first section.
    pub(super) line: usize,
    /// Its first node that is not an app.
    pub(super) node_line: Option<usize>,
    /// Whether it has a `node-capacity` of its own.
    pub(super) capacity_set: bool,
    /// What it says of TLS.
    pub(super) given: Given,
    /// What it says of socket.io.
    pub(super) socketio: Paths,
}

pub(super) struct ListenerDraft {
    address: BindAddr,
    pub(super) serves: Serves,
    priority: u32,
    pub(super) line: usize,
    pub(super) reach: Reach,
}

struct DialDraft {
    address: Address,
    line: usize,
    reach: Reach,
}

/// Who is reached by a listener or a dialled endpoint.
#[derive(Default)]
pub(super) struct Reach {
    /// All virtual hosts that have none of their own.
    pub(super) shared: bool,
    /// And those that named it.
    pub(super) hosts: BTreeSet<usize>,
}

impl Reach {
    fn of(whose: Whose) -> Self {
        let mut reach = Self::default();
        reach.add(whose);
        reach
    }

    fn add(&mut self, whose: Whose) {
        match whose {
            Whose::Everybody => self.shared = true,
            Whose::Host(host) => {
                self.hosts.insert(host);
            }
        }
    }

    /// Whether it would serve both all and some; nodes must know which passwords hold for them.
    fn mixes_with(&self, whose: Whose) -> bool {
        match whose {
            Whose::Everybody => !self.hosts.is_empty(),
            Whose::Host(_) => self.shared,
        }
    }
}

/// What a ZeroMQ message may have more than the WebSocket message that it carries, as in the default limits.
const MESSAGE_MARGIN: usize = Limits::DEFAULT.message_bytes - Limits::DEFAULT.websocket_message_bytes;

const MIXED: &str =
    "stands in [blastbeat] and in a virtual host, so that it is unclear whose nodes it admits; keep one";

impl Draft {
    pub(super) fn new(certificates_follow: bool) -> Self {
        Self { certificates_follow, ..Self::default() }
    }

    /// The virtual host of a section, which comes into being with its first key.
    pub(super) fn host(&mut self, name: &str, line: usize) -> usize {
        let same = |draft: &HostDraft| draft.host.name.eq_ignore_ascii_case(name);
        if let Some(index) = self.hosts.iter().position(same) {
            return index;
        }
        let host = Host::new(name);
        let (given, socketio) = (Given::default(), Paths::default());
        self.hosts.push(HostDraft { host, line, node_line: None, capacity_set: false, given, socketio });
        self.hosts.len() - 1
    }

    /// A further name of a virtual host; clashes are looked for when all names are known.
    pub(super) fn alias(&mut self, line: usize, host: usize, name: &str) {
        self.aliases.push((line, host, name.to_owned()));
    }

    /// Adds a listener, or a further host to one whose address was given before.
    pub(super) fn listener(
        &mut self,
        line: usize,
        whose: Whose,
        address: BindAddr,
        serves: Serves,
        priority: u32,
    ) -> Result<(), String> {
        let known = if is_any_port(&address) { None } else { self.by_address.get(&address) };
        let Some(&index) = known else {
            self.by_address.insert(address.clone(), self.listeners.len());
            self.listeners.push(ListenerDraft { address, serves, priority, line, reach: Reach::of(whose) });
            return Ok(());
        };
        let listener = &mut self.listeners[index];
        let before = listener.line;
        match (listener.serves, serves) {
            (Serves::Http { .. }, Serves::Zmq) | (Serves::Zmq, Serves::Http { .. }) => {
                return Err(format!("{address} serves something else by line {before}; write another port"));
            }
            (Serves::Http { tls: a, .. }, Serves::Http { tls: b, .. }) if a != b => {
                let how = if a { "by TLS" } else { "in clear text" };
                return Err(format!("{address} is served {how} by line {before}; write another port"));
            }
            (Serves::Http { .. }, Serves::Http { .. }) if listener.serves != serves => {
                return Err(format!("{address} has other options on line {before}; make them the same"));
            }
            (Serves::Http { .. }, Serves::Http { .. }) => {}
            (Serves::Zmq, Serves::Zmq) => {
                if listener.reach.mixes_with(whose) {
                    return Err(MIXED.to_owned());
                }
            }
        }
        listener.reach.add(whose);
        Ok(())
    }

    /// Adds an endpoint to connect to, or a further host to one that was given before.
    pub(super) fn dial(&mut self, line: usize, whose: Whose, address: Address) -> Result<(), String> {
        match self.dials.iter_mut().find(|dial| dial.address == address) {
            None => self.dials.push(DialDraft { address, line, reach: Reach::of(whose) }),
            Some(dial) if dial.reach.mixes_with(whose) => return Err(format!("{MIXED} (see line {})", dial.line)),
            Some(dial) => dial.reach.add(whose),
        }
        Ok(())
    }

    /// The configuration, if no problem was noted; otherwise whatever came of it.
    pub(super) fn check(mut self, notes: &mut Notes<'_>) -> Config {
        self.check_names(notes);
        self.check_reach(notes);
        self.check_overlaps(notes);
        self.check_passwords(notes);
        self.check_tls(notes);
        self.check_socketio(notes);
        self.spread_shared_listeners(notes);
        self.derive_limits(notes);
        self.into_config()
    }

    fn check_names(&mut self, notes: &mut Notes<'_>) {
        for (index, draft) in self.hosts.iter().enumerate() {
            self.names.insert(draft.host.name.to_ascii_lowercase(), (index, draft.line));
        }
        for (line, host, alias) in core::mem::take(&mut self.aliases) {
            let before = *self.names.entry(alias.to_ascii_lowercase()).or_insert((host, line));
            if before == (host, line) {
                self.hosts[host].host.aliases.push(alias);
            } else if before.0 != host {
                let owner = &self.hosts[before.0].host.name;
                let message = format!("{alias} is a name of [blastbeat:{owner}] already (line {}); keep one", before.1);
                notes.problem(line, "alias", message);
            }
        }
    }

    /// Each host must have nodes, and ways to be reached by clients and by its nodes.
    fn check_reach(&self, notes: &mut Notes<'_>) {
        let shared_http = self.listeners.iter().any(|listener| listener.reach.shared && listener.serves.is_http());
        let shared_zmq = self.listeners.iter().any(|listener| listener.reach.shared && !listener.serves.is_http())
            || self.dials.iter().any(|dial| dial.reach.shared);
        let (own_http, own_zmq) = (self.owners(Serves::is_http), self.owners_of_node_ways());
        let any_http = self.listeners.iter().any(|listener| listener.serves.is_http());
        let unread = |key: &str| self.unread.contains(key) || (key == "bind" && self.unread.contains("bind-ssl"));
        if !any_http && !unread("bind") {
            notes.problem(
                0,
                "bind",
                "there is none, so no client could connect; write one, such as bind = 127.0.0.1:8080",
            );
        }
        if self.hosts.is_empty() && !unread(SECTION) {
            let message =
                "there is no virtual host, so nothing would be served; write a section [blastbeat:HOST] with a node";
            notes.problem(0, "", message);
        }
        for (index, HostDraft { host, line, node_line, .. }) in self.hosts.iter().enumerate() {
            let section = format!("[blastbeat:{}]", host.name);
            if host.nodes.is_empty() && !unread("node") {
                notes.problem(
                    *line,
                    &section,
                    "has no node that could serve it; write at least one, such as node = web1",
                );
            }
            if any_http && !shared_http && !own_http.contains(&index) && !unread("bind") {
                notes.problem(*line, &section, "has no bind, and [blastbeat] has none for all; write one");
            }
            if let Some(line) = node_line
                && !shared_zmq
                && !own_zmq.contains(&index)
                && !unread("zmq")
                && !unread("zmq-connect")
            {
                let message = "there is no zmq by which nodes of this host could connect; \
                               write one in [blastbeat], such as zmq = tcp://127.0.0.1:5000";
                notes.problem(*line, "node", message);
            }
        }
    }

    /// The wildcard address and another one cannot have the same port.
    fn check_overlaps(&self, notes: &mut Notes<'_>) {
        let tcp = |listener: &ListenerDraft| match &listener.address {
            BindAddr::Tcp(address) if address.port() != 0 => Some(*address),
            BindAddr::Tcp(_) | BindAddr::Unix(_) => None,
        };
        for wide in &self.listeners {
            let Some(every) = tcp(wide).filter(|address| address.ip().is_unspecified()) else { continue };
            for listener in &self.listeners {
                let Some(address) = tcp(listener) else { continue };
                let overlaps = address.is_ipv4() == every.is_ipv4() && address.port() == every.port();
                if overlaps && address != every {
                    let (first, second) = (wide.line.min(listener.line), wide.line.max(listener.line));
                    let key = if listener.line > wide.line { key_of(listener) } else { key_of(wide) };
                    let message = format!("{every} covers {address} too, see line {first}; write another port");
                    notes.problem(second, key, message);
                }
            }
        }
    }

    /// A password that no node can use is a slip of the pen.
    fn check_passwords(&self, notes: &mut Notes<'_>) {
        let own_zmq = self.owners_of_node_ways();
        for (line, whose, node) in &self.password_lines {
            let is_named = |draft: &HostDraft| draft.host.nodes.iter().any(|name| name.allows_password_of(node));
            let named = match whose {
                Whose::Host(_) if self.unread.contains("zmq") => continue,
                Whose::Host(host) if !own_zmq.contains(host) => {
                    let message = "has an effect only beside a zmq of this host's own; move it to [blastbeat]";
                    notes.problem(*line, "node-password", message);
                    continue;
                }
                Whose::Host(host) => is_named(&self.hosts[*host]),
                Whose::Everybody => {
                    self.hosts.iter().enumerate().any(|(index, draft)| !own_zmq.contains(&index) && is_named(draft))
                }
            };
            if !named && !self.unread.contains("node") {
                let message = format!("{node:?} is no node that could use it; write a name as a node key has it");
                notes.problem(*line, "node-password", message);
            }
        }
    }

    /// An address that all hosts share and some name as well leads to all of these: then every shared listener has to
    /// list its hosts, since hosts that have none of their own can no longer be told by what they are not listed for.
    fn spread_shared_listeners(&mut self, notes: &mut Notes<'_>) {
        let shared = |listener: &&mut ListenerDraft| listener.reach.shared && listener.serves.is_http();
        if !self.listeners.iter_mut().filter(shared).any(|listener| !listener.reach.hosts.is_empty()) {
            return;
        }
        let owners = self.owners(Serves::is_http);
        let others: Vec<usize> = (0..self.hosts.len()).filter(|host| !owners.contains(host)).collect();
        for listener in self.listeners.iter_mut().filter(shared) {
            if is_any_port(&listener.address) {
                let message = "port 0 cannot be shared while another shared address is also a virtual host's own; \
                               write a port";
                notes.problem(listener.line, key_of(listener), message);
            }
            listener.reach.hosts.extend(&others);
        }
    }

    /// Limits that follow from others unless they were set.
    fn derive_limits(&mut self, notes: &mut Notes<'_>) {
        let set = |name: &str| self.limits_set.contains(&name);
        let limits = &mut self.config.limits;
        if set("sessions") && !set("connections") {
            limits.connections = limits.sessions.saturating_mul(2);
        }
        if (set("websocket-max-message") || set("socketio-max-payload")) && !set("max-message") {
            // What a node hears it may also have to say.
            let heard = limits.websocket_message_bytes.max(limits.socketio_payload_bytes);
            let carried = (heard + MESSAGE_MARGIN).min(NUMBER_MAX as usize);
            limits.message_bytes = limits.message_bytes.max(carried);
        }
        for (all_key, all, high_key, high) in [
            ("writequeue-buffer", limits.write_queue_bytes, "writequeue-high", &mut limits.write_queue_high),
            ("node-queue-buffer", limits.node_queue_bytes, "node-queue-high", &mut limits.node_queue_high),
        ] {
            if *high <= all {
                continue;
            }
            if set(high_key) {
                notes.problem(0, high_key, format!("is more than {all_key}, which is {all} bytes; write less"));
            } else {
                *high = all.div_ceil(2);
            }
        }
    }

    fn into_config(self) -> Config {
        let mut config = self.config;
        config.hosts = self.hosts.into_iter().map(|draft| finished(draft, self.node_capacity)).collect();
        config.listeners = self.listeners.into_iter().map(ListenerDraft::finish).collect();
        config.dials = self.dials.into_iter().map(DialDraft::finish).collect();
        config.sort_listeners();
        config.dials.sort_by_key(|dial| dial.hosts.first().copied());
        config
    }

    /// Hosts with listeners of their own of the kind that `is_kind` tells.
    pub(super) fn owners(&self, is_kind: fn(Serves) -> bool) -> BTreeSet<usize> {
        let of_kind = self.listeners.iter().filter(|listener| is_kind(listener.serves));
        of_kind.flat_map(|listener| &listener.reach.hosts).copied().collect()
    }

    /// Hosts with ways of their own for their nodes.
    fn owners_of_node_ways(&self) -> BTreeSet<usize> {
        let mut owners = self.owners(|serves| !serves.is_http());
        owners.extend(self.dials.iter().flat_map(|dial| &dial.reach.hosts));
        owners
    }
}

impl ListenerDraft {
    fn finish(self) -> Listener {
        let Self { address, serves, priority, reach, .. } = self;
        Listener { address, serves, hosts: reach.hosts.into_iter().collect(), priority }
    }
}

impl DialDraft {
    fn finish(self) -> Dial {
        Dial { address: self.address, hosts: self.reach.hosts.into_iter().collect() }
    }
}

fn finished(draft: HostDraft, node_capacity: Option<u32>) -> Host {
    let mut host = draft.host;
    if !draft.capacity_set {
        host.node_capacity = node_capacity;
    }
    host
}

/// Whether the system chooses the port: two such addresses are two listeners.
fn is_any_port(address: &BindAddr) -> bool {
    matches!(address, BindAddr::Tcp(address) if address.port() == 0)
}

fn key_of(listener: &ListenerDraft) -> &'static str {
    match listener.serves {
        Serves::Http { tls: false, .. } => "bind",
        Serves::Http { tls: true, .. } => "bind-ssl",
        Serves::Zmq => "zmq",
    }
}
