//! A client that speaks HTTP/2, rightly or not: whole frames, in any order, on streams that may be there.

use super::guest::Ask;
use super::script::Script;
use super::talk;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const WEBSOCKET: [(&str, &str); 6] = [
    (":method", "CONNECT"),
    (":protocol", "websocket"),
    (":scheme", "http"),
    (":authority", "example.org"),
    (":path", "/stream"),
    ("sec-websocket-version", "13"),
];

/// The streams of one client.
#[derive(Default)]
pub struct Streams {
    has_greeted: bool,
    /// Requests that it has begun.
    begun: u32,
}

impl Streams {
    /// The next thing to send.
    pub fn speak(&mut self, script: &mut Script<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        if !std::mem::replace(&mut self.has_greeted, true) {
            let window: u32 = script.pick(&[65_535, 0, 1, 100, 5000]);
            let settings = [&[0, 4][..], &window.to_be_bytes()].concat();
            bytes.extend_from_slice(PREFACE);
            bytes.extend(frame(4, 0, 0, &settings));
        }
        let choice = script.byte();
        let stream = self.stream(script);
        bytes.extend(match choice % 16 {
            0 | 1 => self.ask("GET", 5),
            2 => self.ask("HEAD", 5),
            3 | 4 => self.ask("POST", 4),
            5 | 6 => {
                self.begun += 1;
                frame(1, 4, self.begun * 2 - 1, &block(&WEBSOCKET))
            }
            7 => frame(0, 0, stream, script.bytes()),
            8 => frame(0, 1, stream, script.bytes()),
            9 | 10 => {
                let message = [b"x", script.bytes()].concat();
                frame(0, 0, stream, &talk::frame(script.pick(&[0x81, 0x82, 0x89, 0x01, 0x80]), &message))
            }
            11 => frame(0, 0, stream, &talk::frame(0x88, b"\x03\xe8")),
            12 => frame(3, 0, stream, &8_u32.to_be_bytes()),
            13 => frame(
                8,
                0,
                script.pick(&[stream, 0]),
                &u32::from(script.byte()).saturating_mul(97).max(1).to_be_bytes(),
            ),
            14 => {
                let window = u32::from(script.byte()) * 50;
                frame(4, 0, 0, &[&[0, 4][..], &window.to_be_bytes()].concat())
            }
            _ => frame(script.byte() % 12, script.byte(), stream, script.bytes()),
        });
        bytes
    }

    fn ask(&mut self, method: &str, flags: u8) -> Vec<u8> {
        self.begun += 1;
        let path = format!("/{}", self.begun);
        let fields = [(":method", method), (":scheme", "http"), (":authority", "example.org"), (":path", &path)];
        frame(1, flags, self.begun * 2 - 1, &block(&fields))
    }

    /// Whether it has begun to speak.
    pub fn has_begun(&self) -> bool {
        self.has_greeted
    }

    /// A request of a client of socket.io.
    pub fn visit(&mut self, ask: &Ask) -> Vec<u8> {
        self.begun += 1;
        let stream = self.begun * 2 - 1;
        let path = ask.path.as_str();
        if ask.is_websocket {
            let fields = WEBSOCKET.map(|(name, value)| (name, if name == ":path" { path } else { value }));
            return frame(1, 4, stream, &block(&fields));
        }
        let fields = [
            (":method", ask.method),
            (":scheme", "http"),
            (":authority", "example.org"),
            (":path", path),
            ("content-type", ask.kind),
        ];
        let is_post = ask.method == "POST";
        let mut bytes = frame(1, if is_post { 4 } else { 5 }, stream, &block(&fields));
        if is_post {
            bytes.extend(frame(0, 1, stream, &ask.body[..ask.body.len().min(16_384)]));
        }
        bytes
    }

    /// A frame of a WebSocket on one of its streams.
    pub fn frame(&mut self, message: &[u8], script: &mut Script<'_>) -> Vec<u8> {
        let stream = self.stream(script);
        frame(0, 0, stream, &message[..message.len().min(16_384)])
    }

    fn stream(&self, script: &mut Script<'_>) -> u32 {
        (u32::from(script.byte()) % self.begun.max(1)) * 2 + 1
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend_from_slice(&[kind, flags]);
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// Literal fields, none of them indexed.
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            block.push(text.len() as u8);
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}
