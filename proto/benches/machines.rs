//! What the machines cost, in nanoseconds per operation: `cargo bench -p blastbeat-proto [-- NAME]`.
//!
//! Each line is the best of several rounds, which is the figure that other work on the machine disturbs least. To add
//! one, write a function and give it a line in `main`.

#![allow(clippy::print_stdout, reason = "printing is what a benchmark is for")]

use std::hint::black_box;
use std::io::IoSlice;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;

use blastbeat_proto::config::{Config, Mode};
use blastbeat_proto::engine::{Engine, Input, LinkId, ListenerId, Output, PeerAddr, Welcome};
use blastbeat_proto::entropy::SeededEntropy;
use blastbeat_proto::http::{Event, Request, Response, Settings};
use blastbeat_proto::http1::{ChunkDecoder, Connection, Piece};
use blastbeat_proto::limits::Limits;
use blastbeat_proto::time::Instant;
use blastbeat_proto::{proxy, socketio, uwsgi, websocket, zmtp};
use bytes::Bytes;

const ROUNDS: usize = 7;
const ROUND: std::time::Duration = std::time::Duration::from_millis(100);

const CURL: &[u8] =
    b"GET /hello?name=world HTTP/1.1\r\nHost: example.com\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\n\r\n";
const BROWSER: &[u8] = b"GET /articles/2026/some-title?utm_source=feed HTTP/1.1\r\nHost: www.example.com\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n\
    Accept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br, zstd\r\nConnection: keep-alive\r\n\
    Cookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\nUpgrade-Insecure-Requests: 1\r\n\
    Sec-Fetch-Dest: document\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Site: none\r\nPriority: u=0, i\r\n\r\n";
const PEER: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 40_000));
const INI: &[u8] = b"[blastbeat]\nbind = 127.0.0.1:80\nzmq = tcp://127.0.0.1:5000\naccess-log = off\n\
    [blastbeat:*]\nnode = node\n";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\n";

fn main() {
    // `cargo test --benches` and `cargo bench` pass flags of their own; a name is what has no dash.
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    let limits = Limits::DEFAULT;

    measure(&wanted, "http1/parse-request/curl", || Request::parse(black_box(CURL), &limits));
    measure(&wanted, "http1/parse-request/browser", || Request::parse(black_box(BROWSER), &limits));
    let answer = Bytes::from_static(ANSWER);
    measure(&wanted, "http1/parse-response", || Response::parse(black_box(answer.clone()), &limits));
    measure(&wanted, "http1/exchange/curl", exchange(CURL));
    measure(&wanted, "http1/exchange/browser", exchange(BROWSER));
    measure(&wanted, "http1/exchange/chunked", chunked_exchange());
    let chunks = b"400\r\n".iter().copied().chain([b'x'; 1024]).chain(*b"\r\n0\r\n\r\n").collect::<Vec<u8>>();
    measure(&wanted, "http1/decode-chunks/1KiB", || decode(&chunks, &limits));

    for (size, name) in [(64, "64B"), (4096, "4KiB"), (65_536, "64KiB")] {
        measure(&wanted, &["websocket/echo-text/", name].concat(), websocket_echo(size, websocket::Kind::Text, None));
        measure(
            &wanted,
            &["websocket/echo-binary/", name].concat(),
            websocket_echo(size, websocket::Kind::Binary, None),
        );
        let deflate = websocket::Deflate::default();
        measure(
            &wanted,
            &["websocket/echo-deflate/", name].concat(),
            websocket_echo(size, websocket::Kind::Text, Some(deflate)),
        );
        let deflate =
            websocket::Deflate { server_no_context_takeover: true, client_no_context_takeover: true, ..deflate };
        measure(
            &wanted,
            &["websocket/echo-deflate-alone/", name].concat(),
            websocket_echo(size, websocket::Kind::Text, Some(deflate)),
        );
        measure(&wanted, &["websocket/prepared/", name].concat(), websocket_prepared(size));
    }

    for (size, name) in [(64, "64B"), (4096, "4KiB")] {
        measure(&wanted, &["socketio/echo/", name].concat(), socketio_echo(size));
        measure(&wanted, &["socketio/object/", name].concat(), socketio_object(size));
    }

    measure(&wanted, "uwsgi/encode-request/curl", encode(CURL));
    measure(&wanted, "uwsgi/encode-request/browser", encode(BROWSER));
    let mut header = Vec::new();
    proxy::encode(proxy::Version::V2, Some((PEER, PEER)), &mut header);
    measure(&wanted, "proxy/v2", || proxy::Header::new().receive(black_box(&header), Instant::ZERO));
    measure(&wanted, "config/parse", || Config::parse(black_box(INI), "bench.ini", Mode::Strict).is_ok());
    measure(&wanted, "engine/request-to-app", request_to_app());
    measure(&wanted, "engine/request-to-node", request_to_node());
}

