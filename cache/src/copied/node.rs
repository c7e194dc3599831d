//! One file copied as it is: its bytes, owner, mode, attributes and time.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, SeekFrom, Stat, Uid, XattrFlags};
use rustix::io::Errno;

use crate::Error;
use crate::error::failed;
use crate::overlay::timestamps;

/// Below this, reading and writing is not slower than sharing blocks.
const SMALL: u64 = 64 * 1024;
/// What a mode says beside the kind of file.
const MODE: u32 = 0o7777;
const CAPABILITY: &[u8] = b"security.capability";

/// Whether this is a directory.
pub(super) fn is_directory(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

/// What the file system says of `path`, if there is something.
pub(super) fn look(path: &Path) -> Result<Option<Stat>, Error> {
    match rustix::fs::lstat(path) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(failed("read", path)(error)),
    }
}

/// Copies what is at `from`, anything but a directory, to `to`, where nothing is. Devices are left out where the kernel
/// allows none, as they are when a layer is unpacked.
pub(super) fn copy(from: &Path, stat: &Stat, to: &Path) -> Result<(), Error> {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => return copy_file(from, stat, to),
        FileType::Symlink => {
            let target = rustix::fs::readlink(from, Vec::new()).map_err(failed("read", from))?;
            rustix::fs::symlinkat(&target, CWD, to).map_err(failed("create", to))?;
            own(to, stat)?;
        }
        kind => {
            let mode = Mode::from_raw_mode(stat.st_mode & MODE);
            match rustix::fs::mknodat(CWD, to, kind, mode, stat.st_rdev) {
                Err(Errno::PERM) if !matches!(kind, FileType::Fifo | FileType::Socket) => return Ok(()),
                made => made.map_err(failed("create", to))?,
            }
            own(to, stat)?;
            rustix::fs::chmod(to, mode).map_err(failed("change the mode of", to))?;
            copy_attributes(from, to)?;
        }
    }
    set_times(stat, to)
}

fn copy_file(from: &Path, stat: &Stat, to: &Path) -> Result<(), Error> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let source: File = rustix::fs::open(from, flags, Mode::empty())
        .map_err(failed("read", from))?
        .into();
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let target: File = rustix::fs::open(to, flags, Mode::RUSR | Mode::WUSR)
        .map_err(failed("create", to))?
        .into();
    copy_bytes(&source, &target, stat).map_err(failed("write", to))?;
    let owner = (Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)));
    let made = rustix::fs::fstat(&target).map_err(failed("look at", to))?;
    if (made.st_uid, made.st_gid) != (stat.st_uid, stat.st_gid) {
        unless_unmapped(rustix::fs::fchown(&target, owner.0, owner.1)).map_err(failed("change the owner of", to))?;
    }
    // A new owner takes bits away, and so do bytes.
    rustix::fs::fchmod(&target, Mode::from_raw_mode(stat.st_mode & MODE)).map_err(failed("change the mode of", to))?;
    copy_attributes(from, to)?;
    let times = timestamps(stat.st_mtime, stat.st_mtime_nsec.cast_signed());
    rustix::fs::futimens(&target, &times).map_err(failed("change the time of", to))
}

