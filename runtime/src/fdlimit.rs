//! File descriptors: as many as the configuration may need, or limits that fit what there is.

use blastbeat_proto::config::Config;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors for everything that is not a connection or a listener: standard streams, polls, wakers, the tape, name
/// look-ups.
const SPARE: usize = 64;

/// The limits that had to give way, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lowered {
    /// Descriptors the configuration may need.
    pub needed: usize,
    /// Descriptors there are.
    pub available: usize,
    /// `connections` as it is now.
    pub connections: usize,
    /// `sessions` as it is now.
    pub sessions: usize,
    /// Links of nodes (`max-nodes`) as it is now.
    pub nodes: usize,
}

/// Raises the limit of open files (RLIMIT_NOFILE) to what `config` may need. Where that is not allowed, lowers the
/// limits in `config` to what there is and says so.
pub fn fit(config: &mut Config) -> Option<Lowered> {
    let needed = needed(config);
    let available = raise(needed, getrlimit(Resource::Nofile), |limit| setrlimit(Resource::Nofile, limit).is_ok());
    lower(config, needed, available)
}

fn needed(config: &Config) -> usize {
    let limits = &config.limits;
    config.listeners.len().saturating_add(SPARE).saturating_add(limits.connections).saturating_add(limits.node_links)
}

/// Asks for `needed` descriptors by `set`; returns how many there are then.
fn raise(needed: usize, now: Rlimit, set: impl Fn(Rlimit) -> bool) -> usize {
    let wanted = needed as u64;
    let (soft, hard) = (now.current.unwrap_or(u64::MAX), now.maximum.unwrap_or(u64::MAX));
    let rlimit = |soft, hard: u64| Rlimit { current: Some(soft), maximum: (hard < u64::MAX).then_some(hard) };
    let got = if soft >= wanted {
        soft
    } else if set(rlimit(wanted, hard.max(wanted))) {
        wanted
    } else if set(rlimit(hard, hard)) {
        hard
    } else {
        soft
    };
    got.try_into().unwrap_or(usize::MAX)
}

/// Lowers the limits so that `available` descriptors are enough, connections and links of nodes by the same share.
fn lower(config: &mut Config, needed: usize, available: usize) -> Option<Lowered> {
    if needed <= available {
        return None;
    }
    let fixed = config.listeners.len() + SPARE;
    let limits = &mut config.limits;
    let asked = limits.connections as u128 + limits.node_links as u128;
    let left = available.saturating_sub(fixed) as u128;
    // A share of `left` is below it, so it fits again; with less than one descriptor for a thing one is tried anyway.
    let share = |wanted: usize| ((wanted as u128 * left / asked.max(1)) as usize).max(1);
    limits.node_links = share(limits.node_links);
    limits.connections = share(limits.connections);
    limits.sessions = limits.sessions.min(limits.connections);
    Some(Lowered {
        needed,
        available,
        connections: limits.connections,
        sessions: limits.sessions,
        nodes: limits.node_links,
    })
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    fn rlimit(soft: u64, hard: u64) -> Rlimit {
        Rlimit { current: Some(soft), maximum: Some(hard) }
    }

    /// The outcome, and what was asked of a system that allows `hard_max`.
    fn raised(needed: usize, now: Rlimit, hard_max: u64) -> (usize, Vec<Rlimit>) {
        let asked = RefCell::new(Vec::new());
        let available = raise(needed, now, |limit| {
            asked.borrow_mut().push(limit);
            limit.maximum.unwrap() <= hard_max
        });
        (available, asked.into_inner())
    }

    #[test]
    fn a_sufficient_limit_is_left_alone() {
        assert_eq!(raised(1000, rlimit(1024, 4096), 4096), (1024, vec![]));
        assert_eq!(raised(1000, Rlimit { current: None, maximum: None }, 0).1, []);
    }

    #[test]
    fn the_limit_is_raised_to_what_is_needed() {
        assert_eq!(raised(3000, rlimit(1024, 4096), 4096), (3000, vec![rlimit(3000, 4096)]));
        assert_eq!(raised(5000, rlimit(1024, 4096), 9999), (5000, vec![rlimit(5000, 5000)]));
    }

    #[test]
    fn without_the_right_to_more_it_is_raised_as_far_as_it_goes() {
        let asked = vec![rlimit(5000, 5000), rlimit(4096, 4096)];
        assert_eq!(raised(5000, rlimit(1024, 4096), 4096), (4096, asked));
    }

    #[test]
    fn limits_that_do_not_fit_are_lowered_until_they_do() {
        for available in [100, 1024, 4096, 20_000] {
            let mut config = Config::default();
            let needed = needed(&config);
            let lowered = lower(&mut config, needed, available).unwrap();
            assert_eq!((lowered.needed, lowered.available), (needed, available));
            assert!(super::needed(&config) <= available, "{lowered:?}");
            assert!(config.limits.sessions <= config.limits.connections && config.limits.node_links > 0, "{lowered:?}");
        }
    }

    #[test]
    fn limits_that_fit_are_kept() {
        let mut config = Config::default();
        let needed = needed(&config);
        assert_eq!(lower(&mut config, needed, needed), None);
        assert_eq!(config, Config::default());
    }

    #[test]
    fn the_system_gives_what_it_says() {
        let mut config = Config::default();
        config.limits.connections = 10;
        config.limits.node_links = 10;
        assert_eq!(fit(&mut config), None);
        assert!(getrlimit(Resource::Nofile).current.is_none_or(|soft| soft >= 84));
    }
}
