//! Credentials from the files of `docker login` and `podman login` and from the credential helpers these name.
//!
//! Nothing is kept: files and helpers are asked at each challenge, so a login during a long build counts. Entries are read
//! by a library; helpers are run by us (`helper.rs`), since the library waits for them without end.

mod whereabouts;

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use docker_credential::{CredentialRetrievalError, DockerCredential};
use serde::Deserialize;
use serde_json::{Map, Value};

pub use whereabouts::Whereabouts;

use crate::Error;
use crate::helper::{Helpers, Question};

/// Who we are to one registry.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Credentials {
    /// For Basic, and for token services that take it.
    Password { user: String, password: String },
    /// A refresh token for the OAuth2 endpoint of a token service.
    IdentityToken(String),
    /// A token for the registry itself.
    RegistryToken(String),
}

/// Credentials and what had them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) credentials: Credentials,
    pub(crate) source: String,
}

/// The helpers that a file names.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Named {
    /// For everything that has no entry.
    creds_store: Option<String>,
    /// For single hosts.
    cred_helpers: Option<HashMap<String, String>>,
}

/// Something that may have credentials.
#[derive(Clone, PartialEq, Eq)]
pub enum CredentialSource {
    /// Docker's `config.json`, or the directory it is in: one entry a host, and credential helpers. It need not exist.
    Docker(PathBuf),
    /// A file of podman's form (`auth.json`), whose entries may be for single repositories. It need not exist.
    Containers(PathBuf),
    /// The same as a text.
    Text {
        /// The variable that holds it.
        name: String,
        /// The text.
        text: String,
    },
    /// User and password of one host.
    Login {
        /// The variable that holds the password.
        name: String,
        /// The host.
        host: String,
        /// The user.
        user: String,
        /// The password.
        password: String,
    },
}

/// Where to look, in this order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Files(pub(crate) Vec<CredentialSource>);

impl fmt::Display for CredentialSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CredentialSource::Docker(path) | CredentialSource::Containers(path) => write!(f, "`{}`", path.display()),
            CredentialSource::Text { name, .. } | CredentialSource::Login { name, .. } => write!(f, "`{name}`"),
        }
    }
}

/// Names only: the values are secrets.
impl fmt::Debug for CredentialSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Credentials::Password { user, .. } => write!(f, "Password of {user:?}"),
            Credentials::IdentityToken(_) => f.write_str("IdentityToken"),
            Credentials::RegistryToken(_) => f.write_str("RegistryToken"),
        }
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = &self.source;
        match &self.credentials {
            Credentials::Password { user, .. } => write!(f, "the credentials of user `{user}` from {source}"),
            Credentials::IdentityToken(_) => write!(f, "the identity token from {source}"),
            Credentials::RegistryToken(_) => write!(f, "the registry token from {source}"),
        }
    }
}

