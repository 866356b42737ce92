//! SPDY connections, both roles.

use blastbeat_proto::error::{Cause, Violation};
use blastbeat_proto::http::{self, BodySize, Request, Response, Settings, StreamId};
use blastbeat_proto::limits::Limits;
use blastbeat_proto::spdy::{Connection, Event, Priority, StatusCode, Version};
use blastbeat_proto::time::{Duration, Instant};
use bytes::Bytes;
use std::sync::Arc;

/// A connection never holds more than this, whatever it is sent and asked to send here.
const HELD_MAX: usize = 512 * 1024;

// Invariant: cut in any way, the same bytes break the rules or do not, unless the peer has said that it goes; what comes
// out is whole frames; after the end nothing comes out but one farewell, all input is ignored and no deadline is left;
// what is held is bounded; nothing panics, in whatever order streams are opened, answered, pushed, released, reset and
// failed, and whatever waits has its deadline.
/// Runs one input: the first two bytes say how it is used, and how it is cut; the rest is bytes, or a script of frames.
pub fn body(data: &[u8]) {
    let Some(([choice, step], data)) = data.split_first_chunk() else { return };
    // The fourth is a client of which a server does not know whether it speaks SPDY/3 or SPDY/3.1.
    let (version, is_doubted) =
        Version::ALL.get(usize::from(choice & 3)).map_or((Version::V31, true), |version| (*version, false));
    let input = if choice & 4 == 0 { data.to_vec() } else { script(version, data) };
    let is_client = choice & 8 != 0;
    let answers = usize::from(choice >> 4 & 3);
    let side = |now| match (is_client, is_doubted) {
        (true, _) => Connection::client(version, settings(answers), now),
        (false, true) => Connection::server_in_doubt(settings(answers), now),
        (false, false) => Connection::server(version, settings(answers), now),
    };
    let whole = play(side(Instant::ZERO), is_client, &input, usize::MAX, answers);
    for step in [usize::from(*step) + 1, 1] {
        let pieces = play(side(Instant::ZERO), is_client, &input, step, answers);
        // Answers change what a stream is when the next frame comes; without any, nothing does.
        if answers == 0 && pieces.0 != Some(Cause::Complete) {
            assert_eq!(pieces, whole, "by {step}");
        }
    }
}

/// Makes frames of operations: a type, two numbers, a length and as many bytes.
fn script(version: Version, mut data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut is_begun = false;
    while let Some(([kind, a, b, len], rest)) = data.split_first_chunk() {
        let (bytes, rest) = rest.split_at(rest.len().min(usize::from(*len)));
        data = rest;
        let stream = u32::from(*a);
        let number = u32::from(*b) << (b & 31);
        match kind % 12 {
            kind @ 0..=3 => {
                let fixed = match (kind, version) {
                    (0 | 3, _) => 10,
                    (_, Version::V2) => 6,
                    (_, Version::V3 | Version::V31) => 4,
                };
                let mut payload = stream.to_be_bytes().to_vec();
                payload.resize(fixed, b >> 4);
                if fixed == 10 {
                    payload[4..8].copy_from_slice(&u32::from(b >> 2 & 1).to_be_bytes());
                    payload[9] = b >> 7;
                }
                let block = if kind == 3 { bytes.to_vec() } else { block(version, kind, b & 8 == 0, bytes) };
                store(version, &block, &mut is_begun, &mut payload);
                let kind = [1, 2, 8, 1][usize::from(kind)];
                control(&mut out, version, kind, b & 3, &payload);
            }
            4 => control(&mut out, version, 3, 0, &[stream.to_be_bytes(), u32::from(*b).to_be_bytes()].concat()),
            5 => {
                let id = if version == Version::V2 { stream.to_le_bytes() } else { stream.to_be_bytes() };
                control(&mut out, version, 4, 0, &[1_u32.to_be_bytes(), id, number.to_be_bytes()].concat());
            }
            6 => control(&mut out, version, 6, 0, &stream.to_be_bytes()),
            7 if version == Version::V2 => control(&mut out, version, 7, 0, &stream.to_be_bytes()),
            7 => control(&mut out, version, 7, 0, &[stream.to_be_bytes(), number.to_be_bytes()].concat()),
            8 => control(&mut out, version, 9, 0, &[stream.to_be_bytes(), number.to_be_bytes()].concat()),
            9 => control(&mut out, version, u16::from(*a), *b, bytes),
            kind => {
                let bytes = if kind == 10 { bytes.to_vec() } else { bytes.repeat(usize::from(b >> 2)) };
                out.extend_from_slice(&stream.to_be_bytes());
                out.push(b & 3);
                out.extend_from_slice(&(bytes.len() as u32).to_be_bytes()[1..]);
                out.extend_from_slice(&bytes);
            }
        }
    }
    out
}

