//! Encoders: from the blocks of an archive to the bytes of a blob, in one of the compressions.

use std::io::{self, Write};

use crate::BlobWriter;
use crate::blocks::{Block, Target};
use crate::frames::Framer;
use crate::gzip::Deflater;
use crate::layer::{Compression, DEFAULT_GZIP, DEFAULT_ZSTD};
use crate::members::Members;

/// The archive is cut into blocks of a thread each. Levels beyond look back further than such blocks: whoever asks for them
/// gives them their memory.
const MOST_CUT: i32 = 9;
/// Of a plain blob.
const BLOCK: usize = 512 * 1024;

/// A compressor of one of the kinds.
pub(crate) enum Encoder {
    Plain(BlobWriter),
    Gzip(Members<BlobWriter, Deflater>),
    Zstd(Members<BlobWriter, Framer>),
    LongZstd(zstd::stream::write::Encoder<'static, BlobWriter>),
}

impl Encoder {
    pub(crate) fn new(writer: BlobWriter, compression: Compression, threads: usize) -> io::Result<Encoder> {
        match compression {
            Compression::Uncompressed => Ok(Encoder::Plain(writer)),
            Compression::Gzip { level } => {
                let level = level.unwrap_or(DEFAULT_GZIP).min(9).cast_signed();
                Ok(Encoder::Gzip(Members::new(writer, level, threads)))
            }
            Compression::Zstd { level } => {
                let level = level.unwrap_or(DEFAULT_ZSTD).clamp(1, 22);
                if level <= MOST_CUT {
                    return Ok(Encoder::Zstd(Members::new(writer, level, threads)));
                }
                let mut encoder = zstd::stream::write::Encoder::new(writer, level)?;
                // With one worker or many the jobs are cut alike; with none they are not cut at all.
                encoder.multithread(u32::try_from(threads).unwrap_or(1).max(1))?;
                Ok(Encoder::LongZstd(encoder))
            }
        }
    }

    pub(crate) fn finish(self) -> io::Result<BlobWriter> {
        match self {
            Encoder::Plain(writer) => Ok(writer),
            Encoder::Gzip(encoder) => encoder.finish(),
            Encoder::Zstd(encoder) => encoder.finish(),
            Encoder::LongZstd(encoder) => encoder.finish(),
        }
    }
}

impl Target for Encoder {
    fn block(&self) -> usize {
        match self {
            Encoder::Plain(_) => BLOCK,
            Encoder::Gzip(encoder) => encoder.block(),
            Encoder::Zstd(encoder) => encoder.block(),
            Encoder::LongZstd(_) => BLOCK,
        }
    }

    fn take(&mut self, block: &Block) -> io::Result<()> {
        match self {
            Encoder::Plain(writer) => writer.write_all(block),
            Encoder::Gzip(encoder) => encoder.take(block),
            Encoder::Zstd(encoder) => encoder.take(block),
            Encoder::LongZstd(encoder) => encoder.write_all(block),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Store;
    use crate::blocks::Hashed;

    #[test]
    fn high_levels_give_the_same_bytes_on_any_number_of_threads() {
        let root = tempfile::TempDir::new().unwrap();
        let store = Store::open(root.path()).unwrap();
        let input: Vec<u8> = (0..3_000_000u32)
            .flat_map(|n| (n / 7).wrapping_mul(n).to_le_bytes())
            .collect();
        let compress = |threads| {
            let writer = store.blob_writer().unwrap();
            let target = Encoder::new(
                writer,
                Compression::Zstd {
                    level: Some(MOST_CUT + 1),
                },
                threads,
            )
            .unwrap();
            let mut encoder = Hashed::new(target);
            encoder.write_all(&input).unwrap();
            encoder.finish().unwrap().0.finish().unwrap().finish().unwrap().digest
        };
        assert_eq!(compress(1), compress(2));
        assert_eq!(compress(1), compress(5));
    }
}
