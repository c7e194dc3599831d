//! What is in a tree, in few bytes for each entry: a context may have a million of them.
//!
//! An entry is a record of 48 bytes and its name. Its path is put together from the names of the folders above it when it
//! is asked for; what many entries have in common is there once, as is what few have.

mod gathered;
mod walk;

use std::cmp::Ordering;
use std::ffi::CStr;
use std::num::NonZeroU32;
use std::ops::Range;

use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

pub(super) use self::gathered::{Gathered, Met};
pub(super) use self::walk::{Taken, Walk};
use super::entry::{Entry, Facts, Inode, Nanoseconds, Rare, changed, modified};
use super::path::{is_below, walk_order};

/// Entries in walk order; the first is the top, and all others are below it. Each has a place, from zero.
#[derive(Clone, Debug, Default)]
pub(super) struct Entries {
    records: Vec<Record>,
    /// With a zero behind each. That of the top is its whole path.
    names: Vec<u8>,
    shapes: Vec<Shape>,
    rare: Vec<Rare>,
}

/// An entry.
#[derive(Clone, Copy, Debug)]
struct Record {
    modified: Nanoseconds,
    changed: Nanoseconds,
    inode: u64,
    /// The size, or the device that a node is.
    number: u64,
    /// Where its name begins.
    name: u32,
    /// The place of the folder it is in; the top is in itself.
    folder: u32,
    /// The place of its shape.
    shape: u32,
    /// The place of what is rare about it, counted from one.
    rare: Option<NonZeroU32>,
}

/// What many entries have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Shape {
    device: u64,
    user: u32,
    group: u32,
    /// Type and permissions.
    mode: u32,
    names: u8,
    implied: bool,
}

impl Entries {
    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    /// What there is to know of an entry.
    pub(super) fn facts(&self, place: usize) -> Facts<'_> {
        let record = &self.records[place];
        let shape = &self.shapes[record.shape as usize];
        let rare = record.rare.map(|rare| &self.rare[rare.get() as usize - 1]);
        Facts {
            modified: rare.and_then(|rare| rare.modified).unwrap_or(record.modified.time()),
            changed: record.changed,
            inode: Inode {
                device: shape.device,
                number: record.inode,
            },
            number: record.number,
            user: shape.user,
            group: shape.group,
            mode: shape.mode & 0o7777,
            names: shape.names,
            kind: FileType::from_raw_mode(shape.mode),
            implied: shape.implied,
            rare,
        }
    }

    pub(super) fn is_file(&self, place: usize) -> bool {
        let shape = &self.shapes[self.records[place].shape as usize];
        FileType::from_raw_mode(shape.mode) == FileType::RegularFile
    }

    pub(super) fn inode(&self, place: usize) -> Inode {
        let record = &self.records[place];
        Inode {
            device: self.shapes[record.shape as usize].device,
            number: record.inode,
        }
    }

    /// The place of the folder that an entry is in; the top is in itself.
    pub(super) fn folder(&self, place: usize) -> usize {
        self.records[place].folder as usize
    }

    /// The last part of an entry's path; of the top it is all of it.
    pub(super) fn name(&self, place: usize) -> &[u8] {
        let names = &self.names[self.records[place].name as usize..];
        CStr::from_bytes_until_nul(names).map_or(names, CStr::to_bytes)
    }

    /// Puts the path of an entry into `room`.
    pub(super) fn path<'r>(&self, place: usize, room: &'r mut Vec<u8>) -> &'r [u8] {
        let (mut length, mut at) = (0, place);
        loop {
            length += self.name(at).len() + 1;
            match self.folder(at) {
                folder if folder == at => break,
                folder => at = folder,
            }
        }
        // Nothing stands before what is in a root.
        let top = self.name(at).len();
        length -= 1 + usize::from(top == 0 && at != place);
        room.clear();
        room.resize(length, b'/');
        let (mut end, mut at) = (length, place);
        while end > 0 {
            let name = self.name(at);
            room[end - name.len()..end].copy_from_slice(name);
            end = end.saturating_sub(name.len() + 1);
            at = self.folder(at);
        }
        room
    }

    /// The path of an entry.
    pub(super) fn path_of(&self, place: usize) -> Vec<u8> {
        let mut path = Vec::new();
        self.path(place, &mut path);
        path
    }

    /// An entry, with its path in `room`.
    pub(super) fn get<'e>(&'e self, place: usize, room: &'e mut Vec<u8>) -> Entry<'e> {
        Entry {
            path: self.path(place, room),
            facts: self.facts(place),
        }
    }

    /// The entries at these places, one after the other; those of one folder in a row come fastest.
    pub(super) fn walk<P: Iterator<Item = Taken>>(&self, places: P) -> Walk<'_, P> {
        Walk::new(self, places)
    }

    /// The place of the entry of that path.
    pub(super) fn place(&self, path: &[u8]) -> Option<usize> {
        let mut room = Vec::new();
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low.midpoint(high);
            match walk_order(self.path(middle, &mut room), path) {
                Ordering::Less => low = middle + 1,
                Ordering::Equal => return Some(middle),
                Ordering::Greater => high = middle,
            }
        }
        None
    }

    /// The places of an entry and of all below it.
    pub(super) fn below(&self, place: usize) -> Range<usize> {
        let (mut top, mut room) = (Vec::new(), Vec::new());
        self.path(place, &mut top);
        let (mut low, mut high) = (place + 1, self.len());
        while low < high {
            let middle = low.midpoint(high);
            match is_below(self.path(middle, &mut room), &top) {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        place..low
    }

    pub(super) fn is_implied(&self, place: usize) -> bool {
        self.shapes[self.records[place].shape as usize].implied
    }

    /// Makes folders that are only implied like others.
    pub(super) fn forget_implied(&mut self) {
        self.shapes.iter_mut().for_each(|shape| shape.implied = false);
    }

    /// Why an entry cannot be looked into.
    pub(super) fn problem(&self, place: usize) -> Option<Errno> {
        self.rare[self.records[place].rare?.get() as usize - 1].problem
    }

    fn set_problem(&mut self, place: usize, problem: Errno) {
        match self.records[place].rare {
            Some(rare) => self.rare[rare.get() as usize - 1].problem = Some(problem),
            None => {
                let problem = Some(problem);
                self.records[place].rare = self.add_rare(Rare {
                    problem,
                    ..Rare::default()
                });
            }
        }
    }

    fn add_rare(&mut self, rare: Rare) -> Option<NonZeroU32> {
        self.rare.push(rare);
        NonZeroU32::new(counted(self.rare.len()))
    }
}

/// Places, and how many bytes names have: in four bytes.
fn counted(number: usize) -> u32 {
    u32::try_from(number).expect("a tree has fewer than four billion entries and bytes of names")
}

impl Shape {
    fn of(stat: &Stat, implied: bool) -> Shape {
        Shape {
            device: stat.st_dev,
            user: stat.st_uid,
            group: stat.st_gid,
            mode: stat.st_mode,
            names: u8::try_from(stat.st_nlink).unwrap_or(u8::MAX),
            implied,
        }
    }
}

#[cfg(test)]
mod tests;
