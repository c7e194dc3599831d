//! The border: what running a process means to those who ask for it.

use std::fmt;

use crate::{Cancel, Error, Spec};

/// Runs processes.
pub trait Executor: Send + Sync {
    /// Runs `spec` to its end and tells how it ended; blocks until nothing of it is left alive.
    ///
    /// With [`Stdio::Captured`](crate::Stdio::Captured) `output` gets what the process writes, in raw pieces as they
    /// arrive. A cancelled run ends in [`Error::Cancelled`].
    ///
    /// # Errors
    ///
    /// When the process could not be started, or was cancelled. A process that fails is no error: see [`Exit`].
    fn run(&self, spec: &Spec, output: &mut dyn FnMut(Stream, &[u8]), cancel: &Cancel) -> Result<Exit, Error>;
}

/// From which of its outputs a process wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// Killed by this signal.
    Signal(i32),
    /// It, or a process it waited for, was killed because there was no memory left.
    OutOfMemory,
}

impl Exit {
    /// Whether it did what it was to do.
    #[must_use]
    pub fn is_success(self) -> bool {
        self == Exit::Code(0)
    }

    /// The code as a shell would tell it: 128 and the signal's number for a killed process.
    #[must_use]
    pub fn code(self) -> i32 {
        match self {
            Exit::Code(code) => code,
            Exit::Signal(signal) => 128 + signal,
            Exit::OutOfMemory => 137,
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exit::Code(code) => write!(f, "exit code: {code}"),
            Exit::Signal(signal) => write!(f, "exit code: {} (killed by signal {signal})", 128 + signal),
            Exit::OutOfMemory => write!(f, "exit code: 137: cannot allocate memory"),
        }
    }
}
