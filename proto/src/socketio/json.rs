//! JSON (RFC 8259), looked at where it lies: checked, and cut at its outermost commas.
//!
//! [`check`] reads a value once, without a copy and without recursion. Everything else here takes values that were
//! checked, and stays in bounds on any others. What JavaScript writes is taken: halves of surrogate pairs, as escapes,
//! and numbers of any size.

mod placeholders;
#[cfg(test)]
mod tests;

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;

pub(super) use placeholders::placeholders;

use crate::error::Cause;

/// Arrays and objects within each other that can be kept track of.
pub(super) const DEPTH_MAX: usize = 1024;

/// Bytes that are looked at together in strings.
const STRIDE: usize = 32;

/// Checks that these bytes, which must be UTF-8, are one value, with nothing around it. At most `depth` arrays and
/// objects may stand within each other; more than [`DEPTH_MAX`] never.
pub(super) fn check(json: &[u8], depth: usize) -> Result<(), Cause> {
    let mut nest = Nest::new(depth);
    let mut at = 0;
    loop {
        at = match json.get(at) {
            Some(b'"') => string_end(json, at)?,
            Some(b'[') => {
                nest.enter(false)?;
                at = skip_space(json, at + 1);
                if json.get(at) != Some(&b']') {
                    continue;
                }
                nest.leave();
                at + 1
            }
            Some(b'{') => {
                nest.enter(true)?;
                at = skip_space(json, at + 1);
                if json.get(at) != Some(&b'}') {
                    at = member_name(json, at)?;
                    continue;
                }
                nest.leave();
                at + 1
            }
            Some(b'-' | b'0'..=b'9') => number_end(json, at)?,
            Some(b't') => literal_end(json, at, b"true")?,
            Some(b'f') => literal_end(json, at, b"false")?,
            Some(b'n') => literal_end(json, at, b"null")?,
            Some(_) | None => return Err(Cause::JsonMalformed),
        };
        // A value has ended: what may follow is what it stands in.
        loop {
            let Some(in_object) = nest.innermost() else {
                return if at == json.len() { Ok(()) } else { Err(Cause::JsonMalformed) };
            };
            at = skip_space(json, at);
            match json.get(at) {
                Some(b',') => {
                    at = skip_space(json, at + 1);
                    if in_object {
                        at = member_name(json, at)?;
                    }
                    break;
                }
                Some(b']') if !in_object => nest.leave(),
                Some(b'}') if in_object => nest.leave(),
                Some(_) | None => return Err(Cause::JsonMalformed),
            }
            at += 1;
        }
    }
}

/// What the value stands in that is looked at: a bit each, set for objects.
struct Nest {
    bits: [u64; DEPTH_MAX / 64],
    len: usize,
    max: usize,
}

impl Nest {
    fn new(depth: usize) -> Self {
        Self { bits: [0; DEPTH_MAX / 64], len: 0, max: depth.min(DEPTH_MAX) }
    }

    fn enter(&mut self, is_object: bool) -> Result<(), Cause> {
        if self.len == self.max {
            return Err(Cause::JsonTooDeep);
        }
        let bit = 1 << (self.len % 64);
        let word = &mut self.bits[self.len / 64];
        if is_object {
            *word |= bit
        } else {
            *word &= !bit
        }
        self.len += 1;
        Ok(())
    }

    fn leave(&mut self) {
        self.len -= 1;
    }

    fn innermost(&self) -> Option<bool> {
        let last = self.len.checked_sub(1)?;
        Some(self.bits[last / 64] >> (last % 64) & 1 == 1)
    }
}

fn skip_space(json: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\t' | b'\n' | b'\r') = json.get(at) {
        at += 1;
    }
    at
}

/// Past a name and its colon, where the value begins.
fn member_name(json: &[u8], at: usize) -> Result<usize, Cause> {
    let end = skip_space(json, string_end(json, at)?);
    if json.get(end) == Some(&b':') { Ok(skip_space(json, end + 1)) } else { Err(Cause::JsonMalformed) }
}

/// Past the string that begins here.
fn string_end(json: &[u8], at: usize) -> Result<usize, Cause> {
    if json.get(at) != Some(&b'"') {
        return Err(Cause::JsonMalformed);
    }
    let mut at = at + 1;
    loop {
        at = plain_end(json, at);
        match json.get(at) {
            Some(b'"') => return Ok(at + 1),
            Some(b'\\') => at = escape_end(json, at + 1)?,
            Some(_) | None => return Err(Cause::JsonMalformed),
        }
    }
}

