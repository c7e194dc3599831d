//! Ctrl-C and SIGTERM: the first asks the work to stop and undo what it holds, the second ends the program at once.
//!
//! Nothing is lost by the second, nor by work that does not stop in time: mounts and processes of the build die with the
//! program, and the next run sweeps what it left in the store.

use std::future::Future;
use std::time::Duration;

use sandbox::Cancel;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error::CommandError;

/// How long work may take to stop.
const GRACE: Duration = Duration::from_secs(10);
/// How often work that is to be left alone is looked after.
const BLINK: Duration = Duration::from_millis(20);

/// The two signals, heard from when this is made: none is lost between one work and the next.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Begins to listen.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub(crate) fn watch() -> Result<Signals, CommandError> {
        let watch =
            |kind| signal(kind).map_err(|error| CommandError::failed("cannot watch for signals").because(&error));
        Ok(Signals {
            interrupt: watch(SignalKind::interrupt())?,
            terminate: watch(SignalKind::terminate())?,
        })
    }

    /// Does `work`, and tells `cancel` when the user wants to stop. What failed because of that is a cancellation.
    pub(crate) async fn cancelling<T>(
        &mut self,
        cancel: &Cancel,
        work: impl Future<Output = Result<T, CommandError>>,
    ) -> Result<T, CommandError> {
        tokio::pin!(work);
        tokio::select! {
            result = &mut work => return result,
            () = self.next() => cancel.cancel(),
        }
        tokio::select! {
            result = &mut work => result.map_err(|_| CommandError::cancelled()),
            () = self.next() => Err(CommandError::cancelled()),
            () = tokio::time::sleep(GRACE) => Err(CommandError::cancelled()),
        }
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Ends when `cancel` was told: for work that cannot be asked to stop, and is left alone.
pub(crate) async fn wished(cancel: &Cancel) {
    while !cancel.is_cancelled() {
        tokio::time::sleep(BLINK).await;
    }
}
