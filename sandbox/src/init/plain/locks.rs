//! Waiting for other steps, of whatever process of the container: for what they are lent, and for those that must run alone.
//!
//! The locks are on folders, so they end with whoever has them, however that ends.

use std::collections::HashSet;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{CWD, FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;

use crate::Mount;
use crate::wire::{During, Failure};

/// What is held as long as the step runs.
pub(super) type Locks = Vec<OwnedFd>;

/// Whether a step may run beside others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Company {
    /// It is kept from what is outside of its root.
    Any,
    /// It is not: a step beside it that means ill could hand it a folder by which it leaves its root, and it could trace
    /// one with its own user.
    None,
}

/// How a step waits.
pub(super) struct Waiting<'a> {
    /// Whether nobody waits for the step any more; looked for a moment.
    pub(super) is_over: &'a dyn Fn() -> bool,
    /// Tells for what it waits.
    pub(super) say: &'a dyn Fn(&str),
}

impl Waiting<'_> {
    /// Waits until no step runs with which this one must not; nothing if the wait is over before.
    pub(super) fn for_company(&self, company: Company) -> Result<Option<OwnedFd>, Failure> {
        let (how, reason) = match company {
            Company::Any => (
                FlockOperation::NonBlockingLockShared,
                "waiting for a step of another user than root, which runs alone where there are no namespaces",
            ),
            Company::None => (
                FlockOperation::NonBlockingLockExclusive,
                "waiting for the other steps: where there are no namespaces, a step of another user than root runs alone",
            ),
        };
        // All processes of the container have the same root, and no other container has it.
        let root = open(Path::new("/")).during("open", "/")?;
        match self.lock(&root, how, &|| reason.to_owned()) {
            Ok(false) => Ok(None),
            // A file system without locks: then there is no more to be had.
            Ok(true) | Err(_) => Ok(Some(root)),
        }
    }

    /// Waits until no other step has one of the directories that these mounts lend; nothing if the wait is over before.
    ///
    /// All take them in the same order, so no two can wait for each other.
    pub(super) fn for_sources(&self, mounts: &[Mount]) -> Result<Option<Locks>, Failure> {
        let (mut locks, mut lent) = (Vec::new(), HashSet::new());
        for mount in mounts {
            if let Mount::Bind {
                source,
                inside,
                read_only: false,
                target,
            } = mount
            {
                if !lent.insert((source, inside)) && source.join(inside).is_dir() {
                    let error = io::Error::other("without namespaces it can be at one place only");
                    return Err(Failure::setup("put a directory at a second place,", target, &error));
                }
                // What is renamed is in it.
                let folder = match inside.is_empty() {
                    true => source.parent().unwrap_or(source),
                    false => source,
                };
                let opened = open(folder).during("find the source of a mount,", source.join(inside))?;
                let stat = rustix::fs::fstat(&opened).during("look at", folder)?;
                locks.push(((stat.st_dev, stat.st_ino), opened, target));
            }
        }
        locks.sort_by_key(|(identity, ..)| *identity);
        locks.dedup_by_key(|(identity, ..)| *identity);
        for (_, folder, target) in &locks {
            let reason = || format!("waiting for another step, which has what is to be mounted at {target}");
            let locked = self.lock(folder, FlockOperation::NonBlockingLockExclusive, &reason);
            if !locked.during("lock the source of a mount", "")? {
                return Ok(None);
            }
        }
        Ok(Some(locks.into_iter().map(|(_, lock, _)| lock).collect()))
    }

    /// False if the wait is over before.
    fn lock(&self, folder: &OwnedFd, how: FlockOperation, reason: &dyn Fn() -> String) -> io::Result<bool> {
        let mut told = false;
        loop {
            match flock(folder, how) {
                Ok(()) => return Ok(true),
                Err(Errno::INTR) => {}
                Err(Errno::WOULDBLOCK) => {
                    if !std::mem::replace(&mut told, true) {
                        (self.say)(&reason());
                    }
                    if (self.is_over)() {
                        return Ok(false);
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn open(folder: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat(
        CWD,
        folder,
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )?)
}
