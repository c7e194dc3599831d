//! The texts after `--cache-to` and `--cache-from`: where recorded results go and come from.
//!
//! ```text
//! --cache-to   type=registry,ref=REF | type=local,dest=DIR[,tag=latest] | type=inline
//!              also: mode=min|max, compression, compression-level, force-compression, oci-mediatypes=true,
//!              image-manifest=true, ignore-error
//! --cache-from REF | type=registry,ref=REF | type=local,src=DIR[,tag=latest][,digest=DIGEST]
//! ```
//!
//! A bare reference is one in a registry. Types and keys that BuildKit has and rbuild has not are refused by name.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use cache::Compression;
use oci::{Digest, Reference};

/// Where recorded results go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheTo {
    /// The place.
    pub place: CachePlace,
    /// Which of them.
    pub mode: CacheMode,
    /// Of layers that have no blob yet.
    pub compression: Compression,
    /// Whether layers that have one of another compression are compressed anew.
    pub force_compression: bool,
    /// Whether the build succeeds although they cannot be written.
    pub ignore_error: bool,
}

/// Where recorded results are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CachePlace {
    /// Under a name in a registry.
    Registry(Reference),
    /// In an OCI layout.
    Local {
        /// Its directory.
        path: PathBuf,
        /// The name among several.
        tag: String,
        /// The very manifest, to read.
        digest: Option<Digest>,
    },
    /// In the configuration of the image itself.
    Inline,
}

impl fmt::Display for CachePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CachePlace::Registry(reference) => reference.fmt(f),
            CachePlace::Local { path, .. } => path.display().fmt(f),
            CachePlace::Inline => f.write_str("the image"),
        }
    }
}

/// Which results are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CacheMode {
    /// Those that the image is made of.
    #[default]
    Min,
    /// Those of all steps.
    Max,
}

/// What is wrong with the text.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}`: {reason}")]
pub struct CacheSpecError {
    text: String,
    reason: String,
}

impl CacheTo {
    /// Understands the text after `--cache-to`.
    ///
    /// # Errors
    /// For what is not of the grammar, not known, or not supported.
    pub fn parse(text: &str) -> Result<CacheTo, CacheSpecError> {
        let mut fields = Fields::read(text)?;
        let place = match fields.kind.as_str() {
            "inline" => CachePlace::Inline,
            "local" => CachePlace::Local {
                path: fields.required("dest")?.into(),
                tag: fields.take("tag").unwrap_or_else(|| "latest".to_owned()),
                digest: None,
            },
            "registry" => CachePlace::Registry(fields.reference()?),
            _ => return Err(fields.unknown_kind()),
        };
        let mode = match fields.take("mode").as_deref() {
            None | Some("min") => CacheMode::Min,
            Some("max") if place == CachePlace::Inline => {
                return Err(fields.refuse("an image has no room for mode=max; use another type"));
            }
            Some("max") => CacheMode::Max,
            Some(other) => return Err(fields.refuse(&format!("mode `{other}` is neither min nor max"))),
        };
        for (key, wanted) in [("oci-mediatypes", true), ("image-manifest", true), ("reset", false)] {
            if fields.truth(key, wanted)? != wanted {
                return Err(fields.refuse(&format!("{key}={} is not supported yet", !wanted)));
            }
        }
        let to = CacheTo {
            place,
            mode,
            compression: fields.compression()?,
            force_compression: fields.truth("force-compression", false)?,
            ignore_error: fields.truth("ignore-error", false)?,
        };
        fields.finish()?;
        Ok(to)
    }
}

impl CachePlace {
    /// Understands the text after `--cache-from`.
    ///
    /// # Errors
    /// For what is not of the grammar, not known, or not supported.
    pub fn parse_from(text: &str) -> Result<CachePlace, CacheSpecError> {
        let mut fields = Fields::read(text)?;
        let place = match fields.kind.as_str() {
            "local" => CachePlace::Local {
                path: fields.required("src")?.into(),
                tag: fields.take("tag").unwrap_or_else(|| "latest".to_owned()),
                digest: match fields.take("digest") {
                    None => None,
                    Some(digest) => Some(digest.parse().map_err(|error| fields.refuse(&format!("{error}")))?),
                },
            },
            "registry" => CachePlace::Registry(fields.reference()?),
            _ => return Err(fields.unknown_kind()),
        };
        fields.finish()?;
        Ok(place)
    }
}

struct Fields<'a> {
    text: &'a str,
    kind: String,
    rest: BTreeMap<String, String>,
}

