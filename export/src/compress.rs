//! An image of the store, compressed for the way.
//!
//! The store keeps our own layers plain, which costs nothing there. Whoever sends an image elsewhere sends one whose layers
//! are compressed, and that is the image that a build sends which sends at once: with the same configuration, the same
//! layers and so the same digests. Layers that came from elsewhere are passed on as they came.

use cache::{Compression, Store};
use oci::{Descriptor, Digest, ManifestKind, media_type};

use crate::at_once::at_once;
use crate::image::{self, Media, descriptor_in};
use crate::{Bundle, Error, Image, Progress};

impl Bundle {
    /// The same images with the plain layers that were made here in `compression`; with `force` all layers that are in
    /// another kind. The new manifests are put into the store.
    ///
    /// # Errors
    /// If a layer cannot be made, or a document not be read or written.
    pub fn compressed(
        &self,
        store: &Store,
        compression: Compression,
        force: bool,
        progress: &dyn Progress,
    ) -> Result<Bundle, Error> {
        let mut images = Vec::with_capacity(self.images.len());
        let mut renamed: Vec<(Digest, Descriptor)> = Vec::new();
        for old in &self.images {
            let new = compressed(store, old, (compression, force), progress)?;
            if new.manifest.digest != old.manifest.digest {
                renamed.push((old.manifest.digest, new.manifest.clone()));
            }
            images.push(new);
        }
        let root = match renamed.iter().find(|(old, _)| *old == self.root.digest) {
            Some((_, manifest)) => like(&self.root, manifest),
            None if renamed.is_empty() => self.root.clone(),
            None => self.index_of(store, &renamed)?,
        };
        Ok(Bundle { root, images })
    }

    /// The index with other manifests in the places of some.
    fn index_of(&self, store: &Store, renamed: &[(Digest, Descriptor)]) -> Result<Descriptor, Error> {
        let ManifestKind::Index(mut index) = read(store, &self.root)? else {
            return Ok(self.root.clone());
        };
        for entry in &mut index.manifests {
            if let Some((_, new)) = renamed.iter().find(|(old, _)| *old == entry.digest) {
                *entry = like(entry, new);
            }
        }
        let bytes = index.to_bytes();
        store.put_blob(&bytes)?;
        Ok(like(&self.root, &Descriptor::of(&index.media_type, &bytes)))
    }
}

fn compressed(
    store: &Store,
    image: &Image,
    (compression, force): (Compression, bool),
    progress: &dyn Progress,
) -> Result<Image, Error> {
    let media = match image.manifest.media_type.as_str() {
        media_type::DOCKER_MANIFEST => Media::Docker,
        _ => Media::Oci,
    };
    let compress = |at: usize| {
        let layer = &image.layers[at];
        let made = store.compressed(layer, compression, force, &|layer| progress.begun(layer))?;
        Ok::<_, cache::Error>(made.map_or_else(|| layer.clone(), |made| descriptor_in(media, &made)))
    };
    let bytes = |layer: &Descriptor| layer.size;
    let layers = at_once(image.layers.len(), compress, "compressing layers", bytes, progress)?;
    if layers == image.layers {
        return Ok(image.clone());
    }
    let ManifestKind::Manifest(mut manifest) = read(store, &image.manifest)? else {
        return Err(Error::Several(image.manifest.digest));
    };
    manifest.layers.clone_from(&layers);
    let bytes = manifest.to_bytes();
    store.put_blob(&bytes)?;
    Ok(Image {
        manifest: like(&image.manifest, &Descriptor::of(&manifest.media_type, &bytes)),
        layers,
        ..image.clone()
    })
}

fn read(store: &Store, document: &Descriptor) -> Result<ManifestKind, Error> {
    let bytes = image::read_blob(store, &document.digest)?;
    ManifestKind::parse(&document.media_type, &bytes).map_err(|source| Error::Document {
        digest: document.digest,
        source: Box::new(source),
    })
}

/// All that `old` says besides its digest and size, of `new`.
fn like(old: &Descriptor, new: &Descriptor) -> Descriptor {
    Descriptor {
        digest: new.digest,
        size: new.size,
        ..old.clone()
    }
}

#[cfg(test)]
mod tests;
