//! Where a registry is: for a name the endpoints in the order they are tried, each with its address, its trust and what
//! it is good for.
//!
//! ```text
//! name  ->  mirrors typed by the user
//!           mirrors and registry of the first that speaks of the host:
//!               certs.d/<host>/hosts.toml, registries.conf, buildkitd.toml          hosts/{containerd,containers,buildkit}
//!           without any: the host itself
//! each endpoint  +  certificates of certs.d/<its host>/                             hosts/certificates
//! ```
//!
//! Files are read when the first registry is spoken to, and once. Mirrors are read from; what is pushed goes to the
//! registry itself, or to an endpoint that `hosts.toml` expressly says takes it.

mod address;
mod buildkit;
mod certificates;
mod containerd;
mod containers;
mod document;
mod endpoint;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use oci::Reference;
use reqwest::header::{HeaderName, HeaderValue};

pub(crate) use address::{Address, Scheme};
pub(crate) use endpoint::{Endpoint, Standing, Wire};

use crate::error::Error;
use crate::repository::Repository;
use crate::trust::Trust;

/// What says where registries are and how they are spoken to. Files and folders need not exist.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// Mirrors that the user typed, tried first.
    pub mirrors: Vec<Mirror>,
    /// Folders of one folder a host, with `hosts.toml` and certificates in it.
    pub folders: Vec<PathBuf>,
    /// Files of the form of `registries.conf`, of which the first that is there is read.
    pub registries_conf: Vec<PathBuf>,
    /// Folders whose `*.conf` are read besides; later ones count more.
    pub registries_conf_d: Vec<PathBuf>,
    /// Files of the form of `buildkitd.toml`.
    pub buildkitd: Vec<PathBuf>,
}

/// A mirror, and whose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    of: String,
    address: Address,
    text: String,
}

/// What an endpoint is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Purposes {
    /// Giving what is asked for by digest.
    pub(crate) pull: bool,
    /// Saying which digest a tag has.
    pub(crate) resolve: bool,
    /// Taking.
    pub(crate) push: bool,
}

/// One endpoint as a source tells of it.
#[derive(Clone, Debug)]
struct Stop {
    address: Address,
    /// What comes before the repository in a URL.
    base: String,
    /// The repository there, if it is not that of the name.
    repository: Option<String>,
    purposes: Purposes,
    /// Not asked for digests that the user named.
    tags_only: bool,
    trust: Trust,
    is_insecure: bool,
    headers: Vec<(HeaderName, HeaderValue)>,
    /// Who says so, for people.
    place: String,
}

/// What one source says of a host.
#[derive(Clone, Debug)]
struct Route {
    mirrors: Vec<Stop>,
    upstream: Stop,
}

/// Finds endpoints, and remembers how they stand.
#[derive(Debug)]
pub(crate) struct Hosts {
    sources: Sources,
    insecure: Vec<String>,
    containers: OnceLock<Vec<containers::Entry>>,
    /// The endpoints of a host and a repository.
    known: Mutex<Known>,
    /// What was found out of each address.
    standings: Mutex<HashMap<String, Arc<Standing>>>,
}

type Known = HashMap<(String, String), Arc<[Repository]>>;

impl Purposes {
    const ALL: Purposes = Purposes {
        pull: true,
        resolve: true,
        push: true,
    };
    const MIRROR: Purposes = Purposes {
        push: false,
        ..Purposes::ALL
    };
}

impl FromStr for Mirror {
    type Err = String;

    /// `[HOST=]MIRROR`; without a host it is one of Docker Hub.
    fn from_str(text: &str) -> Result<Mirror, String> {
        let (of, address) = text.split_once('=').unwrap_or(("docker.io", text));
        let host = Address::parse(of)?;
        if host.scheme.is_some() || !host.path.is_empty() {
            return Err(format!("`{of}` is not the host of a registry"));
        }
        Ok(Mirror {
            of: of.to_owned(),
            address: Address::parse(address)?,
            text: text.to_owned(),
        })
    }
}

impl Stop {
    fn new(address: Address, purposes: Purposes, place: String) -> Stop {
        Stop {
            address,
            base: "/v2".to_owned(),
            repository: None,
            purposes,
            tags_only: false,
            trust: Trust::default(),
            is_insecure: false,
            headers: Vec::new(),
            place,
        }
    }
}

impl Hosts {
    pub(crate) fn new(sources: Sources, insecure: Vec<String>) -> Hosts {
        Hosts {
            sources,
            insecure,
            containers: OnceLock::new(),
            known: Mutex::default(),
            standings: Mutex::default(),
        }
    }

