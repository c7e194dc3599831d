//! The flags that say how registries are reached: of every command that speaks to one.

use std::path::PathBuf;

use clap::Args;
use registry::Mirror;

/// How registries are reached, as typed.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Registries")]
pub(crate) struct ReachArgs {
    /// Ask this mirror first; without HOST it is one of docker.io [env: RBUILD_REGISTRY_MIRROR]
    #[arg(long, value_name = "[HOST=]MIRROR")]
    pub(crate) registry_mirror: Vec<Mirror>,

    /// Do not check this registry's certificate; speak plain HTTP if it has none [env: RBUILD_INSECURE_REGISTRY]
    #[arg(long, value_name = "HOST")]
    pub(crate) insecure_registry: Vec<String>,

    /// Folder with a folder for each registry: hosts.toml and certificates [env: RBUILD_REGISTRY_CERTS]
    #[arg(long, value_name = "DIR")]
    pub(crate) registry_certs: Vec<PathBuf>,

    /// File with credentials, asked before all others [env: REGISTRY_AUTH_FILE]
    #[arg(long, value_name = "FILE")]
    pub(crate) authfile: Option<PathBuf>,
}
