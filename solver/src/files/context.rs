//! A context: the user's directory, walked once, its files hashed when first asked for.

use std::ops::Range;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use graph::pattern::PatternList;
use rustix::fs::FileType;

use super::content;
use super::digests::{Digests, UNKNOWN};
use super::entries::Entries;
use super::error::FilesError;
use super::filter::Filter;
use super::pool;
use super::root::{Node, Root, Tree};
use super::stat_cache::{KnownFiles, StatCache};
use super::walk::walk;

/// A directory lent by the user, as it was when the build began, without what its ignore patterns hide.
#[derive(Debug)]
pub struct Context {
    root: Root,
    excludes: PatternList,
    /// The first is the directory itself.
    entries: Entries,
    digests: Digests,
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
        entries.forget_implied();
        Ok(Context {
            root,
            excludes,
            digests: Digests::new(entries.len()),
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
        Some(self.entries.below(self.entries.place(path)?))
    }

    pub(super) fn entries(&self) -> &Entries {
        &self.entries
    }

    /// The names in a directory, sorted.
    pub(super) fn list(&self, folder: &[u8]) -> Vec<Vec<u8>> {
        let Some(range) = self.range(folder) else {
            return Vec::new();
        };
        let folder = range.start;
        let inside = range.skip(1).filter(|at| self.entries.folder(*at) == folder);
        inside.map(|at| self.entries.name(at).to_vec()).collect()
    }

    /// The digests of the files, as far as they were asked for before.
    pub(super) fn digests(&self) -> &Digests {
        &self.digests
    }

    /// Finds out the digests of the files at these places; those that are known from an earlier build are not read.
    pub(super) fn read(&self, places: impl Iterator<Item = usize>) -> Result<(), FilesError> {
        let cache = || self.stat_cache.lock().unwrap_or_else(PoisonError::into_inner);
        cache().fill(&self.entries, &self.digests);
        let unknown: Vec<u32> = {
            let known = self.digests.read();
            let (known, _) = known.as_chunks::<32>();
            let is_unknown = |at: &usize| known[*at] == UNKNOWN && self.entries.is_file(*at);
            places
                .filter(is_unknown)
                .filter_map(|at| u32::try_from(at).ok())
                .collect()
        };
        let state = || (content::buffer(), Vec::new());
        pool::each(unknown.len(), state, |(buffer, path), piece| {
            let at = unknown[piece] as usize;
            let entry = self.entries.get(at, path);
            let when = SystemTime::now();
            let content = content::digest(&self.root, &entry, buffer)?;
            self.digests.learn(at, content.digest);
            if content.settled {
                cache().learn(at, &entry, when);
            }
            Ok(())
        })?;
        cache().save(&self.entries, &self.digests)
    }
}

impl Tree for Context {
    fn node(&self, path: &[u8]) -> Result<Node, FilesError> {
        let Some(place) = self.entries.place(path) else {
            return Ok(Node::Missing);
        };
        let facts = self.entries.facts(place);
        Ok(match facts.kind {
            FileType::Directory => Node::Directory,
            FileType::Symlink => Node::Link(facts.target().to_vec()),
            _ => Node::Leaf,
        })
    }
}
