//! How clients of socket.io write packets and read those of the server, of every generation, for the tests alone.
//!
//! What is read is read strictly, and the first fault panics. Packets of Engine.IO are texts, their type in front; those
//! that are binary stand here without theirs.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// What a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    /// socket.io 5, Engine.IO 4.
    Five,
    /// socket.io 4, Engine.IO 3; by requests its packets are texts (`b64`).
    Two,
    /// The same, and by requests binary where there are attachments.
    TwoBinary,
    /// The same, by scripts and forms.
    TwoScripts,
    /// socket.io 1, of the clients 0.9.
    One,
    /// The same, by scripts and forms.
    OneScripts,
}

/// One packet of Engine.IO.
#[derive(Clone, PartialEq, Eq)]
pub enum Packet {
    /// Its type, and what it says.
    Text(String),
    /// A message of bytes.
    Binary(Vec<u8>),
}

impl Speaks {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Five, Self::Two, Self::TwoBinary, Self::TwoScripts, Self::One, Self::OneScripts];

    /// Whether it is one of the 0.9 clients.
    pub fn is_one(self) -> bool {
        matches!(self, Self::One | Self::OneScripts)
    }

    /// Whether it is Engine.IO 3.
    pub fn is_two(self) -> bool {
        matches!(self, Self::Two | Self::TwoBinary | Self::TwoScripts)
    }

    /// Whether it polls by scripts.
    pub fn is_by_scripts(self) -> bool {
        matches!(self, Self::TwoScripts | Self::OneScripts)
    }

    /// The text of the event that this array of JSON is; the first name has no comma in it.
    pub fn event(self, json: &str) -> String {
        if !self.is_one() {
            return format!("42{json}");
        }
        let inner = &json[1..json.len() - 1];
        let (name, args) = inner.split_once(',').unwrap_or((inner, ""));
        format!("5:::{{\"name\":{name},\"args\":[{args}]}}")
    }

    /// The body of a POST.
    pub fn payload(self, packets: &[Packet]) -> Vec<u8> {
        let payload = match self {
            Self::Five => packets.iter().map(Packet::in_base64).collect::<Vec<_>>().join("\u{1e}"),
            Self::TwoBinary if packets.iter().any(|packet| matches!(packet, Packet::Binary(_))) => {
                return packets.iter().flat_map(in_binary).collect();
            }
            Self::Two | Self::TwoBinary | Self::TwoScripts => {
                let texts = packets.iter().map(|packet| match packet {
                    Packet::Text(text) => text.clone(),
                    Packet::Binary(bytes) => format!("b4{}", STANDARD.encode(bytes)),
                });
                texts.map(|text| format!("{}:{text}", text.encode_utf16().count())).collect()
            }
            Self::One | Self::OneScripts => match packets {
                [Packet::Text(text)] => text.clone(),
                _ => packets.iter().map(in_frame).collect(),
            },
        };
        match self {
            Self::TwoScripts => form(&payload.replace("\\n", "\\\\n")),
            Self::OneScripts => form(&quoted(&payload)),
            Self::Five | Self::Two | Self::TwoBinary | Self::One => payload.into_bytes(),
        }
    }

    /// Reads the answer to a GET.
    ///
    /// # Panics
    /// If it is malformed.
    pub fn packets(self, body: &[u8], is_binary: bool) -> Vec<Packet> {
        if is_binary {
            assert_eq!(self, Self::TwoBinary);
            return read_binary(body);
        }
        let text = std::str::from_utf8(body).expect("text is UTF-8");
        match self {
            Self::Five => text.split('\u{1e}').map(Packet::from_base64).collect(),
            Self::Two | Self::TwoBinary => read_lengths(text, "", ":"),
            Self::TwoScripts => read_lengths(&unquoted(text, "___eio[0]("), "", ":"),
            Self::One => read_frames(text),
            Self::OneScripts => read_frames(&unquoted(text, "io.j[0](")),
        }
    }
}

impl Packet {
    /// A packet that is a text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    fn in_base64(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Binary(bytes) => format!("b{}", STANDARD.encode(bytes)),
        }
    }

    fn from_base64(text: &str) -> Self {
        match text.strip_prefix('b') {
            Some(text) => Self::Binary(STANDARD.decode(text).expect("base64")),
            None => Self::text(text),
        }
    }
}

fn in_frame(packet: &Packet) -> String {
    let Packet::Text(text) = packet else { panic!("generation One is text") };
    format!("\u{fffd}{}\u{fffd}{text}", text.encode_utf16().count())
}

