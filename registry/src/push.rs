//! Pushing: blobs that are not there yet, then manifests.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use oci::{BoxFuture, Descriptor, Digest, PortError, Push, Reference};
use reqwest::{Method, Response, StatusCode, Url};

use crate::client::{Ask, Body, Client, DIGEST_HEADER, location};
use crate::error::Error;
use crate::repository::{Action, Repository};
use crate::retry::{Contact, Tries};
use crate::upload::Upload;

const BLOB_TYPE: &str = "application/octet-stream";
/// How often whoever watches is told of progress.
const REPORT: Duration = Duration::from_millis(100);

/// Tells of bytes that left. Bytes that a repeated upload sends again are not told again.
struct Progress<'a> {
    told: u64,
    sent: &'a (dyn Fn(u64) + Send + Sync),
}

impl Push for Client {
    fn push_blob<'a>(
        &'a self,
        name: &'a Reference,
        blob: &'a Descriptor,
        content: PathBuf,
        sent: &'a (dyn Fn(u64) + Send + Sync),
    ) -> BoxFuture<'a, Result<bool, PortError>> {
        Box::pin(async move {
            let mut flight = trace::flight_of("push", &blob.digest);
            let progress = Progress { told: 0, sent };
            let pushed = self.upload_if_missing(name, blob, content, progress).await;
            if let Ok(true) = pushed {
                flight.bytes(blob.size);
            }
            pushed.map_err(|error| error.of(&format!("{}@{}", name.name(), blob.digest)))
        })
    }

    fn push_manifest<'a>(
        &'a self,
        name: &'a Reference,
        manifest: &'a Descriptor,
        bytes: &'a [u8],
    ) -> BoxFuture<'a, Result<(), PortError>> {
        Box::pin(async move {
            let _flight = trace::flight_of("push", &manifest.digest);
            let put = self.put_manifest(name, manifest, bytes).await;
            put.map_err(|error| error.of(name))
        })
    }
}

impl Client {
    async fn upload_if_missing(
        &self,
        name: &Reference,
        blob: &Descriptor,
        content: PathBuf,
        mut progress: Progress<'_>,
    ) -> Result<bool, Error> {
        let repository = self.repository(name)?;
        if self.has_blob(&repository, blob.digest).await? {
            return Ok(false);
        }
        let upload = Upload::of(content, blob.size).await?;
        let mut tries = Tries::new(Contact::Established);
        loop {
            match self.upload(&repository, blob.digest, &upload, &mut progress).await {
                Ok(()) => return Ok(true),
                Err(error) => tries.again(error).await?,
            }
        }
    }

    async fn has_blob(&self, repository: &Repository, digest: Digest) -> Result<bool, Error> {
        let url = repository.url(&format!("blobs/{digest}"));
        let ask = Ask::new(repository, Action::Push, Method::HEAD, url);
        let mut tries = Tries::new(Contact::First);
        loop {
            match self.has_blob_once(&ask).await {
                Ok(there) => return Ok(there),
                Err(error) => tries.again(error).await?,
            }
        }
    }

    async fn has_blob_once(&self, ask: &Ask<'_>) -> Result<bool, Error> {
        let response = self.exchange(ask).await?;
        match response.status() {
            StatusCode::OK => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            // Storage behind a redirect may know only GET: an upload too many does no harm.
            _ if !ask.repository.owns(response.url()) => Ok(false),
            _ => Err(self.refused(ask, response).await),
        }
    }

    /// One upload from its beginning: a place to upload to, then everything in one request.
    async fn upload(
        &self,
        repository: &Repository,
        digest: Digest,
        upload: &Upload,
        progress: &mut Progress<'_>,
    ) -> Result<(), Error> {
        let mut place = self.upload_place(repository).await?;
        place.query_pairs_mut().append_pair("digest", &digest.to_string());
        let ask = Ask::new(repository, Action::Push, Method::PUT, place).carrying(BLOB_TYPE, Body::Upload(upload));
        let putting = self.obtain(&ask, &[StatusCode::CREATED, StatusCode::NO_CONTENT]);
        tokio::pin!(putting);
        let response = loop {
            let ended = tokio::time::timeout(REPORT, &mut putting).await;
            progress.tell(upload.sent());
            if let Ok(response) = ended {
                break response?;
            }
        };
        check_digest(&ask, &response, digest)
    }

    async fn upload_place(&self, repository: &Repository) -> Result<Url, Error> {
        let ask = Ask::new(repository, Action::Push, Method::POST, repository.url("blobs/uploads/"));
        let response = self.obtain(&ask, &[StatusCode::ACCEPTED, StatusCode::CREATED]).await?;
        let refuse = |detail: &str| Error::Answer {
            request: ask.shown(),
            detail: detail.to_owned(),
        };
        let place = location(&ask.url, &response).ok_or_else(|| refuse("the answer has no valid Location"))?;
        if place.scheme() == "http" && !repository.is_plain() {
            return Err(refuse("the answer's Location leads from https to plain http"));
        }
        Ok(place)
    }

    /// A registry that stores a manifest under a tag has it under its digest, too.
    async fn put_manifest(&self, name: &Reference, manifest: &Descriptor, bytes: &[u8]) -> Result<(), Error> {
        let actual = Digest::of(bytes);
        if actual != manifest.digest {
            return Err(Error::Content(oci::Error::DigestMismatch {
                expected: manifest.digest,
                actual,
            }));
        }
        let repository = self.repository(name)?;
        let place = match (name.digest(), name.tag()) {
            (None, Some(tag)) => tag.to_owned(),
            _ => manifest.digest.to_string(),
        };
        let url = repository.url(&format!("manifests/{place}"));
        let body = Body::Bytes(Bytes::copy_from_slice(bytes));
        let ask = Ask::new(&repository, Action::Push, Method::PUT, url).carrying(&manifest.media_type, body);
        let mut tries = Tries::new(Contact::Established);
        loop {
            match self
                .obtain(&ask, &[StatusCode::CREATED, StatusCode::OK, StatusCode::ACCEPTED])
                .await
            {
                Ok(response) => return check_digest(&ask, &response, manifest.digest),
                Err(error) => tries.again(error).await?,
            }
        }
    }
}

impl Progress<'_> {
    fn tell(&mut self, sent: u64) {
        if sent > self.told {
            (self.sent)(sent - self.told);
            self.told = sent;
        }
    }
}

/// A registry that says what it stored must have stored what was sent.
fn check_digest(ask: &Ask<'_>, response: &Response, sent: Digest) -> Result<(), Error> {
    let header = response
        .headers()
        .get(DIGEST_HEADER)
        .and_then(|value| value.to_str().ok());
    match header {
        Some(stored) if stored.starts_with("sha256:") && stored != sent.to_string() => Err(Error::Answer {
            request: ask.shown(),
            detail: format!("`{sent}` was sent, the registry says it stored `{stored}`"),
        }),
        _ => Ok(()),
    }
}
