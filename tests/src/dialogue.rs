//! Conversations as text files.
//!
//! A dialogue is a list of lines; `#` starts a comment. The server has one virtual host `a` with the nodes `n1`, `n2`
//! and `n3`.
//!
//! ```text
//! global KEY = VALUE     a line for the ini file's global section (before anything else)
//! host KEY = VALUE       a line for the virtual host
//! ini LINE               a line behind both
//! N up [CAPABILITY...]   the node n1 (N2: n2, N3: n3) connects and becomes available
//! C> BYTES               a client (C, C2, C3...; connects when first named) sends bytes; Z is a raw peer of the node port
//! C< BYTES               ... and gets exactly these
//! C closed | C reset     ... and then the connection is over, in good order or not (Z ends: in either way)
//! C opens TARGET [BYTES] a client asks for a WebSocket, with further fields
//! C opened               ... and gets a 101 that says nothing but yes
//! C>> FRAME              a client sends a frame of its WebSocket, masked
//! C<< FRAME              ... and gets one
//! C half-closes | C closes | C resets
//! N> SID TYPE [BODY]     a node sends a message; SID is $1 for the first session that a node hears of, and so on
//! N< SID TYPE [BODY]     ... and gets one; requests are told by their variables, pieces of a body as one
//! N closes | N closed    the node's link ends: by the node, by the server
//! T+ SECONDS             time passes
//! drain | stop           what the operator wants
//! log NAME KEY=VALUE...  a report with at least these fields has come
//! count CAUSE N          the statistics have counted a cause so often
//! ```
//!
//! A frame is `text BYTES`, `binary BYTES`, `continuation BYTES`, `ping BYTES`, `pong BYTES`, `close [CODE] [BYTES]` or
//! `opcode-N BYTES`; before that may stand `more` (it is not the last of its message), `rsv1`, `rsv2`, `rsv3`, and where
//! the client sends it, `unmasked`. What a node says may name a session in its type or body: `@$1:websocket`. An empty
//! SID is written `-`. A request for a WebSocket is told as `websocket` in place of the variables that ask for it.
//!
//! Bytes are text with the escapes `\r \n \t \0 \s \\ \xHH`, and `${x*20000}` for a run of one byte. A line that
//! nobody expected, or one that does not come, fails the dialogue. In virtual time the whole of what came is compared,
//! in the order nodes, clients; `UPDATE=1` writes it into the file.

mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use blastbeat_proto::engine::{Control, Report, Value};
use blastbeat_proto::error::Cause;

use crate::frames::{self, Frame};
use crate::host::{Ended, Host};
use crate::stage::{Client, Node, Stage};
use text::{describe, frame_of, tell_frame};
pub use text::{escape, unescape};

/// Plays the dialogue of that name on a host.
///
/// # Panics
/// If the conversation goes another way.
pub fn play(name: &str, host: Box<dyn Host>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("dialogues").join(name).with_extension("txt");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let update = host.name() == "the simulator" && std::env::var_os("UPDATE").is_some();
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let mut player = Player::new(host, &lines);
    let mut written: Vec<String> = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let group = lines[at..].iter().take_while(|line| is_expectation(line)).count();
        if group == 0 {
            player.act(&lines[at], at + 1);
            written.push(lines[at].clone());
            at += 1;
            continue;
        }
        let expected = &lines[at..at + group];
        if player.stage.is_virtual() {
            let came = player.all_that_came();
            if !update {
                assert_eq!(came.join("\n"), join_pieces(expected).join("\n"), "{name}.txt, lines from {}", at + 1);
            }
            written.extend(came);
        } else {
            join_pieces(expected).iter().for_each(|line| player.expect(line, name));
        }
        at += group;
    }
    if player.stage.is_virtual() {
        let rest = player.all_that_came();
        if !update {
            assert_eq!(rest.join("\n"), "", "{name}.txt: more came at the end");
        }
        written.extend(rest);
    }
    player.stage.finish();
    if update {
        std::fs::write(&path, written.join("\n") + "\n").expect("the dialogue's file can be written");
    }
}

