//! A client of SPDY on a stage: the machine's own role of a client for heads and windows, and beside it a look at the frames
//! themselves, so that codes, and the order of what came, are not judged by the machine that they come from.

use std::collections::BTreeMap;

use blastbeat_proto::error::Cause;
use blastbeat_proto::http::{self, BodySize, Request, Settings, StreamId};
use blastbeat_proto::limits::Limits;
use blastbeat_proto::spdy::{Connection, Event, Priority, StatusCode, Version};
use blastbeat_proto::time::Instant;
use bytes::Bytes;

use crate::host::Ended;
use crate::http2::Head;
use crate::spdy_frames::{Frame, GOAWAY, RST_STREAM};
use crate::stage::{Client, Stage, show};

/// One request, or an answer without one, as far as it has come.
#[derive(Debug, Default)]
pub struct Stream {
    /// The head of the answer.
    pub head: Option<Head>,
    /// Bytes of the body that nobody has taken yet.
    pub body: Vec<u8>,
    /// The answer is whole.
    pub has_ended: bool,
    /// The code with which the server reset the stream.
    pub reset: Option<u32>,
    /// The target that a pushed answer is for.
    pub promised: Option<String>,
    /// Bytes of the answer that were not released.
    owed: usize,
}

/// A client on a stage that speaks SPDY.
pub struct Spdy {
    /// Its connection.
    pub client: Client,
    /// What it says by.
    pub conn: Connection,
    /// All requests, and what was pushed.
    pub streams: BTreeMap<u32, Stream>,
    /// Every frame that has come, in order, without what its head block says.
    pub frames: Vec<Frame>,
    /// Windows are opened again for what has come.
    pub reads: bool,
    /// Pushed answers are refused as they come.
    pub refuses: bool,
    /// The status and the last good stream of the server's farewell.
    pub farewell: Option<(u32, u32)>,
    unread: Vec<u8>,
    unwatched: Vec<u8>,
}

impl Spdy {
    /// A new client on the listener for clients that takes this version as [`listeners`] has them. Its windows are as
    /// small as they may be.
    pub fn new(stage: &mut Stage, version: Version) -> Self {
        let mut spdy = Self::silent(stage, version, 100);
        spdy.exchange(stage);
        spdy
    }

    /// One that has said nothing yet, and allows the server so many pushes at once.
    pub fn silent(stage: &mut Stage, version: Version, pushes: usize) -> Self {
        let client = stage.client_on(usize::from(version == Version::V3));
        Self::on(stage, client, version, pushes)
    }

    /// One on a connection that is there already, which has said nothing yet.
    pub fn on(stage: &mut Stage, client: Client, version: Version, pushes: usize) -> Self {
        // What ends a stream may be followed by windows for the rest of its request.
        stage.forgive(client);
        let limits = Limits { h2_streams: pushes, h2_connection_window: 0, h2_stream_window: 0, ..Limits::DEFAULT };
        Self {
            client,
            conn: Connection::client(version, Settings::with_limits(limits), Instant::ZERO),
            streams: BTreeMap::new(),
            frames: Vec::new(),
            reads: true,
            refuses: false,
            farewell: None,
            unread: Vec::new(),
            unwatched: Vec::new(),
        }
    }

    /// The version that it speaks.
    pub fn version(&self) -> Version {
        self.conn.version()
    }

    /// Hears what has come and sends what it has to say; returns whether there was anything.
    pub fn exchange(&mut self, stage: &mut Stage) -> bool {
        let incoming = stage.take_incoming(self.client);
        self.watch(&incoming);
        self.unread.extend_from_slice(&incoming);
        let mut has_said = false;
        loop {
            let outgoing = self.take_outgoing();
            stage.send(self.client, &outgoing);
            has_said |= !outgoing.is_empty();
            let used = self.conn.receive(&self.unread, Instant::ZERO);
            self.unread.drain(..used);
            let mut events = 0;
            while let Some((stream, event)) = self.conn.poll_event() {
                self.hear(stream.0, event);
                events += 1;
            }
            assert_eq!(self.conn.violation(), None, "the server keeps the rules");
            if used == 0 && events == 0 && !self.conn.has_outbound() {
                return has_said || !incoming.is_empty();
            }
        }
    }

    /// Takes the bytes that it has to say, for somebody who says others instead.
    pub fn take_outgoing(&mut self) -> Vec<u8> {
        let mut outgoing = Vec::new();
        while self.conn.has_outbound() {
            outgoing.append(&mut self.conn.outbound().take());
        }
        outgoing
    }

    fn watch(&mut self, incoming: &[u8]) {
        self.unwatched.extend_from_slice(incoming);
        let mut at = 0;
        while let Some((frame, used)) = Frame::read(&self.unwatched[at..]) {
            at += used;
            assert!(frame.is_data() || frame.is_of(self.version()), "{frame:?} to a client of {}", self.version());
            match frame.kind {
                Some(RST_STREAM) => {
                    let of = self.streams.entry(frame.number).or_default();
                    of.reset = frame.second;
                }
                Some(GOAWAY) => self.farewell = Some((frame.second.unwrap_or(0), frame.number)),
                Some(_) | None => {}
            }
            self.frames.push(frame);
        }
        self.unwatched.drain(..at);
    }

