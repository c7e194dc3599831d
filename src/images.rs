//! Where images come from, all places in one: the store, OCI layouts, registries.
//!
//! A name is looked up in the store first (images built, pulled or tagged here), then at its registry; `--pull` asks the
//! registry first. A name with a digest needs the network only if the store lacks the digest. Every answer is kept for
//! the rest of the build, so a name means the same thing in all its steps.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use cache::Store;
use oci::layout::{DOCUMENT_LIMIT, Layouts};
use oci::{
    Blob, BoxFuture, Descent, Descriptor, Digest, Fetch, ImageName, ManifestKind, Platform, PortError, Reference,
    ResolvedImage,
};
use solver::{Failure, Reporter};
use tokio::sync::OnceCell;

use crate::caches::Shelf;
use crate::policy::{Policy, Source};

/// When a registry is asked although the store knows the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pull {
    /// Only if the store does not know it.
    Missing,
    /// Always: `--pull`.
    Always,
}

/// All places where images are, as one [`Fetch`].
pub(crate) struct Images {
    store: Store,
    layouts: Layouts,
    options: registry::ClientOptions,
    client: OnceCell<registry::Client>,
    pull: Pull,
    policy: Option<Policy>,
    names_platforms: bool,
    reporter: Reporter,
    answers: Mutex<HashMap<(ImageName, Platform), ResolvedImage>>,
    /// Storage that only blobs of recorded results come from.
    shelves: Mutex<HashMap<ImageName, Arc<dyn Shelf>>>,
    gone: Mutex<HashSet<Digest>>,
}

impl Images {
    /// Images of `store`, of layouts, and of registries reached by a client made with `options` when first needed.
    pub(crate) fn new(store: Store, options: registry::ClientOptions, pull: Pull, reporter: Reporter) -> Images {
        let options = told(options, &reporter);
        let answers = Mutex::new(HashMap::new());
        Images {
            store,
            layouts: Layouts::default(),
            options,
            client: OnceCell::new(),
            pull,
            policy: None,
            names_platforms: false,
            reporter,
            answers,
            shelves: Mutex::default(),
            gone: Mutex::default(),
        }
    }

    /// The same images, as far as `policy` allows them.
    pub(crate) fn under(self, policy: Option<Policy>) -> Images {
        Images { policy, ..self }
    }

    /// The same images for a build of several platforms, whose steps say which they are for.
    pub(crate) fn naming_platforms(self, names_platforms: bool) -> Images {
        Images {
            names_platforms,
            ..self
        }
    }

    /// A bundle of certificates that is trusted besides the system's.
    pub(crate) fn certificates(&self) -> Option<PathBuf> {
        self.options.extra_roots.first().cloned()
    }

    /// The registry client, made when first asked for: reading certificates takes longer than a build with nothing to do.
    pub(crate) async fn client(&self) -> Result<&registry::Client, PortError> {
        let made = self
            .client
            .get_or_try_init(|| async { registry::Client::new(told(self.options.clone(), &self.reporter)) })
            .await;
        made.map_err(|error| PortError::Unreachable {
            name: "the registry client".to_owned(),
            detail: error.to_string(),
        })
    }

    /// What the name means where it points to, whatever the store has under it.
    pub(crate) async fn elsewhere(&self, name: &ImageName, platform: &Platform) -> Result<ResolvedImage, PortError> {
        match name {
            ImageName::Layout { .. } => self.layouts.resolve(name, platform).await,
            ImageName::Registry(_) => self.client().await?.resolve(name, platform).await,
            ImageName::Results(_) => Err(PortError::NotFound { name: name.to_string() }),
        }
    }

