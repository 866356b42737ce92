//! Tapes: every input of an engine with its time, and what the bytes out hashed to.
//!
//! A tape is a file of a header (seed, configuration, error pages) and records. Replayed into a fresh engine it must
//! yield the same bytes; where it does not, something outside the inputs leaked in. It is the bug report, the debugger
//! and the proof that two runtimes are equal.
//!
//! What a node says to prove who it is (PLAIN) is not written as it was: see [`crate::zmtp::Scrubber`].
//!
//! Connections of TLS are recorded behind it: what it made of an input stands right behind that input, and what it
//! encrypted where it did. So a tape holds what was said in clear, and needs no keys to be replayed.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use std::io::{self, Read, Write};

use bytes::Bytes;

use crate::address::PeerAddr;
use crate::config::{Config, File, Mode, Stores};
use crate::engine::{AppId, Control, Engine, Input, LinkId, ListenerId, Output, Step};
use crate::entropy::SeededEntropy;
use crate::rope::Rope;
use crate::time::{Duration, Instant};
use crate::zmtp::Scrubber;
use values::*;

mod sealed;
mod values;

const MAGIC: &[u8; 16] = b"BLASTBEAT TAPE 2";

/// What the magic number of every version begins with.
const ANY_MAGIC: &[u8] = b"BLASTBEAT TAPE ";

/// Writes a tape. Give it to [`Engine::record`].
pub struct Recorder {
    sink: Box<dyn Write + Send>,
    left: u64,
    last: Instant,
    line: Vec<u8>,
    scrubbers: BTreeMap<LinkId, Scrubber>,
    ended: Option<io::ErrorKind>,
}

impl Recorder {
    /// Starts a tape of at most `max` bytes for an engine made with this seed and configuration at `now`.
    ///
    /// # Errors
    /// Those of the sink.
    pub fn new(
        mut sink: Box<dyn Write + Send>,
        max: u64,
        seed: [u8; 32],
        config: &Config,
        now: Instant,
    ) -> io::Result<Self> {
        let mut head = MAGIC.to_vec();
        head.extend_from_slice(&seed);
        put_number(&mut head, now.since_epoch().as_nanos() as u64);
        put_bytes(&mut head, config.redacted().to_string().as_bytes());
        put_number(&mut head, config.error_pages.len() as u64);
        for (status, page) in &config.error_pages {
            put_number(&mut head, (*status).into());
            put_bytes(&mut head, &page.body);
        }
        sink.write_all(&head)?;
        let left = max.saturating_sub(head.len() as u64);
        Ok(Self { sink, left, last: now, line: Vec::new(), scrubbers: BTreeMap::new(), ended: None })
    }

    /// Why nothing more is recorded, if so: the sink failed, or (`FileTooLarge`) the tape is full.
    pub fn ended(&self) -> Option<io::ErrorKind> {
        self.ended
    }

    pub(crate) fn accept(&mut self, on: ListenerId, peer: PeerAddr, link: Option<LinkId>, now: Instant) {
        self.record(Tag::Accept, now, |line| {
            put_number(line, on.0.into());
            put_peer(line, peer);
            match link {
                Some(link) => {
                    line.push(1);
                    put_link(line, link);
                }
                None => line.push(0),
            }
        });
    }

    pub(crate) fn input(&mut self, input: &Input<'_>, now: Instant, engine: &mut Engine) {
        match input {
            Input::Received { link, bytes } => self.received(*link, bytes, now, engine),
            Input::Sent { link, n } if engine.ciphertext(*link).is_some() => {
                self.record(Tag::SentSealed, now, |line| {
                    put_link(line, *link);
                    put_number(line, *n as u64);
                });
            }
            Input::Sent { link, n } => {
                let digest = engine.digest(*link, *n).unwrap_or(0);
                self.record(Tag::Sent, now, |line| {
                    put_link(line, *link);
                    put_number(line, *n as u64);
                    line.extend_from_slice(&digest.to_le_bytes());
                });
            }
            Input::Eof { link } => self.record(Tag::Eof, now, |line| put_link(line, *link)),
            Input::Failed { link, why } => self.record(Tag::Failed, now, |line| {
                put_link(line, *link);
                line.push(code_of(*why));
            }),
            Input::Dialed { link, result } => self.record(Tag::Dialed, now, |line| {
                put_link(line, *link);
                line.push(result.map_or_else(code_of, |()| 0));
            }),
            Input::Listening { id, result } => self.record(Tag::Listening, now, |line| {
                put_number(line, id.0.into());
                match result {
                    Ok(address) => {
                        line.push(0);
                        put_bind(line, address);
                    }
                    Err(why) => line.push(code_of(*why)),
                }
            }),
            Input::AcceptFailed { on, why } => self.record(Tag::AcceptFailed, now, |line| {
                put_number(line, on.0.into());
                line.push(code_of(*why));
            }),
            Input::WakeApp(app) => self.record(Tag::WakeApp, now, |line| put_number(line, app.0.into())),
            Input::Timeout => self.record(Tag::Timeout, now, |_| {}),
            Input::Control(control) => {
                let code = match control {
                    Control::Stats => 0,
                    Control::Drain => 1,
                    Control::Stop => 2,
                    // That there were new ones is enough.
                    Control::Certificates(_) => 3,
                };
                self.record(Tag::Control, now, |line| line.push(code));
            }
        }
    }

