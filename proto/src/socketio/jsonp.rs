//! JSONP: payloads as scripts, and as fields of forms.

use alloc::string::ToString;
use alloc::vec::Vec;

use bytes::Bytes;

use super::{Generation, json, query};
use crate::error::Cause;

/// Writes a payload as the script that a client's page runs: it calls the function of this number with a string. Nothing
/// in it can end the script: `<`, U+2028 and U+2029 are escapes.
pub fn wrap(generation: Generation, number: u32, payload: &str) -> Bytes {
    let mut string = Vec::new();
    json::write_string(&mut string, payload);
    let mut out = Vec::with_capacity(string.len() + 24);
    out.extend_from_slice(if generation == Generation::One { b"io.j[" } else { b"___eio[" });
    out.extend_from_slice(number.to_string().as_bytes());
    out.extend_from_slice(b"](");
    let mut rest = &string[..];
    while let Some((byte, after)) = rest.split_first() {
        // U+2028 and U+2029 are E2 80 A8 and E2 80 A9.
        let (unit, len) = match rest {
            [b'<', ..] => (0x3c, 1),
            [0xe2, 0x80, 0xa8, ..] => (0x2028, 3),
            [0xe2, 0x80, 0xa9, ..] => (0x2029, 3),
            _ => {
                out.push(*byte);
                rest = after;
                continue;
            }
        };
        json::write_unit(&mut out, unit);
        rest = &rest[len..];
    }
    out.extend_from_slice(b");");
    out.into()
}

/// Reads the payload out of the form (`d=...`) that such a page posts.
///
/// Forms change line breaks, so clients write them as escapes: those of generation One the whole payload as a string of
/// JSON, those of Two each line break as `\n`, and `\n` as `\\n`.
pub fn unwrap_form(generation: Generation, body: &[u8]) -> Result<Bytes, Cause> {
    let field = body.split(|&byte| byte == b'&').find_map(|pair| pair.strip_prefix(b"d="));
    let payload = query::decode(field.ok_or(Cause::PacketMalformed)?);
    if generation != Generation::One {
        return Ok(line_breaks(&payload).into());
    }
    simdutf8::basic::from_utf8(&payload).map_err(|_| Cause::Utf8Invalid)?;
    json::check(&payload, 0)?;
    let said = json::string(&payload).ok_or(Cause::JsonMalformed)?;
    Ok(said.into_owned().into())
}

fn line_breaks(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len());
    let mut slashes = 0;
    for &byte in payload {
        match (byte, slashes) {
            (b'\\', _) => slashes += 1,
            (b'n', 1) => {
                out.pop();
                out.push(b'\n');
                slashes = 0;
                continue;
            }
            (b'n', 2..) => {
                out.pop();
                slashes = 0;
            }
            (_, _) => slashes = 0,
        }
        out.push(byte);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_call_the_function_of_their_generation() {
        assert_eq!(wrap(Generation::Two, 0, "2:4a"), "___eio[0](\"2:4a\");");
        assert_eq!(wrap(Generation::One, 17, "5:::{\"name\":\"x\"}"), "io.j[17](\"5:::{\\\"name\\\":\\\"x\\\"}\");");
    }

    #[test]
    fn scripts_hold_nothing_that_ends_them() {
        let script = wrap(Generation::Two, 1, "</script><!--\u{2028}\u{2029}\n\"\\é");
        let expected = "___eio[1](\"\\u003c/script>\\u003c!--\\u2028\\u2029\\n\\\"\\\\é\");";
        assert_eq!(script, expected.as_bytes());
        let string = &script["___eio[1](".len()..script.len() - 2];
        assert_eq!(json::check(string, 0), Ok(()));
        assert_eq!(json::string(string).unwrap(), "</script><!--\u{2028}\u{2029}\n\"\\é");
    }

    #[test]
    fn forms_of_generation_two_give_back_their_line_breaks() {
        for (written, payload) in [
            ("d=6%3A4hello", "6:4hello"),
            ("t=1&d=a+b%2Bc&x=d%3D", "a b+c"),
            ("d=", ""),
            // A line break, an escaped one, and backslashes that stand before neither.
            ("d=a\\nb", "a\nb"),
            ("d=a\\\\nb", "a\\nb"),
            ("d=a\\\\\\nb", "a\\\\nb"),
            ("d=\\\\\\\\t", "\\\\\\\\t"),
            ("d=n\\\\", "n\\\\"),
            ("d=%E2%82%AC", "€"),
        ] {
            assert_eq!(unwrap_form(Generation::Two, written.as_bytes()).unwrap(), payload, "{written}");
        }
        assert_eq!(unwrap_form(Generation::Two, b"e=1"), Err(Cause::PacketMalformed));
    }

    #[test]
    fn forms_of_generation_one_hold_a_string_of_json() {
        let written = b"d=%225%3A%3A%3A%7B%5C%22name%5C%22%3A%5C%22%5Cn%5Cud83d%5Cude00%5C%22%7D%22";
        assert_eq!(unwrap_form(Generation::One, written).unwrap(), "5:::{\"name\":\"\n\u{1f600}\"}");
        for written in ["d=3:::x", "d=%5B%5D", "d=%22x", "d="] {
            assert!(unwrap_form(Generation::One, written.as_bytes()).is_err(), "{written}");
        }
        assert_eq!(unwrap_form(Generation::One, b"d=%22%ff%22"), Err(Cause::Utf8Invalid));
    }
}
