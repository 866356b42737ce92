//! Certificates while the server runs: the time that they go by, and files that are exchanged for newer ones.
//!
//! ```text
//!            poll(), every TICK                       reload(), when asked
//!                   |                                         |
//!  stamps as read --+--> the same: nothing to do              |
//!                   +--> changed, still changing: wait        |
//!                   \--> changed, at rest --------------------+--> read, check --> good: the next certificates
//!                                                                       \--------> bad: those of before stay
//! ```
//!
//! A certificate and its key are two files, so one of them is newer for a moment: what does not fit is told, stays
//! unused, and is looked at again when one of the files changes.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use blastbeat_proto::config::{CertificateProblem, Config, FileUse, Problem, Stores};
use blastbeat_proto::tls::WallClock;

use crate::load::{Site, Source};

/// How often [`Watch::poll`] is to be called.
pub const TICK: Duration = Duration::from_secs(2);

/// The time of day, since 1970-01-01 00:00:00 UTC.
pub fn wall_time() -> Duration {
    // Before 1970 nothing that is checked is valid.
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// The files of TLS that a configuration names.
#[derive(Clone, Debug, Default)]
pub struct Files(Vec<(FileUse, PathBuf)>);

impl Files {
    /// The files of `site` as it is now: what is put into it afterwards comes from elsewhere.
    pub(crate) fn of(site: &Site) -> Self {
        let mut config = site.config.clone();
        let files = config.files_mut().filter(|(usage, _)| usage.is_of_tls());
        Self(files.map(|(usage, file)| (usage, file.path.clone())).collect())
    }
}

/// Watches the files of certificates.
pub struct Watch {
    source: Option<Source>,
    /// With the contents of files that are in use.
    config: Config,
    stores: Stores,
    clock: WallClock,
    files: Files,
    /// What the files were like when they were last read.
    read: Vec<Option<Stamp>>,
    /// What they were like at the last look.
    seen: Vec<Option<Stamp>>,
    /// What was told last of files that cannot be read.
    told: Vec<Problem>,
}

/// What changes when a file does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// `None` if there is no file that we may see.
    fn of(path: &Path) -> Option<Self> {
        fs::metadata(path).ok().map(|metadata: Metadata| Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

impl Watch {
    /// Checks the certificates of `site`, which has the contents of its files, and watches `files` from now on.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the certificates, with the lines that name them.
    pub(crate) fn new(site: &Site, files: Files, clock: &WallClock) -> Result<Self, Vec<Problem>> {
        let stores =
            Stores::new(&site.config, clock).map_err(|bad| locate(site.source.as_ref(), &site.config, &bad))?;
        Ok(Self {
            source: site.source.clone(),
            config: site.config.clone(),
            stores,
            clock: clock.clone(),
            // Nothing was seen yet: a server that has given up its privileges finds out at the first look whether it
            // may still read the files.
            read: Vec::new(),
            seen: Vec::new(),
            files,
            told: Vec::new(),
        })
    }

    /// The certificates in use.
    pub fn stores(&self) -> &Stores {
        &self.stores
    }

    /// Whether there are files to watch: certificates that come from elsewhere stay as they are.
    pub fn has_files(&self) -> bool {
        !self.files.0.is_empty()
    }

    /// Sets the clock of the certificates, and looks whether their files have changed. Call it every [`TICK`].
    ///
    /// The certificates to use from now on; or why those of before stay, told once.
    #[must_use]
    pub fn poll(&mut self) -> Option<Result<Stores, Vec<Problem>>> {
        self.clock.set(wall_time());
        let now = self.stamps();
        let is_at_rest = now == self.seen;
        self.seen = now;
        if !is_at_rest || self.seen == self.read {
            return None;
        }
        match self.renew(false) {
            Ok(stores) => stores.map(Ok),
            Err(problems) if problems == self.told => None,
            Err(problems) => {
                self.told.clone_from(&problems);
                Some(Err(problems))
            }
        }
    }

    /// Reads the files whether they have changed or not: somebody wants it so.
    ///
    /// # Errors
    ///
    /// Why the certificates of before stay.
    pub fn reload(&mut self) -> Result<Stores, Vec<Problem>> {
        self.clock.set(wall_time());
        self.seen = self.stamps();
        let result = self.renew(true).map(|stores| stores.unwrap_or_else(|| self.stores.clone()));
        self.told = result.as_ref().err().cloned().unwrap_or_default();
        result
    }

    fn stamps(&self) -> Vec<Option<Stamp>> {
        self.files.0.iter().map(|(_, path)| Stamp::of(path)).collect()
    }

    /// Reads and checks the files. `None` if they hold what is in use and that is enough.
    fn renew(&mut self, always: bool) -> Result<Option<Stores>, Vec<Problem>> {
        let mut config = self.config.clone();
        // What cannot be read may be readable the next time, so it counts as unread.
        if let Some(source) = &self.source {
            source.read(&mut config, |usage| self.files.0.iter().any(|(known, _)| *known == usage))?;
        }
        self.read.clone_from(&self.seen);
        self.told.clear();
        if config == self.config && !always {
            return Ok(None);
        }
        let stores = self.stores.renew(&config).map_err(|bad| locate(self.source.as_ref(), &config, &bad))?;
        self.config = config;
        self.stores = stores.clone();
        Ok(Some(stores))
    }
}

fn locate(source: Option<&Source>, config: &Config, problems: &[CertificateProblem]) -> Vec<Problem> {
    match source {
        Some(source) => source.locate(config, problems),
        None => problems.iter().map(|problem| problem.located(config, b"", "built-in")).collect(),
    }
}

#[cfg(test)]
mod tests {
    use blastbeat_proto::config::Mode;

    use super::*;
    use crate::load::load;
    use crate::scratch::Scratch;

    /// A configuration with a certificate in a file.
    struct Stage {
        scratch: Scratch,
        ini: PathBuf,
    }

    impl Stage {
        fn new() -> Self {
            let scratch = Scratch::new();
            let (certificate, key) = (scratch.path("site.pem"), scratch.path("site.key"));
            let text = format!(
                "[blastbeat]\nbind-ssl = 127.0.0.1:0\ncertificate = {}\nkey = {}\n[blastbeat:*]\nnode = app:welcome\n",
                certificate.display(),
                key.display()
            );
            let ini = scratch.path("site.ini");
            fs::write(&ini, text).unwrap();
            let stage = Self { scratch, ini };
            let (certificate, key) = pair();
            stage.put("site.pem", &certificate);
            stage.put("site.key", &key);
            stage
        }

        /// Exchanges a file as those who renew certificates do.
        fn put(&self, name: &str, content: &str) {
            let beside = self.scratch.path("new");
            fs::write(&beside, content).unwrap();
            fs::rename(beside, self.scratch.path(name)).unwrap();
        }

        fn watch(&self) -> Result<Watch, Vec<Problem>> {
            let site = load(&self.ini, Mode::Strict, false)?;
            Watch::new(&site, Files::of(&site), &WallClock::new(Duration::ZERO))
        }
    }

    fn pair() -> (String, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::default().self_signed(&key).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    fn is_another(watch: &Watch, before: &Stores) -> bool {
        let store = |stores: &Stores| std::sync::Arc::as_ptr(stores.certificates(0).unwrap());
        store(watch.stores()) != store(before)
    }

    /// Until nothing is heard for two looks.
    fn heard(watch: &mut Watch) -> Vec<Result<Stores, Vec<Problem>>> {
        let mut heard = Vec::new();
        let mut silence = 0;
        while silence < 2 {
            match watch.poll() {
                Some(word) => {
                    heard.push(word);
                    silence = 0;
                }
                None => silence += 1,
            }
        }
        heard
    }

    #[test]
    fn files_that_stay_the_same_are_no_news() {
        let stage = Stage::new();
        let mut watch = stage.watch().unwrap();
        assert!(watch.has_files());
        assert!(heard(&mut watch).is_empty());
        let body = fs::read_to_string(stage.scratch.path("site.pem")).unwrap();
        stage.put("site.pem", &body);
        assert!(heard(&mut watch).is_empty(), "another file with the same content");
        assert!(watch.clock.seconds() > 1_700_000_000, "and the clock goes");
    }

    #[test]
    fn renewed_files_are_used_when_both_are_there() {
        let stage = Stage::new();
        let mut watch = stage.watch().unwrap();
        let before = watch.stores().clone();
        let (certificate, key) = pair();
        stage.put("site.pem", &certificate);
        let [Err(problems)] = &heard(&mut watch)[..] else { panic!("the key is the old one") };
        let problem = problems[0].to_string();
        assert!(problem.contains("site.ini:4: key: ") && problem.contains("does not belong"), "{problem}");
        assert!(!is_another(&watch, &before), "those of before stay");
        stage.put("site.key", &key);
        let [Ok(renewed)] = &heard(&mut watch)[..] else { panic!("both are new") };
        assert!(is_another(&watch, &before) && !is_another(&watch, renewed));
        assert!(heard(&mut watch).is_empty());
    }

    #[test]
    fn files_that_are_still_written_are_waited_for() {
        let stage = Stage::new();
        let mut watch = stage.watch().unwrap();
        assert!(heard(&mut watch).is_empty());
        let (certificate, key) = pair();
        stage.put("site.pem", &certificate);
        assert!(watch.poll().is_none(), "it has just changed");
        stage.put("site.key", &key);
        assert!(watch.poll().is_none(), "and so has the other");
        assert!(matches!(watch.poll(), Some(Ok(_))), "at rest");
    }

    #[test]
    fn a_file_that_is_gone_is_told_once_and_found_again() {
        let stage = Stage::new();
        let mut watch = stage.watch().unwrap();
        let path = stage.scratch.path("site.key");
        let key = fs::read_to_string(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let [Err(problems)] = &heard(&mut watch)[..] else { panic!("there is no key") };
        assert!(problems[0].to_string().contains("site.key cannot be read: "), "{problems:?}");
        stage.put("site.key", &key);
        assert!(heard(&mut watch).is_empty(), "it is what is in use");
        fs::remove_file(&path).unwrap();
        assert!(matches!(&heard(&mut watch)[..], [Err(_)]), "told anew");
    }

    #[test]
    fn who_asks_for_it_gets_them_at_once() {
        let stage = Stage::new();
        let mut watch = stage.watch().unwrap();
        let before = watch.stores().clone();
        watch.reload().unwrap();
        assert!(is_another(&watch, &before));
        stage.put("site.pem", "");
        assert!(watch.reload().unwrap_err()[0].to_string().contains("site.ini:3: certificate: "));
        assert!(heard(&mut watch).is_empty(), "that was told");
        let (certificate, key) = pair();
        stage.put("site.pem", &certificate);
        stage.put("site.key", &key);
        watch.reload().unwrap();
        assert!(heard(&mut watch).is_empty(), "nothing has changed since");
    }

    #[test]
    fn bad_certificates_are_found_before_the_start() {
        let stage = Stage::new();
        stage.put("site.key", &pair().1);
        let problems = stage.watch().err().unwrap();
        let file = stage.ini.display();
        let key = stage.scratch.path("site.key");
        assert!(
            problems[0].to_string().starts_with(&format!("{file}:4: key: {}: the private key does not", key.display())),
            "{problems:?}"
        );
    }
}
