//! Files and directories: whether somebody knows them.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use oci::Digest;
use rustix::fs::{FlockOperation, flock};

use super::rows::is_directory;
use super::{Checking, Fault, Subject};
use crate::Error;
use crate::error::failed;
use crate::lease::Lease;

impl Checking<'_, '_> {
    pub(super) fn cache_directories(&mut self) -> Result<(), Error> {
        let place = self.store.path("caches");
        each_entry(&place, |path, name| {
            self.checked.others += 1;
            let fault = if !is_directory_name(name) {
                Fault::Unknown
            } else if !is_directory(&path.join("root")) {
                Fault::Missing(path.join("root"))
            } else if let Some(missing) = ["about", "lock"]
                .map(|name| path.join(name))
                .into_iter()
                .find(|file| !file.exists())
            {
                Fault::Missing(missing)
            } else {
                return Ok(());
            };
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
        let is_alive = |name: &str| Lease::of_name(name).is_some_and(|lease| is_locked(&leases.join(lease)));
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
            if format!("sha256:{name}").parse::<Digest>().is_ok() && !is_locked(&path) {
                unknown.push(path);
            }
            Ok(())
        })?;
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
fn is_locked(path: &Path) -> bool {
    File::open(path).is_ok_and(|file| flock(&file, FlockOperation::NonBlockingLockExclusive).is_err())
}
