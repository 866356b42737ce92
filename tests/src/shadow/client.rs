//! A client: keeps its connection, pipelines, uploads, waits for `100`, reads slowly, and leaves when it likes.

use std::collections::VecDeque;
use std::time::Duration;

use blastbeat_proto::http::{BodySize, Event, Request, Settings};
use blastbeat_proto::http1::Connection;
use blastbeat_proto::limits::Limits;
use blastbeat_proto::time::Instant;
use bytes::Bytes;

use super::dice::{Dice, Part, payload};
use super::model::{Asked, Model, Seen};
use super::net::{ConnId, End, Net, Peer};

/// The field by which a node says which request it answers.
pub const ECHO: &str = "X-Answers";

/// Limits of the reader: the server's pages and a node's heads are small.
const LIMITS: Limits = Limits::DEFAULT;

/// How a client leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leave {
    Close,
    Reset,
    /// It ends its direction once everything is sent, and waits for the answers.
    Half,
}

/// A client.
pub struct Client {
    place: usize,
    dice: Dice,
    /// Requests that it still wants to make.
    left: usize,
    /// Requests under way at a time.
    depth: usize,
    /// Bytes that it reads at a time, and how long it rests.
    pace: Option<(usize, Duration)>,
    rested: Instant,
    /// When it has thought about its next request.
    thought: Instant,
    seat: Option<Seat>,
}

/// A connection, and what is under way on it.
struct Seat {
    conn: ConnId,
    reader: Connection,
    unread: Vec<u8>,
    unsent: Vec<u8>,
    writing: Option<Upload>,
    /// Requests without a final answer, oldest first.
    waiting: VecDeque<Exchange>,
    is_reading: bool,
    answer: Option<Answer>,
    leave: Option<(Leave, Instant)>,
    /// No further request: it said so, or the server did.
    is_last: bool,
    is_half_closed: bool,
}

struct Exchange {
    number: usize,
    request: Request,
    is_old: bool,
}

struct Upload {
    number: usize,
    writer: Connection,
    sent: usize,
    /// It waits for `100`, this long at most.
    held_until: Option<Instant>,
}

/// The answer that is being read.
struct Answer {
    number: usize,
    status: u16,
    is_own: bool,
    got: usize,
}

impl Client {
    pub fn new(place: usize, mut dice: Dice) -> Self {
        let pace = dice.chance(15).then(|| (dice.between(100, 20_000), dice.millis(1, 300)));
        Self {
            place,
            left: dice.between(1, 9),
            depth: dice.pick(&[1, 1, 1, 2, 4]),
            pace,
            rested: Instant::ZERO,
            thought: Instant::ZERO + dice.millis(0, 8000),
            seat: None,
            dice,
        }
    }

    /// Whether it has got all it wanted.
    pub fn is_done(&self) -> bool {
        self.left == 0 && self.seat.is_none()
    }

    /// Its present connection.
    pub fn conn(&self) -> Option<ConnId> {
        self.seat.as_ref().map(|seat| seat.conn)
    }

    /// Does what there is to do.
    pub fn step(&mut self, net: &mut Net, model: &mut Model) {
        if !net.is_open[0] && self.seat.is_none() {
            self.left = 0;
        }
        if self.left > 0 && self.seat.is_none() && self.thought <= net.now {
            self.sit_down(net);
        }
        self.leave(net, model);
        self.write(net, model);
        self.read(net, model);
        self.write(net, model);
        self.sleep(net);
    }

    fn sit_down(&mut self, net: &mut Net) {
        let how = self.dice.pick(&[Leave::Close, Leave::Reset, Leave::Half]);
        let leave = self.dice.chance(15).then(|| (how, net.now + self.dice.millis(0, 2000)));
        self.seat = Some(Seat {
            conn: net.connect(Peer::Client(self.place)),
            reader: Connection::client(Settings::with_limits(LIMITS), net.now),
            unread: Vec::new(),
            unsent: Vec::new(),
            writing: None,
            waiting: VecDeque::new(),
            is_reading: false,
            answer: None,
            leave,
            is_last: false,
            is_half_closed: false,
        });
    }

