use super::*;
use crate::entropy::{Entropy, SeededEntropy};
use crate::limits::Limits;
use alloc::string::String;
use alloc::vec;

use Encoding::{Binary, Text};
use Generation::{Five, One, Two};

fn settings() -> Settings {
    Settings::new(&Limits { socketio_packets: 5, ..Limits::DEFAULT })
}

fn decode(generation: Generation, encoding: Encoding, body: &[u8]) -> Result<Vec<Frame>, Cause> {
    decode_payload(generation, encoding, Bytes::copy_from_slice(body), &settings())
}

fn text(kind: FrameKind, data: &str) -> Frame {
    Frame { kind, data: Bytes::copy_from_slice(data.as_bytes()), is_binary: false }
}

fn said(data: &str) -> Frame {
    text(FrameKind::Message, data)
}

fn binary(data: &[u8]) -> Frame {
    Frame { kind: FrameKind::Message, data: Bytes::copy_from_slice(data), is_binary: true }
}

fn encode(generation: Generation, layer: Layer, base64_only: bool, frames: &[Frame]) -> (Bytes, Encoding) {
    let mut writer = PayloadWriter::new(generation, layer, base64_only);
    assert_eq!(writer.len(), 0);
    for frame in frames {
        writer.push(encode_message(generation, frame));
        assert!(writer.len() > 0);
    }
    writer.finish()
}

#[test]
fn golden_payloads_go_both_ways() {
    // (generation, whether the client takes no binary, packets, body); the examples of the specifications among them.
    type Case<'a> = (Generation, bool, Vec<Frame>, &'a [u8], Encoding);
    let cases: [Case<'_>; 13] = [
        (Five, true, vec![said("hello")], b"4hello", Text),
        (Five, true, vec![said("test1"), said("test2"), said("test3")], b"4test1\x1e4test2\x1e4test3", Text),
        (Five, true, vec![said("hello"), binary(&[1, 2, 3, 4])], b"4hello\x1ebAQIDBA==", Text),
        (Five, true, vec![said("\u{20ac}"), text(FrameKind::Ping, "")], "4€\x1e2".as_bytes(), Text),
        (Five, true, vec![text(FrameKind::Noop, ""), text(FrameKind::Close, "")], b"6\x1e1", Text),
        (Two, true, vec![said("hello")], b"6:4hello", Text),
        (Two, false, vec![said("hello"), text(FrameKind::Pong, "probe")], b"6:4hello6:3probe", Text),
        (Two, true, vec![said("hello"), binary(&[1, 2, 3, 4])], b"6:4hello10:b4AQIDBA==", Text),
        (Two, true, vec![said("hello"), said("\u{20ac}")], "6:4hello2:4€".as_bytes(), Text),
        (Two, true, vec![said("\u{1f600}x")], "4:4\u{1f600}x".as_bytes(), Text),
        (
            Two,
            false,
            vec![said("\u{20ac}"), binary(&[1, 2, 3, 4])],
            &[0, 4, 255, 0x34, 0xe2, 0x82, 0xac, 1, 5, 255, 4, 1, 2, 3, 4],
            Binary,
        ),
        (Two, false, vec![said("0123456789")], b"11:40123456789", Text),
        (
            Two,
            false,
            vec![said("\u{20ac}123456789")],
            &[&[0, 1, 3, 255][..], "4€123456789".as_bytes()].concat(),
            Binary,
        ),
    ];
    for (generation, base64_only, frames, body, encoding) in cases {
        let written = encode(generation, Layer::Plain, base64_only, &frames);
        assert_eq!(written, (Bytes::copy_from_slice(body), encoding), "{generation:?} {frames:?}");
        assert_eq!(decode(generation, encoding, body), Ok(frames));
    }
}

