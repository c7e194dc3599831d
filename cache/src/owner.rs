//! Whose a file is, also where the file system cannot keep it.
//!
//! In a user namespace with a single id all files are ours, and cannot be given away. What their owners should be is
//! recorded then: of files and directories in the attribute `user.rbuild.owner` (`1000:1000`), which overlays copy up
//! with the file; of links and pipes, which the kernel lets have no attributes, in the index, by path. What has no record
//! is root's, so what a step makes is, and a link or pipe that a step changes becomes it.
//!
//! A step that copies a file with its attributes (`mv`, `cp -a`) copies the record, as it would have copied the owner.
//!
//! A process of a step sees all files as root's. Trees that steps made there are therefore not those that they would have
//! made with more ids, and a store with records has a home of its own, beside the other.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::{Transaction, params};
use rustix::fs::{AtFlags, FileType, Gid, Stat, Uid, XattrFlags};
use rustix::io::Errno;

use crate::error::index_failed;
use crate::overlay::{Merged, Shown};
use crate::{Error, Snapshot, SnapshotId, Store};

const ATTRIBUTE: &str = "user.rbuild.owner";
/// More links and pipes of others than root no step makes: their paths are kept in mind until it ends.
const MOST_SPECIAL: usize = 1 << 18;
/// Two numbers of ten digits and a colon.
const LONGEST: usize = 21;

/// The table of links and pipes. It is made when a store with records is opened, and others know nothing of it.
pub(crate) const TABLE: &str = "
CREATE TABLE IF NOT EXISTS owners (
    snapshot TEXT NOT NULL, path BLOB NOT NULL, uid INTEGER NOT NULL, gid INTEGER NOT NULL,
    PRIMARY KEY (snapshot, path)
) WITHOUT ROWID;
CREATE TRIGGER IF NOT EXISTS owners_go AFTER DELETE ON snapshots BEGIN
    DELETE FROM owners WHERE snapshot = old.id;
END;
";

/// Who keeps the owners of a store's files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ownership {
    /// The file system.
    #[default]
    Kept,
    /// Records: the files are all ours.
    Recorded,
}

/// A user's and a group's number.
pub type Owner = (u32, u32);

/// The owners of one tree's files. Clones share what is recorded.
#[derive(Clone, Debug, Default)]
pub struct Owners {
    records: Option<Arc<Records>>,
    /// The folder of the tree that paths begin at, with a slash behind; empty is the tree's root.
    folder: Vec<u8>,
}

#[derive(Debug, Default)]
struct Records {
    /// Of what can have no attributes, by path.
    special: Mutex<BTreeMap<Vec<u8>, Owner>>,
    /// The tree that the files are of, or that they are changes to.
    tree: Option<Snapshot>,
}

impl Owners {
    /// Of the changes to `tree`, or of the tree itself where nothing is changed.
    pub(crate) fn of(ownership: Ownership, tree: Option<&Snapshot>) -> Owners {
        let records = || Records {
            tree: tree.filter(|tree| tree.has_special_owners()).cloned(),
            ..Records::default()
        };
        Owners {
            records: (ownership == Ownership::Recorded).then(|| Arc::new(records())),
            folder: Vec::new(),
        }
    }

    /// Of a directory of changes whose special entries are these.
    pub(crate) fn known(special: BTreeMap<Vec<u8>, Owner>) -> Owners {
        let records = Records {
            special: Mutex::new(special),
            tree: None,
        };
        Owners {
            records: Some(Arc::new(records)),
            folder: Vec::new(),
        }
    }

    /// The same, of the changes alone: what is below has its own.
    pub(crate) fn of_these_alone(&self) -> Owners {
        match &self.records {
            Some(records) => {
                let mut special = records.lock().clone();
                special.retain(|_, owner| *owner != (0, 0));
                Owners::known(special)
            }
            None => Owners::default(),
        }
    }

