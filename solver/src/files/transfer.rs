//! Filling in files: their bytes, owner, mode, capability and time.
//!
//! Bytes are shared with the original where the file system can (a reflink), else copied inside the kernel, else read and
//! written. What does not work once is not tried again. Holes stay holes. Of a file that an earlier tree has at the same
//! path only a link is made: not a byte of it is looked at.

use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use cache::Owners;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, SeekFrom};
use rustix::io::Errno;

use super::content;
use super::destination::{Destination, chown_error, folder_of, times};
use super::entries::Entries;
use super::entry::Facts;
use super::error::{At, FilesError, shown};
use super::path::split;
use super::pool;
use super::root::Root;

/// Files of one folder that are done at a time.
const BATCH: usize = 128;

/// Below this, reading and writing is not slower than anything else.
const SMALL: u64 = 64 * 1024;

/// A file that is to be filled in, in few bytes: there may be many.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting(u32);

/// Where a file's bytes come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bytes {
    /// From the original.
    Copied,
    /// From the same path of the earlier tree.
    Linked,
}

/// A file to fill in.
#[derive(Debug)]
pub(super) struct File<'a> {
    /// The path of the original, and what it is like.
    pub(super) original: Vec<u8>,
    pub(super) facts: Facts<'a>,
    /// Where it goes; the folder is there.
    pub(super) path: Vec<u8>,
    pub(super) owner: (u32, u32),
    pub(super) mode: u32,
    pub(super) source: Bytes,
}

/// From which tree files go to which.
pub(super) struct Transfer<'a> {
    pub(super) from: &'a Root,
    pub(super) to: &'a Destination,
    /// The tree that files are linked from.
    pub(super) before: Option<&'a Root>,
    /// Whether an original that is no longer what was walked is an error.
    pub(super) checked: bool,
    pub(super) cancel: &'a (dyn Fn() -> bool + Sync),
}

/// What file systems turned out not to do.
#[derive(Default)]
struct Refused {
    reflink: AtomicBool,
    kernel_copy: AtomicBool,
}

impl Waiting {
    const LINKED: u32 = 1 << 31;

    /// The file at a place in a list.
    pub(super) fn new(place: usize, source: Bytes) -> Waiting {
        let place = u32::try_from(place).ok().filter(|place| place & Self::LINKED == 0);
        let place = place.expect("a tree has fewer than two billion entries");
        Waiting(match source {
            Bytes::Copied => place,
            Bytes::Linked => place | Self::LINKED,
        })
    }

    pub(super) fn place(self) -> usize {
        (self.0 & !Self::LINKED) as usize
    }

    pub(super) fn source(self) -> Bytes {
        match self.0 & Self::LINKED {
            0 => Bytes::Copied,
            _ => Bytes::Linked,
        }
    }
}

impl Transfer<'_> {
    /// Fills in all files, which have places in `list`; `file` says what there is to know of one.
    pub(super) fn run<'f>(
        &self,
        mut waiting: Vec<Waiting>,
        list: &Entries,
        file: &(dyn Fn(Waiting) -> File<'f> + Sync),
    ) -> Result<(), FilesError> {
        waiting.sort_by_key(|waiting| list.folder(waiting.place()));
        let batches = batches(&waiting, list);
        let refused = Refused::default();
        pool::each(batches.len(), content::buffer, |buffer, batch| {
            let files = waiting[batches[batch].clone()].iter().map(|waiting| file(*waiting));
            Batch::new(self, &refused, buffer).run(files)
        })
    }
}

/// Files of one folder, which come from one folder.
struct Batch<'t, 'a> {
    transfer: &'t Transfer<'a>,
    refused: &'t Refused,
    buffer: &'t mut [u8],
    to: Option<OwnedFd>,
    from: Option<OwnedFd>,
    before: Option<OwnedFd>,
    /// What new files of the folder are like.
    made: Option<Made>,
}

/// What the kernel makes new files like.
#[derive(Clone, Copy)]
struct Made {
    owner: (u32, u32),
    /// Whether they get the mode that was asked for, without what the process's mask takes away.
    as_asked: bool,
}