impl Fields<'_> {
    fn read(text: &str) -> Result<Fields<'_>, CacheSpecError> {
        let refuse = |reason: String| CacheSpecError {
            text: text.to_owned(),
            reason,
        };
        let words = crate::csv::split(text).map_err(|reason| refuse(reason.to_owned()))?;
        let mut fields = Fields {
            text,
            kind: String::new(),
            rest: BTreeMap::new(),
        };
        if let [only] = &words[..]
            && !only.contains('=')
        {
            "registry".clone_into(&mut fields.kind);
            fields.rest.insert("ref".to_owned(), only.clone());
            return Ok(fields);
        }
        for word in &words {
            let (key, value) = word
                .split_once('=')
                .ok_or_else(|| refuse(format!("`{word}` is not key=value")))?;
            let key = key.trim().to_ascii_lowercase();
            if key == "type" {
                value.clone_into(&mut fields.kind);
            } else if fields.rest.insert(key, value.to_owned()).is_some() {
                return Err(refuse(format!("`{word}`: the key is given twice")));
            }
        }
        if fields.kind.is_empty() {
            return Err(refuse("type is required, for example type=registry".to_owned()));
        }
        Ok(fields)
    }

    fn refuse(&self, reason: &str) -> CacheSpecError {
        CacheSpecError {
            text: self.text.to_owned(),
            reason: reason.to_owned(),
        }
    }

    fn unknown_kind(&self) -> CacheSpecError {
        match self.kind.as_str() {
            "gha" | "s3" | "azblob" | "inline" => self.refuse(&format!("type={} is not supported yet", self.kind)),
            other => self.refuse(&format!("unknown type `{other}`; there are registry, local and inline")),
        }
    }

    fn take(&mut self, key: &str) -> Option<String> {
        self.rest.remove(key).filter(|value| !value.is_empty())
    }

    fn required(&mut self, key: &str) -> Result<String, CacheSpecError> {
        let kind = self.kind.clone();
        self.take(key)
            .ok_or_else(|| self.refuse(&format!("`{key}` is required for type={kind}")))
    }

    fn reference(&mut self) -> Result<Reference, CacheSpecError> {
        let name = self.required("ref")?;
        name.parse().map_err(|error| self.refuse(&format!("{error}")))
    }

    fn truth(&mut self, key: &str, default: bool) -> Result<bool, CacheSpecError> {
        match self.take(key).as_deref() {
            None => Ok(default),
            Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(true),
            Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(false),
            Some(other) => Err(self.refuse(&format!("{key}={other} is neither true nor false"))),
        }
    }

    fn compression(&mut self) -> Result<Compression, CacheSpecError> {
        let name = self.take("compression").unwrap_or_else(|| "gzip".to_owned());
        let level = match self.take("compression-level") {
            None => None,
            Some(text) => Some(
                text.parse::<u32>()
                    .map_err(|_| self.refuse(&format!("compression-level={text} is no number")))?,
            ),
        };
        match (name.as_str(), level) {
            ("gzip", None | Some(0..=9)) => Ok(Compression::Gzip { level }),
            ("zstd", None | Some(0..=22)) => Ok(Compression::Zstd {
                level: level.map(u32::cast_signed),
            }),
            ("uncompressed", None) => Ok(Compression::Uncompressed),
            ("estargz", _) => Err(self.refuse("compression=estargz is not supported yet")),
            ("gzip" | "zstd" | "uncompressed", _) => Err(self.refuse("the compression has no such level")),
            _ => Err(self.refuse(&format!("compression `{name}` is none of gzip, zstd, uncompressed"))),
        }
    }

    fn finish(self) -> Result<(), CacheSpecError> {
        match self.rest.keys().next() {
            None => Ok(()),
            Some(key) => Err(self.refuse(&format!("type={} has no key `{key}` that rbuild knows", self.kind))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_name_is_in_a_registry() {
        let place = CachePlace::parse_from("localhost:5000/app:cache").unwrap();
        assert_eq!(place, CachePlace::Registry("localhost:5000/app:cache".parse().unwrap()));
        assert_eq!(
            CachePlace::parse_from("type=registry,ref=localhost:5000/app:cache"),
            Ok(place)
        );
    }

    #[test]
    fn what_is_written_where() {
        let to = CacheTo::parse("type=local,dest=/c,mode=max,compression=zstd,ignore-error=true").unwrap();
        assert_eq!(to.mode, CacheMode::Max);
        assert_eq!(to.compression, Compression::Zstd { level: None });
        assert!(to.ignore_error);
        let CachePlace::Local { path, tag, .. } = to.place else {
            panic!("{to:?}")
        };
        assert_eq!((path, tag.as_str()), ("/c".into(), "latest"));
        assert_eq!(CacheTo::parse("type=inline").unwrap().place, CachePlace::Inline);
    }

    #[test]
    fn refusals_name_what_is_wrong() {
        for (text, named) in [
            ("type=gha", "not supported yet"),
            ("type=s3,bucket=b", "not supported yet"),
            ("type=flie,dest=x", "unknown type `flie`"),
            ("type=local", "`dest` is required"),
            ("type=registry", "`ref` is required"),
            ("dest=x,mode=min", "type is required"),
            ("type=inline,mode=max", "mode=max"),
            ("type=local,dest=x,mode=all", "neither min nor max"),
            ("type=local,dest=x,colour=red", "`colour`"),
            (
                "type=local,dest=x,image-manifest=false",
                "image-manifest=false is not supported",
            ),
            ("type=local,dest=x,ignore-error=maybe", "ignore-error=maybe"),
        ] {
            let error = CacheTo::parse(text).unwrap_err().to_string();
            assert!(
                error.contains(named) && error.starts_with(&format!("`{text}`")),
                "{error}"
            );
        }
    }
}
