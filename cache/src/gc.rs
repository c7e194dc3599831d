//! Space: what takes how much, and removing what nobody needs.
//!
//! Nothing is removed behind a running process: all hold the lock `gc` shared, and pruning takes it alone. What named
//! images need is never removed: blobs, and the snapshots that their plain layers are made of. The rest goes least recently
//! used first, children before parents, and the blob a base image's layer came in only after the unpacked layer, for no
//! one could make the same bytes again.

use std::collections::{HashMap, HashSet};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use oci::{Descriptor, Digest, ManifestKind};
use rusqlite::{Row, Transaction, params};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::error::{failed, index_failed};
use crate::layer::{Form, PLAIN};
use crate::lease::Lease;
use crate::store::{names, now};
use crate::{Error, SnapshotId, Store};

/// What kind of thing takes space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UsageKind {
    /// A layer of a base image, unpacked.
    ImageLayer,
    /// What a step made.
    StepResult,
    /// A blob: a compressed layer, a configuration, a manifest.
    Blob,
    /// A directory that steps keep from build to build.
    CacheDirectory,
}

/// One thing that takes space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The snapshot's id, the blob's digest or the directory's name.
    pub id: String,
    /// What it is.
    pub kind: UsageKind,
    /// In bytes, on the disk.
    pub size: u64,
    /// In Unix seconds.
    pub created: i64,
    /// In Unix seconds; of something others are made from, the last use of any of them.
    pub last_used: i64,
    /// Whether a named image needs it, or was made from it.
    pub in_use: bool,
    /// The text of the step or the name of the image, where there is one.
    pub description: String,
}

/// What to remove. The default removes all that no named image needs or was made from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prune {
    /// Also what named images were made from, whose loss only costs the time of making it again.
    pub all: bool,
    /// Only what has not been used for this long.
    pub older_than: Option<Duration>,
    /// Only until what is left takes no more than this many bytes.
    pub keep_storage: Option<u64>,
}

/// What was removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// In the order of removal.
    pub removed: Vec<Usage>,
    /// The sum of their sizes.
    pub freed: u64,
}

/// Something that may be removed, and what it holds back.
struct Item {
    usage: Usage,
    /// Ids of other items that must stay as long as this one does.
    needs: Vec<String>,
    /// How many must go before: a tie-breaker for equal last uses.
    depth: usize,
    /// A named image could not be given out without it.
    pinned: bool,
}

/// A layer made of a snapshot.
struct LayerMade {
    digest: String,
    /// Whether it is no blob, and can be had as long as the snapshot is there.
    is_plain: bool,
}

impl Store {
    /// Everything that takes space, most recently used first.
    ///
    /// # Errors
    /// If the index or the snapshots cannot be read.
    pub fn usage(&self) -> Result<Vec<Usage>, Error> {
        let mut items = self.items()?;
        items.reverse();
        Ok(items.into_iter().map(|item| item.usage).collect())
    }

    /// Removes what `wish` describes. Waits until no other process uses the store. Snapshots of this process that were
    /// got before must not be used after.
    ///
    /// # Errors
    /// If something cannot be removed.
    pub fn prune(&self, wish: &Prune) -> Result<Pruned, Error> {
        self.prune_telling(wish, &|| {})
    }

    /// As [`Store::prune`]; `waits` is called once if other processes have to be waited for.
    ///
    /// # Errors
    /// If something cannot be removed.
    pub fn prune_telling(&self, wish: &Prune, waits: &dyn Fn()) -> Result<Pruned, Error> {
        let path = self.path("locks/gc");
        let lock = |operation| loop {
            match flock(self.in_use(), operation) {
                Err(Errno::INTR) => {}
                outcome => break outcome,
            }
        };
        if let Err(error) = lock(FlockOperation::NonBlockingLockExclusive) {
            if error != Errno::WOULDBLOCK {
                return Err(failed("lock", &path)(error));
            }
            waits();
            lock(FlockOperation::LockExclusive).map_err(failed("lock", &path))?;
        }
        let outcome = self.prune_alone(wish);
        lock(FlockOperation::LockShared).map_err(failed("lock", &path))?;
        outcome
    }

