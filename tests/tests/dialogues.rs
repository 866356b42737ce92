//! Every file of `dialogues/`, on every host.

use blastbeat_tests::dialogue::play;
use blastbeat_tests::sim::Sim;
use blastbeat_tests::sockets::Sockets;

/// Another seed for each dialogue, the same in each run.
fn chaos_seed(name: &str) -> u64 {
    name.bytes().fold(7, |seed, byte| seed * 31 % 1_000_003 + u64::from(byte))
}

macro_rules! dialogues {
    ($($name:ident)+) => {
        $(mod $name {
            use super::*;

            #[test]
            fn in_memory() {
                play(stringify!($name), Box::new(Sim::new()));
            }

            #[test]
            fn in_memory_by_sevens() {
                play(stringify!($name), Box::new(Sim::in_chunks(7)));
            }

            #[test]
            fn in_memory_byte_by_byte() {
                play(stringify!($name), Box::new(Sim::in_chunks(1)));
            }

            #[test]
            fn on_mio() {
                play(stringify!($name), Box::new(Sockets::mio()));
            }

            #[test]
            fn on_smol() {
                play(stringify!($name), Box::new(Sockets::smol()));
            }

            #[test]
            fn on_mio_in_chaos() {
                play(stringify!($name), Box::new(Sockets::mio().with_chaos(chaos_seed(stringify!($name)))));
            }

            #[test]
            fn on_smol_in_chaos() {
                play(stringify!($name), Box::new(Sockets::smol().with_chaos(chaos_seed(stringify!($name)))));
            }
        })+

        #[test]
        fn every_file_is_played() {
            let folder = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/dialogues")).unwrap();
            let names = folder.map(|file| file.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned());
            let forgotten: Vec<String> = names.filter(|name| ![$(stringify!($name)),+].contains(&&name[..])).collect();
            assert!(forgotten.is_empty(), "these are not listed here: {forgotten:?}");
        }
    };
}

dialogues! {
    a_chunk_under_a_length
    a_connection_keeps_its_node
    bad_chunks
    bad_framing
    bad_heads
    bad_zmtp
    bodiless_responses
    body_as_head
    capacity
    capacity_asked_for
    chunks
    client_gone
    close_when_asked
    default_host
    dictionary_response
    drain
    end_reason
    error_pages
    errors_capability
    expect_answered_without_the_body
    expect_continue
    expect_refused_early
    framing_faults_of_nodes
    goaway
    groups
    groups_body
    groups_max
    groups_names
    groups_of_all_kinds
    groups_of_hosts
    groups_order
    half_close
    hosts
    http_1_0
    http_1_0_chunks
    https_redirect
    inactivity
    interim_responses
    keep_alive
    keep_alive_timeout
    methods_and_versions
    no_node
    node_timeout
    packet_too_large
    pipelining
    pipes
    pipes_of_bodies
    pipes_refused
    push_without_http2
    quiet
    redispatch
    redispatch_all
    redispatch_none
    retry
    retry_buffer
    retry_hops
    retry_too_late
    retry_without_another_node
    routes
    slow_body
    slow_heads
    smuggling
    stop
    targets
    too_large
    unframed_is_chunked
    unknown_types
    unsound_heads_of_nodes
    upload_cut
    upgrade_to_http2
    uploads
    websocket_behind_the_handshake
    websocket_capacity
    websocket_closed_by_the_client
    websocket_closed_by_the_node
    websocket_deflate
    websocket_drain
    websocket_echo
    websocket_fragments
    websocket_handshake
    websocket_handshake_by_the_node
    websocket_handshake_passed_on
    websocket_handshake_refused
    websocket_idle
    websocket_length_of_a_frame
    websocket_messages_that_do_not_fit
    websocket_moves
    websocket_no_node
    websocket_node_lost
    websocket_pings
    websocket_stop
    websocket_violations
}
