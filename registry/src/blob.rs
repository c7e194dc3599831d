//! A blob as it arrives: an asynchronous download on one side, a blocking reader on the other.
//!
//! A connection that breaks is taken up again where it broke, by `Range`: at the same endpoint, and if that was a mirror and
//! fails again and again, at the next one. The reader sees all bytes or an error, never an early end. A reader that is
//! dropped ends the download.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::time::Duration;

use bytes::{Buf, Bytes};
use oci::{Blob, Descriptor};
use reqwest::header::CONTENT_RANGE;
use reqwest::{Method, Response, StatusCode};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::client::{Ask, Client, IDLE_TIMEOUT, silence};
use crate::detour::PATIENCE;
use crate::error::{self, Error, shown};
use crate::lanes::Lane;
use crate::repository::{Action, Repository};
use crate::retry::{Contact, Tries};

/// Pieces on their way between network and reader, of up to 400 KiB: as many blobs as arrive at once have them all.
const PIECES: usize = 8;
/// A connection that brings fewer bytes in [`IDLE_TIMEOUT`] counts as broken: it would bring the blob in years.
const SLOWEST: u64 = 64 << 10;
/// A reader that takes nothing for so long does something else.
const READER_STALLS: Duration = Duration::from_secs(1);
/// So much progress makes up for earlier failures.
const PROGRESS: u64 = 1 << 20;
/// How often in a row a mirror may fail in the middle of a blob before the next endpoint goes on.
const TRIES_OF_MIRROR: u32 = 3;

/// One blob being downloaded.
struct Download {
    client: Client,
    repository: Repository,
    /// Who goes on when that fails, in this order.
    others: VecDeque<Repository>,
    tries: Tries,
    descriptor: Descriptor,
    received: u64,
    /// What was received when the tries were counted anew.
    progress_at: u64,
    pieces: mpsc::Sender<io::Result<Bytes>>,
    /// Held while bytes come; a reader that takes none for long does not keep others from theirs.
    lane: Option<Lane>,
}

/// Why a download cannot go on.
enum End {
    /// The reader went away.
    Unwanted,
    Failed(Error),
}

struct Pieces {
    receiver: mpsc::Receiver<io::Result<Bytes>>,
    current: Bytes,
    left: u64,
}

impl Client {
    /// Opens a blob. That it is missing or forbidden shows here; what happens later, in the reader. What breaks off in the
    /// middle `others` go on with. `lane` is one of the repository's host.
    pub(crate) async fn open_blob(
        &self,
        repository: Repository,
        others: Vec<Repository>,
        descriptor: &Descriptor,
        lane: Lane,
    ) -> Result<Blob, Error> {
        let mut tries = self.tries(Contact::Established);
        let response = loop {
            match self.blob_from(&repository, descriptor, 0).await {
                Ok(response) => break response,
                Err(error) if repository.endpoint().has_next => return Err(error),
                Err(error) => tries.again(error).await?,
            }
        };
        self.gives(&repository, descriptor.digest);
        let (pieces, receiver) = mpsc::channel(PIECES);
        let download = Download {
            client: self.clone(),
            tries: tries_of(self, others.is_empty()),
            repository,
            others: others.into(),
            descriptor: descriptor.clone(),
            received: 0,
            progress_at: 0,
            pieces,
            lane: Some(lane),
        };
        tokio::spawn(download.run(response));
        Ok(Box::new(Pieces {
            receiver,
            current: Bytes::new(),
            left: descriptor.size,
        }))
    }

    async fn blob_from(&self, repository: &Repository, blob: &Descriptor, offset: u64) -> Result<Response, Error> {
        let url = repository.url(&format!("blobs/{}", blob.digest));
        let ask = Ask::new(repository, Action::Pull, Method::GET, url);
        if offset > 0 {
            let rest = Ask::new(repository, Action::Pull, Method::GET, ask.url.clone()).starting_at(offset);
            let response = self.obtain(&rest, &[StatusCode::PARTIAL_CONTENT, StatusCode::OK]).await;
            let is_refused = |error: &Error| matches!(error, Error::Status { status, .. } if *status == StatusCode::RANGE_NOT_SATISFIABLE);
            match response {
                Ok(response) if response.status() == StatusCode::OK => return whole(&ask, blob, response),
                // Some say so of every range.
                Err(error) if is_refused(&error) => {}
                response => return response,
            }
        }
        let response = self.obtain(&ask, &[StatusCode::OK]).await?;
        whole(&ask, blob, response)
    }
}

fn tries_of(client: &Client, is_last: bool) -> Tries {
    let tries = client.tries(Contact::Established);
    match is_last {
        true => tries,
        false => tries.at_most(TRIES_OF_MIRROR),
    }
}

/// The answer with all of a blob.
fn whole(ask: &Ask<'_>, blob: &Descriptor, response: Response) -> Result<Response, Error> {
    match response.content_length() {
        Some(length) if length != blob.size => Err(Error::Answer {
            request: ask.shown(),
            detail: format!("the blob has {length} bytes, its descriptor says {}", blob.size),
        }),
        _ => Ok(response),
    }
}

impl Download {
    async fn run(mut self, mut response: Response) {
        let failure = loop {
            let error = match self.pass_on(response).await {
                Ok(()) | Err(End::Unwanted) => return,
                Err(End::Failed(error)) => error,
            };
            if self.received - self.progress_at >= PROGRESS {
                self.progress_at = self.received;
                self.tries.forgive();
            }
            match self.resume(error).await {
                Ok(Some(next)) => response = next,
                Ok(None) => return,
                Err(error) => break error,
            }
        };
        let failure = io::Error::other(failure);
        // Nobody is left to tell if this fails.
        let _ = self.pieces.send(Err(failure)).await;
    }

