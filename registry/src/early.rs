//! One blob on its way into a repository before it is whole, and so before anybody knows its digest.
//!
//! ```text
//! POST  …/blobs/uploads/          a place to upload to                         -> 202, Location
//! PATCH <place>                   one long body without a length, as it grows  -> 202, Location, Range
//! PUT   <place>?digest=…          that was all, and this is what it became     -> 201
//! ```
//!
//! This is how docker pushes, so registries know it, although the distribution-spec has chunks of known sizes only. It is
//! worth it as long as making a blob takes time; small ones are left to the ordinary way, which asks first whether they are
//! there. Of a large one that is asked as soon as it is whole, if much of it has yet to leave. What goes wrong is nobody's
//! failure: the upload, with whatever the registry has of it, is left to the ordinary way.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use oci::{Digest, End, Growing, Reference};
use reqwest::{Method, StatusCode};

use crate::client::{Ask, Body, Client};
use crate::error::Error;
use crate::push::{BLOB_TYPE, Progress, check_digest};
use crate::pushes::{Begun, Standing};
use crate::repository::{Action, Repository};
use crate::retry::Contact;
use crate::sending::{held, move_on};
use crate::upload::{Leaving as _, Trickle};

/// What is smaller is whole before it would have left.
const LEAST: u64 = 8 << 20;
/// How often a blob is looked at that did not grow.
pub(crate) const GLANCE: Duration = Duration::from_millis(10);

impl Client {
    /// Whether the blob is in the repository now, all of it.
    pub(crate) async fn send_early(&self, name: &Reference, blob: &Arc<Growing>, mut progress: Progress<'_>) -> bool {
        let Ok(repository) = self.repository(name) else {
            return false;
        };
        if !is_large(blob).await || !self.pushes().takes_streams(&repository.host) {
            return false;
        }
        let Ok(mut begun) = self.begin_upload(&repository, Contact::Established).await else {
            return false;
        };
        let trickle = Trickle::of(blob);
        let mut flight = trace::flight_of("push early", &repository.path);
        let streamed = tokio::select! {
            streamed = progress.while_sending(&trickle, self.stream(&repository, &mut begun, &trickle)) => Some(streamed),
            () = self.turns_out_to_be_there(&repository, &trickle) => None,
        };
        flight.bytes(trickle.sent());
        drop(flight);
        let End::Blob(digest) = end(blob).await else {
            self.cancel_upload(&repository, begun).await;
            return false;
        };
        let closed = match streamed {
            Some(Ok(())) => self.close(&repository, &begun, digest).await,
            Some(Err(error)) => Err(error),
            None => {
                self.cancel_upload(&repository, begun.clone()).await;
                Ok(())
            }
        };
        if let Err(error) = &closed {
            self.learn_from(&repository, error, blob.length(), begun.least);
        }
        let standing = match closed {
            Ok(()) => Standing::There,
            Err(_) => Standing::Begun(Begun { touched: true, ..begun }),
        };
        self.note(&repository, digest, standing).await
    }

    /// Sends the bytes as they come, up to the last.
    async fn stream(&self, repository: &Repository, begun: &mut Begun, trickle: &Trickle) -> Result<(), Error> {
        let body = Body::Trickle(trickle);
        let ask = Ask::new(repository, Action::Push, Method::PATCH, begun.place.clone()).carrying(BLOB_TYPE, body);
        let taken = [StatusCode::ACCEPTED, StatusCode::NO_CONTENT, StatusCode::CREATED];
        let response = self.obtain(&ask, &taken).await?;
        let size = trickle.blob().length();
        if let Some(has) = held(&response).filter(|has| *has != size) {
            return Err(Error::Answer {
                request: ask.shown(),
                detail: format!("{size} bytes were sent, the registry says that it has {has}"),
            });
        }
        move_on(&ask, &response, begun)
    }

    /// Says that it was all.
    async fn close(&self, repository: &Repository, begun: &Begun, digest: Digest) -> Result<(), Error> {
        let mut place = begun.place.clone();
        place.query_pairs_mut().append_pair("digest", &digest.to_string());
        let ask = Ask::new(repository, Action::Push, Method::PUT, place).carrying(BLOB_TYPE, Body::Bytes(Bytes::new()));
        let response = self
            .obtain(&ask, &[StatusCode::CREATED, StatusCode::NO_CONTENT])
            .await?;
        check_digest(&ask, &response, digest)
    }

    /// Ends once the rest need not be sent; never, if it must.
    async fn turns_out_to_be_there(&self, repository: &Repository, trickle: &Trickle) {
        if let End::Blob(digest) = end(trickle.blob()).await {
            let left = trickle.blob().length() - trickle.sent();
            if left >= LEAST && self.has_blob_now(repository, digest).await {
                return;
            }
        }
        std::future::pending::<()>().await;
    }

    /// What will be refused again is not tried again.
    fn learn_from(&self, repository: &Repository, error: &Error, size: u64, least: u64) {
        let is_refusal = matches!(error, Error::Status { status, .. } if status.is_client_error());
        if is_refusal && !self.takes_smaller_chunks(repository, error, size, least) {
            self.pushes().refuses_streams(&repository.host);
        }
    }

    /// Keeps what is known of the blob now, unless somebody else has been at it. Whether it is there.
    async fn note(&self, repository: &Repository, digest: Digest, standing: Standing) -> bool {
        let known = self.pushes().of(repository, digest);
        let mut known = known.lock().await;
        match (&*known, standing) {
            (Standing::Unknown | Standing::Absent, standing) | (Standing::Begun(_), standing @ Standing::There) => {
                *known = standing;
            }
            (_, Standing::Begun(begun)) => self.cancel_upload(repository, begun).await,
            (_, _) => {}
        }
        matches!(*known, Standing::There)
    }
}

/// Waits until so much is there that it is worth to begin; `false` if that never happens.
async fn is_large(blob: &Growing) -> bool {
    loop {
        if blob.end().is_some() {
            return false;
        }
        if blob.length() >= LEAST {
            return true;
        }
        tokio::time::sleep(GLANCE).await;
    }
}

/// Waits until it is known what became of the blob.
async fn end(blob: &Growing) -> End {
    loop {
        if let Some(end) = blob.end() {
            return end;
        }
        tokio::time::sleep(GLANCE).await;
    }
}