    /// Removes the logs of builds that ended long enough ago.
    fn remove_logs(&self, wish: &Prune) -> Result<(), Error> {
        let logs = self.path("logs");
        for entry in std::fs::read_dir(&logs).map_err(failed("read", &logs))? {
            let entry = entry.map_err(failed("read", &logs))?;
            let modified = entry.metadata().and_then(|metadata| metadata.modified());
            let age = modified
                .map_err(failed("read", &entry.path()))?
                .elapsed()
                .unwrap_or_default();
            if wish.older_than.is_none_or(|least| age >= least) {
                self.remove(&entry.path())?;
            }
        }
        Ok(())
    }

    fn prune_alone(&self, wish: &Prune) -> Result<Pruned, Error> {
        self.loaded(HashMap::clear);
        self.remove_unrecorded()?;
        self.remove_logs(wish)?;
        let items = self.items()?;
        let doomed = choose(&items, wish, now());
        self.index().write("prune", |transaction| {
            for item in &doomed {
                match item.usage.kind {
                    UsageKind::Blob => delete_blob(transaction, &item.usage.id)?,
                    UsageKind::CacheDirectory => {}
                    UsageKind::ImageLayer | UsageKind::StepResult => delete_snapshot(transaction, &item.usage.id)?,
                }
            }
            Ok(())
        })?;
        let mut pruned = Pruned::default();
        for item in doomed {
            match item.usage.kind {
                UsageKind::Blob => self.remove(&self.path("blobs/sha256").join(hex(&item.usage.id)))?,
                UsageKind::CacheDirectory => self.remove(&self.path("caches").join(&item.usage.id))?,
                UsageKind::ImageLayer | UsageKind::StepResult => {
                    self.remove(&self.path("snapshots").join(&item.usage.id))?;
                }
            }
            pruned.freed += item.usage.size;
            pruned.removed.push(item.usage.clone());
        }
        self.remove_notes()?;
        Ok(pruned)
    }

    /// Removes what others keep under the names of snapshots that are gone.
    fn remove_notes(&self) -> Result<(), Error> {
        let known: HashSet<String> = self
            .rows("SELECT id FROM snapshots", |row| row.get(0))?
            .into_iter()
            .collect();
        for name in names(&self.path("stat"))? {
            let id = name.split('.').next().unwrap_or_default();
            if id.parse::<SnapshotId>().is_ok() && !known.contains(id) {
                self.remove(&self.path("stat").join(&name))?;
            }
        }
        Ok(())
    }

    /// All items, in the order in which they should go.
    fn items(&self) -> Result<Vec<Item>, Error> {
        let images = self.needed_blobs()?;
        let mut items = self.snapshot_items(&images)?;
        items.extend(self.blob_items(&images, &items)?);
        items.extend(self.directory_items()?);
        inherit(&mut items);
        items.sort_by_key(|item| {
            (
                item.usage.last_used,
                std::cmp::Reverse(item.depth),
                item.usage.id.clone(),
            )
        });
        Ok(items)
    }

    /// The blobs of all named images, with a name.
    fn needed_blobs(&self) -> Result<HashMap<Digest, String>, Error> {
        let mut needed = HashMap::new();
        for image in self.images()? {
            let name = image.name.to_string();
            let mut open = vec![image.manifest];
            while let Some(document) = open.pop() {
                if needed.insert(document.digest, name.clone()).is_some() {
                    continue;
                }
                // An image may be named before, or without, all its platforms being here.
                if let Some(kind) = self.read_manifest(&name, &document)? {
                    match kind {
                        ManifestKind::Index(index) => open.extend(index.manifests),
                        ManifestKind::Manifest(manifest) => {
                            let parts = manifest.layers.into_iter().chain([manifest.config]);
                            needed.extend(parts.map(|part| (part.digest, name.clone())));
                        }
                    }
                }
            }
        }
        Ok(needed)
    }