    fn leave(&mut self, net: &mut Net, model: &mut Model) {
        let Some(seat) = &mut self.seat else { return };
        let Some((how, _)) = seat.leave.filter(|(_, at)| *at <= net.now) else { return };
        let end = match how {
            Leave::Close => End::Eof,
            Leave::Reset => End::Reset,
            Leave::Half => {
                seat.is_last = true;
                if !seat.is_half_closed && seat.writing.is_none() && seat.unsent.is_empty() {
                    seat.is_half_closed = true;
                    net.half_close(seat.conn);
                    let serves_on = model.rules.config.half_close;
                    for exchange in seat.waiting.iter().filter(|_| !serves_on) {
                        model.asked[exchange.number].is_left = true;
                    }
                }
                return;
            }
        };
        seat.waiting.iter().for_each(|exchange| model.asked[exchange.number].is_left = true);
        self.stand_up(net, model, end);
    }

    /// Gives the connection up; what has no answer will not get one.
    fn stand_up(&mut self, net: &mut Net, model: &mut Model, how: End) {
        let Some(seat) = self.seat.take() else { return };
        net.close(seat.conn, how);
        let is_stopped = model.stopping.is_some();
        let mut unread = 0;
        for exchange in seat.waiting.iter().rev() {
            // Heads are a few hundred bytes.
            unread += model.asked[exchange.number].upload + 500;
            model.asked[exchange.number].unread = unread;
        }
        for (place, exchange) in seat.waiting.iter().enumerate() {
            let asked = &mut model.asked[exchange.number];
            let has_begun = place == 0 && seat.is_reading && seat.answer.is_some();
            asked.seen = Some(if has_begun { Seen::Cut } else { Seen::Nothing });
            asked.is_behind_end |= place > 0;
            asked.is_stopped = is_stopped;
            asked.is_half_sent |= seat.writing.as_ref().is_some_and(|upload| upload.number == exchange.number);
        }
        self.thought = net.now + self.dice.millis(0, 500);
    }

    // ---- writing ----

    fn write(&mut self, net: &mut Net, model: &mut Model) {
        loop {
            let Some(seat) = &mut self.seat else { return };
            let n = net.send(seat.conn, &seat.unsent);
            seat.unsent.drain(..n);
            if !seat.unsent.is_empty() {
                return;
            }
            let has_room = seat.waiting.len() < self.depth && !seat.is_last;
            match &mut seat.writing {
                Some(upload) => {
                    if upload.held_until.is_some_and(|until| net.now < until) {
                        return;
                    }
                    upload.held_until = None;
                    upload.go_on(model, &mut self.dice, &mut seat.unsent, net.now);
                    if upload.sent == model.asked[upload.number].upload {
                        seat.writing = None;
                    }
                }
                None if self.left > 0 && has_room && self.thought <= net.now => self.ask(net, model),
                None => return,
            }
        }
    }

