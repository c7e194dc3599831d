//! Reading tar archives as a stream of entries.
//!
//! The headers, with all their dialects, are `tar-core`'s business; here is the buffer it parses from, and the
//! few things it leaves to the caller: times before 1970 and parts of seconds, and which entries have content at all.

use std::io::{self, BufRead};

use tar_core::parse::{Limits, ParseEvent, ParsedEntry, Parser};
use tar_core::{EntryType, PaxExtensions, SparseEntry};

const BLOCK: u64 = 512;

/// Why an archive could not be read on.
#[derive(Debug)]
pub(crate) enum TarError {
    /// No more bytes could be had.
    Stream(io::Error),
    /// The bytes are no archive.
    Malformed(String),
}

impl From<io::Error> for TarError {
    fn from(error: io::Error) -> TarError {
        TarError::Stream(error)
    }
}

/// What an entry makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Directory,
    Symlink,
    HardLink,
    CharacterDevice,
    BlockDevice,
    Fifo,
}

/// One entry of an archive. Names are as they are in the archive: nothing is checked yet.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) kind: Kind,
    pub(crate) path: Vec<u8>,
    /// Target of links.
    pub(crate) link: Vec<u8>,
    pub(crate) mode: u32,
    pub(crate) uid: u64,
    pub(crate) gid: u64,
    /// Seconds and nanoseconds.
    pub(crate) time: (i64, i64),
    /// Major and minor number.
    pub(crate) device: (u32, u32),
    pub(crate) capability: Option<Vec<u8>>,
    /// Where the content belongs in the file, and the file's size, if there are holes.
    pub(crate) sparse: Option<(Vec<SparseEntry>, u64)>,
}

/// An archive being read.
pub(crate) struct TarReader<R> {
    source: R,
    parser: Parser,
    /// The headers of the next entry, as far as they are needed; content is never copied.
    header: Vec<u8>,
    /// Content of the current entry that is still to come, and the padding behind it.
    content: u64,
    padding: u64,
}

impl<R: BufRead> TarReader<R> {
    pub(crate) fn new(source: R) -> TarReader<R> {
        let mut parser = Parser::new(Limits {
            max_path_len: Some(4096),
            ..Limits::default()
        });
        // Times before 1970 are read below; the numbers that matter are checked there.
        parser.set_ignore_pax_errors(true);
        parser.set_allow_empty_path(true);
        TarReader {
            source,
            parser,
            header: Vec::new(),
            content: 0,
            padding: 0,
        }
    }

    /// The next entry; what is left of the current one is skipped.
    pub(crate) fn next(&mut self) -> Result<Option<Entry>, TarError> {
        self.skip_content()?;
        let mut needed = 0;
        loop {
            if !self.fill(needed)? {
                return self.end_of_stream();
            }
            let event = self.parser.parse(&self.header);
            let (consumed, outcome) = match event.map_err(|error| TarError::Malformed(error.to_string()))? {
                ParseEvent::NeedData { min_bytes } => {
                    needed = min_bytes;
                    continue;
                }
                ParseEvent::GlobalExtensions { consumed, .. } => {
                    self.header.drain(..consumed);
                    needed = 0;
                    continue;
                }
                ParseEvent::End { consumed } => (consumed, None),
                ParseEvent::Entry { consumed, entry } => (consumed, Some((read_entry(&entry, None)?, entry.size))),
                ParseEvent::SparseEntry {
                    consumed,
                    entry,
                    sparse_map,
                    real_size,
                } => (
                    consumed,
                    Some((read_entry(&entry, Some((sparse_map, real_size)))?, entry.size)),
                ),
            };
            self.header.drain(..consumed);
            let Some((entry, size)) = outcome else {
                return Ok(None);
            };
            // Links, directories and devices state sizes at times, but nothing follows them.
            if matches!(entry, Some(Entry { kind: Kind::File, .. }) | None) {
                self.content = size;
                self.padding = size.next_multiple_of(BLOCK) - size;
            }
            match entry {
                Some(entry) => return Ok(Some(entry)),
                // A kind nobody knows: its content is skipped like that of others.
                None => self.skip_content()?,
            }
            needed = 0;
        }
    }

