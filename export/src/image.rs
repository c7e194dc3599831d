//! From a snapshot and a configuration to an image in the store.
//!
//! The layers of the stack are asked of the store, several at once; their diff-ids, the times and the agreement of
//! history and layers complete the configuration; configuration and manifest become blobs. Base layers keep their own
//! blobs and digests, only their media types are brought into the family asked for. Nothing is named here.

use std::collections::BTreeMap;
use std::sync::Arc;

use cache::{Compression, Content, Layer, Snapshot, Store};
use oci::{Descriptor, Digest, Growing, ImageConfig, Manifest, ManifestKind, Platform, media_type};

use crate::annotation::{AnnotationTarget, Annotations};
use crate::at_once::at_once;
use crate::records::StackLayer;
use crate::{Error, history};

/// Manifests and configurations beyond this are not read.
const DOCUMENT_LIMIT: u64 = 16 << 20;

/// How layers and documents are to be written.
#[derive(Clone, Debug)]
pub struct Assembly {
    /// Of new layers.
    pub compression: Compression,
    /// Whether base layers are compressed anew as well.
    pub force_compression: bool,
    /// The family of media types.
    pub media: Media,
    /// `SOURCE_DATE_EPOCH`: no time of ours is later, and the image is marked as created then.
    pub epoch: Option<i64>,
    /// Whether no file of a new layer is to be later either.
    pub rewrite_timestamp: bool,
    /// Of manifests and of what leads to them.
    pub annotations: Annotations,
}

impl Default for Assembly {
    fn default() -> Assembly {
        Assembly {
            compression: Compression::Gzip { level: None },
            force_compression: false,
            media: Media::Oci,
            epoch: None,
            rewrite_timestamp: false,
            annotations: Annotations::default(),
        }
    }
}

/// A family of media types.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Media {
    /// Of the image-spec.
    #[default]
    Oci,
    /// Of Docker's schema 2.
    Docker,
}

/// An image whose parts are all in the store.
#[derive(Clone, Debug)]
pub struct Image {
    /// Of the manifest, with the platform.
    pub manifest: Descriptor,
    /// Of the configuration.
    pub config: Descriptor,
    /// Of the layers, lowest first.
    pub layers: Vec<Descriptor>,
    /// The configuration itself; its `rootfs` has the diff-ids.
    pub configuration: ImageConfig,
    /// Where the image runs.
    pub platform: Platform,
}

/// Is told how far an export got.
pub trait Progress: Sync {
    /// `item` (for example `exporting layers`) is at `current` of `total` bytes.
    fn moved(&self, item: &str, current: u64, total: Option<u64>, done: bool);

    /// `layer` is compressed from now on.
    fn begun(&self, _layer: &Arc<Growing>) {}
}

/// A part of an image: its descriptor and its bytes.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) descriptor: Descriptor,
    pub(crate) content: Content,
}

/// Makes an image of `snapshot` (`None`: of no layer at all) and `config`.
///
/// # Errors
/// If a layer cannot be made, or the configuration lacks what every image states.
pub fn assemble(
    store: &Store,
    snapshot: Option<&Snapshot>,
    config: ImageConfig,
    how: &Assembly,
    progress: &dyn Progress,
) -> Result<Image, Error> {
    let _span = trace::span("assemble");
    check(&config)?;
    let of_base = config.rootfs.diff_ids.len();
    let layers = make_layers(store, snapshot, how, of_base, progress)?;
    assemble_layers(store, &layers, config, how, progress)
}

/// Makes an image of layers that are elsewhere, lowest first, and `config`: of a result that was found there and is left
/// there. The layers are taken as they are.
///
/// # Errors
/// As [`assemble`].
pub fn assemble_elsewhere(
    store: &Store,
    stack: &[StackLayer],
    config: ImageConfig,
    how: &Assembly,
    progress: &dyn Progress,
) -> Result<Image, Error> {
    check(&config)?;
    let layers: Vec<Layer> = stack
        .iter()
        .map(|(descriptor, diff_id)| Layer {
            descriptor: descriptor.clone(),
            diff_id: *diff_id,
            newest: crate::records::newest(descriptor).unwrap_or_default(),
            foreign: true,
        })
        .collect();
    assemble_layers(store, &layers, config, how, progress)
}

