//! Clients of socket.io against a whole engine: by bytes, in memory.

mod asleep;
mod hostile;
mod polling;
mod recovery;
mod rooms;
mod upgrade;

use super::*;

const PLAIN: &str = "";
const KNOWS: &[u8] = b"socket.io end-reason";

/// The wire's form of the masked text or binary frame `payload`, masked with zeros.
fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x80 | opcode];
    match payload.len() {
        len @ 0..=125 => bytes.push(0x80 | len as u8),
        len => {
            bytes.push(0x80 | 126);
            bytes.extend((len as u16).to_be_bytes());
        }
    }
    bytes.extend([0; 4]);
    bytes.extend(payload);
    bytes
}

fn text(payload: &str) -> Vec<u8> {
    frame(1, payload.as_bytes())
}

/// What the engine has sent by a WebSocket: opcode and payload of each frame.
fn frames(world: &mut World, link: LinkId) -> Vec<(u8, Vec<u8>)> {
    let bytes = world.written.remove(&link).unwrap_or_default();
    let mut rest = &bytes[..];
    if rest.starts_with(b"HTTP/1.1 101") {
        let head = rest.windows(4).position(|end| end == b"\r\n\r\n").unwrap();
        rest = &rest[head + 4..];
    }
    let mut frames = Vec::new();
    while let [first, len, behind @ ..] = rest {
        let (len, behind) = match len {
            126 => (usize::from(u16::from_be_bytes([behind[0], behind[1]])), &behind[2..]),
            len => (usize::from(*len), behind),
        };
        frames.push((first & 15, behind[..len].to_vec()));
        rest = &behind[len..];
    }
    frames
}

/// The texts among them.
fn texts(world: &mut World, link: LinkId) -> Vec<String> {
    let texts = frames(world, link).into_iter().filter(|(opcode, _)| *opcode == 1);
    texts.map(|(_, payload)| String::from_utf8(payload).unwrap()).collect()
}

fn open(target: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")
}

