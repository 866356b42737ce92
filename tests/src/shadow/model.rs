//! The shadow model: what is known of every request, and what may become of it.
//!
//! The world tells the model all that happens to a request: who sent it, which nodes got it, what they did with it, who
//! was cut off when. The server's own word for how a request ended (the access report) is judged against these facts
//! when it comes; what the client has seen is compared with the server's word at the end.

use std::collections::{BTreeMap, BTreeSet};

use blastbeat_proto::engine::{Access, Report};
use blastbeat_proto::error::Cause;
use blastbeat_proto::message::Sid;
use blastbeat_proto::time::{Duration, Instant};

use super::rules::Rules;

/// Who was cut off, or slow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// The clock leapt.
    Everybody,
    Client(usize),
    /// By its identity.
    Node(String),
}

/// What a client has seen of a request's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// The answer of a node, complete and right.
    Whole,
    /// A page of the server, with this status.
    Page(u16),
    /// A part of it.
    Cut,
    /// Nothing.
    Nothing,
}

/// A request, and what is known of it.
#[derive(Debug)]
pub struct Asked {
    pub client: usize,
    pub method: &'static str,
    /// Bytes of its body.
    pub upload: usize,
    /// Bytes that a node answers.
    pub answer: usize,
    /// When its first byte was sent.
    pub began: Instant,
    /// The client left, or ended its direction, before it had the answer.
    pub is_left: bool,
    /// The connection was going to close anyway: an earlier answer on it was the last, or never came.
    pub is_behind_end: bool,
    /// The client had not sent all of it when the answer was there.
    pub is_half_sent: bool,
    /// A node began to answer before it had all of it.
    pub is_early: bool,
    /// The server was asked to stop before the client gave it up.
    pub is_stopped: bool,
    /// Bytes of it and of what was sent behind it, at most, that nobody read when the connection ended.
    pub unread: usize,
    /// Nodes that got it, in turn.
    pub nodes: Vec<String>,
    /// Nodes that passed it on.
    pub refused: BTreeSet<String>,
    pub retries: u32,
    /// A node ended it too early, on purpose.
    pub is_ended_early: bool,
    /// A node will never answer it.
    pub is_forgotten: bool,
    pub verdict: Option<(Cause, u16, Instant)>,
    pub seen: Option<Seen>,
}

impl Asked {
    pub fn is_idempotent(&self) -> bool {
        self.method != "POST" && self.method != "PATCH"
    }
}

/// The model.
pub struct Model {
    pub rules: Rules,
    /// All requests; their place is their number.
    pub asked: Vec<Asked>,
    /// Nodes that the server says may get requests.
    available: BTreeSet<String>,
    /// Nodes that speak of flow control.
    pub with_credit: BTreeSet<String>,
    troubles: Vec<(Who, Instant, Instant)>,
    /// Nodes whose links end now or soon.
    pub dying: BTreeMap<String, Instant>,
    /// Sessions that were handed over and are open: at which node, for which request.
    pub open: BTreeMap<Sid, (String, usize)>,
    /// When the server was asked to stop.
    pub stopping: Option<Instant>,
}

