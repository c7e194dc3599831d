//! What is known of the way to an image, for people who ask why it is what it is: the endpoints, who says so, the
//! certificates and the credentials (never their value), what each endpoint asks for and what it answers.

use std::fmt;
use std::time::Duration;

use oci::{Digest, PortError, Reference};
use reqwest::{Method, StatusCode, Url};

use crate::challenge::Challenge;
use crate::client::{Ask, Client};
use crate::error::{Error, bare};
use crate::hosts::{Scheme, Wire};
use crate::pull::accepted_manifests;
use crate::repository::{Action, Repository};

/// Who explains is not kept waiting for longer by one that does not say what it wants.
const PATIENCE: Duration = Duration::from_secs(5);

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
    /// What it wants of a stranger who asks for the image, if it was asked; or why that cannot be told.
    pub wants: Option<Result<Wants, String>>,
    /// What it says of the image, if it was asked: the digest, or why there is none.
    pub answer: Option<Result<Digest, String>>,
}

/// What an endpoint wants of those who ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wants {
    /// Nothing.
    Nothing,
    /// One of these.
    OneOf(Vec<WantedScheme>),
}

/// A scheme of authentication. There is nothing secret in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WantedScheme {
    /// User and password with each request.
    Basic,
    /// A token of a token service.
    Bearer {
        /// The service's address, without what may be as good as a password.
        realm: String,
        /// What the token is for.
        service: Option<String>,
    },
    /// One that is not spoken here.
    Unknown(String),
}

impl fmt::Display for Wants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wants::Nothing => f.write_str("nothing (anonymous)"),
            Wants::OneOf(schemes) => {
                let words: Vec<String> = schemes.iter().map(ToString::to_string).collect();
                f.write_str(&words.join(", or "))
            }
        }
    }
}

impl fmt::Display for WantedScheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WantedScheme::Basic => f.write_str("user and password (basic)"),
            WantedScheme::Bearer { realm, service: None } => write!(f, "a token (bearer) of `{realm}`"),
            WantedScheme::Bearer {
                realm,
                service: Some(service),
            } => write!(f, "a token (bearer) of `{realm}` for the service `{service}`"),
            WantedScheme::Unknown(scheme) => write!(f, "`{scheme}`, which is not supported"),
        }
    }
}

impl From<Challenge> for WantedScheme {
    fn from(challenge: Challenge) -> WantedScheme {
        match challenge {
            Challenge::Basic => WantedScheme::Basic,
            Challenge::Unknown(scheme) => WantedScheme::Unknown(scheme),
            Challenge::Bearer { realm, service, .. } => WantedScheme::Bearer {
                realm: Url::parse(&realm)
                    .map_or_else(|_| "an address that is none".to_owned(), |url| bare(&url).to_string()),
                service,
            },
        }
    }
}

/// Whether the endpoints are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inquiry {
    /// They are.
    Online,
    /// Only what is configured is told.
    Offline,
}

/// What an endpoint wants, and what it says of the image.
type Inquired = (Option<Result<Wants, Error>>, Option<Result<Digest, String>>);

impl Client {
    /// The endpoints of an image in the order they are tried.
    ///
    /// # Errors
    /// [`PortError`] for configuration that cannot be read or that forbids the image. What single endpoints say is no error.
    pub async fn explain(&self, name: &Reference, inquiry: Inquiry) -> Result<Vec<ExplainedEndpoint>, PortError> {
        let all = self.hosts().all(name).map_err(|error| error.of(name))?;
        let mut explained = Vec::new();
        for repository in all.iter() {
            let (wants, answer) = match inquiry {
                Inquiry::Online => self.ask(repository, name).await,
                Inquiry::Offline => (None, None),
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
                wants: wants.map(|wants| wants.map_err(|error| error.to_string())),
                answer,
            });
        }
        Ok(explained)
    }

    /// What one endpoint wants, and what it answers. Where nobody is, nobody is asked twice.
    async fn ask(&self, repository: &Repository, name: &Reference) -> Inquired {
        let wants = match tokio::time::timeout(PATIENCE, self.wants(repository, name)).await {
            Ok(wants) => wants,
            Err(_) => {
                let (host, seconds) = (&repository.endpoint().authority, PATIENCE.as_secs());
                Err(Error::Unreachable(format!(
                    "no answer from `{host}` in {seconds} seconds"
                )))
            }
        };
        let answer = match &wants {
            Err(error @ Error::Unreachable(_)) => Err(error.to_string()),
            _ => {
                let answer = self.soon(repository, self.digest_of(repository, name)).await;
                answer.map_err(|error| error.to_string())
            }
        };
        (Some(wants), Some(answer))
    }

    /// What is wanted of a stranger. What is configured to be sent to the endpoint is sent.
    async fn wants(&self, repository: &Repository, name: &Reference) -> Result<Wants, Error> {
        let which = name.digest().map(|digest| digest.to_string());
        let which = which.unwrap_or_else(|| name.tag().unwrap_or("latest").to_owned());
        let mut url = repository.url(&format!("manifests/{which}"));
        let ask = Ask::new(repository, Action::Pull, Method::HEAD, url.clone()).accepting(&accepted_manifests());
        let response = self.meet(&ask, &mut url, None).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(Wants::Nothing);
        }
        match Challenge::all(response.headers()) {
            none if none.is_empty() => Err(Error::Answer {
                request: ask.shown(),
                detail: "401 Unauthorized without a word of what it wants".to_owned(),
            }),
            challenges => Ok(Wants::OneOf(challenges.into_iter().map(WantedScheme::from).collect())),
        }
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
