//! What both drivers are given, and what they share: the time, the mailbox, and one way to read and to write.
//!
//! A driver runs one [`Engine`](blastbeat_proto::engine::Engine) on one thread. It turns readiness into
//! [`Input`](blastbeat_proto::engine::Input) and does what [`Output`](blastbeat_proto::engine::Output) says; how it
//! learns of readiness is all that the drivers differ in.

use std::io::{self, IoSlice};
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use blastbeat_proto::address::BindAddr;
use blastbeat_proto::engine::{AppId, Control};
use blastbeat_proto::time::Instant;

use crate::memory::Ebb;
use crate::net::{BACKLOG, Listener, Stream, listen};

/// Bytes that one read takes at most. All links are read into one buffer of this size.
pub const READ_BYTES: usize = 64 * 1024;

/// Reads from one link before the others have their turn, so that a fast peer holds nobody up.
pub const READS_PER_TURN: usize = 4;

/// Writes to one link before the others have their turn.
pub const WRITES_PER_TURN: usize = 4;

/// Connections that one listener accepts before the open ones have their turn.
pub const ACCEPTS_PER_TURN: usize = 64;

/// Pieces of a queue that one write takes at most. Small pieces are joined in the queue, so few writes have more.
pub const SLICES: usize = 64;

/// What a driver is run with.
#[derive(Default)]
pub struct Options {
    /// Listening sockets that were open before the program started, under the addresses by which the configuration
    /// knows them; they are taken instead of opening new ones.
    pub inherited: Vec<(BindAddr, Listener)>,
    /// Called once, when every listener of the start has been opened or has failed, and before anything is accepted:
    /// the place to give up privileges. An error ends the driver.
    pub on_listening: Option<Box<dyn FnOnce() -> io::Result<()>>>,
    /// The mailbox that the driver empties: clone it before the driver runs to reach the engine while it does.
    pub handle: Handle,
    /// Disturbs reads and writes, for tests.
    pub chaos: Option<Chaos>,
}

impl Options {
    /// Opens the listener for `at`, or takes the one that was inherited; gives it with the address it has.
    ///
    /// # Errors
    ///
    /// Those of [`listen`].
    pub fn open(&mut self, at: &BindAddr) -> io::Result<(Listener, BindAddr)> {
        let listener = match self.inherited.iter().position(|(address, _)| address == at) {
            Some(place) => self.inherited.swap_remove(place).1,
            None => listen(at, BACKLOG)?,
        };
        let address = listener.local_address()?;
        Ok((listener, address))
    }
}

/// Reads the clock: the one place where the programs do.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: std::time::Instant,
}

impl Clock {
    /// Starts at [`Instant::ZERO`].
    pub fn start() -> Self {
        Self { start: std::time::Instant::now() }
    }

    /// The time since the start.
    pub fn now(&self) -> Instant {
        Instant::from_epoch(self.start.elapsed())
    }

    /// What the system calls `at`; `None` if it cannot express a time that far away.
    pub fn system(&self, at: Instant) -> Option<std::time::Instant> {
        self.start.checked_add(at.since_epoch())
    }
}

/// Things with small, dense numbers: links by slot, listeners by number. When many have gone, their memory is given
/// back to the system.
#[derive(Debug)]
pub struct Table<T> {
    places: Vec<Option<T>>,
    ebb: Ebb,
}

impl<T> Table<T> {
    /// A table without a place.
    pub fn new() -> Self {
        Self { places: Vec::new(), ebb: Ebb::default() }
    }

    /// Places up to the highest that was ever taken.
    pub fn places(&self) -> usize {
        self.places.len()
    }

    /// What is in `place`.
    pub fn at(&mut self, place: usize) -> Option<&mut T> {
        self.places.get_mut(place)?.as_mut()
    }

    /// Puts `value` into `place`; what was there is dropped.
    pub fn put(&mut self, place: usize, value: T) {
        if self.places.len() <= place {
            self.places.resize_with(place + 1, || None);
        }
        if self.places[place].replace(value).is_none() {
            self.ebb.rise();
        }
    }

    /// Empties `place`.
    pub fn take(&mut self, place: usize) -> Option<T> {
        let value = self.places.get_mut(place)?.take()?;
        self.ebb.fall();
        Some(value)
    }

    /// All that is there, in order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.places.iter().flatten()
    }
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// Something that another thread has to say to the driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mail {
    /// For the engine: the operator wants something.
    Control(Control),
    /// For the engine: an app has something to do.
    WakeApp(AppId),
    /// For the driver: a name was resolved.
    Resolved,
}

/// Reaches a driver from any thread, before and while it runs; afterwards nothing happens.
#[derive(Clone, Default)]
pub struct Handle(Arc<Mutex<Mailbox>>);

#[derive(Default)]
struct Mailbox {
    /// No letter is there twice, which bounds it.
    mail: Vec<Mail>,
    wake: Option<Arc<dyn Fn() + Send + Sync>>,
}

impl Handle {
    /// A mailbox that no driver empties yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Tells the engine what the operator wants.
    pub fn control(&self, control: Control) {
        self.post(Mail::Control(control));
    }

    /// Tells the engine that `app` has something to do.
    pub fn wake_app(&self, app: AppId) {
        self.post(Mail::WakeApp(app));
    }

