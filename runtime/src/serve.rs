//! A server from its configuration to its end.
//!
//! ```text
//! inherited sockets, accounts, descriptors, tape, signals --> engine --> driver --> finished
//!                                                                           |
//!          listeners are open: give up privileges, say READY=1  <-----------/
//! ```

use std::cell::{Cell, RefCell};
use std::fmt::Display;
use std::io;
use std::path::Path;
use std::process;
use std::rc::Rc;
use std::sync::Arc;

use blastbeat_proto::address::BindAddr;
use blastbeat_proto::config::{Config, Listener, Privileges, Problem, Stores};
use blastbeat_proto::engine::{Control, Engine, Input, Level, NODE_EXAMPLE, Report, Value};
use blastbeat_proto::entropy::SeededEntropy;
use blastbeat_proto::tape::Recorder;
use blastbeat_proto::time::Instant;

use crate::certificates::{TICK, Watch};
use crate::driver::{Handle, Options};
use crate::fdlimit;
use crate::flags::Tape;
use crate::load::Site;
use crate::log::Log;
use crate::privileges::{self, Identity};
use crate::program::{Program, add_apps};
use crate::self_signed::SelfSigned;
use crate::signal::{Order, Signals};
use crate::systemd::{self, Notify};
use crate::tape_file::TapeFile;

/// What a person reads who started the program without a configuration.
const WELCOME: &str = "
A welcome page is served at http://127.0.0.1:8080/ since no configuration file was given; --help tells more, and
--self-signed localhost serves it at https://localhost:8443/ too.
To attach a node, save this as node.py, then `pip install pyzmq` and `python3 node.py`:

";

/// Runs a server until it has finished. `file` is where the configuration comes from, if not from inside.
///
/// # Errors
///
/// Why it could not start, or had to give up: a sentence for the operator.
pub(crate) fn serve(
    program: Program,
    site: Site,
    mut watch: Watch,
    self_signed: Option<&SelfSigned>,
    file: Option<&Path>,
    tape: Option<&Tape>,
) -> Result<(), String> {
    let Site { mut config, warnings, source: _ } = site;
    // Before anything else is opened: what was passed has fixed numbers.
    let addresses: Vec<BindAddr> = config.listeners.iter().map(|listener| listener.address.clone()).collect();
    let inherited = systemd::inherited(&addresses).map_err(|why| why.to_string())?;
    // Before any thread is started: threads inherit what is blocked.
    let signals = Signals::block().map_err(sentence("signals cannot be blocked"))?;
    let open_log = || Log::stderr(config.log).map_err(sentence("the log cannot be opened"));
    let (mut log, mut signal_log) = (open_log()?, open_log()?);
    let identity = identity(&config.privileges, file.is_none(), privileges::are_held(), &mut log)?;

    log.notice(
        Level::Info,
        "starting",
        &[
            ("program", Value::Text(program.name)),
            ("version", Value::Text(program.version)),
            ("pid", Value::Number(process::id().into())),
            ("configuration", Value::Text(&file.map_or("built-in".into(), Path::to_string_lossy))),
        ],
    );
    for warning in &warnings {
        log.notice(Level::Warn, "configuration", &[("warning", Value::Text(&warning.to_string()))]);
    }
    for warning in config.warnings() {
        log.notice(Level::Warn, "configuration", &[("warning", Value::Text(&warning))]);
    }
    if let Some(SelfSigned { names, fingerprint }) = self_signed {
        let fields = [("names", Value::Text(names)), ("fingerprint", Value::Text(fingerprint))];
        log.notice(Level::Info, "self-signed", &fields);
    }
    fit_descriptors(&mut config, &mut log);
    let notify = Notify::connect().unwrap_or_else(|why| {
        warn(&mut log, "the service manager cannot be told of the start", why);
        Notify::default()
    });

    let speaks_tls = config.listeners.iter().any(Listener::is_tls);
    let (mut engine, tape) = engine(config, tape)?;
    if speaks_tls {
        engine.handle(Input::Control(Control::Certificates(watch.stores().clone())), Instant::ZERO);
    }
    let options = Options { inherited, ..Options::default() };
    let handle = options.handle.clone();
    signals
        .serve(speaks_tls.then_some(TICK), move |order| obey(order, &handle, &mut watch, &mut signal_log))
        .map_err(sentence("the thread for signals cannot be started"))?;
    let result = drive(program, engine, options, identity, file.is_none(), notify, log);
    if let Some(mut tape) = tape {
        io::Write::flush(&mut tape).map_err(sentence("the recording could not be finished"))?;
    }
    result
}

