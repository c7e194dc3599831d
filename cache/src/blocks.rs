//! Blocks: an archive on its way, cut into pieces that several threads read at once.
//!
//! Whoever writes the archive fills a block; full, it goes to the thread that hashes and to the target that compresses
//! or keeps it, without being copied. A block is filled anew as soon as nobody reads it any more, so there are only as
//! many as are under way. An archive of less than a block starts no thread.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use oci::{Digest, Hasher};

/// How far the hashing thread may be behind.
const BEHIND: usize = 4;

/// Some of an archive, read by several threads.
pub(crate) type Block = Arc<Vec<u8>>;

/// Where full blocks go, in order.
pub(crate) trait Target {
    /// The size of every block but the last.
    fn block(&self) -> usize;

    fn take(&mut self, block: &Block) -> io::Result<()>;
}

/// For archives of which only the digest is wanted.
pub(crate) struct Nowhere;

impl Target for Nowhere {
    fn block(&self) -> usize {
        512 * 1024
    }

    fn take(&mut self, _: &Block) -> io::Result<()> {
        Ok(())
    }
}

/// Hashes what is written to it, and passes it on in blocks.
pub(crate) struct Hashed<T> {
    target: T,
    block: Vec<u8>,
    /// Blocks given away.
    lent: Vec<Block>,
    hashing: Hashing,
    size: u64,
    /// Of every block but the last.
    full: usize,
}

/// A hasher that moves to a thread of its own with the first block.
enum Hashing {
    Here(Hasher),
    There(SyncSender<Block>, JoinHandle<Digest>),
    Stopped,
}

impl<T: Target> Hashed<T> {
    pub(crate) fn new(target: T) -> Hashed<T> {
        Hashed {
            full: target.block(),
            target,
            block: Vec::new(),
            lent: Vec::new(),
            hashing: Hashing::Here(Hasher::new()),
            size: 0,
        }
    }

    /// How many bytes were written.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// The target, and the digest of what was written.
    pub(crate) fn finish(mut self) -> io::Result<(T, Digest)> {
        let last = Arc::new(std::mem::take(&mut self.block));
        if !last.is_empty() {
            self.hashing.update(&last)?;
            self.target.take(&last)?;
        }
        Ok((self.target, self.hashing.finish()?))
    }

    fn pass_on(&mut self) -> io::Result<()> {
        self.hashing.leave()?;
        let empty = self.empty();
        let full = Arc::new(std::mem::replace(&mut self.block, empty));
        self.hashing.update(&full)?;
        self.target.take(&full)?;
        self.lent.push(full);
        Ok(())
    }

    /// A block that nobody reads any more, or a new one.
    fn empty(&mut self) -> Vec<u8> {
        let free = self.lent.iter().position(|block| Arc::strong_count(block) == 1);
        let free = free.and_then(|place| Arc::into_inner(self.lent.swap_remove(place)));
        let mut block = free.unwrap_or_else(|| Vec::with_capacity(self.full));
        block.clear();
        block
    }
}

impl<T: Target> Write for Hashed<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Only when more is to come: whether a block is the last shows when the archive ends.
        if self.block.len() == self.full && !bytes.is_empty() {
            self.pass_on()?;
        }
        let taken = bytes.len().min(self.full - self.block.len());
        self.block.extend_from_slice(&bytes[..taken]);
        self.size += taken as u64;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Hashing {
    /// Moves to a thread.
    fn leave(&mut self) -> io::Result<()> {
        *self = match std::mem::replace(self, Hashing::Stopped) {
            Hashing::Here(mut hasher) => {
                let (blocks, queue) = sync_channel::<Block>(BEHIND);
                let hash = move || {
                    while let Ok(block) = queue.recv() {
                        hasher.update(&block);
                    }
                    hasher.finish()
                };
                Hashing::There(blocks, std::thread::Builder::new().name("hash".to_owned()).spawn(hash)?)
            }
            gone => gone,
        };
        Ok(())
    }

    fn update(&mut self, block: &Block) -> io::Result<()> {
        match self {
            Hashing::Here(hasher) => hasher.update(block),
            Hashing::There(blocks, _) => blocks.send(Arc::clone(block)).map_err(|_| stopped())?,
            Hashing::Stopped => return Err(stopped()),
        }
        Ok(())
    }

    fn finish(self) -> io::Result<Digest> {
        match self {
            Hashing::Here(hasher) => Ok(hasher.finish()),
            Hashing::There(blocks, thread) => {
                drop(blocks);
                thread.join().map_err(|_| stopped())
            }
            Hashing::Stopped => Err(stopped()),
        }
    }
}

fn stopped() -> io::Error {
    io::Error::other("a hashing thread stopped")
}
