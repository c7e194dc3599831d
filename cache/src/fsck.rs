//! Verifying a store: whether all that the index knows is there and is what it was, and whether all that is there is known.
//!
//! - Blobs are hashed. One that a prune emptied on a full disk (`gc.rs`) is absent, not damaged.
//! - Trees are archived again, without writing the archive. Of a tree that has a layer of ours the digest must be the
//!   layer's. Of the unpacked layer of a base image nobody can make the same archive again: its blob is unpacked once
//!   more, and the archives of the two trees must be one. Other trees have no digest to compare with; they are read.
//! - Compressed layers are decompressed, for their diff-ids.
//! - Rows must lead to rows, names to manifests whose parts are here. Of an index of several platforms those images may
//!   be missing that nobody pulled.
//! - Files that no row names and no process is about to record take space for nothing.
//!
//! A finding is about what was looked at. Where the machine did not let us look, for want of room, files or rights, the
//! verifying ends with an error, and what it was about stays.
//!
//! What others stand on comes first. So whoever repairs forgets a damaged thing before looking at what leads to it, and one
//! pass leaves a store that a second one finds nothing in. Forgetting is all there is of repairing: what is forgotten is
//! made or fetched again when somebody asks for it. Memory is bounded: rows come in pages, content streams.
//!
//! It works behind the gate, closed to others: they would remove what is being looked at. What they record meanwhile carries
//! their lease and is left alone. What the files under `stat/` mean
//! is for their writers to know, and words for people are the caller's.

mod files;
mod rows;
mod trees;

pub(crate) use trees::archive;

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rusqlite::{Row, params};

use crate::error::{failed, index_failed};
use crate::{Error, Store};

/// What to do about findings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repair {
    /// Nothing.
    Nothing,
    /// Remove what nobody knows, forget what is damaged.
    Forget,
}

/// One thing that is not as it should be.
#[derive(Debug)]
pub struct Finding {
    /// What it is about.
    pub subject: Subject,
    /// What is wrong with it.
    pub fault: Fault,
}

/// What a finding is about. The texts are those of the index, which may be no digests or ids at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The index as a whole.
    Index,
    /// A blob, by its digest.
    Blob(String),
    /// A snapshot, by its id.
    Snapshot(String),
    /// A layer made of a snapshot.
    Layer {
        /// The snapshot's id.
        snapshot: String,
        /// In which form: `gzip-3`, `uncompressed`, …
        form: String,
    },
    /// What a step led to, by its key.
    Record(String),
    /// A key that means the same as another.
    Alias(String),
    /// An image, by its name.
    Image(String),
    /// A directory that steps keep from build to build.
    CacheDirectory(PathBuf),
    /// A file that others keep in the store.
    Note(PathBuf),
    /// Any other file or directory of the store.
    Path(PathBuf),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::Index => f.write_str("index"),
            Subject::Blob(digest) => write!(f, "blob `{digest}`"),
            Subject::Snapshot(id) => write!(f, "snapshot `{id}`"),
            Subject::Layer { snapshot, form } => write!(f, "layer ({form}) of snapshot `{snapshot}`"),
            Subject::Record(key) => write!(f, "result of step `{key}`"),
            Subject::Alias(key) => write!(f, "other key `{key}` of a step"),
            Subject::Image(name) => write!(f, "image `{name}`"),
            Subject::CacheDirectory(path) => write!(f, "cache mount `{}`", path.display()),
            Subject::Note(path) => write!(f, "note `{}`", path.display()),
            Subject::Path(path) => write!(f, "`{}`", path.display()),
        }
    }
}

/// What is wrong.
#[derive(Debug)]
pub enum Fault {
    /// SQLite finds its file damaged, and says how.
    Damaged(String),
    /// It does not have the form that it should have.
    Malformed,
    /// There is nothing at the path it should be at.
    Missing(PathBuf),
    /// It cannot be read.
    Unreadable(Error),
    /// Its content is not what it was.
    Changed {
        /// What it should be.
        expected: String,
        /// What it is.
        actual: String,
    },
    /// It needs something that is not here.
    Lacks(String),
    /// No row names it, and no process that lives is about to record it.
    Unknown,
}

/// How to verify a store.
#[allow(missing_debug_implementations, reason = "it is made of functions")]
pub struct Fsck<'a> {
    /// What to do about findings.
    pub repair: Repair,
    /// Whether a file under `stat/` is one that its writer can read, by its path.
    pub is_whole: &'a dyn Fn(&Path) -> std::io::Result<bool>,
    /// Called with each finding, before it is repaired.
    pub found: &'a mut dyn FnMut(&Finding),
    /// Called once if other processes have to be waited for.
    pub waits: &'a dyn Fn(),
}

