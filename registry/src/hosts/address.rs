//! Addresses of registries as people write them: `host`, `host:5000/path`, `https://host/path`.

use reqwest::Url;

use crate::repository::is_loopback;

/// A host, perhaps a scheme, perhaps a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    /// `None` where nobody said whether TLS is spoken.
    pub(crate) scheme: Option<Scheme>,
    /// `host` or `host:port`.
    pub(crate) authority: String,
    /// Without slashes around it.
    pub(crate) path: String,
}

/// What is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    Plain,
    Tls,
}

impl Scheme {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Scheme::Plain => "http",
            Scheme::Tls => "https",
        }
    }
}

impl Address {
    /// Understands `text`.
    pub(crate) fn parse(text: &str) -> Result<Address, String> {
        let (scheme, rest) = match text.split_once("://") {
            Some(("http", rest)) => (Some(Scheme::Plain), rest),
            Some(("https", rest)) => (Some(Scheme::Tls), rest),
            Some((other, _)) => return Err(format!("`{text}`: `{other}` is neither http nor https")),
            None => (None, text),
        };
        let url = Url::parse(&format!("https://{rest}")).map_err(|error| format!("`{text}`: {error}"))?;
        let is_more = !url.username().is_empty() || url.password().is_some() || url.query().is_some();
        if is_more || url.fragment().is_some() {
            return Err(format!("`{text}` has more than a host and a path"));
        }
        let host = url.host_str().unwrap_or_default();
        // The library leaves out the port that is usual for `https`.
        let authority = rest.split('/').next().unwrap_or_default();
        let has_port = authority.trim_start_matches(host).starts_with(':');
        let port = url.port().or(has_port.then_some(443));
        Ok(Address {
            scheme,
            authority: match port {
                Some(port) if !(scheme == Some(Scheme::Tls) && port == 443) => format!("{host}:{port}"),
                _ => host.to_owned(),
            },
            path: url.path().trim_matches('/').to_owned(),
        })
    }

    /// Whether the host is this machine.
    pub(crate) fn is_loopback(&self) -> bool {
        Url::parse(&format!("http://{}/", self.authority)).is_ok_and(|url| is_loopback(&url))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_people_write_them() {
        for (text, scheme, authority, path) in [
            ("h.example", None, "h.example", ""),
            ("h.example:5000/a/b/", None, "h.example:5000", "a/b"),
            ("h.example:443", None, "h.example:443", ""),
            ("https://h.example:443", Some(Scheme::Tls), "h.example", ""),
            ("http://[::1]:5000/v2", Some(Scheme::Plain), "[::1]:5000", "v2"),
        ] {
            let expected = Address {
                scheme,
                authority: authority.to_owned(),
                path: path.to_owned(),
            };
            assert_eq!(Address::parse(text), Ok(expected), "{text}");
        }
        for text in ["", "ftp://h", "https://u:p@h", "h?x=1", "https://", "h h"] {
            assert!(Address::parse(text).is_err(), "{text}");
        }
    }
}
