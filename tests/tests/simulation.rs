//! Worlds from seeds. `SEED=7` plays that one, `SEEDS=100000` so many; a world that fails tells its seed.

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
