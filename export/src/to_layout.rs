//! An image or an index as an OCI layout: a tar archive or a directory.
//!
//! ```text
//! oci-layout                 {"imageLayoutVersion":"1.0.0"}
//! index.json                 one entry for each name, or one without a name
//! blobs/sha256/<hex>         manifest, configuration, layers
//! ```
//!
//! The archive has the layers first, lowest first: so it can be begun before the rest is known, see `draft.rs`. A directory may
//! hold other images already: they stay, and names move to the new image.

use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use cache::{Content, Store};
use oci::{Descriptor, Digest, Reference, media_type};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tar::EntryType;

use crate::archive::{self, Archive, Entry};
use crate::image::Part;
use crate::{Bundle, Error, Progress, dest};

const LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;
const IMAGE_NAME: &str = "io.containerd.image.name";
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// Writes the layout of `bundle` as a tar archive.
///
/// # Errors
/// [`Error::MissingBlob`], or if reading or writing fails.
pub fn to_layout_archive(
    store: &Store,
    bundle: &Bundle,
    names: &[Reference],
    out: impl Write,
    progress: &dyn Progress,
) -> Result<(), Error> {
    write_archive(store, bundle, names, None, (out, None), progress)
}

/// Adds `bundle` to the layout in the directory `dest`, which is made if it is not there.
///
/// # Errors
/// [`Error::MissingBlob`], [`Error::ForeignIndex`], or if reading or writing fails.
pub fn to_layout_directory(
    store: &Store,
    bundle: &Bundle,
    names: &[Reference],
    dest: &Path,
    progress: &dyn Progress,
) -> Result<(), Error> {
    if fs::metadata(dest).is_ok_and(|found| !found.is_dir()) {
        return Err(Error::DestinationIsNoDirectory(dest.to_owned()));
    }
    let blobs = dest.join("blobs/sha256");
    fs::create_dir_all(&blobs).map_err(Error::io("create directory", &blobs))?;
    let mut meter = Meter::new("copying blobs", progress);
    let parts = parts(store, bundle)?;
    meter.total = parts.iter().map(|part| part.descriptor.size).sum();
    for part in &parts {
        copy_blob(part, &blobs.join(part.descriptor.digest.hex()))?;
        meter.add(part.descriptor.size);
    }
    mark(dest)?;
    add_to_index(dest, bundle, names)?;
    meter.done();
    Ok(())
}

/// Puts one blob of the store into the layout in the directory `dest`, if it is not there; whether it was not.
///
/// # Errors
/// [`Error::MissingBlob`], or if reading or writing fails.
pub(crate) fn put_blob(store: &Store, blob: &Descriptor, dest: &Path) -> Result<bool, Error> {
    if fs::metadata(dest).is_ok_and(|found| !found.is_dir()) {
        return Err(Error::DestinationIsNoDirectory(dest.to_owned()));
    }
    let to = dest.join("blobs/sha256").join(blob.digest.hex());
    if fs::metadata(&to).is_ok_and(|found| found.is_file() && found.len() == blob.size) {
        return Ok(false);
    }
    let blobs = dest.join("blobs/sha256");
    fs::create_dir_all(&blobs).map_err(Error::io("create directory", &blobs))?;
    copy_blob(&crate::image::find(store, blob)?, &to)?;
    Ok(true)
}

/// Lets `name` lead to `bundle`, whose blobs are there, if it leads to `over` now; whether it did. Nobody else can change
/// that in between.
pub(crate) fn name_if(dest: &Path, bundle: &Bundle, name: &Reference, over: Option<Digest>) -> Result<bool, Error> {
    mark(dest)?;
    let mut is_so = false;
    let leads_to_over = |index: &Index| {
        let new = entries(bundle, std::slice::from_ref(name));
        let old = index.manifests.iter().find(|old| supersedes(&new[0], old));
        let digest = old.and_then(|old| old["digest"].as_str()?.parse().ok());
        is_so = digest == over;
        is_so
    };
    add_to_index_if(dest, bundle, std::slice::from_ref(name), leads_to_over)?;
    Ok(is_so)
}