/// The first byte from here that is not simply part of a string.
fn plain_end(json: &[u8], mut at: usize) -> usize {
    let is_special = |byte: u8| byte < b' ' || byte == b'"' || byte == b'\\';
    // Without a branch for each byte: compilers make a few wide instructions of it.
    while let Some(stride) = json.get(at..at + STRIDE) {
        if stride.iter().fold(false, |found, &byte| found | is_special(byte)) {
            break;
        }
        at += STRIDE;
    }
    while json.get(at).is_some_and(|&byte| !is_special(byte)) {
        at += 1;
    }
    at
}

/// Past the escape whose letter stands here.
fn escape_end(json: &[u8], at: usize) -> Result<usize, Cause> {
    match json.get(at) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(at + 1),
        Some(b'u') if json.get(at + 1..at + 5).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)) => {
            Ok(at + 5)
        }
        Some(_) | None => Err(Cause::JsonMalformed),
    }
}

fn number_end(json: &[u8], mut at: usize) -> Result<usize, Cause> {
    let digits = |mut at: usize| {
        let start = at;
        while json.get(at).is_some_and(u8::is_ascii_digit) {
            at += 1;
        }
        if at > start { Ok(at) } else { Err(Cause::JsonMalformed) }
    };
    if json[at] == b'-' {
        at += 1;
    }
    at = if json.get(at) == Some(&b'0') { at + 1 } else { digits(at)? };
    if json.get(at) == Some(&b'.') {
        at = digits(at + 1)?;
    }
    if let Some(b'e' | b'E') = json.get(at) {
        at += 1;
        if let Some(b'+' | b'-') = json.get(at) {
            at += 1;
        }
        at = digits(at)?;
    }
    Ok(at)
}

fn literal_end(json: &[u8], at: usize, literal: &[u8]) -> Result<usize, Cause> {
    let end = at + literal.len();
    if json.get(at..end) == Some(literal) { Ok(end) } else { Err(Cause::JsonMalformed) }
}

/// Past the value that begins here, in JSON that was checked.
fn value_end(json: &[u8], mut at: usize) -> usize {
    let mut depth = 0_usize;
    while let Some(&byte) = json.get(at) {
        match byte {
            b'"' => at = string_end(json, at).unwrap_or(json.len()),
            b'[' | b'{' => {
                depth += 1;
                at += 1;
            }
            b']' | b'}' if depth == 0 => return at,
            b']' | b'}' => {
                depth -= 1;
                at += 1;
            }
            b',' | b':' | b' ' | b'\t' | b'\n' | b'\r' => {
                if depth == 0 {
                    return at;
                }
                at += 1;
                continue;
            }
            _ => {
                at += 1;
                continue;
            }
        }
        if depth == 0 {
            return at;
        }
    }
    json.len()
}

/// The elements of an array that was checked, as they are written; nothing for any other value.
pub(super) fn elements(array: &[u8]) -> impl Iterator<Item = &[u8]> {
    Pieces::new(array, b'[')
}

/// The members of an object that was checked: names and values as they are written; nothing for any other value.
pub(super) fn members(object: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut pieces = Pieces::new(object, b'{');
    core::iter::from_fn(move || {
        let name = pieces.next()?;
        Some((name, pieces.next()?))
    })
}

/// The values at the outermost level of an array or object.
struct Pieces<'a> {
    json: &'a [u8],
    at: usize,
}

impl<'a> Pieces<'a> {
    fn new(json: &'a [u8], opening: u8) -> Self {
        Self { json, at: if json.first() == Some(&opening) { 1 } else { json.len() } }
    }
}

impl<'a> Iterator for Pieces<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let mut start = skip_space(self.json, self.at);
        if let Some(b',' | b':') = self.json.get(start) {
            start = skip_space(self.json, start + 1);
        }
        self.at = value_end(self.json, start);
        (self.at > start).then(|| &self.json[start..self.at])
    }
}

/// The value of a member of an object that was checked, as it is written; of several the last.
pub(super) fn member<'a>(object: &'a [u8], name: &str) -> Option<&'a [u8]> {
    members(object).filter(|(written, _)| is_string(written, name)).last().map(|(_, value)| value)
}

