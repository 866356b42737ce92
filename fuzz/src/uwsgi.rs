//! Packets and requests in arbitrary bytes.

use blastbeat_proto::address::PeerAddr;
use blastbeat_proto::http::{Request, has_token, tokens};
use blastbeat_proto::limits::Limits;
use blastbeat_proto::uwsgi::{self, Context};

/// What can be read of a packet is written and read back the same, and ends with at most one error. A response that
/// is taken is one head and nothing else. A request becomes a packet whose every pair can be read, whose HTTP_* names
/// are upper case and made by no field that could pose as another, or it is refused and leaves nothing behind.
pub fn body(data: &[u8]) {
    packet(data);
    response(data);
    request(data);
}

fn packet(data: &[u8]) {
    let read: Vec<_> = uwsgi::pairs(data).collect();
    let sound: Vec<_> = read.iter().copied().map_while(Result::ok).collect();
    assert!(read.len() - sound.len() <= 1, "an error is the last item");
    let mut packet = Vec::new();
    uwsgi::encode_pairs(&mut packet, sound.iter().copied()).expect("pairs of one packet fit into one");
    let again: Vec<_> = uwsgi::pairs(&packet).map(|pair| pair.expect("a packet of ours can be read")).collect();
    assert_eq!(again, sound);
}

fn response(data: &[u8]) {
    let limits = Limits::DEFAULT;
    let Ok(response) = uwsgi::decode_response(data, &limits) else { return };
    let text = response.text().clone();
    let (again, rest) = blastbeat_proto::http::Response::parse(text, &limits).expect("it is a head");
    assert_eq!(again, response);
    assert!(rest.is_empty());
    assert_eq!(uwsgi::pairs(data).count(), response.fields.len() + 1, "a pair is a field");
}

fn request(data: &[u8]) {
    let limits = Limits { head_bytes: 1 << 20, target_bytes: 1 << 20, ..Limits::DEFAULT };
    let Ok(request) = Request::parse(data, &limits) else { return };
    let context = Context {
        section: "*",
        port: 80,
        remote: PeerAddr::Unix,
        https: data.len().is_multiple_of(2),
        request_id: data.len() as u64,
        redispatched: data.len().is_multiple_of(3),
        variables: &[],
    };
    let mut packet = b"before".to_vec();
    if uwsgi::encode_request(&mut packet, &request, &context).is_err() {
        assert_eq!(packet, b"before");
        return;
    }
    let pairs: Vec<_> = uwsgi::pairs(&packet[6..]).map(|pair| pair.expect("a packet of ours can be read")).collect();
    assert_eq!(pairs[0], (&b"REQUEST_METHOD"[..], request.method()));
    let shown: Vec<_> = pairs.iter().filter(|(name, _)| name.starts_with(b"HTTP_")).collect();
    assert!(shown.iter().all(|(name, _)| !name.iter().any(|byte| byte.is_ascii_lowercase() || *byte == b'-')));
    assert!(shown.iter().all(|(name, _)| *name != b"HTTP_PROXY"));
    let posing = |name: &[u8]| name.contains(&b'_') || name.eq_ignore_ascii_case(b"proxy");
    let fields = &request.fields;
    let upgrades = |to| fields.all("upgrade").any(|value| has_token(value, to));
    // What asks for HTTP/2 is left out, and a Connection field with it that has nothing else to say.
    let is_left_out = |name: &[u8], value: &[u8]| {
        let asks =
            |token: &[u8]| token.eq_ignore_ascii_case(b"upgrade") || token.eq_ignore_ascii_case(b"http2-settings");
        asks(name) || (name.eq_ignore_ascii_case(b"connection") && tokens(value).all(asks))
    };
    let asks_for_http2 = upgrades("h2c") && !upgrades("websocket");
    let is_kept = |(name, value): &(&[u8], &[u8])| !(posing(name) || asks_for_http2 && is_left_out(name, value));
    let kept = fields.iter().filter(is_kept).count();
    let host_added = request.fields.find("host").is_none() && !request.host().is_empty();
    assert_eq!(shown.len(), kept + usize::from(host_added));
}
