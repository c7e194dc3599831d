//! How much a copy takes, before its first byte is copied.

use std::collections::HashSet;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::lay::Wanted;
use crate::overlay::{Merged, Shown};
use crate::{Error, Snapshot, Store};

/// What `stat(2)` counts in.
const BLOCK: u64 = 512;

impl Store {
    /// Makes room for laying `layers` into the tree at `path`, of which a part may be there, so that it is the tree of `whole`.
    ///
    /// # Errors
    /// [`Error::NoRoom`] if it cannot fit.
    pub(super) fn make_room_for_copy(
        &self,
        layers: &[(PathBuf, Wanted)],
        path: &Path,
        whole: &Snapshot,
    ) -> Result<(), Error> {
        let most = layers.iter().map(|(layer, _)| on_disk(layer)).sum();
        self.make_room(most, 0)?;
        // Blocks that are shared take no room.
        if self.free()? >= most || self.may_share_blocks() {
            return Ok(());
        }
        // What a layer replaces or removes of those below takes none either.
        let certain = shown(whole)?.saturating_sub(on_disk(path));
        self.make_room(certain, certain)
    }
}

/// What files take, each once.
#[derive(Default)]
struct Sum {
    bytes: u64,
    seen: HashSet<(u64, u64)>,
}

impl Sum {
    fn add(&mut self, blocks: u64, names: u64, inode: (u64, u64)) {
        if names < 2 || self.seen.insert(inode) {
            self.bytes = self.bytes.saturating_add(blocks.saturating_mul(BLOCK));
        }
    }
}

/// What the files below `directory` take. What cannot be read counts nothing: whoever copies it tells what is wrong.
fn on_disk(directory: &Path) -> u64 {
    let mut sum = Sum::default();
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        let entries = std::fs::read_dir(&directory).into_iter().flatten().flatten();
        let found: Vec<(PathBuf, Metadata)> = entries
            .filter_map(|entry| Some((entry.path(), entry.metadata().ok()?)))
            .collect();
        for (path, file) in found {
            match file.is_dir() {
                true => open.push(path),
                false => sum.add(file.blocks(), file.nlink(), (file.dev(), file.ino())),
            }
        }
    }
    sum.bytes
}

/// What the files that `snapshot` shows take.
fn shown(snapshot: &Snapshot) -> Result<u64, Error> {
    let mut sum = Sum::default();
    let mut open = vec![Merged::root(Some(snapshot))];
    while let Some(directory) = open.pop() {
        for name in directory.names()? {
            match directory.child(&name)? {
                Shown::Nothing => {}
                Shown::Directory(_, below) => open.push(below),
                Shown::File(found) => {
                    let stat = found.stat;
                    sum.add(
                        stat.st_blocks.cast_unsigned(),
                        stat.st_nlink,
                        (stat.st_dev, stat.st_ino),
                    );
                }
            }
        }
    }
    Ok(sum.bytes)
}
