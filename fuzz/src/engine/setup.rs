//! Configurations, and an app that streams.

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

use blastbeat_proto::config::{Config, FileUse, Mode, NodeName};
use blastbeat_proto::engine::{App, AppInput, Replies, Routed};
use blastbeat_proto::http::Response;
use blastbeat_proto::message::Sid;
use blastbeat_proto::socketio::PacketKind;
use blastbeat_proto::time::Instant;
use bytes::Bytes;

use crate::tls::{CERTIFICATE, KEY};

/// What the engine is run with.
pub static CONFIGS: LazyLock<Vec<Arc<Config>>> =
    LazyLock::new(|| SETUPS.iter().map(|ini| Arc::new(config(ini))).collect());

fn config(ini: &str) -> Config {
    let (mut config, _) = Config::parse(ini.as_bytes(), "fuzz.ini", Mode::Strict)
        .unwrap_or_else(|problems| panic!("{problems:?} in\n{ini}"));
    for (usage, file) in config.files_mut() {
        file.body = match usage {
            FileUse::Key(_) => KEY.into(),
            _ => CERTIFICATE.into(),
        };
    }
    // A file can only name the app that is built in.
    for host in config.hosts.iter_mut().filter(|host| host.name == "example.org") {
        for node in host.nodes.iter_mut().filter(|node| matches!(node, NodeName::App(_))) {
            *node = NodeName::App("stream".into());
        }
    }
    config
}

