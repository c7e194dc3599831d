//! Credentials from the files of `docker login` and `podman login` and from the credential helpers these name.
//!
//! Nothing is kept: files and helpers are asked at each challenge, so a login during a long build counts.

use std::fmt;
use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use docker_credential::{CredentialRetrievalError, DockerCredential};

use crate::Error;

/// Who we are to one registry.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Credentials {
    /// For Basic, and for token services that take it.
    Password { user: String, password: String },
    /// A refresh token for the OAuth2 endpoint of a token service.
    IdentityToken(String),
}

/// Credentials and the file that had them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) credentials: Credentials,
    pub(crate) file: PathBuf,
}

/// Where to look, in this order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Files {
    /// Docker's `config.json`: one entry a host.
    pub(crate) docker: Option<PathBuf>,
    /// Files like podman's `auth.json`: entries may be for single repositories.
    pub(crate) containers: Vec<PathBuf>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Credentials::Password { user, .. } => write!(f, "Password of {user:?}"),
            Credentials::IdentityToken(_) => f.write_str("IdentityToken"),
        }
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.credentials {
            Credentials::Password { user, .. } => {
                write!(f, "the credentials of user `{user}` from `{}`", self.file.display())
            }
            Credentials::IdentityToken(_) => write!(f, "the identity token from `{}`", self.file.display()),
        }
    }
}

impl Files {
    /// The credentials for a repository. Blocks: reads files and may run a helper.
    pub(crate) fn look_up(&self, host: &str, repository: &str) -> Result<Option<Found>, Error> {
        let hosts = host_keys(host);
        if let Some(path) = &self.docker
            && let Some(found) = in_file(path, &hosts)?
        {
            return Ok(Some(found));
        }
        let keys: Vec<String> = repository_keys(host, repository).into_iter().chain(hosts).collect();
        for path in &self.containers {
            if let Some(found) = in_file(path, &keys)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
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

fn in_file(path: &Path, keys: &[String]) -> Result<Option<Found>, Error> {
    let path = if path.is_dir() {
        path.join("config.json")
    } else {
        path.to_owned()
    };
    for key in keys {
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(error) => return Err(unreadable(&path, error.to_string())),
        };
        match docker_credential::get_credential_from_reader(BufReader::new(file), key) {
            Ok(DockerCredential::IdentityToken(token)) => {
                return Ok(Some(Found {
                    credentials: Credentials::IdentityToken(token),
                    file: path,
                }));
            }
            Ok(DockerCredential::UsernamePassword(user, password)) if user.is_empty() && password.is_empty() => {}
            Ok(DockerCredential::UsernamePassword(user, password)) => {
                return Ok(Some(Found {
                    credentials: Credentials::Password { user, password },
                    file: path,
                }));
            }
            Err(error) if is_absence(&error) => {}
            Err(error) => return Err(unreadable(&path, explain(&error))),
        }
    }
    Ok(None)
}

/// Helpers say that they know nothing by a text.
fn is_absence(error: &CredentialRetrievalError) -> bool {
    match error {
        CredentialRetrievalError::NoCredentialConfigured => true,
        CredentialRetrievalError::HelperFailure { stdout, stderr, .. } => [stdout, stderr]
            .into_iter()
            .any(|text| text.contains("credentials not found") || text.contains("no credentials server URL")),
        _ => false,
    }
}

fn explain(error: &CredentialRetrievalError) -> String {
    match error {
        CredentialRetrievalError::HelperFailure { helper, stdout, stderr } => {
            let words: Vec<&str> = stdout.split_whitespace().chain(stderr.split_whitespace()).collect();
            format!("`{helper} get` failed: {}", words.join(" "))
        }
        CredentialRetrievalError::HelperCommunicationError => {
            "the credential helper it names cannot be run; is `docker-credential-…` in PATH?".to_owned()
        }
        CredentialRetrievalError::MalformedHelperResponse => {
            "the credential helper it names answered with something else than credentials".to_owned()
        }
        CredentialRetrievalError::CredentialDecodingError => {
            "an `auth` entry is not base64 of `user:password`".to_owned()
        }
        CredentialRetrievalError::CredentialMismatchError => {
            "an `auth` entry differs from the user and password beside it".to_owned()
        }
        _ => "it is not valid JSON of the expected form".to_owned(),
    }
}

fn unreadable(path: &Path, reason: String) -> Error {
    Error::Credentials {
        path: path.to_owned(),
        reason,
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
        let files = Files {
            docker: Some(config),
            containers: vec![auth, folder.path().join("absent.json")],
        };
        (folder, files)
    }

    fn user_for(files: &Files, host: &str, repository: &str) -> Option<String> {
        match files.look_up(host, repository).unwrap()?.credentials {
            Credentials::Password { user, .. } => Some(user),
            Credentials::IdentityToken(token) => Some(format!("token {token}")),
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
        ] {
            assert_eq!(
                user_for(&files, host, repository).as_deref(),
                expected,
                "{host}/{repository}"
            );
        }
    }

    #[test]
    fn a_file_that_is_no_json_is_named() {
        let (_folder, files) = files("{", "{}");
        let error = files.look_up("h", "x").unwrap_err().to_string();
        assert!(error.contains("config.json") && error.contains("JSON"), "{error}");
    }

    #[test]
    fn passwords_are_not_printed() {
        let credentials = Credentials::Password {
            user: "u".into(),
            password: "geheim".into(),
        };
        assert!(!format!("{credentials:?}").contains("geheim"));
    }
}
