//! A tar archive as a directory of files, by an index of offsets. Nothing is unpacked, links are not followed.
//!
//! Only files that a layout has are remembered, and headers have a limit, so memory is bounded whatever the archive.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use tar_core::parse::{Limits, ParseEvent, Parser};
use tar_core::{EntryType, Header};

use super::{cannot_read, no_layout};
use crate::Error;

const BLOCK: usize = 512;
/// The headers of one entry, with its name and attributes, are never longer in an archive that is one.
const LONGEST_HEADERS: usize = 2 << 20;
const TOO_LONG: &str = "the headers of one entry have more than 2 MiB";
/// More than any layout has.
const FILE_LIMIT: usize = 1 << 18;
/// `sha512/` and 128 digits.
const LONGEST_BLOB_NAME: usize = 7 + 128;
/// Other names are kept only to be shown.
const TOP_LEVEL_KEPT: usize = 64;

/// An open archive and where its regular files lie in it.
pub(super) struct Archive {
    file: Arc<File>,
    places: HashMap<String, Place>,
    top_level: BTreeSet<String>,
}

/// The headers of an archive, one after the other.
struct Headers {
    file: Arc<File>,
    parser: Parser,
    /// Where in the file the next header begins, and what of it is read already.
    offset: u64,
    read: Vec<u8>,
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
        let file = File::open(path).map_err(unreadable)?;
        refuse_compressed(&file, path)?;
        let length = file.metadata().map_err(unreadable)?.len();
        let mut archive = Archive {
            file: Arc::new(file),
            places: HashMap::new(),
            top_level: BTreeSet::new(),
        };
        let mut headers = Headers::of(Arc::clone(&archive.file));
        let no_tar = |reason| no_layout(path, format!("it is neither a directory nor a tar archive: {reason}"));
        while let Some((name, place)) = headers.next().map_err(no_tar)? {
            if place.offset.checked_add(place.size).is_none_or(|end| end > length) {
                return Err(no_layout(path, format!("the archive ends within `{name}`")));
            }
            if !archive.keep(name, place) {
                return Err(no_layout(path, format!("it has more than {FILE_LIMIT} blobs")));
            }
        }
        Ok(archive)
    }

    /// Remembers where a file is, if it is one of a layout; `false` if there are too many.
    fn keep(&mut self, name: String, place: Place) -> bool {
        if self.top_level.len() < TOP_LEVEL_KEPT {
            let first = name.split('/').next().unwrap_or_default();
            self.top_level.insert(first.to_owned());
        }
        let is_blob = name
            .strip_prefix("blobs/")
            .is_some_and(|rest| rest.len() <= LONGEST_BLOB_NAME);
        if is_blob || matches!(name.as_str(), "oci-layout" | "index.json") {
            self.places.insert(name, place);
        }
        self.places.len() <= FILE_LIMIT
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

    /// The first components of names, as many as anybody would want to see.
    pub(super) fn top_level(&self) -> BTreeSet<String> {
        self.top_level.clone()
    }
}

impl Headers {
    fn of(file: Arc<File>) -> Headers {
        let limits = Limits {
            max_path_len: Some(4096),
            ..Limits::default()
        };
        Headers {
            file,
            parser: Parser::new(limits),
            offset: 0,
            read: Vec::new(),
        }
    }

    /// The name and the place of the next plain file.
    fn next(&mut self) -> Result<Option<(String, Place)>, String> {
        let mut wanted = BLOCK;
        loop {
            if !self.read_ahead(wanted)? {
                return match self.read.iter().all(|byte| *byte == 0) {
                    true => Ok(None),
                    false => Err("it ends within a header".to_owned()),
                };
            }
            if !are_short(&self.read) {
                return Err(TOO_LONG.to_owned());
            }
            let parsed = self.parser.parse(&self.read).map_err(|error| error.to_string())?;
            let (consumed, found) = match parsed {
                ParseEvent::NeedData { min_bytes } => {
                    wanted = min_bytes.max(self.read.len() + 1).next_multiple_of(BLOCK);
                    if wanted > LONGEST_HEADERS {
                        return Err(TOO_LONG.to_owned());
                    }
                    continue;
                }
                ParseEvent::GlobalExtensions { consumed, .. } => (consumed, None),
                ParseEvent::End { .. } => return Ok(None),
                // A file with holes is no file that could be read in place.
                ParseEvent::SparseEntry { consumed, entry, .. } => (consumed, Some((entry.size, None))),
                ParseEvent::Entry { consumed, entry } => match entry.entry_type {
                    EntryType::Regular | EntryType::Continuous => {
                        let name = clean_name(&String::from_utf8_lossy(&entry.path));
                        (consumed, Some((entry.size, Some(name))))
                    }
                    // These may state a size, but nothing follows them.
                    EntryType::Directory | EntryType::Link | EntryType::Symlink => (consumed, None),
                    _ => (consumed, Some((entry.size, None))),
                },
            };
            self.offset += consumed as u64;
            self.read.drain(..consumed);
            wanted = BLOCK;
            let Some((size, name)) = found else { continue };
            let offset = self.offset;
            let skipped = size.checked_next_multiple_of(BLOCK as u64);
            let next = skipped.and_then(|skipped| offset.checked_add(skipped));
            self.offset = next.ok_or("a size is too large")?;
            self.read.clear();
            if let Some(name) = name {
                return Ok(Some((name, Place { offset, size })));
            }
        }
    }

    /// Has so many bytes of headers there; `false` if the archive ends before.
    fn read_ahead(&mut self, wanted: usize) -> Result<bool, String> {
        while self.read.len() < wanted {
            let there = self.read.len();
            self.read.resize(wanted, 0);
            let read = self.file.read_at(&mut self.read[there..], self.offset + there as u64);
            let count = match read {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
                Err(error) => return Err(error.to_string()),
                Ok(0) => {
                    self.read.truncate(there);
                    return Ok(false);
                }
                Ok(count) => count,
            };
            self.read.truncate(there + count);
        }
        Ok(true)
    }
}

/// Whether no header that only says more of the next one states a size that is too large: the parser adds them up.
fn are_short(mut headers: &[u8]) -> bool {
    let more = [
        EntryType::GnuLongName,
        EntryType::GnuLongLink,
        EntryType::XHeader,
        EntryType::XGlobalHeader,
    ];
    while let Some((block, rest)) = headers.split_first_chunk::<BLOCK>() {
        let header = Header::from_bytes(block);
        if !more.contains(&header.entry_type()) {
            return true;
        }
        let size = header.entry_size().ok().and_then(|size| usize::try_from(size).ok());
        match size.filter(|size| *size <= LONGEST_HEADERS) {
            None => return false,
            Some(size) => headers = rest.get(size.next_multiple_of(BLOCK)..).unwrap_or_default(),
        }
    }
    true
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
