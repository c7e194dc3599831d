//! What the parser of tar headers lets pass, and Go's `archive/tar`, with which containerd and BuildKit read, does not.
//!
//! An archive must not mean one thing here and another there. So numbers that do not fit, a single block of zeros, and
//! pieces of a file that lie over one another are errors here, too.

use tar_core::parse::ParseError;
use tar_core::{EntryType, Header, HeaderError, PaxExtensions};

use crate::shown;

/// The headers of one entry with all that belongs to them, names, attributes and maps of holes, are never longer in an
/// archive that is one. Some of their forms have no end of their own.
pub const LONGEST_HEADERS: usize = 2 << 20;

const BLOCK: usize = 512;
/// Enough to find an entry by.
const LONGEST_NAME_SHOWN: usize = 256;

/// Looks at the headers of one entry as far as they were read, before they are parsed.
///
/// # Errors
/// What is wrong with them.
pub fn check_headers(headers: &[u8]) -> Result<(), String> {
    for block in Blocks(headers) {
        if block.bytes == &[0; BLOCK] {
            return match block.rest.first_chunk::<BLOCK>() {
                Some(next) if next != &[0; BLOCK] => Err("a single block of zeros is before it".to_owned()),
                _ => Ok(()),
            };
        }
        // The parser adds sizes up, and the sum of two may be too large for a number, and then looks small.
        if block.says_more && block.size().is_some_and(|size| size > u64::MAX >> 8) {
            return Err(too_long_headers());
        }
        match base_256(&block.bytes[124..136]) {
            Some(Some(0..)) | None => {}
            Some(Some(_)) => return Err("its size is negative".to_owned()),
            Some(None) => return Err("its size is out of range".to_owned()),
        }
        if base_256(&block.bytes[136..148]) == Some(None) {
            return Err("its time is out of range".to_owned());
        }
    }
    Ok(())
}

/// That headers have no end.
#[must_use]
pub fn too_long_headers() -> String {
    format!("the headers of one entry are longer than {LONGEST_HEADERS} bytes")
}

/// The name of the entry that these headers are of, as far as it is there to be read; of a long one the beginning.
#[must_use]
pub fn name_in_headers(headers: &[u8]) -> Option<Vec<u8>> {
    let mut name = whole_name(headers).filter(|name| !name.is_empty())?;
    if name.len() > LONGEST_NAME_SHOWN {
        name.truncate(LONGEST_NAME_SHOWN);
        name.extend("…".as_bytes());
    }
    Some(name)
}

fn whole_name(headers: &[u8]) -> Option<Vec<u8>> {
    let mut long = None;
    for block in Blocks(headers) {
        let header = Header::from_bytes(block.bytes);
        let content = block.size().and_then(|size| usize::try_from(size).ok());
        let content = content.and_then(|size| block.rest.get(..size)).unwrap_or_default();
        match header.entry_type() {
            EntryType::GnuLongName => {
                long = content.split(|byte| *byte == 0).next().map(<[u8]>::to_vec);
            }
            EntryType::XHeader => {
                // What comes after a broken record is the same record again.
                let records = PaxExtensions::new(content).map_while(Result::ok);
                let path = records.filter(|record| record.key_bytes() == b"path").last();
                long = path.map(|record| record.value_bytes().to_vec()).or(long);
            }
            _ if block.says_more || block.bytes == &[0; BLOCK] => {}
            _ => {
                let short = || header.path_bytes().to_vec();
                return Some(long.unwrap_or_else(short));
            }
        }
    }
    long
}

/// Whether the entry of these headers, a plain file by what the parser says, is a directory of an archive from before there
/// were types: a name with a slash at its end is, if there is no type.
#[must_use]
pub fn is_old_directory(headers: &[u8], name: &[u8]) -> bool {
    let entry = Blocks(headers).find(|block| !block.says_more);
    name.ends_with(b"/") && entry.is_some_and(|block| block.bytes[156] == 0)
}

/// Whether the pieces of a file, offsets and lengths, lie behind one another and within its size.
pub fn are_in_order(pieces: impl IntoIterator<Item = (u64, u64)>, size: u64) -> bool {
    let mut end = 0;
    pieces.into_iter().all(|(offset, length)| {
        let follows = offset >= end;
        end = offset.saturating_add(length);
        follows && offset.checked_add(length).is_some_and(|end| end <= size)
    })
}

/// What the parser says, in words for somebody who does not know it.
#[must_use]
pub fn parse_failure(error: &ParseError) -> String {
    match error {
        ParseError::Header(HeaderError::InvalidOctal(field)) => {
            let text = field.split(|byte| *byte == 0).next().unwrap_or_default();
            format!("a number in its header is `{}`", shown(text).trim())
        }
        other => other.to_string(),
    }
}

/// The letter of a type that nobody knows.
#[must_use]
pub fn unknown_type(kind: EntryType) -> String {
    let letter = kind.to_byte();
    match letter.is_ascii_graphic() {
        true => format!("the unknown type `{}`", char::from(letter)),
        false => format!("the unknown type {letter}"),
    }
}

/// One block that begins headers, and what is behind it.
struct HeaderBlock<'a> {
    bytes: &'a [u8; BLOCK],
    rest: &'a [u8],
    /// It only says more of the entry that follows.
    says_more: bool,
}

impl HeaderBlock<'_> {
    fn size(&self) -> Option<u64> {
        Header::from_bytes(self.bytes).entry_size().ok()
    }
}

/// The headers that say more of an entry, and its own, which is the last.
struct Blocks<'a>(&'a [u8]);

impl<'a> Iterator for Blocks<'a> {
    type Item = HeaderBlock<'a>;

    fn next(&mut self) -> Option<HeaderBlock<'a>> {
        let (bytes, rest) = self.0.split_first_chunk::<BLOCK>()?;
        let kinds = [
            EntryType::GnuLongName,
            EntryType::GnuLongLink,
            EntryType::XHeader,
            EntryType::XGlobalHeader,
        ];
        let says_more = kinds.contains(&Header::from_bytes(bytes).entry_type());
        let block = HeaderBlock { bytes, rest, says_more };
        let padded = block
            .size()
            .and_then(|size| size.checked_next_multiple_of(BLOCK as u64));
        let padded = padded.and_then(|size| usize::try_from(size).ok());
        self.0 = match padded {
            Some(padded) if says_more => rest.get(padded..).unwrap_or_default(),
            _ => &[],
        };
        Some(block)
    }
}

/// The number of base 256 in a field, if there is one; inner `None` if it has more than 64 bits.
#[expect(
    clippy::option_option,
    reason = "no such number and one that is too large are two things"
)]
fn base_256(field: &[u8]) -> Option<Option<i64>> {
    let (first, rest) = field.split_first().filter(|(first, _)| **first & 0x80 != 0)?;
    let sign = if first & 0x40 == 0 { 0 } else { -1 };
    let begin = (sign << 7) | i128::from(first & 0x7f);
    let number = rest
        .iter()
        .fold(begin, |number, byte| (number << 8) | i128::from(*byte));
    Some(i64::try_from(number).ok())
}
