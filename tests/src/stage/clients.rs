//! What clients do on the stage, and what they may expect.

use blastbeat_proto::config::Serves;
use blastbeat_proto::error::Cause;

use super::{Client, Node, Stage, show};
use crate::frames::{self, Frame};
use crate::host::{Ended, Finish};

impl Stage {
    /// A new client on the first listener for clients.
    pub fn client(&mut self) -> Client {
        self.client_on(0)
    }

    /// A new client on the listener for clients with this number.
    pub fn client_on(&mut self, nth: usize) -> Client {
        let listener = self.listener(nth, |serves| matches!(serves, Serves::Http { .. }));
        let client = Client(self.host.connect(listener));
        self.clients.push(client.0);
        client
    }

    /// A peer on a listener for nodes that says exactly what it is told.
    pub fn raw_node(&mut self) -> Client {
        let listener = self.listener(0, |serves| serves == Serves::Zmq);
        let client = Client(self.host.connect(listener));
        self.clients.push(client.0);
        client
    }

    /// Sends bytes.
    pub fn send(&mut self, client: Client, bytes: impl AsRef<[u8]>) {
        match self.tunnels.get_mut(&client.0) {
            Some(tunnel) => tunnel.send(bytes.as_ref()),
            None => return self.host.peer(client.0).outgoing.extend_from_slice(bytes.as_ref()),
        }
        self.flush_tunnels();
    }

    /// What has come for a client and was not looked at.
    pub(super) fn incoming(&mut self, client: Client) -> &mut Vec<u8> {
        match self.tunnels.get_mut(&client.0) {
            Some(tunnel) => &mut tunnel.incoming,
            None => &mut self.host.peer(client.0).incoming,
        }
    }

    /// A new client that sends this at once.
    pub fn client_sends(&mut self, bytes: impl AsRef<[u8]>) -> Client {
        let client = self.client();
        self.send(client, bytes);
        client
    }

    /// Waits for exactly these bytes.
    pub fn expect(&mut self, client: Client, bytes: impl AsRef<[u8]>) {
        let expected = bytes.as_ref();
        let matching = |got: &[u8]| got.iter().zip(expected).take_while(|(a, b)| a == b).count();
        self.until(format!("{client:?} gets {}", show(expected)), |stage| {
            let ended = stage.host.peer(client.0).ended;
            let incoming = stage.incoming(client);
            let same = matching(incoming);
            if same == expected.len() {
                incoming.drain(..same);
                return Some(());
            }
            assert!(
                same == incoming.len() && ended.is_none(),
                "{client:?} should get {}\n but after {} bytes it gets {} {ended:?}",
                show(expected),
                same,
                show(&incoming[same..]),
            );
            None
        });
    }

    /// Waits until `needle` has come and takes all bytes up to its end.
    pub fn read_until(&mut self, client: Client, needle: impl AsRef<[u8]>) -> Vec<u8> {
        let needle = needle.as_ref();
        self.until(format!("{client:?} gets {}", show(needle)), |stage| {
            let incoming = stage.incoming(client);
            let at = incoming.windows(needle.len()).position(|window| window == needle)?;
            Some(incoming.drain(..at + needle.len()).collect())
        })
    }

    /// Waits for `count` bytes and takes them.
    pub fn read(&mut self, client: Client, count: usize) -> Vec<u8> {
        self.until(format!("{client:?} gets {count} bytes"), |stage| {
            let incoming = stage.incoming(client);
            (incoming.len() >= count).then(|| incoming.drain(..count).collect())
        })
    }

    /// Waits for a response with a Content-Length and takes it: its head and its body.
    pub fn response(&mut self, client: Client) -> (String, Vec<u8>) {
        let head = String::from_utf8(self.read_until(client, "\r\n\r\n")).expect("an ASCII head");
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        let length = length.unwrap_or_else(|| panic!("no Content-Length in {head}")).parse().expect("a length");
        (head, self.read(client, length))
    }

    /// Waits for the server's own page about `cause`, which has to have the cause's status; returns its head.
    pub fn expect_page(&mut self, client: Client, cause: Cause) -> String {
        let (head, body) = self.response(client);
        assert!(head.starts_with(&format!("HTTP/1.1 {} ", cause.status())), "{cause} should be told by {head}");
        let body = String::from_utf8(body).expect("a page of text");
        assert!(body.contains(cause.name()), "the page does not name {cause}: {body}");
        head
    }

