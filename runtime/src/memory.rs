//! Memory that many connections needed goes back to the system when they have gone.

/// Below this many it is not worth a walk through the heap.
const WORTH_IT: usize = 256;

/// Watches a number of open things fall from its peak.
#[derive(Debug, Default)]
pub(crate) struct Ebb {
    open: usize,
    peak: usize,
}

impl Ebb {
    /// One more is open.
    pub(crate) fn rise(&mut self) {
        self.open += 1;
        self.peak = self.peak.max(self.open);
    }

    /// One has gone. Each time half of the peak has, what they left is given back.
    pub(crate) fn fall(&mut self) {
        self.open -= 1;
        if self.peak >= WORTH_IT && self.open <= self.peak / 2 {
            self.peak = self.open;
            give_back();
        }
    }
}

/// Returns free pages inside the heap to the system. The allocator of glibc only does so at the end of the heap, where
/// one long-lived block keeps everything below it.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn give_back() {
    // SAFETY: malloc_trim takes no pointers and locks the heap itself; any thread may call it at any time.
    #[allow(unsafe_code, reason = "the allocator has no other way to be asked")]
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Other allocators return free pages by themselves.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn give_back() {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_follows_the_ebb_by_halves() {
        let mut ebb = Ebb::default();
        (0..1000).for_each(|_| ebb.rise());
        (0..499).for_each(|_| ebb.fall());
        assert_eq!((ebb.open, ebb.peak), (501, 1000));
        ebb.fall();
        assert_eq!((ebb.open, ebb.peak), (500, 500));
        (0..500).for_each(|_| ebb.fall());
        assert_eq!((ebb.open, ebb.peak), (0, 250), "few are not worth it");
    }
}
