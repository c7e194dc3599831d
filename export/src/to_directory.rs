//! Root file systems as files of the caller: modes, times, links and pipes are kept, owners are not.
//!
//! What is there already is overwritten where the names meet and stays elsewhere, as BuildKit's merge does; a link in the
//! way is replaced and never followed, so nothing is written outside the destination. Directories get their modes and
//! times last, when nothing is put into them any more. Extended attributes are not copied: file capabilities would make
//! the caller's files privileged.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, FileTimes, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps};

use crate::walk::{Found, walk};
use crate::{Error, Tree, dest, refuse_collisions};

/// What could not be copied: devices, which need privileges, and sockets, which mean nothing without their process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// From the root.
    pub path: PathBuf,
    /// `device` or `socket`.
    pub kind: &'static str,
}

/// What becomes of what is in a directory already and was not made now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stale {
    /// It stays.
    #[default]
    Kept,
    /// It goes.
    Deleted,
}

/// Copies what is below the mounted `trees` into the directory `dest`, which is made if it is not there, or into folders
/// of it. With `epoch` all entries get that time. Returns what was left out.
///
/// # Errors
/// [`Error::DestinationIsNoDirectory`], [`Error::Collision`], or if reading or writing fails.
pub fn to_directory(trees: &[Tree<'_>], dest: &Path, epoch: Option<i64>, stale: Stale) -> Result<Vec<Skipped>, Error> {
    if fs::metadata(dest).is_ok_and(|found| !found.is_dir()) {
        return Err(Error::DestinationIsNoDirectory(dest.to_owned()));
    }
    refuse_collisions(trees)?;
    fs::create_dir_all(dest).map_err(Error::io("create directory", dest))?;
    let (mut skipped, mut made) = (Vec::new(), HashSet::new());
    let root = dest;
    for tree in trees {
        let dest = match tree.folder() {
            Some(folder) => dest.join(folder),
            None => dest.to_owned(),
        };
        if tree.is_apart {
            make_folder(&dest)?;
        }
        let mut copy = Copy {
            dest: &dest,
            epoch,
            links: HashMap::new(),
            directories: Vec::new(),
            skipped: Vec::new(),
        };
        made.insert(dest.clone());
        walk(tree.path, |found| {
            made.insert(dest.join(&found.relative));
            copy.entry(found)
        })?;
        skipped.extend(copy.finish()?);
    }
    if stale == Stale::Deleted {
        delete_all_but(&made, root)?;
    }
    Ok(skipped)
}

/// Deletes what is below `directory` and not among `made`. No link is followed.
fn delete_all_but(made: &HashSet<PathBuf>, directory: &Path) -> Result<(), Error> {
    for entry in fs::read_dir(directory).map_err(Error::io("read directory", directory))? {
        let path = entry.map_err(Error::io("read directory", directory))?.path();
        if !made.contains(&path) {
            clear(&path)?;
        } else if fs::symlink_metadata(&path).is_ok_and(|there| there.is_dir()) {
            delete_all_but(made, &path)?;
        }
    }
    Ok(())
}

struct Copy<'a> {
    dest: &'a Path,
    epoch: Option<i64>,
    /// Where the files with several names are, by device and inode of the original.
    links: HashMap<(u64, u64), PathBuf>,
    /// Those that still lack mode and time.
    directories: Vec<(PathBuf, Metadata)>,
    skipped: Vec<Skipped>,
}

