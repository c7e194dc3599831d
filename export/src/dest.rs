//! A file that is there in full or not at all.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tempfile::NamedTempFile;

use crate::Error;

/// Has `write` fill the file `dest`: beside it first, then renamed, so that a failure leaves what was there. Missing
/// directories above it are made, a link is followed, and what is no regular file (a pipe, `/dev/null`) is written to
/// as it is.
///
/// # Errors
/// What `write` returns, [`Error::DestinationIsDirectory`], or [`Error::Io`].
pub fn to_file<T>(dest: &Path, write: impl FnOnce(&mut File) -> Result<T, Error>) -> Result<T, Error> {
    match fs::metadata(dest) {
        Ok(found) if found.is_dir() => Err(Error::DestinationIsDirectory(dest.to_owned())),
        Ok(found) if found.is_file() => {
            let behind_links = fs::canonicalize(dest).map_err(Error::io("write", dest))?;
            replace(&behind_links, found.permissions(), write)
        }
        Ok(_) => {
            let mut special = OpenOptions::new()
                .write(true)
                .open(dest)
                .map_err(Error::io("write", dest))?;
            write(&mut special)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let parent = directory_of(dest);
            fs::create_dir_all(parent).map_err(Error::io("create directory", parent))?;
            replace(dest, Permissions::from_mode(0o666), write)
        }
        Err(error) => Err(Error::io("write", dest)(error)),
    }
}

/// As [`to_file`], for a file in a directory of ours. `permissions` are for a new file and lose what the umask forbids.
pub(crate) fn replace<T>(
    dest: &Path,
    permissions: Permissions,
    write: impl FnOnce(&mut File) -> Result<T, Error>,
) -> Result<T, Error> {
    let mut temporary = beside(dest, permissions)?;
    let value = write(temporary.as_file_mut())?;
    persist(temporary, dest)?;
    Ok(value)
}

/// An empty file in the directory of `dest`, gone if it is dropped.
pub(crate) fn beside(dest: &Path, permissions: Permissions) -> Result<NamedTempFile, Error> {
    tempfile::Builder::new()
        .prefix(".rbuild-")
        .permissions(permissions)
        .tempfile_in(directory_of(dest))
        .map_err(Error::io("write", dest))
}

/// Gives the file its name.
pub(crate) fn persist(temporary: NamedTempFile, dest: &Path) -> Result<(), Error> {
    let persisted = temporary.persist(dest);
    persisted
        .map_err(|error| Error::io("write", dest)(error.error))
        .map(|_| ())
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
    fn devices_are_written_to_and_not_replaced() {
        to_file(Path::new("/dev/null"), write_new).unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }
}
