//! Laying a snapshot's directory into a tree: what an overlay shows, done to files.

use std::collections::HashMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, Stat};

use super::node::{copy, dress_directory, is_directory, look};
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
        wanted,
        links: HashMap::new(),
    };
    let mut levels = vec![Level {
        names: names(layer)?,
        stat: None,
        is_new: false,
    }];
    // Depth costs no stack: a step may make it large.
    while let Some(level) = levels.last_mut() {
        if let Some(name) = level.names.next() {
            laying.from.push(&name);
            laying.to.push(&name);
            if let Some(below) = laying.entry(level.is_new)? {
                levels.push(below);
                continue;
            }
        } else if let Some(Level { stat: Some(stat), .. }) = levels.pop() {
            // Last, for what is laid into it changes its time.
            dress_directory(&laying.from, &stat, &laying.to)?;
        } else {
            break;
        }
        laying.from.pop();
        laying.to.pop();
    }
    Ok(())
}

struct Laying {
    from: PathBuf,
    to: PathBuf,
    wanted: Wanted,
    /// Where the files with several names in the layer went, by their inodes.
    links: HashMap<(u64, u64), PathBuf>,
}

/// A directory on the way to where we are.
struct Level {
    names: std::vec::IntoIter<OsString>,
    /// Of the directory in the layer; the root has none.
    stat: Option<Stat>,
    /// Whether it was made just now.
    is_new: bool,
}

impl Laying {
    /// Lays one entry; of a directory, tells that it is to be gone into.
    fn entry(&mut self, is_in_new: bool) -> Result<Option<Level>, Error> {
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
            self.file(&stat, there.is_some())?;
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
            stat: Some(stat),
            is_new: !stays,
        }))
    }

    fn file(&mut self, stat: &Stat, is_there: bool) -> Result<(), Error> {
        let (from, to) = (&self.from, &self.to);
        match (is_there, self.wanted) {
            (true, Wanted::Missing) => return Ok(()),
            (true, Wanted::All) => remove_tree(to).map_err(failed("remove", to))?,
            (false, _) => {}
        }
        if stat.st_nlink < 2 {
            return copy(from, stat, to);
        }
        let inode = (stat.st_dev, stat.st_ino);
        if let Some(first) = self.links.get(&inode) {
            return rustix::fs::linkat(CWD, first, CWD, to, AtFlags::empty()).map_err(failed("link", to));
        }
        copy(from, stat, to)?;
        self.links.insert(inode, to.clone());
        Ok(())
    }
}

/// The names in a directory, sorted: copies of equal trees are made in equal order.
fn names(directory: &Path) -> Result<std::vec::IntoIter<OsString>, Error> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(failed("read", directory))? {
        names.push(entry.map_err(failed("read", directory))?.file_name());
    }
    names.sort_unstable_by(|a, b| a.as_bytes().cmp(b.as_bytes()));
    Ok(names.into_iter())
}
