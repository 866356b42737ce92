//! What a node is told of a client's certificate, read from its DER (RFC 5280, 4.1).
//!
//! The library has checked the certificate by then; this reads three names, a number and a date out of it and refuses
//! whatever it does not understand.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::Write;

/// What is read of a certificate.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Certificate {
    /// Upper-case hexadecimal digits, two for each byte.
    pub(super) serial: String,
    pub(super) issuer: String,
    pub(super) subject: String,
    /// Seconds since 1970.
    pub(super) not_after: u64,
}

impl Certificate {
    pub(super) fn read(der: &[u8]) -> Option<Self> {
        let mut outer = Der(Der(der).expect(SEQUENCE)?);
        let mut body = Der(outer.expect(SEQUENCE)?);
        if body.peek() == Some(VERSION) {
            body.expect(VERSION)?;
        }
        let serial = body.expect(INTEGER)?;
        body.expect(SEQUENCE)?; // the signature's algorithm
        let issuer = body.expect(SEQUENCE)?;
        let mut validity = Der(body.expect(SEQUENCE)?);
        validity.next()?;
        let not_after = validity.next()?;
        let subject = body.expect(SEQUENCE)?;
        // A number whose first bit is set has a zero in front, which is not part of the number.
        let serial = serial.strip_prefix(&[0]).filter(|rest| !rest.is_empty()).unwrap_or(serial);
        Some(Self {
            serial: hex(serial, true),
            issuer: name(issuer)?,
            subject: name(subject)?,
            not_after: time(not_after)?,
        })
    }
}

/// Whether this is an OCSP response with an answer in it (RFC 6960, 4.2.1).
pub(super) fn is_ocsp_answer(der: &[u8]) -> bool {
    let mut outer = Der(der);
    let Some(response) = outer.expect(SEQUENCE) else { return false };
    outer.0.is_empty() && Der(response).expect(ENUMERATED) == Some(&[0])
}

/// Bytes as hexadecimal digits.
pub(super) fn hex(bytes: &[u8], upper: bool) -> String {
    let digits = if upper { b"0123456789ABCDEF" } else { b"0123456789abcdef" };
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|digit| char::from(digits[usize::from(digit)])).collect()
}

const INTEGER: u8 = 0x02;
const OBJECT: u8 = 0x06;
const ENUMERATED: u8 = 0x0a;
const UTF8: u8 = 0x0c;
const NUMERIC: u8 = 0x12;
const PRINTABLE: u8 = 0x13;
const TELETEX: u8 = 0x14;
const IA5: u8 = 0x16;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const UNIVERSAL: u8 = 0x1c;
const BMP: u8 = 0x1e;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const VERSION: u8 = 0xa0;

/// Elements that stand one behind the other.
struct Der<'a>(&'a [u8]);

/// One of them.
#[derive(Clone, Copy)]
struct Element<'a> {
    tag: u8,
    content: &'a [u8],
    /// With tag and length.
    whole: &'a [u8],
}

impl<'a> Der<'a> {
    fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    fn next(&mut self) -> Option<Element<'a>> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (len, rest) = match first {
            0..0x80 => (usize::from(first), rest),
            0x81..=0x83 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                (bytes.iter().fold(0, |len, byte| len << 8 | usize::from(*byte)), rest)
            }
            // Indefinite lengths are not DER, and nobody has a certificate of 16 MiB.
            0x80 | 0x84.. => return None,
        };
        let (content, rest) = rest.split_at_checked(len)?;
        let whole = &self.0[..self.0.len() - rest.len()];
        self.0 = rest;
        Some(Element { tag, content, whole })
    }

    fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next().filter(|element| element.tag == tag).map(|element| element.content)
    }
}

/// A distinguished name as text (RFC 4514): its parts from the last to the first.
fn name(sequence: &[u8]) -> Option<String> {
    let mut outer = Der(sequence);
    let mut parts = Vec::new();
    while outer.peek().is_some() {
        let mut set = Der(outer.expect(SET)?);
        let mut part = String::new();
        while set.peek().is_some() {
            let mut pair = Der(set.expect(SEQUENCE)?);
            let (key, value) = (pair.expect(OBJECT)?, pair.next()?);
            if !part.is_empty() {
                part.push('+');
            }
            attribute(key, value, &mut part)?;
        }
        parts.push(part);
    }
    parts.reverse();
    Some(parts.join(","))
}

