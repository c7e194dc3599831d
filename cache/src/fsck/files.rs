//! Files and directories: whether somebody knows them.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use oci::Digest;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::rows::{is_directory, there};
use super::{Checking, Fault, Subject};
use crate::Error;
use crate::error::failed;
use crate::lease::Lease;

impl Checking<'_, '_> {
    pub(super) fn cache_directories(&mut self) -> Result<(), Error> {
        let place = self.store.path("caches");
        each_entry(&place, |path, name| {
            self.checked.others += 1;
            let fault = match is_directory_name(name) {
                true => fault_of_cache(&path).unwrap_or_else(|error| Some(Fault::Unreadable(error))),
                false => Some(Fault::Unknown),
            };
            let Some(fault) = fault else { return Ok(()) };
            self.find_and_mend(Subject::CacheDirectory(path.clone()), fault, |store| {
                store.remove(&path)
            })
        })
    }

    pub(super) fn notes(&mut self) -> Result<(), Error> {
        let place = self.store.path("stat");
        each_entry(&place, |path, _| {
            self.checked.others += 1;
            let fault = match (self.wish.is_whole)(&path) {
                Ok(true) => return Ok(()),
                Ok(false) => Fault::Malformed,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                Err(error) => Fault::Unreadable(failed("read", &path)(error)),
            };
            self.find_and_mend(Subject::Note(path.clone()), fault, |store| store.remove(&path))
        })
    }

    /// What has no row, no living process and no purpose.
    pub(super) fn unknown_files(&mut self) -> Result<(), Error> {
        let leases = self.store.path("leases");
        // Whether a process lives may not be known. Nothing that may be its own is gone then.
        let unknown_locks = RefCell::new(None);
        let is_held = |path: &Path| {
            is_locked(path).unwrap_or_else(|error| {
                unknown_locks.borrow_mut().get_or_insert(error);
                true
            })
        };
        let is_alive = |name: &str| Lease::of_name(name).is_some_and(|lease| is_held(&leases.join(lease)));
        let mut unknown = self
            .store
            .index()
            .write_with_files("look for what is not recorded", |transaction| {
                self.store.unrecorded(transaction, is_alive)
            })?;
        for place in ["active", "tmp"] {
            each_entry(&self.store.path(place), |path, name| {
                if !is_alive(name) {
                    unknown.push(path);
                }
                Ok(())
            })?;
        }
        each_entry(&self.store.path("locks"), |path, name| {
            if format!("sha256:{name}").parse::<Digest>().is_ok() && !is_held(&path) {
                unknown.push(path);
            }
            Ok(())
        })?;
        if let Some(error) = unknown_locks.take() {
            return Err(error);
        }
        // It is the bottom of every tree that a step sees.
        each_entry(&self.store.path("empty"), |path, _| {
            unknown.push(path);
            Ok(())
        })?;
        for path in unknown {
            self.find_and_mend(Subject::Path(path.clone()), Fault::Unknown, |store| store.remove(&path))?;
        }
        Ok(())
    }
}

/// Shows what is in a directory, one by one; names that are no text are shown as if they were.
fn each_entry(directory: &Path, mut show: impl FnMut(PathBuf, &str) -> Result<(), Error>) -> Result<(), Error> {
    for entry in std::fs::read_dir(directory).map_err(failed("read", directory))? {
        let entry = entry.map_err(failed("read", directory))?;
        show(entry.path(), &entry.file_name().to_string_lossy())?;
    }
    Ok(())
}

/// `<key>-<number>`
fn is_directory_name(name: &str) -> bool {
    name.split_once('-')
        .is_some_and(|(key, number)| format!("sha256:{key}").parse::<Digest>().is_ok() && number.parse::<u64>().is_ok())
}

/// Whether a process that lives holds the lock of this file.
fn is_locked(path: &Path) -> Result<bool, Error> {
    let unverified = |error: io::Error| Error::Unverified {
        subject: Subject::Path(path.to_owned()),
        source: Box::new(failed("look for the lock of", path)(error)),
    };
    match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(unverified(error)),
        Ok(file) => match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(false),
            Err(Errno::WOULDBLOCK) => Ok(true),
            Err(error) => Err(unverified(error.into())),
        },
    }
}

/// What keeps steps from using a directory that they keep.
fn fault_of_cache(path: &Path) -> Result<Option<Fault>, Error> {
    let root = path.join("root");
    if !is_directory(&root)? {
        return Ok(Some(Fault::Missing(root)));
    }
    for file in ["about", "lock"].map(|name| path.join(name)) {
        if there(&file)?.is_none() {
            return Ok(Some(Fault::Missing(file)));
        }
    }
    Ok(None)
}