fn is_expectation(line: &str) -> bool {
    let (actor, rest) = line.split_once(' ').unwrap_or((line, ""));
    is_actor(actor.trim_end_matches('<'))
        && (actor.ends_with('<') || matches!(rest, "closed" | "reset" | "ends" | "opened"))
}

fn is_actor(word: &str) -> bool {
    word.strip_prefix(['C', 'N', 'Z']).is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Joins neighbouring pieces of what one client gets, split into lines in the file for the reader's sake.
fn join_pieces(lines: &[String]) -> Vec<String> {
    let mut joined: Vec<String> = Vec::new();
    for line in lines {
        match (joined.last_mut(), piece(line)) {
            (Some(last), Some((actor, bytes))) if piece(last).is_some_and(|(other, _)| other == actor) => {
                last.push_str(bytes);
            }
            _ => joined.push(line.clone()),
        }
    }
    joined.iter().flat_map(|line| split_lines(line)).collect()
}

/// Writes what a client gets as one line for each of its lines.
fn split_lines(line: &str) -> Vec<String> {
    match piece(line) {
        Some((actor, bytes)) => {
            let lines = bytes.split_inclusive("\\n");
            lines.map(|bytes| format!("{actor}< {bytes}")).collect()
        }
        None => vec![line.to_owned()],
    }
}

/// Reads a line of what a client gets as bytes: the client and the bytes.
fn piece(line: &str) -> Option<(&str, &str)> {
    let (actor, bytes) = line.split_once("< ")?;
    (is_actor(actor) && !actor.starts_with('N')).then_some((actor, bytes))
}

struct Player {
    stage: Stage,
    clients: BTreeMap<String, Client>,
    over: BTreeMap<String, bool>,
    nodes: BTreeMap<String, Node>,
    sids: Vec<Vec<u8>>,
    /// Clients whose 101 has come.
    open: BTreeSet<String>,
}

impl Player {
    fn new(host: Box<dyn Host>, lines: &[String]) -> Self {
        let part = |prefix: &str| {
            let lines = lines.iter().filter_map(|line| line.strip_prefix(prefix));
            lines.fold(String::new(), |text, line| text + line + "\n")
        };
        let ini = format!(
            "[blastbeat]\nbind = 127.0.0.1:0\nzmq = tcp://127.0.0.1:0\n{}[blastbeat:a]\nnode = n1\nnode = n2\nnode = n3\n{}{}",
            part("global "),
            part("host "),
            part("ini ")
        );
        let mut stage = Stage::new(host);
        stage.start(&ini);
        Self {
            stage,
            clients: BTreeMap::new(),
            over: BTreeMap::new(),
            nodes: BTreeMap::new(),
            sids: Vec::new(),
            open: BTreeSet::new(),
        }
    }

    /// Does what a line says.
    fn act(&mut self, line: &str, number: usize) {
        let (first, rest) = line.split_once(' ').unwrap_or((line, ""));
        match (first, rest) {
            ("" | "#" | "global" | "host" | "ini", _) => {}
            ("T+", seconds) => {
                let seconds = seconds.parse().unwrap_or_else(|_| panic!("line {number}: seconds, not {seconds}"));
                self.stage.advance(Duration::from_secs_f64(seconds));
            }
            ("drain", "") => self.stage.control(Control::Drain),
            ("stop", "") => self.stage.control(Control::Stop),
            ("log", fields) => self.log(fields),
            ("count", what) => self.count(what),
            (actor, "half-closes") if is_actor(actor) => {
                let client = self.client(actor);
                self.stage.half_close(client);
            }
            (actor, "closes") if is_actor(actor) => {
                let client = self.any(actor);
                self.over.insert(actor.to_owned(), true);
                self.stage.close(client);
            }
            (actor, "resets") if is_actor(actor) => {
                let client = self.any(actor);
                self.over.insert(actor.to_owned(), true);
                self.stage.reset(client);
            }
            (actor, up) if actor.starts_with('N') && (up == "up" || up.starts_with("up ")) => {
                let name = format!("n{}", &if actor == "N" { "1" } else { &actor[1..] });
                let node = self.stage.node_with(&name, up[2..].trim());
                self.nodes.insert(actor.to_owned(), node);
            }
            (actor, opens) if is_actor(actor) && opens.starts_with("opens ") => {
                let (target, fields) = opens[6..].split_once(' ').unwrap_or((&opens[6..], ""));
                let fields = String::from_utf8(unescape(fields)).expect("fields are text");
                let client = self.client(actor);
                self.stage.send(client, frames::request(target, &fields));
                self.stage.settle();
            }
            (speaks, frame) if is_actor(speaks.trim_end_matches('>')) && speaks.ends_with(">>") => {
                let client = self.client(speaks.trim_end_matches('>'));
                let bytes = match frame.strip_prefix("unmasked ") {
                    Some(frame) => frame_of(frame).unmasked(),
                    None => frame_of(frame).masked(),
                };
                self.stage.send(client, bytes);
                self.stage.settle();
            }
            (speaks, text) if is_actor(speaks.trim_end_matches('>')) && speaks.ends_with('>') => {
                let actor = speaks.trim_end_matches('>');
                match self.nodes.get(actor) {
                    Some(&node) => self.tell(node, text),
                    None => {
                        let client = self.client(actor);
                        self.stage.send(client, unescape(text));
                    }
                }
                self.stage.settle();
            }
            _ => panic!("line {number} is not part of a dialogue: {line}"),
        }
    }

    fn client(&mut self, actor: &str) -> Client {
        assert!(!actor.starts_with('N'), "{actor} is not up");
        if let Some(&client) = self.clients.get(actor) {
            return client;
        }
        let client = if actor.starts_with('Z') { self.stage.raw_node() } else { self.stage.client() };
        self.clients.insert(actor.to_owned(), client);
        client
    }

    fn any(&mut self, actor: &str) -> Client {
        match self.nodes.get(actor) {
            Some(&node) => self.stage.as_client(node),
            None => self.client(actor),
        }
    }

    fn tell(&mut self, node: Node, text: &str) {
        let mut words = text.splitn(3, ' ');
        let (sid, kind, body) = (words.next().unwrap_or(""), words.next().unwrap_or(""), words.next().unwrap_or(""));
        let sid = match sid.strip_prefix('$') {
            Some(number) => self.sids[number.parse::<usize>().expect("a session's number") - 1].clone(),
            None => unescape(sid.trim_matches('-')),
        };
        let (kind, body) = (self.with_sids(kind), self.with_sids(body));
        self.stage.tell(node, &sid, kind, body);
    }

    /// Bytes in which `@$1` stands for the id of the first session.
    fn with_sids(&self, text: &str) -> Vec<u8> {
        let mut pieces = text.split("@$");
        let mut bytes = unescape(pieces.next().unwrap_or_default());
        for piece in pieces {
            let end = piece.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(piece.len());
            let number: usize = piece[..end].parse().expect("a session's number");
            bytes.push(b'@');
            bytes.extend_from_slice(&self.sids[number - 1]);
            bytes.extend(unescape(&piece[end..]));
        }
        bytes
    }

    fn log(&mut self, text: &str) {
        let mut words = text.split(' ');
        let name = words.next().unwrap_or_default().to_owned();
        let wanted: Vec<(&str, &str)> = words.filter_map(|word| word.split_once('=')).collect();
        self.stage.report(text, |report| (report.name() == name && has_fields(report, &wanted)).then_some(()));
    }

    fn count(&mut self, text: &str) {
        let (name, count) = text.split_once(' ').expect("a cause and a number");
        let cause = Cause::ALL.iter().find(|cause| cause.name() == name).expect("a cause's name");
        let count = count.parse::<u64>().expect("a number");
        self.stage.counted(*cause, count);
    }

    /// Takes everything that has come and nobody has looked at, as lines.
    fn all_that_came(&mut self) -> Vec<String> {
        self.stage.settle();
        let mut lines = Vec::new();
        for (actor, node) in self.nodes.clone() {
            let mut last: Option<(Vec<u8>, Vec<u8>)> = None;
            for message in self.stage.take_messages(node) {
                let piece = message.kind == "body" && !message.body.is_empty();
                match &mut last {
                    Some((sid, body)) if piece && *sid == message.sid => {
                        body.extend(&message.body);
                        lines.pop();
                    }
                    _ => last = piece.then(|| (message.sid.clone(), message.body.clone())),
                }
                let body = last.as_ref().map_or(&message.body, |(_, body)| body).clone();
                lines.push(self.tell_of(&actor, &message.sid, &message.kind, &body));
            }
            let client = self.stage.as_client(node);
            lines.extend(self.end_line(&actor, client));
        }
        for (actor, client) in self.clients.clone() {
            let came = self.stage.take_incoming(client);
            lines.extend(self.client_lines(&actor, &came));
            lines.extend(self.end_line(&actor, client));
        }
        lines
    }

    fn client_lines(&mut self, actor: &str, mut came: &[u8]) -> Vec<String> {
        let text = |bytes: &[u8]| match bytes {
            [] => Vec::new(),
            _ => split_lines(&format!("{actor}< {}", escape(bytes))),
        };
        let mut lines = Vec::new();
        if !self.open.contains(actor) {
            let Some(start) = find(came, b"HTTP/1.1 101 ") else { return text(came) };
            let end = start + find(&came[start..], b"\r\n\r\n").expect("a head comes whole") + 4;
            lines.extend(text(&came[..start]));
            match &came[start..end] {
                head if head == frames::SWITCHING.as_bytes() => lines.push(format!("{actor} opened")),
                head => lines.extend(text(head)),
            }
            self.open.insert(actor.to_owned());
            came = &came[end..];
        }
        while let Some((frame, used)) = Frame::read(came) {
            lines.push(format!("{actor}<< {}", tell_frame(&frame)));
            came = &came[used..];
        }
        lines.extend(text(came));
        lines
    }

    /// Bytes in which the ids of known sessions are written as `@$1`.
    fn without_sids(&self, bytes: &[u8]) -> String {
        let known = |window: &[u8]| self.sids.iter().position(|sid| window.strip_prefix(b"@") == Some(sid));
        match bytes.windows(17).enumerate().find_map(|(at, window)| Some((at, known(window)?))) {
            Some((at, place)) => {
                format!("{}@${}{}", escape(&bytes[..at]), place + 1, self.without_sids(&bytes[at + 17..]))
            }
            None => escape(bytes),
        }
    }

    fn end_line(&mut self, actor: &str, client: Client) -> Option<String> {
        let ended = self.stage.host().peer(client.id()).ended?;
        let told = self.over.entry(actor.to_owned()).or_default();
        let news = !std::mem::replace(told, true);
        news.then(|| format!("{actor} {}", told_end(actor, ended)))
    }

    /// Waits for what a line says, in real time.
    fn expect(&mut self, line: &str, name: &str) {
        let (first, rest) = line.split_once(' ').expect("an expectation has two words");
        let actor = first.trim_end_matches('<');
        if rest == "opened" || first.ends_with("<<") {
            let bytes = if rest == "opened" { frames::SWITCHING.into() } else { frame_of(rest).unmasked() };
            let client = self.client(actor);
            return self.stage.expect(client, bytes);
        }
        if !first.ends_with('<') {
            let client = self.any(actor);
            let ended = self.stage.read_end(client);
            assert_eq!(told_end(actor, ended), rest, "{name}.txt: {line}");
            return;
        }
        let Some(&node) = self.nodes.get(actor) else {
            let client = self.client(actor);
            return self.stage.expect(client, unescape(rest));
        };
        let mut whole: Vec<u8> = Vec::new();
        loop {
            let message = self.stage.message(node);
            whole.extend(&message.body);
            let came = self.tell_of(actor, &message.sid, &message.kind, &whole);
            // A space at the end of a piece is written as one only because it is at the end.
            let so_far = came.strip_suffix("\\s").unwrap_or(&came);
            let more = message.kind == "body" && line.starts_with(so_far) && came.len() < line.len();
            if !more {
                assert_eq!(came, line, "{name}.txt");
                return;
            }
        }
    }

    fn tell_of(&mut self, actor: &str, sid: &[u8], kind: &str, body: &[u8]) -> String {
        let body = match kind {
            "uwsgi" => describe(body),
            "error" => self.without_sids(body),
            _ => escape(body),
        };
        if sid.is_empty() {
            return format!("{actor}< - {kind} {body}").trim_end().to_owned();
        }
        let number = match self.sids.iter().position(|known| known == sid) {
            Some(place) => place + 1,
            None => {
                self.sids.push(sid.to_vec());
                self.sids.len()
            }
        };
        format!("{actor}< ${number} {kind} {body}").trim_end().to_owned()
    }
}

fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes.windows(needle.len()).position(|window| window == needle)
}

