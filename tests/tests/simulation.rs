//! Worlds from seeds. `SEED=7` plays that one, `SEEDS=100000` so many; a world that fails tells its seed.

use std::panic::catch_unwind;

use blastbeat_tests::chat;
use blastbeat_tests::shadow::{self, Figures};
use blastbeat_tests::simulation::play;

const STEPS: usize = 250;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text}")))
}

/// The worlds with these remainders, so that several threads share them.
fn worlds(remainder: u64) {
    if let Some(seed) = number("SEED") {
        if remainder == 0 {
            play(seed, STEPS);
        }
        return;
    }
    for seed in (0..number("SEEDS").unwrap_or(400)).filter(|seed| seed % 4 == remainder) {
        play(seed, STEPS);
    }
}

#[test]
fn first_quarter_of_the_worlds() {
    worlds(0);
}

#[test]
fn second_quarter_of_the_worlds() {
    worlds(1);
}

#[test]
fn third_quarter_of_the_worlds() {
    worlds(2);
}

#[test]
fn last_quarter_of_the_worlds() {
    worlds(3);
}

#[test]
fn every_request_gets_its_own_answer_or_a_failure_that_the_facts_excuse() {
    let seeds = match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SEEDS").unwrap_or(150),
    };
    let mut all = Figures::default();
    for seed in seeds.clone() {
        let Ok(figures) = catch_unwind(|| shadow::run(seed)) else {
            panic!("seed {seed} fails; SEED={seed} plays it again");
        };
        all += figures;
    }
    // One world may well be without nodes for all its time.
    assert!(all.answered > 0 || number("SEED").is_some(), "nobody was answered: {all:?}");
    tell(&format!("{} seeds: {all:?}", seeds.end - seeds.start));
}

#[test]
fn every_message_of_a_websocket_reaches_whom_it_is_for_once_and_in_order() {
    let seeds = match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SEEDS").unwrap_or(100),
    };
    for seed in seeds {
        if catch_unwind(|| chat::play(seed, 150)).is_err() {
            panic!("seed {seed} fails; SEED={seed} plays it again");
        }
    }
}

#[allow(clippy::print_stdout, reason = "a long run tells what it did, with --nocapture")]
fn tell(text: &str) {
    println!("{text}");
}
