//! What documents tell of origins, nothing twice.
//!
//! Steps recur in the results of every state of a file they read, and so do nearly all names of their inputs: both lie in
//! tables, sorted. A result has its step by the place there, and its names as runs of places, first and last of each; of a
//! COPY of a folder that is one run. The fingerprints stand in the order of the names, three characters each.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::records::Origin;

/// Eighteen bits: one value in a quarter of a million is taken for another, which costs the name of an input that changed.
const PRINT: usize = 3;

/// So many bytes of steps and names are told at most, each counted wherever it is meant: runs in a small document may
/// mean the longest names again and again.
const MOST_TOLD: usize = 2 << 20;
/// What an input takes besides its name.
const INPUT: usize = 16;

/// What is told of one result.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct OriginEntry {
    step: usize,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    names: Vec<usize>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    prints: String,
}

/// The texts of all origins of a document, each once.
#[derive(Debug, Default)]
pub(super) struct Tables {
    pub(super) steps: Vec<String>,
    pub(super) names: Vec<String>,
}

/// The fingerprint of a digest that begins with these eight digits.
pub(super) fn print(digits: &str) -> String {
    let bits = u32::from_str_radix(digits, 16).unwrap_or_default();
    let mut text = BASE64.encode(bits.to_be_bytes());
    text.truncate(PRINT);
    text
}

impl Tables {
    /// Of all that `origins` tell.
    pub(super) fn of<'a>(origins: impl Iterator<Item = &'a Origin>) -> Tables {
        let (mut steps, mut names) = (BTreeSet::new(), BTreeSet::new());
        for origin in origins {
            steps.insert(&origin.step);
            names.extend(origin.inputs.iter().map(|(name, _)| name));
        }
        let sorted = |texts: BTreeSet<&String>| texts.into_iter().cloned().collect();
        Tables {
            steps: sorted(steps),
            names: sorted(names),
        }
    }

    /// One of those origins. Of inputs with the same name the last counts.
    pub(super) fn entry(&self, origin: &Origin) -> OriginEntry {
        let place = |table: &[String], text: &String| table.binary_search(text).expect("all texts are in the tables");
        let inputs: BTreeMap<usize, &str> = origin
            .inputs
            .iter()
            .map(|(name, print)| (place(&self.names, name), print.as_str()))
            .collect();
        let mut names: Vec<usize> = Vec::new();
        for place in inputs.keys() {
            match names.last_mut() {
                Some(last) if *last + 1 == *place => *last = *place,
                _ => names.extend([*place, *place]),
            }
        }
        OriginEntry {
            step: place(&self.steps, &origin.step),
            names,
            prints: inputs.into_values().collect(),
        }
    }
}

/// Reads what is told, up to a bound for all of a document.
#[derive(Debug)]
pub(super) struct Teller<'a> {
    steps: &'a [String],
    names: &'a [String],
    told: usize,
}

impl<'a> Teller<'a> {
    /// Of a document with these tables.
    pub(super) fn new(steps: &'a [String], names: &'a [String]) -> Teller<'a> {
        Teller { steps, names, told: 0 }
    }

    /// What an entry tells.
    pub(super) fn origin(&mut self, entry: &OriginEntry) -> Result<Origin, Error> {
        let no_place = |what: &str| Error::Records(format!("it has no {what} where an origin says so"));
        let step = self.steps.get(entry.step).ok_or_else(|| no_place("step"))?;
        self.count(step.len())?;
        if !entry.prints.is_ascii() {
            return Err(no_place("fingerprint"));
        }
        let mut inputs = Vec::new();
        let mut prints = entry.prints.as_bytes().chunks_exact(PRINT);
        for run in entry.names.chunks(2) {
            let names = match *run {
                [first, last] if first <= last => self.names.get(first..=last),
                _ => None,
            };
            for name in names.ok_or_else(|| no_place("name"))? {
                self.count(name.len() + INPUT)?;
                let print = prints.next().ok_or_else(|| no_place("fingerprint"))?;
                inputs.push((name.clone(), String::from_utf8_lossy(print).into_owned()));
            }
        }
        let step = step.clone();
        Ok(Origin { step, inputs })
    }

    /// What the former form tells, whose fingerprints are those eight digits.
    pub(super) fn former(&mut self, step: &str, inputs: &[(String, String)]) -> Result<Option<Origin>, Error> {
        if step.is_empty() {
            return Ok(None);
        }
        self.count(step.len())?;
        let mut told = Vec::new();
        for (name, digits) in inputs {
            self.count(name.len() + INPUT)?;
            told.push((name.clone(), print(digits)));
        }
        let step = step.to_owned();
        Ok(Some(Origin { step, inputs: told }))
    }

    fn count(&mut self, bytes: usize) -> Result<(), Error> {
        self.told += bytes;
        if self.told > MOST_TOLD {
            return Err(Error::Records(format!(
                "it tells more than {MOST_TOLD} bytes of origins"
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(step: &str, names: &[&str]) -> Origin {
        let input = |name: &&str| ((*name).to_owned(), format!("{name}{name}{name}"));
        Origin {
            step: step.to_owned(),
            inputs: names.iter().map(input).collect(),
        }
    }

    #[test]
    fn what_several_results_tell_is_written_once_and_read_again() {
        let origins = [
            origin("RUN make", &["a", "b", "c"]),
            origin("RUN make", &["a", "b", "d"]),
            origin("COPY . .", &[]),
        ];
        let tables = Tables::of(origins.iter());
        assert_eq!((tables.steps.len(), tables.names.len()), (2, 4));
        let entries = origins.each_ref().map(|origin| tables.entry(origin));
        assert_eq!(entries[0].names, [0, 2]);
        assert_eq!(entries[1].names, [0, 1, 3, 3]);
        let mut teller = Teller::new(&tables.steps, &tables.names);
        assert_eq!(entries.map(|entry| teller.origin(&entry).unwrap()), origins);
    }

    #[test]
    fn what_leads_nowhere_or_tells_too_much_is_refused() {
        let (steps, names) = (["s".to_owned()], ["n".repeat(1 << 20), "m".to_owned()]);
        let told = |step, runs: &[usize], prints: &str| {
            let (names_of, prints) = (runs.to_vec(), prints.to_owned());
            let entry = OriginEntry {
                step,
                names: names_of,
                prints,
            };
            Teller::new(&steps, &names).origin(&entry)
        };
        assert_eq!(told(0, &[0, 1], "abcdef").unwrap().inputs.len(), 2);
        for (step, runs, prints) in [
            (1, &[][..], ""),
            (0, &[2, 2][..], "abc"),
            (0, &[1, 0][..], "abc"),
            (0, &[0][..], "abc"),
            (0, &[0, 1][..], "abcde"),
            (0, &[0, 0][..], "aé"),
            (0, &[0, usize::MAX][..], "abc"),
            (0, &[0, 0, 0, 0, 0, 0][..], "abcabcabc"),
        ] {
            assert!(told(step, runs, prints).is_err(), "{step} {runs:?} {prints}");
        }
    }
}
