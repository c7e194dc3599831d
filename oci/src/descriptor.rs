//! Descriptors: how one document of the image-spec points at another.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Digest, Error, Platform};

/// Media type, digest and size of a blob, and what else the pointing document says of it.
///
/// Maps are ordered, so the same descriptor always has the same bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the blob is; see [`crate::media_type`].
    pub media_type: String,
    /// The blob's digest.
    pub digest: Digest,
    /// The blob's size in bytes.
    pub size: u64,
    /// Free text.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Of a manifest in an index: where its image runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
}

impl Descriptor {
    /// A descriptor of a blob about which no more is said.
    #[must_use]
    pub fn new(media_type: &str, digest: Digest, size: u64) -> Descriptor {
        Descriptor {
            media_type: media_type.to_owned(),
            digest,
            size,
            annotations: BTreeMap::new(),
            platform: None,
        }
    }

    /// A descriptor of `bytes`.
    #[must_use]
    pub fn of(media_type: &str, bytes: &[u8]) -> Descriptor {
        Descriptor::new(media_type, Digest::of(bytes), bytes.len() as u64)
    }

    /// Refuses `bytes`, which have the digest, if they are not as many as this says.
    ///
    /// # Errors
    /// [`Error::Document`].
    pub fn check_size(&self, bytes: &[u8]) -> Result<(), Error> {
        let actual = bytes.len() as u64;
        match actual == self.size {
            true => Ok(()),
            false => Err(Error::Document {
                what: "the descriptor of a document",
                reason: format!(
                    "it says that `{}` has {} bytes, and it has {actual}; what points at it has to be made again",
                    self.digest, self.size
                ),
            }),
        }
    }
}

impl TryFrom<&oci_spec::image::Descriptor> for Descriptor {
    type Error = Error;

    fn try_from(foreign: &oci_spec::image::Descriptor) -> Result<Descriptor, Error> {
        Ok(Descriptor {
            media_type: foreign.media_type().to_string(),
            digest: foreign.digest().to_string().parse()?,
            size: foreign.size(),
            annotations: foreign
                .annotations()
                .iter()
                .flatten()
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect(),
            platform: foreign.platform().as_ref().map(Platform::from),
        })
    }
}
