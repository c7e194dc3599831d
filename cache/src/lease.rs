//! Leases: how a process tells others that it still lives and what it needs, and how they find what a dead one left.
//!
//! A lease is a file under `leases/` that its process keeps locked (`flock`) until it ends, however it ends. Everything
//! unfinished is named `<lease>-<number>`. Whoever can lock the lease of another process knows that the process is gone
//! and removes what carries its name. The file is made before anything is named after it, and removed last.
//!
//! In the file stands what the process holds: all that it found in the store and has relied on since. It only grows, by one line
//! for each thing, and ends with the process.
//!
//! ```text
//! process 4711 build of /home/me/app      first of all, for people
//! snapshot 0123456789abcdef-2a
//! blob sha256:…
//! image sha256:… application/vnd.oci.image.index.v1+json     and all that it leads to
//! cache <directory>                       was used; whether it still is, the lock of the directory says
//! logs <build>
//! ```
//!
//! A line without an end was not written in full and does not count. What this process makes itself carries its lease in its
//! name, and needs no line. When lines are written, and why that is enough, is told in `gate.rs`.
//!
//! Clocks and process numbers are not used to decide anything: both lie, in containers more than elsewhere.

use std::collections::HashSet;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use oci::{Descriptor, Digest};
use rustix::fs::{FlockOperation, flock};

use crate::error::failed;
use crate::{Error, SnapshotId};

/// Something that a process relies on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    Snapshot(SnapshotId),
    Blob(Digest),
    /// With all that it leads to.
    Image(Descriptor),
    /// By the name of its folder.
    CacheDirectory(String),
    /// Of a build.
    Logs(String),
}

/// What was found, and what to write down to keep it.
pub(crate) type ToHold<T> = (Hold, T);

impl Hold {
    fn line(&self) -> String {
        match self {
            Hold::Snapshot(id) => format!("snapshot {id}\n"),
            Hold::Blob(digest) => format!("blob {digest}\n"),
            Hold::Image(image) => format!("image {} {}\n", image.digest, one_line(&image.media_type)),
            Hold::CacheDirectory(name) => format!("cache {name}\n"),
            Hold::Logs(build) => format!("logs {build}\n"),
        }
    }
}

/// The lease of this process on one store.
#[derive(Debug)]
pub(crate) struct Lease {
    id: u64,
    path: PathBuf,
    locked: File,
    next: AtomicU64,
    held: Mutex<Held>,
    is_released: AtomicBool,
    outlives: AtomicBool,
}

#[derive(Debug, Default)]
struct Held {
    /// What the process says of itself, until it is written.
    about: Option<String>,
    lines: HashSet<String>,
}

