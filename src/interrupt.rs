//! Ctrl-C and SIGTERM: the first asks the work to stop and undo what it holds, the third ends the program at once.
//!
//! Nothing is lost by the third: mounts and processes of the build die with the program, and the next run sweeps what it
//! left in the store.

use std::future::Future;

use sandbox::Cancel;
use tokio::signal::unix::{SignalKind, signal};

use crate::error::CommandError;

/// How many requests to stop end the program at once.
const PATIENCE: u32 = 3;

/// Does `work`, and tells `cancel` when the user wants to stop. What failed because of that is a cancellation.
pub(crate) async fn cancelling<T>(
    cancel: &Cancel,
    work: impl Future<Output = Result<T, CommandError>>,
) -> Result<T, CommandError> {
    let failed = |error: std::io::Error| CommandError::failed("cannot watch for signals").because(&error);
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut asked = 0;
    tokio::pin!(work);
    loop {
        tokio::select! {
            result = &mut work => {
                return if asked > 0 && result.is_err() { Err(CommandError::cancelled()) } else { result };
            }
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        asked += 1;
        cancel.cancel();
        if asked == PATIENCE {
            return Err(CommandError::cancelled());
        }
    }
}
