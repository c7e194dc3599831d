//! A file of a web server, as a stream, and what the server says of it.
//!
//! A file that was had before is asked for with its entity tag, so that a server that knows such tags need not send it
//! again. There is no limit on a file's size; a connection on which nothing moves counts as broken.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, CONTENT_DISPOSITION, ETAG, HeaderMap, HeaderName, IF_NONE_MATCH, LAST_MODIFIED};
use reqwest::redirect::Policy;
use reqwest::{Method, Response, StatusCode, Url};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// Without a byte for so long, a connection counts as broken.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// And with fewer bytes than these in that time.
const SLOWEST: u64 = 64 << 10;
const REDIRECT_LIMIT: usize = 10;

/// Why a file could not be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is none.
    #[error("invalid URL {url:?}: {detail}")]
    Address {
        /// As it was given.
        url: String,
        /// Why.
        detail: String,
    },
    /// The libraries refuse to work.
    #[error("cannot make an HTTP client: {0}")]
    Client(String),
    /// No answer, or not all of it.
    #[error("failed to fetch {url}: {detail}")]
    Broken {
        /// The address, without a password.
        url: String,
        /// What happened.
        detail: String,
    },
    /// An answer that is no file.
    #[error("failed to fetch {url}: invalid response status {status}")]
    Status {
        /// The address, without a password.
        url: String,
        /// The status.
        status: u16,
    },
}

/// Asks web servers. Clones share connections.
#[derive(Clone, Debug)]
pub struct Client {
    /// Through the proxy that the environment names, if any.
    outward: reqwest::Client,
    /// For this machine: never through a proxy.
    loopback: reqwest::Client,
}

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Where it is.
    pub url: String,
    /// The entity tag of the copy that is there, if there is one.
    pub known: Option<String>,
    /// The value of an `Authorization` header. Never sent to another host.
    pub authorization: Option<String>,
}

/// What a server has.
#[derive(Debug)]
pub enum Answer {
    /// The copy that is there is still true.
    Unchanged,
    /// This.
    File(Box<Download>),
}

/// A file on its way.
#[derive(Debug)]
pub struct Download {
    /// Its entity tag.
    pub entity_tag: Option<String>,
    /// When it was changed, in seconds since 1970.
    pub last_modified: Option<i64>,
    /// Its size, if that is said.
    pub size: Option<u64>,
    /// What the server calls it, if it does: the last part of the name only.
    pub name: Option<String>,
    url: String,
    response: Response,
    /// How long was waited for how many bytes, lately.
    pace: (Duration, u64),
}

impl Client {
    /// A client with the system's CA certificates, those of the file `certificates`, and the environment's proxies.
    /// Connects to nothing yet.
    ///
    /// # Errors
    /// If the libraries refuse, or the file cannot be read.
    pub fn new(user_agent: &str, certificates: Option<&Path>) -> Result<Client, Error> {
        let tls = trust(certificates)?;
        let builder = || {
            reqwest::Client::builder()
                .tls_backend_preconfigured(tls.clone())
                .redirect(Policy::limited(REDIRECT_LIMIT))
                .user_agent(user_agent)
                // An address may have a password in its query: it is nothing that the next host has to know.
                .referer(false)
                .connect_timeout(CONNECT_TIMEOUT)
                .read_timeout(IDLE_TIMEOUT)
        };
        let built = |builder: reqwest::ClientBuilder| builder.build().map_err(|error| Error::Client(chain(&error)));
        Ok(Client {
            outward: built(builder())?,
            loopback: built(builder().no_proxy())?,
        })
    }

    /// The connections to the host of `url`.
    pub(crate) fn to(&self, url: &Url) -> &reqwest::Client {
        if is_loopback(url) {
            &self.loopback
        } else {
            &self.outward
        }
    }