/// Runs the driver: the start is complete when its listeners are open.
fn drive(
    program: Program,
    engine: Engine,
    mut options: Options,
    identity: Option<Identity>,
    built_in: bool,
    notify: Notify,
    log: Log,
) -> Result<(), String> {
    let (log, notify) = (Rc::new(RefCell::new(log)), Rc::new(notify));
    let unopened = Rc::new(Cell::new(0));
    options.on_listening = Some(Box::new({
        let (log, notify, unopened) = (Rc::clone(&log), Rc::clone(&notify), Rc::clone(&unopened));
        move || {
            let log = &mut *log.borrow_mut();
            match unopened.get() {
                0 => {}
                1 => return Err(io::Error::other("an address to listen on could not be opened; the log tells which")),
                some => {
                    return Err(io::Error::other(format!("{some} addresses could not be opened; the log tells which")));
                }
            }
            if let Some(identity) = identity {
                privileges::drop_to(&identity).map_err(io::Error::other)?;
                log.notice(Level::Info, "privileges-dropped", &[("identity", Value::Text(&identity.to_string()))]);
            }
            if let Err(why) = notify.ready() {
                warn(log, "the service manager cannot be told of the start", why);
            }
            if built_in {
                log.text(WELCOME);
                log.text(NODE_EXAMPLE);
                log.text("\n");
            }
            Ok(())
        }
    }));
    (program.run)(engine, options, &mut |report| {
        let log = &mut *log.borrow_mut();
        log.report(&report);
        if matches!(report, Report::ListenFailed { .. }) {
            unopened.set(unopened.get() + 1);
        }
        if matches!(report, Report::Draining { .. })
            && let Err(why) = notify.stopping()
        {
            warn(log, "the service manager cannot be told of the stop", why);
        }
    })
    .map_err(|why| why.to_string())
}

/// Makes the engine, and the recording if one is wanted.
fn engine(config: Config, tape: Option<&Tape>) -> Result<(Engine, Option<TapeFile>), String> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(sentence("the system has no randomness"))?;
    let config = Arc::new(config);
    let mut engine = Engine::new(Arc::clone(&config), Box::new(SeededEntropy::new(seed)), Instant::ZERO);
    add_apps(&mut engine);
    let Some(tape) = tape else { return Ok((engine, None)) };
    let cannot = format!("{} cannot be recorded to", tape.path.display());
    let file = TapeFile::create(&tape.path).map_err(sentence(&cannot))?;
    file.survive_panics();
    let recorder = Recorder::new(Box::new(file.clone()), tape.bytes_max, seed, &config, Instant::ZERO);
    engine.record(recorder.map_err(sentence(&cannot))?);
    Ok((engine, Some(file)))
}

/// Who to become once the listeners are open; `None`: nobody else. What the configuration writes is looked up in any
/// case, so that a mistake is found before the server is started as root.
fn identity(configured: &Privileges, built_in: bool, root: bool, log: &mut Log) -> Result<Option<Identity>, String> {
    if !root && configured.user.is_none() && configured.group.is_none() {
        return Ok(None);
    }
    match privileges::plan(configured) {
        Ok(identity) if root => Ok(Some(identity)),
        Err(privileges::Problem::DefaultUserMissing) if !root => Ok(None),
        Ok(identity) => {
            let identity = identity.to_string();
            let fields = [
                ("identity", Value::Text(&identity)),
                ("why", Value::Text("`uid` and `gid` matter only to a server that is started as root")),
            ];
            log.notice(Level::Info, "privileges-kept", &fields);
            Ok(None)
        }
        // Who only looks around should see something, and be told.
        Err(why @ privileges::Problem::DefaultUserMissing) if built_in => {
            warn(log, "the server stays root", why);
            Ok(None)
        }
        Err(why) => Err(why.to_string()),
    }
}

fn fit_descriptors(config: &mut Config, log: &mut Log) {
    let Some(lowered) = fdlimit::fit(config) else { return };
    log.notice(
        Level::Warn,
        "limits-lowered",
        &[
            ("why", Value::Text("the limit of open files is too low (`ulimit -n`, LimitNOFILE)")),
            ("needed", Value::Number(lowered.needed as u64)),
            ("available", Value::Number(lowered.available as u64)),
            ("connections", Value::Number(lowered.connections as u64)),
            ("sessions", Value::Number(lowered.sessions as u64)),
            ("max-nodes", Value::Number(lowered.nodes as u64)),
        ],
    );
}

/// What the thread for signals does.
fn obey(order: Order, handle: &Handle, watch: &mut Watch, log: &mut Log) {
    match order {
        Order::Control(control) => handle.control(control),
        Order::Reload if watch.has_files() => renewed(watch.reload(), handle, log),
        Order::Tick => {
            if let Some(result) = watch.poll() {
                renewed(result, handle, log);
            }
        }
        Order::Reload => {
            let why = "the configuration is read at the start only, and names no certificates that could be read again";
            log.notice(Level::Warn, "reload-ignored", &[("why", Value::Text(why))]);
        }
        Order::Exit => {
            warn(log, "left at once", "three signals asked to stop");
            process::exit(crate::program::FAILED.into());
        }
    }
}

/// Hands new certificates to the engine, or tells why those of before stay.
fn renewed(result: Result<Stores, Vec<Problem>>, handle: &Handle, log: &mut Log) {
    match result {
        Ok(stores) => {
            handle.control(Control::Certificates(stores));
            log.notice(Level::Info, "certificates-renewed", &[]);
        }
        Err(problems) => {
            for problem in problems {
                log.notice(Level::Error, "certificates-kept", &[("why", Value::Text(&problem.to_string()))]);
            }
        }
    }
}

fn warn(log: &mut Log, what: &str, why: impl Display) {
    log.notice(Level::Warn, "warning", &[("what", Value::Text(what)), ("why", Value::Text(&why.to_string()))]);
}

/// Puts what was tried before why it failed.
fn sentence<E: Display>(what: &str) -> impl FnOnce(E) -> String {
    let what = what.to_owned();
    move |why| format!("{what}: {why}")
}
