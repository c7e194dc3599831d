//! `rbuild du`: what takes up space in the store.

use std::process::ExitCode;

use cache::{Usage, UsageKind};

use super::table::{self, Table};
use super::{Setting, answer, store_failed};
use crate::error::CommandError;
use crate::ui::text;

/// Characters of an ID and of a description that are shown.
const SHORT_ID: usize = 19;
const SHORT_DESCRIPTION: usize = 60;

/// Writes the table, the largest first, and the sums.
///
/// # Errors
/// When the store cannot be read.
pub(crate) fn run(setting: &Setting) -> Result<ExitCode, CommandError> {
    let mut usage = setting.store()?.usage().map_err(store_failed)?;
    usage.sort_by(|a, b| b.size.cmp(&a.size).then_with(|| a.id.cmp(&b.id)));
    let sum = |in_use: bool| {
        let sizes = usage.iter().filter(|item| item.in_use == in_use).map(|item| item.size);
        sizes.fold(0, u64::saturating_add)
    };
    let (used, free) = (sum(true), sum(false));
    let total = used.saturating_add(free);
    answer(format_args!(
        "{}\nIn use:      {}\nReclaimable: {}\nTotal:       {}\n",
        as_table(&usage),
        text::bytes(used),
        text::bytes(free),
        text::bytes(total),
    ))
}

/// The same table for all that lists parts of the store.
pub(crate) fn as_table(usage: &[Usage]) -> String {
    let now = table::now();
    let mut table = Table::new(&["ID", "KIND", "SIZE", "LAST USED", "IN USE", "DESCRIPTION"]);
    for item in usage {
        let description = text::harmless(item.description.replace(['\n', '\t'], " ").as_bytes());
        table.row(vec![
            item.id.chars().take(SHORT_ID).collect(),
            kind(item.kind).to_owned(),
            text::bytes(item.size),
            table::ago(now - item.last_used),
            if item.in_use { "yes" } else { "no" }.to_owned(),
            console::truncate_str(&description, SHORT_DESCRIPTION, "…").into_owned(),
        ]);
    }
    table.text()
}

fn kind(kind: UsageKind) -> &'static str {
    match kind {
        UsageKind::ImageLayer => "image layer",
        UsageKind::StepResult => "step",
        UsageKind::Blob => "blob",
        UsageKind::CacheDirectory => "cache mount",
    }
}
