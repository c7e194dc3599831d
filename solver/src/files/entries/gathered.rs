//! Entries while they are found: folders one after the other, in any order; then in walk order.

use std::collections::HashMap;

use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

use super::{Entries, Nanoseconds, Rare, Record, Shape, changed, counted, modified};

/// What was found so far, in the order of finding.
#[derive(Debug)]
pub(in crate::files) struct Gathered {
    entries: Entries,
    shapes: HashMap<Shape, u32>,
    /// That of the last entry.
    last: Option<(Shape, u32)>,
    pieces: Vec<Piece>,
}

/// Entries of a folder, in the order of their names.
#[derive(Clone, Copy, Debug)]
struct Piece {
    folder: u32,
    start: u32,
    end: u32,
}

/// An entry that was found in a folder.
#[derive(Debug)]
pub(in crate::files) struct Met {
    shape: Shape,
    modified: Nanoseconds,
    changed: Nanoseconds,
    inode: u64,
    number: u64,
    rare: Option<Box<Rare>>,
}

impl Met {
    /// What the file system says of it, and where it leads if it is a link.
    pub(in crate::files) fn new(stat: &Stat, target: Vec<u8>, implied: bool) -> Met {
        let number = match FileType::from_raw_mode(stat.st_mode) {
            FileType::BlockDevice | FileType::CharacterDevice => stat.st_rdev,
            _ => u64::try_from(stat.st_size).unwrap_or_default(),
        };
        Met {
            shape: Shape::of(stat, implied),
            modified: Nanoseconds::of_time(modified(stat)),
            changed: changed(stat),
            inode: stat.st_ino,
            number,
            rare: Rare::of(stat, target).map(Box::new),
        }
    }
}

impl Gathered {
    /// Begins with the top.
    pub(in crate::files) fn new(path: &[u8], top: Met) -> Gathered {
        let mut gathered = Gathered {
            entries: Entries::default(),
            shapes: HashMap::new(),
            last: None,
            pieces: Vec::new(),
        };
        gathered.push(0, path, top);
        gathered
    }

    /// Adds entries of a folder, given in the order of their names, and returns the place of the first until all are
    /// gathered. A folder may come in several pieces.
    pub(in crate::files) fn add<'m>(&mut self, folder: u32, met: impl Iterator<Item = (&'m [u8], Met)>) -> u32 {
        let start = counted(self.entries.len());
        met.for_each(|(name, met)| self.push(folder, name, met));
        let end = counted(self.entries.len());
        self.pieces.push(Piece { folder, start, end });
        start
    }

    /// Notes why a folder cannot be looked into.
    pub(in crate::files) fn set_problem(&mut self, folder: u32, problem: Errno) {
        self.entries.set_problem(folder as usize, problem);
    }

    fn push(&mut self, folder: u32, name: &[u8], met: Met) {
        let shape = self.shape(met.shape);
        let entries = &mut self.entries;
        let rare = met.rare.and_then(|rare| entries.add_rare(*rare));
        let place = counted(entries.names.len());
        entries.names.extend_from_slice(name);
        entries.names.push(0);
        entries.records.push(Record {
            modified: met.modified,
            changed: met.changed,
            inode: met.inode,
            number: met.number,
            name: place,
            folder,
            shape,
            rare,
        });
    }

    /// The place of a shape.
    fn shape(&mut self, shape: Shape) -> u32 {
        if let Some((last, place)) = self.last
            && last == shape
        {
            return place;
        }
        let shapes = &mut self.entries.shapes;
        let place = *self.shapes.entry(shape).or_insert_with(|| {
            shapes.push(shape);
            counted(shapes.len() - 1)
        });
        self.last = Some((shape, place));
        place
    }

    /// All entries in walk order; implied folders only if something in them is taken.
    pub(in crate::files) fn finish(self) -> Entries {
        let Gathered {
            mut entries,
            shapes,
            mut pieces,
            ..
        } = self;
        drop(shapes);
        pieces.sort_unstable_by_key(|piece| (piece.folder, piece.start));
        let mut order = order(&entries, &pieces);
        drop(pieces);
        let kept = drop_empty(&entries, &mut order);
        arrange(&mut entries.records, order);
        entries.records.truncate(kept);
        entries
    }
}

/// The places in walk order.
fn order(entries: &Entries, pieces: &[Piece]) -> Vec<u32> {
    let mut order = Vec::with_capacity(entries.len());
    let mut open = vec![vec![0].into_iter()];
    while let Some(folder) = open.last_mut() {
        let Some(place) = folder.next() else {
            open.pop();
            continue;
        };
        order.push(place);
        if !entries.facts(place as usize).is_directory() {
            continue;
        }
        let first = pieces.partition_point(|piece| piece.folder < place);
        let own = pieces[first..].iter().take_while(|piece| piece.folder == place);
        let mut below: Vec<u32> = own.clone().flat_map(|piece| piece.start..piece.end).collect();
        if own.count() > 1 {
            below.sort_by(|a, b| entries.name(*a as usize).cmp(entries.name(*b as usize)));
        }
        if !below.is_empty() {
            open.push(below.into_iter());
        }
    }
    order
}

/// Moves implied folders that hold nothing to the end of `order`, and returns how many entries stand before them.
fn drop_empty(entries: &Entries, order: &mut Vec<u32>) -> usize {
    if !entries.shapes.iter().any(|shape| shape.implied) {
        return order.len();
    }
    // Behind a folder that holds something comes an entry that is in it.
    let mut next = None;
    let mut dropped = Vec::new();
    for place in order.iter().rev() {
        match entries.is_implied(*place as usize) && next != Some(*place) {
            true => dropped.push(*place),
            false => next = Some(entries.records[*place as usize].folder),
        }
    }
    dropped.sort_unstable();
    order.retain(|place| dropped.binary_search(place).is_err());
    let kept = order.len();
    order.append(&mut dropped);
    kept
}

/// Puts the records in this order, in the room that they have.
fn arrange(records: &mut [Record], mut order: Vec<u32>) {
    let mut places = vec![0; records.len()];
    for (place, from) in (0..).zip(&order) {
        places[*from as usize] = place;
    }
    for record in &mut *records {
        record.folder = places[record.folder as usize];
    }
    drop(places);
    for start in 0..order.len() {
        let mut at = start;
        loop {
            let from = std::mem::replace(&mut order[at], counted(at)) as usize;
            if from == start {
                break;
            }
            records.swap(at, from);
            at = from;
        }
    }
}
