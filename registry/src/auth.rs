//! Being let in: from a challenge and the user's credentials to what a request must carry.
//!
//! The token protocol is that of the
//! [distribution project](https://distribution.github.io/distribution/spec/auth/): GET with Basic or anonymously, POST
//! for identity tokens. What was granted is kept for each host and scope until it expires or is refused.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::{Duration, Instant};

use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use serde::Deserialize;
use tokio::sync::Mutex;

use crate::challenge::Challenge;
use crate::client::{Client, complaint, read_body, refusal};
use crate::credentials::{Credentials, Found};
use crate::error::{Error, shown};
use crate::repository::{Action, Repository};

const ANSWER_LIMIT: usize = 1 << 20;
/// Of a token whose service does not say.
const DEFAULT_LIFETIME: u64 = 60;
const CLIENT_ID: &str = "rbuild";
/// For so long a refusal is the answer to everybody: many requests at once are one guess at a password, and one wait for a
/// credential helper.
const REFUSAL_HOLDS: Duration = Duration::from_secs(5);

/// What a registry granted, by host and scope. The lock of one is held while it is asked for, so that many requests
/// refused at once cause one question.
#[derive(Debug, Default)]
pub(crate) struct Grants {
    slots: StdMutex<HashMap<(String, String), Slot>>,
}

type Slot = Arc<Mutex<Held>>;

/// What the last question about a scope came to.
#[derive(Debug, Default)]
enum Held {
    #[default]
    Nothing,
    Granted(Arc<Grant>),
    /// Nothing: when, and why.
    Refused(Instant, Error),
}

/// What requests of one scope carry.
pub(crate) struct Grant {
    authorization: Authorization,
    until: Option<Instant>,
    /// For messages: whose credentials it rests on.
    credentials: Option<String>,
}

enum Authorization {
    Basic { user: String, password: String },
    Bearer(String),
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

/// The question for a token.
struct TokenQuestion<'a> {
    repository: &'a Repository,
    realm: Url,
    service: Option<&'a str>,
    scopes: Vec<String>,
}

impl Grants {
    fn slot(&self, repository: &Repository, action: Action) -> Slot {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (repository.host.clone(), repository.scope(action));
        Arc::clone(slots.entry(key).or_default())
    }
}

impl Grant {
    pub(crate) fn apply(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.authorization {
            Authorization::Basic { user, password } => request.basic_auth(user, Some(password)),
            Authorization::Bearer(token) => request.bearer_auth(token),
        }
    }

    /// Whose credentials the grant rests on; nothing if it was given to a stranger.
    pub(crate) fn credentials(&self) -> Option<&str> {
        self.credentials.as_deref()
    }

