//! Objects of a bucket, at Amazon or wherever else its protocol is spoken.
//!
//! Requests carry their signature in the address (`rusty_s3` makes it); it is good for an hour. Large objects are sent in
//! parts. An object can be written on the condition that it is as it was seen, where the server knows conditions.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use reqwest::header::{ETAG, IF_MATCH, IF_NONE_MATCH, LAST_MODIFIED};
use reqwest::{Method, RequestBuilder, Response, Url};
use rusty_s3::actions::{
    AbortMultipartUpload, CompleteMultipartUpload, CreateMultipartUpload, GetObject, HeadObject, PutObject, S3Action,
    UploadPart,
};
use rusty_s3::{Bucket, Credentials, UrlStyle};

use crate::http::{Client, time};
use crate::wire::{self, Arriving, Error, Part, body, send, shown};

const VALID: Duration = Duration::from_secs(60 * 60);
/// Larger objects are sent in parts of so many bytes; memory holds pieces, not parts.
const PART: u64 = 32 << 20;
/// There are no more parts than this.
const MOST_PARTS: u64 = 9_000;
const ANSWER_LIMIT: usize = 64 << 10;

/// Where a bucket is, and who asks.
#[derive(Clone)]
pub struct Options {
    /// The server; `None` is Amazon's of the region.
    pub endpoint: Option<String>,
    /// Whether the bucket's name is in the path, not in the host's name.
    pub is_path_style: bool,
    /// Its name.
    pub bucket: String,
    /// Its region.
    pub region: String,
    /// The key's name, the key, and a session's token.
    pub credentials: (String, String, Option<String>),
    /// How many parts of an object are sent at the same time.
    pub parallelism: usize,
}

/// A bucket.
#[derive(Clone, Debug)]
pub struct Objects {
    client: Client,
    bucket: Arc<Bucket>,
    credentials: Arc<Credentials>,
    parallelism: usize,
}

/// What is said of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its version.
    pub entity_tag: String,
    /// When it was written, in Unix seconds.
    pub modified: Option<i64>,
}

/// When an object may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition<'a> {
    /// If there is none.
    Absent,
    /// If it is this version.
    Version(&'a str),
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("endpoint", &self.endpoint)
            .field("bucket", &self.bucket)
            .finish_non_exhaustive()
    }
}

impl Objects {
    /// A bucket; connects to nothing yet.
    ///
    /// # Errors
    /// If the address is none.
    pub fn new(client: Client, options: Options) -> Result<Objects, Error> {
        let Options { bucket, region, .. } = options;
        let text = options
            .endpoint
            .unwrap_or_else(|| format!("https://s3.{region}.amazonaws.com"));
        let invalid = |detail: String| Error::Address {
            url: text.clone(),
            detail,
        };
        let endpoint = Url::parse(&text).map_err(|error| invalid(error.to_string()))?;
        let style = match options.is_path_style {
            true => UrlStyle::Path,
            false => UrlStyle::VirtualHost,
        };
        let bucket = Bucket::new(endpoint, style, bucket, region).map_err(|error| invalid(error.to_string()))?;
        let (key, secret, token) = options.credentials;
        let credentials = match token {
            Some(token) => Credentials::new_with_token(key, secret, token),
            None => Credentials::new(key, secret),
        };
        Ok(Objects {
            client,
            bucket: Arc::new(bucket),
            credentials: Arc::new(credentials),
            parallelism: options.parallelism.max(1),
        })
    }

