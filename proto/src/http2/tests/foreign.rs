//! A client that is not ours, over memory.

use core::future::Future;
use core::pin::{Pin, pin};
use core::task::{Context, Poll, Waker};

use h2::client::{self, ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};

use super::super::pipe::Pipe;
use super::*;

struct Client {
    pipe: Pipe,
    connection: client::Connection<Pipe, Bytes>,
    requests: SendRequest<Bytes>,
}

fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

impl Client {
    fn new(builder: &client::Builder) -> Self {
        let pipe = Pipe::new();
        let mut handshake = pin!(builder.handshake(pipe.clone()));
        let Poll::Ready(Ok((requests, connection))) = poll(&mut handshake) else { panic!("nothing is waited for") };
        Self { pipe, connection, requests }
    }

    fn ask(&mut self, request: ::http::Request<()>, ended: bool) -> (ResponseFuture, SendStream<Bytes>) {
        assert!(self.requests.poll_ready(&mut Context::from_waker(Waker::noop())).is_ready());
        self.requests.send_request(request, ended).unwrap()
    }

    /// Lets both sides talk until they have nothing more to say; returns what the server saw.
    fn talk(&mut self, server: &mut Connection, mut each: impl FnMut(&mut Connection, StreamId, Event)) {
        loop {
            let _ = poll(&mut self.connection);
            let sent = self.pipe.ends().outbound.take();
            let mut rest = &sent[..];
            let mut moved = !sent.is_empty();
            loop {
                let used = server.receive(rest, NOW);
                rest = &rest[used..];
                let mut events = 0;
                while let Some((stream, event)) = server.poll_event() {
                    each(server, stream, event);
                    events += 1;
                }
                while server.has_outbound() {
                    self.pipe.ends().inbound().extend_from_slice(&server.outbound().take());
                    moved = true;
                }
                if used == 0 && events == 0 {
                    break;
                }
            }
            assert!(rest.is_empty());
            if !moved {
                return;
            }
        }
    }
}

/// Reads what there is of a body.
fn read(body: &mut RecvStream, into: &mut Vec<u8>) -> bool {
    loop {
        match body.poll_data(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Some(piece)) => {
                let piece = piece.unwrap();
                into.extend_from_slice(&piece);
                body.flow_control().release_capacity(piece.len()).unwrap();
            }
            Poll::Ready(None) => return true,
            Poll::Pending => return false,
        }
    }
}

fn post(path: &str) -> ::http::Request<()> {
    ::http::Request::post(alloc::format!("https://example.com{path}")).header("x-a", "b").body(()).unwrap()
}

/// Sends back what comes, as it comes, and releases what was sent back.
fn echo(server: &mut Connection, stream: StreamId, event: Event) {
    match event {
        Event::Part(http::Event::Request(request)) => {
            assert_eq!((request.method(), request.fields.find("x-a")), (&b"POST"[..], Some(&b"b"[..])));
            server
                .send(stream, response("HTTP/1.1 200 OK\r\nX-Path: yes\r\nConnection: x-hop\r\nX-Hop: 1\r\n\r\n"), NOW)
                .unwrap();
        }
        Event::Part(piece @ http::Event::Body(_)) => {
            let http::Event::Body(bytes) = &piece else { unreachable!() };
            let n = bytes.len();
            server.send(stream, piece, NOW).unwrap();
            server.release(stream, n, NOW);
        }
        Event::Part(http::Event::End) => {
            assert_eq!(server.send(stream, http::Event::End, NOW), Ok(Progress::Complete));
        }
        Event::Freed(_) => {}
        Event::Part(http::Event::Response(_)) | Event::Cut(_) | Event::Refused(_) => panic!("{event:?}"),
    }
}

#[test]
fn a_hundred_echoes_side_by_side() {
    let mut server = Connection::server(Settings::with_limits(Limits::DEFAULT), NOW);
    let mut client = Client::new(&client::Builder::new());
    client.talk(&mut server, echo);
    let sent: Vec<Bytes> = (0..100_u8).map(|n| alloc::vec![n; 2000 * usize::from(n)].into()).collect();
    let mut answers = Vec::new();
    for piece in &sent {
        let (answer, mut upload) = client.ask(post("/echo"), false);
        upload.send_data(piece.clone(), true).unwrap();
        answers.push((answer, None, Vec::new()));
    }
    let mut open = answers.len();
    for _ in 0..10_000 {
        client.talk(&mut server, echo);
        for (answer, body, got) in &mut answers {
            if body.is_none()
                && let Poll::Ready(head) = poll(answer)
            {
                let head = head.unwrap();
                assert_eq!((head.status().as_u16(), head.headers()["x-path"].as_bytes()), (200, &b"yes"[..]));
                assert!(!head.headers().contains_key("connection") && !head.headers().contains_key("x-hop"));
                *body = Some(Some(head.into_body()));
            }
            if let Some(Some(reader)) = body
                && read(reader, got)
            {
                *body = Some(None);
                open -= 1;
            }
        }
        if open == 0 {
            break;
        }
    }
    assert_eq!(open, 0);
    for ((_, _, got), sent) in answers.iter().zip(&sent) {
        assert_eq!(got, sent);
    }
    assert!(server.is_idle());
    assert_eq!((server.queued(), server.take_tally().requests), (0, 100));
}

