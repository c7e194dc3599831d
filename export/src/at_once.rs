//! The same work on several layers at once.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::Progress;

/// Each layer is worked on in parallel itself; more would only cost memory, for which zstd needs 25 MiB.
const LAYERS_AT_ONCE: usize = 4;

/// Does `work` for each number below `count`, several at once; gives the results in order, or the first failure. `progress`
/// is told of `item`, which has so many bytes as `bytes` says of each result.
pub(crate) fn at_once<T: Send, E: Send>(
    count: usize,
    work: impl Fn(usize) -> Result<T, E> + Sync,
    item: &str,
    bytes: impl Fn(&T) -> u64 + Sync,
    progress: &dyn Progress,
) -> Result<Vec<T>, E> {
    let made = Mutex::new(Made {
        results: (0..count).map(|_| None).collect(),
        bytes: 0,
        failure: None,
    });
    let next = AtomicUsize::new(0);
    let run = || {
        while let Some(index) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|index| *index < count) {
            let result = work(index);
            let mut made = made.lock().expect("no one panics while noting a result");
            match result {
                Ok(result) => {
                    made.bytes += bytes(&result);
                    made.results[index] = Some(result);
                    progress.moved(item, made.bytes, None, false);
                }
                Err(failure) => {
                    made.failure.get_or_insert(failure);
                    // There is no use in going on.
                    next.store(count, Ordering::Relaxed);
                }
            }
        }
    };
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 1..LAYERS_AT_ONCE.min(processors).min(count) {
            scope.spawn(run);
        }
        run();
    });
    let made = made.into_inner().expect("no one panics while noting a result");
    if let Some(failure) = made.failure {
        return Err(failure);
    }
    progress.moved(item, made.bytes, None, true);
    Ok(made.results.into_iter().flatten().collect())
}

/// What several threads have made so far.
struct Made<T, E> {
    results: Vec<Option<T>>,
    bytes: u64,
    failure: Option<E>,
}
