//! Overlays: stacking snapshot directories with the kernel, and reading the same stack without it.
//!
//! Every overlay has the store's empty directory at the bottom: a mount needs two directories, and one whose only
//! layer has whiteouts at its root must not show them. Options are those that keep the upper directory a plain set of
//! changes: no redirects, no metadata-only copies, no index.
//!
//! A removed name is a character device 0:0. A file system that is an overlay itself, as the root of a container is, keeps
//! that to itself; there the kernel's other mark stands for it, an empty file with the attribute `user.overlay.whiteout`.

use std::collections::{BTreeSet, HashSet};
use std::ffi::{CString, OsStr, OsString};
use std::fmt::Write as _;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat, Timespec, Timestamps, XattrFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen, move_mount,
};

use crate::error::failed;
use crate::tree::View;
use crate::{Error, Owners, Snapshot, Store, Tree};

/// No stack has so many layers: the kernel's limit.
pub const MOST_LAYERS: usize = 500;
/// The kernel's limit for one string option of the new mount interface, less some.
const LONGEST_OPTION: usize = 250;
const OPAQUE: &str = "user.overlay.opaque";
const REMOVED: &str = "user.overlay.whiteout";

/// The writable part of an overlay.
pub(crate) struct Writable<'a> {
    pub(crate) upper: &'a Path,
    pub(crate) work: &'a Path,
}

/// Mounts `stack` (lowest first) at `path`, read-only or with a writable part on top.
pub(crate) fn mount(
    store: &Store,
    stack: &[Snapshot],
    writable: Option<&Writable<'_>>,
    path: PathBuf,
    owners: Owners,
) -> Result<Tree, Error> {
    if stack.len() >= MOST_LAYERS {
        return Err(Error::TooManyLayers(stack.len()));
    }
    let mut lowers: Vec<PathBuf> = stack.iter().rev().map(Snapshot::directory).collect();
    lowers.push(store.path("empty"));
    // The kernel wants no directory twice. Changes that were laid over a tree more than once hide what they did below.
    let mut seen = HashSet::new();
    lowers.retain(|lower| seen.insert(lower.clone()));
    let refused = |source: Errno| Error::Mount {
        path: path.clone(),
        layers: lowers.len(),
        source: source.into(),
    };
    mount_directories(&lowers, writable, &path).map_err(refused)?;
    let view = View::Mounted {
        own_mount_point: writable.is_none(),
    };
    Ok(Tree::new(path, owners, view, store))
}

/// Mounts directories, the highest first.
pub(crate) fn mount_directories(lowers: &[PathBuf], writable: Option<&Writable<'_>>, path: &Path) -> Result<(), Errno> {
    match mount_each(lowers, writable, path) {
        // Kernels before 6.8 know only one option for all lower directories.
        Err(Errno::INVAL | Errno::NOSYS) => mount_at_once(lowers, writable, path),
        outcome => outcome,
    }
}

