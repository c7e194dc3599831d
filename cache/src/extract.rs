//! Writing the entries of a layer into a directory, from which nothing escapes.
//!
//! The directory is in the form of an overlay's upper directory. Every parent directory is opened by `openat2` with
//! `RESOLVE_IN_ROOT`: the kernel itself takes the directory as the root of `..`, of absolute names and of symbolic
//! links the archive brought along. The last component of a name is never followed.
//!
//! Only what is in this layer counts here, so layers can be unpacked side by side. What needs the layers below is
//! noted: directories the archive does not mention take after the ones below, and hard links may lead there.
//!
//! In a user namespace device nodes are left out, as the kernel allows none; an owner the namespace does not map stays
//! the one who unpacks. Where there is a single owner, the others are recorded (see `owner.rs`).

mod inode;
mod links;

use std::collections::BTreeSet;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::BufRead;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use self::inode::{PERMISSIONS, copy_up, create, dress, make_node, own_at, write_file};
use crate::Owners;
use crate::overlay::{is_whiteout, make_opaque, mark_removed, timestamps};
use crate::owner::place;
use crate::tar_reader::{Entry, Kind, TarError, TarReader};

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
const OTHER_MARKS: &[u8] = b".wh..wh.";
/// How many bytes of names one layer may ask us to keep in mind; a million directories take some hundred.
const MOST_NOTED: usize = if cfg!(test) { 1 << 20 } else { 192 << 20 };
/// What a name takes beside its own bytes.
const NOTE: usize = 48;

/// Why an entry could not be written.
#[derive(Debug)]
pub(crate) enum Refused {
    /// The archive could not be read.
    Archive(TarError),
    /// The entry asks for something impossible.
    Entry(String),
    /// The entry could not be written.
    Step {
        /// What was being done.
        action: &'static str,
        /// Why not.
        source: std::io::Error,
    },
}

impl From<TarError> for Refused {
    fn from(error: TarError) -> Refused {
        Refused::Archive(error)
    }
}

/// A failed step, by what it was.
fn step<E: Into<std::io::Error>>(action: &'static str) -> impl FnOnce(E) -> Refused {
    move |error| Refused::Step {
        action,
        source: error.into(),
    }
}

/// A directory that entries are being written into.
#[derive(Debug)]
pub(crate) struct Extraction {
    root: OwnedFd,
    /// Who the files belong to, and who keeps that.
    pub(crate) owners: Owners,
    /// The parent of the last entry, as entries come directory by directory.
    parent: Option<(Vec<u8>, Arc<OwnedFd>)>,
    /// Times of directories, set when nothing is written into them any more.
    times: Vec<(Vec<u8>, (i64, i64))>,
    /// Directories that were made because something is in them.
    pub(crate) implied: BTreeSet<Vec<u8>>,
    /// Hard links to what this layer does not have: name and target.
    pub(crate) links_below: Vec<(Vec<u8>, Vec<u8>)>,
    /// Names marked as removed.
    pub(crate) removed: Vec<Vec<u8>>,
    /// The newest time of an entry.
    pub(crate) newest: i64,
    /// How much is kept in mind.
    noted: usize,
}

impl Extraction {
    /// An extraction into the empty directory `path`.
    pub(crate) fn into(path: &Path, owners: Owners) -> std::io::Result<Extraction> {
        Ok(Extraction {
            root: File::open(path)?.into(),
            owners,
            parent: None,
            times: Vec::new(),
            implied: BTreeSet::from([Vec::new()]),
            links_below: Vec::new(),
            removed: Vec::new(),
            newest: 0,
            noted: 0,
        })
    }

