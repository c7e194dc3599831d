//! The tree that files go to.
//!
//! It is nobody else's while an action runs, so a path whose folders were seen to be no links stays one; all paths here
//! are such. Entries made or removed change the time of their folder: the tree notes what each folder's time shall be and
//! sets it at the end.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use cache::Owners;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, Timespec, Timestamps, UTIME_OMIT};
use rustix::io::Errno;

use super::entry::modified;
use super::error::{At, FilesError, shown};
use super::path::{join, names, or_dot, split};
use super::root::{Root, resolve};

/// A tree that is being changed.
#[derive(Debug)]
pub(super) struct Destination {
    root: Root,
    /// The directory of the changes, if the root is an overlay's.
    upper: Option<Root>,
    /// Whether something was put beside the mount.
    bypassed: bool,
    /// The modification times that folders shall have.
    times: BTreeMap<Vec<u8>, Timespec>,
    /// How many bytes of paths these are.
    noted: usize,
}

/// How many bytes of paths an archive may ask us to keep in mind.
const MOST_NOTED: usize = if cfg!(test) { 2 << 20 } else { 192 << 20 };
/// What a path takes beside its own bytes.
const NOTE: usize = 96;

/// What directories made on the way are like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Folder {
    pub(super) mode: u32,
    pub(super) owner: (u32, u32),
    /// The modification time.
    pub(super) seconds: i64,
}

impl Destination {
    /// The tree at `path`, which is mounted over the directory `upper` if one is given.
    pub(super) fn open(path: &Path, upper: Option<&Path>, owners: &Owners) -> Result<Destination, FilesError> {
        let open = |path| Root::open_owned(path, owners.clone());
        Ok(Destination {
            upper: upper.map(open).transpose()?,
            ..Destination::at(open(path)?)
        })
    }

    fn at(root: Root) -> Destination {
        Destination {
            root,
            upper: None,
            bypassed: false,
            times: BTreeMap::new(),
            noted: 0,
        }
    }

    /// The directory of the changes, to put things into that the rest of the overlay has no say in. `None` if this is
    /// no overlay.
    pub(super) fn beside(&mut self) -> Result<Option<Destination>, FilesError> {
        let Some(upper) = &self.upper else { return Ok(None) };
        self.bypassed = true;
        Ok(Some(Destination::at(upper.below(b"")?)))
    }

    /// Whose the files are.
    pub(super) fn owners(&self) -> &Owners {
        self.root.owners()
    }

    /// Whether this is an overlay.
    pub(super) fn is_mounted(&self) -> bool {
        self.upper.is_some()
    }

    /// Sees to it that a folder is among the changes, and gives the names in it.
    pub(super) fn bring(&mut self, folder: &[u8]) -> Result<HashSet<Vec<u8>>, FilesError> {
        if let Some(stat) = self.stat(folder)? {
            self.set_modified(folder, modified(&stat))?;
        }
        Ok(self.root.list(folder)?.into_iter().collect())
    }

    /// A directory of this tree as a tree of its own: links in it do not lead out of it.
    pub(super) fn below(&self, path: &[u8]) -> Result<Destination, FilesError> {
        self.root.below(path).map(Destination::at)
    }

    /// The path without links that `path` leads to; its last part may be missing.
    pub(super) fn resolve(&self, path: &[u8]) -> Result<Vec<u8>, FilesError> {
        resolve(&self.root, path)
    }

    /// Whether a path is that of a folder, and no link on the way to it.
    pub(super) fn is_folder(&self, path: &[u8]) -> bool {
        self.open_folder(path).is_ok()
    }

    pub(super) fn stat(&self, path: &[u8]) -> Result<Option<Stat>, FilesError> {
        self.root.stat(path)
    }

    /// Notes the time of a folder before its entries change.
    pub(super) fn keep_time(&mut self, folder: &[u8]) -> Result<(), FilesError> {
        if !self.times.contains_key(folder)
            && let Some(stat) = self.stat(folder)?
        {
            self.set_time(folder, modified(&stat));
        }
        Ok(())
    }

    /// Notes what time a folder shall have.
    pub(super) fn set_time(&mut self, folder: &[u8], time: Timespec) {
        if self.times.insert(folder.to_vec(), time).is_none() {
            self.noted += folder.len() + NOTE;
        }
    }

    /// Whether there are more folders than can be kept in mind.
    pub(super) fn is_overburdened(&self) -> bool {
        self.noted > MOST_NOTED
    }

    /// Forgets the times of a folder and of all below.
    fn forget_times(&mut self, folder: &[u8]) {
        let below = |name: &[u8]| [folder, name].concat();
        let mut gone: Vec<Vec<u8>> = self
            .times
            .range(below(b"/")..below(b"0"))
            .map(|(path, _)| path.clone())
            .collect();
        gone.push(folder.to_vec());
        for path in gone {
            if self.times.remove(&path).is_some() {
                self.noted -= path.len() + NOTE;
            }
        }
    }

