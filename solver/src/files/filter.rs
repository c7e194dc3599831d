//! What of a directory is taken: patterns of an ignore file, from the directory on.
//!
//! A folder that is not taken itself can hold something that is: it is then there for that, and only then.

use graph::pattern::{self, PatternError, PatternList};

use super::entry::Entry;
use super::path::{is_below, relative};

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

/// An entry that is taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taken {
    /// Its place in the list it was taken from.
    pub(super) place: usize,
    /// Whether it is a folder that is there only for what is below.
    pub(super) implied: bool,
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

    /// The entries taken of a directory, which is the first in `entries`, in walk order.
    pub(super) fn sift(&self, entries: &[Entry]) -> Vec<Taken> {
        let Some(top) = entries.first() else { return Vec::new() };
        let mut folders: Vec<(&[u8], Carried, bool)> = Vec::new();
        let mut candidates = Vec::new();
        for (place, entry) in entries.iter().enumerate() {
            if place == 0 {
                let implied = false;
                candidates.push(Taken { place, implied });
                continue;
            }
            while folders.last().is_some_and(|(path, ..)| !is_below(&entry.path, path)) {
                folders.pop();
            }
            let none = Carried::default();
            let (carried, open) = folders
                .last()
                .map_or((&none, true), |(_, carried, open)| (carried, *open));
            if !open {
                continue;
            }
            let path = relative(&entry.path, &top.path);
            let (taken, carried) = self.enter(carried, path);
            let open = entry.is_directory() && (taken || self.may_take_below(&carried, path));
            if taken || open {
                let implied = !taken;
                candidates.push(Taken { place, implied });
            }
            if entry.is_directory() {
                folders.push((&entry.path, carried, open));
            }
        }
        let seen = candidates
            .iter()
            .map(|taken| (&entries[taken.place].path[..], taken.implied));
        let mut kept = holding(seen).into_iter();
        candidates.retain(|_| kept.next() == Some(true));
        candidates
    }
}

/// Which entries stay when folders that are only implied, and that nothing is below, are left out. `seen` has the path of
/// each entry, in walk order, and whether it is implied.
pub(super) fn holding<'e>(seen: impl ExactSizeIterator<Item = (&'e [u8], bool)> + DoubleEndedIterator) -> Vec<bool> {
    let mut kept = vec![true; seen.len()];
    let mut next: &[u8] = b"";
    for (keep, (path, implied)) in kept.iter_mut().zip(seen).rev() {
        *keep = !implied || is_below(next, path);
        if *keep {
            next = path;
        }
    }
    kept
}
