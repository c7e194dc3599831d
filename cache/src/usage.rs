//! What takes how much space, and why it is kept.
//!
//! Everything in the store is an item: snapshots, blobs, cache directories. An item needs others: a snapshot its parent, its
//! origin, the blob it came in. What keeps an item is handed down to all that it needs:
//!
//! - named images. Some of their items cannot be had again and are *pinned*: blobs, and snapshots whose plain layers are
//!   made of them when somebody reads. The others, such as base layers unpacked, only spare work.
//! - running processes, by what their leases hold (`lease.rs`);
//! - the time of the last use.
//!
//! Looking takes no lock and stops nobody: what is shown was so when it was looked at. Sizes are measured once, for
//! snapshots never change; cache directories are measured again when they were used since.

use std::collections::{HashMap, HashSet};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::rc::Rc;

use oci::{Descriptor, Digest, ManifestKind};
use rusqlite::{Row, params};

use crate::error::{failed, index_failed};
use crate::layer::Form;
use crate::lease::{self, Hold, Lease, Living};
use crate::store::{names, now};
use crate::{Error, SnapshotId, Store};

/// What kind of thing takes space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
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

/// A process that uses the store.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct User {
    /// Its number, as it knows it; 0 if it has not said so.
    pub process: u32,
    /// What it says it does.
    pub about: String,
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
    /// Whether it stays as long as these images have their names, whatever is pruned.
    pub pinned: bool,
    /// The named images that need it or were made from it. Several names of the same image are one, joined by commas.
    pub images: Vec<String>,
    /// The running processes that rely on it.
    pub held_by: Vec<User>,
    /// The ids of what stands directly on it.
    pub needed_by: Vec<String>,
    /// The text of the step or the name of the image, where there is one.
    pub description: String,
}

/// Something that may be removed, and what it holds back.
pub(crate) struct Item {
    pub(crate) usage: Usage,
    /// Ids of other items that must stay as long as this one does.
    pub(crate) needs: Vec<String>,
    /// A running process needs it, or it is so new that nobody knows its size.
    pub(crate) held: bool,
    /// How many must go before, one after the other: a tie-breaker for equal last uses.
    height: usize,
    images: Vec<usize>,
    holders: Vec<usize>,
}

/// Who keeps what, at one time.
pub(crate) struct Keepers {
    /// The names of each image.
    images: Vec<String>,
    /// The images that lead to a blob or a plain layer.
    needed: HashMap<Digest, Vec<usize>>,
    pub(crate) living: Vec<Living>,
    held_snapshots: HashMap<SnapshotId, Vec<usize>>,
    pub(crate) held_blobs: HashMap<Digest, Vec<usize>>,
    held_directories: HashMap<String, Vec<usize>>,
    /// By the name of the lease.
    leases: HashMap<String, usize>,
}

/// A layer made of a snapshot.
struct LayerMade {
    digest: String,
    /// Whether it is no blob, and can be had as long as the snapshot is there.
    is_plain: bool,
}

type Layers = HashMap<String, Vec<LayerMade>>;
/// The sizes of cache directories, and of snapshots that had not been measured, by name.
pub(crate) type Sizes = HashMap<String, u64>;

impl Store {
    /// Everything that takes space, most recently used first. Stops nobody.
    ///
    /// # Errors
    /// If the index or the snapshots cannot be read.
    pub fn usage(&self) -> Result<Vec<Usage>, Error> {
        let sizes = self.measure()?;
        let mut items = self.items(&self.keepers()?, &sizes)?;
        items.reverse();
        Ok(items.into_iter().map(|item| item.usage).collect())
    }

    /// Finds out the sizes that are not known yet. Takes as long as it takes to walk what is new.
    pub(crate) fn measure(&self) -> Result<Sizes, Error> {
        let unmeasured: Vec<String> = self.rows("SELECT id FROM snapshots WHERE size IS NULL", |row| row.get(0))?;
        let measured: Vec<(String, u64)> = unmeasured
            .into_iter()
            .map(|id| {
                let size = measure(&self.path("snapshots").join(&id));
                (id, size)
            })
            .collect();
        if !measured.is_empty() {
            // What cannot be noted, on a full disk, is measured again.
            let _ = self.index().write("note sizes", |transaction| {
                for (id, size) in &measured {
                    transaction.execute(
                        "UPDATE snapshots SET size = ?2 WHERE id = ?1",
                        params![id, size.cast_signed()],
                    )?;
                }
                Ok(())
            });
        }
        // Snapshots and cache directories have names of different forms.
        let mut sizes: Sizes = measured.into_iter().collect();
        for name in names(&self.path("caches"))? {
            let size = directory_size(&self.path("caches").join(&name));
            sizes.insert(name, size);
        }
        Ok(sizes)
    }

