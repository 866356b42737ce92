//! Frames and messages (RFC 6455, 5), by section.

use super::*;

/// 5.1: "The server MUST close the connection upon receiving a frame that is not masked."
#[test]
fn section_5_1_a_client_that_does_not_mask_is_refused() {
    is_refused(&unmasked(0x81, b"hello"), Cause::MaskWrong);
    is_refused(&unmasked(0x88, b""), Cause::MaskWrong);
}

/// 5.1: "A client MUST close a connection if it detects a masked frame."
#[test]
fn section_5_1_a_server_that_masks_is_refused() {
    let mut client = client();
    assert_eq!(feed(&mut client, &masked(0x81, b"hello")), []);
    assert_eq!(client.is_closing(), Some(Cause::MaskWrong));
    let mut server = server();
    let said = feed(&mut server, &written(&mut client));
    assert_eq!(said, [close(1002, "mask-wrong")]);
}

/// 5.1: "A server MUST NOT mask any frames that it sends to the client", a client has to.
#[test]
fn section_5_1_clients_mask_and_servers_do_not() {
    for event in [text("hello"), binary(&[0; 5000]), Event::Ping(Bytes::new()), close(1000, "")] {
        let (mut server, mut client) = (server(), client());
        server.send(event.clone(), NOW).unwrap();
        client.send(event, NOW).unwrap();
        assert_eq!(written(&mut server)[1] & 0x80, 0);
        assert_eq!(written(&mut client)[1] & 0x80, 0x80);
    }
}

/// 5.2: RSV1, RSV2, RSV3 "MUST be 0 unless an extension is negotiated".
#[test]
fn section_5_2_reserved_bits_are_refused() {
    for bit in [0x40, 0x20, 0x10] {
        for opcode in [0x81, 0x82, 0x88, 0x89, 0x8a] {
            is_refused(&masked(opcode | bit, b""), Cause::FrameMalformed);
        }
    }
}

/// 5.2: "If an unknown opcode is received, the receiving endpoint MUST _Fail the WebSocket Connection_."
#[test]
fn section_5_2_unknown_opcodes_are_refused() {
    for opcode in [3, 4, 5, 6, 7, 0xb, 0xc, 0xd, 0xe, 0xf] {
        is_refused(&masked(0x80 | opcode, b""), Cause::FrameMalformed);
        let mut server = server();
        let data = join(&[masked(0x81, b"first"), masked(0x80 | opcode, b"x")]);
        refused(&mut server, &data, &[text("first")], Cause::FrameMalformed);
    }
}

/// 5.2: "the minimal number of bytes MUST be used to encode the length", "the most significant bit MUST be 0".
#[test]
fn section_5_2_lengths_in_too_many_bytes_are_refused() {
    is_refused(&[0x82, 0x80 | 126, 0, 125, 0, 0, 0, 0], Cause::FrameMalformed);
    is_refused(&[0x82, 0x80 | 127, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0], Cause::FrameMalformed);
    is_refused(&[0x82, 0x80 | 127, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], Cause::FrameMalformed);
}

/// 5.2: the three ways of writing a length, at their borders.
#[test]
fn section_5_2_lengths_at_the_borders_of_their_encodings_are_read() {
    for length in [0, 1, 125, 126, 127, 128, 65_535, 65_536, 100_000] {
        let payload = vec![0xa5; length];
        assert_eq!(feed(&mut server(), &masked(0x82, &payload)), [binary(&payload)]);
        assert_eq!(feed(&mut client(), &unmasked(0x82, &payload)), [binary(&payload)]);
    }
}

/// 5.3: the example of 5.7, "A single-frame masked text message".
#[test]
fn section_5_3_the_masked_hello_of_the_rfc_is_read() {
    let frame = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    assert_eq!(feed(&mut server(), &frame), [text("Hello")]);
}

