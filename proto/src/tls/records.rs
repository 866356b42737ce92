//! The borders of TLS records (RFC 8446, 5.1), followed from outside: how much to hand to the library at a time, and
//! whether what comes is worth its while.

use crate::time::{Duration, Instant};

const HEADER_LEN: u8 = 5;

/// Records that are taken at a time. The library keeps the plaintext of each in a piece of its own, and a table of
/// these pieces that never shrinks: taking few keeps the table small.
const RECORDS_MAX: u32 = 16;

/// No more is taken once records of so many bytes are complete: as much as the library holds of plaintext.
const BYTES_MAX: usize = 16 * 1024;

/// Plaintext bytes that make up for a record. The smallest message that anybody sends by itself in earnest is a masked
/// WebSocket frame with one byte, which has seven.
const WORTH: u32 = 6;

/// What a connection may owe: 4,096 empty records.
const DEBT_MAX: u32 = 4096 * WORTH;

/// What is forgiven in a second: 1,000 empty records. Somebody who types into a raw connection is never cut.
const FORGIVEN: u32 = 1000 * WORTH;

/// Follows the records of one connection.
///
/// The library bounds empty records in a row (32), warnings (4), renegotiation requests of TLS 1.2 (1),
/// ChangeCipherSpec (2), handshake messages (64 KiB), and key updates in a row (32); a byte of data between two of them
/// gets around the bounds on rows. What happens inside records cannot be seen from outside, padding hides even its
/// length, so what is counted is records against plaintext.
#[derive(Debug)]
pub(super) struct Records {
    /// Header bytes of the record at hand that were seen.
    header: u8,
    /// The length in its header.
    length: u16,
    /// Bytes of its body that are missing.
    left: u16,
    debt: u32,
    forgiven: Instant,
}

/// What [`Records::take`] found.
pub(super) struct Taken {
    /// Bytes to hand on.
    pub(super) bytes: usize,
    /// Records that end in them.
    pub(super) records: u32,
}

impl Records {
    pub(super) fn new(now: Instant) -> Self {
        Self { header: 0, length: 0, left: 0, debt: 0, forgiven: now }
    }

    /// Follows the records through `bytes` for as far as they are to be handed on now.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Taken {
        let (mut used, mut records, mut complete) = (0, 0, 0);
        while used < bytes.len() && records < RECORDS_MAX && complete < BYTES_MAX {
            if self.header < HEADER_LEN {
                self.length = self.length << 8 | u16::from(bytes[used]);
                self.header += 1;
                used += 1;
                self.left = self.length;
            } else {
                let step = usize::from(self.left).min(bytes.len() - used);
                // The step is at most `left`, so it fits.
                self.left -= step as u16;
                used += step;
            }
            if self.header == HEADER_LEN && self.left == 0 {
                self.header = 0;
                records += 1;
                complete += usize::from(HEADER_LEN) + usize::from(self.length);
            }
        }
        Taken { bytes: used, records }
    }

    /// Whether the last record is complete.
    pub(super) fn is_between(&self) -> bool {
        self.header == 0
    }

    /// Accounts for `records` that brought `plain` bytes; says whether that is still bearable.
    #[must_use]
    pub(super) fn account(&mut self, records: u32, plain: usize, now: Instant) -> bool {
        let plain = u32::try_from(plain).unwrap_or(u32::MAX);
        self.debt = self.debt.saturating_add(records * WORTH).saturating_sub(plain);
        if self.debt <= DEBT_MAX {
            return true;
        }
        let elapsed = now.since(self.forgiven).min(Duration::from_secs(60));
        let forgiven = elapsed.as_micros() as u64 * u64::from(FORGIVEN) / 1_000_000;
        self.debt = u32::try_from(u64::from(self.debt).saturating_sub(forgiven)).unwrap_or(u32::MAX);
        self.forgiven = now;
        self.debt <= DEBT_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(len: u16) -> Vec<u8> {
        let mut record = vec![23, 3, 3];
        record.extend(len.to_be_bytes());
        record.resize(5 + usize::from(len), 0xff);
        record
    }

    #[test]
    fn records_are_followed_however_they_are_cut() {
        let stream = [record(0), record(1), record(300), record(0), record(17)].concat();
        for step in 1..stream.len() {
            let mut records = Records::new(Instant::ZERO);
            let mut count = 0;
            for piece in stream.chunks(step) {
                let taken = records.take(piece);
                assert_eq!(taken.bytes, piece.len());
                count += taken.records;
            }
            assert!(records.is_between());
            assert_eq!(count, 5);
        }
        let mut records = Records::new(Instant::ZERO);
        assert_eq!(records.take(&stream[..stream.len() - 1]).records, 4);
        assert!(!records.is_between());
    }

    #[test]
    fn few_records_are_taken_at_a_time() {
        let mut records = Records::new(Instant::ZERO);
        let small = record(10).repeat(40);
        let taken = records.take(&small);
        assert_eq!((taken.bytes, taken.records), (16 * 15, 16));
        let large = record(9000).repeat(4);
        let taken = records.take(&large);
        assert_eq!((taken.bytes, taken.records), (2 * 9005, 2));
    }

    #[test]
    fn what_carries_nothing_is_borne_for_a_while() {
        let at = |seconds: u64| Instant::from_millis(seconds * 1000);
        let mut records = Records::new(at(0));
        assert!(records.account(4096, 0, at(0)));
        assert!(!records.account(1, 0, at(0)));
        assert!(records.account(999, 0, at(1)));
        assert!(!records.account(16, 0, at(1)));
        // Time makes up for it, but not for more than was owed.
        assert!(records.account(16, 0, at(1000)));
        assert!(!records.account(5000, 0, at(1000)));
    }

    #[test]
    fn what_carries_something_is_borne_for_ever() {
        let mut records = Records::new(Instant::ZERO);
        for _ in 0..100_000 {
            assert!(records.account(16, 16 * 7, Instant::ZERO));
        }
        assert_eq!(records.debt, 0);
    }
}
