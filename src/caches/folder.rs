//! A list in an OCI layout: a folder, or an archive to read from.
//!
//! The folder is locked while its index is compared and written, so nobody's list is lost.

use std::path::PathBuf;
use std::sync::Arc;

use cache::Store;
use export::records::{self, CacheManifest, Listed};
use oci::{Blob, BoxFuture, Descriptor, Digest, ImageName, Layout, Platform, PortError};

use super::shelf::{Found, ListToWrite, Shelf, Written, list_of, listed, listed_in_images, read_document};
use crate::images::Images;

const TAG: &str = "org.opencontainers.image.ref.name";

/// The shelf in a folder.
pub(super) struct Folder {
    path: PathBuf,
    tag: String,
    /// The very manifest, to read.
    digest: Option<Digest>,
    images: Arc<Images>,
    store: Store,
    platforms: Vec<Platform>,
}

impl Folder {
    pub(super) fn new(
        (path, tag, digest): (PathBuf, String, Option<Digest>),
        images: Arc<Images>,
        store: Store,
        platforms: Vec<Platform>,
    ) -> Folder {
        Folder {
            path,
            tag,
            digest,
            images,
            store,
            platforms,
        }
    }

    fn failed(&self, error: &(dyn std::error::Error + 'static)) -> PortError {
        let mut detail = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            detail = format!("{detail}: {error}");
            cause = error.source();
        }
        PortError::Unreachable {
            name: self.path.display().to_string(),
            detail,
        }
    }

    /// What the tag, or the digest, leads to.
    fn entry(&self, layout: &Layout) -> Option<Descriptor> {
        let entries = &layout.index().manifests;
        match self.digest {
            Some(digest) => entries.iter().find(|entry| entry.digest == digest),
            None => entries
                .iter()
                .find(|entry| entry.annotations.get(TAG) == Some(&self.tag)),
        }
        .cloned()
    }

    async fn read_now(&self) -> Result<Option<Found>, PortError> {
        if !self.path.exists() {
            return Ok(None);
        }
        let layout = match Layout::open(&self.path) {
            Ok(layout) => layout,
            // Nothing has been written there yet.
            Err(_) if self.path.is_dir() && !self.path.join("index.json").exists() => return Ok(None),
            Err(error) => return Err(self.failed(&error)),
        };
        let Some(entry) = self.entry(&layout) else {
            return match self.digest {
                Some(digest) => Err(PortError::NotFound {
                    name: format!("{}@{digest}", self.path.display()),
                }),
                None => Ok(None),
            };
        };
        let results = self.results(&layout, &entry).await;
        // What somebody took away by hand is not there.
        let is_whole = |result: &Listed| result.stack.iter().all(|(blob, _)| layout.blob(blob).is_ok());
        Ok(Some(Found {
            version: entry.digest.to_string(),
            manifest: Some(Descriptor::new(&entry.media_type, entry.digest, entry.size)),
            results: results.map(|results| Arc::new(results.into_iter().filter(is_whole).collect())),
        }))
    }

    async fn results(&self, layout: &Layout, entry: &Descriptor) -> Result<Vec<Listed>, String> {
        let open = |blob: &Descriptor| layout.blob(blob).map_err(|error| error.to_string());
        let bytes = read_document(open(entry)?, entry).await?;
        match list_of(&entry.media_type, &bytes).map_err(|error| error.to_string())? {
            Some(list) => listed(&read_document(open(&list)?, &list).await?),
            None => listed_in_images(&self.images, &self.name(), &self.platforms).await,
        }
    }

    async fn write_now(&self, list: &ListToWrite, over: Option<&str>) -> Result<Written, PortError> {
        let over = match over.map(str::parse::<Digest>).transpose() {
            Ok(over) => over,
            Err(error) => return Err(self.failed(&error)),
        };
        let (store, path, tag) = (self.store.clone(), self.path.clone(), self.tag.clone());
        let documents = CacheManifest::of(&list.results, list.form);
        let writing = tokio::task::spawn_blocking(move || documents.put_in_layout(&store, &path, &tag, over));
        let written = writing
            .await
            .unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        match written.map_err(|error| self.failed(&error))? {
            true => Ok(Written::Surely),
            false => Ok(Written::No),
        }
    }
}

impl Shelf for Folder {
    fn name(&self) -> ImageName {
        ImageName::Layout {
            path: self.path.clone(),
            tag: Some(self.tag.clone()).filter(|_| self.digest.is_none()),
            digest: self.digest,
        }
    }

    fn read(&self) -> BoxFuture<'_, Result<Option<Found>, PortError>> {
        Box::pin(self.read_now())
    }

    fn is_still<'a>(&'a self, _version: &'a str) -> BoxFuture<'a, bool> {
        Box::pin(std::future::ready(false))
    }

    fn lacks<'a>(&'a self, blob: &'a Descriptor) -> BoxFuture<'a, Result<bool, PortError>> {
        let path = self.path.join("blobs/sha256").join(blob.digest.hex());
        let is_there = std::fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() == blob.size);
        Box::pin(std::future::ready(Ok(!is_there)))
    }

    fn put<'a>(
        &'a self,
        blob: &'a Descriptor,
        _content: PathBuf,
        sent: &'a (dyn Fn(u64) + Send + Sync),
    ) -> BoxFuture<'a, Result<bool, PortError>> {
        Box::pin(async move {
            let (store, path, wanted) = (self.store.clone(), self.path.clone(), blob.clone());
            let copying = tokio::task::spawn_blocking(move || records::put_blob_in_layout(&store, &wanted, &path));
            let copied = copying
                .await
                .unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
            copied.map_err(|error| self.failed(&error))?;
            sent(blob.size);
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
        let opened = Layout::open(&self.path).and_then(|layout| layout.blob(blob));
        Box::pin(std::future::ready(opened.map_err(|error| self.failed(&error))))
    }
}
