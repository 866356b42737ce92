//! The async kit against a small server on loopback.

#![allow(missing_docs, clippy::unwrap_used, reason = "a test: what fails panics")]

// The server is the same whatever the kit.
#[path = "../../../runtime-mio/tests/node/server.rs"]
mod server;

use std::io::ErrorKind;
use std::{env, fs, process, thread};

use blastbeat_smol::node::{Capabilities, Kind, Message, Node, Route, Sid};
use server::{OTHER, SID, Server};

fn message(sid: Option<[u8; 16]>, kind: Kind, body: &'static str) -> Message {
    Message { sid: sid.map(Sid), kind, body: body.into() }
}

#[test]
fn a_node_answers_requests_and_pings() {
    async_io::block_on(async {
        let server = Server::tcp();
        let mut node = Node::connect(&server.endpoint(), "FOO", Capabilities::default()).unwrap();
        let server = thread::spawn(move || {
            let mut link = server.accept();
            link.send(b"", "spawn", b"");
            link.send(b"", "ping", b"");
            assert_eq!(link.recv(), [b"".to_vec(), b"pong".to_vec(), b"".to_vec()]);
            link.send(&SID, "uwsgi", b"request");
            assert_eq!(link.recv(), [SID.to_vec(), b"headers".to_vec(), b"head".to_vec()]);
            assert_eq!(link.recv(), [SID.to_vec(), b"end".to_vec(), b"".to_vec()]);
        });
        assert_eq!(node.recv().await.unwrap(), message(None, Kind::Spawn, ""));
        assert_eq!(node.recv().await.unwrap(), message(Some(SID), Kind::Uwsgi, "request"));
        assert!(node.send(Sid(SID), Kind::Headers, "head").await.unwrap());
        assert!(node.send(Sid(SID), Kind::End, "").await.unwrap());
        node.flush().await.unwrap();
        server.join().unwrap();
    });
}

#[test]
fn a_node_comes_back_after_its_link_broke_and_knows_that_its_sessions_are_over() {
    async_io::block_on(async {
        let server = Server::tcp();
        let mut node = Node::connect(&server.endpoint(), "FOO", Capabilities::default()).unwrap();
        let server = thread::spawn(move || {
            server.accept().send(&SID, "uwsgi", b"first");
            let mut link = server.accept();
            link.send(&OTHER, "uwsgi", b"second");
            assert_eq!(link.recv(), [OTHER.to_vec(), b"retry".to_vec(), b"".to_vec()]);
        });
        assert_eq!(node.recv().await.unwrap(), message(Some(SID), Kind::Uwsgi, "first"));
        assert_eq!(node.recv().await.unwrap(), message(None, Kind::End, ""));
        assert!(!node.send(Sid(SID), Kind::Body, "nobody waits for it").await.unwrap());
        assert_eq!(node.recv().await.unwrap(), message(Some(OTHER), Kind::Uwsgi, "second"));
        assert!(node.send(Sid(OTHER), Kind::Retry, "").await.unwrap());
        node.flush().await.unwrap();
        server.join().unwrap();
    });
}

#[test]
fn a_large_response_keeps_to_its_credit_and_arrives_whole() {
    async_io::block_on(async {
        const PIECE: usize = 100_000;
        const PIECES: u8 = 30;
        const CREDIT: usize = 64 * 1024;
        let server = Server::tcp();
        let capabilities = Capabilities { credit: true, ..Capabilities::default() };
        let mut node = Node::connect(&server.endpoint(), "FOO", capabilities).unwrap();
        let server = thread::spawn(move || {
            let mut link = server.accept();
            link.send(&SID, "uwsgi", b"");
            link.send(&SID, "credit", CREDIT.to_string().as_bytes());
            let mut body = Vec::new();
            loop {
                let frames = link.recv();
                if frames[1] == b"end" {
                    return body;
                }
                assert!(!frames[2].is_empty() && frames[2].len() <= CREDIT);
                link.send(&SID, "credit", frames[2].len().to_string().as_bytes());
                body.extend_from_slice(&frames[2]);
            }
        });
        let sid = node.recv().await.unwrap().sid.unwrap();
        for byte in 0..PIECES {
            assert!(node.send(sid, Kind::Body, vec![byte; PIECE]).await.unwrap());
        }
        assert!(node.send(sid, Kind::End, "").await.unwrap());
        // The rest leaves as credit comes, until the server hangs up.
        assert_eq!(node.recv().await.unwrap(), message(None, Kind::End, ""));
        let body = server.join().unwrap();
        assert_eq!(body.len(), PIECE * usize::from(PIECES));
        assert!(body.chunks(PIECE).zip(0_u8..).all(|(piece, byte)| piece.iter().all(|other| *other == byte)));
    });
}

