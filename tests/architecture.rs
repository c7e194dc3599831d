//! The shape of the source text, held by tests: which crate may use which, how long a file may be, how it opens.
//! The table is that of `ARCHITECTURE.md`; change both together.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot read the sources should fail at once"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Each crate and those of ours it may depend on; the root package may use all.
const ARROWS: [(&str, &[&str]); 10] = [
    ("frontend", &["graph", "oci"]),
    ("solver", &["graph", "cache", "sandbox", "oci", "trace"]),
    ("export", &["cache", "oci", "trace"]),
    ("graph", &["oci"]),
    ("cache", &["oci", "trace"]),
    ("oci", &[]),
    ("sandbox", &["trace"]),
    ("registry", &["oci", "trace"]),
    ("remote", &[]),
    ("trace", &[]),
];

const LONGEST_FILE: usize = 600;

#[test]
fn no_arrow_points_up_or_sideways() {
    let crates: BTreeSet<&str> = ARROWS.iter().map(|(name, _)| *name).collect();
    for (name, allowed) in ARROWS {
        let forbidden: Vec<String> = dependencies(&root().join(name).join("Cargo.toml"))
            .into_iter()
            .filter(|dependency| crates.contains(dependency.as_str()) && !allowed.contains(&dependency.as_str()))
            .collect();
        assert!(
            forbidden.is_empty(),
            "{name} must not depend on {}",
            forbidden.join(", ")
        );
    }
}

#[test]
fn the_table_names_every_member() {
    let manifest: toml::Table = fs::read_to_string(root().join("Cargo.toml")).unwrap().parse().unwrap();
    let members: BTreeSet<&str> = manifest["workspace"]["members"]
        .as_array()
        .unwrap()
        .iter()
        .map(|member| member.as_str().unwrap())
        .collect();
    assert_eq!(members, ARROWS.iter().map(|(name, _)| *name).collect());
}

#[test]
fn only_the_root_package_and_two_hands_know_http() {
    for (name, _) in ARROWS.iter().filter(|(name, _)| !["registry", "remote"].contains(name)) {
        let known = dependencies(&root().join(name).join("Cargo.toml"));
        assert!(
            !known
                .iter()
                .any(|d| ["reqwest", "hyper", "rustls"].contains(&d.as_str())),
            "{name} knows HTTP"
        );
    }
}

#[test]
fn no_file_is_too_long() {
    for (path, text) in sources() {
        let lines = text.lines().count();
        assert!(
            lines <= LONGEST_FILE,
            "{} has {lines} lines, more than {LONGEST_FILE}",
            path.display()
        );
    }
}

#[test]
fn every_module_says_what_it_is() {
    for (path, text) in sources() {
        assert!(text.starts_with("//!"), "{} does not open with `//!`", path.display());
    }
}

/// Scripts of builds, tests, examples and fuzz targets count as well: all that is compiled from this repository.
#[test]
fn unsafe_code_lives_in_one_file() {
    let uses = ["{", "fn", "impl", "trait", "extern"].map(|what| ["un", "safe ", what].concat());
    let mut with = Vec::new();
    for path in every_rust_file() {
        let text = fs::read_to_string(&path).unwrap();
        let mut lines = text.lines().map(str::trim_start).filter(|line| !line.starts_with("//"));
        if lines.any(|line| uses.iter().any(|word| line.contains(word)) || line.contains(concat!("un", "safe("))) {
            with.push(path.strip_prefix(root()).unwrap().to_owned());
        }
    }
    assert_eq!(with, [Path::new("sandbox/src/sys.rs")]);
}

#[test]
fn every_other_crate_forbids_it() {
    let roots = ARROWS.iter().map(|(name, _)| format!("{name}/src/lib.rs"));
    let others = ["src/main.rs", "build.rs", "fuzz/src/lib.rs"].map(str::to_owned);
    for path in roots.chain(others).filter(|path| path != "sandbox/src/lib.rs") {
        let text = fs::read_to_string(root().join(&path)).unwrap();
        let forbids = text.lines().any(|line| line == concat!("#![forbid(un", "safe_code)]"));
        assert!(forbids, "{path} does not forbid it");
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The `[dependencies]` of a manifest, those for one target included. Development dependencies are free.
fn dependencies(manifest: &Path) -> Vec<String> {
    let table: toml::Table = fs::read_to_string(manifest).unwrap().parse().unwrap();
    let targets = table
        .get("target")
        .and_then(toml::Value::as_table)
        .into_iter()
        .flat_map(toml::Table::values);
    std::iter::once(&toml::Value::Table(table.clone()))
        .chain(targets)
        .filter_map(|section| section.get("dependencies")?.as_table())
        .flat_map(|dependencies| dependencies.keys().cloned())
        .collect()
}

/// Whatever is Rust in the repository, sorted.
fn every_rust_file() -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().map(Result::unwrap) {
            let (path, name) = (entry.path(), entry.file_name());
            let is_ours = name != "target" && !name.to_string_lossy().starts_with('.');
            if entry.file_type().unwrap().is_dir() && is_ours {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.insert(path);
            }
        }
    }
    found
}

/// Every Rust file that is not a test, by path.
fn sources() -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut folders: Vec<PathBuf> = ARROWS.iter().map(|(name, _)| root().join(name).join("src")).collect();
    folders.push(root().join("src"));
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() && !path.ends_with("tests") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("tests.rs") {
                found.insert(path.clone(), fs::read_to_string(&path).unwrap());
            }
        }
    }
    found
}

#[test]
fn the_table_of_features_names_tests_that_there_are() {
    let page = fs::read_to_string(root().join("docs/compatibility.md")).unwrap();
    let mut rows = 0;
    for row in page.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let [number, .., verdict, shown] = cells[..] else {
            continue;
        };
        if cells.len() != 7 || number.parse::<u32>().is_err() {
            continue;
        }
        rows += 1;
        let shown = shown.trim_matches(['`', '|', ' ']);
        assert!(!shown.is_empty() || verdict == "no", "row {number} has no test");
        if let Some((file, test)) = shown.split_once("::") {
            let text = fs::read_to_string(root().join(file)).unwrap_or_default();
            assert!(
                text.contains(&format!("fn {test}()")),
                "row {number}: there is no {shown}"
            );
        }
    }
    assert_eq!(rows, 92);
}
