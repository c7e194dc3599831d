//! Source policies: which images and addresses a build may use, and which others are used in their place.
//!
//! A policy is the JSON file that `buildctl --source-policy-file` and docker's `EXPERIMENTAL_BUILDKIT_SOURCE_POLICY` take:
//!
//! ```text
//! {"version": 1, "rules": [
//!   {"action": "ALLOW" | "DENY" | "CONVERT",
//!    "selector": {"identifier": "docker-image://docker.io/library/*", "matchType": "WILDCARD" | "EXACT" | "REGEX",
//!                 "constraints": [{"key": …, "value": …, "condition": "EQUAL" | "NOTEQUAL" | "MATCHES"}]},
//!    "updates": {"identifier": "docker-image://mirror.example/$1", "attrs": {…}}}]}
//! ```
//!
//! The last rule that matches decides between allowing and denying; the first that converts starts all over with what it
//! made, at most [`MOST_CONVERSIONS`] times. Sources are named `docker-image://…`, `https://…` and `git://…`.

use std::collections::BTreeMap;
use std::path::Path;

use regex::Regex;
use serde::Deserialize;

use crate::json::Object;

/// Rules that turn each other's results round for ever are wrong.
const MOST_CONVERSIONS: usize = 20;

/// The rules of one file, in order.
#[derive(Debug)]
pub(crate) struct Policy {
    rules: Vec<Rule>,
}

/// What a source is, as rules see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    /// With its scheme.
    pub(crate) identifier: String,
    /// For example `http.checksum`.
    pub(crate) attributes: BTreeMap<String, String>,
}

/// Why a source may not be used, or a policy not be followed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PolicyError {
    #[error("source {0:?} denied by policy")]
    Denied(String),
    #[error("source {0:?}: the policy converts it more than {MOST_CONVERSIONS} times")]
    Endless(String),
    #[error("cannot read the source policy {path}: {reason}")]
    File { path: String, reason: String },
}

#[derive(Debug)]
struct Rule {
    action: Action,
    identifier: String,
    matching: Matching,
    constraints: Vec<Constraint>,
    updates: Option<Updates>,
}

#[derive(Debug)]
enum Matching {
    Exact,
    Pattern(Regex),
}

#[derive(Debug)]
struct Constraint {
    key: String,
    condition: Condition,
}

