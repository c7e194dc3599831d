//! Reading a tar stream entry by entry: headers as values, contents in pieces.

use std::io::Read;

use cache::headers::{self, LONGEST_HEADERS};
use rustix::fs::Timespec;
use tar_core::parse::{Limits, ParseEvent, ParsedEntry, Parser};
use tar_core::{EntryType, PaxExtensions};

use super::time;
use crate::files::error::FilesError;

const BLOCK: u64 = 512;

/// Room for headers and for pieces of contents.
const ROOM: usize = 128 * 1024;

/// What an archive says of an entry.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) kind: EntryType,
    pub(super) path: Vec<u8>,
    /// Where a link leads.
    pub(super) target: Vec<u8>,
    pub(super) mode: u32,
    pub(super) owner: (u32, u32),
    pub(super) modified: Timespec,
    pub(super) device: u64,
    pub(super) capability: Option<Vec<u8>>,
    /// Bytes of contents in the archive.
    pub(super) size: u64,
    pub(super) sparse: Option<Sparse>,
}

/// A file with holes.
#[derive(Debug)]
pub(super) struct Sparse {
    /// The size with the holes.
    pub(super) size: u64,
    /// Where the contents go: offsets and lengths.
    pub(super) parts: Vec<(u64, u64)>,
}

/// Reads a tar stream.
pub(super) struct Reader<R> {
    stream: R,
    parser: Parser,
    buffer: Vec<u8>,
    /// What of the buffer was read and not used yet.
    start: usize,
    end: usize,
    /// Bytes of contents and filling before the next header.
    left: u64,
    ended: bool,
}

impl<R: Read> Reader<R> {
    pub(super) fn new(stream: R) -> Reader<R> {
        let limits = Limits {
            max_path_len: Some(4096),
            ..Limits::default()
        };
        Reader {
            stream,
            parser: Parser::new(limits),
            buffer: vec![0; ROOM],
            start: 0,
            end: 0,
            left: 0,
            ended: false,
        }
    }

    /// The next header; what of the contents of the one before was not read is skipped. The error is what is wrong with
    /// the archive.
    pub(super) fn next(&mut self) -> Result<Option<Header>, String> {
        self.skip()?;
        let mut wanted = usize::try_from(BLOCK).unwrap_or(ROOM);
        loop {
            self.read_ahead(wanted)?;
            if self.start == self.end {
                return Ok(None);
            }
            let there = &self.buffer[self.start..self.end];
            headers::check_headers(there)?;
            let (header, used) = match self.parser.parse(there) {
                Err(error) => return Err(headers::parse_failure(&error)),
                Ok(ParseEvent::NeedData { min_bytes }) => {
                    if self.ended {
                        return Err("it ends in the middle of a header".to_owned());
                    }
                    wanted = min_bytes.max(self.end - self.start + 1);
                    if wanted > LONGEST_HEADERS {
                        return Err(headers::too_long_headers());
                    }
                    continue;
                }
                Ok(ParseEvent::End { .. }) => return Ok(None),
                Ok(ParseEvent::GlobalExtensions { consumed, .. }) => (None, consumed),
                Ok(ParseEvent::Entry { consumed, entry }) => {
                    let mut header = Header::of(&entry, None)?;
                    if header.kind == EntryType::Regular && headers::is_old_directory(there, &header.path) {
                        header.kind = EntryType::Directory;
                    }
                    (Some(header), consumed)
                }
                Ok(ParseEvent::SparseEntry {
                    consumed,
                    entry,
                    sparse_map,
                    real_size,
                }) => {
                    let parts = sparse_map.iter().map(|part| (part.offset, part.length)).collect();
                    let sparse = Sparse { size: real_size, parts };
                    (Some(Header::of(&entry, Some(sparse))?), consumed)
                }
            };
            if let Some(header) = &header {
                let whole = header.size.checked_next_multiple_of(BLOCK);
                self.left = whole.ok_or("its size is out of range")?;
            }
            self.start += used;
            if header.is_some() {
                return Ok(header);
            }
        }
    }

    /// The name of the entry that could not be read, as far as it could.
    pub(super) fn name_ahead(&self) -> Option<Vec<u8>> {
        headers::name_in_headers(&self.buffer[self.start..self.end])
    }

