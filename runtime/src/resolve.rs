//! Names of nodes, resolved off the driver's thread.
//!
//! ```text
//!   Output::Dial --> resolve() --numeric, Unix--------------> poll() --> connect
//!                       \--name--> queue --> helper threads --/
//! ```
//!
//! A name is resolved afresh for each dial, so that a node that moved is found. The system's resolver blocks, for many
//! seconds when its servers do not answer; a few helper threads wait in our stead, started when first needed.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use blastbeat_proto::address::Address;

use crate::net::Endpoint;

/// Helper threads: one name that hangs does not keep others from being found.
const THREADS_MAX: usize = 4;

/// Turns the addresses of [`Output::Dial`](blastbeat_proto::engine::Output::Dial) into endpoints.
///
/// Call [`resolve`](Self::resolve), then drain [`poll`](Self::poll); whenever `wake` is called, drain it again. Where a
/// name has several addresses, each dial gets the next one, so that a dial that is repeated comes to all of them.
/// `Tag` tells the caller whose answer it is: its link.
pub struct Resolver<Tag> {
    shared: Arc<Shared<Tag>>,
    threads: usize,
}

struct Shared<Tag> {
    state: Mutex<State<Tag>>,
    work: Condvar,
    wake: Box<dyn Fn() + Send + Sync>,
}

struct State<Tag> {
    asked: VecDeque<(Tag, String, u16)>,
    found: VecDeque<(Tag, io::Result<Endpoint>)>,
    /// How often each name was resolved; as many as the configuration has.
    turns: BTreeMap<(String, u16), usize>,
    idle: usize,
    closed: bool,
}

impl<Tag: Send + 'static> Resolver<Tag> {
    /// A resolver that calls `wake`, from another thread, when [`poll`](Self::poll) has something.
    pub fn new(wake: Box<dyn Fn() + Send + Sync>) -> Self {
        let shared = Shared { state: Mutex::new(State::new()), work: Condvar::new(), wake };
        Self { shared: Arc::new(shared), threads: 0 }
    }

    /// Asks for the endpoint of `address`. For anything but a name it is there at once, and `wake` is not called.
    pub fn resolve(&mut self, tag: Tag, address: Address) {
        let mut state = self.shared.lock();
        let (host, port) = match address {
            Address::Unix(path) => return state.found.push_back((tag, Ok(Endpoint::Unix(path)))),
            Address::Tcp { host, port } => (host, port),
        };
        if let Ok(numeric) = host.parse::<IpAddr>() {
            let endpoint = Endpoint::Tcp((numeric, port).into());
            return state.found.push_back((tag, Ok(endpoint)));
        }
        state.asked.push_back((tag, host, port));
        if state.idle >= state.asked.len() || self.threads == THREADS_MAX {
            self.shared.work.notify_one();
            return;
        }
        let shared = Arc::clone(&self.shared);
        match thread::Builder::new().name("resolver".into()).spawn(move || shared.serve()) {
            Ok(_) => self.threads += 1,
            Err(why) if self.threads == 0 => {
                let asked = state.asked.pop_back();
                state.found.extend(asked.map(|(tag, ..)| (tag, Err(why))));
            }
            // Those that run will come to it.
            Err(_) => {}
        }
    }

    /// The next answer. The link may have gone meanwhile: compare its generation.
    #[must_use]
    pub fn poll(&mut self) -> Option<(Tag, io::Result<Endpoint>)> {
        self.shared.lock().found.pop_front()
    }
}

impl<Tag> Drop for Resolver<Tag> {
    /// Lets the helper threads end. One that waits for the system's resolver is not waited for.
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.work.notify_all();
    }
}

impl<Tag> Shared<Tag> {
    fn lock(&self) -> MutexGuard<'_, State<Tag>> {
        // No code that can panic runs under this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A helper thread.
    fn serve(&self) {
        let mut state = self.lock();
        while !state.closed {
            let Some((tag, host, port)) = state.asked.pop_front() else {
                state.idle += 1;
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.idle -= 1;
                continue;
            };
            drop(state);
            let addresses = (host.as_str(), port).to_socket_addrs().map(Iterator::collect::<Vec<_>>);
            state = self.lock();
            let result = addresses.and_then(|addresses| state.next_of(host, port, &addresses));
            state.found.push_back((tag, result.map(Endpoint::Tcp)));
            drop(state);
            (self.wake)();
            state = self.lock();
        }
    }
}

