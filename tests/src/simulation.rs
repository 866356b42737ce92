//! Whole worlds from a seed: clients, nodes, deaths, resets and time, beside a model of what must come of it.
//!
//! One step is one decision of one actor; then everything settles and is looked at:
//!
//! * a node gets each request once, with exactly its body, and an end for each that it did not give back;
//! * a request that must not be repeated reaches a second node only when the first gave it back;
//! * a client gets answers in the order of its requests, or each on its own stream by SPDY; an answer that a node has given
//!   completely arrives exactly so, whatever became of other clients and nodes; anything else is one of the server's own
//!   pages, or a cut;
//! * at the end, when all clients have gone, the server holds nothing, and its recording replays.
//!
//! The engine's own invariants are checked after every single input.

mod streams;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use blastbeat_proto::entropy::{Entropy, SeededEntropy};
use blastbeat_proto::spdy::Version;

use crate::host::Host;
use crate::sim::Sim;
use crate::stage::{Casting, Client, Node, Stage, show};
use crate::{packet, stage::Message};
use streams::Streams;

const NODES: [&str; 4] = ["n1", "n2", "pool-1", "pool-2"];

const INI: &str = "[blastbeat]
bind = 127.0.0.1:0 spdy=2,3.1
bind = 127.0.0.1:0 spdy=3
zmq = tcp://127.0.0.1:0
ping-freq = 1
node-timeout = 6
head-timeout = 5
body-timeout = 5
keep-alive-timeout = 8
queue = 5
queue-timeout = 3
max-hops = 3
retry-buffer = 3000
linger-timeout = 1
[blastbeat:a]
node = n1
node = n2
node = pool-*
node-capacity = 4
";

/// Plays one world for so many steps.
///
/// # Panics
/// If something comes out that must not; the message tells the seed.
pub fn play(seed: u64, steps: usize) {
    let _told = TellSeed(seed);
    let mut world = World::new(seed);
    for _ in 0..steps {
        world.step();
        world.look();
    }
    world.end();
}

struct TellSeed(u64);

impl Drop for TellSeed {
    #[allow(clippy::print_stderr, reason = "the one line that a failed run is for")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("SEED={} cargo test -p blastbeat-tests --test simulation", self.0);
        }
    }
}

struct World {
    stage: Stage,
    random: SeededEntropy,
    requests: Vec<Request>,
    browsers: Vec<Browser>,
    nodes: BTreeMap<&'static str, Worker>,
    /// A node went while it did not read: what it had got, nobody knows.
    unseen: bool,
}

/// A request that some client has sent or is sending; its number is in its target.
struct Request {
    method: &'static str,
    body: Vec<u8>,
    /// Nodes that got it, and those of them that gave it back.
    deliveries: usize,
    retries: usize,
    /// What a node has answered completely.
    answer: Option<String>,
}

struct Browser {
    client: Client,
    http_1_0: bool,
    unsent: VecDeque<u8>,
    received: Vec<u8>,
    /// Requests without a complete response, oldest first.
    waiting: VecDeque<usize>,
    /// What it has instead of the three, if it speaks SPDY.
    streams: Option<Streams>,
    /// It has gone, or was ended: nothing more is expected.
    over: bool,
}

struct Worker {
    node: Node,
    quiet: bool,
    paused: bool,
    open: BTreeMap<Vec<u8>, Job>,
}

struct Job {
    request: usize,
    upload: Vec<u8>,
    script: Option<Script>,
}

/// What a node is going to send, last part first, and what it will have said when all of it is sent.
struct Script {
    parts: Vec<(&'static str, Vec<u8>)>,
    answer: Option<String>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = SeededEntropy::from_number(seed);
        // Single bytes cost a hundred times as much as the rest.
        let chunk = if random.below(40) == 0 { 1 } else { [30, 600, 64 * 1024][random.below(3) as usize] };
        let host: Box<dyn Host> = Box::new(Sim::in_chunks(chunk).with_seed(seed));
        let mut stage = Stage::new(host);
        stage.start(INI);
        Self { stage, random, requests: Vec::new(), browsers: Vec::new(), nodes: BTreeMap::new(), unseen: false }
    }

    fn below(&mut self, bound: usize) -> usize {
        self.random.below(bound as u64) as usize
    }

    fn step(&mut self) {
        match self.below(100) {
            0..20 => self.ask(),
            20..45 => self.send_some(),
            45..75 => self.answer_some(),
            75..80 => self.leave(),
            80..85 => self.come_or_go(),
            85..88 => self.pause_or_go_on(),
            88..98 => {
                let millis = self.below(400) as u64;
                self.stage.advance(Duration::from_millis(millis));
            }
            _ => {
                let millis = self.below(4000) as u64;
                self.stage.advance(Duration::from_millis(millis));
            }
        }
        self.stage.settle();
    }

