use super::*;
use crate::entropy::{Entropy, SeededEntropy};
use crate::limits::Limits;
use crate::socketio::payload::encode_attachment;
use alloc::string::String;
use alloc::vec;

fn settings() -> Settings {
    Settings::new(&Limits { socketio_attachments: 3, socketio_depth: 10, ..Limits::DEFAULT })
}

fn decode(text: &'static str) -> Result<(Packet, usize), Cause> {
    Packet::decode(Generation::Five, Bytes::from_static(text.as_bytes()), &settings())
}

/// What a client without a past is sent.
fn encode(packet: &Packet, generation: Generation) -> String {
    let message = packet.encode_message(generation, None);
    assert_eq!(message.kind, Kind::Text);
    String::from_utf8(message.payload.to_vec()).unwrap()
}

fn from_node(kind: PacketKind, body: &'static str) -> Result<Packet, Cause> {
    Packet::from_node(kind, Bytes::from_static(body.as_bytes()), &settings())
}

#[test]
fn packets_of_every_kind_are_read_and_written_as_they_were() {
    use PacketKind::{Ack, Connect, Disconnect, Event, Refuse};
    // (text, kind, namespace, id, JSON)
    for (text, kind, namespace, id, json) in [
        ("0", Connect, "/", None, ""),
        ("0{\"token\":\"123\"}", Connect, "/", None, "{\"token\":\"123\"}"),
        ("0/admin,{\"sid\":\"oSO0OpakMV_3jnilAAAA\"}", Connect, "/admin", None, "{\"sid\":\"oSO0OpakMV_3jnilAAAA\"}"),
        ("0/admin,", Connect, "/admin", None, ""),
        ("1", Disconnect, "/", None, ""),
        ("1/admin,", Disconnect, "/admin", None, ""),
        ("2[\"foo\"]", Event, "/", None, "[\"foo\"]"),
        ("2/admin,[\"bar\"]", Event, "/admin", None, "[\"bar\"]"),
        ("212[\"foo\"]", Event, "/", Some(12), "[\"foo\"]"),
        ("2/admin,456[\"project:delete\",123]", Event, "/admin", Some(456), "[\"project:delete\",123]"),
        ("2[7,{\"a\":[]}]", Event, "/", None, "[7,{\"a\":[]}]"),
        ("2[\"\"]", Event, "/", None, "[\"\"]"),
        ("2[\"é \u{1f600}\",\"\\ud800\"]", Event, "/", None, "[\"é \u{1f600}\",\"\\ud800\"]"),
        ("2[\"a\",{\"_placeholder\":true,\"num\":0}]", Event, "/", None, "[\"a\",{\"_placeholder\":true,\"num\":0}]"),
        ("318446744073709551615[]", Ack, "/", Some(u64::MAX), "[]"),
        ("3/admin,0[\"bar\"]", Ack, "/admin", Some(0), "[\"bar\"]"),
        ("4{\"message\":\"Not authorized\"}", Refuse, "/", None, "{\"message\":\"Not authorized\"}"),
        ("4/a,{\"message\":\"x\",\"data\":{}}", Refuse, "/a", None, "{\"message\":\"x\",\"data\":{}}"),
    ] {
        let (packet, count) = decode(text).unwrap_or_else(|cause| panic!("{text}: {cause}"));
        assert_eq!((packet.kind(), packet.namespace(), packet.id(), count), (kind, namespace, id, 0), "{text}");
        assert_eq!((packet.json(), packet.content()), (Bytes::from_static(json.as_bytes()), None), "{text}");
        assert_eq!(encode(&packet, Generation::Five), ["4", text].concat());
        let made = Packet::new(kind, namespace, id, json.as_bytes(), vec![], &settings());
        assert_eq!(made.as_ref(), Ok(&packet), "{text}");
        assert_eq!(Packet::from_node(kind, packet.to_node(), &settings()), Ok(packet), "{text}");
    }
}

#[test]
fn the_same_said_otherwise_is_the_same() {
    for (text, usual) in [
        ("0/", "0"),
        ("0/,", "0"),
        ("0/chat", "0/chat,"),
        ("1/chat", "1/chat,"),
        ("2/,1[\"a\"]", "21[\"a\"]"),
        ("50-[\"a\"]", "2[\"a\"]"),
        ("60-/chat,7[]", "3/chat,7[]"),
    ] {
        assert_eq!(decode(text), decode(usual), "{text}");
    }
}