    /// Gives from now on the blobs of `shelf` under its name.
    pub(crate) fn also_from(&self, shelf: Arc<dyn Shelf>) {
        let name = shelf.name();
        self.shelves
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name, shelf);
    }

    /// Blobs that were asked for and are not where they were said to be.
    pub(crate) fn gone(&self) -> HashSet<Digest> {
        self.gone.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn open(&self, name: &ImageName, blob: &Descriptor) -> Result<Blob, PortError> {
        match name {
            ImageName::Layout { .. } => self.layouts.blob(name, blob).await,
            ImageName::Registry(_) => self.client().await?.blob(name, blob).await,
            ImageName::Results(_) => {
                let shelf = {
                    let shelves = self.shelves.lock().unwrap_or_else(PoisonError::into_inner);
                    shelves.get(name).cloned()
                };
                match shelf {
                    Some(shelf) => shelf.blob(blob).await,
                    None => Err(PortError::NotFound { name: name.to_string() }),
                }
            }
        }
    }

    /// The image that is used where `name` is asked for.
    fn allowed(&self, name: &ImageName) -> Result<ImageName, PortError> {
        let (ImageName::Registry(reference), Some(policy)) = (name, &self.policy) else {
            return Ok(name.clone());
        };
        let forbidden = |reason: String| PortError::Forbidden { reason };
        let source = Source {
            identifier: format!("docker-image://{reference}"),
            attributes: BTreeMap::new(),
        };
        let used = policy
            .apply(&source)
            .map_err(|error| forbidden(error.to_string()))?
            .identifier;
        let other = used.strip_prefix("docker-image://").and_then(|name| name.parse().ok());
        other.map(ImageName::Registry).ok_or_else(|| {
            forbidden(format!(
                "source {:?} is converted to {used:?}, which is no image",
                source.identifier
            ))
        })
    }

    async fn ask(&self, name: &ImageName, platform: &Platform) -> Result<ResolvedImage, PortError> {
        let ImageName::Registry(reference) = name else {
            return self.elsewhere(name, platform).await;
        };
        let here = self.in_store(reference, platform)?;
        let suits = |image: &ResolvedImage| platform.preference(&image.config.platform()).is_some();
        let (suitable, other) = match here {
            Some(image) if suits(&image) => (Some(image), None),
            other => (None, other),
        };
        if let Some(known) = suitable {
            return Ok(known);
        }
        let resolved = match (self.as_it_is_now(name, platform).await, other) {
            // What was made here for another platform, and is nowhere else, is what is meant.
            (Err(PortError::NotFound { .. } | PortError::Denied { .. }), Some(other)) => return Ok(other),
            (Err(PortError::Unreachable { .. }), Some(other)) if *platform == Platform::host() => return Ok(other),
            (resolved, _) => resolved?,
        };
        // Kept by digest, so that a pinned name needs no network next time.
        let documents = [&resolved.manifest_bytes, &resolved.config_bytes];
        for bytes in documents.into_iter().chain(&resolved.indexes) {
            self.store.put_blob(bytes).map_err(|error| broken_store(name, &error))?;
        }
        Ok(resolved)
    }

    /// What the name means at its registry. The registry is asked for the digest first: if the store has the documents of
    /// that, none of them is fetched.
    async fn as_it_is_now(&self, name: &ImageName, platform: &Platform) -> Result<ResolvedImage, PortError> {
        if let ImageName::Registry(reference) = name
            && reference.digest().is_none()
            && let Some(digest) = self.client().await?.current(reference).await?
            && let Some(known) = self.in_store(&reference.pinned(digest), platform)?
            && platform.preference(&known.config.platform()).is_some()
        {
            let name = name.clone();
            return Ok(ResolvedImage { name, ..known });
        }
        self.elsewhere(name, platform).await
    }

    /// The image of that name or digest, if the store has its manifest and configuration.
    fn in_store(&self, reference: &Reference, platform: &Platform) -> Result<Option<ResolvedImage>, PortError> {
        let name = ImageName::Registry(reference.clone());
        let failed = |error: cache::Error| broken_store(&name, &error);
        let root = match reference.digest() {
            Some(digest) => match self.store.blob(&digest).map_err(failed)? {
                Some(blob) => Descriptor::new("", digest, blob.size),
                None => return Ok(None),
            },
            None if self.pull == Pull::Always => return Ok(None),
            None => match self.store.image(reference).map_err(failed)? {
                Some(image) => image.manifest,
                None => return Ok(None),
            },
        };
        self.known_as(name, root, platform)
    }

    /// What the manifest or index `root` leads to for `platform`, if the store has the documents.
    fn known_as(
        &self,
        name: ImageName,
        root: Descriptor,
        platform: &Platform,
    ) -> Result<Option<ResolvedImage>, PortError> {
        let content = |source| PortError::Content {
            name: name.to_string(),
            source,
        };
        let (mut root, mut manifest_descriptor) = (root.clone(), root);
        let mut way = Descent::to(platform);
        let mut indexes = Vec::new();
        let (manifest, manifest_bytes) = loop {
            // What the store lacks of an index may be had where it came from.
            let Some(bytes) = self.read(&manifest_descriptor, &name)? else {
                return Ok(None);
            };
            match ManifestKind::parse(&manifest_descriptor.media_type, &bytes).map_err(content)? {
                ManifestKind::Manifest(manifest) => break (manifest, bytes),
                ManifestKind::Index(index) => {
                    if indexes.is_empty() {
                        root.media_type.clone_from(&index.media_type);
                    }
                    way.enter(&index).map_err(content)?;
                    let Ok(entry) = way.next() else { return Ok(None) };
                    manifest_descriptor = entry;
                    indexes.push(bytes);
                }
            }
        };
        let Some(config_bytes) = self.read(&manifest.config, &name)? else {
            return Ok(None);
        };
        let config = manifest.configuration(&config_bytes).map_err(content)?;
        manifest_descriptor.media_type.clone_from(&manifest.media_type);
        if manifest_descriptor.digest == root.digest {
            root.media_type.clone_from(&manifest.media_type);
        }
        Ok(Some(ResolvedImage {
            name,
            root,
            indexes,
            manifest_descriptor,
            manifest,
            manifest_bytes,
            config,
            config_bytes,
        }))
    }

    fn read(&self, blob: &Descriptor, name: &ImageName) -> Result<Option<Vec<u8>>, PortError> {
        let Some(file) = self
            .store
            .blob(&blob.digest)
            .map_err(|error| broken_store(name, &error))?
        else {
            return Ok(None);
        };
        // A registry may name any digest; what is no document is not read as one.
        if file.size > DOCUMENT_LIMIT {
            return Ok(None);
        }
        let bytes = std::fs::read(&file.path).map_err(|error| broken_store(name, &error))?;
        let actual = oci::Digest::of(&bytes);
        if actual != blob.digest {
            let source = oci::Error::DigestMismatch {
                expected: blob.digest,
                actual,
            };
            return Err(PortError::Content {
                name: name.to_string(),
                source,
            });
        }
        Ok(Some(bytes))
    }
}

