//! Copying many files with several hands: each waits more for the file system than it computes.
//!
//! Who lays a layer of few files does it alone; threads begin with the first full batch. What waits is bounded.

use std::mem::take;
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Scope, ScopedJoinHandle, available_parallelism};

use rustix::fs::Stat;

use super::node;
use crate::Error;

/// Files given away at a time.
const BATCH: usize = 64;
/// More hands only wait for one another.
const MOST_HANDS: usize = 8;

/// A file to be copied, to where nothing is.
pub(super) struct File {
    pub(super) from: PathBuf,
    pub(super) stat: Stat,
    pub(super) to: PathBuf,
}

/// Those who copy.
pub(super) struct Crew<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    batch: Vec<File>,
    working: Option<Working<'scope>>,
}

struct Working<'scope> {
    batches: SyncSender<Vec<File>>,
    hands: Vec<ScopedJoinHandle<'scope, Result<(), Error>>>,
}

impl<'scope, 'env> Crew<'scope, 'env> {
    pub(super) fn new(scope: &'scope Scope<'scope, 'env>) -> Crew<'scope, 'env> {
        Crew {
            scope,
            batch: Vec::new(),
            working: None,
        }
    }

    /// Copies a file, soon.
    pub(super) fn copy(&mut self, file: File) -> Result<(), Error> {
        self.batch.push(file);
        if self.batch.len() < BATCH {
            return Ok(());
        }
        let batch = take(&mut self.batch);
        let working = self.working.get_or_insert_with(|| Working::begin(self.scope));
        match working.batches.send(batch) {
            Ok(()) => Ok(()),
            // There are no hands but these.
            Err(unsent) => copy_all(&unsent.0),
        }
    }

    /// Waits until all is copied.
    pub(super) fn finish(self) -> Result<(), Error> {
        let mut outcome = copy_all(&self.batch);
        if let Some(Working { batches, hands }) = self.working {
            drop(batches);
            for hand in hands {
                let done = hand.join().unwrap_or_else(|panic| resume_unwind(panic));
                outcome = outcome.and(done);
            }
        }
        outcome
    }
}

impl<'scope> Working<'scope> {
    fn begin(scope: &'scope Scope<'scope, '_>) -> Working<'scope> {
        let count = available_parallelism().map_or(1, |count| count.get().min(MOST_HANDS));
        let (batches, given) = sync_channel(count);
        let given = Arc::new(Mutex::new(given));
        let hand = |_| {
            let given = Arc::clone(&given);
            let builder = std::thread::Builder::new().name("copy".to_owned());
            builder.spawn_scoped(scope, move || work(&given)).ok()
        };
        Working {
            hands: (0..count).filter_map(hand).collect(),
            batches,
        }
    }
}

/// Copies what is given until nothing more is. After a failure the rest is only taken, so that nobody waits.
fn work(given: &Mutex<Receiver<Vec<File>>>) -> Result<(), Error> {
    let mut outcome = Ok(());
    loop {
        let next = given.lock().unwrap_or_else(PoisonError::into_inner).recv();
        match next {
            Ok(batch) if outcome.is_ok() => outcome = copy_all(&batch),
            Ok(_) => {}
            Err(_) => return outcome,
        }
    }
}

fn copy_all(files: &[File]) -> Result<(), Error> {
    files
        .iter()
        .try_for_each(|file| node::copy(&file.from, &file.stat, &file.to))
}
