//! `rbuild version`.

use std::process::ExitCode;

use super::answer;
use crate::error::CommandError;

/// Writes version and commit.
///
/// # Errors
/// When standard output cannot be written.
pub(crate) fn run() -> Result<ExitCode, CommandError> {
    let version = env!("CARGO_PKG_VERSION");
    match option_env!("RBUILD_COMMIT") {
        Some(commit) => answer(format_args!("rbuild {version} ({commit})\n")),
        None => answer(format_args!("rbuild {version}\n")),
    }
}
