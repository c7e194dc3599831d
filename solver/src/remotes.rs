//! Web servers and git repositories: the port through which the solver reaches them.
//!
//! A source is asked twice: what it is now, which gives its key, and for its files, if no tree of that key is there. The
//! first answer holds for the rest of the build.

use std::path::{Path, PathBuf};

use cache::CacheKey;
use graph::{Encoder, GitSource, HttpSource, Op};
use oci::BoxFuture;

/// A source that is neither here nor an image.
#[derive(Clone, Copy, Debug)]
pub enum RemoteSource<'a> {
    /// A file of a web server.
    Http(&'a HttpSource),
    /// A git repository.
    Git(&'a GitSource),
}

/// What a source is now: equal identities mean equal files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity(pub String);

/// Why a source could not be had.
pub type RemoteError = Box<dyn std::error::Error + Send + Sync>;

/// Directories for the files of a source, both there and empty.
#[derive(Clone, Debug)]
pub struct Landing {
    /// For the files themselves.
    pub files: PathBuf,
    /// For what is needed on the way.
    pub scratch: PathBuf,
}

/// Reaches web servers and git repositories.
pub trait Remotes: Send + Sync {
    /// What the source is now. `progress` is told what is moved on the way.
    fn identify<'a>(
        &'a self,
        source: RemoteSource<'a>,
        progress: &'a crate::Step,
    ) -> BoxFuture<'a, Result<Identity, RemoteError>>;

    /// Puts the files of the source, which has been identified, into `landing`.
    fn fetch<'a>(
        &'a self,
        source: RemoteSource<'a>,
        landing: &'a Landing,
        progress: &'a crate::Step,
    ) -> BoxFuture<'a, Result<(), RemoteError>>;
}

impl<'a> RemoteSource<'a> {
    /// The source of an op that is one.
    #[must_use]
    pub fn of(op: &'a Op) -> Option<RemoteSource<'a>> {
        match op {
            Op::Http(http) => Some(RemoteSource::Http(http)),
            Op::Git(git) => Some(RemoteSource::Git(git)),
            Op::Image(_) | Op::Local(_) | Op::Exec(_) | Op::File(_) | Op::Merge(_) => None,
        }
    }
}

impl Identity {
    /// The key of the tree.
    pub(crate) fn key(&self) -> CacheKey {
        let mut encoder = Encoder::new("remote");
        encoder.text("identity", &self.0);
        CacheKey(encoder.finish())
    }
}

impl Landing {
    /// The directories for a tree that is being made at `files`.
    pub(crate) fn beside(files: &Path) -> std::io::Result<Landing> {
        let scratch = files.with_file_name("scratch");
        std::fs::create_dir(&scratch)?;
        Ok(Landing {
            files: files.to_owned(),
            scratch,
        })
    }
}