    /// A client asks for something, on a new connection or on one that it has.
    fn ask(&mut self) {
        let open: Vec<usize> = (0..self.browsers.len())
            .filter(|place| {
                let browser = &self.browsers[*place];
                !browser.over && !browser.http_1_0 && !browser.streams.as_ref().is_some_and(Streams::is_leaving)
            })
            .collect();
        let place = if open.is_empty() || (open.len() < 12 && self.below(3) == 0) {
            let version = Version::ALL.get(self.below(12)).copied();
            let streams = version.map(|version| Streams::new(&mut self.stage, version));
            let client = streams.as_ref().map(Streams::client).unwrap_or_else(|| self.stage.client());
            let http_1_0 = streams.is_none() && self.below(6) == 0;
            self.browsers.push(Browser {
                client,
                http_1_0,
                unsent: VecDeque::new(),
                received: Vec::new(),
                waiting: VecDeque::new(),
                streams,
                over: false,
            });
            self.browsers.len() - 1
        } else {
            open[self.below(open.len())]
        };
        let number = self.requests.len();
        let method = ["GET", "GET", "HEAD", "POST", "PUT"][self.below(5)];
        let body = match method {
            "POST" | "PUT" => {
                let size = [0, 10, 500, 5000][self.below(4)];
                vec![b'a' + (number % 26) as u8; size]
            }
            _ => Vec::new(),
        };
        if self.browsers[place].streams.is_some() {
            let with_length = self.below(2) == 0;
            self.requests.push(Request { method, body, deliveries: 0, retries: 0, answer: None });
            return self.ask_on_stream(place, number, with_length);
        }
        let version = if self.browsers[place].http_1_0 { "1.0" } else { "1.1" };
        let mut text = format!("{method} /{number} HTTP/{version}\r\nHost: a\r\n").into_bytes();
        if self.below(2) == 0 && version == "1.1" && !body.is_empty() {
            text.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
            for chunk in body.chunks(1 + self.below(1000)) {
                text.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                text.extend_from_slice(chunk);
                text.extend_from_slice(b"\r\n");
            }
            text.extend_from_slice(b"0\r\n\r\n");
        } else {
            text.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
            text.extend_from_slice(&body);
        }
        self.requests.push(Request { method, body, deliveries: 0, retries: 0, answer: None });
        let browser = &mut self.browsers[place];
        browser.unsent.extend(text);
        browser.waiting.push_back(number);
        if self.below(2) == 0 {
            self.send(place, usize::MAX);
        }
    }

    /// A client that has something to send sends some of it.
    fn send_some(&mut self) {
        let eager: Vec<usize> =
            (0..self.browsers.len()).filter(|place| !self.browsers[*place].unsent.is_empty()).collect();
        if !eager.is_empty() {
            let place = eager[self.below(eager.len())];
            let most = [1, 30, 1000, usize::MAX][self.below(4)];
            self.send(place, most);
        }
    }

    fn send(&mut self, place: usize, most: usize) {
        let browser = &mut self.browsers[place];
        let count = browser.unsent.len().min(most);
        let bytes: Vec<u8> = browser.unsent.drain(..count).collect();
        if !browser.over {
            self.stage.send(browser.client, bytes);
        }
    }

    /// A node goes on with one of its requests.
    fn answer_some(&mut self) {
        let ready: Vec<&'static str> = self
            .nodes
            .iter()
            .filter(|(_, worker)| !worker.paused && !worker.open.is_empty())
            .map(|(name, _)| *name)
            .collect();
        if ready.is_empty() {
            return;
        }
        let name = ready[self.below(ready.len())];
        let count = self.nodes[name].open.len();
        let nth = self.below(count);
        let Some((sid, job)) = self.nodes[name].open.iter().nth(nth) else { return };
        let (sid, number) = (sid.clone(), job.request);
        let fresh = job.script.is_none().then(|| self.script(name, number));
        let Some(worker) = self.nodes.get_mut(name) else { return };
        let Some(job) = worker.open.get_mut(&sid) else { return };
        let script = job.script.get_or_insert_with(|| fresh.unwrap_or(Script { parts: Vec::new(), answer: None }));
        let Some((kind, body)) = script.parts.pop() else { return };
        let complete = script.parts.is_empty();
        let answer = script.answer.clone().filter(|_| complete);
        let node = worker.node;
        let retried = kind == "retry";
        if retried || (complete && answer.is_some() && worker.quiet) {
            worker.open.remove(&sid);
        }
        self.requests[number].retries += usize::from(retried);
        if let Some(answer) = answer {
            self.requests[number].answer = Some(answer);
        }
        self.stage.tell(node, &sid, kind, body);
    }

