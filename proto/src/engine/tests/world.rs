//! An engine, its clients and its nodes in memory.

use super::*;

/// An engine whose outputs are carried out on queues.
pub(super) struct World {
    pub(super) engine: Engine,
    pub(super) now: Instant,
    /// What was written to each link.
    pub(super) written: BTreeMap<LinkId, Vec<u8>>,
    pub(super) shut: BTreeMap<LinkId, Shut>,
    pub(super) reports: Vec<Report>,
}

impl World {
    pub(super) fn new(ini: &str) -> Self {
        let (config, warnings) = Config::parse(ini.as_bytes(), "test.ini", Mode::Strict).unwrap();
        assert!(warnings.is_empty(), "{warnings:?}");
        let entropy = Box::new(SeededEntropy::from_number(7));
        let engine = Engine::new(Arc::new(config), entropy, Instant::ZERO);
        let mut world =
            Self { engine, now: Instant::ZERO, written: BTreeMap::new(), shut: BTreeMap::new(), reports: Vec::new() };
        world.run();
        world
    }

    /// Carries out all outputs, and writes what is queued, in pieces of 1,000 bytes.
    pub(super) fn run(&mut self) {
        while let Some(output) = self.engine.poll_output() {
            match output {
                Output::Attend(link) => self.write(link),
                Output::Shut(link, how) => {
                    self.shut.insert(link, how);
                }
                Output::Report(report) => self.reports.push(report),
                Output::Listen(id, address) => {
                    self.engine.handle(Input::Listening { id, result: Ok(address) }, self.now)
                }
                Output::Dial(..) | Output::Unlisten(_) | Output::Hold(..) | Output::Finished => {}
            }
            self.engine.check_invariants();
        }
    }

    pub(super) fn write(&mut self, link: LinkId) {
        let mut slices = [IoSlice::new(&[]); 8];
        let count = self.engine.outbound(link, &mut slices, self.now);
        let bytes: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.iter().copied()).take(1000).collect();
        if !bytes.is_empty() {
            let n = bytes.len();
            self.written.entry(link).or_default().extend(bytes);
            self.engine.handle(Input::Sent { link, n }, self.now);
        }
    }

    pub(super) fn accept(&mut self, listener: u32) -> LinkId {
        let peer = PeerAddr::Ip(SocketAddr::from(([127, 0, 0, 1], 40_000)));
        let link = self.engine.accept(ListenerId(listener), peer, self.now).unwrap();
        self.run();
        link
    }

    pub(super) fn receive(&mut self, link: LinkId, bytes: &[u8]) {
        self.engine.handle(Input::Received { link, bytes }, self.now);
        self.run();
    }

    pub(super) fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(wake) = self.engine.poll_timeout().filter(|wake| wake.at <= until) {
            self.now = self.now.max(wake.at);
            self.engine.handle(Input::Timeout, self.now);
            self.run();
        }
        self.now = until;
    }

    pub(super) fn client(&mut self, request: &str) -> LinkId {
        let link = self.accept(0);
        self.receive(link, request.as_bytes());
        link
    }

    pub(super) fn read(&mut self, link: LinkId) -> String {
        String::from_utf8(self.written.remove(&link).unwrap_or_default()).unwrap()
    }
}

/// A node: the other end of a ZMTP link.
pub(super) struct Node {
    pub(super) conn: zmtp::Connection,
    pub(super) link: LinkId,
}

impl Node {
    pub(super) fn connect(world: &mut World, identity: &'static str) -> Self {
        let mut node = Self::greet(world, identity);
        let greeted = node.receive(world);
        assert_eq!(greeted.iter().map(|(_, kind, _)| kind.as_str()).collect::<Vec<_>>(), ["ping", "spawn"]);
        node.send(world, b"", "pong", b"");
        node
    }

    pub(super) fn greet(world: &mut World, identity: &'static str) -> Self {
        let settings = zmtp::Settings {
            identity: Bytes::from_static(identity.as_bytes()),
            heartbeat: None,
            ..zmtp::Settings::new(zmtp::Role::Dealer, &world.engine.config().limits)
        };
        let conn = zmtp::Connection::new(Arc::new(settings), world.now);
        let link = world.accept(1);
        Self { conn, link }
    }

    /// Exchanges bytes until both sides rest; returns the messages that came.
    pub(super) fn receive(&mut self, world: &mut World) -> Vec<(Vec<u8>, String, Bytes)> {
        let mut messages = Vec::new();
        loop {
            let out = self.conn.outbound().take();
            if !out.is_empty() {
                world.receive(self.link, &out);
            }
            let bytes = world.written.remove(&self.link).unwrap_or_default();
            if bytes.is_empty() && out.is_empty() {
                return messages;
            }
            let mut rest = &bytes[..];
            loop {
                let took = self.conn.receive(rest, world.now);
                rest = &rest[took..];
                match self.conn.poll_event() {
                    Some(zmtp::Event::Message(message)) => {
                        let text = |i| String::from_utf8_lossy(message.frame(i).unwrap()).into_owned();
                        messages.push((message.frame(0).unwrap().to_vec(), text(1), message.frame_bytes(2).unwrap()));
                    }
                    Some(_) => {}
                    None if took == 0 || rest.is_empty() => break,
                    None => {}
                }
            }
        }
    }

    pub(super) fn send(&mut self, world: &mut World, sid: &[u8], kind: &str, body: &[u8]) {
        self.conn.send(&[sid, kind.as_bytes(), body]).unwrap();
        let out = self.conn.outbound().take();
        world.receive(self.link, &out);
    }

    /// The one request that came.
    pub(super) fn request(&mut self, world: &mut World) -> Vec<u8> {
        let messages = self.receive(world);
        let [(sid, kind, _)] = &messages[..] else { panic!("one message, not {messages:?}") };
        assert_eq!(kind, "uwsgi");
        sid.clone()
    }
}
