//! The greeting, the first 64 octets in each direction (RFC 37, "Formal Grammar" and "Version Negotiation").
//!
//! ```text
//! FF padding(8) 7F | major minor | mechanism(20, padded with NUL) | as-server | filler(31)
//! ```

use crate::error::Cause;

/// Octets of a greeting.
pub(super) const LEN: usize = 64;

const SIGNATURE_LEN: usize = 10;
const MAJOR: usize = 10;
const MINOR: usize = 11;
const MECHANISM: usize = 12;
const AS_SERVER: usize = 32;

/// The version that we speak.
const VERSION: (u8, u8) = (3, 1);

/// What a greeting says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Greeting {
    /// The minor version of ZMTP 3; a peer of a later major version counts as one of ours.
    pub(super) minor: u8,
    pub(super) mechanism: [u8; 20],
    pub(super) as_server: bool,
}

impl Greeting {
    /// Our greeting with this mechanism, whose name is at most 20 octets.
    pub(super) fn new(mechanism: &str, as_server: bool) -> Self {
        let mut padded = [0; 20];
        padded[..mechanism.len()].copy_from_slice(mechanism.as_bytes());
        Self { minor: VERSION.1, mechanism: padded, as_server }
    }

    /// Reads a greeting; `None` if it is not there in full. What is wrong is found as soon as it is there, so that a
    /// peer that speaks something else is not waited for.
    pub(super) fn parse(bytes: &[u8]) -> Result<Option<Self>, Cause> {
        if bytes.first().is_some_and(|&first| first != 0xff)
            || bytes.get(SIGNATURE_LEN - 1).is_some_and(|&last| last != 0x7f)
        {
            return Err(Cause::GreetingMalformed);
        }
        if bytes.get(MAJOR).is_some_and(|&major| major < VERSION.0) {
            return Err(Cause::GreetingVersion);
        }
        let Some(bytes) = bytes.first_chunk::<LEN>() else { return Ok(None) };
        let mut mechanism = [0; 20];
        mechanism.copy_from_slice(&bytes[MECHANISM..AS_SERVER]);
        let minor = if bytes[MAJOR] == VERSION.0 { bytes[MINOR] } else { VERSION.1 };
        Ok(Some(Self { minor, mechanism, as_server: bytes[AS_SERVER] != 0 }))
    }

    /// The greeting as it goes out.
    pub(super) fn to_bytes(self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        bytes[0] = 0xff;
        bytes[SIGNATURE_LEN - 1] = 0x7f;
        bytes[MAJOR] = VERSION.0;
        bytes[MINOR] = self.minor;
        bytes[MECHANISM..AS_SERVER].copy_from_slice(&self.mechanism);
        bytes[AS_SERVER] = self.as_server.into();
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_greeting_round_trips_whole_only() {
        let greeting = Greeting::new("PLAIN", true);
        let bytes = greeting.to_bytes();
        assert_eq!(Greeting::parse(&bytes), Ok(Some(greeting)));
        for len in 0..LEN {
            assert_eq!(Greeting::parse(&bytes[..len]), Ok(None), "{len} octets");
        }
    }

    #[test]
    fn a_peer_of_another_protocol_is_told_apart_by_its_first_octets() {
        assert_eq!(Greeting::parse(b"G"), Err(Cause::GreetingMalformed));
        assert_eq!(Greeting::parse(b"\xff\0\0\0\0\0\0\0\x01\x00"), Err(Cause::GreetingMalformed));
        assert_eq!(Greeting::parse(b"\xff\0\0\0\0\0\0\0\x01\x7f\x01"), Err(Cause::GreetingVersion));
    }

    #[test]
    fn a_later_version_is_taken_as_ours_and_padding_means_nothing() {
        let mut bytes = Greeting::new("NULL", false).to_bytes();
        bytes[MAJOR] = 4;
        bytes[MINOR] = 0;
        bytes[1..9].fill(0xaa);
        assert_eq!(Greeting::parse(&bytes), Ok(Some(Greeting::new("NULL", false))));
    }
}
