//! Putting what was selected where it goes.
//!
//! Directories, links and nodes are made first, one after the other in the order of the walk; then several threads fill
//! in the files; then come the further names of files that have more than one, and at last the times of folders.
//!
//! Much of it goes beside the mount (see `destination`): whatever is in a folder that is new, and files of new names in
//! folders that were there. The rest goes through it, for the kernel to merge.

use std::collections::{HashMap, HashSet};

use rustix::fs::FileType;

use super::copy::Copier;
use super::destination::{Destination, folder_of};
use super::entry::Inode;
use super::error::FilesError;
use super::path::{is_below, join, split};
use super::reuse::{Reuse, WORTHWHILE, mark};
use super::select::{Item, Source};
use super::transfer::{Bytes, File, Transfer, Waiting};

/// Where an item goes.
pub(super) struct Place {
    pub(super) path: Vec<u8>,
    /// Whether it is a directory that was made for it.
    pub(super) is_new: bool,
    /// Whether nothing else is put by the same copy.
    pub(super) is_last: bool,
}

/// How an entry gets to its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Through,
    Beside,
}

/// The tree that is put into, and what is known of it.
struct Ground<'d> {
    through: &'d mut Destination,
    beside: Option<Destination>,
    /// The highest new folder above the entry that is put.
    new: Option<Vec<u8>>,
    /// The names in folders that were there before.
    names: HashMap<Vec<u8>, HashSet<Vec<u8>>>,
}

/// Files that wait for their content, and names that wait for their files.
#[derive(Default)]
struct Left {
    through: Vec<Waiting>,
    beside: Vec<Waiting>,
    more_names: Vec<(Vec<u8>, Vec<u8>, Way)>,
}

/// Puts an item, with all below it, where it goes.
pub(super) fn put(
    copier: &Copier<'_>,
    item: &Item<'_>,
    place: &Place,
    destination: &mut Destination,
    reuse: Option<&mut Reuse>,
) -> Result<(), FilesError> {
    let reuse = reuse.filter(|_| item.len() >= WORTHWHILE);
    match item.top().is_directory() {
        true => destination.keep_time(&place.path)?,
        false => destination.keep_time(folder_of(&place.path))?,
    }
    let beside = match place.is_last && item.len() >= WORTHWHILE {
        true => destination.beside()?,
        false => None,
    };
    let mut ground = Ground {
        new: place.is_new.then(|| place.path.clone()),
        through: destination,
        beside,
        names: HashMap::new(),
    };
    let root = reuse
        .as_ref()
        .and_then(|reuse| reuse.root())
        .map(|root| root.below(b""));
    let before = root.transpose()?;
    let left = put_entries(copier, item, &place.path, &mut ground, reuse)?;
    let file = |waiting: Waiting| {
        let facts = item.list().facts(waiting.place());
        let original = item.list().path_of(waiting.place());
        File {
            path: join(&place.path, item.relative(&original)),
            original,
            owner: copier.owner(&facts),
            mode: copier.mode(&facts),
            facts,
            source: waiting.source(),
        }
    };
    let transfer = |to| Transfer {
        from: copier.source.root(),
        to,
        before: before.as_ref(),
        checked: matches!(copier.source, Source::Context(_)),
        cancel: copier.cancel,
    };
    if let Some(beside) = &ground.beside {
        transfer(beside).run(left.beside, item.list(), &file)?;
    }
    transfer(ground.through).run(left.through, item.list(), &file)?;
    for (first, path, way) in left.more_names {
        let to = ground.to(way);
        to.make_room(&path)?;
        to.make_hard_link(&first, &path)?;
    }
    ground.beside.map_or(Ok(false), Destination::finish)?;
    Ok(())
}

/// Makes all but the contents of files.
fn put_entries(
    copier: &Copier<'_>,
    item: &Item<'_>,
    target: &[u8],
    ground: &mut Ground<'_>,
    mut reuse: Option<&mut Reuse>,
) -> Result<Left, FilesError> {
    let mut left = Left::default();
    let mut first_names: HashMap<Inode, (Vec<u8>, Way)> = HashMap::new();
    let shared = shared(item);
    let mut walk = item.walk();
    while let Some((at, entry)) = walk.step() {
        let entry = &entry;
        if (copier.cancel)() {
            return Err(FilesError::Cancelled);
        }
        let path = join(target, item.relative(entry.path));
        let way = ground.way(&path);
        match entry.kind {
            FileType::Directory => {
                if copier.put_directory(item, entry, &path, ground.to(way))? {
                    ground.new.get_or_insert(path);
                }
            }
            FileType::RegularFile => {
                let way = match way {
                    Way::Through => ground.way_of_file(&path)?,
                    Way::Beside => Way::Beside,
                };
                let mut source = Bytes::Copied;
                if shared.binary_search(&entry.inode).is_ok() {
                    if let Some((first, first_way)) = first_names.get(&entry.inode) {
                        let both = if *first_way == way { way } else { Way::Through };
                        left.more_names.push((first.clone(), path, both));
                        continue;
                    }
                    first_names.insert(entry.inode, (path, way));
                } else if let Some(reuse) = &mut reuse
                    && let Some(digest) = copier.source.known_digest(at)
                {
                    let mark = mark(entry, &digest, copier.owner(entry), copier.mode(entry));
                    if reuse.note(&path, &mark)? && ground.may_link(way) {
                        source = Bytes::Linked;
                    }
                }
                let list = match way {
                    Way::Through => &mut left.through,
                    Way::Beside => &mut left.beside,
                };
                list.push(Waiting::new(at, source));
            }
            _ => copier.put_special(entry, &path, ground.to(way))?,
        }
    }
    Ok(left)
}

impl Ground<'_> {
    fn to(&mut self, way: Way) -> &mut Destination {
        match (way, &mut self.beside) {
            (Way::Beside, Some(beside)) => beside,
            _ => self.through,
        }
    }

    /// How the entry at `path` goes; entries come in walk order.
    fn way(&mut self, path: &[u8]) -> Way {
        match &self.new {
            Some(top) if is_below(path, top) && self.beside.is_some() => Way::Beside,
            _ => {
                // Its own top is made before it is new, so this is behind all that is below.
                if self.new.as_ref().is_some_and(|top| top != path) {
                    self.new = None;
                }
                Way::Through
            }
        }
    }

    /// How a file in a folder that was there goes: through the mount if its name was there, too.
    fn way_of_file(&mut self, path: &[u8]) -> Result<Way, FilesError> {
        if self.beside.is_none() {
            return Ok(Way::Through);
        }
        let (folder, name) = split(path);
        if !self.names.contains_key(folder) {
            let names = self.through.bring(folder)?;
            self.names.insert(folder.to_vec(), names);
        }
        Ok(match self.names[folder].contains(name) {
            true => Way::Through,
            false => Way::Beside,
        })
    }

    /// A mount makes no links to other trees.
    fn may_link(&self, way: Way) -> bool {
        way == Way::Beside || !self.through.is_mounted()
    }
}

/// The files of more than one name among these, sorted.
fn shared(item: &Item<'_>) -> Vec<Inode> {
    let several = item.files().filter(|file| file.names > 1);
    let mut inodes: Vec<Inode> = several.map(|file| file.inode).collect();
    inodes.sort_unstable();
    let mut shared: Vec<Inode> = inodes
        .windows(2)
        .filter(|pair| pair[0] == pair[1])
        .map(|pair| pair[0])
        .collect();
    shared.dedup();
    shared
}