/// A client's frame in, the message out again: parsed, unmasked, checked, and written as the server's frame.
fn websocket_echo(size: usize, kind: websocket::Kind, deflate: Option<websocket::Deflate>) -> impl FnMut() -> usize {
    let settings = Arc::new(websocket::Settings::new(&Limits::DEFAULT));
    let masks = Box::new(SeededEntropy::from_number(1));
    let mut client = websocket::Connection::client(settings.clone(), deflate, masks, Instant::ZERO);
    let mut server = websocket::Connection::server(settings, deflate, Instant::ZERO);
    let words = b"the quick brown fox jumps over the lazy dog, once more; ".iter().copied().cycle();
    let message = websocket::Message { kind, payload: words.take(size).collect::<Vec<u8>>().into() };
    client.send(websocket::Event::Message(message), Instant::ZERO).expect("the client is open");
    // With a context the first frame refers to nothing, so that it can be read again and again.
    let frame = client.outbound().take();
    move || {
        server.receive(black_box(&frame), Instant::ZERO);
        let event = server.poll_event().expect("a whole frame is an event");
        server.send(event, Instant::ZERO).expect("the server is open");
        let written = server.outbound().len();
        server.outbound().advance(written);
        written
    }
}

/// A message encoded for many, to one of them.
fn websocket_prepared(size: usize) -> impl FnMut() -> usize {
    let settings = Arc::new(websocket::Settings::new(&Limits::DEFAULT));
    let mut server = websocket::Connection::server(settings, None, Instant::ZERO);
    let message = websocket::Message { kind: websocket::Kind::Binary, payload: vec![7; size].into() };
    let mut prepared = websocket::Prepared::new(&message);
    move || {
        server.send_prepared(black_box(&mut prepared), Instant::ZERO).expect("the server is open");
        let written = server.outbound().len();
        server.outbound().advance(written);
        written
    }
}

/// A client's event by WebSocket, to a node and back: read, checked, as the node's body, checked again, and written.
fn socketio_echo(size: usize) -> impl FnMut() -> usize {
    let settings = Arc::new(socketio::Settings::new(&Limits::DEFAULT));
    let (generation, transport) = (socketio::Generation::Five, socketio::Transport::WebSocket);
    let id = socketio::Id([7; 16]);
    let (layer, now) = (socketio::Layer::SocketIo, Instant::ZERO);
    let mut server = socketio::Connection::server(settings.clone(), generation, layer, transport, false, id, id, now);
    let text = |text: String| websocket::Message { kind: websocket::Kind::Text, payload: text.into() };
    server.receive_message(text("40".into()), now);
    assert!(server.poll_event().is_some(), "the client asks for the main namespace");
    server.accept("/", id, now).expect("it has asked");
    while server.poll_message().is_some() {}
    let words = "the quick brown fox jumps over the lazy dog, once more; ".chars().cycle();
    let message = text(["42[\"echo\",\"", &words.take(size).collect::<String>(), "\"]"].concat());
    move || {
        server.receive_message(black_box(message.clone()), now);
        let Some(socketio::Event::Packet(packet)) = server.poll_event() else { panic!("an event is a packet") };
        let body = black_box(packet.to_node());
        let packet = socketio::Packet::from_node(packet.kind(), body, &settings).expect("it is as it was");
        server.send(socketio::Event::Packet(packet), now).expect("the server is open");
        server.poll_message().map_or(0, |message| message.payload.len())
    }
}