    /// An object of at most `limit` bytes, and its version; nothing if there is none.
    ///
    /// # Errors
    /// If the server fails.
    pub async fn get(&self, key: &str, limit: usize) -> Result<Option<(Vec<u8>, String)>, Error> {
        let url = || GetObject::new(&self.bucket, Some(&self.credentials), key).sign(VALID);
        let shown = shown("GET", &url());
        match send(&shown, async || Ok(self.request(Method::GET, url()))).await {
            Ok(response) => {
                let tag = entity_tag(&response);
                Ok(Some((body(&shown, response, limit).await?, tag)))
            }
            Err(Error::Missing { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What is said of an object; nothing if there is none.
    ///
    /// # Errors
    /// If the server fails.
    pub async fn head(&self, key: &str) -> Result<Option<Head>, Error> {
        let url = || HeadObject::new(&self.bucket, Some(&self.credentials), key).sign(VALID);
        let shown = shown("HEAD", &url());
        match send(&shown, async || Ok(self.request(Method::HEAD, url()))).await {
            Ok(response) => {
                let modified = response.headers().get(LAST_MODIFIED);
                Ok(Some(Head {
                    modified: modified.and_then(|text| time(text.to_str().ok()?)),
                    entity_tag: entity_tag(&response),
                }))
            }
            Err(Error::Missing { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens an object.
    ///
    /// # Errors
    /// If there is none, or the server fails.
    pub async fn open(&self, key: &str) -> Result<Arriving, Error> {
        let (bucket, credentials, key) = (self.bucket.clone(), self.credentials.clone(), key.to_owned());
        let address = move || GetObject::new(&bucket, Some(&credentials), &key).sign(VALID);
        wire::open(&self.client, Arc::new(address)).await
    }

    /// Writes a small object under a condition; gives its version, or nothing if the condition does not hold. A server that
    /// knows no conditions writes.
    ///
    /// # Errors
    /// If the server fails.
    pub async fn put(&self, key: &str, bytes: &[u8], condition: Condition<'_>) -> Result<Option<String>, Error> {
        let put = async |is_conditional: bool| {
            let url = || PutObject::new(&self.bucket, Some(&self.credentials), key).sign(VALID);
            send(&shown("PUT", &url()), async || {
                let request = self.request(Method::PUT, url()).body(bytes.to_vec());
                Ok(match condition {
                    _ if !is_conditional => request,
                    Condition::Absent => request.header(IF_NONE_MATCH, "*"),
                    Condition::Version(version) => request.header(IF_MATCH, version),
                })
            })
            .await
        };
        let written = match put(true).await {
            // Not implemented.
            Err(error) if error.status() == Some(501) => put(false).await,
            other => other,
        };
        match written {
            Ok(response) => Ok(Some(entity_tag(&response))),
            // Somebody was faster, is at it, or took it away.
            Err(error) if matches!(error.status(), Some(404 | 409 | 412)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes an object from a file. `sent` is told of bytes that have arrived.
    ///
    /// # Errors
    /// If the server or the file fails.
    pub async fn put_file(
        &self,
        key: &str,
        path: &Path,
        size: u64,
        sent: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<(), Error> {
        let largest = PART.max(size.div_ceil(MOST_PARTS));
        let parts = Part::all(path, size, largest);
        if let [whole] = &parts[..] {
            let url = || PutObject::new(&self.bucket, Some(&self.credentials), key).sign(VALID);
            let shown = shown("PUT", &url());
            send(&shown, async || whole.of(self.request(Method::PUT, url())).await).await?;
            sent(size);
            return Ok(());
        }
        let upload = self.begin(key).await?;
        let put = self.put_parts(key, &upload, &parts, sent).await;
        let finished = match put {
            Ok(tags) => self.complete(key, &upload, &tags).await,
            Err(error) => Err(error),
        };
        if finished.is_err() {
            // Parts of nothing cost money; a bucket's own rules take away what this does not.
            let url = || AbortMultipartUpload::new(&self.bucket, Some(&self.credentials), key, &upload).sign(VALID);
            let _ = self.request(Method::DELETE, url()).send().await;
        }
        finished
    }

    /// Dates an object anew, so that rules by which old ones are taken away leave it.
    ///
    /// # Errors
    /// If the server fails.
    pub async fn touch(&self, key: &str) -> Result<(), Error> {
        let source = format!("/{}/{key}", self.bucket.name());
        let url = || {
            let mut put = PutObject::new(&self.bucket, Some(&self.credentials), key);
            put.headers_mut().insert("x-amz-copy-source", source.clone());
            put.headers_mut().insert("x-amz-metadata-directive", "REPLACE");
            put.sign(VALID)
        };
        send(&shown("PUT", &url()), async || {
            let request = self.request(Method::PUT, url()).body(Vec::new());
            let request = request.header("x-amz-copy-source", &source);
            Ok(request.header("x-amz-metadata-directive", "REPLACE"))
        })
        .await?;
        Ok(())
    }

    async fn begin(&self, key: &str) -> Result<String, Error> {
        let url = || CreateMultipartUpload::new(&self.bucket, Some(&self.credentials), key).sign(VALID);
        let shown = shown("POST", &url());
        let response = send(&shown, async || Ok(self.request(Method::POST, url()).body(Vec::new()))).await?;
        let answer = body(&shown, response, ANSWER_LIMIT).await?;
        let parsed = CreateMultipartUpload::parse_response(&String::from_utf8_lossy(&answer));
        let parsed = parsed.map_err(|error| Error::Answer {
            request: shown,
            detail: format!("the answer names no upload: {error}"),
        })?;
        Ok(parsed.upload_id().to_owned())
    }

    async fn put_parts(
        &self,
        key: &str,
        upload: &str,
        parts: &[Part],
        sent: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<Vec<String>, Error> {
        let put = async |(number, part): (u16, &Part)| {
            let url = || UploadPart::new(&self.bucket, Some(&self.credentials), key, number, upload).sign(VALID);
            let shown = shown("PUT", &url());
            let response = send(&shown, async || part.of(self.request(Method::PUT, url())).await).await?;
            sent(part.size);
            Ok(entity_tag(&response))
        };
        let putting = (1..).zip(parts).map(put);
        stream::iter(putting).buffered(self.parallelism).try_collect().await
    }

    async fn complete(&self, key: &str, upload: &str, tags: &[String]) -> Result<(), Error> {
        let complete = || {
            let tags = tags.iter().map(String::as_str);
            CompleteMultipartUpload::new(&self.bucket, Some(&self.credentials), key, upload, tags)
        };
        let shown = shown("POST", &complete().sign(VALID));
        let response = send(&shown, async || {
            let request = self.request(Method::POST, complete().sign(VALID));
            Ok(request.body(complete().body()))
        })
        .await?;
        let answer = body(&shown, response, ANSWER_LIMIT).await?;
        // A failure may come after the status was sent.
        let text = String::from_utf8_lossy(&answer);
        if text.contains("<Error>") {
            let detail = text.split_whitespace().collect::<Vec<_>>().join(" ");
            return Err(Error::Answer { request: shown, detail });
        }
        Ok(())
    }

    fn request(&self, method: Method, url: Url) -> RequestBuilder {
        self.client.to(&url).request(method, url)
    }
}

fn entity_tag(response: &Response) -> String {
    let tag = response.headers().get(ETAG).and_then(|tag| tag.to_str().ok());
    tag.unwrap_or_default().to_owned()
}
