//! Nodes and apps that send a client away, by HTTP/2. Dialogues have the rest.

use super::*;

const H2C: &str = "[blastbeat]\nbind = 127.0.0.1:80 h2c\nzmq = tcp://127.0.0.1:5000\n\n[blastbeat:a]\nnode = one\n[blastbeat:b]\nnode = app:welcome\n";

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PING: u8 = 6;
const GOAWAY: u8 = 7;

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, payload.len() as u8, kind, flags, 0, 0, 0, stream];
    bytes.extend(payload);
    bytes
}

/// A head without compression: `:authority` by the static table, all else written out (RFC 7541, 6.2.2).
fn head(host: &str, fields: &[(&str, &str)]) -> Vec<u8> {
    let mut head = b"\x84\x86".to_vec();
    head.extend([0x01, host.len() as u8]);
    head.extend(host.as_bytes());
    for (name, value) in fields {
        head.extend([0, name.len() as u8]);
        head.extend(name.as_bytes());
        head.push(value.len() as u8);
        head.extend(value.as_bytes());
    }
    head
}

fn websocket() -> Vec<u8> {
    let method = (":method", "CONNECT");
    head("a", &[method, (":protocol", "websocket"), ("sec-websocket-version", "13")])
}

fn get(host: &str) -> Vec<u8> {
    head(host, &[(":method", "GET")])
}

/// The frames that the engine has written: type, stream, payload.
fn frames(world: &mut World, link: LinkId) -> Vec<(u8, u8, Vec<u8>)> {
    let bytes = world.written.remove(&link).unwrap_or_default();
    let (mut rest, mut frames) = (&bytes[..], Vec::new());
    while let [a, b, c, kind, _, _, _, _, stream, behind @ ..] = rest {
        let len = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
        frames.push((*kind, *stream, behind[..len].to_vec()));
        rest = &behind[len..];
    }
    frames
}

fn of_kind(frames: &[(u8, u8, Vec<u8>)], kind: u8) -> Vec<(u8, &[u8])> {
    frames.iter().filter(|frame| frame.0 == kind).map(|(_, stream, payload)| (*stream, &payload[..])).collect()
}

fn client(world: &mut World) -> LinkId {
    let link = world.accept(0);
    world.receive(link, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    world.receive(link, &frame(4, 0, 0, b""));
    frames(world, link);
    link
}

/// Answers, and sends everybody away.
struct Away;

impl App for Away {
    fn handle(&mut self, input: AppInput<'_>, replies: &mut Replies, _now: Instant) {
        if let AppInput::Request { sid, .. } = input {
            let head = http::Response::builder(200).framing(http::Framing::Length(2)).build().unwrap();
            replies.go_away(sid);
            replies.respond(sid, head, Bytes::from_static(b"ok"));
        }
    }
}

/// Answers our PING, as every client does, and reads on.
fn pong(world: &mut World, link: LinkId, said: &[(u8, u8, Vec<u8>)]) -> Vec<(u8, u8, Vec<u8>)> {
    for (_, payload) in of_kind(said, PING) {
        world.receive(link, &frame(PING, 1, 0, payload));
    }
    frames(world, link)
}

#[test]
fn a_connection_ends_behind_its_last_response() {
    let mut world = World::new(H2C);
    let mut node = Node::connect(&mut world, "one");
    let link = client(&mut world);
    world.receive(link, &frame(HEADERS, 5, 1, &get("a")));
    world.receive(link, &frame(HEADERS, 5, 3, &get("a")));
    let sids: Vec<_> = node.receive(&mut world).into_iter().map(|(sid, ..)| sid).collect();
    node.send(&mut world, &sids[0], "goaway", b"");
    let said = frames(&mut world, link);
    assert_eq!(of_kind(&said, GOAWAY)[0].1[..8], [0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0], "not before it has heard");
    // What it sent before it heard of it is answered too.
    world.receive(link, &frame(HEADERS, 5, 5, &get("a")));
    let third = node.request(&mut world);
    let said = pong(&mut world, link, &said);
    assert_eq!(of_kind(&said, GOAWAY)[0].1[..8], [0, 0, 0, 5, 0, 0, 0, 0]);
    for sid in [&sids[1], &third, &sids[0]] {
        assert!(!world.shut.contains_key(&link));
        node.send(&mut world, sid, "body", b"HTTP/1.1 204 No Content\r\n\r\n");
    }
    assert_eq!(of_kind(&frames(&mut world, link), HEADERS).len(), 3);
    assert!(world.shut.contains_key(&link));
}

#[test]
fn an_app_sends_clients_away_as_well() {
    let mut world = World::new(H2C);
    world.engine.add_app("welcome", Box::new(Away));
    let link = client(&mut world);
    world.receive(link, &frame(HEADERS, 5, 1, &get("b")));
    let said = frames(&mut world, link);
    assert_eq!((of_kind(&said, DATA), of_kind(&said, GOAWAY).len()), (vec![(1, &b"ok"[..])], 1));
    pong(&mut world, link, &said);
    assert!(world.shut.contains_key(&link));
}

#[test]
fn a_websocket_is_closed_alone() {
    let mut world = World::new(H2C);
    let mut node = Node::connect(&mut world, "one");
    let link = client(&mut world);
    for stream in [1, 3] {
        world.receive(link, &frame(HEADERS, 4, stream, &websocket()));
    }
    let sids: Vec<_> = node.receive(&mut world).into_iter().map(|(sid, ..)| sid).collect();
    frames(&mut world, link);
    node.send(&mut world, &sids[0], "goaway", b"");
    let said = frames(&mut world, link);
    assert_eq!(of_kind(&said, DATA), [(1, &b"\x88\x02\x03\xe9"[..])]);
    assert!(of_kind(&said, GOAWAY).is_empty());
    let [(ended, kind, _)] = &node.receive(&mut world)[..] else { panic!("one end") };
    assert_eq!((ended, kind.as_str()), (&sids[0], "end"));
    node.send(&mut world, &sids[1], "websocket", b"still here");
    assert_eq!(of_kind(&frames(&mut world, link), DATA), [(3, &b"\x81\x0astill here"[..])]);
}
