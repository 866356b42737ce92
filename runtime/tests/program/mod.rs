//! The program as an operator meets it: exit codes, output, signals, the service manager. Both programs run this.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{self, Child, ChildStderr, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, geteuid, kill_process};

use super::BINARY;

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn help_and_version_are_answers_and_nonsense_is_not() {
    let help = run(&["--help"]);
    assert_eq!((help.status.code(), stderr(&help).as_str()), (Some(0), ""));
    assert!(stdout(&help).contains("--replay <FILE>"), "{help:?}");
    let version = run(&["--version"]);
    assert!(stdout(&version).starts_with("blastbeat-"), "{version:?}");
    let nonsense = run(&["--nonsense"]);
    assert_eq!((nonsense.status.code(), stdout(&nonsense).as_str()), (Some(2), ""));
    assert!(stderr(&nonsense).contains("--nonsense"), "{nonsense:?}");
}

#[test]
fn a_sound_configuration_is_printed_as_one_that_means_the_same() {
    let scratch = Scratch::new();
    let first = run(&["--check", &scratch.site("node-password = one secret\n")]);
    assert_eq!(first.status.code(), Some(0), "{first:?}");
    assert!(stdout(&first).contains("node-password = one ******"), "{first:?}");
    let second = run(&["--check", &scratch.file("again.ini", &stdout(&first))]);
    assert_eq!((second.status.code(), stdout(&second)), (Some(0), stdout(&first)));
}

#[test]
fn all_problems_of_a_configuration_are_named_at_once() {
    let scratch = Scratch::new();
    let site = scratch.site("sesions = 5\nerror-page = 503 missing.html\nnode-timeout = soon\n");
    let checked = run(&["--check", &site]);
    assert_eq!((checked.status.code(), stdout(&checked).as_str()), (Some(1), ""));
    let problems = stderr(&checked);
    assert!(
        problems.contains(&format!("{site}:4: sesions: ")) && problems.contains("did you mean sessions?"),
        "{problems}"
    );
    assert!(problems.contains(&format!("{site}:6: node-timeout: ")), "{problems}");
    assert_eq!(run(&[&site]).status.code(), Some(1), "nor does it start");

    let site = scratch.site("sesions = 5\nerror-page = 503 missing.html\n");
    let lenient = run(&["--check", "--lenient", &site]);
    assert_eq!(lenient.status.code(), Some(1), "{lenient:?}");
    assert!(stderr(&lenient).contains(&format!("{site}:5: error-page: missing.html cannot be read")), "{lenient:?}");
}

#[test]
fn certificates_are_checked_with_all_else() {
    let scratch = Scratch::new();
    let (certificate, key) = (scratch.file("site.pem", "none"), scratch.file("site.key", "none"));
    let tls = format!("bind-ssl = 127.0.0.1:0\ncertificate = {certificate}\nkey = {key}\n");
    let site = scratch.site(&tls);
    let checked = run(&["--check", &site]);
    assert_eq!((checked.status.code(), stdout(&checked).as_str()), (Some(1), ""));
    let problem = format!("{site}:5: certificate: {certificate}: there is no certificate; ");
    assert!(stderr(&checked).contains(&problem), "{checked:?}");
    assert_eq!(run(&[&site]).status.code(), Some(1), "nor does it start");

    fs::remove_file(&key).expect("it is ours");
    let checked = run(&["--check", &site]);
    assert!(stderr(&checked).contains(&format!("{site}:6: key: {key} cannot be read: ")), "{checked:?}");

    let checked = run(&["--check", &scratch.site("bind-ssl = 127.0.0.1:0\n")]);
    assert!(stderr(&checked).contains(":5: [blastbeat:*]: is reached by TLS (line 4) and has no "), "{checked:?}");
}

#[test]
fn certificates_are_exchanged_while_the_server_runs() {
    let scratch = Scratch::new();
    let pair = || {
        let key = rcgen::KeyPair::generate().expect("there is randomness");
        let certificate = rcgen::CertificateParams::default().self_signed(&key).expect("nothing is wrong with it");
        (scratch.file("site.pem", &certificate.pem()), scratch.file("site.key", &key.serialize_pem()))
    };
    let (certificate, key) = pair();
    let tls = format!(
        "bind-ssl = 127.0.0.1:0\ncertificate = {certificate}\nkey = {key}\nuid = {}\ngid = 0\n",
        geteuid().as_raw()
    );
    let mut server = Server::start(&scratch, &[], &scratch.site(&tls));
    assert_eq!(server.word(), "READY=1");
    pair();
    server.signal(Signal::HUP);
    server.line(" info certificates-renewed");
    fs::write(&key, "").expect("it is ours");
    server.signal(Signal::HUP);
    assert!(server.line(" error certificates-kept ").contains("there is no private key"));
    pair();
    server.line(" info certificates-renewed");
}

