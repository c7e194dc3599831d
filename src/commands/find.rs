//! Images of the store by what people call them: a name, or the beginning of an ID.

use std::collections::BTreeMap;

use cache::{Store, StoredImage};
use export::Image;
use oci::{Digest, Reference};

use super::store_failed;
use crate::error::CommandError;

/// An image of the store and the names that lead to it.
pub(crate) struct Found {
    /// The name asked for, if it was one.
    pub(crate) name: Option<Reference>,
    /// All names of the same manifest.
    pub(crate) names: Vec<Reference>,
    /// The image.
    pub(crate) image: Image,
}

/// Hexadecimal digits that are enough to ask for an ID.
const SHORTEST_ID: usize = 4;

/// The image that `text` names.
///
/// # Errors
/// When there is none, or there are several.
pub(crate) fn find(store: &Store, text: &str) -> Result<Found, CommandError> {
    let stored = store.images().map_err(store_failed)?;
    let name: Option<Reference> = text.parse().ok();
    if let Some(name) = name
        && let Some(image) = stored.iter().find(|image| is_called(image, &name))
    {
        return found(store, &stored, image, Some(name));
    }
    match &with_id(store, &stored, text)?[..] {
        [one] => found(store, &stored, one, None),
        [] => Err(CommandError::failed(format!("no image `{text}` here"))
            .hint("see `rbuild images`; `rbuild pull` gets one from a registry")),
        several => {
            let names: Vec<String> = several.iter().map(|image| image.name.familiar()).collect();
            Err(CommandError::failed(format!(
                "several images begin with `{text}`: {}",
                names.join(", ")
            )))
        }
    }
}

/// The name with its tag, or with the digest it stands for.
fn is_called(image: &StoredImage, name: &Reference) -> bool {
    match name.digest() {
        Some(digest) => image.manifest.digest == digest && image.name.name() == name.name(),
        None => image.name == *name,
    }
}

/// One name for each image whose ID begins so.
fn with_id<'a>(store: &Store, stored: &'a [StoredImage], text: &str) -> Result<Vec<&'a StoredImage>, CommandError> {
    let digits = text.strip_prefix("sha256:").unwrap_or(text);
    if digits.len() < SHORTEST_ID || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(Vec::new());
    }
    let mut by_id: BTreeMap<Digest, &StoredImage> = BTreeMap::new();
    for image in stored {
        // An index or a damaged image has no ID to be found by.
        let Ok(loaded) = export::load(store, &image.manifest) else {
            continue;
        };
        for digest in [loaded.config.digest, image.manifest.digest] {
            if digest.hex().starts_with(digits) {
                by_id.insert(loaded.config.digest, image);
            }
        }
    }
    Ok(by_id.into_values().collect())
}

fn found(
    store: &Store,
    stored: &[StoredImage],
    image: &StoredImage,
    name: Option<Reference>,
) -> Result<Found, CommandError> {
    let same = stored
        .iter()
        .filter(|other| other.manifest.digest == image.manifest.digest);
    let loaded = export::load(store, &image.manifest);
    Ok(Found {
        name,
        names: same.map(|other| other.name.clone()).collect(),
        image: loaded.map_err(|error| {
            CommandError::failed(format!("cannot read image {}", image.name.familiar())).because(&error)
        })?,
    })
}
