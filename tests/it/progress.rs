//! Reads what `--progress=plain` printed: which steps there were and how each ended.

use std::collections::BTreeMap;

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Ran,
    Cached,
    Failed,
}

/// The steps of one build by name, such as `[build 3/5] RUN make`.
#[derive(Debug)]
pub(crate) struct Steps(BTreeMap<String, Ending>);

impl Steps {
    /// From lines like `#5 [build 3/5] RUN make`, `#5 CACHED`, `#5 DONE 1.2s`, `#5 ERROR: …`.
    pub(crate) fn parse(progress: &str) -> Steps {
        let mut names = BTreeMap::new();
        let mut endings = BTreeMap::new();
        for line in progress.lines() {
            let Some((number, rest)) = line.strip_prefix('#').and_then(|line| line.split_once(' ')) else {
                continue;
            };
            if rest.starts_with('[') {
                names.entry(number).or_insert_with(|| rest.to_owned());
            }
            let ending = match rest.split([' ', ':']).next() {
                Some("CACHED") => Ending::Cached,
                Some("DONE") => Ending::Ran,
                Some("ERROR") => Ending::Failed,
                _ => continue,
            };
            endings.entry(number).or_insert(ending);
        }
        Steps(
            names
                .into_iter()
                .filter_map(|(number, name)| Some((name, *endings.get(number)?)))
                .collect(),
        )
    }

    /// How the only step whose name contains all of these words ended.
    pub(crate) fn ending(&self, words: &[&str]) -> Ending {
        let named: Vec<_> = self
            .0
            .iter()
            .filter(|(name, _)| words.iter().all(|word| name.contains(word)))
            .collect();
        assert_eq!(named.len(), 1, "steps with {words:?} in {:#?}", self.0);
        *named[0].1
    }

    /// The names of the steps that execute or copy something and were not cached.
    pub(crate) fn not_cached(&self) -> Vec<&str> {
        let works = |name: &str| {
            ["] RUN ", "] COPY ", "] ADD ", "] WORKDIR "]
                .iter()
                .any(|kind| name.contains(kind))
        };
        let missed = |(name, ending): (&'_ String, &Ending)| works(name) && *ending != Ending::Cached;
        self.0
            .iter()
            .filter(|step| missed(*step))
            .map(|(name, _)| name.as_str())
            .collect()
    }
}

#[test]
fn steps_are_read_from_interleaved_lines() {
    let steps = Steps::parse(
        "#1 [build 1/2] RUN make\n#1 0.1 cc main.c\n#1 ...\n\n#2 [docs 1/1] RUN render\n#2 CACHED\n\n\
         #1 [build 1/2] RUN make\n#1 DONE 0.4s\n",
    );
    assert_eq!(steps.ending(&["RUN render"]), Ending::Cached);
    assert_eq!(steps.not_cached(), ["[build 1/2] RUN make"]);
}
