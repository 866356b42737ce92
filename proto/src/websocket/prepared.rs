//! A message for many: encoded once, shared by all.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

use super::deflate::encode_alone;
use super::frame::HEADER_MAX;
use super::send::write_frame;
use super::{Kind, Message};
use crate::rope::SHARE_MIN;

/// Bytes that a ledger counts until the last of them is dropped.
struct Counted {
    bytes: Bytes,
    ledger: Arc<AtomicUsize>,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.ledger.fetch_sub(self.bytes.len(), Ordering::Relaxed);
    }
}

/// Lets a ledger count a frame that is shared wherever it waits.
fn counted(frame: Bytes, ledger: Option<&Arc<AtomicUsize>>) -> Bytes {
    match ledger {
        Some(ledger) if frame.len() >= SHARE_MIN => {
            ledger.fetch_add(frame.len(), Ordering::Relaxed);
            Bytes::from_owner(Counted { bytes: frame, ledger: Arc::clone(ledger) })
        }
        Some(_) | None => frame,
    }
}

/// A message encoded once for any number of server connections.
#[derive(Clone, Debug)]
pub struct Prepared {
    kind: Kind,
    /// Header and payload.
    frame: Bytes,
    header: usize,
    /// The same, compressed, by the size of the window.
    compressed: Vec<(u8, Bytes)>,
    ledger: Option<Arc<AtomicUsize>>,
}

impl Prepared {
    /// Encodes `message`, whose payload, if it is text, must be UTF-8: see to that once, it is not looked at again.
    pub fn new(message: &Message) -> Self {
        debug_assert!(
            message.kind == Kind::Binary || simdutf8::basic::from_utf8(&message.payload).is_ok(),
            "text is UTF-8"
        );
        let mut frame = Vec::with_capacity(HEADER_MAX + message.payload.len());
        write_frame(&mut frame, message.kind.opcode(), false, &message.payload, None);
        let header = frame.len() - message.payload.len();
        Self { kind: message.kind, frame: frame.into(), header, compressed: Vec::new(), ledger: None }
    }

    /// As [`new`](Self::new); for as long as any of the bytes wait anywhere, `ledger` counts them. Small messages are
    /// copied wherever they wait and not counted.
    pub fn with_ledger(message: &Message, ledger: &Arc<AtomicUsize>) -> Self {
        let prepared = Self::new(message);
        let frame = counted(prepared.frame, Some(ledger));
        Self { frame, ledger: Some(Arc::clone(ledger)), ..prepared }
    }

    /// Bytes of the payload.
    pub fn payload_len(&self) -> usize {
        self.frame.len() - self.header
    }

    /// The message.
    pub fn message(&self) -> Message {
        Message { kind: self.kind, payload: self.frame.slice(self.header..) }
    }

    pub(super) fn payload(&self) -> &[u8] {
        &self.frame[self.header..]
    }

    /// The message as a frame that is neither compressed nor masked.
    pub(super) fn frame(&self) -> &Bytes {
        &self.frame
    }

    /// The message as a frame that is compressed by itself.
    pub(super) fn compressed(&mut self, window_bits: u8) -> &Bytes {
        let known = self.compressed.iter().position(|(bits, _)| *bits == window_bits);
        let index = known.unwrap_or_else(|| {
            let payload = encode_alone(self.payload(), window_bits);
            let mut frame = Vec::with_capacity(HEADER_MAX + payload.len());
            write_frame(&mut frame, self.kind.opcode(), true, &payload, None);
            self.compressed.push((window_bits, counted(frame.into(), self.ledger.as_ref())));
            self.compressed.len() - 1
        });
        &self.compressed[index].1
    }
}
