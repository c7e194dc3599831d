//! Content: the bytes behind a digest, wherever they are.
//!
//! Most blobs are files. A plain layer of our own is none: its bytes are the archive of a snapshot's changes, which comes
//! out the same whenever it is made, so it is made for whoever reads it, and checked against its digest on the way. A
//! build that keeps its image in the store thus writes no layer at all.
//!
//! What an archive says of a tree (`diff.rs`, `tar_writer.rs`) is therefore part of the store's format: a change of one
//! byte would leave the images named in older stores without their layers.

use std::io::{self, PipeReader, Read, Write};
use std::thread::JoinHandle;

use oci::{Descriptor, Digest, Hasher};
use rusqlite::params;

use crate::error::{failed, index_failed};
use crate::layer::Form;
use crate::{BlobFile, Error, Snapshot, SnapshotId, Store, diff};

/// How much of a file is copied at a time.
const PIECE: usize = 256 * 1024;

/// The bytes behind a digest.
#[derive(Clone, Debug)]
pub enum Content {
    /// A file has them.
    File(BlobFile),
    /// They are made when they are read.
    Archive(LayerArchive),
}

/// The changes of a snapshot as a plain archive that nobody has written down.
#[derive(Clone, Debug)]
pub struct LayerArchive {
    digest: Digest,
    size: u64,
    snapshot: Snapshot,
    latest: Option<i64>,
}

impl Store {
    /// The bytes of `digest`, if they are here.
    ///
    /// # Errors
    /// If the index cannot be read.
    pub fn content(&self, digest: &Digest) -> Result<Option<Content>, Error> {
        if let Some(blob) = self.blob(digest)? {
            return Ok(Some(Content::File(blob)));
        }
        Ok(self.archive(digest)?.map(Content::Archive))
    }

    /// The layer of ours whose plain archive is `digest`.
    pub(crate) fn archive(&self, digest: &Digest) -> Result<Option<LayerArchive>, Error> {
        let list = || {
            let connection = self.index().read();
            let mut statement =
                connection.prepare_cached("SELECT snapshot, compression, size FROM layers WHERE digest = ?1")?;
            let rows = statement.query_map(params![digest.to_string()], |row| {
                Ok((
                    row.get::<_, String>(0)?,
                    row.get::<_, String>(1)?,
                    row.get::<_, i64>(2)?,
                ))
            })?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        for (id, form, size) in list().map_err(index_failed("look for a layer"))? {
            let (Ok(id), Some(form)) = (id.parse::<SnapshotId>(), Form::of_plain(&form)) else {
                continue;
            };
            if let Some(snapshot) = self.snapshot(&id)? {
                return Ok(Some(LayerArchive {
                    digest: *digest,
                    size: size.cast_unsigned(),
                    snapshot,
                    latest: form.latest,
                }));
            }
        }
        Ok(None)
    }

    /// The content as a file, which is written if there is none yet.
    ///
    /// # Errors
    /// As [`Content::copy_to`], and if the file cannot be written.
    pub fn file_of(&self, content: &Content) -> Result<BlobFile, Error> {
        match content {
            Content::File(blob) => Ok(blob.clone()),
            Content::Archive(archive) => {
                self.make_room(archive.size, archive.size)?;
                let mut writer = self.blob_writer()?;
                archive.copy_to(&mut writer)?;
                writer.finish_as(&Descriptor::new("", archive.digest, archive.size))
            }
        }
    }
}

impl Content {
    /// In bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        match self {
            Content::File(blob) => blob.size,
            Content::Archive(archive) => archive.size,
        }
    }

    /// Writes all bytes to `out`.
    ///
    /// # Errors
    /// If reading or writing fails, [`Error::LayerChanged`] if the files of a layer are not what they were.
    pub fn copy_to(&self, out: &mut dyn Write) -> Result<(), Error> {
        match self {
            Content::File(blob) => {
                let copied = std::fs::File::open(&blob.path).and_then(|file| copy(file, out));
                copied.map_err(failed("copy", &blob.path))
            }
            Content::Archive(archive) => archive.copy_to(out),
        }
    }

    /// The bytes to be read. That they are not what they should be shows as an error of the reader.
    ///
    /// # Errors
    /// If the file cannot be opened, or no thread be started.
    pub fn open(&self) -> Result<Box<dyn Read + Send>, Error> {
        match self {
            Content::File(blob) => {
                let file = std::fs::File::open(&blob.path).map_err(failed("read", &blob.path))?;
                Ok(Box::new(file))
            }
            Content::Archive(archive) => Ok(Box::new(archive.open()?)),
        }
    }
}

/// Copies in pieces that no buffered writer keeps to itself first.
fn copy(mut from: std::fs::File, to: &mut dyn Write) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        match from.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(read) => to.write_all(&piece[..read])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

impl LayerArchive {
    /// The snapshot whose changes these are.
    pub(crate) fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Up to which time its files are told with their own.
    pub(crate) fn latest(&self) -> Option<i64> {
        self.latest
    }

    fn copy_to(&self, out: &mut dyn Write) -> Result<(), Error> {
        let checked = Checked {
            target: out,
            hasher: Hasher::new(),
            size: self.size,
        };
        let changed = || Error::LayerChanged {
            digest: self.digest,
            directory: self.snapshot.directory(),
        };
        let digest = match diff::write(&self.snapshot, checked, self.latest) {
            Ok((checked, _)) => checked.hasher.finish(),
            Err(Error::Io { source, .. }) if is_longer(&source) => return Err(changed()),
            Err(error) => return Err(error),
        };
        if digest == self.digest { Ok(()) } else { Err(changed()) }
    }

    fn open(&self) -> Result<MadeOnReading, Error> {
        let directory = self.snapshot.directory();
        let start = || {
            let (pipe, mut end) = io::pipe()?;
            let archive = self.clone();
            let maker = std::thread::Builder::new().name("archive".to_owned());
            let maker = maker.spawn(move || archive.copy_to(&mut end))?;
            Ok::<_, io::Error>(MadeOnReading {
                pipe,
                maker: Some(maker),
            })
        };
        start().map_err(failed("archive", &directory))
    }
}

/// Hashes what passes through, and lets no more pass than there should be.
struct Checked<'a> {
    target: &'a mut dyn Write,
    hasher: Hasher,
    size: u64,
}

/// More bytes came than the layer had when it was first made.
#[derive(Debug, thiserror::Error)]
#[error("the archive is longer than it was")]
struct Longer;

fn is_longer(error: &io::Error) -> bool {
    error
        .get_ref()
        .is_some_and(<dyn std::error::Error + Send + Sync>::is::<Longer>)
}

impl Write for Checked<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.hasher.size() + bytes.len() as u64 > self.size {
            return Err(io::Error::other(Longer));
        }
        let written = self.target.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.target.flush()
    }
}

/// An archive that a thread writes into a pipe as fast as it is read. Dropped, the thread ends with the pipe.
struct MadeOnReading {
    pipe: PipeReader,
    maker: Option<JoinHandle<Result<(), Error>>>,
}

impl Read for MadeOnReading {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.pipe.read(buffer)?;
        if read == 0
            && !buffer.is_empty()
            && let Some(maker) = self.maker.take()
        {
            // The end counts only if it was meant.
            match maker.join() {
                Ok(outcome) => outcome.map_err(io::Error::other)?,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok(read)
    }
}
