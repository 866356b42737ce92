//! What a message costs in the ZMTP machine: a ROUTER echoes batches, as it would from one read to one write.
//!
//!     cargo bench -p blastbeat-proto --bench zmtp

#![allow(clippy::print_stdout, reason = "a program for the command line")]
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "a benchmark needs a clock")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{self, Duration};

use blastbeat_proto::limits::Limits;
use blastbeat_proto::time::Instant;
use blastbeat_proto::zmtp::{Connection, Event, Role, Settings};

const RUN: Duration = Duration::from_millis(500);

fn main() {
    for (body, batch) in [(64, 100), (64, 1), (1000, 100), (16_000, 4)] {
        echo(body, batch);
    }
    receive_only(64, 100);
    assemble(1024 * 1024, 64 * 1024);
}

fn echo(body: usize, batch: usize) {
    let (mut router, mut dealer) = connected();
    let wire = messages(&mut dealer, body, batch);
    measure(&format!("echo, {body} bytes, {batch} at a time"), batch, || {
        receive(&mut router, &wire, |router, message| {
            if let Event::Message(message) = message {
                router.send_message(&message).expect("the link is up");
            }
        });
        let queued = router.outbound().len();
        router.outbound().advance(queued);
    });
}

fn receive_only(body: usize, batch: usize) {
    let (mut router, mut dealer) = connected();
    let wire = messages(&mut dealer, body, batch);
    measure(&format!("receive, {body} bytes, {batch} at a time"), batch, || {
        receive(&mut router, &wire, |_, message| drop(black_box(message)));
    });
}

fn assemble(body: usize, piece: usize) {
    let (mut router, mut dealer) = connected();
    let wire = messages(&mut dealer, body, 1);
    measure(&format!("receive, {body} bytes in pieces of {piece}"), 1, || {
        for piece in wire.chunks(piece) {
            receive(&mut router, piece, |_, message| drop(black_box(message)));
        }
    });
}

fn receive(router: &mut Connection, wire: &[u8], mut each: impl FnMut(&mut Connection, Event)) {
    let mut rest = black_box(wire);
    while !rest.is_empty() {
        rest = &rest[router.receive(rest, Instant::ZERO)..];
        if let Some(event) = router.poll_event() {
            each(router, event);
        }
    }
}

fn measure(name: &str, messages: usize, mut run: impl FnMut()) {
    let (start, mut count) = (time::Instant::now(), 0_u32);
    while start.elapsed() < RUN {
        for _ in 0..16 {
            run();
        }
        count += 16;
    }
    let each = start.elapsed() / count;
    println!("zmtp {name}: {:.1} ns a message", each.as_nanos() as f64 / messages as f64);
}

fn messages(dealer: &mut Connection, body: usize, count: usize) -> Vec<u8> {
    for _ in 0..count {
        dealer.send(&[&[7; 16], b"websocket", &vec![b'x'; body]]).expect("the link is up");
    }
    dealer.outbound().take()
}

fn connected() -> (Connection, Connection) {
    let new = |role| Connection::new(Arc::new(Settings::new(role, &Limits::DEFAULT)), Instant::ZERO);
    let (mut router, mut dealer) = (new(Role::Router), new(Role::Dealer));
    while !(router.is_up() && dealer.is_up()) {
        let (from_router, from_dealer) = (router.outbound().take(), dealer.outbound().take());
        assert_eq!(dealer.receive(&from_router, Instant::ZERO), from_router.len());
        assert_eq!(router.receive(&from_dealer, Instant::ZERO), from_dealer.len());
        while dealer.poll_event().is_some() {}
        while let Some(event) = router.poll_event() {
            assert!(matches!(event, Event::Peer { .. }), "{event:?}");
            router.accept(Instant::ZERO).expect("the peer waits for it");
        }
    }
    (router, dealer)
}
