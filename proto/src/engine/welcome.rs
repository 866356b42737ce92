//! The app that serves when nothing else is configured: a page that says what this is and how to attach a node.

use bytes::Bytes;

use super::app::{App, AppInput, Replies};
use crate::http::Response;
use crate::message::Sid;
use crate::time::Instant;

/// A node in ten lines of Python, for the server as it is without a configuration. It runs as it stands.
pub const NODE_EXAMPLE: &str = r#"import zmq
node = zmq.Context().socket(zmq.DEALER)
node.setsockopt(zmq.IDENTITY, b"hello")
node.connect("tcp://127.0.0.1:5000")
node.send_multipart([b"", b"pong", b""])
while True:
    sid, kind, body = node.recv_multipart()
    if kind == b"ping":
        node.send_multipart([sid, b"pong", b""])
    elif kind == b"uwsgi":
        node.send_multipart([sid, b"headers", b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n"])
        node.send_multipart([sid, b"body", b"Hello from a node\n"])
        node.send_multipart([sid, b"end", b""])
"#;

const PAGE_HEAD: &str = r#"<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>BlastBeat</title>
<style>
body { font: 1.05rem/1.6 system-ui, sans-serif; max-width: 46rem; margin: 3rem auto; padding: 0 1rem; color: #222; background: #fafaf7 }
pre { background: #22252a; color: #e8e6df; padding: 1rem; overflow-x: auto; font-size: .85rem; line-height: 1.45; border-radius: 6px }
h1 { font-size: 1.8rem; margin-bottom: .2rem } code { background: #eceae2; padding: .1em .3em; border-radius: 3px }
pre code { background: none; padding: 0 }
</style>
<h1>BlastBeat is running</h1>
<p>This page comes from an app inside the server. Requests go to <em>nodes</em>: programs that connect to
<code>tcp://127.0.0.1:5000</code> as ZeroMQ DEALER sockets and read and write messages of three frames,
<code>[session id, type, body]</code>.</p>
<p>Attach one: save this as <code>node.py</code>, then <code>pip install pyzmq</code> and <code>python3 node.py</code>.
While it runs, it answers here in place of this page.</p>
<pre><code>"#;

const PAGE_TAIL: &str = "</code></pre>\n<p>To serve your own virtual hosts, start the server with an ini file: <code>--help</code> tells how.</p>\n</html>\n";

/// The app. Make one for each engine.
pub struct Welcome {
    page: (Response, Bytes),
    missing: (Response, Bytes),
    refused: (Response, Bytes),
}

impl Welcome {
    /// The name by which a virtual host asks for it: `node = app:welcome`.
    pub const NAME: &'static str = "welcome";

    /// The app with its pages made.
    pub fn new() -> Self {
        let mut page = PAGE_HEAD.to_string();
        for character in NODE_EXAMPLE.chars() {
            match character {
                '<' => page.push_str("&lt;"),
                '&' => page.push_str("&amp;"),
                other => page.push(other),
            }
        }
        page.push_str(PAGE_TAIL);
        Self {
            page: answer(200, "text/html; charset=utf-8", None, page),
            missing: answer(404, "text/plain; charset=utf-8", None, "There is only one page here: /\n".into()),
            refused: answer(
                405,
                "text/plain; charset=utf-8",
                Some("GET, HEAD"),
                "This page can only be read.\n".into(),
            ),
        }
    }
}

impl Default for Welcome {
    fn default() -> Self {
        Self::new()
    }
}

fn answer(status: u16, kind: &str, allow: Option<&str>, body: String) -> (Response, Bytes) {
    let mut head =
        Response::builder(status).field("Content-Type", kind).framing(crate::http::Framing::Length(body.len() as u64));
    if let Some(methods) = allow {
        head = head.field("Allow", methods);
    }
    (head.build().expect("these fields are constants without line breaks"), Bytes::from(body))
}

impl App for Welcome {
    fn handle(&mut self, input: AppInput<'_>, replies: &mut Replies, _now: Instant) {
        match input {
            AppInput::Request { sid, request, .. } => {
                let (head, body) = match (request.method(), request.path()) {
                    (b"GET" | b"HEAD", b"/") => &self.page,
                    (b"GET" | b"HEAD", _) => &self.missing,
                    _ => &self.refused,
                };
                respond(replies, sid, head, body);
            }
            AppInput::Body { .. }
            | AppInput::WebSocket { .. }
            | AppInput::Close { .. }
            | AppInput::Msg { .. }
            | AppInput::BodyEnd { .. }
            | AppInput::End { .. }
            | AppInput::Room { .. }
            | AppInput::Wake
            | AppInput::Timeout => {}
        }
    }
}

fn respond(replies: &mut Replies, sid: Sid, head: &Response, body: &Bytes) {
    replies.respond(sid, head.clone(), body.clone());
}