impl Fetch for Images {
    fn resolve<'a>(
        &'a self,
        name: &'a ImageName,
        platform: &'a Platform,
    ) -> BoxFuture<'a, Result<ResolvedImage, PortError>> {
        Box::pin(async move {
            let question = (name.clone(), platform.clone());
            if let Some(known) = self
                .answers
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get(&question)
            {
                return Ok(known.clone());
            }
            let of_platform = match self.names_platforms {
                true => format!("{platform} "),
                false => String::new(),
            };
            let step = self
                .reporter
                .start(format!("[{of_platform}internal] load metadata for {name}"));
            let asked = async { self.ask(&self.allowed(name)?, platform).await };
            match asked.await {
                Ok(resolved) => {
                    step.done();
                    let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
                    // The graph names images by what their names led to.
                    for name in [name, &resolved.name] {
                        answers.insert((pinned(name, resolved.root.digest), platform.clone()), resolved.clone());
                    }
                    answers.insert(question, resolved.clone());
                    drop(answers);
                    Ok(resolved)
                }
                Err(error) => {
                    step.failed(Failure {
                        message: error.to_string(),
                        ..Failure::default()
                    });
                    Err(error)
                }
            }
        })
    }

    fn blob<'a>(&'a self, name: &'a ImageName, blob: &'a Descriptor) -> BoxFuture<'a, Result<Blob, PortError>> {
        Box::pin(async move {
            let opened = self.open(name, blob).await;
            if let Err(PortError::NotFound { .. }) = &opened {
                let mut gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
                gone.insert(blob.digest);
            }
            opened
        })
    }

    fn distrust(&self, name: &ImageName, blob: &Descriptor) -> bool {
        self.client.get().is_some_and(|client| client.distrust(name, blob))
    }

    fn at_once(&self) -> usize {
        self.options.connections.unwrap_or_else(|| self.layouts.at_once())
    }
}

/// The same client, which says in a step of its own that it tries something again, or elsewhere.
pub(crate) fn told(options: registry::ClientOptions, reporter: &Reporter) -> registry::ClientOptions {
    let reporter = reporter.clone();
    let listener = registry::Listener::new(move |sentence| {
        let step = reporter.start("[internal] wait for a registry");
        step.note(sentence);
        step.done();
    });
    registry::ClientOptions { listener, ..options }
}

impl fmt::Debug for Images {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Images")
            .field("pull", &self.pull)
            .finish_non_exhaustive()
    }
}

/// The same image by its digest.
fn pinned(name: &ImageName, root: Digest) -> ImageName {
    match name {
        ImageName::Registry(reference) => ImageName::Registry(reference.pinned(root)),
        ImageName::Results(place) => ImageName::Results(place.clone()),
        ImageName::Layout { path, tag, .. } => ImageName::Layout {
            path: path.clone(),
            tag: tag.clone(),
            digest: Some(root),
        },
    }
}

fn broken_store(name: &ImageName, error: &(dyn std::error::Error + 'static)) -> PortError {
    PortError::Protocol {
        name: name.to_string(),
        detail: format!("the store failed: {error}"),
    }
}

#[cfg(test)]
mod tests;
