//! The configuration and the files it names.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use blastbeat_proto::config::{CertificateProblem, Config, FileUse, Mode, Problem};

/// What is named by a configuration is kept in memory; what is larger is no page and no certificate.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// A configuration, and where it comes from.
pub(crate) struct Site {
    /// The configuration, with the contents of its files.
    pub config: Config,
    /// What is likely not meant so.
    pub warnings: Vec<Problem>,
    /// The name of the file and what it holds; `None` if the configuration is built in.
    pub source: Option<Source>,
}

/// A configuration file.
#[derive(Clone)]
pub(crate) struct Source {
    name: String,
    text: Vec<u8>,
}

/// Reads a configuration and the files that it names. If `certificates_follow`, hosts may lack them.
///
/// # Errors
///
/// Everything that is wrong with it.
pub(crate) fn load(path: &Path, mode: Mode, certificates_follow: bool) -> Result<Site, Vec<Problem>> {
    let name = path.display().to_string();
    let text = fs::read(path).map_err(|why| {
        vec![Problem { file: name.clone(), line: 0, key: String::new(), message: format!("cannot be read: {why}") }]
    })?;
    let parse = if certificates_follow { Config::parse_uncertified } else { Config::parse };
    let (mut config, warnings) = parse(&text, &name, mode)?;
    let source = Source { name, text };
    source.read(&mut config, |_| true)?;
    Ok(Site { config, warnings, source: Some(source) })
}

impl Site {
    /// What is served without a configuration.
    pub(crate) fn builtin() -> Self {
        Self { config: Config::builtin(), warnings: Vec::new(), source: None }
    }
}

impl Source {
    /// Reads the files of `config` that are wanted; all, or none.
    ///
    /// # Errors
    ///
    /// A problem for each file that cannot be read. The configuration is as it was.
    pub(crate) fn read(&self, config: &mut Config, wanted: impl Fn(FileUse) -> bool) -> Result<(), Vec<Problem>> {
        let files: Vec<(FileUse, PathBuf)> = config
            .files_mut()
            .filter(|(usage, _)| wanted(*usage))
            .map(|(usage, file)| (usage, file.path.clone()))
            .collect();
        let (mut bodies, mut problems) = (Vec::new(), Vec::new());
        for (usage, path) in files {
            match read(&path) {
                Ok(body) => bodies.push(body),
                Err(why) => problems.push(Problem {
                    file: self.name.clone(),
                    line: usage.line(config, &self.text),
                    key: usage.key().to_owned(),
                    message: format!("{} cannot be read: {why}; {}", path.display(), usage.advice()),
                }),
            }
        }
        if !problems.is_empty() {
            problems.sort_by_key(|problem| problem.line);
            return Err(problems);
        }
        let files = config.files_mut().filter(|(usage, _)| wanted(*usage));
        files.zip(bodies).for_each(|((_, file), body)| file.body = body.into());
        Ok(())
    }

    /// What is wrong with certificates, with the lines of this file.
    pub(crate) fn locate(&self, config: &Config, problems: &[CertificateProblem]) -> Vec<Problem> {
        let mut located: Vec<_> =
            problems.iter().map(|problem| problem.located(config, &self.text, &self.name)).collect();
        located.sort_by_key(|problem| problem.line);
        located
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    // Opening a pipe would wait for its writer.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let mut body = Vec::new();
    fs::File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut body)?;
    if body.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::other("it is larger than 1 MiB"));
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    const SITE: &str = "[blastbeat]\nbind = 127.0.0.1:8080\nzmq = tcp://127.0.0.1:5000\n";
    const HOST: &str = "[blastbeat:example.com]\nnode = one\n";

    fn loaded(scratch: &Scratch, pages: &str) -> Result<Site, Vec<Problem>> {
        let path = scratch.path("site.ini");
        fs::write(&path, format!("{SITE}{pages}{HOST}")).unwrap();
        load(&path, Mode::Strict, false)
    }

    #[test]
    fn error_pages_are_read() {
        let scratch = Scratch::new();
        let page = scratch.path("502.html");
        fs::write(&page, "<h1>Back soon</h1>").unwrap();
        let site = loaded(&scratch, &format!("error-page = 502 {}\n", page.display())).ok().unwrap();
        assert_eq!(site.config.error_pages[&502].body, "<h1>Back soon</h1>");
    }

    #[test]
    fn pages_that_cannot_be_read_are_named_with_key_and_line() {
        let scratch = Scratch::new();
        let (missing, huge) = (scratch.path("missing"), scratch.path("huge"));
        fs::write(&huge, vec![b'x'; 1024 * 1024 + 1]).unwrap();
        let pages = format!("error-page = 503 {}\nerror-page = 502 {}\n", missing.display(), huge.display());
        let problems = loaded(&scratch, &pages).err().unwrap();
        let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
        let file = scratch.path("site.ini").display().to_string();
        assert!(
            lines[0].starts_with(&format!("{file}:4: error-page: {} cannot be read", missing.display())),
            "{lines:?}"
        );
        assert!(lines[1].starts_with(&format!("{file}:5: error-page: ")) && lines[1].contains("1 MiB"), "{lines:?}");
        assert_eq!(lines.len(), 2);
    }

    #[test]
    fn a_configuration_that_is_not_there_is_a_problem_with_its_name() {
        let scratch = Scratch::new();
        let problems = load(&scratch.path("nothing.ini"), Mode::Strict, false).err().unwrap();
        assert!(problems[0].to_string().contains("nothing.ini: cannot be read"), "{problems:?}");
    }
}
