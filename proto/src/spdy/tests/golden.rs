//! Frames as the drafts draw them, byte by byte, and blocks that another implementation compressed.

use super::*;

/// What a server says first: how many streams, their window, and in SPDY/3.1 the rest of the connection's.
#[test]
fn a_server_greets_with_its_bounds() {
    let greeting = |version| Connection::server(version, Settings::with_limits(Limits::DEFAULT), NOW).outbound().take();
    assert_eq!(greeting(Version::V2), b"\x80\x02\0\x04\0\0\0\x0c\0\0\0\x01\x04\0\0\0\0\0\0\x64");
    let settings = b"\x80\x03\0\x04\0\0\0\x14\0\0\0\x02\0\0\0\x04\0\0\0\x64\0\0\0\x07\0\x04\0\0";
    assert_eq!(greeting(Version::V3), settings);
    let update = b"\x80\x03\0\x09\0\0\0\x08\0\0\0\0\0\x0f\0\0";
    assert_eq!(greeting(Version::V31), [&settings[..], update].concat());
}

/// A header block that zlib stored without compressing it (RFC 1951, 3.2.4): behind the head of the stream and the sum of
/// the dictionary, one block with its length.
fn stored(version: Version, block: &[u8]) -> Vec<u8> {
    let len = block.len() as u16;
    let mut out = [&[0x78, 0xbb][..], &dictionary(version).1.to_be_bytes()].concat();
    out.push(0);
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(&(!len).to_le_bytes());
    out.extend_from_slice(block);
    out
}

#[test]
fn a_request_of_each_version_is_read() {
    let two = b"\0\x05\0\x06method\0\x03GET\0\x03url\0\x02/a\0\x07version\0\x08HTTP/1.1\0\x04host\0\x05a.b:8\
        \0\x06scheme\0\x05https";
    let three =
        b"\0\0\0\x05\0\0\0\x07:method\0\0\0\x03GET\0\0\0\x05:path\0\0\0\x02/a\0\0\0\x08:version\0\0\0\x08HTTP/1.1\
        \0\0\0\x05:host\0\0\0\x05a.b:8\0\0\0\x07:scheme\0\0\0\x05https";
    for version in Version::ALL {
        let block = if version == Version::V2 { &two[..] } else { three };
        let (mut server, _) = server(version);
        let fixed = b"\0\0\0\x01\0\0\0\0\0\0";
        let events =
            feed(&mut server, &control(version, SYN_STREAM, FIN, &[&fixed[..], &stored(version, block)].concat()));
        assert_eq!(request(&events).text(), &b"GET /a HTTP/1.1\r\nhost: a.b:8\r\n\r\n"[..]);
        assert_eq!(request(&events).version, version.into());
        assert_eq!(events[1..], [(1, part(http::Event::End))]);
    }
}

#[test]
fn the_first_answer_of_each_version_begins_the_stream_of_the_compressor() {
    for version in Version::ALL {
        let (mut server, mut peer) = asked(version);
        answer(&mut server, 1);
        let out = server.outbound().take();
        let fixed: &[u8] = if version == Version::V2 { b"\0\0\0\x01\0\0" } else { b"\0\0\0\x01" };
        assert_eq!(out[..4], [&version.first_bytes()[..], &[0, 2]].concat());
        assert_eq!(out[8..8 + fixed.len()], *fixed);
        let stream = &out[8 + fixed.len()..];
        assert_eq!(stream[2..6], dictionary(version).1.to_be_bytes());
        assert_eq!((u16::from_be_bytes([stream[0], stream[1]]) % 31, stream[1] & 0x20), (0, 0x20));
        let frames = frames(&out);
        assert_eq!(frames.len(), 2);
        let (status, about) = if version == Version::V2 { ("status", "version") } else { (":status", ":version") };
        let expected = [(status, "200 OK"), (about, "HTTP/1.1"), ("content-length", "13")];
        let fields = peer.fields(&frames[0]);
        assert_eq!(fields, expected.map(|(name, value)| (name.into(), value.into())));
        let data = b"\0\0\0\x01\x01\0\0\x0dHello, world!";
        assert_eq!(&out[out.len() - data.len()..], data);
    }
}

/// Made by zlib 1.2 with the dictionary of SPDY/3, level 9, a window of 2 KiB: two requests of a browser, one behind the
/// other.
#[test]
fn requests_that_zlib_compressed_are_read_one_behind_the_other() {
    let (mut server, _) = server(Version::V3);
    for (stream, block, path) in [(1, FIRST, &b"/"[..]), (3, SECOND, b"/style.css")] {
        let mut payload = u32::to_be_bytes(stream).to_vec();
        payload.extend_from_slice(&[0, 0, 0, 0, 0x20, 0]);
        payload.extend_from_slice(block);
        let events = feed(&mut server, &control(Version::V3, SYN_STREAM, FIN, &payload));
        assert_eq!(request(&events).target(), path);
        assert_eq!(request(&events).fields.find("user-agent"), Some(&b"Mozilla/5.0"[..]));
    }
}

const FIRST: &[u8] = b"\
    8\xea\xe3\xc6\xa7\xc2\x02\xa5EPv\xb2\x82\x16\x08\xfc\xc0\x14\xad\x97Z\x91\x08\x0a\x5c\xbddpY\xc1n\x85H\xd1\
    \xee\xae!`\xd5\x05\x89\xe0r\x8bQ\x1f,_\x0c,%s\xc1EiFII\x01(\xa5sXaO\xe0\x88R\x9c\x13\x1ej\x18\xf9\x8d\xdb7\
    \xbf*3''Q\xdfT\xcf\x00\x00\x00\x00\xff\xff";

const SECOND: &[u8] = b"\
    \xa2\xcc}\x5c\xfa\xc5%\x95\x20\x85\xc5\xc5\xb4v(\x00\x00\x00\xff\xff";
