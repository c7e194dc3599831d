//! The seeds of the fuzz targets, and what is near them, through the targets' own functions: for a second each, or as many
//! as `RBUILD_FUZZ_SECONDS` says. What is near a seed is found by rule, without looking at what the program does with it;
//! the true search is `scripts/fuzz`.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test that cannot read the seeds should fail at once, and says what it tried"
)]

#[path = "../fuzz/src/lib.rs"]
#[allow(unreachable_pub, dead_code, reason = "they are a library elsewhere")]
mod fuzz;

use std::collections::BTreeSet;
use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Longer inputs are near no seed.
const LONGEST: usize = 64 << 10;

/// One after the other: some of them look at the current directory.
#[test]
fn the_targets_find_nothing_in_the_seeds_and_near_them() {
    let seconds = std::env::var("RBUILD_FUZZ_SECONDS").map_or(1.0, |text| text.parse().unwrap());
    for (name, target) in fuzz::TARGETS {
        let seeds = seeds(name);
        assert!(!seeds.is_empty(), "{name} has no seeds");
        for seed in &seeds {
            attempt(name, target, seed);
        }
        let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
        let (begin, mut count) = (Instant::now(), seeds.len());
        while begin.elapsed() < Duration::from_secs_f64(seconds) {
            attempt(name, target, &near(&seeds, &mut chance));
            count += 1;
        }
        eprintln!("{name}: {} seeds, {count} inputs", seeds.len());
    }
}

#[test]
fn every_target_is_in_all_the_lists() {
    let targets: BTreeSet<String> = fuzz::TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let names = |folder: &str| -> BTreeSet<String> {
        let entries = fs::read_dir(root().join(folder)).unwrap();
        let names = entries.map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned());
        names.collect()
    };
    assert_eq!(names("fuzz/fuzz_targets"), targets);
    assert_eq!(names("fuzz/seeds"), targets);
    let manifest: toml::Table = fs::read_to_string(root().join("fuzz/Cargo.toml"))
        .unwrap()
        .parse()
        .unwrap();
    let programs = manifest["bin"].as_array().unwrap().iter();
    let programs: BTreeSet<String> = programs
        .map(|program| program["name"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(programs, targets);
    let page = fs::read_to_string(root().join("fuzz/README.md")).unwrap();
    for target in &targets {
        assert!(
            page.contains(&format!("| `{target}` |")),
            "the page does not tell of {target}"
        );
    }
}

/// Keeps what a target does not like, so that it can be looked at.
fn attempt(name: &str, target: fn(&[u8]), input: &[u8]) {
    if catch_unwind(|| target(input)).is_err() {
        let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("found-by-{name}"));
        fs::write(&place, input).unwrap();
        panic!("the target {name} found something: {}", place.display());
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// In the order of their names.
fn seeds(target: &str) -> Vec<Vec<u8>> {
    let entries = fs::read_dir(root().join("fuzz/seeds").join(target)).unwrap();
    let paths: BTreeSet<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.into_iter().map(|path| fs::read(path).unwrap()).collect()
}

/// The same numbers each time.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % end.max(1)
    }
}

/// A seed with a few changes, some of them with parts of another.
fn near(seeds: &[Vec<u8>], chance: &mut Chance) -> Vec<u8> {
    const BYTES: &[u8] = b"\0\x01\x7f\x80\xff09aZ \t\n\\\"'$,;:=/.*[]{}()#@%-+";
    let mut input = seeds[chance.below(seeds.len())].clone();
    for _ in 0..=chance.below(4) {
        let place = chance.below(input.len() + 1);
        let part = |chance: &mut Chance, of: &[u8]| {
            let from = chance.below(of.len() + 1);
            let count = chance.below(of.len() - from + 1).min(1024);
            of[from..from + count].to_vec()
        };
        match chance.below(7) {
            0 if place < input.len() => input[place] ^= 1 << chance.below(8),
            1 if place < input.len() => input[place] = BYTES[chance.below(BYTES.len())],
            2 => input.truncate(place),
            3 => drop(input.drain(place..(place + chance.below(16)).min(input.len()))),
            4 => {
                let again = part(chance, &input);
                input.splice(place..place, again);
            }
            5 => {
                let other = chance.below(seeds.len());
                let other = part(chance, &seeds[other]);
                input.splice(place..place, other);
            }
            _ => input.insert(place, BYTES[chance.below(BYTES.len())]),
        }
    }
    input.truncate(LONGEST);
    input
}