fn in_binary(packet: &Packet) -> Vec<u8> {
    let (kind, packet) = match packet {
        Packet::Text(text) => (0, text.clone().into_bytes()),
        Packet::Binary(bytes) => (1, [&[4], &bytes[..]].concat()),
    };
    let length = packet.len().to_string().into_bytes();
    [vec![kind], length.iter().map(|digit| digit - b'0').collect(), vec![255], packet].concat()
}

fn read_binary(mut body: &[u8]) -> Vec<Packet> {
    let mut packets = Vec::new();
    while let Some((kind, rest)) = body.split_first() {
        let end = rest.iter().position(|byte| *byte == 255).expect("the end of a length");
        let length = rest[..end].iter().fold(0, |length, digit| length * 10 + usize::from(*digit));
        let (packet, rest) = rest[end + 1..].split_at(length);
        packets.push(match kind {
            0 => Packet::text(std::str::from_utf8(packet).expect("text is UTF-8")),
            1 => Packet::Binary(packet.strip_prefix(&[4]).expect("a message").to_vec()),
            other => panic!("a packet of kind {other}"),
        });
        body = rest;
    }
    packets
}

fn read_lengths(mut text: &str, before: &str, after: &str) -> Vec<Packet> {
    let mut packets = Vec::new();
    while !text.is_empty() {
        let (length, rest) = text.strip_prefix(before).and_then(|text| text.split_once(after)).expect("a length");
        let mut units = length.parse::<usize>().expect("a number");
        let end = rest.char_indices().find(|(_, char)| {
            let is_end = units == 0;
            units = units.saturating_sub(char.len_utf16());
            is_end
        });
        let (packet, rest) = rest.split_at(end.map_or(rest.len(), |(end, _)| end));
        assert_eq!(units, 0, "a packet is cut");
        packets.push(match packet.strip_prefix("b4") {
            Some(bytes) => Packet::Binary(STANDARD.decode(bytes).expect("base64")),
            None => Packet::text(packet),
        });
        text = rest;
    }
    packets
}

fn read_frames(text: &str) -> Vec<Packet> {
    match text.starts_with('\u{fffd}') {
        true => read_lengths(text, "\u{fffd}", "\u{fffd}"),
        false => vec![Packet::text(text)],
    }
}

/// A string of JSON.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

/// What a script gives to its function.
fn unquoted(script: &str, call: &str) -> String {
    let text = script.strip_prefix(call).and_then(|text| text.strip_prefix('"')).expect("a call");
    let text = text.strip_suffix("\");").expect("the end of a call");
    let (mut out, mut chars) = (String::new(), text.chars());
    while let Some(char) = chars.next() {
        out.push(match (char, char == '\\') {
            (_, true) => match chars.next().expect("an escape") {
                'n' => '\n',
                'u' => {
                    let digits: String = chars.by_ref().take(4).collect();
                    char::from_u32(u32::from_str_radix(&digits, 16).expect("digits")).expect("a character")
                }
                other @ ('"' | '\\') => other,
                other => panic!("the escape {other}"),
            },
            (other, false) => other,
        });
    }
    out
}

fn form(payload: &str) -> Vec<u8> {
    let mut form = b"d=".to_vec();
    for byte in payload.bytes() {
        match byte {
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => form.push(byte),
            _ => form.extend(format!("%{byte:02X}").bytes()),
        }
    }
    form
}

impl std::fmt::Debug for Packet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Binary(bytes) => write!(f, "b\"{}\"", bytes.escape_ascii()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_round_trip() {
        let texts = [Packet::text("42[\"a\",\"b \u{20ac}\"]"), Packet::text("2")];
        let both = [&texts[..], &[Packet::Binary(vec![0, 255, 4])], &texts[..1]].concat();
        for (speaks, packets) in [
            (Speaks::Five, &both[..]),
            (Speaks::Two, &both),
            (Speaks::TwoBinary, &texts),
            (Speaks::One, &texts),
            (Speaks::One, &texts[..1]),
        ] {
            assert_eq!(speaks.packets(&speaks.payload(packets), false), packets, "{speaks:?}");
        }
        assert_eq!(Speaks::TwoBinary.packets(&Speaks::TwoBinary.payload(&both), true), both);
        assert_eq!(Speaks::OneScripts.payload(&[Packet::text("a\"b")]), b"d=%22a%5C%22b%22");
        assert_eq!(Speaks::TwoScripts.packets(b"___eio[0](\"3:4\\\"\\u003c\");", false), [Packet::text("4\"<")]);
    }
}
