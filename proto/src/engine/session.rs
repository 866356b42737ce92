//! Sessions: one request with its answer, and the id that nodes know it by.

use alloc::boxed::Box;
use alloc::vec::Vec;

use bytes::Bytes;
use slab::Slab;

use super::carrier::Carrier;
pub(super) use super::group::Membership;
use super::pipe::Pipe;
use super::push::Push;
pub(super) use super::socketio::{Part, SocketIo};
use crate::address::PeerAddr;
use crate::entropy::Entropy;
use crate::http::{Framing, Request};
use crate::http1::ChunkDecoder;
use crate::message::{Capabilities, Sid};
use crate::rope::SHARE_MIN;
use crate::time::{Duration, Instant};
use crate::tls;

/// A request that is being answered.
pub(super) struct Session {
    pub sid: Sid,
    /// What its client's bytes go by; [nowhere](Carrier::NOWHERE) for a client of socket.io that polls.
    pub carrier: Carrier,
    pub host: usize,
    /// Who answers: set from the hand-over on.
    pub server: Option<Server>,
    /// What its node can do; as it was at the hand-over.
    pub capabilities: Capabilities,
    pub request: Request,
    pub request_id: u64,
    /// REMOTE_ADDR and REMOTE_PORT: behind proxies that are trusted.
    pub client: PeerAddr,
    /// Port of the listener that it came in by.
    pub port: u16,
    /// The request came by TLS, to here or to a proxy that is trusted.
    pub https: bool,
    /// The version of TLS, if it was to here.
    pub tls: Option<tls::Version>,
    /// The request's body is complete.
    pub uploaded: bool,
    /// The request is for a WebSocket.
    pub is_websocket: bool,
    pub kept: Kept,
    /// How often the request went to a further node.
    pub hops: u32,
    /// Who passed it on.
    pub refused: Vec<Server>,
    /// Its node was lost and another has it now.
    pub redispatched: bool,
    pub answer: Answer,
    pub status: u16,
    pub credit: Credit,
    /// An app waits for room in the client's queue.
    pub crowded: bool,
    /// What it is to socket.io.
    pub part: Part,
    /// Groups and pipes; made when there is one.
    pub bonds: Option<Box<Bonds>>,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub began: Instant,
    pub handed_over: Instant,
    pub answered: Instant,
    /// Inactivity timeout.
    pub patience: Duration,
    /// Last time that something moved.
    pub moved: Instant,
    /// When it must have been handed over, or answered.
    pub deadline: Option<Instant>,
}

/// Who answers a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Server {
    /// The node in this place.
    Node(usize),
    /// The app in this place.
    App(usize),
    /// The engine itself.
    Front,
}

/// How far the answer is.
pub(super) enum Answer {
    /// No final head yet.
    None,
    /// The head is out; bytes are payload, framed by the client's connection.
    Begun {
        /// What the node's head announced. `Chunked`: the node sends `chunk` messages.
        framing: Framing,
    },
    /// The head announced chunks, and none came yet: the node sends `chunk` messages, or bytes that are framed.
    Chunked,
    /// The node frames the chunks itself.
    Framed(ChunkDecoder),
    /// The request was for a WebSocket, which is open.
    WebSocket,
    /// The session is a client of socket.io.
    SocketIo,
}

/// What ties a session to others.
#[derive(Default)]
pub(super) struct Bonds {
    pub memberships: Vec<Membership>,
    /// Groups joined from now on do not echo.
    pub noecho: bool,
    pub pipes: Vec<Pipe>,
    /// Answers that are being pushed, the innermost last.
    pub pushes: Vec<Push>,
}

/// The request body, for another node.
#[derive(Default)]
pub(super) struct Kept {
    /// Large pieces, shared.
    pieces: Vec<Bytes>,
    /// What follows them: small pieces are copied together, for each would cost more than its bytes.
    tail: Vec<u8>,
    /// Bytes in all.
    pub len: usize,
    /// There was more than may be kept: the body cannot be sent again.
    pub lost: bool,
}

/// What a node with flow control may send.
#[derive(Clone, Copy, Default)]
pub(super) struct Credit {
    pub granted: u64,
    pub used: u64,
}

impl Kept {
    pub fn push(&mut self, piece: &Bytes, max: usize) {
        if self.lost {
            return;
        }
        if self.len + piece.len() > max {
            return self.lose();
        }
        self.len += piece.len();
        if piece.len() < SHARE_MIN {
            return self.tail.extend_from_slice(piece);
        }
        if !self.tail.is_empty() {
            self.pieces.push(core::mem::take(&mut self.tail).into());
        }
        self.pieces.push(piece.clone());
    }

    /// Drops everything: the body will not be sent again.
    pub fn lose(&mut self) {
        *self = Self { lost: true, ..Self::default() };
    }

    /// The body so far.
    pub fn pieces(&mut self) -> Vec<Bytes> {
        if !self.tail.is_empty() {
            self.pieces.push(core::mem::take(&mut self.tail).into());
        }
        self.pieces.clone()
    }
}

impl Session {
    /// Whether a final head has been queued for the client.
    pub fn is_answered(&self) -> bool {
        match self.answer {
            Answer::None => false,
            Answer::Begun { .. } | Answer::Chunked | Answer::Framed(_) => true,
            Answer::WebSocket | Answer::SocketIo => true,
        }
    }

