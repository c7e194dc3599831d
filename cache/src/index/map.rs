//! Room for what SQLite maps into memory.
//!
//! Beside a database in WAL mode lies a file, `-shm`, through which processes share what they know of the journal. SQLite
//! writes one byte to each of its pages before it maps them, so that there is room for them on the disk. Where a block of
//! the file system is smaller than a page (ext4 up to 512 MiB), the rest of the page stays a hole; and whoever stores to
//! a hole when the disk is full is killed by SIGBUS (mmap(2)), without a word. So on such file systems there has to be
//! some room before the database is opened, and the holes are filled when it is.

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::FallocateFlags;

use crate::Error;
use crate::error::failed;

/// SQLite writes one byte in so many.
const TOUCHED: u64 = 4096;
/// What the database, its journal and that file take when they are made.
const ROOM: u64 = 512 << 10;

/// Whether the file of the database `path` would have holes.
///
/// # Errors
/// [`Error::IndexFull`] if there is not enough room to open it.
pub(super) fn has_holes(path: &Path) -> Result<bool, Error> {
    let folder = path.parent().unwrap_or(path);
    let system = rustix::fs::statvfs(folder).map_err(failed("look for room on", folder))?;
    let has_holes = system.f_frsize < TOUCHED;
    if has_holes && system.f_bavail.saturating_mul(system.f_frsize) < ROOM {
        return Err(full(io::ErrorKind::StorageFull.into()));
    }
    Ok(has_holes)
}

/// Fills those of the file of the open database `path`.
///
/// # Errors
/// [`Error::IndexFull`] if there is no room for that.
pub(super) fn fill_holes(path: &Path) -> Result<(), Error> {
    let file = File::options().write(true).open(path.with_extension("db-shm"));
    let fill = |file: File| {
        let length = file.metadata()?.len();
        if length > 0 {
            rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, length)?;
        }
        Ok(())
    };
    match file.and_then(fill) {
        // A file system that cannot, or has no such file, has no such holes.
        Err(error) if error.kind() == io::ErrorKind::Unsupported || error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(full(error)),
        Ok(()) => Ok(()),
    }
}

fn full(source: io::Error) -> Error {
    Error::IndexFull {
        action: "open the database",
        source,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_file_with_holes_has_its_blocks_afterwards() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("index.db");
        let shared = File::create(folder.path().join("index.db-shm")).unwrap();
        shared.set_len(64 << 10).unwrap();
        assert_eq!(shared.metadata().unwrap().blocks(), 0);
        fill_holes(&path).unwrap();
        assert_eq!(shared.metadata().unwrap().blocks() * 512, 64 << 10);
        assert_eq!(shared.metadata().unwrap().len(), 64 << 10);
    }
}