    fn script(&mut self, name: &str, number: usize) -> Script {
        let text = format!("ok {number} of {name} {}", ".".repeat(self.below(3000)));
        let framed = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", text.len()).into_bytes();
        let unframed = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
        let half = text.len() / 2;
        let (first, second) = (text.as_bytes()[..half].to_vec(), text.as_bytes()[half..].to_vec());
        let is_head = self.requests[number].method == "HEAD";
        let (mut parts, good) = match self.below(14) {
            // An answer to HEAD is complete with its head.
            _ if is_head => (vec![("headers", framed)], true),
            0..4 => (vec![("headers", framed), ("body", first), ("body", second)], true),
            4..6 => (vec![("headers", [framed, text.as_bytes().to_vec()].concat())], true),
            6..8 => (vec![("headers", unframed), ("body", first), ("body", second), ("end", Vec::new())], true),
            8 => {
                let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
                (vec![("headers", head), ("chunk", first), ("chunk", second), ("chunk", Vec::new())], true)
            }
            9 | 10 => (vec![("retry", Vec::new())], false),
            11 => (vec![("end", Vec::new())], false),
            12 => (vec![("headers", framed), ("body", first), ("end", Vec::new())], false),
            _ => (vec![("headers", b"HTTP/1.1 nonsense".to_vec())], false),
        };
        parts.retain(|(kind, body)| *kind != "body" || !body.is_empty());
        parts.reverse();
        Script { parts, answer: good.then_some(text) }
    }

    /// A client goes.
    fn leave(&mut self) {
        let open: Vec<usize> = (0..self.browsers.len()).filter(|place| !self.browsers[*place].over).collect();
        if open.is_empty() {
            return;
        }
        let place = open[self.below(open.len())];
        let client = self.browsers[place].client;
        if self.below(2) == 0 {
            self.stage.reset(client)
        } else {
            self.stage.close(client)
        }
        self.browsers[place].over = true;
        self.browsers[place].unsent.clear();
    }

    /// A node dies or comes.
    fn come_or_go(&mut self) {
        let name = NODES[self.below(NODES.len())];
        match self.nodes.remove(name) {
            Some(worker) => {
                self.unseen |= worker.paused;
                let link = self.stage.as_client(worker.node);
                if self.below(2) == 0 { self.stage.reset(link) } else { self.stage.close(link) }
            }
            None => {
                let capabilities = ["", "quiet", "end-reason", "body-end errors", "quiet capacity=2"][self.below(5)];
                let node = self.stage.cast(Casting { name, capabilities, ..Casting::default() });
                let quiet = capabilities.starts_with("quiet");
                self.nodes.insert(name, Worker { node, quiet, paused: false, open: BTreeMap::new() });
            }
        }
    }

    fn pause_or_go_on(&mut self) {
        let names: Vec<&'static str> = self.nodes.keys().copied().collect();
        if names.is_empty() {
            return;
        }
        let name = names[self.below(names.len())];
        let Some(worker) = self.nodes.get_mut(name) else { return };
        worker.paused = !worker.paused;
        let (link, paused) = (self.stage.as_client(worker.node), worker.paused);
        self.stage.pause(link, paused);
    }

    /// Looks at all that came.
    fn look(&mut self) {
        let names: Vec<&'static str> = self.nodes.keys().copied().collect();
        for name in names {
            let node = self.nodes[name].node;
            for message in self.stage.take_messages(node) {
                self.hear(name, message);
            }
            if !self.stage.is_up(node) && self.stage.has_ended(node) {
                self.nodes.remove(name);
            }
        }
        for place in 0..self.browsers.len() {
            match self.browsers[place].streams {
                Some(_) => self.read_streams(place),
                None => self.read(place),
            }
        }
        self.stage.host().reports().clear();
    }

    fn hear(&mut self, name: &'static str, message: Message) {
        let Some(worker) = self.nodes.get_mut(name) else { return };
        match &message.kind[..] {
            "uwsgi" => {
                let variables = packet::variables(&message.body);
                let get = |name: &str| variables.iter().find(|(other, _)| other == name).map(|(_, value)| &value[..]);
                let target = std::str::from_utf8(get("REQUEST_URI").expect("a target")).expect("ASCII");
                let number: usize = target[1..].parse().expect("targets are numbers");
                let request = &mut self.requests[number];
                assert_eq!(get("REQUEST_METHOD"), Some(request.method.as_bytes()));
                assert!(request.answer.is_none(), "{target} goes to {name} although it was answered");
                request.deliveries += 1;
                let lost = request.deliveries - 1 - request.retries;
                assert!(lost == 0 || request.method != "POST", "{target} is repeated at {name}");
                let told = get("REDISPATCHED").is_some();
                assert!(told == (lost > 0) || (told && self.unseen), "{target} at {name}: lost {lost}, told {told}");
                worker.open.insert(message.sid, Job { request: number, upload: Vec::new(), script: None });
            }
            "body" => {
                let job = worker.open.get_mut(&message.sid);
                let Some(job) = job else { return assert!(worker.quiet, "{message:?} without a request at {name}") };
                job.upload.extend_from_slice(&message.body);
                let body = &self.requests[job.request].body;
                assert!(body.starts_with(&job.upload), "{name} gets a wrong body: {}", show(&job.upload));
            }
            "end" => {
                assert!(worker.open.remove(&message.sid).is_some(), "{message:?} without a request at {name}");
            }
            "error" => {}
            _ => panic!("{message:?} at {name}"),
        }
    }