    /// Puts `mail` into the mailbox and wakes the driver, unless it has been woken and has not come yet.
    pub fn post(&self, mail: Mail) {
        let mut mailbox = self.lock();
        if mailbox.mail.contains(&mail) {
            return;
        }
        mailbox.mail.push(mail);
        let wake = (mailbox.mail.len() == 1).then(|| mailbox.wake.clone()).flatten();
        drop(mailbox);
        if let Some(wake) = wake {
            wake();
        }
    }

    /// For drivers: `wake` is called from now on when there is mail, and at once if there is some already.
    pub fn on_mail(&self, wake: impl Fn() + Send + Sync + 'static) {
        let mut mailbox = self.lock();
        let waiting = !mailbox.mail.is_empty();
        let wake: Arc<dyn Fn() + Send + Sync> = Arc::new(wake);
        mailbox.wake = Some(Arc::clone(&wake));
        drop(mailbox);
        if waiting {
            wake();
        }
    }

    /// For drivers: takes all mail, oldest first.
    pub fn take(&self) -> Vec<Mail> {
        mem::take(&mut self.lock().mail)
    }

    fn lock(&self) -> MutexGuard<'_, Mailbox> {
        // No code that can panic runs under this lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads and writes sockets, with one buffer for all of them.
pub struct Io {
    buffer: Box<[u8]>,
    chaos: Option<Chaos>,
}

/// What a read brought.
#[derive(Debug, PartialEq, Eq)]
pub enum Read<'a> {
    /// At least one byte. If there were fewer than asked for, the socket is `drained`: it becomes readable again when
    /// more comes.
    Bytes {
        /// What was read.
        bytes: &'a [u8],
        /// Whether nothing is left to read.
        drained: bool,
    },
    /// Nothing is there now.
    Nothing,
    /// The peer has ended its stream.
    End,
    /// The connection is broken.
    Failed(io::ErrorKind),
}

/// What a write did.
#[derive(Debug, PartialEq, Eq)]
pub struct Written {
    /// Bytes taken.
    pub n: usize,
    /// Whether the system takes no more now: the socket becomes writable again when it does.
    pub full: bool,
}

impl Io {
    /// Reads and writes disturbed by `chaos`, if there is one.
    pub fn new(chaos: Option<Chaos>) -> Self {
        Self { buffer: vec![0; READ_BYTES].into(), chaos }
    }

    /// Reads once.
    pub fn read(&mut self, stream: &Stream) -> Read<'_> {
        loop {
            let room = self.chaos.as_mut().map_or(READ_BYTES, |chaos| chaos.read_bytes());
            if self.interrupts() {
                continue;
            }
            match stream.read(&mut self.buffer[..room]) {
                Ok(0) => return Read::End,
                Ok(n) => return Read::Bytes { bytes: &self.buffer[..n], drained: n < room },
                Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
                Err(why) if why.kind() == io::ErrorKind::WouldBlock => return Read::Nothing,
                Err(why) => return Read::Failed(why.kind()),
            }
        }
    }

    /// Writes once.
    ///
    /// # Errors
    ///
    /// The connection is broken.
    pub fn write(&mut self, stream: &Stream, slices: &[IoSlice<'_>]) -> Result<Written, io::ErrorKind> {
        let short;
        let slices = match (&mut self.chaos, slices.first()) {
            (Some(chaos), Some(first)) => {
                short = [IoSlice::new(&first[..chaos.write_bytes(first.len())])];
                &short
            }
            (Some(_), None) | (None, _) => slices,
        };
        let all = slices.iter().map(|slice| slice.len()).sum();
        loop {
            if self.interrupts() {
                continue;
            }
            match stream.write_vectored(slices) {
                Ok(n) => return Ok(Written { n, full: n < all }),
                Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
                Err(why) if why.kind() == io::ErrorKind::WouldBlock => return Ok(Written { n: 0, full: true }),
                Err(why) => return Err(why.kind()),
            }
        }
    }

    /// Whether chaos wants readiness, an `Attend` or a time-out to be reported that there is no reason for.
    pub fn strays(&mut self) -> bool {
        self.chaos.as_mut().is_some_and(|chaos| chaos.one_in(4))
    }

    /// A number below `bound`, if chaos wants something to happen to that one.
    pub fn stray(&mut self, bound: usize) -> Option<usize> {
        let chaos = self.chaos.as_mut()?;
        (bound > 0 && chaos.one_in(4)).then(|| chaos.below(bound))
    }

    /// Whether a call is repeated as if a signal had interrupted it.
    fn interrupts(&mut self) -> bool {
        self.chaos.as_mut().is_some_and(|chaos| chaos.one_in(4))
    }
}

/// Disturbance that a driver must not mind: short reads and writes, interrupted calls, readiness without a reason.
/// The same seed disturbs the same calls in the same way.
#[derive(Clone, Debug)]
pub struct Chaos {
    state: u64,
}

impl Chaos {
    /// Chaos that follows from `seed`.
    pub const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// How much the next read may bring: mostly a single byte.
    fn read_bytes(&mut self) -> usize {
        match self.below(4) {
            0 => 1 + self.below(READ_BYTES),
            1 => 1 + self.below(16),
            _ => 1,
        }
    }

    /// How much of `n` bytes the next write may take.
    fn write_bytes(&mut self, n: usize) -> usize {
        match self.below(2) {
            0 => 1 + self.below(n),
            _ => 1 + self.below(16),
        }
        .min(n)
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// A number below `bound`, or 0.
    fn below(&mut self, bound: usize) -> usize {
        // SplitMix64: one addition and a mix; any seed will do.
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        (mixed % bound.max(1) as u64) as usize
    }
}

#[cfg(test)]
mod tests;