/// An event of a node that knows no packets, checked, and written for another such node.
fn socketio_object(size: usize) -> impl FnMut() -> usize {
    let settings = socketio::Settings::new(&Limits::DEFAULT);
    let words = "the quick brown fox jumps over the lazy dog, once more; ".chars().cycle();
    let words: String = words.take(size).collect();
    let object = Bytes::from(["{\"name\":\"news\",\"args\":[{\"text\":\"", &words, "\"}]}"].concat());
    move || {
        let event = socketio::PacketKind::Event;
        let packet = socketio::Packet::from_node(event, black_box(object.clone()), &settings).expect("it is sound");
        packet.to_object().len()
    }
}

fn encode(request: &'static [u8]) -> impl FnMut() -> usize {
    let request = Request::parse(request, &Limits::DEFAULT).expect("the request is sound");
    let mut out = Vec::new();
    move || {
        let remote = PeerAddr::Ip(PEER);
        let context = uwsgi::Context {
            section: "*",
            port: 80,
            remote,
            https: false,
            request_id: 7,
            redispatched: false,
            variables: &[],
        };
        out.clear();
        uwsgi::encode_request(&mut out, black_box(&request), &context).expect("it fits");
        out.len()
    }
}

/// A whole request through the engine, from the bytes of a client to the bytes for it, answered inside the process.
fn request_to_app() -> impl FnMut() -> usize {
    let mut engine = engine(b"[blastbeat]\nbind = 127.0.0.1:80\naccess-log = off\n[blastbeat:*]\nnode = app:welcome\n");
    let client = engine.accept(ListenerId(0), PeerAddr::Ip(PEER), Instant::ZERO).expect("there is room");
    move || {
        engine.handle(Input::Received { link: client, bytes: black_box(CURL) }, Instant::ZERO);
        carry_out(&mut engine, |_, _| {})
    }
}

/// A whole request through the engine to a node and back, without the node's own work.
fn request_to_node() -> impl FnMut() -> usize {
    let mut engine = engine(INI);
    let client = engine.accept(ListenerId(0), PeerAddr::Ip(PEER), Instant::ZERO).expect("there is room");
    let link = engine.accept(ListenerId(1), PeerAddr::Ip(PEER), Instant::ZERO).expect("there is room");
    let settings = zmtp::Settings {
        identity: Bytes::from_static(b"node"),
        ..zmtp::Settings::new(zmtp::Role::Dealer, &Limits::DEFAULT)
    };
    let mut node = zmtp::Connection::new(Arc::new(settings), Instant::ZERO);
    // Greetings and names, then the sign of life.
    for _ in 0..4 {
        let bytes = node.outbound().take();
        if !bytes.is_empty() {
            engine.handle(Input::Received { link, bytes: &bytes }, Instant::ZERO);
        }
        let mut heard = Vec::new();
        carry_out(&mut engine, |_, bytes| heard.extend_from_slice(bytes));
        hear(&mut node, &heard, |_| {});
    }
    node.send(&[b"", b"pong", b"quiet"]).expect("the link is up");
    let bytes = node.outbound().take();
    engine.handle(Input::Received { link, bytes: &bytes }, Instant::ZERO);
    carry_out(&mut engine, |_, _| {});
    move || {
        engine.handle(Input::Received { link: client, bytes: black_box(CURL) }, Instant::ZERO);
        let mut asked = Vec::new();
        carry_out(&mut engine, |_, bytes| asked.extend_from_slice(bytes));
        let mut sid = Bytes::new();
        hear(&mut node, &asked, |message| sid = message.frame_bytes(0).expect("there are three"));
        node.send(&[&sid, b"headers", ANSWER]).expect("the link is up");
        node.send(&[&sid, b"body", b"Hello, world!"]).expect("the link is up");
        let answer = node.outbound().take();
        engine.handle(Input::Received { link, bytes: &answer }, Instant::ZERO);
        carry_out(&mut engine, |_, _| {})
    }
}