    /// Of the sizes those of cache directories.
    pub(crate) fn directory_sizes(sizes: &Sizes) -> Vec<u64> {
        let is_directory = |name: &&String| name.parse::<SnapshotId>().is_err();
        sizes.keys().filter(is_directory).map(|name| sizes[name]).collect()
    }

    /// Who keeps what now.
    pub(crate) fn keepers(&self) -> Result<Keepers, Error> {
        let mut living = lease::living(&self.path("leases"))?;
        living.retain(|living| !self.lease().is_released(&living.lease));
        let mut keepers = Keepers {
            images: Vec::new(),
            needed: HashMap::new(),
            leases: living.iter().map(|living| living.lease.clone()).zip(0..).collect(),
            held_snapshots: HashMap::new(),
            held_blobs: HashMap::new(),
            held_directories: HashMap::new(),
            living: Vec::new(),
        };
        let mut known = HashMap::new();
        for (number, living) in living.iter().enumerate() {
            for hold in &living.holds {
                match hold {
                    Hold::Snapshot(id) => keepers.held_snapshots.entry(*id).or_default().push(number),
                    Hold::Blob(digest) => keepers.held_blobs.entry(*digest).or_default().push(number),
                    Hold::Image(root) => {
                        // One that cannot be read leads nowhere.
                        let parts = self.parts("", root, &mut known).unwrap_or_default();
                        for part in parts.iter().chain([&root.digest]) {
                            keepers.held_blobs.entry(*part).or_default().push(number);
                        }
                    }
                    Hold::CacheDirectory(name) => {
                        keepers.held_directories.entry(name.clone()).or_default().push(number);
                    }
                    Hold::Logs(_) => {}
                }
            }
        }
        keepers.living = living;
        let mut roots: Vec<(Descriptor, String)> = Vec::new();
        for image in self.images()? {
            match roots.iter_mut().find(|(root, _)| root.digest == image.manifest.digest) {
                Some((_, names)) => *names = format!("{names}, {}", image.name),
                None => roots.push((image.manifest, image.name.to_string())),
            }
        }
        for (number, (root, names)) in roots.into_iter().enumerate() {
            for part in self.parts(&names, &root, &mut known)?.iter() {
                keepers.needed.entry(*part).or_default().push(number);
            }
            keepers.images.push(names);
        }
        Ok(keepers)
    }

    /// The digests of all that an image consists of, the root among them, each once.
    fn parts(
        &self,
        name: &str,
        root: &Descriptor,
        known: &mut HashMap<Digest, Rc<HashSet<Digest>>>,
    ) -> Result<Rc<HashSet<Digest>>, Error> {
        if let Some(parts) = known.get(&root.digest) {
            return Ok(parts.clone());
        }
        let mut found = HashSet::new();
        let mut open = vec![root.clone()];
        while let Some(document) = open.pop() {
            if !found.insert(document.digest) {
                continue;
            }
            // An image may be named before, or without, all its platforms being here.
            if let Some(kind) = self.read_manifest(name, &document)? {
                match kind {
                    ManifestKind::Index(index) => open.extend(index.manifests),
                    ManifestKind::Manifest(manifest) => {
                        let parts = manifest.layers.into_iter().chain([manifest.config]);
                        found.extend(parts.map(|part| part.digest));
                    }
                }
            }
        }
        let found = Rc::new(found);
        known.insert(root.digest, found.clone());
        Ok(found)
    }

    fn read_manifest(&self, name: &str, document: &Descriptor) -> Result<Option<ManifestKind>, Error> {
        let Some(blob) = self.read_blob(&document.digest)? else {
            return Ok(None);
        };
        let bytes = match std::fs::read(&blob.path) {
            // Its image lost its name, and it was pruned meanwhile.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            read => read.map_err(failed("read", &blob.path))?,
        };
        let kind = ManifestKind::parse(&document.media_type, &bytes).map_err(|source| Error::Manifest {
            name: name.to_owned(),
            digest: document.digest,
            source: Box::new(source),
        })?;
        Ok(Some(kind))
    }

    /// All items, in the order in which they should go.
    pub(crate) fn items(&self, keepers: &Keepers, sizes: &Sizes) -> Result<Vec<Item>, Error> {
        let layers = self.layers_made()?;
        let mut items = self.snapshot_items(keepers, &layers, sizes)?;
        items.extend(self.blob_items(keepers, &layers, &items)?);
        items.extend(self.directory_items(keepers, sizes)?);
        hand_down(&mut items);
        for item in &mut items {
            let image = |number: &usize| keepers.images[*number].clone();
            item.usage.images = item.images.iter().map(image).collect();
            item.usage.in_use = !item.images.is_empty();
            item.usage.held_by = item.holders.iter().map(|number| keepers.user(*number)).collect();
            item.held |= !item.holders.is_empty();
        }
        items.sort_by(|a, b| {
            let order = |item: &Item| (item.usage.last_used, item.height);
            order(a).cmp(&order(b)).then_with(|| a.usage.id.cmp(&b.usage.id))
        });
        Ok(items)
    }

