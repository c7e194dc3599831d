//! `rbuild du`: what takes up space in the store, and why it is kept.

use std::collections::BTreeMap;
use std::process::ExitCode;

use cache::{Usage, UsageKind, User};
use serde_json::{Value, json};

use super::table::{self, Table};
use super::{Setting, answer, store_failed};
use crate::cli::{DuArgs, TableFormat};
use crate::error::CommandError;
use crate::ui::text;

/// Characters of an ID, of a reason and of a description that are shown.
const SHORT_ID: usize = 19;
const SHORT_REASON: usize = 36;
const SHORT_DESCRIPTION: usize = 60;

/// Writes the table, the largest first, and the sums. Stops nobody.
///
/// # Errors
/// When the store cannot be read.
pub(crate) fn run(args: &DuArgs, setting: &Setting) -> Result<ExitCode, CommandError> {
    let mut usage = setting.store()?.usage().map_err(store_failed)?;
    usage.sort_by(|a, b| b.size.cmp(&a.size).then_with(|| a.id.cmp(&b.id)));
    match (args.format, args.verbose) {
        (TableFormat::Json, _) => answer(format_args!("{:#}\n", as_json(&usage))),
        (TableFormat::Table, true) => answer(format_args!(
            "{}{}\n{}\n{}",
            in_full(&usage),
            images_table(&usage),
            kinds_table(&usage),
            sums(&usage)
        )),
        (TableFormat::Table, false) => answer(format_args!(
            "{}\n{}\n{}",
            as_table(&usage),
            kinds_table(&usage),
            sums(&usage)
        )),
    }
}

/// The same table for all that lists parts of the store.
pub(crate) fn as_table(usage: &[Usage]) -> String {
    let now = table::now();
    let mut table = Table::new(&["ID", "KIND", "SIZE", "LAST USED", "KEPT BY", "DESCRIPTION"]);
    for item in usage {
        table.row(vec![
            item.id.chars().take(SHORT_ID).collect(),
            kind(item.kind).to_owned(),
            text::bytes(item.size),
            table::ago(now - item.last_used),
            short(&reason(item), SHORT_REASON),
            short(&item.description, SHORT_DESCRIPTION),
        ]);
    }
    table.text()
}

fn short(shown: &str, length: usize) -> String {
    let shown = text::harmless(shown.replace(['\n', '\t'], " ").as_bytes());
    console::truncate_str(&shown, length, "…").into_owned()
}

/// Why an item is there, in a few words: whatever keeps it longest.
fn reason(item: &Usage) -> String {
    let others = match item.images.len().saturating_sub(1) {
        0 => String::new(),
        others => format!(" and {others} more"),
    };
    match (item.images.first(), item.held_by.first(), item.needed_by.len()) {
        (Some(image), _, _) if item.pinned => format!("image {}{others}", familiar(image)),
        (_, Some(user), _) => named(user),
        (Some(image), ..) => format!("made for {}{others}", familiar(image)),
        (None, None, 0) => "-".to_owned(),
        (None, None, 1) => "1 step on it".to_owned(),
        (None, None, steps) => format!("{steps} steps on it"),
    }
}

/// A process, as people are told of it.
pub(crate) fn named(user: &User) -> String {
    let about = match user.about.is_empty() {
        true => String::new(),
        false => format!(" ({})", text::harmless(user.about.as_bytes())),
    };
    format!("process {}{about}", user.process)
}

fn familiar(names: &str) -> String {
    let familiar = |name: &str| match name.parse::<oci::Reference>() {
        Ok(name) => name.familiar(),
        Err(_) => name.to_owned(),
    };
    names.split(", ").map(familiar).collect::<Vec<_>>().join(", ")
}

fn kind(kind: UsageKind) -> &'static str {
    match kind {
        UsageKind::ImageLayer => "image layer",
        UsageKind::StepResult => "step",
        UsageKind::Blob => "blob",
        UsageKind::CacheDirectory => "cache mount",
    }
}

/// Every item with all that is known of it.
fn in_full(usage: &[Usage]) -> String {
    let mut all = String::new();
    for item in usage {
        let mut line = |name: &str, value: String| {
            all.push_str(&format!(
                "{:<13}{}\n",
                format!("{name}:"),
                text::harmless(value.as_bytes())
            ));
        };
        line("ID", item.id.clone());
        line("Kind", kind(item.kind).to_owned());
        line("Size", text::bytes(item.size));
        line("Created", table::ago(table::now() - item.created));
        line("Last used", table::ago(table::now() - item.last_used));
        if !item.description.is_empty() {
            line("Description", item.description.replace(['\n', '\t'], " "));
        }
        let why = if item.pinned { "Image" } else { "Made for" };
        item.images.iter().for_each(|names| line(why, familiar(names)));
        item.held_by.iter().for_each(|user| line("Held by", named(user)));
        item.needed_by.iter().for_each(|id| line("Needed by", id.clone()));
        line("Shared", if item.images.len() > 1 { "yes" } else { "no" }.to_owned());
        line(
            "Reclaimable",
            if is_reclaimable(item) { "yes" } else { "no" }.to_owned(),
        );
        all.push('\n');
    }
    all
}

