//! Writing tar archives: ustar headers, with PAX records before those that do not fit.
//!
//! The bytes are those Go's standard library writes in its PAX format, which is what BuildKit's layers are made of:
//! numbers are octal with leading zeros and a closing zero byte, names of users and groups are empty, a PAX record is
//! written only where the header cannot hold a value.

use std::io::{self, Write};

const BLOCK: usize = 512;
/// What the octal fields of 8 and 12 bytes can hold.
const LARGEST_ID: u64 = 0o7_777_777;
const LARGEST_SIZE: u64 = 0o77_777_777_777;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EntryKind {
    File,
    HardLink,
    Symlink,
    CharacterDevice,
    BlockDevice,
    Directory,
    Fifo,
}

impl EntryKind {
    fn flag(self) -> u8 {
        match self {
            EntryKind::File => b'0',
            EntryKind::HardLink => b'1',
            EntryKind::Symlink => b'2',
            EntryKind::CharacterDevice => b'3',
            EntryKind::BlockDevice => b'4',
            EntryKind::Directory => b'5',
            EntryKind::Fifo => b'6',
        }
    }
}

/// One entry to write.
#[derive(Clone, Debug)]
pub(crate) struct Header {
    pub(crate) kind: EntryKind,
    /// Without a slash in front; of directories with one at the end.
    pub(crate) name: Vec<u8>,
    pub(crate) link: Vec<u8>,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Whole seconds.
    pub(crate) time: i64,
    /// Of the content that follows.
    pub(crate) size: u64,
    pub(crate) device: (u32, u32),
    pub(crate) capability: Option<Vec<u8>>,
}

impl Header {
    /// An entry with nothing set but its kind and name.
    pub(crate) fn new(kind: EntryKind, name: Vec<u8>) -> Header {
        Header {
            kind,
            name,
            link: Vec::new(),
            mode: 0,
            uid: 0,
            gid: 0,
            time: 0,
            size: 0,
            device: (0, 0),
            capability: None,
        }
    }
}

/// An archive being written.
#[derive(Debug)]
pub(crate) struct TarWriter<W> {
    target: W,
    padding: usize,
}

impl<W: Write> TarWriter<W> {
    pub(crate) fn new(target: W) -> TarWriter<W> {
        TarWriter { target, padding: 0 }
    }

    /// Begins an entry. Exactly `header.size` bytes of content must follow.
    pub(crate) fn begin(&mut self, header: &Header) -> io::Result<()> {
        self.pad()?;
        let records = records(header);
        if !records.is_empty() {
            self.write_records(header, &records)?;
        }
        self.target.write_all(&block(header))?;
        self.padding = padding(header.size);
        Ok(())
    }

    /// Writes content of the entry begun last.
    pub(crate) fn content(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.target.write_all(bytes)
    }

    /// Ends the archive.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.pad()?;
        self.target.write_all(&[0; 2 * BLOCK])?;
        Ok(self.target)
    }

    fn pad(&mut self) -> io::Result<()> {
        self.target.write_all(&[0; BLOCK][..std::mem::take(&mut self.padding)])
    }

    fn write_records(&mut self, header: &Header, records: &[u8]) -> io::Result<()> {
        let slash = header
            .name
            .iter()
            .rposition(|byte| *byte == b'/')
            .map_or(0, |slash| slash + 1);
        let (directory, base) = match header.name.strip_suffix(b"/") {
            // Go names the records of a directory after the directory, with nothing behind it.
            Some(directory) => (directory, &b""[..]),
            None => (&header.name[..slash], &header.name[slash..]),
        };
        let mut name = directory.strip_suffix(b"/").unwrap_or(directory).to_vec();
        if !name.is_empty() {
            name.push(b'/');
        }
        name.extend_from_slice(b"PaxHeaders.0");
        if !base.is_empty() {
            name.push(b'/');
            name.extend_from_slice(base);
        }
        let mut ascii: Vec<u8> = name.into_iter().filter(u8::is_ascii).collect();
        ascii.truncate(100);
        let mut extended = block(&Header {
            size: records.len() as u64,
            ..Header::new(EntryKind::File, ascii)
        });
        extended[156] = b'x';
        seal(&mut extended);
        self.target.write_all(&extended)?;
        self.target.write_all(records)?;
        self.target.write_all(&[0; BLOCK][..padding(records.len() as u64)])
    }
}

fn padding(size: u64) -> usize {
    // Less than a block.
    (size.next_multiple_of(BLOCK as u64) - size) as usize
}