impl Model {
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            asked: Vec::new(),
            available: BTreeSet::new(),
            with_credit: BTreeSet::new(),
            troubles: Vec::new(),
            dying: BTreeMap::new(),
            open: BTreeMap::new(),
            stopping: None,
        }
    }

    /// Somebody is cut off for a while. Effects are expected some time longer.
    pub fn disturb(&mut self, who: Who, from: Instant, until: Instant) {
        self.troubles.push((who, from, until + self.rules.patience()));
    }

    /// Whether that was so at some time since then.
    pub fn is_disturbed(&self, who: &Who, since: Instant, now: Instant) -> bool {
        self.troubles
            .iter()
            .any(|(one, from, until)| (one == who || *one == Who::Everybody) && *from <= now && *until >= since)
    }

    /// Whether anybody's links may break for reasons of long ago.
    pub fn is_shaken(&self, now: Instant) -> bool {
        let since = Instant::from_epoch(now.since_epoch().saturating_sub(Duration::from_secs(100)));
        self.troubles.iter().any(|(_, _, until)| *until >= since)
    }

    /// A node has got a request.
    pub fn on_uwsgi(&mut self, node: &str, sid: Sid, number: usize, is_redispatched: bool, now: Instant) {
        let now_at: Vec<_> = self.open.values().filter(|(_, other)| *other == number).collect();
        assert!(now_at.is_empty(), "request {number} came to {node} and is at {now_at:?}");
        assert!(self.open.insert(sid, (node.into(), number)).is_none(), "{sid} is used again");
        // With its link the word that it had passed it on may be lost.
        let is_known = !self.dying.contains_key(node)
            && !self.is_disturbed(&Who::Node(node.into()), self.asked[number].began, now);
        let asked = &mut self.asked[number];
        assert!(!asked.is_behind_end || asked.is_left, "request {number} was served behind the end of its connection");
        assert!(
            !is_known || !asked.refused.contains(node),
            "request {number} came back to {node}, which had passed it on"
        );
        let lost = asked.nodes.len() - asked.retries as usize;
        assert!(
            lost == 0 || self.rules.redispatches(asked.is_idempotent()),
            "request {number} was repeated: {asked:?}"
        );
        assert!(is_redispatched || lost == 0, "request {number} does not say that it was lost: {asked:?}");
        asked.nodes.push(node.into());
        let handed_over = asked.nodes.len() as u32;
        assert!(handed_over <= 1 + self.rules.config.limits.hops, "request {number} went too far");
    }

    /// What the server reports.
    pub fn on_report(&mut self, report: &Report, now: Instant) {
        match report {
            Report::NodeAvailable { node } => assert!(self.available.insert(node.clone()), "{node} is available"),
            Report::NodeSilent { node } => {
                assert!(self.available.remove(node), "{node} was not available");
                let who = Who::Node(node.clone());
                let since = Instant::from_epoch(now.since_epoch().saturating_sub(self.rules.patience()));
                assert!(self.is_disturbed(&who, since, now), "{node} is said to be silent, and speaks");
            }
            Report::NodeLost { node, cause, .. } => {
                self.available.remove(node);
                let is_told = self.dying.contains_key(node) || self.stopping.is_some();
                let since = Instant::from_epoch(now.since_epoch().saturating_sub(Duration::from_secs(100)));
                let is_disturbed = self.is_disturbed(&Who::Node(node.clone()), since, now);
                assert!(is_told || is_disturbed, "{node} is said to be lost ({cause}), and is well");
                self.open.retain(|_, (other, _)| other != node);
            }
            Report::MessageDropped { node, cause, detail } => {
                panic!("{node}: {} was dropped: {cause}", detail.escape_ascii());
            }
            Report::Access(access) => self.on_access(access, now),
            Report::ListenFailed { .. } | Report::RecordingEnded { .. } => {
                panic!("nothing of that kind happens here: {report}");
            }
            Report::Listening { .. }
            | Report::AcceptPaused { .. }
            | Report::NodeConnected { .. }
            | Report::NodeRefused { .. }
            | Report::DialFailed { .. }
            | Report::ClientRefused { .. }
            | Report::Stats(_)
            | Report::Draining { .. }
            | Report::Stopped => {}
        }
    }

    fn on_access(&mut self, access: &Access, now: Instant) {
        let target = std::str::from_utf8(&access.target).expect("targets are ASCII");
        let number: usize = target.strip_prefix('/').and_then(|text| text.parse().ok()).expect("a number");
        let asked = &self.asked[number];
        assert_eq!(asked.verdict, None, "request {number} ended twice");
        assert_eq!(access.method, asked.method.as_bytes(), "request {number}");
        if let Err(fault) = self.judge(access, number, now) {
            panic!("request {number} ended with {} for no reason: {fault}\n{access:?}\n{asked:?}", access.cause);
        }
        self.asked[number].verdict = Some((access.cause, access.status, now));
    }

    /// Whether the facts allow a request to end like this.
    #[allow(clippy::wildcard_enum_match_arm, reason = "whatever is not allowed must not happen")]
    fn judge(&self, access: &Access, number: usize, now: Instant) -> Result<(), &'static str> {
        let asked = &self.asked[number];
        let limits = &self.rules.config.limits;
        let began = Instant::from_epoch(now.since_epoch().saturating_sub(access.took));
        let lacks = |ok: bool, what: &'static str| if ok { Ok(()) } else { Err(what) };
        let troubled = |name: &String| self.is_disturbed(&Who::Node(name.clone()), began, now);
        let client_troubled = self.is_disturbed(&Who::Client(asked.client), began, now);
        let repeatable = self.rules.redispatches(asked.is_idempotent());
        let kept = access.bytes_in <= limits.retry_bytes as u64;
        match access.cause {
            Cause::Complete => {
                let (status, node) = (access.status, access.node.is_some());
                lacks(matches!(status, 200 | 204) && node, "no node answered")?;
                lacks(access.bytes_in <= asked.upload as u64, "it has more body than was sent")
            }
            Cause::NodeMissing => {
                lacks(self.available.is_subset(&asked.refused), "a node is available")?;
                lacks(access.status == 503, "the status is wrong")
            }
            Cause::NodeLost => {
                let may_fail = !repeatable || access.status != 502 || !kept || access.hops >= limits.hops;
                lacks(may_fail, "another node could have had it")
            }
            Cause::NodeTimeout => {
                let took = access.took >= self.node_timeout();
                lacks(took, "the node had more time")?;
                let excused = asked.is_forgotten || client_troubled || asked.nodes.iter().any(troubled);
                // It may be on its way to a node that is cut off.
                lacks(excused || access.node.as_ref().is_none_or(troubled), "its nodes are well")
            }
            Cause::NodeEnded => lacks(asked.is_ended_early, "no node ended it"),
            Cause::HopsMax => lacks(asked.retries > 0 && access.hops > limits.hops, "it could have gone further"),
            Cause::RetryBufferFull => lacks(asked.retries > 0 && !kept, "its body was kept"),
            Cause::QueueFull => lacks(self.has_capacity(), "nodes take any number"),
            Cause::QueueTimeout => {
                lacks(self.has_capacity() && access.took >= limits.queue_timeout, "it had not waited so long")
            }
            Cause::ClientGone | Cause::MessageCut => lacks(asked.is_left || asked.is_half_sent, "the client is there"),
            Cause::BodyTimeout | Cause::HeadTimeout | Cause::WriteStall => lacks(client_troubled, "the client is well"),
            Cause::SlowClient => {
                let tight = limits.write_queue_bytes < 1024 * 1024;
                let free = access.node.as_ref().is_none_or(|name| !self.with_credit.contains(name));
                lacks(tight && free, "its queue has room, or its node does not overrun it")
            }
            Cause::Stopping => lacks(self.stopping.is_some(), "nobody asked the server to stop"),
            _ => Err("that should never happen"),
        }
    }

    fn has_capacity(&self) -> bool {
        self.rules.capacity.is_some()
    }

    fn node_timeout(&self) -> Duration {
        self.rules.config.limits.node_timeout
    }

    /// Compares what the clients have seen with what the server says.
    pub fn conclude(&self) {
        for (number, asked) in self.asked.iter().enumerate() {
            let seen = asked.seen.unwrap_or_else(|| panic!("request {number} is still open: {asked:?}"));
            if let Err(fault) = self.compare(asked, seen) {
                panic!("request {number}: {fault}: {asked:?}");
            }
        }
    }

    fn compare(&self, asked: &Asked, seen: Seen) -> Result<(), &'static str> {
        let lacks = |ok: bool, what: &'static str| if ok { Ok(()) } else { Err(what) };
        let limits = &self.rules.config.limits;
        let since = asked.began;
        let later = since + Duration::from_secs(100_000);
        // Behind its last answer the server takes in only so much, for so long, and then resets.
        let lingers = asked.unread < limits.drain_bytes && limits.drain_timeout >= Duration::from_secs(2);
        let has_more = asked.unread > 500 || asked.upload > 0;
        // A node that overran the queue behind it cut the whole connection.
        let is_overrun = self.asked.iter().any(|other| {
            other.client == asked.client && matches!(other.verdict, Some((Cause::SlowClient, _, at)) if at >= since)
        });
        let excused = asked.is_left
            || is_overrun
            || asked.is_half_sent
            || (has_more && !lingers)
            || asked.is_stopped
            || self.is_disturbed(&Who::Client(asked.client), since, later);
        match (seen, asked.verdict) {
            (Seen::Whole, Some((Cause::Complete, ..))) => Ok(()),
            (Seen::Whole, _) => Err("its answer was whole, and the server says otherwise"),
            (Seen::Page(status), Some((cause, told, _))) => {
                lacks(cause != Cause::Complete && cause.status() == status && told == status, "the page is another's")
            }
            (Seen::Page(status), None) => lacks(status == 408 && excused, "a page, and no end in the log"),
            (Seen::Cut | Seen::Nothing, Some((Cause::Complete, ..))) => lacks(excused, "its answer was lost"),
            (Seen::Cut, Some(_)) => Ok(()),
            (Seen::Cut, None) => Err("an answer, and no end in the log"),
            (Seen::Nothing, Some((_, status, _))) => {
                lacks(excused || asked.is_behind_end || matches!(status, 0 | 200 | 204), "a page was lost")
            }
            (Seen::Nothing, None) => lacks(excused || asked.is_behind_end, "it was never served"),
        }
    }
}
