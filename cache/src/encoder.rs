//! Encoders: from the blocks of an archive to the bytes of a blob, in one of the compressions.

use std::io::{self, Write};

use zstd::zstd_safe::CParameter;

use crate::BlobWriter;
use crate::blocks::{Block, Target};
use crate::gzip::GzipWriter;
use crate::layer::{Compression, DEFAULT_GZIP, DEFAULT_ZSTD};

/// What a thread of zstd compresses at a time, and how much of a window it looks back. Zstd's own choice, jobs of four
/// windows, needs 120 MiB of memory where this needs 25, for 0.7 % in size.
const JOB: u32 = 2 << 20;
const QUARTER: u32 = 7;
/// Levels beyond have windows larger than such jobs: whoever asks for them gives them their memory.
const MOST_CUT: i32 = 9;

/// A compressor of one of the kinds.
pub(crate) enum Encoder {
    Plain(BlobWriter),
    Gzip(GzipWriter<BlobWriter>),
    Zstd(zstd::stream::write::Encoder<'static, BlobWriter>),
}

impl Encoder {
    pub(crate) fn new(writer: BlobWriter, compression: Compression, threads: usize) -> io::Result<Encoder> {
        match compression {
            Compression::Uncompressed => Ok(Encoder::Plain(writer)),
            Compression::Gzip { level } => {
                let level = level.unwrap_or(DEFAULT_GZIP).min(9);
                Ok(Encoder::Gzip(GzipWriter::new(writer, level, threads)))
            }
            Compression::Zstd { level } => {
                let level = level.unwrap_or(DEFAULT_ZSTD).clamp(1, 22);
                let mut encoder = zstd::stream::write::Encoder::new(writer, level)?;
                // With one worker or many the jobs are cut alike; with none they are not cut at all.
                encoder.multithread(u32::try_from(threads).unwrap_or(1).max(1))?;
                if level <= MOST_CUT {
                    encoder.set_parameter(CParameter::JobSize(JOB))?;
                    encoder.set_parameter(CParameter::OverlapSizeLog(QUARTER))?;
                }
                Ok(Encoder::Zstd(encoder))
            }
        }
    }

    pub(crate) fn finish(self) -> io::Result<BlobWriter> {
        match self {
            Encoder::Plain(writer) => Ok(writer),
            Encoder::Gzip(encoder) => encoder.finish(),
            Encoder::Zstd(encoder) => encoder.finish(),
        }
    }
}

impl Target for Encoder {
    fn take(&mut self, block: &Block) -> io::Result<()> {
        match self {
            Encoder::Plain(writer) => writer.write_all(block),
            Encoder::Gzip(encoder) => encoder.take(block),
            Encoder::Zstd(encoder) => encoder.write_all(block),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Store;
    use crate::blocks::Hashed;

    #[test]
    fn zstd_gives_the_same_bytes_on_any_number_of_threads() {
        let root = tempfile::TempDir::new().unwrap();
        let store = Store::open(root.path()).unwrap();
        let input: Vec<u8> = (0..3_000_000u32)
            .flat_map(|n| (n / 7).wrapping_mul(n).to_le_bytes())
            .collect();
        let compress = |threads| {
            let writer = store.blob_writer().unwrap();
            let target = Encoder::new(writer, Compression::Zstd { level: None }, threads).unwrap();
            let mut encoder = Hashed::new(target);
            encoder.write_all(&input).unwrap();
            encoder.finish().unwrap().0.finish().unwrap().finish().unwrap().digest
        };
        assert_eq!(compress(1), compress(2));
        assert_eq!(compress(1), compress(5));
    }
}
