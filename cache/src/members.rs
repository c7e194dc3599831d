//! Members: an archive compressed block by block on several threads, with the same bytes for any number of them.
//!
//! The input comes in blocks of a constant size. Each is compressed on its own, and what comes of it follows what came of the one
//! before: gzip and zstd both read such files. Only so a block can be given to a compressor of whole buffers, which copies
//! nothing and is up to twice as fast as one of streams. As many blocks are in memory as there are threads, and two more.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::marker::PhantomData;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crate::blocks::{Block, Target};

/// What one thread needs to compress block after block.
pub(crate) trait Coder: Send + Sized + 'static {
    /// The size of every block but the last.
    const BLOCK: usize;

    fn new(level: i32) -> io::Result<Self>;

    /// A member that holds `block`, put into `room`.
    fn member(&mut self, block: &[u8], room: Vec<u8>) -> io::Result<Vec<u8>>;
}

/// Compresses the blocks it is given.
pub(crate) struct Members<W, C> {
    target: W,
    level: i32,
    threads: usize,
    /// The first block: whether it needs threads shows with the next.
    first: Option<Block>,
    is_empty: bool,
    workers: Option<Workers>,
    /// Results to come, in order.
    coming: VecDeque<Receiver<io::Result<Vec<u8>>>>,
    /// Room for results.
    free: Vec<Vec<u8>>,
    coder: PhantomData<C>,
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

impl<W: Write, C: Coder> Members<W, C> {
    /// Compresses into `target` at `level`, on so many threads.
    pub(crate) fn new(target: W, level: i32, threads: usize) -> Members<W, C> {
        Members {
            target,
            level,
            threads: threads.max(1),
            first: None,
            is_empty: true,
            workers: None,
            coming: VecDeque::new(),
            free: Vec::new(),
            coder: PhantomData,
        }
    }

    /// Writes what is left.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        // A file without members is none of the kind.
        let alone = self.first.take().or_else(|| self.is_empty.then(Block::default));
        if let Some(block) = alone {
            let member = C::new(self.level)?.member(&block, Vec::new())?;
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
            None => Workers::start::<C>(self.threads, self.level)?,
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

impl<W: Write, C: Coder> Target for Members<W, C> {
    fn block(&self) -> usize {
        C::BLOCK
    }

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
    fn start<C: Coder>(count: usize, level: i32) -> io::Result<Workers> {
        let (jobs, queue) = sync_channel::<Job>(count);
        let queue = Arc::new(Mutex::new(queue));
        let mut threads = Vec::new();
        for _ in 0..count {
            let queue = Arc::clone(&queue);
            let mut coder = C::new(level)?;
            threads.push(
                std::thread::Builder::new()
                    .name("compress".to_owned())
                    .spawn(move || work(&queue, &mut coder))?,
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
fn work(queue: &Mutex<Receiver<Job>>, coder: &mut impl Coder) {
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { block, room, answer }) = job else {
            return;
        };
        let member = coder.member(&block, room);
        // Whoever gets the answer may fill the block anew.
        drop(block);
        // Nobody waits any more if the writer was dropped.
        let _ = answer.send(member);
    }
}

fn stopped() -> io::Error {
    io::Error::other("a compressing thread stopped")
}
