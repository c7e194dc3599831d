//! One place as all others: a list of results, and the blobs that the list speaks of.
//!
//! What differs is how a list is written while others write theirs. Where the place compares before it writes, nothing can
//! be lost; where it does not, whoever wrote looks again (`publish`).

use std::collections::HashMap;
use std::io::Read;
use std::path::Path;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cache::Store;
use export::records::{CONFIG_TYPE, CachePlace, Document, Listed, ManifestForm};
use oci::layout::DOCUMENT_LIMIT;
use oci::{Blob, BoxFuture, Descriptor, Digest, ImageName, ManifestKind, Platform, PortError};

use super::bucket::Bucket;
use super::folder::Folder;
use super::github::Github;
use super::registry::Repository;
use super::silence::{Silent, unless_silent};
use crate::images::Images;

/// Where a list of results lies, with the blobs of them.
pub(crate) trait Shelf: Send + Sync {
    /// What results of this place say they are from.
    fn name(&self) -> ImageName;

    /// The list that is there now; nothing if there is none.
    fn read(&self) -> BoxFuture<'_, Result<Option<Found>, PortError>>;

    /// Waits for an answer to something small, whatever the answer.
    fn sign(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    /// Whether the list that is there is still the one of that version, if that is known for less than reading it.
    fn is_still<'a>(&'a self, version: &'a str) -> BoxFuture<'a, bool>;

    /// Whether the blob is not there.
    fn lacks<'a>(&'a self, blob: &'a Descriptor) -> BoxFuture<'a, Result<bool, PortError>>;

    /// Whether the blob is there, or the place itself takes it from `source`, so that no byte of it passes through here.
    fn takes<'a>(&'a self, blob: &'a Descriptor, _source: &'a ImageName) -> BoxFuture<'a, Result<bool, PortError>> {
        Box::pin(async move { Ok(!self.lacks(blob).await?) })
    }

    /// After how long a blob in use is dated anew, where old ones are taken away.
    fn refresh(&self) -> Option<Duration> {
        None
    }

    /// Dates a blob anew if it is old; whether it is there.
    fn touch<'a>(&'a self, blob: &'a Descriptor) -> BoxFuture<'a, Result<bool, PortError>> {
        Box::pin(async move { Ok(!self.lacks(blob).await?) })
    }

    /// Puts a blob there whose content is in the file, if it is not there; whether it is there then. `sent` is told of
    /// bytes that leave.
    fn put<'a>(
        &'a self,
        blob: &'a Descriptor,
        content: PathBuf,
        sent: &'a (dyn Fn(u64) + Send + Sync),
    ) -> BoxFuture<'a, Result<bool, PortError>>;

    /// Puts a list there in the place of the version `over`.
    fn write<'a>(&'a self, list: &'a ListToWrite, over: Option<&'a str>) -> BoxFuture<'a, Result<Written, PortError>>;

    /// The manifest that `list` is in once it is written, where there are manifests.
    fn manifest_of(&self, _list: &ListToWrite) -> Option<Descriptor> {
        None
    }

    /// Opens a blob of this place.
    fn blob<'a>(&'a self, blob: &'a Descriptor) -> BoxFuture<'a, Result<Blob, PortError>>;
}

/// The list of a place that is there now, unless the place says nothing at all.
pub(super) async fn read_list(shelf: &dyn Shelf) -> Result<Option<Found>, PortError> {
    let silent = |silent: Silent| PortError::Unreachable {
        name: shelf.name().to_string(),
        detail: silent.to_string(),
    };
    unless_silent(shelf.read(), shelf.sign()).await.map_err(silent)?
}

/// A list that is to be there.
#[derive(Clone, Debug)]
pub(crate) struct ListToWrite {
    pub(crate) results: Vec<Listed>,
    /// As what its blobs are told to a registry.
    pub(crate) form: ManifestForm,
}

/// A list, as it was at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// Which of those that the place has had.
    pub(crate) version: String,
    /// The manifest that it is in, where there are manifests.
    pub(crate) manifest: Option<Descriptor>,
    /// What is listed, or what is wrong with the list.
    pub(crate) results: Result<Arc<Vec<Listed>>, String>,
}

/// The list that a place had last, so that it is read once. Whoever wants it while somebody reads it waits for that.
#[derive(Debug, Default)]
pub(super) struct Last(tokio::sync::Mutex<Option<Found>>);

impl Last {
    /// The last list if the place says that its version is the `current` one, and else what `read` finds.
    pub(super) async fn or_read(
        &self,
        current: impl Future<Output = Result<Option<String>, PortError>>,
        read: impl Future<Output = Result<Option<Found>, PortError>>,
    ) -> Result<Option<Found>, PortError> {
        let mut last = self.0.lock().await;
        if let Some(found) = &*last
            && current.await?.as_ref() == Some(&found.version)
        {
            return Ok(last.clone());
        }
        last.clone_from(&read.await?);
        Ok(last.clone())
    }

    /// A list was put there as this version, in this manifest.
    pub(super) async fn is_now(&self, version: &str, list: &ListToWrite, manifest: Option<Descriptor>) {
        *self.0.lock().await = Some(Found {
            version: version.to_owned(),
            manifest,
            results: Ok(Arc::new(list.results.clone())),
        });
    }
}

/// What came of writing a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// It is there, and nobody's list was lost.
    Surely,
    /// It was written as this version, and may be gone already.
    Perhaps(String),
    /// Somebody else wrote meanwhile, or is about to.
    No,
}

