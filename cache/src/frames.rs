//! Zstandard: each block of an archive as a frame (RFC 8878, section 3: frames may follow one another, and are decoded to their
//! contents one after the other).
//!
//! That is how `pzstd` writes, and zstd:chunked. In blocks of this size the frames are half a hundredth larger than one stream.

use std::io;

use zstd::bulk::Compressor;
use zstd::zstd_safe;

use crate::members::Coder;

/// Compresses block after block.
pub(crate) struct Framer(Compressor<'static>);

impl Coder for Framer {
    const BLOCK: usize = 2 << 20;

    fn new(level: i32) -> io::Result<Framer> {
        Ok(Framer(Compressor::new(level)?))
    }

    fn member(&mut self, block: &[u8], mut room: Vec<u8>) -> io::Result<Vec<u8>> {
        room.clear();
        room.reserve(zstd_safe::compress_bound(block.len()));
        self.0.compress_to_buffer(block, &mut room)?;
        Ok(room)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::blocks::Hashed;
    use crate::members::Members;

    #[test]
    fn any_number_of_threads_gives_the_same_frames_which_decode() {
        const BLOCK: usize = Framer::BLOCK;
        let text = |length: usize| -> Vec<u8> {
            let bytes = (0u32..).flat_map(|n| (n / 7).wrapping_mul(n).to_le_bytes());
            bytes.take(length).collect()
        };
        for length in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK, 3 * BLOCK + 12345] {
            let input = text(length);
            let [one, two, many] = [1, 2, 5].map(|threads| {
                let mut writer = Hashed::new(Members::<_, Framer>::new(Vec::new(), 2, threads));
                for piece in input.chunks(300_007) {
                    writer.write_all(piece).unwrap();
                }
                let (writer, digest) = writer.finish().unwrap();
                assert_eq!(digest, oci::Digest::of(&input));
                writer.finish().unwrap()
            });
            assert!(one == two && two == many, "{length} bytes");
            assert!(zstd::decode_all(&one[..]).unwrap() == input, "{length} bytes");
        }
    }
}
