//! Archives out of noise: their headers have checksums, which nobody hits by chance.

const BLOCK: usize = 512;
const SUM: std::ops::Range<usize> = 148..156;

/// The same bytes with the right checksum in each block that says of itself that it is a header.
pub(crate) fn with_checksums(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for block in bytes
        .chunks_exact_mut(BLOCK)
        .filter(|block| block[257..].starts_with(b"ustar"))
    {
        block[SUM].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[SUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    bytes
}
