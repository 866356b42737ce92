//! Packets as nodes write and read them.

use alloc::borrow::Cow;
use alloc::string::ToString;
use alloc::vec::Vec;

use bytes::Bytes;

use super::{Content, DIGITS_MAX, Packet, PacketKind, check_utf8, leading_number};
use crate::error::Cause;
use crate::socketio::payload::write_base64;
use crate::socketio::{Settings, json};

impl Packet {
    /// Reads the body of a node's message: `[SIZES-][NAMESPACE,][ID]JSON[ATTACHMENTS]`, where SIZES are the bytes of the
    /// attachments, separated by commas. Of an event it may also be an object, `{"name":NAME,"args":[...]}`. White space
    /// around the text is ignored.
    pub fn from_node(kind: PacketKind, body: Bytes, settings: &Settings) -> Result<Self, Cause> {
        let (mut text, attachments) = split_attachments(body, settings)?;
        text = text.slice_ref(text.trim_ascii());
        check_utf8(&text)?;
        let mut packet = Self::read_address(kind, text)?;
        if kind == PacketKind::Event && packet.json_bytes().first() == Some(&b'{') {
            json::check(packet.json_bytes(), settings.depth)?;
            let address = &packet.text[..packet.json_at as usize];
            packet.text = [address, &event_of_object(packet.json_bytes())?].concat().into();
        }
        packet.check(attachments.len(), settings)?;
        packet.attachments = attachments;
        Ok(packet)
    }

    /// The event that an object is: `{"name":NAME,"args":[...]}`.
    pub(in crate::socketio) fn from_object(
        namespace: &str,
        id: Option<u64>,
        object: &[u8],
        settings: &Settings,
    ) -> Result<Self, Cause> {
        check_utf8(object)?;
        json::check(object, settings.depth)?;
        let json = event_of_object(object)?;
        Self::new(PacketKind::Event, namespace, id, &json, Vec::new(), settings)
    }

    /// The event that a message without a name is: `["message",TEXT]`, `["message",JSON]`, in the main namespace.
    pub fn from_content(content: Content, body: &[u8], settings: &Settings) -> Result<Self, Cause> {
        Self::from_content_in("/", content, None, body, settings)
    }

