//! A ROUTER that hears arbitrary bytes.

use std::sync::Arc;

use blastbeat_proto::limits::Limits;
use blastbeat_proto::time::{Duration, Instant};
use blastbeat_proto::zmtp::{Connection, Event, Mechanism, Message, Role, Settings};

/// Events, output and outcome are the same however the bytes are cut; what is not consumed is at most one command;
/// messages keep to their bounds and are the frames they were made of; the output is bounded by the input; after the end
/// everything is consumed and nothing happens; a time-out that is not due changes nothing.
///
/// The first byte chooses the mechanism, the second how the input is cut.
pub fn body(data: &[u8]) {
    let (mode, step, data) = match data {
        [mode, step, rest @ ..] => (*mode, usize::from(*step).max(1), rest),
        [] | [_] => return,
    };
    let settings = Arc::new(Settings {
        mechanism: if mode & 1 == 0 { Mechanism::Null } else { Mechanism::PlainServer },
        message_bytes: MESSAGE_BYTES,
        frames: FRAMES,
        ..Settings::new(if mode & 2 == 0 { Role::Router } else { Role::Dealer }, &Limits::DEFAULT)
    });
    let whole = Run::new(&settings).feed(data, data.len().max(1));
    let pieces = Run::new(&settings).feed(data, step);
    assert_eq!(whole.events, pieces.events);
    assert_eq!(whole.output, pieces.output);
    assert_eq!(whole.link.is_closing(), pieces.link.is_closing());
    assert_eq!(whole.link.violation(), pieces.link.violation());
    assert!(whole.output.len() <= OUTPUT_FIXED + data.len());
}

const MESSAGE_BYTES: usize = 300;
const FRAMES: usize = 5;

/// A greeting, a READY, a WELCOME and an ERROR are shorter than this together.
const OUTPUT_FIXED: usize = 256;

/// A command of the largest size that is read, with its header.
const KEPT_MAX: usize = 4096 + 9;

struct Run {
    link: Connection,
    kept: Vec<u8>,
    events: Vec<Event>,
    output: Vec<u8>,
}

impl Run {
    fn new(settings: &Arc<Settings>) -> Self {
        let link = Connection::new(settings.clone(), Instant::ZERO);
        Self { link, kept: Vec::new(), events: Vec::new(), output: Vec::new() }
    }

    fn feed(mut self, data: &[u8], step: usize) -> Self {
        for chunk in data.chunks(step) {
            self.kept.extend_from_slice(chunk);
            self.consume();
            assert!(self.kept.len() <= KEPT_MAX);
            self.output.extend(self.link.outbound().take());
            let deadline = self.link.poll_timeout();
            self.link.handle_timeout(Instant::ZERO + Duration::from_nanos(1));
            assert_eq!((self.link.poll_timeout(), self.link.queued()), (deadline, 0));
        }
        if self.link.is_closing().is_some() {
            assert_eq!(self.link.receive(data, Instant::ZERO), data.len());
            assert!(self.link.poll_event().is_none() && self.link.poll_timeout().is_none());
            assert_eq!((self.link.queued(), self.kept.len()), (0, 0));
        }
        self
    }

    fn consume(&mut self) {
        loop {
            let used = self.link.receive(&self.kept, Instant::ZERO);
            self.kept.drain(..used);
            let Some(event) = self.link.poll_event() else { return };
            let answered = match &event {
                Event::Hello(_) => self.link.welcome(Instant::ZERO),
                Event::Peer { .. } if self.link.is_held() => self.link.accept(Instant::ZERO),
                Event::Peer { .. } => Ok(()),
                Event::Message(message) => {
                    check(message);
                    Ok(())
                }
            };
            assert_eq!(answered, Ok(()));
            self.events.push(event);
        }
    }
}

fn check(message: &Message) {
    let frames: Vec<&[u8]> = message.frames().collect();
    assert!((1..=FRAMES).contains(&frames.len()) && message.wire().len() <= MESSAGE_BYTES);
    assert_eq!(frames.len(), message.frame_count());
    let again = Message::from_parts(&frames).map(|again| again.frames().map(<[u8]>::to_vec).collect::<Vec<_>>());
    assert_eq!(again, Some(frames.iter().map(|frame| frame.to_vec()).collect()));
    assert_eq!(Some(&message.clone().into_last()[..]), frames.last().copied());
}
