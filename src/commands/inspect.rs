//! `rbuild inspect`: all that is known of an image, with docker's keys where docker has them.

use std::process::ExitCode;

use export::Image;
use oci::{ChainId, Reference};
use serde_json::{Value, json};

use super::find::{self, Found};
use super::{Setting, answer_document};
use crate::cli::InspectArgs;
use crate::error::CommandError;

/// Writes one JSON array with an object for each image.
///
/// # Errors
/// When an image is not here.
pub(crate) fn run(args: &InspectArgs, setting: &Setting) -> Result<ExitCode, CommandError> {
    let store = setting.store()?;
    let mut described = Vec::new();
    for name in &args.names {
        let found = find::find(&store, name)?;
        let Some(image) = found.image() else {
            return Err(CommandError::failed(format!("{name} is an index of no image")));
        };
        described.push(describe(&found, image));
    }
    answer_document(&Value::from(described))
}

/// What there is to say of what was found, and of the `image` in it.
fn describe(found: &Found, image: &Image) -> Value {
    let root = &found.bundle.root;
    let config = &image.configuration;
    let diff_ids = &config.rootfs.diff_ids;
    let chain_ids: Vec<Option<ChainId>> = (1..=diff_ids.len())
        .map(|count| ChainId::of(&diff_ids[..count]))
        .collect();
    let mut digests: Vec<String> = found
        .names
        .iter()
        .map(|name| format!("{}@{}", familiar_repository(name), root.digest))
        .collect();
    digests.dedup();
    let mut described = json!({
        "Id": found.bundle.id(),
        "RepoTags": found.names.iter().map(Reference::familiar).collect::<Vec<_>>(),
        "RepoDigests": digests,
        "Created": config.created,
        "Author": config.author.clone().unwrap_or_default(),
        "Architecture": config.architecture,
        "Variant": config.variant,
        "Os": config.os,
        "Size": image.layers.iter().map(|layer| layer.size).fold(0, u64::saturating_add),
        "Config": config.config,
        "RootFS": { "Type": config.rootfs.kind, "Layers": diff_ids },
        "ChainIds": chain_ids,
        "History": config.history,
        "Descriptor": root,
        "ConfigDescriptor": image.config,
        "LayerDescriptors": image.layers,
    });
    if found.bundle.single_image().is_none() {
        let manifests = found.bundle.images.iter().map(|image| json!(image.manifest));
        described["Manifests"] = manifests.collect();
    }
    described
}

fn familiar_repository(name: &Reference) -> String {
    let familiar = name.unpinned().familiar();
    match familiar.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository.to_owned(),
        _ => familiar,
    }
}
