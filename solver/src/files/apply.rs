//! One action on a tree: a copy, or directories made.

use std::path::Path;

use graph::{FileAction, InputIndex, MakeDirectory, Owner};

use super::copy::copy;
use super::destination::{Destination, Folder};
use super::error::FilesError;
use super::path::clean;
use super::select::{Source, Tree};

/// Finds the numbers of a user and a group, as the tree that files go to knows them.
pub type ResolveOwner<'a> = &'a dyn Fn(&Owner) -> Result<(u32, u32), Box<dyn std::error::Error + Send + Sync>>;

/// Does `action` on the tree at `destination`. `sources` gives the trees that the action names; `cancel` is asked now and
/// then whether to stop.
///
/// Directories made on the way have the modification time 0, those that were there before keep theirs.
///
/// # Errors
/// If a source is missing, something is in the way, or the kernel refuses. The tree is then half done, and for nothing.
pub fn apply<'t>(
    action: &FileAction,
    sources: &dyn Fn(InputIndex) -> Tree<'t>,
    destination: &Path,
    resolve_owner: ResolveOwner<'_>,
    cancel: &(dyn Fn() -> bool + Sync),
) -> Result<(), FilesError> {
    let mut destination = Destination::open(destination)?;
    let owner = |owner: &Option<Owner>| match owner {
        Some(owner) => resolve_owner(owner).map(Some).map_err(FilesError::Owner),
        None => Ok(None),
    };
    match action {
        FileAction::MakeDirectory(make) => make_directory(make, owner(&make.owner)?, &mut destination)?,
        FileAction::Copy(action) => {
            let source = Source::open(sources(action.from))?;
            copy(action, &source, &mut destination, owner(&action.owner)?, cancel)?;
        }
    }
    destination.finish()
}

fn make_directory(
    make: &MakeDirectory,
    owner: Option<(u32, u32)>,
    destination: &mut Destination,
) -> Result<(), FilesError> {
    let path = destination.resolve(&clean(make.path.as_bytes()))?;
    let folder = Folder {
        mode: make.mode & 0o777,
        owner: owner.unwrap_or_default(),
        seconds: make.timestamp.unwrap_or_default(),
    };
    destination.make_directories(&path, folder)
}
