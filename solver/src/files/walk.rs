//! Walking a tree: what is in it, in walk order, without what a filter leaves out.
//!
//! Folders wait in a queue; when the tree turns out to be big, several threads take from it. A folder that is left
//! out is not looked into, unless something below could be taken; it is then an implied part of the tree, if something is.

use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use rustix::fs::{AtFlags, Dir, FileType, OFlags};
use rustix::io::Errno;

use super::entry::{Entry, EntryPath};
use super::error::{At, FilesError};
use super::filter::{Carried, Filter, holding};
use super::path::{join, relative, walk_order};
use super::pool;
use super::root::Root;

/// How many folders one thread reads before others are called.
const SMALL: usize = 32;

/// So many bytes of paths share an allocation.
const PATHS: usize = 1 << 20;

/// Room for more entries than this is not kept for the next folder.
const MANY: usize = 1 << 13;

/// A folder to look into.
struct Folder {
    path: Vec<u8>,
    carried: Carried,
}

/// What was found so far.
#[derive(Default)]
struct Found {
    entries: Vec<Entry>,
    unreadable: Vec<(Vec<u8>, Errno)>,
    /// The paths of the last entries, which have only places in here yet.
    paths: Vec<u8>,
    /// The first of those entries.
    unnamed: usize,
}

/// The entry at `top`, and all below if it is a directory.
pub(super) fn walk(root: &Root, top: &[u8], filter: &Filter) -> Result<Vec<Entry>, FilesError> {
    let Some(first) = entry_at(root, top)? else {
        return Ok(Vec::new());
    };
    if !first.is_directory() {
        return Ok(vec![first]);
    }
    let mut found = Found::default();
    found.entries.push(first);
    let mut folders = vec![Folder {
        path: top.to_vec(),
        carried: Carried::default(),
    }];
    for _ in 0..SMALL {
        match folders.pop() {
            Some(folder) => folders.extend(found.read(root, &folder, top, filter)?),
            None => return Ok(found.finish()),
        }
    }
    walk_together(root, top, folders, filter, found).map(Found::finish)
}

fn entry_at(root: &Root, path: &[u8]) -> Result<Option<Entry>, FilesError> {
    let Some(stat) = root.stat(path)? else {
        return Ok(None);
    };
    let target = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Symlink => rustix::fs::readlinkat(root.fd(), path, Vec::new())
            .at("read", path)?
            .into_bytes(),
        _ => Vec::new(),
    };
    Ok(Some(Entry::new(path.to_vec().into(), &stat, target)))
}

/// Folders that wait, how many are being read and may bring more, and what was found: all in one place, for what each
/// thread keeps apart would be there twice when it is put together.
struct Queue {
    folders: Vec<Folder>,
    busy: usize,
    found: Found,
}

fn walk_together(
    root: &Root,
    top: &[u8],
    folders: Vec<Folder>,
    filter: &Filter,
    found: Found,
) -> Result<Found, FilesError> {
    let busy = 0;
    let queue = Mutex::new(Queue { folders, busy, found });
    let news = Condvar::new();
    let ends = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..pool::threads())
            .map(|_| scope.spawn(|| read_from_queue(root, top, &queue, &news, filter)))
            .collect();
        let ends: Vec<_> = readers.into_iter().map(pool::joined).collect();
        ends
    });
    ends.into_iter().collect::<Result<(), _>>()?;
    Ok(queue.into_inner().unwrap_or_else(PoisonError::into_inner).found)
}

