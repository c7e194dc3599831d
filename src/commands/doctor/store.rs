//! The store, its file system, an overlay on it, and a step that is run there and thrown away.

use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

use cache::{Probe, Store, Views};
use sandbox::{Cancel, Isolation, Mount, Spec};

use super::{Check, Verdict};
use crate::ui::text;

/// A build of something small fits in here.
const SCARCE: u64 = 2 << 30;
/// Not even a base image does.
const NONE_LEFT: u64 = 64 << 20;
const FEW_FILES: u64 = 50_000;
/// File systems of other machines have clocks of their own; some keep times to two seconds only.
const CLOCKS_APART: i64 = 2;

/// Looks at everything that begins with the store.
pub(super) fn look(root: &Path, isolation: &Isolation) -> Vec<Check> {
    let elsewhere = "choose another folder with --root or RBUILD_ROOT, or make it writable for you";
    let store = match super::super::open(root, isolation) {
        Ok(store) => store,
        Err(error) => return vec![Check::problem("store", causes(&error), elsewhere)],
    };
    let probe = match store.probe() {
        Ok(probe) => probe,
        Err(error) => return vec![Check::problem("store", causes(&error), elsewhere)],
    };
    let snapshots = match store.views() {
        Views::Copied => copies(&probe, isolation),
        Views::Mounted => snapshots(&probe),
    };
    let can_run = snapshots.verdict != Verdict::Problem;
    let mut checks = vec![place(root, &probe), space(&probe), snapshots];
    if can_run {
        checks.push(step(&store, isolation));
    }
    checks.extend(other_home(&store, isolation));
    if probe.clock_ahead.abs() > CLOCKS_APART {
        let text = format!(
            "the store's file system is {} seconds apart from this machine",
            probe.clock_ahead
        );
        checks.push(Check::note(
            "store's clock",
            text,
            "set the clock of the machine that has the files",
        ));
    }
    checks
}

fn place(root: &Path, probe: &Probe) -> Check {
    let text = format!("{} on {}", root.display(), probe.file_system);
    if let Err(error) = &probe.attributes {
        let next = "choose a folder on ext4, xfs or btrfs with --root";
        return Check::problem("store", format!("{text}: {}", causes(error)), next);
    }
    match probe.file_system.as_str() {
        "tmpfs" | "ramfs" => Check::note(
            "store",
            format!("{text}: in memory, gone with the machine's next start"),
            "choose a folder on a disk with --root, unless that is meant",
        ),
        "nfs" | "smb" | "9p" | "fuse" => Check::note(
            "store",
            format!("{text}: a file system of another machine or program is slow, and not all of them do overlays"),
            "choose a folder on a disk of this machine with --root",
        ),
        _ => Check::ok("store", text),
    }
}

/// What was built before the user had more ids, or fewer.
fn other_home(store: &Store, isolation: &Isolation) -> Option<Check> {
    let other = store.other_home()?;
    let shown = other.display();
    Some(match isolation.has_single_id() {
        true => Check::note(
            "other store",
            format!("{shown} has what was built with more user ids, and is not used with a single one"),
            "see the isolation for how to have them again; without them only root can remove the folder",
        ),
        false => Check::note(
            "other store",
            format!("{shown} has what was built with a single user id, and is not used with more"),
            format!("remove it: `rm -rf {shown}`"),
        ),
    })
}

fn space(probe: &Probe) -> Check {
    let told = format!("{} of {} free", text::bytes(probe.free), text::bytes(probe.size));
    let next = "make room with `rbuild prune`, or choose another disk with --root";
    if probe.free < NONE_LEFT {
        return Check::problem("space", told, next);
    }
    match probe.free_files {
        Some(0) => Check::problem("space", format!("{told}, but no file more"), next),
        Some(files) if files < FEW_FILES => Check::note("space", format!("{told}, but only {files} files more"), next),
        _ if probe.free < SCARCE => Check::note("space", told, next),
        _ => Check::ok("space", told),
    }
}

/// Where no overlays can be mounted.
fn copies(probe: &Probe, isolation: &Isolation) -> Check {
    let sharing = match probe.shares_content {
        true => "which share their content (reflinks)",
        false => "of all files: this file system has no reflinks",
    };
    let (reason, next) = match isolation.is_plain() {
        true => (
            "nothing can be mounted",
            "a store on btrfs or xfs, chosen with --root, makes the copies cheap; namespaces make them needless",
        ),
        false => (
            "an overlay cannot stand on an overlay, which the store's file system is",
            "mount a volume in the container and name it with --root: that makes the copies needless",
        ),
    };
    let text = format!("copies, {sharing}: {reason}");
    match probe.shares_content {
        true => Check::ok("snapshots", text),
        false => Check::note("snapshots", text, next),
    }
}

/// Where overlays are to be had.
fn snapshots(probe: &Probe) -> Check {
    if let Err(error) = &probe.overlay {
        let next = match probe.file_system.as_str() {
            "overlay" => {
                "in a container, mount a volume and name it with --root: an overlay cannot stand on an overlay"
            }
            _ => "choose a folder on ext4, xfs or btrfs with --root; without root Linux 5.12 is needed",
        };
        let text = format!("no overlays can be mounted: {}", causes(error));
        return Check::problem("snapshots", text, next);
    }
    let sharing = match probe.shares_content {
        true => "copies share their content (reflinks)",
        false => "copies are copies: this file system has no reflinks",
    };
    Check::ok("snapshots", format!("overlays of the kernel; {sharing}"))
}

/// Runs ourselves, alone in a tree.
fn step(store: &Store, isolation: &Isolation) -> Check {
    match try_step(store, isolation) {
        Ok(took) => Check::ok(
            "step",
            format!("one was run and thrown away, in {} ms", took.as_millis()),
        ),
        Err(error) => Check::problem(
            "step",
            format!("none can be run: {error}"),
            "see what is said of isolation and seccomp above; in a container, start it with `--security-opt \
             seccomp=unconfined --security-opt apparmor=unconfined --security-opt systempaths=unconfined`",
        ),
    }
}

fn try_step(store: &Store, isolation: &Isolation) -> Result<Duration, String> {
    let program = std::env::current_exe().map_err(|error| causes(&error))?;
    let active = store.prepare(None).map_err(|error| causes(&error))?;
    let tree = active.mount().map_err(|error| causes(&error))?;
    let mut spec = Spec::new(tree.path(), vec!["/rbuild".to_owned(), "version".to_owned()]);
    spec.mounts.push(Mount::Bind {
        source: program,
        inside: String::new(),
        target: "/rbuild".to_owned(),
        read_only: true,
    });
    let (begin, mut said) = (Instant::now(), Vec::new());
    let mut listen = |_, bytes: &[u8]| said.extend_from_slice(bytes);
    let exit = sandbox::executor(isolation).run(&spec, &mut listen, &Cancel::new());
    match exit.map_err(|error| causes(&error))? {
        exit if exit.is_success() => Ok(begin.elapsed()),
        exit => Err(format!("{exit}: {}", String::from_utf8_lossy(&said).trim())),
    }
}

/// An error and what caused it, in one line.
pub(super) fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