    /// Takes complete responses off what a client has received.
    fn read(&mut self, place: usize) {
        let browser = &mut self.browsers[place];
        let came = self.stage.take_incoming(browser.client);
        if browser.over {
            return;
        }
        browser.received.extend(came);
        let ended = self.stage.host().peer(browser.client.id()).ended.is_some();
        while let Some(&number) = browser.waiting.front() {
            let request = &self.requests[number];
            let parsed = response(&browser.received, request.method == "HEAD", ended);
            let Some(Response { status, body, used, delimited }) = parsed else {
                assert!(
                    request.answer.is_none(),
                    "/{number} was answered, and its client has only {}",
                    show(&browser.received)
                );
                break;
            };
            browser.received.drain(..used);
            browser.waiting.pop_front();
            match status {
                // Nobody can tell an end from a cut where only the end of the connection marks it.
                200 if !delimited && request.answer.is_none() => {}
                200 => {
                    let answer = request.answer.as_deref().unwrap_or_else(|| panic!("nobody has answered /{number}"));
                    let expected = if request.method == "HEAD" { "" } else { answer };
                    assert_eq!(show(&body), show(expected.as_bytes()), "the answer to /{number}");
                }
                408 | 502 | 503 | 504 => assert!(request.answer.is_none(), "/{number} was answered, and got {status}"),
                other => panic!("/{number} got {other}"),
            }
        }
        if ended {
            browser.over = true;
            browser.unsent.clear();
            self.stage.close(browser.client);
        }
    }

    /// Everybody goes; what remains must be nothing.
    fn end(mut self) {
        for place in 0..self.browsers.len() {
            let client = self.browsers[place].client;
            self.stage.close(client);
        }
        for worker in self.nodes.values_mut().filter(|worker| worker.paused) {
            worker.paused = false;
            let link = self.stage.as_client(worker.node);
            self.stage.pause(link, false);
        }
        for browser in &mut self.browsers {
            browser.over = true;
        }
        self.stage.advance(Duration::from_secs(60));
        self.look();
        let left = self.stage.snapshot();
        assert_eq!((left.connections, left.sessions, left.memory), (0, 0, 0));
        for (name, worker) in &self.nodes {
            assert!(worker.open.is_empty(), "{name} was not told of the end of {:?}", worker.open.keys());
        }
        self.stage.finish();
    }
}

/// A response that a client has got.
struct Response {
    status: u16,
    body: Vec<u8>,
    /// Its length, head and all.
    used: usize,
    /// Its end was marked by more than the end of the connection.
    delimited: bool,
}

/// The first response in `bytes`; `None` while it is not complete.
fn response(bytes: &[u8], is_head: bool, ended: bool) -> Option<Response> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&bytes[..end]).expect("an ASCII head");
    let status: u16 = head.get(9..12).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("no status: {head}"));
    let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name));
    let rest = &bytes[end..];
    if is_head {
        return Some(Response { status, body: Vec::new(), used: end, delimited: true });
    }
    if let Some(length) = field("Content-Length: ") {
        let length: usize = length.parse().expect("a length");
        let body = rest.get(..length)?.to_vec();
        return Some(Response { status, body, used: end + length, delimited: true });
    }
    if field("Transfer-Encoding: ") == Some("chunked") {
        return chunks(rest).map(|(body, used)| Response { status, body, used: end + used, delimited: true });
    }
    assert!(head.starts_with("HTTP/1.0"), "no framing: {head}");
    ended.then(|| Response { status, body: rest.to_vec(), used: bytes.len(), delimited: false })
}

fn chunks(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let line = bytes[at..].windows(2).position(|window| window == b"\r\n")?;
        let size = std::str::from_utf8(&bytes[at..at + line]).expect("ASCII");
        let size = usize::from_str_radix(size, 16).unwrap_or_else(|_| panic!("chunk size {size}"));
        at += line + 2;
        let chunk = bytes.get(at..at + size + 2)?;
        assert!(chunk.ends_with(b"\r\n"), "a chunk ends with a line break");
        body.extend_from_slice(&chunk[..size]);
        at += size + 2;
        if size == 0 {
            return Some((body, at));
        }
    }
}
