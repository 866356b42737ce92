//! A node: takes requests, thinks, answers piece by piece in one of the ways that the node protocol knows, passes some
//! on, dies and comes back.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use blastbeat_proto::dealer::{Dealer, Event, SendError, Settings};
use blastbeat_proto::limits::Limits;
use blastbeat_proto::message::{Capabilities, Kind, Message, Sid};
use blastbeat_proto::time::{Duration, Instant, earliest};
use bytes::Bytes;

use super::dice::{Dice, Part, payload};
use super::model::{Model, Who};
use super::net::{ConnId, End, Net, Peer};
use super::script::script;
use crate::packet;

/// A node.
pub struct Node {
    place: usize,
    pub identity: String,
    dice: Dice,
    capabilities: Capabilities,
    /// It waits for the server to connect.
    is_dialed: bool,
    /// Percent of requests that it passes on, ends too early, forgets, answers before they are whole.
    habits: [usize; 4],
    /// Milliseconds between two pieces.
    haste: usize,
    /// When it starts again.
    up_at: Instant,
    link: Option<Link>,
}

/// A link of it, and the requests that came by it.
struct Link {
    conn: ConnId,
    dealer: Dealer,
    unread: Vec<u8>,
    jobs: BTreeMap<Sid, Job>,
    /// Sessions that it passed on: their body may still be on its way, and no end comes.
    passed_on: BTreeSet<Sid>,
    /// Requests that are open as the server must see it.
    load: u32,
}

/// A request that it has.
pub struct Job {
    pub number: usize,
    pub is_head: bool,
    got: usize,
    is_marked: bool,
    pub fate: Fate,
    /// What is still to be said.
    steps: VecDeque<(Kind, Bytes)>,
    next: Option<Instant>,
    /// Everything was said; the `end` is to come, unless it is quiet.
    is_over: bool,
}

/// What it will do with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Answer,
    /// Begin at once, before the request's body is there.
    AnswerEarly,
    PassOn,
    EndEarly,
    Forget,
}

impl Node {
    pub fn new(place: usize, identity: String, is_dialed: bool, mut dice: Dice, model: &mut Model) -> Self {
        let capacity = dice.chance(20).then(|| dice.between(1, 3) as u32);
        let capabilities = Capabilities {
            body_end: dice.chance(30),
            end_reason: dice.chance(30),
            errors: dice.chance(50),
            quiet: dice.chance(30),
            credit: dice.chance(40),
            capacity,
            ..Capabilities::default()
        };
        if capabilities.credit {
            model.with_credit.insert(identity.clone());
        }
        if capacity.is_some() {
            model.rules.capacity = model.rules.capacity.or(capacity);
        }
        let habit = |dice: &mut Dice, often: usize| if dice.chance(40) { often } else { 0 };
        let habits = [habit(&mut dice, 25), habit(&mut dice, 10), habit(&mut dice, 5), habit(&mut dice, 20)];
        Self {
            place,
            identity,
            capabilities,
            is_dialed,
            habits,
            haste: dice.pick(&[0, 1, 10, 100]),
            up_at: Instant::ZERO + dice.millis(0, 300),
            link: None,
            dice,
        }
    }

    /// Its present connection.
    pub fn conn(&self) -> Option<ConnId> {
        self.link.as_ref().map(|link| link.conn)
    }

    /// Takes a connection that the server has opened, if it is there.
    pub fn take_call(&mut self, net: &mut Net) -> Option<ConnId> {
        if !self.is_dialed || self.link.is_some() || self.up_at > net.now {
            return None;
        }
        let conn = net.add(Peer::Node(self.place));
        self.link_up(conn, net.now);
        Some(conn)
    }

    /// Dies, and starts again later. `None`: nobody tells the server.
    pub fn die(&mut self, how: Option<End>, rest: Duration, net: &mut Net, model: &mut Model) {
        let Some(link) = self.link.take() else { return };
        match how {
            Some(how) => net.close(link.conn, how),
            None => net.sever(link.conn),
        }
        model.dying.insert(self.identity.clone(), net.now);
        // Unless somebody tells the server, it learns of it late.
        let unheard = if how.is_some() { Duration::ZERO } else { Duration::from_secs(300) };
        net.disturb(model, Who::Node(self.identity.clone()), rest + unheard);
        self.up_at = net.now + rest;
        net.wake(Peer::Node(self.place), self.up_at);
    }

    /// Does what there is to do.
    pub fn step(&mut self, net: &mut Net, model: &mut Model) {
        if self.link.is_none() && !self.is_dialed && self.up_at <= net.now && net.is_open[1] {
            let conn = net.connect(Peer::Node(self.place));
            self.link_up(conn, net.now);
        }
        self.read(net, model);
        self.work(net, model);
        self.write(net);
        self.end(net, model);
        self.sleep(net);
    }