    fn read_manifest(&self, name: &str, document: &Descriptor) -> Result<Option<ManifestKind>, Error> {
        let Some(blob) = self.blob(&document.digest)? else {
            return Ok(None);
        };
        let bytes = std::fs::read(&blob.path).map_err(failed("read", &blob.path))?;
        let kind = ManifestKind::parse(&document.media_type, &bytes).map_err(|source| Error::Manifest {
            name: name.to_owned(),
            digest: document.digest,
            source: Box::new(source),
        })?;
        Ok(Some(kind))
    }

    fn snapshot_items(&self, images: &HashMap<Digest, String>) -> Result<Vec<Item>, Error> {
        let layers = self.layers_made()?;
        let mut items = Vec::new();
        let mut unmeasured = Vec::new();
        let rows = self.rows(
            "SELECT id, parent, blob, size, created,
                    max(used, coalesce((SELECT max(used) FROM records WHERE snapshot = id), 0)),
                    coalesce((SELECT step FROM records WHERE snapshot = id ORDER BY created DESC LIMIT 1), ''),
                    origin
             FROM snapshots",
            |row| {
                let texts = (
                    row.get::<_, String>(0)?,
                    row.get::<_, Option<String>>(1)?,
                    row.get::<_, Option<String>>(2)?,
                    row.get::<_, Option<String>>(7)?,
                );
                Ok((
                    texts,
                    row.get::<_, Option<i64>>(3)?,
                    row.get(4)?,
                    row.get(5)?,
                    row.get::<_, String>(6)?,
                ))
            },
        )?;
        for ((id, parent, blob, origin), size, created, last_used, step) in rows {
            let size = match size {
                Some(size) => size.cast_unsigned(),
                None => {
                    let size = measure(&self.path("snapshots").join(&id));
                    unmeasured.push((id.clone(), size));
                    size
                }
            };
            let maker = origin.as_ref().unwrap_or(&id);
            let needed = |digest: &String| images.get(&digest.parse().ok()?);
            let made_of = layers.get(maker).into_iter().flatten();
            let image = blob.iter().chain(made_of.map(|layer| &layer.digest)).find_map(needed);
            let own = layers.get(&id).into_iter().flatten();
            let pinned = own
                .filter(|layer| layer.is_plain)
                .any(|layer| needed(&layer.digest).is_some());
            items.push(Item {
                needs: parent.into_iter().chain(origin).chain(blob.clone()).collect(),
                depth: 0,
                pinned,
                usage: Usage {
                    kind: if blob.is_some() {
                        UsageKind::ImageLayer
                    } else {
                        UsageKind::StepResult
                    },
                    size,
                    created,
                    last_used,
                    in_use: image.is_some(),
                    description: if step.is_empty() {
                        image.cloned().unwrap_or_default()
                    } else {
                        step
                    },
                    id,
                },
            });
        }
        self.index().write("note sizes", |transaction| {
            for (id, size) in &unmeasured {
                transaction.execute(
                    "UPDATE snapshots SET size = ?2 WHERE id = ?1",
                    params![id, size.cast_signed()],
                )?;
            }
            Ok(())
        })?;
        Ok(items)
    }

