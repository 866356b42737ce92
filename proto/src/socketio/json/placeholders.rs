//! The places of attachments in JSON.

use alloc::vec::Vec;
use core::ops::Range;

use super::{is_string, skip_space, string_end, value_end};
use crate::error::Cause;

/// Where an attachment belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::socketio) struct Placeholder {
    /// The object that stands in its place.
    pub range: Range<usize>,
    /// Its number.
    pub num: usize,
}

/// Finds the objects `{"_placeholder":true,"num":N}`, in their order, in a value that was checked. There must be `count`
/// of them, with each number below it once: socket.io's own encoder writes no others.
pub(in crate::socketio) fn placeholders(json: &[u8], count: usize) -> Result<Vec<Placeholder>, Cause> {
    let mut found: Vec<Placeholder> = Vec::with_capacity(count);
    let mut open: Vec<Open> = Vec::new();
    let mut at = 0;
    while let Some(&byte) = json.get(at) {
        match byte {
            b'"' => {
                let end = string_end(json, at)?;
                let colon = skip_space(json, end);
                if json.get(colon) == Some(&b':')
                    && let Some(object) = open.last_mut()
                {
                    object.note(&json[at..end], &json[skip_space(json, colon + 1)..]);
                }
                at = end;
                continue;
            }
            b'[' | b'{' => open.push(Open { start: at, is_placeholder: false, num: None }),
            b']' | b'}' => {
                let object = open.pop().ok_or(Cause::JsonMalformed)?;
                if object.is_placeholder {
                    // What stands within a placeholder goes with it.
                    found.truncate(found.partition_point(|inner| inner.range.start < object.start));
                    let num = object.num.filter(|&num| num < count && found.len() < count);
                    found.push(Placeholder { range: object.start..at + 1, num: num.ok_or(Cause::AttachmentsWrong)? });
                }
            }
            _ => {}
        }
        at += 1;
    }
    let mut seen = alloc::vec![false; count];
    for placeholder in &found {
        seen[placeholder.num] = true;
    }
    if found.len() == count && seen.into_iter().all(|seen| seen) { Ok(found) } else { Err(Cause::AttachmentsWrong) }
}

/// An array or object whose end is still to come.
struct Open {
    start: usize,
    is_placeholder: bool,
    num: Option<usize>,
}

impl Open {
    /// Takes note of a member; of several of one name the last counts.
    fn note(&mut self, name: &[u8], from_value: &[u8]) {
        if is_string(name, "_placeholder") {
            self.is_placeholder = from_value.first() == Some(&b't');
        } else if is_string(name, "num") {
            let value = &from_value[..value_end(from_value, 0)];
            self.num = core::str::from_utf8(value).ok().and_then(|digits| digits.parse().ok());
        }
    }
}
