//! The gate: what keeps pruning apart from finding, and lets both go on beside everything else.
//!
//! `locks/gc` is locked for moments only. Whoever found something in the index passes the gate together with others
//! (a shared lock) and writes down in its lease that it holds what it found (`lease.rs`). Whoever prunes passes it alone:
//! it reads the leases, chooses, deletes rows, moves files aside; what takes long it does before or after.
//!
//! **Why nothing held is ever removed.** Call the time for which a pruner is alone behind the gate its *turn*.
//!
//! 1. A row is deleted, and a file of the store moved away, in a turn only. (Files of dead processes that no row names are
//!    swept at any time; nobody can find those.)
//! 2. Each turn has a number: the length of the lock file, which grows by one at its beginning. A finder remembers the
//!    number from the last time it was behind the gate, when there was no turn. It reads the rows, passes the gate, and
//!    compares. Are the numbers equal, then no turn began since, and the rows are still there; otherwise it reads again,
//!    behind the gate. Either way the rows are there while its hold is written.
//! 3. A statement that begins behind the gate sees all that earlier turns committed: SQLite in WAL mode takes its view when
//!    a statement begins, and no statement of ours outlives the function that runs it.
//! 4. So a hold is either written before a turn, which then reads it, or after the turn, with rows that the turn left.
//! 5. Snapshots in memory ([`crate::Store::snapshot`]) got there with a hold, which stays as long as the process: they
//!    are never out of date, whoever prunes.
//! 6. What is being made is not in the index yet. Its maker writes the hold before the file has its place, or the file's
//!    name begins with the living maker's lease: files that no row names are left alone in both cases. A process takes its
//!    lease before it first passes the gate, so a pruner has read the leases of all who can make something in its turn.
//! 7. What a thing is made of (parents, origins, blobs, all that an image leads to) is found by the pruner, in the rows
//!    of its turn, and stays as long as the thing.
//!
//! A process that cannot write its hold, because the disk is full, keeps the gate from then on: nothing is pruned
//! until it ends. The gate is passed without waiting for the database or any other lock, except that pruning takes
//! the database inside it; so no circle of waiting can close.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::Error;
use crate::error::failed;

/// Turns are counted up to here, then from one.
const MOST_TURNS: u64 = 1 << 20;
/// Between two tries to be alone.
const PAUSE: Duration = Duration::from_millis(2);

/// The gate of one store, for all threads of this process.
#[derive(Debug)]
pub(crate) struct Gate {
    file: File,
    path: PathBuf,
    state: Mutex<State>,
    changed: Condvar,
    /// The number of the latest turn, when this process was last behind the gate.
    heard: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    /// How many threads are behind the gate together.
    together: usize,
    /// Whether one is alone behind it.
    alone: bool,
    /// Whether this process keeps it until its end.
    kept: bool,
}

/// Behind the gate with others.
#[derive(Debug)]
pub(crate) struct Together<'a> {
    gate: &'a Gate,
    /// The number of the latest turn.
    pub(crate) turn: u64,
}

/// Behind the gate alone.
#[derive(Debug)]
pub(crate) struct Alone<'a>(&'a Gate);

/// Behind the gate, which is closed to other processes.
#[derive(Debug)]
pub(crate) struct Closed<'a>(&'a Gate);

/// How long somebody waits to be alone.
#[derive(Clone, Copy)]
pub(crate) enum Patience<'a> {
    /// As long as it takes; is told once that it takes time.
    Endless(&'a dyn Fn()),
    /// So long and no longer.
    Until(Duration),
}

impl Gate {
    /// Opens it; waits while somebody prunes.
    pub(crate) fn open(path: &Path) -> Result<Gate, Error> {
        let file = File::options()
            .create(true)
            .append(true)
            .open(path)
            .map_err(failed("open", path))?;
        let gate = Gate {
            file,
            path: path.to_owned(),
            state: Mutex::default(),
            changed: Condvar::new(),
            heard: AtomicU64::new(0),
        };
        drop(gate.together()?);
        Ok(gate)
    }

    /// The file, by which the store's file system is known.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// The number of the latest turn when this process was last behind the gate.
    pub(crate) fn heard(&self) -> u64 {
        self.heard.load(Ordering::Acquire)
    }

    /// Passes the gate together with others; waits while somebody prunes.
    pub(crate) fn together(&self) -> Result<Together<'_>, Error> {
        let mut state = self.state();
        while state.alone {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.together == 0 && !state.kept {
            self.lock(FlockOperation::LockShared)?;
        }
        state.together += 1;
        drop(state);
        // From here on the guard gives back what was taken.
        let mut together = Together { gate: self, turn: 0 };
        together.turn = self.length()?;
        self.heard.store(together.turn, Ordering::Release);
        Ok(together)
    }

