//! What can go wrong between us and a registry, in words for the user, and how it maps to the port's errors.

use std::error::Error as _;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use oci::PortError;
use reqwest::{StatusCode, Url};
use rustls::AlertDescription;

/// Why a registry could not give or take something.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The TLS library refuses its configuration.
    #[error("cannot set up TLS: {0}")]
    Tls(rustls::Error),
    /// The HTTP library refuses its configuration.
    #[error("cannot set up the HTTP client: {0}")]
    HttpClient(String),
    /// The host part of a name makes no URL.
    #[error("`{host}` is not the address of a registry: {reason}")]
    Address {
        /// As in the name.
        host: String,
        /// What the URL parser says.
        reason: String,
    },
    /// No connection came about: name lookup, TCP, TLS or proxy failed.
    #[error("{0}")]
    Unreachable(String),
    /// A connection broke or fell silent.
    #[error("{request}: {detail}")]
    Broken {
        /// Method and URL.
        request: String,
        /// What was seen.
        detail: String,
    },
    /// The registry does not have it.
    #[error("{request}: not found{said}")]
    NotFound {
        /// Method and URL.
        request: String,
        /// What the registry says about it, starting with `: ` unless empty.
        said: String,
    },
    /// Credentials are missing or were refused.
    #[error("{0}")]
    Denied(String),
    /// Credentials are configured but cannot be read.
    #[error("cannot read credentials from {source_name}: {reason}")]
    Credentials {
        /// The file or the variable.
        source_name: String,
        /// Why not.
        reason: String,
    },
    /// A file that says where registries are breaks its rules.
    #[error("`{path}` line {line}: {reason}")]
    Configuration {
        /// The file.
        path: PathBuf,
        /// Where in it.
        line: usize,
        /// Which rule.
        reason: String,
    },
    /// The configuration forbids to pull from there.
    #[error("`{name}` is blocked by {by}")]
    Blocked {
        /// Host and repository.
        name: String,
        /// The file and line.
        by: String,
    },
    /// A file of certificates or keys that is configured cannot be used.
    #[error("cannot use the certificates in `{path}`: {reason}")]
    Certificate {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// Another status than the request asked for.
    #[error("{request}: {status}{said}")]
    Status {
        /// Method and URL.
        request: String,
        /// The status.
        status: StatusCode,
        /// What the registry says about it, starting with `: ` unless empty.
        said: String,
        /// When the registry wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// The status is right but the rest breaks the rules.
    #[error("{request}: {detail}")]
    Answer {
        /// Method and URL.
        request: String,
        /// Which rule.
        detail: String,
    },
    /// A document or local file is not what it should be.
    #[error(transparent)]
    Content(#[from] oci::Error),
}

/// Whether asking again may help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hope {
    /// It will not.
    None,
    /// It may, if the host was there a moment ago.
    IfItWasThere,
    /// It may, after the time the registry named.
    After(Option<Duration>),
}

impl Error {
    pub(crate) fn hope(&self) -> Hope {
        match self {
            Error::Unreachable(_) => Hope::IfItWasThere,
            Error::Broken { .. } => Hope::After(None),
            Error::Status {
                status, retry_after, ..
            } if status.is_server_error() && *status != StatusCode::NOT_IMPLEMENTED
                || matches!(*status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT) =>
            {
                Hope::After(*retry_after)
            }
            _ => Hope::None,
        }
    }

    /// The same once more, of what does not change from one request to the next: that we are not let in.
    pub(crate) fn repeated(&self) -> Option<Error> {
        match self {
            Error::Denied(why) => Some(Error::Denied(why.clone())),
            Error::Credentials { source_name, reason } => Some(Error::Credentials {
                source_name: source_name.clone(),
                reason: reason.clone(),
            }),
            _ => None,
        }
    }

    /// The port's error for what happened while asking for `name`.
    pub(crate) fn of(self, name: &impl ToString) -> PortError {
        let name = name.to_string();
        let detail = self.to_string();
        match self {
            // Of a name that is found, a part may be missing.
            Error::NotFound { request, .. } => match request.rsplit('/').next() {
                Some(part) if part.starts_with("sha256:") && !name.contains(part) => PortError::NotFound {
                    name: format!("{name}: its part {part}"),
                },
                _ => PortError::NotFound { name },
            },
            Error::Denied(_) | Error::Credentials { .. } => PortError::Denied { name, detail },
            Error::Blocked { .. } => PortError::Forbidden { reason: detail },
            Error::Status { .. }
            | Error::Answer { .. }
            | Error::Address { .. }
            | Error::Certificate { .. }
            | Error::Configuration { .. } => PortError::Protocol { name, detail },
            Error::Unreachable(_) | Error::Broken { .. } | Error::Tls(_) | Error::HttpClient(_) => {
                PortError::Unreachable { name, detail }
            }
            Error::Content(source) => PortError::Content { name, source },
        }
    }
}

/// Method and URL for messages. The query stays out: that of a redirect is often as good as a password.
pub(crate) fn shown(method: &reqwest::Method, url: &Url) -> String {
    format!("{method} {}", bare(url))
}

/// The URL without what may be as good as a password.
pub(crate) fn bare(url: &Url) -> Url {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    // Fails for URLs that cannot hold them, which is as well.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url
}

/// What a server says by TLS of a client that shows no certificate, or one that it does not like.
const ALERTS_OF_OUR_CERTIFICATE: [AlertDescription; 7] = [
    AlertDescription::CertificateRequired,
    AlertDescription::BadCertificate,
    AlertDescription::UnknownCA,
    AlertDescription::CertificateUnknown,
    AlertDescription::CertificateExpired,
    AlertDescription::CertificateRevoked,
    AlertDescription::UnsupportedCertificate,
];

/// The error for an alert, if it is about our certificate.
pub(crate) fn wants_certificate(url: &Url, alert: AlertDescription) -> Option<Error> {
    let host = authority(url);
    ALERTS_OF_OUR_CERTIFICATE.contains(&alert).then(|| {
        Error::Denied(format!(
            "`{host}` wants a client certificate that it trusts (it says {alert:?})"
        ))
    })
}

fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port()
        .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// The error of a request that got no answer. `roots` is the number of CA certificates trusted.
pub(crate) fn no_answer(request: String, url: &Url, error: &reqwest::Error, roots: usize) -> Error {
    let (host, chain) = (authority(url), causes(error));
    let alert = ALERTS_OF_OUR_CERTIFICATE
        .into_iter()
        .find(|alert| chain.contains(&format!("received fatal alert: {alert:?}")));
    if let Some(error) = alert.and_then(|alert| wants_certificate(url, alert)) {
        return error;
    }
    if !error.is_connect() {
        return broken(request, error);
    }
    Error::Unreachable(if error.is_dns() {
        format!("cannot look up the host `{host}`: {chain}")
    } else if error.is_timeout() {
        format!("no connection to `{host}` in time")
    } else if io_kind(error) == Some(io::ErrorKind::ConnectionRefused) {
        format!("connection refused by `{host}`: no registry listens there")
    } else if chain.contains("invalid peer certificate") && roots == 0 {
        format!("no CA certificates were found to check `{host}` by; name some in SSL_CERT_FILE: {chain}")
    } else if chain.contains("InvalidContentType") {
        format!("`{host}` does not speak TLS; plain HTTP is spoken to loopback and insecure registries only")
    } else {
        format!("cannot connect to `{host}`: {chain}")
    })
}

/// The error of an answer that ended early. One that is no HTTP will be none the next time, either.
pub(crate) fn broken(request: String, error: &reqwest::Error) -> Error {
    let chain = causes(error);
    if is_malformed(error) {
        let detail = format!("the answer is not valid HTTP: {chain}");
        return Error::Answer { request, detail };
    }
    let detail = format!("the connection broke: {chain}");
    Error::Broken { request, detail }
}

/// Whether a head did not parse, or the frames of a body.
fn is_malformed(error: &reqwest::Error) -> bool {
    let mut next = error.source();
    while let Some(cause) = next {
        let of_head = cause.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse);
        let of_body = cause
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::InvalidInput);
        if of_head || of_body {
            return true;
        }
        next = cause.source();
    }
    false
}

