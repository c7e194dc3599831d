//! The document that lists recorded results: which layers there are, and which stack of them each key leads to.
//!
//! ```text
//! {"keys":    "rbuild",
//!  "layers":  [{"blob": digest, "parent": index or -1, "annotations": {"mediaType", "size", "diffID"}}, …],
//!  "records": [{"digest": key, "aliases": [key, …], "layers": [{"layer": index, "createdAt": time}],
//!               "step": text, "inputs": [[name, fingerprint], …]}, …]}
//! ```
//!
//! The form is that of BuildKit's cache manifests, type [`CONFIG_TYPE`], so that registries and tools that know it treat
//! it well; `keys`, `aliases`, `step` and `inputs` are our own. The keys are not BuildKit's: each of the two finds nothing
//! in the other's, and records of a document without our mark are none of ours. `createdAt` is when the result was last of
//! use, in documents that are joined from those of many builds.
//!
//! What is read is foreign: places that lead nowhere or in circles are refused.

use std::collections::{BTreeMap, HashMap, HashSet};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use cache::CacheKey;
use jiff::Timestamp;
use oci::{Descriptor, DiffId, Digest};
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::records::{Listed, Origin, StackLayer};

/// The media type of the document, as the configuration of a manifest.
pub const CONFIG_TYPE: &str = "application/vnd.buildkit.cacheconfig.v0";

/// No stack is higher, in whatever is read.
const HIGHEST_STACK: usize = 4096;

/// So many layers are listed at most, those of all stacks together: a document of the largest size may name the highest
/// stack again and again, which would be gigabytes.
const MOST_LISTED: usize = 1 << 18;

/// Two names of 127 letters, and the slash between them.
const LONGEST_MEDIA_TYPE: usize = 255;

/// Whose keys they are.
const OURS: &str = "rbuild";

/// Recorded results: stacks of layers by key.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Document {
    #[serde(default)]
    keys: String,
    #[serde(default)]
    layers: Vec<LayerEntry>,
    #[serde(default)]
    records: Vec<RecordEntry>,
}

#[derive(Debug, Serialize, Deserialize)]
struct LayerEntry {
    blob: Digest,
    #[serde(default)]
    parent: i64,
    annotations: Annotations,
}