    /// As [`from_content`](Self::from_content), in any namespace and with an id.
    pub(in crate::socketio) fn from_content_in(
        namespace: &str,
        content: Content,
        id: Option<u64>,
        body: &[u8],
        settings: &Settings,
    ) -> Result<Self, Cause> {
        let said = core::str::from_utf8(body).map_err(|_| Cause::Utf8Invalid)?;
        let mut json = Vec::with_capacity(body.len() + br#"["message",""]"#.len());
        json.extend_from_slice(br#"["message","#);
        match content {
            Content::Text => json::write_string(&mut json, said),
            Content::Json => {
                json::check(body.trim_ascii(), settings.depth)?;
                json.extend_from_slice(body.trim_ascii());
            }
        }
        json.push(b']');
        let packet = Self::new(PacketKind::Event, namespace, id, &json, Vec::new(), settings)?;
        Ok(Self { content: Some(content), ..packet })
    }

    /// The body of a message for a node that knows packets, as [`from_node`](Self::from_node) reads it. Without
    /// attachments nothing is copied.
    pub fn to_node(&self) -> Bytes {
        if self.attachments.is_empty() {
            return self.text.clone();
        }
        let mut body = Vec::with_capacity(self.held() + self.attachments.len() * DIGITS_MAX);
        for attachment in &self.attachments {
            if !body.is_empty() {
                body.push(b',');
            }
            body.extend_from_slice(attachment.len().to_string().as_bytes());
        }
        body.push(b'-');
        body.extend_from_slice(&self.text);
        for attachment in &self.attachments {
            body.extend_from_slice(attachment);
        }
        body.into()
    }

    /// An event for a node that knows none: `{"name":NAME,"args":[...]}`, each attachment in its place as
    /// `{"base64":true,"data":"..."}`. Of any other packet the JSON.
    pub fn to_object(&self) -> Bytes {
        if self.kind != PacketKind::Event {
            return self.json();
        }
        let json = self.json_in_one();
        let name = json::elements(&json).next().unwrap_or_default();
        let args = json.strip_prefix(b"[").unwrap_or_default().trim_ascii_start();
        let args = args.get(name.len()..).unwrap_or_default().trim_ascii_start();
        let args = args.strip_prefix(b",").unwrap_or(args).trim_ascii_start();
        let mut object = Vec::with_capacity(json.len() + br#"{"name":,"args":[]}"#.len());
        object.extend_from_slice(br#"{"name":"#);
        object.extend_from_slice(name);
        object.extend_from_slice(br#","args":["#);
        object.extend_from_slice(args);
        object.push(b'}');
        object.into()
    }

    /// The body of `socket.io/msg` or `socket.io/json`, as [`from_content`](Self::from_content) takes it; of a packet
    /// that has no [`content`](Self::content) empty.
    pub fn to_content(&self) -> Bytes {
        let Some(content) = self.content else { return Bytes::new() };
        let said = json::elements(self.json_bytes()).nth(1).unwrap_or_default();
        match content {
            Content::Json => self.text.slice_ref(said),
            Content::Text => match json::string(said) {
                Some(Cow::Borrowed(text)) => self.text.slice_ref(text.as_bytes()),
                Some(Cow::Owned(text)) => text.into(),
                None => Bytes::new(),
            },
        }
    }

    /// The JSON, with each attachment in its place.
    pub(in crate::socketio) fn json_in_one(&self) -> Cow<'_, [u8]> {
        let json = self.json_bytes();
        let places = match self.attachments.len() {
            0 => Vec::new(),
            count => json::placeholders(json, count).unwrap_or_default(),
        };
        if places.is_empty() {
            return Cow::Borrowed(json);
        }
        let inlined = self.attachments.iter().map(|attachment| attachment.len() / 3 * 4 + 40).sum::<usize>();
        let mut out = Vec::with_capacity(json.len() + inlined);
        let mut at = 0;
        for place in places {
            out.extend_from_slice(&json[at..place.range.start]);
            out.extend_from_slice(br#"{"base64":true,"data":""#);
            write_base64(&mut out, &self.attachments[place.num]);
            out.extend_from_slice(br#""}"#);
            at = place.range.end;
        }
        out.extend_from_slice(&json[at..]);
        Cow::Owned(out)
    }
}

/// Cuts the attachments off the body of a node's message.
fn split_attachments(body: Bytes, settings: &Settings) -> Result<(Bytes, Vec<Bytes>), Cause> {
    let sizes = body.iter().position(|byte| !byte.is_ascii_digit() && *byte != b',').unwrap_or(body.len());
    if sizes == 0 || body.get(sizes) != Some(&b'-') {
        return Ok((body, Vec::new()));
    }
    let mut attachments = Vec::new();
    let mut text_end = body.len();
    for size in body[..sizes].rsplit(|&byte| byte == b',') {
        if attachments.len() == settings.attachments {
            return Err(Cause::AttachmentsWrong);
        }
        let size = match leading_number(size) {
            (Some(number), digits) if digits == size.len() => usize::try_from(number).unwrap_or(usize::MAX),
            (_, _) => return Err(Cause::AttachmentsWrong),
        };
        let start = text_end.checked_sub(size).filter(|&start| start > sizes).ok_or(Cause::AttachmentsWrong)?;
        attachments.push(body.slice(start..text_end));
        text_end = start;
    }
    attachments.reverse();
    Ok((body.slice(sizes + 1..text_end), attachments))
}

/// The array of the event that an object is; checked it is by the caller, before and after.
fn event_of_object(object: &[u8]) -> Result<Vec<u8>, Cause> {
    let name = json::member(object, "name").ok_or(Cause::JsonMalformed)?;
    let args = json::member(object, "args").unwrap_or(b"[]");
    let args = args.strip_prefix(b"[").and_then(|args| args.strip_suffix(b"]")).ok_or(Cause::JsonMalformed)?;
    let mut array = Vec::with_capacity(name.len() + args.len() + 3);
    array.push(b'[');
    array.extend_from_slice(name);
    if !args.trim_ascii().is_empty() {
        array.push(b',');
        array.extend_from_slice(args);
    }
    array.push(b']');
    Ok(array)
}
