//! Addresses of git repositories, as people write them in Dockerfiles and on the command line. Pure.
//!
//! ```text
//! https://host/path.git   http://host/path.git     only with `.git`: anything else is a file
//! git://host/path         ssh://user@host/path     user@host:path
//! github.com/owner/name                            only as a context, and deprecated
//!
//! …#ref:subdirectory                               either may be missing
//! …?ref=&tag=&branch=&subdir=&checksum=&commit=&keep-git-dir&submodules&mtime=&fetch-by-commit
//! ```
//!
//! What fragment and query both say must be the same. A key may be given once; one that is not known is refused.

mod url;

use crate::GitSource;

/// A repository, and what of it is meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GitAddress {
    /// The address without fragment and query.
    pub remote: String,
    /// A branch, a tag, a full name or a commit.
    pub reference: Option<String>,
    /// A directory in the repository, without slashes around it; empty for the whole.
    pub subdirectory: String,
    /// A commit or the beginning of one, that must be what is found.
    pub checksum: Option<String>,
    /// Whether `.git` stays.
    pub keep_git_dir: Option<bool>,
    /// Whether submodules are fetched.
    pub submodules: Option<bool>,
    /// Whether the commit is fetched without asking what the reference leads to.
    pub fetch_by_commit: bool,
    /// Whether files keep the time at which they were checked out.
    pub checkout_times: bool,
    /// Whether it could as well be a path: `github.com/owner/name`.
    pub may_be_path: bool,
}

/// Why an address of a git repository was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GitAddressError {
    /// A key of the query without a value.
    #[error("query {0:?} has no value")]
    NoValue(String),
    /// A key of the query that is there twice.
    #[error("query {0:?} has multiple values")]
    SeveralValues(String),
    /// A key that means nothing.
    #[error("unexpected query {0:?}")]
    UnknownKey(String),
    /// Two things for the same.
    #[error("{what} conflicts: {one:?} vs {other:?}")]
    Conflict {
        /// `ref` or `subdir`.
        what: &'static str,
        /// The first.
        one: String,
        /// The second.
        other: String,
    },
    /// A branch and a tag.
    #[error("branch conflicts with tag")]
    BranchAndTag,
    /// A value that its key does not take.
    #[error("invalid {key} value: {value:?}{expected}")]
    Value {
        /// The key.
        key: &'static str,
        /// The value.
        value: String,
        /// What it takes, if that can be listed.
        expected: &'static str,
    },
    /// A reference that would be read as an option.
    #[error("invalid git ref {0:?}")]
    Reference(String),
    /// Something that is not part of an address.
    #[error("invalid git address {0:?}")]
    Address(String),
}

impl GitAddress {
    /// Reads an address; `None` if the text is none.
    ///
    /// # Errors
    /// If it is one, but not a good one.
    pub fn parse(text: &str) -> Result<Option<GitAddress>, GitAddressError> {
        let Some(parts) = url::split(text) else { return Ok(None) };
        if parts.remote.chars().any(|letter| letter.is_control() || letter == ' ') || parts.remote.starts_with('-') {
            return Err(GitAddressError::Address(parts.remote));
        }
        let mut address = GitAddress {
            remote: parts.remote,
            may_be_path: parts.may_be_path,
            ..GitAddress::default()
        };
        let (reference, subdirectory) = parts.fragment.split_once(':').unwrap_or((&parts.fragment, ""));
        address.reference = Some(reference.to_owned()).filter(|reference| !reference.is_empty());
        address.subdirectory = clean(subdirectory);
        address.read_query(&parts.query)?;
        match &address.reference {
            Some(reference) if reference.starts_with('-') => Err(GitAddressError::Reference(reference.clone())),
            _ => Ok(Some(address)),
        }
    }

    /// The source that the address alone means.
    #[must_use]
    pub fn source(&self) -> GitSource {
        GitSource {
            remote: match self.may_be_path {
                true => format!("https://{}", self.remote),
                false => self.remote.clone(),
            },
            reference: self.reference.clone(),
            subdirectory: self.subdirectory.clone(),
            checksum: self.checksum.clone(),
            keep_git_dir: self.keep_git_dir.unwrap_or(false),
            submodules: self.submodules.unwrap_or(true),
            fetch_by_commit: self.fetch_by_commit,
            checkout_times: self.checkout_times,
        }
    }

    fn read_query(&mut self, query: &[(String, String)]) -> Result<(), GitAddressError> {
        let (mut tag, mut branch) = (None, None);
        for (place, (key, value)) in query.iter().enumerate() {
            if query[..place].iter().any(|(other, _)| other == key) {
                return Err(GitAddressError::SeveralValues(key.clone()));
            }
            let is_switch = matches!(key.as_str(), "submodules" | "keep-git-dir" | "fetch-by-commit");
            if value.is_empty() && !is_switch {
                return Err(GitAddressError::NoValue(key.clone()));
            }
            match key.as_str() {
                "ref" => self.set_reference(value)?,
                "tag" => tag = Some(qualified("refs/tags/", value)),
                "branch" => branch = Some(qualified("refs/heads/", value)),
                "subdir" => {
                    let subdirectory = clean(value);
                    if !self.subdirectory.is_empty() && self.subdirectory != subdirectory {
                        return Err(conflict("subdir", &self.subdirectory, value));
                    }
                    self.subdirectory = subdirectory;
                }
                "checksum" | "commit" => self.checksum = Some(value.clone()),
                "keep-git-dir" => self.keep_git_dir = Some(switch("keep-git-dir", value)?),
                "submodules" => self.submodules = Some(switch("submodules", value)?),
                "fetch-by-commit" => self.fetch_by_commit = switch("fetch-by-commit", value)?,
                "mtime" => {
                    self.checkout_times = match value.as_str() {
                        "checkout" => true,
                        "commit" => false,
                        _ => {
                            return Err(GitAddressError::Value {
                                key: "mtime",
                                value: value.clone(),
                                expected: " (must be \"checkout\" or \"commit\")",
                            });
                        }
                    }
                }
                _ => return Err(GitAddressError::UnknownKey(key.clone())),
            }
        }
        if tag.is_some() && branch.is_some() {
            return Err(GitAddressError::BranchAndTag);
        }
        tag.or(branch).map_or(Ok(()), |name| self.set_reference(&name))
    }

    fn set_reference(&mut self, reference: &str) -> Result<(), GitAddressError> {
        match &self.reference {
            Some(known) if known != reference => Err(conflict("ref", known, reference)),
            _ => {
                self.reference = Some(reference.to_owned());
                Ok(())
            }
        }
    }
}

/// A part of an address with `%41` for `A`. What is no such code stays.
#[must_use]
pub fn decoded(part: &str) -> String {
    url::decode(part, false)
}

fn conflict(what: &'static str, one: &str, other: &str) -> GitAddressError {
    GitAddressError::Conflict {
        what,
        one: one.to_owned(),
        other: other.to_owned(),
    }
}

fn qualified(prefix: &str, name: &str) -> String {
    match name.starts_with(prefix) {
        true => name.to_owned(),
        false => format!("{prefix}{name}"),
    }
}

/// A path below the root, whatever it was; empty for the root itself.
fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

fn switch(key: &'static str, value: &str) -> Result<bool, GitAddressError> {
    match value {
        "" | "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(GitAddressError::Value {
            key,
            value: value.to_owned(),
            expected: "",
        }),
    }
}

#[cfg(test)]
mod tests;
