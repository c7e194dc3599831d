//! The client: one request and its answer, with everything in between that is the same for all requests:
//! authorisation, redirects, timeouts, and statuses turned into errors.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, RANGE, RETRY_AFTER};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};

use crate::auth::{Grant, Grants};
use crate::challenge::Challenge;
use crate::connections::Connections;
use crate::credentials::Files;
use crate::error::{Error, causes, no_answer, said, shown};
use crate::repository::{Action, Repository};
use crate::upload::Upload;

/// Where registries say which digest a manifest has.
pub(crate) const DIGEST_HEADER: &str = "docker-content-digest";
/// Without a byte for so long, a connection counts as broken. There is no limit on the whole transfer.
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
const REDIRECT_LIMIT: usize = 10;
/// How much of an error's body is read.
const COMPLAINT_LIMIT: usize = 64 << 10;

/// How to reach registries.
#[derive(Clone, Debug, Default)]
pub struct ClientOptions {
    /// Docker's `config.json`, or the directory it is in: credentials and credential helpers. It need not exist.
    pub docker_config: Option<PathBuf>,
    /// Files of podman's form (`auth.json`), asked in this order if Docker's has nothing. They need not exist.
    pub auth_files: Vec<PathBuf>,
    /// Hosts (`host` or `host:port`) that are spoken to in plain HTTP. Loopback hosts always are.
    pub insecure: Vec<String>,
    /// Sent with each request; empty for the crate's own.
    pub user_agent: String,
}

/// Gives and takes images over the network. Clones share connections and tokens.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    connections: Connections,
    grants: Grants,
    files: Files,
    insecure: Vec<String>,
}

/// One request as it is meant; what goes over the wire may be several.
pub(crate) struct Ask<'a> {
    pub(crate) repository: &'a Repository,
    pub(crate) action: Action,
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) body: Body<'a>,
}

/// What a request carries; it can be sent more than once.
pub(crate) enum Body<'a> {
    Empty,
    Bytes(Bytes),
    Upload(&'a Upload),
}

impl Client {
    /// A client with the system's CA certificates; the variables `SSL_CERT_FILE` and `SSL_CERT_DIR` name others.
    /// Connects to nothing and reads no certificates yet.
    ///
    /// # Errors
    /// [`Error::Tls`] and [`Error::HttpClient`] if the libraries refuse; missing certificates are no error until one is
    /// needed.
    pub fn new(options: ClientOptions) -> Result<Client, Error> {
        let user_agent = if options.user_agent.is_empty() {
            concat!("rbuild/", env!("CARGO_PKG_VERSION")).to_owned()
        } else {
            options.user_agent
        };
        Ok(Client {
            shared: Arc::new(Shared {
                connections: Connections::new(user_agent)?,
                grants: Grants::default(),
                files: Files {
                    docker: options.docker_config,
                    containers: options.auth_files,
                },
                insecure: options.insecure,
            }),
        })
    }

    pub(crate) fn repository(&self, name: &oci::Reference) -> Result<Repository, Error> {
        Repository::of(name, &self.shared.insecure)
    }

    pub(crate) fn grants(&self) -> &Grants {
        &self.shared.grants
    }

    pub(crate) fn files(&self) -> &Files {
        &self.shared.files
    }

    pub(crate) fn request(&self, method: Method, url: &Url) -> Result<RequestBuilder, Error> {
        Ok(self.shared.connections.to(url)?.request(method, url.clone()))
    }

