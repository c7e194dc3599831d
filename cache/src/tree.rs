//! Trees as they are shown: mounted, copied, or the directory of a snapshot itself.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::mount::UnmountFlags;

use crate::copied::{Lent, Working};
use crate::{Error, Owners, Store};

/// A view of a snapshot, gone when dropped.
///
/// What was written to it is sure to be among the changes of its [`ActiveSnapshot`](crate::ActiveSnapshot) only when it was
/// [closed](Tree::close).
#[derive(Debug)]
pub struct Tree {
    path: PathBuf,
    owners: Owners,
    view: View,
    /// Keeps the lease that the directory is named after.
    store: Store,
}

/// What is to be undone.
#[derive(Debug)]
pub(crate) enum View {
    /// A mount.
    Mounted {
        /// At a mount point made for this tree alone.
        own_mount_point: bool,
    },
    /// Nothing: the directory is what it shows.
    Itself,
    /// A copy that others may read as well. There is one until this is dropped.
    Lent(Option<Arc<Lent>>),
    /// A copy to be written to. There is one until this is closed.
    Working(Option<Box<Working>>),
}

impl Tree {
    pub(crate) fn new(path: PathBuf, owners: Owners, view: View, store: &Store) -> Tree {
        Tree {
            path,
            owners,
            view,
            store: store.clone(),
        }
    }

    /// The root of the view. Nobody may write below one that was asked for to be read: it may be a copy that others read,
    /// or the snapshot's own directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whose its files are.
    #[must_use]
    pub fn owners(&self) -> &Owners {
        &self.owners
    }

    /// Whether the kernel shows it: then files can be put among the changes beside it, and may be shared with other trees,
    /// for the kernel copies those that are written to.
    #[must_use]
    pub fn is_mounted(&self) -> bool {
        matches!(self.view, View::Mounted { .. })
    }

    /// Ends the writing: what was changed is among the changes of the snapshot being made. Nobody may write there any more.
    ///
    /// # Errors
    /// If the changes cannot be found or put there. The snapshot is then good for nothing.
    pub fn close(mut self) -> Result<(), Error> {
        match &mut self.view {
            View::Working(working) => working.take().map_or(Ok(()), |working| working.close(&self.path)),
            View::Mounted { .. } | View::Itself | View::Lent(_) => Ok(()),
        }
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        match &mut self.view {
            View::Mounted { own_mount_point } => {
                // Whoever still has files open in there may go on: the mount vanishes with the last of them.
                let _ = rustix::mount::unmount(&self.path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW);
                if *own_mount_point {
                    let _ = std::fs::remove_dir(&self.path);
                }
            }
            View::Lent(lent) => {
                if let Some(last) = lent.take().and_then(Arc::into_inner) {
                    self.store.keep_copy(last.into());
                }
            }
            // What stays is swept after the end of this process.
            View::Working(Some(_)) => drop(self.store.remove_later(&self.path)),
            View::Itself | View::Working(None) => {}
        }
    }
}
