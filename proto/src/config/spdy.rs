//! Which versions of SPDY a listener speaks: the option `spdy=2,3,3.1` of its line.

use core::fmt;

/// The versions of SPDY that a listener's clients may speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spdy {
    /// SPDY/2.
    pub v2: bool,
    /// SPDY/3.
    pub v3: bool,
    /// SPDY/3.1. In clear text it begins as SPDY/3 does; where both are spoken, what a client says of its windows tells.
    pub v31: bool,
}

impl Spdy {
    /// No version.
    pub const NONE: Self = Self { v2: false, v3: false, v31: false };

    /// Reads `2,3,3.1`, or some of them.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut spdy = Self::NONE;
        for version in text.split(',') {
            let place = match version {
                "2" => &mut spdy.v2,
                "3" => &mut spdy.v3,
                "3.1" => &mut spdy.v31,
                _ => {
                    return Err(format!("{version:?} is not a version of SPDY; write spdy=2,3,3.1, or some of them"));
                }
            };
            *place = true;
        }
        Ok(spdy)
    }

    /// The versions that are spoken, newest first.
    pub(super) fn versions(self) -> impl Iterator<Item = &'static str> {
        [(self.v31, "3.1"), (self.v3, "3"), (self.v2, "2")]
            .into_iter()
            .filter_map(|(is_on, name)| is_on.then_some(name))
    }
}

/// As on a listener's line, with a blank before it; nothing if no version is spoken.
impl fmt::Display for Spdy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut versions: Vec<_> = self.versions().collect();
        versions.reverse();
        if versions.is_empty() { Ok(()) } else { write!(f, " spdy={}", versions.join(",")) }
    }
}
