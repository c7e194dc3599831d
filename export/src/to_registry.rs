//! An image or an index to registries: for each repository the blobs, several at once, then the manifests by digest, then
//! the manifest or the index under each name, so that no name ever leads to an image that lacks a part.

use std::sync::atomic::{AtomicU64, Ordering};

use cache::Store;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use oci::{Push, Reference};

use crate::image::{self, Part};
use crate::{Bundle, Error, Progress};

const BLOBS_AT_ONCE: usize = 4;

/// Pushes `bundle` under each of `names`.
///
/// # Errors
/// [`Error::Push`] with the first thing that went wrong, [`Error::MissingBlob`].
pub async fn to_registry(
    store: &Store,
    bundle: &Bundle,
    names: &[Reference],
    push: &dyn Push,
    progress: &dyn Progress,
) -> Result<(), Error> {
    let parts = bundle.content(store)?;
    let mut documents = bundle.documents(store)?;
    let Some(root) = documents.pop() else { return Ok(()) };
    let mut repositories = Vec::new();
    for name in names {
        if !repositories.contains(&name.name()) {
            push_blobs(store, name, &parts, push, progress).await?;
            for manifest in &documents {
                let pinned = name.pinned(manifest.descriptor.digest);
                push_document(store, &pinned, manifest, push, progress).await?;
            }
            repositories.push(name.name());
        }
    }
    for name in names {
        push_document(store, name, &root, push, progress).await?;
    }
    Ok(())
}

/// Puts a manifest or an index under a name.
async fn push_document(
    store: &Store,
    name: &Reference,
    part: &Part,
    push: &dyn Push,
    progress: &dyn Progress,
) -> Result<(), Error> {
    let digest = part.descriptor.digest;
    let bytes = image::read_blob(store, &digest)?;
    let item = match name.digest() {
        Some(_) => format!("pushing manifest for {name}"),
        None => format!("pushing manifest for {name}@{digest}"),
    };
    progress.moved(&item, 0, None, false);
    push.push_manifest(name, &part.descriptor, &bytes)
        .await
        .map_err(|source| failed(name, source))?;
    progress.moved(&item, 0, None, true);
    Ok(())
}

async fn push_blobs(
    store: &Store,
    name: &Reference,
    parts: &[Part],
    push: &dyn Push,
    progress: &dyn Progress,
) -> Result<(), Error> {
    stream::iter(parts)
        .map(|part| push_blob(store, name, part, push, progress))
        .buffer_unordered(BLOBS_AT_ONCE)
        .try_collect()
        .await
}

async fn push_blob(
    store: &Store,
    name: &Reference,
    part: &Part,
    push: &dyn Push,
    progress: &dyn Progress,
) -> Result<(), Error> {
    let blob = &part.descriptor;
    // An upload may have to begin again, so a layer that shall travel plain is written down.
    let file = store.file_of(&part.content)?;
    let item = format!("pushing {}", blob.digest);
    let so_far = AtomicU64::new(0);
    let sent = |bytes| {
        let sum = so_far.fetch_add(bytes, Ordering::Relaxed) + bytes;
        // What is sent again after a broken connection does not count twice.
        progress.moved(&item, sum.min(blob.size), Some(blob.size), false);
    };
    push.push_blob(name, blob, file.path, &sent)
        .await
        .map_err(|source| failed(name, source))?;
    progress.moved(&item, blob.size, Some(blob.size), true);
    Ok(())
}

fn failed(name: &Reference, source: oci::PortError) -> Error {
    Error::Push {
        name: name.clone(),
        source: Box::new(source),
    }
}

#[cfg(test)]
mod tests;