    /// Asks for the rest, if the reader still wants it.
    async fn resume(&mut self, mut error: Error) -> Result<Option<Response>, Error> {
        loop {
            let is_hopeless = !self.others.is_empty() && self.repository.endpoint().is_down();
            let again = async {
                match is_hopeless {
                    true => Err(error),
                    false => self.tries.again(error).await,
                }
            };
            let again = tokio::select! {
                () = self.pieces.closed() => return Ok(None),
                again = again => again,
            };
            if let Err(error) = again {
                self.move_on(error).await?;
            }
            let rest = self.client.blob_from(&self.repository, &self.descriptor, self.received);
            match self.client.soon(&self.repository, rest).await {
                Ok(response) => {
                    self.client.gives(&self.repository, self.descriptor.digest);
                    return Ok(Some(response));
                }
                Err(next) => error = next,
            }
        }
    }

    /// Has the next endpoint go on, if there is one.
    async fn move_on(&mut self, error: Error) -> Result<(), Error> {
        let Some(next) = self.others.pop_front() else {
            return Err(error);
        };
        self.client.leave(&self.repository, &next, self.received, &error);
        // The lane of the one is not held while waiting for one of the other.
        self.lane = None;
        self.lane = Some(self.client.lanes().transfer(&next.url("")).await);
        self.repository = next;
        self.progress_at = self.received;
        self.tries = tries_of(&self.client, self.others.is_empty());
        Ok(())
    }

    /// How long nothing may come: less where somebody else can be asked.
    fn patience(&self) -> Duration {
        match self.others.is_empty() {
            true => IDLE_TIMEOUT,
            false => PATIENCE,
        }
    }

    /// Passes on the bytes of one response, up to the end of the blob.
    async fn pass_on(&mut self, mut response: Response) -> Result<(), End> {
        let request = shown(&Method::GET, response.url());
        let broken = |detail: String| {
            End::Failed(Error::Broken {
                request: request.clone(),
                detail,
            })
        };
        let mut skip = self.to_skip(&response).map_err(End::Failed)?;
        let patience = self.patience();
        let least = SLOWEST * patience.as_secs() / IDLE_TIMEOUT.as_secs();
        // Only waiting counts: that the reader is slow is not the connection's fault.
        let (mut waited, mut brought) = (Duration::ZERO, 0);
        loop {
            if waited >= patience {
                if brought < least {
                    return Err(broken(format!(
                        "only {brought} bytes came in {} seconds",
                        waited.as_secs()
                    )));
                }
                (waited, brought) = (Duration::ZERO, 0);
            }
            let since = Instant::now();
            let next = tokio::select! {
                () = self.pieces.closed() => return Err(End::Unwanted),
                next = tokio::time::timeout(patience, response.chunk()) => next,
            };
            waited += since.elapsed();
            let mut chunk = match next {
                Ok(Ok(Some(chunk))) => chunk,
                Ok(Ok(None)) if self.received == self.descriptor.size => return Ok(()),
                Ok(Ok(None)) => return Err(broken(format!("the answer ended after {} bytes", self.received))),
                // The end of the body may be lost when its bytes are not.
                Ok(Err(_)) if self.received == self.descriptor.size => return Ok(()),
                Ok(Err(error)) => return Err(End::Failed(error::broken(request.clone(), &error))),
                Err(_) => return Err(broken(silence(patience))),
            };
            brought += chunk.len() as u64;
            let skipped = usize::try_from(skip).unwrap_or(usize::MAX).min(chunk.len());
            chunk.advance(skipped);
            skip -= skipped as u64;
            self.received += chunk.len() as u64;
            if self.received > self.descriptor.size {
                return Err(End::Failed(Error::Answer {
                    request: request.clone(),
                    detail: format!("more bytes came than the {} of the descriptor", self.descriptor.size),
                }));
            }
            if !chunk.is_empty() {
                self.hand_on(chunk).await?;
            }
        }
    }

    async fn hand_on(&mut self, chunk: Bytes) -> Result<(), End> {
        let place = match tokio::time::timeout(READER_STALLS, self.pieces.reserve()).await {
            Ok(place) => place,
            Err(_) => {
                self.lane = None;
                self.pieces.reserve().await
            }
        };
        place.map_err(|_| End::Unwanted)?.send(Ok(chunk));
        Ok(())
    }

    /// How many bytes of a response came before: none if it starts where we stopped, all if `Range` was ignored.
    fn to_skip(&self, response: &Response) -> Result<u64, Error> {
        if response.status() != StatusCode::PARTIAL_CONTENT {
            return Ok(self.received);
        }
        let range = response
            .headers()
            .get(CONTENT_RANGE)
            .and_then(|value| value.to_str().ok());
        let start = range.and_then(|text| {
            text.strip_prefix("bytes ")?
                .split('-')
                .next()?
                .trim()
                .parse::<u64>()
                .ok()
        });
        match start {
            Some(start) if start == self.received => Ok(0),
            _ => Err(Error::Answer {
                request: shown(&Method::GET, response.url()),
                detail: format!(
                    "asked for bytes from {}, the answer's range is `{}`",
                    self.received,
                    range.unwrap_or("missing")
                ),
            }),
        }
    }
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        while self.current.is_empty() {
            match self.receiver.blocking_recv() {
                Some(piece) => self.current = piece?,
                None if self.left == 0 => return Ok(0),
                None => {
                    let reason = "the download was interrupted";
                    return Err(io::Error::new(io::ErrorKind::ConnectionAborted, reason));
                }
            }
        }
        let count = buffer.len().min(self.current.len());
        self.current.copy_to_slice(&mut buffer[..count]);
        self.left -= count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests;
