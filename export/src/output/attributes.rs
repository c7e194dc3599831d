//! The `key=value` fields of an output, taken one by one; what no one took is refused.

use std::collections::BTreeMap;

use cache::Compression;
use oci::Reference;

use crate::error::NameError;
use crate::output::Epoch;
use crate::{Annotation, Annotations, OutputError, Stale};

const IMAGE_KEYS: [&str; 9] = [
    "name",
    "compression",
    "compression-level",
    "force-compression",
    "oci-mediatypes",
    "oci-artifact",
    "rewrite-timestamp",
    "source-date-epoch",
    "annotation",
];

/// What BuildKit has and rbuild has not: of which types, and the value that asks for what is done anyway.
const UNSUPPORTED: [(&str, &[&str], Option<&str>); 8] = [
    (
        "attestation-inline",
        &["image", "registry", "oci", "docker"],
        Some("false"),
    ),
    (
        "prefer-nondist-layers",
        &["image", "registry", "oci", "docker"],
        Some("false"),
    ),
    ("dangling-name-prefix", &["image", "registry"], None),
    ("danging-name-empty-only", &["image", "registry"], Some("false")),
    ("prefer-image-digest", &["image", "registry"], Some("false")),
    ("prefer-image-config", &["image", "registry"], Some("false")),
    ("context", &["docker"], None),
    ("attestation-prefix", &["local", "tar"], None),
];

/// The fields of one output that are still to be looked at. Keys are in lower case, but for the names of annotations.
pub(super) struct Attributes(BTreeMap<String, String>);

impl Attributes {
    pub(super) fn read(fields: &[String]) -> Result<Attributes, OutputError> {
        let mut attributes = BTreeMap::new();
        for field in fields {
            let (key, value) = field.split_once('=').ok_or_else(|| OutputError::Field(field.clone()))?;
            let key = normalized(key.trim());
            if attributes.insert(key.clone(), value.to_owned()).is_some() {
                return Err(OutputError::Twice(key));
            }
        }
        Ok(Attributes(attributes))
    }

    pub(super) fn take(&mut self, key: &str) -> Option<String> {
        self.0.remove(key)
    }

    /// The destination; an empty one is none.
    pub(super) fn take_dest(&mut self) -> Option<String> {
        self.take("dest").filter(|dest| !dest.is_empty())
    }

    /// As Go reads truth values; a key with nothing after `=` is true.
    pub(super) fn take_bool(&mut self, key: &str, default: bool) -> Result<bool, OutputError> {
        match self.take(key) {
            None => Ok(default),
            Some(value) => boolean(&value).ok_or_else(|| invalid(key, value, "`true` or `false`")),
        }
    }

    /// An empty one is none, whatever the build has.
    pub(super) fn take_epoch(&mut self) -> Result<Epoch, OutputError> {
        const KEY: &str = "source-date-epoch";
        match self.take(KEY) {
            None => Ok(Epoch::OfBuild),
            Some(value) if value.is_empty() => Ok(Epoch::Own(None)),
            Some(value) => match value.parse::<i64>() {
                Ok(seconds) if seconds >= 0 => Ok(Epoch::Own(Some(seconds))),
                _ => Err(invalid(KEY, value, "seconds since 1970")),
            },
        }
    }

    pub(super) fn take_names(&mut self) -> Result<Vec<Reference>, OutputError> {
        let names = self.take("name").unwrap_or_default();
        if names == "*" {
            return Err(OutputError::Unsupported("name=*".to_owned()));
        }
        let words = names.split(',').map(str::trim).filter(|name| !name.is_empty());
        words
            .map(|name| {
                name.parse::<Reference>()
                    .map_err(|error| OutputError::Name(NameError(error.to_string())))
            })
            .collect()
    }

    pub(super) fn take_compression(&mut self) -> Result<Option<Compression>, OutputError> {
        let (name, level) = (self.take("compression"), self.take(LEVEL));
        compression(name.as_deref(), level)
    }

    pub(super) fn take_annotations(&mut self) -> Result<Annotations, OutputError> {
        let mut annotations = Annotations::default();
        for (key, value) in self.0.extract_if(.., |key, _| key.starts_with("annotation")) {
            let (kind, name) = key
                .split_once('.')
                .filter(|(_, name)| !name.is_empty())
                .ok_or_else(|| OutputError::Field(format!("{key}={value}")))?;
            let (target, platform) = Annotation::target_of_output(&kind["annotation".len()..])?;
            annotations.0.push(Annotation {
                target,
                platform,
                key: name.to_owned(),
                value,
            });
        }
        Ok(annotations)
    }

