//! What is wrong with a file, said once and with what would be right.

use super::*;

#[test]
fn all_problems_come_at_once_in_the_order_of_their_lines() {
    let text = "[blastbeat]\n\
                bnid = 127.0.0.1:80\n\
                sessions = ten\n\
                alias = x\n\
                bind-ssl = 443\n\
                [blastbeat:a\n\
                [blastbeat:a b]\n\
                [blastbeat:a]\n\
                nodes = x\n\
                uid = root\n\
                frobnicate = 1\n";
    assert_eq!(
        problems(text),
        "test.ini:2: bnid: there is no such key; did you mean bind?\n\
         test.ini:3: sessions: \"ten\" is not a whole number; write digits, such as 10\n\
         test.ini:4: alias: belongs to a virtual host; move it to a section [blastbeat:HOST]\n\
         test.ini:5: bind-ssl: \"443\" has no port; write ADDRESS:PORT with a numeric address, such as 127.0.0.1:8080, \
         *:8080 or [::1]:8080\n\
         test.ini:6: a section starts here and does not end; write its name in brackets, alone on the line\n\
         test.ini:7: [blastbeat:a b]: \"a b\" is not a host; write a host name, with a port if it matters, or * for \
         all other hosts\n\
         test.ini:8: [blastbeat:a]: has no node that could serve it; write at least one, such as node = web1\n\
         test.ini:9: nodes: there is no such key; did you mean node?\n\
         test.ini:10: uid: holds for the whole server; move it to [blastbeat]\n\
         test.ini:11: frobnicate: there is no such key; remove it, or see the table of keys in the README\n"
    );
}

#[test]
fn bad_values_say_what_would_be_right() {
    for (line, message) in [
        ("bind =", "the value is missing; write it behind an equals sign"),
        ("bind = *:81 fast", "\"fast\" is not an option; write a priority, proxy, h2c, or spdy=VERSIONS"),
        ("bind = *:81 http1", "\"http1\" is not an option; write a priority, proxy, h2c, or spdy=VERSIONS"),
        ("bind = *:81 spdy=3,4", "\"4\" is not a version of SPDY; write spdy=2,3,3.1, or some of them"),
        ("bind = *:81 spdy=", "\"\" is not a version of SPDY; write spdy=2,3,3.1, or some of them"),
        ("zmq = tcp://*:81 proxy", "\"proxy\" is not an option; write a priority"),
        ("zmq = *:81", "\"*:81\" is not an endpoint; write tcp://ADDRESS:PORT or ipc://PATH"),
        ("max-body = lots", "\"lots\" is not a size; write a number, with k, m or g for larger units, such as 64k"),
        ("connections = 0", "0 is too small; write at least 1"),
        ("timeout = 0", "0 seconds are no time at all; write more than 0"),
        ("ping-freq = -1", "\"-1\" is not a time; write seconds, such as 30 or 0.5"),
        ("redispatch = maybe", "\"maybe\" is not a choice here; write all or safe or none"),
        ("half-close = yes", "\"yes\" is not a choice here; write on or off"),
        ("slow-client = drop", "\"drop\" is not a choice here; write disconnect or drop-oldest"),
        ("node-loss = 1012", "\"1012\" is not a choice here; write close or move"),
        ("websocket-deflate = yes", "\"yes\" is not a choice here; write on or off or context"),
        ("websocket-max-message = 0", "0 is too small; write at least 1 bytes"),
        ("websocket-origin = null", "belongs to a virtual host; move it to a section [blastbeat:HOST]"),
        ("trusted-proxy = home", "\"home\" is not a network; write an address and a length, such as 10.0.0.0/8"),
        ("error-page = 503", "the file is missing; write the status and the path, such as 503 /etc/busy.html"),
        ("error-page = 200 /x", "200 is too small; write at least 400"),
        ("node-password = n", "the password is missing; write the node's name, a space and the password"),
        ("workers = 4", "this version does not serve it; remove the line, or start with --lenient to ignore it"),
        ("socketio-max-payload = 10", "10 is too small; write at least 256 bytes"),
        ("socketio-max-depth = 1025", "1025 is too large; write at most 1024"),
        ("socketio-ping-interval = 0", "0 seconds are no time at all; write more than 0"),
    ] {
        let key = line.split(" =").next().unwrap();
        assert_problem(&around(line, ""), &format!("test.ini:2: {key}: {message}"));
    }
    for (line, message) in [
        (
            "alias = a:b",
            "\"a:b\" is not a host; write a host name, with a port if it matters, or * for all other hosts",
        ),
        (
            "alias = a.*.example",
            "\"a.*.example\" has a * in another place than before the first dot; write a host name, with a port if it \
             matters, or * for all other hosts",
        ),
        ("alias = *.", "\"*.\" is not a host; write a host name, with a port if it matters, or * for all other hosts"),
        (
            "alias = bücher.example",
            "\"bücher.example\" is not ASCII; write the name as browsers send it, beginning with xn--",
        ),
        (
            "websocket-origin = example.org",
            "\"example.org\" is not an origin; write SCHEME://HOST, with a port if it is not the usual one, such as \
             https://example.org or https://*.example.org, or null",
        ),
        (
            "websocket-protocol = chat, echo",
            "\"chat,\" is not a name here; write letters, digits and such, with spaces between two names",
        ),
        ("websocket-ping = 1", "holds for the whole server; move it to [blastbeat]"),
        ("node = app:", "the name of the app is missing; write it behind the colon, such as app:welcome"),
        ("node = app:welcom", "no app is called \"welcom\"; there is welcome"),
    ] {
        let key = line.split(" =").next().unwrap();
        assert_problem(&around("", line), &format!("test.ini:6: {key}: {message}"));
    }
    let long = format!("node = {}", "n".repeat(256));
    assert_problem(&around("", &long), "test.ini:6: node: a node's name has at most 255 bytes; this one has 256");
    parsed(&around("workers = 1", &format!("node = {}", "n".repeat(255))));
}