/// `KEY=value`; a value that is no string, or of a kind without a name, as `#` and its DER (RFC 4514, 2.4).
fn attribute(key: &[u8], value: Element<'_>, into: &mut String) -> Option<()> {
    match (keyword(key), text(value)) {
        (Some(keyword), Some(text)) => {
            into.push_str(keyword);
            into.push('=');
            escape(&text, into);
        }
        (keyword, _) => {
            into.push_str(&keyword.map_or_else(|| object(key), |keyword| Some(keyword.to_string()))?);
            into.push_str("=#");
            into.push_str(&hex(value.whole, false));
        }
    }
    Some(())
}

/// The keywords of RFC 4514, and those that OpenSSL shows as well.
fn keyword(key: &[u8]) -> Option<&'static str> {
    Some(match key {
        [0x55, 4, 3] => "CN",
        [0x55, 4, 4] => "SN",
        [0x55, 4, 5] => "serialNumber",
        [0x55, 4, 6] => "C",
        [0x55, 4, 7] => "L",
        [0x55, 4, 8] => "ST",
        [0x55, 4, 9] => "STREET",
        [0x55, 4, 10] => "O",
        [0x55, 4, 11] => "OU",
        [0x55, 4, 12] => "title",
        [0x55, 4, 42] => "GN",
        [0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 1] => "UID",
        [0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 25] => "DC",
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1] => "emailAddress",
        _ => return None,
    })
}

/// An object identifier with dots (X.690, 8.19).
fn object(bytes: &[u8]) -> Option<String> {
    let mut text = String::new();
    let mut number = 0_u64;
    for byte in bytes {
        number = number.checked_mul(128)? + u64::from(byte & 0x7f);
        if byte & 0x80 != 0 {
            continue;
        }
        // Writing into a string cannot fail.
        let _ = match text.is_empty() {
            true => write!(text, "{}.{}", (number / 40).min(2), number - 40 * (number / 40).min(2)),
            false => write!(text, ".{number}"),
        };
        number = 0;
    }
    let is_whole = bytes.last().is_some_and(|last| last & 0x80 == 0);
    is_whole.then_some(text)
}

fn text(value: Element<'_>) -> Option<String> {
    let content = value.content;
    match value.tag {
        UTF8 => String::from_utf8(content.to_vec()).ok(),
        NUMERIC | PRINTABLE | IA5 if content.is_ascii() => String::from_utf8(content.to_vec()).ok(),
        // In practice this is Latin-1.
        TELETEX => Some(content.iter().copied().map(char::from).collect()),
        BMP if content.len().is_multiple_of(2) => {
            let units = content.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
            char::decode_utf16(units).collect::<Result<_, _>>().ok()
        }
        UNIVERSAL if content.len().is_multiple_of(4) => {
            let points = content.chunks_exact(4).map(|four| u32::from_be_bytes([four[0], four[1], four[2], four[3]]));
            points.map(char::from_u32).collect()
        }
        _ => None,
    }
}

/// The escapes of RFC 4514, 2.4, and of everything that would break a line or confuse a terminal.
fn escape(text: &str, into: &mut String) {
    let last = text.chars().count().saturating_sub(1);
    for (at, char) in text.chars().enumerate() {
        match char {
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => into.extend(['\\', char]),
            ' ' if at == 0 || at == last => into.push_str("\\ "),
            '#' if at == 0 => into.push_str("\\#"),
            char if char.is_control() => {
                for byte in char.encode_utf8(&mut [0; 4]).bytes() {
                    into.push('\\');
                    into.push_str(&hex(&[byte], true));
                }
            }
            char => into.push(char),
        }
    }
}

