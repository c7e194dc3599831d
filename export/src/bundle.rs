//! What a name leads to: one image, or an index of several, one for each platform.

use std::collections::HashSet;

use cache::Store;
use oci::{Descriptor, Digest, Index, ManifestKind, media_type};

use crate::annotation::{AnnotationTarget, Annotations};
use crate::image::{self, Media, Part};
use crate::{Error, Image, Progress, history};

const CREATED: &str = "org.opencontainers.image.created";

/// One image, or an index of several. All its parts are in the store.
#[derive(Clone, Debug)]
pub struct Bundle {
    /// Of the index, or of the only manifest.
    pub root: Descriptor,
    /// The images, in the order of the index.
    pub images: Vec<Image>,
}

impl Bundle {
    /// A single image without an index. With `epoch` its descriptor says so.
    ///
    /// # Errors
    /// [`Error::IndexAnnotation`] for annotations of an index.
    pub fn single(image: Image, annotations: &Annotations, epoch: Option<i64>) -> Result<Bundle, Error> {
        if annotations.for_index().is_some() {
            return Err(Error::IndexAnnotation);
        }
        let mut bundle = Bundle::from(image);
        date(&mut bundle.root, epoch);
        Ok(bundle)
    }

    /// An index of `images`, whose document is put into the store.
    ///
    /// # Errors
    /// If the store fails, or Docker's media types cannot say what is asked for.
    pub fn index(
        store: &Store,
        images: Vec<Image>,
        annotations: &Annotations,
        (media, epoch): (Media, Option<i64>),
        progress: &dyn Progress,
    ) -> Result<Bundle, Error> {
        let mut index = Index::new(images.iter().map(|image| image.manifest.clone()).collect());
        index.annotations = annotations.of(AnnotationTarget::Index, None);
        index.media_type = match media {
            Media::Oci => media_type::INDEX,
            Media::Docker => media_type::DOCKER_INDEX,
        }
        .to_owned();
        let bytes = index.to_bytes();
        store.put_blob(&bytes)?;
        let mut root = Descriptor::of(&index.media_type, &bytes);
        root.annotations = annotations.of(AnnotationTarget::IndexDescriptor, None);
        date(&mut root, epoch);
        progress.moved(&format!("exporting manifest list {}", root.digest), 0, None, true);
        Ok(Bundle { root, images })
    }

    /// What `root` leads to in the store.
    ///
    /// # Errors
    /// [`Error::MissingBlob`] if a manifest or a configuration is not there; missing layers show when they are needed.
    pub fn load(store: &Store, root: &Descriptor) -> Result<Bundle, Error> {
        let bytes = image::read_blob(store, &root.digest)?;
        let document = |source| Error::Document {
            digest: root.digest,
            source: Box::new(source),
        };
        let images = match ManifestKind::parse(&root.media_type, &bytes).map_err(document)? {
            ManifestKind::Manifest(_) => vec![image::load(store, root)?],
            ManifestKind::Index(index) => {
                let entries = index.manifests.iter().filter(|entry| image::is_runnable(entry));
                let images = entries.map(|entry| image::load(store, entry));
                images.collect::<Result<_, _>>()?
            }
        };
        Ok(Bundle {
            root: match &images[..] {
                [one] if one.manifest.digest == root.digest => one.manifest.clone(),
                _ => root.clone(),
            },
            images,
        })
    }

    /// The image, if it stands alone.
    #[must_use]
    pub fn single_image(&self) -> Option<&Image> {
        match &self.images[..] {
            [only] if only.manifest.digest == self.root.digest => Some(only),
            _ => None,
        }
    }

    /// What people call it: the configuration of a single image, else the index.
    #[must_use]
    pub fn id(&self) -> Digest {
        self.single_image()
            .map_or(self.root.digest, |image| image.config.digest)
    }

    /// The layers and the configurations, each once.
    pub(crate) fn blobs(&self) -> Vec<Descriptor> {
        let mut seen = HashSet::new();
        let blobs = self
            .images
            .iter()
            .flat_map(|image| image.layers.iter().chain([&image.config]));
        blobs.filter(|blob| seen.insert(blob.digest)).cloned().collect()
    }

    /// The layers and the configurations with their bytes, each once.
    pub(crate) fn content(&self, store: &Store) -> Result<Vec<Part>, Error> {
        self.blobs().iter().map(|blob| image::find(store, blob)).collect()
    }

    /// The manifests, each once, then the index if there is one: none before what it leads to.
    pub(crate) fn documents(&self, store: &Store) -> Result<Vec<Part>, Error> {
        let mut parts: Vec<Part> = Vec::new();
        for descriptor in self.images.iter().map(|image| &image.manifest).chain([&self.root]) {
            if parts.iter().all(|known| known.descriptor.digest != descriptor.digest) {
                parts.push(image::find(store, descriptor)?);
            }
        }
        Ok(parts)
    }
}

impl From<Image> for Bundle {
    fn from(image: Image) -> Bundle {
        Bundle {
            root: image.manifest.clone(),
            images: vec![image],
        }
    }
}

/// Says when it was made, where the user said so.
fn date(root: &mut Descriptor, epoch: Option<i64>) {
    if let Some(epoch) = epoch {
        let created = history::timestamp(epoch).to_string();
        root.annotations.insert(CREATED.to_owned(), created);
    }
}

#[cfg(test)]
mod tests;