#[test]
fn a_tunnel_for_a_websocket() {
    let mut server = Connection::server(Settings::with_limits(Limits::DEFAULT), NOW);
    let mut client = Client::new(&client::Builder::new());
    client.talk(&mut server, |_, _, _| {});
    assert!(client.requests.is_extended_connect_protocol_enabled());
    let mut request = ::http::Request::connect("https://example.com/chat").body(()).unwrap();
    request.extensions_mut().insert(h2::ext::Protocol::from_static("websocket"));
    let (mut answer, mut upload) = client.ask(request, false);
    let mut seen = Vec::new();
    client.talk(&mut server, |server, stream, event| {
        if let Event::Part(http::Event::Request(request)) = &event {
            assert_eq!((request.method(), request.upgrade()), (&b"GET"[..], Some(&b"websocket"[..])));
            server.send(stream, response("HTTP/1.1 200 OK\r\n\r\n"), NOW).unwrap();
            server.send(stream, body("hello"), NOW).unwrap();
        }
        seen.push(event);
    });
    let Poll::Ready(Ok(head)) = poll(&mut answer) else { panic!("no answer") };
    let (mut got, mut reader) = (Vec::new(), head.into_body());
    assert!(!read(&mut reader, &mut got));
    assert_eq!((&got[..], seen.len()), (&b"hello"[..], 1));
    upload.send_data(Bytes::from_static(b"there"), false).unwrap();
    client.talk(&mut server, |_, _, event| seen.push(event));
    assert_eq!(seen[1..], [part(body("there"))]);
    upload.send_reset(h2::Reason::CANCEL);
    client.talk(&mut server, |_, _, event| seen.push(event));
    assert_eq!(seen[2..], [Event::Cut(Cause::StreamReset)]);
}

#[test]
fn a_drain_is_understood() {
    let mut server = Connection::server(Settings::with_limits(Limits::DEFAULT), NOW);
    let mut client = Client::new(&client::Builder::new());
    let (mut answer, _upload) = client.ask(post("/"), true);
    client.talk(&mut server, |_, _, _| {});
    server.close_after_responses(NOW);
    client.talk(&mut server, |_, _, _| {});
    assert!(server.is_closing().is_none());
    super::answer(&mut server, 1);
    client.talk(&mut server, |_, _, _| {});
    let Poll::Ready(Ok(head)) = poll(&mut answer) else { panic!("no answer") };
    let mut got = Vec::new();
    assert!(read(&mut head.into_body(), &mut got));
    assert_eq!((&got[..], server.is_closing()), (&b"Hello, world!"[..], Some(Cause::Complete)));
}

#[test]
fn a_push_is_taken() {
    let mut server = Connection::server(Settings::with_limits(Limits::DEFAULT), NOW);
    let mut client = Client::new(client::Builder::new().enable_push(true));
    let (mut answer, _upload) = client.ask(post("/"), true);
    let mut pushes = answer.push_promises();
    client.talk(&mut server, |_, _, _| {});
    let promised = Request::builder("GET", "/a.css", "example.com").build().unwrap();
    let pushed = server.push(StreamId(1), &promised, true, NOW).unwrap();
    super::answer(&mut server, pushed.0);
    super::answer(&mut server, 1);
    client.talk(&mut server, |_, _, event| panic!("{event:?}"));
    let Poll::Ready(Some(Ok(push))) = pushes.poll_push_promise(&mut Context::from_waker(Waker::noop())) else {
        panic!("no promise")
    };
    let (request, mut response) = push.into_parts();
    assert_eq!(request.uri(), "https://example.com/a.css");
    let Poll::Ready(Ok(head)) = poll(&mut response) else { panic!("no answer") };
    let mut got = Vec::new();
    assert!(read(&mut head.into_body(), &mut got));
    assert_eq!(got, b"Hello, world!");
    assert!(matches!(poll(&mut answer), Poll::Ready(Ok(_))));
}

#[test]
fn the_field_that_is_added_is_in_the_final_response_alone() {
    for (head, expected) in [
        (Some("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), "max-age=1"),
        (Some("HTTP/1.1 200 OK\r\nStrict-Transport-Security: max-age=2\r\nContent-Length: 0\r\n\r\n"), "max-age=2"),
        (None, "max-age=1"),
    ] {
        let mut server = Connection::server(Settings::with_limits(Limits::DEFAULT), NOW);
        let mut client = Client::new(&client::Builder::new());
        client.talk(&mut server, echo);
        let (mut answer, _) = client.ask(post("/"), true);
        client.talk(&mut server, |server, stream, event| {
            let Event::Part(http::Event::Request(_)) = event else { return };
            let field = http::AddedField::new("Strict-Transport-Security", b"max-age=1").unwrap();
            server.add_field(stream, field.into());
            match head {
                Some(head) => assert_eq!(server.send(stream, response(head), NOW), Ok(Progress::Complete)),
                None => assert!(server.fail(stream, Cause::NodeMissing, NOW)),
            }
        });
        let Poll::Ready(answer) = poll(&mut answer) else { panic!("it is answered") };
        let fields = answer.unwrap().headers().get_all("strict-transport-security").iter().cloned().collect::<Vec<_>>();
        assert_eq!(fields, [expected]);
    }
}
