//! Images of the store by what people call them: a name, or the beginning of an ID.

use std::collections::BTreeMap;

use cache::{Store, StoredImage};
use export::{Bundle, Image};
use oci::{Digest, Platform, Reference};

use super::store_failed;
use crate::error::CommandError;

/// An image of the store, or an index of several, and the names that lead to it.
pub(crate) struct Found {
    /// The name asked for, if it was one.
    pub(crate) name: Option<Reference>,
    /// All names of the same manifest or index.
    pub(crate) names: Vec<Reference>,
    /// What they lead to.
    pub(crate) bundle: Bundle,
}

impl Found {
    /// The image for this machine, or else the first there is; `None` is an index of nothing.
    pub(crate) fn image(&self) -> Option<&Image> {
        self.image_for(&Platform::host()).or(self.bundle.images.first())
    }

    /// The image that suits `platform` best.
    pub(crate) fn image_for(&self, platform: &Platform) -> Option<&Image> {
        let images = self.bundle.images.iter();
        let suitable = images.filter_map(|image| Some((platform.preference(&image.platform)?, image)));
        let best = suitable.reduce(|best, next| if next.0 > best.0 { next } else { best });
        best.map(|(_, image)| image)
    }
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
        // A damaged image has no ID to be found by.
        let Ok(loaded) = Bundle::load(store, &image.manifest) else {
            continue;
        };
        for digest in [loaded.id(), image.manifest.digest] {
            if digest.hex().starts_with(digits) {
                by_id.insert(loaded.id(), image);
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
    // From here on its parts stay, also if its name is taken away.
    if store.image(&image.name).map_err(store_failed)?.is_none() {
        return Err(CommandError::failed(format!(
            "image {} was just removed",
            image.name.familiar()
        )));
    }
    let same = stored
        .iter()
        .filter(|other| other.manifest.digest == image.manifest.digest);
    let loaded = Bundle::load(store, &image.manifest);
    Ok(Found {
        name,
        names: same.map(|other| other.name.clone()).collect(),
        bundle: loaded.map_err(|error| {
            CommandError::failed(format!("cannot read image {}", image.name.familiar())).because(&error)
        })?,
    })
}
