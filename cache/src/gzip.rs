//! Gzip on several threads, with the same bytes for any number of them.
//!
//! The input comes in blocks of a constant size. Each becomes a member of its own (RFC 1952, section 2.2: the members of
//! a file simply follow one another), so a layer of one block is the gzip that everyone knows, and a larger one is
//! what eStargz and `apko` publish and all container engines read. Only so a block can be given to a compressor of
//! whole buffers, which is twice as fast as one of streams. A header holds neither name nor time. As many blocks are
//! in memory as there are threads, and two more.
//!
//! Deflate finds out slowly that a block cannot be made smaller, zstd at many times that speed: so blocks whose bytes
//! look random are tried with zstd first, and stored if it gains next to nothing.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use libdeflater::{CompressionLvl, Compressor as Deflate};
use zstd::bulk::Compressor;

use crate::blocks::{Block, Target};

/// Deflate, no flags, no time, no hint of the level, system unknown: as Go's library writes it.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
/// The most that one stored deflate block can hold.
const STORED: usize = 65_535;
/// Smaller blocks are not worth a look.
const LEAST_TRIED: usize = 16 * 1024;

/// Compresses the blocks it is given.
pub(crate) struct GzipWriter<W> {
    target: W,
    level: u32,
    threads: usize,
    /// The first block: whether it needs threads shows with the next.
    first: Option<Block>,
    is_empty: bool,
    workers: Option<Workers>,
    /// Results to come, in order.
    coming: VecDeque<Receiver<io::Result<Vec<u8>>>>,
    /// Room for results.
    free: Vec<Vec<u8>>,
}

struct Job {
    block: Block,
    room: Vec<u8>,
    answer: SyncSender<io::Result<Vec<u8>>>,
}

struct Workers {
    jobs: SyncSender<Job>,
    threads: Vec<JoinHandle<()>>,
}

impl<W: Write> GzipWriter<W> {
    /// Compresses into `target` at `level`, 0 to 9, on so many threads.
    pub(crate) fn new(target: W, level: u32, threads: usize) -> GzipWriter<W> {
        GzipWriter {
            target,
            level,
            threads: threads.max(1),
            first: None,
            is_empty: true,
            workers: None,
            coming: VecDeque::new(),
            free: Vec::new(),
        }
    }

    /// Writes what is left.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        // A file without members is no gzip.
        let alone = self.first.take().or_else(|| self.is_empty.then(Block::default));
        if let Some(block) = alone {
            let member = Deflater::new(self.level)?.member(&block, Vec::new())?;
            self.target.write_all(&member)?;
        }
        while !self.coming.is_empty() {
            self.take_result()?;
        }
        if let Some(workers) = self.workers.take() {
            workers.end();
        }
        Ok(self.target)
    }

    /// Gives a block to a thread. Layers of one block need no threads.
    fn dispatch(&mut self, block: Block) -> io::Result<()> {
        let (answer, result) = sync_channel(1);
        let job = Job {
            block,
            room: self.free.pop().unwrap_or_default(),
            answer,
        };
        let workers = match self.workers.take() {
            Some(workers) => workers,
            None => Workers::start(self.threads, self.level)?,
        };
        let sent = workers.jobs.send(job);
        self.workers = Some(workers);
        sent.map_err(|_| stopped())?;
        self.coming.push_back(result);
        while self.coming.len() > self.threads + 1 {
            self.take_result()?;
        }
        Ok(())
    }

    fn take_result(&mut self) -> io::Result<()> {
        let Some(result) = self.coming.pop_front() else {
            return Ok(());
        };
        let member = result.recv().map_err(|_| stopped())??;
        self.target.write_all(&member)?;
        self.free.push(member);
        Ok(())
    }
}

impl<W: Write> Target for GzipWriter<W> {
    fn take(&mut self, block: &Block) -> io::Result<()> {
        if self.is_empty {
            self.is_empty = false;
            self.first = Some(Arc::clone(block));
            return Ok(());
        }
        if let Some(first) = self.first.take() {
            self.dispatch(first)?;
        }
        self.dispatch(Arc::clone(block))
    }
}

impl Workers {
    fn start(count: usize, level: u32) -> io::Result<Workers> {
        let (jobs, queue) = sync_channel::<Job>(count);
        let queue = Arc::new(Mutex::new(queue));
        let mut threads = Vec::new();
        for _ in 0..count {
            let queue = Arc::clone(&queue);
            let mut deflater = Deflater::new(level)?;
            threads.push(
                std::thread::Builder::new()
                    .name("gzip".to_owned())
                    .spawn(move || work(&queue, &mut deflater))?,
            );
        }
        Ok(Workers { jobs, threads })
    }

    fn end(self) {
        drop(self.jobs);
        for thread in self.threads {
            // A thread that panicked gave no answer, which has been noticed.
            let _ = thread.join();
        }
    }
}

/// Compresses blocks until no more can come.
fn work(queue: &Mutex<Receiver<Job>>, deflater: &mut Deflater) {
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { block, room, answer }) = job else {
            return;
        };
        let member = deflater.member(&block, room);
        // Whoever gets the answer may fill the block anew.
        drop(block);
        // Nobody waits any more if the writer was dropped.
        let _ = answer.send(member);
    }
}

/// What one thread needs to compress block after block.
struct Deflater {
    level: u32,
    deflate: Deflate,
    trial: Compressor<'static>,
    tried: Vec<u8>,
}

impl Deflater {
    fn new(level: u32) -> io::Result<Deflater> {
        let known = i32::try_from(level)
            .ok()
            .and_then(|level| CompressionLvl::new(level).ok());
        Ok(Deflater {
            level,
            deflate: Deflate::new(known.unwrap_or_default()),
            trial: Compressor::new(1)?,
            tried: Vec::new(),
        })
    }

    /// A member that holds `block`, put into `room`.
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

fn stopped() -> io::Error {
    io::Error::other("a compressing thread stopped")
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::blocks::{BLOCK, Hashed};

    fn compress(input: &[u8], threads: usize) -> Vec<u8> {
        compress_at(1, input, threads)
    }

    fn compress_at(level: u32, input: &[u8], threads: usize) -> Vec<u8> {
        let mut writer = Hashed::new(GzipWriter::new(Vec::new(), level, threads));
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
