//! The text behind a question mark, and that of forms: names and values, percent-encoded.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;

/// The names and values of a query or form, decoded; what is not UTF-8 becomes U+FFFD.
pub(super) fn pairs(query: &[u8]) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    query.split(|&byte| byte == b'&').filter(|pair| !pair.is_empty()).map(|pair| {
        let equals = pair.iter().position(|&byte| byte == b'=').unwrap_or(pair.len());
        (text(&pair[..equals]), text(pair.get(equals + 1..).unwrap_or_default()))
    })
}

fn text(encoded: &[u8]) -> Cow<'_, str> {
    match decode(encoded) {
        Cow::Borrowed(bytes) => String::from_utf8_lossy(bytes),
        Cow::Owned(bytes) => Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()),
    }
}

/// Decodes a name or value: `%` with two digits is a byte, `+` a space; a `%` without them stands for itself.
pub(super) fn decode(encoded: &[u8]) -> Cow<'_, [u8]> {
    let is_special = |byte: &u8| matches!(byte, b'%' | b'+');
    let Some(first) = encoded.iter().position(is_special) else { return Cow::Borrowed(encoded) };
    let mut out = Vec::with_capacity(encoded.len());
    out.extend_from_slice(&encoded[..first]);
    let mut rest = &encoded[first..];
    while let [byte, after @ ..] = rest {
        rest = after;
        match (byte, after) {
            (b'+', _) => out.push(b' '),
            (b'%', [high, low, after @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                out.push(digit(*high) << 4 | digit(*low));
                rest = after;
            }
            (_, _) => out.push(*byte),
        }
    }
    Cow::Owned(out)
}

/// What a hexadecimal digit counts.
fn digit(byte: u8) -> u8 {
    match byte {
        b'0'..=b'9' => byte - b'0',
        _ => (byte | 0x20) - b'a' + 10,
    }
}

/// Encodes a name or value: what is neither letter, digit nor one of `-_.~` as `%` and two digits.
pub(super) fn encode(out: &mut Vec<u8>, text: &str) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(byte);
        } else {
            out.extend([b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn what_is_encoded_is_decoded() {
        for text in ["", "plain", "a b+c%d&e=f,?/", "Grüße \u{1f600}", "\u{0}\u{7f}"] {
            let mut encoded = b"name=".to_vec();
            encode(&mut encoded, text);
            assert!(
                encoded[5..].iter().all(|byte| byte.is_ascii_graphic() && !b",&=+?/".contains(byte)),
                "{encoded:?}"
            );
            let pairs: Vec<_> = pairs(&encoded).collect();
            assert_eq!(pairs, [("name".into(), text.into())]);
        }
    }

    #[test]
    fn queries_of_all_shapes_are_read() {
        let read = |query: &[u8]| -> Vec<_> { pairs(query).map(|(a, b)| (a.to_string(), b.to_string())).collect() };
        let pair = |a: &str, b: &str| (a.to_string(), b.to_string());
        assert_eq!(read(b""), []);
        assert_eq!(read(b"a=1&&b&=c&d="), [pair("a", "1"), pair("b", ""), pair("", "c"), pair("d", "")]);
        assert_eq!(read(b"a=1=2&%61+b=%"), [pair("a", "1=2"), pair("a b", "%")]);
        assert_eq!(read(b"a=%2&b=%zz&c=%ff%41"), [pair("a", "%2"), pair("b", "%zz"), pair("c", "\u{fffd}A")]);
    }
}
