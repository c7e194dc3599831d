//! Results that were recorded elsewhere: found by their keys, fetched as layers when their files are needed.
//!
//! The solver asks the store first and an [`Import`] second. What an import knows counts as a hit at once; its layers are
//! fetched only if something reads the files. If they cannot be had, the step is done here as if nothing had been known.

use std::sync::Arc;

use cache::CacheKey;
use oci::{BoxFuture, Descriptor, DiffId, ImageName};

/// Knows results recorded elsewhere.
pub trait Import: Send + Sync {
    /// What was recorded under `key`. Trouble with the other side is told by the import itself and counts as not knowing.
    fn find<'a>(&'a self, key: &'a CacheKey) -> BoxFuture<'a, Option<Arc<Imported>>>;
}

/// A result recorded elsewhere.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The key of the record, which may be another than was asked for.
    pub key: CacheKey,
    /// Where its layers are to be had.
    pub from: ImageName,
    /// The layers of the whole tree, lowest first.
    pub layers: Vec<(Descriptor, DiffId)>,
}
