//! A directory as the root of a tree. Nothing reached through it is outside of it.
//!
//! Symbolic links are followed here and not by the kernel: [`resolve`] turns a path into one without links, an absolute
//! link starting again at the root and `..` ending there. Paths given to the kernel are resolved ones, and what is opened
//! for reading is opened so that a link put there in the meantime is an error.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use cache::Owners;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use super::error::{At, FilesError, shown};
use super::path::{join, names, or_dot, split};

/// As many links as the kernel follows, and some more, as BuildKit does.
const MOST_LINKS: usize = 255;

/// What a path without links leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    Missing,
    Directory,
    Link(Vec<u8>),
    Leaf,
}

/// A tree that can be asked what is at a path, the folders of which are no links.
pub(super) trait Tree {
    fn node(&self, path: &[u8]) -> Result<Node, FilesError>;
}

/// The path without links that `path` leads to. What is missing is taken by its name.
pub(super) fn resolve(tree: &dyn Tree, path: &[u8]) -> Result<Vec<u8>, FilesError> {
    let too_many = || FilesError::TooManyLinks { path: shown(path) };
    let mut left: Vec<Vec<u8>> = names(path).map(<[u8]>::to_vec).collect();
    left.reverse();
    let mut resolved: Vec<u8> = Vec::new();
    let mut links = 0;
    while let Some(name) = left.pop() {
        match name.as_slice() {
            b"." => continue,
            b".." => {
                resolved = split(&resolved).0.to_vec();
                continue;
            }
            _ => {}
        }
        let next = join(&resolved, &name);
        let Node::Link(target) = tree.node(&next)? else {
            resolved = next;
            continue;
        };
        links += 1;
        if links > MOST_LINKS {
            return Err(too_many());
        }
        if target.starts_with(b"/") {
            resolved.clear();
        }
        let followed: Vec<Vec<u8>> = names(&target).map(<[u8]>::to_vec).collect();
        left.extend(followed.into_iter().rev());
    }
    Ok(resolved)
}

/// The content of a file of the tree at `root`, links being followed inside it; `None` if there is none. More than `limit`
/// bytes of it are not read.
///
/// # Errors
/// If it is there and cannot be read.
pub fn read_file(root: &Path, path: &str, limit: u64) -> Result<Option<Vec<u8>>, FilesError> {
    let root = Root::open(root)?;
    let resolved = resolve(&root, path.as_bytes())?;
    match root.stat(&resolved)? {
        Some(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => {}
        _ => return Ok(None),
    }
    let file = root.open_resolved(&resolved, OFlags::RDONLY | OFlags::NONBLOCK);
    let file = std::fs::File::from(file.at("open", &resolved)?);
    let mut content = Vec::new();
    let read = file.take(limit).read_to_end(&mut content);
    read.at("read", &resolved)?;
    Ok(Some(content))
}

/// An open directory that is a root.
#[derive(Debug)]
pub(super) struct Root {
    fd: OwnedFd,
    owners: Owners,
}

impl Root {
    /// The directory of that path on this machine.
    pub(super) fn open(path: &Path) -> Result<Root, FilesError> {
        Root::open_owned(path, Owners::default())
    }

    /// The directory of that path, whose files have these owners.
    pub(super) fn open_owned(path: &Path, owners: Owners) -> Result<Root, FilesError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open(path, flags, Mode::empty())
            .map(|fd| Root { fd, owners })
            .map_err(|source| FilesError::Io {
                action: "open",
                path: path.display().to_string(),
                source: source.into(),
            })
    }

    /// A directory of this tree as a root of its own.
    pub(super) fn below(&self, path: &[u8]) -> Result<Root, FilesError> {
        let fd = self.open_resolved(path, OFlags::PATH | OFlags::DIRECTORY);
        let owners = self.owners.below(path);
        fd.map(|fd| Root { fd, owners }).at("open", path)
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Whose the files are.
    pub(super) fn owners(&self) -> &Owners {
        &self.owners
    }

    /// What the file system says of a path, the folders of which are no links.
    pub(super) fn stat(&self, path: &[u8]) -> Result<Option<Stat>, FilesError> {
        match rustix::fs::statat(&self.fd, or_dot(path), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(mut stat) => {
                let told = self.owners.tell_at(self.fd(), path, path, &mut stat);
                told.at("read the owner of", path).map(|()| Some(stat))
            }
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(error) => Err(error).at("stat", path),
        }
    }

    /// Opens what is at a path without links; a link on the way, or at its end, is an error.
    pub(super) fn open_resolved(&self, path: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let within = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        loop {
            return match rustix::fs::openat2(&self.fd, or_dot(path), flags, Mode::empty(), within) {
                Err(Errno::AGAIN) => continue,
                // Kernels before 5.6, and sandboxes that do not know the call.
                Err(Errno::NOSYS | Errno::PERM | Errno::INVAL) => self.open_step_by_step(path, flags),
                other => Ok(other?),
            };
        }
    }

    fn open_step_by_step(&self, path: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
        let (folder, name) = split(path);
        let step = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut at = rustix::fs::openat(&self.fd, ".", step, Mode::empty())?;
        for name in names(folder) {
            at = rustix::fs::openat(&at, name, step, Mode::empty())?;
        }
        Ok(rustix::fs::openat(&at, or_dot(name), flags, Mode::empty())?)
    }

    /// The names in a directory, sorted.
    pub(super) fn list(&self, path: &[u8]) -> Result<Vec<Vec<u8>>, FilesError> {
        let fd = self
            .open_resolved(path, OFlags::RDONLY | OFlags::DIRECTORY)
            .at("open", path)?;
        let mut found = Vec::new();
        for entry in Dir::new(fd).at("read", path)? {
            let entry = entry.at("read", path)?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                found.push(name.to_vec());
            }
        }
        found.sort_unstable();
        Ok(found)
    }
}

impl Tree for Root {
    fn node(&self, path: &[u8]) -> Result<Node, FilesError> {
        let Some(stat) = self.stat(path)? else {
            return Ok(Node::Missing);
        };
        Ok(match rustix::fs::FileType::from_raw_mode(stat.st_mode) {
            rustix::fs::FileType::Directory => Node::Directory,
            rustix::fs::FileType::Symlink => {
                let target = rustix::fs::readlinkat(&self.fd, path, Vec::new()).at("read", path)?;
                Node::Link(target.into_bytes())
            }
            _ => Node::Leaf,
        })
    }
}