    fn link_up(&mut self, conn: ConnId, now: Instant) {
        let identity = Bytes::from(self.identity.clone().into_bytes());
        let mut settings = Settings::new(identity, self.capabilities, &Limits::DEFAULT);
        settings.session_bytes = self.dice.pick(&[500, 20_000, 262_144]);
        self.link = Some(Link {
            conn,
            dealer: Dealer::new(settings, now),
            unread: Vec::new(),
            jobs: BTreeMap::new(),
            passed_on: BTreeSet::new(),
            load: 0,
        });
    }

    fn read(&mut self, net: &mut Net, model: &mut Model) {
        let Some(link) = &mut self.link else { return };
        let bytes = net.read(link.conn, usize::MAX);
        if net.conns[link.conn].is_lost {
            return; // Its requests may be others' by now.
        }
        link.unread.extend(bytes);
        link.dealer.handle_timeout(net.now);
        loop {
            let Some(link) = &mut self.link else { return };
            let used = link.dealer.receive(&link.unread, net.now);
            link.unread.drain(..used);
            match link.dealer.poll_event() {
                Some(Event::Message(message)) => self.hear(message, net.now, model),
                Some(Event::Up | Event::Spawn) => {}
                None if used == 0 => break,
                None => {}
            }
        }
    }

    fn hear(&mut self, message: Message, now: Instant, model: &mut Model) {
        let Some(sid) = message.sid else { panic!("{} complains: {message:?}", self.identity) };
        let Some(link) = &mut self.link else { return };
        match (message.kind, link.jobs.get_mut(&sid)) {
            (Kind::Uwsgi, None) => {
                let job = self.begin(sid, &message.body, now, model);
                let Some(link) = &mut self.link else { return };
                link.jobs.insert(sid, job);
                link.load += 1;
                let capacity = self.capabilities.capacity.into_iter().chain(model.rules.config.hosts[0].node_capacity);
                let capacity = capacity.min();
                assert!(
                    capacity.is_none_or(|max| link.load <= max),
                    "{} has {} of {capacity:?}",
                    self.identity,
                    link.load
                );
            }
            (Kind::Body, Some(job)) => {
                assert!(!job.is_marked, "more body of {} behind its end", job.number);
                let upload = model.asked[job.number].upload;
                let is_mark = message.body.is_empty();
                assert!(!is_mark || self.capabilities.body_end, "an empty body for {}", job.number);
                job.is_marked |= is_mark;
                assert!(!is_mark || job.got == upload, "the body of {} ends at {} of {upload}", job.number, job.got);
                let expected = payload(job.number, Part::Upload, job.got, message.body.len());
                assert!(expected == message.body, "wrong bytes in the body of {}", job.number);
                job.got += message.body.len();
                assert!(job.got <= upload, "the body of {} is too long", job.number);
                if job.got == upload && job.next.is_none() && !job.is_over && job.fate != Fate::Forget {
                    job.next = Some(now + self.dice.millis(0, 500));
                }
            }
            (Kind::End, Some(job)) => {
                let (known, is_quiet) = (job.is_over, self.capabilities.quiet);
                let number = job.number;
                let reason = std::str::from_utf8(&message.body).expect("a name is ASCII");
                assert!(self.capabilities.end_reason || reason.is_empty(), "a reason that nobody asked for");
                let is_complete =
                    matches!(model.asked[number].verdict, Some((cause, ..)) if cause.name() == "complete");
                assert!(!(is_quiet && is_complete && known), "an end of {number} that nobody wants");
                link.jobs.remove(&sid);
                link.load -= u32::from(!(is_quiet && known));
                model.open.remove(&sid);
            }
            // They crossed the word that it was passed on.
            (Kind::Body, None) if link.passed_on.contains(&sid) => {}
            (Kind::End, None) => assert!(link.passed_on.remove(&sid), "{} is told of an end twice", self.identity),
            (kind, job) => panic!("{}: {kind} for {:?} is out of order", self.identity, job.map(|job| job.number)),
        }
    }

    /// Decides what to do with a new request.
    fn begin(&mut self, sid: Sid, body: &[u8], now: Instant, model: &mut Model) -> Job {
        let variables = packet::variables(body);
        let find = |wanted: &str| {
            let found = variables.iter().find(|(name, _)| name == wanted);
            found.map(|(_, value)| std::str::from_utf8(value).expect("requests are ASCII"))
        };
        let path = find("PATH_INFO").expect("a path is told");
        let number: usize = path.strip_prefix('/').and_then(|text| text.parse().ok()).expect("a number");
        model.on_uwsgi(&self.identity, sid, number, find("REDISPATCHED") == Some("1"), now);
        let asked = &mut model.asked[number];
        assert_eq!(find("REQUEST_METHOD"), Some(asked.method), "request {number}");
        let [pass, end, forget, early] = self.habits;
        let fate = match self.dice.below(100) {
            n if n < pass => Fate::PassOn,
            n if n < pass + end => Fate::EndEarly,
            n if n < pass + end + forget => Fate::Forget,
            n if n < pass + end + forget + early => Fate::AnswerEarly,
            _ => Fate::Answer,
        };
        asked.is_ended_early |= fate == Fate::EndEarly;
        asked.is_forgotten |= fate == Fate::Forget;
        let waits = asked.upload > 0 && matches!(fate, Fate::Answer | Fate::EndEarly | Fate::Forget);
        Job {
            number,
            is_head: asked.method == "HEAD",
            got: 0,
            is_marked: false,
            fate,
            steps: VecDeque::new(),
            next: (!waits && fate != Fate::Forget).then(|| now + self.dice.millis(0, 500)),
            is_over: false,
        }
    }

