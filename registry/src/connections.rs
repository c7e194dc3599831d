//! The clients of the HTTP library below ours. Reading the system's certificates takes longer (7 ms of 140 files) than
//! asking a registry of this machine whether anything is new, so that they wait for the first address that needs them.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use reqwest::Url;
use reqwest::redirect::Policy;

use crate::error::{Error, causes};
use crate::repository::is_loopback;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// Connections to all hosts, kept open for the next request.
pub(crate) struct Connections {
    user_agent: String,
    /// For plain HTTP on this machine: trusts no certificate.
    plain: reqwest::Client,
    secured: OnceLock<Secured>,
}

struct Secured {
    /// Through the proxy that the environment names, if any.
    outward: reqwest::Client,
    /// For this machine: never through a proxy.
    loopback: reqwest::Client,
    /// How many CA certificates are trusted.
    roots: usize,
}

impl Connections {
    pub(crate) fn new(user_agent: String) -> Result<Connections, Error> {
        let plain = build(client(&user_agent, trusting(rustls::RootCertStore::empty())?).no_proxy())?;
        Ok(Connections {
            user_agent,
            plain,
            secured: OnceLock::new(),
        })
    }

    /// The client for `url`.
    pub(crate) fn to(&self, url: &Url) -> Result<&reqwest::Client, Error> {
        match (is_loopback(url), url.scheme()) {
            (true, "http") => Ok(&self.plain),
            (true, _) => Ok(&self.secured()?.loopback),
            (false, _) => Ok(&self.secured()?.outward),
        }
    }

    /// How many CA certificates are trusted, so far as any were asked for.
    pub(crate) fn roots(&self) -> usize {
        self.secured.get().map_or(0, |secured| secured.roots)
    }

    fn secured(&self) -> Result<&Secured, Error> {
        if let Some(secured) = self.secured.get() {
            return Ok(secured);
        }
        let mut certificates = rustls::RootCertStore::empty();
        let (roots, _ignored) = certificates.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let tls = trusting(certificates)?;
        let made = Secured {
            outward: build(client(&self.user_agent, tls.clone()))?,
            loopback: build(client(&self.user_agent, tls).no_proxy())?,
            roots,
        };
        // Two who come at once read twice, and share the first.
        Ok(self.secured.get_or_init(|| made))
    }
}

fn client(user_agent: &str, tls: rustls::ClientConfig) -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(Policy::none())
        .user_agent(user_agent)
        .connect_timeout(CONNECT_TIMEOUT)
}

fn build(builder: reqwest::ClientBuilder) -> Result<reqwest::Client, Error> {
    builder
        .build()
        .map_err(|error| Error::HttpClient(format!("{error}: {}", causes(&error))))
}

fn trusting(certificates: rustls::RootCertStore) -> Result<rustls::ClientConfig, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(Error::Tls)?
        .with_root_certificates(certificates)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
