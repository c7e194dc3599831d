//! FROM: the layers of an image, downloaded and unpacked at the same time.

use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::io::{self, Read};

use cache::{Snapshot, Store};
use futures_util::{StreamExt, TryStreamExt, stream};
use graph::ImageSource;
use oci::{Blob, ChainId, Descriptor, DiffId, Fetch, ImageName, ResolvedImage, media_type};
use sandbox::Cancel;

use crate::wait::{self, Waiting};
use crate::{Step, StepError, key};

/// What the image that the graph was made for consists of.
pub(crate) async fn resolve(images: &dyn Fetch, image: &ImageSource) -> Result<ResolvedImage, StepError> {
    let resolved = images.resolve(&image.name, &image.platform).await?;
    let found = resolved.manifest_descriptor.digest;
    if found != image.manifest {
        return Err(StepError::ImageChanged {
            name: image.name.to_string(),
            planned: image.manifest,
            found,
        });
    }
    Ok(resolved)
}

/// Makes the image's tree exist in the store: downloads the layers that are missing, several at once, unpacking each as
/// it arrives. `None` is the empty tree of an image without layers.
///
/// # Errors
/// When a layer cannot be had or is not what its digests say, when the store fails, when the build was cancelled.
pub async fn pull(
    store: &Store,
    images: &dyn Fetch,
    image: &ResolvedImage,
    step: &Step,
    cancel: &Cancel,
) -> Result<Option<Snapshot>, StepError> {
    let (layers, diff_ids) = (&image.manifest.layers, &image.config.rootfs.diff_ids);
    if layers.len() != diff_ids.len() {
        let (layers, diff_ids) = (layers.len(), diff_ids.len());
        return Err(StepError::LayerCount {
            name: image.name.to_string(),
            layers,
            diff_ids,
        });
    }
    let stack: Vec<_> = layers.iter().cloned().zip(diff_ids.iter().copied()).collect();
    fetch_layers(store, images, (&image.name, &stack), step, cancel).await
}

/// Makes the tree of a stack of layers exist in the store: of an image, or of a result recorded elsewhere. `None` is the
/// empty tree of no layers.
///
/// # Errors
/// As [`pull`].
pub async fn fetch_layers(
    store: &Store,
    images: &dyn Fetch,
    (name, stack): (&ImageName, &[(Descriptor, DiffId)]),
    step: &Step,
    cancel: &Cancel,
) -> Result<Option<Snapshot>, StepError> {
    let diff_ids: Vec<DiffId> = stack.iter().map(|(_, diff_id)| *diff_id).collect();
    let Some(chain) = ChainId::of(&diff_ids) else {
        return Ok(None);
    };
    // Said before any of them is fetched.
    if stack.len() >= cache::MOST_LAYERS {
        return Err(cache::Error::TooManyLayers(stack.len()).into());
    }
    let _alone = {
        let waiting = Waiting::new(step, cancel);
        wait::lock_later(store, &key::of_image(Some(chain)), "fetches the same layers", waiting).await?
    };
    let (mut top, present) = store.stack(stack)?;
    make_room(store, &stack[present..]).await?;
    // The largest first, so that the end is not a wait for one of them.
    let mut missing: Vec<_> = stack.iter().enumerate().skip(present).collect();
    missing.sort_by_key(|(_, (layer, _))| Reverse(layer.size));
    let fetching = missing.into_iter().map(|(place, layer)| async move {
        let unpacked = fetch(store, images, name, layer, step, cancel).await?;
        Ok::<_, StepError>((place, unpacked))
    });
    let mut arriving = stream::iter(fetching).buffer_unordered(images.at_once());
    let mut arrived = BTreeMap::new();
    let mut next = present;
    while let Some((place, unpacked)) = arriving.try_next().await? {
        arrived.insert(place, unpacked);
        while let Some(unpacked) = arrived.remove(&next) {
            top = Some(store.attach(top.as_ref(), unpacked)?);
            next += 1;
        }
    }
    if let ImageName::Registry(reference) = name {
        let arrived: Vec<_> = stack[present..].iter().map(|(layer, _)| layer.digest).collect();
        // It is a memory: pushes do without.
        let _ = store.saw(reference, &arrived);
    }
    Ok(top)
}

/// Sees to it that there is room for layers and what is in them, or fails before the first byte. Compressed files are
/// most often some three times as large when they are unpacked.
async fn make_room(store: &Store, layers: &[(Descriptor, DiffId)]) -> Result<(), StepError> {
    let (mut likely, mut certain) = (0_u64, 0_u64);
    for (layer, _) in layers {
        let is_here = store.content(&layer.digest)?.is_some();
        let blob = if is_here { 0 } else { layer.size };
        let is_plain = [media_type::LAYER, media_type::DOCKER_LAYER].contains(&layer.media_type.as_str());
        let unpacked = if is_plain {
            layer.size
        } else {
            layer.size.saturating_mul(3)
        };
        likely = likely.saturating_add(blob).saturating_add(unpacked);
        certain = certain.saturating_add(blob);
    }
    let store = store.clone();
    Ok(blocking(move || store.make_room(likely, certain)).await?)
}

/// The layer from whoever gives the right bytes.
async fn fetch(
    store: &Store,
    images: &dyn Fetch,
    name: &ImageName,
    layer: &(Descriptor, DiffId),
    step: &Step,
    cancel: &Cancel,
) -> Result<cache::UnpackedLayer, StepError> {
    loop {
        match fetch_once(store, images, name, layer, step, cancel).await {
            Err(StepError::Store(cache::Error::DigestMismatch { .. })) if images.distrust(name, &layer.0) => {}
            fetched => return fetched,
        }
    }
}

async fn fetch_once(
    store: &Store,
    images: &dyn Fetch,
    name: &ImageName,
    (layer, diff_id): &(Descriptor, DiffId),
    step: &Step,
    cancel: &Cancel,
) -> Result<cache::UnpackedLayer, StepError> {
    if cancel.is_cancelled() {
        return Err(StepError::Cancelled);
    }
    let mut flight = trace::flight_of("fetch", &layer.digest);
    flight.bytes(layer.size);
    let content: Blob = match store.content(&layer.digest)? {
        Some(content) => content.open()?,
        None => images.blob(name, layer).await?,
    };
    let content = Stoppable {
        content,
        cancel: cancel.clone(),
    };
    let meter = step.meter();
    let (store, layer, diff_id) = (store.clone(), layer.clone(), *diff_id);
    let unpacked = blocking(move || {
        let (item, total) = (layer.digest.to_string(), Some(layer.size));
        let arrived = Cell::new(0);
        let more = |bytes| {
            arrived.set(arrived.get() + bytes);
            meter.moved(&item, arrived.get(), total, false);
        };
        let unpacked = store.unpack_layer(&layer, diff_id, content, &more)?;
        meter.moved(&item, layer.size, total, true);
        Ok(unpacked)
    })
    .await;
    match unpacked {
        Err(_) if cancel.is_cancelled() => Err(StepError::Cancelled),
        unpacked => unpacked.map_err(StepError::Store),
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// Ends in an error as soon as the build is cancelled.
struct Stoppable {
    content: Blob,
    cancel: Cancel,
}

impl Read for Stoppable {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.cancel.is_cancelled() {
            return Err(io::Error::new(
                io::ErrorKind::ConnectionAborted,
                "the build was cancelled",
            ));
        }
        self.content.read(buffer)
    }
}
