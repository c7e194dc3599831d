//! COPY: files of one tree put into another.
//!
//! Directories, links and nodes are made first, one after the other in the order of the walk; then several threads fill
//! in the files; then come the further names of files that have more than one, and at last the times of folders.

use std::collections::HashMap;

use graph::{FileMode, Unpack};
use rustix::fs::FileType;

use super::archive;
use super::destination::{Destination, Folder, folder_of, is_directory};
use super::entry::{Entry, Inode};
use super::error::{FilesError, shown};
use super::path::{clean, join};
use super::select::{Item, Source};
use super::transfer::{File, Transfer};

/// A copy under way.
struct Copier<'a> {
    copy: &'a graph::Copy,
    source: &'a Source<'a>,
    owner: Option<(u32, u32)>,
    cancel: &'a (dyn Fn() -> bool + Sync),
}

/// Does a copy; `owner` is what `copy.owner` stands for.
pub(super) fn copy(
    copy: &graph::Copy,
    source: &Source<'_>,
    destination: &mut Destination,
    owner: Option<(u32, u32)>,
    cancel: &(dyn Fn() -> bool + Sync),
) -> Result<(), FilesError> {
    let copier = Copier {
        copy,
        source,
        owner,
        cancel,
    };
    for item in &source.select(copy)?.items {
        if copy.unpack == Unpack::Archives && archive::is_archive(source, item)? {
            copier.unpack(item, destination)?;
        } else {
            let target = copier.place(item, destination)?;
            copier.put(item, &target, destination)?;
        }
    }
    Ok(())
}

impl Copier<'_> {
    /// Directories made on the way.
    fn folder(&self) -> Folder {
        Folder {
            mode: match self.copy.mode {
                Some(FileMode::Octal(mode)) => mode & 0o777,
                Some(FileMode::Symbolic(_)) | None => 0o755,
            },
            owner: self.owner.unwrap_or_default(),
            seconds: 0,
        }
    }

    fn unpack(&self, item: &Item<'_>, destination: &mut Destination) -> Result<(), FilesError> {
        let folder = destination.resolve(&clean(self.copy.destination.as_bytes()))?;
        let made = Folder {
            mode: 0o755,
            ..self.folder()
        };
        destination.make_directories(&folder, made)?;
        destination.keep_time(&folder)?;
        archive::unpack(self.source, item, destination.below(&folder)?, self.owner, self.cancel)
    }

    /// Finds where an item goes, and makes the folders that it needs.
    fn place(&self, item: &Item<'_>, destination: &mut Destination) -> Result<Vec<u8>, FilesError> {
        let asked = self.copy.destination.as_bytes();
        let cleaned = clean(asked);
        let wants_folder = asked.ends_with(b"/") || asked.ends_with(b"/.") || asked == b".";
        let folder = if wants_folder { &cleaned } else { folder_of(&cleaned) };
        let folder = destination.resolve(folder)?;
        destination.make_directories(&folder, self.folder())?;

        let mut target = destination.resolve(&cleaned)?;
        let there = destination.stat(&target)?;
        if item.top().is_directory() {
            if there.is_none() {
                destination.make_directories(&target, self.folder())?;
            }
            // The directory that the files come from lends its time to the one they go to, unless it is a whole tree.
            if !item.top().path.is_empty() {
                destination.set_time(&target, item.top().modified);
            }
            return Ok(target);
        }
        if there.is_some_and(|stat| is_directory(&stat)) {
            target = join(&target, &item.name);
        }
        destination.make_directories(folder_of(&target), self.folder())?;
        Ok(target)
    }

    /// Puts an item, with all below it, where it goes.
    fn put(&self, item: &Item<'_>, target: &[u8], destination: &mut Destination) -> Result<(), FilesError> {
        let mut files = Vec::new();
        let mut more_names = Vec::new();
        let mut first_names: HashMap<Inode, Vec<u8>> = HashMap::new();
        match item.top().is_directory() {
            true => destination.keep_time(target)?,
            false => destination.keep_time(folder_of(target))?,
        }
        for entry in &*item.entries {
            if (self.cancel)() {
                return Err(FilesError::Cancelled);
            }
            let path = join(target, item.relative(entry));
            match entry.kind {
                FileType::Directory => self.put_directory(item, entry, &path, destination)?,
                FileType::RegularFile => match first_names.get(&entry.inode) {
                    Some(first) => more_names.push((first.clone(), path)),
                    None => {
                        if entry.names > 1 {
                            first_names.insert(entry.inode, path.clone());
                        }
                        files.push(self.file(entry, path));
                    }
                },
                _ => self.put_special(entry, &path, destination)?,
            }
        }
        Transfer {
            from: self.source.root(),
            to: destination,
            checked: matches!(self.source, Source::Context(_)),
            cancel: self.cancel,
        }
        .run(files)?;
        for (first, path) in more_names {
            destination.make_room(&path)?;
            destination.make_hard_link(&first, &path)?;
        }
        Ok(())
    }

    fn owner(&self, entry: &Entry) -> (u32, u32) {
        self.owner.unwrap_or_else(|| self.source.owner(entry))
    }

    fn mode(&self, entry: &Entry) -> u32 {
        match &self.copy.mode {
            Some(mode) => mode.apply(entry.mode, entry.is_directory()),
            None => entry.mode,
        }
    }

    fn file<'e>(&self, entry: &'e Entry, path: Vec<u8>) -> File<'e> {
        File {
            entry,
            path,
            owner: self.owner(entry),
            mode: self.mode(entry),
        }
    }

    /// The item's own directory keeps what it is like where it goes to; those below it are made as they were. One that is
    /// only on the way to something, and is there already, just gets the mode.
    fn put_directory(
        &self,
        item: &Item<'_>,
        entry: &Entry,
        path: &[u8],
        destination: &mut Destination,
    ) -> Result<(), FilesError> {
        let there = destination.stat(path)?;
        match &there {
            Some(stat) if !is_directory(stat) => return Err(FilesError::DirectoryOverFile { path: shown(path) }),
            Some(_) if std::ptr::eq(entry, item.top()) => return Ok(()),
            Some(_) if entry.implied => {
                destination.keep_time(path)?;
                return destination.set_mode(path, entry.mode);
            }
            Some(_) => {}
            None => destination.make_directory(path)?,
        }
        destination.set_owner(path, self.owner(entry))?;
        destination.set_mode(path, self.mode(entry))?;
        destination.set_time(path, entry.modified);
        Ok(())
    }

    fn put_special(&self, entry: &Entry, path: &[u8], destination: &Destination) -> Result<(), FilesError> {
        destination.make_room(path)?;
        if entry.kind == FileType::Symlink {
            destination.make_link(path, entry.target())?;
            destination.set_owner(path, self.owner(entry))?;
        } else {
            destination.make_node(path, entry.kind, entry.device())?;
            destination.set_owner(path, self.owner(entry))?;
            destination.set_mode(path, self.mode(entry))?;
        }
        destination.set_modified(path, entry.modified)
    }
}
