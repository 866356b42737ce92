//! Packets of socket.io 3 to 5, as clients write them, and as nodes do.
//!
//! ```text
//! a client's       KIND [COUNT-] [NAMESPACE,] [ID] [JSON]      the attachments follow, each a message of its own
//! a node's              [SIZES-] [NAMESPACE,] [ID] [JSON] [ATTACHMENTS]
//! a node's event                 [NAMESPACE,] [ID] {"name":NAME,"args":[...]}
//! ```
//!
//! What both have is kept as one slice of what came in, so that a packet without attachments goes from the one to the
//! other without a copy, and out to clients with one.

mod node;
#[cfg(test)]
mod tests;

use alloc::string::ToString;
use alloc::vec::Vec;

use bytes::Bytes;

use super::{Generation, Settings, json, legacy, namespace};
use crate::error::Cause;
use crate::websocket::{Kind, Message};

/// Names of events that socket.io keeps for itself: its own clients and servers take them from nobody.
const RESERVED: [&str; 6] =
    ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"];

/// What a packet says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PacketKind {
    /// A client asks for a namespace; sent back, it has it. Its JSON is an object, or there is none.
    Connect,
    /// One side leaves a namespace. Clients are told no more than that; for nodes its JSON is a string, or there is none.
    Disconnect,
    /// An event: its JSON is an array, its name first.
    Event,
    /// The answer to an event that has an id: its JSON is an array.
    Ack,
    /// A client does not get the namespace it asked for: its JSON is an object or a string, or there is none.
    Refuse,
}

impl PacketKind {
    /// The digit that socket.io writes for it.
    fn digit(self, has_attachments: bool) -> u8 {
        match self {
            Self::Connect => b'0',
            Self::Disconnect => b'1',
            Self::Event if has_attachments => b'5',
            Self::Event => b'2',
            Self::Ack if has_attachments => b'6',
            Self::Ack => b'3',
            Self::Refuse => b'4',
        }
    }
}

/// What a message is made of, where it is not said by an event: in generation One, and by nodes (`socket.io/msg`,
/// `socket.io/json`). Elsewhere it is an event of the name `message`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Content {
    /// Text.
    Text,
    /// Any value of JSON.
    Json,
}

/// A packet, with all its attachments. Its text is `[NAMESPACE,][ID]JSON`: as socket.io writes it behind the number of
/// the kind and the count of attachments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    kind: PacketKind,
    /// Not where the main namespace is named, and always with the comma where another one is.
    text: Bytes,
    /// Bytes of the namespace in the text; zero for the main one.
    namespace_len: u32,
    json_at: u32,
    id: Option<u64>,
    content: Option<Content>,
    attachments: Vec<Bytes>,
}

impl Packet {
    /// Makes one of its parts. The namespace begins with `/` and has at most 128 bytes, no comma and no control
    /// characters; `/` alone is the main one. The JSON is one value, and checked.
    pub fn new(
        kind: PacketKind,
        namespace: &str,
        id: Option<u64>,
        json: &[u8],
        attachments: Vec<Bytes>,
        settings: &Settings,
    ) -> Result<Self, Cause> {
        if !namespace.starts_with('/') || namespace.contains(',') {
            return Err(Cause::PacketMalformed);
        }
        check_utf8(json)?;
        let mut text = Vec::with_capacity(namespace.len() + 1 + DIGITS_MAX + json.len());
        write_address(&mut text, namespace, id);
        text.extend_from_slice(json);
        let mut packet = Self::read(kind, text.into(), attachments.len(), settings)?;
        // What JSON cannot begin with would have become part of what stands in front of it.
        if packet.json_bytes().len() != json.len() {
            return Err(Cause::JsonMalformed);
        }
        packet.attachments = attachments;
        Ok(packet)
    }

