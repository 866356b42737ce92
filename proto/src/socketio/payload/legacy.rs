//! Bodies of generation One.

use alloc::string::ToString;
use alloc::vec::Vec;

use bytes::Bytes;

use super::{Units, check_utf8, number};
use crate::error::Cause;
use crate::socketio::Settings;
use crate::websocket::Message;

/// U+FFFD, which stands around lengths.
const MARK: &[u8] = "\u{fffd}".as_bytes();

/// Digits of a length.
const LENGTH_DIGITS: usize = 9;

/// Reads the body of a request or answer of generation One: the texts of its packets, as slices of it.
///
/// A length counts UTF-16 code units, which is what clients write. The first server of this project counted bytes: the
/// same for ASCII, and wrong for anything else.
pub(in crate::socketio) fn decode_legacy_payload(body: Bytes, settings: &Settings) -> Result<Vec<Bytes>, Cause> {
    check_utf8(&body)?;
    if body.is_empty() {
        return Err(Cause::PacketMalformed);
    }
    if !body.starts_with(MARK) {
        return Ok(Vec::from([body]));
    }
    let mut packets = Vec::new();
    let mut at = 0;
    while at < body.len() {
        if packets.len() >= settings.packets {
            return Err(Cause::PacketsTooMany);
        }
        let rest = body[at..].strip_prefix(MARK).ok_or(Cause::PacketMalformed)?;
        let digits =
            rest.iter().take(LENGTH_DIGITS + 1).position(|&byte| byte == MARK[0]).ok_or(Cause::PacketMalformed)?;
        let count = number(rest[..digits].iter().map(|digit| digit.wrapping_sub(b'0')))?;
        let text = rest[digits..].strip_prefix(MARK).ok_or(Cause::PacketMalformed)?;
        let span = Units::Utf16.span(text, count).ok_or(Cause::PacketMalformed)?;
        at = body.len() - text.len() + span;
        packets.push(body.slice_ref(&text[..span]));
    }
    Ok(packets)
}

/// Writes the body of generation One with these packets.
pub(super) fn write(out: &mut Vec<u8>, messages: &[Message]) {
    if let [message] = messages {
        return out.extend_from_slice(&message.payload);
    }
    for message in messages {
        out.extend_from_slice(MARK);
        out.extend_from_slice(Units::Utf16.count(&message.payload).to_string().as_bytes());
        out.extend_from_slice(MARK);
        out.extend_from_slice(&message.payload);
    }
}
