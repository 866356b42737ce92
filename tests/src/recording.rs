//! Tapes of scenarios, kept in memory.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use blastbeat_proto::engine::{Engine, Welcome};
use blastbeat_proto::tape::{Recorder, replay};
use blastbeat_proto::time::Instant;

/// Bytes that a scenario's tape may have.
const TAPE_BYTES: u64 = 1024 * 1024 * 1024;

/// The tape of a running engine.
#[derive(Clone, Default)]
pub struct Recording(Arc<Mutex<Vec<u8>>>);

impl Recording {
    /// Starts to record an engine that was made of this seed at this time.
    pub fn start(engine: &mut Engine, seed: [u8; 32], now: Instant) -> Self {
        let recording = Self::default();
        let config = Arc::clone(engine.config());
        let recorder = Recorder::new(Box::new(recording.clone()), TAPE_BYTES, seed, &config, now);
        engine.record(recorder.expect("memory takes all that is written"));
        recording
    }

    /// Takes what was recorded.
    pub fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for Recording {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Replays a tape into a fresh engine.
///
/// # Panics
/// If a single byte out differs, or the tape is not whole.
pub fn check(tape: &[u8], name: &str) {
    let prepare = |engine: &mut Engine| {
        engine.add_app(Welcome::NAME, Box::new(Welcome::new()));
    };
    let verdict = replay(&mut &tape[..], prepare, &mut |_, _| {});
    let verdict = verdict.unwrap_or_else(|error| panic!("on {name}: the recording cannot be replayed: {error}"));
    assert!(verdict.difference.is_none() && !verdict.cut, "on {name}: the replay is {verdict}");
    assert!(verdict.inputs > 0, "on {name}: the recording is empty");
}

/// The 32 bytes of a small seed.
pub fn seed(number: u64) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    bytes
}
