//! Tapes: every input of an engine with its time, and what the bytes out hashed to.
//!
//! A tape is a file of a header (seed, configuration, error pages) and records. Replayed into a fresh engine it must
//! yield the same bytes; where it does not, something outside the inputs leaked in. It is the bug report, the debugger
//! and the proof that two runtimes are equal.
//!
//! What a node says to prove who it is (PLAIN) is not written as it was: see [`crate::zmtp::Scrubber`].

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use std::io::{self, Read, Write};

use bytes::Bytes;

use crate::address::PeerAddr;
use crate::config::{Config, File, Mode};
use crate::engine::{AppId, Control, Engine, Input, LinkId, ListenerId, Output};
use crate::entropy::SeededEntropy;
use crate::time::{Duration, Instant};
use crate::zmtp::Scrubber;
use values::*;

mod values;

const MAGIC: &[u8; 16] = b"BLASTBEAT TAPE 1";

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
            Input::Sent { link, n } => {
                let digest = engine.digest(*link, *n);
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
                    // Handshakes are not on the tape, so a replay needs no keys.
                    Control::Certificates(_) => return,
                };
                self.record(Tag::Control, now, |line| line.push(code));
            }
        }
    }

    fn received(&mut self, link: LinkId, bytes: &[u8], now: Instant, engine: &Engine) {
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
        return Err(ReplayError::NotATape("it does not begin like one"));
    }
    let mut seed = [0; 32];
    tape.read_exact(&mut seed)?;
    let mut now = Instant::from_epoch(Duration::from_nanos(number(tape)?));
    let text = bytes(tape)?;
    let (mut config, _) = Config::parse(&text, "tape", Mode::Lenient)
        .map_err(|_| ReplayError::NotATape("its configuration is damaged"))?;
    for _ in 0..number(tape)? {
        let (status, body) = (number(tape)? as u16, Bytes::from(bytes(tape)?));
        config.error_pages.entry(status).or_insert_with(|| File::new("tape")).body = body;
    }
    let mut engine = Engine::new(Arc::new(config), Box::new(SeededEntropy::new(seed)), now);
    prepare(&mut engine);
    let mut verdict = Verdict { inputs: 0, bytes: 0, difference: None, cut: false };
    loop {
        while let Some(output) = engine.poll_output() {
            watch(now, &output);
        }
        let step = match step(tape, &mut engine, &mut now, &mut verdict) {
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

/// Replays one record; false at the end of the tape.
fn step(
    tape: &mut dyn Read,
    engine: &mut Engine,
    now: &mut Instant,
    verdict: &mut Verdict,
) -> Result<bool, ReplayError> {
    let mut tag = [0];
    if tape.read(&mut tag)? == 0 {
        return Ok(false);
    }
    *now += Duration::from_nanos(number(tape)?);
    let now = *now;
    match tag[0] {
        tag if tag == Tag::Accept as u8 => {
            let on = ListenerId(number(tape)? as u32);
            let peer = peer(tape)?;
            let expected = if byte(tape)? == 1 { Some(link(tape)?) } else { None };
            let got = engine.accept(on, peer, now);
            if got != expected {
                verdict.difference = Some(format!("accepting from {peer} gave {got:?}, recorded is {expected:?}"));
            }
        }
        tag if tag == Tag::Received as u8 => {
            let link = link(tape)?;
            let bytes = bytes(tape)?;
            engine.handle(Input::Received { link, bytes: &bytes }, now);
        }
        tag if tag == Tag::Sent as u8 => {
            let link = link(tape)?;
            let n = number(tape)? as usize;
            let mut expected = [0; 8];
            tape.read_exact(&mut expected)?;
            if engine.digest(link, n) != u64::from_le_bytes(expected) {
                verdict.difference =
                    Some(format!("the next {n} bytes for link {link} at {now} are not those recorded"));
                return Ok(true);
            }
            verdict.bytes += n as u64;
            engine.handle(Input::Sent { link, n }, now);
        }
        tag if tag == Tag::Eof as u8 => engine.handle(Input::Eof { link: link(tape)? }, now),
        tag if tag == Tag::Failed as u8 => {
            let link = link(tape)?;
            let why = kind_of(byte(tape)?).unwrap_or(io::ErrorKind::Other);
            engine.handle(Input::Failed { link, why }, now);
        }
        tag if tag == Tag::Dialed as u8 => {
            let link = link(tape)?;
            let result = kind_of(byte(tape)?).map_or(Ok(()), Err);
            engine.handle(Input::Dialed { link, result }, now);
        }
        tag if tag == Tag::Listening as u8 => {
            let id = ListenerId(number(tape)? as u32);
            let result = match kind_of(byte(tape)?) {
                None => Ok(bind(tape)?),
                Some(why) => Err(why),
            };
            engine.handle(Input::Listening { id, result }, now);
        }
        tag if tag == Tag::AcceptFailed as u8 => {
            let on = ListenerId(number(tape)? as u32);
            let why = kind_of(byte(tape)?).unwrap_or(io::ErrorKind::Other);
            engine.handle(Input::AcceptFailed { on, why }, now);
        }
        tag if tag == Tag::WakeApp as u8 => engine.handle(Input::WakeApp(AppId(number(tape)? as u32)), now),
        tag if tag == Tag::Timeout as u8 => engine.handle(Input::Timeout, now),
        tag if tag == Tag::Control as u8 => {
            let control = match byte(tape)? {
                0 => Control::Stats,
                1 => Control::Drain,
                2 => Control::Stop,
                _ => return Err(ReplayError::NotATape("an unknown control")),
            };
            engine.handle(Input::Control(control), now);
        }
        _ => return Err(ReplayError::NotATape("an unknown record")),
    }
    Ok(true)
}

/// FNV-1a over all bytes of the slices.
pub(crate) fn digest<'a>(slices: impl Iterator<Item = &'a [u8]>) -> u64 {
    slices.flatten().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}
