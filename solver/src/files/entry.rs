//! An entry of a tree, as the file system describes it.

use rustix::fs::{FileType, Stat, Timespec};
use rustix::io::Errno;

/// One thing with a name in a tree.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// From the root of the tree.
    pub(super) path: Vec<u8>,
    pub(super) kind: FileType,
    /// Permissions, set-user-id and the like; no type.
    pub(super) mode: u32,
    pub(super) user: u32,
    pub(super) group: u32,
    pub(super) size: u64,
    /// Bytes that the file system keeps for it: less than the size if there are holes.
    pub(super) stored: u64,
    pub(super) modified: Timespec,
    pub(super) changed: Timespec,
    pub(super) inode: Inode,
    /// How many names the file has.
    pub(super) names: u64,
    /// Which device a device node is.
    pub(super) device: u64,
    /// Where a link leads.
    pub(super) target: Vec<u8>,
    /// Whether it is a folder that was not asked for, but holds something that was.
    pub(super) implied: bool,
    /// Why it cannot be looked into.
    pub(super) problem: Option<Errno>,
}

/// A file, whatever its names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Inode {
    pub(super) device: u64,
    pub(super) number: u64,
}

impl Entry {
    pub(super) fn new(path: Vec<u8>, stat: &Stat, target: Vec<u8>) -> Entry {
        Entry {
            path,
            kind: FileType::from_raw_mode(stat.st_mode),
            mode: stat.st_mode & 0o7777,
            user: stat.st_uid,
            group: stat.st_gid,
            size: u64::try_from(stat.st_size).unwrap_or_default(),
            stored: u64::try_from(stat.st_blocks).unwrap_or_default().saturating_mul(512),
            modified: modified(stat),
            changed: Timespec {
                tv_sec: stat.st_ctime as _,
                tv_nsec: stat.st_ctime_nsec as _,
            },
            inode: inode(stat),
            names: stat.st_nlink as _,
            device: stat.st_rdev,
            target,
            implied: false,
            problem: None,
        }
    }

    pub(super) fn is_directory(&self) -> bool {
        self.kind == FileType::Directory
    }

    pub(super) fn is_file(&self) -> bool {
        self.kind == FileType::RegularFile
    }

    /// Whether a file that was opened later is this one, unchanged.
    pub(super) fn is_still(&self, stat: &Stat) -> bool {
        inode(stat) == self.inode
            && u64::try_from(stat.st_size) == Ok(self.size)
            && modified(stat) == self.modified
            && FileType::from_raw_mode(stat.st_mode) == self.kind
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
