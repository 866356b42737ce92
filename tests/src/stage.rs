//! Where a scenario plays: peers that speak for themselves, on any host.

mod clients;
mod nodes;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use blastbeat_proto::config::{Config, Serves};
use blastbeat_proto::engine::{Access, Control, Report, Snapshot};
use blastbeat_proto::error::Cause;

use crate::host::{Host, PATIENCE, Peer, PeerId};
use crate::node_link::NodeLink;
use crate::recording;
use crate::secure::{Site, Tunnel, Version};

/// A client on the stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client(PeerId);

/// A node on the stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node(usize);

/// A message that a node got.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    /// The session, empty for messages about the node itself.
    pub sid: Vec<u8>,
    /// The type.
    pub kind: String,
    /// The body.
    pub body: Vec<u8>,
}

/// A request that a node got.
#[derive(Clone, Debug)]
pub struct Request {
    /// The session.
    pub sid: Vec<u8>,
    /// The packet's variables, in order.
    pub variables: Vec<(String, Vec<u8>)>,
}

/// How a node comes to the stage.
#[derive(Clone, Debug, Default)]
pub struct Casting<'a> {
    /// Its identity.
    pub name: &'a str,
    /// What its pongs ask for.
    pub capabilities: &'a str,
    /// Its password, if it speaks PLAIN.
    pub password: Option<&'a str>,
    /// Its place among the listeners for nodes.
    pub listener: usize,
    /// It says nothing by itself: no pong at connect and none to a ping.
    pub silent: bool,
    /// It speaks ZMTP 3.0.
    pub old: bool,
}

struct Seat {
    name: String,
    capabilities: String,
    silent: bool,
    greeted: bool,
    peer: PeerId,
    link: NodeLink,
    messages: VecDeque<Message>,
    heard_anything: bool,
    /// Sessions that are this node's, as far as it knows.
    sessions: BTreeSet<Vec<u8>>,
    /// Sessions that were, and of which it must hear nothing more.
    past: BTreeSet<Vec<u8>>,
    /// Sessions that it passed on itself; pieces of their bodies may still have been under way.
    refused: BTreeSet<Vec<u8>>,
    pings: usize,
}

/// A host, its peers, and what they have heard.
pub struct Stage {
    host: Box<dyn Host>,
    config: Config,
    seats: Vec<Seat>,
    clients: Vec<PeerId>,
    /// Times each name was told to spawn.
    spawned: BTreeMap<String, usize>,
    /// Peers whose unread bytes do not matter at the end.
    forgiven: BTreeSet<PeerId>,
    /// The certificates of the server.
    site: Option<Site>,
    /// The TLS of those clients that speak it.
    tunnels: BTreeMap<PeerId, Tunnel>,
}

impl Stage {
    /// An empty stage.
    pub fn new(host: Box<dyn Host>) -> Self {
        Self {
            host,
            config: Config::default(),
            seats: Vec::new(),
            clients: Vec::new(),
            spawned: BTreeMap::new(),
            forgiven: BTreeSet::new(),
            site: None,
            tunnels: BTreeMap::new(),
        }
    }

    /// The host.
    pub fn host(&mut self) -> &mut dyn Host {
        &mut *self.host
    }

    /// Whether time only passes by [`advance`](Self::advance).
    pub fn is_virtual(&self) -> bool {
        self.host.is_virtual()
    }

    /// Starts the server.
    pub fn start(&mut self, ini: &str) {
        self.start_with(crate::config(ini));
    }

    /// Starts the server with a configuration that an ini file alone cannot give: one whose files are filled in.
    pub fn start_with(&mut self, config: Config) {
        self.config = config.clone();
        self.host.start(config);
    }

    /// Starts the server with certificates of its own.
    pub fn start_secure(&mut self, ini: &str) {
        let mut config = crate::config(ini);
        self.site = Some(Site::new(&mut config));
        self.start_with(config);
        self.show_certificates();
    }

    /// Gives the server other certificates.
    pub fn renew_certificates(&mut self) {
        if let Some(site) = &mut self.site {
            site.renew();
        }
        self.show_certificates();
    }

    fn show_certificates(&mut self) {
        if let Some(site) = &self.site {
            self.host.control(Control::Certificates(site.stores().clone()));
        }
        self.host.settle();
    }

    // --- clients ---

    /// A new client that speaks TLS on the first listener for clients, and asks for `name`. What it sends and gets is
    /// meant in clear from now on.
    pub fn secure_client(&mut self, name: &str, version: Version) -> Client {
        let client = self.client();
        self.secure(client, name, version, &[]);
        client
    }

