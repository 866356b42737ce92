use super::*;
use crate::limits::Limits;
use alloc::string::ToString;
use alloc::vec;

const ID: Id = Id(*b"0123456789abcdef");
const ID_TEXT: &str = "MDEyMzQ1Njc4OWFiY2RlZg";

fn mounts() -> Vec<Mount> {
    let mount = |path: &str, layer, generations: &[Generation]| Mount {
        path: path.into(),
        layer,
        generations: generations.to_vec(),
    };
    vec![
        mount("/socket.io/", Layer::SocketIo, &[Generation::Five, Generation::Two, Generation::One]),
        mount("/engine.io/", Layer::Plain, &[Generation::Five, Generation::Two]),
        mount("/new/", Layer::SocketIo, &[Generation::Five]),
        mount("/old/", Layer::SocketIo, &[Generation::Two]),
    ]
}

fn get(target: &str) -> Option<Result<Asked, Refusal>> {
    read(target.as_bytes(), b"GET", false, &mounts())
}

fn post(target: &str) -> Option<Result<Asked, Refusal>> {
    read(target.as_bytes(), b"POST", false, &mounts())
}

fn websocket(target: &str) -> Option<Result<Asked, Refusal>> {
    read(target.as_bytes(), b"GET", true, &mounts())
}

/// A new client of generation Five that polls.
fn asked() -> Asked {
    Asked {
        generation: Generation::Five,
        layer: Layer::SocketIo,
        transport: Transport::Polling,
        id: None,
        ends: false,
        jsonp: None,
        base64: true,
    }
}

fn two() -> Asked {
    Asked { generation: Generation::Two, base64: false, ..asked() }
}

fn one() -> Asked {
    Asked { generation: Generation::One, ..asked() }
}

fn with_id(target: &str) -> alloc::string::String {
    target.replace("ID", ID_TEXT)
}

#[test]
fn clients_of_the_later_generations_ask_in_the_query() {
    assert_eq!(ID.to_string(), ID_TEXT);
    let five = || Some(Ok(asked()));
    assert_eq!(get("/socket.io/?EIO=4&transport=polling&t=Ox1"), five());
    assert_eq!(get("/socket.io?EIO=4&transport=polling"), five());
    assert_eq!(get("/socket.io/?%45IO=4&transport=p%6flling"), five());
    assert_eq!(get("http://example.com/socket.io/?EIO=4&transport=polling"), five());
    assert_eq!(get("/socket.io/?EIO=4&transport=polling&j=1&sid="), five());
    assert_eq!(get("/engine.io/?EIO=4&transport=polling"), Some(Ok(Asked { layer: Layer::Plain, ..asked() })));
    assert_eq!(
        post(&with_id("/socket.io/?EIO=4&transport=polling&sid=ID")),
        Some(Ok(Asked { id: Some(ID), ..asked() }))
    );
    let socket = Asked { transport: Transport::WebSocket, ..asked() };
    assert_eq!(websocket("/socket.io/?EIO=4&transport=websocket"), Some(Ok(socket.clone())));
    let upgrade = websocket(&with_id("/socket.io/?EIO=4&transport=websocket&sid=ID"));
    assert_eq!(upgrade, Some(Ok(Asked { id: Some(ID), ..socket })));
    assert_eq!(get("/socket.io/?EIO=3&transport=polling"), Some(Ok(two())));
    assert_eq!(get("/socket.io/?EIO=3&transport=polling&b64=1"), Some(Ok(Asked { base64: true, ..two() })));
    let script = Asked { jsonp: Some(7), base64: true, ..two() };
    assert_eq!(get("/socket.io/?EIO=3&transport=polling&j=7"), Some(Ok(script.clone())));
    let posted = post(&with_id("/socket.io/?EIO=3&transport=polling&j=7&sid=ID"));
    assert_eq!(posted, Some(Ok(Asked { id: Some(ID), ..script })));
}

#[test]
fn a_known_connection_needs_no_version() {
    let known = get(&with_id("/socket.io/?transport=polling&sid=ID"));
    assert_eq!(known, Some(Ok(Asked { id: Some(ID), ..asked() })));
    let known = get(&with_id("/old/?transport=polling&sid=ID"));
    assert_eq!(known, Some(Ok(Asked { id: Some(ID), ..two() })));
}

#[test]
fn clients_of_generation_one_ask_in_the_path() {
    assert_eq!(get("/socket.io/1/?t=1234"), Some(Ok(one())));
    assert_eq!(get("/socket.io/1"), Some(Ok(one())));
    assert_eq!(get("/socket.io/1/?jsonp=3"), Some(Ok(Asked { jsonp: Some(3), ..one() })));
    let polls = Asked { id: Some(ID), ..one() };
    assert_eq!(get(&with_id("/socket.io/1/xhr-polling/ID?t=1")), Some(Ok(polls.clone())));
    assert_eq!(post(&with_id("/socket.io/1/xhr-polling/ID/")), Some(Ok(polls.clone())));
    let script = |number| Some(Ok(Asked { jsonp: Some(number), ..polls.clone() }));
    assert_eq!(get(&with_id("/socket.io/1/jsonp-polling/ID?t=1&i=12")), script(12));
    assert_eq!(post(&with_id("/socket.io/1/jsonp-polling/ID")), script(0));
    let socket = Asked { transport: Transport::WebSocket, ..polls.clone() };
    assert_eq!(websocket(&with_id("/socket.io/1/websocket/ID")), Some(Ok(socket)));
    let ends = || Some(Ok(Asked { ends: true, ..polls.clone() }));
    assert_eq!(get(&with_id("/socket.io/1//ID/?disconnect=1")), ends());
    assert_eq!(get(&with_id("/socket.io/1/xhr-polling/ID?disconnect")), ends());
    assert_eq!(get(&with_id("/socket.io/1/websocket/ID/?disconnect=1")), ends());
}