    fn is_over(&self) -> bool {
        self.until.is_some_and(|until| until <= Instant::now())
    }
}

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grant")
            .field("credentials", &self.credentials)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// What was granted before and is still good.
    pub(crate) async fn granted(&self, repository: &Repository, action: Action) -> Option<Arc<Grant>> {
        let slot = self.grants().slot(repository, action);
        let mut held = slot.lock().await;
        match &*held {
            Held::Granted(grant) if grant.is_over() => {
                *held = Held::Nothing;
                None
            }
            Held::Granted(grant) => Some(Arc::clone(grant)),
            Held::Nothing | Held::Refused(..) => None,
        }
    }

    /// Answers a challenge. `refused` is what the request carried; if another request got something newer meanwhile,
    /// that is the answer.
    pub(crate) async fn authorize(
        &self,
        repository: &Repository,
        action: Action,
        challenges: &[Challenge],
        refused: Option<&Arc<Grant>>,
    ) -> Result<Arc<Grant>, Error> {
        let slot = self.grants().slot(repository, action);
        let mut held = slot.lock().await;
        match &*held {
            Held::Granted(newer) if !refused.is_some_and(|refused| Arc::ptr_eq(refused, newer)) => {
                return Ok(Arc::clone(newer));
            }
            Held::Refused(at, why) if at.elapsed() < REFUSAL_HOLDS => {
                if let Some(same) = why.repeated() {
                    return Err(same);
                }
            }
            _ => {}
        }
        *held = Held::Nothing;
        let granted = async {
            let found = self.look_up(repository).await?;
            self.ask_for_grant(repository, action, challenges, found).await
        };
        match granted.await {
            Ok(grant) => {
                let grant = Arc::new(grant);
                *held = Held::Granted(Arc::clone(&grant));
                Ok(grant)
            }
            Err(error) => {
                *held = error
                    .repeated()
                    .map_or(Held::Nothing, |why| Held::Refused(Instant::now(), why));
                Err(error)
            }
        }
    }

    pub(crate) async fn look_up(&self, repository: &Repository) -> Result<Option<Found>, Error> {
        let (files, helpers) = (self.files().clone(), self.helpers().clone());
        let (host, path) = (repository.host.clone(), repository.path.clone());
        let looking = tokio::task::spawn_blocking(move || files.look_up(&host, &path, &helpers));
        looking
            .await
            .map_err(|error| Error::Denied(format!("looking for credentials was interrupted: {error}")))?
    }

    async fn ask_for_grant(
        &self,
        repository: &Repository,
        action: Action,
        challenges: &[Challenge],
        found: Option<Found>,
    ) -> Result<Grant, Error> {
        let bearer = challenges.iter().find_map(|challenge| match challenge {
            Challenge::Bearer { realm, service, scope } => Some((realm, service, scope)),
            _ => None,
        });
        if bearer.is_some()
            && let Some(found) = &found
            && let Credentials::RegistryToken(token) = &found.credentials
        {
            return Ok(Grant {
                authorization: Authorization::Bearer(token.clone()),
                until: None,
                credentials: Some(found.to_string()),
            });
        }
        if let Some((realm, service, scope)) = bearer {
            let question = TokenQuestion {
                repository,
                realm: token_service(realm, repository, found.is_some())?,
                service: service.as_deref(),
                scopes: scopes(repository, action, scope.as_deref()),
            };
            return self.ask_for_token(repository, &question, found).await;
        }
        if challenges.contains(&Challenge::Basic) {
            return basic(repository, found);
        }
        let schemes: Vec<String> = challenges
            .iter()
            .filter_map(|challenge| match challenge {
                Challenge::Unknown(scheme) => Some(format!("`{scheme}`")),
                _ => None,
            })
            .collect();
        let host = &repository.host;
        let schemes = schemes.join(", ");
        Err(Error::Denied(format!(
            "`{host}` wants authentication by {schemes}, which is not supported"
        )))
    }

    async fn ask_for_token(
        &self,
        repository: &Repository,
        question: &TokenQuestion<'_>,
        found: Option<Found>,
    ) -> Result<Grant, Error> {
        let response = match found.as_ref().map(|found| &found.credentials) {
            Some(Credentials::IdentityToken(token)) => {
                let response = self.post_question(question, token).await?;
                if matches!(
                    response.status(),
                    StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED
                ) {
                    self.get_question(question, Some(("", token))).await?
                } else {
                    response
                }
            }
            Some(Credentials::Password { user, password }) => {
                self.get_question(question, Some((user, password))).await?
            }
            Some(Credentials::RegistryToken(_)) | None => self.get_question(question, None).await?,
        };
        let request = shown(&Method::GET, &question.realm);
        if matches!(response.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            let status = response.status();
            let said = complaint(&Method::GET, response).await;
            let hint = match &found {
                Some(found) => format!("{found} were refused; {} stores others", repository.login()),
                None => format!("no credentials are configured; {} stores some", repository.login()),
            };
            return Err(Error::Denied(format!("{request}: {status}{said}; {hint}")));
        }
        if response.status() != StatusCode::OK {
            return Err(refusal(&Method::GET, response).await);
        }
        let body = read_body(&Method::GET, response, ANSWER_LIMIT).await?;
        let answer: TokenAnswer = serde_json::from_slice(&body).map_err(|error| Error::Answer {
            request: request.clone(),
            detail: format!("the token service's answer is not valid: {error}"),
        })?;
        answer.into_grant(request, found)
    }

    async fn get_question(&self, question: &TokenQuestion<'_>, login: Option<(&str, &str)>) -> Result<Response, Error> {
        let mut url = question.realm.clone();
        {
            let mut query = url.query_pairs_mut();
            if let Some(service) = question.service {
                query.append_pair("service", service);
            }
            for scope in &question.scopes {
                query.append_pair("scope", scope);
            }
            if let Some((user, _)) = login
                && !user.is_empty()
            {
                query.append_pair("account", user);
            }
        }
        let mut request = self.request(question.repository, Method::GET, &url)?;
        if let Some((user, password)) = login {
            request = request.basic_auth(user, Some(password));
        }
        self.answer(&Method::GET, &url, request).await
    }

    async fn post_question(&self, question: &TokenQuestion<'_>, refresh_token: &str) -> Result<Response, Error> {
        // The encoding of a form is that of a query.
        let mut form = question.realm.clone();
        form.query_pairs_mut()
            .clear()
            .append_pair("grant_type", "refresh_token")
            .append_pair("client_id", CLIENT_ID)
            .append_pair("service", question.service.unwrap_or_default())
            .append_pair("scope", &question.scopes.join(" "))
            .append_pair("refresh_token", refresh_token);
        let body = form.query().unwrap_or_default().to_owned();
        let request = self
            .request(question.repository, Method::POST, &question.realm)?
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(body);
        self.answer(&Method::POST, &question.realm, request).await
    }
}

