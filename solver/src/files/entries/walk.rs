//! Going through entries.

use super::Entries;
use crate::files::entry::Entry;

/// An entry that is taken.
#[derive(Clone, Copy, Debug)]
pub(in crate::files) struct Taken {
    /// Its place in the list it was taken from.
    pub(in crate::files) place: u32,
    /// Whether it is a folder that is there only for what is below.
    pub(in crate::files) implied: bool,
}

impl Taken {
    pub(in crate::files) fn at(self) -> usize {
        self.place as usize
    }
}

/// Entries on the way, whose paths all have the same room.
#[derive(Debug)]
pub(in crate::files) struct Walk<'e, P> {
    entries: &'e Entries,
    places: P,
    path: Vec<u8>,
    /// The folder of the last entry, and how much of the path is its own.
    folder: Option<(usize, usize)>,
}

impl<'e, P: Iterator<Item = Taken>> Walk<'e, P> {
    pub(super) fn new(entries: &'e Entries, places: P) -> Walk<'e, P> {
        Walk {
            entries,
            places,
            path: Vec::new(),
            folder: None,
        }
    }

    /// The next entry, and its place in the list.
    pub(in crate::files) fn step(&mut self) -> Option<(usize, Entry<'_>)> {
        let taken = self.places.next()?;
        let place = taken.at();
        let folder = self.entries.folder(place);
        match self.folder {
            Some((last, length)) if last == folder => {
                self.path.truncate(length);
                self.path.extend_from_slice(self.entries.name(place));
            }
            _ => {
                self.entries.path(place, &mut self.path);
                let length = self.path.len() - self.entries.name(place).len();
                self.folder = (folder != place).then_some((folder, length));
            }
        }
        let mut facts = self.entries.facts(place);
        facts.implied = taken.implied;
        let path = &self.path;
        Some((place, Entry { path, facts }))
    }
}
