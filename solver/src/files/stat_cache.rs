//! What is known of files from earlier builds: the digest of a file that has not changed since, by what the file system
//! says of it. So a build of an unchanged context reads no file.
//!
//! One file, replaced as a whole: the 16 bytes `rbuild-stats-v1\n`, the blake3 of the rest, then records of 80 bytes
//! sorted by device and inode: device, inode, size, modification time and change time in nanoseconds (64-bit
//! little-endian each), 8 bytes of zero, digest. A file that is anything else counts as empty.
//!
//! A file is remembered only if its change time lay a second or more back when it was read: a later change is then sure
//! to have another one, however coarse the clock of the file system is.
//!
//! The records are never all in memory: they stream past the files of the context, which are put in the same order.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::digests::{Digests, UNKNOWN};
use super::entries::Entries;
use super::entry::{Facts, Inode};
use super::error::FilesError;

const MAGIC: &[u8; 16] = b"rbuild-stats-v1\n";
const RECORD: usize = 80;
const HEADER: usize = 48;
const PIECE: usize = 1024 * RECORD;

/// Files that the context does not have are kept up to this many: it may be seen with other ignore patterns.
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

/// Where the digests of the files of a context are kept.
#[derive(Clone, Debug)]
pub struct KnownFiles {
    /// The file.
    pub file: PathBuf,
    /// A path on the same disk that nobody else uses: where a new one is written before it is renamed.
    pub spare: PathBuf,
}

/// Digests by file.
#[derive(Debug)]
pub(super) struct StatCache {
    known: KnownFiles,
    /// Whether the file was looked into.
    is_filled: bool,
    /// The places of files that were read and may be remembered.
    learned: Vec<u32>,
}

impl StatCache {
    /// What is in the file, which is looked into when a digest is first needed.
    pub(super) fn new(known: KnownFiles) -> StatCache {
        StatCache {
            known,
            is_filled: false,
            learned: Vec::new(),
        }
    }

    /// Fills in the digests of the files that are the same as when they were last read. Does so once.
    pub(super) fn fill(&mut self, entries: &Entries, digests: &Digests) {
        if std::mem::replace(&mut self.is_filled, true) {
            return;
        }
        let Ok(Some(mut records)) = records(&self.known.file) else {
            return;
        };
        let by_inode = files_by_inode(entries);
        let mut files = by_inode.iter().map(|at| *at as usize).peekable();
        let mut digests = digests.write();
        let (digests, _) = digests.as_chunks_mut::<32>();
        // A file that cannot be read to its end is as good as none: what it said until then was verified.
        let _ = each_record(&mut records, |record| {
            while files.next_if(|at| entries.inode(*at) < record.inode).is_some() {}
            while let Some(at) = files.next_if(|at| entries.inode(*at) == record.inode) {
                if digests[at] == UNKNOWN && record.is_of(&entries.facts(at)) {
                    digests[at] = record.digest;
                }
            }
            Ok(())
        });
    }

    /// Notes that the file at a place was read at `when` and may be remembered.
    pub(super) fn learn(&mut self, at: usize, entry: &Facts<'_>, when: SystemTime) {
        let (Some(_), Some(changed)) = (entry.modified_at(), entry.changed.told()) else {
            return;
        };
        let now = when.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        if i128::try_from(now).unwrap_or_default() - i128::from(changed) >= SETTLED {
            self.learned.extend(u32::try_from(at));
        }
    }

    /// Writes what was learned, with what was known before.
    pub(super) fn save(&mut self, entries: &Entries, digests: &Digests) -> Result<(), FilesError> {
        if self.learned.is_empty() {
            return Ok(());
        }
        let mut learned = std::mem::take(&mut self.learned);
        learned.sort_unstable_by_key(|at| entries.inode(*at as usize));
        learned.dedup_by_key(|at| entries.inode(*at as usize));
        let digests = digests.read();
        let (digests, _) = digests.as_chunks::<32>();
        let learned = learned.iter().map(|at| *at as usize);
        let learned = learned.filter_map(|at| Record::new(&entries.facts(at), digests[at]));
        merge(&self.known, learned, entries).map_err(|source| FilesError::StatCache {
            path: self.known.file.clone(),
            source,
        })
    }
}

impl Record {
    fn new(entry: &Facts<'_>, digest: [u8; 32]) -> Option<Record> {
        Some(Record {
            inode: entry.inode,
            size: entry.size(),
            modified: entry.modified_at()?,
            changed: entry.changed.told()?,
            digest,
        })
    }

    /// Whether this is about the file as it is.
    fn is_of(&self, entry: &Facts<'_>) -> bool {
        self.inode == entry.inode
            && self.size == entry.size()
            && Some(self.modified) == entry.modified_at()
            && Some(self.changed) == entry.changed.told()
    }

    fn to_bytes(self) -> [u8; RECORD] {
        let mut bytes = [0; RECORD];
        let numbers = [self.inode.device, self.inode.number, self.size];
        let times = [self.modified, self.changed].map(i64::cast_unsigned);
        for (place, number) in bytes.chunks_exact_mut(8).zip(numbers.into_iter().chain(times)) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        bytes[RECORD - 32..].copy_from_slice(&self.digest);
        bytes
    }

    fn from_bytes(bytes: &[u8; RECORD]) -> Record {
        let (numbers, _) = bytes.as_chunks::<8>();
        let mut digest = [0; 32];
        digest.copy_from_slice(&bytes[RECORD - 32..]);
        Record {
            inode: Inode {
                device: u64::from_le_bytes(numbers[0]),
                number: u64::from_le_bytes(numbers[1]),
            },
            size: u64::from_le_bytes(numbers[2]),
            modified: i64::from_le_bytes(numbers[3]),
            changed: i64::from_le_bytes(numbers[4]),
            digest,
        }
    }
}

