//! What is wrong with a configuration, collected: one look at all of it should be enough to mend the file.

use core::fmt;

/// How unknown things are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A key that is unknown, or that this version does not serve, is a problem.
    Strict,
    /// It is a warning, and left out.
    Lenient,
}

/// Something that is wrong with a configuration, or a warning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file, as the caller named it.
    pub file: String,
    /// The line, from 1; 0 if it is about the file as a whole.
    pub line: usize,
    /// The key, or the section in brackets; empty if it is about neither.
    pub key: String,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl fmt::Display for Problem {
    /// `file:line: key: what is wrong; what would be right`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        for part in [&self.key, &self.message] {
            if !part.is_empty() {
                write!(f, ": {part}")?;
            }
        }
        Ok(())
    }
}

impl core::error::Error for Problem {}

/// Collects problems and warnings.
pub(super) struct Notes<'a> {
    file: &'a str,
    mode: Mode,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
}

impl<'a> Notes<'a> {
    pub(super) const fn new(file: &'a str, mode: Mode) -> Self {
        Self { file, mode, problems: Vec::new(), warnings: Vec::new() }
    }

    /// Problems and warnings, each in the order of their lines.
    pub(super) fn into_parts(mut self) -> (Vec<Problem>, Vec<Problem>) {
        self.problems.sort_by_key(|problem| problem.line);
        self.warnings.sort_by_key(|warning| warning.line);
        (self.problems, self.warnings)
    }

    pub(super) fn problem(&mut self, line: usize, key: impl Into<String>, message: impl Into<String>) {
        let problem = self.note(line, key.into(), message.into());
        self.problems.push(problem);
    }

    pub(super) fn warning(&mut self, line: usize, key: impl Into<String>, message: impl Into<String>) {
        let warning = self.note(line, key.into(), message.into());
        self.warnings.push(warning);
    }

    /// A problem in strict mode, a warning in lenient mode.
    pub(super) fn unknown(&mut self, line: usize, key: &str, message: impl Into<String>) {
        match self.mode {
            Mode::Strict => self.problem(line, key, message),
            Mode::Lenient => self.warning(line, key, message),
        }
    }

    fn note(&self, line: usize, key: String, message: String) -> Problem {
        Problem { file: self.file.to_owned(), line, key, message }
    }
}