    /// Begins a request.
    fn ask(&mut self, net: &mut Net, model: &mut Model) {
        let Some(seat) = &mut self.seat else { return };
        self.left -= 1;
        let number = model.asked.len();
        let method = self.dice.pick(&["GET", "GET", "GET", "HEAD", "DELETE", "POST", "POST", "PUT", "PATCH"]);
        let has_body = matches!(method, "POST" | "PUT" | "PATCH");
        let upload = if has_body { self.dice.size(200_000) } else { 0 };
        let is_old = self.dice.chance(12);
        let is_chunked = has_body && !is_old && self.dice.chance(50);
        let waits = upload > 0 && !is_old && self.dice.chance(25);
        let closes = self.left == 0 && self.dice.chance(40) || self.dice.chance(5);
        let mut fields = String::from("Host: example.org\r\n");
        match (is_old, closes) {
            (true, false) => fields.push_str("Connection: keep-alive\r\n"),
            (false, true) => fields.push_str("Connection: close\r\n"),
            (true, true) | (false, false) => {}
        }
        if waits {
            fields.push_str("Expect: 100-continue\r\n");
        }
        let version = if is_old { "1.0" } else { "1.1" };
        let parse = |framing: &str| {
            let text = format!("{method} /{number} HTTP/{version}\r\n{fields}{framing}\r\n");
            Request::parse(text.as_bytes(), &LIMITS).expect("the request is sound")
        };
        let request = match (has_body, is_chunked) {
            (false, _) => parse(""),
            (true, false) => parse(&format!("Content-Length: {upload}\r\n")),
            (true, true) => parse("Transfer-Encoding: chunked\r\n"),
        };
        let mut writer = Connection::client(Settings::with_limits(LIMITS), net.now);
        let is_bodiless = request.body == BodySize::None;
        writer.send(Event::Request(request), net.now).expect("a new connection takes a request");
        seat.unsent.extend(writer.outbound().take());
        let held_until = waits.then(|| net.now + self.dice.millis(300, 3000));
        if !is_bodiless {
            seat.writing = Some(Upload { number, writer, sent: 0, held_until });
            if upload == 0 {
                // An empty chunked body has an end to send.
                if let Some(upload) = &mut seat.writing {
                    upload.end(&mut seat.unsent, net.now);
                }
                seat.writing = None;
            }
        }
        // The reader learns of requests one by one, and never waits for a body of its own.
        seat.waiting.push_back(Exchange { number, request: parse(""), is_old });
        seat.is_last |= closes;
        model.asked.push(Asked {
            client: self.place,
            method,
            upload,
            answer: self.dice.size(400_000),
            began: net.now,
            is_left: false,
            is_behind_end: false,
            is_half_sent: false,
            is_early: false,
            is_stopped: false,
            unread: 0,
            nodes: Vec::new(),
            refused: Default::default(),
            retries: 0,
            is_ended_early: false,
            is_forgotten: false,
            verdict: None,
            seen: None,
        });
        if self.dice.chance(60) {
            self.thought = net.now + self.dice.millis(0, 1500);
        }
    }

    // ---- reading ----

    fn read(&mut self, net: &mut Net, model: &mut Model) {
        let Some(seat) = &mut self.seat else { return };
        if self.rested > net.now {
            return;
        }
        let max = self.pace.map_or(usize::MAX, |(bytes, _)| bytes);
        let bytes = net.read(seat.conn, max);
        if let (Some((_, rest)), false) = (self.pace, bytes.is_empty()) {
            self.rested = net.now + rest;
        }
        seat.unread.extend(bytes);
        let mut is_over = seat.take_in(model, net.now, self.place);
        let end = net.ended(seat.conn);
        if end == Some(End::Eof) && !is_over {
            seat.reader.receive_eof(net.now);
            is_over |= seat.take_in(model, net.now, self.place);
        }
        if is_over || end.is_some() {
            self.stand_up(net, model, End::Eof);
        }
    }

    fn sleep(&mut self, net: &mut Net) {
        let me = Peer::Client(self.place);
        let Some(seat) = &self.seat else {
            if self.left > 0 {
                net.wake(me, self.thought.max(net.now + Duration::from_millis(1)));
            }
            return;
        };
        let held = seat.writing.as_ref().and_then(|upload| upload.held_until);
        let leave = seat.leave.map(|(_, at)| at);
        for at in [held, leave, Some(self.thought), self.pace.map(|_| self.rested)].into_iter().flatten() {
            if at > net.now {
                net.wake(me, at);
            }
        }
        // With nothing left to ask, a kept connection is closed after a while.
        if self.left == 0 && seat.waiting.is_empty() && seat.unsent.is_empty() {
            let conn = seat.conn;
            net.close(conn, End::Eof);
            self.seat = None;
        }
    }
}

impl Upload {
    /// Sends the next piece.
    fn go_on(&mut self, model: &Model, dice: &mut Dice, unsent: &mut Vec<u8>, now: Instant) {
        let all = model.asked[self.number].upload;
        let n = dice.pick(&[1, 500, 5000, 40_000]).min(all - self.sent);
        let piece = payload(self.number, Part::Upload, self.sent, n);
        self.sent += n;
        self.writer.send(Event::Body(Bytes::from(piece)), now).expect("the body is as long as it was announced");
        if self.sent == all {
            self.end(unsent, now);
        }
        unsent.extend(self.writer.outbound().take());
    }

