//! The document that lists recorded results: which layers there are, and which stack of them each key leads to.
//!
//! ```text
//! {"keys":    "rbuild",
//!  "layers":  [{"blob": digest, "parent": index or -1, "annotations": {"mediaType", "size", "diffID"}}, …],
//!  "steps":   [text, …],
//!  "names":   [text, …],
//!  "records": [{"digest": key, "aliases": [key, …], "layers": [{"layer": index, "createdAt": time}],
//!               "origin": {"step": index, "names": [first, last, …], "prints": text}}, …]}
//! ```
//!
//! The form is that of BuildKit's cache manifests, type [`CONFIG_TYPE`], so that registries and tools that know it treat
//! it well; `keys`, `steps`, `names`, `aliases` and `origin` are our own. The keys are not BuildKit's: each of the two finds
//! nothing in the other's, and records of a document without our mark are none of ours. `createdAt` is when the result was
//! last of use, in documents that are joined from those of many builds. A layer without `mediaType` is a gzipped one.
//!
//! A document travels with every build, so nothing is in it twice: [`super::tables`] has what is told of origins. The former
//! form, with `step` and `inputs` written out in each record, is read and not written: its `inputs` are not what BuildKit
//! calls so.
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
use crate::records::tables::{OriginEntry, Tables, Teller};
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
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    steps: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    names: Vec<String>,
    #[serde(default)]
    records: Vec<RecordEntry>,
}

/// As much of a document as tells whose it is.
#[derive(Debug, Deserialize)]
struct Mark {
    #[serde(default)]
    keys: String,
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
    #[serde(default = "gzipped", skip_serializing_if = "is_gzipped")]
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    origin: Option<OriginEntry>,
    /// In the former form.
    #[serde(default, skip_serializing)]
    step: String,
    /// In the former form.
    #[serde(default, skip_serializing)]
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
        let invalid = |error: serde_json::Error| Error::Records(format!("it is not valid: {error}"));
        // What others mean by our names is not looked at.
        let mark: Mark = serde_json::from_slice(bytes).map_err(invalid)?;
        if mark.keys != OURS {
            return Ok(Document::default());
        }
        let document: Document = serde_json::from_slice(bytes).map_err(invalid)?;
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
        document.renewed()
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
        let mut teller = Teller::new(&self.steps, &self.names);
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
                origin: match &record.origin {
                    Some(entry) => Some(teller.origin(entry)?),
                    None => None,
                },
            });
        }
        Ok(results)
    }

    /// The same document, with what records tell in the former form in the present one.
    fn renewed(mut self) -> Result<Document, Error> {
        if self.records.iter().all(|record| record.step.is_empty()) {
            return Ok(self);
        }
        let mut teller = Teller::new(&self.steps, &self.names);
        let mut origins = Vec::new();
        for record in &self.records {
            origins.push(match &record.origin {
                Some(entry) => Some(teller.origin(entry)?),
                None => teller.former(&record.step, &record.inputs)?,
            });
        }
        let tables = Tables::of(origins.iter().flatten());
        for (record, origin) in self.records.iter_mut().zip(&origins) {
            record.origin = origin.as_ref().map(|origin| tables.entry(origin));
            record.step.clear();
            record.inputs.clear();
        }
        (self.steps, self.names) = (tables.steps, tables.names);
        Ok(self)
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
struct Collector<'a> {
    layers: Vec<LayerEntry>,
    /// The place of each layer, by the place it lies on and its blob.
    places: HashMap<(i64, Digest), usize>,
    records: BTreeMap<Digest, (RecordEntry, Option<&'a Origin>)>,
}

impl<'a> Collector<'a> {
    fn add(&mut self, result: &'a Listed) {
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
        let entry = RecordEntry {
            digest: key.0,
            aliases: aliases.iter().map(|alias| alias.0).collect(),
            layers: vec![Top {
                layer,
                created_at: result.used.and_then(time),
            }],
            origin: None,
            step: String::new(),
            inputs: Vec::new(),
        };
        self.records.insert(key.0, (entry, result.origin.as_ref()));
    }

    fn finish(self) -> Document {
        let origins = self.records.values().filter_map(|(_, origin)| *origin);
        let tables = Tables::of(origins);
        let record = |(entry, origin): (RecordEntry, Option<&Origin>)| RecordEntry {
            origin: origin.map(|origin| tables.entry(origin)),
            ..entry
        };
        let records = self.records.into_values().map(record).collect();
        Document {
            keys: OURS.to_owned(),
            layers: self.layers,
            steps: tables.steps,
            names: tables.names,
            records,
        }
    }
}

/// The media type of a layer of which none is told.
fn gzipped() -> String {
    oci::media_type::LAYER_GZIP.to_owned()
}

fn is_gzipped(media_type: &str) -> bool {
    media_type == oci::media_type::LAYER_GZIP
}

/// A time as BuildKit writes it.
fn time(seconds: i64) -> Option<String> {
    Some(Timestamp::from_second(seconds).ok()?.to_string())
}

fn seconds(time: &str) -> Option<i64> {
    time.parse::<Timestamp>().ok().map(Timestamp::as_second)
}

#[cfg(test)]
mod tests;
