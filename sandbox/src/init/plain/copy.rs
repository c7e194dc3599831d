//! Copies of what a step is to see: trees and files as they are, with owners, modes, times and attributes.

use std::ffi::{CStr, OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Uid, XattrFlags, chownat, fchmod, fchown, fgetxattr, flistxattr,
    fsetxattr, futimens, ioctl_ficlone, linkat, mkdirat, mknodat, openat, readlinkat, statat, symlinkat, utimensat,
};
use rustix::io::Errno;

use crate::rooted::{Place, times_of};

/// Copies what is at `from` to `to`, where nothing is yet. File systems mounted in it are part of it. A socket is
/// another name of the same: a copy would lead to nobody.
pub(super) fn copy(from: &Place, to: &Place) -> io::Result<()> {
    copy_entry((&from.directory, &from.name), (&to.directory, &to.name))
}

fn copy_entry((from, name): (&OwnedFd, &OsStr), (to, new): (&OwnedFd, &OsStr)) -> io::Result<()> {
    let stat = statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let read = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            let source = openat(from, name, read | OFlags::DIRECTORY, Mode::empty())?;
            mkdirat(to, new, Mode::from_raw_mode(0o700))?;
            let copy = openat(to, new, read | OFlags::DIRECTORY, Mode::empty())?;
            for name in names(&source)? {
                copy_entry((&source, &name), (&copy, &name))?;
            }
            make_alike(&source, &copy, &stat)
        }
        FileType::RegularFile => {
            // Not blocking: it may be a pipe by now.
            let source = openat(from, name, read | OFlags::NONBLOCK, Mode::empty())?;
            let write = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let copy = openat(to, new, write, Mode::from_raw_mode(0o600))?;
            if ioctl_ficlone(&copy, &source).is_err() {
                io::copy(&mut File::from(source.try_clone()?), &mut File::from(copy.try_clone()?))?;
            }
            make_alike(&source, &copy, &stat)
        }
        FileType::Symlink => {
            symlinkat(readlinkat(from, name, Vec::new())?, to, new)?;
            chownat(to, new, owner(&stat).0, owner(&stat).1, AtFlags::SYMLINK_NOFOLLOW)?;
            Ok(utimensat(to, new, &times_of(&stat), AtFlags::SYMLINK_NOFOLLOW)?)
        }
        FileType::Socket => Ok(linkat(from, name, to, new, AtFlags::empty())?),
        kind => {
            mknodat(to, new, kind, Mode::from_raw_mode(stat.st_mode), stat.st_rdev)?;
            chownat(to, new, owner(&stat).0, owner(&stat).1, AtFlags::SYMLINK_NOFOLLOW)?;
            Ok(utimensat(to, new, &times_of(&stat), AtFlags::SYMLINK_NOFOLLOW)?)
        }
    }
}

fn names(directory: &OwnedFd) -> io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name != "." && name != ".." {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

/// Gives the copy all that is not content. The owner first, because a change of owner takes setuid bits and capabilities.
fn make_alike(source: &OwnedFd, copy: &OwnedFd, stat: &Stat) -> io::Result<()> {
    fchown(copy, owner(stat).0, owner(stat).1)?;
    fchmod(copy, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    copy_attributes(source, copy)?;
    Ok(futimens(copy, &times_of(stat))?)
}

/// Extended attributes, as far as we may set them and the file system has any.
fn copy_attributes(source: impl AsFd, copy: impl AsFd) -> io::Result<()> {
    let mut list = vec![0; 64 << 10];
    let count = match flistxattr(&source, &mut list[..]) {
        Ok(count) => count,
        Err(Errno::NOTSUP) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let mut value = vec![0; 64 << 10];
    for name in list[..count].split_inclusive(|byte| *byte == 0) {
        let name = CStr::from_bytes_with_nul(name).map_err(io::Error::other)?;
        let count = match fgetxattr(&source, name, &mut value[..]) {
            Ok(count) => count,
            Err(Errno::NODATA | Errno::PERM | Errno::ACCESS) => continue,
            Err(error) => return Err(error.into()),
        };
        match fsetxattr(&copy, name, &value[..count], XattrFlags::empty()) {
            Ok(()) | Err(Errno::NOTSUP | Errno::PERM | Errno::ACCESS) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn owner(stat: &Stat) -> (Option<Uid>, Option<Gid>) {
    (Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    use std::os::unix::net::UnixListener;
    use std::path::Path;

    use super::*;
    use crate::rooted;

    fn place(root: &Path, path: &str) -> Place {
        let root = rustix::fs::open(root, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        rooted::place(root.as_fd(), Path::new(path)).unwrap()
    }

    #[test]
    fn a_copy_is_like_what_it_is_of() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        fs::create_dir_all(at("tree/sub")).unwrap();
        fs::write(at("tree/sub/file"), "content").unwrap();
        fs::set_permissions(at("tree/sub/file"), fs::Permissions::from_mode(0o4751)).unwrap();
        symlink("../nowhere", at("tree/link")).unwrap();
        let file = File::open(at("tree/sub/file")).unwrap();
        let has_attributes = fsetxattr(&file, "user.x", b"y", XattrFlags::empty()).is_ok();
        let listener = UnixListener::bind(at("tree/socket"));
        std::thread::sleep(std::time::Duration::from_millis(20));

        let from = place(root.path(), "tree");
        let name = "copy".into();
        copy(
            &from,
            &Place {
                directory: from.directory.try_clone().unwrap(),
                name,
            },
        )
        .unwrap();
        for path in ["", "/sub", "/sub/file", "/link"] {
            let [of, copy] = ["tree", "copy"].map(|name| fs::symlink_metadata(at(&format!("{name}{path}"))).unwrap());
            let told = |data: &fs::Metadata| (data.mode(), data.uid(), data.mtime(), data.mtime_nsec());
            assert_eq!(told(&of), told(&copy), "{path}");
        }
        assert_eq!(fs::read_to_string(at("copy/sub/file")).unwrap(), "content");
        assert_eq!(fs::read_link(at("copy/link")).unwrap(), Path::new("../nowhere"));
        let mut value = [0; 8];
        let copied = fgetxattr(File::open(at("copy/sub/file")).unwrap(), "user.x", &mut value[..]);
        assert_eq!(copied.is_ok(), has_attributes);
        if listener.is_ok() {
            std::os::unix::net::UnixStream::connect(at("copy/socket")).unwrap();
        }
    }
}
