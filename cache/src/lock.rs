//! Locks by name, across threads and processes, so that equal work is done once.
//!
//! A lock is a file under `locks/` held by `flock`; it ends with its holder. The file is removed by whoever holds it
//! (what cannot be removed is left to the sweep after the end of the process),
//! so whoever gets it must look whether it is still the file of that name. In it stands who holds it and for what, so that
//! those who wait can say for whom.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use oci::Digest;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::error::failed;
use crate::store::names;
use crate::usage::User;
use crate::{CacheKey, Error, Store};

/// So much is read of what the holder says.
const LONGEST: u64 = 4096;

/// Held while one process works on one key. Dropping it lets the next one in.
#[derive(Debug)]
pub struct KeyLock {
    store: Store,
    path: PathBuf,
    locked: File,
}

/// What came of trying to take a lock.
#[derive(Debug)]
pub enum Attempt {
    /// It is taken.
    Locked(KeyLock),
    /// This one has it.
    HeldBy(User),
}

impl Drop for KeyLock {
    fn drop(&mut self) {
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => self.store.lease().outlive(),
            _ => {}
        }
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

    /// Takes the lock of `key` unless somebody holds it; `about` is what for, to be told to those who wait.
    ///
    /// # Errors
    /// If the lock file cannot be made.
    pub fn try_lock(&self, key: &CacheKey, about: &str) -> Result<Attempt, Error> {
        let path = self.path("locks").join(key.0.hex());
        match self.take(&path, FlockOperation::NonBlockingLockExclusive)? {
            Some(mut lock) => {
                // Nobody is kept from working by others not knowing.
                let _ = sign(&mut lock.locked, about);
                Ok(Attempt::Locked(lock))
            }
            None => Ok(Attempt::HeldBy(signed_by(&path))),
        }
    }

    /// Removes the files of locks that nobody holds: those of processes that were killed.
    pub(crate) fn remove_free_locks(&self) -> Result<(), Error> {
        let locks = self.path("locks");
        for name in names(&locks)? {
            if format!("sha256:{name}").parse::<Digest>().is_ok() {
                drop(self.take(&locks.join(name), FlockOperation::NonBlockingLockExclusive)?);
            }
        }
        Ok(())
    }

    /// Waits for the lock called `name`.
    pub(crate) fn lock_name(&self, name: &Digest) -> Result<KeyLock, Error> {
        let path = self.path("locks").join(name.hex());
        loop {
            if let Some(lock) = self.take(&path, FlockOperation::LockExclusive)? {
                return Ok(lock);
            }
        }
    }

    /// `None` if somebody else holds the lock, or removed its file while we waited.
    fn take(&self, path: &Path, operation: FlockOperation) -> Result<Option<KeyLock>, Error> {
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
                    store: self.clone(),
                    path: path.to_owned(),
                    locked: file,
                }));
            }
        }
    }
}

/// Writes into a lock file who holds it, and for what.
pub(crate) fn sign(file: &mut File, about: &str) -> std::io::Result<()> {
    // A holder that died left what it had written.
    if file.metadata()?.len() > 0 {
        file.set_len(0)?;
    }
    file.write_all(format!("{} {about}\n", std::process::id()).as_bytes())
}

/// Who holds the lock file at `path`. It may just be changing hands: then nobody is named.
pub(crate) fn signed_by(path: &Path) -> User {
    let mut text = Vec::new();
    let read = File::open(path).and_then(|file| file.take(LONGEST).read_to_end(&mut text));
    let text = match read {
        Ok(_) => String::from_utf8_lossy(&text).into_owned(),
        Err(_) => String::new(),
    };
    let (process, about) = text.trim_end().split_once(' ').unwrap_or_default();
    User {
        process: process.parse().unwrap_or(0),
        about: about.to_owned(),
    }
}