    /// Passes the gate alone and begins a turn; `None` if that took too long.
    pub(crate) fn alone(&self, patience: Patience<'_>) -> Result<Option<Alone<'_>>, Error> {
        let begin = Instant::now();
        let is_over = || matches!(patience, Patience::Until(limit) if begin.elapsed() > limit);
        let mut state = self.state();
        while state.alone || state.together > 0 {
            if is_over() {
                return Ok(None);
            }
            state = self
                .changed
                .wait_timeout(state, PAUSE)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        if state.kept && matches!(patience, Patience::Until(_)) {
            // To ask for more would let go of what is kept.
            return Ok(None);
        }
        state.alone = true;
        drop(state);
        let alone = Alone(self);
        let mut told = false;
        while let Err(error) = self.try_to_lock_alone() {
            if error != Errno::WOULDBLOCK {
                return Err(failed("lock", &self.path)(error));
            }
            if is_over() {
                return Ok(None);
            }
            if let Patience::Endless(waits) = patience
                && !told
                && begin.elapsed() > 50 * PAUSE
            {
                waits();
                told = true;
            }
            std::thread::sleep(PAUSE);
        }
        self.begin_turn()?;
        Ok(Some(alone))
    }

    /// Closes the gate to all other processes: nobody else finds anything or prunes. The threads of this one pass it. For
    /// who looks at everything, and nothing that is asked for often.
    pub(crate) fn close(&self, waits: &dyn Fn()) -> Result<Closed<'_>, Error> {
        let alone = self.alone(Patience::Endless(waits))?;
        let mut state = self.state();
        (state.alone, state.kept) = (false, true);
        self.changed.notify_all();
        // The lock goes with the other guard.
        std::mem::forget(alone);
        Ok(Closed(self))
    }

    /// Keeps the gate until this process ends, so that nobody prunes.
    pub(crate) fn keep(&self, together: &Together<'_>) {
        debug_assert!(std::ptr::eq(self, together.gate), "a guard of another gate");
        self.state().kept = true;
    }

    fn begin_turn(&self) -> Result<(), Error> {
        let next = self.length()? % MOST_TURNS + 1;
        // Other threads of this process hear of it only when it is over, as other processes do.
        self.file.set_len(next).map_err(failed("write", &self.path))
    }

    fn try_to_lock_alone(&self) -> Result<(), Errno> {
        loop {
            match flock(&self.file, FlockOperation::NonBlockingLockExclusive) {
                Err(Errno::INTR) => {}
                outcome => return outcome,
            }
        }
    }

    fn lock(&self, operation: FlockOperation) -> Result<(), Error> {
        loop {
            match flock(&self.file, operation) {
                Err(Errno::INTR) => {}
                outcome => return outcome.map_err(failed("lock", &self.path)),
            }
        }
    }

    fn length(&self) -> Result<u64, Error> {
        let status = rustix::fs::fstat(&self.file).map_err(failed("read", &self.path))?;
        Ok(status.st_size.cast_unsigned())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Together<'_> {
    fn drop(&mut self) {
        let mut state = self.gate.state();
        state.together -= 1;
        if state.together == 0 {
            if !state.kept {
                let _ = flock(&self.gate.file, FlockOperation::Unlock);
            }
            self.gate.changed.notify_all();
        }
    }
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        let after = match state.kept {
            true => FlockOperation::LockShared,
            false => FlockOperation::Unlock,
        };
        let _ = flock(&self.0.file, after);
        state.alone = false;
        self.0.changed.notify_all();
    }
}

impl Drop for Closed<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.kept = false;
        if state.together == 0 {
            let _ = flock(&self.0.file, FlockOperation::Unlock);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Patience<'static> = Patience::Until(Duration::ZERO);

    fn two() -> (tempfile::TempDir, Gate, Gate) {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("gc");
        let (one, other) = (Gate::open(&path).unwrap(), Gate::open(&path).unwrap());
        (folder, one, other)
    }

    #[test]
    fn who_prunes_is_alone_and_counted() {
        let (_folder, one, other) = two();
        let first = one.together().unwrap();
        let second = other.together().unwrap();
        assert!(one.alone(NOW).unwrap().is_none() && other.alone(NOW).unwrap().is_none());
        drop(first);
        assert!(
            one.alone(NOW).unwrap().is_none(),
            "the other process is still behind it"
        );
        let before = second.turn;
        drop(second);
        let alone = one.alone(NOW).unwrap().unwrap();
        assert_eq!(one.heard(), before, "what is read during a turn is read again after it");
        assert!(other.alone(NOW).unwrap().is_none());
        assert_eq!(other.heard(), before, "who does not pass hears nothing");
        drop(alone);
        assert_eq!(other.together().unwrap().turn, before + 1);
        assert_eq!(other.heard(), before + 1);
    }

    #[test]
    fn a_closed_gate_lets_only_its_own_process_pass() {
        let (_folder, one, other) = two();
        let closed = one.close(&|| {}).unwrap();
        drop(one.together().unwrap());
        assert!(other.alone(NOW).unwrap().is_none());
        drop(closed);
        assert!(other.alone(NOW).unwrap().is_some());
    }

    #[test]
    fn a_kept_gate_lets_nobody_prune() {
        let (_folder, one, other) = two();
        let together = one.together().unwrap();
        one.keep(&together);
        drop(together);
        drop(one.together().unwrap());
        assert!(other.alone(NOW).unwrap().is_none() && one.alone(NOW).unwrap().is_none());
        drop(one);
        assert!(other.alone(NOW).unwrap().is_some());
    }
}
