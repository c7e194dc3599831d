//! Walking a tree: what is in it, in walk order, without what a filter leaves out.
//!
//! Folders wait in a queue; when the tree turns out to be big, several threads take from it. A folder that is left
//! out is not looked into, unless something below could be taken; it is then an implied part of the tree, if something is.

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use rustix::fs::{AtFlags, FileType, OFlags, RawDir, Stat};
use rustix::io::Errno;

use super::entries::{Entries, Gathered, Met};
use super::error::{At, FilesError};
use super::filter::{Carried, Filter};
use super::path::{join, relative};
use super::pool;
use super::root::Root;

/// How many folders one thread reads before others are called.
const SMALL: usize = 32;

/// So many entries of a folder are put to the others at a time.
const PIECE: usize = if cfg!(test) { 16 } else { 2048 };

/// How many bytes of names the kernel is asked for at a time.
const LIST: usize = 32 * 1024;

/// A folder to look into.
struct Folder {
    path: Vec<u8>,
    place: u32,
    carried: Carried,
}

/// A walk under way.
struct Walking<'w> {
    root: &'w Root,
    top: &'w [u8],
    filter: &'w Filter,
    queue: Mutex<Queue>,
    news: Condvar,
}

/// Folders that wait, how many are being read and may bring more, how many threads have nothing to do, and what was found:
/// all in one place, for what each thread keeps apart would be there twice when it is put together.
struct Queue {
    folders: Vec<Folder>,
    busy: usize,
    idle: usize,
    found: Gathered,
}

/// What one thread reads of a folder.
#[derive(Default)]
struct Reader {
    met: Vec<Named>,
    /// The names of these, one behind the other.
    names: Vec<u8>,
    /// The path of the last.
    path: Vec<u8>,
}

/// An entry, and where its name is.
struct Named {
    start: usize,
    end: usize,
    met: Met,
    /// What there is to look into.
    folder: Option<Box<Folder>>,
}

/// The entry at `top`, and all below if it is a directory.
pub(super) fn walk(root: &Root, top: &[u8], filter: &Filter) -> Result<Entries, FilesError> {
    let Some(stat) = root.stat(top)? else {
        return Ok(Entries::default());
    };
    let found = Gathered::new(top, Met::new(&stat, target(root.fd(), top, top, &stat)?, false));
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Ok(found.finish());
    }
    let first = Folder {
        path: top.to_vec(),
        place: 0,
        carried: Carried::default(),
    };
    let walking = Walking {
        root,
        top,
        filter,
        queue: Mutex::new(Queue {
            folders: vec![first],
            busy: 0,
            idle: 0,
            found,
        }),
        news: Condvar::new(),
    };
    walking.read(SMALL)?;
    if !walking.lock().folders.is_empty() {
        walking.read_together()?;
    }
    let queue = walking.queue.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(queue.found.finish())
}

/// Where a link leads; nowhere if it is none.
fn target(folder: impl AsFd, name: &[u8], path: &[u8], stat: &Stat) -> Result<Vec<u8>, FilesError> {
    if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
        return Ok(Vec::new());
    }
    let target = rustix::fs::readlinkat(folder, name, Vec::new()).at("read", path)?;
    Ok(target.into_bytes())
}

impl Walking<'_> {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_together(&self) -> Result<(), FilesError> {
        let ends = std::thread::scope(|scope| {
            let readers: Vec<_> = (0..pool::threads())
                .map(|_| scope.spawn(|| self.read(usize::MAX)))
                .collect();
            let ends: Vec<_> = readers.into_iter().map(pool::joined).collect();
            ends
        });
        ends.into_iter().collect()
    }

    /// Reads folders, so many at most, until there are no more.
    fn read(&self, most: usize) -> Result<(), FilesError> {
        let mut reader = Reader::default();
        let mut room = Vec::with_capacity(LIST);
        let mut left = most;
        let mut queue = self.lock();
        while left > 0 {
            if let Some(folder) = queue.folders.pop() {
                left -= 1;
                queue.busy += 1;
                drop(queue);
                let read = reader.read(self, &folder, &mut room);
                queue = self.lock();
                queue.busy -= 1;
                if read.is_err() {
                    queue.folders.clear();
                }
                if queue.idle > 0 && queue.busy == 0 && queue.folders.is_empty() {
                    self.news.notify_all();
                }
                read?;
            } else if queue.busy == 0 {
                break;
            } else {
                queue.idle += 1;
                queue = self.news.wait(queue).unwrap_or_else(PoisonError::into_inner);
                queue.idle -= 1;
            }
        }
        Ok(())
    }

    fn open(&self, folder: &Folder) -> Result<OwnedFd, Errno> {
        let opened = self
            .root
            .open_resolved(&folder.path, OFlags::RDONLY | OFlags::DIRECTORY);
        opened.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
    }
}

