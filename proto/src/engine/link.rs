//! Connections as the engine sees them: which machine has them, what they wait for, how they end.
//!
//! ```text
//!  Dialing ──▶ Open ──▶ Flushing ──▶ Draining ──▶ (gone)
//!                │          └───────────────────────▲
//!                └──▶ Held ─────────────────────────┘
//! ```
//!
//! `Flushing` writes the farewell out. `Draining` has shut our direction and throws input away for a moment, so that
//! a reset does not eat the farewell. `Held` keeps a refused node waiting, so that it does not come back at once.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::contract::{Interest, LinkId};
use super::mux::MuxLink;
use super::transport::Transport;
use crate::address::PeerAddr;
use crate::error::Cause;
use crate::http1;
use crate::limits::Limits;
use crate::proxy;
use crate::rope::Rope;
use crate::time::Instant;
use crate::websocket;
use crate::zmtp;

/// One connection.
pub(super) struct Link {
    pub peer: PeerAddr,
    pub stage: Stage,
    /// What lies between its bytes and its machine.
    pub transport: Transport,
    pub protocol: Protocol,
    /// Bytes received (with TLS: decrypted) that no machine has taken yet.
    pub inbox: Inbox,
    /// In the list of links to settle before the current call returns.
    pub touched: bool,
    /// An `Attend` is among the outputs.
    pub attended: bool,
    /// Interest when the driver was last told to look.
    pub told: Interest,
    /// Bytes of this link that the memory ledger knows of.
    pub charged: usize,
    /// When the peer counts as stalled if it takes nothing more.
    pub stall: Option<Instant>,
    /// The peer has ended its sending direction.
    pub eof: bool,
    /// Input is paused until the node that it goes to has room.
    pub paused: bool,
    /// Fan-outs that come from here and are not through: nothing is read until they are.
    pub blocked: u32,
    /// Why it closes.
    pub cause: Cause,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// An outgoing connection is being opened.
    Dialing,
    /// Machines talk.
    Open,
    /// A refused link is kept waiting, unread and unanswered.
    Held { until: Instant },
    /// No more input; closes when the queue is empty.
    Flushing { then: Then },
    /// Our direction is shut; input is thrown away.
    Draining { until: Instant, left: usize },
}

/// What follows the farewell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// Nothing more can come: a plain close.
    Close,
    /// Unread input may be under way: half-close and drain before the close.
    Drain,
    /// The body that was cut ends with the connection: only a reset tells that it is not whole.
    Abort,
}

/// Who speaks on a link.
pub(super) enum Protocol {
    /// A client behind a proxy that has not said yet whom it speaks for.
    Proxy(Box<ProxyLink>),
    /// A client.
    Http(Box<HttpLink>),
    /// A client whose connection carries streams, WebSockets on them included.
    Mux(Box<MuxLink>),
    /// A client's WebSocket.
    WebSocket(Box<WebSocketLink>),
    /// A node.
    Node(Box<NodeLink>),
}

/// A connection that starts with a PROXY protocol header.
pub(super) struct ProxyLink {
    pub header: proxy::Header,
    pub listener: usize,
    pub until: Instant,
}

/// A client's connection.
pub(super) struct HttpLink {
    pub conn: http1::Connection,
    pub listener: usize,
    /// The client, behind a PROXY protocol header if there was one.
    pub client: PeerAddr,
    /// Its first bytes are to tell what it speaks.
    pub is_unclear: bool,
    /// The request that is being answered.
    pub session: Option<usize>,
    /// The node of the last request, preferred for the next.
    pub node: Option<usize>,
}

/// A client's connection after the handshake of a WebSocket.
pub(super) struct WebSocketLink {
    pub conn: websocket::Connection,
    /// None when it is over, and only close frames are still under way.
    pub session: Option<usize>,
}

/// A node's connection.
pub(super) struct NodeLink {
    pub conn: zmtp::Connection,
    /// Where it came in, or which endpoint was dialled.
    pub origin: Origin,
    /// The PLAIN user name, once it was accepted.
    pub user: Option<Vec<u8>>,
    /// The node, once it was accepted.
    pub node: Option<usize>,
}

/// Where a node's link comes from; decides which virtual hosts it may serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Listener(usize),
    Dial(usize),
}

