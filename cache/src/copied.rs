//! Trees without mounts: copies in ordinary directories, for places where nothing can be mounted.
//!
//! A copy is made by laying the directories of a stack, one after the other, into an empty one (`lay.rs`). One that is to be
//! written to is looked at before (`table.rs`) and after, and what differs is put into the directory of changes in the form
//! that an overlay would have given it (`changes.rs`): whoever reads changes need not know how they came about.
//!
//! **No file is in a snapshot and in a copy.** Files of a copy are written to in place, and snapshots never change. So what
//! is laid is copied (the file system may share blocks), and what was changed moves out of the copy.
//!
//! **A copy outlives its use.** Copying the whole tree for each step of a chain would cost more than the steps. A tree that
//! became a snapshot is kept, and so is one that was only read. The next who wants that snapshot, or one that stands on it,
//! takes it over: what moved out is laid in again, and what is missing above. Kept are a few, in the order of
//! their use, and none beyond the process: they are named after its lease, like all that is unfinished.
//!
//! Copies cannot tell owners that are recorded beside files (`owner.rs`): such stores only mount.

mod changes;
mod crew;
mod lay;
mod node;
mod room;
mod table;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use self::changes::Changes;
use self::lay::{Wanted, lay};
use self::table::Table;
use crate::error::failed;
use crate::overlay::Merged;
use crate::tree::View;
use crate::{Error, Owners, Snapshot, SnapshotId, Store, Tree, overlay};

/// As many chains of steps go on at once without copying whole trees for each step.
const MOST_KEPT: usize = 4;

/// The copies of one process.
#[derive(Debug, Default)]
pub(crate) struct Copies {
    /// Those that nobody uses, the one used last at the end.
    kept: Mutex<Vec<Kept>>,
    /// Those that are read. Whoever makes one holds its lock, so that others wait for it.
    lent: Mutex<HashMap<SnapshotId, Arc<Mutex<Weak<Lent>>>>>,
}

/// A copy that nobody uses.
#[derive(Debug)]
pub(crate) struct Kept {
    snapshot: Snapshot,
    path: PathBuf,
    /// Whether all files of the snapshot are there; else those that it changed are missing.
    is_whole: bool,
}

/// A copy that is read.
#[derive(Debug)]
pub(crate) struct Lent {
    snapshot: Snapshot,
    path: PathBuf,
}

impl From<Lent> for Kept {
    fn from(lent: Lent) -> Kept {
        Kept {
            snapshot: lent.snapshot,
            path: lent.path,
            is_whole: true,
        }
    }
}

/// A copy that is written to.
#[derive(Debug)]
pub(crate) struct Working {
    parent: Snapshot,
    upper: PathBuf,
    before: Table,
    is_closed: Arc<AtomicBool>,
}

impl Working {
    /// Moves what was changed in the tree at `path` to the directory of changes.
    pub(crate) fn close(self, path: &Path) -> Result<(), Error> {
        let _span = trace::span("find changes");
        Changes::of(path, &self.before, Merged::root(Some(&self.parent)), &self.upper).move_all()?;
        self.is_closed.store(true, Ordering::Release);
        Ok(())
    }
}

impl Copies {
    fn kept(&self) -> MutexGuard<'_, Vec<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the copy that is the least work away from `stack`, lowest first.
    fn nearest(&self, stack: &[Snapshot]) -> Option<Kept> {
        let mut kept = self.kept();
        let found = stack.iter().rev().find_map(|wanted| {
            let is_it = |kept: &Kept| kept.snapshot.id() == wanted.id();
            kept.iter().rposition(is_it)
        });
        found.map(|at| kept.remove(at))
    }

    /// Takes all copies that nobody uses.
    pub(crate) fn take_all(&self) -> Vec<PathBuf> {
        let kept = std::mem::take(&mut *self.kept());
        kept.into_iter().map(|kept| kept.path).collect()
    }
}

