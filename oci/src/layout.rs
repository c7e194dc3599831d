//! OCI layouts, the reading side: images in a directory or in a tar archive, found by tag or digest.
//!
//! ```text
//! oci-layout                  {"imageLayoutVersion":"1.0.0"}
//! index.json                  which images there are, and their names (annotations)
//! blobs/sha256/<64 digits>    manifests, configurations and layers
//! ```
//!
//! An archive is the same tree in a plain tar, as `docker buildx build -o type=oci`, `docker save` and skopeo's
//! `oci-archive:` write it. It is read in place: the headers are indexed once and nothing is unpacked.
//!
//! Documents are hostile: file names come from digests only, sizes are bounded, manifests and configurations are
//! verified. Blobs are handed out unverified, as [`crate::Fetch`] says. Layouts are written in `export`, not here.

mod archive;
mod fetch;
mod location;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::{
    Blob, Descent, Descriptor, Digest, Error, ImageName, Index, ManifestKind, Platform, Reference, ResolvedImage,
    descent::{NESTING_LIMIT, too_deep},
    error::listed,
    media_type,
};
use archive::Archive;

pub use fetch::Layouts;
pub use location::parse_location;

/// No manifest, index or configuration may be larger: the limit that registries set, too.
pub const DOCUMENT_LIMIT: u64 = 4 << 20;

const TAG: &str = "org.opencontainers.image.ref.name";
const NAME: &str = "io.containerd.image.name";

/// An opened layout. It stays open: what is read later comes from the same directory or archive.
#[derive(Debug)]
pub struct Layout {
    path: PathBuf,
    files: Files,
    index: Index,
}

#[derive(Debug)]
enum Files {
    Directory,
    Archive(Archive),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Marker {
    image_layout_version: String,
}

impl Layout {
    /// Opens the layout in the directory or tar archive at `path` and reads its index.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read, [`Error::Layout`] if it is none, [`Error::Document`] if its index is invalid.
    pub fn open(path: &Path) -> Result<Layout, Error> {
        let metadata = std::fs::metadata(path).map_err(|source| cannot_read(path, source))?;
        let files = if metadata.is_dir() {
            Files::Directory
        } else if metadata.is_file() {
            Files::Archive(Archive::open(path)?)
        } else {
            return Err(no_layout(path, "it is neither a directory nor a file".to_owned()));
        };
        let mut layout = Layout {
            path: path.to_owned(),
            files,
            index: Index::new(Vec::new()),
        };
        layout.check_version()?;
        let bytes = layout.read_small("index.json")?;
        match ManifestKind::parse(media_type::INDEX, &bytes)? {
            ManifestKind::Index(index) => layout.index = index,
            ManifestKind::Manifest(_) => return Err(no_layout(path, "`index.json` is a manifest".to_owned())),
        }
        Ok(layout)
    }

    /// What `index.json` lists.
    #[must_use]
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// Finds an image: by `digest` if there is one, else by `tag`, else the one tagged `latest` or the only one.
    ///
    /// A tag is the annotation `org.opencontainers.image.ref.name`; the annotation `io.containerd.image.name` serves for
    /// whole names. The layout may list the images of several platforms under one tag without an index of their own.
    ///
    /// # Errors
    /// [`Error::NoSuchImage`] and [`Error::NoSuchPlatform`], naming what there is; [`Error::Layout`] for missing blobs,
    /// [`Error::DigestMismatch`] and [`Error::Document`] for damaged ones.
    pub fn resolve(
        &self,
        tag: Option<&str>,
        digest: Option<Digest>,
        platform: &Platform,
    ) -> Result<ResolvedImage, Error> {
        let entry = match digest {
            Some(digest) => self.entry_by_digest(digest)?,
            None => self.entry_by_tag(tag, platform)?,
        };
        let root = Descriptor::new(&entry.media_type, entry.digest, entry.size);
        let mut descriptor = entry;
        let mut way = Descent::to(platform);
        let mut indexes = Vec::new();
        loop {
            let bytes = self.read_document(&descriptor)?;
            match ManifestKind::parse(&descriptor.media_type, &bytes)? {
                ManifestKind::Index(index) => {
                    way.enter(&index)?;
                    descriptor = way.next()?;
                    indexes.push(bytes);
                }
                ManifestKind::Manifest(manifest) => {
                    let config_bytes = self.read_document(&manifest.config)?;
                    return Ok(ResolvedImage {
                        name: ImageName::Layout {
                            path: self.path.clone(),
                            tag: tag.map(str::to_owned),
                            digest,
                        },
                        root,
                        indexes,
                        manifest_descriptor: descriptor,
                        config: manifest.configuration(&config_bytes)?,
                        manifest,
                        manifest_bytes: bytes,
                        config_bytes,
                    });
                }
            }
        }
    }