impl<'t, 'a> Batch<'t, 'a> {
    fn new(transfer: &'t Transfer<'a>, refused: &'t Refused, buffer: &'t mut [u8]) -> Batch<'t, 'a> {
        Batch {
            transfer,
            refused,
            buffer,
            to: None,
            from: None,
            before: None,
            made: None,
        }
    }

    fn run<'f>(mut self, files: impl Iterator<Item = File<'f>>) -> Result<(), FilesError> {
        for file in files {
            if (self.transfer.cancel)() {
                return Err(FilesError::Cancelled);
            }
            // What cannot be linked, for any reason, is copied.
            if !(file.source == Bytes::Linked && self.link(&file)?) {
                self.copy(&file)?;
            }
        }
        Ok(())
    }

    fn link(&mut self, file: &File<'_>) -> Result<bool, FilesError> {
        let Some(before) = self.transfer.before else {
            return Ok(false);
        };
        let (folder, name) = split(&file.path);
        if self.before.is_none() {
            self.before = before.open_resolved(folder, OFlags::PATH | OFlags::DIRECTORY).ok();
        }
        let Some(before) = &self.before else { return Ok(false) };
        let to = open_once(&mut self.to, || self.transfer.to.open_folder(folder))?;
        Ok(rustix::fs::linkat(before, name, to, name, AtFlags::empty()).is_ok())
    }

    fn copy(&mut self, file: &File<'_>) -> Result<(), FilesError> {
        let folder = folder_of(&file.original);
        let from = open_once(&mut self.from, || {
            let flags = OFlags::PATH | OFlags::DIRECTORY;
            self.transfer.from.open_resolved(folder, flags).at("open", folder)
        })?;
        let original = self.transfer.open(from, file)?;
        let to = open_once(&mut self.to, || self.transfer.to.open_folder(folder_of(&file.path)))?;
        // What is to have more rights than this gets them when it is whole.
        let asked = file.mode & 0o777;
        let new = create(to, &file.path, asked)?;
        let made = match self.made {
            Some(made) => made,
            None => *self.made.insert(made(&new, asked).at("stat", &file.path)?),
        };
        copy_bytes(&original, &new, &file.facts, self.refused, self.buffer).at("copy", &file.original)?;
        finish(&original, &new, (file, self.transfer.to.owners()), made)
    }
}

fn open_once(
    folder: &mut Option<OwnedFd>,
    open: impl FnOnce() -> Result<OwnedFd, FilesError>,
) -> Result<&OwnedFd, FilesError> {
    match folder {
        Some(folder) => Ok(folder),
        None => Ok(folder.insert(open()?)),
    }
}

/// What a new file is like that was asked for with the mode `asked`.
fn made(new: &OwnedFd, asked: u32) -> io::Result<Made> {
    let stat = rustix::fs::fstat(new)?;
    Ok(Made {
        owner: (stat.st_uid, stat.st_gid),
        as_asked: stat.st_mode & 0o7777 == asked & !mask(),
    })
}

/// What the process's mask takes away from the modes of new files. Where it cannot be read, all.
fn mask() -> u32 {
    static MASK: OnceLock<u32> = OnceLock::new();
    *MASK.get_or_init(|| {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("Umask:"));
        line.and_then(|mask| u32::from_str_radix(mask.trim(), 8).ok())
            .unwrap_or(0o777)
    })
}

impl Transfer<'_> {
    fn open(&self, folder: &OwnedFd, file: &File<'_>) -> Result<OwnedFd, FilesError> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let path = &file.original;
        let opened = rustix::fs::openat(folder, split(path).1, flags, Mode::empty()).at("open", path)?;
        let stat = rustix::fs::fstat(&opened).at("stat", path)?;
        let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        if !is_file || self.checked && !file.facts.is_still(&stat) {
            return Err(FilesError::Changed { path: shown(path) });
        }
        Ok(opened)
    }
}

/// Runs of files of the same folder, none too long.
fn batches(files: &[Waiting], list: &Entries) -> Vec<Range<usize>> {
    let folder = |at: usize| list.folder(files[at].place());
    let mut batches: Vec<Range<usize>> = Vec::new();
    for at in 0..files.len() {
        match batches.last_mut() {
            Some(batch) if batch.len() < BATCH && folder(batch.start) == folder(at) => batch.end = at + 1,
            _ => batches.push(at..at + 1),
        }
    }
    batches
}

