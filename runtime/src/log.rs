//! The log: one line an event, on the standard error output.
//!
//! ```text
//! 2026-11-21T22:49:00.123Z info node-connected node=foobar peer=127.0.0.1:1
//! {"time":"2026-11-21T22:49:00.123Z","level":"info","event":"node-connected","node":"foobar","peer":"127.0.0.1:1"}
//! ```
//!
//! Whatever peers put into a field, a line stays one line, its fields can be told apart, and a terminal shows it as
//! text. A reader that stalls costs the server a moment and then lines, which are counted; one that has gone costs
//! nothing.

mod format;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, SystemTime};

use blastbeat_proto::config::{Log as Settings, LogLevel};
use blastbeat_proto::engine::{Level, Report, Value};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, fstat};
use rustix::io::Errno;

use format::{Clock, Each, Line};

/// What a pipe takes at once or not at all, and what one that polls as writable takes without waiting (pipe(7)).
const PIECE_BYTES: usize = 4096;

/// How long a line waits for a reader that stalls; once one has waited in vain, the next ones do not wait.
const PATIENCE: Duration = Duration::from_millis(100);

/// Writes reports and notices as lines.
pub struct Log {
    output: Output,
    settings: Settings,
    clock: Clock,
    line: String,
    /// Lines that found no room since the last one that did.
    lost: u64,
}

impl Log {
    /// A log on the standard error output.
    ///
    /// # Errors
    ///
    /// The descriptor could not be duplicated.
    pub fn stderr(settings: Settings) -> io::Result<Self> {
        Ok(Self::new(io::stderr().as_fd().try_clone_to_owned()?, settings))
    }

    fn new(fd: OwnedFd, settings: Settings) -> Self {
        Self { output: Output::new(fd), settings, clock: Clock::default(), line: String::new(), lost: 0 }
    }

    /// Writes what the engine reports, if the level asks for it.
    pub fn report(&mut self, report: &Report) {
        self.event(report.level(), report.name(), |each| report.fields(each));
    }

    /// Writes an event of the program around the engine, if the level asks for it.
    pub fn notice(&mut self, level: Level, name: &str, fields: &[(&'static str, Value<'_>)]) {
        self.event(level, name, |each| fields.iter().for_each(|(name, value)| each(name, *value)));
    }

    /// Writes `text`, which is for a person to read and copy, as it stands: where words are wanted, not JSON, and the
    /// level is at least that of the normal course of things.
    pub fn text(&mut self, text: &str) {
        if !self.settings.json && self.settings.level <= LogLevel::Info && !self.output.write(text.as_bytes()) {
            self.lost += 1;
        }
    }

    fn event(&mut self, level: Level, name: &str, fields: impl FnOnce(Each<'_>)) {
        if level < least(self.settings.level) {
            return;
        }
        let stamp = self.clock.stamp(SystemTime::now());
        self.line.clear();
        let mut line = Line { out: &mut self.line, json: self.settings.json };
        if self.lost > 0 {
            line.write(stamp, Level::Warn, "log-lines-lost", |each| each("lines", Value::Number(self.lost)));
        }
        line.write(stamp, level, name, fields);
        match self.output.write(self.line.as_bytes()) {
            true => self.lost = 0,
            false => self.lost += 1,
        }
    }
}

fn least(level: LogLevel) -> Level {
    match level {
        LogLevel::Debug => Level::Debug,
        LogLevel::Info => Level::Info,
        LogLevel::Warn => Level::Warn,
        LogLevel::Error => Level::Error,
    }
}

/// A descriptor that others may read slowly, or not at all.
struct Output {
    fd: OwnedFd,
    /// A file never makes its writer wait for a reader.
    is_file: bool,
    stalled: bool,
    /// The last line was cut in the middle.
    cut: bool,
}

impl Output {
    fn new(fd: OwnedFd) -> Self {
        let is_file = fstat(&fd).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile);
        Self { fd, is_file, stalled: false, cut: false }
    }