    fn snapshot_items(&self, keepers: &Keepers, layers: &Layers, sizes: &Sizes) -> Result<Vec<Item>, Error> {
        let rows = self.rows(
            "SELECT id, parent, origin, blob, size, created,
                    max(used, coalesce((SELECT max(used) FROM records WHERE snapshot = id), 0)),
                    coalesce((SELECT step FROM records WHERE snapshot = id ORDER BY created DESC LIMIT 1), '')
             FROM snapshots",
            |row| {
                let texts: [Option<String>; 3] = [row.get(1)?, row.get(2)?, row.get(3)?];
                let numbers = (row.get::<_, Option<i64>>(4)?, row.get(5)?, row.get(6)?);
                Ok((row.get::<_, String>(0)?, texts, numbers, row.get::<_, String>(7)?))
            },
        )?;
        let item = |(id, [parent, origin, blob], (size, created, last_used), step): (
            String,
            [Option<String>; 3],
            _,
            String,
        )| {
            let size = Option::<i64>::map(size, i64::cast_unsigned).or_else(|| sizes.get(&id).copied());
            let maker: &String = origin.as_ref().unwrap_or(&id);
            let made_of = layers.get(maker).into_iter().flatten().map(|layer| &layer.digest);
            let images = keepers.images_of(blob.iter().chain(made_of));
            let plain = layers.get(&id).into_iter().flatten().filter(|layer| layer.is_plain);
            let plain: Vec<&String> = plain.map(|layer| &layer.digest).collect();
            let mut holders = keepers.holders_of(plain.iter().copied());
            holders.extend(keepers.leases.get(Lease::of_name(&id).unwrap_or_default()));
            let parsed: Option<SnapshotId> = id.parse().ok();
            holders.extend(
                parsed
                    .and_then(|id| keepers.held_snapshots.get(&id))
                    .into_iter()
                    .flatten(),
            );
            let description = match step.is_empty() {
                true => images
                    .first()
                    .map_or_else(String::new, |image| keepers.images[*image].clone()),
                false => step,
            };
            let kind = match blob {
                Some(_) => UsageKind::ImageLayer,
                None => UsageKind::StepResult,
            };
            Item {
                held: size.is_none(),
                height: 0,
                images,
                holders,
                usage: Usage {
                    pinned: !keepers.images_of(plain.into_iter()).is_empty(),
                    last_used,
                    ..usage(id, kind, size.unwrap_or(0), created, description)
                },
                needs: [parent, origin, blob].into_iter().flatten().collect(),
            }
        };
        Ok(rows.into_iter().map(item).collect())
    }

    fn blob_items(&self, keepers: &Keepers, layers: &Layers, snapshots: &[Item]) -> Result<Vec<Item>, Error> {
        // A compressed layer is as recently used as the step's result it was made of.
        let mut used: HashMap<&str, i64> = HashMap::new();
        for snapshot in snapshots {
            for layer in layers.get(&snapshot.usage.id).into_iter().flatten() {
                let used = used.entry(&layer.digest).or_default();
                *used = snapshot.usage.last_used.max(*used);
            }
        }
        let rows = self.rows("SELECT digest, size, created, used FROM blobs", |row| {
            let numbers = (row.get::<_, i64>(1)?, row.get(2)?, row.get::<_, i64>(3)?);
            Ok((row.get::<_, String>(0)?, numbers))
        })?;
        let item = |(id, (size, created, own)): (String, (i64, i64, i64))| {
            let images = keepers.images_of([&id].into_iter());
            let description = images
                .first()
                .map_or_else(String::new, |image| keepers.images[*image].clone());
            Item {
                needs: Vec::new(),
                held: false,
                height: 0,
                holders: keepers.holders_of([&id].into_iter()),
                usage: Usage {
                    pinned: !images.is_empty(),
                    last_used: own.max(used.get(id.as_str()).copied().unwrap_or(0)),
                    ..usage(id, UsageKind::Blob, size.cast_unsigned(), created, description)
                },
                images,
            }
        };
        Ok(rows.into_iter().map(item).collect())
    }

