//! Limits into files of control groups: which hierarchy enforces which, in whose words. Deciding is pure; writing is last.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use super::directory::PREFIX;
use super::place::{Hierarchy, Kind};
use crate::error::Obstacle;
use crate::{Error, Resources};

/// What a step under a parent of the user's is put into, as far as there is such a hierarchy.
const OF_A_PARENT: [&str; 6] = ["cpu", "cpuacct", "cpuset", "memory", "pids", "blkio"];
/// The usual period of a quota, in microseconds.
const USUAL_PERIOD: u64 = 100_000;

/// A limit, and the controller that enforces it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wish {
    limit: &'static str,
    controller: &'static str,
}

/// One file to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Setting {
    limit: &'static str,
    file: &'static str,
    value: String,
}

/// A group to be made, and what is to be written there.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) kind: Kind,
    pub(super) parent: PathBuf,
    limit: &'static str,
    /// An old group of processors is empty at first, and takes no process then.
    filled: bool,
    settings: Vec<Setting>,
    memory: Option<u64>,
}

/// Where it is seen that a step wanted more memory than its limit.
#[derive(Clone, Debug)]
pub(crate) struct Overrun {
    counter: PathBuf,
    /// The limit, in bytes.
    pub(crate) limit: u64,
}

impl Overrun {
    /// Whether the kernel killed a process for it.
    pub(crate) fn happened(&self) -> bool {
        crate::memory::kills(&self.counter).is_some_and(|kills| kills > 0)
    }
}

/// Where groups have to be made for these limits; prepares the parents.
pub(super) fn places(hierarchies: &[Hierarchy], resources: &Resources) -> Result<Vec<Place>, Error> {
    let mut places: Vec<Place> = Vec::new();
    for wish in wishes(resources) {
        let hierarchy = enforcing(hierarchies, wish.controller);
        let hierarchy = match (hierarchy, wish.limit) {
            (Some(hierarchy), _) => hierarchy,
            // A parent asks for no controller: what is there is used.
            (None, "cgroup-parent") => continue,
            (None, limit) => {
                let controller = wish.controller;
                return Err(impossible(limit, Obstacle::NoController { controller }));
            }
        };
        let parent = parent(hierarchy, resources, wish)?;
        let known = places.iter_mut().find(|place| place.parent == parent);
        if let Some(place) = known {
            if place.limit == "cgroup-parent" {
                place.limit = wish.limit;
            }
            place.filled |= wish.controller == "cpuset" && hierarchy.kind == Kind::Old;
            continue;
        }
        places.push(Place {
            kind: hierarchy.kind,
            filled: wish.controller == "cpuset" && hierarchy.kind == Kind::Old,
            settings: settings(resources, hierarchy),
            memory: resources.memory.filter(|_| hierarchy.has("memory")),
            limit: wish.limit,
            parent,
        });
    }
    if places.is_empty() {
        let controller = "memory";
        return Err(impossible("cgroup-parent", Obstacle::NoController { controller }));
    }
    Ok(places)
}

impl Place {
    /// Writes the limits to `group`, which was made for it.
    pub(super) fn write_to(&self, group: &Path, overrun: &mut Option<Overrun>) -> Result<(), Error> {
        if self.filled {
            fill(group).map_err(|source| self.refused(source))?;
        }
        for Setting { limit, file, value } in &self.settings {
            fs::write(group.join(file), value).map_err(|source| {
                let obstacle = match (*limit, source.kind()) {
                    ("memory-swap", io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => {
                        Obstacle::NoSwapAccounting
                    }
                    _ => Obstacle::Value {
                        value: value.clone(),
                        source,
                    },
                };
                impossible(limit, obstacle)
            })?;
        }
        if let Some(limit) = self.memory {
            let counter = match self.kind {
                Kind::Unified => "memory.events",
                Kind::Old => "memory.oom_control",
            };
            *overrun = Some(Overrun {
                counter: group.join(counter),
                limit,
            });
        }
        Ok(())
    }

    /// What to say when the group could not be made.
    pub(super) fn refused(&self, source: io::Error) -> Error {
        let path = self.parent.clone();
        impossible(self.limit, Obstacle::Refused { path, source })
    }
}

fn impossible(limit: &'static str, obstacle: Obstacle) -> Error {
    Error::UnenforceableLimit { limit, obstacle }
}

fn wishes(resources: &Resources) -> Vec<Wish> {
    let given = [
        ("memory", "memory", resources.memory.is_some()),
        ("memory-swap", "memory", resources.memory_swap.is_some()),
        ("cpu-shares", "cpu", resources.cpu_shares.is_some()),
        ("cpu-period", "cpu", resources.cpu_period.is_some()),
        ("cpu-quota", "cpu", resources.cpu_quota.is_some()),
        ("cpuset-cpus", "cpuset", resources.cpuset_cpus.is_some()),
        ("cpuset-mems", "cpuset", resources.cpuset_mems.is_some()),
        ("pids-limit", "pids", resources.pids.is_some()),
    ];
    let named = given
        .into_iter()
        .filter(|(.., is_given)| *is_given)
        .map(|(limit, controller, _)| Wish { limit, controller });
    let below = OF_A_PARENT.iter().filter(|_| resources.parent.is_some());
    named
        .chain(below.map(|controller| Wish {
            limit: "cgroup-parent",
            controller,
        }))
        .collect()
}

fn enforcing<'a>(hierarchies: &'a [Hierarchy], controller: &str) -> Option<&'a Hierarchy> {
    hierarchies.iter().find(|hierarchy| hierarchy.has(controller))
}

