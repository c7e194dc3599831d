//! What builds use of the world around them: names, certificates, proxies, programs, credentials, the time.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::Check;
use crate::environment::Environment;

/// Before this nobody ran rbuild: the first second of 2026.
const EARLIEST: u64 = 1_767_225_600;
/// No certificate reaches beyond the next century.
const LATEST: u64 = 4_102_444_800;

/// Looks at all of it.
pub(super) fn look(environment: &Environment) -> Vec<Check> {
    vec![
        resolver(&fs::read_to_string("/etc/resolv.conf")),
        certificates(registry::trusted_certificates()),
        proxies(environment),
        git(),
        agent(environment),
        credentials(environment),
        clock(
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |now| now.as_secs()),
        ),
    ]
}

fn resolver(text: &io::Result<String>) -> Check {
    let name = "names";
    let missing = "write `nameserver ADDRESS` into /etc/resolv.conf, unless no step asks for names";
    match text {
        Ok(text) => {
            let servers: Vec<&str> = text
                .lines()
                .filter_map(|line| line.trim().strip_prefix("nameserver"))
                .map(str::trim)
                .collect();
            match servers.is_empty() {
                true => Check::note(name, "/etc/resolv.conf names no server", missing),
                false => Check::ok(name, format!("/etc/resolv.conf: {}", servers.join(", "))),
            }
        }
        Err(error) => Check::note(name, format!("cannot read /etc/resolv.conf: {error}"), missing),
    }
}

fn certificates(count: usize) -> Check {
    match count {
        0 => Check::note(
            "certificates",
            "no certificate authority is trusted, so no registry but those of this machine can be reached",
            "`apt-get install ca-certificates`, or name a bundle in SSL_CERT_FILE",
        ),
        count => Check::ok("certificates", format!("{count} certificate authorities are trusted")),
    }
}

/// By name only: a value may hold a password.
fn proxies(environment: &Environment) -> Check {
    let names = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"];
    let spelled = names
        .into_iter()
        .flat_map(|name| [name.to_owned(), name.to_lowercase()]);
    let set: Vec<String> = spelled.filter(|name| environment.path(name).is_some()).collect();
    let is_proxied = set.iter().any(|name| !name.eq_ignore_ascii_case("NO_PROXY"));
    Check::ok(
        "proxies",
        match is_proxied {
            true => format!(
                "{} are heeded; steps get those that are given as build arguments",
                set.join(", ")
            ),
            false => "none is set".to_owned(),
        },
    )
}

fn git() -> Check {
    let next = "install git, unless no context and no ADD is a git repository";
    let asked = Command::new("git").arg("--version").stdin(Stdio::null()).output();
    match asked {
        Ok(output) if output.status.success() => {
            Check::ok("git", String::from_utf8_lossy(&output.stdout).trim().to_owned())
        }
        Ok(output) => Check::note("git", format!("does not run: {}", output.status), next),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Check::note("git", "is not installed", next),
        Err(error) => Check::note("git", format!("does not run: {error}"), next),
    }
}

fn agent(environment: &Environment) -> Check {
    let Some(socket) = environment.path("SSH_AUTH_SOCK") else {
        return Check::ok("ssh agent", "none; `--ssh` can be given keys instead");
    };
    let path = environment.absolute(Path::new(socket));
    match UnixStream::connect(&path) {
        Ok(_) => Check::ok("ssh agent", format!("answers at {}", path.display())),
        Err(error) => Check::note(
            "ssh agent",
            format!("SSH_AUTH_SOCK names {}, where none answers: {error}", path.display()),
            "start one with `eval $(ssh-agent)`, unless `--ssh` is not used",
        ),
    }
}

