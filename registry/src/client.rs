//! The client: one request and its answer, with everything in between that is the same for all requests:
//! authorisation, redirects, timeouts, and statuses turned into errors.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use reqwest::header::{
    ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, RANGE, RETRY_AFTER,
};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use tokio::time::Instant;

use crate::auth::{Grant, Grants};
use crate::challenge::Challenge;
use crate::connections::Connections;
use crate::credentials::{CredentialSource, Files};
use crate::detour::Detours;
use crate::error::{Error, bare, broken, no_answer, said, shown, wants_certificate};
use crate::helper::Helpers;
use crate::hosts::{Hosts, Scheme, Sources};
use crate::lanes::Lanes;
use crate::pushes::Pushes;
use crate::repository::{Action, Repository, is_loopback};
use crate::retry::{Contact, Listener, Tries, retry_after as after};
use crate::upload::{Piece, Trickle};

/// Where registries say which digest a manifest has.
pub(crate) const DIGEST_HEADER: &str = "docker-content-digest";
/// Without a byte for so long, a connection counts as broken. There is no limit on the whole transfer.
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 60 });
/// A document or a complaint that has not come by then never will: the largest take seconds.
const DOCUMENT_TIMEOUT: Duration = Duration::from_secs(if cfg!(test) { 2 } else { 120 });
const REDIRECT_LIMIT: usize = 10;
/// How much of an error's body is read.
const COMPLAINT_LIMIT: usize = 64 << 10;