    /// Whether a file is given away by giving it away.
    #[must_use]
    pub fn are_kept(&self) -> bool {
        self.records.is_none()
    }

    /// Of the files below the directory `path`, as of a tree of its own.
    #[must_use]
    pub fn below(&self, path: &[u8]) -> Owners {
        if self.are_kept() {
            return Owners::default();
        }
        let mut folder = self.path(path);
        if !folder.is_empty() {
            folder.push(b'/');
        }
        Owners {
            records: self.records.clone(),
            folder,
        }
    }

    /// The recorded owner of `path`, which lies at `place` and is of this kind. Without one the file system's counts.
    ///
    /// # Errors
    /// If the record cannot be read.
    pub fn recorded(&self, place: &Path, path: &[u8], kind: FileType) -> Result<Option<Owner>, Errno> {
        match &self.records {
            None => Ok(None),
            Some(_) if has_attributes(kind) => attribute(place),
            Some(records) => Ok(records.special(&self.path(path))),
        }
    }

    /// Puts the owner into what the file system says of `path`, which lies at `place`.
    ///
    /// # Errors
    /// If the record cannot be read.
    pub fn tell(&self, place: &Path, path: &[u8], stat: &mut Stat) -> Result<(), Errno> {
        if let Some((user, group)) = self.recorded(place, path, FileType::from_raw_mode(stat.st_mode))? {
            (stat.st_uid, stat.st_gid) = (user, group);
        }
        Ok(())
    }

    /// As [`tell`](Owners::tell), of the entry `name` in an open folder.
    ///
    /// # Errors
    /// If the record cannot be read.
    pub fn tell_at(&self, folder: BorrowedFd<'_>, name: &[u8], path: &[u8], stat: &mut Stat) -> Result<(), Errno> {
        match self.are_kept() {
            true => Ok(()),
            false => self.tell(&place(folder, name), path, stat),
        }
    }

    /// Gives `path`, which is `name` in an open folder, to somebody. No link is followed.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn give(&self, folder: BorrowedFd<'_>, name: &[u8], path: &[u8], (user, group): Owner) -> Result<(), Errno> {
        let Some(records) = &self.records else {
            let (user, group) = (Some(Uid::from_raw(user)), Some(Gid::from_raw(group)));
            return rustix::fs::chownat(folder, or_dot(name), user, group, AtFlags::SYMLINK_NOFOLLOW);
        };
        let stat = rustix::fs::statat(folder, or_dot(name), AtFlags::SYMLINK_NOFOLLOW)?;
        if !has_attributes(FileType::from_raw_mode(stat.st_mode)) {
            return records.note(self.path(path), (user, group));
        }
        let place = place(folder, name);
        match text((user, group)) {
            Some(text) => rustix::fs::lsetxattr(&place, ATTRIBUTE, text.as_bytes(), XattrFlags::empty()),
            None => nothing_there(rustix::fs::lremovexattr(&place, ATTRIBUTE)),
        }
    }

    /// Gives an open file or directory to somebody.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn give_open(&self, file: impl AsFd, (user, group): Owner) -> Result<(), Errno> {
        if self.are_kept() {
            return rustix::fs::fchown(file, Some(Uid::from_raw(user)), Some(Gid::from_raw(group)));
        }
        match text((user, group)) {
            Some(text) => rustix::fs::fsetxattr(file, ATTRIBUTE, text.as_bytes(), XattrFlags::empty()),
            None => nothing_there(rustix::fs::fremovexattr(file, ATTRIBUTE)),
        }
    }

    /// Notes that `path` is another name of the link or pipe at `first`.
    pub(crate) fn name_again(&self, first: &[u8], path: &[u8]) -> Result<(), Errno> {
        let Some(records) = &self.records else { return Ok(()) };
        let owner = records.lock().get(&self.path(first)).copied();
        records.note(self.path(path), owner.unwrap_or_default())
    }

    /// Puts what is recorded beside the files into the index, for the snapshot `id`.
    pub(crate) fn record(&self, transaction: &Transaction<'_>, id: SnapshotId) -> rusqlite::Result<()> {
        let Some(records) = &self.records else { return Ok(()) };
        let mut statement = transaction
            .prepare_cached("INSERT OR REPLACE INTO owners (snapshot, path, uid, gid) VALUES (?1, ?2, ?3, ?4)")?;
        for (path, (user, group)) in &*records.lock() {
            statement.execute(params![id.to_string(), path, user, group])?;
        }
        Ok(())
    }

    /// Whether there are owners of what can have no attributes.
    pub(crate) fn has_special(&self) -> bool {
        self.records.as_ref().is_some_and(|records| !records.lock().is_empty())
    }

    fn path(&self, path: &[u8]) -> Vec<u8> {
        let path = path.strip_suffix(b"/").unwrap_or(path);
        [&self.folder, path].concat()
    }
}

