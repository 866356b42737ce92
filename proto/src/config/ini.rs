//! Reads the lines of an ini file.
//!
//! A line is a section in brackets, a comment that starts with `;` or `#`, or `key = value`, split at the first `=`.
//! Spaces, tabs and CRs around each part are dropped. Values have no quotes and no comments behind them. Sections and
//! keys may be repeated; what that means is the reader's business.

use core::str;

/// What stands on a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// `[name]`
    Section(&'a str),
    /// `key = value`; a line without `=` is a key with an empty value.
    Entry {
        /// Left of the first `=`.
        key: &'a str,
        /// Right of it.
        value: &'a str,
    },
}

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It is not UTF-8.
    Encoding,
    /// It has a NUL byte, or outside a comment another control character than a tab.
    Control,
    /// It starts with `[` and does not end with `]`.
    SectionOpen,
}

impl Fault {
    pub(super) const fn message(self) -> &'static str {
        match self {
            Self::Encoding => "this line is not valid UTF-8; save the file as UTF-8",
            Self::Control => "this line has a control character; a configuration is plain text",
            Self::SectionOpen => {
                "a section starts here and does not end; write its name in brackets, alone on the line"
            }
        }
    }
}

/// The lines that say something, each with its number (from 1).
pub(super) fn read(text: &[u8]) -> impl Iterator<Item = (usize, Result<Line<'_>, Fault>)> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    text.split(|byte| *byte == b'\n')
        .enumerate()
        .filter_map(|(index, line)| Some((index + 1, read_line(line).transpose()?)))
}

/// Drops what does not count at both ends.
pub(super) fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t', '\r'])
}

fn read_line(line: &[u8]) -> Result<Option<Line<'_>>, Fault> {
    if line.contains(&0) {
        return Err(Fault::Control);
    }
    let line = trim(str::from_utf8(line).map_err(|_| Fault::Encoding)?);
    if line.is_empty() || line.starts_with([';', '#']) {
        return Ok(None);
    }
    if line.contains(|c: char| c.is_control() && c != '\t') {
        return Err(Fault::Control);
    }
    if let Some(rest) = line.strip_prefix('[') {
        let name = rest.strip_suffix(']').ok_or(Fault::SectionOpen)?;
        return Ok(Some(Line::Section(trim(name))));
    }
    let (key, value) = line.split_once('=').unwrap_or((line, ""));
    Ok(Some(Line::Entry { key: trim(key), value: trim(value) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &[u8]) -> Vec<(usize, Result<Line<'_>, Fault>)> {
        read(text).collect()
    }

    fn entry<'a>(key: &'a str, value: &'a str) -> Result<Line<'a>, Fault> {
        Ok(Line::Entry { key, value })
    }

    #[test]
    fn sections_entries_and_comments_are_told_apart() {
        let text =
            b"\xef\xbb\xbf[blastbeat]\r\n; a comment\n\t# another\n\n bind = 127.0.0.1:80 ; no comment\n[a:[::1]:80]";
        assert_eq!(
            lines(text),
            [
                (1, Ok(Line::Section("blastbeat"))),
                (5, entry("bind", "127.0.0.1:80 ; no comment")),
                (6, Ok(Line::Section("a:[::1]:80"))),
            ]
        );
    }

    #[test]
    fn the_first_equals_sign_splits_and_both_sides_are_trimmed() {
        assert_eq!(lines(b" key\t=  a = b \r"), [(1, entry("key", "a = b"))]);
        assert_eq!(lines(b"key"), [(1, entry("key", ""))]);
        assert_eq!(lines(b"="), [(1, entry("", ""))]);
    }

    #[test]
    fn a_line_that_cannot_be_read_is_named_and_spoils_no_other() {
        assert_eq!(
            lines(b"a=1\n\xff=2\nb=\0\n[open\nc=3\nd\re=4\n; \x1b"),
            [
                (1, entry("a", "1")),
                (2, Err(Fault::Encoding)),
                (3, Err(Fault::Control)),
                (4, Err(Fault::SectionOpen)),
                (5, entry("c", "3")),
                (6, Err(Fault::Control)),
            ]
        );
    }
}