    fn blob_items(&self, images: &HashMap<Digest, String>, snapshots: &[Item]) -> Result<Vec<Item>, Error> {
        // A compressed layer is as recently used as the step's result it was made of.
        let mut used: HashMap<&str, i64> = HashMap::new();
        let layers = self.layers_made()?;
        for snapshot in snapshots {
            for layer in layers.get(&snapshot.usage.id).into_iter().flatten() {
                let used = used.entry(&layer.digest).or_default();
                *used = snapshot.usage.last_used.max(*used);
            }
        }
        let rows = self.rows("SELECT digest, size, created, used FROM blobs", |row| {
            Ok((
                row.get::<_, String>(0)?,
                row.get::<_, i64>(1)?,
                row.get(2)?,
                row.get::<_, i64>(3)?,
            ))
        })?;
        let item = |(id, size, created, own): (String, i64, i64, i64)| {
            let image = id.parse().ok().and_then(|digest: Digest| images.get(&digest));
            Item {
                needs: Vec::new(),
                depth: 0,
                pinned: image.is_some(),
                usage: Usage {
                    kind: UsageKind::Blob,
                    size: size.cast_unsigned(),
                    created,
                    last_used: own.max(used.get(id.as_str()).copied().unwrap_or(0)),
                    in_use: image.is_some(),
                    description: image.cloned().unwrap_or_default(),
                    id,
                },
            }
        };
        Ok(rows.into_iter().map(item).collect())
    }

    fn directory_items(&self) -> Result<Vec<Item>, Error> {
        let mut items = Vec::new();
        for id in names(&self.path("caches"))? {
            let path = self.path("caches").join(&id);
            let seconds = |name: &str| std::fs::metadata(path.join(name)).map_or(0, |metadata| metadata.mtime());
            items.push(Item {
                needs: Vec::new(),
                depth: 0,
                pinned: false,
                usage: Usage {
                    kind: UsageKind::CacheDirectory,
                    size: measure(&path.join("root")),
                    created: seconds("about"),
                    last_used: seconds("lock"),
                    in_use: false,
                    description: std::fs::read_to_string(path.join("about")).unwrap_or_default(),
                    id,
                },
            });
        }
        Ok(items)
    }

    /// The layers made of each snapshot.
    fn layers_made(&self) -> Result<HashMap<String, Vec<LayerMade>>, Error> {
        let mut made: HashMap<String, Vec<LayerMade>> = HashMap::new();
        let rows = self.rows("SELECT snapshot, digest, compression FROM layers", |row| {
            let form: String = row.get(2)?;
            let layer = LayerMade {
                digest: row.get(1)?,
                is_plain: Form::of_plain(&form).is_some(),
            };
            Ok((row.get(0)?, layer))
        })?;
        for (snapshot, layer) in rows {
            made.entry(snapshot).or_default().push(layer);
        }
        Ok(made)
    }

    fn rows<T>(&self, query: &str, read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>) -> Result<Vec<T>, Error> {
        let connection = self.index().read();
        let list = || {
            let mut statement = connection.prepare(query)?;
            statement.query_map([], read)?.collect::<rusqlite::Result<Vec<T>>>()
        };
        list().map_err(index_failed("list what there is"))
    }

    /// Removes files that no row names: a process may die between moving a file to its place and recording it. What
    /// this process is about to record is left alone.
    fn remove_unrecorded(&self) -> Result<(), Error> {
        let own = self.lease().name();
        let own = Lease::of_name(&own);
        for path in self.unrecorded_snapshots(|name| Lease::of_name(name) != own)? {
            self.remove(&path)?;
        }
        let known: HashSet<String> = self
            .rows("SELECT digest FROM blobs", |row| row.get(0))?
            .into_iter()
            .collect();
        for name in names(&self.path("blobs/sha256"))? {
            if !known.contains(&format!("sha256:{name}")) {
                self.remove(&self.path("blobs/sha256").join(name))?;
            }
        }
        Ok(())
    }
}

