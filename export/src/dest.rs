//! A file that is there in full or not at all.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use oci::Digest;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat};
use rustix::io::Errno;
use tempfile::NamedTempFile;

use crate::Error;

/// Has `write` fill the file `dest`: a file without a name first, so that neither a failure nor our end leaves anything but
/// what was there. Missing directories above it are made, a link is followed, and what is no regular file (a pipe,
/// `/dev/null`) is written to as it is.
///
/// # Errors
/// What `write` returns, [`Error::DestinationIsDirectory`], or [`Error::Io`].
pub fn to_file<T>(dest: &Path, write: impl FnOnce(&mut File) -> Result<T, Error>) -> Result<T, Error> {
    match Place::of(dest)? {
        Place::File { path, permissions } => replace(&path, permissions, write),
        Place::Special => {
            let mut special = OpenOptions::new()
                .write(true)
                .open(dest)
                .map_err(Error::io("write", dest))?;
            write(&mut special)
        }
    }
}

/// What an export finds at its destination.
pub(crate) enum Place {
    /// A file or nothing yet, whatever links lead there; what a new file may be used for.
    File { path: PathBuf, permissions: Permissions },
    /// A pipe or a device.
    Special,
}

impl Place {
    /// Looks at `dest`. Missing directories above it are made.
    pub(crate) fn of(dest: &Path) -> Result<Place, Error> {
        match fs::metadata(dest) {
            Ok(found) if found.is_dir() => Err(Error::DestinationIsDirectory(dest.to_owned())),
            Ok(found) if found.is_file() => Ok(Place::File {
                path: fs::canonicalize(dest).map_err(Error::io("write", dest))?,
                permissions: found.permissions(),
            }),
            Ok(_) => Ok(Place::Special),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let parent = directory_of(dest);
                fs::create_dir_all(parent).map_err(Error::io("create directory", parent))?;
                Ok(Place::File {
                    path: dest.to_owned(),
                    permissions: Permissions::from_mode(0o666),
                })
            }
            Err(error) => Err(Error::io("write", dest)(error)),
        }
    }
}

/// As [`to_file`], for a file in a directory of ours. `permissions` are for a new file and lose what the umask forbids.
pub(crate) fn replace<T>(
    dest: &Path,
    permissions: Permissions,
    write: impl FnOnce(&mut File) -> Result<T, Error>,
) -> Result<T, Error> {
    let mut unfinished = Unfinished::beside(dest, permissions)?;
    let value = write(unfinished.file())?;
    unfinished.persist(dest)?;
    Ok(value)
}

/// A file of the destination's disk that nobody sees until it is finished.
#[derive(Debug)]
pub(crate) enum Unfinished {
    /// It has no name, so it goes with us, however we end.
    Nameless(File),
    /// Where the file system knows no files without names.
    Named(NamedTempFile),
}

impl Unfinished {
    /// An empty file in the directory of `dest`, gone if it is dropped.
    pub(crate) fn beside(dest: &Path, permissions: Permissions) -> Result<Unfinished, Error> {
        let directory = directory_of(dest);
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        match rustix::fs::open(directory, flags, Mode::from_raw_mode(permissions.mode() & 0o7777)) {
            Ok(file) => Ok(Unfinished::Nameless(file.into())),
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => tempfile::Builder::new()
                .prefix(".rbuild-")
                .permissions(permissions)
                .tempfile_in(directory)
                .map(Unfinished::Named)
                .map_err(Error::io("write", dest)),
            Err(error) => Err(Error::io("write", dest)(error)),
        }
    }

    pub(crate) fn file(&mut self) -> &mut File {
        match self {
            Unfinished::Nameless(file) => file,
            Unfinished::Named(file) => file.as_file_mut(),
        }
    }

    /// Gives the file its name.
    pub(crate) fn persist(self, dest: &Path) -> Result<(), Error> {
        let outcome = match self {
            Unfinished::Nameless(file) => name(&file, dest),
            Unfinished::Named(file) => file.persist(dest).map(drop).map_err(|error| error.error),
        };
        outcome.map_err(Error::io("write", dest))
    }
}

