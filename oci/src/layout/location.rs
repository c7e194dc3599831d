//! How users write the place of an image in a layout: `oci-layout://path[:tag][@digest]`.

use std::path::PathBuf;

use crate::{Digest, Error};

const SCHEME: &str = "oci-layout://";

/// Splits `[oci-layout://]path[:tag][@digest]` into path, tag and digest. The path is not looked at.
///
/// What follows the last colon is a tag unless it holds a slash: `./with:colon/image` has none.
///
/// ```
/// let (path, tag, digest) = oci::layout::parse_location("oci-layout:///srv/bases/debian:bookworm")?;
/// assert_eq!(path.to_str(), Some("/srv/bases/debian"));
/// assert_eq!((tag.as_deref(), digest), (Some("bookworm"), None));
/// # Ok::<(), oci::Error>(())
/// ```
///
/// # Errors
/// [`Error::Reference`] for an empty path or tag, [`Error::Digest`] for what follows an `@` and is no digest.
pub fn parse_location(text: &str) -> Result<(PathBuf, Option<String>, Option<Digest>), Error> {
    let refuse = |reason| Error::Reference {
        name: text.to_owned(),
        reason,
    };
    let rest = text.strip_prefix(SCHEME).unwrap_or(text);
    let (rest, digest) = match rest.rsplit_once('@') {
        Some((rest, digest)) if !digest.contains('/') => (rest, Some(digest.parse()?)),
        _ => (rest, None),
    };
    let (path, tag) = match rest.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => (path, Some(tag)),
        _ => (rest, None),
    };
    if path.is_empty() {
        return Err(refuse("the path of the layout is missing"));
    }
    if tag.is_some_and(str::is_empty) {
        return Err(refuse("the tag after `:` is empty"));
    }
    Ok((PathBuf::from(path), tag.map(str::to_owned), digest))
}