/// Lets every item be used as recently, and be as much in use, as those that need it.
fn inherit(items: &mut [Item]) {
    let places: HashMap<String, usize> = items
        .iter()
        .enumerate()
        .map(|(at, item)| (item.usage.id.clone(), at))
        .collect();
    // From each item up its ancestors; stops where nothing changes, so chains are not walked again and again.
    for start in 0..items.len() {
        let mut open = vec![start];
        while let Some(at) = open.pop() {
            let (used, in_use, depth) = (items[at].usage.last_used, items[at].usage.in_use, items[at].depth);
            let is_snapshot = items[at].usage.kind != UsageKind::Blob;
            for need in items[at].needs.clone() {
                let Some(&below) = places.get(&need) else { continue };
                let item = &mut items[below];
                let inherited = in_use && is_snapshot;
                if item.usage.last_used >= used && (item.usage.in_use || !inherited) && item.depth > depth {
                    continue;
                }
                item.usage.last_used = item.usage.last_used.max(used);
                item.usage.in_use |= inherited;
                item.depth = item.depth.max(depth + 1);
                open.push(below);
            }
        }
    }
    // Depth so far counts from the leaves; those nearest the leaves go first.
    let deepest = items.iter().map(|item| item.depth).max().unwrap_or(0);
    for item in items {
        item.depth = deepest - item.depth;
    }
}

/// The items to remove, of `items` in the order of going.
fn choose<'a>(items: &'a [Item], wish: &Prune, now: i64) -> Vec<&'a Item> {
    let mut left: u64 = items.iter().map(|item| item.usage.size).sum();
    let mut holders: HashMap<&str, usize> = HashMap::new();
    for need in items.iter().flat_map(|item| &item.needs) {
        *holders.entry(need).or_default() += 1;
    }
    let mut doomed = Vec::new();
    for item in items {
        if wish.keep_storage.is_some_and(|most| left <= most) {
            break;
        }
        let age = u64::try_from(now - item.usage.last_used).unwrap_or(0);
        let young = wish.older_than.is_some_and(|least| age < least.as_secs());
        let held = holders.get(item.usage.id.as_str()).is_some_and(|holders| *holders > 0);
        if item.pinned || young || held || (item.usage.in_use && !wish.all) {
            continue;
        }
        for need in &item.needs {
            if let Some(holders) = holders.get_mut(need.as_str()) {
                *holders -= 1;
            }
        }
        left -= item.usage.size;
        doomed.push(item);
    }
    doomed
}

/// Removes a snapshot, and all that leads to it, from the index.
pub(crate) fn delete_snapshot(transaction: &Transaction<'_>, id: &str) -> rusqlite::Result<()> {
    for statement in [
        "DELETE FROM aliases WHERE target IN (SELECT key FROM records WHERE snapshot = ?1)",
        "DELETE FROM records WHERE snapshot = ?1",
        "DELETE FROM layers WHERE snapshot = ?1",
        "DELETE FROM snapshots WHERE id = ?1",
    ] {
        transaction.execute(statement, params![id])?;
    }
    Ok(())
}

fn delete_blob(transaction: &Transaction<'_>, digest: &str) -> rusqlite::Result<()> {
    forget_written_layer(transaction, digest)?;
    transaction.execute("DELETE FROM blobs WHERE digest = ?1", params![digest])?;
    Ok(())
}

/// Forgets the layers that were nothing but the blob `digest`; a plain one can still be made of its snapshot.
pub(crate) fn forget_written_layer(transaction: &Transaction<'_>, digest: &str) -> rusqlite::Result<usize> {
    let statement = format!("DELETE FROM layers WHERE digest = ?1 AND compression NOT LIKE '{PLAIN}%'");
    transaction.execute(&statement, params![digest])
}

fn hex(digest: &str) -> &str {
    digest.trim_start_matches("sha256:")
}

/// What the files below `directory` take on the disk; each name of a file that has several, here or in other snapshots,
/// counts for its part. What cannot be read counts nothing.
fn measure(directory: &Path) -> u64 {
    let mut size = 0;
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(&directory).into_iter().flatten().flatten() {
            let Ok(file) = entry.metadata() else { continue };
            let mut names = 1;
            if file.is_dir() {
                open.push(entry.path());
            } else {
                names = file.nlink().max(1);
            }
            size += file.blocks() * 512 / names;
        }
    }
    size
}