impl Reader {
    /// Adds the entries of a folder to the others, and the folders among them to those that wait.
    fn read(&mut self, walking: &Walking<'_>, folder: &Folder, room: &mut Vec<u8>) -> Result<(), FilesError> {
        let fd = match walking.open(folder) {
            Ok(fd) => fd,
            Err(errno) => {
                walking.lock().found.set_problem(folder.place, errno);
                return Ok(());
            }
        };
        let mut listed = RawDir::new(&fd, room.spare_capacity_mut());
        while let Some(listed) = listed.next() {
            let listed = match listed {
                Ok(listed) => listed,
                Err(Errno::INTR) => continue,
                // Removed meanwhile.
                Err(Errno::NOENT) => break,
                Err(error) => return Err(error).at("read", &folder.path),
            };
            self.meet(walking, folder, &fd, (listed.file_name(), listed.file_type()))?;
            if self.met.len() >= PIECE {
                self.give(walking, folder);
            }
        }
        self.give(walking, folder);
        Ok(())
    }

    /// Looks at an entry, if it can be of interest.
    fn meet(
        &mut self,
        walking: &Walking<'_>,
        folder: &Folder,
        fd: &OwnedFd,
        (name, kind): (&CStr, FileType),
    ) -> Result<(), FilesError> {
        let bytes = name.to_bytes();
        if bytes == b"." || bytes == b".." {
            return Ok(());
        }
        self.path.clear();
        if !folder.path.is_empty() {
            self.path.extend_from_slice(&folder.path);
            self.path.push(b'/');
        }
        self.path.extend_from_slice(bytes);
        let Walking { root, top, filter, .. } = walking;
        let relative = relative(&self.path, top);
        let (taken, carried) = match filter.takes_all() {
            true => (true, Carried::default()),
            false => filter.enter(&folder.carried, relative),
        };
        let may_be_folder = matches!(kind, FileType::Directory | FileType::Unknown);
        let may_hold = may_be_folder && filter.may_take_below(&carried, relative);
        if !(taken || may_hold) {
            return Ok(());
        }
        let mut stat = match rustix::fs::statat(fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(()),
            Err(error) => return Err(error).at("stat", &self.path),
        };
        let told = root.owners().tell_at(fd.as_fd(), bytes, &self.path, &mut stat);
        told.at("read the owner of", &self.path)?;
        let is_folder = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if !(taken || is_folder) {
            return Ok(());
        }
        let target = target(fd, bytes, &self.path, &stat)?;
        let start = self.names.len();
        self.names.extend_from_slice(bytes);
        self.met.push(Named {
            start,
            end: self.names.len(),
            met: Met::new(&stat, target, !taken),
            folder: is_folder.then(|| {
                Box::new(Folder {
                    path: join(&folder.path, bytes),
                    place: 0,
                    carried,
                })
            }),
        });
        Ok(())
    }

    /// Puts what was met to what was found.
    fn give(&mut self, walking: &Walking<'_>, folder: &Folder) {
        let names = &self.names;
        let name = |named: &Named| &names[named.start..named.end];
        self.met.sort_unstable_by(|a, b| name(a).cmp(name(b)));
        let mut folders = Vec::new();
        let met = self.met.drain(..).zip(0..).map(|(named, at)| {
            let name = name(&named);
            folders.extend(named.folder.map(|folder| Folder { place: at, ..*folder }));
            (name, named.met)
        });
        let mut queue = walking.lock();
        let first = queue.found.add(folder.place, met);
        queue.folders.extend(folders.into_iter().map(|folder| Folder {
            place: first + folder.place,
            ..folder
        }));
        let wanted = queue.idle.min(queue.folders.len());
        drop(queue);
        (0..wanted).for_each(|_| walking.news.notify_one());
        self.names.clear();
    }
}
