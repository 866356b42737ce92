//! Worlds of WebSockets from a seed: browsers that talk, nodes that talk back, groups, echoes, pipes and deaths, beside a
//! model that knows every message that must come of it.
//!
//! One step is one decision of one actor; then everything settles. The model keeps, for each node and each browser, what
//! it must get next: a node hears of each session once, of each message once and in order, and of the end once; what is
//! said to a group reaches its members of that moment in the order of their joins, the speaker last or, with `noecho`,
//! not at all; whoever lost its node is closed with 1012, or goes on at another. In the end nothing is left, and the
//! recording replays.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use blastbeat_proto::entropy::{Entropy, SeededEntropy};

use crate::frames::{BINARY, CONTINUATION, Frame, PING, PONG, SWITCHING, TEXT};
use crate::host::Host;
use crate::packet;
use crate::sim::Sim;
use crate::stage::{Casting, Client, Message, Node, Stage, show};

const NODES: [&str; 3] = ["n1", "n2", "n3"];
const GROUPS: [&str; 3] = ["red", "blue", "a:b"];

/// Plays one world for so many steps.
///
/// # Panics
/// If something comes out that must not.
pub fn play(seed: u64, steps: usize) {
    let mut world = World::new(seed);
    for _ in 0..steps {
        world.step();
        world.look();
    }
    world.end();
}

struct World {
    stage: Stage,
    random: SeededEntropy,
    moves: bool,
    browsers: Vec<Browser>,
    nodes: BTreeMap<&'static str, Worker>,
    /// Members in the order of their joins.
    groups: BTreeMap<&'static str, Vec<usize>>,
    said: usize,
}

struct Browser {
    client: Client,
    /// Once a node has it.
    sid: Vec<u8>,
    node: Option<&'static str>,
    noecho: Vec<&'static str>,
    noecho_by_default: bool,
    pipes: Vec<&'static str>,
    /// What it must get next.
    due: VecDeque<Frame>,
    is_greeted: bool,
    received: Vec<u8>,
    is_paused: bool,
    /// Its session is over.
    is_over: bool,
    /// It takes nothing any more.
    has_left: bool,
}

struct Worker {
    node: Node,
    capabilities: &'static str,
    /// What it must get next, but for requests: session, type, body.
    due: VecDeque<(Vec<u8>, &'static str, Vec<u8>)>,
}

/// What goes to the members of a group.
#[derive(Clone)]
enum Parcel {
    Frame(Frame),
    Msg(Vec<u8>),
    End,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = SeededEntropy::from_number(seed);
        let mut pick = |from: &[&'static str]| from[random.below(from.len() as u64) as usize];
        let turns = pick(&["", "max-deliveries = 1\n", "max-deliveries = 3\n"]);
        let loss = pick(&["close", "move"]);
        let ini = format!(
            "[blastbeat]\nbind = 127.0.0.1:0\nzmq = tcp://127.0.0.1:0\n{turns}[blastbeat:a]\nnode = n1\nnode = n2\n\
             node = n3\nnode-loss = {loss}\n"
        );
        let chunk = [100, 1500, 64 * 1024][random.below(3) as usize];
        let host: Box<dyn Host> = Box::new(Sim::in_chunks(chunk).with_seed(seed));
        let mut stage = Stage::new(host);
        stage.start(&ini);
        let moves = loss == "move";
        Self { stage, random, moves, browsers: Vec::new(), nodes: BTreeMap::new(), groups: BTreeMap::new(), said: 0 }
    }

    fn below(&mut self, bound: usize) -> usize {
        self.random.below(bound as u64) as usize
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        if from.is_empty() { None } else { Some(from[self.below(from.len())]) }
    }

    /// Browsers whose WebSocket is open and at a node.
    fn open(&self) -> Vec<usize> {
        (0..self.browsers.len()).filter(|place| !self.browsers[*place].is_over).collect()
    }

    /// Those of them that read: of others the server may not hear for a while.
    fn awake(&self) -> Vec<usize> {
        self.open().into_iter().filter(|place| !self.browsers[*place].is_paused).collect()
    }

    fn step(&mut self) {
        match self.below(100) {
            0..12 => self.come(),
            12..35 => self.speak(),
            35..65 => self.reply(),
            65..85 => self.bind(),
            85..89 => self.leave(),
            89..93 => self.come_or_go(),
            93..96 => self.pause(),
            _ => {
                // Who does not read answers no ping.
                self.wake(|_| true);
                let millis = self.below(4000) as u64;
                self.stage.advance(Duration::from_millis(millis));
            }
        }
        self.stage.settle();
        // Messages to groups that did not go out in one turn.
        self.stage.advance(Duration::ZERO);
    }

