//! Makes HTTP load and prints one line of JSON.
//!
//! ```text
//! cargo run --release -p blastbeat-tests --bin load -- --url http://127.0.0.1:8080/ --connections 64 --seconds 5
//! cargo run --release -p blastbeat-tests --bin load -- --url http://127.0.0.1:8080/ --rate 2000
//! ```

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for the command line")]

use std::process::ExitCode;
use std::time::Duration;

use blastbeat_tests::load::{Plan, run};

const USAGE: &str = "usage: load --url http://HOST:PORT/TARGET [OPTION VALUE]...
  --connections N   connections, each with one request at a time (64)
  --seconds S       how long requests are started (5)
  --rate R          requests a second in all, whatever the server does; latency counts from when each was due
                    (without it every connection sends its next request when the last is answered)
  --method M        the method (GET)
  --body BYTES      the size of each request's body (0)
prints one line: {\"answered\", \"seconds\", \"rate\", \"bytes\", \"latency_us\": {\"p50\", ...}, \"errors\": {KIND: COUNT}}
exit code 0 if every request was answered with a status below 400, 1 if not, 2 for a wrong command line";

fn main() -> ExitCode {
    let plan = match plan(std::env::args().skip(1)) {
        Ok(plan) => plan,
        Err(what) => {
            eprintln!("load: {what}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(&plan) {
        Ok(figures) => {
            println!("{figures}");
            if figures.errors().is_empty() && figures.answered > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::from(2)
        }
    }
}

fn plan(mut arguments: impl Iterator<Item = String>) -> Result<Plan, String> {
    let mut plan = Plan::default();
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
        let number = || value.parse::<f64>().ok().filter(|number| *number >= 0.0).ok_or(format!("{name}: {value}"));
        match &name[..] {
            "--url" => plan.url = value,
            "--connections" => plan.connections = number()? as usize,
            "--seconds" => plan.time = Duration::try_from_secs_f64(number()?).map_err(|error| error.to_string())?,
            "--rate" => plan.rate = Some(number()?),
            "--method" => plan.method = value,
            "--body" => plan.body = number()? as usize,
            _ => return Err(format!("no option is called {name}")),
        }
    }
    if plan.url.is_empty() { Err("--url is missing".to_owned()) } else { Ok(plan) }
}
