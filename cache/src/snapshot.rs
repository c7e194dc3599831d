//! Snapshots: file trees that do not change any more, each a set of changes to its parent; and trees being made.

mod id;

use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use oci::{ChainId, Descriptor, DiffId, Digest};
use rusqlite::{OptionalExtension, params};
use rustix::fs::Stat;

pub use id::SnapshotId;

use crate::error::{failed, index_failed};
use crate::lease::Hold;
use crate::overlay::{self, Writable};
use crate::spares::{self, Spare};
use crate::store::{LAST_USE_GRAIN, now};
use crate::tree::View;
use crate::{Error, Owners, Store, Tree, Views};

/// How often another process may be quicker to record a stack of layers that is pruned before it can be used.
const MOST_TRIES: usize = 100;

/// A finished file tree. Clones are cheap.
#[derive(Clone, Debug)]
pub struct Snapshot(Arc<Node>);

#[derive(Debug)]
struct Node {
    id: SnapshotId,
    parent: Option<Snapshot>,
    directory: PathBuf,
    base: Option<Base>,
    /// The snapshot whose changes these are, on top of another parent.
    origin: Option<Snapshot>,
    /// Of its own directory.
    owners: Owners,
    /// Whether it, or one below, has recorded owners of links or pipes.
    has_special_owners: bool,
}

/// Where a snapshot came from that was a layer of a base image.
#[derive(Clone, Debug)]
pub(crate) struct Base {
    pub(crate) chain: ChainId,
    pub(crate) diff_id: DiffId,
    pub(crate) blob: Descriptor,
    /// The newest time in it.
    pub(crate) newest: i64,
}

impl Snapshot {
    /// A tree that is still being made, as it is now.
    pub(crate) fn unrecorded(active: &ActiveSnapshot, parent: Option<&Snapshot>) -> Snapshot {
        Snapshot(Arc::new(Node {
            id: active.id,
            parent: parent.cloned(),
            directory: active.upper.clone(),
            base: None,
            origin: None,
            owners: active.owners.of_these_alone(),
            has_special_owners: active.owners.has_special(),
        }))
    }

    /// Its name in the store.
    #[must_use]
    pub fn id(&self) -> SnapshotId {
        self.0.id
    }

    /// What it changes.
    #[must_use]
    pub fn parent(&self) -> Option<Snapshot> {
        self.0.parent.clone()
    }

    /// The snapshot and all below it, lowest first.
    #[must_use]
    pub fn stack(&self) -> Vec<Snapshot> {
        let mut stack = vec![self.clone()];
        let mut next = self.0.parent.as_ref();
        while let Some(snapshot) = next {
            stack.push(snapshot.clone());
            next = snapshot.0.parent.as_ref();
        }
        stack.reverse();
        stack
    }

    /// The directory of its own changes, in the form of an overlay's upper directory.
    #[must_use]
    pub fn directory(&self) -> PathBuf {
        self.0.directory.clone()
    }

    /// The snapshot whose changes these are, if they were made elsewhere and laid over the parent.
    #[must_use]
    pub fn origin(&self) -> Option<&Snapshot> {
        self.0.origin.as_ref()
    }

    /// The directory whose owner, mode and time are those of the tree's root: changes laid over a tree leave them alone.
    fn root_directory(&self) -> &Path {
        let mut node = &self.0;
        while let (Some(_), Some(parent)) = (&node.origin, &node.parent) {
            node = &parent.0;
        }
        &node.directory
    }

    /// Whose the files in its own directory are.
    pub(crate) fn owners(&self) -> &Owners {
        &self.0.owners
    }

    /// Puts the owner into what the file system says of a file in its own directory.
    pub(crate) fn tell_owner(&self, path: &Path, stat: &mut Stat) -> Result<(), Error> {
        if self.0.owners.are_kept() {
            return Ok(());
        }
        let inside = path.strip_prefix(&self.0.directory).unwrap_or(path);
        let told = self.0.owners.tell(path, inside.as_os_str().as_bytes(), stat);
        told.map_err(failed("read the owner of", path))
    }

    /// Whether an entry of the tree that can have no attributes has a recorded owner.
    pub(crate) fn has_special_owners(&self) -> bool {
        self.0.has_special_owners
    }

