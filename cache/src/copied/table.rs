//! What a tree was like before somebody wrote to it: of each file as much as tells whether it is another one later.
//!
//! All of the tree is held in memory, so it is held small: some 80 bytes a file. The entries of one directory stand side by
//! side, sorted, so that a walk that goes the same way compares as it goes.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::Stat;
use rustix::io::Errno;

use super::node::is_directory;
use crate::Error;
use crate::error::failed;

/// File systems tell the time by a clock that ticks a hundred times a second or more. What changed in the tick in which it
/// was looked at may change again in it, with the same time.
const TICK: Duration = Duration::from_millis(30);

/// A tree as it was.
#[derive(Debug)]
pub(super) struct Table {
    entries: Vec<Entry>,
    /// Each with its length before it: no name has more than 255 bytes.
    names: Vec<u8>,
    root: Children,
}

/// The entries of one directory, by their places.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Children {
    pub(super) next: u32,
    pub(super) end: u32,
}

/// One file as it was.
#[derive(Debug)]
pub(super) struct Entry {
    inode: u64,
    size: i64,
    modified: i64,
    changed: i64,
    mode: u32,
    owner: (u32, u32),
    name: u32,
    pub(super) children: Children,
    /// Whether it could change without being seen to.
    is_young: bool,
}

/// How a file compares with what it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Nobody touched it.
    None,
    /// Something about it was touched that the table does not tell.
    Unclear,
    /// It is another one.
    Certain,
}

impl Table {
    /// Looks at the tree at `root`.
    pub(super) fn read(root: &Path) -> Result<Table, Error> {
        let _span = trace::span("look at tree");
        let mut table = Table {
            entries: Vec::new(),
            names: Vec::new(),
            root: Children::default(),
        };
        let young = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let young = i64::try_from(young.saturating_sub(TICK).as_nanos()).unwrap_or(i64::MAX);
        let mut directories: Vec<(PathBuf, Option<usize>)> = vec![(root.to_owned(), None)];
        while let Some((path, of)) = directories.pop() {
            let first = table.entries.len();
            for (name, stat) in list(&path)? {
                if is_directory(&stat) {
                    directories.push((path.join(std::ffi::OsStr::from_bytes(&name)), Some(table.entries.len())));
                }
                table.add(&name, &stat, young).map_err(failed("look at", &path))?;
            }
            let place = |place: usize| u32::try_from(place).map_err(|_| failed("look at", &path)(Errno::OVERFLOW));
            let children = Children {
                next: place(first)?,
                end: place(table.entries.len())?,
            };
            match of {
                Some(directory) => table.entries[directory].children = children,
                None => table.root = children,
            }
        }
        table.entries.shrink_to_fit();
        table.names.shrink_to_fit();
        Ok(table)
    }

    fn add(&mut self, name: &[u8], stat: &Stat, young: i64) -> Result<(), Errno> {
        let place = u32::try_from(self.names.len()).map_err(|_| Errno::OVERFLOW)?;
        self.names
            .push(u8::try_from(name.len()).map_err(|_| Errno::NAMETOOLONG)?);
        self.names.extend_from_slice(name);
        let changed = changed(stat);
        self.entries.push(Entry {
            inode: stat.st_ino,
            size: stat.st_size,
            modified: modified(stat),
            changed,
            mode: stat.st_mode,
            owner: (stat.st_uid, stat.st_gid),
            name: place,
            children: Children::default(),
            is_young: changed >= young,
        });
        Ok(())
    }

    /// What was in the root.
    pub(super) fn root(&self) -> Children {
        self.root
    }

    /// The entry at a place.
    pub(super) fn entry(&self, place: u32) -> &Entry {
        &self.entries[place as usize]
    }

    /// The name of an entry.
    pub(super) fn name(&self, entry: &Entry) -> &[u8] {
        let at = entry.name as usize;
        &self.names[at + 1..=at + usize::from(self.names[at])]
    }
}

impl Entry {
    /// Whether it was a directory.
    pub(super) fn is_directory(&self) -> bool {
        rustix::fs::FileType::from_raw_mode(self.mode) == rustix::fs::FileType::Directory
    }

    /// How the file of the same name compares now. Of directories the entries are not meant, nor which inode it is: what
    /// is in them tells for itself.
    pub(super) fn change(&self, now: &Stat) -> Change {
        let is_other = !is_directory(now) && (self.inode, self.size) != (now.st_ino, now.st_size);
        let (then, owner) = ((self.mode, self.owner), (now.st_uid, now.st_gid));
        if is_other || then != (now.st_mode, owner) || self.modified != modified(now) {
            return Change::Certain;
        }
        match self.changed == changed(now) && !self.is_young {
            true => Change::None,
            false => Change::Unclear,
        }
    }
}

/// The time of modification, told apart from all others of these centuries.
fn modified(stat: &Stat) -> i64 {
    nanoseconds(stat.st_mtime, stat.st_mtime_nsec.cast_signed())
}

fn changed(stat: &Stat) -> i64 {
    nanoseconds(stat.st_ctime, stat.st_ctime_nsec.cast_signed())
}

fn nanoseconds(seconds: i64, nanoseconds: i64) -> i64 {
    seconds.wrapping_mul(1_000_000_000).wrapping_add(nanoseconds)
}

/// The entries of a directory, sorted by their names.
pub(super) fn list(directory: &Path) -> Result<Vec<(Vec<u8>, Stat)>, Error> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(failed("read", directory))? {
        let path = entry.map_err(failed("read", directory))?.path();
        let stat = rustix::fs::lstat(&path).map_err(failed("read", &path))?;
        let name = path.file_name().unwrap_or_default();
        found.push((name.as_bytes().to_vec(), stat));
    }
    found.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    Ok(found)
}
