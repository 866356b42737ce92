//! How often a peer may do what costs it less than us.

use crate::error::Cause;
use crate::time::{Duration, Instant};

/// The time in which a used allowance comes back.
const PERIOD: Duration = Duration::from_secs(30);

/// An allowance of things that comes back evenly.
///
/// One instant says it all: when everything used will have come back.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Allowance {
    whole_at: Instant,
}

impl Allowance {
    /// Uses one of `most`, or says that none is left.
    pub(crate) fn spend(&mut self, most: usize, now: Instant, cause: Cause) -> Result<(), Cause> {
        self.whole_at = self.whole_at.max(now) + Self::share(most);
        if self.whole_at.since(now) > PERIOD { Err(cause) } else { Ok(()) }
    }

    /// Gives `n` of `most` back.
    pub(crate) fn give_back(&mut self, n: u32, most: usize) {
        self.whole_at = Instant::from_epoch(self.whole_at.since_epoch().saturating_sub(Self::share(most) * n));
    }

    fn share(most: usize) -> Duration {
        PERIOD / u32::try_from(most).unwrap_or(u32::MAX).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allowance_comes_back_evenly() {
        let mut allowance = Allowance::default();
        let now = Instant::from_millis(5);
        for _ in 0..10 {
            assert_eq!(allowance.spend(10, now, Cause::PingFlood), Ok(()));
        }
        assert_eq!(allowance.spend(10, now, Cause::PingFlood), Err(Cause::PingFlood));
        let mut allowance = Allowance::default();
        for second in 0..100 {
            let now = Instant::from_millis(3000 * second);
            assert_eq!(allowance.spend(10, now, Cause::PingFlood), Ok(()), "{second}");
        }
        let mut allowance = Allowance::default();
        for _ in 0..1000 {
            assert_eq!(allowance.spend(10, now, Cause::PingFlood), Ok(()));
            allowance.give_back(1, 10);
        }
    }
}
