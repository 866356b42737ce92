#[cfg(feature = "__tls")]
mod certificates;
mod problems;
mod socketio;
mod tls;
mod warnings;

use std::path::PathBuf;
use std::time::Duration;

use super::*;
use crate::entropy::{Entropy, SeededEntropy};

/// The example of the original server's documentation, in so far as it is served here.
const ORIGINAL: &str = "\
[uwsgi]
master = true
[blastbeat]
bind = 0.0.0.0:8080 17
bind = fe80::1%2:8085
zmq = tcp://192.168.173.5:5000
; do not use more than 2GB of memory
memory = 2000
sessions = 100
writequeue-buffer = 10485760
ping-freq = 1.5
stats-freq = 30
uid = www-data
gid = 33
max-hops = 3
timeout = 60
max-headers = 32

[blastbeat:localhost:8080]
node = foobar1
alias = localhost
[blastbeat:secure.local]
node = foobar2
node = foobar3
node = foobar2
bind = 0.0.0.0:8181
zmq = tcp://127.0.0.1:5001
sessions = 10
timeout = 5
[blastbeat:localhost:8080]
node = foobar4
[blastbeat:empty]
";

fn parsed(text: &str) -> Config {
    match Config::parse(text.as_bytes(), "test.ini", Mode::Strict) {
        Ok((config, _)) => config,
        Err(problems) => panic!("{}", shown(&problems)),
    }
}

fn shown(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("{problem}\n")).collect()
}

/// The problems of a file, as they are printed.
fn problems(text: &str) -> String {
    match Config::parse(text.as_bytes(), "test.ini", Mode::Strict) {
        Ok(_) => panic!("there is no problem in:\n{text}"),
        Err(problems) => shown(&problems),
    }
}

/// A file that is sound but for the given lines, which come first in its sections.
fn around(global: &str, host: &str) -> String {
    format!("[blastbeat]\n{global}\nbind = *:80\nzmq = tcp://127.0.0.1:5000\n[blastbeat:a.example]\n{host}\nnode = n\n")
}

fn assert_problem(text: &str, expected: &str) {
    assert_eq!(problems(text).trim_end(), expected, "{text}");
}

fn tcp(address: &str) -> BindAddr {
    BindAddr::Tcp(address.parse().unwrap())
}

fn names(config: &Config, hosts: &[usize]) -> Vec<String> {
    hosts.iter().map(|host| config.hosts[*host].name.clone()).collect()
}

/// The law of the parsed form: it parses back to the same.
fn assert_round_trip(config: &Config) {
    let text = config.to_string();
    let (again, warnings) = Config::parse(text.as_bytes(), "parsed form", Mode::Strict)
        .unwrap_or_else(|problems| panic!("{}in\n{text}", shown(&problems)));
    assert_eq!(&again, config, "{text}");
    assert_eq!(shown(&warnings), "", "{text}");
}

#[test]
fn the_original_files_are_read() {
    let config = parsed(ORIGINAL);
    let http = Serves::Http { proxy: false, tls: false, http2: false, spdy: Spdy::NONE };
    let expected = [
        Listener { address: tcp("0.0.0.0:8080"), serves: http, hosts: vec![], priority: 17 },
        Listener { address: tcp("[fe80::1%2]:8085"), serves: http, hosts: vec![], priority: 1 },
        Listener { address: tcp("192.168.173.5:5000"), serves: Serves::Zmq, hosts: vec![], priority: 1 },
        Listener { address: tcp("0.0.0.0:8181"), serves: http, hosts: vec![1], priority: 1 },
        Listener { address: tcp("127.0.0.1:5001"), serves: Serves::Zmq, hosts: vec![1], priority: 1 },
    ];
    assert_eq!(config.listeners, expected);
    assert_eq!(config.limits.memory_bytes, 2000 << 20);
    assert_eq!(config.limits.sessions, 100);
    assert_eq!(config.limits.connections, 200, "twice the sessions, unless it is set");
    assert_eq!(config.limits.write_queue_bytes, 10_485_760);
    assert_eq!(config.ping_freq, Duration::from_millis(1500));
    assert_eq!(config.stats_freq, Duration::from_secs(30));
    assert_eq!(config.privileges, Privileges { user: Some("www-data".into()), group: Some("33".into()) });
    assert_eq!((config.limits.hops, config.limits.fields), (3, 32));
    assert_eq!(config.limits.session_timeout, Duration::from_secs(60));

    let [localhost, secure] = &config.hosts[..] else { panic!("{:?}", config.hosts) };
    assert_eq!(localhost.name, "localhost:8080");
    assert_eq!(localhost.aliases, ["localhost"]);
    assert_eq!(localhost.nodes, ["foobar1", "foobar4"].map(|name| NodeName::Exact(name.into())));
    assert_eq!(secure.nodes, ["foobar2", "foobar3"].map(|name| NodeName::Exact(name.into())));
    assert_eq!((secure.sessions, secure.session_timeout), (Some(10), Some(Duration::from_secs(5))));
    assert_round_trip(&config);
}