    /// What the tree's root is like.
    pub(crate) fn root_stat(&self) -> Result<Stat, Error> {
        let directory = self.root_directory();
        let mut stat = rustix::fs::lstat(directory).map_err(failed("read", directory))?;
        let told = self.0.owners.tell(directory, b"", &mut stat);
        told.map_err(failed("read the owner of", directory))?;
        Ok(stat)
    }

    /// Of a layer of a base image: the name of the stack that ends with it.
    #[must_use]
    pub fn chain_id(&self) -> Option<ChainId> {
        self.0.base.as_ref().map(|base| base.chain)
    }

    /// Of a layer of a base image: its blob.
    pub(crate) fn base(&self) -> Option<&Base> {
        self.0.base.as_ref()
    }

    /// Shows the tree, to be read: by a mount, read-only, or by a copy that all who read it share.
    ///
    /// # Errors
    /// If the kernel refuses, or the copy cannot be made.
    pub fn mount(&self, store: &Store) -> Result<Tree, Error> {
        let _span = trace::span("mount");
        if store.views() == Views::Copied {
            return store.lend(self);
        }
        let path = store.temporary();
        std::fs::create_dir(&path).map_err(failed("create", &path))?;
        let owners = Owners::of(store.ownership(), Some(self));
        overlay::mount(store, &self.stack(), None, path, owners)
    }
}

impl Drop for Node {
    /// A chain as long as the kernel allows must not be dropped by as many nested calls.
    fn drop(&mut self) {
        let mut next = self.parent.take();
        while let Some(snapshot) = next {
            next = Arc::into_inner(snapshot.0).and_then(|mut node| node.parent.take());
        }
    }
}

fn open_directory(path: &Path) -> Result<File, Error> {
    File::open(path).map_err(failed("open", path))
}

/// A row of the table of snapshots.
struct Row {
    id: SnapshotId,
    parent: Option<SnapshotId>,
    origin: Option<SnapshotId>,
    base: Option<Base>,
    used: i64,
}

impl Store {
    /// The snapshot `id`, if the store has it.
    ///
    /// # Errors
    /// If the index cannot be read.
    pub fn snapshot(&self, id: &SnapshotId) -> Result<Option<Snapshot>, Error> {
        if let Some(loaded) = self.loaded(|loaded| loaded.get(id).cloned()) {
            return Ok(Some(loaded));
        }
        let found = self.find_and_hold(|| {
            let snapshot = self.read_snapshot(id)?;
            Ok(snapshot.map(|snapshot| (Hold::Snapshot(*id), snapshot)))
        })?;
        Ok(found.map(|snapshot| self.keep_loaded(&snapshot)))
    }

    /// Reads a snapshot and all below it from the index. It counts only if it is held.
    pub(crate) fn read_snapshot(&self, id: &SnapshotId) -> Result<Option<Snapshot>, Error> {
        let mut missing = Vec::new();
        let mut next = Some(*id);
        let mut snapshot = None;
        while let Some(id) = next {
            if let Some(loaded) = self.loaded(|loaded| loaded.get(&id).cloned()) {
                snapshot = Some(loaded);
                break;
            }
            let Some(row) = self.snapshot_row("id", &id.to_string())? else {
                return Ok(None);
            };
            next = row.parent;
            missing.push(row);
        }
        for row in missing.into_iter().rev() {
            let origin = match row.origin {
                Some(origin) => match self.read_snapshot(&origin)? {
                    Some(origin) => Some(origin),
                    None => return Ok(None),
                },
                None => None,
            };
            let owners = self.recorded_owners(row.id)?;
            snapshot = Some(self.node((row.id, owners), snapshot, row.base, origin));
        }
        Ok(snapshot)
    }

    /// The unpacked stack of layers `chain`, if the store has it.
    ///
    /// # Errors
    /// If the index cannot be read.
    pub fn chain(&self, chain: &ChainId) -> Result<Option<Snapshot>, Error> {
        let found = self.find_and_hold(|| {
            let Some(row) = self.snapshot_row("chain", &chain.to_string())? else {
                return Ok(None);
            };
            let snapshot = self.read_snapshot(&row.id)?;
            Ok(snapshot.map(|snapshot| (Hold::Snapshot(row.id), (snapshot, row.used))))
        })?;
        let Some((snapshot, used)) = found else {
            return Ok(None);
        };
        if now() - used > LAST_USE_GRAIN {
            self.index().write("note a use", |transaction| {
                let id = snapshot.id().to_string();
                transaction.execute("UPDATE snapshots SET used = ?2 WHERE id = ?1", params![id, now()])
            })?;
        }
        Ok(Some(self.keep_loaded(&snapshot)))
    }