/// Whether `prune` would remove it now.
fn is_reclaimable(item: &Usage) -> bool {
    !item.in_use && item.held_by.is_empty()
}

/// How much there is of each kind.
fn kinds_table(usage: &[Usage]) -> String {
    let mut table = Table::new(&["KIND", "COUNT", "SIZE", "RECLAIMABLE"]);
    for (name, count, size, free) in kinds(usage) {
        table.row(vec![
            name.to_owned(),
            count.to_string(),
            text::bytes(size),
            text::bytes(free),
        ]);
    }
    table.text()
}

fn kinds(usage: &[Usage]) -> Vec<(&'static str, usize, u64, u64)> {
    let mut kinds: BTreeMap<UsageKind, (usize, u64, u64)> = BTreeMap::new();
    for item in usage {
        let (count, size, free) = kinds.entry(item.kind).or_default();
        *count += 1;
        *size = size.saturating_add(item.size);
        *free = free.saturating_add(if is_reclaimable(item) { item.size } else { 0 });
    }
    let row = |(of, (count, size, free))| (kind(of), count, size, free);
    kinds.into_iter().map(row).collect()
}

/// What an image keeps: all of it, and what it has in common with others.
struct ImageUse {
    names: String,
    size: u64,
    shared: u64,
}

fn images(usage: &[Usage]) -> Vec<ImageUse> {
    let mut images: BTreeMap<&String, (u64, u64)> = BTreeMap::new();
    for item in usage {
        for image in &item.images {
            let (size, shared) = images.entry(image).or_default();
            *size = size.saturating_add(item.size);
            if item.images.len() > 1 {
                *shared = shared.saturating_add(item.size);
            }
        }
    }
    let image = |(names, (size, shared)): (&String, _)| ImageUse {
        names: familiar(names),
        size,
        shared,
    };
    images.into_iter().map(image).collect()
}

fn images_table(usage: &[Usage]) -> String {
    let mut table = Table::new(&["IMAGE", "SIZE", "SHARED", "UNIQUE"]);
    for image in images(usage) {
        table.row(vec![
            image.names,
            text::bytes(image.size),
            text::bytes(image.shared),
            text::bytes(image.size.saturating_sub(image.shared)),
        ]);
    }
    table.text()
}

/// How much is kept by what.
struct Sums {
    /// By names of images, or only for their sake.
    in_use: u64,
    /// By running processes, and nothing else.
    held: u64,
    free: u64,
}

impl Sums {
    fn of(usage: &[Usage]) -> Sums {
        let sum = |wanted: &dyn Fn(&Usage) -> bool| {
            let sizes = usage.iter().filter(|item| wanted(item)).map(|item| item.size);
            sizes.fold(0, u64::saturating_add)
        };
        Sums {
            in_use: sum(&|item| item.in_use),
            held: sum(&|item| !item.in_use && !item.held_by.is_empty()),
            free: sum(&is_reclaimable),
        }
    }

    fn total(&self) -> u64 {
        self.in_use.saturating_add(self.held).saturating_add(self.free)
    }
}

fn sums(usage: &[Usage]) -> String {
    let sums = Sums::of(usage);
    format!(
        "In use:      {}\nHeld:        {}\nReclaimable: {}\nTotal:       {}\n",
        text::bytes(sums.in_use),
        text::bytes(sums.held),
        text::bytes(sums.free),
        text::bytes(sums.total()),
    )
}

fn as_json(usage: &[Usage]) -> Value {
    let user = |user: &User| json!({ "process": user.process, "about": user.about });
    let items = usage.iter().map(|item| {
        json!({
            "id": item.id,
            "kind": kind(item.kind),
            "size": item.size,
            "created": item.created,
            "last_used": item.last_used,
            "description": item.description,
            "pinned": item.pinned,
            "in_use": item.in_use,
            "images": item.images,
            "held_by": item.held_by.iter().map(user).collect::<Vec<_>>(),
            "needed_by": item.needed_by,
            "shared": item.images.len() > 1,
            "reclaimable": is_reclaimable(item),
        })
    });
    let kinds = kinds(usage).into_iter().map(
        |(kind, count, size, reclaimable)| json!({ "kind": kind, "count": count, "size": size, "reclaimable": reclaimable }),
    );
    let images = images(usage).into_iter().map(|image| {
        json!({
            "names": image.names.split(", ").collect::<Vec<_>>(),
            "size": image.size,
            "shared": image.shared,
            "unique": image.size.saturating_sub(image.shared),
        })
    });
    let sums = Sums::of(usage);
    json!({
        "items": items.collect::<Vec<_>>(),
        "kinds": kinds.collect::<Vec<_>>(),
        "images": images.collect::<Vec<_>>(),
        "in_use": sums.in_use,
        "held": sums.held,
        "reclaimable": sums.free,
        "total": sums.total(),
    })
}
