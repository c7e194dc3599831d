//! One blob on its way into a repository.
//!
//! ```text
//! POST  …/blobs/uploads/          a place to upload to                       -> 202, Location
//! PUT   <place>?digest=…          all of it in one request: the ordinary way  -> 201
//!
//! GET   <place>                   after a failure: how far did it come?       -> 204, Range: 0-N
//! PATCH <place>                   the rest, or the next chunk                 -> 202, Location, Range
//! PUT   <place>?digest=…          that was all                                -> 201
//! ```
//!
//! A registry that knows the upload no more, or makes another digest of what it was sent in pieces, is sent all of it
//! again. A body that is refused for its size (413) goes in chunks, and so does every later one to that host.

use oci::Digest;
use reqwest::header::{HeaderName, RANGE};
use reqwest::{Method, Response, StatusCode, Url};

use crate::client::{Ask, Body, Client, location};
use crate::error::Error;
use crate::push::{BLOB_TYPE, Progress, check_digest, upload_place};
use crate::pushes::Begun;
use crate::repository::{Action, Repository};
use crate::retry::Contact;
use crate::upload::{Leaving as _, Upload};

/// So much progress makes up for earlier failures.
const PROGRESS: u64 = 1 << 20;
/// How often an upload starts anew because the registry knows it no more or is out of step with us.
const FRESH_STARTS: u32 = 3;

pub(crate) struct Sending<'a> {
    pub(crate) client: &'a Client,
    pub(crate) repository: &'a Repository,
    pub(crate) digest: Digest,
    pub(crate) upload: &'a Upload,
    /// Where the registry waits for bytes, and how many it has.
    pub(crate) begun: Option<Begun>,
    pub(crate) at: u64,
    pub(crate) progress: Progress<'a>,
}

impl Sending<'_> {
    /// Sends all of it, however often that takes within reason.
    pub(crate) async fn run(&mut self) -> Result<(), Error> {
        let mut tries = self.client.tries(Contact::Established);
        let (mut progress_at, mut starts, mut may_resume) = (0, 0, true);
        loop {
            let error = match self.go_on().await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            if self.goes_in_smaller_chunks(&error) {
                self.start_anew();
                continue;
            }
            // Only about an upload: what a registry says of a new one it says of all.
            if self.begun.is_some() && is_out_of_step(&error, self.at) && starts < FRESH_STARTS {
                starts += 1;
                may_resume = false;
                self.start_anew();
                continue;
            }
            tries.again(error).await?;
            if self.begun.is_none() {
                continue;
            }
            if self.is_there().await {
                return Ok(());
            }
            if may_resume {
                self.catch_up().await;
            } else {
                self.start_anew();
            }
            if self.at >= progress_at + PROGRESS {
                progress_at = self.at;
                tries.forgive();
            }
        }
    }

    fn start_anew(&mut self) {
        (self.begun, self.at) = (None, 0);
    }

    /// Goes on where the registry is; an error leaves `begun` empty if there is no upload.
    async fn go_on(&mut self) -> Result<(), Error> {
        if self.begun.is_none() {
            self.at = 0;
            self.begun = Some(self.client.begin_upload(self.repository, Contact::Established).await?);
        }
        loop {
            let left = self.upload.size() - self.at;
            let piece = self.piece();
            if piece == left && (self.at == 0 || left == 0) {
                return self.put().await;
            }
            self.patch(piece).await?;
        }
    }

    /// How much the next request carries.
    fn piece(&self) -> u64 {
        let left = self.upload.size() - self.at;
        let least = self.begun.as_ref().map_or(0, |begun| begun.least);
        let chunk = self.client.pushes().chunk(&self.repository.host);
        chunk.map_or(left, |chunk| chunk.max(least).max(1).min(left))
    }

    /// Sends what is left, be it nothing, and says that it is all.
    async fn put(&mut self) -> Result<(), Error> {
        let mut place = self.place();
        place.query_pairs_mut().append_pair("digest", &self.digest.to_string());
        let piece = self.upload.piece(self.at, u64::MAX);
        let body = if piece.length() == 0 && self.at > 0 {
            Body::Bytes(bytes::Bytes::new())
        } else {
            Body::Piece(piece)
        };
        let ask = Ask::new(self.repository, Action::Push, Method::PUT, place).carrying(BLOB_TYPE, body);
        let sending = self.client.obtain(&ask, &[StatusCode::CREATED, StatusCode::NO_CONTENT]);
        let response = self.progress.while_sending(self.upload, sending).await?;
        check_digest(&ask, &response, self.digest)
    }

    /// Sends a chunk.
    async fn patch(&mut self, length: u64) -> Result<(), Error> {
        let (from, end) = (self.at, self.at + length);
        let body = Body::Piece(self.upload.piece(from, length));
        let ask = Ask::new(self.repository, Action::Push, Method::PATCH, self.place())
            .carrying(BLOB_TYPE, body)
            .with(HeaderName::from_static("content-range"), &format!("{from}-{}", end - 1));
        let sending = self.client.obtain(
            &ask,
            &[StatusCode::ACCEPTED, StatusCode::NO_CONTENT, StatusCode::CREATED],
        );
        let response = self.progress.while_sending(self.upload, sending).await?;
        let has = held(&response).unwrap_or(end);
        if has <= from || has > end {
            return Err(Error::Answer {
                request: ask.shown(),
                detail: format!("bytes {from} to {end} were sent, the registry says that it has {has}"),
            });
        }
        self.at = has;
        self.moved(&ask, &response)
    }

    fn place(&self) -> Url {
        let begun = self.begun.as_ref().expect("an upload has begun");
        begun.place.clone()
    }

    fn moved(&mut self, ask: &Ask<'_>, response: &Response) -> Result<(), Error> {
        match &mut self.begun {
            Some(begun) => move_on(ask, response, begun),
            None => Ok(()),
        }
    }

    /// Whether the answer to what was sent last was lost on its way.
    async fn is_there(&self) -> bool {
        let everything_left = self.upload.sent() == self.upload.size();
        everything_left && self.client.has_blob_now(self.repository, self.digest).await
    }

    /// Asks how far the upload came; one that cannot be told starts anew.
    pub(crate) async fn catch_up(&mut self) {
        let (repository, place) = (self.repository, self.place());
        let ask = Ask::new(repository, Action::Push, Method::GET, place);
        let known = [StatusCode::NO_CONTENT, StatusCode::ACCEPTED, StatusCode::OK];
        let answer = self.client.obtain(&ask, &known).await;
        let has = answer.as_ref().ok().and_then(held);
        match (answer, has) {
            (Ok(response), Some(has)) if has <= self.upload.size() => {
                self.at = has;
                if self.moved(&ask, &response).is_err() {
                    self.start_anew();
                }
            }
            _ => self.start_anew(),
        }
    }

    /// After a body that was too large: whether there is another way.
    fn goes_in_smaller_chunks(&self, error: &Error) -> bool {
        let least = self.begun.as_ref().map_or(0, |begun| begun.least);
        self.client
            .takes_smaller_chunks(self.repository, error, self.piece(), least)
    }
}

