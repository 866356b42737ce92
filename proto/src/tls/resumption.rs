//! Sessions that can be taken up again: tickets, which clients keep, and a table of those that keep none.
//!
//! Both go by the [`WallClock`] of the caller; the ticketer of the TLS library would read a clock of its own.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustls::server::{NoServerSessionStorage, ProducesTickets, ServerSessionMemoryCache, StoresServerSessions};

use super::clock::WallClock;
use super::library::{aead, rand};

/// How clients may take up a session again, which spares both sides most of the cryptography.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resumption {
    /// Clients get tickets (one by handshake) and the server remembers nothing. The keys of the tickets live in memory,
    /// change every six hours and are gone after twelve.
    pub tickets: bool,
    /// Sessions that the server remembers for clients without tickets, and for all without `tickets`; zero: none. One
    /// is remembered for a day at most and takes some hundred bytes, and the client's certificates if it showed any.
    pub sessions: usize,
}

impl Resumption {
    /// No session is taken up again.
    pub const OFF: Self = Self { tickets: false, sessions: 0 };
}

impl Default for Resumption {
    /// Tickets, and 1,024 sessions.
    fn default() -> Self {
        Self { tickets: true, sessions: 1024 }
    }
}

/// How long a ticket key makes tickets; for as long again it still opens them.
const ROTATION: Duration = Duration::from_secs(6 * 60 * 60);

/// How long a remembered session is good, which is also what the library tells the client.
const SESSION_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

const NAME_LEN: usize = 16;

/// Keys that make and open tickets, changed as time goes by.
pub(super) struct Ticketer {
    clock: WallClock,
    keys: Mutex<Keys>,
}

struct Keys {
    current: Option<Key>,
    previous: Option<Key>,
    /// When `current` began, in seconds.
    since: u64,
}

struct Key {
    name: [u8; NAME_LEN],
    key: aead::LessSafeKey,
}

impl Ticketer {
    pub(super) fn new(clock: WallClock) -> Arc<Self> {
        let keys = Keys { current: Key::random(), previous: None, since: clock.seconds() };
        Arc::new(Self { clock, keys: Mutex::new(keys) })
    }

    /// The keys as they are now.
    fn keys(&self) -> MutexGuard<'_, Keys> {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.rotate(self.clock.seconds());
        keys
    }
}

impl Keys {
    fn rotate(&mut self, now: u64) {
        // A clock that was set back must not keep a key alive for ever.
        self.since = self.since.min(now);
        let age = now - self.since;
        if age < ROTATION.as_secs() {
            return;
        }
        let retired = self.current.take();
        self.previous = retired.filter(|_| age < 2 * ROTATION.as_secs());
        self.current = Key::random();
        self.since = now;
    }
}

impl Key {
    /// `None` if the operating system has no random bytes: there are no tickets then.
    fn random() -> Option<Self> {
        let mut name = [0; NAME_LEN];
        random(&mut name)?;
        let mut bytes = [0; 32];
        random(&mut bytes)?;
        let key = aead::UnboundKey::new(&aead::AES_256_GCM, &bytes).ok()?;
        Some(Self { name, key: aead::LessSafeKey::new(key) })
    }

    /// The name of the key, a nonce, and the sealed session with its tag.
    fn seal(&self, plain: &[u8]) -> Option<Vec<u8>> {
        // A random nonce is safe for 2^32 tickets of one key, 200,000 a second for as long as a key is in use.
        let mut nonce = [0; aead::NONCE_LEN];
        random(&mut nonce)?;
        let mut ticket = Vec::with_capacity(NAME_LEN + nonce.len() + plain.len() + self.key.algorithm().tag_len());
        ticket.extend_from_slice(&self.name);
        ticket.extend_from_slice(&nonce);
        ticket.extend_from_slice(plain);
        let sealed = &mut ticket[NAME_LEN + nonce.len()..];
        let nonce = aead::Nonce::assume_unique_for_key(nonce);
        let tag = self.key.seal_in_place_separate_tag(nonce, aead::Aad::from(self.name), sealed).ok()?;
        ticket.extend_from_slice(tag.as_ref());
        Some(ticket)
    }

    fn open(&self, nonce: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let nonce = aead::Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut sealed = sealed.to_vec();
        let len = self.key.open_in_place(nonce, aead::Aad::from(self.name), &mut sealed).ok()?.len();
        sealed.truncate(len);
        Some(sealed)
    }
}

fn random(into: &mut [u8]) -> Option<()> {
    rand::SecureRandom::fill(&rand::SystemRandom::new(), into).ok()
}

impl ProducesTickets for Ticketer {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        2 * ROTATION.as_secs() as u32
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.keys().current.as_ref()?.seal(plain)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (name, rest) = ticket.split_at_checked(NAME_LEN)?;
        let (nonce, sealed) = rest.split_at_checked(aead::NONCE_LEN)?;
        let keys = self.keys();
        let key = [&keys.current, &keys.previous].into_iter().flatten().find(|key| key.name == name)?;
        key.open(nonce, sealed)
    }
}

impl fmt::Debug for Ticketer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ticketer")
    }
}

/// A table of sessions; the oldest makes room for the newest.
#[derive(Debug)]
pub(super) struct Sessions {
    clock: WallClock,
    table: Arc<ServerSessionMemoryCache>,
}

