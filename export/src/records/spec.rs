//! The texts after `--cache-to` and `--cache-from`: where recorded results go and come from.
//!
//! ```text
//! --cache-to   type=registry,ref=REF | type=local,dest=DIR[,tag=latest][,reset=true] | type=inline
//!              | type=s3,bucket=B,region=R[,…] | type=gha[,scope=…]
//!              also: mode=min|max, compression, compression-level, force-compression, oci-mediatypes=true,
//!              image-manifest=true, ignore-error
//! --cache-from REF | type=registry,ref=REF | type=local,src=DIR[,tag=latest][,digest=DIGEST]
//!              | type=s3,… | type=gha,…
//! ```
//!
//! What storage needs to know besides can stand in the environment, under the names that its own tools have for it. A bare reference is one in a registry. Types and keys that BuildKit has and rbuild has not are refused by name.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use cache::Compression;
use oci::{Digest, Reference};

use crate::Media;
use crate::records::ManifestForm;

/// Where recorded results go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheTo {
    /// The place.
    pub place: CachePlace,
    /// Which of them.
    pub mode: CacheMode,
    /// In which form a registry or a layout has them.
    pub form: ManifestForm,
    /// Of layers that have no blob yet.
    pub compression: Compression,
    /// Whether layers that have one of another compression are compressed anew.
    pub force_compression: bool,
    /// Whether the build succeeds although they cannot be written.
    pub ignore_error: bool,
    /// Whether what is listed there is forgotten.
    pub reset: bool,
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
    /// In a bucket.
    Bucket(Box<BucketPlace>),
    /// In GitHub's cache service.
    Github(Box<GithubPlace>),
    /// In the configuration of the image itself.
    Inline,
}

/// A bucket, and where in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketPlace {
    /// Its name.
    pub bucket: String,
    /// Its region.
    pub region: String,
    /// The server; `None` is Amazon's.
    pub endpoint: Option<String>,
    /// Whether its name is in the path, not in the host's name.
    pub is_path_style: bool,
    /// The name of a key.
    pub key_id: String,
    /// The key.
    pub key: Hidden,
    /// Of a session.
    pub token: Option<Hidden>,
    /// What names of blobs begin with.
    pub blobs: String,
    /// What names of lists begin with.
    pub lists: String,
    /// Names of the list; all are written, and all are read.
    pub names: Vec<String>,
    /// Blobs in use that are older are dated anew.
    pub refresh: Duration,
    /// How many parts of a blob are sent at the same time.
    pub parallelism: usize,
}

/// The cache service of GitHub's actions, and where in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GithubPlace {
    /// Tells caches of one repository apart.
    pub scope: String,
    /// Where the service is.
    pub url: String,
    /// What a job has to say.
    pub token: Hidden,
    /// How long one request may take.
    pub timeout: Duration,
}

/// A text that is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Hidden(pub String);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

/// What the environment says of a name.
pub(super) type Variables<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Blobs that were dated this long ago are dated anew.
const REFRESH: Duration = Duration::from_secs(24 * 60 * 60);
const TIMEOUT: Duration = Duration::from_secs(10 * 60);
const PARALLELISM: usize = 4;
const NAME: &str = "buildkit";

