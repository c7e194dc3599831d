//! Manifests and indexes.
//!
//! Foreign documents are read with `oci-spec`, which knows every field and media type; ours are written from own types,
//! whose maps are ordered: the same manifest always has the same bytes.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::error::listed;
use crate::{Descriptor, Error, Platform, media_type};

/// One image for one platform: a configuration and layers, lowest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    schema_version: u32,
    /// [`media_type::MANIFEST`] or Docker's.
    pub media_type: String,
    /// The image configuration.
    pub config: Descriptor,
    /// The layers, lowest first.
    pub layers: Vec<Descriptor>,
    /// Free text.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// Several images under one name, usually one for each platform.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    schema_version: u32,
    /// [`media_type::INDEX`] or Docker's manifest list.
    pub media_type: String,
    /// The manifests.
    pub manifests: Vec<Descriptor>,
    /// Free text.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// What a name led to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one at a time, and it is matched at once"
)]
pub enum ManifestKind {
    /// A single image.
    Manifest(Manifest),
    /// Several.
    Index(Index),
}

impl Manifest {
    /// A manifest of the given parts and type.
    #[must_use]
    pub fn new(media_type: &str, config: Descriptor, layers: Vec<Descriptor>) -> Manifest {
        Manifest {
            schema_version: 2,
            media_type: media_type.to_owned(),
            config,
            layers,
            annotations: BTreeMap::new(),
        }
    }

    /// The document, indented by two spaces as BuildKit writes it.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).expect("a manifest has only string keys")
    }
}

impl Index {
    /// An OCI index of `manifests`.
    #[must_use]
    pub fn new(manifests: Vec<Descriptor>) -> Index {
        Index {
            schema_version: 2,
            media_type: media_type::INDEX.to_owned(),
            manifests,
            annotations: BTreeMap::new(),
        }
    }

    /// The document, indented by two spaces as BuildKit writes it.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).expect("an index has only string keys")
    }

    /// The manifest that suits `wanted` best.
    ///
    /// # Errors
    /// [`Error::NoSuchPlatform`], naming what there is.
    pub fn select(&self, wanted: &Platform) -> Result<&Descriptor, Error> {
        let candidates = self
            .manifests
            .iter()
            .filter(|entry| media_type::is_manifest(&entry.media_type));
        let best = candidates
            .filter_map(|entry| match &entry.platform {
                Some(platform) => Some((wanted.preference(platform)?, entry)),
                None => Some((0, entry)),
            })
            .reduce(|best, next| if next.0 > best.0 { next } else { best });
        best.map(|(_, entry)| entry).ok_or_else(|| Error::NoSuchPlatform {
            wanted: Box::new(wanted.clone()),
            available: listed(
                self.manifests
                    .iter()
                    .filter_map(|entry| entry.platform.as_ref())
                    .map(Platform::to_string),
            ),
        })
    }
}

impl ManifestKind {
    /// Reads a manifest or an index; `claimed` is the media type it was served or described as.
    ///
    /// # Errors
    /// [`Error::Document`] for bytes that are no such document, [`Error::UnsupportedManifest`] for other types.
    pub fn parse(claimed: &str, bytes: &[u8]) -> Result<ManifestKind, Error> {
        let claimed = claimed.split(';').next().unwrap_or_default().trim();
        let kind = if media_type::is_index(claimed) || media_type::is_manifest(claimed) {
            claimed.to_owned()
        } else {
            guess_media_type(bytes).ok_or_else(|| Error::UnsupportedManifest(claimed.to_owned()))?
        };
        if media_type::is_index(&kind) {
            parse_index(kind, bytes)
        } else {
            parse_manifest(kind, bytes)
        }
    }
}

/// The type a document states itself, for servers that answer with `text/plain` or `application/octet-stream`.
fn guess_media_type(bytes: &[u8]) -> Option<String> {
    let document: serde_json::Value = serde_json::from_slice(bytes).ok()?;
    let stated = document
        .get("mediaType")
        .and_then(|value| value.as_str())
        .map(str::to_owned);
    let stated = stated.filter(|kind| media_type::is_index(kind) || media_type::is_manifest(kind));
    stated.or_else(|| {
        if document.get("manifests").is_some() {
            Some(media_type::INDEX.to_owned())
        } else {
            document.get("layers").map(|_| media_type::MANIFEST.to_owned())
        }
    })
}

