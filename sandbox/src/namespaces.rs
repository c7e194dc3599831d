//! The executor that isolates by Linux namespaces.

use crate::steps::Steps;
use crate::wire::World;
use crate::{Cancel, Error, Executor, Exit, Gauge, Spec, Stream};

/// Runs processes in namespaces of their own. Needs [`enter`](crate::enter) to have been called, and
/// [`init_if_asked`](crate::init_if_asked) to be the first thing in `main`.
///
/// The first run starts a process that all later ones share; it ends when this is dropped.
#[derive(Debug)]
pub struct Namespaces(Steps);

impl Namespaces {
    /// Nothing is started yet.
    #[must_use]
    pub fn new() -> Namespaces {
        Namespaces(Steps::in_world(World::OfItsOwn))
    }
}

impl Default for Namespaces {
    fn default() -> Namespaces {
        Namespaces::new()
    }
}

impl Executor for Namespaces {
    fn run_measured(
        &self,
        spec: &Spec,
        output: &mut dyn FnMut(Stream, &[u8]),
        cancel: &Cancel,
        gauge: &Gauge,
    ) -> Result<Exit, Error> {
        self.0.run(spec, output, cancel, gauge)
    }
}