    /// Whether messages flow: it is a WebSocket that is open, or a client of socket.io.
    pub fn is_open(&self) -> bool {
        match self.answer {
            Answer::WebSocket | Answer::SocketIo => true,
            Answer::None | Answer::Begun { .. } | Answer::Chunked | Answer::Framed(_) => false,
        }
    }

    pub fn bonds(&mut self) -> &mut Bonds {
        self.bonds.get_or_insert_default()
    }

    pub fn membership(&self, group: usize) -> Option<&Membership> {
        self.bonds.as_ref()?.memberships.iter().find(|membership| membership.group == group)
    }

    pub fn node(&self) -> Option<usize> {
        match self.server {
            Some(Server::Node(node)) => Some(node),
            Some(Server::App(_) | Server::Front) | None => None,
        }
    }

    pub fn socketio(&self) -> Option<&SocketIo> {
        match &self.part {
            Part::Client(client) => Some(client),
            Part::Stranger | Part::Errand(_) => None,
        }
    }

    pub fn socketio_mut(&mut self) -> Option<&mut SocketIo> {
        match &mut self.part {
            Part::Client(client) => Some(client),
            Part::Stranger | Part::Errand(_) => None,
        }
    }
}

/// All sessions. A sid is: shard, slot (4 bytes), generation (3 bytes), 8 random bytes.
#[derive(Default)]
pub(super) struct Sessions {
    /// Each in a place of its own, so that what a crowd took goes back even if one of it stays.
    slab: Slab<Box<Session>>,
    /// The last generation of each slot.
    generations: Vec<u32>,
}

/// What became of a sid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Here(usize),
    /// It was given out once, and has ended.
    Ended,
    Unknown,
}

const SHARD: u8 = 0;

impl Sessions {
    /// Draws the id of the next session to be inserted.
    pub fn next_sid(&mut self, entropy: &mut dyn Entropy) -> Sid {
        let slot = self.slab.vacant_key();
        if self.generations.len() <= slot {
            self.generations.resize(slot + 1, 0);
        }
        let generation = (self.generations[slot] + 1) & 0xff_ffff;
        self.generations[slot] = generation;
        let mut sid = [0; Sid::LEN];
        sid[0] = SHARD;
        sid[1..5].copy_from_slice(&(slot as u32).to_be_bytes());
        sid[5..8].copy_from_slice(&generation.to_be_bytes()[1..]);
        sid[8..].copy_from_slice(&entropy.next_u64().to_le_bytes());
        Sid(sid)
    }

    pub fn insert(&mut self, session: Session) -> usize {
        self.slab.insert(Box::new(session))
    }

    pub fn find(&self, sid: Sid) -> Found {
        let word = |range: core::ops::Range<usize>| sid.0[range].iter().fold(0, |word, b| word << 8 | u32::from(*b));
        let (slot, generation) = (word(1..5) as usize, word(5..8));
        let live = self.slab.get(slot);
        if live.is_some_and(|session| session.sid == sid) {
            return Found::Here(slot);
        }
        match self.generations.get(slot) {
            // Whoever guesses at a session that is open was never given an id of its slot and generation.
            Some(&last) if live.is_some() && generation == last => Found::Unknown,
            Some(&last) if sid.0[0] == SHARD && generation > 0 && generation <= last => Found::Ended,
            _ => Found::Unknown,
        }
    }

    pub fn remove(&mut self, slot: usize) -> Option<Box<Session>> {
        self.slab.try_remove(slot)
    }

    pub fn at(&self, slot: usize) -> Option<&Session> {
        self.slab.get(slot).map(|session| &**session)
    }

    pub fn at_mut(&mut self, slot: usize) -> Option<&mut Session> {
        self.slab.get_mut(slot).map(|session| &mut **session)
    }

    pub fn len(&self) -> usize {
        self.slab.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = (usize, &Session)> {
        self.slab.iter().map(|(slot, session)| (slot, &**session))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SeededEntropy;

    #[test]
    fn an_id_that_was_never_given_out_is_unknown() {
        let mut sessions = Sessions::default();
        let mut entropy = SeededEntropy::from_number(1);
        let sid = sessions.next_sid(&mut entropy);
        assert_eq!(sessions.find(sid), Found::Ended, "drawn and not inserted counts as over");
        assert_eq!(sessions.find(Sid([0xff; 16])), Found::Unknown);
        assert_eq!(sessions.find(Sid([0; 16])), Found::Unknown);
    }

    #[test]
    fn small_pieces_of_a_body_are_kept_together() {
        let mut kept = Kept::default();
        for _ in 0..300 {
            kept.push(&Bytes::from_static(b"a"), 2000);
        }
        let large = Bytes::from(alloc::vec![b'b'; SHARE_MIN]);
        kept.push(&large, 2000);
        kept.push(&Bytes::from_static(b"c"), 2000);
        assert_eq!(kept.pieces().concat(), [&[b'a'; 300][..], &large, b"c"].concat());
        assert_eq!((kept.pieces().len(), kept.len), (3, 301 + SHARE_MIN));
        kept.push(&large, 2000);
        assert!(kept.lost && kept.pieces().is_empty() && kept.len == 0);
    }
}
