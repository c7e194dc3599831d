//! Pruning: removing what nobody needs, beside whatever else goes on.
//!
//! What named images need is never removed: blobs, and the snapshots that their plain layers are made of. Neither is what a
//! running process holds; `gate.rs` tells why that is certain. The rest goes least recently used first, what stands on
//! something before that, and the blob a base image's layer came in only after the unpacked layer, for no one could make
//! the same bytes again.
//!
//! ```text
//! measure what is new                     beside all others
//! turn:  read leases, rows, names         alone behind the gate, for milliseconds
//!        choose
//!        delete rows, in one transaction
//!        move files aside, to tmp/<our lease>-<n>
//! remove the files                        beside all others
//! ```
//!
//! A disk without a free byte has no room for the transaction either: then chosen blobs are emptied before it, and those whose
//! rows cannot go even so are absent for all, until the next prune forgets them.
//!
//! Killed before the transaction, it has done nothing; killed after, it leaves files that no row names, which the next
//! prune removes, and files that carry its lease, which the next process sweeps.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Transaction, params};
use rustix::fs::{FlockOperation, flock};

use crate::error::failed;
use crate::gate::Patience;
use crate::layer::PLAIN;
use crate::lease::{Hold, Lease};
use crate::places;
use crate::remove::remove_tree;
use crate::space::{Amount, Disk};
use crate::store::{names, now};
use crate::usage::{Item, Keepers, Sizes};
use crate::{Error, Store, Usage, UsageKind};

/// Where a limit is to be kept, younger logs are none of its business.
const LOGS_STAY: Duration = Duration::from_secs(7 * 86_400);

/// What to remove. The default removes all that no named image needs or was made from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prune {
    /// Also what named images were made from, whose loss only costs the time of making it again.
    pub all: bool,
    /// Only what has not been used for this long.
    pub older_than: Option<Duration>,
    /// Only until the cache takes no more than this: all but what images cannot be given out without.
    pub max_used: Option<Amount>,
    /// Only until so much of the file system is free.
    pub min_free: Option<Amount>,
    /// But leave at least so much of the cache, the most recently used.
    pub reserved: Option<Amount>,
}

/// What was removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// In the order of removal.
    pub removed: Vec<Usage>,
    /// The sum of their sizes.
    pub freed: u64,
    /// What would have gone had no running process held it.
    pub spared: Vec<Usage>,
}

/// What a turn decided and did.
struct Turn {
    pruned: Pruned,
    /// Trees that have left their places and are still to be removed.
    aside: Vec<PathBuf>,
}

impl Store {
    /// Removes what `wish` describes, except what running processes hold, this one included.
    ///
    /// # Errors
    /// If something cannot be removed.
    pub fn prune(&self, wish: &Prune) -> Result<Pruned, Error> {
        self.prune_telling(wish, &|| {})
    }

    /// As [`Store::prune`]; `waits` is called once if that has to wait: for another that prunes, or for a process that cannot
    /// write down what it holds.
    ///
    /// # Errors
    /// If something cannot be removed.
    pub fn prune_telling(&self, wish: &Prune, waits: &dyn Fn()) -> Result<Pruned, Error> {
        let pruned = self.prune_in_turn(wish, Patience::Endless(waits))?;
        Ok(pruned.unwrap_or_default())
    }

    /// Prunes if it can be alone soon enough.
    pub(crate) fn prune_in_turn(&self, wish: &Prune, patience: Patience<'_>) -> Result<Option<Pruned>, Error> {
        let _span = trace::span("prune");
        let sizes = self.measure()?;
        let disk = self.disk()?;
        let turn = {
            let Some(_alone) = self.gate().alone(patience)? else {
                return Ok(None);
            };
            match self.forget_emptied() {
                Err(error) if error.is_full_disk() => {}
                outcome => outcome?,
            }
            let keepers = self.keepers()?;
            let mut items = self.items(&keepers, &sizes)?;
            self.note_locked_directories(&mut items, &sizes);
            self.note_pinned(&items);
            let mut turn = self.remove_rows(&items, wish, disk)?;
            // The decision stands: whatever cannot be moved now, no row names it, and the next process finds it.
            let moved = self.move_all_away(&mut turn, wish, &keepers);
            moved.inspect_err(|_| self.lease().outlive())?;
            turn
        };
        for path in &turn.aside {
            let removed = remove_tree(path).map_err(failed("remove", path));
            removed.inspect_err(|_| self.lease().outlive())?;
        }
        Ok(Some(turn.pruned))
    }

