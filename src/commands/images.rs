//! `rbuild images`: the images of the store, by name.

use std::collections::HashMap;
use std::process::ExitCode;

use cache::{Store, StoredImage};
use export::Bundle;
use oci::{Digest, Reference};
use serde_json::{Value, json};

use super::table::{self, Table};
use super::{Setting, answer, answer_document, store_failed};
use crate::cli::{ImagesArgs, TableFormat};
use crate::error::CommandError;
use crate::ui::text;

/// Digits of an ID that are shown.
const SHORT_ID: usize = 12;

/// One line of the list.
struct Listed {
    stored: StoredImage,
    /// `None` if its documents are damaged.
    bundle: Option<Bundle>,
}

/// Lists them.
///
/// # Errors
/// When the store cannot be read, or the name asked for is no name.
pub(crate) fn run(args: &ImagesArgs, setting: &Setting) -> Result<ExitCode, CommandError> {
    let mut images = list(&setting.store()?)?;
    if let Some(name) = &args.name {
        let wanted: Reference = name
            .parse()
            .map_err(|error| CommandError::usage("invalid name").because(&error))?;
        let has_tag = name.rsplit('/').next().is_some_and(|last| last.contains(':'));
        images.retain(|listed| {
            let stored = &listed.stored.name;
            stored.name() == wanted.name() && (!has_tag || stored.tag() == wanted.tag())
        });
    }
    match (args.quiet, args.format) {
        (true, _) => answer(
            images
                .iter()
                .map(|listed| format!("{}\n", listed.id()))
                .collect::<String>(),
        ),
        (false, TableFormat::Table) => answer(as_table(&images)),
        (false, TableFormat::Json) => {
            let list: Vec<Value> = images.iter().map(Listed::as_json).collect();
            answer_document(&Value::from(list))
        }
    }
}

/// The youngest first, as far as they have an age.
fn list(store: &Store) -> Result<Vec<Listed>, CommandError> {
    let mut images = Vec::new();
    for stored in store.images().map_err(store_failed)? {
        let bundle = Bundle::load(store, &stored.manifest).ok();
        images.push(Listed { stored, bundle });
    }
    images.sort_by_key(|listed| (-listed.created().unwrap_or(0), listed.stored.name.clone()));
    Ok(images)
}

fn as_table(images: &[Listed]) -> String {
    let now = table::now();
    let mut table = Table::new(&["NAME", "TAG", "IMAGE ID", "CREATED", "SIZE"]);
    for listed in images {
        let familiar = listed.stored.name.familiar();
        let tag = listed.stored.name.tag().unwrap_or("<none>");
        let name = familiar
            .strip_suffix(tag)
            .and_then(|name| name.strip_suffix(':'))
            .unwrap_or(&familiar);
        table.row(vec![
            name.to_owned(),
            tag.to_owned(),
            listed.id(),
            listed
                .created()
                .map_or_else(|| "unknown".to_owned(), |created| table::ago(now - created)),
            listed.size().map_or_else(|| "unknown".to_owned(), text::bytes),
        ]);
    }
    table.text()
}

impl Listed {
    fn id(&self) -> String {
        let digest = self.bundle.as_ref().map_or(self.stored.manifest.digest, Bundle::id);
        digest.hex().chars().take(SHORT_ID).collect()
    }

    fn created_text(&self) -> Option<&String> {
        self.bundle.as_ref()?.images.first()?.configuration.created.as_ref()
    }

    fn created(&self) -> Option<i64> {
        let timestamp: jiff::Timestamp = self.created_text()?.parse().ok()?;
        Some(timestamp.as_second())
    }

    /// Of the layers as the manifest has them, our own plain: what platforms share counts once.
    fn size(&self) -> Option<u64> {
        let layers = self.bundle.as_ref()?.images.iter().flat_map(|image| &image.layers);
        let sizes: HashMap<Digest, u64> = layers.map(|layer| (layer.digest, layer.size)).collect();
        Some(sizes.into_values().fold(0, u64::saturating_add))
    }

    fn as_json(&self) -> Value {
        let bundle = self.bundle.as_ref();
        let platforms = bundle.into_iter().flat_map(|bundle| &bundle.images);
        let platforms: Vec<String> = platforms.map(|image| image.platform.to_string()).collect();
        json!({
            "name": self.stored.name.familiar(),
            "id": bundle.map(Bundle::id),
            "digest": self.stored.manifest.digest,
            "created": self.created_text(),
            "size": self.size(),
            "platform": platforms.first(),
            "platforms": platforms,
        })
    }
}
