//! Laying a snapshot's directory into a tree: what an overlay shows, done to files.
//!
//! Names are gone through first, and files are copied meanwhile by a crew. Then come second names of files, for which the first
//! must be there, and last what directories are besides their entries: their times change with each of these.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::thread::scope;

use rustix::fs::{AtFlags, CWD, Mode, Stat};
use rustix::io::Errno;

use super::crew::{Crew, File};
use super::node::{dress_directory, is_directory, look};
use crate::Error;
use crate::error::failed;
use crate::overlay::{is_opaque, is_whiteout};
use crate::remove::remove_tree;

/// What of a directory is to be laid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// All of it.
    All,
    /// What moved away: the rest is in the tree.
    Missing,
}

/// Lays the changes in `layer` into the tree at `tree`. The root's own owner, mode and time are the caller's.
pub(super) fn lay(layer: &Path, tree: &Path, wanted: Wanted) -> Result<(), Error> {
    let mut laying = Laying {
        from: layer.to_owned(),
        to: tree.to_owned(),
        path: PathBuf::new(),
        wanted,
        links: HashMap::new(),
        more_names: Vec::new(),
        directories: Vec::new(),
    };
    scope(|scope| {
        let mut crew = Crew::new(scope);
        laying.walk(&mut crew)?;
        crew.finish()
    })?;
    for (first, to) in &laying.more_names {
        match rustix::fs::linkat(CWD, first, CWD, to, AtFlags::empty()) {
            // A device that was left out.
            Err(Errno::NOENT) => {}
            linked => linked.map_err(failed("link", to))?,
        }
    }
    for path in &laying.directories {
        let from = layer.join(path);
        let stat = rustix::fs::lstat(&from).map_err(failed("read", &from))?;
        dress_directory(&from, &stat, &tree.join(path))?;
    }
    Ok(())
}

struct Laying {
    /// Where we are in the layer, in the tree, and from their roots.
    from: PathBuf,
    to: PathBuf,
    path: PathBuf,
    wanted: Wanted,
    /// Where the files with several names in the layer go, by their inodes.
    links: HashMap<(u64, u64), PathBuf>,
    /// Names that are to be of files that go elsewhere, after these.
    more_names: Vec<(PathBuf, PathBuf)>,
    /// The directories below the roots, each after those in it.
    directories: Vec<PathBuf>,
}

/// A directory on the way to where we are.
struct Level {
    names: std::vec::IntoIter<OsString>,
    /// Whether it was made just now.
    is_new: bool,
}

impl Laying {
    /// Goes through the layer. Depth costs no stack: a step may make it large.
    fn walk(&mut self, crew: &mut Crew<'_, '_>) -> Result<(), Error> {
        let mut levels = vec![Level {
            names: names(&self.from)?,
            is_new: false,
        }];
        while let Some(level) = levels.last_mut() {
            if let Some(name) = level.names.next() {
                for path in [&mut self.from, &mut self.to, &mut self.path] {
                    path.push(&name);
                }
                if let Some(below) = self.entry(level.is_new, crew)? {
                    levels.push(below);
                    continue;
                }
            } else {
                levels.pop();
                if levels.is_empty() {
                    break;
                }
                self.directories.push(self.path.clone());
            }
            for path in [&mut self.from, &mut self.to, &mut self.path] {
                path.pop();
            }
        }
        Ok(())
    }

    /// Lays one entry; of a directory, tells that it is to be gone into.
    fn entry(&mut self, is_in_new: bool, crew: &mut Crew<'_, '_>) -> Result<Option<Level>, Error> {
        let (from, to) = (&self.from, &self.to);
        let stat = rustix::fs::lstat(from).map_err(failed("read", from))?;
        if is_whiteout(from, &stat)? {
            if self.wanted == Wanted::All && !is_in_new {
                remove_tree(to).map_err(failed("remove", to))?;
            }
            return Ok(None);
        }
        let there = if is_in_new { None } else { look(to)? };
        if !is_directory(&stat) {
            self.file(stat, there.is_some(), crew)?;
            return Ok(None);
        }
        let stays = match &there {
            Some(there) if is_directory(there) => self.wanted == Wanted::Missing || !is_opaque(from)?,
            _ => false,
        };
        if !stays {
            if there.is_some() {
                remove_tree(to).map_err(failed("remove", to))?;
            }
            rustix::fs::mkdirat(CWD, to, Mode::RWXU).map_err(failed("create", to))?;
        }
        Ok(Some(Level {
            names: names(from)?,
            is_new: !stays,
        }))
    }

    fn file(&mut self, stat: Stat, is_there: bool, crew: &mut Crew<'_, '_>) -> Result<(), Error> {
        let to = &self.to;
        match (is_there, self.wanted) {
            (true, Wanted::Missing) => return Ok(()),
            (true, Wanted::All) => remove_tree(to).map_err(failed("remove", to))?,
            (false, _) => {}
        }
        if stat.st_nlink > 1 {
            let inode = (stat.st_dev, stat.st_ino);
            if let Some(first) = self.links.get(&inode) {
                self.more_names.push((first.clone(), to.clone()));
                return Ok(());
            }
            self.links.insert(inode, to.clone());
        }
        crew.copy(File {
            from: self.from.clone(),
            stat,
            to: to.clone(),
        })
    }
}

/// The names in a directory.
fn names(directory: &Path) -> Result<std::vec::IntoIter<OsString>, Error> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(failed("read", directory))? {
        names.push(entry.map_err(failed("read", directory))?.file_name());
    }
    Ok(names.into_iter())
}