/// The new mount interface: one option for each lower directory.
fn mount_each(lowers: &[PathBuf], writable: Option<&Writable<'_>>, path: &Path) -> Result<(), Errno> {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let mut held = Vec::new();
    let mut set = |key: &str, directory: &Path| -> Result<(), Errno> {
        if directory.as_os_str().len() <= LONGEST_OPTION {
            return fsconfig_set_string(&context, key, directory);
        }
        let (descriptor, short) = shorten(directory)?;
        held.push(descriptor);
        fsconfig_set_string(&context, key, short.as_str())
    };
    for lower in lowers {
        set("lowerdir+", lower)?;
    }
    if let Some(writable) = writable {
        set("upperdir", writable.upper)?;
        set("workdir", writable.work)?;
        fsconfig_set_flag(&context, "volatile")?;
    }
    fsconfig_set_string(&context, "source", "overlay")?;
    fsconfig_set_flag(&context, "userxattr")?;
    for (key, value) in [("index", "off"), ("xino", "off"), ("metacopy", "off")] {
        fsconfig_set_string(&context, key, value)?;
    }
    fsconfig_create(&context)?;
    let attributes = match writable {
        Some(_) => MountAttrFlags::empty(),
        None => MountAttrFlags::MOUNT_ATTR_RDONLY,
    };
    let mounted = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    move_mount(&mounted, "", CWD, path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
}

/// The old mount interface: all options in one page, so directories are named by open descriptors.
fn mount_at_once(lowers: &[PathBuf], writable: Option<&Writable<'_>>, path: &Path) -> Result<(), Errno> {
    let mut held = Vec::new();
    let mut options = String::from("userxattr,index=off,xino=off,metacopy=off,lowerdir=");
    for (position, lower) in lowers.iter().enumerate() {
        let (descriptor, short) = shorten(lower)?;
        held.push(descriptor);
        options.push_str(if position == 0 { "" } else { ":" });
        options.push_str(&short);
    }
    if let Some(writable) = writable {
        for (key, directory) in [("upperdir", writable.upper), ("workdir", writable.work)] {
            let (descriptor, short) = shorten(directory)?;
            held.push(descriptor);
            // Writing to a String does not fail.
            let _ = write!(options, ",{key}={short}");
        }
        options.push_str(",volatile");
    }
    let flags = match writable {
        Some(_) => MountFlags::empty(),
        None => MountFlags::RDONLY,
    };
    let options = CString::new(options).map_err(|_| Errno::INVAL)?;
    rustix::mount::mount("overlay", path, "overlay", flags, Some(options.as_c_str()))
}

/// A short name of `directory`, good as long as the descriptor is open.
fn shorten(directory: &Path) -> Result<(OwnedFd, String), Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let descriptor = rustix::fs::open(directory, flags, Mode::empty())?;
    let short = format!("/proc/self/fd/{}", descriptor.as_raw_fd());
    Ok((descriptor, short))
}

/// Whether what is at `path` is how overlays mark a removed name.
pub(crate) fn is_whiteout(path: &Path, stat: &Stat) -> Result<bool, Error> {
    let is_empty = || stat.st_size == 0 && stat.st_mode & 0o7777 == 0;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::CharacterDevice => Ok(stat.st_rdev == 0),
        FileType::RegularFile if is_empty() => match rustix::fs::lgetxattr(path, REMOVED, &mut [0; 1][..]) {
            Ok(_) | Err(Errno::RANGE) => Ok(true),
            Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(false),
            Err(error) => Err(failed("read the attributes of", path)(error)),
        },
        _ => Ok(false),
    }
}

/// Marks `name`, which is not there, as removed.
pub(crate) fn mark_removed(directory: impl AsFd, name: impl rustix::path::Arg + Copy) -> Result<(), Errno> {
    match rustix::fs::mknodat(&directory, name, FileType::CharacterDevice, Mode::empty(), 0) {
        Err(Errno::PERM) => {}
        outcome => return outcome,
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(&directory, name, flags, Mode::RUSR | Mode::WUSR)?;
    rustix::fs::fsetxattr(&file, REMOVED, b"y", XattrFlags::empty())?;
    rustix::fs::fchmod(&file, Mode::empty())
}

/// Whether the directory hides those below it.
pub(crate) fn is_opaque(directory: &Path) -> Result<bool, Error> {
    let mut value = [0; 2];
    match rustix::fs::lgetxattr(directory, OPAQUE, &mut value) {
        Ok(length) => Ok(&value[..length] == b"y"),
        // A longer value is none of an overlay's.
        Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::RANGE) => Ok(false),
        Err(error) => Err(failed("read the attributes of", directory)(error)),
    }
}

/// Makes an open directory hide those below it.
pub(crate) fn make_opaque(directory: impl AsFd) -> io::Result<()> {
    Ok(rustix::fs::fsetxattr(directory, OPAQUE, b"y", XattrFlags::empty())?)
}

/// Gives the open directory `to`, called `name`, the owner, mode and time that `stat` tells.
pub(crate) fn adopt_directory(stat: &Stat, to: impl AsFd, name: &Path, owners: &Owners) -> Result<(), Error> {
    match owners.give_open(&to, (stat.st_uid, stat.st_gid)) {
        // An owner that the user namespace does not map.
        Ok(()) | Err(Errno::INVAL) => {}
        Err(error) => return Err(failed("change the owner of", name)(error)),
    }
    let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
    rustix::fs::fchmod(&to, mode).map_err(failed("change the mode of", name))?;
    let times = timestamps(stat.st_mtime, stat.st_mtime_nsec.cast_signed());
    rustix::fs::futimens(&to, &times).map_err(failed("change the time of", name))
}