#[test]
fn what_is_no_packet_has_its_cause() {
    use Cause::{AttachmentsWrong, JsonMalformed, JsonTooDeep, PacketMalformed};
    for (text, cause) in [
        ("", PacketMalformed),
        ("7", PacketMalformed),
        ("a[\"a\"]", PacketMalformed),
        ("-1", PacketMalformed),
        ("0[]", JsonMalformed),
        ("0\"a\"", JsonMalformed),
        ("0{", JsonMalformed),
        ("01{}", PacketMalformed),
        ("1{}", JsonMalformed),
        ("1\"why\"", PacketMalformed),
        ("11", PacketMalformed),
        ("2", JsonMalformed),
        ("2[]", JsonMalformed),
        ("2{}", JsonMalformed),
        ("2{\"name\":\"a\"}", JsonMalformed),
        ("2\"a\"", JsonMalformed),
        ("2[null]", JsonMalformed),
        ("2[[\"a\"]]", JsonMalformed),
        ("2[\"a\"", JsonMalformed),
        ("2[\"a\"]]", JsonMalformed),
        ("2 [\"a\"]", JsonMalformed),
        ("2[\"a\"] ", JsonMalformed),
        ("2-1[\"a\"]", JsonMalformed),
        ("218446744073709551616[\"a\"]", PacketMalformed),
        ("2/chat[\"a\"]", JsonMalformed),
        ("2/cha\tt,[\"a\"]", PacketMalformed),
        ("2[\"connect\"]", JsonMalformed),
        ("2[\"disconnecting\",1]", JsonMalformed),
        ("2[\"\\u0063onnect\"]", JsonMalformed),
        ("2[\"a\",[[[[[[[[[[1]]]]]]]]]]]", JsonTooDeep),
        ("201[\"a\"]", PacketMalformed),
        ("500-[\"a\"]", PacketMalformed),
        ("3[]", PacketMalformed),
        ("31{}", JsonMalformed),
        ("31", JsonMalformed),
        ("4[]", JsonMalformed),
        ("41", PacketMalformed),
        ("5", PacketMalformed),
        ("5-[\"a\"]", PacketMalformed),
        ("51[\"a\"]", PacketMalformed),
        ("5a-[\"a\"]", PacketMalformed),
        ("51-[\"a\"]", AttachmentsWrong),
        ("50-[\"a\",{\"_placeholder\":true,\"num\":0}]", AttachmentsWrong),
        ("51-[\"a\",{\"_placeholder\":true,\"num\":1}]", AttachmentsWrong),
        ("54-[\"a\"]", AttachmentsWrong),
        ("599999999999999999999-[\"a\"]", PacketMalformed),
        ("51-", JsonMalformed),
    ] {
        assert_eq!(decode(text), Err(cause), "{text}");
    }
}

#[test]
fn attachments_follow_the_text() {
    let text = "51-/admin,7[\"a\",{\"_placeholder\":true,\"num\":0}]";
    let (mut packet, count) = decode(text).unwrap();
    assert_eq!(count, 1);
    packet.attach(Bytes::from_static(b"\x01\x02"));
    assert_eq!(encode(&packet, Generation::Five), ["4", text].concat());
    assert_eq!(encode(&packet, Generation::Two), ["4", text].concat());
    let attachment = &packet.attachments()[0];
    let message = |payload: &'static [u8]| Message { kind: Kind::Binary, payload: Bytes::from_static(payload) };
    assert_eq!(encode_attachment(Generation::Five, attachment), message(b"\x01\x02"));
    assert_eq!(encode_attachment(Generation::Two, attachment), message(b"\x04\x01\x02"));
    assert_eq!(packet.to_node(), [b"2-", &text.as_bytes()[3..], b"\x01\x02"].concat());
    assert_eq!(Packet::from_node(PacketKind::Event, packet.to_node(), &settings()), Ok(packet));
}