/// An object that was checked, without the members of these names.
pub(super) fn without(object: &[u8], names: &[&str]) -> Vec<u8> {
    let mut out = Vec::with_capacity(object.len());
    out.push(b'{');
    for (written, value) in members(object) {
        if names.iter().any(|name| is_string(written, name)) {
            continue;
        }
        if out.len() > 1 {
            out.push(b',');
        }
        out.extend_from_slice(written);
        out.push(b':');
        out.extend_from_slice(value);
    }
    out.push(b'}');
    out
}

/// Whether a value that was checked is this string.
pub(super) fn is_string(value: &[u8], text: &str) -> bool {
    match value {
        [b'"', inner @ .., b'"'] if !inner.contains(&b'\\') => inner == text.as_bytes(),
        _ => string(value).is_some_and(|said| said == text),
    }
}

/// What a string that was checked says, such as one of the [elements](super::Packet::elements) of a packet; `None` for any
/// other value. Halves of surrogate pairs become U+FFFD.
pub fn string(value: &[u8]) -> Option<Cow<'_, str>> {
    let [b'"', inner @ .., b'"'] = value else { return None };
    let inner = core::str::from_utf8(inner).ok()?;
    let Some(first) = inner.find('\\') else { return Some(Cow::Borrowed(inner)) };
    let mut out = String::with_capacity(inner.len());
    out.push_str(&inner[..first]);
    let mut rest = &inner[first..];
    while let Some(escaped) = rest.strip_prefix('\\') {
        let letter = escaped.bytes().next()?;
        rest = escaped.get(1..)?;
        match letter {
            b'b' => out.push('\u{8}'),
            b'f' => out.push('\u{c}'),
            b'n' => out.push('\n'),
            b'r' => out.push('\r'),
            b't' => out.push('\t'),
            b'u' => {
                let (said, after) = code_point(rest)?;
                out.push(said);
                rest = after;
            }
            _ => out.push(char::from(letter)),
        }
        let plain = rest.find('\\').unwrap_or(rest.len());
        out.push_str(&rest[..plain]);
        rest = &rest[plain..];
    }
    Some(Cow::Owned(out))
}

/// Reads the digits behind `\u`, and behind the one that may have to follow.
fn code_point(text: &str) -> Option<(char, &str)> {
    let unit = |text: &str| u32::from_str_radix(text.get(..4)?, 16).ok();
    let (first, rest) = (unit(text)?, text.get(4..)?);
    if let Some(said) = char::from_u32(first) {
        return Some((said, rest));
    }
    let second = rest.strip_prefix("\\u").and_then(unit);
    match second {
        Some(low @ 0xdc00..=0xdfff) if first < 0xdc00 => {
            let said = char::from_u32(0x10000 + ((first - 0xd800) << 10) + (low - 0xdc00))?;
            Some((said, rest.get(6..)?))
        }
        Some(_) | None => Some((char::REPLACEMENT_CHARACTER, rest)),
    }
}

/// Writes a string.
pub(super) fn write_string(out: &mut Vec<u8>, text: &str) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    let text = text.as_bytes();
    let mut at = 0;
    while at < text.len() {
        let end = plain_end(text, at);
        out.extend_from_slice(&text[at..end]);
        if let Some(&byte) = text.get(end) {
            match byte {
                b'"' | b'\\' => out.extend([b'\\', byte]),
                b'\n' => out.extend_from_slice(b"\\n"),
                b'\r' => out.extend_from_slice(b"\\r"),
                b'\t' => out.extend_from_slice(b"\\t"),
                _ => write_unit(out, byte.into()),
            }
        }
        at = end + 1;
    }
    out.push(b'"');
}

/// Writes text of JSON in ASCII: every other character, which can only stand in strings, as an escape.
pub(super) fn write_ascii(out: &mut Vec<u8>, json: &str) {
    for char in json.chars() {
        if char.is_ascii() {
            out.push(char as u8);
        } else {
            for &mut unit in char.encode_utf16(&mut [0; 2]) {
                write_unit(out, unit);
            }
        }
    }
}

/// Writes a UTF-16 code unit as an escape.
pub(super) fn write_unit(out: &mut Vec<u8>, unit: u16) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.extend_from_slice(b"\\u");
    out.extend([12, 8, 4, 0].map(|shift| DIGITS[usize::from(unit >> shift & 15)]));
}