impl Lease {
    /// Takes a fresh lease in `directory`.
    pub(crate) fn take(directory: &Path) -> Result<Lease, Error> {
        loop {
            let id = random(directory)?;
            let path = directory.join(format!("{id:016x}"));
            let file = File::create_new(&path).map_err(failed("create", &path))?;
            // Somebody who looked whether the process lives, between the two steps, holds the lock and may remove the file.
            let locked = flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok();
            if locked && path.exists() {
                let held = Held {
                    about: Some(String::new()),
                    ..Held::default()
                };
                return Ok(Lease {
                    id,
                    path,
                    locked: file,
                    next: AtomicU64::new(1),
                    held: Mutex::new(held),
                    is_released: AtomicBool::new(false),
                    outlives: AtomicBool::new(false),
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

    /// Leaves the file behind when this process ends, as if it were killed: something went to its place and could not be
    /// recorded there, and whoever comes next shall look for it.
    pub(crate) fn outlive(&self) {
        self.outlives.store(true, Ordering::Relaxed);
    }

    /// The lease in the name of something unfinished.
    pub(crate) fn of_name(name: &str) -> Option<&str> {
        let (lease, _) = name.split_once('-')?;
        (lease.len() == 16 && lease.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(lease)
    }

    /// What others are told of this process. Counts only before the first hold.
    pub(crate) fn describe(&self, text: &str) {
        if let Some(about) = &mut self.held().about {
            *about = one_line(text);
        }
    }

    /// Whether the hold is written, or needs not be.
    pub(crate) fn holds(&self, hold: &Hold) -> bool {
        if matches!(hold, Hold::Snapshot(id) if id.lease() == self.id) {
            return true;
        }
        self.held().lines.contains(&hold.line())
    }

    /// Writes the hold, unless it is.
    pub(crate) fn hold(&self, hold: &Hold) -> Result<(), Error> {
        let line = hold.line();
        let mut held = self.held();
        if held.lines.contains(&line) {
            return Ok(());
        }
        let text = match &held.about {
            Some(about) => format!("process {} {about}\n{line}", std::process::id()),
            None => line.clone(),
        };
        (&self.locked)
            .write_all(text.as_bytes())
            .map_err(failed("write", &self.path))?;
        held.about = None;
        held.lines.insert(line);
        Ok(())
    }

    /// Says that this process needs nothing more of what it holds.
    pub(crate) fn release(&self) {
        self.is_released.store(true, Ordering::Release);
    }

    /// Whether that is this lease, and released.
    pub(crate) fn is_released(&self, name: &str) -> bool {
        self.is_released.load(Ordering::Acquire) && name == format!("{:016x}", self.id)
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.outlives.load(Ordering::Relaxed) {
            // Nothing is lost if it stays: the next process finds it unlocked.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// `text` without the ends of lines in it.
fn one_line(text: &str) -> String {
    text.replace(char::is_control, " ")
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
    for (name, path) in leases(directory)? {
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

/// A process that uses the store, as others see it.
#[derive(Debug)]
pub(crate) struct Living {
    /// The name of its lease.
    pub(crate) lease: String,
    /// Its number, if it has said so.
    pub(crate) process: u32,
    /// What it says it does.
    pub(crate) about: String,
    pub(crate) holds: Vec<Hold>,
}

/// All leases in `directory` whose processes live.
pub(crate) fn living(directory: &Path) -> Result<Vec<Living>, Error> {
    let mut living = Vec::new();
    for (lease, path) in leases(directory)? {
        let Ok(file) = File::open(&path) else { continue };
        // Together with others, so that two who look do not take each other for the owner.
        if flock(&file, FlockOperation::NonBlockingLockShared).is_ok() {
            continue;
        }
        let mut text = Vec::new();
        (&file).read_to_end(&mut text).map_err(failed("read", &path))?;
        living.push(read(lease, &String::from_utf8_lossy(&text)));
    }
    Ok(living)
}

fn read(lease: String, text: &str) -> Living {
    let mut living = Living {
        lease,
        process: 0,
        about: String::new(),
        holds: Vec::new(),
    };
    let complete = text.rfind('\n').map_or("", |end| &text[..end]);
    for line in complete.lines() {
        let Some((kind, rest)) = line.split_once(' ') else {
            continue;
        };
        let hold = match kind {
            "process" => {
                let (process, about) = rest.split_once(' ').unwrap_or((rest, ""));
                living.process = process.parse().unwrap_or(0);
                about.clone_into(&mut living.about);
                None
            }
            "snapshot" => rest.parse().ok().map(Hold::Snapshot),
            "blob" => rest.parse().ok().map(Hold::Blob),
            "image" => rest.split_once(' ').and_then(|(digest, media_type)| {
                Some(Hold::Image(Descriptor::new(media_type, digest.parse().ok()?, 0)))
            }),
            "cache" => Some(Hold::CacheDirectory(rest.to_owned())),
            "logs" => Some(Hold::Logs(rest.to_owned())),
            _ => None,
        };
        living.holds.extend(hold);
    }
    living
}

/// Names and paths.
fn leases(directory: &Path) -> Result<Vec<(String, PathBuf)>, Error> {
    let mut leases = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(failed("read", directory))? {
        let path = entry.map_err(failed("read", directory))?.path();
        if let Some(name) = path.file_name().and_then(|name| name.to_str()).map(str::to_owned) {
            leases.push((name, path));
        }
    }
    Ok(leases)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_read_what_a_process_holds_as_long_as_it_lives() {
        let folder = tempfile::TempDir::new().unwrap();
        let lease = Lease::take(folder.path()).unwrap();
        lease.describe("build of /a\nb");
        let holds = [
            Hold::Snapshot("0123456789abcdef-2a".parse().unwrap()),
            Hold::Blob(Digest::of(b"x")),
            Hold::Image(Descriptor::new("some/type", Digest::of(b"y"), 0)),
            Hold::CacheDirectory("k-1".to_owned()),
            Hold::Logs("b".to_owned()),
        ];
        for _ in 0..2 {
            holds.iter().for_each(|hold| lease.hold(hold).unwrap());
        }
        (&lease.locked).write_all(b"snapshot 0123456789abcdef-1").unwrap();
        let found = living(folder.path()).unwrap();
        assert_eq!(
            (found[0].process, &*found[0].about),
            (std::process::id(), "build of /a b")
        );
        assert_eq!(found[0].holds, holds, "each once, and none that has no end");
        drop(lease);
        assert!(living(folder.path()).unwrap().is_empty());
    }
}
