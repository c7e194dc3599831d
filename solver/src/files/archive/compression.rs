//! Decompressing a file, by what its first bytes say it is.
//!
//! Memory is bounded, whatever the bytes say: gzip and bzip2 need little, zstd refuses windows of more than 128 MiB, and
//! xz of more than [`XZ_MEMORY`]. How much comes out is for whoever reads.

use std::fs::File;
use std::io::{self, BufReader, Read};

use lzma_rust2::XzReader;

use super::rewind;

const GZIP: &[u8] = &[0x1f, 0x8b, 0x08];
const BZIP2: &[u8] = b"BZh";
const XZ: &[u8] = &[0xfd, b'7', b'z', b'X', b'Z', 0];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

/// What the xz decoder may use, in KiB: `xz -9` makes files that need 65 MiB.
const XZ_MEMORY: u32 = 256 << 10;

/// Lends `read` the bytes of a file, decompressed.
pub(super) fn decompress<T>(mut file: File, read: impl FnOnce(&mut dyn Read) -> T) -> io::Result<T> {
    let mut magic = [0; 6];
    let length = fill(&mut file, &mut magic)?;
    rewind(&mut file)?;
    let magic = &magic[..length];
    let file = BufReader::with_capacity(128 * 1024, file);
    Ok(match magic {
        _ if magic.starts_with(GZIP) => read(&mut flate2::bufread::MultiGzDecoder::new(file)),
        _ if magic.starts_with(BZIP2) => read(&mut bzip2::bufread::MultiBzDecoder::new(file)),
        _ if magic.starts_with(ZSTD) || is_skippable(magic) => read(&mut zstd::Decoder::with_buffer(file)?),
        _ if magic.starts_with(XZ) => read(&mut XzReader::new_mem_limit(file, true, XZ_MEMORY)),
        _ => read(&mut { file }),
    })
}

/// A zstd frame without contents, which may come first.
fn is_skippable(magic: &[u8]) -> bool {
    magic.len() >= 4 && magic[0] & 0xf0 == 0x50 && magic[1..4] == [0x2a, 0x4d, 0x18]
}

fn fill(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..])? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(filled)
}
