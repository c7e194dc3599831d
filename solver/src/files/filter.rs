//! What of a directory is taken: patterns of an ignore file, from the directory on.
//!
//! A folder that is not taken itself can hold something that is: it is then there for that, and only then.

use std::ops::Range;

use graph::pattern::{self, PatternError, PatternList};

use super::entries::{Entries, Taken};
use super::path::relative;

/// What is taken: what the one list matches (`None`: everything) and the other does not.
#[derive(Clone, Debug, Default)]
pub(super) struct Filter {
    include: Option<PatternList>,
    exclude: PatternList,
}

/// What a walk takes along on its way down.
#[derive(Clone, Debug, Default)]
pub(super) struct Carried {
    include: pattern::Carried,
    exclude: pattern::Carried,
}

impl Filter {
    /// Everything but what the patterns match.
    pub(super) fn excluding(exclude: PatternList) -> Filter {
        Filter { include: None, exclude }
    }

    /// What a copy takes of a directory.
    pub(super) fn of(copy: &graph::Copy) -> Result<Filter, PatternError> {
        let include = copy
            .include
            .as_ref()
            .map(|pattern| PatternList::new(std::slice::from_ref(pattern)));
        Ok(Filter {
            include: include.transpose()?,
            exclude: PatternList::new(&copy.excludes)?,
        })
    }

    /// Whether there is nothing that it leaves out.
    pub(super) fn takes_all(&self) -> bool {
        self.include.is_none() && self.exclude.is_empty()
    }

    /// Whether `path` is taken, given what its folder carries, and what it carries to its own entries.
    pub(super) fn enter(&self, folder: &Carried, path: &[u8]) -> (bool, Carried) {
        let (included, include) = match &self.include {
            Some(list) => list.enter(&folder.include, path),
            None => (true, pattern::Carried::default()),
        };
        let (excluded, exclude) = self.exclude.enter(&folder.exclude, path);
        (included && !excluded, Carried { include, exclude })
    }

    /// Whether something below the folder `path`, which carries `carried`, could be taken if the folder is not.
    pub(super) fn may_take_below(&self, carried: &Carried, path: &[u8]) -> bool {
        let included = match &self.include {
            Some(list) => list.may_match_below(&carried.include, path),
            None => true,
        };
        let excluded = self.exclude.decides(&carried.exclude);
        included && (!excluded || self.exclude.may_take_back_below(&carried.exclude, path))
    }

    /// What is taken of a directory, which is the first of these places; all below it are the others.
    pub(super) fn sift(&self, entries: &Entries, places: Range<u32>) -> Vec<Taken> {
        let top = places.start as usize;
        let mut folders: Vec<(usize, Carried, bool)> = Vec::new();
        let mut candidates = Vec::new();
        let mut top_path = Vec::new();
        entries.path(top, &mut top_path);
        let mut walk = entries.walk(places.map(|place| Taken { place, implied: false }));
        while let Some((at, entry)) = walk.step() {
            let place = u32::try_from(at).unwrap_or(u32::MAX);
            if at == top {
                let implied = false;
                candidates.push(Taken { place, implied });
                continue;
            }
            let folder = entries.folder(at);
            while folders.last().is_some_and(|(open, ..)| *open != folder) {
                folders.pop();
            }
            let none = Carried::default();
            let (carried, open) = folders
                .last()
                .map_or((&none, true), |(_, carried, open)| (carried, *open));
            if !open {
                if entry.is_directory() {
                    folders.push((at, none, false));
                }
                continue;
            }
            let path = relative(entry.path, &top_path);
            let (taken, carried) = self.enter(carried, path);
            let open = entry.is_directory() && (taken || self.may_take_below(&carried, path));
            if taken || open {
                let implied = !taken;
                candidates.push(Taken { place, implied });
            }
            if entry.is_directory() {
                folders.push((at, carried, open));
            }
        }
        drop_empty(entries, &mut candidates);
        candidates
    }
}

/// Leaves out folders that are only implied, and hold nothing that is taken. Behind one that does comes an entry in it.
fn drop_empty(entries: &Entries, taken: &mut Vec<Taken>) {
    let mut next = None;
    let mut kept: Vec<bool> = Vec::with_capacity(taken.len());
    for one in taken.iter().rev() {
        let keep = !one.implied || next == Some(one.at());
        if keep {
            next = Some(entries.folder(one.at()));
        }
        kept.push(keep);
    }
    let mut kept = kept.into_iter().rev();
    taken.retain(|_| kept.next() == Some(true));
}
