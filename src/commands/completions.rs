//! `rbuild completions`: what a shell needs to complete our command lines.

use std::process::ExitCode;

use clap::CommandFactory;

use super::answer;
use crate::cli::{Cli, CompletionsArgs};
use crate::error::CommandError;

/// Writes the script to standard output. Flags of `build` complete without that word as well.
///
/// # Errors
/// When standard output cannot be written.
pub(crate) fn run(args: &CompletionsArgs) -> Result<ExitCode, CommandError> {
    let mut grammar = Cli::command();
    let build = grammar.find_subcommand("build").cloned();
    for flag in build
        .iter()
        .flat_map(clap::Command::get_opts)
        .filter(|flag| !flag.is_hide_set())
    {
        grammar = grammar.arg(flag.clone());
    }
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut grammar, "rbuild", &mut script);
    answer(String::from_utf8_lossy(&script))
}
