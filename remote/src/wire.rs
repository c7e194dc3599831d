//! What all storage behind HTTP has in common: requests that are made again, parts of files that leave, blobs that arrive.
//!
//! A request is made again after server errors, `Too Many Requests` and broken connections, a few times, waiting longer each
//! time, or as long as the server asks to. Addresses that are signed are nobody's business: what is told of a request
//! has no query.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use reqwest::header::{CONTENT_LENGTH, RANGE, RETRY_AFTER};
use reqwest::{RequestBuilder, Response, StatusCode, Url};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio::sync::mpsc;
use tokio_util::io::ReaderStream;

use crate::http::{Client, chain};

const TRIES: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(400);
/// Whoever wants us to wait longer is taken at its word: the request fails.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// What is read of a complaint.
const COMPLAINT_LIMIT: usize = 4 << 10;
/// What is told of one.
const COMPLAINT_TOLD: usize = 300;
const PIECE: usize = 256 << 10;
/// Pieces between network and reader.
const PIECES: usize = 8;

/// Why storage could not give or take something.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is none.
    #[error("invalid address `{url}`: {detail}")]
    Address {
        /// As it was given.
        url: String,
        /// Why.
        detail: String,
    },
    /// The libraries refuse to work.
    #[error("cannot make an HTTP client: {0}")]
    Client(String),
    /// No answer, or not all of it.
    #[error("{request}: {detail}")]
    Broken {
        /// Method and address, without its query.
        request: String,
        /// What happened.
        detail: String,
    },
    /// There is no such thing.
    #[error("{request}: not found")]
    Missing {
        /// Method and address, without its query.
        request: String,
    },
    /// Credentials are missing, old, or do not suffice.
    #[error("{request}: {status}{said}")]
    Denied {
        /// Method and address, without its query.
        request: String,
        /// The status.
        status: u16,
        /// What the server says about it.
        said: String,
    },
    /// An answer that was not wanted.
    #[error("{request}: {status}{said}")]
    Status {
        /// Method and address, without its query.
        request: String,
        /// The status.
        status: u16,
        /// What the server says about it.
        said: String,
    },
    /// An answer that cannot be understood.
    #[error("{request}: {detail}")]
    Answer {
        /// Method and address, without its query.
        request: String,
        /// What is wrong with it.
        detail: String,
    },
    /// A file of ours cannot be read.
    #[error("cannot read `{path}`")]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl Error {
    /// The status of the answer, if there was one.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Error::Missing { .. } => Some(404),
            Error::Denied { status, .. } | Error::Status { status, .. } => Some(*status),
            _ => None,
        }
    }
}

/// A part of a file.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) path: PathBuf,
    pub(crate) offset: u64,
    pub(crate) size: u64,
}

impl Part {
    /// The request with this part as its body.
    pub(crate) async fn of(&self, request: RequestBuilder) -> Result<RequestBuilder, Error> {
        let unreadable = |source| Error::File {
            path: self.path.clone(),
            source,
        };
        let mut file = tokio::fs::File::open(&self.path).await.map_err(unreadable)?;
        file.seek(io::SeekFrom::Start(self.offset)).await.map_err(unreadable)?;
        let pieces = ReaderStream::with_capacity(file.take(self.size), PIECE);
        let body = reqwest::Body::wrap_stream(pieces);
        Ok(request.header(CONTENT_LENGTH, self.size).body(body))
    }

    /// The parts of a file, each of at most `largest` bytes; an empty file is one part.
    pub(crate) fn all(path: &Path, size: u64, largest: u64) -> Vec<Part> {
        let starts = (0..size.max(1)).step_by(usize::try_from(largest).unwrap_or(usize::MAX));
        let part = |offset: u64| Part {
            path: path.to_owned(),
            offset,
            size: largest.min(size - offset),
        };
        starts.map(part).collect()
    }
}

/// Makes a request, again where there is hope, and gives the answer if its status is one of success.
pub(crate) async fn send<F>(shown: &str, make: impl Fn() -> F) -> Result<Response, Error>
where
    F: Future<Output = Result<RequestBuilder, Error>>,
{
    let mut failed = 0;
    loop {
        let (error, asked_for) = match make().await?.send().await {
            Ok(response) if response.status().is_success() => return Ok(response),
            Ok(response) => {
                let asked_for = retry_after(&response);
                let is_hopeful = is_hopeful(response.status());
                let error = refusal(shown, response).await;
                if !is_hopeful {
                    return Err(error);
                }
                (error, asked_for)
            }
            Err(error) => {
                let detail = chain(&error.without_url());
                (
                    Error::Broken {
                        request: shown.to_owned(),
                        detail,
                    },
                    None,
                )
            }
        };
        failed += 1;
        let pause = asked_for.unwrap_or(FIRST_PAUSE * 2_u32.pow(failed - 1));
        if failed == TRIES || pause > LONGEST_PAUSE {
            return Err(error);
        }
        tokio::time::sleep(pause).await;
    }
}

fn is_hopeful(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 425 | 429 | 500 | 502 | 503 | 504)
}

