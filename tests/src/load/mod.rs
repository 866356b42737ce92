//! A load generator for HTTP/1.1, made of the client role of `http1` and one selector.
//!
//! In a closed loop every connection sends its next request when the last is answered. In an open loop requests are
//! due at a steady rate whatever the server does, and latency counts from the moment a request was due: a server that
//! stalls cannot hide it by slowing the load down.

mod client;
mod figures;

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};

use blastbeat_proto::http::{BodySize, Request, Settings};
use blastbeat_proto::limits::Limits;
use bytes::Bytes;
use mio::{Events, Poll, Token};

use client::{Client, Outcome};
pub use figures::Figures;

/// What load to make.
#[derive(Clone, Debug)]
pub struct Plan {
    /// `http://HOST:PORT/TARGET`.
    pub url: String,
    /// Connections, each with at most one request under way.
    pub connections: usize,
    /// How long requests are started.
    pub time: Duration,
    /// Requests a second in all, in an open loop; `None` for a closed one.
    pub rate: Option<f64>,
    /// The method.
    pub method: String,
    /// The body's size; 0 for none.
    pub body: usize,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            url: String::new(),
            connections: 64,
            time: Duration::from_secs(5),
            rate: None,
            method: "GET".to_owned(),
            body: 0,
        }
    }
}

/// How long answers may still come when no more requests are started.
const GRACE: Duration = Duration::from_secs(5);

/// Pause before a connection that failed is opened again, so that a server that refuses is not stormed.
const REOPEN: Duration = Duration::from_millis(10);

/// Makes the load.
///
/// # Errors
/// If the plan makes no sense or the system gives no selector. What goes wrong with single requests is counted.
pub fn run(plan: &Plan) -> io::Result<Figures> {
    let (address, request) = aim(plan)?;
    let mut run = Run {
        address,
        request,
        body: Bytes::from(vec![b'x'; plan.body]),
        settings: Settings::with_limits(Limits { body_bytes: u64::MAX, ..Limits::DEFAULT }),
        poll: Poll::new()?,
        clients: (0..plan.connections).map(|_| None).collect(),
        idle: VecDeque::new(),
        closed: (0..plan.connections).map(|place| (Instant::now(), place)).collect(),
        figures: Figures::default(),
    };
    run.go(plan)?;
    Ok(run.figures)
}

struct Run {
    address: SocketAddr,
    request: Request,
    body: Bytes,
    settings: Arc<Settings>,
    poll: Poll,
    clients: Vec<Option<Client>>,
    /// Open connections without a request.
    idle: VecDeque<usize>,
    /// Places without a connection, and when to open the next.
    closed: VecDeque<(Instant, usize)>,
    figures: Figures,
}

impl Run {
    fn go(&mut self, plan: &Plan) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        let start = Instant::now();
        let stop = start + plan.time;
        let mut started: u64 = 0;
        // At a rate each request is made that was due in time, though it be late.
        let due = |count: u64| plan.rate.map(|rate| start + Duration::from_secs_f64(count as f64 / rate));
        loop {
            let now = Instant::now();
            let mut wake = if now < stop { stop } else { stop + GRACE };
            if due(started).unwrap_or(now) < stop && now < stop + GRACE {
                wake = wake.min(self.reopen(now));
                while let Some(&place) = self.idle.front() {
                    let at = due(started).unwrap_or(now);
                    if at > now || at >= stop {
                        wake = wake.min(at.max(now));
                        break;
                    }
                    self.idle.pop_front();
                    started += 1;
                    self.begin(place, at);
                }
            } else if now >= stop + GRACE || self.busy() == 0 {
                break;
            }
            match self.poll.poll(&mut events, Some(wake.saturating_duration_since(Instant::now()))) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                Ok(()) | Err(_) => {}
            }
            for event in &events {
                self.attend(event.token().0);
            }
        }
        self.figures.took = start.elapsed().min(plan.time);
        let unmade = (started..).take_while(|count| due(*count).is_some_and(|at| at < stop)).count();
        self.figures.count_errors("unanswered", (self.busy() + unmade) as u64);
        Ok(())
    }

    fn busy(&self) -> usize {
        self.clients.iter().flatten().filter(|client| client.is_busy()).count()
    }

    /// Opens what is to be opened; returns when to come back for the rest.
    fn reopen(&mut self, now: Instant) -> Instant {
        while let Some(&(at, place)) = self.closed.front() {
            if at > now {
                return at;
            }
            self.closed.pop_front();
            match Client::open(self.address, Arc::clone(&self.settings), self.poll.registry(), Token(place)) {
                Ok(client) => {
                    self.clients[place] = Some(client);
                    self.idle.push_back(place);
                }
                Err(error) => self.lose(place, &error.kind().to_string()),
            }
        }
        now + REOPEN
    }

    fn begin(&mut self, place: usize, due: Instant) {
        if let Some(client) = &mut self.clients[place] {
            client.begin(&self.request, &self.body, due);
            self.attend(place);
        }
    }

    fn attend(&mut self, place: usize) {
        let Some(client) = &mut self.clients[place] else { return };
        match client.attend(&mut self.figures.bytes) {
            Outcome::Pending => {}
            Outcome::Answered { status, due, open } => {
                self.figures.answer(status, due.elapsed());
                if open {
                    self.idle.push_back(place);
                } else {
                    self.clients[place] = None;
                    self.closed.push_back((Instant::now(), place));
                }
            }
            Outcome::Over { why } => {
                if client.is_busy() {
                    return self.lose(place, &why);
                }
                // The server may close a connection that has nothing to do.
                self.clients[place] = None;
                self.idle.retain(|idle| *idle != place);
                self.closed.push_back((Instant::now(), place));
            }
        }
    }

    fn lose(&mut self, place: usize, why: &str) {
        self.figures.count_errors(why, 1);
        self.clients[place] = None;
        self.closed.push_back((Instant::now() + REOPEN, place));
    }
}

fn aim(plan: &Plan) -> io::Result<(SocketAddr, Request)> {
    let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidInput, format!("{what}: {}", plan.url));
    let rest = plan.url.strip_prefix("http://").ok_or_else(|| wrong("not an http URL"))?;
    let (host, target) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let with_port = if host.rsplit(']').next().is_some_and(|end| end.contains(':')) {
        host.to_owned()
    } else {
        format!("{host}:80")
    };
    let address = with_port.to_socket_addrs()?.next().ok_or_else(|| wrong("no address"))?;
    if plan.connections == 0 || plan.rate.is_some_and(|rate| rate <= 0.0 || !rate.is_finite()) {
        return Err(wrong("connections and rate have to be positive"));
    }
    let target = if target.is_empty() { "/" } else { target };
    let mut builder = Request::builder(&plan.method, target, host);
    if plan.body > 0 {
        builder = builder.body(BodySize::Length(plan.body as u64));
    }
    let request = builder.build().map_err(|error| wrong(&error.to_string()))?;
    Ok((address, request))
}
