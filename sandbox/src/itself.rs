//! Our own program, to be started again in a way that no step can write to it.
//!
//! An image may make its command an interpreter line naming `/proc/self/exe`, which at that moment is us, and from there
//! reach our file with root's powers. So what runs is a read-only mount of the file, or a sealed copy in memory where it
//! cannot be found any more, for example after an upgrade.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use rustix::fs::{CWD, MemfdFlags, SealFlags};
use rustix::mount::{MountAttrFlags, OpenTreeFlags, open_tree};

use crate::sys;

const RUNNING: &str = "/proc/self/exe";

/// The program, opened; as long as that is open, [`path`] leads to it.
pub(crate) fn open() -> io::Result<OwnedFd> {
    read_only_mount().or_else(|_| sealed_copy())
}

/// By which path what was opened can be executed.
pub(crate) fn path(program: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", program.as_raw_fd()))
}

fn read_only_mount() -> io::Result<OwnedFd> {
    // By name, because the running file itself belongs to the mounts we left behind when we isolated ourselves.
    let name = std::fs::read_link(RUNNING)?;
    let mount = open_tree(
        CWD,
        &name,
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC,
    )?;
    let (found, running) = (rustix::fs::fstat(&mount)?, rustix::fs::stat(RUNNING)?);
    if (found.st_dev, found.st_ino) != (running.st_dev, running.st_ino) {
        return Err(io::Error::other("another file has taken the name"));
    }
    sys::set_mount_attributes(&mount, MountAttrFlags::MOUNT_ATTR_RDONLY.bits().into(), false)?;
    Ok(mount)
}

fn sealed_copy() -> io::Result<OwnedFd> {
    static COPY: Mutex<Option<OwnedFd>> = Mutex::new(None);
    let mut copy = COPY.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(copy) = &*copy {
        return copy.try_clone();
    }
    let mut file = File::from(rustix::fs::memfd_create(
        "rbuild",
        MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING,
    )?);
    io::copy(&mut File::open(RUNNING)?, &mut file)?;
    let seals = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(file.as_fd(), seals)?;
    copy.insert(file.into()).try_clone()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_copy_is_ours_and_cannot_be_written_to() {
        let copy = sealed_copy().unwrap();
        assert!(File::from(copy.try_clone().unwrap()).write_all(b"x").is_err());
        assert_eq!(std::fs::read(path(&copy)).unwrap(), std::fs::read(RUNNING).unwrap());
    }
}