    /// Begins a snapshot on top of `parent`, or from nothing.
    ///
    /// # Errors
    /// If its directories cannot be made.
    pub fn prepare(&self, parent: Option<&Snapshot>) -> Result<ActiveSnapshot, Error> {
        let _span = trace::span("prepare");
        let made = Spare::make(self.next_id(), &self.path("active"));
        self.begin(parent, made.map_err(|(path, error)| failed("create", &path)(error))?)
    }

    /// The same, by a command that does so again and again: directories for the next one are made meanwhile.
    ///
    /// # Errors
    /// As [`Store::prepare`].
    pub fn prepare_next(&self, parent: Option<&Snapshot>) -> Result<ActiveSnapshot, Error> {
        match self.spares().take(|| self.next_id(), &self.path("active")) {
            Some(spare) => {
                let _span = trace::span("prepare");
                self.begin(parent, spare)
            }
            None => self.prepare(parent),
        }
    }

    fn next_id(&self) -> SnapshotId {
        let (lease, number) = self.lease().number();
        SnapshotId::new(lease, number)
    }

    fn begin(&self, parent: Option<&Snapshot>, Spare { id, directory }: Spare) -> Result<ActiveSnapshot, Error> {
        let active = ActiveSnapshot {
            store: self.clone(),
            id,
            parent: parent.cloned(),
            upper: directory.join(spares::UPPER),
            owners: Owners::of(self.ownership(), parent),
            directory,
            is_closed: Arc::default(),
        };
        match parent {
            Some(parent) => {
                let upper = open_directory(&active.upper)?;
                overlay::adopt_directory(&parent.root_stat()?, &upper, &active.upper, &active.owners)?;
            }
            None => {
                let mode = rustix::fs::Mode::from_raw_mode(0o755);
                rustix::fs::chmod(&active.upper, mode).map_err(failed("change the mode of", &active.upper))?;
                overlay::set_time(&active.upper, 0, 0)?;
            }
        }
        Ok(active)
    }

    /// Moves a finished directory to its place and records it.
    pub(crate) fn keep_snapshot(
        &self,
        active: &ActiveSnapshot,
        parent: Option<&Snapshot>,
        base: Option<Base>,
    ) -> Result<Snapshot, Error> {
        let place = self.path("snapshots").join(active.id.to_string());
        std::fs::rename(&active.upper, &place).map_err(failed("keep", &place))?;
        let owners = active.owners.of_these_alone();
        let recorded = self.record_snapshot((active.id, owners), parent, None, base);
        if recorded.is_err() {
            self.lease().outlive();
        }
        let snapshot = recorded?;
        if snapshot.id() != active.id {
            // Another process unpacked the same stack meanwhile: one of the two is enough.
            self.remove(&place)?;
        }
        Ok(snapshot)
    }

    /// Records a snapshot on `parent` that shares the directory of `origin`.
    pub(crate) fn keep_shared(
        &self,
        parent: Option<&Snapshot>,
        origin: &Snapshot,
        base: Option<Base>,
    ) -> Result<Snapshot, Error> {
        self.record_snapshot((self.next_id(), Owners::default()), parent, Some(origin), base)
    }

    /// Records a snapshot. There is one for each stack of layers: if another process was quicker, the result is its.
    fn record_snapshot(
        &self,
        (id, owners): (SnapshotId, Owners),
        parent: Option<&Snapshot>,
        origin: Option<&Snapshot>,
        base: Option<Base>,
    ) -> Result<Snapshot, Error> {
        for _ in 0..MOST_TRIES {
            if self.add_row((id, &owners), parent, origin, base.as_ref())? {
                let snapshot = self.node((id, owners), parent.cloned(), base, origin.cloned());
                return Ok(self.keep_loaded(&snapshot));
            }
            if let Some(base) = &base
                && let Some(other) = self.chain(&base.chain)?
            {
                return Ok(other);
            }
            // The other one was pruned before it could be held.
        }
        Err(Error::NoSuchSnapshot(id))
    }

