//! What can go wrong in the store, in words for the person who runs the build.

use std::io;
use std::path::{Path, PathBuf};

use oci::{DiffId, Digest};

use crate::SnapshotId;

/// Why the store could not keep or give something.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or directory of the store could not be read or written.
    #[error("cannot {action} `{path}`")]
    Io {
        /// What was being done: `read`, `create`, …
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The index refused a statement.
    #[error("cannot {action} in the cache index")]
    Index {
        /// What was being done.
        action: &'static str,
        /// What SQLite said.
        source: Box<rusqlite::Error>,
    },
    /// The index file is another program's database, or of a version this program does not know.
    #[error("`{path}` is not an index this version reads: {reason}")]
    ForeignIndex {
        /// The file.
        path: PathBuf,
        /// What is different.
        reason: String,
    },
    /// Bytes that do not have the digest they were announced by.
    #[error("content of `{expected}` has digest `{actual}`")]
    DigestMismatch {
        /// The digest announced.
        expected: Digest,
        /// The digest of what came.
        actual: Digest,
    },
    /// More or fewer bytes than were announced.
    #[error("content of `{digest}` is {actual} bytes long, not {expected}")]
    SizeMismatch {
        /// The blob.
        digest: Digest,
        /// The size announced.
        expected: u64,
        /// The bytes that came; counting stops soon after the announced size is passed.
        actual: u64,
    },
    /// A layer whose plain archive is not the one its image configuration names.
    #[error("layer `{layer}` has diff-id `{actual}`, but the image configuration says `{expected}`")]
    DiffIdMismatch {
        /// The layer's blob.
        layer: Digest,
        /// The diff-id in the configuration.
        expected: DiffId,
        /// The diff-id of the archive.
        actual: DiffId,
    },
    /// A layer that is no tar archive, or has an entry that cannot be unpacked.
    #[error("layer `{layer}`: entry `{entry}`: {reason}")]
    Archive {
        /// The layer's blob.
        layer: Digest,
        /// The entry's name, or where in the archive.
        entry: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A layer whose bytes stopped coming.
    #[error("cannot read layer `{layer}`")]
    LayerStream {
        /// The layer's blob.
        layer: Digest,
        /// Why not.
        source: io::Error,
    },
    /// Not a name of a compression.
    #[error("unknown compression `{0}`: expected `gzip`, `zstd` or `uncompressed`")]
    UnknownCompression(String),
    /// The kernel refused an overlay.
    #[error("cannot mount {layers} layers at `{path}`")]
    Mount {
        /// The mount point.
        path: PathBuf,
        /// How many directories were to be stacked.
        layers: usize,
        /// Why not.
        source: io::Error,
    },
    /// More layers than the kernel can stack.
    #[error("an image of {0} layers cannot be mounted: the kernel stacks at most 500")]
    TooManyLayers(usize),
    /// A snapshot that is in no index.
    #[error("snapshot `{0}` is not in the cache")]
    NoSuchSnapshot(SnapshotId),
    /// A blob that was asked for and is not here.
    #[error("blob `{0}` is not in the store")]
    NoSuchBlob(Digest),
    /// Files of a snapshot were changed behind our back, so a layer made of them cannot be had any more.
    #[error("layer `{digest}` cannot be made again: the files in `{directory}` are not what they were")]
    LayerChanged {
        /// The layer.
        digest: Digest,
        /// The snapshot's directory.
        directory: PathBuf,
    },
    /// A manifest of a named image that cannot be read.
    #[error("manifest `{digest}` of image `{name}` cannot be read")]
    Manifest {
        /// The image.
        name: String,
        /// The manifest.
        digest: Digest,
        /// What is wrong with it.
        source: Box<oci::Error>,
    },
}

/// The error of having failed to `action` the file at `path`.
pub(crate) fn failed<E: Into<io::Error>>(action: &'static str, path: &Path) -> impl FnOnce(E) -> Error {
    let path = path.to_owned();
    move |source| Error::Io {
        action,
        path,
        source: source.into(),
    }
}

/// The error of having failed to `action` in the index.
pub(crate) fn index_failed(action: &'static str) -> impl FnOnce(rusqlite::Error) -> Error {
    move |source| Error::Index {
        action,
        source: Box::new(source),
    }
}
