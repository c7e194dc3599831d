//! An image or an index to registries: for each repository the blobs, several at once, then the manifests by digest, then
//! the manifest or the index under each name, so that no name ever leads to an image that lacks a part.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use cache::Store;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use oci::{Descriptor, Digest, Push, Reference};

use crate::image::{self, Part};
use crate::{Bundle, Error, Progress};

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
    let blobs = bundle.blobs();
    let mut documents = bundle.documents(store)?;
    let Some(root) = documents.pop() else { return Ok(()) };
    let digests: Vec<Digest> = blobs.iter().map(|blob| blob.digest).collect();
    let mut places: HashMap<Digest, Vec<Reference>> = store.places(&digests)?.into_iter().collect();
    let mut repositories = Vec::new();
    for name in names {
        if !repositories.contains(&name.name()) {
            let pushed = push_blobs(store, name, (&blobs, &places), push, progress).await;
            if pushed.is_err() {
                push.abandon(name).await;
            }
            pushed?;
            // What is there now the next repository of the registry need not be sent.
            for digest in &digests {
                places.entry(*digest).or_default().insert(0, name.clone());
            }
            // Who cannot remember sends more the next time.
            let _ = store.saw(name, &digests);
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

/// Sends one layer to the repositories of `names`, unless it is there: before the image that it is of is finished, which is
/// then spared it.
///
/// # Errors
/// [`Error::Push`], [`Error::MissingBlob`].
pub async fn layer_to_registries(
    store: &Store,
    names: &[Reference],
    layer: &Descriptor,
    push: &dyn Push,
    progress: &dyn Progress,
) -> Result<(), Error> {
    let places = store.places(&[layer.digest])?.into_iter().next();
    let mut from = places.map_or_else(Vec::new, |(_, from)| from);
    for name in names {
        push_blob(store, name, (layer, &from), push, progress).await?;
        from.insert(0, name.clone());
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
    (blobs, places): (&[Descriptor], &HashMap<Digest, Vec<Reference>>),
    push: &dyn Push,
    progress: &dyn Progress,
) -> Result<(), Error> {
    stream::iter(blobs)
        .map(|blob| {
            let from = places.get(&blob.digest).map_or(&[][..], Vec::as_slice);
            push_blob(store, name, (blob, from), push, progress)
        })
        .buffer_unordered(push.at_once())
        .try_collect()
        .await
}

async fn push_blob(
    store: &Store,
    name: &Reference,
    (blob, from): (&Descriptor, &[Reference]),
    push: &dyn Push,
    progress: &dyn Progress,
) -> Result<(), Error> {
    let item = item_of(blob.digest);
    let found = push.find_blob(name, blob, from).await;
    if found.map_err(|source| failed(name, source))? {
        progress.moved(&item, blob.size, Some(blob.size), true);
        return Ok(());
    }
    // Looked for only now: what is there already need not be here.
    let part = image::find(store, blob)?;
    // An upload may have to begin again, so a layer that shall travel plain is written down.
    let file = store.file_of(&part.content)?;
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

/// What progress of a blob is told under.
#[must_use]
pub fn item_of(blob: Digest) -> String {
    format!("pushing {blob}")
}

fn failed(name: &Reference, source: oci::PortError) -> Error {
    Error::Push {
        name: name.clone(),
        source: Box::new(source),
    }
}

#[cfg(test)]
mod tests;