const SETUPS: &[&str] = &[
    "[blastbeat]\nbind = *:80\nzmq = tcp://*:5000\n[blastbeat:*]\nnode = one\nnode = two\n",
    "[blastbeat]\nbind = *:80\nzmq = tcp://*:5000\nredispatch = all\nqueue = 2\nmax-hops = 2\nstats-freq = 7\n\
     [blastbeat:example.org]\nnode = o*\nnode = t*\nnode-capacity = 1\nalias = other\n",
    "[blastbeat]\nbind = *:80\nzmq = tcp://*:5000\nredispatch = none\nsessions = 3\nqueue = 1\nmemory = 1\n\
     connections = 3\nwritequeue-buffer = 900\nwritequeue-high = 200\npipeline-buffer = 50\nnode-queue-high = 300\n\
     node-queue-buffer = 700\nretry-buffer = 60\ncredit = 64\nmax-body = 900\nmax-nodes = 2\nmax-head = 400\n\
     max-message = 300\nping-freq = 12\nlinger-buffer = 90\n[blastbeat:*]\nnode = *\nnode-capacity = 2\nsessions = 2\n",
    "[blastbeat]\nbind = *:80 proxy\nbind = *:81\nzmq = tcp://*:5000\nhalf-close = on\ntrusted-proxy = 10.0.0.0/8\n\
     node-password = one secret\nnode-password = t* open\n[blastbeat:*]\nnode = one\nnode = t*\nnode-timeout = 2\n",
    "[blastbeat]\nbind = *:80\nzmq = tcp://*:5000\nzmq-connect = tcp://10.0.0.1:1\nwritequeue-high = 6000\n\
     [blastbeat:*]\nnode = app:welcome\n[blastbeat:example.org]\nnode = one\nnode = app:welcome\n\
     [blastbeat:other]\nnode = t*\nmax-body = 20\n",
    "[blastbeat]\nbind = *:80\nzmq-connect = tcp://[::1]:1\nzmq-connect = ipc:///n\nwritequeue-buffer = 1\n\
     writequeue-high = 1\nnode-queue-high = 1\nnode-queue-buffer = 1\npipeline-buffer = 1\ncredit = 1\nqueue = 0\n\
     retry-buffer = 0\nwrite-stall = 1\nheartbeat = 1\nhandshake-timeout = 1\nping-freq = 1\nnode-timeout = 1\n\
     timeout = 5\nmax-hops = 0\n[blastbeat:*]\nnode = one\nnode = *\nredispatch = all\n",
    "[blastbeat]\nbind = *:80\nzmq = tcp://*:5000\nmax-deliveries = 3\nnode-loss = move\nslow-client = drop-oldest\n\
     writequeue-buffer = 2k\nwritequeue-high = 1k\nwebsocket-ping = 5\nmax-groups = 1\n\
     [blastbeat:*]\nnode = one\nnode = t*\n[blastbeat:other]\nnode = one\nnode = o*\n",
    "[blastbeat]\nbind = *:80\nzmq = tcp://*:5000\nmax-deliveries = 1\nwebsocket-deflate = on\nnode-loss = move\n\
     websocket-max-message = 5000\nwebsocket-max-frames = 3\nwebsocket-close-timeout = 1\nqueue-timeout = 2\n\
     [blastbeat:*]\nnode = *\nnode-capacity = 1\nwebsocket-origin = https://*.example.org\nwebsocket-protocol = chat\n",
    "[blastbeat]\nbind = *:80\nzmq = tcp://*:5000\nwebsocket-deflate = context\nmemory = 1\nnode-queue-high = 300\n\
     node-queue-buffer = 700\nwritequeue-buffer = 90k\ntimeout = 9\ndrain-timeout = 1\n\
     [blastbeat:*]\nnode = one\nnode = two\nnode = app:welcome\n",
    "[blastbeat]\nbind-ssl = *:443\nbind-ssl = *:444 proxy\nzmq = tcp://*:5000\ncertificate = c\nkey = k\n\
     half-close = on\n[blastbeat:*]\nnode = one\nnode = two\nnode = app:welcome\n",
    "[blastbeat]\nbind-ssl = *:443 proxy\nbind-ssl = *:444\nzmq = tcp://*:5000\ncertificate = c\nkey = k\n\
     writequeue-buffer = 900\nwritequeue-high = 200\npipeline-buffer = 50\ncredit = 64\nhandshake-timeout = 2\n\
     connections = 5\nnode-queue-high = 300\nnode-queue-buffer = 700\nmemory = 1\n[blastbeat:*]\nnode = *\n",
    "[blastbeat]\nbind = *:80 h2c\nzmq = tcp://*:5000\ncredit = 200\nnode-loss = move\n\
     [blastbeat:*]\nnode = one\nnode = t*\n[blastbeat:example.org]\nnode = one\nnode = two\nnode = app:welcome\n",
    "[blastbeat]\nbind = *:80 h2c\nbind = *:81 proxy h2c\nzmq = tcp://*:5000\nmemory = 1\nwritequeue-buffer = 900\n\
     writequeue-high = 200\nh2-stream-queue = 300\nh2-stream-window = 16384\nnode-queue-high = 100\nredispatch = all\n\
     node-queue-buffer = 700\nretry-buffer = 60\nmax-body = 900\nh2-streams = 4\nmax-deliveries = 2\ncredit = 64\n\
     write-stall = 3\nslow-client = drop-oldest\nwebsocket-ping = 5\nwebsocket-close-timeout = 1\n\
     [blastbeat:*]\nnode = one\nnode = *\nnode-capacity = 3\n",
    "[blastbeat]\nbind = *:80\nzmq = tcp://*:5000\nsocketio-recovery = 20\nmax-deliveries = 2\n\
     engineio = /engine.io/ 4 3\nqueue-timeout = 5\n[blastbeat:*]\nnode = one\nnode = two\n",
    "[blastbeat]\nbind = *:80 h2c\nzmq = tcp://*:5000\nsocketio-recovery = 20\nsocketio-recovery-buffer = 300\n\
     engineio = /engine.io/ 4 3\nwritequeue-buffer = 900\nwritequeue-high = 200\nnode-queue-high = 100\n\
     node-queue-buffer = 700\nmemory = 1\nsessions = 3\nmax-deliveries = 1\nsocketio-max-payload = 2000\n\
     socketio-max-packets = 2\nsocketio-max-attachments = 1\nsocketio-max-depth = 5\nsocketio-max-namespaces = 2\n\
     socketio-ping-interval = 3\nsocketio-ping-timeout = 2\nsocketio-connect-timeout = 4\n\
     socketio-upgrade-timeout = 1\nqueue-timeout = 2\ncredit = 64\n\
     [blastbeat:*]\nnode = *\nnode-capacity = 2\n",
    "[blastbeat]\nbind = *:80 h2c\nzmq = tcp://*:5000\nsocketio-recovery = 5\nengineio = /engine.io/ 4 3\n\
     slow-client = drop-oldest\nwritequeue-buffer = 2k\nnode-timeout = 3\ntimeout = 9\n\
     [blastbeat:*]\nnode = one\nnode = app:welcome\nwebsocket-origin = https://*.example.org\n\
     [blastbeat:example.org]\nnode = one\nnode = two\nnode = app:welcome\n",
    "[blastbeat]\nbind-ssl = *:443\nzmq = tcp://*:5000\ncertificate = c\nkey = k\nsocketio-recovery = 20\n\
     engineio = /engine.io/ 4 3\n[blastbeat:*]\nnode = one\nnode = *\n",
    "[blastbeat]\nbind = *:80 h2c spdy=2,3.1\nbind = *:81 proxy spdy=3\nbind = *:82 spdy=3,3.1\nzmq = tcp://*:5000\n\
     credit = 200\nnode-loss = move\nsocketio-recovery = 20\nengineio = /engine.io/ 4 3\n\
     [blastbeat:*]\nnode = one\nnode = t*\n[blastbeat:example.org]\nnode = one\nnode = two\nnode = app:welcome\n",
    "[blastbeat]\nbind = *:80 h2c spdy=2,3,3.1\nbind = *:81 spdy=2,3\nzmq = tcp://*:5000\nmemory = 1\n\
     writequeue-buffer = 900\nwritequeue-high = 200\nh2-stream-queue = 300\nh2-stream-window = 16384\n\
     h2-connection-window = 65536\nnode-queue-high = 100\nredispatch = all\nnode-queue-buffer = 700\n\
     retry-buffer = 60\nmax-body = 900\nh2-streams = 4\nh2-resets = 9\nh2-errors = 5\nh2-pings = 9\ncredit = 64\n\
     write-stall = 3\nmax-head = 400\nsessions = 6\n[blastbeat:*]\nnode = one\nnode = *\nnode-capacity = 3\n",
];