impl Records {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Vec<u8>, Owner>> {
        self.special.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, path: Vec<u8>, owner: Owner) -> Result<(), Errno> {
        let mut special = self.lock();
        // An entry that replaces one of the tree is root's by a record; elsewhere by having none.
        if owner == (0, 0) && self.tree.is_none() {
            special.remove(&path);
            return Ok(());
        }
        if special.len() >= MOST_SPECIAL {
            return Err(Errno::TOOBIG);
        }
        special.insert(path, owner);
        Ok(())
    }

    fn special(&self, path: &[u8]) -> Option<Owner> {
        if let Some(owner) = self.lock().get(path) {
            return Some(*owner);
        }
        let below = Merged::root(Some(self.tree.as_ref()?));
        match below.descend(Path::new(OsStr::from_bytes(path))) {
            Ok(Shown::File(found)) => Some((found.stat.st_uid, found.stat.st_gid)),
            _ => None,
        }
    }
}

impl Store {
    /// The owners recorded with a snapshot.
    pub(crate) fn recorded_owners(&self, id: SnapshotId) -> Result<Owners, Error> {
        if self.ownership() == Ownership::Kept {
            return Ok(Owners::default());
        }
        let list = || {
            let connection = self.index().read();
            let mut statement = connection.prepare_cached("SELECT path, uid, gid FROM owners WHERE snapshot = ?1")?;
            let rows = statement.query_map(params![id.to_string()], |row| {
                Ok((row.get(0)?, (row.get(1)?, row.get(2)?)))
            })?;
            rows.collect::<rusqlite::Result<BTreeMap<Vec<u8>, Owner>>>()
        };
        list().map(Owners::known).map_err(index_failed("look for owners"))
    }

    /// The owners of files in a folder of the store that is no snapshot.
    #[must_use]
    pub fn owners_of_folder(&self) -> Owners {
        Owners::of(self.ownership(), None)
    }
}

/// The kernel lets nothing else have attributes for users.
fn has_attributes(kind: FileType) -> bool {
    matches!(kind, FileType::RegularFile | FileType::Directory)
}

/// The owner that the file or directory at `place` should have. What is no record, a step has written there.
fn attribute(place: &Path) -> Result<Option<Owner>, Errno> {
    let mut value = [0; LONGEST];
    match rustix::fs::lgetxattr(place, ATTRIBUTE, &mut value) {
        Ok(length) => Ok(owner(&value[..length])),
        Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::RANGE) => Ok(None),
        Err(error) => Err(error),
    }
}

fn owner(record: &[u8]) -> Option<Owner> {
    let (user, group) = std::str::from_utf8(record).ok()?.split_once(':')?;
    let number = |text: &str| text.parse().ok().filter(|number| *number != u32::MAX);
    Some((number(user)?, number(group)?))
}

/// The record of an owner; root needs none.
fn text((user, group): Owner) -> Option<String> {
    ((user, group) != (0, 0)).then(|| format!("{user}:{group}"))
}

