//! A tar archive as a directory of files, by an index of offsets. Nothing is unpacked, links are not followed.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use super::{cannot_read, no_layout};
use crate::Error;

/// More entries than any image has blobs: a bound on memory for hostile archives.
const ENTRY_LIMIT: usize = 1 << 20;

/// An open archive and where its regular files lie in it.
pub(super) struct Archive {
    file: Arc<File>,
    places: HashMap<String, Place>,
}

#[derive(Clone, Copy)]
struct Place {
    offset: u64,
    size: u64,
}

/// One file of an archive. Several may be read at the same time: each reads at its own position.
pub(super) struct ArchivedFile {
    file: Arc<File>,
    offset: u64,
    left: u64,
}

impl Archive {
    pub(super) fn open(path: &Path) -> Result<Archive, Error> {
        let unreadable = |source| cannot_read(path, source);
        let no_tar =
            |error: io::Error| no_layout(path, format!("it is neither a directory nor a tar archive: {error}"));
        let file = File::open(path).map_err(unreadable)?;
        refuse_compressed(&file, path)?;
        let length = file.metadata().map_err(unreadable)?.len();
        let mut places = HashMap::new();
        for entry in tar::Archive::new(&file).entries_with_seek().map_err(no_tar)? {
            let entry = entry.map_err(no_tar)?;
            if !entry.header().entry_type().is_file() {
                continue;
            }
            let place = Place {
                offset: entry.raw_file_position(),
                size: entry.size(),
            };
            let name = clean_name(&String::from_utf8_lossy(&entry.path_bytes()));
            if place.offset.checked_add(place.size).is_none_or(|end| end > length) {
                return Err(no_layout(path, format!("the archive ends within `{name}`")));
            }
            places.insert(name, place);
            if places.len() > ENTRY_LIMIT {
                return Err(no_layout(path, format!("it has more than {ENTRY_LIMIT} entries")));
            }
        }
        Ok(Archive {
            file: Arc::new(file),
            places,
        })
    }

    /// The regular file of that name; of several, the last, as unpacking would have it.
    pub(super) fn file(&self, name: &str) -> Option<ArchivedFile> {
        let place = self.places.get(name)?;
        Some(ArchivedFile {
            file: Arc::clone(&self.file),
            offset: place.offset,
            left: place.size,
        })
    }

    /// The first components of all names.
    pub(super) fn top_level(&self) -> BTreeSet<String> {
        let first = |name: &String| name.split('/').next().unwrap_or_default().to_owned();
        self.places.keys().map(first).collect()
    }
}

impl fmt::Debug for Archive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Archive")
            .field("files", &self.places.len())
            .finish_non_exhaustive()
    }
}

impl ArchivedFile {
    pub(super) fn size(&self) -> u64 {
        self.left
    }
}

impl Read for ArchivedFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if wanted == 0 {
            return Ok(0);
        }
        let count = self.file.read_at(&mut buffer[..wanted], self.offset)?;
        if count == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the archive became shorter while it was read",
            ));
        }
        self.offset += count as u64;
        self.left -= count as u64;
        Ok(count)
    }
}

/// Compressed archives cannot be read in place; the user is told instead of shown a broken tar.
fn refuse_compressed(file: &File, path: &Path) -> Result<(), Error> {
    let mut magic = [0; 6];
    let count = file
        .read_at(&mut magic, 0)
        .map_err(|source| cannot_read(path, source))?;
    let kind = match &magic[..count] {
        [0x1f, 0x8b, ..] => "gzip",
        [0x28, 0xb5, 0x2f, 0xfd, ..] => "zstd",
        [b'B', b'Z', b'h', ..] => "bzip2",
        [0xfd, b'7', b'z', b'X', b'Z', 0] => "xz",
        _ => return Ok(()),
    };
    let reason = format!("it is compressed with {kind}; uncompress it first");
    Err(no_layout(path, reason))
}

fn clean_name(name: &str) -> String {
    let parts = name.split('/').filter(|part| !part.is_empty() && *part != ".");
    parts.collect::<Vec<_>>().join("/")
}
