//! One stream: a request that comes in and the answer that goes out.
//!
//! ```text
//! answer:  Waiting -> Length | Open -> Complete
//! ```
//!
//! What is sent waits here until the client's window and the protocol's machine have room for it.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::task::Wake;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::{Context, Poll, Waker};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use h2::server::{SendPushedResponse, SendResponse};
use h2::{Reason, RecvStream, SendStream};

use super::frame::ErrorCode;
use super::pipe::Ends;
use crate::http::AddedField;
use crate::rope;
use crate::time::Instant;

/// Bytes for which room is asked at a time, so that streams take turns when the connection's window is small.
const SHARE: usize = 16 * 1024;

/// Streams that can go on.
#[derive(Default)]
pub(super) struct Ready(Mutex<Vec<u32>>);

impl Ready {
    /// Appends the streams that can go on to `into`.
    pub(super) fn take(&self, into: &mut Vec<u32>) {
        into.append(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Wakes one stream: made when it first has to wait, which most never do.
struct Signal {
    stream: u32,
    is_given: AtomicBool,
    ready: Arc<Ready>,
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.is_given.swap(true, Ordering::Relaxed) {
            self.ready.0.lock().unwrap_or_else(PoisonError::into_inner).push(self.stream);
        }
    }
}

/// Where a response's head goes.
pub(super) enum Responder {
    /// To a request of the client's.
    Asked(SendResponse<Bytes>),
    /// To a request of our own.
    Pushed(SendPushedResponse<Bytes>),
}

impl Responder {
    fn send(&mut self, head: ::http::Response<()>, is_last: bool) -> Result<SendStream<Bytes>, h2::Error> {
        match self {
            Self::Asked(asked) => asked.send_response(head, is_last),
            Self::Pushed(pushed) => pushed.send_response(head, is_last),
        }
    }

    fn reset(&mut self, reason: Reason) {
        match self {
            Self::Asked(asked) => asked.send_reset(reason),
            Self::Pushed(pushed) => pushed.send_reset(reason),
        }
    }
}

/// How far the answer has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sending {
    /// Its head is to come.
    Waiting,
    /// A body of which this many bytes are to come.
    Length(u64),
    /// A body whose end the sender tells.
    Open,
    /// Nothing more may be sent; something may still wait.
    Complete,
}

/// What has come of handing over what waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Handed {
    /// Everything, and the message is complete.
    End,
    /// Everything there is.
    All,
    /// Not all: the window is shut.
    Waits,
    /// Not all: it is others' turn.
    More,
    /// The stream is gone.
    Broken,
}

/// What reading a piece of a body gave.
pub(super) enum Read {
    Piece(Bytes),
    /// The body is complete; whether trailers followed it.
    End {
        trailers: bool,
    },
    Nothing,
    /// The stream is gone: reset by the client, or with this code by the protocol's machine.
    Broken(Option<ErrorCode>),
}

pub(super) struct Stream {
    pub(super) id: u32,
    responder: Responder,
    sender: Option<SendStream<Bytes>>,
    /// The request's body, as long as there is something to read or to release.
    body: Option<RecvStream>,
    is_receiving: bool,
    signal: Option<Arc<Signal>>,
    pub(super) sending: Sending,
    /// For the final response.
    pub(super) added: Option<Arc<AddedField>>,
    queue: VecDeque<Bytes>,
    queued: usize,
    end_handed: bool,
    /// It stands in the list of those that can go on.
    pub(super) is_listed: bool,
    /// Bytes that waited and have left, not reported yet.
    pub(super) freed: usize,
    /// Bytes of the body that were given out and not released.
    pub(super) unreleased: usize,
    /// Body bytes that have come.
    pub(super) body_read: u64,
    /// Body bytes that may still come.
    pub(super) body_room: u64,
    pub(super) waits_for_continue: bool,
    pub(super) is_head: bool,
    pub(super) wants_html: bool,
    /// An extended CONNECT: both bodies are tunnels.
    pub(super) is_tunnel: bool,
    /// For the next piece of the request's body.
    pub(super) body_deadline: Option<Instant>,
    /// For the window to let something through.
    pub(super) stall_deadline: Option<Instant>,
}

impl Stream {
    pub(super) fn new(id: u32, responder: Responder, body: Option<RecvStream>) -> Self {
        Self {
            id,
            responder,
            sender: None,
            is_receiving: body.is_some(),
            body,
            signal: None,
            sending: Sending::Waiting,
            added: None,
            queue: VecDeque::new(),
            queued: 0,
            end_handed: false,
            is_listed: false,
            freed: 0,
            unreleased: 0,
            body_read: 0,
            body_room: u64::MAX,
            waits_for_continue: false,
            is_head: false,
            wants_html: false,
            is_tunnel: false,
            body_deadline: None,
            stall_deadline: None,
        }
    }

    /// Bytes that wait for the client's window.
    pub(super) fn queued(&self) -> usize {
        self.queued
    }

    /// Whether more of the request is to come.
    pub(super) fn is_receiving(&self) -> bool {
        self.is_receiving
    }

    /// Whether something of the answer has still to be handed over.
    pub(super) fn has_to_send(&self) -> bool {
        self.queued > 0 || (self.sending == Sending::Complete && !self.end_handed)
    }