#[derive(Debug)]
enum Condition {
    Equal(String),
    NotEqual(String),
    Matches(Regex),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    version: i64,
    #[serde(default)]
    rules: Vec<Object<RuleEntry>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleEntry {
    #[serde(default)]
    action: Action,
    selector: Object<SelectorEntry>,
    #[serde(default)]
    updates: Option<Object<Updates>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Action {
    #[default]
    Allow,
    Deny,
    Convert,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SelectorEntry {
    identifier: String,
    #[serde(default, alias = "match_type", rename = "matchType")]
    match_type: MatchType,
    #[serde(default)]
    constraints: Vec<Object<ConstraintEntry>>,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum MatchType {
    #[default]
    Wildcard,
    Exact,
    Regex,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConstraintEntry {
    key: String,
    #[serde(default)]
    value: String,
    #[serde(default)]
    condition: ConditionName,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum ConditionName {
    #[default]
    Equal,
    NotEqual,
    Matches,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Updates {
    #[serde(default)]
    identifier: String,
    #[serde(default)]
    attrs: BTreeMap<String, String>,
}

impl Policy {
    /// Reads a policy file.
    ///
    /// # Errors
    /// [`PolicyError::File`] if it cannot be read, or says what nobody could follow.
    pub(crate) fn read(path: &Path) -> Result<Policy, PolicyError> {
        let refuse = |reason: String| PolicyError::File {
            path: path.display().to_string(),
            reason,
        };
        let bytes = std::fs::read(path).map_err(|error| refuse(error.to_string()))?;
        Policy::parse(&bytes).map_err(refuse)
    }

    fn parse(bytes: &[u8]) -> Result<Policy, String> {
        let Object(document): Object<Document> = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if !matches!(document.version, 0 | 1) {
            return Err(format!("version {} is not known", document.version));
        }
        let rules = document.rules.into_iter().map(Rule::new).collect::<Result<_, _>>()?;
        Ok(Policy { rules })
    }

    /// What is used where `source` is asked for: itself, or another.
    ///
    /// # Errors
    /// [`PolicyError::Denied`], [`PolicyError::Endless`].
    pub(crate) fn apply(&self, source: &Source) -> Result<Source, PolicyError> {
        let mut used = source.clone();
        for _ in 0..=MOST_CONVERSIONS {
            match self.convert(&used)? {
                Some(other) => used = other,
                None => return Ok(used),
            }
        }
        Err(PolicyError::Endless(source.identifier.clone()))
    }

    /// One pass through the rules: another source, or this one if it is allowed.
    fn convert(&self, source: &Source) -> Result<Option<Source>, PolicyError> {
        let mut denied = false;
        for rule in self.rules.iter().filter(|rule| rule.matches(source)) {
            match (rule.action, &rule.updates) {
                (Action::Allow, _) => denied = false,
                (Action::Deny, _) => denied = true,
                (Action::Convert, updates) => {
                    let other = updates.as_ref().map(|updates| rule.update(source, updates));
                    if let Some(other) = other.filter(|other| other != source) {
                        return Ok(Some(other));
                    }
                }
            }
        }
        if denied {
            return Err(PolicyError::Denied(source.identifier.clone()));
        }
        Ok(None)
    }
}

impl Rule {
    fn new(Object(entry): Object<RuleEntry>) -> Result<Rule, String> {
        let RuleEntry {
            action,
            selector: Object(selector),
            updates,
        } = entry;
        if action == Action::Convert && updates.is_none() {
            return Err(format!(
                "the rule for {:?} converts, and does not say to what",
                selector.identifier
            ));
        }
        let matching = match selector.match_type {
            MatchType::Exact => Matching::Exact,
            MatchType::Regex => Matching::Pattern(regex(&selector.identifier)?),
            MatchType::Wildcard => Matching::Pattern(wildcard(&selector.identifier)?),
        };
        let constraint = |Object(entry): Object<ConstraintEntry>| {
            let condition = match entry.condition {
                ConditionName::Equal => Condition::Equal(entry.value),
                ConditionName::NotEqual => Condition::NotEqual(entry.value),
                ConditionName::Matches => Condition::Matches(regex(&entry.value)?),
            };
            Ok::<_, String>(Constraint {
                key: entry.key,
                condition,
            })
        };
        Ok(Rule {
            action,
            identifier: selector.identifier,
            matching,
            constraints: selector
                .constraints
                .into_iter()
                .map(constraint)
                .collect::<Result<_, _>>()?,
            updates: updates.map(|Object(updates)| updates),
        })
    }

    fn matches(&self, source: &Source) -> bool {
        self.constraints.iter().all(|constraint| constraint.holds(source))
            && (self.identifier == source.identifier
                || match &self.matching {
                    Matching::Exact => false,
                    Matching::Pattern(pattern) => pattern.is_match(&source.identifier),
                })
    }

    fn update(&self, source: &Source, updates: &Updates) -> Source {
        let template = match updates.identifier.as_str() {
            "" => &self.identifier,
            identifier => identifier,
        };
        let identifier = match &self.matching {
            Matching::Exact => template.to_owned(),
            Matching::Pattern(pattern) => pattern.replace_all(&source.identifier, template).into_owned(),
        };
        let mut attributes = source.attributes.clone();
        attributes.extend(updates.attrs.clone());
        Source { identifier, attributes }
    }
}

impl Constraint {
    fn holds(&self, source: &Source) -> bool {
        let value = source.attributes.get(&self.key).map_or("", String::as_str);
        match &self.condition {
            Condition::Equal(wanted) => value == wanted,
            Condition::NotEqual(unwanted) => value != unwanted,
            Condition::Matches(pattern) => pattern.is_match(value),
        }
    }
}

fn regex(text: &str) -> Result<Regex, String> {
    Regex::new(text).map_err(|error| format!("invalid expression {text:?}: {error}"))
}

/// Each `*` stands for anything, and can be used as `$1`, `$2` ….
fn wildcard(text: &str) -> Result<Regex, String> {
    if text.contains("**") {
        return Err(format!("invalid wildcard {text:?}: `**`"));
    }
    regex(&format!("^{}$", regex::escape(text).replace(r"\*", "(.*)")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(rules: &str, identifier: &str) -> Result<String, PolicyError> {
        let policy = Policy::parse(format!(r#"{{"version":1,"rules":[{rules}]}}"#).as_bytes()).unwrap();
        let source = Source {
            identifier: identifier.to_owned(),
            attributes: BTreeMap::from([("http.checksum".to_owned(), "sha256:1".to_owned())]),
        };
        policy.apply(&source).map(|source| source.identifier)
    }

    const DENY_ALL: &str = r#"{"action":"DENY","selector":{"identifier":"*"}}"#;
    const ALPINE: &str = "docker-image://docker.io/library/alpine:latest";

    #[test]
    fn the_last_rule_that_matches_decides() {
        let allow = format!(r#"{{"action":"ALLOW","selector":{{"identifier":"{ALPINE}"}}}}"#);
        assert_eq!(used("", ALPINE).unwrap(), ALPINE);
        assert_eq!(used(&format!("{DENY_ALL},{allow}"), ALPINE).unwrap(), ALPINE);
        let denied = used(&format!("{allow},{DENY_ALL}"), ALPINE).unwrap_err();
        assert_eq!(denied.to_string(), format!("source {ALPINE:?} denied by policy"));
    }

    #[test]
    fn a_source_is_used_in_the_place_of_another() {
        let wildcard = r#"{"action":"CONVERT","selector":{"identifier":"docker-image://docker.io/library/*"},"updates":{"identifier":"docker-image://mirror.example/$1"}}"#;
        assert_eq!(
            used(wildcard, ALPINE).unwrap(),
            "docker-image://mirror.example/alpine:latest"
        );
        let regex = r#"{"action":"CONVERT","selector":{"identifier":"^https://(.+)/a$","matchType":"REGEX"},"updates":{"identifier":"https://other.example/${1}/b"}}"#;
        assert_eq!(
            used(regex, "https://x.example/a").unwrap(),
            "https://other.example/x.example/b"
        );
        let exact = format!(
            r#"{{"action":"CONVERT","selector":{{"identifier":"{ALPINE}","matchType":"EXACT"}},"updates":{{"identifier":"docker-image://a@b"}}}}"#
        );
        assert_eq!(used(&exact, ALPINE).unwrap(), "docker-image://a@b");
        assert_eq!(used(&exact, "docker-image://other").unwrap(), "docker-image://other");
    }

    #[test]
    fn constraints_look_at_attributes() {
        for (condition, value, denied) in [
            ("EQUAL", "sha256:1", true),
            ("EQUAL", "sha256:2", false),
            ("NOTEQUAL", "sha256:1", false),
            ("MATCHES", "^sha256:[0-9]$", true),
        ] {
            let rule = format!(
                r#"{{"action":"DENY","selector":{{"identifier":"*","constraints":[{{"key":"http.checksum","value":"{value}","condition":"{condition}"}}]}}}}"#
            );
            assert_eq!(used(&rule, "https://x.example").is_err(), denied, "{condition} {value}");
        }
    }

    #[test]
    fn rules_in_a_circle_end_in_an_error() {
        let turn = |from: &str, to: &str| {
            format!(r#"{{"action":"CONVERT","selector":{{"identifier":"{from}"}},"updates":{{"identifier":"{to}"}}}}"#)
        };
        let circle = format!("{},{}", turn("a", "b"), turn("b", "a"));
        assert_eq!(used(&circle, "a"), Err(PolicyError::Endless("a".to_owned())));
    }

    #[test]
    fn what_cannot_be_followed_is_refused() {
        for text in [
            "{",
            "[]",
            "[1]",
            "null",
            r#"[1,[{"action":"DENY","selector":{"identifier":"*"}}]]"#,
            r#"{"rules":[["DENY",{"identifier":"*"}]]}"#,
            r#"{"rules":[{"action":"DENY","selector":["docker-image://*"]}]}"#,
            r#"{"rules":[{"action":"CONVERT","selector":{"identifier":"a"},"updates":["b"]}]}"#,
            r#"{"rules":[{"action":"DENY","selector":{"identifier":"*","constraints":[["a","b"]]}}]}"#,
            r#"{"version":2}"#,
            r#"{"rules":[{"action":"FORBID","selector":{"identifier":"a"}}]}"#,
            r#"{"rules":[{"action":"CONVERT","selector":{"identifier":"a"}}]}"#,
            r#"{"rules":[{"selector":{"identifier":"**"}}]}"#,
            r#"{"rules":[{"selector":{"identifier":"(","matchType":"REGEX"}}]}"#,
        ] {
            assert!(Policy::parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
