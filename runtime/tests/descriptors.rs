//! Both drivers without descriptors to spare. The limit is the process's, so this is a program of its own with one
//! test.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests")]

use std::io::{self, Read, Write};
use std::iter;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use blastbeat_proto::config::{Config, Host, Listener, NodeName, Serves, Spdy};
use blastbeat_proto::engine::{BindAddr, Control, Engine, Report, Welcome};
use blastbeat_proto::entropy::SeededEntropy;
use blastbeat_proto::time::Instant;
use blastbeat_runtime::driver::{Handle, Options};
use rustix::net::{AddressFamily, SocketType, connect, socket};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

type Run = fn(Engine, Options, &mut dyn FnMut(Report)) -> io::Result<()>;

const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn a_server_without_descriptors_accepts_again_when_it_has_some() {
    let drivers: [Run; 2] = [blastbeat_mio::run, blastbeat_smol::run];
    for run in drivers {
        let mut host = Host::new("*");
        host.nodes = vec![NodeName::App(Welcome::NAME.to_owned())];
        let address = BindAddr::Tcp(([127, 0, 0, 1], 0).into());
        let listener = Listener {
            address,
            serves: Serves::Http { proxy: false, tls: false, http2: false, spdy: Spdy::NONE },
            hosts: Vec::new(),
            priority: 0,
        };
        let config = Config { listeners: vec![listener], hosts: vec![host], access_log: false, ..Config::default() };
        let entropy = Box::new(SeededEntropy::from_number(1));
        let mut engine = Engine::new(Arc::new(config), entropy, Instant::ZERO);
        engine.add_app(Welcome::NAME, Box::new(Welcome::new()));
        let handle = Handle::new();
        let own = handle.clone();
        let (send, reports) = channel();
        let server = thread::spawn(move || {
            let options = Options { handle: own, ..Options::default() };
            run(engine, options, &mut |report| send.send(report).unwrap_or(()))
        });
        let address = wait_for(&reports, |report| {
            let Report::Listening { address: BindAddr::Tcp(address), .. } = report else { return None };
            Some(address)
        })
        .unwrap();

        let mut client = TcpStream::from(socket(AddressFamily::INET, SocketType::STREAM, None).unwrap());
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        let limit = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: Some(0), ..limit }).unwrap();
        connect(&client, &address).unwrap();
        let paused = wait_for(&reports, |report| matches!(report, Report::AcceptPaused { .. }).then_some(()));
        setrlimit(Resource::Nofile, limit).unwrap();
        paused.unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut status = [0; 12];
        client.read_exact(&mut status).unwrap();
        assert_eq!(&status, b"HTTP/1.1 200");

        handle.control(Control::Stop);
        server.join().unwrap().unwrap();
    }
}

/// What `pick` takes from the reports that come.
fn wait_for<T>(reports: &Receiver<Report>, pick: impl Fn(Report) -> Option<T>) -> Option<T> {
    iter::from_fn(|| reports.recv_timeout(PATIENCE).ok()).find_map(pick)
}
