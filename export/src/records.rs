//! Results of steps, kept where other stores find them: in a registry, in a layout, in an image, in other storage.
//!
//! A cache manifest is an image whose configuration is a [`Document`] and whose layers are those of all results. It is
//! written by the same code as images are. What several builds list under one name is [`join`]ed.

mod document;
mod join;
mod spec;
mod tables;

use std::collections::HashMap;
use std::path::Path;

use cache::{CacheKey, Snapshot, SnapshotId, Store};
use oci::{Descriptor, DiffId, Digest, Index, Manifest, media_type};

pub use document::{CONFIG_TYPE, Document, newest};
pub use join::{Joined, join};
pub use spec::{BucketPlace, CacheMode, CachePlace, CacheSpecError, CacheTo, GithubPlace, Hidden, is_insecure};

use crate::{Assembly, Bundle, Error, Image, Media, to_layout};

/// A result to be kept elsewhere.
#[derive(Clone, Debug)]
pub struct Kept {
    /// The keys that lead to it, the one it was made under first.
    pub keys: Vec<CacheKey>,
    /// Its tree.
    pub tree: KeptTree,
    /// How it came about, if that is to be told.
    pub origin: Option<Origin>,
}

/// Where the layers of a result are to be had.
#[derive(Clone, Debug)]
pub enum KeptTree {
    /// Made from a snapshot.
    Snapshot(Snapshot),
    /// As they are, elsewhere.
    Layers(Vec<StackLayer>),
}

/// One recorded result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The keys that lead to it, the one it was made under first.
    pub keys: Vec<CacheKey>,
    /// Its layers, lowest first.
    pub stack: Vec<StackLayer>,
    /// When it was last of use, in Unix seconds.
    pub used: Option<i64>,
    /// How it came about.
    pub origin: Option<Origin>,
}

/// A layer of a stack: its blob, and what that is without compression.
pub type StackLayer = (Descriptor, DiffId);

/// How a result came about: what a later build needs to say why it does not find it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The text of the step, without its number.
    pub step: String,
    /// Names of its inputs, and a fingerprint of each.
    pub inputs: Vec<(String, String)>,
}

impl Origin {
    /// Names longer than this together are not told: a step that reads ten thousand files.
    const LONGEST: usize = 64 << 10;

    /// Of the result of `key`, whose named inputs are `inputs`.
    #[must_use]
    pub fn of(key: &CacheKey, step: &str, inputs: &[(String, String)]) -> Option<Origin> {
        let length: usize = inputs.iter().map(|(name, _)| name.len() + 16).sum();
        (step.len() + length <= Origin::LONGEST).then(|| Origin {
            step: step.to_owned(),
            inputs: fingerprints(key, inputs),
        })
    }
}

/// The same inputs, of each value only so much as tells it from others of the same record. The value cannot be found
/// from that: many give the same.
#[must_use]
pub fn fingerprints(key: &CacheKey, inputs: &[(String, String)]) -> Vec<(String, String)> {
    let shortened = |(name, value): &(String, String)| {
        let digest = Digest::of(format!("{}\0{name}\0{value}", key.0).as_bytes()).hex();
        (name.clone(), tables::print(&digest[..8]))
    };
    inputs.iter().map(shortened).collect()
}

/// Makes blobs of all layers of `results` that have none yet, and lists the results.
///
/// # Errors
/// If a layer cannot be made.
pub fn list(store: &Store, results: &[Kept], how: &Assembly) -> Result<Vec<Listed>, Error> {
    let mut listed = Vec::new();
    let mut made: HashMap<SnapshotId, StackLayer> = HashMap::new();
    for result in results {
        let stack = match &result.tree {
            KeptTree::Layers(stack) => stack.clone(),
            KeptTree::Snapshot(top) => {
                let mut stack = Vec::new();
                for snapshot in top.stack() {
                    let layer = match made.get(&snapshot.id()) {
                        Some(layer) => layer.clone(),
                        None => {
                            let layer = store.layer(&snapshot, how.compression, how.force_compression)?;
                            let descriptor = crate::image::descriptor_in(how.media, &layer.descriptor);
                            let layer = (document::dated(descriptor, layer.newest), layer.diff_id);
                            made.insert(snapshot.id(), layer.clone());
                            layer
                        }
                    };
                    stack.push(layer);
                }
                stack
            }
        };
        listed.push(Listed {
            keys: result.keys.clone(),
            stack,
            used: None,
            origin: result.origin.clone(),
        });
    }
    Ok(listed)
}

/// The documents of a cache manifest, in the order in which they are to be written, and the name's own last.
#[derive(Clone, Debug)]
pub struct CacheManifest {
    /// The document of the results.
    pub config: (Descriptor, Vec<u8>),
    /// What a name leads to.
    pub root: (Descriptor, Vec<u8>),
}

/// As what the blobs of a cache are listed for the registry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ManifestForm {
    /// As layers of an image: every registry takes that.
    #[default]
    Image,
    /// As members of an index, as older builders do.
    Index(Media),
}

impl CacheManifest {
    /// Of `results`, whose blobs lie beside it.
    #[must_use]
    pub fn of(results: &[Listed], form: ManifestForm) -> CacheManifest {
        let document = Document::of(results);
        let bytes = document.to_bytes();
        let config = Descriptor::of(CONFIG_TYPE, &bytes);
        let in_media = |media| move |blob: &Descriptor| crate::image::descriptor_in(media, blob);
        let blobs = document.blobs();
        let (kind, manifest) = match form {
            ManifestForm::Image => {
                let layers = blobs.iter().map(in_media(Media::Oci)).collect();
                let manifest = Manifest::new(media_type::MANIFEST, config.clone(), layers);
                (media_type::MANIFEST, manifest.to_bytes())
            }
            ManifestForm::Index(media) => {
                let members = blobs.iter().map(in_media(media)).chain([config.clone()]);
                let mut index = Index::new(members.collect());
                let kind = match media {
                    Media::Oci => media_type::INDEX,
                    Media::Docker => media_type::DOCKER_INDEX,
                };
                kind.clone_into(&mut index.media_type);
                (kind, index.to_bytes())
            }
        };
        CacheManifest {
            config: (config, bytes),
            root: (Descriptor::of(kind, &manifest), manifest),
        }
    }

    /// Puts the documents into the layout in the directory `dest` under `tag`, provided that the tag leads to `over` now;
    /// whether it did. The blobs of the results are there already.
    ///
    /// # Errors
    /// If the layout cannot be read or written.
    pub fn put_in_layout(&self, store: &Store, dest: &Path, tag: &str, over: Option<Digest>) -> Result<bool, Error> {
        let bundle = Bundle::from(Image {
            manifest: self.root.0.clone(),
            config: self.config.0.clone(),
            layers: Vec::new(),
            configuration: oci::ImageConfig::default(),
            platform: oci::Platform::host(),
        });
        for (document, bytes) in [&self.config, &self.root] {
            store.put_blob(bytes)?;
            to_layout::put_blob(store, document, dest)?;
        }
        let name = format!("cache:{tag}").parse().map_err(|error: oci::Error| {
            let reason = format!("`{tag}` is no tag: {error}");
            Error::Records(reason)
        })?;
        to_layout::name_if(dest, &bundle, &name, over)
    }
}

/// Puts a blob of the store into the layout in the directory `dest`, if it is not there; whether it was not.
///
/// # Errors
/// If the store lacks it, or reading or writing fails.
pub fn put_blob_in_layout(store: &Store, blob: &Descriptor, dest: &Path) -> Result<bool, Error> {
    to_layout::put_blob(store, blob, dest)
}
