//! RUN and its flags.

use super::CommandLine;
use super::mount::Written;
use crate::Diagnostic;
use crate::parse::{Flags, Heredoc, Instruction, Kind};
use crate::quote::quote;

/// RUN.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    /// What to run.
    pub(crate) line: CommandLine,
    /// Documents in the Dockerfile.
    pub(crate) documents: Vec<Heredoc>,
    /// Values of `--mount`.
    pub(crate) mounts: Vec<Written>,
    /// `--network`.
    pub(crate) network: Network,
    /// `--security`.
    pub(crate) security: Security,
    /// `--device`.
    pub(crate) devices: Vec<String>,
}

/// What a RUN asks of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Network {
    /// Nothing special.
    Default,
    /// None.
    None,
    /// The host's.
    Host,
}

/// What a RUN asks of its sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Security {
    /// The usual.
    Sandbox,
    /// None.
    Insecure,
}

/// Reads the instruction.
pub(super) fn read(instruction: &Instruction) -> Result<Run, Diagnostic> {
    let flags = Flags::read(
        &instruction.flags,
        &[
            ("mount", Kind::Values),
            ("network", Kind::Value),
            ("security", Kind::Value),
            ("device", Kind::Values),
        ],
    )?;
    let mounts = flags.values("mount").map(Written::new).collect::<Result<_, _>>()?;
    let network = match flags.value("network") {
        None | Some("default") => Network::Default,
        Some("none") => Network::None,
        Some("host") => Network::Host,
        Some(other) => {
            return Err(Diagnostic::new(format!("invalid network mode {}", quote(other))));
        }
    };
    let security = match flags.value("security") {
        None | Some("sandbox") => Security::Sandbox,
        Some("insecure") => Security::Insecure,
        Some(other) => {
            return Err(Diagnostic::new(format!("security {} is not valid", quote(other))));
        }
    };
    Ok(Run {
        line: CommandLine::new(instruction),
        documents: instruction.heredocs.clone(),
        mounts,
        network,
        security,
        devices: flags.values("device").map(str::to_owned).collect(),
    })
}