    /// The manifests of all platforms that a name leads to, through whatever indexes: those of `digest` if there is one,
    /// else those tagged `tag`, else all there are. What is said about images is left out.
    ///
    /// # Errors
    /// As [`Layout::resolve`].
    pub fn manifests(&self, tag: Option<&str>, digest: Option<Digest>) -> Result<Vec<Descriptor>, Error> {
        let mut next = match (digest, tag) {
            (Some(digest), _) => vec![self.entry_by_digest(digest)?],
            (None, Some(tag)) => self.tagged(tag).into_iter().cloned().collect(),
            (None, None) => self.index.manifests.clone(),
        };
        if next.is_empty() {
            return Err(self.no_such_image(tag.unwrap_or("latest")));
        }
        let mut found: Vec<Descriptor> = Vec::new();
        // What the indexes of the last round list is looked at, too.
        for _ in 0..=NESTING_LIMIT {
            let mut inner = Vec::new();
            for descriptor in next {
                if media_type::is_manifest(&descriptor.media_type) {
                    if is_image(&descriptor) && found.iter().all(|known| known.digest != descriptor.digest) {
                        found.push(descriptor);
                    }
                } else if let ManifestKind::Index(index) =
                    ManifestKind::parse(&descriptor.media_type, &self.read_document(&descriptor)?)?
                {
                    inner.extend(index.manifests);
                }
            }
            if inner.is_empty() {
                return Ok(found);
            }
            next = inner;
        }
        Err(too_deep())
    }

    /// Opens a blob. Its bytes are not verified.
    ///
    /// # Errors
    /// [`Error::Layout`] if the layout lacks it or has another size of it, [`Error::Io`] if it cannot be read.
    pub fn blob(&self, descriptor: &Descriptor) -> Result<Blob, Error> {
        let name = blob_name(descriptor.digest);
        let (size, blob) = self.open_file(&name)?;
        if size != descriptor.size {
            let reason = format!("`{name}` has {size} bytes, its descriptor says {}", descriptor.size);
            return Err(no_layout(&self.path, reason));
        }
        Ok(blob)
    }

    fn check_version(&self) -> Result<(), Error> {
        let bytes = self.read_small("oci-layout")?;
        let invalid = |reason: String| no_layout(&self.path, format!("`oci-layout` is not valid: {reason}"));
        // A list would be read as the fields in their order.
        if bytes.trim_ascii_start().first() != Some(&b'{') {
            return Err(invalid("it is no JSON object".to_owned()));
        }
        let marker: Marker = serde_json::from_slice(&bytes).map_err(|error| invalid(error.to_string()))?;
        if marker.image_layout_version.split('.').next() == Some("1") {
            return Ok(());
        }
        let reason = format!("version `{}` is not known", marker.image_layout_version);
        Err(no_layout(&self.path, reason))
    }

