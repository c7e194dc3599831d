//! `rbuild registry`: questions to registries.

use clap::{Args, Subcommand};
use oci::Reference;

use super::images::TableFormat;
use super::reach::ReachArgs;

/// `rbuild registry`.
#[derive(Debug, Args)]
pub(crate) struct RegistryArgs {
    /// What is asked.
    #[command(subcommand)]
    pub(crate) command: RegistryCommand,
}

/// The questions.
#[derive(Debug, Subcommand)]
pub(crate) enum RegistryCommand {
    /// List what points at an image: signatures, bills of materials, attestations
    Referrers(ReferrersArgs),
    /// Say where an image comes from, who says so, with which certificates and credentials, and what each place answers
    Explain(ExplainArgs),
}

impl RegistryCommand {
    pub(super) fn registries(&self) -> &ReachArgs {
        match self {
            RegistryCommand::Referrers(args) => &args.registries,
            RegistryCommand::Explain(args) => &args.registries,
        }
    }
}

/// `rbuild registry referrers`.
#[derive(Debug, Args)]
pub(crate) struct ReferrersArgs {
    /// The image
    #[arg(value_name = "NAME")]
    pub(crate) name: Reference,

    /// Only those of this artifact type
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) kind: Option<String>,

    /// How they are listed
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub(crate) format: TableFormat,

    /// How registries are reached.
    #[command(flatten)]
    pub(crate) registries: ReachArgs,
}

/// `rbuild registry explain`.
#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// The image
    #[arg(value_name = "NAME")]
    pub(crate) name: Reference,

    /// Ask nobody: say only what is configured
    #[arg(long)]
    pub(crate) offline: bool,

    /// How it is said: lines for people, or JSON
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub(crate) format: TableFormat,

    /// How registries are reached.
    #[command(flatten)]
    pub(crate) registries: ReachArgs,
}
