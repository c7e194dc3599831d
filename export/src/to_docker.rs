//! An image as the archive that `docker load` and `podman load` read: an OCI layout that has a `manifest.json` as well.

use std::io::Write;

use cache::Store;
use oci::Reference;
use serde::Serialize;

use crate::to_layout::{blob_name, write_archive};
use crate::{Bundle, Error, Progress};

/// The one element of `manifest.json`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct DockerManifest {
    config: String,
    /// `null` without a name, as Docker writes it.
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// Writes an image for `docker load`, under `names`.
///
/// # Errors
/// [`Error::ManifestList`] for an index, [`Error::MissingBlob`](crate::Error::MissingBlob), or if reading or writing fails.
pub fn to_docker_archive(
    store: &Store,
    bundle: &Bundle,
    names: &[Reference],
    out: impl Write,
    progress: &dyn Progress,
) -> Result<(), Error> {
    let manifest = manifest(bundle, names)?;
    write_archive(store, bundle, names, Some(&manifest), (out, None), progress)
}

/// `manifest.json`.
pub(crate) fn manifest(bundle: &Bundle, names: &[Reference]) -> Result<Vec<u8>, Error> {
    let image = bundle.single_image().ok_or(Error::ManifestList)?;
    let manifest = [DockerManifest {
        config: blob_name(&image.config),
        repo_tags: (!names.is_empty()).then(|| names.iter().map(Reference::familiar).collect()),
        layers: image.layers.iter().map(blob_name).collect(),
    }];
    Ok(serde_json::to_vec(&manifest).expect("the document has only string keys"))
}