impl Copy<'_> {
    fn entry(&mut self, found: &Found) -> Result<(), Error> {
        let to = self.dest.join(&found.relative);
        let kind = found.metadata.file_type();
        if kind.is_dir() {
            self.directories.push((to.clone(), found.metadata.clone()));
            return make_directory(&to);
        }
        if kind.is_socket() || kind.is_char_device() || kind.is_block_device() {
            self.skipped.push(Skipped {
                path: found.relative.clone(),
                kind: if kind.is_socket() { "socket" } else { "device" },
            });
            return Ok(());
        }
        if let Some(first) = self.other_name(found, &to) {
            clear(&to)?;
            return fs::hard_link(first, &to).map_err(Error::io("create", &to));
        }
        if kind.is_file() {
            self.file(found, &to)
        } else if kind.is_symlink() {
            self.symlink(found, &to)
        } else {
            self.pipe(found, &to)
        }
    }

    /// Gives the directories their modes and times, the innermost first.
    fn finish(self) -> Result<Vec<Skipped>, Error> {
        for (path, metadata) in self.directories.iter().rev() {
            let directory = File::open(path).map_err(Error::io("write", path))?;
            directory
                .set_times(times(metadata, self.epoch))
                .and_then(|()| directory.set_permissions(permissions(metadata)))
                .map_err(Error::io("set the attributes of", path))?;
        }
        Ok(self.skipped)
    }

    /// The name under which a file with several names is there already; else `to` is noted to be the first.
    fn other_name(&mut self, found: &Found, to: &Path) -> Option<&Path> {
        if found.metadata.nlink() < 2 {
            return None;
        }
        let inode = (found.metadata.dev(), found.metadata.ino());
        let first = self.links.entry(inode).or_insert_with(|| to.to_owned());
        (first != to).then_some(first)
    }

    fn file(&self, found: &Found, to: &Path) -> Result<(), Error> {
        let mut from = File::open(&found.path).map_err(Error::io("read", &found.path))?;
        let mut unfinished = dest::Unfinished::beside(to, Permissions::from_mode(0o600))?;
        let file = unfinished.file();
        io::copy(&mut from, file)
            .and_then(|_| file.set_permissions(permissions(&found.metadata)))
            .and_then(|()| file.set_times(times(&found.metadata, self.epoch)))
            .map_err(Error::io("write", to))?;
        if fs::symlink_metadata(to).is_ok_and(|there| there.is_dir()) {
            clear(to)?;
        }
        unfinished.persist(to)
    }

    fn symlink(&self, found: &Found, to: &Path) -> Result<(), Error> {
        let target = fs::read_link(&found.path).map_err(Error::io("read", &found.path))?;
        clear(to)?;
        std::os::unix::fs::symlink(target, to).map_err(Error::io("create", to))?;
        self.set_times(found, to)
    }

    fn pipe(&self, found: &Found, to: &Path) -> Result<(), Error> {
        clear(to)?;
        rustix::fs::mknodat(CWD, to, FileType::Fifo, Mode::from_raw_mode(0o600), 0).map_err(Error::io("create", to))?;
        fs::set_permissions(to, permissions(&found.metadata)).map_err(Error::io("set the attributes of", to))?;
        self.set_times(found, to)
    }

    /// Of what cannot be opened.
    fn set_times(&self, found: &Found, to: &Path) -> Result<(), Error> {
        let time = match self.epoch {
            Some(tv_sec) => Timespec { tv_sec, tv_nsec: 0 },
            None => Timespec {
                tv_sec: found.metadata.mtime(),
                tv_nsec: found.metadata.mtime_nsec(),
            },
        };
        let times = Timestamps {
            last_access: time,
            last_modification: time,
        };
        rustix::fs::utimensat(CWD, to, &times, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(Error::io("set the attributes of", to))
    }
}

/// The folder of a platform; what else has its name makes room, a link above all.
fn make_folder(path: &Path) -> Result<(), Error> {
    if fs::symlink_metadata(path).is_ok_and(|there| there.is_dir()) {
        return Ok(());
    }
    clear(path)?;
    fs::create_dir(path).map_err(Error::io("create directory", path))
}

/// A directory that we may write to; what else has its name makes room.
fn make_directory(to: &Path) -> Result<(), Error> {
    match fs::symlink_metadata(to) {
        Ok(there) if there.is_dir() => {}
        _ => {
            clear(to)?;
            fs::create_dir(to).map_err(Error::io("create directory", to))?;
        }
    }
    fs::set_permissions(to, Permissions::from_mode(0o700)).map_err(Error::io("set the attributes of", to))
}

/// Removes what is at `to`, if anything is.
fn clear(to: &Path) -> Result<(), Error> {
    let removed = match fs::symlink_metadata(to) {
        Ok(there) if there.is_dir() => fs::remove_dir_all(to),
        Ok(_) => fs::remove_file(to),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io("replace", to)(error)),
        _ => Ok(()),
    }
}

fn permissions(metadata: &Metadata) -> Permissions {
    Permissions::from_mode(metadata.mode() & 0o7777)
}

fn times(metadata: &Metadata, epoch: Option<i64>) -> FileTimes {
    let modified = match epoch {
        Some(seconds) => SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.max(0).cast_unsigned()),
        None => metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH),
    };
    FileTimes::new().set_modified(modified)
}

#[cfg(test)]
mod tests;