    /// Asks for a file.
    ///
    /// # Errors
    /// If there is no answer, or one that is no file.
    pub async fn get(&self, request: &Request) -> Result<Answer, Error> {
        let address = |detail: String| Error::Address {
            url: request.url.clone(),
            detail,
        };
        let url = Url::parse(&request.url).map_err(|error| address(error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(address("neither http nor https".to_owned()));
        }
        let shown = redacted(&url);
        let client = self.to(&url);
        let send = |method: Method| {
            let mut asking = client.request(method, url.clone());
            if let Some(known) = &request.known {
                asking = asking.header(IF_NONE_MATCH, known);
            }
            if let Some(authorization) = &request.authorization {
                asking = asking.header(AUTHORIZATION, authorization);
            }
            asking.send()
        };
        // Some servers send everything in spite of a tag that they know: of those only the head is wanted.
        if request.known.is_some()
            && let Ok(head) = send(Method::HEAD).await
            && is_unchanged(&head, request)
        {
            return Ok(Answer::Unchanged);
        }
        let response = send(Method::GET).await.map_err(|error| Error::Broken {
            url: shown.clone(),
            detail: chain(&error.without_url()),
        })?;
        if is_unchanged(&response, request) {
            return Ok(Answer::Unchanged);
        }
        let status = response.status();
        if !status.is_success() {
            let (url, status) = (shown, status.as_u16());
            return Err(Error::Status { url, status });
        }
        let entity_tag = text(response.headers(), ETAG);
        Ok(Answer::File(Box::new(Download {
            last_modified: text(response.headers(), LAST_MODIFIED).and_then(|text| time(&text)),
            size: response.content_length(),
            name: text(response.headers(), CONTENT_DISPOSITION).and_then(|text| file_name(&text)),
            entity_tag,
            url: shown,
            response,
            pace: (Duration::ZERO, 0),
        })))
    }
}

impl Download {
    /// The next bytes; `None` at the end.
    ///
    /// # Errors
    /// If the connection breaks.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        let broken = |detail: String| Error::Broken {
            url: self.url.clone(),
            detail,
        };
        let (waited, brought) = self.pace;
        if waited >= IDLE_TIMEOUT {
            if brought < SLOWEST {
                return Err(broken(format!(
                    "only {brought} bytes came in {} seconds",
                    waited.as_secs()
                )));
            }
            self.pace = (Duration::ZERO, 0);
        }
        let since = Instant::now();
        let chunk = self.response.chunk().await;
        let chunk = chunk.map_err(|error| broken(chain(&error.without_url())))?;
        self.pace.0 += since.elapsed();
        self.pace.1 += chunk.as_ref().map_or(0, |bytes| bytes.len() as u64);
        Ok(chunk)
    }
}

/// Whether an answer says that the copy that is there is still true.
fn is_unchanged(response: &Response, request: &Request) -> bool {
    let tag = text(response.headers(), ETAG);
    match response.status() {
        StatusCode::NOT_MODIFIED => request.known.is_some() && (tag.is_none() || tag == request.known),
        StatusCode::OK => tag.is_some() && tag == request.known,
        _ => false,
    }
}

/// The address without what it may hold of a password.
fn redacted(url: &Url) -> String {
    let mut url = url.clone();
    if url.password().is_some() {
        // Only addresses without a host refuse one, and those have none.
        let _ = url.set_password(Some("xxxxx"));
    }
    url.to_string()
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    let text = headers.get(name)?.to_str().ok()?;
    (!text.is_empty()).then(|| text.to_owned())
}

/// A date as HTTP has them.
pub(crate) fn time(text: &str) -> Option<i64> {
    let text = text
        .strip_suffix("GMT")
        .map_or_else(|| text.to_owned(), |date| format!("{date}+0000"));
    let parsed = jiff::fmt::rfc2822::DateTimeParser::new()
        .relaxed_weekday(true)
        .parse_timestamp(&text);
    parsed.ok().map(jiff::Timestamp::as_second)
}

/// The name in `attachment; filename="a b.txt"`.
pub(crate) fn file_name(disposition: &str) -> Option<String> {
    let mut parameters = disposition.split(';').skip(1).map(str::trim);
    let value = parameters.find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim()
            .eq_ignore_ascii_case("filename")
            .then(|| value.trim().trim_matches('"'))
    })?;
    let name = value.rsplit('/').next()?;
    (!matches!(name, "" | "." | "..") && !name.contains('\0')).then(|| name.to_owned())
}

/// An error and its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn trust(certificates: Option<&Path>) -> Result<rustls::ClientConfig, Error> {
    let mut roots = rustls::RootCertStore::empty();
    let _ = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = certificates {
        let unreadable = |error| Error::Client(format!("cannot read {}: {error}", path.display()));
        let read = CertificateDer::pem_file_iter(path).map_err(unreadable)?;
        for certificate in read {
            let _ = roots.add_parsable_certificates([certificate.map_err(unreadable)?]);
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::Client(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_http_are_seconds() {
        for (text, seconds) in [
            ("Thu, 01 Jan 1970 00:00:00 GMT", Some(0)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(784_111_777)),
            ("Mon, 06 Nov 1994 08:49:37 GMT", Some(784_111_777)),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(time(text), seconds, "{text}");
        }
    }

    #[test]
    fn a_name_from_a_server_is_one_name() {
        for (text, name) in [
            ("attachment; filename=\"a b.txt\"", Some("a b.txt")),
            ("attachment; FileName=a.txt; x=y", Some("a.txt")),
            ("attachment; filename=../../etc/passwd", Some("passwd")),
            ("attachment; filename=\"..\"", None),
            ("attachment; filename=x/", None),
            ("inline", None),
        ] {
            assert_eq!(file_name(text).as_deref(), name, "{text}");
        }
    }

    #[test]
    fn passwords_are_not_shown() {
        let url = Url::parse("https://me:secret@host/x?y").unwrap();
        assert_eq!(redacted(&url), "https://me:xxxxx@host/x?y");
    }
}