fn read_from_queue(
    root: &Root,
    top: &[u8],
    queue: &Mutex<Queue>,
    news: &Condvar,
    filter: &Filter,
) -> Result<(), FilesError> {
    let mut found = Found::default();
    let mut waiting = queue.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        if let Some(folder) = waiting.folders.pop() {
            waiting.busy += 1;
            drop(waiting);
            let read = found.read(root, &folder, top, filter);
            waiting = queue.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.busy -= 1;
            waiting.found.take(&mut found);
            match read {
                Ok(more) => waiting.folders.extend(more),
                Err(error) => {
                    waiting.folders.clear();
                    news.notify_all();
                    return Err(error);
                }
            }
            news.notify_all();
        } else if waiting.busy == 0 {
            return Ok(());
        } else {
            waiting = news.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Found {
    /// Takes all that another has found.
    fn take(&mut self, other: &mut Found) {
        if other.entries.len() > self.entries.len() {
            std::mem::swap(&mut self.entries, &mut other.entries);
        }
        self.entries.append(&mut other.entries);
        self.unreadable.append(&mut other.unreadable);
        self.unnamed = self.entries.len();
        other.unnamed = 0;
        other.entries.shrink_to(MANY);
    }

    /// Gives the last entries their paths, which they had only places of.
    fn name(&mut self) {
        let all = Arc::new(self.paths.clone());
        for entry in &mut self.entries[self.unnamed..] {
            entry.path = entry.path.of(&all);
        }
        self.paths.clear();
        self.unnamed = self.entries.len();
    }

    /// Adds the entries of a folder below `top`, and gives the folders among them.
    fn read(&mut self, root: &Root, folder: &Folder, top: &[u8], filter: &Filter) -> Result<Vec<Folder>, FilesError> {
        let opened = root.open_resolved(&folder.path, OFlags::RDONLY | OFlags::DIRECTORY);
        let fd = match opened.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO)) {
            Ok(fd) => fd,
            Err(errno) => {
                self.unreadable.push((folder.path.clone(), errno));
                return Ok(Vec::new());
            }
        };
        let mut folders = Vec::new();
        self.unnamed = self.entries.len();
        let unnamed = Arc::default();
        for listed in Dir::read_from(&fd).at("read", &folder.path)? {
            let listed = listed.at("read", &folder.path)?;
            let name = listed.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let path = join(&folder.path, name);
            let relative = relative(&path, top);
            let (taken, carried) = match filter.takes_all() {
                true => (true, Carried::default()),
                false => filter.enter(&folder.carried, relative),
            };
            let may_be_folder = matches!(listed.file_type(), FileType::Directory | FileType::Unknown);
            let may_hold = may_be_folder && filter.may_take_below(&carried, relative);
            if !(taken || may_hold) {
                continue;
            }
            let mut stat = match rustix::fs::statat(&fd, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                Err(Errno::NOENT) => continue,
                Err(error) => return Err(error).at("stat", &path),
            };
            let told = root.owners().tell_at(fd.as_fd(), name, &path, &mut stat);
            told.at("read the owner of", &path)?;
            let kind = FileType::from_raw_mode(stat.st_mode);
            let target = match kind {
                FileType::Symlink => rustix::fs::readlinkat(&fd, name, Vec::new())
                    .at("read", &path)?
                    .into_bytes(),
                _ => Vec::new(),
            };
            if kind == FileType::Directory {
                let path = path.clone();
                folders.push(Folder { path, carried });
            } else if !taken {
                continue;
            }
            let start = self.paths.len();
            self.paths.extend_from_slice(&path);
            let path = EntryPath::part_of(&unnamed, start..self.paths.len());
            let mut entry = Entry::new(path, &stat, target);
            entry.implied = !taken;
            self.entries.push(entry);
            if self.paths.len() >= PATHS {
                self.name();
            }
        }
        self.name();
        Ok(folders)
    }

    /// The entries in walk order; implied folders only if something in them is taken.
    fn finish(mut self) -> Vec<Entry> {
        self.entries.sort_unstable_by(|a, b| walk_order(&a.path, &b.path));
        for (path, errno) in self.unreadable {
            if let Ok(at) = self.entries.binary_search_by(|entry| walk_order(&entry.path, &path)) {
                self.entries[at].set_problem(errno);
            }
        }
        if self.entries.iter().any(|entry| entry.implied) {
            let seen = self.entries.iter().map(|entry| (&entry.path[..], entry.implied));
            let mut kept = holding(seen).into_iter();
            self.entries.retain(|_| kept.next() == Some(true));
        }
        self.entries
    }
}
