//! Where blobs were seen: repositories that they were pulled from or pushed to. A push to another repository of the same
//! registry need not send them then.
//!
//! It is a memory and no promise: whoever uses it asks the registry. A program that knows nothing of it does it no harm,
//! so it is no part of the format's version: the table is made when there is first something to remember.

use oci::{Digest, Reference};
use rusqlite::{Connection, Transaction, params};

use crate::error::index_failed;
use crate::store::{LAST_USE_GRAIN, now};
use crate::{Error, Store};

const TABLE: &str = "CREATE TABLE IF NOT EXISTS places (
    digest TEXT NOT NULL, repository TEXT NOT NULL, seen INTEGER NOT NULL, PRIMARY KEY (digest, repository)
) WITHOUT ROWID";
/// What was not seen for so long is forgotten, whatever became of the blob: a quarter of a year.
const MEMORY: i64 = 90 * 24 * 60 * 60;
/// Of so many repositories a blob is known to be in.
const MOST: i64 = 4;

impl Store {
    /// The repositories that have some of `blobs`, so far as is known here: for each blob the last seen first.
    ///
    /// # Errors
    /// If the index cannot be read.
    pub fn places(&self, blobs: &[Digest]) -> Result<Vec<(Digest, Vec<Reference>)>, Error> {
        let connection = self.index().read();
        let read = || {
            if blobs.is_empty() || !has_table(&connection)? {
                return Ok(Vec::new());
            }
            let mut statement = connection
                .prepare_cached("SELECT repository FROM places WHERE digest = ?1 ORDER BY seen DESC, repository")?;
            let mut found = Vec::new();
            for digest in blobs {
                let rows = statement.query_map(params![digest.to_string()], |row| row.get::<_, String>(0))?;
                let names = rows.collect::<rusqlite::Result<Vec<_>>>()?;
                let names: Vec<Reference> = names.iter().filter_map(|name| name.parse().ok()).collect();
                if !names.is_empty() {
                    found.push((*digest, names));
                }
            }
            Ok(found)
        };
        read().map_err(index_failed("look for repositories"))
    }

    /// Remembers that the repository of `name` has `blobs`.
    ///
    /// # Errors
    /// If the index cannot be written.
    pub fn saw(&self, name: &Reference, blobs: &[Digest]) -> Result<(), Error> {
        let (repository, now) = (name.name(), now());
        let action = "remember a repository";
        // What is pushed again and again is written once.
        let unknown: Vec<Digest> = {
            let connection = self.index().read();
            let read = || {
                let known = |digest: &Digest| {
                    let sql = "SELECT 1 FROM places WHERE digest = ?1 AND repository = ?2 AND seen > ?3";
                    let mut statement = connection.prepare_cached(sql)?;
                    statement.exists(params![digest.to_string(), repository, now - LAST_USE_GRAIN])
                };
                if !has_table(&connection)? {
                    return Ok(blobs.to_vec());
                }
                let mut unknown = Vec::new();
                for digest in blobs {
                    if !known(digest)? {
                        unknown.push(*digest);
                    }
                }
                Ok(unknown)
            };
            read().map_err(index_failed(action))?
        };
        if unknown.is_empty() {
            return Ok(());
        }
        self.index().write(action, |transaction| {
            transaction.execute_batch(TABLE)?;
            transaction.execute("DELETE FROM places WHERE seen < ?1", params![now - MEMORY])?;
            for digest in unknown {
                transaction.execute(
                    "INSERT OR REPLACE INTO places (digest, repository, seen) VALUES (?1, ?2, ?3)",
                    params![digest.to_string(), repository, now],
                )?;
                transaction.execute(
                    "DELETE FROM places WHERE digest = ?1 AND repository NOT IN
                     (SELECT repository FROM places WHERE digest = ?1 ORDER BY seen DESC, repository LIMIT ?2)",
                    params![digest.to_string(), MOST],
                )?;
            }
            Ok(())
        })
    }
}

/// Forgets where the blob was, with the blob.
pub(crate) fn forget(transaction: &Transaction<'_>, digest: &str) -> rusqlite::Result<()> {
    if has_table(transaction)? {
        transaction.execute("DELETE FROM places WHERE digest = ?1", params![digest])?;
    }
    Ok(())
}

fn has_table(connection: &Connection) -> rusqlite::Result<bool> {
    connection
        .prepare_cached("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'places'")?
        .exists([])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        (folder, store)
    }

    fn name(text: &str) -> Reference {
        text.parse().unwrap()
    }

    #[test]
    fn a_blob_is_found_in_the_repositories_it_was_seen_in() {
        let (_directory, store) = store();
        let [one, other] = [Digest::of(b"one"), Digest::of(b"other")];
        assert_eq!(store.places(&[one]).unwrap(), []);
        store.saw(&name("h.io/base:1"), &[one]).unwrap();
        store.saw(&name("h.io/app:7"), &[one]).unwrap();
        let expected = vec![(one, vec![name("h.io/app"), name("h.io/base")])];
        assert_eq!(store.places(&[one, other]).unwrap(), expected);
    }

    #[test]
    fn a_few_repositories_are_remembered_and_forgotten_with_the_blob() {
        let (_directory, store) = store();
        let blob = store.put_blob(b"bytes").unwrap();
        for number in 0..9 {
            store.saw(&name(&format!("h.io/a{number}")), &[blob.digest]).unwrap();
        }
        assert_eq!(
            store.places(&[blob.digest]).unwrap()[0].1.len(),
            usize::try_from(MOST).unwrap()
        );
        store
            .index()
            .write("test", |transaction| forget(transaction, &blob.digest.to_string()))
            .unwrap();
        assert_eq!(store.places(&[blob.digest]).unwrap(), []);
    }
}
