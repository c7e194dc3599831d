//! The clients of the HTTP library below ours. Reading the system's certificates takes longer (7 ms of 140 files) than
//! asking a registry of this machine whether anything is new, so that they wait for the first address that needs them.
//! Hosts that are trusted in ways of their own have clients of their own.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use reqwest::Url;
use reqwest::redirect::Policy;
use rustls::{AlertDescription, RootCertStore};

use crate::error::{Error, causes};
use crate::handshake;
use crate::repository::is_loopback;
use crate::trust::{Trust, certificates};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// Connections to all hosts, kept open for the next request.
pub(crate) struct Connections {
    user_agent: String,
    /// Bundles that are trusted besides the system's, for every host.
    extra_roots: Vec<PathBuf>,
    /// For plain HTTP on this machine: trusts no certificate.
    plain: reqwest::Client,
    roots: OnceLock<RootCertStore>,
    secured: Mutex<HashMap<Trust, Secured>>,
}

#[derive(Clone)]
struct Secured {
    /// Through the proxy that the environment names, if any.
    outward: reqwest::Client,
    /// For this machine: never through a proxy.
    loopback: reqwest::Client,
}

impl Connections {
    pub(crate) fn new(user_agent: String, extra_roots: Vec<PathBuf>) -> Result<Connections, Error> {
        let tls = Trust::default().config(RootCertStore::empty())?;
        let plain = build(client(&user_agent, tls).no_proxy())?;
        Ok(Connections {
            user_agent,
            extra_roots,
            plain,
            roots: OnceLock::new(),
            secured: Mutex::default(),
        })
    }

    /// The client for `url`, whose host is trusted so.
    pub(crate) fn to(&self, url: &Url, trust: &Trust) -> Result<reqwest::Client, Error> {
        match (is_loopback(url), url.scheme()) {
            (true, "http") => Ok(self.plain.clone()),
            (true, _) => Ok(self.secured(trust)?.loopback),
            (false, _) => Ok(self.secured(trust)?.outward),
        }
    }

    /// What a server that is trusted so has against us, if it says so by TLS.
    pub(crate) async fn alert(&self, url: &Url, trust: &Trust) -> Option<AlertDescription> {
        let config = trust.config(self.common_roots().ok()?.clone()).ok()?;
        let url = url.clone();
        let asking = tokio::task::spawn_blocking(move || handshake::alert(&url, config));
        asking.await.ok().flatten()
    }

    /// How many CA certificates are trusted, so far as any were asked for.
    pub(crate) fn roots(&self) -> usize {
        self.roots.get().map_or(0, RootCertStore::len)
    }

    fn secured(&self, trust: &Trust) -> Result<Secured, Error> {
        let mut secured = self.secured.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = secured.get(trust) {
            return Ok(made.clone());
        }
        let tls = trust.config(self.common_roots()?.clone())?;
        let made = Secured {
            outward: build(client(&self.user_agent, tls.clone()))?,
            loopback: build(client(&self.user_agent, tls).no_proxy())?,
        };
        secured.insert(trust.clone(), made.clone());
        Ok(made)
    }

    /// What is trusted for every host: the system's certificates and the bundles besides.
    fn common_roots(&self) -> Result<&RootCertStore, Error> {
        if let Some(roots) = self.roots.get() {
            return Ok(roots);
        }
        let mut roots = system_roots();
        for path in &self.extra_roots {
            roots.add_parsable_certificates(certificates(path)?);
        }
        Ok(self.roots.get_or_init(|| roots))
    }
}

/// How many of the certificates of the system, or of those that `SSL_CERT_FILE` and `SSL_CERT_DIR` name, can be trusted.
#[must_use]
pub fn trusted_certificates() -> usize {
    system_roots().len()
}

fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
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