/// A peer that is no ZMTP peer is owed no farewell, so how its connection ends depends on what it has sent too much.
fn told_end(actor: &str, ended: Ended) -> &'static str {
    match ended {
        Ended::Eof | Ended::Reset if actor.starts_with('Z') => "ends",
        Ended::Eof => "closed",
        Ended::Reset => "reset",
    }
}

fn has_fields(report: &Report, wanted: &[(&str, &str)]) -> bool {
    let mut found = 0;
    report.fields(&mut |name, value: Value<'_>| {
        found += usize::from(wanted.iter().any(|(key, text)| *key == name && value.to_string() == *text));
    });
    found == wanted.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_bytes_come_back() {
        let all: Vec<u8> = (0..=255).chain([b'x'; 100]).chain([b' ']).collect();
        assert_eq!(unescape(&escape(&all)), all);
        assert_eq!(escape(&[b'x'; 100]), "${x*100}");
        assert_eq!(unescape("${ab*3}"), b"ababab");
    }

    #[test]
    fn what_a_client_gets_is_shown_a_line_at_a_time() {
        let lines = ["C< a\\r\\nb", "C< c\\r\\n\\r\\n", "N< $1 end"].map(str::to_owned);
        assert_eq!(join_pieces(&lines), ["C< a\\r\\n", "C< bc\\r\\n", "C< \\r\\n", "N< $1 end"]);
    }

    #[test]
    fn frames_come_back() {
        for text in [
            "text Hello",
            "more rsv1 binary \\x01",
            "continuation",
            "close 1000 bye",
            "close",
            "close \\x03",
            "rsv2 rsv3 opcode-3 x",
        ] {
            assert_eq!(tell_frame(&frame_of(text)), text);
        }
        assert_eq!(frame_of("close 1001").payload, [3, 0xe9]);
    }

    #[test]
    fn expectations_are_told_from_actions() {
        for line in ["C< x", "C<< text x", "C opened", "N2< $1 end", "C closed", "N closed", "C reset", "Z< "] {
            assert!(is_expectation(line), "{line}");
        }
        for line in [
            "C> x",
            "N up",
            "T+ 3",
            "# C closed",
            "",
            "C closes",
            "C opens /",
            "C>> text",
            "drain",
            "log access",
            "Nobody closed",
        ] {
            assert!(!is_expectation(line), "{line}");
        }
    }
}