/// The causes of an error of the HTTP library, without its own first line, which repeats the URL.
pub(crate) fn causes(error: &reqwest::Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        let repeated = parts.last().is_some_and(|last| last.contains(&text));
        if !repeated && !is_frame(&text) {
            parts.push(text);
        }
        next = cause.source();
    }
    if parts.is_empty() {
        error.to_string()
    } else {
        parts.join(": ")
    }
}

/// Layers of the HTTP library that say only where in it the error passed.
fn is_frame(text: &str) -> bool {
    text.starts_with("client error (") || matches!(text, "dns error" | "error resolving DNS")
}

fn io_kind(error: &reqwest::Error) -> Option<io::ErrorKind> {
    let mut next = error.source();
    while let Some(cause) = next {
        if let Some(error) = cause.downcast_ref::<io::Error>()
            && error.raw_os_error().is_some()
        {
            return Some(error.kind());
        }
        next = cause.source();
    }
    None
}

/// What a registry says in the body of an error: `: CODE: message`, or the start of a text, or nothing.
pub(crate) fn said(body: &[u8]) -> String {
    const SHOWN: usize = 300;
    let document: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let from_json = document.as_ref().map(|document| {
        let errors = document.get("errors").and_then(|errors| errors.as_array());
        let texts = errors.into_iter().flatten().filter_map(one_error);
        let texts = texts.collect::<Vec<_>>().join("; ");
        let details = document.get("details").or_else(|| document.get("message"));
        if texts.is_empty() {
            details.and_then(|text| text.as_str()).unwrap_or_default().to_owned()
        } else {
            texts
        }
    });
    let text = from_json.unwrap_or_else(|| String::from_utf8_lossy(body).into_owned());
    // Pages of HTML tell nothing.
    if text.trim_start().starts_with('<') || text.trim().is_empty() {
        return String::new();
    }
    let line = text
        .split(char::is_control)
        .map(str::trim)
        .collect::<Vec<_>>()
        .join(" ");
    let short: String = line.trim().chars().take(SHOWN).collect();
    format!(": {short}")
}

