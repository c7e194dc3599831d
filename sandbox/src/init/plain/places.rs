//! Mounting without mounts: what is at a target is moved aside, another thing stands there for the time of the step, and
//! afterwards all is as it was.
//!
//! ```text
//! folder of the root/
//! ├── root/…/target       what the step sees there
//! └── .rbuild-aside-N/    made for the step, removed after it
//!     ├── 0, 1, …         what was at the targets, in their order
//!     └── 0-gone, …       what stood there for the step, to be thrown away
//! ```
//!
//! Everything is a rename within one file system, by descriptors of directories: a step can neither lead us elsewhere by a
//! link nor make it slow by what it leaves. Directories keep the times that they had, or that the step gave them. The step
//! may remove what stands at a target, which nobody can with a mount: then the target is what it was, and where the step
//! removed the folder around it, that stays removed.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, Stat, Uid, futimens, renameat, statat};
use rustix::io::Errno;

use super::copy;
use crate::rooted::{self, Kind, Place};
use crate::wire::{During, Failure};

/// What stands in the place of something else in one root.
pub(super) struct Places<'a> {
    root: &'a OwnedFd,
    /// The folder beside the root, and where it is.
    aside: OwnedFd,
    beside: Place,
    changed: Vec<Changed>,
}

/// A target with something else in its place.
struct Changed {
    target: String,
    place: Place,
    lent: Option<Lent>,
}

/// A directory that stands at a target and is to be given back.
struct Lent {
    source: Place,
    /// As it was.
    stat: Stat,
    /// Whether it was copied, from another file system.
    is_copy: bool,
}

impl<'a> Places<'a> {
    /// `opened` is the root at `path`.
    pub(super) fn in_root(path: &Path, opened: &'a OwnedFd) -> io::Result<Places<'a>> {
        let parent = path.parent().ok_or(Errno::BUSY)?;
        let read = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::openat(CWD, parent, read, Mode::empty())?;
        if rustix::fs::fstat(&directory)?.st_dev != rustix::fs::fstat(opened)?.st_dev {
            return Err(Errno::XDEV.into());
        }
        // One that a killed process left may have the number.
        let name = (0..).find_map(|number| {
            let name = OsString::from(format!(".rbuild-aside-{}-{number}", std::process::id()));
            match rustix::fs::mkdirat(&directory, &name, Mode::from_raw_mode(0o700)) {
                Err(Errno::EXIST) => None,
                made => Some(made.map(|()| name)),
            }
        });
        let name = name.unwrap_or(Err(Errno::EXIST))?;
        let aside = rustix::fs::openat(&directory, &name, read | OFlags::NOFOLLOW, Mode::empty())?;
        Ok(Places {
            root: opened,
            aside,
            beside: Place { directory, name },
            changed: Vec::new(),
        })
    }

    /// Has `fill` put something at `target`, where a thing of its kind is or is made.
    pub(super) fn put(
        &mut self,
        target: &str,
        kind: Kind,
        fill: impl FnOnce(&Place) -> io::Result<()>,
    ) -> Result<(), Failure> {
        let place = self.find(target, kind).during("make the mount point", target)?;
        let times = rooted::times(&place.directory).during("look at the folder of", target)?;
        let number = self.changed.len().to_string();
        renameat(&place.directory, &place.name, &self.aside, number).during("move aside", target)?;
        self.changed.push(Changed {
            target: target.to_owned(),
            place,
            lent: None,
        });
        let place = &self.changed[self.changed.len() - 1].place;
        fill(place).during("put in its place, for want of mounts,", target)?;
        futimens(&place.directory, &times).during("keep the times of the folder of", target)
    }

    fn find(&self, target: &str, kind: Kind) -> io::Result<Place> {
        let found = rooted::find_or_make(self.root.as_fd(), Path::new(target), kind)?;
        match (kind, Kind::of(found)?) {
            (Kind::Directory, Kind::File) => Err(Errno::NOTDIR.into()),
            (Kind::File, Kind::Directory) => Err(Errno::ISDIR.into()),
            _ => rooted::place(self.root.as_fd(), Path::new(target)),
        }
    }

    /// A new directory at `target`.
    pub(super) fn directory(&mut self, target: &str, mode: u32) -> Result<OwnedFd, Failure> {
        let mut made = None;
        self.put(target, Kind::Directory, |place| {
            rustix::fs::mkdirat(&place.directory, &place.name, Mode::from_raw_mode(0o700))?;
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let directory = rustix::fs::openat(&place.directory, &place.name, flags, Mode::empty())?;
            rustix::fs::fchmod(&directory, Mode::from_raw_mode(mode))?;
            made = Some(directory);
            Ok(())
        })?;
        Ok(made.expect("it was made, or that failed"))
    }

    /// The directory at `source`, as it is, at `target`: what the step does to it lasts.
    pub(super) fn lend(&mut self, target: &str, source: Place) -> Result<(), Failure> {
        let stat = statat(&source.directory, &source.name, AtFlags::SYMLINK_NOFOLLOW)
            .during("look at the source of a mount for", target)?;
        let (before, mut is_copy) = (self.changed.len(), false);
        let filled = self.put(target, Kind::Directory, |place| {
            match renameat(&source.directory, &source.name, &place.directory, &place.name) {
                Err(Errno::XDEV) => {
                    is_copy = true;
                    copy::copy(&source, place)
                }
                moved => Ok(moved?),
            }
        });
        let is_there = |place: &Place| statat(&place.directory, &place.name, AtFlags::SYMLINK_NOFOLLOW).is_ok();
        // Also if only something after it failed.
        if let Some(changed) = self.changed.get_mut(before).filter(|changed| is_there(&changed.place)) {
            changed.lent = Some(Lent { source, stat, is_copy });
        }
        filled
    }

    /// Puts everything back, the last first. What was done to a copy is brought to where it is of if `keep`.
    pub(super) fn clear(mut self, keep: bool) -> Result<(), Failure> {
        let mut outcome = Ok(());
        while let Some(changed) = self.changed.pop() {
            let number = self.changed.len();
            let cleared = changed.clear(&self.aside, number, keep);
            outcome = outcome.and(cleared.during("put back", &changed.target));
        }
        self.throw_away();
        outcome
    }

    /// Removes what is aside: one by one, so that no file stays because a folder cannot be removed. What does stay lies
    /// beside the root, and goes with the folder of both.
    fn throw_away(&self) {
        let aside = format!("/proc/self/fd/{}", self.aside.as_raw_fd());
        for entry in std::fs::read_dir(aside).into_iter().flatten().flatten() {
            let _ = std::fs::remove_file(entry.path()).or_else(|_| std::fs::remove_dir_all(entry.path()));
        }
        let _ = rustix::fs::unlinkat(&self.beside.directory, &self.beside.name, AtFlags::REMOVEDIR);
    }
}

impl Changed {
    fn clear(&self, aside: &OwnedFd, number: usize, keep: bool) -> io::Result<()> {
        let Place { directory, name } = &self.place;
        let times = rooted::times(directory)?;
        let gone = format!("{number}-gone");
        let throw = || match renameat(directory, name, aside, &gone) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(io::Error::from(error)),
        };
        match &self.lent {
            Some(lent) => lent.give_back(&self.place, throw, keep)?,
            None => throw()?,
        }
        match renameat(aside, number.to_string(), directory, name) {
            // The step has removed the folder itself.
            Err(Errno::NOENT) => return Ok(()),
            moved => moved?,
        }
        Ok(futimens(directory, &times)?)
    }
}