    fn end(&mut self, unsent: &mut Vec<u8>, now: Instant) {
        self.writer.send(Event::End, now).expect("the body is complete");
        unsent.extend(self.writer.outbound().take());
    }
}

impl Seat {
    /// Reads what has come; true if the connection is over.
    fn take_in(&mut self, model: &mut Model, now: Instant, place: usize) -> bool {
        loop {
            if !self.is_reading && !self.unread.is_empty() {
                let Some(exchange) = self.waiting.front() else {
                    panic!("client {place} got an answer to nothing: {}", self.unread.escape_ascii());
                };
                let request = exchange.request.clone();
                self.reader.send(Event::Request(request), now).expect("the reader is between two answers");
                self.reader.outbound().clear();
                self.is_reading = true;
            }
            let used = self.reader.receive(&self.unread, now);
            self.unread.drain(..used);
            match self.reader.poll_event() {
                Some(Event::Response(response)) => self.on_head(&response, model),
                Some(Event::Body(bytes)) => self.on_body(&bytes, model),
                Some(Event::End) if self.on_end(model) => return true,
                Some(Event::End) => {}
                Some(Event::Request(_)) => panic!("a client's connection yields no requests"),
                None if used == 0 => break,
                None => {}
            }
        }
        assert_eq!(self.reader.violation(), None, "client {place}: answers are sound");
        self.reader.is_closing().is_some()
    }

    fn on_head(&mut self, response: &blastbeat_proto::http::Response, model: &Model) {
        let exchange = self.waiting.front().expect("only then it reads");
        if response.is_interim() {
            assert!(!exchange.is_old, "HTTP/1.0 knows no interim answers");
            if response.status == 100 {
                let upload = self.writing.as_mut().filter(|upload| upload.number == exchange.number);
                if let Some(upload) = upload {
                    upload.held_until = None;
                }
            }
            return;
        }
        let number = exchange.number;
        let is_own = match response.fields.find(ECHO) {
            Some(echo) => {
                assert_eq!(
                    echo,
                    number.to_string().as_bytes(),
                    "an answer for another request: {:?}",
                    model.asked[number]
                );
                true
            }
            None => false,
        };
        self.answer = Some(Answer { number, status: response.status, is_own, got: 0 });
        self.is_last |= response.close || (exchange.is_old && !response.keep_alive);
    }

    fn on_body(&mut self, bytes: &[u8], model: &Model) {
        let answer = self.answer.as_mut().expect("a body comes after its head");
        if answer.is_own {
            let expected = payload(answer.number, Part::Answer, answer.got, bytes.len());
            assert!(
                expected == bytes,
                "wrong bytes in the answer to {}: {:?}",
                answer.number,
                model.asked[answer.number]
            );
        }
        answer.got += bytes.len();
    }

    /// An answer is complete; true if the connection is of no more use.
    fn on_end(&mut self, model: &mut Model) -> bool {
        let answer = self.answer.take().expect("an end comes after its head");
        let asked = &mut model.asked[answer.number];
        let expected = if asked.method == "HEAD" || answer.status == 204 { 0 } else { asked.answer };
        if answer.is_own {
            assert_eq!(answer.got, expected, "the answer to {} is not whole: {asked:?}", answer.number);
        }
        asked.seen = Some(if answer.is_own { Seen::Whole } else { Seen::Page(answer.status) });
        self.waiting.pop_front();
        self.is_reading = false;
        // An answer that came before the whole request: the rest is not worth sending.
        let is_writing = self.writing.as_ref().is_some_and(|upload| upload.number == answer.number);
        let is_unsent = self.waiting.is_empty() && !self.unsent.is_empty();
        asked.is_half_sent |= is_writing || is_unsent;
        let is_early = asked.is_half_sent || asked.is_early;
        let is_over = self.is_last && (self.reader.is_closing().is_some() || self.waiting.is_empty());
        let is_closing = self.reader.is_closing().is_some();
        for exchange in self.waiting.iter().filter(|_| is_early || is_closing) {
            let asked = &mut model.asked[exchange.number];
            asked.is_behind_end |= is_closing;
            asked.is_left |= !is_closing;
        }
        is_early || (is_over && !self.is_half_closed)
    }
}
