//! Snapshots: their places, what they stand on, and their files.

use std::collections::BTreeMap;

use oci::{ChainId, DiffId, Digest};
use rusqlite::{OptionalExtension, params};

use super::rows::{is_directory, layers_of};
use super::{Checking, Fault, Subject, each_row};
use crate::blocks::{Hashed, Nowhere};
use crate::error::{failed, index_failed};
use crate::layer::latest_of_form;
use crate::snapshot::Base;
use crate::{Error, Snapshot, SnapshotId, Store, diff, gc};

/// What the index says of a snapshot.
struct Row {
    parent: Option<String>,
    origin: Option<String>,
    chain: Option<String>,
    diff_id: Option<String>,
    blob: Option<String>,
}

impl Checking<'_, '_> {
    pub(super) fn snapshots(&mut self) -> Result<(), Error> {
        let query = "SELECT id, parent, origin, chain, diff_id, blob FROM snapshots WHERE id > ?1 ORDER BY id LIMIT ?2";
        each_row(
            self.store,
            query,
            |row| {
                Ok(Row {
                    parent: row.get(1)?,
                    origin: row.get(2)?,
                    chain: row.get(3)?,
                    diff_id: row.get(4)?,
                    blob: row.get(5)?,
                })
            },
            |id, row| {
                // It may have been forgotten with what it stood on.
                if !super::is_known(self.store, KNOWN, &id)? {
                    return Ok(());
                }
                let fault = match self.fault_of_row(&id, &row)? {
                    None => self.fault_of_tree(&id, &row)?,
                    fault => fault,
                };
                match fault {
                    None => Ok(()),
                    Some(fault) => self.find_and_mend(Subject::Snapshot(id.clone()), fault, |store| {
                        forget_snapshot(store, &id)
                    }),
                }
            },
        )
    }

    fn fault_of_row(&self, id: &str, row: &Row) -> Result<Option<Fault>, Error> {
        if id.parse::<SnapshotId>().is_err() {
            return Ok(Some(Fault::Malformed));
        }
        for other in [&row.parent, &row.origin].into_iter().flatten() {
            if !super::is_known(self.store, KNOWN, other)? {
                return Ok(Some(Fault::Lacks(format!("snapshot `{other}`"))));
            }
        }
        let directory = self.store.path("snapshots").join(id);
        if row.origin.is_none() {
            match is_directory(&directory) {
                Ok(true) => {}
                Ok(false) => return Ok(Some(Fault::Missing(directory))),
                Err(error) => return Ok(Some(Fault::Unreadable(error))),
            }
        }
        match (&row.chain, &row.diff_id, &row.blob) {
            (None, None, None) => Ok(None),
            (Some(chain), Some(diff_id), Some(_)) => self.fault_of_chain(row, chain, diff_id),
            _ => Ok(Some(Fault::Malformed)),
        }
    }

    /// The name of a stack of layers is made of the names of the layers.
    fn fault_of_chain(&self, row: &Row, chain: &str, diff_id: &str) -> Result<Option<Fault>, Error> {
        let below: Option<String> = match &row.parent {
            None => None,
            Some(parent) => self
                .store
                .index()
                .read()
                .prepare_cached("SELECT chain FROM snapshots WHERE id = ?1")
                .and_then(|mut statement| statement.query_row(params![parent], |row| row.get(0)).optional())
                .map_err(index_failed("look for a snapshot"))?
                .flatten(),
        };
        let below = match below.map(|below| below.parse::<Digest>()) {
            None if row.parent.is_none() => None,
            Some(Ok(below)) => Some(ChainId(below)),
            _ => return Ok(Some(Fault::Malformed)),
        };
        let Ok(diff_id) = diff_id.parse::<Digest>() else {
            return Ok(Some(Fault::Malformed));
        };
        let expected = ChainId::extend(below, DiffId(diff_id)).to_string();
        Ok((expected != chain).then(|| Fault::Changed {
            expected,
            actual: chain.to_owned(),
        }))
    }

