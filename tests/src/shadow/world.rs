//! Everybody together: what happens next, troubles, and the end.

use blastbeat_proto::engine::{Control, Input};
use blastbeat_proto::time::{Duration, Instant};

use super::client::Client;
use super::dice::Dice;
use super::model::{Model, Seen, Who};
use super::net::{End, Happening, Net, Peer};
use super::node::Node;
use super::rules::Rules;
use super::server::Server;
use crate::engine;

/// Virtual time after which somebody who is not served never will be.
const LATEST: Duration = Duration::from_secs(3600);

/// What a run was.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    /// Requests that clients made.
    pub requests: usize,
    /// Those that a node answered, and whose answer reached the client.
    pub answered: usize,
    /// Those that nodes got, each time counted.
    pub handed_over: usize,
    /// Inputs of the engine.
    pub steps: u64,
}

impl std::ops::AddAssign for Figures {
    fn add_assign(&mut self, more: Self) {
        self.requests += more.requests;
        self.answered += more.answered;
        self.handed_over += more.handed_over;
        self.steps += more.steps;
    }
}

/// Plays one seed to its end.
///
/// # Panics
/// If the server does something that the model does not allow.
pub fn run(seed: u64) -> Figures {
    World::new(seed).play()
}

struct World {
    net: Net,
    model: Model,
    server: Server,
    clients: Vec<Client>,
    nodes: Vec<Node>,
    dice: Dice,
    /// Nothing goes wrong but what peers mean to do.
    is_calm: bool,
    is_ending: bool,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let rules = Rules::draw(&mut dice);
        let mut entropy = [0; 32];
        entropy[..8].copy_from_slice(&seed.to_le_bytes());
        let engine = engine(rules.config.clone(), entropy, Instant::ZERO);
        let identities = rules.identities.clone();
        let dialed = rules.dialed;
        let mut model = Model::new(rules);
        let mut net = Net::new(Dice::new(dice.throw()));
        let mut nodes = Vec::new();
        let fall = Dice::new(dice.throw());
        for (place, identity) in identities.iter().enumerate() {
            let fall = if place == 0 { fall.clone() } else { Dice::new(dice.throw()) };
            nodes.push(Node::new(place, identity.clone(), dialed == Some(place), fall, &mut model));
        }
        // Now and then somebody has the name and the habits of another.
        if dice.chance(10) {
            nodes.push(Node::new(nodes.len(), identities[0].clone(), false, fall, &mut model));
        }
        let clients: Vec<_> =
            (0..dice.between(1, 9)).map(|place| Client::new(place, Dice::new(dice.throw()))).collect();
        for place in 0..nodes.len() {
            net.wake(Peer::Node(place), Instant::ZERO + dice.millis(0, 400));
        }
        for place in 0..clients.len() {
            net.wake(Peer::Client(place), Instant::ZERO + dice.millis(300, 9000));
        }
        let is_calm = dice.chance(25);
        if !is_calm {
            net.at(Instant::ZERO + dice.millis(500, 5000), Happening::Trouble);
        }
        if dice.chance(30) {
            net.at(Instant::ZERO + dice.millis(100, 15_000), Happening::Ending);
        }
        let mut server = Server::new(engine);
        server.drain(&mut net, &mut model);
        Self { net, model, server, clients, nodes, dice, is_calm, is_ending: false }
    }

    fn play(mut self) -> Figures {
        loop {
            let next = self.net.next().into_iter().chain(self.server.next()).min();
            let Some(next) = next else { break };
            if next > self.net.now {
                self.server.write(&mut self.net, &mut self.model);
                let sooner = self.net.next().is_some_and(|at| at < next);
                if sooner || self.server.next().is_some_and(|at| at < next) {
                    continue;
                }
                if !self.is_ending && self.clients.iter().all(Client::is_done) {
                    self.end();
                    continue;
                }
                self.net.now = next;
            }
            self.go_on();
            if self.dice.chance(70) {
                self.server.write(&mut self.net, &mut self.model);
            }
            assert!(
                self.net.now.since_epoch() < LATEST,
                "this goes on and on: {:?}, {:?}",
                self.unserved(),
                self.server.engine.poll_timeout()
            );
        }
        self.conclude()
    }

    fn go_on(&mut self) {
        let is_due = self.server.next().is_some_and(|at| at <= self.net.now);
        if is_due && (self.dice.chance(50) || self.net.next().is_none_or(|at| at > self.net.now)) {
            return self.server.timeout(&mut self.net, &mut self.model);
        }
        match self.net.pop_due() {
            Some(Happening::Accept(conn)) => self.server.accept(conn, &mut self.net, &mut self.model),
            Some(Happening::ToServer(conn)) => {
                self.net.arrive(conn);
                self.server.read(conn, &mut self.net, &mut self.model);
            }
            Some(Happening::ToPeer(conn)) => {
                self.net.arrive(conn);
                let peer = self.net.conns[conn].peer;
                self.step(peer);
            }
            Some(Happening::Wake(peer)) => self.step(peer),
            Some(Happening::Dialed) => self.dialed(),
            Some(Happening::Trouble) => self.trouble(),
            Some(Happening::Ending) => self.end(),
            None => {}
        }
    }

    fn step(&mut self, peer: Peer) {
        match peer {
            Peer::Client(place) => self.clients[place].step(&mut self.net, &mut self.model),
            Peer::Node(place) => self.nodes[place].step(&mut self.net, &mut self.model),
        }
    }

    fn dialed(&mut self) {
        let Some(link) = self.server.dialing.pop_front() else { return };
        let conn = self.nodes.iter_mut().find_map(|node| node.take_call(&mut self.net));
        let result = match conn {
            Some(conn) => {
                self.server.open(link, conn, &mut self.net);
                Ok(())
            }
            None => Err(std::io::ErrorKind::ConnectionRefused),
        };
        // Until it is open nothing is read.
        self.server.input(Input::Dialed { link, result }, &mut self.net, &mut self.model);
        if let Some(conn) = conn {
            let peer = self.net.conns[conn].peer;
            self.step(peer);
        }
    }

    fn trouble(&mut self) {
        if self.is_ending || self.is_calm {
            return;
        }
        let now = self.net.now;
        match self.dice.below(8) {
            0 | 1 => {
                let place = self.dice.below(self.nodes.len());
                let long = self.dice.pick(&[200, 2000, 15_000, 50_000]);
                let long = self.dice.millis(50, long);
                if let Some(conn) = self.nodes[place].conn() {
                    self.net.partition(conn, now + long);
                    let who = Who::Node(self.nodes[place].identity.clone());
                    self.net.disturb(&mut self.model, who, long);
                }
            }
            2 => {
                let place = self.dice.below(self.clients.len());
                let long = self.dice.millis(50, 40_000);
                if let Some(conn) = self.clients[place].conn() {
                    self.net.partition(conn, now + long);
                    self.net.disturb(&mut self.model, Who::Client(place), long);
                }
            }
            3 => {
                let leap = self.dice.pick(&[300, 4000, 100_000]);
                let leap = self.dice.millis(100, leap);
                self.net.disturb(&mut self.model, Who::Everybody, leap);
                self.net.now += leap;
            }
            4 => self.server.control(Control::Stats, &mut self.net, &mut self.model),
            _ => {
                let place = self.dice.below(self.nodes.len());
                let how = self.dice.pick(&[Some(End::Eof), Some(End::Reset), None]);
                let rest = self.dice.millis(10, 8000);
                self.nodes[place].die(how, rest, &mut self.net, &mut self.model);
            }
        }
        let pause = self.dice.millis(100, 4000);
        self.net.after(pause, Happening::Trouble);
    }

    fn end(&mut self) {
        self.is_ending = true;
        let how = if self.dice.chance(25) { Control::Stop } else { Control::Drain };
        self.server.control(how, &mut self.net, &mut self.model);
    }

    fn unserved(&self) -> Vec<usize> {
        let asked = self.model.asked.iter().enumerate();
        asked.filter(|(_, asked)| asked.seen.is_none()).map(|(number, _)| number).collect()
    }

    fn conclude(self) -> Figures {
        assert!(self.server.is_finished, "the server never stops: {:?}", self.server.engine.poll_timeout());
        let snapshot = self.server.engine.snapshot();
        let left = (snapshot.memory, snapshot.sessions, snapshot.connections, snapshot.nodes);
        assert_eq!(left, (0, 0, 0, 0), "something is left behind");
        assert!(self.unserved().is_empty(), "clients wait for ever: {:?}", self.unserved());
        self.nodes.iter().for_each(Node::conclude);
        self.model.conclude();
        let asked = &self.model.asked;
        Figures {
            requests: asked.len(),
            answered: asked.iter().filter(|asked| asked.seen == Some(Seen::Whole)).count(),
            handed_over: asked.iter().map(|asked| asked.nodes.len()).sum(),
            steps: self.server.steps,
        }
    }
}
