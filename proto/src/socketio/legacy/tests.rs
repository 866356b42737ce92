use super::*;
use crate::limits::Limits;
use alloc::string::String;

fn settings() -> Settings {
    Settings::new(&Limits::DEFAULT)
}

fn read(text: &'static str) -> Result<Legacy, Cause> {
    decode(Bytes::from_static(text.as_bytes()), &settings())
}

fn packet(text: &'static str) -> (Packet, Option<u64>) {
    match read(text) {
        Ok(Legacy::Packet { packet, acknowledge }) => (packet, acknowledge),
        other => panic!("{text}: {other:?}"),
    }
}

fn write(packet: &Packet) -> String {
    String::from_utf8(encode(packet).payload.to_vec()).unwrap()
}

#[test]
fn packets_are_what_later_generations_say() {
    use PacketKind::{Ack, Connect, Disconnect, Event, Refuse};
    // (text, kind, namespace, id, JSON, the id that is acknowledged at once)
    for (text, kind, namespace, id, json, acknowledge) in [
        ("0::", Disconnect, "/", None, "", None),
        ("0::/test", Disconnect, "/test", None, "", None),
        ("1::", Connect, "/", None, "", None),
        ("1::/test", Connect, "/test", None, "", None),
        ("1::/test?my=param", Connect, "/test", None, "{\"my\":\"param\"}", None),
        ("1::/test:?my=param", Connect, "/test", None, "{\"my\":\"param\"}", None),
        ("1:::my=param", Connect, "/", None, "{\"my\":\"param\"}", None),
        ("3:::blabla", Event, "/", None, "[\"message\",\"blabla\"]", None),
        ("3:1::blabla", Event, "/", None, "[\"message\",\"blabla\"]", Some(1)),
        ("3:1+:/a:b:c", Event, "/a", Some(1), "[\"message\",\"b:c\"]", None),
        ("3::", Event, "/", None, "[\"message\",\"\"]", None),
        ("4:1::{\"a\":\"b\"}", Event, "/", None, "[\"message\",{\"a\":\"b\"}]", Some(1)),
        ("4:::\"2\"", Event, "/", None, "[\"message\",\"2\"]", None),
        ("5:::{\"name\":\"woot\"}", Event, "/", None, "[\"woot\"]", None),
        ("5:1+::{\"name\":\"tobi\",\"args\":[1,\"é\"]}", Event, "/", Some(1), "[\"tobi\",1,\"é\"]", None),
        ("5:7:/chat:{\"name\":\"a\",\"args\":[]}", Event, "/chat", None, "[\"a\"]", Some(7)),
        ("6:::140", Ack, "/", Some(140), "[]", None),
        ("6:::12+[\"woot\",\"wa\"]", Ack, "/", Some(12), "[\"woot\",\"wa\"]", None),
        ("6::/chat:0+[]", Ack, "/chat", Some(0), "[]", None),
        ("7:::", Refuse, "/", None, "{\"message\":\"\"}", None),
        ("7::/chat:2", Refuse, "/chat", None, "{\"message\":\"unauthorized\"}", None),
        ("7:::1+0", Refuse, "/", None, "{\"message\":\"client not handshaken\"}", None),
    ] {
        let (packet, at_once) = packet(text);
        assert_eq!(
            (packet.kind(), packet.namespace(), packet.id(), at_once),
            (kind, namespace, id, acknowledge),
            "{text}"
        );
        assert_eq!(packet.json(), json, "{text}");
    }
    assert_eq!(
        (read("2::"), read("2:::"), read(HEARTBEAT)),
        (Ok(Legacy::Heartbeat), Ok(Legacy::Heartbeat), Ok(Legacy::Heartbeat))
    );
    assert_eq!((read("8::"), read(NOOP)), (Ok(Legacy::Noop), Ok(Legacy::Noop)));
}

#[test]
fn what_is_no_packet_has_its_cause() {
    use Cause::{JsonMalformed, PacketMalformed};
    for (text, cause) in [
        ("", PacketMalformed),
        ("5", PacketMalformed),
        ("5:", PacketMalformed),
        ("9::", PacketMalformed),
        ("55:::x", PacketMalformed),
        (":::x", PacketMalformed),
        ("3:a::x", PacketMalformed),
        ("3:+1::x", PacketMalformed),
        ("3:99999999999999999999::x", PacketMalformed),
        ("3::chat:x", PacketMalformed),
        ("3::/cha,t:x", PacketMalformed),
        ("1::/cha,t", PacketMalformed),
        ("1::{}", PacketMalformed),
        ("4:::", JsonMalformed),
        ("4:::{", JsonMalformed),
        ("5:::", JsonMalformed),
        ("5:::[\"a\"]", JsonMalformed),
        ("5:::{\"args\":[]}", JsonMalformed),
        ("5:::{\"name\":\"disconnect\"}", JsonMalformed),
        ("6:::", PacketMalformed),
        ("6:::x", PacketMalformed),
        ("6:::1+{}", JsonMalformed),
        ("6:::1+x", JsonMalformed),
    ] {
        assert_eq!(read(text), Err(cause), "{text}");
    }
}

#[test]
fn packets_are_written_as_they_are_read() {
    for text in [
        "0::",
        "0::/test",
        "1::",
        "1::/test",
        "1::/test?my=param",
        "3:::blabla",
        "3:::a:b\nc",
        "3:1+:/a:x",
        "4:::{\"a\":\"b\"}",
        "5:::{\"name\":\"a\",\"args\":[]}",
        "5:1+:/chat:{\"name\":\"tobi\",\"args\":[1,\"é\"]}",
        "6:::140",
        "6::/chat:12+[\"woot\"]",
        "7:::2",
        "7::/chat:2",
    ] {
        assert_eq!(write(&packet(text).0), text);
    }
    assert_eq!(encode_acknowledgement("/", 4).payload, "6:::4");
    assert_eq!(encode_acknowledgement("/chat", 4).payload, "6::/chat:4");
}

#[test]
fn attachments_stand_in_their_places() {
    let json = br#"["a",{"_placeholder":true,"num":0}]"#;
    let attachments = Vec::from([Bytes::from_static(b"\xff")]);
    let event = Packet::new(PacketKind::Event, "/", None, json, attachments.clone(), &settings()).unwrap();
    assert_eq!(write(&event), "5:::{\"name\":\"a\",\"args\":[{\"base64\":true,\"data\":\"/w==\"}]}");
    let ack = Packet::new(PacketKind::Ack, "/", Some(3), json, attachments, &settings()).unwrap();
    assert_eq!(write(&ack), "6:::3+[\"a\",{\"base64\":true,\"data\":\"/w==\"}]");
}
