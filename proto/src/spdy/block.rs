//! Header blocks in clear: a count, then names and values, each behind its length (draft 3, 2.6.10). Numbers have two
//! bytes in SPDY/2, else four. Values of one name are joined by NUL.

use alloc::vec::Vec;

use super::frame::Version;
use crate::error::Cause;

/// Names up to this many are each held against all before it: of more, as many as an operator may allow, that would take
/// longer than to sort them.
const SCAN_MAX: usize = 128;

/// A name and its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pair<'b> {
    pub(super) name: &'b [u8],
    pub(super) value: &'b [u8],
}

impl<'b> Pair<'b> {
    /// The values, which NULs join.
    pub(super) fn values(self) -> impl Iterator<Item = &'b [u8]> {
        self.value.split(|byte| *byte == 0)
    }
}

/// Takes a block apart. No name in it comes twice, none is empty or has other bytes than a field's name in lower case, but
/// for a colon at its start; no value has a line break, or a NUL that joins nothing.
///
/// # Errors
/// [`Cause::BlockMalformed`] for anything else, [`Cause::FieldsTooMany`] for more than `most` names.
pub(super) fn read(block: &[u8], version: Version, most: usize) -> Result<Vec<Pair<'_>>, Cause> {
    let mut rest = block;
    let count = number(&mut rest, version)?;
    // A pair needs two lengths and a name.
    if count > rest.len() / (2 * width(version) + 1) {
        return Err(Cause::BlockMalformed);
    }
    if count > most {
        return Err(Cause::FieldsTooMany);
    }
    let is_long = count > SCAN_MAX;
    let mut pairs = Vec::with_capacity(count);
    for _ in 0..count {
        let pair = Pair { name: string(&mut rest, version)?, value: string(&mut rest, version)? };
        let is_known = || pairs.iter().any(|other: &Pair<'_>| other.name == pair.name);
        if !is_name(pair.name) || !is_value(pair.value) || !is_long && is_known() {
            return Err(Cause::BlockMalformed);
        }
        pairs.push(pair);
    }
    if rest.is_empty() && !(is_long && has_twins(&pairs)) { Ok(pairs) } else { Err(Cause::BlockMalformed) }
}

fn has_twins(pairs: &[Pair<'_>]) -> bool {
    let mut names: Vec<&[u8]> = pairs.iter().map(|pair| pair.name).collect();
    names.sort_unstable();
    names.windows(2).any(|two| two[0] == two[1])
}

const fn width(version: Version) -> usize {
    match version {
        Version::V2 => 2,
        Version::V3 | Version::V31 => 4,
    }
}

fn number(rest: &mut &[u8], version: Version) -> Result<usize, Cause> {
    let (digits, after) = rest.split_at_checked(width(version)).ok_or(Cause::BlockMalformed)?;
    *rest = after;
    Ok(digits.iter().fold(0, |number, digit| number << 8 | usize::from(*digit)))
}

fn string<'b>(rest: &mut &'b [u8], version: Version) -> Result<&'b [u8], Cause> {
    let len = number(rest, version)?;
    let (string, after) = rest.split_at_checked(len).ok_or(Cause::BlockMalformed)?;
    *rest = after;
    Ok(string)
}

fn is_name(name: &[u8]) -> bool {
    let name = name.strip_prefix(b":").unwrap_or(name);
    !name.is_empty() && name.iter().all(|byte| NAME[usize::from(*byte)])
}

fn is_value(value: &[u8]) -> bool {
    if value.iter().any(|byte| matches!(byte, b'\r' | b'\n')) {
        return false;
    }
    memchr::memchr(0, value).is_none() || value.split(|byte| *byte == 0).all(|value| !value.is_empty())
}

/// Whether who reads the value of a field may pass for somebody.
fn is_secret(name: &[u8]) -> bool {
    let secret: &[u8] = match name.len() {
        6 => b"cookie",
        10 => b"set-cookie",
        13 => b"authorization",
        19 => b"proxy-authorization",
        _ => return false,
    };
    name.eq_ignore_ascii_case(secret)
}

/// Bytes of a token (RFC 9110, 5.6.2) but for capitals.
const NAME: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        table[byte] = (byte as u8).is_ascii_lowercase() || (byte as u8).is_ascii_digit();
        byte += 1;
    }
    let others = b"!#$%&'*+-.^_`|~";
    let mut i = 0;
    while i < others.len() {
        table[others[i] as usize] = true;
        i += 1;
    }
    table
};

/// Writes a block behind what a vector has.
pub(super) struct BlockWriter<'o> {
    out: &'o mut Vec<u8>,
    version: Version,
    start: usize,
    count: u32,
    is_secret: bool,
}

impl<'o> BlockWriter<'o> {
    pub(super) fn new(out: &'o mut Vec<u8>, version: Version) -> Self {
        let start = out.len();
        let mut writer = Self { out, version, start, count: 0, is_secret: false };
        writer.number(0);
        writer
    }

    /// Whether a head of this size can be said: SPDY/2 has names and values below 64 KiB.
    pub(super) fn has_room_for(version: Version, text: usize) -> bool {
        version != Version::V2 || text <= usize::from(u16::MAX)
    }

    /// Appends a field. The name becomes lower case.
    pub(super) fn field(&mut self, name: &[u8], value: &[u8]) {
        self.field_of(name, &[value]);
    }