    /// Writes one entry, reading its content from `archive`.
    pub(crate) fn write<R: BufRead>(&mut self, entry: &Entry, archive: &mut TarReader<R>) -> Result<(), Refused> {
        let path = clean(&entry.path);
        let Some((parent, name)) = split(&path) else {
            return self.write_root(entry);
        };
        if name.starts_with(WHITEOUT) {
            return self.write_mark(parent, name);
        }
        let name = text(name)?;
        let directory = self.open_parent(parent)?;
        if entry.kind == Kind::HardLink {
            return self.write_link(&path, &directory, &name, &clean(&entry.link));
        }
        self.newest = self.newest.max(entry.time.0);
        match entry.kind {
            Kind::Directory => return self.write_directory(path, &directory, &name, entry),
            Kind::Symlink => {
                let target = text(&entry.link)?;
                let make = || rustix::fs::symlinkat(&target, &directory, &name);
                self.in_place(&directory, &name, make)?
                    .map_err(step("make the symbolic link"))?;
            }
            Kind::File => {
                let mode = Mode::from_raw_mode(entry.mode & PERMISSIONS);
                let file = self.in_place(&directory, &name, || create(&directory, &name, mode))?;
                return write_file(file.map_err(step("create the file"))?, entry, archive, &self.owners);
            }
            Kind::CharacterDevice | Kind::BlockDevice | Kind::Fifo => {
                self.clear(&directory, &name)?;
                if !make_node(&directory, &name, entry)? {
                    return Ok(());
                }
            }
            Kind::HardLink => {}
        }
        own_at((&*directory, &*name), &path, entry, &self.owners)?;
        if entry.kind != Kind::Symlink {
            let mode = Mode::from_raw_mode(entry.mode);
            rustix::fs::chmodat(&directory, &name, mode, AtFlags::empty()).map_err(step("set the mode"))?;
        }
        let times = timestamps(entry.time.0, entry.time.1);
        rustix::fs::utimensat(&directory, &name, &times, AtFlags::SYMLINK_NOFOLLOW).map_err(step("set the time"))
    }

    /// Sets the times of directories; the last thing to do.
    pub(crate) fn set_directory_times(&mut self) -> Result<(), Refused> {
        self.parent = None;
        for (path, (seconds, nanoseconds)) in std::mem::take(&mut self.times) {
            let times = timestamps(seconds, nanoseconds);
            let Some((parent, name)) = split(&path) else {
                rustix::fs::futimens(&self.root, &times).map_err(step("set the time"))?;
                continue;
            };
            // A later entry may have put something else in the place of the directory or of one above it.
            let Ok(parent) = self.open(parent, OFlags::PATH | OFlags::DIRECTORY) else {
                continue;
            };
            let name = text(name)?;
            if stat(&parent, &name)?.is_some_and(|stat| is_directory(&stat)) {
                rustix::fs::utimensat(&parent, &name, &times, AtFlags::SYMLINK_NOFOLLOW)
                    .map_err(step("set the time"))?;
            }
        }
        Ok(())
    }

    /// Opens the directory `path` of this layer for changing its metadata, if there is one.
    pub(crate) fn directory(&self, path: &[u8]) -> Option<OwnedFd> {
        self.open(path, OFlags::RDONLY | OFlags::DIRECTORY).ok()
    }

    /// Takes back the mark that `path` is removed.
    pub(crate) fn unmark(&mut self, path: &[u8]) -> Result<(), Refused> {
        let Some((parent, name)) = split(path) else {
            return Ok(());
        };
        let Ok(parent) = self.open(parent, OFlags::PATH | OFlags::DIRECTORY) else {
            return Ok(());
        };
        let name = text(name)?;
        if is_marked(&parent, &name, stat(&parent, &name)?)? {
            rustix::fs::unlinkat(&parent, &name, AtFlags::empty()).map_err(step("take back a removal"))?;
        }
        Ok(())
    }

    /// Puts a copy of the file or symbolic link `from` at `path` unless there is something, and a hard link to it at
    /// `name`.
    pub(crate) fn link_copy(&mut self, name: &[u8], path: &[u8], from: &Path, below: &Stat) -> Result<(), Refused> {
        let (target_parent, target_name) =
            split(path).ok_or_else(|| Refused::Entry("it links to the root".to_owned()))?;
        let target_name = text(target_name)?;
        let directory = self.open_parent(target_parent)?;
        if stat(&directory, &target_name)?.is_none() {
            copy_up(from, below, (&*directory, &*target_name), path, &self.owners)?;
        }
        let (first, again) = (path, name);
        let (parent, name) = split(name).ok_or_else(|| Refused::Entry("the root is no link".to_owned()))?;
        let name = text(name)?;
        let parent = self.open_parent(parent)?;
        self.clear(&parent, &name)?;
        rustix::fs::linkat(&directory, &target_name, &parent, &name, AtFlags::empty())
            .map_err(step("make the hard link"))?;
        self.owners.name_again(first, again).map_err(step("note the owner"))
    }

