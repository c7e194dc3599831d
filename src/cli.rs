//! What can be typed: the shape of the command line, nothing of its meaning (that is `request`).
//!
//! `rbuild [FLAGS] CONTEXT` builds: a command line whose first word is no command is one of `build`. A folder named like
//! a command is written `./images`. Flags are docker's: the same names, and Go's spellings of switches
//! (`--push=false`).

mod build;
mod call;
mod go_style;
mod images;
mod not_yet;
mod reach;
mod registry;
mod resources;
mod transfers;
pub(crate) mod values;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

pub(crate) use build::{BuildArgs, Network, OutputArgs, Rung, WorkArgs};
pub(crate) use call::{Call, Format};
pub(crate) use go_style::boolean;
pub(crate) use images::{
    CompletionsArgs, DebugArgs, DebugCommand, DoctorArgs, DuArgs, ImagesArgs, InspectArgs, MergeArgs, PruneArgs,
    PullArgs, PushArgs, RmiArgs, RunArgs, SpaceArgs, TableFormat, TagArgs,
};
pub(crate) use not_yet::NotYet;
pub(crate) use reach::ReachArgs;
pub(crate) use registry::{ExplainArgs, ReferrersArgs, RegistryArgs, RegistryCommand};
pub(crate) use transfers::TransferArgs;

use crate::ui::Mode;

const EXAMPLE: &str = "\
Example:
  rbuild -t registry.example.com/app:1 --push .
          builds ./Dockerfile and pushes the image

Exit codes:
  0    done
  1    a step failed, or the build cannot be done as it is written
  2    the Dockerfile or a flag is not understood or not supported
  3    a registry, a cache or another source failed, or wants other credentials
  4    this machine lacks something: namespaces, user ids, an emulator
  5    no room, or a limit or a policy forbids it
  124  --timeout or --step-timeout passed    130  interrupted    143  terminated
  `rbuild run` passes on the exit code of the process; 125 is a failure of rbuild itself";

/// Builds container images from Dockerfiles: no daemon, no root needed.
#[derive(Debug, Parser)]
#[command(
    name = "rbuild",
    bin_name = "rbuild",
    version = crate::commands::version::TEXT.as_str(),
    after_help = EXAMPLE,
    override_usage = "rbuild [FLAGS] CONTEXT\n       rbuild COMMAND …",
    args_override_self = true,
    arg_required_else_help = true,
    disable_help_subcommand = true
)]
pub(crate) struct Cli {
    /// Where images and the cache are kept [env: RBUILD_ROOT]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) root: Option<PathBuf>,

    /// Trust these CA certificates besides the system's, also in RUN [env: RBUILD_CA_FILE]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,

    /// Write where the time goes to a file, for ui.perfetto.dev or chrome://tracing
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) trace: Option<PathBuf>,

    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Build an image; the word `build` may be left out
    Build(Box<BuildArgs>),
    /// Get an image from a registry
    Pull(PullArgs),
    /// Send an image to its registry
    Push(PushArgs),
    /// Join images for several platforms under one name
    Merge(MergeArgs),
    /// Give an image another name
    Tag(TagArgs),
    /// List the images
    Images(ImagesArgs),
    /// Show all that is known of an image, as JSON
    Inspect(InspectArgs),
    /// Remove names of images
    Rmi(RmiArgs),
    /// Run a process on an image and throw away what it changed
    Run(Box<RunArgs>),
    /// Show what takes up space, and why it is kept
    Du(DuArgs),
    /// Remove what no image needs
    Prune(PruneArgs),
    /// Ask registries
    Registry(RegistryArgs),
    /// Say whether builds work here, and what to do for more
    Doctor(DoctorArgs),
    /// Show the version
    Version,
    /// Write completions for a shell
    Completions(CompletionsArgs),
    /// Look into the inner workings
    #[command(hide = true)]
    Debug(DebugArgs),
}

impl Command {
    /// How it is to be isolated, if that was typed.
    pub(crate) fn isolation(&self) -> Option<Rung> {
        match self {
            Command::Build(args) => args.work.isolation,
            Command::Run(args) => args.isolation,
            _ => None,
        }
    }

    /// What was typed of how registries are reached; nothing for a command that reaches none.
    pub(crate) fn registries(&self) -> Option<ReachArgs> {
        let typed = match self {
            Command::Build(args) => &args.registries,
            Command::Pull(args) => &args.registries,
            Command::Push(args) => &args.registries,
            Command::Merge(args) => &args.registries,
            Command::Registry(args) => args.command.registries(),
            // Has no such flags, and pulls what is not here.
            Command::Run(_) => return Some(ReachArgs::default()),
            _ => return None,
        };
        Some(typed.clone())
    }
}

/// Reads the command line, whose first word is the program's name.
///
/// # Errors
/// What clap has to say, which includes help and version.
pub(crate) fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
    let words = go_style::normalized(words.into_iter().collect(), &Cli::command());
    let matches = Cli::command().try_get_matches_from(words)?;
    Cli::from_arg_matches(&matches)
}

/// The mode typed, or else that of the environment variable `BUILDKIT_PROGRESS` if it names one.
pub(crate) fn progress_mode(typed: Mode, environment: Option<&str>) -> Mode {
    let named = environment.and_then(|text| <Mode as clap::ValueEnum>::from_str(text, true).ok());
    match typed {
        Mode::Auto => named.unwrap_or_default(),
        other => other,
    }
}

#[cfg(test)]
mod tests;
