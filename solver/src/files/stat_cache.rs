//! What is known of files from earlier builds: the digest of a file that has not changed since, by what the file system
//! says of it. So a build of an unchanged context reads no file.
//!
//! One file, replaced as a whole: the 16 bytes `rbuild-stats-v1\n`, the blake3 of the rest, then records of 80 bytes
//! sorted by device and inode: device, inode, size, modification time and change time in nanoseconds (64-bit
//! little-endian each), 8 bytes of zero, digest. A file that is anything else counts as empty.
//!
//! A file is remembered only if its change time lay a second or more back when it was read: a later change is then sure
//! to have another one, however coarse the clock of the file system is.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::Timespec;

use super::entry::{Entry, Inode};
use super::error::FilesError;

const MAGIC: &[u8; 16] = b"rbuild-stats-v1\n";
const RECORD: usize = 80;
const HEADER: usize = 48;

/// Files of other contexts are kept up to this many.
const MOST: usize = 400_000;

/// How far back a change must lie, in nanoseconds.
const SETTLED: i128 = 1_000_000_000;

#[derive(Clone, Copy, Debug)]
struct Record {
    inode: Inode,
    size: u64,
    modified: i64,
    changed: i64,
    digest: [u8; 32],
}

/// Digests by file.
#[derive(Debug)]
pub(super) struct StatCache {
    file: PathBuf,
    /// Sorted by inode.
    known: Vec<Record>,
    learned: Vec<Record>,
}

impl StatCache {
    /// What the file holds.
    pub(super) fn load(file: &Path) -> StatCache {
        StatCache {
            file: file.to_owned(),
            known: fs::read(file).ok().and_then(|bytes| decode(&bytes)).unwrap_or_default(),
            learned: Vec::new(),
        }
    }

    /// The digest of a file, if it is the same as when it was last read.
    pub(super) fn digest(&self, entry: &Entry) -> Option<[u8; 32]> {
        let found = self
            .known
            .binary_search_by_key(&entry.inode, |record| record.inode)
            .ok()?;
        let record = &self.known[found];
        let same = record.size == entry.size
            && Some(record.modified) == nanoseconds(entry.modified)
            && Some(record.changed) == nanoseconds(entry.changed);
        same.then_some(record.digest)
    }

    /// Remembers the digest of a file that was read at `when`.
    pub(super) fn learn(&mut self, entry: &Entry, digest: [u8; 32], when: SystemTime) {
        let (Some(modified), Some(changed)) = (nanoseconds(entry.modified), nanoseconds(entry.changed)) else {
            return;
        };
        let now = when.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        if i128::try_from(now).unwrap_or_default() - i128::from(changed) < SETTLED {
            return;
        }
        self.learned.push(Record {
            inode: entry.inode,
            size: entry.size,
            modified,
            changed,
            digest,
        });
    }

    /// Writes what was learned.
    pub(super) fn save(&mut self) -> Result<(), FilesError> {
        if self.learned.is_empty() {
            return Ok(());
        }
        self.learned.sort_by_key(|record| record.inode);
        self.learned.dedup_by_key(|record| record.inode);
        let learned = std::mem::take(&mut self.learned);
        let room = MOST.saturating_sub(learned.len());
        self.known
            .retain(|record| learned.binary_search_by_key(&record.inode, |new| new.inode).is_err());
        self.known.truncate(room);
        self.known.extend(learned);
        self.known.sort_by_key(|record| record.inode);
        replace(&self.file, &encode(&self.known)).map_err(|source| FilesError::StatCache {
            path: self.file.clone(),
            source,
        })
    }
}

fn nanoseconds(time: Timespec) -> Option<i64> {
    let seconds: i64 = time.tv_sec;
    seconds.checked_mul(1_000_000_000)?.checked_add(time.tv_nsec)
}

fn encode(records: &[Record]) -> Vec<u8> {
    let mut body = Vec::with_capacity(records.len() * RECORD);
    for record in records {
        body.extend(record.inode.device.to_le_bytes());
        body.extend(record.inode.number.to_le_bytes());
        body.extend(record.size.to_le_bytes());
        body.extend(record.modified.to_le_bytes());
        body.extend(record.changed.to_le_bytes());
        body.extend([0; 8]);
        body.extend(record.digest);
    }
    [MAGIC.as_slice(), blake3::hash(&body).as_bytes(), &body].concat()
}

fn decode(bytes: &[u8]) -> Option<Vec<Record>> {
    let (header, body) = bytes.split_at_checked(HEADER)?;
    let whole = header.starts_with(MAGIC) && header[MAGIC.len()..] == *blake3::hash(body).as_bytes();
    let (records, rest) = body.as_chunks::<RECORD>();
    if !whole || !rest.is_empty() {
        return None;
    }
    let records: Vec<Record> = records
        .iter()
        .map(|record| {
            let (numbers, digest) = record.split_at(RECORD - 32);
            let (numbers, _) = numbers.as_chunks::<8>();
            let mut whole = [0; 32];
            whole.copy_from_slice(digest);
            Record {
                inode: Inode {
                    device: u64::from_le_bytes(numbers[0]),
                    number: u64::from_le_bytes(numbers[1]),
                },
                size: u64::from_le_bytes(numbers[2]),
                modified: i64::from_le_bytes(numbers[3]),
                changed: i64::from_le_bytes(numbers[4]),
                digest: whole,
            }
        })
        .collect();
    records.is_sorted_by_key(|record| record.inode).then_some(records)
}

fn replace(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = file.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.{:?}.new", std::process::id(), std::thread::current().id()));
    let temporary = folder.join(name);
    let written = fs::File::create(&temporary)
        .and_then(|mut new| new.write_all(bytes))
        .and_then(|()| fs::rename(&temporary, file));
    if written.is_err() {
        // What could not be put in place is of no use; the first error is the one to tell.
        let _ = fs::remove_file(&temporary);
    }
    written
}