    /// The archive's entry for the root itself.
    fn write_root(&mut self, entry: &Entry) -> Result<(), Refused> {
        if entry.kind != Kind::Directory {
            return Err(Refused::Entry("it would replace the root directory".to_owned()));
        }
        dress(&self.root, entry, &self.owners)?;
        self.implied.remove(&Vec::new());
        self.times.push((Vec::new(), entry.time));
        Ok(())
    }

    /// An entry that says what is removed.
    fn write_mark(&mut self, parent: &[u8], name: &[u8]) -> Result<(), Refused> {
        if name == OPAQUE {
            let path = parent.to_vec();
            self.open_parent(&path)?;
            let directory = self
                .open(&path, OFlags::RDONLY | OFlags::DIRECTORY)
                .map_err(step("open the directory"))?;
            return mark_opaque(&directory);
        }
        let removed = &name[WHITEOUT.len()..];
        if name.starts_with(OTHER_MARKS) {
            // Book-keeping of old storage drivers.
            return Ok(());
        }
        if removed.is_empty() || removed == b"." || removed == b".." {
            return Err(Refused::Entry("it removes nothing that has a name".to_owned()));
        }
        let removed = text(removed)?;
        let directory = self.open_parent(parent)?;
        match stat(&directory, &removed)? {
            None => {
                let path = clean(&[parent, b"/", removed.to_bytes()].concat());
                self.note(path.len())?;
                self.removed.push(path);
                mark_removed(&*directory, &*removed).map_err(step("mark the name as removed"))
            }
            // The mark is about the layers below, not about what this layer brings.
            Some(there) if is_directory(&there) => mark_opaque(&open_child(&directory, &removed)?),
            Some(_) => Ok(()),
        }
    }

    fn write_directory(&mut self, path: Vec<u8>, parent: &OwnedFd, name: &CStr, entry: &Entry) -> Result<(), Refused> {
        let mode = Mode::from_raw_mode(entry.mode & PERMISSIONS) | Mode::RWXU;
        let removed = match rustix::fs::mkdirat(parent, name, mode) {
            Ok(()) => false,
            Err(Errno::EXIST) => {
                let there = stat(parent, name)?;
                let is_marked = is_marked(parent, name, there)?;
                if !there.is_some_and(|there| is_directory(&there)) {
                    self.clear(parent, name)?;
                    rustix::fs::mkdirat(parent, name, mode).map_err(step("make the directory"))?;
                }
                is_marked
            }
            Err(error) => return Err(step("make the directory")(error)),
        };
        let directory = open_child(parent, name)?;
        if removed {
            mark_opaque(&directory)?;
        }
        dress(&directory, entry, &self.owners)?;
        self.implied.remove(&path);
        self.note(path.len())?;
        self.times.push((path, entry.time));
        Ok(())
    }

    fn write_link(&mut self, path: &[u8], directory: &OwnedFd, name: &CStr, target: &[u8]) -> Result<(), Refused> {
        let (target_parent, target_name) =
            split(target).ok_or_else(|| Refused::Entry("it links to the root directory".to_owned()))?;
        let target_name = text(target_name)?;
        let there = match self.open(target_parent, OFlags::PATH | OFlags::DIRECTORY) {
            Ok(target_parent) => stat(&target_parent, &target_name)?.map(|stat| (target_parent, stat)),
            Err(Errno::NOENT | Errno::NOTDIR) => None,
            Err(error) => return Err(step("open the link's target")(error)),
        };
        let (target_parent, there) = match there {
            Some((parent, there)) if !is_marked(&parent, &target_name, Some(there))? => (parent, there),
            _ => {
                self.note(path.len() + target.len())?;
                self.links_below.push((path.to_vec(), target.to_vec()));
                return Ok(());
            }
        };
        if is_directory(&there) {
            return Err(Refused::Entry("it is a hard link to a directory".to_owned()));
        }
        let here = stat(directory, name)?;
        if here.is_some_and(|here| (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)) {
            return Ok(());
        }
        self.clear(directory, name)?;
        rustix::fs::linkat(&target_parent, &target_name, directory, name, AtFlags::empty())
            .map_err(step("make the hard link"))?;
        self.owners.name_again(target, path).map_err(step("note the owner"))
    }

