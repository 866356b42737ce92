//! A message for many: encoded once, shared by all.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

use super::frame::{HEADER_MAX, Opcode};
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

/// A message encoded once for any number of server connections.
#[derive(Clone, Debug)]
pub struct Prepared {
    kind: Kind,
    /// Header and payload.
    frame: Bytes,
    header: usize,
}

impl Prepared {
    /// Encodes `message`, whose payload, if it is text, must be UTF-8: see to that once, it is not looked at again.
    pub fn new(message: &Message) -> Self {
        debug_assert!(
            message.kind == Kind::Binary || simdutf8::basic::from_utf8(&message.payload).is_ok(),
            "text is UTF-8"
        );
        let opcode = match message.kind {
            Kind::Text => Opcode::Text,
            Kind::Binary => Opcode::Binary,
        };
        let mut frame = Vec::with_capacity(HEADER_MAX + message.payload.len());
        write_frame(&mut frame, opcode, false, &message.payload, None);
        let header = frame.len() - message.payload.len();
        Self { kind: message.kind, frame: frame.into(), header }
    }

    /// As [`new`](Self::new); for as long as any of the bytes wait anywhere, `ledger` counts them. Small messages are
    /// copied wherever they wait and not counted.
    pub fn with_ledger(message: &Message, ledger: &Arc<AtomicUsize>) -> Self {
        let mut prepared = Self::new(message);
        if prepared.frame.len() >= SHARE_MIN {
            ledger.fetch_add(prepared.frame.len(), Ordering::Relaxed);
            prepared.frame = Bytes::from_owner(Counted { bytes: prepared.frame, ledger: Arc::clone(ledger) });
        }
        prepared
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
}
