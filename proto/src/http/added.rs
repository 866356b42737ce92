//! A field of the server's own, for a response that somebody else has made.

use core::fmt;

use bytes::Bytes;

use super::head::Fields;
use crate::error::Misuse;

/// A field that a server adds to a final response which has none of its name.
#[derive(Clone, PartialEq, Eq)]
pub struct AddedField {
    /// The whole line, CRLF included.
    line: Bytes,
    name_len: usize,
}

impl AddedField {
    /// A field of this name and value.
    ///
    /// # Errors
    /// [`Misuse`] if the name is no token, or the value has bytes that would change the meaning of a head.
    pub fn new(name: &str, value: &[u8]) -> Result<Self, Misuse> {
        let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if !is_name || value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
            return Err(Misuse("a part of the field has bytes that would change its meaning"));
        }
        let line = [name.as_bytes(), b": ", value, b"\r\n"].concat();
        Ok(Self { line: line.into(), name_len: name.len() })
    }

    /// The name.
    pub fn name(&self) -> &[u8] {
        &self.line[..self.name_len]
    }

    /// The value, in memory that is shared.
    pub fn value(&self) -> Bytes {
        self.line.slice(self.name_len + 2..self.line.len() - 2)
    }

    /// The line as HTTP/1 writes it, CRLF included.
    pub fn line(&self) -> &[u8] {
        &self.line
    }

    /// Whether a head has a field of this name already.
    pub fn is_in(&self, fields: &Fields) -> bool {
        fields.iter().any(|(name, _)| name.eq_ignore_ascii_case(self.name()))
    }
}

impl fmt::Debug for AddedField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name().escape_ascii(), self.value().escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Response;

    #[test]
    fn a_field_is_told_by_its_name_whatever_its_case() {
        let field = AddedField::new("Location", b"https://a/").unwrap();
        assert_eq!((field.name(), &field.value()[..]), (&b"Location"[..], &b"https://a/"[..]));
        assert_eq!(field.line(), b"Location: https://a/\r\n");
        let has = |name| field.is_in(&Response::builder(200).field(name, "x").build().unwrap().fields);
        assert!(has("LOCATION") && !has("Content-Location"));
    }

    #[test]
    fn what_would_change_a_head_is_no_field() {
        for (name, value) in [("", "x"), ("a b", "x"), ("a:", "x"), ("a\r\nb", "x"), ("a", "x\r\ny"), ("a", "x\0")] {
            assert!(AddedField::new(name, value.as_bytes()).is_err(), "{name:?}: {value:?}");
        }
        assert!(AddedField::new("a", b"").is_ok());
    }
}
