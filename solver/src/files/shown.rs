//! What a mount shows of a tree: one file or directory, by a path that is no pattern.
//!
//! Its checksum is made as that of a copy, but without any name: the mount's own place is where a process finds it.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use cache::Owners;
use graph::{Copy, InputIndex, Unpack};

use super::checksum::{Named, checksum_of, components_of};
use super::copy::copy;
use super::destination::Destination;
use super::error::FilesError;
use super::path::clean;
use super::select::{Selection, Source, Tree};

/// The digest of the file or directory at `path`.
///
/// # Errors
/// If it is missing, or something in it cannot be read.
pub fn checksum_of_path(tree: Tree<'_>, path: &str) -> Result<[u8; 32], FilesError> {
    let source = Source::open(tree)?;
    let (_, selection) = select(&source, path)?;
    checksum_of(&source, &selection, Named::Never)
}

/// The files at `path` and a short digest of each: at most a thousand, so that a miss can name what changed.
///
/// # Errors
/// As [`checksum_of_path`].
pub fn components_of_path(tree: Tree<'_>, path: &str) -> Result<Vec<(String, String)>, FilesError> {
    let source = Source::open(tree)?;
    let (_, selection) = select(&source, path)?;
    components_of(&source, &selection)
}

/// Copies the file or directory at `path` with its owner and permissions to `destination` in the directory `root`, whose
/// files have these owners.
///
/// # Errors
/// If it is missing, or the kernel refuses.
pub fn copy_path(
    tree: Tree<'_>,
    path: &str,
    (root, owners): (&Path, &Owners),
    destination: &str,
    cancel: &(dyn Fn() -> bool + Sync),
) -> Result<(), FilesError> {
    let source = Source::open(tree)?;
    let (mut all, selection) = select(&source, path)?;
    destination.clone_into(&mut all.destination);
    let mut to = Destination::open(root, None, owners)?;
    copy(&all, &source, &mut to, None, (None, cancel))?;
    for item in &selection.items {
        let top = item.top();
        // The root of a tree is like that of every tree.
        if top.is_directory() && !top.path.is_empty() {
            let place = clean(destination.as_bytes());
            to.set_owner(&place, source.owner(&top))?;
            to.set_mode(&place, top.mode)?;
        }
    }
    to.finish()?;
    Ok(())
}

/// Makes an empty directory at `destination` in the directory `root`.
///
/// # Errors
/// If the kernel refuses.
pub fn make_empty(root: &Path, destination: &str) -> Result<(), FilesError> {
    let path = root.join(destination.trim_start_matches('/'));
    let made = std::fs::create_dir(&path);
    made.and_then(|()| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)))
        .map_err(|source| FilesError::Io {
            action: "make directory",
            path: destination.to_owned(),
            source,
        })
}

/// What `path` leads to, and the copy that selects it.
fn select<'a>(source: &Source<'a>, path: &str) -> Result<(Copy, Selection<'a>), FilesError> {
    let all = Copy {
        from: InputIndex(0),
        source: graph::pattern::literal(path),
        destination: String::new(),
        owner: None,
        mode: None,
        include: None,
        excludes: Vec::new(),
        unpack: Unpack::Never,
    };
    let selection = source.select(&all)?;
    if selection.items.is_empty() {
        return Err(FilesError::NotFound {
            path: path.to_owned(),
            hidden_by: None,
            nearest: None,
        });
    }
    Ok((all, selection))
}
