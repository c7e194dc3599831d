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

/// Does `work`, and tells `cancel` when the user wants to stop. What failed because of that is a cancellation.
pub(crate) async fn cancelling<T>(
    cancel: &Cancel,
    work: impl Future<Output = Result<T, CommandError>>,
) -> Result<T, CommandError> {
    let mut signals = Signals::watch()?;
    tokio::pin!(work);
    tokio::select! {
        result = &mut work => return result,
        () = signals.next() => cancel.cancel(),
    }
    tokio::select! {
        result = &mut work => result.map_err(|_| CommandError::cancelled()),
        () = signals.next() => Err(CommandError::cancelled()),
        () = tokio::time::sleep(GRACE) => Err(CommandError::cancelled()),
    }
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn watch() -> Result<Signals, CommandError> {
        let watch =
            |kind| signal(kind).map_err(|error| CommandError::failed("cannot watch for signals").because(&error));
        Ok(Signals {
            interrupt: watch(SignalKind::interrupt())?,
            terminate: watch(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