impl Files {
    /// The credentials for a repository. Blocks: reads files and may run a helper.
    pub(crate) fn look_up(&self, host: &str, repository: &str, helpers: &Helpers) -> Result<Option<Found>, Error> {
        for source in &self.0 {
            if let Some(found) = source.look_up(host, repository, helpers)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

impl CredentialSource {
    fn look_up(&self, host: &str, repository: &str, helpers: &Helpers) -> Result<Option<Found>, Error> {
        let hosts = host_keys(host);
        let all = || {
            let narrow = repository_keys(host, repository).into_iter();
            narrow.chain(host_keys(host)).collect::<Vec<_>>()
        };
        match self {
            CredentialSource::Docker(path) => self.in_file(path, &hosts, helpers),
            CredentialSource::Containers(path) => self.in_file(path, &all(), helpers),
            CredentialSource::Text { text, .. } => self.in_text(text.as_bytes(), &all(), helpers),
            CredentialSource::Login {
                host: own,
                user,
                password,
                ..
            } => Ok((own == host).then(|| {
                self.found(Credentials::Password {
                    user: user.clone(),
                    password: password.clone(),
                })
            })),
        }
    }

    fn in_file(&self, path: &Path, keys: &[String], helpers: &Helpers) -> Result<Option<Found>, Error> {
        let path = if path.is_dir() {
            path.join("config.json")
        } else {
            path.to_owned()
        };
        match std::fs::read(&path) {
            Ok(text) => self.in_text(&text, keys, helpers),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
            Err(error) => Err(self.unreadable(error.to_string())),
        }
    }

    fn in_text(&self, text: &[u8], keys: &[String], helpers: &Helpers) -> Result<Option<Found>, Error> {
        let malformed = || self.unreadable("it is not valid JSON of the expected form".to_owned());
        let document: Map<String, Value> = serde_json::from_slice(text).map_err(|_| malformed())?;
        let named = Named::deserialize(&document).map_err(|_| malformed())?;
        for key in keys {
            if let Some(token) = registry_token(&document, key) {
                return Ok(Some(self.found(Credentials::RegistryToken(token))));
            }
            let entry = match named.of_host(key) {
                Some(_) => None,
                None => self.in_entries(&document, key)?,
            };
            let found = match (entry, named.of_host(key).or(named.of_all())) {
                (Some(credentials), _) => Some(self.found(credentials)),
                (None, Some(helper)) => self.by_helper(helper, key, helpers)?,
                (None, None) => None,
            };
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// What the file itself has for a host.
    fn in_entries(&self, document: &Map<String, Value>, key: &str) -> Result<Option<Credentials>, Error> {
        Ok(
            match docker_credential::get_credential_from_reader(&*entries(document, key), key) {
                Ok(DockerCredential::IdentityToken(token)) => Some(Credentials::IdentityToken(token)),
                Ok(DockerCredential::UsernamePassword(user, password)) if user.is_empty() && password.is_empty() => {
                    None
                }
                Ok(DockerCredential::UsernamePassword(user, password)) => {
                    Some(Credentials::Password { user, password })
                }
                Err(CredentialRetrievalError::NoCredentialConfigured) => None,
                Err(error) => return Err(self.unreadable(explain(&error).to_owned())),
            },
        )
    }

    fn by_helper(&self, helper: &str, server: &str, helpers: &Helpers) -> Result<Option<Found>, Error> {
        if helper.contains('/') {
            return Err(self.unreadable(format!("`{helper}` is not the name of a credential helper")));
        }
        let program = &format!("docker-credential-{helper}");
        let answer = helpers.ask(Question { program, server });
        let credentials = answer.map_err(|reason| self.unreadable(reason))?;
        Ok(credentials.map(|credentials| Found {
            credentials,
            source: format!("`{program}` (named in {self})"),
        }))
    }

    fn found(&self, credentials: Credentials) -> Found {
        let source = self.to_string();
        Found { credentials, source }
    }

    fn unreadable(&self, reason: String) -> Error {
        Error::Credentials {
            source_name: self.to_string(),
            reason,
        }
    }
}

impl Named {
    fn of_host(&self, key: &str) -> Option<&str> {
        let helper = self.cred_helpers.as_ref()?.get(key)?;
        Some(helper.as_str()).filter(|name| !name.is_empty())
    }

    fn of_all(&self) -> Option<&str> {
        self.creds_store.as_deref().filter(|name| !name.is_empty())
    }
}

/// The token that an entry has for the registry itself, which the library does not know of.
fn registry_token(document: &Map<String, Value>, key: &str) -> Option<String> {
    let token = document.get("auths")?.get(key)?.get("registrytoken")?.as_str()?;
    (!token.is_empty()).then(|| token.to_owned())
}

/// Under which names a host may be in the file. Docker Hub goes by its oldest address.
fn host_keys(host: &str) -> Vec<String> {
    if host == "docker.io" {
        ["https://index.docker.io/v1/", "docker.io"].map(str::to_owned).to_vec()
    } else {
        vec![host.to_owned()]
    }
}

/// `host/a/b`, `host/a`: narrower entries count first.
fn repository_keys(host: &str, repository: &str) -> Vec<String> {
    let mut keys = Vec::new();
    let mut rest = Some(repository);
    while let Some(path) = rest {
        keys.push(format!("{host}/{path}"));
        rest = path.rsplit_once('/').map(|(parent, _)| parent);
    }
    keys
}

/// The file without helpers, and with one entry for the host that `key` is. Several can be meant by it,
/// `https://host/v1/` and `https://host/v2/`, of which the library takes any, and another each time: here the first by the
/// alphabet counts.
fn entries(document: &Map<String, Value>, key: &str) -> Vec<u8> {
    let mut entries = document.get("auths").cloned().unwrap_or_default();
    if let Some(entries) = entries.as_object_mut() {
        let meant = |name: &str| host_of(name) == without_alias(key);
        let first = match entries.contains_key(key) {
            true => Some(key.to_owned()),
            false => entries.keys().filter(|name| meant(name)).min().cloned(),
        };
        entries.retain(|name, _| !meant(name) || Some(name) == first.as_ref());
    }
    serde_json::json!({ "auths": entries }).to_string().into_bytes()
}

/// The host that the library takes the name of an entry for.
fn host_of(name: &str) -> &str {
    let address = name.strip_prefix("https://").or_else(|| name.strip_prefix("http://"));
    let host = address.map_or(name, |address| address.split('/').next().unwrap_or_default());
    without_alias(host)
}

fn without_alias(host: &str) -> &str {
    match host {
        "registry-1.docker.io" | "docker.io" => "index.docker.io",
        host => host,
    }
}

fn explain(error: &CredentialRetrievalError) -> &'static str {
    match error {
        CredentialRetrievalError::CredentialDecodingError => "an `auth` entry is not base64 of `user:password`",
        CredentialRetrievalError::CredentialMismatchError => {
            "an `auth` entry differs from the user and password beside it"
        }
        _ => "it is not valid JSON of the expected form",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(docker: &str, containers: &str) -> (tempfile::TempDir, Files) {
        let folder = tempfile::tempdir().unwrap();
        let (config, auth) = (folder.path().join("config.json"), folder.path().join("auth.json"));
        std::fs::write(&config, docker).unwrap();
        std::fs::write(&auth, containers).unwrap();
        let files = Files(vec![
            CredentialSource::Docker(config),
            CredentialSource::Containers(auth),
            CredentialSource::Containers(folder.path().join("absent.json")),
            CredentialSource::Text {
                name: "DOCKER_AUTH_CONFIG".to_owned(),
                text: r#"{"auths":{"text.example":{"registrytoken":"r"}}}"#.to_owned(),
            },
            CredentialSource::Login {
                name: "GITHUB_TOKEN".to_owned(),
                host: "ghcr.io".to_owned(),
                user: "ada".to_owned(),
                password: "geheim".to_owned(),
            },
        ]);
        (folder, files)
    }

    fn user_for(files: &Files, host: &str, repository: &str) -> Option<String> {
        match files
            .look_up(host, repository, &Helpers::default())
            .unwrap()?
            .credentials
        {
            Credentials::Password { user, .. } => Some(user),
            Credentials::IdentityToken(token) => Some(format!("token {token}")),
            Credentials::RegistryToken(token) => Some(format!("registry token {token}")),
        }
    }

    #[test]
    fn the_entry_for_the_host_is_found_and_the_narrowest_of_podman_wins() {
        // user:password pairs u1:p … u5:p
        let docker = r#"{"auths":{"https://index.docker.io/v1/":{"auth":"dTE6cA=="},"h:5000":{"auth":"dTI6cA=="},
            "tok.example":{"identitytoken":"t"},"empty.example":{}}}"#;
        let containers = r#"{"auths":{"q.example":{"auth":"dTM6cA=="},"q.example/a/b":{"auth":"dTQ6cA=="},
            "docker.io":{"auth":"dTU6cA=="}}}"#;
        let (_folder, files) = files(docker, containers);
        for (host, repository, expected) in [
            ("docker.io", "library/debian", Some("u1")),
            ("h:5000", "x", Some("u2")),
            ("h", "x", None),
            ("tok.example", "x", Some("token t")),
            ("empty.example", "x", None),
            ("q.example", "a/b/c", Some("u4")),
            ("q.example", "a/c", Some("u3")),
            ("text.example", "x", Some("registry token r")),
            ("ghcr.io", "x", Some("ada")),
            ("other.ghcr.io", "x", None),
        ] {
            assert_eq!(
                user_for(&files, host, repository).as_deref(),
                expected,
                "{host}/{repository}"
            );
        }
    }

    #[test]
    fn of_several_entries_for_a_host_the_same_one_counts_each_time() {
        // one:p, two:q
        let docker =
            r#"{"auths":{"https://h.example/v2/":{"auth":"dHdvOnE="},"https://h.example/v1/":{"auth":"b25lOnA="}}}"#;
        let (_folder, files) = files(docker, "{}");
        for _ in 0..20 {
            assert_eq!(user_for(&files, "h.example", "a").as_deref(), Some("one"));
        }
    }

    #[test]
    fn an_entry_without_credentials_is_not_made_up_for_by_others_of_the_host() {
        let docker = r#"{"auths":{"h.example":{},"https://h.example/v1/":{"username":"one","password":"p"},
            "https://h.example/v2/":{"username":"two","password":"q"}}}"#;
        let (_folder, files) = files(docker, "{}");
        for _ in 0..20 {
            assert_eq!(user_for(&files, "h.example", "a"), None);
        }
    }

    #[test]
    fn a_file_that_is_no_json_is_named() {
        let (_folder, files) = files("{", "{}");
        let error = files.look_up("h", "x", &Helpers::default()).unwrap_err().to_string();
        assert!(error.contains("config.json") && error.contains("JSON"), "{error}");
    }

    #[test]
    fn passwords_are_not_printed() {
        let credentials = Credentials::Password {
            user: "u".into(),
            password: "geheim".into(),
        };
        assert!(!format!("{credentials:?}").contains("geheim"));
        let (_folder, files) = files("{}", "{}");
        assert!(!format!("{files:?}").contains("geheim"));
        let found = files
            .look_up("ghcr.io", "x", &Helpers::default())
            .unwrap()
            .unwrap()
            .to_string();
        assert_eq!(found, "the credentials of user `ada` from `GITHUB_TOKEN`");
    }
}