fn parse_manifest(media_type: String, bytes: &[u8]) -> Result<ManifestKind, Error> {
    let foreign = oci_spec::image::ImageManifest::from_reader(bytes).map_err(|error| Error::Document {
        what: "the image manifest",
        reason: because(&error),
    })?;
    let mut layers = Vec::new();
    for layer in foreign.layers() {
        layers.push(Descriptor::try_from(layer)?);
    }
    let annotations = foreign
        .annotations()
        .iter()
        .flatten()
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    let config = Descriptor::try_from(foreign.config())?;
    Ok(ManifestKind::Manifest(Manifest {
        schema_version: 2,
        media_type,
        config,
        layers,
        annotations,
    }))
}

/// What `oci-spec` looks for under other names than the image-spec gives: the system's version and features.
fn add_system(platform: &mut Platform, document: &serde_json::Value) {
    platform.os_version = document["os.version"].as_str().map(str::to_owned);
    let features = document["os.features"].as_array().into_iter().flatten();
    platform.os_features = features.filter_map(|text| text.as_str().map(str::to_owned)).collect();
}

fn parse_index(media_type: String, bytes: &[u8]) -> Result<ManifestKind, Error> {
    let foreign = oci_spec::image::ImageIndex::from_reader(bytes).map_err(|error| Error::Document {
        what: "the image index",
        reason: because(&error),
    })?;
    let document: serde_json::Value = serde_json::from_slice(bytes).unwrap_or_default();
    let mut manifests = Vec::new();
    for (place, manifest) in foreign.manifests().iter().enumerate() {
        let mut descriptor = Descriptor::try_from(manifest)?;
        if let Some(platform) = &mut descriptor.platform {
            add_system(platform, &document["manifests"][place]["platform"]);
        }
        manifests.push(descriptor);
    }
    let annotations = foreign
        .annotations()
        .iter()
        .flatten()
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    Ok(ManifestKind::Index(Index {
        schema_version: 2,
        media_type,
        manifests,
        annotations,
    }))
}

/// What is behind an error of `oci-spec`, which says no more than that there is one.
fn because(error: &oci_spec::OciSpecError) -> String {
    let cause = std::error::Error::source(error).map(ToString::to_string);
    cause.unwrap_or_else(|| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(platform: &str) -> Descriptor {
        let mut descriptor = Descriptor::of(media_type::MANIFEST, platform.as_bytes());
        descriptor.platform = Some(platform.parse().unwrap());
        descriptor
    }

    #[test]
    fn what_we_write_reads_back_equal() {
        let config = Descriptor::of(media_type::CONFIG, b"{}");
        let mut manifest = Manifest::new(
            media_type::MANIFEST,
            config,
            vec![Descriptor::of(media_type::LAYER_GZIP, b"x")],
        );
        manifest.annotations.insert("a".into(), "b".into());
        let read = ManifestKind::parse(media_type::MANIFEST, &manifest.to_bytes()).unwrap();
        assert_eq!(read, ManifestKind::Manifest(manifest));
        let index = Index::new(vec![entry("linux/arm/v7"), entry("windows(10.0.1+f)/amd64")]);
        assert_eq!(
            ManifestKind::parse("text/plain; charset=utf-8", &index.to_bytes()).unwrap(),
            ManifestKind::Index(index)
        );
    }

    #[test]
    fn an_index_is_asked_for_a_platform() {
        let index = Index::new(vec![entry("linux/arm/v6"), entry("linux/arm/v7"), entry("linux/amd64")]);
        assert_eq!(
            index.select(&"linux/amd64".parse().unwrap()).unwrap(),
            &entry("linux/amd64")
        );
        assert_eq!(
            index.select(&"linux/arm/v7".parse().unwrap()).unwrap(),
            &entry("linux/arm/v7")
        );
        let error = index.select(&"linux/s390x".parse().unwrap()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "no manifest for platform `linux/s390x`; there are: linux/arm/v6, linux/arm/v7, linux/amd64"
        );
    }

    #[test]
    fn anything_else_is_refused_by_its_type() {
        let error = ManifestKind::parse("application/vnd.docker.distribution.manifest.v1+json", b"{}").unwrap_err();
        assert!(error.to_string().contains("manifest.v1"), "{error}");
    }
}
