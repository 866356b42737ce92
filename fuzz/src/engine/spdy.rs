//! A client that speaks SPDY, rightly or not: whole frames, in any order, on streams that may be there.

use blastbeat_proto::spdy::Version;

use super::guest::Ask;
use super::script::Script;
use crate::spdy::{control, store, write_pairs};

const SYN_STREAM: u16 = 1;
const RST_STREAM: u16 = 3;
const SETTINGS: u16 = 4;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const HEADERS: u16 = 8;
const WINDOW_UPDATE: u16 = 9;

const FIN: u8 = 1;

/// One client.
pub struct Spdy {
    version: Version,
    has_greeted: bool,
    /// The stream of zlib that carries its heads has begun.
    has_head: bool,
    /// Requests that it has begun.
    begun: u32,
}

impl Spdy {
    pub fn new(version: Version) -> Self {
        Self { version, has_greeted: false, has_head: false, begun: 0 }
    }

    /// The next thing to send.
    pub fn speak(&mut self, script: &mut Script<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        if !std::mem::replace(&mut self.has_greeted, true) {
            bytes = self.settings(script.pick(&[65_536, 0, 1, 100, 5000]), script.pick(&[100, 0, 1, 2]));
        }
        let choice = script.byte();
        let stream = (u32::from(script.byte()) % self.begun.max(1)) * 2 + 1;
        let window = u32::from(choice >> 4) * 997;
        bytes.extend(match choice % 16 {
            0 | 1 => self.ask("GET", "", FIN, choice, &[]),
            2 => self.ask("HEAD", "", FIN, choice, &[]),
            3 => self.ask("POST", "", 0, choice, &[]),
            4 => self.ask("POST", "", 0, choice, &[("content-length", "9"), ("cookie", "a=1\0b=2")]),
            5 => self.ask("GET", "", script.byte(), choice, &[("upgrade", "websocket"), ("connection", "upgrade")]),
            6 => data(stream, 0, script.bytes()),
            7 => data(stream, 0, &script.bytes().repeat(30)),
            8 => data(stream, FIN, script.bytes()),
            9 => self.numbers(RST_STREAM, stream, script.pick(&[5, 1, 3, 0])),
            // Of a pushed answer.
            10 => self.numbers(RST_STREAM, stream + 1, 3),
            11 => self.numbers(WINDOW_UPDATE, script.pick(&[stream, 0, stream + 1]), window),
            12 => self.settings(window, script.pick(&[100, 0, 1])),
            13 => {
                let id = u32::from(script.byte());
                self.control(PING, 0, &id.to_be_bytes())
            }
            14 => match choice >> 4 {
                0 => self.numbers(GOAWAY, 0, 0),
                _ => self.head(HEADERS, choice >> 6 & FIN, stream, &[("x-trailer", "t")]),
            },
            _ => self.control(u16::from(script.byte() % 12), script.byte(), script.bytes()),
        });
        bytes
    }

    /// A request of a client of socket.io.
    pub fn visit(&mut self, ask: &Ask) -> Vec<u8> {
        let is_post = ask.method == "POST";
        let flags = if is_post { 0 } else { FIN };
        let mut bytes = self.ask(ask.method, &ask.path, flags, 0, &[("content-type", ask.kind)]);
        if is_post {
            bytes.extend(data(self.begun * 2 - 1, FIN, &ask.body));
        }
        bytes
    }

    fn ask(&mut self, method: &str, path: &str, flags: u8, priority: u8, fields: &[(&str, &str)]) -> Vec<u8> {
        self.begun += 1;
        let own = format!("/{}", self.begun);
        let path = if path.is_empty() { &own } else { path };
        let names = match self.version {
            Version::V2 => ["method", "url", "version", "host", "scheme"],
            Version::V3 | Version::V31 => [":method", ":path", ":version", ":host", ":scheme"],
        };
        let mut pairs: Vec<_> = names.into_iter().zip([method, path, "HTTP/1.1", "example.org", "http"]).collect();
        pairs.extend_from_slice(fields);
        let mut bytes = self.head(SYN_STREAM, flags, self.begun * 2 - 1, &pairs);
        // Behind the frame's own head and two streams.
        bytes[16] = priority & 0xe0;
        bytes
    }

    fn head(&mut self, kind: u16, flags: u8, stream: u32, pairs: &[(&str, &str)]) -> Vec<u8> {
        let fixed = match (kind, self.version) {
            (SYN_STREAM, _) => 10,
            (_, Version::V2) => 6,
            (_, Version::V3 | Version::V31) => 4,
        };
        let mut payload = stream.to_be_bytes().to_vec();
        payload.resize(fixed, 0);
        let pairs: Vec<_> = pairs.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
        store(self.version, &write_pairs(self.version, &pairs), &mut self.has_head, &mut payload);
        self.control(kind, flags, &payload)
    }

    fn settings(&self, window: u32, streams: u32) -> Vec<u8> {
        let mut payload = 2_u32.to_be_bytes().to_vec();
        for (id, value) in [(4_u32, streams), (7, window)] {
            let id = if self.version == Version::V2 { id.to_le_bytes() } else { id.to_be_bytes() };
            payload.extend([id, value.to_be_bytes()].concat());
        }
        self.control(SETTINGS, 0, &payload)
    }

    fn numbers(&self, kind: u16, one: u32, other: u32) -> Vec<u8> {
        self.control(kind, 0, &[one.to_be_bytes(), other.to_be_bytes()].concat())
    }

    fn control(&self, kind: u16, flags: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        control(&mut bytes, self.version, kind, flags, payload);
        bytes
    }
}

fn data(stream: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = stream.to_be_bytes().to_vec();
    bytes.push(flags);
    bytes.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
    bytes.extend_from_slice(payload);
    bytes
}
