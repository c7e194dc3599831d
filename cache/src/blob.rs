//! Blobs: bytes named by their digest, in the places an OCI layout gives them.

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use oci::{Descriptor, Digest, End, Growing, Hasher};
use rusqlite::{OptionalExtension, params};

use crate::error::{failed, index_failed};
use crate::lease::Hold;
use crate::store::now;
use crate::{Error, Store};

/// A blob of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobFile {
    /// Of its content.
    pub digest: Digest,
    /// In bytes.
    pub size: u64,
    /// The file; not to be written to.
    pub path: PathBuf,
}

/// A blob being written. It becomes one when finished; dropped before, it leaves nothing.
#[derive(Debug)]
pub struct BlobWriter {
    store: Store,
    path: PathBuf,
    file: File,
    hasher: Hasher,
    kept: bool,
    growing: Option<Arc<Growing>>,
}

impl Store {
    /// The blob `digest`, if the store has it.
    ///
    /// # Errors
    /// If the index cannot be read.
    pub fn blob(&self, digest: &Digest) -> Result<Option<BlobFile>, Error> {
        self.find_and_hold(|| {
            let blob = self.read_blob(digest)?;
            Ok(blob.map(|blob| (Hold::Blob(*digest), blob)))
        })
    }

    /// The blob `digest`. It counts only if it is held, or behind the gate.
    pub(crate) fn read_blob(&self, digest: &Digest) -> Result<Option<BlobFile>, Error> {
        let size: Option<i64> = self
            .index()
            .read()
            .prepare_cached("SELECT size FROM blobs WHERE digest = ?1 AND (durable = 1 OR boot = ?2)")
            .and_then(|mut statement| {
                statement
                    .query_row(params![digest.to_string(), self.boot()], |row| row.get(0))
                    .optional()
            })
            .map_err(index_failed("look for a blob"))?;
        let Some(size) = size.and_then(|size| u64::try_from(size).ok()) else {
            return Ok(None);
        };
        let path = self.blob_path(digest);
        // Somebody may have removed the file by hand.
        let present = std::fs::metadata(&path).is_ok_and(|file| file.len() == size);
        Ok(present.then_some(BlobFile {
            digest: *digest,
            size,
            path,
        }))
    }

    /// Whether a prune took the content of the blob `digest` to have room for forgetting it, and had too little even so.
    /// Nobody takes such a blob for present, and the next prune forgets it.
    pub(crate) fn is_emptied(&self, digest: &Digest) -> bool {
        *digest != Digest::of(b"") && std::fs::metadata(self.blob_path(digest)).is_ok_and(|file| file.len() == 0)
    }

    /// Keeps `bytes`.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn put_blob(&self, bytes: &[u8]) -> Result<BlobFile, Error> {
        if let Some(blob) = self.blob(&Digest::of(bytes))? {
            return Ok(blob);
        }
        let mut writer = self.blob_writer()?;
        let path = writer.path.clone();
        writer.write_all(bytes).map_err(failed("write", &path))?;
        writer.finish()
    }

    /// Begins a blob whose digest is not known or not yet verified.
    ///
    /// # Errors
    /// If its file cannot be made.
    pub fn blob_writer(&self) -> Result<BlobWriter, Error> {
        let path = self.temporary();
        let file = File::create_new(&path).map_err(failed("create", &path))?;
        Ok(BlobWriter {
            store: self.clone(),
            path,
            file,
            hasher: Hasher::new(),
            kept: false,
            growing: None,
        })
    }

    pub(crate) fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.path("blobs/sha256").join(digest.hex())
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        if let Some(growing) = &self.growing {
            growing.reached(self.hasher.size());
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl BlobWriter {
    /// What is written from now on, for whoever reads it meanwhile. To be asked for before the first byte.
    ///
    /// # Errors
    /// If the file cannot be opened once more.
    pub(crate) fn growing(&mut self) -> Result<Arc<Growing>, Error> {
        let file = File::open(&self.path).map_err(failed("read", &self.path))?;
        let growing = Arc::new(Growing::of(file));
        self.growing = Some(Arc::clone(&growing));
        Ok(growing)
    }

    /// Keeps what was written under its digest.
    ///
    /// # Errors
    /// If the file cannot be moved to its place, or the index not be written.
    pub fn finish(mut self) -> Result<BlobFile, Error> {
        let hasher = std::mem::take(&mut self.hasher);
        let size = hasher.size();
        self.keep(hasher.finish(), size)
    }

    /// Keeps what was written if it is what `expected` describes.
    ///
    /// # Errors
    /// [`Error::SizeMismatch`] and [`Error::DigestMismatch`], after which nothing is kept, and as [`BlobWriter::finish`].
    pub fn finish_as(mut self, expected: &Descriptor) -> Result<BlobFile, Error> {
        let hasher = std::mem::take(&mut self.hasher);
        let size = hasher.size();
        if size != expected.size {
            return Err(Error::SizeMismatch {
                digest: expected.digest,
                expected: expected.size,
                actual: size,
            });
        }
        let digest = hasher.finish();
        if digest != expected.digest {
            return Err(Error::DigestMismatch {
                expected: expected.digest,
                actual: digest,
            });
        }
        self.keep(digest, size)
    }

    fn keep(&mut self, digest: Digest, size: u64) -> Result<BlobFile, Error> {
        let path = self.store.blob_path(&digest);
        {
            // Before the file is there: one that no row names and nobody holds is a leaving of the dead.
            let together = self.store.gate().together()?;
            self.store.hold(&together, &Hold::Blob(digest));
        }
        let now = now();
        let action = "record a blob";
        // While the index is held: so a file that has no row then is nobody's.
        let recorded = self.store.index().write_with_files(action, |transaction| {
            std::fs::rename(&self.path, &path).map_err(failed("keep", &path))?;
            self.kept = true;
            // A row of an earlier boot is no longer true of the new file.
            transaction
                .prepare_cached(
                    "INSERT OR REPLACE INTO blobs (digest, size, created, used, boot) VALUES (?1, ?2, ?3, ?3, ?4)",
                )
                .and_then(|mut statement| {
                    statement.execute(params![digest.to_string(), size.cast_signed(), now, self.store.boot()])
                })
                .map_err(index_failed(action))
        });
        if recorded.is_err() && self.kept {
            self.store.lease().outlive();
        }
        recorded?;
        if let Some(growing) = &self.growing {
            growing.ended(End::Blob(digest));
        }
        Ok(BlobFile { digest, size, path })
    }
}

impl Drop for BlobWriter {
    fn drop(&mut self) {
        if let Some(growing) = &self.growing {
            growing.ended(End::GivenUp);
        }
        if !self.kept {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