/// The shelves of this build, one for each place, whoever asks.
pub(crate) struct Shelves {
    images: Arc<Images>,
    store: Store,
    platforms: Vec<Platform>,
    known: Mutex<HashMap<ImageName, Arc<dyn Shelf>>>,
}

impl Shelves {
    /// Of places that keep lists in images for one of `platforms`, if they keep them in images.
    pub(crate) fn new(images: Arc<Images>, store: Store, platforms: Vec<Platform>) -> Shelves {
        Shelves {
            images,
            store,
            platforms,
            known: Mutex::default(),
        }
    }

    /// The shelf at `place`; none where results lie in the image that is built. Nothing is connected to.
    pub(crate) fn at(&self, place: &CachePlace) -> Option<Arc<dyn Shelf>> {
        let shelf: Arc<dyn Shelf> = match place {
            CachePlace::Registry(reference) => Arc::new(Repository::new(
                reference.clone(),
                self.images.clone(),
                self.store.clone(),
                self.platforms.clone(),
            )),
            CachePlace::Local { path, tag, digest } => Arc::new(Folder::new(
                (path.clone(), tag.clone(), *digest),
                self.images.clone(),
                self.store.clone(),
                self.platforms.clone(),
            )),
            CachePlace::Bucket(place) => Arc::new(Bucket::new((**place).clone(), self.images.certificates())),
            CachePlace::Github(place) => Arc::new(Github::new(
                (**place).clone(),
                self.store.clone(),
                self.images.certificates(),
            )),
            CachePlace::Inline => return None,
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let shelf = known.entry(shelf.name()).or_insert(shelf);
        if let ImageName::Results(_) = shelf.name() {
            self.images.also_from(shelf.clone());
        }
        Some(shelf.clone())
    }
}

/// Where the list is that the document under a name speaks of; nothing if that is images, which may have lists in them.
pub(super) fn list_of(media_type: &str, bytes: &[u8]) -> Result<Option<Descriptor>, oci::Error> {
    let is_list = |blob: &Descriptor| blob.media_type == CONFIG_TYPE;
    Ok(match ManifestKind::parse(media_type, bytes)? {
        ManifestKind::Manifest(manifest) => Some(manifest.config).filter(is_list),
        ManifestKind::Index(index) => index.manifests.into_iter().find(is_list),
    })
}

/// Connections to storage, which trust `certificates` besides those of the system.
pub(super) fn http(certificates: Option<&Path>) -> Result<remote::http::Client, remote::wire::Error> {
    let made = remote::http::Client::new(concat!("rbuild/", env!("CARGO_PKG_VERSION")), certificates);
    made.map_err(|error| remote::wire::Error::Client(error.to_string()))
}

/// What is said of storage that failed to do something with `name`.
pub(super) fn storage_error(name: &str, error: &remote::wire::Error) -> PortError {
    use remote::wire::Error;
    let name = name.to_owned();
    let detail = match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    };
    match error {
        Error::Missing { .. } => PortError::NotFound { name },
        Error::Denied { .. } => PortError::Denied { name, detail },
        Error::Broken { .. } | Error::Client(_) | Error::Address { .. } => PortError::Unreachable { name, detail },
        Error::Status { .. } | Error::Answer { .. } | Error::File { .. } => PortError::Protocol { name, detail },
    }
}

/// What a document lists.
pub(super) fn listed(bytes: &[u8]) -> Result<Vec<Listed>, String> {
    let document = Document::parse(bytes).and_then(|document| document.results());
    document.map_err(|error| error.to_string())
}

/// What the images under a name list, for whichever of `platforms` there are.
pub(super) async fn listed_in_images(
    images: &Images,
    name: &ImageName,
    platforms: &[Platform],
) -> Result<Vec<Listed>, String> {
    let (mut results, mut seen, mut trouble) = (Vec::new(), Vec::new(), None);
    for platform in platforms {
        let image = match images.elsewhere(name, platform).await {
            Ok(image) => image,
            Err(error) => {
                trouble.get_or_insert(error.to_string());
                continue;
            }
        };
        if seen.contains(&image.manifest_descriptor.digest) {
            continue;
        }
        seen.push(image.manifest_descriptor.digest);
        let Some(text) = &image.config.cache else {
            trouble.get_or_insert_with(|| "the image has no list of results in it".to_owned());
            continue;
        };
        let document = Document::parse_inline(text).and_then(|document| document.results());
        results.extend(document.map_err(|error| error.to_string())?);
    }
    match trouble {
        Some(trouble) if results.is_empty() => Err(trouble),
        _ => Ok(results),
    }
}

/// The whole of a document that is a blob.
pub(super) async fn read_document(blob: Blob, expected: &Descriptor) -> Result<Vec<u8>, String> {
    let read = tokio::task::spawn_blocking(move || {
        let mut bytes = Vec::new();
        blob.take(DOCUMENT_LIMIT + 1)
            .read_to_end(&mut bytes)
            .map(|_| bytes)
            .map_err(|error| error.to_string())
    });
    let bytes = read
        .await
        .unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))?;
    if bytes.len() as u64 > DOCUMENT_LIMIT {
        return Err(format!("the list has more than {DOCUMENT_LIMIT} bytes"));
    }
    let actual = Digest::of(&bytes);
    if actual != expected.digest {
        return Err(format!("the list is `{actual}` and not `{}`", expected.digest));
    }
    Ok(bytes)
}
