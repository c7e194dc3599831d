//! Removing trees: whatever their modes, however deep, and never through a mount or a symbolic link.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// So many directories are open at the same time, one in the other.
const MOST_OPEN: usize = 64;

/// Removes what is at `path`, file or tree; it is fine if nothing is.
pub(crate) fn remove_tree(path: &Path) -> io::Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    // The way to the store may lead through mounts; only what is below must not.
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let parent = match rustix::fs::open(parent, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(()),
        opened => opened?,
    };
    let name = CString::new(name.as_encoded_bytes())?;
    remove_at(parent.as_fd(), &name)
}

/// Removes the entry `name` of `parent`, file or tree; it is fine if there is none.
///
/// Iterative, so that depth costs no stack. Nor does it cost open files: what is very deep is first moved up.
pub(crate) fn remove_at(parent: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM | Errno::ACCESS) => {}
        Err(error) => return Err(error.into()),
    }
    let mut open: Vec<(OwnedFd, CString)> = vec![(open_directory(parent, name)?, name.to_owned())];
    let mut moved = 0;
    while let Some((directory, name)) = open.last() {
        match remove_files(directory)? {
            Some(child) if open.len() >= MOST_OPEN => move_up(directory, &child, &open[0].0, &mut moved)?,
            Some(child) => {
                let child_directory = open_directory(directory.as_fd(), &child)?;
                open.push((child_directory, child));
            }
            None => {
                let name = name.clone();
                open.pop();
                let above = open.last().map_or(parent, |(directory, _)| directory.as_fd());
                match rustix::fs::unlinkat(above, &name, AtFlags::REMOVEDIR) {
                    Ok(()) | Err(Errno::NOENT) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }
    Ok(())
}

/// Moves a directory to the top of the tree that is removed, where it is found again.
fn move_up(directory: &OwnedFd, child: &CStr, top: &OwnedFd, moved: &mut u64) -> io::Result<()> {
    loop {
        *moved += 1;
        let name = CString::new(format!(".deep-{moved}"))?;
        let outcome = match rustix::fs::renameat(directory, child, top, &name) {
            // To give it another parent is to change it.
            Err(Errno::ACCESS) => {
                rustix::fs::chmodat(directory, child, Mode::RWXU, AtFlags::empty())?;
                rustix::fs::renameat(directory, child, top, &name)
            }
            outcome => outcome,
        };
        match outcome {
            Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR) => {}
            outcome => return Ok(outcome?),
        }
    }
}

/// Removes all entries of `directory` that are not directories; gives one of those that are.
fn remove_files(directory: &OwnedFd) -> io::Result<Option<CString>> {
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        if entry.file_type() == FileType::Directory {
            return Ok(Some(name.to_owned()));
        }
        match rustix::fs::unlinkat(directory, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::ISDIR) => return Ok(Some(name.to_owned())),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
}

/// Opens a directory to empty it. One without permissions is given some first; a mount in the way is taken off.
fn open_directory(parent: BorrowedFd<'_>, name: &CStr) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = || {
        rustix::fs::openat2(
            parent,
            name,
            flags,
            Mode::empty(),
            ResolveFlags::NO_XDEV | ResolveFlags::NO_MAGICLINKS,
        )
    };
    match open() {
        Err(Errno::ACCESS | Errno::PERM) => {
            rustix::fs::chmodat(parent, name, Mode::RWXU, AtFlags::empty())?;
            Ok(open()?)
        }
        Err(Errno::XDEV) => {
            let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&parent));
            let path = Path::new(&path).join(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(
                name.to_bytes(),
            ));
            rustix::mount::unmount(
                &path,
                rustix::mount::UnmountFlags::DETACH | rustix::mount::UnmountFlags::NOFOLLOW,
            )?;
            Ok(open()?)
        }
        outcome => Ok(outcome?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_deeper_than_files_can_be_open_goes() {
        let folder = tempfile::tempdir().unwrap();
        let mut at: OwnedFd = std::fs::File::open(folder.path()).unwrap().into();
        for depth in 0..3000 {
            let name = if depth == 0 { c"tree" } else { c"d" };
            rustix::fs::mkdirat(&at, name, Mode::RWXU).unwrap();
            if depth % 1000 == 0 {
                rustix::fs::mkdirat(&at, c".deep-1", Mode::RWXU).unwrap();
            }
            at = rustix::fs::openat(&at, name, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        }
        remove_tree(&folder.path().join("tree")).unwrap();
        remove_tree(&folder.path().join(".deep-1")).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
