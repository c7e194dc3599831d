//! How much a copy is about to write, so that there can be room for it first.

use super::error::FilesError;
use super::select::{Item, Source, Tree};

/// How many bytes the files have that a copy selects of a context; `None` of other trees, which nobody has walked.
///
/// # Errors
/// As the copy: if nothing is selected, or a file cannot be read.
pub fn size(tree: Tree<'_>, copy: &graph::Copy) -> Result<Option<u64>, FilesError> {
    let Tree::Context(_) = tree else { return Ok(None) };
    let selection = Source::open(tree)?.select(copy)?;
    let files = selection.items.iter().flat_map(Item::files);
    Ok(Some(files.map(|file| file.size()).fold(0, u64::saturating_add)))
}

/// How many bytes they have without the holes in them. Looks at each file.
///
/// # Errors
/// As [`size`].
pub fn size_on_disk(tree: Tree<'_>, copy: &graph::Copy) -> Result<u64, FilesError> {
    let source = Source::open(tree)?;
    let selection = source.select(copy)?;
    let mut bytes: u64 = 0;
    for item in &selection.items {
        let mut walk = item.walk();
        while let Some((_, entry)) = walk.step() {
            if entry.is_file()
                && let Some(status) = source.root().stat(entry.path)?
            {
                let blocks = status.st_blocks.cast_unsigned().saturating_mul(512);
                bytes = bytes.saturating_add(blocks.min(entry.size()));
            }
        }
    }
    Ok(bytes)
}
