//! A built snapshot and an image configuration, put where the user asked for them.
//!
//! ```text
//! -o text        -> OutputSpec        what is wanted, and where                     output
//! snapshot       -> Image             layers, configuration, manifest in the store  image, history
//! Images         -> Bundle            one alone, or an index of several                 bundle
//! Bundle         -> a name            to_store
//!                -> the same, smaller compress
//!                -> a registry        to_registry
//!                -> an OCI layout     to_layout_archive, to_layout_directory
//!                -> docker load       to_docker_archive
//! the same as a file, begun while layers are compressed  draft
//! mounted trees  -> a directory       to_directory
//!                -> one tar archive   to_tar
//! results of steps -> a cache manifest, or a part of an image's configuration  records
//! what came out  -> Receipt           digests and names, for people and for --metadata-file
//! ```
//!
//! The same snapshot, configuration and [`Assembly`] give the same bytes everywhere: entries are sorted, JSON is
//! stable, and no clock is read. Times in an image are those of its files and of its base.
//!
//! What this crate does not do: make layers (`cache` does), speak HTTP (it is handed an [`oci::Push`]), print, or ask
//! whether standard output is a terminal.
#![forbid(unsafe_code)]

mod annotation;
mod archive;
mod at_once;
mod bundle;
mod compress;
mod csv;
mod dest;
mod draft;
mod error;
mod history;
mod image;
mod output;
mod receipt;
pub mod records;
#[cfg(test)]
mod testing;
mod to_directory;
mod to_docker;
mod to_layout;
mod to_registry;
mod to_store;
mod to_tar;
mod tree;
mod walk;

pub use annotation::{Annotation, AnnotationTarget, Annotations};
pub use bundle::Bundle;
pub use csv::split as split_fields;
pub use dest::to_file;
pub use draft::{Begun, Draft, GoOn};
pub use error::{Error, OutputError};
pub use image::{Assembly, Image, Media, Progress, assemble, assemble_elsewhere, load};
pub use output::compression;
pub use output::{ArchiveDest, ArchiveForm, Epoch, FileDest, ImageOptions, OutputSpec};
pub use receipt::{Receipt, metadata_json};
pub use to_directory::{Skipped, Stale, to_directory};
pub use to_docker::to_docker_archive;
pub use to_layout::{to_layout_archive, to_layout_directory};
pub use to_registry::{item_of, layer_to_registries, to_registry};
pub use to_store::to_store;
pub use to_tar::to_tar;
pub use tree::{Tree, refuse_collisions};
