//! Git repositories, through the program `git`.
//!
//! The program is asked for as little as possible: what a reference leads to, and that one commit, without its history
//! where the server can leave it out. It reads no configuration of this machine or of the user, asks nobody anything, and
//! speaks only `https`, `http`, `git` and `ssh`: neither a repository nor a submodule of one can name a path of this
//! machine or a command. Whatever comes from an address stands behind `--`.

mod program;
mod tree;

use std::path::{Path, PathBuf};

pub use program::Program;

/// Why a repository could not be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The program is not there.
    #[error("git is needed for {0}, but there is no program `git` in the PATH")]
    NoProgram(String),
    /// The program could not be started.
    #[error("cannot run git")]
    Start(#[source] std::io::Error),
    /// The program failed.
    #[error("{what}: git stderr:\n{stderr}")]
    Failed {
        /// What it was to do.
        what: String,
        /// What it wrote.
        stderr: String,
    },
    /// The repository has no such reference.
    #[error("repository does not contain ref {0}")]
    NoReference(String),
    /// The repository does not say which branch is its own.
    #[error("could not find default branch for repository {0}")]
    NoDefaultBranch(String),
    /// The checksum is no beginning of a commit's name.
    #[error("invalid checksum {0} for Git URL, expected hex commit hash")]
    Checksum(String),
    /// Another commit than was asked for.
    #[error("expected checksum to match {expected}, got {found}")]
    OtherCommit {
        /// The checksum.
        expected: String,
        /// The commit.
        found: String,
    },
    /// A commit is to be fetched that is not named in full.
    #[error("fetch-by-commit requires a full commit SHA checksum, got {0:?}")]
    NoCommit(String),
    /// The directory asked for is none.
    #[error("invalid subdir {0}: {1}")]
    Subdirectory(String, String),
    /// Files could not be put in place.
    #[error("cannot put `{path}` in its place")]
    Files {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Somebody wished to stop.
    #[error("cancelled")]
    Cancelled,
}

/// A commit of a repository, and what of it is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// The repository's address.
    pub remote: String,
    /// A branch, a tag, a full name or a commit; `None` is the default branch.
    pub reference: Option<String>,
    /// The directory whose files are wanted; empty for all.
    pub subdirectory: String,
    /// A commit or the beginning of one, that must be what is found.
    pub checksum: Option<String>,
    /// Whether `.git` stays. Not with a subdirectory.
    pub keep_git_dir: bool,
    /// Whether submodules are fetched.
    pub submodules: bool,
    /// Whether the commit of `checksum` is fetched without asking what the reference leads to.
    pub fetch_by_commit: bool,
    /// Whether files keep the time at which they were checked out; otherwise it is the commit's.
    pub checkout_times: bool,
    /// The value of an `Authorization` header for the repository's host.
    pub authorization: Option<String>,
}

/// What a reference led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The full name of the reference; the commit, if that was given.
    pub reference: String,
    /// What it names: a commit, or a tag with a message.
    pub object: String,
    /// The commit behind such a tag.
    pub commit: Option<String>,
}

impl Found {
    /// The commit.
    #[must_use]
    pub fn commit(&self) -> &str {
        self.commit.as_deref().unwrap_or(&self.object)
    }
}

/// Where a commit goes.
#[derive(Clone, Copy, Debug)]
pub struct Places<'a> {
    /// An empty directory for the files.
    pub files: &'a Path,
    /// An empty directory for what is needed on the way, on the same file system.
    pub scratch: &'a Path,
}

/// Finds what the source's reference leads to.
///
/// # Errors
/// If the repository cannot be read, has no such reference, or one that leads elsewhere than the checksum says.
pub fn find(git: &Program, source: &Source, scratch: &Path) -> Result<Found, Error> {
    if let Some(checksum) = &source.checksum
        && (checksum.is_empty() || !checksum.bytes().all(|byte| byte.is_ascii_hexdigit()))
    {
        return Err(Error::Checksum(checksum.clone()));
    }
    let by_name = |commit: &str, reference: &str| Found {
        reference: reference.to_owned(),
        object: commit.to_owned(),
        commit: None,
    };
    match (&source.reference, &source.checksum) {
        (Some(commit), _) if is_commit(commit) => {
            check(source, &[commit])?;
            Ok(by_name(commit, commit))
        }
        (reference, Some(checksum)) if source.fetch_by_commit && is_commit(checksum) => {
            let reference = match reference.as_deref() {
                None => checksum.clone(),
                Some(name) if name.starts_with("refs/") => name.to_owned(),
                Some(name) => format!("refs/heads/{name}"),
            };
            Ok(by_name(checksum, &reference))
        }
        (_, checksum) if source.fetch_by_commit => Err(Error::NoCommit(checksum.clone().unwrap_or_default())),
        _ => ask(git, source, scratch),
    }
}

