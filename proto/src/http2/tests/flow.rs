//! Windows, both ways.

use super::*;

/// How much a client may have under way on a stream before its SETTINGS say otherwise.
const WINDOW: usize = 65_535;

fn update(stream: u32, by: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &by.to_be_bytes())
}

/// A server whose answer to stream 1 has begun, without a length.
fn answering() -> Connection {
    let mut server = asked();
    server.send(StreamId(1), response("HTTP/1.1 200 OK\r\n\r\n"), NOW).unwrap();
    written(&mut server);
    server
}

fn piece(len: usize) -> http::Event {
    http::Event::Body(alloc::vec![b'x'; len].into())
}

#[test]
fn no_more_leaves_than_the_window_lets() {
    let mut server = answering();
    let room = server.stream_room(StreamId(1));
    assert_eq!(room, 256 * 1024);
    server.send(StreamId(1), piece(100_000), NOW).unwrap();
    assert_eq!(data(&written(&mut server), 1).0.len(), WINDOW);
    assert_eq!(server.stream_queued(StreamId(1)), 100_000 - WINDOW);
    assert_eq!(server.queued(), 100_000 - WINDOW);
    assert_eq!(server.stream_room(StreamId(1)), room - (100_000 - WINDOW));
    assert!(!server.has_outbound());

    assert_eq!(feed(&mut server, &update(1, 1000)), []);
    assert_eq!(data(&written(&mut server), 1).0.len(), 0);
    assert_eq!(feed(&mut server, &update(0, 600)), [(1, Event::Freed(600))]);
    assert_eq!(data(&written(&mut server), 1).0.len(), 600);
    let events = feed(&mut server, &[update(0, 100_000), update(1, 100_000)].concat());
    let freed: usize = events.iter().map(|(_, event)| if let Event::Freed(n) = event { *n } else { 0 }).sum();
    assert_eq!(freed, 100_000 - WINDOW - 600);
    server.send(StreamId(1), http::Event::End, NOW).unwrap();
    let (rest, ended) = data(&written(&mut server), 1);
    assert_eq!((rest.len(), ended), (100_000 - WINDOW - 600, true));
    assert!(server.is_idle());
    assert_eq!(server.queued(), 0);
}

#[test]
fn an_answer_whose_end_waits_is_kept_until_it_has_left() {
    let mut server = answering();
    server.send(StreamId(1), piece(WINDOW + 5), NOW).unwrap();
    assert_eq!(server.send(StreamId(1), http::Event::End, NOW), Ok(Progress::Complete));
    assert_eq!(data(&written(&mut server), 1), (alloc::vec![b'x'; WINDOW], false));
    assert_eq!(server.streams(), 1);
    // Nothing is told of a stream that its caller is done with.
    assert_eq!(feed(&mut server, &[update(1, 5), update(0, 5)].concat()), []);
    assert_eq!(data(&written(&mut server), 1), (b"xxxxx".to_vec(), true));
    assert_eq!(server.streams(), 0);
}

#[test]
fn streams_share_the_window_of_their_connection() {
    let mut server = server();
    let input: Vec<u8> = (0..10).flat_map(|n| get(2 * n + 1, "/")).collect();
    feed(&mut server, &input);
    for n in 0..10 {
        server.send(StreamId(2 * n + 1), response("HTTP/1.1 200 OK\r\n\r\n"), NOW).unwrap();
        server.send(StreamId(2 * n + 1), piece(100_000), NOW).unwrap();
    }
    let mut got = [0; 10];
    let mut count = |frames: &[Frame]| {
        for (n, got) in got.iter_mut().enumerate() {
            *got += data(frames, 2 * n as u32 + 1).0.len();
        }
        got
    };
    assert_eq!(count(&written(&mut server)).iter().sum::<usize>(), WINDOW);
    for _ in 0..20 {
        feed(&mut server, &update(0, 20_000));
        count(&written(&mut server));
    }
    let got = count(&[]);
    assert_eq!(got.iter().sum::<usize>(), WINDOW + 20 * 20_000);
    assert!(got.iter().all(|got| *got >= 16_384), "{got:?}");
}

#[test]
fn what_a_slow_socket_has_not_taken_stops_the_machine_and_not_the_memory() {
    let mut server = server();
    feed(
        &mut server,
        &[frame(SETTINGS, 0, 0, &[0, 4, 0x7f, 0xff, 0xff, 0xff]), update(0, 1 << 30), get(1, "/")].concat(),
    );
    server.send(StreamId(1), response("HTTP/1.1 200 OK\r\n\r\n"), NOW).unwrap();
    server.send(StreamId(1), piece(1 << 20), NOW).unwrap();
    assert!((64 * 1024..100_000).contains(&server.outbound().len()), "{}", server.outbound().len());
    assert_eq!(server.room(), 0);
    assert_eq!(server.receive(b"\0\0\0", NOW), 0);
    let mut total = 0;
    while server.has_outbound() {
        assert!(server.outbound().len() < 100_000);
        let n = server.outbound().len().min(5000);
        server.outbound().advance(n);
        total += n;
    }
    assert!(total > 1 << 20);
    assert!(feed(&mut server, b"").iter().all(|(_, event)| matches!(event, Event::Freed(_))));
    assert!(server.room() > 0);
}