    /// Makes a client speak TLS from now on.
    ///
    /// # Panics
    /// If the server was not [started](Self::start_secure) with certificates.
    pub fn secure(&mut self, client: Client, name: &str, version: Version, protocols: &[&[u8]]) {
        let site = self.site.as_ref().expect("the server has certificates");
        self.tunnels.insert(client.0, site.client(name, version, protocols));
        self.flush_tunnels();
    }

    /// The TLS of a client that speaks it.
    ///
    /// # Panics
    /// If it does not.
    pub fn tunnel(&mut self, client: Client) -> &mut Tunnel {
        self.tunnels.get_mut(&client.0).expect("it speaks TLS")
    }

    /// Waits until the handshake of a client is complete.
    pub fn secured(&mut self, client: Client) {
        self.until(format!("the handshake of {client:?}"), |stage| stage.tunnel(client).is_established().then_some(()));
    }

    /// Waits for the server's goodbye and its end of the connection; nothing else may come before it.
    pub fn expect_goodbye(&mut self, client: Client) {
        self.expect_closed(client);
        assert!(self.tunnel(client).has_heard_goodbye, "{client:?} should hear goodbye");
    }

    /// Waits for a report that `wanted` likes and takes it.
    pub fn report<T>(&mut self, what: &str, mut wanted: impl FnMut(&Report) -> Option<T>) -> T {
        self.until(format!("a report: {what}"), |stage| {
            let reports = stage.host.reports();
            let (at, found) = reports.iter().enumerate().find_map(|(at, report)| Some((at, wanted(report)?)))?;
            reports.remove(at);
            Some(found)
        })
    }

    /// Waits for the access line of a target.
    pub fn access(&mut self, target: &str) -> Access {
        self.report(&format!("access to {target}"), |report| {
            let Report::Access(access) = report else { return None };
            (access.target == target.as_bytes()).then(|| (**access).clone())
        })
    }

    /// Waits for a node's link to be lost, and says why it was.
    pub fn lost(&mut self, name: &str) -> Cause {
        self.report(&format!("{name} lost"), |report| {
            let Report::NodeLost { node, cause, .. } = report else { return None };
            (node == name).then_some(*cause)
        })
    }

    /// Waits for a node's message to be dropped for this cause.
    pub fn dropped(&mut self, name: &str, cause: Cause) {
        self.report(&format!("{name}: {cause}"), |report| {
            matches!(report, Report::MessageDropped { node, cause: was, .. } if node == name && *was == cause)
                .then_some(())
        });
    }

    /// Waits for a node's refusal for this cause.
    pub fn refusal(&mut self, identity: &str, cause: Cause) {
        self.report(&format!("refused {identity}: {cause}"), |report| {
            matches!(report, Report::NodeRefused { identity: was, cause: why, .. }
                if was == identity.as_bytes() && *why == cause)
            .then_some(())
        });
    }

    /// Asks for the statistics.
    pub fn snapshot(&mut self) -> Snapshot {
        self.settle();
        self.host.reports().retain(|report| !matches!(report, Report::Stats(_)));
        self.host.control(Control::Stats);
        self.report("statistics", |report| {
            let Report::Stats(snapshot) = report else { return None };
            Some((**snapshot).clone())
        })
    }

    /// Waits until the server has counted a cause so often; more is a failure.
    pub fn counted(&mut self, cause: Cause, count: u64) {
        let start = Instant::now();
        loop {
            let stats = self.snapshot().stats;
            let waits = !self.host.is_virtual() && start.elapsed() < PATIENCE;
            if waits && stats.of(cause) < count {
                continue;
            }
            let all: Vec<_> = stats.causes().map(|(cause, count)| format!("{cause} {count}")).collect();
            assert_eq!(stats.of(cause), count, "{cause}; there were {}", all.join(", "));
            return;
        }
    }

    /// What the operator wants.
    pub fn control(&mut self, control: Control) {
        self.host.control(control);
    }

    /// Lets virtual time pass. On a real host what is expected next is simply waited for.
    pub fn advance(&mut self, by: Duration) {
        self.settle();
        self.host.advance(by);
        self.settle();
    }

    /// Lets the server and the nodes deal with everything that has been sent so far.
    pub fn settle(&mut self) {
        loop {
            self.flush_nodes();
            self.host.settle();
            if !self.hear() {
                return;
            }
        }
    }