    fn hear(&mut self, stream: u32, event: Event) {
        let state = self.streams.entry(stream).or_default();
        match event {
            Event::Part(http::Event::Request(request)) => {
                state.promised = Some(text(request.target()));
                if self.refuses {
                    self.conn.reset(StreamId(stream), StatusCode::REFUSED_STREAM, Instant::ZERO);
                }
            }
            Event::Part(http::Event::Response(response)) => {
                let fields = response.fields.iter().map(|(name, value)| (text(name), text(value))).collect();
                assert!(state.head.is_none(), "a second head on stream {stream}");
                state.head = Some(Head { status: response.status, fields });
            }
            Event::Part(http::Event::Body(piece)) => {
                state.body.extend_from_slice(&piece);
                state.owed += piece.len();
                if self.reads {
                    self.release(stream);
                }
            }
            Event::Part(http::Event::End) => state.has_ended = true,
            Event::Cut(_) | Event::Freed(_) => {}
            Event::Refused(_) => panic!("a client refuses nothing"),
        }
    }

    /// Opens the windows for what has come on a stream.
    pub fn release(&mut self, stream: u32) {
        if let Some(state) = self.streams.get_mut(&stream) {
            let owed = std::mem::take(&mut state.owed);
            self.conn.release(StreamId(stream), owed, Instant::ZERO);
        }
    }

    /// Lets the server deal with everything that was sent, and hears all of its answers.
    pub fn settle(&mut self, stage: &mut Stage) {
        loop {
            let moved = self.exchange(stage);
            stage.settle();
            if !self.exchange(stage) && !moved {
                return;
            }
        }
    }

    /// Waits until `done` has an answer.
    pub fn until<T>(&mut self, stage: &mut Stage, what: &str, mut done: impl FnMut(&mut Self) -> Option<T>) -> T {
        self.exchange(stage);
        stage.until(format!("{:?}, {}: {what}", self.client, self.version()), |stage| {
            self.exchange(stage);
            let answer = done(self);
            self.exchange(stage);
            answer
        })
    }

    /// Sends a request of which nothing but the head is said here.
    ///
    /// # Panics
    /// If the server allows no more.
    pub fn open(&mut self, stage: &mut Stage, request: &Request, urgency: u8) -> u32 {
        let stream = self.conn.open(request, false, Priority(urgency), Instant::ZERO).expect("a request").0;
        self.streams.insert(stream, Stream::default());
        self.exchange(stage);
        stream
    }

    /// Sends a request without a body.
    pub fn ask(&mut self, stage: &mut Stage, method: &str, path: &str) -> u32 {
        self.open(stage, &request(method, path, "a", BodySize::None), 3)
    }

    /// Sends a GET.
    pub fn get(&mut self, stage: &mut Stage, path: &str) -> u32 {
        self.ask(stage, "GET", path)
    }

    /// Expects the answer to a GET on the next stream, which somebody else sends.
    ///
    /// # Panics
    /// If the server allows no more.
    pub fn get_unsaid(&mut self, path: &str) -> u32 {
        let request = request("GET", path, "a", BodySize::None);
        let stream = self.conn.open(&request, false, Priority(0), Instant::ZERO).expect("a request").0;
        self.streams.insert(stream, Stream::default());
        self.take_outgoing();
        stream
    }

    /// Sends a GET that is more urgent the lower this is, from 0 to 7.
    pub fn get_urgently(&mut self, stage: &mut Stage, path: &str, urgency: u8) -> u32 {
        self.open(stage, &request("GET", path, "a", BodySize::None), urgency)
    }

    /// Sends a POST with a body, or its beginning; its length is not announced.
    pub fn post(&mut self, stage: &mut Stage, path: &str, body: impl AsRef<[u8]>, is_whole: bool) -> u32 {
        let stream = self.open(stage, &request("POST", path, "a", BodySize::Chunked), 3);
        self.send(stage, stream, body, is_whole);
        stream
    }

    /// Sends a part of a body.
    ///
    /// # Panics
    /// If there is no such stream.
    pub fn send(&mut self, stage: &mut Stage, stream: u32, bytes: impl AsRef<[u8]>, is_last: bool) {
        let piece = Bytes::copy_from_slice(bytes.as_ref());
        let mut parts = vec![http::Event::Body(piece)];
        parts.extend(is_last.then_some(http::Event::End));
        for part in parts {
            self.conn.send(StreamId(stream), part, Instant::ZERO).expect("a stream");
        }
        self.exchange(stage);
    }

    /// Bytes of a request's body that wait for a window.
    pub fn unsent(&self, stream: u32) -> usize {
        self.conn.stream_queued(StreamId(stream))
    }

