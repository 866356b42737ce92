//! Finding the end of a head before anything looks into it.

use super::rules::REQUEST_LINE_SLACK;
use crate::error::Cause;
use crate::limits::Limits;

/// A search for the blank line, remembered, so that a head which comes a byte at a time costs no more than a whole one.
///
/// It goes from line to line and so sees every LF: those without CR are refused here, before the grammar is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct HeadScan {
    searched: u32,
    line: u32,
}

impl HeadScan {
    /// Searches `data`, which starts with the head, and returns the head's length once its end is there. What it
    /// refuses depends on the bytes alone, not on how many come at a time.
    pub(crate) fn find(&mut self, data: &[u8], limits: &Limits) -> Result<Option<usize>, Cause> {
        let head_max = limits.head_bytes.min(u32::MAX as usize);
        let first_line_max = limits.target_bytes.saturating_add(REQUEST_LINE_SLACK);
        let end = data.len().min(head_max);
        loop {
            let (searched, line) = (self.searched as usize, self.line as usize);
            let line_end = if line == 0 { end.min(first_line_max) } else { end };
            let Some(at) = memchr::memchr(b'\n', &data[searched..line_end]) else {
                self.searched = line_end as u32;
                if line == 0 && first_line_max <= head_max && data.len() >= first_line_max {
                    return Err(Cause::TargetTooLong);
                }
                return if data.len() >= head_max { Err(Cause::HeadTooLarge) } else { Ok(None) };
            };
            let at = searched + at;
            if at == line || data[at - 1] != b'\r' {
                return Err(Cause::BareLineBreak);
            }
            if at == line + 1 {
                return Ok(Some(at + 1));
            }
            self.line = at as u32 + 1;
            self.searched = self.line;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { head_bytes: 200, target_bytes: 16, ..Limits::DEFAULT };

    /// What a search finds with all bytes at once and with one more byte at a time.
    fn both_ways(data: &[u8]) -> Result<Option<usize>, Cause> {
        let whole = HeadScan::default().find(data, &LIMITS);
        let mut scan = HeadScan::default();
        let mut stepwise = Ok(None);
        for n in 0..=data.len() {
            stepwise = scan.find(&data[..n], &LIMITS);
            if stepwise != Ok(None) {
                break;
            }
        }
        assert_eq!(whole, stepwise, "{}", data.escape_ascii());
        whole
    }

    #[test]
    fn the_end_of_a_head_is_found() {
        assert_eq!(both_ways(b"GET / HTTP/1.1\r\nA: b\r\n\r\nbody\n"), Ok(Some(24)));
        assert_eq!(both_ways(b"GET / HTTP/1.1\r\nA: b\r\n\r"), Ok(None));
    }

    #[test]
    fn a_line_feed_alone_is_refused() {
        assert_eq!(both_ways(b"GET / HTTP/1.1\nA: b\r\n\r\n"), Err(Cause::BareLineBreak));
        assert_eq!(both_ways(b"GET / HTTP/1.1\r\n\n"), Err(Cause::BareLineBreak));
        assert_eq!(both_ways(b"\n"), Err(Cause::BareLineBreak));
    }

    #[test]
    fn bounds_hold_before_the_end_is_there() {
        assert_eq!(both_ways(&[b'a'; 79]), Ok(None));
        assert_eq!(both_ways(&[b'a'; 80]), Err(Cause::TargetTooLong));
        assert_eq!(both_ways(&[b'a'; 300]), Err(Cause::TargetTooLong));
        let mut head = b"GET / HTTP/1.1\r\n".to_vec();
        head.resize(196, b'a');
        assert_eq!(both_ways(&head), Ok(None));
        head.extend_from_slice(b"\r\n\r\n");
        assert_eq!(both_ways(&head), Ok(Some(200)));
        head.insert(20, b'a');
        assert_eq!(both_ways(&head), Err(Cause::HeadTooLarge));
    }

    #[test]
    fn no_byte_is_searched_twice() {
        let head = b"GET / HTTP/1.1\r\nA: b\r\nCc: d\r\n";
        let mut scan = HeadScan::default();
        for n in 0..=head.len() {
            assert_eq!(scan.find(&head[..n], &LIMITS), Ok(None));
            assert_eq!(scan.searched as usize, n);
        }
    }
}