    /// Reads what stands behind the type of Engine.IO, in UTF-8: `2/chat,12["a"]`. Also tells how many attachments are
    /// still to come. A disconnect has no JSON.
    pub(super) fn decode(generation: Generation, text: Bytes, settings: &Settings) -> Result<(Self, usize), Cause> {
        debug_assert!(core::str::from_utf8(&text).is_ok(), "the transport has seen to that");
        let (kind, is_binary) = match text.first() {
            Some(b'0') => (PacketKind::Connect, false),
            Some(b'1') => (PacketKind::Disconnect, false),
            Some(b'2') => (PacketKind::Event, false),
            Some(b'3') => (PacketKind::Ack, false),
            Some(b'4') => (PacketKind::Refuse, false),
            Some(b'5') => (PacketKind::Event, true),
            Some(b'6') => (PacketKind::Ack, true),
            Some(_) | None => return Err(Cause::PacketMalformed),
        };
        let (mut at, mut count) = (1, 0);
        if is_binary {
            let (number, digits) = leading_number(&text[1..]);
            at = 1 + digits + 1;
            count = match number {
                Some(number) if text.get(at - 1) == Some(&b'-') => usize::try_from(number).unwrap_or(usize::MAX),
                Some(_) | None => return Err(Cause::PacketMalformed),
            };
        }
        let mut text = text.slice(at..);
        if kind == PacketKind::Connect && generation != Generation::Five {
            text = namespace::query_to_json(text)?;
        }
        let packet = Self::read(kind, text, count, settings)?;
        if kind == PacketKind::Disconnect && packet.has_json() {
            return Err(Cause::PacketMalformed);
        }
        // A count of zero is one: such a packet has no placeholders.
        if is_binary && count == 0 {
            json::placeholders(packet.json_bytes(), 0)?;
        }
        Ok((packet, count))
    }

    /// Adds the next attachment.
    pub(super) fn attach(&mut self, attachment: Bytes) {
        self.attachments.push(attachment);
    }

    /// Reads the text of a packet with `count` attachments, which are not there yet.
    fn read(kind: PacketKind, text: Bytes, count: usize, settings: &Settings) -> Result<Self, Cause> {
        let packet = Self::read_address(kind, text)?;
        packet.check(count, settings)?;
        Ok(packet)
    }

    /// Reads what stands in front of the JSON.
    fn read_address(kind: PacketKind, text: Bytes) -> Result<Self, Cause> {
        let text = namespace::normalize(text)?;
        let namespace_len = namespace::length(&text);
        let id_at = if namespace_len == 0 { 0 } else { namespace_len + 1 };
        let (id, digits) = leading_number(&text[id_at..]);
        let json_at = u32::try_from(id_at + digits).map_err(|_| Cause::PacketMalformed)?;
        if digits > 0 && id.is_none() {
            return Err(Cause::PacketMalformed);
        }
        Ok(Self {
            kind,
            text,
            namespace_len: namespace_len as u32,
            json_at,
            id,
            content: None,
            attachments: Vec::new(),
        })
    }

    /// Checks the JSON, and what must be in a packet of this kind with `count` attachments.
    fn check(&self, count: usize, settings: &Settings) -> Result<(), Cause> {
        let json = self.json_bytes();
        if !json.is_empty() {
            json::check(json, settings.depth)?;
        }
        let (has_id, first) = (self.id.is_some(), json.first());
        let (id_fits, json_fits) = match self.kind {
            PacketKind::Connect => (!has_id, matches!(first, None | Some(b'{'))),
            PacketKind::Disconnect => (!has_id, matches!(first, None | Some(b'"'))),
            PacketKind::Event => (true, json::elements(json).next().is_some_and(may_be_name)),
            PacketKind::Ack => (has_id, first == Some(&b'[')),
            PacketKind::Refuse => (!has_id, matches!(first, None | Some(b'{' | b'"'))),
        };
        if !id_fits {
            return Err(Cause::PacketMalformed);
        }
        if !json_fits {
            return Err(Cause::JsonMalformed);
        }
        if count == 0 {
            return Ok(());
        }
        let may_have = matches!(self.kind, PacketKind::Event | PacketKind::Ack) && count <= settings.attachments;
        if !may_have {
            return Err(Cause::AttachmentsWrong);
        }
        json::placeholders(json, count).map(|_| ())
    }

    /// Writes its text as a message of a WebSocket, of the generations Five and Two with the type of Engine.IO in front;
    /// its attachments follow it
    /// ([`encode_attachment`](super::payload::encode_attachment)). With `offset`, of an event, as a further last argument. Of
    /// generation One everything is in it.
    ///
    /// What each generation has no words for is left out: the reason of a disconnect, and in Two what a refusal says
    /// beside its message.
    pub(super) fn encode_message(&self, generation: Generation, offset: Option<u64>) -> Message {
        if generation == Generation::One {
            return legacy::encode(self);
        }
        let count = self.attachments.len();
        let mut out = Vec::with_capacity(2 + DIGITS_MAX + self.text.len() + DIGITS_MAX + 3);
        out.extend([b'4', self.kind.digit(count > 0)]);
        if count > 0 {
            out.extend_from_slice(count.to_string().as_bytes());
            out.push(b'-');
        }
        let (address, json) = self.text.split_at(self.json_at as usize);
        match (self.kind, generation) {
            (PacketKind::Event, _) if offset.is_some() => {
                out.extend_from_slice(address);
                out.extend_from_slice(json.strip_suffix(b"]").unwrap_or(json));
                out.extend_from_slice(b",\"");
                out.extend_from_slice(offset.unwrap_or_default().to_string().as_bytes());
                out.extend_from_slice(b"\"]");
            }
            (PacketKind::Disconnect, _) => out.extend_from_slice(address),
            (PacketKind::Connect, Generation::Two) => {
                namespace::write_with_query(&mut out, self.namespace(), json);
                out.extend_from_slice(if out.len() > 2 { b"," } else { b"" });
            }
            (PacketKind::Refuse, _) => {
                out.extend_from_slice(address);
                write_refusal(&mut out, generation, json);
            }
            (PacketKind::Connect | PacketKind::Event | PacketKind::Ack, _) => out.extend_from_slice(&self.text),
        }
        Message { kind: Kind::Text, payload: out.into() }
    }

