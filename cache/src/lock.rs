//! Locks by name, across threads and processes, so that equal work is done once.
//!
//! A lock is a file under `locks/` held by `flock`; it ends with its holder. The file is removed by whoever holds it,
//! so whoever gets it must look whether it is still the file of that name.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use oci::Digest;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::error::failed;
use crate::{CacheKey, Error, Store};

/// Held while one process works on one key. Dropping it lets the next one in.
#[derive(Debug)]
pub struct KeyLock {
    path: PathBuf,
    _locked: File,
}

impl Drop for KeyLock {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Store {
    /// Waits until nobody else, in this process or another, holds the lock of `key`, and takes it.
    ///
    /// # Errors
    /// If the lock file cannot be made.
    pub fn lock(&self, key: &CacheKey) -> Result<KeyLock, Error> {
        self.lock_name(&key.0)
    }

    /// Takes the lock of `key` unless somebody holds it.
    ///
    /// # Errors
    /// If the lock file cannot be made.
    pub fn try_lock(&self, key: &CacheKey) -> Result<Option<KeyLock>, Error> {
        take(
            &self.path("locks").join(key.0.hex()),
            FlockOperation::NonBlockingLockExclusive,
        )
    }

    /// Waits for the lock called `name`.
    pub(crate) fn lock_name(&self, name: &Digest) -> Result<KeyLock, Error> {
        let path = self.path("locks").join(name.hex());
        loop {
            if let Some(lock) = take(&path, FlockOperation::LockExclusive)? {
                return Ok(lock);
            }
        }
    }
}

/// `None` if somebody else holds the lock, or removed its file while we waited.
fn take(path: &Path, operation: FlockOperation) -> Result<Option<KeyLock>, Error> {
    loop {
        let file = File::options()
            .create(true)
            .append(true)
            .open(path)
            .map_err(failed("open", path))?;
        match flock(&file, operation) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Ok(None),
            Err(Errno::INTR) => continue,
            Err(error) => return Err(failed("lock", path)(error)),
        }
        let locked = file.metadata().map_err(failed("read", path))?;
        let named = std::fs::metadata(path);
        if named.is_ok_and(|named| (named.dev(), named.ino()) == (locked.dev(), locked.ino())) {
            return Ok(Some(KeyLock {
                path: path.to_owned(),
                _locked: file,
            }));
        }
    }
}
