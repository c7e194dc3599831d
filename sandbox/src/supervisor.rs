//! The supervisor, seen from the caller's side: one process that is kept ready and started at the first step.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use crate::wire::{Order, send};
use crate::{init, itself};

/// Starts steps. Dropping it ends what it started.
#[derive(Debug, Default)]
pub(crate) struct Supervisor(Mutex<Option<Running>>);

#[derive(Debug)]
struct Running {
    orders: UnixStream,
    child: Child,
}

impl Supervisor {
    /// Has a step started that gets `fds`, of which `order` says what they are.
    pub(crate) fn order(&self, order: Order, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        debug_assert_eq!(fds.len(), order.descriptors());
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(supervisor) = &*running {
            match send(&supervisor.orders, &order, fds) {
                // It may have been killed: another one does as well.
                Err(error) if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => {}
                outcome => return outcome,
            }
        }
        // Dropped before the next one starts.
        *running = None;
        send(&running.insert(Running::start()?).orders, &order, fds)
    }

    /// Kills it, and with it all that it started.
    pub(crate) fn kill(&self) {
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mut supervisor) = running.take() {
            let _ = supervisor.child.kill();
        }
    }
}

impl Running {
    fn start() -> io::Result<Running> {
        let _span = trace::span("start supervisor");
        let (orders, theirs) = UnixStream::pair()?;
        let program = itself::open()?;
        let child = Command::new(itself::path(&program))
            .arg0(init::NAME)
            .env_clear()
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Running { orders, child })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.orders.shutdown(std::net::Shutdown::Both);
        let _ = self.child.wait();
    }
}
