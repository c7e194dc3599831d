//! The document that lists recorded results: which layers there are, and which stack of them each key leads to.
//!
//! ```text
//! {"layers":  [{"blob": digest, "parent": index or -1, "annotations": {"mediaType", "size", "diffID"}}, …],
//!  "records": [{"digest": key, "aliases": [key, …], "layers": [{"layer": index}]}, …]}
//! ```
//!
//! The form is that of BuildKit's cache manifests, type [`CONFIG_TYPE`], so that registries and tools that know it treat
//! it well; `aliases` is our own. The keys are not BuildKit's: each of the two finds nothing in the other's.
//!
//! What is read is foreign: places that lead nowhere or in circles are refused.

use std::collections::{BTreeMap, HashMap};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use cache::CacheKey;
use oci::{Descriptor, DiffId, Digest};
use serde::{Deserialize, Serialize};

use crate::Error;

/// The media type of the document, as the configuration of a manifest.
pub const CONFIG_TYPE: &str = "application/vnd.buildkit.cacheconfig.v0";

/// No stack is higher, in whatever is read.
const HIGHEST_STACK: usize = 4096;

/// Recorded results: stacks of layers by key.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Document {
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
}

#[derive(Debug, Serialize, Deserialize)]
struct RecordEntry {
    digest: Digest,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    aliases: Vec<Digest>,
    #[serde(default)]
    layers: Vec<Top>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Top {
    layer: usize,
}

/// One recorded result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The keys that lead to it, the one it was made under first.
    pub keys: Vec<CacheKey>,
    /// Its layers, lowest first.
    pub stack: Vec<StackLayer>,
}

/// A layer of a stack: its blob, and what that is without compression.
pub type StackLayer = (Descriptor, DiffId);

impl Document {
    /// Reads a document.
    ///
    /// # Errors
    /// [`Error::Records`] if it is none, or its layers do not lie on one another.
    pub fn parse(bytes: &[u8]) -> Result<Document, Error> {
        let document: Document =
            serde_json::from_slice(bytes).map_err(|error| Error::Records(format!("it is not valid: {error}")))?;
        let missing = |place: &usize| document.layers.get(*place).is_none();
        let below = document.layers.iter().filter_map(LayerEntry::below);
        if let Some(place) = document.tops().chain(below).find(missing) {
            return Err(Error::Records(format!("it has no layer {place}")));
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
        for record in &self.records {
            let Some(top) = record.layers.first() else { continue };
            let keys = std::iter::once(&record.digest).chain(&record.aliases);
            results.push(Listed {
                keys: keys.map(|key| CacheKey(*key)).collect(),
                stack: self.stack_to(top.layer)?,
            });
        }
        Ok(results)
    }

    /// The blobs of all layers, each once.
    pub(super) fn blobs(&self) -> Vec<Descriptor> {
        let mut blobs: Vec<Descriptor> = Vec::new();
        for layer in &self.layers {
            if blobs.iter().all(|blob| blob.digest != layer.blob) {
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
            let Annotations {
                media_type,
                size,
                diff_id,
            } = &layer.annotations;
            stack.push((Descriptor::new(media_type, layer.blob, *size), *diff_id));
            next = layer.below();
        }
        stack.reverse();
        Ok(stack)
    }
}

/// Collects records for a [`Document`].
#[derive(Debug, Default)]
pub(super) struct Collector {
    layers: Vec<LayerEntry>,
    /// The place of each layer, by the place it lies on and its blob.
    places: HashMap<(i64, Digest), usize>,
    records: BTreeMap<Digest, RecordEntry>,
}

impl Collector {
    /// Adds a result that `keys` lead to, the first of them being the one it was made under.
    pub(super) fn add(&mut self, keys: &[CacheKey], stack: &[StackLayer]) {
        let mut below = -1;
        for (descriptor, diff_id) in stack {
            let place = *self.places.entry((below, descriptor.digest)).or_insert_with(|| {
                self.layers.push(LayerEntry {
                    blob: descriptor.digest,
                    parent: below,
                    annotations: Annotations {
                        media_type: descriptor.media_type.clone(),
                        size: descriptor.size,
                        diff_id: *diff_id,
                    },
                });
                self.layers.len() - 1
            });
            below = i64::try_from(place).expect("fewer layers than that");
        }
        let (Some((key, aliases)), Ok(top)) = (keys.split_first(), usize::try_from(below)) else {
            return;
        };
        self.records.insert(
            key.0,
            RecordEntry {
                digest: key.0,
                aliases: aliases.iter().map(|alias| alias.0).collect(),
                layers: vec![Top { layer: top }],
            },
        );
    }

    pub(super) fn finish(self) -> Document {
        Document {
            layers: self.layers,
            records: self.records.into_values().collect(),
        }
    }
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
        let mut collector = Collector::default();
        collector.add(&[key("one")], &[layer("a"), layer("b")]);
        collector.add(&[key("two"), key("quick")], &[layer("a"), layer("c")]);
        let bytes = collector.finish().to_bytes();
        let document = Document::parse(&bytes).unwrap();
        assert_eq!(Document::parse_inline(&document.to_inline()).unwrap().to_bytes(), bytes);
        assert_eq!(document.layers.len(), 3);
        let mut results = document.results().unwrap();
        results.sort_by_key(|listed| listed.keys.len());
        assert_eq!(results[0].keys, [key("one")]);
        assert_eq!(results[0].stack, [layer("a"), layer("b")]);
        assert_eq!(results[1].keys, [key("two"), key("quick")]);
        assert_eq!(results[1].stack, [layer("a"), layer("c")]);
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
            format!(r#"{{"layers":[{}]}}"#, entry(0)),
            format!(r#"{{"layers":[{},{}]}}"#, entry(1), entry(0)),
            format!(r#"{{"layers":[{}]}}"#, entry(7)),
            format!(r#"{{"records":[{{"digest":"{digest}","layers":[{{"layer":3}}]}}]}}"#),
            "[3]".to_owned(),
            "{".to_owned(),
        ] {
            assert!(
                matches!(Document::parse(text.as_bytes()), Err(Error::Records(_))),
                "{text}"
            );
        }
        assert!(Document::parse(b"{}").unwrap().results().unwrap().is_empty());
    }
}