    fn come(&mut self) {
        if self.nodes.is_empty() || self.open().len() > 12 {
            return self.come_or_go();
        }
        let number = self.browsers.len();
        let client = self.stage.opens(&format!("/{number}"));
        self.browsers.push(Browser {
            client,
            sid: Vec::new(),
            node: None,
            noecho: Vec::new(),
            noecho_by_default: false,
            pipes: Vec::new(),
            due: VecDeque::new(),
            is_greeted: false,
            received: Vec::new(),
            is_paused: false,
            is_over: false,
            has_left: false,
        });
    }

    /// A payload that is nobody else's, and whether it is text.
    fn payload(&mut self) -> (Vec<u8>, bool) {
        self.said += 1;
        let mut payload = format!("{} ", self.said).into_bytes();
        let size = [0, 0, 3, 3, 130, 130, 1000, 1000, 1000, 70_000][self.below(10)];
        let text = self.below(2) == 0;
        payload.resize(payload.len() + size, if text { b'.' } else { 0xff });
        let text = text || size == 0;
        (payload, text)
    }

    /// A client says something, whole or in pieces.
    fn speak(&mut self) {
        let Some(place) = self.pick(&self.awake()) else { return };
        let client = self.browsers[place].client;
        let (payload, text) = self.payload();
        let opcode = if text { TEXT } else { BINARY };
        let mut bytes = Vec::new();
        if self.below(3) == 0 {
            let cut = self.below(payload.len() + 1);
            bytes.extend(Frame { last: false, ..Frame::new(opcode, &payload[..cut]) }.masked());
            bytes.extend(Frame::new(PONG, "between").masked());
            bytes.extend(Frame::new(CONTINUATION, &payload[cut..]).masked());
        } else {
            bytes.extend(Frame::new(opcode, &payload[..]).masked());
        }
        let cut = self.below(bytes.len());
        self.stage.send(client, &bytes[..cut]);
        self.stage.settle();
        self.stage.send(client, &bytes[cut..]);
        let pipes = self.browsers[place].pipes.clone();
        for group in &pipes {
            self.send_to_group(group, Some(place), &Parcel::Frame(Frame::new(opcode, &payload[..])));
        }
        if pipes.is_empty() {
            let binary = self.capabilities(place).contains("binary");
            let kind = match (binary, text) {
                (false, _) => "websocket",
                (true, true) => "websocket/text",
                (true, false) => "websocket/binary",
            };
            self.expect(place, kind, payload);
        }
    }

    fn capabilities(&self, place: usize) -> &'static str {
        let name = self.browsers[place].node.expect("an open WebSocket is at a node");
        self.nodes[name].capabilities
    }

    /// The node of this browser must hear this.
    fn expect(&mut self, place: usize, kind: &'static str, body: Vec<u8>) {
        let browser = &self.browsers[place];
        let worker = browser.node.and_then(|name| self.nodes.get_mut(name));
        worker.expect("an open WebSocket is at a node").due.push_back((browser.sid.clone(), kind, body));
    }

    fn send_to_group(&mut self, group: &'static str, sender: Option<usize>, parcel: &Parcel) {
        let members = self.groups.get(group).cloned().unwrap_or_default();
        for place in members.iter().filter(|place| Some(**place) != sender) {
            self.deliver(*place, parcel);
        }
        if let Some(sender) = sender.filter(|sender| members.contains(sender))
            && !self.browsers[sender].noecho.contains(&group)
        {
            self.deliver(sender, parcel);
        }
    }

    fn deliver(&mut self, place: usize, parcel: &Parcel) {
        match parcel {
            Parcel::Frame(frame) => self.browsers[place].due.push_back(frame.clone()),
            Parcel::Msg(body) => self.expect(place, "msg", body.clone()),
            Parcel::End => {
                self.browsers[place].due.push_back(Frame::close(1000, ""));
                self.expect(place, "end", Vec::new());
                self.part(place);
            }
        }
    }

    /// A session is over: it leaves its groups.
    fn part(&mut self, place: usize) {
        self.browsers[place].is_over = true;
        self.groups.values_mut().for_each(|members| members.retain(|member| *member != place));
    }

