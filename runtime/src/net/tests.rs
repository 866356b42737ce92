use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::{UnixListener, UnixStream};

use rustix::event::{PollFd, PollFlags, poll};

use super::*;
use crate::scratch::Scratch;

fn loopback() -> Listener {
    listen(&BindAddr::Tcp(([127, 0, 0, 1], 0).into()), BACKLOG).unwrap()
}

fn port_of(listener: &Listener) -> SocketAddr {
    match listener.local_address().unwrap() {
        BindAddr::Tcp(address) => address,
        BindAddr::Unix(path) => panic!("{path:?}"),
    }
}

fn wait(fd: impl AsFd, what: PollFlags) {
    assert_eq!(poll(&mut [PollFd::new(&fd, what)], None), Ok(1));
}

fn accept_when_ready(listener: &Listener) -> (Stream, PeerAddr) {
    wait(listener, PollFlags::IN);
    listener.accept().unwrap()
}

#[test]
fn a_connection_is_accepted_with_its_peer_and_without_nagle() {
    let listener = loopback();
    assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
    let client = TcpStream::connect(port_of(&listener)).unwrap();
    let (stream, peer) = accept_when_ready(&listener);
    assert_eq!(peer, PeerAddr::Ip(client.local_addr().unwrap()));
    assert!(sockopt::tcp_nodelay(&stream).unwrap());
    assert_eq!(stream.read(&mut [0; 8]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
}

#[test]
fn bytes_travel_both_ways_and_the_end_is_seen() {
    let listener = loopback();
    let mut client = TcpStream::connect(port_of(&listener)).unwrap();
    let (stream, _) = accept_when_ready(&listener);
    client.write_all(b"question").unwrap();
    wait(&stream, PollFlags::IN);
    let mut buffer = [0; 64];
    assert_eq!(stream.read(&mut buffer).unwrap(), 8);
    assert_eq!(&buffer[..8], b"question");
    assert_eq!(stream.write_vectored(&[IoSlice::new(b"ans"), IoSlice::new(b"wer")]).unwrap(), 6);
    stream.shutdown_write().unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, b"answer");
    drop(client);
    wait(&stream, PollFlags::IN);
    assert_eq!(stream.read(&mut buffer).unwrap(), 0);
}

#[test]
fn an_aborted_connection_is_reset() {
    let listener = loopback();
    let mut client = TcpStream::connect(port_of(&listener)).unwrap();
    let (stream, _) = accept_when_ready(&listener);
    stream.abort();
    drop(stream);
    assert_eq!(client.read(&mut [0; 8]).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
}

#[test]
fn an_outgoing_connection_reports_its_outcome() {
    let listener = loopback();
    let to = port_of(&listener);
    let stream = connect(&Endpoint::Tcp(to)).unwrap();
    wait(&stream, PollFlags::OUT);
    stream.connected().unwrap();
    drop(listener);
    let outcome = connect(&Endpoint::Tcp(to)).and_then(|refused| {
        wait(&refused, PollFlags::OUT);
        refused.connected()
    });
    assert_eq!(outcome.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
}

#[test]
fn an_ipv6_listener_leaves_the_ipv4_port_alone() {
    let six = listen(&BindAddr::Tcp("[::]:0".parse().unwrap()), BACKLOG).unwrap();
    let port = port_of(&six).port();
    listen(&BindAddr::Tcp(([0, 0, 0, 0], port).into()), BACKLOG).unwrap();
}

#[test]
fn an_address_in_use_is_refused() {
    let listener = loopback();
    let again = listen(&BindAddr::Tcp(port_of(&listener)), BACKLOG);
    assert_eq!(again.unwrap_err().kind(), io::ErrorKind::AddrInUse);
}

#[test]
fn a_unix_socket_is_removed_with_its_listener() {
    let scratch = Scratch::new();
    let path = scratch.path("socket");
    let at = BindAddr::Unix(path.clone());
    let listener = listen(&at, BACKLOG).unwrap();
    assert_eq!(listener.local_address().unwrap(), at);
    let _client = UnixStream::connect(&path).unwrap();
    assert_eq!(accept_when_ready(&listener).1, PeerAddr::Unix);
    let stream = connect(&Endpoint::Unix(path.clone())).unwrap();
    stream.connected().unwrap();
    drop(listener);
    assert!(!path.exists());
}

#[test]
fn a_unix_socket_left_over_is_replaced() {
    let scratch = Scratch::new();
    let path = scratch.path("socket");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let listener = listen(&BindAddr::Unix(path.clone()), BACKLOG).unwrap();
    UnixStream::connect(&path).unwrap();
    drop(listener);
}

#[test]
fn a_unix_socket_in_use_and_other_files_are_left_alone() {
    let scratch = Scratch::new();
    let path = scratch.path("socket");
    let at = BindAddr::Unix(path.clone());
    let listener = listen(&at, BACKLOG).unwrap();
    assert_eq!(listen(&at, BACKLOG).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    drop(listener);
    fs::write(&path, "precious").unwrap();
    assert_eq!(listen(&at, BACKLOG).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    assert_eq!(fs::read(&path).unwrap(), b"precious");
}

#[test]
fn a_successors_unix_socket_survives_its_predecessor() {
    let scratch = Scratch::new();
    let path = scratch.path("socket");
    let old = listen(&BindAddr::Unix(path.clone()), BACKLOG).unwrap();
    fs::rename(&path, scratch.path("moved")).unwrap();
    let _new = listen(&BindAddr::Unix(path.clone()), BACKLOG).unwrap();
    drop(old);
    assert!(path.exists());
}

#[test]
fn a_path_too_long_for_a_socket_is_an_error() {
    let at = BindAddr::Unix(PathBuf::from("/".to_owned() + &"x".repeat(200)));
    assert!(listen(&at, BACKLOG).is_err());
}
