//! What is known of the way to an image, for people who ask why it is what it is: the endpoints, who says so, the
//! certificates and the credentials (never their value), and what each endpoint answers.

use oci::{Digest, PortError, Reference};

use crate::client::Client;
use crate::error::Error;
use crate::hosts::{Scheme, Wire};
use crate::repository::Repository;

/// One endpoint of an image.
#[derive(Clone, Debug)]
pub struct ExplainedEndpoint {
    /// The address of the repository there.
    pub url: String,
    /// Who says that it is there.
    pub because: String,
    /// What it may be used for: `pull`, `resolve`, `push`.
    pub purposes: Vec<&'static str>,
    /// How it is spoken to and whom it is believed.
    pub transport: String,
    /// Whose credentials it gets and where they are, or that there are none, or why they cannot be read.
    pub credentials: String,
    /// What it says of the image, if it was asked: the digest, or why there is none.
    pub answer: Option<Result<Digest, String>>,
}

/// Whether the endpoints are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inquiry {
    /// They are.
    Online,
    /// Only what is configured is told.
    Offline,
}

impl Client {
    /// The endpoints of an image in the order they are tried.
    ///
    /// # Errors
    /// [`PortError`] for configuration that cannot be read or that forbids the image. What single endpoints say is no error.
    pub async fn explain(&self, name: &Reference, inquiry: Inquiry) -> Result<Vec<ExplainedEndpoint>, PortError> {
        let all = self.hosts().all(name).map_err(|error| error.of(name))?;
        let mut explained = Vec::new();
        for repository in all.iter() {
            let answer = match inquiry {
                Inquiry::Online => Some(self.soon(repository, self.digest_of(repository, name)).await),
                Inquiry::Offline => None,
            };
            let endpoint = repository.endpoint();
            let purposes = [
                ("pull", endpoint.purposes.pull),
                ("resolve", endpoint.purposes.resolve),
                ("push", endpoint.purposes.push),
            ];
            explained.push(ExplainedEndpoint {
                url: repository.address(),
                because: endpoint.place.clone(),
                purposes: purposes.iter().filter(|(_, may)| *may).map(|(name, _)| *name).collect(),
                transport: transport(repository),
                credentials: self.credentials_for(repository).await,
                answer: answer.map(|answer| answer.map_err(|error| error.to_string())),
            });
        }
        Ok(explained)
    }

    /// The digest of the image at one endpoint, computed where its head does not say it.
    async fn digest_of(&self, repository: &Repository, name: &Reference) -> Result<Digest, Error> {
        if name.digest().is_none()
            && let Ok(Some(digest)) = self.digest_at(repository, name).await
        {
            return Ok(digest);
        }
        self.root_digest(repository, name).await
    }

    async fn credentials_for(&self, repository: &Repository) -> String {
        match self.look_up(repository).await {
            Ok(Some(found)) => found.to_string(),
            Ok(None) => format!("none for `{}`", repository.host),
            Err(error) => error.to_string(),
        }
    }
}

fn transport(repository: &Repository) -> String {
    let endpoint = repository.endpoint();
    let trust = &endpoint.trust;
    let first = match endpoint.wire {
        Wire::Only(Scheme::Plain) => return "plain HTTP".to_owned(),
        Wire::First(_) if endpoint.other_scheme().is_none() && endpoint.scheme() == Scheme::Plain => {
            return "plain HTTP".to_owned();
        }
        Wire::First(Scheme::Plain) if endpoint.other_scheme().is_some() => "plain HTTP, or else TLS",
        Wire::First(Scheme::Tls) if endpoint.other_scheme().is_some() => "TLS, or else plain HTTP",
        _ => "TLS",
    };
    let mut words = first.to_owned();
    if trust.is_blind {
        words.push_str("; certificates are not checked");
    } else if trust.authorities.is_empty() {
        words.push_str("; checked by the system's certificates");
    } else {
        let files: Vec<String> = trust
            .authorities
            .iter()
            .map(|path| format!("`{}`", path.display()))
            .collect();
        words.push_str(&format!(
            "; checked by the system's certificates and {}",
            files.join(", ")
        ));
    }
    if let Some(identity) = &trust.identity {
        words.push_str(&format!("; shows `{}`", identity.certificate.display()));
    }
    words
}