    fn fault_of_tree(&mut self, id: &str, row: &Row) -> Result<Option<Fault>, Error> {
        // Its files are another's, and looked at there.
        if row.origin.is_some() {
            return Ok(None);
        }
        let snapshot = match id.parse::<SnapshotId>() {
            Ok(id) => self.store.read_snapshot(&id)?,
            Err(_) => None,
        };
        let Some(snapshot) = snapshot else {
            return Ok(Some(Fault::Malformed));
        };
        // What is missing below is found there, and all above goes with it.
        for below in snapshot.stack() {
            match is_directory(&below.directory()) {
                Ok(true) => {}
                Ok(false) => return Ok(None),
                Err(error) => return Ok(Some(Fault::Unreadable(error))),
            }
        }
        let layers = layers_of(self.store, id)?;
        let mut expected: BTreeMap<Option<i64>, String> = BTreeMap::new();
        for layer in layers {
            expected.insert(latest_of_form(&layer.form), layer.diff_id);
        }
        let base = snapshot.base().cloned();
        match expected.is_empty() && base.is_none() {
            true => self.checked.trees_read += 1,
            false => self.checked.trees += 1,
        }
        if expected.is_empty() || base.is_some() {
            let archive = match archive(&snapshot, None) {
                Ok(archive) => archive,
                Err(error) => return Ok(Some(Fault::Unreadable(error))),
            };
            if let Some(base) = &base
                && let Some(fault) = self.fault_of_unpacked(&snapshot, base, archive)?
            {
                return Ok(Some(fault));
            }
        }
        for (latest, expected) in expected {
            match archive(&snapshot, latest) {
                Ok(actual) if actual.to_string() == expected => {}
                Ok(actual) => {
                    let actual = actual.to_string();
                    return Ok(Some(Fault::Changed { expected, actual }));
                }
                Err(error) => return Ok(Some(Fault::Unreadable(error))),
            }
        }
        Ok(None)
    }

    /// Compares an unpacked layer with what its blob unpacks to.
    fn fault_of_unpacked(&self, snapshot: &Snapshot, base: &Base, actual: Digest) -> Result<Option<Fault>, Error> {
        let Some(content) = self.store.content(&base.blob.digest)? else {
            // A plain archive of ours may be gone with the tree it was made of.
            let is_plain = base.blob.digest == base.diff_id.0;
            let may_be_gone = is_plain || self.store.is_emptied(&base.blob.digest);
            return Ok((!may_be_gone).then(|| Fault::Lacks(format!("blob `{}`", base.blob.digest))));
        };
        let again = content.open().and_then(|bytes| {
            let layer = self.store.unpack_layer(&base.blob, base.diff_id, bytes, &|_| {})?;
            self.store.archive_of_unpacked(snapshot.parent().as_ref(), layer)
        });
        Ok(match again {
            Ok(expected) if expected == actual => None,
            Ok(expected) => Some(Fault::Changed {
                expected: expected.to_string(),
                actual: actual.to_string(),
            }),
            Err(error) => Some(Fault::Unreadable(error)),
        })
    }
}

const KNOWN: &str = "SELECT 1 FROM snapshots WHERE id = ?1";

/// The digest of the plain archive of a snapshot's changes.
pub(crate) fn archive(snapshot: &Snapshot, latest: Option<i64>) -> Result<Digest, Error> {
    let (hashed, _) = diff::write(snapshot, Hashed::new(Nowhere), latest)?;
    let (Nowhere, digest) = hashed.finish().map_err(failed("hash", &snapshot.directory()))?;
    Ok(digest)
}

/// Forgets a snapshot, all that stands on it and all that shares its files.
fn forget_snapshot(store: &Store, id: &str) -> Result<(), Error> {
    let lost = store.index().write("forget a snapshot", |transaction| {
        let mut statement = transaction.prepare_cached(
            "WITH RECURSIVE lost (id) AS (
                 SELECT ?1
                 UNION
                 SELECT snapshots.id FROM snapshots JOIN lost ON snapshots.parent = lost.id OR snapshots.origin = lost.id
             )
             SELECT id FROM lost",
        )?;
        let lost = statement.query_map(params![id], |row| row.get::<_, String>(0))?;
        let lost: Vec<String> = lost.collect::<rusqlite::Result<_>>()?;
        for id in &lost {
            gc::delete_snapshot(transaction, id)?;
        }
        Ok(lost)
    })?;
    for id in lost {
        // A name that is none leads nowhere.
        if id.parse::<SnapshotId>().is_ok() {
            store.remove(&store.path("snapshots").join(&id))?;
        }
    }
    Ok(())
}
