//! Ctrl-C, SIGTERM and the end of the time that the user gave: the first asks the work to stop and undo what it holds, the
//! second signal ends the program at once.
//!
//! Nothing is lost by the second, nor by work that does not stop in time: mounts and processes of the build die with the
//! program, and the next run sweeps what it left in the store. A machine that is taken away says so by SIGTERM, so that
//! this one leaves time to bring away what was finished; who presses Ctrl-C wants the prompt.

use std::future::Future;
use std::time::Duration;

use registry::Helpers;
use sandbox::Cancel;
use solver::shown_duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;

use crate::error::{CommandError, Kind};

/// How long work may take to stop where nobody says otherwise.
pub(crate) const GRACE: Duration = Duration::from_secs(10);
/// How often work that is to be left alone is looked after.
const BLINK: Duration = Duration::from_millis(20);

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TimeLimits {
    /// The whole build.
    pub(crate) whole: Option<Duration>,
    /// Each process of it.
    pub(crate) step: Option<Duration>,
    /// What is done after the wish to stop.
    pub(crate) grace: Duration,
}

/// Why work was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// SIGINT.
    Interrupted,
    /// SIGTERM.
    Terminated,
    /// It took longer than this.
    TimedOut(Duration),
}

/// The two signals, heard from when this is made: none is lost between one work and the next.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    began: Instant,
    limits: TimeLimits,
    stopped: Option<(Stop, Instant)>,
    /// Programs that are asked for credentials: the only ones that are not tied to us by the kernel.
    helpers: Helpers,
}

impl Default for TimeLimits {
    fn default() -> TimeLimits {
        TimeLimits {
            whole: None,
            step: None,
            grace: GRACE,
        }
    }
}

impl Signals {
    /// Begins to listen, and to count the time. When that ends, `helpers` do, too.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub(crate) fn watch(limits: TimeLimits, helpers: &Helpers) -> Result<Signals, CommandError> {
        let watch =
            |kind| signal(kind).map_err(|error| CommandError::failed("cannot watch for signals").because(&error));
        Ok(Signals {
            interrupt: watch(SignalKind::interrupt())?,
            terminate: watch(SignalKind::terminate())?,
            began: Instant::now(),
            limits,
            stopped: None,
            helpers: helpers.clone(),
        })
    }

    /// Does `work`, and tells `cancel` when it is to stop. What failed because of that is a cancellation.
    pub(crate) async fn cancelling<T>(
        &mut self,
        cancel: &Cancel,
        work: impl Future<Output = Result<T, CommandError>>,
    ) -> Result<T, CommandError> {
        tokio::pin!(work);
        let stop = tokio::select! {
            result = &mut work => return result,
            stop = self.stop() => stop,
        };
        let now = Instant::now();
        self.stopped = Some((stop, now));
        cancel.cancel();
        self.helpers.end();
        let end = now + self.limits.grace.max(GRACE);
        tokio::select! {
            result = &mut work => result.map_err(|_| stop.into()),
            _ = self.signal() => Err(stop.into()),
            () = tokio::time::sleep_until(end) => Err(stop.into()),
        }
    }

    /// Does `work` that has nothing to undo, and leaves it where it is when it is to stop.
    pub(crate) async fn leaving<T>(
        &mut self,
        work: impl Future<Output = Result<T, CommandError>>,
    ) -> Result<T, CommandError> {
        tokio::select! {
            result = work => result,
            stop = self.stop() => Err(stop.into()),
        }
    }

    /// Why the work was stopped, if it was.
    pub(crate) fn stopped(&self) -> Option<Stop> {
        self.stopped.map(|(stop, _)| stop)
    }

    /// Does `work` that is to be done after the wish to stop, as long as there is time; nothing if it was not done.
    pub(crate) async fn in_grace<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        let end = self.stopped?.1 + self.limits.grace;
        tokio::select! {
            done = work => Some(done),
            _ = self.signal() => None,
            () = tokio::time::sleep_until(end) => None,
        }
    }

    async fn stop(&mut self) -> Stop {
        let Some(limit) = self.limits.whole else {
            return self.signal().await;
        };
        let end = self.began + limit;
        tokio::select! {
            stop = self.signal() => stop,
            () = tokio::time::sleep_until(end) => Stop::TimedOut(limit),
        }
    }

    async fn signal(&mut self) -> Stop {
        tokio::select! {
            _ = self.interrupt.recv() => Stop::Interrupted,
            _ = self.terminate.recv() => Stop::Terminated,
        }
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        self.helpers.close();
    }
}

impl From<Stop> for CommandError {
    fn from(stop: Stop) -> CommandError {
        match stop {
            Stop::Interrupted => CommandError::cancelled(),
            Stop::Terminated => CommandError::new(Kind::Terminated, "terminated"),
            Stop::TimedOut(limit) => CommandError::new(
                Kind::TimedOut,
                format!("the build took longer than {} (--timeout)", shown_duration(limit)),
            ),
        }
    }
}

/// Ends when `cancel` was told: for work that cannot be asked to stop, and is left alone.
pub(crate) async fn wished(cancel: &Cancel) {
    while !cancel.is_cancelled() {
        tokio::time::sleep(BLINK).await;
    }
}
