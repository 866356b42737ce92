//! What stands in front of a packet: `NAMESPACE,`, in the generations before Five also `NAMESPACE?QUERY,`.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;

use super::{json, query};
use crate::error::Cause;

/// Bytes of a namespace, at most.
pub(super) const NAMESPACE_MAX: usize = 128;

/// Bytes of the query of a namespace, at most: there are tokens in it.
const QUERY_MAX: usize = 16 * 1024;

/// Checks the namespace that a packet's text begins with, if it does. The main one is left out, every other one has its
/// comma, even where nothing follows.
pub(super) fn normalize(text: Bytes) -> Result<Bytes, Cause> {
    if text.first() != Some(&b'/') {
        return Ok(text);
    }
    let end = length(&text);
    let namespace = &text[..end];
    let is_sound = namespace.len() <= NAMESPACE_MAX
        && core::str::from_utf8(namespace).is_ok_and(|namespace| !namespace.contains(char::is_control));
    if !is_sound {
        return Err(Cause::PacketMalformed);
    }
    if namespace == b"/" {
        return Ok(text.slice((end + 1).min(text.len())..));
    }
    if end == text.len() {
        return Ok([namespace, b","].concat().into());
    }
    Ok(text)
}

/// Bytes of the namespace that a text begins with; zero if there is none.
pub(super) fn length(text: &[u8]) -> usize {
    match text.first() {
        Some(b'/') => memchr::memchr(b',', text).unwrap_or(text.len()),
        Some(_) | None => 0,
    }
}

/// Makes a JSON object of the query behind the namespace of a packet that asks for it: `/chat?token=a` is
/// `/chat,{"token":"a"}`. Values of one name become an array.
pub(super) fn query_to_json(text: Bytes) -> Result<Bytes, Cause> {
    let asked = &text[..length(&text)];
    let Some(mark) = asked.iter().position(|&byte| byte == b'?') else { return Ok(text) };
    let (namespace, query) = (&asked[..mark], &asked[mark + 1..]);
    if query.len() > QUERY_MAX || text.len() > asked.len() + 1 {
        return Err(Cause::PacketMalformed);
    }
    let mut said: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (name, value) in query::pairs(query) {
        said.entry(name).or_default().push(value);
    }
    let mut out = [namespace, b","].concat();
    for (index, (name, values)) in said.iter().enumerate() {
        out.push(if index == 0 { b'{' } else { b',' });
        json::write_string(&mut out, name);
        out.push(b':');
        if let [value] = &values[..] {
            json::write_string(&mut out, value);
            continue;
        }
        for (index, value) in values.iter().enumerate() {
            out.push(if index == 0 { b'[' } else { b',' });
            json::write_string(&mut out, value);
        }
        out.push(b']');
    }
    if !said.is_empty() {
        out.push(b'}');
    }
    Ok(out.into())
}

/// Writes a namespace with an object, or nothing, as the query behind it; the main namespace only if there is one.
pub(super) fn write_with_query(out: &mut Vec<u8>, namespace: &str, object: &[u8]) {
    let mut mark = b'?';
    if namespace != "/" {
        out.extend_from_slice(namespace.as_bytes());
    }
    for (name, value) in json::members(object) {
        let values: Vec<_> =
            if value.first() == Some(&b'[') { json::elements(value).collect() } else { Vec::from([value]) };
        for value in values {
            if mark == b'?' && namespace == "/" {
                out.push(b'/');
            }
            out.push(mark);
            mark = b'&';
            query::encode(out, &json::string(name).unwrap_or_default());
            out.push(b'=');
            let written = || String::from_utf8_lossy(value);
            query::encode(out, &json::string(value).unwrap_or_else(written));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_main_namespace_goes_and_others_get_their_comma() {
        let normal = |text: &'static str| normalize(Bytes::from_static(text.as_bytes()));
        for (text, expected) in [
            ("", ""),
            ("[1]", "[1]"),
            ("12[\"/a,\"]", "12[\"/a,\"]"),
            ("/", ""),
            ("/,", ""),
            ("/,1[]", "1[]"),
            ("/chat", "/chat,"),
            ("/chat,", "/chat,"),
            ("/chat,[1,2]", "/chat,[1,2]"),
            ("//,[1]", "//,[1]"),
            ("/größe,", "/größe,"),
        ] {
            assert_eq!(normal(text), Ok(Bytes::from_static(expected.as_bytes())), "{text}");
        }
        for text in ["/a\nb,", "/\u{7f},", "/\u{85},"] {
            assert_eq!(normal(text), Err(Cause::PacketMalformed), "{text:?}");
        }
        assert_eq!(normalize(Bytes::from_static(b"/\xff,")), Err(Cause::PacketMalformed));
        let longest = ["/", &"x".repeat(NAMESPACE_MAX - 1), ","].concat();
        assert_eq!(normalize(longest.clone().into()), Ok(longest.clone().into()));
        assert_eq!(normalize(["/x", &longest[1..]].concat().into()), Err(Cause::PacketMalformed));
    }

    #[test]
    fn queries_become_objects_and_objects_queries() {
        for (text, object) in [
            ("/chat?token=a", "/chat,{\"token\":\"a\"}"),
            ("/chat?b=%22x%2C%0A&a=1&b=%C3%BC", "/chat,{\"a\":\"1\",\"b\":[\"\\\"x,\\n\",\"ü\"]}"),
            ("/?a=1", "/,{\"a\":\"1\"}"),
            ("/chat?", "/chat,"),
            ("/chat", "/chat"),
            ("", ""),
        ] {
            let json = query_to_json(Bytes::from_static(text.as_bytes())).unwrap();
            assert_eq!(json, object, "{text}");
            let (namespace, object) = json.split_at(length(&json));
            let mut query = Vec::new();
            let namespace = if namespace.is_empty() { "/" } else { core::str::from_utf8(namespace).unwrap() };
            write_with_query(&mut query, namespace, object.strip_prefix(b",").unwrap_or_default());
            let again = query_to_json(query.into()).unwrap();
            assert_eq!(
                again.trim_ascii_end().strip_suffix(b",").unwrap_or(&again),
                json.strip_suffix(b",").unwrap_or(&json)
            );
        }
        let mut out = Vec::new();
        write_with_query(&mut out, "/chat", br#"{"n":1.5,"t":true,"o":{"a":[1]}}"#);
        assert_eq!(out, b"/chat?n=1.5&t=true&o=%7B%22a%22%3A%5B1%5D%7D");
    }

    #[test]
    fn a_query_stands_alone_and_is_bounded() {
        let asked = |text: alloc::string::String| query_to_json(text.into()).map(|_| ());
        assert_eq!(asked("/chat?a=1,{}".into()), Err(Cause::PacketMalformed));
        assert_eq!(asked("/chat?".to_owned() + &"x".repeat(QUERY_MAX)), Ok(()));
        assert_eq!(asked("/chat?".to_owned() + &"x".repeat(QUERY_MAX + 1)), Err(Cause::PacketMalformed));
    }
}