/// The group in which the step's is made.
fn parent(hierarchy: &Hierarchy, resources: &Resources, wish: Wish) -> Result<PathBuf, Error> {
    if let Some(asked) = &resources.parent {
        let asked = Path::new(asked);
        if asked.components().any(|component| component == Component::ParentDir) {
            let value = asked.display().to_string();
            let source = io::Error::from_raw_os_error(libc::EINVAL);
            return Err(impossible("cgroup-parent", Obstacle::Value { value, source }));
        }
        let parent = hierarchy.mount.join(asked.strip_prefix("/").unwrap_or(asked));
        let refused = |source| {
            let path = parent.clone();
            impossible("cgroup-parent", Obstacle::Refused { path, source })
        };
        fs::create_dir_all(&parent).map_err(refused)?;
        if hierarchy.kind == Kind::Unified {
            pass_on(&hierarchy.mount, &parent, hierarchy, resources);
        }
        return Ok(parent);
    }
    if hierarchy.kind == Kind::Old {
        return Ok(hierarchy.own.clone());
    }
    let wanted = controllers(hierarchy, resources);
    if lends(&hierarchy.own, &wanted) || lend(&hierarchy.own, &wanted) || leave(&hierarchy.own, &wanted) {
        return Ok(hierarchy.own.clone());
    }
    // A group with processes in it cannot give its children anything: so a sibling of our own group.
    let above = hierarchy
        .own
        .parent()
        .filter(|above| above.starts_with(&hierarchy.mount));
    if let Some(above) = above {
        pass_on(&hierarchy.mount, above, hierarchy, resources);
        if lends(above, &wanted) {
            return Ok(above.to_owned());
        }
    }
    Err(impossible(
        wish.limit,
        Obstacle::Shared {
            path: hierarchy.own.clone(),
        },
    ))
}

/// The controllers of this hierarchy that are wanted.
fn controllers(hierarchy: &Hierarchy, resources: &Resources) -> Vec<&'static str> {
    let mut wanted: Vec<&str> = wishes(resources)
        .iter()
        .map(|wish| wish.controller)
        .filter(|controller| hierarchy.has(controller))
        .collect();
    wanted.sort_unstable();
    wanted.dedup();
    wanted
}

/// Whether the children of `group` have them.
fn lends(group: &Path, wanted: &[&str]) -> bool {
    let lent = fs::read_to_string(group.join("cgroup.subtree_control")).unwrap_or_default();
    wanted
        .iter()
        .all(|name| lent.split_whitespace().any(|lent| lent == *name))
}

/// Gives them to the children of `group`, if it may.
fn lend(group: &Path, wanted: &[&str]) -> bool {
    let words: Vec<String> = wanted.iter().map(|name| format!("+{name}")).collect();
    fs::write(group.join("cgroup.subtree_control"), words.join(" ")).is_ok()
}

/// The same from the top down to `group`, as far as we may.
fn pass_on(top: &Path, group: &Path, hierarchy: &Hierarchy, resources: &Resources) {
    let wanted = controllers(hierarchy, resources);
    let mut chain: Vec<&Path> = group.ancestors().take_while(|path| path.starts_with(top)).collect();
    chain.reverse();
    for group in chain {
        let _ = lends(group, &wanted) || lend(group, &wanted);
    }
}

/// Where nobody but us is in `group`, as in a scope made for us: moves us to a child of it, and gives the others theirs.
fn leave(group: &Path, wanted: &[&str]) -> bool {
    let members = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    let ours = std::process::id().to_string();
    if members.lines().collect::<Vec<_>>() != [ours.as_str()] {
        return false;
    }
    let leaf = group.join(format!("{PREFIX}{ours}-itself"));
    let moved = fs::create_dir(&leaf).and_then(|()| fs::write(leaf.join("cgroup.procs"), &ours));
    moved.is_ok() && lend(group, wanted)
}

