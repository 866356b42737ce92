//! Both drivers with the real engine, over loopback: whatever one of them does, the other does too.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests")]

use std::collections::VecDeque;
use std::io::{self, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use blastbeat_proto::config::{Config, Dial, Host, Listener, NodeName, Serves};
use blastbeat_proto::engine::{Address, App, AppId, AppInput, BindAddr, Control, Engine, Replies, Report, Value};
use blastbeat_proto::entropy::SeededEntropy;
use blastbeat_proto::http::{Framing, Response};
use blastbeat_proto::message::Sid;
use blastbeat_proto::time::Instant;
use blastbeat_runtime::driver::{Chaos, Handle, Options};
use blastbeat_runtime::net;

/// A peer that hears nothing for so long has been forgotten.
const PATIENCE: Duration = Duration::from_secs(30);

type Run = fn(Engine, Options, &mut dyn FnMut(Report)) -> io::Result<()>;

/// Makes a test of each function for each driver.
macro_rules! on_both {
    ($($name:ident)*) => {
        mod mio { $(#[test] fn $name() { super::$name(blastbeat_mio::run) })* }
        mod smol { $(#[test] fn $name() { super::$name(blastbeat_smol::run) })* }
    };
}

on_both! {
    requests_are_answered_in_order_on_one_connection
    chaos_changes_nothing
    an_answer_larger_than_any_socket_buffer_arrives_whole
    an_upload_arrives_whole
    a_client_that_floods_and_reads_late_gets_every_answer
    more_clients_than_one_turn_accepts_are_all_served
    the_end_of_a_client_is_seen
    the_end_that_comes_with_the_last_bytes_is_seen
    the_reset_of_a_client_is_seen
    an_app_is_woken_from_another_thread
    a_unix_socket_is_served_and_removed_at_the_end
    an_inherited_listener_is_served
    the_hook_is_called_once_when_all_listeners_are_open
    an_error_of_the_hook_ends_the_driver
    a_listener_that_cannot_be_opened_is_reported_and_the_others_serve
    a_dialled_node_is_greeted_and_dialled_again_when_it_goes
    a_name_is_resolved_before_it_is_dialled
    a_dial_that_is_refused_is_reported
    a_drain_lets_a_request_finish_and_ends_idle_connections
    a_stop_that_was_asked_for_before_the_start_is_heard
}

fn requests_are_answered_in_order_on_one_connection(run: Run) {
    let server = Server::start(run);
    let mut client = server.connect();
    for size in [0, 1, 5000, 3] {
        client.write_all(&get(size)).unwrap();
        assert_eq!(read_answer(&mut client), pattern(size));
    }
    client.write_all(&[get(7), get(70_000), get(2)].concat()).unwrap();
    for size in [7, 70_000, 2] {
        assert_eq!(read_answer(&mut client), pattern(size));
    }
}

fn chaos_changes_nothing(run: Run) {
    for seed in 0..4 {
        let server =
            Server::with(run, config(), move || Options { chaos: Some(Chaos::new(seed)), ..Options::default() });
        let mut clients: Vec<_> = (0..4).map(|_| server.connect()).collect();
        for size in [0, 3000, 40_000] {
            for client in &mut clients {
                client.write_all(&[get(size), post(&pattern(200)), get(1)].concat()).unwrap();
            }
            for client in &mut clients {
                assert_eq!(read_answer(client), pattern(size), "seed {seed}");
                assert_eq!(read_answer(client), b"200", "seed {seed}");
                assert_eq!(read_answer(client), pattern(1), "seed {seed}");
            }
        }
    }
}

fn an_answer_larger_than_any_socket_buffer_arrives_whole(run: Run) {
    let server = Server::start(run);
    let size = 7 * 1024 * 1024;
    let mut clients: Vec<_> = (0..3).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.write_all(&get(size)).unwrap();
    }
    for client in &mut clients {
        assert!(read_answer(client) == pattern(size));
        client.write_all(&get(4)).unwrap();
        assert_eq!(read_answer(client), pattern(4));
    }
}

fn an_upload_arrives_whole(run: Run) {
    let server = Server::start(run);
    let mut client = server.connect();
    client.write_all(&post(&pattern(9_000_000))).unwrap();
    assert_eq!(read_answer(&mut client), b"9000000");
}

/// The engine stops reading such a client, and the driver has to go on without a new sign from the system.
fn a_client_that_floods_and_reads_late_gets_every_answer(run: Run) {
    let server = Server::start(run);
    let client = server.connect();
    let mut sender = client.try_clone().unwrap();
    let count = 20_000;
    let flood = thread::spawn(move || sender.write_all(&get(1000).repeat(count)).unwrap());
    // The first answer shows that the server is at it; only when the flood has filled every buffer is more read.
    client.peek(&mut [0; 1]).unwrap();
    let mut client = BufReader::new(client);
    for _ in 0..count {
        assert!(read_answer(&mut client) == pattern(1000));
    }
    flood.join().unwrap();
}

fn more_clients_than_one_turn_accepts_are_all_served(run: Run) {
    let server = Server::start(run);
    let mut clients = server.while_it_is_busy(|| Vec::from_iter((0..200).map(|_| server.connect())));
    for client in &mut clients {
        client.write_all(&get(10)).unwrap();
    }
    for client in &mut clients {
        assert_eq!(read_answer(client), pattern(10));
    }
    server.wait_for_connections(200);
}

fn the_end_of_a_client_is_seen(run: Run) {
    let server = Server::start(run);
    let mut client = server.connect();
    client.write_all(&get(10)).unwrap();
    assert_eq!(read_answer(&mut client), pattern(10));
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.read(&mut [0; 8]).unwrap(), 0);
    server.wait_for_connections(0);
}

/// The system tells of both at once, and says nothing more.
fn the_end_that_comes_with_the_last_bytes_is_seen(run: Run) {
    let server = Server::start(run);
    let known = server.connect();
    let clients = server.while_it_is_busy(|| {
        [known, server.connect()].map(|mut client| {
            client.write_all(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            client
        })
    });
    server.wait_for_connections(0);
    drop(clients);
}

fn the_reset_of_a_client_is_seen(run: Run) {
    let server = Server::start(run);
    let mut client = server.connect();
    client.write_all(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    server.wait_for_connections(1);
    net::Stream::from(std::os::fd::OwnedFd::from(client)).abort();
    server.wait_for_connections(0);
}

fn an_app_is_woken_from_another_thread(run: Run) {
    let server = Server::start(run);
    let mut client = server.connect();
    client.write_all(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    server.app.waiting.recv_timeout(PATIENCE).unwrap();
    server.handle.wake_app(AppId(0));
    assert_eq!(read_answer(&mut client), b"woken");
}

fn a_unix_socket_is_served_and_removed_at_the_end(run: Run) {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("blastbeat-drivers-{}-{number}", std::process::id()));
    let mut config = config();
    config.listeners.push(listener(BindAddr::Unix(path.clone()), Serves::Http { proxy: false }));
    let mut server = Server::with(run, config, Options::default);
    server.wait_for(|report| matches!(report, Report::Listening { address: BindAddr::Unix(_), .. }));
    let mut client = UnixStream::connect(&path).unwrap();
    client.write_all(&get(300_000)).unwrap();
    assert!(read_answer(&mut client) == pattern(300_000));
    server.stop().unwrap();
    assert!(!path.exists());
}

fn an_inherited_listener_is_served(run: Run) {
    let configured = BindAddr::Tcp(([127, 0, 0, 1], 1).into());
    let inherited = net::listen(&BindAddr::Tcp(loopback()), net::BACKLOG).unwrap();
    let address = inherited.local_address().unwrap();
    let mut config = config();
    config.listeners[0].address = configured.clone();
    let options = || Options { inherited: vec![(configured, inherited)], ..Options::default() };
    let server = Server::with(run, config, options);
    assert_eq!(BindAddr::Tcp(server.http), address);
    let mut client = server.connect();
    client.write_all(&get(10)).unwrap();
    assert_eq!(read_answer(&mut client), pattern(10));
}

fn the_hook_is_called_once_when_all_listeners_are_open(run: Run) {
    let mut config = config();
    config.listeners.push(listener(BindAddr::Tcp(loopback()), Serves::Zmq));
    let (said, hears) = channel();
    let hook = move || said.send(()).map_err(io::Error::other);
    let options = || Options { on_listening: Some(Box::new(hook)), ..Options::default() };
    let mut server = Server::with(run, config, options);
    // Reports are in one queue: both listeners stand in front of what comes after the hook.
    server.wait_for(|report| matches!(report, Report::Listening { serves: "zmq", .. }));
    hears.recv_timeout(PATIENCE).unwrap();
    let mut client = server.connect();
    client.write_all(&get(1)).unwrap();
    assert_eq!(read_answer(&mut client), pattern(1));
    assert!(hears.recv().is_err(), "it is dropped after its one call");
}

fn an_error_of_the_hook_ends_the_driver(run: Run) {
    let hook = || Err(io::ErrorKind::PermissionDenied.into());
    let options = move || Options { on_listening: Some(Box::new(hook)), ..Options::default() };
    let server = Server::with(run, config(), options);
    assert_eq!(server.stop().unwrap_err().kind(), io::ErrorKind::PermissionDenied);
}

fn a_listener_that_cannot_be_opened_is_reported_and_the_others_serve(run: Run) {
    let taken = TcpListener::bind(loopback()).unwrap();
    let mut config = config();
    config.listeners.push(listener(BindAddr::Tcp(taken.local_addr().unwrap()), Serves::Zmq));
    let mut server = Server::with(run, config, Options::default);
    server.wait_for(|report| matches!(report, Report::ListenFailed { serves: "zmq", .. }));
    let mut client = server.connect();
    client.write_all(&get(1)).unwrap();
    assert_eq!(read_answer(&mut client), pattern(1));
}

fn a_dialled_node_is_greeted_and_dialled_again_when_it_goes(run: Run) {
    let node = TcpListener::bind(loopback()).unwrap();
    let port = node.local_addr().unwrap().port();
    let _server = Server::with(run, dialling("127.0.0.1", port), Options::default);
    for _ in 0..2 {
        let (mut link, _) = node.accept().unwrap();
        link.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut signature = [0; 10];
        link.read_exact(&mut signature).unwrap();
        assert_eq!((signature[0], signature[9]), (0xff, 0x7f), "the start of a ZMTP greeting");
    }
}

fn a_name_is_resolved_before_it_is_dialled(run: Run) {
    let node = TcpListener::bind(loopback()).unwrap();
    let port = node.local_addr().unwrap().port();
    let _server = Server::with(run, dialling("localhost", port), Options::default);
    let (mut link, _) = node.accept().unwrap();
    link.set_read_timeout(Some(PATIENCE)).unwrap();
    link.read_exact(&mut [0; 10]).unwrap();
}

fn a_dial_that_is_refused_is_reported(run: Run) {
    let closed = TcpListener::bind(loopback()).unwrap().local_addr().unwrap();
    let mut server = Server::with(run, dialling("127.0.0.1", closed.port()), Options::default);
    server.wait_for(|report| matches!(report, Report::DialFailed { .. }));
    // The second attempt follows from a time-out.
    server.wait_for(|report| matches!(report, Report::DialFailed { .. }));
}

fn a_drain_lets_a_request_finish_and_ends_idle_connections(run: Run) {
    let mut server = Server::start(run);
    let mut idle = server.connect();
    idle.write_all(&get(1)).unwrap();
    assert_eq!(read_answer(&mut idle), pattern(1));
    let mut busy = server.connect();
    busy.write_all(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    server.app.waiting.recv_timeout(PATIENCE).unwrap();
    server.handle.control(Control::Drain);
    assert_eq!(idle.read(&mut [0; 8]).unwrap(), 0);
    server.wait_for(|report| matches!(report, Report::Draining { .. }));
    assert!(TcpStream::connect(server.http).is_err());
    server.handle.wake_app(AppId(0));
    assert_eq!(read_answer(&mut busy), b"woken");
    assert_eq!(busy.read(&mut [0; 8]).unwrap(), 0);
    server.thread.take().unwrap().join().unwrap().unwrap();
}

fn a_stop_that_was_asked_for_before_the_start_is_heard(run: Run) {
    let options = Options::default();
    options.handle.control(Control::Stop);
    let mut reports = Vec::new();
    run(engine(config()).0, options, &mut |report| reports.push(report)).unwrap();
    assert_eq!(reports.last(), Some(&Report::Stopped));
}

/// A driver on a thread of its own, stopped when this is dropped.
struct Server {
    handle: Handle,
    http: SocketAddr,
    reports: Mutex<Receiver<Report>>,
    app: TestAppHandle,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Server {
    fn start(run: Run) -> Self {
        Self::with(run, config(), Options::default)
    }

    fn with(run: Run, config: Config, options: impl FnOnce() -> Options + Send + 'static) -> Self {
        let (engine, app) = engine(config);
        let handle = Handle::new();
        let own = handle.clone();
        let (send, receive) = channel();
        let thread = thread::spawn(move || {
            let options = Options { handle: own, ..options() };
            run(engine, options, &mut |report| send.send(report).unwrap_or(()))
        });
        let http = match receive.recv_timeout(PATIENCE) {
            Ok(Report::Listening { address: BindAddr::Tcp(address), .. }) => address,
            other => panic!("{other:?}"),
        };
        Self { handle, http, reports: Mutex::new(receive), app, thread: Some(thread) }
    }

    fn connect(&self) -> TcpStream {
        let client = TcpStream::connect(self.http).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client
    }

    fn wait_for(&mut self, wanted: impl Fn(&Report) -> bool) {
        let reports = self.reports.get_mut().unwrap();
        while !wanted(&reports.recv_timeout(PATIENCE).unwrap()) {}
    }

    /// Does something while the driver is held up, so that it finds everything at once.
    fn while_it_is_busy<T>(&self, work: impl FnOnce() -> T) -> T {
        let mut client = self.connect();
        client.write_all(b"GET /block HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        self.app.waiting.recv_timeout(PATIENCE).unwrap();
        let done = work();
        self.app.release.send(()).unwrap();
        assert_eq!(read_answer(&mut client), b"released");
        done
    }

    /// Connections open at this moment.
    fn connections(&self) -> u64 {
        self.handle.control(Control::Stats);
        let reports = self.reports.lock().unwrap();
        loop {
            let report = reports.recv_timeout(PATIENCE).unwrap();
            let mut connections = None;
            report.fields(&mut |name, value| {
                if let ("connections", Value::Number(number)) = (name, value) {
                    connections = Some(number);
                }
            });
            if let Some(connections) = connections {
                return connections;
            }
        }
    }

    fn wait_for_connections(&self, wanted: u64) {
        let start = std::time::Instant::now();
        while self.connections() != wanted {
            assert!(start.elapsed() < PATIENCE, "{wanted} connections");
        }
    }

    fn stop(mut self) -> io::Result<()> {
        self.handle.control(Control::Stop);
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.handle.control(Control::Stop);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap().unwrap();
        }
    }
}

struct TestAppHandle {
    /// Hears of every request that waits.
    waiting: Receiver<()>,
    /// Lets the app go on from `/block`.
    release: Sender<()>,
}

/// Answers `/N` with N bytes, a POST with the size of its body, `/wait` when it is woken; `/block` holds up the driver.
struct TestApp {
    waits: Sender<()>,
    released: Receiver<()>,
    waiting: VecDeque<Sid>,
    uploads: Vec<(Sid, usize)>,
}

#[allow(clippy::wildcard_enum_match_arm, reason = "the inputs of an app are open to more")]
impl App for TestApp {
    fn handle(&mut self, input: AppInput<'_>, replies: &mut Replies, _now: Instant) {
        match input {
            AppInput::Request { sid, request, .. } => match (request.method(), request.path()) {
                (b"POST", _) => self.uploads.push((sid, 0)),
                (_, b"/wait") => {
                    self.waiting.push_back(sid);
                    self.waits.send(()).unwrap_or(());
                }
                (_, b"/block") => {
                    self.waits.send(()).unwrap_or(());
                    self.released.recv_timeout(PATIENCE).unwrap();
                    respond(replies, sid, b"released".to_vec());
                }
                (_, path) => {
                    let size = std::str::from_utf8(&path[1..]).unwrap().parse().unwrap();
                    respond(replies, sid, pattern(size));
                }
            },
            AppInput::Body { sid, bytes } => {
                let upload = self.uploads.iter_mut().find(|(of, _)| *of == sid).unwrap();
                upload.1 += bytes.len();
            }
            AppInput::BodyEnd { sid } => {
                let place = self.uploads.iter().position(|(of, _)| *of == sid).unwrap();
                respond(replies, sid, self.uploads.remove(place).1.to_string().into_bytes());
            }
            AppInput::Wake => self.waiting.drain(..).for_each(|sid| respond(replies, sid, b"woken".to_vec())),
            _ => {}
        }
    }
}

fn respond(replies: &mut Replies, sid: Sid, body: Vec<u8>) {
    let head = Response::builder(200).framing(Framing::Length(body.len() as u64)).build().unwrap();
    replies.respond(sid, head, body.into());
}

fn engine(config: Config) -> (Engine, TestAppHandle) {
    let entropy = Box::new(SeededEntropy::from_number(1));
    let mut engine = Engine::new(Arc::new(config), entropy, Instant::ZERO);
    let (waits, waiting) = channel();
    let (release, released) = channel();
    let app = TestApp { waits, released, waiting: VecDeque::new(), uploads: Vec::new() };
    engine.add_app("test", Box::new(app));
    (engine, TestAppHandle { waiting, release })
}

fn config() -> Config {
    let mut host = Host::new("*");
    host.nodes = vec![NodeName::App("test".to_owned())];
    let listeners = vec![listener(BindAddr::Tcp(loopback()), Serves::Http { proxy: false })];
    Config { listeners, hosts: vec![host], access_log: false, ..Config::default() }
}

fn dialling(host: &str, port: u16) -> Config {
    let address = Address::Tcp { host: host.to_owned(), port };
    Config { dials: vec![Dial { address, hosts: Vec::new() }], ..config() }
}

fn listener(address: BindAddr, serves: Serves) -> Listener {
    Listener { address, serves, hosts: Vec::new(), priority: 0 }
}

fn loopback() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

fn get(size: usize) -> Vec<u8> {
    format!("GET /{size} HTTP/1.1\r\nHost: x\r\n\r\n").into_bytes()
}

fn post(body: &[u8]) -> Vec<u8> {
    let head = format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// Bytes that show when some are missing or out of order.
fn pattern(size: usize) -> Vec<u8> {
    (0..size).map(|place| (place % 251) as u8).collect()
}

/// The body of the next answer, which must be a 200 with its length.
fn read_answer(client: &mut impl Read) -> Vec<u8> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).unwrap();
        head.extend(byte);
    }
    let head = String::from_utf8(head).unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let (_, length) = head.split_once("Content-Length: ").unwrap();
    let length = length.split_once('\r').unwrap().0.parse().unwrap();
    let mut body = vec![0; length];
    client.read_exact(&mut body).unwrap();
    body
}