    /// Whether the row is new.
    fn add_row(
        &self,
        (id, owners): (SnapshotId, &Owners),
        parent: Option<&Snapshot>,
        origin: Option<&Snapshot>,
        base: Option<&Base>,
    ) -> Result<bool, Error> {
        let text = |digest: &Digest| digest.to_string();
        let now = now();
        let added = self.index().write("record a snapshot", |transaction| {
            let added = transaction
                .prepare_cached(
                    "INSERT OR IGNORE INTO snapshots
                     (id, parent, chain, diff_id, blob, blob_size, blob_type, newest, created, used, boot, origin, size)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?9, ?10, ?11, ?12)",
                )?
                .execute(params![
                    id.to_string(),
                    parent.map(|parent| parent.id().to_string()),
                    base.map(|base| text(&base.chain.0)),
                    base.map(|base| text(&base.diff_id.0)),
                    base.map(|base| text(&base.blob.digest)),
                    base.map(|base| base.blob.size.cast_signed()),
                    base.map(|base| base.blob.media_type.clone()),
                    base.map(|base| base.newest),
                    now,
                    self.boot(),
                    origin.map(|origin| origin.id().to_string()),
                    // What is shared takes no space twice.
                    origin.map(|_| 0),
                ])?;
            if added > 0 {
                owners.record(transaction, id)?;
            }
            Ok(added)
        })?;
        Ok(added > 0)
    }

    /// The tree of `base` with the changes of `changes` laid over it, as if they had been made there. Nothing is copied:
    /// the new snapshots share the directories and the layers of those of `changes`. These have to be plain sets of files,
    /// filled in [`ActiveSnapshot::upper`] and not through a mount, for an overlay marks every new directory as hiding
    /// what is below.
    ///
    /// # Errors
    /// If the index cannot be written.
    pub fn lay_over(&self, base: &Snapshot, changes: &Snapshot) -> Result<Snapshot, Error> {
        let mut top = base.clone();
        for change in changes.stack() {
            top = self.keep_shared(Some(&top), change.origin().unwrap_or(&change), None)?;
        }
        Ok(top)
    }

    fn node(
        &self,
        (id, owners): (SnapshotId, Owners),
        parent: Option<Snapshot>,
        base: Option<Base>,
        origin: Option<Snapshot>,
    ) -> Snapshot {
        let (directory, owners) = match &origin {
            Some(origin) => (origin.directory(), origin.owners().clone()),
            None => (self.path("snapshots").join(id.to_string()), owners),
        };
        let has_special_owners = owners.has_special() || parent.as_ref().is_some_and(Snapshot::has_special_owners);
        Snapshot(Arc::new(Node {
            id,
            parent,
            directory,
            base,
            origin,
            owners,
            has_special_owners,
        }))
    }

    /// Keeps a snapshot that is held, and all that it is made of, so that nobody has to read them again.
    pub(crate) fn keep_loaded(&self, snapshot: &Snapshot) -> Snapshot {
        self.loaded(|loaded| {
            let mut next = Some(snapshot);
            while let Some(snapshot) = next {
                if loaded.contains_key(&snapshot.id()) {
                    break;
                }
                loaded.insert(snapshot.id(), snapshot.clone());
                if let Some(origin) = snapshot.origin() {
                    loaded.entry(origin.id()).or_insert_with(|| origin.clone());
                }
                next = snapshot.0.parent.as_ref();
            }
            loaded[&snapshot.id()].clone()
        })
    }

    fn snapshot_row(&self, column: &str, value: &str) -> Result<Option<Row>, Error> {
        let read = |row: &rusqlite::Row<'_>| {
            let text = |column| row.get::<_, Option<String>>(column);
            let digest = |column| Ok::<_, rusqlite::Error>(text(column)?.and_then(|text| text.parse::<Digest>().ok()));
            let base = match (digest(2)?, digest(3)?, digest(4)?, text(6)?) {
                (Some(chain), Some(diff_id), Some(blob), Some(media_type)) => Some(Base {
                    chain: ChainId(chain),
                    diff_id: DiffId(diff_id),
                    blob: Descriptor::new(&media_type, blob, row.get::<_, i64>(5)?.cast_unsigned()),
                    newest: row.get(7)?,
                }),
                _ => None,
            };
            let used = row.get(8)?;
            // A name that cannot be read is as good as no snapshot.
            let named = |column| Ok::<_, rusqlite::Error>(text(column)?.map(|name| name.parse::<SnapshotId>().ok()));
            let row = match (named(0)?, named(1)?, named(9)?) {
                (_, Some(None), _) | (_, _, Some(None)) | (None | Some(None), ..) => None,
                (Some(Some(id)), parent, origin) => Some(Row {
                    id,
                    parent: parent.flatten(),
                    origin: origin.flatten(),
                    base,
                    used,
                }),
            };
            Ok(row)
        };
        let found = self
            .index()
            .read()
            .prepare_cached(&format!(
                "SELECT id, parent, chain, diff_id, blob, blob_size, blob_type, newest, used, origin FROM snapshots
                 WHERE {column} = ?1 AND (durable = 1 OR boot = ?2)"
            ))
            .and_then(|mut statement| statement.query_row(params![value, self.boot()], read).optional())
            .map_err(index_failed("look for a snapshot"))?;
        Ok(found.flatten())
    }
}