/// Names a file that has no name. What has the name already is replaced in one step, which only a file with a name can do:
/// it gets another first. That one is always the same, so that the next export takes it away should we end in between. Who
/// holds it has its file locked: the kernel lets go of the lock when a process ends, whichever way.
fn name(file: &File, dest: &Path) -> io::Result<()> {
    let here = format!("/proc/self/fd/{}", file.as_raw_fd());
    let link = |to: &Path| linkat(CWD, here.as_str(), CWD, to, AtFlags::SYMLINK_FOLLOW);
    match link(dest) {
        Err(Errno::EXIST) => {}
        outcome => return Ok(outcome?),
    }
    let name = dest.file_name().unwrap_or_default().as_encoded_bytes();
    let passing = directory_of(dest).join(format!(".rbuild-{}", &Digest::of(name).hex()[..16]));
    file.lock()?;
    loop {
        match link(&passing) {
            Err(Errno::EXIST) => remove_left(&passing)?,
            outcome => break outcome?,
        }
    }
    fs::rename(&passing, dest).inspect_err(|_| drop(fs::remove_file(&passing)))
}

/// Waits until nobody holds the name `passing`, and takes it away if its holder has ended without doing so.
fn remove_left(passing: &Path) -> io::Result<()> {
    let gone = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    };
    let held = match File::open(passing) {
        Ok(held) => held,
        Err(error) => return gone(error),
    };
    held.lock()?;
    let of = |found: &fs::Metadata| (found.dev(), found.ino());
    match fs::symlink_metadata(passing) {
        Ok(now) if of(&now) == of(&held.metadata()?) => fs::remove_file(passing),
        Ok(_) => Ok(()),
        Err(error) => gone(error),
    }
}

fn directory_of(dest: &Path) -> &Path {
    match dest.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn write_new(file: &mut File) -> Result<(), Error> {
        file.write_all(b"new").map_err(Error::Write)
    }

    fn names_in(directory: &Path) -> usize {
        fs::read_dir(directory).unwrap().count()
    }

    #[test]
    fn a_failure_leaves_what_was_there() {
        let directory = tempfile::tempdir().unwrap();
        let dest = directory.path().join("image.tar");
        fs::write(&dest, "old").unwrap();
        let failed: Result<(), Error> = to_file(&dest, |file| {
            write_new(file)?;
            Err(Error::Write(io::Error::other("no more space")))
        });
        assert!(failed.is_err());
        assert_eq!(fs::read(&dest).unwrap(), b"old");
        assert_eq!(names_in(directory.path()), 1);
        to_file(&dest, write_new).unwrap();
        assert_eq!(fs::read(&dest).unwrap(), b"new");
        assert_eq!(names_in(directory.path()), 1);
    }

    #[test]
    fn links_stay_links_and_directories_are_made() {
        let directory = tempfile::tempdir().unwrap();
        let dest = directory.path().join("a/b/image.tar");
        to_file(&dest, write_new).unwrap();
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&dest, &link).unwrap();
        to_file(&link, write_new).unwrap();
        assert!(link.is_symlink());
        assert!(to_file(directory.path(), write_new).is_err());
    }

    #[test]
    fn many_at_once_write_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let dest = directory.path().join("index.json");
        let passing = format!(".rbuild-{}", &Digest::of(b"index.json").hex()[..16]);
        fs::write(directory.path().join(passing), "what a killed export left").unwrap();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..200).for_each(|_| to_file(&dest, write_new).unwrap()));
            }
        });
        assert_eq!(fs::read(&dest).unwrap(), b"new");
        assert_eq!(names_in(directory.path()), 1);
    }

    #[test]
    fn devices_are_written_to_and_not_replaced() {
        to_file(Path::new("/dev/null"), write_new).unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }
}