    /// Makes the directory at `path` and all that are missing on the way to it.
    pub(super) fn make_directories(&mut self, path: &[u8], folder: Folder) -> Result<(), FilesError> {
        let mut made: Vec<u8> = Vec::new();
        for name in names(path) {
            let parent = made;
            made = join(&parent, name);
            match self.stat(&made)? {
                Some(stat) if is_directory(&stat) => continue,
                Some(_) => return Err(FilesError::NotADirectory { path: shown(&made) }),
                None => {}
            }
            self.keep_time(&parent)?;
            self.make_directory(&made)?;
            self.set_owner(&made, folder.owner)?;
            self.set_mode(&made, folder.mode)?;
            self.set_time(
                &made,
                Timespec {
                    tv_sec: folder.seconds,
                    tv_nsec: 0,
                },
            );
        }
        Ok(())
    }

    /// Makes one directory, for its maker only.
    pub(super) fn make_directory(&self, path: &[u8]) -> Result<(), FilesError> {
        rustix::fs::mkdirat(self.root.fd(), path, Mode::from_raw_mode(0o700)).at("make directory", path)
    }

    /// Makes room for something that is no directory; gives an error if there is one.
    pub(super) fn make_room(&self, path: &[u8]) -> Result<(), FilesError> {
        match self.stat(path)? {
            None => Ok(()),
            Some(stat) if is_directory(&stat) => Err(FilesError::FileOverDirectory { path: shown(path) }),
            Some(_) => rustix::fs::unlinkat(self.root.fd(), path, AtFlags::empty()).at("remove", path),
        }
    }

    /// Removes what is at a path, with all below.
    pub(super) fn remove(&mut self, path: &[u8]) -> Result<(), FilesError> {
        if self.stat(path)?.is_some_and(|stat| is_directory(&stat)) {
            self.forget_times(path);
        }
        self.remove_all(path)
    }

    fn remove_all(&self, path: &[u8]) -> Result<(), FilesError> {
        match self.stat(path)? {
            None => return Ok(()),
            Some(stat) if is_directory(&stat) => {
                for name in self.root.list(path)? {
                    self.remove_all(&join(path, &name))?;
                }
                rustix::fs::unlinkat(self.root.fd(), path, AtFlags::REMOVEDIR)
            }
            Some(_) => rustix::fs::unlinkat(self.root.fd(), path, AtFlags::empty()),
        }
        .at("remove", path)
    }

    pub(super) fn set_owner(&self, path: &[u8], (user, group): (u32, u32)) -> Result<(), FilesError> {
        let given = self.owners().give(self.root.fd(), path, path, (user, group));
        given.map_err(|errno| chown_error(path, (user, group), errno))
    }

    /// Sets the mode of something that is no link.
    pub(super) fn set_mode(&self, path: &[u8], mode: u32) -> Result<(), FilesError> {
        rustix::fs::chmodat(self.root.fd(), path, Mode::from_raw_mode(mode), AtFlags::empty())
            .at("change the mode of", path)
    }

    /// Sets the modification time of something, be it a link.
    pub(super) fn set_modified(&self, path: &[u8], time: Timespec) -> Result<(), FilesError> {
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::utimensat(self.root.fd(), or_dot(path), &times(time), flags).at("set the time of", path)
    }

    /// Makes a pipe, a device node, or an empty file in place of a socket.
    pub(super) fn make_node(&self, path: &[u8], kind: FileType, device: u64) -> Result<(), FilesError> {
        if kind == FileType::CharacterDevice && device == 0 {
            // How overlays mark what was removed: it would hide files of the trees below.
            return Err(FilesError::Device { path: shown(path) });
        }
        let (kind, device) = match kind {
            FileType::BlockDevice | FileType::CharacterDevice => (kind, device),
            FileType::Fifo => (kind, 0),
            _ => (FileType::RegularFile, 0),
        };
        match rustix::fs::mknodat(self.root.fd(), path, kind, Mode::from_raw_mode(0o600), device) {
            Err(Errno::PERM) if device != 0 => Err(FilesError::Device { path: shown(path) }),
            other => other.at("make", path),
        }
    }

    pub(super) fn make_link(&self, path: &[u8], target: &[u8]) -> Result<(), FilesError> {
        rustix::fs::symlinkat(target, self.root.fd(), path).at("make link", path)
    }

    /// Gives the file at `existing` another name.
    pub(super) fn make_hard_link(&self, existing: &[u8], path: &[u8]) -> Result<(), FilesError> {
        let root = self.root.fd();
        rustix::fs::linkat(root, existing, root, path, AtFlags::empty()).at("link", path)
    }

    /// Sets the times of folders, and tells whether something was put beside the mount.
    pub(super) fn finish(self) -> Result<bool, FilesError> {
        for (folder, time) in &self.times {
            self.set_modified(folder, *time)?;
        }
        Ok(self.bypassed)
    }

    /// Opens a folder to make entries in.
    pub(super) fn open_folder(&self, path: &[u8]) -> Result<rustix::fd::OwnedFd, FilesError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        self.root.open_resolved(path, flags).at("open", path)
    }
}

pub(super) fn is_directory(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

pub(super) fn chown_error(path: &[u8], (user, group): (u32, u32), errno: Errno) -> FilesError {
    FilesError::Chown {
        path: shown(path),
        user,
        group,
        source: errno.into(),
    }
}

/// The folder that an entry is in.
pub(super) fn folder_of(path: &[u8]) -> &[u8] {
    split(path).0
}

/// This modification time, and the access time left alone.
pub(super) fn times(modified: Timespec) -> Timestamps {
    Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: modified,
    }
}
