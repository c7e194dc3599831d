//! Gzip: each block of an archive as a member (RFC 1952, section 2.2: the members of a file simply follow one another).
//!
//! A layer of one block is the gzip that everyone knows, and a larger one is what eStargz and `apko` publish and all
//! container engines read. A header holds neither name nor time.
//!
//! Deflate finds out slowly that a block cannot be made smaller, zstd at many times that speed: so blocks whose bytes
//! look random are tried with zstd first, and stored if it gains next to nothing.

use std::io;

use libdeflater::{CompressionLvl, Compressor as Deflate};
use zstd::bulk::Compressor;

use crate::members::Coder;

/// Deflate, no flags, no time, no hint of the level, system unknown: as Go's library writes it.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
/// The most that one stored deflate block can hold.
const STORED: usize = 65_535;
/// Smaller blocks are not worth a look.
const LEAST_TRIED: usize = 16 * 1024;

/// Compresses block after block.
pub(crate) struct Deflater {
    level: i32,
    deflate: Deflate,
    trial: Compressor<'static>,
    tried: Vec<u8>,
}

impl Coder for Deflater {
    const BLOCK: usize = 512 * 1024;

    fn new(level: i32) -> io::Result<Deflater> {
        let known = CompressionLvl::new(level).ok();
        Ok(Deflater {
            level,
            deflate: Deflate::new(known.unwrap_or_default()),
            trial: Compressor::new(1)?,
            tried: Vec::new(),
        })
    }

    fn member(&mut self, block: &[u8], mut room: Vec<u8>) -> io::Result<Vec<u8>> {
        room.clear();
        room.extend_from_slice(&HEADER);
        if self.is_incompressible(block) {
            store(block, &mut room);
        } else {
            room.resize(HEADER.len() + self.deflate.deflate_compress_bound(block.len()), 0);
            let length = self
                .deflate
                .deflate_compress(block, &mut room[HEADER.len()..])
                .map_err(|error| io::Error::other(format!("{error:?}")))?;
            room.truncate(HEADER.len() + length);
        }
        room.extend_from_slice(&libdeflater::crc32(block).to_le_bytes());
        // The size modulo 2^32, as the format has it.
        room.extend_from_slice(&(block.len() as u32).to_le_bytes());
        Ok(room)
    }
}

impl Deflater {
    /// Whether nearly nothing would be gained.
    fn is_incompressible(&mut self, block: &[u8]) -> bool {
        if self.level == 0 || block.len() < LEAST_TRIED || !looks_random(block) {
            return false;
        }
        // Less room than the block itself: what does not fit is not worth deflating.
        self.tried.resize(block.len() - block.len() / 50, 0);
        self.trial.compress_to_buffer(block, &mut self.tried[..]).is_err()
    }
}

/// Whether the bytes of `block`, of which one in eight is counted, are about equally frequent: nearly eight bits of
/// entropy in each.
fn looks_random(block: &[u8]) -> bool {
    let mut counts = [0u32; 256];
    let mut counted = 0;
    for piece in block.chunks(2048) {
        for byte in &piece[..piece.len().min(256)] {
            counts[usize::from(*byte)] += 1;
            counted += 1;
        }
    }
    // The sum of squares is the chance that two bytes are equal: 1/256 where all are as likely, 1/15 in a text.
    let squares: u64 = counts.iter().map(|count| u64::from(*count).pow(2)).sum();
    squares * 256 < (counted as u64).pow(2) * 5 / 4
}