    /// Gives what goes names of ours: what was chosen, what nobody recorded, old logs.
    fn move_all_away(&self, turn: &mut Turn, wish: &Prune, keepers: &Keepers) -> Result<(), Error> {
        self.move_doomed(turn);
        turn.aside.extend(self.unrecorded_now(keepers)?);
        turn.aside.extend(self.logs(wish, keepers)?);
        turn.aside = turn.aside.iter().filter_map(|path| self.move_away(path)).collect();
        Ok(())
    }

    /// A directory that is locked is in use, whatever leases say, and one that is not is not. Nobody can lock one meanwhile.
    fn note_locked_directories(&self, items: &mut [Item], sizes: &Sizes) {
        for item in items {
            if item.usage.kind == UsageKind::CacheDirectory {
                let lock = self.path("caches").join(&item.usage.id).join("lock");
                // What cannot be looked at may be in use.
                let is_locked = match File::open(&lock) {
                    Ok(lock) => flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err(),
                    Err(error) => error.kind() != io::ErrorKind::NotFound,
                };
                item.held = is_locked || !sizes.contains_key(&item.usage.id);
            }
        }
    }

    /// Chooses, and takes what was chosen out of the index.
    fn remove_rows(&self, items: &[Item], wish: &Prune, disk: Disk) -> Result<Turn, Error> {
        let (doomed, spared) = choose(items, wish, (now(), disk));
        match self.delete_rows(&doomed) {
            // Even to forget takes room.
            Err(error) if error.is_full_disk() => {
                self.empty_what_needs_no_row(&doomed);
                self.delete_rows(&doomed)?;
            }
            outcome => outcome?,
        }
        let usage = |items: Vec<&Item>| items.into_iter().map(|item| item.usage.clone()).collect();
        let removed: Vec<Usage> = usage(doomed);
        let pruned = Pruned {
            freed: removed.iter().map(|usage| usage.size).sum(),
            removed,
            spared: usage(spared),
        };
        let aside = Vec::new();
        Ok(Turn { pruned, aside })
    }

    fn delete_rows(&self, doomed: &[&Item]) -> Result<(), Error> {
        if doomed.iter().all(|item| item.usage.kind == UsageKind::CacheDirectory) {
            return Ok(());
        }
        self.index().write("prune", |transaction| {
            for item in doomed {
                match item.usage.kind {
                    UsageKind::Blob => delete_blob(transaction, &item.usage.id)?,
                    UsageKind::CacheDirectory => {}
                    UsageKind::ImageLayer | UsageKind::StepResult => delete_snapshot(transaction, &item.usage.id)?,
                }
            }
            Ok(())
        })
    }

    /// Gives back room before the index is written: that of cache directories, which are in no row, and of blobs, for a blob
    /// shorter than its row says is taken as absent.
    fn empty_what_needs_no_row(&self, doomed: &[&Item]) {
        for item in doomed {
            match item.usage.kind {
                UsageKind::Blob => {
                    let path = self.path("blobs/sha256").join(hex(&item.usage.id));
                    let emptied = File::options().write(true).open(path).and_then(|file| file.set_len(0));
                    // What cannot be emptied does not help, and goes with the others.
                    let _ = emptied;
                }
                UsageKind::CacheDirectory => {
                    let aside = self.move_away(&self.path("caches").join(&item.usage.id));
                    let _ = aside.map(|aside| remove_tree(&aside));
                }
                UsageKind::ImageLayer | UsageKind::StepResult => {}
            }
        }
    }

