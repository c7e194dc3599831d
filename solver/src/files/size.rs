//! How much a copy is about to write, so that there can be room for it first.

use super::error::FilesError;
use super::select::{Source, Tree};

/// How many bytes the files have that a copy selects of a context; `None` of other trees, which nobody has walked.
///
/// # Errors
/// As the copy: if nothing is selected, or a file cannot be read.
pub fn size(tree: Tree<'_>, copy: &graph::Copy) -> Result<Option<u64>, FilesError> {
    let Tree::Context(_) = tree else { return Ok(None) };
    let selection = Source::open(tree)?.select(copy)?;
    let entries = selection.items.iter().flat_map(|item| item.entries.iter());
    let files = entries.filter(|entry| entry.is_file());
    Ok(Some(files.map(super::entry::Entry::size).fold(0, u64::saturating_add)))
}

/// How many bytes they have without the holes in them. Looks at each file.
///
/// # Errors
/// As [`size`].
pub fn size_on_disk(tree: Tree<'_>, copy: &graph::Copy) -> Result<u64, FilesError> {
    let source = Source::open(tree)?;
    let selection = source.select(copy)?;
    let mut bytes: u64 = 0;
    for entry in selection.items.iter().flat_map(|item| item.entries.iter()) {
        if entry.is_file()
            && let Some(status) = source.root().stat(&entry.path)?
        {
            let blocks = status.st_blocks.cast_unsigned().saturating_mul(512);
            bytes = bytes.saturating_add(blocks.min(entry.size()));
        }
    }
    Ok(bytes)
}
