//! permessage-deflate (RFC 7692).

use super::*;
use crate::entropy::Entropy;

const CONTEXT: Deflate = Deflate {
    server_no_context_takeover: false,
    client_no_context_takeover: false,
    server_max_window_bits: None,
    client_max_window_bits: None,
};
const PER_MESSAGE: Deflate = Deflate { server_no_context_takeover: true, client_no_context_takeover: true, ..CONTEXT };

fn server_deflate(deflate: Deflate) -> Connection {
    server_with(settings(), Some(deflate))
}

/// 7.2.3.1: "A Message Compressed Using One Compressed DEFLATE Block", whole and in two fragments.
#[test]
fn section_7_2_3_1_one_block() {
    let hello = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    for deflate in [CONTEXT, PER_MESSAGE] {
        let mut server = server_deflate(deflate);
        assert_eq!(feed(&mut server, &masked(0xc1, &hello)), [text("Hello")]);
        let data = join(&[masked(0x41, &hello[..3]), masked(0x80, &hello[3..])]);
        assert_eq!(feed(&mut server, &data), [text("Hello")]);
    }
}

/// 7.2.3.2: "Sharing LZ77 Sliding Window".
#[test]
fn section_7_2_3_2_a_shared_window() {
    let first = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    let second = [0xf2, 0x00, 0x11, 0x00, 0x00];
    let mut server = server_deflate(CONTEXT);
    let data = join(&[masked(0xc1, &first), masked(0xc1, &second)]);
    assert_eq!(feed(&mut server, &data), [text("Hello"), text("Hello")]);
    // Without the context there is nothing that the second could refer to.
    refused(&mut server_deflate(PER_MESSAGE), &data, &[text("Hello")], Cause::DeflateMalformed);
}

/// 7.2.3.3: "Using a DEFLATE Block with No Compression".
#[test]
fn section_7_2_3_3_a_block_without_compression() {
    let hello = [0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00];
    assert_eq!(feed(&mut server_deflate(CONTEXT), &masked(0xc1, &hello)), [text("Hello")]);
}

/// 7.2.3.4: "Using a DEFLATE Block with "BFINAL" Set to 1".
#[test]
fn section_7_2_3_4_a_final_block() {
    let hello = [0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00];
    let mut server = server_deflate(CONTEXT);
    let data = join(&[masked(0xc1, &hello), masked(0xc1, &hello[..7]), masked(0xc1, &hello)]);
    assert_eq!(feed(&mut server, &data), [text("Hello"), text("Hello"), text("Hello")]);
}

/// 7.2.3.5: "Two DEFLATE Blocks in One Message".
#[test]
fn section_7_2_3_5_two_blocks() {
    let hello = [0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00];
    assert_eq!(feed(&mut server_deflate(CONTEXT), &masked(0xc1, &hello)), [text("Hello")]);
}

/// 7.2.3.6: "Compressed Empty Fragment", and messages that are empty.
#[test]
fn section_7_2_3_6_empty_messages() {
    let mut server = server_deflate(CONTEXT);
    let data = join(&[masked(0xc1, &[0x00]), masked(0xc1, &[0x02, 0x00]), masked(0xc1, &[]), masked(0x81, &[])]);
    assert_eq!(feed(&mut server, &data), [text(""), text(""), text(""), text("")]);
    let hello = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    let data = join(&[masked(0x41, &hello), masked(0x80, &[])]);
    assert_eq!(feed(&mut server, &data), [text("Hello")]);
}

/// 6: the first frame alone says that a message is compressed; control frames never are.
#[test]
fn section_6_the_bit_stands_in_first_frames_only() {
    let hello = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    for second in [0xc0, 0xc8, 0xc9, 0xca] {
        let data = join(&[masked(0x41, &hello[..3]), masked(second, &hello[3..])]);
        refused(&mut server_deflate(CONTEXT), &data, &[], Cause::FrameMalformed);
    }
    refused(&mut server_deflate(CONTEXT), &masked(0xa1, &hello), &[], Cause::FrameMalformed);
    let mut server = server_deflate(CONTEXT);
    assert_eq!(feed(&mut server, &masked(0x81, b"plain")), [text("plain")]);
}

#[test]
fn what_is_no_compressed_data_is_refused() {
    for deflate in [CONTEXT, PER_MESSAGE] {
        refused(&mut server_deflate(deflate), &masked(0xc2, &[0xff; 20]), &[], Cause::DeflateMalformed);
        refused(&mut server_deflate(deflate), &masked(0x42, &[0x06]), &[], Cause::DeflateMalformed);
    }
}

#[test]
fn decompressed_text_is_checked_as_it_comes() {
    let mut payload = vec![b'x'; 100_000];
    payload[50_000] = 0xff;
    let frame = compressed_frame(0xc1, &payload);
    let mut server = server_deflate(CONTEXT);
    let (start, _) = frame.split_at(frame.len() - 10);
    refused(&mut server, start, &[], Cause::Utf8Invalid);
    let cut = compressed_frame(0xc1, b"cut \xe2\x82");
    refused(&mut server_deflate(CONTEXT), &cut, &[], Cause::Utf8Invalid);
}

/// A masked frame of `payload`, compressed whatever its size.
fn compressed_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    masked(first, &crate::websocket::deflate::Encoder::new(15).encode(payload))
}