    /// What TLS has made of the input that was recorded last; `plain` is what waits then.
    pub(crate) fn tls(&mut self, link: LinkId, step: &Step, plain: &[u8], pending: usize, now: Instant) {
        self.record(Tag::Tls, now, |line| sealed::put(line, link, step, plain, pending));
    }

    /// The next `n` bytes for a link were encrypted; `pending` is the ciphertext that waits then.
    pub(crate) fn encrypted(&mut self, link: LinkId, n: usize, digest: u64, pending: usize, now: Instant) {
        self.record(Tag::Encrypted, now, |line| {
            put_link(line, link);
            put_number(line, n as u64);
            line.extend_from_slice(&digest.to_le_bytes());
            put_number(line, pending as u64);
        });
    }

    /// Goodbye was said on a link; `pending` is the ciphertext that waits then.
    pub(crate) fn goodbye(&mut self, link: LinkId, pending: usize, now: Instant) {
        self.record(Tag::Goodbye, now, |line| {
            put_link(line, link);
            put_number(line, pending as u64);
        });
    }

    fn received(&mut self, link: LinkId, bytes: &[u8], now: Instant, engine: &Engine) {
        if engine.ciphertext(link).is_some() {
            return self.record(Tag::ReceivedSealed, now, |line| {
                put_link(line, link);
                put_number(line, bytes.len() as u64);
            });
        }
        let scrubbed = if engine.shows_credentials(link) {
            let scrubber = self.scrubbers.entry(link).or_default();
            let mut copy = bytes.to_vec();
            scrubber.scrub(&mut copy, |user| engine.password_of(link, user));
            Some(copy)
        } else {
            self.scrubbers.remove(&link);
            None
        };
        self.record(Tag::Received, now, |line| {
            put_link(line, link);
            put_bytes(line, scrubbed.as_deref().unwrap_or(bytes));
        });
    }

    fn record(&mut self, tag: Tag, now: Instant, fill: impl FnOnce(&mut Vec<u8>)) {
        if self.ended.is_some() {
            return;
        }
        self.line.clear();
        self.line.push(tag as u8);
        put_number(&mut self.line, now.since(self.last).as_nanos() as u64);
        self.last = now;
        fill(&mut self.line);
        if self.line.len() as u64 > self.left {
            self.ended = Some(io::ErrorKind::FileTooLarge);
        } else if let Err(error) = self.sink.write_all(&self.line) {
            self.ended = Some(error.kind());
        }
        self.left = self.left.saturating_sub(self.line.len() as u64);
        // One long payload must not stay for ever.
        self.line.shrink_to(64 * 1024);
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        // A tape that lost its end still replays up to there.
        let _ = self.sink.flush();
    }
}

#[derive(Clone, Copy)]
#[repr(u8)]
enum Tag {
    Accept = 1,
    Received,
    Sent,
    Eof,
    Failed,
    Dialed,
    Listening,
    AcceptFailed,
    WakeApp,
    Timeout,
    Control,
    ReceivedSealed,
    SentSealed,
    Tls,
    Encrypted,
    Goodbye,
}

/// What a replay found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Inputs that were replayed.
    pub inputs: u64,
    /// Bytes out that were compared.
    pub bytes: u64,
    /// The first place where the engine did not do what is recorded.
    pub difference: Option<String>,
    /// The tape ends inside a record, as when the recording program was killed.
    pub cut: bool,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.difference {
            None => write!(f, "equal: {} inputs, {} bytes out", self.inputs, self.bytes)?,
            Some(difference) => write!(f, "different after {} inputs: {difference}", self.inputs)?,
        }
        if self.cut { f.write_str(" (the tape ends inside a record)") } else { Ok(()) }
    }
}

