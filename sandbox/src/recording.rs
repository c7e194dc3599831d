//! An executor that runs nothing: it keeps what it was asked to run and lets a closure stand in for the process.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use crate::{Cancel, Error, Executor, Exit, Gauge, Spec, Stream};

type Process = dyn Fn(&Spec, &mut dyn FnMut(Stream, &[u8])) -> Result<Exit, Error> + Send + Sync;

/// The double. Stricter than the real one: it refuses to run on a root that is no directory.
pub struct Recording {
    process: Box<Process>,
    specs: Mutex<Vec<Spec>>,
}

impl Recording {
    /// Runs `process` in place of every process; it may write to the root and to the output.
    pub fn new(
        process: impl Fn(&Spec, &mut dyn FnMut(Stream, &[u8])) -> Result<Exit, Error> + Send + Sync + 'static,
    ) -> Recording {
        Recording {
            process: Box::new(process),
            specs: Mutex::default(),
        }
    }

    /// Every process succeeds without doing anything.
    #[must_use]
    pub fn succeeding() -> Recording {
        Recording::new(|_, _| Ok(Exit::Code(0)))
    }

    /// What was asked for so far, in the order it was.
    #[must_use]
    pub fn specs(&self) -> Vec<Spec> {
        self.specs.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Executor for Recording {
    fn run_measured(
        &self,
        spec: &Spec,
        output: &mut dyn FnMut(Stream, &[u8]),
        cancel: &Cancel,
        _gauge: &Gauge,
    ) -> Result<Exit, Error> {
        if cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        if spec.args.is_empty() {
            return Err(Error::NoCommand);
        }
        if !spec.root.is_dir() {
            let source = std::io::Error::from_raw_os_error(libc::ENOTDIR);
            return Err(Error::Setup {
                doing: "open the root".to_owned(),
                path: spec.root.clone(),
                source,
            });
        }
        self.specs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(spec.clone());
        let exit = (self.process)(spec, output)?;
        if cancel.is_cancelled() {
            Err(Error::Cancelled)
        } else {
            Ok(exit)
        }
    }
}

impl fmt::Debug for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recording")
            .field("specs", &self.specs())
            .finish_non_exhaustive()
    }
}
