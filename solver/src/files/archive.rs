//! ADD: archives put into a directory.
//!
//! What an archive is, its bytes decide: when they are decompressed (gzip, bzip2, xz, zstd, or not at all) and the first
//! tar header can be read, it is one, whatever its name.
//!
//! The directory is the root of all there is for the archive: names that begin with a slash or lead up with `..` begin
//! there, and so do links that are met on the way. Entries replace what is there, except that directories are merged.

mod compression;
mod reader;

use std::io::{Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;

use cache::headers;
use rustix::fs::{FileType, Mode, Timespec};
use tar_core::EntryType;

use self::reader::{Header, Reader};
use super::content;
use super::destination::{Destination, Folder, folder_of, is_directory};
use super::error::{At, FilesError, shown};
use super::path::{clean, split};
use super::select::{Item, Source};
use super::transfer::{create, write_all};

/// Whether an item is an archive.
pub(super) fn is_archive(source: &Source<'_>, item: &Item<'_>) -> Result<bool, FilesError> {
    let top = item.top();
    if !top.is_file() || top.size() == 0 {
        return Ok(false);
    }
    let file = content::open(source.root(), &top)?;
    let first = compression::decompress(file.into(), |stream| Reader::new(stream).next());
    match first {
        // What cannot be looked into for this reason may well be one: to copy it as a file would be silent.
        Ok(Err(reason)) if reason.contains("memory") => Err(FilesError::Archive {
            path: shown(top.path),
            reason: format!("to decompress it takes more memory than archives may have ({reason})"),
        }),
        first => Ok(matches!(first, Ok(Ok(Some(_))))),
    }
}

/// Whether the file at `path` is an archive.
///
/// # Errors
/// If it cannot be read.
pub fn is_archive_file(path: &std::path::Path) -> std::io::Result<bool> {
    let file = std::fs::File::open(path)?;
    if file.metadata()?.len() == 0 {
        return Ok(false);
    }
    let first = compression::decompress(file, |stream| Reader::new(stream).next())?;
    Ok(matches!(first, Ok(Some(_))))
}

/// The time of the newest file in the archive at `path`, in seconds since 1970; `None` if there is none in it, or it is
/// no archive to its end.
///
/// # Errors
/// If it cannot be read.
pub fn newest_in_archive(path: &std::path::Path) -> std::io::Result<Option<i64>> {
    compression::decompress(std::fs::File::open(path)?, |stream| {
        let mut reader = Reader::new(stream);
        let mut newest: Option<i64> = None;
        loop {
            match reader.next() {
                Ok(Some(header)) if header.kind == EntryType::Regular => {
                    newest = newest.max(Some(header.modified.tv_sec));
                }
                Ok(Some(_)) => {}
                Ok(None) => return newest,
                Err(_) => return None,
            }
        }
    })
}

/// Puts the contents of an archive into `destination`; they belong to `owner`, or to whom the archive says.
pub(super) fn unpack(
    source: &Source<'_>,
    item: &Item<'_>,
    mut destination: Destination,
    owner: Option<(u32, u32)>,
    cancel: &(dyn Fn() -> bool + Sync),
) -> Result<(), FilesError> {
    let top = item.top();
    let path = top.path;
    let broken = |reason: String| FilesError::Archive {
        path: shown(path),
        reason,
    };
    let file = content::open(source.root(), &top)?;
    destination.keep_time(b"")?;
    let unpacked = compression::decompress(file.into(), |stream| {
        let mut unpacking = Unpacking {
            reader: Reader::new(stream),
            destination: &mut destination,
            owner,
        };
        loop {
            if cancel() {
                return Err(FilesError::Cancelled);
            }
            match unpacking.reader.next() {
                Ok(Some(header)) => unpacking.entry(&header, &broken)?,
                Ok(None) => return Ok(()),
                Err(reason) => {
                    let name = unpacking.reader.name_ahead();
                    return Err(broken(match name {
                        Some(name) => format!("entry {}: {reason}", shown(&name)),
                        None => reason,
                    }));
                }
            }
        }
    });
    unpacked.at("read", path)??;
    destination.finish()?;
    Ok(())
}

struct Unpacking<'a> {
    reader: Reader<&'a mut dyn Read>,
    destination: &'a mut Destination,
    owner: Option<(u32, u32)>,
}