    /// Makes something at `name`, in the place of what an earlier entry put there: hardly ever anything.
    fn in_place<T>(
        &mut self,
        parent: &OwnedFd,
        name: &CStr,
        make: impl Fn() -> Result<T, Errno>,
    ) -> Result<Result<T, Errno>, Refused> {
        match make() {
            Err(Errno::EXIST) => {
                self.clear(parent, name)?;
                Ok(make())
            }
            made => Ok(made),
        }
    }

    /// Takes away what an earlier entry put at `name`.
    fn clear(&mut self, parent: &OwnedFd, name: &CStr) -> Result<(), Refused> {
        match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(_) => {
                self.parent = None;
                crate::remove::remove_at(parent.as_fd(), name).map_err(step("replace an earlier entry"))
            }
        }
    }

    /// Opens the directory `path` of this layer, making what is missing of it.
    fn open_parent(&mut self, path: &[u8]) -> Result<Arc<OwnedFd>, Refused> {
        if let Some((open, directory)) = &self.parent
            && open == path
        {
            return Ok(Arc::clone(directory));
        }
        let directory = match self.open(path, OFlags::PATH | OFlags::DIRECTORY) {
            Err(Errno::NOENT | Errno::NOTDIR) => self.make_parents(path)?,
            outcome => outcome.map_err(step("open its directory"))?,
        };
        let directory = Arc::new(directory);
        self.parent = Some((path.to_vec(), Arc::clone(&directory)));
        Ok(directory)
    }

    fn make_parents(&mut self, path: &[u8]) -> Result<OwnedFd, Refused> {
        let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        let ends: Vec<usize> = slashes.map(|(at, _)| at).chain([path.len()]).collect();
        let (there, mut directory) = self.longest_there(path, &ends)?;
        let first_missing = path[..ends[there]]
            .rsplit(|byte| *byte == b'/')
            .next()
            .unwrap_or_default();
        // Only a link, or what is no directory, is not made in the directory that is there.
        if stat(&directory, &text(first_missing)?)?.is_some() {
            return self.make_through_links(path);
        }
        for (before, end) in (there..).zip(&ends[there..]) {
            let start = if before == 0 { 0 } else { ends[before - 1] + 1 };
            directory = make_parent(&directory, &text(&path[start..*end])?)?;
            let here = path[..*end].to_vec();
            self.note(2 * here.len())?;
            self.implied.insert(here.clone());
            self.times.push((here, (0, 0)));
        }
        Ok(directory)
    }

    /// How much of `path` is there, in directories, and the last of them. A name may have two thousand parts: it is not
    /// gone down once for each, but halved.
    fn longest_there(&self, path: &[u8], ends: &[usize]) -> Result<(usize, OwnedFd), Refused> {
        let mut directory = self.root.try_clone().map_err(step("open the root"))?;
        let (mut there, mut missing) = (0, ends.len());
        while there + 1 < missing {
            let middle = usize::midpoint(there, missing);
            match self.open(&path[..ends[middle - 1]], OFlags::PATH | OFlags::DIRECTORY) {
                Ok(found) => (there, directory) = (middle, found),
                Err(Errno::NOENT | Errno::NOTDIR) => missing = middle,
                Err(error) => return Err(step("open its directory")(error)),
            }
        }
        Ok((there, directory))
    }

    /// Counts what has to be kept in mind until all layers are there, and refuses too much of it.
    fn note(&mut self, bytes: usize) -> Result<(), Refused> {
        self.noted = self.noted.saturating_add(bytes + NOTE);
        match self.noted > MOST_NOTED {
            false => Ok(()),
            true => Err(Refused::Entry(format!(
                "the names of the layer's directories, removals and links have more than {} MiB",
                MOST_NOTED >> 20
            ))),
        }
    }

    /// Opens `path` as if this layer's directory were the root of the world.
    fn open(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        let path = if path.is_empty() { b".".as_slice() } else { path };
        rustix::fs::openat2(
            &self.root,
            path,
            flags | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV,
        )
    }
}

