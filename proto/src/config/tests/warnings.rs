//! What is likely not meant so.

use super::*;

#[test]
fn lenient_reading_warns_of_what_it_leaves_out() {
    let text = around("frobnicate = 1\nworkers = 4", "cache = 17\nnode = app:nosuch");
    let (config, warnings) = Config::parse(text.as_bytes(), "test.ini", Mode::Lenient).unwrap();
    let lines: Vec<_> = warnings.iter().map(|warning| (warning.line, warning.key.as_str())).collect();
    assert_eq!(lines, [(2, "frobnicate"), (3, "workers"), (7, "cache"), (8, "node")]);
    assert_eq!((config.listeners.len(), config.hosts[0].nodes.len()), (2, 2));
}

#[test]
fn likely_slips_are_warned_of() {
    let text = format!("stray = 1\n{}", around("sessions = 5\nsessions = 6", ""));
    let (config, warnings) = Config::parse(text.as_bytes(), "test.ini", Mode::Strict).unwrap();
    assert_eq!(
        shown(&warnings),
        "test.ini:1: stray: stands before any section and is ignored; put it into [blastbeat]\n\
         test.ini:4: sessions: is given again and replaces the value of line 3; keep one of them\n"
    );
    assert_eq!(config.limits.sessions, 6);
}

#[test]
fn open_endpoints_without_passwords_are_warned_of() {
    let warned = |global: &str, host: &str| {
        parsed(&format!("[blastbeat]\nbind = *:80\n{global}\n[blastbeat:a]\nnode = n\n{host}\n")).warnings().len()
    };
    assert_eq!(warned("zmq = tcp://127.0.0.1:5000", ""), 0);
    assert_eq!(warned("zmq = tcp://[::1]:5000", ""), 0);
    assert_eq!(warned("zmq = ipc:///run/n", ""), 0);
    assert_eq!(warned("zmq = tcp://*:5000", ""), 1);
    assert_eq!(warned("zmq = tcp://[::]:5000", ""), 1);
    assert_eq!(warned("zmq = tcp://*:5000\nnode-password = n secret", ""), 0);
    assert_eq!(warned("", "zmq = tcp://*:5000\nnode-password = n secret"), 0);
    assert_eq!(warned("", "zmq = tcp://*:5000"), 1);
    let config = parsed(&around("zmq = tcp://*:5001", ""));
    assert_eq!(
        config.warnings(),
        ["zmq = tcp://0.0.0.0:5001 is open to other machines and asks for no password: whoever knows the name of a \
          node can take its requests; add node-password = NAME PASSWORD, or listen on 127.0.0.1 or ipc://"]
    );
}

#[test]
fn a_node_that_is_locked_out_is_warned_of() {
    let text = around("node-password = n secret", "node = m\nnode = web-*\nnode = app:welcome");
    assert_eq!(
        parsed(&text).warnings(),
        ["m", "web-*"].map(|node| format!(
            "node = {node} has no password while others have, so it cannot connect; add node-password = {node} PASSWORD"
        ))
    );
    assert!(parsed(&around("node-password = * secret", "node = m")).warnings().is_empty());
}

#[test]
fn origins_that_mean_strangers_too_are_warned_of() {
    let text = around("", "websocket-origin = https://example.*\nwebsocket-origin = https://*.example.org");
    assert_eq!(
        parsed(&text).warnings(),
        ["websocket-origin = https://example.* also means sites of strangers, since anybody can have a name of that \
          form; put the * before a dot and a name of your own, such as https://*.example.org"]
    );
}
