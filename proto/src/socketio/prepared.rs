//! A packet for many: encoded once for each generation.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::AtomicUsize;

use super::payload::encode_attachment;
use super::{Generation, Packet, PacketKind};
use crate::websocket::{self, Message};

/// A packet that goes to any number of connections, encoded when the first of a generation needs it.
pub struct Prepared {
    packet: Packet,
    offset: Option<u64>,
    ledger: Arc<AtomicUsize>,
    /// By [`Form`]; empty for those that nobody needed yet.
    forms: [Vec<websocket::Prepared>; 4],
}

/// What is encoded by itself. Without attachments the generations Five and Two have the same bytes.
#[derive(Clone, Copy)]
enum Form {
    Five,
    Recoverable,
    Two,
    One,
}

impl Prepared {
    /// `offset` is what clients that may come back are to name as the last that they have seen; only events without an
    /// id have one. For as long as any of the bytes wait anywhere, `ledger` counts them.
    pub fn new(packet: Packet, offset: u64, ledger: &Arc<AtomicUsize>) -> Self {
        let has_offset = packet.kind() == PacketKind::Event && packet.id().is_none();
        let forms = [const { Vec::new() }; 4];
        Self { packet, offset: has_offset.then_some(offset), ledger: Arc::clone(ledger), forms }
    }

    /// The packet.
    pub fn packet(&self) -> &Packet {
        &self.packet
    }

    /// What clients that may come back are to name as the last that they have seen; `None` if it has no offset.
    pub(super) fn offset(&self) -> Option<u64> {
        self.offset
    }

    /// The messages of a WebSocket that say it to a client of this generation; their payloads serve polls too.
    /// `recoverable`: with the offset, if it has one.
    pub(super) fn frames(&mut self, generation: Generation, recoverable: bool) -> &mut [websocket::Prepared] {
        let form = match generation {
            Generation::Five if recoverable && self.offset.is_some() => Form::Recoverable,
            Generation::Five => Form::Five,
            Generation::Two if self.differs() => Form::Two,
            Generation::Two => Form::Five,
            Generation::One => Form::One,
        };
        if self.forms[form as usize].is_empty() {
            self.forms[form as usize] = self.encode(form);
        }
        &mut self.forms[form as usize]
    }

    /// Whether the generations Five and Two have different bytes.
    fn differs(&self) -> bool {
        match self.packet.kind() {
            PacketKind::Event | PacketKind::Ack | PacketKind::Disconnect => !self.packet.attachments().is_empty(),
            PacketKind::Connect | PacketKind::Refuse => true,
        }
    }

    fn encode(&self, form: Form) -> Vec<websocket::Prepared> {
        let (generation, offset) = match form {
            Form::Five => (Generation::Five, None),
            Form::Recoverable => (Generation::Five, self.offset),
            Form::Two => (Generation::Two, None),
            Form::One => (Generation::One, None),
        };
        let prepared = |message: &Message| websocket::Prepared::with_ledger(message, &self.ledger);
        let attachments = match form {
            // They are in the text.
            Form::One => &[],
            Form::Five | Form::Recoverable | Form::Two => self.packet.attachments(),
        };
        let mut frames = Vec::with_capacity(1 + attachments.len());
        frames.push(prepared(&self.packet.encode_message(generation, offset)));
        frames.extend(attachments.iter().map(|attachment| prepared(&encode_attachment(generation, attachment))));
        frames
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;
    use crate::socketio::Settings;
    use crate::websocket::Kind;
    use bytes::Bytes;
    use core::sync::atomic::Ordering;

    fn prepared(
        kind: PacketKind,
        id: Option<u64>,
        json: &str,
        attachments: Vec<Bytes>,
    ) -> (Prepared, Arc<AtomicUsize>) {
        let ledger = Arc::new(AtomicUsize::new(0));
        let packet =
            Packet::new(kind, "/", id, json.as_bytes(), attachments, &Settings::new(&Limits::DEFAULT)).unwrap();
        (Prepared::new(packet, 17, &ledger), ledger)
    }

    fn texts(prepared: &mut Prepared, generation: Generation, recoverable: bool) -> Vec<(Kind, Bytes)> {
        let frames = prepared.frames(generation, recoverable).iter();
        frames.map(|frame| (frame.message().kind, frame.message().payload)).collect()
    }

    #[test]
    fn each_generation_has_its_own_bytes_and_they_are_made_once() {
        let json = r#"["a",{"_placeholder":true,"num":0}]"#;
        let (mut prepared, _) = prepared(PacketKind::Event, None, json, Vec::from([Bytes::from_static(b"\x07")]));
        assert!(prepared.forms.iter().all(|form| form.capacity() == 0));
        let text = |text: &str| (Kind::Text, Bytes::copy_from_slice(text.as_bytes()));
        let binary = |bytes: &'static [u8]| (Kind::Binary, Bytes::from_static(bytes));
        let placed = r#"451-["a",{"_placeholder":true,"num":0}"#;
        assert_eq!(texts(&mut prepared, Generation::Five, false), [text(&[placed, "]"].concat()), binary(b"\x07")]);
        assert_eq!(
            texts(&mut prepared, Generation::Five, true),
            [text(&[placed, ",\"17\"]"].concat()), binary(b"\x07")]
        );
        assert_eq!(texts(&mut prepared, Generation::Two, true), [text(&[placed, "]"].concat()), binary(b"\x04\x07")]);
        let inlined = r#"5:::{"name":"a","args":[{"base64":true,"data":"Bw=="}]}"#;
        assert_eq!(texts(&mut prepared, Generation::One, false), [text(inlined)]);
        let first = prepared.frames(Generation::Five, false)[0].message().payload.as_ptr();
        assert_eq!(prepared.frames(Generation::Five, false)[0].message().payload.as_ptr(), first);
        assert_eq!(prepared.offset(), Some(17));
    }

    #[test]
    fn without_attachments_two_generations_share_their_bytes() {
        let (mut prepared, _) = prepared(PacketKind::Event, Some(3), "[\"a\"]", Vec::new());
        let five = prepared.frames(Generation::Five, true)[0].message().payload.as_ptr();
        assert_eq!(prepared.frames(Generation::Two, false)[0].message().payload.as_ptr(), five);
        assert_eq!(prepared.offset(), None, "an event with an id has none");
    }

    #[test]
    fn what_is_said_differently_is_not_shared() {
        let (mut prepared, _) = prepared(PacketKind::Refuse, None, "\"no\"", Vec::new());
        assert_eq!(prepared.frames(Generation::Five, true)[0].message().payload, "44{\"message\":\"no\"}");
        assert_eq!(prepared.frames(Generation::Two, true)[0].message().payload, "44\"no\"");
        assert_eq!(prepared.offset(), None);
    }

    #[test]
    fn the_ledger_counts_what_is_large_while_it_lives() {
        let json = ["[\"a\",\"", &"x".repeat(5000), "\"]"].concat();
        let (mut prepared, ledger) = prepared(PacketKind::Event, None, &json, Vec::new());
        assert_eq!(ledger.load(Ordering::Relaxed), 0);
        prepared.frames(Generation::Two, false);
        assert!(ledger.load(Ordering::Relaxed) > 5000);
        drop(prepared);
        assert_eq!(ledger.load(Ordering::Relaxed), 0);
    }
}
