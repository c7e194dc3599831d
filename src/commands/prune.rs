//! `rbuild prune`: removes what no image needs.

use std::process::ExitCode;

use cache::Prune;

use super::{Setting, answer, du, store_failed};
use crate::cli::PruneArgs;
use crate::error::CommandError;
use crate::ui::text;

/// Removes it, waiting for running builds, and says what went.
///
/// # Errors
/// When the store cannot be read or written.
pub(crate) fn run(args: &PruneArgs, setting: &Setting) -> Result<ExitCode, CommandError> {
    let wish = Prune {
        all: args.all,
        older_than: args.older_than,
        keep_storage: args.keep_storage,
    };
    let pruned = setting.store()?.prune(&wish).map_err(store_failed)?;
    let table = match pruned.removed.is_empty() {
        true => String::new(),
        false => format!("{}\n", du::as_table(&pruned.removed)),
    };
    answer(format_args!("{table}Freed: {}\n", text::bytes(pruned.freed)))
}