/// What was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Blobs that were hashed.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Trees that were compared with a digest or a blob.
    pub trees: u64,
    /// Trees that there is nothing to compare with: they were read.
    pub trees_read: u64,
    /// Layers made here.
    pub layers: u64,
    /// Keys and aliases of keys.
    pub keys: u64,
    /// Names of images.
    pub images: u64,
    /// Directories that steps keep, and files that others keep.
    pub others: u64,
    /// What was found.
    pub findings: u64,
    /// How much of it was removed or forgotten.
    pub repaired: u64,
}

impl Store {
    /// Verifies everything. Other processes wait meanwhile where they look something up.
    ///
    /// # Errors
    /// If the index cannot be read, or something not be repaired. What cannot be read besides is a finding, unless that is
    /// for want of something else: [`Error::Unverified`]. [`Error::OthersStore`] if another user made the store.
    pub fn fsck(&self, wish: Fsck<'_>) -> Result<Checked, Error> {
        self.refuse_anothers()?;
        let _closed = self.gate().close(wish.waits)?;
        self.loaded(std::collections::HashMap::clear);
        let mut checking = Checking {
            store: self,
            wish,
            checked: Checked::default(),
        };
        let outcome = checking.everything();
        self.loaded(std::collections::HashMap::clear);
        outcome.map(|()| checking.checked)
    }

    fn refuse_anothers(&self) -> Result<(), Error> {
        // Without the slash at its end.
        let path: PathBuf = self.path("").components().collect();
        let owner = std::fs::metadata(&path).map_err(failed("look at", &path))?.uid();
        let us = rustix::process::geteuid().as_raw();
        match owner == us {
            true => Ok(()),
            false => Err(Error::OthersStore { path, owner, us }),
        }
    }
}

struct Checking<'s, 'a> {
    store: &'s Store,
    wish: Fsck<'a>,
    checked: Checked,
}

impl Checking<'_, '_> {
    fn everything(&mut self) -> Result<(), Error> {
        if self.index_is_damaged()? {
            // Whatever it says now may be wrong.
            return Ok(());
        }
        self.blobs()?;
        self.snapshots()?;
        self.layers()?;
        self.records()?;
        self.aliases()?;
        self.images()?;
        self.cache_directories()?;
        self.notes()?;
        self.unknown_files()
    }

    fn index_is_damaged(&mut self) -> Result<bool, Error> {
        let list = || {
            let connection = self.store.index().read();
            let mut statement = connection.prepare("PRAGMA integrity_check")?;
            let rows = statement.query_map([], |row| row.get::<_, String>(0))?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        let said = list().map_err(index_failed("verify the database"))?;
        let damage: Vec<String> = said.into_iter().filter(|line| line != "ok").collect();
        let is_damaged = !damage.is_empty();
        for line in damage {
            self.find(Subject::Index, Fault::Damaged(line));
        }
        Ok(is_damaged)
    }

    /// Tells of a finding.
    fn find(&mut self, subject: Subject, fault: Fault) {
        self.checked.findings += 1;
        (self.wish.found)(&Finding { subject, fault });
    }

    /// Tells of a finding, and has `mend` repair it if that is wanted. It is none if we could not look.
    fn find_and_mend(
        &mut self,
        subject: Subject,
        fault: Fault,
        mend: impl FnOnce(&Store) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let fault = match fault {
            Fault::Unreadable(error) if error.is_of_the_machine() => {
                let source = Box::new(error);
                return Err(Error::Unverified { subject, source });
            }
            fault => fault,
        };
        self.find(subject, fault);
        if self.wish.repair == Repair::Forget {
            mend(self.store)?;
            self.checked.repaired += 1;
        }
        Ok(())
    }
}

/// Rows a page.
const PAGE: i64 = 256;

/// Shows the rows of `query` page by page, so that they may go meanwhile. The query takes the key after which the page
/// begins and the number of rows, gives the key first and sorts by it.
fn each_row<T>(
    store: &Store,
    query: &str,
    read: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
    mut show: impl FnMut(String, T) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut after = String::new();
    loop {
        let page = || {
            let connection = store.index().read();
            let mut statement = connection.prepare_cached(query)?;
            let rows = statement.query_map(params![after, PAGE], |row| Ok((row.get::<_, String>(0)?, read(row)?)))?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        let rows = page().map_err(index_failed("list what there is"))?;
        let Some((last, _)) = rows.last() else {
            return Ok(());
        };
        after.clone_from(last);
        for (key, row) in rows {
            show(key, row)?;
        }
        // Snapshots that were looked at are not needed again.
        store.loaded(std::collections::HashMap::clear);
    }
}

/// Whether `query` finds anything of this key.
fn is_known(store: &Store, query: &str, key: &str) -> Result<bool, Error> {
    store
        .index()
        .read()
        .prepare_cached(query)
        .and_then(|mut statement| statement.exists(params![key]))
        .map_err(index_failed("look for what a row leads to"))
}
