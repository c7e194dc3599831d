//! Pushing: blobs that are not there yet, then manifests.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use oci::{BoxFuture, Descriptor, Digest, Growing, PortError, Push, Reference};
use reqwest::{Method, Response, StatusCode, Url};

use crate::client::{Ask, Body, Client, DIGEST_HEADER, astray, location};
use crate::error::Error;
use crate::pushes::{Begun, Standing};
use crate::repository::{Action, Repository};
use crate::retry::Contact;
use crate::sending::Sending;
use crate::upload::{Leaving, Upload};

pub(crate) const BLOB_TYPE: &str = "application/octet-stream";
/// Where registries say how small a chunk may be.
const LEAST_CHUNK: &str = "oci-chunk-min-length";
/// How often whoever watches is told of progress.
const REPORT: Duration = Duration::from_millis(100);
/// How many repositories are asked to give a blob. Each may cost an upload that nobody goes on with.
const SOURCES: usize = 2;

/// Tells of bytes that left. Bytes that a repeated upload sends again are not told again.
pub(crate) struct Progress<'a> {
    told: u64,
    sent: &'a (dyn Fn(u64) + Send + Sync),
}

/// That a repository may be pushed to, and the upload that was begun to find out.
#[derive(Debug)]
pub struct Granted {
    repository: Repository,
    begun: Begun,
}