#[test]
fn a_certificate_can_be_made_at_the_start() {
    let scratch = Scratch::new();
    let site = scratch.site("bind-ssl = 127.0.0.1:0\n");
    let checked = run(&["--check", "--self-signed", "localhost", &site]);
    assert_eq!(checked.status.code(), Some(0), "{checked:?}");
    assert!(stdout(&checked).contains("\nbind-ssl = 127.0.0.1:0\n"), "{checked:?}");
    let builtin = run(&["--check", "--self-signed", "localhost"]);
    assert!(stdout(&builtin).contains("\nbind-ssl = 127.0.0.1:8443\n"), "{builtin:?}");
    let refused = run(&["--check", "--self-signed", "a b"]);
    assert_eq!((refused.status.code(), stdout(&refused).as_str()), (Some(1), ""));
    assert!(stderr(&refused).starts_with("--self-signed: \"a b\" is no name"), "{refused:?}");

    let mut server = Server::start(&scratch, &["--self-signed", "localhost"], &site);
    let line = server.line(" info self-signed ");
    assert!(line.contains("localhost 127.0.0.1 ::1") && line.contains(" fingerprint="), "{line}");
    assert!(server.line(" listening serves=https ").contains("127.0.0.1:"));
}

#[test]
fn a_user_that_is_written_and_unknown_keeps_the_server_from_starting() {
    let scratch = Scratch::new();
    let refused = run(&[&scratch.site("uid = no-such-user-here\n")]);
    assert_eq!(refused.status.code(), Some(3));
    assert!(stderr(&refused).contains("uid = no-such-user-here: there is no such user"), "{refused:?}");
}

#[test]
fn an_address_in_use_keeps_the_server_from_starting() {
    let scratch = Scratch::new();
    let other = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let taken = other.local_addr().expect("it is bound");
    let refused = run(&[&scratch.site(&format!("bind = {taken}\n"))]);
    assert_eq!(refused.status.code(), Some(3));
    assert!(stderr(&refused).contains(&format!(" error listen-failed serves=http address={taken} ")), "{refused:?}");
}

#[test]
fn a_server_starts_serves_reports_and_stops_when_asked() {
    let scratch = Scratch::new();
    let mut server = Server::start(&scratch, &[], &scratch.site(""));
    assert_eq!(server.word(), "READY=1");
    let address = server.address();
    let answer = get(address);
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("BlastBeat is running"), "{answer}");
    assert!(server.line(" access ").contains(" status=200 "));
    server.signal(Signal::HUP);
    server.line(" warn reload-ignored ");
    server.signal(Signal::USR1);
    assert!(server.line(" stats ").contains(" requests=1 "));
    server.signal(Signal::TERM);
    assert_eq!(server.word(), "STOPPING=1");
    server.line(" info stopped");
    assert_eq!(server.exit_code(), Some(0));
    TcpStream::connect(address).expect_err("nobody listens there any more");
}

#[test]
fn root_is_given_up_and_anybody_else_stays_who_he_is() {
    let scratch = Scratch::new();
    let mut server = Server::start(&scratch, &[], &scratch.site("uid = 4242\ngid = 4343\n"));
    assert_eq!(server.word(), "READY=1");
    let status = fs::read_to_string(format!("/proc/{}/status", server.child.id())).expect("it runs");
    let ids = |name| status.lines().find_map(|line| line.strip_prefix(name)).map(|ids| ids.trim().to_owned());
    if geteuid().is_root() {
        server.line(" privileges-dropped identity=4242:4343");
        assert_eq!(ids("Uid:").as_deref(), Some("4242\t4242\t4242\t4242"));
        assert_eq!(ids("Gid:").as_deref(), Some("4343\t4343\t4343\t4343"));
        assert_eq!(ids("Groups:").as_deref(), Some("4343"));
        assert_eq!(ids("CapPrm:").as_deref(), Some("0000000000000000"));
    } else {
        server.line(" privileges-kept ");
        assert!(ids("Uid:").is_some_and(|ids| ids.starts_with(&format!("{}\t", geteuid().as_raw()))));
    }
}

#[test]
fn the_sockets_of_a_service_manager_are_used() {
    let scratch = Scratch::new();
    let socket = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let address = socket.local_addr().expect("it is bound");
    let site = scratch.site(&format!("bind = {address}\n"));
    let mut server = Server::start_with(&scratch, activated(&site, socket.into()));
    assert_eq!(server.word(), "READY=1");
    assert!(get(address).starts_with("HTTP/1.1 200 OK\r\n"));

    let stranger = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let refused = activated(&scratch.site(""), stranger.into()).output().expect("there is a shell");
    assert_eq!(refused.status.code(), Some(3));
    assert!(stderr(&refused).contains("LISTEN_FDS has a socket on 127.0.0.1:"), "{refused:?}");
}