    /// Writes `bytes`, in one call where they fit one; false if the reader stalls. Where nobody can ever read it, it
    /// counts as written.
    fn write(&mut self, mut bytes: &[u8]) -> bool {
        let piece = if self.is_file { usize::MAX } else { PIECE_BYTES };
        let whole = bytes.len();
        if self.cut {
            match self.write_piece(b"\n") {
                Ok(_) => self.cut = false,
                Err(why) => return why != Errno::AGAIN,
            }
        }
        while !bytes.is_empty() {
            match self.write_piece(&bytes[..bytes.len().min(piece)]) {
                Ok(written) => bytes = &bytes[written..],
                Err(Errno::AGAIN) => {
                    self.cut = bytes.len() < whole;
                    return false;
                }
                // Closed, or the disk is full: there is nobody to tell.
                Err(_) => return true,
            }
        }
        true
    }

    /// Writes some of `bytes`, or fails with `AGAIN` when the reader stalls.
    fn write_piece(&mut self, bytes: &[u8]) -> Result<usize, Errno> {
        loop {
            if !self.is_file && !self.is_writable()? {
                self.stalled = true;
                return Err(Errno::AGAIN);
            }
            match rustix::io::write(&self.fd, bytes) {
                Err(Errno::INTR) => {}
                result => {
                    self.stalled = result == Err(Errno::AGAIN);
                    return result;
                }
            }
        }
    }

    fn is_writable(&self) -> Result<bool, Errno> {
        let patience = if self.stalled { Duration::ZERO } else { PATIENCE };
        let patience = Timespec { tv_sec: 0, tv_nsec: patience.subsec_nanos().into() };
        match poll(&mut [PollFd::new(&self.fd, PollFlags::OUT)], Some(&patience)) {
            Err(Errno::INTR) => Ok(false),
            result => Ok(result? > 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;

    use blastbeat_proto::address::PeerAddr;
    use blastbeat_proto::error::Cause;

    use super::*;

    const WORDS: Settings = Settings { json: false, level: LogLevel::Info };

    fn piped(settings: Settings) -> (Log, File) {
        let (reader, writer) = io::pipe().unwrap();
        (Log::new(writer.into(), settings), File::from(OwnedFd::from(reader)))
    }

    fn everything(log: Log, mut reader: File) -> String {
        drop(log);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn a_report_is_one_line_with_time_level_and_fields() {
        let (mut log, reader) = piped(WORDS);
        log.report(&Report::NodeAvailable { node: "foobar".into() });
        let text = everything(log, reader);
        let (time, rest) = text.split_once(' ').unwrap();
        assert_eq!((time.len(), rest), ("2026-11-21T22:49:00.123Z".len(), "info node-available node=foobar\n"));
    }

    #[test]
    fn lines_below_the_level_are_not_written() {
        let (mut log, reader) = piped(Settings { json: false, level: LogLevel::Warn });
        log.report(&Report::NodeAvailable { node: "quiet".into() });
        log.text("quiet");
        log.report(&Report::NodeSilent { node: "loud".into() });
        let text = everything(log, reader);
        assert!(text.contains("warn node-silent node=loud") && !text.contains("quiet"), "{text}");
    }

    #[test]
    fn text_for_people_stays_out_of_a_json_log() {
        let (mut log, reader) = piped(Settings { json: true, level: LogLevel::Info });
        log.text("for people\n");
        log.notice(Level::Info, "ready", &[]);
        let text = everything(log, reader);
        assert!(text.starts_with('{') && text.ends_with("\"event\":\"ready\"}\n"), "{text}");
    }

    #[test]
    fn a_reader_that_stalls_costs_lines_which_are_counted() {
        let (mut log, mut reader) = piped(WORDS);
        let refused =
            Report::NodeRefused { identity: vec![b'x'; 10_000], peer: PeerAddr::Unix, cause: Cause::IdentityUnknown };
        let mut written = 0;
        while log.lost == 0 {
            log.report(&refused);
            written += 1;
        }
        for _ in 0..1000 {
            log.report(&refused);
        }
        let mut page = vec![0; 1 << 20];
        let read = reader.read(&mut page).unwrap();
        assert!(read > 4096 && written > 1);
        log.notice(Level::Info, "ready", &[]);
        let text = everything(log, reader);
        let mut last = text.lines().rev();
        assert!(last.next().unwrap().ends_with(" info ready"), "{text}");
        assert!(last.next().unwrap().ends_with(" warn log-lines-lost lines=1001"), "{text}");
    }

    #[test]
    fn a_reader_that_has_gone_costs_nothing() {
        let (mut log, reader) = piped(WORDS);
        drop(reader);
        for _ in 0..1000 {
            log.notice(Level::Info, "ready", &[]);
        }
        assert_eq!(log.lost, 0);
    }
}
