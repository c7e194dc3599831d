//! Leases: how a process tells others that it still lives, and how they find what a dead one left.
//!
//! A lease is a file under `leases/` that its process keeps locked (`flock`) until it ends, however it ends. Everything
//! unfinished is named `<lease>-<number>`. Whoever can lock the lease of another process knows that the process is gone
//! and removes what carries its name. The file is made before anything is named after it, and removed last.
//!
//! Clocks and process numbers are not used: both lie, in containers more than elsewhere.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{FlockOperation, flock};

use crate::Error;
use crate::error::failed;

/// The lease of this process on one store.
#[derive(Debug)]
pub(crate) struct Lease {
    id: u64,
    path: PathBuf,
    _locked: File,
    next: AtomicU64,
}

impl Lease {
    /// Takes a fresh lease in `directory`.
    pub(crate) fn take(directory: &Path) -> Result<Lease, Error> {
        loop {
            let id = random(directory)?;
            let path = directory.join(format!("{id:016x}"));
            let file = File::create_new(&path).map_err(failed("create", &path))?;
            // A sweeper that came between the two steps holds the lock and is about to remove the file.
            let locked = flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok();
            if locked && path.exists() {
                return Ok(Lease {
                    id,
                    path,
                    _locked: file,
                    next: AtomicU64::new(1),
                });
            }
        }
    }

    /// A number no one else uses.
    pub(crate) fn number(&self) -> (u64, u64) {
        (self.id, self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// A file name no one else uses, by which others see whose it is.
    pub(crate) fn name(&self) -> String {
        let (id, number) = self.number();
        format!("{id:016x}-{number:x}")
    }

    /// The lease in the name of something unfinished.
    pub(crate) fn of_name(name: &str) -> Option<&str> {
        let (lease, _) = name.split_once('-')?;
        (lease.len() == 16 && lease.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(lease)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // Nothing is lost if it stays: the next process finds it unlocked.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn random(directory: &Path) -> Result<u64, Error> {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(failed("find a name in", directory))?;
    Ok(u64::from_ne_bytes(bytes))
}

/// A lease of a process that has ended; locked, so that only one sweeper works on it.
#[derive(Debug)]
pub(crate) struct DeadLease {
    /// The name its leavings begin with.
    pub(crate) name: String,
    path: PathBuf,
    _locked: File,
}

impl DeadLease {
    /// To be called when all that the dead process left is gone.
    pub(crate) fn forget(self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// All leases in `directory` whose processes have ended.
pub(crate) fn dead(directory: &Path) -> Result<Vec<DeadLease>, Error> {
    let mut dead = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(failed("read", directory))? {
        let path = entry.map_err(failed("read", directory))?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()).map(str::to_owned) else {
            continue;
        };
        // Another process may remove its own lease at any time.
        let Ok(file) = File::open(&path) else { continue };
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            dead.push(DeadLease {
                name,
                path,
                _locked: file,
            });
        }
    }
    Ok(dead)
}