    fn entry_by_digest(&self, digest: Digest) -> Result<Descriptor, Error> {
        if let Some(entry) = self.index.manifests.iter().find(|entry| entry.digest == digest) {
            return Ok(entry.clone());
        }
        match self.open_file(&blob_name(digest)) {
            // The type is read from the document itself.
            Ok((size, _)) => Ok(Descriptor::new("", digest, size)),
            Err(Error::Layout { .. }) => Err(self.no_such_image(&digest.to_string())),
            Err(error) => Err(error),
        }
        .and_then(|descriptor| self.with_stated_type(descriptor))
    }

    /// A blob that no index describes is asked what it is.
    fn with_stated_type(&self, mut descriptor: Descriptor) -> Result<Descriptor, Error> {
        if descriptor.media_type.is_empty() {
            let bytes = self.read_document(&descriptor)?;
            descriptor.media_type = match ManifestKind::parse("", &bytes)? {
                ManifestKind::Manifest(manifest) => manifest.media_type,
                ManifestKind::Index(index) => index.media_type,
            };
        }
        Ok(descriptor)
    }

    fn entry_by_tag(&self, tag: Option<&str>, platform: &Platform) -> Result<Descriptor, Error> {
        let candidates = match tag {
            Some(tag) => self.tagged(tag),
            None => match self.tagged("latest") {
                none if none.is_empty() => self.the_only_one(),
                latest => latest,
            },
        };
        let first = candidates.first().ok_or_else(|| match tag {
            Some(tag) => self.no_such_image(tag),
            None => self.no_such_image("latest"),
        })?;
        if candidates.iter().all(|entry| entry.digest == first.digest) {
            return Ok((*first).clone());
        }
        let platforms = Index::new(candidates.into_iter().cloned().collect());
        platforms.select(platform)
    }

    fn tagged(&self, tag: &str) -> Vec<&Descriptor> {
        let exact = self.entries_where(|entry| entry.annotations.get(TAG).is_some_and(|name| name == tag));
        if exact.is_empty() {
            self.entries_where(|entry| goes_by(entry, tag))
        } else {
            exact
        }
    }

    fn entries_where(&self, wanted: impl Fn(&Descriptor) -> bool) -> Vec<&Descriptor> {
        self.index.manifests.iter().filter(|entry| wanted(entry)).collect()
    }

    /// All entries, provided they are one image: one digest, or one name for several platforms.
    fn the_only_one(&self) -> Vec<&Descriptor> {
        let digests: BTreeSet<_> = self.index.manifests.iter().map(|entry| entry.digest).collect();
        let names: BTreeSet<_> = self
            .index
            .manifests
            .iter()
            .map(|entry| (entry.annotations.get(NAME), entry.annotations.get(TAG)))
            .collect();
        let platforms = self.index.manifests.iter().all(|entry| entry.platform.is_some());
        if digests.len() == 1 || (names.len() == 1 && platforms) {
            self.index.manifests.iter().collect()
        } else {
            Vec::new()
        }
    }

    fn no_such_image(&self, wanted: &str) -> Error {
        let names: BTreeSet<String> = self.index.manifests.iter().map(shown_name).collect();
        Error::NoSuchImage {
            path: self.path.clone(),
            wanted: wanted.to_owned(),
            available: listed(names.into_iter()),
        }
    }

    /// Reads a manifest or a configuration and verifies it.
    fn read_document(&self, descriptor: &Descriptor) -> Result<Vec<u8>, Error> {
        if descriptor.size > DOCUMENT_LIMIT {
            return Err(no_layout(&self.path, too_large(&blob_name(descriptor.digest))));
        }
        let mut bytes = Vec::new();
        self.blob(descriptor)?
            .take(DOCUMENT_LIMIT + 1)
            .read_to_end(&mut bytes)
            .map_err(|source| cannot_read(&self.path.join(blob_name(descriptor.digest)), source))?;
        let actual = Digest::of(&bytes);
        if actual == descriptor.digest {
            Ok(bytes)
        } else {
            Err(Error::DigestMismatch {
                expected: descriptor.digest,
                actual,
            })
        }
    }