fn ask(git: &Program, source: &Source, scratch: &Path) -> Result<Found, Error> {
    let shown = redacted(&source.remote);
    let what = format!("failed to fetch remote {shown}");
    let git = git.session(source, scratch)?;
    let reference = match &source.reference {
        Some(reference) => reference.clone(),
        None => {
            let listed = git.run(&["ls-remote", "--symref", "--", &source.remote, "HEAD"], &what)?;
            let named = listed
                .lines()
                .find_map(|line| line.strip_prefix("ref: ")?.strip_suffix("\tHEAD"));
            named.ok_or(Error::NoDefaultBranch(shown))?.to_owned()
        }
    };
    let peeled = format!("{reference}^{{}}");
    let listed = git.run(&["ls-remote", "--", &source.remote, &reference, &peeled], &what)?;
    let object = |name: &str| {
        let line = listed.lines().find_map(|line| {
            let (object, listed) = line.split_once('\t')?;
            (listed == name && is_commit(object)).then(|| object.to_owned())
        });
        line.map(|object| (name.to_owned(), object))
    };
    let within = |folder: &str| format!("{folder}{}", reference.strip_prefix(folder).unwrap_or(&reference));
    let tag = within("refs/tags/");
    // As git does, a branch comes before a tag of the same name.
    let direct = object(&within("refs/")).or_else(|| object(&within("refs/heads/")));
    let found = match direct {
        Some((reference, object_name)) => Found {
            commit: object(&format!("{reference}^{{}}")).map(|(_, commit)| commit),
            reference,
            object: object_name,
        },
        None => {
            let (tag, object_name) = object(&tag).ok_or(Error::NoReference(reference))?;
            Found {
                commit: object(&format!("{tag}^{{}}")).map(|(_, commit)| commit),
                reference: tag,
                object: object_name,
            }
        }
    };
    let names: Vec<&str> = [Some(found.object.as_str()), found.commit.as_deref()]
        .into_iter()
        .flatten()
        .collect();
    check(source, &names)?;
    Ok(found)
}

/// That one of the names begins with the checksum.
fn check(source: &Source, names: &[&str]) -> Result<(), Error> {
    match &source.checksum {
        Some(checksum) if !names.iter().any(|name| name.starts_with(checksum.as_str())) => Err(Error::OtherCommit {
            expected: checksum.clone(),
            found: names.join(" or "),
        }),
        _ => Ok(()),
    }
}

/// Puts the files of what was found in place.
///
/// # Errors
/// If they cannot be fetched, or the directory asked for is not there.
pub fn check_out(git: &Program, source: &Source, found: &Found, places: Places<'_>) -> Result<(), Error> {
    let whole = source.subdirectory.is_empty();
    let keeps = source.keep_git_dir && whole;
    let work_tree = match whole {
        true => places.files.to_owned(),
        false => places.scratch.join("tree"),
    };
    let git_dir = match keeps {
        true => places.files.join(".git"),
        false => places.scratch.join("repository"),
    };
    std::fs::create_dir_all(&work_tree).map_err(files(&work_tree))?;
    let mut git = git.session(source, places.scratch)?;
    git.enter(&git_dir, &work_tree);
    let shown = redacted(&source.remote);
    initialise(&git, found, &shown)?;
    fetch(&git, source, found, &format!("failed to fetch remote {shown}"))?;
    let what = format!("failed to checkout remote {shown}");
    let commit = git.run(
        &["rev-parse", "--verify", &format!("{}^{{commit}}", found.object)],
        &what,
    )?;
    let commit = commit.trim();
    if is_commit(&found.reference) || source.fetch_by_commit {
        check(source, &[&found.object, commit])?;
    }
    git.run(&["checkout", "--quiet", "--force", "--detach", commit], &what)?;
    if source.submodules {
        let what = format!("failed to update submodules for {shown}");
        let update = ["submodule", "update", "--init", "--recursive"];
        git.run_shallow(&update, &["--depth=1"], &[], &what)?;
    }
    let seconds = match source.checkout_times {
        true => None,
        false => Some(time_of(&git, commit, &what)?),
    };
    if keeps {
        // Written anew, the index has no times and inodes of this machine in it.
        git.run(&["read-tree", commit], &what)?;
        git.run(&["reflog", "expire", "--all", "--expire=now"], &what)?;
        let _ = std::fs::remove_file(git_dir.join("FETCH_HEAD"));
    }
    if !whole {
        tree::move_up(&work_tree, &source.subdirectory, places.files)?;
    }
    tree::settle(places.files, seconds, keeps)
}

/// The time of the commit that was found, in seconds since 1970.
///
/// # Errors
/// If it cannot be fetched.
pub fn commit_time(git: &Program, source: &Source, found: &Found, scratch: &Path) -> Result<i64, Error> {
    let shown = redacted(&source.remote);
    let mut git = git.session(source, scratch)?;
    git.enter(&scratch.join("repository"), scratch);
    initialise(&git, found, &shown)?;
    let what = format!("failed to fetch remote {shown}");
    fetch(&git, source, found, &what)?;
    time_of(&git, &found.object, &what)
}