/// A file tree being made. It becomes a snapshot when committed; dropped before, it leaves nothing.
#[derive(Debug)]
pub struct ActiveSnapshot {
    pub(crate) store: Store,
    id: SnapshotId,
    pub(crate) parent: Option<Snapshot>,
    directory: PathBuf,
    upper: PathBuf,
    owners: Owners,
    /// Whether the changes are those of a copy that was written to.
    is_closed: Arc<AtomicBool>,
}

impl ActiveSnapshot {
    /// The name that the snapshot is going to have.
    #[must_use]
    pub fn id(&self) -> SnapshotId {
        self.id
    }

    /// The directory of the changes so far, in the form of an overlay's upper directory.
    #[must_use]
    pub fn upper(&self) -> &Path {
        &self.upper
    }

    /// Whose the files of the tree are.
    #[must_use]
    pub fn owners(&self) -> &Owners {
        &self.owners
    }

    /// Shows the tree, to be written to; then it has to be [closed](Tree::close). Several mounts may follow one another, but
    /// only one may be alive at a time.
    ///
    /// # Errors
    /// If the kernel refuses, or a copy cannot be made.
    pub fn mount(&self) -> Result<Tree, Error> {
        let _span = trace::span("mount");
        if self.store.views() == Views::Copied {
            return self.copy();
        }
        // The work directory of a volatile overlay serves one mount: the kernel marks it as possibly inconsistent.
        let work = self.directory.join("work");
        self.store.remove(&work)?;
        std::fs::create_dir(&work).map_err(failed("create", &work))?;
        let stack = self.parent.as_ref().map(Snapshot::stack).unwrap_or_default();
        let writable = Writable {
            upper: &self.upper,
            work: &work,
        };
        let (merged, owners) = (self.directory.join(spares::MERGED), self.owners.clone());
        overlay::mount(&self.store, &stack, Some(&writable), merged, owners)
    }

    /// A copy of the tree. With nothing below, the directory of the changes is the tree.
    fn copy(&self) -> Result<Tree, Error> {
        let (store, place) = (&self.store, self.directory.join(spares::MERGED));
        match &self.parent {
            Some(parent) => store.work_on(parent, &self.upper, place, &self.is_closed),
            None => Ok(Tree::new(self.upper.clone(), self.owners.clone(), View::Itself, store)),
        }
    }

    /// Makes a snapshot of the tree as it is.
    ///
    /// # Errors
    /// If it cannot be moved to its place or recorded.
    pub fn commit(self) -> Result<Snapshot, Error> {
        let _span = trace::span("commit");
        if self.parent.is_none() {
            overlay::set_time(&self.upper, 0, 0)?;
        }
        let snapshot = self.store.keep_snapshot(&self, self.parent.as_ref(), None)?;
        if self.is_closed.load(Ordering::Acquire) {
            self.store
                .keep_worked_on(&self.directory.join(spares::MERGED), &snapshot);
        }
        // What is left are a mount's directories. What stays is swept after the end of this process.
        let _ = self.store.remove_later(&self.directory);
        Ok(snapshot)
    }
}

impl Drop for ActiveSnapshot {
    fn drop(&mut self) {
        // What stays is swept after the end of this process.
        let _ = self.store.remove(&self.directory);
    }
}
