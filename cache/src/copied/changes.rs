//! What was changed in a tree, moved out of it into a directory in the form of an overlay's upper directory.
//!
//! A file moves if it is a new one by its inode, or differs in size, time, mode or owner; where only the time of the last
//! change of anything differs, it is compared with the file below. A name that is gone becomes a mark. A directory is
//! brought along if something in it is, or if it has other metadata. No directory is marked as hiding the one below:
//! each name that is gone has a mark of its own, and says the same.
//!
//! Files with one name are moved, as the tree is worth nothing without what comes next, and gets them back when it is taken
//! over. Those with several names are copied, for another of the names may be of a file that did not change.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::iter::Peekable;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, Stat};

use super::node::{attributes, copy, dress_directory, is_directory};
use super::table::{Change, Children, Entry, Table, list};
use crate::Error;
use crate::diff::same_content;
use crate::error::failed;
use crate::overlay::{Found, Merged, Shown, mark_removed};
use crate::remove::remove_tree;

/// The changes in one tree.
pub(super) struct Changes<'a> {
    before: &'a Table,
    below: Merged,
    /// Where we are in the tree, in the directory of changes, and from the root.
    tree: PathBuf,
    upper: PathBuf,
    path: PathBuf,
    /// Where the files with several names went, by their inodes.
    links: HashMap<u64, PathBuf>,
}

/// A directory on the way to where we are.
struct Level {
    before: Children,
    now: Peekable<std::vec::IntoIter<(Vec<u8>, Stat)>>,
    /// As it was found, before anything moved.
    stat: Stat,
    /// Whether it is in the directory of changes.
    is_brought: bool,
}

/// What became of a name.
enum Step {
    Gone(Vec<u8>),
    New(Vec<u8>, Stat),
    Kept(u32, Vec<u8>, Stat),
}

