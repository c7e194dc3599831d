//! One action on a tree: a copy, directories or a file made.

use std::path::Path;

use cache::Owners;
use graph::{FileAction, InputIndex, MakeDirectory, MakeFile, Owner};
use rustix::fs::Timespec;

use super::copy::copy;
use super::destination::{Destination, Folder, folder_of};
use super::error::{At, FilesError};
use super::path::clean;
use super::reuse::Reuse;
use super::select::{Source, Tree};
use super::transfer::{create, write_all};

/// Finds the numbers of a user and a group, as the tree that files go to knows them.
pub type ResolveOwner<'a> = &'a dyn Fn(&Owner) -> Result<(u32, u32), Box<dyn std::error::Error + Send + Sync>>;

/// The tree that an action changes.
#[derive(Debug)]
pub struct Target<'a> {
    /// Its root.
    pub root: &'a Path,
    /// The upper directory of the overlay that is mounted there, if it is one.
    pub upper: Option<&'a Path>,
    /// Whose its files are.
    pub owners: &'a Owners,
    /// What can be taken from an earlier tree.
    pub reuse: Option<&'a mut Reuse>,
}

/// Whether a tree is still what its mount shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// All of it.
    Whole,
    /// Not what was put beside the mount: it has to be mounted again before something else is done.
    InPart,
}

/// Does `action` on the tree `target`. `sources` gives the trees that the action names; `cancel` is asked now and
/// then whether to stop.
///
/// Directories made on the way have the modification time 0, those that were there before keep theirs.
///
/// # Errors
/// If a source is missing, something is in the way, or the kernel refuses. The tree is then half done, and for nothing.
pub fn apply<'t>(
    action: &FileAction,
    sources: &dyn Fn(InputIndex) -> Tree<'t>,
    target: Target<'_>,
    resolve_owner: ResolveOwner<'_>,
    cancel: &(dyn Fn() -> bool + Sync),
) -> Result<Shown, FilesError> {
    let mut destination = Destination::open(target.root, target.upper, target.owners)?;
    let owner = |owner: &Option<Owner>| match owner {
        Some(owner) => resolve_owner(owner).map(Some).map_err(FilesError::Owner),
        None => Ok(None),
    };
    match action {
        FileAction::MakeDirectory(make) => make_directory(make, owner(&make.owner)?, &mut destination)?,
        FileAction::MakeFile(make) => make_file(make, owner(&make.owner)?, &mut destination)?,
        FileAction::Copy(action) => {
            let source = Source::open(sources(action.from))?;
            let owner = owner(&action.owner)?;
            copy(action, &source, &mut destination, target.reuse, (owner, cancel))?;
        }
    }
    match destination.finish()? {
        true => Ok(Shown::InPart),
        false => Ok(Shown::Whole),
    }
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

fn make_file(make: &MakeFile, owner: Option<(u32, u32)>, destination: &mut Destination) -> Result<(), FilesError> {
    let path = destination.resolve(&clean(make.path.as_bytes()))?;
    let folder = folder_of(&path);
    destination.keep_time(folder)?;
    let file = create(&destination.open_folder(folder)?, &path, 0o600)?;
    write_all(&file, &make.content).at("write", &path)?;
    destination.set_owner(&path, owner.unwrap_or_default())?;
    destination.set_mode(&path, make.mode & 0o777)?;
    let modified = Timespec {
        tv_sec: make.timestamp.unwrap_or_default(),
        tv_nsec: 0,
    };
    destination.set_modified(&path, modified)
}