/// `path` without empty components, `.` and `..`, as seen from a root that has nothing above it.
pub(crate) fn clean(path: &[u8]) -> Vec<u8> {
    let mut kept: Vec<&[u8]> = Vec::new();
    for component in path.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => drop(kept.pop()),
            name => kept.push(name),
        }
    }
    kept.join(&b'/')
}

/// The parent and the last component of a clean path; `None` for the root.
fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if path.is_empty() {
        return None;
    }
    let slash = path.iter().rposition(|byte| *byte == b'/');
    Some(slash.map_or((&[][..], path), |slash| (&path[..slash], &path[slash + 1..])))
}

fn text(bytes: &[u8]) -> Result<CString, Refused> {
    CString::new(bytes).map_err(|_| Refused::Entry("its name holds a zero byte".to_owned()))
}

fn stat(parent: &OwnedFd, name: &CStr) -> Result<Option<Stat>, Refused> {
    match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(step("look at what is there")(error)),
    }
}

fn is_directory(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

/// Whether what is there under a name marks it as removed.
fn is_marked(parent: &OwnedFd, name: &CStr, there: Option<Stat>) -> Result<bool, Refused> {
    let refused = |error| Refused::Entry(format!("cannot look at an earlier entry: {error}"));
    match there {
        Some(there) => is_whiteout(&place(parent.as_fd(), name.to_bytes()), &there).map_err(refused),
        None => Ok(false),
    }
}

fn open_child(parent: &OwnedFd, name: &CStr) -> Result<OwnedFd, Refused> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty()).map_err(step("open the directory"))
}

/// Makes a directory that no entry describes; over a removed name one that hides what is below.
fn make_parent(parent: &OwnedFd, name: &CStr) -> Result<OwnedFd, Refused> {
    let removed = is_marked(parent, name, stat(parent, name)?)?;
    if removed {
        rustix::fs::unlinkat(parent, name, AtFlags::empty()).map_err(step("make its directory"))?;
    }
    rustix::fs::mkdirat(parent, name, Mode::RWXU).map_err(step("make its directory"))?;
    let made = open_child(parent, name)?;
    rustix::fs::fchmod(&made, Mode::from_raw_mode(0o755)).map_err(step("make its directory"))?;
    if removed {
        mark_opaque(&made)?;
    }
    Ok(made)
}

fn mark_opaque(directory: &OwnedFd) -> Result<(), Refused> {
    make_opaque(directory).map_err(step("mark the directory as opaque"))
}

/// The path of a name as an archive has it, for looking below.
pub(crate) fn as_path(name: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    PathBuf::from(std::ffi::OsStr::from_bytes(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of an archive of so many empty files, each with a name of its own.
    fn extracted(count: usize, name: impl Fn(usize) -> String) -> Result<(), Refused> {
        let mut archive = tar::Builder::new(Vec::new());
        for number in 0..count {
            let mut header = tar::Header::new_gnu();
            header.set_size(0);
            header.set_mode(0o644);
            archive
                .append_data(&mut header, name(number), std::io::empty())
                .unwrap();
        }
        let bytes = archive.into_inner().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut files = Extraction::into(folder.path(), Owners::default()).unwrap();
        let mut reader = TarReader::new(bytes.as_slice());
        while let Some(entry) = reader.next()? {
            files.write(&entry, &mut reader)?;
        }
        Ok(())
    }

    #[test]
    fn names_are_not_kept_in_mind_without_end() {
        let deep = |number: usize| format!("{number}/{}f", "a/".repeat(500));
        let removed = |number: usize| format!("{}/.wh.{number}", "b".repeat(200));
        for outcome in [extracted(20, deep), extracted(10_000, removed)] {
            assert!(matches!(outcome, Err(Refused::Entry(why)) if why.contains("more than")));
        }
        extracted(20, |number| format!("a/{}{number}", "a/".repeat(500))).unwrap();
    }
}
