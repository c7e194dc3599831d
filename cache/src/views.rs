//! How trees are shown: by the kernel, or by making copies.

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
