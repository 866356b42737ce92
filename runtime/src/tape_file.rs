//! The file of a recording: nobody else's, and for nobody else's eyes.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::OFlags;

/// A buffered writer, whose clones write to the same file. The recorder that writes to it bounds its size.
#[derive(Clone)]
pub struct TapeFile(Arc<Mutex<BufWriter<File>>>);

impl TapeFile {
    /// Opens `path` for a recording. An older recording of ours is overwritten.
    ///
    /// # Errors
    ///
    /// The system's; and `AlreadyExists` if there is something else than a plain file of this user with a single name:
    /// it could be a trap that others have laid.
    pub fn create(path: &Path) -> io::Result<Self> {
        // Without NONBLOCK, opening a pipe that somebody put there would wait for its reader.
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(flags.bits() as i32)
            .open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() || metadata.nlink() != 1 || metadata.uid() != rustix::process::geteuid().as_raw() {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "this is not a plain file of this user with a single name; it is not overwritten",
            ));
        }
        file.set_permissions(Permissions::from_mode(0o600))?;
        file.set_len(0)?;
        Ok(Self(Arc::new(Mutex::new(BufWriter::new(file)))))
    }

    /// From now on a panic of this process writes out what is buffered, before anything else: the last moments are
    /// what the recording is for.
    pub fn survive_panics(&self) {
        let tape = self.clone();
        let next = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            // A panic inside a write holds the lock: what the buffer holds then is lost.
            if let Ok(mut file) = tape.0.try_lock() {
                let _ = file.flush();
            }
            next(info);
        }));
    }

    fn lock(&self) -> MutexGuard<'_, BufWriter<File>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for TapeFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.lock().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.lock().flush()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn a_recording_is_for_its_owner_alone_and_replaces_an_older_one() {
        let scratch = Scratch::new();
        let path = scratch.path("tape");
        fs::write(&path, "an older and longer one").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        let mut tape = TapeFile::create(&path).unwrap();
        tape.write_all(b"a new one").unwrap();
        drop(tape);
        assert_eq!(fs::read(&path).unwrap(), b"a new one");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn nothing_is_written_through_what_others_may_have_laid() {
        let scratch = Scratch::new();
        let precious = scratch.path("precious");
        fs::write(&precious, "keep").unwrap();
        symlink(&precious, scratch.path("symlink")).unwrap();
        fs::hard_link(&precious, scratch.path("link")).unwrap();
        for name in ["symlink", "link"] {
            assert!(TapeFile::create(&scratch.path(name)).is_err(), "{name}");
        }
        assert!(TapeFile::create(Path::new("/dev/null")).is_err());
        assert_eq!(fs::read(&precious).unwrap(), b"keep");
    }

    #[test]
    fn what_is_buffered_can_be_written_out_by_any_clone() {
        let scratch = Scratch::new();
        let path = scratch.path("tape");
        let mut tape = TapeFile::create(&path).unwrap();
        let mut clone = tape.clone();
        tape.write_all(b"kept").unwrap();
        clone.flush().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"kept");
    }
}