#[test]
fn what_clients_write_otherwise_is_read() {
    assert_eq!(decode(Five, Text, b"bAQIDBA"), Ok(vec![binary(&[1, 2, 3, 4])]));
    assert_eq!(decode(Five, Text, b"b\x1e4"), Ok(vec![binary(b""), said("")]));
    assert_eq!(decode(Two, Text, b"0:"), Ok(vec![]));
    assert_eq!(decode(Two, Text, b"0:2:4a"), Ok(vec![said("a")]));
    assert_eq!(decode(Two, Text, b"8:b4AQIDBA"), Ok(vec![binary(&[1, 2, 3, 4])]));
    assert_eq!(decode(Two, Binary, b""), Ok(vec![]));
    assert_eq!(decode(Two, Binary, b"\x00\x06\xffb4AQID"), Ok(vec![binary(&[1, 2, 3])]));
}

#[test]
fn malformed_payloads_have_their_cause() {
    use Cause::{PacketMalformed, PacketsTooMany, Utf8Invalid};
    let cases: [(Generation, Encoding, &[u8], Cause); 34] = [
        (Five, Text, b"", PacketMalformed),
        (Five, Text, b"abc", PacketMalformed),
        (Five, Text, b"7", PacketMalformed),
        (Five, Text, b"4a\x1e", PacketMalformed),
        (Five, Text, b"\x1e4a", PacketMalformed),
        (Five, Text, b"b!", PacketMalformed),
        (Five, Text, b"bAQID=", PacketMalformed),
        (Five, Text, b"4\xff", Utf8Invalid),
        (Five, Text, b"1\x1e1\x1e1\x1e1\x1e1\x1e1", PacketsTooMany),
        (Two, Text, b"", PacketMalformed),
        (Two, Text, b"abc", PacketMalformed),
        (Two, Text, b"4hello", PacketMalformed),
        (Two, Text, b":4", PacketMalformed),
        (Two, Text, b"3:4a", PacketMalformed),
        (Two, Text, b"1:4a", PacketMalformed),
        (Two, Text, b"2:4a3", PacketMalformed),
        (Two, Text, b"-1:4", PacketMalformed),
        (Two, Text, b"1e1:4", PacketMalformed),
        (Two, Text, b" 1:4", PacketMalformed),
        (Two, Text, b"0000000001:4", PacketMalformed),
        (Two, Text, b"1:7", PacketMalformed),
        (Two, Text, b"2:b2", PacketMalformed),
        (Two, Text, b"1:b", PacketMalformed),
        (Two, Text, "2:4\u{1f600}".as_bytes(), PacketMalformed),
        (Two, Text, b"2:4\xff", Utf8Invalid),
        (Two, Text, b"1:11:11:11:11:11:1", PacketsTooMany),
        (Two, Binary, b"\x02\x01\xff4", PacketMalformed),
        (Two, Binary, b"\x00\xff4", PacketMalformed),
        (Two, Binary, b"\x00\x0a\xff4", PacketMalformed),
        (Two, Binary, b"\x00\x02\xff4", PacketMalformed),
        (Two, Binary, b"\x00\x01\x01", PacketMalformed),
        (Two, Binary, b"\x01\x01\xff\x02", PacketMalformed),
        (Two, Binary, b"\x01\x00\xff", PacketMalformed),
        (Two, Binary, b"\x00\x02\xff4\xff", Utf8Invalid),
    ];
    for (generation, encoding, body, cause) in cases {
        assert_eq!(decode(generation, encoding, body), Err(cause), "{generation:?} {:?}", body.escape_ascii());
    }
}

#[test]
fn clients_1_x_write_utf8_byte_by_byte() {
    // "é€" in UTF-8 is C3 A9 E2 82 AC: five characters, after the type.
    let doubled: String = "4é€".bytes().map(char::from).collect();
    let body = ["6:", &doubled, "1:2"].concat();
    assert_eq!(decode(Two, Text, body.as_bytes()), Ok(vec![said("é€"), text(FrameKind::Ping, "")]));
    // What is no such UTF-8 is what it is.
    for plain in ["é", "naïve", "Ã", "é\u{20ac}", "Ã©\u{20ac}"] {
        let body = [&(1 + plain.chars().count()).to_string(), ":4", plain].concat();
        assert_eq!(decode(Two, Text, body.as_bytes()), Ok(vec![said(plain)]), "{plain}");
    }
    // A length that cuts a character.
    let body = ["5:", &doubled, "1:2"].concat();
    assert_eq!(decode(Two, Text, body.as_bytes()), Err(Cause::PacketMalformed));
}

