//! Writing tar archives: ustar, with PAX records for what ustar cannot say (long names, times before 1970, xattrs).
//!
//! Whole seconds, numeric owners without names, entries in the order given. What is in a layer is not written here: `cache` does that.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

use tar::{EntryType, Header};

use crate::Error;

pub(crate) const BLOCK: u64 = 512;
/// In pieces of this size a file system takes large files fastest.
const BUFFER: usize = 1 << 20;
/// Beyond it a file is worth system calls of its own.
const SMALL: u64 = 64 * 1024;

/// What an archive says of one file before its content.
#[derive(Clone, Debug)]
pub(crate) struct Entry<'a> {
    /// Relative; directories with a slash at the end.
    pub(crate) name: &'a [u8],
    pub(crate) kind: EntryType,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// In Unix seconds.
    pub(crate) mtime: i64,
    pub(crate) size: u64,
    /// The target of a link.
    pub(crate) link: &'a [u8],
    /// Major and minor number.
    pub(crate) device: (u32, u32),
    pub(crate) xattrs: &'a [(&'a str, Vec<u8>)],
}

impl<'a> Entry<'a> {
    /// An entry of root's, of 1970.
    pub(crate) fn new(name: &'a [u8], kind: EntryType, mode: u32) -> Entry<'a> {
        Entry {
            name,
            kind,
            mode,
            uid: 0,
            gid: 0,
            mtime: 0,
            size: 0,
            link: &[],
            device: (0, 0),
            xattrs: &[],
        }
    }
}

/// An archive being written.
pub(crate) struct Archive<W: Write> {
    out: BufWriter<W>,
    small: Vec<u8>,
}

impl<W: Write> Archive<W> {
    pub(crate) fn new(out: W) -> Archive<W> {
        Archive {
            out: BufWriter::with_capacity(BUFFER, out),
            small: Vec::new(),
        }
    }

    /// An entry without content.
    pub(crate) fn bare(&mut self, entry: &Entry<'_>) -> Result<(), Error> {
        self.header(entry).map_err(Error::Write)
    }

    /// A file of `content`.
    pub(crate) fn bytes(&mut self, entry: &Entry<'_>, content: &[u8]) -> Result<(), Error> {
        let size = content.len() as u64;
        let written = self
            .header(&Entry { size, ..entry.clone() })
            .and_then(|()| self.out.write_all(content))
            .and_then(|()| self.pad(size));
        written.map_err(Error::Write)
    }

    /// A file whose `entry.size` bytes are in the file `path`.
    pub(crate) fn file(&mut self, entry: &Entry<'_>, path: &Path) -> Result<(), Error> {
        let file = File::open(path).map_err(Error::io("read", path))?;
        self.bare(entry)?;
        let read = self.content(file.take(entry.size), entry.size, path)?;
        if read != entry.size {
            return Err(Error::Changed {
                path: path.to_owned(),
                expected: entry.size,
                read,
            });
        }
        self.pad(entry.size).map_err(Error::Write)
    }

    /// A file whose `entry.size` bytes `write` writes.
    pub(crate) fn stream(
        &mut self,
        entry: &Entry<'_>,
        write: impl FnOnce(&mut dyn Write) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.bare(entry)?;
        write(&mut self.out)?;
        self.pad(entry.size).map_err(Error::Write)
    }

    /// Ends the archive.
    pub(crate) fn finish(mut self) -> Result<(), Error> {
        let end = [0; 2 * BLOCK as usize];
        let written = self.out.write_all(&end).and_then(|()| self.out.flush());
        written.map_err(Error::Write)
    }

    fn content(&mut self, mut file: io::Take<File>, size: u64, path: &Path) -> Result<u64, Error> {
        if size > SMALL {
            return io::copy(&mut file, &mut self.out).map_err(Error::Write);
        }
        self.small.clear();
        file.read_to_end(&mut self.small).map_err(Error::io("read", path))?;
        self.out.write_all(&self.small).map_err(Error::Write)?;
        Ok(self.small.len() as u64)
    }

