//! What a bare ROUTER does, whatever carries its bytes: echo every message, or measure a peer that does.

use std::collections::VecDeque;
use std::env;
use std::process;
use std::str::FromStr;
use std::sync::Arc;
use std::time;

use blastbeat_proto::error::Cause;
use blastbeat_proto::limits::Limits;
use blastbeat_proto::time::{Duration, Instant};
use blastbeat_proto::zmtp::{Connection, Credentials, Event, Mechanism, Role, Settings};
use rustix::time::{ClockId, clock_gettime};

const USAGE: &str = "usage: router tcp://ADDRESS:PORT|ipc://PATH [--plain USER:PASSWORD]
       router --hop PORT [--window MESSAGES] [--secs SECONDS] [--size BYTES]

The first echoes each message to its sender. The second waits for a DEALER that echoes, keeps a window of messages
[16 bytes, \"websocket\", SIZE bytes] in flight, and prints START and then what it measured as one line of JSON.";

/// Bytes queued towards a peer above which nothing more is read from it.
const QUEUE_HIGH: usize = 1024 * 1024;

/// Where to listen.
pub enum Endpoint {
    /// `tcp://127.0.0.1:5000`
    Tcp(String),
    /// `ipc:///run/router.sock`
    Ipc(String),
}

/// What the command line asks for.
pub struct Options {
    pub endpoint: Endpoint,
    pub work: Work,
    pub settings: Arc<Settings>,
}

impl Options {
    /// Reads the command line; ends the program if it makes no sense. `name` is shown in the results.
    pub fn read(name: &'static str) -> Self {
        Self::parse(name, env::args().skip(1)).unwrap_or_else(|| {
            eprintln!("{USAGE}");
            process::exit(2)
        })
    }

    fn parse(name: &'static str, mut args: impl Iterator<Item = String>) -> Option<Self> {
        let mut settings = Settings::new(Role::Router, &Limits::DEFAULT);
        let (mut endpoint, mut plain, mut hop) = (None, None, None);
        let (mut window, mut secs, mut size) = (1, 4.0, 64);
        while let Some(arg) = args.next() {
            let value = if arg.starts_with("--") { args.next()? } else { String::new() };
            match arg.as_str() {
                "--plain" => {
                    let (username, password) = value.split_once(':')?;
                    settings.mechanism = Mechanism::PlainServer;
                    plain = Some(Credentials {
                        username: username.to_owned().into(),
                        password: password.to_owned().into(),
                    });
                }
                "--hop" => hop = Some(u16::from_str(&value).ok()?),
                "--window" => window = value.parse().ok()?,
                "--secs" => secs = value.parse().ok()?,
                "--size" => size = value.parse().ok()?,
                text => {
                    endpoint = match (text.strip_prefix("tcp://"), text.strip_prefix("ipc://")) {
                        (Some(address), _) => Some(Endpoint::Tcp(address.to_owned())),
                        (None, Some(path)) => Some(Endpoint::Ipc(path.to_owned())),
                        (None, None) => return None,
                    }
                }
            }
        }
        let (endpoint, work) = match (endpoint, hop) {
            (Some(endpoint), None) => (endpoint, Work::Echo(plain)),
            (None, Some(port)) => {
                let hop = Hop::new(name, window, Duration::try_from_secs_f64(secs).ok()?, size);
                (Endpoint::Tcp(format!("127.0.0.1:{port}")), Work::Measure(Box::new(hop)))
            }
            (Some(_), Some(_)) | (None, None) => return None,
        };
        Some(Self { endpoint, work, settings: Arc::new(settings) })
    }
}

/// What is done with messages.
pub enum Work {
    /// Sends them back; peers show these credentials if there are any.
    Echo(Option<Credentials>),
    /// Measures a peer that sends them back.
    Measure(Box<Hop>),
}

/// One peer: its link, and what it has sent that the link did not take yet.
pub struct Peer {
    pub link: Connection,
    kept: Vec<u8>,
}

impl Peer {
    pub fn new(settings: &Arc<Settings>, now: Instant) -> Self {
        Self { link: Connection::new(settings.clone(), now), kept: Vec::new() }
    }

    /// Whether more should be read.
    pub fn wants_input(&self) -> bool {
        self.link.queued() < QUEUE_HIGH && self.link.is_closing().is_none()
    }

    /// Takes what was read and answers it.
    pub fn receive(&mut self, bytes: &[u8], now: Instant, work: &mut Work) {
        if self.kept.is_empty() {
            let used = self.consume(bytes, now, work);
            self.kept.extend_from_slice(&bytes[used..]);
            return;
        }
        self.kept.extend_from_slice(bytes);
        let mut kept = std::mem::take(&mut self.kept);
        let used = self.consume(&kept, now, work);
        if used < kept.len() {
            kept.drain(..used);
            self.kept = kept;
        }
    }

    fn consume(&mut self, bytes: &[u8], now: Instant, work: &mut Work) -> usize {
        let mut used = 0;
        loop {
            used += self.link.receive(&bytes[used..], now);
            let Some(event) = self.link.poll_event() else { return used };
            let answered = match (event, &mut *work) {
                (Event::Message(message), Work::Echo(_)) => self.link.send_message(&message),
                (Event::Message(message), Work::Measure(hop)) => {
                    hop.got(message.frame_count(), message.into_last().len(), &mut self.link)
                }
                (Event::Hello(shown), Work::Echo(Some(asked))) if shown == *asked => self.link.welcome(now),
                (Event::Hello(_), Work::Echo(_) | Work::Measure(_)) => self.link.refuse(Cause::CredentialsRefused, now),
                (Event::Peer { .. }, Work::Echo(_)) => self.link.accept(now),
                (Event::Peer { .. }, Work::Measure(hop)) => {
                    self.link.accept(now).and_then(|()| hop.start(&mut self.link))
                }
            };
            answered.expect("each event is answered when it comes, on a link that is open");
        }
    }
}

/// Messages in flight to one peer, and what their round trips cost. The first half second is not counted.
pub struct Hop {
    name: &'static str,
    window: usize,
    length: Duration,
    body: Vec<u8>,
    sent: VecDeque<time::Instant>,
    phase: Phase,
    latencies: Vec<Duration>,
    count: u64,
}

enum Phase {
    Waiting,
    WarmingUp { until: time::Instant },
    Measuring { since: time::Instant, cpu: Duration },
    Done,
}

impl Hop {
    const WARM_UP: Duration = Duration::from_millis(500);
    const LATENCIES_MAX: usize = 1 << 22;

    fn new(name: &'static str, window: usize, length: Duration, size: usize) -> Self {
        Self {
            name,
            window: window.max(1),
            length,
            body: vec![b'x'; size],
            sent: VecDeque::new(),
            phase: Phase::Waiting,
            latencies: Vec::with_capacity(Self::LATENCIES_MAX),
            count: 0,
        }
    }

    /// Whether all is measured.
    pub fn is_done(&self) -> bool {
        matches!(self.phase, Phase::Done)
    }

    fn start(&mut self, link: &mut Connection) -> Result<(), blastbeat_proto::error::Misuse> {
        (0..self.window).try_for_each(|_| self.send(link))
    }

    fn send(&mut self, link: &mut Connection) -> Result<(), blastbeat_proto::error::Misuse> {
        self.sent.push_back(time::Instant::now());
        link.send(&[&[7; 16], b"websocket", &self.body])
    }

    fn got(&mut self, frames: usize, last: usize, link: &mut Connection) -> Result<(), blastbeat_proto::error::Misuse> {
        if (frames, last) != (3, self.body.len()) {
            eprintln!("router: an odd reply of {frames} frames, the last of {last} bytes");
            process::exit(1);
        }
        let now = time::Instant::now();
        let sent = self.sent.pop_front().unwrap_or(now);
        match self.phase {
            Phase::Waiting => self.phase = Phase::WarmingUp { until: now + Self::WARM_UP },
            Phase::WarmingUp { until } if now > until => {
                println!("START");
                self.phase = Phase::Measuring { since: now, cpu: cpu() };
            }
            Phase::Measuring { since, cpu } => {
                self.count += 1;
                if self.latencies.len() < Self::LATENCIES_MAX {
                    self.latencies.push(now - sent);
                }
                if now - since > self.length {
                    self.report(now - since, cpu);
                    self.phase = Phase::Done;
                }
            }
            Phase::WarmingUp { .. } | Phase::Done => {}
        }
        self.send(link)
    }

    fn report(&mut self, length: Duration, cpu_before: Duration) {
        let cpu = cpu() - cpu_before;
        self.latencies.sort_unstable();
        let percentile = |percent: usize| {
            self.latencies.get(self.latencies.len() * percent / 100).map_or(0.0, |latency| latency.as_secs_f64() * 1e6)
        };
        let count = self.count as f64;
        println!(
            "{{\"mode\":\"{}\",\"size\":{},\"window\":{},\"secs\":{:.3},\"n\":{},\"rate\":{:.1},\"p50_us\":{:.1},\
             \"p99_us\":{:.1},\"own_cpu_us_per_msg\":{:.3}}}",
            self.name,
            self.body.len(),
            self.window,
            length.as_secs_f64(),
            self.count,
            count / length.as_secs_f64(),
            percentile(50),
            percentile(99),
            cpu.as_secs_f64() * 1e6 / count.max(1.0),
        );
    }
}

/// CPU time of this process so far.
fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}