impl TokenAnswer {
    fn into_grant(self, request: String, found: Option<Found>) -> Result<Grant, Error> {
        let token = self.token.or(self.access_token).filter(|token| !token.is_empty());
        let token = token.filter(|token| token.bytes().all(|byte| byte.is_ascii_graphic()));
        let token = token.ok_or_else(|| Error::Answer {
            request,
            detail: "the token service's answer has no token".to_owned(),
        })?;
        // A little early, so that it does not expire on its way.
        let lifetime = Duration::from_secs(self.expires_in.unwrap_or(DEFAULT_LIFETIME)).mul_f64(0.9);
        Ok(Grant {
            authorization: Authorization::Bearer(token),
            until: Instant::now().checked_add(lifetime),
            credentials: found.map(|found| found.to_string()),
        })
    }
}

fn basic(repository: &Repository, found: Option<Found>) -> Result<Grant, Error> {
    let (host, login) = (&repository.host, repository.login());
    let Some(found) = found else {
        return Err(Error::Denied(format!(
            "`{host}` wants a user and a password; {login} stores them"
        )));
    };
    let credentials = Some(found.to_string());
    match found.credentials {
        Credentials::Password { user, password } => Ok(Grant {
            authorization: Authorization::Basic { user, password },
            until: None,
            credentials,
        }),
        Credentials::IdentityToken(_) | Credentials::RegistryToken(_) => Err(Error::Denied(format!(
            "`{host}` wants a user and a password, but only a token is configured; {login} stores them"
        ))),
    }
}

/// The URL of the token service. Credentials for an encrypted registry are not sent to one that is not.
fn token_service(realm: &str, repository: &Repository, with_credentials: bool) -> Result<Url, Error> {
    let refuse = |reason: &str| {
        Error::Denied(format!(
            "`{}` names the token service `{realm}`, {reason}",
            repository.host
        ))
    };
    let url = Url::parse(realm).map_err(|_| refuse("which is not a URL"))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(refuse("which is not a URL of HTTP"));
    }
    if with_credentials && url.scheme() == "http" && !repository.is_plain() {
        return Err(refuse("where credentials would travel unencrypted"));
    }
    Ok(url)
}

/// Our own scope, and the registry's if it is about something else than this repository.
fn scopes(repository: &Repository, action: Action, wanted: Option<&str>) -> Vec<String> {
    let own: Vec<String> = repository.scope(action).split(' ').map(str::to_owned).collect();
    let is_about = |one: &str, other: &str| {
        one.rsplit_once(':').map(|(what, _)| what) == other.rsplit_once(':').map(|(what, _)| what)
    };
    let foreign: Vec<String> = wanted
        .unwrap_or_default()
        .split_whitespace()
        .filter(|scope| !own.iter().any(|own| is_about(own, scope)))
        .map(str::to_owned)
        .collect();
    own.into_iter().chain(foreign).collect()
}
