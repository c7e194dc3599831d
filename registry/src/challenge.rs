//! The `WWW-Authenticate` header: what a registry wants before it answers.
//!
//! Grammar of [RFC 9110, section 11.6.1](https://www.rfc-editor.org/rfc/rfc9110#section-11.6.1): several challenges,
//! separated by the same commas as the parameters of one.

use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};

/// One way to be let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// A token from a token service.
    Bearer {
        realm: String,
        service: Option<String>,
        scope: Option<String>,
    },
    /// User and password with each request.
    Basic,
    /// A scheme that is not spoken here.
    Unknown(String),
}

impl Challenge {
    /// All challenges of a response.
    pub(crate) fn all(headers: &HeaderMap) -> Vec<Challenge> {
        let values = headers.get_all(WWW_AUTHENTICATE).iter();
        values
            .flat_map(|value| parse(&String::from_utf8_lossy(value.as_bytes())))
            .collect()
    }
}

pub(crate) fn parse(header: &str) -> Vec<Challenge> {
    let mut scanner = Scanner { rest: header };
    let mut challenges = Vec::new();
    while let Some(scheme) = scanner.scheme() {
        let mut parameters = Vec::new();
        if !scanner.skip_token68() {
            while let Some(parameter) = scanner.parameter() {
                parameters.push(parameter);
            }
        }
        let value = |name: &str| {
            let found = parameters.iter().find(|(key, _): &&(String, String)| key == name);
            found.map(|(_, value)| value.clone())
        };
        challenges.push(match (scheme.to_ascii_lowercase().as_str(), value("realm")) {
            ("bearer", Some(realm)) => Challenge::Bearer {
                realm,
                service: value("service"),
                scope: value("scope"),
            },
            ("basic", _) => Challenge::Basic,
            _ => Challenge::Unknown(scheme.to_owned()),
        });
    }
    challenges
}

struct Scanner<'a> {
    rest: &'a str,
}

impl<'a> Scanner<'a> {
    /// The next word where a scheme must be. Garbage ends the list.
    fn scheme(&mut self) -> Option<&'a str> {
        self.rest = self.rest.trim_start_matches([' ', '\t', ',']);
        let (word, rest) = word(self.rest, is_token)?;
        self.rest = rest;
        Some(word)
    }

    /// Skips a `token68`, the lone value some schemes have.
    fn skip_token68(&mut self) -> bool {
        let start = self.rest.trim_start();
        let Some((_, rest)) = word(start, |byte| is_token(byte) || matches!(byte, b'/')) else {
            return false;
        };
        let after = rest.trim_start_matches('=').trim_start();
        let alone = after.is_empty() || after.starts_with(',');
        if alone {
            self.rest = after;
        }
        alone
    }

    /// The next `name=value`, unless a new challenge starts.
    fn parameter(&mut self) -> Option<(String, String)> {
        let start = self.rest.trim_start_matches([' ', '\t', ',']);
        let (name, rest) = word(start, is_token)?;
        let rest = rest.trim_start().strip_prefix('=')?.trim_start();
        let (value, rest) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_string(quoted),
            None => word(rest, is_token).map(|(value, rest)| (value.to_owned(), rest))?,
        };
        self.rest = rest;
        Some((name.to_ascii_lowercase(), value))
    }
}

fn word(text: &str, belongs: impl Fn(u8) -> bool) -> Option<(&str, &str)> {
    let end = text.bytes().position(|byte| !belongs(byte)).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

/// The text up to the closing quote, and what follows. A missing quote ends with the header.
fn quoted_string(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut escaped = false;
    for (position, letter) in text.char_indices() {
        match letter {
            _ if escaped => {
                value.push(letter);
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => return (value, &text[position + 1..]),
            _ => value.push(letter),
        }
    }
    (value, "")
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        Challenge::Bearer {
            realm: realm.to_owned(),
            service: service.map(str::to_owned),
            scope: scope.map(str::to_owned),
        }
    }

    #[test]
    fn challenges_of_the_field_are_understood() {
        for (header, expected) in [
            (
                r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#,
                vec![bearer(
                    "https://auth.docker.io/token",
                    Some("registry.docker.io"),
                    Some("repository:a/b:pull,push"),
                )],
            ),
            (r#"Basic realm="Registry Realm""#, vec![Challenge::Basic]),
            ("basic", vec![Challenge::Basic]),
            (
                r#"Negotiate YII=, Basic realm="x", BEARER Realm = "https://t" , service=s"#,
                vec![
                    Challenge::Unknown("Negotiate".into()),
                    Challenge::Basic,
                    bearer("https://t", Some("s"), None),
                ],
            ),
            (r#"Bearer realm="a\"b\\c""#, vec![bearer(r#"a"b\c"#, None, None)]),
            (r#"Bearer realm="unclosed"#, vec![bearer("unclosed", None, None)]),
            ("Bearer service=s", vec![Challenge::Unknown("Bearer".into())]),
            ("", vec![]),
            (", ,", vec![]),
            ("\"=,", vec![]),
            (
                "Negotiate, Basic",
                vec![Challenge::Unknown("Negotiate".into()), Challenge::Basic],
            ),
        ] {
            assert_eq!(parse(header), expected, "{header}");
        }
    }
}
