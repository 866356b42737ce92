//! What the engine and its driver say to each other. Plain data.

use core::fmt;
use std::io;

use super::report::Report;
use crate::address::{Address, BindAddr};
use crate::config::Stores;
use crate::time::Instant;

/// A connection, given out by the engine. Slots are small and dense, so a driver can index a table with them; the
/// generation tells a slot's tenants apart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

impl LinkId {
    /// Index for a driver's table.
    pub const fn slot(self) -> usize {
        self.slot as usize
    }

    /// Which tenant of the slot this is.
    pub const fn generation(self) -> u32 {
        self.generation
    }
}

impl fmt::Display for LinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.slot, self.generation)
    }
}

impl fmt::Debug for LinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A listening socket, numbered by the engine from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListenerId(pub u32);

/// An in-process app.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AppId(pub u32);

/// What happened outside.
#[derive(Debug)]
pub enum Input<'a> {
    /// Bytes were read.
    Received {
        /// From this link.
        link: LinkId,
        /// At least one byte.
        bytes: &'a [u8],
    },
    /// The first `n` bytes that [`outbound`](super::Engine::outbound) lent were written.
    Sent {
        /// To this link.
        link: LinkId,
        /// How many.
        n: usize,
    },
    /// The peer ended its sending direction.
    Eof {
        /// On this link.
        link: LinkId,
    },
    /// Reading or writing failed; the link is gone.
    Failed {
        /// The link.
        link: LinkId,
        /// How.
        why: io::ErrorKind,
    },
    /// The outcome of an [`Output::Dial`].
    Dialed {
        /// The link.
        link: LinkId,
        /// Open, or why not.
        result: Result<(), io::ErrorKind>,
    },
    /// The outcome of an [`Output::Listen`].
    Listening {
        /// The listener.
        id: ListenerId,
        /// The address that was bound (with the port that the system chose), or why it was not.
        result: Result<BindAddr, io::ErrorKind>,
    },
    /// A listener could not accept (out of descriptors, for example). A connection that broke before it was accepted
    /// is no failure.
    AcceptFailed {
        /// The listener.
        on: ListenerId,
        /// How.
        why: io::ErrorKind,
    },
    /// Another thread has something for an app.
    WakeApp(AppId),
    /// The time that [`poll_timeout`](super::Engine::poll_timeout) named has come. Early and spurious calls are harmless.
    Timeout,
    /// The operator wants something.
    Control(Control),
}

/// What an operator can want.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// Show these certificates to those who connect from now on. Say so once before anybody is accepted, or listeners
    /// of TLS hang up.
    Certificates(Stores),
    /// Report the statistics now.
    Stats,
    /// Stop listening, finish what is under way within the drain deadline, then [`Output::Finished`].
    Drain,
    /// End everything now, then [`Output::Finished`].
    Stop,
}

/// What the driver has to do.
#[derive(Debug)]
pub enum Output {
    /// The link's interest or its outbound queue changed: look at both again before the next sleep.
    Attend(LinkId),
    /// Shut a link down.
    Shut(LinkId, Shut),
    /// Open an outgoing connection for this link, then say [`Input::Dialed`].
    Dial(LinkId, Address),
    /// Open a listener, then say [`Input::Listening`].
    Listen(ListenerId, BindAddr),
    /// Close a listener.
    Unlisten(ListenerId),
    /// Stop accepting on a listener (`true`), or go on (`false`).
    Hold(ListenerId, bool),
    /// Something to tell the operator.
    Report(Report),
    /// Everything has ended: the driver can return.
    Finished,
}

/// How to shut a link down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shut {
    /// Shut the sending direction; go on reading. The outbound queue is empty when the engine says so.
    Write,
    /// Close the socket; what the system has buffered is still delivered. The link is gone: say nothing more of it.
    Close,
    /// Close with a reset where the system can (linger 0). The link is gone.
    Abort,
}

/// What a link waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Interest {
    /// Read from it. While this is false the driver must not read.
    pub read: bool,
    /// Bytes are queued for it.
    pub write: bool,
}

/// The next deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wake {
    /// When to say [`Input::Timeout`].
    pub at: Instant,
    /// Why, for people.
    pub why: &'static str,
}