#[test]
fn a_node_puts_sizes_in_front_and_attachments_behind() {
    let json = "[\"a\",{\"_placeholder\":true,\"num\":1},{\"_placeholder\":true,\"num\":0}]";
    let body: &'static str = ["3,0-/chat,", json, "xyz"].concat().leak();
    let packet = from_node(PacketKind::Event, body).unwrap();
    assert_eq!((packet.namespace(), packet.attachments()), ("/chat", &[Bytes::from_static(b"xyz"), Bytes::new()][..]));
    assert_eq!(packet.to_node(), body);
    assert_eq!(encode(&packet, Generation::Five), ["452-/chat,", json].concat());
    for body in [
        "4-[\"a\",{\"_placeholder\":true,\"num\":0}]xyz",
        "99-[\"a\"]",
        "3-[\"a\"]xyz",
        "3,3-[\"a\",{\"_placeholder\":true,\"num\":0}]xyzxyz",
        "1,1,1,1-[\"a\"]wxyz",
        ",-[\"a\"]",
        "1,-[\"a\",{\"_placeholder\":true,\"num\":0}]x",
        "99999999999999999999999-[\"a\"]",
        "0-[\"a\"]",
    ] {
        let cause = from_node(PacketKind::Event, body).unwrap_err();
        assert!(matches!(cause, Cause::AttachmentsWrong | Cause::JsonMalformed), "{body}: {cause}");
    }
    assert_eq!(from_node(PacketKind::Connect, "1-{}x"), Err(Cause::AttachmentsWrong));
}

#[test]
fn an_event_of_a_node_may_be_an_object() {
    for (object, packet) in [
        ("{\"name\":\"news\",\"args\":[{\"hello\":\"world\"}]}", "2[\"news\",{\"hello\":\"world\"}]"),
        ("{\"args\":[1, 2],\"name\":\"a\"}", "2[\"a\",1, 2]"),
        ("{\"name\":\"a\"}", "2[\"a\"]"),
        ("{ \"name\" : \"a\" , \"args\" : [ ] , \"other\":null}", "2[\"a\"]"),
        ("/chat,12{\"name\":\"a\",\"args\":[[]]}", "2/chat,12[\"a\",[]]"),
        (" {\"name\":5}\n", "2[5]"),
        ("\t[\"a\"]\r\n", "2[\"a\"]"),
    ] {
        let made = from_node(PacketKind::Event, object).unwrap_or_else(|cause| panic!("{object}: {cause}"));
        assert_eq!(made, decode(packet).unwrap().0, "{object}");
    }
    for object in [
        "{}",
        "{\"args\":[]}",
        "{\"name\":null}",
        "{\"name\":\"a\",\"args\":{}}",
        "{\"name\":\"connect\"}",
        "{\"name\":\"a\"}x",
    ] {
        assert_eq!(from_node(PacketKind::Event, object), Err(Cause::JsonMalformed), "{object}");
    }
    assert_eq!(from_node(PacketKind::Ack, "1{\"name\":\"a\"}"), Err(Cause::JsonMalformed));
    assert_eq!(
        Packet::from_node(PacketKind::Event, Bytes::from_static(b"[\"\xff\"]"), &settings()),
        Err(Cause::Utf8Invalid)
    );
    assert_eq!(from_node(PacketKind::Disconnect, "/chat,\"kicked\"").unwrap().json(), "\"kicked\"");
}

#[test]
fn a_node_that_knows_no_packets_gets_an_object() {
    for (text, object) in [
        ("2[\"a\"]", "{\"name\":\"a\",\"args\":[]}"),
        ("2[ \"a,\" ]", "{\"name\":\"a,\",\"args\":[]}"),
        ("2/chat,1[\"a\",1,[2]]", "{\"name\":\"a\",\"args\":[1,[2]]}"),
        ("2[ 5 , {\"k\":\"]\"} ]", "{\"name\":5,\"args\":[{\"k\":\"]\"} ]}"),
        ("31[1]", "[1]"),
    ] {
        let object_of = decode(text).unwrap().0.to_object();
        assert_eq!(object_of, object, "{text}");
        assert_eq!(json::check(&object_of, 10), Ok(()));
    }
    let (mut packet, _) =
        decode("52-[\"a\",{\"k\":{\"_placeholder\":true,\"num\":1}},{\"num\":0,\"_placeholder\":true}]").unwrap();
    packet.attach(Bytes::from_static(b"\x00\x01\x02\x03"));
    packet.attach(Bytes::new());
    let object =
        "{\"name\":\"a\",\"args\":[{\"k\":{\"base64\":true,\"data\":\"\"}},{\"base64\":true,\"data\":\"AAECAw==\"}]}";
    assert_eq!(packet.to_object(), object);
}

