//! Where a repository is on the network, and what may be done in it.

use std::net::IpAddr;

use oci::Reference;
use reqwest::Url;

use crate::Error;

/// What a request needs to be allowed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Action {
    Pull,
    Push,
}

/// A repository and the root of its registry.
#[derive(Clone, Debug)]
pub(crate) struct Repository {
    /// As in the name: `docker.io` for Docker Hub.
    pub(crate) host: String,
    /// For example `library/debian`.
    pub(crate) path: String,
    root: Url,
}

impl Repository {
    /// The repository of `name`. Loopback hosts and those listed in `insecure` are spoken to in plain HTTP.
    pub(crate) fn of(name: &Reference, insecure: &[String]) -> Result<Repository, Error> {
        let host = name.host();
        let address = if host == "docker.io" {
            "registry-1.docker.io"
        } else {
            host
        };
        let refuse = |reason: String| Error::Address {
            host: host.to_owned(),
            reason,
        };
        let secure = Url::parse(&format!("https://{address}/")).map_err(|error| refuse(error.to_string()))?;
        let bare = secure.host_str().unwrap_or_default();
        let listed = insecure.iter().any(|entry| entry == host || entry == bare);
        let root = if listed || is_loopback(&secure) {
            Url::parse(&format!("http://{address}/")).map_err(|error| refuse(error.to_string()))?
        } else {
            secure
        };
        Ok(Repository {
            host: host.to_owned(),
            path: name.repository().to_owned(),
            root,
        })
    }

    /// `/v2/<repository>/<rest>`. Names, tags and digests need no escaping.
    pub(crate) fn url(&self, rest: &str) -> Url {
        let mut url = self.root.clone();
        url.set_path(&format!("/v2/{}/{rest}", self.path));
        url
    }

    /// Whether `url` is on the registry itself: only there credentials are sent.
    pub(crate) fn owns(&self, url: &Url) -> bool {
        url.origin() == self.root.origin()
    }

    /// Whether the registry itself is spoken to without encryption.
    pub(crate) fn is_plain(&self) -> bool {
        self.root.scheme() == "http"
    }

    /// The scope of a token for `action`.
    pub(crate) fn scope(&self, action: Action) -> String {
        let actions = match action {
            Action::Pull => "pull",
            Action::Push => "pull,push",
        };
        format!("repository:{}:{actions}", self.path)
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
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_and_insecure_hosts_are_plain_and_all_others_are_not() {
        let insecure = ["plain.example".to_owned(), "other.example:81".to_owned()];
        for (name, expected) in [
            ("debian", "https://registry-1.docker.io/v2/library/debian/x"),
            ("localhost/a", "http://localhost/v2/a/x"),
            ("localhost:5000/a", "http://localhost:5000/v2/a/x"),
            ("127.9.0.1:5000/a", "http://127.9.0.1:5000/v2/a/x"),
            ("[::1]:5000/a", "http://[::1]:5000/v2/a/x"),
            ("10.0.0.1:5000/a", "https://10.0.0.1:5000/v2/a/x"),
            ("localhost.example/a", "https://localhost.example/v2/a/x"),
            ("plain.example:5000/a", "http://plain.example:5000/v2/a/x"),
            ("other.example:81/a", "http://other.example:81/v2/a/x"),
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
