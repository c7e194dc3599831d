//! How trees are shown: by the kernel, or by making copies.

use std::path::Path;

/// How a store shows the trees of its snapshots. What it keeps has the same form either way, so a store that was filled
/// under one is used under the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Views {
    /// The kernel stacks the directories of snapshots (overlayfs). Needs the right to mount.
    #[default]
    Mounted,
    /// Trees are copied into ordinary directories, and what was changed there is found by looking. Needs no right but those
    /// over files, and more time and room: a copy of the whole tree at the beginning of each chain of steps.
    Copied,
}

/// What `statfs(2)` says of an overlay.
const OVERLAY: u64 = 0x794c_7630;

impl Views {
    /// Those that a store in `root` can have where mounting is allowed. An overlay takes no changes of another, so trees
    /// are copied where the store itself stands on one: on the root of a container, and not on a volume of it.
    #[must_use]
    pub fn fitting(root: &Path) -> Views {
        let absolute = std::path::absolute(root).unwrap_or_else(|_| root.to_owned());
        // The folder itself may not be there yet.
        let found = absolute.ancestors().find_map(|folder| rustix::fs::statfs(folder).ok());
        match found.is_some_and(|system| system.f_type as u64 == OVERLAY) {
            true => Views::Copied,
            false => Views::Mounted,
        }
    }
}
