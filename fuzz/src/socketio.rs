//! socket.io: the packets of nodes, JSON, JSONP, requests.

use blastbeat_proto::error::Cause;
use blastbeat_proto::limits::Limits;
use blastbeat_proto::socketio::request::{self, Mount};
use blastbeat_proto::socketio::{
    Content, Generation, Layer, Packet, PacketKind, Settings, Transport, unwrap_form, wrap,
};
use bytes::Bytes;
use serde_json::value::RawValue;

const DEPTH: usize = 8;
const ATTACHMENTS: usize = 4;

// Invariant: what a node writes is a packet, which is written as it is read, or has a cause; JSON is what another parser
// takes for JSON, up to the depth allowed; what an object says is what its packet says; attachments stand in one place
// each; a script holds one string, which says the payload, and nothing that could end it; what a page puts into a form
// comes out of it; a request is for what it names, of what is spoken there; nothing panics.
/// Runs one input: the first byte says how it is used.
pub fn body(data: &[u8]) {
    let Some((&choice, data)) = data.split_first() else { return };
    match choice & 7 {
        0 | 1 => node(choice, data),
        2 => json(data),
        3 => content(data),
        4 => script(choice, data),
        5 => form(choice, data),
        _ => target(choice, data),
    }
}

fn settings() -> Settings {
    Settings::new(&Limits { socketio_depth: DEPTH, socketio_attachments: ATTACHMENTS, ..Limits::DEFAULT })
}

fn is_json(text: &[u8]) -> bool {
    serde_json::from_slice::<&RawValue>(text).is_ok()
}

/// Whether another parser takes it for one value, with nothing around it.
fn is_bare_json(text: &[u8]) -> bool {
    is_json(text)
        && !text.first().is_some_and(u8::is_ascii_whitespace)
        && !text.last().is_some_and(u8::is_ascii_whitespace)
}

/// A node's message.
fn node(choice: u8, data: &[u8]) {
    const KINDS: [PacketKind; 8] = [
        PacketKind::Event,
        PacketKind::Event,
        PacketKind::Event,
        PacketKind::Event,
        PacketKind::Connect,
        PacketKind::Disconnect,
        PacketKind::Ack,
        PacketKind::Refuse,
    ];
    let kind = KINDS[usize::from(choice >> 3 & 7)];
    let Ok(packet) = Packet::from_node(kind, Bytes::copy_from_slice(data), &settings()) else { return };
    let json = packet.json();
    assert!(json.is_empty() || is_bare_json(&json));
    assert!(packet.namespace().starts_with('/') && !packet.namespace().contains(','));
    assert!(packet.attachments().len() <= ATTACHMENTS);
    assert_eq!(Packet::from_node(kind, packet.to_node(), &settings()).as_ref(), Ok(&packet));
    let parts = (packet.namespace(), packet.id(), packet.attachments().to_vec());
    assert_eq!(Packet::new(kind, parts.0, parts.1, &json, parts.2, &settings()).as_ref(), Ok(&packet));
    if kind == PacketKind::Event {
        let object = packet.to_object();
        assert!(is_bare_json(&object));
        let inlined = packet.attachments().iter().map(|bytes| bytes.len().div_ceil(3) * 4 + 32).sum::<usize>();
        assert!(object.len() <= json.len() + inlined + 24, "no attachment stands twice");
        if packet.attachments().is_empty() {
            match Packet::from_node(kind, object.clone(), &settings()) {
                Ok(again) => assert_eq!(again.to_object(), object),
                // It stands one deeper than what it was made of.
                Err(cause) => assert_eq!(cause, Cause::JsonTooDeep),
            }
        }
    }
}

