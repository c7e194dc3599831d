//! A blob as it arrives: an asynchronous download on one side, a blocking reader on the other.
//!
//! A connection that breaks is taken up again where it broke, by `Range`. The reader sees all bytes or an error, never
//! an early end. A reader that is dropped ends the download.

use std::io::{self, Read};

use bytes::{Buf, Bytes};
use oci::{Blob, Descriptor};
use reqwest::header::CONTENT_RANGE;
use reqwest::{Method, Response, StatusCode};
use tokio::sync::mpsc;

use crate::client::{Ask, Client, IDLE_TIMEOUT, silence};
use crate::error::{Error, causes, shown};
use crate::repository::{Action, Repository};
use crate::retry::{Contact, Tries};

/// Pieces on their way between network and reader, of up to 400 KiB: as many blobs as arrive at once have them all.
const PIECES: usize = 8;
/// So much progress makes up for earlier failures.
const PROGRESS: u64 = 1 << 20;

/// One blob being downloaded.
struct Download {
    client: Client,
    repository: Repository,
    descriptor: Descriptor,
    received: u64,
    pieces: mpsc::Sender<io::Result<Bytes>>,
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
    /// Opens a blob. That it is missing or forbidden shows here; what happens later, in the reader.
    pub(crate) async fn open_blob(&self, repository: Repository, descriptor: &Descriptor) -> Result<Blob, Error> {
        let mut tries = Tries::new(Contact::Established);
        let response = loop {
            match self.blob_from(&repository, descriptor, 0).await {
                Ok(response) => break response,
                Err(error) => tries.again(error).await?,
            }
        };
        let (pieces, receiver) = mpsc::channel(PIECES);
        let download = Download {
            client: self.clone(),
            repository,
            descriptor: descriptor.clone(),
            received: 0,
            pieces,
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
        if offset == 0 {
            let response = self.obtain(&ask, &[StatusCode::OK]).await?;
            return match response.content_length() {
                Some(length) if length != blob.size => Err(Error::Answer {
                    request: ask.shown(),
                    detail: format!("the blob has {length} bytes, its descriptor says {}", blob.size),
                }),
                _ => Ok(response),
            };
        }
        let ask = ask.starting_at(offset);
        self.obtain(&ask, &[StatusCode::PARTIAL_CONTENT, StatusCode::OK]).await
    }
}

impl Download {
    async fn run(mut self, mut response: Response) {
        let mut tries = Tries::new(Contact::Established);
        let mut progress_at = 0;
        let failure = loop {
            let error = match self.pass_on(response).await {
                Ok(()) | Err(End::Unwanted) => return,
                Err(End::Failed(error)) => error,
            };
            if self.received - progress_at >= PROGRESS {
                progress_at = self.received;
                tries.forgive();
            }
            match self.resume(&mut tries, error).await {
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
    async fn resume(&self, tries: &mut Tries, mut error: Error) -> Result<Option<Response>, Error> {
        loop {
            tokio::select! {
                () = self.pieces.closed() => return Ok(None),
                next = tries.again(error) => next?,
            }
            let rest = self.client.blob_from(&self.repository, &self.descriptor, self.received);
            match rest.await {
                Ok(response) => return Ok(Some(response)),
                Err(next) => error = next,
            }
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
        loop {
            let next = tokio::select! {
                () = self.pieces.closed() => return Err(End::Unwanted),
                next = tokio::time::timeout(IDLE_TIMEOUT, response.chunk()) => next,
            };
            let mut chunk = match next {
                Ok(Ok(Some(chunk))) => chunk,
                Ok(Ok(None)) if self.received == self.descriptor.size => return Ok(()),
                Ok(Ok(None)) => return Err(broken(format!("the answer ended after {} bytes", self.received))),
                Ok(Err(error)) => return Err(broken(format!("the connection broke: {}", causes(&error)))),
                Err(_) => return Err(broken(silence())),
            };
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
                self.pieces.send(Ok(chunk)).await.map_err(|_| End::Unwanted)?;
            }
        }
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