    /// Gives `length` bytes of the contents, in pieces.
    pub(super) fn content(
        &mut self,
        length: u64,
        mut take: impl FnMut(&[u8]) -> Result<(), FilesError>,
        broken: &dyn Fn(String) -> FilesError,
    ) -> Result<(), FilesError> {
        if length > self.left {
            return Err(broken("a file is longer than its header says".to_owned()));
        }
        let mut wanted = length;
        while wanted > 0 {
            self.read_ahead(1).map_err(broken)?;
            let there = self.end - self.start;
            if there == 0 {
                return Err(broken("it ends in the middle of a file".to_owned()));
            }
            let count = usize::try_from(wanted).unwrap_or(there).min(there);
            take(&self.buffer[self.start..self.start + count])?;
            self.start += count;
            wanted -= count as u64;
            self.left -= count as u64;
        }
        Ok(())
    }

    fn skip(&mut self) -> Result<(), String> {
        while self.left > 0 {
            self.read_ahead(1)?;
            let there = self.end - self.start;
            if there == 0 && self.left < BLOCK {
                // What fills the last block up is missing: some programs do not care to write it.
                self.left = 0;
                return Ok(());
            }
            if there == 0 {
                return Err("it ends in the middle of a file".to_owned());
            }
            let count = usize::try_from(self.left).unwrap_or(there).min(there);
            self.start += count;
            self.left -= count as u64;
        }
        Ok(())
    }

    /// Reads until so many bytes are there, or the stream ends.
    fn read_ahead(&mut self, wanted: usize) -> Result<(), String> {
        if self.end - self.start >= wanted || self.ended {
            return Ok(());
        }
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        if self.buffer.len() < wanted {
            // With room for more, because headers are parsed from their beginning each time.
            self.buffer.resize(wanted + ROOM, 0);
        }
        while self.end < wanted {
            match self.stream.read(&mut self.buffer[self.end..]) {
                Ok(0) => {
                    self.ended = true;
                    return Ok(());
                }
                Ok(count) => self.end += count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        Ok(())
    }
}

impl Header {
    fn of(entry: &ParsedEntry<'_>, sparse: Option<Sparse>) -> Result<Header, String> {
        // The highest number means "leave as it is" to the kernel.
        let number = |id: u64| u32::try_from(id).ok().filter(|id| *id != u32::MAX);
        let id = |id: u64| number(id).ok_or_else(|| format!("the owner {id} is too large"));
        let (major, minor) = (entry.dev_major.unwrap_or_default(), entry.dev_minor.unwrap_or_default());
        if major >= 1 << 12 || minor >= 1 << 20 {
            return Err(format!("the device {major}:{minor} is out of range"));
        }
        let capability = entry.xattrs.iter().find(|(name, _)| **name == *b"security.capability");
        Ok(Header {
            kind: entry.entry_type,
            path: entry.path.to_vec(),
            target: entry.link_target.as_deref().unwrap_or_default().to_vec(),
            mode: entry.mode & 0o7777,
            owner: (id(entry.uid)?, id(entry.gid)?),
            modified: modified(entry),
            device: rustix::fs::makedev(major, minor),
            capability: capability.map(|(_, value)| value.to_vec()),
            size: entry.size,
            sparse,
        })
    }
}

/// The time of the PAX record, which has parts of a second, else that of the header.
fn modified(entry: &ParsedEntry<'_>) -> Timespec {
    let records = entry.pax.map(PaxExtensions::new).into_iter().flatten();
    let records = records.map_while(Result::ok);
    let exact = records.filter(|record| record.key_bytes() == b"mtime").last();
    exact
        .and_then(|record| parse_time(record.value_bytes()))
        .unwrap_or_else(|| time(i64::try_from(entry.mtime).unwrap_or_default(), 0))
}

fn parse_time(text: &[u8]) -> Option<Timespec> {
    let text = std::str::from_utf8(text).ok()?;
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let (whole, part): (i64, u32) = (seconds.parse().ok()?, digits.parse().ok()?);
    match seconds.starts_with('-') && part > 0 {
        true => Some(time(whole.checked_sub(1)?, 1_000_000_000 - part)),
        false => Some(time(whole, part)),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn headers_without_end_are_refused_before_they_fill_the_memory() {
        let mut block = [0; 512];
        block[0] = b'a';
        block[156] = b'S';
        block[257..265].copy_from_slice(b"ustar  \0");
        // A block of holes follows, which has none and says that another follows.
        block[482] = 1;
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let mut holes = [0; 512];
        holes[504] = 1;
        let mut endless = holes.repeat(16 << 11);
        endless.splice(..0, block);
        let mut rest = &endless[..];
        let mut reader = Reader::new((&mut rest).take(u64::MAX));
        let error = reader.next().unwrap_err();
        assert!(error.contains("longer than 2097152 bytes"), "{error}");
        drop(reader);
        assert!(rest.len() > 12 << 20, "{} bytes are not read", rest.len());
    }
}
