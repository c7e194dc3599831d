//! An entry of a tree, as the file system describes it.

use std::ops::Deref;

use rustix::fs::{FileType, Stat, Timespec};
use rustix::io::Errno;

/// A file that lacks this many bytes of its size on the disk is worth to be copied around its holes.
const WORTHWHILE: u64 = 64 * 1024;

/// One thing with a name in a tree.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry<'e> {
    /// From the root of the tree.
    pub(super) path: &'e [u8],
    pub(super) facts: Facts<'e>,
}

impl<'e> Deref for Entry<'e> {
    type Target = Facts<'e>;

    fn deref(&self) -> &Facts<'e> {
        &self.facts
    }
}

/// All that there is to know of an entry but its path.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts<'e> {
    pub(super) modified: Timespec,
    /// When it changed in any way, in nanoseconds.
    pub(super) changed: Nanoseconds,
    pub(super) inode: Inode,
    /// Of a device node it is the device.
    pub(super) number: u64,
    pub(super) user: u32,
    pub(super) group: u32,
    /// Permissions, set-user-id and the like; no type.
    pub(super) mode: u32,
    /// How many names the file has, as far as can be counted in a byte.
    pub(super) names: u8,
    pub(super) kind: FileType,
    /// Whether it is a folder that was not asked for, but holds something that was.
    pub(super) implied: bool,
    pub(super) rare: Option<&'e Rare>,
}

/// What few entries have.
#[derive(Clone, Debug, Default)]
pub(super) struct Rare {
    /// Where a link leads.
    pub(super) target: Vec<u8>,
    /// Whether a good part of a file is holes.
    pub(super) is_sparse: bool,
    /// The modification time that cannot be told in nanoseconds.
    pub(super) modified: Option<Timespec>,
    /// Why it cannot be looked into.
    pub(super) problem: Option<Errno>,
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

impl<'e> Facts<'e> {
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
            _ => self.number,
        }
    }

    /// Which device a device node is.
    pub(super) fn device(&self) -> u64 {
        match self.kind {
            FileType::BlockDevice | FileType::CharacterDevice => self.number,
            _ => 0,
        }
    }

    /// Where a link leads.
    pub(super) fn target(&self) -> &'e [u8] {
        self.rare.map_or(b"", |rare| &rare.target)
    }

    /// Whether a good part of a file is holes.
    pub(super) fn is_sparse(&self) -> bool {
        self.rare.is_some_and(|rare| rare.is_sparse)
    }

    /// The modification time in nanoseconds, if it can be told so.
    pub(super) fn modified_at(&self) -> Option<i64> {
        Nanoseconds::of_time(self.modified).told()
    }

    /// Whether a file that was opened later is this one, unchanged.
    pub(super) fn is_still(&self, stat: &Stat) -> bool {
        inode(stat) == self.inode
            && u64::try_from(stat.st_size) == Ok(self.size())
            && modified(stat) == self.modified
            && FileType::from_raw_mode(stat.st_mode) == self.kind
    }
}

impl Rare {
    /// What is rare about an entry, if anything is.
    pub(super) fn of(stat: &Stat, target: Vec<u8>) -> Option<Rare> {
        let size = u64::try_from(stat.st_size).unwrap_or_default();
        let stored = u64::try_from(stat.st_blocks).unwrap_or_default().saturating_mul(512);
        let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        let is_sparse = is_file && stored.saturating_add(WORTHWHILE) < size;
        let modified = modified(stat);
        let modified = Nanoseconds::of_time(modified).told().is_none().then_some(modified);
        (is_sparse || !target.is_empty() || modified.is_some()).then_some(Rare {
            target,
            is_sparse,
            modified,
            problem: None,
        })
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

    pub(super) fn of_time(time: Timespec) -> Nanoseconds {
        Nanoseconds::of(time.tv_sec, time.tv_nsec)
    }

    pub(super) fn told(self) -> Option<i64> {
        Some(self.0).filter(|told| *told != Self::UNTOLD)
    }

    /// The time; 1970 if it cannot be told.
    pub(super) fn time(self) -> Timespec {
        let told = self.told().unwrap_or_default();
        Timespec {
            tv_sec: told.div_euclid(1_000_000_000),
            tv_nsec: told.rem_euclid(1_000_000_000),
        }
    }
}

pub(super) fn modified(stat: &Stat) -> Timespec {
    Timespec {
        tv_sec: stat.st_mtime as _,
        tv_nsec: stat.st_mtime_nsec as _,
    }
}

pub(super) fn changed(stat: &Stat) -> Nanoseconds {
    Nanoseconds::of(stat.st_ctime as _, stat.st_ctime_nsec as _)
}

fn inode(stat: &Stat) -> Inode {
    Inode {
        device: stat.st_dev,
        number: stat.st_ino,
    }
}
