//! A list under a name in a registry, as the configuration of a manifest or in that of an image.
//!
//! Registries do not compare before they write. The digest that the name leads to is asked for right before it is moved, so
//! that a loss needs two who do so in the same moment; whoever wrote looks again.

use std::path::PathBuf;
use std::sync::Arc;

use cache::Store;
use export::records::{CacheManifest, ManifestForm};
use oci::{Blob, BoxFuture, Descriptor, Digest, Fetch as _, ImageName, Platform, PortError, Push as _, Reference};

use super::publish::blobs;
use super::shelf::{Found, Last, ListToWrite, Shelf, Written, list_of, listed, listed_in_images, read_document};
use crate::images::Images;

/// The shelf under a name.
pub(super) struct Repository {
    reference: Reference,
    images: Arc<Images>,
    store: Store,
    platforms: Vec<Platform>,
    last: Last,
}

impl Repository {
    pub(super) fn new(reference: Reference, images: Arc<Images>, store: Store, platforms: Vec<Platform>) -> Repository {
        Repository {
            reference,
            images,
            store,
            platforms,
            last: Last::default(),
        }
    }

    /// The version that is there; `None` where that cannot be told, or there is none.
    async fn current(&self) -> Result<Option<String>, PortError> {
        if let Some(digest) = self.reference.digest() {
            return Ok(Some(digest.to_string()));
        }
        let current = self.images.client().await?.current(&self.reference).await?;
        Ok(current.map(|digest| digest.to_string()))
    }

    /// The repositories that are known to have the blob.
    fn seen_in(&self, blob: &Descriptor) -> Vec<Reference> {
        let places = self.store.places(&[blob.digest]).unwrap_or_default();
        places.into_iter().flat_map(|(_, names)| names).collect()
    }

    async fn read_now(&self) -> Result<Option<Found>, PortError> {
        let (root, bytes) = match self.images.client().await?.root(&self.reference).await {
            Ok(root) => root,
            Err(PortError::NotFound { .. }) => return Ok(None),
            Err(PortError::Content { source, .. }) => {
                // Something is there, and it is nothing that a name should lead to.
                return Ok(Some(Found {
                    version: self.current().await?.unwrap_or_default(),
                    manifest: None,
                    results: Err(source.to_string()),
                }));
            }
            Err(error) => return Err(error),
        };
        let results = match list_of(&root.media_type, &bytes) {
            Ok(Some(list)) => match self.images.blob(&self.name(), &list).await {
                Ok(blob) => read_document(blob, &list).await.and_then(|bytes| listed(&bytes)),
                Err(PortError::NotFound { .. }) => Err(format!("its list `{}` is gone", list.digest)),
                Err(error) => return Err(error),
            },
            Ok(None) => listed_in_images(&self.images, &self.name(), &self.platforms).await,
            Err(error) => Err(error.to_string()),
        };
        Ok(Some(Found {
            version: root.digest.to_string(),
            manifest: Some(root),
            results: results.map(Arc::new),
        }))
    }

    async fn write_now(&self, list: &ListToWrite, over: Option<&str>) -> Result<Written, PortError> {
        let documents = CacheManifest::of(&list.results, list.form);
        let failed = |error: cache::Error| PortError::Protocol {
            name: self.reference.to_string(),
            detail: format!("the store failed: {error}"),
        };
        let file = self.store.put_blob(&documents.config.1).map_err(failed)?;
        self.put(&documents.config.0, file.path, &|_| {}).await?;
        if self.current().await?.as_deref() != over {
            return Ok(Written::No);
        }
        let (root, bytes) = &documents.root;
        let client = self.images.client().await?;
        let pushed = client.push_manifest(&self.reference, root, bytes).await;
        pushed.map_err(|error| refused_as(list.form, error))?;
        let blobs: Vec<Digest> = blobs(&list.results).iter().map(|blob| blob.digest).collect();
        // An image that is pushed next to it is given them by the registry. Who cannot remember sends more.
        let _ = self.store.saw(&self.reference, &blobs);
        let version = root.digest.to_string();
        self.last.is_now(&version, list, Some(root.clone())).await;
        Ok(Written::Perhaps(version))
    }
}

/// Why a registry took no list: many take no index of layers.
fn refused_as(form: ManifestForm, error: PortError) -> PortError {
    match (form, error) {
        (ManifestForm::Index(_), PortError::Protocol { name, detail }) => PortError::Protocol {
            name,
            detail: format!("{detail}; where a registry takes no index of layers, image-manifest=true writes an image"),
        },
        (_, error) => error,
    }
}

impl Shelf for Repository {
    fn name(&self) -> ImageName {
        ImageName::Registry(self.reference.clone())
    }

    fn read(&self) -> BoxFuture<'_, Result<Option<Found>, PortError>> {
        Box::pin(self.last.or_read(self.current(), self.read_now()))
    }

    fn sign(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            if let Ok(client) = self.images.client().await {
                // Even a refusal is an answer.
                let _ = client.current(&self.reference).await;
            }
        })
    }

    fn is_still<'a>(&'a self, version: &'a str) -> BoxFuture<'a, bool> {
        Box::pin(async move { matches!(self.current().await, Ok(Some(current)) if current == version) })
    }

    fn lacks<'a>(&'a self, blob: &'a Descriptor) -> BoxFuture<'a, Result<bool, PortError>> {
        Box::pin(async move {
            let client = self.images.client().await?;
            Ok(!client.find_blob(&self.reference, blob, &[]).await?)
        })
    }

    fn takes<'a>(&'a self, blob: &'a Descriptor, source: &'a ImageName) -> BoxFuture<'a, Result<bool, PortError>> {
        Box::pin(async move {
            let mut from = self.seen_in(blob);
            if let ImageName::Registry(source) = source {
                from.insert(0, source.clone());
            }
            let client = self.images.client().await?;
            client.find_blob(&self.reference, blob, &from).await
        })
    }

    fn put<'a>(
        &'a self,
        blob: &'a Descriptor,
        content: PathBuf,
        sent: &'a (dyn Fn(u64) + Send + Sync),
    ) -> BoxFuture<'a, Result<bool, PortError>> {
        Box::pin(async move {
            let client = self.images.client().await?;
            if !client.find_blob(&self.reference, blob, &self.seen_in(blob)).await? {
                client.push_blob(&self.reference, blob, content, sent).await?;
            }
            Ok(true)
        })
    }

    fn write<'a>(&'a self, list: &'a ListToWrite, over: Option<&'a str>) -> BoxFuture<'a, Result<Written, PortError>> {
        Box::pin(self.write_now(list, over))
    }

    fn manifest_of(&self, list: &ListToWrite) -> Option<Descriptor> {
        Some(CacheManifest::of(&list.results, list.form).root.0)
    }

    fn blob<'a>(&'a self, blob: &'a Descriptor) -> BoxFuture<'a, Result<Blob, PortError>> {
        Box::pin(async move {
            let name = self.name();
            self.images.client().await?.blob(&name, blob).await
        })
    }
}
