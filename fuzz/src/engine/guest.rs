//! Clients of socket.io, by requests and WebSockets of every generation, right or not; and what they remember.
//!
//! What moves their packets is any client of the world: a guest is known by what the answers have told of it, and
//! any connection may speak for it.

use super::script::Script;
use super::talk;

/// More are not remembered.
const KNOWN_MAX: usize = 24;

/// What an answer may end with that goes on in the next piece.
const OVERLAP: usize = 200;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    Five,
    Two,
    One,
}

/// Somebody that the server knows, or has known.
#[derive(Clone, Debug)]
pub struct Guest {
    speaks: Speaks,
    path: &'static str,
    id: String,
}

/// All of them.
#[derive(Default)]
pub struct Guests {
    known: Vec<Guest>,
    /// What they show when they come back, and the last offsets that were told.
    privates: Vec<String>,
    offsets: Vec<String>,
}

/// What a connection has asked for, and the end of what it was told.
#[derive(Default)]
pub struct Ear {
    asked: Option<(Speaks, &'static str)>,
    tail: Vec<u8>,
    /// A handshake for a WebSocket was accepted.
    pub is_websocket: bool,
}

/// What is asked for.
pub struct Ask {
    pub method: &'static str,
    pub path: String,
    pub kind: &'static str,
    pub body: Vec<u8>,
    pub is_websocket: bool,
}

impl Guests {
    /// Looks into what a connection was told.
    pub fn hear(&mut self, ear: &mut Ear, bytes: &[u8]) {
        ear.tail.extend_from_slice(bytes);
        let text = String::from_utf8_lossy(&ear.tail).into_owned();
        ear.is_websocket |= text.contains("HTTP/1.1 101 ");
        if let Some((speaks, path)) = ear.asked {
            let begins = if speaks == Speaks::One { ":websocket," } else { "{\"sid\":\"" };
            for (at, _) in text.match_indices(begins) {
                let id = match speaks {
                    // Timeouts stand between the two.
                    Speaks::One => text[..at].rsplit([':', '\n', '"']).find(|word| word.len() == 22),
                    Speaks::Two | Speaks::Five => text[at + begins.len()..].get(..22),
                };
                let Some(id) = id.map(str::to_owned) else { continue };
                if self.known.iter().all(|guest| guest.id != id)
                    && text.contains("pingInterval") | (speaks == Speaks::One)
                {
                    self.known.push(Guest { speaks, path, id });
                }
            }
        }
        remember(&mut self.privates, &text, "\"pid\":\"", |char| char == '"');
        remember(&mut self.offsets, &text, ",\"", |char| char == '"');
        if self.known.len() > KNOWN_MAX {
            self.known.remove(0);
        }
        ear.tail.drain(..ear.tail.len().saturating_sub(OVERLAP));
    }

