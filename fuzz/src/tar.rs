//! Layers' archives: the same entries come out in whatever pieces the bytes arrive, no more content than there were
//! bytes, and of plain ustar archives what a reader of fifty lines sees in them.

use std::io::BufReader;

use cache::testing::{SeenEntry, read_archive};

use super::blocks::with_checksums;

const BLOCK: usize = 512;

/// Reads the archive whole, in pieces, and simply.
pub fn run(bytes: &[u8]) {
    let bytes = with_checksums(bytes);
    let (seen, wrong) = read_archive(&bytes[..]);
    let pieces = 1 + bytes.len() % 1021;
    assert_eq!(
        read_archive(BufReader::with_capacity(pieces, &bytes[..])),
        (seen.clone(), wrong.clone())
    );
    let content: usize = seen.iter().map(|entry| entry.content.len()).sum();
    assert!(content <= bytes.len(), "{content} bytes of content in {}", bytes.len());
    for entry in &seen {
        assert!(
            entry.path.len() <= 4096 && entry.link.len() <= 4096,
            "names have an end"
        );
    }
    if let Some(simple) = simple(&bytes) {
        assert_eq!((seen, wrong), (simple, None));
    }
}

/// The entries of an archive with nothing in it that younger forms than POSIX of 1988 have, and no mistake.
fn simple(bytes: &[u8]) -> Option<Vec<SeenEntry>> {
    let mut seen = Vec::new();
    let mut rest = bytes;
    loop {
        let (header, after) = rest.split_at_checked(BLOCK)?;
        if header.iter().all(|byte| *byte == 0) {
            let second = after.get(..BLOCK)?;
            return second.iter().all(|byte| *byte == 0).then_some(seen);
        }
        if &header[257..265] != b"ustar\x0000" {
            return None;
        }
        let kind = header[156];
        if !matches!(kind, b'0'..=b'6') {
            return None;
        }
        let (name, prefix) = (text(&header[..100]), text(&header[345..500]));
        let path = match prefix {
            b"" => name.to_vec(),
            prefix => [prefix, b"/", name].concat(),
        };
        let size = usize::try_from(number(&header[124..136])?).ok()?;
        let has_content = kind == b'0';
        if (!has_content && size > 0) || path.is_empty() {
            return None;
        }
        let padded = size.next_multiple_of(BLOCK);
        let content = after.get(..size)?.to_vec();
        rest = after.get(padded..)?;
        seen.push(SeenEntry {
            kind,
            path,
            link: text(&header[157..257]).to_vec(),
            mode: u32::try_from(number(&header[100..108])?).ok()? & 0o7777,
            uid: number(&header[108..116])?,
            gid: number(&header[116..124])?,
            time: (number(&header[136..148])?.cast_signed(), 0),
            device: (device(&header[329..337])?, device(&header[337..345])?),
            capability: None,
            sparse: None,
            content,
        });
    }
}

fn text(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    &field[..end]
}

/// Digits up to the last byte, which is zero.
fn number(field: &[u8]) -> Option<u64> {
    let (last, digits) = field.split_last()?;
    let is_number = *last == 0 && digits.iter().all(|byte| matches!(byte, b'0'..=b'7'));
    is_number.then(|| u64::from_str_radix(str::from_utf8(digits).ok()?, 8).ok())?
}

/// Only devices have such numbers, and others leave the field empty.
fn device(field: &[u8]) -> Option<u32> {
    match field.iter().all(|byte| *byte == 0) {
        true => Some(0),
        false => u32::try_from(number(field)?).ok(),
    }
}