/// The archive; with `docker_manifest` as `manifest.json` it is one for `docker load` as well. What is written already are its
/// directories and so many blobs.
pub(crate) fn write_archive(
    store: &Store,
    bundle: &Bundle,
    names: &[Reference],
    docker_manifest: Option<&[u8]>,
    (mut out, already): (impl Write, Option<usize>),
    progress: &dyn Progress,
) -> Result<(), Error> {
    let parts = parts(store, bundle)?;
    let mut meter = Meter::new("sending tarball", progress);
    meter.total = parts.iter().map(|part| part.descriptor.size).sum();
    if already.is_none() {
        write_directories(&mut out)?;
    }
    let (written, missing) = parts.split_at(already.unwrap_or(0));
    meter.current = written.iter().map(|part| part.descriptor.size).sum();
    let mut archive = Archive::new(out);
    for part in missing {
        let size = part.descriptor.size;
        let name = blob_name(&part.descriptor);
        let entry = entry_of(&name, size);
        match &part.content {
            Content::File(blob) => archive.file(&entry, &blob.path)?,
            made => archive.stream(&entry, |out| Ok(made.copy_to(out)?))?,
        }
        meter.add(size);
    }
    let index = Index::of(entries(bundle, names)).to_bytes();
    archive.bytes(&Entry::new(b"index.json", EntryType::Regular, 0o644), &index)?;
    if let Some(manifest) = docker_manifest {
        archive.bytes(&Entry::new(b"manifest.json", EntryType::Regular, 0o644), manifest)?;
    }
    archive.bytes(&Entry::new(b"oci-layout", EntryType::Regular, 0o444), LAYOUT)?;
    archive.finish()?;
    meter.done();
    Ok(())
}

/// Where the directories end in an archive, and blobs begin.
pub(crate) const DIRECTORIES_END: u64 = 2 * archive::BLOCK;

/// The beginning of every archive.
pub(crate) fn write_directories(out: &mut impl Write) -> Result<(), Error> {
    for directory in ["blobs/", "blobs/sha256/"] {
        let entry = Entry::new(directory.as_bytes(), EntryType::Directory, 0o755);
        out.write_all(archive::header_of(&entry).as_bytes())
            .map_err(Error::Write)?;
    }
    Ok(())
}

/// What an archive says of the blob called `name`.
pub(crate) fn entry_of(name: &str, size: u64) -> Entry<'_> {
    let entry = Entry::new(name.as_bytes(), EntryType::Regular, 0o444);
    Entry { size, ..entry }
}

/// The path of a blob in a layout.
pub(crate) fn blob_name(blob: &Descriptor) -> String {
    format!("blobs/sha256/{}", blob.digest.hex())
}

fn parts(store: &Store, bundle: &Bundle) -> Result<Vec<Part>, Error> {
    let mut parts = bundle.content(store)?;
    parts.extend(bundle.documents(store)?);
    Ok(parts)
}

/// How many bytes of how many, told after each blob.
struct Meter<'a> {
    item: &'static str,
    progress: &'a dyn Progress,
    current: u64,
    total: u64,
}

impl Meter<'_> {
    fn new<'a>(item: &'static str, progress: &'a dyn Progress) -> Meter<'a> {
        Meter {
            item,
            progress,
            current: 0,
            total: 0,
        }
    }

    fn add(&mut self, bytes: u64) {
        self.current += bytes;
        self.progress.moved(self.item, self.current, Some(self.total), false);
    }

    fn done(&self) {
        self.progress.moved(self.item, self.current, Some(self.total), true);
    }
}

/// `index.json`. The entries are kept as they are found, known fields or not.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    schema_version: u32,
    #[serde(default = "index_type")]
    media_type: String,
    manifests: Vec<Value>,
    #[serde(flatten)]
    extra: serde_json::Map<String, Value>,
}

fn index_type() -> String {
    media_type::INDEX.to_owned()
}

impl Index {
    fn of(manifests: Vec<Value>) -> Index {
        Index {
            schema_version: 2,
            media_type: index_type(),
            manifests,
            extra: serde_json::Map::new(),
        }
    }

    fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("an index has only string keys")
    }
}

/// The entries for an image or an index: one for each name.
fn entries(bundle: &Bundle, names: &[Reference]) -> Vec<Value> {
    let named = |name: Option<&Reference>| {
        let mut entry = bundle.root.clone();
        if let Some(name) = name {
            entry.annotations.insert(IMAGE_NAME.to_owned(), name.to_string());
            entry.annotations.insert(REF_NAME.to_owned(), ref_name(name));
        }
        serde_json::to_value(entry).expect("a descriptor has only string keys")
    };
    if names.is_empty() {
        vec![named(None)]
    } else {
        names.iter().map(|name| named(Some(name))).collect()
    }
}

/// What of the name identifies an image within its repository.
fn ref_name(name: &Reference) -> String {
    match (name.tag(), name.digest()) {
        (Some(tag), _) => tag.to_owned(),
        (None, Some(digest)) => digest.to_string(),
        (None, None) => String::new(),
    }
}

/// Puts the entries for `bundle` into `index.json`, one process at a time.
fn add_to_index(dest: &Path, bundle: &Bundle, names: &[Reference]) -> Result<(), Error> {
    add_to_index_if(dest, bundle, names, |_| true)
}

/// The same, if what is there is as it is `wanted` to be.
fn add_to_index_if(
    dest: &Path,
    bundle: &Bundle,
    names: &[Reference],
    wanted: impl FnOnce(&Index) -> bool,
) -> Result<(), Error> {
    // The directory itself is locked: a layout has no place for other files.
    let lock = File::open(dest).map_err(Error::io("lock", dest))?;
    lock.lock().map_err(Error::io("lock", dest))?;
    let path = dest.join("index.json");
    let new = entries(bundle, names);
    let mut index = match fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|source| Error::ForeignIndex {
            path: path.clone(),
            source,
        })?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Index::of(Vec::new()),
        Err(error) => return Err(Error::io("read", &path)(error)),
    };
    if !wanted(&index) {
        return Ok(());
    }
    index
        .manifests
        .retain(|old| !new.iter().any(|new| supersedes(new, old)));
    index.manifests.extend(new);
    write_file(&path, &index.to_bytes())
}

/// Whether `new` takes the place of `old`: it has its name, or they are the same image and `old` has no name.
fn supersedes(new: &Value, old: &Value) -> bool {
    let annotation = |entry: &Value, key: &str| entry["annotations"][key].as_str().map(str::to_owned);
    let name = |entry| (annotation(entry, IMAGE_NAME), annotation(entry, REF_NAME));
    match name(old) {
        (None, None) => old["digest"] == new["digest"],
        (None, tag) => tag == name(new).1,
        (image, _) => image == name(new).0,
    }
}

fn copy_blob(part: &Part, to: &Path) -> Result<(), Error> {
    let size = part.descriptor.size;
    if fs::metadata(to).is_ok_and(|found| found.is_file() && found.len() == size) {
        return Ok(());
    }
    dest::replace(to, Permissions::from_mode(0o666), |file| {
        let Content::File(blob) = &part.content else {
            return Ok(part.content.copy_to(file)?);
        };
        let mut from = File::open(&blob.path).map_err(Error::io("read", &blob.path))?;
        let read = std::io::copy(&mut from, file).map_err(Error::io("write", to))?;
        if read == size {
            Ok(())
        } else {
            Err(Error::Changed {
                path: blob.path.clone(),
                expected: size,
                read,
            })
        }
    })
}

/// Says that `dest` is a layout, if nothing there says so.
fn mark(dest: &Path) -> Result<(), Error> {
    let path = dest.join("oci-layout");
    match fs::read(&path) {
        Ok(found) if found == LAYOUT => Ok(()),
        _ => write_file(&path, LAYOUT),
    }
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    dest::replace(path, Permissions::from_mode(0o666), |file| {
        file.write_all(bytes).map_err(Error::io("write", path))
    })
}

#[cfg(test)]
mod tests;
