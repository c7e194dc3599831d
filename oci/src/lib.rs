//! The image-spec in types: digests, names, platforms, descriptors, manifests, image configurations, image layouts,
//! and the two ports through which the rest of rbuild reaches images without knowing about HTTP.
//!
//! The words are those of the [OCI image specification](https://github.com/opencontainers/image-spec):
//!
//! | word | meaning |
//! |---|---|
//! | blob | bytes named by their digest |
//! | descriptor | media type, digest and size of a blob |
//! | layer | a tar archive of changes; its *digest* is that of the blob as stored, its *diff-id* that of the plain tar |
//! | chain-id | the name of a stack of layers: a hash over diff-ids |
//! | manifest | one configuration descriptor and the layer descriptors, for one platform |
//! | index | descriptors of manifests, one for each platform, or of more indexes |
//! | reference | the name of an image: host, repository, tag or digest |
//!
//! What this crate does not do: talk to a network (`registry` does), keep anything (`cache` does), know of builds.
//! The only IO is in [`layout`], in one directory or archive that it is handed, and in the file behind a [`Growing`] blob.
#![forbid(unsafe_code)]

mod config;
pub mod descent;
mod descriptor;
mod digest;
mod error;
mod growing;
pub mod layout;
mod manifest;
pub mod media_type;
mod platform;
mod port;
mod reference;

pub use config::{Empty, Healthcheck, History, ImageConfig, RootFs, RunConfig};
pub use descent::Descent;
pub use descriptor::Descriptor;
pub use digest::{ChainId, DiffId, Digest, Hasher};
pub use error::Error;
pub use growing::{End, Growing};
pub use layout::{Layout, Layouts};
pub use manifest::{Index, Manifest, ManifestKind};
pub use platform::Platform;
pub use port::{Blob, BoxFuture, Fetch, ImageName, PortError, Push, ResolvedImage};
pub use reference::Reference;