    /// Forgets blobs that were emptied when there was too little room for forgetting them.
    fn forget_emptied(&self) -> Result<(), Error> {
        self.index().write("prune", |transaction| {
            let mut statement = transaction.prepare_cached("SELECT digest FROM blobs WHERE size > 0")?;
            let digests = statement.query_map((), |row| row.get::<_, String>(0))?;
            for digest in digests.collect::<rusqlite::Result<Vec<_>>>()? {
                if digest.parse().is_ok_and(|digest| self.is_emptied(&digest)) {
                    delete_blob(transaction, &digest)?;
                }
            }
            Ok(())
        })
    }

    /// Names the files of what was chosen.
    fn move_doomed(&self, turn: &mut Turn) {
        let place = |usage: &Usage| match usage.kind {
            UsageKind::Blob => self.path("blobs/sha256").join(hex(&usage.id)),
            UsageKind::CacheDirectory => self.path("caches").join(&usage.id),
            UsageKind::ImageLayer | UsageKind::StepResult => self.path("snapshots").join(&usage.id),
        };
        turn.aside = turn.pruned.removed.iter().map(place).collect();
    }

    /// What a process left that died between moving it to its place and recording it.
    fn unrecorded_now(&self, keepers: &Keepers) -> Result<Vec<PathBuf>, Error> {
        self.index()
            .write_with_files("look for what is not recorded", |transaction| {
                self.unrecorded(transaction, |name| keepers.lives(name))
            })
    }

    /// Gives a tree a name of ours, if it is there.
    fn move_away(&self, path: &Path) -> Option<PathBuf> {
        let aside = self.temporary();
        std::fs::rename(path, &aside).is_ok().then_some(aside)
    }

    /// The logs of builds that ended long enough ago. Whoever only wants less to be kept still wants to read what failed.
    fn logs(&self, wish: &Prune, keepers: &Keepers) -> Result<Vec<PathBuf>, Error> {
        let running: HashSet<&String> = keepers
            .living
            .iter()
            .flat_map(|living| &living.holds)
            .filter_map(|hold| match hold {
                Hold::Logs(build) => Some(build),
                _ => None,
            })
            .collect();
        let is_limited = wish.max_used.is_some() || wish.min_free.is_some() || wish.reserved.is_some();
        let least = wish.older_than.or(is_limited.then_some(LOGS_STAY));
        let mut found = Vec::new();
        for name in names(&self.path("logs"))? {
            let path = self.path("logs").join(&name);
            let modified = std::fs::metadata(&path).and_then(|metadata| metadata.modified());
            // Its build may be over, and another prune be at it.
            let Ok(modified) = modified else { continue };
            let age = modified.elapsed().unwrap_or_default();
            if !running.contains(&name) && least.is_none_or(|least| age >= least) {
                found.push(path);
            }
        }
        Ok(found)
    }
}

impl Keepers {
    /// Whether the process that gave something this name lives.
    fn lives(&self, name: &str) -> bool {
        let lease = Lease::of_name(name);
        self.living.iter().any(|living| Some(&*living.lease) == lease)
    }
}

/// The items to remove, of `items` in the order of going, and those that stay only because running processes hold them.
fn choose<'a>(items: &'a [Item], wish: &Prune, (now, disk): (i64, Disk)) -> (Vec<&'a Item>, Vec<&'a Item>) {
    let cache = items.iter().filter(|item| !item.usage.pinned);
    let mut left: u64 = cache.map(|item| item.usage.size).sum();
    let most = most_to_keep(wish, left, disk);
    let mut needed: HashMap<&str, usize> = HashMap::new();
    for need in items.iter().flat_map(|item| &item.needs) {
        *needed.entry(need).or_default() += 1;
    }
    let (mut doomed, mut spared) = (Vec::new(), Vec::new());
    for item in items {
        if most.is_some_and(|most| left <= most) {
            break;
        }
        let age = u64::try_from(now - item.usage.last_used).unwrap_or(0);
        let young = wish.older_than.is_some_and(|least| age < least.as_secs());
        if item.usage.pinned || young || (item.usage.in_use && !wish.all) {
            continue;
        }
        if item.held {
            spared.push(item);
            continue;
        }
        if needed.get(item.usage.id.as_str()).is_some_and(|count| *count > 0) {
            continue;
        }
        for need in &item.needs {
            if let Some(count) = needed.get_mut(need.as_str()) {
                *count -= 1;
            }
        }
        left -= item.usage.size;
        doomed.push(item);
    }
    (doomed, spared)
}

