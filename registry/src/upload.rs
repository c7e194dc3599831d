//! The body of an upload: a file or a piece of one, read as it leaves, counted, and watched for standstill.

use std::io::SeekFrom;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::time::Instant;
use tokio_util::io::ReaderStream;

use crate::Error;
use crate::client::IDLE_TIMEOUT;

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

    /// Up to where the file has left in the current try.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
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

fn unreadable(path: &std::path::Path, source: std::io::Error) -> Error {
    Error::Content(oci::Error::Io {
        action: "read",
        path: path.to_owned(),
        source,
    })
}
