//! Where socket.io and Engine.IO are spoken.

use super::*;

/// A path as a short line: what is spoken there, and where.
fn line(path: &SocketIoPath) -> String {
    let SocketIoPath { path, is_plain, five, two, one } = path;
    let mut line = format!("{} {path}", if *is_plain { "plain" } else { "socketio" });
    for (generation, _) in ["five", "two", "one"].iter().zip([five, two, one]).filter(|(_, is_on)| **is_on) {
        line = format!("{line} {generation}");
    }
    line
}

fn lines(paths: &[SocketIoPath]) -> Vec<String> {
    paths.iter().map(line).collect()
}

/// What holds for all, and for the one host if it says something else.
fn both(global: &str, host: &str) -> (Vec<String>, Option<Vec<String>>) {
    let config = parsed(&around(global, host));
    assert_round_trip(&config);
    (lines(&config.socketio), config.hosts[0].socketio.as_deref().map(lines))
}

const DEFAULT: &str = "socketio /socket.io/ five two one";

#[test]
fn without_a_line_every_generation_is_at_the_usual_path() {
    assert_eq!(both("", ""), (vec![DEFAULT.into()], None));
    assert_eq!(lines(&Config::builtin().socketio), [DEFAULT]);
}

#[test]
fn lines_add_up_and_replace_what_holds_without_them() {
    let global = "socketio = /socket.io/ 5\nengineio = /engine.io 4\nsocketio = /old 1 2";
    let all = ["socketio /socket.io/ five", "socketio /old/ two one", "plain /engine.io/ five"].map(String::from);
    assert_eq!(both(global, "").0, all);
    assert_eq!(
        both(global, "socketio = /chat/ 2\nsocketio = /socket.io/ 5 5"),
        (
            all.to_vec(),
            Some(
                ["socketio /chat/ two", "socketio /socket.io/ five", "plain /engine.io/ five"]
                    .map(String::from)
                    .to_vec()
            )
        )
    );
    assert_eq!(both("", "engineio = /e/f/ 3").1, Some([DEFAULT, "plain /e/f/ two"].map(String::from).to_vec()));
}

#[test]
fn each_key_is_turned_off_by_itself() {
    assert_eq!(both("socketio = off", "").0, [""; 0]);
    assert_eq!(both("socketio = off\nengineio = /e/ 4 3", "").0, ["plain /e/ five two"]);
    assert_eq!(both("engineio = off", "").0, [DEFAULT]);
    let global = "engineio = /e/ 4";
    assert_eq!(both(global, "socketio = off").1.unwrap(), ["plain /e/ five"]);
    assert_eq!(both(global, "engineio = off").1.unwrap(), [DEFAULT]);
    assert_eq!(both(global, "engineio = off\nsocketio = off\nsocketio = off").1.unwrap(), [""; 0]);
}

#[test]
fn a_path_that_means_two_things_is_a_problem() {
    for (global, host, problem) in [
        (
            "socketio = /a/ 5\nsocketio = /a 2",
            "",
            "test.ini:3: socketio: /a/ is served by line 2 already; write another path",
        ),
        (
            "socketio = /a/ 5\nengineio = /a 4",
            "",
            "test.ini:3: engineio: /a/ is served by line 2 already; write another path",
        ),
        (
            "socketio = /a/ 5\nsocketio = off",
            "",
            "test.ini:3: socketio: stands beside socketio = /a/ (line 2); keep one of them",
        ),
        (
            "engineio = off\nengineio = /a/ 3",
            "",
            "test.ini:3: engineio: stands beside engineio = off (line 2); keep one of them",
        ),
        (
            "engineio = /socket.io/ 4",
            "",
            "test.ini:2: engineio: /socket.io/ is a path of socketio unless socketio says something else; \
             write another path, or socketio = off",
        ),
        (
            "engineio = /e/ 4",
            "socketio = /e/ 5",
            "test.ini:6: socketio: /e/ is a path of engineio by line 2, which holds for all hosts; \
             write another path, or engineio = off",
        ),
        (
            "",
            "engineio = /socket.io/ 4",
            "test.ini:6: engineio: /socket.io/ is a path of socketio unless socketio says something else; \
             write another path, or socketio = off",
        ),
    ] {
        assert_problem(&around(global, host), problem);
    }
    assert_eq!(both("socketio = off\nengineio = /socket.io/ 4", "").0, ["plain /socket.io/ five"]);
    assert_eq!(both("socketio = /e/ 5", "socketio = off\nengineio = /e/ 4").1.unwrap(), ["plain /e/ five"]);
}

#[test]
fn what_is_no_path_or_generation_is_told_apart() {
    for (value, message) in [
        ("socket.io 5", "\"socket.io\" is not a path; write one that begins with a slash, such as /socket.io/"),
        ("on", "\"on\" is not a path; write one that begins with a slash, such as /socket.io/"),
        ("/s?x=y 5", "\"/s?x=y\" goes on behind its path; leave out \"?x=y\""),
        ("/s/#a 5", "\"/s/#a\" goes on behind its path; leave out \"#a\""),
        ("/ü/ 5", "\"/ü/\" has 'ü' in it; write the path as browsers send it, with % and two digits"),
        ("/a\\b 5", "\"/a\\\\b\" has '\\\\' in it; write the path as browsers send it, with % and two digits"),
        ("/s", "the generations are missing; write them behind the path, such as /s/ 5 2 1"),
        (
            "/s 5 4",
            "\"4\" is no generation of socket.io; write 5 (of the clients 3.x and 4.x), 2 (1.x and 2.x) or 1 (0.9)",
        ),
        (
            "/s off",
            "\"off\" is no generation of socket.io; write 5 (of the clients 3.x and 4.x), 2 (1.x and 2.x) or 1 (0.9)",
        ),
    ] {
        assert_problem(&around(&format!("socketio = {value}"), ""), &format!("test.ini:2: socketio: {message}"));
        assert_problem(&around("", &format!("socketio = {value}")), &format!("test.ini:6: socketio: {message}"));
    }
    assert_problem(
        &around("engineio = /e", ""),
        "test.ini:2: engineio: the versions are missing; write them behind the path, such as /e/ 4 3",
    );
    assert_problem(
        &around("engineio = /e 5", ""),
        "test.ini:2: engineio: \"5\" is no version of Engine.IO; write 4 or 3",
    );
    assert_problem(
        &around("engineio = on", ""),
        "test.ini:2: engineio: \"on\" is not a path; write one that begins with a slash, such as /engine.io/",
    );
    assert_eq!(both("socketio = / 5", "").0, ["socketio / five"]);
}
