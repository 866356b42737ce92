//! What a small request costs in HTTP/2: `cargo bench -p blastbeat-proto --no-default-features --features http2 --bench
//! http2 [-- NAME]`.
//!
//! Each line is the best of several rounds, in nanoseconds for a request, or as the name says.

#![allow(clippy::print_stdout, reason = "printing is what a benchmark is for")]

use std::hint::black_box;

use blastbeat_proto::http::{self, Response, Settings};
use blastbeat_proto::http2::{Connection, Event};
use blastbeat_proto::limits::Limits;
use blastbeat_proto::time::Instant;
use bytes::Bytes;

const ROUNDS: usize = 7;
const ROUND: std::time::Duration = std::time::Duration::from_millis(300);
const CONNECTIONS: usize = 16;
const STREAMS: usize = 32;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\n";

/// Field by field: each is put into the table by a connection's first request and named by two bytes after that.
const BROWSER: &[(&str, &str)] = &[
    (":method", "GET"),
    (":scheme", "https"),
    (":authority", "www.example.com"),
    (":path", "/articles/2026/some-title?utm_source=feed"),
    ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0"),
    ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"),
    ("accept-language", "en-US,en;q=0.5"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    ("cookie", "session=0123456789abcdef0123456789abcdef"),
    ("cookie", "theme=dark"),
    ("sec-fetch-mode", "navigate"),
];
const SMALL: &[(&str, &str)] = &[
    (":method", "GET"),
    (":scheme", "http"),
    (":authority", "localhost:8080"),
    (":path", "/"),
    ("user-agent", "h2load nghttp2/1.52.0"),
];

fn main() {
    // `cargo test --benches` and `cargo bench` pass flags of their own; a name is what has no dash.
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    measure(&wanted, "http2/request/small", CONNECTIONS * STREAMS, requests(SMALL, STREAMS));
    measure(&wanted, "http2/request/browser", CONNECTIONS * STREAMS, requests(BROWSER, STREAMS));
    measure(&wanted, "http2/request/one-at-a-time", CONNECTIONS, requests(SMALL, 1));
    measure(&wanted, "http2/download/MiB", 1, download());
    measure(&wanted, "http2/upload/MiB", 1, upload());
}

/// A client's side, as far as it matters: its frames.
struct Client {
    connection: Connection,
    next: u32,
    input: Vec<u8>,
}

impl Client {
    fn new(fields: &[(&str, &str)]) -> Self {
        let connection = Connection::server(Settings::with_limits(Limits::DEFAULT), Instant::ZERO);
        let mut client = Self { connection, next: 1, input: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec() };
        // The largest windows there are.
        client.frame(4, 0, 0, &[0, 4, 0x7f, 0xff, 0xff, 0xff]);
        client.frame(8, 0, 0, &(0x7000_0000_u32).to_be_bytes());
        client.frame(4, 1, 0, b"");
        let mut block = Vec::new();
        for (name, value) in fields {
            block.push(0x40);
            for text in [name, value] {
                block.push(text.len() as u8);
                block.extend_from_slice(text.as_bytes());
            }
        }
        let stream = client.open();
        client.frame(1, 5, stream, &block);
        client.exchange();
        client
    }

    fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.input.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
        self.input.extend_from_slice(&[kind, flags]);
        self.input.extend_from_slice(&stream.to_be_bytes());
        self.input.extend_from_slice(payload);
    }

    fn open(&mut self) -> u32 {
        self.next += 2;
        self.next - 2
    }

    /// Asks again what was asked first.
    fn ask(&mut self, fields: usize, flags: u8) -> u32 {
        let mut block = [0; 64];
        for (place, byte) in block[..fields].iter_mut().enumerate() {
            *byte = 0x80 | (62 + fields - 1 - place) as u8;
        }
        let stream = self.open();
        self.frame(1, flags, stream, &block[..fields]);
        stream
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
        self.input.clear();
        written
    }
}

fn requests(fields: &'static [(&'static str, &'static str)], streams: usize) -> impl FnMut() -> usize {
    let mut clients: Vec<_> = (0..CONNECTIONS).map(|_| Client::new(fields)).collect();
    move || {
        let mut written = 0;
        for client in &mut clients {
            for _ in 0..streams {
                client.ask(fields.len(), 5);
            }
            written += client.exchange();
        }
        written
    }
}

/// A response of 1 MiB, in pieces of 64 KiB.
fn download() -> impl FnMut() -> usize {
    let mut client = Client::new(SMALL);
    let (head, piece) = (Bytes::from_static(b"HTTP/1.1 200 OK\r\n\r\n"), Bytes::from(vec![0; 64 * 1024]));
    move || {
        let now = Instant::ZERO;
        let stream = http::StreamId(client.ask(SMALL.len(), 5));
        client.frame(8, 0, 0, &(1_u32 << 20).to_be_bytes());
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
        assert!(written > 1 << 20);
        written
    }
}

/// A request's body of 1 MiB, in frames of 16 KiB.
fn upload() -> impl FnMut() -> usize {
    let mut client = Client::new(SMALL);
    let piece = vec![0; 16 * 1024];
    move || {
        let stream = client.ask(SMALL.len(), 4);
        for n in 1..=64 {
            client.frame(0, u8::from(n == 64), stream, &piece);
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
