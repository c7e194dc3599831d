//! What must not be left when rbuild is gone: processes, mounts, namespaces.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::site::{MARK, Site};
use crate::support::eventually;

/// Processes end a little after those that they depend on.
const PATIENCE: Duration = Duration::from_secs(10);

/// A process and its parent.
pub(super) struct Process {
    pub(super) pid: i32,
    pub(super) parent: i32,
    pub(super) is_rbuild: bool,
}

/// All processes of the site: rbuild, its helpers, and what runs in steps.
pub(super) fn processes(site: &Site) -> Vec<Process> {
    let mut found = Vec::new();
    // By the file and not by its name: the supervisor runs from a mount of the file that has no place.
    let file = |path: &Path| fs::metadata(path).map(|file| (file.dev(), file.ino())).ok();
    let rbuild = file(site.binary());
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let exe = file(&entry.path().join("exe"));
        let is_rbuild = exe.is_some() && exe == rbuild;
        let is_marked = || {
            let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
            let mark = format!("{MARK}=step");
            let mut variables = environment.split(|byte| *byte == 0);
            variables.any(|variable| variable == mark.as_bytes())
        };
        // What has ended and was not waited for has neither.
        if is_rbuild || is_marked() {
            let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            let after_name = stat.rsplit(") ").next().unwrap_or_default();
            let parent = after_name.split(' ').nth(1).and_then(|parent| parent.parse().ok());
            found.push(Process {
                pid,
                parent: parent.unwrap_or_default(),
                is_rbuild,
            });
        }
    }
    found
}

/// The namespaces that a process has for itself.
pub(super) fn namespaces(pid: i32) -> BTreeSet<PathBuf> {
    let read = |process: &str, kind| fs::read_link(format!("/proc/{process}/ns/{kind}")).ok();
    ["mnt", "user"]
        .into_iter()
        .filter_map(|kind| {
            let its = read(&pid.to_string(), kind)?;
            (Some(&its) != read("self", kind).as_ref()).then_some(its)
        })
        .collect()
}

/// Whether nothing is left, now or soon; what is left otherwise.
pub(super) fn verify(site: &Site, seen: &BTreeSet<PathBuf>) -> Result<(), String> {
    if !eventually(PATIENCE, || processes(site).is_empty()) {
        let left: Vec<String> = processes(site)
            .iter()
            .map(|process| {
                let line = fs::read(format!("/proc/{}/cmdline", process.pid)).unwrap_or_default();
                String::from_utf8_lossy(&line).replace('\0', " ")
            })
            .collect();
        return Err(format!("processes are left: {left:?}"));
    }
    if mounts_of(site.store(), Path::new("/proc/self")) {
        return Err("mounts are left".to_owned());
    }
    // One that is ending has no program any more, and its namespaces still.
    if !eventually(PATIENCE, || keeper(seen).is_none()) {
        return Err(format!("a namespace is kept: {:?}", keeper(seen)));
    }
    Ok(())
}

/// A process that has one of the namespaces that were seen, and which.
fn keeper(seen: &BTreeSet<PathBuf>) -> Option<(i32, PathBuf)> {
    let pids = fs::read_dir("/proc").unwrap().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|_| !seen.is_empty())
        .find_map(|pid| Some((pid, namespaces(pid).intersection(seen).next()?.clone())))
}

/// Whether anything below `store` is a mount in the namespace of a process.
fn mounts_of(store: &Path, process: &Path) -> bool {
    let below = format!("{}/v1/", store.display());
    fs::read_to_string(process.join("mountinfo")).is_ok_and(|mounts| mounts.contains(&below))
}

/// Whether a control group of a process that was killed is still there, though another rbuild has run since.
pub(super) fn verify_groups(killed: &[i32]) -> Result<(), String> {
    let mut open = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(group) = open.pop() {
        for entry in fs::read_dir(&group).into_iter().flatten().flatten() {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            let name = entry.file_name().to_string_lossy().into_owned();
            if killed.iter().any(|pid| name.starts_with(&format!("rbuild-{pid}-"))) {
                return Err(format!("control group {} is left", entry.path().display()));
            }
            open.push(entry.path());
        }
    }
    Ok(())
}