/// Any value: in an array, which is what acknowledgements are.
fn json(data: &[u8]) {
    let made = Packet::new(PacketKind::Ack, "/", Some(1), data, Vec::new(), &settings());
    let expected = data.starts_with(b"[") && is_bare_json(data);
    match made {
        Ok(packet) => assert!(expected && packet.json() == data),
        Err(Cause::JsonTooDeep) => assert!(data.iter().filter(|byte| b"[{".contains(byte)).count() > DEPTH),
        Err(_) => assert!(!expected),
    }
}

/// A message without a name.
fn content(data: &[u8]) {
    match Packet::from_content(Content::Text, data, &settings()) {
        Ok(packet) => assert_eq!(packet.to_content(), data),
        Err(cause) => assert_eq!((cause, std::str::from_utf8(data).is_err()), (Cause::Utf8Invalid, true)),
    }
    let value = data.trim_ascii();
    match Packet::from_content(Content::Json, data, &settings()) {
        Ok(packet) => assert!(is_json(value) && packet.to_content() == value),
        Err(cause) => assert!(cause == Cause::JsonTooDeep || !is_json(value)),
    }
}

/// A payload as a script.
fn script(choice: u8, data: &[u8]) {
    let payload = String::from_utf8_lossy(data);
    let (generation, head) =
        if choice & 8 == 0 { (Generation::Two, "___eio[7](") } else { (Generation::One, "io.j[7](") };
    let script = wrap(generation, 7, &payload);
    let script = std::str::from_utf8(&script).expect("a script is UTF-8");
    let string = script.strip_prefix(head).and_then(|script| script.strip_suffix(");")).expect("it is one call");
    assert!(!string.contains(['<', '\u{2028}', '\u{2029}']));
    assert_eq!(serde_json::from_str::<String>(string).expect("it has one argument, a string"), payload);
}

/// A form: as it comes, and as a page writes it.
fn form(choice: u8, data: &[u8]) {
    let generation = if choice & 8 == 0 { Generation::Two } else { Generation::One };
    if let Ok(payload) = unwrap_form(generation, data) {
        assert!(payload.len() <= data.len());
    }
    let payload = String::from_utf8_lossy(data);
    // A backslash before a line break would be taken for an escaped one, by socket.io's own server too.
    if generation == Generation::Two && payload.contains("\\\n") {
        return;
    }
    let field = match generation {
        Generation::One => serde_json::to_string(&payload).expect("any text is a string"),
        Generation::Five | Generation::Two => payload.replace("\\n", "\\\\n").replace('\n', "\\n"),
    };
    let mut form = b"d=".to_vec();
    for byte in field.bytes() {
        form.extend_from_slice(format!("%{byte:02x}").as_bytes());
    }
    let read = unwrap_form(generation, &form).expect("what a page writes is read");
    assert_eq!(read, payload.as_bytes());
}

/// A request's target.
fn target(choice: u8, data: &[u8]) {
    let mount = |path: &str, layer, generations: &[Generation]| Mount {
        path: path.into(),
        layer,
        generations: generations.into(),
    };
    let mounts = [
        mount("/s/", Layer::SocketIo, &[Generation::Five, Generation::Two, Generation::One]),
        mount("/e/", Layer::Plain, &[Generation::Two]),
    ];
    let method: &[u8] = [&b"GET"[..], b"POST", b"OPTIONS", b"PUT"][usize::from(choice >> 4 & 3)];
    let is_websocket = choice & 8 == 8;
    let Some(Ok(asked)) = request::read(data, method, is_websocket, &mounts) else { return };
    let mount = &mounts[usize::from(asked.layer == Layer::Plain)];
    assert!(mount.generations.contains(&asked.generation));
    assert!(asked.id.is_some() || matches!(method, b"GET" | b"OPTIONS") || is_websocket);
    assert!(method == b"OPTIONS" || is_websocket == (asked.transport == Transport::WebSocket));
    assert!(asked.base64 || asked.generation == Generation::Two && asked.jsonp.is_none());
    assert!(!asked.ends || asked.generation == Generation::One && asked.id.is_some());
}
