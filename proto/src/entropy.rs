//! Randomness as the machines see it: bytes from outside.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// A source of bytes that peers cannot guess.
pub trait Entropy {
    /// Fills `bytes` with random bytes.
    fn fill(&mut self, bytes: &mut [u8]);

    /// A random number.
    fn next_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// A random number below `bound`; zero if `bound` is zero. The bias is below 2^-32 for bounds below 2^32.
    fn below(&mut self, bound: u64) -> u64 {
        match bound {
            0 => 0,
            bound => self.next_u64() % bound,
        }
    }
}

/// A cryptographic generator (ChaCha8): give it 32 bytes from the operating system and its output cannot be
/// predicted; give it the seed of a recording and it repeats itself.
pub struct SeededEntropy(ChaCha8Rng);

impl SeededEntropy {
    /// A generator that yields the same bytes for the same seed.
    pub fn new(seed: [u8; 32]) -> Self {
        Self(ChaCha8Rng::from_seed(seed))
    }

    /// A generator for tests, from a small number.
    pub fn from_number(seed: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        Self::new(bytes)
    }
}

impl Entropy for SeededEntropy {
    fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }

    fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }
}
