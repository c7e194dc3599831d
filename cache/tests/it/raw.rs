//! Tar archives written byte by byte, past all scruples of libraries.

/// An archive being written.
pub(crate) struct Raw {
    bytes: Vec<u8>,
    ended: bool,
}

impl Raw {
    pub(crate) fn new() -> Raw {
        Raw {
            bytes: Vec::new(),
            ended: false,
        }
    }

    /// An entry, whose header is changed before its checksum is made.
    pub(crate) fn entry_with(
        mut self,
        name: &[u8],
        kind: u8,
        link: &[u8],
        content: &[u8],
        change: impl FnOnce(&mut [u8; 512]),
    ) -> Raw {
        let mut block = [0; 512];
        block[..name.len()].copy_from_slice(name);
        block[100..108].copy_from_slice(b"0000644\0");
        block[108..116].copy_from_slice(b"0000000\0");
        block[116..124].copy_from_slice(b"0000000\0");
        block[124..136].copy_from_slice(format!("{:011o}\0", content.len()).as_bytes());
        block[136..148].copy_from_slice(b"00000001750\0");
        block[156] = kind;
        block[157..157 + link.len()].copy_from_slice(link);
        block[257..265].copy_from_slice(b"ustar\x0000");
        change(&mut block);
        block[148..156].copy_from_slice(b"        ");
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.bytes.extend(block);
        self.bytes.extend(content);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
        self
    }

    pub(crate) fn entry(self, name: &[u8], kind: u8, link: &[u8], content: &[u8]) -> Raw {
        self.entry_with(name, kind, link, content, |_| {})
    }

    /// A block as it is.
    pub(crate) fn block(mut self, block: [u8; 512]) -> Raw {
        self.bytes.extend(block);
        self
    }

    pub(crate) fn file(self, name: &str, content: &str) -> Raw {
        self.entry(name.as_bytes(), b'0', b"", content.as_bytes())
    }

    pub(crate) fn directory(self, name: &str) -> Raw {
        self.mode(name, b'5', 0o755)
    }

    pub(crate) fn mode(self, name: &str, kind: u8, mode: u32) -> Raw {
        self.entry_with(name.as_bytes(), kind, b"", b"", |block| {
            block[100..108].copy_from_slice(format!("{mode:07o}\0").as_bytes());
        })
    }

    pub(crate) fn symlink(self, name: &str, target: &str) -> Raw {
        self.entry(name.as_bytes(), b'2', target.as_bytes(), b"")
    }

    pub(crate) fn link(self, name: &str, target: &str) -> Raw {
        self.entry(name.as_bytes(), b'1', target.as_bytes(), b"")
    }

    pub(crate) fn device(self, name: &str, kind: u8, major: u32, minor: u32) -> Raw {
        self.entry_with(name.as_bytes(), kind, b"", b"", |block| {
            block[329..337].copy_from_slice(format!("{major:07o}\0").as_bytes());
            block[337..345].copy_from_slice(format!("{minor:07o}\0").as_bytes());
        })
    }

    /// A PAX record for the next entry.
    pub(crate) fn pax(self, key: &str, value: &[u8]) -> Raw {
        self.pax_records(&[(key, value)])
    }

    pub(crate) fn pax_records(self, records: &[(&str, &[u8])]) -> Raw {
        let text: Vec<u8> = records.iter().flat_map(|(key, value)| record(key, value)).collect();
        self.pax_text(&text)
    }

    /// The text of PAX records, true or not.
    pub(crate) fn pax_text(self, text: &[u8]) -> Raw {
        self.entry(b"PaxHeaders/x", b'x', b"", text)
    }

    /// A PAX record for all entries that follow.
    pub(crate) fn global(self, key: &str, value: &[u8]) -> Raw {
        self.entry(b"GlobalHead", b'g', b"", &record(key, value))
    }

    /// GNU's long name (`L`) or long target (`K`) of the next entry.
    pub(crate) fn long(self, kind: u8, text: &[u8]) -> Raw {
        self.entry(b"././@LongLink", kind, b"", text)
    }

    /// One byte is another.
    pub(crate) fn spoiled(mut self, at: usize) -> Raw {
        self.bytes[at] ^= 1;
        self
    }

    /// No more than so many bytes, and no end.
    pub(crate) fn cut(mut self, length: usize) -> Raw {
        self.bytes.truncate(length);
        self.ended = true;
        self
    }

    /// Something behind the end.
    pub(crate) fn tail(self, bytes: &[u8]) -> Raw {
        let bytes = [self.bytes(), bytes.to_vec()].concat();
        Raw { bytes, ended: true }
    }

    pub(crate) fn bytes(mut self) -> Vec<u8> {
        if !self.ended {
            self.bytes.extend([0; 1024]);
        }
        self.bytes
    }
}

fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + rest.to_string().len();
    length = rest + length.to_string().len();
    [format!("{length} {key}=").as_bytes(), value, b"\n"].concat()
}