fn engine(ini: &[u8]) -> Engine {
    let (config, _) = Config::parse(ini, "bench.ini", Mode::Strict).expect("the configuration is sound");
    let mut engine = Engine::new(Arc::new(config), Box::new(SeededEntropy::from_number(1)), Instant::ZERO);
    engine.add_app(Welcome::NAME, Box::new(Welcome::new()));
    carry_out(&mut engine, |_, _| {});
    engine
}

/// Takes all outputs and writes what is queued; returns how many bytes that were.
fn carry_out(engine: &mut Engine, mut write: impl FnMut(LinkId, &[u8])) -> usize {
    let mut written = 0;
    while let Some(output) = engine.poll_output() {
        let Output::Attend(link) = output else { continue };
        let mut slices = [IoSlice::new(&[]); 8];
        let count = engine.outbound(link, &mut slices, Instant::ZERO);
        let mut n = 0;
        for slice in &slices[..count] {
            write(link, slice);
            n += slice.len();
        }
        if n > 0 {
            engine.handle(Input::Sent { link, n }, Instant::ZERO);
        }
        written += n;
    }
    written
}

fn hear(node: &mut zmtp::Connection, mut bytes: &[u8], mut each: impl FnMut(zmtp::Message)) {
    loop {
        let used = node.receive(bytes, Instant::ZERO);
        bytes = &bytes[used..];
        match node.poll_event() {
            Some(zmtp::Event::Message(message)) => each(message),
            Some(zmtp::Event::Hello(_) | zmtp::Event::Peer { .. }) => {}
            None if used == 0 || bytes.is_empty() => return,
            None => {}
        }
    }
}

/// A kept connection: request in, response head parsed, head and body out.
fn exchange(request: &'static [u8]) -> impl FnMut() -> usize {
    let mut server = Connection::server(Settings::with_limits(Limits::DEFAULT), Instant::ZERO);
    let (head, body) = (Bytes::from_static(ANSWER), Bytes::from_static(b"Hello, world!"));
    move || {
        let used = server.receive(black_box(request), Instant::ZERO);
        while let Some(event) = server.poll_event() {
            black_box(&event);
        }
        let (response, _) = Response::parse(head.clone(), &Limits::DEFAULT).expect("the answer is sound");
        server.send(Event::Response(response), Instant::ZERO).expect("a request waits");
        server.send(Event::Body(body.clone()), Instant::ZERO).expect("a response is open");
        let written = server.outbound().len();
        server.outbound().advance(written);
        used + written
    }
}

/// As `exchange`, for a response that the node did not frame.
fn chunked_exchange() -> impl FnMut() -> usize {
    let settings: Arc<Settings> = Settings::with_limits(Limits::DEFAULT);
    let mut server = Connection::server(settings, Instant::ZERO);
    let head = Bytes::from_static(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n");
    let body = Bytes::from_static(b"Hello, world!");
    move || {
        server.receive(black_box(CURL), Instant::ZERO);
        while let Some(event) = server.poll_event() {
            black_box(&event);
        }
        let (response, _) = Response::parse(head.clone(), &Limits::DEFAULT).expect("the answer is sound");
        for event in [Event::Response(response), Event::Body(body.clone()), Event::End] {
            server.send(event, Instant::ZERO).expect("a request waits");
        }
        let written = server.outbound().len();
        server.outbound().advance(written);
        written
    }
}

fn decode(mut input: &[u8], limits: &Limits) -> usize {
    let mut decoder = ChunkDecoder::new(limits);
    let mut body = 0;
    loop {
        let decoded = decoder.decode(black_box(input)).expect("the chunks are sound");
        match decoded.piece {
            Some(Piece::Data(range)) => body += range.len(),
            Some(Piece::End) => return body,
            None => {}
        }
        input = &input[decoded.used..];
    }
}

/// Runs `operation` until the figure is steady, and prints it.
#[allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "a benchmark reads the clock")]
fn measure<T>(wanted: &str, name: &str, mut operation: impl FnMut() -> T) {
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
                best = best.min(elapsed.as_secs_f64() * 1e9 / f64::from(count));
                break;
            }
            count = count.saturating_mul(2);
        }
    }
    println!("{name:<40} {best:>10.1} ns");
}
