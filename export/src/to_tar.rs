//! Root file systems as one tar archive: owners, modes, times, hard links, nodes and file capabilities as they are.
//! Sockets are left out, as no archive can hold them.

use std::collections::{HashMap, HashSet};
use std::fs::{self, Metadata};
use std::io::Write;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use cache::{Owner, Owners};
use rustix::fs::FileType;
use rustix::io::Errno;
use tar::EntryType;

use crate::archive::{Archive, Entry};
use crate::walk::{Found, walk};
use crate::{Error, Tree, refuse_collisions};

const CAPABILITY: &str = "security.capability";
/// More than the largest form of a file capability.
const CAPABILITY_LIMIT: usize = 64;

/// Writes what is below the mounted `trees`, in the order of their folders. With `epoch` all entries have that time.
///
/// # Errors
/// [`Error::Collision`] if trees meet, or if reading or writing fails.
pub fn to_tar(trees: &[Tree<'_>], epoch: Option<i64>, out: impl Write) -> Result<(), Error> {
    refuse_collisions(trees)?;
    let mut archive = Archive::new(out);
    let mut sorted: Vec<_> = trees.iter().map(|tree| (tree.folder(), tree)).collect();
    sorted.sort_by(|a, b| a.0.cmp(&b.0));
    sorted.dedup_by(|next, kept| next.0.is_some() && next.0 == kept.0);
    let mut directories = HashSet::new();
    for (folder, tree) in sorted {
        let prefix = folder.map(|folder| format!("{folder}/")).unwrap_or_default();
        if !prefix.is_empty() {
            let entry = Entry::new(prefix.as_bytes(), EntryType::Directory, 0o755);
            archive.bare(&Entry {
                mtime: epoch.unwrap_or(0),
                ..entry
            })?;
        }
        let mut links = HashMap::new();
        walk(tree.path, |found| {
            // Folders of merged trees meet; what the first says of them holds.
            let is_known = prefix.is_empty() && found.metadata.is_dir() && !directories.insert(found.relative.clone());
            if is_known {
                return Ok(());
            }
            let owner = owner(&tree.owners, found)?;
            append(&mut archive, (prefix.as_bytes(), found, owner), epoch, &mut links)
        })?;
    }
    archive.finish()
}

/// The names of files that have several, by device and inode.
type Links = HashMap<(u64, u64), Vec<u8>>;

fn append<W: Write>(
    archive: &mut Archive<W>,
    (prefix, found, (uid, gid)): (&[u8], &Found, Owner),
    epoch: Option<i64>,
    links: &mut Links,
) -> Result<(), Error> {
    let metadata = &found.metadata;
    let Some(kind) = kind_of(metadata) else {
        return Ok(());
    };
    let mut name = [prefix, found.relative.as_os_str().as_bytes()].concat();
    if kind == EntryType::Directory {
        name.push(b'/');
    }
    let mut entry = Entry {
        uid,
        gid,
        mtime: epoch.unwrap_or(metadata.mtime()),
        ..Entry::new(&name, kind, metadata.mode())
    };
    if metadata.nlink() > 1 && kind != EntryType::Directory {
        let first = links
            .entry((metadata.dev(), metadata.ino()))
            .or_insert_with(|| name.clone());
        if *first != name {
            entry.kind = EntryType::Link;
            entry.link = first;
            return archive.bare(&entry);
        }
    }
    match kind {
        EntryType::Regular => {
            let capability = capability(&found.path)?;
            entry.xattrs = capability.as_slice();
            entry.size = metadata.len();
            archive.file(&entry, &found.path)
        }
        EntryType::Symlink => {
            let target = fs::read_link(&found.path).map_err(Error::io("read", &found.path))?;
            let target = target.into_os_string().into_vec();
            entry.link = &target;
            archive.bare(&entry)
        }
        EntryType::Char | EntryType::Block => {
            entry.device = (rustix::fs::major(metadata.rdev()), rustix::fs::minor(metadata.rdev()));
            archive.bare(&entry)
        }
        _ => archive.bare(&entry),
    }
}

/// Whose it is: what is recorded counts before what the file system says.
fn owner(owners: &Owners, found: &Found) -> Result<Owner, Error> {
    let kind = FileType::from_raw_mode(found.metadata.mode());
    let recorded = owners.recorded(&found.path, found.relative.as_os_str().as_bytes(), kind);
    let recorded = recorded.map_err(Error::io("read the owner of", &found.path))?;
    Ok(recorded.unwrap_or((found.metadata.uid(), found.metadata.gid())))
}

/// `None` for a socket.
fn kind_of(metadata: &Metadata) -> Option<EntryType> {
    let kind = metadata.file_type();
    if kind.is_dir() {
        Some(EntryType::Directory)
    } else if kind.is_file() {
        Some(EntryType::Regular)
    } else if kind.is_symlink() {
        Some(EntryType::Symlink)
    } else if kind.is_char_device() {
        Some(EntryType::Char)
    } else if kind.is_block_device() {
        Some(EntryType::Block)
    } else if kind.is_fifo() {
        Some(EntryType::Fifo)
    } else {
        None
    }
}

fn capability(path: &Path) -> Result<Option<(&'static str, Vec<u8>)>, Error> {
    let mut value = [0; CAPABILITY_LIMIT];
    match rustix::fs::lgetxattr(path, CAPABILITY, &mut value) {
        Ok(length) => Ok(Some((CAPABILITY, value[..length].to_vec()))),
        Err(Errno::NODATA | Errno::NOTSUP) => Ok(None),
        Err(error) => Err(Error::io("read the capabilities of", path)(error)),
    }
}

#[cfg(test)]
mod tests;