#[test]
fn a_message_never_shows_a_password() {
    let text = around("node-password = nobody secret\nnode-password = n secret\nnode-password = n secret", "");
    let problems = problems(&text);
    assert!(!problems.contains("secret"), "{problems}");
    assert_eq!(problems.lines().count(), 2, "{problems}");
}

#[test]
fn control_characters_do_not_reach_the_terminal() {
    let problems = problems("[blastbeat]\nnode\x1b[2J = 1\nbind = \x1b\n[blastbeat:\x1b]\nq\t\x07");
    assert!(!problems.contains(|c: char| c.is_control() && c != '\n'), "{problems:?}");
}

#[test]
fn clashes_are_problems_with_their_lines() {
    assert_problem(
        &around("bind = 127.0.0.1:5000", ""),
        "test.ini:4: zmq: 127.0.0.1:5000 serves something else by line 2; write another port",
    );
    assert_problem(
        &around("bind = 127.0.0.1:80", ""),
        "test.ini:3: bind: 0.0.0.0:80 covers 127.0.0.1:80 too, see line 2; write another port",
    );
    assert_problem(
        &around("bind = *:80 proxy", ""),
        "test.ini:3: bind: 0.0.0.0:80 has other options on line 2; make them the same",
    );
    assert_problem(
        &around("", "zmq = tcp://127.0.0.1:5000"),
        "test.ini:6: zmq: stands in [blastbeat] and in a virtual host, so that it is unclear whose nodes it admits; keep one",
    );
    let two = around("", "alias = b.example") + "[blastbeat:B.example]\nnode = n\nalias = A.EXAMPLE\n";
    assert_problem(
        &two,
        "test.ini:6: alias: b.example is a name of [blastbeat:B.example] already (line 8); keep one\n\
         test.ini:10: alias: A.EXAMPLE is a name of [blastbeat:a.example] already (line 5); keep one",
    );
    parsed(&around(
        "bind = [::]:80\nbind = 127.0.0.1:0\nbind = 127.0.0.1:0",
        "alias = a.example\nalias = c\nalias = C",
    ));
}

#[test]
fn what_could_never_serve_anybody_is_a_problem() {
    assert_problem(
        "[blastbeat]\nbind = *:80\n",
        "test.ini: there is no virtual host, so nothing would be served; write a section [blastbeat:HOST] with a node",
    );
    assert_problem(
        "[blastbeat]\nbind = *:80\n[blastbeat:a]\nalias = b\nnode = x\n",
        "test.ini:5: node: there is no zmq by which nodes of this host could connect; write one in [blastbeat], \
         such as zmq = tcp://127.0.0.1:5000",
    );
    assert_problem(
        "[blastbeat:a]\nnode = app:welcome\n",
        "test.ini: bind: there is none, so no client could connect; write one, such as bind = 127.0.0.1:8080",
    );
    parsed("[blastbeat]\nbind = *:80\n[blastbeat:a]\nnode = app:welcome\n");
    parsed("[blastbeat]\nbind = *:80\n[blastbeat:a]\nnode = x\nzmq-connect = tcp://x:1\n");
    assert_problem(
        "[blastbeat:a]\nnode = app:welcome\nbind = *:80\n[blastbeat:b]\nnode = app:welcome\n",
        "test.ini:4: [blastbeat:b]: has no bind, and [blastbeat] has none for all; write one",
    );
    assert_problem(
        &around("", "node-password = n secret"),
        "test.ini:6: node-password: has an effect only beside a zmq of this host's own; move it to [blastbeat]",
    );
    assert_problem(
        &around("node-password = m secret", ""),
        "test.ini:2: node-password: \"m\" is no node that could use it; write a name as a node key has it",
    );
    assert_problem(
        &around("writequeue-buffer = 1m\nwritequeue-high = 2m", ""),
        "test.ini: writequeue-high: is more than writequeue-buffer, which is 1048576 bytes; write less",
    );
    assert_eq!(parsed(&around("writequeue-buffer = 1001", "")).limits.write_queue_high, 501);
}