    /// A node says something, to one or to many.
    fn reply(&mut self) {
        let Some(place) = self.pick(&self.open()) else { return };
        let (sid, name) = (self.browsers[place].sid.clone(), self.browsers[place].node);
        let worker = &self.nodes[name.expect("an open WebSocket is at a node")];
        let (node, binary) = (worker.node, worker.capabilities.contains("binary"));
        let (payload, text) = self.payload();
        let (kind, parcel) = match self.below(20) {
            0 => ("end", Parcel::End),
            1..4 => ("msg", Parcel::Msg(payload.clone())),
            _ => {
                let kind = match (binary, text) {
                    (false, _) => "websocket",
                    (true, true) => "websocket/text",
                    (true, false) => "websocket/binary",
                };
                (kind, Parcel::Frame(Frame::new(if text { TEXT } else { BINARY }, &payload[..])))
            }
        };
        let group = GROUPS[self.below(GROUPS.len())];
        let route = self.below(10);
        match (route, &parcel) {
            (0..4, _) => {
                self.send_to_group(group, Some(place), &parcel);
                self.stage.tell(node, &sid, format!("{group}:{kind}"), &payload);
            }
            (4, _) => {
                self.send_to_group(group, None, &parcel);
                self.stage.tell(node, b"", format!("{group}:{kind}"), &payload);
            }
            (5, _) | (_, Parcel::Msg(_)) => {
                let target = self.pick(&self.open()).unwrap_or(place);
                let to = [b"@", &self.browsers[target].sid[..], b":", kind.as_bytes()].concat();
                self.deliver(target, &parcel);
                self.stage.tell(node, &sid, to, &payload);
            }
            _ => {
                self.deliver(place, &parcel);
                self.stage.tell(node, &sid, kind, &payload);
            }
        }
    }

    /// A node ties a session to others.
    fn bind(&mut self) {
        let Some(place) = self.pick(&self.open()) else { return };
        let group = GROUPS[self.below(GROUPS.len())];
        let members = self.groups.entry(group).or_default();
        let is_member = members.contains(&place);
        let browser = &mut self.browsers[place];
        let (kind, body) = match self.random.below(12) {
            0..6 => {
                if !is_member {
                    members.push(place);
                    browser.noecho.retain(|other| *other != group);
                    if browser.noecho_by_default {
                        browser.noecho.push(group);
                    }
                }
                ("join", group.to_owned())
            }
            6 => {
                members.retain(|member| *member != place);
                ("leave", group.to_owned())
            }
            7 => {
                browser.noecho.retain(|other| *other != group);
                ("echo", group.to_owned())
            }
            8 => {
                if is_member {
                    browser.noecho.push(group);
                }
                ("noecho", group.to_owned())
            }
            9 => {
                browser.noecho_by_default = !browser.noecho_by_default;
                (if browser.noecho_by_default { "noecho" } else { "echo" }, String::new())
            }
            10 => {
                if !browser.pipes.contains(&group) {
                    browser.pipes.push(group);
                }
                ("pipe", format!("{group}:websocket"))
            }
            _ => {
                browser.pipes.clear();
                ("unpipe", String::new())
            }
        };
        let (sid, name) = (browser.sid.clone(), browser.node.expect("an open WebSocket is at a node"));
        self.stage.tell(self.nodes[name].node, &sid, kind, body);
    }

    /// A client closes, or goes without a word.
    fn leave(&mut self) {
        let Some(place) = self.pick(&self.awake()) else { return };
        let client = self.browsers[place].client;
        match self.below(3) {
            0 => {
                let close = Frame::close(4000, "bye");
                if self.capabilities(place).contains("close") {
                    self.expect(place, "websocket/close", close.payload.clone());
                }
                self.browsers[place].due.push_back(Frame::close(4000, ""));
                self.stage.send_frame(client, &close);
            }
            1 => {
                self.browsers[place].has_left = true;
                self.stage.close(client);
            }
            _ => {
                self.browsers[place].has_left = true;
                // In the middle of a frame.
                self.stage.send(client, b"\x81\xfe\x01");
                self.stage.settle();
                self.stage.reset(client);
            }
        }
        self.expect(place, "end", Vec::new());
        self.part(place);
    }

    /// A node dies or comes.
    fn come_or_go(&mut self) {
        let name = NODES[self.below(NODES.len())];
        let Some(worker) = self.nodes.remove(name) else {
            let capabilities = ["", "binary", "binary close", "close end-reason", "binary close end-reason"];
            let capabilities = capabilities[self.below(capabilities.len())];
            let node = self.stage.cast(Casting { name, capabilities, ..Casting::default() });
            self.nodes.insert(name, Worker { node, capabilities, due: VecDeque::new() });
            return self.stage.available(name);
        };
        let link = self.stage.as_client(worker.node);
        if self.below(2) == 0 {
            self.stage.reset(link)
        } else {
            self.stage.close(link)
        }
        for place in self.open() {
            if self.browsers[place].node != Some(name) {
                continue;
            }
            self.browsers[place].node = None;
            if !self.moves || self.nodes.is_empty() {
                let farewell =
                    if self.moves { Frame::close(1013, "node-missing") } else { Frame::close(1012, "node-lost") };
                self.browsers[place].due.push_back(farewell);
                self.part(place);
            }
        }
    }

    fn pause(&mut self) {
        let Some(place) = self.pick(&self.open()) else { return };
        let browser = &mut self.browsers[place];
        browser.is_paused = !browser.is_paused;
        self.stage.pause(browser.client, browser.is_paused);
    }

