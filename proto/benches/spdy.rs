//! What a small request costs in SPDY: `cargo bench -p blastbeat-proto --no-default-features --features spdy --bench spdy
//! [-- NAME]`, to be held against the bench of HTTP/2.
//!
//! Each line is the best of several rounds, in nanoseconds for a request, or as the name says. Clients compress as most
//! do: the fastest level, a window of 2 KiB.

#![allow(clippy::print_stdout, reason = "printing is what a benchmark is for")]

use std::hint::black_box;

use blastbeat_proto::http::{self, BodySize, Request, Response, Settings};
use blastbeat_proto::limits::Limits;
use blastbeat_proto::spdy::{Connection, Event, Priority, Version};
use blastbeat_proto::time::Instant;
use bytes::Bytes;

const ROUNDS: usize = 7;
const ROUND: std::time::Duration = std::time::Duration::from_millis(300);
const CONNECTIONS: usize = 16;
const STREAMS: usize = 32;

/// A frame's head and the number of a stream, which changes.
const HEAD: usize = 12;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\n";

const BROWSER: &[(&str, &str)] = &[
    ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0"),
    ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"),
    ("accept-language", "en-US,en;q=0.5"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    ("cookie", "session=0123456789abcdef0123456789abcdef; theme=dark"),
    ("sec-fetch-mode", "navigate"),
];
const SMALL: &[(&str, &str)] = &[("user-agent", "h2load nghttp2/1.52.0")];

fn main() {
    // `cargo test --benches` and `cargo bench` pass flags of their own; a name is what has no dash.
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    let browser = "/articles/2026/some-title?utm_source=feed";
    for version in Version::ALL {
        let name = |what: &str| format!("{}/{what}", version.alpn());
        measure(&wanted, &name("request/small"), CONNECTIONS * STREAMS, requests(version, "/", SMALL, STREAMS));
        measure(&wanted, &name("request/browser"), CONNECTIONS * STREAMS, requests(version, browser, BROWSER, STREAMS));
        measure(&wanted, &name("request/one-at-a-time"), CONNECTIONS, requests(version, "/", SMALL, 1));
        measure(&wanted, &name("request/first"), 1, first(version));
        measure(&wanted, &name("download/MiB"), 1, download(version));
        measure(&wanted, &name("upload/MiB"), 1, upload(version));
    }
}

/// A client's side, as far as it matters: its frames. Each request but the first refers to the one before it, so its frame
/// says the same again however often it comes, after a few.
struct Client {
    connection: Connection,
    next: u32,
    /// The frames of the first requests; those behind them are like the last.
    frames: Vec<Vec<u8>>,
    input: Vec<u8>,
}

impl Client {
    fn new(version: Version, target: &str, fields: &[(&str, &str)], body: BodySize) -> Self {
        let settings = Settings::with_limits(Limits { h2_streams: usize::MAX, ..Limits::DEFAULT });
        let mut request = Request::builder("GET", target, "www.example.com");
        for (name, value) in fields {
            request = request.field(name, value);
        }
        let request = request.body(body).build().expect("it is sound");
        let mut asking = Connection::client(version, settings.clone(), Instant::ZERO);
        asking.outbound().clear();
        let mut written = || {
            asking.open(&request, true, Priority(2), Instant::ZERO).expect("there is room");
            asking.outbound().take()
        };
        let mut frames = vec![written(), written()];
        while frames[frames.len() - 1][HEAD..] != frames[frames.len() - 2][HEAD..] {
            frames.push(written());
            assert!(frames.len() < 100, "the same comes again");
        }
        let connection = Connection::server(version, settings, Instant::ZERO);
        let mut client = Self { connection, next: 1, frames, input: Vec::new() };
        if version != Version::V2 {
            // The largest windows there are.
            client.input.extend_from_slice(b"\x80\x03\0\x04\0\0\0\x0c\0\0\0\x01\0\0\0\x07\x7f\xff\xff\xff");
        }
        if version == Version::V31 {
            client.update(0, 0x7000_0000);
        }
        client
    }

    fn update(&mut self, stream: u32, by: u32) {
        self.input.extend_from_slice(b"\x80\x03\0\x09\0\0\0\x08");
        self.input.extend_from_slice(&stream.to_be_bytes());
        self.input.extend_from_slice(&by.to_be_bytes());
    }

    /// Asks what is asked always.
    fn ask(&mut self) -> u32 {
        let stream = self.next;
        self.next += 2;
        let start = self.input.len();
        let place = (stream as usize / 2).min(self.frames.len() - 1);
        self.input.extend_from_slice(&self.frames[place]);
        self.input[start + 8..start + 12].copy_from_slice(&stream.to_be_bytes());
        stream
    }

    fn data(&mut self, stream: u32, is_last: bool, piece: &[u8]) {
        self.input.extend_from_slice(&stream.to_be_bytes());
        self.input.push(u8::from(is_last));
        self.input.extend_from_slice(&(piece.len() as u32).to_be_bytes()[1..]);
        self.input.extend_from_slice(piece);
    }

    /// Lets the server read what was written, and answer; returns how many bytes of it there were.
    fn exchange(&mut self) -> usize {
        let now = Instant::ZERO;
        let mut input = &self.input[..];
        let mut written = 0;
        loop {
            let used = self.connection.receive(black_box(input), now);
            input = &input[used..];
            let mut events = 0;
            while let Some((stream, event)) = self.connection.poll_event() {
                events += 1;
                match event {
                    Event::Part(http::Event::End) => {
                        let head = Bytes::from_static(ANSWER);
                        let (response, _) = Response::parse(head, &Limits::DEFAULT).expect("the answer is sound");
                        self.connection.send(stream, http::Event::Response(response), now).expect("it waits");
                        let body = Bytes::from_static(b"Hello, world!");
                        self.connection.send(stream, http::Event::Body(body), now).expect("it is open");
                    }
                    Event::Part(http::Event::Body(piece)) => self.connection.release(stream, piece.len(), now),
                    Event::Part(_) | Event::Freed(_) | Event::Cut(_) | Event::Refused(_) => {}
                }
            }
            while self.connection.has_outbound() {
                let out = self.connection.outbound();
                let n = out.len();
                out.advance(n);
                written += n;
            }
            if used == 0 && events == 0 {
                break;
            }
        }
        assert!(input.is_empty() && self.connection.is_closing().is_none(), "the server takes everything");
        self.input.clear();
        written
    }
}

fn requests(version: Version, target: &str, fields: &[(&str, &str)], streams: usize) -> impl FnMut() -> usize + use<> {
    let client = |_| Client::new(version, target, fields, BodySize::None);
    let mut clients: Vec<_> = (0..CONNECTIONS).map(client).collect();
    move || {
        let mut written = 0;
        for client in &mut clients {
            for _ in 0..streams {
                client.ask();
            }
            written += client.exchange();
        }
        written
    }
}

/// A connection's first request, with all that it needs for that.
fn first(version: Version) -> impl FnMut() -> usize {
    let settings = Settings::with_limits(Limits::DEFAULT);
    let mut client = Client::new(version, "/", SMALL, BodySize::None);
    move || {
        client.connection = Connection::server(version, settings.clone(), Instant::ZERO);
        client.next = 1;
        client.ask();
        client.exchange()
    }
}

/// A response of 1 MiB, in pieces of 64 KiB.
fn download(version: Version) -> impl FnMut() -> usize {
    let mut client = Client::new(version, "/", SMALL, BodySize::None);
    let (head, piece) = (Bytes::from_static(b"HTTP/1.1 200 OK\r\n\r\n"), Bytes::from(vec![0; 64 * 1024]));
    move || {
        let now = Instant::ZERO;
        let stream = http::StreamId(client.ask());
        if version == Version::V31 {
            client.update(0, 1 << 20);
        }
        let input = std::mem::take(&mut client.input);
        client.connection.receive(&input, now);
        while client.connection.poll_event().is_some() {}
        let (response, _) = Response::parse(head.clone(), &Limits::DEFAULT).expect("the answer is sound");
        client.connection.send(stream, http::Event::Response(response), now).expect("it waits");
        for _ in 0..16 {
            client.connection.send(stream, http::Event::Body(piece.clone()), now).expect("it is open");
        }
        client.connection.send(stream, http::Event::End, now).expect("it is open");
        let mut written = 0;
        while client.connection.has_outbound() {
            let out = client.connection.outbound();
            let n = out.len();
            out.advance(n);
            written += n;
        }
        while client.connection.poll_event().is_some() {}
        assert!(written > 1 << 20);
        written
    }
}

/// A request's body of 1 MiB, in frames of 16 KiB.
fn upload(version: Version) -> impl FnMut() -> usize {
    let mut client = Client::new(version, "/", SMALL, BodySize::Chunked);
    let piece = vec![0; 16 * 1024];
    move || {
        let stream = client.ask();
        for n in 1..=64 {
            client.data(stream, n == 64, &piece);
            client.exchange();
        }
        stream as usize
    }
}

/// Runs `operation` until the figure is steady, and prints it for each of `parts`.
#[allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "a benchmark reads the clock")]
fn measure<T>(wanted: &str, name: &str, parts: usize, mut operation: impl FnMut() -> T) {
    if !name.contains(wanted) {
        return;
    }
    let mut best = f64::INFINITY;
    let mut count = 1_u32;
    for _ in 0..ROUNDS {
        loop {
            let start = std::time::Instant::now();
            for _ in 0..count {
                black_box(operation());
            }
            let elapsed = start.elapsed();
            if elapsed >= ROUND {
                best = best.min(elapsed.as_secs_f64() * 1e9 / f64::from(count) / parts as f64);
                break;
            }
            count = count.saturating_mul(2);
        }
    }
    println!("{name:<40} {best:>10.1} ns");
}
