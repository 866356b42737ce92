//! Takes passwords out of what is recorded of a PLAIN handshake.

use alloc::vec::Vec;
use core::ops::Range;

const GREETING: usize = 64;

/// Longest prefix that can hold a HELLO: greeting, frame header, command name, two strings of up to 255 bytes.
const PREFIX_MAX: usize = GREETING + 9 + 6 + 256 + 256;

/// Follows the bytes of one client in a PLAIN handshake and blots its password out.
///
/// A byte that agrees with the true password becomes `*`, any other `!`, and the length stays. So a comparison with
/// a true password that was blotted out alike comes out as it did, and nothing of it can be read.
#[derive(Default)]
pub struct Scrubber {
    seen: Vec<u8>,
}

impl Scrubber {
    /// Blots the password out of the next bytes, whatever chunks they come in. `password_of` tells the true password
    /// of a user.
    pub fn scrub<'a>(&mut self, bytes: &mut [u8], password_of: impl FnOnce(&[u8]) -> Option<&'a [u8]>) {
        let before = self.seen.len();
        if before >= PREFIX_MAX {
            return;
        }
        self.seen.extend_from_slice(&bytes[..bytes.len().min(PREFIX_MAX - before)]);
        let Some((user, secret)) = credentials(&self.seen) else { return };
        let known = password_of(&self.seen[user]).unwrap_or_default();
        for at in secret.start.max(before)..secret.end.min(self.seen.len()) {
            let agrees = known.get(at - secret.start) == Some(&self.seen[at]);
            bytes[at - before] = if agrees { b'*' } else { b'!' };
        }
    }
}

/// Where the user's name and password stand, or will stand, in a handshake that begins like this.
fn credentials(seen: &[u8]) -> Option<(Range<usize>, Range<usize>)> {
    let header = match seen.get(GREETING)? {
        flags if flags & 0x02 == 0 => 2,
        _ => 9,
    };
    let name = GREETING + header;
    if seen.get(name..name + 6)? != b"\x05HELLO" {
        return None;
    }
    let user = name + 7..name + 7 + usize::from(*seen.get(name + 6)?);
    let len = usize::from(*seen.get(user.end)?);
    let secret = user.end + 1..user.end + 1 + len;
    Some((user, secret))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn hello(password: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; GREETING];
        let body = [b"\x05HELLO\x05admin", &[password.len() as u8][..], password].concat();
        bytes.extend_from_slice(&[4, body.len() as u8]);
        bytes.extend_from_slice(&body);
        bytes.extend_from_slice(b"what follows");
        bytes
    }

    #[test]
    fn the_password_is_blotted_out_in_any_chunks() {
        let plain = hello(b"secret");
        for size in [1, 3, 7, plain.len()] {
            let mut scrubber = Scrubber::default();
            let mut bytes = plain.clone();
            for chunk in bytes.chunks_mut(size) {
                scrubber.scrub(chunk, |user| (user == b"admin").then_some(&b"secret"[..]));
            }
            assert_eq!(bytes, hello(b"******"), "chunks of {size}");
        }
    }

    #[test]
    fn a_wrong_password_stays_wrong() {
        let mut bytes = hello(b"sexret");
        Scrubber::default().scrub(&mut bytes, |_| Some(b"secret"));
        assert_eq!(bytes, hello(b"**!***"));
        let mut bytes = hello(b"secret");
        Scrubber::default().scrub(&mut bytes, |_| None);
        assert_eq!(bytes, hello(b"!!!!!!"));
    }
}
