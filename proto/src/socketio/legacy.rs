//! Packets of generation One: `TYPE:ID[+]:ENDPOINT[:DATA]`.
//!
//! | type | | data |
//! |---|---|---|
//! | 0 | disconnect | none |
//! | 1 | connect | a query, here or behind the endpoint |
//! | 2 | heartbeat | none |
//! | 3 | message | text |
//! | 4 | message | JSON |
//! | 5 | event | `{"name":NAME,"args":[...]}` |
//! | 6 | acknowledgement | `ID`, `ID+[...]` |
//! | 7 | error | `REASON[+ADVICE]`, both numbers |
//! | 8 | nothing | none |
//!
//! An id asks for an acknowledgement: with `+` of the application, with what it says, without of the receiver at once. The
//! main namespace is the empty endpoint.

use alloc::borrow::Cow;
use alloc::string::ToString;
use alloc::vec::Vec;

use bytes::Bytes;

use super::{Content, Packet, PacketKind, Settings, namespace};
use crate::error::Cause;
use crate::websocket::{Kind, Message};

/// The text of a heartbeat.
pub(super) const HEARTBEAT: &str = "2::";

/// The text of a packet that says nothing.
pub(super) const NOOP: &str = "8::";

/// What errors say, by their numbers.
const REASONS: [&str; 3] = ["transport not supported", "client not handshaken", UNAUTHORIZED];

/// The reason for which clients have an event of its own (`connect_failed`).
const UNAUTHORIZED: &str = "unauthorized";

/// What such a packet says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Legacy {
    /// What later generations have too. A disconnect of `/` is the end of the connection; messages and JSON are events of
    /// the name `message` ([`Packet::content`]); an error is a refusal. A query becomes JSON of the packet of the kind
    /// [`Connect`](PacketKind::Connect).
    Packet {
        /// The packet; it has an id only if the application is to answer.
        packet: Packet,
        /// The id of an event that the receiver acknowledges by itself ([`encode_acknowledgement`]).
        acknowledge: Option<u64>,
    },
    /// A heartbeat.
    Heartbeat,
    /// Nothing.
    Noop,
}

/// Reads one. The text is UTF-8.
pub(super) fn decode(text: Bytes, settings: &Settings) -> Result<Legacy, Cause> {
    let mut parts = text.splitn(4, |&byte| byte == b':');
    let (Some(&[kind]), Some(id), Some(endpoint)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(Cause::PacketMalformed);
    };
    let data = parts.next().unwrap_or_default();
    let (id, wants_data) = match id.strip_suffix(b"+") {
        Some(id) => (read_id(id)?, true),
        None => (read_id(id)?, false),
    };
    let place = Place { endpoint, id: id.filter(|_| wants_data), settings };
    let packet = match kind {
        b'0' => place.packet(PacketKind::Disconnect, b"")?,
        b'1' => return decode_connect(endpoint, data, settings),
        b'2' => return Ok(Legacy::Heartbeat),
        b'3' => place.message(Content::Text, data)?,
        b'4' => place.message(Content::Json, data)?,
        b'5' => place.packet(PacketKind::Event, data)?,
        b'6' => {
            let plus = data.iter().position(|&byte| byte == b'+').unwrap_or(data.len());
            let args = data.get(plus + 1..).filter(|args| !args.is_empty()).unwrap_or(b"[]");
            Place { id: read_id(&data[..plus])?, ..place }.packet(PacketKind::Ack, args)?
        }
        b'7' => {
            let reason = data.first().and_then(|digit| REASONS.get(usize::from(digit.wrapping_sub(b'0'))));
            let said = ["{\"message\":\"", reason.copied().unwrap_or_default(), "\"}"].concat();
            place.packet(PacketKind::Refuse, said.as_bytes())?
        }
        b'8' => return Ok(Legacy::Noop),
        _ => return Err(Cause::PacketMalformed),
    };
    let acknowledge = id.filter(|_| !wants_data && packet.kind() == PacketKind::Event);
    Ok(Legacy::Packet { packet, acknowledge })
}

/// What is in front of the data.
#[derive(Clone, Copy)]
struct Place<'a> {
    endpoint: &'a [u8],
    id: Option<u64>,
    settings: &'a Settings,
}

