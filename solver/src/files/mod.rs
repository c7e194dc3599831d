//! Files of contexts and trees: walking, hashing, copying. What COPY, ADD and WORKDIR do, without knowing of Dockerfiles.
//!
//! Blocking code on plain directories. A [`Context`] is the user's directory, walked once and hashed in place; a
//! [`Tree`] is one of these or the root of a snapshot. [`checksum`] tells what a copy would select, as a key; [`apply`]
//! does it. Whatever links a tree holds, nothing outside of it is read or written. Nothing here takes the time of the
//! build into a tree: two builds of the same inputs make the same one, to the byte.
//!
//! It does not know about cache keys, mounts or who a user's name belongs to: those are handed in.

mod apply;
mod archive;
mod checksum;
mod content;
mod context;
mod copy;
mod destination;
mod digests;
mod entries;
mod entry;
mod error;
mod filter;
mod missing;
mod path;
mod pool;
mod put;
mod reuse;
mod root;
mod select;
mod shown;
mod size;
mod small;
mod stat_cache;
mod transfer;
mod walk;

pub use apply::{ResolveOwner, Shown, Target, apply};
pub use archive::{is_archive_file, newest_in_archive};
pub use checksum::{checksum, components};
pub use context::Context;
pub use error::FilesError;
pub use reuse::{Reuse, is_list_of_files};
pub use root::read_file;
pub use select::Tree;
pub use shown::{checksum_of_path, components_of_path, copy_path, make_empty};
pub use size::{size, size_on_disk};
pub(crate) use small::small_files;
pub use stat_cache::{KnownFiles, is_list_of_digests};

#[cfg(test)]
mod tests;
