//! What goes wrong with files, in the words of the tree they belong to: paths are those inside the tree or context.

use std::io;
use std::path::PathBuf;

use graph::pattern::PatternError;

/// A file operation that failed.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// A source that was named is not there.
    #[error("\"{path}\": not found{}", because(hidden_by.as_deref(), nearest.as_deref()))]
    NotFound {
        /// As it was asked for, from the root of the tree.
        path: String,
        /// The ignore pattern that hides it, if that is the reason.
        hidden_by: Option<String>,
        /// A path that is there and looks like it.
        nearest: Option<String>,
    },
    /// A wildcard that cannot be understood.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// A pattern of an ignore file that cannot be understood.
    #[error("ignore file: {0}")]
    Excludes(PatternError),
    /// An owner's name, for files on no image at all.
    #[error("invalid user index: -1: there is no image whose /etc/passwd could tell whom a name means")]
    NamesOfNothing,
    /// The kernel refused something.
    #[error("cannot {action} {path}")]
    Io {
        /// What was tried: `open`, `read`.
        action: &'static str,
        /// On which file.
        path: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A directory was to go where there is something else.
    #[error("cannot copy to non-directory: {path}")]
    DirectoryOverFile {
        /// Where.
        path: String,
    },
    /// A file was to go where there is a directory.
    #[error("cannot replace to directory {path} with file")]
    FileOverDirectory {
        /// Where.
        path: String,
    },
    /// A path leads through something that is no directory.
    #[error("mkdir {path}: not a directory")]
    NotADirectory {
        /// What is in the way.
        path: String,
    },
    /// Symbolic links lead in circles.
    #[error("too many links in path {path}")]
    TooManyLinks {
        /// The path that was followed.
        path: String,
    },
    /// A device node, where making one is not allowed.
    #[error("cannot make device {path} here: only the real root user may, and none of number 0")]
    Device {
        /// Where it was to go.
        path: String,
    },
    /// An owner that a file cannot be given to: most often an id that the user namespace lacks.
    #[error("cannot give {path} to {user}:{group}{}", unknown_id(source))]
    Chown {
        /// Which file.
        path: String,
        /// The user's number.
        user: u32,
        /// The group's number.
        group: u32,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The name of an owner leads nowhere.
    #[error("cannot find the owner of the copied files")]
    Owner(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A file of the context changed between being hashed and being copied.
    #[error("{path} changed while it was being copied")]
    Changed {
        /// Which file.
        path: String,
    },
    /// An archive that cannot be unpacked.
    #[error("cannot unpack {path}: {reason}")]
    Archive {
        /// The archive.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The file of known digests could not be written.
    #[error("cannot write {}", path.display())]
    StatCache {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The caller asked to stop.
    #[error("cancelled")]
    Cancelled,
}

/// The kernel's word for an id that it has no other for.
fn unknown_id(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::InvalidInput => ", an id that the ranges of /etc/subuid and /etc/subgid do not reach",
        _ => "",
    }
}

fn because(hidden_by: Option<&str>, nearest: Option<&str>) -> String {
    match (hidden_by, nearest) {
        (Some(pattern), _) => format!(" (left out by `{pattern}` of the ignore file)"),
        (None, Some(path)) => format!(" (did you mean {path}?)"),
        (None, None) => String::new(),
    }
}

/// A path inside a tree, as people write it.
pub(super) fn shown(path: &[u8]) -> String {
    format!("/{}", cache::shown(path))
}

/// Names the action and the file of an error.
pub(super) trait At<T> {
    fn at(self, action: &'static str, path: &[u8]) -> Result<T, FilesError>;
}

impl<T, E: Into<io::Error>> At<T> for Result<T, E> {
    fn at(self, action: &'static str, path: &[u8]) -> Result<T, FilesError> {
        self.map_err(|source| FilesError::Io {
            action,
            path: shown(path),
            source: source.into(),
        })
    }
}