/// Answers with what it is sent, then with more than a client's queue likes, piece by piece as there is room.
#[derive(Default)]
pub struct Stream {
    open: BTreeSet<Sid>,
    left: usize,
}

impl Stream {
    fn go_on(&mut self, sid: Sid, replies: &mut Replies) {
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                replies.body(sid, Bytes::from(vec![b'x'; 5000]));
                replies.wait_for_room(sid);
            }
            None => replies.end(sid),
        }
    }
}

impl App for Stream {
    fn handle(&mut self, input: AppInput<'_>, replies: &mut Replies, _now: Instant) {
        match input {
            AppInput::Request { sid, request, .. } => {
                assert!(self.open.insert(sid), "a session begins once");
                self.left = 3;
                if request.method() == b"DELETE" {
                    return replies.retry(sid);
                }
                let head = Response::builder(200).build().expect("the head is sound");
                replies.head(sid, head);
                if request.method() == b"GET" {
                    self.go_on(sid, replies);
                }
            }
            AppInput::Body { sid, bytes } => {
                assert!(self.open.contains(&sid), "a body belongs to a request");
                replies.body(sid, bytes);
            }
            AppInput::BodyEnd { sid } | AppInput::Room { sid } => {
                assert!(self.open.contains(&sid), "the session is open");
                self.go_on(sid, replies);
            }
            AppInput::SocketIo { sid, packet } => {
                assert!(self.open.contains(&sid), "packets belong to a session");
                match packet.kind() {
                    PacketKind::Connect => replies.accept(sid, packet.namespace()),
                    PacketKind::Event => {
                        replies.join(sid, "a");
                        replies.to_group(sid, "a", Routed::SocketIo(packet));
                    }
                    PacketKind::Disconnect => replies.end(sid),
                    PacketKind::Ack | PacketKind::Refuse => {}
                }
            }
            AppInput::End { sid, .. } => assert!(self.open.remove(&sid), "a session ends once"),
            AppInput::Wake | AppInput::Timeout => {
                for sid in &self.open {
                    replies.body(*sid, Bytes::from_static(b"wake"));
                }
            }
            _ => {}
        }
    }
}