/// Why something cannot be replayed at all.
#[derive(Debug)]
pub enum ReplayError {
    /// It could not be read.
    Io(io::Error),
    /// It is not a tape.
    NotATape(&'static str),
}

impl fmt::Display for ReplayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::NotATape(why) => write!(f, "not a tape: {why}"),
        }
    }
}

impl core::error::Error for ReplayError {}

impl From<io::Error> for ReplayError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Replays a tape into a fresh engine, to which `prepare` adds the apps, and compares every byte out.
/// `watch` sees each output with its time.
///
/// # Errors
/// If the tape cannot be read or is none; a difference is a verdict, not an error.
pub fn replay(
    tape: &mut dyn Read,
    prepare: impl FnOnce(&mut Engine),
    watch: &mut dyn FnMut(Instant, &Output),
) -> Result<Verdict, ReplayError> {
    let mut magic = [0; MAGIC.len()];
    tape.read_exact(&mut magic)?;
    if magic != *MAGIC {
        let is_other = magic.starts_with(ANY_MAGIC);
        let why = if is_other { "it is of another version of this program" } else { "it does not begin like one" };
        return Err(ReplayError::NotATape(why));
    }
    let mut seed = [0; 32];
    tape.read_exact(&mut seed)?;
    let mut now = Instant::from_epoch(Duration::from_nanos(number(tape)?));
    let text = bytes(tape)?;
    let (mut config, _) = Config::parse_uncertified(&text, "tape", Mode::Lenient)
        .map_err(|_| ReplayError::NotATape("its configuration is damaged"))?;
    for _ in 0..number(tape)? {
        let (status, body) = (number(tape)? as u16, Bytes::from(bytes(tape)?));
        config.error_pages.entry(status).or_insert_with(|| File::new("tape")).body = body;
    }
    let mut engine = Engine::new(Arc::new(config), Box::new(SeededEntropy::new(seed)), now);
    engine.begin_replay();
    prepare(&mut engine);
    let mut verdict = Verdict { inputs: 0, bytes: 0, difference: None, cut: false };
    let mut tape = Entries { tape, next: None };
    loop {
        while let Some(output) = engine.poll_output() {
            watch(now, &output);
        }
        let step = match step(&mut tape, &mut engine, &mut now, &mut verdict) {
            Ok(step) => step,
            Err(ReplayError::Io(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                verdict.cut = true;
                return Ok(verdict);
            }
            Err(error) => return Err(error),
        };
        if !step || verdict.difference.is_some() {
            return Ok(verdict);
        }
        verdict.inputs += 1;
    }
}

/// What is left of a tape.
struct Entries<'a> {
    tape: &'a mut dyn Read,
    /// The tag of the next entry, if it was read already.
    next: Option<u8>,
}

impl Entries<'_> {
    /// The tag of the next entry; `None` at the end.
    fn tag(&mut self) -> Result<Option<u8>, ReplayError> {
        let mut tag = [0];
        match self.next.take() {
            None => Ok((self.tape.read(&mut tag)? == 1).then_some(tag[0])),
            known => Ok(known),
        }
    }

    /// Hands an input to the engine, with what TLS made of it.
    fn hand(&mut self, input: Input<'_>, now: Instant, engine: &mut Engine) -> Result<Option<String>, ReplayError> {
        while let Some(tag) = self.tag()? {
            if tag != Tag::Tls as u8 {
                self.next = Some(tag);
                break;
            }
            number(self.tape)?; // No time has passed.
            let recorded = sealed::take(self.tape)?;
            let fits = match &input {
                Input::Received { link, .. } => *link == recorded.link,
                // A handshake may be late.
                Input::Timeout => true,
                Input::Sent { .. }
                | Input::Eof { .. }
                | Input::Failed { .. }
                | Input::Dialed { .. }
                | Input::Listening { .. }
                | Input::AcceptFailed { .. }
                | Input::WakeApp(_)
                | Input::Control(_) => false,
            };
            if !fits {
                return Err(ReplayError::NotATape("what TLS did does not fit the input before it"));
            }
            engine.expect(recorded);
        }
        engine.handle(input, now);
        let left = engine.unexpected();
        Ok(left.map(|link| format!("TLS of link {link} made more of an input at {now} than the engine took")))
    }
}

