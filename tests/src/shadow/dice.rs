//! Chance that repeats itself, and payloads that say whose they are.

use std::time::Duration;

/// Random numbers from a seed (splitmix64: good enough for dice, and cheap).
#[derive(Clone)]
pub struct Dice(u64);

impl Dice {
    /// Dice that fall the same way for the same seed.
    pub fn new(seed: u64) -> Self {
        Self(mix(seed ^ 0x5117))
    }

    /// Any number.
    pub fn throw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `bound`, which is not zero.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.throw() % bound as u64) as usize
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high - low + 1)
    }

    /// True in so many of 100 cases.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of these.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// Milliseconds from `low` to `high`.
    pub fn millis(&mut self, low: usize, high: usize) -> Duration {
        Duration::from_millis(self.between(low, high) as u64)
    }

    /// A size: mostly small, now and then up to `max`.
    pub fn size(&mut self, max: usize) -> usize {
        let bound = self.pick(&[0, 20, 300, 300, 3000, 3000, 30_000, max]);
        self.below(bound.min(max) + 1)
    }
}

fn mix(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// Whose payload it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// What the client sends up.
    Upload,
    /// What the node answers.
    Answer,
}

/// Bytes `from..from + len` of the payload of request `number`.
pub fn payload(number: usize, part: Part, from: usize, len: usize) -> Vec<u8> {
    let salt = match part {
        Part::Upload => 1,
        Part::Answer => 2,
    };
    let word = |place: usize| mix(((number as u64) << 34) ^ (salt << 32) ^ place as u64);
    let mut bytes = Vec::with_capacity(len);
    let mut place = from;
    while bytes.len() < len {
        let skip = place % 8;
        let n = (8 - skip).min(len - bytes.len());
        bytes.extend_from_slice(&word(place / 8).to_le_bytes()[skip..skip + n]);
        place += n;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_the_same_however_it_is_cut_and_differs_between_requests() {
        let whole = payload(7, Part::Answer, 0, 100);
        assert_eq!([payload(7, Part::Answer, 0, 13), payload(7, Part::Answer, 13, 87)].concat(), whole);
        assert_ne!(payload(8, Part::Answer, 0, 100), whole);
        assert_ne!(payload(7, Part::Upload, 0, 100), whole);
    }
}
