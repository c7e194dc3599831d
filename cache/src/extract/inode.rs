//! One file of a layer: made, filled, and given its owner, mode and time. Where it is, is not decided here.

use std::ffi::CStr;
use std::fs::File;
use std::io::{BufRead, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, XattrFlags};
use rustix::io::Errno;

use super::{Refused, step};
use crate::headers::are_in_order;
use crate::overlay::timestamps;
use crate::tar_reader::{Entry, Kind, TarError, TarReader};
use crate::{Owner, Owners};

/// What a mode says without the bits that give a process another owner, which wait until the file has its own.
pub(super) const PERMISSIONS: u32 = 0o777;

fn owner(entry: &Entry) -> Result<Owner, Refused> {
    // The highest number means "leave as it is" to the kernel.
    let number = |id: u64| u32::try_from(id).ok().filter(|id| *id != u32::MAX);
    let (uid, gid) = (number(entry.uid), number(entry.gid));
    let (Some(uid), Some(gid)) = (uid, gid) else {
        return Err(Refused::Entry(format!(
            "its owner {}:{} is out of range",
            entry.uid, entry.gid
        )));
    };
    Ok((uid, gid))
}

/// Gives an open file or directory the owner and mode of its entry. Most are made with them, and looking is cheaper than
/// the file system's notes of a change that is none: 6 % of unpacking 23,000 files.
pub(super) fn dress(file: impl AsFd, entry: &Entry, owners: &Owners) -> Result<(), Refused> {
    let owner = owner(entry)?;
    let made = rustix::fs::fstat(&file).map_err(step("look at what was made"))?;
    // An earlier entry for the same directory may have left another record.
    let may_be_recorded = !owners.are_kept() && FileType::from_raw_mode(made.st_mode) == FileType::Directory;
    let is_owned = (made.st_uid, made.st_gid) == owner && !may_be_recorded;
    if !is_owned {
        unless_unmapped(owners.give_open(&file, owner))?;
    }
    // A new owner takes bits away.
    if is_owned && made.st_mode & 0o7777 == entry.mode {
        return Ok(());
    }
    rustix::fs::fchmod(&file, Mode::from_raw_mode(entry.mode)).map_err(step("set the mode"))
}

/// Gives the entry `path`, a name in an open directory, its owner.
pub(super) fn own_at(
    (parent, name): (&OwnedFd, &CStr),
    path: &[u8],
    entry: &Entry,
    owners: &Owners,
) -> Result<(), Refused> {
    unless_unmapped(owners.give(parent.as_fd(), name.to_bytes(), path, owner(entry)?))
}

/// The kernel's `EINVAL` for an owner means that the user namespace does not map it.
fn unless_unmapped(outcome: Result<(), Errno>) -> Result<(), Refused> {
    match outcome {
        Err(Errno::INVAL) => Ok(()),
        outcome => outcome.map_err(step("set the owner")),
    }
}

pub(super) fn create(parent: &OwnedFd, name: &CStr, mode: Mode) -> Result<File, Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(parent, name, flags, mode)?.into())
}

pub(super) fn write_file<R: BufRead>(
    mut file: File,
    entry: &Entry,
    archive: &mut TarReader<R>,
    owners: &Owners,
) -> Result<(), Refused> {
    let mut unwritten = None;
    let keep = |outcome: std::io::Result<()>, unwritten: &mut Option<std::io::Error>| {
        outcome.inspect_err(|error| *unwritten = Some(std::io::Error::new(error.kind(), error.to_string())))
    };
    let outcome = match &entry.sparse {
        None => archive.content(|piece| keep(file.write_all(piece), &mut unwritten)),
        Some((map, size)) => {
            if !are_in_order(map.iter().map(|piece| (piece.offset, piece.length)), *size) {
                let reason = "its map has pieces that overlap, are out of order or go beyond its size";
                return Err(Refused::Entry(reason.to_owned()));
            }
            refuse_endless(&file, *size)?;
            keep(file.set_len(*size), &mut unwritten).map_err(TarError::from)?;
            let mut target = SparseTarget::new(map);
            archive.content(|piece| keep(target.write(&file, piece), &mut unwritten))
        }
    };
    if let Some(error) = unwritten {
        return Err(step("write the file")(error));
    }
    outcome?;
    dress(&file, entry, owners)?;
    if let Some(capability) = &entry.capability {
        rustix::fs::fsetxattr(&file, "security.capability", capability, XattrFlags::empty())
            .map_err(step("set the file capability"))?;
    }
    rustix::fs::futimens(&file, &timestamps(entry.time.0, entry.time.1)).map_err(step("set the time"))
}