#[test]
fn messages_without_a_name_are_events_of_the_name_message() {
    for (content, body, text) in [
        (Content::Text, "", "2[\"message\",\"\"]"),
        (Content::Text, "plain", "2[\"message\",\"plain\"]"),
        (Content::Text, "\"],[\n\u{1f600}", "2[\"message\",\"\\\"],[\\n\u{1f600}\"]"),
        (Content::Json, "{\"a\":[1]}", "2[\"message\",{\"a\":[1]}]"),
        (Content::Json, "\"s\"", "2[\"message\",\"s\"]"),
    ] {
        let packet = Packet::from_content(content, body.as_bytes(), &settings()).unwrap();
        assert_eq!((packet.content(), packet.to_content()), (Some(content), Bytes::from_static(body.as_bytes())));
        assert_eq!(encode(&packet, Generation::Two), ["4", text].concat());
        assert_eq!(decode(text).unwrap().0.to_content(), "");
    }
    for body in ["", "1,2", "1],[2", "x"] {
        assert_eq!(
            Packet::from_content(Content::Json, body.as_bytes(), &settings()),
            Err(Cause::JsonMalformed),
            "{body}"
        );
    }
    assert_eq!(Packet::from_content(Content::Text, b"\xff", &settings()), Err(Cause::Utf8Invalid));
}

#[test]
fn each_generation_is_told_in_its_own_words() {
    let packet = |kind, json: &str| Packet::new(kind, "/chat", None, json.as_bytes(), vec![], &settings()).unwrap();
    let refused = packet(PacketKind::Refuse, "{\"data\":{},\"message\":\"no\"}");
    assert_eq!(encode(&refused, Generation::Five), "44/chat,{\"data\":{},\"message\":\"no\"}");
    assert_eq!(encode(&refused, Generation::Two), "44/chat,\"no\"");
    assert_eq!(encode(&packet(PacketKind::Refuse, "{\"data\":1}"), Generation::Two), "44/chat,{\"data\":1}");
    assert_eq!(encode(&packet(PacketKind::Refuse, "\"no\""), Generation::Five), "44/chat,{\"message\":\"no\"}");
    assert_eq!(encode(&packet(PacketKind::Refuse, ""), Generation::Five), "44/chat,{\"message\":\"Refused\"}");
    assert_eq!(encode(&packet(PacketKind::Refuse, ""), Generation::Two), "44/chat,\"Refused\"");
    assert_eq!(encode(&packet(PacketKind::Disconnect, "\"why\""), Generation::Five), "41/chat,");
    let asked = packet(PacketKind::Connect, "{\"token\":\"a b\"}");
    assert_eq!(encode(&asked, Generation::Two), "40/chat?token=a%20b,");
    assert_eq!(encode(&packet(PacketKind::Connect, ""), Generation::Two), "40/chat,");
    let main = Packet::new(PacketKind::Connect, "/", None, b"", vec![], &settings()).unwrap();
    assert_eq!(encode(&main, Generation::Two), "40");
    let text = Bytes::from_static(b"0/chat?token=a+b");
    assert_eq!(Packet::decode(Generation::Two, text.clone(), &settings()), Ok((asked, 0)));
    let (as_five, _) = Packet::decode(Generation::Five, text, &settings()).unwrap();
    assert_eq!((as_five.namespace(), as_five.json()), ("/chat?token=a+b", Bytes::new()));
}

#[test]
fn an_offset_is_a_further_last_argument() {
    let offset = |text| {
        let message = decode(text).unwrap().0.encode_message(Generation::Five, Some(17));
        String::from_utf8(message.payload.to_vec()).unwrap()
    };
    assert_eq!(offset("2[\"a\"]"), "42[\"a\",\"17\"]");
    assert_eq!(offset("2/chat,[\"a\",[1] ]"), "42/chat,[\"a\",[1] ,\"17\"]");
    assert_eq!(offset("31[]"), "431[]");
}

#[test]
fn what_cannot_be_a_packet_is_not_made() {
    let new = |namespace: &str, json: &[u8]| Packet::new(PacketKind::Event, namespace, None, json, vec![], &settings());
    for namespace in ["", "chat", "/a,b", "/a\n", "/,"] {
        assert_eq!(new(namespace, b"[\"a\"]"), Err(Cause::PacketMalformed), "{namespace:?}");
    }
    assert_eq!(new("/", b"1[\"a\"]"), Err(Cause::JsonMalformed));
    assert_eq!(new("/", b"/b,[\"a\"]"), Err(Cause::JsonMalformed));
    assert_eq!(new("/", b"[\"\xff\"]"), Err(Cause::Utf8Invalid));
    let attachments = vec![Bytes::new(); 4];
    let made = Packet::new(PacketKind::Event, "/", None, b"[\"a\"]", attachments, &settings());
    assert_eq!(made, Err(Cause::AttachmentsWrong));
}