/// A new file, in place of any file or link.
pub(super) fn create(folder: &OwnedFd, path: &[u8], mode: u32) -> Result<OwnedFd, FilesError> {
    let name = split(path).1;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let create = || rustix::fs::openat(folder, name, flags, Mode::from_raw_mode(mode));
    match create() {
        Err(Errno::EXIST) => {}
        other => return other.at("create", path),
    }
    let there = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).at("stat", path)?;
    if FileType::from_raw_mode(there.st_mode) == FileType::Directory {
        return Err(FilesError::FileOverDirectory { path: shown(path) });
    }
    rustix::fs::unlinkat(folder, name, AtFlags::empty()).at("remove", path)?;
    create().at("create", path)
}

/// Owner before mode, and both before the capability: the kernel takes away the later ones when the earlier change. What
/// the new file has from the start is not set again.
fn finish(
    original: &OwnedFd,
    new: &OwnedFd,
    (file, owners): (&File<'_>, &Owners),
    made: Made,
) -> Result<(), FilesError> {
    let given = file.owner != made.owner;
    if given {
        owners
            .give_open(new, file.owner)
            .map_err(|errno| chown_error(&file.path, file.owner, errno))?;
    }
    if given || !made.as_asked || file.mode & (0o7000 | mask()) != 0 {
        rustix::fs::fchmod(new, Mode::from_raw_mode(file.mode)).at("change the mode of", &file.path)?;
    }
    if let Some(capability) = content::capability(original).at("read the capability of", &file.path)? {
        content::set_capability(new, &capability).at("set the capability of", &file.path)?;
    }
    rustix::fs::futimens(new, &times(file.facts.modified)).at("set the time of", &file.path)
}

fn copy_bytes(from: &OwnedFd, to: &OwnedFd, entry: &Facts<'_>, refused: &Refused, buffer: &mut [u8]) -> io::Result<()> {
    if entry.size() <= SMALL {
        return read_and_write(from, to, buffer);
    }
    if !refused.reflink.load(Ordering::Relaxed) {
        match rustix::fs::ioctl_ficlone(to, from) {
            Ok(()) => return Ok(()),
            Err(_) => refused.reflink.store(true, Ordering::Relaxed),
        }
    }
    if entry.is_sparse() {
        return copy_around_holes(from, to, entry.size(), buffer);
    }
    if !refused.kernel_copy.load(Ordering::Relaxed) {
        match copy_in_kernel(from, to) {
            Ok(0) | Err(_) => {
                refused.kernel_copy.store(true, Ordering::Relaxed);
                rustix::fs::seek(from, SeekFrom::Start(0))?;
                rustix::fs::seek(to, SeekFrom::Start(0))?;
            }
            Ok(_) => return Ok(()),
        }
    }
    read_and_write(from, to, buffer)
}

fn copy_in_kernel(from: &OwnedFd, to: &OwnedFd) -> io::Result<u64> {
    let mut copied = 0;
    loop {
        match rustix::fs::copy_file_range(from, None, to, None, 1 << 30) {
            Ok(0) => return Ok(copied),
            Ok(count) => copied += count as u64,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn read_and_write(from: &OwnedFd, to: &OwnedFd, buffer: &mut [u8]) -> io::Result<()> {
    loop {
        match rustix::io::read(from, &mut *buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => write_all(to, &buffer[..count])?,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

pub(super) fn write_all(to: impl AsFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(&to, bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn copy_around_holes(from: &OwnedFd, to: &OwnedFd, size: u64, buffer: &mut [u8]) -> io::Result<()> {
    rustix::fs::ftruncate(to, size)?;
    let mut at = 0;
    while at < size {
        let start = match rustix::fs::seek(from, SeekFrom::Data(at)) {
            Ok(start) => start,
            Err(Errno::NXIO) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let end = rustix::fs::seek(from, SeekFrom::Hole(start))?.min(size);
        at = start;
        while at < end {
            let wanted = usize::try_from(end - at).unwrap_or(usize::MAX).min(buffer.len());
            let count = rustix::io::pread(from, &mut buffer[..wanted], at)?;
            if count == 0 {
                return Ok(());
            }
            rustix::fs::seek(to, SeekFrom::Start(at))?;
            write_all(to, &buffer[..count])?;
            at += count as u64;
        }
    }
    Ok(())
}