#[test]
fn a_section_without_keys_makes_no_host_and_a_warning() {
    let (_, warnings) = Config::parse(ORIGINAL.as_bytes(), "bb.ini", Mode::Strict).unwrap();
    assert_eq!(shown(&warnings), "bb.ini:32: [blastbeat:empty]: has no keys and is ignored; name at least a node\n");
}

#[test]
fn every_key_of_this_version_is_read() {
    let config = parsed(
        "[blastbeat]\n\
         bind = *:80 proxy 3 h2c spdy=3.1,2\n\
         bind = unix:/run/bb.sock\n\
         zmq = ipc:///run/nodes.sock\n\
         zmq-connect = tcp://node.example:5000\n\
         max-body = 2m\nretry-buffer = 64k\nnode-timeout = 0.5\nnode-capacity = 7\nqueue = 5\nqueue-timeout = 1\n\
         head-timeout = 2\nbody-timeout = 3\nkeep-alive-timeout = 4\ndrain-timeout = 0\nconnections = 50\n\
         sessions = 10\nmax-message = 1g\nredispatch = all\nhalf-close = on\n\
         trusted-proxy = 10.0.0.0/8\ntrusted-proxy = ::1\n\
         error-page = 503 /etc/busy page.html\naccess-log = off\nlog-format = json\nlog-level = warn\n\
         node-password = web-1 open sesame\n\
         slow-client = drop-oldest\nnode-loss = move\nwebsocket-deflate = on\n\
         [blastbeat:*]\n\
         node = app:welcome\nnode = web-*\nnode = web-1\nredispatch = none\nmax-body = 0\nnode-timeout = 9\n\
         slow-client = disconnect\nnode-loss = close\nwebsocket-deflate = context\n\
         websocket-origin = https://*.Example.org\nwebsocket-origin = null\nwebsocket-origin = https://*.example.org:443\n\
         websocket-protocol = chat\nwebsocket-protocol = v2.chat  chat\tChat\n\
         [blastbeat:b]\nnode = web-1\nnode-capacity = 0\nsessions = 0\ntimeout = 0\n",
    );
    let spdy = Spdy { v2: true, v3: false, v31: true };
    assert_eq!(config.listeners[0].serves, Serves::Http { proxy: true, tls: false, http2: true, spdy });
    assert_eq!(config.listeners[0].priority, 3);
    assert_eq!(config.listeners[1].address, BindAddr::Unix("/run/bb.sock".into()));
    assert_eq!(config.listeners[2].address, BindAddr::Unix("/run/nodes.sock".into()));
    let address = Address::Tcp { host: "node.example".into(), port: 5000 };
    assert_eq!(config.dials, [Dial { address, hosts: vec![] }]);
    let limits = &config.limits;
    assert_eq!((limits.body_bytes, limits.retry_bytes, limits.queue), (2 << 20, 65_536, 5));
    assert_eq!((limits.connections, limits.sessions, limits.message_bytes), (50, 10, 1 << 30));
    let times = [limits.head_timeout, limits.body_timeout, limits.keep_alive_timeout, limits.queue_timeout];
    assert_eq!(times, [2, 3, 4, 1].map(Duration::from_secs));
    assert_eq!(limits.node_timeout, Duration::from_millis(500));
    assert_eq!(config.drain_timeout, Duration::ZERO);
    assert_eq!((config.redispatch, config.half_close, config.access_log), (Redispatch::All, true, false));
    assert_eq!(config.log, Log { json: true, level: LogLevel::Warn });
    assert_eq!(config.trusted_proxies.len(), 2);
    assert_eq!(config.error_pages[&503].path, PathBuf::from("/etc/busy page.html"));
    assert_eq!(config.passwords, [Password { node: "web-1".into(), password: "open sesame".into() }]);

    let [star, b] = &config.hosts[..] else { panic!("{:?}", config.hosts) };
    let nodes = [NodeName::App("welcome".into()), NodeName::Pattern("web-*".into()), NodeName::Exact("web-1".into())];
    assert_eq!(star.nodes, nodes);
    assert_eq!((star.redispatch, star.body_bytes), (Some(Redispatch::None), Some(0)));
    assert_eq!(star.node_timeout, Some(Duration::from_secs(9)));
    assert_eq!(star.node_capacity, Some(7), "the global capacity is the hosts' default");
    assert_eq!((b.node_capacity, b.sessions, b.session_timeout), (None, None, None), "0 is as if not written");
    let global = (config.slow_client, config.node_loss, config.websocket_deflate);
    assert_eq!(global, (SlowClient::DropOldest, NodeLoss::Move, WebSocketDeflate::On));
    let own = (star.slow_client, star.node_loss, star.websocket_deflate);
    assert_eq!(own, (Some(SlowClient::Disconnect), Some(NodeLoss::Close), Some(WebSocketDeflate::Context)));
    assert_eq!((b.slow_client, b.node_loss, b.websocket_deflate), (None, None, None));
    assert_eq!(star.websocket_origins, ["https://*.example.org", "null"], "each once");
    assert_eq!(star.websocket_protocols, ["chat", "v2.chat", "Chat"], "in their order, each once");
    assert!(b.websocket_origins.is_empty() && b.websocket_protocols.is_empty());
    assert_round_trip(&config);
}