impl Push for Client {
    fn find_blob<'a>(
        &'a self,
        name: &'a Reference,
        blob: &'a Descriptor,
        from: &'a [Reference],
    ) -> BoxFuture<'a, Result<bool, PortError>> {
        Box::pin(async move {
            let found = self.find(name, blob.digest, from).await;
            found.map_err(|error| error.of(&format!("{}@{}", name.name(), blob.digest)))
        })
    }

    fn push_blob<'a>(
        &'a self,
        name: &'a Reference,
        blob: &'a Descriptor,
        content: PathBuf,
        sent: &'a (dyn Fn(u64) + Send + Sync),
    ) -> BoxFuture<'a, Result<(), PortError>> {
        Box::pin(async move {
            let mut flight = trace::flight_of("push", &blob.digest);
            let progress = Progress { told: 0, sent };
            let pushed = self.send(name, blob, content, progress).await;
            if pushed.is_ok() {
                flight.bytes(blob.size);
            }
            pushed.map_err(|error| error.of(&format!("{}@{}", name.name(), blob.digest)))
        })
    }

    fn push_growing<'a>(
        &'a self,
        name: &'a Reference,
        blob: &'a Arc<Growing>,
        sent: &'a (dyn Fn(u64) + Send + Sync),
    ) -> BoxFuture<'a, bool> {
        Box::pin(self.send_early(name, blob, Progress { told: 0, sent }))
    }

    fn at_once(&self) -> usize {
        self.lanes().transfers()
    }

    fn abandon<'a>(&'a self, name: &'a Reference) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let Ok(repository) = self.repository(name) else { return };
            for standing in self.pushes().all_of(&repository) {
                // Who holds the lock is at work on it.
                if let Ok(mut standing) = standing.try_lock()
                    && let Standing::Begun(begun) = &*standing
                {
                    let begun = begun.clone();
                    *standing = Standing::Absent;
                    self.cancel_upload(&repository, begun).await;
                }
            }
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
    /// Finds out whether the repository of `name` may be pushed to: has the registry begin an upload, which
    /// [`Client::give_back`] cancels.
    ///
    /// # Errors
    /// Why not, or that the registry cannot be reached.
    pub async fn may_push(&self, name: &Reference) -> Result<Granted, PortError> {
        let asked = async {
            let repository = self.repository(name)?;
            let begun = self.begin_upload(&repository, Contact::First).await?;
            Ok(Granted { repository, begun })
        };
        asked.await.map_err(|error: Error| error.of(&name.name()))
    }

    /// Cancels the upload of a question, so that the registry need not find out by itself that nothing comes.
    pub async fn give_back(&self, granted: Granted) {
        self.cancel_upload(&granted.repository, granted.begun).await;
    }

    async fn find(&self, name: &Reference, digest: Digest, from: &[Reference]) -> Result<bool, Error> {
        let repository = self.repository(name)?;
        let standing = self.pushes().of(&repository, digest);
        let mut standing = standing.lock().await;
        match *standing {
            Standing::There => return Ok(true),
            Standing::Begun(_) => return Ok(false),
            Standing::Absent => {}
            Standing::Unknown if self.has_blob(&repository, digest).await? => {
                *standing = Standing::There;
                return Ok(true);
            }
            Standing::Unknown => {}
        }
        *standing = self.mount(&repository, digest, from).await;
        Ok(matches!(*standing, Standing::There))
    }

    async fn send(
        &self,
        name: &Reference,
        blob: &Descriptor,
        content: PathBuf,
        progress: Progress<'_>,
    ) -> Result<(), Error> {
        let repository = self.repository(name)?;
        let upload = Upload::of(content, blob.size).await?;
        let standing = self.pushes().of(&repository, blob.digest);
        let mut standing = standing.lock().await;
        let begun = match std::mem::take(&mut *standing) {
            Standing::There => {
                *standing = Standing::There;
                return Ok(());
            }
            Standing::Begun(begun) => Some(begun),
            Standing::Unknown | Standing::Absent => None,
        };
        let is_touched = begun.as_ref().is_some_and(|begun| begun.touched);
        let mut sending = Sending {
            client: self,
            repository: &repository,
            digest: blob.digest,
            upload: &upload,
            begun,
            at: 0,
            progress,
        };
        if is_touched {
            sending.catch_up().await;
        }
        let sent = sending.run().await;
        if sent.is_ok() {
            *standing = Standing::There;
        }
        sent
    }

    /// Has the registry give the repository a blob of another one of its own. Whatever stands against that, the blob can
    /// be sent, if need be by the upload that the registry begins instead.
    async fn mount(&self, repository: &Repository, digest: Digest, from: &[Reference]) -> Standing {
        let mut begun: Option<Begun> = None;
        let is_useful = |source: &&Reference| {
            source.host() == repository.host
                && source.repository() != repository.path
                && self.pushes().gives(repository, source.repository())
        };
        for source in from.iter().filter(is_useful).take(SOURCES) {
            let path = source.repository();
            match self.mount_from(repository, digest, path).await {
                Ok(None) => {
                    if let Some(begun) = begun {
                        self.cancel_upload(repository, begun).await;
                    }
                    return Standing::There;
                }
                Ok(Some(other)) => {
                    self.pushes().refused(repository, path);
                    if let Some(earlier) = begun.replace(other) {
                        self.cancel_upload(repository, earlier).await;
                    }
                }
                Err(_) => self.pushes().refused(repository, path),
            }
        }
        begun.map_or(Standing::Absent, Standing::Begun)
    }

    /// The upload that the registry begins if it does not give the blob.
    async fn mount_from(&self, repository: &Repository, digest: Digest, path: &str) -> Result<Option<Begun>, Error> {
        let taking = repository.taking_from(path);
        let mut url = repository.url("blobs/uploads/");
        url.query_pairs_mut()
            .append_pair("mount", &digest.to_string())
            .append_pair("from", path);
        let ask = Ask::new(&taking, Action::Push, Method::POST, url);
        let response = self.obtain(&ask, &[StatusCode::CREATED, StatusCode::ACCEPTED]).await?;
        if response.status() == StatusCode::CREATED {
            check_digest(&ask, &response, digest)?;
            return Ok(None);
        }
        begun(&ask, &response).map(Some)
    }

    async fn has_blob(&self, repository: &Repository, digest: Digest) -> Result<bool, Error> {
        let url = repository.url(&format!("blobs/{digest}"));
        let ask = Ask::new(repository, Action::Push, Method::HEAD, url);
        let mut tries = self.tries(Contact::First);
        loop {
            match self.has_blob_once(&ask).await {
                Ok(there) => return Ok(there),
                Err(error) => tries.again(error).await?,
            }
        }
    }

    /// Whether the blob is certainly there; asked once.
    pub(crate) async fn has_blob_now(&self, repository: &Repository, digest: Digest) -> bool {
        let url = repository.url(&format!("blobs/{digest}"));
        let ask = Ask::new(repository, Action::Push, Method::HEAD, url);
        self.has_blob_once(&ask).await.unwrap_or(false)
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

    /// Asks for a place to upload to.
    pub(crate) async fn begin_upload(&self, repository: &Repository, contact: Contact) -> Result<Begun, Error> {
        let ask = Ask::new(repository, Action::Push, Method::POST, repository.url("blobs/uploads/"));
        let mut tries = self.tries(contact);
        loop {
            match self.obtain(&ask, &[StatusCode::ACCEPTED, StatusCode::CREATED]).await {
                Ok(response) => return begun(&ask, &response),
                Err(error) => tries.again(error).await?,
            }
        }
    }

    /// Tells the registry that nothing more will come. If it does not hear, it finds out by itself.
    pub(crate) async fn cancel_upload(&self, repository: &Repository, begun: Begun) {
        let ask = Ask::new(repository, Action::Push, Method::DELETE, begun.place);
        let _ = self.exchange(&ask).await;
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
        let mut tries = self.tries(Contact::Established);
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
    /// Waits for `sending`, telling meanwhile how far `upload` is.
    pub(crate) async fn while_sending<T>(&mut self, upload: &impl Leaving, sending: impl Future<Output = T>) -> T {
        tokio::pin!(sending);
        loop {
            let ended = tokio::time::timeout(REPORT, &mut sending).await;
            self.tell(upload.sent());
            if let Ok(answer) = ended {
                return answer;
            }
        }
    }

    fn tell(&mut self, sent: u64) {
        if sent > self.told {
            (self.sent)(sent - self.told);
            self.told = sent;
        }
    }
}

fn begun(ask: &Ask<'_>, response: &Response) -> Result<Begun, Error> {
    let least = response
        .headers()
        .get(LEAST_CHUNK)
        .and_then(|value| value.to_str().ok());
    Ok(Begun {
        place: upload_place(ask, response)?,
        least: least.and_then(|text| text.trim().parse().ok()).unwrap_or(0),
        touched: false,
    })
}

/// Where the next bytes of an upload go.
pub(crate) fn upload_place(ask: &Ask<'_>, response: &Response) -> Result<Url, Error> {
    let refuse = |detail: &str| Error::Answer {
        request: ask.shown(),
        detail: detail.to_owned(),
    };
    let place = location(&ask.url, response).ok_or_else(|| refuse("the answer has no valid Location"))?;
    if place.scheme() == "http" && !ask.repository.is_plain() {
        return Err(refuse("the answer's Location leads from https to plain http"));
    }
    match astray(&ask.url, &place) {
        Some(why) => Err(refuse(&format!("the answer's Location is {why}"))),
        None => Ok(place),
    }
}

/// A registry that says what it stored must have stored what was sent.
pub(crate) fn check_digest(ask: &Ask<'_>, response: &Response, sent: Digest) -> Result<(), Error> {
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
