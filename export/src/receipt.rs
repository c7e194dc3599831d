//! What came out of an export: for the last line of a build, `--iidfile` and `--metadata-file`.

use oci::{Descriptor, Digest, Reference};
use serde_json::{Value, json};

use crate::Bundle;

/// The digests of what was made and the names it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Of the manifest or the index.
    pub descriptor: Descriptor,
    /// Of the configuration of a single image.
    pub config: Option<Digest>,
    /// Under which it was stored, written or pushed.
    pub names: Vec<Reference>,
    /// How many layers there are, of all platforms together.
    pub layers: usize,
    /// How many bytes these have, in the form in which they were made for this output.
    pub size: u64,
}

impl Receipt {
    /// The receipt for `bundle`, exported as `names`.
    #[must_use]
    pub fn of(bundle: &Bundle, names: &[Reference]) -> Receipt {
        let layers = || bundle.images.iter().flat_map(|image| &image.layers);
        Receipt {
            layers: layers().count(),
            size: layers().map(|layer| layer.size).fold(0, u64::saturating_add),
            descriptor: bundle.root.clone(),
            config: bundle.single_image().map(|image| image.config.digest),
            names: names.to_vec(),
        }
    }

    /// What people call it: the digest of a single image's configuration, else that of the index.
    #[must_use]
    pub fn id(&self) -> Digest {
        self.config.unwrap_or(self.descriptor.digest)
    }
}

/// The object that `--metadata-file` writes, with buildx's keys: what is told of an image, and of the manifest of a cache,
/// as far as there are any.
#[must_use]
pub fn metadata_json(receipt: Option<&Receipt>, cache: Option<&Descriptor>) -> Value {
    let mut metadata = receipt.map_or_else(|| json!({}), of_image);
    if let Some(manifest) = cache {
        metadata["cache.manifest"] = json!(manifest);
    }
    metadata
}

fn of_image(receipt: &Receipt) -> Value {
    let mut metadata = json!({
        "containerimage.descriptor": receipt.descriptor,
        "containerimage.digest": receipt.descriptor.digest,
    });
    if let Some(config) = receipt.config {
        metadata["containerimage.config.digest"] = json!(config);
    }
    if !receipt.names.is_empty() {
        let names: Vec<String> = receipt.names.iter().map(Reference::to_string).collect();
        metadata["image.name"] = Value::String(names.join(","));
    }
    metadata
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_has_the_keys_of_buildx() {
        let mut descriptor = Descriptor::of(oci::media_type::MANIFEST, b"m");
        descriptor.platform = Some("linux/amd64".parse().unwrap());
        let receipt = Receipt {
            config: Some(Digest::of(b"c")),
            names: vec!["a:1".parse().unwrap(), "localhost:5000/b".parse().unwrap()],
            descriptor,
            layers: 0,
            size: 0,
        };
        assert_eq!(
            metadata_json(Some(&receipt), Some(&Descriptor::of("", b"l"))),
            json!({
                "cache.manifest": { "mediaType": "", "digest": Digest::of(b"l").to_string(), "size": 1 },
                "containerimage.config.digest": Digest::of(b"c").to_string(),
                "containerimage.descriptor": {
                    "mediaType": "application/vnd.oci.image.manifest.v1+json",
                    "digest": Digest::of(b"m").to_string(),
                    "size": 1,
                    "platform": { "architecture": "amd64", "os": "linux" },
                },
                "containerimage.digest": Digest::of(b"m").to_string(),
                "image.name": "docker.io/library/a:1,localhost:5000/b:latest",
            })
        );
        assert_eq!(metadata_json(None, None), json!({}));
    }
}