impl fmt::Display for CachePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CachePlace::Registry(reference) => reference.fmt(f),
            CachePlace::Local { path, .. } => path.display().fmt(f),
            CachePlace::Bucket(place) => {
                write!(f, "s3:{}/{}{}", place.bucket, place.lists, place.names.join(";"))
            }
            CachePlace::Github(place) => write!(f, "gha:{}", place.scope),
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
    /// Understands the text after `--cache-to`; `variables` stand in for what it does not say.
    ///
    /// # Errors
    /// For what is not of the grammar, not known, or not supported.
    pub fn parse(text: &str, variables: Variables<'_>) -> Result<CacheTo, CacheSpecError> {
        let mut fields = Fields::read(text)?;
        let place = match fields.kind.as_str() {
            "inline" => CachePlace::Inline,
            "local" => CachePlace::Local {
                path: fields.required("dest")?.into(),
                tag: fields.take("tag").unwrap_or_else(|| "latest".to_owned()),
                digest: None,
            },
            "registry" => CachePlace::Registry(fields.reference()?),
            "s3" => CachePlace::Bucket(Box::new(fields.bucket(variables)?)),
            "gha" => CachePlace::Github(Box::new(fields.github(variables)?)),
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
        let form = fields.form()?;
        let to = CacheTo {
            place,
            mode,
            form,
            compression: fields.compression()?,
            force_compression: fields.truth("force-compression", false)?,
            ignore_error: fields.truth("ignore-error", false)?,
            reset: fields.truth("reset", false)?,
        };
        fields.finish()?;
        Ok(to)
    }
}

impl CachePlace {
    /// Understands the text after `--cache-from`; `variables` stand in for what it does not say.
    ///
    /// # Errors
    /// For what is not of the grammar, not known, or not supported.
    pub fn parse_from(text: &str, variables: Variables<'_>) -> Result<CachePlace, CacheSpecError> {
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
            "s3" => CachePlace::Bucket(Box::new(fields.bucket(variables)?)),
            "gha" => CachePlace::Github(Box::new(fields.github(variables)?)),
            _ => return Err(fields.unknown_kind()),
        };
        fields.finish()?;
        Ok(place)
    }
}