    pub(super) fn responder(&mut self) -> &mut Responder {
        &mut self.responder
    }

    /// Hands the head over; with `is_last` the answer is complete.
    pub(super) fn send_head(&mut self, head: ::http::Response<()>, is_last: bool) -> Result<(), h2::Error> {
        let sender = self.responder.send(head, is_last)?;
        if is_last {
            self.end_handed = true;
        } else {
            self.sender = Some(sender);
        }
        Ok(())
    }

    pub(super) fn send_interim(&mut self, head: ::http::Response<()>) -> Result<(), h2::Error> {
        match &mut self.responder {
            Responder::Asked(asked) => asked.send_informational(head),
            // Nobody asked, so nobody waits.
            Responder::Pushed(_) => Ok(()),
        }
    }

    pub(super) fn push(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.queued += piece.len();
            rope::gather(&mut self.queue, piece);
        }
    }

    /// Ends the stream at once.
    pub(super) fn reset(&mut self, code: ErrorCode) {
        self.responder.reset(Reason::from(code.0));
    }

    /// Gives the window for `n` bytes of the body back.
    pub(super) fn release(&mut self, n: usize) {
        let n = n.min(self.unreleased);
        self.unreleased -= n;
        if let Some(body) = &mut self.body {
            // It fails for a stream that is gone, whose window is nobody's any more.
            let _ = body.flow_control().release_capacity(n);
            if !self.is_receiving && self.unreleased == 0 {
                self.body = None;
            }
        }
    }

    /// Hands over what waits, as far as the window lets it, and of a lot only a share if it `takes_turns`.
    pub(super) fn hand_over(&mut self, takes_turns: bool, ready: &Arc<Ready>, pipe: &mut Ends) -> Handed {
        let mut share = if takes_turns { SHARE } else { usize::MAX };
        let Some(sender) = &mut self.sender else { return if self.end_handed { Handed::End } else { Handed::All } };
        while let Some(piece) = self.queue.front_mut() {
            if share == 0 {
                return Handed::More;
            }
            sender.reserve_capacity(self.queued.min(SHARE));
            let room = sender.capacity().min(share);
            if room == 0 {
                let signal = signal(&mut self.signal, self.id, ready);
                match sender.poll_capacity(&mut Context::from_waker(&Waker::from(signal))) {
                    Poll::Pending => return Handed::Waits,
                    Poll::Ready(Some(Ok(_))) => continue,
                    Poll::Ready(Some(Err(_)) | None) => return Handed::Broken,
                }
            }
            let piece = match piece.len() > room {
                true => piece.split_to(room),
                false => self.queue.pop_front().unwrap_or_default(),
            };
            self.queued -= piece.len();
            share -= piece.len();
            let is_last = self.queue.is_empty() && self.sending == Sending::Complete;
            self.end_handed |= is_last;
            pipe.lend(&piece);
            if sender.send_data(piece, is_last).is_err() {
                return Handed::Broken;
            }
        }
        if self.sending != Sending::Complete {
            return Handed::All;
        }
        if !self.end_handed {
            self.end_handed = true;
            if sender.send_data(Bytes::new(), true).is_err() {
                return Handed::Broken;
            }
        }
        Handed::End
    }

    /// Reads a piece of the request's body.
    pub(super) fn read(&mut self, ready: &Arc<Ready>) -> Read {
        let Some(body) = self.body.as_mut().filter(|_| self.is_receiving) else { return Read::Nothing };
        let waker = Waker::from(signal(&mut self.signal, self.id, ready));
        let mut context = Context::from_waker(&waker);
        match body.poll_data(&mut context) {
            Poll::Ready(Some(Ok(piece))) => {
                self.unreleased += piece.len();
                Read::Piece(piece)
            }
            Poll::Ready(Some(Err(error))) => Read::Broken(code_of(&error)),
            Poll::Pending => Read::Nothing,
            Poll::Ready(None) => match body.poll_trailers(&mut context) {
                Poll::Ready(Ok(trailers)) => Read::End { trailers: trailers.is_some() },
                Poll::Ready(Err(error)) => Read::Broken(code_of(&error)),
                Poll::Pending => Read::Nothing,
            },
        }
    }

    /// The request is complete. What was not released of the connection's window is when the stream ends.
    pub(super) fn finish_body(&mut self) {
        self.is_receiving = false;
        self.body_deadline = None;
        if self.unreleased == 0 {
            self.body = None;
        }
    }

    /// The stream is looked at: the next thing that happens to it gives a signal again.
    pub(super) fn unlist(&mut self) {
        self.is_listed = false;
        if let Some(signal) = &self.signal {
            signal.is_given.store(false, Ordering::Relaxed);
        }
    }
}

/// The code with which the protocol's machine ended a stream; none if it was the client's doing.
fn code_of(error: &h2::Error) -> Option<ErrorCode> {
    error.reason().filter(|_| error.is_library()).map(|reason| ErrorCode(reason.into()))
}

fn signal(slot: &mut Option<Arc<Signal>>, stream: u32, ready: &Arc<Ready>) -> Arc<Signal> {
    let signal = slot
        .get_or_insert_with(|| Arc::new(Signal { stream, is_given: AtomicBool::new(false), ready: Arc::clone(ready) }));
    Arc::clone(signal)
}
