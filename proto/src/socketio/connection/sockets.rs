//! Namespaces of one client.
//!
//! ```text
//! Asked ── accepted ──> Connected ── its transport breaks ──> Away ── asked for again ──> Returning ──> Connected
//!   │                       │                                  │
//!   └── refused, left ──────┴──────────────────────────────────┴──> Left ── asked for ──> Asked
//! ```
//!
//! A namespace that was left keeps its place for as long as there is room: what the client has sent for it before it
//! knew is dropped, where otherwise it would break the protocol.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::mem::size_of;

use crate::socketio::Id;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Asked,
    Connected,
    Away,
    Returning,
    Left,
}

pub(super) struct Socket {
    /// Empty for the main namespace.
    name: Box<str>,
    pub(super) state: State,
    /// What the client was told as the id of its socket.
    pub(super) id: Id,
    /// The offset of the last event that is no longer kept for it.
    pub(super) dropped: Option<u64>,
}

impl Socket {
    pub(super) fn name(&self) -> &str {
        if self.name.is_empty() { "/" } else { &self.name }
    }
}

/// The place of a namespace in the table.
pub(super) type Place = u16;

#[derive(Default)]
pub(super) struct Sockets(Vec<Socket>);

impl Sockets {
    pub(super) fn find(&self, namespace: &str) -> Option<Place> {
        let place = self.0.iter().position(|socket| socket.name() == namespace)?;
        Place::try_from(place).ok()
    }

    pub(super) fn state(&self, namespace: &str) -> Option<State> {
        self.find(namespace).map(|place| self.at(place).state)
    }

    pub(super) fn at(&self, place: Place) -> &Socket {
        &self.0[usize::from(place)]
    }

    pub(super) fn at_mut(&mut self, place: Place) -> &mut Socket {
        &mut self.0[usize::from(place)]
    }

    /// Finds a place for a namespace that is asked for; `None` if there are as many as allowed.
    pub(super) fn ask(&mut self, namespace: &str, max: usize) -> Option<Place> {
        let place = match self.find(namespace) {
            Some(place) => usize::from(place),
            None if self.0.len() < max.min(usize::from(Place::MAX)) => {
                // Most clients have one namespace and never another.
                self.0.reserve_exact(1);
                self.0.push(Socket { name: Box::default(), state: State::Left, id: Id([0; 16]), dropped: None });
                self.0.len() - 1
            }
            None => self.0.iter().position(|socket| socket.state == State::Left)?,
        };
        let name = if namespace == "/" { Box::default() } else { namespace.into() };
        self.0[place] = Socket { name, state: State::Asked, id: Id([0; 16]), dropped: None };
        Place::try_from(place).ok()
    }

    /// Changes the state of a namespace that has a place.
    pub(super) fn set(&mut self, namespace: &str, state: State) {
        if let Some(place) = self.find(namespace) {
            self.at_mut(place).state = state;
        }
    }

    /// The transport of the client has broken.
    pub(super) fn send_away(&mut self) {
        for socket in &mut self.0 {
            match socket.state {
                State::Connected | State::Returning => socket.state = State::Away,
                State::Asked | State::Away | State::Left => {}
            }
        }
    }

    /// The namespaces in this state.
    pub(super) fn names(&self, state: State) -> Vec<Box<str>> {
        self.0.iter().filter(|socket| socket.state == state).map(|socket| socket.name().into()).collect()
    }

    /// Whether no namespace was ever asked for.
    pub(super) fn is_new(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the client has none, and asks for none.
    pub(super) fn is_idle(&self) -> bool {
        self.0.iter().all(|socket| socket.state == State::Left)
    }

    pub(super) fn has(&self, state: State) -> bool {
        self.0.iter().any(|socket| socket.state == state)
    }

    /// Bytes of memory that it owns.
    pub(super) fn held(&self) -> usize {
        self.0.capacity() * size_of::<Socket>() + self.0.iter().map(|socket| socket.name.len()).sum::<usize>()
    }
}
