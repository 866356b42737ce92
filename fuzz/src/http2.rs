//! HTTP/2 connections, the server's side.

use blastbeat_proto::error::{Cause, Violation};
use blastbeat_proto::http::{self, Response, Settings, StreamId};
use blastbeat_proto::http2::{Connection, ErrorCode, Event};
use blastbeat_proto::limits::Limits;
use blastbeat_proto::time::{Duration, Instant};
use bytes::Bytes;

/// What a client says first, its SETTINGS included, and the acknowledgement of ours.
const GREETING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\0\x04\x01\0\0\0\0";

/// A connection never holds more than this, whatever it is sent and asked to send here.
const HELD_MAX: usize = 512 * 1024;

// Invariant: cut in any way, the same bytes break the rules or do not, unless the peer has said that it goes; what comes out is whole frames; after the end nothing comes out but one farewell, all input is ignored and no
// deadline is left; what is held is bounded; nothing panics, in whatever order streams are answered, released, reset
// and failed.
/// Runs one input: the first byte says how it is used, and how it is cut.
pub fn body(data: &[u8]) {
    let Some((&choice, data)) = data.split_first() else { return };
    let step = usize::from(choice >> 3) + 1;
    let input = if choice & 1 == 0 { data.to_vec() } else { [GREETING, data].concat() };
    let answers = usize::from(choice >> 1 & 3);
    let whole = play(&input, usize::MAX, answers);
    for step in [step, 1] {
        let pieces = play(&input, step, answers);
        // Answers change what a stream is when the next frame comes; without any, nothing does.
        if answers == 0 && pieces.0 != Some(Cause::Complete) {
            assert_eq!(pieces.1.is_some(), whole.1.is_some(), "by {step}: {pieces:?}, {whole:?}");
        }
    }
}

fn play(input: &[u8], step: usize, answers: usize) -> (Option<Cause>, Option<Violation>) {
    let limits = Limits {
        head_bytes: 700,
        target_bytes: 100,
        fields: 10,
        body_bytes: 20_000,
        // A request refused early makes room for another, or came too late to.
        h2_streams: if answers == 0 { 1000 } else { 5 },
        h2_stream_window: 20_000,
        h2_connection_window: 70_000,
        h2_resets: 7,
        h2_errors: 7,
        h2_settings: 7,
        h2_pings: 7,
        h2_empty_frames: 7,
        h2_window_updates: 7,
        h2_priorities: 7,
        ..Limits::DEFAULT
    };
    let mut server = Connection::server(Settings::with_limits(limits), Instant::ZERO);
    let (mut kept, mut out, mut turn) = (Vec::new(), Vec::new(), 0);
    for (n, piece) in input.chunks(step.min(input.len()).max(1)).enumerate() {
        let now = Instant::from_millis(n as u64 / 100);
        kept.extend_from_slice(piece);
        loop {
            let used = server.receive(&kept, now);
            kept.drain(..used);
            let mut events = 0;
            while let Some((stream, event)) = server.poll_event() {
                events += 1;
                turn += 1;
                answer(&mut server, stream, &event, turn * answers, now);
            }
            if answers != 3 || turn.is_multiple_of(3) {
                write(&mut server, &mut out);
            }
            assert!(server.held() < HELD_MAX, "{}", server.held());
            if used == 0 && events == 0 {
                break;
            }
        }
        write(&mut server, &mut out);
        while server.poll_event().is_some() {}
    }
    write(&mut server, &mut out);
    check_frames(&out);
    let end = (server.is_closing(), server.violation());
    server.handle_timeout(Instant::ZERO + Duration::from_secs(20));
    server.handle_timeout(Instant::ZERO + Duration::from_secs(3600));
    if end.0.is_some() {
        assert_eq!(server.receive(b"anything", Instant::ZERO), 8);
        assert!(server.poll_event().is_none() && !server.has_outbound() && server.poll_timeout().is_none());
    }
    server.receive_eof(Instant::ZERO);
    assert!(server.is_closing().is_some());
    end
}

fn write(server: &mut Connection, out: &mut Vec<u8>) {
    while server.has_outbound() {
        out.append(&mut server.outbound().take());
    }
}

/// Does one of the things that a caller may do, whether they fit or not.
fn answer(server: &mut Connection, stream: StreamId, event: &Event, turn: usize, now: Instant) {
    if turn == 0 {
        return;
    }
    if let Event::Part(http::Event::Body(piece)) = event {
        server.release(stream, piece.len(), now);
    }
    let heads: [&'static [u8]; 5] = [
        b"HTTP/1.1 200 OK\r\nConnection: x\r\nX: y\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
    ];
    match turn % 11 {
        head @ 0..5 => {
            let head = Bytes::from_static(heads[head]);
            let (response, _) = Response::parse(head, &Limits::DEFAULT).expect("the heads are sound");
            let _ = server.send(stream, http::Event::Response(response), now);
            let _ = server.send(stream, http::Event::Body(Bytes::from(vec![0; turn * 100 % 90_000])), now);
        }
        5 => drop(server.send(stream, http::Event::End, now)),
        6 => drop(server.fail(stream, Cause::NodeLost, now)),
        7 => server.reset(stream, ErrorCode::CANCEL, now),
        8 => server.send_continue(stream, now),
        9 if turn.is_multiple_of(5) => server.close_after_responses(now),
        _ => drop(server.send(stream, http::Event::Body(Bytes::from_static(b"body")), now)),
    }
}

fn check_frames(mut out: &[u8]) {
    while !out.is_empty() {
        assert!(out.len() >= 9, "a header is cut");
        let len = u32::from_be_bytes([0, out[0], out[1], out[2]]) as usize;
        assert!(len <= 16_384 && out.len() >= 9 + len, "a frame is cut, or too long");
        out = &out[9 + len..];
    }
}