fn initialise(git: &program::Session<'_>, found: &Found, shown: &str) -> Result<(), Error> {
    let what = "failed to init repo";
    let format = match found.object.len() {
        64 => "--object-format=sha256",
        _ => "--object-format=sha1",
    };
    git.run(
        &[
            "-c",
            "init.defaultBranch=master",
            "init",
            "--quiet",
            "--template=",
            format,
        ],
        what,
    )?;
    git.run(&["remote", "add", "origin", shown], what).map(drop)
}

/// Fetches what was found; its history only from servers that cannot do without.
fn fetch(git: &program::Session<'_>, source: &Source, found: &Found, what: &str) -> Result<(), Error> {
    let remote = source.remote.as_str();
    let is_there = || {
        let wanted = format!("{}^{{commit}}", found.object);
        git.run(&["cat-file", "-e", &wanted], what).is_ok()
    };
    let named = !is_commit(&found.reference) && !source.fetch_by_commit;
    if named {
        let wanted = format!("+{0}:{0}", found.reference);
        git.run_shallow(
            &["fetch", "--quiet", "--no-tags", "--update-head-ok"],
            &["--depth=1"],
            &["--", remote, &wanted],
            what,
        )?;
        if is_there() {
            return Ok(());
        }
    }
    // The reference has moved since it was asked for, or a commit was named: not every server gives those.
    let alone = git.run_shallow(
        &["fetch", "--quiet", "--no-tags", "--update-head-ok"],
        &["--depth=1"],
        &["--", remote, &found.object],
        what,
    );
    if alone.is_ok() && is_there() {
        return keep_name(git, found, what);
    }
    let heads = "+refs/heads/*:refs/remotes/origin/*";
    let depth: &[&str] = match git.is_shallow() {
        true => &["--unshallow"],
        false => &[],
    };
    let fetched = git.run_shallow(
        &["fetch", "--quiet", "--tags", "--force", "--update-head-ok"],
        depth,
        &["--", remote, heads],
        what,
    );
    match (fetched, alone) {
        (Ok(_), _) if is_there() => keep_name(git, found, what),
        (Err(error), _) | (Ok(_), Err(error)) => Err(error),
        (Ok(_), Ok(_)) => Err(Error::NoReference(found.object.clone())),
    }
}

/// Lets the reference lead where it led when it was asked for.
fn keep_name(git: &program::Session<'_>, found: &Found, what: &str) -> Result<(), Error> {
    if is_commit(&found.reference) {
        return Ok(());
    }
    git.run(&["update-ref", "--no-deref", &found.reference, &found.object], what)
        .map(drop)
}

fn time_of(git: &program::Session<'_>, object: &str, what: &str) -> Result<i64, Error> {
    let commit = format!("{object}^{{commit}}");
    let said = git.run(&["log", "-1", "--no-show-signature", "--format=%ct", &commit], what)?;
    said.trim().parse().map_err(|_| Error::Failed {
        what: what.to_owned(),
        stderr: format!("failed to parse commit timestamp {said:?}"),
    })
}

/// Whether `text` is the whole name of a commit.
fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The host of an address, with its port.
#[must_use]
pub fn host(remote: &str) -> Option<&str> {
    let host = match remote.split_once("://") {
        Some((_, rest)) => rest.split(['/', '?', '#']).next()?,
        None => remote.split_once(':')?.0,
    };
    Some(host.rsplit_once('@').map_or(host, |(_, host)| host))
}

/// The `Authorization` header that a token makes.
#[must_use]
pub fn authorization_of_token(token: &str) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::from("basic ");
    for group in format!("x-access-token:{token}").as_bytes().chunks(3) {
        let mut bits = 0_usize;
        for place in 0..3 {
            bits = bits << 8 | usize::from(group.get(place).copied().unwrap_or(0));
        }
        for place in 0..4 {
            let letter = LETTERS[bits >> (18 - 6 * place) & 63];
            text.push(if place <= group.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

/// The address without a password.
#[must_use]
pub fn redacted(remote: &str) -> String {
    let Some((scheme, rest)) = remote.split_once("://") else {
        return remote.to_owned();
    };
    let end = rest.find('/').unwrap_or(rest.len());
    let (host, path) = rest.split_at(end);
    match host.rsplit_once('@') {
        Some((user, host)) => {
            let name = user.split(':').next().unwrap_or_default();
            let password = if user.contains(':') { ":xxxxx" } else { "" };
            format!("{scheme}://{name}{password}@{host}{path}")
        }
        None => remote.to_owned(),
    }
}

fn files(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Files { path, source }
}

#[cfg(test)]
mod tests;
