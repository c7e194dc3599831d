//! The ports that keep the network out of the middle: where images come from and where they go.
//!
//! `registry::Client` and [`crate::Layout`] implement them, the command wires them up, tests double them in memory.

use std::fmt;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use crate::{Descriptor, Digest, Growing, ImageConfig, Manifest, Platform, Reference};

/// A boxed future, so that the ports can be trait objects.
pub type BoxFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The bytes of a blob as they arrive. The reader checks nothing: whoever reads verifies size and digest.
pub type Blob = Box<dyn Read + Send>;

/// Where one image is to be had.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ImageName {
    /// In a registry (or, before that is asked, in the store under the same name).
    Registry(Reference),
    /// In an OCI layout: a directory or a tar archive.
    Layout {
        /// The directory or archive, absolute.
        path: PathBuf,
        /// The value of `org.opencontainers.image.ref.name`, if the layout holds several.
        tag: Option<String>,
        /// The digest of a manifest or an index.
        digest: Option<Digest>,
    },
    /// Blobs beside a list of recorded results, in storage that is no registry: only who gave the name knows the way.
    Results(String),
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ImageName::Registry(reference) => reference.fmt(f),
            ImageName::Results(place) => f.write_str(place),
            ImageName::Layout { path, tag, digest } => {
                write!(f, "oci-layout://{}", path.display())?;
                if let Some(tag) = tag {
                    write!(f, ":{tag}")?;
                }
                match digest {
                    Some(digest) => write!(f, "@{digest}"),
                    None => Ok(()),
                }
            }
        }
    }
}

/// What a name means for one platform, all documents verified by their digests.
#[derive(Clone, Debug)]
pub struct ResolvedImage {
    /// The name as asked for.
    pub name: ImageName,
    /// What the name pointed at: an index, or the manifest itself. Its digest is the one users pin.
    pub root: Descriptor,
    /// The bytes of the indexes on the way to the manifest, as they were served, beginning with that which the name pointed
    /// at.
    pub indexes: Vec<Vec<u8>>,
    /// The manifest of the platform's image, and its descriptor.
    pub manifest_descriptor: Descriptor,
    /// The manifest.
    pub manifest: Manifest,
    /// The bytes of the manifest, as they were served.
    pub manifest_bytes: Vec<u8>,
    /// The image configuration.
    pub config: ImageConfig,
    /// The bytes of the configuration, as they were served.
    pub config_bytes: Vec<u8>,
}

/// Why a port could not give or take an image. The text is for the user; `kind` is for exit codes and hints.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// The image, tag or blob does not exist, or the registry says so to strangers.
    #[error("{name}: not found")]
    NotFound {
        /// What was asked for.
        name: String,
    },
    /// Credentials are missing or were refused.
    #[error("{name}: access denied ({detail})")]
    Denied {
        /// What was asked for.
        name: String,
        /// What the other side said, and which credentials were tried.
        detail: String,
    },
    /// The other side answered with something else than what was asked for.
    #[error("{name}: unexpected answer: {detail}")]
    Protocol {
        /// What was asked for.
        name: String,
        /// Status line or the rule that was broken.
        detail: String,
    },
    /// The other side could not be reached, or the connection broke and stayed broken.
    #[error("{name}: {detail}")]
    Unreachable {
        /// What was asked for.
        name: String,
        /// The chain of causes.
        detail: String,
    },
    /// The user's own rules forbid the image.
    #[error("could not resolve image due to policy: {reason}")]
    Forbidden {
        /// Which rule, and what for.
        reason: String,
    },
    /// What came is not a valid document, or lacks the platform.
    #[error("{name}")]
    Content {
        /// What was asked for.
        name: String,
        /// What is wrong with it.
        source: crate::Error,
    },
}

/// How many blobs move at the same time where nobody says.
const AT_ONCE: usize = 4;

/// Gives images: a registry, a layout, the store, or all of them in turn.
pub trait Fetch: Send + Sync {
    /// Finds the image `name` for `platform` and reads its manifest and configuration.
    fn resolve<'a>(
        &'a self,
        name: &'a ImageName,
        platform: &'a Platform,
    ) -> BoxFuture<'a, Result<ResolvedImage, PortError>>;

    /// Opens a blob of the image `name`. Reading happens on a blocking thread; a broken connection shows as an error of
    /// the reader, never as an early end.
    fn blob<'a>(&'a self, name: &'a ImageName, blob: &'a Descriptor) -> BoxFuture<'a, Result<Blob, PortError>>;

    /// Hears that what came of a blob has another digest. Whether it is worth opening once more: whoever gave these bytes
    /// is not asked for it again, and there is somebody else.
    fn distrust(&self, _name: &ImageName, _blob: &Descriptor) -> bool {
        false
    }

    /// How many blobs are best asked for at the same time.
    fn at_once(&self) -> usize {
        AT_ONCE
    }
}

/// Takes images: a registry.
pub trait Push: Send + Sync {
    /// Whether the repository of `name` has the blob, or can be given it from one of the repositories `from`, as far as
    /// they are in the same registry, without a byte of it being sent.
    fn find_blob<'a>(
        &'a self,
        name: &'a Reference,
        blob: &'a Descriptor,
        from: &'a [Reference],
    ) -> BoxFuture<'a, Result<bool, PortError>>;

    /// Sends the blob in the file `content` to the repository of `name`. `sent` is told of bytes as they leave.
    fn push_blob<'a>(
        &'a self,
        name: &'a Reference,
        blob: &'a Descriptor,
        content: PathBuf,
        sent: &'a (dyn Fn(u64) + Send + Sync),
    ) -> BoxFuture<'a, Result<(), PortError>>;

    /// Sends a blob to the repository of `name` while it is being made. `false` is a blob that was not sent, or not to its
    /// end, for whatever reason: it may be small, or have been given up, and [`Push::find_blob`] and [`Push::push_blob`]
    /// have yet to see to it. `sent` is told of bytes as they leave.
    fn push_growing<'a>(
        &'a self,
        _name: &'a Reference,
        _blob: &'a Arc<Growing>,
        _sent: &'a (dyn Fn(u64) + Send + Sync),
    ) -> BoxFuture<'a, bool> {
        Box::pin(std::future::ready(false))
    }

    /// How many blobs are best sent at the same time.
    fn at_once(&self) -> usize {
        AT_ONCE
    }

    /// Cancels what [`Push::find_blob`] began in the repository of `name` and no [`Push::push_blob`] went on with.
    fn abandon<'a>(&'a self, name: &'a Reference) -> BoxFuture<'a, ()>;

    /// Puts a manifest or index under its digest and, if `name` has a tag and no digest, under the tag.
    fn push_manifest<'a>(
        &'a self,
        name: &'a Reference,
        manifest: &'a Descriptor,
        bytes: &'a [u8],
    ) -> BoxFuture<'a, Result<(), PortError>>;
}