impl Place<'_> {
    fn packet(self, kind: PacketKind, json: &[u8]) -> Result<Packet, Cause> {
        let id = match kind {
            PacketKind::Event | PacketKind::Ack => self.id,
            PacketKind::Connect | PacketKind::Disconnect | PacketKind::Refuse => None,
        };
        let namespace = self.namespace()?;
        if kind == PacketKind::Event {
            return Packet::from_object(&namespace, id, json, self.settings);
        }
        Packet::new(kind, &namespace, id, json, Vec::new(), self.settings)
    }

    fn message(self, content: Content, data: &[u8]) -> Result<Packet, Cause> {
        Packet::from_content_in(&self.namespace()?, content, self.id, data, self.settings)
    }

    /// The namespace that the endpoint is; a query behind it says nothing here.
    fn namespace(&self) -> Result<Cow<'_, str>, Cause> {
        let end = self.endpoint.iter().position(|&byte| byte == b'?').unwrap_or(self.endpoint.len());
        match core::str::from_utf8(&self.endpoint[..end]) {
            Ok("") => Ok(Cow::Borrowed("/")),
            Ok(endpoint) if endpoint.starts_with('/') => Ok(Cow::Borrowed(endpoint)),
            Ok(_) | Err(_) => Err(Cause::PacketMalformed),
        }
    }
}

/// Reads the query where it is, and makes the packet that asks for a namespace of it.
fn decode_connect(endpoint: &[u8], data: &[u8], settings: &Settings) -> Result<Legacy, Cause> {
    let mut asked = endpoint.to_vec();
    if !data.is_empty() && !endpoint.contains(&b'?') {
        asked.push(b'?');
        asked.extend_from_slice(data.strip_prefix(b"?").unwrap_or(data));
    }
    // A comma would end the namespace of a later generation.
    if asked.contains(&b',') || !matches!(asked.first(), None | Some(b'/' | b'?')) {
        return Err(Cause::PacketMalformed);
    }
    if asked.first() == Some(&b'?') {
        asked.insert(0, b'/');
    }
    let text = namespace::query_to_json(asked.into())?;
    let packet = Packet::from_node(PacketKind::Connect, text, settings)?;
    Ok(Legacy::Packet { packet, acknowledge: None })
}

/// An id; `None` if there is none.
fn read_id(digits: &[u8]) -> Result<Option<u64>, Cause> {
    if digits.is_empty() {
        return Ok(None);
    }
    match super::packet::leading_number(digits) {
        (Some(id), len) if len == digits.len() => Ok(Some(id)),
        (_, _) => Err(Cause::PacketMalformed),
    }
}

/// Writes one as a text message; attachments stand in their places as `{"base64":true,"data":"..."}`. Every refusal is
/// `unauthorized`: the only one for which clients of this generation have an event.
pub(super) fn encode(packet: &Packet) -> Message {
    let endpoint = match packet.namespace() {
        "/" => "",
        namespace => namespace,
    };
    let id = packet.id().map(|id| id.to_string() + "+").unwrap_or_default();
    match (packet.kind(), packet.content()) {
        (PacketKind::Connect, _) => {
            let mut asked = Vec::new();
            namespace::write_with_query(&mut asked, packet.namespace(), packet.json_bytes());
            message(&[b"1::", &asked])
        }
        (PacketKind::Disconnect, _) => message(&[b"0::", endpoint.as_bytes()]),
        (PacketKind::Event, Some(Content::Text)) => {
            message(&[b"3:", id.as_bytes(), b":", endpoint.as_bytes(), b":", &packet.to_content()])
        }
        (PacketKind::Event, Some(Content::Json)) => {
            message(&[b"4:", id.as_bytes(), b":", endpoint.as_bytes(), b":", &packet.to_content()])
        }
        (PacketKind::Event, None) => {
            message(&[b"5:", id.as_bytes(), b":", endpoint.as_bytes(), b":", &packet.to_object()])
        }
        (PacketKind::Ack, _) => {
            let id = packet.id().unwrap_or_default().to_string();
            let args = packet.json_in_one();
            let plus: &[u8] = if args.trim_ascii() == b"[]" { b"" } else { b"+" };
            message(&[
                b"6::",
                endpoint.as_bytes(),
                b":",
                id.as_bytes(),
                plus,
                if plus.is_empty() { b"" } else { &args },
            ])
        }
        (PacketKind::Refuse, _) => message(&[b"7::", endpoint.as_bytes(), b":2"]),
    }
}

/// Writes the acknowledgement of an event whose sender wants no more than that.
pub(super) fn encode_acknowledgement(namespace: &str, id: u64) -> Message {
    let endpoint = if namespace == "/" { "" } else { namespace };
    message(&[b"6::", endpoint.as_bytes(), b":", id.to_string().as_bytes()])
}

fn message(parts: &[&[u8]]) -> Message {
    Message { kind: Kind::Text, payload: parts.concat().into() }
}

#[cfg(test)]
mod tests;
