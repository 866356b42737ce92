//! The time of day, which certificates and tickets go by.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;

use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;

/// The time of day as the caller tells it, in whole seconds. Clones show the same time.
///
/// Call [`set`](Self::set) now and then, at least once a minute: it decides whether a client's certificate is valid and
/// how old a session is.
#[derive(Clone, Debug)]
pub struct WallClock(Arc<AtomicU64>);

impl WallClock {
    /// A clock that shows the time `since_unix_epoch` until it is set.
    pub fn new(since_unix_epoch: Duration) -> Self {
        Self(Arc::new(AtomicU64::new(since_unix_epoch.as_secs())))
    }

    /// Sets the time.
    pub fn set(&self, since_unix_epoch: Duration) {
        self.0.store(since_unix_epoch.as_secs(), Ordering::Relaxed);
    }

    /// Seconds since 1970-01-01 00:00:00 UTC.
    pub fn seconds(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl TimeProvider for WallClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(self.seconds())))
    }
}
