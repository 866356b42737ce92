//! What waits for a peer that reads slowly, and what is dropped for it.

use super::*;

const MESSAGE: usize = 10_000;

fn numbered(number: u8) -> Event {
    binary(&[number; MESSAGE])
}

fn bounded(queue_bytes: usize, drop_oldest: bool) -> Connection {
    server_with(Settings { queue_bytes, drop_oldest, ..settings() }, None)
}

/// The first bytes of the messages in `said`.
fn numbers(said: &[u8]) -> Vec<u8> {
    let events = feed(&mut client(), said);
    let first = events.iter().filter_map(|event| match event {
        Event::Message(message) => message.payload.first().copied(),
        Event::Ping(_) | Event::Pong(_) | Event::Close(_) => None,
    });
    first.collect()
}

#[test]
fn a_full_queue_takes_no_more_and_keeps_what_it_has() {
    let mut server = bounded(200_000, false);
    let mut taken = Vec::new();
    for number in 0..50 {
        match server.send(numbered(number), NOW) {
            Ok(queued) => {
                assert_eq!(queued.dropped, 0);
                taken.push(number);
            }
            Err(error) => assert_eq!(error, SendError::Full),
        }
        assert!(server.queued() <= 200_000);
    }
    assert_eq!(taken.len(), 19);
    assert_eq!(numbers(&written(&mut server)), taken);
    assert_eq!(server.send(numbered(0), NOW), Ok(Queued::default()));
}

#[test]
fn one_message_may_wait_whatever_its_size() {
    for drop_oldest in [false, true] {
        let mut server = bounded(100, drop_oldest);
        assert_eq!(server.send(numbered(1), NOW), Ok(Queued::default()));
        // Nothing that could be dropped waits, but the newest is kept all the same.
        let second = server.send(numbered(2), NOW);
        assert_eq!(second.is_ok(), drop_oldest);
    }
}

#[test]
fn the_oldest_whole_messages_are_dropped_for_the_newest() {
    let mut server = bounded(200_000, true);
    let mut dropped = 0;
    for number in 0..100 {
        dropped += server.send(numbered(number), NOW).unwrap().dropped;
        assert!(server.queued() <= 200_000);
    }
    // Some of the first message is on its way already.
    server.outbound().advance(0);
    let numbers = numbers(&written(&mut server));
    assert_eq!(numbers.len() + dropped, 100);
    let committed = numbers.iter().zip(0..).take_while(|(number, at)| *number == at).count();
    assert!(committed >= 6, "what was committed is never dropped: {numbers:?}");
    let newest: Vec<u8> = (100 - (numbers.len() - committed) as u8..100).collect();
    assert_eq!(numbers[committed..], newest);
}

#[test]
fn messages_for_many_are_dropped_like_others() {
    let mut server = bounded(150_000, true);
    let mut dropped = 0;
    for number in 0..60 {
        let message = Message { kind: Kind::Binary, payload: Bytes::from(vec![number; MESSAGE]) };
        dropped += server.send_prepared(&mut Prepared::new(&message), NOW).unwrap().dropped;
        assert!(server.queued() <= 150_000);
    }
    assert!(dropped > 0);
    assert_eq!(numbers(&written(&mut server)).last(), Some(&59));
}

#[test]
fn control_frames_do_not_wait_for_messages() {
    let mut server = server();
    for number in 0..20 {
        server.send(numbered(number), NOW).unwrap();
    }
    feed(&mut server, &masked(0x89, b"quick"));
    let mut client = client();
    let events = feed(&mut client, &written(&mut server));
    let at = events.iter().position(|event| *event == Event::Pong(Bytes::from_static(b"quick"))).unwrap();
    assert_eq!((at, events.len()), (7, 21));
}

#[test]
fn compressed_messages_are_dropped_before_they_touch_the_context() {
    let deflate = Some(Deflate::default());
    let settings = Settings { queue_bytes: 300_000, drop_oldest: true, ..settings() };
    let (mut server, mut client) = (server_with(settings, deflate), client_with(super::settings(), deflate));
    let mut entropy = SeededEntropy::from_number(7);
    let mut noise = vec![0; 40_000];
    let (mut sent, mut dropped) = (Vec::new(), 0);
    for _ in 0..40 {
        crate::entropy::Entropy::fill(&mut entropy, &mut noise);
        let event = binary(&noise);
        dropped += server.send(event.clone(), NOW).unwrap().dropped;
        sent.push(event);
    }
    assert!(dropped > 10);
    let events = feed(&mut client, &written(&mut server));
    assert_eq!(events.len() + dropped, sent.len());
    assert_eq!(events.last(), sent.last());
    assert_eq!(client.violation(), None);
}

#[test]
fn what_is_sent_with_the_handshake_goes_out_first() {
    let mut server = server();
    server.send(text("hello"), NOW).unwrap();
    let mut response = crate::rope::Rope::new();
    response.push_copy(b"HTTP/1.1 101 Switching Protocols\r\n\r\n");
    server.begin_with(response);
    assert_eq!(written(&mut server), b"HTTP/1.1 101 Switching Protocols\r\n\r\n\x81\x05hello");
}

#[test]
fn what_cannot_be_sent_is_an_error_and_leaves_nothing() {
    let mut server = server();
    let wrong = Event::Message(Message { kind: Kind::Text, payload: Bytes::from_static(b"\xff") });
    let long = Bytes::from_static(&[0; 126]);
    for event in [wrong, Event::Ping(long.clone()), Event::Pong(long)] {
        assert_eq!(server.send(event, NOW), Err(SendError::Invalid));
    }
    assert_eq!(server.queued(), 0);
    assert_eq!(server.send(text("fine"), NOW), Ok(Queued::default()));
}