/// A time of a certificate, always UTC and with seconds (RFC 5280, 4.1.2.5), in seconds since 1970; zero before that.
fn time(element: Element<'_>) -> Option<u64> {
    let text = core::str::from_utf8(element.content).ok()?.strip_suffix('Z')?;
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let text = match element.tag {
        UTC_TIME if text.len() == 12 => format!("{}{text}", if &text[..1] < "5" { "20" } else { "19" }),
        GENERALIZED_TIME if text.len() == 14 => text.to_string(),
        _ => return None,
    };
    let number = |from: usize, to: usize| text[from..to].parse::<i64>().ok();
    let (year, month, day) = (number(0, 4)?, number(4, 6)?, number(6, 8)?);
    let (hour, minute, second) = (number(8, 10)?, number(10, 12)?, number(12, 14)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    // Years that begin in March have their leap day at the end.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year / 4 - year / 100 + year / 400;
    let days = 365 * year + leap_days + (153 * month + 2) / 5 + day - 1 - 719_468;
    u64::try_from(((days * 24 + hour) * 60 + minute) * 60 + second).ok().or(Some(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn element(tag: u8, content: &[u8]) -> Vec<u8> {
        let mut whole = vec![tag];
        match content.len() {
            len @ 0..128 => whole.push(len as u8),
            len => whole.extend([0x82, (len >> 8) as u8, len as u8]),
        }
        whole.extend_from_slice(content);
        whole
    }

    fn part(key: &[u8], tag: u8, value: &[u8]) -> Vec<u8> {
        element(SEQUENCE, &[element(OBJECT, key), element(tag, value)].concat())
    }

    fn rdn(key: &[u8], tag: u8, value: &[u8]) -> Vec<u8> {
        element(SET, &part(key, tag, value))
    }

    fn seconds(tag: u8, text: &str) -> Option<u64> {
        time(Der(&element(tag, text.as_bytes())).next().unwrap())
    }

    #[test]
    fn names_are_written_as_the_rfc_has_them() {
        let country = rdn(&[0x55, 4, 6], PRINTABLE, b"DE");
        let two = element(
            SET,
            &[part(&[0x55, 4, 11], UTF8, "Büro".as_bytes()), part(&[0x55, 4, 3], UTF8, b"#a+b, \"c\" ")].concat(),
        );
        let wide = rdn(&[0x55, 4, 10], BMP, &[0, b'O', 0x20, 0xac]);
        let unknown = rdn(&[0x2a, 3, 0x86, 0x48], UTF8, b"x");
        let number = rdn(&[0x55, 4, 7], INTEGER, &[5]);
        assert_eq!(
            name(&[country, two, wide, unknown, number].concat()).unwrap(),
            "L=#020105,1.2.3.840=#0c0178,O=O€,OU=Büro+CN=\\#a\\+b\\, \\\"c\\\"\\ ,C=DE"
        );
        assert_eq!(name(&rdn(&[0x55, 4, 3], UTF8, "a\r\n\0\u{85}".as_bytes())).unwrap(), "CN=a\\0D\\0A\\00\\C2\\85");
        assert_eq!(name(&[]).unwrap(), "");
    }

    #[test]
    fn malformed_names_are_refused_and_nothing_panics() {
        let whole = [rdn(&[0x55, 4, 3], UTF8, b"name"), rdn(&[0x2a, 0x86, 0x48], UTF8, b"x")].concat();
        assert!(name(&whole).is_some());
        let first = rdn(&[0x55, 4, 3], UTF8, b"name").len();
        for end in 1..whole.len() {
            assert_eq!(name(&whole[..end]).is_some(), end == first, "{end}");
        }
        assert_eq!(name(&rdn(&[0x2a, 0x86], UTF8, b"x")), None, "an identifier that ends inside a number");
        assert_eq!(name(&rdn(&[0xff; 12], UTF8, b"x")), None, "a number without end");
    }

    #[test]
    fn times_are_seconds() {
        assert_eq!(seconds(UTC_TIME, "700101000000Z"), Some(0));
        assert_eq!(seconds(UTC_TIME, "240229120000Z"), Some(1_709_208_000));
        assert_eq!(seconds(UTC_TIME, "491231235959Z"), Some(2_524_607_999));
        assert_eq!(seconds(GENERALIZED_TIME, "20500101000000Z"), Some(2_524_608_000));
        assert_eq!(seconds(GENERALIZED_TIME, "99991231235959Z"), Some(253_402_300_799));
        assert_eq!(seconds(UTC_TIME, "500101000000Z"), Some(0), "before the epoch");
        for malformed in ["", "Z", "2402291200Z", "240229120000", "241329120000Z", "2402291200é0Z", "24022912000+Z"] {
            assert_eq!(seconds(UTC_TIME, malformed), None, "{malformed}");
        }
    }

    #[test]
    fn answers_of_ocsp_are_told_from_anything_else() {
        assert!(is_ocsp_answer(&element(SEQUENCE, &[element(ENUMERATED, &[0]), element(VERSION, b"")].concat())));
        assert!(!is_ocsp_answer(&element(SEQUENCE, &element(ENUMERATED, &[6]))), "unauthorized");
        assert!(!is_ocsp_answer(b"-----BEGIN"));
        assert!(!is_ocsp_answer(b""));
    }
}
