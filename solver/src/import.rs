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

    /// What is known of an earlier result of `step`, which is to be done with `inputs`, whose key is `key`; nothing if the
    /// very result is known. Only what has been read by now is looked at.
    fn earlier(&self, key: &CacheKey, step: &str, inputs: &[(String, String)]) -> Option<Earlier> {
        let _ = (key, step, inputs);
        None
    }

    /// Ends when no more time is to be spent on waiting for what was found; time counts while somebody waits for that.
    fn patience(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::pending())
    }
}

/// A result of the same step with other inputs. Values are compared, and otherwise mean nothing.
#[derive(Clone, Debug)]
pub struct Earlier {
    /// Where it is recorded.
    pub place: String,
    /// Its named inputs.
    pub before: Vec<(String, String)>,
    /// Those of now, in the same form.
    pub now: Vec<(String, String)>,
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

/// Knows what will be wanted of the targets: whether a result that was found elsewhere is as good there.
pub trait Leave: Send + Sync {
    /// Whether all that will be wanted of the result can be had without its tree; sees to it where it can. Asked once for
    /// each target that was found elsewhere; if not, its layers are fetched or its step is done here.
    fn may_stay<'a>(&'a self, imported: &'a Imported) -> BoxFuture<'a, bool>;
}
