//! Reading tar archives as a stream of entries.
//!
//! The headers, with all their dialects, are `tar-core`'s business; here is the buffer it parses from, and the
//! few things it leaves to the caller: times before 1970 and parts of seconds, and which entries have content at all.

use std::io::{self, BufRead};

use tar_core::parse::{Limits, ParseEvent, ParsedEntry, Parser};
use tar_core::{EntryType, PaxExtensions, SparseEntry};

use crate::error::shown;
use crate::headers::{self, LONGEST_HEADERS};

const BLOCK: u64 = 512;

/// Headers that are longer than most are read so much at once, because they are parsed from their beginning each time.
const AHEAD: usize = 64 << 10;
const LONG: usize = 8 << 10;

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
            headers::check_headers(&self.header).map_err(TarError::Malformed)?;
            let event = self.parser.parse(&self.header);
            let event = event.map_err(|error| TarError::Malformed(headers::parse_failure(&error)));
            let (consumed, entry, size) = match event? {
                ParseEvent::NeedData { min_bytes } => {
                    // A number in a map of holes may be longer than what it is asked for.
                    needed = min_bytes.max(self.header.len() + 1);
                    if needed > LONGEST_HEADERS {
                        return Err(TarError::Malformed(headers::too_long_headers()));
                    }
                    continue;
                }
                ParseEvent::GlobalExtensions { consumed, .. } => {
                    self.header.drain(..consumed);
                    needed = 0;
                    continue;
                }
                ParseEvent::End { .. } => return Ok(None),
                ParseEvent::Entry { consumed, entry } => {
                    let is_old_directory = headers::is_old_directory(&self.header, &entry.path);
                    (consumed, read_entry(&entry, is_old_directory, None)?, entry.size)
                }
                ParseEvent::SparseEntry {
                    consumed,
                    entry,
                    sparse_map,
                    real_size,
                } => (
                    consumed,
                    read_entry(&entry, false, Some((sparse_map, real_size)))?,
                    entry.size,
                ),
            };
            // Links, directories and devices state sizes at times, but nothing follows them.
            if entry.kind == Kind::File {
                let whole = size.checked_next_multiple_of(BLOCK);
                let whole = whole.ok_or_else(|| TarError::Malformed("its size is out of range".to_owned()))?;
                (self.content, self.padding) = (size, whole - size);
            }
            self.header.drain(..consumed);
            return Ok(Some(entry));
        }
    }

    /// The name of the entry that could not be read, as far as it could.
    pub(crate) fn name_ahead(&self) -> Option<Vec<u8>> {
        headers::name_in_headers(&self.header)
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

    /// Makes `needed` bytes of headers available, and little more than whole blocks; `false` at the end of the stream.
    fn fill(&mut self, needed: usize) -> io::Result<bool> {
        let needed = needed.max(1).next_multiple_of(BLOCK as usize);
        if self.header.len() >= needed {
            return Ok(true);
        }
        let wanted = if needed > LONG { needed + AHEAD } else { needed };
        while self.header.len() < wanted {
            let there = match self.source.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                there => there?,
            };
            if there.is_empty() {
                return Ok(self.header.len() >= needed);
            }
            let count = there.len().min(wanted - self.header.len());
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

fn read_entry(
    parsed: &ParsedEntry<'_>,
    is_old_directory: bool,
    sparse: Option<(Vec<SparseEntry>, u64)>,
) -> Result<Entry, TarError> {
    let kind = match parsed.entry_type {
        EntryType::Regular if is_old_directory => Kind::Directory,
        EntryType::Regular | EntryType::Continuous | EntryType::GnuSparse => Kind::File,
        EntryType::Link => Kind::HardLink,
        EntryType::Symlink => Kind::Symlink,
        EntryType::Char => Kind::CharacterDevice,
        EntryType::Block => Kind::BlockDevice,
        EntryType::Directory => Kind::Directory,
        EntryType::Fifo => Kind::Fifo,
        other => {
            let kind = headers::unknown_type(other);
            return Err(TarError::Malformed(format!("it is of {kind}")));
        }
    };
    let mut time = (parsed.mtime.cast_signed(), 0);
    let records = parsed.pax.unwrap_or_default();
    if !are_whole(records) {
        return Err(TarError::Malformed("its records have wrong lengths".to_owned()));
    }
    for extension in PaxExtensions::new(records) {
        let extension = extension.map_err(|error| TarError::Malformed(error.to_string()))?;
        let value = extension.value_bytes();
        match extension.key_bytes() {
            b"mtime" => time = read_time(value).ok_or_else(|| unreadable("mtime", value))?,
            key @ (b"size" | b"uid" | b"gid")
                if extension.value().ok().and_then(|v| v.parse::<u64>().ok()).is_none() =>
            {
                return Err(unreadable(&shown(key), value));
            }
            _ => {}
        }
    }
    let capability = parsed
        .xattrs
        .iter()
        .find(|(name, _)| name.as_ref() == b"security.capability")
        .map(|(_, value)| value.to_vec());
    Ok(Entry {
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
    })
}

/// Whether PAX records follow one another up to the end. Reading them ends silently where one has no length.
fn are_whole(mut records: &[u8]) -> bool {
    while !records.is_empty() {
        let digits = records.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let length = str::from_utf8(&records[..digits])
            .ok()
            .and_then(|text| text.parse::<usize>().ok());
        match length.and_then(|length| records.split_at_checked(length)) {
            Some((record, rest)) if record.len() > digits => records = rest,
            _ => return false,
        }
    }
    true
}

fn unreadable(key: &str, value: &[u8]) -> TarError {
    TarError::Malformed(format!("its {key} is `{}`", shown(value)))
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

#[cfg(test)]
mod tests {
    use std::io::{self, BufReader, Read};

    use crate::testing::read_archive;

    const POSIX: &[u8; 8] = b"ustar\x0000";
    const GNU: &[u8; 8] = b"ustar  \0";

    fn header(kind: u8, size: u64, magic: &[u8; 8]) -> [u8; 512] {
        let mut block = [0; 512];
        block[0] = b'a';
        // Of base 256: all numbers can be written so.
        block[124] = 0x80;
        block[128..136].copy_from_slice(&size.to_be_bytes());
        block[156] = kind;
        block[257..265].copy_from_slice(magic);
        block
    }

    fn summed(mut block: [u8; 512]) -> [u8; 512] {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        block
    }

    fn records(text: &str) -> Vec<u8> {
        let mut bytes = summed(header(b'x', text.len() as u64, POSIX)).to_vec();
        bytes.extend(text.as_bytes());
        bytes.resize(1024, 0);
        bytes
    }

    /// The same block again and again, counted.
    struct Endless<'a>([u8; 512], &'a mut usize);

    impl Read for Endless<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = buffer.len().min(512);
            buffer[..count].copy_from_slice(&self.0[..count]);
            *self.1 += count;
            Ok(count)
        }
    }

    #[test]
    fn headers_without_end_are_refused_before_they_fill_the_memory() {
        let mut sparse = header(b'S', 0, GNU);
        // One more block of holes follows, which has none and says the same.
        sparse[482] = 1;
        let mut holes = [0; 512];
        holes[504] = 1;
        let map = "22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n25 GNU.sparse.realsize=9\n";
        let long = |kind, size| summed(header(kind, size, GNU));
        let names = [&long(b'L', 1024)[..], &[b'n'; 1024], &long(b'K', u64::MAX - 900)].concat();
        for (what, start, rest) in [
            ("a map of holes", summed(sparse).to_vec(), holes),
            (
                "a number",
                [&records(map)[..], &summed(header(b'0', 1 << 40, POSIX))].concat(),
                [b'1'; 512],
            ),
            ("lengths whose sum is no number", names, [b'n'; 512]),
        ] {
            let mut count = 0;
            let (seen, wrong) = read_archive(BufReader::new(start.chain(Endless(rest, &mut count))));
            let wrong = wrong.expect("it has no end");
            assert!(
                seen.is_empty() && wrong.contains("longer than 2097152 bytes"),
                "{what}: {wrong}"
            );
            assert!(count < 4 << 20, "{what}: {count} bytes read");
        }
    }

    #[test]
    fn a_size_that_no_file_has_is_refused() {
        let size = records("29 size=18446744073709551615\n");
        let archive = [&size[..], &summed(header(b'0', 0, POSIX)), &[0; 1024]].concat();
        let (_, wrong) = read_archive(&archive[..]);
        assert_eq!(wrong.as_deref(), Some("its size is out of range"));
    }
}
