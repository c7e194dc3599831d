//! A list in a bucket: an object for the list, one for each blob.
//!
//! Lists are written on the condition that they are as they were seen. Some servers know no conditions and do not say so;
//! therefore it is looked again.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use export::records::{BucketPlace, Document};
use oci::layout::DOCUMENT_LIMIT;
use oci::{Blob, BoxFuture, Descriptor, ImageName, PortError};
use remote::s3::{Condition, Objects, Options};
use tokio::sync::OnceCell;

use super::shelf::{Found, Last, ListToWrite, Shelf, Written, listed, storage_error};

/// What the version of a list is called that is not there.
const NONE: &str = "-";

/// The shelf in a bucket.
pub(super) struct Bucket {
    place: BucketPlace,
    certificates: Option<PathBuf>,
    objects: OnceCell<Objects>,
    last: Last,
}

impl Bucket {
    pub(super) fn new(place: BucketPlace, certificates: Option<PathBuf>) -> Bucket {
        Bucket {
            place,
            certificates,
            objects: OnceCell::new(),
            last: Last::default(),
        }
    }

    async fn objects(&self) -> Result<&Objects, PortError> {
        let made = self.objects.get_or_try_init(|| async {
            let client = super::shelf::http(self.certificates.as_deref())?;
            let place = &self.place;
            let token = place.token.as_ref().map(|token| token.0.clone());
            Objects::new(
                client,
                Options {
                    endpoint: place.endpoint.clone(),
                    is_path_style: place.is_path_style,
                    bucket: place.bucket.clone(),
                    region: place.region.clone(),
                    credentials: (place.key_id.clone(), place.key.0.clone(), token),
                    parallelism: place.parallelism,
                },
            )
        });
        made.await.map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &remote::wire::Error) -> PortError {
        storage_error(&format!("bucket {}", self.place.bucket), error)
    }

    fn key_of(&self, blob: &Descriptor) -> String {
        format!("{}{}", self.place.blobs, blob.digest)
    }

    fn keys_of_lists(&self) -> Vec<String> {
        let names = self.place.names.iter();
        names.map(|name| format!("{}{name}", self.place.lists)).collect()
    }

    async fn version(&self) -> Result<String, PortError> {
        let objects = self.objects().await?;
        let mut tags = Vec::new();
        for key in self.keys_of_lists() {
            let head = objects.head(&key).await.map_err(|error| self.failed(&error))?;
            tags.push(head.map_or_else(|| NONE.to_owned(), |head| head.entity_tag));
        }
        Ok(tags.join(" "))
    }

    async fn read_now(&self) -> Result<Option<Found>, PortError> {
        let objects = self.objects().await?;
        let (mut tags, mut results, mut trouble) = (Vec::new(), Vec::new(), None);
        for key in self.keys_of_lists() {
            let got = objects.get(&key, DOCUMENT_LIMIT as usize).await;
            let Some((bytes, tag)) = got.map_err(|error| self.failed(&error))? else {
                tags.push(NONE.to_owned());
                continue;
            };
            tags.push(tag);
            match listed(&bytes) {
                Ok(more) => results.extend(more),
                Err(error) => trouble = Some(error),
            }
        }
        if tags.iter().all(|tag| tag == NONE) {
            return Ok(None);
        }
        Ok(Some(Found {
            version: tags.join(" "),
            manifest: None,
            results: match trouble {
                Some(trouble) => Err(trouble),
                None => Ok(Arc::new(results)),
            },
        }))
    }

    async fn write_now(&self, list: &ListToWrite, over: Option<&str>) -> Result<Written, PortError> {
        let objects = self.objects().await?;
        let bytes = Document::of(&list.results).to_bytes();
        let mut seen = over.into_iter().flat_map(|over| over.split(' '));
        let mut tags = Vec::new();
        for key in self.keys_of_lists() {
            let condition = match seen.next() {
                None | Some(NONE) => Condition::Absent,
                Some(tag) => Condition::Version(tag),
            };
            let put = objects.put(&key, &bytes, condition).await;
            match put.map_err(|error| self.failed(&error))? {
                Some(tag) => tags.push(tag),
                None => return Ok(Written::No),
            }
        }
        let version = tags.join(" ");
        self.last.is_now(&version, list, None).await;
        Ok(Written::Perhaps(version))
    }
}

impl Shelf for Bucket {
    fn name(&self) -> ImageName {
        let place = &self.place;
        let server = place.endpoint.as_deref().unwrap_or(&place.region);
        ImageName::Results(format!(
            "s3:{server}/{}/{}{}",
            place.bucket,
            place.lists,
            place.names.join(";")
        ))
    }

    fn read(&self) -> BoxFuture<'_, Result<Option<Found>, PortError>> {
        let version = async { self.version().await.map(Some) };
        Box::pin(self.last.or_read(version, self.read_now()))
    }

    fn sign(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            // Even a refusal is an answer.
            let _ = self.version().await;
        })
    }

    fn is_still<'a>(&'a self, version: &'a str) -> BoxFuture<'a, bool> {
        Box::pin(async move { matches!(self.version().await, Ok(current) if current == version) })
    }

    fn lacks<'a>(&'a self, blob: &'a Descriptor) -> BoxFuture<'a, Result<bool, PortError>> {
        Box::pin(async move {
            let head = self.objects().await?.head(&self.key_of(blob)).await;
            Ok(head.map_err(|error| self.failed(&error))?.is_none())
        })
    }

    fn refresh(&self) -> Option<Duration> {
        Some(self.place.refresh)
    }

    fn touch<'a>(&'a self, blob: &'a Descriptor) -> BoxFuture<'a, Result<bool, PortError>> {
        Box::pin(async move {
            let (objects, key) = (self.objects().await?, self.key_of(blob));
            let head = objects.head(&key).await.map_err(|error| self.failed(&error))?;
            let Some(head) = head else { return Ok(false) };
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let modified = head
                .modified
                .and_then(|time| u64::try_from(time).ok())
                .unwrap_or_default();
            if now.saturating_sub(Duration::from_secs(modified)) > self.place.refresh {
                objects.touch(&key).await.map_err(|error| self.failed(&error))?;
            }
            Ok(true)
        })
    }

    fn put<'a>(
        &'a self,
        blob: &'a Descriptor,
        content: PathBuf,
        sent: &'a (dyn Fn(u64) + Send + Sync),
    ) -> BoxFuture<'a, Result<bool, PortError>> {
        Box::pin(async move {
            if self.lacks(blob).await? {
                let objects = self.objects().await?;
                let put = objects.put_file(&self.key_of(blob), &content, blob.size, sent).await;
                put.map_err(|error| self.failed(&error))?;
            }
            Ok(true)
        })
    }

    fn write<'a>(&'a self, list: &'a ListToWrite, over: Option<&'a str>) -> BoxFuture<'a, Result<Written, PortError>> {
        Box::pin(self.write_now(list, over))
    }

    fn blob<'a>(&'a self, blob: &'a Descriptor) -> BoxFuture<'a, Result<Blob, PortError>> {
        Box::pin(async move {
            let opened = self.objects().await?.open(&self.key_of(blob)).await;
            let opened = opened.map_err(|error| self.failed(&error))?;
            Ok(Box::new(opened) as Blob)
        })
    }
}