#[test]
fn messages_for_groups_keep_their_place_and_need_no_credit() {
    async_io::block_on(async {
        let server = Server::tcp();
        let capabilities = Capabilities { credit: true, binary: true, ..Capabilities::default() };
        let mut node = Node::connect(&server.endpoint(), "FOO", capabilities).unwrap();
        let server = thread::spawn(move || {
            let mut link = server.accept();
            link.send(&SID, "uwsgi", b"");
            link.send(&SID, "credit", b"1");
            link.send(&SID, "websocket/text", b"hello");
            let mut heard = Vec::new();
            while heard.len() < 5 {
                let [sid, kind, body]: [_; 3] = link.recv().try_into().unwrap();
                let lines = [sid, kind, body].map(|frame| String::from_utf8(frame).unwrap());
                if lines[1] == "websocket/binary" {
                    // All of it came, though there was credit for one byte only.
                    link.send(&SID, "credit", b"5");
                }
                heard.push(lines.join(" "));
            }
            heard
        });
        assert_eq!(node.recv().await.unwrap(), message(Some(SID), Kind::Uwsgi, ""));
        assert!(node.send(Sid(SID), Kind::Join, "chat").await.unwrap());
        let heard = node.recv().await.unwrap();
        assert_eq!(heard, message(Some(SID), Kind::WebSocketText, "hello"));
        assert!(node.send(Sid(SID), Kind::WebSocketBinary, heard.body).await.unwrap());
        let before = node.writable(Sid(SID));
        assert!(node.send(Sid(SID), Kind::WebSocketText, "waits").await.unwrap());
        assert!(node.writable(Sid(SID)) <= before - "waits".len());
        let chat = Route::Group(b"chat");
        assert!(node.send_routed(Some(Sid(SID)), chat, Kind::WebSocketText, "behind").await.unwrap());
        assert!(node.send_routed(None, chat, Kind::WebSocketText, "from the node").await.unwrap());
        let unroutable = node.send_routed(None, chat, Kind::Join, "x").await.unwrap_err();
        assert_eq!(unroutable.kind(), ErrorKind::InvalidInput);
        // The rest leaves as credit comes, until the server hangs up.
        assert_eq!(node.recv().await.unwrap(), message(None, Kind::End, ""));
        let sid = std::str::from_utf8(&SID).unwrap();
        let expected = [
            format!("{sid} join chat"),
            format!("{sid} websocket/binary hello"),
            " chat:websocket/text from the node".to_owned(),
            format!("{sid} websocket/text waits"),
            format!("{sid} chat:websocket/text behind"),
        ];
        assert_eq!(server.join().unwrap(), expected);
        assert!(!node.send_routed(None, chat, Kind::WebSocketText, "nobody hears it").await.unwrap());
    });
}

#[test]
fn a_node_may_start_before_its_server_and_speak_over_a_unix_socket() {
    async_io::block_on(async {
        let path = env::temp_dir().join(format!("blastbeat-smol-node-{}", process::id()));
        let mut node = Node::connect(&format!("ipc://{}", path.display()), "FOO", Capabilities::default()).unwrap();
        let server = thread::spawn({
            let path = path.clone();
            move || Server::unix(&path).accept().send(&SID, "uwsgi", b"request")
        });
        let received = node.recv().await;
        server.join().unwrap();
        fs::remove_file(&path).unwrap();
        assert_eq!(received.unwrap(), message(Some(SID), Kind::Uwsgi, "request"));
    });
}

#[test]
fn a_node_that_is_refused_for_good_says_so() {
    async_io::block_on(async {
        let server = Server::tcp();
        let mut node = Node::connect(&server.endpoint(), "FOO", Capabilities::default()).unwrap();
        let server = thread::spawn(move || server.refuse());
        assert_eq!(node.recv().await.unwrap_err().kind(), ErrorKind::PermissionDenied);
        server.join().unwrap();
    });
}

#[test]
fn malformed_endpoints_and_identities_are_refused() {
    let connect = |endpoint, identity: &str| Node::connect(endpoint, identity, Capabilities::default()).map(|_| ());
    assert!(connect("tcp://127.0.0.1:5000", "FOO").is_ok());
    for (endpoint, identity) in [("127.0.0.1:5000", "FOO"), ("tcp://127.0.0.1", "FOO"), ("ipc:///x", "\0FOO")] {
        assert_eq!(connect(endpoint, identity).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    assert!(connect("ipc:///x", &"x".repeat(256)).is_err());
}