#[test]
fn clients_of_generation_two_without_binary_get_ascii() {
    let body = |frames: &[Frame]| encode(Two, Layer::SocketIo, true, frames);
    assert_eq!(body(&[said("2[\"é\u{1f600}\"]")]), ("24:42[\"\\u00e9\\ud83d\\ude00\"]".into(), Text));
    assert_eq!(body(&[said("2/größe,1[\"ö\"]")]), ("20:42/größe,1[\"\\u00f6\"]".into(), Text));
    assert_eq!(body(&[said("51-/ö,[\"ö\"]")]), ("17:451-/ö,[\"\\u00f6\"]".into(), Text));
    assert_eq!(body(&[text(FrameKind::Open, "{\"sid\":\"x\"}")]), ("12:0{\"sid\":\"x\"}".into(), Text));
    assert_eq!(body(&[]), ("0:".into(), Text));
}

#[test]
fn messages_of_a_websocket_are_packets() {
    let message = |kind, payload: &'static [u8]| Message { kind, payload: Bytes::from_static(payload) };
    for (generation, written, frame) in [
        (Five, message(Kind::Text, b"2probe"), text(FrameKind::Ping, "probe")),
        (Five, message(Kind::Text, b"5"), text(FrameKind::Upgrade, "")),
        (Five, message(Kind::Text, b"42[\"a\"]"), said("2[\"a\"]")),
        (Five, message(Kind::Binary, b"\x01\x02"), binary(&[1, 2])),
        (Five, message(Kind::Binary, b""), binary(b"")),
        (Two, message(Kind::Text, b"0{}"), text(FrameKind::Open, "{}")),
        (Two, message(Kind::Binary, b"\x04\x01\x02"), binary(&[1, 2])),
        (Two, message(Kind::Binary, b"\x04"), binary(b"")),
    ] {
        assert_eq!(encode_message(generation, &frame), written);
        assert_eq!(decode_message(generation, written), Ok(frame));
    }
    assert_eq!(decode_message(Two, message(Kind::Text, b"b4AQI=")), Ok(binary(&[1, 2])));
    for (generation, written) in [
        (Five, message(Kind::Text, b"")),
        (Five, message(Kind::Text, b"9")),
        (Two, message(Kind::Binary, b"")),
        (Two, message(Kind::Binary, b"\x34a")),
        (Two, message(Kind::Binary, b"\x02")),
    ] {
        assert_eq!(decode_message(generation, written), Err(Cause::PacketMalformed));
    }
}

