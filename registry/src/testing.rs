//! The readers of what registries and users' files say, for those who try them with bytes of their own making. Nothing
//! else needs them, so they are no part of what this crate offers.

use std::path::Path;

use crate::challenge::{self, Challenge};
use crate::credentials::{CredentialSource, Credentials, Files};
use crate::helper::Helpers;

/// One way to be let in, as a registry names it: a scheme, and of `Bearer` its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenChallenge {
    /// `Bearer`, `Basic`, or as it is written.
    pub scheme: String,
    /// The address of the token service.
    pub realm: Option<String>,
    /// What the token is for.
    pub service: Option<String>,
    /// What it is to allow.
    pub scope: Option<String>,
}

/// The challenges of a `WWW-Authenticate` header.
#[must_use]
pub fn challenges(header: &str) -> Vec<SeenChallenge> {
    let read = challenge::parse(header).into_iter();
    read.map(|challenge| match challenge {
        Challenge::Bearer { realm, service, scope } => SeenChallenge {
            scheme: "Bearer".to_owned(),
            realm: Some(realm),
            service,
            scope,
        },
        Challenge::Basic => SeenChallenge::alone("Basic"),
        Challenge::Unknown(scheme) => SeenChallenge::alone(&scheme),
    })
    .collect()
}

impl SeenChallenge {
    fn alone(scheme: &str) -> SeenChallenge {
        SeenChallenge {
            scheme: scheme.to_owned(),
            realm: None,
            service: None,
            scope: None,
        }
    }
}

/// What the credentials file at `path`, of docker's kind or of podman's, has for a repository: user and password, or
/// nothing and an identity token. No helper that it names is run.
///
/// # Errors
/// The words for the user, if the file is none.
pub fn credentials(path: &Path, host: &str, repository: &str) -> Result<Option<(String, String)>, String> {
    let helpers = Helpers::default();
    helpers.close();
    let sources = [CredentialSource::Docker, CredentialSource::Containers].map(|kind| kind(path.to_owned()));
    for files in sources.map(|source| Files(vec![source])) {
        if let Some(found) = files
            .look_up(host, repository, &helpers)
            .map_err(|error| error.to_string())?
        {
            return Ok(Some(match found.credentials {
                Credentials::Password { user, password } => (user, password),
                Credentials::IdentityToken(token) | Credentials::RegistryToken(token) => (String::new(), token),
            }));
        }
    }
    Ok(None)
}

/// What of the body of an error is shown to the user.
#[must_use]
pub fn said(body: &[u8]) -> String {
    crate::error::said(body)
}