    fn directory_items(&self, keepers: &Keepers, sizes: &Sizes) -> Result<Vec<Item>, Error> {
        let mut items = Vec::new();
        for id in names(&self.path("caches"))? {
            let path = self.path("caches").join(&id);
            let seconds = |name: &str| std::fs::metadata(path.join(name)).map_or(0, |metadata| metadata.mtime());
            let size = sizes.get(&id).copied();
            let about = std::fs::read_to_string(path.join("about")).unwrap_or_default();
            items.push(Item {
                needs: Vec::new(),
                held: size.is_none(),
                height: 0,
                images: Vec::new(),
                holders: keepers.held_directories.get(&id).cloned().unwrap_or_default(),
                usage: Usage {
                    last_used: seconds("lock"),
                    ..usage(
                        id,
                        UsageKind::CacheDirectory,
                        size.unwrap_or(0),
                        seconds("about"),
                        about,
                    )
                },
            });
        }
        Ok(items)
    }

    /// The layers made of each snapshot.
    fn layers_made(&self) -> Result<Layers, Error> {
        let mut made: Layers = HashMap::new();
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

    pub(crate) fn rows<T>(
        &self,
        query: &str,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, Error> {
        let connection = self.index().read();
        let list = || {
            let mut statement = connection.prepare(query)?;
            statement.query_map([], read)?.collect::<rusqlite::Result<Vec<T>>>()
        };
        list().map_err(index_failed("list what there is"))
    }
}

impl Keepers {
    /// The images that need one of these digests, each once.
    fn images_of<'a>(&self, digests: impl Iterator<Item = &'a String>) -> Vec<usize> {
        collect(digests.filter_map(|digest| self.needed.get(&digest.parse().ok()?)))
    }

    /// The processes that hold one of these digests, each once.
    fn holders_of<'a>(&self, digests: impl Iterator<Item = &'a String>) -> Vec<usize> {
        collect(digests.filter_map(|digest| self.held_blobs.get(&digest.parse().ok()?)))
    }

    fn user(&self, number: usize) -> User {
        let living = &self.living[number];
        User {
            process: living.process,
            about: living.about.clone(),
        }
    }
}

fn collect<'a>(numbers: impl Iterator<Item = &'a Vec<usize>>) -> Vec<usize> {
    let mut collected: Vec<usize> = numbers.flatten().copied().collect();
    collected.sort_unstable();
    collected.dedup();
    collected
}

fn usage(id: String, kind: UsageKind, size: u64, created: i64, description: String) -> Usage {
    Usage {
        id,
        kind,
        size,
        created,
        last_used: now(),
        in_use: false,
        pinned: false,
        images: Vec::new(),
        held_by: Vec::new(),
        needed_by: Vec::new(),
        description,
    }
}

/// Lets every item be used as recently, and be kept by the same, as those that need it. What is nobody's need comes
/// first, so each item is looked at once.
fn hand_down(items: &mut [Item]) {
    let places: HashMap<String, usize> = items.iter().map(|item| item.usage.id.clone()).zip(0..).collect();
    let needs: Vec<Vec<usize>> = items
        .iter()
        .map(|item| {
            let needs = item.needs.iter().filter(|need| **need != item.usage.id);
            let places = needs.filter_map(|need| places.get(need).copied());
            let mut needs: Vec<usize> = places.collect();
            needs.sort_unstable();
            needs.dedup();
            needs
        })
        .collect();
    let mut waiting = vec![0_usize; items.len()];
    needs.iter().flatten().for_each(|need| waiting[*need] += 1);
    let mut open: Vec<usize> = (0..items.len()).filter(|at| waiting[*at] == 0).collect();
    while let Some(at) = open.pop() {
        for list in [&mut items[at].images, &mut items[at].holders] {
            list.sort_unstable();
            list.dedup();
        }
        for need in &needs[at] {
            let [above, below] = items.get_disjoint_mut([at, *need]).expect("nothing needs itself");
            below.usage.last_used = below.usage.last_used.max(above.usage.last_used);
            below.usage.needed_by.push(above.usage.id.clone());
            below.height = below.height.max(above.height + 1);
            below.images.extend_from_slice(&above.images);
            below.holders.extend_from_slice(&above.holders);
            below.held |= above.held;
            waiting[*need] -= 1;
            if waiting[*need] == 0 {
                open.push(*need);
            }
        }
    }
}

/// The size of a cache directory, which is measured if it was used since it was measured last.
fn directory_size(path: &Path) -> u64 {
    let note = path.join("size");
    let time = |path: &Path| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.mtime(), metadata.mtime_nsec()))
    };
    let noted = || {
        let is_fresh = time(&note)? > time(&path.join("lock"))?;
        let text = is_fresh.then(|| std::fs::read_to_string(&note).ok())??;
        text.trim_end().parse().ok()
    };
    noted().unwrap_or_else(|| {
        let size = measure(&path.join("root"));
        // Without the note it is measured again.
        let _ = std::fs::write(&note, format!("{size}\n"));
        size
    })
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
