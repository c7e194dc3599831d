//! Gzip on several threads, with the same bytes for any number of them.
//!
//! The input is cut into blocks of a constant size. Each is deflated on its own, with the last 32 KiB before it as
//! dictionary, and ended at a byte boundary, so that the results put one after the other are one ordinary deflate
//! stream. The header holds neither name nor time. As many blocks are in memory as there are threads, and two more.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use flate2::{Compress, Crc, FlushCompress, Status};

const BLOCK: usize = 512 * 1024;
const WINDOW: usize = 32 * 1024;
/// Deflate, no flags, no time, no hint of the level, system unknown: as Go's library writes it.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// Compresses what is written to it.
pub(crate) struct GzipWriter<W> {
    target: W,
    level: u32,
    threads: usize,
    block: Vec<u8>,
    /// The end of the block before.
    dictionary: Vec<u8>,
    crc: Crc,
    workers: Option<Workers>,
    /// Results to come, in order.
    coming: VecDeque<Receiver<io::Result<Deflated>>>,
}

struct Deflated {
    bytes: Vec<u8>,
    crc: Crc,
}

struct Job {
    block: Vec<u8>,
    dictionary: Vec<u8>,
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
            block: Vec::with_capacity(BLOCK),
            dictionary: Vec::new(),
            crc: Crc::new(),
            workers: None,
            coming: VecDeque::new(),
        })
    }

    /// Writes what is left and the trailer.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        let last = std::mem::take(&mut self.block);
        while !self.coming.is_empty() {
            self.take_result()?;
        }
        if let Some(workers) = self.workers.take() {
            workers.end();
        }
        let mut deflate = Compress::new(flate2::Compression::new(self.level), false);
        let last = deflate_block(&mut deflate, &last, &self.dictionary, FlushCompress::Finish)?;
        self.keep(&last)?;
        let trailer = [self.crc.sum().to_le_bytes(), self.crc.amount().to_le_bytes()].concat();
        self.target.write_all(&trailer)?;
        Ok(self.target)
    }

    /// Gives the full block to a thread. The first block waits for the second: small layers need no threads.
    fn dispatch(&mut self) -> io::Result<()> {
        let block = std::mem::replace(&mut self.block, Vec::with_capacity(BLOCK));
        let tail = block[block.len() - WINDOW..].to_vec();
        let (answer, result) = sync_channel(1);
        let job = Job {
            block,
            dictionary: std::mem::replace(&mut self.dictionary, tail),
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
        self.keep(&deflated)
    }

    fn keep(&mut self, deflated: &Deflated) -> io::Result<()> {
        self.crc.combine(&deflated.crc);
        self.target.write_all(&deflated.bytes)
    }
}

impl<W: Write> Write for GzipWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Only when more is to come: the last block must be the one that ends the stream.
        if self.block.len() == BLOCK && !bytes.is_empty() {
            self.dispatch()?;
        }
        let taken = bytes.len().min(BLOCK - self.block.len());
        self.block.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Workers {
    fn start(count: usize, level: u32) -> io::Result<Workers> {
        let (jobs, queue) = sync_channel::<Job>(count);
        let queue = Arc::new(Mutex::new(queue));
        let mut threads = Vec::new();
        for _ in 0..count {
            let queue = Arc::clone(&queue);
            threads.push(
                std::thread::Builder::new()
                    .name("gzip".to_owned())
                    .spawn(move || work(&queue, level))?,
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
fn work(queue: &Mutex<Receiver<Job>>, level: u32) {
    let mut deflate = Compress::new(flate2::Compression::new(level), false);
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        deflate.reset();
        let deflated = deflate_block(&mut deflate, &job.block, &job.dictionary, FlushCompress::Sync);
        // Nobody waits any more if the writer was dropped.
        let _ = job.answer.send(deflated);
    }
}

fn deflate_block(deflate: &mut Compress, block: &[u8], dictionary: &[u8], end: FlushCompress) -> io::Result<Deflated> {
    if !dictionary.is_empty() {
        deflate.set_dictionary(dictionary).map_err(io::Error::other)?;
    }
    let mut bytes = Vec::with_capacity(block.len() / 2 + 1024);
    let mut rest = block;
    loop {
        if bytes.capacity() - bytes.len() < 1024 {
            bytes.reserve(block.len() / 4 + 4096);
        }
        let before = deflate.total_in();
        let status = deflate.compress_vec(rest, &mut bytes, end).map_err(io::Error::other)?;
        let taken = usize::try_from(deflate.total_in() - before).unwrap_or(rest.len());
        rest = &rest[taken..];
        let room = bytes.len() < bytes.capacity();
        match (end, status) {
            (FlushCompress::Finish, Status::StreamEnd) => break,
            (FlushCompress::Sync, _) if rest.is_empty() && room => break,
            _ => {}
        }
    }
    let mut crc = Crc::new();
    crc.update(block);
    Ok(Deflated { bytes, crc })
}

fn stopped() -> io::Error {
    io::Error::other("a compressing thread stopped")
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn compress(input: &[u8], threads: usize) -> Vec<u8> {
        let mut writer = GzipWriter::new(Vec::new(), 6, threads).unwrap();
        for piece in input.chunks(100_003) {
            writer.write_all(piece).unwrap();
        }
        writer.finish().unwrap()
    }

    fn sample(length: usize) -> Vec<u8> {
        let mut state = 1u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state >> 24
        };
        (0..length)
            .map(|at| if at % 7 == 0 { next() as u8 } else { (at / 50) as u8 })
            .collect()
    }

    #[test]
    fn any_number_of_threads_gives_the_same_stream_which_gunzips() {
        for length in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK, 5 * BLOCK + 12345] {
            let input = sample(length);
            let one = compress(&input, 1);
            for threads in [2, 3, 8] {
                assert_eq!(compress(&input, threads), one, "{length} bytes on {threads} threads");
            }
            let mut output = Vec::new();
            // A decoder of one member: the stream must not be several.
            flate2::read::GzDecoder::new(one.as_slice())
                .read_to_end(&mut output)
                .unwrap();
            assert!(output == input, "{length} bytes");
        }
    }

    #[test]
    fn incompressible_input_survives() {
        let input: Vec<u8> = (0..40_000u32)
            .flat_map(|n| *oci::Digest::of(&n.to_le_bytes()).raw())
            .collect();
        let mut output = Vec::new();
        flate2::read::GzDecoder::new(compress(&input, 2).as_slice())
            .read_to_end(&mut output)
            .unwrap();
        assert!(output == input);
    }
}