    /// Takes a request back.
    pub fn reset(&mut self, stage: &mut Stage, stream: u32) {
        self.conn.reset(StreamId(stream), StatusCode::CANCEL, Instant::ZERO);
        self.streams.remove(&stream);
        self.exchange(stage);
    }

    fn stream(&mut self, stream: u32) -> &mut Stream {
        self.streams.get_mut(&stream).expect("a stream")
    }

    /// Waits for the head of an answer.
    pub fn head(&mut self, stage: &mut Stage, stream: u32) -> Head {
        self.until(stage, &format!("the head of stream {stream}"), |spdy| {
            let state = spdy.stream(stream);
            assert!(state.head.is_some() || state.reset.is_none(), "stream {stream} is reset");
            state.head.clone()
        })
    }

    /// Waits for the whole answer.
    pub fn answer(&mut self, stage: &mut Stage, stream: u32) -> (Head, Vec<u8>) {
        self.until(stage, &format!("the end of stream {stream}"), |spdy| {
            let state = spdy.stream(stream);
            assert!(state.reset.is_none(), "stream {stream} is reset");
            let head = state.head.clone().filter(|_| state.has_ended)?;
            Some((head, std::mem::take(&mut state.body)))
        })
    }

    /// Waits for a whole answer of this status and body.
    pub fn expect(&mut self, stage: &mut Stage, stream: u32, status: u16, body: impl AsRef<[u8]>) -> Head {
        let (head, came) = self.answer(stage, stream);
        assert_eq!(head.status, status, "stream {stream}: {}", show(&came));
        assert!(came == body.as_ref(), "stream {stream}: {}", show(&came));
        head
    }

    /// Waits for the server's own page about `cause`.
    pub fn expect_page(&mut self, stage: &mut Stage, stream: u32, cause: Cause) {
        self.expect_page_as(stage, stream, cause, cause.status());
    }

    /// Waits for the server's own page about `cause`, with this status.
    pub fn expect_page_as(&mut self, stage: &mut Stage, stream: u32, cause: Cause, status: u16) {
        let (head, body) = self.answer(stage, stream);
        assert_eq!(head.status, status, "stream {stream}");
        let body = String::from_utf8(body).expect("a page of text");
        assert!(body.contains(cause.name()), "the page does not name {cause}: {body}");
    }

    /// Waits for the server's reset of a stream.
    pub fn expect_reset(&mut self, stage: &mut Stage, stream: u32, code: StatusCode) {
        let got = self.until(stage, &format!("the reset of stream {stream}"), |spdy| {
            let state = spdy.stream(stream);
            assert!(!state.has_ended, "stream {stream} has ended in good order");
            state.reset
        });
        assert_eq!(got, code.0, "stream {stream}");
    }

    /// Waits for a farewell without blame, of this last good stream, and the end of the connection.
    pub fn expect_closed(&mut self, stage: &mut Stage, last_good: u32) {
        let farewell = self.until(stage, "a farewell", |spdy| spdy.farewell);
        assert_eq!(farewell, (0, last_good));
        self.expect_end(stage);
        assert_eq!(self.farewell, Some((0, last_good)));
    }

    /// Waits for the end of the connection in good order.
    pub fn expect_end(&mut self, stage: &mut Stage) {
        let ended = stage.until("the end of the connection".to_owned(), |stage| {
            self.exchange(stage);
            stage.host().peer(self.client.id()).ended
        });
        self.exchange(stage);
        assert_eq!(ended, Ended::Eof);
    }

    /// Checks that nothing more has come on a stream, once the server has dealt with everything.
    pub fn expect_nothing(&mut self, stage: &mut Stage, stream: u32) {
        self.settle(stage);
        let state = self.stream(stream);
        assert!(state.body.is_empty() && !state.has_ended && state.reset.is_none(), "{state:?}");
    }

    /// Waits until an answer for `path` is being pushed, and says on which stream.
    pub fn pushed(&mut self, stage: &mut Stage, path: &str) -> u32 {
        self.until(stage, &format!("a push for {path}"), |spdy| {
            let is_meant = |stream: &Stream| stream.promised.as_deref() == Some(path);
            spdy.streams.iter().find(|(_, stream)| is_meant(stream)).map(|(id, _)| *id)
        })
    }
}

/// Two listeners for clients in clear text, of which the first tells SPDY/2 and SPDY/3.1 apart, and HTTP/2 and HTTP/1, and
/// the second takes SPDY/3.
pub fn listeners(options: &str) -> String {
    format!("bind = 127.0.0.1:0 {options} h2c spdy=2,3.1\nbind = 127.0.0.1:0 {options} spdy=3")
}

/// A request.
///
/// # Panics
/// If it is none.
pub fn request(method: &str, path: &str, host: &str, body: BodySize) -> Request {
    Request::builder(method, path, host).body(body).build().expect("a request")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("an ASCII head")
}