/// Docker's file, as builds read it, and the helpers that it names.
fn credentials(environment: &Environment) -> Check {
    let name = "credentials";
    let Some(path) = environment.docker_config() else {
        return Check::ok(name, "none: HOME is not set");
    };
    let shown = path.display();
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Check::ok(name, format!("none: there is no {shown}"));
        }
        Err(error) => {
            let next =
                format!("make it readable for you, or name another folder in DOCKER_CONFIG: `chown $USER {shown}`");
            return Check::note(name, format!("cannot read {shown}: {error}"), next);
        }
    };
    let config: Value = match serde_json::from_slice(&bytes) {
        Ok(config) => config,
        Err(error) => {
            let next = "mend the file, or name another folder in DOCKER_CONFIG";
            return Check::problem(name, format!("{shown} is no JSON: {error}"), next);
        }
    };
    let missing = missing_helpers(&config, environment);
    match missing.is_empty() {
        true => Check::ok(name, format!("{shown}, {} registries", registries(&config))),
        false => Check::note(
            name,
            format!("{shown} names a helper that is not in PATH: {}", missing.join(", ")),
            "install it, or take `credsStore` and `credHelpers` out of the file and log in again",
        ),
    }
}

fn registries(config: &Value) -> usize {
    let names = |field: &str| config[field].as_object().into_iter().flat_map(|map| map.keys());
    names("auths")
        .chain(names("credHelpers"))
        .collect::<BTreeSet<_>>()
        .len()
}

fn missing_helpers(config: &Value, environment: &Environment) -> Vec<String> {
    let per_host = config["credHelpers"]
        .as_object()
        .into_iter()
        .flat_map(|map| map.values());
    let named: BTreeSet<String> = std::iter::once(&config["credsStore"])
        .chain(per_host)
        .filter_map(Value::as_str)
        .filter(|helper| !helper.is_empty())
        .map(|helper| format!("docker-credential-{helper}"))
        .collect();
    let folders: Vec<_> = environment
        .path("PATH")
        .map(std::env::split_paths)
        .into_iter()
        .flatten()
        .collect();
    let is_missing = |program: &String| !folders.iter().any(|folder| folder.join(program).is_file());
    named.into_iter().filter(is_missing).collect()
}

fn clock(seconds: u64) -> Check {
    match seconds {
        EARLIEST..LATEST => Check::ok("clock", "shows a time that certificates are valid in"),
        seconds => Check::note(
            "clock",
            format!("shows {seconds} seconds since 1970: with that time no certificate is valid"),
            "set it: as root run `timedatectl set-ntp true`",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn what_is_missing_is_a_note_and_says_what_is_next() {
        let none = Err(io::Error::from(io::ErrorKind::NotFound));
        for check in [
            resolver(&none),
            resolver(&Ok("search lan\n".to_owned())),
            certificates(0),
            clock(0),
        ] {
            assert_eq!(check.verdict, Verdict::Note, "{check:?}");
            assert!(check.next.is_some_and(|next| !next.is_empty()));
        }
        let two = resolver(&Ok("nameserver 10.0.0.1\nnameserver ::1\n".to_owned()));
        assert_eq!(two, Check::ok("names", "/etc/resolv.conf: 10.0.0.1, ::1"));
    }

    #[test]
    fn values_of_proxies_are_not_shown() {
        let variables = [("HTTPS_PROXY", "http://u:secret@p:1"), ("no_proxy", "lan")];
        let check = proxies(&Environment::of(Path::new("/"), &variables));
        assert!(check.text.starts_with("HTTPS_PROXY, no_proxy are heeded") && !check.text.contains("secret"));
    }

    #[test]
    fn credentials_that_builds_could_not_read_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_str().unwrap();
        let environment = Environment::of(Path::new("/"), &[("DOCKER_CONFIG", path), ("PATH", "/nowhere")]);
        assert_eq!(credentials(&environment).verdict, Verdict::Ok);
        fs::write(folder.path().join("config.json"), "{").unwrap();
        assert_eq!(credentials(&environment).verdict, Verdict::Problem);
        let helped = r#"{"auths":{"a":{},"b":{}},"credHelpers":{"b":"gone"}}"#;
        fs::write(folder.path().join("config.json"), helped).unwrap();
        let check = credentials(&environment);
        assert!(check.text.ends_with("not in PATH: docker-credential-gone"), "{check:?}");
        assert_eq!(registries(&serde_json::from_str(helped).unwrap()), 2);
    }
}
