//! The corpus, and mutations of it, under plain `cargo test`. `SEED=N` and `ROUNDS=N` choose others,
//! `BODY=NAME` one body.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use blastbeat_fuzz::{BODIES, Body};

const ROUNDS: u64 = 3000;

#[test]
fn every_body_holds_for_its_corpus_and_for_mutations_of_it() {
    let only = std::env::var("BODY").ok();
    for body in BODIES.iter().filter(|body| only.as_deref().is_none_or(|name| name == body.name)) {
        let corpus = corpus(body.name);
        assert!(!corpus.is_empty(), "corpus/{} is empty", body.name);
        for input in &corpus {
            run(body, input, "as it is in the corpus");
        }
        let (seed, rounds) = (number("SEED", 1), number("ROUNDS", ROUNDS));
        for round in 0..rounds {
            let mut random =
                Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ round.wrapping_mul(0xd1b5_4a32_d192_ed03));
            let input = mutation(&corpus, &mut random);
            run(body, &input, &format!("SEED={seed}, round {round}"));
        }
    }
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().expect("a number"))
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("a readable folder").path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).expect("a readable file")).collect()
}

fn run(body: &Body, input: &[u8], origin: &str) {
    if catch_unwind(AssertUnwindSafe(|| (body.run)(input))).is_err() {
        panic!("{}: the invariant does not hold for this input ({origin}): b\"{}\"", body.name, input.escape_ascii());
    }
}

/// A small generator: the rounds must be the same on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound.max(1) as u64) as usize
    }
}

/// An input of the corpus with one to six changes.
fn mutation(corpus: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut input = corpus[random.below(corpus.len())].clone();
    for _ in 0..=random.below(6) {
        let at = random.below(input.len() + 1);
        let end = at + random.below(input.len() + 1 - at);
        match random.below(8) {
            0 => input.insert(at, b"\r\n\0 :;,0\xff"[random.below(9)]),
            1 => input.insert(at, random.below(256) as u8),
            2 if at < input.len() => input[at] = random.below(256) as u8,
            3 if at < input.len() => input[at] ^= 1 << random.below(8),
            4 => drop(input.drain(at..end)),
            5 if input.len() < 4096 => input.extend_from_within(at..end),
            6 => input.truncate(end),
            _ => {
                let other = &corpus[random.below(corpus.len())];
                input.extend_from_slice(&other[random.below(other.len())..]);
                input.truncate(4096);
            }
        }
    }
    input
}