/// Whether the text after `--cache-to` or `--cache-from` says that the registry's certificate is not to be checked.
#[must_use]
pub fn is_insecure(text: &str) -> bool {
    let fields = Fields::read(text);
    fields.is_ok_and(|mut fields| fields.truth("registry.insecure", false).unwrap_or(false))
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
            "azblob" | "inline" => self.refuse(&format!("type={} is not supported yet", self.kind)),
            other => self.refuse(&format!(
                "unknown type `{other}`; there are registry, local, inline, s3 and gha"
            )),
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
        // Whoever speaks to the registry asks for it by `is_insecure`.
        self.truth("registry.insecure", false)?;
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

    fn form(&mut self) -> Result<ManifestForm, CacheSpecError> {
        let media = match self.truth("oci-mediatypes", true)? {
            true => Media::Oci,
            false => Media::Docker,
        };
        match (self.truth("image-manifest", media == Media::Oci)?, media) {
            (true, Media::Oci) => Ok(ManifestForm::Image),
            (true, Media::Docker) => Err(self.refuse("image-manifest=true needs oci-mediatypes=true")),
            (false, media) => Ok(ManifestForm::Index(media)),
        }
    }

    /// The field, or what the environment says instead.
    fn take_or(&mut self, key: &str, variables: Variables<'_>, names: &[&str]) -> Option<String> {
        let set = |name: &&str| variables(name).filter(|value| !value.is_empty());
        self.take(key).or_else(|| names.iter().find_map(set))
    }

    fn required_or(&mut self, key: &str, variables: Variables<'_>, names: &[&str]) -> Result<String, CacheSpecError> {
        let value = self.take_or(key, variables, names);
        value.ok_or_else(|| {
            let instead = names.join(" or ");
            self.refuse(&format!(
                "`{key}` is required for type={}, or {instead} in the environment",
                self.kind
            ))
        })
    }

    fn bucket(&mut self, variables: Variables<'_>) -> Result<BucketPlace, CacheSpecError> {
        let prefix = self.take("prefix").unwrap_or_default();
        let blobs = self.take("blobs_prefix").unwrap_or_else(|| "blobs/".to_owned());
        let lists = self.take("manifests_prefix").unwrap_or_else(|| "manifests/".to_owned());
        let names = self.take("name").unwrap_or_else(|| NAME.to_owned());
        let names: Vec<String> = names
            .split(';')
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect();
        if names.is_empty() {
            return Err(self.refuse("`name` has no name in it"));
        }
        let parallelism = match self.take("upload_parallelism") {
            None => PARALLELISM,
            Some(text) => match text.parse() {
                Ok(count @ 1..=64) => count,
                _ => return Err(self.refuse(&format!("upload_parallelism={text} is not between 1 and 64"))),
            },
        };
        Ok(BucketPlace {
            bucket: self.required_or("bucket", variables, &["AWS_BUCKET"])?,
            region: self.required_or("region", variables, &["AWS_REGION", "AWS_DEFAULT_REGION"])?,
            endpoint: self.take_or("endpoint_url", variables, &["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"]),
            is_path_style: self.truth("use_path_style", false)?,
            key_id: self.required_or("access_key_id", variables, &["AWS_ACCESS_KEY_ID"])?,
            key: Hidden(self.required_or("secret_access_key", variables, &["AWS_SECRET_ACCESS_KEY"])?),
            token: self
                .take_or("session_token", variables, &["AWS_SESSION_TOKEN"])
                .map(Hidden),
            blobs: format!("{prefix}{blobs}"),
            lists: format!("{prefix}{lists}"),
            names,
            refresh: self.duration("touch_refresh", REFRESH)?,
            parallelism,
        })
    }

    fn github(&mut self, variables: Variables<'_>) -> Result<GithubPlace, CacheSpecError> {
        let old = self.take_or("url", variables, &["ACTIONS_CACHE_URL"]);
        let url = self.take_or("url_v2", variables, &["ACTIONS_RESULTS_URL"]);
        let url = match (url, old) {
            (Some(url), _) => url,
            (None, Some(_)) => {
                return Err(self.refuse(
                    "version 1 of GitHub's cache service (`url`, ACTIONS_CACHE_URL) is not supported, which GitHub has \
                     shut down: version 2 is at `url_v2`, or ACTIONS_RESULTS_URL in the environment",
                ));
            }
            (None, None) => self.required_or("url_v2", variables, &["ACTIONS_RESULTS_URL"])?,
        };
        Ok(GithubPlace {
            scope: self.take("scope").unwrap_or_else(|| NAME.to_owned()),
            url,
            token: Hidden(self.required_or("token", variables, &["ACTIONS_RUNTIME_TOKEN"])?),
            timeout: self.duration("timeout", TIMEOUT)?,
        })
    }

    /// `24h`, `1m30s`, `500ms`.
    fn duration(&mut self, key: &str, default: Duration) -> Result<Duration, CacheSpecError> {
        let Some(text) = self.take(key) else { return Ok(default) };
        let read = |text: &str| {
            let (mut rest, mut total) = (text, 0.0);
            while !rest.is_empty() {
                let unit = rest.find(|letter: char| letter.is_ascii_alphabetic())?;
                let (number, after) = rest.split_at(unit);
                let end = after
                    .find(|letter: char| !letter.is_ascii_alphabetic())
                    .unwrap_or(after.len());
                let (unit, after) = after.split_at(end);
                let seconds = match unit {
                    "ms" => 0.001,
                    "s" => 1.0,
                    "m" => 60.0,
                    "h" => 3600.0,
                    _ => return None,
                };
                total += number.parse::<f64>().ok()? * seconds;
                rest = after;
            }
            Duration::try_from_secs_f64(total).ok()
        };
        read(&text).ok_or_else(|| self.refuse(&format!("{key}={text} is no duration such as 24h or 1m30s")))
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

    fn none(_: &str) -> Option<String> {
        None
    }

    #[test]
    fn a_bare_name_is_in_a_registry() {
        let place = CachePlace::parse_from("localhost:5000/app:cache", &none).unwrap();
        assert_eq!(place, CachePlace::Registry("localhost:5000/app:cache".parse().unwrap()));
        assert_eq!(
            CachePlace::parse_from("type=registry,ref=localhost:5000/app:cache", &none),
            Ok(place)
        );
    }

    #[test]
    fn what_is_written_where() {
        let to = CacheTo::parse("type=local,dest=/c,mode=max,compression=zstd,ignore-error=true", &none).unwrap();
        assert_eq!(to.mode, CacheMode::Max);
        assert_eq!(to.compression, Compression::Zstd { level: None });
        assert!(to.ignore_error);
        assert_eq!(to.form, ManifestForm::Image);
        let form = |text| CacheTo::parse(text, &none).unwrap().form;
        let docker = ManifestForm::Index(Media::Docker);
        assert_eq!(form("type=registry,ref=a,oci-mediatypes=false"), docker);
        assert_eq!(
            form("type=registry,ref=a,image-manifest=false"),
            ManifestForm::Index(Media::Oci)
        );
        let CachePlace::Local { path, tag, .. } = to.place else {
            panic!("{to:?}")
        };
        assert_eq!((path, tag.as_str()), ("/c".into(), "latest"));
        assert_eq!(CacheTo::parse("type=inline", &none).unwrap().place, CachePlace::Inline);
    }

    #[test]
    fn the_environment_stands_in_for_what_is_not_said() {
        let variables = |name: &str| match name {
            "AWS_REGION" => Some("eu-1".to_owned()),
            "AWS_ACCESS_KEY_ID" => Some("id".to_owned()),
            "AWS_SECRET_ACCESS_KEY" | "ACTIONS_RUNTIME_TOKEN" => Some("secret".to_owned()),
            "ACTIONS_RESULTS_URL" => Some("https://results/".to_owned()),
            _ => None,
        };
        let text = "type=s3,bucket=b,prefix=p/,name=a;b,touch_refresh=1h30m,session_token=secret";
        let CachePlace::Bucket(place) = CachePlace::parse_from(text, &variables).unwrap() else {
            panic!("another place")
        };
        assert_eq!((place.region.as_str(), place.key_id.as_str()), ("eu-1", "id"));
        assert_eq!(
            (place.blobs.as_str(), place.lists.as_str()),
            ("p/blobs/", "p/manifests/")
        );
        assert_eq!(place.names, ["a", "b"]);
        assert_eq!(place.refresh, Duration::from_secs(5400));
        let to = CacheTo::parse("type=gha,mode=max,timeout=30s", &variables).unwrap();
        let CachePlace::Github(github) = &to.place else {
            panic!("{to:?}")
        };
        assert_eq!(
            (github.scope.as_str(), github.timeout),
            ("buildkit", Duration::from_secs(30))
        );
        let shown = format!("{place:?} {to:?} {} {}", CachePlace::Bucket(place.clone()), to.place);
        assert!(!shown.contains("secret"), "{shown}");
    }

    #[test]
    fn refusals_name_what_is_wrong() {
        for (text, named) in [
            ("type=gha", "ACTIONS_RESULTS_URL"),
            ("type=gha,url=https://x/", "version 1"),
            ("type=gha,url_v2=https://x/", "ACTIONS_RUNTIME_TOKEN"),
            ("type=s3,bucket=b", "AWS_REGION"),
            ("type=s3,bucket=b,region=r", "AWS_ACCESS_KEY_ID"),
            ("type=azblob", "not supported yet"),
            ("type=flie,dest=x", "unknown type `flie`"),
            ("type=local", "`dest` is required"),
            ("type=registry", "`ref` is required"),
            ("dest=x,mode=min", "type is required"),
            ("type=inline,mode=max", "mode=max"),
            ("type=local,dest=x,mode=all", "neither min nor max"),
            ("type=local,dest=x,colour=red", "`colour`"),
            (
                "type=local,dest=x,image-manifest=true,oci-mediatypes=false",
                "needs oci-mediatypes=true",
            ),
            ("type=local,dest=x,ignore-error=maybe", "ignore-error=maybe"),
        ] {
            let error = CacheTo::parse(text, &none).unwrap_err().to_string();
            assert!(
                error.contains(named) && error.starts_with(&format!("`{text}`")),
                "{error}"
            );
        }
    }
}