fn copy_bytes(mut source: &File, mut target: &File, stat: &Stat) -> io::Result<()> {
    let size = stat.st_size.cast_unsigned();
    if size > SMALL && rustix::fs::ioctl_ficlone(target, source).is_ok() {
        return Ok(());
    }
    if stat.st_blocks.cast_unsigned().saturating_mul(512) >= size {
        return io::copy(&mut source, &mut target).map(drop);
    }
    // Holes stay holes.
    target.set_len(size)?;
    let mut at = 0;
    while at < size {
        let start = match rustix::fs::seek(source, SeekFrom::Data(at)) {
            Ok(start) => start,
            Err(Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        let end = rustix::fs::seek(source, SeekFrom::Hole(start))?;
        rustix::fs::seek(source, SeekFrom::Start(start))?;
        rustix::fs::seek(target, SeekFrom::Start(start))?;
        if io::copy(&mut source.take(end - start), &mut target)? == 0 {
            break;
        }
        at = end;
    }
    Ok(())
}

/// Gives the directory `to` all that `from` is besides its entries. `stat` is what the file system said of that.
pub(super) fn dress_directory(from: &Path, stat: &Stat, to: &Path) -> Result<(), Error> {
    own(to, stat)?;
    rustix::fs::chmod(to, Mode::from_raw_mode(stat.st_mode & MODE)).map_err(failed("change the mode of", to))?;
    let (wanted, there) = (attributes(from)?, attributes(to)?);
    for name in there.keys().filter(|name| !wanted.contains_key(*name)) {
        rustix::fs::lremovexattr(to, name.as_slice()).map_err(failed("change the attributes of", to))?;
    }
    set_attributes(&wanted, to)?;
    set_times(stat, to)
}

fn own(path: &Path, stat: &Stat) -> Result<(), Error> {
    let (user, group) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    let given = rustix::fs::chownat(CWD, path, Some(user), Some(group), AtFlags::SYMLINK_NOFOLLOW);
    unless_unmapped(given).map_err(failed("change the owner of", path))
}

/// The kernel's `EINVAL` for an owner means that the user namespace does not map it.
fn unless_unmapped(outcome: Result<(), Errno>) -> Result<(), Errno> {
    match outcome {
        Err(Errno::INVAL) => Ok(()),
        outcome => outcome,
    }
}

fn set_times(stat: &Stat, path: &Path) -> Result<(), Error> {
    let times = timestamps(stat.st_mtime, stat.st_mtime_nsec.cast_signed());
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).map_err(failed("change the time of", path))
}

/// The extended attributes of what is at `path` that are part of a tree. Marks of overlays say something of the
/// directory that is stacked, and labels of the machine.
pub(super) fn attributes(path: &Path) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, Error> {
    let mut found = BTreeMap::new();
    let mut list = vec![0; 1024];
    let length = loop {
        match rustix::fs::llistxattr(path, &mut list[..]) {
            Ok(length) => break length,
            Err(Errno::RANGE) => list.resize(list.len() * 4, 0),
            Err(Errno::OPNOTSUPP) => return Ok(found),
            Err(error) => return Err(failed("read the attributes of", path)(error)),
        }
    };
    for name in list[..length].split(|byte| *byte == 0).filter(|name| is_kept(name)) {
        let mut value = vec![0; 64];
        loop {
            match rustix::fs::lgetxattr(path, name, &mut value[..]) {
                Ok(length) => {
                    value.truncate(length);
                    found.insert(name.to_vec(), value);
                    break;
                }
                Err(Errno::RANGE) => value.resize(value.len() * 4, 0),
                Err(Errno::NODATA) => break,
                Err(error) => return Err(failed("read the attributes of", path)(error)),
            }
        }
    }
    Ok(found)
}

fn is_kept(name: &[u8]) -> bool {
    let is_marked = name.starts_with(b"user.overlay.") || name.starts_with(b"trusted.overlay.");
    let is_of_tree = name.starts_with(b"user.") || name.starts_with(b"trusted.");
    name == CAPABILITY || name.starts_with(b"system.posix_acl_") || (is_of_tree && !is_marked)
}

fn copy_attributes(from: &Path, to: &Path) -> Result<(), Error> {
    set_attributes(&attributes(from)?, to)
}

fn set_attributes(attributes: &BTreeMap<Vec<u8>, Vec<u8>>, path: &Path) -> Result<(), Error> {
    for (name, value) in attributes {
        match rustix::fs::lsetxattr(path, name.as_slice(), value, XattrFlags::empty()) {
            // What nobody here may set, nobody in a step relies on; but a program is the poorer without its capability.
            Err(Errno::PERM | Errno::OPNOTSUPP) if name != CAPABILITY => {}
            set => set.map_err(failed("change the attributes of", path))?,
        }
    }
    Ok(())
}
