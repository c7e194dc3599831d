//! `--ssh`: the user's agent, or keys, for processes that ask for them.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use solver::Agent;

use crate::environment::Environment;
use crate::error::CommandError;

/// More than this no key has.
const LARGEST_KEY: u64 = 100 * 1024;

/// The agents by their names; of two of one name the later counts.
pub(super) fn resolve(typed: &[String], environment: &Environment) -> Result<HashMap<String, Agent>, CommandError> {
    let mut agents = HashMap::new();
    for text in typed {
        let (id, paths) = text.split_once('=').unwrap_or((text, ""));
        let id = if id.is_empty() { "default" } else { id };
        let agent = agent(paths, environment).map_err(|why| CommandError::usage(format!("--ssh {text}: {why}")))?;
        agents.insert(id.to_owned(), agent);
    }
    Ok(agents)
}

fn agent(typed: &str, environment: &Environment) -> Result<Agent, String> {
    let mut is_raw = false;
    let mut paths: Vec<PathBuf> = Vec::new();
    for part in typed.split(',').filter(|part| !part.is_empty()) {
        match part.split_once('=') {
            Some(("raw", value)) => {
                is_raw = crate::cli::boolean(value).ok_or_else(|| format!("invalid value for raw: {value}"))?;
            }
            _ => paths.push(environment.absolute(Path::new(part))),
        }
    }
    if paths.is_empty() {
        let socket = environment.path("SSH_AUTH_SOCK");
        let socket = socket.ok_or("invalid empty ssh agent socket: make sure SSH_AUTH_SOCK is set")?;
        paths.push(environment.absolute(Path::new(socket)));
    }
    let mut sockets = Vec::new();
    let mut keys = Vec::new();
    for path in paths {
        let file = fs::metadata(&path).map_err(|error| format!("stat {}: {error}", path.display()))?;
        if file.file_type().is_socket() {
            sockets.push(path);
        } else {
            check_key(&path, file.len())?;
            keys.push(path);
        }
    }
    match (sockets.pop(), keys.is_empty()) {
        (Some(path), true) if sockets.is_empty() => Ok(Agent::Socket { path, is_raw }),
        (None, _) if is_raw => Err("raw mode must be used with a socket".to_owned()),
        (None, _) => Ok(Agent::Keys(keys)),
        (Some(_), _) => Err("expected one socket, or one or more keys".to_owned()),
    }
}

/// Finds out at once what would otherwise stop the build later.
fn check_key(path: &Path, size: u64) -> Result<(), String> {
    let no_key = || format!("failed to parse {}: no private key found", path.display());
    if size > LARGEST_KEY {
        return Err(no_key());
    }
    let content = fs::read(path).map_err(|error| format!("read {}: {error}", path.display()))?;
    let text = String::from_utf8_lossy(&content);
    if text.contains("-----BEGIN ") && text.contains("PRIVATE KEY-----") {
        Ok(())
    } else {
        Err(no_key())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_is_a_socket_or_some_keys() {
        let folder = tempfile::tempdir().unwrap();
        let key = "-----BEGIN OPENSSH PRIVATE KEY-----\n-----END OPENSSH PRIVATE KEY-----\n";
        for (name, text) in [("k", key), ("l", key), ("x", "no")] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let _listener = std::os::unix::net::UnixListener::bind(folder.path().join("s")).unwrap();
        let socket = folder.path().join("s");
        let with = Environment::of(folder.path(), &[("SSH_AUTH_SOCK", socket.to_str().unwrap())]);
        let without = Environment::of(folder.path(), &[]);
        let found = |text: &str, environment: &Environment| match resolve(&[text.to_owned()], environment) {
            Ok(agents) => {
                let (id, agent) = agents.into_iter().next().unwrap();
                let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
                match agent {
                    Agent::Socket { path, is_raw } => {
                        format!("{id} {}{}", name(&path), if is_raw { " raw" } else { "" })
                    }
                    Agent::Keys(keys) => format!("{id} {}", keys.iter().map(name).collect::<Vec<_>>().join("+")),
                }
            }
            Err(error) => error.message().to_owned(),
        };
        for (text, environment, expected) in [
            ("default", &with, "default s"),
            ("", &with, "default s"),
            ("a=", &with, "a s"),
            ("a=s", &without, "a s"),
            ("a=s,raw=true", &without, "a s raw"),
            ("a=k,l", &without, "a k+l"),
            (
                "a=s,k",
                &without,
                "--ssh a=s,k: expected one socket, or one or more keys",
            ),
            (
                "a=k,raw=1",
                &without,
                "--ssh a=k,raw=1: raw mode must be used with a socket",
            ),
            (
                "a",
                &without,
                "--ssh a: invalid empty ssh agent socket: make sure SSH_AUTH_SOCK is set",
            ),
        ] {
            assert_eq!(found(text, environment), expected, "{text}");
        }
        assert!(found("a=x", &without).ends_with("no private key found"));
        assert!(found("a=nope", &without).contains("nope"));
    }
}