#[test]
fn a_recording_replays_and_one_that_was_tampered_with_does_not() {
    let scratch = Scratch::new();
    let tape = scratch.path("tape").display().to_string();
    let mut server = Server::start(&scratch, &["--tape", &tape], &scratch.site(""));
    assert_eq!(server.word(), "READY=1");
    let address = server.address();
    assert!(get(address).starts_with("HTTP/1.1 200 OK\r\n"));
    server.signal(Signal::INT);
    assert_eq!(server.exit_code(), Some(0));

    let replayed = run(&["--replay", &tape]);
    assert_eq!(replayed.status.code(), Some(0), "{replayed:?}");
    assert!(stdout(&replayed).starts_with("equal: "), "{replayed:?}");

    let mut bytes = fs::read(&tape).expect("it was recorded");
    let request = bytes.windows(5).rposition(|window| window == b"GET /").expect("the request is on it");
    bytes[request] = b'P';
    fs::write(&tape, bytes).expect("it is ours");
    let replayed = run(&["--replay", &tape]);
    assert_eq!(replayed.status.code(), Some(4), "{replayed:?}");
    assert!(stdout(&replayed).starts_with("different after "), "{replayed:?}");
    assert_eq!(run(&["--replay", BINARY]).status.code(), Some(4), "a program is no tape");
}

#[test]
fn unix_sockets_go_with_their_server() {
    let scratch = Scratch::new();
    let path = scratch.path("node.sock");
    // Only who may write to the directory can remove them, so this one stays who it is.
    let site = scratch.site(&format!("zmq = ipc://{}\nuid = {}\ngid = 0\n", path.display(), geteuid().as_raw()));
    let mut server = Server::start(&scratch, &[], &site);
    assert_eq!(server.word(), "READY=1");
    assert!(path.exists());
    server.signal(Signal::TERM);
    assert_eq!(server.exit_code(), Some(0));
    assert!(!path.exists());
}

/// A running server; it ends with this.
struct Server {
    child: Child,
    log: BufReader<ChildStderr>,
    manager: UnixDatagram,
}

impl Server {
    fn start(scratch: &Scratch, flags: &[&str], site: &str) -> Self {
        let mut command = Command::new(BINARY);
        command.args(flags).arg(site).stdin(Stdio::null());
        Self::start_with(scratch, command)
    }

    fn start_with(scratch: &Scratch, mut command: Command) -> Self {
        let notify = scratch.path("notify");
        let manager = UnixDatagram::bind(&notify).expect("the directory is new");
        manager.set_read_timeout(Some(PATIENCE)).expect("it is not zero");
        command.env("NOTIFY_SOCKET", notify).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it was built");
        let log = BufReader::new(child.stderr.take().expect("it is piped"));
        Self { child, log, manager }
    }

    /// The first line of what it says to the service manager next.
    fn word(&mut self) -> String {
        let mut buffer = [0; 256];
        let length = self.manager.recv(&mut buffer).unwrap_or_else(|why| {
            let _ = self.child.kill();
            let mut log = String::new();
            let _ = self.log.read_to_string(&mut log);
            panic!("nothing is said: {why}\n{log}")
        });
        String::from_utf8_lossy(&buffer[..length]).lines().next().unwrap_or_default().to_owned()
    }

    /// The next line of its log that contains `part`.
    fn line(&mut self, part: &str) -> String {
        let mut log = String::new();
        loop {
            let start = log.len();
            let read = self.log.read_line(&mut log).expect("the log is text");
            assert!(read > 0, "{part:?} is not in the log:\n{log}");
            if log[start..].contains(part) {
                return log[start..].trim_end().to_owned();
            }
        }
    }

    /// Where it serves clients.
    fn address(&mut self) -> SocketAddr {
        let line = self.line(" listening serves=http address=");
        let (_, address) = line.rsplit_once('=').expect("it contains one");
        address.parse().expect("it is a TCP address")
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it has not been waited for");
    }

    fn exit_code(&mut self) -> Option<i32> {
        self.child.wait().expect("it is our child").code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs the program to its end.
fn run(arguments: &[&str]) -> Output {
    Command::new(BINARY).args(arguments).stdin(Stdio::null()).output().expect("it was built")
}

/// The program with `socket` as a service manager would pass it: descriptor 3 of a process that knows its own number.
fn activated(site: &str, socket: OwnedFd) -> Command {
    let mut command = Command::new("sh");
    let script = r#"exec env LISTEN_PID=$$ LISTEN_FDS=1 "$0" "$1" 3<&0 0</dev/null"#;
    command.args(["-c", script, BINARY, site]).stdin(socket);
    command
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn get(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("it is not zero");
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers in time, with text");
    answer
}

/// A directory for one test.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("blastbeat-program-{}-{number}", process::id()));
        fs::create_dir(&path).expect("no other test has this number");
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        fs::write(&path, text).expect("the directory is ours");
        Path::display(&path).to_string()
    }

    /// A configuration with `keys` from its fourth line on.
    fn site(&self, keys: &str) -> String {
        let bind = if keys.contains("bind = ") { "; its own" } else { "bind = 127.0.0.1:0" };
        let zmq = if keys.contains("zmq = ") { "; its own" } else { "zmq = tcp://127.0.0.1:0" };
        self.file(
            "site.ini",
            &format!("[blastbeat]\n{bind}\n{zmq}\n{keys}[blastbeat:*]\nnode = app:welcome\nnode = one\n"),
        )
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
