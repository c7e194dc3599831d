//! The border: what running a process means to those who ask for it.

use std::fmt;

use crate::{Cancel, Error, Gauge, Spec};

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
    fn run(&self, spec: &Spec, output: &mut dyn FnMut(Stream, &[u8]), cancel: &Cancel) -> Result<Exit, Error> {
        self.run_measured(spec, output, cancel, &Gauge::default())
    }

    /// The same run, of whose memory `gauge` tells meanwhile, if it can be told.
    ///
    /// # Errors
    ///
    /// As [`Executor::run`].
    fn run_measured(
        &self,
        spec: &Spec,
        output: &mut dyn FnMut(Stream, &[u8]),
        cancel: &Cancel,
        gauge: &Gauge,
    ) -> Result<Exit, Error>;
}

/// From where a piece of output comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// The process's standard output.
    Stdout,
    /// The process's standard error.
    Stderr,
    /// The executor: a whole sentence about the run, such as that it waits for another.
    Note,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// Killed by this signal.
    Signal(i32),
    /// It, or a process it waited for, was killed because there was no memory left.
    OutOfMemory {
        /// Its limit in bytes, if it was the step's own; nothing if the machine had no more.
        limit: Option<u64>,
    },
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
            Exit::OutOfMemory { .. } => 137,
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exit::Code(code) => write!(f, "exit code: {code}"),
            Exit::Signal(signal) => write!(f, "exit code: {} (killed by signal {signal})", 128 + signal),
            Exit::OutOfMemory { limit: None } => write!(f, "exit code: 137: cannot allocate memory"),
            Exit::OutOfMemory { limit: Some(limit) } => {
                write!(
                    f,
                    "exit code: 137: killed: over its {} of memory (--memory)",
                    Size(*limit)
                )
            }
        }
    }
}

/// A number of bytes in the largest unit that tells it exactly.
struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
        let exact = units
            .iter()
            .find(|(power, _)| self.0 > 0 && self.0.is_multiple_of(1 << power));
        match exact {
            Some((power, unit)) => write!(f, "{} {unit}", self.0 >> power),
            None => write!(f, "{} bytes", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_was_too_small_is_told() {
        for (limit, said) in [
            (None, "exit code: 137: cannot allocate memory"),
            (
                Some(64 << 20),
                "exit code: 137: killed: over its 64 MiB of memory (--memory)",
            ),
            (
                Some(3 << 30),
                "exit code: 137: killed: over its 3 GiB of memory (--memory)",
            ),
            (
                Some(1025),
                "exit code: 137: killed: over its 1025 bytes of memory (--memory)",
            ),
        ] {
            assert_eq!(Exit::OutOfMemory { limit }.to_string(), said);
        }
    }
}