    /// What it says.
    pub fn kind(&self) -> PacketKind {
        self.kind
    }

    /// The namespace; `/` is the main one.
    pub fn namespace(&self) -> &str {
        match self.namespace_len {
            0 => "/",
            len => core::str::from_utf8(&self.text[..len as usize]).expect("checked when it was made"),
        }
    }

    /// The number that its answer carries, or that it answers.
    pub fn id(&self) -> Option<u64> {
        self.id
    }

    /// The JSON; empty where the packet has none.
    pub fn json(&self) -> Bytes {
        self.text.slice(self.json_at as usize..)
    }

    /// The elements of its JSON, if that is an array: of an event the name first.
    pub fn elements(&self) -> impl Iterator<Item = &[u8]> {
        json::elements(self.json_bytes())
    }

    /// Whether it is a message that is said without an event, and what of.
    pub fn content(&self) -> Option<Content> {
        self.content
    }

    /// What stands in the places of `{"_placeholder":true,"num":N}`: each once, in any order.
    pub fn attachments(&self) -> &[Bytes] {
        &self.attachments
    }

    pub(super) fn json_bytes(&self) -> &[u8] {
        &self.text[self.json_at as usize..]
    }

    fn has_json(&self) -> bool {
        self.text.len() > self.json_at as usize
    }

    /// Bytes that it holds.
    pub fn held(&self) -> usize {
        self.text.len() + self.attachments.iter().map(Bytes::len).sum::<usize>()
    }
}

/// Digits of the largest number.
const DIGITS_MAX: usize = 20;

/// Writes what stands in front of the JSON.
fn write_address(out: &mut Vec<u8>, namespace: &str, id: Option<u64>) {
    if namespace != "/" {
        out.extend_from_slice(namespace.as_bytes());
        out.push(b',');
    }
    if let Some(id) = id {
        out.extend_from_slice(id.to_string().as_bytes());
    }
}

/// Writes what a refusal says as clients of this generation want it: Five an object with a message, Two the message.
fn write_refusal(out: &mut Vec<u8>, generation: Generation, json: &[u8]) {
    let json = if json.is_empty() { br#""Refused""# } else { json };
    let is_object = json.first() == Some(&b'{');
    if generation == Generation::Five && !is_object {
        out.extend_from_slice(br#"{"message":"#);
        out.extend_from_slice(json);
        out.push(b'}');
    } else if generation == Generation::Two && is_object {
        out.extend_from_slice(json::member(json, "message").unwrap_or(json));
    } else {
        out.extend_from_slice(json);
    }
}

/// The number that a text begins with and its digits; `None` if there is none, or it is too large, or it begins with a
/// zero that need not be there.
pub(super) fn leading_number(text: &[u8]) -> (Option<u64>, usize) {
    let digits = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let add = |number: u64, digit: &u8| number.checked_mul(10)?.checked_add(u64::from(digit - b'0'));
    let number = text[..digits].iter().try_fold(0, add);
    let is_sound = digits == 1 || digits > 1 && text[0] != b'0';
    (number.filter(|_| is_sound), digits)
}

/// Whether an event can have this name: a number, or a string that is not reserved.
fn may_be_name(name: &[u8]) -> bool {
    match name.first() {
        Some(b'"') => !RESERVED.iter().any(|reserved| json::is_string(name, reserved)),
        Some(b'-' | b'0'..=b'9') => true,
        Some(_) | None => false,
    }
}

fn check_utf8(text: &[u8]) -> Result<(), Cause> {
    simdutf8::basic::from_utf8(text).map(|_| ()).map_err(|_| Cause::Utf8Invalid)
}