    /// Steps until `done` has an answer.
    ///
    /// # Panics
    /// If nothing more happens before that.
    pub fn until<T>(&mut self, what: String, mut done: impl FnMut(&mut Self) -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            self.flush_nodes();
            self.hear();
            if let Some(answer) = done(self) {
                return answer;
            }
            // Pings come in real time while nothing of the scenario moves.
            let late = !self.host.is_virtual() && start.elapsed() > PATIENCE;
            let moved = self.host.step();
            if late || !(self.hear() || moved) {
                panic!("on {}: this never came: {what}\n{}", self.host.name(), self.describe());
            }
        }
    }

    /// Ends the scenario: nothing may have come that it did not look at, and the recording has to replay.
    pub fn finish(mut self) {
        self.settle();
        for client in self.clients.clone() {
            if !self.forgiven.contains(&client) {
                let incoming = self.incoming(Client(client));
                assert!(incoming.is_empty(), "nobody expected {client:?} to get {}", show(incoming));
            }
        }
        for seat in &self.seats {
            let unseen = seat.messages.iter().filter(|_| !self.forgiven.contains(&seat.peer)).count();
            assert_eq!(unseen, 0, "nobody expected {} to get {:?}", seat.name, seat.messages);
        }
        let remains = self.host.stop();
        recording::check(&remains.tape, self.host.name());
    }

    fn listener(&self, nth: usize, wanted: impl Fn(Serves) -> bool) -> usize {
        let mut places = self.config.listeners.iter().enumerate().filter(|(_, listener)| wanted(listener.serves));
        places.nth(nth).expect("the configuration has such a listener").0
    }

    /// Moves what nodes have to say towards the host.
    fn flush_nodes(&mut self) {
        for seat in &mut self.seats {
            let peer = self.host.peer(seat.peer);
            peer.outgoing.extend_from_slice(&std::mem::take(&mut seat.link.outgoing));
        }
    }

    /// Lets nodes hear what came; says whether any of them did.
    fn hear(&mut self) -> bool {
        let mut heard = false;
        for seat in &mut self.seats {
            let peer: &mut Peer = self.host.peer(seat.peer);
            if peer.incoming.is_empty() {
                continue;
            }
            heard = true;
            seat.link.receive(&std::mem::take(&mut peer.incoming));
            if seat.link.is_up() && !seat.greeted {
                seat.greeted = true;
                if !seat.silent {
                    seat.link.send(&[b"", b"pong", seat.capabilities.as_bytes()]);
                }
            }
            while let Some(frames) = seat.link.poll_message() {
                seat.hear(frames, &mut self.spawned);
            }
        }
        self.flush_nodes();
        for (id, tunnel) in &mut self.tunnels {
            let peer = self.host.peer(*id);
            heard |= !peer.incoming.is_empty();
            tunnel.receive(&std::mem::take(&mut peer.incoming));
        }
        self.flush_tunnels();
        heard
    }

    /// Moves what clients of TLS have to say towards the host.
    fn flush_tunnels(&mut self) {
        for (id, tunnel) in &mut self.tunnels {
            self.host.peer(*id).outgoing.extend_from_slice(&tunnel.outgoing());
        }
    }

    fn describe(&mut self) -> String {
        let mut text = String::new();
        for client in self.clients.clone() {
            let peer = self.host.peer(client);
            let (unsent, ended) = (peer.outgoing.len(), peer.ended);
            let unread = show(self.incoming(Client(client)));
            text += &format!("  client {}: {unsent} bytes to send, ended {ended:?}, unread {unread}\n", client.0);
            if let Some(error) = self.tunnels.get(&client).and_then(|tunnel| tunnel.error.as_ref()) {
                text += &format!("    {error}\n");
            }
        }
        for seat in &self.seats {
            let ended = self.host.peer(seat.peer).ended;
            text += &format!(
                "  node {}: up {}, ended {ended:?}, unseen {:?}\n",
                seat.name,
                seat.link.is_up(),
                seat.messages
            );
        }
        for report in self.host.reports() {
            text += &format!("  {report}\n");
        }
        text
    }
}

impl Client {
    /// Its end of the connection.
    pub fn id(self) -> PeerId {
        self.0
    }
}
impl Request {
    /// A variable's value.
    pub fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.variables.iter().find(|(other, _)| other == name)?;
        Some(std::str::from_utf8(value).expect("an ASCII value"))
    }

    /// Method and target.
    pub fn line(&self) -> String {
        format!("{} {}", self.get("REQUEST_METHOD").unwrap_or("-"), self.get("REQUEST_URI").unwrap_or("-"))
    }
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sid: String = self.sid.iter().map(|byte| format!("{byte:02x}")).collect();
        write!(f, "[{sid} {} {}]", self.kind, show(&self.body))
    }
}

/// Bytes as text for a message, cut where they get long.
pub fn show(bytes: &[u8]) -> String {
    match bytes.len() {
        0..=2000 => format!("\"{}\"", bytes.escape_ascii()),
        length => format!("\"{}\"... ({length} bytes)", bytes[..1500].escape_ascii()),
    }
}
