//! A client of HTTP/2 on a stage.

use blastbeat_proto::error::Cause;

use crate::frames::Frame;
use crate::host::Ended;
use crate::http2::{Head, Http2, Stream};
use crate::stage::{Client, Stage, show};

/// A connection's window that nothing here fills.
const WIDE: u32 = 1 << 30;

/// A client on a stage that speaks HTTP/2.
pub struct Browser {
    /// Its connection.
    pub client: Client,
    /// What it says and hears.
    pub http: Http2,
}

impl Browser {
    /// A new client on the first listener for clients, which lets the server send all that it likes.
    pub fn new(stage: &mut Stage) -> Self {
        Self::with_window(stage, WIDE)
    }

    /// One that lets the server send `window` bytes on each stream at a time.
    pub fn with_window(stage: &mut Stage, window: u32) -> Self {
        let client = stage.client();
        Self::on(stage, client, window)
    }

    /// One on a connection that is there already.
    pub fn on(stage: &mut Stage, client: Client, window: u32) -> Self {
        // What ends a stream may be followed by the word that no more of its request is needed.
        stage.forgive(client);
        let mut browser = Self { client, http: Http2::new(window) };
        browser.exchange(stage);
        browser
    }

    /// Hears what has come and sends what it has to say; returns whether there was anything.
    pub fn exchange(&mut self, stage: &mut Stage) -> bool {
        let incoming = stage.take_incoming(self.client);
        self.http.receive(&incoming);
        let outgoing = std::mem::take(&mut self.http.outgoing);
        stage.send(self.client, &outgoing);
        !incoming.is_empty() || !outgoing.is_empty()
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
    pub fn until<T>(&mut self, stage: &mut Stage, what: &str, mut done: impl FnMut(&mut Http2) -> Option<T>) -> T {
        self.exchange(stage);
        stage.until(format!("{:?}: {what}", self.client), |stage| {
            self.exchange(stage);
            let answer = done(&mut self.http);
            self.exchange(stage);
            answer
        })
    }

    fn stream(http: &mut Http2, stream: u32) -> &mut Stream {
        http.streams.get_mut(&stream).expect("a stream")
    }

    /// Sends a GET.
    pub fn get(&mut self, stage: &mut Stage, path: &str) -> u32 {
        let stream = self.http.get(path);
        self.exchange(stage);
        stream
    }

    /// Sends a whole request.
    pub fn ask(&mut self, stage: &mut Stage, method: &str, path: &str) -> u32 {
        let stream = self.http.ask(method, path, true);
        self.exchange(stage);
        stream
    }

    /// Sends a POST with a body, or its beginning.
    pub fn post(&mut self, stage: &mut Stage, path: &str, body: impl AsRef<[u8]>, is_whole: bool) -> u32 {
        let stream = self.http.ask("POST", path, false);
        self.send(stage, stream, body, is_whole);
        stream
    }

    /// Sends a part of a body.
    pub fn send(&mut self, stage: &mut Stage, stream: u32, bytes: impl AsRef<[u8]>, is_last: bool) {
        self.http.send(stream, bytes, is_last);
        self.exchange(stage);
    }

    /// Takes a request back.
    pub fn reset(&mut self, stage: &mut Stage, stream: u32) {
        self.http.reset(stream);
        self.exchange(stage);
    }

    /// Waits for a final head.
    pub fn head(&mut self, stage: &mut Stage, stream: u32) -> Head {
        self.until(stage, "a head", |http| {
            let state = Self::stream(http, stream);
            assert!(state.head.is_some() || state.reset.is_none(), "stream {stream} is reset");
            state.head.clone()
        })
    }

    /// Waits for the whole answer.
    pub fn answer(&mut self, stage: &mut Stage, stream: u32) -> (Head, Vec<u8>) {
        self.until(stage, &format!("the end of stream {stream}"), |http| {
            let state = Self::stream(http, stream);
            assert!(state.reset.is_none_or(|code| code == 0 && state.has_ended), "stream {stream} is reset");
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
    pub fn expect_reset(&mut self, stage: &mut Stage, stream: u32, code: u32) {
        let got = self.until(stage, &format!("the reset of stream {stream}"), |http| {
            let state = Self::stream(http, stream);
            assert!(!state.has_ended, "stream {stream} has ended in good order");
            state.reset
        });
        assert_eq!(got, code, "stream {stream}");
    }

    /// Waits for a farewell without blame and the end of the connection.
    pub fn expect_closed(&mut self, stage: &mut Stage) {
        self.until(stage, "a farewell", |http| http.farewell.filter(|(code, last)| *code == 0 && *last < 1 << 30));
        stage.until("the end of the connection".to_owned(), |stage| {
            self.exchange(stage);
            (stage.host().peer(self.client.id()).ended == Some(Ended::Eof)).then_some(())
        });
        self.exchange(stage);
        assert!(self.http.farewell.is_some_and(|(code, _)| code == 0));
    }

    /// Asks for a WebSocket.
    pub fn opens(&mut self, stage: &mut Stage, path: &str) -> u32 {
        let stream = self.http.open(path);
        self.exchange(stage);
        stream
    }

    /// Waits until a WebSocket is open.
    pub fn opened(&mut self, stage: &mut Stage, stream: u32) {
        let head = self.head(stage, stream);
        assert_eq!((head.status, &head.fields[..]), (200, &[][..]));
    }

    /// Sends a frame of a WebSocket, masked.
    pub fn send_frame(&mut self, stage: &mut Stage, stream: u32, frame: &Frame) {
        self.send(stage, stream, frame.masked(), false);
    }

    /// Waits for the next frame of a WebSocket.
    pub fn frame(&mut self, stage: &mut Stage, stream: u32) -> Frame {
        self.until(stage, &format!("a frame on stream {stream}"), |http| {
            let state = Self::stream(http, stream);
            assert!(state.reset.is_none() || state.has_ended, "stream {stream} is reset");
            let (frame, used) = Frame::read(&state.body)?;
            state.body.drain(..used);
            Some(frame)
        })
    }

    /// Waits for exactly this frame.
    pub fn expect_frame(&mut self, stage: &mut Stage, stream: u32, frame: &Frame) {
        assert_eq!(self.frame(stage, stream), *frame, "on stream {stream}");
    }

    /// Waits for the end of a stream; nothing else may come before it.
    pub fn expect_end(&mut self, stage: &mut Stage, stream: u32) {
        let (_, rest) = self.answer(stage, stream);
        assert!(rest.is_empty(), "stream {stream} gets before its end {}", show(&rest));
    }

    /// Checks that nothing more has come on a stream, once the server has dealt with everything.
    pub fn expect_nothing(&mut self, stage: &mut Stage, stream: u32) {
        self.settle(stage);
        let state = Self::stream(&mut self.http, stream);
        assert!(state.body.is_empty() && !state.has_ended && state.reset.is_none(), "{state:?}");
    }
}
