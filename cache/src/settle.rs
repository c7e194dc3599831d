//! Settling: what earlier processes wrote is made to survive a crash of the machine.
//!
//! Files are not flushed when they are written. Rows younger than a few minutes count until the kernel's next boot only, and
//! one `syncfs` for all of them lets them count for ever. That goes on beside a build, from its beginning: at the end it would
//! wait for all that the build itself has written, a second for each gigabyte and more. It waits for a disk that has little to
//! do, too, but not for ever.

use std::fs;
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::params;

use crate::error::{failed, index_failed};
use crate::store::now;
use crate::{Error, Store};

/// Rows younger than this are not worth a sync: the kernel has hardly begun to write their files.
const DUE: Duration = Duration::from_secs(120);
/// Rows older than this are settled whatever it takes.
const OVERDUE: Duration = Duration::from_secs(3600);
/// A sync of so many bytes is hardly felt.
const FEW: u64 = 64 << 20;

/// A sync that goes on. It is waited for when this is dropped: no process can end before.
#[derive(Debug)]
#[must_use = "dropping it waits for the sync"]
pub struct Settling(Option<JoinHandle<()>>);

impl Drop for Settling {
    fn drop(&mut self) {
        if let Some(thread) = self.0.take() {
            let _ = thread.join();
        }
    }
}

impl Store {
    /// Makes what earlier processes wrote survive a crash of the machine, if it is time to. For the beginning of a command: it
    /// costs a look at the index, and the rest goes on beside it.
    ///
    /// Failing to settle loses nothing: after a crash the rows are taken as absent.
    pub fn settle(&self) -> Settling {
        let is_due = self.oldest_unsettled().is_ok_and(|age| {
            age.is_some_and(|age| age >= OVERDUE || (age >= DUE && unwritten().is_none_or(|bytes| bytes <= FEW)))
        });
        if !is_due {
            return Settling(None);
        }
        let store = self.clone();
        let sync = move || {
            let _ = store.sync();
        };
        Settling(std::thread::Builder::new().name("settle".to_owned()).spawn(sync).ok())
    }

    /// The age of the oldest row that a crash of the machine would undo.
    fn oldest_unsettled(&self) -> Result<Option<Duration>, Error> {
        let oldest: Option<i64> = self
            .index()
            .read()
            .query_row(
                "SELECT min(created) FROM (SELECT min(created) AS created FROM blobs WHERE durable = 0
                 UNION ALL SELECT min(created) FROM snapshots WHERE durable = 0)",
                [],
                |row| row.get(0),
            )
            .map_err(index_failed("look for unsettled rows"))?;
        Ok(oldest.map(|oldest| Duration::from_secs(u64::try_from(now() - oldest).unwrap_or_default())))
    }

    fn sync(&self) -> Result<(), Error> {
        let _span = trace::span("settle");
        let began = now();
        rustix::fs::syncfs(self.gate().file()).map_err(failed("sync", self.home()))?;
        self.index().write("settle rows", |transaction| {
            // Seconds are coarse: a row of the second in which the sync began may be younger than the sync.
            for table in ["blobs", "snapshots"] {
                transaction.execute(
                    &format!("UPDATE {table} SET durable = 1 WHERE durable = 0 AND created < ?1 AND boot = ?2"),
                    params![began, self.boot()],
                )?;
            }
            Ok(())
        })
    }
}

/// How many bytes the disks of this machine have still to write, if the kernel tells.
fn unwritten() -> Option<u64> {
    let told = fs::read_to_string("/proc/meminfo").ok()?;
    let kibibytes = |name: &str| {
        let line = told.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    };
    Some((kibibytes("Dirty:")? + kibibytes("Writeback:")?) << 10)
}