/// A hole costs nothing here, but whoever reads the file reads it whole. So one that would not fit the disk without its
/// holes is refused, as if it were written.
fn refuse_endless(file: &File, size: u64) -> Result<(), Refused> {
    let disk = rustix::fs::fstatvfs(file).map_err(step("look at the disk"))?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    match size > free {
        false => Ok(()),
        true => Err(step("make the file")(std::io::Error::new(
            std::io::ErrorKind::StorageFull,
            format!("it has {size} bytes with its holes, and the disk has {free} free"),
        ))),
    }
}

/// Where the next bytes of a file with holes go.
struct SparseTarget<'a> {
    map: std::slice::Iter<'a, tar_core::SparseEntry>,
    offset: u64,
    left: u64,
}

impl<'a> SparseTarget<'a> {
    fn new(map: &'a [tar_core::SparseEntry]) -> SparseTarget<'a> {
        SparseTarget {
            map: map.iter(),
            offset: 0,
            left: 0,
        }
    }

    fn write(&mut self, file: &File, mut bytes: &[u8]) -> std::io::Result<()> {
        while !bytes.is_empty() {
            if self.left == 0 {
                let Some(next) = self.map.next() else {
                    let text = "more content than its map has room for";
                    return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, text));
                };
                (self.offset, self.left) = (next.offset, next.length);
                continue;
            }
            let length = bytes.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
            file.write_all_at(&bytes[..length], self.offset)?;
            self.offset += length as u64;
            self.left -= length as u64;
            bytes = &bytes[length..];
        }
        Ok(())
    }
}

/// Makes a device or a fifo; `false` where the kernel allows none.
pub(super) fn make_node(parent: &OwnedFd, name: &CStr, entry: &Entry) -> Result<bool, Refused> {
    let kind = match entry.kind {
        Kind::CharacterDevice => FileType::CharacterDevice,
        Kind::BlockDevice => FileType::BlockDevice,
        _ => FileType::Fifo,
    };
    if kind == FileType::CharacterDevice && entry.device == (0, 0) {
        return Err(Refused::Entry(
            "the device 0:0 stands for a removed name and cannot be kept".to_owned(),
        ));
    }
    let (major, minor) = entry.device;
    if kind != FileType::Fifo && (major >= 1 << 12 || minor >= 1 << 20) {
        // The kernel would take the lower digits, which may be those of another device.
        return Err(Refused::Entry(format!("the device {major}:{minor} is out of range")));
    }
    let device = match kind {
        FileType::Fifo => 0,
        _ => rustix::fs::makedev(major, minor),
    };
    match rustix::fs::mknodat(parent, name, kind, Mode::from_raw_mode(entry.mode), device) {
        Ok(()) => Ok(true),
        Err(Errno::PERM) if kind != FileType::Fifo => Ok(false),
        Err(error) => Err(step("make the node")(error)),
    }
}

/// Copies a file or symbolic link of a layer below into this one, with its metadata.
pub(super) fn copy_up(
    from: &Path,
    below: &Stat,
    (parent, name): (&OwnedFd, &CStr),
    path: &[u8],
    owners: &Owners,
) -> Result<(), Refused> {
    let owner = (below.st_uid, below.st_gid);
    let times = timestamps(below.st_mtime, below.st_mtime_nsec.cast_signed());
    match FileType::from_raw_mode(below.st_mode) {
        FileType::RegularFile => {
            let mut file = create(parent, name, Mode::RUSR | Mode::WUSR).map_err(step("create the file"))?;
            let mut content = File::open(from).map_err(step("read the link's target"))?;
            std::io::copy(&mut content, &mut file).map_err(step("copy the link's target"))?;
            unless_unmapped(owners.give_open(&file, owner))?;
            rustix::fs::fchmod(&file, Mode::from_raw_mode(below.st_mode & 0o7777)).map_err(step("set the mode"))?;
            if let Some(capability) = crate::diff::capability(from).map_err(step("read the file capability"))? {
                rustix::fs::fsetxattr(&file, "security.capability", &capability, XattrFlags::empty())
                    .map_err(step("set the file capability"))?;
            }
            rustix::fs::futimens(&file, &times).map_err(step("set the time"))
        }
        FileType::Symlink => {
            let target = rustix::fs::readlink(from, Vec::new()).map_err(step("read the link's target"))?;
            rustix::fs::symlinkat(&target, parent, name).map_err(step("copy the link's target"))?;
            unless_unmapped(owners.give(parent.as_fd(), name.to_bytes(), path, owner))?;
            rustix::fs::utimensat(parent, name, &times, AtFlags::SYMLINK_NOFOLLOW).map_err(step("set the time"))
        }
        _ => Err(Refused::Entry(
            "it is a hard link to a device of a layer below".to_owned(),
        )),
    }
}
