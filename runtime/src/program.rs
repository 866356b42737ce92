//! What a program does from its first line to its exit code.
//!
//! ```text
//! command line --> --help, --version
//!       |--------> --replay: read a tape, compare
//!       v
//! configuration, certificates --> --check: print it
//!       v
//! serve
//! ```

use std::env;
use std::fs::File;
use std::io::{self, BufReader, Write};
use std::path::Path;
use std::process::ExitCode;

use blastbeat_proto::config::{Mode, Problem};
use blastbeat_proto::engine::{Engine, Report, Welcome};
use blastbeat_proto::tape;
use blastbeat_proto::tls::WallClock;

use crate::certificates::{self, Watch};
use crate::driver::Options;
use crate::flags::{self, Action, Flags, Shown};
use crate::load::{Site, load};
use crate::self_signed::{self, SelfSigned};
use crate::serve::serve;

/// A program: a name and a driver.
#[derive(Clone, Copy)]
pub struct Program {
    /// The name of the binary.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
    /// Runs an engine until it has finished. Reports go to the sink.
    pub run: Run,
}

/// A driver.
pub type Run = fn(Engine, Options, &mut dyn FnMut(Report)) -> io::Result<()>;

/// It did what was asked.
const DONE: u8 = 0;
/// The configuration has problems.
const CONFIGURATION: u8 = 1;
/// The command line is wrong.
const USAGE: u8 = 2;
/// The server could not start, or had to give up.
pub(crate) const FAILED: u8 = 3;
/// The replay differs from the recording, or the recording cannot be read.
const DIFFERENT: u8 = 4;

/// Does what the command line asks for: the whole of a program's `main`. Call it once, before anything else.
pub fn main(program: Program) -> ExitCode {
    let code = match flags::parse(program.name, program.version, env::args_os()) {
        Ok(Flags { action: Action::Replay(path), .. }) => replay(&path),
        Ok(flags) => configured(program, &flags),
        Err(Shown::Asked(text)) => {
            show(&mut io::stdout(), &text);
            DONE
        }
        Err(Shown::Wrong(text)) => {
            show(&mut io::stderr(), &text);
            USAGE
        }
    };
    code.into()
}

fn configured(program: Program, flags: &Flags) -> u8 {
    let mode = if flags.lenient { Mode::Lenient } else { Mode::Strict };
    let (site, watch, self_signed) = match prepared(flags, mode) {
        Ok(prepared) => prepared,
        Err(problems) => {
            show_problems(&problems);
            return CONFIGURATION;
        }
    };
    let tape = match &flags.action {
        Action::Check => {
            show_problems(&site.warnings);
            let config = site.config;
            config.warnings().iter().for_each(|warning| show(&mut io::stderr(), &format!("{warning}\n")));
            show(&mut io::stdout(), &config.redacted().to_string());
            return DONE;
        }
        Action::Serve(tape) => tape.as_ref(),
        Action::Replay(_) => None,
    };
    match serve(program, site, watch, self_signed.as_ref(), flags.config.as_deref(), tape) {
        Ok(()) => DONE,
        Err(why) => {
            show(&mut io::stderr(), &format!("{}: {why}\n", program.name));
            FAILED
        }
    }
}

/// Reads the configuration and its files, and sees whether the certificates are good.
fn prepared(flags: &Flags, mode: Mode) -> Result<(Site, Watch, Option<SelfSigned>), Vec<Problem>> {
    let mut site = match &flags.config {
        Some(path) => load(path, mode, flags.self_signed.is_some())?,
        None => Site::builtin(),
    };
    // Those that are made now come from no file, and are not looked for again.
    let files = certificates::Files::of(&site);
    let self_signed = match &flags.self_signed {
        None => None,
        Some(name) => Some(self_signed::add(&mut site.config, name, certificates::wall_time()).map_err(|message| {
            vec![Problem { file: "--self-signed".to_owned(), line: 0, key: String::new(), message }]
        })?),
    };
    let watch = Watch::new(&site, files, &WallClock::new(certificates::wall_time()))?;
    Ok((site, watch, self_signed))
}

/// Replays a recording into a fresh engine with the same apps.
fn replay(path: &Path) -> u8 {
    let verdict = File::open(path)
        .map_err(tape::ReplayError::from)
        .and_then(|file| tape::replay(&mut BufReader::new(file), add_apps, &mut |_, _| {}));
    match verdict {
        Ok(verdict) => {
            show(&mut io::stdout(), &format!("{verdict}\n"));
            if verdict.difference.is_none() { DONE } else { DIFFERENT }
        }
        Err(why) => {
            show(&mut io::stderr(), &format!("{}: {why}\n", path.display()));
            DIFFERENT
        }
    }
}

/// Gives an engine the apps that a configuration can name.
pub(crate) fn add_apps(engine: &mut Engine) {
    engine.add_app(Welcome::NAME, Box::new(Welcome::new()));
}

fn show_problems(problems: &[Problem]) {
    problems.iter().for_each(|problem| show(&mut io::stderr(), &format!("{problem}\n")));
}

/// Writes text for a person; if nobody reads it, nobody misses it.
fn show(to: &mut dyn Write, text: &str) {
    let _ = to.write_all(text.as_bytes()).and_then(|()| to.flush());
}
