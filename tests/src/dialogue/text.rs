//! Bytes, frames and messages as dialogues write them.

use std::fmt::Write;

use crate::frames::{self, Frame};
use crate::packet;

/// Runs of one byte from this length on are written as `${x*N}`.
const RUN_MIN: usize = 32;

/// Variables that are left out of a dialogue: they follow from others or change from run to run.
const LEFT_OUT: [&str; 10] = [
    "REQUEST_METHOD",
    "SCRIPT_NAME",
    "PATH_INFO",
    "QUERY_STRING",
    "SERVER_NAME",
    "SERVER_PORT",
    "SERVER_PROTOCOL",
    "REMOTE_ADDR",
    "REMOTE_PORT",
    "REQUEST_ID",
];

/// The reserved bits of a frame.
const RESERVED: [(u8, &str); 3] = [(4, "rsv1"), (2, "rsv2"), (1, "rsv3")];

/// A frame as a dialogue writes it.
pub(super) fn tell_frame(frame: &Frame) -> String {
    let mut text = if frame.last { String::new() } else { "more ".to_owned() };
    for (bit, name) in RESERVED {
        if frame.reserved & bit != 0 {
            text += name;
            text.push(' ');
        }
    }
    text += &frame.name();
    text.push(' ');
    match frame.payload.split_first_chunk() {
        Some((code, reason)) if frame.opcode == frames::CLOSE => {
            write!(text, "{} {}", u16::from_be_bytes(*code), escape(reason)).expect("a string takes all");
        }
        _ => text += &escape(&frame.payload),
    }
    text.trim_end().to_owned()
}

/// What [`tell_frame`] has written.
pub(super) fn frame_of(text: &str) -> Frame {
    let mut frame = Frame::new(0, "");
    let mut rest = text;
    loop {
        let (word, after) = rest.split_once(' ').unwrap_or((rest, ""));
        rest = after;
        if word == "more" {
            frame.last = false;
        } else if let Some((bit, _)) = RESERVED.iter().find(|(_, name)| *name == word) {
            frame.reserved |= bit;
        } else {
            frame.opcode = Frame::opcode_of(word).unwrap_or_else(|| panic!("no frame is called {word}: {text}"));
            break;
        }
    }
    let (code, reason) = rest.split_once(' ').unwrap_or((rest, ""));
    match code.parse() {
        Ok(code) if frame.opcode == frames::CLOSE => {
            frame.payload = [&u16::to_be_bytes(code)[..], &unescape(reason)].concat();
        }
        _ => frame.payload = unescape(rest),
    }
    frame
}

/// A packet in short: method, target and version, then the variables that do not follow from these.
pub(super) fn describe(body: &[u8]) -> String {
    let variables = packet::variables(body);
    let get = |name: &str| {
        let found = variables.iter().find(|(other, _)| other == name);
        escape_word(&found.unwrap_or_else(|| panic!("the packet has no {name}")).1)
    };
    let mut text = format!("{} {} {}", get("REQUEST_METHOD"), get("REQUEST_URI"), get("SERVER_PROTOCOL"));
    let query = get("QUERY_STRING");
    let path = if query.is_empty() { get("PATH_INFO") } else { format!("{}?{query}", get("PATH_INFO")) };
    assert!(get("REQUEST_URI").trim_end_matches('?').ends_with(path.trim_start_matches('*')), "{path}: {text}");
    let https = variables.iter().any(|(name, value)| name == "HTTPS" && value == b"on");
    assert_eq!(get("REQUEST_SCHEME"), if https { "https" } else { "http" });
    let asks: Vec<_> = frames::FIELDS.iter().map(|(name, value)| (packet::variable(name), value.as_bytes())).collect();
    let asks = |name: &str, value: &[u8]| asks.iter().any(|(other, wanted)| other == name && *wanted == value);
    let opens = variables.iter().filter(|(name, value)| asks(name, value)).count() == frames::FIELDS.len();
    if opens {
        text += " websocket";
    }
    for (name, value) in &variables {
        if opens && asks(name, value) {
            continue;
        }
        if !LEFT_OUT.contains(&&name[..]) && !matches!(&name[..], "REQUEST_URI" | "REQUEST_SCHEME") {
            write!(text, " {name}={}", escape_word(value)).expect("a string takes all");
        }
    }
    text
}

fn escape_word(bytes: &[u8]) -> String {
    escape(bytes).replace(' ', "\\s")
}

/// Bytes as a dialogue writes them.
pub fn escape(bytes: &[u8]) -> String {
    let mut text = String::new();
    let mut rest = bytes;
    while let Some(&byte) = rest.first() {
        let run = rest.iter().take_while(|other| **other == byte).count();
        let one = match byte {
            b'\r' => "\\r".to_owned(),
            b'\n' => "\\n".to_owned(),
            b'\t' => "\\t".to_owned(),
            0 => "\\0".to_owned(),
            b'\\' => "\\\\".to_owned(),
            b'$' => "\\x24".to_owned(),
            b' '..=b'~' => char::from(byte).to_string(),
            _ => format!("\\x{byte:02x}"),
        };
        let count = if run >= RUN_MIN { run } else { 1 };
        text += &if count > 1 { format!("${{{one}*{count}}}") } else { one };
        rest = &rest[count..];
    }
    match text.strip_suffix(' ') {
        Some(start) => format!("{start}\\s"),
        None => text,
    }
}

/// What [`escape`] has written.
pub fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if let Some(run) = rest.strip_prefix("${") {
            let (run, after) = run.split_once('}').expect("a run ends with a brace");
            let (piece, count) = run.rsplit_once('*').expect("a run has a count");
            bytes.extend(unescape(piece).repeat(count.parse().expect("a run's count")));
            rest = after;
            continue;
        }
        rest = &rest[first.len_utf8()..];
        if first != '\\' {
            bytes.extend(first.to_string().bytes());
            continue;
        }
        let escaped = rest.chars().next().expect("something is escaped");
        rest = &rest[1..];
        bytes.push(match escaped {
            'r' => b'\r',
            'n' => b'\n',
            't' => b'\t',
            's' => b' ',
            '0' => 0,
            '\\' => b'\\',
            'x' => {
                let (digits, after) = rest.split_at(2);
                rest = after;
                u8::from_str_radix(digits, 16).expect("two hexadecimal digits")
            }
            other => panic!("\\{other} is no escape"),
        });
    }
    bytes
}
