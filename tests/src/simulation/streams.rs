//! Clients of the worlds that speak SPDY: each request is a stream, and answers come in any order.

use std::collections::BTreeMap;

use blastbeat_proto::http::BodySize;
use blastbeat_proto::spdy::Version;

use super::World;
use crate::spdy_stage::{Spdy, request};
use crate::stage::{Stage, show};

/// What a client has that speaks SPDY.
pub(super) struct Streams {
    spdy: Spdy,
    /// The requests of streams without a complete answer.
    waiting: BTreeMap<u32, usize>,
}

impl Streams {
    pub(super) fn new(stage: &mut Stage, version: Version) -> Self {
        Self { spdy: Spdy::new(stage, version), waiting: BTreeMap::new() }
    }

    /// Its connection.
    pub(super) fn client(&self) -> crate::stage::Client {
        self.spdy.client
    }

    /// Whether the server takes no more requests from it.
    pub(super) fn is_leaving(&self) -> bool {
        self.spdy.farewell.is_some()
    }
}

impl World {
    /// A client sends a request, whole.
    pub(super) fn ask_on_stream(&mut self, place: usize, number: usize, with_length: bool) {
        let Some(streams) = &mut self.browsers[place].streams else { return };
        let asked = &self.requests[number];
        let size = match asked.body.len() as u64 {
            0 => BodySize::None,
            length if with_length => BodySize::Length(length),
            _ => BodySize::Chunked,
        };
        let head = request(asked.method, &format!("/{number}"), "a", size);
        let stream = streams.spdy.open(&mut self.stage, &head, (number % 8) as u8);
        if size != BodySize::None {
            streams.spdy.send(&mut self.stage, stream, &asked.body, size == BodySize::Chunked);
        }
        streams.waiting.insert(stream, number);
    }

    /// Looks at the answers of all streams of a client.
    pub(super) fn read_streams(&mut self, place: usize) {
        let browser = &mut self.browsers[place];
        let Some(streams) = &mut browser.streams else { return };
        if browser.over {
            self.stage.take_incoming(browser.client);
            return;
        }
        streams.spdy.exchange(&mut self.stage);
        let ended = self.stage.host().peer(browser.client.id()).ended.is_some();
        let (spdy, requests) = (&mut streams.spdy, &self.requests);
        streams.waiting.retain(|stream, number| {
            let (state, request) = (&spdy.streams[stream], &requests[*number]);
            let Some(head) = state.head.as_ref().filter(|_| state.has_ended) else {
                let is_cut = ended || state.reset.is_some();
                assert!(request.answer.is_none(), "/{number} was answered, and its client has only {state:?}");
                return !is_cut;
            };
            match head.status {
                200 => {
                    let answer = request.answer.as_deref().unwrap_or_else(|| panic!("nobody has answered /{number}"));
                    let expected = if request.method == "HEAD" { "" } else { answer };
                    assert_eq!(show(&state.body), show(expected.as_bytes()), "the answer to /{number}");
                }
                408 | 502 | 503 | 504 => assert!(request.answer.is_none(), "/{number} was answered, and got {head:?}"),
                other => panic!("/{number} got {other}"),
            }
            false
        });
        if ended {
            browser.over = true;
            self.stage.close(browser.client);
        }
    }
}