/// Appends a control frame.
pub fn control(out: &mut Vec<u8>, version: Version, kind: u16, flags: u8, payload: &[u8]) {
    out.extend_from_slice(&version.first_bytes());
    out.extend_from_slice(&kind.to_be_bytes());
    out.push(flags);
    out.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
    out.extend_from_slice(payload);
}

/// A header block of lines `name=value`, behind what every head has if it `is_whole`.
fn block(version: Version, kind: u8, is_whole: bool, lines: &[u8]) -> Vec<u8> {
    let names: [&[u8]; 6] = match version {
        Version::V2 => [b"method", b"url", b"version", b"host", b"scheme", b"status"],
        Version::V3 | Version::V31 => [b":method", b":path", b":version", b":host", b":scheme", b":status"],
    };
    let values: [&[u8]; 6] = [b"POST", b"/", b"HTTP/1.1", b"a", b"http", b"200 OK"];
    let mut pairs: Vec<(&[u8], &[u8])> = names.into_iter().zip(values).collect();
    match kind {
        _ if !is_whole => pairs.clear(),
        1 => pairs = vec![pairs[2], pairs[5]],
        _ => {}
    }
    for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let at = line.iter().position(|byte| *byte == b'=').unwrap_or(line.len());
        pairs.push((&line[..at], line.get(at + 1..).unwrap_or_default()));
    }
    write_pairs(version, &pairs)
}

/// The names and values of a head, as they are compressed.
pub fn write_pairs(version: Version, pairs: &[(&[u8], &[u8])]) -> Vec<u8> {
    let width = if version == Version::V2 { 2 } else { 4 };
    let number = |number: usize| (number as u32).to_be_bytes()[4 - width..].to_vec();
    let mut block = number(pairs.len());
    for (name, value) in pairs {
        block.extend([number(name.len()), name.to_vec(), number(value.len()), value.to_vec()].concat());
    }
    block
}

/// A block as zlib stores it without compressing it; the stream's own head before the first one.
pub fn store(version: Version, block: &[u8], is_begun: &mut bool, out: &mut Vec<u8>) {
    if !core::mem::replace(is_begun, true) {
        let sum: u32 = if version == Version::V2 { 0xdfa2_51b2 } else { 0xe3c6_a7c2 };
        out.extend_from_slice(&[0x78, 0xbb]);
        out.extend_from_slice(&sum.to_be_bytes());
    }
    let len = block.len() as u16;
    out.push(0);
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(&(!len).to_le_bytes());
    out.extend_from_slice(block);
}

fn settings(answers: usize) -> Arc<Settings> {
    Settings::with_limits(Limits {
        head_bytes: 700,
        target_bytes: 100,
        fields: 10,
        body_bytes: 20_000,
        // A request refused early makes room for another, or came too late to.
        h2_streams: if answers == 0 { 1000 } else { 5 },
        h2_stream_window: 70_000,
        h2_connection_window: 70_000,
        h2_resets: 7,
        h2_errors: 7,
        h2_settings: 7,
        h2_pings: 7,
        h2_empty_frames: 7,
        h2_window_updates: 7,
        ..Limits::DEFAULT
    })
}