impl Link {
    pub fn new(peer: PeerAddr, stage: Stage, protocol: Protocol) -> Self {
        Self {
            peer,
            stage,
            transport: Transport::Plain,
            protocol,
            inbox: Inbox::default(),
            touched: false,
            attended: false,
            told: Interest { read: true, write: false },
            charged: 0,
            stall: None,
            eof: false,
            paused: false,
            blocked: 0,
            cause: Cause::Complete,
        }
    }

    pub fn is_client(&self) -> bool {
        match self.protocol {
            Protocol::Proxy(_) | Protocol::Http(_) | Protocol::Mux(_) | Protocol::WebSocket(_) => true,
            Protocol::Node(_) => false,
        }
    }

    /// Bytes of the machine that wait to be written. The greeting of a link that is being dialled is made anew when it opens.
    pub fn queued(&self) -> usize {
        match &self.protocol {
            _ if self.stage == Stage::Dialing => 0,
            Protocol::Proxy(_) => 0,
            Protocol::Http(http) => http.conn.queued(),
            Protocol::Mux(mux) => mux.conn.queued(),
            Protocol::WebSocket(websocket) => websocket.conn.queued(),
            Protocol::Node(node) => node.conn.queued(),
        }
    }

    /// Whether its machine has bytes to write. What waits for a client's window is queued, and cannot be written.
    pub fn has_outbound(&self) -> bool {
        match &self.protocol {
            Protocol::Mux(mux) => mux.conn.has_outbound(),
            Protocol::Proxy(_) | Protocol::Http(_) | Protocol::WebSocket(_) | Protocol::Node(_) => self.queued() > 0,
        }
    }

    /// Bytes held for this link alone, in and out.
    pub fn held(&self) -> usize {
        let assembled = match &self.protocol {
            Protocol::Node(node) => node.conn.held(),
            // What many clients share is charged once, where it was made.
            Protocol::WebSocket(websocket) => {
                let own = websocket.conn.held() + self.queued() - websocket.conn.shared();
                return own + self.inbox.len() + self.transport.held();
            }
            Protocol::Mux(mux) => return mux.held() + self.inbox.len() + self.transport.held(),
            Protocol::Proxy(_) | Protocol::Http(_) => 0,
        };
        self.queued() + self.inbox.len() + assembled + self.transport.held()
    }

    /// Whether what is unread is the beginning of something that its machine waits for the rest of, and bounds itself:
    /// a head, or a command of a node, may be longer than what is kept of pipelined requests.
    pub fn is_hungry(&self, limits: &Limits) -> bool {
        match &self.protocol {
            Protocol::Proxy(_) => true,
            Protocol::Http(http) => http.conn.room() > 0 && http.conn.queued() <= limits.write_queue_high,
            Protocol::Mux(mux) => mux.conn.room() > 0,
            Protocol::WebSocket(websocket) => websocket.conn.queued() <= limits.write_queue_high,
            Protocol::Node(node) => !node.conn.is_held(),
        }
    }

    /// What the machine has to say.
    pub fn outbound(&mut self) -> Option<&mut Rope> {
        match &mut self.protocol {
            Protocol::Proxy(_) => None,
            Protocol::Http(http) => Some(http.conn.outbound()),
            Protocol::Mux(mux) => Some(mux.conn.outbound()),
            Protocol::WebSocket(websocket) => Some(websocket.conn.outbound()),
            Protocol::Node(node) => Some(node.conn.outbound()),
        }
    }

    /// The sessions that it carries, or its streams.
    pub fn sessions(&self) -> Vec<usize> {
        match &self.protocol {
            Protocol::Mux(mux) => mux.sessions().map(|(_, session)| session).collect(),
            Protocol::Http(http) => http.session.into_iter().collect(),
            Protocol::WebSocket(websocket) => websocket.session.into_iter().collect(),
            Protocol::Proxy(_) | Protocol::Node(_) => Vec::new(),
        }
    }

    /// Where a client's requests come in, and from whom.
    pub fn client(&self) -> Option<(usize, PeerAddr)> {
        match &self.protocol {
            Protocol::Http(http) => Some((http.listener, http.client)),
            Protocol::Mux(mux) => Some((mux.listener, mux.client)),
            Protocol::Proxy(_) | Protocol::WebSocket(_) | Protocol::Node(_) => None,
        }
    }