#[test]
fn a_ping_can_be_turned_off_and_other_times_cannot() {
    assert_eq!(parsed(&around("websocket-ping = 0", "")).limits.websocket_ping, Duration::ZERO);
    assert_eq!(parsed(&around("websocket-ping = 2.5", "")).limits.websocket_ping, Duration::from_millis(2500));
    assert_round_trip(&parsed(&around("websocket-ping = 0", "")));
    assert_problem(
        &around("websocket-close-timeout = 0", ""),
        "test.ini:2: websocket-close-timeout: 0 seconds are no time at all; write more than 0",
    );
}

#[test]
fn a_node_can_answer_with_as_much_as_a_client_may_say() {
    let message_bytes = |global: &str| {
        let config = parsed(&around(global, ""));
        assert_round_trip(&config);
        config.limits.message_bytes
    };
    assert_eq!(message_bytes("websocket-max-message = 32m"), 33 << 20);
    assert_eq!(message_bytes("websocket-max-message = 1k"), 17 << 20, "bodies may be longer");
    assert_eq!(message_bytes("websocket-max-message = 32m\nmax-message = 2m"), 2 << 20);
    assert_eq!(message_bytes("websocket-max-message = 281474976710656"), 1 << 48);
    assert_eq!(message_bytes("socketio-max-payload = 64m"), 65 << 20);
    assert_eq!(message_bytes(""), 17 << 20);
}