#[test]
fn other_paths_are_not_meant() {
    for target in [
        "/",
        "/socket.io.js",
        "/socket.io/socket.io.js",
        "/socket.iox/?EIO=4",
        "/socket.io/2/",
        "/socket.io/1x",
        "/engine.io/1/",
        "/new/1/",
        "/x/socket.io/?EIO=4&transport=polling",
        "*",
        "/?x=http://example.com/socket.io/",
        "",
    ] {
        assert_eq!(get(target), None, "{target}");
    }
}

#[test]
fn refusals_come_in_the_order_of_the_protocol() {
    let refused = |cause| Some(Err(cause));
    let unknown = "/socket.io/?EIO=4&transport=polling&sid=unknown";
    // The transport first, then the id, the method, the kind of request, the version.
    for target in ["/socket.io/", "/socket.io/?EIO=4", "/socket.io/?EIO=4&transport=abc&sid=x", "/new/?transport="] {
        assert_eq!(post(target), refused(Refusal::TRANSPORT_UNKNOWN), "{target}");
    }
    assert_eq!(get(unknown), refused(Refusal::SESSION_UNKNOWN));
    assert_eq!(post("/socket.io/?EIO=9&transport=websocket"), refused(Refusal::HANDSHAKE_METHOD));
    assert_eq!(
        read(b"/socket.io/?EIO=4&transport=polling", b"PUT", false, &mounts()),
        refused(Refusal::HANDSHAKE_METHOD)
    );
    assert_eq!(get("/socket.io/?EIO=9&transport=websocket"), refused(Refusal::BAD_REQUEST));
    assert_eq!(websocket("/socket.io/?EIO=9&transport=polling"), refused(Refusal::BAD_REQUEST));
    let put = with_id("/socket.io/?EIO=4&transport=polling&sid=ID");
    assert_eq!(read(put.as_bytes(), b"PUT", false, &mounts()), refused(Refusal::BAD_REQUEST));
    for target in [
        "/socket.io/?transport=polling",
        "/socket.io/?EIO=abc&transport=polling",
        "/engine.io/?EIO=5&transport=polling",
    ] {
        assert_eq!(get(target), refused(Refusal::VERSION_UNSUPPORTED), "{target}");
    }
    assert_eq!(get("/new/?EIO=3&transport=polling"), refused(Refusal::VERSION_UNSUPPORTED));
    assert_eq!(get("/old/?EIO=4&transport=polling"), refused(Refusal::VERSION_UNSUPPORTED));
    for number in ["", "x", "-1", "+1", "1)%3Balert(1", "4294967296"] {
        let target = ["/socket.io/?EIO=3&transport=polling&j=", number].concat();
        assert_eq!(get(&target), refused(Refusal::BAD_REQUEST), "{target}");
    }
}

#[test]
fn refusals_of_generation_one_have_the_same_words() {
    let refused = |cause| Some(Err(cause));
    assert_eq!(post("/socket.io/1/"), refused(Refusal::HANDSHAKE_METHOD));
    assert_eq!(websocket("/socket.io/1/"), refused(Refusal::BAD_REQUEST));
    assert_eq!(get("/socket.io/1/?disconnect=1"), refused(Refusal::BAD_REQUEST));
    assert_eq!(get("/socket.io/1/?jsonp=x"), refused(Refusal::BAD_REQUEST));
    assert_eq!(get(&with_id("/socket.io/1/htmlfile/ID")), refused(Refusal::TRANSPORT_UNKNOWN));
    assert_eq!(get(&with_id("/socket.io/1//ID")), refused(Refusal::TRANSPORT_UNKNOWN));
    assert_eq!(get("/socket.io/1/xhr-polling/"), refused(Refusal::SESSION_UNKNOWN));
    assert_eq!(get("/socket.io/1/xhr-polling/4d4f185e96a7b"), refused(Refusal::SESSION_UNKNOWN));
    assert_eq!(get(&with_id("/socket.io/1/websocket/ID")), refused(Refusal::BAD_REQUEST));
    assert_eq!(websocket(&with_id("/socket.io/1/xhr-polling/ID")), refused(Refusal::BAD_REQUEST));
    assert_eq!(get(&with_id("/socket.io/1/jsonp-polling/ID?i=x")), refused(Refusal::BAD_REQUEST));
}

#[test]
fn preflights_pass_whatever_they_ask_about() {
    for target in [
        "/socket.io/?EIO=4&transport=polling",
        "/socket.io/?EIO=4&transport=websocket",
        "/socket.io/1/",
        &with_id("/socket.io/?EIO=4&transport=polling&sid=ID"),
        &with_id("/socket.io/1/xhr-polling/ID"),
    ] {
        let read = read(target.as_bytes(), b"OPTIONS", false, &mounts());
        assert!(matches!(read, Some(Ok(_))), "{target}: {read:?}");
    }
}

#[test]
fn refusals_and_handshakes_are_answered_as_clients_want_it() {
    assert_eq!(Refusal::SESSION_UNKNOWN.body(), "{\"code\":1,\"message\":\"Session ID unknown\"}");
    assert_eq!(Refusal::VERSION_UNSUPPORTED.body(), "{\"code\":5,\"message\":\"Unsupported protocol version\"}");
    let line = handshake_line(ID, &Settings::new(&Limits::DEFAULT));
    assert_eq!(line, [ID_TEXT, ":45:45:websocket,xhr-polling,jsonp-polling"].concat());
}
