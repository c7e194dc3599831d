//! Gzip on several threads, with the same bytes for any number of them.
//!
//! The input comes in blocks of a constant size. Each is deflated on its own, with the last 32 KiB before it as
//! dictionary, and ended at a byte boundary, so that the results put one after the other are one ordinary deflate
//! stream. The header holds neither name nor time. As many blocks are in memory as there are threads, and two more.
//!
//! Deflate finds out at a third of its speed that a block cannot be made smaller, zstd at forty times that speed: so
//! blocks whose bytes look random are tried with zstd first, and stored if it gains next to nothing.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use flate2::{Compress, Crc, FlushCompress, Status};
use zstd::bulk::Compressor;

use crate::blocks::{Block, Target};

const WINDOW: usize = 32 * 1024;
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
    /// The block given last: whether it ends the stream shows with the next.
    last: Option<Block>,
    /// The block before that.
    before: Option<Block>,
    crc: Crc,
    workers: Option<Workers>,
    /// Results to come, in order.
    coming: VecDeque<Receiver<io::Result<Deflated>>>,
    /// Room for results.
    free: Vec<Vec<u8>>,
}

struct Deflated {
    bytes: Vec<u8>,
    crc: Crc,
}

struct Job {
    block: Block,
    before: Option<Block>,
    room: Vec<u8>,
    answer: SyncSender<io::Result<Deflated>>,
}

struct Workers {
    jobs: SyncSender<Job>,
    threads: Vec<JoinHandle<()>>,
}

impl<W: Write> GzipWriter<W> {
    /// Compresses into `target` at `level`, 0 to 9, on so many threads.
    pub(crate) fn new(mut target: W, level: u32, threads: usize) -> io::Result<GzipWriter<W>> {
        target.write_all(&HEADER)?;
        Ok(GzipWriter {
            target,
            level,
            threads: threads.max(1),
            last: None,
            before: None,
            crc: Crc::new(),
            workers: None,
            coming: VecDeque::new(),
            free: Vec::new(),
        })
    }

    /// Writes what is left and the trailer.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        let last = self.last.take().unwrap_or_default();
        let mut deflater = Deflater::new(self.level)?;
        let last = deflater.deflate(&last, self.before.as_deref(), (Vec::new(), FlushCompress::Finish))?;
        while !self.coming.is_empty() {
            self.take_result()?;
        }
        if let Some(workers) = self.workers.take() {
            workers.end();
        }
        self.keep(last)?;
        let trailer = [self.crc.sum().to_le_bytes(), self.crc.amount().to_le_bytes()].concat();
        self.target.write_all(&trailer)?;
        Ok(self.target)
    }

    /// Gives a block that is not the last to a thread. Small layers need no threads.
    fn dispatch(&mut self, block: Block) -> io::Result<()> {
        let (answer, result) = sync_channel(1);
        let job = Job {
            before: self.before.replace(Arc::clone(&block)),
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
        let deflated = result.recv().map_err(|_| stopped())??;
        self.keep(deflated)
    }

    fn keep(&mut self, deflated: Deflated) -> io::Result<()> {
        self.crc.combine(&deflated.crc);
        self.target.write_all(&deflated.bytes)?;
        self.free.push(deflated.bytes);
        Ok(())
    }
}

impl<W: Write> Target for GzipWriter<W> {
    fn take(&mut self, block: &Block) -> io::Result<()> {
        match self.last.replace(Arc::clone(block)) {
            Some(block) => self.dispatch(block),
            None => Ok(()),
        }
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

/// Deflates blocks until no more can come.
fn work(queue: &Mutex<Receiver<Job>>, deflater: &mut Deflater) {
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job {
            block,
            before,
            room,
            answer,
        }) = job
        else {
            return;
        };
        let deflated = deflater.deflate(&block, before.as_deref(), (room, FlushCompress::Sync));
        // Whoever gets the answer may fill the blocks anew.
        drop((block, before));
        // Nobody waits any more if the writer was dropped.
        let _ = answer.send(deflated);
    }
}

/// What one thread needs to deflate block after block.
struct Deflater {
    level: u32,
    deflate: Compress,
    trial: Compressor<'static>,
    tried: Vec<u8>,
}

impl Deflater {
    fn new(level: u32) -> io::Result<Deflater> {
        Ok(Deflater {
            level,
            deflate: Compress::new(flate2::Compression::new(level), false),
            trial: Compressor::new(1)?,
            tried: Vec::new(),
        })
    }

    /// Deflates `block`, which follows `before`, into `room`.
    fn deflate(
        &mut self,
        block: &[u8],
        before: Option<&Vec<u8>>,
        (mut room, end): (Vec<u8>, FlushCompress),
    ) -> io::Result<Deflated> {
        room.clear();
        if self.is_incompressible(block) {
            store(block, &mut room, end);
        } else {
            self.deflate_into(block, before, (&mut room, end))?;
        }
        let mut crc = Crc::new();
        crc.update(block);
        Ok(Deflated { bytes: room, crc })
    }

    fn deflate_into(
        &mut self,
        block: &[u8],
        before: Option<&Vec<u8>>,
        (bytes, end): (&mut Vec<u8>, FlushCompress),
    ) -> io::Result<()> {
        self.deflate.reset();
        if let Some(before) = before {
            let dictionary = &before[before.len().saturating_sub(WINDOW)..];
            self.deflate.set_dictionary(dictionary).map_err(io::Error::other)?;
        }
        bytes.reserve(block.len() / 2 + 1024);
        let mut rest = block;
        loop {
            if bytes.capacity() - bytes.len() < 1024 {
                bytes.reserve(block.len() / 4 + 4096);
            }
            let taken = self.deflate.total_in();
            let status = self.deflate.compress_vec(rest, bytes, end).map_err(io::Error::other)?;
            let taken = usize::try_from(self.deflate.total_in() - taken).unwrap_or(rest.len());
            rest = &rest[taken..];
            let room = bytes.len() < bytes.capacity();
            match (end, status) {
                (FlushCompress::Finish, Status::StreamEnd) => return Ok(()),
                (FlushCompress::Sync, _) if rest.is_empty() && room => return Ok(()),
                _ => {}
            }
        }
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

/// Writes `block` as stored deflate blocks. What came before must have ended at a byte boundary.
fn store(block: &[u8], bytes: &mut Vec<u8>, end: FlushCompress) {
    let mut pieces = block.chunks(STORED).peekable();
    while let Some(piece) = pieces.next() {
        let is_last = pieces.peek().is_none() && matches!(end, FlushCompress::Finish);
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
        let mut writer = Hashed::new(GzipWriter::new(Vec::new(), 3, threads).unwrap());
        for piece in input.chunks(100_003) {
            writer.write_all(piece).unwrap();
        }
        let (writer, digest) = writer.finish().unwrap();
        assert_eq!(digest, oci::Digest::of(input));
        writer.finish().unwrap()
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
                let mut output = Vec::new();
                // A decoder of one member: the stream must not be several.
                flate2::read::GzDecoder::new(one.as_slice())
                    .read_to_end(&mut output)
                    .unwrap();
                assert!(output == input, "{length} bytes of {kind}");
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
        let mut output = Vec::new();
        flate2::read::GzDecoder::new(compressed.as_slice())
            .read_to_end(&mut output)
            .unwrap();
        assert!(output == mixed);
    }

    #[test]
    fn noise_that_repeats_itself_shrinks() {
        let input = noise(20_000).repeat(100);
        let compressed = compress(&input, 2).len();
        assert!(compressed < input.len() / 10, "{compressed}");
    }
}
