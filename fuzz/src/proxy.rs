//! Headers of the PROXY protocol in arbitrary bytes.

use blastbeat_proto::proxy::{Event, Header, V2_MAX, Version, encode};
use blastbeat_proto::time::Instant;

/// The outcome is the same however the bytes are cut; nothing is consumed before the header is whole, and nothing behind
/// it; a header is longer than its bound in no case; addresses that were read are written and read back the same.
pub fn body(data: &[u8]) {
    let (step, data) = match data {
        [step, rest @ ..] => (usize::from(*step).max(1), rest),
        [] => (1, data),
    };
    let whole = feed(data, data.len().max(1));
    assert_eq!(feed(data, step), whole);
    assert_eq!(feed(data, 1), whole);
    let Some((Event::Done { source, destination }, used)) = whole else { return };
    assert!(used <= V2_MAX);
    assert_eq!(source.is_some(), destination.is_some());
    for version in [Version::V1, Version::V2] {
        let mut bytes = Vec::new();
        encode(version, source.zip(destination), &mut bytes);
        assert_eq!(feed(&bytes, step), Some((Event::Done { source, destination }, bytes.len())));
    }
}

/// The event and how many bytes it took, or `None` if there is none (yet).
fn feed(data: &[u8], step: usize) -> Option<(Event, usize)> {
    let mut header = Header::new();
    let mut used = 0;
    for end in (step..data.len() + step).step_by(step).map(|end| end.min(data.len())) {
        let taken = header.receive(&data[used..end], Instant::ZERO);
        assert!(taken <= end - used);
        used += taken;
        if let Some(event) = header.poll_event() {
            assert!(header.violation().is_none());
            assert_eq!(header.receive(&data[used..], Instant::ZERO), 0);
            return Some((event, used));
        }
        if header.violation().is_some() {
            assert_eq!(header.receive(data, Instant::ZERO), data.len());
            assert_eq!(header.poll_event(), None);
            return None;
        }
        assert_eq!(taken, 0, "a header is consumed as a whole");
    }
    None
}