fn play(
    mut side: Connection,
    is_client: bool,
    input: &[u8],
    step: usize,
    answers: usize,
) -> (Option<Cause>, Option<Violation>) {
    for n in 0..if is_client { 3 } else { 0 } {
        open(&mut side, n, Instant::ZERO);
    }
    let (mut kept, mut out, mut turn) = (Vec::new(), Vec::new(), 0);
    let mut owed = Vec::new();
    for (n, piece) in input.chunks(step.min(input.len()).max(1)).enumerate() {
        // Where it is not the pieces that are looked at, some come late.
        let now = Instant::from_millis(if answers == 2 { n as u64 * 3000 } else { n as u64 / 100 });
        side.handle_timeout(now);
        kept.extend_from_slice(piece);
        loop {
            let used = side.receive(&kept, now);
            kept.drain(..used);
            let mut events = 0;
            while let Some((stream, event)) = side.poll_event() {
                events += 1;
                turn += 1;
                if let Event::Part(http::Event::Body(piece)) = &event {
                    owed.push((stream, piece.len()));
                }
                act(&mut side, stream, turn * answers, now);
            }
            // Without answers all is released at once, so that what the windows let does not depend on the pieces.
            if answers == 0 || turn.is_multiple_of(2) || used == 0 {
                events += owed.len();
                for (stream, n) in owed.drain(..) {
                    side.release(stream, n, now);
                }
            }
            if answers != 3 || turn.is_multiple_of(3) {
                write(&mut side, &mut out);
            }
            assert!(side.held() < HELD_MAX, "{}", side.held());
            if used == 0 && events == 0 {
                break;
            }
        }
        write(&mut side, &mut out);
        while side.poll_event().is_some() {}
    }
    write(&mut side, &mut out);
    check_frames(&out);
    let end = (side.is_closing(), side.violation());
    let later = Instant::from_millis(3000 * input.len() as u64) + Duration::from_secs(20);
    side.handle_timeout(later);
    side.handle_timeout(later + Duration::from_secs(3600));
    if end.0.is_some() {
        assert_eq!(side.receive(b"anything", Instant::ZERO), 8);
        assert!(side.poll_event().is_none() && !side.has_outbound() && side.poll_timeout().is_none());
    }
    side.receive_eof(Instant::ZERO);
    assert!(side.is_closing().is_some() && side.streams() == 0);
    end
}

fn write(side: &mut Connection, out: &mut Vec<u8>) {
    while side.has_outbound() {
        out.append(&mut side.outbound().take());
    }
}

fn open(side: &mut Connection, n: usize, now: Instant) {
    let body = [BodySize::None, BodySize::Length(5), BodySize::Chunked][n % 3];
    let request = Request::builder("PUT", "/", "a").body(body).build().expect("it is sound");
    let _ = side.open(&request, n.is_multiple_of(2), Priority(n as u8), now);
}

/// Does one of the things that a caller may do, whether they fit or not.
fn act(side: &mut Connection, stream: StreamId, turn: usize, now: Instant) {
    if turn == 0 {
        return;
    }
    let heads: [&'static [u8]; 5] = [
        b"HTTP/1.1 200 OK\r\nConnection: x\r\nX: y\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
    ];
    let head = |head: usize| {
        let (response, _) = Response::parse(Bytes::from_static(heads[head]), &Limits::DEFAULT).expect("they are sound");
        http::Event::Response(response)
    };
    match turn % 14 {
        n @ 0..5 => {
            let _ = side.send(stream, head(n), now);
            let _ = side.send(stream, http::Event::Body(Bytes::from(vec![0; turn * 100 % 90_000])), now);
        }
        5 => drop(side.send(stream, http::Event::End, now)),
        6 => drop(side.fail(stream, Cause::NodeLost, now)),
        7 => side.reset(stream, StatusCode::CANCEL, now),
        8 => side.ping(now),
        9 if turn.is_multiple_of(5) => side.close_after_responses(now),
        10 => open(side, turn, now),
        11 | 12 => {
            let request = Request::builder("GET", "/pushed", "a").build().expect("it is sound");
            if let Ok(pushed) = side.push(stream, &request, true, now)
                && turn.is_multiple_of(2)
            {
                let _ = side.send(pushed, head(turn % 2), now);
                let _ = side.send(pushed, http::Event::End, now);
            }
        }
        13 => drop(side.limit_body(stream, turn as u64 % 100, now)),
        _ => drop(side.send(stream, http::Event::Body(Bytes::from_static(b"body")), now)),
    }
}

fn check_frames(mut out: &[u8]) {
    while !out.is_empty() {
        assert!(out.len() >= 8, "a head is cut");
        let len = u32::from_be_bytes([0, out[5], out[6], out[7]]) as usize;
        assert!(len <= 16 * 1024 && out.len() >= 8 + len, "a frame is cut, or too long");
        out = &out[8 + len..];
    }
}