    /// All endpoints of a repository, the registry itself last.
    pub(crate) fn all(&self, name: &Reference) -> Result<Arc<[Repository]>, Error> {
        let key = (name.host().to_owned(), name.repository().to_owned());
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known().get(&key) {
            return Ok(Arc::clone(found));
        }
        let found: Arc<[Repository]> = self.find(&key.0, &key.1)?.into();
        known().insert(key, Arc::clone(&found));
        Ok(found)
    }

    /// Where the repository takes what is pushed.
    pub(crate) fn to_push(&self, name: &Reference) -> Result<Repository, Error> {
        let all = self.all(name)?;
        let taking = all.iter().find(|one| one.endpoint().purposes.push);
        taking.cloned().ok_or_else(|| Error::Address {
            host: name.host().to_owned(),
            reason: "none of its endpoints is configured to be pushed to".to_owned(),
        })
    }

    fn find(&self, host: &str, path: &str) -> Result<Vec<Repository>, Error> {
        let mut stops = Vec::new();
        for mirror in self.sources.mirrors.iter().filter(|mirror| mirror.of == host) {
            let place = format!("`--registry-mirror {}`", mirror.text);
            stops.push(Stop::new(mirror.address.clone(), Purposes::MIRROR, place));
        }
        let route = self.route(host, path)?;
        stops.extend(route.mirrors);
        let is_listed = |stop: &Stop| stop.address.authority == route.upstream.address.authority && stop.purposes.push;
        if !stops.iter().any(is_listed) {
            stops.push(route.upstream);
        }
        let count = stops.len();
        let endpoints = stops.into_iter().enumerate();
        endpoints
            .map(|(position, stop)| self.repository(host, path, stop, position + 1 < count))
            .collect()
    }

    fn route(&self, host: &str, path: &str) -> Result<Route, Error> {
        if let Some(route) = containerd::route(&self.sources.folders, host)? {
            return Ok(route);
        }
        let entries = match self.containers.get() {
            Some(entries) => entries,
            None => {
                let entries = containers::entries(&self.sources.registries_conf, &self.sources.registries_conf_d)?;
                self.containers.get_or_init(|| entries)
            }
        };
        if let Some(route) = containers::route(entries, host, path)? {
            return Ok(route);
        }
        if let Some(route) = buildkit::route(&self.sources.buildkitd, host)? {
            return Ok(route);
        }
        let address = Address::parse(host).map_err(|reason| Error::Address {
            host: host.to_owned(),
            reason,
        })?;
        Ok(Route {
            mirrors: Vec::new(),
            upstream: Stop::new(address, Purposes::ALL, "its name".to_owned()),
        })
    }

    fn repository(&self, host: &str, path: &str, stop: Stop, has_next: bool) -> Result<Repository, Error> {
        let mut trust = stop.trust;
        let credentials_host = match stop.address.authority.as_str() {
            "registry-1.docker.io" | "index.docker.io" => "docker.io",
            other => other,
        };
        let authority = match credentials_host {
            "docker.io" => "registry-1.docker.io",
            other => other,
        };
        certificates::add(&self.sources.folders, credentials_host, &mut trust);
        if authority != credentials_host {
            certificates::add(&self.sources.folders, authority, &mut trust);
        }
        let is_insecure = stop.is_insecure || self.is_insecure(credentials_host);
        trust.is_blind |= is_insecure;
        // A path after `/v2` is the beginning of the repository: tokens are for the whole of it.
        let (base, inner) = match stop.base.strip_prefix("/v2/") {
            Some(inner) => ("/v2".to_owned(), inner.to_owned()),
            None => (stop.base, stop.address.path.clone()),
        };
        let inner = inner.strip_prefix("v2/").unwrap_or(&inner);
        let repository = stop.repository.clone().unwrap_or_else(|| path.to_owned());
        let standing = {
            let mut standings = self.standings.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(standings.entry(authority.to_owned()).or_default())
        };
        let is_mirror = credentials_host != host;
        let endpoint = Endpoint {
            host: credentials_host.to_owned(),
            authority: authority.to_owned(),
            wire: Wire::of(&stop.address, &trust, is_insecure),
            base,
            trust,
            headers: stop.headers,
            namespace: (is_mirror && stop.repository.is_none()).then(|| host.to_owned()),
            purposes: stop.purposes,
            tags_only: stop.tags_only,
            has_next,
            place: stop.place,
            standing,
        };
        let path = match inner {
            "" | "v2" => repository,
            inner => format!("{inner}/{repository}"),
        };
        Repository::at(endpoint, path)
    }

    fn is_insecure(&self, host: &str) -> bool {
        let bare = match host.rsplit_once(':') {
            Some((bare, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => bare,
            _ => host,
        };
        self.insecure.iter().any(|entry| entry == host || entry == bare)
    }
}
