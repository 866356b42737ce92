//! The app that serves when nothing else is configured.

use super::*;

const INI_WELCOME: &str = "[blastbeat]\nbind = 127.0.0.1:80\n[blastbeat:*]\nnode = app:welcome\n";

fn world() -> World {
    let mut world = World::new(INI_WELCOME);
    world.engine.add_app(Welcome::NAME, Box::new(Welcome::new()));
    world
}

fn websocket(world: &mut World, target: &str) -> LinkId {
    let client = world.client(&HANDSHAKE.replace("/ws", target));
    let answer = world.written.remove(&client).unwrap();
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap() + 4;
    assert!(answer.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&answer));
    world.written.insert(client, answer[end..].to_vec());
    client
}

/// A client of socket.io 5, in the main namespace.
fn socketio(world: &mut World) -> LinkId {
    let client = websocket(world, "/socket.io/?EIO=4&transport=websocket");
    say(world, client, "40");
    let [open, connected] = &heard(world, client)[..] else { panic!("two packets") };
    assert!(open.starts_with("0{") && connected.starts_with(r#"40{"sid":""#), "{open} {connected}");
    client
}

fn say(world: &mut World, client: LinkId, text: &str) {
    world.receive(client, &hostile::masked(0x81, text.as_bytes()));
    world.pass(Duration::ZERO);
}

/// The texts that came by a WebSocket.
fn heard(world: &mut World, client: LinkId) -> Vec<String> {
    let bytes = world.written.remove(&client).unwrap_or_default();
    let (mut rest, mut texts) = (&bytes[..], Vec::new());
    while let [0x81, len, payload @ ..] = rest {
        let (len, payload) = match len {
            126 => (usize::from(u16::from_be_bytes([payload[0], payload[1]])), &payload[2..]),
            len => (usize::from(*len), payload),
        };
        texts.push(String::from_utf8(payload[..len].to_vec()).unwrap());
        rest = &payload[len..];
    }
    assert_eq!(rest, b"", "nothing but texts");
    texts
}

#[test]
fn an_event_comes_back_behind_its_answer() {
    let mut world = world();
    let client = socketio(&mut world);
    say(&mut world, client, r#"42["echo","a \"b\" ü",{"c":[1]}]"#);
    assert_eq!(heard(&mut world, client), [r#"42["echo","a \"b\" ü",{"c":[1]}]"#]);
    say(&mut world, client, r#"427["echo","a",2]"#);
    assert_eq!(heard(&mut world, client), [r#"437["a",2]"#, r#"42["echo","a",2]"#]);
    say(&mut world, client, r#"428["echo"]"#);
    assert_eq!(heard(&mut world, client), ["438[]", r#"42["echo"]"#]);
    say(&mut world, client, r#"42["unheard-of",1]"#);
    assert!(heard(&mut world, client).is_empty(), "nobody's event");
}

#[test]
fn there_is_only_the_main_namespace() {
    let mut world = world();
    let client = socketio(&mut world);
    say(&mut world, client, "40/admin,");
    assert_eq!(heard(&mut world, client), [r#"44/admin,{"message":"Invalid namespace"}"#]);
}

#[test]
fn websockets_and_clients_of_socket_io_are_in_one_chat() {
    let mut world = world();
    let ann = websocket(&mut world, "/chat");
    assert_eq!(heard(&mut world, ann), ["* somebody has come: 1 here"]);
    let bob = socketio(&mut world);
    say(&mut world, bob, r#"42["message","too early"]"#);
    assert!(heard(&mut world, ann).is_empty() && heard(&mut world, bob).is_empty(), "who has not joined is not heard");
    say(&mut world, bob, r#"42["join"]"#);
    say(&mut world, bob, r#"42["join"]"#);
    assert_eq!(heard(&mut world, ann), ["* somebody has come: 2 here"]);
    assert_eq!(heard(&mut world, bob), [r#"42["message","* somebody has come: 2 here"]"#]);
    say(&mut world, ann, r#"a "quote" \ and ü"#);
    assert_eq!(heard(&mut world, ann), [r#"a "quote" \ and ü"#]);
    assert_eq!(heard(&mut world, bob), [r#"42["message","a \"quote\" \\ and ü"]"#]);
    say(&mut world, bob, r#"42["message","\"\u00fc\n"]"#);
    assert_eq!(heard(&mut world, ann), ["\"ü\n"]);
    assert_eq!(heard(&mut world, bob), [r#"42["message","\"ü\n"]"#]);
    // Lines that are no lines.
    say(&mut world, bob, r#"42["message",1]"#);
    say(&mut world, bob, &format!(r#"42["message","{}"]"#, "x".repeat(4001)));
    assert_eq!(heard(&mut world, bob), [r#"42["refused","too long a line"]"#]);
    // Who leaves is not missed.
    say(&mut world, bob, "41");
    say(&mut world, ann, "anybody?");
    assert_eq!(heard(&mut world, ann), ["anybody?"]);
    let eve = websocket(&mut world, "/chat");
    assert_eq!(heard(&mut world, eve), ["* somebody has come: 2 here"]);
}