fn retry_after(response: &Response) -> Option<Duration> {
    let text = response.headers().get(RETRY_AFTER)?.to_str().ok()?;
    text.trim().parse().ok().map(Duration::from_secs)
}

async fn refusal(shown: &str, response: Response) -> Error {
    let (request, status) = (shown.to_owned(), response.status().as_u16());
    let body = body(shown, response, COMPLAINT_LIMIT).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&body);
    let mut text: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((end, _)) = text.char_indices().nth(COMPLAINT_TOLD) {
        text.truncate(end);
    }
    let said = if text.is_empty() { text } else { format!(": {text}") };
    match status {
        404 => Error::Missing { request },
        401 | 403 => Error::Denied { request, status, said },
        _ => Error::Status { request, status, said },
    }
}

/// The whole body of an answer, if it is not longer than `limit`.
pub(crate) async fn body(shown: &str, mut response: Response, limit: usize) -> Result<Vec<u8>, Error> {
    let mut body = Vec::new();
    loop {
        let chunk = response.chunk().await.map_err(|error| Error::Broken {
            request: shown.to_owned(),
            detail: chain(&error.without_url()),
        })?;
        let Some(chunk) = chunk else { return Ok(body) };
        if body.len() + chunk.len() > limit {
            return Err(Error::Answer {
                request: shown.to_owned(),
                detail: format!("the answer is longer than {limit} bytes"),
            });
        }
        body.extend_from_slice(&chunk);
    }
}

/// What is told of a request: an address may be signed in its query.
pub(crate) fn shown(method: &str, url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    // Only addresses without a host refuse one, and those have none.
    let _ = url.set_password(None);
    format!("{method} {url}")
}

/// Gives the address of something, signed anew if that is how it goes.
pub(crate) type Address = Arc<dyn Fn() -> Url + Send + Sync>;

/// Opens what lies at an address; a connection that breaks is taken up where it broke.
///
/// # Errors
/// If there is nothing, or nothing that can be had.
pub(crate) async fn open(client: &Client, address: Address) -> Result<Arriving, Error> {
    let response = from(client, &address, 0).await?;
    let (pieces, receiver) = mpsc::channel(PIECES);
    tokio::spawn(pass_on(client.clone(), address, response, pieces));
    Ok(Arriving {
        receiver,
        current: Bytes::new(),
    })
}

async fn from(client: &Client, address: &Address, offset: u64) -> Result<Response, Error> {
    let shown = shown("GET", &address());
    send(&shown, || async {
        let url = address();
        let request = client.to(&url).get(url);
        Ok(match offset {
            0 => request,
            _ => request.header(RANGE, format!("bytes={offset}-")),
        })
    })
    .await
}

async fn pass_on(client: Client, address: Address, mut response: Response, pieces: mpsc::Sender<io::Result<Bytes>>) {
    let (mut received, mut failed) = (0_u64, 0);
    loop {
        // Whoever ignores ranges sends all of it again.
        let mut skip = if response.status() == StatusCode::PARTIAL_CONTENT {
            0
        } else {
            received
        };
        let broken = loop {
            match response.chunk().await {
                Ok(Some(mut chunk)) => {
                    let skipped = usize::try_from(skip).unwrap_or(usize::MAX).min(chunk.len());
                    chunk.advance(skipped);
                    skip -= skipped as u64;
                    received += chunk.len() as u64;
                    if !chunk.is_empty() && pieces.send(Ok(chunk)).await.is_err() {
                        return;
                    }
                }
                Ok(None) => return,
                Err(error) => break chain(&error.without_url()),
            }
        };
        failed += 1;
        let next = match failed {
            TRIES => Err(Error::Broken {
                request: shown("GET", &address()),
                detail: broken,
            }),
            _ => from(&client, &address, received).await,
        };
        match next {
            Ok(next) => response = next,
            Err(error) => {
                // Nobody may be left to tell.
                let _ = pieces.send(Err(io::Error::other(error))).await;
                return;
            }
        }
    }
}

/// A blob as it arrives, for a thread that may block. Its bytes are not verified, nor how many they are.
#[derive(Debug)]
pub struct Arriving {
    receiver: mpsc::Receiver<io::Result<Bytes>>,
    current: Bytes,
}

impl Read for Arriving {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        while self.current.is_empty() {
            match self.receiver.blocking_recv() {
                Some(piece) => self.current = piece?,
                None => return Ok(0),
            }
        }
        let count = buffer.len().min(self.current.len());
        self.current.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_not_told() {
        let url = Url::parse("https://me:secret@host/blob?sig=secret&se=1").unwrap();
        assert_eq!(shown("GET", &url), "GET https://me@host/blob");
    }

    #[test]
    fn parts_are_the_whole_file() {
        let sizes = |size| {
            let parts = Part::all(Path::new("f"), size, 10);
            parts.iter().map(|part| (part.offset, part.size)).collect::<Vec<_>>()
        };
        assert_eq!(sizes(0), [(0, 0)]);
        assert_eq!(sizes(10), [(0, 10)]);
        assert_eq!(sizes(25), [(0, 10), (10, 10), (20, 5)]);
    }
}
