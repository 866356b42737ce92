//! Where socket.io and Engine.IO are spoken, as an operator sets it.
//!
//! ```text
//! lines --> Paths (of all, and of each host) --> check: each path once, for whom it holds --> Config, Host
//! ```

use core::fmt;

use super::draft::Draft;
use super::problem::Notes;
use super::value;

/// A path at which socket.io, or Engine.IO alone, is spoken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketIoPath {
    /// Such as `/socket.io/`: it begins and ends with a slash.
    pub path: String,
    /// Engine.IO alone: its messages are the application's (`engineio`).
    pub is_plain: bool,
    /// The newest protocol: socket.io 5, Engine.IO 4.
    pub five: bool,
    /// The one before: socket.io 2 to 4, Engine.IO 3.
    pub two: bool,
    /// The first: socket.io 0.9. Never [plain](Self::is_plain).
    pub one: bool,
}

impl Default for SocketIoPath {
    /// Every generation of socket.io at `/socket.io/`.
    fn default() -> Self {
        Self { path: "/socket.io/".into(), is_plain: false, five: true, two: true, one: true }
    }
}

/// What a section says.
#[derive(Default)]
pub(super) struct Paths {
    /// Each with its line.
    given: Vec<(usize, SocketIoPath)>,
    /// The line with `socketio = off`.
    no_socketio: Option<usize>,
    /// The line with `engineio = off`.
    no_engineio: Option<usize>,
}

/// The value by which a key gives no path at all.
const OFF: &str = "off";

const fn key(is_plain: bool) -> &'static str {
    if is_plain { "engineio" } else { "socketio" }
}

impl Paths {
    /// Reads the value of `socketio`, or, if `is_plain`, of `engineio`.
    pub(super) fn add(&mut self, line: usize, is_plain: bool, value: &str) -> Result<(), String> {
        let (key, off) = (key(is_plain), self.off(is_plain));
        if value == OFF {
            if let Some((before, given)) = self.given.iter().find(|(_, given)| given.is_plain == is_plain) {
                return Err(format!("stands beside {key} = {} (line {before}); keep one of them", given.path));
            }
            *self.off_mut(is_plain) = off.or(Some(line));
            return Ok(());
        }
        let path = read(value, is_plain)?;
        if let Some(before) = off {
            return Err(format!("stands beside {key} = off (line {before}); keep one of them"));
        }
        if let Some((before, _)) = self.given.iter().find(|(_, given)| given.path == path.path) {
            return Err(format!("{} is served by line {before} already; write another path", path.path));
        }
        self.given.push((line, path));
        Ok(())
    }

    const fn off(&self, is_plain: bool) -> Option<usize> {
        if is_plain { self.no_engineio } else { self.no_socketio }
    }

    const fn off_mut(&mut self, is_plain: bool) -> &mut Option<usize> {
        if is_plain { &mut self.no_engineio } else { &mut self.no_socketio }
    }

    fn of(&self, is_plain: bool) -> impl Iterator<Item = &(usize, SocketIoPath)> {
        self.given.iter().filter(move |(_, path)| path.is_plain == is_plain)
    }

    /// Whether there is a line of this key; otherwise what holds without it stays.
    fn says(&self, is_plain: bool) -> bool {
        self.off(is_plain).is_some() || self.of(is_plain).next().is_some()
    }

    /// What holds here, where `above` holds without these lines; those of socket.io come first.
    fn over(&self, above: &[(usize, SocketIoPath)], notes: &mut Notes<'_>) -> Vec<(usize, SocketIoPath)> {
        let kept =
            |is_plain: bool| above.iter().filter(move |(_, path)| path.is_plain == is_plain && !self.says(is_plain));
        for (line, path) in &self.given {
            let Some((before, _)) = kept(!path.is_plain).find(|(_, kept)| kept.path == path.path) else { continue };
            let (other, name) = (key(!path.is_plain), &path.path);
            let whose = match before {
                0 => format!("unless {other} says something else"),
                before => format!("by line {before}, which holds for all hosts"),
            };
            let message = format!("{name} is a path of {other} {whose}; write another path, or {other} = off");
            notes.problem(*line, key(path.is_plain), message);
        }
        [false, true].into_iter().flat_map(|is_plain| kept(is_plain).chain(self.of(is_plain))).cloned().collect()
    }
}