    /// Hands the content of the current entry to `take`, piece by piece.
    pub(crate) fn content(&mut self, mut take: impl FnMut(&[u8]) -> io::Result<()>) -> Result<(), TarError> {
        while self.content > 0 {
            let there = match self.source.fill_buf() {
                _ if !self.header.is_empty() => &self.header[..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                there => there?,
            };
            if there.is_empty() {
                return Err(TarError::Malformed("the archive ends within a file".to_owned()));
            }
            let count = there.len().min(usize::try_from(self.content).unwrap_or(usize::MAX));
            take(&there[..count])?;
            match self.header.is_empty() {
                true => self.source.consume(count),
                false => drop(self.header.drain(..count)),
            }
            self.content -= count as u64;
        }
        Ok(())
    }

    /// Reads what follows the archive's end up to the end of the stream: it counts for the digest.
    pub(crate) fn drain(mut self) -> io::Result<()> {
        io::copy(&mut self.source, &mut io::sink()).map(drop)
    }

    fn skip_content(&mut self) -> Result<(), TarError> {
        self.content(|_| Ok(()))?;
        self.content = std::mem::take(&mut self.padding);
        match self.content(|_| Ok(())) {
            // Some writers leave out the last padding.
            Err(TarError::Malformed(_)) => {
                self.content = 0;
                Ok(())
            }
            outcome => outcome,
        }
    }

    /// Makes `needed` bytes of headers available, and no more than whole blocks; `false` at the end of the stream.
    fn fill(&mut self, needed: usize) -> io::Result<bool> {
        let needed = needed.max(1).next_multiple_of(BLOCK as usize);
        while self.header.len() < needed {
            let there = match self.source.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                there => there?,
            };
            if there.is_empty() {
                return Ok(false);
            }
            let count = there.len().min(needed - self.header.len());
            self.header.extend_from_slice(&there[..count]);
            self.source.consume(count);
        }
        Ok(true)
    }

    /// The stream ended where a header was expected: fine if nothing but zeros is left.
    fn end_of_stream(&self) -> Result<Option<Entry>, TarError> {
        if self.header.iter().all(|byte| *byte == 0) {
            Ok(None)
        } else {
            Err(TarError::Malformed("the archive ends within a header".to_owned()))
        }
    }
}

/// `None` for kinds that make nothing.
fn read_entry(parsed: &ParsedEntry<'_>, sparse: Option<(Vec<SparseEntry>, u64)>) -> Result<Option<Entry>, TarError> {
    let kind = match parsed.entry_type {
        // Old archives mark directories by a slash at the end only.
        EntryType::Regular if parsed.path.ends_with(b"/") => Kind::Directory,
        EntryType::Regular | EntryType::Continuous | EntryType::GnuSparse => Kind::File,
        EntryType::Link => Kind::HardLink,
        EntryType::Symlink => Kind::Symlink,
        EntryType::Char => Kind::CharacterDevice,
        EntryType::Block => Kind::BlockDevice,
        EntryType::Directory => Kind::Directory,
        EntryType::Fifo => Kind::Fifo,
        _ => return Ok(None),
    };
    let mut time = (parsed.mtime.cast_signed(), 0);
    for extension in PaxExtensions::new(parsed.pax.unwrap_or_default()) {
        let extension = extension.map_err(|error| TarError::Malformed(error.to_string()))?;
        let value = extension.value_bytes();
        match extension.key_bytes() {
            b"mtime" => time = read_time(value).ok_or_else(|| unreadable("mtime", value))?,
            key @ (b"size" | b"uid" | b"gid")
                if extension.value().ok().and_then(|v| v.parse::<u64>().ok()).is_none() =>
            {
                return Err(unreadable(&String::from_utf8_lossy(key), value));
            }
            _ => {}
        }
    }
    let capability = parsed
        .xattrs
        .iter()
        .find(|(name, _)| name.as_ref() == b"security.capability")
        .map(|(_, value)| value.to_vec());
    Ok(Some(Entry {
        kind,
        path: parsed.path.to_vec(),
        link: parsed.link_target.as_deref().unwrap_or_default().to_vec(),
        mode: parsed.mode & 0o7777,
        uid: parsed.uid,
        gid: parsed.gid,
        time,
        device: (parsed.dev_major.unwrap_or(0), parsed.dev_minor.unwrap_or(0)),
        capability,
        sparse,
    }))
}

fn unreadable(key: &str, value: &[u8]) -> TarError {
    TarError::Malformed(format!("its {key} is `{}`", String::from_utf8_lossy(value)))
}

/// Seconds and nanoseconds of a decimal number.
fn read_time(value: &[u8]) -> Option<(i64, i64)> {
    let text = std::str::from_utf8(value).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let nanoseconds: i64 = digits.parse().ok()?;
    if nanoseconds < 0 {
        return None;
    }
    match (text.starts_with('-'), nanoseconds) {
        (true, 1..) => Some((seconds.checked_sub(1)?, 1_000_000_000 - nanoseconds)),
        _ => Some((seconds, nanoseconds)),
    }
}
