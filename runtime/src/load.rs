//! The configuration and the files it names.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use blastbeat_proto::config::{Config, Mode, Problem};

/// What is named by a configuration is kept in memory; what is larger is no page and no certificate.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// What a configuration file holds, with warnings; or everything that is wrong with it.
pub(crate) type Loaded = Result<(Config, Vec<Problem>), Vec<Problem>>;

/// Reads a configuration and the files that it names.
pub(crate) fn load(path: &Path, mode: Mode) -> Loaded {
    let file = path.display().to_string();
    let text = fs::read(path).map_err(|why| {
        vec![Problem { file: file.clone(), line: 0, key: String::new(), message: format!("cannot be read: {why}") }]
    })?;
    let (mut config, warnings) = Config::parse(&text, &file, mode)?;
    let mut problems = Vec::new();
    let named = config.clone();
    for (usage, page) in config.files_mut() {
        match read(&page.path) {
            Ok(body) => page.body = body.into(),
            Err(why) => problems.push(Problem {
                file: file.clone(),
                line: usage.line(&named, &text),
                key: usage.key().to_owned(),
                message: format!("{} cannot be read: {why}; write the path of a file", page.path.display()),
            }),
        }
    }
    problems.sort_by_key(|problem| problem.line);
    if problems.is_empty() { Ok((config, warnings)) } else { Err(problems) }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    // Opening a pipe would wait for its writer.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let mut body = Vec::new();
    File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut body)?;
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

    fn loaded(scratch: &Scratch, pages: &str) -> Loaded {
        let path = scratch.path("site.ini");
        fs::write(&path, format!("{SITE}{pages}{HOST}")).unwrap();
        load(&path, Mode::Strict)
    }

    #[test]
    fn error_pages_are_read() {
        let scratch = Scratch::new();
        let page = scratch.path("502.html");
        fs::write(&page, "<h1>Back soon</h1>").unwrap();
        let (config, _) = loaded(&scratch, &format!("error-page = 502 {}\n", page.display())).unwrap();
        assert_eq!(config.error_pages[&502].body, "<h1>Back soon</h1>");
    }

    #[test]
    fn pages_that_cannot_be_read_are_named_with_key_and_line() {
        let scratch = Scratch::new();
        let (missing, huge) = (scratch.path("missing"), scratch.path("huge"));
        fs::write(&huge, vec![b'x'; 1024 * 1024 + 1]).unwrap();
        let pages = format!("error-page = 503 {}\nerror-page = 502 {}\n", missing.display(), huge.display());
        let problems = loaded(&scratch, &pages).unwrap_err();
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
        let problems = load(&scratch.path("nothing.ini"), Mode::Strict).unwrap_err();
        assert!(problems[0].to_string().contains("nothing.ini: cannot be read"), "{problems:?}");
    }
}