/// Writes `block`, which is not empty, as stored deflate blocks that end the stream.
fn store(block: &[u8], bytes: &mut Vec<u8>) {
    let mut pieces = block.chunks(STORED).peekable();
    while let Some(piece) = pieces.next() {
        let is_last = pieces.peek().is_none();
        // At most STORED.
        let length = (piece.len() as u16).to_le_bytes();
        bytes.push(u8::from(is_last));
        bytes.extend_from_slice(&length);
        bytes.extend_from_slice(&length.map(|byte| !byte));
        bytes.extend_from_slice(piece);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;
    use crate::blocks::Hashed;
    use crate::members::Members;

    const BLOCK: usize = Deflater::BLOCK;

    fn compress(input: &[u8], threads: usize) -> Vec<u8> {
        compress_at(1, input, threads)
    }

    fn compress_at(level: i32, input: &[u8], threads: usize) -> Vec<u8> {
        let mut writer = Hashed::new(Members::<_, Deflater>::new(Vec::new(), level, threads));
        for piece in input.chunks(100_003) {
            writer.write_all(piece).unwrap();
        }
        let (writer, digest) = writer.finish().unwrap();
        assert_eq!(digest, oci::Digest::of(input));
        writer.finish().unwrap()
    }

    fn gunzip(compressed: &[u8]) -> Vec<u8> {
        let mut output = Vec::new();
        flate2::read::MultiGzDecoder::new(compressed)
            .read_to_end(&mut output)
            .unwrap();
        output
    }

    fn text(length: usize) -> Vec<u8> {
        let mut state = 1u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state >> 24
        };
        (0..length)
            .map(|at| if at % 7 == 0 { next() as u8 } else { (at / 50) as u8 })
            .collect()
    }

    fn noise(length: usize) -> Vec<u8> {
        let mut noise: Vec<u8> = (0..length.div_ceil(32))
            .flat_map(|n| *oci::Digest::of(&n.to_le_bytes()).raw())
            .collect();
        noise.truncate(length);
        noise
    }

    #[test]
    fn any_number_of_threads_gives_the_same_stream_which_gunzips() {
        let lengths = [
            0,
            1,
            5,
            65_534,
            65_535,
            65_536,
            BLOCK - 1,
            BLOCK,
            BLOCK + 1,
            3 * BLOCK,
            5 * BLOCK + 12345,
        ];
        for (kind, sample) in [("text", text as fn(usize) -> Vec<u8>), ("noise", noise)] {
            for length in lengths {
                let input = sample(length);
                let one = compress(&input, 1);
                for threads in [2, 3, 8] {
                    let many = compress(&input, threads);
                    assert!(many == one, "{length} bytes of {kind} on {threads} threads");
                }
                assert!(gunzip(&one) == input, "{length} bytes of {kind}");
            }
        }
    }

    #[test]
    fn text_shrinks_beside_noise_which_hardly_grows() {
        let (text, noise) = (text(4 * BLOCK), noise(4 * BLOCK));
        let alone = compress(&text, 2).len();
        assert!(alone < text.len() / 2, "{alone}");
        let mixed = [&text[..], &noise, &text, &noise].concat();
        let compressed = compress(&mixed, 2);
        let least = 2 * (alone + noise.len());
        assert!(
            compressed.len() < least + least / 1000,
            "{} of {least}",
            compressed.len()
        );
        assert!(gunzip(&compressed) == mixed);
    }

    #[test]
    fn noise_that_repeats_itself_shrinks() {
        let input = noise(20_000).repeat(100);
        let compressed = compress(&input, 2).len();
        assert!(compressed < input.len() / 10, "{compressed}");
    }

    #[test]
    fn every_level_gunzips_and_all_but_none_make_it_smaller() {
        // Nothing that zstd would call random, and hardly anything to gain.
        let digits: Vec<u8> = noise(2 * BLOCK + 1).iter().map(|byte| byte % 200).collect();
        for (kind, input) in [("text", text(2 * BLOCK + 1)), ("digits", digits)] {
            let lengths = [0, 1, 6, 9].map(|level| {
                let compressed = compress_at(level, &input, 2);
                assert!(gunzip(&compressed) == input, "{kind} at level {level}");
                compressed.len()
            });
            assert!(lengths[0] > input.len(), "{kind}: {lengths:?}");
            assert!(
                lengths[1..].iter().all(|length| *length < input.len()),
                "{kind}: {lengths:?}"
            );
        }
    }

    #[test]
    fn a_layer_of_one_block_is_a_single_member() {
        let input = text(BLOCK);
        let compressed = compress(&input, 4);
        let mut output = Vec::new();
        let mut decoder = flate2::read::GzDecoder::new(compressed.as_slice());
        decoder.read_to_end(&mut output).unwrap();
        assert!(output == input);
    }
}
