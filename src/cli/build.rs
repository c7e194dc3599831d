//! The flags of `rbuild build`: those of `docker buildx build`, under its names.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use graph::Ulimit;

use super::call::CallArgs;
use super::images::SpaceArgs;
use super::not_yet::NotYet;
use super::reach::ReachArgs;
use super::resources::ResourceArgs;
use super::transfers::TransferArgs;
use super::values::{self, ExtraHost, Pair};
use crate::ui::Mode;

/// What was typed after `rbuild build`.
#[derive(Debug, Args)]
#[command(args_override_self = true, override_usage = "rbuild [build] [FLAGS] CONTEXT")]
pub(crate) struct BuildArgs {
    /// The folder that COPY and ADD read from
    #[arg(value_name = "CONTEXT")]
    pub(crate) context: OsString,

    /// What goes in.
    #[command(flatten)]
    pub(crate) input: InputArgs,

    /// What RUN sees.
    #[command(flatten)]
    pub(crate) run: RunStepArgs,

    /// How much each RUN may take.
    #[command(flatten)]
    pub(crate) resources: ResourceArgs,

    /// What comes out.
    #[command(flatten)]
    pub(crate) output: OutputArgs,

    /// How bytes move.
    #[command(flatten, next_help_heading = "Registries")]
    pub(crate) transfers: TransferArgs,

    /// What is asked instead.
    #[command(flatten)]
    pub(crate) call: CallArgs,

    /// How the work is done.
    #[command(flatten)]
    pub(crate) work: WorkArgs,

    /// How much is kept.
    #[command(flatten)]
    pub(crate) space: SpaceArgs,

    /// How registries are reached.
    #[command(flatten)]
    pub(crate) registries: ReachArgs,

    /// What cannot be had.
    #[command(flatten)]
    pub(crate) not_yet: NotYet,
}

/// What goes into the build.
#[derive(Debug, Args)]
#[command(next_help_heading = "Input")]
pub(crate) struct InputArgs {
    /// The Dockerfile; `-` reads it from standard input [default: CONTEXT/Dockerfile]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,

    /// Build this stage instead of the last one
    #[arg(long, value_name = "STAGE")]
    pub(crate) target: Option<String>,

    /// Value for an ARG; without `=` it is taken from the environment
    #[arg(long, value_name = "NAME[=VALUE]", value_parser = values::pair)]
    pub(crate) build_arg: Vec<Pair>,

    /// Another context or image under a name: folder, docker-image://…, oci-layout://…
    #[arg(long, value_name = "NAME=SOURCE", value_parser = values::named)]
    pub(crate) build_context: Vec<(String, String)>,

    /// Where results of steps may be found besides the store: REF, type=registry|local|s3|gha,…
    #[arg(long, value_name = "CACHE")]
    pub(crate) cache_from: Vec<String>,

    /// Label for the image
    #[arg(long, value_name = "KEY=VALUE", value_parser = values::pair)]
    pub(crate) label: Vec<Pair>,

    /// Platform of the image, for example linux/arm64; several make an index
    #[arg(long, value_name = "PLATFORM", value_delimiter = ',')]
    pub(crate) platform: Vec<String>,

    /// Rules about which images and addresses may be used, and which in the place of others
    #[arg(
        long,
        value_name = "FILE",
        env = "EXPERIMENTAL_BUILDKIT_SOURCE_POLICY",
        hide_env = true
    )]
    pub(crate) source_policy_file: Option<PathBuf>,

    /// Look for newer versions of base images
    #[arg(long)]
    pub(crate) pull: bool,
}

/// What the processes of RUN see.
#[derive(Debug, Args)]
#[command(next_help_heading = "RUN")]
pub(crate) struct RunStepArgs {
    /// Network of RUN steps that do not choose one: default, none, host
    #[arg(
        long,
        value_name = "MODE",
        default_value = "default",
        hide_default_value = true,
        hide_possible_values = true
    )]
    pub(crate) network: Network,

    /// Secret for RUN --mount=type=secret: id=NAME, and src=FILE or env=VARIABLE
    #[arg(long, value_name = "SECRET")]
    pub(crate) secret: Vec<String>,

    /// SSH agent or keys for RUN --mount=type=ssh: default, NAME=SOCKET, NAME=KEY,KEY
    #[arg(long, value_name = "AGENT")]
    pub(crate) ssh: Vec<String>,

    /// Allow the Dockerfile something: network.host, security.insecure
    #[arg(long, value_name = "RIGHT")]
    pub(crate) allow: Vec<String>,

    /// Line for /etc/hosts
    #[arg(long, value_name = "HOST=ADDRESS", value_delimiter = ',', value_parser = values::extra_host)]
    pub(crate) add_host: Vec<ExtraHost>,

    /// Size of /dev/shm, for example 256m
    #[arg(long, value_name = "SIZE", value_parser = values::size)]
    pub(crate) shm_size: Option<u64>,

    /// Resource limit, for example nofile=1024:2048
    #[arg(long, value_name = "NAME=SOFT[:HARD]", value_parser = values::ulimit)]
    pub(crate) ulimit: Vec<Ulimit>,
}

