//! A driver with the real engine and an app for tests, and the little of HTTP that a client needs.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use blastbeat_proto::config::{Config, Dial, Host, Listener, NodeName, Serves, Spdy};
use blastbeat_proto::engine::{Address, App, AppInput, BindAddr, Control, Engine, Replies, Report, Value};
use blastbeat_proto::entropy::SeededEntropy;
use blastbeat_proto::http::{Framing, Response};
use blastbeat_proto::message::Sid;
use blastbeat_proto::time::Instant;
use blastbeat_runtime::driver::{Handle, Options};

/// A peer that hears nothing for so long has been forgotten.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub type Run = fn(Engine, Options, &mut dyn FnMut(Report)) -> io::Result<()>;

/// A driver on a thread of its own, stopped when this is dropped.
pub struct Server {
    pub handle: Handle,
    pub http: SocketAddr,
    reports: Mutex<Receiver<Report>>,
    pub app: TestAppHandle,
    pub thread: Option<JoinHandle<io::Result<()>>>,
}

impl Server {
    pub fn start(run: Run) -> Self {
        Self::with(run, config(), Options::default)
    }

    pub fn with(run: Run, config: Config, options: impl FnOnce() -> Options + Send + 'static) -> Self {
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

    pub fn connect(&self) -> TcpStream {
        let client = TcpStream::connect(self.http).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client
    }

    pub fn wait_for(&mut self, wanted: impl Fn(&Report) -> bool) {
        let reports = self.reports.get_mut().unwrap();
        while !wanted(&reports.recv_timeout(PATIENCE).unwrap()) {}
    }

    /// Does something while the driver is held up, so that it finds everything at once.
    pub fn while_it_is_busy<T>(&self, work: impl FnOnce() -> T) -> T {
        let mut client = self.connect();
        client.write_all(b"GET /block HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        self.app.waiting.recv_timeout(PATIENCE).unwrap();
        let done = work();
        self.app.release.send(()).unwrap();
        assert_eq!(read_answer(&mut client), b"released");
        done
    }

    /// Connections open at this moment.
    pub fn connections(&self) -> u64 {
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

    pub fn wait_for_connections(&self, wanted: u64) {
        let start = std::time::Instant::now();
        while self.connections() != wanted {
            assert!(start.elapsed() < PATIENCE, "{wanted} connections");
        }
    }

    pub fn stop(mut self) -> io::Result<()> {
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

pub struct TestAppHandle {
    /// Hears of every request that waits.
    pub waiting: Receiver<()>,
    /// Lets the app go on from `/block`.
    pub release: Sender<()>,
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

pub fn engine(config: Config) -> (Engine, TestAppHandle) {
    let entropy = Box::new(SeededEntropy::from_number(1));
    let mut engine = Engine::new(Arc::new(config), entropy, Instant::ZERO);
    let (waits, waiting) = channel();
    let (release, released) = channel();
    let app = TestApp { waits, released, waiting: VecDeque::new(), uploads: Vec::new() };
    engine.add_app("test", Box::new(app));
    (engine, TestAppHandle { waiting, release })
}

pub fn config() -> Config {
    let mut host = Host::new("*");
    host.nodes = vec![NodeName::App("test".to_owned())];
    let listeners = vec![listener(
        BindAddr::Tcp(loopback()),
        Serves::Http { proxy: false, tls: false, http2: false, spdy: Spdy::NONE },
    )];
    Config { listeners, hosts: vec![host], access_log: false, ..Config::default() }
}

pub fn dialling(host: &str, port: u16) -> Config {
    let address = Address::Tcp { host: host.to_owned(), port };
    Config { dials: vec![Dial { address, hosts: Vec::new() }], ..config() }
}

pub fn listener(address: BindAddr, serves: Serves) -> Listener {
    Listener { address, serves, hosts: Vec::new(), priority: 0 }
}

pub fn loopback() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

pub fn get(size: usize) -> Vec<u8> {
    format!("GET /{size} HTTP/1.1\r\nHost: x\r\n\r\n").into_bytes()
}

pub fn post(body: &[u8]) -> Vec<u8> {
    let head = format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// Bytes that show when some are missing or out of order.
pub fn pattern(size: usize) -> Vec<u8> {
    (0..size).map(|place| (place % 251) as u8).collect()
}

/// The body of the next answer, which must be a 200 with its length.
pub fn read_answer(client: &mut impl Read) -> Vec<u8> {
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
