//! The store: one root directory, opened.
//!
//! Opening is on the path of every build, also of those that find everything done: it makes no table twice, lists two
//! short directories and takes two locks, one of them for a moment. Removing what dead processes left happens on a thread of its own.

use std::collections::HashMap;
use std::fs::{File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::SystemTime;

use oci::{Digest, Growing};
use rusqlite::{Connection, params};
use rustix::fs::IFlags;

use crate::copied::Copies;
use crate::error::{failed, index_failed};
use crate::gate::{Gate, Patience, Together};
use crate::index::Index;
use crate::layer::Form;
use crate::lease::{self, Hold, Lease};
use crate::mount_points::Missing;
use crate::owner::{self, Ownership};
use crate::remove::remove_tree;
use crate::remover::Remover;
use crate::space::Room;
use crate::spares::Spares;
use crate::{Error, Limits, Snapshot, SnapshotId, Views};

/// The last use is kept to this many seconds: a hit should not cost a write.
pub(crate) const LAST_USE_GRAIN: i64 = 600;

/// The store of one root directory. Clones share it.
#[derive(Clone, Debug)]
pub struct Store(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    root: PathBuf,
    home: PathBuf,
    ownership: Ownership,
    views: Views,
    index: Index,
    boot: String,
    lease: Lease,
    gate: Gate,
    /// Layers that threads of this process compress.
    growing: Mutex<HashMap<(SnapshotId, Form), Weak<Growing>>>,
    /// What trees lack, as far as it is known.
    missing: Mutex<HashMap<SnapshotId, Missing>>,
    /// Snapshots are asked for again and again, and never change.
    loaded: Mutex<HashMap<SnapshotId, Snapshot>>,
    limits: OnceLock<Limits>,
    room: Room,
    remover: Remover,
    spares: Spares,
    copies: Copies,
    /// Whether a process before us was killed.
    is_heir: AtomicBool,
}

impl Drop for Shared {
    fn drop(&mut self) {
        // Before the lease is given up, by whose name the next process would find what is left.
        self.spares.finish();
        let mut copies = self.copies.take_all().into_iter();
        let is_removing = copies.all(|path| self.remover.remove(path).is_ok());
        if !is_removing || !self.remover.finish() {
            self.lease.outlive();
        }
    }
}

impl Store {
    /// Opens the store in `root`, whose file system keeps the owners of files.
    ///
    /// # Errors
    /// As [`Store::open_with`].
    pub fn open(root: &Path) -> Result<Store, Error> {
        Store::open_with(root, Ownership::Kept)
    }

    /// Opens the store in `root`, which is made if it does not exist. Where owners are recorded it is
    /// another store than where they are kept, with other trees.
    ///
    /// # Errors
    /// If the directory cannot be written, or its index is not one of ours.
    pub fn open_with(root: &Path, ownership: Ownership) -> Result<Store, Error> {
        Store::open_viewing(root, ownership, Views::Mounted)
    }

    /// As [`Store::open_with`], with trees shown in the way that is wanted.
    ///
    /// # Errors
    /// As [`Store::open_with`]; [`Error::CopiesOfRecords`] if owners are recorded and trees are to be copied.
    pub fn open_viewing(root: &Path, ownership: Ownership, views: Views) -> Result<Store, Error> {
        if (ownership, views) == (Ownership::Recorded, Views::Copied) {
            return Err(Error::CopiesOfRecords(root.to_owned()));
        }
        let _span = trace::span("open store");
        std::fs::create_dir_all(root).map_err(failed("create", root))?;
        let root = root.canonicalize().map_err(failed("find", root))?;
        let home = root.join(home_of(ownership));
        for name in [
            "",
            "blobs",
            "blobs/sha256",
            "snapshots",
            "active",
            "tmp",
            "leases",
            "locks",
            "logs",
            "stat",
            "caches",
            "empty",
        ] {
            make_directory(&home.join(name))?;
        }
        keep_private(&home)?;
        spread_apart(&home.join("active"));
        // Whoever prunes after we have passed the gate finds the lease.
        let lease = Lease::take(&home.join("leases"))?;
        let store = Store(Arc::new(Shared {
            gate: Gate::open(&home.join("locks/gc"))?,
            index: Index::open(&home.join("index.db"))?,
            boot: boot_id(),
            lease,
            growing: Mutex::default(),
            missing: Mutex::default(),
            loaded: Mutex::default(),
            limits: OnceLock::new(),
            room: Room::default(),
            remover: Remover::default(),
            spares: Spares::default(),
            copies: Copies::default(),
            is_heir: AtomicBool::new(false),
            views,
            root,
            home,
            ownership,
        }));
        if ownership == Ownership::Recorded {
            let made = store.index().read().execute_batch(owner::TABLE);
            made.map_err(index_failed("make the table of owners"))?;
        }
        store.drop_lost_rows()?;
        store.sweep_behind_dead_processes()?;
        Ok(store)
    }

    /// The directory the store was opened in.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.0.root
    }

    /// Whether something was left here by a process that was killed. It may have left things elsewhere, too.
    #[must_use]
    pub fn is_heir(&self) -> bool {
        self.0.is_heir.load(Ordering::Relaxed)
    }

    /// The folder of the other store in the same root directory, if there is one: owners are recorded there where they
    /// are kept here, or the other way round.
    #[must_use]
    pub fn other_home(&self) -> Option<PathBuf> {
        let other = self.root().join(home_of(match self.ownership() {
            Ownership::Kept => Ownership::Recorded,
            Ownership::Recorded => Ownership::Kept,
        }));
        other.is_dir().then_some(other)
    }

    /// Who keeps the owners of its files.
    pub(crate) fn ownership(&self) -> Ownership {
        self.0.ownership
    }

    /// How its trees are shown.
    #[must_use]
    pub fn views(&self) -> Views {
        self.0.views
    }

    pub(crate) fn spares(&self) -> &Spares {
        &self.0.spares
    }

    /// The copies of trees that this process has.
    pub(crate) fn copies(&self) -> &Copies {
        &self.0.copies
    }

    /// Tells others what this process does, for example to people who look what holds what.
    pub fn describe(&self, text: &str) {
        self.lease().describe(text);
    }

    /// Sets what this process heeds of the disk. Counts once, before anything is written.
    pub fn limit(&self, limits: Limits) {
        let _ = self.0.limits.set(limits);
    }

    pub(crate) fn limits(&self) -> Limits {
        self.0.limits.get().copied().unwrap_or_default()
    }

    pub(crate) fn room(&self) -> &Room {
        &self.0.room
    }

    /// Keeps the logs of `build` from being pruned until this process ends.
    ///
    /// # Errors
    /// If the store cannot be locked.
    pub fn hold_logs(&self, build: &str) -> Result<(), Error> {
        let hold = Hold::Logs(file_name(build));
        if !self.lease().holds(&hold) {
            let together = self.gate().together()?;
            self.hold(&together, &hold);
        }
        Ok(())
    }

    /// Where the output of the step `name` of the build `build` is kept. The directory is the caller's to make.
    #[must_use]
    pub fn log_path(&self, build: &str, name: &str) -> PathBuf {
        self.path("logs").join(file_name(build)).join(file_name(name))
    }

    /// Where others may keep a file called `name` from build to build.
    #[must_use]
    pub fn stat_cache_path(&self, name: &str) -> PathBuf {
        self.path("stat").join(file_name(name))
    }

    /// The folder of this store, below its root.
    pub(crate) fn home(&self) -> &Path {
        &self.0.home
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.0.home.join(below)
    }

    pub(crate) fn index(&self) -> &Index {
        &self.0.index
    }

    /// The id of the running kernel's boot.
    pub(crate) fn boot(&self) -> &str {
        &self.0.boot
    }

    pub(crate) fn lease(&self) -> &Lease {
        &self.0.lease
    }

    pub(crate) fn gate(&self) -> &Gate {
        &self.0.gate
    }

    /// Looks for something, and holds what is found until the end of this process: nobody prunes it. How that is
    /// certain is told in `gate.rs`.
    pub(crate) fn find_and_hold<T>(
        &self,
        look: impl Fn() -> Result<Option<(Hold, T)>, Error>,
    ) -> Result<Option<T>, Error> {
        let heard = self.gate().heard();
        let Some((hold, found)) = look()? else {
            return Ok(None);
        };
        if self.lease().holds(&hold) {
            return Ok(Some(found));
        }
        let together = self.gate().together()?;
        if together.turn == heard {
            self.hold(&together, &hold);
            return Ok(Some(found));
        }
        let again = look()?;
        Ok(again.map(|(hold, found)| {
            self.hold(&together, &hold);
            found
        }))
    }

    /// Holds something that is about to be made, or was found behind the gate.
    pub(crate) fn hold(&self, together: &Together<'_>, hold: &Hold) {
        if self.lease().hold(hold).is_err() {
            // Nothing can be written, most likely because the disk is full.
            self.gate().keep(together);
        }
    }

    /// A path on the store's disk that nobody uses, for a file that is then renamed to its place. What stays there is
    /// removed after the end of this process.
    #[must_use]
    pub fn spare_path(&self) -> PathBuf {
        self.temporary()
    }

    /// A path under `tmp/` that nobody uses.
    pub(crate) fn temporary(&self) -> PathBuf {
        self.0.home.join("tmp").join(self.lease().name())
    }

    pub(crate) fn growing(&self) -> MutexGuard<'_, HashMap<(SnapshotId, Form), Weak<Growing>>> {
        self.0.growing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn missing(&self) -> MutexGuard<'_, HashMap<SnapshotId, Missing>> {
        self.0.missing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `look` on the snapshots already loaded.
    pub(crate) fn loaded<T>(&self, look: impl FnOnce(&mut HashMap<SnapshotId, Snapshot>) -> T) -> T {
        look(&mut self.0.loaded.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Removes a tree of the store. It leaves its name at once, so that nobody finds it half gone.
    pub(crate) fn remove(&self, path: &Path) -> Result<(), Error> {
        let aside = self.temporary();
        let removed = match std::fs::rename(path, &aside) {
            Ok(()) => remove_tree(&aside).map_err(failed("remove", &aside)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(failed("move away", path)(error)),
        };
        // Its row, and those of what was to go after it, may be gone already.
        removed.inspect_err(|_| self.lease().outlive())
    }

    /// As [`Store::remove`], but only its name is gone on return: for what takes little room.
    pub(crate) fn remove_later(&self, path: &Path) -> Result<(), Error> {
        let aside = self.temporary();
        let removed = match std::fs::rename(path, &aside) {
            Ok(()) => {
                let removing = self.0.remover.remove(aside.clone());
                removing.map_err(failed("remove", &aside))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(failed("move away", path)(error)),
        };
        removed.inspect_err(|_| self.lease().outlive())
    }

    /// Gives what is at `path` a name of ours under `tmp/`, which is added to `aside`; it is fine if nothing is there.
    fn move_aside(&self, path: &Path, aside: &mut Vec<PathBuf>) -> Result<(), Error> {
        let away = self.temporary();
        match std::fs::rename(path, &away) {
            Ok(()) => aside.push(away),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed("move away", path)(error)),
        }
        Ok(())
    }

    /// Forgets the rows whose files may have been lost with an earlier boot.
    fn drop_lost_rows(&self) -> Result<(), Error> {
        let is_lost = |rows: &LostRows| !rows.blobs.is_empty() || !rows.snapshots.is_empty();
        if !is_lost(&self.lost_rows()?) {
            return Ok(());
        }
        let _alone = self.gate().alone(Patience::Endless(&|| {}))?;
        let mut lost = self.lost_rows()?;
        // Its file is new, and its row about to be.
        let keepers = self.keepers()?;
        lost.blobs.retain(|digest| {
            digest
                .parse()
                .is_ok_and(|digest: Digest| !keepers.held_blobs.contains_key(&digest))
        });
        // Files first: a row without its file is found out, a file without its row would stay.
        for digest in &lost.blobs {
            let path = self.path("blobs/sha256").join(digest.trim_start_matches("sha256:"));
            self.remove(&path)?;
        }
        for id in &lost.snapshots {
            self.remove(&self.path("snapshots").join(id))?;
        }
        self.index().write("drop lost rows", |transaction| {
            for digest in &lost.blobs {
                transaction.execute(
                    "DELETE FROM blobs WHERE digest = ?1 AND durable = 0 AND boot != ?2",
                    params![digest, self.boot()],
                )?;
                crate::gc::forget_written_layer(transaction, digest)?;
            }
            for id in &lost.snapshots {
                crate::gc::delete_snapshot(transaction, id)?;
            }
            Ok(())
        })
    }

    fn lost_rows(&self) -> Result<LostRows, Error> {
        let lost = |table, column| {
            let connection = self.index().read();
            let mut statement = connection.prepare(&format!(
                "SELECT {column} FROM {table} WHERE durable = 0 AND boot != ?1"
            ))?;
            let rows = statement.query_map(params![self.boot()], |row| row.get::<_, String>(0))?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        let failed = || index_failed("look for lost rows");
        Ok(LostRows {
            blobs: lost("blobs", "digest").map_err(failed())?,
            snapshots: lost("snapshots", "id").map_err(failed())?,
        })
    }

    /// Removes what processes left that ended in the middle of something.
    fn sweep_behind_dead_processes(&self) -> Result<(), Error> {
        let dead = lease::dead(&self.path("leases"))?;
        let is_alive = |name: &str| {
            Lease::of_name(name).is_some_and(|lease| {
                !dead.iter().any(|dead| dead.name == lease) && self.path("leases").join(lease).exists()
            })
        };
        let mut aside = Vec::new();
        for place in ["active", "tmp"] {
            for name in names(&self.path(place))? {
                if !is_alive(&name) {
                    self.move_aside(&self.path(place).join(name), &mut aside)?;
                }
            }
        }
        if !dead.is_empty() {
            self.0.is_heir.store(true, Ordering::Relaxed);
            self.index()
                .write_with_files("look for what is not recorded", |transaction| {
                    for path in self.unrecorded(transaction, is_alive)? {
                        self.move_aside(&path, &mut aside)?;
                    }
                    Ok(())
                })?;
            self.remove_free_locks()?;
        }
        // Not before all is under our own name: who fails above leaves the work to the next.
        dead.into_iter().for_each(lease::DeadLease::forget);
        remove_later(aside);
        Ok(())
    }

    /// What is at its place and no row names, though nobody is about to record it. For the holder of the index: files of
    /// blobs come to their places only then.
    pub(crate) fn unrecorded(
        &self,
        index: &Connection,
        is_alive: impl Fn(&str) -> bool,
    ) -> Result<Vec<PathBuf>, Error> {
        let is_known = |query: &str, name: &str| {
            index
                .prepare_cached(query)
                .and_then(|mut statement| statement.exists(params![name]))
                .map_err(index_failed("look for what is not recorded"))
        };
        let snapshot = "SELECT 1 FROM snapshots WHERE id = ?1";
        let mut unrecorded = Vec::new();
        for name in names(&self.path("snapshots"))? {
            if !is_alive(&name) && !is_known(snapshot, &name)? {
                unrecorded.push(self.path("snapshots").join(name));
            }
        }
        for name in names(&self.path("blobs/sha256"))? {
            if !is_known("SELECT 1 FROM blobs WHERE digest = 'sha256:' || ?1", &name)? {
                unrecorded.push(self.path("blobs/sha256").join(name));
            }
        }
        // What others keep under the name of a snapshot.
        for name in names(&self.path("stat"))? {
            let id = name.split('.').next().unwrap_or_default();
            if id.parse::<SnapshotId>().is_ok() && !is_alive(id) && !is_known(snapshot, id)? {
                unrecorded.push(self.path("stat").join(name));
            }
        }
        Ok(unrecorded)
    }
}

/// Rows whose files may have been lost with an earlier boot.
struct LostRows {
    blobs: Vec<String>,
    snapshots: Vec<String>,
}

/// Trees of the two have other owners, and so have what steps made of them.
fn home_of(ownership: Ownership) -> &'static str {
    match ownership {
        Ownership::Kept => "v1",
        Ownership::Recorded => "v1-single",
    }
}

/// Removes trees on a thread of its own. What cannot be removed now is tried again after the end of this process, whose
/// name it has.
fn remove_later(trees: Vec<PathBuf>) {
    if !trees.is_empty() {
        std::thread::spawn(move || trees.iter().for_each(|tree| drop(remove_tree(tree))));
    }
}

/// Unix seconds.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs().cast_signed())
}

/// The names in `directory`.
pub(crate) fn names(directory: &Path) -> Result<Vec<String>, Error> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(failed("read", directory))? {
        let entry = entry.map_err(failed("read", directory))?;
        names.extend(entry.file_name().into_string().ok());
    }
    Ok(names)
}

fn make_directory(path: &Path) -> Result<(), Error> {
    match std::fs::create_dir(path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(failed("create", path)(error)),
        _ => Ok(()),
    }
}

/// Closes a directory to other users. A file of an image that runs as root, whoever starts it, is one of root's here too:
/// who could reach it would be root.
fn keep_private(path: &Path) -> Result<(), Error> {
    let mode = std::fs::metadata(path).map_err(failed("look at", path))?.mode();
    if mode & 0o077 == 0 {
        return Ok(());
    }
    std::fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(failed("close", path))
}

/// Asks the file system to place the directories made in `path` far from one another, as it places users' home
/// directories. ext4 does not give out the number of an inode again for minutes after it was freed: it looks for another,
/// one after the other, from where the parent is. So a tree made beside one that was just removed took 6 to 12 seconds of
/// 50,000 files, and 0.7 where there is room. Other file systems do not have the flag and need none.
fn spread_apart(path: &Path) {
    if let Ok(directory) = File::open(path)
        && let Ok(flags) = rustix::fs::ioctl_getflags(&directory)
        && !flags.contains(IFlags::TOPDIR)
    {
        let _ = rustix::fs::ioctl_setflags(&directory, flags | IFlags::TOPDIR);
    }
}

/// Names the boot; where the kernel does not tell, all boots are taken as one, as everybody else does.
fn boot_id() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let text = text.trim();
    if text.is_empty() {
        "unknown".to_owned()
    } else {
        text.to_owned()
    }
}

/// `text` as the name of one file.
fn file_name(text: &str) -> String {
    let kept: String = text
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "._-+=@".contains(c) {
                c
            } else {
                '_'
            }
        })
        .take(200)
        .collect();
    if kept.trim_matches('.').is_empty() {
        format!("_{kept}")
    } else {
        kept
    }
}
