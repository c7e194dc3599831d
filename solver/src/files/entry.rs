//! An entry of a tree, as the file system describes it, in few bytes: a context may have a million of them.

use std::fmt;
use std::ops::{Deref, Range};
use std::sync::Arc;

use rustix::fs::{FileType, Stat, Timespec};
use rustix::io::Errno;

/// A file that lacks this many bytes of its size on the disk is worth to be copied around its holes.
const WORTHWHILE: u64 = 64 * 1024;

/// One thing with a name in a tree.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// From the root of the tree.
    pub(super) path: EntryPath,
    /// Where a link leads, and what else few entries have.
    rare: Option<Box<Rare>>,
    pub(super) modified: Timespec,
    /// When it changed in any way, in nanoseconds; `None` is a time that cannot be told so.
    pub(super) changed: Nanoseconds,
    pub(super) inode: Inode,
    /// Of a device node it is the device.
    size: u64,
    pub(super) user: u32,
    pub(super) group: u32,
    /// Permissions, set-user-id and the like; no type.
    pub(super) mode: u32,
    /// How many names the file has, as far as can be counted in a byte.
    pub(super) names: u8,
    pub(super) kind: FileType,
    /// Whether it is a folder that was not asked for, but holds something that was.
    pub(super) implied: bool,
}

/// What few entries have.
#[derive(Clone, Debug, Default)]
struct Rare {
    /// Where a link leads.
    target: Vec<u8>,
    /// Whether a good part of a file is holes.
    is_sparse: bool,
    /// Why it cannot be looked into.
    problem: Option<Errno>,
}

/// A path, in one allocation with others of its folder.
#[derive(Clone)]
pub(super) struct EntryPath {
    all: Arc<Vec<u8>>,
    start: u32,
    end: u32,
}

/// A time in nanoseconds since 1970, if it can be told so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Nanoseconds(i64);

/// A file, whatever its names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Inode {
    pub(super) device: u64,
    pub(super) number: u64,
}

impl Entry {
    pub(super) fn new(path: EntryPath, stat: &Stat, target: Vec<u8>) -> Entry {
        let kind = FileType::from_raw_mode(stat.st_mode);
        let size = u64::try_from(stat.st_size).unwrap_or_default();
        let stored = u64::try_from(stat.st_blocks).unwrap_or_default().saturating_mul(512);
        let is_sparse = kind == FileType::RegularFile && stored.saturating_add(WORTHWHILE) < size;
        let is_rare = is_sparse || !target.is_empty();
        Entry {
            path,
            rare: is_rare.then(|| {
                Box::new(Rare {
                    target,
                    is_sparse,
                    problem: None,
                })
            }),
            modified: modified(stat),
            changed: Nanoseconds::of(stat.st_ctime as _, stat.st_ctime_nsec as _),
            inode: inode(stat),
            size: match kind {
                FileType::BlockDevice | FileType::CharacterDevice => stat.st_rdev,
                _ => size,
            },
            user: stat.st_uid,
            group: stat.st_gid,
            mode: stat.st_mode & 0o7777,
            names: u8::try_from(stat.st_nlink).unwrap_or(u8::MAX),
            kind,
            implied: false,
        }
    }

    pub(super) fn is_directory(&self) -> bool {
        self.kind == FileType::Directory
    }

    pub(super) fn is_file(&self) -> bool {
        self.kind == FileType::RegularFile
    }

    /// The bytes in it; devices have none.
    pub(super) fn size(&self) -> u64 {
        match self.kind {
            FileType::BlockDevice | FileType::CharacterDevice => 0,
            _ => self.size,
        }
    }

    /// Which device a device node is.
    pub(super) fn device(&self) -> u64 {
        match self.kind {
            FileType::BlockDevice | FileType::CharacterDevice => self.size,
            _ => 0,
        }
    }

    /// Where a link leads.
    pub(super) fn target(&self) -> &[u8] {
        self.rare.as_ref().map_or(b"", |rare| &rare.target)
    }

    /// Whether a good part of a file is holes.
    pub(super) fn is_sparse(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| rare.is_sparse)
    }

    /// Why it cannot be looked into.
    pub(super) fn problem(&self) -> Option<Errno> {
        self.rare.as_ref()?.problem
    }

    pub(super) fn set_problem(&mut self, problem: Errno) {
        self.rare.get_or_insert_default().problem = Some(problem);
    }

    /// Whether a file that was opened later is this one, unchanged.
    pub(super) fn is_still(&self, stat: &Stat) -> bool {
        inode(stat) == self.inode
            && u64::try_from(stat.st_size) == Ok(self.size())
            && modified(stat) == self.modified
            && FileType::from_raw_mode(stat.st_mode) == self.kind
    }
}

impl EntryPath {
    /// The path that is these bytes of `all`.
    pub(super) fn part_of(all: &Arc<Vec<u8>>, place: Range<usize>) -> EntryPath {
        let counted = |at| u32::try_from(at).expect("paths together are shorter than 4 GiB");
        EntryPath {
            all: all.clone(),
            start: counted(place.start),
            end: counted(place.end),
        }
    }

    /// The path at the same place of other bytes.
    pub(super) fn of(&self, all: &Arc<Vec<u8>>) -> EntryPath {
        let all = all.clone();
        EntryPath { all, ..*self }
    }
}

impl From<Vec<u8>> for EntryPath {
    fn from(path: Vec<u8>) -> EntryPath {
        let whole = 0..path.len();
        EntryPath::part_of(&Arc::new(path), whole)
    }
}

impl Deref for EntryPath {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.all[self.start as usize..self.end as usize]
    }
}

impl fmt::Debug for EntryPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&String::from_utf8_lossy(self), f)
    }
}

impl Nanoseconds {
    const UNTOLD: i64 = i64::MIN;

    pub(super) fn of(seconds: i64, nanoseconds: i64) -> Nanoseconds {
        let told = seconds
            .checked_mul(1_000_000_000)
            .and_then(|told| told.checked_add(nanoseconds));
        Nanoseconds(told.unwrap_or(Self::UNTOLD))
    }

    pub(super) fn told(self) -> Option<i64> {
        Some(self.0).filter(|told| *told != Self::UNTOLD)
    }
}

pub(super) fn modified(stat: &Stat) -> Timespec {
    Timespec {
        tv_sec: stat.st_mtime as _,
        tv_nsec: stat.st_mtime_nsec as _,
    }
}

fn inode(stat: &Stat) -> Inode {
    Inode {
        device: stat.st_dev,
        number: stat.st_ino,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_has_few_bytes() {
        assert!(size_of::<Entry>() <= 88, "{}", size_of::<Entry>());
    }
}
