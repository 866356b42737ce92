//! What a node says to answer a request: all the ways that the node protocol knows.

use std::collections::VecDeque;

use blastbeat_proto::message::Kind;
use blastbeat_proto::uwsgi;
use bytes::Bytes;

use super::client::ECHO;
use super::dice::{Dice, Part, payload};
use super::node::{Fate, Job};

/// What a node says to answer a request, message by message.
pub fn script(job: &Job, answer: usize, has_credit: bool, dice: &mut Dice) -> VecDeque<(Kind, Bytes)> {
    let mut steps = VecDeque::new();
    let mut say = |kind: Kind, body: Vec<u8>| steps.push_back((kind, Bytes::from(body)));
    match job.fate {
        Fate::PassOn => {
            say(Kind::Retry, Vec::new());
            return steps;
        }
        Fate::EndEarly if job.is_head || dice.chance(50) => {
            say(Kind::End, Vec::new());
            return steps;
        }
        Fate::Answer | Fate::AnswerEarly | Fate::EndEarly | Fate::Forget => {}
    }
    let head = |fields: &str| format!("HTTP/1.1 200 OK\r\n{ECHO}: {}\r\n{fields}\r\n", job.number).into_bytes();
    if dice.chance(10) {
        say(Kind::Headers, b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n".to_vec());
    }
    let mut pieces = Vec::new();
    let mut from = 0;
    while from < answer {
        let n = dice.pick(&[1, 40, 2000, 20_000, 100_000]).max(answer / 50).min(answer - from);
        pieces.push(payload(job.number, Part::Answer, from, n));
        from += n;
    }
    if job.fate == Fate::EndEarly {
        // One byte is never said.
        say(Kind::Headers, head(&format!("Content-Length: {}\r\n", answer + 1)));
        pieces.into_iter().for_each(|piece| say(Kind::Body, piece));
        say(Kind::End, Vec::new());
        return steps;
    }
    match if job.is_head { 6 } else { dice.below(7) } {
        0 => {
            say(Kind::Headers, head(&format!("Content-Length: {answer}\r\n")));
            pieces.into_iter().for_each(|piece| say(Kind::Body, piece));
        }
        1 => {
            say(Kind::Headers, head("Transfer-Encoding: chunked\r\n"));
            pieces.into_iter().for_each(|piece| say(Kind::Chunk, piece));
            say(Kind::Chunk, Vec::new());
        }
        2 => {
            let mut text = head("");
            if has_credit {
                // Credit may cut a body anywhere, so a head is better off alone.
                say(Kind::Headers, text);
            } else {
                text.extend(pieces.drain(..pieces.len().min(1)).flatten());
                say(Kind::Body, text);
            }
            pieces.into_iter().for_each(|piece| say(Kind::Body, piece));
            say(Kind::End, Vec::new());
        }
        3 => {
            let (number, length) = (job.number.to_string(), answer.to_string());
            let variables = [("STATUS", "200 OK"), (ECHO, &number), ("Content-Length", &length)];
            let mut text = Vec::new();
            let pairs = variables.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
            uwsgi::encode_pairs(&mut text, pairs).expect("the packet is small");
            say(Kind::Uwsgi, text);
            pieces.into_iter().for_each(|piece| say(Kind::Body, piece));
        }
        4 => {
            // Framed by the node itself, cut anywhere.
            say(Kind::Headers, head("Transfer-Encoding: chunked\r\n"));
            let mut text = Vec::new();
            for piece in pieces {
                text.extend(format!("{:x}\r\n", piece.len()).bytes());
                text.extend(piece);
                text.extend(b"\r\n");
            }
            text.extend(b"0\r\n\r\n");
            let size = dice.pick(&[7, 300, 10_000, 200_000]).max(text.len() / 50);
            text.chunks(size).for_each(|piece| say(Kind::Body, piece.to_vec()));
        }
        5 => {
            say(Kind::Headers, head(""));
            pieces.into_iter().for_each(|piece| say(Kind::Chunk, piece));
            say(Kind::Chunk, Vec::new());
        }
        _ if job.is_head => {
            say(Kind::Headers, head(&format!("Content-Length: {answer}\r\n")));
        }
        _ => {
            let text = format!("HTTP/1.1 204 No Content\r\n{ECHO}: {}\r\n\r\n", job.number);
            say(Kind::Headers, text.into_bytes());
        }
    }
    steps
}