impl<Tag> State<Tag> {
    fn new() -> Self {
        Self { asked: VecDeque::new(), found: VecDeque::new(), turns: BTreeMap::new(), idle: 0, closed: false }
    }

    /// The address whose turn it is.
    fn next_of(&mut self, host: String, port: u16, addresses: &[SocketAddr]) -> io::Result<SocketAddr> {
        let turn = self.turns.entry((host, port)).or_default();
        let address = addresses.get(*turn % addresses.len().max(1)).ok_or(io::ErrorKind::NotFound)?;
        *turn = turn.wrapping_add(1);
        Ok(*address)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};

    use super::*;

    fn resolver() -> (Resolver<u32>, Receiver<()>) {
        let (sender, woken) = channel();
        (Resolver::new(Box::new(move || sender.send(()).unwrap_or(()))), woken)
    }

    fn name(host: &str) -> Address {
        Address::Tcp { host: host.to_owned(), port: 5000 }
    }

    #[test]
    fn numbers_and_paths_are_answered_at_once() {
        let (mut resolver, woken) = resolver();
        resolver.resolve(1, name("127.0.0.1"));
        resolver.resolve(2, name("::1"));
        resolver.resolve(3, Address::Unix("/run/node".into()));
        let mut answers = || resolver.poll().map(|(tag, result)| (tag, result.unwrap()));
        assert_eq!(answers(), Some((1, Endpoint::Tcp(([127, 0, 0, 1], 5000).into()))));
        assert_eq!(answers(), Some((2, Endpoint::Tcp("[::1]:5000".parse().unwrap()))));
        assert_eq!(answers(), Some((3, Endpoint::Unix("/run/node".into()))));
        assert_eq!(answers(), None);
        assert_eq!(woken.try_recv().ok(), None);
    }

    #[test]
    fn every_name_is_answered_once_with_its_tag() {
        let (mut resolver, woken) = resolver();
        for tag in 0..20 {
            resolver.resolve(tag, name("localhost"));
        }
        let mut answers: Vec<u32> = (0..20)
            .map(|_| {
                woken.recv().unwrap();
                let (tag, result) = resolver.poll().unwrap();
                let Endpoint::Tcp(address) = result.unwrap() else { panic!("not a path") };
                assert!(address.ip().is_loopback() && address.port() == 5000, "{address}");
                tag
            })
            .collect();
        answers.sort_unstable();
        assert_eq!(answers, Vec::from_iter(0..20));
        assert!(resolver.poll().is_none());
    }

    #[test]
    fn a_name_that_cannot_be_is_an_error() {
        let (mut resolver, woken) = resolver();
        resolver.resolve(1, name("a name with spaces\0"));
        woken.recv().unwrap();
        assert!(matches!(resolver.poll(), Some((1, Err(_)))));
    }

    #[test]
    fn repeated_dials_come_to_every_address_of_a_name() {
        let mut state = State::<()>::new();
        let addresses: [SocketAddr; 2] = ["[::1]:1".parse().unwrap(), "127.0.0.1:1".parse().unwrap()];
        let mut next = |host: &str, addresses: &[SocketAddr]| state.next_of(host.into(), 1, addresses).ok();
        assert_eq!(next("a", &addresses), Some(addresses[0]));
        assert_eq!(next("a", &addresses), Some(addresses[1]));
        assert_eq!(next("b", &addresses), Some(addresses[0]));
        assert_eq!(next("a", &addresses), Some(addresses[0]));
        assert_eq!(next("a", &[]), None);
    }

    #[test]
    fn helper_threads_end_with_the_resolver() {
        let (mut resolver, woken) = resolver();
        resolver.resolve(1, name("localhost"));
        woken.recv().unwrap();
        drop(resolver);
        assert!(woken.recv().is_err(), "the last thread drops the waker");
    }
}