/// The PAX records of an entry, sorted by key.
fn records(header: &Header) -> Vec<u8> {
    let mut records: Vec<(&str, Vec<u8>)> = Vec::new();
    if let Some(capability) = &header.capability {
        records.push(("SCHILY.xattr.security.capability", capability.clone()));
    }
    for (key, id) in [("gid", header.gid), ("uid", header.uid)] {
        if u64::from(id) > LARGEST_ID {
            records.push((key, id.to_string().into_bytes()));
        }
    }
    for (key, text) in [("linkpath", &header.link), ("path", &header.name)] {
        if text.len() > 100 || !text.is_ascii() {
            records.push((key, text.clone()));
        }
    }
    if header.time < 0 || header.time.cast_unsigned() > LARGEST_SIZE {
        records.push(("mtime", header.time.to_string().into_bytes()));
    }
    if header.size > LARGEST_SIZE {
        records.push(("size", header.size.to_string().into_bytes()));
    }
    records.sort_by_key(|(key, _)| *key);
    records.iter().flat_map(|(key, value)| record(key, value)).collect()
}

/// `<length of the whole record> <key>=<value>\n`
fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + rest.to_string().len();
    length = rest + length.to_string().len();
    let mut record = format!("{length} {key}=").into_bytes();
    record.extend_from_slice(value);
    record.push(b'\n');
    record
}

fn block(header: &Header) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    put_text(&mut block[0..100], &header.name);
    put_number(&mut block[100..108], u64::from(header.mode));
    put_number(&mut block[108..116], u64::from(header.uid));
    put_number(&mut block[116..124], u64::from(header.gid));
    put_number(&mut block[124..136], header.size);
    put_number(&mut block[136..148], u64::try_from(header.time).unwrap_or(0));
    block[156] = header.kind.flag();
    put_text(&mut block[157..257], &header.link);
    block[257..265].copy_from_slice(b"ustar\x0000");
    put_number(&mut block[329..337], u64::from(header.device.0));
    put_number(&mut block[337..345], u64::from(header.device.1));
    seal(&mut block);
    block
}

/// Names that do not fit have a record; readers of old take the ASCII beginning.
fn put_text(field: &mut [u8], text: &[u8]) {
    let ascii = text.iter().copied().filter(u8::is_ascii);
    for (place, byte) in field.iter_mut().zip(ascii) {
        *place = byte;
    }
}

/// Octal with leading zeros and a zero byte; 0 for what does not fit and has a record.
fn put_number(field: &mut [u8], number: u64) {
    let digits = field.len() - 1;
    let fits = digits * 3 >= 64 || number >> (digits * 3) == 0;
    let mut rest = if fits { number } else { 0 };
    for place in field[..digits].iter_mut().rev() {
        *place = b'0' + (rest & 7) as u8;
        rest >>= 3;
    }
}

/// Puts in the checksum, which counts its own field as spaces.
fn seal(block: &mut [u8; BLOCK]) {
    block[148..156].copy_from_slice(b"        ");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_counts_its_own_length() {
        assert_eq!(record("path", b"x"), b"9 path=x\n");
        for length in [1, 80, 90, 91, 92, 93, 94, 985, 989, 990, 991, 992, 993] {
            let record = record("path", &vec![b'x'; length]);
            let stated: usize = String::from_utf8_lossy(&record)
                .split(' ')
                .next()
                .unwrap()
                .parse()
                .unwrap();
            assert_eq!(stated, record.len());
        }
    }

    #[test]
    fn another_reader_reads_what_does_not_fit_a_header() {
        let mut writer = TarWriter::new(Vec::new());
        let long = [vec![b'd'; 150], b"/\xff\xc3\xa9".to_vec()].concat();
        let mut header = Header::new(EntryKind::File, long.clone());
        (header.uid, header.size, header.time, header.mode) = (4_000_000_000, 3, 77, 0o4755);
        header.capability = Some(b"\x01\x00\x0a=\n".to_vec());
        writer.begin(&header).unwrap();
        writer.content(b"abc").unwrap();
        let archive = writer.finish().unwrap();
        assert_eq!(archive.len() % BLOCK, 0);
        let mut reader = crate::tar_reader::TarReader::new(archive.as_slice());
        let entry = reader.next().unwrap().unwrap();
        assert_eq!(
            (entry.path, entry.uid, entry.time, entry.mode),
            (long, 4_000_000_000, (77, 0), 0o4755)
        );
        assert_eq!(entry.capability.as_deref(), Some(&b"\x01\x00\x0a=\n"[..]));
        let mut content = Vec::new();
        reader.content(|piece| content.write_all(piece)).unwrap();
        assert_eq!(content, b"abc");
        assert!(reader.next().unwrap().is_none());
    }
}
