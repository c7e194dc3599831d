//! Stacks of layers: the tree that an image's list of layers is, as far as it is here.
//!
//! Layers that came from elsewhere are found by the name of their stack. An image that was built here is a stack of results
//! of steps, which say the same as its layers do: they become the image's tree as they are, under names of their own, and
//! nothing is unpacked.

use oci::{ChainId, Descriptor, DiffId};
use rusqlite::{OptionalExtension, params};

use crate::error::index_failed;
use crate::snapshot::Base;
use crate::{Error, Snapshot, SnapshotId, Store};

/// What is known of one layer of a stack that was made here.
#[derive(Clone, Copy)]
struct Known {
    diff_id: DiffId,
    newest: i64,
}

impl Store {
    /// The highest part of the stack of `layers`, lowest first, that is here as a tree, and how many layers it has.
    ///
    /// # Errors
    /// If the index cannot be read or written.
    pub fn stack(&self, layers: &[(Descriptor, DiffId)]) -> Result<(Option<Snapshot>, usize), Error> {
        let diff_ids: Vec<DiffId> = layers.iter().map(|(_, diff_id)| *diff_id).collect();
        let (mut top, present) = self.unpacked(&diff_ids)?;
        for count in (present + 1..=layers.len()).rev() {
            let Some(made) = self.made_here(&diff_ids[..count])? else {
                continue;
            };
            // A layer that has to be fetched to be passed on is unpacked on its way.
            if !self.has_all(&layers[present..count])? {
                continue;
            }
            for (at, (snapshot, known)) in made.into_iter().enumerate().skip(present) {
                top = Some(self.adopt(top.as_ref(), &snapshot, known, &layers[at].0)?);
            }
            return Ok((top, count));
        }
        Ok((top, present))
    }

    /// The highest part that has been a stack of layers before.
    fn unpacked(&self, diff_ids: &[DiffId]) -> Result<(Option<Snapshot>, usize), Error> {
        for present in (1..=diff_ids.len()).rev() {
            let chain = ChainId::of(&diff_ids[..present]).expect("at least one layer");
            if let Some(snapshot) = self.chain(&chain)? {
                return Ok((Some(snapshot), present));
            }
        }
        Ok((None, 0))
    }

    /// A stack of snapshots whose layers have these diff-ids.
    fn made_here(&self, diff_ids: &[DiffId]) -> Result<Option<Vec<(Snapshot, Known)>>, Error> {
        let Some(top) = diff_ids.last() else {
            return Ok(None);
        };
        for id in self.made_of_layer(*top)? {
            let Some(snapshot) = self.snapshot(&id)? else {
                continue;
            };
            let stack = snapshot.stack();
            if stack.len() != diff_ids.len() {
                continue;
            }
            let mut known = Vec::with_capacity(stack.len());
            for (snapshot, diff_id) in stack.into_iter().zip(diff_ids) {
                match self.known(&snapshot)? {
                    Some(layer) if layer.diff_id == *diff_id => known.push((snapshot, layer)),
                    _ => break,
                }
            }
            if known.len() == diff_ids.len() {
                return Ok(Some(known));
            }
        }
        Ok(None)
    }

    /// The snapshots that have this layer, or the one they came from has.
    fn made_of_layer(&self, diff_id: DiffId) -> Result<Vec<SnapshotId>, Error> {
        let list = || {
            let connection = self.index().read();
            let mut statement = connection.prepare_cached(
                "SELECT id FROM snapshots WHERE id IN (SELECT snapshot FROM layers WHERE diff_id = ?1)
                 UNION SELECT id FROM snapshots WHERE origin IN (SELECT snapshot FROM layers WHERE diff_id = ?1)",
            )?;
            let rows = statement.query_map(params![diff_id.0.to_string()], |row| row.get::<_, String>(0))?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        let ids = list().map_err(index_failed("look for a layer"))?;
        Ok(ids.iter().filter_map(|id| id.parse().ok()).collect())
    }

    /// What the layer of a snapshot is, if it has been asked for.
    fn known(&self, snapshot: &Snapshot) -> Result<Option<Known>, Error> {
        if let Some(base) = snapshot.base() {
            return Ok(Some(Known {
                diff_id: base.diff_id,
                newest: base.newest,
            }));
        }
        let maker = snapshot.origin().unwrap_or(snapshot);
        if maker.base().is_some() {
            return self.known(maker);
        }
        // With times as they are in the files: only that layer says what the files do.
        let found: Option<(String, i64)> = self
            .index()
            .read()
            .prepare_cached(
                "SELECT diff_id, newest FROM layers WHERE snapshot = ?1 AND compression NOT LIKE '% until %' LIMIT 1",
            )
            .and_then(|mut statement| {
                statement
                    .query_row(params![maker.id().to_string()], |row| Ok((row.get(0)?, row.get(1)?)))
                    .optional()
            })
            .map_err(index_failed("look for a layer"))?;
        Ok(found.and_then(|(diff_id, newest)| {
            Some(Known {
                diff_id: DiffId(diff_id.parse().ok()?),
                newest,
            })
        }))
    }

    fn has_all(&self, layers: &[(Descriptor, DiffId)]) -> Result<bool, Error> {
        for (layer, _) in layers {
            if self.content(&layer.digest)?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Makes the changes of `made` the layer `blob` of an image, on top of `parent`.
    fn adopt(
        &self,
        parent: Option<&Snapshot>,
        made: &Snapshot,
        known: Known,
        blob: &Descriptor,
    ) -> Result<Snapshot, Error> {
        let below = parent.map(|parent| parent.chain_id().expect("the stack below has a name"));
        let base = Base {
            chain: ChainId::extend(below, known.diff_id),
            diff_id: known.diff_id,
            blob: Descriptor::new(&blob.media_type, blob.digest, blob.size),
            newest: known.newest,
        };
        self.keep_shared(parent, made.origin().unwrap_or(made), Some(base))
    }
}
