//! Mount points that are made in a root for the time of a process, and must not stay in the image.
//!
//! What is missing is noted before; what of that is still there and empty afterwards is removed, innermost first, and
//! the directory it was in keeps its times. `/proc`, `/dev` and `/sys` stay, because they stay in BuildKit; where a mount
//! of the step is in one of them, that one goes with its mount point, there as here.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::rooted::{self, Found};

/// The mount points that every process has, but for those that stay: files of this folder of its root.
pub const SYSTEM_FOLDER: &str = "etc";
/// Their names.
pub const SYSTEM_FILES: [&str; 2] = ["resolv.conf", "hosts"];

/// Mount points that are missing.
#[derive(Debug, Default)]
pub(crate) struct Stubs(Vec<Stub>);

#[derive(Debug)]
struct Stub {
    parent: OwnedFd,
    names: Vec<OsString>,
}

impl Stubs {
    /// Which of `targets` are missing in `root`.
    pub(crate) fn note<'a>(root: &Path, targets: impl Iterator<Item = &'a str>) -> io::Result<Stubs> {
        let directory = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::openat(CWD, root, directory, Mode::empty())?;
        let mut stubs = Vec::new();
        for target in targets {
            // A target that cannot even be looked up fails with its name where it is mounted.
            if let Ok(Found::Missing { parent, names }) = rooted::find(root.as_fd(), Path::new(target)) {
                stubs.push(Stub { parent, names });
            }
        }
        Ok(Stubs(stubs))
    }

    /// Removes those that are empty. What is not stays: the process has taken it over.
    ///
    /// # Errors
    /// The first failure. What then stays would be in the image, as if the process had made it.
    pub(crate) fn remove(self) -> io::Result<()> {
        let mut outcome = Ok(());
        for stub in self.0.into_iter().rev() {
            outcome = outcome.and(stub.remove());
        }
        outcome
    }
}

impl Stub {
    fn remove(self) -> io::Result<()> {
        let mut levels = vec![self.parent];
        for name in &self.names[..self.names.len() - 1] {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let Some(parent) = levels.last() else { break };
            match rustix::fs::openat(parent, name, flags, Mode::empty()) {
                // Made in a file system that was mounted over it, or replaced by the process.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => break,
                level => levels.push(level?),
            }
        }
        for (directory, name) in levels.iter().zip(&self.names).rev() {
            let times = rooted::times(directory)?;
            let found = match rooted::kind_and_size(directory, name) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                found => found?,
            };
            let removed = match found {
                (FileType::Directory, _) => rustix::fs::unlinkat(directory, name, AtFlags::REMOVEDIR),
                (FileType::RegularFile, 0) => rustix::fs::unlinkat(directory, name, AtFlags::empty()),
                _ => return Ok(()),
            };
            match removed {
                Err(Errno::NOTEMPTY | Errno::EXIST) => return Ok(()),
                removed => removed?,
            }
            rustix::fs::futimens(directory, &times)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::rooted::{Kind, find_or_make};

    fn tree(root: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(root)
            .unwrap()
            .flat_map(|entry| {
                let path = entry.unwrap().path();
                let below = if path.is_dir() { tree(&path) } else { Vec::new() };
                std::iter::once(path.display().to_string()).chain(below)
            })
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_folder_goes_also_if_what_was_to_be_in_it_was_made_elsewhere() {
        let root = tempfile::tempdir().unwrap();
        let stubs = Stubs::note(root.path(), ["/dev/deep/er", "/dev/kept/x"].into_iter()).unwrap();
        fs::create_dir(root.path().join("dev")).unwrap();
        stubs.remove().unwrap();
        assert!(tree(root.path()).is_empty());
    }

    #[test]
    fn only_what_was_missing_and_stayed_empty_is_removed() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("etc")).unwrap();
        fs::write(root.path().join("etc/hosts"), "").unwrap();
        let modified = fs::metadata(root.path().join("etc")).unwrap().modified().unwrap();
        let before = tree(root.path());

        let targets = [
            "/etc/resolv.conf",
            "/etc/hosts",
            "/deep/down/there",
            "/deep/too",
            "/written",
        ];
        let stubs = Stubs::note(root.path(), targets.into_iter()).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20));
        let directory = rustix::fs::open(root.path(), OFlags::PATH, Mode::empty()).unwrap();
        for target in targets {
            find_or_make(directory.as_fd(), Path::new(target), Kind::File).unwrap();
        }
        fs::write(root.path().join("written"), "by the process").unwrap();
        stubs.remove().unwrap();

        let written = root.path().join("written").display().to_string();
        let left: Vec<String> = tree(root.path()).into_iter().filter(|path| *path != written).collect();
        assert_eq!(left, before);
        assert!(root.path().join("written").exists());
        assert_eq!(
            fs::metadata(root.path().join("etc")).unwrap().modified().unwrap(),
            modified
        );
    }
}