/// A group of processors has those of its parent, but for the old kind has to be told so.
fn fill(group: &Path) -> io::Result<()> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let filled = |path: &Path| {
            fs::read_to_string(path.join(file))
                .ok()
                .filter(|text| !text.trim().is_empty())
        };
        let from: Vec<&Path> = group
            .ancestors()
            .skip(1)
            .take_while(|path| path.join(file).exists())
            .collect();
        let empty = from.iter().take_while(|path| filled(path).is_none()).count();
        if let Some(text) = from.get(empty).and_then(|path| filled(path)) {
            for path in from[..empty].iter().rev().copied().chain([group]) {
                fs::write(path.join(file), text.trim())?;
            }
        }
    }
    Ok(())
}

/// What is written, in the order it has to be.
fn settings(resources: &Resources, hierarchy: &Hierarchy) -> Vec<Setting> {
    let all = match hierarchy.kind {
        Kind::Unified => new_words(resources),
        Kind::Old => old_words(resources),
    };
    let mut settings = Vec::new();
    for (controller, limit, file, value) in all {
        if let Some(value) = value.filter(|_| hierarchy.has(controller)) {
            settings.push(Setting { limit, file, value });
        }
    }
    settings
}

type Words = (&'static str, &'static str, &'static str, Option<String>);

fn old_words(resources: &Resources) -> Vec<Words> {
    let number = |number: Option<u64>| number.map(|number| number.to_string());
    let signed = |number: Option<i64>| number.map(|number| number.to_string());
    let pids = resources.pids.map(unlimited);
    vec![
        ("memory", "memory", "memory.limit_in_bytes", number(resources.memory)),
        (
            "memory",
            "memory-swap",
            "memory.memsw.limit_in_bytes",
            signed(resources.memory_swap),
        ),
        ("cpu", "cpu-shares", "cpu.shares", number(resources.cpu_shares)),
        ("cpu", "cpu-period", "cpu.cfs_period_us", number(resources.cpu_period)),
        ("cpu", "cpu-quota", "cpu.cfs_quota_us", number(resources.cpu_quota)),
        ("cpuset", "cpuset-cpus", "cpuset.cpus", resources.cpuset_cpus.clone()),
        ("cpuset", "cpuset-mems", "cpuset.mems", resources.cpuset_mems.clone()),
        ("pids", "pids-limit", "pids.max", pids),
    ]
}

fn new_words(resources: &Resources) -> Vec<Words> {
    // Here swap is counted by itself, and not together with memory.
    let swap = resources.memory_swap.map(|total| match u64::try_from(total) {
        Ok(total) => total.saturating_sub(resources.memory.unwrap_or(0)).to_string(),
        Err(_) => "max".to_owned(),
    });
    let time = (resources.cpu_quota.is_some() || resources.cpu_period.is_some()).then(|| {
        let quota = resources
            .cpu_quota
            .map_or_else(|| "max".to_owned(), |quota| quota.to_string());
        format!("{quota} {}", resources.cpu_period.unwrap_or(USUAL_PERIOD))
    });
    let limit_of_time = if resources.cpu_quota.is_some() {
        "cpu-quota"
    } else {
        "cpu-period"
    };
    vec![
        (
            "memory",
            "memory",
            "memory.max",
            resources.memory.map(|number| number.to_string()),
        ),
        ("memory", "memory-swap", "memory.swap.max", swap),
        ("cpu", "cpu-shares", "cpu.weight", resources.cpu_shares.map(weight)),
        ("cpu", limit_of_time, "cpu.max", time),
        ("cpuset", "cpuset-cpus", "cpuset.cpus", resources.cpuset_cpus.clone()),
        ("cpuset", "cpuset-mems", "cpuset.mems", resources.cpuset_mems.clone()),
        ("pids", "pids-limit", "pids.max", resources.pids.map(unlimited)),
    ]
}

fn unlimited(number: i64) -> String {
    if number < 0 {
        "max".to_owned()
    } else {
        number.to_string()
    }
}

/// Shares go from 2 to 262144, weights from 1 to 10000; 1024 shares are the usual.
fn weight(shares: u64) -> String {
    let shares = shares.clamp(2, 262_144);
    (1 + (shares - 2) * 9_999 / 262_142).to_string()
}

#[cfg(test)]
mod tests;
