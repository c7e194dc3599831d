//! Directories that stay from build to build and change all the time: what steps keep for the next one.
//!
//! ```text
//! caches/<key>-<n>/
//! ├── about      what it is, for people
//! ├── lock       locked while somebody uses it, together or alone; its date is the last use; names the last who took it
//! ├── size       how much it was when somebody looked; counts if it is younger than the last use
//! └── root/      the files
//! ```
//!
//! Of one key there is usually one directory. There are several when somebody wanted to use it alone and the others were
//! taken. They are no results: nothing is found by them, no snapshot is made of them, and a lost one costs time only. Like
//! every directory in use when the machine goes down, one may then hold half a file: that is for its users to notice.

use std::fs::File;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Timespec, Timestamps, UTIME_NOW, flock};
use rustix::io::Errno;

use crate::error::failed;
use crate::gate::Together;
use crate::lease::Hold;
use crate::store::names;
use crate::{CacheKey, Error, Store, User, lock};

/// With whom a directory is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Company {
    /// With all that do not want it alone.
    Any,
    /// With nobody.
    None,
}

/// A directory in use. Dropping it lets others have it.
#[derive(Debug)]
pub struct CacheDirectory {
    path: PathBuf,
    locked: File,
}

impl Drop for CacheDirectory {
    fn drop(&mut self) {
        // Without it the next look at sizes may take an old one for true.
        let _ = touch(&self.locked);
    }
}

/// What there is of a key.
#[derive(Debug)]
pub enum Found {
    /// One that could be had.
    Free(CacheDirectory),
    /// Only such as others use; the one who took one of them last.
    Taken(User),
    /// None.
    Nothing,
}

impl CacheDirectory {
    /// Where the files are.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.path.join("root")
    }

    fn take(path: PathBuf, company: Company, user: &str) -> Result<Option<CacheDirectory>, Error> {
        let lock = path.join("lock");
        let mut file = File::options()
            .append(true)
            .open(&lock)
            .map_err(failed("open", &lock))?;
        let operation = match company {
            Company::Any => FlockOperation::NonBlockingLockShared,
            Company::None => FlockOperation::NonBlockingLockExclusive,
        };
        loop {
            match flock(&file, operation) {
                Ok(()) => break,
                Err(Errno::INTR) => {}
                Err(Errno::WOULDBLOCK) => return Ok(None),
                Err(error) => return Err(failed("lock", &lock)(error)),
            }
        }
        // On a full disk others are not told who has it, and the date has to do.
        let _ = lock::sign(&mut file, user);
        touch(&file).map_err(failed("change the date of", &lock))?;
        Ok(Some(CacheDirectory { path, locked: file }))
    }
}

fn touch(file: &File) -> Result<(), Errno> {
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: UTIME_NOW,
    };
    let times = Timestamps {
        last_access: now,
        last_modification: now,
    };
    rustix::fs::futimens(file, &times)
}

impl Store {
    /// Looks for a directory of `key` that can be had, for `user`, as others are told. Whoever wants to make one if there is none holds the
    /// [lock](Store::lock) of the key meanwhile.
    ///
    /// # Errors
    /// If the directories cannot be read.
    pub fn find_directory(&self, key: &CacheKey, company: Company, user: &str) -> Result<Found, Error> {
        // Nobody prunes between the finding and the locking.
        let together = self.gate().together()?;
        let numbers = self.directories_of(key)?;
        for number in &numbers {
            let path = self.directory_path(key, *number);
            if let Some(directory) = self.take_directory(&together, path, (company, user))? {
                return Ok(Found::Free(directory));
            }
        }
        Ok(match numbers.first() {
            Some(number) => Found::Taken(lock::signed_by(&self.directory_path(key, *number).join("lock"))),
            None => Found::Nothing,
        })
    }

    /// Makes another directory of `key`; `fill` puts into it what it is to begin with. The caller holds the lock of the key.
    ///
    /// # Errors
    /// If it cannot be made or filled.
    pub fn make_directory<E: From<Error>>(
        &self,
        key: &CacheKey,
        about: &str,
        (company, user): (Company, &str),
        fill: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<CacheDirectory, E> {
        let made = self.temporary();
        let outcome = self.fill_directory(&made, about, fill).and_then(|()| {
            let number = self.directories_of(key)?.last().map_or(0, |last| last + 1);
            let path = self.directory_path(key, number);
            let together = self.gate().together()?;
            std::fs::rename(&made, &path).map_err(failed("keep", &path))?;
            let taken = self.take_directory(&together, path.clone(), (company, user))?;
            Ok(taken.ok_or_else(|| failed("lock", &path)(Errno::WOULDBLOCK))?)
        });
        if outcome.is_err() {
            // What stays is swept after the end of this process.
            let _ = self.remove(&made);
        }
        outcome
    }

    fn take_directory(
        &self,
        together: &Together<'_>,
        path: PathBuf,
        (company, user): (Company, &str),
    ) -> Result<Option<CacheDirectory>, Error> {
        let taken = CacheDirectory::take(path, company, user)?;
        if let Some(name) = taken.as_ref().and_then(|taken| taken.path.file_name()?.to_str()) {
            self.hold(together, &Hold::CacheDirectory(name.to_owned()));
        }
        Ok(taken)
    }

    fn fill_directory<E: From<Error>>(
        &self,
        made: &Path,
        about: &str,
        fill: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<(), E> {
        let root = made.join("root");
        std::fs::create_dir_all(&root).map_err(failed("create", &root))?;
        for (name, text) in [("about", about), ("lock", "")] {
            let file = made.join(name);
            std::fs::write(&file, text).map_err(failed("write", &file))?;
        }
        fill(&root)
    }

    /// The numbers of the directories of `key`, ascending.
    fn directories_of(&self, key: &CacheKey) -> Result<Vec<u64>, Error> {
        let key = key.0.hex();
        let mut numbers: Vec<u64> = names(&self.path("caches"))?
            .iter()
            .filter_map(|name| name.strip_prefix(&key)?.strip_prefix('-')?.parse().ok())
            .collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn directory_path(&self, key: &CacheKey, number: u64) -> PathBuf {
        self.path("caches").join(format!("{}-{number}", key.0.hex()))
    }
}