fn nothing_there(outcome: Result<(), Errno>) -> Result<(), Errno> {
    match outcome {
        Err(Errno::NODATA) => Ok(()),
        outcome => outcome,
    }
}

/// A name in an open folder, for calls that only know paths.
pub(crate) fn place(folder: BorrowedFd<'_>, name: &[u8]) -> PathBuf {
    let mut place = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd()));
    place.push(OsStr::from_bytes(or_dot(name)));
    place
}

fn or_dot(name: &[u8]) -> &[u8] {
    if name.is_empty() { b"." } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_two_numbers() {
        assert_eq!(owner(b"1000:42"), Some((1000, 42)));
        assert_eq!(text((1000, 42)).as_deref(), Some("1000:42"));
        assert_eq!(text((0, 0)), None);
        for nonsense in [&b""[..], b"1", b"a:b", b"1:4294967295", b"1:2:3", b"\xff:1"] {
            assert_eq!(owner(nonsense), None, "{nonsense:?}");
        }
    }

    /// Whoever may write a `user` attribute can record owners: no namespace is needed for that.
    #[test]
    fn what_is_recorded_is_told_from_snapshot_to_snapshot() {
        let root = tempfile::tempdir().unwrap();
        let open = || Store::open_with(root.path(), Ownership::Recorded).unwrap();
        let store = open();
        let active = store.prepare(None).unwrap();
        let upper = std::fs::File::open(active.upper()).unwrap();
        std::fs::write(active.upper().join("f"), "").unwrap();
        for (name, owner) in [("l", (7, 8)), ("roots", (0, 0))] {
            std::os::unix::fs::symlink("f", active.upper().join(name)).unwrap();
            active
                .owners()
                .give(upper.as_fd(), name.as_bytes(), name.as_bytes(), owner)
                .unwrap();
        }
        let given = active.owners().give(upper.as_fd(), b"f", b"f", (1000, 1000));
        if given == Err(Errno::OPNOTSUPP) {
            eprintln!("skipped: needs a file system with `user` attributes");
            return;
        }
        given.unwrap();
        let id = active.commit().unwrap().id();
        drop(store);

        let store = open();
        let snapshot = store.snapshot(&id).unwrap().unwrap();
        let told = |name: &str| {
            let path = snapshot.directory().join(name);
            let mut stat = rustix::fs::lstat(&path).unwrap();
            snapshot.tell_owner(&path, &mut stat).unwrap();
            (stat.st_uid, stat.st_gid)
        };
        let ours = rustix::process::geteuid().as_raw();
        assert_eq!((told("f"), told("l"), told("roots").0), ((1000, 1000), (7, 8), ours));
        let above = store.prepare(Some(&snapshot)).unwrap().commit().unwrap();
        let tree = Owners::of(Ownership::Recorded, Some(&above));
        let place = snapshot.directory().join("l");
        assert_eq!(tree.recorded(&place, b"l", FileType::Symlink).unwrap(), Some((7, 8)));
        // Gone with the snapshot.
        let count = |store: &Store| -> i64 {
            let connection = store.index().read();
            connection
                .query_row("SELECT count(*) FROM owners", [], |row| row.get(0))
                .unwrap()
        };
        assert_eq!(count(&store), 1);
        drop((snapshot, above));
        let delete = |transaction: &Transaction<'_>| crate::gc::delete_snapshot(transaction, &id.to_string());
        store.index().write("test", delete).unwrap();
        assert_eq!(count(&store), 0);
        assert!(!Store::open(root.path()).unwrap().path("").starts_with(store.path("")));
    }

    #[test]
    fn paths_of_a_folder_are_paths_of_its_tree() {
        let owners = Owners::of(Ownership::Recorded, None);
        let below = owners.below(b"a").below(b"b");
        assert_eq!(
            (below.path(b"c/"), owners.below(b"").path(b"c")),
            (b"a/b/c".to_vec(), b"c".to_vec())
        );
    }
}