    fn read_small(&self, name: &str) -> Result<Vec<u8>, Error> {
        let (size, file) = self.open_file(name)?;
        let mut bytes = Vec::new();
        file.take(DOCUMENT_LIMIT + 1)
            .read_to_end(&mut bytes)
            .map_err(|source| cannot_read(&self.path.join(name), source))?;
        // Not every file has the size that it states.
        if size.max(bytes.len() as u64) > DOCUMENT_LIMIT {
            return Err(no_layout(&self.path, too_large(name)));
        }
        Ok(bytes)
    }

    /// Opens the regular file `name`, which is one of ours: `oci-layout`, `index.json` or made from a digest.
    fn open_file(&self, name: &str) -> Result<(u64, Blob), Error> {
        match &self.files {
            Files::Archive(archive) => archive
                .file(name)
                .map(|file| (file.size(), Box::new(file) as Blob))
                .ok_or_else(|| self.lacks(name)),
            Files::Directory => {
                let path = self.path.join(name);
                let unreadable = |source: io::Error| match source.kind() {
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => self.lacks(name),
                    _ => cannot_read(&path, source),
                };
                let metadata = std::fs::metadata(&path).map_err(unreadable)?;
                if !metadata.is_file() {
                    return Err(no_layout(&self.path, format!("`{name}` is not a regular file")));
                }
                let file = File::open(&path).map_err(unreadable)?;
                Ok((metadata.len(), Box::new(file)))
            }
        }
    }

    fn lacks(&self, name: &str) -> Error {
        no_layout(&self.path, format!("it has no `{name}`, only {}", self.contents()))
    }

    /// What there is at the top, for whoever pointed at the wrong place.
    fn contents(&self) -> String {
        let names: BTreeSet<String> = match &self.files {
            Files::Archive(archive) => archive.top_level(),
            Files::Directory => std::fs::read_dir(&self.path)
                .into_iter()
                .flatten()
                .flatten()
                .map(|entry| entry.file_name().to_string_lossy().into_owned())
                .collect(),
        };
        match names.is_empty() {
            true => "emptiness".to_owned(),
            false => listed(names.iter().map(|name| format!("`{name}`"))),
        }
    }
}

/// Whether a full name in the annotations means `tag`, which may itself be a tag or a full name.
fn goes_by(entry: &Descriptor, tag: &str) -> bool {
    [NAME, TAG]
        .into_iter()
        .filter_map(|key| entry.annotations.get(key))
        .any(|name| {
            let Ok(reference) = name.parse::<Reference>() else {
                return name == tag;
            };
            let tag_of_name = name.contains([':', '/']).then(|| reference.tag()).flatten();
            let same_name = tag.contains([':', '/']) && tag.parse().is_ok_and(|wanted: Reference| wanted == reference);
            name == tag || tag_of_name == Some(tag) || same_name
        })
}

/// How an image is called when a user is told what there is.
fn shown_name(entry: &Descriptor) -> String {
    let name = entry.annotations.get(TAG).or_else(|| entry.annotations.get(NAME));
    name.map_or_else(|| entry.digest.to_string(), |name| format!("`{name}`"))
}

fn blob_name(digest: Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn too_large(name: &str) -> String {
    format!("`{name}` is larger than {DOCUMENT_LIMIT} bytes")
}

/// Whether an entry is an image, and not what is said about one.
fn is_image(entry: &Descriptor) -> bool {
    entry.platform.as_ref().is_none_or(|platform| platform.os != "unknown")
}

fn no_layout(path: &Path, reason: String) -> Error {
    Error::Layout {
        path: path.to_owned(),
        reason,
    }
}

fn cannot_read(path: &Path, source: io::Error) -> Error {
    Error::Io {
        action: "read",
        path: path.to_owned(),
        source,
    }
}
