//! The digests of the files of a list.

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Of a file that is not known yet, and of what is no file.
pub(super) const UNKNOWN: [u8; 32] = [0; 32];

/// The digest of each file of a list, by its place there, once it is known: one behind the other, for of plain zeros the
/// kernel gives only those that are written to.
#[derive(Debug)]
pub(super) struct Digests(RwLock<Vec<u8>>);

impl Digests {
    pub(super) fn new(count: usize) -> Digests {
        Digests(RwLock::new(vec![0; count * UNKNOWN.len()]))
    }

    /// All of them, as they are now.
    pub(super) fn read(&self) -> RwLockReadGuard<'_, Vec<u8>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// All of them, to be filled in.
    pub(super) fn write(&self) -> RwLockWriteGuard<'_, Vec<u8>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// That of the file at a place, if it is known.
    pub(super) fn known(&self, at: usize) -> Option<[u8; 32]> {
        Some(self.read().as_chunks().0[at]).filter(|digest| *digest != UNKNOWN)
    }

    /// Notes the digest of the file at a place, unless it is known.
    pub(super) fn learn(&self, at: usize, digest: [u8; 32]) {
        let mut digests = self.write();
        let known = &mut digests.as_chunks_mut().0[at];
        if *known == UNKNOWN {
            *known = digest;
        }
    }
}
