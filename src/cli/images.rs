//! The flags of the commands around images and the store.

use std::path::PathBuf;
use std::time::Duration;

use cache::Amount;
use clap::{Args, Subcommand, ValueEnum};
use oci::{Platform, Reference};

use super::reach::ReachArgs;
use super::resources::ResourceArgs;
use super::transfers::{ConnectionArgs, TransferArgs};
use super::values;

/// `rbuild pull`.
#[derive(Debug, Args)]
pub(crate) struct PullArgs {
    /// The image
    #[arg(value_name = "NAME")]
    pub(crate) name: Reference,

    /// For this platform instead of the host's
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Option<Platform>,

    /// How bytes move.
    #[command(flatten)]
    pub(crate) connections: ConnectionArgs,

    /// Print nothing but the digest
    #[arg(short, long)]
    pub(crate) quiet: bool,

    /// How registries are reached.
    #[command(flatten)]
    pub(crate) registries: ReachArgs,
}

/// `rbuild push`.
#[derive(Debug, Args)]
pub(crate) struct PushArgs {
    /// The image
    #[arg(value_name = "NAME")]
    pub(crate) name: Reference,

    /// Of the layers that were built here and kept plain: gzip, zstd or uncompressed [default: gzip]
    #[arg(long, visible_alias = "compression-format", value_name = "KIND")]
    pub(crate) compression: Option<String>,

    /// Level of that compression: 0 to 9 for gzip, 1 to 22 for zstd
    #[arg(long, value_name = "LEVEL")]
    pub(crate) compression_level: Option<String>,

    /// Compress layers anew that are compressed in another way
    #[arg(long)]
    pub(crate) force_compression: bool,

    /// How bytes move.
    #[command(flatten)]
    pub(crate) transfers: TransferArgs,

    /// Print nothing but the digest
    #[arg(short, long)]
    pub(crate) quiet: bool,

    /// How registries are reached.
    #[command(flatten)]
    pub(crate) registries: ReachArgs,
}

/// `rbuild merge`.
#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub(crate) struct MergeArgs {
    /// The images: names here or in a registry, oci-layout://DIR or oci-layout://DIR:TAG, archives of type=oci
    #[arg(value_name = "SOURCE", required = true)]
    pub(crate) sources: Vec<String>,

    /// Name of the result; may be given several times
    #[arg(short, long, value_name = "NAME[:TAG]")]
    pub(crate) tag: Vec<Reference>,

    /// Push the result to its registry instead of keeping it here
    #[arg(long)]
    pub(crate) push: bool,

    /// Write the result to a file: type=oci,dest=FILE
    #[arg(short, long, value_name = "OUTPUT")]
    pub(crate) output: Option<String>,

    /// Annotation for the index: index:KEY=VALUE or index-descriptor:KEY=VALUE
    #[arg(long, value_name = "TYPE:KEY=VALUE")]
    pub(crate) annotation: Vec<String>,

    /// Write what is known of the result to a file, as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) metadata_file: Option<PathBuf>,

    /// How bytes move.
    #[command(flatten)]
    pub(crate) transfers: TransferArgs,

    /// Print nothing but the digest
    #[arg(short, long)]
    pub(crate) quiet: bool,

    /// How registries are reached.
    #[command(flatten)]
    pub(crate) registries: ReachArgs,
}

/// `rbuild tag`.
#[derive(Debug, Args)]
pub(crate) struct TagArgs {
    /// An image that is here
    #[arg(value_name = "NAME")]
    pub(crate) source: String,

    /// Its further name
    #[arg(value_name = "NEW")]
    pub(crate) target: Reference,
}

/// `rbuild images`.
#[derive(Debug, Args)]
pub(crate) struct ImagesArgs {
    /// Only images of this repository, or with this name
    #[arg(value_name = "NAME")]
    pub(crate) name: Option<String>,

    /// How they are listed
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub(crate) format: TableFormat,

    /// Print nothing but IDs
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// How a list is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TableFormat {
    /// Columns for people
    Table,
    /// One JSON array
    Json,
}

/// `rbuild doctor`.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// How it is said: lines for people, or JSON
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub(crate) format: TableFormat,
}

/// `rbuild inspect`.
#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// The images: names, or the beginning of an ID
    #[arg(value_name = "NAME", required = true)]
    pub(crate) names: Vec<String>,
}

/// `rbuild rmi`.
#[derive(Debug, Args)]
pub(crate) struct RmiArgs {
    /// The names to remove; what only they needed goes at the next prune
    #[arg(value_name = "NAME", required = true)]
    pub(crate) names: Vec<String>,
}