#[test]
fn a_host_with_listeners_of_its_own_is_reached_by_no_shared_one() {
    let config = parsed(
        "[blastbeat]\nbind = *:80\nbind = *:81\nzmq = tcp://127.0.0.1:5000\n\
         [blastbeat:a]\nnode = a\nbind = *:82\n\
         [blastbeat:b]\nnode = b\nzmq = tcp://127.0.0.1:5001\n\
         [blastbeat:c]\nnode = c\nbind = *:82\nzmq-connect = ipc:///c.sock\n\
         [blastbeat:d]\nnode = d\nzmq = tcp://127.0.0.1:5001\n",
    );
    let reached: Vec<_> = config
        .listeners
        .iter()
        .map(|listener| format!("{} {}", listener.endpoint(), names(&config, &config.reached_by(listener)).join(" ")))
        .collect();
    assert_eq!(
        reached,
        ["0.0.0.0:80 b d", "0.0.0.0:81 b d", "tcp://127.0.0.1:5000 a", "0.0.0.0:82 a c", "tcp://127.0.0.1:5001 b d",]
    );
    assert_eq!(names(&config, &config.carried_by(&config.dials[0])), ["c"]);
    assert_round_trip(&config);
}

#[test]
fn an_address_that_is_shared_and_a_hosts_own_leads_to_both() {
    let config = parsed(
        "[blastbeat]\nbind = *:80\nbind = *:81\nzmq = tcp://127.0.0.1:5000\n\
         [blastbeat:a]\nnode = a\nbind = *:80\n\
         [blastbeat:b]\nnode = b\n",
    );
    let reached: Vec<_> =
        config.listeners.iter().map(|listener| names(&config, &config.reached_by(listener))).collect();
    assert_eq!(config.listeners[0].serves, Serves::Zmq);
    assert_eq!(reached[1..], [vec!["a", "b"], vec!["b"]]);
    assert_round_trip(&config);
}

#[test]
fn a_redacted_configuration_keeps_no_password() {
    let text =
        around("node-password = n open sesame", "") + "[blastbeat:b]\nnode = x\nzmq = ipc:///b\nnode-password = x s3\n";
    let config = parsed(&text);
    let redacted = config.redacted();
    assert_eq!(redacted.passwords[0].password, "***********");
    assert_eq!(redacted.hosts[1].passwords[0].password, "**");
    assert!(!redacted.to_string().contains("sesame") && !redacted.to_string().contains("s3"));
    assert_round_trip(&redacted);
}

#[test]
fn the_built_in_configuration_is_sound() {
    let config = Config::builtin();
    assert_round_trip(&config);
    assert!(config.warnings().is_empty());
    assert_eq!(config.hosts[0].name, "*");
}

#[test]
fn files_are_filled_in_from_outside() {
    let mut config = parsed(&around("error-page = 404 /a\nerror-page = 503 /b", ""));
    for (usage, file) in config.files_mut() {
        file.body = format!("{usage:?} from {}", file.path.display()).into();
    }
    assert_eq!(config.error_pages[&404].body, "ErrorPage(404) from /a");
    assert_eq!(config.error_pages[&503].body, "ErrorPage(503) from /b");
}

/// Every field, so that one without a key does not compile, or does not come back.
#[test]
fn every_limit_has_a_key() {
    let time = |n| Duration::new(n, 5_000_000);
    let limits = Limits {
        head_bytes: 1001,
        target_bytes: 1002,
        fields: 1003,
        chunk_line_bytes: 1004,
        trailer_bytes: 1005,
        body_bytes: 1 << 48,
        pipeline_bytes: 1007,
        head_timeout: time(1),
        body_timeout: time(2),
        keep_alive_timeout: time(3),
        drain_bytes: 1008,
        drain_timeout: time(4),
        connections: 1009,
        write_queue_bytes: 9010,
        write_queue_high: 1011,
        write_stall: time(5),
        memory_bytes: 123_456_789,
        sessions: 1012,
        session_timeout: time(6),
        node_timeout: time(7),
        hops: 1013,
        retry_bytes: 1014,
        queue: 1015,
        queue_timeout: time(8),
        credit_bytes: 1016,
        websocket_message_bytes: 1022,
        websocket_frames: 1023,
        websocket_ping: time(11),
        websocket_close_timeout: time(12),
        websocket_farewell_delay: Duration::from_millis(70),
        socketio_payload_bytes: 3001,
        socketio_packets: 3002,
        socketio_attachments: 3003,
        socketio_depth: 304,
        socketio_namespaces: 3005,
        socketio_ping_interval: time(13),
        socketio_ping_timeout: time(14),
        socketio_connect_timeout: time(15),
        socketio_upgrade_timeout: time(16),
        socketio_recovery: time(17),
        socketio_recovery_bytes: 3006,
        groups: 1024,
        deliveries: 1025,
        message_bytes: 1017,
        frames: 1018,
        h2_streams: 2001,
        h2_stream_window: 20_002,
        h2_connection_window: 70_003,
        h2_stream_queue: 2004,
        h2_resets: 2005,
        h2_errors: 2006,
        h2_continuations: 2007,
        h2_settings: 2008,
        h2_pings: 2009,
        h2_empty_frames: 2010,
        h2_window_updates: 2011,
        h2_priorities: 2012,
        handshake_timeout: time(9),
        heartbeat: time(10),
        node_queue_high: 1019,
        node_queue_bytes: 9020,
        node_links: 1021,
    };
    assert_round_trip(&Config { limits, ..Config::builtin() });
}