fn post(target: &str, body: &str) -> String {
    format!("POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// The one answer that has come: its status and its body.
fn answer(world: &mut World, link: LinkId) -> (u16, String) {
    let text = world.read(link);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer in {text:?}"));
    (head[9..12].parse().unwrap(), body.to_owned())
}

const INI: &str =
    "[blastbeat]\nbind = 127.0.0.1:80\nzmq = tcp://127.0.0.1:5000\n\n[blastbeat:a]\nnode = one\nnode = two\n";

/// A world with a node, which knows packets or does not.
fn world(ini: &str, capabilities: &[u8]) -> (World, Node) {
    let mut world = World::new(ini);
    let node = knowing(&mut world, "one", capabilities);
    (world, node)
}

fn knowing(world: &mut World, name: &'static str, capabilities: &[u8]) -> Node {
    let mut node = Node::greet(world, name);
    node.receive(world);
    node.send(world, b"", "pong", capabilities);
    node
}

const FIVE: &str = "/socket.io/?EIO=4&transport=websocket";
const FIVE_POLLING: &str = "/socket.io/?EIO=4&transport=polling";

/// A client of generation five by WebSocket that has the main namespace of a node that knows packets.
fn connected(world: &mut World, node: &mut Node) -> (LinkId, Vec<u8>) {
    let link = world.client(&open(FIVE));
    let sid = node.request(world);
    world.receive(link, &text("40"));
    let asked = node.receive(world);
    assert_eq!(
        asked.iter().map(|(_, kind, body)| (kind.as_str(), &body[..])).collect::<Vec<_>>(),
        [("socket.io/connect", &b""[..])]
    );
    node.send(world, &sid, "socket.io/connect", b"");
    let said = texts(world, link);
    assert!(said[0].starts_with("0{\"sid\":"), "{said:?}");
    assert!(said[1].starts_with("40{\"sid\":"), "{said:?}");
    (link, sid)
}

/// The id in what a client is told first.
fn id_of(opening: &str) -> String {
    opening.split("\"sid\":\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap().to_owned()
}

/// What a node has heard: types and bodies.
fn heard(world: &mut World, node: &mut Node) -> Vec<(String, String)> {
    let messages = node.receive(world).into_iter();
    messages.map(|(_, kind, body)| (kind, String::from_utf8_lossy(&body).into_owned())).collect()
}

fn said(kind: &str, body: &str) -> (String, String) {
    (kind.to_owned(), body.to_owned())
}

#[test]
fn an_event_travels_to_a_node_that_knows_packets_and_its_answer_back() {
    let (mut world, mut node) = world(INI, KNOWS);
    let (link, sid) = connected(&mut world, &mut node);
    world.receive(link, &text(r#"427["ask",1]"#));
    assert_eq!(heard(&mut world, &mut node), [said("socket.io/event", r#"7["ask",1]"#)]);
    node.send(&mut world, &sid, "socket.io/ack", b"7[true]");
    node.send(&mut world, &sid, "socket.io/event", br#"["told",{"a":[]}]"#);
    assert_eq!(texts(&mut world, link), ["437[true]", r#"42["told",{"a":[]}]"#]);
    node.send(&mut world, &sid, "socket.io/end", b"");
    let last = frames(&mut world, link);
    assert_eq!(last[0], (1, b"41".to_vec()), "{last:?}");
    assert_eq!(last.last().unwrap().0, 8, "{last:?}");
    assert_eq!(heard(&mut world, &mut node), [said("end", "complete")]);
}

#[test]
fn attachments_travel_both_ways() {
    let (mut world, mut node) = world(INI, KNOWS);
    let (link, sid) = connected(&mut world, &mut node);
    world.receive(link, &text(r#"451-["b",{"_placeholder":true,"num":0}]"#));
    assert_eq!(heard(&mut world, &mut node), []);
    world.receive(link, &frame(2, b"\x01\x02"));
    let body = "2-[\"b\",{\"_placeholder\":true,\"num\":0}]\u{1}\u{2}";
    assert_eq!(heard(&mut world, &mut node), [said("socket.io/event", body)]);
    node.send(&mut world, &sid, "socket.io/event", body.as_bytes());
    let came = frames(&mut world, link);
    assert_eq!(came, [(1, br#"451-["b",{"_placeholder":true,"num":0}]"#.to_vec()), (2, b"\x01\x02".to_vec())]);
}

#[test]
fn a_node_that_knows_no_packets_hears_of_events_alone() {
    let (mut world, mut node) = world(INI, PLAIN.as_bytes());
    let link = world.client(&open(FIVE));
    let sid = node.request(&mut world);
    world.receive(link, &text("40"));
    world.receive(link, &text("40/other"));
    world.receive(link, &text(r#"42["say","it"]"#));
    assert_eq!(heard(&mut world, &mut node), [said("socket.io/event", r#"{"name":"say","args":["it"]}"#)]);
    let came = texts(&mut world, link);
    assert!(came[1].starts_with("40{"), "{came:?}");
    assert_eq!(came[2], r#"44/other,{"message":"Invalid namespace"}"#);
    node.send(&mut world, &sid, "socket.io/event", br#"{"name":"back","args":[1,"x"]}"#);
    node.send(&mut world, &sid, "socket.io/msg", b"a \"text\"");
    node.send(&mut world, &sid, "socket.io/json", br#"{"a":1}"#);
    let came = texts(&mut world, link);
    assert_eq!(came, [r#"42["back",1,"x"]"#, r#"42["message","a \"text\""]"#, r#"42["message",{"a":1}]"#]);
}

#[test]
fn a_node_refuses_a_namespace_with_its_own_words() {
    let (mut world, mut node) = world(INI, KNOWS);
    let link = world.client(&open(FIVE));
    let sid = node.request(&mut world);
    world.receive(link, &text(r#"40/staff,{"token":"x"}"#));
    assert_eq!(heard(&mut world, &mut node), [said("socket.io/connect", r#"/staff,{"token":"x"}"#)]);
    node.send(&mut world, &sid, "socket.io/refuse", br#"/staff,{"message":"who are you?"}"#);
    assert_eq!(texts(&mut world, link)[1..], [r#"44/staff,{"message":"who are you?"}"#]);
}

#[test]
fn engine_io_alone_is_a_websocket_to_its_node() {
    let ini = INI.replace("zmq", "engineio = /engine.io/ 4 3\nzmq");
    let (mut world, mut node) = world(&ini, b"binary");
    let link = world.client(&open("/engine.io/?EIO=4&transport=websocket"));
    let sid = node.request(&mut world);
    world.receive(link, &text("4hello"));
    world.receive(link, &frame(2, b"\x00\xff"));
    let came = node.receive(&mut world);
    let came: Vec<_> = came.iter().map(|(_, kind, body)| (kind.as_str(), &body[..])).collect();
    assert_eq!(came, [("websocket/text", &b"hello"[..]), ("websocket/binary", b"\x00\xff")]);
    node.send(&mut world, &sid, "websocket/text", b"back");
    node.send(&mut world, &sid, "websocket/binary", b"\x01");
    assert_eq!(frames(&mut world, link)[1..], [(1, b"4back".to_vec()), (2, b"\x01".to_vec())]);
    node.send(&mut world, &sid, "join", b"room");
    node.send(&mut world, &sid, "pipe", b"room:websocket");
    world.receive(link, &text("4piped"));
    assert_eq!(heard(&mut world, &mut node), []);
    assert_eq!(frames(&mut world, link), [(1, b"4piped".to_vec())], "pipes take it as they do WebSockets");
    node.send(&mut world, &sid, "end", b"");
    assert_eq!(frames(&mut world, link).last().unwrap().0, 8);
}

#[test]
fn requests_that_fit_nothing_are_refused_in_the_protocols_words() {
    let (mut world, _node) = world(INI, KNOWS);
    for (target, code) in [
        ("/socket.io/?EIO=4&transport=carrier-pigeon", 0),
        ("/socket.io/?EIO=4", 0),
        ("/socket.io/?EIO=4&transport=polling&sid=AAAAAAAAAAAAAAAAAAAAAA", 1),
        ("/socket.io/?EIO=4&transport=polling&sid=short", 1),
        ("/socket.io/?EIO=5&transport=polling", 5),
        ("/socket.io/?transport=polling", 5),
    ] {
        let link = world.client(&get(target));
        let (status, body) = answer(&mut world, link);
        assert_eq!(status, 400, "{target}");
        assert!(body.starts_with(&format!("{{\"code\":{code},")), "{target}: {body}");
    }
    let link = world.client(&post(FIVE_POLLING, "x"));
    assert_eq!(answer(&mut world, link), (400, r#"{"code":2,"message":"Bad handshake method"}"#.into()));
    assert_eq!(world.engine.snapshot().sessions, 0);
}

#[test]
fn pages_of_other_origins_are_told_what_they_may() {
    let (mut world, _node) = world(INI, KNOWS);
    let request = get(FIVE_POLLING).replace("Host: a", "Host: a\r\nOrigin: https://b.example");
    let link = world.client(&request);
    let open = world.read(link);
    assert!(open.contains("Access-Control-Allow-Origin: *\r\n") && !open.contains("Credentials"), "{open}");
    let preflight = request.replace("GET", "OPTIONS");
    let link = world.client(&preflight);
    let open = world.read(link);
    assert!(open.starts_with("HTTP/1.1 204 ") && open.contains("Access-Control-Allow-Methods: GET, POST"), "{open}");
    let ini = INI.replace("node = one", "websocket-origin = https://b.example\nnode = one");
    let (mut world, _node) = self::world(&ini, KNOWS);
    let link = world.client(&request);
    let open = world.read(link);
    assert!(
        open.contains("Access-Control-Allow-Origin: https://b.example\r\n") && open.contains("Vary: Origin"),
        "{open}"
    );
    let link = world.client(&request.replace("b.example", "c.example"));
    assert_eq!(answer(&mut world, link), (403, r#"{"code":4,"message":"Forbidden"}"#.into()));
}

#[test]
fn many_namespaces_may_be_asked_for_in_one_breath() {
    let (mut world, mut node) = world(INI, b"");
    let link = world.client(&get(FIVE_POLLING));
    node.request(&mut world);
    let id = id_of(&answer(&mut world, link).1);
    let many: Vec<String> = (0..100).map(|number| format!("40/{number}")).collect();
    let link = world.client(&post(&format!("{FIVE_POLLING}&sid={id}"), &many.join("\u{1e}")));
    assert_eq!(answer(&mut world, link), (200, "ok".into()));
    assert_eq!(world.engine.stats().of(Cause::NamespaceUnknown), 100);
    let link = world.client(&get(&format!("{FIVE_POLLING}&sid={id}")));
    assert_eq!(answer(&mut world, link).1.split('\u{1e}').count(), 100);
}

#[test]
fn scripts_are_for_pages_of_origins_that_are_named() {
    let ini = INI.replace("node = one", "websocket-origin = https://b.example\nnode = one");
    let (mut world, _node) = self::world(&ini, KNOWS);
    let request = get("/socket.io/?EIO=3&transport=polling&j=0");
    for (referer, status) in [
        ("", 403),
        ("Referer: https://c.example/\r\n", 403),
        ("Referer: https://b.example.c.example/\r\n", 403),
        ("Referer: https://b.example/page\r\n", 200),
        ("Referer: https://b.example\r\n", 200),
        ("Origin: https://b.example\r\n", 200),
        ("Origin: https://c.example\r\nReferer: https://b.example/\r\n", 403),
    ] {
        let link = world.client(&request.replace("Host: a\r\n", &format!("Host: a\r\n{referer}")));
        assert_eq!(answer(&mut world, link).0, status, "{referer}");
    }
}

#[test]
fn what_comes_for_a_namespace_that_was_left_is_counted() {
    let (mut world, mut node) = world(INI, KNOWS);
    let (link, sid) = connected(&mut world, &mut node);
    node.send(&mut world, &sid, "socket.io/disconnect", b"");
    assert_eq!(texts(&mut world, link), ["41"]);
    world.receive(link, &text(r#"42["late"]"#));
    assert_eq!(heard(&mut world, &mut node), []);
    assert_eq!(world.engine.stats().of(Cause::NamespaceStale), 1);
}