    pub(super) fn take_split(&mut self) -> Result<Option<bool>, OutputError> {
        const KEY: &str = "platform-split";
        let value = self.take(KEY);
        let parse = |value: String| boolean(&value).ok_or_else(|| invalid(KEY, value, "`true` or `false`"));
        value.map(parse).transpose()
    }

    /// `mode` of a directory.
    pub(super) fn take_stale(&mut self) -> Result<Stale, OutputError> {
        match self.take("mode").as_deref() {
            None | Some("copy") => Ok(Stale::Kept),
            Some("delete") => Ok(Stale::Deleted),
            Some(other) => Err(invalid("mode", other.to_owned(), "`copy` or `delete`")),
        }
    }

    /// Refuses what is left.
    pub(super) fn finish(mut self, output: &'static str) -> Result<(), OutputError> {
        for (key, outputs, harmless) in UNSUPPORTED {
            if !outputs.contains(&output) {
                continue;
            }
            match self.take(key) {
                Some(value) if !is_harmless(&value, harmless) => {
                    return Err(OutputError::Unsupported(format!("{key}={value}")));
                }
                _ => {}
            }
        }
        match self.0.into_keys().next() {
            None => Ok(()),
            Some(key) => Err(OutputError::UnknownKey {
                suggestion: crate::csv::nearest(&key, &keys_of(output)),
                key,
                output,
            }),
        }
    }
}

fn is_harmless(value: &str, harmless: Option<&str>) -> bool {
    match harmless {
        Some("false") => boolean(value) == Some(false),
        Some(word) => value == word,
        None => false,
    }
}

/// Lower case; but an annotation is named as its maker named it.
fn normalized(key: &str) -> String {
    let lower = key.to_ascii_lowercase();
    match (lower.starts_with("annotation"), key.split_once('.')) {
        (true, Some((kind, name))) => format!("{}.{name}", kind.to_ascii_lowercase()),
        _ => lower,
    }
}

fn boolean(value: &str) -> Option<bool> {
    match value {
        "" | "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

const LEVEL: &str = "compression-level";

/// The compression of this name and level; `None` if neither is given.
///
/// # Errors
/// [`OutputError::Value`] for what is no name or no level, [`OutputError::Unsupported`].
pub fn compression(name: Option<&str>, level: Option<String>) -> Result<Option<Compression>, OutputError> {
    let number = |value: Option<String>, most: u32, expected| match value {
        None => Ok(None),
        Some(value) => match value.parse::<u32>() {
            Ok(level) if level <= most => Ok(Some(level)),
            _ => Err(invalid(LEVEL, value, expected)),
        },
    };
    match name {
        None if level.is_none() => Ok(None),
        None | Some("gzip") => Ok(Some(Compression::Gzip {
            level: number(level, 9, "a number from 0 to 9")?,
        })),
        Some("zstd") => Ok(Some(Compression::Zstd {
            level: number(level, 22, "a number from 0 to 22")?.map(u32::cast_signed),
        })),
        Some("uncompressed") => match level {
            None => Ok(Some(Compression::Uncompressed)),
            Some(level) => Err(invalid(LEVEL, level, "none with `compression=uncompressed`")),
        },
        Some("estargz") => Err(OutputError::Unsupported("compression=estargz".to_owned())),
        Some(other) => Err(invalid(
            "compression",
            other.to_owned(),
            "`gzip`, `zstd` or `uncompressed`",
        )),
    }
}

fn invalid(key: &str, value: String, expected: &'static str) -> OutputError {
    OutputError::Value {
        key: key.to_owned(),
        value,
        expected,
    }
}

fn keys_of(output: &str) -> Vec<&'static str> {
    let own: &[&'static str] = match output {
        "image" | "registry" => &[
            "name-canonical",
            "push",
            "push-by-digest",
            "registry.insecure",
            "store",
            "unpack",
        ],
        "oci" | "docker" => &["dest", "tar"],
        "local" => &["dest", "mode", "platform-split", "source-date-epoch"],
        "tar" => &["dest", "platform-split", "source-date-epoch"],
        _ => &[],
    };
    let common: &[&'static str] = match output {
        "image" | "registry" | "oci" | "docker" => &IMAGE_KEYS,
        _ => &[],
    };
    own.iter().chain(common).copied().collect()
}