#[test]
fn a_bomb_hits_the_bound_of_messages_early() {
    let bomb = compressed_frame(0xc2, &vec![0; 16 << 20]);
    assert!(bomb.len() < 200_000, "{}", bomb.len());
    let max = 256 << 10;
    let limited = || server_with(Settings { message_bytes: max, ..settings() }, Some(CONTEXT));
    refused(&mut limited(), &bomb, &[], Cause::MessageTooLarge);
    // A small part of it is enough, and memory stays within the bound.
    let mut server = limited();
    let mut fed = 0;
    while server.is_closing().is_none() {
        feed(&mut server, &bomb[fed..fed + 64]);
        assert!(server.held() <= max + 1 + 45 * 1024, "{}", server.held());
        fed += 64;
    }
    assert!(fed < bomb.len() / 32, "{fed} of {}", bomb.len());
    // As much as is allowed is no bomb.
    let mut server = limited();
    assert_eq!(feed(&mut server, &compressed_frame(0xc2, &vec![0; max])), [binary(&vec![0; max])]);
    refused(&mut server, &compressed_frame(0xc2, &vec![0; max + 1]), &[], Cause::MessageTooLarge);
}

#[test]
fn compressed_data_that_says_nothing_is_bounded_too() {
    let mut server = server_with(Settings { message_bytes: 1000, ..settings() }, Some(CONTEXT));
    let nothing = [0x00, 0x00, 0x00, 0xff, 0xff].repeat(100);
    let data = join(&[masked(0x42, &nothing), masked(0x00, &nothing), masked(0x00, &nothing), masked(0x00, &nothing)]);
    feed(&mut server, &data);
    assert_eq!(server.is_closing(), None);
    refused(&mut server, &masked(0x00, &nothing), &[], Cause::MessageTooLarge);
}

/// 7.1: every agreement, both ways, with messages that refer to each other.
#[test]
fn section_7_1_messages_pass_whatever_was_agreed_on() {
    let mut entropy = SeededEntropy::from_number(7692);
    let mut noise = vec![0; 5_000];
    entropy.fill(&mut noise);
    let words = "the quick brown fox jumps over the lazy dog ".repeat(200);
    let events = [
        text("short"),
        text(&words),
        binary(&noise),
        text(""),
        text(&words[..64]),
        text(&words[..63]),
        binary(&noise),
        text(&words),
        binary(&vec![0; 30_000]),
        text(&words),
    ];
    for no_context in [false, true] {
        for bits in [None, Some(9), Some(10), Some(11), Some(12), Some(13), Some(14), Some(15)] {
            let deflate = Deflate {
                server_no_context_takeover: no_context,
                client_no_context_takeover: no_context,
                server_max_window_bits: bits,
                client_max_window_bits: bits,
            };
            let (mut server, mut client) = (server_deflate(deflate), client_with(settings(), Some(deflate)));
            for event in &events {
                server.send(event.clone(), NOW).unwrap();
                client.send(event.clone(), NOW).unwrap();
            }
            let (down, up) = (written(&mut server), written(&mut client));
            assert_eq!(feed(&mut client, &down), events, "{deflate:?}");
            assert_eq!(feed(&mut server, &up), events, "{deflate:?}");
            assert!(down.len() < 40_000, "{} {deflate:?}", down.len());
            // Without a context nothing is kept between two messages.
            assert_eq!(server.held() == 0, no_context);
        }
    }
}

#[test]
fn a_message_for_many_fits_every_agreement() {
    for length in [10, 200, 100_000] {
        let message = Message { kind: Kind::Text, payload: "news ".repeat(length / 5).into() };
        let mut prepared = Prepared::new(&message);
        for deflate in [None, Some(CONTEXT), Some(PER_MESSAGE)] {
            for bits in [None, Some(9), Some(15)] {
                let deflate = deflate.map(|deflate| Deflate { server_max_window_bits: bits, ..deflate });
                let (mut server, mut client) = (server_with(settings(), deflate), client_with(settings(), deflate));
                for _ in 0..3 {
                    server.send_prepared(&mut prepared, NOW).unwrap();
                }
                let said = written(&mut server);
                assert!(deflate.is_none() || length == 10 || said.len() < length * 3);
                assert_eq!(feed(&mut client, &said), vec![Event::Message(message.clone()); 3]);
            }
        }
    }
}

#[test]
fn what_cannot_be_compressed_grows_by_a_few_bytes_only() {
    let mut noise = vec![0; 10_000];
    SeededEntropy::from_number(3).fill(&mut noise);
    for deflate in [PER_MESSAGE, CONTEXT] {
        let mut server = server_deflate(deflate);
        server.send(binary(&noise), NOW).unwrap();
        assert!(server.queued() < noise.len() + 32, "{}", server.queued());
    }
}

#[test]
fn states_are_charged_while_there_are_any() {
    let mut server = server_deflate(CONTEXT);
    assert_eq!(server.held(), 0);
    feed(&mut server, &compressed_frame(0xc1, b"hello"));
    assert_eq!(server.held(), 45 * 1024);
    server.send(text(&"x".repeat(100)), NOW).unwrap();
    assert_eq!(server.held(), 345 * 1024);
    feed(&mut server, &masked(0x88, b""));
    written(&mut server);
    assert_eq!(server.held(), 0);
}
