//! What a client speaks that has not negotiated it: its first bytes tell.

use crate::config::{Serves, Spdy};
use crate::{http2, spdy};

/// What the first bytes of a connection say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spoken {
    /// Too little: it may be this or that.
    Unclear,
    Http1,
    Http2,
    Spdy(spdy::Version),
    /// SPDY/3 or SPDY/3.1.
    Spdy3Or31,
}

impl Spoken {
    /// Looks at all that has come on a connection of a listener in clear text.
    pub fn of(bytes: &[u8], serves: Serves) -> Self {
        let Serves::Http { http2, spdy, .. } = serves else { return Self::Http1 };
        let begins = |with: &[u8]| bytes.len() < with.len() && with.starts_with(bytes);
        for version in spdy::Version::ALL.into_iter().filter(|version| is_allowed(spdy, *version)) {
            let first = version.first_bytes();
            if bytes.starts_with(&first) {
                let is_either = version != spdy::Version::V2 && spdy.v3 && spdy.v31;
                return if is_either { Self::Spdy3Or31 } else { Self::Spdy(version) };
            } else if begins(&first) {
                return Self::Unclear;
            }
        }
        match http2 {
            true if begins(http2::PREFACE) => Self::Unclear,
            true if is_http2(bytes) => Self::Http2,
            true | false => Self::Http1,
        }
    }
}

/// Whether there is anything to tell apart.
pub(super) fn is_needed(serves: Serves) -> bool {
    matches!(serves, Serves::Http { tls: false, http2, spdy, .. } if http2 || spdy != Spdy::NONE)
}

fn is_allowed(spdy: Spdy, version: spdy::Version) -> bool {
    match version {
        spdy::Version::V2 => spdy.v2,
        spdy::Version::V3 => spdy.v3,
        spdy::Version::V31 => spdy.v31,
    }
}

/// Whether a connection that begins so is to be refused, or served, as HTTP/2: what has no version in its first line is
/// no request of HTTP/1.
fn is_http2(bytes: &[u8]) -> bool {
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let has_version = line.windows(5).any(|word| word == b"HTTP/");
    bytes.starts_with(http2::PREFACE) || (line.len() < bytes.len() && !has_version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes_tell_what_is_spoken() {
        let serves = |http2, spdy| Serves::Http { proxy: false, tls: false, http2, spdy };
        let all = serves(true, Spdy { v2: true, v3: true, v31: true });
        for (bytes, spoken) in [
            (&b""[..], Spoken::Unclear),
            (b"G", Spoken::Http1),
            (b"GET / HTTP/1.1\r\n", Spoken::Http1),
            (b"nonsense\r\n", Spoken::Http2),
            (b"PRI * HT", Spoken::Unclear),
            (http2::PREFACE, Spoken::Http2),
            (b"\x80", Spoken::Unclear),
            (b"\x80\x01", Spoken::Http1),
            (b"\x80\x02\0", Spoken::Spdy(spdy::Version::V2)),
            (b"\x80\x03", Spoken::Spdy3Or31),
        ] {
            assert_eq!(Spoken::of(bytes, all), spoken, "{}", bytes.escape_ascii());
        }
        let third = serves(false, Spdy { v3: true, ..Spdy::NONE });
        assert_eq!(Spoken::of(b"\x80\x03", third), Spoken::Spdy(spdy::Version::V3));
        assert_eq!(Spoken::of(b"\x80\x02", third), Spoken::Http1);
        assert_eq!(Spoken::of(http2::PREFACE, third), Spoken::Http1);
        let newest = serves(false, Spdy { v2: true, v31: true, ..Spdy::NONE });
        assert_eq!(Spoken::of(b"\x80\x03", newest), Spoken::Spdy(spdy::Version::V31));
        let none = serves(false, Spdy::NONE);
        assert_eq!(Spoken::of(b"\x80\x03", none), Spoken::Http1);
        assert!(is_needed(third) && is_needed(all) && !is_needed(none));
    }
}
