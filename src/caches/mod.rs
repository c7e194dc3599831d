//! Results of steps in other places: found there for `--cache-from`, put there for `--cache-to`.
//!
//! ```text
//! Shelves   one Shelf for each place: a list of results and their blobs          shelf; registry, folder, bucket, github
//! Imports   the lists of --cache-from, read while the build is planned           import
//! Harvest   what a build found out, to be kept: blobs first, then the list       export
//! publish   the list joined with that of whoever wrote meanwhile                 publish
//! Budget    how long the build waits for all this                                budget
//! Silent    how long it waits for a place that says nothing                      silence
//! ```
//!
//! Nothing is waited for that the build does not lack: the lists are read in the background, and a list is only waited for
//! when the store has no result of a step. A place that cannot be read is told of in one line and counts as empty.
//! Layers are fetched by the solver, if something needs their files.

mod bucket;
mod budget;
mod export;
mod folder;
mod github;
mod import;
mod publish;
mod registry;
mod shelf;
mod silence;

pub(crate) use budget::Budget;
pub(crate) use export::Harvest;
pub(crate) use import::Imports;
pub(crate) use shelf::{Shelf, Shelves};
pub(crate) use silence::{Silent, unless_silent};
