//! A list in GitHub's cache service: entries for blobs, and one entry for each state of the list.
//!
//! An entry never changes and its name is given once, so the states of a list are numbered: whoever makes the next number
//! has seen the one before, and nobody's list is lost. Jobs of a branch write entries of that branch and read those of the
//! default branch as well; each branch has a list of its own, and all that can be read are.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cache::Store;
use export::records::{Document, GithubPlace, Listed};
use oci::layout::DOCUMENT_LIMIT;
use oci::{Blob, BoxFuture, Descriptor, Digest, ImageName, PortError};
use remote::github::{self, Entries, Options};
use tokio::sync::{Mutex, OnceCell};

use super::shelf::{Found, ListToWrite, Shelf, Written, listed, storage_error};

/// Of entries of this form.
const FORM: &str = "rbuild-1";
/// After so many refusals a number counts as that of a job that died, and the next is taken.
const PATIENCE: usize = 10;
/// How often, and how long apart, a blob is looked for that somebody else is about to put there.
const LOOKS: usize = 10;
const BETWEEN_LOOKS: Duration = Duration::from_millis(300);

/// The shelf in the service.
pub(super) struct Github {
    place: GithubPlace,
    store: Store,
    certificates: Option<PathBuf>,
    entries: OnceCell<Entries>,
    /// Lists that were read, by the names of their entries, which never change. Whoever wants one while somebody reads it
    /// waits for that.
    read: Mutex<HashMap<String, Arc<Vec<Listed>>>>,
    refusals: AtomicUsize,
}

impl Github {
    pub(super) fn new(place: GithubPlace, store: Store, certificates: Option<PathBuf>) -> Github {
        Github {
            place,
            store,
            certificates,
            entries: OnceCell::new(),
            read: Mutex::default(),
            refusals: AtomicUsize::new(0),
        }
    }

    async fn entries(&self) -> Result<&Entries, PortError> {
        let made = self.entries.get_or_try_init(|| async {
            let client = super::shelf::http(self.certificates.as_deref())?;
            Entries::new(
                client,
                Options {
                    url: self.place.url.clone(),
                    token: self.place.token.0.clone(),
                    version: Digest::of(FORM.as_bytes()).hex(),
                    timeout: self.place.timeout,
                },
            )
        });
        made.await.map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &remote::wire::Error) -> PortError {
        storage_error(&format!("gha:{}", self.place.scope), error)
    }

    /// What names of lists begin with: first that of the list that is ours to write, then those that can be read besides.
    fn beginnings(&self) -> Vec<String> {
        let mut scopes = github::scopes(&self.place.token.0);
        scopes.sort_by_key(|scope| !scope.is_writable);
        let mut names: Vec<String> = scopes.into_iter().map(|scope| scope.name).collect();
        if names.is_empty() {
            names.push(String::new());
        }
        let of_branch = |name: String| {
            let branch = Digest::of(name.as_bytes()).hex();
            format!("rbuild-index-{}-{}#", self.place.scope, &branch[..8])
        };
        names.into_iter().map(of_branch).collect()
    }

    /// The newest list whose name begins so, and its number.
    async fn newest(&self, beginning: &str) -> Result<Option<(u64, Result<Arc<Vec<Listed>>, String>)>, PortError> {
        let entries = self.entries().await?;
        let found = entries.find(beginning, &[beginning.to_owned()]).await;
        let Some(found) = found.map_err(|error| self.failed(&error))? else {
            return Ok(None);
        };
        let Some(number) = found.key.strip_prefix(beginning).and_then(|number| number.parse().ok()) else {
            return Ok(None);
        };
        let mut read = self.read.lock().await;
        if let Some(known) = read.get(&found.key) {
            return Ok(Some((number, Ok(known.clone()))));
        }
        let bytes = match entries.read(&found, DOCUMENT_LIMIT as usize).await {
            Ok(bytes) => bytes,
            Err(error @ (remote::wire::Error::Answer { .. } | remote::wire::Error::Missing { .. })) => {
                return Ok(Some((number, Err(error.to_string()))));
            }
            Err(error) => return Err(self.failed(&error)),
        };
        let results = listed(&bytes).map(Arc::new);
        if let Ok(results) = &results {
            read.insert(found.key, results.clone());
        }
        Ok(Some((number, results)))
    }

