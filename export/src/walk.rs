//! Going through a mounted root file system: every entry but the root, parents first, names in byte order.
//!
//! No link is followed. The tree is ours and does not change meanwhile.

use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};

use crate::Error;

/// A file, directory, link or node in the tree.
pub(crate) struct Found {
    /// From the root.
    pub(crate) relative: PathBuf,
    /// Where it lies.
    pub(crate) path: PathBuf,
    /// Of itself, not of what it points to.
    pub(crate) metadata: Metadata,
}

/// Calls `visit` for everything below `tree`.
pub(crate) fn walk(tree: &Path, mut visit: impl FnMut(&Found) -> Result<(), Error>) -> Result<(), Error> {
    let mut ahead = Vec::new();
    list(tree, Path::new(""), &mut ahead)?;
    while let Some(relative) = ahead.pop() {
        let path = tree.join(&relative);
        let metadata = fs::symlink_metadata(&path).map_err(Error::io("read", &path))?;
        let found = Found {
            relative,
            path,
            metadata,
        };
        visit(&found)?;
        if found.metadata.is_dir() {
            list(tree, &found.relative, &mut ahead)?;
        }
    }
    Ok(())
}

/// Puts the entries of a directory on the stack, the first on top.
fn list(tree: &Path, relative: &Path, ahead: &mut Vec<PathBuf>) -> Result<(), Error> {
    let path = tree.join(relative);
    let mut names = Vec::new();
    for entry in fs::read_dir(&path).map_err(Error::io("read directory", &path))? {
        names.push(entry.map_err(Error::io("read directory", &path))?.file_name());
    }
    names.sort_unstable_by(|a, b| b.cmp(a));
    ahead.extend(names.into_iter().map(|name| relative.join(name)));
    Ok(())
}