    /// Appends a field whose value comes in parts.
    pub(super) fn field_of(&mut self, name: &[u8], parts: &[&[u8]]) {
        self.name(name);
        self.number(parts.iter().map(|part| part.len()).sum());
        for part in parts {
            self.out.extend_from_slice(part);
        }
    }

    /// Appends a field of several values; empty ones, which NULs cannot join, are left out.
    pub(super) fn field_joined<'v>(&mut self, name: &[u8], values: impl Iterator<Item = &'v [u8]>) {
        self.name(name);
        let length = self.out.len();
        self.number(0);
        let start = self.out.len();
        for value in values.filter(|value| !value.is_empty()) {
            if self.out.len() > start {
                self.out.push(0);
            }
            self.out.extend_from_slice(value);
        }
        self.put_number(length, self.out.len() - start);
    }

    /// Ends the block; returns whether a field in it is [secret](is_secret).
    pub(super) fn finish(self) -> bool {
        let mut this = self;
        this.put_number(this.start, this.count as usize);
        this.is_secret
    }

    fn name(&mut self, name: &[u8]) {
        self.count += 1;
        self.is_secret |= is_secret(name);
        self.number(name.len());
        let start = self.out.len();
        self.out.extend_from_slice(name);
        self.out[start..].make_ascii_lowercase();
    }

    fn number(&mut self, number: usize) {
        let width = width(self.version);
        self.out.extend_from_slice(&(number as u32).to_be_bytes()[4 - width..]);
    }

    fn put_number(&mut self, at: usize, number: usize) {
        let width = width(self.version);
        self.out[at..at + width].copy_from_slice(&(number as u32).to_be_bytes()[4 - width..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(version: Version, pairs: &[(&str, &str)]) -> Vec<u8> {
        let mut out = b"before".to_vec();
        let mut writer = BlockWriter::new(&mut out, version);
        for (name, value) in pairs {
            writer.field(name.as_bytes(), value.as_bytes());
        }
        writer.finish();
        out.split_off(6)
    }

    #[test]
    fn blocks_are_as_the_drafts_draw_them() {
        let pairs = [(":status", "200 OK"), ("Set-Cookie", "a\0b")];
        assert_eq!(block(Version::V2, &pairs), b"\0\x02\0\x07:status\0\x06200 OK\0\x0aset-cookie\0\x03a\0b");
        let four = b"\0\0\0\x02\0\0\0\x07:status\0\0\0\x06200 OK\0\0\0\x0aset-cookie\0\0\0\x03a\0b";
        assert_eq!(block(Version::V31, &pairs), four);
        let read = read(four, Version::V3, 2).unwrap();
        assert_eq!((read[0].name, read[0].value), (&b":status"[..], &b"200 OK"[..]));
        assert_eq!(read[1].values().collect::<Vec<_>>(), [b"a", b"b"]);
    }

    #[test]
    fn several_values_are_joined_without_the_empty_ones() {
        let mut out = Vec::new();
        let mut writer = BlockWriter::new(&mut out, Version::V2);
        writer.field_joined(b"Via", [&b""[..], b"x", b"", b"yz"].into_iter());
        writer.field_of(b"a", &[b"b", b"c"]);
        writer.finish();
        assert_eq!(out, b"\0\x02\0\x03via\0\x04x\0yz\0\x01a\0\x02bc");
    }

    #[test]
    fn what_breaks_the_rules_is_refused() {
        for version in Version::ALL {
            let cause = |pairs| read(&block(version, pairs), version, 2).map(|_| ()).unwrap_err();
            for pairs in [
                &[("", "x")][..],
                &[(":", "x")],
                &[("a b", "x")],
                &[("a:", "x")],
                &[("a\r\nb", "x")],
                &[("a", "x\r\nb: c")],
                &[("a", "\0x")],
                &[("a", "x\0")],
                &[("a", "x\0\0y")],
                &[("a", "\0")],
                &[("a", "x"), ("a", "y")],
                &[("\u{e4}", "x")],
            ] {
                assert_eq!(cause(pairs), Cause::BlockMalformed, "{pairs:?}");
            }
            assert_eq!(cause(&[("a", ""), ("b", ""), ("c", "")]), Cause::FieldsTooMany);
            assert_eq!(read(&block(version, &[]), version, 2), Ok(Vec::new()));
            let whole = block(version, &[("a", "x"), ("bc", "")]);
            assert_eq!(read(&whole, version, 2).unwrap().len(), 2);
            for end in 0..whole.len() {
                assert_eq!(read(&whole[..end], version, 2), Err(Cause::BlockMalformed), "{end}");
            }
            assert_eq!(read(&[&whole[..], b"x"].concat(), version, 2), Err(Cause::BlockMalformed));
        }
        let names: Vec<_> = (0..2 * SCAN_MAX).map(|n| alloc::format!("x-{n}")).collect();
        let mut many: Vec<_> = names.iter().map(|name| (&name[..], "y")).collect();
        for version in Version::ALL {
            assert_eq!(read(&block(version, &many), version, 1000).unwrap().len(), 2 * SCAN_MAX);
        }
        many[7].0 = "x-200";
        for version in Version::ALL {
            assert_eq!(read(&block(version, &many), version, 1000), Err(Cause::BlockMalformed));
        }
        // The writer makes names lower case; a peer may not.
        assert_eq!(read(b"\0\x01\0\x01A\0\x01x", Version::V2, 2), Err(Cause::BlockMalformed));
        assert_eq!(read(b"\xff\xff\xff\xff", Version::V3, 2), Err(Cause::BlockMalformed));
    }
}