/// Sets the times of what is at `path`.
pub(crate) fn set_time(path: &Path, seconds: i64, nanoseconds: i64) -> Result<(), Error> {
    rustix::fs::utimensat(CWD, path, &timestamps(seconds, nanoseconds), AtFlags::SYMLINK_NOFOLLOW)
        .map_err(failed("change the time of", path))
}

/// The same time for access and modification.
pub(crate) fn timestamps(seconds: i64, nanoseconds: i64) -> Timestamps {
    let time = Timespec {
        tv_sec: seconds,
        tv_nsec: nanoseconds,
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}

/// One directory as a stack of snapshots shows it: the directories that merge into it, highest first.
#[derive(Clone, Debug)]
pub(crate) struct Merged {
    /// With the snapshot that each is of.
    directories: Vec<(PathBuf, Snapshot)>,
}

/// A name as a stack of snapshots shows it.
#[derive(Debug)]
pub(crate) enum Shown {
    /// There is no such name.
    Nothing,
    /// Anything but a directory.
    File(Found),
    /// A directory; its metadata are those of the highest.
    Directory(Found, Merged),
}

/// Where a name was found.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) path: PathBuf,
    pub(crate) stat: Stat,
}

impl Merged {
    /// The root of `snapshot`; of nothing, nothing.
    pub(crate) fn root(snapshot: Option<&Snapshot>) -> Merged {
        let stack = snapshot.map(Snapshot::stack).unwrap_or_default();
        Merged {
            directories: stack
                .into_iter()
                .rev()
                .map(|snapshot| (snapshot.directory(), snapshot))
                .collect(),
        }
    }

    /// What `name` in this directory is.
    pub(crate) fn child(&self, name: &OsStr) -> Result<Shown, Error> {
        let mut top: Option<Found> = None;
        let mut directories = Vec::new();
        for (directory, snapshot) in &self.directories {
            let path = directory.join(name);
            let mut stat = match rustix::fs::lstat(&path) {
                Ok(stat) => stat,
                Err(Errno::NOENT | Errno::NOTDIR) => continue,
                Err(error) => return Err(failed("read", &path)(error)),
            };
            if is_whiteout(&path, &stat)? {
                break;
            }
            snapshot.tell_owner(&path, &mut stat)?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
                if top.is_none() {
                    return Ok(Shown::File(Found { path, stat }));
                }
                break;
            }
            let opaque = is_opaque(&path)?;
            directories.push((path.clone(), snapshot.clone()));
            top.get_or_insert(Found { path, stat });
            if opaque {
                break;
            }
        }
        Ok(match top {
            None => Shown::Nothing,
            Some(found) => Shown::Directory(found, Merged { directories }),
        })
    }

    /// What is at `path`, component by component; symbolic links are not followed.
    pub(crate) fn descend(&self, path: &Path) -> Result<Shown, Error> {
        let mut here = self.clone();
        let mut names = path.iter().peekable();
        while let Some(name) = names.next() {
            match here.child(name)? {
                Shown::Directory(_, below) if names.peek().is_some() => here = below,
                shown if names.peek().is_none() => return Ok(shown),
                _ => return Ok(Shown::Nothing),
            }
        }
        Ok(Shown::Nothing)
    }

    /// All names this directory shows, sorted.
    pub(crate) fn names(&self) -> Result<BTreeSet<OsString>, Error> {
        let mut shown = BTreeSet::new();
        let mut hidden = BTreeSet::new();
        for (directory, _) in &self.directories {
            for entry in std::fs::read_dir(directory).map_err(failed("read", directory))? {
                let entry = entry.map_err(failed("read", directory))?;
                let name = entry.file_name();
                if shown.contains(&name) || hidden.contains(&name) {
                    continue;
                }
                let path = entry.path();
                let stat = rustix::fs::lstat(&path).map_err(failed("read", &path))?;
                if is_whiteout(&path, &stat)? {
                    hidden.insert(name);
                } else {
                    shown.insert(name);
                }
            }
        }
        Ok(shown)
    }
}
