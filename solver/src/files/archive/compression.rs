//! Decompressing a file, by what its first bytes say it is.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::rewind;
use crate::files::pool;

const GZIP: &[u8] = &[0x1f, 0x8b, 0x08];
const BZIP2: &[u8] = b"BZh";
const XZ: &[u8] = &[0xfd, b'7', b'z', b'X', b'Z', 0];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

/// Blocks that the xz decoder may be ahead.
const AHEAD: usize = 8;

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
        _ if magic.starts_with(XZ) => unxz(file, read),
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

/// The xz decoder writes and does not let itself be read from, so it has a thread of its own.
fn unxz<T>(mut file: BufReader<File>, read: impl FnOnce(&mut dyn Read) -> T) -> T {
    let (sender, receiver) = sync_channel(AHEAD);
    std::thread::scope(|scope| {
        let decoder = scope.spawn(move || {
            let mut blocks = Blocks(sender);
            let decoded = lzma_rs::xz_decompress(&mut file, &mut blocks);
            decoded.map_err(|error| match error {
                lzma_rs::error::Error::IoError(error) => error,
                other => io::Error::new(io::ErrorKind::InvalidData, other.to_string()),
            })
        });
        let mut stream = Stream {
            blocks: Some(receiver),
            block: Vec::new(),
            used: 0,
            decoder: Some(decoder),
        };
        read(&mut stream)
    })
}

/// Takes what the decoder writes.
struct Blocks(SyncSender<Vec<u8>>);

impl Write for Blocks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.0.send(bytes.to_vec());
        // Nobody wants the rest.
        sent.map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Gives what the decoder wrote, and at the end whether it was content.
struct Stream<'scope> {
    blocks: Option<Receiver<Vec<u8>>>,
    block: Vec<u8>,
    used: usize,
    decoder: Option<std::thread::ScopedJoinHandle<'scope, io::Result<()>>>,
}

impl Read for Stream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.used == self.block.len() {
            match self.blocks.as_ref().and_then(|blocks| blocks.recv().ok()) {
                Some(block) => (self.block, self.used) = (block, 0),
                None => {
                    self.blocks = None;
                    return match self.decoder.take() {
                        Some(decoder) => pool::joined(decoder).map(|()| 0),
                        None => Ok(0),
                    };
                }
            }
        }
        let count = buffer.len().min(self.block.len() - self.used);
        buffer[..count].copy_from_slice(&self.block[self.used..self.used + count]);
        self.used += count;
        Ok(count)
    }
}
