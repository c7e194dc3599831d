//! Room on the disk: how much the store may take, and how much must stay free.
//!
//! Whoever is about to write much says so first ([`Store::make_room`]). If a limit would be passed, what can go goes then,
//! least recently used first: never an image with a name, never what a running process holds. What does not fit even so is
//! refused before its first byte is written, with the names of those who have the room.
//!
//! Without limits of the user's only the last moments of a disk are guarded: [`default_min_free`] stays free as long as
//! there is something to prune. That does not refuse work that fits; a limit of the user's on free space does. A limit on
//! use never refuses: a build has what it needs, and what is too much goes when it ends ([`Store::keep_within_limits`]).
//!
//! Looking costs one call of the kernel where there is no limit on use, so it can be done before every step.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::error::failed;
use crate::gate::Patience;
use crate::usage::{Item, User};
use crate::{Error, Prune, Store};

/// An amount of space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// So many bytes.
    Bytes(u64),
    /// So many hundredths of the file system.
    Percent(u8),
}

impl Amount {
    /// In bytes, of a file system of `size`.
    #[must_use]
    pub fn of(self, size: u64) -> u64 {
        match self {
            Amount::Bytes(bytes) => bytes,
            Amount::Percent(percent) => size / 100 * u64::from(percent),
        }
    }
}

/// What the user wants of the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// The cache takes no more than this: all but what images with names cannot be given out without.
    pub max_used: Option<Amount>,
    /// So much of the file system stays free.
    pub min_free: Option<Amount>,
    /// So much of the cache is kept whatever the other two say.
    pub reserved: Option<Amount>,
}

/// Who has so many bytes that cannot go now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holding {
    /// A running process; `None` are the images with names.
    pub user: Option<User>,
    /// How much stays because of it.
    pub bytes: u64,
}

/// A file system.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Disk {
    pub(crate) size: u64,
    /// What may still be written.
    pub(crate) free: u64,
}

/// What is known of the room from before.
#[derive(Debug, Default)]
pub(crate) struct Room {
    /// What images with names pin, when it was last looked at.
    pinned: Mutex<Option<u64>>,
    /// When pruning last had nothing to remove.
    fruitless: Mutex<Option<Instant>>,
}

/// As long as nothing could be pruned, it is not tried again.
const PAUSE: Duration = Duration::from_secs(2);
/// How long others may keep us from pruning.
const PATIENCE: Duration = Duration::from_secs(10);

/// What stays free where nobody says otherwise: a hundredth of the disk, at least 200 MB, for a machine with a full disk can
/// no more be logged in to, and ext4 slows down long before; but never more than a tenth of a small one.
#[must_use]
pub fn default_min_free(size: u64) -> u64 {
    (size / 100).max(200_000_000).min(size / 10)
}

pub(crate) fn disk(file: impl AsFd, path: &Path) -> Result<Disk, Error> {
    let system = rustix::fs::fstatvfs(file).map_err(failed("look for room on", path))?;
    Ok(Disk {
        size: system.f_blocks.saturating_mul(system.f_frsize),
        free: system.f_bavail.saturating_mul(system.f_frsize),
    })
}

impl Store {
    /// How many bytes may still be written to the store.
    ///
    /// # Errors
    /// If the file system cannot be asked.
    pub fn free(&self) -> Result<u64, Error> {
        Ok(self.disk()?.free)
    }

    /// Whether a copy in the store may take no space of its own: the file system may let files share blocks.
    #[must_use]
    pub fn may_share_blocks(&self) -> bool {
        let kind = rustix::fs::fstatfs(self.gate().file()).map(|system| system.f_type);
        // As the kernel's `magic.h` has them: btrfs, xfs, bcachefs, zfs.
        let sharing = [0x9123_683E, 0x5846_5342, 0xCA45_1A4E, 0x2FC1_2FC1];
        kind.is_ok_and(|kind| sharing.contains(&kind))
    }

    pub(crate) fn disk(&self) -> Result<Disk, Error> {
        disk(self.gate().file(), self.root())
    }

    /// Makes room for what is about to be written to the store: prunes if `likely` more bytes would pass a limit.
    ///
    /// # Errors
    /// [`Error::NoRoom`] if not even `certain` more bytes fit, and what pruning fails of.
    pub fn make_room(&self, likely: u64, certain: u64) -> Result<(), Error> {
        let disk = self.disk()?;
        let firm = self.limits().min_free.map(|least| least.of(disk.size));
        let least = firm.unwrap_or_else(|| default_min_free(disk.size));
        if disk.free < least.saturating_add(likely) {
            self.remove_copies()?;
        }
        if self.disk()?.free < least.saturating_add(likely) || self.is_over(likely, disk.size)? {
            self.prune_for(likely, least, disk.size)?;
        }
        let wanted = certain.saturating_add(firm.unwrap_or(0));
        let free = self.disk()?.free;
        if free >= wanted || certain == 0 {
            return Ok(());
        }
        Err(Error::NoRoom {
            path: self.root().to_owned(),
            wanted: certain,
            free,
            reserve: firm.unwrap_or(0),
            holdings: self.holdings()?,
        })
    }

    /// As [`Store::make_room`], for `bytes` that are about to be written below `directory`, which need not exist.
    ///
    /// # Errors
    /// As [`Store::make_room`].
    pub fn make_room_in(&self, directory: &Path, bytes: u64) -> Result<(), Error> {
        let Some(opened) = directory.ancestors().find_map(|path| File::open(path).ok()) else {
            // Whoever writes there tells what is wrong.
            return Ok(());
        };
        let device = |file: &File| rustix::fs::fstat(file).map(|status| status.st_dev);
        if device(&opened).is_ok_and(|there| device(self.gate().file()).is_ok_and(|here| here == there)) {
            return self.make_room(bytes, bytes);
        }
        let free = disk(&opened, directory)?.free;
        if free >= bytes {
            return Ok(());
        }
        Err(Error::NoRoom {
            path: directory.to_owned(),
            wanted: bytes,
            free,
            reserve: 0,
            holdings: Vec::new(),
        })
    }

