//! Flags about how bytes move between us and registries.

use clap::Args;

use super::values;

/// How much at once.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(crate) struct ConnectionArgs {
    /// How many blobs move between rbuild and one registry at the same time [default: 4]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    registry_connections: Option<u16>,
}

/// Of commands that push, too.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(crate) struct TransferArgs {
    /// How much at once.
    #[command(flatten)]
    connections: ConnectionArgs,

    /// Send larger blobs in chunks of this size, for proxies that limit bodies, for example 100m [default: whole]
    #[arg(long, value_name = "SIZE", value_parser = chunk_size)]
    push_chunk_size: Option<u64>,
}

impl ConnectionArgs {
    /// The same client, told how.
    pub(crate) fn applied_to(self, options: registry::ClientOptions) -> registry::ClientOptions {
        registry::ClientOptions {
            connections: self.registry_connections.map(usize::from),
            ..options
        }
    }
}

impl TransferArgs {
    /// The same client, told how.
    pub(crate) fn applied_to(self, options: registry::ClientOptions) -> registry::ClientOptions {
        registry::ClientOptions {
            chunk_size: self.push_chunk_size,
            ..self.connections.applied_to(options)
        }
    }
}

/// Smaller chunks would be a request for every few packets.
fn chunk_size(text: &str) -> Result<u64, String> {
    const LEAST: u64 = 64 << 10;
    match values::size(text)? {
        size if size < LEAST => Err("a chunk has at least 64k".to_owned()),
        size => Ok(size),
    }
}