    /// Looks at all that came.
    fn look(&mut self) {
        self.wake(|browser| browser.is_over);
        for name in self.nodes.keys().copied().collect::<Vec<_>>() {
            for message in self.stage.take_messages(self.nodes[name].node) {
                self.hear(name, message);
            }
            let due = &self.nodes[name].due;
            assert!(due.is_empty(), "{name} never gets {:?}", due.iter().map(|(_, kind, _)| kind).collect::<Vec<_>>());
        }
        for place in 0..self.browsers.len() {
            self.read(place);
            let browser = &self.browsers[place];
            assert!(browser.is_over || browser.node.is_some(), "/{place} is at no node");
        }
        self.stage.host().reports().clear();
    }

    fn hear(&mut self, name: &'static str, message: Message) {
        if message.kind == "uwsgi" {
            let variables = packet::variables(&message.body);
            let get = |name: &str| variables.iter().find(|(other, _)| other == name).map(|(_, value)| &value[..]);
            let target = std::str::from_utf8(get("REQUEST_URI").expect("a target")).expect("ASCII");
            let place: usize = target[1..].parse().expect("targets are numbers");
            let browser = &mut self.browsers[place];
            assert_eq!(browser.node, None, "{target} comes to {name}");
            assert_eq!(get("HTTP_UPGRADE"), Some(&b"websocket"[..]), "{target} says what it asks for");
            assert_eq!(get("REDISPATCHED").is_some(), !browser.sid.is_empty(), "{target} at {name}");
            assert!(browser.sid.is_empty() || browser.sid == message.sid, "{target} keeps its session");
            browser.sid = message.sid;
            browser.node = Some(name);
            return;
        }
        let Some(worker) = self.nodes.get_mut(name) else { return };
        let Some((sid, kind, body)) = worker.due.pop_front() else { panic!("{message:?} at {name}") };
        assert_eq!((&sid, kind), (&message.sid, &message.kind[..]), "at {name}");
        let tells_why = worker.capabilities.contains("end-reason");
        match kind {
            "end" => assert_eq!(message.body.is_empty(), !tells_why, "{message:?} at {name}"),
            _ => assert!(body == message.body, "{name} should get {}, not {}", show(&body), show(&message.body)),
        }
    }

    /// Takes complete frames off what a client has received.
    fn read(&mut self, place: usize) {
        let browser = &mut self.browsers[place];
        if browser.has_left {
            return;
        }
        browser.received.extend(self.stage.take_incoming(browser.client));
        if !browser.is_greeted && browser.received.starts_with(SWITCHING.as_bytes()) {
            browser.received.drain(..SWITCHING.len());
            browser.is_greeted = true;
        }
        while let Some((frame, used)) = Frame::read(&browser.received).filter(|_| browser.is_greeted) {
            browser.received.drain(..used);
            if frame.opcode == PING {
                self.stage.send_frame(browser.client, &Frame::new(PONG, frame.payload));
                continue;
            }
            let Some(due) = browser.due.pop_front() else {
                panic!("/{place} gets {} {} for no reason", frame.name(), show(&frame.payload));
            };
            let fits = frame.opcode == due.opcode && frame.payload == due.payload && frame.last;
            let shown = |frame: &Frame| format!("{} {}", frame.name(), show(&frame.payload));
            assert!(fits, "/{place} should get {}, not {}", shown(&due), shown(&frame));
        }
        assert!(browser.is_paused || browser.due.is_empty(), "/{place} never gets {} frames", browser.due.len());
        let has_ended = self.stage.host().peer(browser.client.id()).ended.is_some();
        assert!(browser.is_over || !has_ended, "/{place} was sent away for no reason");
        if browser.is_over {
            self.stage.close(browser.client);
            browser.has_left = true;
        }
    }

    /// Lets clients read on.
    fn wake(&mut self, wanted: impl Fn(&Browser) -> bool) {
        for browser in self.browsers.iter_mut().filter(|browser| browser.is_paused && wanted(browser)) {
            browser.is_paused = false;
            self.stage.pause(browser.client, false);
        }
        self.stage.settle();
    }

    /// Everybody goes; what remains must be nothing.
    fn end(mut self) {
        self.wake(|_| true);
        self.look();
        for place in self.open() {
            self.stage.close(self.browsers[place].client);
            self.browsers[place].has_left = true;
            self.expect(place, "end", Vec::new());
            self.part(place);
            self.stage.settle();
        }
        self.stage.advance(Duration::from_secs(10));
        self.look();
        let left = self.stage.snapshot();
        assert_eq!((left.connections, left.sessions, left.memory, left.groups), (0, 0, 0, 0));
        self.stage.finish();
    }
}
