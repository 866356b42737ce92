//! The files that a configuration names: where they are, what each is for, and which line names it.

use core::fmt;
use std::path::PathBuf;

use bytes::Bytes;

use super::ini::{self, Line};
use super::{Config, value};

/// A file of the operator's. Its debug output shows the path and the length, since it may hold a key.
#[derive(Clone, PartialEq, Eq)]
pub struct File {
    /// Where it is.
    pub path: PathBuf,
    /// What it holds; the runtime fills it in, the core reads no files.
    pub body: Bytes,
}

impl File {
    /// A file that has not been read yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), body: Bytes::new() }
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "File({:?}, {} bytes)", self.path, self.body.len())
    }
}

/// What a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FileUse {
    /// It is shown for a status (`error-page`).
    ErrorPage(u16),
}

impl FileUse {
    /// The key that names the file.
    pub const fn key(self) -> &'static str {
        match self {
            Self::ErrorPage(_) => "error-page",
        }
    }

    /// The line of `text` that names the file, if `config` was read from it; otherwise 0.
    pub fn line(self, _config: &Config, text: &[u8]) -> usize {
        let names_it = |_section: &str, key: &str, text: &str| match self {
            Self::ErrorPage(status) => key == self.key() && value::first_word(text).0.parse() == Ok(status),
        };
        last_line(text, names_it)
    }
}

/// The last line with a section, key and value that are meant; 0 if there is none.
fn last_line(text: &[u8], is_meant: impl Fn(&str, &str, &str) -> bool) -> usize {
    let (mut section, mut last) = ("", 0);
    for (line, content) in ini::read(text) {
        match content {
            Ok(Line::Section(name)) => section = name,
            Ok(Line::Entry { key, value }) if is_meant(section, key, value) => last = line,
            Ok(Line::Entry { .. }) | Err(_) => {}
        }
    }
    last
}

impl Config {
    /// The files that the configuration names, with what each is for. Fill in their contents before the configuration
    /// is used.
    pub fn files_mut(&mut self) -> impl Iterator<Item = (FileUse, &mut File)> {
        self.error_pages.iter_mut().map(|(status, page)| (FileUse::ErrorPage(*status), page))
    }
}
