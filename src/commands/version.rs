//! `rbuild version`.

use std::process::ExitCode;
use std::sync::LazyLock;

use super::answer;
use crate::error::CommandError;

/// Writes version and commit.
///
/// # Errors
/// When standard output cannot be written.
pub(crate) fn run() -> Result<ExitCode, CommandError> {
    answer(format_args!("rbuild {}\n", *TEXT))
}

/// Version and commit.
pub(crate) static TEXT: LazyLock<String> = LazyLock::new(|| {
    let version = env!("CARGO_PKG_VERSION");
    match option_env!("RBUILD_COMMIT") {
        Some(commit) => format!("{version} ({commit})"),
        None => version.to_owned(),
    }
});
