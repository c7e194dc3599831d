//! Paths inside a root directory that is not ours: every step is taken by hand, so that no link leads out.
//!
//! `openat2(RESOLVE_IN_ROOT)` would find a path that exists, but does not say where one that is missing ends; mount
//! points have to be made exactly there, also behind a dangling link.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, Timespec, Timestamps};
use rustix::io::Errno;

/// As many links as the kernel follows.
const MOST_LINKS: usize = 40;

/// Where a path leads.
pub(crate) enum Found {
    /// To this, opened with `O_PATH`.
    Here(OwnedFd),
    /// To nothing: `names` are missing, one in the other, in `parent`.
    Missing {
        /// The last directory there is, opened for reading.
        parent: OwnedFd,
        /// At least one.
        names: Vec<OsString>,
    },
}

/// Where something is: in this directory, opened for reading, under this name.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) directory: OwnedFd,
    pub(crate) name: OsString,
}

/// Follows `path` from `root`, which it cannot leave.
pub(crate) fn find(root: BorrowedFd<'_>, path: &Path) -> io::Result<Found> {
    Ok(match walk(root, path)? {
        Walked::Here { found, .. } => Found::Here(found),
        Walked::Missing { parent, names } => Found::Missing { parent, names },
    })
}

/// The place of what `path` leads to, which is there and is not the root itself.
pub(crate) fn place(root: BorrowedFd<'_>, path: &Path) -> io::Result<Place> {
    match walk(root, path)? {
        Walked::Here { place, .. } => place.map_or(Err(Errno::BUSY.into()), |(parent, name)| {
            let directory = open_to_read(&parent)?;
            Ok(Place { directory, name })
        }),
        Walked::Missing { .. } => Err(Errno::NOENT.into()),
    }
}

/// Where a path leads, and how it came there.
enum Walked {
    Here {
        found: OwnedFd,
        /// Its directory and its name in it; the root has none.
        place: Option<(OwnedFd, OsString)>,
    },
    Missing {
        parent: OwnedFd,
        names: Vec<OsString>,
    },
}

fn walk(root: BorrowedFd<'_>, path: &Path) -> io::Result<Walked> {
    let mut directories = vec![(root.try_clone_to_owned()?, OsString::new())];
    let mut ahead: VecDeque<OsString> = names(path).into();
    let mut links = 0;
    while let Some(name) = ahead.pop_front() {
        if name == ".." {
            if directories.len() > 1 {
                directories.pop();
            }
            continue;
        }
        let (here, _) = directories.last().expect("the root is never popped");
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let next = match rustix::fs::openat(here, &name, flags, Mode::empty()) {
            Ok(next) => next,
            Err(Errno::NOENT) => return missing(here, name, ahead),
            Err(error) => return Err(error.into()),
        };
        match FileType::from_raw_mode(rustix::fs::fstat(&next)?.st_mode) {
            FileType::Symlink => {
                links += 1;
                if links > MOST_LINKS {
                    return Err(Errno::LOOP.into());
                }
                let target = OsString::from_vec(rustix::fs::readlinkat(&next, "", Vec::new())?.into_bytes());
                let target = Path::new(&target);
                if target.is_absolute() {
                    directories.truncate(1);
                }
                for name in names(target).into_iter().rev() {
                    ahead.push_front(name);
                }
            }
            FileType::Directory => directories.push((next, name)),
            _ if ahead.is_empty() => {
                let place = directories.pop().map(|(directory, _)| (directory, name));
                return Ok(Walked::Here { found: next, place });
            }
            _ => return Err(Errno::NOTDIR.into()),
        }
    }
    let (found, name) = directories.pop().expect("the root is never popped");
    let place = directories.pop().map(|(directory, _)| (directory, name));
    Ok(Walked::Here { found, place })
}

fn missing(parent: &OwnedFd, name: OsString, rest: VecDeque<OsString>) -> io::Result<Walked> {
    // What `..` means in a directory that is not there, nobody can tell.
    if rest.iter().any(|name| name == "..") {
        return Err(Errno::NOENT.into());
    }
    let parent = open_to_read(parent)?;
    let names = std::iter::once(name).chain(rest).collect();
    Ok(Walked::Missing { parent, names })
}

/// A directory that was only looked up so far.
fn open_to_read(directory: &OwnedFd) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(directory, ".", flags, Mode::empty())?)
}

fn names(path: &Path) -> Vec<OsString> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some(OsString::from("..")),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        })
        .collect()
}

/// What a mount needs to be put on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An empty directory.
    Directory,
    /// An empty file.
    File,
}

impl Kind {
    /// What can be put on something like `fd`.
    pub(crate) fn of(fd: impl AsFd) -> io::Result<Kind> {
        let directory = FileType::from_raw_mode(rustix::fs::fstat(fd)?.st_mode) == FileType::Directory;
        Ok(if directory { Kind::Directory } else { Kind::File })
    }
}

