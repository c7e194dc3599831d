//! The index: an SQLite database of what the store holds and why.
//!
//! It holds names, sizes and relations; content is in files. Several processes use it at once: WAL mode, every write a
//! `BEGIN IMMEDIATE` transaction, and a patient busy timeout. `synchronous=NORMAL` may lose the last transactions when
//! the power fails but never corrupts; what that means for the files is told in [`crate`].
//!
//! The statements live with the nouns they are about (`blob.rs`, `snapshot.rs`, …); here is only how to reach them.

mod map;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior};

use crate::Error;
use crate::error::index_failed;

/// `rbld`, by which file(1) and we know the database.
const APPLICATION: i32 = 0x7262_6c64;
const VERSION: i32 = 4;
/// How long another process may keep the database busy.
const PATIENCE: Duration = Duration::from_secs(30);
/// A journal of at least this many bytes is moved into the database by the last process that closes it.
const LONG_JOURNAL: u64 = 256 << 10;
/// Between two tries to open it.
const PAUSE: Duration = Duration::from_millis(5);

/// `boot` and `durable` say whether the files of a row have certainly reached the disk.
const SCHEMA: &str = "
CREATE TABLE blobs (
    digest TEXT PRIMARY KEY, size INTEGER NOT NULL,
    created INTEGER NOT NULL, used INTEGER NOT NULL, boot TEXT NOT NULL, durable INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE TABLE snapshots (
    id TEXT PRIMARY KEY, parent TEXT, origin TEXT, chain TEXT UNIQUE,
    diff_id TEXT, blob TEXT, blob_size INTEGER, blob_type TEXT, newest INTEGER, size INTEGER,
    created INTEGER NOT NULL, used INTEGER NOT NULL, boot TEXT NOT NULL, durable INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX snapshots_parent ON snapshots (parent);
CREATE TABLE layers (
    snapshot TEXT NOT NULL, compression TEXT NOT NULL,
    digest TEXT NOT NULL, size INTEGER NOT NULL, diff_id TEXT NOT NULL, newest INTEGER NOT NULL,
    PRIMARY KEY (snapshot, compression)
) WITHOUT ROWID;
CREATE TABLE records (
    key TEXT PRIMARY KEY, snapshot TEXT NOT NULL, step TEXT NOT NULL, components TEXT NOT NULL,
    created INTEGER NOT NULL, used INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX records_snapshot ON records (snapshot);
CREATE INDEX records_step ON records (step, created);
CREATE TABLE aliases (key TEXT PRIMARY KEY, target TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX aliases_target ON aliases (target);
CREATE TABLE images (
    name TEXT PRIMARY KEY, media_type TEXT NOT NULL, digest TEXT NOT NULL, size INTEGER NOT NULL, updated INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX blobs_unsettled ON blobs (created) WHERE durable = 0;
CREATE INDEX snapshots_unsettled ON snapshots (created) WHERE durable = 0;
";

/// The open database.
#[derive(Debug)]
pub(crate) struct Index {
    connection: Mutex<Connection>,
    journal: PathBuf,
}

impl Drop for Index {
    /// SQLite would move the journal into the database and remove it, which with what the next build needs to begin
    /// another takes four flushes: a third of the time of a build that finds everything done, while the disk is busy. A
    /// short one stays; who comes next reads at most 64 pages of it.
    fn drop(&mut self) {
        let is_short = std::fs::metadata(&self.journal).is_ok_and(|journal| journal.len() < LONG_JOURNAL);
        // If it cannot be asked to, closing only takes longer.
        let _ = self
            .read()
            .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, is_short);
    }
}

impl Index {
    /// Opens the database at `path`, which is made if there is none.
    ///
    /// While another process makes it, or cleans up as the last one that had it open, SQLite may refuse at once, whatever
    /// the timeout ([Sometimes Queries Return SQLITE_BUSY In WAL Mode](https://sqlite.org/wal.html)): so it is tried
    /// again.
    pub(crate) fn open(path: &Path) -> Result<Index, Error> {
        let begin = Instant::now();
        loop {
            match Index::try_to_open(path) {
                Err(error) if is_busy(&error) && begin.elapsed() < PATIENCE => std::thread::sleep(PAUSE),
                outcome => return outcome,
            }
        }
    }

    fn try_to_open(path: &Path) -> Result<Index, Error> {
        let has_holes = map::has_holes(path)?;
        let mut connection = Connection::open(path).map_err(index_failed("open the database"))?;
        connection.busy_timeout(PATIENCE).map_err(index_failed("wait"))?;
        connection.set_prepared_statement_cache_capacity(64);
        connection
            .execute_batch("PRAGMA synchronous = NORMAL")
            .map_err(index_failed("choose when to flush"))?;
        if version(&connection)? == 0 {
            // Kept in the file from here on.
            connection
                .execute_batch("PRAGMA journal_mode = WAL")
                .map_err(index_failed("choose the journal"))?;
            create(&mut connection)?;
        }
        if (1..VERSION).contains(&version(&connection)?) {
            upgrade(&mut connection)?;
        }
        check(&connection, path)?;
        if has_holes {
            map::fill_holes(path)?;
        }
        Ok(Index {
            connection: Mutex::new(connection),
            journal: path.with_extension("db-wal"),
        })
    }

    /// The database for reading, to one thread at a time.
    pub(crate) fn read(&self) -> MutexGuard<'_, Connection> {
        // A thread that panicked left no transaction open: dropping one rolls it back.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does `work` in one transaction, which is undone if `work` fails.
    pub(crate) fn write<T>(
        &self,
        action: &'static str,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, Error> {
        self.write_with_files(action, |transaction| work(transaction).map_err(index_failed(action)))
    }

    /// As [`Index::write`], for work that moves files too: no two processes do theirs at once.
    pub(crate) fn write_with_files<T>(
        &self,
        action: &'static str,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut connection = self.read();
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(index_failed(action))?;
        let outcome = work(&transaction)?;
        transaction.commit().map_err(index_failed(action))?;
        Ok(outcome)
    }
}

fn is_busy(error: &Error) -> bool {
    let Error::Index { source, .. } = error else {
        return false;
    };
    matches!(
        source.sqlite_error_code(),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
    )
}

fn version(connection: &Connection) -> Result<i32, Error> {
    connection
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .map_err(index_failed("read the version"))
}

/// Makes the tables, unless another process is quicker.
fn create(connection: &mut Connection) -> Result<(), Error> {
    let mut attempt = || {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let version: i32 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        if version == 0 {
            transaction.execute_batch(SCHEMA)?;
            transaction.execute_batch(ADDED_BY_3)?;
            transaction.pragma_update(None, "application_id", APPLICATION)?;
            transaction.pragma_update(None, "user_version", VERSION)?;
        }
        transaction.commit()
    };
    attempt().map_err(index_failed("make the tables"))
}

/// Version 4 has the tables of version 3, whose programs prune without asking what others hold.
///
/// What version 3 has beyond version 2, whose programs do not know that named images may need snapshots.
const ADDED_BY_3: &str = "
CREATE INDEX layers_digest ON layers (digest);
CREATE INDEX layers_diff_id ON layers (diff_id);
CREATE INDEX snapshots_origin ON snapshots (origin) WHERE origin IS NOT NULL;
";

/// Adds what earlier versions lacked, unless another process is quicker.
fn upgrade(connection: &mut Connection) -> Result<(), Error> {
    let mut attempt = || {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let version: i32 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        if version == 1 {
            transaction.execute_batch("ALTER TABLE snapshots ADD COLUMN origin TEXT")?;
        }
        if version < 3 {
            transaction.execute_batch(ADDED_BY_3)?;
        }
        if version < VERSION {
            transaction.pragma_update(None, "user_version", VERSION)?;
        }
        transaction.commit()
    };
    attempt().map_err(index_failed("bring up to date"))
}

fn check(connection: &Connection, path: &Path) -> Result<(), Error> {
    let refuse = |reason| {
        Err(Error::ForeignIndex {
            path: path.to_owned(),
            reason,
        })
    };
    let application: i32 = connection
        .query_row("PRAGMA application_id", [], |row| row.get(0))
        .map_err(index_failed("read the application id"))?;
    if application != APPLICATION {
        return refuse(format!("its application id is {application:#x}, not {APPLICATION:#x}"));
    }
    let version = version(connection)?;
    if version != VERSION {
        return refuse(format!("its version is {version}, not {VERSION}"));
    }
    Ok(())
}