    /// The next request, for somebody or somebody new.
    pub fn ask(&self, ear: &mut Ear, script: &mut Script<'_>) -> Ask {
        let choice = script.byte();
        let guest = match script.place(self.known.len() + 1) {
            Some(place) if choice % 16 >= 5 => self.known.get(place),
            Some(_) | None => None,
        };
        let Some(guest) = guest else {
            let (speaks, path, target, is_websocket) = script.pick(&[
                (Speaks::Five, "/socket.io/", "/socket.io/?EIO=4&transport=polling", false),
                (Speaks::Five, "/socket.io/", "/socket.io/?EIO=4&transport=websocket", true),
                (Speaks::Two, "/socket.io/", "/socket.io/?EIO=3&transport=polling", false),
                (Speaks::Two, "/socket.io/", "/socket.io/?EIO=3&transport=polling&j=3", false),
                (Speaks::Two, "/socket.io/", "/socket.io/?EIO=3&transport=websocket", true),
                (Speaks::One, "/socket.io/", "/socket.io/1/?t=1", false),
                (Speaks::One, "/socket.io/", "/socket.io/1/?jsonp=2", false),
                (Speaks::Five, "/engine.io/", "/engine.io/?EIO=4&transport=polling", false),
                (Speaks::Two, "/engine.io/", "/engine.io/?EIO=3&transport=websocket", true),
                (Speaks::Five, "/socket.io/", "/socket.io/?EIO=4&transport=pigeon", false),
                (Speaks::Five, "/socket.io/", "/socket.io/?EIO=4&transport=websocket", false),
                (Speaks::Five, "/socket.io/", "/socket.io/?transport=polling&EIO=4&sid=AAAAAAAAAAAAAAAAAAAAAA", false),
                (Speaks::One, "/socket.io/", "/socket.io/1/xhr-polling/AAAAAAAAAAAAAAAAAAAAAA", false),
                (Speaks::One, "/socket.io/", "/socket.io/1/websocket/", true),
            ]);
            ear.asked = Some((speaks, path));
            let method = script.pick(&["GET", "GET", "GET", "GET", "GET", "GET", "POST", "OPTIONS"]);
            return Ask { method, path: target.into(), kind: "text/plain", body: Vec::new(), is_websocket };
        };
        ear.asked = Some((guest.speaks, guest.path));
        let (path, id) = (guest.path, &guest.id);
        let number = script.pick(&["", "", "", "&j=1", "&b64=1"]);
        let target = |transport: &str| match guest.speaks {
            Speaks::Five => format!("{path}?EIO=4&transport={transport}&sid={id}{number}"),
            Speaks::Two => format!("{path}?EIO=3&transport={transport}&sid={id}{number}"),
            Speaks::One if transport == "websocket" => format!("{path}1/websocket/{id}"),
            Speaks::One if number.is_empty() => format!("{path}1/xhr-polling/{id}"),
            Speaks::One => format!("{path}1/jsonp-polling/{id}?i=4"),
        };
        let ask = |method, transport, kind, body, is_websocket| Ask {
            method,
            path: target(transport),
            kind,
            body,
            is_websocket,
        };
        match choice % 16 {
            5..9 => ask("GET", "polling", "", Vec::new(), false),
            9 | 10 => ask("GET", "websocket", "", Vec::new(), true),
            11 => ask("POST", "polling", "application/octet-stream", script.bytes().to_vec(), false),
            12 if guest.speaks == Speaks::One => {
                let path = format!("{path}1/websocket/{id}?disconnect=1");
                Ask { method: "GET", path, kind: "", body: Vec::new(), is_websocket: script.byte() % 4 == 3 }
            }
            _ => {
                let count = script.pick(&[1, 1, 1, 2, 3]);
                let packets: Vec<_> = (0..count).map(|_| self.packet(guest.speaks, script)).collect();
                let body = match (guest.speaks, number) {
                    (Speaks::Five, _) => packets.join("\u{1e}"),
                    (Speaks::Two, "&j=1") => form(&lengths(&packets, "", ":")),
                    (Speaks::Two, _) => lengths(&packets, "", ":"),
                    (Speaks::One, "") if packets.len() == 1 => packets.concat(),
                    (Speaks::One, "") => lengths(&packets, "\u{fffd}", "\u{fffd}"),
                    (Speaks::One, _) => form(&format!("\"{}\"", packets.concat().replace('"', "\\\""))),
                };
                ask("POST", "polling", "text/plain;charset=UTF-8", body.into_bytes(), false)
            }
        }
    }

    /// The next frame on a WebSocket.
    pub fn frame(&self, ear: &Ear, script: &mut Script<'_>) -> Vec<u8> {
        let speaks = ear.asked.map_or(Speaks::Five, |(speaks, _)| speaks);
        match script.byte() % 16 {
            0..11 => talk::frame(0x81, self.packet(speaks, script).as_bytes()),
            11 => [talk::frame(0x81, b"2probe"), talk::frame(0x81, b"5")].concat(),
            12 => {
                let text = b"451-[\"b\",{\"_placeholder\":true,\"num\":0}]";
                [talk::frame(0x81, text), talk::frame(0x82, &[4, 1, 2])].concat()
            }
            13 => talk::frame(0x82, script.pick(&[&[4, 1, 2][..], &[1, 2], &[], &[0xff; 300]])),
            14 => talk::frame(0x88, b"\x03\xe8"),
            _ => talk::frame(script.byte(), script.bytes()),
        }
    }

