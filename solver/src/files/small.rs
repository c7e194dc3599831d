//! The small files of a tree, for looking into all of them at little cost.

use std::path::Path;

use rustix::fs::OFlags;
use std::io::Read as _;

use super::error::shown;
use super::filter::Filter;
use super::path::names;
use super::root::Root;
use super::walk::walk;

/// Larger files are not small.
const LARGEST: u64 = 64 << 10;
/// So many are looked into, those with the shortest ways first.
const MOST: usize = 4096;

/// The paths and contents of the small files below `root`. What cannot be read is left out, and so is what is behind
/// links.
pub(crate) fn small_files(root: &Path) -> impl Iterator<Item = (String, Vec<u8>)> {
    let root = Root::open(root).ok();
    let found = root.as_ref().and_then(|root| walk(root, b"", &Filter::default()).ok());
    let found = found.unwrap_or_default();
    let is_small = |place: &usize| found.is_file(*place) && (1..=LARGEST).contains(&found.facts(*place).size());
    let mut small: Vec<usize> = (0..found.len()).filter(is_small).collect();
    small.sort_by_cached_key(|place| (names(&found.path_of(*place)).count(), found.facts(*place).size()));
    small.truncate(MOST);
    small.into_iter().filter_map(move |place| {
        let path = found.path_of(place);
        let file = root.as_ref()?.open_resolved(&path, OFlags::RDONLY | OFlags::NONBLOCK);
        let mut content = Vec::new();
        let file = std::fs::File::from(file.ok()?);
        file.take(LARGEST).read_to_end(&mut content).ok()?;
        Some((shown(&path), content))
    })
}