impl<'a> Changes<'a> {
    /// Of the tree at `tree`, which was as `before` says and as the snapshots below are, to be moved to `upper`.
    pub(super) fn of(tree: &Path, before: &'a Table, below: Merged, upper: &Path) -> Changes<'a> {
        Changes {
            before,
            below,
            tree: tree.to_owned(),
            upper: upper.to_owned(),
            path: PathBuf::new(),
            links: HashMap::new(),
        }
    }

    /// Moves all of them. What was in the directory of changes before goes.
    pub(super) fn move_all(mut self) -> Result<(), Error> {
        for (name, _) in list(&self.upper)? {
            let path = self.upper.join(OsStr::from_bytes(&name));
            remove_tree(&path).map_err(failed("remove", &path))?;
        }
        let stat = rustix::fs::lstat(&self.tree).map_err(failed("read", &self.tree))?;
        let mut levels = vec![Level {
            is_brought: true,
            ..self.level(self.before.root(), stat)?
        }];
        while let Some(level) = levels.last_mut() {
            let Some(step) = level.next(self.before) else {
                self.leave(&mut levels)?;
                continue;
            };
            let (Step::Gone(name) | Step::New(name, _) | Step::Kept(_, name, _)) = &step;
            self.enter(OsStr::from_bytes(name));
            let below = match step {
                Step::Gone(_) => {
                    self.bring(&mut levels)?;
                    mark_removed(CWD, &self.upper).map_err(failed("mark as removed", &self.upper))?;
                    None
                }
                Step::New(_, stat) => self.added(&mut levels, stat)?,
                Step::Kept(place, _, stat) => self.kept(&mut levels, self.before.entry(place), stat)?,
            };
            match below {
                Some((below, is_changed)) => {
                    levels.push(below);
                    if is_changed {
                        self.bring_all(&mut levels)?;
                    }
                }
                None => self.back(),
            }
        }
        Ok(())
    }

    fn level(&self, before: Children, stat: Stat) -> Result<Level, Error> {
        Ok(Level {
            before,
            now: list(&self.tree)?.into_iter().peekable(),
            stat,
            is_brought: false,
        })
    }

    fn enter(&mut self, name: &OsStr) {
        for path in [&mut self.tree, &mut self.upper, &mut self.path] {
            path.push(name);
        }
    }

    fn back(&mut self) {
        for path in [&mut self.tree, &mut self.upper, &mut self.path] {
            path.pop();
        }
    }

    /// Ends a directory: what went into its copy has changed its time.
    fn leave(&mut self, levels: &mut Vec<Level>) -> Result<(), Error> {
        if let Some(level) = levels.pop().filter(|level| level.is_brought) {
            dress_directory(&self.tree, &level.stat, &self.upper)?;
        }
        if !levels.is_empty() {
            self.back();
        }
        Ok(())
    }

    /// Something of a new name.
    fn added(&mut self, levels: &mut [Level], stat: Stat) -> Result<Option<(Level, bool)>, Error> {
        if is_directory(&stat) {
            return Ok(Some((self.level(Children::default(), stat)?, true)));
        }
        self.put(levels, &stat).map(|()| None)
    }

    /// Something of a name that was there before.
    fn kept(&mut self, levels: &mut [Level], before: &Entry, stat: Stat) -> Result<Option<(Level, bool)>, Error> {
        let is_changed = match before.change(&stat) {
            Change::None => false,
            Change::Unclear => !self.is_as_below(&stat)?,
            Change::Certain => true,
        };
        if is_directory(&stat) {
            return Ok(Some((self.level(before.children, stat)?, is_changed)));
        }
        match is_changed {
            true => self.put(levels, &stat).map(|()| None),
            false => Ok(None),
        }
    }

    /// Puts what is here into the directory of changes.
    fn put(&mut self, levels: &mut [Level], stat: &Stat) -> Result<(), Error> {
        self.bring(levels)?;
        if stat.st_nlink < 2 {
            return std::fs::rename(&self.tree, &self.upper).map_err(failed("move", &self.tree));
        }
        if let Some(first) = self.links.get(&stat.st_ino) {
            let linked = rustix::fs::linkat(CWD, first, CWD, &self.upper, AtFlags::empty());
            return linked.map_err(failed("link", &self.upper));
        }
        copy(&self.tree, stat, &self.upper)?;
        self.links.insert(stat.st_ino, self.upper.clone());
        Ok(())
    }

    /// Sees to it that the directory of what is here is in the directory of changes.
    fn bring(&self, levels: &mut [Level]) -> Result<(), Error> {
        let parent = self.upper.parent().unwrap_or(&self.upper);
        bring(levels, parent)
    }

    /// The same, of the directory that is here.
    fn bring_all(&self, levels: &mut [Level]) -> Result<(), Error> {
        bring(levels, &self.upper)
    }

    /// Whether what is here is what the snapshots below have, as far as the table could not tell.
    fn is_as_below(&self, stat: &Stat) -> Result<bool, Error> {
        let (Shown::File(Found { path, stat: below }) | Shown::Directory(Found { path, stat: below }, _)) =
            self.below.descend(&self.path)?
        else {
            return Ok(false);
        };
        if stat.st_mode != below.st_mode || attributes(&self.tree)? != attributes(&path)? {
            return Ok(false);
        }
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Ok(stat.st_size == below.st_size && same_content(&self.tree, &path)?),
            FileType::Symlink => {
                let target = |path: &Path| rustix::fs::readlink(path, Vec::new()).map_err(failed("read", path));
                Ok(target(&self.tree)? == target(&path)?)
            }
            FileType::Directory => Ok(true),
            _ => Ok(stat.st_rdev == below.st_rdev),
        }
    }
}

/// Makes the directories on the way to `path`, the lowest of `levels`, that are not among the changes yet.
fn bring(levels: &mut [Level], path: &Path) -> Result<(), Error> {
    let missing = levels.iter().rev().take_while(|level| !level.is_brought).count();
    let mut paths: Vec<&Path> = path.ancestors().take(missing).collect();
    paths.reverse();
    let first = levels.len() - missing;
    for (level, path) in levels[first..].iter_mut().zip(paths) {
        rustix::fs::mkdirat(CWD, path, Mode::RWXU).map_err(failed("create", path))?;
        level.is_brought = true;
    }
    Ok(())
}

impl Level {
    /// What became of the next name, in the order of names.
    fn next(&mut self, table: &Table) -> Option<Step> {
        let before = (self.before.next < self.before.end).then(|| table.entry(self.before.next));
        let order = match (before, self.now.peek()) {
            (None, None) => return None,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(before), Some((name, _))) => table.name(before).cmp(name),
        };
        let place = self.before.next;
        if order != Ordering::Greater {
            self.before.next += 1;
        }
        if order == Ordering::Less {
            return before.map(|before| Step::Gone(table.name(before).to_vec()));
        }
        let (name, stat) = self.now.next()?;
        let was = before.filter(|before| order == Ordering::Equal && before.is_directory() == is_directory(&stat));
        Some(match was {
            Some(_) => Step::Kept(place, name, stat),
            None => Step::New(name, stat),
        })
    }
}
