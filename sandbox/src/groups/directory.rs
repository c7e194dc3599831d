//! One control group: a directory that is made, and removed when nobody needs it any more.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What the names of all our groups begin with.
pub(super) const PREFIX: &str = "rbuild-";
/// How often removing is tried, and how long is waited in between: the last process may not be quite gone.
const ATTEMPTS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(2);

/// A group of ours.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
}

impl Directory {
    /// Makes `name` in `parent`, and removes there what dead processes left.
    pub(super) fn make(parent: &Path, name: &str) -> io::Result<Directory> {
        sweep(parent, &is_alive);
        let path = parent.join(name);
        match fs::create_dir(&path) {
            // Left by a process that had our number before us.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                fs::remove_dir(&path)?;
                fs::create_dir(&path)?;
            }
            result => result?,
        }
        Ok(Directory { path })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        for _ in 0..ATTEMPTS {
            match fs::remove_dir(&self.path) {
                Err(error) if error.raw_os_error() == Some(libc::EBUSY) => std::thread::sleep(PAUSE),
                // Where it cannot be removed, the next process tries again.
                _ => return,
            }
        }
    }
}

/// Removes groups whose process is gone. One with processes in it stays, whatever its name says: the kernel keeps it.
pub(super) fn sweep(parent: &Path, is_alive: &dyn Fn(u32) -> bool) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.filter_map(Result::ok) {
        let name = entry.file_name();
        if owner(&name.to_string_lossy()).is_some_and(|process| !is_alive(process)) {
            let _ = fs::remove_dir(entry.path());
        }
    }
}

/// The process that made the group of this name.
fn owner(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.split('-').next()?.parse().ok()
}

pub(super) fn is_alive(process: u32) -> bool {
    Path::new("/proc").join(process.to_string()).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_of_dead_processes_are_swept_and_others_stay() {
        let parent = tempfile::tempdir().unwrap();
        for name in [
            "rbuild-1",
            "rbuild-2",
            "rbuild-2-7",
            "rbuild-x",
            "other-2",
            "rbuild-3-1",
        ] {
            fs::create_dir(parent.path().join(name)).unwrap();
        }
        // Never empty in the sense of `rmdir`, as a group with processes is.
        fs::write(parent.path().join("rbuild-3-1/process"), "").unwrap();
        sweep(parent.path(), &|process| process == 1);
        let mut left: Vec<String> = fs::read_dir(parent.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, ["other-2", "rbuild-1", "rbuild-3-1", "rbuild-x"]);
    }

    #[test]
    fn a_group_is_gone_when_it_is_dropped() {
        let parent = tempfile::tempdir().unwrap();
        fs::create_dir(parent.path().join("rbuild-5")).unwrap();
        let group = Directory::make(parent.path(), "rbuild-5").unwrap();
        assert!(group.path().is_dir());
        drop(group);
        assert!(!parent.path().join("rbuild-5").exists());
    }
}