impl Lent {
    fn give_back(&self, place: &Place, throw: impl Fn() -> io::Result<()>, keep: bool) -> io::Result<()> {
        let found = statat(&place.directory, &place.name, AtFlags::SYMLINK_NOFOLLOW);
        let is_directory = found.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory);
        let Place { directory, name } = &self.source;
        match (self.is_copy, is_directory) {
            (false, true) => Ok(renameat(&place.directory, &place.name, directory, name)?),
            (false, false) => {
                throw()?;
                rustix::fs::mkdirat(directory, name, Mode::from_raw_mode(self.stat.st_mode & 0o7777))?;
                let (uid, gid) = (Uid::from_raw(self.stat.st_uid), Gid::from_raw(self.stat.st_gid));
                let flags = AtFlags::SYMLINK_NOFOLLOW;
                Ok(rustix::fs::chownat(directory, name, Some(uid), Some(gid), flags)?)
            }
            (true, true) if keep => {
                self.bring_back(place)?;
                throw()
            }
            (true, _) => throw(),
        }
    }

    /// Copies what is at `place` to where it came from, beside what is there first.
    fn bring_back(&self, place: &Place) -> io::Result<()> {
        let Place { directory, name } = &self.source;
        let beside = |ending: &str| {
            let mut beside = name.clone();
            beside.push(ending);
            beside
        };
        let new = Place {
            directory: directory.try_clone()?,
            name: beside(".rbuild-new"),
        };
        copy::copy(place, &new)?;
        let old = beside(".rbuild-old");
        renameat(directory, name, directory, &old)?;
        renameat(directory, &new.name, directory, name)?;
        std::fs::remove_dir_all(Path::new(&format!("/proc/self/fd/{}", directory.as_raw_fd())).join(old))
    }
}

#[cfg(test)]
mod tests;