impl LayerEntry {
    /// The place of the layer it lies on.
    fn below(&self) -> Option<usize> {
        usize::try_from(self.parent).ok()
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Annotations {
    media_type: String,
    size: u64,
    #[serde(rename = "diffID")]
    diff_id: DiffId,
    /// As [`newest`] knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    created_at: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct RecordEntry {
    digest: Digest,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    aliases: Vec<Digest>,
    #[serde(default)]
    layers: Vec<Top>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    step: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    inputs: Vec<(String, String)>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Top {
    layer: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    created_at: Option<String>,
}

/// Where descriptors tell the newest time in a layer. It is not told in images.
const CREATED_AT: &str = "buildkit/createdat";

/// The newest modification time in a layer, in Unix seconds, if whoever wrote the document said so.
#[must_use]
pub fn newest(layer: &Descriptor) -> Option<i64> {
    let time: Timestamp = layer.annotations.get(CREATED_AT)?.parse().ok()?;
    Some(time.as_second())
}

/// The same descriptor with the newest time in the layer.
pub(super) fn dated(layer: Descriptor, newest: i64) -> Descriptor {
    let mut layer = layer;
    // What is before 1970 or after all calendars is not told.
    if let Ok(time) = Timestamp::from_second(newest) {
        layer.annotations.insert(CREATED_AT.to_owned(), time.to_string());
    }
    layer
}

impl Document {
    /// The document of `results`.
    #[must_use]
    pub fn of(results: &[Listed]) -> Document {
        let mut collector = Collector::default();
        results.iter().for_each(|result| collector.add(result));
        collector.finish()
    }

    /// Reads a document; one of another builder's keys is as good as an empty one.
    ///
    /// # Errors
    /// [`Error::Records`] if it is none, or its layers do not lie on one another.
    pub fn parse(bytes: &[u8]) -> Result<Document, Error> {
        let document: Document =
            serde_json::from_slice(bytes).map_err(|error| Error::Records(format!("it is not valid: {error}")))?;
        if document.keys != OURS {
            return Ok(Document::default());
        }
        let missing = |place: &usize| document.layers.get(*place).is_none();
        let below = document.layers.iter().filter_map(LayerEntry::below);
        if let Some(place) = document.tops().chain(below).find(missing) {
            return Err(Error::Records(format!("it has no layer {place}")));
        }
        let too_long = |layer: &LayerEntry| layer.annotations.media_type.len() > LONGEST_MEDIA_TYPE;
        if let Some(place) = document.layers.iter().position(too_long) {
            return Err(Error::Records(format!("layer {place} has a media type that is none")));
        }
        document.refuse_circles()?;
        Ok(document)
    }

    /// The document's bytes: equal records give equal bytes, in whatever order they were added.
    ///
    /// # Panics
    /// Never: all keys are strings.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("the document has only string keys")
    }

    /// Reads a document from where an image configuration keeps it.
    ///
    /// # Errors
    /// As [`Document::parse`], and if it is not base64.
    pub fn parse_inline(text: &str) -> Result<Document, Error> {
        let bytes = BASE64.decode(text);
        Document::parse(&bytes.map_err(|error| Error::Records(format!("it is not base64: {error}")))?)
    }

    /// The document as an image configuration keeps it.
    #[must_use]
    pub fn to_inline(&self) -> String {
        BASE64.encode(self.to_bytes())
    }

    /// Every record with a result.
    ///
    /// # Errors
    /// As [`Document::parse`].
    pub fn results(&self) -> Result<Vec<Listed>, Error> {
        let mut results = Vec::new();
        let mut listed = 0;
        for record in &self.records {
            let Some(top) = record.layers.first() else { continue };
            let stack = self.stack_to(top.layer)?;
            listed += stack.len();
            if listed > MOST_LISTED {
                return Err(Error::Records(format!(
                    "its stacks have more than {MOST_LISTED} layers together"
                )));
            }
            let keys = std::iter::once(&record.digest).chain(&record.aliases);
            results.push(Listed {
                keys: keys.map(|key| CacheKey(*key)).collect(),
                stack,
                used: top.created_at.as_deref().and_then(seconds),
                origin: (!record.step.is_empty()).then(|| Origin {
                    step: record.step.clone(),
                    inputs: record.inputs.clone(),
                }),
            });
        }
        Ok(results)
    }

    /// The blobs of all layers, each once.
    pub(super) fn blobs(&self) -> Vec<Descriptor> {
        let mut blobs: Vec<Descriptor> = Vec::new();
        let mut seen = HashSet::new();
        for layer in &self.layers {
            if seen.insert(layer.blob) {
                let Annotations { media_type, size, .. } = &layer.annotations;
                blobs.push(Descriptor::new(media_type, layer.blob, *size));
            }
        }
        blobs
    }

    fn tops(&self) -> impl Iterator<Item = usize> {
        self.records
            .iter()
            .flat_map(|record| record.layers.iter().map(|top| top.layer))
    }

    /// Follows every layer down to the ground, or to one from which the ground was reached before.
    fn refuse_circles(&self) -> Result<(), Error> {
        let mut grounded = vec![false; self.layers.len()];
        for start in 0..self.layers.len() {
            let mut way = Vec::new();
            let mut next = Some(start);
            while let Some(place) = next.filter(|place| !grounded[*place]) {
                if way.len() == self.layers.len() {
                    return Err(Error::Records(format!("the stack of layer {start} does not end")));
                }
                way.push(place);
                next = self.layers[place].below();
            }
            way.into_iter().for_each(|place| grounded[place] = true);
        }
        Ok(())
    }

    fn stack_to(&self, top: usize) -> Result<Vec<StackLayer>, Error> {
        let mut stack = Vec::new();
        let mut next = Some(top);
        while let Some(index) = next {
            let layer = self
                .layers
                .get(index)
                .ok_or_else(|| Error::Records(format!("it has no layer {index}")))?;
            if stack.len() == HIGHEST_STACK {
                return Err(Error::Records(format!(
                    "the stack of layer {top} is higher than {HIGHEST_STACK}"
                )));
            }
            let Annotations { media_type, size, .. } = &layer.annotations;
            let mut descriptor = Descriptor::new(media_type, layer.blob, *size);
            let created_at = layer.annotations.created_at.iter();
            descriptor
                .annotations
                .extend(created_at.map(|time| (CREATED_AT.to_owned(), time.clone())));
            stack.push((descriptor, layer.annotations.diff_id));
            next = layer.below();
        }
        stack.reverse();
        Ok(stack)
    }
}

/// Collects records for a [`Document`].
#[derive(Debug, Default)]
struct Collector {
    layers: Vec<LayerEntry>,
    /// The place of each layer, by the place it lies on and its blob.
    places: HashMap<(i64, Digest), usize>,
    records: BTreeMap<Digest, RecordEntry>,
}

impl Collector {
    fn add(&mut self, result: &Listed) {
        let mut below = -1;
        for (descriptor, diff_id) in &result.stack {
            let place = *self.places.entry((below, descriptor.digest)).or_insert_with(|| {
                self.layers.push(LayerEntry {
                    blob: descriptor.digest,
                    parent: below,
                    annotations: Annotations {
                        media_type: descriptor.media_type.clone(),
                        size: descriptor.size,
                        diff_id: *diff_id,
                        created_at: descriptor.annotations.get(CREATED_AT).cloned(),
                    },
                });
                self.layers.len() - 1
            });
            below = i64::try_from(place).expect("fewer layers than that");
        }
        let (Some((key, aliases)), Ok(layer)) = (result.keys.split_first(), usize::try_from(below)) else {
            return;
        };
        let origin = result.origin.clone().unwrap_or_default();
        self.records.insert(
            key.0,
            RecordEntry {
                digest: key.0,
                aliases: aliases.iter().map(|alias| alias.0).collect(),
                layers: vec![Top {
                    layer,
                    created_at: result.used.and_then(time),
                }],
                step: origin.step,
                inputs: origin.inputs,
            },
        );
    }

    fn finish(self) -> Document {
        Document {
            keys: OURS.to_owned(),
            layers: self.layers,
            records: self.records.into_values().collect(),
        }
    }
}

/// A time as BuildKit writes it.
fn time(seconds: i64) -> Option<String> {
    Some(Timestamp::from_second(seconds).ok()?.to_string())
}

fn seconds(time: &str) -> Option<i64> {
    time.parse::<Timestamp>().ok().map(Timestamp::as_second)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> CacheKey {
        CacheKey(Digest::of(name.as_bytes()))
    }

    fn layer(name: &str) -> StackLayer {
        let blob = Descriptor::of(oci::media_type::LAYER_GZIP, name.as_bytes());
        (blob, DiffId(Digest::of(format!("{name} unpacked").as_bytes())))
    }

    #[test]
    fn stacks_with_the_same_beginning_share_it() {
        let listed = |keys: &[&str], layers: &[&str]| Listed {
            keys: keys.iter().map(|name| key(name)).collect(),
            stack: layers.iter().map(|name| layer(name)).collect(),
            used: Some(1_700_000_000),
            origin: Some(Origin {
                step: "RUN make".to_owned(),
                inputs: vec![("file a".to_owned(), "1".to_owned())],
            }),
        };
        let both = [listed(&["one"], &["a", "b"]), listed(&["two", "quick"], &["a", "c"])];
        let bytes = Document::of(&both).to_bytes();
        let document = Document::parse(&bytes).unwrap();
        assert_eq!(Document::parse_inline(&document.to_inline()).unwrap().to_bytes(), bytes);
        assert_eq!(document.layers.len(), 3);
        let mut results = document.results().unwrap();
        results.sort_by_key(|listed| listed.keys.len());
        assert_eq!(results, both);
    }

    #[test]
    fn a_small_document_lists_no_gigabytes() {
        let digest = Digest::of(b"x");
        let layer = |place: i64, media_type: &str| {
            let below = place - 1;
            format!(
                r#"{{"blob":"{digest}","parent":{below},"annotations":{{"mediaType":"{media_type}","size":1,"diffID":"{digest}"}}}}"#
            )
        };
        let record = format!(r#"{{"digest":"{digest}","layers":[{{"layer":4095}}]}}"#);
        let layers: Vec<String> = (0..4096).map(|place| layer(place, "t")).collect();
        let of = |records: usize| {
            let text = format!(
                r#"{{"keys":"rbuild","layers":[{}],"records":[{}]}}"#,
                layers.join(","),
                vec![record.as_str(); records].join(",")
            );
            Document::parse(text.as_bytes())
                .unwrap()
                .results()
                .map(|results| results.len())
        };
        assert_eq!(of(64).unwrap(), 64);
        let error = of(65).unwrap_err().to_string();
        assert!(error.contains("262144 layers"), "{error}");
        let text = format!(r#"{{"keys":"rbuild","layers":[{}]}}"#, layer(0, &"t".repeat(256)));
        let error = Document::parse(text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains("layer 0"), "{error}");
    }

    #[test]
    fn layers_that_lie_nowhere_are_refused() {
        let digest = Digest::of(b"x");
        let entry = |parent| {
            format!(
                r#"{{"blob":"{digest}","parent":{parent},"annotations":{{"mediaType":"t","size":1,"diffID":"{digest}"}}}}"#
            )
        };
        for text in [
            format!(r#"{{"keys":"rbuild","layers":[{}]}}"#, entry(0)),
            format!(r#"{{"keys":"rbuild","layers":[{},{}]}}"#, entry(1), entry(0)),
            format!(r#"{{"keys":"rbuild","layers":[{}]}}"#, entry(7)),
            format!(r#"{{"keys":"rbuild","records":[{{"digest":"{digest}","layers":[{{"layer":3}}]}}]}}"#),
            "[3]".to_owned(),
            "{".to_owned(),
        ] {
            assert!(
                matches!(Document::parse(text.as_bytes()), Err(Error::Records(_))),
                "{text}"
            );
        }
        assert!(Document::parse(b"{}").unwrap().results().unwrap().is_empty());
        let of_others = format!(
            r#"{{"layers":[{}],"records":[{{"digest":"{digest}","layers":[{{"layer":0}}]}}]}}"#,
            entry(-1)
        );
        let of_others = Document::parse(of_others.as_bytes()).unwrap();
        assert!(
            of_others.results().unwrap().is_empty(),
            "keys of another builder mean nothing here"
        );
    }
}