    /// Says what is due.
    fn work(&mut self, net: &mut Net, model: &mut Model) {
        let now = net.now;
        let Some(link) = &mut self.link else { return };
        let due: Vec<Sid> =
            link.jobs.iter().filter(|(_, job)| job.next.is_some_and(|at| at <= now)).map(|(sid, _)| *sid).collect();
        for sid in due {
            let Some(link) = &mut self.link else { return };
            let Some(job) = link.jobs.get_mut(&sid) else { continue };
            if job.steps.is_empty() {
                let asked = &mut model.asked[job.number];
                asked.is_early |= job.got < asked.upload && job.fate == Fate::AnswerEarly;
                job.steps = script(job, asked.answer, self.capabilities.credit, &mut self.dice);
            }
            let mut is_full = false;
            loop {
                let Some((kind, body)) = job.steps.pop_front() else { break };
                match link.dealer.send(sid, kind, body) {
                    Ok(()) => {}
                    Err(SendError::Full(body)) => {
                        job.steps.push_front((kind, body));
                        is_full = true;
                        break;
                    }
                    Err(SendError::Down | SendError::Ended) => {
                        job.steps.clear();
                        job.next = None;
                        break;
                    }
                    Err(error @ SendError::Unroutable) => panic!("{error}: {kind} has no route"),
                }
                if kind == Kind::Retry {
                    let asked = &mut model.asked[job.number];
                    asked.refused.insert(self.identity.clone());
                    asked.retries += 1;
                    model.open.remove(&sid);
                }
                if self.dice.chance(50) {
                    break;
                }
            }
            let is_passed_on = job.fate == Fate::PassOn && job.steps.is_empty();
            if job.steps.is_empty() {
                job.next = None;
                job.is_over = true;
            } else {
                // With no room it comes again later; credit makes room at any time.
                let least = if is_full { 50 } else { 0 };
                job.next = Some(now + self.dice.millis(least + self.haste / 2, least + self.haste + 1));
            }
            if is_passed_on || (job.is_over && self.capabilities.quiet) {
                link.load -= 1;
                model.open.remove(&sid);
                if is_passed_on {
                    link.jobs.remove(&sid);
                    link.passed_on.insert(sid);
                }
                link.dealer.forget(sid);
            }
        }
    }

    fn write(&mut self, net: &mut Net) {
        let Some(link) = &mut self.link else { return };
        let rope = link.dealer.outbound();
        while !rope.is_empty() {
            let piece = rope.iter().next().unwrap_or_default();
            let n = net.send(link.conn, piece);
            if n == 0 {
                break;
            }
            rope.advance(n);
        }
    }

    /// Notices the end of the link.
    fn end(&mut self, net: &mut Net, model: &mut Model) {
        let Some(link) = &self.link else { return };
        let is_over = net.ended(link.conn).is_some() || link.dealer.is_closing().is_some();
        if is_over {
            let is_quiet = self.capabilities.quiet;
            let mut open = link.jobs.values().filter(|job| !(is_quiet && job.is_over));
            let is_told = model.stopping.is_some() && !net.conns[link.conn].is_lost && !model.is_shaken(net.now);
            if let (true, Some(job)) = (is_told && net.ended(link.conn) == Some(End::Eof), open.next()) {
                panic!("{} never hears of the end of request {}", self.identity, job.number);
            }
            let rest = self.dice.millis(50, 2000);
            self.die(Some(End::Eof), rest, net, model);
        }
    }

    fn sleep(&mut self, net: &mut Net) {
        let Some(link) = &self.link else { return };
        let job = link.jobs.values().filter_map(|job| job.next).min();
        if let Some(at) = earliest(job, link.dealer.poll_timeout()) {
            net.wake(Peer::Node(self.place), at.max(net.now + Duration::from_micros(50)));
        }
    }

    /// A server that has stopped leaves nothing open at a node that it could tell.
    pub fn conclude(&self) {
        assert!(self.link.is_none(), "{} has a link to a server that has gone", self.identity);
    }
}