#[test]
fn a_clients_window_opens_when_its_bytes_have_left() {
    let mut server = server();
    feed(&mut server, &frame(HEADERS, END_HEADERS, 1, &head("POST", "/", &[])));
    let chunk = frame(DATA, 0, 1, &[b'x'; 16_384]);
    let mut received = 0;
    for _ in 0..16 {
        let events = feed(&mut server, &chunk);
        received += events.len();
    }
    assert!(received >= 16);
    assert_eq!(written(&mut server), []);
    server.release(StreamId(1), 200 * 1024, NOW);
    let updates: Vec<_> =
        written(&mut server).iter().map(|frame| (frame.kind, frame.stream, frame.payload.clone())).collect();
    assert_eq!(updates, [(WINDOW_UPDATE, 1, (200 * 1024_u32).to_be_bytes().to_vec())]);
    // More than was given out is not released.
    server.release(StreamId(1), usize::MAX, NOW);
    assert_eq!(written(&mut server).len(), 0);
    for _ in 0..12 {
        feed(&mut server, &chunk);
    }
    assert_eq!(server.is_closing(), None);
}

#[test]
fn a_client_that_ignores_its_window_is_reset() {
    let mut server = server();
    feed(&mut server, &frame(HEADERS, END_HEADERS, 1, &head("POST", "/", &[])));
    let chunk = frame(DATA, 0, 1, &[b'x'; 16_384]);
    for _ in 0..16 {
        feed(&mut server, &chunk);
    }
    assert_eq!(feed(&mut server, &chunk), [(1, Event::Cut(Cause::WindowExceeded))]);
    assert_eq!(resets(&written(&mut server)), [(1, ErrorCode::FLOW_CONTROL_ERROR)]);
    assert_eq!((server.is_closing(), server.streams()), (None, 0));
}

#[test]
fn what_was_not_released_of_a_stream_that_ends_is_the_connections_again() {
    let limits = Limits { h2_connection_window: WINDOW, ..Limits::DEFAULT };
    let mut server = server_with(limits);
    for n in 0..20 {
        let stream = 2 * n + 1;
        let head = frame(HEADERS, END_HEADERS, stream, &head("POST", "/", &[]));
        let input = [head, frame(DATA, 0, stream, &[0; 16_000]), frame(DATA, END_STREAM, stream, &[0; 16_000])];
        feed(&mut server, &input.concat());
        answer(&mut server, stream);
        written(&mut server);
    }
    assert_eq!((server.is_closing(), server.held() < 40_000), (None, true));
}

#[test]
fn streams_take_turns_when_the_window_of_the_connection_is_small() {
    let mut server = server();
    // Windows of their own are no obstacle.
    feed(&mut server, &frame(SETTINGS, 0, 0, &[0, 4, 0x7f, 0xff, 0xff, 0xff]));
    feed(&mut server, &[get(1, "/"), get(3, "/"), get(5, "/")].concat());
    for stream in [1, 3, 5] {
        let head = response("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");
        assert_eq!(server.send(StreamId(stream), head, NOW), Ok(Progress::Open));
        let piece = http::Event::Body(Bytes::from(alloc::vec![0; 1_000_000]));
        assert_eq!(server.send(StreamId(stream), piece, NOW), Ok(Progress::Complete));
    }
    let sent = |server: &mut Connection| {
        let frames = written(server);
        [1, 3, 5].map(|stream| data(&frames, stream).0.len())
    };
    assert_eq!(sent(&mut server).iter().sum::<usize>(), 65_535);
    let mut all = [0; 3];
    for _ in 0..10 {
        feed(&mut server, &frame(WINDOW_UPDATE, 0, 0, &65_536_u32.to_be_bytes()));
        let now = sent(&mut server);
        assert_eq!(now.iter().sum::<usize>(), 65_536);
        all = [0, 1, 2].map(|at| all[at] + now[at]);
    }
    let (least, most) = (all.iter().min().unwrap(), all.iter().max().unwrap());
    assert!(most - least <= 2 * 16 * 1024, "{all:?}");
}

#[test]
fn large_pieces_are_shared_on_their_way_out() {
    let mut server = server();
    feed(&mut server, &get(1, "/"));
    let head = response("HTTP/1.1 200 OK\r\nContent-Length: 40000\r\n\r\n");
    assert_eq!(server.send(StreamId(1), head, NOW), Ok(Progress::Open));
    let piece = Bytes::from((0..40_000).map(|i| i as u8).collect::<Vec<u8>>());
    assert_eq!(server.send(StreamId(1), http::Event::Body(piece.clone()), NOW), Ok(Progress::Complete));
    let memory = piece.as_ptr_range();
    let shared = server.outbound().iter().filter(|slice| memory.contains(&slice.as_ptr())).map(<[u8]>::len);
    // The end of it is small.
    assert!(shared.sum::<usize>() > 39_000);
    let frames = written(&mut server);
    assert_eq!(data(&frames, 1), (piece.to_vec(), true));
    drop(frames);
    assert!(piece.is_unique(), "nobody keeps it");
}