    async fn read_now(&self) -> Result<Option<Found>, PortError> {
        let beginnings = self.beginnings();
        let (mut version, mut results, mut trouble) = (0, Vec::new(), None);
        let mut is_any = false;
        for (place, beginning) in beginnings.iter().enumerate() {
            let Some((number, list)) = self.newest(beginning).await? else {
                continue;
            };
            is_any = true;
            if place == 0 {
                version = number;
            }
            match list {
                Ok(list) => results.extend(list.iter().cloned()),
                Err(error) => trouble = Some(error),
            }
        }
        Ok(is_any.then(|| Found {
            version: version.to_string(),
            manifest: None,
            results: match trouble {
                Some(trouble) if results.is_empty() => Err(trouble),
                _ => Ok(Arc::new(results)),
            },
        }))
    }

    async fn write_now(&self, list: &ListToWrite, over: Option<&str>) -> Result<Written, PortError> {
        let bytes = Document::of(&list.results).to_bytes();
        let file = self.store.put_blob(&bytes).map_err(|error| PortError::Protocol {
            name: format!("gha:{}", self.place.scope),
            detail: format!("the store failed: {error}"),
        })?;
        let seen: u64 = over.and_then(|over| over.parse().ok()).unwrap_or(0);
        let dead = (self.refusals.load(Ordering::Relaxed) / PATIENCE) as u64;
        let key = format!("{}{}", self.beginnings()[0], seen + 1 + dead);
        let entries = self.entries().await?;
        let created = entries.create(&key, &file.path, file.size, &|_| {}).await;
        if created.map_err(|error| self.failed(&error))? {
            return Ok(Written::Surely);
        }
        self.refusals.fetch_add(1, Ordering::Relaxed);
        Ok(Written::No)
    }

    async fn find(&self, blob: &Descriptor) -> Result<Option<github::Found>, PortError> {
        let key = key_of(blob);
        let found = self.entries().await?.find(&key, &[]).await;
        let found = found.map_err(|error| self.failed(&error))?;
        Ok(found.filter(|found| found.key == key))
    }

    async fn put_now(
        &self,
        blob: &Descriptor,
        content: PathBuf,
        sent: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<bool, PortError> {
        if self.find(blob).await?.is_some() {
            return Ok(true);
        }
        let created = self
            .entries()
            .await?
            .create(&key_of(blob), &content, blob.size, sent)
            .await;
        if created.map_err(|error| self.failed(&error))? {
            return Ok(true);
        }
        // Another job is putting it there.
        for _ in 0..LOOKS {
            tokio::time::sleep(BETWEEN_LOOKS).await;
            if self.find(blob).await?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl Shelf for Github {
    fn name(&self) -> ImageName {
        ImageName::Results(format!("gha:{}{}", self.place.url, self.place.scope))
    }

    fn read(&self) -> BoxFuture<'_, Result<Option<Found>, PortError>> {
        Box::pin(self.read_now())
    }

    fn is_still<'a>(&'a self, _version: &'a str) -> BoxFuture<'a, bool> {
        Box::pin(std::future::ready(false))
    }

    fn lacks<'a>(&'a self, blob: &'a Descriptor) -> BoxFuture<'a, Result<bool, PortError>> {
        Box::pin(async move { Ok(self.find(blob).await?.is_none()) })
    }

    fn put<'a>(
        &'a self,
        blob: &'a Descriptor,
        content: PathBuf,
        sent: &'a (dyn Fn(u64) + Send + Sync),
    ) -> BoxFuture<'a, Result<bool, PortError>> {
        Box::pin(self.put_now(blob, content, sent))
    }

    fn write<'a>(&'a self, list: &'a ListToWrite, over: Option<&'a str>) -> BoxFuture<'a, Result<Written, PortError>> {
        Box::pin(self.write_now(list, over))
    }

    fn blob<'a>(&'a self, blob: &'a Descriptor) -> BoxFuture<'a, Result<Blob, PortError>> {
        Box::pin(async move {
            let Some(found) = self.find(blob).await? else {
                return Err(PortError::NotFound {
                    name: format!("gha:{}: {}", self.place.scope, blob.digest),
                });
            };
            let opened = self.entries().await?.open(&found).await;
            Ok(Box::new(opened.map_err(|error| self.failed(&error))?) as Blob)
        })
    }
}

fn key_of(blob: &Descriptor) -> String {
    format!("rbuild-blob-{}", blob.digest)
}
