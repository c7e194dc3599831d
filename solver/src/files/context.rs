//! A context: the user's directory, walked once, its files hashed when first asked for.

use std::ops::Range;
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::SystemTime;

use graph::pattern::PatternList;

use super::content;
use super::entry::Entry;
use super::error::FilesError;
use super::filter::Filter;
use super::path::{is_below, walk_order};
use super::pool;
use super::root::{Node, Root, Tree};
use super::stat_cache::{KnownFiles, StatCache};
use super::walk::walk;

/// A directory lent by the user, as it was when the build began, without what its ignore patterns hide.
#[derive(Debug)]
pub struct Context {
    root: Root,
    excludes: PatternList,
    /// In walk order; the first is the directory itself.
    entries: Vec<Entry>,
    digests: Vec<OnceLock<[u8; 32]>>,
    stat_cache: Mutex<StatCache>,
}

impl Context {
    /// Walks the directory `root`, leaving out what `excludes` hides. Reads no file: their digests come from what is `known`
    /// while they have not changed, and go there when they had to be read.
    ///
    /// # Errors
    /// If the directory cannot be walked, or a pattern is malformed.
    pub fn open(root: &Path, excludes: &[String], known: KnownFiles) -> Result<Context, FilesError> {
        let excludes = PatternList::new(excludes).map_err(FilesError::Excludes)?;
        let root = Root::open(root)?;
        let mut entries = walk(&root, b"", &Filter::excluding(excludes.clone()))?;
        // Who copies from a context sees no difference between folders that are in it.
        entries.iter_mut().for_each(|entry| entry.implied = false);
        Ok(Context {
            root,
            excludes,
            digests: entries.iter().map(|_| OnceLock::new()).collect(),
            entries,
            stat_cache: Mutex::new(StatCache::new(known)),
        })
    }

    /// How many files, directories and others there are, the context's own directory left out.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len().saturating_sub(1)
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn root(&self) -> &Root {
        &self.root
    }

    /// The ignore pattern that hides a path.
    pub(super) fn hidden_by(&self, path: &[u8]) -> Option<String> {
        let there = self.root.stat(path).is_ok_and(|stat| stat.is_some());
        there.then(|| self.excludes.decider(path))?.map(str::to_owned)
    }

    /// Where the entry of that path, and all below it, are in the list.
    pub(super) fn range(&self, path: &[u8]) -> Option<Range<usize>> {
        let start = self
            .entries
            .binary_search_by(|entry| walk_order(&entry.path, path))
            .ok()?;
        let below = self.entries[start + 1..].partition_point(|entry| is_below(&entry.path, path));
        Some(start..start + 1 + below)
    }

    pub(super) fn entries(&self, range: Range<usize>) -> &[Entry] {
        &self.entries[range]
    }

    /// The names in a directory, sorted.
    pub(super) fn list(&self, folder: &[u8]) -> Vec<Vec<u8>> {
        let Some(range) = self.range(folder) else {
            return Vec::new();
        };
        let skipped = if folder.is_empty() { 0 } else { folder.len() + 1 };
        let below = self.entries[range].iter().skip(1).map(|entry| &entry.path[skipped..]);
        below.filter(|name| !name.contains(&b'/')).map(<[u8]>::to_vec).collect()
    }

    /// The digest of the file at this place, if it was asked for before.
    pub(super) fn known_digest(&self, at: usize) -> Option<[u8; 32]> {
        self.digests[at].get().copied()
    }

    /// Finds out the digests of the files at these places; those that are known from an earlier build are not read.
    pub(super) fn read(&self, places: impl Iterator<Item = usize>) -> Result<(), FilesError> {
        let cache = || self.stat_cache.lock().unwrap_or_else(PoisonError::into_inner);
        cache().fill(&self.entries, &self.digests);
        let is_unknown = |at: &usize| self.entries[*at].is_file() && self.digests[*at].get().is_none();
        let unknown: Vec<u32> = places
            .filter(is_unknown)
            .filter_map(|at| u32::try_from(at).ok())
            .collect();
        pool::each(unknown.len(), content::buffer, |buffer, piece| {
            let at = unknown[piece] as usize;
            let entry = &self.entries[at];
            let when = SystemTime::now();
            let content = content::digest(&self.root, entry, buffer)?;
            self.digests[at].get_or_init(|| content.digest);
            if content.settled {
                cache().learn(at, entry, when);
            }
            Ok(())
        })?;
        cache().save(&self.entries, &self.digests)
    }

    /// The digest of the file at this place, zero if it is no file or was not read.
    pub(super) fn digest(&self, at: usize) -> [u8; 32] {
        self.digests[at].get().copied().unwrap_or_default()
    }
}

impl Tree for Context {
    fn node(&self, path: &[u8]) -> Result<Node, FilesError> {
        let found = self.entries.binary_search_by(|entry| walk_order(&entry.path, path));
        Ok(match found.map(|at| &self.entries[at]) {
            Err(_) => Node::Missing,
            Ok(entry) if entry.is_directory() => Node::Directory,
            Ok(entry) if entry.kind == rustix::fs::FileType::Symlink => Node::Link(entry.target().to_vec()),
            Ok(_) => Node::Leaf,
        })
    }
}
