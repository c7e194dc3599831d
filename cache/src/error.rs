//! What can go wrong in the store, in words for the person who runs the build.

use std::io;
use std::path::{Path, PathBuf};

use oci::{DiffId, Digest};
use rusqlite::ErrorCode;
use rustix::io::Errno;

use crate::{Holding, SnapshotId, Subject};

/// So many are named of those who keep something.
const MOST_HOLDINGS: usize = 5;

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
    /// There was no room for the index to grow.
    #[error("cannot {action} in the cache index")]
    IndexFull {
        /// What was being done.
        action: &'static str,
        /// That there is no space left.
        source: io::Error,
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
    /// An entry of a layer that could not be written.
    #[error("layer `{layer}`: entry `{entry}`: cannot {action}")]
    Entry {
        /// The layer's blob.
        layer: Digest,
        /// The entry's name.
        entry: String,
        /// What was being done.
        action: &'static str,
        /// Why not.
        source: io::Error,
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
    /// Owners that are recorded beside the files get lost in copies.
    #[error(
        "trees of the store in `{0}` cannot be copied: whose files are is only recorded there, and would not be so in a \
         copy"
    )]
    CopiesOfRecords(PathBuf),
    /// More layers than the kernel can stack.
    #[error("an image of {0} layers cannot be mounted: the kernel stacks at most 500")]
    TooManyLayers(usize),
    /// A snapshot that is in no index.
    #[error("snapshot `{0}` is not in the cache")]
    NoSuchSnapshot(SnapshotId),
    /// A blob that was asked for and is not here.
    #[error("blob `{0}` is not in the store")]
    NoSuchBlob(Digest),
    /// A file whose name means in a layer that another one is removed.
    #[error(
        "`{0}` cannot be in an image: in layers, names that begin with `.wh.` remove what the rest of them names; leave it out or give it another name"
    )]
    NameOfRemoval(String),
    /// Files of a snapshot were changed behind our back, so a layer made of them cannot be had any more.
    #[error("layer `{digest}` cannot be made again: the files in `{directory}` are not what they were")]
    LayerChanged {
        /// The layer.
        digest: Digest,
        /// The snapshot's directory.
        directory: PathBuf,
    },
    /// Something large does not fit on the disk, and nothing more can be pruned.
    #[error("there is no room on the disk of `{path}`: {}", shortage(*wanted, *free, *reserve, holdings))]
    NoRoom {
        /// A folder on that disk: the store's, or where something is to be written.
        path: PathBuf,
        /// How many bytes are to be written.
        wanted: u64,
        /// How many are free.
        free: u64,
        /// How many of these are to stay free.
        reserve: u64,
        /// Who has the rest of the store, the largest first.
        holdings: Vec<Holding>,
    },
    /// Something that would be damaged or whole, and could not be looked at for want of something else.
    #[error("{subject} could not be verified, and was left as it is")]
    Unverified {
        /// What was being looked at.
        subject: Subject,
        /// What stood in the way.
        source: Box<Error>,
    },
    /// A store that another user made: whose the files in it are looks different from here.
    #[error(
        "`{path}` is of user {owner}, and this is user {us}, to whom its files look changed: verify it as that user"
    )]
    OthersStore {
        /// The store's folder.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who is asking.
        us: u32,
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

impl Error {
    /// Whether this says nothing about what was looked at: there was no room, too little of something else, or no
    /// permission.
    pub(crate) fn is_of_the_machine(&self) -> bool {
        if matches!(self, Error::NoRoom { .. } | Error::Unverified { .. }) {
            return true;
        }
        // What is written there is a copy, on a disk that may be damaged where it is.
        if let Error::Entry { source, .. } = self
            && Errno::from_io_error(source) == Some(Errno::IO)
        {
            return true;
        }
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            match error.downcast_ref::<io::Error>() {
                Some(error) if is_of_the_machine(error) => return true,
                _ => cause = error.source(),
            }
        }
        false
    }

    /// Whether the index could not be written because the disk is full.
    pub(crate) fn is_full_disk(&self) -> bool {
        matches!(self, Error::IndexFull { .. })
    }
}

/// Whether an error of the kernel says nothing about the file that it was asked for.
fn is_of_the_machine(error: &io::Error) -> bool {
    use io::ErrorKind::{OutOfMemory, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull, WouldBlock};
    let by_number = [Errno::MFILE, Errno::NFILE, Errno::OPNOTSUPP, Errno::NOSYS];
    matches!(
        error.kind(),
        OutOfMemory | PermissionDenied | QuotaExceeded | ReadOnlyFilesystem | StorageFull | WouldBlock
    ) || Errno::from_io_error(error).is_some_and(|number| by_number.contains(&number))
}

fn shortage(wanted: u64, free: u64, reserve: u64, holdings: &[Holding]) -> String {
    let missing = wanted.saturating_add(reserve).saturating_sub(free);
    let mut text = format!("{} are needed and {} free", bytes(wanted), bytes(free));
    if reserve > 0 {
        text = format!("{text}, of which {} are to stay free", bytes(reserve));
    }
    text = format!("{text}: {} are missing", bytes(missing));
    for (number, holding) in holdings.iter().take(MOST_HOLDINGS).enumerate() {
        let who = match &holding.user {
            None => "named images".to_owned(),
            Some(user) if user.process == std::process::id() => "this build".to_owned(),
            Some(user) if user.about.is_empty() => format!("process {}", user.process),
            Some(user) => format!("process {} ({})", user.process, user.about),
        };
        let before = if number == 0 { "; kept are" } else { "," };
        text = format!("{text}{before} {} by {who}", bytes(holding.bytes));
    }
    text
}

/// A size as docker writes it: three digits, powers of 1000.
fn bytes(bytes: u64) -> String {
    let mut size = bytes as f64;
    for unit in ["B", "kB", "MB", "GB", "TB"] {
        if size < 1000.0 {
            return match unit {
                "B" => format!("{bytes}B"),
                _ => format!("{size:.1}{unit}"),
            };
        }
        size /= 1000.0;
    }
    format!("{size:.1}PB")
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
    move |source| match source.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => Error::IndexFull {
            action,
            source: io::ErrorKind::StorageFull.into(),
        },
        _ => Error::Index {
            action,
            source: Box::new(source),
        },
    }
}

/// A name of foreign origin on one line: control characters, which could make it look like something else, are told by
/// their numbers.
#[must_use]
pub fn shown(name: &[u8]) -> String {
    let mut text = String::new();
    for character in String::from_utf8_lossy(name).chars() {
        match character.is_control() {
            true => text.extend(character.escape_default()),
            false => text.push(character),
        }
    }
    text
}
