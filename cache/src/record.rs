//! Cache keys and what they led to.
//!
//! A key is a digest whose meaning the solver knows. A record says which snapshot a key gave, and of which named parts
//! the key was made, so that a miss can say what changed. An alias says that one key means the same as another.

use oci::Digest;
use rusqlite::{OptionalExtension, params};

use crate::error::index_failed;
use crate::lease::{Hold, ToHold};
use crate::store::{LAST_USE_GRAIN, now};
use crate::{Error, Snapshot, SnapshotId, Store};

/// Names equal work, for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CacheKey(pub Digest);

/// What a key led to.
#[derive(Clone, Debug)]
pub struct Record {
    /// The key the record was made under, which may be another than was asked for.
    pub key: CacheKey,
    /// The result.
    pub snapshot: Snapshot,
}

impl Store {
    /// What `key`, or the key it is an alias of, led to.
    ///
    /// # Errors
    /// If the index cannot be read.
    pub fn lookup(&self, key: &CacheKey) -> Result<Option<Record>, Error> {
        let found = self.find_and_hold(|| self.read_record(key))?;
        let Some((mut record, used)) = found else {
            return Ok(None);
        };
        record.snapshot = self.keep_loaded(&record.snapshot);
        if now() - used > LAST_USE_GRAIN {
            self.touch(&record.key.0, &record.snapshot.id())?;
        }
        Ok(Some(record))
    }

    /// The record, and when it was used; they count only if the snapshot is held.
    fn read_record(&self, key: &CacheKey) -> Result<Option<ToHold<(Record, i64)>>, Error> {
        let found: Option<(String, String, i64)> = self
            .index()
            .read()
            .prepare_cached(
                "SELECT key, snapshot, used FROM records
                 WHERE key = coalesce((SELECT key FROM records WHERE key = ?1),
                                      (SELECT target FROM aliases WHERE key = ?1))",
            )
            .and_then(|mut statement| {
                statement
                    .query_row(params![key.0.to_string()], |row| {
                        Ok((row.get(0)?, row.get(1)?, row.get(2)?))
                    })
                    .optional()
            })
            .map_err(index_failed("look up a key"))?;
        let Some((key, id, used)) = found else {
            return Ok(None);
        };
        let (Ok(key), Ok(id)) = (key.parse::<Digest>(), id.parse::<SnapshotId>()) else {
            return Ok(None);
        };
        let key = CacheKey(key);
        let snapshot = self.read_snapshot(&id)?;
        Ok(snapshot.map(|snapshot| (Hold::Snapshot(id), (Record { key, snapshot }, used))))
    }

    /// Notes that `key` leads to `snapshot`. `components` are the named parts of the key, `step` is the text of the
    /// step, by which its earlier records are found. An older record of the same key is replaced.
    ///
    /// # Errors
    /// If the index cannot be written.
    pub fn record(
        &self,
        key: &CacheKey,
        components: &[(String, String)],
        step: &str,
        snapshot: &Snapshot,
    ) -> Result<(), Error> {
        let components = serde_json::Value::from_iter(
            components
                .iter()
                .map(|(name, value)| serde_json::Value::from(vec![name.clone(), value.clone()])),
        );
        let now = now();
        self.index().write("record a key", |transaction| {
            transaction
                .prepare_cached(
                    "INSERT OR REPLACE INTO records (key, snapshot, step, components, created, used)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?5)",
                )?
                .execute(params![
                    key.0.to_string(),
                    snapshot.id().to_string(),
                    step,
                    components.to_string(),
                    now
                ])
        })?;
        Ok(())
    }

    /// Notes that `from` means the same as `to`.
    ///
    /// # Errors
    /// If the index cannot be written.
    pub fn alias(&self, from: &CacheKey, to: &CacheKey) -> Result<(), Error> {
        if from == to {
            return Ok(());
        }
        self.index().write("record an alias", |transaction| {
            transaction
                .prepare_cached("INSERT OR REPLACE INTO aliases (key, target) VALUES (?1, ?2)")?
                .execute(params![from.0.to_string(), to.0.to_string()])
        })?;
        Ok(())
    }

    /// The named parts of the newest key recorded for a step of this text.
    ///
    /// # Errors
    /// If the index cannot be read.
    pub fn components_of_latest(&self, step: &str) -> Result<Option<Vec<(String, String)>>, Error> {
        let text: Option<String> = self
            .index()
            .read()
            .prepare_cached("SELECT components FROM records WHERE step = ?1 ORDER BY created DESC, used DESC LIMIT 1")
            .and_then(|mut statement| statement.query_row(params![step], |row| row.get(0)).optional())
            .map_err(index_failed("look for an earlier record"))?;
        Ok(text.map(|text| serde_json::from_str(&text).unwrap_or_default()))
    }

    /// The named parts of a key.
    ///
    /// # Errors
    /// If the index cannot be read.
    pub fn components(&self, key: &CacheKey) -> Result<Option<Vec<(String, String)>>, Error> {
        let text: Option<String> = self
            .index()
            .read()
            .prepare_cached("SELECT components FROM records WHERE key = ?1")
            .and_then(|mut statement| {
                statement
                    .query_row(params![key.0.to_string()], |row| row.get(0))
                    .optional()
            })
            .map_err(index_failed("look for the parts of a key"))?;
        Ok(text.map(|text| serde_json::from_str(&text).unwrap_or_default()))
    }

    /// What the newest key led to that was recorded for a step of this text.
    ///
    /// # Errors
    /// If the index cannot be read.
    pub fn latest_of_step(&self, step: &str) -> Result<Option<Snapshot>, Error> {
        let id: Option<String> = self
            .index()
            .read()
            .prepare_cached("SELECT snapshot FROM records WHERE step = ?1 ORDER BY created DESC, used DESC LIMIT 1")
            .and_then(|mut statement| statement.query_row(params![step], |row| row.get(0)).optional())
            .map_err(index_failed("look for an earlier record"))?;
        match id.and_then(|id| id.parse::<SnapshotId>().ok()) {
            Some(id) => self.snapshot(&id),
            None => Ok(None),
        }
    }

    fn touch(&self, key: &Digest, snapshot: &SnapshotId) -> Result<(), Error> {
        let now = now();
        self.index().write("note a use", |transaction| {
            transaction.execute(
                "UPDATE records SET used = ?2 WHERE key = ?1",
                params![key.to_string(), now],
            )?;
            transaction.execute(
                "UPDATE snapshots SET used = ?2 WHERE id = ?1",
                params![snapshot.to_string(), now],
            )
        })?;
        Ok(())
    }
}