#[test]
fn bodies_of_generation_one_hold_one_packet_or_several() {
    let decode = |body: &str| decode_legacy_payload(Bytes::copy_from_slice(body.as_bytes()), &settings());
    let write = |texts: &[&str]| {
        let mut writer = PayloadWriter::new(One, Layer::SocketIo, true);
        for text in texts {
            writer.push(Message { kind: Kind::Text, payload: Bytes::copy_from_slice(text.as_bytes()) });
        }
        writer.finish()
    };
    for (texts, body) in [
        (&["5:::{\"name\":\"a\"}"][..], "5:::{\"name\":\"a\"}"),
        (&["3:::a", "2::"], "\u{fffd}5\u{fffd}3:::a\u{fffd}3\u{fffd}2::"),
        (
            &["3:::é\u{1f600}", "3:::\u{fffd}1\u{fffd}"],
            "\u{fffd}7\u{fffd}3:::é\u{1f600}\u{fffd}7\u{fffd}3:::\u{fffd}1\u{fffd}",
        ),
        (&["", "2::"], "\u{fffd}0\u{fffd}\u{fffd}3\u{fffd}2::"),
    ] {
        assert_eq!(write(texts), (Bytes::copy_from_slice(body.as_bytes()), Text));
        assert_eq!(
            decode(body),
            Ok(texts.iter().map(|text| Bytes::copy_from_slice(text.as_bytes())).collect()),
            "{body}"
        );
    }
    for body in [
        "",
        "\u{fffd}",
        "\u{fffd}3",
        "\u{fffd}3\u{fffd}2:",
        "\u{fffd}2\u{fffd}2::",
        "\u{fffd}\u{fffd}",
        "\u{fffd}x\u{fffd}2::",
        "\u{fffd}5\u{fffd}3:::\u{1f600}",
        "\u{fffd}9999999999\u{fffd}2::",
        "\u{fffd}3\u{fffd}2::x",
    ] {
        assert_eq!(decode(body), Err(Cause::PacketMalformed), "{body}");
    }
    assert_eq!(decode(&"\u{fffd}3\u{fffd}2::".repeat(6)), Err(Cause::PacketsTooMany));
    assert_eq!(decode_legacy_payload(Bytes::from_static(b"3:::\xff"), &settings()), Err(Cause::Utf8Invalid));
}

#[test]
fn any_packets_written_are_read_again() {
    let mut entropy = SeededEntropy::from_number(9);
    for _ in 0..2_000 {
        let count = 1 + entropy.below(5);
        let frames: Vec<Frame> = (0..count).map(|_| any_frame(&mut entropy)).collect();
        for (generation, base64_only) in [(Five, true), (Two, true), (Two, false)] {
            let (body, encoding) = encode(generation, Layer::Plain, base64_only, &frames);
            assert_eq!(decode(generation, encoding, &body), Ok(frames.clone()), "{generation:?} {base64_only}");
        }
        // With escapes it says the same.
        let (body, encoding) = encode(Two, Layer::SocketIo, true, &frames);
        assert_eq!(decode(Two, encoding, &body).map(|frames| frames.len()), Ok(frames.len()));
    }
}

fn any_frame(entropy: &mut SeededEntropy) -> Frame {
    let len = entropy.below(20) as usize;
    if entropy.below(3) == 0 {
        let mut data = vec![0; len];
        entropy.fill(&mut data);
        return binary(&data);
    }
    // Nothing that could be taken for the bytes of UTF-8.
    let data: String =
        (0..len).map(|_| ['a', '2', ':', 'ü', '\u{20ac}', '\u{1f600}'][entropy.below(6) as usize]).collect();
    said(&data)
}

#[test]
fn any_body_is_packets_or_has_a_cause() {
    const PIECES: [&[u8]; 16] = [
        b"1",
        b"2",
        b"4",
        b"b4",
        b":",
        b"\x1e",
        b"AQ==",
        b"\x00",
        b"\x01",
        b"\xff",
        b"\x04",
        "é".as_bytes(),
        b"\xc3\x83\xc2\xa9",
        "\u{1f600}".as_bytes(),
        "\u{fffd}".as_bytes(),
        b"x",
    ];
    let mut entropy = SeededEntropy::from_number(4);
    let mut packets = 0;
    for _ in 0..30_000 {
        let count = entropy.below(8);
        let body: Vec<u8> = (0..count).flat_map(|_| PIECES[entropy.below(16) as usize].iter().copied()).collect();
        for (generation, encoding) in [(Five, Text), (Two, Text), (Two, Binary)] {
            for frame in decode(generation, encoding, &body).unwrap_or_default() {
                assert!(frame.is_binary || core::str::from_utf8(&frame.data).is_ok(), "{body:?}");
                packets += 1;
            }
        }
        let _ = decode_legacy_payload(body.into(), &settings());
    }
    assert!(packets > 300, "{packets}");
}