fn one_error(error: &serde_json::Value) -> Option<String> {
    let field = |name| {
        error
            .get(name)
            .and_then(|value| value.as_str())
            .filter(|text| !text.is_empty())
    };
    match (field("code"), field("message")) {
        (Some(code), Some(message)) => Some(format!("{code}: {message}")),
        (one, other) => one.or(other).map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_is_quoted_in_its_own_words() {
        for (body, expected) in [
            (
                r#"{"errors":[{"code":"DENIED","message":"no","detail":{}},{"code":"X"}]}"#,
                ": DENIED: no; X",
            ),
            (
                r#"{"details":"incorrect username or password"}"#,
                ": incorrect username or password",
            ),
            (
                "Client sent an HTTP request\nto an HTTPS server.\n",
                ": Client sent an HTTP request to an HTTPS server.",
            ),
            ("<html><body>502</body></html>", ""),
            ("{}", ""),
            ("", ""),
            ("\u{1b}[31mred", ": [31mred"),
        ] {
            assert_eq!(said(body.as_bytes()), expected);
        }
    }

    #[test]
    fn secrets_in_urls_are_not_shown() {
        let url = Url::parse("https://u:p@h:1/v2/a?X-Amz-Signature=s#f").unwrap();
        assert_eq!(shown(&reqwest::Method::GET, &url), "GET https://h:1/v2/a");
    }
}