/// What comes out of the build.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct OutputArgs {
    /// Name of the image; may be given several times
    #[arg(short, long, value_name = "NAME[:TAG]")]
    pub(crate) tag: Vec<String>,

    /// Where the result goes: type=oci,dest=app.tar, type=local,dest=out, …
    #[arg(short, long, value_name = "OUTPUT")]
    pub(crate) output: Vec<String>,

    /// Push the image to its registry
    #[arg(long)]
    pub(crate) push: bool,

    /// Do not ask registries before the first RUN whether they may be pushed to
    #[arg(long)]
    pub(crate) no_push_probe: bool,

    /// Load the image into docker or podman
    #[arg(long)]
    pub(crate) load: bool,

    /// Where results of steps are kept besides the store: type=registry|local|inline|s3|gha,…
    #[arg(long, value_name = "CACHE")]
    pub(crate) cache_to: Vec<String>,

    /// Annotation for the image: KEY=VALUE or TYPE:KEY=VALUE; types are manifest, index, manifest-descriptor,
    /// index-descriptor
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) annotation: Vec<String>,

    /// Write the image's ID to a file
    #[arg(long, value_name = "FILE")]
    pub(crate) iidfile: Option<PathBuf>,

    /// Write the digest of the image, or of the index, to a file
    #[arg(long, value_name = "FILE")]
    pub(crate) digest_file: Option<PathBuf>,

    /// Write what is known of the result to a file, as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) metadata_file: Option<PathBuf>,

    /// Attestation; only `type=sbom|provenance,disabled=true` is supported
    #[arg(long, hide = true, value_name = "ATTESTATION")]
    pub(crate) attest: Vec<String>,

    /// Provenance attestation; only `false` is supported
    #[arg(long, hide = true, value_name = "BOOL", num_args = 0..=1, require_equals = false, default_missing_value = "true")]
    pub(crate) provenance: Option<String>,

    /// SBOM attestation; only `false` is supported
    #[arg(long, hide = true, value_name = "BOOL", num_args = 0..=1, require_equals = false, default_missing_value = "true")]
    pub(crate) sbom: Option<String>,
}

/// How the work is done and shown.
#[derive(Debug, Args)]
#[command(next_help_heading = "Work")]
pub(crate) struct WorkArgs {
    /// Do every step again
    #[arg(long)]
    pub(crate) no_cache: bool,

    /// Do the steps of these stages again
    #[arg(long, value_name = "STAGE", value_delimiter = ',')]
    pub(crate) no_cache_filter: Vec<String>,

    /// How long to wait for caches, to be read and to be written, for example 30s [env: RBUILD_CACHE_BUDGET]
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    pub(crate) cache_budget: Option<Duration>,

    /// How many steps may run at the same time [default: all that can]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) max_parallelism: Option<u32>,

    /// Whether this is a job of a pipeline: the log in groups, marks at lines, outputs [default: as CI says]
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_parser = yes_or_no
    )]
    pub(crate) ci: Option<bool>,

    /// How RUN is isolated: auto, namespaces, plain (a changed root and no more) [env: RBUILD_ISOLATION]
    #[arg(long, value_name = "RUNG", hide_possible_values = true)]
    pub(crate) isolation: Option<Rung>,

    /// Give up when the build takes longer, for example 90s, 30m
    #[arg(long, value_name = "DURATION", value_parser = values::time_limit)]
    pub(crate) timeout: Option<Duration>,

    /// Give up when a RUN takes longer
    #[arg(long, value_name = "DURATION", value_parser = values::time_limit)]
    pub(crate) step_timeout: Option<Duration>,

    /// How long results may still be brought to --cache-to after SIGTERM [default: 10s]
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    pub(crate) grace: Option<Duration>,

    /// Show progress as: auto, plain, tty, quiet, none, rawjson
    #[arg(long, value_name = "MODE", default_value = "auto", hide_default_value = true, value_parser = progress)]
    pub(crate) progress: Mode,

    /// Print nothing but the image's ID
    #[arg(short, long)]
    pub(crate) quiet: bool,

    /// Of a failure, tell everything that is known
    #[arg(short = 'D', long)]
    pub(crate) debug: bool,

    /// There are no builder instances: only `default` is one
    #[arg(long, hide = true, value_name = "NAME")]
    pub(crate) builder: Option<String>,
}

/// The network of RUN steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Network {
    /// The builder's choice
    Default,
    /// A loopback of its own
    None,
    /// That of the host
    Host,
}

/// How steps are isolated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Rung {
    /// As well as can be had
    #[value(alias = "default")]
    Auto,
    /// By namespaces, or not at all
    Namespaces,
    /// By a changed root
    Plain,
}

fn yes_or_no(text: &str) -> Result<bool, String> {
    super::boolean(text).ok_or_else(|| "expected true or false".to_owned())
}

fn progress(text: &str) -> Result<Mode, String> {
    <Mode as ValueEnum>::from_str(text, false)
        .map_err(|_| "expected auto, plain, tty, quiet, none or rawjson".to_owned())
}
