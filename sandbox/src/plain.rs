//! The executor for a container that lends no namespaces: a changed root, files put in the places of mounts, and no more.
//!
//! A step sees its own tree, because it may not change its root again, and cannot trace us, because we may. Where it loses
//! nothing by that, a filter of system calls and a scope are laid around it too; other steps wait until one without has
//! ended. All else it shares with the container: process numbers, network, names. What cannot be had is refused by name.

use crate::steps::Steps;
use crate::wire::World;
use crate::{Cancel, Error, Executor, Exit, Gauge, Network, Privileges, Spec, Stream};

/// Runs processes with a root of their own and nothing else. Needs to be root with the powers that
/// [`enter`](crate::enter) asks for, and [`init_if_asked`](crate::init_if_asked) to be the first thing in `main`.
///
/// The root is changed for the time of a run, and what is beside it in its directory: nothing else may be done to it meanwhile.
#[derive(Debug)]
pub struct Plain(Steps);

impl Plain {
    /// Nothing is started yet.
    #[must_use]
    pub fn new() -> Plain {
        Plain(Steps::in_world(World::Ours))
    }
}

impl Default for Plain {
    fn default() -> Plain {
        Plain::new()
    }
}

impl Executor for Plain {
    fn run_measured(
        &self,
        spec: &Spec,
        output: &mut dyn FnMut(Stream, &[u8]),
        cancel: &Cancel,
        gauge: &Gauge,
    ) -> Result<Exit, Error> {
        if spec.network == Network::None {
            let wish = "--network=none";
            return Err(Error::NeedsNamespaces { wish });
        }
        if spec.privileges == Privileges::Insecure {
            let wish = "--security=insecure";
            return Err(Error::NeedsNamespaces { wish });
        }
        self.0.run(spec, output, cancel, gauge)
    }
}
