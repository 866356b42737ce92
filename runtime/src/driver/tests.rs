use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::event::{PollFd, PollFlags, poll};

use super::*;

fn loopback() -> BindAddr {
    BindAddr::Tcp(([127, 0, 0, 1], 0).into())
}

/// A client and the server's end of its connection.
fn connected() -> (TcpStream, Stream) {
    let (listener, address) = Options::default().open(&loopback()).unwrap();
    let BindAddr::Tcp(address) = address else { panic!("{address}") };
    let client = TcpStream::connect(address).unwrap();
    wait(&listener);
    (client, listener.accept().unwrap().0)
}

fn wait(readable: &impl std::os::fd::AsFd) {
    assert_eq!(poll(&mut [PollFd::new(readable, PollFlags::IN)], None), Ok(1));
}

#[test]
fn mail_is_taken_once_in_order_and_wakes_once() {
    let handle = Handle::new();
    handle.control(Control::Drain);
    let woken = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&woken);
    handle.on_mail(move || {
        counter.fetch_add(1, Ordering::Relaxed);
    });
    assert_eq!(woken.load(Ordering::Relaxed), 1, "mail from before counts");
    handle.wake_app(AppId(7));
    handle.wake_app(AppId(7));
    handle.clone().post(Mail::Resolved);
    assert_eq!(woken.load(Ordering::Relaxed), 1);
    let mail = [Mail::Control(Control::Drain), Mail::WakeApp(AppId(7)), Mail::Resolved];
    assert_eq!(handle.take(), mail);
    assert_eq!(handle.take(), []);
    handle.wake_app(AppId(7));
    assert_eq!(woken.load(Ordering::Relaxed), 2);
}

#[test]
fn a_place_in_a_table_is_empty_until_it_is_taken() {
    let mut table = Table::new();
    table.put(2, "two");
    let found: Vec<_> = (0..4).map(|place| table.at(place).map(|tenant| *tenant)).collect();
    assert_eq!(found, [None, None, Some("two"), None]);
    assert_eq!(table.places(), 3);
    assert_eq!(table.iter().collect::<Vec<_>>(), [&"two"]);
    assert_eq!(table.take(2), Some("two"));
    assert_eq!((table.take(2), table.take(3)), (None, None));
}

#[test]
fn an_inherited_listener_is_taken_instead_of_a_new_one() {
    let (listener, address) = Options::default().open(&loopback()).unwrap();
    let mut options = Options { inherited: vec![(loopback(), listener)], ..Options::default() };
    assert_eq!(options.open(&loopback()).unwrap().1, address);
    assert_ne!(options.open(&loopback()).unwrap().1, address, "it is given once");
}

#[test]
fn a_short_read_says_that_the_socket_is_drained() {
    let (mut client, stream) = connected();
    let mut io = Io::new(None);
    assert_eq!(io.read(&stream), Read::Nothing);
    client.write_all(b"hello").unwrap();
    wait(&stream);
    assert_eq!(io.read(&stream), Read::Bytes { bytes: b"hello", drained: true });
    drop(client);
    wait(&stream);
    assert_eq!(io.read(&stream), Read::End);
}

#[test]
fn a_write_that_the_system_cuts_short_says_so() {
    let (client, stream) = connected();
    let mut io = Io::new(None);
    let piece = vec![0; 1024 * 1024];
    let slices = [IoSlice::new(&piece); SLICES];
    let mut written = io.write(&stream, &slices).unwrap();
    assert!(written.n > 0);
    while !written.full {
        written = io.write(&stream, &slices).unwrap();
    }
    assert!(written.n < slices.len() * piece.len());
    drop(client);
}

#[test]
fn chaos_repeats_itself_and_loses_nothing() {
    let disturbed = |seed| {
        let (client, stream) = connected();
        let mut sender = Io::new(Some(Chaos::new(seed)));
        let mut receiver = Io::new(Some(Chaos::new(seed)));
        let client = Stream::from(std::os::fd::OwnedFd::from(client));
        let text: Vec<u8> = (0..200).collect();
        let (mut sent, mut received, mut sizes) = (0, Vec::new(), Vec::new());
        while sent < text.len() {
            let written = sender.write(&client, &[IoSlice::new(&text[sent..])]).unwrap();
            assert!(!written.full);
            sizes.push(written.n);
            sent += written.n;
        }
        drop(client);
        loop {
            wait(&stream);
            match receiver.read(&stream) {
                Read::Bytes { bytes, .. } => received.extend_from_slice(bytes),
                Read::End => break,
                other @ (Read::Nothing | Read::Failed(_)) => panic!("{other:?}"),
            }
        }
        assert_eq!(received, text);
        sizes
    };
    assert_eq!(disturbed(1), disturbed(1));
    assert_ne!(disturbed(1), disturbed(2));
}

#[test]
fn the_clock_starts_at_zero_and_agrees_with_the_systems() {
    let before = std::time::Instant::now();
    let clock = Clock::start();
    let now = clock.now();
    let after = std::time::Instant::now();
    assert!(now.since_epoch() <= after - before);
    assert!((before..=after).contains(&clock.system(now).unwrap()));
    assert_eq!(clock.system(Instant::from_epoch(std::time::Duration::MAX)), None);
}