    /// Waits for the server's end of the connection; nothing else may come before it.
    pub fn expect_closed(&mut self, client: Client) {
        assert_eq!(self.read_end(client), Ended::Eof, "{client:?} should be closed in good order");
    }

    /// Waits for the end of the connection; nothing else may come before it.
    pub fn read_end(&mut self, client: Client) -> Ended {
        let ended = self.end_of(client);
        let incoming = self.incoming(client);
        assert!(incoming.is_empty(), "{client:?} gets before its end {}", show(incoming));
        ended
    }

    /// Takes what has come.
    pub fn take_incoming(&mut self, client: Client) -> Vec<u8> {
        std::mem::take(self.incoming(client))
    }

    /// Waits for the end of the connection, of whatever kind, and takes the bytes before it.
    pub fn read_to_end(&mut self, client: Client) -> Vec<u8> {
        self.end_of(client);
        std::mem::take(self.incoming(client))
    }

    fn end_of(&mut self, client: Client) -> Ended {
        self.until(format!("the end of {client:?}"), |stage| stage.host.peer(client.0).ended)
    }

    /// Checks that nothing has come, not even an end, once the server has dealt with everything.
    pub fn expect_nothing(&mut self, client: Client) {
        self.settle();
        let incoming = self.incoming(client);
        assert!(incoming.is_empty(), "{client:?} should get nothing but gets {}", show(incoming));
        assert_eq!(self.host.peer(client.0).ended, None, "{client:?} should stay open");
    }

    /// Ends the client's sending direction after what it has to send.
    pub fn half_close(&mut self, client: Client) {
        self.host.peer(client.0).finish = Finish::HalfClose;
    }

    /// Closes the client's connection after what it has to send.
    pub fn close(&mut self, client: Client) {
        self.host.peer(client.0).finish = Finish::Close;
        self.forgiven.insert(client.0);
    }

    /// Resets the client's connection.
    pub fn reset(&mut self, client: Client) {
        self.host.peer(client.0).finish = Finish::Reset;
        self.forgiven.insert(client.0);
    }

    /// Makes the client stop reading, or go on.
    pub fn pause(&mut self, client: Client, paused: bool) {
        self.host.peer(client.0).paused = paused;
    }

    /// Bytes that the client could not send yet.
    pub fn unsent(&mut self, client: Client) -> usize {
        self.host.peer(client.0).outgoing.len()
    }

    /// What this peer gets from now on does not matter at the end.
    pub fn forgive(&mut self, client: Client) {
        self.forgiven.insert(client.0);
    }

    // --- WebSockets ---

    /// A new client that asks for a WebSocket.
    pub fn opens(&mut self, target: &str) -> Client {
        self.client_sends(frames::request(target, ""))
    }

    /// A client with an open WebSocket whose session `node` has got: the client and the session.
    pub fn websocket(&mut self, node: Node, target: &str) -> (Client, Vec<u8>) {
        let client = self.opens(target);
        let request = self.request(node);
        assert_eq!(request.get("HTTP_UPGRADE"), Some("websocket"), "{request:?}");
        self.expect(client, frames::SWITCHING);
        (client, request.sid)
    }

    /// Sends a frame, masked.
    pub fn send_frame(&mut self, client: Client, frame: &Frame) {
        self.send(client, frame.masked());
    }

    /// Waits for exactly this frame.
    pub fn expect_frame(&mut self, client: Client, frame: &Frame) {
        self.expect(client, frame.unmasked());
    }

    /// Waits for the next frame.
    pub fn frame(&mut self, client: Client) -> Frame {
        self.until(format!("a frame for {client:?}"), |stage| {
            let incoming = stage.incoming(client);
            let (frame, used) = Frame::read(incoming)?;
            incoming.drain(..used);
            Some(frame)
        })
    }

    /// Waits for so many frames.
    pub fn frames(&mut self, client: Client, count: usize) -> Vec<Frame> {
        let (mut frames, mut at) = (Vec::with_capacity(count), 0);
        self.until(format!("{count} frames for {client:?}"), |stage| {
            let incoming = stage.incoming(client);
            while frames.len() < count {
                let (frame, used) = Frame::read(&incoming[at..])?;
                frames.push(frame);
                at += used;
            }
            incoming.drain(..at);
            Some(())
        });
        frames
    }
}
