//! The store: one root directory, opened.
//!
//! Opening is on the path of every build, also of those that find everything done: it makes no table twice, lists two
//! short directories and takes two locks. Removing what dead processes left happens on a thread of its own.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rusqlite::params;
use rustix::fs::{FlockOperation, IFlags, flock};

use crate::error::{failed, index_failed};
use crate::index::Index;
use crate::lease::{self, Lease};
use crate::remove::remove_tree;
use crate::{Error, Snapshot, SnapshotId};

/// Rows younger than this are not worth a sync: the kernel has hardly begun to write their files.
const SETTLED_AFTER: Duration = Duration::from_secs(120);

/// The last use is kept to this many seconds: a hit should not cost a write.
pub(crate) const LAST_USE_GRAIN: i64 = 600;

/// The store of one root directory. Clones share it.
#[derive(Clone, Debug)]
pub struct Store(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    root: PathBuf,
    home: PathBuf,
    index: Index,
    boot: String,
    lease: Lease,
    in_use: File,
    /// Snapshots are asked for again and again, and never change.
    loaded: Mutex<HashMap<SnapshotId, Snapshot>>,
}

impl Store {
    /// Opens the store in `root`, which is made if it does not exist. Waits while another process prunes.
    ///
    /// # Errors
    /// If the directory cannot be written, or its index is not one of ours.
    pub fn open(root: &Path) -> Result<Store, Error> {
        let _span = trace::span("open store");
        std::fs::create_dir_all(root).map_err(failed("create", root))?;
        let root = root.canonicalize().map_err(failed("find", root))?;
        let home = root.join("v1");
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
        spread_apart(&home.join("active"));
        let lock = home.join("locks/gc");
        let in_use = File::options()
            .create(true)
            .append(true)
            .open(&lock)
            .map_err(failed("open", &lock))?;
        flock(&in_use, FlockOperation::LockShared).map_err(failed("lock", &lock))?;
        let store = Store(Arc::new(Shared {
            index: Index::open(&home.join("index.db"))?,
            boot: boot_id(),
            lease: Lease::take(&home.join("leases"))?,
            in_use,
            loaded: Mutex::default(),
            root,
            home,
        }));
        store.drop_lost_rows()?;
        store.sweep_behind_dead_processes()?;
        Ok(store)
    }

    /// The directory the store was opened in.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.0.root
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

    /// Makes what earlier processes wrote survive a crash of the machine. For the end of a build: does nothing unless
    /// something has been waiting for minutes, by when the kernel has written most of it anyway.
    pub fn settle(&self) {
        // Failing to settle loses nothing: after a crash the rows are taken as absent.
        let _ = self.try_to_settle();
    }

    fn try_to_settle(&self) -> Result<(), Error> {
        let now = now();
        let oldest: Option<i64> = self
            .index()
            .read()
            .query_row(
                "SELECT min(created) FROM (SELECT min(created) AS created FROM blobs WHERE durable = 0
                 UNION ALL SELECT min(created) FROM snapshots WHERE durable = 0)",
                [],
                |row| row.get(0),
            )
            .map_err(index_failed("look for unsettled rows"))?;
        if oldest.is_none_or(|oldest| now - oldest < SETTLED_AFTER.as_secs().cast_signed()) {
            return Ok(());
        }
        let _span = trace::span("settle");
        rustix::fs::syncfs(&self.0.in_use).map_err(failed("sync", &self.0.home))?;
        self.index().write("settle rows", |transaction| {
            // Seconds are coarse: a row of the second in which the sync began may be younger than the sync.
            for table in ["blobs", "snapshots"] {
                transaction.execute(
                    &format!("UPDATE {table} SET durable = 1 WHERE durable = 0 AND created < ?1 AND boot = ?2"),
                    params![now, self.boot()],
                )?;
            }
            Ok(())
        })
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

    /// The open file whose shared lock says that the store is in use.
    pub(crate) fn in_use(&self) -> &File {
        &self.0.in_use
    }

    /// A path under `tmp/` that nobody uses.
    pub(crate) fn temporary(&self) -> PathBuf {
        self.0.home.join("tmp").join(self.lease().name())
    }