    fn packet(&self, speaks: Speaks, script: &mut Script<'_>) -> String {
        let choice = usize::from(script.byte());
        let texts: &[&str] = match speaks {
            Speaks::Five | Speaks::Two => &[
                "40",
                "40",
                "42[\"x\",1]",
                "42[\"x\",1]",
                "427[\"y\",{\"a\":[]}]",
                "2probe",
                "5",
                "PID",
                "PID /chat,",
                "3",
                "2",
                "40/chat,{\"a\":1}",
                "42/chat,[\"x\"]",
                "451-[\"b\",{\"_placeholder\":true,\"num\":0}]",
                "bAQID",
                "b4AQID",
                "4text",
                "43[1]",
                "431[1]",
                "41",
                "41/chat,",
                "1",
                "6",
                "0",
                "",
                "LARGE",
                "461-1[{\"_placeholder\":true,\"num\":0}]",
                "40/nope",
                "44{}",
                "42[[[[[[[[[[1]]]]]]]]]]",
            ],
            Speaks::One => &[
                "5:::{\"name\":\"x\",\"args\":[1]}",
                "5:::{\"name\":\"x\"}",
                "5:1+::{\"name\":\"y\",\"args\":[]}",
                "5:1::{\"name\":\"y\",\"args\":[]}",
                "1::",
                "1::/chat?a=b",
                "2::",
                "3:::hi",
                "4:::{\"a\":1}",
                "4:2+:/chat:[1]",
                "6:::1+[1]",
                "6:::1",
                "0::",
                "0::/chat",
                "7:::1+0",
                "8::",
                "",
                "LARGE",
                "5::/chat:{\"name\":\"x\"}",
            ],
        };
        let text = texts[choice % texts.len()];
        if text == "LARGE" {
            let large = "x".repeat(usize::from(script.byte()) * 40);
            let is_one = speaks == Speaks::One;
            return if is_one { format!("3:::{large}") } else { format!("42[\"l\",\"{large}\"]") };
        }
        let Some(namespace) = text.strip_prefix("PID") else { return text.to_owned() };
        let Some(private) = script.place(self.privates.len()).map(|place| &self.privates[place]) else {
            return "40{\"pid\":\"AAAAAAAAAAAAAAAAAAAAAA\",\"offset\":\"1\"}".into();
        };
        let offset = match script.place(self.offsets.len() + 1) {
            Some(place) => self.offsets.get(place).map_or("", String::as_str),
            None => "",
        };
        format!("40{}{{\"pid\":\"{private}\",\"offset\":\"{offset}\"}}", namespace.trim_start())
    }
}

impl Ask {
    /// The request on HTTP/1.
    pub fn bytes(&self) -> Vec<u8> {
        let Self { method, path, kind, body, is_websocket } = self;
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: example.org\r\n");
        if *is_websocket {
            head += "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n";
            head += &format!("Sec-WebSocket-Key: {}\r\n", talk::KEY);
        }
        if *method == "POST" {
            head += &format!("Content-Type: {kind}\r\nContent-Length: {}\r\n", body.len());
        }
        [head.as_bytes(), b"\r\n", body].concat()
    }
}

/// Keeps the latest words that follow `before`.
fn remember(words: &mut Vec<String>, text: &str, before: &str, ends: impl Fn(char) -> bool + Copy) {
    for (at, _) in text.match_indices(before) {
        let rest = &text[at + before.len()..];
        let Some(end) = rest.find(ends) else { continue };
        let word = &rest[..end];
        let is_new = words.iter().all(|known| known != word);
        if is_new && word.len() < 40 && word.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\') {
            words.push(word.to_owned());
        }
    }
    if words.len() > KNOWN_MAX {
        words.drain(..words.len() - KNOWN_MAX);
    }
}

fn lengths(packets: &[String], before: &str, after: &str) -> String {
    packets.iter().map(|packet| format!("{before}{}{after}{packet}", packet.encode_utf16().count())).collect()
}

fn form(payload: &str) -> String {
    let escaped = payload.bytes().map(|byte| match byte {
        b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => char::from(byte).to_string(),
        _ => format!("%{byte:02x}"),
    });
    format!("d={}", escaped.collect::<String>())
}