/// How to reach registries.
#[derive(Clone, Debug, Default)]
pub struct ClientOptions {
    /// Where credentials are looked for, in this order.
    pub credentials: Vec<CredentialSource>,
    /// The credential helpers that run, for whoever has to end them.
    pub helpers: Helpers,
    /// Where registries are, besides where their names say.
    pub sources: Sources,
    /// Hosts (`host` or `host:port`) whose certificates are not checked, and that are spoken to in plain HTTP if they do
    /// not speak TLS.
    pub insecure: Vec<String>,
    /// PEM bundles of CA certificates that are trusted besides the system's. They are read when TLS is first spoken.
    pub extra_roots: Vec<PathBuf>,
    /// Sent with each request; empty for the crate's own.
    pub user_agent: String,
    /// How many blobs move between us and one host at the same time; `None` for 4.
    pub connections: Option<usize>,
    /// Blobs larger than this are sent in chunks of so many bytes; `None` sends each whole, while the registry lets us.
    pub chunk_size: Option<u64>,
    /// Is told when something is tried again, or asked for elsewhere.
    pub listener: Listener,
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
    helpers: Helpers,
    lanes: Lanes,
    pushes: Pushes,
    hosts: Hosts,
    detours: Detours,
    listener: Listener,
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
    Piece(Piece<'a>),
    /// Of a length that nobody knows yet.
    Trickle(&'a Trickle),
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
                connections: Connections::new(user_agent, options.extra_roots)?,
                grants: Grants::default(),
                files: Files(options.credentials),
                helpers: options.helpers,
                lanes: Lanes::new(options.connections),
                pushes: Pushes::new(options.chunk_size),
                hosts: Hosts::new(options.sources, options.insecure),
                detours: Detours::default(),
                listener: options.listener,
            }),
        })
    }

    /// The repository that takes what is pushed under `name`.
    pub(crate) fn repository(&self, name: &oci::Reference) -> Result<Repository, Error> {
        self.shared.hosts.to_push(name)
    }

    pub(crate) fn hosts(&self) -> &Hosts {
        &self.shared.hosts
    }

    pub(crate) fn detours(&self) -> &Detours {
        &self.shared.detours
    }

    pub(crate) fn grants(&self) -> &Grants {
        &self.shared.grants
    }

    pub(crate) fn lanes(&self) -> &Lanes {
        &self.shared.lanes
    }

    pub(crate) fn pushes(&self) -> &Pushes {
        &self.shared.pushes
    }

    pub(crate) fn listener(&self) -> &Listener {
        &self.shared.listener
    }

    /// Counts the tries of an operation that begins.
    pub(crate) fn tries(&self, contact: Contact) -> Tries {
        Tries::new(contact, &self.shared.listener)
    }

    pub(crate) fn files(&self) -> &Files {
        &self.shared.files
    }

    pub(crate) fn helpers(&self) -> &Helpers {
        &self.shared.helpers
    }

    /// A request to a host that `repository` leads to.
    pub(crate) fn request(&self, repository: &Repository, method: Method, url: &Url) -> Result<RequestBuilder, Error> {
        let client = self.shared.connections.to(url, &repository.trust(url))?;
        Ok(client.request(method, url.clone()))
    }

    /// Sends a request, answering challenges and following redirects, and gives the final answer, whatever its status.
    pub(crate) async fn exchange(&self, ask: &Ask<'_>) -> Result<Response, Error> {
        let mut url = ask.repository.settled(&ask.url);
        let mut hops = 0;
        let mut grant = self.granted(ask.repository, ask.action).await;
        let mut granted_now = false;
        loop {
            // Other hosts get neither credentials nor tokens.
            let sent = grant.as_deref().filter(|_| ask.repository.owns(&url));
            let response = self.meet(ask, &mut url, sent).await?;
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

    /// Sends a request; to an endpoint of which it is not known what it speaks, in one way and then, if it is not
    /// understood, in the other.
    pub(crate) async fn meet(&self, ask: &Ask<'_>, url: &mut Url, grant: Option<&Grant>) -> Result<Response, Error> {
        let endpoint = ask.repository.endpoint();
        let other = endpoint.other_scheme().filter(|_| ask.repository.owns(url));
        let answer = self.send_once(ask, url, grant).await;
        let Some(other) = other else { return answer };
        let first = endpoint.scheme();
        let misunderstood = match answer {
            Ok(response) if first == Scheme::Plain && response.status() == StatusCode::BAD_REQUEST => {
                let error = refusal(&ask.method, response).await;
                // The answer to HEAD has no words.
                if ask.method != Method::HEAD && !error.to_string().to_lowercase().contains("https") {
                    return Err(error);
                }
                error
            }
            Err(error @ Error::Unreachable(_)) if first == Scheme::Tls => error,
            Ok(response) => {
                endpoint.settle(first);
                return Ok(response);
            }
            Err(error) => return Err(error),
        };
        let again = ask.repository.by(other, url);
        match self.send_once(ask, &again, grant).await {
            Ok(response) => {
                endpoint.settle(other);
                *url = again;
                Ok(response)
            }
            Err(error) if other == Scheme::Tls && error.to_string().contains("certificate") => Err(error),
            Err(_) => Err(misunderstood),
        }
    }

    async fn send_once(&self, ask: &Ask<'_>, url: &Url, grant: Option<&Grant>) -> Result<Response, Error> {
        let mut request = self.request(ask.repository, ask.method.clone(), url)?;
        for (name, value) in &ask.headers {
            request = request.header(name, value);
        }
        // What is granted counts more than what is configured.
        let configured = ask.repository.endpoint().headers.iter();
        let configured = configured.filter(|(name, _)| grant.is_none() || name != AUTHORIZATION);
        for (name, value) in configured.filter(|_| ask.repository.owns(url)) {
            request = request.header(name, value);
        }
        if let Some(grant) = grant {
            request = grant.apply(request);
        }
        let answer = match &ask.body {
            Body::Empty if ask.method == Method::POST => {
                self.answer(&ask.method, url, request.header(CONTENT_LENGTH, 0)).await
            }
            Body::Empty => self.answer(&ask.method, url, request).await,
            // To a server that is asked to store something, no length at all is a fault.
            Body::Bytes(bytes) if bytes.is_empty() => {
                self.answer(&ask.method, url, request.header(CONTENT_LENGTH, 0)).await
            }
            Body::Bytes(bytes) => self.answer(&ask.method, url, request.body(bytes.clone())).await,
            Body::Piece(piece) => {
                let _lane = self.lanes().transfer(url).await;
                let request = request.header(CONTENT_LENGTH, piece.length()).body(piece.body().await?);
                let answer = piece.watch(request.send()).await;
                self.answered(ask, url, answer)
            }
            Body::Trickle(trickle) => {
                let _lane = self.lanes().transfer(url).await;
                let answer = trickle.watch(request.body(trickle.body()).send()).await;
                self.answered(ask, url, answer)
            }
        };
        let endpoint = ask.repository.endpoint();
        match answer {
            Err(error @ Error::Broken { .. }) if !endpoint.has_answered() && url.scheme() == "https" => {
                let alert = self.shared.connections.alert(url, &ask.repository.trust(url)).await;
                Err(alert.and_then(|alert| wants_certificate(url, alert)).unwrap_or(error))
            }
            Ok(response) if ask.repository.owns(url) => {
                endpoint.heard();
                Ok(response)
            }
            answer => answer,
        }
    }

    /// The answer to a long body; `None` is a connection on which nothing moved any more.
    fn answered(&self, ask: &Ask<'_>, url: &Url, answer: Option<reqwest::Result<Response>>) -> Result<Response, Error> {
        let roots = self.shared.connections.roots();
        match answer {
            Some(answer) => answer.map_err(|error| no_answer(shown(&ask.method, url), url, &error, roots)),
            None => Err(silent(&ask.method, url)),
        }
    }

    /// Sends a request without a long body.
    pub(crate) async fn answer(&self, method: &Method, url: &Url, request: RequestBuilder) -> Result<Response, Error> {
        let _lane = self.lanes().request(url).await;
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
            .field("hosts", &self.shared.hosts)
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

    pub(crate) fn with(mut self, name: HeaderName, value: &str) -> Ask<'a> {
        self.push_header(name, value);
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

/// The whole body, if it is not larger than `limit`, nor takes for ever piece by piece.
pub(crate) async fn read_body(method: &Method, mut response: Response, limit: usize) -> Result<Vec<u8>, Error> {
    let request = shown(method, response.url());
    let mut body = Vec::new();
    let end = Instant::now() + DOCUMENT_TIMEOUT;
    loop {
        let patience = end.min(Instant::now() + IDLE_TIMEOUT);
        let detail = match tokio::time::timeout_at(patience, response.chunk()).await {
            Ok(Ok(Some(chunk))) if body.len() + chunk.len() > limit => {
                let detail = format!("the answer is larger than {limit} bytes");
                return Err(Error::Answer { request, detail });
            }
            Ok(Ok(Some(chunk))) => {
                body.extend_from_slice(&chunk);
                continue;
            }
            Ok(Ok(None)) => return Ok(body),
            Ok(Err(error)) => return Err(broken(request, &error)),
            Err(_) if patience == end => format!("it did not all come in {} seconds", DOCUMENT_TIMEOUT.as_secs()),
            Err(_) => silence(IDLE_TIMEOUT),
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
    let retry_after = retry_after.and_then(|text| after(text, Timestamp::now()));
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
    let url =
        location(from, response).ok_or_else(|| refuse(format!("{} without a valid Location", response.status())))?;
    match astray(from, &url) {
        Some(why) => Err(refuse(format!("it redirects to `{}`, which is {why}", bare(&url)))),
        None => Ok(url),
    }
}

/// Why a redirect is not followed, and nothing sent to where an upload shall go.
pub(crate) fn astray(from: &Url, to: &Url) -> Option<&'static str> {
    if from.scheme() == "https" && to.scheme() == "http" {
        return Some("not encrypted");
    }
    (is_loopback(to) && !is_loopback(from)).then_some("this machine")
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
        detail: silence(IDLE_TIMEOUT),
    }
}

pub(crate) fn silence(patience: Duration) -> String {
    format!("nothing came for {} seconds", patience.as_secs())
}

#[cfg(test)]
mod tests {
    use std::io;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[test]
    fn redirects_lead_neither_out_of_encryption_nor_into_this_machine() {
        for (from, to, expected) in [
            ("https://h.example/x", "https://cdn.example/y", None),
            ("http://h.example/x", "http://cdn.example/y", None),
            ("http://h.example/x", "https://cdn.example/y", None),
            ("http://127.0.0.1:1/x", "http://127.0.0.1:2/y", None),
            ("http://localhost:1/x", "https://cdn.example/y", None),
            ("https://h.example/x", "http://h.example/x", Some("not encrypted")),
            ("https://h.example/x", "https://127.0.0.1:2375/y", Some("this machine")),
            ("http://h.example/x", "http://127.1/y", Some("this machine")),
            ("http://h.example/x", "http://2130706433/y", Some("this machine")),
            ("http://h.example/x", "http://localhost:2375/y", Some("this machine")),
            ("http://h.example/x", "http://[::1]/y", Some("this machine")),
            (
                "http://h.example/x",
                "http://[::ffff:127.0.0.1]/y",
                Some("this machine"),
            ),
            ("http://h.example/x", "http://0.0.0.0:2375/y", Some("this machine")),
        ] {
            let [from, to] = [from, to].map(|url| Url::parse(url).unwrap());
            assert_eq!(astray(&from, &to), expected, "{to}");
        }
    }

    /// A registry that says how much is to come, and then sends a byte four times a second.
    async fn dripping() -> Repository {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let name = format!("{}/a", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let _ = stream.read(&mut [0; 4096]).await;
                    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n";
                    let mut written = stream.write_all(head).await;
                    while written.is_ok() {
                        tokio::time::sleep(Duration::from_millis(250)).await;
                        written = stream.write_all(b" ").await;
                    }
                });
            }
        });
        Repository::of(&name.parse().unwrap(), &[]).unwrap()
    }

    #[tokio::test]
    async fn a_document_that_comes_drop_by_drop_is_not_waited_for() {
        let (client, repository) = (Client::new(ClientOptions::default()).unwrap(), dripping().await);
        let ask = Ask::new(&repository, Action::Pull, Method::GET, repository.url("x"));
        let response = client.exchange(&ask).await.unwrap();
        let error = read_body(&Method::GET, response, 1 << 20).await.unwrap_err();
        assert!(error.to_string().contains("did not all come in 2 seconds"), "{error}");
    }

    #[tokio::test]
    async fn a_blob_that_comes_drop_by_drop_is_given_up() {
        let (client, repository) = (Client::new(ClientOptions::default()).unwrap(), dripping().await);
        let blob = oci::Descriptor::new("", oci::Digest::of(b""), 1_000_000);
        let lane = client.lanes().transfer(&repository.url("")).await;
        let mut reader = client.open_blob(repository, Vec::new(), &blob, lane).await.unwrap();
        let read = tokio::task::spawn_blocking(move || io::read_to_string(&mut reader));
        let error = read.await.unwrap().unwrap_err().to_string();
        assert!(error.contains("bytes came in 1 seconds"), "{error}");
    }
}