/// Makes an image of `layers` and `config`.
pub(crate) fn assemble_layers(
    store: &Store,
    layers: &[Layer],
    mut config: ImageConfig,
    how: &Assembly,
    progress: &dyn Progress,
) -> Result<Image, Error> {
    complete(&mut config, layers, how.epoch);
    let descriptors = layers
        .iter()
        .map(|layer| descriptor_in(how.media, &layer.descriptor))
        .collect();
    write_documents(store, config, descriptors, how, progress)
}

/// The image whose manifest is in the store already.
///
/// # Errors
/// [`Error::MissingBlob`] if the manifest or the configuration is not there; missing layers show when they are needed.
pub fn load(store: &Store, manifest: &Descriptor) -> Result<Image, Error> {
    let document = |digest, error| Error::Document {
        digest,
        source: Box::new(error),
    };
    let bytes = read_blob(store, &manifest.digest)?;
    let parsed = ManifestKind::parse(&manifest.media_type, &bytes).map_err(|e| document(manifest.digest, e))?;
    let ManifestKind::Manifest(parts) = parsed else {
        return Err(Error::Several(manifest.digest));
    };
    let bytes = read_blob(store, &parts.config.digest)?;
    let configuration = ImageConfig::parse(&bytes).map_err(|e| document(parts.config.digest, e))?;
    let platform = configuration.platform();
    let manifest = Descriptor {
        media_type: parts.media_type,
        platform: Some(platform.clone()),
        ..manifest.clone()
    };
    Ok(Image {
        manifest,
        config: parts.config,
        layers: parts.layers,
        configuration,
        platform,
    })
}

pub(crate) fn find(store: &Store, descriptor: &Descriptor) -> Result<Part, Error> {
    let content = store
        .content(&descriptor.digest)?
        .ok_or(Error::MissingBlob(descriptor.digest))?;
    Ok(Part {
        descriptor: descriptor.clone(),
        content,
    })
}

pub(crate) fn read_blob(store: &Store, digest: &Digest) -> Result<Vec<u8>, Error> {
    let blob = store.blob(digest)?.ok_or(Error::MissingBlob(*digest))?;
    if blob.size > DOCUMENT_LIMIT {
        let source = oci::Error::Document {
            what: "a manifest or configuration",
            reason: format!("it has {} bytes, and {DOCUMENT_LIMIT} are allowed", blob.size),
        };
        return Err(Error::Document {
            digest: *digest,
            source: Box::new(source),
        });
    }
    std::fs::read(&blob.path).map_err(Error::io("read", &blob.path))
}

/// Whether a manifest of an index is that of an image, and not of what is said about one.
pub(crate) fn is_runnable(entry: &Descriptor) -> bool {
    let is_attestation = |platform: &Platform| platform.os == "unknown";
    media_type::is_manifest(&entry.media_type) && !entry.platform.as_ref().is_some_and(is_attestation)
}

fn check(config: &ImageConfig) -> Result<(), Error> {
    if config.os.is_empty() {
        return Err(Error::IncompleteConfig("os"));
    }
    if config.architecture.is_empty() {
        return Err(Error::IncompleteConfig("architecture"));
    }
    Ok(())
}

/// The layers of `snapshot`, of which the first `of_base` are those of the image it is based on.
fn make_layers(
    store: &Store,
    snapshot: Option<&Snapshot>,
    how: &Assembly,
    of_base: usize,
    progress: &dyn Progress,
) -> Result<Vec<Layer>, Error> {
    let stack = snapshot.map(Snapshot::stack).unwrap_or_default();
    let watch = |layer: &Arc<Growing>| progress.begun(layer);
    let make = |index: usize| match how.epoch.filter(|_| how.rewrite_timestamp && index >= of_base) {
        Some(epoch) => store.layer_until(&stack[index], how.compression, epoch, &watch),
        None => store.layer_watched(&stack[index], how.compression, how.force_compression, &watch),
    };
    let bytes = |layer: &Layer| layer.descriptor.size;
    Ok(at_once(stack.len(), make, "exporting layers", bytes, progress)?)
}

