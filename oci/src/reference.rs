//! Names of images, by the grammar of distribution's references, with Docker's defaults.

use std::fmt;
use std::str::FromStr;

use crate::{Digest, Error};

const DEFAULT_HOST: &str = "docker.io";
const DEFAULT_TAG: &str = "latest";

/// Where an image is: `host/repository[:tag][@digest]`, with the defaults of Docker filled in.
///
/// ```
/// let name: oci::Reference = "debian:bookworm-slim".parse()?;
/// assert_eq!(name.to_string(), "docker.io/library/debian:bookworm-slim");
/// assert_eq!(name.familiar(), "debian:bookworm-slim");
/// # Ok::<(), oci::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    host: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// The registry's host and port; `docker.io` for Docker Hub.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The repository within the registry, for example `library/debian`.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag; there always is one unless there is a digest.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if the name is pinned.
    #[must_use]
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// The same repository at exactly this digest; the tag is kept for the reader.
    #[must_use]
    pub fn pinned(&self, digest: Digest) -> Reference {
        Reference {
            digest: Some(digest),
            ..self.clone()
        }
    }

    /// The same name without its digest; `latest` where no tag is left.
    #[must_use]
    pub fn unpinned(&self) -> Reference {
        let tag = self.tag.clone().or_else(|| Some(DEFAULT_TAG.to_owned()));
        Reference {
            digest: None,
            tag,
            ..self.clone()
        }
    }

    /// `host/repository` without tag and digest.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}", self.host, self.repository)
    }

    /// The short form people write: without `docker.io/library/`.
    #[must_use]
    pub fn familiar(&self) -> String {
        let full = self.to_string();
        let mut shorter = ["docker.io/library/", "docker.io/"]
            .into_iter()
            .filter_map(|prefix| full.strip_prefix(prefix));
        // What is left may mean another image: of `docker.io/library/a/b`, of `docker.io/host.example/a`.
        let short = shorter.find(|short| short.parse().is_ok_and(|meant: Reference| meant == *self));
        short.map(str::to_owned).unwrap_or(full)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) => write!(f, "@{digest}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Reference, Error> {
        let refuse = |reason| Error::Reference {
            name: text.to_owned(),
            reason,
        };
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse::<Digest>()?)),
            None => (text, None),
        };
        // A colon is a port when a slash follows it.
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (rest, None),
        };
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(refuse(
                "a tag is up to 128 letters, digits, `_`, `.` and `-`, not starting with `.` or `-`",
            ));
        }
        let (host, repository) = match name.split_once('/') {
            Some((host, repository)) if is_host(host) => (host, repository.to_owned()),
            _ => (DEFAULT_HOST, name.to_owned()),
        };
        let host = if host == "index.docker.io" { DEFAULT_HOST } else { host };
        let official = host == DEFAULT_HOST && !repository.contains('/');
        let repository = if official {
            format!("library/{repository}")
        } else {
            repository
        };
        if name.is_empty() {
            return Err(refuse("it is empty"));
        }
        if !repository.split('/').all(is_path_component) {
            return Err(refuse(
                "a repository is lower-case words of letters and digits, joined by `.`, `_`, `__` or `-`, separated by `/`",
            ));
        }
        if host.len() + repository.len() >= 255 {
            return Err(refuse("a repository name is at most 255 characters"));
        }
        let tag = tag
            .map(str::to_owned)
            .or_else(|| digest.is_none().then(|| DEFAULT_TAG.to_owned()));
        Ok(Reference {
            host: host.to_owned(),
            repository,
            tag,
            digest,
        })
    }
}

fn is_tag(tag: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !tag.is_empty()
        && tag.len() <= 128
        && tag.bytes().all(|byte| word(byte) || matches!(byte, b'.' | b'-'))
        && tag.bytes().next().is_some_and(word)
}

/// Whether the first component is a registry and not part of a repository on Docker Hub: it has a dot, a port or an
/// upper-case letter, or is `localhost`.
fn is_host(text: &str) -> bool {
    let (name, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, rest)) => return address.parse::<std::net::Ipv6Addr>().is_ok() && is_port_suffix(rest),
        None => text
            .split_once(':')
            .map_or((text, None), |(name, port)| (name, Some(port))),
    };
    let label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let named = name == "localhost" || name.contains('.') || name.bytes().any(|byte| byte.is_ascii_uppercase());
    name.split('.').all(label)
        && (named || port.is_some())
        && port.is_none_or(|port| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()))
}

fn is_port_suffix(rest: &str) -> bool {
    rest.is_empty()
        || rest
            .strip_prefix(':')
            .is_some_and(|port| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()))
}

/// Letters and digits joined by one `.`, one or two `_`, or any number of `-`.
fn is_path_component(text: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    if !alphanumeric(*first) || !alphanumeric(*last) {
        return false;
    }
    bytes
        .split(|byte| alphanumeric(*byte))
        .filter(|joint| !joint.is_empty())
        .all(|joint| matches!(joint, b"." | b"_" | b"__") || joint.iter().all(|byte| *byte == b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_of_docker_are_filled_in() {
        let digest = Digest::of(b"x");
        for (given, full, familiar) in [
            (
                "debian",
                "docker.io/library/debian:latest".to_owned(),
                "debian:latest".to_owned(),
            ),
            ("a/b:1", "docker.io/a/b:1".to_owned(), "a/b:1".to_owned()),
            (
                "localhost/b",
                "localhost/b:latest".to_owned(),
                "localhost/b:latest".to_owned(),
            ),
            (
                "127.0.0.1:5000/x/y:t",
                "127.0.0.1:5000/x/y:t".to_owned(),
                "127.0.0.1:5000/x/y:t".to_owned(),
            ),
            (
                "host:5000/x",
                "host:5000/x:latest".to_owned(),
                "host:5000/x:latest".to_owned(),
            ),
            (
                "[::1]:5000/x",
                "[::1]:5000/x:latest".to_owned(),
                "[::1]:5000/x:latest".to_owned(),
            ),
            (
                "index.docker.io/library/a",
                "docker.io/library/a:latest".to_owned(),
                "a:latest".to_owned(),
            ),
            (
                "docker.io/library/a/b",
                "docker.io/library/a/b:latest".to_owned(),
                "library/a/b:latest".to_owned(),
            ),
            (
                "docker.io/host.example/a",
                "docker.io/host.example/a:latest".to_owned(),
                "docker.io/host.example/a:latest".to_owned(),
            ),
            (
                &format!("a@{digest}"),
                format!("docker.io/library/a@{digest}"),
                format!("a@{digest}"),
            ),
            (
                &format!("a:t@{digest}"),
                format!("docker.io/library/a:t@{digest}"),
                format!("a:t@{digest}"),
            ),
        ] {
            let reference: Reference = given.parse().unwrap();
            assert_eq!(reference.to_string(), full);
            assert_eq!(reference.familiar(), familiar);
            assert_eq!(full.parse::<Reference>().unwrap(), reference);
        }
    }

    #[test]
    fn what_distribution_refuses_is_refused() {
        for text in [
            "",
            "Upper",
            "a b",
            "a:",
            "a:-x",
            "a//b",
            "-a",
            "a-",
            "a..b",
            "a___b",
            "a@sha256:1",
            "http://a/b",
            "x/Y",
        ] {
            assert!(text.parse::<Reference>().is_err(), "{text}");
        }
    }
}
