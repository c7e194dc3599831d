//! Results that may stay where they were found: an image whose layers all go, or are, elsewhere needs none of its trees here.
//!
//! With `--cache-from`, all of a target may be known from its list of results. A registry that shall have the image can be
//! given such layers without their passing through this machine, and an archive needs them as they are, not unpacked.
//! What cannot be had so is fetched and unpacked, or made here, as ever.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;

use cache::{Compression, Store};
use export::records;
use export::{Assembly, OutputSpec};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use oci::{BoxFuture, Descriptor, Fetch as _, ImageName, PortError, Push as _, Reference};
use sandbox::Cancel;
use solver::{Imported, Leave, Reporter, Step};

use crate::deliver;
use crate::error::CommandError;
use crate::images::Images;
use crate::request::BuildRequest;

/// Sees to it that the outputs of a build get what they need of a result that is not here.
pub(crate) struct Absent {
    /// One name for each repository that shall have the image.
    repositories: Vec<Reference>,
    /// Whether the bytes of layers are needed here.
    are_needed: bool,
    /// How the outputs want their layers.
    wanted: Vec<Assembly>,
    store: Store,
    images: Arc<Images>,
    reporter: Reporter,
    cancel: Cancel,
}

/// Why a layer cannot be had as it is.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Port(#[from] PortError),
    #[error(transparent)]
    Store(#[from] cache::Error),
    #[error("cannot fetch {layer}")]
    Read {
        layer: oci::Digest,
        #[source]
        source: io::Error,
    },
}

impl Absent {
    /// `None` where an output needs the files of the image, or the store shall keep it.
    pub(crate) fn of(
        request: &BuildRequest,
        (store, images): (&Store, &Arc<Images>),
        (reporter, cancel): (&Reporter, &Cancel),
    ) -> Option<Arc<dyn Leave>> {
        let mut repositories: Vec<Reference> = Vec::new();
        let mut are_needed = false;
        for output in &request.outputs {
            match output {
                OutputSpec::Image {
                    options, push: true, ..
                } => {
                    for name in &options.names {
                        if repositories.iter().all(|known| known.name() != name.name()) {
                            repositories.push(name.clone());
                        }
                    }
                }
                OutputSpec::Archive { .. } => are_needed = true,
                OutputSpec::CacheOnly => {}
                OutputSpec::Image { options, store, .. } if !store || options.names.is_empty() => {}
                OutputSpec::Image { .. } | OutputSpec::Directory { .. } | OutputSpec::Tar { .. } => return None,
            }
        }
        let images_of = request.outputs.iter().filter(|output| output.options().is_some());
        let wanted: Vec<Assembly> = images_of
            .map(|output| deliver::assembly(request, None, output))
            .collect();
        if wanted.iter().any(|how| how.rewrite_timestamp) {
            return None;
        }
        let absent = Absent::new(repositories, are_needed, (store, images), (reporter, cancel));
        Some(Arc::new(Absent { wanted, ..absent }))
    }

    /// Whether an output would have the layer as it is.
    fn suits(&self, layer: &Descriptor) -> bool {
        let is_dated = self.wanted.is_empty() || records::newest(layer).is_some();
        is_dated
            && self
                .wanted
                .iter()
                .all(|how| !how.force_compression || is_of(layer, how.compression))
    }

    /// For images that are to be in `repositories` as they are, and here too if their bytes `are_needed`.
    pub(crate) fn new(
        repositories: Vec<Reference>,
        are_needed: bool,
        (store, images): (&Store, &Arc<Images>),
        (reporter, cancel): (&Reporter, &Cancel),
    ) -> Absent {
        Absent {
            repositories,
            are_needed,
            wanted: Vec::new(),
            store: store.clone(),
            images: images.clone(),
            reporter: reporter.clone(),
            cancel: cancel.clone(),
        }
    }

