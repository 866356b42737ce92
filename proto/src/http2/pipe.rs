//! The memory between this module and the protocol's machine: what it reads and writes instead of a socket.
//!
//! Frames that leave are looked at on their way: they tell of what the machine did by itself.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::convert::Infallible;
use core::pin::Pin;
use core::task::{Context, Poll};
use std::io::{self, IoSlice};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::frame::{DATA, END_STREAM, ErrorCode, Frames, GOAWAY, HEADERS, RST_STREAM, Seen};
use crate::rope::{Rope, SHARE_MIN};

/// Bytes waiting to be written at which the machine has to wait too. Whole frames are taken, so there may be one more
/// than this; and whatever is cut off here ends with a frame.
pub(super) const OUT_HIGH: usize = 64 * 1024;

/// Large pieces that are remembered at a time.
const LENT_MAX: usize = 64;

/// What the protocol's machine did by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Note {
    /// A head went out that ends its stream.
    Answered(u32),
    /// A stream was reset.
    Reset(u32, ErrorCode),
    /// The connection ends.
    GoAway(ErrorCode),
}

/// Both ends of the pipe.
pub(super) struct Ends {
    /// Bytes from the peer, of which the machine has read `read`.
    inbound: Vec<u8>,
    read: usize,
    /// Lent for the time of a poll.
    pub(super) outbound: Rope,
    pub(super) notes: Vec<Note>,
    /// Large pieces of bodies that the machine was given, and has not written to their ends.
    lent: VecDeque<Bytes>,
    /// DATA frames that went out.
    pub(super) data_frames: u32,
    /// The machine waits until there is room.
    pub(super) is_full: bool,
    frames: Frames,
}

/// The machine's handle of the pipe; its clone is ours.
#[derive(Clone)]
pub(super) struct Pipe(Arc<Mutex<Ends>>);

impl Pipe {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(Ends {
            inbound: Vec::new(),
            read: 0,
            outbound: Rope::new(),
            notes: Vec::new(),
            lent: VecDeque::new(),
            data_frames: 0,
            is_full: false,
            frames: Frames::new(),
        })))
    }

    /// The ends; nobody panics while holding them.
    pub(super) fn ends(&self) -> MutexGuard<'_, Ends> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ends {
    /// What the machine is to read: append to it.
    pub(super) fn inbound(&mut self) -> &mut Vec<u8> {
        &mut self.inbound
    }

    /// Bytes that the machine has not read yet.
    pub(super) fn unread(&self) -> usize {
        self.inbound.len() - self.read
    }

    fn write(&mut self, slice: &[u8]) {
        let (notes, data_frames) = (&mut self.notes, &mut self.data_frames);
        let Ok(()) = self.frames.scan(slice, |seen| {
            match seen {
                Seen::Head(head, _) if head.kind == DATA => *data_frames += 1,
                Seen::Head(head, _) if head.kind == HEADERS && head.has(END_STREAM) => {
                    notes.push(Note::Answered(head.stream));
                }
                Seen::Payload(head, &[a, b, c, d]) if head.kind == RST_STREAM => {
                    notes.push(Note::Reset(head.stream, ErrorCode(u32::from_be_bytes([a, b, c, d]))));
                }
                Seen::Payload(head, &[_, _, _, _, a, b, c, d]) if head.kind == GOAWAY => {
                    notes.push(Note::GoAway(ErrorCode(u32::from_be_bytes([a, b, c, d]))));
                }
                Seen::Head(..) | Seen::Payload(..) => {}
            }
            Ok::<(), Infallible>(())
        });
        match self.lent_piece(slice) {
            Some(piece) => self.outbound.push(piece),
            None => self.outbound.push_copy(slice),
        }
    }

    /// Remembers a piece of a body that the machine is given. It shows what it writes as slices of memory; where that is
    /// the memory of such a piece, it is shared, not copied.
    pub(super) fn lend(&mut self, piece: &Bytes) {
        if piece.len() >= SHARE_MIN {
            if self.lent.len() == LENT_MAX {
                self.lent.pop_front();
            }
            self.lent.push_back(piece.clone());
        }
    }

    /// Forgets all pieces: nothing waits in the machine.
    pub(super) fn take_back(&mut self) {
        self.lent = VecDeque::new();
    }

    /// The part of a piece whose memory this is.
    fn lent_piece(&mut self, slice: &[u8]) -> Option<Bytes> {
        if slice.len() < SHARE_MIN {
            return None;
        }
        let slice_at = slice.as_ptr_range();
        let at = self.lent.iter().position(|piece| {
            let piece_at = piece.as_ptr_range();
            piece_at.start <= slice_at.start && slice_at.end <= piece_at.end
        })?;
        let piece = &self.lent[at];
        let (part, is_last) = (piece.slice_ref(slice), slice_at.end == piece.as_ptr_range().end);
        if is_last {
            self.lent.remove(at);
        }
        Some(part)
    }
}

impl AsyncRead for Pipe {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut ends = self.ends();
        let n = ends.unread().min(into.remaining());
        if n == 0 {
            return Poll::Pending;
        }
        let start = ends.read;
        into.put_slice(&ends.inbound[start..start + n]);
        ends.read += n;
        if ends.read == ends.inbound.len() {
            ends.read = 0;
            ends.inbound = Vec::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(data)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut ends = self.ends();
        if ends.outbound.len() >= OUT_HIGH {
            ends.is_full = true;
            return Poll::Pending;
        }
        let mut written = 0;
        for slice in slices {
            ends.write(slice);
            written += slice.len();
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
