//! Where credentials would come from, for whoever may be told only that: no helper is run, and no value leaves.

use std::path::Path;

use serde_json::Value;

use super::{CredentialSource, host_keys, host_of, repository_keys, without_alias};

/// Of an entry, what makes it one.
const VALUES: [&str; 4] = ["auth", "username", "identitytoken", "registrytoken"];

/// Where a source has the credentials of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whereabouts {
    /// In itself.
    Here,
    /// With this program, if that has any.
    Helper(String),
}

impl CredentialSource {
    /// Where the credentials for a repository are that this source leads to; nothing if it leads to none, or cannot be read.
    #[must_use]
    pub fn whereabouts(&self, host: &str, repository: &str) -> Option<Whereabouts> {
        let all = || [repository_keys(host, repository), host_keys(host)].concat();
        match self {
            CredentialSource::Docker(path) => in_text(&read(path)?, &host_keys(host)),
            CredentialSource::Containers(path) => in_text(&read(path)?, &all()),
            CredentialSource::Text { text, .. } => in_text(text.as_bytes(), &all()),
            CredentialSource::Login { host: own, .. } => (own == host).then_some(Whereabouts::Here),
        }
    }
}

fn read(path: &Path) -> Option<Vec<u8>> {
    match path.is_dir() {
        true => std::fs::read(path.join("config.json")).ok(),
        false => std::fs::read(path).ok(),
    }
}

fn in_text(text: &[u8], keys: &[String]) -> Option<Whereabouts> {
    let config: Value = serde_json::from_slice(text).ok()?;
    let helper = |name: &Value| {
        let name = name.as_str().filter(|name| !name.is_empty())?;
        Some(Whereabouts::Helper(format!("docker-credential-{name}")))
    };
    let of_key = |key: &String| {
        let entry = || has_entry(&config["auths"], key).then_some(Whereabouts::Here);
        helper(&config["credHelpers"][key]).or_else(entry)
    };
    let named = keys.iter().find_map(of_key);
    named.or_else(|| helper(&config["credsStore"]))
}

fn has_entry(entries: &Value, key: &str) -> bool {
    let is_one = |entry: &Value| {
        let mut values = VALUES.iter().filter_map(|name| entry[name].as_str());
        values.any(|value| !value.is_empty())
    };
    let entries = entries.as_object().into_iter().flatten();
    let meant = |name: &str| name == key || host_of(name) == without_alias(key);
    let mut meant = entries.filter(|(name, _)| meant(name));
    meant.any(|(_, entry)| is_one(entry))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_source_is_told_and_no_helper_asked() {
        let text = r#"{"auths":{"https://index.docker.io/v1/":{"auth":"c2VjcmV0"},"q.example/a":{"auth":"c2VjcmV0"},
            "empty.example":{}},"credHelpers":{"ecr.example":"ecr"}}"#;
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("config.json"), text).unwrap();
        let docker = CredentialSource::Docker(folder.path().to_owned());
        let podman = CredentialSource::Containers(folder.path().join("config.json"));
        let helper = |name: &str| Some(Whereabouts::Helper(format!("docker-credential-{name}")));
        for (source, host, repository, expected) in [
            (&docker, "docker.io", "library/debian", Some(Whereabouts::Here)),
            (&docker, "ecr.example", "x", helper("ecr")),
            (&docker, "empty.example", "x", None),
            (&docker, "q.example", "a", None),
            (&podman, "q.example", "a/b", Some(Whereabouts::Here)),
            (&podman, "q.example", "b", None),
        ] {
            assert_eq!(
                source.whereabouts(host, repository),
                expected,
                "{source} {host}/{repository}"
            );
        }
        let stored = CredentialSource::Text {
            name: "VARIABLE".to_owned(),
            text: r#"{"credsStore":"desktop","auths":{"own.example":{"auth":"c2VjcmV0"}}}"#.to_owned(),
        };
        assert_eq!(stored.whereabouts("own.example", "x"), Some(Whereabouts::Here));
        assert_eq!(stored.whereabouts("other.example", "x"), helper("desktop"));
    }
}
