//! Files that have nothing to do with what is unpacked beside them, and are looked at afterwards.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// A folder with `outside/file` in it, and whatever the target puts beside. It is the current directory, so that
/// `/proc/self/cwd/outside/file` is an absolute name of the file, whatever the folder is called.
pub(crate) struct Outside {
    folder: TempDir,
    before: Vec<Seen>,
}

/// All that would change if a file were written, replaced, linked, dressed or removed.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    path: PathBuf,
    inode: u64,
    mode: u32,
    owner: (u32, u32),
    links: u64,
    changed: (i64, i64),
}

impl Outside {
    pub(crate) fn new() -> Outside {
        // In memory, where there is such a place.
        let memory = Path::new("/dev/shm");
        let folder = match memory.is_dir() {
            true => tempfile::tempdir_in(memory),
            false => tempfile::tempdir(),
        };
        let folder = folder.expect("a folder of our own");
        let outside = folder.path().join("outside");
        fs::create_dir(&outside).expect("a folder in it");
        fs::write(outside.join("file"), "untouched").expect("a file in that");
        std::env::set_current_dir(folder.path()).expect("a folder can be entered");
        let before = look(&outside);
        Outside { folder, before }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Panics if something there is not as it was.
    pub(crate) fn check(&self) {
        let outside = self.folder.path().join("outside");
        assert_eq!(look(&outside), self.before);
        assert_eq!(fs::read(outside.join("file")).expect("it is there"), b"untouched");
    }
}

fn look(folder: &Path) -> Vec<Seen> {
    let names = fs::read_dir(folder)
        .expect("it is there")
        .map(|entry| entry.expect("it has a name").path());
    let mut paths: Vec<PathBuf> = names.chain([folder.to_owned()]).collect();
    paths.sort();
    let seen = paths.into_iter().map(|path| {
        let found = fs::symlink_metadata(&path).expect("it is there");
        Seen {
            path,
            inode: found.ino(),
            mode: found.mode(),
            owner: (found.uid(), found.gid()),
            links: found.nlink(),
            changed: (found.ctime(), found.ctime_nsec()),
        }
    });
    seen.collect()
}