    fn header(&mut self, entry: &Entry<'_>) -> io::Result<()> {
        let records = pax_records(entry);
        if !records.is_empty() {
            let mut header = header_of(&Entry::new(b"PaxHeaders", EntryType::XHeader, 0o644));
            header.set_size(records.len() as u64);
            header.set_cksum();
            self.out.write_all(header.as_bytes())?;
            self.out.write_all(&records)?;
            self.pad(records.len() as u64)?;
        }
        self.out.write_all(header_of(entry).as_bytes())
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        let padding = size.next_multiple_of(BLOCK) - size;
        io::copy(&mut io::repeat(0).take(padding), &mut self.out).map(|_| ())
    }
}

/// The ustar block. Numbers too large for octal digits are written in the binary form that every reader knows.
pub(crate) fn header_of(entry: &Entry<'_>) -> Header {
    let mut header = Header::new_ustar();
    let old = header.as_old_mut();
    fill(&mut old.name, entry.name);
    fill(&mut old.linkname, entry.link);
    header.set_entry_type(entry.kind);
    header.set_mode(entry.mode & 0o7777);
    header.set_uid(entry.uid.into());
    header.set_gid(entry.gid.into());
    header.set_mtime(entry.mtime.max(0).cast_unsigned());
    header.set_size(entry.size);
    if let Some(ustar) = header.as_ustar_mut() {
        ustar.set_device_major(entry.device.0);
        ustar.set_device_minor(entry.device.1);
    }
    header.set_cksum();
    header
}

/// As much of `text` as fits.
fn fill(field: &mut [u8; 100], text: &[u8]) {
    let length = text.len().min(field.len());
    field[..length].copy_from_slice(&text[..length]);
}

/// What the ustar block cannot say.
fn pax_records(entry: &Entry<'_>) -> Vec<u8> {
    let mut records = Vec::new();
    if entry.name.len() > 100 {
        push_record(&mut records, "path", entry.name);
    }
    if entry.link.len() > 100 {
        push_record(&mut records, "linkpath", entry.link);
    }
    if entry.mtime < 0 {
        push_record(&mut records, "mtime", entry.mtime.to_string().as_bytes());
    }
    for (name, value) in entry.xattrs {
        push_record(&mut records, &format!("SCHILY.xattr.{name}"), value);
    }
    records
}

/// `LENGTH KEY=VALUE\n`, where the length counts its own digits.
fn push_record(records: &mut Vec<u8>, key: &str, value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while rest + length.to_string().len() != length {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(format!("{length} {key}=").as_bytes());
    records.extend_from_slice(value);
    records.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_of_a_record_counts_itself() {
        for (value, length) in [(0, 8), (1, 9), (2, 11), (90, 99), (91, 101)] {
            let mut records = Vec::new();
            push_record(&mut records, "path", &vec![b'x'; value]);
            assert_eq!(records.len(), length, "{value}");
            assert!(records.starts_with(format!("{length} path=").as_bytes()), "{value}");
        }
    }

    #[test]
    fn long_names_and_odd_numbers_read_back() {
        let name = vec![b'n'; 300];
        let entry = Entry {
            link: &[b'l'; 101],
            uid: u32::MAX,
            gid: 3_000_000,
            mtime: 1_700_000_000,
            xattrs: &[("security.capability", b"\x01\n\x02".to_vec())],
            ..Entry::new(&name, EntryType::Symlink, 0o777)
        };
        let mut bytes = Vec::new();
        let mut archive = Archive::new(&mut bytes);
        archive.bare(&entry).unwrap();
        archive.finish().unwrap();
        assert_eq!(bytes.len() % 512, 0);
        let mut read = tar::Archive::new(&bytes[..]);
        let found = read.entries().unwrap().next().unwrap().unwrap();
        assert_eq!(found.path_bytes().as_ref(), &name[..]);
        assert_eq!(found.link_name_bytes().unwrap().as_ref(), &[b'l'; 101][..]);
        let header = found.header();
        assert_eq!(
            (header.uid().unwrap(), header.gid().unwrap()),
            (u32::MAX.into(), 3_000_000)
        );
        assert_eq!(header.mtime().unwrap(), 1_700_000_000);
    }

    #[test]
    fn a_file_that_shrank_is_an_error() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"abc").unwrap();
        let mut archive = Archive::new(Vec::new());
        let entry = Entry {
            size: 5,
            ..Entry::new(b"f", EntryType::Regular, 0o644)
        };
        let error = archive.file(&entry, file.path()).unwrap_err();
        assert!(error.to_string().ends_with("3 bytes instead of 5"), "{error}");
    }
}