impl Store {
    /// A copy of the tree of `snapshot`, to be read.
    pub(crate) fn lend(&self, snapshot: &Snapshot) -> Result<Tree, Error> {
        let tree = |path, view| Tree::new(path, Owners::default(), view, self);
        if snapshot.parent().is_none() {
            // With nothing below there is nothing to be hidden: its directory is its tree.
            return Ok(tree(snapshot.directory(), View::Itself));
        }
        let place = {
            let mut lent = self.copies().lent.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(lent.entry(snapshot.id()).or_default())
        };
        let mut place = place.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lent) = place.upgrade() {
            return Ok(tree(lent.path.clone(), View::Lent(Some(lent))));
        }
        let path = self.copy_of(snapshot)?;
        let lent = Arc::new(Lent {
            snapshot: snapshot.clone(),
            path: path.clone(),
        });
        *place = Arc::downgrade(&lent);
        Ok(tree(path, View::Lent(Some(lent))))
    }

    /// A copy of the tree of `parent` with the changes that are in `upper` already, at `path`, to be written to.
    pub(crate) fn work_on(
        &self,
        parent: &Snapshot,
        upper: &Path,
        path: PathBuf,
        is_closed: &Arc<AtomicBool>,
    ) -> Result<Tree, Error> {
        is_closed.store(false, Ordering::Release);
        self.remove(&path)?;
        let copy = self.copy_of(parent)?;
        std::fs::rename(&copy, &path).map_err(failed("move", &copy))?;
        let working = Working {
            parent: parent.clone(),
            upper: upper.to_owned(),
            before: Table::read(&path)?,
            is_closed: Arc::clone(is_closed),
        };
        let tree = Tree::new(path, Owners::default(), View::Working(Some(Box::new(working))), self);
        lay(upper, tree.path(), Wanted::All)?;
        Ok(tree)
    }

    /// Keeps a copy for the next who wants it.
    pub(crate) fn keep_copy(&self, copy: Kept) {
        let mut kept = self.copies().kept();
        kept.push(copy);
        let most = kept.len().saturating_sub(MOST_KEPT);
        let oldest: Vec<Kept> = kept.drain(..most).collect();
        drop(kept);
        for Kept { path, .. } in oldest {
            // What stays is swept after the end of this process.
            let _ = self.remove_later(&path);
        }
    }

    /// Keeps the tree at `path`, which `snapshot` was made of.
    pub(crate) fn keep_worked_on(&self, path: &Path, snapshot: &Snapshot) {
        let away = self.temporary();
        // What does not move is removed with all that the snapshot was made in, and the next makes a copy of its own.
        if std::fs::rename(path, &away).is_ok() {
            self.keep_copy(Kept {
                snapshot: snapshot.clone(),
                path: away,
                is_whole: false,
            });
        }
    }

    /// Removes the copies that nobody uses, for their room.
    pub(crate) fn remove_copies(&self) -> Result<(), Error> {
        let copies = self.copies().take_all();
        copies.iter().try_for_each(|path| self.remove(path))
    }

    /// Makes a copy of the tree of `snapshot` at a place of its own, or takes over one.
    fn copy_of(&self, snapshot: &Snapshot) -> Result<PathBuf, Error> {
        let stack = snapshot.stack();
        let kept = self.copies().nearest(&stack);
        let path = match &kept {
            Some(kept) => kept.path.clone(),
            // Where trees are placed far from one another; see `store.rs`.
            None => self.path("active").join(self.lease().name()),
        };
        let made = self.complete(&path, kept.as_ref(), &stack);
        if made.is_err() {
            // What stays is swept after the end of this process.
            let _ = self.remove(&path);
        }
        made.map(|()| path)
    }

    fn complete(&self, path: &Path, kept: Option<&Kept>, stack: &[Snapshot]) -> Result<(), Error> {
        let _span = trace::span("copy tree");
        let mut layers = Vec::new();
        let mut there = 0;
        match kept {
            None => std::fs::create_dir(path).map_err(failed("create", path))?,
            Some(kept) => {
                let is_it = |snapshot: &Snapshot| snapshot.id() == kept.snapshot.id();
                there = stack.iter().position(is_it).map_or(0, |at| at + 1);
                if !kept.is_whole {
                    layers.push((kept.snapshot.directory(), Wanted::Missing));
                }
            }
        }
        layers.extend(
            stack[there..]
                .iter()
                .map(|snapshot| (snapshot.directory(), Wanted::All)),
        );
        if let Some(top) = stack.last() {
            self.make_room_for_copy(&layers, path, top)?;
            for (layer, wanted) in &layers {
                lay(layer, path, *wanted)?;
            }
            let root = std::fs::File::open(path).map_err(failed("open", path))?;
            overlay::adopt_directory(&top.root_stat()?, &root, path, &Owners::default())?;
        }
        Ok(())
    }
}
