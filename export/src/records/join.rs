//! The lists of several builds made one: nobody's results are lost, and the list does not grow for ever.
//!
//! Results leave a list when it becomes too long, those first that were of no use for the longest time, and when their
//! blobs are known to be gone.

use std::collections::{BTreeMap, HashSet};

use cache::CacheKey;
use oci::Digest;

use crate::records::Listed;

/// So many results are listed at most.
const MOST_RESULTS: usize = 2000;
/// And so many layers, those of all stacks together, each once. A registry takes manifests of up to 4 MiB.
const MOST_LAYERS: usize = 4000;
/// And texts of steps and names of inputs of so many bytes; the rest is not told.
const MOST_INPUTS: usize = 1 << 20;
/// Aliases of one result.
const MOST_KEYS: usize = 8;
/// A use is noted if the last one is so long ago, in seconds: a build that adds nothing then writes nothing.
const USE_GRAIN: i64 = 24 * 60 * 60;

/// A list made of two.
#[derive(Clone, Debug)]
pub struct Joined {
    /// What it lists.
    pub results: Vec<Listed>,
    /// Whether it is another list than the one that was there.
    pub is_new: bool,
}

/// Joins what is listed `there` with `ours`, which are of use `now`. Of results with the same key the one that is there
/// stays, unless one of its blobs is `gone`.
#[must_use]
pub fn join(there: Vec<Listed>, ours: &[Listed], gone: &HashSet<Digest>, now: i64) -> Joined {
    let mut joined = BTreeMap::new();
    let mut is_new = false;
    for result in there {
        let Some(key) = result.keys.first().copied() else {
            continue;
        };
        // A time still to come is no reason to stay for ever.
        let used = result.used.map(|used| used.min(now));
        let result = Listed { used, ..result };
        if result.stack.iter().any(|(blob, _)| gone.contains(&blob.digest)) {
            is_new = true;
        } else {
            joined.insert(key, result);
        }
    }
    let mut in_use = HashSet::new();
    for result in ours.iter().filter(|result| !result.stack.is_empty()) {
        let Some(key) = result.keys.first().copied() else {
            continue;
        };
        in_use.insert(key);
        match joined.get_mut(&key) {
            Some(known) => is_new |= note_use(known, result, now),
            None => {
                is_new = true;
                let used = Some(now);
                joined.insert(key, Listed { used, ..result.clone() });
            }
        }
    }
    let mut results: Vec<Listed> = joined.into_values().collect();
    is_new |= bound(&mut results, &in_use);
    Joined { results, is_new }
}

/// Notes that `known` was of use as `ours`; whether that says anything new.
fn note_use(known: &mut Listed, ours: &Listed, now: i64) -> bool {
    let mut is_new = false;
    for key in &ours.keys {
        if !known.keys.contains(key) && known.keys.len() < MOST_KEYS {
            known.keys.push(*key);
            is_new = true;
        }
    }
    if known.used.is_none_or(|used| now - used > USE_GRAIN) {
        known.used = Some(now);
        is_new = true;
    }
    is_new
}

/// Takes out the oldest results until the list is short enough; whether there were any to take out.
fn bound(results: &mut Vec<Listed>, in_use: &HashSet<CacheKey>) -> bool {
    let age = |result: &Listed| {
        let is_in_use = result.keys.first().is_some_and(|key| in_use.contains(key));
        (is_in_use, result.used.unwrap_or(0))
    };
    results.sort_by_key(|result| (std::cmp::Reverse(age(result)), result.keys.first().copied()));
    let mut layers = HashSet::new();
    let fits = |result: &Listed| {
        layers.extend(result.stack.iter().map(|(blob, _)| blob.digest));
        layers.len() <= MOST_LAYERS
    };
    let count = results
        .iter()
        .take(MOST_RESULTS)
        .map(fits)
        .take_while(|fits| *fits)
        .count();
    let too_many = results.len() > count;
    results.truncate(count);
    let mut inputs = 0;
    for result in results.iter_mut() {
        let Some(origin) = &result.origin else { continue };
        inputs += origin.step.len() + origin.inputs.iter().map(|(name, _)| name.len() + 16).sum::<usize>();
        if inputs > MOST_INPUTS {
            result.origin = None;
        }
    }
    too_many
}

#[cfg(test)]
mod tests {
    use oci::{Descriptor, DiffId};

    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn listed(name: &str, used: Option<i64>) -> Listed {
        let digest = Digest::of(name.as_bytes());
        Listed {
            keys: vec![CacheKey(digest)],
            stack: vec![(Descriptor::of("", name.as_bytes()), DiffId(digest))],
            used,
            origin: None,
        }
    }

    fn joined(there: &[Listed], ours: &[Listed]) -> Joined {
        join(there.to_vec(), ours, &HashSet::new(), NOW)
    }

    #[test]
    fn nobody_loses_a_result() {
        let (a, b) = (listed("a", Some(5)), listed("b", None));
        let both = joined(std::slice::from_ref(&a), std::slice::from_ref(&b));
        assert!(both.is_new);
        assert_eq!(both.results, [listed("b", Some(NOW)), a]);
        let again = joined(&both.results, &[b]);
        assert!(!again.is_new, "what is listed and was of use today changes nothing");
    }

    #[test]
    fn a_use_is_noted_once_a_day() {
        let there = [listed("a", Some(NOW - 2 * USE_GRAIN))];
        let noted = joined(&there, &[listed("a", None)]);
        assert!(noted.is_new);
        assert_eq!(noted.results, [listed("a", Some(NOW))]);
    }

    #[test]
    fn what_lost_its_blobs_leaves_and_can_come_back() {
        let there = vec![listed("a", Some(NOW)), listed("b", Some(NOW))];
        let gone = HashSet::from([there[0].stack[0].0.digest]);
        let left = join(there.clone(), &[], &gone, NOW);
        assert!(left.is_new);
        assert_eq!(left.results, [there[1].clone()]);
        let other = Listed {
            stack: listed("anew", None).stack,
            ..listed("a", None)
        };
        let again = join(there, std::slice::from_ref(&other), &gone, NOW);
        assert_eq!(again.results.len(), 2);
        assert!(again.results.iter().any(|result| result.stack == other.stack));
    }

    #[test]
    fn the_oldest_leave_a_list_that_is_too_long() {
        let there: Vec<Listed> = (0..MOST_RESULTS as i64)
            .map(|time| listed(&time.to_string(), Some(time)))
            .collect();
        let both = joined(&there, &[listed("ours", None)]);
        assert_eq!(both.results.len(), MOST_RESULTS);
        assert!(both.results.iter().all(|result| result.used != Some(0)));
        assert!(both.results.contains(&listed("ours", Some(NOW))));
    }
}
