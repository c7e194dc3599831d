//! What rbuild is made of, held by tests: licences, sources, crates that are not wanted, and how many there are. The rules
//! are those of `deny.toml`, which `cargo deny` reads as well; here they hold without that program.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot read the manifests should fail at once"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

/// So many packages there may be in `Cargo.lock`, with ours and with those of tests and of other systems. Whoever needs
/// more argues for it here.
const MOST_PACKAGES: usize = 300;

const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

#[test]
fn every_package_has_a_licence_that_is_allowed() {
    let rules = rules();
    let allowed = texts(&rules["licenses"]["allow"]);
    for package in metadata()["packages"].as_array().unwrap() {
        let (name, licence) = (package["name"].as_str().unwrap(), package["license"].as_str());
        let licence = licence.unwrap_or_else(|| panic!("{name} names no licence"));
        assert!(is_allowed(licence, &allowed), "{name} is under {licence}");
    }
}

#[test]
fn licences_are_read_as_they_are_meant() {
    let allowed = BTreeSet::from(["MIT".to_owned(), "ISC".to_owned(), "A WITH x".to_owned()]);
    for (licence, expected) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("GPL-3.0 OR MIT", true),
        ("GPL-3.0/MIT", true),
        ("GPL-3.0 AND MIT", false),
        ("(GPL-3.0 OR MIT) AND ISC", true),
        ("(GPL-3.0 OR MIT) AND B", false),
        ("MIT AND ISC OR B", true),
        ("A", false),
        ("A WITH x", true),
        ("A WITH y OR (B)", false),
    ] {
        assert_eq!(is_allowed(licence, &allowed), expected, "{licence}");
    }
}

#[test]
fn everything_comes_from_one_registry_and_is_pinned() {
    for lock in ["Cargo.lock", "fuzz/Cargo.lock"] {
        for package in locked(lock) {
            let name = package["name"].as_str().unwrap();
            match package.get("source").and_then(toml::Value::as_str) {
                None => assert!(name.starts_with("rbuild"), "{lock}: {name} is a path"),
                Some(source) => {
                    assert_eq!(source, CRATES_IO, "{lock}: {name}");
                    assert!(package.contains_key("checksum"), "{lock}: {name} has no checksum");
                }
            }
        }
    }
}

#[test]
fn there_are_no_more_packages_than_agreed() {
    let count = locked("Cargo.lock").len();
    assert!(count <= MOST_PACKAGES, "{count} packages, more than {MOST_PACKAGES}");
}

#[test]
fn crates_that_are_not_wanted_are_not_there() {
    let rules = rules();
    let unwanted: BTreeSet<String> = crates(&rules["bans"]["deny"]).collect();
    for package in locked("Cargo.lock") {
        let name = package["name"].as_str().unwrap();
        assert!(!unwanted.contains(name), "{name} is not wanted, see deny.toml");
    }
}

#[test]
fn no_crate_is_in_the_binary_twice_unless_it_is_named() {
    let rules = rules();
    let named: BTreeSet<String> = crates(&rules["bans"]["skip"])
        .map(|name| name.split('@').next().unwrap().to_owned())
        .collect();
    let mut versions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (name, version) in shipped() {
        versions.entry(name).or_default().insert(version);
    }
    versions.retain(|_, versions| versions.len() > 1);
    let twice: BTreeSet<String> = versions.keys().cloned().collect();
    assert_eq!(twice, named, "{versions:?}; those named are in deny.toml");
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn rules() -> toml::Table {
    fs::read_to_string(root().join("deny.toml")).unwrap().parse().unwrap()
}

fn locked(path: &str) -> Vec<toml::Table> {
    let lock: toml::Table = fs::read_to_string(root().join(path)).unwrap().parse().unwrap();
    let packages = lock["package"].as_array().unwrap();
    packages
        .iter()
        .map(|package| package.as_table().unwrap().clone())
        .collect()
}

fn texts(list: &toml::Value) -> BTreeSet<String> {
    let list = list.as_array().unwrap().iter();
    list.map(|text| text.as_str().unwrap().to_owned()).collect()
}

fn crates(list: &toml::Value) -> impl Iterator<Item = String> {
    let list = list.as_array().unwrap().iter();
    list.map(|entry| entry["crate"].as_str().unwrap().to_owned())
}

/// What cargo knows of the packages for Linux. All of them have been fetched when this runs.
fn metadata() -> Value {
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version=1",
            "--locked",
            "--offline",
            "--filter-platform",
            &target,
        ])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Name and version of what the program is built of, or with: without what only tests use.
fn shipped() -> BTreeSet<(String, String)> {
    let metadata = metadata();
    let by_id: BTreeMap<&str, &Value> = metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| (package["id"].as_str().unwrap(), package))
        .collect();
    let nodes: BTreeMap<&str, &Value> = metadata["resolve"]["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| (node["id"].as_str().unwrap(), node))
        .collect();
    let mut seen = BTreeSet::new();
    let mut waiting = vec![metadata["resolve"]["root"].as_str().unwrap()];
    while let Some(id) = waiting.pop() {
        if !seen.insert(id) {
            continue;
        }
        for dependency in nodes[id]["deps"].as_array().unwrap() {
            let kinds = dependency["dep_kinds"].as_array().unwrap();
            if kinds.iter().any(|kind| kind["kind"].as_str() != Some("dev")) {
                waiting.push(dependency["pkg"].as_str().unwrap());
            }
        }
    }
    let text = |package: &Value, key: &str| package[key].as_str().unwrap().to_owned();
    seen.into_iter()
        .map(|id| (text(by_id[id], "name"), text(by_id[id], "version")))
        .collect()
}

/// Whether the expression can be fulfilled with what is allowed: `(A OR B) AND C`, `A WITH exception`, `A/B`.
fn is_allowed(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let mut words = spaced.split_whitespace().peekable();
    any_of(&mut words, allowed)
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn any_of(words: &mut Words<'_>, allowed: &BTreeSet<String>) -> bool {
    let mut good = all_of(words, allowed);
    while words.next_if_eq(&"OR").is_some() {
        good |= all_of(words, allowed);
    }
    good
}

fn all_of(words: &mut Words<'_>, allowed: &BTreeSet<String>) -> bool {
    let mut good = one(words, allowed);
    while words.next_if_eq(&"AND").is_some() {
        good &= one(words, allowed);
    }
    good
}

fn one(words: &mut Words<'_>, allowed: &BTreeSet<String>) -> bool {
    if words.next_if_eq(&"(").is_some() {
        let good = any_of(words, allowed);
        assert_eq!(words.next(), Some(")"));
        return good;
    }
    let mut licence = words.next().unwrap().to_owned();
    if words.next_if_eq(&"WITH").is_some() {
        licence = format!("{licence} WITH {}", words.next().unwrap());
    }
    allowed.contains(&licence)
}
