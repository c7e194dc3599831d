//! What is kept between builds: blobs, snapshots, layers, cache keys and image names, in one directory that any number
//! of processes share.
//!
//! ```text
//! ROOT/v1/                         the format's version is in the name
//! ├── index.db                     SQLite: what there is, and why
//! ├── blobs/sha256/<hex>           content by digest, as in an OCI layout; plain layers of ours are not written
//! ├── snapshots/<id>/              the files of one snapshot, without those below it
//! ├── active/<lease>-<n>/          snapshots being made: upper, work, merged
//! ├── tmp/<lease>-<n>              files being written, mount points, copies of trees, trees being removed
//! ├── leases/<lease>               locked while its process lives; lists what it holds
//! ├── locks/                       `gc` (see `gate.rs`), and one for each key or layer being worked on
//! ├── logs/<build>/<name>          full output of steps
//! ├── caches/<key>-<n>/            directories that steps keep from build to build
//! ├── stat/<name>                  files that others keep here
//! └── empty/                       the bottom of every overlay
//! ```
//!
//! **Snapshots are overlay layers.** A snapshot directory holds what an overlay's upper directory would hold: a removed
//! name is a character device 0:0, a directory that hides the ones below has the attribute `user.overlay.opaque=y`.
//! Overlays are always mounted with `userxattr`, so one form serves root and user namespaces. What a step changed is
//! its upper directory: nothing is ever compared by walking whole roots. Where nothing can be mounted that is done
//! nevertheless, on copies, and comes to the same directories; see `copied.rs`.
//!
//! **Nothing waits for the disk.** Files are written under a temporary name and renamed, so that a killed process never
//! leaves half a file under a name that counts. They are not synced one by one: that only matters when the *kernel* goes
//! down, and costs more than the build's own work. Instead each row of the index carries the id of the boot it was
//! written in. After a crash of the machine the rows of earlier boots not marked durable are taken as absent and their
//! files are removed; [`Store::settle`] marks rows durable after a single sync of the file system, and only when they
//! are old enough for that to be cheap.
//!
//! **Nobody cleans up behind a running process.** Whatever is unfinished carries the name of its process's lease; see
//! `lease.rs`. Finished things go only in [`Store::prune`], and only those that no running process holds; see `gate.rs`.
//!
//! What this crate does not do: know what a cache key means, what an image configuration says, or where blobs come from.
#![forbid(unsafe_code)]

mod blob;
mod blocks;
mod content;
mod copied;
mod diff;
mod directory;
mod encoder;
mod error;
mod extract;
mod frames;
mod fsck;
mod gate;
mod gc;
mod gzip;
pub mod headers;
mod image;
mod index;
mod layer;
mod lease;
mod lock;
mod members;
mod mount_points;
mod overlay;
mod owner;
mod pieces;
mod places;
mod probe;
mod record;
mod remove;
mod remover;
mod scratch;
mod settle;
mod snapshot;
mod space;
mod spares;
mod stack;
mod store;
mod tar_reader;
mod tar_writer;
#[doc(hidden)]
pub mod testing;
mod tree;
mod unpack;
mod usage;
mod views;

pub use blob::{BlobFile, BlobWriter};
pub use content::{Content, LayerArchive};
pub use directory::{CacheDirectory, Company, Found};
pub use error::{Error, shown};
pub use fsck::{Checked, Fault, Finding, Fsck, Repair, Subject};
pub use gc::{Prune, Pruned};
pub use image::StoredImage;
pub use layer::{Compression, Layer, LayerSoFar, Watch};
pub use lock::{Attempt, KeyLock};
pub use mount_points::MountPoints;
pub use overlay::MOST_LAYERS;
pub use owner::{Owner, Owners, Ownership};
pub use probe::Probe;
pub use record::{CacheKey, Record};
pub use scratch::Scratch;
pub use settle::Settling;
pub use snapshot::{ActiveSnapshot, Snapshot, SnapshotId};
pub use space::{Amount, Holding, Limits, default_min_free};
pub use store::Store;
pub use tree::Tree;
pub use unpack::UnpackedLayer;
pub use usage::{Usage, UsageKind, User};
pub use views::Views;