#[test]
fn a_packet_without_attachments_is_a_slice_of_what_came_in() {
    let text = Bytes::from_static(b"2/chat,12[\"a\"]");
    let (packet, _) = Packet::decode(Generation::Five, text.clone(), &settings()).unwrap();
    assert_eq!(packet.to_node().as_ptr(), text[1..].as_ptr());
    let again = Packet::from_node(PacketKind::Event, packet.to_node(), &settings()).unwrap();
    assert_eq!(again.json().as_ptr(), text[9..].as_ptr());
    assert_eq!(packet.attachments.capacity(), 0);
}

#[test]
fn any_packet_goes_through_every_form_unchanged() {
    let mut entropy = SeededEntropy::from_number(11);
    for _ in 0..2_000 {
        let packet = any_packet(&mut entropy);
        assert_eq!(Packet::from_node(packet.kind(), packet.to_node(), &settings()).as_ref(), Ok(&packet));
        let text = packet.encode_message(Generation::Five, None).payload.slice(1..);
        let (mut again, count) = Packet::decode(Generation::Five, text, &settings()).unwrap();
        assert_eq!(count, packet.attachments().len());
        packet.attachments().iter().for_each(|attachment| again.attach(attachment.clone()));
        assert_eq!(again, packet);
        if packet.kind() == PacketKind::Event {
            assert_eq!(json::check(&packet.to_object(), 20), Ok(()));
        }
    }
}

#[test]
fn any_text_is_a_packet_or_has_a_cause() {
    const PIECES: [&str; 16] = [
        "2",
        "5",
        "1",
        "-",
        "/a",
        ",",
        "[",
        "\"a\"",
        "]",
        "{\"_placeholder\":true,\"num\":0}",
        "{",
        "}",
        "é",
        "?b=c",
        " ",
        "\n",
    ];
    let mut entropy = SeededEntropy::from_number(5);
    let mut packets = 0;
    for _ in 0..30_000 {
        let count = entropy.below(9);
        let text: String = (0..count).map(|_| PIECES[entropy.below(16) as usize]).collect();
        let generation = [Generation::Five, Generation::Two][entropy.below(2) as usize];
        if let Ok((packet, _)) = Packet::decode(generation, text.clone().into(), &settings()) {
            assert!(packet.namespace().starts_with('/') && packet.json().len() <= packet.held(), "{text}");
            packets += 1;
        }
        if let Ok(packet) = Packet::from_node(PacketKind::Event, text.clone().into(), &settings()) {
            assert_eq!(Packet::from_node(PacketKind::Event, packet.to_node(), &settings()), Ok(packet), "{text}");
        }
    }
    assert!(packets > 30, "{packets}");
}

fn any_packet(entropy: &mut SeededEntropy) -> Packet {
    use PacketKind::{Ack, Connect, Disconnect, Event, Refuse};
    let kind = [Connect, Disconnect, Event, Event, Event, Ack, Refuse][entropy.below(7) as usize];
    let namespace = ["/", "/chat", "/größe", "/a/b?c"][entropy.below(4) as usize];
    let mut attachments = vec![];
    let json = match kind {
        Connect | Refuse => ["{\"a\":\"b\"}", "{\"message\":\"x\"}"][entropy.below(2) as usize].into(),
        Disconnect => String::new(),
        Event | Ack => {
            let mut json = String::from("[\"name\"");
            for _ in 0..entropy.below(6) {
                json.push(',');
                let place = ["{\"_placeholder\":true,\"num\":", &attachments.len().to_string(), "}"].concat();
                let piece =
                    ["1", "\"é\\\"\"", "[[],{}]", "{\"k\":null}", "{\"num\":0}", &place][entropy.below(6) as usize];
                let piece = if piece == place && attachments.len() == 3 { "null" } else { piece };
                if piece == place {
                    let mut bytes = vec![0; entropy.below(5) as usize];
                    entropy.fill(&mut bytes);
                    attachments.push(bytes.into());
                }
                json.push_str(piece);
            }
            json + "]"
        }
    };
    let id = match kind {
        Event => (entropy.below(2) == 0).then(|| entropy.below(1000)),
        Ack => Some(entropy.next_u64()),
        Connect | Disconnect | Refuse => None,
    };
    Packet::new(kind, namespace, id, json.as_bytes(), attachments, &settings()).unwrap()
}
