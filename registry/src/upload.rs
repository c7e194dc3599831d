//! The body of an upload: a file, a piece of one or one that still grows, read as it leaves, counted, and watched for
//! standstill.

use std::io::{self, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use oci::{End, Growing};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::task::spawn_blocking;
use tokio::time::Instant;
use tokio_util::io::ReaderStream;

use crate::Error;
use crate::client::IDLE_TIMEOUT;
use crate::early;

const READ_AT_ONCE: usize = 256 << 10;
const GLANCE: Duration = Duration::from_secs(1);
/// After the last byte the registry hashes and stores all of it before it answers.
const STORE_TIMEOUT: Duration = Duration::from_secs(600);

/// A file to be sent, maybe several times.
#[derive(Debug)]
pub(crate) struct Upload {
    path: PathBuf,
    size: u64,
    /// Up to where the file was handed to the connection in the current try.
    sent: Arc<AtomicU64>,
}

/// Of which it is known how much has left.
pub(crate) trait Leaving {
    /// Up to where it has left in the current try.
    fn sent(&self) -> u64;
}

/// What one request carries of a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece<'a> {
    upload: &'a Upload,
    from: u64,
    length: u64,
}

impl Upload {
    /// The file at `path`, which must have `size` bytes.
    pub(crate) async fn of(path: PathBuf, size: u64) -> Result<Upload, Error> {
        let metadata = tokio::fs::metadata(&path).await;
        let metadata = metadata.map_err(|source| unreadable(&path, source))?;
        if metadata.len() != size {
            return Err(Error::Content(oci::Error::Document {
                what: "the blob to push",
                reason: format!(
                    "`{}` has {} bytes, its descriptor says {size}",
                    path.display(),
                    metadata.len()
                ),
            }));
        }
        Ok(Upload {
            path,
            size,
            sent: Arc::default(),
        })
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// At most `length` bytes from `from` on.
    pub(crate) fn piece(&self, from: u64, length: u64) -> Piece<'_> {
        Piece {
            upload: self,
            from,
            length: length.min(self.size.saturating_sub(from)),
        }
    }
}

impl Leaving for Upload {
    fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

impl Leaving for Trickle {
    fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

impl Piece<'_> {
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// A body that starts at the piece's beginning.
    pub(crate) async fn body(&self) -> Result<reqwest::Body, Error> {
        let failed = |source| unreadable(&self.upload.path, source);
        let mut file = tokio::fs::File::open(&self.upload.path).await.map_err(failed)?;
        if self.from > 0 {
            file.seek(SeekFrom::Start(self.from)).await.map_err(failed)?;
        }
        self.upload.sent.store(self.from, Ordering::Relaxed);
        let sent = Arc::clone(&self.upload.sent);
        // The length is promised in a header: not a byte more, even if the file grows.
        let read = ReaderStream::with_capacity(file.take(self.length), READ_AT_ONCE).inspect(move |bytes| {
            if let Ok(bytes) = bytes {
                sent.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            }
        });
        Ok(reqwest::Body::wrap_stream(read))
    }

    /// Waits for `sending` as long as bytes move; `None` if they stopped for too long.
    pub(crate) async fn watch<T>(&self, sending: impl Future<Output = T>) -> Option<T> {
        tokio::pin!(sending);
        let mut seen = (self.upload.sent(), Instant::now());
        loop {
            match tokio::time::timeout(GLANCE, &mut sending).await {
                Ok(answer) => return Some(answer),
                Err(_) if self.upload.sent() != seen.0 => seen = (self.upload.sent(), Instant::now()),
                Err(_) => {}
            }
            let patience = if seen.0 == self.from + self.length {
                STORE_TIMEOUT
            } else {
                IDLE_TIMEOUT
            };
            if seen.1.elapsed() > patience {
                return None;
            }
        }
    }
}

/// A blob that is sent while it grows, maybe several times.
#[derive(Debug)]
pub(crate) struct Trickle {
    blob: Arc<Growing>,
    /// How much was handed to the connection in the current try.
    sent: Arc<AtomicU64>,
}

impl Trickle {
    pub(crate) fn of(blob: &Arc<Growing>) -> Trickle {
        Trickle {
            blob: Arc::clone(blob),
            sent: Arc::default(),
        }
    }

    pub(crate) fn blob(&self) -> &Growing {
        &self.blob
    }

    /// A body from the first byte on, which ends where the blob does, and breaks if there will be none.
    pub(crate) fn body(&self) -> reqwest::Body {
        self.sent.store(0, Ordering::Relaxed);
        let (blob, sent) = (Arc::clone(&self.blob), Arc::clone(&self.sent));
        let pieces = stream::try_unfold(0_u64, move |at| {
            let (blob, sent) = (Arc::clone(&blob), Arc::clone(&sent));
            async move {
                let Some(length) = has_grown(&blob, at).await? else {
                    return Ok(None);
                };
                let piece = spawn_blocking(move || {
                    let mut piece = vec![0; length];
                    blob.read(&mut piece, at).map(|()| Bytes::from(piece))
                });
                let piece = piece.await.map_err(io::Error::other)??;
                sent.fetch_add(length as u64, Ordering::Relaxed);
                Ok::<_, io::Error>(Some((piece, at + length as u64)))
            }
        });
        reqwest::Body::wrap_stream(pieces)
    }

    /// Waits for `sending` as long as bytes move or there are none; `None` if they stopped for too long.
    pub(crate) async fn watch<T>(&self, sending: impl Future<Output = T>) -> Option<T> {
        tokio::pin!(sending);
        let mut seen = (self.sent(), Instant::now());
        loop {
            match tokio::time::timeout(GLANCE, &mut sending).await {
                Ok(answer) => return Some(answer),
                Err(_) if self.sent() != seen.0 => seen = (self.sent(), Instant::now()),
                // It is not the connection that is waited for.
                Err(_) if self.blob.end().is_none() && self.sent() == self.blob.length() => seen.1 = Instant::now(),
                Err(_) => {}
            }
            let patience = if self.blob.end().is_some() && seen.0 == self.blob.length() {
                STORE_TIMEOUT
            } else {
                IDLE_TIMEOUT
            };
            if seen.1.elapsed() > patience {
                return None;
            }
        }
    }
}

/// Waits for bytes after the first `at`: how many are to be sent next. `None` is the end of the blob.
async fn has_grown(blob: &Growing, at: u64) -> io::Result<Option<usize>> {
    loop {
        // First: after it nothing is added.
        let end = blob.end();
        match (blob.length() - at, end) {
            (0, Some(End::Blob(_))) => return Ok(None),
            (_, Some(End::GivenUp)) => return Err(io::Error::other("there will be no such blob")),
            (0, None) => tokio::time::sleep(early::GLANCE).await,
            (more, _) => return Ok(Some(more.min(READ_AT_ONCE as u64) as usize)),
        }
    }
}

fn unreadable(path: &std::path::Path, source: std::io::Error) -> Error {
    Error::Content(oci::Error::Io {
        action: "read",
        path: path.to_owned(),
        source,
    })
}
