//! The content key of a copy: what it selects, and nothing of what it does not.
//!
//! The blake3, with its own domain, of a sequence of fields, each preceded by its length in 8 bytes little-endian; numbers
//! are 8 bytes little-endian. For each selected item, in order: its name if that matters (a wildcard found it, or it is no
//! directory), then of each entry the path from the item on, the kind, mode, user, group, the size of a file, the device of
//! a device node, the target of a link, the digest of a file. Times are never part of it, nor is where the item was, nor
//! what the root directory of a tree is like.

use rustix::fs::FileType;

use super::entry::Entry;
use super::error::FilesError;
use super::select::{Item, Selection, Source, Tree};

const DOMAIN: &str = "rbuild copy selection v1";

/// So many files have a name of their own when a miss is explained.
const MOST_COMPONENTS: usize = 1000;

/// So many bytes are hashed at a time.
const RUN: usize = 32 * 1024;

/// Whether the name of a selected item is part of the checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Named {
    /// If a wildcard found it, or it is no directory: then the copy has that name.
    WhereItMatters,
    /// Not at all.
    Never,
}

/// The digest of what `copy` selects from `tree`.
///
/// # Errors
/// If a source that is no wildcard is missing, or something selected cannot be read.
pub fn checksum(tree: Tree<'_>, copy: &graph::Copy) -> Result<[u8; 32], FilesError> {
    let source = Source::open(tree)?;
    let selection = source.select(copy)?;
    checksum_of(&source, &selection, Named::WhereItMatters)
}

/// The digest of a selection.
pub(super) fn checksum_of(
    source: &Source<'_>,
    selection: &Selection<'_>,
    named: Named,
) -> Result<[u8; 32], FilesError> {
    let mut fields = Fields::new();
    for item in &selection.items {
        let matters = selection.wildcard || !item.top().is_directory();
        let named = matters && named == Named::WhereItMatters;
        fields.bytes(if named { &item.name } else { b"" });
        fields.number(item.len() as u64);
        let digests = source.digests(item)?;
        let digests = digests.list().read();
        let (digests, _) = digests.as_chunks::<32>();
        let mut walk = item.walk();
        while let Some((place, entry)) = walk.step() {
            fields.bytes(item.relative(entry.path));
            fields.entry(source, &entry, &digests[place]);
        }
    }
    Ok(fields.finish())
}

/// The files that `copy` selects, and a short digest of each: at most a thousand, so that a miss can name what changed.
///
/// # Errors
/// As [`checksum`].
pub fn components(tree: Tree<'_>, copy: &graph::Copy) -> Result<Vec<(String, String)>, FilesError> {
    let source = Source::open(tree)?;
    let selection = source.select(copy)?;
    components_of(&source, &selection)
}

/// The files of a selection, and a short digest of each.
pub(super) fn components_of(
    source: &Source<'_>,
    selection: &Selection<'_>,
) -> Result<Vec<(String, String)>, FilesError> {
    let mut components = Vec::new();
    for item in &selection.items {
        let digests = source.digests(item)?;
        let digests = digests.list().read();
        let (digests, _) = digests.as_chunks::<32>();
        let mut walk = item.walk();
        while let Some((place, entry)) = walk.step() {
            if components.len() == MOST_COMPONENTS {
                return Ok(components);
            }
            if !entry.path.is_empty() {
                let mut fields = Fields::new();
                fields.entry(source, &entry, &digests[place]);
                let short = blake3::Hash::from_bytes(fields.finish()).to_hex()[..16].to_owned();
                components.push((component_name(item, &entry), short));
            }
        }
    }
    Ok(components)
}

fn component_name(item: &Item<'_>, entry: &Entry<'_>) -> String {
    let path = if item.top().is_directory() {
        entry.path
    } else {
        &*item.name
    };
    String::from_utf8_lossy(path).into_owned()
}

/// Fields on their way into a digest: many at a time, for of a long run of bytes the hasher does several pieces at once.
struct Fields {
    waiting: Vec<u8>,
    hasher: blake3::Hasher,
}

impl Fields {
    fn new() -> Fields {
        Fields {
            waiting: Vec::new(),
            hasher: blake3::Hasher::new_derive_key(DOMAIN),
        }
    }

    fn finish(mut self) -> [u8; 32] {
        *self.hasher.update(&self.waiting).finalize().as_bytes()
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.waiting.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        self.waiting.extend_from_slice(bytes);
        if self.waiting.len() >= RUN {
            self.hasher.update(&self.waiting);
            self.waiting.clear();
        }
    }

    fn number(&mut self, number: u64) {
        self.bytes(&number.to_le_bytes());
    }

    fn entry(&mut self, source: &Source<'_>, entry: &Entry<'_>, digest: &[u8; 32]) {
        let (user, group) = source.owner(entry);
        let is_root = entry.path.is_empty();
        self.bytes(kind(entry.kind));
        self.number(if is_root { 0 } else { u64::from(entry.mode) });
        self.number(if is_root { 0 } else { u64::from(user) });
        self.number(if is_root { 0 } else { u64::from(group) });
        match entry.kind {
            FileType::RegularFile => {
                self.number(entry.size());
                self.bytes(digest);
            }
            FileType::Symlink => self.bytes(entry.target()),
            FileType::BlockDevice | FileType::CharacterDevice => self.number(entry.device()),
            _ => {}
        }
    }
}

fn kind(kind: FileType) -> &'static [u8] {
    match kind {
        FileType::RegularFile => b"file",
        FileType::Directory => b"directory",
        FileType::Symlink => b"link",
        FileType::Fifo => b"fifo",
        FileType::Socket => b"socket",
        FileType::CharacterDevice => b"character device",
        FileType::BlockDevice => b"block device",
        FileType::Unknown => b"unknown",
    }
}
