//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::ValueParser;
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, Command, value_parser};

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flags {
    /// The configuration file; without one the program serves what is built in.
    pub config: Option<PathBuf>,
    /// Unknown keys are warnings.
    pub lenient: bool,
    /// Make a certificate for this name.
    pub self_signed: Option<String>,
    /// What to do.
    pub action: Action,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Serve, and record what happens if there is a tape.
    Serve(Option<Tape>),
    /// Check the configuration.
    Check,
    /// Replay a recording.
    Replay(PathBuf),
}

/// A recording to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tape {
    /// Where.
    pub path: PathBuf,
    /// How large it may become, in bytes.
    pub bytes_max: u64,
}

/// The command line does not ask for something to do: the text to show, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    /// Help or the version, which was asked for: for the standard output.
    Asked(String),
    /// What is wrong: for the standard error output.
    Wrong(String),
}

const EXIT_CODES: &str = "\
Exit codes:
  0  it did what was asked; the configuration is sound; the replay is equal
  1  the configuration has problems
  2  the command line is wrong
  3  the server could not start, or had to give up
  4  the replay differs from the recording, or the recording cannot be read

Signals:
  SIGTERM, SIGINT  finish what is under way, then exit; the second one: stop now
  SIGHUP           read the certificates again
  SIGUSR1          log the statistics";

/// Reads the command line; the first of `arguments` is the program's name.
///
/// # Errors
///
/// What to show instead of doing something.
pub fn parse(
    program: &'static str,
    version: &'static str,
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<Flags, Shown> {
    let mut matches = command(program, version).try_get_matches_from(arguments).map_err(|why| {
        #[expect(clippy::wildcard_enum_match_arm, reason = "a foreign enum; all others are mistakes")]
        match why.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Shown::Asked(why.to_string()),
            _ => Shown::Wrong(why.to_string()),
        }
    })?;
    let bytes_max = matches.remove_one("tape-max").expect("it has a default value");
    let tape = matches.remove_one("tape").map(|path| Tape { path, bytes_max });
    let action = match (matches.get_flag("check"), matches.remove_one("replay")) {
        (true, _) => Action::Check,
        (false, Some(path)) => Action::Replay(path),
        (false, None) => Action::Serve(tape),
    };
    Ok(Flags {
        config: matches.remove_one("config"),
        lenient: matches.get_flag("lenient"),
        self_signed: matches.remove_one("self-signed"),
        action,
    })
}

fn command(program: &'static str, version: &'static str) -> Command {
    let path = |name, help| Arg::new(name).value_parser(value_parser!(PathBuf)).help(help);
    let switch = |name, help| Arg::new(name).long(name).action(ArgAction::SetTrue).help(help);
    Command::new(program)
        .version(version)
        .about(
            "Front server for real-time web applications: HTTP/1.1, HTTP/2, SPDY and WebSocket to browsers, ZeroMQ to nodes",
        )
        .after_help(EXIT_CODES)
        .arg(path("config", "Configuration file (ini); without one a welcome page is served").value_name("CONFIG"))
        .arg(switch("check", "Check the configuration, print it as it is understood, and exit"))
        .arg(switch("lenient", "Take unknown keys as warnings, not as errors").conflicts_with("replay"))
        .arg(
            Arg::new("self-signed")
                .long("self-signed")
                .value_name("HOST")
                .conflicts_with("replay")
                .help("Serve https too, where there is no certificate with one made now for this host"),
        )
        .arg(
            path("tape", "Record everything that happens to this file")
                .long("tape")
                .value_name("FILE")
                .conflicts_with_all(["check", "replay"]),
        )
        .arg(
            Arg::new("tape-max")
                .long("tape-max")
                .value_name("BYTES")
                .value_parser(ValueParser::new(parse_size))
                .default_value("1g")
                .requires("tape")
                .help("Stop recording at this size; k, m and g are understood"),
        )
        .arg(
            path("replay", "Replay a recording and say whether every byte out is the same")
                .long("replay")
                .value_name("FILE")
                .conflicts_with_all(["check", "config"]),
        )
}

/// Reads a number of bytes, in units of 1024 where a letter says so.
fn parse_size(text: &str) -> Result<u64, String> {
    let (digits, shift) = match text.as_bytes().last().map(u8::to_ascii_lowercase) {
        Some(b'k') => (&text[..text.len() - 1], 10),
        Some(b'm') => (&text[..text.len() - 1], 20),
        Some(b'g') => (&text[..text.len() - 1], 30),
        Some(_) | None => (text, 0),
    };
    let number: u64 = digits.parse().map_err(|_| "not a number of bytes, such as 500m".to_owned())?;
    number.checked_mul(1 << shift).ok_or_else(|| "too large".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(line: &str) -> Result<Flags, Shown> {
        parse("blastbeat-test", "1.2.3", line.split_whitespace().map(OsString::from))
    }

    fn wrong(line: &str) -> String {
        match flags(line) {
            Err(Shown::Wrong(text)) => text,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn without_arguments_it_serves_what_is_built_in() {
        let flags = flags("blastbeat-test").unwrap();
        assert_eq!(flags, Flags { config: None, lenient: false, self_signed: None, action: Action::Serve(None) });
    }

    #[test]
    fn a_server_can_be_recorded() {
        let tape = |bytes_max| Action::Serve(Some(Tape { path: "t".into(), bytes_max }));
        let recorded = flags("x --tape t site.ini --lenient").unwrap();
        assert_eq!(
            (recorded.config, recorded.lenient, recorded.action),
            (Some("site.ini".into()), true, tape(1 << 30))
        );
        assert_eq!(flags("x --tape t --tape-max 100").unwrap().action, tape(100));
        assert_eq!(flags("x --tape=t --tape-max=500M").unwrap().action, tape(500 << 20));
    }

    #[test]
    fn a_configuration_is_checked_and_a_recording_replayed() {
        assert_eq!(flags("x --check site.ini").unwrap().action, Action::Check);
        assert_eq!(flags("x --replay t").unwrap().action, Action::Replay("t".into()));
        assert_eq!(flags("x --self-signed localhost").unwrap().self_signed.as_deref(), Some("localhost"));
    }

    #[test]
    fn help_and_version_are_shown_where_they_were_asked_for() {
        assert_eq!(flags("x --version"), Err(Shown::Asked("blastbeat-test 1.2.3\n".into())));
        let Err(Shown::Asked(help)) = flags("x --help") else { panic!("help is an answer") };
        for part in [
            "[CONFIG]",
            "--check",
            "--lenient",
            "--self-signed <HOST>",
            "--tape <FILE>",
            "--tape-max",
            "--replay",
            "Exit codes:",
        ] {
            assert!(help.contains(part), "{part}: {help}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        assert!(wrong("x --chek").contains("--check"), "the nearest right one is named");
        assert!(wrong("x a.ini b.ini").contains("b.ini"));
        assert!(wrong("x --replay t a.ini").contains("--replay"));
        assert!(wrong("x --replay t --self-signed a").contains("--replay"));
        assert!(wrong("x --replay t --tape u").contains("--tape"));
        assert!(wrong("x --tape-max 1m").contains("--tape"));
        assert!(wrong("x --tape t --tape-max 1x").contains("500m"));
        assert!(wrong("x --tape t --tape-max 99999999999999999999g").contains("500m"));
        assert!(wrong("x --tape t --tape-max 99999999999999999g").contains("too large"));
    }
}