/// Opens `path` inside `root`, made with all that leads to it if missing; making it leaves no trace in the times of the
/// directory it is made in.
pub(crate) fn find_or_make(root: BorrowedFd<'_>, path: &Path, kind: Kind) -> io::Result<OwnedFd> {
    let (parent, mut names) = match find(root, path)? {
        Found::Here(fd) => return Ok(fd),
        Found::Missing { parent, names } => (parent, names),
    };
    let times = times(&parent)?;
    let last = names.pop().expect("at least one name is missing");
    let mut here = parent.try_clone()?;
    for name in names {
        here = make_directory(&here, &name)?;
    }
    let made = match kind {
        Kind::Directory => make_directory(&here, &last)?,
        Kind::File => {
            let flags = OFlags::RDONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
            rustix::fs::openat(&here, &last, flags, Mode::from_raw_mode(0o644))?
        }
    };
    rustix::fs::futimens(&parent, &times)?;
    Ok(made)
}

/// Makes a directory and opens it.
pub(crate) fn make_directory(parent: impl AsFd, name: &std::ffi::OsStr) -> io::Result<OwnedFd> {
    match rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(&parent, name, flags, Mode::empty())?)
}

/// When `fd` was last read and written.
pub(crate) fn times(fd: impl AsFd) -> io::Result<Timestamps> {
    Ok(times_of(&rustix::fs::fstat(fd)?))
}

/// When what was looked at was last read and written.
pub(crate) fn times_of(stat: &Stat) -> Timestamps {
    Timestamps {
        last_access: Timespec {
            tv_sec: stat.st_atime,
            tv_nsec: stat.st_atime_nsec as _,
        },
        last_modification: Timespec {
            tv_sec: stat.st_mtime,
            tv_nsec: stat.st_mtime_nsec as _,
        },
    }
}

/// What `name` in `directory` is, itself and not what it links to.
pub(crate) fn kind_and_size(directory: impl AsFd, name: &std::ffi::OsStr) -> io::Result<(FileType, u64)> {
    let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok((
        FileType::from_raw_mode(stat.st_mode),
        u64::try_from(stat.st_size).unwrap_or(0),
    ))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn open(path: &Path) -> OwnedFd {
        rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap()
    }

    #[test]
    fn links_stay_inside_the_root() {
        let root = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("etc")).unwrap();
        for (link, target) in [
            ("absolute", outside.path().to_path_buf()),
            ("up", "../../../../../../../../tmp".into()),
            ("etc/dangling", "/run/made/later".into()),
        ] {
            symlink(target, root.path().join(link)).unwrap();
        }
        for path in ["/absolute/x", "/up/y", "/etc/dangling", "../../z"] {
            find_or_make(open(root.path()).as_fd(), Path::new(path), Kind::File).unwrap();
        }
        assert!(fs::read_dir(outside.path()).unwrap().next().is_none());
        for made in ["tmp/y", "run/made/later", "z"] {
            assert!(root.path().join(made).is_file(), "{made}");
        }
        assert!(
            root.path()
                .join(outside.path().strip_prefix("/").unwrap())
                .join("x")
                .is_file()
        );
    }

    #[test]
    fn a_place_is_where_the_links_lead() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("usr/lib")).unwrap();
        fs::write(root.path().join("usr/lib/file"), "").unwrap();
        symlink("/usr/lib", root.path().join("lib")).unwrap();
        for (path, name, beside) in [
            ("/lib/file", "file", "file"),
            ("/lib", "lib", "lib"),
            ("usr/lib/..", "usr", "usr"),
        ] {
            let place = place(open(root.path()).as_fd(), Path::new(path)).unwrap();
            assert_eq!(place.name, name);
            assert!(
                rustix::fs::accessat(&place.directory, beside, rustix::fs::Access::EXISTS, AtFlags::empty()).is_ok()
            );
        }
        assert!(place(open(root.path()).as_fd(), Path::new("/usr/..")).is_err());
    }

    #[test]
    fn a_circle_of_links_is_an_error() {
        let root = tempfile::tempdir().unwrap();
        symlink("b", root.path().join("a")).unwrap();
        symlink("a", root.path().join("b")).unwrap();
        assert!(find(open(root.path()).as_fd(), Path::new("/a")).is_err());
    }

    #[test]
    fn making_a_mount_point_keeps_the_times_of_its_directory() {
        let root = tempfile::tempdir().unwrap();
        let before = fs::metadata(root.path()).unwrap().modified().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20));
        find_or_make(open(root.path()).as_fd(), Path::new("/a/b/c"), Kind::Directory).unwrap();
        assert_eq!(fs::metadata(root.path()).unwrap().modified().unwrap(), before);
    }
}