impl Unpacking<'_> {
    fn entry(&mut self, header: &Header, broken: &dyn Fn(String) -> FilesError) -> Result<(), FilesError> {
        let cleaned = clean(&header.path);
        if cleaned.is_empty() && header.kind != EntryType::Directory {
            let name = shown(&header.path);
            return Err(broken(format!(
                "entry {name} would replace the directory it is put into"
            )));
        }
        if cleaned.is_empty() {
            return Ok(());
        }
        let (folder, name) = split(&cleaned);
        let folder = self.folder(folder)?;
        self.destination.keep_time(&folder)?;
        if self.destination.is_overburdened() {
            return Err(broken("it has too many directories to keep in mind".to_owned()));
        }
        let path = super::path::join(&folder, name);
        let merged = header.kind == EntryType::Directory
            && self.destination.stat(&path)?.is_some_and(|stat| is_directory(&stat));
        if !merged {
            self.destination.remove(&path)?;
        }
        match header.kind {
            EntryType::Directory => self.directory(&path, header, merged),
            EntryType::Regular | EntryType::Continuous | EntryType::GnuSparse => self.file(&path, header, broken),
            EntryType::Symlink => {
                self.destination.make_link(&path, &header.target)?;
                self.destination.set_owner(&path, self.owner_of(header))?;
                self.destination.set_modified(&path, header.modified)
            }
            EntryType::Link => self.hard_link(&path, header, broken),
            EntryType::Fifo => self.node(&path, header, FileType::Fifo),
            EntryType::Char => self.node(&path, header, FileType::CharacterDevice),
            EntryType::Block => self.node(&path, header, FileType::BlockDevice),
            other => {
                let kind = headers::unknown_type(other);
                Err(broken(format!("{} is of {kind}", shown(&cleaned))))
            }
        }
    }

    /// The folder that an entry goes to, made if it is not there.
    fn folder(&mut self, named: &[u8]) -> Result<Vec<u8>, FilesError> {
        // A way of two thousand folders is not gone folder by folder for each file at its end.
        if self.destination.is_folder(named) {
            return Ok(named.to_vec());
        }
        let folder = self.destination.resolve(named)?;
        let implied = Folder {
            mode: 0o755,
            owner: (0, 0),
            seconds: 0,
        };
        self.destination.make_directories(&folder, implied)?;
        Ok(folder)
    }

    fn owner_of(&self, header: &Header) -> (u32, u32) {
        self.owner.unwrap_or(header.owner)
    }

    fn directory(&mut self, path: &[u8], header: &Header, merged: bool) -> Result<(), FilesError> {
        if !merged {
            self.destination.make_directory(path)?;
        }
        self.destination.set_owner(path, self.owner_of(header))?;
        self.destination.set_mode(path, header.mode)?;
        self.destination.set_time(path, header.modified);
        Ok(())
    }

    fn node(&mut self, path: &[u8], header: &Header, kind: FileType) -> Result<(), FilesError> {
        match self.destination.make_node(path, kind, header.device) {
            // BuildKit leaves devices of archives out where it may not make them: a base system's archive holds some.
            Err(FilesError::Device { .. }) => return Ok(()),
            other => other?,
        }
        self.destination.set_owner(path, self.owner_of(header))?;
        self.destination.set_mode(path, header.mode)?;
        self.destination.set_modified(path, header.modified)
    }

    fn hard_link(
        &mut self,
        path: &[u8],
        header: &Header,
        broken: &dyn Fn(String) -> FilesError,
    ) -> Result<(), FilesError> {
        let cleaned = clean(&header.target);
        let (folder, name) = split(&cleaned);
        let existing = super::path::join(&self.destination.resolve(folder)?, name);
        let Some(stat) = self.destination.stat(&existing)? else {
            let (path, target) = (shown(path), shown(&cleaned));
            return Err(broken(format!("{path} links to {target}, which is not there")));
        };
        self.destination.make_hard_link(&existing, path)?;
        self.destination.set_owner(path, self.owner_of(header))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
            self.destination.set_mode(path, header.mode)?;
            self.destination.set_modified(path, header.modified)?;
        }
        Ok(())
    }

    fn file(&mut self, path: &[u8], header: &Header, broken: &dyn Fn(String) -> FilesError) -> Result<(), FilesError> {
        let folder = self.destination.open_folder(folder_of(path))?;
        let file = create(&folder, path, 0o600)?;
        self.contents(&file, path, header, broken)?;
        self.destination.set_owner(path, self.owner_of(header))?;
        rustix::fs::fchmod(&file, Mode::from_raw_mode(header.mode)).at("change the mode of", path)?;
        if let Some(capability) = &header.capability {
            content::set_capability(&file, capability).at("set the capability of", path)?;
        }
        self.destination.set_modified(path, header.modified)
    }

    fn contents(
        &mut self,
        file: &OwnedFd,
        path: &[u8],
        header: &Header,
        broken: &dyn Fn(String) -> FilesError,
    ) -> Result<(), FilesError> {
        let copy = |reader: &mut Reader<&mut dyn Read>, length: u64| {
            reader.content(length, |bytes| write_all(file, bytes).at("write", path), broken)
        };
        let Some(sparse) = &header.sparse else {
            return copy(&mut self.reader, header.size);
        };
        let disk = rustix::fs::fstatvfs(file).at("stat", path)?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        // A hole costs nothing here, but whoever reads the file reads it whole.
        if sparse.size > free {
            let (path, size) = (shown(path), sparse.size);
            return Err(broken(format!(
                "{path} has {size} bytes with its holes, and the disk has {free} free"
            )));
        }
        if !headers::are_in_order(sparse.parts.iter().copied(), sparse.size) {
            return Err(broken(format!("the map of the sparse file {} is wrong", shown(path))));
        }
        rustix::fs::ftruncate(file, sparse.size).at("write", path)?;
        for (offset, length) in &sparse.parts {
            rustix::fs::seek(file, rustix::fs::SeekFrom::Start(*offset)).at("write", path)?;
            copy(&mut self.reader, *length)?;
        }
        Ok(())
    }
}

/// The start of a file again.
fn rewind(file: &mut std::fs::File) -> std::io::Result<()> {
    file.seek(SeekFrom::Start(0)).map(drop)
}

/// A time of a header.
fn time(seconds: i64, nanoseconds: u32) -> Timespec {
    Timespec {
        tv_sec: seconds,
        tv_nsec: nanoseconds.into(),
    }
}