    /// Whether `bytes` more fit below `directory` as the disk is now, and something is left then. Nothing is pruned.
    #[must_use]
    pub fn has_room_in(&self, directory: &Path, bytes: u64) -> bool {
        let opened = directory.ancestors().find_map(|path| File::open(path).ok());
        let Some(Ok(disk)) = opened.map(|opened| disk(&opened, directory)) else {
            return false;
        };
        let firm = self.limits().min_free.map(|least| least.of(disk.size));
        let least = firm.unwrap_or_else(|| default_min_free(disk.size));
        disk.free >= least.saturating_add(bytes)
    }

    /// Removes what is over the limits now that this process needs nothing of the store any more, not even what it found or
    /// made. Must be the last thing that is done with the store.
    ///
    /// # Errors
    /// If something cannot be removed.
    pub fn keep_within_limits(&self) -> Result<(), Error> {
        let disk = self.disk()?;
        let least = self.limits().min_free.map(|least| least.of(disk.size));
        let least = least.unwrap_or_else(|| default_min_free(disk.size));
        if disk.free < least {
            self.remove_copies()?;
        }
        if self.disk()?.free < least || self.is_over(0, disk.size)? {
            self.lease().release();
            *self.room().fruitless.lock().unwrap_or_else(PoisonError::into_inner) = None;
            self.prune_for(0, least, disk.size)?;
        }
        Ok(())
    }

    /// Whether the cache would be larger than it may be. What images pin is taken as it was when last looked at.
    fn is_over(&self, more: u64, size: u64) -> Result<bool, Error> {
        let Some(most) = self.limits().max_used else {
            return Ok(false);
        };
        let sizes = self.measure()?;
        let rows = "SELECT coalesce((SELECT sum(size) FROM snapshots), 0) + coalesce((SELECT sum(size) FROM blobs), 0)";
        let rows: Vec<i64> = self.rows(rows, |row| row.get(0))?;
        let rows = rows.into_iter().map(i64::cast_unsigned);
        let used: u64 = rows.chain(Store::directory_sizes(&sizes)).sum();
        let pinned = *self.room().pinned.lock().unwrap_or_else(PoisonError::into_inner);
        let pinned = match pinned {
            Some(pinned) => pinned,
            None => self.note_pinned(&self.items(&self.keepers()?, &sizes)?),
        };
        Ok(used.saturating_sub(pinned).saturating_add(more) > most.of(size))
    }

    /// Notes how much images with names pin.
    pub(crate) fn note_pinned(&self, items: &[Item]) -> u64 {
        let pinned = items.iter().filter(|item| item.usage.pinned);
        let pinned = pinned.map(|item| item.usage.size).sum();
        *self.room().pinned.lock().unwrap_or_else(PoisonError::into_inner) = Some(pinned);
        pinned
    }

    /// Prunes so that `more` bytes keep the limits, and a little beyond them, so that it need not be done all the time.
    fn prune_for(&self, more: u64, least_free: u64, size: u64) -> Result<(), Error> {
        let fruitless = || self.room().fruitless.lock().unwrap_or_else(PoisonError::into_inner);
        if fruitless().is_some_and(|when| when.elapsed() < PAUSE) {
            return Ok(());
        }
        let most = self.limits().max_used.map(|most| most.of(size));
        let wish = Prune {
            all: true,
            max_used: most.map(|most| Amount::Bytes((most - most / 20).saturating_sub(more))),
            min_free: Some(Amount::Bytes(
                least_free.saturating_add(least_free / 8).saturating_add(more),
            )),
            reserved: self.limits().reserved,
            ..Prune::default()
        };
        let pruned = self.prune_in_turn(&wish, Patience::Until(PATIENCE))?;
        let has_removed = pruned.is_some_and(|pruned| !pruned.removed.is_empty());
        *fruitless() = (!has_removed).then(Instant::now);
        Ok(())
    }

    /// Who has what cannot go now.
    fn holdings(&self) -> Result<Vec<Holding>, Error> {
        let items = self.items(&self.keepers()?, &self.measure()?)?;
        let mut holdings: Vec<Holding> = Vec::new();
        let mut add = |user: Option<&User>, bytes| match holdings.iter_mut().find(|known| known.user.as_ref() == user) {
            Some(known) => known.bytes += bytes,
            None => holdings.push(Holding {
                user: user.cloned(),
                bytes,
            }),
        };
        for item in &items {
            if item.usage.pinned {
                add(None, item.usage.size);
            } else {
                for user in &item.usage.held_by {
                    add(Some(user), item.usage.size);
                }
            }
        }
        holdings.sort_by_key(|holding| std::cmp::Reverse(holding.bytes));
        Ok(holdings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stays_free_by_default_suits_the_disk() {
        const GB: u64 = 1_000_000_000;
        for (size, least) in [
            (GB / 100, GB / 1000),
            (GB, GB / 10),
            (10 * GB, GB / 5),
            (100 * GB, GB),
            (2000 * GB, 20 * GB),
        ] {
            assert_eq!(default_min_free(size), least, "{size}");
        }
        assert_eq!(Amount::Percent(15).of(2000), 300);
        assert_eq!(Amount::Bytes(7).of(2000), 7);
    }
}
