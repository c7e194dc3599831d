//! Mount points that every step gets and no image has: laid beneath the overlay before it is mounted, and taken away after.
//!
//! A file made in an overlay has its folder copied up through the work directory first, and both are removed again through the
//! overlay: a seventh of what a small step costs. In the directory of changes itself it is a folder and an empty file, and when
//! the folder is as it was, it goes too. Where that would not be the same to the step's eyes (the folder is missing, is a link, or
//! has attributes; owners are recorded; trees are copied), nothing is laid, and whoever mounts makes the file.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::error::failed;
use crate::overlay::{self, Merged, Shown};
use crate::owner::Ownership;
use crate::{ActiveSnapshot, Error, SnapshotId, Store, Views};

/// The files of one folder that were laid.
#[derive(Debug)]
pub struct MountPoints {
    store: Store,
    /// Of the tree they were laid in.
    tree: SnapshotId,
    folder: PathBuf,
    missing: Missing,
}

/// What a tree lacks in a folder. Trees of steps that change nothing there lack the same, and are not asked.
#[derive(Clone, Debug)]
pub(crate) struct Missing {
    folder: String,
    /// What the folder is like.
    stat: Stat,
    names: Vec<&'static str>,
}

impl ActiveSnapshot {
    /// Lays empty files into a folder of the tree's root, as far as the tree has none of their names. To be called before the tree
    /// is mounted. `None`: nothing is laid.
    ///
    /// # Errors
    /// If the tree cannot be read, or the files not be made.
    pub fn lay_mount_points(&self, folder: &str, names: &[&'static str]) -> Result<Option<MountPoints>, Error> {
        if self.store.views() != Views::Mounted || self.store.ownership() != Ownership::Kept {
            return Ok(None);
        }
        let Some(missing) = self.missing(folder, names)? else {
            return Ok(None);
        };
        let folder = self.upper().join(folder);
        match rustix::fs::mkdir(&folder, Mode::RWXU) {
            Err(Errno::EXIST) => return Ok(None),
            made => made.map_err(failed("create", &folder))?,
        }
        let opened = open(&folder).map_err(failed("open", &folder))?;
        for name in &missing.names {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let mode = Mode::from_raw_mode(0o644);
            rustix::fs::openat(&opened, *name, flags, mode).map_err(failed("create", &folder.join(name)))?;
        }
        overlay::adopt_directory(&missing.stat, &opened, &folder, self.owners())?;
        let laid = rustix::fs::fstat(&opened).map_err(failed("read", &folder))?;
        if told(&laid) != told(&missing.stat) {
            // It has an owner that cannot be given here.
            self.store.remove(&folder)?;
            return Ok(None);
        }
        Ok(Some(MountPoints {
            store: self.store.clone(),
            tree: self.id(),
            folder,
            missing,
        }))
    }

    /// Which of `names` the tree below lacks in a folder, if it has that and it is like any other.
    fn missing(&self, folder: &str, names: &[&'static str]) -> Result<Option<Missing>, Error> {
        let Some(parent) = &self.parent else {
            return Ok(None);
        };
        let known = self.store.missing().get(&parent.id()).cloned();
        if let Some(known) = known.filter(|known| known.folder == folder) {
            return Ok(Some(known));
        }
        let Shown::Directory(found, below) = Merged::root(Some(parent)).child(OsStr::new(folder))? else {
            return Ok(None);
        };
        let mut missing = Missing {
            folder: folder.to_owned(),
            stat: found.stat,
            names: Vec::new(),
        };
        for name in names {
            if let Shown::Nothing = below.child(OsStr::new(name))? {
                missing.names.push(*name);
            }
        }
        let is_to_be_laid = !missing.names.is_empty() && !has_attributes(&found.path);
        Ok(is_to_be_laid.then_some(missing))
    }
}

impl MountPoints {
    /// Takes away what the step has left as it was. To be called when the tree is closed.
    ///
    /// # Errors
    /// If something cannot be removed: it would be in the image, as if the step had made it.
    pub fn take_away(self) -> Result<(), Error> {
        let opened = match open(&self.folder) {
            // The step may have had the rights to unmount what was in it, and put something else there.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(()),
            opened => opened.map_err(failed("open", &self.folder))?,
        };
        let now = rustix::fs::fstat(&opened).map_err(failed("read", &self.folder))?;
        for name in &self.missing.names {
            let path = self.folder.join(name);
            let stat = match rustix::fs::statat(&opened, *name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => continue,
                stat => stat.map_err(failed("read", &path))?,
            };
            if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_size == 0 {
                rustix::fs::unlinkat(&opened, *name, AtFlags::empty()).map_err(failed("remove", &path))?;
            }
        }
        let told = |stat: &Stat| {
            (
                stat.st_mode,
                stat.st_uid,
                stat.st_gid,
                stat.st_mtime,
                stat.st_mtime_nsec,
            )
        };
        let is_same = told(&now) == told(&self.missing.stat) && !has_attributes(&self.folder);
        if is_same && rustix::fs::rmdir(&self.folder).is_ok() {
            self.store.missing().insert(self.tree, self.missing);
            return Ok(());
        }
        let times = overlay::timestamps(now.st_mtime, now.st_mtime_nsec.cast_signed());
        rustix::fs::futimens(&opened, &times).map_err(failed("change the time of", &self.folder))
    }
}

/// What an image tells of a folder.
fn told(stat: &Stat) -> impl PartialEq + use<> {
    (
        stat.st_mode,
        stat.st_uid,
        stat.st_gid,
        stat.st_mtime,
        stat.st_mtime_nsec,
    )
}

fn open(folder: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, folder, flags, Mode::empty())
}

/// Whether a folder has attributes that a new one would not have, but for the overlay's own notes; also if that cannot be found
/// out.
fn has_attributes(folder: &Path) -> bool {
    let mut list = [0; 512];
    match rustix::fs::llistxattr(folder, &mut list) {
        Ok(length) => list[..length]
            .split(|byte| *byte == 0)
            .any(|name| !name.is_empty() && !name.starts_with(b"user.overlay.")),
        Err(_) => true,
    }
}
