//! Every choice that was made for a build, in six lines before it: what somebody needs who reads the log of a machine
//! that is gone.
//!
//! Facts in, lines out. Values of proxies and credentials are in none of them.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use crate::ui::text::bytes;

/// What was found and chosen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    pub(crate) version: String,
    /// In words, with the reason.
    pub(crate) isolation: String,
    pub(crate) processors: usize,
    /// The least that holds for us, and whose it is.
    pub(crate) memory: Option<Memory>,
    pub(crate) root: PathBuf,
    /// Free on the disk of the root.
    pub(crate) free: Option<u64>,
    /// Addresses of servers of names.
    pub(crate) resolvers: Vec<String>,
    /// Names of variables.
    pub(crate) proxies: Vec<String>,
    /// Names of variables that processes of steps get.
    pub(crate) proxies_of_steps: Vec<String>,
    /// The file of further certificates.
    pub(crate) certificates: Option<PathBuf>,
    /// For each registry where its credentials come from.
    pub(crate) credentials: Vec<(String, String)>,
    pub(crate) cache_from: Vec<String>,
    pub(crate) cache_to: Vec<String>,
    /// In words: what is heeded of the disk.
    pub(crate) room: String,
    /// How long caches are waited for.
    pub(crate) budget: Option<Duration>,
    /// In words, one each.
    pub(crate) outputs: Vec<String>,
}

/// How much memory there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Memory {
    pub(crate) bytes: u64,
    /// Of which version the control groups are that say so; nothing if the machine has no more.
    pub(crate) group: Option<u8>,
}

/// The six lines.
pub(crate) fn preamble(facts: &Facts) -> Vec<String> {
    vec![
        format!("rbuild {}: {}", facts.version, facts.isolation),
        limits(facts),
        network(facts),
        credentials(facts),
        caches(facts),
        format!("output: {}", facts.outputs.join("; ")),
    ]
}

fn limits(facts: &Facts) -> String {
    let mut line = format!("limits: {} processors", facts.processors);
    match facts.memory {
        Some(Memory {
            bytes: size,
            group: Some(version),
        }) => {
            let _ = write!(line, ", {} of memory (control group, version {version})", bytes(size));
        }
        Some(Memory {
            bytes: size,
            group: None,
        }) => {
            let _ = write!(line, ", {} of memory (all of the machine)", bytes(size));
        }
        None => line.push_str(", memory unknown"),
    }
    match facts.free {
        Some(free) => {
            let _ = write!(line, ", {} free at {}", bytes(free), facts.root.display());
        }
        None => {
            let _ = write!(line, ", free space at {} unknown", facts.root.display());
        }
    }
    line
}

fn network(facts: &Facts) -> String {
    let resolvers = or(&facts.resolvers, "none");
    let proxies = match facts.proxies.is_empty() {
        true => "no proxy".to_owned(),
        false => format!("proxy from {}", facts.proxies.join(", ")),
    };
    let of_steps = match facts.proxies_of_steps.is_empty() {
        true => "RUN gets none".to_owned(),
        false => format!("RUN gets {}", facts.proxies_of_steps.join(", ")),
    };
    let trust = match &facts.certificates {
        Some(path) => format!("the system's certificates and {}, also in RUN", path.display()),
        None => "the system's certificates".to_owned(),
    };
    format!("network: names by {resolvers}; {proxies}, {of_steps}; {trust}")
}

fn credentials(facts: &Facts) -> String {
    let each = facts
        .credentials
        .iter()
        .map(|(host, source)| format!("{host}: {source}"));
    let each: Vec<String> = each.collect();
    format!("credentials: {}", or(&each, "no registry is named"))
}

fn caches(facts: &Facts) -> String {
    let budget = facts.budget.map(|budget| format!("; waited for {budget:?} at most"));
    format!(
        "cache: {}; read from {}; written to {}{}; {}",
        facts.root.display(),
        or(&facts.cache_from, "nowhere else"),
        or(&facts.cache_to, "nowhere else"),
        budget.unwrap_or_default(),
        facts.room
    )
}

fn or(list: &[String], none: &str) -> String {
    if list.is_empty() {
        none.to_owned()
    } else {
        list.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn six_lines_tell_every_choice() {
        let facts = Facts {
            version: "0.1.0".to_owned(),
            isolation: "running as root".to_owned(),
            processors: 2,
            memory: Some(Memory {
                bytes: 512_000_000,
                group: Some(2),
            }),
            root: PathBuf::from("/store"),
            free: Some(2_100_000_000),
            resolvers: vec!["127.0.0.53".to_owned()],
            proxies: vec!["HTTPS_PROXY".to_owned()],
            certificates: Some(PathBuf::from("/ca.pem")),
            credentials: vec![("r.example".to_owned(), "/c/config.json".to_owned())],
            cache_to: vec!["r.example/app:cache (mode max)".to_owned()],
            room: "no limit".to_owned(),
            budget: Some(Duration::from_secs(30)),
            outputs: vec!["push r.example/app:1".to_owned()],
            ..Facts::default()
        };
        assert_eq!(
            preamble(&facts),
            [
                "rbuild 0.1.0: running as root",
                "limits: 2 processors, 512.00MB of memory (control group, version 2), 2.10GB free at /store",
                "network: names by 127.0.0.53; proxy from HTTPS_PROXY, RUN gets none; the system's certificates and \
                 /ca.pem, also in RUN",
                "credentials: r.example: /c/config.json",
                "cache: /store; read from nowhere else; written to r.example/app:cache (mode max); waited for 30s at most; no limit",
                "output: push r.example/app:1",
            ]
        );
        let none = preamble(&Facts::default());
        assert_eq!(none.len(), 6);
        assert_eq!(none[3], "credentials: no registry is named");
    }
}