    /// Sends a request, answering challenges and following redirects, and gives the final answer, whatever its status.
    pub(crate) async fn exchange(&self, ask: &Ask<'_>) -> Result<Response, Error> {
        let mut url = ask.url.clone();
        let mut hops = 0;
        let mut grant = self.granted(ask.repository, ask.action).await;
        let mut granted_now = false;
        loop {
            // Other hosts get neither credentials nor tokens.
            let sent = grant.as_deref().filter(|_| ask.repository.owns(&url));
            let response = self.send_once(ask, &url, sent).await?;
            let status = response.status();
            if status == StatusCode::UNAUTHORIZED && ask.repository.owns(&url) {
                if granted_now {
                    return Err(denied(ask, response, sent).await);
                }
                let challenges = Challenge::all(response.headers());
                if challenges.is_empty() {
                    return Err(denied(ask, response, sent).await);
                }
                grant = Some(
                    self.authorize(ask.repository, ask.action, &challenges, grant.as_ref())
                        .await?,
                );
                granted_now = true;
            } else if is_redirect(status) && matches!(ask.method, Method::GET | Method::HEAD) {
                hops += 1;
                url = redirect_target(ask, &url, &response, hops)?;
            } else {
                return Ok(response);
            }
        }
    }

    /// Sends a request and gives its answer if it has one of the statuses `wanted`.
    pub(crate) async fn obtain(&self, ask: &Ask<'_>, wanted: &[StatusCode]) -> Result<Response, Error> {
        let response = self.exchange(ask).await?;
        if wanted.contains(&response.status()) {
            Ok(response)
        } else {
            Err(self.refused(ask, response).await)
        }
    }

    /// The error for a status that was not wanted.
    pub(crate) async fn refused(&self, ask: &Ask<'_>, response: Response) -> Error {
        if !matches!(response.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            return refusal(&ask.method, response).await;
        }
        let grant = self.granted(ask.repository, ask.action).await;
        denied(ask, response, grant.as_deref()).await
    }

    async fn send_once(&self, ask: &Ask<'_>, url: &Url, grant: Option<&Grant>) -> Result<Response, Error> {
        let mut request = self.request(ask.method.clone(), url)?;
        for (name, value) in &ask.headers {
            request = request.header(name, value);
        }
        if let Some(grant) = grant {
            request = grant.apply(request);
        }
        match &ask.body {
            Body::Empty if ask.method == Method::POST => {
                self.answer(&ask.method, url, request.header(CONTENT_LENGTH, 0)).await
            }
            Body::Empty => self.answer(&ask.method, url, request).await,
            Body::Bytes(bytes) => self.answer(&ask.method, url, request.body(bytes.clone())).await,
            Body::Upload(upload) => {
                let request = request.header(CONTENT_LENGTH, upload.size()).body(upload.body().await?);
                let answer = upload.watch(request.send()).await;
                let answer = answer.ok_or_else(|| silent(&ask.method, url))?;
                answer.map_err(|error| no_answer(shown(&ask.method, url), url, &error, self.shared.connections.roots()))
            }
        }
    }

    /// Sends a request without a long body.
    pub(crate) async fn answer(&self, method: &Method, url: &Url, request: RequestBuilder) -> Result<Response, Error> {
        match tokio::time::timeout(IDLE_TIMEOUT, request.send()).await {
            Ok(answer) => {
                answer.map_err(|error| no_answer(shown(method, url), url, &error, self.shared.connections.roots()))
            }
            Err(_) => Err(silent(method, url)),
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("insecure", &self.shared.insecure)
            .finish_non_exhaustive()
    }
}

impl<'a> Ask<'a> {
    /// A request without headers and body.
    pub(crate) fn new(repository: &'a Repository, action: Action, method: Method, url: Url) -> Ask<'a> {
        Ask {
            repository,
            action,
            method,
            url,
            headers: Vec::new(),
            body: Body::Empty,
        }
    }

    pub(crate) fn accepting(mut self, types: &str) -> Ask<'a> {
        self.push_header(ACCEPT, types);
        self
    }

    pub(crate) fn starting_at(mut self, offset: u64) -> Ask<'a> {
        self.push_header(RANGE, &format!("bytes={offset}-"));
        self
    }

