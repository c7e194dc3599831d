//! The body of an upload: a file, read as it leaves, counted, and watched for standstill.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use tokio::io::AsyncReadExt;
use tokio::time::Instant;
use tokio_util::io::ReaderStream;

use crate::Error;
use crate::client::IDLE_TIMEOUT;

const PIECE: usize = 256 << 10;
const GLANCE: Duration = Duration::from_secs(1);
/// After the last byte the registry hashes and stores all of it before it answers.
const STORE_TIMEOUT: Duration = Duration::from_secs(600);

/// A file to be sent, maybe several times.
#[derive(Debug)]
pub(crate) struct Upload {
    path: PathBuf,
    size: u64,
    /// Bytes of the current try that were handed to the connection.
    sent: Arc<AtomicU64>,
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

    /// Bytes that left in the current try.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// A body that starts at the beginning.
    pub(crate) async fn body(&self) -> Result<reqwest::Body, Error> {
        let file = tokio::fs::File::open(&self.path).await;
        let file = file.map_err(|source| unreadable(&self.path, source))?;
        self.sent.store(0, Ordering::Relaxed);
        let sent = Arc::clone(&self.sent);
        // The length is promised in a header: not a byte more, even if the file grows.
        let pieces = ReaderStream::with_capacity(file.take(self.size), PIECE).inspect(move |piece| {
            if let Ok(piece) = piece {
                sent.fetch_add(piece.len() as u64, Ordering::Relaxed);
            }
        });
        Ok(reqwest::Body::wrap_stream(pieces))
    }

    /// Waits for `sending` as long as bytes move; `None` if they stopped for too long.
    pub(crate) async fn watch<T>(&self, sending: impl Future<Output = T>) -> Option<T> {
        tokio::pin!(sending);
        let mut seen = (self.sent(), Instant::now());
        loop {
            match tokio::time::timeout(GLANCE, &mut sending).await {
                Ok(answer) => return Some(answer),
                Err(_) if self.sent() != seen.0 => seen = (self.sent(), Instant::now()),
                Err(_) => {}
            }
            let patience = if seen.0 == self.size {
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

fn unreadable(path: &std::path::Path, source: std::io::Error) -> Error {
    Error::Content(oci::Error::Io {
        action: "read",
        path: path.to_owned(),
        source,
    })
}
