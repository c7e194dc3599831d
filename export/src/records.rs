//! Results of steps, kept where other stores find them: in a registry, in a layout, or in an image.
//!
//! A cache manifest is an image whose configuration is a [`Document`] and whose layers are those of all results. It is
//! written by the same code as images are.

mod document;
mod spec;

use std::collections::HashMap;

use cache::{CacheKey, Snapshot, SnapshotId, Store};
use oci::{Descriptor, Manifest, media_type};

pub use document::{CONFIG_TYPE, Document, Listed, StackLayer};
pub use spec::{CacheMode, CachePlace, CacheSpecError, CacheTo};

use crate::{Assembly, Bundle, Error, Image, Progress};
use document::Collector;

/// A result to be kept elsewhere.
#[derive(Clone, Debug)]
pub struct Kept {
    /// The keys that lead to it, the one it was made under first.
    pub keys: Vec<CacheKey>,
    /// Its tree.
    pub snapshot: Snapshot,
}

/// Makes the document of `results`, and blobs of all their layers.
///
/// # Errors
/// If a layer cannot be made.
pub fn document(store: &Store, results: &[Kept], how: &Assembly) -> Result<Document, Error> {
    let mut collector = Collector::default();
    let mut made: HashMap<SnapshotId, StackLayer> = HashMap::new();
    for result in results {
        let mut stack = Vec::new();
        for snapshot in result.snapshot.stack() {
            let layer = match made.get(&snapshot.id()) {
                Some(layer) => layer.clone(),
                None => {
                    let layer = store.layer(&snapshot, how.compression, how.force_compression)?;
                    let layer = (crate::image::descriptor_in(how.media, &layer.descriptor), layer.diff_id);
                    made.insert(snapshot.id(), layer.clone());
                    layer
                }
            };
            stack.push(layer);
        }
        collector.add(&result.keys, &stack);
    }
    Ok(collector.finish())
}

/// Makes a cache manifest of `results`.
///
/// # Errors
/// If a layer cannot be made or the store fails.
pub fn manifest(store: &Store, results: &[Kept], how: &Assembly, progress: &dyn Progress) -> Result<Bundle, Error> {
    let document = document(store, results, how)?;
    let bytes = document.to_bytes();
    let config = Descriptor::of(CONFIG_TYPE, &bytes);
    store.put_blob(&bytes)?;
    let layers: Vec<Descriptor> = document.blobs();
    let manifest = Manifest::new(media_type::MANIFEST, config.clone(), layers.clone()).to_bytes();
    let descriptor = Descriptor::of(media_type::MANIFEST, &manifest);
    store.put_blob(&manifest)?;
    progress.moved(&format!("writing cache manifest {}", descriptor.digest), 0, None, true);
    Ok(Bundle::from(Image {
        manifest: descriptor,
        config,
        layers,
        configuration: oci::ImageConfig::default(),
        platform: oci::Platform::host(),
    }))
}