    pub(crate) fn carrying(mut self, content_type: &str, body: Body<'a>) -> Ask<'a> {
        self.push_header(CONTENT_TYPE, content_type);
        self.body = body;
        self
    }

    /// A header whose value comes from a document is left out if it cannot be one.
    fn push_header(&mut self, name: HeaderName, value: &str) {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.push((name, value));
        }
    }

    pub(crate) fn shown(&self) -> String {
        shown(&self.method, &self.url)
    }
}

/// The whole body, if it is not larger than `limit`.
pub(crate) async fn read_body(method: &Method, mut response: Response, limit: usize) -> Result<Vec<u8>, Error> {
    let request = shown(method, response.url());
    let mut body = Vec::new();
    loop {
        let detail = match tokio::time::timeout(IDLE_TIMEOUT, response.chunk()).await {
            Ok(Ok(Some(chunk))) if body.len() + chunk.len() > limit => {
                let detail = format!("the answer is larger than {limit} bytes");
                return Err(Error::Answer { request, detail });
            }
            Ok(Ok(Some(chunk))) => {
                body.extend_from_slice(&chunk);
                continue;
            }
            Ok(Ok(None)) => return Ok(body),
            Ok(Err(error)) => format!("the connection broke: {}", causes(&error)),
            Err(_) => silence(),
        };
        return Err(Error::Broken { request, detail });
    }
}

/// The error for a status that was not wanted.
pub(crate) async fn refusal(method: &Method, response: Response) -> Error {
    let request = shown(method, response.url());
    let status = response.status();
    let retry_after = response
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok());
    let retry_after = retry_after
        .and_then(|text| text.trim().parse().ok())
        .map(Duration::from_secs);
    let said = complaint(method, response).await;
    if matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE) {
        return Error::NotFound { request, said };
    }
    Error::Status {
        request,
        status,
        said,
        retry_after,
    }
}

/// What the registry says in the body of an error; nothing if it breaks off.
pub(crate) async fn complaint(method: &Method, response: Response) -> String {
    let body = read_body(method, response, COMPLAINT_LIMIT).await;
    body.map(|body| said(&body)).unwrap_or_default()
}

async fn denied(ask: &Ask<'_>, response: Response, grant: Option<&Grant>) -> Error {
    let status = response.status();
    let said = complaint(&ask.method, response).await;
    let login = ask.repository.login();
    let host = &ask.repository.host;
    let hint = match (grant.and_then(Grant::credentials), ask.action) {
        (Some(used), _) if status == StatusCode::UNAUTHORIZED => format!("{used} were refused; {login} stores others"),
        (Some(used), _) => format!("{used} do not suffice"),
        // Registries tell strangers the same of private repositories and of absent ones.
        (None, Action::Pull) => format!("it may not exist, or need credentials for `{host}`: {login} stores them"),
        (None, Action::Push) => format!("no credentials for `{host}` are configured: {login} stores them"),
    };
    Error::Denied(format!("{}: {status}{said}; {hint}", ask.shown()))
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

fn redirect_target(ask: &Ask<'_>, from: &Url, response: &Response, hops: usize) -> Result<Url, Error> {
    let refuse = |detail: String| Error::Answer {
        request: ask.shown(),
        detail,
    };
    if hops > REDIRECT_LIMIT {
        return Err(refuse(format!("more than {REDIRECT_LIMIT} redirects")));
    }
    location(from, response).ok_or_else(|| refuse(format!("{} without a valid Location", response.status())))
}

/// The `Location` header, which may be relative to the URL asked for.
pub(crate) fn location(from: &Url, response: &Response) -> Option<Url> {
    let text = response.headers().get(LOCATION)?.to_str().ok()?;
    let url = from.join(text).ok()?;
    (matches!(url.scheme(), "http" | "https") && url.has_host()).then_some(url)
}

fn silent(method: &Method, url: &Url) -> Error {
    Error::Broken {
        request: shown(method, url),
        detail: silence(),
    }
}

pub(crate) fn silence() -> String {
    format!("nothing came for {} seconds", IDLE_TIMEOUT.as_secs())
}
