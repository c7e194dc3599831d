//! `rbuild prune`: removes what no image needs.

use std::process::ExitCode;

use cache::{Prune, Usage, User};

use super::{Setting, answer, du, store_failed};
use crate::cli::PruneArgs;
use crate::error::CommandError;
use crate::ui::{self, text};

/// Removes it beside whatever runs, and says what went, and what stayed for whom.
///
/// # Errors
/// When the store cannot be read or written.
pub(crate) fn run(args: &PruneArgs, setting: &Setting) -> Result<ExitCode, CommandError> {
    let wish = Prune {
        all: args.all,
        older_than: args.older_than,
        max_used: args.space.keep_storage,
        min_free: args.space.min_free_space,
        reserved: args.space.reserved_space,
    };
    let waits = || {
        let why =
            "waiting for a process that prunes, or that could not write down what it uses because the disk is full";
        ui::warn(&[why.to_owned()]);
    };
    let pruned = setting.store()?.prune_telling(&wish, &waits).map_err(store_failed)?;
    let table = match pruned.removed.is_empty() {
        true => String::new(),
        false => format!("{}\n", du::as_table(&pruned.removed)),
    };
    let held: String = held(&pruned.spared);
    answer(format_args!("{table}Freed: {}\n{held}", text::bytes(pruned.freed)))
}

/// A line for each process that something stayed for.
fn held(spared: &[Usage]) -> String {
    let mut sums: Vec<(&User, u64)> = Vec::new();
    for item in spared {
        for user in &item.held_by {
            match sums.iter_mut().find(|(known, _)| *known == user) {
                Some((_, sum)) => *sum = sum.saturating_add(item.size),
                None => sums.push((user, item.size)),
            }
        }
    }
    let lines = sums
        .iter()
        .map(|(user, sum)| format!("Held:  {} by {}\n", text::bytes(*sum), du::named(user)));
    lines.collect()
}