#[test]
fn whatever_is_read_is_written_and_read_back_the_same() {
    let lines = [
        "[blastbeat]",
        "[blastbeat:a]",
        "[blastbeat:b.example:81]",
        "[blastbeat:*]",
        "[other]",
        "bind = *:80",
        "bind = *:81 proxy 4",
        "bind = 127.0.0.1:0",
        "bind = unix:/x",
        "bind-ssl = *:443",
        "bind-ssl = *:444 proxy",
        "certificate = c.pem\nkey = k.pem",
        "certificate = d.pem\nkey = d.pem",
        "ocsp = o.der",
        "client-ca = ca.pem",
        "client-auth = optional",
        "https-redirect = on",
        "hsts = 77 preload includesubdomains",
        "sni-strict = on",
        "tls-sessions = 9",
        "zmq = tcp://127.0.0.1:5000",
        "zmq = tcp://127.0.0.1:*",
        "zmq = ipc:///y",
        "zmq-connect = tcp://[::1]:9",
        "zmq-connect = tcp://n:9",
        "node = n",
        "node = web-*",
        "node = app:welcome",
        "alias = c",
        "alias = d:1",
        "alias = *.Example.org:2",
        "node-password = n a b",
        "node-password = web-3 x",
        "sessions = 3",
        "timeout = 1.25",
        "max-body = 3k",
        "node-timeout = 2",
        "node-capacity = 4",
        "redispatch = all",
        "slow-client = drop-oldest",
        "node-loss = move",
        "websocket-deflate = context",
        "websocket-origin = https://*.Example.org:443",
        "websocket-origin = http://[::1]:80",
        "websocket-origin = Null",
        "websocket-protocol = b a",
        "websocket-protocol = c b",
        "socketio = off",
        "socketio = /a 5",
        "socketio = /b/c/ 1 2",
        "engineio = /a/ 4 3",
        "engineio = /socket.io 3",
        "engineio = off",
        "socketio-max-payload = 20m",
        "websocket-ping = 0",
        "websocket-max-message = 20m",
        "max-message = 1m",
        "memory = 3",
        "connections = 9",
        "writequeue-buffer = 77",
        "trusted-proxy = 10.0.0.0/8",
        "error-page = 404 /p q",
        "uid = u",
        "log-level = debug",
        "stats-freq = 0",
    ];
    let mut entropy = SeededEntropy::from_number(1);
    let mut read = 0;
    for _ in 0..3_000 {
        let mut text = "[blastbeat]\nbind = *:80\nzmq = ipc:///z\n[blastbeat:a]\nnode = n\n".to_owned();
        for _ in 0..entropy.below(14) {
            text += lines[entropy.below(lines.len() as u64) as usize];
            text += "\n";
        }
        if let Ok((config, _)) = Config::parse(text.as_bytes(), "test.ini", Mode::Strict) {
            assert_round_trip(&config);
            read += 1;
        }
    }
    assert!(read > 100, "only {read} of them were sound");
}
