//! The wish to stop, shared by who wishes and those who are to stop.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use rustix::event::{EventfdFlags, eventfd};

/// A switch that is off and can be turned on once. Clones are the same switch.
#[derive(Clone, Default)]
pub struct Cancel {
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    cancelled: AtomicBool,
    listeners: Mutex<Vec<Weak<OwnedFd>>>,
}

impl Cancel {
    /// A switch that is off.
    #[must_use]
    pub fn new() -> Cancel {
        Cancel::default()
    }

    /// Turns it on: every run that was given it kills its process and ends.
    pub fn cancel(&self) {
        let mut listeners = self.listeners();
        self.state.cancelled.store(true, Ordering::SeqCst);
        for listener in listeners.drain(..).filter_map(|listener| listener.upgrade()) {
            ring(&listener);
        }
    }

    /// Whether it is on.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.state.cancelled.load(Ordering::SeqCst)
    }

    /// A descriptor that becomes readable when the switch is on.
    pub(crate) fn listen(&self) -> std::io::Result<Listener> {
        let bell = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let mut listeners = self.listeners();
        if self.is_cancelled() {
            ring(&bell);
        }
        listeners.retain(|listener| listener.strong_count() > 0);
        listeners.push(Arc::downgrade(&bell));
        Ok(Listener(bell))
    }

    fn listeners(&self) -> MutexGuard<'_, Vec<Weak<OwnedFd>>> {
        self.state.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Cancel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cancel")
            .field("cancelled", &self.is_cancelled())
            .finish()
    }
}

/// Hears of the switch as long as it lives.
pub(crate) struct Listener(Arc<OwnedFd>);

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn ring(bell: &OwnedFd) {
    // Fails only when the counter is full, and then the bell rings already.
    let _ = rustix::io::write(bell, &1_u64.to_ne_bytes());
}