/// How many bytes of `used` may stay; `None` is no reason to keep any.
fn most_to_keep(wish: &Prune, used: u64, disk: Disk) -> Option<u64> {
    let bytes = |amount: Option<Amount>| amount.map(|amount| amount.of(disk.size));
    let missing = bytes(wish.min_free).map(|least| least.saturating_sub(disk.free));
    let by_free = missing.map(|missing| used.saturating_sub(missing));
    let by_use = match (bytes(wish.max_used), by_free) {
        (Some(most), Some(other)) => Some(most.min(other)),
        (most, other) => most.or(other),
    };
    match (by_use, bytes(wish.reserved)) {
        (Some(most), Some(reserved)) => Some(most.max(reserved)),
        (most, reserved) => most.or(reserved),
    }
}

/// Removes a snapshot, and all that leads to it, from the index.
pub(crate) fn delete_snapshot(transaction: &Transaction<'_>, id: &str) -> rusqlite::Result<()> {
    for statement in [
        "DELETE FROM aliases WHERE target IN (SELECT key FROM records WHERE snapshot = ?1)",
        "DELETE FROM records WHERE snapshot = ?1",
        "DELETE FROM layers WHERE snapshot = ?1",
        "DELETE FROM snapshots WHERE id = ?1",
    ] {
        transaction.execute(statement, params![id])?;
    }
    Ok(())
}

fn delete_blob(transaction: &Transaction<'_>, digest: &str) -> rusqlite::Result<()> {
    forget_written_layer(transaction, digest)?;
    places::forget(transaction, digest)?;
    transaction.execute("DELETE FROM blobs WHERE digest = ?1", params![digest])?;
    Ok(())
}

/// Forgets the layers that were nothing but the blob `digest`; a plain one can still be made of its snapshot.
pub(crate) fn forget_written_layer(transaction: &Transaction<'_>, digest: &str) -> rusqlite::Result<usize> {
    let statement = format!("DELETE FROM layers WHERE digest = ?1 AND compression NOT LIKE '{PLAIN}%'");
    transaction.execute(&statement, params![digest])
}

fn hex(digest: &str) -> &str {
    digest.trim_start_matches("sha256:")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_say_how_much_stays() {
        let wish = |max_used: Option<u64>, min_free: Option<u64>, reserved: Option<u64>| Prune {
            max_used: max_used.map(Amount::Bytes),
            min_free: min_free.map(Amount::Bytes),
            reserved: reserved.map(Amount::Bytes),
            ..Prune::default()
        };
        // 100 are used and 10 free.
        let disk = Disk { size: 1000, free: 10 };
        for (wish, most) in [
            (wish(None, None, None), None),
            (wish(Some(70), None, None), Some(70)),
            (wish(None, None, Some(30)), Some(30)),
            (wish(None, Some(5), None), Some(100)),
            (wish(None, Some(25), None), Some(85)),
            (wish(None, Some(500), None), Some(0)),
            (wish(Some(90), Some(25), None), Some(85)),
            (wish(Some(70), Some(25), None), Some(70)),
            (wish(Some(70), Some(500), Some(40)), Some(40)),
        ] {
            assert_eq!(most_to_keep(&wish, 100, disk), most, "{wish:?}");
        }
    }
}
