//! Numbers that look random and come again with their seed.

use crate::support::skipped;
use std::time::{SystemTime, UNIX_EPOCH};

/// A sequence of numbers.
pub(super) struct Draw(u64);

impl Draw {
    /// The sequence of `RBUILD_TEST_SEED`, or one of its own; says which.
    pub(super) fn announced(what: &str) -> Draw {
        let given = std::env::var("RBUILD_TEST_SEED")
            .ok()
            .and_then(|text| text.parse().ok());
        let now = || {
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(1, |since| since.subsec_nanos())
        };
        let seed = given.unwrap_or_else(|| u64::from(now()));
        eprintln!("{what}: RBUILD_TEST_SEED={seed}");
        Draw(seed)
    }

    /// The next number (splitmix64).
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 up to `end`, which is not reached.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    /// From 1 to `most`, small numbers as likely as all larger ones of twice the size.
    pub(super) fn small(&mut self, most: u64) -> u64 {
        let bits = 64 - most.max(1).leading_zeros();
        let end = 1 << (self.below(u64::from(bits)) + 1);
        (self.below(end) + 1).min(most)
    }

    pub(super) fn one_of<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        let at = self.below(choices.len() as u64);
        &choices[usize::try_from(at).unwrap()]
    }
}

/// How many times something is to be tried, by the variable. Without it nothing is: what else runs on the machine takes
/// numbers of processes and namespaces again, and looks like something left.
pub(super) fn count(variable: &str) -> Option<usize> {
    let said = std::env::var(variable).ok().and_then(|text| text.parse().ok());
    said.or_else(|| skipped(&format!("{variable}, and the machine for itself")))
}
