//! A limit on the time of one process, beside the wish of the whole build to stop.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use sandbox::Cancel;

/// How often the wish of the build to stop is looked for meanwhile.
const BLINK: Duration = Duration::from_millis(20);

/// Does `work` with a switch that ends it, which is that of the build, or is turned when `limit` has passed as well. Tells
/// besides whether it was the limit.
pub(super) fn within<T>(limit: Option<Duration>, build: &Cancel, work: impl FnOnce(&Cancel) -> T) -> (T, bool) {
    let Some(limit) = limit else {
        return (work(build), false);
    };
    let own = Cancel::new();
    let end = Instant::now() + limit;
    let (running, ended) = channel::<()>();
    thread::scope(|scope| {
        let switch = &own;
        let watch = scope.spawn(move || {
            loop {
                let rest = end.saturating_duration_since(Instant::now());
                let news = ended.recv_timeout(rest.min(BLINK));
                if matches!(news, Err(RecvTimeoutError::Disconnected) | Ok(())) {
                    return false;
                }
                if build.is_cancelled() || rest.is_zero() {
                    switch.cancel();
                    return rest.is_zero();
                }
            }
        });
        let done = work(&own);
        drop(running);
        let is_late = watch.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        (done, is_late)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Work that goes on until it is told to end.
    fn endless(cancel: &Cancel) {
        while !cancel.is_cancelled() {
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn what_takes_too_long_is_ended_and_told_from_what_the_build_ends() {
        let build = Cancel::new();
        assert_eq!(within(Some(Duration::from_millis(30)), &build, endless), ((), true));
        assert_eq!(within(Some(Duration::from_secs(60)), &build, |_| 7), (7, false));
        build.cancel();
        assert_eq!(within(Some(Duration::from_secs(60)), &build, endless), ((), false));
        assert_eq!(within(None, &build, endless), ((), false));
    }
}
