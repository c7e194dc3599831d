//! Manifests and indexes.
//!
//! Foreign documents are read with `oci-spec`, which knows every field and media type; ours are written from own types,
//! whose maps are ordered: the same manifest always has the same bytes.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{Descent, Descriptor, Digest, Error, ImageConfig, Platform, media_type};

/// Nobody who reads a broken document can mend it.
const REMEDY: &str = "whoever made it has to push it again, with a tool that keeps to the image specification";

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

    /// The configuration whose verified bytes these are.
    ///
    /// # Errors
    /// [`Error::Document`] if it is no such document, or not one of this manifest: with another size, or other layers.
    pub fn configuration(&self, bytes: &[u8]) -> Result<ImageConfig, Error> {
        self.config.check_size(bytes)?;
        let config = ImageConfig::parse(bytes)?;
        let (named, layers) = (config.rootfs.diff_ids.len(), self.layers.len());
        match named == layers {
            true => Ok(config),
            false => Err(Error::Document {
                what: "the image configuration",
                reason: format!(
                    "`{}` names {named} layers in `rootfs.diff_ids`, and its manifest has {layers}; {REMEDY}",
                    self.config.digest
                ),
            }),
        }
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

    /// The manifests, and indexes that may lead to one, that suit `wanted`, the best first.
    #[must_use]
    pub fn candidates(&self, wanted: &Platform) -> Vec<&Descriptor> {
        let is_document = |kind: &str| media_type::is_manifest(kind) || media_type::is_index(kind);
        let mut suitable: Vec<(u32, &Descriptor)> = self
            .manifests
            .iter()
            .filter(|entry| is_document(&entry.media_type))
            .filter_map(|entry| match &entry.platform {
                Some(platform) => Some((wanted.preference(platform)?, entry)),
                None => Some((0, entry)),
            })
            .collect();
        suitable.sort_by_key(|(preference, _)| std::cmp::Reverse(*preference));
        suitable.into_iter().map(|(_, entry)| entry).collect()
    }

    /// What suits `wanted` best. If that is an index, [`Descent`] leads on.
    ///
    /// # Errors
    /// [`Error::NoSuchPlatform`], naming what there is.
    pub fn select(&self, wanted: &Platform) -> Result<Descriptor, Error> {
        let mut way = Descent::to(wanted);
        way.enter(self)?;
        way.next()
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
        refuse_ambiguous(&kind, bytes)?;
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

/// Refuses what one reader takes for a manifest and another for an index: what was examined would not be what runs
/// (CVE-2021-41190). Names of fields are compared as Go does, without regard to case.
fn refuse_ambiguous(kind: &str, bytes: &[u8]) -> Result<(), Error> {
    let is_index = media_type::is_index(kind);
    let (what, other, foreign) = match is_index {
        true => ("the image index", "a manifest", &["config", "layers", "fsLayers"][..]),
        false => ("the image manifest", "an index", &["manifests", "fsLayers"][..]),
    };
    let invalid = |rule: String| Error::Document {
        what,
        reason: format!("`{}` {rule}; {REMEDY}", Digest::of(bytes)),
    };
    // What is no JSON is refused with its place by whoever reads the fields.
    let Ok(document) = serde_json::from_slice::<serde_json::Value>(bytes) else {
        return Ok(());
    };
    let Some(fields) = document.as_object() else {
        return Err(invalid("is no JSON object".to_owned()));
    };
    let is_foreign = |name: &&String| foreign.iter().any(|field| name.eq_ignore_ascii_case(field));
    if let Some(field) = fields.keys().find(is_foreign) {
        return Err(invalid(format!(
            "has the field `{field}`, so that others take it for {other}, or for both"
        )));
    }
    let stated = fields.get("mediaType").and_then(serde_json::Value::as_str);
    let is_other = |stated: &&str| match is_index {
        true => media_type::is_manifest(stated),
        false => media_type::is_index(stated),
    };
    if let Some(stated) = stated.filter(is_other) {
        return Err(invalid(format!("was given as `{kind}` and says that it is `{stated}`")));
    }
    match fields.get("schemaVersion") {
        // Without one it is refused as incomplete.
        Some(version) if version.as_u64() != Some(2) => {
            Err(invalid(format!("has `schemaVersion` {version}, where only 2 is known")))
        }
        _ => Ok(()),
    }
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
            entry("linux/amd64")
        );
        assert_eq!(
            index.select(&"linux/arm/v7".parse().unwrap()).unwrap(),
            entry("linux/arm/v7")
        );
        let error = index.select(&"linux/s390x".parse().unwrap()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "no manifest for platform `linux/s390x`; there are: linux/arm/v6, linux/arm/v7, linux/amd64"
        );
    }

    #[test]
    fn what_others_would_read_otherwise_is_refused() {
        let one = |config: &str| {
            format!(
                "{{\"mediaType\":\"{config}\",\"digest\":\"sha256:{}\",\"size\":1}}",
                "0".repeat(64)
            )
        };
        let manifest = |more: &str| {
            let config = one(media_type::CONFIG);
            format!("{{\"schemaVersion\":2,\"config\":{config},\"layers\":[]{more}}}")
        };
        let index = |more: &str| {
            let entry = one(media_type::MANIFEST);
            format!("{{\"schemaVersion\":2,\"manifests\":[{entry}]{more}}}")
        };
        let stating = |kind: &str| format!(",\"mediaType\":\"{kind}\"");
        let (m, i) = (media_type::MANIFEST, media_type::INDEX);
        for (claimed, text, rule) in [
            (m, manifest(",\"manifests\":[]"), "the field `manifests`"),
            (m, manifest(",\"Manifests\":[]"), "the field `Manifests`"),
            (m, manifest(",\"manifests\":null"), "the field `manifests`"),
            (m, manifest(",\"fsLayers\":[]"), "the field `fsLayers`"),
            (
                m,
                manifest(&stating(i)),
                "says that it is `application/vnd.oci.image.index.v1+json`",
            ),
            (m, manifest(&stating(media_type::DOCKER_INDEX)), "says that it is"),
            (i, index(",\"layers\":[]"), "the field `layers`"),
            (i, index(",\"config\":{}"), "the field `config`"),
            (i, index(&stating(media_type::DOCKER_MANIFEST)), "says that it is"),
            ("text/plain", index(",\"layers\":[]"), "the field `layers`"),
            ("", manifest(&stating(i)), "the field `config`"),
            (m, manifest("").replace(":2,", ":1,"), "`schemaVersion` 1"),
            (i, index("").replace(":2,", ":\"2\","), "`schemaVersion` \"2\""),
            (m, format!("[2,null,{},[]]", one("x")), "no JSON object"),
        ] {
            let said = ManifestKind::parse(claimed, text.as_bytes()).unwrap_err().to_string();
            let digest = Digest::of(text.as_bytes()).to_string();
            assert!(said.contains(rule) && said.contains(&digest), "{text}: {said}");
        }
        for (claimed, text) in [
            (m, manifest("")),
            (m, manifest(&stating(media_type::DOCKER_MANIFEST))),
            (m, manifest(",\"subject\":null,\"artifactType\":\"x\"")),
            (i, index(&stating(media_type::DOCKER_INDEX))),
            ("", index("")),
        ] {
            ManifestKind::parse(claimed, text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"));
        }
    }

    #[test]
    fn a_configuration_is_that_of_its_manifest() {
        let layer = Descriptor::of(media_type::LAYER, b"x");
        let diff_id = || crate::DiffId(Digest::of(b"x"));
        for (layers, named, larger, expected) in [
            (0, 0, 0, None),
            (2, 2, 0, None),
            (
                1,
                0,
                0,
                Some("names 0 layers in `rootfs.diff_ids`, and its manifest has 1"),
            ),
            (1, 3, 0, Some("names 3 layers")),
            (0, 1, 0, Some("names 1 layers")),
            (1, 1, 1, Some("bytes, and it has")),
        ] {
            let mut config = ImageConfig::scratch(&"linux/amd64".parse().unwrap());
            config.rootfs.diff_ids = (0..named).map(|_| diff_id()).collect();
            let bytes = config.to_bytes();
            let mut descriptor = Descriptor::of(media_type::CONFIG, &bytes);
            descriptor.size += larger;
            let manifest = Manifest::new(media_type::MANIFEST, descriptor, vec![layer.clone(); layers]);
            let said = manifest.configuration(&bytes).err().map(|error| error.to_string());
            match expected {
                None => assert_eq!(said, None),
                Some(rule) => {
                    let said = said.unwrap();
                    assert!(
                        said.contains(rule) && said.contains(&Digest::of(&bytes).to_string()),
                        "{said}"
                    );
                }
            }
        }
    }

    #[test]
    fn anything_else_is_refused_by_its_type() {
        let error = ManifestKind::parse("application/vnd.docker.distribution.manifest.v1+json", b"{}").unwrap_err();
        assert!(error.to_string().contains("manifest.v1"), "{error}");
    }
}