impl Client {
    /// Whether a body of `length` bytes was too large, and there are smaller ones to send from now on.
    pub(crate) fn takes_smaller_chunks(&self, repository: &Repository, error: &Error, length: u64, least: u64) -> bool {
        if !matches!(error, Error::Status { status, .. } if *status == StatusCode::PAYLOAD_TOO_LARGE) {
            return false;
        }
        let host = &repository.host;
        let Some(chunk) = self.pushes().shrink(host, length, least) else {
            return false;
        };
        let mebibytes = chunk >> 20;
        self.listener().tell(&format!(
            "{error}; `{host}` is sent chunks of {mebibytes} MiB from now on"
        ));
        true
    }
}

/// Each answer may name another place for the next request of an upload.
pub(crate) fn move_on(ask: &Ask<'_>, response: &Response, begun: &mut Begun) -> Result<(), Error> {
    if location(&ask.url, response).is_some() {
        begun.place = upload_place(ask, response)?;
    }
    Ok(())
}

/// How many bytes of an upload the registry has, as it says. One byte is told as none, since both are `0-0`.
pub(crate) fn held(response: &Response) -> Option<u64> {
    let text = response.headers().get(RANGE)?.to_str().ok()?;
    let (from, last) = text.trim().trim_start_matches("bytes=").split_once('-')?;
    let last: u64 = last.parse().ok()?;
    (from == "0" && last > 0).then(|| last.checked_add(1)).flatten()
}

/// The registry has forgotten the upload, has other bytes of it than we think, or made something else of its pieces.
fn is_out_of_step(error: &Error, at: u64) -> bool {
    match error {
        Error::NotFound { .. } => true,
        Error::Status { status, .. } => {
            *status == StatusCode::RANGE_NOT_SATISFIABLE || (at > 0 && *status == StatusCode::BAD_REQUEST)
        }
        _ => false,
    }
}
