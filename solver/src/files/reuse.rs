//! Files of an earlier copy, taken again: a copy that is done again links the files that are as they were.
//!
//! Trees that were finished never change, so a file may be part of several. What makes a file the same one is known and
//! not guessed: beside every tree that a big copy made lies a list of the files it put there, by path, each with the
//! *mark* of all that a tree shows of it (content, capability, size, mode, owner, time). A file is linked from the same
//! path of the earlier tree if the marks are equal; so no two names of a tree become one file by chance. Of 50,000 files a
//! second copy took 1.4 s of CPU, linking them takes 0.3.
//!
//! A list is `rbuild-files-v1\n`, then for each file, in walk order: the number of the action that put it there, how many
//! bytes of the path before it begins with and how many follow (16-bit little-endian each), these, and the mark. A list
//! that is anything else just says less.
//!
//! Files with several names inside one copy are not on the list: they are to share their content with one another only.
//! It does not look for the earlier tree: that is handed in.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use super::entry::Facts;
use super::error::FilesError;
use super::path::walk_order;
use super::root::Root;

const MAGIC: &[u8; 16] = b"rbuild-files-v1\n";

/// Fewer entries than this are copied as fast as they are looked up.
pub(super) const WORTHWHILE: usize = 128;

/// All that a tree shows of a file, as a digest.
pub(super) type Mark = [u8; 32];

/// What the actions on one tree can take from an earlier one, and what they leave for a later one.
#[derive(Debug)]
pub struct Reuse {
    before: Option<Before>,
    list: PathBuf,
    new: Option<Writing>,
    action: u16,
}

/// A tree that was finished, and the list of its files.
#[derive(Debug)]
struct Before {
    root: Root,
    list: BufReader<File>,
    /// The file that is next on the list.
    next: Option<Listed>,
}

#[derive(Debug, Default)]
struct Listed {
    action: u16,
    path: Vec<u8>,
    mark: Mark,
}

#[derive(Debug)]
struct Writing {
    list: BufWriter<File>,
    last: Vec<u8>,
}

impl Reuse {
    /// Takes from the tree and the list in `before`, and writes the list `list`.
    #[must_use]
    pub fn new(before: Option<(&Path, &Path)>, list: &Path) -> Reuse {
        Reuse {
            before: before.and_then(|(root, list)| Before::open(root, list)),
            list: list.to_owned(),
            new: None,
            action: 0,
        }
    }

    /// Whether there is an earlier tree to take files from.
    #[must_use]
    pub fn has_before(&self) -> bool {
        self.before.is_some()
    }

    /// Says that what follows belongs to the next action.
    pub fn next_action(&mut self) {
        self.action = self.action.saturating_add(1);
    }

    /// The root of the earlier tree.
    pub(super) fn root(&self) -> Option<&Root> {
        self.before.as_ref().map(|before| &before.root)
    }

    /// Notes a file, and tells whether the earlier tree has the same at the same path. Files come in walk order.
    pub(super) fn note(&mut self, path: &[u8], mark: &Mark) -> Result<bool, FilesError> {
        self.write(path, mark).map_err(|source| FilesError::StatCache {
            path: self.list.clone(),
            source,
        })?;
        let action = self.action;
        Ok(self
            .before
            .as_mut()
            .is_some_and(|before| before.has(action, path, mark)))
    }

    fn write(&mut self, path: &[u8], mark: &Mark) -> io::Result<()> {
        let writing = match &mut self.new {
            Some(writing) => writing,
            None => {
                let mut list = BufWriter::new(File::create(&self.list)?);
                list.write_all(MAGIC)?;
                self.new.insert(Writing { list, last: Vec::new() })
            }
        };
        let shared = path.iter().zip(&writing.last).take_while(|(a, b)| a == b).count();
        let (Ok(begins), Ok(follow)) = (u16::try_from(shared), u16::try_from(path.len() - shared)) else {
            return Ok(());
        };
        for number in [self.action, begins, follow] {
            writing.list.write_all(&number.to_le_bytes())?;
        }
        writing.list.write_all(&path[shared..])?;
        writing.list.write_all(mark)?;
        writing.last.truncate(shared);
        writing.last.extend_from_slice(&path[shared..]);
        Ok(())
    }

