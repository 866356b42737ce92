//! Two machines talk in memory: what one is told to send is what the other yields.

use super::*;

/// A client and a server whose bytes travel at most `step` at a time.
struct Pair {
    client: Connection,
    server: Connection,
    to_server: Vec<u8>,
    to_client: Vec<u8>,
    step: usize,
}

impl Pair {
    fn new(step: usize) -> Self {
        Self { client: client(), server: server(), to_server: Vec::new(), to_client: Vec::new(), step }
    }

    /// Moves bytes until both sides are quiet; returns the events of server and client.
    fn settle(&mut self) -> (Vec<Event>, Vec<Event>) {
        let (mut at_server, mut at_client) = (Vec::new(), Vec::new());
        loop {
            let moved = travel(&mut self.client, &mut self.server, &mut self.to_server, self.step, &mut at_server)
                | travel(&mut self.server, &mut self.client, &mut self.to_client, self.step, &mut at_client);
            if !moved {
                return (at_server, at_client);
            }
        }
    }
}

/// Moves some bytes from one to the other, which is shown all it has not taken yet.
fn travel(
    from: &mut Connection,
    to: &mut Connection,
    kept: &mut Vec<u8>,
    step: usize,
    events: &mut Vec<Event>,
) -> bool {
    let n = step.min(from.outbound().len());
    kept.extend(from.outbound().iter().flatten().take(n));
    from.outbound().advance(n);
    let used = to.receive(kept, NOW);
    kept.drain(..used);
    let before = events.len();
    while let Some(event) = to.poll_event() {
        events.push(event);
    }
    n + used > 0 || events.len() > before
}

/// A message with its body pieces joined: how it was cut is not part of it.
fn normal(events: &[Event]) -> Vec<Event> {
    let mut normal: Vec<Event> = Vec::new();
    for event in events {
        match (normal.last_mut(), event) {
            (Some(Event::Body(before)), Event::Body(piece)) => *before = [&before[..], &piece[..]].concat().into(),
            (_, event) => normal.push(event.clone()),
        }
    }
    normal
}

fn exchanges() -> Vec<(Vec<Event>, Vec<Event>)> {
    let large = Bytes::from((0..100_000_u32).map(|i| (i % 251) as u8).collect::<Vec<_>>());
    let get = Request::builder("GET", "/a?b", "example.com").field("Accept", "*/*").build().unwrap();
    let head = Request::builder("HEAD", "/", "example.com").build().unwrap();
    let put = |size| Request::builder("PUT", "/", "example.com").body(size).build().unwrap();
    let sized = |status, length| Response::builder(status).framing(Framing::Length(length)).build().unwrap();
    let chunked = Response::builder(200).field("A", "b").framing(Framing::Chunked).build().unwrap();
    alloc::vec![
        (
            alloc::vec![Event::Request(get.clone()), Event::End],
            alloc::vec![Event::Response(sized(200, 2)), body("hi"), Event::End],
        ),
        (alloc::vec![Event::Request(head), Event::End], alloc::vec![Event::Response(sized(200, 77)), Event::End],),
        (
            alloc::vec![Event::Request(put(BodySize::Length(5))), body("hello"), Event::End],
            alloc::vec![
                Event::Response(Response::builder(103).field("Link", "</x>").build().unwrap()),
                Event::Response(Response::builder(204).build().unwrap()),
                Event::End,
            ],
        ),
        (
            alloc::vec![Event::Request(put(BodySize::Chunked)), body("he"), body("llo"), Event::End],
            alloc::vec![Event::Response(chunked.clone()), body("a"), Event::Body(large.clone()), Event::End],
        ),
        (
            alloc::vec![
                Event::Request(put(BodySize::Length(large.len() as u64))),
                Event::Body(large.clone()),
                Event::End,
            ],
            alloc::vec![Event::Response(sized(500, large.len() as u64)), Event::Body(large), Event::End],
        ),
        (alloc::vec![Event::Request(get), Event::End], alloc::vec![Event::Response(chunked), Event::End]),
    ]
}

#[test]
fn what_is_sent_arrives_in_any_chunking() {
    for step in [1, 2, 7, 1000, usize::MAX] {
        let mut pair = Pair::new(step);
        for (question, answer) in exchanges() {
            for event in &question {
                pair.client.send(event.clone(), NOW).unwrap();
            }
            let (at_server, at_client) = pair.settle();
            assert_eq!(normal(&at_server), normal(&question), "by {step}");
            assert_eq!(at_client, []);
            for event in &answer {
                pair.server.send(event.clone(), NOW).unwrap();
            }
            let (at_server, at_client) = pair.settle();
            assert_eq!(at_server, []);
            assert_eq!(normal(&at_client), normal(&answer), "by {step}");
            assert!(pair.client.is_idle() && pair.server.is_idle(), "by {step}");
        }
    }
}

#[test]
fn what_arrives_can_be_sent_on() {
    let (mut first, mut second) = (Pair::new(7), Pair::new(usize::MAX));
    for (question, answer) in exchanges() {
        send_all(&mut first.client, question.clone());
        send_all(&mut second.client, first.settle().0);
        assert_eq!(normal(&second.settle().0), normal(&question));
        send_all(&mut second.server, answer.clone());
        send_all(&mut first.server, second.settle().1);
        assert_eq!(normal(&first.settle().1), normal(&answer));
    }
}

fn send_all(connection: &mut Connection, events: Vec<Event>) {
    for event in events {
        connection.send(event, NOW).unwrap();
    }
}

#[test]
fn a_response_without_framing_ends_with_the_connection() {
    let mut client = client();
    client.send(Event::Request(Request::builder("GET", "/", "a").build().unwrap()), NOW).unwrap();
    let events = feed(&mut client, b"HTTP/1.1 200 OK\r\n\r\nhello ");
    assert!(matches!(&events[..], [Event::Response(_), Event::Body(_)]));
    assert_eq!(feed(&mut client, b"world"), [body("world")]);
    client.receive_eof(NOW);
    assert_eq!(client.poll_event(), Some(Event::End));
    assert_eq!(client.is_closing(), Some(Cause::Complete));
}

#[test]
fn a_client_knows_when_the_connection_does_not_persist() {
    for (head, persists) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", true),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", false),
        ("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", false),
        ("HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n", true),
    ] {
        let mut client = client();
        client.send(Event::Request(Request::builder("GET", "/", "a").build().unwrap()), NOW).unwrap();
        assert!(matches!(feed(&mut client, head.as_bytes())[..], [Event::Response(_), Event::End]));
        assert_eq!(client.is_closing(), (!persists).then_some(Cause::Complete), "{head:?}");
    }
}

#[test]
fn a_cut_response_is_told_from_a_complete_one() {
    for cut in [
        "",
        "HTTP/1.1 200",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n",
    ] {
        let mut client = client();
        client.send(Event::Request(Request::builder("GET", "/", "a").build().unwrap()), NOW).unwrap();
        let (events, _) = offer(&mut client, cut.as_bytes());
        client.receive_eof(NOW);
        assert!(!events.contains(&Event::End));
        assert_eq!((client.poll_event(), client.is_closing()), (None, Some(Cause::MessageCut)), "{cut:?}");
    }
}

#[test]
fn a_client_has_one_request_at_a_time() {
    let request = Event::Request(Request::builder("GET", "/", "a").build().unwrap());
    let mut client = client();
    client.send(request.clone(), NOW).unwrap();
    assert_eq!(client.send(request, NOW), Err(SendError::OutOfOrder));
}