/// `rbuild run`.
#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub(crate) struct RunArgs {
    /// Hand standard input to the process
    #[arg(short, long)]
    pub(crate) interactive: bool,

    /// Give the process a terminal
    #[arg(short, long)]
    pub(crate) tty: bool,

    /// Nothing is kept in any case; accepted for the fingers' sake
    #[arg(long, hide = true)]
    pub(crate) rm: bool,

    /// Program to run instead of the image's entrypoint
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) entrypoint: Option<String>,

    /// Environment variable; without `=` it is taken from the environment
    #[arg(short, long, value_name = "NAME[=VALUE]", value_parser = values::pair)]
    pub(crate) env: Vec<values::Pair>,

    /// User, and perhaps group, of the process
    #[arg(short, long, value_name = "USER[:GROUP]")]
    pub(crate) user: Option<String>,

    /// Working directory
    #[arg(short, long, value_name = "DIR")]
    pub(crate) workdir: Option<String>,

    /// Of an index, the image for this platform instead of the host's
    #[arg(long)]
    pub(crate) platform: Option<Platform>,

    /// Network of the process: host or none
    #[arg(long, value_name = "MODE", default_value = "host")]
    pub(crate) network: super::build::Network,

    /// How much it may take.
    #[command(flatten)]
    pub(crate) resources: ResourceArgs,

    /// How the process is isolated: auto, namespaces, plain [env: RBUILD_ISOLATION]
    #[arg(long, value_name = "RUNG", hide_possible_values = true)]
    pub(crate) isolation: Option<super::build::Rung>,

    /// An image that is here: its name, or the beginning of its ID
    #[arg(value_name = "NAME")]
    pub(crate) name: String,

    /// Program and arguments instead of the image's
    #[arg(value_name = "COMMAND", trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) command: Vec<String>,
}

/// `rbuild prune`.
#[derive(Debug, Args)]
pub(crate) struct PruneArgs {
    /// Also remove results of steps that the next build could use
    #[arg(short, long)]
    pub(crate) all: bool,

    /// Only what was not used for so long, for example 24h or 7d
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    pub(crate) older_than: Option<Duration>,

    /// How much.
    #[command(flatten)]
    pub(crate) space: SpaceArgs,
}

/// How much space the store may take. A part of the disk can be given as well, for example 20%.
#[derive(Clone, Copy, Debug, Default, Args)]
#[command(next_help_heading = "Space")]
pub(crate) struct SpaceArgs {
    /// Keep no more cache than this, for example 10GB or 20%; images with names do not count [env: RBUILD_KEEP_STORAGE]
    #[arg(long, visible_alias = "max-used-space", value_name = "SIZE", value_parser = values::amount)]
    pub(crate) keep_storage: Option<Amount>,

    /// Keep so much of the disk free [env: RBUILD_MIN_FREE_SPACE]
    #[arg(long, value_name = "SIZE", value_parser = values::amount)]
    pub(crate) min_free_space: Option<Amount>,

    /// But never keep less cache than this [env: RBUILD_RESERVED_SPACE]
    #[arg(long, value_name = "SIZE", value_parser = values::amount)]
    pub(crate) reserved_space: Option<Amount>,
}

/// `rbuild du`.
#[derive(Debug, Args)]
pub(crate) struct DuArgs {
    /// Tell of each thing all that is known, and of each image what it shares
    #[arg(short, long)]
    pub(crate) verbose: bool,

    /// How it is printed
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub(crate) format: TableFormat,
}

/// `rbuild completions`.
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub(crate) shell: clap_complete::Shell,
}

/// `rbuild debug`.
#[derive(Debug, Args)]
pub(crate) struct DebugArgs {
    /// What to look at.
    #[command(subcommand)]
    pub(crate) command: DebugCommand,
}

/// What can be looked at.
#[derive(Debug, Subcommand)]
pub(crate) enum DebugCommand {
    /// The syntax tree of a Dockerfile
    Ast {
        /// The file, or `-`
        file: PathBuf,
    },
    /// A word, expanded and split
    Words {
        /// As it stands in a Dockerfile
        word: String,
        /// Variables: NAME=VALUE
        #[arg(value_parser = values::pair)]
        variables: Vec<values::Pair>,
    },
    /// Verifies the whole store: hashes every blob, reads every tree, looks where every row leads
    Fsck {
        /// Remove what nobody needs and forget what is damaged, so that it is made or fetched again
        #[arg(long)]
        repair: bool,
    },
    /// Waits for an archive on standard input, then becomes the program that loads it
    LoadWhenReady {
        /// docker or podman, with its path
        program: PathBuf,
    },
}
