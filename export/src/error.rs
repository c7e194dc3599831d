//! Why an image could not be made or put somewhere.

use std::io;
use std::path::{Path, PathBuf};

use oci::Digest;

/// Why an export failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The text after `-o` cannot be followed.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// The store failed.
    #[error(transparent)]
    Store(Box<cache::Error>),
    /// A document in the store is not what its name says.
    #[error("cannot read image `{digest}` from the store")]
    Document {
        /// Of the document.
        digest: Digest,
        /// What is wrong with it.
        source: Box<oci::Error>,
    },
    /// A name in the store leads to several images where one is needed.
    #[error("`{0}` is an index of several images, not an image")]
    Several(Digest),
    /// A part of an image is not in the store.
    #[error("the store lacks blob `{0}`, a part of the image: pull or build the image again")]
    MissingBlob(Digest),
    /// A configuration without what every image must state.
    #[error("invalid image configuration: `{0}` is missing")]
    IncompleteConfig(&'static str),
    /// Recorded results that cannot be used.
    #[error("not a list of recorded results: {0}")]
    Records(String),
    /// An annotation of an index, where there is none.
    #[error("index annotations not supported for single platform export")]
    IndexAnnotation,
    /// Several images for what holds one.
    #[error("docker exporter does not support exporting manifest lists, use the oci exporter instead")]
    ManifestList,
    /// The trees of two platforms meet in one place.
    #[error("cannot overwrite {path} from {first} with {second} when split option is disabled")]
    Collision {
        /// From the root.
        path: String,
        /// Which platform has it.
        first: String,
        /// Which has it too.
        second: String,
    },
    /// The registry did not take the image.
    #[error("failed to push `{name}`")]
    Push {
        /// The image's name.
        name: oci::Reference,
        /// Why not.
        source: Box<oci::PortError>,
    },
    /// A directory where a file is to be written.
    #[error("destination `{0}` is a directory, but a file is to be written")]
    DestinationIsDirectory(PathBuf),
    /// A file where a directory is to be written.
    #[error("destination `{0}` is not a directory")]
    DestinationIsNoDirectory(PathBuf),
    /// An index that is there already, but is none.
    #[error("`{path}` is there already and is not the index of an OCI layout")]
    ForeignIndex {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A file that did not keep its size while it was read.
    #[error("`{path}` changed while it was read: {read} bytes instead of {expected}")]
    Changed {
        /// The file.
        path: PathBuf,
        /// Its size at first.
        expected: u64,
        /// What was there to read.
        read: u64,
    },
    /// Reading or writing failed.
    #[error("cannot {action} `{path}`")]
    Io {
        /// What was being done: `read`, `write`, …
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Writing the archive failed: a full disk, a closed pipe.
    #[error("cannot write the archive")]
    Write(#[source] io::Error),
}

impl From<cache::Error> for Error {
    fn from(error: cache::Error) -> Error {
        Error::Store(Box::new(error))
    }
}

impl Error {
    /// For `map_err` of what is done to the file `path`.
    pub(crate) fn io<E: Into<io::Error>>(action: &'static str, path: &Path) -> impl FnOnce(E) -> Error {
        move |error| Error::Io {
            action,
            path: path.to_owned(),
            source: error.into(),
        }
    }
}

/// What is wrong with the text after `-o`.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutputError {
    /// Not comma-separated fields: a quote in the wrong place.
    #[error("invalid output `{text}`: {reason}")]
    Syntax {
        /// The whole text.
        text: String,
        /// Which rule it breaks.
        reason: &'static str,
    },
    /// A field that is not `key=value`.
    #[error("invalid output field `{0}`: expected `key=value`")]
    Field(String),
    /// The same key twice.
    #[error("output key `{0}` is given twice")]
    Twice(String),
    /// There is no such type.
    #[error("unknown output type `{name}`{}", hint(suggestion.as_deref()))]
    UnknownType {
        /// As given.
        name: String,
        /// What may have been meant.
        suggestion: Option<&'static str>,
    },
    /// The type has no such key.
    #[error("unknown key `{key}` for output type `{output}`{}", hint(suggestion.as_deref()))]
    UnknownKey {
        /// As given.
        key: String,
        /// The type.
        output: &'static str,
        /// What may have been meant.
        suggestion: Option<&'static str>,
    },
    /// The value is none that the key can have.
    #[error("invalid value `{value}` for output key `{key}`: expected {expected}")]
    Value {
        /// The key.
        key: String,
        /// As given.
        value: String,
        /// What would do.
        expected: &'static str,
    },
    /// A name that is none.
    #[error("invalid name in output")]
    Name(#[source] NameError),
    /// Without it nothing can be done.
    #[error("`{key}` is required for output type `{output}`")]
    Required {
        /// The key.
        key: &'static str,
        /// The type.
        output: &'static str,
    },
    /// No type at all.
    #[error("`type` is required in output `{0}`")]
    NoType(String),
    /// What is unpacked has the times it has.
    #[error("exporter option \"rewrite-timestamp\" conflicts with \"unpack\"")]
    RewriteUnpacked,
    /// BuildKit can, rbuild cannot.
    #[error("output `{0}` is not supported yet")]
    Unsupported(String),
    /// An annotation that is none.
    #[error("invalid annotation {0:?}, expected key=value")]
    Annotation(String),
    /// There is nothing of that kind to annotate.
    #[error("unknown annotation type {0:?}")]
    AnnotationType(String),
}

/// [`oci::Error`] with equality, by its text.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NameError(pub String);

fn hint(suggestion: Option<&str>) -> String {
    suggestion.map_or_else(String::new, |word| format!("; did you mean `{word}`?"))
}
