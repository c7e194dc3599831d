//! What a store's place is good for: found out by trying, in a folder that is removed again.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::XattrFlags;
use rustix::mount::UnmountFlags;

use crate::error::failed;
use crate::overlay::{self, Writable};
use crate::remove::remove_tree;
use crate::{Error, Store};

/// What was found.
#[derive(Debug)]
pub struct Probe {
    /// The file system, by its usual name, or by its number where it has none here.
    pub file_system: String,
    /// Bytes that are free for us.
    pub free: u64,
    /// Bytes there are.
    pub size: u64,
    /// How many more files there can be; nothing where the file system has no limit.
    pub free_files: Option<u64>,
    /// Whether files can have `user` attributes, by which overlays mark directories.
    pub attributes: Result<(), Error>,
    /// Whether files can share their content.
    pub shares_content: bool,
    /// Whether overlays can be mounted and written to.
    pub overlay: Result<(), Error>,
    /// By how many seconds the file system's clock is ahead of ours.
    pub clock_ahead: i64,
}

impl Store {
    /// Tries what snapshots need of the file system that the store is on. To be called in the namespaces of a build.
    ///
    /// # Errors
    /// If nothing can be written there at all.
    pub fn probe(&self) -> Result<Probe, Error> {
        let folder = Folder::make(self.temporary())?;
        let space = rustix::fs::statvfs(&folder.0).map_err(failed("look at", &folder.0))?;
        let magic = rustix::fs::statfs(&folder.0)
            .map_err(failed("look at", &folder.0))?
            .f_type;
        let file = folder.0.join("file");
        fs::write(&file, "content").map_err(failed("write", &file))?;
        let written = fs::metadata(&file).map_err(failed("read", &file))?.mtime();
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |now| now.as_secs());
        Ok(Probe {
            file_system: name(magic as _),
            free: space.f_bavail.saturating_mul(space.f_frsize),
            size: space.f_blocks.saturating_mul(space.f_frsize),
            free_files: (space.f_files > 0).then_some(space.f_favail),
            attributes: rustix::fs::setxattr(&file, "user.rbuild.probe", b"y", XattrFlags::empty())
                .map_err(failed("set a `user` attribute of", &file)),
            shares_content: shares_content(&file).is_ok(),
            overlay: try_overlay(&folder.0),
            clock_ahead: written - now.cast_signed(),
        })
    }
}

/// A folder that goes again.
struct Folder(PathBuf);

impl Folder {
    fn make(path: PathBuf) -> Result<Folder, Error> {
        fs::create_dir(&path).map_err(failed("create", &path))?;
        Ok(Folder(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What stays is swept after the end of this process.
        let _ = remove_tree(&self.0);
    }
}

fn shares_content(file: &Path) -> io::Result<()> {
    let copy = File::create(file.with_file_name("copy"))?;
    Ok(rustix::fs::ioctl_ficlone(&copy, File::open(file)?)?)
}

/// Mounts one, reads through it, and removes a file of the lower directory.
fn try_overlay(folder: &Path) -> Result<(), Error> {
    let place = |name: &str| folder.join(name);
    for name in ["lower", "upper", "work", "merged"] {
        fs::create_dir(place(name)).map_err(failed("create", &place(name)))?;
    }
    let (below, above) = (place("lower/file"), place("merged/file"));
    fs::write(&below, "content").map_err(failed("write", &below))?;
    let writable = Writable {
        upper: &place("upper"),
        work: &place("work"),
    };
    let merged = place("merged");
    overlay::mount_directories(&[place("lower")], Some(&writable), &merged).map_err(|source| Error::Mount {
        path: merged.clone(),
        layers: 1,
        source: source.into(),
    })?;
    let read = fs::read(&above).map_err(failed("read", &above));
    let removed = read.and_then(|_| fs::remove_file(&above).map_err(failed("remove", &above)));
    let _ = rustix::mount::unmount(&merged, UnmountFlags::DETACH);
    removed?;
    let mark = place("upper/file");
    match rustix::fs::lstat(&mark).map_err(failed("read", &mark))? {
        stat if overlay::is_whiteout(&mark, &stat)? => Ok(()),
        _ => Err(failed("find the mark of a removal at", &mark)(io::Error::from(
            io::ErrorKind::InvalidData,
        ))),
    }
}

/// What people call the file system with this number.
fn name(magic: i64) -> String {
    let known = match magic {
        0xef53 => "ext4",
        0x5846_5342 => "xfs",
        0x9123_683e => "btrfs",
        0x0102_1994 => "tmpfs",
        0x8584_58f6 => "ramfs",
        0x794c_7630 => "overlay",
        0x6969 => "nfs",
        0x2fc1_2fc1 => "zfs",
        0x6573_5546 => "fuse",
        0xf2f5_2010 => "f2fs",
        0x0102_1997 => "9p",
        0xca45_1a4e => "bcachefs",
        0xf15f => "ecryptfs",
        0xfe53_4d42 | 0xff53_4d42 => "smb",
        _ => return format!("of number {magic:#x}"),
    };
    known.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_a_store_is_looked_at_and_left_clean() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path()).unwrap();
        let probe = store.probe().unwrap();
        assert!(probe.size >= probe.free && probe.free > 0, "{probe:?}");
        assert!(
            !probe.file_system.is_empty() && probe.clock_ahead.abs() < 60,
            "{probe:?}"
        );
        assert_eq!(fs::read_dir(store.path("tmp")).unwrap().count(), 0);
    }

    #[test]
    fn an_unknown_file_system_is_told_by_its_number() {
        assert_eq!((name(0xef53), name(0x1234)), ("ext4".into(), "of number 0x1234".into()));
    }
}
