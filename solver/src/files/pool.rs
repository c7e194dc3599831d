//! Work that several threads share: independent pieces, by number.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::ScopedJoinHandle;

use super::error::FilesError;

/// More threads than this do not make files come faster.
const MOST: usize = 4;

/// How many threads work on files.
pub(super) fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, |count| count.get().min(MOST))
}

/// What a thread came to; a panic goes on in this one.
pub(super) fn joined<T>(handle: ScopedJoinHandle<'_, T>) -> T {
    handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Does pieces 0 to `count`, each thread with a state of its own. The error is that of the first piece that failed.
pub(super) fn each<S>(
    count: usize,
    state: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, usize) -> Result<(), FilesError> + Sync,
) -> Result<(), FilesError> {
    let next = AtomicUsize::new(0);
    let take = || {
        let mut state = state();
        loop {
            let piece = next.fetch_add(1, Ordering::Relaxed);
            if piece >= count {
                return Ok(());
            }
            if let Err(error) = work(&mut state, piece) {
                next.store(count, Ordering::Relaxed);
                return Err((piece, error));
            }
        }
    };
    let threads = threads().min(count);
    let failures: Vec<(usize, FilesError)> = match threads {
        0 | 1 => take().err().into_iter().collect(),
        _ => std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(take)).collect();
            workers.into_iter().filter_map(|worker| joined(worker).err()).collect()
        }),
    };
    let first = failures.into_iter().min_by_key(|(piece, _)| *piece);
    first.map_or(Ok(()), |(_, error)| Err(error))
}