/// 5.4: fragments, with control frames between them.
#[test]
fn section_5_4_fragments_are_joined_and_control_frames_may_stand_between_them() {
    let mut server = server();
    let data = join(&[
        masked(0x01, b"Hel"),
        masked(0x89, b"are you there?"),
        masked(0x00, b""),
        masked(0x8a, b""),
        masked(0x80, b"lo"),
    ]);
    let ping = Bytes::from_static(b"are you there?");
    assert_eq!(feed(&mut server, &data), [Event::Ping(ping.clone()), Event::Pong(Bytes::new()), text("Hello")]);
    assert_eq!(written(&mut server), unmasked(0x8a, &ping));
    assert_eq!(server.held(), 0);
}

#[test]
fn section_5_4_empty_fragments_make_an_empty_message() {
    let data = join(&[masked(0x01, b""), masked(0x00, b""), masked(0x80, b"")]);
    assert_eq!(feed(&mut server(), &data), [text("")]);
}

/// 5.4: a continuation needs a message, and a message must end before the next begins.
#[test]
fn section_5_4_messages_are_not_interleaved() {
    is_refused(&masked(0x80, b"x"), Cause::FragmentUnexpected);
    is_refused(&masked(0x00, b"x"), Cause::FragmentUnexpected);
    is_refused(&join(&[masked(0x01, b"a"), masked(0x81, b"b")]), Cause::FragmentUnexpected);
    is_refused(&join(&[masked(0x02, b"a"), masked(0x02, b"b")]), Cause::FragmentUnexpected);
    let data = join(&[masked(0x01, b"a"), masked(0x80, b"b"), masked(0x80, b"c")]);
    refused(&mut server(), &data, &[text("ab")], Cause::FragmentUnexpected);
}

/// 5.5: "All control frames MUST have a payload length of 125 bytes or less and MUST NOT be fragmented."
#[test]
fn section_5_5_control_frames_are_short_and_whole() {
    for opcode in [0x88, 0x89, 0x8a] {
        is_refused(&masked(opcode, &[b'x'; 126]), Cause::ControlFrameMalformed);
        is_refused(&masked(opcode & 0x0f, b""), Cause::ControlFrameMalformed);
        // The header alone is enough.
        is_refused(&masked(opcode, &[b'x'; 126])[..8], Cause::ControlFrameMalformed);
    }
    let ping = [b'x'; 125];
    assert_eq!(feed(&mut server(), &masked(0x89, &ping)), [Event::Ping(Bytes::copy_from_slice(&ping))]);
}

/// 5.5.2: "Upon receipt of a Ping frame, an endpoint MUST send a Pong frame in response"; 5.5.3: with the same payload.
#[test]
fn section_5_5_2_pings_are_answered_with_their_payload() {
    let mut server = server();
    feed(&mut server, &join(&[masked(0x89, b"one"), masked(0x89, b"")]));
    assert_eq!(written(&mut server), join(&[unmasked(0x8a, b"one"), unmasked(0x8a, b"")]));
}

/// 5.5.3: an endpoint that has not yet answered earlier pings "MAY elect to send a Pong frame for only the most
/// recently processed Ping frame": so a peer that does not read makes no queue grow.
#[test]
fn section_5_5_3_pings_without_end_make_no_queue_without_end() {
    let mut server = server();
    let ping = masked(0x89, &[b'x'; 125]);
    for _ in 0..2000 {
        feed(&mut server, &ping);
    }
    feed(&mut server, &masked(0x89, b"last"));
    assert!(server.queued() < 70_000, "{}", server.queued());
    let said = written(&mut server);
    assert!(said.ends_with(&unmasked(0x8a, b"last")));
    assert_eq!(server.queued(), 0);
}