fn complete(config: &mut ImageConfig, layers: &[Layer], epoch: Option<i64>) {
    "layers".clone_into(&mut config.rootfs.kind);
    config.rootfs.diff_ids = layers.iter().map(|layer| layer.diff_id).collect();
    let newest: Vec<i64> = layers.iter().map(|layer| layer.newest).collect();
    history::complete(config, &newest, epoch);
}

/// A layer's descriptor as manifests of a family have it.
pub(crate) fn descriptor_in(media: Media, from: &Descriptor) -> Descriptor {
    let annotations = match media {
        Media::Docker => BTreeMap::new(),
        Media::Oci => from
            .annotations
            .iter()
            .filter(|(key, _)| !is_internal(key))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect(),
    };
    Descriptor {
        media_type: layer_type(media, &from.media_type),
        annotations,
        ..from.clone()
    }
}

/// Annotations with which other builders and containerd keep their books.
fn is_internal(key: &str) -> bool {
    matches!(key, "containerd.io/uncompressed" | "buildkit/createdat")
        || key.starts_with("containerd.io/distribution.source.")
}

/// The media type of the same layer in a family. Layers that were not to be distributed become ordinary ones,
/// as their blobs are at hand; types of no family stay.
fn layer_type(media: Media, from: &str) -> String {
    const FAMILIES: [(&str, &str, &str); 3] = [
        (media_type::LAYER, media_type::DOCKER_LAYER, ""),
        (media_type::LAYER_GZIP, media_type::DOCKER_LAYER_GZIP, "gzip"),
        (media_type::LAYER_ZSTD, media_type::DOCKER_LAYER_ZSTD, "zstd"),
    ];
    let foreign = from
        .strip_prefix("application/vnd.oci.image.layer.nondistributable.v1.tar")
        .or_else(|| from.strip_prefix("application/vnd.docker.image.rootfs.foreign.diff.tar"))
        .map(|suffix| suffix.trim_start_matches(['+', '.']));
    for (oci, docker, suffix) in FAMILIES {
        if from == oci || from == docker || foreign == Some(suffix) {
            return match media {
                Media::Oci => oci.to_owned(),
                Media::Docker => docker.to_owned(),
            };
        }
    }
    from.to_owned()
}

fn write_documents(
    store: &Store,
    configuration: ImageConfig,
    layers: Vec<Descriptor>,
    how: &Assembly,
    progress: &dyn Progress,
) -> Result<Image, Error> {
    let (manifest_type, config_type) = match how.media {
        Media::Oci => (media_type::MANIFEST, media_type::CONFIG),
        Media::Docker => (media_type::DOCKER_MANIFEST, media_type::DOCKER_CONFIG),
    };
    let bytes = configuration.to_bytes();
    let config = Descriptor::of(config_type, &bytes);
    store.put_blob(&bytes)?;

    let platform = configuration.platform();
    let mut document = Manifest::new(manifest_type, config.clone(), layers);
    document.annotations = how.annotations.of(AnnotationTarget::Manifest, Some(&platform));
    let bytes = document.to_bytes();
    let mut manifest = Descriptor::of(manifest_type, &bytes);
    store.put_blob(&bytes)?;
    progress.moved(&format!("exporting manifest {}", manifest.digest), 0, None, true);
    progress.moved(&format!("exporting config {}", config.digest), 0, None, true);

    manifest.platform = Some(platform.clone());
    manifest.annotations = how
        .annotations
        .of(AnnotationTarget::ManifestDescriptor, Some(&platform));
    Ok(Image {
        manifest,
        config,
        layers: document.layers,
        configuration,
        platform,
    })
}

#[cfg(test)]
mod tests;