impl Sessions {
    /// A table of `count` sessions, or one that remembers none.
    pub(super) fn store(count: usize, clock: WallClock) -> Arc<dyn StoresServerSessions> {
        match count {
            0 => Arc::new(NoServerSessionStorage {}),
            count => Arc::new(Self { clock, table: ServerSessionMemoryCache::new(count) }),
        }
    }

    /// The session, if it is young enough. The library's table knows no ages, so each value begins with its time.
    fn fresh(&self, value: Vec<u8>) -> Option<Vec<u8>> {
        let (since, session) = value.split_first_chunk()?;
        let age = self.clock.seconds().saturating_sub(u64::from_be_bytes(*since));
        (age < SESSION_LIFETIME.as_secs()).then(|| session.to_vec())
    }
}

impl StoresServerSessions for Sessions {
    fn put(&self, id: Vec<u8>, session: Vec<u8>) -> bool {
        self.table.put(id, [&self.clock.seconds().to_be_bytes()[..], &session].concat())
    }

    fn get(&self, id: &[u8]) -> Option<Vec<u8>> {
        self.table.get(id).and_then(|value| self.fresh(value))
    }

    fn take(&self, id: &[u8]) -> Option<Vec<u8>> {
        self.table.take(id).and_then(|value| self.fresh(value))
    }

    fn can_cache(&self) -> bool {
        true
    }
}

/// A ticketer for servers without tickets.
pub(super) fn no_tickets() -> Arc<dyn ProducesTickets> {
    Arc::new(NoTickets)
}

#[derive(Debug)]
struct NoTickets;

impl ProducesTickets for NoTickets {
    fn enabled(&self) -> bool {
        false
    }

    fn lifetime(&self) -> u32 {
        0
    }

    fn encrypt(&self, _plain: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn decrypt(&self, _ticket: &[u8]) -> Option<Vec<u8>> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3600;

    fn at(hours: u64) -> Duration {
        Duration::from_secs(1_700_000_000 + hours * HOUR)
    }

    #[test]
    fn a_ticket_opens_until_its_key_is_gone() {
        let clock = WallClock::new(at(0));
        let ticketer = Ticketer::new(clock.clone());
        let early = ticketer.encrypt(b"session").unwrap();
        clock.set(at(5));
        let late = ticketer.encrypt(b"session").unwrap();
        assert_eq!(early[..NAME_LEN], late[..NAME_LEN], "one key");
        clock.set(at(7));
        let next = ticketer.encrypt(b"session").unwrap();
        assert_ne!(early[..NAME_LEN], next[..NAME_LEN], "another key");
        assert_eq!(ticketer.decrypt(&early).as_deref(), Some(&b"session"[..]));
        assert_eq!(ticketer.decrypt(&late).as_deref(), Some(&b"session"[..]));
        clock.set(at(14));
        assert_eq!(ticketer.decrypt(&early), None);
        assert_eq!(ticketer.decrypt(&next).as_deref(), Some(&b"session"[..]));
        clock.set(at(100));
        assert_eq!(ticketer.decrypt(&next), None, "nobody came for long");
    }

    #[test]
    fn a_ticket_that_was_touched_does_not_open() {
        let ticketer = Ticketer::new(WallClock::new(at(0)));
        let other = Ticketer::new(WallClock::new(at(0)));
        let ticket = ticketer.encrypt(b"session").unwrap();
        assert_eq!(other.decrypt(&ticket), None);
        for end in 0..ticket.len() {
            assert_eq!(ticketer.decrypt(&ticket[..end]), None);
        }
        for at in 0..ticket.len() {
            let mut touched = ticket.clone();
            touched[at] ^= 1;
            assert_eq!(ticketer.decrypt(&touched), None, "byte {at}");
        }
        assert_ne!(ticketer.encrypt(b"session").unwrap(), ticket, "the nonce is random");
    }

    #[test]
    fn a_clock_set_back_does_not_keep_a_key() {
        let clock = WallClock::new(at(1000));
        let ticketer = Ticketer::new(clock.clone());
        let ticket = ticketer.encrypt(b"session").unwrap();
        clock.set(at(0));
        assert!(ticketer.decrypt(&ticket).is_some());
        clock.set(at(7));
        assert_ne!(ticketer.encrypt(b"session").unwrap()[..NAME_LEN], ticket[..NAME_LEN]);
    }

    #[test]
    fn sessions_are_remembered_for_a_day_and_not_without_bound() {
        let clock = WallClock::new(at(0));
        let sessions = Sessions::store(8, clock.clone());
        for number in 0..100_u8 {
            assert!(sessions.put(vec![number], vec![number; 3]));
        }
        assert_eq!((0..100_u8).filter(|number| sessions.get(&[*number]).is_some()).count(), 8);
        assert_eq!(sessions.take(&[99]), Some(vec![99; 3]));
        assert_eq!(sessions.take(&[99]), None);
        clock.set(at(23));
        assert_eq!(sessions.get(&[98]), Some(vec![98; 3]));
        clock.set(at(24));
        assert_eq!(sessions.get(&[98]), None);
        assert!(!Sessions::store(0, clock).put(vec![1], vec![1]));
    }
}
