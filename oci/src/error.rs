//! What can be wrong with names, digests, documents and layouts.

use std::path::PathBuf;

/// Why a value of the image-spec was refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not of the form `sha256:` and 64 hexadecimal digits.
    #[error("invalid digest `{0}`: expected `sha256:` and 64 lower-case hexadecimal digits")]
    Digest(String),
    /// Not of the grammar of distribution's references.
    #[error("invalid reference format `{name}`: {reason}")]
    Reference {
        /// The name as given.
        name: String,
        /// Which rule it breaks.
        reason: &'static str,
    },
    /// A part of a platform that is no word.
    #[error(
        "{component:?} is an invalid component of {text:?}: platform specifier component must match \"^[A-Za-z0-9_.-]+$\": invalid argument"
    )]
    PlatformComponent {
        /// The part.
        component: String,
        /// The platform as given.
        text: String,
    },
    /// Not `os[/architecture[/variant]]`.
    #[error("invalid platform `{0}`: expected `os/architecture[/variant]`, for example `linux/amd64`")]
    Platform(String),
    /// A document that is not what its media type promises.
    #[error("{what} is not valid: {reason}")]
    Document {
        /// Which document.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A manifest whose media type no one here reads.
    #[error("unsupported manifest media type `{0}`")]
    UnsupportedManifest(String),
    /// An index without a manifest for the platform.
    #[error("no manifest for platform `{wanted}`; there are: {available}")]
    NoSuchPlatform {
        /// The platform asked for.
        wanted: Box<Platform>,
        /// The platforms the index offers, comma separated.
        available: String,
    },
    /// Bytes that do not have the digest they were asked for by.
    #[error("content of `{expected}` has digest `{actual}`")]
    DigestMismatch {
        /// The digest asked for.
        expected: Digest,
        /// The digest of what came.
        actual: Digest,
    },
    /// A layout that lacks a part.
    #[error("`{path}` is not an OCI layout: {reason}")]
    Layout {
        /// The directory or archive.
        path: PathBuf,
        /// What is missing or wrong.
        reason: String,
    },
    /// A layout without the tag or digest asked for.
    #[error("no image `{wanted}` in OCI layout `{path}`; there are: {available}")]
    NoSuchImage {
        /// The directory or archive.
        path: PathBuf,
        /// Tag or digest asked for.
        wanted: String,
        /// What it offers, comma separated.
        available: String,
    },
    /// Reading or writing a layout failed.
    #[error("cannot {action} `{path}`")]
    Io {
        /// What was being done: `read`, `write`, …
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

use crate::{Digest, Platform};

/// Names for a message, the first few of however many; `none` of none.
pub(crate) fn listed(names: impl Iterator<Item = String>) -> String {
    const SHOWN: usize = 16;
    let mut names: Vec<String> = names.collect();
    let more = names.len().saturating_sub(SHOWN);
    names.truncate(SHOWN);
    match (names.is_empty(), more) {
        (true, _) => "none".to_owned(),
        (_, 0) => names.join(", "),
        (_, more) => format!("{} and {more} more", names.join(", ")),
    }
}