/// The places of all files, sorted by inode.
fn files_by_inode(entries: &Entries) -> Vec<u32> {
    let files = (0..entries.len()).filter(|at| entries.is_file(*at));
    let inodes = files.filter_map(|at| Some((entries.inode(at), u32::try_from(at).ok()?)));
    // As large as it will be from the start, so that it goes back to the kernel.
    let mut sorted: Vec<(Inode, u32)> = Vec::with_capacity(entries.len());
    sorted.extend(inodes);
    sorted.sort_unstable();
    // By reference, or the places would be put into the room of the sorted.
    sorted.iter().map(|(_, at)| *at).collect()
}

/// The records of the file, if there is one and it is whole.
fn records(file: &Path) -> io::Result<Option<BufReader<File>>> {
    let mut file = match File::open(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    Ok(is_whole(&mut file)?.then(|| BufReader::with_capacity(PIECE, file)))
}

/// Shows all records in their order.
fn each_record(records: &mut impl Read, mut show: impl FnMut(Record) -> io::Result<()>) -> io::Result<()> {
    let mut bytes = [0; RECORD];
    loop {
        match records.read_exact(&mut bytes) {
            Ok(()) => show(Record::from_bytes(&bytes))?,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

/// Whether the file at `path` is one in which digests of the files of a context are kept, and whole.
///
/// # Errors
/// If it cannot be read.
pub fn is_list_of_digests(path: &Path) -> io::Result<bool> {
    is_whole(&mut File::open(path)?)
}

/// Whether the file has the form it should have; if so, the first record is what is read next.
fn is_whole(file: &mut File) -> io::Result<bool> {
    let mut header = [0; HEADER];
    let mut piece = vec![0; PIECE];
    if file.read_exact(&mut header).is_err() || !header.starts_with(MAGIC) {
        return Ok(false);
    }
    let mut hasher = blake3::Hasher::new();
    let mut last = None;
    loop {
        let mut filled = 0;
        while filled < piece.len() {
            match file.read(&mut piece[filled..])? {
                0 => break,
                count => filled += count,
            }
        }
        let (records, rest) = piece[..filled].as_chunks::<RECORD>();
        if !rest.is_empty() {
            return Ok(false);
        }
        for record in records {
            let inode = Some(Record::from_bytes(record).inode);
            if inode < last {
                return Ok(false);
            }
            last = inode;
        }
        hasher.update(&piece[..filled]);
        if filled < piece.len() {
            break;
        }
    }
    file.seek(SeekFrom::Start(HEADER as u64))?;
    Ok(header[MAGIC.len()..] == *hasher.finalize().as_bytes())
}

/// Writes the file anew, with the records of `learned`, sorted by inode, in the place of those it has of the same files,
/// and without those that are not true any more of files of the context.
fn merge(known: &KnownFiles, learned: impl Iterator<Item = Record>, entries: &Entries) -> io::Result<()> {
    let mut learned = learned.peekable();
    replace(known, |new| {
        let Some(mut records) = records(&known.file)? else {
            return learned.try_for_each(|record| new.add(record));
        };
        let by_inode = files_by_inode(entries);
        let mut own = by_inode.iter().map(|at| *at as usize).peekable();
        let mut others = 0;
        each_record(&mut records, |record| {
            while let Some(before) = learned.next_if(|new| new.inode < record.inode) {
                new.add(before)?;
            }
            while own.next_if(|at| entries.inode(*at) < record.inode).is_some() {}
            if learned.peek().is_some_and(|new| new.inode == record.inode) {
                return Ok(());
            }
            match own.peek().filter(|at| entries.inode(**at) == record.inode) {
                Some(at) if record.is_of(&entries.facts(*at)) => new.add(record),
                Some(_) => Ok(()),
                None if others < MOST => {
                    others += 1;
                    new.add(record)
                }
                None => Ok(()),
            }
        })?;
        learned.try_for_each(|record| new.add(record))
    })
}

/// A file being written.
struct NewFile {
    file: File,
    hasher: blake3::Hasher,
    piece: Vec<u8>,
}

impl NewFile {
    /// Leaves room for the header.
    fn create(path: &Path) -> io::Result<NewFile> {
        let mut file = File::create(path)?;
        file.write_all(&[0; HEADER])?;
        Ok(NewFile {
            file,
            hasher: blake3::Hasher::new(),
            piece: Vec::with_capacity(PIECE),
        })
    }

    fn add(&mut self, record: Record) -> io::Result<()> {
        self.piece.extend_from_slice(&record.to_bytes());
        match self.piece.len() >= PIECE {
            true => self.write(),
            false => Ok(()),
        }
    }

    fn write(&mut self) -> io::Result<()> {
        self.hasher.update(&self.piece);
        self.file.write_all(&self.piece)?;
        self.piece.clear();
        Ok(())
    }

    fn finish(mut self) -> io::Result<()> {
        self.write()?;
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(MAGIC)?;
        self.file.write_all(self.hasher.finalize().as_bytes())
    }
}

/// Puts what `fill` writes in the place of the file.
fn replace(known: &KnownFiles, fill: impl FnOnce(&mut NewFile) -> io::Result<()>) -> io::Result<()> {
    if let Some(folder) = known.file.parent() {
        fs::create_dir_all(folder)?;
    }
    let written = NewFile::create(&known.spare).and_then(|mut new| {
        fill(&mut new)?;
        new.finish()?;
        fs::rename(&known.spare, &known.file)
    });
    if written.is_err() {
        // What could not be put in place is of no use; the first error is the one to tell.
        let _ = fs::remove_file(&known.spare);
    }
    written
}