/// Replays one record; false at the end of the tape.
fn step(
    entries: &mut Entries<'_>,
    engine: &mut Engine,
    now: &mut Instant,
    verdict: &mut Verdict,
) -> Result<bool, ReplayError> {
    let Some(tag) = entries.tag()? else { return Ok(false) };
    let tape = &mut *entries.tape;
    *now += Duration::from_nanos(number(tape)?);
    let now = *now;
    let payload;
    let input = match tag {
        tag if tag == Tag::Accept as u8 => {
            let on = ListenerId(number(tape)? as u32);
            let peer = peer(tape)?;
            let expected = if byte(tape)? == 1 { Some(link(tape)?) } else { None };
            let got = engine.accept(on, peer, now);
            if got != expected {
                verdict.difference = Some(format!("accepting from {peer} gave {got:?}, recorded is {expected:?}"));
            }
            return Ok(true);
        }
        tag if tag == Tag::Received as u8 => {
            let link = link(tape)?;
            payload = bytes(tape)?;
            Input::Received { link, bytes: &payload }
        }
        tag if tag == Tag::ReceivedSealed as u8 => {
            let link = link(tape)?;
            // What they were does not matter, since what TLS made of them is known.
            payload = vec![0; size(tape)?];
            Input::Received { link, bytes: &payload }
        }
        tag if tag == Tag::Sent as u8 => {
            let link = link(tape)?;
            let n = size(tape)?;
            if engine.digest(link, n) != Some(digest_on(tape)?) {
                verdict.difference =
                    Some(format!("the next {n} bytes for link {link} at {now} are not those recorded"));
                return Ok(true);
            }
            verdict.bytes += n as u64;
            Input::Sent { link, n }
        }
        tag if tag == Tag::SentSealed as u8 => {
            let (link, n) = (link(tape)?, size(tape)?);
            if engine.ciphertext(link).is_none_or(|pending| pending < n) {
                verdict.difference = Some(format!("there are no {n} bytes for link {link} at {now}"));
                return Ok(true);
            }
            Input::Sent { link, n }
        }
        tag if tag == Tag::Encrypted as u8 => {
            let (link, n) = (link(tape)?, size(tape)?);
            let (digest, pending) = (digest_on(tape)?, size(tape)?);
            if !engine.replay_encrypted(link, n, digest, pending) {
                verdict.difference =
                    Some(format!("the next {n} bytes to be encrypted for link {link} at {now} are not those recorded"));
            }
            verdict.bytes += n as u64;
            return Ok(true);
        }
        tag if tag == Tag::Goodbye as u8 => {
            let (link, pending) = (link(tape)?, size(tape)?);
            if !engine.replay_goodbye(link, pending) {
                verdict.difference = Some(format!("there is no reason to say goodbye on link {link} at {now}"));
            }
            return Ok(true);
        }
        tag if tag == Tag::Eof as u8 => Input::Eof { link: link(tape)? },
        tag if tag == Tag::Failed as u8 => {
            let link = link(tape)?;
            Input::Failed { link, why: kind_of(byte(tape)?).unwrap_or(io::ErrorKind::Other) }
        }
        tag if tag == Tag::Dialed as u8 => {
            let link = link(tape)?;
            Input::Dialed { link, result: kind_of(byte(tape)?).map_or(Ok(()), Err) }
        }
        tag if tag == Tag::Listening as u8 => {
            let id = ListenerId(number(tape)? as u32);
            let result = match kind_of(byte(tape)?) {
                None => Ok(bind(tape)?),
                Some(why) => Err(why),
            };
            Input::Listening { id, result }
        }
        tag if tag == Tag::AcceptFailed as u8 => {
            let on = ListenerId(number(tape)? as u32);
            Input::AcceptFailed { on, why: kind_of(byte(tape)?).unwrap_or(io::ErrorKind::Other) }
        }
        tag if tag == Tag::WakeApp as u8 => Input::WakeApp(AppId(number(tape)? as u32)),
        tag if tag == Tag::Timeout as u8 => Input::Timeout,
        tag if tag == Tag::Control as u8 => Input::Control(match byte(tape)? {
            0 => Control::Stats,
            1 => Control::Drain,
            2 => Control::Stop,
            3 => Control::Certificates(Stores::empty()),
            _ => return Err(ReplayError::NotATape("an unknown control")),
        }),
        tag if tag == Tag::Tls as u8 => return Err(ReplayError::NotATape("there was no input for TLS")),
        _ => return Err(ReplayError::NotATape("an unknown record")),
    };
    verdict.difference = entries.hand(input, now, engine)?;
    Ok(true)
}

/// FNV-1a over the first `n` bytes of a rope.
pub(crate) fn digest(rope: &Rope, n: usize) -> u64 {
    let first = rope.iter().flatten().take(n);
    first.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}
