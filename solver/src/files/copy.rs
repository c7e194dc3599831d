//! COPY: files of one tree put into another.

use graph::{FileMode, Unpack};
use rustix::fs::FileType;

use super::archive;
use super::destination::{Destination, Folder, folder_of, is_directory};
use super::entry::{Entry, Facts};
use super::error::{FilesError, shown};
use super::path::{clean, join};
use super::put::{Place, put};
use super::reuse::Reuse;
use super::select::{Item, Source};

/// A copy under way.
pub(super) struct Copier<'a> {
    pub(super) copy: &'a graph::Copy,
    pub(super) source: &'a Source<'a>,
    pub(super) owner: Option<(u32, u32)>,
    pub(super) cancel: &'a (dyn Fn() -> bool + Sync),
}

/// Does a copy; `owner` is what `copy.owner` stands for. What is unpacked may link to what is there and change it: then
/// nothing is taken from an earlier tree.
pub(super) fn copy(
    copy: &graph::Copy,
    source: &Source<'_>,
    destination: &mut Destination,
    reuse: Option<&mut Reuse>,
    (owner, cancel): (Option<(u32, u32)>, &(dyn Fn() -> bool + Sync)),
) -> Result<(), FilesError> {
    let copier = Copier {
        copy,
        source,
        owner,
        cancel,
    };
    let selection = source.select(copy)?;
    // What is put beside the mount is not seen by what comes after it.
    let mut reuse = reuse.filter(|_| selection.items.len() == 1);
    let last = selection.items.len().saturating_sub(1);
    for (at, item) in selection.items.iter().enumerate() {
        if copy.unpack == Unpack::Archives && archive::is_archive(source, item)? {
            copier.unpack(item, destination)?;
        } else {
            let place = Place {
                is_last: at == last,
                ..copier.place(item, destination)?
            };
            put(&copier, item, &place, destination, reuse.take())?;
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
    fn place(&self, item: &Item<'_>, destination: &mut Destination) -> Result<Place, FilesError> {
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
            return Ok(Place {
                path: target,
                is_new: there.is_none(),
                is_last: false,
            });
        }
        if there.is_some_and(|stat| is_directory(&stat)) {
            target = join(&target, &item.name);
        }
        destination.make_directories(folder_of(&target), self.folder())?;
        Ok(Place {
            path: target,
            is_new: false,
            is_last: false,
        })
    }

    pub(super) fn owner(&self, entry: &Facts<'_>) -> (u32, u32) {
        self.owner.unwrap_or_else(|| self.source.owner(entry))
    }

    pub(super) fn mode(&self, entry: &Facts<'_>) -> u32 {
        match &self.copy.mode {
            Some(mode) => mode.apply(entry.mode, entry.is_directory()),
            None => entry.mode,
        }
    }

    /// The item's own directory keeps what it is like where it goes to; those below it are made as they were. One that is
    /// only on the way to something, and is there already, just gets the mode. Tells whether the directory is new.
    pub(super) fn put_directory(
        &self,
        item: &Item<'_>,
        entry: &Entry<'_>,
        path: &[u8],
        destination: &mut Destination,
    ) -> Result<bool, FilesError> {
        let there = destination.stat(path)?;
        match &there {
            Some(stat) if !is_directory(stat) => return Err(FilesError::DirectoryOverFile { path: shown(path) }),
            Some(_) if item.relative(entry.path).is_empty() => return Ok(false),
            Some(_) if entry.implied => {
                destination.keep_time(path)?;
                destination.set_mode(path, entry.mode)?;
                return Ok(false);
            }
            Some(_) => {}
            None => destination.make_directory(path)?,
        }
        destination.set_owner(path, self.owner(entry))?;
        destination.set_mode(path, self.mode(entry))?;
        destination.set_time(path, entry.modified);
        Ok(there.is_none())
    }

    pub(super) fn put_special(
        &self,
        entry: &Entry<'_>,
        path: &[u8],
        destination: &Destination,
    ) -> Result<(), FilesError> {
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