/// 5.6 and 8.1: text is UTF-8, seen as soon as it is wrong.
#[test]
fn section_5_6_text_that_is_not_utf_8_is_refused_as_soon_as_it_is_wrong() {
    let wrong: &[&[u8]] = &[
        b"\xff",
        b"ok \xc3\x28",
        b"\xed\xa0\x80",     // a surrogate
        b"\xf4\x90\x80\x80", // above the last character
        b"\xc0\xaf",         // longer than it need be
        b"\x80",
        b"cut \xe2\x82", // ends inside a character
    ];
    for payload in wrong {
        is_refused(&masked(0x81, payload), Cause::Utf8Invalid);
        is_refused(&join(&[masked(0x01, payload), masked(0x80, b"")]), Cause::Utf8Invalid);
        assert_eq!(feed(&mut server(), &masked(0x82, payload)), [binary(payload)]);
    }
    // Inside a frame that is not complete, and in a fragment that is not the last.
    let frame = masked(0x81, &[b"wrong \xff", &[b'x'; 1000][..]].concat());
    is_refused(&frame[..8 + 7], Cause::Utf8Invalid);
    is_refused(&masked(0x01, b"\xf4\x90"), Cause::Utf8Invalid);
}

/// 5.6: "a particular text frame might include a partial UTF-8 sequence; however, the whole message MUST contain valid
/// UTF-8."
#[test]
fn section_5_6_characters_may_be_cut_between_fragments() {
    let payload = "κόσμε \u{10ffff} €";
    for cut in 0..=payload.len() {
        let (before, after) = payload.as_bytes().split_at(cut);
        let data = join(&[masked(0x01, before), masked(0x80, after)]);
        assert_eq!(feed(&mut server(), &data), [text(payload)], "cut at {cut}");
    }
}

#[test]
fn a_message_above_the_bound_is_refused_at_its_header() {
    let mut large = server_with(Settings { message_bytes: 1000, ..settings() }, None);
    assert_eq!(feed(&mut large, &masked(0x82, &[1; 1000])), [binary(&[1; 1000])]);
    refused(&mut large, &masked(0x82, &[1; 1001])[..8], &[], Cause::MessageTooLarge);
    let mut split = server_with(Settings { message_bytes: 1000, ..settings() }, None);
    let data = join(&[masked(0x02, &[1; 600]), masked(0x80, &[1; 401])[..8].to_vec()]);
    refused(&mut split, &data, &[], Cause::MessageTooLarge);
    is_refused(&[0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4], Cause::MessageTooLarge);
}

#[test]
fn a_message_of_too_many_frames_is_refused() {
    let few = || server_with(Settings { frames: 3, ..settings() }, None);
    let mut frames = vec![masked(0x01, b"a"), masked(0x00, b""), masked(0x89, b""), masked(0x80, b"b")];
    let whole = [Event::Ping(Bytes::new()), text("ab")];
    assert_eq!(feed(&mut few(), &join(&frames)), whole);
    assert_eq!(feed(&mut few(), &join(&[join(&frames), join(&frames)])), [&whole[..], &whole[..]].concat());
    frames.insert(1, masked(0x00, b""));
    let mut few = few();
    assert_eq!(feed(&mut few, &join(&frames)), [Event::Ping(Bytes::new())]);
    assert_eq!(few.is_closing(), Some(Cause::FramesTooMany));
}

#[test]
fn memory_follows_what_came_and_not_what_was_announced() {
    let mut server = server();
    let header = [0x82, 0xff, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 1, 2, 3, 4];
    feed(&mut server, &header);
    assert!(server.held() < 100, "{}", server.held());
    for i in 1..=64 {
        feed(&mut server, &[7; 16 * 1024]);
        assert!(server.held() <= 2 * i * 16 * 1024, "{} after {i}", server.held());
    }
}

#[test]
fn one_event_waits_at_a_time() {
    let mut server = server();
    let data = join(&[masked(0x81, b"a"), masked(0x81, b"b")]);
    let first = server.receive(&data, NOW);
    assert_eq!(first, data.len() / 2);
    assert_eq!(server.room(), 0);
    assert_eq!(server.receive(&data[first..], NOW), 0);
    assert_eq!(server.poll_event(), Some(text("a")));
    assert!(server.room() > 0);
    assert_eq!(server.receive(&data[first..], NOW), first);
    assert_eq!(server.poll_event(), Some(text("b")));
    assert_eq!(server.poll_event(), None);
}
