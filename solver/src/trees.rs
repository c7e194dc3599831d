//! The trees that copies and mounts read: contexts in place, and snapshots mounted when first read.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use cache::{Snapshot, Store};
use graph::{InputIndex, LocalSource};
use oci::Digest;

use crate::files::{self, Context, Tree};
use crate::readings::Reading;
use crate::{Session, StepError};

/// The sources of one vertex, by input.
pub(crate) struct Sources {
    store: Store,
    trees: HashMap<InputIndex, Source>,
}

/// Where the files of one input are.
pub(crate) enum Source {
    /// In a context's directory.
    Context(Arc<Context>),
    /// In a snapshot, or in none: the empty tree.
    Snapshot(LazyMount),
}

/// A snapshot, mounted when its files are first asked for.
pub(crate) struct LazyMount {
    snapshot: Option<Snapshot>,
    mounted: OnceLock<Mounted>,
}

impl Source {
    pub(crate) fn snapshot(snapshot: Option<Snapshot>) -> Source {
        Source::Snapshot(LazyMount {
            snapshot,
            mounted: OnceLock::new(),
        })
    }
}

/// A mounted snapshot, or an empty tree.
enum Mounted {
    Snapshot(cache::Tree),
    /// The active snapshot is there only to be empty, and is deleted with this.
    Nothing {
        tree: cache::Tree,
        _empty: Box<cache::ActiveSnapshot>,
    },
}

impl Sources {
    pub(crate) fn new(store: Store) -> Sources {
        Sources {
            store,
            trees: HashMap::new(),
        }
    }

    pub(crate) fn add(&mut self, input: InputIndex, source: Source) {
        self.trees.insert(input, source);
    }

    fn source(&self, input: InputIndex) -> &Source {
        self.trees.get(&input).expect("the input of every reading was added")
    }

    /// Whether an input is a context.
    pub(crate) fn is_context(&self, input: InputIndex) -> bool {
        matches!(self.source(input), Source::Context(_))
    }

    /// The snapshot of an input; none is the empty tree, or a context.
    pub(crate) fn snapshot(&self, input: InputIndex) -> Option<&Snapshot> {
        match self.source(input) {
            Source::Context(_) => None,
            Source::Snapshot(lazy) => lazy.snapshot.as_ref(),
        }
    }

    /// Where the tree of an input that is no context is mounted.
    pub(crate) fn path(&self, input: InputIndex) -> Result<PathBuf, StepError> {
        match self.tree(input)? {
            Tree::Snapshot(tree) => Ok(tree.path().to_owned()),
            Tree::Directory(path) => Ok(path.to_owned()),
            Tree::Context(_) => unreachable!("a context is asked for its files, not for a place"),
        }
    }

    /// The files of an input.
    pub(crate) fn tree(&self, input: InputIndex) -> Result<Tree<'_>, StepError> {
        match self.source(input) {
            Source::Context(context) => Ok(Tree::Context(context)),
            Source::Snapshot(LazyMount { snapshot, mounted }) => {
                if mounted.get().is_none() {
                    // Lost against another thread, the second mount is undone at once.
                    let _ = mounted.set(mount(&self.store, snapshot.as_ref())?);
                }
                match mounted.get().expect("it was set above") {
                    Mounted::Snapshot(tree) | Mounted::Nothing { tree, .. } => Ok(Tree::Snapshot(tree)),
                }
            }
        }
    }

    /// The checksum of what is read.
    pub(crate) fn checksum(&self, reading: &Reading) -> Result<Digest, StepError> {
        let tree = self.tree(reading.from())?;
        Ok(Digest::from_raw(match reading {
            Reading::Copy(copy) => files::checksum(tree, copy)?,
            Reading::Mount { path, .. } => files::checksum_of_path(tree, path)?,
        }))
    }

    /// The files that are read, by name and short digest, so that a miss can name the one that changed.
    pub(crate) fn components(&self, reading: &Reading) -> Result<Vec<(String, String)>, StepError> {
        let tree = self.tree(reading.from())?;
        Ok(match reading {
            Reading::Copy(copy) => files::components(tree, copy)?,
            Reading::Mount { path, .. } => files::components_of_path(tree, path)?,
        })
    }
}

fn mount(store: &Store, snapshot: Option<&Snapshot>) -> Result<Mounted, StepError> {
    match snapshot {
        Some(snapshot) => Ok(Mounted::Snapshot(snapshot.mount(store)?)),
        None => {
            let empty = store.prepare(None)?;
            Ok(Mounted::Nothing {
                tree: empty.mount()?,
                _empty: Box::new(empty),
            })
        }
    }
}

/// Walks the context's directory.
pub(crate) fn open_context(session: &Session, store: &Store, local: &LocalSource) -> Result<Context, StepError> {
    let _span = trace::span_of("walk context", &local.context);
    let path = session
        .contexts
        .get(&local.context)
        .ok_or_else(|| StepError::NoContext(local.context.clone()))?;
    let name = Digest::of(path.as_os_str().as_encoded_bytes()).hex();
    let known = files::KnownFiles {
        file: store.stat_cache_path(&name),
        spare: store.spare_path(),
    };
    Ok(Context::open(path, &local.excludes, known)?)
}