    /// Keeps the list: the tree is about to be finished.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn keep(mut self) -> Result<(), FilesError> {
        let Some(mut writing) = self.new.take() else {
            return Ok(());
        };
        let written = writing.list.flush();
        if written.is_err() {
            self.new = Some(writing);
        }
        written.map_err(|source| FilesError::StatCache {
            path: self.list.clone(),
            source,
        })
    }
}

impl Drop for Reuse {
    /// A list of a tree that did not come about is of no use.
    fn drop(&mut self) {
        if self.new.is_some() {
            let _ = fs::remove_file(&self.list);
        }
    }
}

impl Before {
    fn open(root: &Path, list: &Path) -> Option<Before> {
        let mut list = BufReader::new(File::open(list).ok()?);
        let mut magic = [0; MAGIC.len()];
        list.read_exact(&mut magic).ok()?;
        if &magic != MAGIC {
            return None;
        }
        let mut before = Before {
            root: Root::open(root).ok()?,
            list,
            next: Some(Listed::default()),
        };
        before.step();
        Some(before)
    }

    fn has(&mut self, action: u16, path: &[u8], mark: &Mark) -> bool {
        while let Some(next) = &self.next {
            let order = next.action.cmp(&action).then_with(|| walk_order(&next.path, path));
            match order {
                std::cmp::Ordering::Less => self.step(),
                std::cmp::Ordering::Equal => return next.mark == *mark,
                std::cmp::Ordering::Greater => return false,
            }
        }
        false
    }

    /// Goes to the next file on the list; there is none where it does not read as one.
    fn step(&mut self) {
        if let Some(next) = &mut self.next
            && read(&mut self.list, next).is_none()
        {
            self.next = None;
        }
    }
}

/// Whether the file at `path` is a list of the files that a copy put into a tree, and whole.
///
/// # Errors
/// If it cannot be read.
pub fn is_list_of_files(path: &Path) -> io::Result<bool> {
    let mut list = BufReader::new(File::open(path)?);
    let mut magic = [0; MAGIC.len()];
    match list.read_exact(&mut magic) {
        Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => return Err(error),
        Err(_) => return Ok(false),
        Ok(()) if &magic != MAGIC => return Ok(false),
        Ok(()) => {}
    }
    let mut next = Listed::default();
    while !list.fill_buf()?.is_empty() {
        if read(&mut list, &mut next).is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}

fn read(list: &mut impl BufRead, next: &mut Listed) -> Option<()> {
    let mut number = || {
        let mut bytes = [0; 2];
        list.read_exact(&mut bytes).ok()?;
        Some(u16::from_le_bytes(bytes))
    };
    let (action, shared, follow) = (number()?, usize::from(number()?), usize::from(number()?));
    if shared > next.path.len() {
        return None;
    }
    next.action = action;
    next.path.resize(shared + follow, 0);
    list.read_exact(&mut next.path[shared..]).ok()?;
    list.read_exact(&mut next.mark).ok()
}

/// The mark of a file that is put into a tree like this.
pub(super) fn mark(entry: &Facts<'_>, digest: &[u8; 32], (user, group): (u32, u32), mode: u32) -> Mark {
    let numbers = [
        entry.size(),
        u64::from(mode),
        u64::from(user),
        u64::from(group),
        entry.modified.tv_sec.cast_unsigned(),
        entry.modified.tv_nsec.cast_unsigned(),
    ];
    let mut bytes = [0; MAGIC.len() + 32 + 6 * 8];
    let (begin, rest) = bytes.split_at_mut(MAGIC.len());
    begin.copy_from_slice(MAGIC);
    let (content, fields) = rest.split_at_mut(digest.len());
    content.copy_from_slice(digest);
    for (field, number) in fields.chunks_exact_mut(8).zip(numbers) {
        field.copy_from_slice(&number.to_le_bytes());
    }
    *blake3::hash(&bytes).as_bytes()
}