    /// Sees to it that every layer, which is to be had `from` there, is where it is wanted.
    ///
    /// # Errors
    /// The first that cannot be had.
    pub(crate) async fn provide(&self, layers: &[Descriptor], from: &ImageName) -> Result<(), Error> {
        let mut missing = Vec::new();
        let mut looking = Vec::new();
        for layer in layers {
            looking.push(self.look_for(layer, from));
        }
        let mut looked = stream::iter(looking).buffer_unordered(self.images.at_once());
        while let Some(answer) = looked.next().await {
            let (layer, is_there) = answer?;
            if !is_there && self.store.content(&layer.digest)?.is_none() {
                missing.push(layer);
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let step = self.reporter.start(format!("fetching layers from {from}"));
        let fetched = self.fetch_all(from, &missing, &step).await;
        match &fetched {
            Ok(()) => step.done(),
            Err(error) => {
                step.note(CommandError::failed("they cannot be had").because(error).message());
                step.done();
            }
        }
        fetched
    }

    async fn fetch_all(&self, from: &ImageName, layers: &[&Descriptor], step: &Step) -> Result<(), Error> {
        let bytes = layers.iter().fold(0, |sum: u64, layer| sum.saturating_add(layer.size));
        let store = self.store.clone();
        blocking(move || store.make_room(bytes, bytes)).await?;
        let mut fetching = Vec::new();
        for layer in layers {
            fetching.push(self.fetch(from, layer, step));
        }
        stream::iter(fetching)
            .buffer_unordered(self.images.at_once())
            .try_collect()
            .await
    }

    async fn look_for<'a>(&self, layer: &'a Descriptor, from: &ImageName) -> Result<(&'a Descriptor, bool), Error> {
        Ok((layer, self.is_there(layer, from).await?))
    }

    /// Whether the layer is in every repository that shall have it, and nowhere else needed.
    async fn is_there(&self, layer: &Descriptor, from: &ImageName) -> Result<bool, Error> {
        if self.repositories.is_empty() {
            return Ok(!self.are_needed);
        }
        let sources: Vec<Reference> = match from {
            ImageName::Registry(reference) => vec![reference.clone()],
            ImageName::Layout { .. } | ImageName::Results(_) => Vec::new(),
        };
        let client = self.images.client().await?;
        for repository in &self.repositories {
            if !client.find_blob(repository, layer, &sources).await? {
                return Ok(false);
            }
        }
        Ok(!self.are_needed)
    }

    /// Puts the layer into the store as it is.
    async fn fetch(&self, from: &ImageName, layer: &Descriptor, step: &Step) -> Result<(), Error> {
        let mut content = self.images.blob(from, layer).await?;
        let (store, layer, cancel) = (self.store.clone(), layer.clone(), self.cancel.clone());
        let meter = step.meter();
        blocking(move || {
            let failed = |source| Error::Read {
                layer: layer.digest,
                source,
            };
            let mut writer = store.blob_writer()?;
            let mut buffer = vec![0; 128 << 10];
            let mut arrived = 0;
            loop {
                let read = io::Read::read(&mut content, &mut buffer).map_err(failed)?;
                if cancel.is_cancelled() {
                    return Err(failed(io::ErrorKind::Interrupted.into()));
                }
                io::Write::write_all(&mut writer, &buffer[..read]).map_err(failed)?;
                arrived += read as u64;
                meter.moved(&layer.digest.to_string(), arrived, Some(layer.size), read == 0);
                // More than was told is of no use to anybody.
                if read == 0 || arrived > layer.size {
                    break;
                }
            }
            writer.finish_as(&layer)?;
            Ok(())
        })
        .await
    }
}

impl Leave for Absent {
    fn may_stay<'a>(&'a self, imported: &'a Imported) -> BoxFuture<'a, bool> {
        Box::pin(async move {
            let mut seen = HashSet::new();
            let layers = imported.layers.iter().map(|(layer, _)| layer);
            let layers: Vec<Descriptor> = layers.filter(|layer| seen.insert(layer.digest)).cloned().collect();
            layers.iter().all(|layer| self.suits(layer)) && self.provide(&layers, &imported.from).await.is_ok()
        })
    }
}

fn is_of(layer: &Descriptor, compression: Compression) -> bool {
    [compression.media_type(), compression.docker_media_type()].contains(&layer.media_type.as_str())
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