    /// The node that answered this client last.
    pub fn last_node(&self) -> Option<usize> {
        match &self.protocol {
            Protocol::Http(http) => http.node,
            // Each stream is balanced on its own.
            Protocol::Mux(_) | Protocol::Proxy(_) | Protocol::WebSocket(_) | Protocol::Node(_) => None,
        }
    }

    pub fn mux(&mut self) -> Option<&mut MuxLink> {
        match &mut self.protocol {
            Protocol::Mux(mux) => Some(mux),
            Protocol::Proxy(_) | Protocol::Http(_) | Protocol::WebSocket(_) | Protocol::Node(_) => None,
        }
    }

    pub fn websocket(&mut self) -> Option<&mut WebSocketLink> {
        match &mut self.protocol {
            Protocol::WebSocket(websocket) => Some(websocket),
            Protocol::Proxy(_) | Protocol::Http(_) | Protocol::Mux(_) | Protocol::Node(_) => None,
        }
    }

    pub fn http(&mut self) -> Option<&mut HttpLink> {
        match &mut self.protocol {
            Protocol::Http(http) => Some(http),
            Protocol::Proxy(_) | Protocol::Mux(_) | Protocol::WebSocket(_) | Protocol::Node(_) => None,
        }
    }

    pub fn node(&mut self) -> Option<&mut NodeLink> {
        match &mut self.protocol {
            Protocol::Node(node) => Some(node),
            Protocol::Proxy(_) | Protocol::Http(_) | Protocol::Mux(_) | Protocol::WebSocket(_) => None,
        }
    }
}

/// Unread bytes. Taking from the front moves an index; the bytes move when more come.
#[derive(Default)]
pub(super) struct Inbox {
    bytes: Vec<u8>,
    start: usize,
}

impl Inbox {
    pub fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn unread(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    pub fn extend(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    pub fn advance(&mut self, n: usize) {
        self.start += n;
        if self.start >= self.bytes.len() {
            *self = Self::default();
        }
    }
}

/// All links, by slot.
#[derive(Default)]
pub(super) struct Links {
    slots: Vec<Slot>,
    free: Vec<u32>,
    open: usize,
}

struct Slot {
    generation: u32,
    link: Option<Box<Link>>,
}

impl Links {
    pub fn insert(&mut self, link: Link) -> LinkId {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.slots.push(Slot { generation: 0, link: None });
                (self.slots.len() - 1) as u32
            }
        };
        let entry = &mut self.slots[slot as usize];
        entry.generation = entry.generation.wrapping_add(1);
        entry.link = Some(Box::new(link));
        self.open += 1;
        LinkId { slot, generation: entry.generation }
    }

    pub fn remove(&mut self, slot: usize) -> Option<Box<Link>> {
        let link = self.slots.get_mut(slot)?.link.take()?;
        self.free.push(slot as u32);
        self.open -= 1;
        Some(link)
    }

    pub fn at(&self, slot: usize) -> Option<&Link> {
        self.slots.get(slot)?.link.as_deref()
    }

    pub fn at_mut(&mut self, slot: usize) -> Option<&mut Link> {
        self.slots.get_mut(slot)?.link.as_deref_mut()
    }

    /// The slot of a link that is still there.
    pub fn slot_of(&self, id: LinkId) -> Option<usize> {
        let entry = self.slots.get(id.slot())?;
        (entry.generation == id.generation && entry.link.is_some()).then_some(id.slot())
    }

    /// The id of a link, if there is one in this slot.
    pub fn id_at(&self, slot: usize) -> Option<LinkId> {
        self.at(slot).map(|_| self.id_of(slot))
    }

    pub fn id_of(&self, slot: usize) -> LinkId {
        LinkId { slot: slot as u32, generation: self.slots[slot].generation }
    }

    pub fn len(&self) -> usize {
        self.open
    }

    pub fn iter(&self) -> impl Iterator<Item = (usize, &Link)> {
        self.slots.iter().enumerate().filter_map(|(slot, entry)| Some((slot, entry.link.as_deref()?)))
    }
}
