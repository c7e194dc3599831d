//! The reader of archives without a store around it, for those who try it with bytes of their own making. Nothing else
//! needs it, so it is no part of what this crate offers.

use std::io::BufRead;

use crate::tar_reader::{Entry, Kind, TarError, TarReader};

/// An entry of an archive, as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenEntry {
    /// As in a ustar header: `0` for a file, `1` for a hard link and so on.
    pub kind: u8,
    /// As it is in the archive.
    pub path: Vec<u8>,
    /// The target of a link.
    pub link: Vec<u8>,
    /// Without the type.
    pub mode: u32,
    /// Of the owner.
    pub uid: u64,
    /// Of the owner's group.
    pub gid: u64,
    /// Seconds and nanoseconds since 1970.
    pub time: (i64, i64),
    /// Major and minor number.
    pub device: (u32, u32),
    /// The value of `security.capability`.
    pub capability: Option<Vec<u8>>,
    /// The size of a file with holes.
    pub sparse: Option<u64>,
    /// The bytes in the archive.
    pub content: Vec<u8>,
}

/// Reads an archive up to its end, or up to what is wrong with it, which comes second then.
pub fn read_archive(source: impl BufRead) -> (Vec<SeenEntry>, Option<String>) {
    let mut reader = TarReader::new(source);
    let mut seen = Vec::new();
    loop {
        match reader.next() {
            Ok(Some(entry)) => seen.push(SeenEntry::from(entry)),
            Ok(None) => return (seen, None),
            Err(error) => return (seen, Some(words(error))),
        }
        let content = &mut seen.last_mut().expect("one was just added").content;
        let taken = reader.content(|piece| {
            content.extend_from_slice(piece);
            Ok(())
        });
        if let Err(error) = taken {
            return (seen, Some(words(error)));
        }
    }
}

fn words(error: TarError) -> String {
    match error {
        TarError::Stream(error) => error.to_string(),
        TarError::Malformed(reason) => reason,
    }
}

impl From<Entry> for SeenEntry {
    fn from(entry: Entry) -> SeenEntry {
        SeenEntry {
            kind: match entry.kind {
                Kind::File => b'0',
                Kind::HardLink => b'1',
                Kind::Symlink => b'2',
                Kind::CharacterDevice => b'3',
                Kind::BlockDevice => b'4',
                Kind::Directory => b'5',
                Kind::Fifo => b'6',
            },
            path: entry.path,
            link: entry.link,
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            time: entry.time,
            device: entry.device,
            capability: entry.capability,
            sparse: entry.sparse.map(|(_, size)| size),
            content: Vec::new(),
        }
    }
}
