//! Tells the program the commit it is built from, where that is known: a source archive has none.
#![forbid(unsafe_code)]

use std::path::Path;
use std::process::Command;

fn main() {
    let log = Path::new(".git/logs/HEAD");
    if log.exists() {
        println!("cargo::rerun-if-changed={}", log.display());
    }
    println!("cargo::rerun-if-changed=build.rs");
    if let Some(commit) = commit() {
        println!("cargo::rustc-env=RBUILD_COMMIT={commit}");
    }
}

/// The short name of the commit checked out here, if this is the top of a git work tree.
fn commit() -> Option<String> {
    if !Path::new(".git").exists() {
        return None;
    }
    let output = Command::new("git")
        .args(["rev-parse", "--short=12", "HEAD"])
        .output()
        .ok()?;
    let commit = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !commit.is_empty()).then_some(commit)
}
