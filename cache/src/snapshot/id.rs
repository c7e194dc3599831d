//! Names of snapshots.

use std::fmt;
use std::str::FromStr;

/// Names one snapshot of one store. Random, never used again.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SnapshotId(pub(super) u64, pub(super) u64);

impl SnapshotId {
    /// The name that a process makes of the number of its lease and one that it counts.
    pub(crate) fn new(lease: u64, number: u64) -> SnapshotId {
        SnapshotId(lease, number)
    }

    /// The number of the lease of the process that made it.
    pub(crate) fn lease(self) -> u64 {
        self.0
    }
}

impl fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{:x}", self.0, self.1)
    }
}

impl fmt::Debug for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not a snapshot's name.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not the id of a snapshot")]
pub struct NotASnapshotId(String);

impl FromStr for SnapshotId {
    type Err = NotASnapshotId;

    fn from_str(text: &str) -> Result<SnapshotId, NotASnapshotId> {
        let parse = || {
            let (lease, number) = text.split_once('-')?;
            let id = SnapshotId(
                u64::from_str_radix(lease, 16).ok()?,
                u64::from_str_radix(number, 16).ok()?,
            );
            (id.to_string() == text).then_some(id)
        };
        parse().ok_or_else(|| NotASnapshotId(text.to_owned()))
    }
}
