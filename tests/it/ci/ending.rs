//! A build that is asked to terminate keeps what it finished, and ends in time.

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Bases, Workshop, eventually, progress};

const DOCKERFILE: &str = "FROM busybox\nRUN head -c 16 /dev/urandom | md5sum > /made\nRUN touch /ready; sleep 60\n";

/// A build whose second RUN goes on for a minute, and which keeps its results in a folder.
fn under_way(workshop: &Workshop, bases: &Bases, cache: &Path, flags: &[&str]) -> Child {
    let context = workshop.context("context", &[("Dockerfile", DOCKERFILE)]);
    let build = workshop
        .direct(bases, &context)
        .arg(format!("--cache-to=type=local,dest={},mode=max", cache.display()))
        .args(flags)
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(workshop.path("said")).unwrap())
        .spawn()
        .unwrap();
    let is_there = || said(workshop).contains("] RUN touch");
    assert!(eventually(Duration::from_secs(60), is_there), "{}", said(workshop));
    build
}

fn said(workshop: &Workshop) -> String {
    std::fs::read_to_string(workshop.path("said")).unwrap_or_default()
}

fn send(build: &Child, signal: Signal) {
    kill_process(Pid::from_child(build), signal).unwrap();
}

fn cache_of(workshop: &Workshop) -> PathBuf {
    workshop.path("cache")
}

#[test]
fn a_request_to_terminate_keeps_what_was_finished() {
    let Some(bases) = Bases::find() else { return };
    let workshop = Workshop::own();
    let cache = cache_of(&workshop);
    let trace = format!("--trace={}", workshop.path("trace").display());
    let mut build = under_way(&workshop, bases, &cache, &[&trace]);
    let asked = Instant::now();
    send(&build, Signal::TERM);
    assert_eq!(build.wait().unwrap().code(), Some(143), "{}", said(&workshop));
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    let told = said(&workshop);
    assert!(
        told.contains("exporting cache to") && told.contains("ERROR: terminated"),
        "{told}"
    );

    let trace = std::fs::read(workshop.path("trace")).unwrap();
    serde_json::from_slice::<serde_json::Value>(&trace).unwrap();

    let other = Workshop::own();
    let text = DOCKERFILE.replace("RUN touch /ready; sleep 60", "RUN true");
    let context = other.context("context", &[("Dockerfile", &text)]);
    let from = format!("--cache-from=type=local,src={}", cache.display());
    let again = progress(other.build(bases, &context).arg(from));
    assert_eq!(again.matches("CACHED").count(), 1, "{again}");
}

#[test]
fn an_interrupt_exports_nothing() {
    let Some(bases) = Bases::find() else { return };
    let workshop = Workshop::own();
    let cache = cache_of(&workshop);
    let mut build = under_way(&workshop, bases, &cache, &[]);
    send(&build, Signal::INT);
    assert_eq!(build.wait().unwrap().code(), Some(130));
    assert!(!cache.join("index.json").exists());
}

#[test]
fn no_grace_is_no_time_to_export() {
    let Some(bases) = Bases::find() else { return };
    let workshop = Workshop::own();
    let cache = cache_of(&workshop);
    let mut build = under_way(&workshop, bases, &cache, &["--grace=0s"]);
    send(&build, Signal::TERM);
    assert_eq!(build.wait().unwrap().code(), Some(143));
    assert!(!cache.join("index.json").exists());
}
