//! Both drivers with the real engine, over loopback: whatever one of them does, the other does too.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests")]

mod server;

use std::io::{self, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::thread;

use blastbeat_proto::config::{Serves, Spdy};
use blastbeat_proto::engine::{AppId, BindAddr, Control, Report};
use blastbeat_runtime::driver::{Chaos, Options};
use blastbeat_runtime::net;
use server::{PATIENCE, Run, Server, config, dialling, engine, get, listener, loopback, pattern, post, read_answer};

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
    a_client_for_whom_there_is_no_room_waits_for_it
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

fn a_client_for_whom_there_is_no_room_waits_for_it(run: Run) {
    let mut config = config();
    config.limits.connections = 2;
    let server = Server::with(run, config, Options::default);
    let mut clients: Vec<_> = (0..4).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.write_all(&get(10)).unwrap();
    }
    for mut client in clients {
        assert_eq!(read_answer(&mut client), pattern(10));
        assert!(server.connections() <= 2);
    }
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
    config.listeners.push(listener(
        BindAddr::Unix(path.clone()),
        Serves::Http { proxy: false, tls: false, http2: false, spdy: Spdy::NONE },
    ));
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