impl Draft {
    /// Says for whom each path holds. A path is for socket.io or for Engine.IO alone, not for both.
    pub(super) fn check_socketio(&mut self, notes: &mut Notes<'_>) {
        let without_lines = |paths: &[(usize, SocketIoPath)]| paths.iter().map(|(_, path)| path.clone()).collect();
        let unless_said: Vec<_> = self.config.socketio.iter().map(|path| (0, path.clone())).collect();
        let all = self.socketio.over(&unless_said, notes);
        for draft in self.hosts.iter_mut().filter(|draft| draft.socketio.says(false) || draft.socketio.says(true)) {
            draft.host.socketio = Some(without_lines(&draft.socketio.over(&all, notes)));
        }
        self.config.socketio = without_lines(&all);
    }
}

/// `PATH GENERATION...`
fn read(value: &str, is_plain: bool) -> Result<SocketIoPath, String> {
    let (path, numbers) = value::first_word(value);
    let mut path = SocketIoPath { path: read_path(path, is_plain)?, is_plain, five: false, two: false, one: false };
    for number in value::words(numbers) {
        match (number, is_plain) {
            ("5", false) | ("4", true) => path.five = true,
            ("2", false) | ("3", true) => path.two = true,
            ("1", false) => path.one = true,
            (_, false) => {
                let forms = "5 (of the clients 3.x and 4.x), 2 (1.x and 2.x) or 1 (0.9)";
                return Err(format!("{number:?} is no generation of socket.io; write {forms}"));
            }
            (_, true) => return Err(format!("{number:?} is no version of Engine.IO; write 4 or 3")),
        }
    }
    if numbers.is_empty() {
        let (what, forms) = if is_plain { ("versions", "4 3") } else { ("generations", "5 2 1") };
        return Err(format!("the {what} are missing; write them behind the path, such as {} {forms}", path.path));
    }
    Ok(path)
}

/// Bytes of a path as requests have it (RFC 3986, 3.3); a slash is put at its end.
fn read_path(text: &str, is_plain: bool) -> Result<String, String> {
    if !text.starts_with('/') {
        let usual = if is_plain { "/engine.io/" } else { "/socket.io/" };
        return Err(format!("{text:?} is not a path; write one that begins with a slash, such as {usual}"));
    }
    if let Some(at) = text.find(['?', '#']) {
        return Err(format!("{text:?} goes on behind its path; leave out {:?}", &text[at..]));
    }
    let is_path_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:@".contains(&byte);
    if let Some(wrong) = text.chars().find(|each| !each.is_ascii() || !is_path_byte(*each as u8)) {
        return Err(format!("{text:?} has {wrong:?} in it; write the path as browsers send it, with % and two digits"));
    }
    Ok(if text.ends_with('/') { text.to_owned() } else { format!("{text}/") })
}

/// Writes the lines of a section so that they are read back to the same.
pub(super) fn write(f: &mut fmt::Formatter<'_>, paths: &[SocketIoPath]) -> fmt::Result {
    for is_plain in [false, true] {
        let mut of_key = paths.iter().filter(|path| path.is_plain == is_plain).peekable();
        if of_key.peek().is_none() {
            writeln!(f, "{} = {OFF}", key(is_plain))?;
        }
        for SocketIoPath { path, five, two, one, .. } in of_key {
            let numbers = if is_plain { ["4", "3", ""] } else { ["5", "2", "1"] };
            write!(f, "{} = {path}", key(is_plain))?;
            for (number, _) in numbers.iter().zip([five, two, one]).filter(|(_, is_on)| **is_on) {
                write!(f, " {number}")?;
            }
            writeln!(f)?;
        }
    }
    Ok(())
}
