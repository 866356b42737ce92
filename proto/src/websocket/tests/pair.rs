//! Two machines in memory: what one sends, the other receives.

use super::*;

#[test]
fn what_one_side_sends_the_other_receives() {
    let long = "long ".repeat(30_000);
    let events = [
        text("hello"),
        text(""),
        binary(&[]),
        binary(&[0xff; 126]),
        text(&long),
        Event::Ping(Bytes::from_static(b"ping")),
        Event::Pong(Bytes::new()),
        close(3000, "bye"),
    ];
    for (mut from, mut to) in [(client(), server()), (server(), client())] {
        for event in &events {
            assert_eq!(from.send(event.clone(), NOW), Ok(Queued::default()));
        }
        assert_eq!(feed(&mut to, &written(&mut from)), events);
        assert_eq!(to.is_closing(), Some(Cause::ClientClosed));
        // The pong comes too, but whoever has said that it closes listens only for the answer to that.
        assert_eq!(feed(&mut from, &written(&mut to)), [close(3000, "")]);
        assert_eq!(from.is_closing(), Some(Cause::Complete));
        assert_eq!(from.send(text("late"), NOW), Err(SendError::Closed));
    }
}

#[test]
fn a_message_for_many_is_encoded_once() {
    for length in [0, 1, 125, 126, 2000, 70_000] {
        let message = Message { kind: Kind::Binary, payload: Bytes::from(vec![7; length]) };
        let mut prepared = Prepared::new(&message);
        for _ in 0..2 {
            let (mut server, mut client) = (server(), client());
            server.send_prepared(&mut prepared, NOW).unwrap();
            assert_eq!(feed(&mut client, &written(&mut server)), [Event::Message(message.clone())]);
            client.send_prepared(&mut prepared, NOW).unwrap();
            assert_eq!(feed(&mut server, &written(&mut client)), [Event::Message(message.clone())]);
        }
    }
}
