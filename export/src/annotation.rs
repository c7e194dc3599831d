//! Annotations as the user gives them: each is of a document or of the descriptor that leads to one, of every platform or
//! of one.
//!
//! ```text
//! annotation.KEY                    of the manifest
//! annotation-manifest.KEY           the same
//! annotation-manifest-descriptor    of the manifest's descriptor in the index
//! annotation-index                  of the index
//! annotation-index-descriptor       of the index's descriptor in a layout
//! annotation-manifest[PLATFORM].KEY of the manifest of one platform
//! ```

use std::collections::BTreeMap;
use std::str::FromStr;

use oci::Platform;

use crate::OutputError;

/// What an annotation is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnnotationTarget {
    /// The manifest of an image.
    Manifest,
    /// The descriptor of a manifest.
    ManifestDescriptor,
    /// The index of several images.
    Index,
    /// The descriptor of an index.
    IndexDescriptor,
}

/// One annotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Annotation {
    /// What it is of.
    pub target: AnnotationTarget,
    /// Of which platform's manifest; `None` is all.
    pub platform: Option<Platform>,
    /// Its name.
    pub key: String,
    /// Free text.
    pub value: String,
}

/// Annotations in the order given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Annotations(pub Vec<Annotation>);

impl FromStr for AnnotationTarget {
    type Err = OutputError;

    fn from_str(text: &str) -> Result<AnnotationTarget, OutputError> {
        match text {
            "manifest" => Ok(AnnotationTarget::Manifest),
            "manifest-descriptor" => Ok(AnnotationTarget::ManifestDescriptor),
            "index" => Ok(AnnotationTarget::Index),
            "index-descriptor" => Ok(AnnotationTarget::IndexDescriptor),
            other => Err(OutputError::AnnotationType(other.to_owned())),
        }
    }
}

impl Annotation {
    /// Understands the value of `--annotation`: `[TYPE[PLATFORM],…:]KEY=VALUE`. Several types are several annotations.
    ///
    /// # Errors
    /// [`OutputError::Annotation`] without `=` or key, [`OutputError::AnnotationType`] for an unknown type.
    pub fn parse(text: &str) -> Result<Vec<Annotation>, OutputError> {
        let invalid = || OutputError::Annotation(text.to_owned());
        let (name, value) = text.split_once('=').ok_or_else(invalid)?;
        // A key may have a colon itself, after a character that no type has.
        let is_of_types = |byte: u8| byte.is_ascii_alphanumeric() || b"-,[]_/".contains(&byte);
        let (targets, key) = match name.split_once(':') {
            Some((targets, key)) if !targets.is_empty() && targets.bytes().all(is_of_types) => (targets, key),
            _ => ("manifest", name),
        };
        if key.is_empty() {
            return Err(invalid());
        }
        let of = |target: &str| {
            let (target, platform) = target_and_platform(target)?;
            Ok(Annotation {
                target,
                platform,
                key: key.to_owned(),
                value: value.to_owned(),
            })
        };
        targets.split(',').map(of).collect()
    }

    /// Understands a key of an output, without `annotation` itself: `-index`, `-manifest[linux/amd64]`, nothing.
    pub(crate) fn target_of_output(suffix: &str) -> Result<(AnnotationTarget, Option<Platform>), OutputError> {
        match suffix.strip_prefix('-') {
            Some(target) => target_and_platform(target),
            None if suffix.is_empty() || suffix.starts_with('[') => target_and_platform(&format!("manifest{suffix}")),
            None => Err(OutputError::AnnotationType(suffix.to_owned())),
        }
    }
}

fn target_and_platform(text: &str) -> Result<(AnnotationTarget, Option<Platform>), OutputError> {
    let Some((target, rest)) = text.split_once('[') else {
        return Ok((text.parse()?, None));
    };
    let platform = rest
        .strip_suffix(']')
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| OutputError::AnnotationType(text.to_owned()))?;
    match target.parse()? {
        AnnotationTarget::Index | AnnotationTarget::IndexDescriptor => {
            Err(OutputError::AnnotationType(text.to_owned()))
        }
        target => Ok((target, Some(platform))),
    }
}

impl Annotations {
    /// Those of `target` for `platform`; what is said of one platform wins over what is said of all.
    #[must_use]
    pub fn of(&self, target: AnnotationTarget, platform: Option<&Platform>) -> BTreeMap<String, String> {
        let mut selected = BTreeMap::new();
        let pairs = |annotation: &Annotation| (annotation.key.clone(), annotation.value.clone());
        let of_target = || self.0.iter().filter(|annotation| annotation.target == target);
        selected.extend(
            of_target()
                .filter(|annotation| annotation.platform.is_none())
                .map(pairs),
        );
        let of_one =
            of_target().filter(|annotation| annotation.platform.is_some() && annotation.platform.as_ref() == platform);
        selected.extend(of_one.map(pairs));
        selected
    }

    /// The first that a single manifest, without an index, has no place for.
    #[must_use]
    pub fn for_index(&self) -> Option<&Annotation> {
        let is_for_index = |annotation: &&Annotation| {
            matches!(
                annotation.target,
                AnnotationTarget::Index | AnnotationTarget::IndexDescriptor
            )
        };
        self.0.iter().find(is_for_index)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_names_what_it_is_of() {
        for (text, expected) in [
            ("a=b", Ok("Manifest a=b")),
            ("a=", Ok("Manifest a=")),
            ("a=b:c=d", Ok("Manifest a=b:c=d")),
            ("index:a=b", Ok("Index a=b")),
            ("org.x:y=b", Ok("Manifest org.x:y=b")),
            (
                "manifest[linux/arm64],index-descriptor:a=b",
                Ok("Manifest[linux/arm64] a=b IndexDescriptor a=b"),
            ),
            ("a", Err("invalid annotation \"a\", expected key=value")),
            ("=b", Err("invalid annotation \"=b\", expected key=value")),
            ("foo:a=b", Err("unknown annotation type \"foo\"")),
            (
                "index[linux/amd64]:a=b",
                Err("unknown annotation type \"index[linux/amd64]\""),
            ),
            (
                "manifest[x/y/z/w]:a=b",
                Err("unknown annotation type \"manifest[x/y/z/w]\""),
            ),
        ] {
            let shown = |annotation: &Annotation| {
                let platform = annotation.platform.as_ref().map(|platform| format!("[{platform}]"));
                format!(
                    "{:?}{} {}={}",
                    annotation.target,
                    platform.unwrap_or_default(),
                    annotation.key,
                    annotation.value
                )
            };
            let found = Annotation::parse(text)
                .map(|list| list.iter().map(shown).collect::<Vec<_>>().join(" "))
                .map_err(|error| error.to_string());
            assert_eq!(found, expected.map(str::to_owned).map_err(str::to_owned), "{text}");
        }
    }

    #[test]
    fn a_platforms_own_annotation_wins() {
        let of = |text: &str| Annotation::parse(text).unwrap();
        let annotations = Annotations([of("manifest[linux/arm64]:a=arm"), of("a=all"), of("index:i=1")].concat());
        let value =
            |platform: &str| annotations.of(AnnotationTarget::Manifest, Some(&platform.parse().unwrap()))["a"].clone();
        assert_eq!(
            (value("linux/arm64"), value("linux/amd64")),
            ("arm".into(), "all".into())
        );
        assert_eq!(annotations.for_index().unwrap().key, "i");
    }
}