    /// Runs `look` on the snapshots already loaded.
    pub(crate) fn loaded<T>(&self, look: impl FnOnce(&mut HashMap<SnapshotId, Snapshot>) -> T) -> T {
        look(&mut self.0.loaded.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Removes a tree of the store. It leaves its name at once, so that nobody finds it half gone.
    pub(crate) fn remove(&self, path: &Path) -> Result<(), Error> {
        let aside = self.temporary();
        match std::fs::rename(path, &aside) {
            Ok(()) => remove_tree(&aside).map_err(failed("remove", &aside)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(failed("move away", path)(error)),
        }
    }

    /// Forgets the rows whose files may have been lost with an earlier boot.
    fn drop_lost_rows(&self) -> Result<(), Error> {
        let lost = |table, column| {
            let connection = self.index().read();
            let mut statement = connection.prepare(&format!(
                "SELECT {column} FROM {table} WHERE durable = 0 AND boot != ?1"
            ))?;
            let rows = statement.query_map(params![self.boot()], |row| row.get::<_, String>(0))?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        let blobs = lost("blobs", "digest").map_err(index_failed("look for lost rows"))?;
        let snapshots = lost("snapshots", "id").map_err(index_failed("look for lost rows"))?;
        if blobs.is_empty() && snapshots.is_empty() {
            return Ok(());
        }
        // Files first: a row without its file is found out, a file without its row would stay.
        for digest in &blobs {
            let path = self.path("blobs/sha256").join(digest.trim_start_matches("sha256:"));
            self.remove(&path)?;
        }
        for id in &snapshots {
            self.remove(&self.path("snapshots").join(id))?;
        }
        self.index().write("drop lost rows", |transaction| {
            for digest in &blobs {
                transaction.execute(
                    "DELETE FROM blobs WHERE digest = ?1 AND durable = 0 AND boot != ?2",
                    params![digest, self.boot()],
                )?;
                crate::gc::forget_written_layer(transaction, digest)?;
            }
            for id in &snapshots {
                crate::gc::delete_snapshot(transaction, id)?;
            }
            Ok(())
        })
    }

    /// Removes what processes left that ended in the middle of something.
    fn sweep_behind_dead_processes(&self) -> Result<(), Error> {
        let dead = lease::dead(&self.path("leases"))?;
        let mut doomed = Vec::new();
        for place in ["active", "tmp"] {
            for name in names(&self.path(place))? {
                let alive = Lease::of_name(&name).is_some_and(|lease| {
                    !dead.iter().any(|dead| dead.name == lease) && self.path("leases").join(lease).exists()
                });
                if !alive {
                    doomed.push(self.path(place).join(name));
                }
            }
        }
        if !dead.is_empty() {
            doomed.extend(self.unrecorded_snapshots(|name| {
                Lease::of_name(name).is_some_and(|lease| dead.iter().any(|dead| dead.name == lease))
            })?);
        }
        if doomed.is_empty() {
            dead.into_iter().for_each(lease::DeadLease::forget);
            return Ok(());
        }
        let mut aside = Vec::new();
        for path in &doomed {
            let away = self.temporary();
            // Another process may be sweeping, too.
            if std::fs::rename(path, &away).is_ok() {
                aside.push(away);
            }
        }
        dead.into_iter().for_each(lease::DeadLease::forget);
        std::thread::spawn(move || {
            for path in aside {
                // What cannot be removed now has this process's name and is tried again after its end.
                let _ = remove_tree(&path);
            }
        });
        Ok(())
    }

    /// Snapshot directories that no row names, among those whose name is `wanted`.
    pub(crate) fn unrecorded_snapshots(&self, wanted: impl Fn(&str) -> bool) -> Result<Vec<PathBuf>, Error> {
        let mut unrecorded = Vec::new();
        for name in names(&self.path("snapshots"))? {
            if !wanted(&name) {
                continue;
            }
            let known = self
                .index()
                .read()
                .prepare_cached("SELECT 1 FROM snapshots WHERE id = ?1")
                .and_then(|mut statement| statement.exists(params![name]))
                .map_err(index_failed("look for a snapshot"))?;
            if !known {
                unrecorded.push(self.path("snapshots").join(name));
            }
        }
        Ok(unrecorded)
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
