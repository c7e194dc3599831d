//! Where a repository is on the network, and what may be done in it.

use std::net::IpAddr;
use std::sync::Arc;

use reqwest::Url;

use crate::Error;
use crate::hosts::{Endpoint, Scheme};
use crate::trust::Trust;

/// What a request needs to be allowed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Action {
    Pull,
    Push,
}

/// A repository at one endpoint of its registry.
#[derive(Clone, Debug)]
pub(crate) struct Repository {
    /// Whose credentials are sent: `docker.io` for Docker Hub.
    pub(crate) host: String,
    /// For example `library/debian`.
    pub(crate) path: String,
    endpoint: Arc<Endpoint>,
    /// The endpoint's address with either scheme: plain, and with TLS.
    roots: [Url; 2],
    /// Another repository of the registry, which a blob is taken from.
    source: Option<String>,
}

impl Repository {
    /// The repository at `path` of that endpoint.
    pub(crate) fn at(endpoint: Endpoint, path: String) -> Result<Repository, Error> {
        let root = |scheme: Scheme| {
            let text = format!("{}://{}/", scheme.name(), endpoint.authority);
            Url::parse(&text).map_err(|error| Error::Address {
                host: endpoint.authority.clone(),
                reason: error.to_string(),
            })
        };
        Ok(Repository {
            host: endpoint.host.clone(),
            path,
            roots: [root(Scheme::Plain)?, root(Scheme::Tls)?],
            endpoint: Arc::new(endpoint),
            source: None,
        })
    }

    /// The same, to be given blobs of the repository at `path` in the same registry.
    pub(crate) fn taking_from(&self, path: &str) -> Repository {
        Repository {
            source: Some(path.to_owned()),
            ..self.clone()
        }
    }

    /// The repository of `name` where nothing is configured but that the hosts in `insecure` are.
    #[cfg(test)]
    pub(crate) fn of(name: &oci::Reference, insecure: &[String]) -> Result<Repository, Error> {
        crate::hosts::Hosts::new(crate::hosts::Sources::default(), insecure.to_vec()).to_push(name)
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    fn root(&self) -> &Url {
        &self.roots[usize::from(self.endpoint.scheme() == Scheme::Tls)]
    }

    /// `/v2/<repository>/<rest>`. Names, tags and digests need no escaping.
    pub(crate) fn url(&self, rest: &str) -> Url {
        let mut url = self.root().clone();
        url.set_path(&format!("{}/{}/{rest}", self.endpoint.base, self.path));
        if let Some(namespace) = &self.endpoint.namespace {
            url.query_pairs_mut().append_pair("ns", namespace);
        }
        url
    }

    /// Scheme, host and path of the repository, for people.
    pub(crate) fn address(&self) -> String {
        let mut url = self.root().clone();
        url.set_path(&format!("{}/{}", self.endpoint.base, self.path));
        url.to_string()
    }

    /// The URL as it is since it is known what the endpoint speaks.
    pub(crate) fn settled(&self, url: &Url) -> Url {
        if !self.roots.iter().any(|root| root.origin() == url.origin()) {
            return url.clone();
        }
        self.by(self.endpoint.scheme(), url)
    }

    /// How the host of `url` is trusted. What is meant for the endpoint alone is not for hosts that it sends us to; but a
    /// token service may be at another port of it.
    pub(crate) fn trust(&self, url: &Url) -> Trust {
        let trust = &self.endpoint.trust;
        Trust {
            is_blind: trust.is_blind && url.host() == self.root().host(),
            authorities: trust.authorities.clone(),
            identity: trust.identity.clone().filter(|_| self.owns(url)),
        }
    }

    /// The same URL in another scheme.
    pub(crate) fn by(&self, scheme: Scheme, url: &Url) -> Url {
        let mut other = self.roots[usize::from(scheme == Scheme::Tls)].clone();
        other.set_path(url.path());
        other.set_query(url.query());
        other
    }

    /// Whether `url` is on the registry itself: only there credentials are sent.
    pub(crate) fn owns(&self, url: &Url) -> bool {
        let is_at = |root: &Url| url.origin() == root.origin();
        is_at(self.root()) || (self.endpoint.other_scheme().is_some() && self.roots.iter().any(is_at))
    }

    /// Whether the registry itself is spoken to without encryption.
    pub(crate) fn is_plain(&self) -> bool {
        self.endpoint.scheme() == Scheme::Plain
    }

    /// The scopes of a token for `action`, with spaces between them.
    pub(crate) fn scope(&self, action: Action) -> String {
        let actions = match action {
            Action::Pull => "pull",
            Action::Push => "pull,push",
        };
        let own = format!("repository:{}:{actions}", self.path);
        match &self.source {
            Some(source) => format!("{own} repository:{source}:pull"),
            None => own,
        }
    }

    /// The command that stores credentials for the registry.
    pub(crate) fn login(&self) -> String {
        if self.host == "docker.io" {
            "`docker login`".to_owned()
        } else {
            format!("`docker login {}`", self.host)
        }
    }
}

/// Whether the host of `url` is this machine.
pub(crate) fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    // The address of no host is this one's, and so are the old addresses in their new form.
    let here = |address: IpAddr| address.to_canonical().is_loopback() || address.to_canonical().is_unspecified();
    host == "localhost" || address.is_ok_and(here)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_configuration_this_machine_is_plain_and_all_others_are_asked_for_tls_first() {
        let insecure = ["plain.example".to_owned(), "other.example:81".to_owned()];
        for (name, expected) in [
            ("debian", "https://registry-1.docker.io/v2/library/debian/x"),
            ("localhost/a", "http://localhost/v2/a/x"),
            ("localhost:5000/a", "http://localhost:5000/v2/a/x"),
            ("127.9.0.1:5000/a", "http://127.9.0.1:5000/v2/a/x"),
            ("[::1]:5000/a", "http://[::1]:5000/v2/a/x"),
            ("10.0.0.1:5000/a", "https://10.0.0.1:5000/v2/a/x"),
            ("localhost.example/a", "https://localhost.example/v2/a/x"),
            ("plain.example:5000/a", "https://plain.example:5000/v2/a/x"),
            ("other.example:81/a", "https://other.example:81/v2/a/x"),
            ("other.example/a", "https://other.example/v2/a/x"),
        ] {
            let repository = Repository::of(&name.parse().unwrap(), &insecure).unwrap();
            assert_eq!(repository.url("x").as_str(), expected);
        }
    }

    #[test]
    fn another_port_is_another_owner() {
        let repository = Repository::of(&"h.example/a".parse().unwrap(), &[]).unwrap();
        for (url, owned) in [
            ("https://h.example/b", true),
            ("https://h.example:443/b", true),
            ("http://h.example/b", false),
            ("https://h.example:444/b", false),
            ("https://cdn.h.example/b", false),
        ] {
            assert_eq!(repository.owns(&Url::parse(url).unwrap()), owned, "{url}");
        }
    }
}
